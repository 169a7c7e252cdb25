-- subscription: a handler of the user on the bus, and what happens to the events that it gets.
--
-- Each event is a task of its own, under the rules that `when_busy`, `settle`, `max_wait` and `timeout` set. It owns
-- the runs, and what waits or settles for them. It never drops an event in silence, and an error in a handler never
-- reaches whoever published. Loaded with the first handler of a file.

local duration = require "luapilot.base.duration"
local lazy = require "luapilot.base.lazy"
local queue = require "luapilot.base.queue"

local dropped = lazy.require "luapilot.task.dropped"

local TOLD_AGAIN = 10 -- times as many dropped events

local subscription = {}

local BOUND = 1000

---So much waits for a handler at most: events, each by its weight (1, but for long lines).
subscription.BOUND = BOUND

---@class luapilot.Subscription
---@field topic string
---@field name string            of the event
---@field options table          { when_busy, settle, max_wait, timeout }: seconds
---@field fn fun(event: table)
---@field label string           for log lines: "app:on("changed") at pilot.lua:12"
---@field where string?           "pilot.lua:12"
---@field receive fun(self: luapilot.Subscription, event: table)   an event for it
---@field view (fun(event: table): table)?   what the handler is given in its place
---@field waiting luapilot.Queue  events that wait for the run to end
---@field load number             what they weigh
---@field running table<luapilot.Task, true>
---@field behind boolean?          it does not keep up: see job/output.lua
---@field lost integer?            events that were dropped since its queue was full, where that is told
---@field telling integer?         at how many of them that is told again
---@field unheard integer?         what it did not hear to the end, because the bus was closed
---@field runs integer             how many of it are at work
local Subscription = {}
Subscription.__index = Subscription

local function keep(self, event)
  self.waiting:push(event)
  self.load = self.load + (self.bus.weights[event] or 1)
end

-- Because the bus was closed: told at the very end.
local function miss(self, count)
  self.unheard, self.bus.owes_words = (self.unheard or 0) + count, true
end

local function take(self)
  local event = self.waiting:pop()
  self.load = event and self.load - (self.bus.weights[event] or 1) or 0
  if self.lost and self.load <= BOUND / 2 then dropped.lost(self) end -- the queue is short again
  return event
end

---Ends the subscription: no further event starts the handler; one that runs goes on.
function Subscription:cancel()
  if self.gone then return end
  self.bus:forget(self)
  self:forget_events()
end

---@private
-- What has not begun never will.
function Subscription:forget_events()
  local count = self.waiting.count + (self.settling and 1 or 0)
  if self.bus.closed and count > 0 then miss(self, count) end
  self:unsettle()
  for _ = 1, self.waiting.count do self.bus:let_go(take(self)) end
end

---@private
function Subscription:cancel_running()
  local list = {}
  for t in pairs(self.running) do list[#list + 1] = t end
  table.sort(list, function(a, b) return a.number < b.number end)
  for _, t in ipairs(list) do t:cancel("cancel") end
end

-- --- when_busy -------------------------------------------------------------------------------

local start -- forward: a run ends, and the next begins

local function complaint(self, t)
  if t:failed() then return t.error end
  if t.reason == "timeout" then return "timed out after " .. duration.format(self.options.timeout) end
end

local function run_ended(self, event, t)
  self.running[t] = nil
  self.runs = self.runs - 1
  if self.timer_of and self.timer_of[t] then
    self.bus.loop:cancel(self.timer_of[t])
    self.timer_of[t] = nil
  end
  local err = complaint(self, t)
  if err then
    self.errors = self.errors + 1
    self.bus.on_error(self, event, err)
  end
  if self.bus.closed and t.reason then miss(self, 1) end -- before that it waited for what cannot come: no word
  self.bus:let_go(event)
  local next_event = take(self)
  if next_event then start(self, next_event) end
end

local function limit_run(self, t)
  local seconds = self.options.timeout
  if not seconds then return end
  self.timer_of = self.timer_of or {}
  self.timer_of[t] = self.bus.loop:allow(seconds, function()
    self.timer_of[t] = nil
    t:cancel("timeout")
  end)
end

function start(self, event)
  self.runs = self.runs + 1
  local t = self.bus.tasks:spawn(self.fn, {
    name = self.label, detached = true,
    ended = function(t) run_ended(self, event, t) end,
  }, self.view and self.view(event) or event)
  self.running[t] = true
  limit_run(self, t)
end

local function drop(self, event, why)
  self.dropped = self.dropped + 1
  if why then
    self.lost, self.bus.owes_words = (self.lost or 0) + 1, true
    if self.lost == 1 then self.telling = 1 end
    if self.lost == self.telling then -- not a line for each hundred of a flood
      self.telling = TOLD_AGAIN * self.telling
      self.bus.log("warn", self.label .. ": " .. why, { dropped = self.dropped }, "events_dropped", nil,
        { handler = self.label })
    end
  end
  self.bus:let_go(event)
end

local busy = {} -- what happens to an event that comes while the handler works

function busy.queue(self, event)
  keep(self, event)
  while self.load > BOUND do drop(self, take(self), "its queue of 1000 is full: the oldest was dropped") end
end

function busy.latest(self, event)
  local older = take(self)
  keep(self, event)
  if older then drop(self, older) end
end

function busy.drop(self, event)
  drop(self, event)
end

function busy.restart(self, event)
  busy.latest(self, event)
  self:cancel_running()
end

function busy.parallel(self, event)
  start(self, event)
end

local function deliver(self, event)
  if self.bus.closed then
    miss(self, 1)
    return self.bus:let_go(event)
  end
  if self.runs == 0 then return start(self, event) end
  busy[self.options.when_busy or "queue"](self, event)
end

-- --- settle ----------------------------------------------------------------------------------

local function unsettle(self, settling)
  self.settling = nil
  self.bus.settling = self.bus.settling - 1
  self.bus.loop:cancel(settling.quiet)
  self.bus.loop:cancel(settling.latest)
end

function Subscription:unsettle()
  local settling = self.settling
  if not settling then return end
  unsettle(self, settling)
  self.bus:let_go(settling.event)
end

local function settled(self)
  local settling = self.settling
  unsettle(self, settling)
  deliver(self, settling.event)
end

local function settle(self, event)
  local loop, options = self.bus.loop, self.options
  local settling = self.settling
  if settling then
    self.bus:let_go(settling.event)
    loop:cancel(settling.quiet)
    settling.event = event
  else
    settling = { event = event }
    self.settling = settling
    self.bus.settling = self.bus.settling + 1
    settling.latest = loop:after(options.max_wait or 4 * options.settle, function() settled(self) end)
  end
  settling.quiet = loop:after(options.settle, function() settled(self) end)
end

---@param bus luapilot.Bus
---@return luapilot.Subscription
function subscription.new(bus, topic, name, options, fn, label)
  return setmetatable({
    bus = bus, topic = topic, name = name, options = options, fn = fn, label = label,
    receive = options.settle and settle or deliver,
    waiting = queue.new(), load = 0, running = {}, runs = 0, dropped = 0, errors = 0,
  }, Subscription)
end

return subscription
