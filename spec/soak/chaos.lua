-- chaos: what a storm does to a pilot and its jobs. A plan is drawn from a seed alone: which action comes, with what
-- numbers, and how long the pause after it is. Whom it hits depends on who lives then; the number that chooses does
-- not.
--
-- Each action undoes itself after a while; `calm` undoes all that is still in force.

local random = require "luapilot.sim.random"
local system = require "soak.system"

local chaos = {}

local KILLERS = { "KILL", "TERM", "SEGV", "ABRT", "INT", "HUP", "QUIT", "PIPE", "USR1", "USR2", "BUS", "RT", "XCPU" }

-- To PID 1, and to the pilot itself. TERM, INT and ABRT end it; faults it does not survive, PID 1 does.
local TO_PILOT = { "HUP", "USR1", "USR2", "QUIT", "ALRM", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR",
  "CHLD", "CONT", "PIPE", "TSTP", "TTIN", "TTOU", "STKFLT", "RT", "RT7" }
local TO_GUARDIAN = { "SEGV", "BUS", "FPE", "ILL", "TRAP", "SYS" }
for _, name in ipairs(TO_PILOT) do TO_GUARDIAN[#TO_GUARDIAN + 1] = name end

---@class soak.Chaos
---@field box soak.Box
---@field stalled boolean   nobody reads stdout
---@field queue table[]     { at, fn }: what undoes an action
---@field children table<integer, true>   ours, to be reaped
local Chaos = {}
Chaos.__index = Chaos

---@param box soak.Box?    nil: only for its plans
---@param seed integer
---@return soak.Chaos
function chaos.new(box, seed)
  return setmetatable({
    box = box, dice = random.new(seed), queue = {}, children = {},
    stalled = false, number = 0, rotations = 0, stops = 0,
  }, Chaos)
end

local function later(self, seconds, fn) table.insert(self.queue, { at = system.now() + seconds, fn = fn }) end

---Undoes what is due.
---@return number seconds   until the next, at most a tenth
function Chaos:undo()
  local now, next_one = system.now(), 0.1
  for pid in pairs(self.children) do
    if system.ended(pid) then self.children[pid] = nil end
  end
  for i = #self.queue, 1, -1 do
    local one = self.queue[i]
    if one.at <= now then
      table.remove(self.queue, i)
      one.fn()
    else
      next_one = math.min(next_one, one.at - now)
    end
  end
  return next_one
end

---Undoes everything.
function Chaos:calm()
  for _, one in ipairs(self.queue) do one.at = 0 end
  self:undo()
end

-- --- whom --------------------------------------------------------------------------------------------

-- The one of those that fit at which a number in [0, 1) points.
local function choose(self, where, fits)
  local list = {}
  for _, process in ipairs(self.box:processes()) do
    if process.state ~= "Z" and fits(process) then list[#list + 1] = process end
  end
  return list[math.floor(where * #list) + 1], list
end

local function anybody(process) return process.job ~= nil end
local function leaders(process) return process.leader end

local function name_of(process) return process and ("%s (%d)"):format(process.job or "?", process.pid) or "nobody" end

-- --- actions -----------------------------------------------------------------------------------------

-- name → { weight, draw(dice): table, act(self, drawn): string? }. What is drawn does not depend on the world.
local actions = {}

actions.kill = { 30,
  function(dice)
    return { where = dice:next(), signal = dice:pick(KILLERS), anybody = dice:next() < 0.4, group = dice:next() < 0.2 }
  end,
  function(self, d)
    local process = choose(self, d.where, d.anybody and anybody or leaders)
    if process then system.signal(d.group and process.leader and -process.pid or process.pid, d.signal) end
    return name_of(process)
  end }

actions.massacre = { 3,
  function(dice) return { share = dice:next(), signal = dice:pick { "KILL", "TERM", "SEGV" } } end,
  function(self, d)
    local _, list = choose(self, 0, leaders)
    for i = 1, math.ceil(d.share * #list) do system.signal(list[i].pid, d.signal) end
    return ("%d leaders"):format(math.ceil(d.share * #list))
  end }

actions.freeze = { 10,
  function(dice) return { where = dice:next(), seconds = dice:span(0.02, 4), group = dice:next() < 0.5 } end,
  function(self, d)
    local process = choose(self, d.where, anybody)
    if not process then return "nobody" end
    local target = d.group and process.leader and -process.pid or process.pid
    system.signal(target, "STOP")
    later(self, d.seconds, function() system.signal(target, "CONT") end)
    return name_of(process)
  end }

-- The pilot reads when it was stopped, and counts all the rest of its lateness: the span that it is told lies within
-- the true one.
local function stop_pilot(self, also_guardian, seconds)
  local box = self.box
  if self.stopped then return "is stopped already" end
  if also_guardian then system.signal(box.guardian, "STOP") end
  system.signal(box.pilot, "STOP")
  pcall(system.eventually, "a stopped pilot", 1, function()
    local process = system.process(box.pilot)
    return not process or process.state == "T"
  end)
  self.stopped, self.stops = system.now(), self.stops + 1
  later(self, seconds, function()
    self:tell_stop(self.stopped, system.now())
    self.stopped = nil
    system.signal(box.pilot, "CONT")
    if also_guardian then system.signal(box.guardian, "CONT") end
  end)
end

---Writes what pilot.lua reads of a stop.
function Chaos:tell_stop(from, to)
  local file = io.open(self.box:path "stops", "r+b")
  if not file then return end
  file:write(system.bytes(self.stops, from, to))
  file:close()
end

actions.stop_pilot = { 3,
  function(dice) return { seconds = dice:span(0.01, 1.5) } end,
  function(self, d) return stop_pilot(self, false, d.seconds) end }

actions.stop_both = { 2,
  function(dice) return { seconds = dice:span(0.01, 1.5) } end,
  function(self, d) return stop_pilot(self, true, d.seconds) end }

actions.signal_guardian = { 10,
  function(dice) return { signal = dice:pick(TO_GUARDIAN), times = math.floor(dice:span(1, 30)) } end,
  function(self, d)
    for _ = 1, d.times do system.signal(self.box.guardian, d.signal) end
  end }

actions.signal_pilot = { 5,
  function(dice) return { signal = dice:pick(TO_PILOT), times = math.floor(dice:span(1, 30)) } end,
  function(self, d)
    if self.stopped and d.signal == "CONT" then return "is stopped, for as long as it was said" end
    for _ = 1, d.times do system.signal(self.box.pilot, d.signal) end
  end }

actions.fill_disk = { 4,
  function(dice) return { seconds = dice:span(0.05, 8) } end,
  function(self, d)
    local path = self.box:disk "filler"
    local file = io.open(path, "a")
    if not file then return "no room for a file" end
    file:setvbuf "no"
    for size = 18, 8, -2 do
      while file:write(("x"):rep(2 ^ size)) do end -- luacheck: ignore 542
    end
    file:close()
    later(self, d.seconds, function() os.remove(path) end)
  end }

actions.stall_reader = { 4,
  function(dice) return { seconds = dice:span(0.05, 4) } end,
  function(self, d)
    self.stalled = true
    later(self, d.seconds, function() self.stalled = false end)
  end }

---The log file of a job is moved away, and the pilot is told so.
function Chaos:rotate()
  self.rotations = self.rotations + 1
  os.rename(self.box:disk "seq.log", self.box:disk("seq.log." .. self.rotations))
  system.signal(self.box.guardian, "USR1")
end

actions.rotate = { 3, function() return {} end, Chaos.rotate }

local function limit(self, pid, name, soft, seconds)
  local before = system.limit(pid, name, soft)
  if before and seconds then later(self, seconds, function() system.limit(pid, name, before) end) end
end

-- Not while another such limit holds, which would be taken for the one to go back to.
local function limit_pilot(self, name, soft, seconds)
  if self.limited then return "is limited already" end
  self.limited = true
  limit(self, self.box.pilot, name, soft, seconds)
  later(self, seconds, function() self.limited = false end)
end

actions.few_descriptors = { 3,
  function(dice) return { more = dice:below(8), seconds = dice:span(0.05, 2) } end,
  function(self, d)
    return limit_pilot(self, "nofile", system.descriptors(self.box.pilot) + d.more, d.seconds)
  end }

actions.no_file_size = { 2,
  function(dice) return { seconds = dice:span(0.05, 1) } end,
  function(self, d) return limit_pilot(self, "fsize", 0, d.seconds) end }

actions.limit_job = { 5,
  function(dice)
    return { where = dice:next(), name = dice:pick { "nofile", "fsize", "as", "cpu" }, soft = dice:below(5) }
  end,
  function(self, d)
    local process = choose(self, d.where, anybody)
    if process then limit(self, process.pid, d.name, d.soft) end
    return name_of(process)
  end }

actions.few_processes = { 3,
  function(dice) return { more = dice:below(4), seconds = dice:span(0.05, 3) } end,
  function(self, d)
    local group = self.box.pids
    if not group then return "no control groups here" end
    local count = tonumber(system.read(group .. "/pids.current"))
    system.write(group .. "/pids.max", tostring(count + d.more))
    later(self, d.seconds, function() system.write(group .. "/pids.max", "max") end)
  end }

actions.orphans = { 3,
  function(dice) return { times = 1 + dice:below(5) } end,
  function(self, d)
    local process = choose(self, 0, function(one) return one.leader and one.job == "orphans" end)
    for _ = 1, process and d.times or 0 do system.signal(process.pid, "USR1") end
    return name_of(process)
  end }

-- Somebody comes in from outside, as `docker exec` does, and leaves orphans.
actions.intruder = { 2,
  function(dice) return { count = 1 + dice:below(100) } end,
  function(self, d)
    local box = self.box
    self.children[system.spawn { argv = { "nsenter", "--target", tostring(box.guardian), "--pid", "--mount", box.actor,
      box.directory .. "/state/states", "0", "intruder", "litter", tostring(d.count) } }] = true
  end }

-- --- the plan ----------------------------------------------------------------------------------------

local names, total = {}, 0
for name, action in pairs(actions) do
  names[#names + 1] = name
  total = total + action[1]
end
table.sort(names)

local function draw_name(dice)
  local point = dice:next() * total
  for _, name in ipairs(names) do
    point = point - actions[name][1]
    if point < 0 then return name end
  end
  return names[#names]
end

local function described(drawn)
  local keys, parts = {}, {}
  for key in pairs(drawn) do keys[#keys + 1] = key end
  table.sort(keys)
  for i, key in ipairs(keys) do
    local value = drawn[key]
    parts[i] = ("%s=%s"):format(key, type(value) == "number" and ("%.6g"):format(value) or tostring(value))
  end
  return table.concat(parts, " ")
end

---What comes next.
---@return { name: string, drawn: table, pause: number, text: string }
function Chaos:next()
  local name = draw_name(self.dice)
  local drawn = actions[name][2](self.dice)
  local pause = self.dice:span(0.004, 0.4)
  self.number = self.number + 1
  return { name = name, drawn = drawn, pause = pause,
    text = ("%d %s %s; pause %.6g"):format(self.number, name, described(drawn), pause) }
end

---How long the next storm lasts.
---@return number
function Chaos:storm() return self.dice:span(2, 12) end

---Does it.
---@return string   what came of it
function Chaos:act(step) return actions[step.name][3](self, step.drawn) or "" end

return chaos
