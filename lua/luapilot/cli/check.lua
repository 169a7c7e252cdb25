-- luapilot check [FILE]: every mistake, or a summary. Starts nothing, changes nothing.

local command = require "luapilot.cli.command"
local describe = require "luapilot.describe"
local duration = require "luapilot.duration"
local load = require "luapilot.cli.load"
local shutdown = require "luapilot.cli.shutdown"

---@type luapilot.Command
local check = {
  plain = command.one_file,
  name = "check", usage = "check [FILE]",
  summary = "every mistake with its file and line, or a summary",
  description = "Loads and validates a pilot.lua as run does, and starts nothing. All mistakes are told at once,\n"
    .. "one a line; only an error that Lua itself raises hides what would come after it.",
  epilog = [[
Exit codes:
   0                     no mistakes; a summary on stdout
   2                     mistakes, on stderr
   70                    an error inside luapilot

Examples:
   luapilot check
   luapilot check --no-env deploy/pilot.lua      where the variables of production are not set
   RUN luapilot check /etc/pilot.lua             in a Dockerfile]],
}

function check.define(parser)
  parser:argument("FILE"):target "file":argname "FILE":args "?"
    :description "The file. Default: $LUAPILOT, ./pilot.lua, /etc/pilot.lua, the first that is there."
  parser:flag("--no-env"):description "A missing pilot.env or pilot.secret is a warning, not a mistake."
end

local function job_names(pilot)
  local names = {}
  for i, runner in ipairs(pilot.order) do names[i] = runner.spec.name end
  return #names > 0 and " (" .. shutdown.names(names) .. ")" or ""
end

local function triggers(pilot)
  local count = 0
  for _, runner in ipairs(pilot.order) do
    for _, leaf in ipairs(runner.starter.trigger.leaves) do
      if leaf.kind ~= "startup" then count = count + 1 end
    end
  end
  return count
end

local function services(pilot)
  local count = 0
  for _, runner in ipairs(pilot.order) do count = count + #(runner.spec.service or {}) end
  return count
end

local function size(set)
  local count = 0
  for _ in pairs(set) do count = count + 1 end
  return count
end

---What a loaded file declares, in lines.
---@param pilot luapilot.App
---@param path string
---@return string
function check.report(pilot, path)
  local plan = shutdown.plan(pilot)
  local files = size(pilot.templates) -- each holds the pilot until it is rendered
  local watches = size(pilot.watches) -- each holds it
  local parts = {
    describe.count(#pilot.order, "job") .. job_names(pilot),
    describe.count(triggers(pilot), "trigger"),
    describe.count(size(pilot.holders) - files - watches, "timer"),
    describe.count(pilot.bus:count(function() return true end), "handler"),
  }
  for _, each in ipairs { { files, "template" }, { watches, "watch" }, { services(pilot), "service" } } do
    if each[1] > 0 then parts[#parts + 1] = describe.count(each[1], each[2]) end
  end
  local order = #plan.groups > 0 and ": " .. shutdown.describe(plan) or ""
  return ("%s: no mistakes\n%s\nshutdown in %s at most%s\n")
    :format(path, table.concat(parts, ", "), duration.format(plan.bound), order)
end

function check.act(arguments, screen)
  local pilot, path = load.file(screen, { file = arguments.file, lenient = arguments.no_env })
  if not pilot then return command.MISTAKES end
  screen.out(check.report(pilot, path))
  return 0
end

return check
