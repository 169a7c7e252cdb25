-- connection: pilot.net, for tasks: connections to servers that speak a protocol of their own, in lines or in bytes.
--
--   connect ──▶ open ──close(), an error, or the end of the task that connected──▶ closed
--
-- Only what a call asks for is read, a piece at a time: the rest stays in the kernel, which holds the other end up, and
-- who floods a stream that nobody reads costs nothing. One task at a time reads, and one writes: two would tear each
-- other's answers apart. After an error, and when a call is cancelled on its way, nobody knows where in the protocol
-- the two ends are, so the stream is closed. To one who reads no more nothing is written, but what it has said is read.
--
-- It owns the streams: what is open hangs on the task that opened it. It knows no protocol.

local hints = require "luapilot.net.hints"
local describe = require "luapilot.base.describe"
local duration = require "luapilot.base.duration"
local option_schema = require "luapilot.schema.options"
local budgets = require "luapilot.task.budget"
local retry = require "luapilot.task.retry"
local schema = require "luapilot.schema.schema"
local size = require "luapilot.base.size"
local suggest = require "luapilot.base.suggest"
local process_schema = require "luapilot.schema.process"
local buffer = require "luapilot.net.buffer"

local connection = {}

local PIECE = 16 * 1024       -- received at once
local MOST = 1024 ^ 2         -- of read(n)
local STRETCH = 256 * 1024    -- written without letting others go on
local SERVED = 64             -- calls in a row that had not to wait, until others go on
local MOST_PAUSES = 3         -- of the machine, after which a connection has another try

local NOBODY_READS = { EPIPE = true, ECONNRESET = true }

-- What a stream is; users hold an object that leads to it. Nothing here knows that object: when nobody holds it any
-- more, it takes its guard along, and the port tells.
---@class luapilot.Connection
---@field app luapilot.App
---@field id integer?
---@field name string                of the other end, for messages
---@field timeout number             seconds
---@field max_line integer
---@field unread luapilot.Buffer
---@field ended boolean              the other end sends no more
---@field closed string?             why
---@field reader luapilot.Side
---@field writer luapilot.Side
---@field forget fun()?              takes it back from its task

---@class luapilot.Side              reading, or writing
---@field mode "r"|"w"
---@field busy string                what a second task is told
---@field task luapilot.Task?        which is at it
---@field wake fun()?                while it waits
---@field cancelled string?          the call that was cancelled before it could wait
---@field failed string?             nothing more is written, and why
---@field served integer             calls since it waited last

---@class luapilot.StreamCall
---@field name string
---@field what string
---@field timeout number
---@field budget luapilot.Budget?    from its first wait on
---@field over boolean?              the time is

local function new_side(mode, busy) return { mode = mode, busy = busy, served = 0 } end

local function close(self, why)
  if self.closed then return end
  self.closed = why
  if self.forget then self.forget() end
  if self.id then self.app.loop:cancel(self.id) end
  if self.budget then self.app.loop:cancel(self.budget) end
  self.forget, self.id = nil, nil
  for _, side in ipairs { self.reader, self.writer } do
    if side.wake then side.wake() end
  end
end

-- --- waiting -------------------------------------------------------------------------------------

local function on_event(self, event)
  if event.dropped then return close(self, "nobody held it") end
  if event.readable and self.reader.wake then self.reader.wake() end
  if event.writable and self.writer.wake then self.writer.wake() end
end

-- From the first time on that it has to wait, a call has its time; a pause of the machine is none of it.
local function allow(self, side, call)
  call.budget = call.budget or self.app.loop:allow(call.timeout, function()
    call.over = true
    if side.wake then side.wake() end
  end)
end

-- Until begin(wake), which may return a message and a code, has called that, the time is over, or the stream is closed;
-- nil: go on.
local function await(self, side, call, begin)
  side.task, side.cancelled, side.served = nil, call.name, 0
  return self.app.tasks:await(call.what, function(wake)
    side.task, side.cancelled = self.app.tasks.current, nil
    function side.wake(...)
      side.wake = nil
      wake(...)
    end
    local undo = begin()
    return function()
      side.task, side.wake = nil, nil
      if undo then undo() end
      if call.budget then self.app.loop:cancel(call.budget) end
      close(self, call.name .. " was cancelled")
    end
  end)
