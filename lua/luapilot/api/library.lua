---@meta luapilot
-- What `require "luapilot"` is inside a pilot.lua, for editors (LuaLS). Never loaded; spec/unit/api/library_spec.lua keeps
-- it equal to what the program gives. docs/reference.md says the same in prose.

---@class luapilot
---@field args string[]                 arguments after `--`
---@field state table                   JSON-like values that survive a reload
---@field consul luapilot.ConsulLibrary  see consul/library.lua
local pilot = {}

---@alias luapilot.Span string|number   "500ms", "5s", "1m30s", "2h", or a number of seconds
---@alias luapilot.Argv string|string[] words with quotes and no shell, or a list; pilot.sh makes one for a shell
---@alias luapilot.Trigger table        of once, each, every, cron, all, any

---@class luapilot.HandlerOptions
---@field when_busy "queue"|"latest"|"drop"|"restart"|"parallel"|nil   what happens to an event while the handler works
---@field settle luapilot.Span?         wait until it was quiet that long …
---@field max_wait luapilot.Span?       … this long at most (default 4 × settle)
---@field timeout luapilot.Span?        one run may take this long

---@class luapilot.TriggerOptions
---@field timeout luapilot.Span?        give up after this long: the job completes with exit_failed
---@field settle luapilot.Span?
---@field max_wait luapilot.Span?
---@field when_busy "latest"|"queue"|"drop"|"restart"|nil

---@class luapilot.Event
---@field name string
---@field source any                    the job, or the pilot
---@field at number                     epoch seconds
---@field code integer?                 exit_success, exit_failed
---@field signal string?                exit_failed
---@field reason "exit"|"signal"|"timeout"|"spawn"|"prepare"|"trigger"|"dependency"|"health"|"oom"|nil
---@field output string?                healthy, unhealthy: what the check said
---@field stream "stdout"|"stderr"|nil  output
---@field line string?                  output: 64 KiB at most
---@field partial true?                 output: the next event of the stream goes on with the line

---@class luapilot.FileStat             of the entry itself: a link is not followed
---@field type "file"|"directory"|"link"|"fifo"|"socket"|"device"
---@field mode string                   octal: "0644"
---@field uid integer
---@field gid integer
---@field size integer
---@field mtime number                  seconds since the epoch
---@field target string?                of a link: where it leads, as it is written

---@class luapilot.TlsOptions
---@field cafile string?                PEM; instead of the system's CAs
---@field capath string?
---@field clientcert string?
---@field clientkey string?
---@field servername string?            verified instead of the URL's host
---@field verify boolean?               default true

---@class luapilot.HttpCheck
---@field url string
---@field method string?                default "GET"
---@field headers table<string, string|number>?
---@field body string?
---@field status string|integer|nil     default "200-399"
---@field tls luapilot.TlsOptions?

---@class luapilot.CheckOptions
---@field http string|luapilot.HttpCheck|nil   a URL; redirects are not followed
---@field tcp string?                   "host:port"
---@field exec luapilot.Argv?
---@field env table<string, string|number>?   of exec, beside the job's
---@field check (fun(job: luapilot.Job): any, string?)?   truthy passes; "warn", "text" warns
---@field notify true?                  sd_notify: READY=1 passes, a missed WATCHDOG=1 fails
---@field interval luapilot.Span?       default "10s"
---@field timeout luapilot.Span?        default: the interval
---@field ttl luapilot.Span?            default: 3 × interval
---@field rise integer?                 default 1
---@field fall integer?                 default 3
---@field start_period luapilot.Span?   failures do not count so long, until it has passed
---@field restart_after integer?        failures in a row after which the job is restarted

---@class luapilot.RestartOptions
---@field policy "always"|"on_failure"|"never"|nil
---@field count integer?
---@field backoff luapilot.Span?        default "1s", doubling with jitter …
---@field max_backoff luapilot.Span?    … to this, default "1m"
---@field reset_after luapilot.Span?    a run this long starts the doubling anew, default "1m"
---@field limit integer?                so many restarts …
---@field within luapilot.Span?         … in this time, default "1m"

