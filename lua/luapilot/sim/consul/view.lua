-- view: what is held, in the forms in which Consul shows it. Pure.
--
-- The same thing has other fields at other endpoints, and what is empty is [], {}, null or absent, each at its place.

local base64 = require "luapilot.base.base64"
local json = require "luapilot.sim.consul.json"

local view = {}

local array, maybe = json.array, json.maybe

local function list(values)
  local result = {}
  for i, value in ipairs(values or {}) do result[i] = value end
  return array(result)
end

local function weights(service) return { Passing = service.weights.passing, Warning = service.weights.warning } end

local function proxy() return { MeshGateway = {}, Expose = {} } end

---@param node luapilot.sim.consul.Node
---@param dc string
---@return table
function view.node(node, dc)
  return {
    ID = node.id, Node = node.name, Address = node.address, Datacenter = dc, TaggedAddresses = maybe(node.tagged),
    Meta = maybe(node.meta), CreateIndex = node.create, ModifyIndex = node.modify,
  }
end

---Of /v1/health/service and /v1/catalog/node.
---@param service luapilot.sim.consul.Service
---@return table
function view.service(service)
  return {
    ID = service.id, Service = service.name, Tags = list(service.tags), Address = service.address,
    TaggedAddresses = service.tagged, Meta = maybe(service.meta), Port = service.port, Weights = weights(service),
    EnableTagOverride = service.override, Proxy = proxy(), Connect = {},
    CreateIndex = service.create, ModifyIndex = service.modify,
  }
end

---Of /v1/catalog/service.
---@param node luapilot.sim.consul.Node
---@param service luapilot.sim.consul.Service
---@param dc string
---@return table
function view.catalog_service(node, service, dc)
  return {
    ID = node.id, Node = node.name, Address = node.address, Datacenter = dc, TaggedAddresses = maybe(node.tagged),
    NodeMeta = maybe(node.meta), ServiceKind = "", ServiceID = service.id, ServiceName = service.name,
    ServiceTags = list(service.tags), ServiceAddress = service.address, ServiceTaggedAddresses = service.tagged,
    ServiceWeights = weights(service), ServiceMeta = service.meta or {}, ServicePort = service.port,
    ServiceEnableTagOverride = service.override, ServiceProxy = proxy(), ServiceConnect = {},
    CreateIndex = service.create, ModifyIndex = service.modify,
  }
end

---@param node string
---@param check luapilot.sim.consul.Check
---@return table
function view.check(node, check)
  return {
    Node = node, CheckID = check.id, Name = check.name, Status = check.status, Notes = check.notes,
    Output = check.output, ServiceID = check.service, ServiceName = check.service_name,
    ServiceTags = list(check.service_tags), Type = check.type, Definition = {},
    CreateIndex = check.create or 0, ModifyIndex = check.modify or 0,
  }
end

-- --- an agent's own ----------------------------------------------------------------------------

---Of /v1/agent/services.
---@param service luapilot.sim.consul.Service
---@return table
function view.local_service(service)
  return {
    ID = service.id, Service = service.name, Tags = list(service.tags), Meta = service.meta or {}, Port = service.port,
    Address = service.address, TaggedAddresses = service.tagged, Weights = weights(service),
    EnableTagOverride = service.override,
  }
end

---Of /v1/agent/health/service, which knows less of it.
---@param node string
---@param check luapilot.sim.consul.LocalCheck
---@return table
function view.health_check(node, check)
  local shown = view.check(node, check)
  shown.Type = ""
  shown.ServiceTags = check.service == "" and json.null or shown.ServiceTags
  shown.Definition = {
    Interval = "0s", Timeout = "0s", DeregisterCriticalServiceAfter = "0s", HTTP = "", Header = json.null, Method = "",
    Body = "", TLSSkipVerify = false, TCP = "",
  }
  return shown
end

-- --- keys and sessions -------------------------------------------------------------------------

---@param entry luapilot.sim.consul.Entry
---@param bare boolean?     without its value: what a transaction shows of a write
---@return table
function view.entry(entry, bare)
  return {
    LockIndex = entry.lock_index, Key = entry.key, Flags = json.number(entry.flags),
    Value = not bare and entry.value ~= "" and base64.encode(entry.value) or json.null, Session = entry.session,
    CreateIndex = entry.create, ModifyIndex = entry.modify,
  }
end

---@param session luapilot.sim.consul.Session
---@return table
function view.session(session)
  local checks
  if session.service_checks then
    checks = array()
    for i, one in ipairs(session.service_checks) do checks[i] = { ID = one.ID, Namespace = one.Namespace or "" } end
  end
  return {
    ID = session.id, Name = session.name, Node = session.node, LockDelay = math.floor(session.lock_delay * 1e9 + 0.5),
    Behavior = session.behavior, TTL = session.ttl_text, NodeChecks = list(session.node_checks),
    ServiceChecks = maybe(checks), CreateIndex = session.create, ModifyIndex = session.modify,
  }
end

---@param values any[]
---@return table
function view.list(values) return list(values) end

return view
