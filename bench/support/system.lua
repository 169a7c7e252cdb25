-- What the benchmarks need of Linux: to start programs, to wait for their end to the microsecond, and to read in
-- /proc what they cost. By ffi, so that the driver itself starts nothing on the way.

local ffi = require "ffi"
local C = ffi.C

ffi.cdef [[
  typedef struct { char opaque[1024]; } bench_opaque;
  extern char **environ;
  int posix_spawnp(int *pid, const char *path, bench_opaque *actions, void *attributes,
                   const char **argv, char **envp);
  int posix_spawn_file_actions_init(bench_opaque *actions);
  int posix_spawn_file_actions_destroy(bench_opaque *actions);
  int posix_spawn_file_actions_addopen(bench_opaque *actions, int fd, const char *path, int flags, unsigned mode);
  int posix_spawn_file_actions_adddup2(bench_opaque *actions, int from, int to);
  int setenv(const char *name, const char *value, int replace);
  int unsetenv(const char *name);
  int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d);
  long syscall(long number, ...);
  int waitpid(int pid, int *status, int options);
  int wait4(int pid, int *status, int options, long *usage);
  int kill(int pid, int number);
  int getpid(void);
  unsigned geteuid(void);
  int pipe2(int ends[2], int flags);
  int open(const char *path, int flags, ...);
  int close(int fd);
  ssize_t read(int fd, void *data, size_t size);
  char *strerror(int number);
  char *realpath(const char *path, char *resolved);
  typedef struct { int fd; short events, revents; } bench_pollfd;
  int poll(bench_pollfd *descriptors, unsigned long count, int milliseconds);
  typedef struct { long seconds, nanoseconds; } bench_time;
  int clock_gettime(int clock, bench_time *time);
]]

local CREATE, CLOEXEC, WRITE_ONLY, APPEND = 64, 524288, 1, 1024
local REALTIME, MONOTONIC, POLLIN, NOHANG, PIDFD_OPEN, SET_CHILD_SUBREAPER = 0, 1, 1, 1, 434, 36
local SIGNALS = { HUP = 1, KILL = 9, USR1 = 10, TERM = 15 }

local system = {}

-- Whatever loses its parent while we measure becomes our child, and is seen.
C.prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)

local function clock(id)
  local time = ffi.new "bench_time"
  C.clock_gettime(id, time)
  return tonumber(time.seconds) + tonumber(time.nanoseconds) / 1e9
end

---Seconds of the monotonic clock, the one that stamps are written by.
function system.now() return clock(MONOTONIC) end

---Seconds since 1970: what pilot.now() says.
function system.epoch() return clock(REALTIME) end

function system.sleep(seconds) C.poll(nil, 0, math.max(1, math.floor(seconds * 1000 + 0.5))) end

function system.is_root() return C.geteuid() == 0 end

---Calls `condition` until it gives a value; an error after `seconds`.
function system.eventually(what, seconds, condition)
  local deadline = system.now() + seconds
  while true do
    local value = condition()
    if value then return value end
    if system.now() > deadline then error(("waited %g s in vain for %s"):format(seconds, what), 2) end
    system.sleep(0.002)
  end
end

-- --- files -----------------------------------------------------------------------------------

function system.read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read "*a"
  file:close()
  return text
end

function system.write(path, text)
  local file = assert(io.open(path, "wb"))
  assert(file:write(text))
  assert(file:close())
end

function system.absolute(path)
  local found = C.realpath(path, nil)
  return found ~= nil and ffi.string(found) or nil
end

---Is the program there?
function system.has(program)
  return os.execute(("command -v %s >/dev/null 2>&1"):format(program)) == 0
end

---The first line that a shell command prints.
function system.line(command)
  local pipe = io.popen(command .. " 2>/dev/null")
  local line = pipe:read "*l"
  pipe:close()
  return line
end

-- --- processes -------------------------------------------------------------------------------

