-- client: the port's calls `agent` and `consul`: requests to the agent of the box.
--
-- Whatever address was named, the agent of the box answers, unless a program of the box or the spec says that nobody
-- listens there. Requests share the connections that watches leave over, in order. It owns the settings, the calls
-- under way and their queue.

local check = require "luapilot.sim.check"
local copy = require "luapilot.copy"
local duration = require "luapilot.duration"
local http = require "luapilot.sim.http"
local queue = require "luapilot.queue"

local client = {}

local CONNECTIONS = 150
local BIG = 1e15
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
local Client = {}
Client.__index = Client

---@param server luapilot.sim.consul.Server
---@return luapilot.sim.consul.Client
function client.new(server)
  return setmetatable({ server = server, held = 0, busy = 0, queue = queue.new(), watches = {}, asked = {} }, Client)
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
  timeout = check.number(0, 1e6), max_body = check.number(0, BIG),
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

---Asks the agent; done(answer) gets { status, headers, body }, or { error = why, code }.
---@param asked { method: string, path: string, body: string?, token: string?, max_body: number?, timeout: number?,
---  spent: number? }
---@param done fun(answer: table)
---@return luapilot.sim.consul.Ask
function Client:ask(asked, done)
  local port, line = self.port, self.port:line()
  local ask = { timers = {} }
  local function finish(answer)
    if ask.over then return end
    ask:cancel()
    done(answer)
  end
  local function fail(code, why) finish { code = code, error = why or http.why(code, http.target(self.options)) } end
  function ask.cancel()
    ask.over = true
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

local OURS = { EMSGSIZE = true }

local function without_haste(self, now) return not self.told or now - self.told >= REST end

---How a request ended that was asked at a moment. When one is answered after others were not, all hear of it.
---@param answer table
---@param asked number
function Client:heard(answer, asked)
  local now = self.port.clock:now()
  if answer.error and not OURS[answer.code] then
    self.lost, self.away = now, true
  elseif not answer.error and self.away and asked >= self.lost and without_haste(self, now) then
    self.away, self.told = false, now
    for _, watch in ipairs(copy.shallow(self.watches)) do watch:agent_back(self.lost) end
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

local function has_room(self) return self.busy == 0 or self.busy + self.held < self.options.max_connections end

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
    options.spent = asked - call.since
    call.ask = self:ask(options, function(answer)
      call.ask = nil
      self.busy = self.busy - 1
      tell(call, answer)
      self:heard(answer, asked)
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
    self.lost, self.told, self.away = nil, nil, nil
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
