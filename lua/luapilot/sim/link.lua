-- link: connections that stay: the port's calls `dial`, `receive`, `send` and `want`, and what lies between a box and
-- a server.
--
-- Each direction holds what a kernel holds: 64 KiB that are not read yet, and after that who writes has to wait. What
-- is sent takes a moment and arrives in order, the end comes last, and a reset takes along what has not arrived. Both
-- directions of each connection are its own; what the server says is server.lua's, who listens where is network.lua's.

local check = require "luapilot.sim.check"
local duration = require "luapilot.base.duration"
local files = require "luapilot.sim.files"
local buffer = require "luapilot.net.buffer"

local link = {}

local CAPACITY = 64 * 1024
local MOST = 64 * 1024 -- received at once
local LONGEST = 1e6    -- seconds

local WORDS = {
  EAGAIN = "resource temporarily unavailable", ENOTCONN = "transport endpoint is not connected", EPIPE = "broken pipe",
  ECONNRESET = "connection reset by peer",
}

local function broken(code) return nil, WORDS[code], code end

-- --- one direction -------------------------------------------------------------------------------

---@class luapilot.sim.Direction
---@field line table               of port.lua: what is sent arrives in order
---@field arrived luapilot.Buffer
---@field held integer             bytes that were sent and not read
---@field ended boolean            nothing more comes
---@field on_data fun()            something has arrived, or the end
---@field on_room fun()            something was read
local Direction = {}
Direction.__index = Direction

local function nothing() end

local function new_direction(port)
  return setmetatable({
    port = port, line = port:line(), arrived = buffer.new(), held = 0, ended = false, on_data = nothing,
    on_room = nothing,
  }, Direction)
end

---As much of the data as there is room for; how much that is.
---@param data string
---@param from integer
---@return integer
function Direction:send(data, from)
  local part = data:sub(from, from + math.max(0, CAPACITY - self.held) - 1)
  if part == "" then return 0 end
  self.held = self.held + #part
  self.port:later(self.line, function()
    if self.broken then return end
    self.arrived:push(part)
    self.on_data()
  end)
  return #part
end

---Up to so many bytes of what has arrived.
---@param most integer
---@return string
function Direction:take(most)
  local data = self.arrived:take(math.min(most, self.arrived.size))
  self.held = self.held - #data
  if #data > 0 then self.port:later(self.line, function() self.on_room() end) end
  return data
end

---Nothing more is sent.
function Direction:finish()
  self.port:later(self.line, function()
    self.ended = true
    self.on_data()
  end)
end

---What has not arrived is lost, and whoever waits hears of it a moment later.
function Direction:cut()
  self.broken, self.held = true, self.arrived.size
  self.port:later(self.line, function()
    self.on_data()
    self.on_room()
  end)
end

-- --- a connection --------------------------------------------------------------------------------

---@class luapilot.sim.Link
---@field port luapilot.sim.Port
---@field id integer
---@field name string                where it leads: "127.0.0.1:6379", "unix:/run/app.sock"
---@field there luapilot.sim.Direction    to the server
---@field back luapilot.sim.Direction     from it
---@field connected boolean
---@field deaf boolean               the server has closed: it reads no more
---@field gone boolean               the box has closed
---@field wanted table<string, true>
local Link = {}
Link.__index = Link

local function is_readable(self) return self.back.broken or self.back.arrived.size > 0 or self.back.ended end
local function is_writable(self) return self.back.broken or self.deaf or self.there.held < CAPACITY end

-- Tells what was asked for and is so, once.
local function tell_ready(self)
  local readable = self.wanted.r and is_readable(self) or false
  local writable = self.wanted.w and is_writable(self) or false
  if self.gone or not (readable or writable) then return end
  if readable then self.wanted.r = nil end
  if writable then self.wanted.w = nil end
  local event = self.told
  if event then
    event.readable, event.writable = event.readable or readable, event.writable or writable
    return
  end
  self.told = { type = "ready", id = self.id, readable = readable, writable = writable }
  self.port:push(self, self.told, function() self.told = nil end)
end

---The server closes it: what it has sent still comes.
function Link:server_closes()
  if self.deaf then return end
  self.deaf = true
  self.back:finish()
end

---It breaks.
function Link:reset()
  self.deaf = true
  self.there:cut()
  self.back:cut()
end

local function connected(self, accept)
  self.connected = true
  self.port:push(self, { type = "connected", id = self.id })
  if accept then accept(self) end
end

local function refused(self, code, why)
  local message = ("cannot connect to %s: %s"):format(self.name, why)
  local event = { type = "connected", id = self.id, code = code, error = message }
  self.port:push(self, event, function() self.port:forget(self.id) end)
end

-- --- the calls -----------------------------------------------------------------------------------

