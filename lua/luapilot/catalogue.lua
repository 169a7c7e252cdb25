-- catalogue: the services of this pilot's own jobs, for a pilot without Consul: the same file runs on a laptop.
--
-- It stands in for the agent: jobs say what is wanted of it, watches look into it. It owns the entries and who looks.
-- It sends nothing, and nothing is ever late or lost in it.

local copy = require "luapilot.copy"
local lazy = require "luapilot.lazy"
local roll = require "luapilot.roll"

local watch = lazy.require "luapilot.watch"

local catalogue = {}

---@class luapilot.Catalogue
local Catalogue = {}
Catalogue.__index = Catalogue

---@param hostname string
---@return luapilot.Catalogue
function catalogue.new(hostname)
  return setmetatable({ hostname = hostname, entries = {}, lookers = {} }, Catalogue)
end

local function instance_of(self, want)
  local registration = want.registration
  return {
    id = registration.ID, address = registration.Address, port = registration.Port or 0,
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
  for _, entry in pairs(self.entries) do
    local instance = entry.instance
    if entry.name == spec.name and has_tags(instance, spec.tag)
      and (spec.status == "any" or instance.status == "passing") then
      list[#list + 1] = instance
    end
  end
  table.sort(list, watch.before)
  return list
end

local function tell(self, name)
  local lookers = self.lookers[name]
  if not lookers then return end
  lookers:walk(function(looker) looker.fn(self:look(looker.spec)) end)
end

---A service is to be so; nil: gone.
---@param record luapilot.ServiceRecord
function Catalogue:wanted(record)
  local former, want = self.entries[record.id], record.want
  local entry = want and { name = want.registration.Name, instance = instance_of(self, want) }
  if copy.equal(former, entry) then return end
  self.entries[record.id] = entry
  if former then tell(self, former.name) end
  if entry and (not former or former.name ~= entry.name) then tell(self, entry.name) end
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
  local lookers = self.lookers[spec.name] or roll.new()
  self.lookers[spec.name] = lookers
  return { name = spec.name, entry = lookers:add { spec = spec, fn = fn } }
end

---@param looker table
function Catalogue:forget(looker)
  self.lookers[looker.name]:remove(looker.entry)
end

return catalogue
