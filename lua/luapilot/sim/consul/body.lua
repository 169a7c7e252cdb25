-- body: the JSON that a client sends, read as Consul's decoder does.
--
-- A name may be written "TaggedAddresses", "taggedaddresses" or "tagged_addresses"; one that Consul does not know is
-- an error, and so is a value of another type. It owns nothing.

local json = require "luapilot.sim.consul.json"
local query = require "luapilot.sim.consul.query"

local body = {}

local read

local function plain(name) return (name:lower():gsub("_", "")) end

local KINDS = {
  string = "string", number = "int", boolean = "bool", strings = "[]string", table = "map[string]string",
}

local function said(value)
  if type(value) == "table" then return json.is_array(value) and "array" or "object" end
  return type(value) == "boolean" and "bool" or type(value)
end

local function wrong(value, kind, name)
  return nil, ("json: cannot unmarshal %s into Go struct field .%s of type %s"):format(said(value), name, kind)
end

local readers = {}

function readers.table(value, name)
  if type(value) == "table" and not json.is_array(value) then return value end
  return wrong(value, KINDS.table, name)
end

function readers.number(value, name)
  local number = type(value) == "number" and value or tonumber(json.digits(value))
  if number then return number end
  return wrong(value, KINDS.number, name)
end

for _, kind in ipairs { "string", "boolean" } do
  readers[kind] = function(value, name)
    if type(value) == kind then return value end
    return wrong(value, KINDS[kind], name)
  end
end

---Seconds: "15s", or a number of nanoseconds.
function readers.duration(value, name)
  if type(value) == "number" then return value / 1e9 end
  if type(value) ~= "string" then return wrong(value, "time.Duration", name) end
  if value == "" then return 0 end
  return query.duration(value)
end

function readers.strings(value, name)
  if type(value) ~= "table" or not json.is_array(value) then return wrong(value, "[]string", name) end
  for _, one in ipairs(value) do
    if type(one) ~= "string" then return wrong(one, "string", name) end
  end
  return value
end

---A number as the digits that came.
function readers.flags(value, name)
  local digits = json.digits(value)
  if digits then return digits end
  return wrong(value, "uint64", name)
end

local function each(shape)
  return function(value, name)
    if type(value) ~= "table" or not json.is_array(value) then return wrong(value, "[]struct", name) end
    local list = {}
    for i, one in ipairs(value) do
      local item, message = read(one, shape)
      if not item then return nil, message end
      list[i] = item
    end
    return list
  end
end

local function reader_of(kind)
  if type(kind) == "string" then return readers[kind] end
  if kind.list then return each(kind.list) end
  return function(value) return read(value, kind) end
end

-- A field by any of its spellings.
local function field_of(shape, name)
  local wanted = plain(name)
  for field in pairs(shape.fields) do
    if plain(field) == wanted then return field end
  end
end

function read(value, shape)
  if type(value) ~= "table" or json.is_array(value) then
    return nil, ("json: cannot unmarshal %s into Go value"):format(said(value))
  end
  local result, names = {}, {}
  for name in pairs(value) do names[#names + 1] = tostring(name) end
  table.sort(names)
  for _, name in ipairs(names) do
    local field = field_of(shape, name)
    if field then
      local message
      result[field], message = reader_of(shape.fields[field])(value[name], field)
      if message then return nil, message end
    elseif not shape.loose then
      return nil, ("json: unknown field %q"):format(name)
    end
  end
  return result
end

---A list of things of one shape.
---@param value any       decoded
---@param shape table
---@return table[]?
---@return string? message
function body.list(value, shape) return each(shape)(value, "operations") end

---@param text string
---@param shape { fields: table<string, any>, loose: boolean? }    a field is a kind, another shape, or { list = shape }
---@return table?
---@return string? message
function body.read(text, shape)
  local value, message = json.decode(text)
  if message then return nil, message end
  return read(value or {}, shape)
end

return body
