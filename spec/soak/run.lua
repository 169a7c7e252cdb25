-- run: one soak from its start to its end: storms and quiet times in turn, then an orderly end.
--
-- It owns the box, the storm, the judges, the process that measures beside them, and the list of faults.

local box = require "soak.box"
local chaos = require "soak.chaos"
local figures = require "figures"
local judge = require "soak.judge"
local lag = require "soak.pilot.lag"
local lines = require "soak.lines"
local random = require "luapilot.sim.random"
local system = require "soak.system"

local PATIENCE = 120    -- seconds until all is as it should be, and until the end
local LOOK = 0.2        -- between two looks at what must never be
local MINUTE = 60
local JUDGED = 600      -- seconds from which the lateness of the loop is judged
local LATE = 0.05       -- what 99 % of all moments may be late by
local MANY = 100        -- different faults, and it is over
local HOG_SHARE = 0.004 -- of the time handlers hold the loop, where its lateness is judged; a second each

local run = {}

---@class soak.Run
---@field faults { kind: string, text: string, times: integer }[]
---@field box soak.Box
---@field storm soak.Chaos
---@field judge soak.Judge
---@field lines soak.Lines
---@field round integer
---@field late { loop: soak.Lag, undisturbed: soak.Lag, control: soak.Lag }
---@field sums string        of a log file: what came of its lines
---@field trends string[][]  rows of a table
local Run = {}
Run.__index = Run

function Run:say(...)
  local line = ("%7.1f  %s"):format(system.now() - self.begun, (...):format(select(2, ...)))
  print(line)
  self.actions:write(line, "\n")
end

-- The same again, with other numbers in it, is counted only.
function Run:fault(kind, text)
  local key = kind .. text:gsub("%d+", "")
  local same = self.faults[key]
  if same then
    same.times = same.times + 1
    return
  end
  self.faults[key] = { kind = kind, text = text, times = 1 }
  table.insert(self.faults, self.faults[key])
  self:say("FAULT %s: %s", kind, text:sub(1, 2000))
  if #self.faults == MANY then error("too many faults", 0) end
end

-- --- to let time pass ----------------------------------------------------------------------------------

local function take(self, fd)
  local data = system.take(fd)
  if not data then return end
  if data == "" then self.closed[fd] = true end
  if fd == self.box.out then
    self.lines:feed(data)
  else
    self.errors = self.errors .. data
  end
end

