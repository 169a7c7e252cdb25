-- job: what `pilot.job "app"` gives: the thing that the user declares, asks and tells.
--
-- Before it is completed it is a name; completed it stands before its runner. It owns nothing that runs. What a file
-- declares is here; the methods that handlers call are api/job_actions.lua's, which is loaded when the first is called:
-- a pilot of plain programs calls none.

local job_schema = require "luapilot.schema.job"
local facade = require "luapilot.api.facade"
local machine = require "luapilot.job.machine"
local lazy = require "luapilot.base.lazy"
local runner = require "luapilot.job.runner"
local schema = require "luapilot.schema.schema"

local arguments = lazy.require "luapilot.schema.arguments"
local job_actions = lazy.require "luapilot.api.job_actions"
local suggest = lazy.require "luapilot.base.suggest"

local job_api = {}

local methods = {}

-- The last exit as the user sees it: a copy, in the time of events.
local function last_exit(exit, app)
  if not exit then return nil end
  local at = app.port.clock() - (app.port.now() - exit.at)
  return { code = exit.code, signal = exit.signal, reason = exit.reason, error = exit.error, at = at }
end

-- What stands behind an object: its runner; before it is described, { app, name, where, number, object }.
local function runner_of(h) return h.spec and h end

local function name_of(h) return h.name or h.spec.name end

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
  name = name_of,
  state = of_runner(function(r) return machine.VISIBLE[r.memory.state] end, "waiting"),
  pid = of_runner(function(r) return r.memory.pid end),
  running = of_runner(function(r) return r.memory.state == "running" end, false),
  health = of_runner(function(r) return r.memory.health end, "unknown"),
  exit = of_runner(function(r, app) return last_exit(r.memory.exit, app) end),
  restarts = of_runner(function(r) return r.memory.restarts end, 0),
  since = of_runner(function(r, app) return app.port.clock() - (app.port.now() - r.memory.since) end),
}

---@class luapilot.Job
---@field name string
---@field state "waiting"|"blocked"|"preparing"|"running"|"stopping"|"backoff"|"stopped"|"complete"
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

front = facade.new {
  kind = "job", methods = methods, fields = fields, set = 'describe the job with pilot.job "name" { … }',
  describe = function(h) return ("job %q"):format(name_of(h)) end,
  call = function(self, h, options) -- `app { … }`: the later call that completes `pilot.job "app"`
    job_api.complete(h.app, self, name_of(h), options)
    return self
  end,
}

---@param value any
---@return boolean
job_api.is = front.is

---The topic of a job on the bus.
---@param self table
---@return string
function job_api.topic(self) return "job:" .. name_of(front.inner(self)) end

---The object of a name, made when it is named for the first time.
---@param app luapilot.App
---@param name string
---@return luapilot.Job
function job_api.named(app, name)
  local existing = app.jobs[name] or app.undescribed[name]
  if existing then return existing.object end
  if app.phase ~= "declaring" then
    local others = {}
    for other in pairs(app.jobs) do others[#others + 1] = other end
    table.sort(others)
    error(("there is no job %q%s%s"):format(name, suggest.hint(name, others), suggest.near(name, others) and "" or
      ": a new one is described at the top level of the file, before the pilot runs"), 4)
  end
  app.named = app.named + 1
  local declaration = { app = app, name = name, where = app:where(), number = app.named }
  declaration.object = front.make(declaration)
  app.undescribed[name] = declaration
  return declaration.object
end

---Describes a job. Every mistake goes to the app's list.
---@param app luapilot.App
---@param self luapilot.Job?      nil: pilot.job { name = … }
---@param name string?
---@param options any
---@return luapilot.Job
function job_api.complete(app, self, name, options)
  local where = app:where()
  if app.phase ~= "declaring" then
    error("pilot.job declares, and the pilot runs already: describe jobs at the top level of the file", 3)
  end
  local spec = job_schema.job(name, options, where, app.mistakes)
  name = spec.name
  if not name then -- told already; what follows in the file is looked at, too
    return front.make { app = app, name = "?", where = where }
  end
  self = self or job_api.named(app, name)
  if app.jobs[name] then
    app.mistakes:add(where, ("job %q"):format(name),
      ("is described twice: the first time at %s; a name belongs to one job"):format(app.jobs[name].spec.where))
    return self
  end
  local node = spec.when ~= nil and arguments.trigger(app, spec.when, where, ("job %q.when"):format(name)) or nil
  if node and node.kind == "every" and not spec.timeout then spec.timeout = node.interval end
  local described = runner.new(app, spec, self, node)
  app:add(described)
  front.change(self, described)
  app.undescribed[name] = nil
  return self
end

-- --- triggers and handlers -------------------------------------------------------------------

local function event_trigger(kind)
  return function(self, event, options)
    local h = of(self, kind)
    return arguments.event_trigger(h.app, kind, "job", job_api.topic(self), event, options)
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
  if event == "output" and r and h.app.phase ~= "declaring" then job_actions.check_lines(r, 2) end
  local subscription = arguments.subscribe(h.app, "job", job_api.topic(self), tostring(self), event, options, fn)
  if event == "output" and r then r:capture() end
  return subscription
end

-- What handlers ask of jobs, and do with them, comes with the first that does.
lazy.methods(methods, function() return lazy.load("luapilot.api.job_actions").of(front) end, {
  "wait_for", "next", "start", "stop", "restart", "reload", "signal", "set_tags", "maintenance",
})

---The names of all methods, and of all fields, sorted.
---@return string[] methods
---@return string[] fields
function job_api.names() return schema.keys(methods), schema.keys(fields) end

return job_api
