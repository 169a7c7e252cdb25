-- Lua source as tokens, with lines.
--
-- Owns just enough of Lua's grammar to explain mistakes in pilot.lua: names, literals, operators, and whether
-- a token can end or begin an expression. Never judges a program: LuaJIT itself compiles it.

local M = {}

---@class luapilot.Token
---@field kind "name"|"keyword"|"string"|"number"|"op"|"unfinished"|"eof"
---@field text string as written
---@field value string|nil the content of a string without escapes
---@field line integer
---@field column integer

M.KEYWORDS = { "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in",
  "local", "nil", "not", "or", "repeat", "return", "then", "true", "until", "while" }

local is_keyword = {}
for _, word in ipairs(M.KEYWORDS) do is_keyword[word] = true end

local OPERATORS = { "...", "..", "==", "~=", "<=", ">=", "::" }

-- Where a long bracket that opens at `start` ends: last position, content; nil if it does not open or close.
local function long_bracket(source, start)
  local equals = source:match("^%[(=*)%[", start)
  if not equals then return nil end
  local from, stop = source:find("]" .. equals .. "]", start, true)
  return stop or false, from and source:sub(start + #equals + 2, from - 1)
end

local function skip_comment(source, start)
  local stop = long_bracket(source, start + 2)
  if stop then return stop + 1 end
  if stop == false then return nil end
  return (source:find("\n", start, true) or #source + 1)
end

local STOPS = { ['"'] = '["\\\n]', ["'"] = "['\\\n]" } -- where reading a string must look up

-- The position of the quote that closes a string, or nil at the end of the line.
local function closing_quote(source, start)
  local quote, position = source:sub(start, start), start + 1
  while true do
    position = source:find(STOPS[quote], position)
    local char = position and source:sub(position, position)
    if char == quote then return position end
    if char ~= "\\" then return nil end
    position = position + 2
  end
end

-- Each reads one token from `start` on: kind, last position, content.

local function read_word(source, start)
  local _, stop = source:find("^[%w_\128-\255]*", start)
  return is_keyword[source:sub(start, stop)] and "keyword" or "name", stop
end

local function read_number(source, start)
  local _, stop = source:find("^%.?%d[%w_%.]*", start)
  return "number", stop
end

local function read_string(source, start)
  local stop = closing_quote(source, start)
  if not stop then return "unfinished", (source:find("\n", start, true) or #source + 1) - 1 end
  return "string", stop, source:sub(start + 1, stop - 1)
end

local function read_operator(source, start)
  for _, operator in ipairs(OPERATORS) do
    if source:sub(start, start + #operator - 1) == operator then return "op", start + #operator - 1 end
  end
  return "op", start
end

local function read_dot(source, start)
  if source:find("^%d", start + 1) then return read_number(source, start) end
  return read_operator(source, start)
end

local function read_bracket(source, start)
  local bracket, content = long_bracket(source, start)
  if bracket then return "string", bracket, content end
  if bracket == false then return "unfinished", #source end
  return "op", start
end

local function read_char(_, start) return "op", start end

-- By the first byte: one look instead of a row of patterns that do not fit.
local readers = {}
for byte = 0, 255 do
  local char = string.char(byte)
  readers[byte] = char:find "[%a_\128-\255]" and read_word or char:find "%d" and read_number or read_char
end
for _, operator in ipairs(OPERATORS) do readers[operator:byte()] = read_operator end
for char, reader in pairs { ['"'] = read_string, ["'"] = read_string, ["["] = read_bracket, ["."] = read_dot } do
  readers[char:byte()] = reader
end

-- Behind blanks and comments, or nil in an unfinished comment.
local function skip_blanks(source, position)
  while true do
    position = source:find("%S", position) or #source + 1
    if source:find("^%-%-", position) == nil then return position end
    local after = skip_comment(source, position)
    if not after then return nil, position end
    position = after
  end
end

local function read_all(source)
  local tokens, position, line, line_start = {}, 1, 1, 1
  local newline = source:find("\n", 1, true)

  local function add(kind, start, stop, value)
    while newline and newline < start do
      line, line_start = line + 1, newline + 1
      newline = source:find("\n", line_start, true)
    end
    tokens[#tokens + 1] =
      { kind = kind, text = source:sub(start, stop), value = value, line = line, column = start - line_start + 1 }
  end

  while true do
    local start, comment = skip_blanks(source, position)
    if not start then
      add("unfinished", comment, #source)
      start = #source + 1
    end
    if start > #source then
      add("eof", #source + 1, #source)
      return tokens
    end
    local kind, stop, value = readers[source:byte(start)](source, start)
    add(kind, start, stop, value)
    position = stop + 1
  end
end

local known = setmetatable({}, { __mode = "v" }) -- by source, until the next collection: several ask about one file

---The tokens of a source, the last of kind "eof". Not to be changed: who asks for the same source gets the same ones.
---@param source string
---@return luapilot.Token[]
function M.tokens(source)
  local tokens = known[source]
  if not tokens then
    tokens = read_all(source)
    known[source] = tokens
  end
  return tokens
end

local ENDS = { ["end"] = true, ["nil"] = true, ["true"] = true, ["false"] = true, [")"] = true, ["]"] = true,
  ["}"] = true, ["..."] = true }
local VALUES = { name = true, string = true, number = true }

---Whether an expression can end with this token.
---@param token luapilot.Token|nil
function M.ends_value(token)
  return token ~= nil and (VALUES[token.kind] or token.kind ~= "unfinished" and ENDS[token.text] or false)
end

local BEGINS = { ["function"] = true, ["nil"] = true, ["true"] = true, ["false"] = true, ["{"] = true,
  ["["] = true, ["not"] = true, ["#"] = true }

---Whether a field of a table can begin with this token.
---@param token luapilot.Token
function M.begins_field(token)
  return VALUES[token.kind] or BEGINS[token.text] or false
end

return M