---@class luapilot.JobOptions
---@field name string?                  only in pilot.job { name = … }
---@field exec luapilot.Argv?
---@field run fun(job: luapilot.Job)?   instead of exec: a job written in Lua
---@field prepare fun(job: luapilot.Job)?   before every start; a raise is a failed start
---@field when luapilot.Trigger|"manual"|(fun(job: luapilot.Job): any)|nil   default: at start-up
---@field depends_on (string|luapilot.Job)[]|table<string|luapilot.Job, "running"|"healthy"|"exit_success">|nil
---@field bind boolean?                 stopped and started with what it depends on
---@field restart "always"|"on_failure"|"never"|integer|luapilot.RestartOptions|nil
---@field timeout luapilot.Span?
---@field stop_signal string?           default "SIGTERM"
---@field stop_timeout luapilot.Span?   default "10s": stopping handlers, then the signal; then SIGKILL
---@field stop_mode "group"|"mixed"|nil    mixed: the signal to the leader alone, then SIGKILL to the rest
---@field reload string|fun(job: luapilot.Job)|nil
---@field pidfile string?               absolute; the program writes it: who follows when the main process hands over
---@field main boolean?                 when it completes, the pilot ends with its exit code
---@field health luapilot.CheckOptions|luapilot.CheckOptions[]|nil
---@field service luapilot.ServiceOptions|luapilot.ServiceOptions[]|nil   how others find it
---@field drain luapilot.Span?          between deregistering and the stop signal
---@field env table<string, string|number>?
---@field env_file string?
---@field env_clear boolean?
---@field cwd string?
---@field user string|integer|nil
---@field group string|integer|nil
---@field umask string?                 octal: "027"
---@field limits table<string, integer|"unlimited"|table>?   nofile, core, nproc …
---@field no_new_privs boolean?
---@field oom_score_adj integer?
---@field cgroup { memory_max: string|integer|nil, cpu_max: number?, pids_max: integer? }?
---@field stdin "null"|"inherit"|"open"|nil   default "null"; "inherit": the container's; "open": it never ends
---@field log "lines"|"raw"|"none"|luapilot.LogOptions|nil

---@class luapilot.LogOptions
---@field mode "lines"|"raw"|"none"|nil
---@field level "debug"|"info"|"warn"|"error"|nil   the label of its lines
---@field prefix boolean?               false: the bare line, in the default format
---@field file string?                  instead of luapilot's own output
---@field merge boolean?                true: stdout and stderr are one stream, in the order of the program
---@field parse "json"|nil               lines that are JSON objects stand as `data` in the JSON format
---@field level_from string?            with parse: the key that names the level of such a line, such as "level"

---@class luapilot.ServiceOptions
---@field name string?                  default: the job's
---@field id string?                    default: <name>-<hostname>
---@field port integer|string|nil
---@field tags string[]?
---@field meta table<string, string|number>?
---@field weights { passing: integer?, warning: integer? }?
---@field interfaces string|string[]|nil   default { "eth0:inet", "inet" }
---@field initial_status "passing"|"warning"|"critical"|nil   registered at once, with this
---@field enable_tag_override boolean?
---@field deregister_after luapilot.Span?

---@alias luapilot.JobEvent "healthy"|"unhealthy"|"exit_success"|"exit_failed"|"stopping"|"stopped"|"output"
---@alias luapilot.JobState "healthy"|"unhealthy"|"running"|"stopped"|"exited"|"exit_success"|"exit_failed"

---@class luapilot.Job
---@field name string
---@field state "waiting"|"blocked"|"preparing"|"running"|"stopping"|"backoff"|"stopped"|"complete"
---@field pid integer?
---@field running boolean
---@field health "unknown"|"healthy"|"unhealthy"
---@field exit { code: integer, signal: string?, reason: string, at: number }?   of the last run
---@field restarts integer
---@field since number                  epoch seconds of the last change of state
---@overload fun(options: luapilot.JobOptions): luapilot.Job
local job = {}

---The first time that `event` happens (at once if it is so now).
---@param event luapilot.JobEvent
---@param options luapilot.TriggerOptions?
---@return luapilot.Trigger
function job:once(event, options) end

