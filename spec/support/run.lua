-- Runs the built program, or any other, for the integration specs.
--
--   local run = require "support.run"
--   after_each(run.cleanup)
--
--   local p = run.pilot([[ require "luapilot".job "app" { exec = "sleep 100" } ]], { env = { A = "1" } })
--   p:wait_for_line "app"         -- of stdout or stderr; fails with the whole log after two minutes
--   p:signal "SIGTERM"            -- to the guardian; p:signal("SIGKILL", p:pilot())
--   p:deliver "SIGTERM"           -- the same, and it has been taken: another one will not become one with it
--   assert.equal(0, p:wait())     -- the exit code; 128 + n, "SIGKILL" when a signal ended it
--   p:output()                    -- stdout, then stderr, so far
--
-- Each program has a directory of its own under build/tmp, its output goes to files there, and
-- a mark in its environment finds whatever descends from it, wherever that was reparented to. `cleanup`
-- kills what is left, removes the directories, and fails the spec when a program that had ended left
-- processes behind.
--
-- Waiting is always for a condition and always bounded. Nothing here uses the code under test: it is
-- posix_spawn, waitpid and kill by way of ffi.

local ffi = require "ffi"
local C = ffi.C

ffi.cdef [[
  typedef struct { char opaque[1024]; } spec_opaque;
  extern char **environ;
  int posix_spawn(int *pid, const char *path, spec_opaque *actions, spec_opaque *attributes,
                  const char **argv, const char **envp);
  int posix_spawnp(int *pid, const char *path, spec_opaque *actions, spec_opaque *attributes,
                   const char **argv, const char **envp);
  int posix_spawn_file_actions_init(spec_opaque *actions);
  int posix_spawn_file_actions_destroy(spec_opaque *actions);
  int posix_spawn_file_actions_addopen(spec_opaque *actions, int fd, const char *path, int flags, unsigned mode);
  int posix_spawn_file_actions_adddup2(spec_opaque *actions, int from, int to);
  int posix_spawn_file_actions_addclose(spec_opaque *actions, int fd);
  int posix_spawn_file_actions_addchdir_np(spec_opaque *actions, const char *path);
  int posix_spawnattr_init(spec_opaque *attributes);
  int posix_spawnattr_destroy(spec_opaque *attributes);
  int posix_spawnattr_setflags(spec_opaque *attributes, short flags);
  int posix_spawnattr_setsigmask(spec_opaque *attributes, const spec_opaque *mask);
  int posix_spawnattr_setsigdefault(spec_opaque *attributes, const spec_opaque *mask);
  int sigemptyset(spec_opaque *mask);
  int sigfillset(spec_opaque *mask);
  int waitpid(int pid, int *status, int options);
  int kill(int pid, int number);
  int ioctl(int fd, unsigned long request, ...);
  int fcntl(int fd, int command, ...);
  int setenv(const char *name, const char *value, int overwrite);
  int getpid(void);
  int poll(void *descriptors, unsigned long count, int milliseconds);
  int pipe2(int ends[2], int flags);
  int close(int fd);
  ssize_t read(int fd, void *data, size_t size);
  ssize_t write(int fd, const void *data, size_t size);
  char *mkdtemp(char *template);
  char *getcwd(char *path, size_t size);
  char *strerror(int number);
  typedef struct { long seconds, nanoseconds; } spec_time;
  int clock_gettime(int clock, spec_time *time);
]]

local RDONLY, WRONLY_CREATE_APPEND, CLOEXEC = 0, 1 + 64 + 1024, 524288
local NOHANG, MONOTONIC = 1, 1
local SETSIGDEF, SETSIGMASK, SETSID = 4, 8, 128

local signals = {
  SIGHUP = 1, SIGINT = 2, SIGQUIT = 3, SIGILL = 4, SIGABRT = 6, SIGBUS = 7, SIGFPE = 8, SIGKILL = 9, SIGUSR1 = 10,
  SIGSEGV = 11, SIGUSR2 = 12, SIGPIPE = 13, SIGALRM = 14, SIGTERM = 15, SIGCHLD = 17, SIGCONT = 18, SIGSTOP = 19,
  SIGTSTP = 20, SIGTTIN = 21, SIGTTOU = 22, SIGURG = 23, SIGXCPU = 24, SIGWINCH = 28,
}
local names = {}
for name, number in pairs(signals) do names[number] = name end

