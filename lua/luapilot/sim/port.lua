-- port: the simulated world behind the interface of lua/luapilot/port.lua.
--
-- One port is the world of one box: handles, events in order, and the simple calls. Time comes from the
-- clock of the world, which only the spec moves: `wait` never waits. Whatever takes a moment in reality
-- takes a moment here (0.1 to 2 ms, drawn from the seed).
--
-- It owns the handles and the queue of events. Processes behind handles are child.lua's, files are
-- places.lua's and files.lua's, endpoints network.lua's. It decides nothing and knows nothing of jobs.

local copy = require "luapilot.base.copy"
local check = require "luapilot.sim.check"
local client = require "luapilot.sim.consul.client"
local duration = require "luapilot.base.duration"
local http = require "luapilot.sim.http"
local link = require "luapilot.sim.link"
local places = require "luapilot.sim.places"
local queue = require "luapilot.sim.queue"
local spawn = require "luapilot.sim.spawn"
local starts = require "luapilot.sim.starts"
local watch = require "luapilot.sim.consul.watch"

local sim_port = {}

local LATENCY_LOW, LATENCY_HIGH = 0.0001, 0.002
local CENTURY = 100 * 366 * 24 * 3600
---@class luapilot.sim.Port
---@field clock luapilot.sim.Clock
---@field kernel luapilot.sim.Kernel
---@field files luapilot.sim.Files
---@field network luapilot.sim.Network
---@field sites luapilot.sim.Sites
---@field programs luapilot.sim.Programs
---@field consul luapilot.sim.consul.Client
---@field starts luapilot.sim.Starts
local Port = {}
Port.__index = Port

---@param parts table    { clock, files, network, sites, programs, consul, latencies, random, name, interfaces, environ,
---                      own_pid, users, complain, record }; the kernel is set by the box
---@return luapilot.sim.Port
function sim_port.new(parts)
  local self = setmetatable({
    queue = queue.new(), handles = {}, last_id = 0, heard = {}, timers = parts.clock:source(),
    logs = {}, lines = {}, descriptors = {}, waiting = {}, log_options = {},
    ids = { user = { root = 0 }, group = { root = 0 }, next = 1000 }, -- of port.lookup
  }, Port)
  for name, value in pairs(parts) do self[name] = value end
  self.starts = starts.new(self)
  self.consul:attach(self)
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
  line.due = math.max(line.due, clock:moment(seconds or self:latency()))
  return clock:at(line.due, line.source, fn)
end

-- --- handles and events ------------------------------------------------------------------------

---A new handle for a value.
---@param value any
---@return integer id
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
  self.queue:push(source, event, taken)
end

---@param event table
---@param taken fun()?
function Port:push_urgent(event, taken)
  self.queue:push_urgent(event, taken)
end

---The next event, or nil.
---@return table?
function Port:pop()
  local event, taken = self.queue:pop()
  if taken then taken() end
  return event
end

---@param call string
---@param id any
function Port.stale(call, id)
  return nil, ("%s: there is no such handle (any more): %s"):format(call, tostring(id)), "EBADF"
end

-- --- output ------------------------------------------------------------------------------------

