-- luapilot: what `require "luapilot"` gives to a pilot.lua.
--
--   local pilot = require "luapilot"
--   pilot.job "app" { exec = { "node", "server.js" }, restart = "always" }
--
-- Each pilot has a table of its own, made by `attach`. Functions declare (at the top level) or post commands; what
-- waits suspends the task. This file owns the names and the checks of arguments, and nothing that runs.

local argv = require "luapilot.argv"
local ask = require "luapilot.ask"
local config = require "luapilot.config"
local describe = require "luapilot.describe"
local duration = require "luapilot.duration"
local lazy = require "luapilot.lazy"
local object = require "luapilot.object"
local schema = require "luapilot.schema"
local suggest = require "luapilot.suggest"

local address = lazy.require "luapilot.address"
local consul = lazy.require "luapilot.consul"
local cron = lazy.require "luapilot.cron"
local fs = lazy.require "luapilot.fs"
local http = lazy.require "luapilot.http"
local json = lazy.require "luapilot.json"
local program = lazy.require "luapilot.program"
local schedule = lazy.require "luapilot.schedule"
local templates = lazy.require "luapilot.templates"
local watches = lazy.require "luapilot.watches"

local luapilot = {}

-- Names of the language that come with a later version: said honestly, not as a misspelling.
local LATER = {
  election = "Consul", telemetry = "telemetry", metrics = "telemetry",
  control = "the control socket", command = "the control socket", reload = "reloading",
}

-- Libraries that are loaded when a file first names them.
local ON_DEMAND = {
  consul = consul, fs = fs, http = http, watch = watches,
  json = { library = function() return lazy.load "luapilot.json" end },
}

---@class luapilot.Pilot
local api = {} -- name → function(app, …)

-- --- arguments -------------------------------------------------------------------------------

local function seconds_of(app, value, path)
  local seconds, message = duration.parse(value)
  if seconds then return seconds end
  ask.fail(app, path, message)
  return 1 -- loading goes on
end

local function function_of(app, value, path)
  if type(value) == "function" then return value end
  ask.fail(app, path, "expected a function, got " .. describe.value(value))
  return function() end
end

local function positive_span(app, value, path)
  local seconds = seconds_of(app, value, path)
  if seconds > 0 then return seconds end
  ask.fail(app, path, "expected a duration above zero, got " .. describe.value(value))
  return 1
end

-- --- declaring -------------------------------------------------------------------------------

---pilot.job "name" gives the job of that name, which { … } describes; pilot.job { name = …, … } does both.
---@param first string|table
---@return luapilot.Job
function api.job(app, first)
  if schema.is_table(first) then return object.complete(app, nil, nil, first) end
  if type(first) ~= "string" then
    error("pilot.job: expected a name or a table with a name, got " .. describe.value(first), 2)
  end
  return object.named(app, first)
end

local ENDS_PILOT = { SIGTERM = true, SIGINT = true }

---@param event string
---@param options table|fun(event: table)
---@param fn fun(event: table)?
---@return luapilot.Subscription
function api.on(app, event, options, fn)
  if ENDS_PILOT[event] then
    ask.fail(app, nil, ("on(%q): this signal ends the pilot: use pilot.on(\"shutdown\", …)"):format(event))
  end
  return ask.subscribe(app, "pilot", "pilot", "pilot", event, options, fn)
end

local function pilot_trigger(kind)
  return function(app, event, options)
    if ENDS_PILOT[event] or event == "shutdown" then
      ask.fail(app, nil, ("%s(%q): the pilot ends with it, and starts nothing any more: use pilot.on(\"shutdown\", …)")
        :format(kind, event))
    end
    return ask.event_trigger(app, kind, "pilot", "pilot", event, options)
  end
end
api.once, api.each = pilot_trigger("once"), pilot_trigger("each")

function api.all(app, parts) return ask.group(app, "all", parts) end
function api.any(app, parts) return ask.group(app, "any", parts) end

