-- catalog: nodes, services and checks as the servers know them.
--
-- What an agent holds arrives here by its anti-entropy, and what is external by /v1/catalog/register. A write that
-- changes nothing leaves the indexes alone. The index of a service rises with all that a look at its health would show:
-- its instances, their checks, their nodes.
--
-- It owns the three tables. It never looks at a clock.

local copy = require "luapilot.base.copy"

local catalog = {}

---@class luapilot.sim.consul.Node
---@field name string
---@field id string
---@field address string
---@field tagged table<string, string>?
---@field meta table<string, string>?
---@field create integer?
---@field modify integer?

---@class luapilot.sim.consul.Service
---@field id string
---@field name string
---@field tags string[]
---@field address string
---@field port integer
---@field meta table<string, string>?
---@field tagged table<string, { Address: string, Port: integer }>?
---@field weights { passing: integer, warning: integer }
---@field override boolean              EnableTagOverride

---@class luapilot.sim.consul.Check
---@field id string
---@field name string
---@field status "passing"|"warning"|"critical"
---@field notes string
---@field output string
---@field service string                its id; "": the node's
---@field service_name string
---@field service_tags string[]
---@field type string

---@class luapilot.sim.consul.Catalog
---@field nodes table<string, luapilot.sim.consul.Node>
---@field services table<string, table<string, luapilot.sim.consul.Service>>   node → id
---@field checks table<string, table<string, luapilot.sim.consul.Check>>       node → id
---@field check_lost fun(node: string, id: string)?    a check is critical, or gone: sessions hear of it
---@field node_lost fun(node: string)?                 a node is gone
local Catalog = {}
Catalog.__index = Catalog

---@param store luapilot.sim.consul.Store
---@return luapilot.sim.consul.Catalog
function catalog.new(store)
  return setmetatable({ store = store, nodes = {}, services = {}, checks = {} }, Catalog)
end

---Keys in order.
---@param map table<string, any>
---@return string[]
function catalog.sorted(map)
  local keys = {}
  for key in pairs(map) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

local sorted = catalog.sorted

---Do two rows say the same, whenever they were written?
---@param a table
---@param b table
---@return boolean
function catalog.same(a, b)
  local bare = copy.shallow(b)
  bare.create, bare.modify = a.create, a.modify
  return copy.equal(a, bare)
end

-- Puts a row where it belongs; nil when it is there already, as it is.
local function put(map, key, row, index)
  local old = map[key]
  if old and catalog.same(old, row) then return nil end
  row = copy.deep(row)
  row.create, row.modify = old and old.create or index, index
  map[key] = row
  return row
end

-- Every service of a node shows its node and the node's checks.
local function touch_services(self, node, index)
  for _, service in pairs(self.services[node] or {}) do self.store:touch("service:" .. service.name, index) end
end

-- --- writing -----------------------------------------------------------------------------------

---@param node luapilot.sim.consul.Node
---@param index integer
---@return boolean changed
function Catalog:put_node(node, index)
  local store = self.store
  if not put(self.nodes, node.name, node, index) then return false end
  store:touch("nodes", index)
  touch_services(self, node.name, index)
  return true
end

-- The last instance takes the service's own index along.
local function service_gone(self, name, index)
  local store = self.store
  store:touch("service:" .. name, index)
  if #self:instances(name) > 0 then return end
  store.topics["service:" .. name] = nil
  store.topics.extinction = index
end

---@param node string
---@param service luapilot.sim.consul.Service
---@param index integer
---@return boolean changed
function Catalog:put_service(node, service, index)
  self.services[node] = self.services[node] or {}
  local old = self.services[node][service.id]
  if not put(self.services[node], service.id, service, index) then return false end
  self.store:touch("services", index)
  self.store:touch("service:" .. service.name, index)
  if old and old.name ~= service.name then service_gone(self, old.name, index) end
  return true
end

---@param node string
---@param check luapilot.sim.consul.Check
---@param index integer
---@return boolean changed
function Catalog:put_check(node, check, index)
  self.checks[node] = self.checks[node] or {}
  local service = check.service ~= "" and (self.services[node] or {})[check.service]
  local row = copy.shallow(check)
  row.service_name = service and service.name or check.service_name or ""
  row.service_tags = service and service.tags or check.service_tags or {}
  if not put(self.checks[node], check.id, row, index) then return false end
  self.store:touch("checks", index)
  if service then self.store:touch("service:" .. service.name, index) else touch_services(self, node, index) end
  if check.status == "critical" and self.check_lost then self.check_lost(node, check.id) end
  return true
