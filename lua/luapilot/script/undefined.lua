-- What there is to say of an undefined global: a misspelling, or a local that is not known there.
--
-- Owns nothing. Loaded with the first mistake of that kind; never runs the user's code and never reads a file.

local describe = require "luapilot.base.describe"
local lexer = require "luapilot.base.lexer"
local suggest = require "luapilot.base.suggest"

local M = {}

local HINTS = 20 -- so many names are compared with all others

-- ------------------------------------------------------------------------------------ locals in a source

---@class luapilot.Local
---@field name string
---@field line integer
---@field first integer|nil the first token of its value
---@field last integer|nil

local NESTS = { ["("] = 1, ["{"] = 1, ["["] = 1, ["function"] = 1, ["if"] = 1, ["do"] = 1, ["repeat"] = 1,
  [")"] = -1, ["}"] = -1, ["]"] = -1, ["end"] = -1, ["until"] = -1 }

local function continues(token)
  if token.kind == "keyword" then return token.text == "and" or token.text == "or" end
  return token.kind == "op" and token.text ~= ";" and token.text ~= "::" or token.kind == "string"
end

---The last token of the expressions that begin at `first`.
local function expression_end(tokens, first)
  local depth = 0
  for i = first, #tokens do
    local token = tokens[i]
    local syntax = token.kind == "keyword" or token.kind == "op"
    local nests = syntax and NESTS[token.text] or 0
    local ended = depth == 0 and lexer.ends_value(tokens[i - 1]) and not continues(token)
    if i > first and ended or depth + nests < 0 or token.kind == "eof" then return i - 1 end
    depth = depth + nests
  end
  return #tokens
end

local function add_names(tokens, i, found)
  local from = #found + 1
  while tokens[i].kind == "name" do
    found[#found + 1] = { name = tokens[i].text, line = tokens[i].line }
    i = i + 1
    if tokens[i].text ~= "," then break end
    i = i + 1
  end
  if tokens[i].text ~= "=" then return end
  for n = from, #found do
    found[n].first, found[n].last = i + 1, expression_end(tokens, i + 1)
  end
end

-- Locals, local functions, loop variables and parameters.
local function locals_of(tokens)
  local found = {}
  for i = 1, #tokens - 1 do
    local token, following = tokens[i], tokens[i + 1]
    if token.kind == "keyword" and token.text == "local" then
      add_names(tokens, following.text == "function" and i + 2 or i + 1, found)
    elseif token.kind == "keyword" and token.text == "for" then
      found[#found + 1] = { name = following.text, line = following.line }
    elseif token.kind == "keyword" and token.text == "function" then
      while tokens[i].kind ~= "eof" and tokens[i].text ~= "(" do i = i + 1 end
      if tokens[i + 1] then add_names(tokens, i + 1, found) end
    end
  end
  return found
end

local function by_name(list)
  local map = {}
  for _, declared in ipairs(list) do
    map[declared.name] = map[declared.name] or {}
    table.insert(map[declared.name], declared)
  end
  return { all = list, by_name = map }
end

-- ---------------------------------------------------------------------------------------------- messages

-- How to write a declaration that needs its own name.
local function two_steps(tokens, declared)
  local at = declared.first
  local name, kind = declared.name, tokens[at + 2]
  if tokens[at].text == "function" then return ("write local function %s(…)"):format(name) end
  if tokens[at + 1].text == "." and kind.kind == "name" and tokens[at + 3].kind == "string" then
    return ("write local %s = %s.%s %s first, then %s { … }")
      :format(name, tokens[at].text, kind.text, tokens[at + 3].text, name)
  end
  return ("write local %s first, then %s = …"):format(name, name)
end

local function mentions(tokens, declared, line)
  if not declared.first or line < declared.line or line > tokens[declared.last].line then return false end
  for i = declared.first, declared.last do
    if tokens[i].kind == "name" and tokens[i].text == declared.name then return true end
  end
  return false
end

---Why a local of this name does not help at this line, or nil when there is none.
local function about_local(use, tokens, locals)
  local earlier, later
  for _, declared in ipairs(locals.by_name[use.name] or {}) do
    if mentions(tokens, declared, use.line) then
      return "a local is not visible inside its own declaration; " .. two_steps(tokens, declared)
    end
    if declared.line <= use.line then earlier = declared else later = later or declared end
  end
  if earlier then
    return ("the local of line %d ends with its block"):format(earlier.line)
  end
  if later then
    return ("the local is declared only on line %d; move the declaration up"):format(later.line)
  end
end

local function near_name(use, known_names, locals)
  local candidates = {}
  for _, declared in ipairs(locals.all) do candidates[#candidates + 1] = declared.name end
  for _, name in ipairs(known_names) do candidates[#candidates + 1] = name end
  return suggest.near(use.name, candidates)
end

local function message_about(use, known_names, tokens, locals, compares)
  local text = "undefined global " .. describe.quote(use.name)
  local about = about_local(use, tokens, locals)
  if about then return text .. ": " .. about end
  if use.name == "pilot" then return text .. ': begin the file with local pilot = require "luapilot"' end
  local near = compares and near_name(use, known_names, locals)
  return near and ("%s (did you mean %s?)"):format(text, describe.quote(near)) or text
end

local function sorted_names(known, set)
  local names = {}
  for name in pairs(known) do
    if type(name) == "string" then names[#names + 1] = name end
  end
  for name in pairs(set) do
    if rawget(known, name) == nil then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

---What explains undefined names.
---@param known table<string, any>         the globals that exist
---@param set table<string, true>          … and those that the user's files set
---@param sources table<string, string>    source text by file
---@return fun(use: luapilot.GlobalUse): string
function M.explainer(known, set, sources)
  local names, tokens, locals, count = sorted_names(known, set), {}, {}, 0
  return function(use)
    local file = use.file
    count = count + 1
    tokens[file] = tokens[file] or lexer.tokens(sources[file] or "")
    locals[file] = locals[file] or by_name(locals_of(tokens[file]))
    return message_about(use, names, tokens[file], locals[file], count <= HINTS)
  end
end

return M
