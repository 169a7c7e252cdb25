-- What may stand in `health`: a check, or a list of them.
--
-- Owns the tables below; they are meant to be read like the documentation. Loaded with the first check.

local argv = require "luapilot.schema.argv"
local constant = require "luapilot.base.constant"
local duration = require "luapilot.base.duration"
local lazy = require "luapilot.base.lazy"
local schema = require "luapilot.schema.schema"
local process_schema = require "luapilot.schema.process"

local http_schema = lazy.require "luapilot.schema.http"

local M = {}

---@class luapilot.CheckSpec
---@field kind "http"|"tcp"|"exec"|"check"|"notify"|nil nil only after a mistake
---@field exec string[]|nil
---@field env table<string, string>|nil   of exec, beside the job's
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

local function must_be_true(value, path, report)
  if value == true then return true end
  return schema.expected(path, report, "true (or leave it out)", value)
end

local read_http = schema.fields(function() return {
  url     = { http_schema.url },
  method  = { http_schema.method, default = "GET" },
  headers = { http_schema.headers, default = constant.NONE },
  body    = { process_schema.bytes },
  status  = { http_schema.status, default = constant.of { constant.of { 200, 399 } } },
  tls     = { http_schema.tls },
} end, "a table", {
  uri = "url", address = "url", verb = "method", code = "status", expect = "status", insecure = "tls",
})

local http_check = schema.either("a URL or a table such as { url = \"http://localhost/\" }", {
  string = function(value, path, report)
    local url = http_schema.url(value, path, report)
    local result = url and read_http({}, path, report)
    if result then result.url = url end
    return result
  end,
  table = function(value, path, report)
    if schema.is_table(value) and schema.field(value, "url") == nil then
      report(path, 'has no url: write url = "http://localhost/health"')
    end
    return read_http(value, path, report)
  end,
})

local read_check = schema.record({
  http   = { http_check },
  tcp    = { process_schema.address },
  exec   = { argv.type },
  env    = { process_schema.env },
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
    if schema.field(value, kind) ~= nil then kinds[#kinds + 1] = kind end
  end
  if #kinds == 0 then report(path, "checks nothing: it needs one of http, tcp, exec, check, notify") end
  if #kinds > 1 then
    local both = table.concat(kinds, " and ")
    report(path, ("has %s: write a list of checks, each with one of them"):format(both))
  end
  return kinds[1]
end

local LONGEST = 2 ^ 63 / 1e9 -- seconds of a ttl: Consul counts nanoseconds

local function one_check(value, path, report)
  local check = read_check(value, path, report)
  if not check then return nil end
  check.kind = kind_of(value, path, report)
  check.path = path:match "health%[?%d*%]?$" or path
  if check.env and not check.exec and schema.field(value, "exec") == nil then
    report(schema.join(path, "env"), "needs exec: it is the environment of that program")
  end
  check.interval_given = schema.field(value, "interval") ~= nil
  if check.timeout and check.timeout > check.interval then
    report(schema.join(path, "timeout"), ("%s is longer than the interval (%s): checks would overlap")
      :format(duration.format(check.timeout), duration.format(check.interval)))
  end
  check.timeout = check.timeout or check.interval
  local given = check.ttl and "ttl" or "interval"
  check.ttl = check.ttl or 3 * check.interval
  if check.ttl >= LONGEST then report(schema.join(path, given), "is longer than Consul can count: 292 years") end
  return check
end

local many_checks = schema.list(one_check, "a list of checks only")

---@type luapilot.Type
function M.health(value, path, report)
  if schema.is_table(value) and type(rawget(value, 1)) == "string" then -- a command: one mistake, not one for each word
    return schema.expected(path, report, "a check, or a list of checks", value[1])
  end
  if not schema.is_table(value) or schema.length(value) == 0 then
    local check = one_check(value, path, report)
    return check and { check }
  end
  return many_checks(value, path, report)
end

return M
