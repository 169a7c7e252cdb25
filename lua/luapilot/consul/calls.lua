-- calls: makes the functions of pilot.consul.agent, .health and so on from the table of endpoints.
--
-- Each function puts its arguments into the path, the query and the body, as its entry says, and returns what the entry
-- says of the answer. It owns these functions, and never knows a single endpoint. Options, and how an answer is read,
-- are consul/requests.lua's.

local json_text = require "luapilot.schema.json_text"
local copy = require "luapilot.base.copy"
local endpoints = require "luapilot.consul.endpoints"
local requests = require "luapilot.consul.requests"
local schema = require "luapilot.schema.schema"

local calls = {}

local ABSENT = { [404] = true }

-- An entry as it is worked with.
local function prepared(entry)
  local parts = {}
  for word in entry[2]:gmatch "[^/]+" do
    parts[#parts + 1] = { argument = word:match "^:(.*)$", word = word }
  end
  local options = entry.options or entry[1] == "GET" and "READ" or "WRITE"
  local may_miss = entry.result == "maybe" or entry.result == "first"
  return {
    entry = entry, parts = parts, accept = entry.accept or may_miss and ABSENT or nil,
    options = requests.options(options),
    tells = entry[1] == "GET" and (options:find "READ" or options:find "index") and true or false, -- for the next query
  }
end

-- A name that is a part of a path. "." and ".." would lead to another one.
local function segment(value, path, report)
  local name = json_text.text(value, path, report)
  if name == "." or name == ".." then return schema.expected(path, report, "a name", value) end
  return name
end

-- The path of a request: arguments in the places of words with a ":".
local function path_of(spec, take)
  local path = {}
  for i, part in ipairs(spec.parts) do
    path[i] = part.argument and take(segment, part.argument) or part.word
  end
  return path
end

-- Arguments that stand in the query, or make a body.
local function further(args, query, take)
  local body
  for _, arg in ipairs(args or {}) do
    local value = take(arg.type, arg.name, true)
    if arg.query then
      query[arg.query] = value
    else
      body = body or {}
      body[arg.name] = value
    end
  end
  return body
end

local function request_of(app, call, spec, ...)
  local given, at, entry = { ... }, 0, spec.entry
  local function take(kind, name, optional)
    at = at + 1
    if optional and given[at] == nil then return nil end
    return requests.argument(app, call, kind, given[at], name)
  end
  local query = copy.shallow(entry.query or {})
  local path = path_of(spec, take)
  local body = further(entry.args, query, take)
  if entry.body then body = take(entry.body.type, entry.body.name) end
  local options = given[at + 1]
  local read = requests.argument(app, call, spec.options, options == nil and {} or options)
  local request = { method = entry[1], path = path, query = query, accept = spec.accept, what = call,
    browses = entry.browses }
  if body then request.body = requests.encode(app, call, entry.body and entry.body.name or "body", body) end
  if entry.payload then request.body = read.payload end
  return requests.add(request, read)
end

local results = {}

function results.value(value) return value end
function results.maybe(value) return value end
function results.list(value) return value or {} end
function results.map(value) return value or {} end
function results.first(value) return value and value[1] end

local function returned(app, spec, request, response)
  local result = spec.entry.result
  if not result then return end
  local value
  if response.status ~= 404 then value = requests.decode(app, request, response, result == "map") end
  local read = results[result] or result
  if spec.tells then return requests.read(app, request, read, value), requests.meta(response) end
  return requests.read(app, request, read, value, response)
end

local function bind(app, call, entry)
  local spec
  return function(...)
    local self = requests.enter(app, call)
    spec = spec or prepared(entry)
    local request = request_of(app, call, spec, ...)
    return returned(app, spec, request, self:call(request))
  end
end

---The functions of all endpoints, by their groups, for one pilot.
---@param app luapilot.App
---@return table<string, table<string, function>>
function calls.library(app)
  local library = {}
  for group, entries in pairs(endpoints.groups) do
    library[group] = {}
    for name, entry in pairs(entries) do
      library[group][name] = bind(app, ("pilot.consul.%s.%s"):format(group, name), entry)
    end
  end
  return library
end

return calls
