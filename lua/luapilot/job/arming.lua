-- arming: what makes triggers hear more than the start of the pilot, and what becomes of them.
--
-- Methods of the starter (job/starter.lua) that come with the first trigger which needs one, or with the first job
-- that has ended: most jobs start with the pilot. It owns what the starter owns.

local constant = require "luapilot.base.constant"
local lazy = require "luapilot.base.lazy"
local trigger = require "luapilot.job.trigger"

local awaited = lazy.require "luapilot.job.awaited"
local reminder = lazy.require "luapilot.job.reminder"
local ticker = lazy.require "luapilot.task.ticker"
local trigger_text = lazy.require "luapilot.job.trigger_text"

---@class luapilot.Starter
local arming = {}

-- Most jobs start with the pilot and never need a table of their own for any of these.
local function own(self, name)
  if self[name] == constant.NONE then self[name] = {} end
  return self[name]
end

local function add(self, name, entry)
  local list = own(self, name)
  list[#list + 1] = entry
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
    self:hear(leaf)
    app:doubt(self.runner)
  end
  state.latest = state.latest or loop:after(options.max_wait, over)
  state.quiet = loop:after(options.settle, over)
end

local function heard(self, leaf)
  if leaf.options and leaf.options.settle and not self.quiet then return settle(self, leaf) end
  self:hear(leaf)
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

function arm.every(self, leaf)
  if not trigger.satisfied(self.trigger, leaf) then self:hear(leaf) end -- the first run is at start-up
  add(self, "tickers", ticker.every(self.runner.app.loop, leaf.interval, leaf.interval,
    function() self:hear(leaf) end))
end

function arm.cron(self, leaf)
  add(self, "tickers", ticker.cron(self.runner.app.loop, leaf.schedule, leaf.jitter, self.runner.app.calendar,
    function() self:hear(leaf) end))
end

arm["function"] = function(self, leaf)
  if self.quiet then return self:hear(leaf) end
  if trigger.satisfied(self.trigger, leaf) or self.trigger.memory.gave_up then return end
  reminder.later(self.runner)
  self.task = self.runner.app.tasks:spawn(leaf.fn, {
    name = ("when of job %q"):format(self.runner.spec.name), detached = true,
    ended = function(t)
      self.task = nil
      if t.reason then return end
      if t:failed() then self.runner.app:complain(("job %q: when"):format(self.runner.spec.name), t.error) end
      if t.ok and t.results[1] then return self:hear(leaf) end
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

---Makes one part of the trigger hear the world.
---@param leaf table
---@param number integer    its place among the leaves
---@param due number?       of a former core: when it is given up
function arming:arm_leaf(leaf, number, due)
  arm_timeout(self, leaf, number, due)
  arm[leaf.kind](self, leaf)
end

---Goes on where a former core stopped, by its snapshot: what has fired does not fire again, what is due stays due. If
---the trigger was changed, what is so already starts a job that has run no second time.
---@param data table
function arming:resume(data)
  if data.text ~= text_of(self) then
    self.quiet = self.runner.memory.runs > 0
    self:arm_leaves()
    self.quiet = nil
    return
  end
  self.trigger = trigger.restore(self.trigger, data.trigger)
  self.resumed = true
  self:arm_leaves(data.timeouts)
  self.resumed = nil
  for i, each in ipairs(self.tickers) do each:restore(data.tickers[i]) end
  for number, leaf in ipairs(self.trigger.leaves) do
    if data.settling[number] then settle(self, leaf) end
  end
end

---Can the trigger still fire?
---@return boolean
function arming:can_fire()
  if self.stopped then return false end
  if next(self.settling) then return true end
  return trigger.can_fire(self.trigger, function(topic, event)
    return self.runner.app.quiescence:can_speak(topic, event, self.runner)
  end)
end

---Can the clock or a signal fire it, while no job and no handler is at work?
---@return boolean
function arming:wakes_by_itself()
  if self.stopped then return false end
  if next(self.settling) then return true end
  return trigger.can_fire(self.trigger, function(topic, event) return topic == "pilot" and event:find "^SIG" ~= nil end)
end

---Hears nothing any more.
function arming:stop()
  local app = self.runner.app
  local loop = app.loop
  self.stopped = true
  for _, listener in ipairs(self.listeners) do app.bus:forget(listener) end
  for _, each in ipairs(self.tickers) do each:cancel() end
  for _, timer in ipairs(self.timers) do loop:cancel(timer) end
  for _, state in pairs(self.settling) do
    loop:cancel(state.quiet)
    loop:cancel(state.latest)
  end
  if self.task then self.task:cancel("shutdown") end
  if app.look then loop:cancel(app.look.timer) end
  self.listeners, self.tickers, self.timers, self.settling = nil, nil, nil, nil
end

---@return table   plain data: what has fired, and what is due when
function arming:snapshot()
  local due = {}
  for i, each in ipairs(self.tickers) do due[i] = each:snapshot() end
  local timeouts, settling = {}, {}
  for number, leaf in ipairs(self.trigger.leaves) do
    timeouts[number], settling[number] = self.timeouts[number] or false, self.settling[leaf] ~= nil
  end
  return {
    text = text_of(self), trigger = trigger.snapshot(self.trigger), tickers = due, timeouts = timeouts,
    settling = settling,
  }
end

return arming
