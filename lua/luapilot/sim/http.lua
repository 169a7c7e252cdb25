-- http: the port's calls `request` and `more`, on the web that sites.lua knows.
--
-- An exchange is a line of events, as at the real port: one for a whole answer; for a stream the head, then a
-- piece for each `more`. Programs that listen, or do not, come first: where nobody listens no site answers.
-- It checks what the core asks for, and owns exchanges while they last.

local copy = require "luapilot.base.copy"
local check = require "luapilot.sim.check"
local duration = require "luapilot.base.duration"
local queue = require "luapilot.base.queue"
local url = require "luapilot.base.url"

local http = {}

local PIECE = 16384
local BIG = 1e15

local function headers(where, value)
  check.table(where, value)
  for name, text in pairs(value) do
    if type(name) ~= "string" then check.wrong(where .. ": a name", "a string", name) end
    if not name:find "^[%w!#$%%&'*+%-.^_`|~]+$" then error(("%s: bad name %q"):format(where, name), 0) end
    check.word(where .. "." .. name, text)
    if text:find "[\r\n]" then error(("%s.%s: a line break inside the value"):format(where, name), 0) end
  end
end

local function word(where, value)
  if check.word(where, value) == "" then error(where .. ": it is empty", 0) end
  return value
end

local function method(where, value)
  if not word(where, value):find "^[%w!#$%%&'*+%-.^_`|~]+$" then
    error(("%s: no method: %q"):format(where, value), 0)
  end
end

local function address(where, value)
  if not word(where, value):lower():find "^https?://" then
    error(("%s: expected http:// or https://, got %q"):format(where, value), 0)
  end
  if value:find "[%c%s\127]" then error(where .. ": a space or a control character inside", 0) end
end

local function socket(where, value)
  if #word(where, value) > 107 then error(where .. ": longer than 107 bytes", 0) end
end

local tls = check.fields {
  cafile = word, capath = word, clientcert = word, clientkey = word, servername = word, verify = check.boolean,
}

---What others who speak HTTP check as well.
http.checks = { method = method, address = address, socket = socket, tls = tls }

local check_request = check.fields {
  method = method, url = address, headers = headers, body = check.string, timeout = check.seconds,
  socket = socket, proxy = word, stream = check.boolean, fresh = check.boolean,
  max_body = check.number(0, BIG), cut = check.boolean, tls = tls,
}

-- --- what comes of a request -------------------------------------------------------------------

local WHY = {
  ECONNREFUSED = "cannot connect to %s: connection refused", EAI_NONAME = "cannot resolve %s",
  ECONNRESET = "%s closed the connection without an answer", ECERT = "%s is not trusted: its certificate has expired",
  ETLS = "no TLS with %s", EPROTO = "%s does not speak HTTP",
}

---A code in words.
---@param code string
---@param target string
---@return string
function http.why(code, target) return (WHY[code] or "the exchange with %s failed"):format(target) end

---Who is meant, in messages.
---@param request { url: string, socket: string? }
---@return string
function http.target(request)
  if request.socket then return "unix:" .. request.socket end
  local parts = url.parse(request.url)
  return parts and ("%s:%d"):format(parts.host, url.port(parts)) or request.url
end

local function lower(map)
  local result = {}
  for name, value in pairs(map or {}) do result[name:lower()] = value end
  return result
end

-- The simulated answer, after a look at who listens.
local function answer_of(self, request)
  local target = http.target(request)
  local state = not request.socket and not request.proxy and self.network:state(target) or "up"
  if state == "down" then return { error = "ECONNREFUSED" } end
  if state == "hangs" then return { hangs = true } end
  local asked = {
    method = request.method or "GET", url = request.url, headers = lower(request.headers), body = request.body,
    socket = request.socket, proxy = request.proxy, tls = request.tls,
  }
  self.record("request", { request = asked })
  local answer = self.sites:answer(asked)
  if answer then return answer end
  self.complain(("nobody described the URL %q: box:http(%q, 200), or %q"):format(
    request.url, (request.url:gsub("%?.*$", "")), "down"), "url", request.url)
  return { error = "ECONNREFUSED" }
end

-- --- exchanges ---------------------------------------------------------------------------------

