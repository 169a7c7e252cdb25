-- sessions: who may hold locks, and until when.
--
-- A session ends when it is destroyed, when a check that it names turns critical or disappears, with its node, or when
-- nobody renewed it: at any moment between one and two times its TTL, which is all that Consul promises. What it held
-- is released or deleted, and for the lock-delay nobody takes it.
--
-- It owns the sessions, their timers and the lock-delays.

local sessions = {}

local SHORTEST, LONGEST = 10, 86400 -- seconds, of a TTL
local LONGEST_DELAY = 60
local SERF = "serfHealth"

---@class luapilot.sim.consul.Session
---@field id string
---@field name string
---@field node string
---@field lock_delay number       seconds
---@field behavior "release"|"delete"
---@field ttl_text string         as it was asked for
---@field ttl number?             seconds
---@field node_checks string[]
---@field service_checks table[]?  { ID, Namespace }
---@field create integer
---@field modify integer

---@class luapilot.sim.consul.Sessions
---@field all table<string, luapilot.sim.consul.Session>
---@field kv luapilot.sim.consul.KV
---@field catalog luapilot.sim.consul.Catalog
local Sessions = {}
Sessions.__index = Sessions

sessions.SERF = SERF

local function is_uuid(id)
  if #id ~= 36 then return false, "failed session lookup: index error: UUID must be 36 characters" end
  return true
end

---@param store luapilot.sim.consul.Store
---@param kv luapilot.sim.consul.KV
---@param catalog luapilot.sim.consul.Catalog
---@return luapilot.sim.consul.Sessions
function sessions.new(store, kv, catalog)
  local self = setmetatable({ store = store, kv = kv, catalog = catalog, all = {}, delays = {} }, Sessions)
  kv.held_back = function(key) return (self.delays[key] or 0) > store:now() end
  kv.session_exists = function(id)
    if id == "" then return false, "missing session" end
    local ok, message = is_uuid(id)
    if not ok then return false, message end
    if not self.all[id] then return false, ("invalid session %q"):format(id) end
    return true
  end
  catalog.check_lost = function(node, id) self:check_lost(node, id) end
  catalog.node_lost = function(node) self:node_lost(node) end
  return self
end

---@param id string
---@return luapilot.sim.consul.Session?
---@return string? message      it cannot be one
function Sessions:get(id)
  local ok, message = is_uuid(id)
  if not ok then return nil, message end
  return self.all[id]
end

---By their identities.
---@param node string?
---@return luapilot.sim.consul.Session[]
function Sessions:list(node)
  local list = {}
  for _, session in pairs(self.all) do
    if not node or session.node == node then list[#list + 1] = session end
  end
  table.sort(list, function(a, b) return a.id < b.id end)
  return list
end

-- --- time --------------------------------------------------------------------------------------

local function wind(self, session)
  if session.timer then self.store.clock:cancel(session.timer) end
  session.timer = nil
  if not session.ttl or not self.store.leader then return end
  session.timer = self.store:after(session.ttl * self.store.dice:between(1, 2), function()
    self:destroy(session.id)
  end)
end

---@param id string
---@return luapilot.sim.consul.Session?
---@return string? message
function Sessions:renew(id)
  local session, message = self:get(id)
  if session then wind(self, session) end
  return session, message
end

---A new leader knows nothing of the timers of the last one: it winds them all. Without one none expires.
function Sessions:wind_all()
  for _, session in ipairs(self:list()) do wind(self, session) end
end

---Others take the place of all.
---@param all table<string, luapilot.sim.consul.Session>
function Sessions:replace(all)
  for _, session in pairs(self.all) do
    if session.timer then self.store.clock:cancel(session.timer) end
  end
  self.all, self.delays = all, {}
  self:wind_all()
end

-- --- beginnings and ends -----------------------------------------------------------------------

local function missing_check(self, session)
  local checks = self.catalog.checks[session.node] or {}
  local wanted = {}
  for _, id in ipairs(session.node_checks) do wanted[#wanted + 1] = id end
  for _, one in ipairs(session.service_checks or {}) do wanted[#wanted + 1] = one.ID end
  for _, id in ipairs(wanted) do
    if not checks[id] then return ("Missing check '%s' registration"):format(id) end
    if checks[id].status == "critical" then return ("Check '%s' is in critical state"):format(id) end
  end
end

local function refusal(self, session)
  local behavior, ttl = session.behavior, session.ttl
  if behavior ~= "release" and behavior ~= "delete" then return ("Invalid Behavior setting '%s'"):format(behavior) end
  if ttl and (ttl < SHORTEST or ttl > LONGEST) then
    return ("Invalid Session TTL '%.0f', must be between [10s=24h0m0s]"):format(ttl * 1e9)
  end
  if not self.catalog.nodes[session.node] then return "Missing node registration" end
  return missing_check(self, session)
end

---@param session luapilot.sim.consul.Session
---@return string? id
---@return string? message
function Sessions:create(session)
  local message = refusal(self, session)
  if message then return nil, message end
  local store = self.store
  session.id, session.create = store:identity(), store:write()
  session.modify = session.create
  self.all[session.id] = session
  store:touch("sessions", session.create)
  wind(self, session)
  return session.id
end

---@param id string
---@return boolean? destroyed
---@return string? message
function Sessions:destroy(id)
  local session, message = self:get(id)
  if message then return nil, message end
  if not session then return false end
  local store = self.store
  local index = store:write()
  if session.timer then store.clock:cancel(session.timer) end
  self.all[id] = nil
  store:touch("sessions", index)
  for _, key in ipairs(self.kv:forsake(id, session.behavior, index)) do
    if session.lock_delay > 0 then self.delays[key] = store:now() + math.min(session.lock_delay, LONGEST_DELAY) end
  end
  return true
end

local function names(session, id)
  for _, check in ipairs(session.node_checks) do
    if check == id then return true end
  end
  for _, check in ipairs(session.service_checks or {}) do
    if check.ID == id then return true end
  end
  return false
end

---A check is critical, or gone.
---@param node string
---@param id string
function Sessions:check_lost(node, id)
  for _, session in ipairs(self:list(node)) do
    if names(session, id) then self:destroy(session.id) end
  end
end

---@param node string
function Sessions:node_lost(node)
  for _, session in ipairs(self:list(node)) do self:destroy(session.id) end
end

return sessions
