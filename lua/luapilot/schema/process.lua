-- The types that only processes need: environment, umask, limits, users, addresses, what becomes of their output.
--
-- Owns how these are written in pilot.lua and what they become. Never asks the system whether a user or an
-- address exists: a container's files may differ from those where `check` runs.

local describe = require "luapilot.base.describe"
local numbers = require "luapilot.schema.numbers"
local paths = require "luapilot.schema.paths"
local schema = require "luapilot.schema.schema"
local signals = require "luapilot.base.signals"
local size = require "luapilot.base.size"

local M = {}

---`unlimited`, in a normalised limit.
M.UNLIMITED = -1

---Any string, also an empty one, or one with NUL bytes.
---@type luapilot.Type
M.bytes = schema.either("a string", { string = schema.any })

---Where a job says who follows its main process.
---@type luapilot.Type
function M.pidfile(value, path, report)
  if type(value) == "string" and value:find "^/[^%z]*[^/%z]$" then return value end
  return schema.expected(path, report, 'an absolute path such as "/run/app.pid"', value)
end

---What asks a job to end. SIGSTOP cannot be caught, and ends nothing.
---@type luapilot.Type
function M.stop_signal(value, path, report)
  local name, message = signals.parse(value)
  if name == "SIGSTOP" then
    name, message = nil, 'SIGSTOP ends no program: expected a signal that does, such as "SIGTERM"'
  end
  if message then report(path, message) end
  return name
end

-- ------------------------------------------------------------------------------------------ environment

local function env_name_message(name, value)
  if type(name) ~= "string" then
    local text = type(value) == "string" and value:match "^[%a_][%w_]*="
    local advice = text and ('; write %s = "…"'):format(text:sub(1, -2)) or ""
    return ('expected NAME = "value", got %s%s'):format(describe.value(value), advice)
  end
  if name == "" or name:find "[=%z]" then return 'a name cannot be empty or contain "=" or a NUL byte' end
end

local function env_value(value, path, report)
  if type(value) == "number" then return numbers.text(value, path, report) end
  if type(value) ~= "string" then
    local advice = type(value) == "boolean" and ('write "%s"'):format(tostring(value)) or nil
    return schema.expected(path, report, "a string or a number", value, advice)
  end
  if value:find("\0", 1, true) then return report(path, "contains a NUL byte") end
  return value
end

---Environment variables: { PORT = "8000" }.
---@type luapilot.Type
function M.env(value, path, report)
  if not schema.is_table(value) then
    return schema.expected(path, report, 'a table such as { PORT = "8000" }', value)
  end
  local env = {}
  for _, name in ipairs(schema.keys(value)) do
    local message = env_name_message(name, value[name])
    if message then
      report(schema.join(path, name), message)
    else
      env[name] = env_value(value[name], schema.join(path, name), report)
    end
  end
  return env
end

-- -------------------------------------------------------------------------------------- users and files

---A user or group: a name or a number.
---@type luapilot.Type
function M.account(value, path, report)
  if type(value) == "number" then return schema.integer(0, 2 ^ 32 - 2)(value, path, report) end
  if type(value) ~= "string" then return schema.expected(path, report, "a name or a number", value) end
  local user, group = value:match "^([^:]*):(.*)$"
  if user then
    local advice = 'write user = "%s", group = "%s"'
    return schema.expected(path, report, "one name", value, advice:format(user, group))
  end
  return schema.text(value, path, report)
end

---File permissions to withhold: octal digits in a string, because 027 in Lua is the number 27.
---@type luapilot.Type
function M.umask(value, path, report)
  if type(value) == "string" and value:find "^0?[0-7]?[0-7]?[0-7]$" then return tonumber(value, 8) end
  local digits = type(value) == "number" and ("%03.0f"):format(value)
  local advice = digits and digits:find "^[0-7]+$" and ('write "%s"'):format(digits) or nil
  return schema.expected(path, report, 'a string of octal digits such as "027"', value, advice)
end

---File permissions: octal digits in a string.
---@type luapilot.Type
function M.mode(value, path, report)
  if type(value) == "string" and value:find "^0?[0-7]?[0-7][0-7][0-7]$" then return tonumber(value, 8) end
  local digits = type(value) == "number" and ("%04.0f"):format(value)
  local advice = digits and digits:find "^0?[0-7]+$" and ('write "%s"'):format(digits) or nil
  return schema.expected(path, report, 'a string of octal digits such as "0640"', value, advice)
end

local OWNER = 'a user such as "app", a user and a group such as "app:www", or ":www"'

---Who owns a file: { user, group }, names or numbers.
---@type luapilot.Type
function M.owner(value, path, report)
  if type(value) == "number" then
    local number = schema.integer(0, 2 ^ 32 - 2)(value, path, report)
    return number and { user = number }
  end
  if type(value) ~= "string" then return schema.expected(path, report, OWNER, value) end
  local user, group = value:match "^([^:%z]*):?([^:%z]*)$"
  if not user or user .. group == "" then return schema.expected(path, report, OWNER, value) end
  return { user = user ~= "" and user or nil, group = group ~= "" and group or nil }
end

-- ----------------------------------------------------------------------------------------------- limits

local LIMITS = { "as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile",
  "nproc", "rss", "rtprio", "rttime", "sigpending", "stack" }
local WHAT_LIMIT = 'a number, a size such as "64K", "unlimited", or { soft, hard }'

local function one_limit(value, path, report)
  if value == "unlimited" then return M.UNLIMITED end
  local number = (type(value) == "number" or type(value) == "string") and size.parse(value)
  if number then return number end
  return schema.expected(path, report, WHAT_LIMIT, value)
end

