-- shutdown: how a pilot ends in order, and with which code.
--
--   frozen: no new starts ─▶ jobs stop, dependents before their sources ─▶ handlers end ─▶ tasks are cancelled ─▶ over
--
-- It owns the order and the clock: whatever goes wrong below, the whole ends within its seconds, the last of which
-- belong to SIGKILL. It stops no job itself (job/machine.lua does, told by an input), and it never ends the process:
-- the app hears that it is over.

local duration = require "luapilot.base.duration"
local lazy = require "luapilot.base.lazy"

local dependencies = lazy.require "luapilot.job.dependencies"
local verdict = lazy.require "luapilot.pilot.verdict"

local shutdown = {}

local LAST_SHARE, LAST_MOST = 0.15, 1 -- of the whole: what is left for the dead to be buried after SIGKILL
local LEAVING = 1                     -- seconds: the longest that a deregistration holds up the end
local LEAST = 0.1                     -- seconds that a stop has at least
local BUSY = 1                        -- … that the loop may be late: whoever ends us from outside has a clock, too
local SMALL = 16 * 1024               -- KiB of a heap: in the simulator thousands of pilots end in one process
local CUT_SHORT = 124                 -- the exit code of a shutdown that had to kill a job, …
local BROKEN = 70                     -- … and that of a core that had an error

---@class luapilot.Shutdown
---@field app luapilot.App
---@field open integer       jobs that are not closed
---@field asked integer      of them, those that were asked to stop
---@field found table<luapilot.Runner, true>   jobs whose services Consul still holds
---@field killing boolean
---@field limit luapilot.Budget    until what is left is killed
---@field whole luapilot.Budget    until all is over
---@field at_once boolean?
local Shutdown = {}
Shutdown.__index = Shutdown

-- A job is asked to stop when those are gone whose trigger names it, or that depend on it: `before` counts them. One
-- without a process is gone for itself, and for its sources only when those are gone who wait for it: an app that waits
-- for a migration, which is long over, needs the database that the migration waited for.
local function plan(self)
  for _, runner in ipairs(self.app.order) do runner.before = #runner.dependents end
end

