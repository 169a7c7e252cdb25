-- What a job may have: its fields, their types and defaults.
--
-- Owns the table below; it is meant to be read like the documentation. The result is complete in any case, with
-- defaults in the place of what was wrong, and every mistake is added to the collector: so loading goes on and one
-- run reports all. Never starts anything, never looks into triggers (`when` stays as given). The types that few jobs
-- need are loaded when a field of theirs is given; the options of calls are in schema/options.lua.

local argv = require "luapilot.schema.argv"
local constant = require "luapilot.base.constant"
local describe = require "luapilot.base.describe"
local lazy = require "luapilot.base.lazy"
local restart = require "luapilot.schema.restart"
local schema = require "luapilot.schema.schema"
local signals = require "luapilot.base.signals"

local dependency_schema = lazy.require "luapilot.schema.dependency"
local health_schema = lazy.require "luapilot.schema.health"
local hints = lazy.require "luapilot.schema.hints"
local paths = lazy.require "luapilot.schema.paths"
local service_schema = lazy.require "luapilot.schema.service"
local process_schema = lazy.require "luapilot.schema.process"

local M = {}

local signal = schema.by(signals.parse)

-- A type of another module, which is loaded when there is a value for it.
local function later(module, name)
  return function(...) return module[name](...) end
end

-- ------------------------------------------------------------------------------------------------- jobs

local LINES = constant.of { mode = "lines", level = "info", prefix = true }

local function when(value, path, report)
  if value == "manual" or type(value) == "table" or type(value) == "function" then return value end
  return schema.expected(path, report, 'a trigger such as db:once "healthy", "manual" or a function', value)
end

local reload = schema.either('a signal such as "SIGHUP", or a function', {
  string = signal,
  ["function"] = schema.fn,
})

local read_job = schema.record({
  name    = { schema.any },                                 -- only in pilot.job { name = …, … }
  exec    = { argv.type },
  run     = { schema.fn },
  prepare = { schema.fn },

  when    = { when },
  depends_on = { later(dependency_schema, "depends_on") },
  bind    = { schema.boolean, default = false },
  restart = { restart.type, default = restart.NEVER },
  timeout = { schema.span },
  stop_signal  = { later(process_schema, "stop_signal"), default = "SIGTERM" },
  stop_timeout = { schema.duration, default = 10 },
  stop_mode    = { schema.one_of { "group", "mixed" }, default = "group" },
  drain   = { schema.duration },
  reload  = { reload },
  pidfile = { later(process_schema, "pidfile") },
  main    = { schema.boolean, default = false },

  health  = { later(health_schema, "health"), default = constant.NONE },
  service = { later(service_schema, "services") },

  env           = { later(process_schema, "env"), default = constant.NONE },
  env_file      = { later(paths, "type") },
  env_clear     = { schema.boolean, default = false },
  cwd           = { later(paths, "type") },
  user          = { later(process_schema, "account") },
  group         = { later(process_schema, "account") },
  umask         = { later(process_schema, "umask") },
  limits        = { later(process_schema, "limits"), default = constant.NONE },
  no_new_privs  = { schema.boolean, default = false },
  oom_score_adj = { schema.integer(-1000, 1000) },
  cgroup        = { schema.fields({
    memory_max = { schema.size },                           -- bytes
    cpu_max    = { schema.positive },                       -- cores
    pids_max   = { schema.integer(1) },
  }, 'a table such as { memory_max = "256M" }') },
  log           = { later(process_schema, "log"), default = LINES },
  stdin         = { schema.one_of { "null", "inherit", "open" }, default = "null" },
}, "a table of fields", {
  command = "exec", cmd = "exec", args = "exec", environment = "env", working_dir = "cwd",
  workdir = "cwd", dir = "cwd", directory = "cwd", after = "depends_on", requires = "depends_on",
  needs = "depends_on", binds_to = "bind", part_of = "bind", check = "health",
  healthcheck = "health", port = "service", uid = "user", gid = "group", signal = "stop_signal",
  kill_mode = "stop_mode", pid_file = "pidfile",
  max_restarts = "restart", pre_start = "prepare", before = "prepare", logging = "log", ulimits = "limits",
  rlimits = "limits", tags = "service", meta = "service", interfaces = "service", initial_status = "service",
  ttl = "health",
})

