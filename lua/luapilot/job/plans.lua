-- plans: what a job that is started again and again is started with, checked once (port.plan).
--
-- Two starts of a job differ in what is asked for anew at each: its variables (job/environment.lua), and whether
-- somebody hears its output. While these are the same, so is the plan. It owns the plans, and holds on to none of
-- them: they go when Lua collects, so that a job that just runs has none. Loaded when the first job is started again.

local copy = require "luapilot.base.copy"

local plans = {}

local kept = setmetatable({}, { __mode = "kv" }) -- by runner

---The plan of the last start, if this one would have the same options.
---@param runner luapilot.Runner
---@param added table<string, string>   its variables: env_added of port.spawn
---@param capture true?
---@return luapilot.Plan?
function plans.find(runner, added, capture)
  local last = kept[runner]
  if last and last.capture == capture and copy.equal(last.added, added) then return last.plan end
end

---@param runner luapilot.Runner
---@param options luapilot.SpawnOptions
---@return luapilot.Plan
function plans.make(runner, options)
  local plan = runner.app.loop.port.plan(options)
  kept[runner] = { plan = plan, added = options.env_added, capture = options.capture }
  return plan
end

return plans