end

-- Until the port says that it is ready, perhaps.
local function await_ready(self, side, call)
  if call.over then return end
  allow(self, side, call)
  return await(self, side, call, function()
    local asked, message, code = self.app.port.want(self.id, side.mode)
    if not asked then side.wake(message, code) end
  end)
end

-- Others go on.
local function rest(self, side, call)
  local loop = self.app.loop
  return await(self, side, call, function()
    local timer = loop:after(0, function()
      if side.wake then side.wake() end
    end)
    return function() loop:cancel(timer) end
  end)
end

-- A task that was cancelled already comes no further than to where it would wait.
local function close_what_was_cancelled(self)
  for _, side in ipairs { self.reader, self.writer } do
    if side.cancelled then close(self, side.cancelled .. " was cancelled") end
  end
end

local function is_closed(self) return "it is closed: " .. self.closed end

-- --- one call --------------------------------------------------------------------------------------

-- Reads the options of a call and enters it; nil and a message.
local function begin(self, side, name, options)
  local call = { name = name, what = "stream:" .. name, timeout = self.timeout }
  if options ~= nil then
    local read, message = option_schema.of_call(option_schema.stream_options, options, "options")
    if not read then return nil, message end
    call.timeout = read.timeout or call.timeout
  end
  close_what_was_cancelled(self)
  if self.closed then return nil, is_closed(self) end
  if side.failed then return nil, "it is closed for writing: " .. side.failed end
  local other = side.task
  if other and other ~= self.app.tasks.current and not other:is_ended() then return nil, side.busy end
  if side.served >= SERVED then rest(self, side, call) end
  if self.closed then return nil, is_closed(self) end
  side.task, side.served = self.app.tasks.current, side.served + 1
  return call
end

local function raise(self, name, message, level)
  error(("pilot.net: %s: %s: %s"):format(self.name, name, message), level + 1)
end

-- The call is over; with a message it has failed, and so has the stream, or its writing alone.
local function finish(self, side, call, message, code)
  side.task = nil
  if call.budget then self.app.loop:cancel(call.budget) end
  if not message or self.closed then return end
  self.app.tasks:fell_short(code)
  local why = ("%s failed before (%s)"):format(call.name, message)
  if side == self.writer and NOBODY_READS[code] then
    side.failed = why
  else
    close(self, why)
  end
end

-- --- reading -------------------------------------------------------------------------------------

local function no_answer(self, call)
  local size_now = self.unread.size
  return ("no answer within %s%s"):format(duration.format(call.timeout), size_now > 0
    and (", of which %s had come"):format(describe.count(size_now, "byte")) or "")
end

-- One piece more. False: there is none any more; nil, message, code.
local function fill(self, call)
  while not self.ended do
    if call.over then return nil, no_answer(self, call), "ETIMEDOUT" end
    local refused, why = await_ready(self, self.reader, call)
    if refused then return nil, refused, why end
    if self.closed then return nil, is_closed(self) end
    local data, message, code = self.app.port.receive(self.id, PIECE)
    if data then
      self.ended = data == ""
      self.unread:push(data)
    elseif code ~= "EAGAIN" then
      return nil, message, code
    end
    if data and data ~= "" then return true end
  end
  return false
end

-- What is left of a stream that has ended.
local function take_rest(self)
  local count = self.unread.size
  return count > 0 and self.unread:take(count) or nil
end

local function too_long(self)
  return nil, ("a line is longer than max_line (%s)"):format(size.format(self.max_line)), "EMSGSIZE"
end

