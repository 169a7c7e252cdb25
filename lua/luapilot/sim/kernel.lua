-- kernel: the processes of one box: pids, groups, pipes, zombies.
--
-- A program that is started leads a group, and a session: what it forks belongs to both, unless it makes a group of
-- its own in the session (`apart`), or leaves the session. In a control group nobody leaves. When the leader ends it is
-- a zombie until it is reaped; the group is gone when no other process of the session lives. Pids are never used
-- again. It owns the groups. It tells the port of ends at once; that the news takes time is the port's rule.

local process = require "luapilot.sim.process"
local queue = require "luapilot.base.queue"
local waitlist = require "luapilot.base.waitlist"

local kernel = {}

local FIRST_PID = 100

---@class luapilot.sim.Group
---@field id integer                        the leader's pid
---@field leader luapilot.sim.Process
---@field members luapilot.sim.Process[]    of the session, alive ones, the leader too while it lives
---@field oom_kills integer?                 members that were killed for lack of memory
---@field cgroup boolean                    they live in a control group
---@field zombie boolean                    the leader has ended and is not reaped
---@field sent table<string, boolean>       signals that the whole group was sent
---@field on_exit fun()?
---@field on_empty fun()?
---@field on_death fun()?                   a member has died after the leader, and others live

---@class luapilot.sim.Kernel
---@field clock luapilot.sim.Clock
---@field network luapilot.sim.Network
---@field all luapilot.Waitlist      processes that live, and leaders that nobody has reaped
---@field complain fun(message: string)
---@field latency fun(): number
local Kernel = {}
Kernel.__index = Kernel

---@param options table    { clock, network, complain, latency }
---@return luapilot.sim.Kernel
function kernel.new(options)
  return setmetatable({
    clock = options.clock, network = options.network, complain = options.complain, latency = options.latency,
    last_pid = FIRST_PID, all = waitlist.new(),
  }, Kernel)
end

-- --- pipes -------------------------------------------------------------------------------------

local CAPACITY, ATOMIC = 64 * 1024, 4096 -- bytes in a pipe; of what goes in whole, or not yet

-- One end of a pipe, shared by the processes that hold it.
---@class luapilot.sim.Pipe
---@field size integer              bytes that are not read
---@field writers luapilot.Queue    what to call when there is room
local Pipe = {}
Pipe.__index = Pipe

---@param on_data fun(data: string)
---@param on_end fun()
---@return luapilot.sim.Pipe
function kernel.pipe(on_data, on_end)
  return setmetatable({ holders = 1, on_data = on_data, on_end = on_end, size = 0, writers = queue.new() }, Pipe)
end

---How much of so many bytes can be written now.
---@param size integer
---@return integer
function Pipe:room(size)
  local room = math.max(0, CAPACITY - self.size)
  if size <= ATOMIC and size > room then return 0 end
  return math.min(size, room)
end

---Calls fn() when some of it was read.
---@param fn fun()
function Pipe:when_read(fn) self.writers:push(fn) end

---So many bytes were read.
---@param size integer
function Pipe:taken(size)
  self.size = self.size - size
  for _ = 1, self.writers.count do self.writers:pop()() end
end

function Pipe:write(data)
  if data == "" then return end
  self.size = self.size + #data
  self.on_data(data)
end

---Somebody else holds it, too.
---@return luapilot.sim.Pipe
function Pipe:share()
  self.holders = self.holders + 1
  return self
end

function Pipe:release()
  self.holders = self.holders - 1
  if self.holders == 0 then self.on_end() end
end

local function shared(pipes)
  local copy = {}
  for stream, pipe in pairs(pipes) do
    copy[stream] = pipe:share()
  end
  return copy
end

-- --- processes -----------------------------------------------------------------------------------

local function next_pid(self)
  self.last_pid = self.last_pid + 1
  return self.last_pid
end

---Starts a program as the leader of a group of its own.
---@param options table      { argv, env, cwd, user, stdin, pipes, notify, cgroup }
---@param fn fun(proc: luapilot.sim.Process)
---@return luapilot.sim.Group
function Kernel:spawn(options, fn)
  options.pid = next_pid(self)
  local group = { id = options.pid, members = {}, sent = {}, zombie = false, cgroup = options.cgroup or false }
  options.group = group
  local leader = process.new(self, options)
  group.leader, group.members[1] = leader, leader
  leader.entry = self.all:add(leader)
  leader:begin(fn, self.latency())
  return group
end

