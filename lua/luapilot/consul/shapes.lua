-- shapes: what is sent to Consul as a table: services, checks, sessions, prepared queries.
--
-- The fields are those of the official Go client in snake_case; consul/names.lua turns them into Consul's. A
-- misspelt field, which Consul would pass over, is an error. It owns these fields and nothing else.

local json_text = require "luapilot.schema.json_text"
local describe = require "luapilot.base.describe"
local numbers = require "luapilot.schema.numbers"
local duration = require "luapilot.base.duration"
local names = require "luapilot.consul.names"
local schema = require "luapilot.schema.schema"
local utf8 = require "luapilot.base.utf8"

local shapes = {}

-- --- small types ---------------------------------------------------------------------------------

---A whole number without sign, up to 2^64: indexes and flags, as a number or as a string of digits.
---@type luapilot.Type
function shapes.digits(value, path, report)
  if type(value) == "string" and value:find "^%d+$" and #value <= 20 then return value end
  local whole = type(value) == "number" and value >= 0 and value < 2 ^ 53 and value % 1 == 0
  if whole then return describe.number(value) end
  return schema.expected(path, report, 'a whole number, or a string of digits such as "42"', value)
end

---The same as a number of JSON.
---@type luapilot.Type
function shapes.number(value, path, report)
  local digits = shapes.digits(value, path, report)
  return digits and names.digits(digits)
end

---A duration in the words of Consul: "10s" stays, 90 becomes "1m30s".
---@type luapilot.Type
function shapes.span(value, path, report)
  local seconds = schema.duration(value, path, report)
  if type(value) == "string" or not seconds then return seconds and value end
  return duration.format(seconds)
end

---Its length, again.
---@param text string
---@return number seconds
function shapes.seconds(text) return (assert(duration.parse(text))) end

---Bytes: any string.
---@type luapilot.Type
function shapes.bytes(value, path, report)
  if type(value) == "string" then return value end
  return schema.expected(path, report, "a string", value)
end

---What a program said, perhaps in no character set: U+FFFD stands where it is no UTF-8, as Consul would put it.
---@type luapilot.Type
function shapes.output(value, path, report)
  local bytes = shapes.bytes(value, path, report)
  return bytes and utf8.repaired(bytes)
end

---A list of strings; one of them may stand alone. It is a list for Consul even when it is empty.
---@type luapilot.Type
function shapes.texts(value, path, report)
  if type(value) == "string" then value = { value } end
  local list = schema.list(json_text.text, "a list of strings")(value, path, report)
  return list and setmetatable(list, names.LIST)
end

local function text_or_number(value, path, report)
  if type(value) == "number" then return numbers.text(value, path, report) end
  if type(value) == "string" then return value end
  return schema.expected(path, report, "a string or a number", value)
end

-- { name = … }, of values of one type.
local function map_of(kind, example)
  return function(value, path, report)
    if type(value) ~= "table" then return schema.expected(path, report, "a table such as " .. example, value) end
    local result = {}
    for _, key in ipairs(schema.keys(value)) do
      local here = schema.join(path, key)
      if type(key) == "string" then
        result[key] = kind(value[key], here, report)
      else
        report(here, "expected only named fields, got " .. describe.value(value[key]))
      end
    end
    return result
  end
end

---{ name = "value" }
---@type luapilot.Type
shapes.map = map_of(text_or_number, '{ name = "value" }')

shapes.status = schema.one_of { "passing", "warning", "critical" }

local text, boolean, span, texts = schema.text, schema.boolean, shapes.span, shapes.texts
local count = schema.integer(0)
local port = schema.integer(0, 65535)

-- --- checks and services -------------------------------------------------------------------------

local check_fields = {
  name = { text }, notes = { text }, status = { shapes.status }, service_id = { text },
  ttl = { span }, interval = { span }, timeout = { span }, deregister_critical_service_after = { span },
  http = { text }, method = { text }, header = { map_of(texts, '{ Accept = { "text/plain" } }') }, body = { text },
  tcp = { text }, grpc = { text }, grpc_use_tls = { boolean }, tls_skip_verify = { boolean },
  args = { texts }, shell = { text }, docker_container_id = { text },
  alias_node = { text }, alias_service = { text },
  success_before_passing = { count }, failures_before_critical = { count },
}
local CHECK_SYNONYMS = { headers = "header", deregister_after = "deregister_critical_service_after", script = "args" }

local function with(fields, more)
  local result = {}
  for name, field in pairs(fields) do result[name] = field end
  for name, field in pairs(more) do result[name] = field end
  return result
end

local A_CHECK = 'a check such as { ttl = "15s" }'

