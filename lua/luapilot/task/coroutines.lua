-- coroutines: the coroutine library of user code, through which the waits of a task pass.
--
-- A wait inside a coroutine that the user made must suspend the whole task. So `resume` hands WAIT on to whoever
-- resumed it, down to the scheduler, and comes back with what the task was woken with. It owns which of the user's
-- coroutines wait with their task, and nothing of the tasks themselves.

local copy = require "luapilot.base.copy"

local co_create, co_resume, co_yield = coroutine.create, coroutine.resume, coroutine.yield
local co_running, co_status = coroutine.running, coroutine.status

local coroutines = {}

local WAIT = {}

---What a task that waits yields.
---@type table
coroutines.WAIT = WAIT

local waiting = setmetatable({}, { __mode = "k" }) -- the user's coroutines that wait with their task

local function pass(co, alive, first, ...)
  waiting[co] = nil
  if not (alive and first == WAIT and co_status(co) == "suspended") then return alive, first, ... end
  waiting[co] = true
  return pass(co, co_resume(co, co_yield(WAIT)))
end

local TOO_DEEP = "stack overflow: coroutines are resumed inside of coroutines, too deep"

local function resume(deep, co, ...)
  if type(co) == "thread" and waiting[co] then
    return false, "cannot resume a coroutine that waits in another task"
  end
  if deep() then return false, TOO_DEEP end -- each has a stack of its own, but that of C is one
  return pass(co, co_resume(co, ...))
end

---The coroutine library for user code: the same, but waits pass through.
---@param tasks luapilot.Scheduler
---@return table
function coroutines.library(tasks)
  local library = copy.shallow(coroutine)
  local deep = tasks.loop.port.deep
  function library.resume(...)
    return resume(deep, ...)
  end
  function library.status(co)
    return waiting[co] and "normal" or co_status(co)
  end
  function library.wrap(fn)
    local co = co_create(fn)
    local function check(alive, first, ...)
      if alive then return first, ... end
      local placed = type(first) == "string" and first:find(": stack overflow: ", 1, true) -- a thousand times, else
      error(first, type(first) == "string" and not placed and 2 or 0)
    end
    return function(...) return check(resume(deep, co, ...)) end
  end
  function library.yield(...)
    local t = tasks.current
    if t and co_running() == t.co then
      error("coroutine.yield outside of a coroutine of your own: a handler waits with pilot.sleep, wait_for …", 2)
    end
    return co_yield(...)
  end
  return library
end

return coroutines