local function strings(list)
  local array = ffi.new("const char *[?]", #list + 1)
  for i, text in ipairs(list) do array[i - 1] = text end
  return array
end

---Starts a program.
---@param options { argv: string[], env: table?, stdin: integer|string?, stdout: integer|string?, stderr: string? }
---       descriptors or paths; nil: /dev/null
---@return integer pid
function system.spawn(options)
  local actions = ffi.new "bench_opaque"
  C.posix_spawn_file_actions_init(actions)
  for fd, name in ipairs { "stdout", "stderr" } do
    local target = options[name] or "/dev/null"
    if type(target) == "number" then
      C.posix_spawn_file_actions_adddup2(actions, target, fd)
    else
      C.posix_spawn_file_actions_addopen(actions, fd, target, WRITE_ONLY + CREATE + APPEND, 420)
    end
  end
  if type(options.stdin) == "number" then
    C.posix_spawn_file_actions_adddup2(actions, options.stdin, 0)
  else
    C.posix_spawn_file_actions_addopen(actions, 0, options.stdin or "/dev/null", 0, 0)
  end
  for name, value in pairs(options.env or {}) do C.setenv(name, tostring(value), 1) end
  local pid = ffi.new "int[1]"
  local code = C.posix_spawnp(pid, options.argv[1], actions, nil, strings(options.argv), C.environ)
  for name in pairs(options.env or {}) do C.unsetenv(name) end
  C.posix_spawn_file_actions_destroy(actions)
  if code ~= 0 then error(options.argv[1] .. ": " .. ffi.string(C.strerror(code)), 2) end
  return pid[0]
end

---@param name "TERM"|"HUP"|"KILL"|"USR1"
---@return boolean whether there was such a process
function system.kill(pid, name) return C.kill(pid, SIGNALS[name]) == 0 end

---Is there such a process, a zombie included?
function system.exists(pid) return C.kill(pid, 0) == 0 end

---Waits for a child and reaps it; false: it still runs after `seconds`.
---@return boolean ended
---@return integer status
---@return number cpu       seconds on a processor: its own, and those of its children that it has waited for
function system.wait(pid, seconds)
  local status, usage = ffi.new "int[1]", ffi.new "long[18]" -- struct rusage: two times, user and system, come first
  local fd = tonumber(C.syscall(PIDFD_OPEN, ffi.cast("long", pid), ffi.cast("long", 0)))
  if fd >= 0 then
    C.poll(ffi.new("bench_pollfd[1]", { { fd, POLLIN, 0 } }), 1, math.ceil(seconds * 1000))
    C.close(fd)
  end
  local ended = C.wait4(pid, status, NOHANG, usage) ~= 0
  return ended, status[0], tonumber(usage[0] + usage[2]) + tonumber(usage[1] + usage[3]) / 1e6
end

---Reaps every child that has ended.
function system.reap()
  local status = ffi.new "int[1]"
  while C.waitpid(-1, status, NOHANG) > 0 do end -- luacheck: ignore 542
end

---@return integer reading, integer writing
function system.pipe()
  local ends = ffi.new "int[2]"
  assert(C.pipe2(ends, CLOEXEC) == 0, "pipe2 failed")
  return ends[0], ends[1]
end

function system.close(fd) C.close(fd) end

local chunk = ffi.new "char[65536]"

---Reads a descriptor until a text has come.
---@param text string?    nil: until the end
---@return integer size   of all that was read
function system.read_until(fd, text)
  local tail, total = "", 0
  while true do
    local size = tonumber(C.read(fd, chunk, 65536))
    if size <= 0 and not text then return total end
    assert(size > 0, "nothing more comes")
    tail, total = tail:sub(-100) .. ffi.string(chunk, size), total + size
    if text and tail:find(text, 1, true) then return total end
  end
end

---The children of a process and theirs, parents first.
---@param pid integer|"self"
---@return integer[]
function system.descendants(pid)
  local found, next_one = {}, 1
  local function add(parent)
    for child in (system.read(("/proc/%s/task/%s/children"):format(parent, parent)) or ""):gmatch "%d+" do
      found[#found + 1] = tonumber(child)
    end
  end
  add(pid == "self" and C.getpid() or pid)
  while found[next_one] do
    add(found[next_one])
    next_one = next_one + 1
  end
  return found
end

-- --- what they cost --------------------------------------------------------------------------

---Seconds on a processor so far, by the scheduler's own nanoseconds, all threads.
function system.cpu(pid)
  local total = 0
  local text = system.read(("/proc/%d/schedstat"):format(pid))
  if text then total = tonumber(text:match "^%d+") / 1e9 end
  return total
end

---Seconds of children that were waited for (in ticks of 10 ms).
function system.children_cpu(pid)
  local stat = (system.read(("/proc/%d/stat"):format(pid)) or ""):match "%) (.*)"
  if not stat then return 0 end
  local fields = {}
  for word in stat:gmatch "%S+" do fields[#fields + 1] = word end
  return (tonumber(fields[14]) + tonumber(fields[15])) / 100
end

---How often it went to sleep and was woken.
function system.wakeups(pid)
  local text = system.read(("/proc/%d/status"):format(pid)) or ""
  return tonumber(text:match "\nvoluntary_ctxt_switches:%s+(%d+)") or 0
end

local function in_smaps(field)
  local pattern = "\n" .. field .. ":%s+(%d+)"
  return function(pid)
    local text = system.read(("/proc/%d/smaps_rollup"):format(pid)) or ""
    return (tonumber(text:match(pattern)) or 0) * 1024
  end
end

---Its share of memory, in bytes.
system.pss = in_smaps "Pss"

---What it has written itself, in bytes: no file's pages, and so nothing that depends on who else maps a file.
system.anonymous = in_smaps "Anonymous"

return system
