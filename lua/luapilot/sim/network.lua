-- network: who listens, and what comes of a connection.
--
-- An address is "host:port", or the path of a unix socket: "unix:/run/app.sock". A spec may say that one is "up",
-- "down" (refuses) or "hangs"; programs listen by themselves; another box of the same world is reached by its hostname
-- or addresses. It owns the endpoints of one box, who takes connections there, and what disturbs them while a fault
-- lasts (faults.lua). Nothing here knows of time: latencies are the port's.

local blame = require "luapilot.sim.blame"
local files = require "luapilot.sim.files"

local network = {}

---@class luapilot.sim.Network
---@field described table<string, "up"|"down"|"hangs">
---@field listeners table<string, integer>     how many listen, by "host:port"
---@field acceptors table<string, fun(link: luapilot.sim.Link)[]>   who take connections; the last one does
---@field on_change fun()?                       somebody listens, or no longer
local Network = {}
Network.__index = Network

---@param names fun(): table<string, boolean>   the names and addresses of this box
---@param others fun(host: string): luapilot.sim.Network?   the network of another box
---@param cwd string?         where paths of unix sockets begin
---@return luapilot.sim.Network
function network.new(names, others, cwd)
  return setmetatable({
    names = names, others = others, cwd = cwd, described = {}, expected = {}, listeners = {}, acceptors = {},
    outside = {}, disturbances = {},
  }, Network)
end

local function split(address)
  local host, port = address:match "^%[(.-)%]:(%d+)$"
  if not host then host, port = address:match "^([^:]*):(%d+)$" end
  return host, port
end

local function is_loopback(host) return host == "localhost" or host == "::1" or host:find "^127%." ~= nil end

local function socket(self, address)
  local path = address:match "^unix:(.+)$"
  return path and "unix:" .. files.normalize(path, self.cwd)
end

-- One spelling for what is the same: loopback is "localhost", any address is "*". Of a socket no host and no port.
local function canonical(self, address)
  local unix = socket(self, address)
  if unix then return unix end
  local host, port = split(address)
  if not host then return nil end
  if is_loopback(host) then host = "localhost" end
  if host == "" or host == "0.0.0.0" or host == "::" then host = "*" end
  return host .. ":" .. port, host, port
end

local function checked(self, address, what)
  local name = type(address) == "string" and canonical(self, address)
  if not name then blame.raise('%s: expected "host:port" or "unix:/path", got %s', what, tostring(address)) end
  return name
end

local STATES = { up = true, down = true, hangs = true }

---@param address string
---@param state "up"|"down"|"hangs"
function Network:describe(address, state)
  local name = checked(self, address, "box:tcp")
  if not STATES[state] then
    blame.raise('box:tcp: expected "up", "down" or "hangs", got %s', tostring(state))
  end
  self.described[name] = state
  if self.on_change then self.on_change() end
end

local function sorted(set)
  local list = {}
  for name in pairs(set) do list[#list + 1] = name end
  table.sort(list)
  return list
end

---The addresses that were described, as they are spelled here.
---@return string[]
function Network:addresses() return sorted(self.described) end

---A program will listen there at some time: nobody need describe it.
---@param address string
function Network:expect(address) self.expected[checked(self, address, "listens")] = true end

-- Who takes connections from now on.
local function add_acceptor(self, name, accept)
  local list = self.acceptors[name] or {}
  self.acceptors[name] = list
  list[#list + 1] = accept
end

---Somebody outside is there, who takes connections.
---@param address string
---@param accept fun(link: luapilot.sim.Link)
function Network:serve(address, accept)
  local name = checked(self, address, "box:server")
  self:describe(address, "up")
  self.outside[name] = true
  add_acceptor(self, name, accept)
end

---Where somebody outside serves.
---@return string[]
function Network:served() return sorted(self.outside) end

---@param address string
---@param accept fun(link: luapilot.sim.Link)?     takes connections
function Network:listen(address, accept)
  local name = checked(self, address, "listens")
  self.expected[name] = true
  self.listeners[name] = (self.listeners[name] or 0) + 1
  if accept then add_acceptor(self, name, accept) end
  if self.on_change then self.on_change() end
end

---@param address string
---@param accept fun(link: luapilot.sim.Link)?
function Network:close(address, accept)
  local name = checked(self, address, "listens")
  local left = self.listeners[name] - 1
  self.listeners[name] = left > 0 and left or nil
  local list = self.acceptors[name] or {}
  for i = #list, 1, -1 do
    if list[i] == accept then table.remove(list, i) end
  end
  if not list[1] then self.acceptors[name] = nil end
  if self.on_change then self.on_change() end
end

-- By its name, or of whoever listens on that port of all addresses.
local function look_up(map, name, port)
  local found = map[name]
  if not found and port then found = map["*:" .. port] end
  return found
end

-- The disturbance of an address that came last.
local function disturbed(self, name)
  for i = #self.disturbances, 1, -1 do
    if self.disturbances[i].address == name then return self.disturbances[i].state end
  end
end

-- The network that an address leads to, this one or another box's; nil: nobody's.
local function owner_of(self, host)
  if not host or host == "localhost" or self.names()[host] then return self end
  return self.others(host)
end

---What a connection from this box comes to.
---@param address string
---@return "up"|"down"|"hangs"|"unknown"
function Network:state(address)
  local name, host, port = canonical(self, address)
  if not name then return "unknown" end
  local state = disturbed(self, name) or self.described[name]
  if state then return state end
  local owner = owner_of(self, host)
  return owner and owner:answer(host and host .. ":" .. port or name, port) or "unknown"
end

---@private
function Network:answer(name, port)
  if self.described[name] then return self.described[name] end
  if (look_up(self.listeners, name, port) or 0) > 0 then return "up" end
  return look_up(self.expected, name, port) and "down" or "unknown"
end

---Who takes a connection there; nil: nobody who says anything.
---@param address string
---@return fun(link: luapilot.sim.Link)?
function Network:acceptor(address)
  local name, host, port = canonical(self, address)
  local own = name and self.acceptors[name]
  if own and own[1] then return own[#own] end
  local owner = name and owner_of(self, host)
  local list = owner and look_up(owner.acceptors, host and host .. ":" .. port or name, port)
  return list and list[#list]
end

---Are two addresses spellings of the same?
---@param a string
---@param b string
---@return boolean
function Network:same(a, b) return canonical(self, a) == canonical(self, b) end

return network
