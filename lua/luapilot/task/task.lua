-- task: coroutines that wait. Every handler, every `run`, every `prepare` is one.
--
--   ready ──resume──▶ running ──await──▶ waiting ──wake──▶ ready …  until the function ends,
--   then its `defer` functions run (last first, shielded, 30 s in all), then whoever waits for the
--   task is told.
--
-- Cancellation is structured and sticky. Structured: the children of a task that is cancelled or that
-- fails are cancelled with it; the children of one that ends well live on under its parent. Sticky: a
-- cancelled task raises at its next wait, and at the next; at the fourth it is abandoned, so that no
-- `pcall` in a loop can hold up a shutdown.
--
-- It owns the coroutines, what waits and how it is cancelled; the table of all tasks and their queue are in
-- task/scheduler.lua, which loads this file with the first. It never calls user code outside a coroutine and never
-- blocks: `await` suspends the task, not the program.

local constant = require "luapilot.base.constant"
local coroutines = require "luapilot.task.coroutines"
local waitlist = require "luapilot.base.waitlist"

local co_create, co_resume, co_yield = coroutine.create, coroutine.resume, coroutine.yield
local co_running, co_status, co_yieldable = coroutine.running, coroutine.status, coroutine.isyieldable

local MAX_RAISES = 3      -- waits at which a cancelled task raises before it is abandoned
local DEFER_SECONDS = 30  -- all defer functions of a task together

local WAIT = coroutines.WAIT
local YIELDED = "coroutine.yield outside of a coroutine of its own: a task waits with pilot.sleep, wait_for …"

local task = {}

-- The error that a cancelled task sees at its waits.
local Cancelled = {
  __tostring = function(self) return "task cancelled: " .. self.reason end,
}

---Is this error value the cancellation of a task?
---@param value any
---@return boolean
function task.is_cancelled(value)
  return getmetatable(value) == Cancelled
end

---What the error handler of a task makes of an error: the value and where it came from.
---@class luapilot.TaskError
---@field value any
---@field said string        what it says: asked once, in the task, where a __tostring that never ends is interrupted
---@field traceback string
local TaskError = {
  __tostring = function(self) return self.traceback end,
}

-- Frames of the core say nothing to the author of a pilot.lua; what is left are his own lines.
local function is_user_frame(line)
  if line:find("^%s*luapilot[/.]") or line:find("^%s*%[C%]: in function 'xpcall'") then return false end
  if line:find("^%s*%[builtin") or line:find("^%s*%[C%]: in function 'error'") then return false end
  return not line:find("lua/luapilot/", 1, true)
end

local BROKEN = "(an error value whose __tostring fails)"

-- Whatever a user raises: its text, even when asking for it fails.
local function text_of(value)
  local ok, text = pcall(tostring, value)
  return ok and type(text) == "string" and text or BROKEN
end

-- A table that has nothing to say for itself.
local function is_bare(value)
  if type(value) ~= "table" then return false end
  local meta = debug.getmetatable(value) -- not getmetatable: __metatable may hide it
  return not (meta and rawget(meta, "__tostring"))
end

local SHOWN, LOOKED_AT = 8, 1000

