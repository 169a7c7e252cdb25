-- cli: the command line. It finds the command that is meant, hands it its words, and gives back its exit code.
--
--   luapilot [run] [FILE] [-- ARGS]      a first word with "/" or "." in it is a FILE
--   luapilot COMMAND [OPTIONS] …
--
-- It owns the list of commands and the help above them. What a command does is said in its own file: a table
-- { name, summary, define, act } (see command.lua). Nothing here ends the process: main() returns the code.

local command = require "luapilot.cli.command"
local lazy = require "luapilot.base.lazy"
local terminal = require "luapilot.cli.terminal"

local cli = {}

local MACHINE = 71 -- the guardian's, too, when it cannot fork
local INTERNAL = 70 -- EX_SOFTWARE: neither the pilot.lua nor the command line is to blame

local run = lazy.require "luapilot.cli.run"
local check = lazy.require "luapilot.cli.check"
local graph = lazy.require "luapilot.cli.graph"
local test = lazy.require "luapilot.cli.test"
local new = lazy.require "luapilot.cli.new"
local version = lazy.require "luapilot.cli.version"
local suggest = lazy.require "luapilot.base.suggest"

---In the order in which the help lists them.
---@type luapilot.Command[]
cli.commands = { run, check, graph, test, new, version }

-- To find one without loading the others.
local BY_NAME = { run = run, check = check, graph = graph, test = test, init = new, version = version }

-- Commands that come with a later version: said honestly, not as a misspelling.
local LATER = {
  convert = "the conversion of ContainerPilot files", status = "the control socket", why = "the control socket",
  events = "the control socket", logs = "the control socket", start = "the control socket",
  stop = "the control socket", restart = "the control socket", ["reload-job"] = "the control socket",
  signal = "the control socket", reload = "the control socket", maintenance = "the control socket",
  env = "the control socket", metric = "the control socket", call = "the control socket",
  eval = "the control socket", ping = "the control socket", shutdown = "the control socket",
}

local USAGE = [[
Usage: luapilot [run] [FILE] [-- ARGS]
       luapilot COMMAND [OPTIONS]

A supervisor for the processes of a container. A pilot.lua says what runs, in which order, and what happens
when something happens.

Commands:
]]

local MORE = [[

Exit codes:
   0                     all went well
   2                     mistakes, in the pilot.lua or on the command line; nothing was started
   70                    an error inside luapilot
   71                    the machine refuses what luapilot needs: descriptors, processes, a newer kernel
   run ends with the pilot's own: that of pilot.shutdown(code), 124 if a job had to be killed, that
   of the main job, or of the first job that failed for good.

Examples:
   luapilot init && luapilot check && luapilot test
   luapilot run pilot.lua -- --verbose       after "--": pilot.args
   ENTRYPOINT ["luapilot", "run", "/etc/pilot.lua"]

luapilot COMMAND --help tells more about one of them.
]]

---The help above all commands.
---@return string
function cli.help()
  local lines = {}
  for i, each in ipairs(cli.commands) do
    lines[i] = ("   %-21s %s\n"):format(each.usage or each.name, each.summary)
  end
  return USAGE .. table.concat(lines) .. MORE
end

local function names()
  local list = {}
  for i, each in ipairs(cli.commands) do list[i] = each.name end
  return list
end

local function unknown_command(name, screen)
  if LATER[name] then
    screen.err(('luapilot: the command "%s" is not part of this version: %s comes with a later one\n')
      :format(name, LATER[name]))
  else
    screen.err(('luapilot: unknown command "%s"%s\n'):format(name, suggest.hint(name, names())))
  end
  screen.err(("To run a file of that name: luapilot run %s\n"):format(name))
  return command.MISTAKES
end

local function unknown_option(word, screen)
  screen.err(('luapilot: unknown option "%s"%s\nTry: luapilot --help\n')
    :format(word, suggest.hint(word, { "--help", "--version" })))
  return command.MISTAKES
end

-- luapilot help [COMMAND]
local function help(name, screen)
  local wanted = BY_NAME[name or ""]
  if name and not wanted then return unknown_command(name, screen) end
  screen.out(wanted and command.help(wanted) or cli.help())
  return 0
end

local function is_file(word) return word:find("[/.]") ~= nil end

local function dispatch(words, screen)
  local first = words[1]
  if first == "-h" or first == "--help" then return help(nil, screen) end
  if first == "help" then return help(words[2], screen) end
  if first == "-V" or first == "--version" then return command.call(version, {}, screen) end
  if first == nil or first == "--" or (is_file(first) and first:sub(1, 1) ~= "-") then
    return command.call(run, words, screen)
  end
  if first:sub(1, 1) == "-" then return unknown_option(first, screen) end
  local wanted = BY_NAME[first]
  if not wanted then return unknown_command(first, screen) end
  return command.call(wanted, { unpack(words, 2) }, screen)
end

---Does what the command line says.
---@param argv string[]                 without the program's name
---@param screen luapilot.Terminal?     default: the real one
---@return integer exit_code
function cli.main(argv, screen)
  screen = screen or terminal.real()
  local ok, result = xpcall(dispatch, debug.traceback, argv, screen)
  if not ok and terminal.cannot_start(result) then
    screen.err("luapilot: " .. tostring(result) .. "\n")
    result = MACHINE
  elseif not ok and tostring(result):find "^not enough memory" then
    screen.err("luapilot: the pilot is out of memory: it cannot go on\n")
    result = INTERNAL
  elseif not ok then
    screen.err("luapilot: an error inside luapilot, please report it: " .. tostring(result) .. "\n")
    result = INTERNAL
  end
  local written, why = screen.flush()
  if not written then
    screen.err("luapilot: cannot write to stdout: " .. tostring(why) .. "\n")
    if result == 0 then result = INTERNAL end
  end
  return result
end

return cli
