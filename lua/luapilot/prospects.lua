-- prospects: can anything still happen? A pilot ends when nothing can, and a job at rest is complete when nothing can
-- start it any more.
--
-- It keeps books, so that a turn costs the same with one job and with a thousand: which jobs rest (they wait for their
-- triggers), which are held by hand, how many are at work, and whose trigger has become doubtful because a source of
-- its events is over. It tells a job that it is dead; it ends nothing itself, and no user sees it.

local prospects = {}

local SPOKEN = { error = true, enter_maintenance = true, exit_maintenance = true } -- of the pilot, by what it runs
local OVER = { complete = true, held = true } -- states in which a job waits for nothing

---@class luapilot.Prospects
---@field app luapilot.App
---@field waiting table<luapilot.Runner, true>   they rest
---@field held table<luapilot.Runner, true>      by job:stop()
---@field active integer                         jobs in any other state but complete
---@field doubtful table<luapilot.Runner, true>  to be looked at when this turn comes to rest
---@field manual boolean                         is there a job that only job:start() starts?
local Prospects = {}
Prospects.__index = Prospects

---@param app luapilot.App
---@return luapilot.Prospects
function prospects.new(app)
  return setmetatable({ app = app, waiting = {}, held = {}, active = 0, doubtful = {}, manual = false }, Prospects)
end

-- --- the books -------------------------------------------------------------------------------

---A job was declared: it waits.
---@param runner luapilot.Runner
function Prospects:add(runner)
  runner.dependents = {}
  self.waiting[runner], self.doubtful[runner] = true, true
  self.manual = self.manual or runner.starter:has "manual"
end

---All jobs are known: who waits for whom.
function Prospects:connect()
  for _, runner in ipairs(self.app.order) do
    for _, source in ipairs(self.app:sources_of(runner)) do source.dependents[#source.dependents + 1] = runner end
  end
end

-- Is a job in this state at work?
local function is_active(state) return state ~= "waiting" and not OVER[state] end

---A job has another state.
---@param runner luapilot.Runner
---@param before string
---@param after string
function Prospects:moved(runner, before, after)
  self.waiting[runner] = after == "waiting" or nil
  self.held[runner] = after == "held" or nil
  self.active = self.active + (is_active(after) and 1 or 0) - (is_active(before) and 1 or 0)
  if after == "waiting" then self.doubtful[runner] = true end
  if not OVER[after] then return end
  for _, dependent in ipairs(runner.dependents) do self.doubtful[dependent] = true end
end

---The trigger of a job may be unable to fire from now on.
---@param runner luapilot.Runner
function Prospects:doubt(runner)
  self.doubtful[runner] = true
end

-- --- questions -------------------------------------------------------------------------------

---Is there a job at work, a task or a timer: something of the user's that may still act?
---@return boolean
function Prospects:is_busy()
  return self.active > 0 or self.app.tasks.count > 0 or next(self.app.holders) ~= nil
end

-- Can the trigger of a job that is held by hand start it again?
local function may_return(runner)
  if runner.asking then return false end -- two held jobs that wait for each other
  runner.asking = true
  local can = runner.starter:can_fire()
  runner.asking = false
  return can
end

---Can this event still come? For jobs whose trigger waits for it.
---@param topic string
---@param event string
---@param asker luapilot.Runner
---@return boolean
function Prospects:can_speak(topic, event, asker)
  if topic == "pilot" then return event:find("^SIG") ~= nil or (SPOKEN[event] and self:is_busy()) == true end
  if topic:find "^watch:" then return self.app.phase == "running" end
  if topic:find "^template:" then return self:is_busy() end -- it is tried again, or somebody may render it
  local source = self.app.jobs[topic:match "^job:(.*)$"]
  if source == asker then return false end
  local state = source.memory.state
  if state == "held" then return self:is_busy() or may_return(source) end
  return state ~= "complete"
end

-- --- the dead --------------------------------------------------------------------------------

local function in_order(set)
  local list = {}
  for runner in pairs(set) do list[#list + 1] = runner end
  table.sort(list, function(a, b) return a.number < b.number end)
  return list
end

local function declare_dead(runner)
  if runner.memory.runs == 0 and not runner.memory.exit then
    runner:log("warn", "will not be started: what it waits for cannot come any more")
  end
  runner:input("dead", {})
end

-- Does what it waits for depend on what is under way elsewhere, and not on its sources alone?
local function stays_doubtful(self, runner)
  for _, leaf in ipairs(runner.starter.trigger.leaves) do
    if leaf.topic == "pilot" and SPOKEN[leaf.event] then return true end
    if leaf.topic and leaf.topic:find "^template:" then return true end
  end
  for _, source in ipairs(self.app:sources_of(runner)) do
    if source.memory.state == "held" then return true end
  end
  return false
end

---Jobs at rest whose trigger can never fire again become complete; that makes those doubtful that wait for them.
function Prospects:bury()
  if not next(self.doubtful) then return end
  local unsure = {}
  while next(self.doubtful) do
    local list = in_order(self.doubtful)
    self.doubtful = {}
    for _, runner in ipairs(list) do
      if self.waiting[runner] and not runner.starter:has "manual" then
        if not runner.starter:can_fire() then
          declare_dead(runner)
        elseif stays_doubtful(self, runner) then
          unsure[runner] = true
        end
      end
    end
  end
  self.doubtful = unsure
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

---Can nothing happen any more? Then the jobs that are left wait for each other, and are dead.
---@return boolean
function Prospects:is_over()
  if not is_quiet(self) or wakes_by_itself(self.waiting) or wakes_by_itself(self.held) then return false end
  for _, runner in ipairs(in_order(self.waiting)) do declare_dead(runner) end
  return true
end

return prospects