---A check of its own: check_register.
---@type luapilot.Type
shapes.check = schema.fields(with(check_fields, { id = { text } }), A_CHECK, with(CHECK_SYNONYMS, { check_id = "id" }))

-- A check of a service.
local inner = with(check_fields, { check_id = { text } })
inner.service_id = nil
local service_check = schema.fields(inner, A_CHECK, with(CHECK_SYNONYMS, { id = "check_id" }))

local function list_of(kind, what)
  local read = schema.list(kind, what)
  return function(value, path, report)
    local list = read(value, path, report)
    return list and setmetatable(list, names.LIST)
  end
end

local service_fields = {
  id = { text }, tags = { texts }, port = { port }, address = { text }, meta = { shapes.map }, kind = { text },
  tagged_addresses = { map_of(schema.fields({ address = { text }, port = { port } }, 'a table such as { port = 80 }'),
    '{ lan = { address = "10.0.0.1", port = 80 } }') },
  weights = { schema.fields({ passing = { count }, warning = { count } }, "a table such as { passing = 10 }") },
  enable_tag_override = { boolean }, proxy = { schema.any }, connect = { schema.any },
}

---A service with its checks: service_register.
---@type luapilot.Type
shapes.service = schema.fields(with(service_fields, {
  name = { text }, check = { service_check }, checks = { list_of(service_check, "a list of checks") },
}), 'a service such as { name = "db", port = 5432 }', { service = "name", service_id = "id", tag = "tags" })

-- --- the catalogue -------------------------------------------------------------------------------

local catalog_check = schema.fields({
  node = { text }, check_id = { text }, name = { text }, status = { shapes.status }, notes = { text },
  output = { shapes.output }, service_id = { text }, service_name = { text }, definition = { schema.any },
}, 'a check such as { check_id = "db", status = "passing" }', { id = "check_id" })

---@type luapilot.Type
shapes.registration = schema.fields({
  id = { text }, node = { text }, address = { text }, datacenter = { text }, node_meta = { shapes.map },
  tagged_addresses = { shapes.map }, skip_node_update = { boolean },
  service = { schema.fields(with(service_fields, { service = { text } }), 'a service such as { service = "db" }',
    { name = "service" }) },
  check = { catalog_check }, checks = { list_of(catalog_check, "a list of checks") },
}, 'a registration such as { node = "n", address = "10.0.0.1", service = { service = "db" } }', { dc = "datacenter" })

---@type luapilot.Type
shapes.deregistration = schema.fields({
  node = { text }, address = { text }, datacenter = { text }, service_id = { text }, check_id = { text },
}, 'a table such as { node = "n", service_id = "db" }', { dc = "datacenter", service = "service_id" })

-- --- sessions ------------------------------------------------------------------------------------

local session_fields = {
  name = { text }, node = { text }, ttl = { span }, lock_delay = { span },
  behavior = { schema.one_of { "release", "delete" } },
}
local A_SESSION = 'a session such as { ttl = "10s" }'
local named_check = schema.fields({ id = { text }, namespace = { text } }, 'a table such as { id = "check" }')

-- A call without any field is one, too.
local function or_nothing(kind)
  return function(value, path, report)
    if value == nil then value = {} end
    return kind(value, path, report)
  end
end

---@type luapilot.Type
shapes.session = or_nothing(schema.fields(with(session_fields, {
  checks = { texts }, node_checks = { texts }, service_checks = { list_of(named_check, "a list of checks") },
}), A_SESSION, { behaviour = "behavior" }))

local no_checks = or_nothing(schema.fields(session_fields, A_SESSION, { behaviour = "behavior" }))

---@type luapilot.Type
function shapes.session_no_checks(value, path, report)
  local session = no_checks(value, path, report)
  if session then session.checks = setmetatable({}, names.LIST) end
  return session
end

-- --- prepared queries ----------------------------------------------------------------------------

---@type luapilot.Type
shapes.query = schema.fields({
  name = { text }, session = { text }, token = { text },
  service = { schema.fields({
    service = { text }, near = { text }, only_passing = { boolean }, connect = { boolean },
    ignore_check_ids = { texts }, tags = { texts }, node_meta = { shapes.map }, service_meta = { shapes.map },
    failover = { schema.fields({ nearest_n = { count }, datacenters = { texts } },
      "a table such as { nearest_n = 2 }") },
  }, 'a table such as { service = "db" }', { name = "service", tag = "tags", passing = "only_passing" }) },
  dns = { schema.fields({ ttl = { span } }, 'a table such as { ttl = "10s" }') },
  template = { schema.fields({ type = { text }, regexp = { text }, remove_empty_tags = { boolean } },
    'a table such as { type = "name_prefix_match" }') },
}, 'a query such as { name = "db", service = { service = "db" } }')

return shapes
