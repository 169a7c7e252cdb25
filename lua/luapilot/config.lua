-- What may stand in pilot.lua: the fields of a job and the options of calls, their types and defaults.
--
-- Owns the tables below; they are meant to be read like the documentation. Every function returns a complete
-- result, with defaults in the place of what was wrong, and adds every mistake to the collector: so loading
-- goes on and one run reports all. Never starts anything, never looks into triggers (`when` stays as given).

local argv = require "luapilot.argv"
local constant = require "luapilot.constant"
local describe = require "luapilot.describe"
local duration = require "luapilot.duration"
local lazy = require "luapilot.lazy"
local restart = require "luapilot.restart"
local schema = require "luapilot.schema"
local signals = require "luapilot.signals"
local types = require "luapilot.types"

local http_types = lazy.require "luapilot.http_types"
local service_types = lazy.require "luapilot.service_types"

local M = {}

local signal = schema.by(signals.parse)

-- A type of this module's choice by the Lua type of the value.
local function either(what, by_type)
  return function(value, path, report)
    local check = by_type[type(value)]
    if check then return check(value, path, report) end
    return schema.expected(path, report, what, value)
  end
end

-- ----------------------------------------------------------------------------------------------- checks

local function must_be_true(value, path, report)
  if value == true then return true end
  return schema.expected(path, report, "true (or leave it out)", value)
end

local bytes = either("a string", { string = schema.any })

local read_http = schema.fields(function() return {
  url     = { http_types.url },
  method  = { http_types.method, default = "GET" },
  headers = { http_types.headers, default = constant.NONE },
  body    = { bytes },
  status  = { http_types.status, default = constant.of { constant.of { 200, 399 } } },
  tls     = { http_types.tls },
} end, "a table", {
  uri = "url", address = "url", verb = "method", code = "status", expect = "status", insecure = "tls",
})

local http_check = either("a URL or a table such as { url = \"http://localhost/\" }", {
  string = function(value, path, report)
    local url = http_types.url(value, path, report)
    local result = url and read_http({}, path, report)
    if result then result.url = url end
    return result
  end,
  table = function(value, path, report)
    if schema.is_table(value) and value.url == nil then
      report(path, 'has no url: write url = "http://localhost/health"')
    end
    return read_http(value, path, report)
  end,
})

local read_check = schema.record({
  http   = { http_check },
  tcp    = { types.address },
  exec   = { argv.type },
  check  = { schema.fn },
  notify = { must_be_true },

  interval      = { schema.span, default = 10 },
  timeout       = { schema.span },                 -- default: the interval
  ttl           = { schema.span },                 -- default: 3 × the interval
  rise          = { schema.integer(1), default = 1 },
  fall          = { schema.integer(1), default = 3 },
  start_period  = { schema.duration, default = 0 },
  restart_after = { schema.integer(1) },
}, 'a check such as { tcp = "localhost:80" }, or a list of checks', {
  command = "exec", url = "http", retries = "fall", fn = "check", grace = "start_period",
})

local KINDS = { "http", "tcp", "exec", "check", "notify" }

