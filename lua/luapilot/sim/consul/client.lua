-- client: the port's calls `agent` and `consul`: requests to the agent of the box.
--
-- Whatever address was named, the agent of the box answers, unless a program of the box or the spec says that nobody
-- listens there. Requests share the connections that watches leave over, in order. It owns the settings, the calls
-- under way and their queue.

local check = require "luapilot.sim.check"
local copy = require "luapilot.base.copy"
local duration = require "luapilot.base.duration"
local http = require "luapilot.sim.http"
local queue = require "luapilot.base.queue"

local client = {}

local CONNECTIONS = 150
local BIG = 1e15
local CROWDED = 15 -- seconds in which no call opens a connection that might be refused
local REST = 10 -- seconds between two moments at which all are told that the agent is back

---@class luapilot.sim.consul.Client
---@field port luapilot.sim.Port
---@field server luapilot.sim.consul.Server
---@field options luapilot.AgentOptions?
---@field held integer        connections of watches
---@field busy integer        connections of calls
---@field asked table[]       every request: { method, path, body, token, at }
---@field lost number?        when a request got no answer last
---@field told number?        when all were told that it is back
---@field away boolean?       since then there was no answer
---@field open integer        connections
---@field idle integer        of these, who may be used again
---@field spare integer       those that calls have left open
---@field wanted number?      when a call got none last; nil: a watch has left one since
---@field doing table<"asks"|"waits"|"rests", integer>   how many watches do what
---@field crowded number?     until then the agent allows no more connections
---@field room integer?       those that calls have meanwhile
local Client = {}
Client.__index = Client

---@param server luapilot.sim.consul.Server
---@return luapilot.sim.consul.Client
function client.new(server)
  return setmetatable({
    server = server, held = 0, busy = 0, queue = queue.new(), watches = {}, asked = {}, open = 0, idle = 0, spare = 0,
    doing = { asks = 0, waits = 0, rests = 0 },
  }, Client)
end

---The client belongs to a port from now on.
---@param port luapilot.sim.Port
function Client:attach(port)
  self.port = port
  port.network.on_change = function() self:look() end
end

-- --- arguments ---------------------------------------------------------------------------------

local function word(where, value)
  if check.word(where, value) == "" then error(where .. ": it is empty", 0) end
  return value
end

local function value_of(where, value)
  if word(where, value):find "[\r\n]" then error(where .. ": a line break inside the value", 0) end
  return value
end

local check_agent = check.fields {
  url = http.checks.address, socket = http.checks.socket, token = value_of, tls = http.checks.tls,
  auth = function(where, value)
    if not value_of(where, value):find(":", 1, true) then
      error(where .. ': expected "user:password"', 0)
    end
  end,
  max_connections = check.number(1, 1e6),
}

---@param where string
---@param value any
function client.check_path(where, value)
  word(where, value)
  if value:find "[%c%s\127]" then error(where .. ": a space or a control character inside", 0) end
  if value:sub(1, 1) ~= "/" then error(('%s: expected /v1/…, got "%s"'):format(where, value), 0) end
  return value
end

local check_call = check.fields {
  method = http.checks.method, path = client.check_path, body = check.string, token = value_of,
  timeout = check.seconds, max_body = check.number(0, BIG),
}

client.check_token = value_of

---What both calls refuse when no agent was named.
function client.unnamed() return nil, "no Consul agent was named", "EDESTADDRREQ" end

-- --- one request -------------------------------------------------------------------------------

---@class luapilot.sim.consul.Ask
---@field cancel fun(self: table)

-- How long a way takes.
local function later(port, line, fn) return port:later(line, fn) end

local function state_of(self)
  if not self.options or self.options.socket then return "unknown" end
  return self.port.network:state(http.target(self.options))
end

---Where the agent is a program of the box, it lives and dies with that.
function Client:look()
  local state, server = state_of(self), self.server
  if state == "down" and server.state ~= "down" then
    self.program_down = true
    server:down()
    server.agent:halt()
  elseif state ~= "down" and self.program_down then
    self.program_down = nil
    if not server.agent.running then server.agent:resume() end
    server:up()
  end
end

-- --- connections -------------------------------------------------------------------------------

-- Those of an agent that was down are gone.
local function forget_lost(self)
  if self.generation == self.server.connection then return end
  self.generation, self.open, self.idle = self.server.connection, 0, 0
end

-- Connections of watches that the agent keeps open.
local function has_others(self) return self.doing.waits + self.doing.rests > 0 end

-- The agent, so that a new connection that is closed at once says something of its bound.
local function is_there(self, call)
  if has_others(self) then return true end
  if call then return self.busy > 1 or self.doing.asks > 0 end
  return self.busy + self.spare > 0
end

