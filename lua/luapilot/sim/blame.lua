-- blame: errors that name the line of the spec, not one of the simulator.
--
-- Owns the walk up the stack. Everything that a spec can do wrong is raised here.

local blame = {}

local function is_ours(source) return source:find("luapilot/sim/", 1, true) ~= nil end

---The level of the first function outside of the simulator, for `error` and debug.getinfo of the caller.
---@return integer
local function outside()
  local level = 2
  while true do
    local info = debug.getinfo(level, "S")
    if not info then return 2 end
    if info.what ~= "C" and not is_ours(info.source) then return level - 1 end
    level = level + 1
  end
end

---Raises an error at the line that called the simulator.
---@param message string
---@param ... any         for string.format
function blame.raise(message, ...)
  if select("#", ...) > 0 then message = message:format(...) end
  error(message, outside())
end

---The file that called the simulator: "spec/unit/pilot_spec.lua".
---@return string
function blame.file()
  local info = debug.getinfo(outside(), "S")
  return info and info.source:match "^@(.*)$" or ""
end

---Its directory: "spec/unit/".
---@return string
function blame.directory() return blame.file():match "^(.*/)[^/]*$" or "" end

return blame
