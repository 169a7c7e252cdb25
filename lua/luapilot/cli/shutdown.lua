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

-- Job → the jobs whose trigger names it.
local function dependents_of(pilot)
  local dependents = {}
  for _, runner in ipairs(pilot.order) do dependents[runner] = {} end
  for _, runner in ipairs(pilot.order) do
    for _, source in ipairs(pilot:sources_of(runner)) do
      table.insert(dependents[source], runner)
    end
  end
  return dependents
end

-- When a job begins to stop: nil while it still waits for one that has no end yet.
local function start_of(runner, dependents, ends)
  local latest = 0
  for _, other in ipairs(dependents[runner]) do
    if not ends[other] then return nil end
    latest = math.max(latest, ends[other])
  end
  return latest
end

-- Jobs that wait for each other stop all together, when nobody else is left.
local function together(pilot, ends, longest)
  local group = {}
  for _, runner in ipairs(pilot.order) do
    if not ends[runner] then group[#group + 1] = { runner, longest } end
  end
  return group
end

local function next_group(pilot, dependents, ends, longest)
  local group = {}
  for _, runner in ipairs(pilot.order) do
    local start = not ends[runner] and start_of(runner, dependents, ends)
    if start then group[#group + 1] = { runner, start } end
  end
  return #group > 0 and group or together(pilot, ends, longest)
end

---@param pilot luapilot.App     loaded
---@return luapilot.ShutdownPlan
function shutdown.plan(pilot)
  local dependents, ends, longest, left = dependents_of(pilot), {}, 0, #pilot.order
  local groups = {}
  while left > 0 do
    local names, group = {}, next_group(pilot, dependents, ends, longest)
    for i, entry in ipairs(group) do
      local runner, start = entry[1], entry[2]
      ends[runner] = start + runner.spec.stop_timeout
      names[i] = runner.spec.name
    end
    for _, entry in ipairs(group) do longest = math.max(longest, ends[entry[1]]) end
    groups[#groups + 1], left = names, left - #group
  end
  return { groups = groups, longest = longest, bound = math.min(longest, pilot.shutdown_timeout) }
end

---"app, cron", or the first of many: "job-1, job-2, … and 980 more".
---@param names string[]
---@return string
function shutdown.names(names)
  if #names <= SHOWN then return table.concat(names, ", ") end
  return ("%s, … and %d more"):format(table.concat(names, ", ", 1, SHOWN), #names - SHOWN)
end

---"app, cron; then db".
---@param plan luapilot.ShutdownPlan
---@return string
function shutdown.describe(plan)
  local parts = {}
  for i, names in ipairs(plan.groups) do parts[i] = shutdown.names(names) end
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
