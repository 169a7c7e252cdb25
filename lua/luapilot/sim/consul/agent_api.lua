-- agent_api: /v1/agent/ and /v1/status/.

local answer = require "luapilot.sim.consul.answer"
local body = require "luapilot.sim.consul.body"
local catalog = require "luapilot.sim.consul.catalog"
local filter = require "luapilot.sim.consul.filter"
local json = require "luapilot.sim.consul.json"
local view = require "luapilot.sim.consul.view"

local STATUSES = { passing = true, warning = true, critical = true }
local LEAST_REAP = 60 -- seconds, of DeregisterCriticalServiceAfter

-- --- the shapes of what is sent ----------------------------------------------------------------

local CHECK_FIELDS = {
  ID = "string", CheckID = "string", Name = "string", Status = "string", Notes = "string", ServiceID = "string",
  TTL = "duration", Interval = "duration", Timeout = "duration", DeregisterCriticalServiceAfter = "duration",
  HTTP = "string", Header = "table", Method = "string", Body = "string", TCP = "string", GRPC = "string",
  GRPCUseTLS = "boolean", TLSSkipVerify = "boolean", Args = "strings", ScriptArgs = "strings", Shell = "string",
  DockerContainerID = "string", AliasNode = "string", AliasService = "string", Token = "string",
  OutputMaxSize = "number", SuccessBeforePassing = "number", FailuresBeforeCritical = "number", Namespace = "string",
}
local CHECK = { fields = CHECK_FIELDS }

local SERVICE = { fields = {
  ID = "string", Name = "string", Kind = "string", Tags = "strings", Address = "string", Meta = "table",
  Port = "number", EnableTagOverride = "boolean", Token = "string", Namespace = "string", Proxy = "table",
  Connect = "table", TaggedAddresses = "table", Check = CHECK, Checks = { list = CHECK },
  Weights = { fields = { Passing = "number", Warning = "number" } },
} }

local UPDATE = { fields = { Status = "string", Output = "string" } }

local function undecoded(message) return answer.bad("Request decode failed: " .. message) end

-- --- reading -----------------------------------------------------------------------------------

-- A map of rows, filtered.
local function mapped(request, rows, shape)
  local text = request.query:get "filter"
  if text == "" then return answer.json(rows) end
  local fits, message = filter.compile(text, shape)
  if not fits then return answer.failed(message) end
  local kept = {}
  for id, row in pairs(rows) do
    if fits(row) then kept[id] = row end
  end
  return answer.json(kept)
end

local function services(request)
  local rows = {}
  for id, service in pairs(request.dc.denied.service and {} or request.agent.services) do
    rows[id] = view.local_service(service)
  end
  return mapped(request, rows, "local_service")
end

local function checks(request)
  local rows = {}
  for id, check in pairs(request.dc.denied.service and {} or request.agent.checks) do
    rows[id] = view.check(request.agent.name, check)
  end
  return mapped(request, rows, "check")
end

-- Sixteen digits that are others when the text is another.
local function hash_of(text)
  local a, b = 5381, 52711
  for i = 1, #text do
    local byte = text:byte(i)
    a, b = (a * 33 + byte) % 2 ^ 32, (b * 31 + byte) % 2 ^ 32
  end
  return ("%08x%08x"):format(a, b)
end

local function service(request)
  local found = request.agent.services[request.rest]
  if not found then return answer.text(404, "unknown service ID: " .. request.rest) end
  if request.dc.denied.service then return answer.denied() end
  local shown = view.local_service(found)
  shown.ContentHash = hash_of(json.encode(shown))
  local result = answer.json(shown)
  result.headers = { ["x-consul-contenthash"] = shown.ContentHash }
  return result
end

-- --- registering -------------------------------------------------------------------------------

local function check_problem(check)
  local active = check.HTTP or check.TCP or check.GRPC or check.Args or check.ScriptArgs
  local ttl, interval = check.TTL or 0, check.Interval or 0
  if interval > 0 and ttl > 0 then return "Interval and TTL cannot both be specified" end
  if active and interval <= 0 then return "Interval must be > 0 for Script, HTTP, or TCP checks" end
  if active or check.AliasService or check.AliasNode then
    return "the simulated agent runs no checks of its own, only TTL checks"
  end
  if ttl <= 0 then return "TTL must be > 0 for TTL checks" end
end

local function local_check(check, id, name, of)
  local after = check.DeregisterCriticalServiceAfter or 0
  return {
    id = id, name = name, status = check.Status or "critical", notes = check.Notes or "", output = "",
    service = of and of.id or "", service_name = of and of.name or "", service_tags = of and of.tags or {},
    type = "ttl", ttl = check.TTL, deregister_after = after > 0 and math.max(after, LEAST_REAP) or nil,
  }
end

