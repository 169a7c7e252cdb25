-- runner: one job at work. It feeds what happens into the machine (job/machine.lua) and does what comes out.
--
-- It owns the job's process or Lua run, its timers, its prober, its starter and whoever waits for its state.
-- It decides nothing: a decision belongs into job/machine.lua. Inputs are posted to the app's queue, never nested.
-- Its methods snapshot and restore are job/adoption.lua's, loaded with the first handoff: most pilots have none.

local constant = require "luapilot.base.constant"
local machine = require "luapilot.job.machine"
local lazy = require "luapilot.base.lazy"
local starter = require "luapilot.job.starter"

local dependencies = lazy.require "luapilot.job.dependencies"
local slow_start = lazy.require "luapilot.job.slow_start"
local output = lazy.require "luapilot.job.output"
local paths = lazy.require "luapilot.schema.paths"
local plans = lazy.require "luapilot.job.plans"
local prober = lazy.require "luapilot.job.prober"
local program = lazy.require "luapilot.job.program"
local waitlist = lazy.require "luapilot.base.waitlist"
local task = lazy.require "luapilot.task.task"

local runner = {}

local NOT_FOUND, NOT_EXECUTABLE = 127, 126

---@class luapilot.Runner
---@field app table
---@field spec table
---@field memory luapilot.JobMemory
---@field object table          what the user holds
---@field topic string          "job:app"
---@field number integer        in the order of declaration
---@field dependents luapilot.Runner[]   who waits for it
---@field process integer?      the port's handle
---@field routed integer?       a process before it, whose streams may still say something
---@field lines luapilot.Output?  of its process, once that has said something that somebody hears
local Runner = {
  -- Until it needs some of its own. There may be thousands: a table of more than eight fields is twice as large, and
  -- one that is set to nil counts.
  timers = constant.NONE, due = constant.NONE, dependents = constant.NONE,
  stops = 0,
  streams = 0, -- of the process, captured and not at their end
}
Runner.__index = Runner

-- A field is set to nil, if it is there at all.
local function clear(self, field)
  if self[field] ~= nil then self[field] = nil end
end

---@param app table
---@param spec table
---@param object table
---@param node luapilot.TriggerNode?
---@return luapilot.Runner
function runner.new(app, spec, object, node)
  local self = setmetatable({
    app = app, spec = spec, object = object, topic = "job:" .. spec.name,
    memory = machine.new(app.loop.port.now()),
  }, Runner)
  self.starter = starter.new(self, node)
  return self
end

---@param level string
---@param message string
---@param fields table?
---@param event string      of the reference's table
---@param facts table?      its own from now on
function Runner:log(level, message, fields, event, facts)
  local m = self.memory
  if facts then
    facts.pid, facts.restarts = m.pid or facts.pid, m.restarts
  else
    facts = { pid = m.pid, restarts = m.restarts }
  end
  self.app:log(level, message, fields, event, self.spec.name, facts)
end

---A tick of the clock comes while it is at work.
function Runner:skip()
  if self.memory.state == "blocked" then return dependencies.skip(self) end
  self:log("info", "the last run is not over: this one is skipped", nil, "skipped")
end

---Is there a process, or about to be one?
---@return boolean
function Runner:is_active()
  return machine.active(self.memory)
end

---An input for the machine, applied in this turn, after what is being done now.
---@param name string
---@param input table?
function Runner:post(name, input)
  self.app:command(Runner.input, self, name, input or {})
end

local apply = {} -- by effect

local function tell_of_change(self)
  self.app.advertiser:refresh(self)
  local watchers = self.watchers
  if not watchers then return end
  watchers:walk(function(fn, entry)
    if fn() then watchers:remove(entry) end
  end)
end

---@param name string
---@param input table
function Runner:input(name, input)
  local port = self.app.loop.port
  local before = self.memory.state
  local effects, changed = machine.input(self.spec, self.memory, name, input, port.now(), port.random)
  if changed then self.app:state_changed(self, before, self.memory.state) end
  for _, effect in ipairs(effects) do
    apply[effect[1]](self, effect[2], effect[3], effect[4])
  end
  if changed or #effects > 0 then tell_of_change(self) end
end

