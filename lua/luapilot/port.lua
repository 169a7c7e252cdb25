---@meta
-- The port: all that Lua knows of the world, as an interface file. It is never loaded.
-- Two things implement it: src/port/ (the real one, `require "luapilot.rt"`) and
-- lua/luapilot/sim/port.lua (the simulated one). spec/contract runs the same spec on both.
--
-- The rules:
--   * `wait` is the only call that blocks. Nothing here ever calls a Lua function.
--   * Handles are integers that are never used again. A stale one gives nil, message, "EBADF".
--   * An expected failure is nil, message, CODE; a wrong argument raises.
--   * Events of one source come in order; sources take turns; exits and signals come first.
--   * `exit` never waits for the end of output, and the end of output never implies `exit`.
--   * A cancelled handle yields no further event.

---@class luapilot.Port
local port = {}

---@class luapilot.Stray     a process that was left behind
---@field pid integer
---@field name string       of its program, printable
---@field by_name boolean?  it carries no mark: nothing but its program's name says whose it is

---@class luapilot.Unfollowed
---@field why "absent"|"unreadable"|"no_pid"|"ended"|"session"|"user"|"parent"|"unfollowed"   there is no pidfile, it
---       cannot be read, it holds no pid; no such process lives, it is of another session, runs as another user, has a
---       parent that lives, cannot be followed for lack of memory or descriptors
---@field pid integer?      whom the program named
---@field notify boolean?   by `successor`, not by its pidfile

---@class luapilot.Stat      of the entry itself: a link is not followed
---@field type "file"|"directory"|"link"|"fifo"|"socket"|"device"
---@field identity string     no other file that exists has it
---@field mode integer
---@field uid integer
---@field gid integer
---@field size integer
---@field mtime number
---@field target string?      of a link: where it leads, as it is written

---@alias luapilot.PortEvent
---| { type: "timer", id: integer }
---| { type: "spawned", id: integer, pid: integer }
---| { type: "spawn_failed", id: integer, message: string, code: string, stage: string }
---| { type: "spawning", id: integer, stage: string, message: string, seconds: number }
---| { type: "exit", id: integer, code: integer?, signal: string?, oom: "own"|"around"|nil,
---    unfollowed: luapilot.Unfollowed? }
---| { type: "main", id: integer, pid: integer }   another process of the session has followed the leader
---| { type: "group_gone", id: integer, strays: luapilot.Stray[]?, count: integer?, left: luapilot.Stray?,
---    name: string?, ended: integer? }
---| { type: "output", id: integer, stream: "stdout"|"stderr", data: string, last: boolean }
---| { type: "notify", id: integer, fields: table<string, string> }
---| { type: "connected", id: integer, error: string?, code: string? }
---| { type: "ready", id: integer, readable: boolean, writable: boolean, dropped: true? }
---| { type: "response", id: integer, status: integer?, headers: table?, body: string?, chunk: string?, last: boolean?,
---    error: string?, code: string? }
---| { type: "watch", id: integer, status: integer?, index: string?, body: string?, error: string?, code: string? }
---| { type: "poll", id: integer, readable: boolean, writable: boolean }
---| { type: "signal", name: string, pid: integer, terminal: boolean }
---| { type: "memory" }   three stretches in a row were ended for it, and it is still above the bound of `contain`

---Waits for the next event. With `block == false` returns nil when there is none now.
---A signal's `pid` is the sender's (0: the kernel, or a process outside of the PID namespace); `terminal` is true
---when the kernel sent it on behalf of a terminal (Ctrl-C).
---@param block boolean? default true
---@return luapilot.PortEvent?
function port.wait(block) end

---Seconds of the clock that counts suspended time and never goes back (CLOCK_BOOTTIME).
---@return number
function port.now() end

---Seconds since the epoch: the wall clock, which may jump.
---@return number
function port.clock() end

---A random number in [0, 1).
---@return number
function port.random() end

---Fires once, `seconds` from now: { type = "timer", id }. Then the handle is gone.
---@param seconds number
---@return integer id
function port.timer(seconds) end

---Ends whatever the handle names and frees it. A process is killed with its group (SIGKILL) and
---reaped silently.
---@param id integer
---@return true?, string? message, string? code
function port.cancel(id) end

