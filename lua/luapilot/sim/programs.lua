-- programs: which simulated program is meant by an argv.
--
-- A program is described by the beginning of its argv: "nginx -g", { "sh", "-c", "a | b" }, or a
-- function(argv). The longest description that fits counts, of equal ones the last. The first word fits
-- with or without its directory; a relative path is one below the directory of the pilot.lua. It owns the
-- descriptions, which behaviour of a list is next, and what disturbs them: while a fault lasts (faults.lua), programs
-- that start behave otherwise than described.

local behaviour = require "luapilot.sim.behaviour"
local blame = require "luapilot.sim.blame"
local files = require "luapilot.sim.files"
local shellwords = require "luapilot.base.shellwords"

local programs = {}

---@class luapilot.sim.Programs
local Programs = {}
Programs.__index = Programs

---@param directory string     of the pilot.lua
---@return luapilot.sim.Programs
function programs.new(directory) return setmetatable({ list = {}, directory = directory }, Programs) end

local function prefix_of(pattern)
  if type(pattern) == "table" then return pattern end
  if type(pattern) ~= "string" then
    blame.raise("box:program: expected the beginning of an argv or a function, got a %s", type(pattern))
  end
  local prefix, message = shellwords.split(pattern)
  if not prefix then blame.raise("box:program: %s; or give a list of words", message) end
  return prefix
end

---@param pattern string|string[]|fun(argv: string[]): boolean
---@param value any       a behaviour
function Programs:describe(pattern, value)
  local entry = { behaviours = behaviour.list(value), next = 1, disturbances = {} }
  if type(pattern) == "function" then
    entry.fits, entry.length, entry.name = pattern, math.huge, ("function %d"):format(#self.list + 1)
  else
    entry.prefix = prefix_of(pattern)
    entry.length, entry.name = #entry.prefix, table.concat(entry.prefix, " ")
  end
  self.list[#self.list + 1] = entry
  local addresses = {}
  for _, each in ipairs(entry.behaviours) do
    for _, address in ipairs(behaviour.listens(each)) do addresses[#addresses + 1] = address end
  end
  return addresses
end

local function same_program(self, word, argv0)
  if word:find "^[^/].*/" and files.normalize(word, self.directory) == argv0 then return true end
  return word == argv0 or (not word:find "/" and word == argv0:match "[^/]*$")
end

local function fits(self, entry, argv)
  if entry.fits then return entry.fits(argv) end
  for i, word in ipairs(entry.prefix) do
    if not argv[i] then return false end
    if i == 1 and not same_program(self, word, argv[1]) then return false end
    if i > 1 and word ~= argv[i] then return false end
  end
  return true
end

---The description that counts for an argv.
---@param argv string[]
---@return { name: string }?
function Programs:entry(argv)
  local found
  for _, entry in ipairs(self.list) do
    if (not found or entry.length >= found.length) and fits(self, entry, argv) then found = entry end
  end
  return found
end

---The behaviour of the program that is started now, or nil when nobody described it.
---@param argv string[]
---@return table|function|nil
function Programs:find(argv)
  local found = self:entry(argv)
  if not found then return nil end
  local one = found.behaviours[found.next]
  found.next = math.min(found.next + 1, #found.behaviours)
  local disturb = found.disturbances[#found.disturbances]
  return disturb and disturb(one) or one
end

return programs
