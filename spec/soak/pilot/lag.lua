-- lag: how late a timer of 10 ms is, as counts of moments by lateness. Bucket i ends at 1.04^i microseconds (actor.c
-- has the same); the last one holds whatever is above.
--
-- Each moment that was due counts, those that a late tick has passed over, too: a loop that stands still for a second
-- has been late a hundred times. When the moments are due is learned from the ticks: none comes too early.

local lag = {}

local BASE, LAST = math.log(1.04), 399

---@class soak.Lag
---@field counts table<integer, integer>
---@field total integer
local Lag = {}
Lag.__index = Lag

---@return soak.Lag
function lag.new() return setmetatable({ counts = {}, total = 0 }, Lag) end

---@param seconds number
function Lag:add(seconds)
  local micros = seconds * 1e6
  local bucket = micros <= 1 and 0 or math.min(LAST, math.ceil(math.log(micros) / BASE))
  self.counts[bucket] = (self.counts[bucket] or 0) + 1
  self.total = self.total + 1
end

---"BUCKET COUNT" in lines.
---@return string
function Lag:text()
  local lines = {}
  for bucket, count in pairs(self.counts) do lines[#lines + 1] = ("%d %d\n"):format(bucket, count) end
  return table.concat(lines)
end

---@param text string?    of text()
---@return soak.Lag
function lag.parse(text)
  local self = lag.new()
  for bucket, count in (text or ""):gmatch "(%d+) (%d+)\n" do
    self.counts[tonumber(bucket)] = tonumber(count)
    self.total = self.total + tonumber(count)
  end
  return self
end

---What came after an earlier state of the same counts.
---@param earlier soak.Lag
---@return soak.Lag
function Lag:since(earlier)
  local later = lag.new()
  for bucket, count in pairs(self.counts) do
    local more = count - (earlier.counts[bucket] or 0)
    if more > 0 then later.counts[bucket] = more end
    later.total = later.total + more
  end
  return later
end

---Seconds below which a share of all moments is, rounded up to a bucket's end. 1 gives the most.
---@param share number
---@return number
function Lag:quantile(share)
  local wanted, seen = math.ceil(share * self.total), 0
  for bucket = 0, LAST do
    seen = seen + (self.counts[bucket] or 0)
    if self.total > 0 and seen >= wanted then return math.exp(bucket * BASE) / 1e6 end
  end
  return 0
end

---A timer's ticks become moments. `at` is when it ticked; `from` and `to`: the process was stopped from outside then,
---which is not its own time.
---@param into soak.Lag
---@param interval number
---@return fun(at: number, from: number?, to: number?): number   which returns how late this one was
function lag.ticks(into, interval)
  local due
  return function(at, from, to)
    due = due or at
    if at < due then due = at end -- the ticks so far were all late
    local late = at - due - (from and math.max(0, math.min(to, at) - math.max(from, due)) or 0)
    while due <= at do
      local stopped = from and math.max(0, math.min(to, at) - math.max(from, due)) or 0
      into:add(at - due - stopped)
      due = due + interval
    end
    return late
  end
end

return lag
