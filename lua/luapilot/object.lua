-- object: what `pilot.job "app"` gives: the thing that the user declares, asks and tells.
--
-- Before it is completed it is a name; completed it stands before its runner. It owns nothing that runs.
-- Methods that wait suspend the task; a failed :start() raises, conditions return.

local config = require "luapilot.config"
local duration = require "luapilot.duration"
local events = require "luapilot.events"
local job = require "luapilot.job"
local runner = require "luapilot.runner"
local schema = require "luapilot.schema"
local signals = require "luapilot.signals"
local suggest = require "luapilot.suggest"
local ask = require "luapilot.ask"

local object = {}

local methods = {}

-- The last exit as the user sees it: a copy, in the time of events.
local function last_exit(exit, app)
  if not exit then return nil end
  local at = app.port.clock() - (app.port.now() - exit.at)
  return { code = exit.code, signal = exit.signal, reason = exit.reason, error = exit.error, at = at }
end

-- What :state and its like show, before and after the job is completed.
local fields = {
  name = function(_, name) return name end,
  state = function(r) return r and job.VISIBLE[r.memory.state] or "waiting" end,
  pid = function(r) return r and r.memory.pid end,
  running = function(r) return r ~= nil and r.memory.state == "running" end,
  health = function(r) return r and r.memory.health or "unknown" end,
  exit = function(r, _, app) return r and last_exit(r.memory.exit, app) end,
  restarts = function(r) return r and r.memory.restarts or 0 end,
  since = function(r, _, app) return r and app.port.clock() - (app.port.now() - r.memory.since) or nil end,
}

local function names()
  local list = {}
  for name in pairs(methods) do list[#list + 1] = name end
  for name in pairs(fields) do list[#list + 1] = name end
  table.sort(list)
  return list
end

---@class luapilot.Job
---@field name string
---@field state "waiting"|"preparing"|"running"|"stopping"|"backoff"|"stopped"|"complete"
---@field pid integer?
---@field running boolean
---@field health "unknown"|"healthy"|"unhealthy"
---@field exit { code: integer, signal: string?, reason: string, at: number }?   of the last run
---@field restarts integer
---@field since number       epoch seconds of the last change of state

local hidden = setmetatable({}, { __mode = "k" }) -- object → { app, name, where }

local function of(self, method)
  local h = hidden[self]
  if not h then
    error(("job:%s: call it with a colon: job:%s(…)"):format(method, method), 3)
  end
  return h, h.app.jobs[h.name]
end

-- Methods that act need a running pilot; all need a described job.
local function acting(self, method)
  local h, r = of(self, method)
  if h.app.phase == "declaring" then
    error(("job:%s acts, and the top level of a pilot.lua only declares: call it in a handler"):format(method), 3)
  end
  return r, h.app
end

local Object = {}

function Object.__index(self, key)
  if methods[key] then return methods[key] end
  local h = hidden[self]
  if fields[key] then return fields[key](h.app.jobs[h.name], h.name, h.app) end
  error(("a job has no %q%s"):format(tostring(key), suggest.hint(tostring(key), names())), 2)
end

function Object.__newindex(_, key)
  error(("a job's %q cannot be set: describe the job with pilot.job \"name\" { … }"):format(tostring(key)), 2)
end

function Object.__tostring(self) return ("job %q"):format(hidden[self].name) end

-- `app { … }`: the later call that completes `pilot.job "app"`.
function Object.__call(self, options)
  local h = hidden[self]
  object.complete(h.app, self, h.name, options)
  return self
end

---@param value any
---@return boolean
function object.is(value) return hidden[value] ~= nil end

---The topic of a job on the bus.
---@param self table
---@return string
function object.topic(self) return "job:" .. hidden[self].name end

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
  local self = setmetatable({}, Object)
  local declaration = { app = app, name = name, where = app:where() }
  hidden[self] = declaration
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
  name = spec.name or "?"
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

local function seconds_of(timeout, what)
  if timeout == nil then return nil end
  local seconds, message = duration.parse(timeout)
  if not seconds then error(what .. ": timeout: " .. message, 3) end
  return seconds
end

-- Waits until check() gives something; nil, "timeout" otherwise.
local function wait_until(app, what, seconds, begin)
  return app.tasks:await(what, function(wake)
    local stop
    local timer = seconds and app.loop:after(seconds, function()
      stop()
      wake(nil, "timeout")
    end)
    stop = begin(function(...)
      if timer then app.loop:cancel(timer) end
      wake(...)
    end)
    return function()
      stop()
      if timer then app.loop:cancel(timer) end
    end
  end)
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
  local seconds = seconds_of(timeout, "job:wait_for")
  return wait_until(h.app, "job:wait_for", seconds, function(done)
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
  local seconds = seconds_of(timeout, "job:next")
  return wait_until(h.app, "job:next", seconds, function(done)
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
-- has come.
local function post_and_wait(app, r, what, name, begin)
  return wait_until(app, what, nil, function(done)
    local taken_back, unwatch = false, nil
    app:command(function()
      if taken_back then return end
      local is_over = begin()
      r:input(name, {})
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

-- Posts a start and waits: nothing, or why it cannot be started.
local function start(r, app)
  local how, message = post_and_wait(app, r, "job:start", "start", function()
    local exit = r.memory.exit
    return function() return started(r, exit) end
  end)
  if how == "no" then return ("job %q cannot be started: %s"):format(r.spec.name, message) end
end

---Starts it, and waits until its process exists. Raises when it cannot be started. A job that runs stays as it is.
function methods.start(self)
  local r, app = acting(self, "start")
  local why = start(r, app)
  if why then error(why, 2) end
end

---Stops it, and waits until no process of it lives. It stays so until :start() or its trigger.
function methods.stop(self)
  local r, app = acting(self, "stop")
  post_and_wait(app, r, "job:stop", "stop", function()
    local runs = r.memory.runs
    return function() return r:is("stopped") or r.memory.runs > runs or nil end
  end)
end

---Stops it if it runs, and starts it. Returns when it runs again.
function methods.restart(self)
  local r, app = acting(self, "restart")
  if r:is_active() then
    methods.stop(self)
  end
  local why = start(r, app)
  if why then error(why, 2) end
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
object.METHODS = {}
for name in pairs(methods) do object.METHODS[#object.METHODS + 1] = name end
table.sort(object.METHODS)

return object
