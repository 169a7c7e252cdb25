-- Undefined globals, found in the bytecode before anything runs.
--
-- Owns the walk through functions and their nested prototypes. Never runs the user's code and never reads a file: the
-- source, where given, only makes messages better (script/undefined.lua).

local bit = require "bit"
local util = require "jit.util"

local lazy = require "luapilot.base.lazy"

local undefined = lazy.require "luapilot.script.undefined"

local M = {}

---@class luapilot.GlobalUse
---@field name string
---@field file string
---@field line integer
---@field set boolean

-- --------------------------------------------------------------------------------------------- bytecode

local function opcode(func, pc) return bit.band(util.funcbc(func, pc), 0xff) end

-- The numbers of opcodes differ between versions of LuaJIT, so they are read off a compiled sample. Instruction 0 is
-- the header; the first statement loads and stores, the second loads _G, then the value, and stores.
local sample = assert(loadstring "sample = sample; _G.sample = nil")
local GGET, GSET, TSETS = opcode(sample, 1), opcode(sample, 2), opcode(sample, 5)

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

-- ------------------------------------------------------------------------------------------------ check

-- With the names of `others`.
local function merged(set, others)
  for name in pairs(others) do set[name] = true end
  return set
end

local function names_set(all_uses)
  local set = {}
  for _, use in ipairs(all_uses) do
    if use.set then set[use.name] = true end
  end
  return set
end

---The reads of globals that nobody defines: neither `known` nor any of the functions.
---@param functions function[] the user's chunks, compiled and not necessarily run
---@param known table<string, any> the globals that exist
---@param sources? table<string, string> source text by file, for better messages
---@param others? table<string, true> globals that functions read before set
---@return luapilot.Mistake[]
function M.check(functions, known, sources, others)
  local uses = {}
  for _, func in ipairs(functions) do
    for _, use in ipairs(M.globals(func)) do uses[#uses + 1] = use end
  end
  local set, list, seen, explain = names_set(uses), {}, {}, nil
  others = others or set
  for _, use in ipairs(uses) do
    local is_there = set[use.name] or others[use.name] or rawget(known, use.name) ~= nil
    local where = not is_there and ("%s:%d"):format(use.file, use.line)
    if where and not seen[where .. use.name] then
      seen[where .. use.name] = true
      explain = explain or undefined.explainer(known, merged(set, others), sources or {})
      list[#list + 1] = { where = where, message = explain(use) }
    end
  end
  return list
end

return M
