-- app: the whole of one pilot. It wires the parts, loads a pilot.lua, starts what it declares, and ends it.
--
--   declaring ──load──▶ loaded ──start──▶ running ──shutdown──▶ closing ──▶ ended
--
-- It owns the list of jobs and the queue of commands. Whether anything can still happen is pilot/quiescence.lua's
-- question, the end is pilot/shutdown.lua's, the passing on to a new core pilot/handoff.lua's. It never
-- talks to the world but through the port, and it never runs user code outside a task, the top level of the file apart.
-- What it does when something has failed is here and not apart: nothing can be loaded when there is no memory.

local bus = require "luapilot.task.bus"
local constant = require "luapilot.base.constant"
local coroutines = require "luapilot.task.coroutines"
local environment = require "luapilot.job.environment"
local lazy = require "luapilot.base.lazy"
local loader = require "luapilot.script.loader"
local loop = require "luapilot.task.loop"
local mistakes = require "luapilot.base.mistakes"
local quiescence = require "luapilot.pilot.quiescence"
local queue = require "luapilot.base.queue"
local trials = require "luapilot.file.trials"
local schema = require "luapilot.schema.schema"
local advertiser = require "luapilot.service.advertiser"
local signals = require "luapilot.base.signals"
local luapilot = require "luapilot"
local scheduler = require "luapilot.task.scheduler"
local validate = require "luapilot.script.validate"

local dependencies = lazy.require "luapilot.job.dependencies"
local handoff = lazy.require "luapilot.pilot.handoff"
local log = lazy.require "luapilot.api.log"
local masks = lazy.require "luapilot.base.masks"
local outage = lazy.require "luapilot.consul.outage"
local registrar = lazy.require "luapilot.service.registrar"
local shutdown = lazy.require "luapilot.pilot.shutdown"
local shutdown_signals = lazy.require "luapilot.api.shutdown_signals"
local size = lazy.require "luapilot.base.size"
local task = lazy.require "luapilot.task.task"
local dropped = lazy.require "luapilot.task.dropped"
local verdict = lazy.require "luapilot.pilot.verdict"

local app = {}

local SHUTDOWN_TIMEOUT = 8      -- below Docker's 10 s
local BUDGET = 1                -- seconds that user code may run without waiting
local EXHAUSTED = 70           -- the exit code without memory, as that of an error of the core (pilot/shutdown.lua)
local MEMORY, LEAST_MEMORY = 512 * 1024 ^ 2, 16 * 1024 ^ 2 -- bytes that Lua may have in use

---@class luapilot.App
---@field port luapilot.Port
---@field loop luapilot.Loop
---@field tasks luapilot.Scheduler
---@field bus luapilot.Bus
---@field jobs table<string, luapilot.Runner>
---@field order luapilot.Runner[]        in the order of declaration
---@field undescribed table<string, { name: string, where: string?, number: integer, object: luapilot.Job }>   jobs
---                                      that were named so far, and no more
---@field named integer                  how many have been
---@field phase "declaring"|"running"|"closing"|"ended"
---@field ended boolean
---@field exit_code integer?
---@field broken boolean?       the core has had an error of its own
---@field judging boolean?      while it is looked whether the pilot is over
---@field quiescence luapilot.Quiescence
---@field advertiser luapilot.Advertiser     once it runs
---@field closing luapilot.Shutdown?     once it has begun
---@field enders table<string, true>?    of pilot.shutdown_signals
---@field asked_at number?               when somebody first asked for the end: a signal, or pilot.shutdown()
---@field trials luapilot.Trials
---@field templates table<string, luapilot.Keeper>   by path
---@field consul luapilot.Consul?        the client, of a file with pilot.consul
---@field observe fun(event: table, unheard: true?)?     sees every published event, and errors that are not published
local App = {}
App.__index = App

