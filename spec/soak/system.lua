-- What a soak needs of Linux beside what the benchmarks do (bench/support/system.lua): signals by number, limits of
-- other processes, descriptors that never block, and who is who in /proc.

local ffi = require "ffi"
local common = require "system"

local C = ffi.C

ffi.cdef [[
  typedef struct { uint64_t soft, hard; } soak_limit;
  int prlimit64(int pid, int resource, const soak_limit *wanted, soak_limit *old);
  int fcntl(int fd, int command, ...);
  int mkfifo(const char *path, unsigned mode);
]]

local SETFL, NONBLOCK, NOHANG, POLLIN = 4, 2048, 1, 1
local EAGAIN, EINTR = 11, 4

local system = setmetatable({}, { __index = common })

system.SIGNALS = {
  HUP = 1, INT = 2, QUIT = 3, ILL = 4, TRAP = 5, ABRT = 6, BUS = 7, FPE = 8, KILL = 9, USR1 = 10, SEGV = 11, USR2 = 12,
  PIPE = 13, ALRM = 14, TERM = 15, STKFLT = 16, CHLD = 17, CONT = 18, STOP = 19, TSTP = 20, TTIN = 21, TTOU = 22,
  URG = 23, XCPU = 24, XFSZ = 25, VTALRM = 26, PROF = 27, WINCH = 28, IO = 29, PWR = 30, SYS = 31, RT = 34, RT7 = 41,
}

system.LIMITS = { cpu = 0, fsize = 1, nofile = 7, as = 9 }

function system.pid() return C.getpid() end

---@return boolean
function system.signal(pid, name)
  local number = assert(system.SIGNALS[name], name)
  return C.kill(pid, number) == 0
end

---Sets the soft limit of a process; what it was before, or nil when there is no such process.
---@param name "cpu"|"fsize"|"nofile"|"as"
---@param soft ffi.cdata*|number
---@return ffi.cdata*?
function system.limit(pid, name, soft)
  local old = ffi.new "soak_limit[1]"
  if C.prlimit64(pid, system.LIMITS[name], nil, old) ~= 0 then return nil end
  local wanted = ffi.new("soak_limit[1]", { { soft, old[0].hard } })
  if wanted[0].soft > wanted[0].hard then wanted[0].soft = wanted[0].hard end
  C.prlimit64(pid, system.LIMITS[name], wanted, nil)
  return old[0].soft -- unlimited is no number of Lua's
end

---From now on a read that would wait gives nil.
function system.never_block(fd) assert(C.fcntl(fd, SETFL, ffi.cast("int", NONBLOCK)) == 0) end

local chunk = ffi.new "char[65536]"

---@return string? data   nil: nothing now; "" at the end
function system.take(fd)
  local size = tonumber(C.read(fd, chunk, 65536))
  if size >= 0 then return ffi.string(chunk, size) end
  local code = ffi.errno()
  assert(code == EAGAIN or code == EINTR, code)
end

---Waits for one of the descriptors.
---@param fds integer[]
---@param seconds number
---@return table<integer, boolean> ready
function system.wait_for(fds, seconds)
  local list, ready = ffi.new("bench_pollfd[?]", #fds + 1), {}
  for i, fd in ipairs(fds) do list[i - 1].fd, list[i - 1].events = fd, POLLIN end
  C.poll(list, #fds, math.max(0, math.ceil(seconds * 1000)))
  for i, fd in ipairs(fds) do ready[fd] = list[i - 1].revents ~= 0 end
  return ready
end

---Numbers as the bytes of doubles.
---@return string
function system.bytes(...)
  local numbers = { ... }
  return ffi.string(ffi.new("double[?]", #numbers, numbers), 8 * #numbers)
end

---Whether a child has ended, and its exit code (128 + n when a signal did it).
---@return integer?
function system.ended(pid)
  local status = ffi.new "int[1]"
  if C.waitpid(pid, status, NOHANG) ~= pid then return nil end
  local number = status[0] % 128
  return number == 0 and math.floor(status[0] / 256) % 256 or 128 + number
end

---@class soak.Process
---@field pid integer
---@field state string      as in /proc/PID/stat: "R", "S", "Z", "T" …
---@field parent integer
---@field session integer
---@field born string
---@field words string[]    its command line

---@param pid integer
---@return soak.Process?
function system.process(pid)
  local stat = system.read(("/proc/%d/stat"):format(pid)) or ""
  local state, parent, session, rest = stat:match "%) (%S) (%d+) %d+ (%d+) (.*)"
  if not state then return nil end
  local words, n = {}, 0
  for word in (system.read(("/proc/%d/cmdline"):format(pid)) or ""):gmatch "[^%z]+" do words[#words + 1] = word end
  for word in rest:gmatch "%S+" do
    n = n + 1
    if n == 16 then rest = word break end
  end
  return {
    pid = pid, state = state, parent = tonumber(parent), session = tonumber(session), born = rest, words = words,
  }
end

---Is a program built with AddressSanitizer?
---@return boolean
function system.is_sanitized(path) return system.read(path):find("__asan_init", 1, true) ~= nil end

---The number of its open descriptors.
---@return integer
function system.descriptors(pid)
  return tonumber(system.line(("ls -U /proc/%d/fd | wc -l"):format(pid))) or 0
end

---The pid of a process in its innermost namespace.
---@return integer?
function system.inner_pid(pid)
  local text = system.read(("/proc/%d/status"):format(pid)) or ""
  return tonumber(text:match "\nNSpid:[^\n]-(%d+)\n")
end

return system
