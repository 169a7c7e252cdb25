-- A program and its arguments, as the user writes them: a string of words, or a list.
--
-- Owns the rules of `exec` wherever it appears: no shell syntax, no holes, no empty program. Never looks for
-- the program and never runs it.

local describe = require "luapilot.base.describe"
local lazy = require "luapilot.base.lazy"
local schema = require "luapilot.schema.schema"

local numbers = lazy.require "luapilot.schema.numbers"
local shellwords = lazy.require "luapilot.base.shellwords"

local M = {}

local WHAT = 'a string or a list of words such as { "nginx", "-t" }'
local LUA_CODE = "Lua code goes into run (of a job) or check (of a health check)"

local function hole_message(label, hole, following, value)
  return ("%s[%d] is nil, but %s[%d] is %s: a variable misspelt or set later, or os.getenv for pilot.env?")
    :format(label, hole, label, following, type(value) == "string" and describe.quote(value) or describe.value(value))
end

-- pilot.sh makes a whole argv; people put it inside another one.
local function word_advice(word)
  if type(word) == "boolean" then return ("write %s"):format(describe.quote(tostring(word))) end
  if schema.is_table(word) and word[1] == "/bin/sh" then
    return 'pilot.sh makes the whole list: write it without the { } around'
  end
end

local function word_in(word, path, report)
  if type(word) == "number" then return numbers.text(word, path, report) end
  if type(word) ~= "string" then
    return schema.expected(path, report, "a string or a number", word, word_advice(word))
  end
  if word:find("\0", 1, true) then return report(path, "contains a NUL byte, which no argument can") end
  return word
end

local read_words = schema.list(word_in, "only a list of words")

local function from_list(list, path, report)
  local label = path:match "[%w_]+$" or "exec"
  local length, hole, following = schema.length(list)
  if hole then return report(path, hole_message(label, hole, following, list[following])) end
  local argv = read_words(list, path, report)
  if length == 0 then return report(path, 'names no program: write { "program", "argument" }') end
  if list[1] == "" then return report(schema.join(path, 1), "is empty: it must name the program") end
  return #argv == length and argv or nil
end

---The type of `exec`: the argv, or nil after reports.
---@type luapilot.Type
function M.type(value, path, report)
  if type(value) == "string" then
    local argv, message = shellwords.split(value)
    if not argv then report(path, message) end
    return argv
  end
  if schema.is_table(value) then return from_list(value, path, report) end
  return schema.expected(path, report, WHAT, value, type(value) == "function" and LUA_CODE or nil)
end

---Reads an argv alone, for pilot.exec.
---@param value any
---@return string[]|nil argv
---@return string|nil message
function M.parse(value)
  local function named(given, _, report) return M.type(given, "exec", report) end
  local argv, message, path = schema.first(named, value)
  if argv then return argv end
  return nil, path == "exec" and message or ("%s: %s"):format(path, message)
end

return M