---The one kind of a check; reports none and several.
local function kind_of(value, path, report)
  local kinds = {}
  for _, kind in ipairs(KINDS) do
    if value[kind] ~= nil then kinds[#kinds + 1] = kind end
  end
  if #kinds == 0 then report(path, "checks nothing: it needs one of http, tcp, exec, check, notify") end
  if #kinds > 1 then
    local both = table.concat(kinds, " and ")
    report(path, ("has %s: write a list of checks, each with one of them"):format(both))
  end
  return kinds[1]
end

local function one_check(value, path, report)
  local check = read_check(value, path, report)
  if not check then return nil end
  check.kind = kind_of(value, path, report)
  check.path = path:match "health%[?%d*%]?$" or path
  check.interval_given = value.interval ~= nil
  if check.timeout and check.timeout > check.interval then
    report(schema.join(path, "timeout"), ("%s is longer than the interval (%s): checks would overlap")
      :format(duration.format(check.timeout), duration.format(check.interval)))
  end
  check.timeout = check.timeout or check.interval
  check.ttl = check.ttl or 3 * check.interval
  return check
end

local many_checks = schema.list(one_check, "a list of checks only")

local function health(value, path, report)
  if not schema.is_table(value) or schema.length(value) == 0 then
    local check = one_check(value, path, report)
    return check and { check }
  end
  return many_checks(value, path, report)
end

-- ------------------------------------------------------------------------------------------------- jobs

local LEVELS = { "debug", "info", "warn", "error" }

local read_log = schema.fields({
  mode   = { schema.one_of { "lines", "raw" }, default = "lines" },
  level  = { schema.one_of(LEVELS), default = "info" },
  prefix = { schema.boolean, default = true },
  file   = { schema.text },
}, "a table")

local log_mode = schema.one_of { "lines", "raw" }

local LOG_AS = {
  lines = constant.of { mode = "lines", level = "info", prefix = true },
  raw   = constant.of { mode = "raw", level = "info", prefix = true },
}

local log = either('"lines", "raw" or a table such as { level = "warn" }', {
  table = read_log,
  string = function(value, path, report)
    local mode = log_mode(value, path, report)
    return LOG_AS[mode or 0]
  end,
})

local function when(value, path, report)
  if value == "manual" or type(value) == "table" or type(value) == "function" then return value end
  return schema.expected(path, report, 'a trigger such as db:once "healthy", "manual" or a function', value)
end

local reload = either('a signal such as "SIGHUP", or a function', {
  string = signal,
  ["function"] = schema.fn,
})

local read_job = schema.record({
  name    = { schema.any },                                 -- only in pilot.job { name = …, … }
  exec    = { argv.type },
  run     = { schema.fn },
  prepare = { schema.fn },

  when    = { when },
  restart = { restart.type, default = restart.NEVER },
  timeout = { schema.span },
  stop_signal  = { signal, default = "SIGTERM" },
  stop_timeout = { schema.duration, default = 10 },
  drain   = { schema.duration },
  reload  = { reload },
  main    = { schema.boolean, default = false },

  health  = { health, default = constant.NONE },
  service = { function(...) return service_types.services(...) end },

  env           = { types.env, default = constant.NONE },
  env_file      = { schema.text },
  env_clear     = { schema.boolean, default = false },
  cwd           = { schema.text },
  user          = { types.account },
  group         = { types.account },
  umask         = { types.umask },
  limits        = { types.limits, default = constant.NONE },
  no_new_privs  = { schema.boolean, default = false },
  oom_score_adj = { schema.integer(-1000, 1000) },
  cgroup        = { schema.fields({
    memory_max = { schema.size },                           -- bytes
    cpu_max    = { schema.positive },                       -- cores
    pids_max   = { schema.integer(1) },
  }, 'a table such as { memory_max = "256M" }') },
  log           = { log, default = LOG_AS.lines },
}, "a table of fields", {
  command = "exec", cmd = "exec", args = "exec", environment = "env", working_dir = "cwd",
  workdir = "cwd", dir = "cwd", directory = "cwd", depends_on = "when", after = "when", check = "health",
  healthcheck = "health", port = "service", uid = "user", gid = "group", signal = "stop_signal",
  max_restarts = "restart", pre_start = "prepare", before = "prepare", logging = "log", ulimits = "limits",
  rlimits = "limits",
})

---The name of a job from either form of pilot.job; reports a wrong one.
local function job_name(name, given, report)
  if name ~= nil and given.name ~= nil then
    report("job.name", ("the job is named %s already: leave this field out"):format(describe.quote(name)))
  elseif name == nil then
    name = given.name
  end
  if name == nil then
    report("job", 'has no name: write pilot.job "app" { … }, or name = "app"')
  else
    types.name(name, "job.name", report)
  end
  return type(name) == "string" and name or nil
end

local function check_work(options, path, report)
  if options.exec ~= nil and options.run ~= nil then
    report(schema.join(path, "run"), "a job has exec (a program) or run (a Lua function), not both")
  end
  local has_work = options.exec ~= nil or options.run ~= nil
  if not has_work and options.service == nil and options.health == nil then
    report(path, 'has nothing to do: give it exec = { "program" } or run = function(job) … end '
      .. "(only a job with service or health may have neither)")
  end
  if type(options.reload) == "string" and options.exec == nil and has_work then
    report(schema.join(path, "reload"), "there is no process to signal: write reload = function(job) … end")
  end
end

---@class luapilot.JobSpec
---@field name string|nil nil only after a mistake
---@field where string|nil
---@field exec string[]|nil
---@field run fun(job: table)|nil
---@field prepare fun(job: table)|nil
---@field when any as given
---@field restart luapilot.RestartPolicy
---@field timeout number|nil seconds, as all durations here
---@field stop_signal string
---@field stop_timeout number
---@field drain number|nil
---@field reload string|function|nil
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
---@field log { mode: string, level: string, prefix: boolean, file: string|nil }

---@class luapilot.CheckSpec
---@field kind "http"|"tcp"|"exec"|"check"|"notify"|nil nil only after a mistake
---@field exec string[]|nil
---@field tcp string|nil
---@field http table|nil { url: luapilot.Url, method, headers, body, status: { low, high }[], tls }
---@field check fun(job: table)|nil
---@field interval number
---@field interval_given boolean
---@field timeout number
---@field ttl number
---@field rise integer
---@field fall integer
---@field start_period number
---@field restart_after integer|nil
---@field path string "health" or "health[2]"

---A job as declared: pilot.job "name" { … }, or with name = nil pilot.job { name = …, … }.
---@param name any
---@param options any
---@param where string|nil "pilot.lua:12"
---@param mistakes luapilot.Mistakes
---@return luapilot.JobSpec
function M.job(name, options, where, mistakes)
  local report = schema.reporter(mistakes, where)
  local given = schema.is_table(options) and options or {}
  name = job_name(name, given, report)
  local path = name and "job " .. describe.quote(name) or "job"

  local spec = read_job(given, path, report)
  spec.name, spec.where = name, where
  if given == options then
    check_work(given, path, report)
  else
    schema.expected(path, report, "a table of fields", options)
  end
  if spec.drain and not spec.service then
    report(schema.join(path, "drain"), "needs service: it is the time between deregistering and stop_signal")
  end
  return spec
end

-- ---------------------------------------------------------------------------------------------- options

-- Options of a call: nil stands for none; the result is complete in any case.
local function options_reader(fields, what, check, synonyms)
  local read = schema.fields(fields, what, synonyms)
  return function(options, path, where, mistakes)
    local report = schema.reporter(mistakes, where)
    local given = options == nil and {} or options
    local result = read(given, path, report) or read({}, path, report)
    if check and schema.is_table(given) then check(result, path, report, given) end
    return result
  end
end

local WHEN_BUSY = { "queue", "latest", "drop", "restart", "parallel" }

local reaction_fields = {
  when_busy = { schema.one_of(WHEN_BUSY) },       -- the default depends on the event
  settle    = { schema.duration },
  max_wait  = { schema.duration },                -- default: 4 × settle
  timeout   = { schema.span },
}

local function check_reaction(result, path, report)
  local settle, max_wait = result.settle, result.max_wait
  if max_wait and not settle then
    report(schema.join(path, "max_wait"), "needs settle: it bounds how long settle may wait")
  elseif max_wait and max_wait < settle then
    report(schema.join(path, "max_wait"), ("%s is shorter than settle (%s)")
      :format(duration.format(max_wait), duration.format(settle)))
  elseif settle then
    result.max_wait = max_wait or 4 * settle
  end
end

---(options: any, path: string, where: string|nil, mistakes: luapilot.Mistakes): table
---@alias luapilot.OptionsReader fun(options, path, where, mistakes): table

---Options of `on`: { when_busy, settle, max_wait, timeout }.
---@type luapilot.OptionsReader
M.handler_options = options_reader(reaction_fields, 'a table such as { settle = "1s" }', check_reaction)

---Options of a trigger: the same; `timeout` gives up waiting.
---@type luapilot.OptionsReader
M.trigger_options = options_reader(reaction_fields, 'a table such as { timeout = "60s" }', check_reaction)

---Options of pilot.cron: { jitter }.
---@type luapilot.OptionsReader
M.cron_options = options_reader({ jitter = { schema.duration, default = 0 } }, 'a table such as { jitter = "5m" }')

---pilot.logging: { level, format, output }.
---@type luapilot.OptionsReader
M.logging = options_reader({
  level  = { schema.one_of(LEVELS), default = "info" },
  format = { schema.one_of { "default", "text", "json" }, default = "default" },
  output = { function(value, path, report)
    if value == "stdout" or value == "stderr" then return value end
    if type(value) == "string" and value:find "^/[^%z]+$" then return value end
    return schema.expected(path, report, '"stdout", "stderr" or an absolute path', value)
  end, default = "stdout" },
}, 'a table such as { level = "info" }')

-- ------------------------------------------------------------------------------------ files from templates

local function file_path(value, path, report)
  value = schema.text(value, path, report)
  if not value or value:find "[^/]$" then return value end
  report(path, "is a directory: it must name the file")
end

-- In a string {file} is a word like others, and no brace of a shell.
local function validator(value, path, report)
  if type(value) == "string" then value = value:gsub("{file}", "\1file\1") end
  local words = argv.type(value, path, report)
  for i = 1, words and #words or 0 do words[i] = words[i]:gsub("\1file\1", "{file}") end
  return words
end

local template_text = either("a string", { string = schema.any })

local function render_fields() return {
  source   = { schema.text },
  text     = { template_text },
  to       = { file_path },
  data     = { either("a table or a function that returns one", { table = schema.any, ["function"] = schema.fn }),
               default = constant.NONE },
  mode     = { types.mode },
  owner    = { types.owner },
  validate = { validator },
} end

local TEMPLATE_SYNONYMS = { template = "source", src = "source", vars = "data", check = "validate", perms = "mode" }
local RENDER_SYNONYMS = { path = "to", dest = "to", target = "to" }
for word, meant in pairs(TEMPLATE_SYNONYMS) do RENDER_SYNONYMS[word] = meant end

local function check_source(given, path, report)
  if given.source ~= nil and given.text ~= nil then
    report(path, "has source and text: the template is in a file, or it stands here")
  elseif given.source == nil and given.text == nil then
    report(path, 'has no template: give it source = "/etc/app.conf.tmpl", or text = "…"')
  end
end

---Options of pilot.render.
---@type luapilot.OptionsReader
M.render_options = options_reader(render_fields, 'a table such as { source = "app.tmpl", to = "/etc/app.conf" }',
  function(result, path, report, given)
    check_source(given, path, report)
    if given.to == nil then report(path, 'has no file to write: give it to = "/etc/app.conf"') end
  end, RENDER_SYNONYMS)

local function template_fields()
  local fields = render_fields()
  fields.to = nil
  fields.reload = { schema.any }                  -- templates.lua knows what a job is
  fields.settle = { schema.duration }
  fields.watch  = { either("a watch, or a list of them", { table = schema.any }) } -- … and what a watch is
  return fields
end

---What pilot.template describes.
---@type luapilot.OptionsReader
M.template_options = options_reader(template_fields, 'a table such as { source = "/etc/app.conf.tmpl" }',
  function(_, path, report, given) check_source(given, path, report) end, TEMPLATE_SYNONYMS)

---The path of a template.
M.template_path = file_path

local WATCH_SYNONYMS = {
  tags = "tag", datacenter = "dc", passing = "status", consistency = "stale", keep = "keep_last", sticky = "keep_last",
}

local read_watch = options_reader(function() return service_types.watch_fields end,
  'a table such as { tag = "primary" }', nil, WATCH_SYNONYMS)
local read_key_watch = options_reader(function()
  return { dc = service_types.watch_fields.dc, stale = service_types.watch_fields.stale }
end, 'a table such as { dc = "west" }', nil, WATCH_SYNONYMS)

---Options of pilot.watch, or of pilot.watch.key and pilot.watch.prefix.
---@param kind "service"|"key"|"prefix"
---@return table
function M.watch_options(kind, options, path, where, mistakes)
  return (kind == "service" and read_watch or read_key_watch)(options, path, where, mistakes)
end

---The name of a watch.
---@type luapilot.Type
function M.watched_name(...) return service_types.watched_name(...) end

---The tags of job:set_tags.
---@type luapilot.Type
function M.tags(...) return service_types.tags(...) end

---Options of pilot.exec: { check, env, cwd, user, stdin, timeout, max_output }.
---@type luapilot.OptionsReader
M.exec_options = options_reader({
  check      = { schema.boolean, default = true },
  env        = { types.env, default = constant.NONE },
  cwd        = { schema.text },
  user       = { types.account },
  stdin      = { bytes },
  timeout    = { schema.span },
  max_output = { schema.size, default = 1024 ^ 2 },
}, 'a table such as { timeout = "30s" }')

local function one_body(result, path, report)
  local given = {}
  for _, name in ipairs { "body", "json", "form" } do
    if result[name] ~= nil then given[#given + 1] = name end
  end
  if given[2] then report(path, ("has %s: a request has one body"):format(table.concat(given, " and "))) end
  if result.socket and result.proxy then report(schema.join(path, "proxy"), "a socket needs none: leave it out") end
end

---Options of pilot.http.get and the like.
---@type luapilot.OptionsReader
M.http_options = options_reader(function() return {
  query    = { http_types.pairs },
  headers  = { http_types.headers, default = constant.NONE },
  body     = { bytes },
  json     = { schema.any },
  form     = { http_types.pairs },
  timeout  = { schema.span, default = 30 },
  socket   = { http_types.socket },
  tls      = { http_types.tls },
  follow   = { schema.boolean, default = false },
  proxy    = { http_types.proxy },                -- default: what the environment says
  max_body = { schema.size, default = 16 * 1024 ^ 2 },
  retry    = { schema.span },
} end, 'a table such as { timeout = "5s" }', one_body)

---The method of pilot.http.request; nil: GET.
---@param value any
---@return string|nil method
---@return string|nil message
function M.http_method(value)
  if value == nil then return "GET" end
  return schema.first(http_types.method, value)
end

return M
