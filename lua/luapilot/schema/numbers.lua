-- numbers: numbers of Lua that become text for a program or a server.
--
-- A whole number from 2^53 on may be another one than what is written in the file, and comes out as
-- 1.2345678901235e+18; of NaN and infinity nobody has a word. Each of them is a mistake where it stands. It owns this
-- rule.

local describe = require "luapilot.base.describe"
local schema = require "luapilot.schema.schema"

local numbers = {}

local MOST = 2 ^ 53

---Can it be written as it is meant?
---@param number number
---@return boolean
function numbers.holds(number) return number > -MOST and number < MOST end

---@type luapilot.Type
function numbers.text(value, path, report)
  if numbers.holds(value) then return describe.number(value) end
  return schema.expected(path, report, "a number below 2^53, up to which Lua's are exact", value,
    value - value == 0 and "write it as a string" or nil)
end

return numbers
