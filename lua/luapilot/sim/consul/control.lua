-- control: Consul as a spec sees it: `box.consul`, `world.consul` and `world.consul:datacenter "west"`.
--
-- What concerns the catalogue and the keys goes to a datacentre; what concerns an agent to that of the box, or, said to
-- the world, to all of them. It owns nothing.

local blame = require "luapilot.sim.blame"
local catalog = require "luapilot.sim.consul.catalog"
local copy = require "luapilot.base.copy"
local duration = require "luapilot.base.duration"
local snapshot = require "luapilot.sim.consul.snapshot"
local suggest = require "luapilot.base.suggest"

local control = {}

local ABSENT_LOW, ABSENT_HIGH = 0.5, 2      -- seconds that a restart takes
local ELECTION_LOW, ELECTION_HIGH = 1, 5

---@class luapilot.sim.Consul
---@field private dc luapilot.sim.consul.Datacenter
---@field private cluster luapilot.sim.consul.Cluster
---@field private client luapilot.sim.consul.Client?
local methods = {}

-- --- the catalogue and the keys ----------------------------------------------------------------

---A service appears in the catalogue, healthy, on a node of its own; or is another one from now on.
---@param name string
---@param address string
---@param options { port: integer?, tags: string[]?, meta: table<string, string>?, status: string?, id: string?,
---  node: string?, weights: { passing: integer, warning: integer }?, output: string? }?
---@return string id
function methods:add(name, address, options) return self.dc:add(name, address, options) end

---Gone from the catalogue. What an agent holds comes back with its next full sync.
---@param key string          an id, or the name of a service: all of its instances
---@param address string?     only that one
function methods:remove(key, address) self.dc:remove(key, address) end

---@param key string          an id, or the name of a service: all of its instances
---@param status "passing"|"warning"|"critical"
---@param output string?
function methods:set_status(key, status, output) self.dc:set_status(key, status, output) end

---What the catalogue shows of a service: { id, node, address, port, tags, meta, status }.
---@param name string
---@return table[]
function methods:instances(name) return self.dc:instances(name) end

---@param key string
---@param value string
function methods:put(key, value) self.dc:put(key, value) end

---@param key string
function methods:delete(key) self.dc:delete(key) end

---@param key string
---@return string? value
function methods:get(key) return self.dc:get(key) end

---The sessions that live: { id, name, node, ttl, behavior, keys }.
---@return table[]
function methods:sessions() return self.dc:live_sessions() end

---Ends a session, as an operator would.
---@param id string
function methods:destroy_session(id) self.dc:destroy_session(id) end

---Without a leader nothing is written, and reads fail but for stale ones.
---@param there boolean
function methods:leader(there)
  if type(there) ~= "boolean" then blame.raise("consul:leader: expected true or false, got %s", tostring(there)) end
  self.dc:set_leader(there)
end

---Writes to a resource are refused; reads are refused, or lack it, as Consul does it.
---@param resource string     "key", "service", "node", "session", "agent", "query", "event", "operator"
function methods:deny(resource) self.dc:deny(resource) end

---@param resource string?    default: all
function methods:grant(resource) self.dc:grant(resource) end

---All that the servers know, for restore().
---@return luapilot.sim.consul.Snapshot
function methods:snapshot() return snapshot.take(self.dc) end

---The servers know what they knew then, and let go of all blocking queries, as after `consul snapshot restore`.
---@param taken luapilot.sim.consul.Snapshot     of snapshot()
function methods:restore(taken)
  if type(taken) ~= "table" or not taken.topics then
    blame.raise("consul:restore: expected what consul:snapshot() gave, got %s", tostring(taken))
  end
  snapshot.restore(self.dc, taken)
end

---A token is known no more: it is refused, also those who wait with it when they would be answered.
---@param token string
function methods:revoke(token) self.dc:revoke(token) end

---Another datacentre, made when it is first asked for.
---@param name string
---@return luapilot.sim.Consul
function methods:datacenter(name)
  return control.datacenter(self.cluster, self.cluster:datacenter(name))
end

-- --- agents ------------------------------------------------------------------------------------

local function is_elsewhere(self) return self.dc ~= self.cluster.home end

-- The agents of all boxes are in the home datacentre.
local function each_server(self, fn)
  if is_elsewhere(self) then
    blame.raise("consul: another datacentre has no agents of boxes: it has :down(), :up(), :leader() and :restart()")
  end
  if self.client then return fn(self.client.server) end
  for _, server in ipairs(self.cluster.servers) do fn(server) end
end

-- The servers of a datacentre break off what they were asked.
local function lose_servers(self)
  local dc = is_elsewhere(self) and self.dc or nil
  for _, server in ipairs(self.cluster.servers) do server:lose_servers(dc) end
end

---Connections are refused, and those that wait are cut. Of another datacentre: there is no path to it.
function methods:down()
  if is_elsewhere(self) then
    self.dc.away = true
    return lose_servers(self)
  end
  each_server(self, function(server)
    server:down()
    server.agent:halt()
  end)
end

---All is well again, whatever was wrong with the agent.
function methods:up()
  if is_elsewhere(self) then
    self.dc.away = nil
    return
  end
  each_server(self, function(server)
    if not server.agent.running then server.agent:resume() end
    server:up()
  end)
end

---Connections are taken and nothing more happens, until up().
function methods:hang()
  each_server(self, function(server)
    server:hang()
    server.agent:halt()
  end)
end

---Its host vanishes: nothing is answered, and what was asked never is, until up() puts another one at its address.
function methods:vanish()
  each_server(self, function(server)
    server:vanish()
    server.agent:halt()
  end)
end

