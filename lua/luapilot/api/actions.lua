-- actions: what handlers do: wait, spawn, run programs, render, end the pilot.
--
-- Functions that wait suspend the task; at the top level of a file nearly all of them are mistakes. It owns nothing.
-- init.lua lends these functions to a file when the first is called.

local argv = require "luapilot.schema.argv"
local arguments = require "luapilot.schema.arguments"
local option_schema = require "luapilot.schema.options"
local describe = require "luapilot.base.describe"
local duration = require "luapilot.base.duration"
local lazy = require "luapilot.base.lazy"
local paths = require "luapilot.schema.paths"

local program = lazy.require "luapilot.job.program"

---@class luapilot.Pilot
local api = {} -- name → function(app, …)

---Suspends the task.
function api.sleep(app, value)
  local seconds, message = duration.parse(value)
  if not seconds then error("pilot.sleep: " .. message, 2) end
  app.tasks:sleep(seconds, "pilot.sleep")
end

-- --- tasks -----------------------------------------------------------------------------------

local Handle = {} -- what pilot.spawn gives
Handle.__index = Handle

---Cancels the task and its children.
function Handle:cancel() self.task:cancel("cancel") end

-- A wait that could never end.
local function refuse_circle(current, t, seconds)
  if t == current then error("task:wait: the task would wait for its own end", 3) end
  if not seconds and current and t:leads_to(current) then
    error("task:wait: that task waits for this one already: both would wait for ever", 3)
  end
end

---Its results; nil, "timeout"; nil, "cancelled"; raises what it raised.
function Handle:wait(timeout)
  local seconds
  if timeout ~= nil then
    local message
    seconds, message = duration.parse(timeout)
    if not seconds then error("task:wait: " .. message, 2) end
  end
  refuse_circle(self.app.tasks.current, self.task, seconds)
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
  fn = arguments.callable(app, fn, "pilot.spawn")
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
  app:command(function() app:shutdown(code, true) end)
end

---The objects of all jobs, in the order of the file.
---@return luapilot.Job[]
function api.jobs(app)
  if app.phase == "declaring" then
    error("pilot.jobs tells all jobs, and at the top level the file may still describe more: call it in a handler", 2)
  end
  local list = {}
  for i, runner in ipairs(app.order) do list[i] = runner.object end
  return list
end

---Has the shutdown begun?
---@return boolean
function api.shutting_down(app) return app.phase == "closing" or app.phase == "ended" end

---Maintenance of all jobs: see job:maintenance.
---@param on boolean
---@param reason string?
function api.maintenance(app, on, reason)
  local wanted, why = arguments.maintenance("pilot.maintenance", on, reason)
  if app.phase == "declaring" then
    error("pilot.maintenance acts, and the top level of a pilot.lua only declares: call it in a handler", 2)
  end
  app:command(function() app.advertiser:maintain(nil, wanted, why) end)
end

-- --- programs and files ----------------------------------------------------------------------

-- Secrets are hidden before it is cut: of the rest of one the log would not know.
local function exec_message(app, words, result, timeout)
  local said = result.stderr ~= "" and result.stderr or result.stdout
  said = (app.masks and app.masks:cover(said) or said):sub(-1000):gsub("%s+$", "")
  if #said > 500 then said = "…" .. said:sub(-500) end
  return ("pilot.exec %s: %s%s"):format(describe.quote(words[1]), program.describe_exit(result, timeout),
    said ~= "" and ": " .. said or "")
end

-- Its lines stand in the log as those of a job.
local function output_of(log)
  if not log or log.none then return nil end
  return { name = log.as, level = log.level, prefix = log.prefix, parse = log.parse, level_from = log.level_from }
end

local function exec_options(app, words, options)
  local added, message, code = app:environment { env = options.env }
  if not added then return nil, message, code end
  return {
    argv = paths.argv(words, options.cwd), cwd = options.cwd, user = options.user, group = options.group,
    umask = options.umask, limits = options.limits, no_new_privs = options.no_new_privs or nil,
    stdin = options.stdin, env_added = added, output = output_of(options.log),
  }
end

-- Of each program once.
local function tell_left(app, name, said, count)
  app.leavers = app.leavers or {}
  if not said or app.leavers[name] then return end
  app.leavers[name] = true
  app:log("warn", ("pilot.exec %s: it %s"):format(describe.quote(name), said), nil, "left_behind", nil,
    { program = name, ended = count })
end

---Runs a program to its end and returns { code, signal, stdout, stderr }. Raises when it fails, unless check = false.
---@param command string|string[]
---@param options table?     of option_types.exec_options
---@return { code: integer, signal: string?, stdout: string, stderr: string }
function api.exec(app, command, options)
  local words, message = argv.parse(command)
  if not words then error("pilot.exec: " .. message, 2) end
  local read = arguments.read(app, function(where, list)
    return option_schema.exec_options(options, "pilot.exec", where, list)
  end)
  local result, failure, short_of = app.tasks:await("pilot.exec", function(wake)
    local all, cancel, why, code
    all, why, code = exec_options(app, words, read)
    if all then cancel, why, code = program.start(app.loop, all, read, wake, read.log and read.log.none) end
    if not cancel then wake(nil, why, code) end
    return cancel
  end)
  if not result then app.tasks:fell_short(short_of) end
  if not result then error("pilot.exec: " .. failure, 2) end
  tell_left(app, words[1], program.left(result))
  result.code = result.code or 128 + app.signal_number(result.signal)
  if result.overflow then
    error(("pilot.exec %s: wrote more than %d bytes to %s: raise max_output"):format(
      describe.quote(words[1]), read.max_output, result.overflow), 2)
  end
  if read.check and result.code ~= 0 then error(exec_message(app, words, result, read.timeout), 2) end
  return result
end

---Renders a file; waits. True if the file is another one now, false if it was equal. Raises when it cannot be rendered,
---or the validator refuses it; the old file stays then.
---@param options table     { source | text, to, data, mode, owner, validate }
---@return boolean changed
function api.render(app, options)
  local spec = arguments.read(app, function(where, list)
    return option_schema.render_options(options, "pilot.render", where, list)
  end)
  if not app.tasks:inside() then app.tasks:await("pilot.render", function() end) end -- raises, and nothing is read
  local changed, message = app.trials:render(spec)
  if changed == nil then error("pilot.render: " .. message, 2) end
  return changed
end

return api
