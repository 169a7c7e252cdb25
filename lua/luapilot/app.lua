-- app: the whole of one pilot. It wires the parts, loads a pilot.lua, starts what it declares, and ends it.
--
--   declaring ──load──▶ loaded ──start──▶ running ──shutdown──▶ closing ──▶ ended
--
-- It owns the list of jobs, the queue of commands, the order of the shutdown and the exit code. It never talks
-- to the world but through the port, and it never runs user code outside a task, the top level of the file apart.

local bus = require "luapilot.bus"
local environment = require "luapilot.environment"
local loader = require "luapilot.loader"
local loop = require "luapilot.loop"
local mistakes = require "luapilot.mistakes"
local render = require "luapilot.render"
local signals = require "luapilot.signals"
local size = require "luapilot.size"
local luapilot = require "luapilot"
local task = require "luapilot.task"
local validate = require "luapilot.validate"

local app = {}

local SHUTDOWN_TIMEOUT = 8      -- below Docker's 10 s
local OVER = { complete = true, held = true } -- states in which a job waits for nothing
local KEPT_ERRORS = 1000
local PATIENCE = 1              -- seconds that user code may run without waiting
local MEMORY, LEAST_MEMORY = 512 * 1024 ^ 2, 16 * 1024 ^ 2 -- bytes that Lua may have in use
local EXHAUSTED = 70            -- the exit code when that does not help any more
local LAST_SHARE, LAST_MOST = 0.15, 1 -- of it: what is left for the dead to be buried after SIGKILL

---@class luapilot.App
---@field port luapilot.Port
---@field loop luapilot.Loop
---@field tasks luapilot.Tasks
---@field bus luapilot.Bus
---@field jobs table<string, luapilot.Runner>
---@field order luapilot.Runner[]        in the order of declaration
---@field phase "declaring"|"running"|"closing"|"ended"
---@field ended boolean
---@field exit_code integer?
---@field renders luapilot.Renders
---@field templates table<string, luapilot.Keeper>   by path
---@field errors { message: string }[]   what handlers raised, the first thousand
---@field observe fun(event: table)?     sees every published event
local App = {}
App.__index = App

---@param options { port: luapilot.Port, args: string[]?, calendar: table?, lenient: boolean?, state: table? }
---       state: pilot.state, of a former core
---@return luapilot.App
function app.new(options)
  local self = setmetatable({
    port = options.port, args = options.args or {}, calendar = options.calendar,
    searchpath = options.searchpath, lenient = options.lenient or false, libraries = options.libraries,
    templates = {}, template_objects = {},
    jobs = {}, order = {}, objects = {}, declared = {}, starts = {}, holders = {}, commands = {}, errors = {},
    secrets = {},
    state = options.state or {},
    mistakes = mistakes.new(), phase = "declaring", ended = false, dirty = false, finishing = 0,
    resting = {}, doubtful = {}, rest_count = 0, held_jobs = {}, unfinished = 0,
    shutdown_timeout = SHUTDOWN_TIMEOUT, signal_number = signals.number,
  }, App)
  self.loop = loop.new(options.port)
  self.tasks = task.new(self.loop)
  self.loop:phase(function() return self:run_commands() end)
  self.bus = bus.new {
    loop = self.loop, tasks = self.tasks,
    on_error = function(subscription, event, err) self:complain(subscription.label, err, event) end,
    log = function(...) self:log(...) end,
  }
  self.loop:phase(function() return self:look_around() end)
  self.tasks.on_idle = function() self.dirty = true end
  self.loop:otherwise(function(event) self:outside(event) end)
  self.tasks.report = function(_, t, err, where)
    self:complain(where == "cancel" and t.name or t.name .. ": defer", err)
  end
  self.renders = render.new(self)
  self.object = luapilot.attach(self)
  return self
end

-- --- messages --------------------------------------------------------------------------------

