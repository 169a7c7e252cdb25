-- child: a simulated program as the port sees it: a handle, then `exit`, then `group_gone`.
--
-- The end takes its time, as in reality: the port notices a moment after the leader has died, signals the
-- rest of the session, and only then reaps; that nobody is left it learns a moment after that. It owns the
-- handle's state and the two streams. What the processes do is the kernel's business.

local kernel = require "luapilot.sim.kernel"
local stream = require "luapilot.sim.stream"

local child = {}

local STRAYS = 4 -- that are named
local REGENCY, LOOK = 2, 0.01 -- seconds: so long, and so often, an heir is waited for
local PIDFILE = 32 -- bytes: that is none any more

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
    news = port:line(), looks = port:line(), told = false, cancelled = false, heard = {}, unheard = 0,
  }, Child)
  self.group = port.kernel:spawn({
    argv = options.argv, env = options.env, cwd = options.cwd or port.files.cwd, user = options.user,
    stdin = options.stdin, input = options.input, pipes = open_streams(self),
    notify = options.notify and function(fields) self:notified(fields) end or nil, cgroup = options.cgroup ~= nil,
  }, fn)
  self.group.on_exit = function() port:later(self.news, function() self:exited() end) end
  self.group.on_empty = function() self:emptied() end
  self.group.on_death = function() port:later(self.looks, function() self:end_session() end) end
  return self
end

-- The core has taken a message, and deals with it before time passes.
local function message_taken(self)
  self.unheard = self.unheard - 1
  if self.unheard > 0 or not self.hearing then return end
  self.hearing = nil
  self.port:later(self.looks, function() self:exited() end)
end

---@private
function Child:notified(fields)
  self.unheard = self.unheard + 1
  self.port:later(self.notes, function()
    if self.cancelled or self.told then return end
    self.port:push(self.notes, { type = "notify", id = self.id, fields = fields }, function() message_taken(self) end)
  end)
end

local function end_signal(self) return self.cancelled and "SIGKILL" or self.options.end_signal or "SIGTERM" end

-- Who is in a group of its own hears the end signal, once; or SIGKILL, when that was the group's turn.
---@private
function Child:end_session()
  if not self.ending then return end -- perhaps it goes on
  local signal = self.group.sent.SIGKILL and "SIGKILL" or end_signal(self)
  for _, proc in ipairs(self.port.kernel.orphans(self.group)) do
    if proc.apart and self.heard[proc] ~= signal then
      self.heard[proc] = signal
      proc:deliver(signal)
      if signal ~= "SIGKILL" then proc:deliver "SIGCONT" end
    end
  end
end

-- `mark`: whose it is said to be by that, or by its program's name alone.
local function described(proc, mark)
  local variable = mark and mark:match "^[^=]*"
  return {
    pid = proc.pid, name = kernel.name_of(proc), by_name = variable and proc.env[variable] == nil or nil,
  }
end

-- Of a program that has succeeded: somebody of it who lives on.
local function left(self, ended)
  local kernel_of, mark = self.port.kernel, self.options.mark
  if ended.code ~= 0 or not mark then return nil end
  local member = kernel_of.orphans(self.group)[1]
  if member then return described(member) end
  local proc = kernel_of:strays(self.group, mark, false)[1]
  return proc and described(proc, mark)
end

-- For lack of memory, as the counts of control groups tell it.
local function lack(self, ended)
  local options, killed = self.options, ended.signal == "SIGKILL" and not self.group.sent.SIGKILL
  if not self.group.oom_kills or not killed and (ended.code or 0) == 0 then return nil end
  if options.cgroup and options.cgroup.memory_max then return "own" end
  return killed and "around" or nil
end

