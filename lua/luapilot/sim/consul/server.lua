-- server: the HTTP side of an agent: what comes in, what it asks of the servers, what is held back, and what goes out.
--
-- A blocking query is held until the index of its answer is above the one that was asked with, until its time is over,
-- or now and then for no reason at all, as Consul allows itself. What needs the servers fails as it would without them.
-- An agent can be down (nobody listens), hang (nothing is answered until it goes on), be slow, or answer an error.
--
-- It owns the requests under way. What an endpoint says is the endpoints', what the agent keeps of it cache.lua's.

local answers = require "luapilot.sim.consul.answer"
local cache = require "luapilot.sim.consul.cache"
local json = require "luapilot.sim.consul.json"
local query = require "luapilot.sim.consul.query"
local routes = require "luapilot.sim.consul.routes"

local server = {}

local DEFAULT_WAIT, LONGEST_WAIT = 300, 600
local SPURIOUS = 1 / 8      -- the share of blocking queries that return early without a reason
local HOLD, LOOK = 7, 0.7   -- without a leader: so long, looked so often
local TIMEOUT_LOW, TIMEOUT_HIGH = 3, 7 -- of a call to servers out of reach that Serf still believes in
local DRAIN = 5             -- seconds from leaving to the end
local LARGEST = 512 * 1024  -- of a body to /v1/kv and /v1/txn

---@class luapilot.sim.consul.Request
---@field method string
---@field query luapilot.sim.consul.Query
---@field rest string            of the path, below the route
---@field body string
---@field token string?
---@field tells boolean?
---@field filtered boolean?      its answer lacks what the token may not read
---@field agent luapilot.sim.consul.Agent
---@field dc luapilot.sim.consul.Datacenter     the one that is asked
---@field cluster luapilot.sim.consul.Cluster

---@class luapilot.sim.consul.Server
---@field agent luapilot.sim.consul.Agent
---@field cluster luapilot.sim.consul.Cluster
---@field state "up"|"down"|"hangs"|"gone"
---@field delay number           seconds that each answer takes longer
---@field connection integer     another one, since connections were last cut
---@field tells boolean?        that an answer lacks what the token may not read
---@field limit integer?         of connections of one client
---@field failing integer?       the status of every answer
local Server = {}
Server.__index = Server

---@param agent luapilot.sim.consul.Agent
---@param cluster luapilot.sim.consul.Cluster
---@return luapilot.sim.consul.Server
function server.new(agent, cluster)
  local self = setmetatable({
    agent = agent, cluster = cluster, state = "up", delay = 0, open = {}, parked = {}, connection = 1,
    cache = cache.new(agent),
  }, Server)
  agent.on_lost = function()
    if agent.partitioned then self:lose_servers() end
  end
  return self
end

-- --- one exchange ------------------------------------------------------------------------------

---@class luapilot.sim.consul.Exchange
---@field done fun(answer: table)
local Exchange = {}
Exchange.__index = Exchange

