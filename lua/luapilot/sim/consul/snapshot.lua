-- snapshot: what the servers of one simulated datacentre know, taken and put back.
--
-- As in Consul, all tables become those of the snapshot, with the indexes of then, while the index of the next write
-- goes on; blocking queries are let go, with what was there before. Agents hold what they held, and tell the catalogue
-- with their next full sync.
--
-- It owns nothing: a snapshot is plain data, and may be put back more than once.

local copy = require "luapilot.base.copy"

local snapshot = {}

-- A timer is the leader's.
local function without_timers(sessions)
  local all = {}
  for id, session in pairs(sessions) do
    all[id] = copy.shallow(session)
    all[id].timer = nil
  end
  return all
end

---@class luapilot.sim.consul.Snapshot
---@field topics table<string, integer>
---@field catalog { nodes: table, services: table, checks: table }
---@field kv { entries: table, graves: table }
---@field sessions table
---@field queries table

---@param dc luapilot.sim.consul.Datacenter
---@return luapilot.sim.consul.Snapshot
function snapshot.take(dc)
  local catalog, kv = dc.catalog, dc.kv
  return copy.deep {
    topics = dc.store.topics, queries = dc.queries, sessions = without_timers(dc.sessions.all),
    catalog = { nodes = catalog.nodes, services = catalog.services, checks = catalog.checks },
    kv = { entries = kv.entries, graves = kv.graves },
  }
end

---@param dc luapilot.sim.consul.Datacenter
---@param taken luapilot.sim.consul.Snapshot
function snapshot.restore(dc, taken)
  local data = copy.deep(taken)
  dc.store:let_go()
  dc.store:write()
  dc.store.topics, dc.queries = data.topics, data.queries
  for name, rows in pairs(data.catalog) do dc.catalog[name] = rows end
  for name, rows in pairs(data.kv) do dc.kv[name] = rows end
  dc.sessions:replace(data.sessions)
end

return snapshot
