-- A server for the specs of HTTP: it does what the URL says, well or badly.
--
--   luajit spec/support/http_server.lua [unix:PATH]      prints its port (or path) when it listens
--
-- The path of a request is /HEX: the bytes of a Lua table in hexadecimal digits, what server_url() in
-- spec/support/web.lua writes:
--
--   { status = 503, headers = { "X-A: 1" }, body = "…", after = 0.1 }
--   { long = 150000 }                             with a header of so many bytes
--   { size = 1000000 }                 a body of so many bytes
--   { chunks = { "a", "b" }, every = 0.05 }   a chunked body, piece by piece; hangs = true: which never ends
--   { echo = true }                    a body that tells the request
--   { tell = true }                    the request's method and body go to stdout, as a line: "told: POST {}"
--   { hangs = true }, { closes = true }, { raw = "any bytes", closes = true }
--   { promised = 100, body = "abc" }   less than Content-Length says, then the end
--   { close = true }                   "Connection: close"
--
--   { name = "x", script = { answer, … } }    the next answer at each request, the last one again and again
--   { name = "x", upstream = 8500 }    what the server at that port of 127.0.0.1 answers to the rest of the path, as
--                                      /treat/x/HEX said last: fields of above for its own, or
--                                      { cut = "length" }, { cut = "chunk" }: half of the body, then the end
--                                      { garbage = true }: another body each time, which is no JSON
--                                      { loses = true }: nothing is answered, and what waits then never is
--                                      { bump = 1000 }: Consul's index rises so much each time, and nothing blocks
--
-- What follows the digits is of no matter: "/HEX/v1/kv/app?index=7" is a request to a server at "/HEX". /asked/NAME
-- tells what was asked of a script: lines with the time and the rest of the path. What an upstream answered is a line
-- of stdout when it is passed on: "passed: GET /v1/kv/app?index=7 200".
--
-- /stats tells how many connections and requests there were. One process, one poll loop, no dependency.

local ffi = require "ffi"
local bit = require "bit"
local C = ffi.C

ffi.cdef [[
  typedef struct { int fd; short events, revents; } pollfd;
  int poll(pollfd *list, unsigned long count, int milliseconds);
  int socket(int domain, int type, int protocol);
  int setsockopt(int fd, int level, int name, const void *value, unsigned size);
  int bind(int fd, const void *address, unsigned size);
  int connect(int fd, const void *address, unsigned size);
  int listen(int fd, int backlog);
  int accept4(int fd, void *address, unsigned *size, int flags);
  int getsockname(int fd, void *address, unsigned *size);
  int close(int fd);
  ssize_t read(int fd, void *data, size_t size);
  ssize_t recv(int fd, void *data, size_t size, int flags);
  ssize_t send(int fd, const void *data, size_t size, int flags);
  struct inet { uint16_t family, port; uint32_t address; char rest[8]; };
  struct unix { uint16_t family; char path[108]; };
  typedef struct { long seconds, nanoseconds; } moment;
  int clock_gettime(int clock, moment *time);
]]

local INET, UNIX, STREAM, NONBLOCK, CLOEXEC, NOSIGNAL = 2, 1, 1, 0x800, 0x80000, 0x4000
local DONTWAIT, EAGAIN = 0x40, 11
local IN, OUT, BROKEN = 1, 4, 8 + 16 + 32
local REASONS = { [200] = "OK", [204] = "No Content", [302] = "Found", [404] = "Not Found" }

local stats = { connections = 0, requests = 0 }
local asked = {} -- by the name of a script
local treatments = {} -- by the name of an upstream
local connections = {}
local upstreams = {} -- by descriptor: { fd, one, request, path, name, input }
local buffer = ffi.new "char[65536]"

local function now()
  local time = ffi.new "moment"
  C.clock_gettime(1, time)
  return tonumber(time.seconds) + tonumber(time.nanoseconds) / 1e9
end

-- --- answers -----------------------------------------------------------------------------------

local function byte(pair) return string.char(tonumber(pair, 16)) end

local function table_of(digits)
  return assert(loadstring("return " .. digits:gsub("%x%x", byte)))()
end

local function hang_up(upstream)
  C.close(upstream.fd)
  upstreams[upstream.fd] = nil
end

-- What it asks is forgotten, and who waits for it waits on.
local function lose(name)
  for _, upstream in pairs(upstreams) do
    if upstream.name == name then
      hang_up(upstream)
      upstream.one.upstream = nil
    end
  end
end

local function treat(name, digits)
  treatments[name] = table_of(digits)
  if treatments[name].loses then lose(name) end
  return { close = true }
end

