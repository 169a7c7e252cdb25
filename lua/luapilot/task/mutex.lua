-- mutex: one task at a time for each key. Whoever comes while somebody has the lock waits in a queue.
--
-- A lock ends by unlock(), or with its task, however that ends: a task that was cancelled, or given up in the middle of
-- a wait, leaves no lock behind. A task that is cancelled while it waits leaves the queue.
--
-- It owns the queues. It knows nothing of what is done under a lock.

local queue = require "luapilot.base.queue"

local mutex = {}

---@class luapilot.Lock
---@field cleanup fun()?    called when it ends, unless taken away before
local Lock = {}
Lock.__index = Lock

---@class luapilot.Mutex
local Mutex = {}
Mutex.__index = Mutex

---@param tasks luapilot.Scheduler
---@return luapilot.Mutex
function mutex.new(tasks)
  return setmetatable({ tasks = tasks, lines = {} }, Mutex)
end

---Ends the lock; the next in the queue gets it. Ending a lock twice does nothing.
function Lock:unlock()
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

---Ends all locks.
function Mutex:unlock_all()
  local keys = {}
  for key in pairs(self.lines) do keys[#keys + 1] = key end
  table.sort(keys)
  for _, key in ipairs(keys) do
    local line, list = self.lines[key], {}
    self.lines[key] = nil
    for i = 1, line.count do list[i] = line:pop() end
    for i = #list, 1, -1 do list[i]:unlock() end
  end
end

---Has a task the lock?
---@param key string
---@return boolean
function Mutex:is_locked(key) return self.lines[key] ~= nil end

-- The last in the line from now on.
local function join(self, key, line)
  local t = self.tasks.current
  local lock = setmetatable({ owner = self, key = key, task = t }, Lock)
  self.lines[key] = line
  line:push(lock)
  lock.forget = t:when_ended(function()
    lock.forget = nil
    lock:unlock()
  end)
  return lock
end

---Waits until this task has the lock.
---@param key string
---@param what string     for messages: "pilot.render"
---@return luapilot.Lock? lock
---@return string? message    the task itself is at it
function Mutex:lock(key, what)
  local tasks = self.tasks
  if not tasks:inside() then tasks:await(what, function() end) end -- raises: the top level never waits
  local line = self.lines[key] or queue.new()
  local first = line:peek()
  if not first then return join(self, key, line) end
  if first.task == tasks.current then return nil, "this task is at it already: it would wait for itself" end
  local lock
  tasks:await(what, function(wake)
    lock = join(self, key, line)
    lock.wake = wake
    return function() lock:unlock() end
  end)
  return lock
end

return mutex