local function after(exchange, seconds, fn)
  local entry = exchange.server.agent.dc.store:after(seconds, function()
    if not exchange.over then fn() end
  end)
  exchange.timers[#exchange.timers + 1] = entry
end

function Exchange:close()
  self.over = true
  local clock = self.server.agent.dc.clock
  for _, entry in ipairs(self.timers) do clock:cancel(entry) end
  if self.stop then self.stop() end
  for i, one in ipairs(self.server.open) do
    if one == self then return table.remove(self.server.open, i) end
  end
end

---Nobody waits for it any more.
function Exchange:cancel()
  if not self.over then self:close() end
end

---The connection breaks.
---@param code string
function Exchange:cut(code)
  if self.over then return end
  self:close()
  self.done { error = code }
end

local function whole(answer, request)
  local headers = { vary = "Accept-Encoding" }
  for name, value in pairs(answer.headers or {}) do headers[name] = value end
  local body = answer.text
  if not body then
    headers["content-type"] = "application/json"
    body = json.encode(answer.value)
    if request and request.query:has "pretty" then body = body .. "\n" end
  elseif body ~= "" and not headers["content-type"] then
    headers["content-type"] = "text/plain; charset=utf-8"
  end
  headers["content-length"] = tostring(#body)
  return { status = answer.status, headers = headers, body = body }
end

function Exchange:finish(answer)
  if self.over then return end
  local wire = whole(answer, self.request)
  local function send()
    if self.server.state == "hangs" then
      table.insert(self.server.parked, send)
      return
    end
    if self.over then return end
    self:close()
    self.done(wire)
  end
  if self.server.delay > 0 then return after(self, self.server.delay, send) end
  send()
end

-- --- what the servers say ----------------------------------------------------------------------

local function read_headers(answer, request, route)
  local failed = (route.consistency or route.told) and request.method == "GET" and answer.status == 500
  if not answer.index and not failed then return answer end
  local headers = answer.headers or {}
  answer.headers = headers
  headers["x-consul-index"] = tostring(answer.index or 1)
  if request.filtered and request.tells then headers["x-consul-results-filtered-by-acls"] = "true" end
  if route.events then return answer end
  headers["x-consul-knownleader"] = tostring(answer.index ~= nil and request.dc.store.leader)
  headers["x-consul-lastcontact"] = "0"
  if route.consistency and answer.index then
    headers["x-consul-effective-consistency"] = request.query:has "stale" and "stale"
      or request.query:has "consistent" and "consistent" or "leader"
  end
  return answer
end

local function moved(answer, request, route)
  if not answer.index then return true end
  if route.events then return tostring(answer.index) ~= request.index_text end
  return answer.index > request.index
end

local function is_revoked(request) return request.token and request.agent.dc.revoked[request.token] end

local function unknown_token() return answers.text(403, "ACL not found") end

-- Held until there is something new, or enough time has passed.
function Exchange:block(route, fn)
  local request, dice = self.request, self.server.agent.dc.dice
  local function look()
    request.filtered = nil
    return is_revoked(request) and unknown_token() or fn(request)
  end
  local function tell(answer) self:finish(read_headers(answer, request, route)) end
  local answer = look()
  if request.index == 0 or not answer.topics or moved(answer, request, route) then return tell(answer) end
  self.stop = request.dc.store:wait(function() return answer.topics() end, function()
    if self.over then return true end
    local now = look()
    if not moved(now, request, route) then return false end
    tell(now)
    return true
  end, function() tell(look()) end)
  local most = request.wait * (1 + dice:next() / 16)
  after(self, dice:next() < SPURIOUS and most * dice:next() or most, function() tell(look()) end)
end

-- A call to the servers, when they can be reached; `again` is for a leader that may still be elected.
function Exchange:call(route, fn, waited)
  local request, agent = self.request, self.server.agent
  local function fail(text) self:finish(read_headers(answers.failed(text), request, route)) end
  if agent.partitioned then
    if not agent:believed() then return fail "No known Consul servers" end
    return after(self, agent.dc.dice:between(TIMEOUT_LOW, TIMEOUT_HIGH), function()
      fail "rpc error getting client: failed to get conn: i/o timeout"
    end)
  end
  if not request.dc or request.dc.away then return fail "No path to datacenter" end
  local stale = request.method == "GET" and (request.query:has "stale" or request.cache)
  if request.dc.store.leader or stale or route.leaderless then
    self.calling = true
    return self:block(route, fn)
  end
  if waited >= HOLD then return fail "No cluster leader" end
  after(self, LOOK, function() self:call(route, fn, waited + LOOK) end)
end

-- Whoever answers it: the agent, or the servers.
function Exchange:ask(route, fn)
  if not route.here then return self:call(route, fn, 0) end
  self.request.dc = self.server.agent.dc
  self:block(route, fn)
end

-- A request for what the agent's cache has, or will have.
function Exchange:cached(route, fn)
  local request, kept = self.request, self.server.cache
  local function tell(entry, hit) self:finish(read_headers(kept:answer(entry, hit), request, route)) end
  local entry = kept:find(request)
  if not entry then
    return self:ask(route, function()
      local answer = fn(request)
      kept:keep(request, request.cache, answer, function() return fn(request) end)
      answer.headers = answer.headers or {}
      answer.headers["x-cache"] = "MISS"
      return answer
    end)
  end
  if request.index == 0 or entry.simple or entry.answer.index > request.index then return tell(entry, true) end
  if kept:is_lost(entry) then
    return self:finish(read_headers(answers.failed "No known Consul servers", request, route))
  end
  if entry.answer.index > request.index then return tell(entry, false) end
  self.stop = kept:wait(entry, function(failure)
    if self.over then return true end
    if not failure and entry.answer.index <= request.index then return false end
    if failure then self:finish(read_headers(failure, request, route)) else tell(entry, false) end
    return true
  end)
  after(self, request.wait, function() tell(entry, false) end)
end

local function wrong_parameters(request)
  local q = request.query
  if q:has "wait" then
    request.wait = query.duration(q:get "wait")
    if not request.wait then return "Invalid wait time" end
  end
  if q:get "index" ~= "" then
    request.index_text = q:get "index"
    request.index = request.index_text:find "^%d+$" and tonumber(request.index_text)
    if not request.index then return "Invalid index" end
  end
  if q:has "stale" and q:has "consistent" then
    return "Cannot specify ?stale with ?consistent, conflicting semantics."
  end
  if q:has "cached" and q:has "consistent" then
    return "Cannot specify ?cached with ?consistent, conflicting semantics."
  end
end

local function prepare(request)
  request.index, request.wait = 0, DEFAULT_WAIT
  local wrong = wrong_parameters(request)
  if request.wait and request.wait <= 0 then request.wait = DEFAULT_WAIT end
  if request.wait then request.wait = math.min(request.wait, LONGEST_WAIT) end
  return wrong
end

function Exchange:route()
  local request = self.request
  local route, rest = routes.find(request.query.path)
  if not route then return self:finish(answers.empty(404)) end
  request.rest = rest
  local fn = route[request.method]
  local allow = "OPTIONS," .. table.concat(route.allow, ",")
  if request.method == "OPTIONS" then return self:finish { status = 200, text = "", headers = { allow = allow } } end
  if not fn then
    local refusal = answers.text(405, ("method %s not allowed"):format(request.method))
    refusal.headers = { allow = allow }
    return self:finish(refusal)
  end
  local wrong = prepare(request)
  if wrong then return self:finish(answers.bad(wrong)) end
  if route.bounded and #request.body > LARGEST then
    return self:finish(answers.text(413, ("Request body(%d bytes) too large, max size: %d bytes. See %s."):format(
      #request.body, LARGEST, "https://www.consul.io/docs/agent/options.html#kv_max_value_size")))
  end
  request.cache = request.method == "GET" and request.query:has "cached" and routes.cache(route, rest) or nil
  if request.cache and request.dc then return self:cached(route, fn) end
  self:ask(route, fn)
end

---A request has arrived.
---@param asked { method: string, path: string, body: string?, token: string? }
---@param done fun(answer: { status: integer, headers: table, body: string }|{ error: string })
---@return luapilot.sim.consul.Exchange
function Server:accept(asked, done)
  local exchange = setmetatable({ server = self, done = done, timers = {} }, Exchange)
  if self.state == "down" then
    exchange.over = true
    done { error = "ECONNREFUSED" }
    return exchange
  end
  self.open[#self.open + 1] = exchange
  if self.state == "gone" then return exchange end
  local parsed = query.parse(asked.path)
  exchange.request = {
    method = asked.method, query = parsed, rest = "", body = asked.body or "", token = asked.token,
    agent = self.agent, cluster = self.cluster, tells = self.tells,
    dc = parsed:get "dc" == "" and self.agent.dc or self.cluster:find(parsed:get "dc"),
  }
  local function begin()
    if exchange.over and asked.method == "GET" then return end -- a write counts, whoever waits for its answer
    if self.failing then return exchange:finish(answers.text(self.failing, "simulated failure")) end
    if is_revoked(exchange.request) then return exchange:finish(unknown_token()) end
    exchange:route()
  end
  if self.state == "hangs" then table.insert(self.parked, begin) else begin() end
  return exchange
end

-- --- troubles ----------------------------------------------------------------------------------

local function each_open(self, fn)
  local list = {}
  for i, one in ipairs(self.open) do list[i] = one end
  for _, one in ipairs(list) do fn(one) end
end

---Nobody listens any more; those that wait are cut.
function Server:down()
  self.state, self.parked, self.connection = "down", {}, self.connection + 1
  self.cache:clear()
  each_open(self, function(one) one:cut "ECONNRESET" end)
end

---It ends in order, as after /v1/agent/leave.
function Server:drain()
  self.agent.dc.store:after(DRAIN, function()
    if not self.agent.running then self:down() end
  end)
end

---Connections are taken, and nothing more happens.
function Server:hang() self.state = "hangs" end

---Its host is gone, and nobody tells those that wait for it: they are not answered, not even when there is another one.
function Server:vanish()
  self.state, self.parked, self.connection = "gone", {}, self.connection + 1
  each_open(self, function(one) one:close() end)
end

---It goes on where it was.
function Server:up()
  local parked = self.parked
  self.state, self.parked, self.delay, self.failing = "up", {}, 0, nil
  for _, fn in ipairs(parked) do fn() end
end

---Calls that wait for servers out of reach break: all, or those that ask a datacentre.
---@param dc luapilot.sim.consul.Datacenter?
function Server:lose_servers(dc)
  each_open(self, function(one)
    if one.calling and (not dc or one.request.dc == dc) then one:finish(answers.failed "rpc error making call: EOF") end
  end)
  self.cache:lose(dc, answers.failed "rpc error making call: EOF")
end

return server