---@class luapilot.sim.Exchange
---@field port luapilot.sim.Port
---@field id integer
---@field request table
---@field pieces luapilot.Queue     still to come, of a stream
local Exchange = {}
Exchange.__index = Exchange

-- An event; the last one takes the handle along.
function Exchange:tell(event, last)
  event.type, event.id = "response", self.id
  if last then self.over = true end
  self.port:push(self, event, function()
    if last then self.port:forget(self.id) end
  end)
end

function Exchange:fail(code, why)
  local timer = self.timer
  if timer then self.port.clock:cancel(timer) end
  why = why or http.why(code, http.target(self.request))
  self:tell({ code = code, error = why }, true)
end

local function pieces_of(body)
  local list = {}
  for _, text in ipairs(type(body) == "table" and body or { body }) do
    for from = 1, #text, PIECE do list[#list + 1] = text:sub(from, from + PIECE - 1) end
  end
  return list
end

function Exchange:whole(answer)
  local body, bound = table.concat(pieces_of(answer.body)), self.request.max_body or BIG
  if self.request.method == "HEAD" then body = "" end
  if #body > bound and not self.request.cut then
    return self:fail("EMSGSIZE", ("the answer is larger than %d bytes"):format(bound))
  end
  self.port.clock:cancel(self.timer)
  self:tell({
    status = answer.status, headers = copy.shallow(answer.headers), body = #body > bound and body:sub(1, bound) or body,
  }, true)
end

function Exchange:head(answer)
  self.port.clock:cancel(self.timer)
  self.pieces, self.every, self.endless = queue.new(), answer.every, answer.endless
  for _, piece in ipairs(pieces_of(answer.body)) do self.pieces:push(piece) end
  local last = self.pieces.count == 0 and not self.endless
  self:tell({ status = answer.status, headers = copy.shallow(answer.headers), chunk = "", last = last }, last)
  self:go_on()
end

-- The next piece, when it was granted and is due.
function Exchange:go_on()
  if not self.granted or self.under_way or self.over then return end
  if self.pieces.count == 0 and self.endless then return end
  self.granted, self.under_way = false, true
  self.entry = self.port:later(self.line, function()
    self.under_way = false
    local piece = self.pieces:pop()
    self:tell({ chunk = piece or "", last = piece == nil }, piece == nil)
  end, self.every > 0 and self.every or nil)
end

local function begin(self, answer)
  if self.over then return end
  if answer.hangs then return end
  if answer.error then return self:fail(answer.error) end
  if self.request.stream then return self:head(answer) end
  self:whole(answer)
end

local function time_of_body(answer)
  if type(answer.body) ~= "table" then return 0 end
  if answer.endless then return math.huge end
  return (answer.every or 0) * math.max(0, #answer.body - 1)
end

http.calls = {}

function http.calls.request(self, options)
  check_request("request", options)
  if options.url == nil then error("request: url: expected a string, got nil", 0) end
  local request = copy.shallow(options)
  local exchange = setmetatable({ kind = "http", port = self, request = request, line = self:line() }, Exchange)
  exchange.id = self:handle(exchange)
  local answer, limit = answer_of(self, request), request.timeout or 0
  local takes = math.max(self:latency(), answer.after or 0) + (request.stream and 0 or time_of_body(answer))
  if answer.hangs then takes = math.huge end
  exchange.timer = {}
  if limit > 0 then
    exchange.timer = self.clock:after(limit, self.timers, function()
      if exchange.over then return end
      exchange:fail("ETIMEDOUT", "no answer within " .. duration.format(limit))
    end)
  end
  if takes < math.huge then
    exchange.entry = self:later(exchange.line, function() begin(exchange, answer) end, takes)
  end
  return exchange.id
end

function http.calls.more(self, id)
  check.any_number("more: id", id)
  local exchange = self.handles[id]
  if not exchange or exchange.kind ~= "http" then return self.stale("more", id) end
  if not exchange.request.stream then return nil, "more: it is no stream: invalid argument", "EINVAL" end
  exchange.granted = true
  if exchange.pieces then exchange:go_on() end
  return true
end

---Ends an exchange in silence.
---@param self luapilot.sim.Port
---@param exchange luapilot.sim.Exchange
function http.cancel(self, exchange)
  exchange.over = true
  self.clock:cancel(exchange.timer)
  if exchange.entry then self.clock:cancel(exchange.entry) end
end

return http
