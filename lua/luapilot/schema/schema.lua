-- Types for what the user declares, and the reading of tables by them.
--
-- A type is a function (value, path, report) that returns the normalised value, or nil after having reported
-- every mistake it found. Types are put together from smaller ones, so that a configuration reads as a
-- table of fields. Owns the walking, the paths, the unknown fields and the defaults. Never knows what a field
-- means.

local copy = require "luapilot.base.copy"
local describe = require "luapilot.base.describe"
local lazy = require "luapilot.base.lazy"

local duration = lazy.require "luapilot.base.duration"
local size = lazy.require "luapilot.base.size"
local suggest = lazy.require "luapilot.base.suggest"

local M = {}

---Whose file is being read or run: what relative paths are relative to is schema/paths.lua's to say.
---@type luapilot.App?
M.pilot = nil

---@alias luapilot.Report fun(path: string, message: string)
---@alias luapilot.Type fun(value: any, path: string, report: luapilot.Report): any

---@class luapilot.Field
---@field [1] luapilot.Type
---@field default any what stands for a missing or a wrong value; a table is the same one for all: see base/constant.lua

-- ------------------------------------------------------------------------------------------------ paths

local PLAIN = { string = true, number = true, boolean = true }

-- A key may be an object, whose __tostring may do anything.
local function key_text(key) return PLAIN[type(key)] and tostring(key) or describe.value(key) end

---The path of a key: `health` + `interval` → `health.interval`; `health` + 2 → `health[2]`.
---@param path string
---@param key any
---@return string
function M.join(path, key)
  local plain = type(key) == "string" and key:find "^[%a_][%w_]*$"
  if plain then return path == "" and key or path .. "." .. key end
  if type(key) == "string" then return ("%s[%s]"):format(path, describe.quote(key)) end
  return ("%s[%s]"):format(path, key_text(key))
end