---Those that it has left behind, or with `earlier` others before it: the first few, and how many there are.
---@param earlier boolean
---@return table[], integer
function Child:find_strays(earlier)
  local all = self.options.mark and self.port.kernel:strays(self.group, self.options.mark, earlier) or {}
  local list = {}
  for i = 1, math.min(#all, STRAYS) do list[i] = described(all[i], self.options.mark) end
  return list, #all
end

---@return table[]
function Child:strays() return (self:find_strays(true)) end

-- Whom the program names to follow it: its pid; its own: nobody; nil and why there is none.
local function named(self)
  local dead, path = self.group.leader.pid, self.options.pidfile
  if self.successor == 0 then return dead end
  if self.successor and self.successor ~= dead then return self.successor end
  if not path then return dead end
  local text = self.port.files:content(path)
  if type(text) ~= "string" then return nil, text == nil and "absent" or "unreadable" end
  local pid = tonumber(text:match "^%s*(%d+)%s*$")
  if not pid or pid < 2 or pid >= 2 ^ 31 - 1 or #text >= PIDFILE then return nil, "no_pid" end
  return pid
end

-- Who may follow; nil and why not.
local function heir_of(self, pid)
  local proc = self.port.kernel:find(pid)
  if not proc then return nil, "ended" end
  if proc.group ~= self.group then return nil, "session" end
  if proc.user ~= self.group.leader.user then return nil, "user" end
  if proc.parent.state ~= "dead" then return nil, "parent" end
  return proc
end

-- The next main process.
local function enthrone(self, heir)
  self.until_then, self.unknown = nil, true
  self.port.kernel:follow(self.group, heir)
  self.port.record("main", { child = self, pid = heir.pid })
  self.port:push_urgent({ type = "main", id = self.id, pid = heir.pid }, function() self.unknown = nil end)
end

-- True: somebody follows the main process that has ended, or is waited for.
---@private
function Child:hand_over()
  local clock, heir = self.port.clock, nil
  local pid, why = named(self)
  self.until_then = self.until_then or clock:now() + REGENCY
  if self.cancelled or pid == self.group.leader.pid or #self.port.kernel.orphans(self.group) == 0 then return false end
  if pid then heir, why = heir_of(self, pid) end
  if heir then
    enthrone(self, heir)
    return true
  end
  if clock:now() < self.until_then then
    self.port:later(self.looks, function() self:exited() end, LOOK)
    return true
  end
  self.unfollowed = { why = why, pid = pid, notify = pid ~= nil and pid == self.successor or nil }
  return false
end

---Who follows when the main process has ended; 0: nobody.
---@param pid integer
function Child:succeed(pid) self.successor = pid end

-- The port notices that the main process has died.
---@private
function Child:exited()
  self.hearing = self.unheard > 0 and not self.cancelled
  if self.hearing or self:hand_over() then return end
  self.ending = true
  local ended = self.group.leader.ended
  self.left = left(self, ended)
  local signal = end_signal(self)
  if not self.group.sent.SIGKILL then self.ended = #self.port.kernel.orphans(self.group) end
  self:end_session()
  if not self.group.sent[signal] then self.port.kernel:signal_group(self.group, signal) end
  self.port.kernel:reap(self.group)
  self.port.record("exit", { child = self, code = ended.code, signal = ended.signal })
  if not self.cancelled then
    self.port:push_urgent {
      type = "exit", id = self.id, code = ended.code, signal = ended.signal, oom = lack(self, ended),
      unfollowed = self.unfollowed,
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
    local list, count = self:find_strays(false)
    local event = { type = "group_gone", id = self.id, left = self.left }
    if self.left then event.name = described(self.group.leader).name end
    if count > 0 then event.strays, event.count = list, count end
    if (self.ended or 0) > 0 then event.ended = self.ended end
    self.port:push_urgent(event, function() self:gone_taken() end)
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
  if target == "leader" and self.unknown then return "ESRCH" end -- nobody has heard of this one yet
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
  for _, proc in ipairs { unpack(self.group.members) } do proc:deliver "SIGKILL" end
  if self.hearing then self.port:later(self.looks, function() self:exited() end) end
end

return child
