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

-- The position of the quote that closes a string, or nil at the end of the line.
local function closing_quote(source, start)
  local quote, position = source:sub(start, start), start + 1
  while position <= #source do
    local char = source:sub(position, position)
    if char == quote then return position end
    if char == "\n" then return nil end
    position = position + (char == "\\" and 2 or 1)
  end
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

---One token from `start` on: kind, last position, content.
local function read(source, start)
  local _, stop = source:find("^[%a_\128-\255][%w_\128-\255]*", start)
  if stop then return is_keyword[source:sub(start, stop)] and "keyword" or "name", stop end
  _, stop = source:find("^%.?%d[%w_%.]*", start)
  if stop then return "number", stop end
  if source:find("^[\"']", start) then return read_string(source, start) end
  local bracket, content = long_bracket(source, start)
  if bracket then return "string", bracket, content end
  if bracket == false then return "unfinished", #source end
  return read_operator(source, start)
end

-- Behind blanks and comments, or nil in an unfinished comment.
local function skip_blanks(source, position)
  while true do
    position = source:find("%S", position) or #source + 1
    if source:sub(position, position + 1) ~= "--" then return position end
    local after = skip_comment(source, position)
    if not after then return nil, position end
    position = after
  end
end

---The tokens of a source, the last of kind "eof".
---@param source string
---@return luapilot.Token[]
function M.tokens(source)
  local tokens, position, line, line_start, counted = {}, 1, 1, 1, 1

  local function add(kind, start, stop, value)
    for newline in source:sub(counted, start - 1):gmatch "()\n" do
      line, line_start = line + 1, counted + newline
    end
    counted = math.max(counted, start)
    local text = source:sub(start, stop)
    tokens[#tokens + 1] =
      { kind = kind, text = text, value = value, line = line, column = start - line_start + 1 }
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
    local kind, stop, value = read(source, start)
    add(kind, start, stop, value)
    position = stop + 1
  end
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
