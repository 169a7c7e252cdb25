-- desired: what a job is doing → what is wanted of its services (service/reconciler.lua), told to whoever keeps them.
--
-- It owns the records, one for each service of a job, the tags that were set and the maintenance. It is loaded with the
-- first service: service/advertiser.lua lends these methods to what all jobs tell of themselves.

local copy = require "luapilot.base.copy"
local lazy = require "luapilot.base.lazy"
local schema = require "luapilot.schema.schema"
local reconciler = require "luapilot.service.reconciler"
local utf8 = require "luapilot.base.utf8"

local address = lazy.require "luapilot.base.address"
local health = lazy.require "luapilot.job.health"

-- What is known of Consul's entry, of which a new core hears.
local KNOWN = { "have", "stray", "maintained", "told", "truce", "vanishes", "contest" }
local ADDRESS_RETRY = 2 -- seconds: an interface may come up after the pilot

---@class luapilot.Advertiser
---@field reason string?    all jobs are in maintenance
---@field former table<string, table>   records of a former core that nobody has taken over yet, by id
local methods = {}

local desired = { methods = methods }

-- --- the records -----------------------------------------------------------------------------

-- Made when they are needed: the hostname is the port's.
local function records_of(self, runner)
  if runner.services then return runner.services end
  local list, hostname = {}, utf8.repaired(self.app.port.hostname())
  local ttl = reconciler.ttl(runner.spec.health)
  for i, spec in ipairs(runner.spec.service) do
    local name, id = reconciler.names(runner.spec.name, spec, hostname)
    local former = self.former[id]
    self.former[id] = nil
    local record = { id = id, of = ("job %q.%s"):format(runner.spec.name, spec.path), ttl = ttl, want = nil }
    for _, field in ipairs(KNOWN) do record[field] = former and former[field] end
    list[i] = { spec = spec, name = name, tags = former and former.tags, run = former and former.run, record = record }
  end
  runner.services = list
  return list
end

-- --- addresses -------------------------------------------------------------------------------

local function again_later(self, runner)
  if runner.address_timer then return end
  runner.address_timer = self.app.loop:after(ADDRESS_RETRY, function()
    runner.address_timer = nil
    self:refresh(runner)
  end)
end

-- Looked up when it registers, and kept until it is taken back.
local function address_of(self, runner, one)
  if one.address then return one.address end
  local all, found, message
  all, message = self.app.port.addresses()
  if all then found, message = address.find(all, one.spec.interfaces) end
  if found then
    one.address, one.lacks = found, nil
    return found
  end
  if one.lacks ~= message then
    local text = "%s: not registered: %s; tried again every %ds"
    runner:log("error", text:format(one.spec.path, message, ADDRESS_RETRY), nil, "not_registered", { reason = message })
  end
  one.lacks = message
  again_later(self, runner)
end

---The addresses of a job's services, for the environment of its process: the first that there is.
---@param runner luapilot.Runner
---@return string?
---@return string? message
---@return string? code     they cannot be asked for
function methods:address(runner)
  local spec = runner.spec.service and runner.spec.service[1]
  if not spec then return nil end
  local all, message, code = self.app.port.addresses()
  if not all then return nil, message, code end
  return (address.find(all, spec.interfaces))
end

-- --- what is wanted --------------------------------------------------------------------------

local function view_of(runner, one)
  local memory = runner.memory
  local probes = runner.prober and runner.prober.memory
  return {
    state = memory.state, health = memory.health, checked = #runner.spec.health > 0,
    checks = probes and probes.checks or {}, warns = probes ~= nil and health.warns(probes), exit = memory.exit,
    leaving = runner.leaving == true, registered = one.record.want ~= nil or one.record.have ~= nil,
    again = one.run ~= nil and one.run ~= memory.runs,
  }
end

local function wanted(self, runner, one)
  local status, output = reconciler.status(view_of(runner, one), one.spec)
  local at = status and address_of(self, runner, one)
  if not at then
    one.address, one.run = nil, nil
    return nil
  end
  one.run = one.run or runner.memory.runs
  local registration = one.record.want and one.record.want.registration
  if not registration or registration.Address ~= at or registration.Tags ~= (one.tags or one.spec.tags) then
    registration = reconciler.registration(one.spec, {
      id = one.record.id, name = one.name, address = at, ttl = one.record.ttl, tags = one.tags,
    })
  end
  return {
    registration = registration, status = status, output = output or "",
    maintenance = self.reason or runner.maintenance,
  }
