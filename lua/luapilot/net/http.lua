-- http: pilot.http, for tasks: requests that look like calls, answers as tables, streams as loops.
--
-- A status is an answer; what kept an answer from coming is raised, with what may be done about it. `retry` tries
-- again, with pauses that double, less up to a quarter at random. A stream is read as fast as its loop asks, and
-- belongs to the task that opened it. It owns streams; a request is net/exchange.lua's, and gone when its task is
-- cancelled.

local hints = require "luapilot.net.hints"
local describe = require "luapilot.base.describe"
local exchange = require "luapilot.net.exchange"
local json = require "luapilot.base.json"
local option_schema = require "luapilot.schema.options"
local proxy = require "luapilot.net.proxy"
local retry = require "luapilot.task.retry"
local size = require "luapilot.base.size"
local suggest = require "luapilot.base.suggest"
local buffer = require "luapilot.net.buffer"
local url = require "luapilot.base.url"

local http = {}

local AGAIN = { [429] = true, [502] = true, [503] = true, [504] = true } -- an answer that may soon be better

-- --- messages ------------------------------------------------------------------------------------

local function advice_for(message, code, read)
  if code == "ELOOP" then return "follow = false shows the first answer" end
  if code ~= "EMSGSIZE" then return hints.of(message, code) end
  return ("max_body is %s: raise it, or read with pilot.http.stream"):format(size.format(read.max_body))
end

local function failure(call, request, read, message, code)
  local help = advice_for(message, code, read)
  return ("%s: %s %s: %s%s"):format(call, request.method, url.shown(request.url), message, help and "; " .. help or "")
end

-- --- options -------------------------------------------------------------------------------------

local TYPES = { json = "application/json", form = "application/x-www-form-urlencoded" }

local function has_header(headers, wanted)
  for name in pairs(headers) do
    if name:lower() == wanted then return true end
  end
  return false
end

-- The body and its type; nil, nil and why there is none.
local function body_of(read)
  if read.form then return url.encode(read.form), TYPES.form end
  if read.json == nil then return read.body end
  local fine, text = pcall(json.encode, read.json)
  if fine then return text, TYPES.json end
  return nil, nil, "json: " .. tostring(text):gsub("^json.encode: ", "")
end

local function proxy_of(app, read)
  if read.proxy == false then return nil end
  if read.proxy then return function() return read.proxy end end
  return function(target) return proxy.of(app:environ(), target) end
end

-- What net/exchange.lua takes, of options that are in order.
local function request_of(app, read, method, target)
  local body, content_type, message = body_of(read)
  if message then return nil, message end
  local headers, where = {}, {}
  for name, value in pairs(read.headers) do headers[name] = value end
  if content_type and not has_header(headers, "content-type") then headers["Content-Type"] = content_type end
  for name, value in pairs(target) do where[name] = value end
  local query = read.query and url.encode(read.query)
  if query and query ~= "" then where.query = where.query and where.query .. "&" .. query or query end
  return {
    method = method, url = where, headers = headers, body = body, timeout = read.timeout, socket = read.socket,
    proxy = proxy_of(app, read), tls = read.tls, follow = read.follow, max_body = read.max_body,
  }
end

-- --- answers -------------------------------------------------------------------------------------

-- Names of headers are the same in capitals and small letters.
local Headers = {
  __index = function(self, name)
    return type(name) == "string" and rawget(self, name:lower()) or nil
  end,
}

local function is_ok(status) return status >= 200 and status <= 299 end

local function answer_of(event, request)
  local answer = {
    status = event.status, ok = is_ok(event.status), headers = setmetatable(event.headers, Headers), body = event.body,
  }
  function answer.json()
    local fine, value = pcall(json.decode, event.body)
    if fine then return value end
    error(("%s %s: status %d, and the body is no JSON: %s"):format(request.method, url.shown(request.url),
      event.status, (tostring(value):gsub("^json.decode: ", ""))), 2)
  end
  return answer
end

-- --- streams -------------------------------------------------------------------------------------

---@class luapilot.HttpStream
---@field status integer
---@field ok boolean
---@field headers table<string, string>
local Stream = {}
Stream.__index = Stream

-- It is at its end, and no longer the affair of the task that opened it.
local function detach(self)
  local forget = self.forget
  self.forget = nil
  if forget then forget() end
end

---Ends it; what was not read is lost. It ends by itself with its body, and with the task that opened it.
function Stream:close()
  if self.closed then return end
  self.closed = true
  detach(self)
  if self.id then self.app.loop:cancel(self.id) end
  self.id = nil
  if self.wake then self.wake(nil, "it was closed") end
end

-- An event of the port: for the one who waits, or kept for the next one.
local function arrived(self, event)
  if event.last or event.error then
    self.app.loop:unroute(self.id)
    self.id = nil
  end
  local wake = self.wake
  self.wake = nil
  if wake then return wake(event) end
  self.kept = event
end

local function await_event(self)
  if self.kept then
    local event = self.kept
    self.kept = nil
    return event
  end
  if self.wake then return nil, "another task reads it at this moment" end
  return self.app.tasks:await(self.call, function(wake)
    self.wake = wake
    if not self.app.port.more(self.id) then wake(nil, "it has ended") end
    return function() self.wake = nil end
  end)
end

-- The next piece that is not empty; nil at the end; nil and why.
local function next_piece(self)
  while not self.ended do
    if self.closed then return nil, "it is closed" end
    local event, message = await_event(self)
    if not event then return nil, message end
    self.ended = event.last or event.error ~= nil
    if self.ended then detach(self) end
    if event.error then return nil, event.error, event.code end
    if event.chunk ~= "" then return event.chunk end
  end
end

local function raise(self, message, code, level)
  error(failure(self.call, self.request, self.read, message, code), level + 1)
