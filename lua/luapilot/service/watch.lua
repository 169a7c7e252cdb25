-- watch: what the answers about a service, a key or a tree of keys mean. Pure: bodies of Consul's answers come in.
--
--   service    instances, sorted by id      key    a value or nil      prefix    values by name
--
-- Two contents are compared by what the user can see of them: an answer in which only an index or the text of a check
-- is another one is no change. What changed is always told relative to what somebody was last given, so it is
-- computed for each who hears of it.
--
-- It owns nothing: contents are values that nobody changes any more.

local address = require "luapilot.base.address"
local base64 = require "luapilot.base.base64"
local copy = require "luapilot.base.copy"
local describe = require "luapilot.base.describe"
local json = require "luapilot.base.json"

local watch = {}

-- --- services --------------------------------------------------------------------------------

---@class luapilot.Instance
---@field id string
---@field address string
---@field port integer
---@field authority string      both of them, as a URL has them
---@field tags string[]
---@field meta table<string, string>
---@field node string
---@field status "passing"|"warning"|"critical"
---@field weights { passing: integer, warning: integer }

local WORSE = { passing = 1, warning = 2, critical = 3 }

-- Of a node's and a service's checks the worst counts. https://developer.hashicorp.com/consul/api-docs/health
local function status_of(checks)
  local worst = "passing"
  for _, check in ipairs(checks or {}) do
    local status = type(check) == "table" and check.Status
    if (WORSE[status] or 3) > WORSE[worst] then worst = WORSE[status] and status or "critical" end
  end
  return worst
end

local function is_string(value) return type(value) == "string" end

local function is_weight(value) return type(value) == "number" and value >= 0 and value < math.huge end

local function is_all(value, key_type, is_one)
  if type(value) ~= "table" then return false end
  for key, each in pairs(value) do
    if type(key) ~= key_type or not is_one(each) then return false end
  end
  return true
end

local function is_table(value) return type(value) == "table" end

-- What each field of an instance has to be: { field, in words, is it so? }. Whoever may register a service writes them,
-- and Consul looks at few.
local REQUIRED = {
  { "id", "a string", function(value) return is_string(value) and value ~= "" end },
  { "node", "a string", is_string },
  { "address", "a host", address.is_host },
  { "port", "an integer from 0 to 65535", address.is_port },
  { "tags", "a list of strings", function(value) return is_all(value, "number", is_string) end },
  { "meta", "a table of strings", function(value) return is_all(value, "string", is_string) end },
  { "checks", "a list", function(value) return is_all(value, "number", function() return true end) end },
  { "weights", "two numbers", function(value) return is_all(value, "string", is_weight) end },
}

local function fault_of(instance)
  for _, rule in ipairs(REQUIRED) do
    local value = instance[rule[1]]
    if not rule[3](value) then return ("%s: expected %s, got %s"):format(rule[1], rule[2], describe.value(value)) end
  end
end

local function weights_of(service)
  local weights = service.Weights or {}
  if not is_table(weights) then return weights end
  return { passing = weights.Passing or 1, warning = weights.Warning or 1 }
end

local function named(value) return is_string(value) and describe.quote(value) or describe.value(value) end

-- nil and why: it is none.
---@return luapilot.Instance?
---@return string? fault
local function instance_of(entry)
  local service, node = entry.Service, entry.Node
  local host = service.Address
  if not host or host == "" then host = node.Address end
  local instance = {
    id = service.ID, address = host, port = service.Port or 0, tags = service.Tags or {}, meta = service.Meta or {},
    node = node.Node, weights = weights_of(service), checks = entry.Checks or {},
  }
  local fault = fault_of(instance)
  if fault then return nil, ("%s on node %s: %s"):format(named(instance.id), named(instance.node), fault) end
  instance.authority = address.authority(host, instance.port)
  instance.status, instance.checks = status_of(instance.checks), nil
  return instance
end

---In the order in which users get them: by id, and by node where one id is on several.
---@param a luapilot.Instance
---@param b luapilot.Instance
---@return boolean
function watch.before(a, b)
  if a.id ~= b.id then return a.id < b.id end
  return a.node < b.node
end

-- --- contents --------------------------------------------------------------------------------

local read = {}

-- What cjson makes of {} looks as an empty list does.
local function list_of(body)
  if not (body:find "^%s*%[" or body:find "^%s*null%s*$") then error("it is no list", 0) end
  return json.decode(body) or {}
end

local function is_entry(entry) return is_table(entry) and is_table(entry.Service) and is_table(entry.Node) end

local function tell_left_out(count, first)
  if count == 1 then return "an instance is left out: " .. first end
  if count > 1 then return ("%d instances are left out, the first of them: %s"):format(count, first) end
