-- cycles: jobs that can never start, because they wait for each other, or for themselves.
--
-- Which jobs those are, and why, in words. Each cycle is told once; who only waits for one of its jobs is not told,
-- for it starts when that is mended. Loaded when a job of the file waits for anything.

local constant = require "luapilot.base.constant"
local lazy = require "luapilot.base.lazy"
local trigger = require "luapilot.job.trigger"

local dependencies = lazy.require "luapilot.job.dependencies"

local cycles = {}

local SHOWN = 20 -- names of a cycle

-- --- who can start ---------------------------------------------------------------------------

-- What a start of a job still needs: its trigger, and each job that it depends on.
---@class luapilot.StartSum
---@field runner luapilot.Runner
---@field own table                     its trigger
---@field sum luapilot.TriggerSum?      nil: the trigger has all it needs
---@field open integer                  of the trigger and the jobs, those that have not come

-- One of these has come. True: that was the last.
local function come(start)
  start.open = start.open - 1
  return start.open == 0
end

-- A leaf has come. True: nothing is missing any more.
local function add_leaf(start, leaf)
  if not (start.sum and trigger.add(start.own, start.sum, leaf)) then return false end
  start.sum = nil
  return come(start)
end

-- The start needs a job, for this leaf; no leaf: it depends on it.
local function wait_for(waiting, source, start, leaf)
  local list = waiting[source] or {}
  waiting[source], list[#list + 1] = list, { start, leaf }
end

-- What of a start needs no job that this file describes (who nobody described is told elsewhere) adds up; the rest is
-- put down in `waiting`: source → { start, leaf }. True: it needs no job.
local function begin_sum(app, runner, waiting)
  local own, requires = runner.starter.trigger, runner.spec.depends_on and dependencies.of(runner) or constant.NONE
  if own.node == trigger.STARTUP and not requires[1] then return true end
  local start, whole = { runner = runner, own = own, sum = trigger.sum(), open = 1 + #requires }, false
  for _, leaf in ipairs(own.leaves) do
    local source = app.jobs[leaf.topic and leaf.topic:match "^job:(.*)$" or ""]
    if source then
      wait_for(waiting, source, start, leaf)
    else
      whole = add_leaf(start, leaf) or whole
    end
  end
  for _, one in ipairs(requires) do wait_for(waiting, one.runner, start) end
  return whole
end

-- Jobs that can start at all, if nobody else starts them by hand: those that need no job, then those that these start.
local function startable_jobs(app)
  local startable, list, waiting = {}, {}, {}
  local function add(runner)
    if startable[runner] then return end
    startable[runner], list[#list + 1] = true, runner
  end
  for _, runner in ipairs(app.order) do
    if begin_sum(app, runner, waiting) then add(runner) end
  end
  local i = 1
  while list[i] do
    for _, each in ipairs(waiting[list[i]] or constant.NONE) do
      local start, leaf = each[1], each[2]
      if leaf and add_leaf(start, leaf) or not leaf and come(start) then add(start.runner) end
    end
    i = i + 1
  end
  return startable, #list
end

-- --- who cannot, and why ---------------------------------------------------------------------

local function path_of(runner, field) return ("job %q.%s"):format(runner.spec.name, field) end

-- What keeps a job from starting, and by which field. A trigger may do without one of its jobs, so what is certain
-- comes first.
local function next_in_cycle(app, runner, startable)
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
    local following, field = next_in_cycle(app, runner, startable)
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
  local cycle = {}
  for _, each in ipairs(chain) do
    if cycle[1] or each.runner == first then cycle[#cycle + 1] = each end
  end
  return cycle
end

-- The names of a cycle. By which field each waits for the next one is said where that is not `when` throughout.
local function names_of(cycle)
  local names, mixed = {}, false
  for _, each in ipairs(cycle) do mixed = mixed or each.field ~= "when" end
  for i, each in ipairs(cycle) do
    local name = each.runner.spec.name
    names[i] = mixed and ("%s (%s)"):format(name, each.field) or name
  end
  return names
end

local function tell_cycle(app, chain, first)
  local cycle = from(chain, first)
  local names = names_of(cycle)
  local left = #names - SHOWN
  if left > 0 then names = { unpack(names, 1, SHOWN) } end
  if left > 0 then names[#names + 1] = ("%d more"):format(left) end
  names[#names + 1] = first.spec.name
  app.mistakes:add(first.spec.where, path_of(first, cycle[1].field),
    ("a cycle: %s; none of them can ever start"):format(table.concat(names, " waits for ")))
end

local function tell(app, startable)
  local told = {}
  for _, runner in ipairs(app.order) do
    if not startable[runner] and not told[runner] then
      local chain, first = follow(app, runner, startable, told)
      if not first then
        waits_for_itself(app, chain[#chain].runner)
      elseif not told[first] then
        tell_cycle(app, chain, first)
      end
      for _, each in ipairs(chain) do told[each.runner] = true end
    end
  end
end

---Adds to the mistakes.
---@param app luapilot.App
function cycles.check(app)
  local startable, count = startable_jobs(app)
  if count < #app.order then tell(app, startable) end
end

return cycles
