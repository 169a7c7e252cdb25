-- A file system that does not answer, as one of a dead server: FUSE, and nobody who serves it.
--
--   local disk = dead_disk.new("/tmp/…/dead")     mounts it there, in a mount namespace of this process
--   disk:answer()      from now on it is an empty directory, and whoever waits goes on
--   disk:fail()        whoever waits gets ENOTCONN
--   disk:close()       gone, whatever hangs in it
--
-- It ends with this process. dead_disk.lacking() says why a machine has none.

local ffi = require "ffi"
local machine = require "support.machine"

ffi.cdef [[
  int unshare(int flags);
  int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data);
  int umount2(const char *target, int flags);
  int open(const char *path, int flags, ...);
  int close(int fd);
  int fork(void);
  int kill(int pid, int sig);
  int waitpid(int pid, int *status, int options);
  int prctl(int option, unsigned long value, ...);
  void _exit(int code);
  int dup2(int from, int to);
  long syscall(long number, ...);
  ssize_t read(int fd, void *data, size_t size);
  ssize_t write(int fd, const void *data, size_t size);
  struct luapilot_fuse_in { uint32_t size, call; uint64_t unique, node; uint32_t uid, gid, pid, padding; };
  struct luapilot_fuse_out { uint32_t size; int32_t error; uint64_t unique; };
  struct luapilot_fuse_init {
    struct luapilot_fuse_out head;
    uint32_t major, minor, readahead, flags;
    uint16_t background, congestion;
    uint32_t max_write, granularity;
    uint16_t pages, alignment;
    uint32_t more_flags, unused[7];
  };
  struct luapilot_fuse_attributes {
    struct luapilot_fuse_out head;
    uint64_t valid;
    uint32_t valid_ns, dummy;
    uint64_t inode, bytes, blocks, times[3];
    uint32_t ns[3], mode, links, uid, gid, device, block_size, flags;
  };
]]

local C = ffi.C

local NEW_MOUNTS, READ_WRITE, CLOEXEC = 0x20000, 2, 0x80000
local RECURSIVE, PRIVATE, DETACH = 0x4000, 0x40000, 2
local DIES_WITH_PARENT, KILL = 1, 9
local CALL = { forget = 2, getattr = 3, lookup = 1, init = 26, interrupt = 36, forget_many = 42 }
local ENOENT, ENOSYS = 2, 38
local CLOSE_RANGE = 436 -- the number of the system call, which is the same everywhere

local dead_disk = {}

---@return string|false
function dead_disk.lacking()
  if not machine.can "test -c /dev/fuse -a -w /dev/fuse" then return "no /dev/fuse" end
  return not machine.can "unshare --mount true" and "no mount namespaces"
end

local registry = debug.getregistry() -- of the process: busted loads this module anew for each file
local APART = "support.dead_disk.apart"

---What is mounted from now on nobody else sees. To be called before the runtime looks at the mounts: it goes on to look
---at those that it knows.
function dead_disk.be_apart()
  if registry[APART] or dead_disk.lacking() then return end
  assert(C.unshare(NEW_MOUNTS) == 0)
  assert(C.mount("none", "/", nil, PRIVATE + RECURSIVE, nil) == 0)
  registry[APART] = true
end

-- --- who serves it --------------------------------------------------------------------------------

local function reply(fd, answer, size, unique, failure)
  answer.head = { size = size, error = failure or 0, unique = unique }
  C.write(fd, answer, size)
end

local answer = {}

answer[CALL.init] = function(fd, unique)
  local init = ffi.new("struct luapilot_fuse_init", { major = 7, minor = 31, max_write = 4096, granularity = 1 })
  reply(fd, init, ffi.sizeof(init), unique)
end

answer[CALL.getattr] = function(fd, unique)
  local directory = ffi.new("struct luapilot_fuse_attributes", { valid = 3600, inode = 1, mode = 0x41ed, links = 2 })
  reply(fd, directory, ffi.sizeof(directory), unique)
end

local SILENT = { [CALL.forget] = true, [CALL.forget_many] = true, [CALL.interrupt] = true }

local function serve_one(fd, buffer)
  if C.read(fd, buffer, 65536) <= 0 then C._exit(0) end
  local request = ffi.cast("struct luapilot_fuse_in *", buffer)
  if SILENT[request.call] then return end
  if answer[request.call] then return answer[request.call](fd, request.unique) end
  local failure = ffi.new "struct { struct luapilot_fuse_out head; }"
  reply(fd, failure, 16, request.unique, request.call == CALL.lookup and -ENOENT or -ENOSYS)
end

-- In a process of its own, since who asks waits, and that may be us.
local function serve(fd)
  local pid = C.fork()
  if pid ~= 0 then return pid end
  C.prctl(DIES_WITH_PARENT, ffi.cast("unsigned long", KILL))
  C.dup2(fd, 3)
  C.syscall(CLOSE_RANGE, ffi.cast("long", 4), ffi.cast("long", 0x7fffffff), ffi.cast("long", 0))
  local buffer = ffi.new "char[65536]"
  while true do serve_one(3, buffer) end
end

-- --- the disk -------------------------------------------------------------------------------------

local Disk = {}
Disk.__index = Disk

---@param path string    a directory
function dead_disk.new(path)
  dead_disk.be_apart()
  local fd = C.open("/dev/fuse", READ_WRITE + CLOEXEC)
  assert(fd >= 0)
  local data = ("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other"):format(fd)
  assert(C.mount("dead", path, "fuse", 0, data) == 0)
  return setmetatable({ path = path, fd = fd }, Disk)
end

function Disk:answer() self.server = serve(self.fd) end

function Disk:fail()
  if self.fd then C.close(self.fd) end
  self.fd = nil
end

function Disk:close()
  self:fail()
  if self.server then
    C.kill(self.server, KILL)
    C.waitpid(self.server, nil, 0)
  end
  C.umount2(self.path, DETACH)
end

return dead_disk