---@param seconds string|number
function api.shutdown_timeout(app, value)
  app.shutdown_timeout = positive_span(app, value, "pilot.shutdown_timeout")
end

---@param options { level: string?, format: string?, output: string? }
function api.logging(app, options)
  app.logging = ask.read(app, function(where, list)
    return config.logging(options, "pilot.logging", where, list)
  end)
  if app.phase ~= "declaring" then app:apply_logging() end
end

-- --- time ------------------------------------------------------------------------------------

local Timer = {} -- what every, after, cron and poll give: a subscription with :cancel()
Timer.__index = Timer

---No further run; one under way goes on.
function Timer:cancel()
  if self.cancelled then return end
  self.cancelled = true
  if self.stop then self.stop() end
  self.app:release(self)
end

-- Runs never overlap: a tick during a run is skipped.
local function run_once(self)
  if self.task and not self.task:is_ended() then return false end
  self.task = self.app.tasks:spawn(self.fn, {
    name = self.label, detached = true,
    ended = function(t)
      if t:failed() then self.app:complain(self.label, t.error) end
      if self.after_run then self.after_run() end
    end,
  })
  return true
end

local function new_timer(app, label, fn, begin)
  local where = app:where()
  local self = setmetatable({ app = app, fn = fn, label = where and label .. " at " .. where or label }, Timer)
  app:hold(self)
  app:when_started(function()
    if not self.cancelled then begin(self) end
  end)
  return self
end

local function every_timer(app, interval, fn)
  return new_timer(app, "pilot.every", fn, function(self)
    local ticks = schedule.every(app.loop, interval, interval, function() run_once(self) end)
    self.stop = function() ticks:cancel() end
  end)
end

---pilot.every("60s") is a trigger (first run at start-up); pilot.every("5s", fn) calls fn every 5 s, the first time
---after 5 s.
function api.every(app, value, second)
  local interval = positive_span(app, value, "pilot.every")
  if type(second) == "function" then return every_timer(app, interval, second) end
  if second ~= nil then ask.fail(app, "pilot.every", "expected a function, got " .. describe.value(second)) end
  return ask.node { kind = "every", interval = interval }
end

---Calls fn once, after `value`.
function api.after(app, value, fn)
  local seconds = seconds_of(app, value, "pilot.after")
  return new_timer(app, "pilot.after", function_of(app, fn, "pilot.after"), function(self)
    local id = app.loop:after(seconds, function()
      run_once(self)
      self:cancel()
    end)
    self.stop = function() app.loop:cancel(id) end
  end)
end

local function cron_timer(app, rule, options, fn)
  return new_timer(app, "pilot.cron", fn, function(self)
    local ticks = schedule.cron(app.loop, rule, options.jitter, app.calendar, function() run_once(self) end)
    self.stop = function() ticks:cancel() end
  end)
end

---pilot.cron("0 3 * * *", [{ jitter = "5m" }]) is a trigger; with a function at the end it calls that.
function api.cron(app, text, options, fn)
  if type(options) == "function" then options, fn = nil, options end
  local rule, message = cron.parse(text)
  if not rule then
    ask.fail(app, "pilot.cron", message)
    rule = cron.parse("@yearly")
  end
  local read = ask.read(app, function(where, list)
    return config.cron_options(options, "pilot.cron", where, list)
  end)
  if fn then return cron_timer(app, rule, read, function_of(app, fn, "pilot.cron")) end
  return ask.node { kind = "cron", schedule = rule, text = text, jitter = read.jitter, options = read }
end

---Suspends the task.
function api.sleep(app, value)
  local seconds, message = duration.parse(value)
  if not seconds then error("pilot.sleep: " .. message, 2) end
  app.tasks:sleep(seconds, "pilot.sleep")
end

---Epoch seconds.
function api.now(app) return app.port.clock() end

-- --- tasks -----------------------------------------------------------------------------------

local Handle = {} -- what pilot.spawn gives
Handle.__index = Handle

