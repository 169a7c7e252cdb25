-- cycles: jobs that can never start, because they wait for each other, or for themselves.
--
-- script/validate.lua says which jobs those are; here is why, in words. Each circle is told once; who only waits for
-- one of its jobs is not told, for it starts when that is mended. Loaded when there is such a job.

local dependencies = require "luapilot.job.dependencies"

local cycles = {}

local SHOWN = 20 -- names of a circle

local function path_of(runner, field) return ("job %q.%s"):format(runner.spec.name, field) end

-- What keeps a job from starting, and by which field. A trigger may do without one of its jobs, so what is certain
-- comes first.
local function next_in_circle(app, runner, startable)
  for _, one in ipairs(dependencies.of(runner)) do
    if not startable[one.runner] then return one.runner, "depends_on" end
  end
  for _, source in ipairs(app:sources_of(runner)) do
    if not startable[source] then return source, "when" end
  end
end

-- From a job that can never start to one that it waits for, and on, until one comes again: that one; nil when the last
-- waits for itself. What was told of already ends it, too.
local function follow(app, runner, startable, told)
  local chain, seen = {}, {}
  while runner and not seen[runner] and not told[runner] do
    seen[runner] = true
    local following, field = next_in_circle(app, runner, startable)
    chain[#chain + 1], runner = { runner = runner, field = field }, following
  end
  return chain, runner
end

local function waits_for_itself(app, runner)
  app.mistakes:add(runner.spec.where, path_of(runner, "when"),
    "waits only for the job itself, which can then never start: add another trigger with pilot.any { … }")
end

-- The chain from this job on.
local function from(chain, first)
  local circle = {}
  for _, each in ipairs(chain) do
    if circle[1] or each.runner == first then circle[#circle + 1] = each end
  end
  return circle
end

-- The names of a circle. By which field each waits for the next one is said where that is not `when` throughout.
local function names_of(circle)
  local names, mixed = {}, false
  for _, each in ipairs(circle) do mixed = mixed or each.field ~= "when" end
  for i, each in ipairs(circle) do
    local name = each.runner.spec.name
    names[i] = mixed and ("%s (%s)"):format(name, each.field) or name
  end
  return names
end

local function tell_circle(app, chain, first)
  local circle = from(chain, first)
  local names = names_of(circle)
  local left = #names - SHOWN
  if left > 0 then names = { unpack(names, 1, SHOWN) } end
  if left > 0 then names[#names + 1] = ("%d more"):format(left) end
  names[#names + 1] = first.spec.name
  app.mistakes:add(first.spec.where, path_of(first, circle[1].field),
    ("a cycle: %s; none of them can ever start"):format(table.concat(names, " waits for ")))
end

---Adds to the mistakes.
---@param app luapilot.App
---@param startable table<luapilot.Runner, true>   the other jobs
function cycles.tell(app, startable)
  local told = {}
  for _, runner in ipairs(app.order) do
    if not startable[runner] and not told[runner] then
      local chain, first = follow(app, runner, startable, told)
      if not first then
        waits_for_itself(app, chain[#chain].runner)
      elseif not told[first] then
        tell_circle(app, chain, first)
      end
      for _, each in ipairs(chain) do told[each.runner] = true end
    end
  end
end

return cycles