---Every time that `event` happens.
---@param event luapilot.JobEvent
---@param options luapilot.TriggerOptions?
---@return luapilot.Trigger
function job:each(event, options) end

---Calls fn(event) for each `event`, in a task of its own.
---@param event luapilot.JobEvent
---@param options luapilot.HandlerOptions|fun(event: luapilot.Event)
---@param fn fun(event: luapilot.Event)?
---@return { cancel: fun(self: table) }
function job:on(event, options, fn) end

---Returns at once if it is so now.
---@param state luapilot.JobState
---@param timeout luapilot.Span?
---@return true?, string? why           "timeout", or "complete": it can no longer come
function job:wait_for(state, timeout) end

---Waits for the next time.
---@param event luapilot.JobEvent
---@param timeout luapilot.Span?
---@return luapilot.Event?, string? why
function job:next(event, timeout) end

---Starts it and waits until its process exists; raises when that fails.
function job:start() end
---Stops it and waits until no process of it lives; holds until :start() or its trigger.
function job:stop() end
function job:restart() end
---@return boolean sent                 or deferred; false: it does not run
function job:reload() end
---@param name string                   "SIGHUP"
---@return boolean sent
function job:signal(name) end
---Other tags for its services, from now on.
---@param tags string[]
function job:set_tags(tags) end
---Out of service, its checks pause; desired state: saying it twice is saying it once.
---@param on boolean
---@param reason string?
function job:maintenance(on, reason) end

---pilot.job "name" { … }, or pilot.job { name = "name", … }; pilot.job "name" alone is completed by a later call.
---@param name string|luapilot.JobOptions
---@return luapilot.Job
function pilot.job(name) end

---@param event string                  startup, shutdown, error, or a signal: "SIGHUP"
---@param options luapilot.HandlerOptions|fun(event: luapilot.Event)
---@param fn fun(event: luapilot.Event)?
---@return { cancel: fun(self: table) }
function pilot.on(event, options, fn) end
---@param event string
---@param options luapilot.TriggerOptions?
---@return luapilot.Trigger
function pilot.once(event, options) end
---@param event string
---@param options luapilot.TriggerOptions?
---@return luapilot.Trigger
function pilot.each(event, options) end
---@param parts luapilot.Trigger[]
---@return luapilot.Trigger
function pilot.all(parts) end
---@param parts luapilot.Trigger[]
---@return luapilot.Trigger
function pilot.any(parts) end

---A trigger (first run at start-up); with a function: calls it every `interval`, the first time after that.
---@param interval luapilot.Span
---@param fn fun()?
function pilot.every(interval, fn) end
---@param delay luapilot.Span
---@param fn fun()
---@return { cancel: fun(self: table) }
function pilot.after(delay, fn) end
---A trigger, or with a function at the end: calls it then.
---@param spec string                   "0 3 * * *"
---@param options { jitter: luapilot.Span? }|fun()|nil
---@param fn fun()?
function pilot.cron(spec, options, fn) end

---@param duration luapilot.Span
function pilot.sleep(duration) end
---@return number epoch_seconds
function pilot.now() end
---@param fn function
---@return { cancel: fun(self: table), wait: fun(self: table, timeout: luapilot.Span?): ... }
function pilot.spawn(fn, ...) end
---fn's results, or nil and "timeout".
---@param duration luapilot.Span
---@param fn function
function pilot.timeout(duration, fn, ...) end
---@param fn fun(reason: "done"|"error"|"cancel"|"timeout"|"shutdown"|"reload"|"lost")
function pilot.defer(fn) end

---@class luapilot.ExecOptions
---@field check boolean?                default true: raise when the exit code is not 0
---@field env table<string, string|number>?
---@field cwd string?
---@field user string|integer|nil
---@field group string|integer|nil
---@field umask string?                 octal: "027"
---@field limits table<string, integer|"unlimited"|table>?   nofile, core, nproc …
---@field no_new_privs boolean?
---@field stdin string?
---@field log "none"|luapilot.ExecLog|nil   also into the log, or nowhere
---@field timeout luapilot.Span?
---@field max_output string|integer|nil   default "1M", of each stream