---@class luapilot.SpawnOptions
---@field argv string[]              argv[1] without a slash is looked up on its PATH
---@field env table<string,string>?  the whole environment; nil: the pilot's own
---@field env_added table<string,string>?  beside these, and instead of those of the same name
---@field cwd string?
---@field user string|integer|nil    name or uid; its groups are set too (initgroups), and HOME, USER, LOGNAME,
---                                  SHELL, where env_added has none of its own
---@field group string|integer|nil
---@field umask integer?
---@field limits table<string, { [1]: number, [2]: number }>?  soft, hard; -1 = unlimited
---@field no_new_privs boolean?
---@field oom_score_adj integer?
---@field cgroup { name: string, memory_max: integer?, cpu_max: number?, pids_max: integer? }?
---@field stdin string?              text to feed; nil: /dev/null
---@field input "open"|"inherit"|nil  instead: a pipe that never ends, or our own standard input
---@field output luapilot.OutputOptions?   where lines go; nil with `capture`: nowhere
---@field capture boolean?           output events instead of (no `output`) or beside (`output`) the log. Beside the log
---                                  `data` holds whole lines, and of one over 64 KiB the parts that the log has,
---                                  without a newline at the end: job/output.lua takes them apart
---@field notify boolean?            give it a NOTIFY_SOCKET; datagrams arrive as notify events
---@field mark string?               "NAME=value" of its environment: by that strays are known, who left the session
---@field pidfile string?            names who follows the leader, see `successor`
---@field end_signal string?         sent to the rest of the group when the leader has exited, unless
---                                  this very signal was already sent to the group, and to the members of the
---                                  session that are in groups of their own; default SIGTERM
---@field stop_signal string?        what the guardian sends if the pilot dies; default SIGTERM
---@field stop_timeout number?       after so many seconds the guardian kills; default 10
---@field leader_alone boolean?      the guardian sends stop_signal to the leader alone, and then kills the rest

---@class luapilot.OutputOptions
---@field name string        the job's
---@field raw boolean?       true: the program writes to our own stdout and stderr (or the file) itself
---@field merge boolean?     true: its stderr is its stdout: one pipe, and one stream, "stdout". Not raw
---@field level string?      label of its lines, default "info"
---@field parse "json"?      a line that is a JSON object is `data` of ours; events, and other formats, have the line
---@field level_from string?  with `parse`: the key of such an object that names its level
---@field prefix boolean?    default true; false: the bare line
---@field file string?       append there instead of to our output

---Starts a program as the leader of a session and group of its own. It cannot exit before its id is
---known. Then come, in any order with its output: one `exit` (at once, whoever holds its pipes), after
---it one `group_gone` when no process of the session lives; with the latter the handle is gone, except
---for what the pipes still hold: each captured stream ends with one `last = true`, at its end of
---file or soon after `group_gone`.
---`oom` of an exit by SIGKILL that was not sent here: the kernel killed for lack of memory in the process's own
---`cgroup` ("own", of a failed exit, too), or, without one, in the pilot's since its start ("around": perhaps it).
---`left` of `group_gone` after an exit with code 0: a descendant that lived on then, in the session (then it was
---ended), or outside. With it comes `name`, that of the leader's program, where it is known.
---`ended` of `group_gone`: so many orphans of the session were there when it exited, and were ended; not of one that
---got SIGKILL here.
---`strays` of `group_gone`: orphans outside of the session that carry the mark; they live on. At most four are named,
---`count` is of all. Both take a guardian that adopts orphans. The mark of one who does not let himself be read is
---waited for two seconds at most; then his program's name tells.
---Where a start may hang (as another user or group, or a file system on the network), it is under way at first: there
---is an id and no pid. Then `spawned`, or `spawn_failed`, after which the handle is gone, is the first that comes; and
---before, after ten seconds and each minute, `spawning` with what it hangs in: its message goes on after "its start".
---Until `spawned` nobody is there to be signalled (ESRCH). A cancelled one is killed as soon as it comes. One start at
---a time of the same program, directory and user, or in a control group of the same name, is under way; the next waits
---for it, one that was cancelled included.
---Failure: code is an errno name; `stage` says at what: "exec" (ENOENT, EACCES, ENOEXEC, …), "cwd",
---"user", "group", "limits", "cgroup", "oom_score_adj", "output", "fork" (EAGAIN, ENOMEM),
---"descriptors" (EMFILE, ENFILE) …
---@param options luapilot.SpawnOptions|luapilot.Plan
---@return integer? id, string|integer|nil pid_or_message, string? code, string? stage
function port.spawn(options) end

