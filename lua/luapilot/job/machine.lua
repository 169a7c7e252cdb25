-- machine: the machine of a job. State × input → next state and effects. Pure.
--
--            start                 prepared            exited              group_gone
--   waiting ───────▶ preparing ────────────▶ running ─────────▶ ending ───────────────▶ waiting
--      ▲                                        │                 ▲                     backoff ─▶ …
--      │                                        │ stop            │                     complete
--    (held)  ◀── stopped ◀── group gone ──── stopping ────────────┘                     held
--
--   waiting    for its trigger            backoff    will be started again after a delay
--   preparing  `prepare` runs             held       stopped by hand: until start, or the trigger
--   blocked    before that: waits for what it depends on (job/blocked.lua)
--   running    its process lives          complete   nothing will start it again
--   stopping   handlers, drain, signal, kill: one budget
--   ending     its leader has exited by itself; the rest of its group is being ended
--
-- An input is a name and a table; what comes out is data: { "spawn" }, { "signal", "SIGTERM", "group" },
-- { "timer", "kill", 10 }, { "publish", "exit_failed", { code = 1, … } } … which job/runner.lua applies, in
-- order. A new process is never asked for before the old one's group is gone.
--
-- It owns the state of one job (`memory`, plain data: it survives a reload). It never waits, never asks
-- for the time (`now` and `random` come in) and knows no other job.

local constant = require "luapilot.base.constant"
local copy = require "luapilot.base.copy"
local lazy = require "luapilot.base.lazy"
local restart = require "luapilot.schema.restart"

local postmortem = lazy.require "luapilot.job.postmortem"
local blocked = lazy.require "luapilot.job.blocked"
local duration = lazy.require "luapilot.base.duration"

local machine = {}

local RELOAD_AGE = 1        -- seconds: a process younger than this has no handler for SIGHUP yet
local TERM_SHARE = 0.2      -- of stop_timeout, at most 1 s, is kept for the signal to work
local SPAWN_BACKOFF_MAX = 15
local LEAVING = 1           -- seconds: the longest that a deregistration holds up a stop
local AGAIN = 1             -- seconds from a start that failed to the next one by a trigger: jobs that start each other
                            -- when they fail would do nothing else

-- States as the user sees them (job.state).
machine.VISIBLE = {
  waiting = "waiting", preparing = "preparing", running = "running", stopping = "stopping",
  ending = "stopping", blocked = "blocked", backoff = "backoff", held = "stopped", complete = "complete",
}

---@class luapilot.JobStop      a stop under way
---@field handlers boolean      they are done
---@field signalled boolean     it was told to end
---@field exited "asked"|"early"|nil   its leader has: after its signal, or by itself
---@field gone boolean          nobody of it is left
---@field asked number?         when; nil: not yet
---@field killed boolean?       for the time that it took
---@field bound boolean?        jobs that are bound to it are stopped first: `stopping` is not told yet

---@class luapilot.JobMemory    plain data
---@field state string
---@field runs integer          starts so far
---@field restarts integer      of them, by the restart policy
---@field since number          when the state was entered
---@field pid integer?
---@field exit { code: integer, signal: string?, reason: string, at: number, asked: boolean?, final: boolean?,
---  error: string?, root: string? }?     root: as of luapilot.Unmet
---@field again "trigger"|"user"|"bind"|nil   start once more when the group is gone
---@field hold boolean?         held by hand
---@field closing boolean?      the pilot shuts down
---@field stop luapilot.JobStop?        meanwhile
---@field killed_by "timeout"|"health"|nil
---@field told number?          when it, or what it has left, was told to end, outside of a stop
---@field started number?       when its last run began; nil: it has had none, or could not be started
---@field health string         "unknown"|"healthy"|"unhealthy"
---@field reloading boolean?    a reload waits for the job to be ready
---@field policy table?         schema/restart.lua's memory, once there was something to decide
---@field background luapilot.Background?   it has put itself into the background
---@field refused integer?      spawns that the machine refused in a row
---@field due number?           in backoff: when the next start is
---@field unmet luapilot.Unmet?  it can never start, and why
---@field cut_short boolean?     the shutdown had to kill it

---@param now number
---@return luapilot.JobMemory
function machine.new(now)
  return {
    state = "waiting", runs = 0, restarts = 0, since = now, health = "unknown",
  }