---From 1.11 on, an answer that lacks what the token may not read says so; else nothing else is another one.
---@param version string      default at first: "1.8"
function methods:version(version)
  local major, minor = tostring(version):match "^(%d+)%.(%d+)"
  if not major then blame.raise('consul:version: expected a version such as "1.11", got %s', tostring(version)) end
  local tells = tonumber(major) > 1 or tonumber(minor) >= 11
  each_server(self, function(server) server.tells = tells end)
end

---So many connections are allowed to the box, as of limits.http_max_conns_per_client; a further one is closed at once.
---@param count integer?       default: any number
function methods:limit(count)
  if count ~= nil and (type(count) ~= "number" or count < 0) then
    blame.raise("consul:limit: expected a number of connections, got %s", tostring(count))
  end
  each_server(self, function(server) server.limit = count end)
end

---Each answer takes so much longer.
---@param time string|number
function methods:slow(time)
  local seconds, message = duration.parse(time)
  if not seconds then blame.raise("consul:slow: %s", message) end
  each_server(self, function(server) server.delay = seconds end)
end

---Each answer is this status, until up().
---@param status integer?     default 500
function methods:fail(status)
  each_server(self, function(server) server.failing = status or 500 end)
end

local function restart_agent(self, lose)
  local server, dc = self.client.server, self.dc
  server:down()
  server.agent:halt(lose)
  dc.store:after(dc.dice:between(ABSENT_LOW, ABSENT_HIGH), function()
    if server.state ~= "down" then return end
    server.agent:resume()
    server:up()
  end)
end

local function restart_servers(self, lose)
  local dc = self.dc
  lose_servers(self)
  dc:set_leader(false)
  if lose then dc:wipe() end
  dc.store:after(dc.dice:between(ELECTION_LOW, ELECTION_HIGH), function() dc:set_leader(true) end)
end

---The agent of the box ends and is back in a moment; said to the world or a datacentre: the servers. With
---`lose_state` an agent has forgotten what was registered with it, and servers everything.
---@param options { lose_state: boolean? }?
function methods:restart(options)
  for name in pairs(options or {}) do
    if name ~= "lose_state" then
      blame.raise("consul:restart: unknown option %q%s", tostring(name), suggest.hint(tostring(name), { "lose_state" }))
    end
  end
  local lose = options ~= nil and options.lose_state == true
  if self.client then restart_agent(self, lose) else restart_servers(self, lose) end
end

---The agent runs, and does not reach the servers.
function methods:partition()
  each_server(self, function(server) server.agent:partition(true) end)
end

---It reaches them again.
function methods:heal()
  each_server(self, function(server) server.agent:partition(false) end)
end

-- --- looking -----------------------------------------------------------------------------------

local function agent_of(self, call)
  if not self.client then blame.raise("consul:%s: only the agent of a box knows: box.consul:%s()", call, call) end
  return self.client.server.agent
end

local WORSE = { passing = 1, warning = 2, critical = 3 }

local function describe(agent, service)
  local shown = {
    id = service.id, name = service.name, tags = copy.deep(service.tags), meta = copy.deep(service.meta or {}),
    address = service.address, port = service.port, weights = copy.deep(service.weights),
    enable_tag_override = service.override, status = "passing", output = "", maintenance = false, checks = {},
  }
  for _, check in ipairs(agent:checks_of(service.id)) do
    if check.type == "maintenance" then
      shown.maintenance = check.notes
    else
      if WORSE[check.status] >= WORSE[shown.status] then shown.status, shown.output = check.status, check.output end
      shown.checks[#shown.checks + 1] = {
        id = check.id, name = check.name, status = check.status, output = check.output, ttl = check.ttl,
        notes = check.notes, deregister_after = check.deregister_after,
      }
    end
  end
  return shown
end

---What the agent of the box holds, by id: { id, name, tags, meta, address, port, weights, enable_tag_override, status,
---output, maintenance, checks }; `maintenance` is the reason, or false.
---@return table[]
function methods:services()
  local agent, list = agent_of(self, "services"), {}
  for i, id in ipairs(catalog.sorted(agent.services)) do list[i] = describe(agent, agent.services[id]) end
  return list
end

---@param id string           or the name, where only one has it
---@return table?             as of services()
function methods:service(id)
  local agent = agent_of(self, "service")
  if agent.services[id] then return describe(agent, agent.services[id]) end
  for _, one in ipairs(self:services()) do
    if one.name == id then return one end
  end
end

---The requests of the box so far, watches included: { method, path, body, token, at }.
---@return table[]
function methods:requests()
  agent_of(self, "requests")
  local list = {}
  for i, one in ipairs(self.client.asked) do list[i] = copy.shallow(one) end
  return list
end

---What pilot.consul was given, as the port's `agent` gets it: { url, token, … }; nil: nothing yet.
---@return table?
function methods:options()
  agent_of(self, "options")
  return self.client.options and copy.deep(self.client.options)
end

-- --- making one --------------------------------------------------------------------------------

local Control = {}

local function names()
  local list = {}
  for name in pairs(methods) do list[#list + 1] = name end
  table.sort(list)
  return list
end

function Control.__index(_, key)
  if methods[key] then return methods[key] end
  if key == "client" then return nil end
  blame.raise("consul has no method %q%s", tostring(key), suggest.hint(tostring(key), names()))
end

---@param cluster luapilot.sim.consul.Cluster
---@param dc luapilot.sim.consul.Datacenter
---@return luapilot.sim.Consul
function control.datacenter(cluster, dc) return setmetatable({ cluster = cluster, dc = dc }, Control) end

---@param cluster luapilot.sim.consul.Cluster
---@param client luapilot.sim.consul.Client
---@return luapilot.sim.Consul
function control.box(cluster, client)
  return setmetatable({ cluster = cluster, dc = cluster.home, client = client }, Control)
end

return control
