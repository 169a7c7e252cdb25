-- ticker: ticks at an interval or by cron.
--
-- Intervals are counted from their start on the clock that never goes back, so they do not drift and a wall
-- clock set back an hour changes nothing. Cron looks at the wall clock, at least once a minute: it may jump.
--
-- It owns its timer. It never runs user code itself: `tick` is the core's.

local lazy = require "luapilot.base.lazy"

local cron = lazy.require "luapilot.base.cron"

local ticker = {}

local LOOK = 60              -- seconds between two looks of cron at the wall clock
local CLOCK_FIXED = 3 * 3600 -- set back by more than this, the clock was wrong before

---@class luapilot.Ticker
---@field due number      the next tick: of port.now() for `every`, epoch seconds for `cron`
local Ticker = {}
Ticker.__index = Ticker

---No more ticks.
function Ticker:cancel()
  self.cancelled = true
  if self.timer then self.loop:cancel(self.timer) end
  self.timer = nil
end

local function arm(self, delay, fn)
  self.timer = self.loop:after(math.max(delay, 0), function()
    self.timer = nil
    fn(self)
  end)
end

local function tick_interval(self)
  local now = self.loop.port.now()
  local missed = math.floor((now - self.due) / self.interval + 1e-9)
  self.due = self.due + (math.max(missed, 0) + 1) * self.interval
  arm(self, self.due - now, tick_interval)
  self.tick()
end

---Ticks every `interval` seconds, the first time after `first`.
---@param loop luapilot.Loop
---@param interval number
---@param first number
---@param tick fun()
---@return luapilot.Ticker
function ticker.every(loop, interval, first, tick)
  local self = setmetatable({ loop = loop, interval = interval, tick = tick }, Ticker)
  self.due = loop.port.now() + first
  arm(self, first, tick_interval)
  return self
end

local look -- forward

local function plan(self)
  local delay = self.due + self.late - self.loop.port.clock()
  arm(self, math.min(delay, LOOK), look)
end

local function next_due(self, after)
  self.due = cron.next(self.rule, after, self.calendar)
  self.late = self.jitter and self.jitter * self.loop.port.random() or 0
end

-- A clock that is set back a little runs nothing again; after a great step what is due is counted anew.
function look(self)
  local now, seen = self.loop.port.clock(), self.seen
  self.seen = now
  local is_due = now >= self.due + self.late
  if is_due then
    next_due(self, math.max(now, self.due))
  elseif now < seen - CLOCK_FIXED then
    next_due(self, now)
  end
  plan(self)
  if is_due then self.tick() end
end

---Ticks by a cron rule, up to `jitter` seconds late.
---@param loop luapilot.Loop
---@param rule table            of cron.parse
---@param jitter number?
---@param calendar table?       of cron.next
---@param tick fun()
---@return luapilot.Ticker
function ticker.cron(loop, rule, jitter, calendar, tick)
  local self = setmetatable({ loop = loop, rule = rule, jitter = jitter, calendar = calendar, tick = tick }, Ticker)
  self.seen = loop.port.clock()
  next_due(self, self.seen)
  plan(self)
  return self
end

---When it is due: what a new core needs to go on without a gap or a double run.
---@return table
function Ticker:snapshot()
  return { due = self.due, late = self.late }
end

---@param data table    of snapshot()
function Ticker:restore(data)
  if self.timer then self.loop:cancel(self.timer) end
  self.due = data.due
  if self.rule then
    self.late = data.late or 0
    plan(self)
  else
    arm(self, self.due - self.loop.port.now(), tick_interval)
  end
end

return ticker
