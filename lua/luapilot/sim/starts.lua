-- starts: simulated starts that are under way: as another user, or because something that they need does not answer.
--
-- As in src/process/errand.c: one at a time of the same program, directory and user, or in the same control group, so
-- many at the same time at all, and what hangs is told after ten seconds and each minute. A path or a program that
-- answers no more lets go of a start that is cancelled, as the kernel does; a lookup of a user never does.
--
-- It owns what hangs, and the starts that wait for it. What a start is in the end is spawn.lua's.

local blame = require "luapilot.sim.blame"

local starts = {}

local MOST = 32
local FIRST, NEXT = 10, 60 -- seconds

---@class luapilot.sim.Starts
local Starts = {}
Starts.__index = Starts

---@param port table
---@return luapilot.sim.Starts
function starts.new(port) return setmetatable({ port = port, silent = {}, list = {} }, Starts) end

-- --- what hangs ----------------------------------------------------------------------------------

local function is_below(path, point) return path == point or path:sub(1, #point + 1) == point .. "/" end

local hits = {}

function hits.user(name, options)
  if options.user ~= name then return nil end
  return "user", ("hangs in the lookup of user %q"):format(name)
end

function hits.path(point, options)
  if options.cwd and is_below(options.cwd, point) then
    return "cwd", ("hangs in working directory %q"):format(options.cwd)
  end
  return hits.program(is_below(options.argv[1], point) and options.argv[1], options)
end

function hits.program(name, options)
  if options.argv[1] ~= name then return nil end
  return "exec", ("hangs in program %q"):format(name)
end

local ORDER = { user = 1, cwd = 2, exec = 3 } -- as a start goes through them

local function check_kind(call, kind, name)
  if not hits[kind] or type(name) ~= "string" then
    blame.raise('box:%s: expected "path", "program" or "user" and a name', call)
  end
end

---From now on whatever needs it waits.
---@param kind "path"|"program"|"user"
---@param name string
function Starts:hang(kind, name)
  check_kind("hang", kind, name)
  self.silent[#self.silent + 1] = { kind = kind, name = name }
end

---It answers again.
---@param kind "path"|"program"|"user"
---@param name string
function Starts:answer(kind, name)
  check_kind("answer", kind, name)
  for i = #self.silent, 1, -1 do
    local one = self.silent[i]
    if one.kind == kind and one.name == name then table.remove(self.silent, i) end
  end
  self:advance()
end

---@private
-- Where a start hangs: what it comes to first.
function Starts:find(options)
  local stage, message
  for _, one in ipairs(self.silent) do
    local at, text = hits[one.kind](one.name, options)
    if at and (not stage or ORDER[at] < ORDER[stage]) then stage, message = at, text end
  end
  return stage, message
end

-- --- turns ---------------------------------------------------------------------------------------

local function is_like(a, b)
  if a.cgroup and b.cgroup and a.cgroup.name == b.cgroup.name then return true end
  return a.argv[1] == b.argv[1] and a.cwd == b.cwd and a.user == b.user and a.group == b.group
end

---@private
-- The one before it that it waits for.
function Starts:before(options, start)
  for _, other in ipairs(self.list) do
    if other == start then return nil end
    if is_like(other.options, options) then return other end
  end
end

---@private
function Starts:leave(start)
  self.port.clock:cancel(start.timer)
  for i, one in ipairs(self.list) do
    if one == start then table.remove(self.list, i) end
  end
end

---@private
-- Nothing holds it up any more.
function Starts:let_go(start)
  start.let_go = true
  self.port:later(start.line, function()
    self:leave(start)
    if not start.cancelled then start.go(start.id) end
    self:advance()
  end)
end

---@private
function Starts:advance()
  local at_work = 0
  for _, start in ipairs(self.list) do
    start.at_work = start.at_work or at_work < MOST and not self:before(start.options, start)
    if start.at_work then at_work = at_work + 1 end
    if start.at_work and not start.let_go and not self:find(start.options) then self:let_go(start) end
  end
end

local function tell(self, start)
  local stage, message = "turn", ("waits for its turn: %d others hang"):format(MOST)
  if start.at_work then
    stage, message = self:find(start.options)
  else
    local first = self:before(start.options, start)
    local _, why = self:find(start.options)
    if first and why then message = "waits for an earlier one of the same program, which " .. why end
  end
  if not stage then return end
  self.port:push(start, {
    type = "spawning", id = start.id, stage = stage, message = message, seconds = self.port.clock:now() - start.since,
  })
end

local function warn_in(self, start, seconds)
  start.timer = self.port.clock:after(seconds, start.line.source, function()
    tell(self, start)
    warn_in(self, start, NEXT)
  end)
end

-- --- the port's -----------------------------------------------------------------------------------

---Must this start wait for something?
---@param options luapilot.SpawnOptions
---@return boolean
function Starts:waits(options) return (self:find(options) or self:before(options)) ~= nil end

---Is it under way at first? As another user always: others of his might stop it.
---@param options luapilot.SpawnOptions
---@return boolean
function Starts:is_due(options) return (options.user or options.group) ~= nil or self:waits(options) end

---@param options luapilot.SpawnOptions
---@param go fun(id: integer)    when nothing holds it up any more
---@return integer id
function Starts:begin(options, go)
  local start = {
    kind = "start", options = options, go = go, line = self.port:line(), since = self.port.clock:now(),
  }
  start.id = self.port:handle(start)
  self.list[#self.list + 1] = start
  warn_in(self, start, FIRST)
  self:advance()
  return start.id
end

---A start that nobody wants any more. Its handle is gone.
---@param start table
function Starts:abandon(start)
  start.cancelled = true
  self.port.clock:cancel(start.timer)
  if not start.at_work then
    self:leave(start)
    return self:advance()
  end
  if self:find(start.options) ~= "user" and not start.let_go then self:let_go(start) end
end

return starts