---What an error value that is a bare table says, for a log line.
---@param value table
---@return string
function task.describe(value)
  local parts = {}
  for key, field in next, value do
    local shown = type(field) == "string" and ("%q"):format(field) or text_of(field)
    parts[#parts + 1] = text_of(key) .. " = " .. shown
    if #parts == LOOKED_AT then break end
  end
  table.sort(parts)
  return "an error that is a table: { " .. table.concat(parts, ", ", 1, math.min(#parts, SHOWN)) .. " }"
end

local function say(value) return is_bare(value) and task.describe(value) or text_of(value) end

-- A function that was interrupted in the middle (port.contain) has lost its line: the message knows it.
local function with_line(frame, said)
  local file, rest = frame:match "^\t([^\n]-)(: in .*)$"
  if not file or file:find ":%d+$" or file:find "^%[" then return frame end
  local interrupted, line = said:match "^(.-):(%d+): "
  if not interrupted or interrupted:sub(-#file) ~= file and interrupted:sub(3 - #file) ~= file:sub(4) then
    return frame
  end
  return "\t" .. file .. ":" .. line .. rest
end

-- A traceback without the frames of the core, below what the error says.
local function traceback(thread, said)
  local lines = {}
  for line in (thread and debug.traceback(thread, "", 0) or ""):gmatch("[^\n]+") do
    if is_user_frame(line) then lines[#lines + 1] = with_line(line, said) end
  end
  while lines[#lines] and lines[#lines]:find("^%s*%[C%]") do lines[#lines] = nil end
  if #lines <= 1 then return said end
  return said .. "\n" .. table.concat(lines, "\n")
end

---What an error says, in one line and without its traceback.
---@param err any      a value or a TaskError
---@return string
function task.message(err)
  return (getmetatable(err) == TaskError and err.said or say(err)):match "^[^\n]*"
end

---Was the code ended because it went too far? In the words of port.contain.
---@param err any      a value or a TaskError
---@return boolean
function task.went_too_far(err)
  local message = task.message(err)
  return (message:find ": ran for more than %S+ s without waiting: " or message:find ": not enough memory: ") ~= nil
end

-- The last error that went on to another task as the bare value that was raised: its traceback is kept for
-- the log, should nobody catch it there either.
local passed_on

local function explain(thread, value)
  if getmetatable(value) == Cancelled or getmetatable(value) == TaskError then return value end
  if passed_on and value ~= nil and rawequal(passed_on.value, value) then return passed_on end
  local said = say(value)
  return setmetatable({ value = value, said = said, traceback = traceback(thread, said) }, TaskError)
end

-- An error that ended a coroutine, whose stack is still there to be looked at. On a stack of its own, which is not
-- the core's: to ask what an error says may run code of the user.
local function post_mortem(thread, value)
  local _, err = co_resume(co_create(explain), thread, value)
  return err
end

---The error handler for xpcall: the value with its traceback, in the words of the user's files.
---@param value any
---@return any
function task.error(value) return post_mortem(co_running(), value) end

---@class luapilot.Task
---@field name string
---@field family luapilot.Family?    in which it is a child; nil: of nobody
---@field brood luapilot.Family?     in which others are its children; nil: none yet
---@field children table<luapilot.Task, true>   the members of that
---@field ended boolean       its defer functions included
---@field reason string?      why it was cancelled
---@field ok boolean?         how it ended
---@field results table?      { n = …, … } when it ended well
---@field short_of string?    the code of what failed in it last, where a call of the library told one
---@field awaits luapilot.Runner?   the job that it waits for: see api/job_actions.lua
---@field awaits_task luapilot.Task?   the task for whose end it waits, however long
---@field error any           a TaskError or a Cancelled when it did not
local Task = { children = constant.NONE, raises = 0, listeners = 0 } -- until it has some
Task.__index = Task

---The children of a task, and those that it was left.
---@class luapilot.Family
---@field parent luapilot.Task?     nil: it has ended, and was nobody's child
---@field members table<luapilot.Task, true>
---@field count integer

---What task/scheduler.lua lends to every Scheduler: `self` is that.
---@class luapilot.Scheduler
local Scheduler = {}
task.methods = Scheduler

local NO_RESULTS = constant.of { n = 0 }

local function pack(...)
  local n = select("#", ...)
  if n == 0 then return NO_RESULTS end
  return { n = n, ... }
end

local function join(family, child)
  family.members[child], family.count = true, family.count + 1
  child.family = family
end

local function give(parent, family)
  family.parent, parent.brood, parent.children = parent, family, family.members
end

local function adopt(parent, child)
  if not parent.brood then give(parent, { members = {}, count = 0 }) end
  join(parent.brood, child)
end

local function leave(child)
  local family = child.family
  if not family then return end
  family.members[child], family.count = nil, family.count - 1
  child.family = nil
end

-- Puts a coroutine of `t` at the end of the queue; what it will be resumed with.
local function make_ready(self, t, ...)
  t.wake_with = select("#", ...) > 0 and pack(...) or nil
  if t.queued then return end
  t.queued = true
  self.queue:push(t)
end

---Starts a task. `fn` runs in a later phase of this turn, never inside this call.
---@param fn function
---@param options { name: string?, parent: luapilot.Task?, detached: boolean?, ended: fun(t: luapilot.Task)? }
---@param ... any                 arguments of fn
---@return luapilot.Task
function Scheduler:spawn(fn, options, ...)
  local parent = options.parent or (not options.detached and self.current) or nil
  self.born = self.born + 1
  local t = setmetatable({ -- with all that every task comes to have: it is made in one piece
    tasks = self, name = options.name or "task", number = self.born, tell = options.ended,
    co = co_create(fn), ended = false, queued = false, started = false, ok = nil, results = nil,
  }, Task)
  if parent then adopt(parent, t) end
  self.live[t] = true
  self.count = self.count + 1
  make_ready(self, t, ...)
  return t
end

-- Children outlive a task that ended well: its parent has them from now on. The smaller family joins the larger one, so
-- that a thousand who are handed up from level to level do not move each time.
local function leave_children(t)
  local own, family = t.brood, t.family
  t.brood, t.children = nil, nil
  if not own or own.count == 0 then return end
  if not family then
    own.parent = nil
    return
  end
  local small, large = own, family
  if own.count > family.count then small, large = family, own end
  if family.parent then give(family.parent, large) else large.parent = nil end
  for child in pairs(small.members) do join(large, child) end
end

-- A wait that a library's coroutine kept for itself ends with the task.
local function take_back(t)
  if t.unwait then t.unwait() end
end

-- The task is over, its defers included.
local function finish(self, t)
  t.ended = true
  take_back(t)
  leave_children(t)
  leave(t)
  self.live[t] = nil
  self.count = self.count - 1
  t.co, t.defers = nil, nil
  if t.tell then t.tell(t) end
  local waiters = t.waiters
  t.waiters = nil
  if waiters then waiters:walk(function(fn) fn(t) end) end
  if self.count == 0 then self:on_idle() end
end

---Why the task ended, in the words that `defer` functions get.
---@return string
function Task:outcome()
  if self.reason then return self.reason end
  return self.ok and "done" or "error"
end

local function run_defers(defers, outcome, report)
  for i = #defers, 1, -1 do
    local ok, err = xpcall(defers[i], task.error, outcome)
    if not ok then report(err) end
  end
end

---@private
-- The function of the task is over: children, then defers in a coroutine of their own (the task's may
-- have been abandoned in the middle of anything), then the end.
function Scheduler:conclude(t)
  take_back(t)
  if t.ok then
    leave_children(t)
  else
    t:cancel_children(t.reason or "cancel")
  end
  if not t.defers then return finish(self, t) end
  local defers, outcome = t.defers, t:outcome()
  t.deferring, t.defers = true, nil
  t.co = co_create(function()
    run_defers(defers, outcome, function(err) self:report(t, err, "defer") end)
  end)
  t.limit = self.loop:after(DEFER_SECONDS, function()
    t.limit = nil
    self:report(t, ("its defer functions took longer than %ds and were abandoned"):format(DEFER_SECONDS), "defer")
    finish(self, t)
  end)
  make_ready(self, t)
end

local function cancellation_of(t) return setmetatable({ reason = t.reason }, Cancelled) end

local function ended(self, t, alive, ...)
  if t.deferring then
    if t.limit then self.loop:cancel(t.limit) end
    return finish(self, t)
  end
  t.ok = alive and not t.reason
  if t.ok then
    t.results = pack(...)
  else
    t.error = alive and cancellation_of(t) or post_mortem(t.co, (...))
  end
  self:conclude(t)
end

-- It ends where it is: its coroutine is never resumed again.
local function stop_at_once(self, t, err)
  t.ok, t.error = false, err
  return self:conclude(t)
end

-- Resumed: either it waits again (it yielded WAIT), or it is over.
local function resumed(self, t, alive, ...)
  self.current = nil
  if t.ended then return end
  if not alive or co_status(t.co) ~= "suspended" then return ended(self, t, alive, ...) end
  if t.deferring then return end
  if (...) ~= WAIT then return stop_at_once(self, t, YIELDED) end
  if t.abandoned then
    self:report(t, "cancelled, but went on waiting: abandoned", "cancel")
    return stop_at_once(self, t, cancellation_of(t))
  end
end

local function step(self, t)
  t.queued = false
  if t.ended then return end
  if t.reason and not t.started and not t.deferring then -- cancelled before it began
    return stop_at_once(self, t, cancellation_of(t))
  end
  t.started = true
  self.current = t
  self:begin_stretch()
  local with = t.wake_with
  t.wake_with = nil
  if with then return resumed(self, t, co_resume(t.co, unpack(with, 1, with.n))) end
  return resumed(self, t, co_resume(t.co))
end

---The top level of a file as a task would run it: what run_alone of task/scheduler.lua makes of its end.
---@param co thread
---@param alive boolean
---@param err any
---@return any err          a TaskError
function Scheduler.not_alone(_, co, alive, err) return alive and YIELDED or post_mortem(co, err) end

---Runs all that is ready. What becomes ready meanwhile is left to the next phase, and so is the rest when it takes
---long.
function Scheduler:run_ready()
  local meter, looks = self.loop.meter, self.loop.meter[2]
  for _ = 1, self.queue.count do
    step(self, self.queue:pop())
    if meter[2] ~= looks then break end
  end
end

local function raise_cancelled(t)
  t.raises = t.raises + 1
  if t.raises > MAX_RAISES then
    t.abandoned = true
    return co_yield(WAIT) -- for ever: nobody resumes it
  end
  error(cancellation_of(t), 0)
end

local function unless_cancelled(t, ...)
  if t.cancel_now then
    t.cancel_now = nil
    raise_cancelled(t)
  end
  return ...
end

---Suspends the running task until `wake(…)` is called, and returns what it was called with.
---`start(wake)` begins the wait and returns a function that takes it back (or nil); a cancelled
---task calls that. `what` names the call in the message for the top level.
---@param what string
---@param start fun(wake: fun(...: any)): fun()?
---@return any ...
function Scheduler:await(what, start)
  local t = self.current
  if not t then
    error(what .. " waits, and the top level of a pilot.lua only declares: call it in a handler, in run, "
      .. "in prepare, or in pilot.spawn(function() … end)", 0)
  end
  if t.reason and not t.deferring then raise_cancelled(t) end
  if t.unwait then
    error(what .. ": the task waits already, in a coroutine of a library that does not pass waits through", 0)
  end
  if not co_yieldable() then
    error(what .. " cannot wait here: it is called from C (table.sort, string.gsub …), which cannot be suspended", 0)
  end
  local awake, results = false, nil
  local function wake(...)
    if awake then return end
    awake = true
    if t.unwait == nil then results = pack(...) return end -- woken inside start()
    t.unwait = nil
    make_ready(self, t, ...)
  end
  local unstart = start(wake)
  if awake then return unpack(results, 1, results.n) end
  t.unwait = function()
    awake, t.unwait = true, nil
    if unstart then unstart() end
  end
  return unless_cancelled(t, co_yield(WAIT))
end

-- The tasks of a set, oldest first. Their numbers are sorted: for a million that takes a tenth of the time.
local function in_order(set)
  local list, by_number = {}, {}
  for t in pairs(set) do list[#list + 1], by_number[t.number] = t.number, t end
  table.sort(list)
  for i = 1, #list do list[i] = by_number[list[i]] end
  return list
end

---Live tasks, oldest first.
---@return luapilot.Task[]
function Scheduler:list() return in_order(self.live) end

local function may_be_cancelled(t) return not (t.ended or t.reason or t.deferring) end

-- Tasks with all that is below them, in a list: each before its children, the youngest first. Backwards, children come
-- before their parents, the oldest first. No recursion: nobody limits how deep tasks are nested.
local function condemn(list, reason)
  local condemned, open = {}, list
  while open[1] do
    local t = table.remove(open)
    if may_be_cancelled(t) then
      t.reason = reason
      condemned[#condemned + 1] = t
      for _, child in ipairs(in_order(t.children)) do open[#open + 1] = child end
    end
  end
  return condemned
end

local function cancel_all(list, reason)
  local condemned = condemn(list, reason)
  for i = #condemned, 1, -1 do
    local t = condemned[i]
    if t.unwait then
      t.unwait()
      t.cancel_now = true
      make_ready(t.tasks, t)
    end
  end
end

---Cancels the task and its children: it raises at its next wait (at once if it waits now).
---@param reason string?   "cancel" (default), "lost", "shutdown", "reload", "timeout"
function Task:cancel(reason) cancel_all({ self }, reason or "cancel") end

---@private
function Task:cancel_children(reason) cancel_all(in_order(self.children), reason) end

---Ends a task that must not hold anything up any longer: it is never resumed; its defers still run, but where one of
---them waits already it is cut short.
function Task:abandon()
  if self.ended then return end
  if self.deferring then
    if not self.unwait then return end
    if self.limit then self.tasks.loop:cancel(self.limit) end
    self.limit = nil
    return finish(self.tasks, self)
  end
  self:cancel("cancel")
  self.wake_with, self.cancel_now = nil, nil
  stop_at_once(self.tasks, self, cancellation_of(self))
end

---Has it raised something else than its cancellation?
---@return boolean
function Task:failed()
  return self.ended and not self.ok and not task.is_cancelled(self.error)
end

---Has it ended, its defer functions included?
---@return boolean
function Task:is_ended()
  return self.ended
end

---Calls fn(task) when the task has ended (at once if it has). Returns what takes it back.
---@param fn fun(t: luapilot.Task)
---@return fun()
function Task:when_ended(fn)
  if self.ended then
    fn(self)
    return function() end
  end
  self.waiters = self.waiters or waitlist.new()
  local waiters = self.waiters
  local entry = waiters:add(fn)
  return function() waiters:remove(entry) end
end

---Does a task wait for its end, and hear what it raises? Who only tidies up after it (when_ended) does not.
---@return boolean
function Task:is_awaited() return self.listeners > 0 end

---Suspends the running task for `seconds`.
---@param seconds number
---@param what string?
function Scheduler:sleep(seconds, what)
  self:await(what or "pilot.sleep", function(wake)
    local id = self.loop:after(seconds, wake)
    return function() self.loop:cancel(id) end
  end)
end

---A call of the running task failed with this code of the port: what runs a task may ask whether the pilot was the
---reason.
---@param code string?
function Scheduler:fell_short(code)
  if self.current then self.current.short_of = code end
end

-- Who waits for the end of `t` hears it. Returns what takes that back, to be called once.
local function listen(t, fn)
  t.listeners = t.listeners + 1
  local forget = t:when_ended(function() fn(true) end)
  return function()
    t.listeners = t.listeners - 1
    forget()
  end
end

local FARTHEST = 1000 -- tasks that wait for each other in a row: more are not looked at

---Does it wait for another task, perhaps by way of others? Or is it that one?
---@param other luapilot.Task
---@return boolean
function Task:leads_to(other)
  local t = self
  for _ = 1, FARTHEST do
    if t == other then return true end
    t = t.awaits_task
    if not t then break end
  end
  return false
end

local function await_for_ever(self, t, what)
  local waiter = self.current
  return self:await(what, function(wake)
    waiter.awaits_task = t
    local forget = listen(t, function()
      waiter.awaits_task = nil
      wake(true)
    end)
    return function()
      waiter.awaits_task = nil
      forget()
    end
  end)
end

-- Waits for the end of `t`; something true, or nil when `seconds` were over first.
local function await_end(self, t, seconds, what)
  if t:is_ended() then return true end
  if not seconds then return await_for_ever(self, t, what) end
  return self:await(what, function(wake)
    local timer
    local forget = listen(t, function()
      self.loop:cancel(timer)
      wake(true)
    end)
    timer = self.loop:after(seconds, function()
      forget()
      wake(nil)
    end)
    return function()
      forget()
      self.loop:cancel(timer)
    end
  end)
end

---Raises what task.error made of an error: the value itself, and where it came from is not forgotten.
---@param err any
function task.raise_again(err)
  if getmetatable(err) ~= TaskError then error(err, 0) end
  passed_on = err
  error(err.value, 0)
end
local raise_again = task.raise_again

-- What a task came to: its results, or nil and "cancelled", or its error again.
local function outcome_of(t)
  if t.ok then return unpack(t.results, 1, t.results.n) end
  if task.is_cancelled(t.error) then return nil, "cancelled" end
  raise_again(t.error)
end

---Waits for a task: its results; nil, "timeout"; nil, "cancelled"; raises what it raised.
---@param t luapilot.Task
---@param seconds number?
---@return any ...
function Scheduler:wait(t, seconds)
  if not await_end(self, t, seconds, "task:wait") then return nil, "timeout" end
  return outcome_of(t)
end

---Runs fn as a child that may take `seconds`: its results, or nil, "timeout" when it was cancelled for that.
---@param seconds number
---@param fn function
---@return any ...
function Scheduler:timeout(seconds, fn, ...)
  local owner = self.current
  if not owner then self:await("pilot.timeout", function() end) end
  local t = self:spawn(fn, { name = owner.name }, ...)
  if await_end(self, t, seconds, "pilot.timeout") then return outcome_of(t) end
  t:cancel("timeout")
  await_end(self, t, nil, "pilot.timeout")
  if t.ok then return outcome_of(t) end
  if not task.is_cancelled(t.error) then raise_again(t.error) end
  return nil, "timeout"
end

---Runs fn(reason) when the running task ends, however it ends.
---@param fn fun(reason: string)
function Scheduler:defer(fn)
  local t = self.current
  if not t then error("pilot.defer belongs to a task, and the top level of a pilot.lua is none", 0) end
  if t.deferring then error("pilot.defer: the task is ending already", 3) end
  t.defers = t.defers or {}
  t.defers[#t.defers + 1] = fn
end

return task