---Cancels the task and its children.
function Handle:cancel() self.task:cancel("cancel") end

---Its results; nil, "timeout"; nil, "cancelled"; raises what it raised.
function Handle:wait(timeout)
  local seconds
  if timeout ~= nil then
    local message
    seconds, message = duration.parse(timeout)
    if not seconds then error("task:wait: " .. message, 2) end
  end
  return self.app.tasks:wait(self.task, seconds)
end

local function ended_of_spawn(app)
  app.spawn_ended = app.spawn_ended or function(t)
    if t:failed() and not t:is_awaited() then app:complain(t.name, t.error) end
  end
  return app.spawn_ended
end

local function spawn_options(app, where)
  return { name = where and "pilot.spawn at " .. where or "pilot.spawn", ended = ended_of_spawn(app) }
end

-- What a task is named after, the line that spawns it, is put into words once for each line: some spawn by the
-- thousand. Level 3 is the user's, unless something stands between.
local function options_of_spawn(app)
  local info = debug.getinfo(3, "Sl")
  if not (info and app:is_user_source(info.source)) then return spawn_options(app, app:where()) end
  app.spawns = app.spawns or {}
  local lines = app.spawns[info.source] or {}
  app.spawns[info.source] = lines
  local line = info.currentline
  lines[line] = lines[line] or spawn_options(app, ("%s:%d"):format(info.source:sub(2), line))
  return lines[line]
end

---Runs fn(…) in a task of its own. What it raises goes to task:wait(), or to the log when nobody waits.
function api.spawn(app, fn, ...)
  function_of(app, fn, "pilot.spawn")
  return setmetatable({
    app = app, task = app.tasks:spawn(fn, options_of_spawn(app), ...),
  }, Handle)
end

---Runs fn(…) for `value` at most: its results, or nil, "timeout".
function api.timeout(app, value, fn, ...)
  local seconds, message = duration.parse(value)
  if not seconds then error("pilot.timeout: " .. message, 2) end
  if type(fn) ~= "function" then error("pilot.timeout: expected a function, got " .. describe.value(fn), 2) end
  return app.tasks:timeout(seconds, fn, ...)
end

---Calls fn(reason) when the running task ends, however it ends.
function api.defer(app, fn)
  if type(fn) ~= "function" then error("pilot.defer: expected a function, got " .. describe.value(fn), 2) end
  app.tasks:defer(fn)
end

-- --- the pilot -------------------------------------------------------------------------------

---Ends the pilot in order; returns at once.
function api.shutdown(app, code)
  if code ~= nil and (type(code) ~= "number" or code % 1 ~= 0 or code < 0 or code > 255) then
    error("pilot.shutdown: expected an exit code from 0 to 255, got " .. describe.value(code), 2)
  end
  if app.phase == "declaring" then
    error("pilot.shutdown acts, and the top level of a pilot.lua only declares: call it in a handler", 2)
  end
  app:command(function() app:shutdown(code) end)
end

---Maintenance of all jobs: see job:maintenance.
---@param on boolean
---@param reason string?
function api.maintenance(app, on, reason)
  local wanted, why = ask.maintenance("pilot.maintenance", on, reason)
  if app.phase == "declaring" then
    error("pilot.maintenance acts, and the top level of a pilot.lua only declares: call it in a handler", 2)
  end
  app:command(function() app.services:maintain(nil, wanted, why) end)
end

---Calls fn() whenever the descriptor is ready. It belongs to the caller, who must read (or write) it.
---@param fd integer
---@param mode "r"|"w"|"rw"
function api.poll(app, fd, mode, fn)
  if type(fd) ~= "number" then
    error("pilot.poll: expected a descriptor (a number), got " .. describe.value(fd), 2)
  end
  if mode ~= "r" and mode ~= "w" and mode ~= "rw" then
    error('pilot.poll: expected "r", "w" or "rw", got ' .. describe.value(mode), 2)
  end
  return new_timer(app, "pilot.poll", function_of(app, fn, "pilot.poll"), function(self)
    local function ask_again()
      if self.cancelled then return end
      local id, message = app.port.poll(fd, mode)
      if not id then
        app:complain(self.label, message)
        return self:cancel()
      end
      self.stop = function() app.loop:cancel(id) end
      app.loop:route(id, function() -- quiet until the handler has read it
        app.loop:cancel(id)
        self.stop = nil
        run_once(self)
      end)
    end
    self.after_run = ask_again
    ask_again()
  end)
