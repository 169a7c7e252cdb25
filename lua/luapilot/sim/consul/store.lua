-- store: what the servers of one simulated datacentre agree on: an index that only rises, and who waits for it.
--
-- Every write takes the next index, as in Raft, and touches topics ("kv", "checks", "service:app" …). A blocking query
-- waits for its topics; what comes of a write reaches it a moment later, and several writes may reach it as one. The
-- tables themselves are catalog.lua's, kv.lua's and sessions.lua's.
--
-- It owns the index, the topics' indexes, those who wait, and the identities that are drawn from the seed.

local store = {}

local LOW, HIGH = 0.0001, 0.002 -- seconds from a write to those who wait

---@class luapilot.sim.consul.Store
---@field index integer
---@field topics table<string, integer>
---@field clock luapilot.sim.Clock
---@field dice luapilot.sim.Random
---@field leader boolean          without one nothing is written, and only stale reads succeed
local Store = {}
Store.__index = Store

---@param clock luapilot.sim.Clock
---@param dice luapilot.sim.Random
---@return luapilot.sim.consul.Store
function store.new(clock, dice)
  return setmetatable({
    clock = clock, dice = dice, source = clock:source(), leader = true,
    index = 10, topics = {}, touched = {}, waiting = {},
  }, Store)
end

---@return string uuid
function Store:identity()
  local parts = {}
  for i = 1, 8 do parts[i] = ("%04x"):format(self.dice:word() % 65536) end
  return ("%s%s-%s-%s-%s-%s%s%s"):format(unpack(parts))
end

---@return number seconds of the clock that never goes back
function Store:now() return self.clock:now() end

---Does fn() in so many seconds.
---@param seconds number
---@param fn fun()
---@return luapilot.sim.Entry
function Store:after(seconds, fn) return self.clock:after(seconds, self.source, fn) end

-- --- writing -----------------------------------------------------------------------------------

---The index of the next write.
---@return integer
function Store:write()
  self.index = self.index + 1
  return self.index
end

local function tell(self)
  local touched = self.touched
  self.touched, self.telling = {}, false
  local waiting = self.waiting
  self.waiting = {}
  for _, one in ipairs(waiting) do
    local answered = one.gone
    for _, topic in ipairs(one.topics()) do
      if not answered and touched[topic] then answered = one.try() end
    end
    if not answered then self.waiting[#self.waiting + 1] = one end
  end
end

---A topic has changed with the write of that index.
---@param topic string
---@param index integer
function Store:touch(topic, index)
  self.topics[topic] = index
  self.touched[topic] = true
  if self.telling then return end
  self.telling = true
  self:after(self.dice:between(LOW, HIGH), function() tell(self) end)
end

---The latest index of some topics.
---@param ... string
---@return integer
function Store:latest(...)
  local latest = 0
  for i = 1, select("#", ...) do latest = math.max(latest, self.topics[select(i, ...)] or 0) end
  return latest
end

-- --- waiting -----------------------------------------------------------------------------------

---Calls try() after each change of the topics, until it returns true; or let_go(), when all are.
---@param topics fun(): string[]
---@param try fun(): boolean
---@param let_go fun()
---@return fun() stop
function Store:wait(topics, try, let_go)
  local one = { topics = topics, try = try, let_go = let_go }
  self.waiting[#self.waiting + 1] = one
  return function() one.gone = true end
end

---Nobody waits any longer: what they wait for will be of another store.
function Store:let_go()
  local waiting = self.waiting
  self.waiting = {}
  for _, one in ipairs(waiting) do
    if not one.gone then one.let_go() end
  end
end

return store