-- The next line without its end, or nil at the end; nil, message, code.
local function next_line(self, call)
  local length = self.unread:line()
  while not length do
    if self.unread.size > self.max_line + 1 then return too_long(self) end -- one more: it may be a "\r"
    local more, message, code = fill(self, call)
    if more == nil then return nil, message, code end
    if not more then break end
    length = self.unread:line()
  end
  local line = length and self.unread:take(length):sub(1, -2):gsub("\r$", "") or take_rest(self)
  if line and #line > self.max_line then return too_long(self) end
  return line
end

-- So many bytes, fewer at the end only; nil, message, code.
local function next_bytes(self, call, count)
  while self.unread.size < count do
    local more, message, code = fill(self, call)
    if more == nil then return nil, message, code end
    if not more then return take_rest(self) end
  end
  return self.unread:take(count)
end

-- Whatever is there.
local function next_some(self, call)
  if self.unread.size == 0 then
    local more, message, code = fill(self, call)
    if more == nil then return nil, message, code end
  end
  return take_rest(self)
end

-- --- writing -------------------------------------------------------------------------------------

local function no_room(call)
  return ("the other end has not read for %s, and there is no room for more"):format(duration.format(call.timeout))
end

-- Until the kernel has all of it: nil, or message, code.
local function send_all(self, call, data)
  local at, stretch = 1, 0
  while at <= #data do
    local sent, message, code = self.app.port.send(self.id, data, at)
    if not sent and code ~= "EAGAIN" then return message, code end
    if not sent and call.over then return no_room(call), "ETIMEDOUT" end
    at, stretch = at + (sent or 0), stretch + (sent or 0)
    if not sent or stretch >= STRETCH then
      stretch = 0
      message, code = await_ready(self, self.writer, call)
      if message then return message, code end
      if self.closed then return is_closed(self) end
    end
  end
end

-- --- what users hold -----------------------------------------------------------------------------

local CORE, GUARD = {}, {} -- keys of the object

---@class luapilot.Stream
local Stream = {}
local Object = { __name = "stream" }

function Object.__index(_, key)
  if Stream[key] then return Stream[key] end
  error(("a stream has no %s%s"):format(describe.quote(key), suggest.hint(describe.text(key), schema.keys(Stream))), 2)
end

function Object.__newindex(_, key) error(("a stream's %s cannot be set"):format(describe.quote(key)), 2) end

function Object.__tostring(self) return "stream to " .. rawget(self, CORE).name end

local function core_of(object, name, level)
  local core = getmetatable(object) == Object and rawget(object, CORE)
  if core then return core end
  error(("stream:%s: call it with a colon: stream:%s(…)"):format(name, name), (level or 2) + 1)
end

-- Not the last thing that a method does: in a tail call the object would be garbage while its task waits.
local function read(object, name, options, get, count)
  local core = core_of(object, name, 3)
  local call, wrong = begin(core, core.reader, name, options)
  if not call then raise(core, name, wrong, 3) end
  local data, message, code = get(core, call, count)
  finish(core, core.reader, call, message, code)
  if message then raise(core, name, message, 3) end
  return data
end

---The next line, without "\n" or "\r\n"; nil at the end. What stands there without a newline is a line, too.
---@param options { timeout: luapilot.Span? }?
---@return string?
function Stream:read_line(options)
  local line = read(self, "read_line", options, next_line)
  return line
end

---for line in stream:lines() do … end
---@param options { timeout: luapilot.Span? }?
---@return fun(): string?
function Stream:lines(options)
  core_of(self, "lines")
  return function()
    local line = read(self, "read_line", options, next_line)
    return line
  end
end

local function check_count(core, count)
  if type(count) == "number" and count >= 1 and count <= MOST and count % 1 == 0 then return end
  raise(core, "read", ("expected a whole number of bytes from 1 to %d, got %s"):format(MOST, describe.value(count)), 3)
end

---So many bytes, fewer only at the end; without a number what is there, at least one. nil at the end.
---@param count integer?
---@param options { timeout: luapilot.Span? }?
---@return string?
function Stream:read(count, options)
  if count ~= nil then check_count(core_of(self, "read"), count) end
  local data = read(self, "read", options, count and next_bytes or next_some, count)
  return data