---The keys of a table, in an order that is the same every time: numbers first.
---@param value table
---@return any[]
function M.keys(value)
  local keys, words = {}, true
  for key in pairs(value) do
    keys[#keys + 1], words = key, words and type(key) == "string"
  end
  if words then
    table.sort(keys)
    return keys
  end
  table.sort(keys, function(a, b)
    if type(a) == "number" and type(b) == "number" then return a < b end
    if type(a) ~= type(b) then return type(a) == "number" or type(b) ~= "number" and type(a) < type(b) end
    return key_text(a) < key_text(b)
  end)
  return keys
end

---A report that writes into a collector of mistakes.
---@param mistakes luapilot.Mistakes
---@param where string|nil
---@return luapilot.Report
function M.reporter(mistakes, where)
  return function(path, message) mistakes:add(where, path, message) end
end

---Checks one value alone and stops at its first mistake.
---@param check luapilot.Type
---@param value any
---@return any normalised nil when there is a mistake
---@return string|nil message
---@return string|nil path
function M.first(check, value)
  local first
  local function report(path, message) first = first or { path = path, message = message } end
  local result = check(value, "", report)
  if first then return nil, first.message, first.path end
  return result
end

-- ----------------------------------------------------------------------------------------- simple types

---Reports `expected …, got …`; returns nil.
---@param path string
---@param report luapilot.Report
---@param what string
---@param value any
---@param advice? string
function M.expected(path, report, what, value, advice)
  report(path, ("expected %s, got %s%s"):format(what, describe.value(value), advice and "; " .. advice or ""))
end

---Lifts `parse(value) -> result | nil, message` to a type.
---@param parse fun(value: any): any, string|nil
---@return luapilot.Type
function M.by(parse)
  return function(value, path, report)
    local result, message = parse(value)
    if result == nil then report(path, message) end
    return result
  end
end

-- A value of one Lua type.
local function of(kind, what)
  return function(value, path, report)
    if type(value) == kind then return value end
    return M.expected(path, report, what, value)
  end
end

---Is this a table to read? Objects of luapilot and of libraries, which have a name for what they are, are none: to ask
---them for a field that they do not have may raise.
---@param value any
---@return boolean
function M.is_table(value)
  if type(value) ~= "table" then return false end
  local meta = getmetatable(value)
  return not (type(meta) == "table" and rawget(meta, "__name"))
end

local function index(value, key) return value[key] end

---A field of a table that may be an object of the user's, whose __index may raise: then nil, and with what.
---@param value table
---@param key any
---@return any
---@return string? message
function M.field(value, key)
  if getmetatable(value) == nil then return value[key] end
  local ok, found = pcall(index, value, key)
  if ok then return found end
  local said = type(found) == "string" and found:match "[^\n]*":gsub("^%S*luapilot/schema/schema%.lua:%d+: ", "")
  return nil, "its __index raises " .. (said or describe.value(found))
end

---Anything, as it is.
function M.any(value) return value end

M.boolean = of("boolean", "true or false")
M.fn = of("function", "a function")
M.duration = M.by(function(value) return duration.parse(value) end)
M.size = M.by(function(value) return size.parse(value) end)

---A string without NUL bytes, and not empty.
function M.text(value, path, report)
  if type(value) ~= "string" then return M.expected(path, report, "a string", value) end
  if value == "" then return report(path, "is an empty string") end
  if value:find("\0", 1, true) then return report(path, "contains a NUL byte") end
  return value
end

---A duration longer than nothing.
M.span = M.by(function(value)
  local seconds, message = duration.parse(value)
  if seconds == 0 then return nil, "must be longer than 0" end
  return seconds, message
end)

---A whole number.
---@param min integer
---@param max? integer
---@return luapilot.Type
function M.integer(min, max)
  local what = max and ("a whole number from %d to %d"):format(min, max)
    or ("a whole number from %d"):format(min)
  return function(value, path, report)
    local whole = type(value) == "number" and value == math.floor(value) and math.abs(value) < 2 ^ 53
    if whole and value >= min and (not max or value <= max) then return value end
    return M.expected(path, report, what, value)
  end
end

---A finite number above zero.
function M.positive(value, path, report)
  if type(value) == "number" and value > 0 and value < math.huge then return value end
  return M.expected(path, report, "a number above 0", value)
end

-- `"a", "b" or "c"`.
local function alternatives(names)
  local first, last = table.concat(names, '", "', 1, #names - 1), names[#names]
  return ('%s"%s"'):format(#names > 1 and '"' .. first .. '" or ' or "", last)
end

---One of some strings.
---@param names string[]
---@return luapilot.Type
function M.one_of(names)
  return function(value, path, report)
    for _, name in ipairs(names) do
      if value == name then return value end
    end
    local what = alternatives(names)
    local near = suggest.near(value, names)
    return M.expected(path, report, what, value, near and ("did you mean %s?"):format(describe.quote(near)))
  end
end

-- --------------------------------------------------------------------------------------- composed types

local function field_hint(key, names, synonyms)
  synonyms = synonyms or {}
  local meant = synonyms[key] or suggest.near(key, names) or synonyms[suggest.near(key, M.keys(synonyms))]
  return meant and (" (did you mean %s?)"):format(describe.quote(meant)) or suggest.hint(key, names)
end

local function report_unknown(value, fields, names, synonyms, path, report)
  for _, key in ipairs(M.keys(value)) do
    if type(key) == "number" then
      report(M.join(path, key), "expected only named fields, got " .. describe.value(value[key]))
    elseif fields[key] == nil then
      report(M.join(path, key), "unknown field" .. field_hint(key, names, synonyms))
    end
  end
end

local function has_unknown(value, fields)
  for key in pairs(value) do
    if fields[key] == nil then return true end
  end
end

-- Which of the fields a plain table has, in order; and has it any other?
local function given_of(value, fields)
  local given, count, unknown = {}, 0, false
  for key in pairs(value) do
    if fields[key] == nil then
      unknown = true
    else
      local at = count
      while at > 0 and given[at] > key do
        given[at + 1], at = given[at], at - 1
      end
      given[at + 1], count = key, count + 1
    end
  end
  return given, unknown
end

local function read_field(fields, result, name, given, path, report)
  local read = fields[name][1](given, path == "" and name or path .. "." .. name, report)
  if read ~= nil then result[name] = read end
end

-- A job has five of forty fields: those are looked at that are there.
local function read_plain(fields, result, value, path, report)
  local given, unknown = given_of(value, fields)
  for i = 1, #given do read_field(fields, result, given[i], value[given[i]], path, report) end
  return unknown
end

-- Of an object that cannot be read one field tells it.
local function read_object(fields, result, value, path, report)
  for _, name in ipairs(M.keys(fields)) do
    local given, message = M.field(value, name)
    if message then return report(M.join(path, name), "cannot be read: " .. message) end
    if given ~= nil then read_field(fields, result, name, given, path, report) end
  end
  return has_unknown(value, fields)
end

-- A table with named fields; new(fields) gives what makes a table for their values. Many tables of fields are never
-- needed, so they are looked at when the first value comes.
local function fields_into(new, fields, what, synonyms)
  local make
  return function(value, path, report)
    if not M.is_table(value) then return M.expected(path, report, what, value) end
    if not make then
      if type(fields) == "function" then fields = fields() end
      make = new(fields)
    end
    local result = make()
    local unknown = (getmetatable(value) == nil and read_plain or read_object)(fields, result, value, path, report)
    if unknown then report_unknown(value, fields, M.keys(fields), synonyms, path, report) end
    return result
  end
end

local function defaults_of(fields)
  local defaults = {}
  for name, field in pairs(fields) do defaults[name] = field.default end
  return defaults
end

---A table with named fields. The result has every field, with defaults where there was nothing (or nothing
---right).
---@param fields table<string, luapilot.Field>|fun(): table<string, luapilot.Field>     a function: called when needed
---@param what string "a table of …", for messages
---@param synonyms? table<string, string> words of other tools, and the field that is meant
---@return luapilot.Type
function M.fields(fields, what, synonyms)
  return fields_into(function(known)
    local defaults = defaults_of(known)
    return function() return copy.shallow(defaults) end
  end, fields, what, synonyms)
end

---The same for what there is much of: the result inherits its defaults, so pairs() shows only what was given.
---@param fields table<string, luapilot.Field>|fun(): table<string, luapilot.Field>
---@param what string
---@param synonyms? table<string, string>
---@return luapilot.Type
function M.record(fields, what, synonyms)
  return fields_into(function(known)
    local meta = { __index = defaults_of(known) }
    return function() return setmetatable({}, meta) end
  end, fields, what, synonyms)
end

-- The largest key, the first hole and the first key behind it of a list that is not just 1, 2, 3 …
local function hole_of(list)
  local numbers = {}
  for key in pairs(list) do
    if type(key) == "number" then numbers[#numbers + 1] = key end
  end
  table.sort(numbers)
  for i, number in ipairs(numbers) do
    if number ~= i then return numbers[#numbers], i, number end
  end
end

---The length of a list that may have holes. `#` cannot be asked: it may see a hole or not.
---@param list table
---@return integer length the largest key
---@return integer|nil hole the first key without a value below it
---@return integer|nil following the first key with a value behind the hole
function M.length(list)
  local count = 0
  for key in pairs(list) do
    if type(key) == "number" then count = count + 1 end
  end
  for i = 1, count do
    if rawget(list, i) == nil then return hole_of(list) end
  end
  return count
end

local function has_named(list)
  for key in pairs(list) do
    if type(key) ~= "number" then return true end
  end
end

local function report_named(list, what, path, report)
  for _, key in ipairs(M.keys(list)) do
    if type(key) ~= "number" then
      report(M.join(path, key), ("expected %s, got a named field"):format(what))
    end
  end
end

---A list without holes and without named fields. Wrong items are left out of the result.
---@param item luapilot.Type
---@param what string "a list of …", for messages
---@return luapilot.Type
function M.list(item, what)
  return function(value, path, report)
    if not M.is_table(value) then return M.expected(path, report, what, value) end
    local result = {}
    local length, hole = M.length(value)
    if hole then
      report(M.join(path, hole), ("is nil, but there is an item %d"):format(length))
      return nil
    end
    for i = 1, length do result[#result + 1] = item(value[i], path .. "[" .. i .. "]", report) end
    if has_named(value) then report_named(value, what, path, report) end
    return result
  end
end

---A type, chosen by the Lua type of the value.
---@param what string           what is expected
---@param by_type table<string, luapilot.Type>
---@return luapilot.Type
function M.either(what, by_type)
  return function(value, path, report)
    local check = by_type[type(value)]
    if check then return check(value, path, report) end
    return M.expected(path, report, what, value)
  end
end

return M
