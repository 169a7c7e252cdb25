-- loop: one turn of the pilot. An event of the port comes in, goes to whoever owns its handle, and
-- then everything that this set in motion runs to rest: tasks, the bus, whatever registered a phase.
--
-- It owns the map from the port's handles to Lua functions, and the order of a turn. It never
-- interprets an event, and nothing in it waits: the one blocking call is port.wait, in `run`.

local lazy = require "luapilot.base.lazy"

---@class luapilot.Loop
---@field port luapilot.Port
---@field routes table<integer, fun(event: table)>  owner of each live handle
---@field phases fun(): boolean[]                    each returns true when it did something
---@field again integer|false                       the timer that goes on with phases that found no rest
---@field meter integer[]                           [1] is another number for each stretch of user code, from resume
---                                                 to wait; [2] grows while there is no turn: see port.contain
local Loop = {}
Loop.__index = Loop

local budgets = lazy.require "luapilot.task.budget"

local ROUNDS = 1000 -- of the phases, then the world may speak

local loop = {}

---@param port luapilot.Port
---@return luapilot.Loop
function loop.new(port)
  return setmetatable({
    port = port, routes = {}, phases = {}, other = nil, again = false, stopped = false, meter = { 0, 0 },
  }, Loop)
end

---Events of handle `id` go to `fn`, until `forget`.
---@param id integer
---@param fn fun(event: table)|table    or what can be called like it
function Loop:route(id, fn)
  self.routes[id] = fn
end

---No more events of this handle; the port keeps it.
---@param id integer
function Loop:unroute(id)
  self.routes[id] = nil
end

---Ends the handle, at the port too.
---@param id integer|luapilot.Budget
function Loop:cancel(id)
  if type(id) == "table" then id = id.id end
  if self.routes[id] then
    self.routes[id] = nil
    self.port.cancel(id)
  end
end

---Calls `fn` once, `seconds` from now.
---@param seconds number
---@param fn fun()
---@return integer id      for `cancel`
function Loop:after(seconds, fn)
  local id = self.port.timer(seconds)
  self.routes[id] = function()
    self.routes[id] = nil
    fn()
  end
  return id
end

---Calls `fn` once, when somebody has had `seconds`: a pause of the machine is none of them. See task/budget.lua, which
---is loaded when the first second of them is over.
---@param seconds number
---@param fn fun()
---@param tolerance number?  seconds that a part of it may be late without being counted again
---@return luapilot.Budget   for `cancel`
function Loop:allow(seconds, fn, tolerance)
  local port, routes, slice = self.port, self.routes, seconds < 1 and seconds or 1
  local id = port.timer(slice)
  local budget = {
    id = id, seconds = seconds, slice = slice, due = port.now() + slice, left = seconds - slice, fn = fn,
    tolerance = tolerance,
  }
  routes[id] = function()
    routes[id] = nil
    budgets.over(self, budget)
  end
  return budget
end

---Events without a handle (signals) go to `fn`.
---@param fn fun(event: table)
function Loop:otherwise(fn)
  self.other = fn
end

---Adds a phase: after each event the phases run, in the order in which they were added, again and
---again until none of them does anything.
---@param fn fun(): boolean
function Loop:phase(fn)
  self.phases[#self.phases + 1] = fn
end

-- False: nothing is left to do, or nothing must be done any more.
local function round(self)
  local phases, busy = self.phases, false
  for i = 1, #phases do
    if self.stopped then return false end
    if phases[i]() then busy = true end
  end
  return busy
end

---Nothing runs any more, not even what is ready.
function Loop:stop() self.stopped = true end

---Runs what is ready, to rest. Jobs that start each other for ever never rest, and handlers take their time: signals
---are heard all the same.
function Loop:rest()
  local meter, looks = self.meter, self.meter[2]
  for _ = 1, ROUNDS do
    if not round(self) then return end
    if meter[2] ~= looks then break end
  end
  self.again = self.again or self:after(0, function() self.again = false end)
end

---One turn: an event, and all that follows from it.
---@param event table
function Loop:turn(event)
  local id = event.id
  local route = id and self.routes[id]
  if route then
    route(event)
  elseif not id and self.other then
    self.other(event)
  end
  self:rest()
end

---Turns until `done()` is true.
---@param done fun(): boolean
function Loop:run(done)
  local wait = self.port.wait
  while not done() do self:turn(wait()) end
end

return loop
