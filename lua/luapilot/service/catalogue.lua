-- catalogue: the services of this pilot's own jobs, for a pilot without Consul: the same file runs on a laptop.
--
-- It stands in for the agent: jobs say what is wanted of it, watches look into it. It owns the entries and who looks.
-- What changes in one go is told once, in the same turn or when somebody looks: a thousand instances that come up
-- together are one change.
-- It sends nothing, and nothing is ever lost in it.

local address = require "luapilot.base.address"
local copy = require "luapilot.base.copy"
local lazy = require "luapilot.base.lazy"
local waitlist = require "luapilot.base.waitlist"

local watch = lazy.require "luapilot.service.watch"

local catalogue = {}

---@class luapilot.Catalogue
local Catalogue = {}
Catalogue.__index = Catalogue

---@param hostname string
---@param later fun(fn: fun())     does fn() in this turn, after what is being done now
---@return luapilot.Catalogue
function catalogue.new(hostname, later)
  return setmetatable({
    hostname = hostname, later = later, entries = {}, instances = {}, lookers = {}, changed = {},
  }, Catalogue)
end

local function instance_of(self, want)
  local registration = want.registration
  return {
    id = registration.ID, address = registration.Address, port = registration.Port or 0,
    authority = address.authority(registration.Address, registration.Port),
    tags = copy.deep(registration.Tags), meta = copy.deep(registration.Meta), node = self.hostname,
    status = want.maintenance and "critical" or want.status,
    weights = { passing = registration.Weights.Passing, warning = registration.Weights.Warning },
  }
end

local function has_tags(instance, tags)
  local has = {}
  for _, tag in ipairs(instance.tags) do has[tag] = true end
  for _, tag in ipairs(tags or {}) do
    if not has[tag] then return false end
  end
  return true
end

---What is there of a service now.
---@param spec luapilot.WatchSpec
---@return luapilot.Instance[]
function Catalogue:look(spec)
  local list = {}
  for _, instance in pairs(self.instances[spec.name] or {}) do
    if has_tags(instance, spec.tag) and (spec.status == "any" or instance.status == "passing") then
      list[#list + 1] = instance
    end
  end
  table.sort(list, watch.before)
  return list
end

---Tells those who look what has changed of a service, now.
---@param name string
function Catalogue:tell(name)
  if not self.changed[name] then return end
  self.changed[name] = nil
  self.lookers[name]:walk(function(looker) looker.fn(self:look(looker.spec)) end)
end

-- An instance of a service is to be so; nil: gone.
local function put(self, name, id, instance)
  local instances = self.instances[name] or {}
  instances[id] = instance
  self.instances[name] = next(instances) and instances or nil
  if not self.lookers[name] or self.changed[name] then return end
  self.changed[name] = true
  self.later(function() self:tell(name) end)
end

---A service is to be so; nil: gone.
---@param record luapilot.ServiceRecord
function Catalogue:wanted(record)
  local former, want = self.entries[record.id], record.want
  local entry = want and { name = want.registration.Name, instance = instance_of(self, want) }
  if copy.equal(former, entry) then return end
  self.entries[record.id] = entry
  if former and not (entry and entry.name == former.name) then put(self, former.name, record.id, nil) end
  if entry then put(self, entry.name, record.id, entry.instance) end
end

---Can others find it?
---@param record luapilot.ServiceRecord
---@return boolean
function Catalogue:is_found(record) return record.want ~= nil end

---It is gone at once.
---@param done fun()
function Catalogue:when_gone(_, done) done() end

---Nothing is ever under way.
---@return boolean
function Catalogue:is_leaving() return false end

---Calls fn(instances) at each change, until forget() with what this returns.
---@param spec luapilot.WatchSpec
---@param fn fun(instances: luapilot.Instance[])
---@return table looker
function Catalogue:watch(spec, fn)
  local lookers = self.lookers[spec.name] or waitlist.new()
  self.lookers[spec.name] = lookers
  return { name = spec.name, entry = lookers:add { spec = spec, fn = fn } }
end

---@param looker table
function Catalogue:forget(looker)
  self.lookers[looker.name]:remove(looker.entry)
end

return catalogue
