-- network: who listens, and what comes of a connection.
--
-- An address is "host:port". A spec may say that one is "up", "down" (refuses) or "hangs"; programs listen by
-- themselves; another box of the same world is reached by its hostname or addresses. It owns the endpoints of
-- one box, and what disturbs them while a fault lasts (faults.lua). Nothing here knows of time: latencies are the
-- port's.

local blame = require "luapilot.sim.blame"

local network = {}

---@class luapilot.sim.Network
---@field described table<string, "up"|"down"|"hangs">
---@field listeners table<string, integer>     how many listen, by "host:port"
---@field on_change fun()?                       somebody listens, or no longer
local Network = {}
Network.__index = Network

---@param names fun(): table<string, boolean>   the names and addresses of this box
---@param others fun(host: string): luapilot.sim.Network?   the network of another box
---@return luapilot.sim.Network
function network.new(names, others)
  return setmetatable({
    names = names, others = others, described = {}, expected = {}, listeners = {}, disturbances = {},
  }, Network)
end

local function split(address)
  local host, port = address:match "^%[(.-)%]:(%d+)$"
  if not host then host, port = address:match "^([^:]*):(%d+)$" end
  return host, port
end

local function is_loopback(host) return host == "localhost" or host == "::1" or host:find "^127%." ~= nil end

-- One spelling for what is the same: loopback is "localhost", any address is "*".
local function canonical(address)
  local host, port = split(address)
  if not host then return nil end
  if is_loopback(host) then host = "localhost" end
  if host == "" or host == "0.0.0.0" or host == "::" then host = "*" end
  return host .. ":" .. port, host, port
end

local function checked(address, what)
  local name = type(address) == "string" and canonical(address)
  if not name then blame.raise('%s: expected "host:port", got %s', what, tostring(address)) end
  return name
end

local STATES = { up = true, down = true, hangs = true }

---@param address string
---@param state "up"|"down"|"hangs"
function Network:describe(address, state)
  local name = checked(address, "box:tcp")
  if not STATES[state] then
    blame.raise('box:tcp: expected "up", "down" or "hangs", got %s', tostring(state))
  end
  self.described[name] = state
  if self.on_change then self.on_change() end
end

---The addresses that were described, as they are spelled here.
---@return string[]
function Network:addresses()
  local list = {}
  for name in pairs(self.described) do list[#list + 1] = name end
  table.sort(list)
  return list
end

---A program will listen there at some time: nobody need describe it.
---@param address string
function Network:expect(address) self.expected[checked(address, "listens")] = true end

---@param address string
function Network:listen(address)
  local name = checked(address, "listens")
  self.expected[name] = true
  self.listeners[name] = (self.listeners[name] or 0) + 1
  if self.on_change then self.on_change() end
end

---@param address string
function Network:close(address)
  local name = checked(address, "listens")
  self.listeners[name] = self.listeners[name] - 1
  if self.on_change then self.on_change() end
end

local function look_up(map, host, port, mine)
  local found = map[host .. ":" .. port]
  if not found and mine then found = map["*:" .. port] end
  return found
end

---What a connection from this box comes to.
---@param address string
---@return "up"|"down"|"hangs"|"unknown"
function Network:state(address)
  local name, host, port = canonical(address)
  if not name then return "unknown" end
  for i = #self.disturbances, 1, -1 do
    if self.disturbances[i].address == name then return self.disturbances[i].state end
  end
  if self.described[name] then return self.described[name] end
  local mine = host == "localhost" or self.names()[host]
  local other = not mine and self.others(host)
  if other then return other:answer(host, port) end
  if not mine then return "unknown" end
  return self:answer(host, port)
end

---@private
function Network:answer(host, port)
  local described = self.described[host .. ":" .. port]
  if described then return described end
  if (look_up(self.listeners, host, port, true) or 0) > 0 then return "up" end
  return look_up(self.expected, host, port, true) and "down" or "unknown"
end

return network
