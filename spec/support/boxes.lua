-- Boxes for specs of the core: a pilot.lua given as text, and a look at the errors of all of them afterwards.
--
--   local boxes = require "support.boxes"
--   after_each(boxes.check)
--   local box = boxes.load [[ pilot.job "app" { exec = "app" } ]]
--
-- The first line of the text is line 1 of pilot.lua, and `pilot` is there already.

local assert = require "luassert"
local sim = require "luapilot.sim"

local boxes = {}

local open = {}

---@param source string
---@param options table?
---@param world luapilot.sim.World?
---@return luapilot.sim.Box
function boxes.load(source, options, world)
  local mine = {}
  for name, value in pairs(options or {}) do mine[name] = value end
  mine.source = 'local pilot = require "luapilot"; ' .. source
  local box = world and world:load("pilot.lua", mine) or sim.load("pilot.lua", mine)
  open[#open + 1] = box
  return box
end

---Another than the spec's after_each looks at its errors.
---@param box luapilot.sim.Box
function boxes.forget(box)
  for i = #open, 1, -1 do
    if open[i] == box then table.remove(open, i) end
  end
end

---Loads and starts.
---@param source string
---@param programs table<string, any>?     prefix → behaviour
---@param options table?
---@return luapilot.sim.Box
function boxes.run(source, programs, options)
  local box = boxes.load(source, options)
  for prefix, behaviour in pairs(programs or {}) do box:program(prefix, behaviour) end
  return box:start()
end

---The mistakes of a text.
---@param source string
---@param options table?
---@return string
function boxes.mistakes(source, options)
  local ok, message = pcall(boxes.load, source, options)
  assert.is_false(ok)
  return message
end

---No box may have an error that its spec has not taken.
function boxes.check()
  local mine = open
  open = {}
  for _, box in ipairs(mine) do
    local errors = box:errors()
    if errors[1] then
      errors[#errors + 1] = box:history()
      assert.same({}, errors)
    end
  end
end

---Names of a job's (or the pilot's) events so far: "exit_failed healthy".
---@param box luapilot.sim.Box
---@param source string
---@return string
function boxes.events(box, source)
  local names = {}
  for _, event in ipairs(box:events()) do
    if event.source == source then names[#names + 1] = event.name end
  end
  return table.concat(names, " ")
end

---When a job's events of a name happened, in seconds since the start.
---@param box luapilot.sim.Box
---@param source string
---@param name string
---@return number[]
function boxes.times(box, source, name)
  local times = {}
  for _, event in ipairs(box:events()) do
    if event.source == source and event.name == name then times[#times + 1] = event.at end
  end
  return times
end

---Messages of the log that contain a text.
---@param box luapilot.sim.Box
---@param text string
---@return integer
function boxes.logged(box, text)
  local count = 0
  for _, entry in ipairs(box:log()) do
    if entry.message:find(text, 1, true) then count = count + 1 end
  end
  return count
end

return boxes
