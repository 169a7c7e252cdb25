-- output: what a job writes, on its way from the port to the handlers of its `output`.
--
-- A line is an event, one over 64 KiB is several: pieces, cut where the log cuts it. Lines are published as fast as the
-- handlers take them. Where as much waits for one of these (when_busy = "queue") as the bus keeps, the rest stays here,
-- and the job's pipes are not read meanwhile, so that a job that writes faster than it is heard waits in its write().
-- A line weighs 1, and a long one as much as it has pieces of 8 KiB: what waits is bounded in number and in bytes.
-- That must be a trap for nobody:
--
--   * a handler that has not done half of its queue within a second is not waited for until it has. (It is looked at
--     ten times, so that a pause of the machine is none of its own; one that computes all the time has ten seconds.)
--   * none is waited for while the job is being stopped, or while the handler itself waits for the job
--   * when the job has exited, all waits together take no more
--
-- Where none is waited for, all is read, and the bus drops what is too much, and tells.
--
-- It owns the text that is not published yet, and the hold on the pipes. It is loaded with the first line.

local queue = require "luapilot.base.queue"
local subscription = require "luapilot.task.subscription"
local utf8 = require "luapilot.base.utf8"

local output = {}

---Bytes of a line, or of a piece: as src/output/stream.h has it.
output.LONGEST = 64 * 1024
local LONGEST = output.LONGEST

local ENOUGH = subscription.BOUND / 2 -- of a queue that was full: with so much left it has room again
local LONG = 8 * 1024       -- bytes of a line that weighs 1
local LOOK = 0.1            -- seconds between two looks
local LIMIT, AT_REST, AT_WORK = 100, 10, 1 -- of what looks count: one at a handler that waits, one that computes
local HOLDS = { running = true, ending = true } -- states of a job that may be held up

-- --- lines and pieces ------------------------------------------------------------------------