local function decode(path)
  if path == "/stats" then
    return { body = ("connections=%d requests=%d"):format(stats.connections, stats.requests) }
  end
  local name = path:match "^/asked/(.*)"
  if name then return { body = table.concat(asked[name] or {}, "\n") } end
  local treated, how = path:match "^/treat/([^/]+)/(%x+)$"
  if treated then return treat(treated, how) end
  local digits, rest = path:match "^/(%x+)(.*)"
  local what = table_of(digits)
  what.rest = rest
  if not what.script then return what end
  local list = asked[what.name] or {}
  asked[what.name] = list
  list[#list + 1] = ("%.3f %s"):format(now(), rest)
  return what.script[math.min(#list, #what.script)]
end

local function echo(request)
  local lines = { ("%s %s"):format(request.method, request.path) }
  for _, header in ipairs(request.headers) do lines[#lines + 1] = header end
  return table.concat(lines, "\n") .. "\n\n" .. request.body
end

local function say(...)
  print(string.format(...))
  io.stdout:flush()
end

local function head(answer, length)
  local status = answer.status or 200
  local lines = { ("HTTP/1.1 %d %s"):format(status, REASONS[status] or "Whatever") }
  for _, header in ipairs(answer.headers or {}) do lines[#lines + 1] = header end
  if answer.long then lines[#lines + 1] = "X-Long: " .. ("x"):rep(answer.long) end
  if length then lines[#lines + 1] = "Content-Length: " .. length end
  if not length then lines[#lines + 1] = "Transfer-Encoding: chunked" end
  if answer.close then lines[#lines + 1] = "Connection: close" end
  return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

-- What is sent when: { { at, data }, … }; the last may have `closes` or `done`.
local function plan(answer, request)
  local at = now() + (answer.after or 0)
  if answer.raw then return { { at, answer.raw, closes = answer.closes } } end
  if answer.closes then return { { at, "", closes = true } } end
  if answer.chunks then
    local steps = { { at, head(answer) } }
    for _, chunk in ipairs(answer.chunks) do
      steps[#steps + 1] = { at, ("%x\r\n%s\r\n"):format(#chunk, chunk) }
      at = at + (answer.every or 0)
    end
    if not answer.hangs then steps[#steps + 1] = { at, "0\r\n\r\n", done = true } end
    return steps
  end
  if answer.hangs then return {} end
  local body = answer.echo and echo(request) or answer.size and ("x"):rep(answer.size) or answer.body or ""
  local text = head(answer, answer.promised or #body) .. (request.method == "HEAD" and "" or body)
  return { { at, text, closes = answer.close or answer.promised ~= nil, done = true } }
end

-- --- connections -------------------------------------------------------------------------------

-- Takes a whole request off the input, or returns nil.
local function parse(one)
  local text, last = one.input:match "^(.-\r\n)\r\n()"
  if not text then return nil end
  local method, path = text:match "^(%S+) (%S+)"
  local request, length = { method = method, path = path, headers = {} }, 0
  for header in text:gmatch "\r\n([^\r\n]+)" do
    request.headers[#request.headers + 1] = header
    length = tonumber(header:lower():match "^content%-length: (%d+)") or length
  end
  if #one.input < last - 1 + length then return nil end
  request.body = one.input:sub(last, last - 1 + length)
  one.input = one.input:sub(last + length)
  return request
end

local function shut(one)
  if one.upstream then hang_up(one.upstream) end
  C.close(one.fd)
  connections[one.fd] = nil
end

-- --- upstreams ---------------------------------------------------------------------------------

local function inet(port)
  return ffi.new("struct inet", { family = INET, port = bit.rshift(bit.bswap(port), 16), address = 0x0100007f })
end

-- By HTTP 1.0: its answer ends with the connection.
local function ask(one, wanted, request)
  local treatment = treatments[wanted.name] or {}
  one.steps = {}
  if treatment.loses then return end
  if treatment.bump then wanted.rest = wanted.rest:gsub("([?&])index=%d+&?", "%1") end
  local text = ("%s %s HTTP/1.0\r\n%s\r\n\r\n%s"):format(request.method, wanted.rest,
    table.concat(request.headers, "\r\n"), request.body)
  local fd = C.socket(INET, STREAM + CLOEXEC, 0)
  one.upstream = { fd = fd, one = one, request = request, path = wanted.rest, name = wanted.name, input = "" }
  upstreams[fd] = one.upstream
  if C.connect(fd, inet(wanted.upstream), 16) == 0 then C.send(fd, text, #text, NOSIGNAL) end
end

local OURS = { ["content-length"] = true, ["connection"] = true, ["transfer-encoding"] = true }

-- The answer as plan() takes it; nothing came: the end of the connection.
local function understood(text)
  local status, lines, body = text:match "^HTTP/%S+ (%d+)[^\r]*(\r\n.-\r\n)\r\n(.*)$"
  if not status then return { closes = true } end
  local headers = {}
  for name, value in lines:gmatch "([^\r\n:]+): ([^\r\n]*)" do
    if not OURS[name:lower()] then headers[#headers + 1] = name .. ": " .. value end
  end
  return { status = tonumber(status), headers = headers, body = body }
end

local changes = 0 -- of answers

local function cut(answer, where)
  local half, length = answer.body:sub(1, math.floor(#answer.body / 2)), #answer.body + 1
  if where == "length" then
    answer.body, answer.promised = half, length
  else
    answer.raw, answer.closes = head(answer) .. ("%x\r\n%s"):format(length, half), true
  end
end

local function treated(answer, how)
  if answer.closes then return answer end
  changes = changes + 1
  for name, value in pairs(how) do answer[name] = value end
  if how.garbage then answer.body = ("<p>%d</p>"):format(changes) end
  if how.cut then cut(answer, how.cut) end
  for i, header in ipairs(how.bump and answer.headers or {}) do
    local index = header:match "^X%-Consul%-Index: (%d+)"
    if index then answer.headers[i] = ("X-Consul-Index: %d"):format(index + how.bump * changes) end
  end
  return answer
end

-- More of its answer, or all of it; or nothing: poll may have spoken of a former owner of its descriptor.
local function pass(upstream)
  local size = tonumber(C.recv(upstream.fd, buffer, 65536, DONTWAIT))
  if size > 0 then upstream.input = upstream.input .. ffi.string(buffer, size) end
  if size > 0 or size < 0 and ffi.errno() == EAGAIN then return end
  hang_up(upstream)
  local answer = treated(understood(upstream.input), treatments[upstream.name] or {})
  upstream.one.upstream = nil
  upstream.one.steps = plan(answer, upstream.request)
  local path = upstream.path:gsub("%%(%x%x)", byte)
  say("passed: %s %s %s", upstream.request.method, path, answer.status or "nothing")
end

-- --- requests ----------------------------------------------------------------------------------

local function answer(one)
  local request = not one.steps and parse(one)
  if not request then return end
  stats.requests = stats.requests + 1
  local wanted = decode(request.path:gsub("^http://[^/]*", ""))
  if wanted.tell then say("told: %s %s", request.method, request.body) end
  if wanted.upstream then return ask(one, wanted, request) end
  one.steps = plan(wanted, request)
end

-- Sends what is due; true when there is more to send now.
local function progress(one)
  local step = one.steps and one.steps[1]
  if step and one.out == "" and step[1] <= now() then
    table.remove(one.steps, 1)
    one.out, one.ending, one.done = step[2], step.closes, step.done
  end
  if one.out ~= "" then
    local size = tonumber(C.send(one.fd, one.out, #one.out, NOSIGNAL))
    if size > 0 then one.out = one.out:sub(size + 1) end
    if one.out ~= "" then return end
  end
  if one.ending then return shut(one) end
  if one.done then
    one.steps, one.done = nil, nil
    answer(one)
    return one.steps ~= nil
  end
  return one.steps and one.steps[1] and one.steps[1][1] <= now()
end

local function take(one)
  local size = tonumber(C.read(one.fd, buffer, 65536))
  if size <= 0 then return shut(one) end
  one.input = one.input .. ffi.string(buffer, size)
  answer(one)
end

-- --- the loop ----------------------------------------------------------------------------------

local function listen(path)
  local fd = C.socket(path and UNIX or INET, STREAM + NONBLOCK + CLOEXEC, 0)
  local address, size = inet(0), 16
  if path then address, size = ffi.new("struct unix", { family = UNIX, path = path }), 110 end
  assert(C.bind(fd, address, size) == 0 and C.listen(fd, 1024) == 0, "cannot listen")
  if path then return fd, path end
  C.getsockname(fd, address, ffi.new("unsigned[1]", 16))
  return fd, bit.rshift(bit.bswap(address.port), 16)
end

local function wait(listener)
  local list, count, due = ffi.new("pollfd[?]", 4096), 1, nil
  list[0].fd, list[0].events = listener, IN
  for fd, one in pairs(connections) do
    list[count].fd, list[count].events = fd, one.out ~= "" and IN + OUT or IN
    local at = one.out == "" and one.steps and one.steps[1] and one.steps[1][1]
    if at and (not due or at < due) then due = at end
    count = count + 1
  end
  for fd in pairs(upstreams) do
    list[count].fd, list[count].events = fd, IN
    count = count + 1
  end
  C.poll(list, count, due and math.max(0, math.ceil((due - now()) * 1000)) or -1)
  return list, count
end

local listener, where = listen((arg[1] or ""):match "^unix:(.*)")
print(where)
io.stdout:flush()
while true do
  local list, count = wait(listener)
  for i = 1, count - 1 do
    local one, upstream = connections[list[i].fd], upstreams[list[i].fd]
    local ready = bit.band(list[i].revents, IN + BROKEN) ~= 0
    if ready and one then take(one) end
    if ready and upstream then pass(upstream) end
  end
  for _, one in pairs(connections) do
    while connections[one.fd] == one and progress(one) do end
  end
  if list[0].revents ~= 0 then
    local fd = C.accept4(listener, nil, nil, NONBLOCK + CLOEXEC)
    if fd >= 0 then
      stats.connections = stats.connections + 1
      connections[fd] = { fd = fd, input = "", out = "" }
    end
  end
end
