-- outlook: what a loaded file will do that its author may not expect. Pure: it looks at the file alone.
--
--   * a one-shot that fails for good, and with it the only way to a job that should run on, while another job keeps
--     the pilot alive: a container that is up and serves nothing;
--   * a dependency that nothing starts by itself;
--   * a stop_timeout that the shutdown's bound cuts short, a drain that either of them does;
--   * a stop_signal that ends no program which does not catch it.

local calls = require "luapilot.calls"
local dependencies = require "luapilot.dependencies"
local duration = require "luapilot.duration"

local outlook = {}

local LAST_SHARE, LAST_MOST = 0.15, 1 -- of a shutdown, for the dead to be buried: as shutdown.lua has it
local TERM_SHARE, TERM_MOST = 0.2, 1  -- of a stop, for the signal: as job.lua has it

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

-- The jobs that must end well before this one starts.
local function needed_ends(app, runner)
  local list, own = {}, runner.spec.depends_on and dependencies.as_trigger(runner) or runner.starter.trigger
  for _, leaf in ipairs(needed_leaves(own.node, {})) do
    local source = leaf.topic and app.jobs[leaf.topic:match "^job:(.*)$" or ""]
    if source and source ~= runner and leaf.event == "exit_success" then list[#list + 1] = source end
  end
  return list
end

-- Is it meant to be up as long as the pilot is? Who ends by itself has no checks, and nobody who looks for it.
local function runs_on(runner)
  local spec, policy = runner.spec, runner.spec.restart
  if spec.health[1] or spec.service then return true end
  return policy.policy == "always" and not policy.count and not policy.limit
end

-- Does nothing bring it back when it has failed?
local function fails_for_good(runner)
  local policy = runner.spec.restart
  return policy.policy == "never" or policy.count ~= nil or policy.limit ~= nil
end

local FAILURES = { exit_failed = true, stopped = true }
local ENDS = { exit_success = true, exit_failed = true, exited = true, stopped = true }

-- Does a task of the file wait for the end of a job? Of which one only a run would tell.
local function waits_for_ends(app)
  for _, source in pairs(app.loader.sources) do
    for _, word in ipairs { "wait_for", "next" } do
      for event in source:gmatch(":%s*" .. word .. "[%s(]*[\"'](%l[%l_]*)") do
        if ENDS[event] then return true end
      end
    end
  end
end

-- Does the file say what is to be done when it fails?
local function is_cared_for(app, runner)
  for event in pairs(FAILURES) do
    if app.bus:has(runner.topic, event) then return true end
  end
  for _, other in ipairs(app.order) do
    for _, leaf in ipairs(other.starter.trigger.leaves) do
      if leaf.topic == runner.topic and FAILURES[leaf.event] then return true end
    end
  end
end

local CLOCK = { every = true, cron = true }

-- Does it start again and again, or may somebody start it at any time?
local function comes_again(runner)
  for _, leaf in ipairs(runner.starter.trigger.leaves) do
    if CLOCK[leaf.kind] or leaf.kind == "manual" then return true end
    if leaf.topic == "pilot" and leaf.event:find "^SIG" then return true end
  end
end

-- The first thing that keeps a pilot alive whatever becomes of those that must end well, in words.
local function keeper_of(app)
  for _, runner in ipairs(app.order) do
    local stays = runs_on(runner) and not runner.starter:is_manual() or comes_again(runner)
    if stays and not needed_ends(app, runner)[1] then return ("job %q"):format(runner.spec.name) end
  end
  for _, holder in ipairs(app:sorted_holders()) do
    if holder.label then return holder.label end -- a template does not last; watches and timers have labels
  end
  local hears = app.bus:count(function(entry) return entry.topic == "pilot" and entry.name:find "^SIG" ~= nil end)
  return hears > 0 and "a handler of a signal" or nil
end

-- The jobs that must end well before one that is to run on, directly or by way of others: job → the first of those.
local function all_needed(app)
  local needed = {}
  for _, runner in ipairs(app.order) do
    local list, i = { runs_on(runner) and runner or nil }, 1
    while list[i] do
      for _, source in ipairs(needed_ends(app, list[i])) do
        if not needed[source] then needed[source], list[#list + 1] = runner, source end
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

local function one_shots(app)
  local keeper = keeper_of(app)
  if not keeper or has_main(app) or waits_for_ends(app) then return end -- the end of a main job is the pilot's
  local needed = all_needed(app)
  for _, source in ipairs(app.order) do
    if needed[source] and fails_for_good(source) and not is_cared_for(app, source) then
      local name = needed[source].spec.name
      app.mistakes:warn(source.spec.where, ("job %q"):format(source.spec.name),
        ("when it fails, job %q never starts, and %s keeps the pilot alive: with main = true in job %q the pilot "
          .. "ends then"):format(name, keeper, name))
    end
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

-- Does the file call a method that starts it? As far as its text shows.
local function is_called(app, name)
  for _, source in pairs(app.loader.sources) do
    for _, method in ipairs { "start", "restart" } do
      for _, call in ipairs(calls.on_jobs(source, method)) do
        if call.job == name then return true end
      end
    end
  end
end

-- A dependency that only a call starts.
local function manual_dependencies(app)
  for _, runner in ipairs(app.order) do
    for _, one in ipairs(dependencies.of(runner)) do
      local name = one.runner.spec.name
      if one.runner.starter:is_manual() and not is_called(app, name) then
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
  one_shots(app)
  stop_timeouts(app)
  drains(app)
  stop_signals(app)
  manual_dependencies(app)
end

return outlook