local function filled(where, value)
  if check.word(where, value) == "" then error(where .. ": it is empty", 0) end
end

local function address(where, value)
  filled(where, value)
  local number = tonumber(value:match "^[^%[%]:]+:(%d+)$" or value:match "^%[[^%]]+%]:(%d+)$")
  if number and number >= 1 and number <= 65535 then return end
  error(("%s: expected host:port or [address]:port, got %q"):format(where, value), 0)
end

local check_dial = check.fields { address = address, path = filled, timeout = check.seconds }

-- Who would answer, and whether. A spec describes what the pilot talks to.
local function look(self, name)
  local state, accept = self.network:state(name), self.network:acceptor(name)
  if state == "unknown" or state == "up" and not accept then
    self.complain(([[nobody described the server %q: box:server(%q, { ["a line"] = "its answer\n" }), or ]]
      .. [[box:tcp(%q, "down")]]):format(name, name, name), "address", name)
  end
  return state, accept
end

link.calls = {}

function link.calls.dial(self, options)
  check_dial("dial", options)
  if (options.address == nil) == (options.path == nil) then error("dial: expected one of address and path", 0) end
  local name = options.address or "unix:" .. files.normalize(options.path, self.files.cwd)
  local new = setmetatable({
    kind = "connection", port = self, name = name, there = new_direction(self), back = new_direction(self),
    wanted = {}, line = self:line(),
  }, Link)
  new.id = self:handle(new)
  new.back.on_data = function() tell_ready(new) end
  new.there.on_room = new.back.on_data
  local state, accept = look(self, name)
  local limit = math.min(options.timeout or LONGEST, LONGEST)
  new.entry = self:later(new.line, function()
    if state == "up" then return connected(new, accept) end
    if state == "hangs" then return refused(new, "ETIMEDOUT", "no answer within " .. duration.format(limit)) end
    if state == "unknown" and options.path then return refused(new, "ENOENT", "no such file or directory") end
    refused(new, "ECONNREFUSED", "connection refused")
  end, state == "hangs" and limit or math.min(self:latency(), limit))
  return new.id
end

local function find(self, call, id)
  check.any_number(call .. ": id", id)
  local found = self.handles[id]
  return found and found.kind == "connection" and found or nil
end

local check_most = check.integer(1, MOST)

function link.calls.receive(self, id, most)
  check_most("receive: most", most)
  local one = find(self, "receive", id)
  if not one then return self.stale("receive", id) end
  if not one.connected then return broken "ENOTCONN" end
  if one.back.arrived.size > 0 then return one.back:take(most) end
  if one.back.broken then return broken "ECONNRESET" end
  if one.back.ended then return "" end
  return broken "EAGAIN"
end

function link.calls.send(self, id, data, from)
  check.string("send: data", data)
  check.integer(1, #data)("send: from", from)
  local one = find(self, "send", id)
  if not one then return self.stale("send", id) end
  if not one.connected then return broken "ENOTCONN" end
  if one.back.broken then return broken "ECONNRESET" end
  if one.deaf then return broken "EPIPE" end
  local sent = one.there:send(data, from)
  if sent == 0 then return broken "EAGAIN" end
  return sent
end

function link.calls.want(self, id, mode)
  check.word("want: mode", mode)
  if mode ~= "r" and mode ~= "w" then
    error(('want: mode: expected "r" or "w", got %q'):format(mode), 0)
  end
  local one = find(self, "want", id)
  if not one then return self.stale("want", id) end
  if not one.connected then return broken "ENOTCONN" end
  one.wanted[mode] = true
  self:later(one.line, function() tell_ready(one) end)
  return true
end

function link.calls.guard(self, id)
  if not find(self, "guard", id) then return self.stale("guard", id) end
  return {}
end

---The box closes it.
---@param self luapilot.sim.Port
---@param one luapilot.sim.Link
function link.cancel(self, one)
  if one.entry then self.clock:cancel(one.entry) end
  one.gone = true
  if not one.connected then return end
  one.there:finish()
  one.back:cut()
end

---The pilot of the box is no more.
---@param self luapilot.sim.Port
function link.close_all(self)
  for id = 1, self.last_id do
    local one = self.handles[id]
    if type(one) == "table" and one.kind == "connection" then
      self:forget(id)
      link.cancel(self, one)
    end
  end
end

---The connections that lead to a server, oldest first.
---@param self luapilot.sim.Port
---@param name string
---@return luapilot.sim.Link[]
function link.open_to(self, name)
  local list = {}
  for _, one in pairs(self.handles) do
    if type(one) == "table" and one.kind == "connection" and one.connected
      and self.network:same(one.name, name) then list[#list + 1] = one end
  end
  table.sort(list, function(a, b) return a.id < b.id end)
  return list
end

return link
