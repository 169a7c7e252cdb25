-- The real world for the specs of the port: real processes, files, sockets, and the runtime's module.
--
-- A world is an adapter with these fields; spec/support/sim_world.lua has the same for the simulated one.
--
--   world.port                   the port
--   world.next(seconds)          the next event, or nil when none comes within so many seconds
--   world.program(behaviour)     an argv that behaves so (see below)
--   world.path(name)             a path in a directory of this spec's own, without links
--   world.write(path, text, mode?)   puts a file there: 0644
--   world.link(target, path, uid?)   puts a symbolic link there, which belongs to a user
--   world.own(path, uid)         gives a file or a directory to a user
--   world.need_owners()          skips the spec where nothing can be given to others
--   world.alive(pid)             whether there is such a process
--   world.dies_unseen(pid)       it ends while the port does not look: what it did before is found at the same time
--   world.adopt(pid?)            orphans come to us until world.close(), as they come to the guardian of a pilot, and
--                                are reaped, but the one that the port follows
--   world.listener()             an address where somebody answers; world.refused(): where nobody does;
--   world.silent()               where nobody says anything
--   world.server(kind)           somebody who listens ("tcp", "unix"), for one connection: { target = { address = "…" }
--                                or { path = "…" }, send = function(text), receive = function(count) (so many bytes,
--                                fewer at the end), close = function(), reset = function() (of TCP) }
--   world.web(answer)            a URL that answers so: see spec/support/http_server.lua
--   world.pipe()                 a readable descriptor: { fd = …, write = function(text), close = function() }
--   world.send_signal(name)      somebody sends the pilot a signal
--   world.dead_disk()            a directory that does not answer: { path, answer = function(), fail = function() }:
--                                whoever waits goes on, or gets an error. Skips the spec where there is none
--   world.close()                undoes all that the spec did with the world
--
-- A behaviour is a table:
--
--   { exit = 3 }, { signal = "SIGSEGV" }, { after = 0.1, exit = 0 }
--   { alternates = { "…", … } }: stdout, stderr, stdout …
--   { stdout = "…", stderr = "…" }, { repeats = { "…", 1000 } }, { floods = true }, { closes_output = true }
--   { ignores = { "SIGTERM" } }, { on = { SIGTERM = 3 } } (exits so), { tells = { "SIGTERM" } } (prints the
--       name and goes on): these three print "ready" when they are in force
--   { shows_pid = true }: "pid 12", after that
--   { says = { SIGUSR1 = path } }: at the signal "STOPPING=1" by sd_notify, then what stands in the file, then exit 0
--   { cat = true }, { shows = "PATH" }, { shows_cwd = true }, { notify = { "READY=1" } }
--   { grandchild = { … } }: in the same group; with setpgid = true in another one of the session, with
--       setsid = true in another session; with unmarked = true it has an empty environment
--   { eats = true }: memory, until it is killed; with `exit` a child of it does, and then it exits so
--   { stays = true }: until world.close(), since nobody knows the pid of a stranger
--   { spawn_error = "ENOENT" | "EACCES" | "ENOEXEC" }
--
-- Without `exit`, `signal` or `after` it runs until a signal ends it.

local ffi = require "ffi"
local dead_disk = require "support.dead_disk"
local machine = require "support.machine"
local port = require "luapilot.rt"
local web = require "support.web"

ffi.cdef [[
  int kill(int pid, int sig);
  int pipe2(int ends[2], int flags);
  int socket(int domain, int type, int protocol);
  int bind(int fd, const void *address, unsigned size);
  int listen(int fd, int backlog);
  int connect(int fd, const void *address, unsigned size);
  int getsockname(int fd, void *address, unsigned *size);
  int close(int fd);
  int chmod(const char *path, unsigned mode);
  int symlink(const char *target, const char *path);
  int lchown(const char *path, unsigned uid, unsigned gid);
  unsigned geteuid(void);
  int prctl(int option, unsigned long value, unsigned long, unsigned long, unsigned long);
  int getsid(int pid);
  int waitpid(int pid, int *status, int options);
  ssize_t write(int fd, const void *data, size_t size);
  char *mkdtemp(char *template);
  int accept4(int fd, void *address, unsigned *size, int flags);
  int setsockopt(int fd, int level, int name, const void *value, unsigned size);
  ssize_t send(int fd, const void *data, size_t size, int flags);
  ssize_t recv(int fd, void *data, size_t size, int flags);
  struct luapilot_spec_unix { uint16_t family; char path[108]; };
  struct luapilot_spec_inet { uint16_t family; uint16_t port; uint32_t address; char rest[8]; };
]]

