-- How values look in messages: `got a number: 5`, `got a function`.
--
-- Owns the words for "what was found", so that every message of luapilot says it the same way. It never
-- decides whether a value is right.

local M = {}

local LONGEST = 60

-- luapilot.Masks of the pilot at work, whose secrets no message quotes; nil: it has none. The pilot sets it with its
-- first secret; the simulator, where there are many pilots, whenever another one is at work.
M.masks = nil

---A text without secrets. What is cut is covered before: of a part of one the log would not know.
---@param text string
---@return string
function M.covered(text) return M.masks and M.masks:cover(text) or text end

---A text on one line, as it stands between double quotes.
---@param text string
---@return string
function M.escaped(text)
  if not text:find '[%c"\\]' then return text end
  return (text:gsub('[%c"\\]', function(char)
    if char == "\n" then return "\\n" end
    if char == "\t" then return "\\t" end
    if char == '"' or char == "\\" then return "\\" .. char end
    return ("\\%03d"):format(char:byte())
  end))
end

---What tostring says of a value; what the value is, where a __tostring gives no text.
---@param value any
---@return string
function M.text(value)
  local text = tostring(value)
  if type(text) == "number" then text = tostring(text) end
  return type(text) == "string" and text or M.value(value)
end

---A string (or what M.text makes of a value) in double quotes, on one line, without secrets, cut when it is long.
---@param text any
---@return string
function M.quote(text)
  text = M.covered(M.text(text))
  if #text > LONGEST then text = text:sub(1, LONGEST - 3) .. "..." end
  return '"' .. M.escaped(text) .. '"'
end

---A number as people write it, with all digits that it has: 8000, not 8e+03.
---@param number number
---@return string
function M.number(number)
  if number == math.floor(number) and math.abs(number) < 1e21 then return ("%.0f"):format(number) end
  return tostring(number)
end

---How many there are of something: "1 job", "3 jobs", "2 searches".
---@param number integer
---@param noun string
---@return string
function M.count(number, noun)
  return ("%d %s%s"):format(number, noun, number == 1 and "" or noun:find "[cs]h?$" and "es" or "s")
end

-- A number of a message: with the digits that it has, where the 14 of tostring are of another one.
local function exactly(number)
  if number == math.floor(number) and math.abs(number) < 1e21 then return ("%.0f"):format(number) end
  local text = tostring(number)
  return (tonumber(text) == number or number ~= number) and text or ("%.17g"):format(number)
end

local function table_kind(value)
  local meta = getmetatable(value)
  local name = type(meta) == "table" and rawget(meta, "__name")
  if type(name) == "string" then return "a " .. name end
  if next(value) == nil then return "an empty table" end
  return "a table"
end

---What a value is, for "got …".
---@param value any
---@return string
function M.value(value)
  local kind = type(value)
  if kind == "nil" then return "nothing" end
  if kind == "string" then return "a string: " .. M.quote(value) end
  if kind == "number" then return "a number: " .. exactly(value) end
  if kind == "boolean" then return "a boolean: " .. tostring(value) end
  if kind == "table" then return table_kind(value) end
  if kind == "thread" then return "a coroutine" end
  return "a " .. kind
end

return M
