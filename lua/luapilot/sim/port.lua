-- port: the simulated world behind the interface of lua/luapilot/port.lua.
--
-- One port is the world of one box: handles, events in order, and the simple calls. Time comes from the
-- clock of the world, which only the spec moves: `wait` never waits. Whatever takes a moment in reality
-- takes a moment here (0.1 to 2 ms, drawn from the seed).
--
-- It owns the handles and the queue of events. Processes behind handles are child.lua's, files are
-- files.lua's, endpoints network.lua's. It decides nothing and knows nothing of jobs.

local child = require "luapilot.sim.child"
local behaviour = require "luapilot.sim.behaviour"
local queue = require "luapilot.sim.queue"

local sim_port = {}

local LATENCY_LOW, LATENCY_HIGH = 0.0001, 0.002
local MICRO = 1000000
local SIGNAL_ERRORS = {
  EBADF = "no such process any more", ESRCH = "no such process", EINVAL = "invalid argument",
}

---@class luapilot.sim.Port
---@field clock luapilot.sim.Clock
---@field kernel luapilot.sim.Kernel
---@field files luapilot.sim.Files
---@field network luapilot.sim.Network
---@field programs luapilot.sim.Programs
local Port = {}
Port.__index = Port

---@param parts table    { clock, files, network, programs, latencies, random, name, interfaces, environ,
---                      own_pid, users, signals, complain, record }; the kernel is set by the box
---@return luapilot.sim.Port
function sim_port.new(parts)
  local self = setmetatable({
    queue = queue.new(), handles = {}, last_id = 0, taken = {}, heard = {}, timers = parts.clock:source(),
    logs = {}, lines = {}, descriptors = {},
  }, Port)
  for name, value in pairs(parts) do self[name] = value end
  return self
end

---A latency.
---@return number seconds
function Port:latency() return self.latencies:between(LATENCY_LOW, LATENCY_HIGH) end

---Something whose events arrive in order.
---@return { source: integer, due: integer }
function Port:line() return { source = self.clock:source(), due = 0 } end

---Does fn() a moment later, after what the same line was given before.
---@param line { source: integer, due: integer }
---@param fn fun()
---@param seconds number?     default: a latency
function Port:later(line, fn, seconds)
  local clock = self.clock
  line.due = math.max(line.due, clock.time + math.ceil((seconds or self:latency()) * MICRO))
  return clock:after((line.due - clock.time) / MICRO, line.source, fn)
end

-- --- handles and events ------------------------------------------------------------------------

---@private
function Port:handle(value)
  self.last_id = self.last_id + 1
  self.handles[self.last_id] = value
  return self.last_id
end

---@param id integer
function Port:forget(id) self.handles[id] = nil end

---Queues an event of a source; `taken` is called when the core has got it.
---@param source any
---@param event table
---@param taken fun()?
function Port:push(source, event, taken)
  self.taken[event] = taken
  self.queue:push(source, event)
end

---@param event table
---@param taken fun()?
function Port:push_urgent(event, taken)
  self.taken[event] = taken
  self.queue:push_urgent(event)
end

---The next event, or nil.
---@return table?
function Port:pop()
  local event = self.queue:pop()
  local taken = event and self.taken[event]
  if taken then
    self.taken[event] = nil
    taken()
  end
  return event
end

local function stale(id)
  return nil, ("there is no handle %s (any more)"):format(tostring(id)), "EBADF"
end

local function expect(kind, value, position, name)
  if type(value) == kind then return value end
  error(("bad argument #%d to '%s' (%s expected, got %s)"):format(position, name, kind,
    value == nil and "no value" or type(value)), 3)
end

-- --- output ------------------------------------------------------------------------------------

