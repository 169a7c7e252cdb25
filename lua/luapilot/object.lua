-- object: what `pilot.job "app"` gives: the thing that the user declares, asks and tells.
--
-- Before it is completed it is a name; completed it stands before its runner. It owns nothing that runs.
-- Methods that wait suspend the task; a failed :start() raises, conditions return.

local ask = require "luapilot.ask"
local config = require "luapilot.config"
local events = require "luapilot.events"
local facade = require "luapilot.facade"
local job = require "luapilot.job"
local lazy = require "luapilot.lazy"
local runner = require "luapilot.runner"
local schema = require "luapilot.schema"
local signals = require "luapilot.signals"
local suggest = require "luapilot.suggest"

local waiting = lazy.require "luapilot.waiting"

local object = {}

local methods = {}

-- The last exit as the user sees it: a copy, in the time of events.
local function last_exit(exit, app)
  if not exit then return nil end
  local at = app.port.clock() - (app.port.now() - exit.at)
  return { code = exit.code, signal = exit.signal, reason = exit.reason, error = exit.error, at = at }
end

-- What stands behind an object: { app, name, where }.
local function runner_of(h) return h.app.jobs[h.name] end

-- A field of the running job, and what it is before there is one.
local function of_runner(read, before)
  return function(h)
    local r = runner_of(h)
    if r then return read(r, h.app) end
    return before
  end
end

-- What :state and its like show, before and after the job is completed.
local fields = {
  name = function(h) return h.name end,
  state = of_runner(function(r) return job.VISIBLE[r.memory.state] end, "waiting"),
  pid = of_runner(function(r) return r.memory.pid end),
  running = of_runner(function(r) return r.memory.state == "running" end, false),
  health = of_runner(function(r) return r.memory.health end, "unknown"),
  exit = of_runner(function(r, app) return last_exit(r.memory.exit, app) end),
  restarts = of_runner(function(r) return r.memory.restarts end, 0),
  since = of_runner(function(r, app) return app.port.clock() - (app.port.now() - r.memory.since) end),
}

---@class luapilot.Job
---@field name string
---@field state "waiting"|"preparing"|"running"|"stopping"|"backoff"|"stopped"|"complete"
---@field pid integer?
---@field running boolean
---@field health "unknown"|"healthy"|"unhealthy"
---@field exit { code: integer, signal: string?, reason: string, at: number }?   of the last run
---@field restarts integer
---@field since number       epoch seconds of the last change of state

local front -- forward

local function of(self, method)
  local h = front.of(self, method, 2)
  return h, runner_of(h)
end

-- Methods that act need a running pilot; all need a described job.
local function acting(self, method)
  local h, r = of(self, method)
  if h.app.phase == "declaring" then
    error(("job:%s acts, and the top level of a pilot.lua only declares: call it in a handler"):format(method), 3)
  end
  return r, h.app
end

front = facade.new {
  kind = "job", methods = methods, fields = fields, set = 'describe the job with pilot.job "name" { … }',
  describe = function(h) return ("job %q"):format(h.name) end,
  call = function(self, h, options) -- `app { … }`: the later call that completes `pilot.job "app"`
    object.complete(h.app, self, h.name, options)
    return self
  end,
}

---@param value any
---@return boolean
object.is = front.is

---The topic of a job on the bus.
---@param self table
---@return string
function object.topic(self) return "job:" .. front.inner(self).name end

