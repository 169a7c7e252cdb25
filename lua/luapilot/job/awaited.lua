-- awaited: what the jobs wait for that have never started, or whose start waits for what they depend on, told in the
-- log: of each 10 s after it began to wait, after a minute, then each ten minutes.
--
-- Told is what a start needs: a job that becomes healthy or ends well, a watch, a template, a `when` function. What may
-- never happen, and should not (unhealthy, exit_failed), the clock, signals and job:start() are waited for in silence.
--
-- It owns nothing: job/reminder.lua has the time. It starts nothing, and what it says of a source is what this source
-- says of itself.

local duration = require "luapilot.base.duration"
local lazy = require "luapilot.base.lazy"
local trigger = require "luapilot.job.trigger"
local trigger_text = require "luapilot.job.trigger_text"

local prober = lazy.require "luapilot.job.prober"

local awaited = {}

local SECOND, LATER = 60, 600     -- seconds until it is told again (the first time is job/reminder.lua's), and so on
local PAUSE = 1                   -- … between two looks at least; half of it is none: together rather than one by one
local MOST = 20                   -- jobs told in a look
local PARTS = 5                   -- of a trigger

-- --- how a source is -------------------------------------------------------------------------

-- The first check that does not pass.
local function check_state(runner)
  local probes = runner.prober
  if probes and probes.paused then return "its checks pause for maintenance" end
  for i, one in ipairs(probes and probes.memory.checks or {}) do
    if one.status ~= "passing" then
      local label = prober.label(runner.app, runner.spec.health[i])
      return one.output and ("%s does not pass: %s"):format(label, one.output)
        or one.status == "unknown" and label .. " has said nothing yet" or label .. " does not pass"
    end
  end
end

local STATE = {
  blocked = function() return "it waits for what it depends on" end,
  waiting = function(runner)
    if runner.starter:is_manual() then return "nothing starts it by itself" end
    return runner.memory.exit and "it waits to be started again" or "it waits itself"
  end,
  preparing = function() return "it is being prepared" end,
  running = function(runner)
    local why = check_state(runner)
    return why and "it is running, " .. why or "it is running"
  end,
  stopping = function() return "it is stopping" end,
  ending = function() return "it is ending" end,
  backoff = function(runner)
    local exit = runner.memory.exit
    return exit and ("it ended with code %d, and will be started again"):format(exit.code)
      or "it cannot be started now"
  end,
  held = function() return "it was stopped" end,
  complete = function() return "it is over" end,
}

local EVENT = {
  running = "to run", healthy = "to be healthy", exit_success = "to end with code 0", stopped = "to be over",
}

local function of_job(runner, event)
  local what = EVENT[event]
  if not what then return nil end
  return ("job %q %s (%s)"):format(runner.spec.name, what, STATE[runner.memory.state](runner))
end

local function of_watch(core, event)
  if not core.content then return core.label .. ", which has had no answer yet" end
  if event ~= "healthy" then return nil end
  return core.label .. " to be healthy (nobody is there)"
end

local function of_template(app, path)
  local keeper = app.templates[path]
  if not keeper or keeper.rendered then return nil end
  for _, core in ipairs(keeper.spec.watch or {}) do
    if not core.content then return ("template %q: %s has had no answer yet"):format(path, core.label) end
  end
  return ("template %q to be rendered (%s)"):format(path, keeper.said and "it failed" or "it is under way")
end

-- --- what a trigger lacks --------------------------------------------------------------------

local function of_leaf(app, leaf)
  if leaf.kind == "function" then return "its `when` function to return" end
  local kind, name = (leaf.topic or ""):match "^(%l+):(.*)$"
  if kind == "job" then return app.jobs[name] and of_job(app.jobs[name], leaf.event) end
  if kind == "template" then return of_template(app, name) end
  if kind == "watch" then return of_watch(app.watches_by_topic[leaf.topic], leaf.event) end
end

-- Does a node fire by the clock, by a signal or by hand? Then nobody waits for what stands beside it in an `any`.
local function comes_by_itself(leaf)
  return leaf.kind == "every" or leaf.kind == "cron" or leaf.kind == "manual" or leaf.topic == "pilot"
end

local describe -- forward

local function of_group(question, node)
  local found, more = {}, 0
  for _, part in ipairs(node.parts) do
    if node.kind == "any" and comes_by_itself(part) then return nil end
    local text = describe(question, part)
    if text and #found < PARTS then found[#found + 1] = text elseif text then more = more + 1 end
  end
  if more > 0 then found[#found + 1] = ("%d more"):format(more) end
  return found[1] and table.concat(found, node.kind == "any" and ", or " or ", and ")
end

-- What of a node has not come, in words; nil: nothing that is to be told, or it was told.
function describe(question, node)
  if question.seen[node] or trigger.satisfied(question.trigger, node) then return nil end
  question.seen[node] = true
  if node.parts then return of_group(question, node) end
  return of_leaf(question.app, node)
end

-- What it depends on is not there.
local function of_dependencies(runner)
  local found, lacking = {}, runner.lacking and runner.lacking() or {}
  for i = 1, math.min(#lacking, PARTS) do found[i] = of_job(lacking[i].runner, lacking[i].state) end
  if #lacking > PARTS then found[PARTS + 1] = ("%d more"):format(#lacking - PARTS) end
  return found[1] and table.concat(found, ", and ")
end

---What a job waits for that has never started, or a start of it; nil: it does not, or that is not to be told.
---@param app luapilot.App
---@param runner luapilot.Runner
---@return string?
function awaited.of(app, runner)
  local memory, own = runner.memory, runner.starter.trigger
  if memory.state == "blocked" then return of_dependencies(runner) end
  if memory.state ~= "waiting" or memory.runs > 0 or memory.exit or own.memory.gave_up then return nil end
  return describe({ app = app, trigger = own, seen = {} }, own.node)
end

---What a part of a trigger was waited for in vain, and how that is.
---@param app luapilot.App
---@param leaf luapilot.TriggerNode
---@param seconds number
---@return string
function awaited.in_vain(app, leaf, seconds)
  return ("gave up after %s of waiting for %s"):format(duration.format(seconds),
    of_leaf(app, leaf) or trigger_text.describe(leaf, duration.format))
end

-- --- the log ---------------------------------------------------------------------------------

local function tell_more(app, count)
  app:log("info", ("and %s"):format(count == 1 and "1 more job waits" or count .. " more jobs wait"), nil, "waits", nil,
    { jobs = count })
end

-- When it is told next.
local function due_after(since, now)
  local waited = now - since + PAUSE / 2
  if waited < SECOND then return since + SECOND end
  return since + SECOND + LATER * (math.floor((waited - SECOND) / LATER) + 1)
end

local function tell_one(runner, text, seconds)
  runner:log("info", ("has waited %s for %s"):format(duration.words(seconds), text), nil, "waits",
    { reason = text, seconds = seconds })
end

-- Tells what those wait for whose time has come.
local function tell(app, now)
  local count = 0
  for _, runner in ipairs(app.order) do
    local waits = runner.waits
    if waits and waits.due <= now + PAUSE / 2 then
      local text = awaited.of(app, runner)
      if text and count < MOST then tell_one(runner, text, math.floor(now - waits.since + PAUSE / 2)) end
      count = count + (text and 1 or 0)
      waits.due = due_after(waits.since, now)
      if not text then runner.waits = nil end
    end
  end
  if count > MOST then tell_more(app, count - MOST) end
end

local function next_due(app)
  local first
  for _, runner in ipairs(app.order) do
    if runner.waits then first = math.min(first or runner.waits.due, runner.waits.due) end
  end
  return first
end

---Tells what is waited for.
---@param app luapilot.App
---@return number? due    when it is to be looked again; nil: nobody waits
function awaited.look(app)
  local now = app.port.now()
  tell(app, now)
  local due = next_due(app)
  return due and math.max(due, now + PAUSE)
end

return awaited