dead_disk.be_apart()

local AF_INET, SOCK_STREAM, CLOEXEC, NONBLOCK = 2, 1, 0x80000, 0x800

local SET_CHILD_SUBREAPER, NOHANG = 36, 1
local SLICE = 0.01 -- seconds between two looks for orphans that have died

local world = { port = port, name = "real" }

local directory     -- of this spec; made when it is first asked for
local open = {}     -- descriptors to close
local adopting      -- orphans
local followed      -- one that the port follows

-- --- orphans -------------------------------------------------------------------------------------

local function adopt(on)
  adopting = on
  ffi.C.prctl(SET_CHILD_SUBREAPER, on and 1 or 0, 0, 0, 0)
end

function world.adopt(pid)
  followed = pid
  adopt(true)
end

-- Leaders of sessions are the port's, or strays.
local function reap_orphans()
  local file = io.open "/proc/thread-self/children"
  for text in (file and file:read "*a" or ""):gmatch "%d+" do
    local pid = tonumber(text)
    if ffi.C.getsid(pid) ~= pid and pid ~= followed then ffi.C.waitpid(pid, nil, NOHANG) end
  end
  if file then file:close() end
end

-- --- time ----------------------------------------------------------------------------------------

local function wait_for_event(seconds)
  local bound = port.timer(seconds)
  local event = port.wait()
  if event.type == "timer" and event.id == bound then return nil end
  port.cancel(bound)
  return event
end

function world.next(seconds)
  while adopting and seconds > SLICE do
    reap_orphans()
    local event = wait_for_event(SLICE)
    if event then return event end
    seconds = seconds - SLICE
  end
  return wait_for_event(seconds)
end

-- --- programs ------------------------------------------------------------------------------------