end

---Returns when the kernel has all of it.
---@param data string
---@param options { timeout: luapilot.Span? }?
function Stream:write(data, options)
  local core = core_of(self, "write")
  if type(data) ~= "string" then raise(core, "write", "expected a string, got " .. describe.value(data), 2) end
  local call, wrong = begin(core, core.writer, "write", options)
  if not call then raise(core, "write", wrong, 2) end
  local message, code = send_all(core, call, data)
  finish(core, core.writer, call, message, code)
  if message then raise(core, "write", message, 2) end
end

---Ends it. Who reads or writes at this moment gets an error.
function Stream:close() close(core_of(self, "close"), "close() was called") end

---Names of the methods, for the interface file's spec.
connection.METHODS = schema.keys(Stream)

-- --- connecting ----------------------------------------------------------------------------------

local function new_core(app, target, options)
  return {
    app = app, name = target.shown, timeout = options.timeout, max_line = options.max_line, unread = buffer.new(),
    ended = false, reader = new_side("r", "another task reads at this moment"),
    writer = new_side("w", "another task writes at this moment"),
  }
end

-- It belongs to the task from the first moment on: one that is abandoned never sees that it is connected. The budget
-- says whether there was a pause meanwhile.
local function begin_dial(core, target, wake)
  local app = core.app
  core.budget = app.loop:allow(core.timeout, function() end)
  core.id = app.port.dial { address = target.address, path = target.path, timeout = core.timeout }
  app.loop:route(core.id, function(event)
    if event.type ~= "connected" then return on_event(core, event) end
    app.loop:cancel(core.budget)
    if not event.error then return wake(core) end
    app.loop:unroute(core.id)
    core.id = nil
    close(core, event.error)
    wake(nil, event.error, event.code, core.budget)
  end)
  core.forget = app.tasks.current:when_ended(function() close(core, "the task that opened it has ended") end)
end

-- A connection, or nil, message, code, budget.
local function dial_once(app, target, options)
  return app.tasks:await("pilot.net.connect", function(wake)
    local core = new_core(app, target, options)
    begin_dial(core, target, wake)
    return function() close(core, "its task was cancelled") end
  end)
end

-- A pause of the machine may have used up the time of the port.
local function dial(app, target, options)
  for pauses = 0, MOST_PAUSES do
    local core, message, code, budget = dial_once(app, target, options)
    local paused = code == "ETIMEDOUT" and budgets.was_away(budget, app.port.now())
    if not paused or pauses == MOST_PAUSES then return core, message, code end
  end
end

local function new_stream(core)
  return setmetatable({ [CORE] = core, [GUARD] = core.id and core.app.port.guard(core.id) }, Object)
end

local function failure(message, code)
  local help = hints.of(message, code)
  return ("pilot.net.connect: %s%s"):format(message, help and "; " .. help or "")
end

local function may_get_better(core, _, code) return not core and not retry.FOR_GOOD[code] end

---The library for one pilot.
---@param app luapilot.App
---@return table
function connection.library(app)
  local library = {}

  ---pilot.net.connect("127.0.0.1:6379", { timeout = "2s" }); "unix:///run/app.sock" for a unix socket.
  ---@param address string
  ---@param options { timeout: luapilot.Span?, retry: luapilot.Span?, max_line: string|integer|nil }?
  ---@return luapilot.Stream
  function library.connect(address, options)
    local target, wrong = schema.first(process_schema.endpoint, address)
    if not target then error("pilot.net.connect: " .. wrong, 2) end
    local read_options, mistake = option_schema.of_call(option_schema.net_options, options, "pilot.net.connect")
    if not read_options then error(mistake, 2) end
    local core, message, code = retry.run(app.tasks, "pilot.net.connect", read_options.retry, function()
      return dial(app, target, read_options)
    end, may_get_better)
    if not core then app.tasks:fell_short(code) end
    if not core then error(failure(message, code), 2) end
    return new_stream(core)
  end

  return suggest.guard(library, "pilot.net")
end

return connection
