-- endpoints: what Consul can be asked, but for its keys: pilot.consul.agent, .health, .catalog and so on, as a table.
--
-- The names, and those of fields, are the official Go client's in snake_case. An entry says how a request is made of a
-- call's arguments, and what of its answer is returned. It owns the entries; consul/calls.lua follows them.

local address = require "luapilot.base.address"
local base64 = require "luapilot.base.base64"
local json_text = require "luapilot.schema.json_text"
local names = require "luapilot.consul.names"
local shapes = require "luapilot.consul.shapes"

local endpoints = {}

---@class luapilot.ConsulEndpoint
---@field [1] "GET"|"PUT"|"POST"|"DELETE"
---@field [2] string              the path below /v1; a word with ":" is the next argument
---@field args { name: string, type: luapilot.Type, query: string? }[]?   further arguments, all optional; what has no
---                               `query` stands in the body
---@field body { name: string, type: luapilot.Type }?   the argument behind these: a table that is sent
---@field options string?         of requests.options; default "READ" of a GET, else "WRITE"
---@field query table<string, any>?
---@field accept table<integer, true>?   statuses that are answers, too
---@field browses boolean?        it lists all that there is: what the token may not read is left out
---@field payload boolean?        the body is what stands in the option `payload`
---@field result "value"|"list"|"map"|"maybe"|"first"|(fun(value: any, response: table): any, any)|nil
---                               list, map: an empty one instead of null; a map's keys stay. maybe: 404 and null are
---                               nil; first: so they are, else the first of a list. Default: nothing is returned

local text = json_text.text

-- --- the agent -----------------------------------------------------------------------------------

local CHECKED = { [404] = true, [429] = true, [503] = true }
local HEALTH = { [200] = "passing", [429] = "warning", [503] = "critical", [404] = "critical" }
local NOTE = { { name = "note", type = text, query = "note" } }
local REASON = { { name = "reason", type = text, query = "reason" } }

-- The status of a service on this agent, and what it is made of.
local function health_of(value, response)
  return HEALTH[response.status], response.status ~= 404 and value or nil
end

local agent = {
  ---What the agent is: { config, member, meta, … }; debug_config and stats as Consul writes them.
  self = { "GET", "agent/self", options = "LOCAL", result = function(value)
    value.config = names.convert(value.config or {})
    return value
  end },
  ---The name of its node.
  node_name = { "GET", "agent/self", options = "LOCAL", result = function(value) return value.config.NodeName end },
  ---Its figures.
  metrics = { "GET", "agent/metrics", options = "LOCAL", result = "value" },
  ---What the machine is.
  host = { "GET", "agent/host", options = "LOCAL", result = "value" },
  ---The members of its gossip pool.
  members = { "GET", "agent/members", options = "LOCAL wan segment", result = "list", browses = true },
  ---id → service of this agent.
  services = { "GET", "agent/services", options = "LOCAL filter", result = "map", browses = true },
  ---One of them, or nil.
  service = { "GET", "agent/service/:id", options = "LOCAL index wait", result = "maybe" },
  ---id → check of this agent.
  checks = { "GET", "agent/checks", options = "LOCAL filter", result = "map", browses = true },
  ---"passing", "warning" or "critical" (also: there is none), and { aggregated_status, service, checks } or nil.
  agent_health_service_by_id = { "GET", "agent/health/service/id/:id", options = "LOCAL", accept = CHECKED,
    result = health_of },
  ---The worst status of all services of that name, and a list as above.
  agent_health_service_by_name = { "GET", "agent/health/service/name/:name", options = "LOCAL", accept = CHECKED,
    result = health_of },

  ---Registers a service, or replaces it.
  service_register = { "PUT", "agent/service/register", options = "LOCAL replace_existing_checks",
    body = { name = "service", type = shapes.service } },
  service_deregister = { "PUT", "agent/service/deregister/:id", options = "LOCAL" },
  ---Registers a check, of the node or of a service.
  check_register = { "PUT", "agent/check/register", options = "LOCAL", body = { name = "check", type = shapes.check } },
  check_deregister = { "PUT", "agent/check/deregister/:id", options = "LOCAL" },
  ---What a TTL check hears: (id, note).
  pass_ttl = { "PUT", "agent/check/pass/:id", options = "LOCAL", args = NOTE },
  warn_ttl = { "PUT", "agent/check/warn/:id", options = "LOCAL", args = NOTE },
  fail_ttl = { "PUT", "agent/check/fail/:id", options = "LOCAL", args = NOTE },
  ---The same with a longer output: (id, output, "passing" | "warning" | "critical").
  update_ttl = { "PUT", "agent/check/update/:id", options = "LOCAL", args = {
    { name = "output", type = shapes.output }, { name = "status", type = shapes.status },
  } },

  enable_service_maintenance = { "PUT", "agent/service/maintenance/:id", options = "LOCAL", args = REASON,
    query = { enable = "true" } },
  disable_service_maintenance = { "PUT", "agent/service/maintenance/:id", options = "LOCAL",
    query = { enable = "false" } },
  enable_node_maintenance = { "PUT", "agent/maintenance", options = "LOCAL", args = REASON,
    query = { enable = "true" } },
  disable_node_maintenance = { "PUT", "agent/maintenance", options = "LOCAL", query = { enable = "false" } },

  ---Makes the agent a member of the cluster of another one.
  join = { "PUT", "agent/join/:address", options = "LOCAL wan" },
  ---The agent leaves the cluster, and ends.
  leave = { "PUT", "agent/leave", options = "LOCAL" },
  ---Another node is to be counted as left.
  force_leave = { "PUT", "agent/force-leave/:node", options = "LOCAL prune" },
  ---The agent reads its configuration again.
  reload = { "PUT", "agent/reload", options = "LOCAL" },
}

