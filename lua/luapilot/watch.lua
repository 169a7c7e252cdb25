-- watch: what the answers about a service, a key or a tree of keys mean. Pure: bodies of Consul's answers come in.
--
--   service    instances, sorted by id      key    a value or nil      prefix    values by name
--
-- Two contents are compared by what the user can see of them: an answer in which only an index or the text of a check
-- is another one is no change. What changed is always told relative to what somebody was last given, so it is
-- computed for each who hears of it.
--
-- It owns nothing: contents are values that nobody changes any more.

local address = require "luapilot.address"
local base64 = require "luapilot.base64"
local copy = require "luapilot.copy"
local json = require "luapilot.json"

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
    if (WORSE[check.Status] or 3) > WORSE[worst] then worst = WORSE[check.Status] and check.Status or "critical" end
  end
  return worst
end

---@return luapilot.Instance
local function instance_of(entry)
  local service, node = entry.Service, entry.Node
  local host, port = service.Address, service.Port or 0
  if not host or host == "" then host = node.Address end
  local weights = service.Weights or {}
  return {
    id = service.ID, address = host, port = port, authority = address.authority(host, port),
    tags = service.Tags or {}, meta = service.Meta or {}, node = node.Node, status = status_of(entry.Checks),
    weights = { passing = weights.Passing or 1, warning = weights.Warning or 1 },
  }
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

function read.service(status, body)
  if status ~= 200 then return nil, "status " .. status end
  local list = list_of(body)
  local instances = {}
  for i, entry in ipairs(list) do instances[i] = instance_of(entry) end
  table.sort(instances, watch.before)
  return instances
end

-- The answer to ?raw: any bytes.
function read.key(status, body)
  return { value = status == 200 and body or nil }
end

-- The key that is the prefix itself has the name "", unless it is nothing but a folder: "a/" without a value, which
-- Consul's UI writes for its own sake.
function read.prefix(status, body, name)
  local values = {}
  if status ~= 200 then return values end
  for _, pair in ipairs(list_of(body)) do
    values[pair.Key:sub(#name + 1)] = pair.Value and base64.decode(pair.Value) or ""
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
---@return string? message    it is not what Consul answers
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