---A line of a job.
---@param sink luapilot.OutputOptions
---@param stream string
---@param line string
function Port:put_line(sink, stream, line)
  local entry = { job = sink.name, stream = stream, line = line }
  self.lines[#self.lines + 1] = entry
  self.record("line", entry)
  if sink.file then self.files:write(sink.file, line .. "\n", { append = true }) end
end

-- --- the calls ---------------------------------------------------------------------------------

local calls = {} -- each gets the Port first; sim_port.interface binds it

function calls.wait(self, block)
  local event = self:pop()
  if event == nil and block ~= false then
    error("wait() would wait for ever: in the simulator time passes only by box:advance", 2)
  end
  return event
end

function calls.now(self) return self.clock:now() end
function calls.clock(self) return self.clock:wall() end
function calls.random(self) return self.random:next() end

function calls.timer(self, seconds)
  expect("number", seconds, 1, "timer")
  local handle = { kind = "timer" }
  local id = self:handle(handle)
  handle.entry = self.clock:after(seconds, self.timers, function()
    self:push("timers", { type = "timer", id = id }, function() self:forget(id) end)
  end)
  return id
end

local cancel = {}

function cancel.timer(self, handle) self.clock:cancel(handle.entry) end
function cancel.connect(self, handle) self.clock:cancel(handle.entry) end
function cancel.poll() end
function cancel.process(_, handle) handle:cancel() end

function calls.cancel(self, id)
  expect("number", id, 1, "cancel")
  local handle = self.handles[id]
  if not handle then return stale(id) end
  self:forget(id)
  self.queue:drop(id)
  cancel[handle.kind](self, handle)
  return true
end

-- --- processes -----------------------------------------------------------------------------------

local function copy(list)
  local result = {}
  for key, value in pairs(list) do result[key] = value end
  return result
end

local function check_argv(argv)
  if type(argv) ~= "table" or argv[1] == nil then error("bad argument #1 to 'spawn' (argv expected)", 3) end
  for i, word in ipairs(argv) do
    if type(word) ~= "string" then
      error(("bad argument #1 to 'spawn' (argv[%d]: string expected, got %s)"):format(i, type(word)), 3)
    end
  end
end

-- What keeps a program from being started where and as whom it is meant to run.
local function account_error(self, options)
  for _, kind in ipairs { "user", "group" } do
    local known, name = self.users[kind], options[kind]
    if type(name) == "string" and known and not known[name] then
      return ("there is no %s %q"):format(kind, name), "ENOENT", kind
    end
  end
end

local function cwd_error(self, options)
  if not options.cwd then return nil end
  local ok, code = self.files:enter(options.cwd)
  if not ok then return ("cannot enter %q"):format(options.cwd), code, "cwd" end
end

local function exec_error(self, argv, what)
  if what == nil then
    self.complain(("nobody described the program %q: box:program(%q, { exit = 0 })"):format(
      table.concat(argv, " "), argv[1]))
    return ("cannot run %q: no such file or directory"):format(argv[1]), "ENOENT", "exec"
  end
  local code, stage = behaviour.spawn_error(what)
  if code then return ("cannot run %q: %s"):format(argv[1], code), code, stage end
end

local function spawn_error(self, options, what)
  local message, code, stage = account_error(self, options)
  if not message then message, code, stage = cwd_error(self, options) end
  if not message then message, code, stage = exec_error(self, options.argv, what) end
  return message, code, stage
end

function calls.spawn(self, options)
  expect("table", options, 1, "spawn")
  check_argv(options.argv)
  options = copy(options)
  options.argv, options.env = copy(options.argv), copy(options.env or self.environ)
  if options.output and options.output.raw then options.capture = nil end
  local what = self.programs:find(options.argv)
  local message, code, stage = spawn_error(self, options, what)
  if message then
    self.record("spawn", { argv = options.argv, code = code, stage = stage })
    return nil, message, code, stage
  end
  if options.notify then options.env.NOTIFY_SOCKET = "@luapilot-" .. self.last_id + 1 end
  local id = self:handle(false)
  local one = child.start(self, id, options, behaviour.script(what))
  self.handles[id] = one
  self.record("spawn", { argv = options.argv, job = options.output and options.output.name, child = one })
  return id, one.group.leader.pid
end

local function process_of(self, id)
  local handle = self.handles[id]
  return handle and handle.kind == "process" and handle or nil
end

local function signal_result(code)
  if not code then return true end
  return nil, SIGNAL_ERRORS[code], code
end

function calls.kill(self, id, signal, target)
  expect("number", id, 1, "kill")
  expect("string", signal, 2, "kill")
  if not self.signals[signal] then
    error(("bad argument #2 to 'kill' (unknown signal '%s')"):format(signal), 2)
  end
  if target ~= "group" and target ~= "leader" then
    error("bad argument #3 to 'kill' ('group' or 'leader' expected)", 2)
  end
  local one = process_of(self, id)
  if not one then return stale(id) end
  local code = one:kill(signal, target)
  if not code then self.record("signal", { child = one, signal = signal, target = target }) end
  return signal_result(code)
end

function calls.capture(self, id, on)
  expect("number", id, 1, "capture")
  local one = process_of(self, id)
  if not one then return stale(id) end
  return signal_result(one:capture(on and true or false))
end

-- --- network -------------------------------------------------------------------------------------

local OUTCOMES = {
  up = function() return {} end,
  down = function() return { error = "connection refused", code = "ECONNREFUSED" } end,
  hangs = function(seconds)
    return { error = ("timed out after %g s"):format(seconds), code = "ETIMEDOUT" }
  end,
}
OUTCOMES.unknown = OUTCOMES.down

function calls.connect(self, address, timeout)
  expect("string", address, 1, "connect")
  expect("number", timeout, 2, "connect")
  local state = self.network:state(address)
  if state == "unknown" then
    self.complain((
      'nobody described the address %q: box:tcp(%q, "up") or "down", or a program with listens = %q'
    ):format(address, address, address))
  end
  local handle = { kind = "connect" }
  local id = self:handle(handle)
  handle.entry = self:later(self:line(), function()
    local event = OUTCOMES[state](timeout)
    event.type, event.id = "connected", id
    self:push(handle, event, function() self:forget(id) end)
  end, state == "hangs" and timeout or math.min(self:latency(), timeout))
  return id
end

-- Readiness of a descriptor that the spec moves (box:descriptor). Level-triggered: while it is ready, told
-- again.
local function tell_ready(self, id, handle)
  if self.handles[id] ~= handle or handle.queued then return end
  local ready = self.descriptors[handle.fd] or ""
  local readable = handle.mode:find "r" ~= nil and ready:find "r" ~= nil
  local writable = handle.mode:find "w" ~= nil and ready:find "w" ~= nil
  if not readable and not writable then return end
  handle.queued = true
  self:push(handle, { type = "poll", id = id, readable = readable, writable = writable }, function()
    handle.queued = nil
    self:later(handle.line, function() tell_ready(self, id, handle) end)
  end)
end

function calls.poll(self, fd, mode)
  expect("number", fd, 1, "poll")
  if mode ~= "r" and mode ~= "w" and mode ~= "rw" then
    error("bad argument #2 to 'poll' ('r', 'w' or 'rw' expected)", 2)
  end
  if not self.descriptors[fd] then
    self.complain(('nobody described the descriptor %d: box:descriptor(%d, "r")'):format(fd, fd))
    return nil, "bad file descriptor", "EBADF"
  end
  local handle = { kind = "poll", fd = fd, mode = mode, line = self:line() }
  local id = self:handle(handle)
  self:later(handle.line, function() tell_ready(self, id, handle) end)
  return id
end

---A descriptor is ready from now on: "", "r", "w" or "rw".
---@param fd integer
---@param ready string
function Port:descriptor(fd, ready)
  self.descriptors[fd] = ready
  for id = 1, self.last_id do
    local handle = self.handles[id]
    if handle and handle.kind == "poll" and handle.fd == fd then
      self:later(handle.line, function() tell_ready(self, id, handle) end)
    end
  end
end

-- --- signals, files, the machine -------------------------------------------------------------------

function calls.signals(self, names)
  expect("table", names, 1, "signals")
  for _, name in ipairs(names) do self.heard[name] = true end
end

---A signal from outside. False when the pilot does not listen to it.
---@param name string
---@param options { pid: integer?, terminal: boolean? }?
---@return boolean
function Port:signal(name, options)
  if not self.heard[name] then return false end
  options = options or {}
  self:push_urgent {
    type = "signal", name = name, pid = options.pid or 0, terminal = options.terminal or false,
  }
  return true
end

function calls.read(self, ...) return self.files:read(...) end
function calls.rename(self, ...) return self.files:rename(...) end
function calls.remove(self, ...) return self.files:remove(...) end
function calls.stat(self, ...) return self.files:stat(...) end
function calls.chmod(self, ...) return self.files:chmod(...) end
function calls.realpath(self, ...) return self.files:realpath(...) end

function calls.write(self, path, data, options)
  expect("string", data, 2, "write")
  return self.files:write(path, data, options)
end

function calls.addresses(self)
  local list = {}
  for i, one in ipairs(self.interfaces) do list[i] = copy(one) end
  return list
end

function calls.hostname(self) return self.name end
function calls.environ(self) return copy(self.environ) end
function calls.pid(self) return self.own_pid end

-- --- logs --------------------------------------------------------------------------------------

local LEVELS = { debug = true, info = true, warn = true, error = true }
local FORMATS = { default = true, text = true, json = true }

function calls.log(self, level, message, fields)
  if not LEVELS[level] then
    error(("bad argument #1 to 'log' (unknown level '%s')"):format(tostring(level)), 2)
  end
  expect("string", message, 2, "log")
  local entry = { level = level, message = message, fields = fields and copy(fields) or {} }
  self.logs[#self.logs + 1] = entry
  self.record("log", entry)
end

function calls.logging(self, options)
  expect("table", options, 1, "logging")
  local level, format = options.level, options.format
  if level and not LEVELS[level] then error("unknown level: " .. tostring(level), 2) end
  if format and not FORMATS[format] then error("unknown format: " .. tostring(format), 2) end
  local output = options.output
  if output and output ~= "stdout" and output ~= "stderr" then
    if output:sub(1, 1) ~= "/" then error("unknown output: " .. tostring(output), 2) end
    local ok, message, code = self.files:write(output, "", { append = true, mode = 416 }) -- rw-r-----
    if not ok then return nil, message, code end
  end
  self.log_options = copy(options)
  return true
end

function calls.reopen(self) self.reopened = (self.reopened or 0) + 1 end
function calls.flush() return 0 end

function calls.deadline(self, seconds)
  self.must_end = self.clock:now() + expect("number", seconds, 1, "deadline")
end

---The functions that the core calls.
---@param self luapilot.sim.Port
---@return luapilot.Port
function sim_port.interface(self)
  local interface = {}
  for name, fn in pairs(calls) do
    interface[name] = function(...) return fn(self, ...) end
  end
  return interface
end

return sim_port
