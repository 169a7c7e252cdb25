-- turns: one task at a time, for each of many things. Whoever comes while somebody is at it waits in a queue.
--
-- A turn ends by leave(), or with its task, however that ends: a task that was cancelled, or given up in the middle of
-- a wait, never leaves a door locked behind it. A task that is cancelled while it waits leaves the queue.
--
-- It owns the queues. It knows nothing of what is done in a turn.

local turns = {}

---@class luapilot.Turn
---@field cleanup fun()?    called when it ends, unless taken away before
local Turn = {}
Turn.__index = Turn

---@class luapilot.Turns
local Turns = {}
Turns.__index = Turns

---@param tasks luapilot.Tasks
---@return luapilot.Turns
function turns.new(tasks)
  return setmetatable({ tasks = tasks, lines = {} }, Turns)
end

local function remove(line, turn)
  for i, other in ipairs(line) do
    if other == turn then return table.remove(line, i) end
  end
end

---The end of the turn; the next one begins. Ending it twice does nothing.
function Turn:leave()
  if self.over then return end
  self.over = true
  local cleanup = self.cleanup
  self.cleanup = nil
  if cleanup then cleanup() end
  if self.forget then self.forget() end
  local lines = self.owner.lines
  local line = lines[self.key]
  local was_first = line[1] == self
  remove(line, self)
  if not line[1] then
    lines[self.key] = nil
  elseif was_first and line[1].wake then
    line[1].wake()
  end
end

---Ends all turns.
function Turns:leave_all()
  local keys = {}
  for key in pairs(self.lines) do keys[#keys + 1] = key end
  table.sort(keys)
  for _, key in ipairs(keys) do
    local line = self.lines[key]
    for i = #line, 1, -1 do line[i]:leave() end
  end
end

---Is a task at it?
---@param key string
---@return boolean
function Turns:is_taken(key) return self.lines[key] ~= nil end

-- The last in the line from now on.
local function join(self, key, line)
  local t = self.tasks.current
  local turn = setmetatable({ owner = self, key = key, task = t }, Turn)
  self.lines[key] = line
  line[#line + 1] = turn
  turn.forget = t:when_ended(function()
    turn.forget = nil
    turn:leave()
  end)
  return turn
end

---Waits until it is this task's turn.
---@param key string
---@param what string     for messages: "pilot.render"
---@return luapilot.Turn? turn
---@return string? message    the task itself is at it
function Turns:enter(key, what)
  local tasks = self.tasks
  if not tasks:inside() then tasks:await(what, function() end) end -- raises: the top level never waits
  local line = self.lines[key] or {}
  if not line[1] then return join(self, key, line) end
  if line[1].task == tasks.current then return nil, "this task is at it already: it would wait for itself" end
  local turn
  tasks:await(what, function(wake)
    turn = join(self, key, line)
    turn.wake = wake
    return function() turn:leave() end
  end)
  return turn
end

return turns
