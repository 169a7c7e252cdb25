-- server: what a simulated server says on a connection.
--
--   { PING = "+PONG\r\n", ["show *"] = function(line) … end, QUIT = false }      line → its answer; false closes
--   function(conn) … end                                                         anything else, in virtual time
--
-- `conn` has read_line, read, write, sleep, close and reset, which wait as those of a real one: a server that is slow,
-- says half an answer or breaks the connection is written down as it happens. It owns these scripts; the bytes between
-- are link.lua's. A server is a program of the box (process.lua), or somebody outside, who is always there.

local blame = require "luapilot.sim.blame"
local duration = require "luapilot.base.duration"

local server = {}

-- --- the end that a script holds ------------------------------------------------------------------

---@class luapilot.sim.Conn
---@field link luapilot.sim.Link
---@field host table        runs the script: park(register), sleep(time)
local Conn = {}
Conn.__index = Conn

-- Until something has changed in that direction.
local function wait_for(self, direction, event)
  self.host:park(function(wake)
    direction[event] = function()
      direction[event] = function() end
      wake()
    end
  end)
end

-- Until the condition holds: true; false when the connection has broken.
local function wait_until(self, condition)
  local there = self.link.there
  while not there.broken do
    if condition(there) then return true end
    wait_for(self, there, "on_data")
  end
  return false
end

---The next line without its end; nil: there is none any more.
---@return string?
function Conn:read_line()
  local there = self.link.there
  if not wait_until(self, function() return there.arrived:line() or there.ended end) then return nil end
  local length = there.arrived:line()
  if length then return (there:take(length):sub(1, -2):gsub("\r$", "")) end
  return there.arrived.size > 0 and there:take(there.arrived.size) or nil
end

---So many bytes, fewer at the end only; without a number what is there. nil: nothing comes any more.
---@param count integer?
---@return string?
function Conn:read(count)
  local there = self.link.there
  local least = count or 1
  if not wait_until(self, function() return there.arrived.size >= least or there.ended end) then return nil end
  local size = math.min(count or there.arrived.size, there.arrived.size)
  return size > 0 and there:take(size) or nil
end

---Says something; waits while the other end does not read. False: nobody reads any more.
---@param text string
---@return boolean
function Conn:write(text)
  local back, at = self.link.back, 1
  while at <= #text do
    if self.link.gone or self.link.deaf then return false end
    local sent = back:send(text, at)
    at = at + sent
    if sent == 0 then wait_for(self, back, "on_room") end
  end
  return true
end

---@param time string|number
function Conn:sleep(time) self.host:sleep(time) end

---What was said still arrives.
function Conn:close() self.link:server_closes() end

---The connection breaks, and what was not read is lost.
function Conn:reset() self.link:reset() end

-- --- scripts -------------------------------------------------------------------------------------

-- The answer to a line: the one that is written there, or of the longest pattern that fits.
local function answer_to(answers, line)
  if answers[line] ~= nil then return answers[line] end
  local best, found = -1, nil
  for name, answer in pairs(answers) do
    local pattern = "^" .. name:gsub("%p", "%%%0"):gsub("%%%*", ".*") .. "$"
    if #name > best and name:find("*", 1, true) and line:find(pattern) then best, found = #name, answer end
  end
  return found
end

local function table_script(answers, complain)
  return function(conn)
    for line in function() return conn:read_line() end do
      local answer = answer_to(answers, line)
      if answer == nil then
        complain(("nobody described what the server %s answers to %q"):format(conn.link.name, line))
      end
      if type(answer) == "function" then
        answer = answer(line, conn)
        if answer == nil then answer = "" end
      end
      if not answer then return end
      conn:write(answer)
    end
  end
end

local function check_answers(answers)
  for line, answer in pairs(answers) do
    local kind = type(answer)
    if type(line) ~= "string" or kind ~= "string" and kind ~= "function" and answer ~= false then
      blame.raise("a server's answers: expected [\"a line\"] = its answer (a string, a function(line) or false), got "
        .. "[%s] = %s", tostring(line), tostring(answer))
    end
  end
end

---@param what table<string, any>|fun(conn: luapilot.sim.Conn)
---@param complain fun(message: string)
---@return fun(conn: luapilot.sim.Conn)
function server.script(what, complain)
  if type(what) == "function" then return what end
  if type(what) ~= "table" then
    blame.raise("a server is a table of answers or a function(conn), got a %s", type(what))
  end
  check_answers(what)
  return table_script(what, complain)
end

-- --- hosts ---------------------------------------------------------------------------------------

---Somebody outside, who serves. What takes a connection.
---@param clock luapilot.sim.Clock
---@param script fun(conn: luapilot.sim.Conn)
---@param complain fun(message: string)
---@return fun(link: luapilot.sim.Link)
function server.outside(clock, script, complain)
  local source = clock:source()
  return function(link)
    local host, conn = {}, nil
    local co = coroutine.create(function()
      script(conn)
      conn:close()
    end)
    local function go_on()
      local fine, problem = coroutine.resume(co)
      if fine then return end
      complain(("the server %s failed: %s"):format(link.name, debug.traceback(co, tostring(problem))))
      link:reset()
    end
    function host.park(_, register)
      register(go_on)
      coroutine.yield()
    end
    function host.sleep(_, time)
      local seconds, message = duration.parse(time)
      if not seconds then blame.raise("conn:sleep: %s", message) end
      clock:after(seconds, source, go_on)
      coroutine.yield()
    end
    conn = setmetatable({ link = link, host = host }, Conn)
    go_on()
  end
end

---A program of the box serves, until it ends. What takes a connection.
---@param proc luapilot.sim.Process
---@param script fun(conn: luapilot.sim.Conn)
---@return fun(link: luapilot.sim.Link)
function server.inside(proc, script)
  return function(link)
    proc:thread(function()
      local conn = setmetatable({ link = link, host = proc }, Conn)
      proc:holds(link)
      script(conn)
      conn:close()
    end, false)
  end
end

return server
