-- stream: the reading end of one pipe of a program: its stdout or its stderr.
--
-- With a sink its lines go to the box's log of output (or into a file of the box), and, where somebody
-- asked, to the core as whole lines. Without a sink the core gets what was written, as it was written. What
-- a program writes takes a moment to arrive, and arrives in order; the end of the pipe comes last.
--
-- It owns the beginning of a line whose end has not come yet.

local stream = {}

---@class luapilot.sim.Stream
---@field name "stdout"|"stderr"
---@field id integer                 the handle it speaks of
---@field capture boolean
---@field ended boolean              nothing more will come
local Stream = {}
Stream.__index = Stream

---@param port table         of port.lua: later, push, put_line
---@param options table      { name, id, sink, capture, on_end }
---@return luapilot.sim.Stream
function stream.new(port, options)
  return setmetatable({
    port = port, name = options.name, id = options.id, sink = options.sink, capture = options.capture,
    on_end = options.on_end, line = port:line(), partial = "", ended = false, given_up = false,
  }, Stream)
end

local function emit(self, data, last)
  if not self.capture or self.given_up then
    if last then self.on_end() end
    return
  end
  self.port:push(self, { type = "output", id = self.id, stream = self.name, data = data, last = last },
    last and self.on_end or nil)
end

local function take(self, data)
  if self.ended then return end
  if not self.sink then return emit(self, data, false) end
  local text = self.partial .. data
  local whole, rest = text:match "^(.*\n)([^\n]*)$"
  self.partial = rest or text
  if not whole then return end
  for line in whole:gmatch "([^\n]*)\n" do self.port:put_line(self.sink, self.name, line) end
  if self.capture and not self.given_up then emit(self, whole, false) end
end

local function finish(self)
  if self.ended then return end
  self.ended = true
  local partial = self.partial
  if self.sink and partial ~= "" then self.port:put_line(self.sink, self.name, partial) end
  emit(self, partial, true)
end

---Something was written.
---@param data string
function Stream:write(data)
  self.port:later(self.line, function() take(self, data) end)
end

---Nobody holds the other end any more.
function Stream:close()
  self.port:later(self.line, function() finish(self) end)
end

---The group is gone: events end, whoever still holds the other end. What a stranger still writes goes to
---the log, if there is one.
function Stream:group_gone()
  if not self.sink then return self:close() end
  self.port:later(self.line, function()
    if self.ended or self.given_up or not self.capture then return end
    emit(self, self.partial, true)
    self.given_up = true
  end)
end

---Nobody listens to its events any more.
function Stream:abandon()
  self.given_up = true
  if not self.sink then self.ended = true end
end

return stream
