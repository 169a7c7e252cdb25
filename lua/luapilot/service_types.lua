-- The types of what has to do with services: how a job is registered, and what a watch looks at.
--
-- Owns how these are written in pilot.lua and what they become. Never talks to Consul, and never asks which addresses
-- the machine has: a container's differ from those where `check` runs.

local address = require "luapilot.address"
local constant = require "luapilot.constant"
local describe = require "luapilot.describe"
local exact = require "luapilot.exact"
local schema = require "luapilot.schema"

local M = {}

-- --- small ones --------------------------------------------------------------------------------

-- Digits in a string too: they come from the environment.
local whole_port = schema.integer(1, 65535)

local function port(value, path, report)
  local digits = type(value) == "string" and value:match "^%d+$"
  return whole_port(digits and tonumber(digits) or value, path, report)
end

local NAME = 'a service name such as "app": letters, digits and dashes, 63 at most, so that it works in DNS'

-- https://developer.hashicorp.com/consul/docs/services/configuration/services-configuration-reference: a name that is
-- no label of DNS is taken, but cannot be looked up there.
local function service_name(value, path, report)
  local good = type(value) == "string" and #value <= 63 and value:find "^%w[%w-]*$" and not value:find "-$"
  if good then return value end
  return schema.expected(path, report, NAME, value)
end

local function list_of_words(what)
  local list = schema.list(schema.text, what)
  return function(value, path, report)
    if type(value) == "string" then return list({ value }, path, report) end
    return list(value, path, report)
  end
end

---@type luapilot.Type
M.tags = list_of_words "a list of tags"

local function meta_value(value, path, report)
  if type(value) == "number" then return exact.text(value, path, report) end
  if type(value) == "string" then return value end
  return schema.expected(path, report, "a string or a number", value)
end

-- { version = "2" }: names of [A-Za-z0-9_-], 128 bytes at most, values of 512.
local function meta(value, path, report)
  if type(value) ~= "table" then
    return schema.expected(path, report, 'a table such as { version = "2" }', value)
  end
  local result = {}
  for _, name in ipairs(schema.keys(value)) do
    local here = schema.join(path, name)
    if type(name) ~= "string" or not name:find "^[%w_-]+$" or #name > 128 then
      report(here, "expected a name of letters, digits, dashes and underscores, got " .. describe.value(name))
    else
      local text = meta_value(value[name], here, report)
      if text and #text > 512 then report(here, ("has %d bytes: Consul takes 512"):format(#text)) end
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

local weight = schema.integer(1, 65535)

local weights = schema.fields({
  passing = { weight, default = 1 }, warning = { weight, default = 1 },
}, "a table such as { passing = 10, warning = 1 }")

-- --- a job's service ---------------------------------------------------------------------------

local read_service = schema.fields({
  name                = { service_name },               -- default: the job's
  id                  = { schema.text },                -- default: <name>-<hostname>
  port                = { port },
  tags                = { M.tags, default = constant.NONE },
  meta                = { meta, default = constant.NONE },
  weights             = { weights, default = constant.of { passing = 1, warning = 1 } },
  interfaces          = { M.interfaces, default = address.DEFAULT },
  initial_status      = { schema.one_of { "passing", "warning", "critical" } },
  enable_tag_override = { schema.boolean, default = false },
  deregister_after    = { schema.span },
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
  tag       = { list_of_words "a tag, or a list of tags" },
  dc        = { schema.text },
  near      = { schema.text },
  filter    = { schema.text },
  stale     = { schema.boolean, default = false },
  cached    = { schema.boolean, default = false },
  status    = { schema.one_of { "passing", "any" }, default = "passing" },
  keep_last = { schema.boolean, default = false },
}

---The name of a service that a watch looks at: of others, so any that Consul may hold.
---@type luapilot.Type
M.watched_name = schema.text

return M
