-- dependency_check: what is wrong with `depends_on` and `bind` of a job, when all jobs are known: who is not there,
-- and a state that can never come.
--
-- It adds to the mistakes. Cycles are told by script/cycles.lua. Loaded with the first job that has one of these
-- fields.

local dependencies = require "luapilot.job.dependencies"
local suggest = require "luapilot.base.suggest"

local dependency_check = {}

local HINTS = 20 -- so many names of a file are compared with all others

local function add(app, runner, path, message)
  app.mistakes:add(runner.spec.where, ("job %q.%s"):format(runner.spec.name, path), message)
end

-- One that was named with pilot.job is told of where that was done.
local function check_name(app, runner, one)
  local path = "depends_on" .. one.path
  if one.name == runner.spec.name then
    return add(app, runner, path, "is the job itself, which can then never start: leave it out")
  end
  if app.jobs[one.name] or app.undescribed[one.name] or app.raised then return end
  local names = {}
  app.hints = (app.hints or 0) + 1
  for i, other in ipairs(app.hints <= HINTS and app.order or {}) do names[i] = other.spec.name end
  add(app, runner, path, ("there is no job %q%s: name one that this file describes"):format(one.name,
    suggest.hint(one.name, names)))
end

-- Does the restart policy start it again and again, however it ends?
local function never_rests(spec)
  local policy = spec.restart
  return policy.policy == "always" and not policy.count and not policy.limit
end

-- Why a job can never be in a state, and what to do.
local function impossible(spec, state)
  if spec.failed then return nil end -- it may follow from that
  if state == "healthy" and not spec.health[1] then
    return 'has no health check: give it health = { … }, or wait for "running"'
  end
  if state ~= "exit_success" then return nil end
  if not (spec.exec or spec.run) then return 'has no program that ends: wait for "healthy" or "running"' end
  if never_rests(spec) then
    return 'is started again whenever it ends (restart = "always"): wait for "running" or "healthy", or give it '
      .. 'restart = "on_failure"'
  end
end

local function check_state(app, runner, one)
  local why = impossible(one.runner.spec, one.state)
  if not why then return end
  add(app, runner, "depends_on" .. one.path, ("waits for %q of job %q, which %s"):format(one.state,
    one.runner.spec.name, why))
end

local function check_bind(app, runner)
  if not runner.spec.bind then return end
  if not (runner.spec.depends_on and runner.spec.depends_on[1]) then
    if runner.spec.failed then return end
    return add(app, runner, "bind", 'needs depends_on: it is stopped and started with those, such as { "db" }')
  end
  for _, one in ipairs(runner.spec.depends_on) do
    if one.state ~= "exit_success" then return end
  end
  add(app, runner, "bind", 'has nobody to be bound to: all of depends_on are to end ("exit_success"); leave it out, or '
    .. 'depend on a job that runs')
end

---@param app luapilot.App
---@param runner luapilot.Runner    with depends_on, or bind
function dependency_check.check(app, runner)
  for _, one in ipairs(runner.spec.depends_on or {}) do check_name(app, runner, one) end
  for _, one in ipairs(dependencies.of(runner)) do check_state(app, runner, one) end
  check_bind(app, runner)
end

return dependency_check
