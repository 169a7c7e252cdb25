-- child: a simulated program as the port sees it: a handle, then `exit`, then `group_gone`.
--
-- The end takes its time, as in reality: the port notices a moment after the leader has died, signals the
-- rest of the group, and only then reaps; that nobody is left it learns a moment after that. It owns the
-- handle's state and the two streams. What the processes do is the kernel's business.

local kernel = require "luapilot.sim.kernel"
local stream = require "luapilot.sim.stream"

local child = {}

local NAMES = { "stdout", "stderr" } -- in this order, since each draws a latency; pairs has another in each process

---@class luapilot.sim.Child
---@field id integer
---@field group luapilot.sim.Group
---@field options luapilot.SpawnOptions
---@field told boolean          group_gone was taken: the handle is gone, but for its streams
---@field cancelled boolean
local Child = {}
Child.__index = Child

-- Only what is read: into the log, into events, or both.
local function is_read(options) return options.capture or options.output end

-- Is its stderr its stdout?
local function is_merged(options) return options.output and options.output.merge end

local function open_streams(self)
  local pipes = {}
  if not is_read(self.options) then return pipes end
  for _, name in ipairs(NAMES) do
    local one
    one = stream.new(self.port, {
      name = name, id = self.id, sink = self.options.output, capture = self.options.capture or false,
      on_end = function()
        self.streams[name] = nil
        self:finish()
      end,
    })
    self.streams[name] = one
    one.pipe = kernel.pipe(function(data) one:write(data) end, function() one:close() end)
    pipes[name] = one.pipe
    if is_merged(self.options) then
      pipes.stderr = one.pipe:share()
      break
    end
  end
  return pipes
end

-- Calls a method of both, or of what is left.
local function to_streams(self, method, ...)
  for _, name in ipairs(NAMES) do
    local one = self.streams[name]
    if one then one[method](one, ...) end
  end
end

---@param port table
---@param id integer
---@param options luapilot.SpawnOptions
---@param fn fun(proc: luapilot.sim.Process)
---@return luapilot.sim.Child
function child.start(port, id, options, fn)
  local self = setmetatable({
    kind = "process", port = port, id = id, options = options, streams = {}, notes = port:line(),
    news = port:line(), told = false, cancelled = false,
  }, Child)
  self.group = port.kernel:spawn({
    argv = options.argv, env = options.env, cwd = options.cwd or port.files.cwd, user = options.user,
    stdin = options.stdin, pipes = open_streams(self),
    notify = options.notify and function(fields) self:notified(fields) end or nil,
  }, fn)
  self.group.on_exit = function() port:later(self.news, function() self:exited() end) end
  self.group.on_empty = function() self:emptied() end
  return self
end

---@private
function Child:notified(fields)
  self.port:later(self.notes, function()
    if self.cancelled or self.told then return end
    self.port:push(self.notes, { type = "notify", id = self.id, fields = fields })
  end)
end

-- The port notices that the leader has died.
---@private
function Child:exited()
  local ended = self.group.leader.ended
  local signal = self.cancelled and "SIGKILL" or self.options.end_signal or "SIGTERM"
  if not self.group.sent[signal] then self.port.kernel:signal_group(self.group, signal) end
  self.port.kernel:reap(self.group)
  self.port.record("exit", { child = self, code = ended.code, signal = ended.signal })
  if not self.cancelled then
    self.port:push_urgent {
      type = "exit", id = self.id, code = ended.code, signal = ended.signal,
      usage = { user = 0, system = 0, maxrss = 0 },
    }
  end
  if #self.group.members == 0 then self:emptied() end
end

-- What was said by sd_notify comes before the news that nobody is left.
---@private
function Child:emptied()
  if self.gone then return end
  self.gone = true
  self.news.due = math.max(self.news.due, self.notes.due + 1)
  self.port:later(self.news, function()
    if self.cancelled then return end
    self.port:push_urgent({ type = "group_gone", id = self.id }, function() self:gone_taken() end)
    to_streams(self, "group_gone")
  end)
end

---@private
function Child:gone_taken()
  self.told = true
  if not self.options.capture then
    to_streams(self, "abandon")
    self.streams = {}
  end
  self:finish()
end

---@private
function Child:finish()
  if self.told and not next(self.streams) then self.port:forget(self.id) end
end

---@param signal string
---@param target "group"|"leader"
---@return string? code      why it could not be sent
function Child:kill(signal, target)
  if self.told then return "EBADF" end
  local send = target == "group" and self.port.kernel.signal_group or self.port.kernel.signal_leader
  if not send(self.port.kernel, self.group, signal) then return "ESRCH" end
end

---@param on boolean
---@return string? code
function Child:capture(on)
  if not self.options.output or self.options.output.raw then return "EINVAL" end
  self.options.capture = on
  to_streams(self, "set_capture", on)
end

---@param on boolean
---@return string? code
function Child:hold(on)
  if not self.options.capture then return "EINVAL" end
  to_streams(self, "hold", on)
end

---Ends it and all that belongs to it, in silence.
function Child:cancel()
  self.cancelled = true
  to_streams(self, "abandon")
  self.streams = {}
  self.port.kernel:signal_group(self.group, "SIGKILL")
end

return child
