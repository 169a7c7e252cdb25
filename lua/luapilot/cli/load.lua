-- load: finds, loads and validates a pilot.lua for run, check and graph, and tells what is wrong with it.
--
-- Mistakes and warnings go to stderr, one a line, then one line that counts them. It never starts anything.

local app = require "luapilot.pilot.app"
local describe = require "luapilot.base.describe"
local lazy = require "luapilot.base.lazy"
local locate = require "luapilot.cli.locate"
local mistakes = require "luapilot.base.mistakes"

local load_error = lazy.require "luapilot.script.load_error"

local load = {}

---@class luapilot.Loaded
---@field pilot luapilot.App
---@field path string
---@field from string       " (from $LUAPILOT)", or ""
---@field ok boolean        there are no mistakes

---Finds, loads and validates, and tells nothing.
---@param screen luapilot.Terminal
---@param options { file: string?, args: string[]?, lenient: boolean?, aside: boolean? }
---     aside: stdout is the command's, so what the file says while it is loaded goes to stderr
---@return luapilot.Loaded?
---@return string? message     there is no file
function load.read(screen, options)
  local port = screen.port()
  local path, message = locate.file(port, options.file)
  if not path then return nil, message end
  if options.aside then port.logging { output = "stderr" } end
  local pilot = app.new { port = port, args = options.args, lenient = options.lenient }
  return { pilot = pilot, path = path, from = message or "", ok = pilot:load(path) == true }
end

---A message without the secrets that the file has read.
---@param found luapilot.Loaded
---@param text string
---@return string
function load.covered(found, text)
  local masks = found.pilot.masks
  return masks and masks:cover(text) or text
end

---Tells warnings and mistakes on stderr.
---@param screen luapilot.Terminal
---@param found luapilot.Loaded
---@param after string?      put behind the count of the mistakes
function load.tell(screen, found, after)
  local list = found.pilot.mistakes
  local function tell(mark, each) screen.err(load.covered(found, mark .. mistakes.format(each) .. "\n")) end
  for _, warning in ipairs(list:warnings()) do tell("warning: ", warning) end
  if found.ok then return end
  for _, mistake in ipairs(list:list()) do tell("", mistake) end
  local where = found.pilot.raised
  screen.err(("%s%s: %s%s%s\n"):format(found.path, found.from, describe.count(list:count(), "mistake"),
    where and load_error.ending(where, found.path) or "", after or ""))
end

---Reads and tells.
---@param screen luapilot.Terminal
---@param options { file: string?, args: string[]?, lenient: boolean?, aside: boolean?, after: string? }
---@return luapilot.App?     nil: there are mistakes
function load.file(screen, options)
  local found, message = load.read(screen, options)
  if not found then
    screen.err(message)
    return nil
  end
  load.tell(screen, found, options.after)
  return found.ok and found.pilot or nil
end

return load
