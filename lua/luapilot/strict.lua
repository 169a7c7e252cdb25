-- Undefined globals, found in the bytecode before anything runs.
--
-- Owns the walk through functions and their nested prototypes, and the explanation of each undefined name.
-- Never runs the user's code and never reads a file: the source, where given, only makes messages better.

local bit = require "bit"
local util = require "jit.util"

local describe = require "luapilot.describe"
local lazy = require "luapilot.lazy"
local suggest = require "luapilot.suggest"

local lexer = lazy.require "luapilot.lexer"

local M = {}

---@class luapilot.GlobalUse
---@field name string
---@field file string
---@field line integer
---@field set boolean

-- --------------------------------------------------------------------------------------------- bytecode

local function opcode(func, pc) return bit.band(util.funcbc(func, pc), 0xff) end

-- The numbers of opcodes differ between versions of LuaJIT, so they are read off compiled samples:
-- instruction 0 is the header, 1 loads, 2 the value or the store.
local GGET = opcode(assert(loadstring "return sample"), 1)
local GSET = opcode(assert(loadstring "sample = nil"), 2)
local TSETS = opcode(assert(loadstring "_G.sample = nil"), 3)

-- The operands: A is a slot; B a slot and C a constant, or D a constant.
local function operands(instruction)
  local a = bit.band(bit.rshift(instruction, 8), 0xff)
  return a, bit.band(bit.rshift(instruction, 24), 0xff), bit.band(bit.rshift(instruction, 16), 0xff),
    bit.rshift(instruction, 16)
end

local function constant(func, index) return util.funck(func, -index - 1) end

local function walk(func, uses)
  local info = util.funcinfo(func)
  local file = (info.source or "?"):gsub("^@", "")
  local holds_G = {} -- slots into which _G was loaded last: `_G.x = …` sets a global too

  local function add(name, pc, set)
    local line = util.funcinfo(func, pc).currentline
    uses[#uses + 1] = { name = name, file = file, line = line, set = set }
  end

  for pc = 1, info.bytecodes - 1 do
    local instruction = util.funcbc(func, pc)
    local op, a, b, c, d = bit.band(instruction, 0xff), operands(instruction)
    if op ~= TSETS then holds_G[a] = op == GGET and constant(func, d) == "_G" end
    if op == GGET then
      add(constant(func, d), pc, false)
    elseif op == GSET then
      add(constant(func, d), pc, true)
    elseif op == TSETS and holds_G[b] then
      add(constant(func, c), pc, true)
    end
  end

  for i = 1, info.gcconsts do
    local value = util.funck(func, -i)
    if type(value) == "proto" then walk(value, uses) end
  end
end

---Every use of a global in a function and in the functions inside it, by line.
---@param func function
---@return luapilot.GlobalUse[]
function M.globals(func)
  local uses = {}
  walk(func, uses)
  for i, use in ipairs(uses) do use.position = i end
  table.sort(uses, function(a, b)
    if a.line ~= b.line then return a.line < b.line end
    return a.position < b.position
  end)
  for _, use in ipairs(uses) do use.position = nil end
  return uses
end

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
  for _, declared in ipairs(locals) do
    if declared.name == use.name then
      if mentions(tokens, declared, use.line) then
        return "a local is not visible inside its own declaration; " .. two_steps(tokens, declared)
      end
      if declared.line <= use.line then earlier = declared else later = later or declared end
    end
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
  for _, declared in ipairs(locals) do candidates[#candidates + 1] = declared.name end
  for _, name in ipairs(known_names) do candidates[#candidates + 1] = name end
  return suggest.near(use.name, candidates)
end

local function message_about(use, known_names, tokens, locals)
  local text = "undefined global " .. describe.quote(use.name)
  local about = about_local(use, tokens, locals)
  if about then return text .. ": " .. about end
  if use.name == "pilot" then return text .. ': begin the file with local pilot = require "luapilot"' end
  local near = near_name(use, known_names, locals)
  return near and ("%s (did you mean %s?)"):format(text, describe.quote(near)) or text
end

-- ------------------------------------------------------------------------------------------------ check

local function names_set(all_uses)
  local set = {}
  for _, use in ipairs(all_uses) do
    if use.set then set[use.name] = true end
  end
  return set
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

---The reads of globals that nobody defines: neither `known` nor any of the functions.
---@param functions function[] the user's chunks, compiled and not necessarily run
---@param known table<string, any> the globals that exist
---@param sources? table<string, string> source text by file, for better messages
---@return luapilot.Mistake[]
function M.check(functions, known, sources)
  local uses = {}
  for _, func in ipairs(functions) do
    for _, use in ipairs(M.globals(func)) do uses[#uses + 1] = use end
  end
  local set, names = names_set(uses), nil
  local tokens, locals, list, seen = {}, {}, {}, {}
  for _, use in ipairs(uses) do
    local where = ("%s:%d"):format(use.file, use.line)
    local is_there = set[use.name] or rawget(known, use.name) ~= nil
    if not is_there and not seen[where .. use.name] then
      seen[where .. use.name] = true
      names = names or sorted_names(known, set)
      tokens[use.file] = tokens[use.file] or lexer.tokens(sources and sources[use.file] or "")
      locals[use.file] = locals[use.file] or locals_of(tokens[use.file])
      local message = message_about(use, names, tokens[use.file], locals[use.file])
      list[#list + 1] = { where = where, message = message }
    end
  end
  return list
end

return M
