-- The options of calls: their types and defaults.
--
-- Owns the tables below; they are meant to be read like the documentation. The result is complete in any case, with
-- defaults in the place of what was wrong; mistakes are added to the collector. Loaded with the first call that is
-- given options.

local argv = require "luapilot.schema.argv"
local job_schema = require "luapilot.schema.job"
local constant = require "luapilot.base.constant"
local describe = require "luapilot.base.describe"
local duration = require "luapilot.base.duration"
local lazy = require "luapilot.base.lazy"
local mistakes_of = require "luapilot.base.mistakes"
local paths = require "luapilot.schema.paths"
local schema = require "luapilot.schema.schema"
local process_schema = require "luapilot.schema.process"

local http_schema = lazy.require "luapilot.schema.http"
local service_schema = lazy.require "luapilot.schema.service"

local M = {}

-- Lines in the log come under the name of a job, or one that a job could have.
local function config_name(value, path, report) return job_schema.name(value, path, report) end

local LEVELS = { "debug", "info", "warn", "error" }

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
  if not value then return nil end
  if value:find "[^/]$" then return paths.absolute(value, path ~= "" and path or nil) end
  report(path, "is a directory: it must name the file")
end

-- In a string {file} is a word like others, and no brace of a shell.
local function validator(value, path, report)
  if type(value) == "string" then value = value:gsub("{file}", "\1file\1") end
  local words = argv.type(value, path, report)
  for i = 1, words and #words or 0 do words[i] = words[i]:gsub("\1file\1", "{file}") end
  return words
end

local data = schema.either("a table or a function that returns one", { table = schema.any, ["function"] = schema.fn })

local function render_fields() return {
  source   = { paths.type },
  text     = { process_schema.bytes },
  to       = { file_path },
  data     = { data, default = constant.NONE },
  mode     = { process_schema.mode },
  owner    = { process_schema.owner },
  validate = { validator },
} end

local TEMPLATE_SYNONYMS = { template = "source", src = "source", vars = "data", check = "validate", perms = "mode" }
local RENDER_SYNONYMS = { path = "to", dest = "to", target = "to" }
for word, meant in pairs(TEMPLATE_SYNONYMS) do RENDER_SYNONYMS[word] = meant end

local function check_source(given, path, report)
  local source, text = schema.field(given, "source"), schema.field(given, "text")
  if source ~= nil and text ~= nil then
    report(path, "has source and text: the template is in a file, or it stands here")
  elseif source == nil and text == nil then
    report(path, 'has no template: give it source = "/etc/app.conf.tmpl", or text = "…"')
  end
end

---Options of pilot.render.
---@type luapilot.OptionsReader
M.render_options = options_reader(render_fields, 'a table such as { source = "app.tmpl", to = "/etc/app.conf" }',
  function(result, path, report, given)
    check_source(given, path, report)
    if schema.field(given, "to") == nil then report(path, 'has no file to write: give it to = "/etc/app.conf"') end
  end, RENDER_SYNONYMS)

local WATCHES = "a watch, or a list of them"

local function named_watch(value, path, report)
  return schema.expected(path, report, WATCHES, value, "write pilot.watch " .. describe.quote(value))
end

local function template_fields()
  local fields = render_fields()
  fields.to = nil
  fields.reload = { schema.any }                  -- api/template.lua knows what a job is
  fields.settle = { schema.duration }
  fields.watch  = { schema.either(WATCHES, { table = schema.any, string = named_watch }) } -- … and what a watch is
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

local read_watch = options_reader(function() return service_schema.watch_fields end,
  'a table such as { tag = "primary" }', nil, WATCH_SYNONYMS)
local function uncached(value, path, report)
  if not schema.boolean(value, path, report) then return nil end
  return report(path, "Consul's agent has no cache for keys, only for services: leave it out")
end

local read_key_watch = options_reader(function()
  return { dc = service_schema.watch_fields.dc, stale = service_schema.watch_fields.stale, cached = { uncached } }
end, 'a table such as { dc = "west" }', nil, WATCH_SYNONYMS)

