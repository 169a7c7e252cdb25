-- services: the side of jobs that others find: jobs tell it what they do, and it is kept in Consul (registrar.lua) or
-- in this pilot (catalogue.lua).
--
-- It owns where that is. What is wanted of a service is records.lua's, which is loaded with the first: most jobs have
-- none. It decides nothing about jobs, and never waits.

local lazy = require "luapilot.base.lazy"

local catalogue = lazy.require "luapilot.service.catalogue"

local services = {}

---@class luapilot.Services
---@field app luapilot.App
local Services = {}
Services.__index = Services

lazy.methods(Services, function() return lazy.load("luapilot.service.desired").methods end, {
  "update", "leave", "address", "set_tags", "maintain", "snapshot", "restore", "restored",
})

---@param app luapilot.App
---@param registrar luapilot.Registrar?   nil: there is no Consul
---@return luapilot.Services
function services.new(app, registrar)
  return setmetatable({ app = app, place = registrar, former = {} }, Services)
end

---Where services are registered: in Consul, or else in this pilot, where watches look, too.
---@return luapilot.Registrar|luapilot.Catalogue
function Services:backend()
  self.place = self.place or catalogue.new(self.app.port.hostname(), function(fn) self.app:command(fn) end)
  return self.place
end

---A job, or one of its checks, has another state: what is wanted of its services may be something else.
---@param runner luapilot.Runner
function Services:refresh(runner)
  if runner.spec.service then self:update(runner) end
end

---@param runner luapilot.Runner
---@return boolean
function Services:is_maintained(runner)
  return (self.reason or runner.maintenance) ~= nil
end

---Is something being taken back at this moment?
---@return boolean
function Services:is_leaving() return self.place ~= nil and self.place:is_leaving() end

return services
