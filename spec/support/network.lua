-- A network of the spec's own, on which every port is free, for programs whose ports are fixed: a loopback, and an eth0
-- with the address 127.0.0.2.
--
--   setup(network.enter)           this process, and what it starts from now on
--   teardown(network.leave)        after run.finish()
--   before_each(network.needed)    skips where there can be none
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
  if C.unshare(NEW_NETWORK) ~= 0 then return run.close(here) end -- no right to
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

---Is this process in one?
---@return boolean
function network.is_own() return outside ~= nil end

function network.needed()
  if not outside then machine.skip "no network namespaces" end
end

return network
