-- bus: events, and who hears of them.
--
-- Publishing enqueues; nobody is called from inside `publish`. A drain takes the events in order and gives
-- each to its subscribers in the order in which they subscribed. Two kinds subscribe: listeners of the core
-- (called at once, must not wait) and handlers of the user (each event a task of its own, under the rules
-- that `when_busy`, `settle`, `max_wait` and `timeout` set).
--
-- It owns the queue, the subscriptions and what waits in them. It never drops an event in silence, and an
-- error in a handler never reaches whoever published.

local QUEUE_BOUND = 1000

local bus = {}

---@class luapilot.BusEvent
---@field name string
---@field source any       the object that the user knows: a job, the pilot
---@field topic string     "job:app", "pilot"

---@class luapilot.Subscription
---@field topic string
---@field name string            of the event
---@field options table          { when_busy, settle, max_wait, timeout }: seconds
---@field fn fun(event: table)
---@field label string           for log lines: "app:on("changed") at pilot.lua:12"
local Subscription = {}
Subscription.__index = Subscription

---@class luapilot.Bus
local Bus = {}
Bus.__index = Bus

---@param env table      { loop, tasks, on_error = fun(subscription, event, err), log = fun(level, message, fields) }
---@return luapilot.Bus
function bus.new(env)
  local self = setmetatable({
    loop = env.loop, tasks = env.tasks, on_error = env.on_error, log = env.log,
    topics = {}, queue = {}, first = 1, last = 0, published = 0, settling = 0,
  }, Bus)
  env.loop:phase(function() return self:drain() end)
  return self
end

local function subscribers(self, topic, name)
  local names = self.topics[topic]
  if not names then
    names = {}
    self.topics[topic] = names
  end
  local list = names[name]
  if not list then
    list = {}
    names[name] = list
  end
  return list
end

-- Counts what an event still has under way, for whoever waits until all its handlers are done.
local function ticket_add(event)
  if event.ticket then event.ticket.open = event.ticket.open + 1 end
end

local function ticket_done(event)
  local ticket = event.ticket
  if not ticket then return end
  ticket.open = ticket.open - 1
  if ticket.open == 0 and ticket.done then
    local done = ticket.done
    ticket.done = nil
    done()
  end
end

---Enqueues an event. `done` is called when every handler that it started has ended.
---@param topic string
---@param event table       needs `name`
---@param done fun()?
function Bus:publish(topic, event, done)
  event.topic = topic
  if done then event.ticket = { open = 1, done = done } end
  self.published = self.published + 1
  self.last = self.last + 1
  self.queue[self.last] = event
end

---Is anybody subscribed?
---@param topic string
---@param name string
---@return boolean
function Bus:has(topic, name)
  local names = self.topics[topic]
  return names ~= nil and names[name] ~= nil and #names[name] > 0
