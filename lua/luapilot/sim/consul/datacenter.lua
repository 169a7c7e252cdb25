-- datacenter: the servers of one datacentre, and what a spec puts into their catalogue.
--
-- A server of its own holds the state; the boxes' agents are its clients. Services that a spec adds stand on nodes of
-- their own and are healthy unless it says otherwise. Serf's view of an agent arrives here with a delay, as gossip.
--
-- It owns the store and the tables, and knows which agents are members. HTTP is server.lua's.

local blame = require "luapilot.sim.blame"
local catalog = require "luapilot.sim.consul.catalog"
local copy = require "luapilot.base.copy"
local kv = require "luapilot.sim.consul.kv"
local sessions = require "luapilot.sim.consul.sessions"
local store = require "luapilot.sim.consul.store"
local suggest = require "luapilot.base.suggest"

local datacenter = {}

local SERF = sessions.SERF
local SERVER, SERVER_ADDRESS = "consul-server", "172.17.255.254"
local PORT = 80 -- of a service that a spec adds without one

---@class luapilot.sim.consul.Datacenter
---@field name string
---@field store luapilot.sim.consul.Store
---@field catalog luapilot.sim.consul.Catalog
---@field kv luapilot.sim.consul.KV
---@field sessions luapilot.sim.consul.Sessions
---@field queries table[]
---@field members luapilot.sim.consul.Agent[]
---@field denied table<string, boolean>    resources that no token may touch
---@field revoked table<string, boolean>   tokens that nobody knows
---@field events table[]
local Datacenter = {}
Datacenter.__index = Datacenter

Datacenter.SERVER, Datacenter.SERVER_ADDRESS = SERVER, SERVER_ADDRESS

local function begin(self)
  local one = store.new(self.clock, self.dice)
  self.store, self.catalog, self.kv = one, catalog.new(one), kv.new(one)
  self.sessions = sessions.new(one, self.kv, self.catalog)
  self.queries, self.events = {}, {}
  self:join({ name = SERVER, address = SERVER_ADDRESS, id = self.server_id })
  self.catalog:put_service(SERVER, {
    id = "consul", name = "consul", tags = {}, address = "", port = 8300,
    meta = { version = "1.8.7", raft_version = "3", serf_protocol_current = "2", serf_protocol_max = "5",
             serf_protocol_min = "1", non_voter = "false" },
    weights = { passing = 1, warning = 1 }, override = false,
  }, one:write())
end

---@param name string
---@param clock luapilot.sim.Clock
---@param dice luapilot.sim.Random
---@return luapilot.sim.consul.Datacenter
function datacenter.new(name, clock, dice)
  local self = setmetatable({
    name = name, clock = clock, dice = dice, members = {}, denied = {}, revoked = {},
  }, Datacenter)
  self.server_id = store.new(clock, dice):identity()
  begin(self)
  return self
end

-- --- members -----------------------------------------------------------------------------------

---What a node with an agent looks like in the catalogue.
---@param node { name: string, address: string, id: string }
---@return luapilot.sim.consul.Node
function Datacenter.node_row(node)
  local address = node.address
  return {
    name = node.name, id = node.id, address = address,
    tagged = { lan = address, lan_ipv4 = address, wan = address, wan_ipv4 = address },
    meta = { ["consul-network-segment"] = "" },
  }
end

---A node is alive, as Serf sees it.
---@param node { name: string, address: string, id: string }
function Datacenter:join(node)
  local index = self.store:write()
  self.catalog:put_node(self.node_row(node), index)
  self:serf(node.name, true, index)
end

---@param name string       of a node
---@param alive boolean
---@param index integer?
function Datacenter:serf(name, alive, index)
  self.catalog:put_check(name, {
    id = SERF, name = "Serf Health Status", status = alive and "passing" or "critical", notes = "",
    output = alive and "Agent alive and reachable" or "Agent not live or unreachable",
    service = "", service_name = "", service_tags = {}, type = "",
  }, index or self.store:write())
end

---A node has left in order: it is gone with all that it had.
---@param name string
function Datacenter:leave(name)
  local index = self.store:write()
  self.catalog:drop_node(name, index)
end

-- --- what a spec says --------------------------------------------------------------------------

