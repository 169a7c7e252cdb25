-- watch: the port's call `watch`: a question asked again and again, by the rules that src/consul/watch.h tells.
--
-- It tells what is new: the first content, each that differs from the one before, the first after an error, and each
-- error once. It owns what it knows of the last answer, and the next question.

local check = require "luapilot.sim.check"
local client = require "luapilot.sim.consul.client"

local watch = {}

local BURST, TOKEN = 2, 1               -- one token comes each second
local LEAST_COST, BYTE_COST = TOKEN / 10, TOKEN / 1e6 -- of an answer with news
local FIRST_PAUSE, LONGEST_PAUSE = 1, 10 -- seconds after an error
local AT_ONCE, SLACK = 30, 5
local WAIT, MOST = 60, 600
local BODY = 64 * 1024 * 1024
local EXCERPT = 16384

local check_watch = check.fields {
  path = client.check_path, token = client.check_token, wait = check.number(0.001, MOST),
  max_body = check.number(0, 1e15), cached = check.boolean,
}

---@class luapilot.sim.consul.Watch
---@field client luapilot.sim.consul.Client
---@field id integer
---@field index string        for the next question, digits; "0": without
---@field renewed boolean?     the index is, or will be, of a question that a broken connection made necessary
local Watch = {}
Watch.__index = Watch

local function now(self) return self.client.port.clock:now() end

-- --- indexes: 64 bits, in digits -----------------------------------------------------------------

local function index_of(text)
  local digits = (text or ""):match "^%d+"
  return digits and digits:gsub("^0+(%d)", "%1") or "0"
end

local function below(a, b)
  if #a ~= #b then return #a < #b end
  return a < b
end

-- --- asking ------------------------------------------------------------------------------------

-- After an error not the agent's cache: that one would go on as if nothing was wrong.
local function question(self)
  local mark, cached = self.path:find("?", 1, true) and "&" or "?", self.cached and not self.failing
  if self.index == "0" then return self.path .. (cached and mark .. "cached" or "") end
  local text = ("%s%sindex=%s&wait=%.0fms"):format(self.path, mark, self.index, self.wait * 1000)
  return cached and text .. "&cached" or text
end

---@param doing "asks"|"waits"|"rests"|nil
function Watch:does(doing)
  self.client:count(self.doing, -1)
  self.client:count(doing, 1)
  self.doing = doing
end

-- An index is asked with on a connection that was open since it was got.
function Watch:ask()
  local blocks = self.index ~= "0"
  if blocks and not self.renewed and self.connection ~= self.client.server.connection then return self:renew() end
  if blocks then self.renewed = false end
  local apart = self.doing ~= "rests" and not self.client:may_share()
  self.asked = now(self)
  self:does(blocks and "waits" or "asks")
  self.asking = self.client:ask({
    apart = apart,
    method = "GET", path = question(self), token = self.token, max_body = self.max_body,
    timeout = blocks and self.wait * 17 / 16 + SLACK or AT_ONCE,
  }, function(answer)
    self.asking = nil
    self:does(nil)
    self:answered(answer)
  end)
end

function Watch:give_up()
  if not self.asking then return end
  self.asking:cancel()
  self.asking = nil
  self:does(nil)
end

-- The next question, in its time.
function Watch:go_on()
  if self.over then return end
  local port = self.client.port
  if self.timer then port.clock:cancel(self.timer) end
  if self.next <= now(self) then return self:ask() end
  self.timer = port.clock:after(self.next - now(self), port.timers, function()
    self.timer = nil
    self:ask()
  end)
end

-- The bucket is kept as the moment when it is full again. Returns when the next question may go, in a second at the
-- latest: what `unchanged` takes after that was asked delays those that follow.
local function take(self, cost)
  local at = now(self)
  self.full = math.max(self.full, at) + cost
  return math.min(at + TOKEN, math.max(at, self.full - BURST * TOKEN))
end

local function cost_of(news, size)
  return news and math.min(TOKEN, math.max(LEAST_COST, size * BYTE_COST)) or TOKEN
end

-- --- telling -----------------------------------------------------------------------------------

function Watch:tell(event)
  event.type, event.id = "watch", self.id
  self.told = true
  self.client.port:push(self, event, function()
    self.told = false
    self:go_on()
  end)
end

local CODES = { [401] = "EACCES", [403] = "EACCES", [404] = "ENOENT", [429] = "EAGAIN" }

-- An error costs a token, too: no endpoint is asked more often for errors between its answers.
local function set_pause(self)
  self.next = math.max(take(self, TOKEN), now(self) + self.pause / 2 * (1 + self.client.port.latencies:next()))
  self.pause = math.min(self.pause * 2, LONGEST_PAUSE)
end

