-- Servers for the specs of HTTP: spec/support/http_server.lua as a process, and URLs that tell it what to do.
--
--   local server = web.start()                          or web.start "/path/of/a/socket"
--   server:url { status = 503, body = "down" }          what it can do is told in http_server.lua
--   server:stats()                                      connections, requests
--   server:told()                                       what came to URLs of { tell = true }, a line each
--   web.get(port, "/path")                              a request to any server: the whole answer, as it came
--
--   local front = web.front(agent.port)                 a server that passes on what another one answers
--   front.url                                           in place of the other's
--   front:treat { status = 500 }                        from now on, what is still to be answered too; {}: as it is
--   front:wait_for("/v1/kv/", 3)                        until so many answers to such a path were passed on since then
--
-- They end with run.cleanup().

local run = require "support.run"

local web = {}

local PATIENCE = 60 -- seconds for what an upstream answers: it may wait for a retry

---@class spec.Server
---@field base string       "http://127.0.0.1:41234"
---@field port integer?
---@field socket string?
local Server = {}
Server.__index = Server

local function write(value)
  if type(value) == "string" then return (("%q"):format(value):gsub("\\\n", "\\n"):gsub("\r", "\\r")) end
  if type(value) ~= "table" then return tostring(value) end
  local parts = {}
  for key, field in pairs(value) do
    parts[#parts + 1] = ("[%s]=%s"):format(write(key), write(field))
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

---A path that makes the server answer so.
---@param answer table
---@return string
function web.path(answer)
  return "/" .. write(answer):gsub(".", function(byte) return ("%02x"):format(byte:byte()) end)
end

---@param answer table
---@return string
function Server:url(answer) return self.base .. web.path(answer) end

---What was told so far, a line for each request: "POST {"text":"oh no"}".
---@return string[]
function Server:told() return self.process:lines "^told: " end

---@param port integer
---@param path string?
---@return string answer     with its head; "" when nobody listens
function web.get(port, path)
  local p = run.program { "bash", "-c", [[
    exec 3<>/dev/tcp/127.0.0.1/$0 && printf 'GET %s HTTP/1.0\r\n\r\n' "$1" >&3 && cat <&3
  ]], tostring(port), path or "/" }
  p:wait()
  return p:stdout()
end

local function here() return io.popen("pwd"):read "*l" end

---@class spec.Front
---@field url string
---@field server spec.Server
---@field before integer    answers that were passed on when it was last said how
local Front = {}
Front.__index = Front

local function passed(front) return front.server.process:lines "^passed: " end

---How answers are passed on from now on: what http_server.lua tells of an upstream.
---@param how table
function Front:treat(how)
  local answer = web.get(self.server.port, "/treat/front" .. web.path(how))
  assert(answer:find "^HTTP/1.1 200", answer)
  self.before = #passed(self)
end

---How many answers were passed on since then, to requests whose method and path have such a text.
---@param text string      "PUT /v1/agent/", "/v1/kv/"
---@return integer
function Front:passed(text)
  local count = 0
  for i, line in ipairs(passed(self)) do
    if i > self.before and line:find(text, 1, true) then count = count + 1 end
  end
  return count
end

---Waits for so many of them.
---@param text string
---@param times integer
function Front:wait_for(text, times)
  self.server.process:wait_for(("%d answers to %s"):format(times, text), function()
    return self:passed(text) >= times
  end, PATIENCE)
end

---Starts a server and waits until it listens.
---@param socket string?      the path of a unix socket
---@return spec.Server
function web.start(socket)
  local process = run.program { "luajit", here() .. "/spec/support/http_server.lua", socket and "unix:" .. socket }
  local where = process:wait_for("the server's address", function() return process:stdout():match "^(%S+)\n" end)
  return setmetatable({
    process = process, port = tonumber(where), socket = socket,
    base = "http://" .. (socket and "localhost" or "127.0.0.1:" .. where),
  }, Server)
end

---Starts a server in front of another one, at 127.0.0.1.
---@param port integer
---@return spec.Front
function web.front(port)
  local server = web.start()
  return setmetatable({ server = server, before = 0, url = server:url { name = "front", upstream = port } }, Front)
end

return web