---@class luapilot.Plan   opaque

---The same options for many starts, checked once: `spawn(plan)` does what `spawn(options)` would do. It holds copies,
---so it stays what it is when the options' tables change, and is Lua's to collect when nobody holds it any more. What a
---start finds in the world it finds at each start: the pilot's own environment (without `env`), accounts, the program,
---files. It raises for what `spawn` would raise for, and as that.
---@param options luapilot.SpawnOptions
---@return luapilot.Plan
function port.plan(options) end

---When the leader has exited, SIGKILL to the group also reaches those of the session in groups of their own.
---@param id integer
---@param signal string     "SIGTERM"
---@param target "group"|"leader"
---@return true?, string? message, string? code   ESRCH: nobody is left
function port.kill(id, signal, target) end

---Who follows when the main process has ended; 0: nobody, now or later. Else the pidfile says so. Somebody who is an
---orphan of the session and runs as its user follows with a `main` event instead of an `exit`; from then on the leader
---is that one; it gets no signal for the leader before the event is taken (ESRCH). What was said by sd_notify before
---the exit comes first, so that it may be answered by this call. While others of the session live, an heir is waited
---for, two seconds at most: then `unfollowed` of the `exit` says why there is none.
---@param id integer
---@param pid integer
---@return true?, string? message, string? code
function port.successor(id, pid) end

---Orphans outside of the process's session that carry its mark, or no mark and its program's name, and are older than
---it: those that earlier processes of the same mark have left. Four at most.
---@param id integer
---@return luapilot.Stray[]?, string? message, string? code   EAGAIN: none was seen, and not everybody was looked at
function port.strays(id) end

---Whole lines of a process that has `output` also come as output events, from now on, or no longer.
---@param id integer
---@param on boolean
---@return true?, string? message, string? code
function port.capture(id, on) end

---The output of a captured process is not read, or is read again: its pipes fill, and push back on it. The log waits,
---too. An event that is on its way comes nevertheless. What ends the capture of a stream ends the hold: `capture` with
---false, or its last event.
---@param id integer
---@param on boolean
---@return true?, string? message, string? code   EINVAL: nobody captures it
function port.hold(id, on) end

---The number of a user or group. Digits are themselves, unless somebody is called so.
---@param kind "user"|"group"
---@param name string
---@return integer? id, string? message, string? code   ENOENT: there is none
function port.lookup(kind, name) end

---Opens a TCP connection and closes it again: { type = "connected", id, error? }, then the handle is gone.
---@param address string    "host:port", "127.0.0.1:80", "[::1]:80"
---@param timeout number    seconds
---@return integer id
function port.connect(address, timeout) end

---@class luapilot.DialOptions       one of address and path
---@field address string?    as of `connect`
---@field path string?       of a unix socket: it is walked as that of a file (below)
---@field timeout number?    seconds; more than 1e6 is 1e6, which is the default

---Opens a connection that stays: { type = "connected", id, error? }. With an error the handle is gone.
---@param options luapilot.DialOptions
---@return integer id
function port.dial(options) end

---What a connection has received, no more than `most` bytes of it; "": the other end sends no more.
---@param id integer
---@param most integer      1 to 65536
---@return string? data
---@return string? message  the code in words
---@return string? code     EAGAIN: nothing now; ENOTCONN: not connected yet; ECONNRESET …
function port.receive(id, most) end

---Gives the kernel what it takes of the data, from that byte on.
---@param id integer
---@param data string
---@param from integer      1 to #data
---@return integer? sent, string? message, string? code   EAGAIN: no room; EPIPE, ECONNRESET: nobody reads
function port.send(id, data, from) end

