-- json: what Consul writes and reads, to the letter.
--
-- Whole numbers are whole whatever their size, an empty list is [], an empty map {}, and null stands where a list or a
-- map was never made; a client that takes one for the other must fail here, too. Keys are sorted, so that the same
-- state is the same text. It owns nothing.

local cjson = require "cjson".new()
local utf8 = require "luapilot.base.utf8"

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

-- What cjson would lose stands in strings meanwhile: that a list is empty, and digits beyond those of a double.
local EMPTY, LARGE = "\1empty list", "^\1(%d+)$"
local EXACT = 15 -- digits

local function end_of_string(text, at)
  repeat
    at = text:find('["\\]', at + 1) or #text
    local escape = text:sub(at, at) == "\\"
    if escape then at = at + 1 end
  until not escape or at >= #text
  return at
end

local function stand_ins(text)
  local parts, from = {}, 1
  while true do
    local at = text:find('["%[%d]', from)
    if not at then return table.concat(parts) .. text:sub(from) end
    local char, instead = text:sub(at, at), nil
    local stop
    if char == '"' then
      stop = end_of_string(text, at)
    elseif char == "[" then
      local _, closed = text:find("^%[%s*%]", at)
      stop, instead = closed or at, closed and '["\\u0001empty list"]'
    else
      stop = select(2, text:find("^%d[%d.eE+-]*", at))
      local number = text:sub(at, stop)
      instead = #number > EXACT and number:find "^%d+$" and '"\\u0001' .. number .. '"'
    end
    parts[#parts + 1] = text:sub(from, at - 1) .. (instead or text:sub(at, stop))
    from = stop + 1
  end
end

-- An absent field and null are the same to Go, where there is no place to be kept.
local function settle(value)
  if type(value) == "string" and value:find(LARGE) then return json.number(value:match(LARGE)) end
  if type(value) ~= "table" then return value end
  if value[1] == EMPTY then return json.array() end
  if value[1] ~= nil then setmetatable(value, Array) end
  for key, field in pairs(value) do
    if field == cjson.null then
      value[key] = nil
    else
      value[key] = settle(field)
    end
  end
  return value
end

---The digits of a whole number, however large; nil: it is none.
---@param value any       decoded
---@return string?
function json.digits(value)
  if getmetatable(value) == Number then return value.digits end
  if type(value) ~= "number" or value < 0 or value % 1 ~= 0 then return nil end
  return ("%.0f"):format(value)
end

---Was it a list?
---@param value table     decoded
---@return boolean
function json.is_array(value) return getmetatable(value) == Array end

-- What Go says of the first character that cannot begin a value; of the rest less exactly.
local function complaint(text)
  local first = text:match "^%s*(.?)"
  if first == "" then return "EOF" end
  if not first:find '[%[{"%d%-tfn]' then
    return ("invalid character '%s' looking for beginning of value"):format(first)
  end
  return "unexpected end of JSON input"
end

---As Go reads it: also U+FFFD for what is not UTF-8.
---@param text string
---@return any value
---@return string? message
function json.decode(text)
  text = utf8.repaired(text)
  local ok, value = pcall(cjson.decode, stand_ins(text))
  if not ok then return nil, complaint(text) end
  if value == cjson.null then return nil end
  return settle(value)
end

return json