---@param options { port: luapilot.Port, args: string[]?, calendar: table?, lenient: boolean?, state: table? }
---       state: pilot.state, of a former core
---@return luapilot.App
function app.new(options)
  local self = setmetatable({
    port = options.port, args = options.args or {}, calendar = options.calendar,
    searchpath = options.searchpath, lenient = options.lenient or false, libraries = options.libraries,
    templates = {}, template_objects = {}, watches = {}, watches_by_topic = {}, watch_drafts = {},
    jobs = {}, order = {}, undescribed = {}, named = 0, starts = {}, holders = {}, commands = queue.new(),
    spent = {},
    state = options.state or {},
    mistakes = mistakes.new(), phase = "declaring", ended = false, dirty = false, main = false, masks = false,
    shutdown_timeout = SHUTDOWN_TIMEOUT, signal_number = signals.number,
  }, App)
  self.quiescence = quiescence.new(self)
  self.loop = loop.new(options.port)
  self.tasks = scheduler.new(self.loop)
  self.loop:phase(function() return App.run_commands(self) end)
  self.bus = bus.new {
    loop = self.loop, tasks = self.tasks,
    on_error = function(subscription, event, err) self:complain(subscription.label, err, event) end,
    log = function(...) self:log(...) end,
  }
  self.loop:phase(function() return App.look_around(self) end)
  self.tasks.on_idle = function() self.dirty = true end
  self.bus.on_quiet = self.tasks.on_idle
  self.loop:otherwise(function(event) self:outside(event) end)
  self.tasks.report = function(_, t, err, where)
    self:complain(where == "cancel" and t.name or t.name .. ": defer", err)
  end
  self.trials = trials.new(self)
  self.object = luapilot.attach(self)
  return self
end

-- --- messages --------------------------------------------------------------------------------

---From now on this text is not shown in log lines; of those of one name the last ten are not.
---@param secret string
---@param name string?
function App:hide(secret, name)
  self.masks = masks.hide(self.masks, secret, name)
end

---This one is a secret no more (hidden twice, it is so once more).
---@param secret string
function App:unhide(secret)
  if self.masks then self.masks:remove(secret) end
end

---A line of the pilot's own; secrets are masked by value.
---@param level "debug"|"info"|"warn"|"error"
---@param message string
---@param fields table?
---@param event string?     what the message says, for machines, …
---@param job string?       … the job that it is about, …
---@param facts table?      … and what else
function App:log(level, message, fields, event, job, facts)
  if self.masks then message, fields, facts = self.masks:cover_all(message, fields, facts) end
  self.port.log(level, message, fields, event, job, facts)
end

-- --- commands and events ---------------------------------------------------------------------

---Does fn(a, b, c) in this turn, after what is being done now. (A table costs less than a function that holds these.)
---@param fn function|table    a table: what can be called like one; then a, b and c are nil
function App:command(fn, a, b, c)
  self.commands:push(a == nil and fn or { fn, a, b, c })
end

local function run_command(command)
  if type(command) == "function" or not command[1] then return command() end
  command[1](command[2], command[3], command[4])
end

---@private
function App:run_commands()
  local count = self.commands.count
  for _ = 1, count do
    local ok, err = xpcall(run_command, debug.traceback, self.commands:pop())
    if not ok then self:own_error(err) end
  end
  return count > 0
end

---Publishes. `done` is called when all handlers that the event started have ended.
---@param topic string
---@param event table
---@param done fun()?
function App:publish(topic, event, done)
  event.at = self.port.clock()
  if self.observe then self.observe(event) end
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
  if not message then return bytes end
  self.mistakes:add(nil, "LUAPILOT_MEMORY", message .. ', or "off"')
  return MEMORY
end

-- From now on no code of the user runs for long without waiting, and none eats all memory.
local function contain(self)
  self.memory = memory_bound(self)
  local ok, message = self.port.contain { meter = self.loop.meter, seconds = BUDGET, bytes = self.memory }
  if ok then return end
  self:log("warn", "endless loops will not be interrupted: " .. message, nil, "not_contained", nil,
    { reason = message })
end

