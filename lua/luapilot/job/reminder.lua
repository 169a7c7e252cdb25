-- reminder: when it is told what jobs wait for (job/awaited.lua): of each by its own time, with one timer for all.
--
-- It owns that timer (`app.look`, which job/arming.lua cancels in a shutdown) and the time of each job
-- (`runner.waits`). It tells nothing itself. Loaded with the first job that waits for another one, a watch, a template
-- or a function.

local lazy = require "luapilot.base.lazy"

local awaited = lazy.require "luapilot.job.awaited"

local reminder = {}

local LONG = 10 -- seconds that a job waits in silence

-- One timer for all who wait: that of whom it is to be told first.
local function look_at(app, due)
  if app.look and app.look.due <= due then return end
  if app.look then app.loop:cancel(app.look.timer) end
  app.look = { due = due, timer = app.loop:after(due - app.port.now(), function()
    app.look = nil
    local following = awaited.look(app)
    if following then look_at(app, following) end
  end) }
end

---Who waits long says for what: a job that begins to wait, or, after a handoff, goes on.
---@param runner luapilot.Runner
function reminder.later(runner)
  local memory, now = runner.memory, runner.app.port.now()
  runner.waits = { since = memory.state == "blocked" and memory.since or now, due = now + LONG }
  look_at(runner.app, runner.waits.due)
end

return reminder
