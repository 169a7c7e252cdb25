-- outage: is Consul there? One log line when it goes, one when it is back, however many ask it.
--
-- It owns who has failed and not succeeded since. It asks nothing itself. A refusal (a missing right, a name that
-- Consul does not know) is an answer, and no outage.

local duration = require "luapilot.base.duration"
local lazy = require "luapilot.base.lazy"

local hints = lazy.require "luapilot.net.hints"

local outage = {}

---@class luapilot.Outage
---@field since number?      when the first of those failed
---@field failing table<any, true>
---@field certificate boolean?   it has been told that Consul's is not good
local Outage = {}
Outage.__index = Outage

---@param app luapilot.App
---@return luapilot.Outage
function outage.new(app)
  return setmetatable({ app = app, failing = {}, listeners = {} }, Outage)
end

-- Consul answers 500 to nearly everything; these are about the question.
local REFUSALS = { "Permission denied", "No path to datacenter", "boolean expression",
  "too many concurrent connections" }

---Is this failure one of Consul as a whole?
---@param code string|integer|nil    of the port, or the status of an answer
---@param message string
---@return boolean
function outage.is_one(code, message)
  if type(code) ~= "number" then return code ~= "EMSGSIZE" and code ~= "EUSERS" end
  for _, text in ipairs(REFUSALS) do
    if message:find(text, 1, true) then return false end
  end
  return code >= 500 or code == 429
end

-- A certificate does not become a good one by itself, and who speaks no TLS will not learn it: it is told, also of an
-- agent that was not there before.
local function certificate(self, message, code)
  if code ~= "ECERT" and code ~= "ETLS" or self.certificate then return message end
  self.certificate = true
  local help = hints.of(message, code)
  return help and message .. "; " .. help or message, self.since ~= nil
end

-- Who did not answer; and of an agent that has no connection left, a pilot that has none yet learns no more.
local function explained(self, message, code)
  local consul = self.app.consul
  if code == "ETIMEDOUT" and consul then
    return ("%s (agent: %s)"):format(message, consul.options.socket or consul.options.url)
  end
  if code ~= "ECONNRESET" or not message:find("without an answer", 1, true) then return message end
  return message .. " (where it runs, its limits.http_max_conns_per_client may be used up)"
end

---@param who any          who asked, the same for each try
---@param message string
---@param code string|integer|nil
function Outage:failed(who, message, code)
  self.failing[who] = true
  local said, news = certificate(self, message, code)
  if self.since and not news then return end
  self.since = self.since or self.app.port.now()
  said = explained(self, said, code)
  self.app:log("warn", ("Consul is %s: %s; jobs run on, what is known stays, and it is asked again")
    :format(news and "still away" or "away", said), nil, "consul_away", nil, { reason = said })
end

local function over(self) self.since, self.certificate = nil, nil end

---@param who any
function Outage:works(who)
  if not self.failing[who] then return end
  self.failing[who] = nil
  for _, fn in ipairs(self.listeners) do fn(who) end
  if next(self.failing) or not self.since then return end
  local seconds = self.app.port.now() - self.since
  over(self)
  self.app:log("info", ("Consul is back after %s"):format(duration.format(math.ceil(seconds))), nil, "consul_back", nil,
    { seconds = math.ceil(seconds) })
end

---Nobody asks under this name any more. That says nothing about Consul.
---@param who any
function Outage:forget(who)
  self.failing[who] = nil
  if not next(self.failing) then over(self) end
end

---Calls fn(who) when somebody succeeds again.
---@param fn fun(who: any)
function Outage:when_back(fn)
  self.listeners[#self.listeners + 1] = fn
end

return outage
