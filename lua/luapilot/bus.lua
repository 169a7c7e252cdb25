-- bus: events, and who hears of them.
--
-- Publishing enqueues; nobody is called from inside `publish`. A drain takes the events in order and gives
-- each to its subscribers in the order in which they subscribed. Two kinds subscribe: listeners of the core
-- (called at once, must not wait) and handlers of the user (each event a task of its own, under the rules
-- that `when_busy`, `settle`, `max_wait` and `timeout` set).
--
-- It owns the queue, the subscriptions and what waits in them. It never drops an event in silence, and an
-- error in a handler never reaches whoever published.

local duration = require "luapilot.duration"
local lazy = require "luapilot.lazy"
local queue = require "luapilot.queue"

local unheard = lazy.require "luapilot.unheard"

local TOLD_EVERY = 100 -- of the dropped events
local WEAK = { __mode = "k" }

local bus = {}

---So much waits for a handler at most: events, each by its weight (1, but for long lines).
bus.BOUND = 1000

---@class luapilot.BusEvent
---@field name string
---@field source any       the object that the user knows: a job, the pilot

---@class luapilot.Subscription
---@field topic string
---@field name string            of the event
---@field options table          { when_busy, settle, max_wait, timeout }: seconds
---@field fn fun(event: table)
---@field label string           for log lines: "app:on("changed") at pilot.lua:12"
---@field where string?           "pilot.lua:12"
---@field view (fun(event: table): table)?   what the handler is given in its place
---@field waiting luapilot.Queue  events that wait for the run to end
---@field load number             what they weigh
---@field running table<luapilot.Task, true>
---@field behind boolean?          it does not keep up: see lines.lua
---@field lost integer?            events that were dropped since its queue was full, where that is told
---@field unheard integer?         what it did not hear to the end, because the bus was closed
---@field runs integer             how many of it are at work
local Subscription = {}
Subscription.__index = Subscription

---@class luapilot.Bus
---@field load number                    what is queued weighs
---@field weights table<table, number>   of events that weigh more than 1: set before they are published
local Bus = {}
Bus.__index = Bus

---@param env table      { loop, tasks, on_error = fun(subscription, event, err), log = fun(level, message, fields) }
---@return luapilot.Bus
function bus.new(env)
  local self = setmetatable({
    loop = env.loop, tasks = env.tasks, on_error = env.on_error, log = env.log,
    topics = {}, queue = queue.new(), load = 0, settling = 0, -- in the queue a topic, its event, a topic …
    open = 0, -- events that handlers have: at work, queued, settling
    tickets = setmetatable({}, WEAK), weights = setmetatable({}, WEAK),
  }, Bus)
  env.loop:phase(function() return self:drain() end)
  return self
end

---The last handler has ended, and nothing waits for one: set by the app.
function Bus:on_quiet() end -- luacheck: ignore

local function peek(self, topic, name)
  local names = self.topics[topic]
  return names and names[name]
end

-- A list of subscribers: who has gone keeps the place until the list is not being walked and many have gone.
local function subscribers(self, topic, name)
  local names = self.topics[topic]
  if not names then
    names = {}
    self.topics[topic] = names
  end
  local list = names[name]
  if not list then
    list = { gone = 0, walked = false }
    names[name] = list
  end
  return list
end

local function sweep(list)
  if list.walked or 2 * list.gone < #list then return end
  local kept = 0
  for i = 1, #list do
    local entry = list[i]
    list[i] = nil
    if not entry.gone then
      kept = kept + 1
      list[kept] = entry
    end
  end
  list.gone = 0
end

-- A ticket counts what an event still has under way, for whoever waits until all its handlers are done.
local function ticket_add(self, event)
  self.open = self.open + 1
  local ticket = self.tickets[event]
  if ticket then ticket.open = ticket.open + 1 end
end

local function ticket_done(self, event)
  local ticket = self.tickets[event]
  if not ticket then return end
  ticket.open = ticket.open - 1
  if ticket.open > 0 then return end
  self.tickets[event] = nil
  ticket.done()
end

-- A handler is done with an event, or will never have it.
local function let_go(self, event)
  self.open = self.open - 1
  ticket_done(self, event)
  if self.open == 0 then self:on_quiet() end
end

---Enqueues an event. `done` is called when every handler that it started has ended.
---@param topic string      "job:app", "pilot"
---@param event table       needs `name`; a table of its own for each call
---@param done fun()?
function Bus:publish(topic, event, done)
  if done then self.tickets[event] = { open = 1, done = done } end -- 1: the publisher's own share
  self.load = self.load + (self.weights[event] or 1)
  self.queue:push(topic)
  self.queue:push(event)
end

---Is anybody subscribed?
---@param topic string
---@param name string
---@return boolean
function Bus:has(topic, name)
  local list = peek(self, topic, name)
  return list ~= nil and #list > list.gone
end

---Listeners and subscriptions, in order; not those that are `gone`.
---@param topic string
---@param name string
---@return table[]
function Bus:subscribers(topic, name) return peek(self, topic, name) or {} end

