-- outage: is Consul there? One log line when it goes, one when it is back, however many ask it.
--
-- It owns who has failed and not succeeded since. It asks nothing itself. A refusal (a missing right, a name that
-- Consul does not know) is an answer, and no outage.

local duration = require "luapilot.duration"

local outage = {}

---@class luapilot.Outage
---@field since number?      when the first of those failed
---@field failing table<any, true>
local Outage = {}
Outage.__index = Outage

---@param app luapilot.App
---@return luapilot.Outage
function outage.new(app)
  return setmetatable({ app = app, failing = {}, listeners = {} }, Outage)
end

---Is this failure one of Consul as a whole?
---@param code string|integer|nil    of the port, or the status of an answer
---@param message string
---@return boolean
function outage.is_one(code, message)
  if type(code) ~= "number" then return true end
  return (code >= 500 or code == 429) and not message:find("Permission denied", 1, true)
end

---@param who any          who asked, the same for each try
---@param message string
function Outage:failed(who, message)
  self.failing[who] = true
  if self.since then return end
  self.since = self.app.port.now()
  self.app:log("warn", ("Consul is away: %s; jobs run on, what is known stays, and it is asked again"):format(message))
end

---@param who any
function Outage:works(who)
  if not self.failing[who] then return end
  self.failing[who] = nil
  for _, fn in ipairs(self.listeners) do fn(who) end
  if next(self.failing) or not self.since then return end
  local seconds = self.app.port.now() - self.since
  self.since = nil
  self.app:log("info", ("Consul is back after %s"):format(duration.format(math.ceil(seconds))))
end

---Nobody asks under this name any more.
---@param who any
function Outage:forget(who)
  self:works(who)
end

---Calls fn(who) when somebody succeeds again.
---@param fn fun(who: any)
function Outage:when_back(fn)
  self.listeners[#self.listeners + 1] = fn
end

return outage