---Calls fn() after each change of state, until it returns true. Returns what takes it back.
---@param fn fun(): boolean
---@return fun()
function Runner:watch(fn)
  self.watchers = self.watchers or waitlist.new()
  local watchers = self.watchers
  local entry = watchers:add(fn)
  return function() watchers:remove(entry) end
end

-- --- effects: timers, log, events ------------------------------------------------------------

-- What a job is given to end, not what is waited for: see Loop:allow.
local BUDGETS = { run = true, handlers = true, kill = true, unbind = true }

-- A timer that was taken back after it fired, but before its input was applied, is none.
local function timer_is_due(self, key, id)
  if self.timers[key] ~= id then return end
  self.timers[key], self.due[key] = nil, nil
  self:input(key .. "_due", {})
end

function apply.timer(self, key, seconds)
  apply.untimer(self, key)
  local app, id = self.app, nil
  if self.timers == constant.NONE then self.timers, self.due = {}, {} end
  local function over() app:command(timer_is_due, self, key, id) end
  if BUDGETS[key] then
    id = app.loop:allow(seconds, over)
  else
    id, self.due[key] = app.loop:after(seconds, over), app.loop.port.now() + seconds
  end
  self.timers[key] = id
end

function apply.untimer(self, key)
  if not self.timers[key] then return end
  self.app.loop:cancel(self.timers[key])
  self.timers[key], self.due[key] = nil, nil
end

function apply.log(self, level, message, facts)
  local event, fields = facts.event, facts.shown
  facts.event, facts.shown = nil, nil
  self:log(level, message, fields, event, facts)
end

local function exit_line(fields, code, spec)
  if fields.reason == "timeout" then return "timed out" end
  local raised = spec.run and fields.reason == "exit" -- which is logged by itself
  if fields.error and not raised then return fields.error end
  local line = fields.signal and "was killed by " .. fields.signal or "exited with code " .. (code or fields.code)
  return fields.reason == "health" and line .. " when it was stopped for failing its checks" or line
end

---How the last run ended, in words.
---@return string
function Runner:exit_text() return exit_line(self.memory.exit, nil, self.spec) end

-- What the log says of an event; nil: nothing.
local say = {
  exit_success = function() return "info", "exited with code 0" end,
  exit_failed = function(fields, code, spec)
    if fields.reason == "prepare" then return "error", "prepare failed" end -- why was told with its traceback
    local final = fields.reason == "dependency" and not spec.main -- which ends the pilot
    local line = exit_line(fields, code, spec)
    return "error", final and line .. "; not started again until a trigger or job:start()" or line
  end,
  healthy = function() return "info", "is healthy" end,
  unhealthy = function(fields, check)
    return "warn", ("is unhealthy: %s%s"):format(check, fields.output and ": " .. fields.output or "")
  end,
  stopped = function() return "info", "stopped" end,
}

-- What people are to see of a stop: neither a success nor the work of the stop signal.
local function shown_of(self, exit)
  local code = exit.code
  if exit.told or code == 0 or code == 128 + self.app.signal_number(self.spec.stop_signal) then return nil end
  return { code = code, signal = exit.signal }
end

-- The fields become the event.
function apply.publish(self, name, fields, more)
  if say[name] then
    local level, message = say[name](fields, more, self.spec)
    local facts, exit = nil, name == "stopped" and more or fields
    if exit.code then -- with room for what log() adds
      facts = { code = exit.code, signal = exit.signal, reason = exit.reason, pid = nil, restarts = nil }
    end
    self:log(level, message, exit ~= fields and shown_of(self, exit) or nil, name, facts)
  end
  fields.name, fields.source = name, self.object
  self.app:publish(self.topic, fields)
end

-- The `stopping` handlers are awaited. Those of an earlier stop, abandoned then, do not count for this one.
function apply.stopping(self)
  self:log("info", "stopping", nil, "stopping")
  self.stops = self.stops + 1
  local number = self.stops
  self.app:publish(self.topic, { name = "stopping", source = self.object }, function()
    if self.stops == number then self:post("handlers_done") end
  end)
end

-- There is no event for an exit during a stop.
function apply.exited(self, how)
  if how ~= "early" then return end
  local exit = self.memory.exit
  self:log(exit.code == 0 and "info" or "warn", self:exit_text() .. " while it was being stopped", nil, "exited",
    { code = exit.code, signal = exit.signal, reason = exit.reason })
end

