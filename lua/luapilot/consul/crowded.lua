-- crowded: who has no connection to Consul, since the agent allows no more: told once, and once when all have theirs.
--
-- An agent bounds the connections of all programs at one address together. Whoever gets none asks again and again, and
-- they may be many: those that come together are one line, with some of their names; it is said again when they are
-- twice as many. It owns who that is, and asks nothing itself.

local duration = require "luapilot.base.duration"

local crowded = {}

local SETTLE = 1 -- seconds for those that come together
local NAMED = 3

local MESSAGE = "consul: %s: the agent closes new connections and keeps others open, or answers 429: its "
  .. "limits.http_max_conns_per_client is used up (200 by default, for all programs at this address). A watch needs "
  .. "one, services one: raise it in the agent's configuration, or watch less. What is known stays, and all are asked "
  .. "again"

---@class luapilot.Crowded
---@field app luapilot.App
---@field labels table<any, string>     of those that have none
---@field count integer
---@field told integer                  how many there were when that was told; 0: not yet
---@field since number?
local Crowded = {}
Crowded.__index = Crowded

---@param app luapilot.App
---@return luapilot.Crowded
function crowded.new(app) return setmetatable({ app = app, labels = {}, count = 0, told = 0 }, Crowded) end

local function names_of(self)
  local list = {}
  for _, label in pairs(self.labels) do list[#list + 1] = label end
  table.sort(list)
  local more = #list - NAMED
  if more <= 0 then return table.concat(list, ", ") end
  return ("%s and %d more"):format(table.concat(list, ", ", 1, NAMED), more)
end

local function tell(self)
  self.told = self.count
  local who = ("no connection for %d (%s)"):format(self.count, names_of(self))
  self.app:log("warn", MESSAGE:format(who), nil, "consul_crowded", nil, { reason = who })
end

---@param who any          the same for each refusal
---@param label string     'watch "db"'
function Crowded:failed(who, label)
  if self.labels[who] then return end
  self.labels[who], self.count = label, self.count + 1
  self.since = self.since or self.app.port.now()
  if self.timer or self.count < 2 * self.told then return end
  self.timer = self.app.loop:after(SETTLE, function()
    self.timer = nil
    tell(self)
  end)
end

-- Nobody is left: true, when there had been somebody.
local function empty(self, who)
  if not self.labels[who] then return false end
  self.labels[who], self.count = nil, self.count - 1
  if self.count > 0 then return false end
  if self.timer then self.app.loop:cancel(self.timer) end
  self.timer = nil
  return true
end

local function over(self) self.told, self.since = 0, nil end

---@param who any
function Crowded:works(who)
  if not empty(self, who) then return end
  if self.told > 0 then
    local seconds = math.ceil(self.app.port.now() - self.since)
    self.app:log("info", ("consul: all have their connection again after %s"):format(duration.format(seconds)), nil,
      "consul_uncrowded", nil, { seconds = seconds })
  end
  over(self)
end

---Nobody asks under this name any more.
---@param who any
function Crowded:forget(who)
  if empty(self, who) then over(self) end
end

return crowded