---A line of a job.
---@param sink luapilot.OutputOptions
---@param stream string
---@param line string
---@param partial boolean?     it goes on in the next one
function Port:put_line(sink, stream, line, partial)
  local entry = { job = sink.name, stream = stream, line = line, partial = partial }
  self.lines[#self.lines + 1] = entry
  self.record("line", entry)
  if sink.file then self.files:write(sink.file, line .. "\n", { append = true }) end
end

-- --- the calls ---------------------------------------------------------------------------------

local calls = {} -- each gets the Port first; sim_port.interface binds it

function calls.wait(self, block)
  if block ~= nil then check.boolean("wait: block", block) end
  local event = self:pop()
  if event == nil and block ~= false then
    error("wait() would wait for ever: in the simulator time passes only by box:advance", 0)
  end
  return event
end

function calls.now(self) return self.clock:now() end
function calls.clock(self) return self.clock:wall() end
function calls.random(self) return self.random:next() end

function calls.timer(self, seconds)
  check.any_number("timer: seconds", seconds)
  seconds = math.min(check.seconds("timer: seconds", seconds < 0 and 0 or seconds), CENTURY)
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
function cancel.place() end
function cancel.file() end
function cancel.start(self, handle) self.starts:abandon(handle) end
function cancel.process(_, handle) handle:cancel() end
function cancel.http(self, handle) http.cancel(self, handle) end
function cancel.connection(self, handle) link.cancel(self, handle) end
function cancel.consul(_, handle) client.cancel(handle) end
function cancel.watch(_, handle) watch.cancel(handle) end

function calls.cancel(self, id)
  check.any_number("cancel: id", id)
  local handle = self.handles[id]
  if not handle then return self.stale("cancel", id) end
  self:forget(id)
  self.queue:drop(id)
  cancel[handle.kind](self, handle)
  return true
end

-- --- network -------------------------------------------------------------------------------------

local function refused(address, code, why)
  return { error = ("cannot connect to %s: %s"):format(address, why), code = code }
end

local outcomes = {
  up = function() return {} end,
  down = function(address) return refused(address, "ECONNREFUSED", "connection refused") end,
  hangs = function(address, seconds)
    return refused(address, "ETIMEDOUT", "no answer within " .. duration.format(seconds))
  end,
}
outcomes.unknown = outcomes.down

function calls.connect(self, address, timeout)
  check.word("connect: address", address)
  check.seconds("connect: timeout", timeout)
  local number = tonumber(address:match "^[^%[%]:]+:(%d+)$" or address:match "^%[[^%]]+%]:(%d+)$")
  if not number or number < 1 or number > 65535 then
    error(("connect: address: expected host:port or [address]:port, got %q"):format(address), 0)
  end
  local state = self.network:state(address)
  if state == "unknown" then
    self.complain((
      'nobody described the address %q: box:tcp(%q, "up") or "down", or a program with listens = %q'
    ):format(address, address, address), "address", address)
  end
  local handle = { kind = "connect" }
  local id = self:handle(handle)
  handle.entry = self:later(self:line(), function()
    local event = outcomes[state](address, timeout)
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
  check.integer(0, 2 ^ 31 - 1)("poll: fd", fd)
  check.choice { "r", "w", "rw" }("poll: mode", mode)
  if not self.descriptors[fd] then
    self.complain(('nobody described the descriptor %d: box:descriptor(%d, "r")'):format(fd, fd))
    return nil, ("cannot wait for descriptor %d: bad file descriptor"):format(fd), "EBADF"
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
  local ids = {}
  for id, handle in pairs(self.handles) do
    if handle and handle.kind == "poll" and handle.fd == fd then ids[#ids + 1] = id end
  end
  table.sort(ids)
  for _, id in ipairs(ids) do
    local handle = self.handles[id]
    self:later(handle.line, function() tell_ready(self, id, handle) end)
  end
end

-- --- signals, files, the machine -------------------------------------------------------------------

local function check_caught(call, names)
  check.table(call .. ": names", names)
  for i, name in ipairs(names) do
    local where = ("%s: [%d]"):format(call, i)
    check.signal(where, name)
    if name == "SIGKILL" or name == "SIGSTOP" then
      error(("%s: %s cannot be caught"):format(where, name), 0)
    end
  end
end

function calls.signals(self, names)
  check_caught("signals", names)
  for _, name in ipairs(names) do self.heard[name] = true end
end

---A signal from outside. False when the pilot does not listen to it.
---@param name string
---@param options { pid: integer?, terminal: boolean? }?
---@return boolean
function Port:signal(name, options)
  if not self.heard[name] then return false end
  if self.waiting[name] then return true end -- the same signal twice is one
  options = options or {}
  self.waiting[name] = true
  self:push_urgent({
    type = "signal", name = name, pid = options.pid or 0, terminal = options.terminal or false,
  }, function() self.waiting[name] = nil end)
  return true
end

function calls.addresses(self)
  local list = {}
  for i, one in ipairs(self.interfaces) do list[i] = copy.shallow(one) end
  return list
end

function calls.hostname(self) return self.name end
function calls.environ(self) return copy.shallow(self.environ) end
function calls.pid(self) return self.own_pid end
function calls.cwd(self) return self.files.cwd end

-- --- logs --------------------------------------------------------------------------------------

local FIELDS = 64 -- in one message
local PLAIN = { string = true, number = true, boolean = true }
local check_level = check.choice { "debug", "info", "warn", "error" }
local check_logging = check.fields {
  level = check_level, format = check.choice { "default", "text", "json" },
  output = function(where, value)
    check.word(where, value)
    if value ~= "stdout" and value ~= "stderr" and value:sub(1, 1) ~= "/" then
      error(('%s: expected "stdout", "stderr" or an absolute path, got %q'):format(where, value), 0)
    end
  end,
}

local function check_log_fields(fields)
  check.table("log: fields", fields)
  local count = 0
  for name, value in pairs(fields) do
    check.string("log: fields: a name", name)
    if not PLAIN[type(value)] then
      check.wrong("log: fields: a value", "a string, a number or a boolean", value)
    end
    count = count + 1
  end
  if count > FIELDS then error(("log: fields: more than %d"):format(FIELDS), 0) end
end

function calls.log(self, level, message, fields, event, job, facts)
  check_level("log: level", level)
  check.string("log: message", message)
  if fields ~= nil then check_log_fields(fields) end
  if event ~= nil then check.word("log: event", event) end
  if job ~= nil then check.word("log: job", job) end
  if facts ~= nil then check_log_fields(facts) end
  local entry = {
    level = level, message = job and ("job %q: %s"):format(job, message) or message,
    fields = fields and copy.shallow(fields) or {}, event = event, job = job,
    facts = facts and copy.shallow(facts) or {},
  }
  self.logs[#self.logs + 1] = entry
  self.record("log", entry)
  local file = self.log_options.output
  if file and file:sub(1, 1) == "/" then
    self.files:write(file, ("%s: %s\n"):format(level, entry.message), { append = true })
  end
end

function calls.logging(self, options)
  check_logging("logging", options)
  local output = options.output
  if output and output:sub(1, 1) == "/" then
    local ok, message, code = places.open_log(self, output)
    if not ok then return nil, message, code end
  end
  for name, value in pairs(options) do self.log_options[name] = value end
  return true
end

function calls.reopen(self) self.reopened = (self.reopened or 0) + 1 end

function calls.flush(_, seconds)
  check.any_number("flush: seconds", seconds)
  return 0
end

local check_contain = check.fields {
  meter = check.table, seconds = check.number(0.01, 1e6), bytes = check.number(1024, 1e15),
}

-- The stack is LuaJIT's affair: a spec that recurses without end through coroutines crashes, as any Lua does.
function calls.deep() return false end

-- Instructions are counted (contain.lua), memory is not.
function calls.contain(_, options)
  check_contain("contain", options)
  check.any_number("contain: seconds", options.seconds)
  check.table("contain: meter", options.meter)
  return true
end

function calls.shutdown_signals(self, names)
  check_caught("shutdown_signals", names)
  self.enders = names
end

local check_code, check_stage = check.integer(0, 255), check.choice { "started", "over" }

function calls.deadline(self, seconds, orderly, code)
  if seconds then
    self.must_end = self.clock:now() + check.any_number("deadline: seconds", seconds)
    self.slice = math.max(1, seconds / 32)
  end
  if orderly then check.any_number("deadline: orderly", orderly) end
  if code then check_code("deadline: code", code) end
end

---The machine was paused. The guardian gives the pilot that time back, and counts again what it counted in the slice
---in which the pause began.
---@param seconds number
function Port:was_paused(seconds)
  if self.must_end then self.must_end = self.must_end + seconds + self.slice end
end

function calls.reached(_, stage, status)
  check_stage("reached: stage", stage)
  if stage == "started" then check.word("reached: status", status) end
end

---The functions that the core calls.
---@param self luapilot.sim.Port
---@return luapilot.Port
function sim_port.interface(self)
  local interface = {}
  for _, group in ipairs { calls, places.calls, spawn.calls, http.calls, link.calls, client.calls,
    watch.calls } do
    for name, fn in pairs(group) do
      interface[name] = function(...) return fn(self, ...) end
    end
  end
  return interface
end

return sim_port
