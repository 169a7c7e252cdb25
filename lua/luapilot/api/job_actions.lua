-- job_actions: what handlers ask of a job, and do with it: wait for it, start it, stop it …
--
-- Methods of the object that pilot.job gives; api/job.lua lends them to it when the first is called. Methods that wait
-- suspend the task; a failed :start() raises, conditions return. It owns nothing.

local arguments = require "luapilot.schema.arguments"
local events = require "luapilot.schema.events"
local lazy = require "luapilot.base.lazy"
local option_schema = require "luapilot.schema.options"
local schema = require "luapilot.schema.schema"
local signals = require "luapilot.base.signals"

local condition = lazy.require "luapilot.task.condition"

local job_actions = {}

---@class luapilot.Job
local methods = {}

local front -- the facade of jobs

---The methods.
---@param facade table      of jobs: whose objects they belong to
---@return table<string, function>
function job_actions.of(facade)
  front = facade
  return methods
end

-- Level 1: the method that calls this.
local function of(self, method, level)
  local h = front.of(self, method, (level or 1) + 1)
  return h, h.spec and h -- an object that is described stands for its runner
end

-- Methods that act need a running pilot; all need a described job.
local function acting(self, method)
  local h, r = of(self, method, 2)
  if h.app.phase == "declaring" then
    error(("job:%s acts, and the top level of a pilot.lua only declares: call it in a handler"):format(method), 3)
  end
  return r, h.app
end

-- --- waiting ---------------------------------------------------------------------------------

-- Waits for a job, and the task says so: a handler that waits for the job whose lines it hears must not hold it up.
-- begin(done, give_up): what can come no more because the pilot shuts down ends the task, unless that was known before.
local function wait(app, r, what, seconds, begin)
  local t, phase = app.tasks.current, app.phase
  return condition.until_done(app, what, seconds, function(done)
    local over = false
    local function came(...)
      over, t.awaits = true, nil
      done(...)
    end
    local stop = begin(came, function(...)
      if r.memory.closing and phase == "running" then return t:cancel "shutdown" end
      came(...)
    end)
    if not over then t.awaits = r end
    return function()
      t.awaits = nil
      stop()
    end
  end)
end

---Raises where the lines of a job never pass through the pilot, so that nobody can hear them.
---@param r luapilot.Runner
---@param level integer   of error(): 1 is the caller's line
function job_actions.check_lines(r, level)
  local mode = r.spec.log.mode
  if mode == "lines" then return end
  error(('job %q: its log is %q, so its "output" event can never come: use "lines"'):format(r.spec.name, mode),
    level + 1)
end

---Waits until the job is "healthy", "unhealthy", "running", "stopped", "exited", "exit_success" or
---"exit_failed"; returns at once if it is so now.
---@param state string
---@param timeout string|number|nil
---@return true?
---@return string? why      "timeout", or why it can no longer come: "complete", "no health check"
function methods.wait_for(self, state, timeout)
  local h, r = of(self, "wait_for")
  local ok, message = events.check_state(state)
  if not ok then error("job:wait_for: " .. message, 2) end
  local seconds = condition.seconds(timeout, "job:wait_for", 2)
  return wait(h.app, r, "job:wait_for", seconds, function(done, give_up)
    local function look()
      if r:is(state) then done(true) return true end
      local why = r:never(state)
      if why then give_up(nil, why) return true end
      return false
    end
    if look() then return function() end end
    return r:watch(look)
  end)
end

---Waits for the next time that `event` happens.
---@param event string
---@param timeout string|number|nil
---@return table? event
---@return string? why      "timeout", or "complete": the job will not run again
function methods.next(self, event, timeout)
  local h, r = of(self, "next")
  local ok, message = events.check("job", event)
  if not ok then error("job:next: " .. message, 2) end
  local seconds = condition.seconds(timeout, "job:next", 2)
  if event == "output" and r then job_actions.check_lines(r, 2) end
  return wait(h.app, r, "job:next", seconds, function(done, lost)
    local listener
    local unwatch
    local function stop()
      h.app.bus:forget(listener)
      unwatch()
    end
    listener = h.app.bus:listen("job:" .. r.spec.name, event, function(what)
      stop()
      done(what)
    end)
    -- The last events of a job that completes are still on the bus: they come first.
    local function give_up()
      if r.memory.state ~= "complete" or listener.gone then return end
      if h.app.bus:queued() > 0 then return h.app:command(give_up) end
      stop()
      lost(nil, "complete")
    end
    unwatch = r:watch(function()
      if r.memory.state == "complete" then h.app:command(give_up) end
      return false
    end)
    h.app:command(give_up)
    if event == "output" then r:capture() end
    return stop
  end)