---From now on this text is not shown in log lines.
---@param secret string
function App:hide(secret)
  self.secrets[#self.secrets + 1] = secret
  table.sort(self.secrets, function(a, b) return #a > #b end) -- one may contain another
end

local function masked(self, text)
  for _, secret in ipairs(self.secrets) do
    local from, to = text:find(secret, 1, true)
    while from do
      text = text:sub(1, from - 1) .. "***" .. text:sub(to + 1)
      from, to = text:find(secret, from + 3, true)
    end
  end
  return text
end

---A line of the pilot's own; secrets are masked by value.
---@param level "debug"|"info"|"warn"|"error"
---@param message string
---@param fields table?
function App:log(level, message, fields)
  if #self.secrets > 0 then
    message = masked(self, message)
    local clean = {}
    for key, value in pairs(fields or {}) do
      clean[key] = type(value) == "string" and masked(self, value) or value
    end
    fields = clean
  end
  self.port.log(level, message, fields)
end

---An error in the user's code: logged with its traceback, counted, published as `error`.
---@param where string      "job \"app\": prepare"
---@param err any           a value, or a TaskError with its traceback
---@param event table?      that a handler was called for
function App:complain(where, err, event)
  local message = tostring(err)
  if #self.errors < KEPT_ERRORS then self.errors[#self.errors + 1] = { where = where, message = message } end
  self:log("error", where .. ": " .. message)
  if event and event.name == "error" then return end -- never recursively
  local said = task.message(err)
  self:publish("pilot", { name = "error", source = self.object, where = where, message = said, error = err })
end

-- --- commands and events ---------------------------------------------------------------------

---Does fn() in this turn, after what is being done now.
---@param fn fun()
function App:command(fn)
  self.commands[#self.commands + 1] = fn
end

---@private
function App:run_commands()
  local commands = self.commands
  if #commands == 0 then return false end
  self.commands = {}
  for i = 1, #commands do
    local ok, err = xpcall(commands[i], debug.traceback)
    if not ok then self:own_error(err) end
  end
  return true
end

---An error of the core itself must not end supervision: it is told, and the other jobs go on. In a shutdown there is
---nothing to go on with.
---@param err string     with its traceback
function App:own_error(err)
  self:log("error", "an error inside luapilot, please report it: " .. tostring(err))
  if self.phase ~= "closing" or self.killing then return end
  self:command(function() self:kill() end)
end

---Publishes. `done` is called when all handlers that the event started have ended.
---@param topic string
---@param event table
---@param done fun()?
function App:publish(topic, event, done)
  event.at = self.port.clock()
  if self.observe then self.observe(event) end
  if self.phase == "closing" then -- a post-stop handler is part of the stop
    self.finishing = self.finishing + 1
    local inner = done
    done = function()
      self.finishing = self.finishing - 1
      self.dirty = true
      if inner then inner() end
    end
  end
  self.bus:publish(topic, event, done)
end

-- --- declaring -------------------------------------------------------------------------------

-- Bytes, or nil: no bound.
local function memory_bound(self)
  local text = self:environ().LUAPILOT_MEMORY
  if text == nil or text == "" then return MEMORY end
  if text == "off" then return nil end
  local bytes, message = size.parse(text)
  if bytes and bytes < LEAST_MEMORY then message = "expected " .. size.format(LEAST_MEMORY) .. " or more" end
  if message then self.mistakes:add("LUAPILOT_MEMORY", nil, message .. ', or "off"') end
  return bytes
end

-- From now on no code of the user runs for long without waiting, and none eats all memory.
local function contain(self)
  local ok, message = self.port.contain {
    meter = self.loop.meter, seconds = PATIENCE, bytes = memory_bound(self),
  }
  if not ok then self:log("warn", "endless loops will not be interrupted: " .. message) end
end

---Reads, checks and runs a pilot.lua, up to where it would start.
---@param path string
---@return true?
---@return string[] mistakes    formatted, in order
function App:load(path)
  self.loader = loader.new {
    read = self.port.read, api = self.object, mistakes = self.mistakes, searchpath = self.searchpath,
    print = function(...) self:print(...) end, coroutine = task.coroutine_library(self.tasks),
    libraries = self.libraries,
    report = function(err) self:log("error", "a finaliser (__gc) failed: " .. task.message(err)) end,
  }
  contain(self)
  local chunk = self.loader:load(path)
  if chunk then
    self.loader:globals_check()
    validate.run(self, chunk)
    validate.declarations(self, path)
  end
  local list = {}
  for i, mistake in ipairs(self.mistakes:list()) do list[i] = mistakes.format(mistake) end
  if #list > 0 then return nil, list end
  return true, list
end

---@private
function App:print(...)
  local parts = {}
  for i = 1, select("#", ...) do parts[i] = tostring((select(i, ...))) end
  self:log("info", table.concat(parts, "\t"))
end

---Is this a source of the user's (and not of the core)?
---@param source string      as of debug.getinfo
---@return boolean
function App:is_user_source(source)
  return self.loader ~= nil and self.loader:is_user(source)
end

---The user's line that is being run: "pilot.lua:12".
---@return string?
function App:where()
  for level = 2, 40 do
    local info = debug.getinfo(level, "Sl")
    if not info then return nil end
    if self:is_user_source(info.source) and info.currentline > 0 then
      return info.source:gsub("^@", "") .. ":" .. info.currentline
    end
  end
end

---Something that keeps the pilot alive (a timer, a poll): counted until it is cancelled.
---@param holder table
function App:hold(holder)
  self.held = (self.held or 0) + 1
  self.holders[holder] = self.held
end

---Calls fn() when the pilot starts; at once if it runs.
---@param fn fun()
function App:when_started(fn)
  if self.phase ~= "declaring" then return fn() end
  self.starts[#self.starts + 1] = fn
end

---@private
function App:sorted_holders()
  local list = {}
  for holder in pairs(self.holders) do list[#list + 1] = holder end
  table.sort(list, function(a, b) return self.holders[a] < self.holders[b] end)
  return list
end

---@param holder table
function App:release(holder)
  self.holders[holder] = nil
  self.dirty = true
end

-- --- running ---------------------------------------------------------------------------------

---The pilot's own environment, read once.
---@return table<string, string>
function App:environ()
  self.own_environ = self.own_environ or self.port.environ()
  return self.own_environ
end

---@private
function App:apply_logging()
  local options = self.logging
  if not options then return end
  local ok, message = self.port.logging(options)
  if not ok then self:log("error", "pilot.logging: " .. message) end
end

---What a program is started with.
---@param spec { env: table?, env_file: string?, env_clear: boolean? }
---@param runner luapilot.Runner?    the job it belongs to: it sees the pids of the jobs it waits for
---@return table<string, string>
function App:environment(spec, runner)
  return environment.build(self, spec, runner)
end

local function open(self)
  self.phase, self.dirty = "running", true
  self.port.signals(signals.taken)
  self:apply_logging()
  self.renders:recover(validate.rendered_files(self))
  for _, runner in ipairs(self.order) do
    self.has_manual = self.has_manual or runner.starter:has("manual")
    runner.dependents, self.doubtful[runner] = {}, true
  end
  for _, runner in ipairs(self.order) do
    for _, source in ipairs(self:sources_of(runner)) do source.dependents[#source.dependents + 1] = runner end
  end
end

---Begins: every trigger is armed, tasks of the top level run.
function App:start()
  open(self)
  self:publish("pilot", { name = "startup", source = self.object })
  for _, fn in ipairs(self.starts) do fn() end
  for _, runner in ipairs(self.order) do runner.starter:arm() end
  self.loop:rest()
end

---@param event table    of the port
function App:turn(event)
  self.loop:turn(event)
end

-- Signals. TERM, INT and QUIT end the pilot (QUIT: many images have it as their STOPSIGNAL), unless somebody
-- listens for QUIT; so does a terminal that is gone. A second one kills.
local function ends_pilot(self, event)
  local name = event.name
  if name == "SIGTERM" or name == "SIGINT" then return true end
  if name == "SIGQUIT" then return not self.bus:has("pilot", name) end
  return name == "SIGHUP" and event.terminal
end

local function exhausted(self)
  self:log("error", ("Lua has more than %s of memory in use, and tasks were ended in vain: shutting down "
    .. "(LUAPILOT_MEMORY)"):format(size.format(memory_bound(self) or MEMORY)))
  self:shutdown(EXHAUSTED)
end

---@private
function App:outside(event)
  if event.type == "memory" then return exhausted(self) end
  if event.type ~= "signal" then return end
  if ends_pilot(self, event) then
    if self.phase == "closing" then
      self:log("warn", event.name .. " again: killing what is left")
      return self:kill()
    end
    self:log("info", event.name .. ": shutting down", event.pid > 0 and { sender = event.pid } or nil)
    return self:shutdown()
  end
  if event.name == "SIGUSR1" then
    self.port.reopen()
    self:log("info", "SIGUSR1: log files were opened anew")
  end
  self:publish("pilot", { name = event.name, source = self.object })
end

---Is an event of a topic true as a state now (for `once`)?
---@param topic string
---@param event string
---@return boolean
function App:is_now(topic, event)
  if topic == "pilot" then return event == "startup" and self.restored == true end
  local keeper = self.templates[topic:match "^template:(.*)$" or ""]
  if keeper then return keeper.rendered end
  local runner = self.jobs[topic:match "^job:(.*)$" or ""]
  if not runner or event == "stopping" or event == "output" then return false end
  if event == "stopped" then return runner.memory.exit ~= nil and runner:is(event) end
  return runner:is(event)
end

---Can this event still come? For jobs whose trigger waits for it.
---@param topic string
---@param event string
---@param asker luapilot.Runner
---@return boolean
function App:can_speak(topic, event, asker)
  if topic == "pilot" then return event:find("^SIG") ~= nil or (event == "error" and self:is_busy()) end
  if topic:find "^template:" then return self:is_busy() end -- it is tried again, or somebody may render it
  local source = self.jobs[topic:match "^job:(.*)$"]
  if source == asker then return false end
  local state = source.memory.state
  if state == "held" then return self:is_busy() or self:may_return(source) end
  return state ~= "complete"
end

---Can the trigger of a job that is held by hand start it again?
---@param runner luapilot.Runner
---@return boolean
function App:may_return(runner)
  if runner.asking then return false end -- two held jobs that wait for each other
  runner.asking = true
  local can = runner.starter:can_fire()
  runner.asking = false
  return can
end

---Is there a job at work, a task or a timer: something of the user's that may still act?
---@return boolean
function App:is_busy()
  return self.unfinished > self.rest_count or self.tasks.count > 0 or next(self.holders) ~= nil
end

---A job has another state: keeps the books that `look_around` and the shutdown read, so that neither walks
---through all jobs at every turn.
---@param runner luapilot.Runner
---@param before string
---@param after string
function App:state_changed(runner, before, after)
  self.dirty = true
  self.resting[runner] = after == "waiting" or nil
  self.held_jobs[runner] = after == "held" or nil
  self.rest_count = self.rest_count + (after == "waiting" and 1 or 0) - (before == "waiting" and 1 or 0)
  self.unfinished = self.unfinished + (OVER[before] and 1 or 0) - (OVER[after] and 1 or 0)
  if after == "waiting" then self.doubtful[runner] = true end
  if OVER[after] then
    for _, dependent in ipairs(runner.dependents or {}) do self.doubtful[dependent] = true end
  end
  if after == "complete" and runner.spec.main and not self.main then self.main = runner end
  if self.phase == "closing" then self:closed(runner) end
end

local function in_order(set)
  local list = {}
  for runner in pairs(set) do list[#list + 1] = runner end
  table.sort(list, function(a, b) return a.number < b.number end)
  return list
end

---The trigger of a job may be unable to fire from now on: looked at when this turn comes to rest.
---@param runner luapilot.Runner
function App:doubt(runner)
  self.doubtful[runner], self.dirty = true, true
end

local function declare_dead(runner)
  if runner.memory.runs == 0 and not runner.memory.exit then
    runner:log("warn", "will not be started: what it waits for cannot come any more")
  end
  runner:input("dead", {})
end

-- Does what it waits for depend on what is under way elsewhere, and not on its sources alone?
local function stays_doubtful(self, runner)
  for _, leaf in ipairs(runner.starter.trigger.leaves) do
    if leaf.topic == "pilot" and leaf.event == "error" then return true end
    if leaf.topic and leaf.topic:find "^template:" then return true end
  end
  for _, source in ipairs(self:sources_of(runner)) do
    if source.memory.state == "held" then return true end
  end
  return false
end

-- Jobs at rest whose trigger can never fire again are complete; that makes those doubtful that wait for them.
local function mark_dead(self)
  local unsure = {}
  while next(self.doubtful) do
    local list = in_order(self.doubtful)
    self.doubtful = {}
    for _, runner in ipairs(list) do
      if self.resting[runner] and not runner.starter:has("manual") then
        if not runner.starter:can_fire() then
          declare_dead(runner)
        elseif stays_doubtful(self, runner) then
          unsure[runner] = true
        end
      end
    end
  end
  self.doubtful = unsure
end

local function hears_signals(self)
  return self.bus:count(function(entry) return entry.topic == "pilot" and entry.name:find("^SIG") ~= nil end) > 0
end

-- Is nothing under way, and nobody there who could be called?
local function is_quiet(self)
  if self:is_busy() or self.bus:pending() or self.has_manual then return false end
  return not hears_signals(self)
end

local function wakes_by_itself(list)
  for runner in pairs(list) do
    if runner.starter:wakes_by_itself() then return true end
  end
  return false
end

-- Can nothing happen any more? Then jobs that are left wait for each other, and never start.
local function is_idle(self)
  if not is_quiet(self) or wakes_by_itself(self.resting) or wakes_by_itself(self.held_jobs) then return false end
  for _, runner in ipairs(in_order(self.resting)) do declare_dead(runner) end
  return true
end

---@private
function App:look_around()
  if not self.dirty or #self.commands > 0 or self.bus:queued() then return false end
  self.dirty = false
  if self.phase == "running" then
    mark_dead(self)
    if self.main then
      self:log("info", ("the main job %q is complete: shutting down"):format(self.main.spec.name))
      self:shutdown()
    elseif is_idle(self) and #self.commands == 0 then
      self:log("info", "nothing is left to do: shutting down")
      self:shutdown()
    end
  elseif self.phase == "closing" then
    self:close_step()
  end
  return #self.commands > 0 or self.bus:queued() or self.dirty
end

-- --- the end ---------------------------------------------------------------------------------

-- A job is asked to stop when those are gone whose trigger names it: `before` counts them.
local function plan_shutdown(self)
  self.open = #self.order
  for _, runner in ipairs(self.order) do runner.before = 0 end
  for _, runner in ipairs(self.order) do
    for _, source in ipairs(self:sources_of(runner)) do source.before = source.before + 1 end
  end
end

---The jobs that the trigger of `runner` names, itself apart.
---@param runner luapilot.Runner
---@return luapilot.Runner[]
function App:sources_of(runner)
  local sources, seen = {}, { [runner] = true }
  for _, topic in ipairs(runner.starter.topics) do
    local source = self.jobs[topic:match "^job:(.*)$" or ""]
    if source and not seen[source] then
      seen[source] = true
      sources[#sources + 1] = source
    end
  end
  return sources
end

-- Its stop may take what is left of the shutdown, whatever its stop_timeout says.
local function close(self, runner)
  if runner.asked or runner.closed then return end
  runner.asked = true
  runner:input("close", { budget = math.max(0.1, self.kill_at - self.port.now()) })
  self:closed(runner)
end

-- No new starts from now on. Jobs without a process have nothing to wait for.
local function freeze(self, runner)
  if runner.before == 0 or not runner:is_active() or runner.memory.state == "preparing" then
    return close(self, runner)
  end
  runner:input("freeze", {})
end

---@private
function App:closed(runner)
  if runner.closed or not runner.memory.closing or runner:is_active() then return end
  runner.closed, self.open, self.dirty = true, self.open - 1, true
  for _, source in ipairs(self:sources_of(runner)) do
    source.before = source.before - 1
    if source.before == 0 then self:command(function() close(self, source) end) end
  end
end

---Ends the pilot in order; returns at once.
---@param code integer?    the exit code (else it is that of the jobs)
function App:shutdown(code)
  self.asked_code = self.asked_code or code
  if self.phase ~= "running" then return end
  self.phase, self.dirty = "closing", true
  self:limit_shutdown(self.shutdown_timeout) -- first: whatever goes wrong below, it ends
  plan_shutdown(self)
  for _, runner in ipairs(self.order) do runner.starter:stop() end
  for _, holder in ipairs(self:sorted_holders()) do holder:cancel() end
  self:publish("pilot", { name = "shutdown", source = self.object })
  self:command(function()
    for _, runner in ipairs(self.order) do freeze(self, runner) end
  end)
end

---@private
function App:limit_shutdown(seconds)
  local orderly = seconds - math.min(LAST_MOST, LAST_SHARE * seconds)
  self.kill_at = self.port.now() + orderly
  self.port.deadline(seconds)
  self.loop:after(orderly, function()
    self:log("warn", ("the shutdown takes longer than %g s: killing what is left"):format(seconds))
    self:kill()
  end)
  self.loop:after(seconds, function() self:finish() end)
end

---SIGKILL to all, nobody is waited for.
function App:kill()
  self.killing, self.dirty = true, true
  for _, runner in ipairs(self.order) do
    if not runner.closed then
      runner:kill()
      self:closed(runner)
    end
  end
end

local function is_closing(self)
  for _, runner in ipairs(self.order) do
    if runner.asked and not runner.closed then return true end
  end
  return false
end

---@private
function App:close_step()
  if self.open == 0 then
    if self.finishing == 0 or self.killing then self:end_tasks() end
  elseif not is_closing(self) then -- jobs that wait for each other: all of them together
    for _, runner in ipairs(self.order) do
      if not runner.closed then close(self, runner) end
    end
  end
end

---@private
function App:end_tasks()
  self.bus:close() -- the end of one run must not be the beginning of the next
  for _, t in ipairs(self.tasks:list()) do
    if self.killing then t:abandon() else t:cancel("shutdown") end
  end
  if self.tasks.count == 0 then self:finish() end
end

-- The first job that failed and will not be started again decides.
local function code_of_jobs(self)
  local first
  for _, runner in ipairs(self.order) do
    local exit = runner.memory.exit
    if exit and exit.final and exit.code ~= 0 and not exit.asked and (not first or exit.at < first.at) then
      first = exit
    end
  end
  return first and first.code or 0
end

-- Of several main jobs, the one that completed first ended the pilot.
local function code_of_main(self)
  for _, runner in ipairs(self.main and { self.main } or self.order) do
    local exit = runner.memory.exit
    if runner.spec.main then return exit and not exit.asked and exit.code or 0 end
  end
end

-- --- the handoff to a new core ---------------------------------------------------------------

-- A copy of what is plain data; else nil and the path of what is none.
local function plain(value, path, above)
  local kind = type(value)
  if kind == "string" or kind == "number" or kind == "boolean" then return value end
  if kind ~= "table" then return nil, ("%s is a %s: only plain data survives a reload"):format(path, kind) end
  if above[value] then return nil, path .. " contains itself: only plain data survives a reload" end
  above[value] = true
  local copy = {}
  for key, field in pairs(value) do
    local here = ("%s[%s]"):format(path, type(key) == "string" and ("%q"):format(key) or tostring(key))
    local message
    copy[key], message = plain(field, here, above)
    if message then return nil, message end
  end
  above[value] = nil
  return copy
end

---What a new core needs to go on, to be taken between two turns: jobs, and pilot.state. Queued events, settling ones
---and tasks are dropped.
---@return table? data       plain
---@return string? message   it cannot be handed over
function App:snapshot()
  if self.phase ~= "running" then return nil, "the pilot is not running" end
  local state, message = plain(self.state, "pilot.state", {})
  if not state then return nil, message end
  local jobs = {}
  for name, runner in pairs(self.jobs) do jobs[name] = runner:snapshot() end
  return { jobs = jobs, state = state }
end

-- The books of state_changed, after jobs got other memories.
local function count_jobs(self)
  self.resting, self.held_jobs, self.rest_count, self.unfinished = {}, {}, 0, 0
  for _, runner in ipairs(self.order) do
    local state = runner.memory.state
    self.resting[runner] = state == "waiting" or nil
    self.held_jobs[runner] = state == "held" or nil
    if state == "waiting" then self.rest_count = self.rest_count + 1 end
    if not OVER[state] then self.unfinished = self.unfinished + 1 end
  end
end

local function left_over(self, jobs)
  local left = {}
  for name, former in pairs(jobs) do
    if not self.jobs[name] then
      left[#left + 1] = {
        name = name, process = former.process, pid = former.memory.pid,
        stop_signal = former.stop_signal, stop_timeout = former.stop_timeout,
      }
    end
  end
  table.sort(left, function(a, b) return a.name < b.name end)
  return left
end

---Begins where a former core stopped, instead of `start`. Jobs that are in both files go on with their processes, new
---ones wait for their triggers.
---@param data table     of snapshot()
---@return { name: string, process: integer?, pid: integer?, stop_signal: string, stop_timeout: number }[] left
---        the jobs that this file no longer has: the caller ends their processes
function App:restore(data)
  open(self)
  self.restored = true
  local starters = {}
  for _, runner in ipairs(self.order) do
    local former = data.jobs[runner.spec.name]
    starters[runner] = former and runner:restore(former) or nil
  end
  count_jobs(self)
  for _, fn in ipairs(self.starts) do fn() end
  for _, runner in ipairs(self.order) do runner.starter:arm(starters[runner]) end
  self.loop:rest()
  return left_over(self, data.jobs)
end

---After its data went to a new core: ends what did not go over (timers, checks, programs of its tasks). It never runs
---again.
function App:let_go()
  for _, runner in ipairs(self.order) do
    if runner.routed then self.loop:unroute(runner.routed) end
  end
  local ids = {}
  for id in pairs(self.loop.routes) do ids[#ids + 1] = id end
  table.sort(ids)
  for _, id in ipairs(ids) do self.loop:cancel(id) end
  self.renders:let_go()
  self.loop:stop()
  self.phase, self.ended = "ended", true
end

-- --- the last of it --------------------------------------------------------------------------

---@private
function App:finish()
  if self.ended then return end
  self.phase, self.ended = "ended", true
  self.loop:stop()
  self.exit_code = self.asked_code or code_of_main(self) or code_of_jobs(self)
  self:log("info", "ended", { code = self.exit_code })
end

---Runs until the pilot has ended.
---@return integer exit_code
function App:run()
  self:start()
  local wait = self.port.wait
  while not self.ended do
    local event = wait()
    local ok, err = xpcall(self.turn, debug.traceback, self, event)
    if not ok then self:own_error(err) end
  end
  return self.exit_code
end

return app
