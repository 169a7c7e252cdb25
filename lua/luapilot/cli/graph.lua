-- luapilot graph [FILE]: who starts whom, as a drawing.

local command = require "luapilot.cli.command"
local diagram = require "luapilot.cli.diagram"
local dot = require "luapilot.cli.dot"
local load = require "luapilot.cli.load"
local mermaid = require "luapilot.cli.mermaid"

local DRAW = { mermaid = mermaid.draw, dot = dot.draw }

---@type luapilot.Command
local graph = {
  name = "graph", usage = "graph [FILE]",
  summary = "who starts whom, as Mermaid or DOT",
  description = "Draws the jobs of a pilot.lua, what starts each of them, and (dashed) what each\n"
    .. "depends on. The last line, a comment, is the order of the shutdown and how long\n"
    .. "it takes at most. Starts nothing; variables that are not set do not matter.",
  epilog = [[
Exit codes:
   0                     the drawing is on stdout
   2                     mistakes, on stderr
   70                    an error inside luapilot

Examples:
   luapilot graph >pilot.mmd               for a ```mermaid block in a README
   luapilot graph --format dot | dot -Tsvg >pilot.svg]],
}

function graph.define(parser)
  parser:argument("FILE"):target "file":argname "FILE":args "?"
    :description "The file. Default: $LUAPILOT, ./pilot.lua, /etc/pilot.lua, the first that is there."
  parser:option("-f --format"):argname "FORMAT":choices { "mermaid", "dot" }:default "mermaid"
    :description "mermaid or dot."
end

function graph.act(arguments, screen)
  local pilot = load.file(screen, { file = arguments.file, lenient = true, aside = true })
  if not pilot then return command.MISTAKES end
  screen.out(DRAW[arguments.format](diagram.of(pilot)))
  return 0
end

return graph