---Asks for { type = "ready", id, readable, writable }: "r": as soon as `receive` has something, be it the end or an
---error; "w": as soon as `send` has room. Each is told once, and nobody looks before it is asked for again. What is
---told may be over already.
---@param id integer
---@param mode "r"|"w"
---@return true?, string? message, string? code
function port.want(id, mode) end

---A value that is kept with what users hold: when Lua has collected it, a `ready` event says `dropped`. (The simulator
---never says so: when Lua collects is no part of a history.)
---@param id integer
---@return any guard, string? message, string? code
function port.guard(id) end

---@class luapilot.RequestOptions
---@field method string?             default "GET"
---@field url string                 http:// or https://
---@field headers table<string, string>?
---@field body string?
---@field timeout number?            seconds for everything, of a stream until its head is there; 0 or nil: none
---@field socket string?             a unix socket to connect to, instead of the URL's host
---@field proxy string?              its URL; nil: none. The environment is never asked
---@field tls table?                 { cafile, capath, clientcert, clientkey, servername, verify }
---@field stream boolean?
---@field fresh boolean?             on a connection of its own, closed afterwards
---@field max_body number?           bytes; a larger body is an error, EMSGSIZE. Not of a stream
---@field cut boolean?               a larger body is cut at max_body, and no error

---Sends a request by HTTP 1.1. Redirects are answers like any other. A POST or PATCH is never sent twice; another one
---may be, on another connection, when a kept one breaks before any of the answer is there.
---Whole: one event, { status, headers, body } or { error, code }; then the handle is gone.
---With `stream`: { status, headers, chunk = "", last } as soon as the head is there, then one { chunk, last } for
---each `more`; `last` (perhaps with an empty chunk), or an error at any time, is the end of the handle.
---Names of headers are in small letters; the values of a repeated one are joined with ", ".
---Codes: errno names (ECONNREFUSED, ETIMEDOUT, ENOENT of a socket, ECONNRESET, EMSGSIZE, EPROTO: not HTTP),
---EAI_NONAME, ETLS (no encryption), ECERT (a certificate that is not trusted).
---@param options luapilot.RequestOptions
---@return integer? id, string? message, string? code     ENOSYS: the library that does this is not installed
function port.request(options) end

---Grants the next chunk of a stream; granting twice is once.
---@param id integer
---@return true?, string? message, string? code   EINVAL: it is no stream
function port.more(id) end

---@class luapilot.AgentOptions
---@field url string                 "http://127.0.0.1:8500" or https, perhaps with a path in front of /v1
---@field socket string?             a unix socket to connect to, instead of the URL's host
---@field token string?              X-Consul-Token of every request that has none of its own
---@field auth string?               "user:password": HTTP's basic authentication
---@field tls table?                 as of `request`
---@field max_connections integer?   to the agent, at the same time; default 150

---The Consul agent that `consul` and `watch` talk to, from the next request on. No redirect is followed, no proxy used.
---Watches that have begun ask anew at once, unless nothing but `max_connections` has changed.
---@param options luapilot.AgentOptions
function port.agent(options) end

---@class luapilot.ConsulRequest
---@field method string?             default "GET"
---@field path string                with its query, encoded: "/v1/kv/app?dc=east"
---@field body string?
---@field token string?              instead of the agent's
---@field timeout number?            seconds for everything, waiting for a free connection included; 0 or nil: none
---@field max_body number?           as of `request`

---Sends a request to the agent; the answer is a `response` event, as of `request`. Requests that would exceed the
---agent's `max_connections`, less those that watches hold, wait for their turn, in order; one always goes. When
---the agent allows no further connection, that is the error EUSERS, of watches, too; for some seconds calls share those
---that they have then, and where they have none, the next watch that is answered leaves them its own. A request
---that is no GET is never sent twice: when its connection breaks that is an error, ECONNRESET.
---@param options luapilot.ConsulRequest
---@return integer? id, string? message, string? code   EDESTADDRREQ: no `agent` was named
function port.consul(options) end

---@class luapilot.WatchOptions
---@field path string                of an endpoint that blocks, with its query; `index` and `wait` are added
---@field token string?
---@field wait number?               seconds that the agent may hold an answer back; default 60, at most 600
---@field max_body number?           default 64 MiB
---@field cached boolean?            the agent answers from its cache, but for the first question after an error

