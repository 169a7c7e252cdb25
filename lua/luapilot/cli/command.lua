-- command: the words of one command: options, arguments, help, and what to say of a wrong one.
--
-- A command is a table; argparse reads the words up to "--", what follows belongs to the command as it is.
-- Wrong words are told on stderr, with the usage, and are mistakes: exit code 2, never a raise.

local lazy = require "luapilot.base.lazy"

local command = {}

---The exit code of mistakes, on the command line or in the pilot.lua.
command.MISTAKES = 2

---@class luapilot.Command
---@field name string
---@field usage string?                  for the list of commands: "check [FILE]"
---@field summary string                 one line
---@field description string             a paragraph
---@field epilog string?                 exit codes and examples
---@field rest string?                   what stands behind "--", for the usage: "ARGS"
---@field define fun(parser: table)      adds options and arguments
---@field plain (fun(words: string[]): table?)?   what argparse would find, of words that need none; nil: they need it
---@field act fun(arguments: table, screen: luapilot.Terminal): integer
--- `arguments` has what argparse found, and `rest`: the words after "--"

local function parser_of(cmd)
  local parser = lazy.load "argparse"("luapilot " .. cmd.name, cmd.description, cmd.epilog)
  parser:add_help(false):help_max_width(80)
  cmd.define(parser)
  parser:flag("-h --help"):description "Show this help."
  if cmd.rest then
    local tail = " [-- " .. cmd.rest .. "]"
    parser:usage(parser:get_usage() .. tail)
  end
  return parser
end

-- argparse sets the two names of an option that takes a value below each other.
local TWO_NAMES = "\n +(%-%a %u+), +([^\n]*)\n +(%-%-%l+ %u+)"

---@param cmd luapilot.Command
---@return string
function command.help(cmd)
  local help = parser_of(cmd):get_help():gsub(TWO_NAMES, "\n   %1, %3\n" .. (" "):rep(25) .. "%2")
  return help .. "\n"
end

---For commands that are mostly given a file, or nothing: argparse takes longer to load than all the rest of them.
---@param words string[]
---@return { file: string? }?
function command.one_file(words)
  if #words > 1 or (words[1] or ""):sub(1, 1) == "-" then return nil end
  return { file = words[1] }
end

-- The words before and after the first "--".
local function split(words)
  for i, word in ipairs(words) do
    if word == "--" then return { unpack(words, 1, i - 1) }, { unpack(words, i + 1) } end
  end
  return words, {}
end

local function refuse(cmd, parser, message, screen)
  message = message:gsub("\nDid you mean (.*)%?$", " (did you mean %1?)")
  screen.err(("luapilot %s: %s\n%s\nTry: luapilot %s --help\n"):format(cmd.name, message, parser:get_usage(), cmd.name))
  return command.MISTAKES
end

-- src/main.c stops the collector while the core is loaded. -1: it begins when the heap has doubled, not at once. A
-- cycle does twice as much in a step as by default, so that it is over before much is added.
local function act(cmd, arguments, screen)
  collectgarbage("restart", -1)
  collectgarbage("setstepmul", 400)
  return cmd.act(arguments, screen)
end

---Reads the words and lets the command act.
---@param cmd luapilot.Command
---@param words string[]
---@param screen luapilot.Terminal
---@return integer exit_code
function command.call(cmd, words, screen)
  local before, rest = split(words)
  local plain = cmd.plain and (#rest == 0 or cmd.rest) and cmd.plain(before)
  if plain then
    plain.rest = rest
    return act(cmd, plain, screen)
  end
  local parser = parser_of(cmd)
  local ok, arguments = parser:pparse(before)
  if not ok then return refuse(cmd, parser, arguments, screen) end
  if arguments.help then
    screen.out(command.help(cmd))
    return 0
  end
  if #rest > 0 and not cmd.rest then return refuse(cmd, parser, 'there is nothing to give after "--"', screen) end
  arguments.rest = rest
  return act(cmd, arguments, screen)
end

return command