end

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
  entry.gone = true
  local list = subscribers(self, entry.topic, entry.name)
  for i = #list, 1, -1 do
    if list[i] == entry then table.remove(list, i) end
  end
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
    waiting = {}, running = {}, runs = 0, dropped = 0, errors = 0,
  }, Subscription)
  local list = subscribers(self, topic, name)
  list[#list + 1] = subscription
  return subscription
end

---Ends the subscription: no further event starts the handler; one that runs goes on.
function Subscription:cancel()
  if self.gone then return end
  self.bus:forget(self)
  self:unsettle()
  for _, event in ipairs(self.waiting) do ticket_done(event) end
  self.waiting = {}
end

-- --- when_busy -------------------------------------------------------------------------------

local start -- forward: a run ends, and the next begins

local function run_ended(self, event, t)
  self.running[t] = nil
  self.runs = self.runs - 1
  if self.timer_of and self.timer_of[t] then
    self.bus.loop:cancel(self.timer_of[t])
    self.timer_of[t] = nil
  end
  if t.error and not t.ok and (t.reason == nil or t.reason == "timeout") then
    self.errors = self.errors + 1
    self.bus.on_error(self, event, t.reason == "timeout"
      and ("timed out after %g s"):format(self.options.timeout) or t.error)
  end
  ticket_done(event)
  local next_event = table.remove(self.waiting, 1)
  if next_event then start(self, next_event) end
end

local function limit_run(self, t)
  local seconds = self.options.timeout
  if not seconds then return end
  self.timer_of = self.timer_of or {}
  self.timer_of[t] = self.bus.loop:after(seconds, function()
    self.timer_of[t] = nil
    t:cancel("timeout")
  end)
end

function start(self, event)
  self.runs = self.runs + 1
  local t = self.bus.tasks:spawn(self.fn, {
    name = self.label, detached = true,
    ended = function(t) run_ended(self, event, t) end,
  }, event)
  self.running[t] = true
  limit_run(self, t)
end

local function drop(self, event, why)
  self.dropped = self.dropped + 1
  if why then self.bus.log("warn", self.label .. ": " .. why, { dropped = self.dropped }) end
  ticket_done(event)
end

local busy = {} -- what happens to an event that comes while the handler works

function busy.queue(self, event)
  self.waiting[#self.waiting + 1] = event
  if #self.waiting > QUEUE_BOUND then
    drop(self, table.remove(self.waiting, 1),
      ("more than %d events wait for this handler: the oldest was dropped"):format(QUEUE_BOUND))
  end
end

function busy.latest(self, event)
  local older = self.waiting[1]
  self.waiting[1] = event
  if older then drop(self, older) end
end

function busy.drop(self, event)
  drop(self, event)
end

function busy.restart(self, event)
  busy.latest(self, event)
  for t in pairs(self.running) do t:cancel("cancel") end
end

function busy.parallel(self, event)
  start(self, event)
end

local function deliver(self, event)
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
  ticket_done(settling.event)
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
    ticket_done(settling.event)
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

local function hand_over(subscriber, event)
  if subscriber.gone then return end
  if subscriber.hear then return subscriber.hear(event) end
  ticket_add(event)
  if subscriber.options.settle then return settle(subscriber, event) end
  deliver(subscriber, event)
end

local function dispatch(self, event)
  local names = self.topics[event.topic]
  local list = names and names[event.name]
  if list then
    -- a copy: subscribers come and go while they are served; who comes now hears the next event
    local now = { unpack(list) }
    for i = 1, #now do hand_over(now[i], event) end
  end
  ticket_done(event) -- the publisher's own share
end

---Gives out what is queued now; what is published meanwhile waits for the next phase.
---@return boolean busy
function Bus:drain()
  local last = self.last
  if self.first > last then return false end
  while self.first <= last do
    local event = self.queue[self.first]
    self.queue[self.first] = nil
    self.first = self.first + 1
    dispatch(self, event)
  end
  return true
end

---Cancels the handlers of this event that run, and what waits for them.
---@param topic string
---@param name string
function Bus:cancel_runs(topic, name)
  for _, entry in ipairs(subscribers(self, topic, name)) do
    if entry.fn then
      for _, event in ipairs(entry.waiting) do ticket_done(event) end
      entry.waiting = {}
      for t in pairs(entry.running) do t:cancel("cancel") end
    end
  end
end

---Are there events that the next drain gives out?
---@return boolean
function Bus:queued()
  return self.first <= self.last
end

---Is an event under way that has not reached its handlers: queued, or settling?
---@return boolean
function Bus:pending()
  return self:queued() or self.settling > 0
end

---How many handlers are subscribed, to anything that `matches`.
---@param matches fun(subscription: luapilot.Subscription): boolean
---@return integer
function Bus:count(matches)
  local count = 0
  for _, names in pairs(self.topics) do
    for _, list in pairs(names) do
      for _, entry in ipairs(list) do
        if entry.fn and matches(entry) then count = count + 1 end
      end
    end
  end
  return count
end

return bus