-- Reads what there is, and undoes what is due. At most `seconds`.
local function listen(self, seconds)
  local pause, fds = math.min(seconds, self.storm:undo()), {}
  for _, fd in ipairs { self.box.err, not self.storm.stalled and self.box.out or nil } do
    if not self.closed[fd] then fds[#fds + 1] = fd end
  end
  for fd, ready in pairs(system.wait_for(fds, pause)) do
    if ready then take(self, fd) end
  end
end

local function step(self, seconds)
  listen(self, seconds)
  if system.now() < self.next_look then return end
  self.next_look = system.now() + LOOK
  if self.box:ended() then error("the pilot has ended by itself", 0) end
  self.judge:look()
  if system.now() > self.next_minute then self:tell_minute() end
end

local function spend(self, seconds)
  local deadline = system.now() + seconds
  repeat step(self, deadline - system.now()) until system.now() >= deadline
end

-- --- how late the loop is --------------------------------------------------------------------------------

local function read_lag(self)
  return {
    loop = lag.parse(system.read(self.box:path "lag")),
    undisturbed = lag.parse(system.read(self.box:path "lag.undisturbed")),
    control = lag.parse(system.read(self.control_file)),
  }
end

local function times(counts)
  return ("p50 %s, p99 %s, most %s"):format(figures.value(counts:quantile(0.5), "s"),
    figures.value(counts:quantile(0.99), "s"), figures.value(counts:quantile(1), "s"))
end

---What came since it was told last, but for acts that hold the loop on purpose.
function Run:tell_minute()
  local now = read_lag(self)
  local loop, control = now.undisturbed:since(self.late.undisturbed), now.control:since(self.late.control)
  self.next_minute, self.late = system.now() + MINUTE, now
  self:say("late by %s; the process beside it %s", times(loop), times(control))
end

-- --- a round -------------------------------------------------------------------------------------------

local function make_storm(self)
  local storm, seconds = self.storm, self.storm:storm()
  self.box:tell("phase", ("storm %d"):format(self.round))
  local deadline, first = system.now() + seconds, storm.number
  while system.now() < deadline do
    local one = storm:next()
    local outcome = storm:act(one)
    self.actions:write(("%7.1f    %s → %s\n"):format(system.now() - self.begun, one.text, outcome))
    spend(self, one.pause)
  end
  self:say("round %d: a storm of %.1f s, %d actions", self.round, seconds, storm.number - first)
end

-- Logs must not fill the small disk by themselves.
local function clear_disk(self)
  os.remove(self.box:disk "filler")
  os.remove(self.box:disk "burst.log")
  local raw = io.open(self.box:disk "raw.log", "w")
  if raw then raw:close() end
  self.storm:rotate()
end

-- Waits until all is well. What is not, and what was the last thing that was not.
local function settle(self, deadline)
  local last
  while true do
    spend(self, 0.1)
    local trouble = self.judge:trouble(self.round)
    if not trouble or system.now() > deadline then return trouble, last end
    last = trouble
  end
end

local function be_quiet(self)
  self.storm:calm()
  clear_disk(self)
  self.box:tell("phase", ("quiet %d"):format(self.round))
  self.judge:begin_quiet()
  local begun = system.now()
  local trouble, last = settle(self, begun + PATIENCE)
  if trouble then return self:fault("recovery", ("after %d s of quiet: %s"):format(PATIENCE, trouble)) end
  self:say("round %d: all is well after %.1f s; the last: %s", self.round, system.now() - begun, last or "nothing")
  self.judge:sample(system.now() - self.begun, function() spend(self, 0.2) end)
  self.judge:read_files(self.storm.rotations) -- what SIGUSR1 has set in motion is over
end

-- --- the end -------------------------------------------------------------------------------------------

-- How it is told to end, and the code that must come of that. Deaf jobs have to be killed, which is 124.
local ENDS = {
  { "SIGTERM", 124, function(self) system.signal(self.box.guardian, "TERM") end },
  { "SIGINT", 124, function(self) system.signal(self.box.guardian, "INT") end },
  { "pilot.shutdown(23)", 23, function(self) self.box:tell("phase", "end 23") end },
  { "SIGTERM twice", 124, function(self)
    system.signal(self.box.guardian, "TERM")
    listen(self, 1.1) -- before that it would be the same request
    system.signal(self.box.guardian, "TERM")
  end, unheard = true },
  { "SIGTERM, and nobody reads any more", 124, function(self)
    self.closed[self.box.out] = true
    system.close(self.box.out)
    self.box.out = nil
    listen(self, 1)
    system.signal(self.box.guardian, "TERM")
  end, unheard = true, usual = "cannot write to stdout: Broken pipe; its reader is gone",
    also = "%d+ lines? to stdout %l+ lost$" },
  { "SIGKILL to the pilot", 137, function(self)
    system.signal(self.box.pilot, "KILL")
  end, unheard = true, dead = true, usual = "^luapilot: the pilot was killed by SIGKILL; ended %d+ process[es]*$" },
}

local function last_place(list, from, wanted)
  for i = #list, from, -1 do
    if list[i] == wanted then return i end
  end
  return 0
end

-- Each is stopped before those that its `when` names.
local function judge_order(self, from)
  local stopped = self.lines.stopped
  for _, pair in ipairs { { "top", "base" }, { "base", "web" }, { "top", "web" } } do
    local first, second = last_place(stopped, from, pair[1]), last_place(stopped, from, pair[2])
    if first == 0 or second == 0 or first > second then
      self:fault("end", ("%s must have been stopped before %s"):format(pair[1], pair[2]))
    end
  end
end

-- PID 1 says nothing but whom it has ended, and passes on what they say then. Those are programs that had left their
-- job's session; all of them, and whatever they say, when the pilot was killed.
local function is_usual(line, how)
  if line == "child: gone" or line == "daemon: gone" then return true end
  if how.usual and line:find(how.usual) or how.also and line:find(how.also) then return true end
  if how.dead then return not line:find "^luapilot: " end
  local names = line:match "^luapilot: ended %d+ process[es]* that the pilot had left behind: (.*)$"
  return names and names:gsub("actor %(%d+%)", ""):gsub("[ ,]", "") == ""
end

local function judge_errors(self)
  local how = self.how or {}
  if how.usual and not self.errors:find(how.usual:gsub("[$^]", "")) then
    self:fault("PID 1", "nobody has said: " .. how.usual)
  end
  for line in self.errors:gmatch "[^\n]+" do
    if not is_usual(line, how) then self:fault("PID 1", line) end
  end
end

local function read_all(self)
  for _, fd in pairs { out = self.box.out, err = self.box.err } do
    while not self.closed[fd] do take(self, fd) end
  end
end

-- Waits for the end.
local function await_end(self, deadline)
  while not self.box:ended() do
    listen(self, 0.1)
    if system.now() > deadline then return self:fault("end", "it does not end") end
  end
  read_all(self)
  return true
end

local function judge_end(self, how, stopped)
  local code = self.box.code
  if code ~= how[2] then self:fault("end", ("the exit code is %d, not %d"):format(code, how[2])) end
  if not how.unheard then
    judge_order(self, stopped)
    self.lines:finish()
  end
  if how.dead then return end -- PID 1 knows nothing of control groups
  for _, group in ipairs(self.box:left_groups()) do self:fault("end", "a control group is left: " .. group) end
end

local function finish(self)
  local how = ENDS[random.new(self.options.seed, 1):below(#ENDS) + 1]
  local from, begun = #self.lines.stopped + 1, system.now()
  self.how = how
  self:say("the end, by %s", how[1])
  self:tell_minute()
  clear_disk(self)
  how[3](self)
  if not await_end(self, begun + PATIENCE) then return end
  self:say("it has ended with code %d after %.1f s", self.box.code, system.now() - begun)
  judge_end(self, how, from)
end

-- --- all of it -----------------------------------------------------------------------------------------

local function judge_lateness(self)
  local late = self.late.loop:quantile(0.99)
  if self.options.seconds < JUDGED or late <= LATE then return end
  self:fault("late", ("the loop's p99 is %s, more than %s"):format(figures.value(late, "s"), figures.value(LATE, "s")))
end

local function rounds(self)
  if not self.box:await(function() listen(self, 0.1) end) then
    return self:fault("start", "it has not started: " .. self.errors)
  end
  self:say("PID 1 is %d, the pilot %d", self.box.guardian, self.box.pilot)
  be_quiet(self)
  while system.now() - self.begun < self.options.seconds do
    self.round = self.round + 1
    make_storm(self)
    be_quiet(self)
  end
  finish(self)
end

-- What is not seen before its end.
local function judge_the_whole(self)
  judge_errors(self)
  judge_lateness(self)
  self.sums = self.judge:sum_files()
  self.trends = self.judge:trends(not system.is_sanitized(self.options.luapilot))
end

local function new(options)
  local self = setmetatable({
    options = options, faults = {}, round = 0, begun = system.now(), errors = "", closed = {}, next_look = 0,
    next_minute = system.now() + MINUTE,
    late = { loop = lag.new(), undisturbed = lag.new(), control = lag.new() },
    actions = assert(io.open(options.directory .. "/actions", "w")), control_file = options.directory .. "/control",
  }, Run)
  local function fault(kind, text) self:fault(kind, text) end
  options.hogs = options.seconds < JUDGED and 15 or 1 / HOG_SHARE
  self.lines = lines.new { directory = options.directory, format = options.format, fault = fault }
  self.box = box.start(options)
  self.storm = chaos.new(self.box, options.seed)
  self.judge = judge.new { box = self.box, lines = self.lines, fault = fault }
  self.control = system.spawn { argv = { options.actor, "tied", options.actor, "control", self.control_file } }
  return self
end

---@param options { luapilot: string, actor: string, pilot: string, directory: string, seed: integer, seconds: number,
---                 format: string }
---@return soak.Run
function run.soak(options)
  local self = new(options)
  local ok, message = xpcall(rounds, function(why)
    return type(why) == "string" and not why:find "^[%w/.]+%.lua:%d+:" and why or debug.traceback(why)
  end, self)
  if not ok and #self.faults < MANY then self:fault("soak", message) end
  read_all(self)
  judge_the_whole(self)
  self.box:close()
  system.signal(self.control, "KILL")
  self.lines:flush()
  self.actions:close()
  return self
end

return run