---@param parent luapilot.sim.Process
---@param fn fun(proc: luapilot.sim.Process)
---@param options { setsid: boolean?, setpgid: boolean? }     it leaves the session; it makes a group of its own
---@return luapilot.sim.Process
function Kernel:fork(parent, fn, options)
  local group = parent.group
  if group and options.setsid and not group.cgroup then group = nil end
  local child = process.new(self, {
    pid = next_pid(self), argv = parent.argv, env = parent.env, cwd = parent.cwd, user = parent.user,
    pipes = shared(parent.pipes), group = group, notify = parent.notify_socket,
  })
  child.parent = parent
  child.apart = group and not group.cgroup and (options.setpgid or parent.apart) or false
  for signal, handler in pairs(parent.handlers) do child.handlers[signal] = handler end
  child.entry = self.all:add(child)
  if group then group.members[#group.members + 1] = child end
  child:begin(fn, self.latency())
  return child
end

local function remove(list, value)
  for i = #list, 1, -1 do
    if list[i] == value then table.remove(list, i) end
  end
end

---@private
function Kernel:died(proc)
  local group = proc.group
  if not group or proc ~= group.leader then self.all:remove(proc.entry) end
  if not group then return end
  remove(group.members, proc)
  if proc == group.leader then
    group.zombie = true
    if group.on_exit then group.on_exit() end
  elseif group.leader.state ~= "dead" then
    return
  elseif #group.members > 0 then
    if group.on_death then group.on_death() end
  elseif not group.zombie and group.on_empty then
    group.on_empty()
  end
end

---The leader's status is fetched: its pid is free, the group lives on only in its members.
---@param group luapilot.sim.Group
function Kernel:reap(group)
  group.zombie = false
  self.all:remove(group.leader.entry)
end

---Signals every process of a group; with SIGKILL, when its leader has ended, of the session. False when there is none,
---not even a zombie.
---@param group luapilot.sim.Group
---@param signal string
---@return boolean
function Kernel:signal_group(group, signal)
  if #group.members == 0 and not group.zombie then return false end
  group.sent[signal] = true
  local all = signal == "SIGKILL" and group.leader.state == "dead"
  for _, proc in ipairs { unpack(group.members) } do
    if all or not proc.apart then proc:deliver(signal) end
  end
  return true
end

---Members whose parent has died: what a look at the guardian's children finds.
---@param group luapilot.sim.Group
---@return luapilot.sim.Process[]
function Kernel.orphans(group)
  local list = {}
  for _, proc in ipairs(group.members) do
    if proc.parent and proc.parent.state == "dead" then list[#list + 1] = proc end
  end
  return list
end

---Another process of the session follows the leader, who has ended.
---@param group luapilot.sim.Group
---@param heir luapilot.sim.Process
function Kernel:follow(group, heir)
  if group.zombie then self:reap(group) end
  group.leader = heir
end

---@param pid integer
---@return luapilot.sim.Process?     that lives
function Kernel:find(pid)
  local found
  self.all:walk(function(proc)
    if proc.pid == pid and proc.state ~= "dead" then found = proc end
  end)
  return found
end

---The name of its program, as the kernel has it.
---@param proc luapilot.sim.Process
---@return string
function kernel.name_of(proc) return (proc.argv[1]:match("[^/]*$"):sub(1, 15)) end

---Orphans that have left the session of a leader, by the variable in their environment; where they have none, by the
---name of their program.
---@param group luapilot.sim.Group
---@param mark string       "NAME=value"
---@param earlier boolean   those that were there before the leader, instead of those that came after it
---@return luapilot.sim.Process[]
function Kernel:strays(group, mark, earlier)
  local list, name, value = {}, mark:match "^([^=]*)=(.*)$"
  self.all:walk(function(proc)
    if proc.group or proc.state == "dead" or (proc.pid < group.id) ~= earlier then return end
    local found = proc.env[name]
    local ours = found == value or found == nil and kernel.name_of(proc) == kernel.name_of(group.leader)
    if ours and proc.parent.state == "dead" then list[#list + 1] = proc end
  end)
  return list
end

---Signals the leader. False when it has been reaped.
---@param group luapilot.sim.Group
---@param signal string
---@return boolean
function Kernel:signal_leader(group, signal)
  if group.leader.state == "dead" and not group.zombie then return false end
  group.leader:deliver(signal)
  return true
end

---Processes of groups that live.
---@return luapilot.sim.Process[]
function Kernel:alive()
  local list = {}
  self.all:walk(function(proc)
    if proc.state ~= "dead" and proc.group then list[#list + 1] = proc end
  end)
  return list
end

---The machine is paused. Returns what lets it go on.
---@return fun()
function Kernel:freeze()
  local frozen = {}
  self.all:walk(function(proc)
    if proc:freeze() then frozen[#frozen + 1] = proc end
  end)
  return function()
    for _, proc in ipairs(frozen) do proc:thaw() end
  end
end

---What the guardian does at the end: nothing lives on, strays included.
function Kernel:kill_all()
  self.all:walk(function(proc)
    local group = proc.group
    if group then group.on_exit, group.on_empty, group.on_death = nil, nil, nil end
  end)
  self.all:walk(function(proc)
    if proc.state ~= "dead" then proc:die { signal = "SIGKILL" } end
  end)
end

return kernel
