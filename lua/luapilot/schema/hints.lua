-- hints: what was probably meant by a value of the wrong shape: health = "http://localhost/" for
-- health = { http = "http://localhost/" }.
--
-- It owns these guesses, a function for each field of a job, and the fields of other tools, and is loaded with the
-- first mistake. It never decides that a value is wrong: it adds to the message of who did.

local cron = require "luapilot.base.cron"
local describe = require "luapilot.base.describe"
local duration = require "luapilot.base.duration"
local events = require "luapilot.schema.events"
local schema = require "luapilot.schema.schema"
local size = require "luapilot.base.size"

local hints = {}

local quote = describe.quote

-- A command, or a list of words, as it stands in the file.
local function command(value)
  if type(value) == "string" then return quote(value) end
  local first = type(value) == "table" and rawget(value, 1) -- it may be an object, of which nobody asks that
  if type(first) ~= "string" then return nil end
  return ("{ %s%s }"):format(quote(first), rawget(value, 2) ~= nil and ", …" or "")
end

local function in_function(value)
  local words = command(value)
  return words and ("function() pilot.exec(%s) end"):format(words)
end

local by = {} -- field → function(value): what to write as its value, or nil; and what to do instead

local function check_of_text(text)
  if text:find "^https?://" then return ("{ http = %s }"):format(quote(text)) end
  local address = text:match "^tcp://([^/]+:%d+)/?$" or text:match "^[%w._-]+:%d+$"
    or text:match "^%[[%x:]+%]:%d+$"
  if address then return ("{ tcp = %s }"):format(quote(address)) end
  return ("{ exec = %s }"):format(quote(text))
end

function by.health(value)
  local kind = type(value)
  if kind == "string" then return check_of_text(value) end
  if kind == "number" then return ('{ tcp = "localhost:%s" }'):format(describe.number(value)) end
  if kind == "function" then return "{ check = function(job) … end }" end
  if value == true then return "{ notify = true }, if the program says READY=1 by sd_notify" end
  local words = command(value)
  return words and ("{ exec = %s }"):format(words)
end

local function is_event(name)
  for _, each in ipairs(events.names.job) do
    if each == name then return true end
  end
end

function by.when(value)
  if type(value) == "number" then return ("pilot.every(%s)"):format(describe.number(value)) end
  if value == false then return '"manual"' end
  if value == true or value == "startup" then return nil, "leave it out: it starts with the pilot" end
  if type(value) ~= "string" then return nil end
  if is_event(value) then return ('pilot.job("name"):once %s'):format(quote(value)) end
  if duration.parse(value) then return ("pilot.every %s"):format(quote(value)) end
  if cron.parse(value) then return ("pilot.cron %s"):format(quote(value)) end
  if value:find "^[a-z][%w-]*$" then return ('pilot.job(%s):once "healthy"'):format(quote(value)) end
end

function by.service(value)
  if type(value) == "string" then return ("{ name = %s }"):format(quote(value)) end
  if type(value) == "number" then return ("{ port = %s }"):format(describe.number(value)) end
end

function by.env(value)
  if type(value) ~= "string" then return nil end
  local name, text = value:match "^([%a_][%w_]*)=(.*)$"
  return name and ("{ %s = %s }"):format(name, quote(text))
end

function by.log(value)
  if value == "json" then return '{ parse = "json" }' end
  return value == false and '"none"'
end

function by.cgroup(value) return size.parse(value) and ("{ memory_max = %s }"):format(command(value) or value) end

function by.reload(value)
  if value == true then return '"SIGHUP"' end
  if type(value) == "string" and not value:find "[%s/]" then return nil end
  return in_function(value)
end

by.prepare = in_function

function by.run(value)
  local words = command(value)
  return nil, words and ("write exec = %s"):format(words)
end

function by.env_file(value)
  if type(value) == "table" then return nil, "a job has one: write its path" end
end

-- Fields of other tools that no spelling leads to, beside those of schema/job.lua.
local FIELDS = {
  stop_grace_period = "stop_timeout", stop_grace = "stop_timeout", grace_period = "stop_timeout",
  kill_timeout = "stop_timeout", entrypoint = "exec", env_vars = "env", restart_policy = "restart",
}
local OF_CHECKS = {
  cmd = "exec", test = "exec", period = "interval", period_seconds = "interval", initial_delay = "start_period",
  initial_delay_seconds = "start_period", failure_threshold = "fall", success_threshold = "rise",
}
local OF_THE_CONTAINER = {}
for name in ("build configs expose hostname image labels mounts networks privileged secrets volumes"):gmatch "%l+" do
  OF_THE_CONTAINER[name] = true
end

-- What is said of a field that nobody knows.
local function unknown(path, message)
  local check, field = path:match "(%.health%[?%d*%]?)%.([%a_]+)$"
  field = field or path:match '"%.([%a_]+)$'
  local name = (check and OF_CHECKS or FIELDS)[field]
  if name then return ("%s (did you mean %s?)"):format(message, quote(name)) end
  if check or not OF_THE_CONTAINER[field] then return message end
  return message .. ": it is the container's (docker run, compose.yaml), not a job's"
end

---A message about a field of a job, with what to write in the place of its value.
---@param given table        the job as it was described
---@param path string        'job "app".health', 'job "app".health[2]'
---@param message string
---@return string
function hints.better(given, path, message)
  if message == "unknown field" then return unknown(path, message) end
  local field, index = path:match "%.([%a_]+)%[?(%d*)%]?$"
  if not by[field] or message:find "; %l" then return message end
  local value = schema.field(given, field)
  if index ~= "" then value = type(value) == "table" and rawget(value, tonumber(index)) or nil end
  if not (message:find "^expected " or message:find "^unknown signal") then return message end
  if value == nil then return message end
  local words, instead = by[field](value)
  if words then instead = ("write %s%s"):format(index == "" and field .. " = " or "", words) end
  return instead and ("%s; %s"):format(message, instead) or message
end

-- Fields of which mistakes of others speak: "which has no health check".
local SPOKEN_OF = { exec = true, run = true, health = true, reload = true, depends_on = true }

---May mistakes that are found in what others say of a job follow from this one?
---@param path string
---@param message string
---@return boolean
function hints.may_lead_on(path, message)
  local field = path:match '"%.([%l_]+)'
  return not field or SPOKEN_OF[field] or message:find("unknown field", 1, true) ~= nil
end

return hints