---@class luapilot.ExecLog
---@field as string                     the name in front of its lines, as of a job
---@field level "debug"|"info"|"warn"|"error"|nil
---@field prefix boolean?
---@field parse "json"|nil
---@field level_from string?

---Runs a program to its end. Raises when it fails, unless check = false.
---@param command luapilot.Argv
---@param options luapilot.ExecOptions?
---@return { code: integer, signal: string?, stdout: string, stderr: string }
function pilot.exec(command, options) end
---@param text string                   "a | b"
---@return string[] argv
function pilot.sh(text) end

---@param name string
---@param default any
---@return string
function pilot.env(name, default) end
---@param name string                   "db-password": /run/secrets/db-password, or what DB_PASSWORD_FILE names
---@return string
function pilot.secret(name) end
---@param spec string|string[]|nil      default "eth0:inet", then "inet"
---@return string
function pilot.address(spec) end
---@return string
function pilot.hostname() end

---@class luapilot.TemplateOptions
---@field source string?                path of the template, or
---@field text string?                  the template itself
---@field data table|(fun(): table)|nil   its fields are the template's variables; the function may wait
---@field mode string?                  octal: "0640"; default: as the old file, else "0644"
---@field owner string|integer|nil      "app", "app:www", ":www"
---@field validate luapilot.Argv?       0 accepts; with the word {file} it checks before the swap
---@field reload luapilot.Job?          is told when the file is another one (pilot.template only)
---@field watch luapilot.Watch|luapilot.Watch[]|nil   rendered when all have answered, again when one changes (pilot.template only)
---@field settle luapilot.Span?         of watches: how long they must have been quiet (pilot.template only)

---@class luapilot.RenderOptions: luapilot.TemplateOptions
---@field to string                     the file to write

---@class luapilot.Template
---@field name string                   the path
---@field rendered boolean              whether it has been
---@overload fun(options: luapilot.TemplateOptions): luapilot.Template
local template = {}

---@param event "rendered"              event.changed: is the file another one?
---@param options luapilot.HandlerOptions|fun(event: luapilot.Event)
---@param fn fun(event: luapilot.Event)?
---@return { cancel: fun(self: table) }
function template:on(event, options, fn) end
---@param event "rendered"
---@param options luapilot.TriggerOptions?
---@return luapilot.Trigger
function template:once(event, options) end
---@param event "rendered"
---@param options luapilot.TriggerOptions?
---@return luapilot.Trigger
function template:each(event, options) end
---Again, now. Raises when it fails.
---@return boolean changed
function template:render() end
---@param state "rendered"
---@param timeout luapilot.Span?
---@return true?, string? why           "timeout"
function template:wait_for(state, timeout) end

---pilot.template "/etc/app.conf" { … }: rendered at the start, and kept.
---@param path string
---@return luapilot.Template
function pilot.template(path) end
---Renders a file: true if it is another one now. Raises when it fails; the old file stays.
---@param options luapilot.RenderOptions
---@return boolean changed
function pilot.render(options) end

---@class luapilot.Instance
---@field id string
---@field address string
---@field port integer                  0: none
---@field authority string              "10.0.0.1:80", "[fd00::1]:80"; without a port the address alone
---@field tags string[]
---@field meta table<string, string>
---@field node string
---@field status "passing"|"warning"|"critical"
---@field weights { passing: integer, warning: integer }

---@class luapilot.WatchOptions
---@field tag string|string[]|nil       all of these
---@field dc string?
---@field near string?                  "_agent"
---@field filter string?
---@field stale boolean?
---@field cached boolean?               the agent answers from its cache; of services only
---@field status "passing"|"any"|nil    default "passing"
---@field keep_last boolean?            an empty answer does not replace a good one

---@class luapilot.WatchChange: luapilot.Event   relative to what this handler was last told
---@field instances luapilot.Instance[]?
---@field added table?                  instances; of a prefix: names
---@field removed table?
---@field updated table?
---@field value string?                 of a key
---@field previous string?
---@field values table<string, string>?   of a prefix

