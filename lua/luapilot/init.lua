-- luapilot: what `require "luapilot"` gives to a pilot.lua.
--
--   local pilot = require "luapilot"
--   pilot.job "app" { exec = { "node", "server.js" }, restart = "always" }
--
-- Each pilot has a table of its own, made by `attach`. Functions declare (at the top level) or post commands; what
-- waits suspends the task. This file owns the names and what nearly every file says. The rest is in api/groups.lua,
-- api/timers.lua, api/actions.lua, api/environment.lua and api/shutdown_signals.lua, each of which is loaded when the
-- first of its functions is called. Nothing here runs.

local copy = require "luapilot.base.copy"
local describe = require "luapilot.base.describe"
local lazy = require "luapilot.base.lazy"
local job_api = require "luapilot.api.job"
local schema = require "luapilot.schema.schema"

local arguments = lazy.require "luapilot.schema.arguments"
local consul = lazy.require "luapilot.consul"
local fs = lazy.require "luapilot.file.fs"
local http = lazy.require "luapilot.net.http"
local log = lazy.require "luapilot.api.log"
local connection = lazy.require "luapilot.net.connection"
local option_schema = lazy.require "luapilot.schema.options"
local signals = lazy.require "luapilot.base.signals"
local suggest = lazy.require "luapilot.base.suggest"
local template_api = lazy.require "luapilot.api.template"
local watch_api = lazy.require "luapilot.api.watch"

local luapilot = {}

-- Names of the language that come with a later version: said honestly, not as a misspelling.
local LATER = {
  election = "Consul", telemetry = "telemetry", metrics = "telemetry",
  control = "the control socket", command = "the control socket", reload = "reloading",
}

-- Libraries that are loaded when a file first names them.
local ON_DEMAND = {
  consul = consul, fs = fs, http = http, log = log, net = connection, watch = watch_api,
  json = { library = function() return suggest.guard(copy.shallow(lazy.load "luapilot.base.json"), "pilot.json") end },
}

---@class luapilot.Pilot
local api = {} -- name → function(app, …)

-- What most files do not need, by where it is.
local ELSEWHERE = {
  ["luapilot.api.groups"] = { "all", "any" },
  ["luapilot.api.timers"] = { "every", "after", "cron", "poll" },
  ["luapilot.api.actions"] = { "sleep", "spawn", "timeout", "defer", "shutdown", "maintenance", "exec", "render",
    "jobs", "shutting_down" },
  ["luapilot.api.shutdown_signals"] = { "shutdown_signals" },
  ["luapilot.api.environment"] = { "env", "secret", "address", "hostname", "sh" },
}

-- --- declaring -------------------------------------------------------------------------------

---pilot.job "name" gives the job of that name, which { … } describes; pilot.job { name = …, … } does both.
---@param first string|table
---@return luapilot.Job
function api.job(app, first, more)
  if schema.is_table(first) then return job_api.complete(app, nil, nil, first) end
  if type(first) ~= "string" then
    error("pilot.job: expected a name or a table with a name, got " .. describe.value(first), 2)
  end
  if more ~= nil then arguments.alone("pilot.job", first, more, 3) end
  return job_api.named(app, first)
end

-- A file may name a signal before pilot.shutdown_signals does: all of that is looked at when the file is read.
local function ends_pilot(app, event)
  return signals.ENDS_PILOT[event] or app.phase ~= "declaring" and app.enders and app.enders[event]
end

---@param event string
---@param options table|fun(event: table)
---@param fn fun(event: table)?
---@return luapilot.Subscription
function api.on(app, event, options, fn)
  if ends_pilot(app, event) then
    arguments.fail(app, nil, ("on(%q): this signal ends the pilot: use pilot.on(\"shutdown\", …)"):format(event))
  end
  return arguments.subscribe(app, "pilot", "pilot", "pilot", event, options, fn)
end

local function pilot_trigger(kind)
  return function(app, event, options)
    if ends_pilot(app, event) or event == "shutdown" then
      arguments.fail(app, nil, ("%s(%q): the pilot ends with it, and starts nothing any more: "
        .. "use pilot.on(\"shutdown\", …)"):format(kind, event))
    end
    return arguments.event_trigger(app, kind, "pilot", "pilot", event, options)
  end
end
api.once, api.each = pilot_trigger("once"), pilot_trigger("each")

---@param seconds string|number
function api.shutdown_timeout(app, value)
  app.shutdown_timeout = arguments.span(app, value, "pilot.shutdown_timeout")
end

---@param options { level: string?, format: string?, output: string? }
function api.logging(app, options)
  app.logging = arguments.read(app, function(where, list)
    return option_schema.logging(options, "pilot.logging", where, list)
  end)
  if app.phase ~= "declaring" then return app:apply_logging() end
  app.port.logging { level = app.logging.level, format = app.logging.format } -- the output when the file is right
end

---Epoch seconds.
function api.now(app) return app.port.clock() end

---pilot.template "/etc/app.conf" { … } describes a file that is rendered at the start.
---@param path string
---@return luapilot.Template
function api.template(app, path, more)
  arguments.alone("pilot.template", path, more, 3)
  local object_of_path = template_api.named(app, path)
  return object_of_path
end

-- --- the table -------------------------------------------------------------------------------

local function unknown(pilot, key)
  if LATER[key] then
    return ("pilot.%s is not part of this version (0.1.0): %s comes with a later one"):format(key, LATER[key])
  end
  local names = {}
  for name in pairs(pilot) do names[#names + 1] = name end
  for name in pairs(ON_DEMAND) do
    if not rawget(pilot, name) then names[#names + 1] = name end
  end
  table.sort(names)
  return ("pilot has no %q%s"):format(tostring(key), suggest.hint(tostring(key), names))
end

---Makes the table that a pilot.lua gets from require "luapilot".
---@param app luapilot.App
---@return luapilot.Pilot
function luapilot.attach(app)
  local pilot = {}
  local function offer(name, module)
    pilot[name] = function(...)
      if (...) == pilot then error(("pilot.%s: call it with a dot, not with a colon"):format(name), 2) end
      local fn = api[name] or lazy.load(module)[name]
      return fn(app, ...)
    end
  end
  for name in pairs(api) do offer(name) end
  for module, names in pairs(ELSEWHERE) do
    for _, name in ipairs(names) do offer(name, module) end
  end
  pilot.state, pilot.args = app.state, app.args
  return setmetatable(pilot, {
    __name = "luapilot library",
    __index = function(_, key)
      if not ON_DEMAND[key] then error(unknown(pilot, key), 2) end
      local library = ON_DEMAND[key].library(app)
      rawset(pilot, key, library)
      return library
    end,
    __newindex = function(_, key)
      error(("pilot.%s cannot be set: use a local, or pilot.state"):format(tostring(key)), 2)
    end,
    __tostring = function() return "luapilot" end,
  })
end

return luapilot