function apply.abandon_handlers(self)
  self:log("warn", "its stopping handlers took too long: cancelled", nil, "handlers_cancelled")
  self.app.bus:cancel_runs(self.topic, "stopping")
end

-- Nothing starts it again by itself; the app looks at the triggers when this turn is over.
function apply.rest(self)
  self.app:doubt(self)
end

function apply.deregister(self)
  self.app.advertiser:leave(self, function(was)
    self:post("deregistered", { was = was })
    if self.app.closing then self.app.closing:left(self) end
  end)
end

-- --- effects: what it depends on -------------------------------------------------------------

for _, name in ipairs { "depend", "undepend", "unbind" } do
  apply[name] = function(self) dependencies[name](self) end
end

-- --- effects: prepare ------------------------------------------------------------------------

function apply.prepare(self)
  local t
  t = self.app.tasks:spawn(self.spec.prepare, {
    name = ("prepare of job %q"):format(self.spec.name), detached = true,
    ended = function()
      if t.ok then return self:prepared(t, "prepared", {}) end
      if self.preparing == t then self.app:complain(("job %q: prepare"):format(self.spec.name), t.error) end
      self:prepared(t, "prepare_failed", { message = "prepare failed: " .. task.message(t.error) })
    end,
  }, self.object)
  self.preparing = t
end

---@private
-- The end of a `prepare` that was taken back meanwhile says nothing.
function Runner:prepared(t, name, input)
  self.app:command(function()
    if self.preparing ~= t then return end
    self.preparing = nil
    self:input(name, input)
  end)
end

function apply.unprepare(self)
  if self.unheld then self.unheld() end
  self.unheld = nil
  local t = self.preparing
  self.preparing = nil
  if t then t:cancel("cancel") end
  if self.process then self.app.loop:cancel(self.process) end -- its start is under way
  self.process = nil
end

-- --- effects: the process --------------------------------------------------------------------

---What every program of this job is started with: its checks as well as itself.
---@param argv string[]
---@return luapilot.SpawnOptions?
---@return string? message
---@return string? code
function Runner:spawn_options(argv)
  local spec = self.spec
  local added, whole, code = self.app:environment(spec, self)
  if not added then return nil, whole, code end
  if argv[1]:find "^[^/].*/" then argv = paths.argv(argv, spec.cwd) end
  return {
    argv = argv, env = whole, env_added = added, cwd = spec.cwd, user = spec.user, group = spec.group,
    umask = spec.umask, limits = spec.limits, no_new_privs = spec.no_new_privs or nil,
    oom_score_adj = spec.oom_score_adj,
  }
end

-- Is there a check that waits for sd_notify?
local function says_ready(spec)
  for _, check in ipairs(spec.health) do
    if check.kind == "notify" then return true end
  end
end

-- But for the variables, and whether it is captured, all of it is what the file says: see job/plans.lua.
local function job_options(self, capture)
  local spec = self.spec
  local options, message, code = self:spawn_options(spec.exec)
  if not options then return nil, message, code end
  local log = spec.log
  options.output = log.mode ~= "none" and {
    name = spec.name, raw = log.mode == "raw" or nil, level = log.level, prefix = log.prefix, file = log.file,
    merge = log.merge, parse = log.parse, level_from = log.level_from,
  } or nil
  options.capture = capture
  options.notify = says_ready(spec) or nil
  if spec.stdin ~= "null" then options.input = spec.stdin end
  options.stop_signal, options.stop_timeout = spec.stop_signal, spec.stop_timeout
  options.leader_alone = spec.stop_mode == "mixed" or nil
  options.end_signal = options.leader_alone and "SIGKILL" or spec.stop_signal
  options.mark, options.pidfile = "LUAPILOT_JOB=" .. spec.name, spec.pidfile
  if spec.cgroup then
    options.cgroup = { name = spec.name }
    for key, value in pairs(spec.cgroup) do options.cgroup[key] = value end
  end
  return options
end

local on_event = {} -- by type of the port's event

function on_event.main(self, event)
  self:post("succeeded", { pid = event.pid })
end

function on_event.exit(self, event)
  local code = event.code
  if event.signal then code = 128 + self.app.signal_number(event.signal) end
  self:post("exited", { code = code, signal = event.signal, oom = event.oom, unfollowed = event.unfollowed })
end

