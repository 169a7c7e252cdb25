-- queue: events on their way to the core, in the order that the port promises.
--
-- Exits and signals come first. Each other source has a line of its own, in order, and the sources take
-- turns: one event each. Owns what waits. Never knows what an event means.

local queue = {}

---@class luapilot.sim.Queue
local Queue = {}
Queue.__index = Queue

---@return luapilot.sim.Queue
function queue.new()
  return setmetatable({ urgent = {}, turns = {}, lines = {} }, Queue)
end

---Appends an event that overtakes the others.
---@param event table
function Queue:push_urgent(event) self.urgent[#self.urgent + 1] = event end

---Appends an event of a source; a source is any value.
---@param source any
---@param event table
function Queue:push(source, event)
  local line = self.lines[source]
  if not line then
    line = {}
    self.lines[source] = line
    self.turns[#self.turns + 1] = source
  end
  line[#line + 1] = event
end

---@return table? event
function Queue:pop()
  if self.urgent[1] then return table.remove(self.urgent, 1) end
  local source = table.remove(self.turns, 1)
  if source == nil then return nil end
  local line = self.lines[source]
  local event = table.remove(line, 1)
  if line[1] then
    self.turns[#self.turns + 1] = source
  else
    self.lines[source] = nil
  end
  return event
end

local function without(list, id)
  local kept = {}
  for _, event in ipairs(list) do
    if event.id ~= id then kept[#kept + 1] = event end
  end
  return kept
end

---Takes back every event of a handle.
---@param id integer
function Queue:drop(id)
  self.urgent = without(self.urgent, id)
  local turns, lines = self.turns, self.lines
  self.turns, self.lines = {}, {}
  for _, source in ipairs(turns) do
    for _, event in ipairs(without(lines[source], id)) do self:push(source, event) end
  end
end

---@return boolean
function Queue:empty() return not self.urgent[1] and not self.turns[1] end

return queue
