-- arguments: reads what the user asks for (triggers, handlers, durations) and turns it into the core's data.
--
-- One rule in one place: while the file is being loaded a mistake is collected and loading goes on; later it is
-- raised at the user's line. It owns nothing.

local describe = require "luapilot.base.describe"
local lazy = require "luapilot.base.lazy"
local mistakes = require "luapilot.base.mistakes"
local schema = require "luapilot.schema.schema"

local duration = lazy.require "luapilot.base.duration"
local events = lazy.require "luapilot.schema.events"
local option_schema = lazy.require "luapilot.schema.options"

local arguments = {}

-- Triggers are tables of the core; this tells them from the user's.
local Trigger = { __name = "trigger", __tostring = function(self) return "trigger " .. self.kind end }

---@param node table
---@return luapilot.TriggerNode
function arguments.node(node) return setmetatable(node, Trigger) end

---@param value any
---@return boolean
function arguments.is_trigger(value) return getmetatable(value) == Trigger end

---Collects a mistake while loading, raises it later.
---@param app luapilot.App
---@param path string?
---@param message string
function arguments.fail(app, path, message)
  local where = app:where()
  if app.phase == "declaring" then return app.mistakes:add(where, path, message) end
  error(mistakes.format { where = where, path = path, message = message }, 0)
end

---Raises where a name is followed by a second value: what describes it comes without a comma.
---@param call string       "pilot.job"
---@param name any
---@param more any
---@param level integer     of error()
function arguments.alone(call, name, more, level)
  if more == nil then return end
  error(("%s: expected one value, got a second one (%s): write %s %s { … }, without a comma")
    :format(call, describe.value(more), call, describe.quote(name)), level)
end

---Reads a value with a parser of schema/options.lua's kind: read(path, where, mistakes).
---@param app luapilot.App
---@param read fun(where: string?, list: luapilot.Mistakes): any
---@return any
function arguments.read(app, read)
  local where = app:where()
  if app.phase == "declaring" then return read(where, app.mistakes) end
  local list = mistakes.new()
  local result = read(where, list)
  local first = list:list()[1]
  if first then error(mistakes.format(first), 0) end
  return result
end

---@param app luapilot.App
---@param kind "once"|"each"
---@param source_kind string      of schema/events.lua
---@param topic string
---@param event any
---@param options any
---@return luapilot.TriggerNode
function arguments.event_trigger(app, kind, source_kind, topic, event, options)
  local ok, message = events.check(source_kind, event)
  if not ok then
    arguments.fail(app, nil, message)
    return arguments.node { kind = kind, topic = topic, event = "?" }
  end
  local read = arguments.read(app, function(where, list)
    return option_schema.trigger_options(options, ("%s(%q)"):format(kind, event), where, list)
  end)
  return arguments.node { kind = kind, topic = topic, event = event, options = read }
end

---What stands in `when`, as a node; nil: at start-up.
---@param app luapilot.App
---@param value any
---@param where string?
---@param path string
---@return luapilot.TriggerNode?
function arguments.trigger(app, value, where, path)
  if value == nil or arguments.is_trigger(value) then return value end
  if value == "manual" then return arguments.node { kind = "manual" } end
  if type(value) == "function" then return arguments.node { kind = "function", fn = value } end
  local advice = "a trigger such as db:once \"healthy\", pilot.every \"60s\", pilot.all { … }, \"manual\" or a function"
  local found = describe.value(value)
  local source = schema.is_table(value) and schema.field(value, "source")
  if type(source) == "string" then -- as in a containerpilot.json5
    found = ('a table; write pilot.job %s:once "…"'):format(describe.quote(source))
  elseif type(value) == "table" and getmetatable(value) then
    local _, name = pcall(tostring, value)
    local kind = type(name) == "string" and name:match "^(%l+) \""
    local event = kind == "template" and "rendered" or "healthy"
    if kind then found = ("the %s itself: add :once %q (or another event)"):format(name, event) end
  end
  app.mistakes:add(where, path, ("expected %s, got %s"):format(advice, found))
  return nil
end

---Subscribes a handler: on(event, [options,] fn).
---@param app luapilot.App
---@param kind string         of schema/events.lua
---@param topic string
---@param label string        'job "app"'
---@param event any
---@param options any
---@param fn any
---@return luapilot.Subscription
function arguments.subscribe(app, kind, topic, label, event, options, fn)
  if fn == nil then options, fn = nil, options end
  local ok, message = events.check(kind, event)
  if not ok then arguments.fail(app, nil, message) end
  local name = describe.text(event)
  local path = ("%s.on %q"):format(label, name)
  local call = kind == "pilot" and path or ("%s:on %q"):format(label, name)
  if type(fn) ~= "function" then
    arguments.fail(app, path, "expected a function as the handler, got " .. describe.value(fn))
    fn = function() end
  end
  local read = arguments.read(app, function(where, list)
    return option_schema.handler_options(options, path, where, list)
  end)
  local where = app:where()
  if event == "changed" and not read.when_busy then read.when_busy = "latest" end
  if where then call = ("%s at %s"):format(call, where) end
  local subscription = app.bus:subscribe(topic, name, read, fn, call)
  subscription.where = where
  return subscription
end

---The arguments of maintenance(on, reason); raises at the caller's caller.
---@param what string
---@param on any
---@param reason any
---@return boolean on, string reason
function arguments.maintenance(what, on, reason)
  if type(on) ~= "boolean" then
    error(("%s: expected true or false, got %s"):format(what, describe.value(on)), 3)
  end
  if reason ~= nil and (type(reason) ~= "string" or reason == "") then
    error(("%s: reason: expected a text, got %s"):format(what, describe.value(reason)), 3)
  end
  local fault = reason and lazy.load("luapilot.schema.json_text").fault(reason)
  if fault then error(("%s: reason: %s"):format(what, fault), 3) end
  return on, reason or "maintenance"
end

---The seconds that a user said; a mistake is kept, and one second stands in for it.
---@param app luapilot.App
---@param value any
---@param path string      of what was said: "pilot.after"
---@return number
function arguments.seconds(app, value, path)
  local seconds, message = duration.parse(value)
  if seconds then return seconds end
  arguments.fail(app, path, message)
  return 1 -- loading goes on
end

---A function; a mistake is kept, and one that does nothing stands in for it.
---@param app luapilot.App
---@param value any
---@param path string
---@return function
function arguments.callable(app, value, path)
  if type(value) == "function" then return value end
  arguments.fail(app, path, "expected a function, got " .. describe.value(value))
  return function() end
end

---Seconds above zero; a mistake is kept, and one second stands in for it.
---@param app luapilot.App
---@param value any
---@param path string
---@return number
function arguments.span(app, value, path)
  local seconds = arguments.seconds(app, value, path)
  if seconds > 0 then return seconds end
  arguments.fail(app, path, "expected a duration above zero, got " .. describe.value(value))
  return 1
end

return arguments
