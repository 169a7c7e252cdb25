-- clock: virtual time, and what is due when.
--
-- Time stands still until `step` takes the next thing that is due and moves to its moment. Things due at
-- the same moment keep their order when they have the same source (a box's timers, a process); between
-- sources the seed decides, so that no pilot.lua comes to rely on an order that reality does not promise.
--
-- Inside, time is a whole number of ticks of 2^-20 seconds: Lua's numbers hold that exactly, so a timer of
-- 0.02 s never seems to have fired after 0.0199999 s. Spans are rounded up.
--
-- It owns the agenda (a heap). It never waits and never looks at the real clock.

local random = require "luapilot.sim.random"

local SECOND = 2 ^ 20
local BOOT = 1000 * SECOND -- of the clock that never goes back; not 0, so that nobody takes it for one

local clock = {}

---@class luapilot.sim.Entry
---@field due integer      ticks
---@field fn function?     nil: cancelled
---@field waits boolean     it is on the agenda

---@class luapilot.sim.Clock
---@field time integer     ticks
local Clock = {}
Clock.__index = Clock

---@param seconds number
---@return integer
function Clock.ticks(seconds) return math.ceil(seconds * SECOND) end

---@param seed integer
---@param epoch number      what the wall clock shows at the beginning
---@return luapilot.sim.Clock
function clock.new(seed, epoch)
  return setmetatable({
    seed = seed, time = BOOT, epoch = Clock.ticks(epoch) - BOOT, heap = {}, orders = 0, sources = 0,
    cancelled = 0, -- of the entries in the heap
  }, Clock)
end

---Seconds of the clock that never goes back.
---@return number
function Clock:now() return self.time / SECOND end

---Seconds since the epoch.
---@return number
function Clock:wall() return (self.epoch + self.time) / SECOND end

---Seconds since the world began.
---@return number
function Clock:elapsed() return (self.time - BOOT) / SECOND end

---Sets the wall clock by `seconds` forward or back: it may jump, the other may not.
---@param seconds number
function Clock:shift(seconds) self.epoch = self.epoch + Clock.ticks(seconds) end

---A number for something whose entries keep their order.
---@return integer
function Clock:source()
  self.sources = self.sources + 1
  return self.sources
end

-- --- the heap --------------------------------------------------------------------------------

local function earlier(a, b)
  if a.due ~= b.due then return a.due < b.due end
  if a.tie ~= b.tie then return a.tie < b.tie end
  return a.order < b.order
end

local function push(heap, entry)
  local i = #heap + 1
  while i > 1 do
    local parent = math.floor(i / 2)
    if not earlier(entry, heap[parent]) then break end
    heap[i] = heap[parent]
    i = parent
  end
  heap[i] = entry
end

local function pop(heap)
  local top, entry, count = heap[1], heap[#heap], #heap - 1
  heap[#heap] = nil
  if count == 0 then return top end
  local i = 1
  while 2 * i <= count do
    local child = 2 * i
    if child < count and earlier(heap[child + 1], heap[child]) then child = child + 1 end
    if not earlier(heap[child], entry) then break end
    heap[i] = heap[child]
    i = child
  end
  heap[i] = entry
  return top
end

---Calls `fn` at a moment.
---@param due integer       ticks, as `time`
---@param source integer    of source()
---@param fn fun()
---@return luapilot.sim.Entry
function Clock:at(due, source, fn)
  self.orders = self.orders + 1
  local entry = { due = due, tie = random.of(self.seed, source, due), order = self.orders, fn = fn, waits = true }
  push(self.heap, entry)
  return entry
end

---Calls `fn` in `seconds`, never earlier, as a real timer.
---@param seconds number
---@param source integer
---@param fn fun()
---@return luapilot.sim.Entry
function Clock:after(seconds, source, fn)
  return self:at(self.time + math.max(0, Clock.ticks(seconds)), source, fn)
end

local FEW = 64 -- cancelled entries that may stay until they are due

-- A heap of those that are left: what is cancelled long before it is due is not kept until then.
local function sweep(self)
  local heap = {}
  for _, entry in ipairs(self.heap) do
    if entry.fn then push(heap, entry) end
  end
  self.heap, self.cancelled = heap, 0
end

---@param entry luapilot.sim.Entry
function Clock:cancel(entry)
  if not (entry.fn and entry.waits) then return end
  entry.fn, self.cancelled = nil, self.cancelled + 1
  if self.cancelled > FEW and 2 * self.cancelled > #self.heap then sweep(self) end
end

---The moment of the next entry.
---@return integer?
function Clock:next_due()
  local heap = self.heap
  while heap[1] and not heap[1].fn do
    pop(heap)
    self.cancelled = self.cancelled - 1
  end
  return heap[1] and heap[1].due
end

---Moves to the next entry that is due by `limit` and does it. False when there is none.
---@param limit integer?    ticks, as `time`
---@return boolean
function Clock:step(limit)
  local due = self:next_due()
  if not due or (limit and due > limit) then return false end
  local entry = pop(self.heap)
  entry.waits, self.time = false, due
  entry.fn()
  return true
end

---The moment `seconds` from now.
---@param seconds number
---@return integer
function Clock:moment(seconds) return self.time + Clock.ticks(seconds) end

return clock
