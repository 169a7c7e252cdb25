-- luapilot [run] [FILE] [-- ARGS]: the container's ENTRYPOINT.
--
-- Loads, validates, runs to the end. The guardian was forked before this (src/main.c).

local command = require "luapilot.cli.command"
local describe = require "luapilot.base.describe"
local load = require "luapilot.cli.load"

local FLUSH = 2     -- seconds for a slow reader of our output, at the end

-- What the heap grew to is never given back. So until the jobs run it grows by a tenth between two collections (of
-- which a small file needs none, since the first comes when the heap has doubled). Afterwards by half, and a small one
-- may double. A file that builds much of its own would be held up by so many collections: from 8 MB on by half, too.
local MUCH, TOO_MUCH = 1024, 8192   -- kB of Lua
local CLOSELY = { pause = 110, step = 1000 }
local LARGE = { pause = 150, step = 400 }
local SMALL = { pause = 200, step = 400 }

local function collect(how)
  collectgarbage("setpause", how.pause)
  collectgarbage("setstepmul", how.step)
end

local closely = false

-- Garbage that says at the end of each collection how large the heap is.
local function look_at_the_end()
  getmetatable(newproxy(true)).__gc = function()
    if not closely then return end
    if collectgarbage "count" > TOO_MUCH then return collect(LARGE) end
    look_at_the_end()
  end
end

local function collect_closely()
  closely = true
  collect(CLOSELY)
  look_at_the_end()
end

---@type luapilot.Command
local run = {
  plain = command.one_file,
  name = "run", usage = "[run] [FILE]", rest = "ARGS",
  summary = "run it: the container's ENTRYPOINT",
  description = "Runs a pilot.lua to its end. All of it is checked first: a file with mistakes\n"
    .. 'starts nothing. ARGS are pilot.args. The word "run" may be left out before a\n'
    .. 'FILE with "." or "/" in it.',
  epilog = [[
Signals:
   SIGTERM, SIGINT       end the pilot in order; a second one, a second later
                         (SIGINT: 0.1 s), kills
   SIGQUIT               likewise, unless the file listens for it
   SIGUSR1               opens log files anew

Exit codes:
   2                     mistakes; nothing was started
   70                    an error inside luapilot
   71                    the machine refuses what luapilot needs
   else the pilot's own  pilot.shutdown(code), 124 if a job had to be killed,
                         that of the main job, of the first job that failed for
                         good, or 0

Examples:
   luapilot                                  the pilot.lua that is found
   luapilot run /etc/pilot.lua
   luapilot service.lua -- --verbose         pilot.args[1] is "--verbose"]],
}

function run.define(parser)
  parser:argument("FILE"):target "file":argname "FILE":args "?"
    :description "The file. Default: $LUAPILOT, ./pilot.lua, /etc/pilot.lua, the first that is there."
end

-- When the first jobs have been started: what it took to get there is given back.
local function settle_down(pilot)
  pilot.port.reached("started", describe.count(#pilot.order, "job"))
  local ok, embedded = pcall(require, "luapilot.embedded") -- not from source
  if ok then embedded.release() end
  closely = false
  collect(collectgarbage "count" > MUCH and LARGE or SMALL)
end

function run.act(arguments, screen)
  collect_closely()
  local pilot = load.file(screen, {
    file = arguments.file, args = arguments.rest, after = "; nothing was started",
  })
  if not pilot then return command.MISTAKES end
  pilot:when_started(function() pilot.loop:after(0, function() settle_down(pilot) end) end)
  local code = pilot:run()
  local left = pilot.closing and pilot.closing:remaining() or FLUSH
  pilot.port.flush(math.min(FLUSH, left)) -- tells what is lost
  return code
end

return run
