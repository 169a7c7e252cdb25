-- advertiser: the side of jobs that others find: jobs tell it what they do, and it is kept in Consul
-- (service/registrar.lua) or in this pilot (service/catalogue.lua).
--
-- It owns where that is. What is wanted of a service is service/desired.lua's, which is loaded with the first: most
-- jobs have none. It decides nothing about jobs, and never waits.

local lazy = require "luapilot.base.lazy"

local catalogue = lazy.require "luapilot.service.catalogue"

local advertiser = {}

---@class luapilot.Advertiser
---@field app luapilot.App
local Advertiser = {}
Advertiser.__index = Advertiser

lazy.methods(Advertiser, function() return lazy.load("luapilot.service.desired").methods end, {
  "update", "leave", "address", "set_tags", "maintain", "snapshot", "restore", "restored",
})

---@param app luapilot.App
---@param registrar luapilot.Registrar?   nil: there is no Consul
---@return luapilot.Advertiser
function advertiser.new(app, registrar)
  return setmetatable({ app = app, place = registrar, former = {} }, Advertiser)
end

---Where services are registered: in Consul, or else in this pilot, where watches look, too.
---@return luapilot.Registrar|luapilot.Catalogue
function Advertiser:backend()
  self.place = self.place or catalogue.new(self.app.port.hostname(), function(fn) self.app:command(fn) end)
  return self.place
end

---A job, or one of its checks, has another state: what is wanted of its services may be something else.
---@param runner luapilot.Runner
function Advertiser:refresh(runner)
  if runner.spec.service then self:update(runner) end
end

---@param runner luapilot.Runner
---@return boolean
function Advertiser:is_maintained(runner)
  return (self.reason or runner.maintenance) ~= nil
end

---Is something being taken back at this moment?
---@return boolean
function Advertiser:is_leaving() return self.place ~= nil and self.place:is_leaving() end

return advertiser
