-- adoption: how a job goes over from one core to the next: what is told of it, and how the next one goes on with it.
--
-- The methods snapshot and restore of job/runner.lua's Runner, loaded with the first handoff. It owns that form of a
-- job (plain data). What a runner does with a job that is its own stays there: the effects of the machine are lent.

local copy = require "luapilot.base.copy"
local health = require "luapilot.job.health"
local machine = require "luapilot.job.machine"
local lazy = require "luapilot.base.lazy"
local budgets = require "luapilot.task.budget"
local schema = require "luapilot.schema.schema"

local dependencies = lazy.require "luapilot.job.dependencies"
local prober = lazy.require "luapilot.job.prober"

local adoption = {}

-- Timers of the machine survive a reload: what is left of each.
local function timers_left(self)
  local left, now = {}, self.app.loop.port.now()
  for key, timer in pairs(self.timers) do
    left[key] = type(timer) == "table" and budgets.left(timer, now) or math.max(0, self.due[key] - now)
  end
  return left
end

-- What makes it the same job for a new core: that with which its process was started.
local IDENTITY = {
  "exec", "env", "env_file", "env_clear", "cwd", "user", "group", "umask", "limits", "no_new_privs", "oom_score_adj",
  "cgroup", "log", "stdin", "pidfile",
}

local function identity(spec)
  local data = { run = spec.run ~= nil }
  for _, field in ipairs(IDENTITY) do data[field] = spec[field] end
  return data
end

-- Its process goes on. Lines come from now on as the new file wants them.
local function adopt_process(self, id, route)
  local captured = self.spec.log.mode == "lines" and self.app.bus:has(self.topic, "output")
  self.streams, self.late = 0, true
  route(self, id)
  self.app.port.hold(id, false) -- by the former core
  self:hear(id, captured)
end

local function adopt_checks(self, data)
  local m, checks, now = self.memory, self.spec.health, self.app.loop.port.now()
  if m.state ~= "running" or m.killed_by then return end
  if #checks > 0 then self.prober = prober.start(self, data and health.restore(data, checks, now)) end
  m.health = self.prober and self.prober.memory.state or "unknown"
end

-- Tasks do not survive a reload: what they were doing is done again, or counts as done.
local function replace_tasks(self, apply)
  local m = self.memory
  if m.state == "preparing" then
    if self.process then return end -- its start is under way
    if self.spec.prepare then return apply.prepare(self) end
    return self:post("prepared")
  end
  local is_gone = m.state == "stopping" and m.stop.gone
  local told = m.state == "stopping" and not (m.stop.handlers or m.stop.bound)
  if told then self:post("handlers_done") end -- which may start it again
  local lives = self.process ~= nil or not (self.spec.run or self.spec.exec)
  if self:is_active() and not lives and not is_gone then self:post("lost") end
end

---The methods of a runner that are about this.
---@param apply table<string, fun(self: luapilot.Runner, ...)>    the effects of the machine, by name
---@param route fun(self: luapilot.Runner, process: integer)
---@return table<string, function>
function adoption.of(apply, route)
  local methods = {}

  ---@return table    plain data, the process id at the port included
  function methods.snapshot(self)
    return {
      memory = machine.snapshot(self.memory), starter = self.starter:snapshot(), process = self.process,
      timers = timers_left(self), health = self.prober and health.snapshot(self.prober.memory) or nil,
      identity = identity(self.spec), stop_signal = self.spec.stop_signal, stop_timeout = self.spec.stop_timeout,
      leaving = self.leaving, hands_over = self.hands_over,
    }
  end

  ---Takes over a job that a former core left: its process goes on, its counters too. A job that was changed is started
  ---anew; where its process lives it is stopped before.
  ---@param data table
  ---@return table? starter    what its trigger goes on with; nil: as a new job
  function methods.restore(self, data)
    local changed = not copy.equal(identity(self.spec), data.identity)
    if changed and not machine.active(data.memory) and data.memory.state ~= "held" then return nil end
    self.memory, self.leaving, self.hands_over = machine.restore(data.memory), data.leaving, data.hands_over
    if data.process then adopt_process(self, data.process, route) end
    for _, key in ipairs(schema.keys(data.timers)) do apply.timer(self, key, data.timers[key]) end
    adopt_checks(self, data.health)
    replace_tasks(self, apply)
    local m = self.memory
    if self.spec.depends_on or m.state == "blocked" or m.stop and m.stop.bound then
      self.app:command(function() dependencies.resume(self) end) -- when the others are taken over, too
    end
    if changed and data.process and not self.memory.hold then self:post("stop", { again = "user" }) end
    return data.starter
  end

  return methods
end

return adoption