-- The job is gone when nobody of its group lives and its last line has been published: a handler of `stopped` has
-- heard everything, and a pilot does not end before that. (The port ends captured streams soon after the group.)
local function gone(self)
  if not self.group_gone or self.streams > 0 or self.lines and self.lines:is_pending() then return end
  if self.late then self.routed = self.process else self.app.loop:unroute(self.process) end
  local event = self.group_gone
  self.group_gone, self.process = nil, nil
  self:post("group_gone", event)
end

function on_event.group_gone(self, event)
  self.group_gone = event
  gone(self)
end

function on_event.output(self, event)
  self.lines = self.lines or output.new(self)
  self.lines:take(event)
end

---All that the process has said so far is published (told by job/output.lua).
function Runner:published() gone(self) end

function on_event.notify(self, event)
  local successor = tonumber((event.fields.MAINPID or ""):match "^%d+$")
  if successor and successor > 0 and successor < 2 ^ 31 then
    self.hands_over = true
    self.app.loop.port.successor(self.process, successor)
  end
  if self.prober then self.prober:notified(event.fields) end
end

-- What the streams of a former process still say (it was captured only later) is not this one's.
local function route(self, id)
  local former = self.routed or self.process
  if former then self.app.loop:unroute(former) end
  if self.lines then self.lines:drop() end
  self.process = id
  clear(self, "routed")
  clear(self, "lines")
  self.app.loop:route(id, self)
end

---An event of its process: to the loop it is a function.
Runner.__call = function(self, event)
  local fn = on_event[event.type] or slow_start[event.type]
  if fn then fn(self, event) end
end

local function failure_code(code, stage)
  if stage == "exec" and code == "ENOENT" then return NOT_FOUND end
  return NOT_EXECUTABLE
end

---@param message string
---@param code string?
---@param stage string?
function Runner:cannot_start(message, code, stage)
  if stage then message = paths.of_job(self, message, code, stage) end
  self:input("spawn_failed", {
    message = message, transient = program.SHORT[code], code = failure_code(code, stage),
  })
end

---Its program runs.
---@param pid integer
function Runner:started(pid)
  self:log("info", "started", { pid = pid }, "started")
  self:input("spawned", { pid = pid })
end

local function spawn_program(self)
  local log = self.spec.log
  local capture = log.mode == "lines" and self.app.bus:has(self.topic, "output") or nil
  local start, why, short_of
  if self.memory.runs > 1 then
    start, why, short_of = plans.of(self, capture, job_options)
  else
    start, why, short_of = job_options(self, capture)
  end
  if not start then return self:cannot_start(why, short_of) end
  local id, pid, code, stage = self.app.loop.port.spawn(start)
  if not id then return self:cannot_start(pid, code, stage) end
  local streams = capture and (log.merge and 1 or 2) or 0
  if self.streams ~= streams then self.streams = streams end
  clear(self, "late")
  clear(self, "hands_over")
  route(self, id)
  if pid then self:started(pid) end
end

-- A job written in Lua: a task instead of a process, the same life.
local function spawn_task(self)
  local t
  t = self.app.tasks:spawn(self.spec.run, {
    name = ("run of job %q"):format(self.spec.name), detached = true,
    ended = function()
      if self.lua_run == t then self.lua_run = nil end
      local failed = t:failed()
      if failed then self.app:complain(("job %q: run"):format(self.spec.name), t.error) end
      local code = t.ok and 0 or 1
      self:post("exited", {
        code = code, reason = "exit", error = failed and task.message(t.error) or nil,
      })
      self:post("group_gone")
    end,
  }, self.object)
  self.lua_run = t
  self:log("info", "started", nil, "started")
  self:input("spawned", {})
end

-- What exists is "running" at once, not at the next command: that may be a stop, which must find it. It is
-- always the last effect of its input.
-- A file on trial may be this job's configuration: it waits for the verdict.
function apply.spawn(self)
  local unheld = self.app.trials:after_trials(function() apply.spawn(self) end)
  if unheld then
    self.unheld = unheld
    return
  end
  clear(self, "unheld")
  clear(self, "leaving")
  if self.spec.run then return spawn_task(self) end
  if self.spec.exec then return spawn_program(self) end
  self:input("spawned", {}) -- it only registers and checks: there is no process
end