function Watch:failed(status, code, why)
  local known = self.failing and self.failing.status == status and self.failing.code == code
  self.failing = { status = status, code = code }
  self.index, self.renewed = "0", false
  set_pause(self)
  if known then return self:go_on() end
  self:tell { status = status, code = code, error = why }
end

-- The index that was asked with, before its time: so Consul lets go of questions when a snapshot is restored.
local function is_let_go(self, index)
  return index == self.index and now(self) - self.asked < self.wait
end

function Watch:took(answer, index)
  local content = answer.status .. " " .. answer.body
  local new = self.failing ~= nil or content ~= self.content
  if index == "0" then index = "1" end
  self.index = (below(index, self.index) or is_let_go(self, index)) and "0" or index
  self.cost = self.renewed and TOKEN or cost_of(new, #answer.body) -- that one was taken before
  self.next = self.renewed and now(self) or take(self, self.cost)
  self.connection = self.client.server.connection
  self.pause, self.failing, self.content = FIRST_PAUSE, nil, content
  if not new then return self:go_on() end
  self:tell { status = answer.status, index = index, body = answer.body }
end

-- The agent may have come back without its state, and would hold back a question with an index that it has not reached:
-- one without goes first. The two together cost one token.
function Watch:renew()
  self.index, self.renewed, self.next = "0", true, take(self, TOKEN)
  self:go_on()
end

local function read(self, answer)
  if answer.error then return self:failed(nil, answer.code, answer.error) end
  local index = index_of(answer.headers["x-consul-index"])
  local is_content = answer.status == 200 or answer.status == 404 and index ~= "0"
  if is_content and answer.headers["x-consul-results-filtered-by-acls"] == "true" then
    return self:failed(answer.status, "EACCES",
      "the answer lacks what the token may not read (X-Consul-Results-Filtered-By-ACLs)")
  end
  if is_content then return self:took(answer, index) end
  local said = answer.body:sub(1, EXCERPT):match "^(.-)%s*$"
  self:failed(answer.status, CODES[answer.status] or "EIO",
    ("the agent answered %d%s"):format(answer.status, said ~= "" and ": " .. said or ""))
end

function Watch:answered(answer)
  if self.client:is_crowded(answer) then
    self.client:admit()
    return self:failed(nil, answer.code, answer.error)
  end
  if self.index == "0" and self.client:doubts(answer) then
    set_pause(self)
    return self:go_on()
  end
  if not answer.error and not self.client:leave() then self:does "rests" end
  if answer.code == "ECONNRESET" and self.index ~= "0" then return self:renew() end
  local asked = self.asked
  read(self, answer)
  self.client:hears(answer, asked)
end

---Another agent, or another token: what it says may differ from the first byte on.
function Watch:agent_changed()
  self:give_up()
  self.index, self.renewed, self.pause, self.next = "0", false, FIRST_PAUSE, now(self)
  self.failing = self.failing and {} -- what this one refuses is news
  if not self.told then self:go_on() end
end

-- Is it to be asked soon, since another one was answered? Not who was refused: he was heard.
local function waits_in_vain(self, lost)
  if self.asking then return self.asked < lost end
  return self.failing ~= nil and self.failing.status == nil
end

---It answers again. What was asked before `lost` may never be answered.
---@param lost number
function Watch:agent_back(lost)
  if not waits_in_vain(self, lost) then return end
  self:give_up()
  self.pause, self.index, self.renewed, self.next = FIRST_PAUSE, "0", true, take(self, TOKEN)
  if not self.told then self:go_on() end
end

-- --- life --------------------------------------------------------------------------------------

watch.calls = {}

function watch.calls.watch(port, options)
  check_watch("watch", options)
  if options.path == nil then error("watch: path: expected a string, got nil", 0) end
  local self = port.consul
  if not self.options then return client.unnamed() end
  local one = setmetatable({
    kind = "watch", client = self, path = options.path, token = options.token, wait = options.wait or WAIT,
    cached = options.cached, max_body = options.max_body or BODY, index = "0", full = 0, cost = TOKEN,
    pause = FIRST_PAUSE,
  }, Watch)
  one.id = port:handle(one)
  self:hold(one)
  one:ask()
  return one.id
end

function watch.calls.unchanged(port, id)
  check.any_number("unchanged: id", id)
  local one = port.handles[id]
  if not one or one.kind ~= "watch" and one.kind ~= "consul" then return port.stale("unchanged: id", id) end
  if one.kind ~= "watch" then return nil, "unchanged: it is no watch: invalid argument", "EINVAL" end
  take(one, TOKEN - one.cost)
  one.cost = TOKEN
  return true
end

---Ends a watch in silence.
---@param one luapilot.sim.consul.Watch
function watch.cancel(one)
  one.over = true
  if one.doing == "rests" then one.client:bequeath() end
  one:give_up()
  one:does(nil)
  if one.timer then one.client.port.clock:cancel(one.timer) end
  one.client:release(one)
end

return watch