local function is_above(soft, hard)
  if hard == M.UNLIMITED then return false end
  return soft == M.UNLIMITED or soft > hard
end

local read_pair = schema.list(one_limit, "{ soft, hard }")

---One resource limit: { soft, hard }.
local function limit(value, path, report)
  if not schema.is_table(value) then
    local both = one_limit(value, path, report)
    return both and { both, both }
  end
  local pair = read_pair(value, path, report)
  if not pair then return nil end
  if schema.length(value) ~= 2 then
    return report(path, ("expected two values, { soft, hard }, got %d"):format(schema.length(value)))
  end
  if #pair < 2 then return nil end
  if is_above(pair[1], pair[2]) then return report(path, "the soft limit is above the hard limit") end
  return pair
end

local limit_fields = {}
for _, name in ipairs(LIMITS) do limit_fields[name] = { limit } end

---Resource limits: { nofile = { soft, hard } } by the names of setrlimit.
---@type luapilot.Type
M.limits = schema.fields(limit_fields, "a table such as { nofile = 65536 }")

-- -------------------------------------------------------------------------------------------- addresses

local function tcp_advice(text)
  local rest = text:match "^%a[%w+.-]*://([^/]*)"
  if rest then return ("it is no URL: write only %s"):format(describe.quote(rest)) end
  if text:find "^:%d+$" then return ('the host is missing: write "localhost%s"'):format(text) end
  if text:find "^%d+$" then return ('the host is missing: write "localhost:%s"'):format(text) end
  local host, port = text:match "^([%x:]+:[%x:]*):(%d+)$"
  if host then return ('write an IPv6 address in brackets: "[%s]:%s"'):format(host, port) end
  if text:find "^[%w%.%-]+$" then return ('the port is missing: write for example "%s:80"'):format(text) end
end

---An address: "localhost:80" or "[::1]:80".
---@type luapilot.Type
function M.address(value, path, report)
  local what = '"host:port" such as "localhost:80"'
  if type(value) == "number" then
    return schema.expected(path, report, what, value, tcp_advice(describe.number(value)))
  end
  if type(value) ~= "string" then return schema.expected(path, report, what, value) end
  local port = value:match "^%[[%x:]*:[%x:%.]*%]:(%d+)$" or value:match "^[%w%.%-_]+:(%d+)$"
  if not port then return schema.expected(path, report, what, value, tcp_advice(value)) end
  if tonumber(port) < 1 or tonumber(port) > 65535 then
    return report(path, ("the port %s is not within 1-65535"):format(port))
  end
  return value
end

local ENDPOINT = '"host:port" such as "localhost:80", or a unix socket such as "unix:///run/app.sock"'

local function socket_path(value, path, report)
  local at = value:sub(6)
  if at:find "%z" then return report(path, "contains a NUL byte") end
  if at:find "^//[^/]" then
    return schema.expected(path, report, ENDPOINT, value, "write " .. describe.quote("unix:///" .. at:sub(3)))
  end
  at = at:gsub("^//", "", 1):gsub("^/+", "/")
  if at == "" or at:find "/$" then return schema.expected(path, report, ENDPOINT, value, "the path names no socket") end
  return { path = paths.absolute(at), shown = "unix:" .. at }
end

---Where pilot.net.connect leads: an address as above, or "unix:///run/app.sock". Becomes { address } or { path }, and
---`shown` for messages.
---@type luapilot.Type
function M.endpoint(value, path, report)
  if type(value) == "string" and value:find "^unix:" and not value:find "^unix:%d+$" then
    return socket_path(value, path, report)
  end
  if type(value) == "string" and value:find "^/" then
    return schema.expected(path, report, ENDPOINT, value, "write " .. describe.quote("unix://" .. value))
  end
  local address = M.address(value, path, report)
  return address and { address = address, shown = address }
end

-- ------------------------------------------------------------------------------------------------ names

-- ------------------------------------------------------------------------------------------ their output

local LINES_ONLY = { "merge", "parse" }
local LINES = { "file", "level", "level_from", "merge", "parse", "prefix" }

local read_log = schema.fields({
  mode   = { schema.one_of { "lines", "raw", "none" }, default = "lines" },
  level  = { schema.one_of { "debug", "info", "warn", "error" }, default = "info" },
  prefix = { schema.boolean, default = true },
  file   = { paths.type },
  merge  = { schema.boolean },
  parse  = { schema.one_of { "json" } },
  level_from = { schema.text },
}, "a table")

local function log_table(value, path, report)
  local log = read_log(value, path, report)
  for _, name in ipairs(log.mode == "raw" and LINES_ONLY or {}) do
    if log[name] then report(schema.join(path, name), 'needs mode = "lines": of a raw job nothing is read') end
  end
  for _, name in ipairs(log.mode == "none" and LINES or {}) do
    if schema.field(value, name) ~= nil then
      report(schema.join(path, name), 'needs mode = "lines": with "none" all output is discarded')
    end
  end
  if log.level_from and not log.parse then
    report(schema.join(path, "level_from"), 'needs parse = "json": it names a field of what is parsed')
  end
  return log
end

local log_mode = schema.one_of { "lines", "raw", "none" }

---What becomes of a job's output: "lines", "raw", "none", or a table.
---@type luapilot.Type
M.log = schema.either('"lines", "raw", "none" or a table such as { level = "warn" }', {
  table = log_table,
  string = function(value, path, report)
    if value:find "[/.]" then
      return schema.expected(path, report, '"lines", "raw", "none" or a table', value,
        ("write log = { file = %s }"):format(describe.quote(value)))
    end
    local mode = log_mode(value, path, report)
    return mode and { mode = mode, level = "info", prefix = true }
  end,
})

return M
