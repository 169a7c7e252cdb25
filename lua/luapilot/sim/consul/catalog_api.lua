-- catalog_api: /v1/catalog/ and /v1/health/.

local answer = require "luapilot.sim.consul.answer"
local body = require "luapilot.sim.consul.body"
local filter = require "luapilot.sim.consul.filter"
local json = require "luapilot.sim.consul.json"
local view = require "luapilot.sim.consul.view"

local catalog_api = {}

local DEFAULT_WEIGHTS = { passing = 1, warning = 1 }

-- --- what may be asked of a list ---------------------------------------------------------------

local function meta_wanted(request)
  local wanted = {}
  for _, pair in ipairs(request.query:all "node-meta") do
    local key, value = pair:match "^([^:]*):?(.*)$"
    wanted[key] = value
  end
  return wanted
end

local function node_fits(node, wanted)
  for key, value in pairs(wanted) do
    if not node.meta or node.meta[key] ~= value then return false end
  end
  return true
end

-- Round trip times are not simulated: what is asked about comes first, the others keep their order.
local function by_distance(request, list, node_of)
  local near = request.query:get "near"
  if near == "" then return list end
  if near == "_agent" then near = request.agent.name end
  local first, rest = {}, {}
  for _, one in ipairs(list) do table.insert(node_of(one) == near and first or rest, one) end
  for _, one in ipairs(rest) do first[#first + 1] = one end
  return first
end

-- The answer to a list of rows, filtered.
local function listed(request, rows, shape, index, topics)
  local text = request.query:get "filter"
  if text ~= "" then
    local fits, message = filter.compile(text, shape)
    if not fits then return answer.failed("Failed to create boolean expression evaluator: " .. message) end
    local kept = {}
    for _, row in ipairs(rows) do
      if fits(row) then kept[#kept + 1] = row end
    end
    rows = kept
  end
  return answer.read(answer.json(view.list(rows)), index, topics)
end

local function may_see(request)
  local may = not request.dc.denied.service and not request.dc.denied.node
  request.filtered = not may
  return may
end

-- --- nodes -------------------------------------------------------------------------------------

local function datacenters(request)
  local names = {}
  for i, dc in ipairs(request.cluster.all) do names[i] = dc.name end
  table.sort(names)
  return answer.json(view.list(names))
end

local function nodes(request)
  local wanted, rows = meta_wanted(request), {}
  local all = request.dc.denied.node and {} or request.dc.catalog:all_nodes()
  for _, node in ipairs(by_distance(request, all, function(one) return one.name end)) do
    if node_fits(node, wanted) then rows[#rows + 1] = view.node(node, request.dc.name) end
  end
  return listed(request, rows, "node", request.dc.store:latest "nodes", { "nodes" })
end

local function node(request)
  if request.rest == "" then return answer.bad "Missing node name" end
  local store, catalog = request.dc.store, request.dc.catalog
  local found = may_see(request) and catalog:node(request.rest)
  local topics = { "nodes", "services" }
  if not found then return answer.read(answer.json(json.null), 1, topics) end
  local services = {}
  for _, service in ipairs(catalog:on_node(found.name)) do services[service.id] = view.service(service) end
  return answer.read(answer.json { Node = view.node(found, request.dc.name), Services = services },
    store:latest("nodes", "services"), topics)
end

-- --- services ----------------------------------------------------------------------------------

local function services(request)
  local wanted, names = meta_wanted(request), {}
  local catalog = request.dc.catalog
  for _, one in ipairs(may_see(request) and catalog:all_nodes() or {}) do
    for _, service in ipairs(node_fits(one, wanted) and catalog:on_node(one.name) or {}) do
      local tags = names[service.name] or {}
      names[service.name] = tags
      for _, tag in ipairs(service.tags) do tags[tag] = true end
    end
  end
  local result = {}
  for name, tags in pairs(names) do
    local list = {}
    for tag in pairs(tags) do list[#list + 1] = tag end
    table.sort(list)
    result[name] = json.array(list)
  end
  return answer.read(answer.json(result), request.dc.store:latest "services", { "services" })
end

local function has_tags(service, wanted)
  local mine = {}
  for _, tag in ipairs(service.tags) do mine[tag:lower()] = true end
  for _, tag in ipairs(wanted) do
    if not mine[tag:lower()] then return false end
  end
  return true
end

-- The instances that are asked for.
local function instances(request)
  local tags, wanted, list = request.query:all "tag", meta_wanted(request), {}
  for _, one in ipairs(may_see(request) and request.dc.catalog:instances(request.rest) or {}) do
    if has_tags(one.service, tags) and node_fits(one.node, wanted) then list[#list + 1] = one end
  end
  return by_distance(request, list, function(one) return one.node.name end)
end

local function topics_of(request)
  return function() return request.dc.catalog:topics_of(request.rest) end
end

local function catalog_service(request)
  if request.rest == "" then return answer.bad "Missing service name" end
  local rows = {}
  for i, one in ipairs(instances(request)) do
    rows[i] = view.catalog_service(one.node, one.service, request.dc.name)
  end
  return listed(request, rows, "catalog_service", request.dc.catalog:index_of(request.rest, false), topics_of(request))
end

local function all_passing(checks)
  for _, check in ipairs(checks) do
    if check.Status ~= "passing" then return false end
  end
  return true
end

local function health_row(dc, one)
  local catalog, checks = dc.catalog, json.array()
  for _, id in ipairs { "", one.service.id } do
    for _, check in ipairs(catalog:checks_of(one.node.name, id)) do
      checks[#checks + 1] = view.check(one.node.name, check)
    end
  end
  return { Node = view.node(one.node, dc.name), Service = view.service(one.service), Checks = checks }
end

-- Those that are not ignored.
local function counted(checks, ignore)
  local left, out = {}, {}
  for _, id in ipairs(ignore) do out[id] = true end
  for _, check in ipairs(checks) do
    if not out[check.CheckID] then left[#left + 1] = check end
  end
  return left
end

local function none_critical(checks)
  for _, check in ipairs(checks) do
    if check.Status == "critical" then return false end
  end
  return true
end

---What a prepared query finds in a datacentre: instances that are not critical.
---@param request luapilot.sim.consul.Request
---@param dc luapilot.sim.consul.Datacenter
---@param wanted { service: string, tags: string[], node_meta: table, service_meta: table, only_passing: boolean,
---  ignore: string[] }
---@return table
function catalog_api.nodes_for(request, dc, wanted)
  local rows = json.array()
  for _, one in ipairs(may_see(request) and dc.catalog:instances(wanted.service) or {}) do
    local row = health_row(dc, one)
    local checks = counted(row.Checks, wanted.ignore)
    for _, check in ipairs(row.Checks) do
      if #check.ServiceTags == 0 then check.ServiceTags = json.null end -- as this endpoint shows it
    end
    local healthy = wanted.only_passing and all_passing(checks) or not wanted.only_passing and none_critical(checks)
    local fits = has_tags(one.service, wanted.tags) and node_fits(one.node, wanted.node_meta)
    if healthy and fits and node_fits(one.service, wanted.service_meta) then rows[#rows + 1] = row end
  end
  return rows
end

-- ?passing, ?passing=true, ?passing=false
local function only_passing(request)
  local q = request.query
  if not q:has "passing" then return false end
  local value = q:get "passing"
  if value == "" or value == "1" or value == "t" or value:lower() == "true" then return true end
  if value == "0" or value == "f" or value:lower() == "false" then return false end
  return nil
end

local function health_service(request)
  if request.rest == "" then return answer.bad "Missing service name" end
  local passing = only_passing(request)
  if passing == nil then return answer.bad "Invalid value for ?passing" end
  local rows = {}
  for _, one in ipairs(instances(request)) do
    local row = health_row(request.dc, one)
    if not passing or all_passing(row.Checks) then rows[#rows + 1] = row end
  end
  return listed(request, rows, "health_service", request.dc.catalog:index_of(request.rest, true), topics_of(request))
end

-- --- checks ------------------------------------------------------------------------------------

local function checks(request, fits)
  local wanted, rows = meta_wanted(request), {}
  for _, one in ipairs(may_see(request) and request.dc.catalog:all_checks() or {}) do
    if fits(one) and node_fits(one.node, wanted) then rows[#rows + 1] = view.check(one.node.name, one.check) end
  end
  rows = by_distance(request, rows, function(row) return row.Node end)
  return listed(request, rows, "check", request.dc.store:latest "checks", { "checks" })
end

local function health_node(request)
  if request.rest == "" then return answer.bad "Missing node name" end
  return checks(request, function(one) return one.node.name == request.rest end)
end

local function health_checks(request)
  if request.rest == "" then return answer.bad "Missing service name" end
  return checks(request, function(one) return one.check.service_name == request.rest end)
end

local function health_state(request)
  if request.rest == "" then return answer.bad "Missing check state" end
  return checks(request, function(one) return request.rest == "any" or one.check.status == request.rest end)
end

-- --- writing -----------------------------------------------------------------------------------

local CHECK = { fields = {
  Node = "string", CheckID = "string", Name = "string", Status = "string", Notes = "string", Output = "string",
  ServiceID = "string", ServiceName = "string", ServiceTags = "strings", Type = "string", Definition = "table",
}, loose = true }

local REGISTER = { loose = true, fields = {
  ID = "string", Node = "string", Address = "string", Datacenter = "string", TaggedAddresses = "table",
  NodeMeta = "table", SkipNodeUpdate = "boolean", Check = CHECK, Checks = { list = CHECK },
  Service = { loose = true, fields = {
    ID = "string", Service = "string", Tags = "strings", Address = "string", Meta = "table", Port = "number",
    TaggedAddresses = "table", Weights = "table", EnableTagOverride = "boolean",
  } },
} }

local DEREGISTER = { loose = true, fields = {
  Node = "string", Datacenter = "string", ServiceID = "string", CheckID = "string",
} }

local function put_check(dc, node_name, check, index)
  local id = check.CheckID or check.Name or ""
  dc.catalog:put_check(node_name, {
    id = id, name = check.Name or "", status = check.Status or "critical", notes = check.Notes or "",
    output = check.Output or "", service = check.ServiceID or "", service_name = check.ServiceName or "",
    service_tags = check.ServiceTags or {}, type = check.Type or "",
  }, index)
end

local function put_service(dc, node_name, service, index)
  local weights = service.Weights or {}
  dc.catalog:put_service(node_name, {
    id = service.ID or service.Service, name = service.Service, tags = service.Tags or {},
    address = service.Address or "", port = service.Port or 0, meta = service.Meta, tagged = service.TaggedAddresses,
    weights = service.Weights and { passing = weights.Passing or 1, warning = weights.Warning or 1 } or DEFAULT_WEIGHTS,
    override = service.EnableTagOverride or false,
  }, index)
end

local function register(request)
  local entry, message = body.read(request.body, REGISTER)
  if not entry then return answer.bad("Request decode failed: " .. message) end
  local dc = request.dc
  if dc.denied.node or dc.denied.service and entry.Service then return answer.denied() end
  if not entry.Node then return answer.failed "Must provide node" end
  if not entry.Address and not entry.SkipNodeUpdate then
    return answer.failed "Must provide address if SkipNodeUpdate is not set"
  end
  local service = entry.Service
  if service and (service.Service or "") == "" then
    return answer.failed "failed inserting service: failed inserting service: object missing primary index"
  end
  local index = dc.store:write()
  if not entry.SkipNodeUpdate then
    dc.catalog:put_node({
      name = entry.Node, id = entry.ID or "", address = entry.Address, tagged = entry.TaggedAddresses,
      meta = entry.NodeMeta,
    }, index)
  end
  if service then put_service(dc, entry.Node, service, index) end
  local list = entry.Checks or {}
  if entry.Check then list[#list + 1] = entry.Check end
  for _, check in ipairs(list) do put_check(dc, entry.Node, check, index) end
  return answer.json(true)
end

local function deregister(request)
  local entry, message = body.read(request.body, DEREGISTER)
  if not entry then return answer.bad("Request decode failed: " .. message) end
  local dc = request.dc
  if not entry.Node then return answer.failed "Must provide node" end
  if dc.denied.node or dc.denied.service then return answer.denied() end
  local index = dc.store:write()
  if entry.ServiceID then
    dc.catalog:drop_service(entry.Node, entry.ServiceID, index)
  elseif entry.CheckID then
    dc.catalog:drop_check(entry.Node, entry.CheckID, index)
  else
    dc.catalog:drop_node(entry.Node, index)
  end
  return answer.json(true)
end

catalog_api.routes = {
  ["/v1/catalog/datacenters"] = { GET = datacenters, here = true, cache = "simple" },
  ["/v1/catalog/nodes"] = { GET = nodes, consistency = true },
  ["/v1/catalog/node/"] = { GET = node, consistency = true },
  ["/v1/catalog/services"] = { GET = services, consistency = true, cache = "refresh" },
  ["/v1/catalog/service/"] = { GET = catalog_service, consistency = true, cache = "refresh" },
  ["/v1/catalog/register"] = { PUT = register },
  ["/v1/catalog/deregister"] = { PUT = deregister },
  ["/v1/health/node/"] = { GET = health_node, consistency = true },
  ["/v1/health/checks/"] = { GET = health_checks, consistency = true },
  ["/v1/health/state/"] = { GET = health_state, consistency = true },
  ["/v1/health/service/"] = { GET = health_service, consistency = true, cache = "refresh" },
}

return catalog_api
