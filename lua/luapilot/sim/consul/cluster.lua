-- cluster: all of Consul in one world: its datacentres, and the agents of the boxes.
--
-- Agents are made when a box is: one for each, with the box's host name as the node's, or one for several that name
-- the same. It owns the datacentres and the servers.

local agent = require "luapilot.sim.consul.agent"
local datacenter = require "luapilot.sim.consul.datacenter"
local server = require "luapilot.sim.consul.server"

local cluster = {}

local HOME = "dc1"

---@class luapilot.sim.consul.Cluster
---@field home luapilot.sim.consul.Datacenter       that of the boxes
---@field all luapilot.sim.consul.Datacenter[]
---@field servers luapilot.sim.consul.Server[]
local Cluster = {}
Cluster.__index = Cluster

---@param clock luapilot.sim.Clock
---@param dice luapilot.sim.Random
---@return luapilot.sim.consul.Cluster
function cluster.new(clock, dice)
  local home = datacenter.new(HOME, clock, dice)
  return setmetatable({ clock = clock, dice = dice, home = home, all = { home }, servers = {}, by_name = {} }, Cluster)
end

---@param name string
---@return luapilot.sim.consul.Datacenter?
function Cluster:find(name)
  for _, dc in ipairs(self.all) do
    if dc.name == name then return dc end
  end
end

---A datacentre, made when it is first asked for.
---@param name string
---@return luapilot.sim.consul.Datacenter
function Cluster:datacenter(name)
  local dc = self:find(name)
  if dc then return dc end
  dc = datacenter.new(name, self.clock, self.dice)
  self.all[#self.all + 1] = dc
  return dc
end

---The server of a node's agent, made when it is first asked for.
---@param name string       of the node
---@param address string
---@return luapilot.sim.consul.Server
function Cluster:server(name, address)
  local one = self.by_name[name]
  if one then return one end
  one = server.new(agent.new(self.home, name, address), self)
  self.by_name[name] = one
  self.servers[#self.servers + 1] = one
  return one
end

---An agent has left: it runs no more.
---@param gone luapilot.sim.consul.Agent
function Cluster:left(gone)
  gone:leave()
  self.by_name[gone.name]:drain()
end

return cluster