---Reads, checks and runs a pilot.lua, up to where it would start.
---@param path string
---@return true?
---@return string[] mistakes    formatted, in order
function App:load(path)
  schema.pilot = self
  self.streams = { log = function(...) self:log(...) end, masks = function() return self.masks end }
  self.loader = loader.new {
    read = self.port.read, cwd = self.port.cwd(), api = self.object, mistakes = self.mistakes,
    searchpath = self.searchpath,
    print = function(...) log.print(self, ...) end, coroutine = coroutines.library(self.tasks),
    libraries = self.libraries, streams = self.streams,
    report = function(err) self:log("error", "a finaliser (__gc) failed: " .. task.message(err), nil, "error") end,
  }
  contain(self)
  local chunk = self.loader:load(path)
  if chunk then
    self.loader:globals_check()
    validate.run(self, chunk)
    validate.declarations(self, path)
  end
  self:say_rest()
  local list = {}
  for i, mistake in ipairs(self.mistakes:list()) do list[i] = mistakes.format(mistake) end
  if #list > 0 then return nil, list end
  return true, list
end

---@private
-- What io.write has begun, and not ended with a newline.
function App:say_rest()
  if self.streams.rest then self.streams.rest() end
end

---Is this a source of the user's (and not of the core)?
---@param source string      as of debug.getinfo
---@return boolean
function App:is_user_source(source)
  return self.loader ~= nil and self.loader:is_user(source)
end

-- Functions of the core are passed over by their environment: each table of debug.getinfo is half a kilobyte, and a
-- thousand jobs ask twice.
local CORE = getfenv(1)

---The user's line that is being run: "pilot.lua:12".
---@return string?
function App:where()
  if not self.loader then return nil end
  for level = 2, 40 do
    local there, env = pcall(getfenv, level + 1) -- pcall is a level, too
    if not there then return nil end
    local info = env ~= CORE and debug.getinfo(level, "Sl")
    if info and self:is_user_source(info.source) and info.currentline > 0 then
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
  if not ok then self:log("error", "pilot.logging: " .. message, nil, "logging_failed", nil, { reason = message }) end
end

---What a program is started with.
---@param spec { env: table?, env_file: string?, env_clear: boolean? }
---@param runner luapilot.Runner?    the job it belongs to: it sees the pids of the jobs it waits for
---@return table<string, string>? added, table<string, string>|string|nil whole    env_added and env of port.spawn
---@return string? code    nil, message, code: it cannot be told
function App:environment(spec, runner)
  return environment.build(self, spec, runner)
end

---Who says, once for all that ask Consul, that it is away.
---@return luapilot.Outage
function App:outage()
  self.away = self.away or outage.new(self)
  return self.away
end

-- Where jobs are registered, and watches look: in Consul, or in this pilot.
local function open_catalogue(self)
  if self.consul then
    self.consul:open()
    self.registrar = registrar.new(self, self:outage())
  end
  self.advertiser = advertiser.new(self, self.registrar)
end

local function open(self)
  self.phase, self.dirty = "running", true
  open_catalogue(self)
  self.port.signals(signals.taken)
  if self.enders or self.bus:has("pilot", "SIGQUIT") then shutdown_signals.tell(self) end
  self:apply_logging()
  self.trials:recover(validate.rendered_files(self))
  self.quiescence:connect()
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
-- listens for QUIT; so do those of pilot.shutdown_signals, and a terminal that is gone.
local function ends_pilot(self, event)
  local name = event.name
  if signals.ENDS_PILOT[name] or self.enders and self.enders[name] then return true end
  if name == "SIGQUIT" then return not self.bus:has("pilot", name) end
  return name == "SIGHUP" and event.terminal
end

-- The first request shuts down (one that began by itself goes on as it is), the second kills.
local function ask_to_end(self, event)
  local name, sender, now = event.name, event.pid > 0 and { sender = event.pid } or nil, self.port.now()
  if self.asked_at and signals.asks_again(name, now - self.asked_at) then
    self:log("warn", name .. ": asked a second time: killing what is left", sender, "killing", nil, { signal = name })
    return self.closing:kill()
  end
  self:log("info", name .. (self.phase == "running" and ": shutting down" or ": the shutdown is under way"), sender,
    "shutdown", nil, { reason = "signal", signal = name })
  self.asked_at = self.asked_at or now
  self:shutdown()
end