---Asks again and again, by Consul's rules for blocking queries, until cancelled:
---{ type = "watch", id, status, index, body } for the first answer, for each whose content (status or body) is another
---than that of the one before, and for the first one after an error; status is 200, or 404 (there is no such key).
---{ type = "watch", id, error, code, status? } when it fails, once until it succeeds or fails otherwise: with another
---code or status, or after an `agent` that changed something. `index` is a string of digits, at least "1". The next
---question is asked when the event was taken. When a request to the agent, of `consul` or of any watch, is answered
---after some were not, every watch that still waits for an answer to an older question asks anew at once, on another
---connection.
---Codes: as of `request`; where there is a status: EACCES (401, 403; 200 or 404 where Consul says that it has left out
---what the token may not read), ENOENT (404 without an index: there is no such endpoint), EUSERS (429 since there are
---too many connections), EAGAIN (429), EIO (any other).
---A watch asks in time: an answer takes a part of a token out of its bucket, which holds two and gets one a second. An
---answer with nothing new takes one; content takes one for each MB, at least a tenth, at most one.
---@param options luapilot.WatchOptions
---@return integer? id, string? message, string? code   EDESTADDRREQ: no `agent` was named
function port.watch(options) end

---The content that a watch told last was no change to whoever reads it: it takes a whole token.
---@param id integer
---@return true?, string? message, string? code   EINVAL: it is no watch
function port.unchanged(id) end

---Level-triggered readiness of a descriptor that the caller owns, until cancelled.
---@param fd integer
---@param mode "r"|"w"|"rw"
---@return integer? id, string? message, string? code
function port.poll(fd, mode) end

---From now on these signals come as events instead of having their default effect.
---@param names string[]
function port.signals(names) end

-- Files. A path is walked one name at a time. Links are followed that belong to root, to the pilot's user, or to the
-- owner of what they lead to; any other is refused (ELOOP), and so is one that leads nowhere (ENOENT). Where the last
-- name is a link, `place`, `open`, `read`, `list` and `mkdir` follow it; `stat`, `rename`, `remove` and "create" mean
-- the link itself. With a `place` the path is a bare name in that directory, or ".", and nothing is followed.

---Keeps the directory open that a path leads into, until cancelled: what happens to the path then is no matter.
---@param path string       its last name need not exist
---@return integer? id, string name_or_message   that name
---@return string? directory_or_code             its directory, without links; EISDIR: the path has no name
---@return boolean? secluded      nobody but root and our user can give the path another meaning
function port.place(path) end

---@param path string
---@param place integer?
---@return luapilot.Stat?
---@return string? message, string? code
function port.stat(path, place) end

---The names in a directory, without "." and "..", in any order.
---@param path string
---@param limit integer     more is an error (EFBIG)
---@param place integer?
---@return string[]?, string? message, string? code
function port.list(path, limit, place) end

---@param from string
---@param to string
---@param place integer?    of both
---@return true?, string? message, string? code
function port.rename(from, to, place) end

---A directory must be empty.
---@param path string
---@param place integer?
---@return true?, string? message, string? code
function port.remove(path, place) end

---@param path string
---@param mode integer      as given, whatever the umask; at most 01777: mkdir(2) sets no set-user-ID and set-group-ID
---@param place integer?
---@return true?, string? message, string? code
function port.mkdir(path, mode, place) end

---Opens a file until cancelled. Only a regular one is opened (EINVAL, EISDIR), and none that has a second name in a
---directory that others may write into, unless it belongs to the directory's owner (EMLINK).
---@param path string
---@param mode "read"|"write"|"append"|"create"|"left"   write: in place, from the beginning; create: a new one, 0600
---     (EEXIST); left: one that whoever created it has open no more (EAGAIN), to read
---@param place integer?
---@return integer? id, luapilot.Stat|string stat_or_message, string? code
function port.open(path, mode, place) end

---@param id integer
---@param bytes integer     less only at the end of the file
---@return string? data, string? message, string? code
function port.get(id, bytes) end

---@param id integer
---@param data string
---@return true?, string? message, string? code
function port.put(id, data) end

---Nothing is left in the file.
---@param id integer
---@return true?, string? message, string? code
function port.truncate(id) end

