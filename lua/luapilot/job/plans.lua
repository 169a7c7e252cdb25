-- plans: what a job that is started again and again is started with, checked once (port.plan).
--
-- Two starts of a job differ in what is asked for anew at each: its variables (job/environment.lua), and whether
-- somebody hears its output. While these are the same, so is the plan. It remembers plans and owns none: each goes when
-- Lua collects, so that a job that just runs has none. Loaded when the first job is started again.

local copy = require "luapilot.base.copy"

local plans = {}

local kept = setmetatable({}, { __mode = "kv" }) -- by runner

---What a job is started with once more: the plan of its last start, or a new one.
---@param runner luapilot.Runner
---@param capture true?      its lines are heard
---@param options_of fun(runner: luapilot.Runner, capture: true?): luapilot.SpawnOptions?, string?, string?
---@return luapilot.Plan?
---@return string? message
---@return string? code
function plans.of(runner, capture, options_of)
  local last = kept[runner]
  if last and last.capture == capture then
    local added = runner.app:environment(runner.spec, runner)
    if copy.equal(last.added, added) then return last.plan end
  end
  local options, message, code = options_of(runner, capture)
  if not options then return nil, message, code end
  local plan = runner.app.loop.port.plan(options)
  kept[runner] = { plan = plan, added = options.env_added, capture = capture }
  return plan
end

return plans