local function has_log_files(self)
  for _, runner in ipairs(self.order) do
    if runner.spec.log.file then return true end
  end
  return self.logging and self.logging.output:find "^/" ~= nil
end

---@private
function App:outside(event)
  if event.type == "memory" then return self:exhausted() end
  if event.type ~= "signal" then return end
  if ends_pilot(self, event) then return ask_to_end(self, event) end
  if event.name == "SIGUSR1" then
    self.port.reopen()
    if has_log_files(self) then self:log("info", "SIGUSR1: log files were opened anew", nil, "logs_reopened") end
  elseif not self.bus:has("pilot", event.name) then
    self:log("debug", event.name .. ": nobody listens for it", nil, "unheard", nil, { signal = event.name })
  end
  self:publish("pilot", { name = event.name, source = self.object })
end

---Is an event of a topic true as a state now (for `once`)?
---@param topic string
---@param event string
---@return boolean
function App:is_now(topic, event)
  if topic == "pilot" then return event == "startup" and self.restored == true end
  if self.watches_by_topic[topic] then return self.watches_by_topic[topic]:is(event) end
  local keeper = self.templates[topic:match "^template:(.*)$" or ""]
  if keeper then return keeper.rendered end
  local runner = self.jobs[topic:match "^job:(.*)$" or ""]
  if not runner or event == "stopping" or event == "output" then return false end
  if event == "stopped" then return runner.memory.exit ~= nil and runner:is(event) end
  return runner:is(event)
end

---A job was described.
---@param runner luapilot.Runner
function App:add(runner)
  runner.number = #self.order + 1
  self.jobs[runner.spec.name], self.order[runner.number] = runner, runner
  self.quiescence:add(runner)
end

---@param runner luapilot.Runner
---@param before string
---@param after string
function App:state_changed(runner, before, after)
  self.dirty = true
  self.quiescence:moved(runner, before, after)
  if after == "complete" and runner.spec.main and not self.main then self.main = runner end
  if self.phase == "closing" then self.closing:closed(runner) end
end

---The trigger of a job may be unable to fire from now on: looked at when this turn comes to rest.
---@param runner luapilot.Runner
function App:doubt(runner)
  self.quiescence:doubt(runner)
  self.dirty = true
end

