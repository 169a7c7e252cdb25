-- shutdown: in which order the jobs of a loaded file end, and how long that takes at most.
--
-- A job is asked to stop when those are gone whose trigger names it (as app.lua does it). Its time is its
-- stop_timeout after the slowest of those; the file's shutdown_timeout bounds the whole. Pure.

local duration = require "luapilot.duration"

local shutdown = {}

local SHOWN = 20 -- names of a list

---@class luapilot.ShutdownPlan
---@field groups string[][]     names; each group after the one before it
---@field longest number        seconds along the longest chain of stop_timeouts
---@field bound number          … and not longer than shutdown_timeout

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

-- Jobs that wait for each other stop all together, when nobody else is left.
local function together(pilot, state)
  local group = {}
  for _, runner in ipairs(pilot.order) do
    if not state.ends[runner] then
      group[#group + 1], state.starts[runner] = runner, state.longest
    end
  end
  return group
end

-- A group ends: whom only they waited for is the next.
local function end_group(pilot, state, group)
  local following, starts, ends = {}, state.starts, state.ends
  for _, runner in ipairs(group) do ends[runner] = (starts[runner] or 0) + runner.spec.stop_timeout end
  for _, runner in ipairs(group) do
    state.longest = math.max(state.longest, ends[runner])
    for _, source in ipairs(pilot:sources_of(runner)) do
      starts[source] = math.max(starts[source] or 0, ends[runner])
      state.open[source] = state.open[source] - 1
      if state.open[source] == 0 and not ends[source] then following[#following + 1] = source end
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

---@param pilot luapilot.App     loaded
---@return luapilot.ShutdownPlan
function shutdown.plan(pilot)
  local open, group = count_dependents(pilot)
  local state = { open = open, starts = {}, ends = {}, longest = 0 } -- starts: the latest end of who waits for a job
  local groups, left = {}, #pilot.order
  while left > 0 do
    if not group[1] then group = together(pilot, state) end
    groups[#groups + 1], left = names_of(group), left - #group
    group = end_group(pilot, state, group)
  end
  return { groups = groups, longest = state.longest, bound = math.min(state.longest, pilot.shutdown_timeout) }
end

---"app, cron", or the first of many: "job-1, job-2, … and 980 more".
---@param names string[]
---@return string
function shutdown.names(names)
  if #names <= SHOWN then return table.concat(names, ", ") end
  return ("%s, … and %d more"):format(table.concat(names, ", ", 1, SHOWN), #names - SHOWN)
end

---"app, cron; then db", or the first of many: "job-9; then job-8; … and 980 more".
---@param plan luapilot.ShutdownPlan
---@return string
function shutdown.describe(plan)
  local parts, left = {}, #plan.groups - SHOWN
  for i = 1, math.min(#plan.groups, SHOWN) do parts[i] = shutdown.names(plan.groups[i]) end
  if left > 0 then parts[#parts + 1] = ("… and %d more, one after the other"):format(left) end
  return table.concat(parts, "; then ")
end

---One line for the end of a graph: "shutdown: app, cron; then db; 8s at most".
---@param plan luapilot.ShutdownPlan
---@return string
function shutdown.line(plan)
  local order = #plan.groups > 0 and shutdown.describe(plan) .. "; " or ""
  return ("shutdown: %s%s at most"):format(order, duration.format(plan.bound))
end

return shutdown