end

---What is wanted of the services of a job may be something else now.
---@param runner luapilot.Runner      it has services
function methods:update(runner)
  for _, one in ipairs(records_of(self, runner)) do
    local before = one.record.want
    local want = wanted(self, runner, one)
    if not copy.equal(before, want) then
      one.record.want = want
      self:backend():wanted(one.record)
    end
  end
end

---Takes a job's services back. done(was) is called when they are gone, or when Consul has been asked in vain; `was`:
---was there something to take back?
---@param runner luapilot.Runner
---@param done fun(was: boolean)
function methods:leave(runner, done)
  local list, open, was = records_of(self, runner), 1, false
  local function one_less()
    open = open - 1
    if open == 0 then done(was) end
  end
  for _, one in ipairs(list) do was = was or self:backend():is_found(one.record) end
  runner.leaving = true
  self:refresh(runner)
  for _, one in ipairs(list) do
    open = open + 1
    self:backend():when_gone(one.record, one_less)
  end
  one_less()
end

-- --- what users ask for ----------------------------------------------------------------------

---The tags of a job's services, from now on.
---@param runner luapilot.Runner
---@param tags string[]
function methods:set_tags(runner, tags)
  for _, one in ipairs(records_of(self, runner)) do one.tags = tags end
  self:refresh(runner)
end

local function announce(self, name, reason, object)
  self.app:publish("pilot", { name = name, source = self.app.object, reason = reason, job = object })
end

---Maintenance of one job, or of all: Consul answers that they are critical, and says why; their checks pause.
---@param runner luapilot.Runner?     nil: all
---@param on boolean
---@param reason string
function methods:maintain(runner, on, reason)
  local owner, field = runner or self, runner and "maintenance" or "reason"
  local before = owner[field]
  owner[field] = on and reason or nil
  if before == owner[field] then return end
  for _, each in ipairs(runner and { runner } or self.app.order) do
    each:pause(self:is_maintained(each))
    self:refresh(each)
  end
  if (before ~= nil) ~= on then
    local event = on and "enter_maintenance" or "exit_maintenance"
    self.app:log("info", "maintenance " .. (on and "begins: " .. reason or "is over"), nil, event,
      runner and runner.spec.name, { reason = on and reason or before })
    announce(self, event, on and reason or before, runner and runner.object)
  end
end

-- --- the handoff -----------------------------------------------------------------------------

---@return table    plain data
function methods:snapshot()
  local data = { reason = self.reason, records = {}, maintenance = {} }
  for _, runner in ipairs(self.app.order) do
    data.maintenance[runner.spec.name] = runner.maintenance
    for _, one in ipairs(runner.services or {}) do
      local known = { tags = one.tags, ttl = one.record.ttl, run = one.run }
      for _, field in ipairs(KNOWN) do known[field] = copy.deep(one.record[field]) end
      data.records[one.record.id] = known
    end
  end
  return data
end

---Before the jobs of the former core are taken over.
---@param data table?
function methods:restore(data)
  if not data then return end
  self.former, self.reason = copy.deep(data.records), data.reason
  for name, reason in pairs(data.maintenance) do
    local runner = self.app.jobs[name]
    if runner then runner.maintenance = reason end
  end
end

---After that: jobs register as they are now; what nobody wants any more is taken back.
function methods:restored()
  for _, runner in ipairs(self.app.order) do
    runner:pause(self:is_maintained(runner))
    self:refresh(runner)
    for _, one in ipairs(runner.services or {}) do -- refresh tells what has changed, and this may not have
      local may_be_held = one.record.have ~= nil or one.record.stray == true
      if not one.record.want and may_be_held then self:backend():wanted(one.record) end
    end
  end
  for _, id in ipairs(schema.keys(self.former)) do
    local former = self.former[id]
    local record = { id = id, ttl = former.ttl }
    for _, field in ipairs(KNOWN) do record[field] = former[field] end
    record.stray = true
    self:backend():wanted(record)
  end
  self.former = {}
end

return desired
