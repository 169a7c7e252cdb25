-- shutdown_signals: which signals ask the pilot to end, beside SIGTERM, SIGINT and SIGQUIT: the STOPSIGNAL of an image.
--
-- pilot.shutdown_signals { "SIGWINCH" } declares them; app.enders keeps them, and pilot/app.lua asks there. Who
-- listens for one of them would wait in vain: that is a mistake. It owns nothing, and ends nothing. init.lua lends its
-- function to a file when that is called.

local arguments = require "luapilot.schema.arguments"
local schema = require "luapilot.schema.schema"
local signals = require "luapilot.base.signals"

local shutdown_signals = {}

local PATH = "pilot.shutdown_signals"

local signal = schema.by(function(name)
  local ok, message = signals.can_hear(name)
  return ok and name, message
end)

local signal_list = schema.list(signal, 'a list of signals such as { "SIGWINCH", "SIGRTMIN+3" }')

---@param list string[]     "SIGWINCH", "SIGRTMIN+3"
function shutdown_signals.shutdown_signals(app, list)
  if app.phase ~= "declaring" then error(PATH .. " only declares: call it at the top level of the file", 2) end
  local names = arguments.read(app, function(where, mistakes)
    return signal_list(list, PATH, schema.reporter(mistakes, where))
  end)
  app.enders = app.enders or {}
  for _, name in ipairs(names or {}) do app.enders[name] = true end
end

local ENDS = 'listens for %s, which ends the pilot (pilot.shutdown_signals): use pilot.on("shutdown", …)'

local TOLD = signals.ENDS_PILOT -- at once, whatever the file declares: see init.lua

---Adds a mistake for each handler and trigger that waits for one of them.
---@param app luapilot.App
function shutdown_signals.check(app)
  for _, name in ipairs(schema.keys(app.enders)) do
    for _, handler in ipairs(TOLD[name] and {} or app.bus:subscribers("pilot", name)) do
      if not handler.gone then app.mistakes:add(handler.where, ("pilot.on %q"):format(name), ENDS:format(name)) end
    end
  end
  for _, runner in ipairs(app.order) do
    for _, leaf in ipairs(runner.starter.trigger.leaves) do
      if leaf.topic == "pilot" and app.enders[leaf.event] and not TOLD[leaf.event] then
        app.mistakes:add(runner.spec.where, ("job %q.when"):format(runner.spec.name), ENDS:format(leaf.event))
      end
    end
  end
end

---Tells the guardian what asks for the end: it counts, too.
---@param app luapilot.App
function shutdown_signals.tell(app)
  local names = schema.keys(signals.ENDS_PILOT)
  for _, name in ipairs(schema.keys(app.enders or {})) do names[#names + 1] = name end
  if not app.bus:has("pilot", "SIGQUIT") then names[#names + 1] = "SIGQUIT" end
  app.port.shutdown_signals(names)
end

return shutdown_signals
