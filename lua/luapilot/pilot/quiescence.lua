-- quiescence: can anything still happen? A pilot ends when nothing can, and a job at rest is complete when nothing can
-- start it any more.
--
-- It keeps books, so that a turn costs the same with one job and with a thousand: which jobs rest (they wait for their
-- triggers), which are held by hand, how many are at work, and whose trigger has become doubtful because a source of
-- its events is over. It tells a job that it is dead; it ends nothing itself, and no user sees it.

local constant = require "luapilot.base.constant"
local lazy = require "luapilot.base.lazy"

local dependencies = lazy.require "luapilot.job.dependencies"
local verdict = lazy.require "luapilot.pilot.verdict"

local quiescence = {}

local SPOKEN = { error = true, enter_maintenance = true, exit_maintenance = true } -- of the pilot, by what it runs
local IDLE = { waiting = true, blocked = true } -- … in which it waits for others: nothing of it is at work
local OVER = { complete = true, held = true } -- states in which a job waits for nothing

---@class luapilot.Quiescence
---@field app luapilot.App
---@field waiting table<luapilot.Runner, true>   they rest
---@field held table<luapilot.Runner, true>      by job:stop()
---@field active integer                         jobs in any other state but complete
---@field doubtful table<luapilot.Runner, true>  to be looked at when this turn comes to rest
---@field unsure table<luapilot.Runner, true>    … as soon as nothing is at work: until then they may be started
---@field returning table<luapilot.Runner, true>?  those of the held that their triggers may start, while that holds
---@field manual boolean                         is there a job that only job:start() starts?
local Quiescence = {}
Quiescence.__index = Quiescence

---@param app luapilot.App
---@return luapilot.Quiescence
function quiescence.new(app)
  return setmetatable({
    app = app, waiting = {}, held = {}, active = 0, doubtful = {}, unsure = {}, manual = false,
  }, Quiescence)
end

-- --- the books -------------------------------------------------------------------------------

-- Does a trigger wait for what may be said while anything at all is at work?
local function leans(leaves)
  for _, leaf in ipairs(leaves) do
    if leaf.topic == "pilot" and SPOKEN[leaf.event] then return true end
    if leaf.topic and leaf.topic:find "^template:" then return true end
  end
  return false
end

---A job was declared: it waits.
---@param runner luapilot.Runner
function Quiescence:add(runner)
  if leans(runner.starter.trigger.leaves) then runner.leans = true end
  self.waiting[runner], self.doubtful[runner] = true, true
  self.manual = self.manual or runner.starter:is_manual()
end

