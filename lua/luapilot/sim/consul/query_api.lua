-- query_api: /v1/query: prepared queries.

local answer = require "luapilot.sim.consul.answer"
local body = require "luapilot.sim.consul.body"
local catalog_api = require "luapilot.sim.consul.catalog_api"
local copy = require "luapilot.base.copy"
local json = require "luapilot.sim.consul.json"

local QUERY = { fields = {
  ID = "string", Name = "string", Session = "string", Token = "string", DNS = { fields = { TTL = "string" } },
  Template = { fields = { Type = "string", Regexp = "string", RemoveEmptyTags = "boolean" } },
  Service = { fields = {
    Service = "string", OnlyPassing = "boolean", IgnoreCheckIDs = "strings", Near = "string", Tags = "strings",
    NodeMeta = "table", ServiceMeta = "table", Connect = "boolean",
    Failover = { fields = { NearestN = "number", Datacenters = "strings" } },
  } },
} }

local TOPICS = { "queries" }

local function list_of(values) return values and json.array(copy.shallow(values)) or json.null end

local function shown(one)
  local service, failover, template = one.Service, one.Service.Failover or {}, one.Template or {}
  return {
    ID = one.ID, Name = one.Name or "", Session = one.Session or "", Token = one.Token or "",
    Template = { Type = template.Type or "", Regexp = template.Regexp or "",
                 RemoveEmptyTags = template.RemoveEmptyTags or false },
    Service = {
      Service = service.Service, Failover = { NearestN = failover.NearestN or 0,
                                              Datacenters = list_of(failover.Datacenters) },
      OnlyPassing = service.OnlyPassing or false, IgnoreCheckIDs = list_of(service.IgnoreCheckIDs),
      Near = service.Near or "", Tags = list_of(service.Tags), NodeMeta = json.maybe(service.NodeMeta),
      ServiceMeta = json.maybe(service.ServiceMeta), Connect = service.Connect or false,
    },
    DNS = { TTL = (one.DNS or {}).TTL or "" }, CreateIndex = one.create, ModifyIndex = one.modify,
  }
end

local function by_id(dc, id)
  for i, one in ipairs(dc.queries) do
    if one.ID == id then return one, i end
  end
end

local function by_name(dc, name)
  for _, one in ipairs(dc.queries) do
    if (one.Name or "") == name then return one end
  end
end

local function refusal(dc, one)
  if not one.Service or (one.Service.Service or "") == "" then
    return "Invalid prepared query: Must provide a Service name to query"
  end
  if one.Template then return "the simulated Consul has no templates of prepared queries" end
  local other = (one.Name or "") ~= "" and by_name(dc, one.Name)
  if other and other.ID ~= one.ID then return ("name '%s' aliases an existing query name"):format(one.Name) end
end

local function create(request)
  local one, message = body.read(request.body, QUERY)
  if not one then return answer.bad("Request decode failed: " .. message) end
  local dc = request.dc
  if dc.denied.query then return answer.denied() end
  one.ID = nil
  message = refusal(dc, one)
  if message then return answer.failed(message) end
  one.ID, one.create = dc.store:identity(), dc.store:write()
  one.modify = one.create
  table.insert(dc.queries, one)
  dc.store:touch("queries", one.create)
  return answer.json { ID = one.ID }
end

local function not_there(id)
  return answer.failed(("Cannot modify non-existent prepared query: '%s'"):format(id))
end

local function update(request)
  local one, message = body.read(request.body, QUERY)
  if not one then return answer.bad("Request decode failed: " .. message) end
  local dc = request.dc
  if dc.denied.query then return answer.denied() end
  local old, place = by_id(dc, request.rest)
  if not old then return not_there(request.rest) end
  one.ID = old.ID
  message = refusal(dc, one)
  if message then return answer.failed(message) end
  one.create, one.modify = old.create, dc.store:write()
  dc.queries[place] = one
  dc.store:touch("queries", one.modify)
  return answer.empty()
end

local function delete(request)
  local dc = request.dc
  if dc.denied.query then return answer.denied() end
  local old, place = by_id(dc, request.rest)
  if not old then return not_there(request.rest) end
  table.remove(dc.queries, place)
  dc.store:touch("queries", dc.store:write())
  return answer.empty()
end

local function read(request, list)
  local rows = json.array()
  for i, one in ipairs(request.dc.denied.query and {} or list) do rows[i] = shown(one) end
  table.sort(rows, function(a, b) return a.ID < b.ID end)
  return answer.read(answer.json(rows), request.dc.store:latest "queries", TOPICS)
end

-- --- executing ---------------------------------------------------------------------------------

local function nodes_in(request, one, dc)
  local service = one.Service
  return catalog_api.nodes_for(request, dc, {
    service = service.Service, tags = service.Tags or {}, node_meta = service.NodeMeta or {},
    service_meta = service.ServiceMeta or {}, only_passing = service.OnlyPassing or false,
    ignore = service.IgnoreCheckIDs or {},
  })
end

local function execute(request, key)
  local dc = request.dc
  local one = by_id(dc, key) or by_name(dc, key)
  if not one or dc.denied.query then return answer.text(404, "Query not found") end
  local rows, failovers, where = nodes_in(request, one, dc), 0, dc.name
  for _, name in ipairs(#rows == 0 and (one.Service.Failover or {}).Datacenters or {}) do
    local other = request.cluster:find(name)
    if #rows == 0 then
      failovers = failovers + 1
      where, rows = name, other and nodes_in(request, one, other) or rows
    end
  end
  local limit = tonumber(request.query:get "limit")
  while limit and limit > 0 and #rows > limit do table.remove(rows) end
  local result = answer.json {
    Service = one.Service.Service, Nodes = rows, DNS = { TTL = (one.DNS or {}).TTL or "" }, Datacenter = where,
    Failovers = failovers, Index = 0, LastContact = 0, KnownLeader = true, ConsistencyLevel = "leader",
  }
  result.index = 1
  return result
end

local function below(request)
  local key = request.rest:match "^(.*)/execute$"
  if key then return execute(request, key) end
  if #request.rest ~= 36 then
    return answer.failed "failed prepared query lookup: index error: UUID must be 36 characters"
  end
  local one = by_id(request.dc, request.rest)
  if not one then return answer.text(404, "Query not found") end
  return read(request, { one })
end

return {
  ["/v1/query"] = {
    GET = function(request) return read(request, request.dc.queries) end, POST = create, consistency = true,
  },
  ["/v1/query/"] = {
    GET = below, PUT = update, DELETE = delete, consistency = true, cache = "simple", cache_of = "/execute$",
  },
}