local FIELDS = { "port", "tags", "meta", "status", "id", "node", "weights", "output" }
local KNOWN = {}
for _, name in ipairs(FIELDS) do KNOWN[name] = true end

local STATUSES = { passing = true, warning = true, critical = true }

local function checked_status(where, status)
  if not STATUSES[status] then
    blame.raise('%s: expected "passing", "warning" or "critical", got %s', where, tostring(status))
  end
  return status
end

local function text(where, value)
  if type(value) ~= "string" or value == "" then
    blame.raise("%s: expected a string, got %s", where, tostring(value))
  end
  return value
end

local function check_options(options)
  if type(options) ~= "table" then blame.raise("consul:add: expected options, got %s", tostring(options)) end
  for name in pairs(options) do
    if not KNOWN[name] then
      blame.raise("consul:add: unknown option %q%s", tostring(name), suggest.hint(tostring(name), FIELDS))
    end
  end
end

local function find_member(self, name)
  for _, agent in ipairs(self.members) do
    if agent.name == name then return agent end
  end
end

local function instance_check(id, name, tags, status, output)
  return {
    id = "service:" .. id, name = ("Service '%s' check"):format(name), status = status, notes = "",
    output = output or "", service = id, service_name = name, service_tags = tags, type = "ttl",
  }
end

-- A node of its own for each address, with an agent that is alive.
local function node_for(self, address, options, index)
  local name = options.node or "node-" .. address
  if find_member(self, name) or name == SERVER then
    blame.raise("consul:add: the node %q has an agent of its own, which would remove the service again", name)
  end
  local row = self.node_row { name = name, address = address, id = "" }
  local old = self.catalog.nodes[name]
  row.id = old and old.id or self.store:identity()
  if old then row.address, row.tagged = old.address, old.tagged end
  self.catalog:put_node(row, index)
  if not (self.catalog.checks[name] or {})[SERF] then self:serf(name, true, index) end
  return name
end

---A service appears in the catalogue, or is another one from now on.
---@param name string
---@param address string
---@param options { port: integer?, tags: string[]?, meta: table<string, string>?, status: string?, id: string?,
---  node: string?, weights: { passing: integer, warning: integer }?, output: string? }?
---@return string id
function Datacenter:add(name, address, options)
  options = options or {}
  check_options(options)
  text("consul:add: name", name)
  text("consul:add: address", address)
  local status = checked_status("consul:add: status", options.status or "passing")
  local index = self.store:write()
  local id, weights = options.id or ("%s-%s"):format(name, address), options.weights or {}
  local node, tags = node_for(self, address, options, index), options.tags or {}
  self.catalog:put_service(node, {
    id = id, name = name, tags = tags, address = address, port = options.port or PORT, meta = options.meta or {},
    weights = { passing = weights.passing or 1, warning = weights.warning or 1 }, override = false,
  }, index)
  self.catalog:put_check(node, instance_check(id, name, tags, status, options.output), index)
  return id
end

