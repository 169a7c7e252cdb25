-- verdict: why something did not end well, in words: a job that can never start, jobs that had to be killed.
--
-- A job that was declared dead before its first run has a reason: a job that its trigger names failed for good, or can
-- itself never start because another one failed; or nothing failed, and what it waits for just cannot come any more.
-- It owns nothing and decides nothing: what follows from it is job/machine.lua's and pilot/shutdown.lua's. Most pilots
-- never load it.

local constant = require "luapilot.base.constant"
local duration = require "luapilot.base.duration"
local lazy = require "luapilot.base.lazy"
local trigger = require "luapilot.job.trigger"
local trigger_text = require "luapilot.job.trigger_text"

local dependencies = lazy.require "luapilot.job.dependencies"

local verdict = {}

---@class luapilot.Unmet    plain data
---@field why string        "job \"migrate\": exited with code 7"
---@field code integer?     of what failed; nil: nothing failed
---@field at number?        when it failed
---@field root string?      the first cause: "job \"migrate\" failed: exited with code 7". That alone is told of a chain

local OVER = { complete = true, held = true }

-- How a dependency is that will never be there.
local function fate_of(source)
  local m = source.memory
  if m.unmet then return "can never start: " .. m.unmet.why end
  if m.state == "held" then return "was stopped" end
  if m.exit and m.exit.code ~= 0 then return "failed: " .. source:exit_text() end
  return m.state == "complete" and "is over" or "cannot start any more"
end

-- Why one is not there, down to the first cause; and was that another one?
local function root_of(source)
  local m = source.memory
  local from = m.unmet or m.exit or constant.NONE
  if from.root then return from.root, true end
  return ("job %q %s"):format(source.spec.name, fate_of(source)), false
end

-- The failure of a source that is over, or the one for which that could never start.
---@param source luapilot.Runner
---@return luapilot.Unmet?
local function failure_of(source)
  local m = source.memory
  local exit, never = m.exit, m.unmet
  if never then return never.code and never or nil end
  if not (exit and OVER[m.state]) or exit.code == 0 or exit.asked then return nil end
  return {
    code = exit.code, at = exit.at, root = root_of(source),
    why = ("job %q: %s"):format(source.spec.name, source:exit_text()),
  }
end

-- The job that a part of a trigger names, another than the one that waits.
local function source_of(runner, leaf)
  local source = leaf.topic and runner.app.jobs[leaf.topic:match "^job:(.*)$" or ""]
  return source ~= runner and source or nil
end

-- The first part that has not come and whose source is over; else the first that has not come, or the whole.
local function missing_part(runner)
  local own, missing = runner.starter.trigger, nil
  for _, leaf in ipairs(own.leaves) do
    if not trigger.satisfied(own, leaf) then
      local source = source_of(runner, leaf)
      if source and OVER[source.memory.state] then return leaf end
      missing = missing or leaf
    end
  end
  return missing or own.node
end

-- What a job depends on in vain. Of several that failed the first in time counts.
local function unmet_dependency(runner)
  local first, lost
  for _, one in ipairs(dependencies.lacking(runner)) do
    local failure = failure_of(one.runner)
    local earlier = failure and not (first and first.at <= failure.at)
    if earlier then first = failure end
    if earlier or not lost or not first and OVER[one.runner.memory.state] then lost = one end
  end
  local root, inherited = root_of(lost.runner)
  return {
    why = ("depends on job %q (%s), %s"):format(lost.runner.spec.name, lost.state,
      inherited and "for which " .. root or "which " .. fate_of(lost.runner)),
    code = first and first.code, at = first and first.at, root = root,
  }
end

---What a job waits for in vain. Of several that failed the first in time counts; what was heard already does not.
---@param runner luapilot.Runner
---@return luapilot.Unmet
function verdict.unmet(runner)
  if runner.memory.state == "blocked" then return unmet_dependency(runner) end
  local own, first, missing = runner.starter.trigger, nil, missing_part(runner)
  for _, leaf in ipairs(own.leaves) do
    local source = not trigger.satisfied(own, leaf) and source_of(runner, leaf)
    local failure = source and failure_of(source)
    if failure and not (first and first.at <= failure.at) then first = failure end
  end
  return first or { why = trigger_text.describe(missing, duration.format) .. " cannot come any more" }
end

local NAMED = 10

---The jobs that a shutdown had to kill.
---@param killed luapilot.Runner[]
---@return string
function verdict.killed(killed)
  local names = {}
  for i, runner in ipairs(killed) do
    names[math.min(i, NAMED + 1)] = i <= NAMED and ("%q"):format(runner.spec.name) or "…"
  end
  return ("the shutdown was cut short: job%s %s had to be killed"):format(killed[2] and "s" or "",
    table.concat(names, ", "))
end

---A main job that can never start, or could not when it was to start again, ends the pilot.
---@param main luapilot.Runner
---@return string
function verdict.never(main)
  local m = main.memory
  return ("the main job %q %s (%s): shutting down"):format(main.spec.name,
    m.runs > 1 and "could not be started" or "can never start", m.unmet and m.unmet.why or main:exit_text())
end

return verdict
