-- starter: makes the triggers of one job hear the world, and starts the job when they fire.
--
-- It owns the subscriptions, timers and the task of a job's `when`. What the leaves add up to is job/trigger.lua's;
-- what a start does to a running job is said here (`when_busy`) and done by job/machine.lua.

local constant = require "luapilot.base.constant"
local lazy = require "luapilot.base.lazy"
local trigger = require "luapilot.job.trigger"

local awaited = lazy.require "luapilot.job.awaited"
local reminder = lazy.require "luapilot.job.reminder"
local ticker = lazy.require "luapilot.task.ticker"
local trigger_text = lazy.require "luapilot.job.trigger_text"

local starter = {}

---@class luapilot.Starter
---@field runner luapilot.Runner
---@field trigger table    of job/trigger.lua
---@field topics string[]  that it listens to
---@field quiet boolean?   what is heard counts, but starts nothing
---@field resumed boolean?  it goes on where a former core stopped: what is so was heard by that one, or never said
local Starter = {
  listeners = constant.NONE, schedules = constant.NONE, timers = constant.NONE, timeouts = constant.NONE,
  settling = constant.NONE, topics = constant.NONE, stopped = false,
}
Starter.__index = Starter

-- Most jobs start with the pilot and never need a table of their own for any of these.
local function own(self, name)
  if self[name] == constant.NONE then self[name] = {} end
  return self[name]
end

