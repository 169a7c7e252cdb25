-- cache: an agent's cache, from which it answers requests with `cached`, those of all its clients alike.
--
--   refresh    the agent asks the servers by a blocking query of its own, and keeps the answer up to date; blocking
--              queries of clients wait for that. While it does not reach the servers they fail at once, and others are
--              answered with what was known, and its age.
--   simple     an answer is good for three days, whatever has changed since
--
-- Consul drops those that do not pass when it answers, from one list of all; here the two are kept by themselves, so
-- that only the first X-Cache differs.
--
-- It owns the answers and what keeps them up to date. HTTP is server.lua's.

local copy = require "luapilot.base.copy"

local cache = {}

local GOOD = 3 * 86400              -- seconds, of a simple one
local LONGEST = 600                 -- seconds until the servers answer the agent's own question in any case
local RETRY_LOW, RETRY_HIGH = 1, 3  -- seconds until the agent asks again after a failure
local NO_KEY = { cached = true, consistent = true, index = true, stale = true, wait = true }

---@class luapilot.sim.consul.Entry
---@field answer luapilot.sim.consul.Answer
---@field at number          when it was fetched
---@field lost number?       since when the servers are out of reach
---@field request luapilot.sim.consul.Request   the first that asked

---@class luapilot.sim.consul.Cache
---@field entries table<string, luapilot.sim.consul.Entry>
local Cache = {}
Cache.__index = Cache

---@param agent luapilot.sim.consul.Agent
---@return luapilot.sim.consul.Cache
function cache.new(agent) return setmetatable({ agent = agent, entries = {} }, Cache) end

local function key_of(request)
  local names, query = {}, request.query
  for name in pairs(query.params) do
    if not NO_KEY[name] then names[#names + 1] = name end
  end
  table.sort(names)
  local parts = { ("%q %q %q"):format(request.dc.name, query.path, request.token or "") }
  for _, name in ipairs(names) do
    for _, value in ipairs(query:all(name)) do parts[#parts + 1] = ("%q=%q"):format(name, value) end
  end
  return table.concat(parts, " ")
end

local function now(self) return self.agent.dc.store:now() end

local function reaches(self, entry)
  local dc = entry.request.dc
  return self.agent.running and not self.agent.partitioned and not dc.away
end

-- --- keeping up to date ------------------------------------------------------------------------

local function rest(self, entry)
  if entry.stop then entry.stop() end
  if entry.timer then self.agent.dc.clock:cancel(entry.timer) end
  entry.stop, entry.timer = nil, nil
end

local function forget(self, entry)
  rest(self, entry)
  self.entries[entry.key] = nil
end

-- Those that wait hear of another answer, or of a failure.
local function tell(entry, failure)
  local waiting = entry.waiting
  entry.waiting = {}
  for _, one in ipairs(waiting) do
    if not one.gone and not one.fn(failure) then entry.waiting[#entry.waiting + 1] = one end
  end
end

local follow -- forward

local function after(self, entry, seconds, fn)
  entry.timer = self.agent.dc.store:after(seconds, fn)
end

local function refreshed(self, entry)
  local answer = entry.look()
  if not answer.index then
    forget(self, entry)
    return tell(entry, answer)
  end
  entry.answer, entry.lost = answer, nil
  follow(self, entry)
  tell(entry)
end

local function retry(self, entry)
  after(self, entry, self.agent.dc.dice:between(RETRY_LOW, RETRY_HIGH), function()
    if reaches(self, entry) then return refreshed(self, entry) end
    retry(self, entry)
  end)
end

-- Its question to the servers has failed.
local function lose(self, entry, failure)
  rest(self, entry)
  entry.lost = entry.lost or now(self)
  retry(self, entry)
  tell(entry, failure)
end

-- The agent's own blocking query.
function follow(self, entry)
  rest(self, entry)
  local function try()
    if not reaches(self, entry) then return false end -- lose() is on its way
    local found = entry.look()
    if found.index and found.index <= entry.answer.index then return false end
    refreshed(self, entry)
    return true
  end
  entry.stop = entry.request.dc.store:wait(function() return entry.answer.topics() end, try, function()
    if not entry.lost then follow(self, entry) end -- with the same index: it sees the next change
  end)
  after(self, entry, LONGEST, function()
    if reaches(self, entry) then refreshed(self, entry) else retry(self, entry) end
  end)
end

-- --- for requests ------------------------------------------------------------------------------

---What is known of it.
---@param request luapilot.sim.consul.Request
---@return luapilot.sim.consul.Entry?
function Cache:find(request)
  local entry = self.entries[key_of(request)]
  if entry and entry.simple and now(self) - entry.at >= GOOD then return nil end
  return entry
end

---The servers have answered.
---@param request luapilot.sim.consul.Request
---@param kind "refresh"|"simple"
---@param answer luapilot.sim.consul.Answer
---@param look fun(): luapilot.sim.consul.Answer
function Cache:keep(request, kind, answer, look)
  if answer.status ~= 200 then return end
  local key = key_of(request)
  if self.entries[key] then rest(self, self.entries[key]) end
  local entry = {
    key = key, request = request, answer = answer, look = look, at = now(self), simple = kind == "simple", waiting = {},
  }
  self.entries[key] = entry
  if not entry.simple then follow(self, entry) end
end

---A blocking query makes the agent ask again at once. Has it lost the servers still?
---@param entry luapilot.sim.consul.Entry
---@return boolean
function Cache:is_lost(entry)
  if entry.lost and reaches(self, entry) then
    rest(self, entry)
    refreshed(self, entry)
  end
  return entry.lost ~= nil
end

---Calls fn(failure) after each change, and with an answer that is a failure, until it returns true.
---@param entry luapilot.sim.consul.Entry
---@param fn fun(failure: luapilot.sim.consul.Answer?): boolean
---@return fun() stop
function Cache:wait(entry, fn)
  local one = { fn = fn }
  entry.waiting[#entry.waiting + 1] = one
  return function() one.gone = true end
end

---An entry's answer, with what the agent says of its cache.
---@param entry luapilot.sim.consul.Entry
---@param hit boolean
---@return luapilot.sim.consul.Answer
function Cache:answer(entry, hit)
  local answer = copy.shallow(entry.answer)
  answer.headers = copy.shallow(answer.headers or {})
  answer.headers["x-cache"] = hit and "HIT" or "MISS"
  local since = entry.simple and entry.at or entry.lost
  if hit then answer.headers.age = ("%d"):format(since and now(self) - since or 0) end
  return answer
end

---The servers break off what they were asked: all, or those of a datacentre.
---@param dc luapilot.sim.consul.Datacenter?
---@param failure luapilot.sim.consul.Answer
function Cache:lose(dc, failure)
  for _, entry in pairs(copy.shallow(self.entries)) do
    if not entry.simple and (not dc or entry.request.dc == dc) then lose(self, entry, failure) end
  end
end

---The agent ends: nothing of it is kept.
function Cache:clear()
  for _, entry in pairs(self.entries) do rest(self, entry) end
  self.entries = {}
end

return cache
