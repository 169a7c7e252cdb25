-- Durations: "500ms", "5s", "1m30s", "2h", or a number of seconds.
--
-- Owns the reading and the writing of lengths of time. Never reads a clock. A bare "5" is refused, because
-- half of its readers would take it for milliseconds.

local describe = require "luapilot.base.describe"

local M = {}

local EXAMPLES = 'write for example "500ms", "5s", "1m30s" or "2h"'
local SECONDS = { h = 3600, m = 60, s = 1, ms = 0.001 }
local RANK = { h = 1, m = 2, s = 3, ms = 4 }

local function from_number(number)
  if number ~= number or number == math.huge or number == -math.huge then
    return nil, ("a duration must be finite, got %s"):format(describe.value(number))
  end
  if number < 0 then return nil, ("a duration cannot be negative, got %s"):format(describe.value(number)) end
  return number
end

---Why a string is no duration, in words that lead out.
local function refusal(text)
  local quoted = describe.quote(text)
  if text == "" then return "an empty string is no duration: " .. EXAMPLES end
  if text:find "^%d+%.?%d*$" then
    local advice = ('write "#s" for seconds (or "#ms", "#m", "#h")'):gsub("#", text)
    return ("%s has no unit: %s"):format(quoted, advice)
  end
  if text:find "%s" then
    local tight = text:gsub("%s+", "")
    if M.parse(tight) then return ('%s has a space in it: write "%s"'):format(quoted, tight) end
  end
  if text:find "^%-" then return ("a duration cannot be negative, got %s"):format(quoted) end
  return ("%s is no duration: %s"):format(quoted, EXAMPLES)
end

---Reads a duration.
---@param value any "1m30s", or a number of seconds
---@return number|nil seconds
---@return string|nil message
function M.parse(value)
  if type(value) == "number" then return from_number(value) end
  if type(value) ~= "string" then
    return nil, ('expected a duration such as "5s", got %s'):format(describe.value(value))
  end
  local seconds, rank, position = 0, 0, 1
  while position <= #value do
    local _, stop, digits, unit = value:find("^(%d+%.?%d*)(%a+)", position)
    if not stop or not SECONDS[unit] or RANK[unit] <= rank then return nil, refusal(value) end
    -- Divided, not multiplied by 0.001: so "300ms" is exactly the number 0.3.
    local amount = tonumber(digits)
    seconds = seconds + (unit == "ms" and amount / 1000 or amount * SECONDS[unit])
    rank, position = RANK[unit], stop + 1
  end
  if position == 1 then return nil, refusal(value) end
  return from_number(seconds)
end

---A time that was measured, or drawn at random, in words: two digits say enough, and a millisecond is the least.
---@param seconds number
---@return string
function M.words(seconds)
  if seconds < 0.001 then return "1ms" end
  local step = seconds < 0.1 and 0.001 or seconds < 1 and 0.01 or seconds < 10 and 0.1 or 1
  return M.format(math.floor(seconds / step + 0.5) * step)
end

---Writes a duration, to the millisecond, as `parse` reads it.
---@param seconds number
---@return string
function M.format(seconds)
  if seconds == math.huge then return "forever" end
  if seconds < 0 then return "-" .. M.format(-seconds) end
  if seconds == 0 then return "0s" end
  if seconds < 0.0005 then return (("%.6f"):format(seconds * 1000):gsub("%.?0+$", "")) .. "ms" end
  local ms = math.floor(seconds * 1000 + 0.5)
  if ms < 1000 then return ("%dms"):format(ms) end
  local hours, minutes = math.floor(ms / 3600000), math.floor(ms / 60000) % 60
  local rest = ms % 60000 / 1000
  return (hours > 0 and ("%.0fh"):format(hours) or "")
    .. (minutes > 0 and ("%dm"):format(minutes) or "")
    .. (rest > 0 and ("%gs"):format(rest) or "")
end

return M