end

-- A list without a single entry of Consul's is none of its answers: what was known stays.
function read.service(status, body)
  if status ~= 200 then return nil, "status " .. status end
  local list, instances, count, first, has_entry = list_of(body), {}, 0, nil, false
  for _, entry in ipairs(list) do
    local instance, fault = nil, "it has no service and node"
    if is_entry(entry) then
      has_entry, instance, fault = true, instance_of(entry)
    end
    instances[#instances + 1] = instance
    if not instance then count, first = count + 1, first or fault end
  end
  if not has_entry and count > 0 then error("its list has no service with a node", 0) end
  table.sort(instances, watch.before)
  return instances, tell_left_out(count, first)
end

-- The answer to ?raw: any bytes.
function read.key(status, body)
  return { value = status == 200 and body or nil }
end

local function value_of(pair)
  if pair.Value == nil then return "" end
  return is_string(pair.Value) and base64.decode(pair.Value) or error("a value in it is no base64", 0)
end

-- The key that is the prefix itself has the name "", unless it is nothing but a folder: "a/" without a value, which
-- Consul's UI writes for its own sake.
function read.prefix(status, body, name)
  local values = {}
  if status ~= 200 then return values end
  for _, pair in ipairs(list_of(body)) do
    if not is_table(pair) or not is_string(pair.Key) then error("its list has what is no key", 0) end
    if pair.Key:sub(1, #name) == name then values[pair.Key:sub(#name + 1)] = value_of(pair) end
  end
  if values[""] == "" and name:find "/$" then values[""] = nil end
  return values
end

---What an answer says. A service: a list of instances; a key: { value }; a prefix: values by what follows the prefix.
---@param kind "service"|"key"|"prefix"
---@param name string
---@param status integer
---@param body string
---@return table? content
---@return string? message    there is none: it is not what Consul answers; or what of it is left out
function watch.read(kind, name, status, body)
  local fine, content, message = pcall(read[kind], status, body, name)
  if not fine then return nil, "this is no answer of Consul's: " .. tostring(content) end
  return content, message
end

-- --- differences -----------------------------------------------------------------------------

-- No two places have the same: a node may be called anything, and so may a service.
local function place(instance) return ("%d %s %s"):format(#instance.node, instance.node, instance.id) end

local function by_place(instances)
  local map = {}
  for _, each in ipairs(instances) do map[place(each)] = each end
  return map
end

local difference = {}

function difference.service(before, after)
  local old, new = by_place(before or {}), by_place(after)
  local event = { instances = after, added = {}, removed = {}, updated = {} }
  for _, each in ipairs(after) do
    local former = old[place(each)]
    if not former then
      table.insert(event.added, each)
    elseif not copy.equal(former, each) then
      table.insert(event.updated, each)
    end
  end
  for _, each in ipairs(before or {}) do
    if not new[place(each)] then table.insert(event.removed, each) end
  end
  return event
end

function difference.key(before, after)
  return { value = after.value, previous = before and before.value }
end

function difference.prefix(before, after)
  before = before or {}
  local event = { values = after, added = {}, removed = {}, updated = {} }
  for key, value in pairs(after) do
    if before[key] == nil then
      table.insert(event.added, key)
    elseif before[key] ~= value then
      table.insert(event.updated, key)
    end
  end
  for key in pairs(before) do
    if after[key] == nil then table.insert(event.removed, key) end
  end
  for _, name in ipairs { "added", "removed", "updated" } do table.sort(event[name]) end
  return event
end

---The fields of a `changed` event, of, for example, instances: { instances, added, removed, updated }.
---@param kind "service"|"key"|"prefix"
---@param before table?     content that was last given; nil: none yet
---@param after table
---@return table fields
function watch.difference(kind, before, after)
  return difference[kind](before, after)
end

---Is there somebody to talk to? Of services only.
---@param content luapilot.Instance[]
---@return "healthy"|"unhealthy"
function watch.health(content)
  return #content > 0 and "healthy" or "unhealthy"
end

-- --- what is asked ---------------------------------------------------------------------------

---@param spec luapilot.WatchSpec
---@return string[] segments    of the path behind /v1
---@return table query
function watch.question(spec)
  local query = { dc = spec.dc, near = spec.near, filter = spec.filter, stale = spec.stale or nil }
  if spec.kind == "service" then
    query.tag = spec.tag
    query.passing = spec.status == "passing" or nil
    return { "health", "service", spec.name }, query
  end
  query.raw, query.recurse = spec.kind == "key" or nil, spec.kind == "prefix" or nil
  return { "kv", spec.name }, query
end

return watch