---A listener of the core: fn(event) is called in the drain. Returns what `forget` takes.
---@param topic string
---@param name string
---@param fn fun(event: table)
---@return table
function Bus:listen(topic, name, fn)
  local listener = { topic = topic, name = name, hear = fn }
  local list = subscribers(self, topic, name)
  list[#list + 1] = listener
  return listener
end

---Ends a listener or a subscription.
---@param entry table
function Bus:forget(entry)
  if entry.gone then return end
  entry.gone = true
  local list = subscribers(self, entry.topic, entry.name)
  list.gone = list.gone + 1
  sweep(list)
end

---A handler of the user.
---@param topic string
---@param name string
---@param options { when_busy: string?, settle: number?, max_wait: number?, timeout: number? }
---@param fn fun(event: table)
---@param label string
---@return luapilot.Subscription
function Bus:subscribe(topic, name, options, fn, label)
  local subscription = setmetatable({
    bus = self, topic = topic, name = name, options = options, fn = fn, label = label,
    waiting = queue.new(), load = 0, running = {}, runs = 0, dropped = 0, errors = 0,
  }, Subscription)
  local list = subscribers(self, topic, name)
  list[#list + 1] = subscription
  return subscription
end

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
  if self.lost and self.load <= bus.BOUND / 2 then unheard.lost(self) end -- the queue is short again
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
  for _ = 1, self.waiting.count do let_go(self.bus, take(self)) end
end

local function cancel_running(self)
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
  let_go(self.bus, event)
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
    if self.lost % TOLD_EVERY == 1 then
      self.bus.log("warn", self.label .. ": " .. why, { dropped = self.dropped }, "events_dropped", nil,
        { handler = self.label })
    end
  end
  let_go(self.bus, event)
end

local busy = {} -- what happens to an event that comes while the handler works

function busy.queue(self, event)
  keep(self, event)
  while self.load > bus.BOUND do drop(self, take(self), "its queue of 1000 is full: the oldest was dropped") end
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
  cancel_running(self)
end

function busy.parallel(self, event)
  start(self, event)
end

local function deliver(self, event)
  if self.bus.closed then
    miss(self, 1)
    return let_go(self.bus, event)
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
  let_go(self.bus, settling.event)
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
    let_go(self.bus, settling.event)
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

-- --- the drain -------------------------------------------------------------------------------

local function hand_over(self, subscriber, event)
  if subscriber.gone then return end
  if subscriber.hear then return subscriber.hear(event) end
  ticket_add(self, event)
  if subscriber.options.settle then return settle(subscriber, event) end
  deliver(subscriber, event)
end

local function dispatch(self, topic, event)
  local list = peek(self, topic, event.name)
  if list then
    list.walked = true
    for i = 1, #list do hand_over(self, list[i], event) end -- who comes meanwhile hears the next event
    list.walked = false
    if list.gone > 0 then sweep(list) end
  end
  ticket_done(self, event)
end

---Gives out what is queued now; what is published meanwhile waits for the next phase.
---@return boolean busy
function Bus:drain()
  local waiting = self:queued()
  for _ = 1, waiting do
    local topic = self.queue:pop()
    local event = self.queue:pop()
    self.load = self.load - (self.weights[event] or 1)
    dispatch(self, topic, event)
  end
  return waiting > 0
end

---Cancels the handlers of this event that run, and what waits or settles for them.
---@param topic string
---@param name string
function Bus:cancel_runs(topic, name)
  for _, entry in ipairs(peek(self, topic, name) or {}) do
    if entry.fn and not entry.gone then
      entry:forget_events()
      cancel_running(entry)
    end
  end
end

local function sorted_keys(map)
  local keys = {}
  for key in pairs(map) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

---Calls fn(subscription) for each, in a fixed order: those that are gone, too, while their lists keep them.
---@param fn fun(subscription: luapilot.Subscription)
function Bus:each(fn)
  for _, topic in ipairs(sorted_keys(self.topics)) do
    for _, name in ipairs(sorted_keys(self.topics[topic])) do
      for _, entry in ipairs(self.topics[topic][name]) do
        if entry.fn then fn(entry) end
      end
    end
  end
end

---Begins no handler any more: those that run are the last.
function Bus:close()
  if self.closed then return end
  self.closed = true
  self:each(function(entry)
    if not entry.gone then entry:forget_events() end
  end)
end

---How many events does the next drain give out?
---@return integer
function Bus:queued()
  return self.queue.count / 2
end

---Is an event under way that has not reached its handlers: queued, or settling?
---@return boolean
function Bus:pending()
  return self:queued() > 0 or self.settling > 0
end

---How many handlers are subscribed, to anything that `matches`.
---@param matches fun(subscription: luapilot.Subscription): boolean
---@return integer
function Bus:count(matches)
  local count = 0
  for _, names in pairs(self.topics) do
    for _, list in pairs(names) do
      for _, entry in ipairs(list) do
        if entry.fn and not entry.gone and matches(entry) then count = count + 1 end
      end
    end
  end
  return count
end

return bus