local function add(self, name, entry)
  local list = own(self, name)
  list[#list + 1] = entry
end

-- What a firing trigger does to a job that is not at rest.
local busy = {
  latest = function(runner) runner:post("start", { again = "trigger" }) end,
  drop = function() end,
  restart = function(runner) runner:post("stop", { again = "trigger" }) end,
}
busy.queue = busy.latest

local CLOCK = { every = true, cron = true }

local function start(runner, leaf)
  if not runner:is_active() then return runner:input("start", { again = "trigger" }) end
  if CLOCK[leaf.kind] then return runner:skip() end
  busy[leaf.options and leaf.options.when_busy or "latest"](runner)
end

-- The command of one whose trigger is a single leaf: at the start of the pilot there is one for each job.
Starter.__call = function(self) start(self.runner, self.trigger.node) end

-- Decided when what was fired before has been done: of two intervals that are due together one starts the job, and the
-- other finds it running.
local function fire(self, leaf)
  local runner = self.runner
  if runner.memory.state == "blocked" and not CLOCK[leaf.kind] then return end -- the start that waits serves it
  runner.app:command(leaf == self.trigger.node and self or function() start(runner, leaf) end)
end

local function hear(self, leaf)
  if self.stopped then return end
  local fires, after = trigger.hear(self.trigger, leaf)
  if after then self.trigger = after end
  if fires and not self.quiet then fire(self, leaf) end
end

-- settle: the leaf counts when its events were quiet for a while, at the latest after max_wait.
local function settle(self, leaf)
  local app, options = self.runner.app, leaf.options
  local loop = app.loop
  local state = self.settling[leaf]
  if state then
    loop:cancel(state.quiet)
  else
    state = {}
    own(self, "settling")[leaf] = state
  end
  local function over()
    own(self, "settling")[leaf] = nil
    loop:cancel(state.quiet)
    loop:cancel(state.latest)
    hear(self, leaf)
    app:doubt(self.runner)
  end
  state.latest = state.latest or loop:after(options.max_wait, over)
  state.quiet = loop:after(options.settle, over)
end

local function heard(self, leaf)
  if leaf.options and leaf.options.settle and not self.quiet then return settle(self, leaf) end
  hear(self, leaf)
end

local function give_up(self, leaf, why)
  if not trigger.expire(self.trigger, leaf) then return end
  self.runner:post("give_up", { message = type(why) == "string" and why or why() })
end

local arm = {} -- by kind of leaf

local function arm_event(self, leaf)
  local app = self.runner.app
  if leaf.topic ~= "pilot" then reminder.later(self.runner) end
  add(self, "listeners", app.bus:listen(leaf.topic, leaf.event, function() heard(self, leaf) end))
  if leaf.kind == "once" and not self.resumed and app:is_now(leaf.topic, leaf.event) then heard(self, leaf) end
end
arm.once, arm.each = arm_event, arm_event

function arm.startup(self, leaf) hear(self, leaf) end

function arm.manual() end

function arm.every(self, leaf)
  if not trigger.satisfied(self.trigger, leaf) then hear(self, leaf) end -- the first run is at start-up
  add(self, "schedules", ticker.every(self.runner.app.loop, leaf.interval, leaf.interval,
    function() hear(self, leaf) end))
end

function arm.cron(self, leaf)
  add(self, "schedules", ticker.cron(self.runner.app.loop, leaf.schedule, leaf.jitter, self.runner.app.calendar,
    function() hear(self, leaf) end))
end

arm["function"] = function(self, leaf)
  if self.quiet then return hear(self, leaf) end
  if trigger.satisfied(self.trigger, leaf) or self.trigger.memory.gave_up then return end
  reminder.later(self.runner)
  self.task = self.runner.app.tasks:spawn(leaf.fn, {
    name = ("when of job %q"):format(self.runner.spec.name), detached = true,
    ended = function(t)
      self.task = nil
      if t.reason then return end
      if t:failed() then self.runner.app:complain(("job %q: when"):format(self.runner.spec.name), t.error) end
      if t.ok and t.results[1] then return hear(self, leaf) end
      give_up(self, leaf, t.ok and "its `when` function returned nothing true: it will not be started"
        or "its `when` function failed: it will not be started")
    end,
  }, self.runner.object)
end

local function arm_timeout(self, leaf, number, due)
  local seconds = leaf.options and leaf.options.timeout
  if not seconds or trigger.satisfied(self.trigger, leaf) then return end
  local now = self.runner.app.loop.port.now()
  due = due or now + seconds
  own(self, "timeouts")[number] = due
  add(self, "timers", self.runner.app.loop:allow(math.max(0, due - now), function()
    give_up(self, leaf, function() return awaited.in_vain(self.runner.app, leaf, seconds) end)
  end))
end

-- With another text it is another trigger.
local function text_of(self) return trigger_text.identity(self.trigger.node) end

local function arm_leaves(self, timeouts)
  for number, leaf in ipairs(self.trigger.leaves) do
    arm_timeout(self, leaf, number, timeouts and timeouts[number] or nil)
    arm[leaf.kind](self, leaf)
  end
end

---Starts to listen. With the snapshot of a former core it goes on where that one stopped: what has fired does not
---fire again, what is due stays due. If the trigger was changed, what is so already starts a job that has run no
---second time.
---@param data table?
function Starter:arm(data)
  if not data then return arm_leaves(self) end
  if data.text ~= text_of(self) then
    self.quiet = self.runner.memory.runs > 0
    arm_leaves(self)
    self.quiet = nil
    return
  end
  self.trigger = trigger.restore(self.trigger, data.trigger)
  self.resumed = true
  arm_leaves(self, data.timeouts)
  self.resumed = nil
  for i, each in ipairs(self.schedules) do each:restore(data.schedules[i]) end
  for number, leaf in ipairs(self.trigger.leaves) do
    if data.settling[number] then settle(self, leaf) end
  end
end

---Can the trigger still fire?
---@return boolean
function Starter:can_fire()
  if self.stopped then return false end
  if next(self.settling) then return true end
  return trigger.can_fire(self.trigger, function(topic, event)
    return self.runner.app.quiescence:can_speak(topic, event, self.runner)
  end)
end

---Can the clock or a signal fire it, while no job and no handler is at work?
---@return boolean
function Starter:wakes_by_itself()
  if self.stopped then return false end
  if next(self.settling) then return true end
  return trigger.can_fire(self.trigger, function(topic, event) return topic == "pilot" and event:find "^SIG" ~= nil end)
end

---Is it a job that only job:start() starts? (`manual` is no part of anything.)
---@return boolean
function Starter:is_manual() return self.trigger.node.kind == "manual" end

---May it be unable to fire because a source will not speak any more?
---@param topic string
---@return boolean
function Starter:loses(topic) return trigger.loses(self.trigger, topic) end

---Hears nothing any more.
function Starter:stop()
  local app = self.runner.app
  local loop = app.loop
  self.stopped = true
  for _, listener in ipairs(self.listeners) do app.bus:forget(listener) end
  for _, each in ipairs(self.schedules) do each:cancel() end
  for _, timer in ipairs(self.timers) do loop:cancel(timer) end
  for _, state in pairs(self.settling) do
    loop:cancel(state.quiet)
    loop:cancel(state.latest)
  end
  if self.task then self.task:cancel("shutdown") end
  if app.look then loop:cancel(app.look.timer) end
  self.listeners, self.schedules, self.timers, self.settling = nil, nil, nil, nil
end

---@return table   plain data: what has fired, and what is due when
function Starter:snapshot()
  local due = {}
  for i, each in ipairs(self.schedules) do due[i] = each:snapshot() end
  local timeouts, settling = {}, {}
  for number, leaf in ipairs(self.trigger.leaves) do
    timeouts[number], settling[number] = self.timeouts[number] or false, self.settling[leaf] ~= nil
  end
  return {
    text = text_of(self), trigger = trigger.snapshot(self.trigger), schedules = due, timeouts = timeouts,
    settling = settling,
  }
end

---@param runner table
---@param node luapilot.TriggerNode?    nil: at start-up
---@return luapilot.Starter
function starter.new(runner, node)
  node = node or trigger.STARTUP
  local self = setmetatable({ runner = runner, trigger = trigger.new(node) }, Starter)
  if node ~= trigger.STARTUP then self.topics = trigger.topics(node) end
  return self
end

return starter