-- --- health and catalogue ------------------------------------------------------------------------

local function fields_of(value) return type(value) == "table" and value or {} end

-- Where an instance is: its own address, or else its node's. None, where these are no host and port: Consul takes any
-- text for them.
local function put_authority(entry, own, node, port)
  local host = own ~= nil and own ~= "" and own or node
  local is_place = address.is_host(host) and (port == nil or address.is_port(port))
  entry.authority = is_place and address.authority(host, port) or nil
end

-- Of { node, service, checks }.
local function instances(value)
  for _, entry in ipairs(fields_of(value)) do
    local service, node = fields_of(fields_of(entry).service), fields_of(fields_of(entry).node)
    put_authority(fields_of(entry), service.address, node.address, service.port)
  end
  return value or {}
end

-- Of { node, address, service_address, service_port, … }.
local function catalogued(value)
  for _, entry in ipairs(fields_of(value)) do
    entry = fields_of(entry)
    put_authority(entry, entry.service_address, entry.address, entry.service_port)
  end
  return value or {}
end

local health = {
  ---Instances: a list of { node, service, checks, authority }.
  service = { "GET", "health/service/:service", options = "READ cached near filter node_meta tag passing",
    result = instances },
  ---The same of proxies in Consul's mesh that stand for the service.
  connect = { "GET", "health/connect/:service", options = "READ cached near filter node_meta tag passing",
    result = instances },
  ---The checks of a service.
  checks = { "GET", "health/checks/:service", options = "READ near filter node_meta", result = "list" },
  ---The checks of a node.
  node = { "GET", "health/node/:node", options = "READ filter", result = "list" },
  ---The checks in a state: "passing", "warning", "critical" or "any".
  state = { "GET", "health/state/:state", options = "READ near filter node_meta", result = "list", browses = true },
}

local catalog = {
  ---Names of datacentres, the nearest first.
  datacenters = { "GET", "catalog/datacenters", options = "WRITE cached", result = "list" },
  nodes = { "GET", "catalog/nodes", options = "READ near filter node_meta", result = "list", browses = true },
  ---name → list of all its tags.
  services = { "GET", "catalog/services", options = "READ cached node_meta", result = "map", browses = true },
  ---All instances of a service, healthy or not.
  service = { "GET", "catalog/service/:service", options = "READ cached near filter node_meta tag",
    result = catalogued },
  connect = { "GET", "catalog/connect/:service", options = "READ cached near filter node_meta tag",
    result = catalogued },
  ---{ node, services = { id → service } }, or nil.
  node = { "GET", "catalog/node/:node", options = "READ filter", result = "maybe" },
  ---{ node, services = { service, … } }, or nil.
  node_service_list = { "GET", "catalog/node-services/:node", options = "READ filter", result = function(value)
    return value and value.node and value or nil
  end },
  ---Registers what no agent looks after.
  register = { "PUT", "catalog/register", body = { name = "registration", type = shapes.registration } },
  deregister = { "PUT", "catalog/deregister", body = { name = "deregistration", type = shapes.deregistration } },
}

-- --- sessions, events, prepared queries ----------------------------------------------------------

local function id_of(value) return value.id end

local session = {
  ---Makes a session and returns its id.
  create = { "PUT", "session/create", body = { name = "session", type = shapes.session }, result = id_of },
  ---The same without a check of the node: only its ttl ends it.
  create_no_checks = { "PUT", "session/create", body = { name = "session", type = shapes.session_no_checks },
    result = id_of },
  ---Renews one with a ttl: the session, or nil when it is gone.
  renew = { "PUT", "session/renew/:id", result = "first" },
  destroy = { "PUT", "session/destroy/:id" },
  ---A session, or nil.
  info = { "GET", "session/info/:id", result = "first" },
  ---Those of a node.
  node = { "GET", "session/node/:node", result = "list", browses = true },
  list = { "GET", "session/list", result = "list", browses = true },
}

local event = {
  ---Tells all agents, or those that options name, of something that happened; returns the id.
  fire = { "PUT", "event/fire/:name", options = "WRITE node service tag payload", payload = true, result = id_of },
  ---The latest events that this agent knows.
  list = { "GET", "event/list", options = "LOCAL name index wait", browses = true, result = function(value)
    for _, each in ipairs(value or {}) do each.payload = each.payload and assert(base64.decode(each.payload)) or "" end
    return value or {}
  end },
}

local query = {
  ---Makes a prepared query and returns its id.
  create = { "POST", "query", body = { name = "query", type = shapes.query }, result = id_of },
  update = { "PUT", "query/:id", body = { name = "query", type = shapes.query } },
  list = { "GET", "query", result = "list", browses = true },
  ---A prepared query, or nil.
  get = { "GET", "query/:id", result = "first" },
  delete = { "DELETE", "query/:id" },
  ---Runs one, by its name or id: { service, nodes, dns, datacenter, failovers }.
  execute = { "GET", "query/:name/execute", options = "READ cached near limit", result = function(value)
    if value then instances(value.nodes) end
    return value
  end },
}

-- --- status --------------------------------------------------------------------------------------

local status = {
  ---"host:port" of the leader as the agent knows it; nil when there is none: such an agent is not a healthy one.
  leader = { "GET", "status/leader", options = "WRITE", result = function(value)
    if value ~= "" then return value end
  end },
  ---The servers that vote: "host:port".
  peers = { "GET", "status/peers", options = "WRITE", result = "list" },
}

endpoints.groups = {
  agent = agent, health = health, catalog = catalog, session = session, event = event, query = query, status = status,
}

return endpoints
