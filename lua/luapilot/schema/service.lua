-- The types of what has to do with services: how a job is registered, and what a watch looks at.
--
-- Owns how these are written in pilot.lua and what they become. Never talks to Consul, and never asks which addresses
-- the machine has: a container's differ from those where `check` runs.

local address = require "luapilot.base.address"
local json_text = require "luapilot.schema.json_text"
local constant = require "luapilot.base.constant"
local describe = require "luapilot.base.describe"
local numbers = require "luapilot.schema.numbers"
local schema = require "luapilot.schema.schema"

local M = {}

-- --- small ones --------------------------------------------------------------------------------

-- Digits in a string too: they come from the environment.
local whole_port = schema.integer(0, 65535)

local function port(value, path, report)
  local digits = type(value) == "string" and value:match "^%d+$"
  return whole_port(digits and tonumber(digits) or value, path, report)
end

-- Consul takes any name and id, but what it is asked about a service stands in a path. Its server cleans paths: "a//b"
-- would be answered with a redirect to "a/b"; what has a control character, with 400.
local function path_fault(text)
  local control = text:find "%c"
  if control then
    return ("has the byte %d, a control character: Consul refuses each request about such a service")
      :format(text:byte(control))
  end
  local altered = text:find "^/" or text:find("//", 1, true)
  for part in text:gmatch "[^/]+" do altered = altered or part == "." or part == ".." end
  return altered and 'has an empty part, "." or ".." between slashes: no request about such a service reaches it' or nil
end

-- A name or an id of a service.
local function identity(value, path, report)
  local text = json_text.text(value, path, report)
  local message = text and path_fault(text)
  if message then return report(path, message) end
  return text
end

---Can a service of this name be looked up by DNS?
---https://developer.hashicorp.com/consul/docs/services/configuration/services-configuration-reference
---@param name string
---@return boolean
function M.is_label(name)
  return #name <= 63 and name:find "^%w[%w-]*$" ~= nil and not name:find "-$"
end

local function list_of_words(what, word)
  local list = schema.list(word, what)
  return function(value, path, report)
    if type(value) == "string" then return list({ value }, path, report) end
    return list(value, path, report)
  end
end

---@type luapilot.Type
M.tags = list_of_words("a list of tags", json_text.text)

local function meta_value(value, path, report)
  if type(value) == "number" then return numbers.text(value, path, report) end
  if type(value) == "string" then return json_text.any(value, path, report) end
  return schema.expected(path, report, "a string or a number", value)
end

local MOST_META, LONGEST_KEY, LONGEST_VALUE = 64, 128, 512 -- Consul's limits, in bytes
local RESERVED = "consul-"

local function key_fault(name)
  if type(name) ~= "string" or not name:find "^[%w_-]+$" then
    return "expected a name of letters, digits, dashes and underscores, got " .. describe.value(name)
  end
  if #name > LONGEST_KEY then return ("is a name of %d bytes: Consul takes %d"):format(#name, LONGEST_KEY) end
  if name:find(RESERVED, 1, true) == 1 then
    return ('begins with "%s", which Consul keeps for itself: give it another name'):format(RESERVED)
  end
end

-- { version = "2" }
local function meta(value, path, report)
  if type(value) ~= "table" then
    return schema.expected(path, report, 'a table such as { version = "2" }', value)
  end
  local result, names = {}, schema.keys(value)
  if #names > MOST_META then report(path, ("has %d fields: Consul takes %d"):format(#names, MOST_META)) end
  for _, name in ipairs(names) do
    local here, fault = schema.join(path, name), key_fault(name)
    if fault then
      report(here, fault)
    else
      local text = meta_value(value[name], here, report)
      if text and #text > LONGEST_VALUE then
        report(here, ("has %d bytes: Consul takes %d"):format(#text, LONGEST_VALUE))
      end
      result[name] = text
    end
  end
  return result
end

local function one_address(value, path, report)
  if type(value) ~= "string" then
    return schema.expected(path, report, 'an address specification such as "eth0:inet"', value)
  end
  local fits, message = address.parse(value)
  if fits then return value end
  report(path, message)
end

local many_addresses = schema.list(one_address, "a list of address specifications")

---"eth0", or { "eth0:inet", "inet" }: the first that finds something.
---@type luapilot.Type
function M.interfaces(value, path, report)
  if type(value) == "string" then
    local one = one_address(value, path, report)
    return one and { one }
  end
  local list = many_addresses(value, path, report)
  if not list or #value > 0 then return list end
  report(path, 'is empty: leave it out for { "eth0:inet", "inet" }')
end

local weights = schema.fields({
  passing = { schema.integer(1, 65535), default = 1 }, warning = { schema.integer(0, 65535), default = 1 },
}, "a table such as { passing = 10, warning = 1 }")

local LONGEST = 2 ^ 63 / 1e9 -- seconds: Consul counts nanoseconds

local function reaping(value, path, report)
  local seconds = schema.span(value, path, report)
  if seconds and seconds >= LONGEST then return report(path, "is longer than Consul can count: 292 years") end
  return seconds
end

-- --- a job's service ---------------------------------------------------------------------------

local read_service = schema.fields({
  name                = { identity },                   -- default: the job's
  id                  = { identity },                   -- default: <name>-<hostname>
  port                = { port },
  tags                = { M.tags, default = constant.NONE },
  meta                = { meta, default = constant.NONE },
  weights             = { weights, default = constant.of { passing = 1, warning = 1 } },
  interfaces          = { M.interfaces, default = address.DEFAULT },
  initial_status      = { schema.one_of { "passing", "warning", "critical" } },
  enable_tag_override = { schema.boolean, default = false },
  deregister_after    = { reaping },
}, "a table such as { port = 8000 }, or a list of them", {
  address = "interfaces", interface = "interfaces", initialStatus = "initial_status", tag = "tags",
  enableTagOverride = "enable_tag_override", status = "initial_status",
  deregisterCriticalServiceAfter = "deregister_after", deregister_critical_service_after = "deregister_after",
})

local function one_service(value, path, report)
  local service = read_service(value, path, report)
  if service then service.path = path:match "service%[?%d*%]?$" or path end
  return service
end

local many_services = schema.list(one_service, "a list of services only")

---@class luapilot.ServiceSpec
---@field name string?
---@field id string?
---@field port integer?
---@field tags string[]
---@field meta table<string, string>
---@field weights { passing: integer, warning: integer }
---@field interfaces string[]
---@field initial_status "passing"|"warning"|"critical"|nil
---@field enable_tag_override boolean
---@field deregister_after number?
---@field path string     "service" or "service[2]"

---{ port = 8000 }, or a list of such tables: becomes a list.
---@type luapilot.Type
function M.services(value, path, report)
  if type(value) ~= "table" or schema.length(value) == 0 then
    local service = one_service(value, path, report)
    return service and { service }
  end
  return many_services(value, path, report)
end

-- --- a watch -----------------------------------------------------------------------------------

---Of pilot.watch "name" { … }.
---@type table<string, luapilot.Field>
M.watch_fields = {
  tag       = { list_of_words("a tag, or a list of tags", json_text.text) },
  dc        = { json_text.text },
  near      = { json_text.text },
  filter    = { json_text.text },
  stale     = { schema.boolean, default = false },
  cached    = { schema.boolean, default = false },
  status    = { schema.one_of { "passing", "any" }, default = "passing" },
  keep_last = { schema.boolean, default = false },
}

---The name of a service that a watch looks at.
---@type luapilot.Type
M.watched_name = identity

return M
