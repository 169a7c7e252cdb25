-- agent: one Consul agent: what was registered with it, and how it brings that to the catalogue.
--
-- An agent is the authority for its node. What it holds reaches the catalogue a moment later, and again in every full
-- sync; what the catalogue has and it does not hold is removed there. A check that nobody updates within its TTL turns
-- critical; a service whose check is critical for too long is deregistered. What only changes a check's output may wait
-- for minutes, as in reality.
--
-- It owns the local services, checks and their timers. Requests are server.lua's.

local catalog = require "luapilot.sim.consul.catalog"
local copy = require "luapilot.base.copy"

local agent = {}

local sorted = catalog.sorted

local SOON_LOW, SOON_HIGH = 0.001, 0.2  -- from a change to the catalogue
local FULL_LOW, FULL_HIGH = 60, 120     -- between full syncs
local RETRY_LOW, RETRY_HIGH = 15, 30    -- after one that failed
local DEFER_LOW, DEFER_HIGH = 150, 450  -- of a change of nothing but output
local LOST_LOW, LOST_HIGH = 3, 10       -- until Serf believes that an agent is dead
local BACK_LOW, BACK_HIGH = 0.1, 1      -- and that it is back
local REAP = 30                         -- services that are critical for too long are looked for so often
local LONGEST_OUTPUT = 4096
local SERF = "serfHealth"

agent.NODE_MAINTENANCE = "_node_maintenance"
agent.SERVICE_MAINTENANCE = "_service_maintenance:"

---@class luapilot.sim.consul.LocalCheck: luapilot.sim.consul.Check
---@field ttl number?
---@field deregister_after number?
---@field critical_since number?

---@class luapilot.sim.consul.Agent
---@field name string                 of its node
---@field address string
---@field id string
---@field dc luapilot.sim.consul.Datacenter
---@field services table<string, luapilot.sim.consul.Service>
---@field checks table<string, luapilot.sim.consul.LocalCheck>
---@field running boolean
---@field partitioned boolean         it does not reach the servers
---@field on_lost fun()?              the servers have given it up
local Agent = {}
Agent.__index = Agent

