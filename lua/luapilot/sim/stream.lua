-- stream: the reading end of one pipe of a program: its stdout or its stderr.
--
-- With a sink its lines go to the box's log of output (or into a file of the box), and, where somebody
-- asked, to the core as whole lines, or parts of long ones. Without a sink the core gets what was written, as it was
-- written. What a program writes takes a moment to arrive, and arrives in order; the end of the pipe comes last. It is
-- read piece by piece: not while an event is on its way to the core, and not while the core holds it.
--
-- It owns what has arrived and is not read, and the beginning of a line whose end has not come yet.

local output = require "luapilot.job.output"
local queue = require "luapilot.base.queue"

local stream = {}

---@class luapilot.sim.Stream
---@field name "stdout"|"stderr"
---@field id integer                 the handle it speaks of
---@field capture boolean
---@field on_hold boolean            the core has enough for now
---@field in_flight boolean          an event is on its way to the core
---@field ended boolean              nothing more will come
---@field arrived luapilot.Queue     texts, and functions for what happens between them
---@field pipe luapilot.sim.Pipe     set by its owner: it hears what was read
local Stream = {}
Stream.__index = Stream

---@param port table         of port.lua: later, push, put_line
---@param options table      { name, id, sink, capture, on_end }
---@return luapilot.sim.Stream
function stream.new(port, options)
  return setmetatable({
    port = port, name = options.name, id = options.id, sink = options.sink, capture = options.capture,
    on_end = options.on_end, line = port:line(), carry = {}, carried = 0, arrived = queue.new(), ended = false,
    given_up = false, on_hold = false, in_flight = false,
  }, Stream)
end

-- --- events ----------------------------------------------------------------------------------

local read -- forward: when an event was taken, reading goes on

local function emit(self, data, last)
  if not self.capture or self.given_up then
    if last then self.on_end() end
    return
  end
  self.in_flight = true
  self.port:push(self, { type = "output", id = self.id, stream = self.name, data = data, last = last }, function()
    self.in_flight = false
    if last then self.on_end() end
    if self.arrived.count > 0 then self.port:later(self.line, function() read(self) end, 0) end
  end)
end

-- --- lines -----------------------------------------------------------------------------------

local function begun(self) return table.concat(self.carry) end

local function keep(self, text)
  self.carry[#self.carry + 1] = text
  self.carried = self.carried + #text
end

local function put(self, line, partial)
  self.port:put_line(self.sink, self.name, line, partial or nil)
  return partial and line or line .. "\n"
end

-- A part of a line is what has more behind it; what has not is kept until it comes.
local function take_lines(self, data)
  if self.carried + #data <= output.LONGEST and not data:find("\n", 1, true) then return keep(self, data) end
  local text, at, whole = begun(self) .. data, 1, {}
  self.carry, self.carried = {}, 0
  while at <= #text do
    local line, after, goes_on = output.next(text, at)
    at = after
    if goes_on and at > #text then
      keep(self, line)
    else
      whole[#whole + 1] = put(self, line, goes_on)
    end
  end
  if whole[1] and self.capture and not self.given_up then emit(self, table.concat(whole), false) end
end

-- --- reading ---------------------------------------------------------------------------------

local function take(self, data)
  if self.ended then
    return -- nobody reads: it is as if it had been
  elseif self.sink then
    take_lines(self, data)
  else
    emit(self, data, false)
  end
end

function read(self)
  while not self.on_hold and not self.in_flight do
    local item = self.arrived:pop()
    if not item then return end
    if type(item) == "string" then
      take(self, item)
      self.pipe:taken(#item)
    else
      item()
    end
  end
end

local function arrive(self, item)
  self.port:later(self.line, function()
    self.arrived:push(item)
    read(self)
  end)
end

local function finish(self)
  if self.ended then return end
  self.ended = true
  local rest = begun(self)
  if self.sink and rest ~= "" then put(self, rest) end
  emit(self, rest, true)
end

-- --- the interface ---------------------------------------------------------------------------

---Something was written.
---@param data string
function Stream:write(data) arrive(self, data) end

---Nobody holds the other end any more.
function Stream:close()
  arrive(self, function() finish(self) end)
end

---The group is gone: events end, whoever still holds the other end. What a stranger still writes goes to
---the log, if there is one.
function Stream:group_gone()
  if not self.sink then return self:close() end
  arrive(self, function()
    if self.ended or self.given_up or not self.capture then return end
    emit(self, begun(self), true)
    self.given_up = true
  end)
end

---Not read, or read again, while its events are on.
---@param on boolean
function Stream:hold(on)
  self.on_hold = on and self.capture and not self.given_up and not self.ended
  read(self)
end

---Events on or off.
---@param on boolean
function Stream:set_capture(on)
  self.capture = on
  if not on then self:hold(false) end
end

---Nobody listens to its events any more.
function Stream:abandon()
  self.given_up, self.in_flight = true, false
  if not self.sink then self.ended = true end
  self:hold(false)
end

return stream
