-- The simulated world for the specs of the port: see real_world.lua for what a world must have.
--
-- One machine of the simulator without a pilot. Time passes only in `next`.

local sim = require "luapilot.sim"

local FLOOD = 0.0002 -- seconds between two pieces of a flood
local SETTLED = 0.01 -- seconds until a grandchild has its traps

local machine, port, directory
local count = 0
local heart = sim.world { seed = 11 }

machine = heart:machine { closed = true, users = {}, groups = {} }
port = machine.interface

local world = { port = port, name = "simulated", machine = machine }

-- --- time ----------------------------------------------------------------------------------------

function world.next(seconds)
  local limit = heart.clock:moment(seconds)
  local event = port.wait(false)
  while not event and heart.clock:step(limit) do event = port.wait(false) end
  if not event then heart.clock.time = limit end
  return event
end

-- --- programs ------------------------------------------------------------------------------------

local function install(proc, b)
  for _, name in ipairs(b.ignores or {}) do proc:handle(name, "ignore") end
  for name, code in pairs(b.on or {}) do proc:handle(name, function(me) me:exit(code) end) end
  for _, name in ipairs(b.tells or {}) do proc:handle(name, function(me) me:print(name) end) end
  for name, path in pairs(b.says or {}) do
    proc:handle(name, function(me)
      me:notify "STOPPING=1"
      me:notify(machine.files:content(path))
      me:exit(0)
    end)
  end
  if b.ignores or b.on or b.tells or b.says then proc:print "ready" end
end

local function live(proc, b)
  if b.after then proc:sleep(b.after) end
  if b.cat and not proc.input then
    proc:write(proc.stdin)
    proc:exit(0)
  end
  while b.floods do
    proc:print(("y\n"):rep(100))
    proc:sleep(FLOOD)
  end
  if b.signal then proc:crash(b.signal) end
  if b.eats and not b.exit then proc:oom() end
  if b.eats then
    proc:fork(function(one) one:oom() end)
    proc:sleep(SETTLED)
  end
  if b.exit or b.after then proc:exit(b.exit or 0) end
  while true do proc:sleep "1h" end
end

local function script(b)
  return function(proc)
    if b.unmarked then proc.env = {} end
    install(proc, b)
    if b.shows_pid then proc:print("pid " .. proc.pid) end
    if b.grandchild then
      proc:fork(script(b.grandchild), b.grandchild)
      proc:sleep(SETTLED)
    end
    if b.stdout then proc:write(b.stdout) end
    if b.stderr then proc:write(b.stderr, "stderr") end
    for i, text in ipairs(b.alternates or {}) do proc:write(text, i % 2 == 0 and "stderr" or "stdout") end
    if b.repeats then proc:write(b.repeats[1]:rep(b.repeats[2])) end
    if b.shows then proc:write(proc.env[b.shows] or "") end
    if b.shows_cwd then proc:print(proc.cwd) end
    for _, message in ipairs(b.notify or {}) do proc:notify(message) end
    if b.closes_output then proc:close_output() end
    live(proc, b)
  end
end

function world.program(b)
  count = count + 1
  local argv = { "program-" .. count }
  machine:program(argv, b.spawn_error and { spawn_error = b.spawn_error } or script(b))
  return argv
end

function world.alive(pid)
  local found = false
  machine.port.kernel.all:walk(function(proc)
    if proc.pid == pid then found = proc.state ~= "dead" or (proc.group ~= nil and proc.group.zombie) end
  end)
  return found
end

function world.dies_unseen() end

function world.adopt() end

function world.send_signal(name) machine:signal(name) end

-- --- files, network, descriptors -------------------------------------------------------------------

function world.path(name)
  if not directory then
    count = count + 1
    directory = "/spec-" .. count
    machine:write(directory, true)
  end
  return name == "" and directory or directory .. "/" .. name
end

function world.write(path, text, mode) machine:write(path, { content = text, mode = mode or 420 }) end
function world.own(path, uid) machine.files:node(path).uid = uid end
function world.link(target, path, uid) machine:write(path, { link = target, uid = uid }) end
function world.need_owners() end

local function address(state)
  count = count + 1
  local text = "127.0.0.1:" .. 10000 + count
  machine:tcp(text, state)
  return text
end

function world.listener() return address "up" end
function world.refused() return address "down" end
function world.silent() return address "hangs" end

-- What spec/support/http_server.lua does, as an answer of the simulator's web.
local function as_answer(b)
  if b.echo then
    return function(request)
      local lines = { request.method .. " " .. request.url:match "^http://[^/]*(.*)$" }
      for name, value in pairs(request.headers) do lines[#lines + 1] = name .. ": " .. value end
      return { body = table.concat(lines, "\n") .. "\n\n" .. (request.body or "") }
    end
  end
  if b.closes then return { error = "ECONNRESET" } end
  local headers = {}
  for _, line in ipairs(b.headers or {}) do
    local name, value = line:match "^(.-): (.*)$"
    name = name:lower()
    headers[name] = headers[name] and headers[name] .. ", " .. value or value
  end
  return {
    status = b.status, headers = headers, after = b.after, every = b.every, endless = b.chunks and b.hangs,
    body = b.chunks or b.size and ("x"):rep(b.size) or b.body, hangs = not b.chunks and b.hangs or nil,
  }
end

function world.server(kind)
  count = count + 1
  local at = kind == "unix" and world.path("socket-" .. count) or "127.0.0.1:" .. 10000 + count
  local link
  local function wait(condition)
    while not condition() do assert(heart.clock:step(), "nothing will ever happen") end
    return link
  end
  machine:server(kind == "unix" and "unix:" .. at or at, function(conn)
    link = conn.link
    conn:sleep "1000h"
  end)
  local function accepted() return wait(function() return link end) end
  local self = { target = { [kind == "unix" and "path" or "address"] = at } }
  function self.send(text) assert(accepted().back:send(text, 1) == #text) end
  function self.receive(size)
    local parts, got, there = {}, 0, accepted().there
    while got < size do
      wait(function() return there.arrived.size > 0 or there.ended end)
      local part = there:take(size - got)
      if part == "" then break end
      parts[#parts + 1], got = part, got + #part
    end
    return table.concat(parts)
  end
  function self.close() accepted():server_closes() end
  function self.reset() accepted():reset() end
  return self
end

function world.web(answer)
  count = count + 1
  local url = ("http://web/%d"):format(count)
  machine:http(url, as_answer(answer))
  return url
end

function world.pipe()
  count = count + 1
  local fd = count
  machine:descriptor(fd, "")
  return {
    fd = fd,
    write = function() machine:descriptor(fd, "r") end,
    close = function() end,
  }
end

function world.dead_disk()
  count = count + 1
  local path = world.path("dead-" .. count)
  machine:write(path, { directory = true })
  machine:hang("path", path)
  return {
    path = path,
    answer = function() machine:answer("path", path) end,
    fail = function()
      machine:write(path, false)
      machine:answer("path", path)
    end,
  }
end

function world.close() directory = nil end

return world