---The next line of a text, or a piece of it: it is longer than 64 KiB.
---@param text string
---@param from integer      where it begins
---@return string line
---@return integer next     where the one after it begins
---@return boolean goes_on  it has no end here
function output.next(text, from)
  local newline = text:find("\n", from, true)
  local to = (newline or #text + 1) - 1
  if to - from < LONGEST then return text:sub(from, to), to + 2, newline == nil end
  to = utf8.whole(text, from, from + LONGEST - 1)
  return text:sub(from, to), to + 1, true
end

-- --- the handlers ----------------------------------------------------------------------------

---@class luapilot.Output     of one process
---@field runner luapilot.Runner
---@field chunks luapilot.Queue      texts: { stream, text, at, last }
---@field held boolean               the pipes are not read
---@field full boolean               a queue was, and has no room yet
---@field looks integer              what looks count since a handler had room again, or since the job has exited
local Output = {}
Output.__index = Output

local function handlers(self)
  return self.app.bus:subscribers(self.runner.topic, "output")
end

local function queues(handler)
  return handler.fn and not handler.gone and (handler.options.when_busy or "queue") == "queue"
end

-- How much may be published now.
local function room_of(self)
  local room = subscription.BOUND
  for _, handler in ipairs(handlers(self)) do
    if queues(handler) then
      if handler.load <= ENOUGH then handler.behind = nil end
      if not handler.behind then room = math.min(room, subscription.BOUND - handler.load) end
    end
  end
  return room - self.app.bus.load
end

-- Is `so` of a handler that is waited for?
local function any(self, so)
  for _, handler in ipairs(handlers(self)) do
    if queues(handler) and not handler.behind and handler.load > ENOUGH and so(self, handler) then
      return true
    end
  end
  return false
end

-- Does a task of it, or a child of one, wait for the job? Nobody limits how deep tasks are nested.
local function waits_for_job(self, handler)
  local open = {}
  for t in pairs(handler.running) do open[#open + 1] = t end
  while open[1] do
    local t = table.remove(open)
    if t.unwait and t.awaits == self.runner then return true end
    for child in pairs(t.children) do open[#open + 1] = child end
  end
  return false
end

local function is_at_rest(_, handler)
  for t in pairs(handler.running) do
    if t.queued then return false end
  end
  return true
end

local function fall_behind(_, handler) handler.behind = true end

-- --- holding ---------------------------------------------------------------------------------

local function let_pass(self, handler)
  if waits_for_job(self, handler) then handler.behind = true end
end

-- A handler that waits for the job is not waited for; the others are.
local function may_hold(self)
  any(self, let_pass)
  return HOLDS[self.runner.memory.state]
end

local function look(self)
  self.timer = self.app.loop:after(LOOK, function() look(self) end)
  if not self.full then return end
  self.looks = self.looks + (any(self, is_at_rest) and AT_REST or AT_WORK)
  if self.looks >= LIMIT then any(self, fall_behind) end
end

local function hold(self)
  self.full = true
  self.timer = self.timer or self.app.loop:after(LOOK, function() look(self) end)
  if not self.held then self.app.port.hold(self.id, true) end
  self.held = true
end

local function release(self)
  self.full = false
  if self.timer then self.app.loop:cancel(self.timer) end
  self.timer = nil
  if self.held then self.app.port.hold(self.id, false) end
  self.held = false
end

-- --- publishing ------------------------------------------------------------------------------

-- Publishes the next line, or piece, of a chunk. Returns what it weighs; nil: more than there is room for.
local function publish(self, chunk, room)
  local line, after, goes_on = output.next(chunk.text, chunk.at)
  local weight = math.max(1, #line / LONG)
  if weight > room then return nil end
  local ends, runner = chunk.last and after > #chunk.text, self.runner
  local event = {
    name = "output", source = runner.object, stream = chunk.stream, line = line, partial = goes_on and not ends or nil,
  }
  chunk.at = after
  if weight > 1 then self.app.bus.weights[event] = weight end
  self.app:publish(runner.topic, event)
  return weight
end

local function finish(self, chunk)
  self.chunks:pop()
  if chunk.last then self.runner.streams = self.runner.streams - 1 end
end

-- Publishes so much at most. False: that was not all.
local function publish_lines(self, room)
  local chunk = self.chunks:peek()
  while chunk do
    if chunk.at > #chunk.text then
      finish(self, chunk)
      chunk = self.chunks:peek()
    else
      local weight = publish(self, chunk, room)
      if not weight then return false end
      room = room - weight
    end
  end
  return true
end

---@private
-- Publishes what may be published now. False: nothing.
function Output:pump()
  local may = may_hold(self)
  local room = room_of(self)
  if may and self.full and room < ENOUGH then return false end
  self.full = false
  if self.runner.memory.state == "running" then self.looks = 0 end
  if not publish_lines(self, may and room or math.huge) then
    hold(self)
    return true
  end
  release(self)
  self.runner:published()
  return true
end

local function pump_all(pumps)
  local busy, kept = false, 0
  for i = 1, #pumps do
    local one = pumps[i]
    pumps[i] = nil
    one.pumps = one:is_pending()
    if one.pumps then
      busy = one:pump() or busy
      kept = kept + 1
      pumps[kept] = one
    end
  end
  return busy
end

-- In each round of a turn, while there is something to publish.
local function go_on(self)
  local app = self.app
  if not app.pumps then
    local pumps = {}
    app.pumps = pumps
    app.loop:phase(function() return pump_all(pumps) end)
  end
  if not self.pumps then app.pumps[#app.pumps + 1] = self end
  self.pumps = true
end

-- --- the interface ---------------------------------------------------------------------------

---@param runner luapilot.Runner     of a process
---@return luapilot.Output
function output.new(runner)
  return setmetatable({
    runner = runner, app = runner.app, id = runner.process, chunks = queue.new(), held = false, full = false, looks = 0,
  }, Output)
end

---@param event table     the port's, of type "output"
function Output:take(event)
  self.chunks:push { stream = event.stream, text = event.data, at = 1, last = event.last }
  self:pump()
  if self:is_pending() then go_on(self) end
end

---Is there anything that is not published yet?
---@return boolean
function Output:is_pending() return self.chunks.count > 0 end

---Another process of the job begins: what a stranger still says for the former one is nobody's.
function Output:drop()
  while self.chunks:pop() do end
  release(self)
end

return output
