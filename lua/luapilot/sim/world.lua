-- world: one clock, one seed, and the boxes that live by them.
--
-- The world moves: it takes the next thing that is due, lets every box run to rest, and goes on. A seed
-- fixes everything in it: latencies, the order of ties, the random numbers of each box. It owns the clock
-- and the list of boxes; what happens inside of one is box.lua's.

local blame = require "luapilot.sim.blame"
local box = require "luapilot.sim.box"
local clock = require "luapilot.sim.clock"
local cluster = require "luapilot.sim.consul.cluster"
local control = require "luapilot.sim.consul.control"
local duration = require "luapilot.base.duration"
local random = require "luapilot.sim.random"
local suggest = require "luapilot.base.suggest"

local world = {}

local FIRST_DAY = 1767225600 -- 2026-01-01 00:00:00 UTC
local RESTLESS = 1000000     -- events at one moment: something feeds itself
local LATENCIES, CONSUL = 1, 2 -- streams of random numbers of one seed; each box has one, too

---@class luapilot.sim.World
---@field seed integer
---@field clock luapilot.sim.Clock
---@field boxes luapilot.sim.Box[]
---@field consul luapilot.sim.Consul
---@field cluster luapilot.sim.consul.Cluster
---@field on_rest fun()?        called whenever all boxes have come to rest
---@field only_looked_at string?  the option of sim.fuzz whose function runs
local World = {}
World.__index = World

local OPTIONS = { "seed", "now" }

local function default_seed()
  local text = os.getenv "LUAPILOT_SEED"
  if not text or text == "" then return 1 end
  if text == "random" then return os.time() % 1000000 end
  return tonumber(text) or blame.raise('LUAPILOT_SEED: expected a number or "random", got %q', text)
end

-- "2026-03-29 01:59:30" (UTC), or epoch seconds.
local function epoch_of(value)
  if value == nil then return FIRST_DAY end
  if type(value) == "number" then return value end
  local year, month, day, rest = tostring(value):match "^(%d%d%d%d)%-(%d%d)%-(%d%d)(.*)$"
  local hour, minute, second = "0", "0", "0"
  if rest and rest ~= "" then hour, minute, second = rest:match "^[T ](%d%d):(%d%d):?(%d*)Z?$" end
  if not year or not hour then
    blame.raise('now: expected "2026-01-31 13:00:00" or epoch seconds, got %s', tostring(value))
  end
  local y, m = tonumber(year), tonumber(month)
  if m <= 2 then y, m = y - 1, m + 12 end -- the leap day comes last in years that begin in March
  local days = 365 * y + math.floor(y / 4) - math.floor(y / 100) + math.floor(y / 400)
    + math.floor((153 * (m - 3) + 2) / 5) + tonumber(day) - 719469
  return days * 86400 + tonumber(hour) * 3600 + tonumber(minute) * 60 + (tonumber(second) or 0)
end

---@param options { seed: integer?, now: string|number|nil }?
---@return luapilot.sim.World
function world.new(options)
  options = options or {}
  for name in pairs(options) do
    if name ~= "seed" and name ~= "now" then
      blame.raise("sim.world: unknown option %q%s", tostring(name), suggest.hint(name, OPTIONS))
    end
  end
  local seed = options.seed or default_seed()
  local self = setmetatable({
    seed = seed, boxes = {},
    clock = clock.new(seed, epoch_of(options.now)), latencies = random.new(seed, LATENCIES),
  }, World)
  self.cluster = cluster.new(self.clock, random.new(seed, CONSUL))
  self.consul = control.datacenter(self.cluster, self.cluster.home)
  return self
end

---A box in this world: see sim.load.
---@param path string
---@param options table?
---@return luapilot.sim.Box
function World:load(path, options)
  local one = box.new(self, path, options or {}, #self.boxes + 1)
  self.boxes[#self.boxes + 1] = one
  one:load()
  return one
end

---A box without a pilot: its port is the caller's, who takes the events himself.
---@param options table?
---@return luapilot.sim.Box
function World:machine(options)
  local one = box.new(self, "", options or {}, #self.boxes + 1)
  self.boxes[#self.boxes + 1] = one
  return one
end

---Lets every box do what is ready.
function World:rest()
  local count = 0
  repeat
    local busy = false
    for _, one in ipairs(self.boxes) do
      while one:turn() do
        busy, count = true, count + 1
        if count > RESTLESS then blame.raise("the world does not come to rest\n%s", one:history()) end
      end
    end
  until not busy
  if self.on_rest then self.on_rest() end
end

local function seconds_of(value, what)
  local seconds, message = duration.parse(value)
  if not seconds then blame.raise("%s: %s", what, message) end
  return seconds
end

local function check_may_move(self)
  if not self.only_looked_at then return end
  blame.raise("sim.fuzz: `%s` only looks: time must not pass in it", self.only_looked_at)
end

---Time passes: what is due happens, one thing after the other, and everything runs to rest in between.
---@param time string|number
function World:advance(time)
  check_may_move(self)
  local limit = self.clock:moment(seconds_of(time, "advance"))
  self:rest()
  while self.clock:step(limit) do self:rest() end
  self.clock.time = limit
end

---Time passes until predicate() is true; raises when it is not within `limit` (default an hour).
---@param predicate fun(): any
---@param limit string|number|nil
---@return any      what the predicate returned
function World:run_until(predicate, limit)
  check_may_move(self)
  local last = self.clock:moment(seconds_of(limit or "1h", "run_until"))
  self:rest()
  local result = predicate()
  while not result do
    if not self.clock:step(last) then
      blame.raise("it did not happen within %s (seed %d)\n%s", tostring(limit or "1h"), self.seed,
        self:history())
    end
    self:rest()
    result = predicate()
  end
  return result
end

---The wall clock jumps by so many seconds; the clock of timers goes on as ever.
---@param seconds number
function World:shift_clock(seconds) self.clock:shift(seconds) end

---Seconds since the world began.
---@return number
function World:elapsed() return self.clock:elapsed() end

---What happened in every box, for failure messages.
---@param lines integer?    only so many of each, the last
---@return string
function World:history(lines)
  local parts = {}
  for i, one in ipairs(self.boxes) do parts[i] = one:history(lines) end
  return table.concat(parts, "\n")
end

---The box that a host name or an address means, other than `asker`.
---@param host string
---@param asker luapilot.sim.Box
---@return luapilot.sim.Box?
function World:find(host, asker)
  for _, one in ipairs(self.boxes) do
    if one ~= asker and one:names()[host] then return one end
  end
end

return world
