-- dependencies: what a job depends on (`depends_on`, `bind`), while the pilot runs: is it there, can it still come, and
-- who is bound to whom.
--
--   depend     a start waits until all is there; goes on at once if it is
--   connect    once: who is bound to a job hears when that is gone, and is stopped
--   unbind     a job is to stop: those that are bound to it first
--
-- It owns the watchers of what a blocked job waits for. What follows from it is decided in job/machine.lua
-- and job/blocked.lua; that a job waits in vain is found by pilot/quiescence.lua. Loaded with the first `depends_on`.

local constant = require "luapilot.base.constant"
local reminder = require "luapilot.job.reminder"

local dependencies = {}

local BURIAL = 1 -- seconds from SIGKILL until nobody is left
local SHOWN = 5  -- names of a list

---@class luapilot.Dependency
---@field runner luapilot.Runner
---@field state "running"|"healthy"|"exit_success"
---@field path string            in the field: ".db", "[2]"

-- --- what the file says ----------------------------------------------------------------------

local function resolve(runner)
  local list, jobs = { at = {} }, runner.app.jobs
  for _, one in ipairs(runner.spec.depends_on or constant.NONE) do
    local source = jobs[one.name]
    if source and source ~= runner then -- else a mistake, told by script/dependency_check.lua
      local default = source.spec.health[1] and "healthy" or "running"
      list[#list + 1] = { runner = source, state = one.state or default, path = one.path }
      list.at[source] = #list
    end
  end
  return list
end

---What a job depends on, when all of the file was read.
---@param runner luapilot.Runner
---@return luapilot.Dependency[] list    `list.at[source]`: the place of each
function dependencies.of(runner)
  runner.requires = runner.requires or resolve(runner)
  return runner.requires
end

---Adds the jobs that `runner` depends on to those that its trigger names.
---@param runner luapilot.Runner
---@param add fun(source: luapilot.Runner)
function dependencies.each_source(runner, add)
  for _, one in ipairs(dependencies.of(runner)) do add(one.runner) end
end

-- --- what is there ---------------------------------------------------------------------------

-- A run that somebody stopped has not succeeded, whatever its code.
local function is_there(one)
  local exit = one.runner.memory.exit
  if one.state == "exit_success" and exit and exit.asked then return false end
  return one.runner:is(one.state)
end

-- The place of one that fits; nil: none does. What is asked again and again goes on `from` where it found one the last
-- time: while one after the other changes, as many as there are are looked at in all.
local function find(list, from, fits)
  from = from or 1
  for i = from, from + #list - 1 do
    local at = (i - 1) % #list + 1
    if fits(list[at]) then return at end
  end
end

local function is_missing(one) return not is_there(one) end

---What of it is not there.
---@param runner luapilot.Runner
---@return luapilot.Dependency[]
function dependencies.lacking(runner)
  local list = {}
  for _, one in ipairs(dependencies.of(runner)) do
    if not is_there(one) then list[#list + 1] = one end
  end
  return list
end

local function is_lost(one) return one.runner.memory.state == "complete" and not is_there(one) end

---Can all of it still come?
---@param runner luapilot.Runner
---@return boolean
function dependencies.can_come(runner) return find(dependencies.of(runner), 1, is_lost) == nil end

---May a start wait in vain, now that this job is over?
---@param runner luapilot.Runner    blocked
---@param source luapilot.Runner
---@return boolean
function dependencies.loses(runner, source)
  if source.memory.state ~= "complete" then return true end
  local list = dependencies.of(runner)
  local one = list[list.at[source]]
  return one == nil or is_lost(one) -- nil: its trigger names it
end

local function hint(one)
  local source = one.runner
  local state = source.memory.state
  if state == "held" then return "; it was stopped" end
  if state == "waiting" and source.starter:is_manual() then return "; nothing starts it by itself" end
  local paused = one.state == "healthy" and source.app.advertiser:is_maintained(source)
  return paused and "; its checks pause for maintenance" or ""
end

local function words(list)
  local texts = {}
  for i = 1, math.min(#list, SHOWN) do
    local one = list[i]
    texts[i] = ("%s (%s%s)"):format(one.runner.spec.name, one.state, hint(one))
  end
  if #list > SHOWN then texts[SHOWN + 1] = ("%d more"):format(#list - SHOWN) end
  return table.concat(texts, ", ")
end

-- --- a start waits ---------------------------------------------------------------------------

local function leave(runner)
  for _, unwatch in ipairs(runner.unwatch or constant.NONE) do unwatch() end
  runner.unwatch, runner.lacking, runner.missing, runner.skipped = nil, nil, nil, nil
end

local look_soon -- forward

-- The event of what has come, which its trigger may wait for as well, is heard before: this start serves it.
local function look(runner)
  runner.looking = nil
  if not runner.unwatch then return end
  runner.missing = find(dependencies.of(runner), runner.missing, is_missing)
  if runner.missing then return end
  if runner.app.bus:queued() > 0 then return look_soon(runner) end
  leave(runner)
  runner:input("provided", {})
end

-- However many of them change in a turn, it is looked once.
function look_soon(runner)
  if runner.looking then return end
  runner.looking = true
  runner.app:command(function() look(runner) end)
end

---A start waits until all is there. The last effect of its input, for it goes on at once where nothing is lacking.
---@param runner luapilot.Runner
function dependencies.depend(runner)
  local list = dependencies.lacking(runner)
  if not list[1] then return runner:input("provided", {}) end
  runner.unwatch, runner.lacking = {}, function() return dependencies.lacking(runner) end
  for i, one in ipairs(dependencies.of(runner)) do
    runner.unwatch[i] = one.runner:watch(function() look_soon(runner) end)
  end
  if not dependencies.can_come(runner) then return end -- which is told when this turn comes to rest
  local text = words(list)
  runner:log("info", "waits for " .. text, nil, "waits", { reason = text })
  reminder.later(runner)
end

---A tick of the clock comes meanwhile: said once a wait.
---@param runner luapilot.Runner    blocked
function dependencies.skip(runner)
  local list = runner.skipped and constant.NONE or dependencies.lacking(runner)
  if not list[1] then return end
  runner.skipped = true
  local text = words(list)
  runner:log("info", ("still waits for %s: this one is skipped"):format(text), nil, "skipped", { reason = text })
end

---It waits no more.
---@param runner luapilot.Runner
function dependencies.undepend(runner) leave(runner) end

-- --- who is bound to whom --------------------------------------------------------------------

local STARTED = { preparing = true, running = true }

local function is_up(runner)
  return runner:is_active() and runner.memory.state ~= "blocked"
end

-- Stopped, and started when all is there again: a start waits for that.
local function lose(runner, source)
  if not STARTED[runner.memory.state] or runner.memory.closing then return end
  runner.app:command(function()
    if not STARTED[runner.memory.state] or runner.memory.closing then return end
    local name = source.spec.name
    runner:log("info", ("is stopped with %s, which it is bound to"):format(name), nil, "bound", { reason = name })
    runner:input("stop", { again = "bind" })
  end)
end

-- Asked again whenever one of them has ended.
local function has_bound(source)
  source.found = find(source.bound or constant.NONE, source.found, is_up)
  return source.found ~= nil
end

local function release(source)
  local memory = source.memory
  if memory.state == "stopping" and memory.stop.bound and not has_bound(source) then source:post("released") end
end

local function bind(runner, source)
  source.bound, source.spec.bound = source.bound or {}, true
  table.insert(source.bound, runner)
  source:watch(function()
    if source.memory.state ~= "running" then lose(runner, source) end
  end)
  runner:watch(function() release(source) end)
end

---All jobs are known: who is bound to whom.
---@param runner luapilot.Runner
function dependencies.connect(runner)
  runner.app.depends = true
  for _, one in ipairs(dependencies.of(runner)) do
    if runner.spec.bind and one.state ~= "exit_success" then bind(runner, one.runner) end
  end
end

-- Of those that are bound to a job, directly or by way of others, each before its own.
local function all_bound(source)
  local list, seen, open = {}, {}, { source }
  while open[1] do
    local top = open[#open]
    if seen[top] then
      open[#open] = nil
      if seen[top] == "open" then list[#list + 1], seen[top] = top, "done" end
    else
      seen[top] = "open"
      for _, runner in ipairs(top.bound or constant.NONE) do
        if not (seen[runner] or runner.patience) then open[#open + 1] = runner end
      end
    end
  end
  return list
end

-- How long those that are bound to a job may take: each has a budget of its own, which begins when those that are bound
-- to it are gone. The longest chain counts, with a moment for the dead to be buried.
local function patience_of(source)
  if source.patience then return source.patience end
  for _, each in ipairs(all_bound(source)) do
    each.patience = 0
    for _, runner in ipairs(each.bound or constant.NONE) do
      each.patience = math.max(each.patience, runner.patience + runner.spec.stop_timeout + BURIAL)
    end
  end
  return source.patience
end

---A job is to stop: those that are bound to it first. They hear of it by themselves.
---@param source luapilot.Runner
function dependencies.unbind(source)
  if not has_bound(source) then return source:input("released", {}) end
  source:input("awaits", { seconds = patience_of(source) })
end

---After a handoff: what the former core waited for, and what this file says, with the states of all jobs.
---@param runner luapilot.Runner
function dependencies.resume(runner)
  local memory = runner.memory
  if memory.state == "blocked" then return dependencies.depend(runner) end
  release(runner)
  if not runner.spec.bind then return end
  for _, one in ipairs(dependencies.of(runner)) do
    local gone = one.state ~= "exit_success" and one.runner.memory.state ~= "running"
    if gone then lose(runner, one.runner) end
  end
end

-- --- the end ---------------------------------------------------------------------------------

-- All that these depend on, directly or by way of others.
local function needed_by(list)
  local needed, open = {}, list
  while open[1] do
    local more = {}
    for _, runner in ipairs(open) do
      for _, one in ipairs(dependencies.of(runner)) do
        if not needed[one.runner] then needed[one.runner], more[#more + 1] = true, one.runner end
      end
    end
    open = more
  end
  return needed
end

---Of jobs that are left in a shutdown, because their triggers name each other, those that no other of them depends on:
---there are such, for dependencies make no circle.
---@param left luapilot.Runner[]
---@return luapilot.Runner[]
function dependencies.unneeded(left)
  local list, needed = {}, needed_by(left)
  for _, runner in ipairs(left) do
    if not needed[runner] then list[#list + 1] = runner end
  end
  return list
end

return dependencies