end

---for chunk in stream:chunks() do … end: the body, in pieces of any size.
---@return fun(): string?
function Stream:chunks()
  return function()
    if self.unread.size > 0 and not self.wake then return self.unread:take(self.unread.size) end -- of a line
    local piece, message, code = next_piece(self)
    if message then raise(self, message, code, 2) end
    return piece
  end
end

-- Where its next line begins nobody knows: it ends.
local function too_long(self)
  self:close()
  self.unread = buffer.new()
  return nil, "a line is longer than max_body", "EMSGSIZE"
end

-- The next line without its end, which the last one may lack, but where the stream broke off; nil at the end; nil,
-- message, code.
local function next_line(self)
  local pieces, most = self.unread, self.read.max_body
  local length = pieces:line()
  while not length do
    if pieces.size > most + 1 then return too_long(self) end -- one more: it may be a "\r"
    local piece, message, code = next_piece(self)
    if message then
      if self.ended then self.unread = buffer.new() end
      return nil, message, code
    end
    if not piece then break end
    pieces:push(piece)
    length = pieces:line()
  end
  if not length and pieces.size == 0 then return nil end
  local line = length and pieces:take(length):sub(1, -2):gsub("\r$", "") or pieces:take(pieces.size)
  if #line > most then return too_long(self) end
  return line
end

---for line in stream:lines() do … end
---@return fun(): string?
function Stream:lines()
  return function()
    local line, message, code = next_line(self)
    if message then raise(self, message, code, 2) end
    return line
  end
end

---for value in stream:json_lines() do … end: one JSON value a line; empty lines are passed over.
---@return fun(): any
function Stream:json_lines()
  return function()
    local line, message, code
    repeat line, message, code = next_line(self) until line ~= "" or message
    if message then raise(self, message, code, 2) end
    if not line then return nil end
    local fine, value = pcall(json.decode, line)
    if not fine then raise(self, ("a line is no JSON: %s"):format(describe.quote(line)), nil, 2) end
    return value
  end
end

local function new_stream(app, owner, call, request, read, event)
  local self = setmetatable({
    app = app, call = call, request = request, read = read, unread = buffer.new(),
    status = event.status, ok = is_ok(event.status), headers = setmetatable(event.headers, Headers),
    id = event.id, ended = event.last,
  }, Stream)
  if event.last then
    self.id = nil
  else
    app.loop:route(event.id, function(more) arrived(self, more) end)
  end
  if not self.ended then self.forget = owner:when_ended(function() self:close() end) end
  return self
end

-- --- waiting -------------------------------------------------------------------------------------

-- A stream is its task's from its head on, and hears what comes next: the task may go on later, or be abandoned.
local function once(app, call, request, read)
  return app.tasks:await(call, function(wake)
    local owner = app.tasks.current
    return exchange.start(app.loop, request, function(event, ...)
      if event and request.stream then event = new_stream(app, owner, call, request, read, event) end
      wake(event, ...)
    end)
  end)
end

-- The answer or the stream, or nil, message, code; with `retry` after as many attempts as fit.
local function attempts(app, call, request, read)
  return retry.run(app.tasks, call, read.retry, function() return once(app, call, request, read) end,
    function(event, _, code)
      if not event then return not retry.FOR_GOOD[code] end
      local again = AGAIN[event.status]
      if again and request.stream then event:close() end
      return again
    end)
end

-- --- the library ---------------------------------------------------------------------------------

-- One call: the answer or the stream; nil and a message.
local function perform(app, call, method, address, options, streams)
  local target, wrong = url.parse(address)
  if not target then return nil, ("%s: %s"):format(call, wrong) end
  local read, message = option_schema.of_call(option_schema.http_options, options, call)
  if not read then return nil, message end
  local request, why = request_of(app, read, method, target)
  if not request then return nil, ("%s: %s"):format(call, why) end
  request.stream = streams
  local event, said, code = attempts(app, call, request, read)
  if not event then app.tasks:fell_short(code) end
  if not event then return nil, failure(call, request, read, said, code) end
  return streams and event or answer_of(event, request)
end

-- The options without those that only say what to ask for.
local function split_options(call, options)
  if options == nil then return "GET", {} end
  if type(options) ~= "table" then
    return nil, ("%s: expected a table of options, got %s"):format(call, describe.value(options))
  end
  local rest = {}
  for name, value in pairs(options) do rest[name] = value end
  rest.url, rest.method = nil, nil
  local method, message = option_schema.http_method(rawget(options, "method"))
  if not method then return nil, ("%s: method: %s"):format(call, message) end
  return method, rest
end

---The library for one pilot.
---@param app luapilot.App
---@return table
function http.library(app)
  local library = {}

  for _, name in ipairs { "get", "post", "put", "delete" } do
    local call, method = "pilot.http." .. name, name:upper()
    library[name] = function(address, options)
      local answer, message = perform(app, call, method, address, options)
      if not answer then error(message, 2) end
      return answer
    end
  end

  ---pilot.http.request { method = "PATCH", url = "http://…", … }
  function library.request(options)
    local call = "pilot.http.request"
    local method, rest = split_options(call, options)
    local answer, message
    if method then
      answer, message = perform(app, call, method, rawget(options or {}, "url"), rest)
    end
    if not answer then error(message or rest, 2) end
    return answer
  end

  ---A body that is read piece by piece; `timeout` holds until its head is there.
  function library.stream(address, options)
    local call = "pilot.http.stream"
    local method, rest = split_options(call, options)
    local stream, message
    if method then stream, message = perform(app, call, method, address, rest, true) end
    if not stream then error(message or rest, 2) end
    return stream
  end

  return suggest.guard(library, "pilot.http")
end

return http