local function quote(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

-- sd_notify(3) in two system calls: the shell has no datagrams.
local NOTIFY = [[
  local ffi = require "ffi"
  ffi.cdef "int socket(int, int, int); long sendto(int, const void *, size_t, int, const void *, unsigned);"
  local name = "\1\0\0" .. os.getenv("NOTIFY_SOCKET"):sub(2)
  local fd = ffi.C.socket(1, 2, 0)
  for _, message in ipairs(arg) do
    assert(ffi.C.sendto(fd, message, #message, 0, name, #name) == #message)
  end
]]

function world.notify_script(messages)
  local words = { "luajit - " }
  for _, message in ipairs(messages) do words[#words + 1] = quote(message) end
  return table.concat(words, " ") .. " <<'END'\n" .. NOTIFY .. "END"
end

local script

local function says(b, lines)
  for name, path in pairs(b.says or {}) do
    local program = world.path "notify.lua"
    world.write(program, NOTIFY)
    lines[#lines + 1] = ("trap 'luajit %s STOPPING=1 \"$(cat %s)\"; kill $! 2>/dev/null; exit 0' %s"):format(
      program, path, name:sub(4))
  end
end

-- What the shell waits in comes before its traps: a child that it forks later has the shell's handlers until it has
-- reset them, and a signal of that moment is lost.
local function traps(b, lines, settled)
  for _, name in ipairs(b.ignores or {}) do lines[#lines + 1] = ("trap '' %s"):format(name:sub(4)) end
  if b.on or b.tells or b.says then lines[#lines + 1] = settled and "sleep 1000 >&4 4>&- &" or "sleep 1000 &" end
  says(b, lines)
  for name, code in pairs(b.on or {}) do
    -- the signal may have come just before its own sleep did, who then has not had it
    lines[#lines + 1] = ("trap 'kill $! 2>/dev/null; exit %d' %s"):format(code, name:sub(4))
  end
  for _, name in ipairs(b.tells or {}) do
    lines[#lines + 1] = ("trap 'echo %s' %s"):format(name, name:sub(4))
  end
end

local SETPGID = [[
  local ffi = require "ffi"
  ffi.cdef "int setpgid(int, int); int execvp(const char *, const char *const[]);"
  ffi.C.setpgid(0, 0)
  ffi.C.execvp("sh", ffi.new("const char *[4]", { "sh", "-c", arg[1] }))
]]

local function prefix_of(b)
  if not b.setpgid then return (b.unmarked and "env -i " or "") .. (b.setsid and "setsid " or "") .. "sh -c" end
  local path = world.path "setpgid.lua"
  world.write(path, SETPGID)
  return "luajit " .. path
end

-- The leader goes on when its grandchild has its session and its traps: it reads a pipe that the
-- grandchild holds until then as its standard output.
local function grandchild(b, lines)
  if not b then return end
  local words = { prefix_of(b), quote(script(b, "exec 1>&4 4>&-")), "4>&4 &" }
  lines[#lines + 1] = "exec 4>&1; : $(" .. table.concat(words, " ") .. "); exec 4>&-"
end

local function life(b, lines)
  if b.after then lines[#lines + 1] = ("sleep %g"):format(b.after) end
  if b.stays then lines[#lines + 1] = ("while test -d %s; do sleep 0.1; done; exit"):format(world.path "") end
  if b.cat then lines[#lines + 1] = "exec cat" end
  if b.floods then lines[#lines + 1] = "exec yes" end
  if b.eats then lines[#lines + 1] = (b.exit and "" or "exec ") .. "tail /dev/zero" end -- its last line is endless
  if b.signal then lines[#lines + 1] = ("kill -%s $$"):format(b.signal:sub(4)) end
  if b.exit or b.after then lines[#lines + 1] = ("exit %d"):format(b.exit or 0) end
  if b.on or b.tells or b.says then -- the shell runs a trap at once only while it waits in a builtin
    lines[#lines + 1] = "wait; while :; do sleep 1000 & wait; done"
  end
  lines[#lines + 1] = "exec sleep 1000"
end

function script(b, settled)
  local lines = {}
  traps(b, lines, settled)
  lines[#lines + 1] = settled
  if b.ignores or b.on or b.tells or b.says then lines[#lines + 1] = "echo ready" end
  if b.shows_pid then lines[#lines + 1] = "echo pid $$" end
  grandchild(b.grandchild, lines)
  if b.stdout then lines[#lines + 1] = "printf %s " .. quote(b.stdout) end
  if b.stderr then lines[#lines + 1] = "printf %s " .. quote(b.stderr) .. " >&2" end
  for i, text in ipairs(b.alternates or {}) do
    lines[#lines + 1] = "printf %s " .. quote(text) .. (i % 2 == 0 and " >&2" or "")
  end
  if b.repeats then
    local code = "io.write(arg[1]:rep(tonumber(arg[2])))"
    lines[#lines + 1] = ("luajit - %s %d <<'END'\n%s\nEND"):format(quote(b.repeats[1]), b.repeats[2], code)
  end
  if b.shows then lines[#lines + 1] = ('printf %%s "$%s"'):format(b.shows) end
  if b.shows_cwd then lines[#lines + 1] = "pwd -P" end
  if b.notify then lines[#lines + 1] = world.notify_script(b.notify) end
  if b.closes_output then lines[#lines + 1] = "exec >/dev/null 2>&1" end
  life(b, lines)
  return table.concat(lines, "\n")
end

function world.program(b)
  if b.spawn_error == "ENOENT" then return { "luapilot-no-such-program" } end
  if b.spawn_error == "EACCES" then
    local path = world.path "not-executable"
    world.write(path, "#!/bin/sh\n")
    return { path }
  end
  if b.spawn_error == "ENOEXEC" then
    local path = world.path "not-a-program"
    world.write(path, "just text\n", 493)
    return { path }
  end
  return { "/bin/sh", "-c", script(b) }
end

function world.alive(pid) return ffi.C.kill(pid, 0) == 0 end

function world.dies_unseen(pid)
  for _ = 1, 6000 do
    local file = io.open(("/proc/%d/stat"):format(pid))
    local state = file and file:read "*a":match ".*%) (%a)"
    if file then file:close() end
    if state == "Z" then return end
    os.execute "sleep 0.01"
  end
  error("process " .. pid .. " does not end")
end

function world.send_signal(name) os.execute(("kill -%s %d"):format(name:sub(4), port.pid())) end

-- --- files ---------------------------------------------------------------------------------------

function world.path(name)
  directory = directory or ffi.string(assert(ffi.C.mkdtemp(ffi.new("char[64]", "/tmp/luapilot-spec-XXXXXX"))))
  return name == "" and directory or directory .. "/" .. name
end

function world.write(path, text, mode)
  local file = assert(io.open(path, "wb"))
  assert(file:write(text))
  file:close()
  assert(ffi.C.chmod(path, mode or 420) == 0)
end

local KEEP = 0xffffffff -- for lchown(2)

function world.own(path, uid) assert(ffi.C.lchown(path, uid, KEEP) == 0) end

function world.link(target, path, uid)
  assert(ffi.C.symlink(target, path) == 0)
  if uid then world.own(path, uid) end
end

function world.need_owners()
  if ffi.C.geteuid() ~= 0 then machine.skip "only root can give files away" end
end

-- --- descriptors ---------------------------------------------------------------------------------

local function keep(fd)
  assert(fd >= 0)
  open[fd] = true
  return fd
end

local function close(fd)
  if open[fd] then ffi.C.close(fd) end
  open[fd] = nil
end

function world.pipe()
  local ends = ffi.new "int[2]"
  assert(ffi.C.pipe2(ends, CLOEXEC) == 0)
  local reading, writing = keep(ends[0]), keep(ends[1])
  return {
    fd = reading,
    write = function(text) ffi.C.write(writing, text, #text) end,
    close = function() close(reading) close(writing) end,
  }
end

local function listen(backlog)
  local fd = keep(ffi.C.socket(AF_INET, SOCK_STREAM + CLOEXEC, 0))
  local address = ffi.new("struct luapilot_spec_inet", { family = AF_INET, address = 0x0100007f })
  local size = ffi.new("unsigned[1]", 16)
  assert(ffi.C.bind(fd, address, 16) == 0)
  assert(ffi.C.listen(fd, backlog) == 0)
  assert(ffi.C.getsockname(fd, address, size) == 0)
  local number = bit.rshift(bit.bswap(address.port), 16)
  return ("127.0.0.1:%d"):format(number), fd, address
end

function world.listener() return (listen(16)) end

local AF_UNIX, SOL_SOCKET, SO_LINGER, NOSIGNAL = 1, 1, 13, 0x4000
local sockets = 0

-- For the specs of the real port alone: a unix socket there, and the descriptor that listens.
function world.listen_unix(path, backlog)
  local fd = keep(ffi.C.socket(AF_UNIX, SOCK_STREAM + CLOEXEC, 0))
  local address = ffi.new("struct luapilot_spec_unix", { family = AF_UNIX, path = path })
  assert(ffi.C.bind(fd, address, ffi.sizeof(address)) == 0)
  assert(ffi.C.listen(fd, backlog or 16) == 0)
  return path, fd
end

---Takes the next connection of a descriptor that listens.
function world.accept(fd) return keep(ffi.C.accept4(fd, nil, nil, CLOEXEC)) end

function world.close_descriptors()
  for fd in pairs(open) do ffi.C.close(fd) end
  open = {}
end

-- Everything but `receive` of what was sent works without waiting: nobody else is there to read.
function world.server(kind)
  local at, fd
  if kind == "unix" then
    sockets = sockets + 1
    at, fd = world.listen_unix(world.path("socket-" .. sockets))
  else
    at, fd = listen(16)
  end
  local conn
  local function accepted()
    conn = conn or world.accept(fd)
    return conn
  end
  local self = { target = { [kind == "unix" and "path" or "address"] = at } }
  function self.send(text) assert(ffi.C.send(accepted(), text, #text, NOSIGNAL) == #text) end
  function self.receive(count)
    local data, got = ffi.new("char[?]", count), 0
    while got < count do
      local size = tonumber(ffi.C.recv(accepted(), data + got, count - got, 0))
      if size <= 0 then break end
      got = got + size
    end
    return ffi.string(data, got)
  end
  function self.close() close(accepted()) end
  function self.reset()
    local linger = ffi.new("int[2]", { 1, 0 })
    assert(ffi.C.setsockopt(accepted(), SOL_SOCKET, SO_LINGER, linger, 8) == 0)
    close(conn)
  end
  return self
end

local server -- of spec/support/web.lua; started when it is first asked for

function world.web(answer)
  server = server or web.start()
  return server:url(answer)
end

function world.refused()
  local address, fd = listen(1)
  close(fd)
  return address
end

-- A queue of connections that is full, and nobody who accepts: the kernel drops what comes.
function world.silent()
  local text, _, address = listen(0)
  for _ = 1, 3 do
    ffi.C.connect(keep(ffi.C.socket(AF_INET, SOCK_STREAM + CLOEXEC + NONBLOCK, 0)), address, 16)
  end
  return text
end

local disks = {}

function world.dead_disk()
  local lacking = dead_disk.lacking()
  if lacking then machine.skip(lacking) end
  local path = world.path("dead-" .. #disks + 1)
  os.execute("mkdir -p " .. path)
  local disk = dead_disk.new(path)
  disks[#disks + 1] = disk
  return { path = path, answer = function() disk:answer() end, fail = function() disk:fail() end }
end

function world.close()
  if adopting then adopt(false) end
  for _, disk in ipairs(disks) do disk:close() end
  disks = {}
  world.close_descriptors()
  if directory then os.execute("rm -rf " .. directory) end
  directory = nil
end

return world
