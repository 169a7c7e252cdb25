-- A network of the spec's own with a Consul at its port 8500: for examples that name that.
--
--   describe("…", machine.unless(room.lacking(), function()
--     setup(function() room.enter() end)             or { … }, as of consul.start, for one that is elsewhere
--     teardown(room.leave)
--
--   room.agent                     as of support.consul

local cjson   = require "cjson"
local consul  = require "support.consul"
local network = require "support.network"
local run     = require "support.run"

local room = {}

---A script that is Consul; an agent of it reads /etc/consul.json, too.
room.CONSUL = ([[
  case $1 in agent) set -- "$@" -config-file /etc/consul.json ;; esac
  exec '%s' "$@"
]]):format(run.absolute "build/consul/consul")

---@type spec.Consul
room.agent = nil

---@param options spec.ConsulOptions?
function room.enter(options)
  network.enter()
  room.agent = consul.start(options or { port = 8500 })
end

function room.leave()
  run.finish()
  network.leave()
end

---Why there can be none, or nil.
---@return string?
function room.lacking() return network.lacking() or consul.lacking() end

---What another agent needs in order to join it, at port 8500: its configuration, and the address to join.
---@param options { leaves: boolean?, server: boolean? }    leaves: on SIGTERM
---@return string json
---@return string address
function room.second(options)
  local json = cjson.encode {
    datacenter = "dc1", node_name = "second", data_dir = "/etc/consul-data",
    bind_addr = "127.0.0.2", client_addr = "127.0.0.1", log_level = "warn", disable_update_check = true,
    leave_on_terminate = options.leaves or false, server = options.server or false,
    ports = { http = 8500, dns = -1, grpc = -1, https = -1 },
  }
  return json, "127.0.0.1:" .. room.agent.ports.serf_lan
end

local STATES = { "alive", "leaving", "left", "failed" }

---What the agent says of a member of its cluster.
---@param node string
---@return "alive"|"leaving"|"left"|"failed"|nil
function room.member(node)
  for _, member in ipairs(room.agent:api("GET", "/v1/agent/members")) do
    if member.Name == node then return STATES[member.Status] end
  end
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