---@alias luapilot.WatchEvent "changed"|"healthy"|"unhealthy"

---@class luapilot.Watch
---@field name string
---@field instances luapilot.Instance[]   of a service: sorted by id, empty before the first answer
---@field value string?                 of a key
---@field values table<string, string>  of a prefix, by what follows it
---@overload fun(options: luapilot.WatchOptions): luapilot.Watch
local watch = {}

---@param event luapilot.WatchEvent
---@param options luapilot.HandlerOptions|fun(event: luapilot.WatchChange)
---@param fn fun(event: luapilot.WatchChange)?
---@return { cancel: fun(self: table) }
function watch:on(event, options, fn) end
---@param event luapilot.WatchEvent
---@param options luapilot.TriggerOptions?
---@return luapilot.Trigger
function watch:once(event, options) end
---@param event luapilot.WatchEvent
---@param options luapilot.TriggerOptions?
---@return luapilot.Trigger
function watch:each(event, options) end
---@param state luapilot.WatchEvent
---@param timeout luapilot.Span?
---@return true?, string? why           "timeout"
function watch:wait_for(state, timeout) end
---@param event luapilot.WatchEvent
---@param timeout luapilot.Span?
---@return luapilot.WatchChange?, string? why
function watch:next(event, timeout) end

---pilot.watch "name" [{ … }]: who provides a service.
---@overload fun(name: string): luapilot.Watch
pilot.watch = {}
---@param key string
---@return luapilot.Watch
function pilot.watch.key(key) end
---@param prefix string
---@return luapilot.Watch
function pilot.watch.prefix(prefix) end

---All jobs out of service; see job:maintenance.
---@param on boolean
---@param reason string?
function pilot.maintenance(on, reason) end

---@param fd integer
---@param mode "r"|"w"|"rw"
---@param fn fun()
---@return { cancel: fun(self: table) }
function pilot.poll(fd, mode, fn) end
---Ends the pilot in order; returns at once.
---@param code integer?
function pilot.shutdown(code) end
---@param bound luapilot.Span           default "8s"
function pilot.shutdown_timeout(bound) end
---Has the shutdown begun?
---@return boolean
function pilot.shutting_down() end
---All jobs, in the order of the file. Not at the top level, where there may be more to come.
---@return luapilot.Job[]
function pilot.jobs() end
---Signals that end the pilot, beside SIGTERM, SIGINT and SIGQUIT: the STOPSIGNAL of an image.
---@param signals string[]              "SIGWINCH", "SIGRTMIN+3"
function pilot.shutdown_signals(signals) end
---@param options { level: "debug"|"info"|"warn"|"error"|nil, format: "default"|"text"|"json"|nil, output: string? }
function pilot.logging(options) end

pilot.log = {}
---@param message any
---@param fields table<string, any>?
function pilot.log.debug(message, fields) end
---@param message any
---@param fields table<string, any>?
function pilot.log.info(message, fields) end
---@param message any
---@param fields table<string, any>?
function pilot.log.warn(message, fields) end
---@param message any
---@param fields table<string, any>?
function pilot.log.error(message, fields) end

pilot.json = {}
---@type any
pilot.json.null = nil
---@param value any
---@return string
function pilot.json.encode(value) end
---@param text string
---@return any
function pilot.json.decode(text) end

---@class luapilot.HttpOptions
---@field query table<string, any>?     added to the URL
---@field headers table<string, string|number>?
---@field body string?
---@field json any                      sent as JSON
---@field form table<string, any>?      sent as a form
---@field timeout luapilot.Span?        default "30s"; of a stream: until its head is there
---@field socket string?                a unix socket to connect to
---@field tls luapilot.TlsOptions?
---@field follow boolean?               redirects, ten at most
---@field proxy string|false|nil        default: what the environment says
---@field max_body string|integer|nil   default "16M"; of a stream: one line
---@field retry luapilot.Span?          try again for so long

---@class luapilot.HttpRequest: luapilot.HttpOptions
---@field url string
---@field method string?                default "GET"

---@class luapilot.HttpAnswer
---@field status integer
---@field ok boolean                    200 to 299
---@field headers table<string, string> in any capitals
---@field body string
---@field json fun(): any               raises when the body is no JSON

