-- Lua's syntax errors, explained.
--
-- Owns the hints for the slips that are made most: a comma forgotten, an `end` missing, JSON's or C's habits.
-- A hint is added behind Lua's own message, which always stays. Never decides whether a program is right.

local lexer = require "luapilot.base.lexer"
local suggest = require "luapilot.base.suggest"

local M = {}

---@class luapilot.SyntaxCase what a rule sees
---@field text string Lua's message without file and line
---@field near string|nil the token at which Lua gave up
---@field line integer
---@field tokens luapilot.Token[]

-- --------------------------------------------------------------------------------------------- brackets

local CLOSES = { [")"] = "(", ["}"] = "{", ["]"] = "[", ["end"] = "block", ["until"] = "repeat" }
local OPENS = { ["("] = "(", ["{"] = "{", ["["] = "[", ["function"] = "block", ["if"] = "block",
  ["do"] = "block", ["repeat"] = "repeat" }

local function is_syntax(token) return token.kind == "keyword" or token.kind == "op" end

local function indents(tokens)
  local columns = {}
  for _, token in ipairs(tokens) do columns[token.line] = columns[token.line] or token.column end
  return columns
end

---What is open before token `upto`: a stack of { token, kind }. Also the block that is indented deeper than
---the `end` that closed it: its own `end` is probably the missing one. And whether there is an `else if`.
local function open_at(tokens, upto)
  local stack, columns = {}, indents(tokens)
  local suspect, else_if
  for i = 1, upto - 1 do
    local token = tokens[i]
    if is_syntax(token) and OPENS[token.text] then
      else_if = else_if or token.text == "if" and i > 1 and tokens[i - 1].text == "else"
      stack[#stack + 1] = { token = token, kind = OPENS[token.text] }
    elseif is_syntax(token) and CLOSES[token.text] then
      local opener = stack[#stack]
      if not opener or opener.kind ~= CLOSES[token.text] then return stack, suspect, else_if end
      local leads = columns[token.line] == token.column
      if leads and columns[opener.token.line] > token.column then suspect = suspect or opener.token end
      stack[#stack] = nil
    end
  end
  return stack, suspect, else_if
end

local function never_closed(token, closer)
  return ('the "%s" of line %d has no "%s"'):format(token.text, token.line, closer)
end

-- ------------------------------------------------------------------------------------------------ rules

local TRIED = 20 -- a line of thousands of brackets is no line that somebody wrote

---The token at which Lua gave up: Lua tells its text and its line, `fits` chooses among the first of them.
---@return luapilot.Token|nil token
---@return luapilot.Token|nil before
---@return integer|nil index
local function find(case, fits)
  local left = TRIED
  for i, token in ipairs(case.tokens) do
    local here = token.kind == "eof" and case.near == "<eof>"
      or token.line == case.line and token.text == case.near
    local before = case.tokens[i - 1]
    if here and before then
      if fits(token, before, i) then return token, before, i end
      left = left - 1
      if left == 0 then return nil end
    end
  end
end

local function missing_comma(case)
  if not case.text:find "^'[%)}%]]' expected" then return nil end
  local token, before = find(case, function(token, before)
    return lexer.ends_value(before) and lexer.begins_field(token)
  end)
  if not token then return nil end
  if before.line == token.line then return ("a comma is missing before %s"):format(token.text) end
  return ("a comma is missing at the end of line %d"):format(before.line)
end

local function missing_end(case)
  local fits = case.text:find "^'end' expected" or case.text:find "^unexpected symbol near '[%)}%],]'"
  if not fits then return nil end
  local block, suspect, else_if
  find(case, function(_, _, index)
    local stack, guess, seen = open_at(case.tokens, index)
    local top = stack[#stack]
    if top and top.kind == "block" then block, suspect, else_if = top.token, guess, seen end
    return block
  end)
  if not block then return nil end
  local message = never_closed(suspect or block, "end")
  return else_if and message .. '; is "else if" meant as "elseif"?' or message
end

local function unclosed_bracket(case)
  local closer = case.text:match "^'([%)}%]])' expected"
  if not closer then return nil end
  local opener
  find(case, function(token, _, index)
    local ends_here = token.kind == "eof" or token.kind == "keyword" or CLOSES[token.text]
    local stack = open_at(case.tokens, index)
    local top = stack[#stack]
    opener = ends_here and top and top.kind == CLOSES[closer] and top.token
    return opener
  end)
  return opener and never_closed(opener, closer)
end

local function one_too_many(case)
  local closer = case.text:match "expected near '(end)'" or case.text:match "near '([%)}%]])'"
  if not closer then return nil end
  local function nothing_open(_, _, index) return #open_at(case.tokens, index) == 0 end
  if case.tokens[1].text == closer or find(case, nothing_open) then
    return ('there is one "%s" too many'):format(closer)
  end
end

local function unfinished(case)
  local what = case.text:match "^unfinished (.*) near"
  if not what then return nil end
  for _, token in ipairs(case.tokens) do
    if token.kind == "unfinished" then
      return ("the %s begins on line %d and is not closed"):format(what, token.line)
    end
  end
end

local function bare_duration(case)
  local number = case.text:match "^malformed number near '(%d[%w%.]*)'"
  if number and number:find "^%d+%.?%d*%a" then
    return ('a duration or size stands in quotes: write "%s"'):format(number)
  end
end

local function json_field(case)
  local _, before, index = find(case, function(token, before)
    return token.text == ":" and before.value or before.text == ":"
  end)
  if not index then return nil end
  local field = before.value or case.tokens[index - 2] and case.tokens[index - 2].text or "field"
  return ('a field is written with "=": %s = …'):format(field)
end

local function quoted_field(case)
  if case.near ~= "=" or not case.text:find "^'}' expected" then return nil end
  local _, before = find(case, function(_, before) return before.value end)
  if not before then return nil end
  if before.value:find "^[%a_][%w_]*$" then
    return ("the name of a field stands without quotes: %s = …"):format(before.value)
  end
  return ("such a name of a field stands in brackets: [%s] = …"):format(before.text)
end

local function misspelt_keyword(case)
  if not case.text:find "^'=' expected" then return nil end
  local _, before = find(case, function(_, before) return before.kind == "name" end)
  local keyword = before and suggest.near(before.text, lexer.KEYWORDS)
  return keyword and ("did you mean %s?"):format(keyword)
end

local C_HABITS = {
  ["!"] = 'Lua writes ~= for "not equal" and not for "!"',
  ["&"] = 'Lua writes "and" for &&',
  ["|"] = 'Lua writes "or" for ||',
  ["/"] = "a comment begins with --",
  ["#"] = "a comment begins with --",
  ["?"] = 'Lua writes x and "yes" or "no" for a conditional value',
}

local function foreign_habit(case)
  local near, text = case.near, case.text
  if near == "=" and (text:find "^'then' expected" or text:find "^'do' expected") then
    return "a comparison is written with =="
  end
  if near == "==" then return "an assignment is written with one =" end
  if text:find "^'=' expected" and near and near:find "^[-+*/.]" then
    return ("Lua has no %s= and no %s%s: write x = x %s 1"):format(near, near, near, near)
  end
  if near == "{" and case.tokens[1].text == "{" then
    return 'a pilot.lua is a program in Lua, not a table or JSON: write pilot.job "app" { … }'
  end
  if near == "{" and not text:find "^'<name>' expected" then
    return 'Lua has no { } around statements: write "then … end" or "do … end"'
  end
  return C_HABITS[near]
end

-- The first rule that knows something wins: the sure ones come first.
local RULES = { unfinished, bare_duration, json_field, quoted_field, missing_comma, missing_end, one_too_many,
  misspelt_keyword, foreign_habit, unclosed_bracket }

---Adds what is probably wrong to a syntax error of Lua.
---@param message string "pilot.lua:5: '}' expected … near 'reload'"
---@param source string
---@return string message the same, with a hint behind it where there is one
function M.explain(message, source)
  local line, text = message:match "^.-:(%d+): (.*)$"
  if not line then return message end
  local tokens = lexer.tokens(source)
  local case = { text = text, near = text:match "near '(.*)'$", line = tonumber(line), tokens = tokens }
  for _, rule in ipairs(RULES) do
    local hint = rule(case)
    if hint then return ("%s (%s)"):format(message, hint) end
  end
  return message
end

return M