---@param dc luapilot.sim.consul.Datacenter
---@param name string
---@param address string
---@return luapilot.sim.consul.Agent
function agent.new(dc, name, address)
  local self = setmetatable({
    dc = dc, name = name, address = address, id = dc.store:identity(), services = {}, checks = {}, of_service = {},
    running = true, partitioned = false, alive = true, deferred = {},
  }, Agent)
  dc.members[#dc.members + 1] = self
  dc:join(self)
  return self
end

local function between(self, low, high) return self.dc.dice:between(low, high) end
local function after(self, seconds, fn) return self.dc.store:after(seconds, fn) end
local function cancel(self, timer)
  if timer then self.dc.clock:cancel(timer) end
end

---Does it reach the servers?
---@return boolean
function Agent:connected() return self.running and not self.partitioned end

-- --- anti-entropy ------------------------------------------------------------------------------

-- Writes something into the catalogue, which takes an index when it is another there.
local function bring(self, fn)
  local store = self.dc.store
  if fn(store.index + 1) then store:write() end
end

-- The tags of a service that allows it are those of the catalogue.
local function take_tags(self, service)
  if not service.override or not service.synced then return end
  local there = (self.dc.catalog.services[self.name] or {})[service.id]
  if there then service.tags = copy.shallow(there.tags) end
end

local ROW = { "id", "name", "status", "notes", "output", "service", "service_name", "service_tags", "type" }

local function row_of(check)
  local row = {}
  for _, field in ipairs(ROW) do row[field] = check[field] end
  return row
end

-- Output alone is no hurry.
local function deferred(self, check)
  local there = (self.dc.catalog.checks[self.name] or {})[check.id]
  if not there or there.output == check.output then return false end
  local row = row_of(check)
  row.output = there.output
  if not catalog.same(there, row) or self.deferred[check.id] == "due" then
    self.deferred[check.id] = nil
    return false
  end
  if not self.deferred[check.id] then
    self.deferred[check.id] = "waits"
    after(self, between(self, DEFER_LOW, DEFER_HIGH), function()
      if self.deferred[check.id] ~= "waits" then return end
      self.deferred[check.id] = "due"
      self:sync_soon()
    end)
  end
  return true
end

local function bring_service(self, service)
  take_tags(self, service)
  bring(self, function(index)
    local row = copy.shallow(service)
    row.synced = nil
    return self.dc.catalog:put_service(self.name, row, index)
  end)
  service.synced = true
end

local function bring_checks(self)
  for _, id in ipairs(sorted(self.checks)) do
    local check = self.checks[id]
    if not deferred(self, check) then
      bring(self, function(index) return self.dc.catalog:put_check(self.name, row_of(check), index) end)
    end
  end
end

local function remove_strangers(self)
  local there = self.dc.catalog
  for _, id in ipairs(sorted(there.services[self.name] or {})) do
    if not self.services[id] then bring(self, function(index) return there:drop_service(self.name, id, index) end) end
  end
  for _, id in ipairs(sorted(there.checks[self.name] or {})) do
    if not self.checks[id] and id ~= SERF then
      bring(self, function(index) return there:drop_check(self.name, id, index) end)
    end
  end
end

-- False when the servers are out of reach.
local function sync(self)
  if not self:connected() or not self.dc.store.leader then return false end
  bring(self, function(index) return self.dc.catalog:put_node(self.dc.node_row(self), index) end)
  remove_strangers(self)
  for _, id in ipairs(sorted(self.services)) do bring_service(self, self.services[id]) end
  bring_checks(self)
  return true
end

local function sync_in(self, low, high)
  cancel(self, self.sync_timer)
  self.sync_timer = after(self, between(self, low, high), function()
    self.sync_timer, self.soon = nil, nil
    if not sync(self) and self.running then sync_in(self, RETRY_LOW, RETRY_HIGH) end
  end)
end

---Something has changed: the catalogue hears of it in a moment.
function Agent:sync_soon()
  if self.soon and self.sync_timer then return end
  self.soon = true
  sync_in(self, SOON_LOW, SOON_HIGH)
  self:keep_syncing()
end

---Full syncs, from the first registration on.
function Agent:keep_syncing()
  if self.full_timer then return end
  self.full_timer = after(self, between(self, FULL_LOW, FULL_HIGH), function()
    self.full_timer = nil
    if not self.sync_timer then sync(self) end
    if next(self.services) or next(self.checks) then self:keep_syncing() end
  end)
end

-- --- checks ------------------------------------------------------------------------------------

local function shorten(output)
  if #output <= LONGEST_OUTPUT then return output end
  return ("%s ... (captured %d of %d bytes)"):format(output:sub(1, LONGEST_OUTPUT), LONGEST_OUTPUT, #output)
end

local function note_critical(self, check)
  if check.status ~= "critical" then
    check.critical_since = nil
  elseif not check.critical_since then
    check.critical_since = self.dc.store:now()
  end
end

local function set_status(self, check, status, output)
  check.status, check.output = status, output
  note_critical(self, check)
  self:sync_soon()
end

local function expired(check)
  if check.output == "" then return "TTL expired" end
  return "TTL expired (last output before timeout follows): " .. check.output
end

-- The time until it is critical, anew.
local function wind(self, check)
  cancel(self, check.timer)
  if not check.ttl then return end
  check.expires = self.dc.store:now() + check.ttl
  check.timer = after(self, check.ttl, function()
    check.timer = nil
    if not self.running or self.checks[check.id] ~= check then return end
    set_status(self, check, "critical", expired { output = check.said or "" })
  end)
end

---@param id string
---@param status "passing"|"warning"|"critical"
---@param output string
---@return boolean known
function Agent:update(id, status, output)
  local check = self.checks[id]
  if not check or not check.ttl then return false end
  check.said = shorten(output)
  wind(self, check)
  if check.status ~= status or check.output ~= check.said then set_status(self, check, status, check.said) end
  return true
end

local function reap(self)
  self.reaper = nil
  local now, left = self.dc.store:now(), false
  for _, id in ipairs(sorted(self.checks)) do
    local check = self.checks[id]
    if check and check.deregister_after and check.service ~= "" then
      local late = self.running and check.critical_since and now - check.critical_since > check.deregister_after
      if late then self:deregister(check.service) else left = true end
    end
  end
  if left then self.reaper = after(self, REAP, function() reap(self) end) end
end

---A check that exists keeps its status.
---@param check luapilot.sim.consul.LocalCheck
function Agent:add_check(check)
  local old = self.checks[check.id]
  if old then
    check.status, check.output, check.said = old.status, old.output, old.said
    check.critical_since = old.critical_since
    cancel(self, old.timer)
  end
  if old then self.of_service[old.service][old.id] = nil end
  self.checks[check.id] = check
  self.of_service[check.service] = self.of_service[check.service] or {}
  self.of_service[check.service][check.id] = true
  note_critical(self, check)
  wind(self, check)
  if check.deregister_after and not self.reaper then self.reaper = after(self, REAP, function() reap(self) end) end
  self:sync_soon()
end

---@param id string
function Agent:drop_check(id)
  local check = self.checks[id]
  if not check then return end
  cancel(self, check.timer)
  self.checks[id] = nil
  self.of_service[check.service][id] = nil
  self.deferred[id] = nil
  self:sync_soon()
end

---The checks of a service; "": of the node.
---@param service string
---@return luapilot.sim.consul.LocalCheck[]
function Agent:checks_of(service)
  local list = {}
  for i, id in ipairs(sorted(self.of_service[service] or {})) do list[i] = self.checks[id] end
  return list
end

-- --- services ----------------------------------------------------------------------------------

---@param service luapilot.sim.consul.Service
---@param checks luapilot.sim.consul.LocalCheck[]
---@param replace boolean     checks that are not among these go
function Agent:register(service, checks, replace)
  local old, wanted = self.services[service.id], {}
  service.synced = old and old.synced
  self.services[service.id] = service
  for _, check in ipairs(checks) do wanted[check.id] = true end
  for _, check in ipairs(replace and self:checks_of(service.id) or {}) do
    if not wanted[check.id] then self:drop_check(check.id) end
  end
  for _, check in ipairs(checks) do self:add_check(check) end
  self:sync_soon()
end

---With its checks.
---@param id string
function Agent:deregister(id)
  if not self.services[id] then return end
  for _, check in ipairs(self:checks_of(id)) do self:drop_check(check.id) end
  self.services[id] = nil
  self:sync_soon()
end

---@param id string?      a service; nil: the node
---@param on boolean
---@param reason string   "": Consul's own words
function Agent:maintain(id, on, reason)
  local service = id and self.services[id]
  local check = id and agent.SERVICE_MAINTENANCE .. id or agent.NODE_MAINTENANCE
  if not on then return self:drop_check(check) end
  if self.checks[check] then return end
  if reason == "" then
    reason = ("Maintenance mode is enabled for this %s, but no reason was provided. This is a default message.")
      :format(id and "service" or "node")
  end
  self:add_check {
    id = check, name = id and "Service Maintenance Mode" or "Node Maintenance Mode", status = "critical",
    notes = reason, output = "", service = id or "", service_name = service and service.name or "",
    service_tags = service and service.tags or {}, type = "maintenance",
  }
end

-- --- life --------------------------------------------------------------------------------------

-- Serf tells the servers, after a while, whether the agent is there.
local function gossip(self)
  local alive = self:connected()
  if alive == self.alive then return cancel(self, self.gossip_timer) end
  cancel(self, self.gossip_timer)
  local low, high = LOST_LOW, LOST_HIGH
  if alive then low, high = BACK_LOW, BACK_HIGH end
  self.gossip_timer = after(self, between(self, low, high), function()
    self.alive = alive
    if alive then
      self.dc:join(self)
      return self:sync_soon()
    end
    self.dc:serf(self.name, false)
    if self.on_lost then self.on_lost() end
  end)
end

---Does Serf still count it among the living? A partition is not known at once.
---@return boolean
function Agent:believed() return self.alive end

---@param lose boolean?     without what was registered with it
function Agent:halt(lose)
  self.running = false
  cancel(self, self.sync_timer)
  self.sync_timer, self.soon = nil, nil
  if lose then
    for _, check in pairs(self.checks) do cancel(self, check.timer) end
    self.services, self.checks, self.deferred, self.of_service = {}, {}, {}, {}
  end
  gossip(self)
end

---It runs again. What was to expire meanwhile has expired.
function Agent:resume()
  self.running, self.left = true, false
  local now = self.dc.store:now()
  for _, id in ipairs(sorted(self.checks)) do
    local check = self.checks[id]
    if check.ttl and check.expires <= now and check.status ~= "critical" then
      set_status(self, check, "critical", expired { output = check.said or "" })
    end
  end
  gossip(self)
  self:sync_soon()
end

---@param cut boolean
function Agent:partition(cut)
  self.partitioned = cut
  gossip(self)
  if not cut then self:sync_soon() end
end

---The servers have forgotten everything.
function Agent:rejoin()
  for _, service in pairs(self.services) do service.synced = nil end
  if self.alive then self.dc:join(self) end
  self:sync_soon()
end

---It leaves the cluster in order.
function Agent:leave()
  self:halt()
  cancel(self, self.gossip_timer)
  self.alive, self.left = false, true
  self.dc:leave(self.name)
end

return agent
