-- json: what Consul writes and reads, to the letter.
--
-- Whole numbers are whole whatever their size, an empty list is [], an empty map {}, and null stands where a list or a
-- map was never made; a client that takes one for the other must fail here, too. Keys are sorted, so that the same
-- state is the same text. It owns nothing.

local cjson = require "cjson".new()

cjson.decode_invalid_numbers(false)

local json = {}

local Array, Number, Null = {}, {}, {}

---Written as null.
json.null = setmetatable({}, Null)

---Makes a table a list, also when it is empty.
---@param list table?
---@return table
function json.array(list) return setmetatable(list or {}, Array) end

---A number that Lua cannot hold: its digits.
---@param digits string
---@return table
function json.number(digits) return setmetatable({ digits = digits }, Number) end

---null for what is not there.
---@param value any
---@return any
function json.maybe(value)
  if value == nil then return json.null end
  return value
end

-- --- writing -----------------------------------------------------------------------------------

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

-- As Go does: also what would be markup in a page.
local function quote(text)
  return '"' .. text:gsub('[%c"\\<>&]', function(char)
    return ESCAPES[char] or char ~= "\127" and ("\\u%04x"):format(char:byte()) or char
  end) .. '"'
end

local write

local function write_number(value)
  if value % 1 == 0 and math.abs(value) < 2 ^ 63 then return ("%.0f"):format(value) end
  return ("%.17g"):format(value)
end

local function write_list(list)
  local parts = {}
  for i = 1, #list do parts[i] = write(list[i]) end
  return "[" .. table.concat(parts, ",") .. "]"
end

local function write_map(map)
  local keys, parts = {}, {}
  for key in pairs(map) do keys[#keys + 1] = key end
  table.sort(keys)
  for i, key in ipairs(keys) do parts[i] = quote(key) .. ":" .. write(map[key]) end
  return "{" .. table.concat(parts, ",") .. "}"
end

function write(value)
  local kind = type(value)
  if kind == "string" then return quote(value) end
  if kind == "number" then return write_number(value) end
  if kind ~= "table" then return tostring(value) end
  local mark = getmetatable(value)
  if mark == Null then return "null" end
  if mark == Number then return value.digits end
  return mark == Array and write_list(value) or write_map(value)
end

---A table is a map, unless it was made by `array`.
---@param value any
---@return string
function json.encode(value) return write(value) end

-- --- reading -----------------------------------------------------------------------------------

-- An absent field and null are the same to Go, where there is no place to be kept.
local function without_nulls(value)
  if type(value) ~= "table" then return value end
  for key, field in pairs(value) do
    if field == cjson.null then
      value[key] = nil
    else
      without_nulls(field)
    end
  end
  return value
end

-- What Go says of the first character that cannot begin a value; of the rest less exactly.
local function complaint(text)
  local first = text:match "^%s*(.?)"
  if first == "" then return "EOF" end
  if not first:find '[%[{"%d%-tfn]' then
    return ("invalid character '%s' looking for beginning of value"):format(first)
  end
  return "unexpected end of JSON input"
end

---@param text string
---@return any value
---@return string? message
function json.decode(text)
  local ok, value = pcall(cjson.decode, text)
  if not ok then return nil, complaint(text) end
  if value == cjson.null then return nil end
  return without_nulls(value)
end

return json