---Options of pilot.watch, or of pilot.watch.key and pilot.watch.prefix.
---@param kind "service"|"key"|"prefix"
---@return table
function M.watch_options(kind, options, path, where, mistakes)
  return (kind == "service" and read_watch or read_key_watch)(options, path, where, mistakes)
end

---The name of a watch.
---@type luapilot.Type
function M.watched_name(...) return service_schema.watched_name(...) end

---The tags of job:set_tags.
---@type luapilot.Type
function M.tags(...) return service_schema.tags(...) end

local read_exec_log = schema.fields({
  as     = { config_name },
  level  = { schema.one_of(LEVELS), default = "info" },
  prefix = { schema.boolean, default = true },
  parse  = { schema.one_of { "json" } },
  level_from = { schema.text },
}, "a table")

local EXEC_LOG = '"none" or a table such as { as = "backup" }'

-- What becomes of the output of pilot.exec beside being returned: as of a job, under a name.
local exec_log = schema.either(EXEC_LOG, {
  string = function(value, path, report)
    if value == "none" then return { none = true } end
    return schema.expected(path, report, EXEC_LOG, value)
  end,
  table = function(value, path, report)
    local log = read_exec_log(value, path, report)
    if log and schema.field(value, "as") == nil then
      report(path, 'has no name for the log: give it as = "backup", such as the name of a job')
    end
    if log and log.level_from and not log.parse then
      report(schema.join(path, "level_from"), 'needs parse = "json": it names a field of what is parsed')
    end
    return log
  end,
})

---Options of pilot.exec.
---@type luapilot.OptionsReader
M.exec_options = options_reader({
  check      = { schema.boolean, default = true },
  env        = { process_schema.env, default = constant.NONE },
  cwd        = { paths.type },
  user       = { process_schema.account },
  group      = { process_schema.account },
  umask      = { process_schema.umask },
  limits     = { process_schema.limits, default = constant.NONE },
  no_new_privs = { schema.boolean, default = false },
  stdin      = { process_schema.bytes },
  log        = { exec_log },
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
  query    = { http_schema.pairs },
  headers  = { http_schema.headers, default = constant.NONE },
  body     = { process_schema.bytes },
  json     = { schema.any },
  form     = { http_schema.pairs },
  timeout  = { schema.span, default = 30 },
  socket   = { http_schema.socket },
  tls      = { http_schema.tls },
  follow   = { schema.boolean, default = false },
  proxy    = { http_schema.proxy },                -- default: what the environment says
  max_body = { schema.size, default = 16 * 1024 ^ 2 },
  retry    = { schema.span },
} end, 'a table such as { timeout = "5s" }', one_body)

local net_options = options_reader({
  timeout  = { schema.span, default = 5 },
  retry    = { schema.span },
  max_line = { schema.size, default = 64 * 1024 },
}, 'a table such as { timeout = "5s" }')

---Options of pilot.net.connect: { timeout, retry, max_line }.
---@type luapilot.OptionsReader
function M.net_options(options, path, where, mistakes)
  if schema.is_table(options) and schema.field(options, "tls") ~= nil then
    schema.reporter(mistakes, where)(schema.join(path, "tls"), "there is no TLS: for HTTP there is pilot.http")
  end
  return net_options(options, path, where, mistakes)
end

---Options of a call of a stream that this gives: { timeout }.
---@type luapilot.OptionsReader
M.stream_options = options_reader({ timeout = { schema.span } }, 'a table such as { timeout = "1m" }')

---Reads options in a task: nil and a message when they are wrong.
---@param reader luapilot.OptionsReader
---@param options any
---@param call string       "pilot.http.get"
---@return table?
---@return string? message
function M.of_call(reader, options, call)
  local list = mistakes_of.new()
  local read = reader(options, call, nil, list)
  local first = list:list()[1]
  if first then return nil, mistakes_of.format(first) end
  return read
end

---The method of pilot.http.request; nil: GET.
---@param value any
---@return string|nil method
---@return string|nil message
function M.http_method(value)
  if value == nil then return "GET" end
  return schema.first(http_schema.method, value)
end

return M
