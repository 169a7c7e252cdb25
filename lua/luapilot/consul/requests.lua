-- requests: what all calls of pilot.consul have in common: their options ({ stale = true }), what must be so before a
-- request is sent, how its body is written and its answer read.
--
-- It owns these rules. Which calls there are is said by consul/endpoints.lua, consul/kv.lua and consul/txn.lua.

local json_text = require "luapilot.schema.json_text"
local client = require "luapilot.consul.client"
local names = require "luapilot.consul.names"
local options = require "luapilot.consul.options"
local schema = require "luapilot.schema.schema"
local shapes = require "luapilot.consul.shapes"
local utf8 = require "luapilot.base.utf8"

local requests = {}

-- --- what options are ----------------------------------------------------------------------------

local function node_meta(value, path, report)
  local list = {}
  json_text.look(value, path, report)
  for name, one in pairs(shapes.map(value, path, report) or {}) do list[#list + 1] = name .. ":" .. one end
  table.sort(list)
  return list
end

local MOST = 1e6 -- seconds: of the port

local function timeout(value, path, report)
  local seconds = schema.span(value, path, report)
  if seconds and seconds > MOST then return report(path, "is longer than 277h, the longest timeout") end
  return seconds
end

local text, boolean = json_text.text, schema.boolean

---Every option of every call: its type, and under which name it stands in the query (if it does).
---@type table<string, { [1]: luapilot.Type, query: string? }>
local OPTIONS = {
  dc         = { text, query = "dc" },
  token      = { options.token },
  timeout    = { timeout },                         -- default "30s", more where `index` waits
  retry      = { schema.span },
  stale      = { boolean, query = "stale" },
  consistent = { boolean, query = "consistent" },
  cached     = { boolean, query = "cached" },
  index      = { shapes.digits, query = "index" },
  wait       = { shapes.span, query = "wait" },
  near       = { text, query = "near" },
  filter     = { text, query = "filter" },
  node_meta  = { node_meta, query = "node-meta" },
  tag        = { shapes.texts, query = "tag" },
  passing    = { boolean, query = "passing" },
  wan        = { boolean, query = "wan" },
  segment    = { text, query = "segment" },
  prune      = { boolean, query = "prune" },
  limit      = { schema.integer(1), query = "limit" },
  name       = { text, query = "name" },
  node       = { text, query = "node" },
  service    = { text, query = "service" },
  recurse    = { boolean, query = "recurse" },
  separator  = { text, query = "separator" },
  cas        = { shapes.digits, query = "cas" },
  flags      = { shapes.digits, query = "flags" },
  acquire    = { text, query = "acquire" },
  release    = { text, query = "release" },
  payload    = { shapes.bytes },
  replace_existing_checks = { boolean, query = "replace-existing-checks" },
}

-- Words for groups of them.
local GROUPS = {
  WRITE = "dc token timeout retry",
  READ  = "dc token timeout retry stale consistent index wait",
  LOCAL = "token timeout retry", -- the agent itself answers
}

local SYNONYMS = { datacenter = "dc", tags = "tag", passing_only = "passing", tree = "recurse", value = "payload",
  modify_index = "cas" }

-- What Consul would take, and pass over in silence.
local UNCACHED = { function(value, path, report)
  local cached = boolean(value, path, report)
  if cached then return report(path, "Consul's agent has no cache for this: leave it out") end
  return cached
end }

---A type for options: READ, WRITE, LOCAL, and names of single ones.
---@param words string       "READ near filter"
---@return luapilot.Type
function requests.options(words)
  local fields = {}
  for word in words:gsub("%u+", GROUPS):gmatch "[%l_]+" do fields[word] = assert(OPTIONS[word], word) end
  fields.cached = fields.cached or fields.consistent and UNCACHED
  local synonyms = {}
  for word, meant in pairs(SYNONYMS) do synonyms[word] = fields[meant] and not fields[word] and meant or nil end
  local type_of = schema.fields(fields, "a table of options", synonyms)
  return function(value, path, report)
    local read = type_of(value, path, report)
    if read and read.cached and read.consistent then
      return report(path, "has cached and consistent: the leader does not answer from the agent's cache; leave one out")
    end
    return read
  end
end

-- --- before a request ----------------------------------------------------------------------------

---The client; raises where there can be no request.
---@param app luapilot.App
---@param call string         "pilot.consul.kv.get"
---@return luapilot.Consul
function requests.enter(app, call)
  if not app.tasks:inside() then app.tasks:await(call, function() end) end -- raises: the top level never waits
  if app.consul then return app.consul end
  client.raise(app, call .. ' needs Consul: write pilot.consul "localhost:8500" at the top level of the file')
end

---Reads an argument, or the options; raises when they are wrong.
---@param app luapilot.App
---@param call string
---@param kind luapilot.Type
---@param value any
---@param name string?        "key"; nil: the options
---@return any
function requests.argument(app, call, kind, value, name)
  local message
  local result = kind(value, name or call, function(path, said) message = message or path .. ": " .. said end)
  if message then client.raise(app, name and call .. ": " .. message or message) end
  return result
end

-- A blocking query takes as long as it may, and a sixteenth more at random.
local HOLDS, LONGEST_HOLD, SPREAD, GRACE = 300, 600, 17 / 16, 30

local function timeout_of(read)
  if read.timeout or not read.index then return read.timeout end
  return math.min(read.wait and shapes.seconds(read.wait) or HOLDS, LONGEST_HOLD) * SPREAD + GRACE
end

---Puts options into a request.
---@param request luapilot.ConsulCall
---@param read table          of a type that requests.options made
---@return luapilot.ConsulCall request
function requests.add(request, read)
  local query = request.query or {}
  for name, value in pairs(read) do
    local as = OPTIONS[name].query
    if as then query[as] = value end
  end
  request.query, request.token, request.retry, request.timeout = query, read.token, read.retry, timeout_of(read)
  return request
end

-- Where the text is that Consul would hold otherwise. Only asked when there is one.
local function where_altered(app, call, name, value)
  local message
  json_text.look(value, name, function(path, said) message = message or path .. ": " .. said end)
  client.raise(app, ("%s: %s"):format(call, message))
end

---The body of a request, in JSON; raises with the field that cannot be sent.
---@param app luapilot.App
---@param call string
---@param name string         of the argument
---@param value any
---@return string
function requests.encode(app, call, name, value)
  local encoded, message = names.encode(value)
  if not encoded then client.raise(app, ("%s: %s: %s"):format(call, name, message)) end
  if utf8.fault(encoded) then where_altered(app, call, name, value) end
  return encoded
end

-- --- after it ------------------------------------------------------------------------------------

---@class luapilot.ConsulMeta
---@field last_index string?      for the `index` of the next query
---@field known_leader boolean
---@field last_contact number?    seconds since the server that answered heard its leader
---@field cache_hit boolean?       of a read with `cached`: did the agent answer from its cache?
---@field cache_age number?        … and for how many seconds has it not heard from the servers?
---@field filtered true?         what the token may not read is left out; Consul says so since 1.11

---@param response table
---@return luapilot.ConsulMeta
function requests.meta(response)
  local headers = response.headers
  local contact, cache = tonumber(headers["x-consul-lastcontact"]), headers["x-cache"]
  return {
    last_index = headers["x-consul-index"], last_contact = contact and contact / 1000,
    known_leader = headers["x-consul-knownleader"] == "true",
    cache_hit = cache and cache == "HIT", cache_age = cache and tonumber(headers.age),
    filtered = headers["x-consul-results-filtered-by-acls"] == "true" or nil,
  }
end

local function raise_answer(app, request, why)
  local _, path = app.consul:path(request)
  client.raise(app, ("consul: %s %s: the answer is %s"):format(request.method or "GET", path, why))
end

local function understood(app, request, fine, ...)
  if fine then return ... end
  raise_answer(app, request, "none of Consul's: it has other types than those (is this Consul?)")
end

---What fn makes of a value; raises at the user's line when it is not as Consul answers.
---@param app luapilot.App
---@param request luapilot.ConsulCall
---@param fn fun(...): any
function requests.read(app, request, fn, ...) return understood(app, request, pcall(fn, ...)) end

---The value of an answer; raises when it is no JSON.
---@param app luapilot.App
---@param request luapilot.ConsulCall
---@param response table
---@param is_map boolean?
---@return any
function requests.decode(app, request, response, is_map)
  local value, message = names.decode(response.body, is_map)
  if not message then return value end
  raise_answer(app, request, "no JSON (is this Consul?): " .. message)
end

return requests