local run = { signals = signals }

--- Seconds a wait may last: generous, since it is only ever used up by a failure. What must not last long is shown by
--- budgets of an hour, not by a short wait: a busy machine, or a sanitizer, makes anything slow.
run.patience = 120

-- A user's PATH may have no /usr/sbin, where Debian keeps nginx and dockerd.
C.setenv("PATH", (os.getenv "PATH" or "/usr/bin:/bin") .. ":/usr/sbin:/sbin", 1)

local started = {}                                     -- since the last cleanup
local lasting = {}                                     -- since the last finish
local count = 0

-- --- small things ----------------------------------------------------------------------------

local function now()
  local time = ffi.new "spec_time"
  C.clock_gettime(MONOTONIC, time)
  return tonumber(time.seconds) + tonumber(time.nanoseconds) / 1e9
end

local function slurp(path)
  local file = io.open(path, "rb")
  if not file then return "" end
  local text = file:read "*a"
  file:close()
  return text or ""
end

local function spill(path, text)
  local file = assert(io.open(path, "wb"))
  assert(file:write(text))
  assert(file:close())
end

local function quote(word) return "'" .. word:gsub("'", "'\\''") .. "'" end

local function working_directory()
  return ffi.string(C.getcwd(ffi.new("char[4096]"), 4096))
end

