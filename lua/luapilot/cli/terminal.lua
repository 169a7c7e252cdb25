-- terminal: what the commands know of the outside: two streams, the port, the version.
--
-- Specs hand in their own; the real one is made here. The port is asked for when a command needs it, because
-- opening it takes descriptors that `luapilot test` and `luapilot version` have no use for.

local terminal = {}

---@class luapilot.Terminal
---@field out fun(text: string)          to stdout
---@field err fun(text: string)          to stderr
---@field flush fun(): boolean?, string?   false and why when stdout did not take all
---@field port fun(): luapilot.Port
---@field version fun(): string

-- The kernel refuses what every pilot needs: no mistake of the file, and none of ours.
local CannotStart = { __tostring = function(self) return self.message end }

---Is this error the machine's refusal to let the runtime start?
---@param err any
---@return boolean
function terminal.cannot_start(err) return getmetatable(err) == CannotStart end

local function open_port()
  local ok, port = pcall(require, "luapilot.rt")
  if ok then return port end
  error(setmetatable({ message = tostring(port) }, CannotStart), 0)
end

---@return luapilot.Terminal
function terminal.real()
  return {
    out = function(text) io.stdout:write(text) end, -- what goes wrong here, flush tells
    err = function(text) io.stderr:write(text) end,
    flush = function() return io.stdout:flush() end,
    port = open_port,
    version = function()
      local ok, version = pcall(require, "luapilot.version")
      return ok and version or "(from source)"
    end,
  }
end

return terminal
