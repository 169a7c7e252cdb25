-- A network of the spec's own, on which every port is free, for programs whose ports are fixed: a loopback, and an eth0
-- with the address 127.0.0.2.
--
--   describe("…", machine.unless(network.lacking(), function()
--     setup(network.enter)         this process, and what it starts from now on
--     teardown(network.leave)      after run.finish()
--
-- Nothing outside can be reached from there, and nothing there can be reached from outside.

local ffi = require "ffi"
local machine = require "support.machine"
local run = require "support.run"

ffi.cdef [[
  int unshare(int flags);
  int setns(int fd, int type);
  int open(const char *path, int flags, ...);
]]

local C = ffi.C
local NEW_NETWORK, CLOEXEC = 0x40000000, 0x80000

local network = {}

local UP = [[
  busybox ip link set lo up &&
  { busybox ip link add eth0 type bridge || busybox ip link add eth0 type veth peer name eth1; } &&
  busybox ip address add 127.0.0.2/32 dev eth0 && busybox ip link set eth0 up]]

local outside -- a descriptor of the network that this process came from

function network.enter()
  local here = C.open("/proc/self/ns/net", CLOEXEC)
  assert(C.unshare(NEW_NETWORK) == 0, "no network namespaces")
  outside = here
  local p = run.program { "sh", "-c", UP }
  assert(p:wait() == 0, p:output())
  run.cleanup()
end

function network.leave()
  if not outside then return end
  assert(C.setns(outside, NEW_NETWORK) == 0, "cannot go back to the network outside")
  run.close(outside)
  outside = nil
end

---Why there can be none, or nil.
---@return string?
function network.lacking()
  if not machine.can "unshare --net true" then return "no network namespaces" end
  return machine.lacking "busybox"
end

return network