---@class luapilot.HttpStream           closed with the task that opened it
---@field status integer
---@field ok boolean
---@field headers table<string, string>
---@field chunks fun(self: luapilot.HttpStream): fun(): string?
---@field lines fun(self: luapilot.HttpStream): fun(): string?
---@field json_lines fun(self: luapilot.HttpStream): fun(): any
---@field close fun(self: luapilot.HttpStream)

pilot.http = {}
---@param url string
---@param options luapilot.HttpOptions?
---@return luapilot.HttpAnswer
function pilot.http.get(url, options) end
---@param url string
---@param options luapilot.HttpOptions?
---@return luapilot.HttpAnswer
function pilot.http.post(url, options) end
---@param url string
---@param options luapilot.HttpOptions?
---@return luapilot.HttpAnswer
function pilot.http.put(url, options) end
---@param url string
---@param options luapilot.HttpOptions?
---@return luapilot.HttpAnswer
function pilot.http.delete(url, options) end
---@param request luapilot.HttpRequest
---@return luapilot.HttpAnswer
function pilot.http.request(request) end
---A body that is read piece by piece, in bounded memory.
---@param url string
---@param options luapilot.HttpOptions?
---@return luapilot.HttpStream
function pilot.http.stream(url, options) end

---@class luapilot.NetOptions
---@field timeout luapilot.Span?        for connecting, and for each call of the stream; default "5s"
---@field retry luapilot.Span?          try again to connect for so long
---@field max_line string|integer|nil   a longer line raises; default "64K"

---@alias luapilot.StreamOptions { timeout: luapilot.Span? }

---@class luapilot.Stream               closed with the task that opened it, and by an error
local stream = {}
---The next line, without "\n" or "\r\n"; nil at the end. What stands there without a newline is a line, too.
---@param options luapilot.StreamOptions?
---@return string?
function stream:read_line(options) end
---for line in stream:lines() do … end
---@param options luapilot.StreamOptions?
---@return fun(): string?
function stream:lines(options) end
---So many bytes, fewer only at the end; without a number what is there, at least one. nil at the end.
---@param count integer?                1 MiB at most
---@param options luapilot.StreamOptions?
---@return string?
function stream:read(count, options) end
---Returns when the kernel has all of it.
---@param data string
---@param options luapilot.StreamOptions?
function stream:write(data, options) end
function stream:close() end

pilot.net = {}
---@param address string                "host:port", "[::1]:80", or "unix:///run/app.sock"
---@param options luapilot.NetOptions?
---@return luapilot.Stream
function pilot.net.connect(address, options) end

pilot.fs = {}
---@param path string
---@return string? data                 nil: there is none
function pilot.fs.read(path) end
---Replaces the file atomically.
---@param path string
---@param data string
---@param options { mode: string? }?
function pilot.fs.write(path, data, options) end
---Adds to the end of a file, and makes it.
---@param path string
---@param data string
---@param options { mode: string? }?    of a new file; default "0644"
function pilot.fs.append(path, data, options) end
---@param path string
---@return boolean
function pilot.fs.exists(path) end
---@param path string
---@return luapilot.FileStat?           nil: there is nothing
function pilot.fs.stat(path) end
---The names in a directory, in order, without "." and "..".
---@param path string
---@return string[]?                    nil: there is no such directory
function pilot.fs.list(path) end
---The paths that fit a pattern, in order: `*`, `?` and `[a-z]` within a name.
---@param pattern string                "/etc/app/*.conf"
---@return string[]
function pilot.fs.glob(pattern) end
---Removes a file, a link, a socket, or a directory that is empty.
---@param path string
---@return boolean removed              false: there was nothing
function pilot.fs.remove(path) end
---Renames a file or a directory. A file that has the new name is replaced.
---@param from string
---@param to string
function pilot.fs.rename(from, to) end
---@param path string
---@param options { mode: string?, parents: boolean? }?   mode: default "0755"; parents: those above it, too
---@return boolean made                 false: it was there
function pilot.fs.mkdir(path, options) end

return pilot