local function find_sources(self, runner)
  local sources, seen = {}, { [runner] = true }
  local function add(source)
    if seen[source] then return end
    seen[source], sources[#sources + 1] = true, source
  end
  for _, topic in ipairs(runner.starter.topics) do
    local source = self.jobs[topic:match "^job:(.*)$" or ""]
    if source then add(source) end
  end
  if runner.spec.depends_on then dependencies.each_source(runner, add) end
  return sources[1] and sources or constant.NONE
end

---The jobs that the trigger of `runner` names, and that it depends on, itself apart: those of the file, so when all of
---it was read.
---@param runner luapilot.Runner
---@return luapilot.Runner[]
function App:sources_of(runner)
  if not (runner.starter.topics[1] or runner.spec.depends_on) then return constant.NONE end
  runner.sources = runner.sources or find_sources(self, runner)
  return runner.sources
end

-- Its jobs are over.
local function end_by_itself(self)
  local main = self.main
  if main and not main.memory.started then
    self:log("error", verdict.never(main), nil, "shutdown", nil, { reason = "main_never_starts" })
  elseif main then
    self:log("info", ("the main job %q is complete: shutting down"):format(main.spec.name), nil, "shutdown", nil,
      { reason = "main_complete" })
  else
    self:log("info", "nothing is left to do: shutting down", nil, "shutdown", nil, { reason = "nothing_left" })
  end
  self:shutdown()
end

---@private
function App:look_around()
  if not self.dirty or self.commands.count > 0 or self.bus:queued() > 0 then return false end
  self.dirty, self.judging = false, true
  if self.phase == "running" then
    self.quiescence:bury()
    local over = self.main or self.quiescence:is_over() and self.commands.count == 0
    if over then end_by_itself(self) end
  elseif self.phase == "closing" then
    self.closing:step()
  end
  self.judging = nil
  return self.commands.count > 0 or self.bus:queued() > 0 or self.tasks.queue.count > 0 or self.dirty
end

-- --- the end ---------------------------------------------------------------------------------

---Ends the pilot in order; returns at once.
---@param code integer?    the exit code (else it is that of the jobs)
---@param asked boolean?    by pilot.shutdown()
function App:shutdown(code, asked)
  self.asked_code = self.asked_code or code
  if self.phase ~= "running" then return self.port.deadline(nil, nil, self.asked_code) end
  if asked then self.asked_at = self.port.now() end
  self.phase, self.dirty = "closing", true
  self.closing = shutdown.new(self)
  self.closing:begin()
  self:publish("pilot", { name = "shutdown", source = self.object })
end

---It is over: nothing runs any more.
function App:finish()
  if self.ended then return end
  self.phase, self.ended = "ended", true
  self.port.reached "over"
  if self.registrar then self.registrar:stop() end
  self.loop:stop()
  if self.bus.open > 0 or self.bus.owes_words then dropped.tell(self.bus) end
  self:say_rest()
  self.exit_code = shutdown.exit_code(self)
  self:log("info", "ended", { code = self.exit_code }, "ended")
end

-- --- the handoff to a new core ---------------------------------------------------------------

---What a new core needs to go on.
---@return table? data       plain
---@return string? message   it cannot be handed over
function App:snapshot()
  return handoff.snapshot(self)
end

---Begins where a former core stopped, instead of `start`. Jobs that are in both files go on with their processes, new
---ones wait for their triggers.
---@param data table     of snapshot()
---@return luapilot.LeftOver[] left    the jobs that this file no longer has: the caller ends their processes
function App:restore(data)
  open(self)
  return handoff.restore(self, data)
end

---After its data went to a new core: ends what did not go over. It never runs again.
function App:let_go() handoff.let_go(self) end

-- --- what has failed: code of the user, the core itself, memory -------------------------------

---An error in the user's code: logged with its traceback, and published as `error`; not that of a handler of `error`,
---which would go round for ever: only whoever observes sees it.
---@param where string      "job \"app\": prepare"
---@param err any           a value, or a TaskError with its traceback
---@param event table?      that a handler was called for
function App:complain(where, err, event)
  local message = tostring(err)
  local job, what = where:match '^job "([%w-]+)": (.*)'
  self:log("error", (what or where) .. ": " .. message, nil, "error", job)
  local told = { name = "error", source = self.object, where = where, message = task.message(err), error = err }
  if not (event and event.name == "error") then return self:publish("pilot", told) end
  if self.observe then self.observe(told, true) end
end

-- The order of a shutdown is lost: all that is left is asked to stop at once, as it wants to be; a second time it is
-- killed.
local function hasten(self, closing)
  if closing.killing then return end
  if closing.hasty then return self:command(function() closing:kill() end) end
  closing.hasty = true
  for _, runner in ipairs(self.order) do
    if runner.asked and not runner.closed then runner.asked, closing.asked = false, closing.asked - 1 end
    self:command(function() closing:close(runner) end)
  end
end

---An error of the core itself must not end supervision: it is told, the other jobs go on, and the pilot ends with 70
---whenever it does. Where it is looked whether the pilot is over, nobody would end it any more: it ends now, in order.
---Without memory there is no going on: the jobs are the guardian's.
---@param err string     with its traceback
function App:own_error(err)
  if tostring(err):find "^not enough memory" then error(err, 0) end
  self:log("error", "an error inside luapilot, please report it: " .. tostring(err), nil, "internal_error")
  local judging = self.judging
  self.broken, self.judging = true, nil
  if self.phase == "closing" then return hasten(self, self.closing) end
  if judging then self:shutdown() end
end

---Lua has too much in use, and to end tasks for it did not help.
function App:exhausted()
  self:log("error", ("Lua has more than %s of memory in use, and tasks were ended in vain: shutting down "
    .. "(LUAPILOT_MEMORY)"):format(size.format(self.memory)), nil, "shutdown", nil, { reason = "memory" })
  self:shutdown(EXHAUSTED)
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