end

-- --- acting ----------------------------------------------------------------------------------

-- Posts an input and waits. begin(), called just before it is applied, gives the question whether what was asked for
-- has come, and the input.
local function post_and_wait(app, r, what, begin)
  return wait(app, r, what, nil, function(done, give_up)
    local taken_back, unwatch = false, nil
    app:command(function()
      if taken_back then return end
      local is_over, name, input = begin()
      r:input(name, input)
      local function look()
        local over, message = is_over()
        if over then (over == "no" and give_up or done)(over, message) end
        return over ~= nil
      end
      if not look() then unwatch = r:watch(look) end
    end)
    return function()
      taken_back = true
      if unwatch then unwatch() end
    end
  end)
end

local NO_PROCESS = { waiting = true, held = true, complete = true }

-- What has become of a start since the exit before it: "yes", or "no" and why; nil while it is under way.
local function started(r, exit)
  local m = r.memory
  if m.state == "running" then return "yes" end
  if m.closing then return "no", "the pilot shuts down" end
  local failed = m.exit ~= exit and m.exit.error
  if failed and m.state ~= "stopping" and m.state ~= "ending" then return "no", failed end
  if NO_PROCESS[m.state] then return "no", "it was stopped meanwhile" end
end

local function begin_start(r)
  local exit = r.memory.exit
  return function() return started(r, exit) end, "start", {}
end

-- Raises at the caller of a method.
local function check_started(r, how, message)
  if how == "no" then error(("job %q cannot be started: %s"):format(r.spec.name, message), 3) end
end

---Starts it, and waits until its process exists. Raises when it cannot be started. A job that runs stays as it is.
function methods.start(self)
  local r, app = acting(self, "start")
  local how, message = post_and_wait(app, r, "job:start", function() return begin_start(r) end)
  check_started(r, how, message)
end

---Stops it, and waits until no process of it lives. It stays so until :start() or its trigger.
function methods.stop(self)
  local r, app = acting(self, "stop")
  post_and_wait(app, r, "job:stop", function()
    local runs = r.memory.runs
    return function() return r:is("stopped") or r.memory.runs > runs or nil end, "stop", {}
  end)
end

-- A stop after which it is started: one wish, which does not end with the task that had it.
local function begin_restart(r)
  local runs, exit = r.memory.runs, r.memory.exit
  return function()
    local m = r.memory
    if m.runs > runs then return started(r, exit) end
    exit = m.exit
    if r:is "stopped" then return "no", m.closing and "the pilot shuts down" or "it was stopped meanwhile" end
  end, "stop", { again = "user" }
end

---Stops it if it runs, and starts it. Returns when it runs again.
function methods.restart(self)
  local r, app = acting(self, "restart")
  local how, message = post_and_wait(app, r, "job:restart", function()
    local runs = r:is_active() and r.memory.state ~= "blocked" -- a start that waits is what is asked for
    return (runs and begin_restart or begin_start)(r)
  end)
  check_started(r, how, message)
end

---Makes it read its configuration anew, as its `reload` says: deferred while it is not yet healthy, or younger than
---a second; several become one.
---@return boolean sent      or deferred; false: it does not run
function methods.reload(self)
  local r = acting(self, "reload")
  if not r.spec.reload then
    error(("job %q has no reload: describe it with reload = \"SIGHUP\", or a function"):format(r.spec.name), 2)
  end
  if r.memory.state ~= "running" then return false end
  r:post("reload")
  return true
end

---@param name string       "SIGHUP"
---@return boolean sent      false: it does not run
function methods.signal(self, name)
  local r = acting(self, "signal")
  local signal, message = signals.parse(name)
  if not signal then error("job:signal: " .. message, 2) end
  if not r.process then return false end
  return r.app.port.kill(r.process, signal, "leader") == true
end

---Other tags for its services, from now on.
---@param tags string[]
function methods.set_tags(self, tags)
  local r = acting(self, "set_tags")
  local read, message, path = schema.first(option_schema.tags, tags)
  if not read then error(("job:set_tags: tags%s: %s"):format(path, message), 2) end
  if not r.spec.service then
    error(("job %q has no service: describe it with service = { port = … }"):format(r.spec.name), 2)
  end
  r.app.advertiser:set_tags(r, read)
end

---Maintenance of this job: Consul tells that its services are critical, and why; its checks pause. It stays so over
---restarts. `on` is what is to be: saying it twice is saying it once.
---@param on boolean
---@param reason string?
function methods.maintenance(self, on, reason)
  local r = acting(self, "maintenance")
  r.app.advertiser:maintain(r, arguments.maintenance("job:maintenance", on, reason))
end

return job_actions