-- One that is open, or another one; false: the agent allows no more.
local function connect(self, ask, apart)
  forget_lost(self)
  if self.idle > 0 and not apart then
    self.idle = self.idle - 1
  elseif self.server.limit and self.open >= self.server.limit then
    ask.opened = true
    return false
  else
    self.open, ask.opened = self.open + 1, true
  end
  ask.generation = self.generation
  return true
end

local function disconnect(self, ask, answered)
  forget_lost(self)
  if ask.generation ~= self.generation then return end
  ask.generation = nil
  if answered then self.idle = self.idle + 1 else self.open = self.open - 1 end
end

---Does an answer mean that the agent allows no further connection?
---@param answer table
---@return boolean
function Client:is_crowded(answer)
  if answer.code ~= "EUSERS" then return false end
  local clock = self.port.clock
  self.crowded, self.room = clock:now() + CROWDED, self.busy + self.spare
  if self.relief then clock:cancel(self.relief) end
  self.relief = clock:after(CROWDED, self.port.timers, function() self:admit() end)
  return true
end

---A new connection was closed at once, and others are on their way: what that means, they will show.
---@param answer table
---@return boolean
function Client:doubts(answer) return answer.code == "ECONNRESET" and answer.refused == true and self.doing.asks > 0 end

---One watch more does that, or one less.
---@param doing "asks"|"waits"|"rests"|nil    rests: it was answered, and its connection is open
---@param change integer
function Client:count(doing, change)
  if doing then self.doing[doing] = self.doing[doing] + change end
end

---A watch without a connection is about to ask: may it take one that is open? Calls keep one.
---@return boolean
function Client:may_share()
  if self.spare < 2 then return false end
  self.spare = self.spare - 1
  return true
end

local function now_crowded(self) return self.crowded ~= nil and self.port.clock:now() < self.crowded end

-- A call waits for a connection, or got none just now and will come again.
local function is_wanted(self)
  return self.queue:peek() ~= nil or self.wanted ~= nil and self.port.clock:now() - self.wanted < CROWDED
end

---A watch that has ended leaves its connection.
function Client:bequeath()
  self.spare = self.spare + 1
  if now_crowded(self) then self.room = self.room + 1 end
end

---A watch was answered, and does not need its connection just now. True: a call has it.
---@return boolean
function Client:leave()
  if not now_crowded(self) or self.room > 0 or not is_wanted(self) then return false end
  self.spare = self.spare + 1
  self.room, self.wanted = self.busy + self.spare, nil
  self:admit()
  return true
end