-- An empty check is none.
local function sent_checks(entry)
  local list = {}
  for _, check in ipairs(entry.Checks or {}) do list[#list + 1] = check end
  local one = entry.Check
  if one and (one.TTL and one.TTL ~= 0 or one.HTTP or one.TCP or one.GRPC or one.Args or one.Interval) then
    table.insert(list, 1, one)
  end
  return list
end

local function checks_of(entry, of)
  local sent, list = sent_checks(entry), {}
  for i, check in ipairs(sent) do
    local problem = check_problem(check)
    if problem then return nil, "Invalid check: " .. problem end
    if check.Status and not STATUSES[check.Status] then
      return nil, "Status for checks must 'passing', 'warning', 'critical'"
    end
    local id = "service:" .. of.id .. (#sent > 1 and ":" .. i or "")
    list[i] = local_check(check, check.CheckID or id, check.Name or ("Service '%s' check"):format(of.name), of)
  end
  return list
end

local MOST_META, LONGEST_KEY, LONGEST_VALUE = 64, 128, 512

local function pair_problem(key, value)
  if key == "" then return "Key cannot be blank" end
  if not key:find "^[%w_-]+$" then return "Key contains invalid characters" end
  if #key > LONGEST_KEY then return ("Key is too long (limit: %d characters)"):format(LONGEST_KEY) end
  if key:find("consul-", 1, true) == 1 then return "Key prefix 'consul-' is reserved for internal use" end
  if #value > LONGEST_VALUE then return ("Value is too long (limit: %d characters)"):format(LONGEST_VALUE) end
end

local function meta_problem(meta)
  local keys = catalog.sorted(meta)
  if #keys > MOST_META then
    return ("Invalid Service Meta: Node metadata cannot contain more than %d key/value pairs"):format(MOST_META)
  end
  for _, key in ipairs(keys) do
    local problem = pair_problem(key, meta[key])
    if problem then
      return ("Invalid Service Meta: Couldn't load metadata pair ('%s', '%s'): %s"):format(key, meta[key], problem)
    end
  end
end

local HEAVIEST = 65535

local function weights_problem(weights)
  local passing, warning = weights.Passing or 0, weights.Warning or 0
  if passing < 1 then return "Invalid Weights: Passing must be greater than 0" end
  if warning < 0 then return "Invalid Weights: Warning must be greater or equal than 0" end
  if passing > HEAVIEST or warning > HEAVIEST then
    return "Invalid Weights: DNS Weight must be between 0 and 65535"
  end
end

local ANYWHERE = { ["0.0.0.0"] = true, ["::"] = true, ["[::]"] = true }

local function service_problem(entry)
  if (entry.Name or "") == "" then return "Missing service name" end
  if ANYWHERE[entry.Address or ""] then return "Invalid service address" end
  return entry.Weights and weights_problem(entry.Weights) or meta_problem(entry.Meta or {})
end

-- What is reached at the service's own address is said for each family.
local function tagged_of(entry)
  local tagged, address = entry.TaggedAddresses, entry.Address or ""
  if address == "" or address:find "%a" and not address:find ":" then return tagged end
  local result, family = {}, address:find(":", 1, true) and "ipv6" or "ipv4"
  for name, one in pairs(tagged or {}) do result[name] = one end
  for _, side in ipairs { "lan_", "wan_" } do
    local name = side .. family
    result[name] = result[name] or { Address = address, Port = entry.Port or 0 }
  end
  return result
end

local function register(request)
  local entry, message = body.read(request.body, SERVICE)
  if not entry then return undecoded(message) end
  local problem = service_problem(entry)
  if problem then return answer.bad(problem) end
  local id = (entry.ID or "") ~= "" and entry.ID or entry.Name
  local weights = entry.Weights or { Passing = 1, Warning = 1 }
  local row = {
    id = id, name = entry.Name, tags = entry.Tags or {}, address = entry.Address or "", port = entry.Port or 0,
    meta = entry.Meta or {}, tagged = tagged_of(entry), override = entry.EnableTagOverride or false,
    weights = { passing = weights.Passing or 1, warning = weights.Warning or 0 },
  }
  local list
  list, problem = checks_of(entry, row)
  if not list then return answer.bad(problem) end
  if request.dc.denied.service then return answer.denied() end
  local replace = request.query:has "replace-existing-checks"
    and request.query:get "replace-existing-checks" ~= "false"
  request.agent:register(row, list, replace)
  return answer.empty()
end

local function deregister(request)
  if request.rest == "" then return answer.failed "ServiceID missing" end
  if request.dc.denied.service then return answer.denied() end
  request.agent:deregister(request.rest)
  return answer.empty()
end

local function register_check(request)
  local entry, message = body.read(request.body, CHECK)
  if not entry then return undecoded(message) end
  if (entry.Name or "") == "" then return answer.bad "Missing check name" end
  if entry.Status and not STATUSES[entry.Status] then return answer.bad "Bad check status" end
  local problem = check_problem(entry)
  if problem then return answer.bad("Invalid check: " .. problem) end
  local of = (entry.ServiceID or "") ~= "" and request.agent.services[entry.ServiceID] or nil
  if (entry.ServiceID or "") ~= "" and not of then
    return answer.failed(("ServiceID %q does not exist"):format(entry.ServiceID))
  end
  if request.dc.denied[of and "service" or "node"] then return answer.denied() end
  request.agent:add_check(local_check(entry, entry.CheckID or entry.ID or entry.Name, entry.Name, of))
  return answer.empty()
end

local function deregister_check(request)
  if request.rest == "" then return answer.failed "CheckID missing" end
  if request.dc.denied.service then return answer.denied() end
  request.agent:drop_check(request.rest)
  return answer.empty()
end

-- --- TTL checks --------------------------------------------------------------------------------

local function update(request, status, output)
  local check = request.agent.checks[request.rest]
  if check and request.dc.denied[check.service ~= "" and "service" or "node"] then return answer.denied() end
  if request.agent:update(request.rest, status, output) then return answer.empty() end
  return answer.failed(("CheckID %q does not have associated TTL"):format(request.rest))
end

local function update_check(request)
  local entry, message = body.read(request.body, UPDATE)
  if not entry then return undecoded(message) end
  if not STATUSES[entry.Status] then
    return answer.bad(("Invalid check status: '%s'"):format(entry.Status or ""))
  end
  return update(request, entry.Status, entry.Output or "")
end

local function updates(status)
  return function(request) return update(request, status, request.query:get "note") end
end

-- --- maintenance -------------------------------------------------------------------------------

local SWITCH = {
  ["true"] = true, ["1"] = true, t = true, T = true, TRUE = true, True = true,
  ["false"] = false, ["0"] = false, f = false, F = false, FALSE = false, False = false,
}

local function switch(request)
  local value = request.query:get "enable"
  if not request.query:has "enable" then return nil, answer.bad "Missing value for enable" end
  if SWITCH[value] == nil then return nil, answer.bad(("Invalid value for enable: %q"):format(value)) end
  return SWITCH[value]
end

local function maintain_service(request)
  if request.rest == "" then return answer.bad "Missing service ID" end
  local on, wrong = switch(request)
  if wrong then return wrong end
  if request.dc.denied.service then return answer.denied() end
  if not request.agent.services[request.rest] then
    return answer.text(404, ("No service registered with ID %q"):format(request.rest))
  end
  request.agent:maintain(request.rest, on, request.query:get "reason")
  return answer.empty()
end

local function maintain_node(request)
  local on, wrong = switch(request)
  if wrong then return wrong end
  if request.dc.denied.node then return answer.denied() end
  request.agent:maintain(nil, on, request.query:get "reason")
  return answer.empty()
end

-- --- health ------------------------------------------------------------------------------------

local CODES = { passing = 200, warning = 429, critical = 503, maintenance = 503 }

-- The worst of them, with maintenance above all.
local function sum(list)
  local worst = "passing"
  for _, check in ipairs(list) do
    if check.type == "maintenance" then return "maintenance" end
    if check.status == "critical" or check.status == "warning" and worst == "passing" then worst = check.status end
  end
  return worst
end

local function service_health(agent, one)
  local shown, list = json.array(), {}
  for _, id in ipairs { "", one.id } do
    for _, check in ipairs(agent:checks_of(id)) do
      list[#list + 1] = check
      shown[#shown + 1] = view.health_check(agent.name, check)
    end
  end
  local status = sum(list)
  return { AggregatedStatus = status, Service = view.local_service(one), Checks = shown }, status
end

local function told(request, code, reason, value)
  local text = request.query:get "format" == "text"
  return {
    status = code, value = value, text = text and reason or nil,
    headers = { ["x-consul-reason"] = reason, ["content-type"] = text and "text/plain" or nil },
  }
end

local function health_by_id(request)
  local one = request.agent.services[request.rest]
  if not one then
    local reason = ("ServiceId %s not found"):format(request.rest)
    if request.query:get "format" == "text" then return told(request, 404, reason) end
    return told(request, 404, reason, { AggregatedStatus = "critical", Service = json.null, Checks = json.null })
  end
  local shown, status = service_health(request.agent, one)
  return told(request, CODES[status], status, shown)
end

local RANK = { passing = 1, warning = 2, critical = 3, maintenance = 4 }

local function health_by_name(request)
  local rows, worst = json.array(), "passing"
  for _, id in ipairs(catalog.sorted(request.agent.services)) do
    local one = request.agent.services[id]
    if one.name == request.rest then
      local shown, status = service_health(request.agent, one)
      rows[#rows + 1] = shown
      if RANK[status] > RANK[worst] then worst = status end
    end
  end
  if #rows == 0 then return told(request, 404, ("ServiceName %s Not Found"):format(request.rest), rows) end
  return told(request, CODES[worst], worst, rows)
end

-- --- the agent itself --------------------------------------------------------------------------

local function member(dc, one, alive)
  local server = one.name == dc.SERVER
  return {
    Name = one.name, Addr = one.address, Port = 8301, Status = alive and 1 or 4,
    Tags = {
      acls = "0", build = "1.8.7:", dc = dc.name, id = one.id, role = server and "consul" or "node", segment = "",
      vsn = "2", vsn_max = "3", vsn_min = "2", port = server and "8300" or nil, raft_vsn = server and "3" or nil,
    },
    ProtocolMin = 1, ProtocolMax = 5, ProtocolCur = 2, DelegateMin = 2, DelegateMax = 5, DelegateCur = 4,
  }
end

local function members(request)
  local dc = request.agent.dc
  local rows = json.array { member(dc, { name = dc.SERVER, address = dc.SERVER_ADDRESS, id = dc.server_id }, true) }
  for _, one in ipairs(dc.members) do
    if not one.left then rows[#rows + 1] = member(dc, one, one:believed()) end
  end
  return answer.json(request.dc.denied.node and json.array() or rows)
end

local function self(request)
  local agent = request.agent
  if request.dc.denied.agent then return answer.denied() end
  return answer.json {
    Config = {
      Datacenter = agent.dc.name, NodeName = agent.name, NodeID = agent.id, Revision = "", Server = false,
      Version = "1.8.7",
    },
    Coord = { Vec = json.array { 0, 0, 0, 0, 0, 0, 0, 0 }, Error = 1.5, Adjustment = 0, Height = 1e-5 },
    Member = member(agent.dc, agent, true), Meta = { ["consul-network-segment"] = "" },
    DebugConfig = {}, Stats = { agent = { services = tostring(#catalog.sorted(agent.services)) } },
  }
end

local function leave(request)
  if request.dc.denied.agent then return answer.denied() end
  request.cluster:left(request.agent)
  return answer.empty()
end

local function force_leave(request)
  if request.dc.denied.operator then return answer.denied() end
  local dc = request.agent.dc
  for _, one in ipairs(dc.members) do
    if one.name == request.rest then
      if not one:believed() then dc:leave(one.name) end
      return answer.empty()
    end
  end
  return answer.failed(("agent: No node found with name '%s'"):format(request.rest))
end

local function accepted(request)
  if request.dc.denied.agent then return answer.denied() end
  return answer.empty()
end

-- --- status ------------------------------------------------------------------------------------

local function address_of(dc) return dc.SERVER_ADDRESS .. ":8300" end

local function leader(request)
  return answer.json(request.dc.store.leader and address_of(request.dc) or "")
end

local function peers(request) return answer.json(json.array { address_of(request.dc) }) end

return {
  ["/v1/agent/self"] = { GET = self, here = true },
  ["/v1/agent/members"] = { GET = members, here = true },
  ["/v1/agent/services"] = { GET = services, here = true },
  ["/v1/agent/service/"] = { GET = service, here = true },
  ["/v1/agent/checks"] = { GET = checks, here = true },
  ["/v1/agent/service/register"] = { PUT = register, here = true },
  ["/v1/agent/service/deregister/"] = { PUT = deregister, here = true },
  ["/v1/agent/service/maintenance/"] = { PUT = maintain_service, here = true },
  ["/v1/agent/maintenance"] = { PUT = maintain_node, here = true },
  ["/v1/agent/check/register"] = { PUT = register_check, here = true },
  ["/v1/agent/check/deregister/"] = { PUT = deregister_check, here = true },
  ["/v1/agent/check/pass/"] = { PUT = updates "passing", here = true },
  ["/v1/agent/check/warn/"] = { PUT = updates "warning", here = true },
  ["/v1/agent/check/fail/"] = { PUT = updates "critical", here = true },
  ["/v1/agent/check/update/"] = { PUT = update_check, here = true },
  ["/v1/agent/health/service/id/"] = { GET = health_by_id, here = true },
  ["/v1/agent/health/service/name/"] = { GET = health_by_name, here = true },
  ["/v1/agent/leave"] = { PUT = leave, here = true },
  ["/v1/agent/force-leave/"] = { PUT = force_leave, here = true },
  ["/v1/agent/join/"] = { PUT = accepted, here = true },
  ["/v1/agent/reload"] = { PUT = accepted, here = true },
  ["/v1/status/leader"] = { GET = leader, leaderless = true },
  ["/v1/status/peers"] = { GET = peers, leaderless = true },
}
