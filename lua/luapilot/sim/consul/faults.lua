-- faults: what may go wrong with the Consul of a box, for seeded schedules of faults.
--
-- Each kind says what it can hit, draws how, strikes, heals where it lasts, and tells itself in words. A fault needs a
-- pilot that uses Consul. Those of one agent that overlap end together: when one heals, all is well with the agent. It
-- owns nothing.

local faults = {}

local STATUSES = { 500, 500, 502, 503, 429 }
local RESOURCES = { "key", "service", "node", "session", "agent" }

-- The box itself, when its pilot uses Consul.
local function agent(box) return box.app and box.app.consul and { false } or {} end

local function healed(box) box.consul:up() end

local function nothing() return false end

---@class luapilot.sim.consul.FaultKind
---@field hits string                                 what its targets are, for messages
---@field targets fun(box: luapilot.sim.Box): (string|false)[]    false: the box itself
---@field draw fun(dice: luapilot.sim.Random): any    how it happens
---@field lasts boolean?
---@field strike fun(box: luapilot.sim.Box, fault: table): any    what heal gets; nil: nothing was hit
---@field heal fun(box: luapilot.sim.Box, fault: table, struck: any)?
---@field tell fun(fault: table): string

---@type table<string, luapilot.sim.consul.FaultKind>
faults.kinds = {}

local kinds = faults.kinds

-- A trouble of the agent that lasts.
local function lasting(strike, words, draw)
  return {
    hits = "a box with Consul", targets = agent, lasts = true, draw = draw or nothing,
    strike = function(box, fault)
      strike(box.consul, fault.how)
      return true
    end,
    heal = healed,
    tell = function(fault) return words:format(fault.how or nil) end,
  }
end

-- One that is over at once.
local function once(strike, words)
  return {
    hits = "a box with Consul", targets = agent, draw = nothing,
    strike = function(box) return strike(box) end, tell = function() return words end,
  }
end

local function one_of(list)
  return function(dice) return list[1 + math.floor(dice:next() * #list)] end
end

kinds.consul_down = lasting(function(consul) consul:down() end, "the Consul agent is down")
kinds.consul_hang = lasting(function(consul) consul:hang() end, "the Consul agent hangs")
kinds.consul_vanish = lasting(function(consul) consul:vanish() end, "the Consul agent's host vanishes")
kinds.consul_slow = lasting(function(consul, seconds) consul:slow(seconds) end,
  "the Consul agent answers %.3g s later", function(dice) return dice:between(0.05, 12) end)
kinds.consul_fail = lasting(function(consul, status) consul:fail(status) end,
  "the Consul agent answers %d", one_of(STATUSES))

kinds.consul_partition = lasting(function(consul) consul:partition() end,
  "the Consul agent does not reach the servers")
kinds.consul_partition.heal = function(box) box.consul:heal() end

kinds.consul_leader = lasting(function(consul) consul:leader(false) end, "Consul has no leader")
kinds.consul_leader.heal = function(box) box.consul:leader(true) end

kinds.consul_deny = lasting(function(consul, resource) consul:deny(resource) end,
  "Consul's ACL denies: %s", one_of(RESOURCES))
kinds.consul_deny.heal = function(box, fault) box.consul:grant(fault.how) end

kinds.consul_restart = once(function(box)
  box.consul:restart()
  return true
end, "the Consul agent restarts")

kinds.consul_forget = once(function(box)
  box.consul:restart { lose_state = true }
  return true
end, "the Consul agent restarts and has forgotten its services")

kinds.consul_wipe = once(function(box)
  box.world.consul:restart { lose_state = true }
  return true
end, "the servers of Consul lose all that they knew")

kinds.consul_session = once(function(box)
  local sessions = box.consul:sessions()
  if not sessions[1] then return nil end
  box.consul:destroy_session(sessions[1].id)
  return true
end, "a session of Consul is destroyed")

kinds.consul_remove = once(function(box)
  local service = box.consul:services()[1]
  if not service or #box.consul:instances(service.name) == 0 then return nil end
  box.consul:remove(service.name)
  return true
end, "a service of the box is removed from the catalogue")

return faults