end

---@param node string
---@param id string
---@param index integer
---@return boolean changed
function Catalog:drop_check(node, id, index)
  local check = (self.checks[node] or {})[id]
  if not check then return false end
  self.checks[node][id] = nil
  self.store:touch("checks", index)
  local service = (self.services[node] or {})[check.service]
  if service then self.store:touch("service:" .. service.name, index) else touch_services(self, node, index) end
  if self.check_lost then self.check_lost(node, id) end
  return true
end

---@param node string
---@param id string
---@param index integer
---@return boolean changed
function Catalog:drop_service(node, id, index)
  local service = (self.services[node] or {})[id]
  if not service then return false end
  for _, check in ipairs(self:checks_of(node, id)) do self:drop_check(node, check.id, index) end
  self.services[node][id] = nil
  self.store:touch("services", index)
  service_gone(self, service.name, index)
  return true
end

---With all that is on it.
---@param node string
---@param index integer
function Catalog:drop_node(node, index)
  if not self.nodes[node] then return end
  for _, id in ipairs(sorted(self.services[node] or {})) do self:drop_service(node, id, index) end
  for _, id in ipairs(sorted(self.checks[node] or {})) do self:drop_check(node, id, index) end
  self.nodes[node], self.services[node], self.checks[node] = nil, nil, nil
  self.store:touch("nodes", index)
  if self.node_lost then self.node_lost(node) end
end

-- --- reading -----------------------------------------------------------------------------------

---The nodes, by name.
---@return luapilot.sim.consul.Node[]
function Catalog:all_nodes()
  local list = {}
  for i, name in ipairs(sorted(self.nodes)) do list[i] = self.nodes[name] end
  return list
end

---A node by its name or identity.
---@param key string
---@return luapilot.sim.consul.Node?
function Catalog:node(key)
  if self.nodes[key] then return self.nodes[key] end
  for _, node in pairs(self.nodes) do
    if node.id ~= "" and node.id == key then return node end
  end
end

---What is on a node, by id.
---@param node string
---@return luapilot.sim.consul.Service[]
function Catalog:on_node(node)
  local list, services = {}, self.services[node] or {}
  for i, id in ipairs(sorted(services)) do list[i] = services[id] end
  return list
end

---The instances of a service, by node and id.
---@param name string
---@return { node: luapilot.sim.consul.Node, service: luapilot.sim.consul.Service }[]
function Catalog:instances(name)
  local list = {}
  for _, node in ipairs(self:all_nodes()) do
    for _, service in ipairs(self:on_node(node.name)) do
      if service.name == name then list[#list + 1] = { node = node, service = service } end
    end
  end
  return list
end

---The checks of a service on a node; service "": those of the node itself.
---@param node string
---@param service string    its id
---@return luapilot.sim.consul.Check[]
function Catalog:checks_of(node, service)
  local list, checks = {}, self.checks[node] or {}
  for _, id in ipairs(sorted(checks)) do
    if checks[id].service == service then list[#list + 1] = checks[id] end
  end
  return list
end

---All checks, by node and id.
---@return { node: luapilot.sim.consul.Node, check: luapilot.sim.consul.Check }[]
function Catalog:all_checks()
  local list = {}
  for _, node in ipairs(self:all_nodes()) do
    local checks = self.checks[node.name] or {}
    for _, id in ipairs(sorted(checks)) do list[#list + 1] = { node = node, check = checks[id] } end
  end
  return list
end

---The index of a look at a service.
---@param name string
---@param checks boolean    does the look show checks?
---@return integer
function Catalog:index_of(name, checks)
  local topics = self.store.topics
  local own = topics["service:" .. name]
  if #self:instances(name) == 0 then own = topics.extinction end
  if own then return own end
  return self.store:latest("nodes", "services", checks and "checks" or nil)
end

---The topics of a look at a service: one that does not exist yet waits for anything new.
---@param name string
---@return string[]
function Catalog:topics_of(name)
  if self.store.topics["service:" .. name] then return { "service:" .. name } end
  return { "nodes", "services", "checks", "service:" .. name }
end

return catalog