---The object of a name, made when it is named for the first time.
---@param app luapilot.App
---@param name string
---@return luapilot.Job
function object.named(app, name)
  local existing = app.objects[name]
  if existing then return existing end
  if app.phase ~= "declaring" then
    local others = {}
    for other in pairs(app.jobs) do others[#others + 1] = other end
    table.sort(others)
    error(("there is no job %q%s"):format(name, suggest.hint(name, others)), 4)
  end
  local declaration = { app = app, name = name, where = app:where() }
  local self = front.make(declaration)
  app.objects[name] = self
  app.declared[#app.declared + 1] = declaration
  return self
end

---Describes a job. Every mistake goes to the app's list.
---@param app luapilot.App
---@param self luapilot.Job?      nil: pilot.job { name = … }
---@param name string?
---@param options any
---@return luapilot.Job
function object.complete(app, self, name, options)
  local where = app:where()
  if app.phase ~= "declaring" then
    error("pilot.job declares, and the pilot runs already: describe jobs at the top level of the file", 3)
  end
  local spec = config.job(name, options, where, app.mistakes)
  name = spec.name
  if not name then -- told already; what follows in the file is looked at, too
    return front.make { app = app, name = "?", where = where }
  end
  self = self or object.named(app, name)
  if app.jobs[name] then
    app.mistakes:add(where, ("job %q"):format(name),
      ("is described twice: the first time at %s; a name belongs to one job"):format(app.jobs[name].spec.where))
    return self
  end
  local node = ask.trigger(app, spec.when, where, ("job %q.when"):format(name))
  if node and node.kind == "every" and not spec.timeout then spec.timeout = node.interval end
  app:add(runner.new(app, spec, self, node))
  return self
end

-- --- triggers and handlers -------------------------------------------------------------------

local function event_trigger(kind)
  return function(self, event, options)
    local h = of(self, kind)
    return ask.event_trigger(h.app, kind, "job", object.topic(self), event, options)
  end
end

---A trigger: the first time that `event` happens (at once if it is so now).
methods.once = event_trigger("once")
---A trigger: every time that `event` happens.
methods.each = event_trigger("each")

---Calls fn(event) for each `event`, in a task of its own.
---@param event string
---@param options table|fun(event: table)    { when_busy, settle, max_wait, timeout }
---@param fn fun(event: table)?
---@return luapilot.Subscription
function methods.on(self, event, options, fn)
  local h, r = of(self, "on")
  local subscription = ask.subscribe(h.app, "job", object.topic(self), tostring(self), event, options, fn)
  if event == "output" and r then r:capture() end
  return subscription
end

-- --- waiting ---------------------------------------------------------------------------------

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
  local seconds = waiting.seconds(timeout, "job:wait_for", 2)
  return waiting.until_done(h.app, "job:wait_for", seconds, function(done)
    local function look()
      if r:is(state) then done(true) return true end
      local why = r:never(state)
      if why then done(nil, why) return true end
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
  local seconds = waiting.seconds(timeout, "job:next", 2)
  return waiting.until_done(h.app, "job:next", seconds, function(done)
    local listener
    local unwatch
    local function stop()
      h.app.bus:forget(listener)
      unwatch()
    end
    listener = h.app.bus:listen(object.topic(self), event, function(what)
      stop()
      done(what)
    end)
    -- The last events of a job that completes are still on the bus: they come first.
    local function give_up()
      if r.memory.state ~= "complete" or listener.gone then return end
      if h.app.bus:queued() then return h.app:command(give_up) end
      stop()
      done(nil, "complete")
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
  return waiting.until_done(app, what, nil, function(done)
    local taken_back, unwatch = false, nil
    app:command(function()
      if taken_back then return end
      local is_over, name, input = begin()
      r:input(name, input)
      local function look()
        local over, message = is_over()
        if over then done(over, message) end
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
    return (r:is_active() and begin_restart or begin_start)(r)
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
  local read, message, path = schema.first(config.tags, tags)
  if not read then error(("job:set_tags: tags%s: %s"):format(path, message), 2) end
  if not r.spec.service then
    error(("job %q has no service: describe it with service = { port = … }"):format(r.spec.name), 2)
  end
  r.app.services:set_tags(r, read)
end

---Maintenance of this job: Consul tells that its services are critical, and why; its checks pause. It stays so over
---restarts. `on` is what is to be: saying it twice is saying it once.
---@param on boolean
---@param reason string?
function methods.maintenance(self, on, reason)
  local r = acting(self, "maintenance")
  r.app.services:maintain(r, ask.maintenance("job:maintenance", on, reason))
end

---The names of all methods, sorted.
---@type string[]
object.METHODS = schema.keys(methods)
---… and of all fields.
---@type string[]
object.FIELDS = schema.keys(fields)

return object
