-- luapilot check [FILE]: every mistake, or a summary; what this machine lacks, and what may surprise, as warnings.
-- Starts nothing, changes nothing.

local command = require "luapilot.cli.command"
local describe = require "luapilot.base.describe"
local duration = require "luapilot.base.duration"
local json = require "luapilot.base.json"
local load = require "luapilot.cli.load"
local host = require "luapilot.cli.host"
local outlook = require "luapilot.cli.outlook"
local shutdown = require "luapilot.cli.shutdown"
local utf8 = require "luapilot.base.utf8"

local PAUSE = 300 -- the heap grows threefold between two collections: what ends soon need not be tidied often

---@type luapilot.Command
local check = {
  plain = command.one_file,
  name = "check", usage = "check [FILE]",
  summary = "every mistake with its file and line, or a summary",
  description = "Loads and validates a pilot.lua as run does, and starts nothing. All mistakes\n"
    .. "are told at once, one a line; only an error at the top level hides what would\n"
    .. "come after it: one that Lua raises, or a call that waits. Warnings are about\n"
    .. "programs, users and files that are not there on this machine, and about what the\n"
    .. "file may do that was not meant.",
  epilog = [[
Exit codes:
   0                     no mistakes; a summary on stdout, warnings on stderr
   2                     mistakes, on stderr
   70                    an error inside luapilot

Examples:
   luapilot check
   luapilot check --no-env deploy/pilot.lua   without production's variables
   luapilot check --format json               for editors and pipelines
   RUN luapilot check /etc/pilot.lua          in a Dockerfile]],
}

function check.define(parser)
  parser:argument("FILE"):target "file":argname "FILE":args "?"
    :description "The file. Default: $LUAPILOT, ./pilot.lua, /etc/pilot.lua, the first that is there."
  parser:option("-f --format"):argname "FORMAT":choices { "text", "json" }:default "text"
    :description "text or json."
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

local function dependencies(pilot)
  local count = 0
  for _, runner in ipairs(pilot.order) do count = count + #(runner.spec.depends_on or {}) end
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

local WIDTH = 80

-- Parts of a sentence, each with its separator, in lines that fit.
local function wrap(first, parts, separator)
  local lines, line = {}, first
  for i, part in ipairs(parts) do
    local piece = part .. (parts[i + 1] and separator or "")
    if #line + 1 + #piece > WIDTH and i > 1 then
      lines[#lines + 1], line = line, " "
    end
    line = line .. " " .. piece
  end
  lines[#lines + 1] = line
  return table.concat(lines, "\n")
end

local PLURALS = { watch = "watches", dependency = "dependencies" }

local function plural(noun) return PLURALS[noun] or noun .. "s" end

-- Everything that is counted, by what it is; what few files have only where there is some.
local function counts(pilot)
  local files, watches = size(pilot.templates), size(pilot.watches) -- each holds the pilot
  return {
    { "job", #pilot.order, names = job_names(pilot) }, { "trigger", triggers(pilot) },
    { "dependency", dependencies(pilot), rare = true },
    { "timer", size(pilot.holders) - files - watches },
    { "handler", pilot.bus:count(function() return true end) },
    { "template", files, rare = true }, { "watch", watches, rare = true }, { "service", services(pilot), rare = true },
  }
end

---What a loaded file declares, in lines.
---@param pilot luapilot.App
---@param path string
---@return string
function check.report(pilot, path)
  local plan, parts, warned = shutdown.plan(pilot), {}, #pilot.mistakes:warnings()
  for _, each in ipairs(counts(pilot)) do
    local counted = ("%d %s"):format(each[2], each[2] == 1 and each[1] or plural(each[1]))
    if each[2] > 0 or not each.rare then parts[#parts + 1] = counted .. (each.names or "") end
  end
  local order = shutdown.order(plan)
  local bound = ("shutdown in %s at most%s"):format(duration.format(plan.bound), order[1] and ":" or "")
  return ("%s: no mistakes%s\n%s\n%s\n"):format(path, warned > 0 and ", " .. describe.count(warned, "warning") or "",
    table.concat(parts, ", "), wrap(bound, order, ";"))
end

-- --- json ------------------------------------------------------------------------------------

-- A list, and an object whose fields keep their order: cjson has neither.
local function list_of(values) return "[" .. table.concat(values, ",") .. "]" end

local function object_of(fields)
  local parts = {}
  for i, field in ipairs(fields) do parts[i] = json.encode(field[1]) .. ":" .. field[2] end
  return "{" .. table.concat(parts, ",") .. "}"
end

-- What is no UTF-8 in a message (it quotes the file) would be no JSON.
local function value_of(value)
  if value == nil then return "null" end
  if type(value) == "string" then value = utf8.repaired(value) end
  return (json.encode(value):gsub("\\/", "/"))
end

local function values_of(list)
  local values = {}
  for i, value in ipairs(list) do values[i] = value_of(value) end
  return list_of(values)
end

local function mistakes_of(list, found)
  local values = {}
  for i, mistake in ipairs(list) do
    local file, line = (mistake.where or ""):match "^(.*):(%d+)$"
    local function covered(text) return found and text and load.covered(found, text) or text end
    values[i] = object_of {
      { "file", value_of(file or mistake.where) }, { "line", value_of(tonumber(line)) },
      { "field", value_of(covered(mistake.path ~= "" and mistake.path or nil)) },
      { "message", value_of(covered(mistake.message)) },
    }
  end
  return list_of(values)
end

local function plan_of(pilot)
  local plan, order = shutdown.plan(pilot), {}
  for i, edge in ipairs(plan.edges) do
    order[i] = object_of { { "job", value_of(edge.before) }, { "after", values_of(edge.names) } }
  end
  return object_of { { "seconds", value_of(plan.bound) }, { "order", list_of(order) } }
end

-- Documented in reference.md: fields may be added, and none is renamed or taken away.
local function as_json(found, message)
  local list, pilot = found and found.pilot.mistakes, found and found.ok and found.pilot
  local fields = {
    { "ok", value_of(pilot and true or false) }, { "file", value_of(found and found.path) },
    { "mistakes", mistakes_of(list and list:list() or { { message = message } }, found) },
    { "warnings", mistakes_of(list and list:warnings() or {}, found) },
  }
  if not pilot then return object_of(fields) .. "\n" end
  local names = {}
  for i, runner in ipairs(pilot.order) do names[i] = runner.spec.name end
  fields[#fields + 1] = { "jobs", values_of(names) }
  for _, each in ipairs(counts(pilot)) do
    if not each.names then fields[#fields + 1] = { plural(each[1]), value_of(each[2]) } end
  end
  fields[#fields + 1] = { "shutdown", plan_of(pilot) }
  return object_of(fields) .. "\n"
end

-- --- the command -----------------------------------------------------------------------------

local function as_text(screen, found, message)
  if not found then return screen.err(message) end
  load.tell(screen, found)
  if found.ok then screen.out(check.report(found.pilot, found.path)) end
end

function check.act(arguments, screen)
  collectgarbage("setpause", PAUSE)
  collectgarbage("restart", -1)
  local found, message = load.read(screen, { file = arguments.file, lenient = arguments.no_env, aside = true })
  local ok = found ~= nil and found.ok
  if ok then
    outlook.look(found.pilot)
    host.look(found.pilot)
  end
  if arguments.format == "json" then
    screen.out(as_json(found, message and message:gsub("^luapilot: ", ""):gsub("%s+$", "")))
  else
    as_text(screen, found, message)
  end
  return ok and 0 or command.MISTAKES
end

return check
