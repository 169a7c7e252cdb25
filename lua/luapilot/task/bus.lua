-- bus: events, and who hears of them.
--
-- Publishing enqueues; nobody is called from inside `publish`. A drain takes the events in order and gives
-- each to its subscribers in the order in which they subscribed. Two kinds subscribe: listeners of the core
-- (called at once, must not wait) and handlers of the user (task/subscription.lua: each event a task of its own).
--
-- It owns the queue, the lists of those who hear, and the count of what handlers still have. It never drops an event.

local lazy = require "luapilot.base.lazy"
local queue = require "luapilot.base.queue"

local subscription = lazy.require "luapilot.task.subscription"

local WEAK = { __mode = "k" }

local bus = {}

---@class luapilot.BusEvent
---@field name string
---@field source any       the object that the user knows: a job, the pilot

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
  env.loop:phase(function() return Bus.drain(self) end)
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

---A handler is done with an event, or will never have it.
---@param event table
function Bus:let_go(event)
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
  local handler = subscription.new(self, topic, name, options, fn, label)
  local list = subscribers(self, topic, name)
  list[#list + 1] = handler
  return handler
end

-- --- the drain -------------------------------------------------------------------------------

local function hand_over(self, subscriber, event)
  if subscriber.gone then return end
  if subscriber.hear then return subscriber.hear(event) end
  ticket_add(self, event)
  subscriber:receive(event)
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
  local events = self.queue
  local waiting = events.count / 2
  for _ = 1, waiting do
    local topic = events:pop()
    local event = events:pop()
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
      entry:cancel_running()
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
