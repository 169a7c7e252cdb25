-- shutdown: in which order the jobs of a loaded file end, and how long that takes at most.
--
-- A job is asked to stop when those are gone whose trigger names it, or that depend on it (as pilot/shutdown.lua does).
-- The file's shutdown_timeout bounds the whole. The sum of the stop_timeouts, which may be less, is no bound: handlers
-- are awaited, and deferred functions, a reader of the log that is slow, Consul, and processes that a job has left
-- behind. Pure.

local dependencies = require "luapilot.job.dependencies"
local duration = require "luapilot.base.duration"

local shutdown = {}

local SHOWN = 20 -- names of a list

---@class luapilot.ShutdownPlan
---@field groups string[][]     names; each job of a group is needed by one of the group before it
---@field edges { before: string, names: string[] }[]   these are gone before that one is asked: all there is of order
---@field together string[][]   jobs whose triggers name each other
---@field registered boolean    jobs without a service wait for those that have one: see shutdown.lua of the core
---@field bound number          seconds

local function before(a, b) return a.number < b.number end

-- Job → how many jobs whose trigger names it have no end yet; and those that nobody waits for.
local function count_dependents(pilot)
  local open, free = {}, {}
  for _, runner in ipairs(pilot.order) do open[runner] = 0 end
  for _, runner in ipairs(pilot.order) do
    for _, source in ipairs(pilot:sources_of(runner)) do open[source] = open[source] + 1 end
  end
  for _, runner in ipairs(pilot.order) do
    if open[runner] == 0 then free[#free + 1] = runner end
  end
  return open, free
end

-- Jobs whose triggers name each other stop all together, when nobody else is left, but none before those that depend on
-- it.
local function together(pilot, state)
  local group = {}
  for _, runner in ipairs(pilot.order) do
    if not state.ended[runner] then group[#group + 1] = runner end
  end
  return dependencies.unneeded(group)
end

-- A group ends: whom only they waited for is the next.
local function end_group(pilot, state, group)
  local following, open, ended = {}, state.open, state.ended
  for _, runner in ipairs(group) do ended[runner] = true end
  for _, runner in ipairs(group) do
    for _, source in ipairs(pilot:sources_of(runner)) do
      open[source] = open[source] - 1
      if open[source] == 0 and not ended[source] then following[#following + 1] = source end
    end
  end
  table.sort(following, before)
  return following
end

local function names_of(group)
  local names = {}
  for i, runner in ipairs(group) do names[i] = runner.spec.name end
  return names
end

-- Who stops before whom: of each job that others need, those who need it, in the order of the end. Not among jobs that
-- need each other.
local function edges_of(pilot, groups)
  local rank, edges, of = {}, {}, {}
  for i, group in ipairs(groups) do
    for _, name in ipairs(group) do rank[name] = i end
  end
  for _, runner in ipairs(pilot.order) do
    local name = runner.spec.name
    for _, source in ipairs(pilot:sources_of(runner)) do
      local other = source.spec.name
      if rank[name] < rank[other] then
        local edge = of[other] or { before = other, names = {} }
        of[other], edge.names[#edge.names + 1] = edge, name
      end
    end
  end
  for _, group in ipairs(groups) do -- in each, the jobs are in the order of the file
    for _, name in ipairs(group) do edges[#edges + 1] = of[name] end
  end
  return edges
end

-- Is there one with a service, and one without, in a file with Consul?
local function leaves_first(pilot)
  local with, without = false, false
  for _, runner in ipairs(pilot.order) do
    with, without = with or runner.spec.service ~= nil, without or runner.spec.service == nil
  end
  return pilot.consul ~= nil and with and without
end

---@param pilot luapilot.App     loaded
---@return luapilot.ShutdownPlan
function shutdown.plan(pilot)
  local open, group = count_dependents(pilot)
  local state = { open = open, ended = {} }
  local groups, circle, left = {}, {}, #pilot.order
  while left > 0 do
    if not group[1] then
      group = together(pilot, state)
      if group[2] then circle[#circle + 1] = names_of(group) end
    end
    groups[#groups + 1], left = names_of(group), left - #group
    group = end_group(pilot, state, group)
  end
  return {
    groups = groups, edges = edges_of(pilot, groups), together = circle, registered = leaves_first(pilot),
    bound = pilot.shutdown_timeout,
  }
end

---"app, cron", or the first of many: "job-1, job-2, … and 980 more".
---@param names string[]
---@return string
function shutdown.names(names)
  if #names <= SHOWN then return table.concat(names, ", ") end
  return ("%s, … and %d more"):format(table.concat(names, ", ", 1, SHOWN), #names - SHOWN)
end

---"app, cron before db", each in the order of the end; the first of many.
---@param plan luapilot.ShutdownPlan
---@return string[]
function shutdown.order(plan)
  local parts, left = {}, #plan.edges - SHOWN
  for i = 1, math.min(#plan.edges, SHOWN) do
    local edge = plan.edges[i]
    local stop = i > 1 and "" or #edge.names > 1 and " stop" or " stops"
    parts[i] = ("%s%s before %s"):format(shutdown.names(edge.names), stop, edge.before)
  end
  if left > 0 then parts[#parts + 1] = ("and %d more"):format(left) end
  for _, group in ipairs(plan.together) do parts[#parts + 1] = shutdown.names(group) .. " together" end
  if plan.registered then parts[#parts + 1] = "jobs without a service when none is registered any more" end
  if not parts[1] and plan.groups[1] then parts[1] = plan.groups[1][2] and "all jobs at once" or nil end
  return parts
end

---One line for the end of a graph: "shutdown: 8s at most; app stops before db".
---@param plan luapilot.ShutdownPlan
---@return string
function shutdown.line(plan)
  local order = shutdown.order(plan)
  return ("shutdown: %s at most%s"):format(duration.format(plan.bound),
    order[1] and "; " .. table.concat(order, "; ") or "")
end

return shutdown
