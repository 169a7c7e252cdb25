-- scheduler: all tasks of a pilot: the live ones, and the queue of those that are ready to go on.
--
-- It owns that table and the phase of a turn in which tasks run. What a task is and does is task/task.lua's, which
-- lends its methods to Scheduler with the first task: a pilot whose jobs are programs has none.

local lazy = require "luapilot.base.lazy"
local queue = require "luapilot.base.queue"

local co_create, co_resume, co_status = coroutine.create, coroutine.resume, coroutine.status

local scheduler = {}

---@class luapilot.Scheduler
---@field loop luapilot.Loop
---@field current luapilot.Task?   the one that runs now
---@field live table<luapilot.Task, true>
---@field count integer            live ones
local Scheduler = {}
Scheduler.__index = Scheduler

lazy.methods(Scheduler, function() return lazy.load("luapilot.task.task").methods end, {
  "spawn", "conclude", "not_alone", "run_ready", "await", "sleep", "wait", "timeout", "defer", "list", "fell_short",
})

---@param loop luapilot.Loop
---@return luapilot.Scheduler
function scheduler.new(loop)
  local self = setmetatable({
    loop = loop, current = nil, live = {}, count = 0, born = 0,
    queue = queue.new(),
  }, Scheduler)
  loop:phase(function() return self:run() end)
  return self
end

---A new stretch of user code: whoever measures them (port.contain) begins at zero.
function Scheduler:begin_stretch()
  local meter = self.loop.meter
  meter[1] = meter[1] + 1
end

---Runs fn in a coroutine that is no task, and so cannot wait: the top level of a file.
---@param fn function
---@return boolean ok
---@return any err          a TaskError
function Scheduler:run_alone(fn)
  local co = co_create(fn)
  self:begin_stretch()
  local alive, err = co_resume(co)
  if alive and co_status(co) == "dead" then return true end
  return false, self:not_alone(co, alive, err)
end

---Runs what is ready. When that took long, not again before the world has spoken: of a hundred tasks that compute for a
---second each, none comes between one event and the next.
---@return boolean busy
function Scheduler:run()
  if self.queue.count == 0 or self.loop.again then return false end
  self:run_ready()
  return true
end

---Where complaints go that have no other place (a failing defer): set by the app.
---@param t luapilot.Task
---@param err any
---@param where string
function Scheduler:report(t, err, where) -- luacheck: ignore
end

---The last task has ended: set by the app.
function Scheduler:on_idle() end -- luacheck: ignore

---Is a task running (so that waiting is possible)?
---@return boolean
function Scheduler:inside()
  return self.current ~= nil
end

return scheduler
