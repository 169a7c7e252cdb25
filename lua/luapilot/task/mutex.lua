-- turns: one task at a time, for each of many things. Whoever comes while somebody is at it waits in a queue.
--
-- A turn ends by leave(), or with its task, however that ends: a task that was cancelled, or given up in the middle of
-- a wait, never leaves a door locked behind it. A task that is cancelled while it waits leaves the queue.
--
-- It owns the queues. It knows nothing of what is done in a turn.

local queue = require "luapilot.base.queue"

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

---The end of the turn; the next one begins. Ending it twice does nothing.
function Turn:leave()
  if self.over then return end
  self.over = true
  local cleanup = self.cleanup
  self.cleanup = nil
  if cleanup then cleanup() end
  if self.forget then self.forget() end
  local line = self.owner.lines[self.key]
  if not line then return end -- all leave
  if line:peek() ~= self then return line:strike(self) end
  line:pop()
  local following = line:peek()
  if not following then
    self.owner.lines[self.key] = nil
  elseif following.wake then
    following.wake()
  end
end

---Ends all turns.
function Turns:leave_all()
  local keys = {}
  for key in pairs(self.lines) do keys[#keys + 1] = key end
  table.sort(keys)
  for _, key in ipairs(keys) do
    local line, list = self.lines[key], {}
    self.lines[key] = nil
    for i = 1, line.count do list[i] = line:pop() end
    for i = #list, 1, -1 do list[i]:leave() end
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
  line:push(turn)
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
  local line = self.lines[key] or queue.new()
  local first = line:peek()
  if not first then return join(self, key, line) end
  if first.task == tasks.current then return nil, "this task is at it already: it would wait for itself" end
  local turn
  tasks:await(what, function(wake)
    turn = join(self, key, line)
    turn.wake = wake
    return function() turn:leave() end
  end)
  return turn
end

return turns
