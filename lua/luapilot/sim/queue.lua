-- queue: events on their way to the core, in the order that the port promises.
--
-- Exits and signals come first. Each other source has a line of its own, in order, and the sources take
-- turns: one event each. What a cancelled handle still has in a line is passed over when its turn comes. Owns what
-- waits. Never knows what an event means.

local fifo = require "luapilot.base.queue"

local queue = {}

---@class luapilot.sim.Queue
---@field counts table<integer, integer>      events of each handle that wait
---@field dropped table<integer, integer>     of cancelled handles: they never come
local Queue = {}
Queue.__index = Queue

---@return luapilot.sim.Queue
function queue.new()
  return setmetatable({
    urgent = fifo.new(), turns = fifo.new(), lines = {}, taken = {}, count = 0, counts = {}, dropped = {},
  }, Queue)
end

local function push(self, line, event, taken)
  local id = event.id
  self.taken[event] = taken
  self.count = self.count + 1
  if id then self.counts[id] = (self.counts[id] or 0) + 1 end
  line:push(event)
end

---Appends an event that overtakes the others.
---@param event table
---@param taken any?
function Queue:push_urgent(event, taken) push(self, self.urgent, event, taken) end

---Appends an event of a source; a source is any value.
---@param source any
---@param event table
---@param taken any?      what `pop` gives back with it
function Queue:push(source, event, taken)
  local line = self.lines[source]
  if not line then
    line = fifo.new()
    self.lines[source] = line
    self.turns:push(source)
  end
  push(self, line, event, taken)
end

local function one_less(counts, id)
  local left = counts[id] - 1
  counts[id] = left > 0 and left or nil
end

-- The next event of a line that is to come.
local function next_of(self, line)
  local event = line:pop()
  while event and self.dropped[event.id] do
    self.taken[event] = nil
    one_less(self.dropped, event.id)
    event = line:pop()
  end
  return event
end

local function next_of_sources(self)
  local event
  while not event and self.turns.count > 0 do
    local source = self.turns:pop()
    local line = self.lines[source]
    event = next_of(self, line)
    if line.count > 0 then self.turns:push(source) else self.lines[source] = nil end
  end
  return event
end

---@return table? event
---@return any taken     as of push
function Queue:pop()
  local event = next_of(self, self.urgent) or next_of_sources(self)
  if not event then return nil end
  local taken = self.taken[event]
  self.taken[event], self.count = nil, self.count - 1
  if event.id then one_less(self.counts, event.id) end
  return event, taken
end

---Takes back every event of a handle.
---@param id integer
function Queue:drop(id)
  local count = self.counts[id]
  if not count then return end
  self.counts[id], self.dropped[id], self.count = nil, count, self.count - count
end

---@return boolean
function Queue:empty() return self.count == 0 end

return queue
