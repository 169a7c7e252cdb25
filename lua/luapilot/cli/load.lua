-- load: finds, loads and validates a pilot.lua for run, check and graph, and tells what is wrong with it.
--
-- Mistakes and warnings go to stderr, one a line, then one line that counts them. It never starts anything.

local app = require "luapilot.app"
local describe = require "luapilot.describe"
local locate = require "luapilot.cli.locate"
local mistakes = require "luapilot.mistakes"

local load = {}

---@param screen luapilot.Terminal
---@param options { file: string?, args: string[]?, lenient: boolean?, after: string? }
---   after: put behind the count of the mistakes
---@return luapilot.App?     nil: the mistakes have been told
---@return string? path
function load.file(screen, options)
  local port = screen.port()
  local path, message = locate.file(port, options.file)
  if not path then
    screen.err(message)
    return nil
  end
  local pilot = app.new { port = port, args = options.args, lenient = options.lenient }
  local ok, list = pilot:load(path)
  for _, warning in ipairs(pilot.mistakes:warnings()) do
    screen.err("warning: " .. mistakes.format(warning) .. "\n")
  end
  if ok then return pilot, path end
  screen.err(table.concat(list, "\n") .. "\n")
  screen.err(("%s%s: %s%s\n"):format(path, message or "", describe.count(#list, "mistake"), options.after or ""))
  return nil
end

return load
