-- outlook: what a loaded file will do that its author may not expect. Pure: it looks at the file alone.
--
--   * a job that fails for good, and with it the only way to a job that should run on, while another job keeps the
--     pilot alive: a container that is up and serves nothing;
--   * a dependency that nothing starts by itself;
--   * a stop_timeout that the shutdown's bound cuts short, a drain that either of them does;
--   * a stop_signal that ends no program which does not catch it.

local job_calls = require "luapilot.script.job_calls"
local dependencies = require "luapilot.job.dependencies"
local duration = require "luapilot.base.duration"

local outlook = {}

local LAST_SHARE, LAST_MOST = 0.15, 1 -- of a shutdown, for the dead to be buried: as pilot/shutdown.lua has it
local TERM_SHARE, TERM_MOST = 0.2, 1  -- of a stop, for the signal: as job/machine.lua has it

-- --- who is needed ---------------------------------------------------------------------------

-- The leaves without which a trigger cannot fire: those that only `all` stands above.
local function needed_leaves(node, list)
  if node.kind == "all" then
    for _, part in ipairs(node.parts) do needed_leaves(part, list) end
  elseif node.kind ~= "any" then
    list[#list + 1] = node
  end
  return list
end

local NEEDS = { exit_success = true, healthy = true, running = true }

-- What must be so before this one starts: { source, state }.
local function needs_of(app, runner)
  local list = {}
  for _, leaf in ipairs(needed_leaves(runner.starter.trigger.node, {})) do
    local source = leaf.topic and app.jobs[leaf.topic:match "^job:(.*)$" or ""]
    if source and source ~= runner and NEEDS[leaf.event] then
      list[#list + 1] = { source = source, state = leaf.event }
    end
  end
  for _, one in ipairs(dependencies.of(runner)) do list[#list + 1] = { source = one.runner, state = one.state } end
  return list
end

-- Is it meant to be up as long as the pilot is? Who ends by itself has no checks, and nobody who looks for it.
local function runs_on(runner)
  local spec, policy = runner.spec, runner.spec.restart
  if spec.health[1] or spec.service then return true end
  return policy.policy == "always" and not policy.count and not policy.limit
end

-- Can it fail, and nothing brings it back then?
local function fails_for_good(runner)
  local spec, policy = runner.spec, runner.spec.restart
  if not (spec.exec or spec.run) then return false end
  return policy.policy == "never" or policy.count ~= nil or policy.limit ~= nil
end

local FAILURES = { exit_failed = true, stopped = true }
local ENDS = { exit_success = true, exit_failed = true, exited = true, stopped = true }

-- Does a task of the file wait for one of these of a job? Of which one only a run would tell.
local function is_awaited(app, events)
  for _, source in pairs(app.loader.sources) do
    for _, word in ipairs { "wait_for", "next" } do
      for event in source:gmatch(":%s*" .. word .. "[%s(]*[\"'](%l[%l_]*)") do
        if events[event] then return true end
      end
    end
  end
end

-- The topics of jobs whose failure starts another one.
local function topics_heard(app)
  local heard = {}
  for _, runner in ipairs(app.order) do
    for _, leaf in ipairs(runner.starter.trigger.leaves) do
      if FAILURES[leaf.event] then heard[leaf.topic] = true end
    end
  end
  return heard
end

-- Does the file say what is to be done when it fails?
local function is_cared_for(app, runner, heard)
  for event in pairs(FAILURES) do
    if app.bus:has(runner.topic, event) then return true end
  end
  return heard[runner.topic]
end

local CLOCK = { every = true, cron = true }

-- Does it start again and again, or may somebody start it at any time?
local function comes_again(runner)
  for _, leaf in ipairs(runner.starter.trigger.leaves) do
    if CLOCK[leaf.kind] or leaf.kind == "manual" then return true end
    if leaf.topic == "pilot" and leaf.event:find "^SIG" then return true end
  end
end

-- What keeps a pilot alive besides jobs, in words.
local function other_keeper(app)
  for _, holder in ipairs(app:sorted_holders()) do
    if holder.label then return holder.label end -- a template does not last; watches and timers have labels
  end
  local hears = app.bus:count(function(entry) return entry.topic == "pilot" and entry.name:find "^SIG" ~= nil end)
  return hears > 0 and "a handler of a signal" or nil
end

-- How sure it is that a job starts whatever fails: 1: it needs nothing that can fail for good, 2: no one-shot.
local function certainty(app, runner)
  local level = 1
  for _, need in ipairs(needs_of(app, runner)) do
    if need.state == "exit_success" then return nil end
    if fails_for_good(need.source) then level = 2 end
  end
  return level
end

-- The jobs that keep a pilot alive whatever becomes of others, two of each certainty: one of them may be what fails.
local function keepers_of(app)
  local keepers = { {}, {} }
  for _, runner in ipairs(app.order) do
    local stays = runs_on(runner) and not runner.starter:is_manual() or comes_again(runner)
    local list = keepers[stays and certainty(app, runner)]
    if list and not list[2] then list[#list + 1] = runner end
  end
  return keepers
end

-- What keeps the pilot alive when this job has failed, in words.
local function keeper_without(keepers, need)
  for level = 1, need.state == "exit_success" and 2 or 1 do
    for _, runner in ipairs(keepers[level]) do
      if runner ~= need.source then return ("job %q"):format(runner.spec.name) end
    end
  end
  return keepers.other
end

-- What one that is to run on needs, directly or by way of others: job → the first of these needs, with `by`, the name
-- of the one that is to run on.
local function all_needed(app)
  local needed = {}
  for _, runner in ipairs(app.order) do
    local list, i = { runs_on(runner) and runner or nil }, 1
    while list[i] do
      for _, need in ipairs(needs_of(app, list[i])) do
        local source = need.source
        if not needed[source] then
          needed[source], list[#list + 1], need.by = need, source, runner.spec.name
        end
      end
      i = i + 1
    end
  end
  return needed
end

local function has_main(app)
  for _, runner in ipairs(app.order) do
    if runner.spec.main then return true end
  end
end

local FAILS = {
  exit_success = "when it fails", healthy = "when it ends before it is healthy", running = "when it cannot be started",
}

local function warn_of(app, need, keeper)
  local source = need.source.spec
  app.mistakes:warn(source.where, ("job %q"):format(source.name),
    ("%s, job %q never starts, and %s keeps the pilot alive: %swith main = true in job %q the pilot ends then"):format(
      FAILS[need.state], need.by, keeper,
      need.state ~= "exit_success" and 'with restart = "always" it is started again, ' or "", need.by))
end

local function dead_ends(app)
  local keepers = keepers_of(app)
  keepers.other = other_keeper(app)
  if has_main(app) or is_awaited(app, ENDS) then return end -- the end of a main job is the pilot's
  local needed, awaited, heard = all_needed(app), is_awaited(app, NEEDS), topics_heard(app)
  for _, source in ipairs(app.order) do
    local need = needed[source]
    local keeper = need and keeper_without(keepers, need)
    local open = keeper and fails_for_good(source) and not is_cared_for(app, source, heard)
    if open and not (awaited and need.state ~= "exit_success") then warn_of(app, need, keeper) end
  end
end

-- --- the bound -------------------------------------------------------------------------------

-- How long a shutdown leaves a stop.
local function most_of(app) return app.shutdown_timeout - math.min(LAST_MOST, LAST_SHARE * app.shutdown_timeout) end

local function stop_timeouts(app)
  local seconds, most = app.shutdown_timeout, most_of(app)
  for _, runner in ipairs(app.order) do
    local given = rawget(runner.spec, "stop_timeout")
    if given and given > most then
      app.mistakes:warn(runner.spec.where, ("job %q.stop_timeout"):format(runner.spec.name),
        ("%s is more than a shutdown leaves it: after %s it is killed (pilot.shutdown_timeout is %s)")
          :format(duration.format(given), duration.format(most), duration.format(seconds)))
    end
  end
end

local function drains(app)
  for _, runner in ipairs(app.order) do
    local spec = runner.spec
    local budget = math.min(spec.stop_timeout, most_of(app))
    local most = budget - math.min(TERM_MOST, TERM_SHARE * budget)
    if spec.drain and spec.drain > most then
      app.mistakes:warn(spec.where, ("job %q.drain"):format(spec.name),
        ("%s is more than a stop leaves it: after %s it is cut short (stop_timeout is %s, pilot.shutdown_timeout %s)")
          :format(duration.format(spec.drain), duration.format(most), duration.format(spec.stop_timeout),
            duration.format(app.shutdown_timeout)))
    end
  end
end

-- --- what asks for the end -------------------------------------------------------------------

-- What the kernel does by itself is nothing, or to stop the program. (SIGWINCH is what httpd waits for.)
local ENDS_NOTHING = {
  SIGCHLD = true, SIGCONT = true, SIGURG = true, SIGTSTP = true, SIGTTIN = true, SIGTTOU = true,
}

local function stop_signals(app)
  for _, runner in ipairs(app.order) do
    local spec = runner.spec
    if ENDS_NOTHING[spec.stop_signal] then
      app.mistakes:warn(spec.where, ("job %q.stop_signal"):format(spec.name),
        ('%s ends no program that does not catch it: such a stop lasts %s, until SIGKILL; most programs end on '
          .. '"SIGTERM"'):format(spec.stop_signal, duration.format(spec.stop_timeout)))
    end
  end
end

-- --- what is waited for ----------------------------------------------------------------------

-- The names of jobs that the file calls a method of that starts them. As far as its text shows.
local function called_jobs(app)
  local called = {}
  for _, source in pairs(app.loader.sources) do
    for _, method in ipairs { "start", "restart" } do
      for _, call in ipairs(job_calls.on_jobs(source, method)) do called[call.job] = true end
    end
  end
  return called
end

-- A dependency that only a call starts.
local function manual_dependencies(app)
  local called -- not before somebody asks
  for _, runner in ipairs(app.order) do
    for _, one in ipairs(dependencies.of(runner)) do
      local name = one.runner.spec.name
      local manual = one.runner.starter:is_manual()
      called = called or manual and called_jobs(app)
      if manual and not called[name] then
        app.mistakes:warn(runner.spec.where, ("job %q.depends_on%s"):format(runner.spec.name, one.path),
          ('job %q has when = "manual", so nothing starts it by itself: job %q waits until a handler calls its '
          .. ":start()"):format(name, runner.spec.name))
      end
    end
  end
end

---Adds a warning for each.
---@param app luapilot.App      loaded, without mistakes
function outlook.look(app)
  dead_ends(app)
  stop_timeouts(app)
  drains(app)
  stop_signals(app)
  manual_dependencies(app)
end

return outlook
