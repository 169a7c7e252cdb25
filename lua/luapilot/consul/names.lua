-- names: Consul's JSON in the words of a pilot.lua, and back.
--
--   {"ServiceID":"a","ModifyIndex":18446744073709551615,"Meta":{"Some-Key":"x"},"Tags":null}
--   { service_id = "a", modify_index = "18446744073709551615", meta = { ["Some-Key"] = "x" }, tags = {} }
--
-- Fields become snake_case. What users name stays as it is: the keys of maps, and everything below a Config. A null is
-- an absent field, and an empty table where the official Go client would have an empty list or map. Indexes are
-- strings of digits; so is every other whole number beyond 2^53, for a number of Lua would round it.
-- It owns nothing, and knows no endpoint.

local describe = require "luapilot.base.describe"

local byte, concat = string.byte, table.concat

local cjson = require "cjson".new()
cjson.decode_invalid_numbers(false)
local NULL = cjson.null

local names = {}

local function set(words)
  local result = {}
  for word in words:gmatch "%S+" do result[word] = true end
  return result
end

-- Their keys are the user's; the values are looked into.
local MAPS = set "Meta NodeMeta ServiceMeta TaggedAddresses ServiceTaggedAddresses Header Services Labels"
-- Nothing in them is touched. (Tags are a list, but of a member, whose tags are a map.)
local UNTOUCHED = set "Config DebugConfig Stats Tags"
local INDEXES = set "CreateIndex ModifyIndex LockIndex"
-- Lists and maps, which Go writes as null when they are empty.
local EMPTY = set [[Meta NodeMeta ServiceMeta TaggedAddresses ServiceTaggedAddresses Header Services Tags ServiceTags
  Checks NodeChecks ServiceChecks Nodes]]

-- --- single names --------------------------------------------------------------------------------

local WORDS = { acl = "ACL", dns = "DNS", grpc = "GRPC", http = "HTTP", id = "ID", ids = "IDs", kv = "KV",
  ltime = "LTime", tcp = "TCP", tls = "TLS", ttl = "TTL" }
local IRREGULAR = { LTime = "ltime" }

---"DeregisterCriticalServiceAfter" → "deregister_critical_service_after", "TLSSkipVerify" → "tls_skip_verify".
---@param name string
---@return string
function names.snake(name)
  if IRREGULAR[name] then return IRREGULAR[name] end
  return (name:gsub("IDs$", "Ids"):gsub("(%l%d*)(%u)", "%1_%2"):gsub("(%u)(%u%l)", "%1_%2"):lower())
end

---"tls_skip_verify" → "TLSSkipVerify".
---@param name string
---@return string
function names.camel(name)
  return (name:gsub("_?([^_]+)", function(word) return WORDS[word] or word:gsub("^%l", string.upper) end))
end

-- There are some hundred names; a map of the user's that comes by never fills the memory.
local KNOWN = 1000
local known, count = {}, 0

local function snake(name)
  local found = known[name]
  if found then return found end
  if count == KNOWN then known, count = {}, 0 end
  found = names.snake(name)
  known[name], count = found, count + 1
  return found
end

-- --- numbers that Lua would round ----------------------------------------------------------------

local DIGIT_0, DIGIT_9 = 48, 57
local LONG = ("%d"):rep(16)  -- 2^53 has as many

-- Are there 16 digits in a row? Looked at is each 16th byte, for such a row covers one of them.
local function has_long_number(text)
  for i = 16, #text, 16 do
    local code = byte(text, i)
    if code <= DIGIT_9 and code >= DIGIT_0 and text:sub(i - 15, i + 15):find(LONG) then return true end
  end
  return false
end

local EXACT = "9007199254740992" -- 2^53

local function is_beyond(digits) return #digits > #EXACT or #digits == #EXACT and digits > EXACT end

-- The end of the string whose opening quote stands before `from`.
local function end_of_string(text, from)
  while true do
    local at = text:find('["\\]', from)
    if not at then return #text end
    if byte(text, at) == 34 then return at end
    from = at + 2
  end
end

-- Puts quotes around whole numbers beyond 2^53.
local function quote_numbers(text)
  return (text:gsub("%d[%d.eE+-]*", function(number)
    if not number:find "%D" and is_beyond(number) then return '"' .. number .. '"' end
  end):gsub('%-"', '"-'))
end

