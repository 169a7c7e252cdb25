-- A port for the specs of single modules: time that only the spec moves, and events that only the spec sends.
--
--   local world = stub_port.new { spawn = true }      -- calls that the spec expects, with its own answer or
--   local loop = loop.new(world.port)                 -- (true) the usual one; any other call is an error
--   world.turn = function(event) loop:turn(event) end
--   world:advance(5)
--   assert.same({}, world:open())                     -- nothing may be left
--
-- It records every call but those for the time in `calls`. A handle that is cancelled twice is an error.

local stub_port = {}

---@class spec.World
---@field port luapilot.Port
---@field calls table[]      { name, arguments … } in order
---@field logs { level: string, message: string, fields: table? }[]
local World = {}
World.__index = World

local START, EPOCH = 1000, 1700000000

local usual = {} -- answers to calls that a spec expects

function usual.spawn(self, options)
  local id = self:handle { what = "process", options = options }
  self.pids = (self.pids or 100) + 1
  return id, self.pids
end

function usual.kill() return true end
function usual.capture() return true end
function usual.unchanged() return true end
function usual.hold() return true end
function usual.connect(self, address) return self:handle { what = "connection to " .. address } end
function usual.poll(self, fd) return self:handle { what = "poll of " .. fd } end
function usual.signals() end
function usual.logging() return true end
function usual.deadline() end
function usual.reached() end
function usual.reopen() end
function usual.addresses() return {} end
function usual.environ() return { PATH = "/bin" } end
function usual.hostname() return "box" end
function usual.pid() return 2 end
function usual.lookup(_, _, name) return tonumber(name) or 1000 end

function usual.read(self, path)
  local data = self.files[path]
  if data then return data end
  return nil, ("cannot read %q: no such file or directory"):format(path), "ENOENT"
end

local calls = {} -- what every module may use

function calls.now(self) return self.time end
function calls.clock(self) return self.epoch + self.time end
function calls.random(self) return self.luck end

function calls.timer(self, seconds)
  assert(type(seconds) == "number" and seconds == seconds, "timer: a number is expected")
  self.armed = self.armed + 1
  return self:handle { what = "timer", due = self.time + math.max(0, seconds), number = self.armed }
end

function calls.plan(_, options) return options end
function calls.contain() return true end
function calls.deep() return false end
function calls.cwd() return "/" end

function calls.cancel(self, id)
  if not self.handles[id] then error("handle " .. tostring(id) .. " is cancelled, but it is gone", 2) end
  self.handles[id] = nil
  return true
end

function calls.log(self, level, message, fields, event, job, facts)
  self.logs[#self.logs + 1] = {
    level = level, message = job and ("job %q: %s"):format(job, message) or message, fields = fields, event = event,
    job = job, facts = facts,
  }
end

---@param expected table<string, true|function>?
---@return spec.World
function stub_port.new(expected)
  local self = setmetatable({
    time = START, epoch = EPOCH - START, luck = 0, handles = {}, last_id = 0, armed = 0, calls = {}, logs = {},
    files = {},
  }, World)
  local port = {}
  for name, fn in pairs(calls) do
    port[name] = function(...) return fn(self, ...) end
  end
  for name, answer in pairs(expected or {}) do
    local fn = answer == true and assert(usual[name], name) or answer
    port[name] = function(...)
      self.calls[#self.calls + 1] = { name, ... }
      return fn(self, ...)
    end
  end
  self.port = setmetatable(port, { __index = function(_, name)
    error(("unexpected call: port.%s"):format(tostring(name)), 2)
  end })
  return self
end

---@param value table
---@return integer id
function World:handle(value)
  self.last_id = self.last_id + 1
  self.handles[self.last_id] = value
  return self.last_id
end

---Set by the spec: who takes the events.
function World.turn() error "the spec has not said who takes events" end

---Set by the spec: what runs before time passes.
function World.rest() end

---An event of a handle.
---@param id integer
---@param event table
---@param last boolean?      the handle is gone with it
function World:send(id, event, last)
  assert(self.handles[id], "the handle is gone")
  event.id = id
  if last then self.handles[id] = nil end
  self.turn(event)
end

---A process ends, and its group with it unless `stays`.
---@param id integer
---@param how table          { code = 0 } or { signal = "SIGTERM" }
---@param stays boolean?
function World:exit(id, how, stays)
  self:send(id, { type = "exit", code = how.code, signal = how.signal })
  if not stays then self:gone(id) end
end

---@param id integer
function World:gone(id)
  self:send(id, { type = "group_gone" }, true)
end

local function next_timer(self)
  local first, first_id
  for id, each in pairs(self.handles) do
    if each.due and (not first or each.due < first.due or each.due == first.due and each.number < first.number) then
      first, first_id = each, id
    end
  end
  return first, first_id
end

---The next timer fires. For what would never let virtual time pass.
function World:fire()
  local timer, id = next_timer(self)
  self.time = math.max(self.time, timer.due)
  self:send(id, { type = "timer" }, true)
end

---Time passes; timers fire one by one.
---@param seconds number
function World:advance(seconds)
  local limit = self.time + seconds
  self.rest()
  while true do
    local timer, id = next_timer(self)
    if not timer or timer.due > limit + 1e-9 then break end
    self.time = math.max(self.time, timer.due)
    self:send(id, { type = "timer" }, true)
  end
  self.time = limit
end

---The wall clock jumps.
---@param seconds number
function World:shift(seconds) self.epoch = self.epoch + seconds end

---What is left open: "timer" … sorted.
---@return string[]
function World:open()
  local list = {}
  for _, each in pairs(self.handles) do list[#list + 1] = each.what end
  table.sort(list)
  return list
end

---How often a call was made.
---@param name string
---@return integer
function World:count(name)
  local count = 0
  for _, call in ipairs(self.calls) do
    if call[1] == name then count = count + 1 end
  end
  return count
end

---The handle of the process that was started last.
---@return integer?
function World:process()
  local last
  for id, each in pairs(self.handles) do
    if each.what == "process" and (not last or id > last) then last = id end
  end
  return last
end

---The messages of the pilot's log, of one level or of all.
---@param level string?
---@return string[]
function World:messages(level)
  local list = {}
  for _, entry in ipairs(self.logs) do
    if not level or entry.level == level then list[#list + 1] = entry.message end
  end
  return list
end

return stub_port