end

local ACTIVE = { running = true, stopping = true, ending = true, preparing = true, blocked = true }

---Does a process (or a Lua run) of the job exist, or is one about to?
---@param memory luapilot.JobMemory
---@return boolean
function machine.active(memory) return ACTIVE[memory.state] == true end

local function emit(c, name, a, b, more)
  c.effects[#c.effects + 1] = { name, a, b, more }
end

-- --- starting --------------------------------------------------------------------------------

local function begin(c)
  local m = c.memory
  m.again, m.hold, m.killed_by, m.told, m.stop, m.reloading, m.unmet = nil, nil, nil, nil, nil, nil, nil
  m.runs, m.health = m.runs + 1, "unknown"
  if c.spec.depends_on then
    emit(c, "depend")
    return "blocked"
  end
  emit(c, c.spec.prepare and "prepare" or "spawn")
  return "preparing"
end

-- Started by the trigger or by hand: the restart policy counts from here.
local function count_anew(m)
  if m.policy then restart.triggered(m.policy) end
end

local function begin_anew(c)
  count_anew(c.memory)
  return begin(c)
end

-- After a stop. With what it is bound to it goes on where it was: count, limit and backoff of the policy, too.
local function begin_again(c)
  return c.memory.again == "bind" and begin(c) or begin_anew(c)
end

-- `said`: the code that the program itself ended with, for the log.
local function publish_exit(c, said)
  local exit = c.memory.exit
  local name = exit.code == 0 and "exit_success" or "exit_failed"
  emit(c, "publish", name, {
    code = exit.code, signal = exit.signal, reason = exit.reason, error = exit.error,
    name = nil, source = nil, at = nil, -- with room for what an event has
  }, said)
end

-- --- what comes after a run ------------------------------------------------------------------

local ALWAYS -- for a job with restart_after and restart = "never"

local function policy_of(c)
  if c.memory.killed_by == "health" and c.spec.restart.policy == "never" then
    ALWAYS = ALWAYS or restart.parse("always")
    return ALWAYS
  end
  return c.spec.restart
end

-- Nothing starts it again by itself: the trigger may, or not; only the app knows the other jobs.
local function rest(c)
  emit(c, "rest")
  return "waiting"
end

-- How long the policy waits before the next start; nil and why there is none.
local function delay_of(c)
  local m = c.memory
  local run = { success = m.exit.code == 0 and not m.killed_by, started = m.started or c.now, ended = c.now }
  m.policy = m.policy or restart.new()
  local delay, why = restart.decide(policy_of(c), m.policy, run, c.random)
  return delay, why, run.success
end

-- It ended by itself while the pilot was being shut down: that may have been the reason for it.
local function end_closing(c)
  local m = c.memory
  m.exit.final = not m.again and not delay_of(c) or nil
  emit(c, "publish", "stopped", {})
  return "complete"
end

local function back_off(c, delay)
  c.memory.due = c.now + delay
  emit(c, "timer", "restart", delay)
  return "backoff"
end

local function after_run(c)
  local m = c.memory
  if m.closing then return end_closing(c) end
  if m.hold then
    emit(c, "publish", "stopped", {})
    return "held"
  end
  if m.again then return begin_anew(c) end
  local delay, why, success = delay_of(c)
  if not delay then
    local used_up = policy_of(c).policy ~= "never" and not success
    if used_up then emit(c, "log", "error", "not started again: " .. why, { event = "gave_up", reason = why }) end
    return rest(c)
  end
  m.restarts = m.restarts + 1
  back_off(c, delay) -- a timer even for 0: between two runs the world may speak
  if delay > 0 then
    emit(c, "log", "info", "will be started again in " .. duration.words(delay), {
      event = "backoff", shown = { restarts = m.restarts }, delay = delay,
    })
  end
  return "backoff"
end

-- A run that never had a process: the spawn, prepare or the trigger failed.
local function failed_start(c, code, reason, message)
  local m = c.memory
  m.exit = { code = code, reason = reason, at = c.now, error = message }
  m.started = nil
  publish_exit(c)
  return after_run(c)
end

-- The machine refused for lack of something that comes back: wait and retry, never an exit.
local function refused(c, message)
  local m = c.memory
  m.refused = (m.refused or 0) + 1
  local delay = math.min(2 ^ (m.refused - 1), SPAWN_BACKOFF_MAX) * (1 - 0.25 * c.random())
  emit(c, "log", "error", ("cannot be started now: %s; the next try is in %s"):format(message,
    duration.words(delay)), { event = "start_delayed", reason = message, delay = delay })
  return back_off(c, delay)
end

-- --- stopping --------------------------------------------------------------------------------

local function stay_found(c) -- nobody is waited for any more
  if not c.memory.stop.leaving then return end
  c.memory.stop.leaving = nil
  emit(c, "untimer", "deregister")
end

-- In "mixed" the port kills the rest when the leader has ended: it is given SIGKILL as the end signal.
local function hearer(c) return c.spec.stop_mode == "mixed" and "leader" or "group" end

local function send_stop(c)
  local m = c.memory
  if m.stop.signalled then return end
  m.stop.signalled = true
  stay_found(c)
  emit(c, "untimer", "handlers")
  emit(c, "untimer", "drain")
  emit(c, "signal", c.spec.stop_signal, hearer(c))
end

-- Others find it no longer, before it is told to stop.
local function leave_or_signal(c)
  if not c.spec.service then return send_stop(c) end
  c.memory.stop.leaving = true
  emit(c, "timer", "deregister", LEAVING)
  emit(c, "deregister")
end

-- Whom others could find until now has requests under way.
local function drain_or_signal(c, was_found)
  if not c.memory.stop.leaving then return end
  stay_found(c)
  local drain = was_found and c.spec.drain
  if drain then
    emit(c, "log", "info", "draining for " .. duration.words(drain), { event = "draining", seconds = drain })
    return emit(c, "timer", "drain", drain)
  end
  send_stop(c)
end

-- Its own budget begins. `most`: what is left of a shutdown.
local function begin_stop(c, most)
  local stop, budget = c.memory.stop, math.min(c.spec.stop_timeout, most or math.huge)
  stop.bound, stop.asked = nil, c.now
  emit(c, "timer", "handlers", budget - math.min(1, TERM_SHARE * budget))
  emit(c, "timer", "kill", budget)
  emit(c, "stopping")
end

local function ask_to_stop(c)
  local m = c.memory
  m.stop = { handlers = false, signalled = false, gone = false, bound = c.spec.bound and not m.closing or nil }
  m.reloading = nil
  emit(c, "untimer", "run")
  emit(c, "untimer", "reload")
  emit(c, "unprobe")
  if m.stop.bound then emit(c, "unbind") else begin_stop(c, c.input.budget) end
  return "stopping"
end

-- Those that are bound to it are gone, or take too long.
local function release(c, most)
  if not c.memory.stop.bound then return end
  emit(c, "untimer", "unbind")
  begin_stop(c, most)
end

-- Nothing else helped. In a shutdown that counts for the pilot's exit code.
local function kill(c)
  local m = c.memory
  emit(c, "signal", "SIGKILL", "group")
  m.cut_short = m.cut_short or m.closing and (c.spec.exec or c.spec.run) ~= nil or nil
end

-- How its program ended, for the log; `told`: that was said already.
local function how_it_ended(c)
  local stop, exit = c.memory.stop, c.memory.exit
  if not (stop.exited and c.spec.exec) then return nil end
  local told = stop.exited == "early" or exit.signal == "SIGKILL" and stop.killed
  return { code = exit.code, signal = exit.signal, told = told }
end

local function finish_stop(c)
  local stop = c.memory.stop
  if not (stop.gone and stop.handlers) then return end
  stay_found(c)
  emit(c, "untimer", "handlers")
  emit(c, "untimer", "drain")
  emit(c, "untimer", "kill")
  local m = c.memory
  emit(c, "publish", "stopped", {}, how_it_ended(c))
  m.stop, m.pid = nil, nil
  if m.closing then return "complete" end
  return m.again and begin_again(c) or "held"
end

local function record_exit(c, asked)
  local m, input = c.memory, c.input
  local reason, why = m.killed_by or (input.signal and "signal" or (input.reason or "exit")), input.error
  if input.oom and not m.killed_by then reason, why = postmortem.short_of_memory(c.spec, input, reason) end
  local code = input.code
  if input.unfollowed then postmortem.say_unfollowed(c, emit) end
  if m.killed_by == "timeout" then code = 124 end
  if m.killed_by == "health" and code == 0 then code = 1 end -- it failed, however politely it then ended
  m.health, m.pid = "unknown", nil
  m.exit = {
    code = code, signal = input.signal, reason = reason, at = c.now, asked = asked, error = why,
  }
end

-- --- the machine: state × input --------------------------------------------------------------

-- Each cell: function(c) → next state, or nil to stay. c = { spec, memory, input, now, random, effects }.
local cells = {}

-- A trigger starts it so soon after a start that failed that it has to wait, no longer than it waits already.
local function start_later(c)
  local m = c.memory
  local due = c.input.again == "trigger" and m.exit and not m.started and m.exit.at + AGAIN
  if not due or due <= c.now then return nil end
  if m.state == "backoff" and m.due and m.due <= due then return "backoff" end -- that start serves it
  count_anew(m)
  return back_off(c, due - c.now)
end

local function start(c) return start_later(c) or begin_anew(c) end

-- It has run, and now nothing starts it by itself.
local function say_stopped(c)
  if c.memory.exit then emit(c, "publish", "stopped", {}) end
end

-- Inputs that mean the same in every state that has no process.
local function hold(c)
  if c.input.again then return begin_anew(c) end
  c.memory.hold = true
  return "held"
end

local function close(c)
  c.memory.closing = true
  return "complete"
end

local function hold_waiting(c)
  if not c.input.again then say_stopped(c) end
  return hold(c)
end

local function close_waiting(c)
  say_stopped(c)
  return close(c)
end

-- The trigger can never fire again. (A call may start it yet.)
local function dead(c)
  local m, never = c.memory, c.input.unmet
  if m.exit then m.exit.final = true end -- it counts for the pilot's exit code
  m.unmet = never
  if never then
    emit(c, "log", "warn", "will not be started: " .. never.why, { event = "never_starts", reason = never.why })
  end
  say_stopped(c)
  return "complete"
end

local function give_up(c)
  local m = c.memory
  m.exit = { code = 1, reason = "trigger", at = c.now, error = c.input.message }
  publish_exit(c)
  return rest(c)
end

cells.waiting = { start = start, stop = hold_waiting, close = close_waiting, dead = dead, give_up = give_up }
cells.blocked = blocked
cells.held = { start = start, stop = hold, close = close }
cells.complete = { start = start, close = close, stop = function(c) return c.input.again and begin_anew(c) end }

-- In place of the restart that it waits for.
local function instead(what)
  return function(c)
    emit(c, "untimer", "restart")
    return what(c)
  end
end

local start_now = instead(begin_anew)

cells.backoff = {
  start = function(c) return start_later(c) or start_now(c) end,
  restart_due = begin,
  stop = instead(hold_waiting),
  close = instead(close_waiting),
}

-- An event of the trigger while it runs: once more afterwards. A start by hand takes nothing of that away.
local function start_again(c)
  c.memory.again = c.input.again or c.memory.again
end

-- What comes after the stop that was asked for: held by hand, or started again.
local function note_stop(c)
  c.memory.hold = not c.input.again
  c.memory.again = c.input.again
end

-- A stop during prepare: there is no process, so there is nothing to signal.
local function stop_preparing(c)
  emit(c, "unprepare")
  emit(c, "publish", "stopped", {})
  if c.memory.closing then return "complete" end
  return c.memory.again and begin_again(c) or "held"
end

cells.preparing = {
  start = start_again,
  prepared = function(c) emit(c, "spawn") end,
  prepare_failed = function(c) return failed_start(c, 1, "prepare", c.input.message) end,
  spawned = function(c)
    local m = c.memory
    m.pid, m.started, m.refused = c.input.pid, c.now, nil
    if c.spec.timeout then emit(c, "timer", "run", c.spec.timeout) end
    emit(c, "probe")
    return "running"
  end,
  spawn_failed = function(c)
    if c.input.transient then return refused(c, c.input.message) end
    c.memory.refused = nil
    return failed_start(c, c.input.code, "spawn", c.input.message)
  end,
  stop = function(c)
    note_stop(c)
    return stop_preparing(c)
  end,
  close = function(c)
    c.memory.closing = true
    return stop_preparing(c)
  end,
}

local function kill_for(c, why, signal, target)
  local m = c.memory
  m.killed_by = why
  emit(c, "untimer", "run")
  emit(c, "signal", signal, target)
end

local function is_ready(c)
  local m = c.memory
  if #c.spec.health > 0 and m.health == "unknown" then return false end
  return c.now - m.started >= RELOAD_AGE
end

-- A reload that came too early: sent as soon as the job can take it.
local function reload_or_defer(c)
  local m = c.memory
  if is_ready(c) then
    m.reloading = nil
    emit(c, "untimer", "reload")
    emit(c, "reload")
    return
  end
  m.reloading = true
  local age = c.now - m.started
  if age < RELOAD_AGE then emit(c, "timer", "reload", RELOAD_AGE - age) end
end

-- Nobody of its session is left, but of those who called setsid.
local function say_left(c)
  local input = c.input
  if not (input.strays or input.left or input.ended) then return end
  local lives, ended = postmortem.gone(c.spec, c.memory, input, policy_of(c).policy == "always")
  if lives then emit(c, "log", "warn", lives, { event = "left_behind" }) end
  if ended then emit(c, "log", "info", ended, { event = "left_behind", ended = input.ended }) end
end

-- It was told to end, or its leader has, and that takes too long.
local function kill_late(c)
  local m = c.memory
  if m.told then -- once: a shutdown may hurry afterwards
    emit(c, "log", "warn", postmortem.killed(m, c.now), { event = "killed", reason = "stop_timeout" })
  end
  m.told = nil
  kill(c)
end

-- The pilot shuts down, and it is not yet this job's turn to stop: it goes on, but is not started again.
local function freeze(c) c.memory.closing = true end

-- In "mixed" only the one before it was asked to end.
local function succeeded(c)
  local m = c.memory
  m.pid = c.input.pid
  emit(c, "log", "info", ("its main process is now %d"):format(m.pid), { event = "main" })
  local asked = m.stop and m.stop.signalled or m.killed_by == "health"
  if asked and hearer(c) == "leader" then emit(c, "signal", c.spec.stop_signal, "leader") end
end

cells.running = {
  succeeded = succeeded,
  start = start_again,
  freeze = freeze,
  exited = function(c)
    record_exit(c)
    emit(c, "untimer", "run")
    emit(c, "untimer", "reload")
    emit(c, "unprobe")
    if not c.memory.killed_by then
      c.memory.told = c.now
      emit(c, "timer", "kill", c.spec.stop_timeout)
    end
    publish_exit(c, c.input.code)
    return "ending"
  end,
  run_due = function(c)
    emit(c, "log", "warn", ("ran longer than its timeout of %s: killed"):format(duration.format(c.spec.timeout)), {
      event = "killed", reason = "timeout",
    })
    kill_for(c, "timeout", "SIGKILL", "group")
  end,
  health = function(c)
    local m, input = c.memory, c.input
    if input.change then
      m.health = input.change
      emit(c, "publish", input.change, { output = input.output }, input.check)
    end
    if input.restart and not m.killed_by then
      local failed = input.restart == 1 and "a check" or input.restart .. " checks in a row"
      emit(c, "log", "warn", ("failed %s (restart_after): is stopped and started again"):format(failed), {
        event = "restarted", shown = { check = input.check, output = input.output }, reason = "health",
      })
      emit(c, "unprobe")
      kill_for(c, "health", c.spec.stop_signal, hearer(c))
      m.told = c.now
      emit(c, "timer", "kill", c.spec.stop_timeout)
    end
    if m.reloading then reload_or_defer(c) end
  end,
  kill_due = kill_late,
  lost = function(c) -- a Lua run does not survive a reload
    emit(c, "untimer", "run")
    emit(c, "untimer", "reload")
    emit(c, "unprobe")
    return begin_anew(c)
  end,
  reload = reload_or_defer,
  reload_due = function(c)
    if c.memory.reloading then reload_or_defer(c) end
  end,
  stop = function(c)
    note_stop(c)
    return ask_to_stop(c)
  end,
  close = function(c)
    c.memory.closing = true
    return ask_to_stop(c)
  end,
}

local function gone_while_stopping(c)
  c.memory.stop.gone = true
  say_left(c)
  return finish_stop(c)
end

local function gone_by_itself(c)
  emit(c, "untimer", "kill")
  say_left(c)
  return after_run(c)
end

cells.stopping = {
  succeeded = succeeded,
  freeze = freeze,
  start = function(c) -- by hand, or by the trigger: when it has stopped
    c.memory.again, c.memory.hold = c.input.again or "user", nil
  end,
  handlers_done = function(c)
    local stop = c.memory.stop
    stop.handlers = true
    if stop.gone then return finish_stop(c) end
    if not stop.signalled then return leave_or_signal(c) end
  end,
  deregistered = function(c) drain_or_signal(c, c.input.was) end,
  deregister_due = function(c) drain_or_signal(c, true) end,
  drain_due = function(c) send_stop(c) end,
  handlers_due = function(c) -- the rest of the budget belongs to the signal, however long handlers or the drain take
    local stop = c.memory.stop
    if not stop.handlers then
      emit(c, "abandon_handlers")
      if c.spec.service and not stop.signalled then emit(c, "deregister") end
    end
    if not stop.gone then send_stop(c) end
  end,
  awaits = function(c) emit(c, "timer", "unbind", c.input.seconds) end,
  unbind_due = function(c) release(c) end,
  released = function(c) release(c) end,
  kill_due = function(c)
    local stop = c.memory.stop
    if not stop.gone and not stop.killed then -- a shutdown's time may be over at the same moment
      emit(c, "log", "warn", postmortem.not_ended(stop, c.now), { event = "killed", reason = "stop_timeout" })
      kill(c)
      stop.signalled, stop.killed = true, true
    end
    if stop.bound then emit(c, "untimer", "unbind") end
    stop.bound = nil
    if not stop.handlers then
      if stop.asked then emit(c, "abandon_handlers") end
      stop.handlers = true
      return finish_stop(c)
    end
  end,
  exited = function(c) -- by itself, perhaps, and its handlers go on: whoever waits for it is told
    record_exit(c, true)
    local stop = c.memory.stop
    stop.exited = stop.signalled and "asked" or "early"
    emit(c, "exited", stop.exited)
  end,
  group_gone = gone_while_stopping,
  lost = gone_while_stopping,
  stop = note_stop,
  close = function(c) -- with a budget: nobody is left who needs it
    c.memory.closing = true
    if c.input.budget then release(c, c.input.budget) end
  end,
}

cells.ending = {
  freeze = freeze,
  start = function(c) c.memory.again, c.memory.hold = c.input.again or "user", nil end,
  kill_due = kill_late,
  group_gone = gone_by_itself,
  lost = gone_by_itself,
  stop = note_stop,
  close = function(c) c.memory.closing = true end,
}

machine.CELLS = cells

---Feeds an input into a job. Inputs that mean nothing in the present state do nothing.
---@param spec table            of schema/job.lua
---@param memory luapilot.JobMemory    changed in place
---@param name string           start stop freeze close prepared prepare_failed spawned spawn_failed exited group_gone
---                             succeeded handlers_done deregistered health reload dead give_up lost provided awaits
---                             released, and <timer>_due
---@param input table           start: { again = "trigger"|"user"|nil }; stop: { again }, or "bind"; close: { budget };
---                             awaits: { seconds }; succeeded: { pid }; deregistered: { was };
---                             exited: { code, signal, oom, unfollowed };
---                             group_gone: { strays, count, left, name, ended };
---                             spawn_failed: { code, message, transient };
---                             health: { change, restart, output, check }: which one, for the log; dead: { unmet }
---@param now number
---@param random fun(): number
---@return table[] effects      in the order in which they must be applied
---@return boolean changed      the state is another than before
function machine.input(spec, memory, name, input, now, random)
  local cell = cells[memory.state][name]
  local starts = name == "start" or input.again
  if not cell or (memory.closing and starts) then return constant.NONE, false end
  local c = { spec = spec, memory = memory, input = input, now = now, random = random }
  c.effects = { nil, nil, nil, nil, nil, nil } -- with room for most
  local before = memory.state
  local state = cell(c)
  if not state or state == before then return c.effects, false end
  memory.state, memory.since = state, now
  return c.effects, true
end

---@param memory luapilot.JobMemory
---@return table   plain data
function machine.snapshot(memory)
  return copy.deep(memory)
end

---@param data table   of snapshot()
---@return luapilot.JobMemory
function machine.restore(data)
  return copy.deep(data)
end

return machine