-- What a signal means to a job without a process.
local function signal_task(self, name)
  local t = self.lua_run
  if name == "SIGKILL" then
    if t then t:abandon() end
  elseif t then
    t:cancel(self.memory.closing and "shutdown" or "cancel")
  end
end

function apply.signal(self, name, target)
  if not self.process then
    if self.spec.run then return signal_task(self, name) end
    if self.spec.exec then return end
    self:post("exited", { code = 0 })
    return self:post("group_gone")
  end
  local stops = name == "SIGKILL" or name == self.spec.stop_signal and target == "group" -- who follows has heard it
  if stops and (self.spec.pidfile or self.hands_over) then self.app.loop.port.successor(self.process, 0) end
  self.app.loop.port.kill(self.process, name, target)
  -- A stopped (SIGSTOP) process hears of a signal when it goes on.
  if name == self.spec.stop_signal then self.app.loop.port.kill(self.process, "SIGCONT", target) end
end

-- A reload function works alone: what is asked for meanwhile is done once more afterwards.
function apply.reload(self)
  if self.reload_held then return end
  self.reload_held = self.app.trials:after_trials(function()
    self.reload_held = nil
    self:post("reload")
  end)
  if self.reload_held then return end
  local reload = self.spec.reload
  local named = type(reload) == "string"
  if not named and self.reload_task then
    self.reload_again = true
    return
  end
  self:log("info", "reloading", named and { signal = reload } or nil, "reloading")
  if named then return apply.signal(self, reload, "leader") end
  self.reload_task = self.app.tasks:spawn(reload, {
    name = ("reload of job %q"):format(self.spec.name), detached = true,
    ended = function(t)
      local again = self.reload_again and not t.reason
      self.reload_task, self.reload_again = nil, nil
      if t:failed() then self.app:complain(("job %q: reload"):format(self.spec.name), t.error) end
      if again then self:post("reload") end
    end,
  }, self.object)
end

-- --- effects: checks -------------------------------------------------------------------------

function apply.probe(self)
  if #self.spec.health == 0 then return end
  self.prober = prober.start(self)
  self:pause(self.app.advertiser:is_maintained(self))
end

---In maintenance nothing is checked.
---@param on boolean
function Runner:pause(on)
  if self.prober then self.prober:pause(on) end
end

function apply.unprobe(self)
  if self.prober then self.prober:stop() end
  self.prober = nil
end

-- --- what the user asks ----------------------------------------------------------------------

---Lines reach Lua from now on (somebody subscribed to `output`), or it is said that they do not, for want of memory.
function Runner:capture()
  if not self.process or self.streams > 0 then return end
  self.late = true -- when its streams end is not known any more
  self:hear(self.process, true)
end

---@param id integer     its process
---@param on boolean
function Runner:hear(id, on)
  local ok, message, code = self.app.loop.port.capture(id, on)
  if ok or code ~= "ENOMEM" then return end -- else there is nothing to hear
  self:log("error", ("no handler hears its output: %s"):format(message), nil, "error")
end

---Is `state` (of wait_for) true now?
---@param state string
---@return boolean
function Runner:is(state)
  local m = self.memory
  if state == "healthy" or state == "unhealthy" then return m.state == "running" and m.health == state end
  if state == "running" then return m.state == "running" end
  if state == "stopped" then return not self:is_active() and m.state ~= "backoff" end
  local exited = m.state == "ending" or m.state == "stopping" and m.stop.exited or m.state == "blocked"
    or not self:is_active()
  local over = m.exit ~= nil and exited
  if state == "exited" then return over end
  if state == "exit_success" then return over and m.exit.code == 0 end
  return over and m.exit.code ~= 0
end

---Why `state` can no longer come, or nil when it still can.
---@param state string
---@return string?
function Runner:never(state)
  if self:is(state) then return nil end
  if self.memory.state == "complete" then return "complete" end
  if (state == "healthy" or state == "unhealthy") and #self.spec.health == 0 then return "no health check" end
end

---Ends it now, whatever it is doing: SIGKILL, and nobody is waited for.
function Runner:kill()
  self:input("close", {})
  self:input("kill_due", {})
end

-- How it goes over to a new core.
lazy.methods(Runner, function() return lazy.load("luapilot.job.adoption").of(apply, route) end, {
  "snapshot", "restore",
})

return runner
