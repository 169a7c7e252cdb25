-- queue: events on their way to the core, in the order that the port promises.
--
-- Exits and signals come first. Each other source has a line of its own, in order, and the sources take
-- turns: one event each. Owns what waits. Never knows what an event means.
--
-- To add, to take and to take back cost the same however many wait: lines have a first and a last place, and what was
-- taken back keeps its place until it is passed over.

local queue = {}

---@class luapilot.sim.Line     events by place
---@field first integer
---@field last integer
---@field live integer          of them, those that were not taken back
---@field turn { source: any }? its place among the sources; of the urgent line none
---@field source any

---@class luapilot.sim.Queue
---@field urgent luapilot.sim.Line
---@field turns table           sources, by place: { first, last, … }; one whose events are all gone has source = nil
---@field lines table<any, luapilot.sim.Line>
---@field of table<integer, table<table, luapilot.sim.Line>>    handle → its events that wait
local Queue = {}
Queue.__index = Queue

local function new_line() return { first = 1, last = 0, live = 0 } end

local function append(list, value)
  list.last = list.last + 1
  list[list.last] = value
end

local function take(list)
  local value = list[list.first]
  list[list.first], list.first = nil, list.first + 1
  return value
end

---@return luapilot.sim.Queue
function queue.new()
  return setmetatable({ urgent = new_line(), turns = { first = 1, last = 0 }, lines = {}, of = {}, gone = {} }, Queue)
end

local function put(self, line, event)
  append(line, event)
  line.live = line.live + 1
  if not event.id then return end
  self.of[event.id] = self.of[event.id] or {}
  self.of[event.id][event] = line
end

local function line_up(self, line)
  line.turn = { source = line.source }
  append(self.turns, line.turn)
end

---Appends an event that overtakes the others.
---@param event table
function Queue:push_urgent(event) put(self, self.urgent, event) end

---Appends an event of a source; a source is any value.
---@param source any
---@param event table
function Queue:push(source, event)
  local line = self.lines[source]
  if not line then
    line = new_line()
    line.source, self.lines[source] = source, line
    line_up(self, line)
  end
  put(self, line, event)
end

-- The first event of a line that was not taken back. There is one.
local function first_of(self, line)
  local event = take(line)
  while self.gone[event] do
    self.gone[event] = nil
    event = take(line)
  end
  line.live = line.live - 1
  local events = event.id and self.of[event.id]
  if events then
    events[event] = nil
    if not next(events) then self.of[event.id] = nil end
  end
  return event
end

local function next_source(self)
  local turns = self.turns
  while turns.first <= turns.last do
    local turn = take(turns)
    if turn.source ~= nil then return turn.source end
  end
end

---@return table? event
function Queue:pop()
  if self.urgent.live > 0 then return first_of(self, self.urgent) end
  local source = next_source(self)
  if source == nil then return nil end
  local line = self.lines[source]
  local event = first_of(self, line)
  if line.live > 0 then line_up(self, line) else self.lines[source] = nil end
  return event
end

---Takes back every event of a handle.
---@param id integer
---@return table[] events
function Queue:drop(id)
  local list = {}
  for event, line in pairs(self.of[id] or {}) do
    list[#list + 1], self.gone[event] = event, true
    line.live = line.live - 1
    if line.live == 0 and line.turn then
      line.turn.source, self.lines[line.source] = nil, nil
      for place = line.first, line.last do self.gone[line[place]] = nil end -- nobody passes them any more
    end
  end
  self.of[id] = nil
  return list
end

---@return boolean
function Queue:empty() return self.urgent.live == 0 and next(self.lines) == nil end

return queue
