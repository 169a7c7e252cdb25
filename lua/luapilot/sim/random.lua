-- random: numbers that look random and are the same for the same seed, on every machine.
--
-- A small generator of its own (three words of state and a counter, mixed by sums, shifts and rotations),
-- because `math.random` belongs to the spec: a box that drew from it would change what the spec draws, and
-- the other way round. Owns its state. Never reads a clock.

local bit = require "bit"

local bxor, lshift, rshift, rol, tobit = bit.bxor, bit.lshift, bit.rshift, bit.rol, bit.tobit

local WORD = 2 ^ 32
local WARM_UP = 16 -- rounds until every bit of the seed has reached every bit of the state

local random = {}

---@class luapilot.sim.Random
local Random = {}
Random.__index = Random

---@param seed integer
---@param stream integer?   several independent sequences of one seed
---@return luapilot.sim.Random
function random.new(seed, stream)
  local self = setmetatable({
    a = tobit(seed % WORD), b = tobit(math.floor(seed / WORD) % WORD), c = tobit(stream or 0), count = 1,
  }, Random)
  for _ = 1, WARM_UP do self:word() end
  return self
end

---32 random bits, as bit operations see them (signed).
---@return integer
function Random:word()
  local sum = tobit(self.a + self.b + self.count)
  self.count = tobit(self.count + 1)
  self.a = bxor(self.b, rshift(self.b, 9))
  self.b = tobit(self.c + lshift(self.c, 3))
  self.c = tobit(rol(self.c, 21) + sum)
  return sum
end

---A number in [0, 1).
---@return number
function Random:next()
  return self:word() % WORD / WORD
end

---A number in [low, high).
---@param low number
---@param high number
---@return number
function Random:between(low, high)
  return low + (high - low) * self:next()
end

---A whole number from 0 to count - 1.
---@param count integer
---@return integer
function Random:below(count) return math.floor(count * self:next()) end

---One of a list.
---@param list any[]
---@return any
function Random:pick(list) return list[self:below(#list) + 1] end

---A number in [low, high), as often of each order of magnitude: spans of time.
---@param low number     above 0
---@param high number
---@return number
function Random:span(low, high) return low * (high / low) ^ self:next() end

---A number in [0, 1) that depends on nothing but its arguments: for ties, whose order must not depend on how
---many numbers were drawn before.
---@param seed integer
---@param x integer
---@param y integer
---@return number
function random.of(seed, x, y)
  local generator = random.new(seed + x * WORD, tobit(y % WORD))
  return generator:next()
end

return random
