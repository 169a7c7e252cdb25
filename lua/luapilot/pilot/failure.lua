-- failure: what a pilot does when something in it has failed: code of the user, the core itself, memory.
--
-- Methods of pilot/app.lua's App, loaded when the first of these happens. They tell it, and choose between going on and
-- ending; they repair nothing.

local size = require "luapilot.base.size"
local task = require "luapilot.task.task"

local failure = {}

local EXHAUSTED = 70 -- the exit code, as that of an error of the core (pilot/shutdown.lua)

---An error in the user's code: logged with its traceback, and published as `error`; not that of a handler of `error`,
---which would go round for ever: only whoever observes sees it.
---@param self luapilot.App
---@param where string      "job \"app\": prepare"
---@param err any           a value, or a TaskError with its traceback
---@param event table?      that a handler was called for
function failure.complain(self, where, err, event)
  local message = tostring(err)
  local job, what = where:match '^job "([%w-]+)": (.*)'
  self:log("error", (what or where) .. ": " .. message, nil, "error", job)
  local told = { name = "error", source = self.object, where = where, message = task.message(err), error = err }
  if not (event and event.name == "error") then return self:publish("pilot", told) end
  if self.observe then self.observe(told, true) end
end

-- The order of a shutdown is lost: all that is left is asked to stop at once, as it wants to be; a second time it is
-- killed.
local function hasten(self, closing)
  if closing.killing then return end
  if closing.hasty then return self:command(function() closing:kill() end) end
  closing.hasty = true
  for _, runner in ipairs(self.order) do
    if runner.asked and not runner.closed then runner.asked, closing.asked = false, closing.asked - 1 end
    self:command(function() closing:close(runner) end)
  end
end

---An error of the core itself must not end supervision: it is told, the other jobs go on, and the pilot ends with 70
---whenever it does. Where it is looked whether the pilot is over, nobody would end it any more: it ends now, in order.
---Without memory there is no going on: the jobs are the guardian's.
---@param self luapilot.App
---@param err string     with its traceback
function failure.own_error(self, err)
  if tostring(err):find "^not enough memory" then error(err, 0) end
  self:log("error", "an error inside luapilot, please report it: " .. tostring(err), nil, "internal_error")
  local judging = self.judging
  self.broken, self.judging = true, nil
  if self.phase == "closing" then return hasten(self, self.closing) end
  if judging then self:shutdown() end
end

---Lua has too much in use, and to end tasks for it did not help.
---@param self luapilot.App
function failure.exhausted(self)
  self:log("error", ("Lua has more than %s of memory in use, and tasks were ended in vain: shutting down "
    .. "(LUAPILOT_MEMORY)"):format(size.format(self.memory)), nil, "shutdown", nil, { reason = "memory" })
  self:shutdown(EXHAUSTED)
end

return failure
