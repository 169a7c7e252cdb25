-- Sizes in bytes: "256M", "64K", "1G" (powers of 1024), or an integer.
--
-- Owns the reading and the writing of sizes. Never asks anything how big it is.

local describe = require "luapilot.base.describe"

local M = {}

local UNIT = { [""] = 1, K = 1024, M = 1024 ^ 2, G = 1024 ^ 3 }
local LARGEST = 2 ^ 53 -- beyond this a Lua number no longer counts single bytes

local function from_number(number)
  if number ~= math.floor(number) or number < 0 or number > LARGEST then
    return nil, ("a size is a whole number of bytes, got %s"):format(describe.value(number))
  end
  return number
end

---Reads a size.
---@param value any "256M", or a number of bytes
---@return number|nil bytes
---@return string|nil message
function M.parse(value)
  if type(value) == "number" then return from_number(value) end
  if type(value) ~= "string" then
    return nil, ('expected a size such as "256M", got %s'):format(describe.value(value))
  end
  local digits, unit = value:match "^(%d+)([KMG]?)$"
  if digits then return from_number(tonumber(digits) * UNIT[unit]) end
  local amount, letter = value:match "^%s*(%d+)%s*([kKmMgG])[iI]?[bB]?%s*$"
  if amount then
    return nil, ('%s is no size: write "%s%s"'):format(describe.quote(value), amount, letter:upper())
  end
  return nil, ('%s is no size: write for example "64K", "256M", "1G" or a number of bytes')
    :format(describe.quote(value))
end

---Writes a size in the largest unit that keeps it short.
---@param bytes number
---@return string
function M.format(bytes)
  for _, unit in ipairs { "G", "M", "K" } do
    if bytes >= UNIT[unit] then
      local text = ("%.1f"):format(bytes / UNIT[unit]):gsub("%.0$", "")
      return text .. unit
    end
  end
  return ("%d bytes"):format(bytes)
end

return M
