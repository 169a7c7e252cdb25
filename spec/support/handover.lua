-- handover: a new core takes over the processes of a box from the one that it has, as after a reload. What the old one
-- knows goes by way of JSON.
--
--   handover.run(box)               the pilot.lua is loaded again, as the box has it now
--   handover.run(box, between)      between() is called when the old core has let go, before the box has the new one
--
-- Nothing happens when the old core cannot hand over at this moment. Returns whether it could.

local app = require "luapilot.pilot.app"
local cjson = require "cjson"
local contain = require "luapilot.sim.contain"
local sandbox = require "luapilot.sim.sandbox"

local handover = {}

---@param box luapilot.sim.Box
---@param between fun()?
---@return boolean
function handover.run(box, between)
  local old = box.app
  local data = old:snapshot()
  if not data then return false end
  data = cjson.decode(cjson.encode(data))
  local new = app.new {
    port = box.interface, calendar = sandbox.calendar, libraries = sandbox.libraries(box.port), state = data.state,
  }
  new.observe, box.raised = old.observe, {}
  old:let_go()
  if between then between() end
  box.app = new
  contain.call(new.loop.meter, function()
    assert(new:load(box.path))
    new:restore(data)
  end)
  box.world:rest()
  return true
end

return handover
