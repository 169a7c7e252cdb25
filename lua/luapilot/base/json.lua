-- json: pilot.json, over lua-cjson.
--
-- A null in an object is an absent field; in an array it stays json.null, because the places of the others count.
-- Its numbers keep 14 significant digits; an integer that would lose some is refused. It owns nothing.

local cjson = require "cjson".new()

cjson.decode_invalid_numbers(false)

local EXACT = 1e14 -- lua-cjson writes 14 digits

local json = { null = cjson.null }

local function is_array(value)
  return #value > 0
end

local function without_nulls(value)
  if type(value) ~= "table" then return value end
  local array = is_array(value)
  for key, field in pairs(value) do
    if field == json.null then
      if not array then value[key] = nil end
    else
      without_nulls(field)
    end
  end
  return value
end

---Raises with what is wrong and where.
---@param text string
---@return any
function json.decode(text)
  if type(text) ~= "string" then
    error(("json.decode: expected a string, got %s"):format(type(text)), 2)
  end
  local ok, value = pcall(cjson.decode, text)
  if not ok then error("json.decode: " .. tostring(value), 2) end
  if value == json.null then return nil end
  return without_nulls(value)
end

local function inexact(value)
  if type(value) == "number" then return math.abs(value) >= EXACT and value % 1 == 0 and value or nil end
  if type(value) ~= "table" then return nil end
  for _, field in pairs(value) do
    local found = inexact(field)
    if found then return found end
  end
end

---An empty table becomes an object.
---@param value any
---@return string
function json.encode(value)
  local ok, text = pcall(cjson.encode, value)
  if not ok then error("json.encode: " .. tostring(text), 2) end
  local large = inexact(value)
  if large then error(("json.encode: %.0f has more than 14 digits: encode it as a string"):format(large), 2) end
  return text
end

return json