-- What stands between strings is all that may be a number.
local function quote_outside(text)
  local parts, at = {}, 1
  while true do
    local quote = text:find('"', at, true)
    local between = text:sub(at, quote and quote - 1)
    parts[#parts + 1] = between:find(LONG) and quote_numbers(between) or between
    if not quote then return concat(parts) end
    local stop = end_of_string(text, quote + 1)
    parts[#parts + 1] = text:sub(quote, stop)
    at = stop + 1
  end
end

-- --- reading -------------------------------------------------------------------------------------

local convert

local function convert_list(list, keep)
  for i = 1, #list do
    local item = list[i]
    if type(item) == "table" then list[i] = convert(item, keep) end
  end
  return list
end

-- Keys stay, the values are converted.
local function convert_map(map)
  if map[1] ~= nil then return convert_list(map) end
  for key, value in pairs(map) do
    if value == NULL then
      map[key] = nil
    elseif type(value) == "table" then
      map[key] = convert(value)
    end
  end
  return map
end

local function as_digits(value) return type(value) == "number" and ("%.0f"):format(value) or value end

local function convert_field(key, value)
  if value == NULL then return EMPTY[key] and {} or nil end
  if type(value) == "table" then
    if UNTOUCHED[key] then return convert(value, true) end
    if MAPS[key] then return convert_map(value) end
    return convert(value)
  end
  return INDEXES[key] and as_digits(value) or value
end

-- keep: no name is changed, all the way down.
function convert(value, keep)
  if value[1] ~= nil then return convert_list(value, keep) end
  local result = {}
  for key, field in pairs(value) do
    if not keep then
      result[snake(key)] = convert_field(key, field)
    elseif field ~= NULL then
      result[key] = type(field) == "table" and convert(field, true) or field
    end
  end
  return result
end

---Reads an answer of Consul.
---@param text string
---@param is_map boolean?    its own keys stay: services by id, catalogue services by name
---@return any value         nil: null
---@return string? message   it is no JSON
function names.decode(text, is_map)
  if has_long_number(text) then text = quote_outside(text) end
  local fine, value = pcall(cjson.decode, text)
  if not fine then return nil, tostring(value) end
  if value == NULL then return nil end
  if type(value) ~= "table" then return value end
  if is_map then return convert_map(value) end
  return convert(value)
end

---Names below a field that decode has left as they were.
---@param value table
---@return table
function names.convert(value) return convert(value) end

-- --- writing -------------------------------------------------------------------------------------

---Marks a table that is a list even when it is empty.
names.LIST = {}

---A number of more digits than Lua's have, as a string of them.
---@class luapilot.ConsulDigits
local Digits = {}

---@param text string
---@return table
function names.digits(text) return setmetatable({ text = text }, Digits) end

local encode

local function encode_object(object, keep)
  local keys, parts = {}, {}
  for key in pairs(object) do
    if type(key) ~= "string" then
      error("has a key that is " .. describe.value(key) .. ": neither list nor fields", 0)
    end
    keys[#keys + 1] = key
  end
  table.sort(keys)
  for i, key in ipairs(keys) do
    local wire = keep and key or names.camel(key)
    local below = keep == "all" and "all" or not keep and (UNTOUCHED[wire] and "all" or MAPS[wire] and "here") or nil
    parts[i] = cjson.encode(wire) .. ":" .. encode(object[key], below)
  end
  return "{" .. concat(parts, ",") .. "}"
end

local function encode_list(list, keep)
  local parts = {}
  for i, item in ipairs(list) do parts[i] = encode(item, keep) end
  return "[" .. concat(parts, ",") .. "]"
end

-- keep: "here", the keys of this table stay; "all", those below too.
function encode(value, keep)
  if type(value) == "number" and value - value == 0 then return describe.number(value) end
  if type(value) ~= "table" then return cjson.encode(value) end
  local meta = getmetatable(value)
  if meta == Digits then return value.text end
  if value[1] ~= nil or meta == names.LIST then return encode_list(value, keep) end
  return encode_object(value, keep)
end

---Writes what is sent to Consul: snake_case becomes its names, in order.
---@param value any
---@param is_map boolean?    its own keys stay
---@return string? text
---@return string? message   it has what JSON cannot hold
function names.encode(value, is_map)
  local fine, text = pcall(encode, value, is_map and "here" or nil)
  if fine then return text end
  return nil, text:find "stack overflow" and "is nested too deeply" or (text:gsub("^.-:%d+: ", ""))
end

return names
