-- Plays the service manager outside: a datagram socket, as systemd opens it, and who sent what.
--
--   local listener = require "support.listener"
--   local manager = listener.open(path)            -- "@name": an abstract one
--   manager:await "READY=1"                        -- the messages so far, up to one with that line
--   manager:close()

local ffi = require "ffi"
local run = require "support.run"

local C = ffi.C

ffi.cdef [[
  int socket(int domain, int type, int protocol);
  int bind(int fd, const void *address, unsigned size);
  int connect(int fd, const void *address, unsigned size);
  int setsockopt(int fd, int level, int name, const void *value, unsigned size);
  ssize_t send(int fd, const void *data, size_t size, int flags);
  typedef struct { unsigned short family; char path[108]; } spec_address;
  typedef struct { void *base; size_t size; } spec_vector;
  typedef struct {
    void *name; unsigned name_size;
    spec_vector *vectors; size_t count;
    void *control; size_t control_size;
    int flags;
  } spec_message;
  typedef struct { size_t size; int level, type; int pid; unsigned uid, gid; } spec_credentials;
  ssize_t recvmsg(int fd, spec_message *message, int flags);
]]

local UNIX, DATAGRAM, DONTWAIT = 1, 2 + 524288 + 2048, 64 -- close-on-exec, non-blocking
local SOCKET_LEVEL, PASSCRED = 1, 16

local listener = {}

---@class spec.Listener
---@field heard { text: string, pid: integer }[]
local Listener = {}
Listener.__index = Listener

local function address_of(name)
  local address = ffi.new "spec_address"
  address.family = UNIX
  ffi.copy(address.path, name)
  if name:sub(1, 1) == "@" then address.path[0] = 0 end
  return address, 2 + #name + (name:sub(1, 1) == "@" and 0 or 1)
end

---@param name string     a path, or "@name"
---@return spec.Listener
function listener.open(name)
  local fd, on = C.socket(UNIX, DATAGRAM, 0), ffi.new("int[1]", 1)
  assert(C.bind(fd, address_of(name)) == 0, "cannot bind " .. name)
  assert(C.setsockopt(fd, SOCKET_LEVEL, PASSCRED, on, 4) == 0)
  return setmetatable({ fd = fd, name = name, heard = {} }, Listener)
end

---Leaves no room in its queue.
function Listener:fill()
  local fd = C.socket(UNIX, DATAGRAM, 0)
  assert(C.connect(fd, address_of(self.name)) == 0)
  while C.send(fd, "FULL=1", 6, DONTWAIT) == 6 do end
  C.close(fd)
end

local function receive(self)
  local data, credentials = ffi.new "char[4096]", ffi.new "spec_credentials[1]"
  local vector = ffi.new("spec_vector[1]", { { data, 4096 } })
  local message = ffi.new "spec_message"
  message.vectors, message.count = vector, 1
  message.control, message.control_size = credentials, ffi.sizeof "spec_credentials"
  local size = tonumber(C.recvmsg(self.fd, message, DONTWAIT))
  if size < 0 then return nil end
  return { text = ffi.string(data, size), pid = credentials[0].pid }
end

---All that has come so far.
---@return { text: string, pid: integer }[]
function Listener:all()
  for message in receive, self do table.insert(self.heard, message) end
  return self.heard
end

---How many messages so far have this line?
---@param line string
---@return integer
function Listener:count(line)
  local count = 0
  for _, message in ipairs(self:all()) do
    if ("\n" .. message.text):find("\n" .. line .. "\n", 1, true) then count = count + 1 end
  end
  return count
end

---Waits for a message with this line, or so many of them.
---@param line string
---@param times integer?
function Listener:await(line, times)
  run.eventually("to hear " .. line, function() return self:count(line) >= (times or 1) end)
end

function Listener:close() C.close(self.fd) end

return listener