---@param id integer        of a file; of a place: names that were made, changed or removed there
---@return true?, string? message, string? code
function port.sync(id) end

---A path by which another process of our user opens the very file, whatever stands at its name.
---@param id integer
---@return string? path, string? message, string? code
function port.held(id) end

---Changes mode and owner; nil fields stay.
---@param id integer        of an open file
---@param options { mode: integer?, uid: integer?, gid: integer? }
---@return true?, string? message, string? code
function port.chmod(id, options) end

---A small file, whole; what `open` refuses is refused.
---@param path string
---@param limit integer?    bytes; more is an error (EFBIG)
---@return string? data, string? message, string? code
function port.read(path, limit) end

---The user that the pilot is, where files are concerned.
---@return integer uid
function port.user() end

---@return { name: string, family: "inet"|"inet6", address: string, prefix: integer, loopback: boolean, up: boolean }[]?
---@return string? message
---@return string? code
function port.addresses() end
---@return string
function port.hostname() end
---@return table<string, string>
function port.environ() end
---@return integer
function port.pid() end
---The working directory, absolute.
---@return string?, string? message, string? code     ENOENT: it was removed
function port.cwd() end

---One line of the pilot's own. Dropped and counted when the output has been stalled for a megabyte.
---`message` and `fields` are what people read. `event` and `facts` say the same to machines: the default format
---leaves them out. `job` stands in front of the message in the default format, and is a field in the others. Of a fact
---and a field of one name the field is shown.
---@param level "debug"|"info"|"warn"|"error"
---@param message string
---@param fields table<string, string|number|boolean>?
---@param event string?      of a message of luapilot's own: the reference lists them
---@param job string?        the name of the job that it is about
---@param facts table<string, string|number|boolean>?
function port.log(level, message, fields, event, job, facts) end

---@param options { format: "default"|"text"|"json"|nil, output: string?, level: string? }
---     output: "stdout", "stderr" or an absolute path; unknown words raise, an unusable file returns
---@return true?, string? message, string? code
function port.logging(options) end

---Opens log files anew (SIGUSR1, after a rotation).
function port.reopen() end

---Writes out what is buffered; blocks for `seconds` at most. For the end: what is lost by then is told on the other one
---of stdout and stderr.
---@param seconds number
---@return integer lost     bytes that could not be written
function port.flush(seconds) end

---From now on code of the user is ended where it goes too far: an error is raised in it, again at each instruction
---until the core has control. User code is what runs in another coroutine than the caller's, in functions whose
---environment is not the caller's globals; nothing else is ever hit. It goes too far when `meter[1]` has not changed
---for `seconds` of processor time ("ran for more than 1 s without waiting"), or when more than `bytes` are in use
---after a full collection ("not enough memory"). The core counts `meter[1]` up before it resumes a task; `meter[2]`
---is counted up while Lua runs on, each 50 ms at most, so that the core asks for events in between. Called again:
---these bounds instead.
---@param options { meter: integer[], seconds: number, bytes: number? }
---@return true?, string? message, string? code
function port.contain(options) end

---Has the code that runs now used so much of the stack of C (by coroutines in coroutines, or calls of C that call Lua)
---that user code must not go deeper?
---@return boolean
function port.deep() end

---Tells the guardian which signals ask the pilot to end; until then these are SIGTERM, SIGINT and SIGQUIT. When it has
---to end the jobs itself, a second request makes it hurry.
---@param names string[]
function port.shutdown_signals(names) end

---Tells the guardian when, at the latest, everything must have ended, and with which exit code: a pilot that is there
---then is killed with all that is left. A pause of the machine does not count: the guardian counts these seconds as
---task/budget.lua does. When the `orderly` ones of them are over, by the clock, a stretch of user code may last 0.05 s,
---whatever `contain` was told.
---@param seconds number?   from now; nil: as it was
---@param orderly number?   the same
---@param code integer?     of pilot.shutdown; nil: as it was, at first 124
function port.deadline(seconds, orderly, code) end

---Tells the guardian, and through it the service manager outside, how far the pilot has come. One that was "started"
---and ends before it is "over" has failed.
---@param stage "started"|"over"
---@param status string?    of the start, a few words for people
function port.reached(stage, status) end

return port