---All jobs are known: who waits for whom.
function Quiescence:connect()
  for _, runner in ipairs(self.app.order) do
    for _, source in ipairs(self.app:sources_of(runner)) do
      if source.dependents == constant.NONE then source.dependents = {} end
      source.dependents[#source.dependents + 1] = runner
    end
    if runner.spec.depends_on then dependencies.connect(runner) end
  end
end

-- Its source is over.
local function may_lose(runner, source)
  if runner.memory.state == "blocked" then return dependencies.loses(runner, source) end
  return runner.starter:loses(source.topic)
end

-- Is a job in this state at work?
local function is_active(state) return not (IDLE[state] or OVER[state]) end

---A job has another state.
---@param runner luapilot.Runner
---@param before string
---@param after string
function Quiescence:moved(runner, before, after)
  self.waiting[runner] = IDLE[after]
  self.held[runner] = after == "held" or nil
  self.active = self.active + (is_active(after) and 1 or 0) - (is_active(before) and 1 or 0)
  if IDLE[after] then self.doubtful[runner] = true end
  if before == "held" or after == "held" then self.returning = nil end
  if not OVER[after] then return end
  for _, dependent in ipairs(runner.dependents) do
    if self.held[dependent] then self.returning = nil end
    if may_lose(dependent, runner) then self.doubtful[dependent] = true end
  end
end

---The trigger of a job may be unable to fire from now on.
---@param runner luapilot.Runner
function Quiescence:doubt(runner)
  self.doubtful[runner] = true
end

-- --- questions -------------------------------------------------------------------------------

---Is there a job at work, a task or a timer: something of the user's that may still act?
---@return boolean
function Quiescence:is_busy()
  return self.active > 0 or self.app.tasks.count > 0 or next(self.app.holders) ~= nil
end

local function in_order(set)
  local list = {}
  for runner in pairs(set) do list[#list + 1] = runner end
  table.sort(list, function(a, b) return a.number < b.number end)
  return list
end

-- Which of the jobs that are held by hand their triggers may start again: first those that need none of the others,
-- then those that wait for these, and so on. What is left waits for each other.
local function find_returning(self)
  local may, next_ones = {}, self.held
  self.returning = may -- what the triggers are told meanwhile
  while next(next_ones) do
    local list = in_order(next_ones)
    next_ones = {}
    for _, runner in ipairs(list) do
      if not may[runner] and runner.starter:can_fire() then
        may[runner] = true
        for _, dependent in ipairs(runner.dependents) do
          if self.held[dependent] then next_ones[dependent] = true end
        end
      end
    end
  end
end

local function may_return(self, runner)
  if not self.returning then find_returning(self) end
  return self.returning[runner] == true
end

---Can this event still come? For jobs whose trigger waits for it.
---@param topic string
---@param event string
---@param asker luapilot.Runner
---@return boolean
function Quiescence:can_speak(topic, event, asker)
  if topic == "pilot" then return event:find("^SIG") ~= nil or (SPOKEN[event] and self:is_busy()) == true end
  if topic:find "^watch:" then return self.app.phase == "running" end
  if topic:find "^template:" then return self:is_busy() end -- it is tried again, or somebody may render it
  local source = self.app.jobs[topic:match "^job:(.*)$"]
  if source == asker then return false end
  local state = source.memory.state
  if state == "held" then return self:is_busy() or may_return(self, source) end
  return state ~= "complete"
end

-- --- the dead --------------------------------------------------------------------------------

local function declare_dead(runner)
  local m = runner.memory
  local never_ran = m.state == "blocked" or m.runs == 0 and not m.exit
  runner:input("dead", { unmet = never_ran and verdict.unmet(runner) or nil })
end

-- Does what it waits for depend on what is under way elsewhere, and not on its sources alone?
local function stays_doubtful(self, runner)
  if runner.leans then return true end
  if not next(self.held) then return false end
  for _, source in ipairs(self.app:sources_of(runner)) do
    if self.held[source] then return true end
  end
  return false
end

-- Can what it waits for still come?
local function may_start(runner)
  if runner.memory.state == "blocked" then return dependencies.can_come(runner) end
  return runner.starter:is_manual() or runner.starter:can_fire()
end

-- Looks at the doubtful jobs; those whose trigger cannot fire any more, and starts that wait in vain.
local function look(self)
  local list, lost = in_order(self.doubtful), {}
  self.doubtful = {}
  for _, runner in ipairs(list) do
    self.unsure[runner] = nil
    if self.waiting[runner] then
      if not may_start(runner) then
        lost[#lost + 1] = runner
      elseif stays_doubtful(self, runner) then
        self.unsure[runner] = true
      end
    end
  end
  return lost
end

---Jobs at rest whose trigger can never fire again become complete; that makes those doubtful that wait for them. These
---are looked at when they have heard what is published by then: "stopped" may be just what starts them.
function Quiescence:bury()
  self.returning = nil -- what they have heard since may be all
  if next(self.unsure) and not self:is_busy() then
    for runner in pairs(self.unsure) do self.doubtful[runner] = true end
  end
  while next(self.doubtful) and self.app.bus:queued() == 0 do
    for _, runner in ipairs(look(self)) do declare_dead(runner) end
  end
end

local function hears_signals(bus)
  return bus:count(function(entry) return entry.topic == "pilot" and entry.name:find "^SIG" ~= nil end) > 0
end

-- Is nothing under way, and nobody there who could be called?
local function is_quiet(self)
  local bus = self.app.bus
  if self:is_busy() or bus:pending() or self.manual then return false end
  return not hears_signals(bus)
end

local function wakes_by_itself(set)
  for runner in pairs(set) do
    if runner.starter:wakes_by_itself() then return true end
  end
  return false
end

-- Jobs that wait for each other: those that ran say that they are stopped, and are heard before the others are lost.
local function bury_ring(self)
  local list = in_order(self.waiting)
  for _, state in ipairs { "blocked", "waiting" } do -- a start that fails may be just what others wait for
    for _, runner in ipairs(list) do
      local m = runner.memory
      if m.state == state and (m.exit or state == "blocked") then declare_dead(runner) end
    end
    if self.app.bus:queued() > 0 then return false end
  end
  for _, runner in ipairs(list) do declare_dead(runner) end
  return true
end

---Can nothing happen any more? Then the jobs that are left wait for each other, and are dead.
---@return boolean
function Quiescence:is_over()
  if not is_quiet(self) or wakes_by_itself(self.waiting) or wakes_by_itself(self.held) then return false end
  return bury_ring(self)
end

return quiescence