end

-- --- the world -------------------------------------------------------------------------------

local function placeholder(app, path, message, name)
  if app.lenient then
    app.mistakes:warn(app:where(), path, message)
  else
    ask.fail(app, path, message)
  end
  return "<" .. name .. ">"
end

---A variable of the environment: required, unless there is a default.
---@param name string
---@param default string?
---@return string
function api.env(app, name, ...)
  if type(name) ~= "string" then
    error("pilot.env: expected the name of a variable, got " .. describe.value(name), 2)
  end
  local value = app:environ()[name]
  if value ~= nil then return value end
  if select("#", ...) > 0 then return (...) end
  return placeholder(app, ("pilot.env %q"):format(name),
    "is not set, and has no default: set it, or write pilot.env(\"" .. name .. "\", \"default\")", name)
end

---A secret, from the file that NAME_FILE names, or from /run/secrets. Never logged.
---@param name string      "db-password"
---@return string
function api.secret(app, name)
  if type(name) ~= "string" or name:find("/", 1, true) then
    error("pilot.secret: expected a name such as \"db-password\", got " .. describe.value(name), 2)
  end
  local variable = name:upper():gsub("[^%w]", "_") .. "_FILE"
  local path = app:environ()[variable] or "/run/secrets/" .. name
  local value, message = app.port.read(path, 1024 * 1024)
  if not value then
    return placeholder(app, ("pilot.secret %q"):format(name),
      ("%s; put it there, or name another file in %s"):format(message, variable), name)
  end
  value = value:gsub("\r?\n$", "")
  if value ~= "" then app:hide(value) end
  return value
end

---An IP address of this machine.
---@param spec string|string[]|nil     default: "eth0:inet", then "inet"
---@return string
function api.address(app, spec)
  local specs = spec == nil and address.DEFAULT or schema.is_table(spec) and spec or { spec }
  for _, each in ipairs(specs) do
    if type(each) ~= "string" then
      error("pilot.address: expected a string such as \"eth0:inet\", got " .. describe.value(each), 2)
    end
  end
  local found, message = address.find(app.port.addresses(), specs)
  if not found then error("pilot.address: " .. message, 2) end
  return found
end

function api.hostname(app) return app.port.hostname() end

---An argv for a shell: pilot.sh "a | b".
---@param text string
---@return string[]
function api.sh(app, text)
  if type(text) == "string" and text ~= "" then return { "/bin/sh", "-c", text } end
  ask.fail(app, "pilot.sh", "expected a shell command such as \"a | b\", got " .. describe.value(text))
  return { "/bin/sh", "-c", "false" }
end

local function exec_message(words, result, timeout)
  local said = (result.stderr ~= "" and result.stderr or result.stdout):sub(-1000):gsub("%s+$", "")
  if #said > 500 then said = "…" .. said:sub(-500) end
  return ("pilot.exec %s: %s%s"):format(describe.quote(words[1]), program.describe_exit(result, timeout),
    said ~= "" and ": " .. said or "")
end

local function exec_options(app, words, options)
  return {
    argv = words, cwd = options.cwd, user = options.user, stdin = options.stdin,
    env_added = app:environment { env = options.env },
  }
end