---Asks the agent; done(answer) gets { status, headers, body }, or { error = why, code }.
---@param asked { method: string, path: string, body: string?, token: string?, max_body: number?, timeout: number?,
---  spent: number?, apart: boolean?, call: boolean? }
---@param done fun(answer: table)
---@return luapilot.sim.consul.Ask
function Client:ask(asked, done)
  local port, line = self.port, self.port:line()
  local ask = { timers = {} }
  local connected = connect(self, ask, asked.apart)
  local function finish(answer)
    if ask.over then return end
    disconnect(self, ask, answer.status)
    ask:cancel()
    answer.opened, answer.refused = ask.opened, not connected
    done(answer)
  end
  local function fail(code, why) finish { code = code, error = why or http.why(code, http.target(self.options)) } end
  function ask.cancel()
    ask.over = true
    disconnect(self, ask)
    for _, entry in ipairs(ask.timers) do port.clock:cancel(entry) end
    if ask.exchange then ask.exchange:cancel() end
  end
  local function arrived(answer)
    if answer.error then return fail(answer.error) end
    if #answer.body > (asked.max_body or BIG) then
      return fail("EMSGSIZE", ("the answer is larger than %d bytes"):format(asked.max_body))
    end
    finish { status = answer.status, headers = answer.headers, body = answer.body }
  end
  local function send()
    if ask.over then return end
    local state = state_of(self)
    if state == "down" then return fail "ECONNREFUSED" end
    if state == "hangs" then return end
    if not connected then
      if not is_there(self, asked.call) then return fail "ECONNRESET" end
      return fail("EUSERS", "the agent closed a new connection at once, and keeps others open")
    end
    local told = {
      method = asked.method, path = asked.path, body = asked.body, token = asked.token or self.options.token,
      at = port.clock:elapsed(),
    }
    self.asked[#self.asked + 1] = told
    port.record("consul", { request = told })
    ask.exchange = self.server:accept(told, function(answer)
      ask.exchange = nil
      table.insert(ask.timers, later(port, line, function() arrived(answer) end))
    end)
  end
  table.insert(ask.timers, later(port, line, send))
  if (asked.timeout or 0) > 0 then
    local left = math.max(0, asked.timeout - (asked.spent or 0))
    table.insert(ask.timers, port.clock:after(left, port.timers, function()
      fail("ETIMEDOUT", "no answer within " .. duration.format(asked.timeout))
    end))
  end
  return ask
end

-- --- away and back -----------------------------------------------------------------------------

local OURS = { EMSGSIZE = true, EUSERS = true }

local function without_haste(self, now) return not self.told or now - self.told >= REST end

---How a request ended that was asked at a moment. When one is answered after others were not, all hear of it.
---@param answer table
---@param asked number
function Client:hears(answer, asked)
  local now, refused = self.port.clock:now(), answer.code == "ECONNRESET" and answer.refused
  if answer.error and not OURS[answer.code] then
    self.away = true
    if not refused then self.lost, self.spare = now, 0 end
  elseif not answer.error and self.away and asked >= (self.lost or 0) and without_haste(self, now) then
    self.away, self.told = false, now
    for _, watch in ipairs(copy.shallow(self.watches)) do watch:agent_back(self.lost or 0) end
  end
end

-- --- calls -------------------------------------------------------------------------------------

local Call = {}
Call.__index = Call

local function tell(call, event)
  local port = call.client.port
  event.type, event.id = "response", call.id
  port:push(call, event, function() port:forget(call.id) end)
end

local function has_room(self)
  if now_crowded(self) and (self.room > 0 or has_others(self)) then return self.busy < self.room end
  return self.busy == 0 or self.busy + self.held < self.options.max_connections
end

local function without(list, one)
  for i = #list, 1, -1 do
    if list[i] == one then table.remove(list, i) end
  end
end

local function leave_line(self, call)
  if call.in_line then self.queue:strike(call) end
  call.in_line = false
end

-- Lets those go that wait for a connection.
function Client:admit()
  while self.queue:peek() and has_room(self) do
    local call = self.queue:pop()
    call.in_line = false
    self.busy = self.busy + 1
    if call.timer then self.port.clock:cancel(call.timer) end
    local options = copy.shallow(call.options)
    local asked = self.port.clock:now()
    local shares = self.spare > 0
    if shares then self.spare = self.spare - 1 end
    options.spent, options.call = asked - call.since, true
    call.ask = self:ask(options, function(answer)
      call.ask = nil
      self.busy = self.busy - 1
      if not answer.error then self.spare = self.spare + 1 elseif answer.opened and shares then self.spare = 0 end
      if self:is_crowded(answer) then self.wanted = self.port.clock:now() end
      tell(call, answer)
      self:hears(answer, asked)
      self:admit()
    end)
  end
end

local function waits(self, call)
  local limit = call.options.timeout or 0
  if limit <= 0 then return end
  call.timer = self.port.clock:after(limit, self.port.timers, function()
    leave_line(self, call)
    local why = "no free connection to the agent within %s: max_connections is %d, and %d watches hold one each"
    local said = why:format(duration.format(limit), self.options.max_connections, self.held)
    if now_crowded(self) then
      self.wanted = self.port.clock:now()
      why = "no free connection to the agent within %s: it allows no more, and %d watches hold one each"
      return tell(call, { code = "EUSERS", error = why:format(duration.format(limit), self.held) })
    end
    tell(call, { code = "ETIMEDOUT", error = said })
  end)
end

client.calls = {}

function client.calls.agent(port, options)
  check_agent("agent", options)
  if options.url == nil then error("agent: url: expected a string, got nil", 0) end
  local self = port.consul
  local before, now = self.options, copy.shallow(options)
  now.max_connections = now.max_connections or CONNECTIONS
  self.options = now
  self:look()
  local same = before and copy.shallow(before)
  if same then same.max_connections = now.max_connections end
  if same and not copy.equal(same, now) then
    self.lost, self.told, self.away, self.crowded, self.wanted, self.generation = nil, nil, nil, nil, nil, nil
    self.spare = 0
    for _, watch in ipairs(copy.shallow(self.watches)) do watch:agent_changed() end
  end
  self:admit()
end

function client.calls.consul(port, options)
  check_call("consul", options)
  if options.path == nil then error("consul: path: expected a string, got nil", 0) end
  local self = port.consul
  if not self.options then return client.unnamed() end
  local call = setmetatable({ kind = "consul", client = self, since = port.clock:now() }, Call)
  call.options = copy.shallow(options)
  call.options.method = options.method or "GET"
  call.id = port:handle(call)
  self.queue:push(call)
  call.in_line = true
  waits(self, call)
  self:admit()
  return call.id
end

---Ends a call in silence.
---@param call table
function client.cancel(call)
  local self = call.client
  if call.timer then self.port.clock:cancel(call.timer) end
  if call.in_line and now_crowded(self) then self.wanted = self.port.clock:now() end
  leave_line(self, call)
  if call.ask then
    call.ask:cancel()
    call.ask = nil
    self.busy = self.busy - 1
  end
  self:admit()
end

-- --- for watches -------------------------------------------------------------------------------

---Has one of the connections from now on.
---@param watch table
function Client:hold(watch)
  self.held = self.held + 1
  self.watches[#self.watches + 1] = watch
end

---@param watch table
function Client:release(watch)
  self.held = self.held - 1
  without(self.watches, watch)
  self:admit()
end

return client
