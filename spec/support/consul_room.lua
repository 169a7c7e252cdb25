-- A network of the spec's own with a Consul at its port 8500: for examples that name that.
--
--   setup(room.enter)
--   teardown(room.leave)
--   before_each(room.needed)       skips where there is none
--
--   room.agent                     as of support.consul

local consul  = require "support.consul"
local network = require "support.network"
local run     = require "support.run"

local room = {}

---@type spec.Consul
room.agent = nil

function room.enter()
  network.enter()
  if network.is_own() and consul.is_there() then room.agent = consul.start { port = 8500 } end
end

function room.leave()
  run.finish()
  network.leave()
end

function room.needed()
  network.needed()
  consul.needed()
end

---The checks of a service in its catalogue, by the instance's id: "passing", "warning", "critical".
---@param name string
---@return table<string, string>
function room.statuses(name)
  local found = {}
  for _, check in ipairs(room.agent:api("GET", "/v1/health/checks/" .. name)) do
    found[check.ServiceID] = check.Status
  end
  return found
end

return room
