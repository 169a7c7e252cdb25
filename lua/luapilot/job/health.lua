-- health: what the results of a job's checks add up to. Pure: results in, transitions out.
--
-- Each check is "unknown", "passing" or "failing": `rise` passes in a row make it passing, `fall` failures
-- in a row failing. The job is healthy when all pass, unhealthy as soon as one fails, unknown before.
-- Failures do not count during `start_period`, which ends when the check has become passing: what was up and
-- fails is broken, and no longer starting. Neither do those of early probes count: between a start and
-- the first pass the prober asks more often than `interval`, so that readiness is noticed soon.
--
-- It owns the counters (plain data: they survive a reload). It never runs a check and keeps no time.

local copy = require "luapilot.base.copy"

local health = {}

local FIRST_PROBE = 0.25 -- seconds; doubles until the first pass

---@class luapilot.HealthMemory   plain data
---@field state "unknown"|"healthy"|"unhealthy"
---@field started number
---@field checks { status: string, passes: integer, fails: integer, warning: boolean?, output: string? }[]

---@param checks table[]   the checks of a job's spec
---@param now number
---@return luapilot.HealthMemory
function health.new(checks, now)
  local memory = { state = "unknown", started = now, checks = {} }
  for i = 1, #checks do memory.checks[i] = { status = "unknown", passes = 0, fails = 0 } end
  return memory
end

local function count_pass(check, one)
  one.passes, one.fails = one.passes + 1, 0
  if one.passes >= check.rise then one.status = "passing" end
end

local function count_fail(check, one)
  one.fails, one.passes = one.fails + 1, 0
  if one.fails >= check.fall then one.status = "failing" end
end

local function overall(memory)
  local all = true
  for _, one in ipairs(memory.checks) do
    if one.status == "failing" then return "unhealthy" end
    if one.status ~= "passing" then all = false end
  end
  return all and "healthy" or memory.state
end

---One result.
---@param memory luapilot.HealthMemory
---@param checks table[]
---@param index integer
---@param status "pass"|"warn"|"fail"
---@param output string?
---@param now number
---@param early boolean?      between two marks of the interval
---@return "healthy"|"unhealthy"|nil change   when the job's health has changed
---@return boolean restart                    when `restart_after` is reached
function health.result(memory, checks, index, status, output, now, early)
  local check, one = checks[index], memory.checks[index]
  one.output, one.warning = output, status == "warn" or nil
  local restart = false
  if status ~= "fail" then
    count_pass(check, one)
  elseif early or one.status == "unknown" and now - memory.started < check.start_period then
    one.passes = 0
  else
    count_fail(check, one)
    restart = check.restart_after ~= nil and one.fails >= check.restart_after
  end
  local state = overall(memory)
  if state == memory.state then return nil, restart end
  memory.state = state
  return state, restart
end

-- The next multiple of the interval, counted from the start.
local function next_mark(memory, check, now)
  local marks = math.floor((now - memory.started) / check.interval + 1e-9) + 1
  return memory.started + marks * check.interval
end
health.next_mark = next_mark

---When to probe next. `marks` of the interval count from the start; until the first pass there are early
---probes between them, 0.25 s apart at first, then twice as long each time.
---@param memory luapilot.HealthMemory
---@param check table
---@param index integer
---@param now number
---@return number due, boolean early
function health.next_probe(memory, check, index, now)
  local one = memory.checks[index]
  local mark = next_mark(memory, check, now)
  if one.status ~= "unknown" or one.passes > 0 then return mark, false end
  one.step = one.step and one.step * 2 or FIRST_PROBE
  local due = now + one.step
  if due < mark - 1e-9 then return due, true end
  return mark, false
end

---Does one of the checks warn?
---@param memory luapilot.HealthMemory
---@return boolean
function health.warns(memory)
  for _, one in ipairs(memory.checks) do
    if one.warning then return true end
  end
  return false
end

---@param memory luapilot.HealthMemory
---@return table
function health.snapshot(memory)
  return copy.deep(memory)
end

---Takes over what a former core knew, if the checks are still as many; else starts anew.
---@param data table
---@param checks table[]
---@param now number
---@return luapilot.HealthMemory
function health.restore(data, checks, now)
  if #data.checks ~= #checks then return health.new(checks, now) end
  return copy.deep(data)
end

return health