-- Instances that a spec means: by id, or by name.
local function find(self, key, address)
  local list = {}
  for _, node in ipairs(self.catalog:all_nodes()) do
    for _, service in ipairs(self.catalog:on_node(node.name)) do
      local mine = service.id == key or service.name == key
      if mine and (not address or address == service.address) then
        list[#list + 1] = { node = node.name, service = service }
      end
    end
  end
  return list
end

local function nothing(self, call, key)
  local names = {}
  for _, services in pairs(self.catalog.services) do
    for id, service in pairs(services) do
      names[#names + 1] = id
      names[#names + 1] = service.name
    end
  end
  table.sort(names)
  blame.raise("%s: there is no service %q%s", call, tostring(key), suggest.hint(tostring(key), names))
end

---@param key string          an id, or the name of a service: all of its instances
---@param address string?     only that one
function Datacenter:remove(key, address)
  local found = find(self, key, address)
  if #found == 0 then nothing(self, "consul:remove", key) end
  local index = self.store:write()
  for _, one in ipairs(found) do
    self.catalog:drop_service(one.node, one.service.id, index)
    local alone = #self.catalog:on_node(one.node) == 0 and not find_member(self, one.node)
    if alone and one.node ~= SERVER then self.catalog:drop_node(one.node, index) end
  end
end

---What the service's own check says from now on; that of a box until its pilot says otherwise.
---@param key string          an id, or the name of a service: all of its instances
---@param status "passing"|"warning"|"critical"
---@param output string?
function Datacenter:set_status(key, status, output)
  checked_status("consul:set_status", status)
  local found = find(self, key)
  if #found == 0 then nothing(self, "consul:set_status", key) end
  local index = self.store:write()
  for _, one in ipairs(found) do
    local service, agent = one.service, find_member(self, one.node)
    for _, check in ipairs(agent and agent:checks_of(service.id) or {}) do
      agent:update(check.id, status, output or "")
    end
    if not agent then
      self.catalog:put_check(one.node, instance_check(service.id, service.name, service.tags, status, output), index)
    end
  end
end

---What the catalogue shows of a service.
---@param name string
---@return { id: string, node: string, address: string, port: integer, tags: string[], meta: table, status: string }[]
function Datacenter:instances(name)
  local list = {}
  for i, one in ipairs(self.catalog:instances(name)) do
    local status = "passing"
    for _, of in ipairs { "", one.service.id } do
      for _, check in ipairs(self.catalog:checks_of(one.node.name, of)) do
        local worse = check.status == "critical" or check.status == "warning" and status == "passing"
        if worse then status = check.status end
      end
    end
    local service = one.service
    list[i] = {
      id = service.id, node = one.node.name, address = service.address, port = service.port,
      tags = copy.deep(service.tags), meta = copy.deep(service.meta or {}), status = status,
    }
  end
  return list
end

---@return { id: string, name: string, node: string, ttl: number?, behavior: string, keys: string[] }[]
function Datacenter:live_sessions()
  local list = {}
  for i, session in ipairs(self.sessions:list()) do
    local keys = {}
    for _, entry in ipairs((self.kv:list "")) do
      if entry.session == session.id then keys[#keys + 1] = entry.key end
    end
    list[i] = {
      id = session.id, name = session.name, node = session.node, ttl = session.ttl, behavior = session.behavior,
      keys = keys,
    }
  end
  return list
end

---@param key string
---@param value string
function Datacenter:put(key, value)
  self.kv:set(text("consul:put: key", key), tostring(value), "0", self.store:write())
end

---@param key string
function Datacenter:delete(key) self.kv:delete(text("consul:delete: key", key), self.store:write()) end

---@param key string
---@return string? value
function Datacenter:get(key)
  local entry = self.kv:get(key)
  return entry and entry.value
end

---Ends a session, as an operator would.
---@param id string
function Datacenter:destroy_session(id)
  local destroyed, message = self.sessions:destroy(id)
  if not destroyed then blame.raise("consul:destroy_session: %s", message or "there is no session " .. id) end
end

---Without a leader nothing is written, and reads fail but for stale ones.
---@param there boolean
function Datacenter:set_leader(there)
  self.store.leader = there
  self.sessions:wind_all()
end

local RESOURCES = { "agent", "event", "key", "node", "operator", "query", "service", "session" }

local function check_resource(resource)
  for _, name in ipairs(RESOURCES) do
    if name == resource then return end
  end
  blame.raise("consul:deny: there is no resource %q%s", tostring(resource), suggest.hint(tostring(resource), RESOURCES))
end

---Writes to a resource are refused from now on, and reads as Consul does it: with 403, or with an answer that lacks it.
---@param resource string     "key", "service", "node", "session", "agent", "query", "event", "operator"
function Datacenter:deny(resource)
  check_resource(resource)
  self.denied[resource] = true
end

---@param resource string?    default: all
function Datacenter:grant(resource)
  if resource == nil then
    self.denied = {}
    return
  end
  check_resource(resource)
  self.denied[resource] = nil
end

---Nobody knows this token any more.
---@param token string
function Datacenter:revoke(token)
  if type(token) ~= "string" then blame.raise("consul:revoke: expected a token, got %s", tostring(token)) end
  self.revoked[token] = true
end

---The servers begin anew: what they knew is gone, and so are their indexes.
function Datacenter:wipe()
  local leader = self.store.leader
  for _, session in pairs(self.sessions.all) do
    if session.timer then self.clock:cancel(session.timer) end
  end
  begin(self)
  self.store.leader = leader
  for _, agent in ipairs(self.members) do agent:rejoin() end
end

return datacenter