local function make_directory()
  local parent = working_directory() .. "/build/tmp"
  os.execute("mkdir -p " .. quote(parent))
  local template = parent .. "/spec-XXXXXX"
  local path = ffi.new("char[?]", #template + 1, template)
  assert(C.mkdtemp(path) ~= nil, "mkdtemp failed in " .. parent)
  os.execute("chmod 755 " .. quote(ffi.string(path)))  -- jobs of other users enter it
  return ffi.string(path)
end

--- Waits until `condition()` gives a value, and returns it. `what` goes into the failure; `detail`, a
--- function, adds to it.
function run.eventually(what, condition, seconds, detail)
  local deadline = now() + (seconds or run.patience)
  while true do
    local value = condition()
    if value then return value end
    if now() > deadline then
      error(("waited %g s in vain: %s%s"):format(seconds or run.patience, what, detail and detail() or ""), 2)
    end
    C.poll(nil, 0, 5)
  end
end

run.now = now
run.directory = make_directory
run.read = slurp

--- For a loop that waits for something outside: a moment in which it may happen.
function run.pause(seconds) C.poll(nil, 0, math.ceil(seconds * 1000)) end

-- --- pipes -----------------------------------------------------------------------------------

local SETPIPE_SZ, FIONREAD = 1031, 0x541b

--- A pipe, for a program whose stdout or stdin the spec wants to hold. Both ends are close-on-exec.
---@param size integer?  bytes that it holds
---@return integer reading, integer writing
function run.pipe(size)
  local ends = ffi.new "int[2]"
  assert(C.pipe2(ends, CLOEXEC) == 0, "pipe2 failed")
  if size then assert(C.fcntl(ends[0], SETPIPE_SZ, ffi.cast("int", size)) >= size, "fcntl failed") end
  return ends[0], ends[1]
end

function run.close(fd) C.close(fd) end

--- A few bytes, for a pipe that has room for them.
function run.write(fd, text) assert(C.write(fd, text, #text) == #text, "short write") end

--- All that comes until the end of file; blocks, so only for the end of a program that is sure to end.
function run.drain(fd)
  local parts, chunk = {}, ffi.new("char[65536]")
  while true do
    local size = tonumber(C.read(fd, chunk, 65536))
    if size <= 0 then break end
    table.insert(parts, ffi.string(chunk, size))
  end
  return table.concat(parts)
end

--- What is in a pipe; does not block.
function run.take(fd)
  local size = ffi.new "int[1]"
  assert(C.ioctl(fd, FIONREAD, size) == 0, "ioctl failed")
  local bytes, taken = ffi.new("char[?]", math.max(1, size[0])), 0
  while taken < size[0] do
    local got = tonumber(C.read(fd, bytes + taken, size[0] - taken))
    assert(got > 0, "read failed")
    taken = taken + got
  end
  return ffi.string(bytes, taken)
end

-- --- who is there ----------------------------------------------------------------------------

local function process_ids()
  local ids = {}
  local list = io.popen "ls /proc"
  for name in list:lines() do
    if name:find "^%d+$" then table.insert(ids, tonumber(name)) end
  end
  list:close()
  return ids
end

local function describe(pid)
  local stat = slurp("/proc/" .. pid .. "/stat")
  local name, state, parent, group, session = stat:match "^%d+ %((.*)%) (%S) (%d+) (%d+) (%d+)"
  if not name then return nil end
  return {
    pid = pid, name = name, state = state, parent = tonumber(parent), group = tonumber(group),
    session = tonumber(session), command = slurp("/proc/" .. pid .. "/cmdline"):gsub("%z", " "),
  }
end

--- Every process that carries the mark, zombies excepted (they have no environment any more).
local function marked(mark)
  local found = {}
  for _, pid in ipairs(process_ids()) do
    local environment = "\0" .. slurp("/proc/" .. pid .. "/environ")
    if environment:find("\0" .. mark .. "\0", 1, true) then table.insert(found, describe(pid)) end
  end
  return found
end

local function list_processes(processes)
  local lines = {}
  for _, process in ipairs(processes) do
    table.insert(lines, ("  %d (parent %d) %s: %s"):format(process.pid, process.parent, process.name, process.command))
  end
  return table.concat(lines, "\n")
end

-- --- a program -------------------------------------------------------------------------------

---@class spec.Program
---@field pid integer        of what was spawned: the guardian, unless there is a `wrap`
---@field directory string   its own, and its working directory
---@field code integer?      once it has ended
local Program = {}
Program.__index = Program

--- What it wrote so far.
function Program:stdout() return slurp(self.directory .. "/stdout") end
function Program:stderr() return slurp(self.directory .. "/stderr") end
function Program:output() return self:stdout() .. self:stderr() end

function Program:path(name) return self.directory .. "/" .. name end
function Program:read(name) return slurp(self:path(name)) end
function Program:write(name, text) spill(self:path(name), text) end

local function log_of(program)
  return ("\n--- stdout of %s\n%s--- stderr\n%s---"):format(program.title, program:stdout(), program:stderr())
end

--- Waits for any condition, with the log in the failure.
function Program:wait_for(what, condition, seconds)
  return run.eventually(what, condition, seconds, function() return log_of(self) end)
end

local function matching(text, pattern)
  local lines = {}
  for line in text:gmatch "[^\n]+" do
    if line:find(pattern) then table.insert(lines, line) end
  end
  return lines
end

--- All lines so far that match.
function Program:lines(pattern) return matching(self:output(), pattern) end

--- Waits until a line matches (a Lua pattern), or `times` lines; returns the last of these. In vain also when nobody is
--- left to write it.
---@param times integer?
---@param seconds number?
function Program:wait_for_line(pattern, times, seconds)
  times = times or 1
  local what = ("a line that matches %q, %d times"):format(pattern, times)
  return self:wait_for(what, function()
    local over = self:ended() and #self:processes() == 0 -- before the look: what is written after it is not missed
    local line = self:lines(pattern)[times]
    if over and not line then error(("it has ended without %s%s"):format(what, log_of(self)), 0) end
    return line
  end, seconds)
end

--- Everything that descends from it, wherever it was reparented to.
function Program:processes() return marked(self.mark) end

--- The direct children of a process, by default of itself.
function Program:children(pid)
  local children = {}
  for _, process in ipairs(self:processes()) do
    if process.parent == (pid or self.pid) then table.insert(children, process) end
  end
  return children
end

--- The pid of the process with that name, waiting for it.
function Program:named(name)
  return self:wait_for("a process named " .. name, function()
    for _, process in ipairs(self:processes()) do
      if process.name == name then return process.pid end
    end
  end)
end

function Program:guardian() return self:named "luapilot-guard" end
function Program:pilot() return self:named "luapilot" end

--- Sends a signal, by default to what was spawned.
function Program:signal(name, pid)
  local number = assert(signals[name], "no such signal: " .. tostring(name))
  return C.kill(pid or self.pid, number) == 0
end

-- The kernel's sets are masks in hexadecimal: signal 1 is the lowest bit.
local function holds(mask, number)
  local digit = tonumber(mask:sub(-1 - math.floor((number - 1) / 4), -1 - math.floor((number - 1) / 4)), 16) or 0
  return math.floor(digit / 2 ^ ((number - 1) % 4)) % 2 == 1
end

--- Sends a signal, and waits until the process has taken it, or is gone. Of two that wait to be taken the kernel makes
--- one, so where they are counted each but the last is sent this way. It waits in vain for who is stopped.
function Program:deliver(name, pid)
  local number = signals[name]
  if not self:signal(name, pid) then return end
  self:wait_for(name .. " to be taken", function()
    local status = slurp(("/proc/%d/status"):format(pid or self.pid))
    for mask in status:gmatch "S[ih][gd]Pnd:%s+(%x+)" do
      if holds(mask, number) then return false end
    end
    return true
  end)
end

local function collect(program)
  if program.code then return true end
  local status = ffi.new "int[1]"
  if C.waitpid(program.pid, status, NOHANG) ~= program.pid then return false end
  local number = status[0] % 128
  program.signalled = names[number]
  program.code = number == 0 and math.floor(status[0] / 256) % 256 or 128 + number
  return true
end

--- Whether it has ended.
function Program:ended() return collect(self) end

--- Waits for its end.
---@return integer code
---@return string? signal  that ended it
function Program:wait(seconds)
  self:wait_for("the end of the program", function() return collect(self) end, seconds)
  return self.code, self.signalled
end

-- --- starting --------------------------------------------------------------------------------

local function strings(list)
  local array = ffi.new("const char *[?]", #list + 1)
  for i, text in ipairs(list) do array[i - 1] = text end
  return array                                         -- the caller keeps `list` alive
end

local function environment(changes, mark)
  local list, i = {}, 0
  while C.environ[i] ~= nil do
    local entry = ffi.string(C.environ[i])
    local name = entry:match "^[^=]*"
    if changes[name] == nil and not name:find "^LUAPILOT" then table.insert(list, entry) end
    i = i + 1
  end
  for name, value in pairs(changes) do
    if value then table.insert(list, name .. "=" .. value) end
  end
  table.insert(list, mark)
  return list
end

-- nil: the default; a number: a descriptor of ours; a string: a path; false: closed.
local function redirect(actions, fd, where, default, flags)
  if where == false then
    C.posix_spawn_file_actions_addclose(actions, fd)
  elseif type(where) == "number" then
    C.posix_spawn_file_actions_adddup2(actions, where, fd)
  else
    C.posix_spawn_file_actions_addopen(actions, fd, where or default, flags, tonumber("644", 8))
  end
end

local function spawn(argv, options, directory, mark)
  local actions, attributes = ffi.new "spec_opaque", ffi.new "spec_opaque"
  local none, all = ffi.new "spec_opaque", ffi.new "spec_opaque"
  C.posix_spawn_file_actions_init(actions)
  redirect(actions, 0, options.stdin, "/dev/null", RDONLY)
  redirect(actions, 1, options.stdout, directory .. "/stdout", WRONLY_CREATE_APPEND)
  redirect(actions, 2, options.stderr, directory .. "/stderr", WRONLY_CREATE_APPEND)
  C.posix_spawn_file_actions_addchdir_np(actions, directory)
  C.posix_spawnattr_init(attributes)
  C.sigemptyset(none)
  C.sigfillset(all)
  C.posix_spawnattr_setsigmask(attributes, none)
  C.posix_spawnattr_setsigdefault(attributes, all)
  C.posix_spawnattr_setflags(attributes, SETSIGDEF + SETSIGMASK + SETSID)
  local pid, environ = ffi.new "int[1]", environment(options.env or {}, mark)
  local failure = C.posix_spawnp(pid, argv[1], actions, attributes, strings(argv), strings(environ))
  C.posix_spawn_file_actions_destroy(actions)
  C.posix_spawnattr_destroy(attributes)
  if failure ~= 0 then error(("cannot run %s: %s"):format(argv[1], ffi.string(C.strerror(failure))), 3) end
  return pid[0]
end

---@class spec.RunOptions
---@field env table<string, string|false>?   added to ours; false: taken out. LUAPILOT… of ours is never passed
---@field args string[]?                     of a pilot: after its file
---@field wrap string[]?                     in front of the command: { "unshare", "--pid", … }
---@field files table<string, string>?       written to its directory first
---@field directory string?                  instead of a new one; it is removed with the program
---@field lasting boolean?                   it lives until run.finish(), for all specs of a file
---@field stdin string|number|false|nil      a path, a descriptor of ours, closed; default /dev/null
---@field stdout string|number|false|nil     default: the file that :stdout() reads
---@field stderr string|number|false|nil

--- The path, seen from the root.
function run.absolute(path)
  return path:sub(1, 1) == "/" and path or working_directory() .. "/" .. path
end

--- Runs any program.
---@param argv string[]
---@param options spec.RunOptions?
---@return spec.Program
function run.program(argv, options)
  options = options or {}
  count = count + 1
  local command = {}
  for _, word in ipairs(options.wrap or {}) do table.insert(command, word) end
  for _, word in ipairs(argv) do table.insert(command, word) end
  local program = setmetatable({
    title = table.concat(command, " "),
    directory = options.directory or make_directory(),
    mark = ("LUAPILOT_SPEC=%d.%d"):format(C.getpid(), count),
  }, Program)
  table.insert(options.lasting and lasting or started, program)
  for name, text in pairs(options.files or {}) do program:write(name, text) end
  program.pid = spawn(command, options, program.directory, program.mark)
  return program
end

--- The program under test.
run.binary = run.absolute(os.getenv "LUAPILOT_BINARY" or "build/luapilot")

--- Runs a Lua script with the runtime, `require "luapilot.rt"`, and no core.
---@param text string
---@param options spec.RunOptions?
---@return spec.Program
function run.runtime(text, options)
  local all = { files = {} }
  for name, value in pairs(options or {}) do all[name] = value end
  local modules = run.binary:match "^(.*/)" .. "lib/?.so;"
  all.files["script.lua"] = ("package.cpath = %q .. package.cpath\n"):format(modules) .. text
  return run.program({ "luajit", "script.lua", unpack(all.args or {}) }, all)
end

--- Runs a subcommand: run.luapilot { "check", "pilot.lua" }.
function run.luapilot(args, options)
  return run.program({ run.binary, unpack(args) }, options)
end

--- Runs a pilot from its text.
---@param text string      pilot.lua
---@param options spec.RunOptions?
---@return spec.Program
function run.pilot(text, options)
  local all, directory = {}, make_directory()
  for name, value in pairs(options or {}) do all[name] = value end
  all.directory = directory
  spill(directory .. "/pilot.lua", text)
  return run.luapilot({ directory .. "/pilot.lua", unpack(all.args or {}) }, all)
end

-- --- the end ---------------------------------------------------------------------------------

local function kill_all(program)
  run.eventually("the end of everything that " .. program.title .. " started", function()
    collect(program)
    local left = program:processes()
    for _, process in ipairs(left) do C.kill(process.pid, signals.SIGKILL) end
    return #left == 0 and collect(program)
  end)
end

-- SIGKILL waits for it: only the scheduler stands between it and its end.
local function is_dying(process)
  local status = slurp(("/proc/%d/status"):format(process.pid))
  for mask in status:gmatch "S[ih][gd]Pnd:%s+(%x+)" do
    if holds(mask, signals.SIGKILL) then return true end
  end
  return not status:find "\nState:%s+[^ZX]"
end

--- Processes that outlived a program. Those that are just dying are given a moment, however long it takes them.
local function leftovers(program)
  local left
  local moment, deadline = now() + 5, now() + run.patience
  repeat
    left = program:processes()
    local dying = true
    for _, process in ipairs(left) do dying = dying and is_dying(process) end
    if #left > 0 then C.poll(nil, 0, 10) end
  until #left == 0 or now() > (dying and deadline or moment)
  return left
end

--- For after_each: kills, removes, and fails when a program that had ended left somebody behind.
function run.cleanup()
  local programs, complaint = started, nil
  started = {}
  for _, program in ipairs(programs) do
    if program.pid then
      local left = program.code and leftovers(program) or {}
      if #left > 0 then
        complaint = ("%s ended and left behind:\n%s%s"):format(program.title, list_processes(left), log_of(program))
      end
      kill_all(program)
    end
    os.execute("rm -rf " .. quote(program.directory))
  end
  if complaint then error(complaint, 2) end
end

--- For teardown: the same, lasting programs included.
function run.finish()
  for _, program in ipairs(lasting) do table.insert(started, program) end
  lasting = {}
  run.cleanup()
end

return run
