-- handoff: what one core gives to the next when a file is loaded anew, as plain data: jobs with the ids of their
-- processes, what their triggers have heard, pilot.state. Queued events, settling ones and tasks are dropped.
--
-- It owns nothing. The old core goes on until the new one has taken over, and never runs again after let_go().

local schema = require "luapilot.schema.schema"

local handoff = {}

local DEEPEST = 200 -- tables inside of each other
local ONLY = ": only plain data survives a reload"

local function place(key) return ("[%s]"):format(type(key) == "string" and ("%q"):format(key) or tostring(key)) end

-- A copy of what is plain data; else nil, the place below this value, and what is wrong there. A table that stands in
-- several places is copied once, and stands in as many: `copies` has those that are done, `above` those under way.
local function plain(value, copies, above, depth)
  local kind = type(value)
  if kind == "string" or kind == "number" or kind == "boolean" then return value end
  if kind ~= "table" then return nil, "", ("is a %s"):format(kind) .. ONLY end
  if copies[value] then return copies[value] end
  if above[value] then return nil, "", "contains itself" .. ONLY end
  if depth > DEEPEST then return nil, "", ("is nested more than %d deep%s that is flatter"):format(DEEPEST, ONLY) end
  above[value] = true
  local copy = {}
  for key, field in pairs(value) do
    local where, wrong
    copy[key], where, wrong = plain(field, copies, above, depth + 1)
    if wrong then return nil, place(key) .. where, wrong end
  end
  above[value], copies[value] = nil, copy
  return copy
end

---To be taken between two turns.
---@param app luapilot.App
---@return table? data       plain
---@return string? message   it cannot be handed over
function handoff.snapshot(app)
  if app.phase ~= "running" then return nil, "the pilot is not running" end
  local state, where, wrong = plain(app.state, {}, {}, 1)
  if not state then return nil, ("pilot.state%s %s"):format(where, wrong) end
  local jobs = {}
  for name, runner in pairs(app.jobs) do jobs[name] = runner:snapshot() end
  local watches = {}
  for label, core in pairs(app.watches) do watches[label] = core:snapshot() end
  return { jobs = jobs, state = state, services = app.advertiser:snapshot(), watches = watches }
end

---@class luapilot.LeftOver
---@field name string
---@field process integer?
---@field pid integer?
---@field stop_signal string
---@field stop_timeout number

-- The jobs of the former core that this one does not have, in order.
local function left_over(app, data)
  local left = {}
  for name, former in pairs(data.jobs) do
    if not app.jobs[name] then
      left[#left + 1] = {
        name = name, process = former.process, pid = former.memory.pid,
        stop_signal = former.stop_signal, stop_timeout = former.stop_timeout,
      }
    end
  end
  table.sort(left, function(a, b) return a.name < b.name end)
  return left
end

-- Jobs that are in both files get their memories and processes back. What their triggers go on with.
local function adopt(app, data)
  local starters = {}
  app.advertiser:restore(data.services)
  for _, label in ipairs(schema.keys(data.watches or {})) do
    if app.watches[label] then app.watches[label]:restore(data.watches[label]) end
  end
  for _, runner in ipairs(app.order) do
    local former = data.jobs[runner.spec.name]
    starters[runner] = former and runner:restore(former) or nil
    app.quiescence:moved(runner, "waiting", runner.memory.state)
  end
  app.advertiser:restored()
  return starters
end

---See App:restore: everything begins, as App:start does it, but where the former core stopped.
---@param app luapilot.App      open
---@param data table
---@return luapilot.LeftOver[] left
function handoff.restore(app, data)
  app.restored = true
  local starters = adopt(app, data)
  for _, fn in ipairs(app.starts) do fn() end
  for _, runner in ipairs(app.order) do runner.starter:arm(starters[runner]) end
  app.loop:rest()
  return left_over(app, data)
end

---Ends what did not go over (timers, checks, programs of tasks), and the former core with it.
---@param app luapilot.App
function handoff.let_go(app)
  for _, runner in ipairs(app.order) do
    if runner.process then app.loop:unroute(runner.process) end
    if runner.routed then app.loop:unroute(runner.routed) end
  end
  local ids = {}
  for id in pairs(app.loop.routes) do ids[#ids + 1] = id end
  table.sort(ids)
  for _, id in ipairs(ids) do app.loop:cancel(id) end
  app.trials:let_go()
  if app.registrar then app.registrar:stop() end
  app.loop:stop()
  app.phase, app.ended = "ended", true
end

return handoff
