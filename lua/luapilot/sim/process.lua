-- process: one simulated process, from its first instruction to its last.
--
-- What it does is a Lua function that runs in a coroutine and waits in virtual time (`proc:sleep`). Signals
-- are those of Unix: they interrupt nothing they need not, a process that has not installed a handler yet
-- dies of SIGHUP, a stopped one hears of them when it goes on, nothing withstands SIGKILL.
--
-- It owns its coroutines, its signal handlers, what it holds of its pipes, and its listening addresses. Who
-- its parent is, who is in its group and who is told of its end is the kernel's business (kernel.lua).

local blame = require "luapilot.sim.blame"
local duration = require "luapilot.base.duration"
local server = require "luapilot.sim.server"

local process = {}

-- What a signal does that nobody handles; every other one kills.
local DEFAULT = {
  SIGCHLD = "ignore", SIGURG = "ignore", SIGWINCH = "ignore", SIGCONT = "ignore",
  SIGSTOP = "stop", SIGTSTP = "stop", SIGTTIN = "stop", SIGTTOU = "stop",
}
local UNSTOPPABLE = { SIGKILL = true, SIGSTOP = true }
local STREAMS = { "stdout", "stderr" } -- in the order in which they close; that of pairs is another in each process

---@class luapilot.sim.Process
---@field pid integer
---@field argv string[]
---@field env table<string, string>
---@field cwd string
---@field user string|integer|nil
---@field stdin string
---@field input "open"|"inherit"|nil   instead
---@field state "alive"|"stopped"|"dead"
---@field ended { code: integer?, signal: string? }?
local Process = {}
Process.__index = Process

---@param kernel luapilot.sim.Kernel
---@param options table    { pid, argv, env, cwd, user, stdin, pipes, group, notify }
---@return luapilot.sim.Process
function process.new(kernel, options)
  return setmetatable({
    kernel = kernel, pid = options.pid, argv = options.argv, env = options.env, cwd = options.cwd,
    user = options.user, stdin = options.stdin or "", input = options.input, pipes = options.pipes,
    group = options.group,
    notify_socket = options.notify, source = kernel.clock:source(), state = "alive", threads = {},
    handlers = {}, pending = {}, addresses = {}, links = {}, received = {},
  }, Process)
end

---A short name for messages.
---@return string
function Process:describe()
  return ("%s (pid %d)"):format(table.concat(self.argv, " "), self.pid)
end

-- --- threads: the coroutines of a process ------------------------------------------------------

local running -- the thread that runs now, of whatever process

local function seconds_of(value, what)
  local seconds, message = duration.parse(value)
  if not seconds then blame.raise("%s: %s", what, message) end
  return seconds
end

local function run(thread, ...)
  local self, before = thread.process, running
  running = thread
  local alive, result = coroutine.resume(thread.co, ...)
  running = before
  if self.state == "dead" then return end
  if not alive then
    self.kernel.complain(("the behaviour of %s failed: %s"):format(self:describe(),
      debug.traceback(thread.co, tostring(result))))
    return self:die { signal = "SIGABRT" }
  end
  if coroutine.status(thread.co) == "dead" then
    self.threads[thread] = nil
    if thread.main then self:die { code = type(result) == "number" and result or 0 } end
  end
end

-- A stopped process runs on when it is continued.
local function wake(thread, ...)
  thread.entry, thread.hears = nil, nil
  if thread.process.state == "stopped" then
    thread.parked = { n = select("#", ...), ... }
    return
  end
  run(thread, ...)
end

---@private
function Process:thread(fn, main, ...)
  local thread = { process = self, co = coroutine.create(fn), main = main }
  self.count = (self.count or 0) + 1
  thread.number = self.count
  self.threads[thread] = true
  wake(thread, self, ...)
end