---Runs a program to its end and returns { code, signal, stdout, stderr }. Raises when it fails, unless check = false.
---@param command string|string[]
---@param options table?     { check, env, cwd, user, stdin, timeout, max_output }
---@return { code: integer, signal: string?, stdout: string, stderr: string }
function api.exec(app, command, options)
  local words, message = argv.parse(command)
  if not words then error("pilot.exec: " .. message, 2) end
  local read = ask.read(app, function(where, list)
    return config.exec_options(options, "pilot.exec", where, list)
  end)
  local result, failure = app.tasks:await("pilot.exec", function(wake)
    local cancel, why = program.start(app.loop, exec_options(app, words, read), read, wake)
    if not cancel then wake(nil, why) end
    return cancel
  end)
  if not result then error("pilot.exec: " .. failure, 2) end
  result.code = result.code or 128 + app.signal_number(result.signal)
  if result.overflow then
    error(("pilot.exec %s: wrote more than %d bytes to %s: raise max_output"):format(
      describe.quote(words[1]), read.max_output, result.overflow), 2)
  end
  if read.check and result.code ~= 0 then error(exec_message(words, result, read.timeout), 2) end
  return result
end

-- --- files from templates --------------------------------------------------------------------

---Renders a file; waits. True if the file is another one now, false if it was equal. Raises when it cannot be rendered,
---or the validator refuses it; the old file stays then.
---@param options table     { source | text, to, data, mode, owner, validate }
---@return boolean changed
function api.render(app, options)
  local spec = ask.read(app, function(where, list)
    return config.render_options(options, "pilot.render", where, list)
  end)
  if not app.tasks:inside() then app.tasks:await("pilot.render", function() end) end -- raises, and nothing is read
  local changed, message = app.renders:render(spec)
  if changed == nil then error("pilot.render: " .. message, 2) end
  return changed
end

---pilot.template "/etc/app.conf" { … } describes a file that is rendered at the start.
---@param path string
---@return luapilot.Template
function api.template(app, path)
  local object_of_path = templates.named(app, path)
  return object_of_path
end

-- --- the table -------------------------------------------------------------------------------

-- A log line takes what it is given: tables as JSON, the rest as tostring has it.
local function plain_fields(fields)
  local plain = {}
  for key, value in pairs(fields) do
    local kind = type(value)
    if kind == "table" then
      local ok, text = pcall(json.encode, value)
      value = ok and text or tostring(value)
    elseif kind ~= "string" and kind ~= "number" and kind ~= "boolean" then
      value = tostring(value)
    end
    plain[tostring(key)] = value
  end
  return plain
end

local function log_functions(app)
  local log = {}
  for _, level in ipairs { "debug", "info", "warn", "error" } do
    log[level] = function(message, fields)
      if fields ~= nil and type(fields) ~= "table" then
        error(("pilot.log.%s: expected a table of fields, got %s"):format(level, describe.value(fields)), 2)
      end
      app:log(level, tostring(message), fields and plain_fields(fields))
    end
  end
  return log
end

local function unknown(key, names)
  if LATER[key] then
    return ("pilot.%s is not part of this version (0.1.0): %s comes with a later one"):format(key, LATER[key])
  end
  return ("pilot has no %q%s"):format(tostring(key), suggest.hint(tostring(key), names))
end

---Makes the table that a pilot.lua gets from require "luapilot".
---@param app luapilot.App
---@return luapilot.Pilot
function luapilot.attach(app)
  local pilot, names = {}, {}
  for name, fn in pairs(api) do
    pilot[name] = function(...)
      if (...) == pilot then error(("pilot.%s: call it with a dot, not with a colon"):format(name), 2) end
      return fn(app, ...)
    end
    names[#names + 1] = name
  end
  pilot.log, pilot.state, pilot.args = log_functions(app), app.state, app.args
  for _, name in ipairs { "log", "state", "args" } do names[#names + 1] = name end
  for name in pairs(ON_DEMAND) do names[#names + 1] = name end
  table.sort(names)
  return setmetatable(pilot, {
    __name = "luapilot library",
    __index = function(_, key)
      if not ON_DEMAND[key] then error(unknown(key, names), 2) end
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
