-- timezone: is the time zone that TZ names known here?
--
-- The C library says nothing when it is not: it goes on with UTC, and what was to run at three in the morning runs at
-- four. Pure, but for a look at the file.

local timezone = {}

local DIRECTORY = "/usr/share/zoneinfo"
local IS_UTC = { [""] = true, UTC = true, UCT = true, GMT = true, Z = true, Zulu = true, ["Etc/UTC"] = true,
  ["Etc/GMT"] = true }

-- "CET-1CEST,M3.5.0,M10.5.0/3" and "<+0330>-3:30" tell everything themselves.
local function is_rule(name) return name:find "^%a%a%a+[+-]?%d" or name:find "^<[%w+-]+>[+-]?%d" end

---@param port luapilot.Port
---@return string? message
function timezone.complaint(port)
  local environ = port.environ()
  local name = environ.TZ and environ.TZ:gsub("^:", "")
  if not name or IS_UTC[name] or is_rule(name) or name:find "%z" then return nil end
  local path = name:sub(1, 1) == "/" and name or (environ.TZDIR or DIRECTORY) .. "/" .. name
  if port.stat(path) then return nil end
  return ("TZ=%s is unknown here (no %s: install tzdata): UTC is used"):format(environ.TZ, path)
end

return timezone