local function in_order(threads)
  local list = {}
  for thread in pairs(threads) do list[#list + 1] = thread end
  table.sort(list, function(a, b) return a.number < b.number end)
  return list
end

---Its first instruction comes in `seconds`.
---@param fn fun(proc: luapilot.sim.Process): integer?
---@param seconds number
function Process:begin(fn, seconds)
  self.beginning = self.kernel.clock:after(seconds, self.source, function()
    self.beginning = nil
    self:thread(fn, true)
  end)
end

local function own_thread(self, what)
  if not running or running.process ~= self then
    blame.raise("proc:%s waits: call it in the behaviour's own function", what)
  end
  return running
end

-- --- for behaviours: time ----------------------------------------------------------------------

---Waits.
---@param time string|number
function Process:sleep(time)
  local thread = own_thread(self, "sleep")
  local seconds = seconds_of(time, "proc:sleep")
  thread.entry = self.kernel.clock:after(seconds, self.source, function() wake(thread) end)
  coroutine.yield()
end

---Waits for a signal (any, or one of `names`) and takes it: its name, or nil after `timeout`.
---@param timeout string|number|nil
---@param names string[]?
---@return string?
function Process:wait_signal(timeout, names)
  local thread = own_thread(self, "wait_signal")
  thread.hears = {}
  for _, name in ipairs(names or {}) do thread.hears[name] = true end
  if not names then setmetatable(thread.hears, { __index = function() return true end }) end
  if timeout then
    local seconds = seconds_of(timeout, "proc:wait_signal")
    thread.entry = self.kernel.clock:after(seconds, self.source, function() wake(thread, nil) end)
  end
  return coroutine.yield()
end

---Waits for something: register(wake) sees to it that wake() is called once.
---@param register fun(wake: fun())
function Process:park(register)
  local thread = own_thread(self, "park")
  register(function()
    if self.threads[thread] then wake(thread) end
  end)
  coroutine.yield()
end

-- --- for behaviours: signals ---------------------------------------------------------------------

---Installs a handler: a function(proc), "ignore" or "default".
---@param signal string
---@param handler function|string
function Process:handle(signal, handler)
  if UNSTOPPABLE[signal] then blame.raise("%s cannot be handled", signal) end
  if handler == "default" then handler = nil end
  self.handlers[signal] = handler
end

---Ignores them from now on, whatever else it says of them.
---@param signals string[]
function Process:deafen(signals)
  self.deaf = self.deaf or {}
  for _, signal in ipairs(signals) do self.deaf[signal] = true end
end

local function waiter(self, signal)
  for _, thread in ipairs(in_order(self.threads)) do
    if thread.hears and thread.hears[signal] then return thread end
  end
end

local function take(self, signal)
  if self.deaf and self.deaf[signal] then return end
  local thread, handler = waiter(self, signal), self.handlers[signal]
  if thread then
    if thread.entry then self.kernel.clock:cancel(thread.entry) end
    return wake(thread, signal)
  end
  if handler == "ignore" then return end
  if handler then return self:thread(handler, false, signal) end
  local action = DEFAULT[signal]
  if action == "stop" then
    self.state = "stopped"
  elseif action ~= "ignore" then
    self:die { signal = signal }
  end
end

local function continue(self)
  if self.state ~= "stopped" then return end
  self.state = "alive"
  local pending = self.pending
  self.pending = {}
  for _, signal in ipairs(pending) do
    pending[signal] = nil
    if self.state == "alive" then take(self, signal) end
  end
  for _, thread in ipairs(in_order(self.threads)) do
    local parked = thread.parked
    thread.parked = nil
    if parked and self.state == "alive" then run(thread, unpack(parked, 1, parked.n)) end
  end
end

---Nothing of it runs any more: its machine is paused. False when nothing ran before.
---@return boolean
function Process:freeze()
  if self.state ~= "alive" then return false end
  self.state = "stopped"
  return true
end

---Its machine goes on.
function Process:thaw() continue(self) end

---A signal arrives.
---@param signal string
function Process:deliver(signal)
  if self.state == "dead" then return end
  self.received[signal] = (self.received[signal] or 0) + 1
  if signal == "SIGKILL" then return self:die { signal = signal } end
  if signal == "SIGSTOP" then
    self.state = "stopped"
    return
  end
  if signal == "SIGCONT" then continue(self) end
  if self.state == "stopped" then
    if not self.pending[signal] then -- the same signal twice is one
      self.pending[signal] = true
      self.pending[#self.pending + 1] = signal
    end
  elseif self.state == "alive" then
    take(self, signal)
  end
end

-- --- for behaviours: output, network, readiness ----------------------------------------------------

local function wait_for_room(thread, pipe)
  pipe:when_read(function()
    if thread.process.threads[thread] then wake(thread) end
  end)
  coroutine.yield()
end

---Writes to stdout, or to the stream named. A pipe that is full holds it up until somebody reads, as write(2) does;
---what a spec writes in its name is not held up.
---@param data string
---@param stream "stdout"|"stderr"|nil
function Process:write(data, stream)
  local name, at = stream or "stdout", 1
  local pipe, thread = self.pipes[name], running
  local waits = thread and thread.process == self and thread.co == coroutine.running()
  while at <= #data and pipe and pipe == self.pipes[name] and self.state ~= "dead" do
    local left = #data - at + 1
    local room = waits and pipe:room(left) or left
    if room > 0 then
      pipe:write(data:sub(at, at + room - 1))
      at = at + room
    else
      wait_for_room(thread, pipe)
    end
  end
end

---Writes a line.
---@param line string
---@param stream "stdout"|"stderr"|nil
function Process:print(line, stream) self:write(tostring(line) .. "\n", stream) end

---Closes its stdout and stderr without ending.
function Process:close_output()
  for _, name in ipairs(STREAMS) do
    if self.pipes[name] then self.pipes[name]:release() end
  end
  self.pipes = {}
end

-- The path of a unix socket that does not begin with "/" is below the working directory.
local function whole(self, address)
  local path = type(address) == "string" and address:match "^unix:([^/].*)$"
  return path and path:find "%D" and ("unix:%s/%s"):format(self.cwd, path) or address
end

---Listens on a TCP address or a unix socket ("unix:/run/app.sock"), until it ends. Who connects there is served: see
---server.lua.
---@param address string
---@param serves table|fun(conn: luapilot.sim.Conn)|nil
function Process:listen(address, serves)
  address = whole(self, address)
  local accept = serves ~= nil and server.inside(self, server.script(serves, self.kernel.complain)) or nil
  self.kernel.network:listen(address, accept)
  self.addresses[#self.addresses + 1] = { name = address, accept = accept }
end

---Listens no longer.
---@param address string
function Process:unlisten(address)
  address = whole(self, address)
  for i = #self.addresses, 1, -1 do
    if self.addresses[i].name == address then
      local one = table.remove(self.addresses, i)
      self.kernel.network:close(one.name, one.accept)
    end
  end
end

---A connection is its own, until one of both ends.
---@param link luapilot.sim.Link
function Process:holds(link) self.links[#self.links + 1] = link end

-- "KEY=value" lines; a line without "=" is none.
local function datagram(text)
  local fields = {}
  for line in text:gmatch "[^\n]+" do
    local key, value = line:match "^([^=]+)=(.*)$"
    if key then fields[key] = value end
  end
  return fields
end

---Says something by sd_notify, if it was given a socket: { READY = "1" }, or "READY=1".
---@param what table<string, string|number>|string
function Process:notify(what)
  local sent = type(what) == "string" and datagram(what) or {}
  for key, value in pairs(type(what) == "table" and what or {}) do sent[key] = tostring(value) end
  if self.notify_socket then self.notify_socket(sent) end
end

-- --- for behaviours: other processes, and the end ----------------------------------------------------

---Starts another process with the same argv, pipes and group; with `setsid` it leaves the session, as daemons
---do; with `setpgid` it makes a group of its own in the session, as a shell's `set -m` does.
---@param fn fun(proc: luapilot.sim.Process)
---@param options { setsid: boolean?, setpgid: boolean? }?
---@return luapilot.sim.Process
function Process:fork(fn, options)
  return self.kernel:fork(self, fn, options or {})
end

---Ends.
---@param code integer?
function Process:exit(code)
  self:die { code = code or 0 }
  if running and running.process == self then coroutine.yield() end -- nobody resumes it
end

---Sends itself a signal that it does not handle.
---@param signal string
function Process:crash(signal)
  self:die { signal = signal or "SIGSEGV" }
  if running and running.process == self then coroutine.yield() end
end

---The kernel kills it for lack of memory: of its control group, where the job has one with memory_max, else of the
---container.
function Process:oom()
  if self.group then self.group.oom_kills = (self.group.oom_kills or 0) + 1 end
  self:crash "SIGKILL"
end

---@private
function Process:die(how)
  if self.state == "dead" then return end
  self.state, self.ended = "dead", how
  local clock = self.kernel.clock
  if self.beginning then clock:cancel(self.beginning) end
  for thread in pairs(self.threads) do
    if thread.entry then clock:cancel(thread.entry) end
  end
  self.threads = {}
  for _, one in ipairs(self.addresses) do self.kernel.network:close(one.name, one.accept) end
  for _, link in ipairs(self.links) do link:server_closes() end
  self.addresses, self.links = {}, {}
  self:close_output()
  self.kernel:died(self)
end

return process