-- Who waits for one of these jobs, directly or not, stops before it.
local function need_not_stay(list)
  local seen, i = {}, 1
  while list[i] do
    for _, dependent in ipairs(list[i].dependents) do
      if not seen[dependent] then
        seen[dependent], dependent.stays, list[#list + 1] = true, false, dependent
      end
    end
    i = i + 1
  end
end

-- Others may still find a job that has nothing to stop.
local function leave(self, runner)
  if not self.found[runner] then return end
  self.app.advertiser:leave(runner, function() self:left(runner) end)
  if self.found[runner] then self.app.loop:after(LEAVING, function() self:left(runner) end) end
end

-- One of the jobs may be the Consul agent itself, and nobody need say that he waits for it. It must not be gone before
-- it has heard of the services: jobs without one are stopped when none is found any more.
local function plan_to_leave(self)
  if not self.app.consul then return end
  local with_services = {}
  for _, runner in ipairs(self.app.order) do
    if runner.spec.service then
      self.found[runner], with_services[#with_services + 1] = true, runner
    else
      runner.stays = true
    end
  end
  need_not_stay(with_services)
end

local function limit(self, seconds)
  local app = self.app
  local orderly = seconds - math.min(LAST_MOST, LAST_SHARE * seconds)
  app.port.deadline(seconds, orderly, app.asked_code)
  self.limit = app.loop:allow(orderly, function()
    app:log("warn", ("the shutdown is near its bound of %s: killing what is left"):format(duration.format(seconds)),
      nil, "killing", nil, { reason = "shutdown_timeout" })
    self:kill(true)
  end, BUSY)
  self.limit.counted = function(left) app.port.deadline(nil, left) end
  self.whole = app.loop:allow(seconds, function() app:finish() end, BUSY)
end

-- Seconds; a pause takes none of them. (left() of task/budget.lua says the same: most pilots end without loading that.)
local function left_of(self, budget) return budget.left + math.max(0, budget.due - self.app.port.now()) end

---How long it may still take.
---@return number seconds
function Shutdown:remaining() return left_of(self, self.whole) end

---Asks a job to stop. That may take what is left of the shutdown, whatever its stop_timeout says.
---@param runner luapilot.Runner
function Shutdown:close(runner)
  if runner.asked or runner.closed then return end
  runner.asked, self.asked = true, self.asked + 1
  runner:input("close", { budget = math.max(LEAST, left_of(self, self.limit)) })
  self:closed(runner)
end

local function close_later(self, runner)
  self.app:command(function() self:close(runner) end)
end

local function is_next(self, runner)
  return runner.before == 0 and not (runner.stays and next(self.found))
end

-- No new starts from now on. Jobs without a process have nothing to wait for.
local function freeze(self, runner)
  local state = runner.memory.state
  if is_next(self, runner) or not runner:is_active() or state == "preparing" or state == "blocked" then
    return self:close(runner)
  end
  runner:input("freeze", {})
end

---@param app luapilot.App
---@return luapilot.Shutdown
function shutdown.new(app)
  return setmetatable({ app = app, open = #app.order, asked = 0, found = {}, killing = false }, Shutdown)
end

---Once. Returns at once.
function Shutdown:begin()
  local app = self.app
  limit(self, app.shutdown_timeout)  -- first: whatever goes wrong below, it ends
  if collectgarbage "count" < SMALL then -- what ends soon need not be tidied before the heap has doubled
    collectgarbage("restart", -1)
  end
  plan(self)
  plan_to_leave(self)
  for _, runner in ipairs(app.order) do runner.starter:stop() end
  for _, holder in ipairs(app:sorted_holders()) do
    holder:cancel()
    if holder.halt then holder:halt() end
  end
  app:command(function()
    for _, runner in ipairs(app.order) do freeze(self, runner) end
  end)
end

-- Nobody is left who needs the job, or through it one of its sources: those that are gone hand that on.
local function release(self, runner)
  local open = { runner.before == 0 and runner or nil }
  while open[1] do
    local gone = table.remove(open)
    for _, source in ipairs(self.app:sources_of(gone)) do
      source.before = source.before - 1
      if source.closed then
        open[#open + 1] = source.before == 0 and source or nil
      elseif is_next(self, source) then
        close_later(self, source)
      end
    end
  end
end

---A job has another state: it may be gone, and whom it waited for may be asked to stop.
---@param runner luapilot.Runner
function Shutdown:closed(runner)
  if runner.closed or not runner.memory.closing or runner:is_active() then return end
  runner.closed, self.open, self.app.dirty = true, self.open - 1, true
  if runner.asked then self.asked = self.asked - 1 end
  leave(self, runner)
  release(self, runner)
end

---The services of a job are not found any more: those who had to stay for that may be asked to stop.
---@param runner luapilot.Runner
function Shutdown:left(runner)
  if not self.found[runner] then return end
  self.found[runner], self.app.dirty = nil, true
  if next(self.found) then return end
  for _, other in ipairs(self.app.order) do
    if other.stays and is_next(self, other) then close_later(self, other) end
  end
end

-- The last job has ended; is Consul still being told so?
local function is_leaving(self)
  local app = self.app
  if self.killing or self.overdue or not app.advertiser:is_leaving() then return false end
  if not self.leaving then
    self.leaving = app.loop:after(LEAVING, function() self.overdue, app.dirty = true, true end)
  end
  return true
end

-- The end of one run of a handler must not be the beginning of the next.
local function end_tasks(self)
  local app = self.app
  app.bus:close()
  for _, t in ipairs(app.tasks.count > 0 and app.tasks:list() or {}) do
    if self.killing then t:abandon() else t:cancel "shutdown" end
  end
  if app.tasks.count == 0 and not is_leaving(self) then app:finish() end
  if self.at_once and app.tasks.queue.count > 0 then app.dirty = true end -- defer functions that wait are cut short
end

-- Of a job that is over, does Consul still hear that it is?
local function is_being_left(self)
  for runner in pairs(self.found) do
    if runner.closed then return true end
  end
  return false
end

-- All together, but none before those that depend on it.
local function close_ring(self)
  local left = {}
  for _, runner in ipairs(self.app.order) do left[#left + 1] = not runner.closed and runner or nil end
  for _, runner in ipairs(self.app.depends and dependencies.unneeded(left) or left) do self:close(runner) end
end

---The turn has come to rest: what is next?
function Shutdown:step()
  local app = self.app
  if self.open == 0 then
    if app.bus.open == 0 or self.killing then end_tasks(self) end -- what handlers have begun, or wait for, is awaited
  elseif self.asked == 0 and not is_being_left(self) then -- triggers that name each other: all of those jobs together
    close_ring(self)
  end
end

---SIGKILL to all, nobody is waited for.
---@param patient boolean?    but for defer functions, until the seconds of the whole are over
function Shutdown:kill(patient)
  self.killing, self.app.dirty = true, true
  self.at_once = self.at_once or not patient
  for _, runner in ipairs(self.app.order) do
    if not runner.closed then
      runner:kill()
      self:closed(runner)
    end
  end
end

-- --- the exit code ---------------------------------------------------------------------------

-- The first job that failed and will not be started again decides.
local function code_of_jobs(order)
  local first
  for _, runner in ipairs(order) do
    local exit = runner.memory.exit
    if exit and exit.final and exit.code ~= 0 and not exit.asked and (not first or exit.at < first.at) then
      first = exit
    end
  end
  return first and first.code or 0
end

-- Of several main jobs, the one that completed first ended the pilot.
local function code_of_main(app)
  for _, runner in ipairs(app.main and { app.main } or app.order) do
    local exit, never = runner.memory.exit, runner.memory.unmet
    if runner.spec.main then
      if never then return never.code or 1 end
      return exit and not exit.asked and exit.code or 0
    end
  end
end

-- A stop that was cut short must not look like a clean one.
local function code_of_killed(app)
  local killed = {}
  for _, runner in ipairs(app.order) do
    if runner.memory.cut_short then killed[#killed + 1] = runner end
  end
  if not killed[1] then return nil end
  app:log("warn", verdict.killed(killed), nil, "cut_short", nil, { jobs = #killed })
  return CUT_SHORT
end

---What was asked for; else 70 after an error of the core; else 124 where a job had to be killed; else the main job's,
---or that of what failed so that it could never start; else that of the first job that failed for good, or 0.
---@param app luapilot.App
---@return integer
function shutdown.exit_code(app)
  local killed = code_of_killed(app)
  return app.asked_code or app.broken and BROKEN or killed or code_of_main(app) or code_of_jobs(app.order)
end

return shutdown
