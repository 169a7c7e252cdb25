-- audit: does the Consul agent still hold what it was told?
--
-- It is asked twice in the shortest TTL, for all services at once. What it has forgotten, or somebody has changed, is
-- told again. Where that happens again and again, mostly since another instance has the same id, service.lua says for
-- how long the entry is left alone; meanwhile it is looked at more closely, for the other one may leave it.
--
-- It owns when the agent was looked at, and which services were told something since. What to do about a difference is
-- decided in service.lua, and done by registrar.lua. It never keeps a pilot alive.

local copy = require "luapilot.copy"
local duration = require "luapilot.duration"
local json = require "luapilot.json"
local service = require "luapilot.service"

local audit = {}

local TIMEOUT = 5 -- seconds, to say what it holds
local LOOKS = 2   -- in the shortest TTL …
local CLOSELY = 4 -- … which is so long at most while another instance may leave it

---@class luapilot.Audit
---@field registrar luapilot.Registrar
---@field looks integer                     so many so far
---@field touched table<string, integer>    by id: after which look a service was told something
---@field looker integer?                   the timer of the next look
---@field due number?                       of that
local Audit = {}
Audit.__index = Audit

---@param registrar luapilot.Registrar
---@return luapilot.Audit
function audit.new(registrar) return setmetatable({ registrar = registrar, looks = 0, touched = {} }, Audit) end

---A table that the agent answers with; nil: it is none.
---@param response table
---@return table?
function audit.decoded(response)
  local fine, value = pcall(json.decode, response.body)
  return fine and type(value) == "table" and value or nil
end

---The agent was told something of a service: an answer to an earlier question may know it or not.
---@param record luapilot.ServiceRecord
function Audit:touch(record) self.touched[record.id] = self.looks end

---@param record luapilot.ServiceRecord
function Audit:forget(record) self.touched[record.id] = nil end

-- --- differences -----------------------------------------------------------------------------

local function is_settled(self, record, number)
  local want, have = record.want, record.have
  return want and have and not self.registrar.flights[record.id] and (self.touched[record.id] or 0) < number
    and copy.equal(want.registration, have.registration) -- else it may have heard of what is wanted now, or not
end

local function tell_contest(self, record, held, differs, seconds)
  local other = service.anothers(record, held)
  local what = other and ("another instance registers itself under this id, too: Consul's entry has %s; give each an "
    .. "id of its own, by service.id or by its hostname"):format(other)
    or ("Consul's entry %s again: somebody changes it each time"):format(differs)
  local message = ("%s; left alone for %s, then longer each time"):format(what, duration.words(seconds))
  self.registrar:log("warn", record, message, "service_contested", other or differs)
end

-- Once is an accident.
local function altered(self, record, held, differs)
  local port, round, seconds = self.registrar.app.port, nil, nil
  if held then round, seconds = service.contested(record, port.now(), port.random) end
  if seconds then
    if round == 2 then tell_contest(self, record, held, differs, seconds) end
    service.yield(record, held, port.now() + seconds)
    self:look_later()
  else
    self.registrar:log("warn", record, ("Consul's entry %s: registered again"):format(differs), "service_lost")
    record.truce = nil
    service.forget(record)
  end
  self.registrar:pump(record)
end

-- What is left alone for a while is only looked at for whether it is still there.
local function found(self, record, held, number)
  if record.truce then
    local is_gone = record.want and not held and not self.registrar.flights[record.id]
    return is_gone and altered(self, record, nil, "is gone")
  end
  local differs = is_settled(self, record, number) and service.difference(record.have.registration, held)
  if differs then altered(self, record, held, differs) end
end

local function compare(self, held, number)
  for _, record in ipairs(self.registrar:in_order()) do found(self, record, held[record.id], number) end
end

local function is_silent(record) return record.truce ~= nil and record.want ~= nil and not record.have end

-- Who can be found instead of an instance that is not well, or has died, is to be found.
local function compare_rivals(self, checks)
  for _, record in ipairs(self.registrar:in_order()) do
    local check = is_silent(record) and record.want.status ~= "critical" and checks["service:" .. record.id]
    if check and check.Status == "critical" and not self.registrar.flights[record.id] then
      self.registrar:log("warn", record, "Consul's entry is another instance's and critical: registered again",
        "service_lost")
      record.truce = nil
      self.registrar:pump(record)
    end
  end
end

-- Maintenance is a check of its own. One that somebody else has begun is left alone.
local function compare_checks(self, checks, number)
  compare_rivals(self, checks)
  for _, record in ipairs(self.registrar:in_order()) do
    local lost = is_settled(self, record, number) and record.have.maintenance
      and not checks["_service_maintenance:" .. record.id]
    if lost then
      self.registrar:log("warn", record, "Consul has forgotten its maintenance: told again", "service_lost")
      record.have.maintenance = nil
      self.registrar:pump(record)
    end
  end
end

-- --- looking at the agent --------------------------------------------------------------------

local function ask(self, what, fn)
  local number, of = self.looks, self.registrar
  of.app.consul:send({ path = { "agent", what }, timeout = TIMEOUT, browses = true }, function(response)
    if not response or of.stopped then return end -- renewals notice an outage
    local held = audit.decoded(response)
    if held then fn(self, held, number) end
  end)
end

local function look(self)
  self.looks = self.looks + 1
  local matters = false
  for _, record in pairs(self.registrar.records) do
    matters = matters or record.have ~= nil and record.have.maintenance ~= nil or is_silent(record)
  end
  ask(self, "services", compare)
  if matters then ask(self, "checks", compare_checks) end
end

local function pause_between_looks(self)
  local least
  for _, record in pairs(self.registrar.records) do
    local ttl = record.truce and math.min(record.ttl, CLOSELY) or record.ttl
    if record.want then least = math.min(least or ttl, ttl) end
  end
  return least and least / LOOKS
end

---After `seconds`, unless that will be sooner; without, when it is time again.
---@param seconds number?
function Audit:look_later(seconds)
  local of = self.registrar
  seconds = seconds or pause_between_looks(self)
  if not seconds or of.stopped then return end
  local due = of.app.port.now() + seconds
  if self.looker and self.due <= due then return end
  self:stop()
  self.due = due
  self.looker = of.app.loop:after(seconds, function()
    self.looker = nil
    if not of.paused and pause_between_looks(self) then look(self) end
    self:look_later()
  end)
end

---A service has just been registered: the next look is half of its TTL away at most.
---@param record luapilot.ServiceRecord
function Audit:look_soon(record) self:look_later(record.ttl / LOOKS) end

---Looks no more, until it is told to.
function Audit:stop()
  if self.looker then self.registrar.app.loop:cancel(self.looker) end
  self.looker = nil
end

return audit