-- "App_1" → "app-1", where that is a name at all.
local function as_name(text)
  local name = text:lower():gsub("[^a-z0-9]+", "-"):gsub("^[^a-z]+", ""):gsub("%-+$", "")
  return name ~= "" and name or nil
end

---The name of a job.
---@type luapilot.Type
function M.name(value, path, report)
  local what = 'a name of letters, digits and "-" that begins with a small letter'
  if type(value) == "string" and value:find "^[a-z][a-zA-Z0-9-]*$" then return value end
  local better = type(value) == "string" and as_name(value)
  return schema.expected(path, report, what, value, better and ('write "%s"'):format(better) or nil)
end

---The name of a job from either form of pilot.job; reports a wrong one.
local function job_name(name, given, report)
  local own = schema.field(given, "name")
  if name ~= nil and own ~= nil then
    report("job.name", ("the job is named %s already: leave this field out"):format(describe.quote(name)))
  elseif name == nil then
    name = own
  end
  if name == nil then
    report("job", 'has no name: write pilot.job "app" { … }, or name = "app"')
  else
    M.name(name, "job.name", report)
  end
  return type(name) == "string" and name or nil
end

local function check_work(options, path, report)
  local exec, run = schema.field(options, "exec"), schema.field(options, "run")
  if exec ~= nil and run ~= nil then
    report(schema.join(path, "run"), "a job has exec (a program) or run (a Lua function), not both")
  end
  local has_work = exec ~= nil or run ~= nil
  if not has_work and schema.field(options, "service") == nil and schema.field(options, "health") == nil then
    report(path, 'has nothing to do: give it exec = { "program" } or run = function(job) … end '
      .. "(only a job with service or health may have neither)")
  end
  if type(schema.field(options, "reload")) == "string" and exec == nil and has_work then
    report(schema.join(path, "reload"), "there is no process to signal: write reload = function(job) … end")
  end
end

---@class luapilot.JobSpec
---@field name string|nil nil only after a mistake
---@field where string|nil
---@field failed boolean|nil what others may say of it may follow from a mistake of its own
---@field exec string[]|nil
---@field run fun(job: table)|nil
---@field prepare fun(job: table)|nil
---@field when any as given
---@field depends_on luapilot.DependencySpec[]|nil
---@field bind boolean
---@field restart luapilot.RestartPolicy
---@field timeout number|nil seconds, as all durations here
---@field stop_signal string
---@field stop_timeout number
---@field stop_mode "group"|"mixed"
---@field drain number|nil
---@field reload string|function|nil
---@field pidfile string|nil
---@field main boolean
---@field health luapilot.CheckSpec[]
---@field service luapilot.ServiceSpec[]|nil
---@field env table<string, string>
---@field env_file string|nil
---@field env_clear boolean
---@field cwd string|nil
---@field user string|integer|nil
---@field group string|integer|nil
---@field umask integer|nil
---@field limits table<string, integer[]> { soft, hard }; types.UNLIMITED (-1) is "unlimited"
---@field no_new_privs boolean
---@field oom_score_adj integer|nil
---@field cgroup { memory_max: integer|nil, cpu_max: number|nil, pids_max: integer|nil }|nil
---@field stdin "null"|"inherit"|"open"
---@field log { mode: string, level: string, prefix: boolean, file: string|nil, merge: boolean|nil,
---       parse: "json"|nil, level_from: string|nil }

---A job as declared: pilot.job "name" { … }, or with name = nil pilot.job { name = …, … }.
---@param name any
---@param options any
---@param where string|nil "pilot.lua:12"
---@param mistakes luapilot.Mistakes
---@return luapilot.JobSpec
function M.job(name, options, where, mistakes)
  local given = schema.is_table(options) and options or {}
  local failed
  local function report(path, message)
    failed = failed or hints.may_lead_on(path, message)
    mistakes:add(where, path, hints.better(given, path, message))
  end
  name = job_name(name, given, report)
  local path = name and "job " .. describe.quote(name) or "job"

  local spec = read_job(given, path, report)
  spec.name, spec.where = name, where
  if given == options then
    check_work(given, path, report)
  else
    schema.expected(path, report, "a table of fields", options)
  end
  if spec.drain and schema.field(given, "service") == nil then
    report(schema.join(path, "drain"), "needs service: it is the time between deregistering and stop_signal")
  end
  if failed then spec.failed = true end
  return spec
end

return M
