-- pilot.net in the built program: a real server in Python that is polite, hostile or clumsy, by TCP and a unix socket.

local machine = require "support.machine"
local network = require "support.network"
local run = require "support.run"
local story = require "support.story"

-- The first line of a connection says what comes of it.
local SERVER = [[
import os, signal, socket, struct, threading

def line(conn):
    data = b""
    while not data.endswith(b"\n"):
        byte = conn.recv(1)
        if not byte: return None
        data += byte
    return data

def reset(conn):
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

# A TCP socket for which whoever lets it go last waits for an hour.
sink = socket.create_server(("127.0.0.1", 0))
def lingering():
    other = socket.create_connection(sink.getsockname())
    other.setblocking(False)
    try:
        while True: other.send(b"x" * 65536)
    except BlockingIOError: pass
    other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
    return other

def hand_over(conn, data):
    other = lingering()
    os.kill(os.getppid(), signal.SIGSTOP) # luapilot: it lets go after us
    try: conn.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", other.fileno()))])
    except PermissionError: other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
    other.close()
    os.kill(os.getppid(), signal.SIGCONT)
    with open("handed", "a") as file: file.write("x")

# May the other end refuse descriptors, as luapilot does where it can?
def can_be_refused():
    try: socket.socket(socket.AF_UNIX).setsockopt(socket.SOL_SOCKET, 83, 0)
    except OSError: return False
    return True

def talk(conn):
    words = (line(conn) or b"").decode().split()
    kind = words[0] if words else ""
    if kind == "echo":
        for text in iter(lambda: line(conn), None): conn.sendall(b"> " + text.replace(b"\n", b"\r\n"))
    elif kind == "flood":
        sent = 0
        try:
            while True: sent += conn.send(b"x" * 65536)
        except OSError:
            with open("flooded.%d" % conn.fileno(), "w") as file: file.write(str(sent))
            os.rename("flooded.%d" % conn.fileno(), "flooded") # each of two connections ends with one
    elif kind == "deaf":
        conn.recv(1, socket.MSG_PEEK)
        threading.Event().wait()
    elif kind == "cut":
        conn.sendall(b"+OK\r\n$5\r\n\0\xff\n\rx\r\n"[:int(words[1])])
        if len(words) > 2: reset(conn)
    elif kind == "pass":
        conn.sendall(b"hello\n")
        hand_over(conn, b"take it\n")
    elif kind == "GET":
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        if can_be_refused(): hand_over(conn, b"ok")
        conn.sendall(b"ok")
    elif kind == "swallow":
        size, count = 0, int(words[1])
        while size < count: size += len(conn.recv(65536))
        conn.sendall(b"%d\n" % size)

def serve(conn):
    try: talk(conn)
    except OSError: pass
    conn.close()

def listen(server):
    server.listen(128)
    while True: threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

tcp = socket.create_server(("127.0.0.1", 0))
unix = socket.socket(socket.AF_UNIX)
unix.bind("app.sock")
threading.Thread(target=listen, args=(unix,), daemon=True).start()
with open("port.new", "w") as file: file.write(str(tcp.getsockname()[1]))
os.rename("port.new", "port")
listen(tcp)
]]

local PRELUDE = story.TELL_VALUES .. [[
local pilot = require "luapilot"
local function fails(fn, ...)
  local ok, message = pcall(fn, ...)
  tell(ok, (tostring(message):gsub("127.0.0.1:%d+", "TCP"):gsub("^.-: pilot.net", "pilot.net")))
end
local TCP, UNIX = nil, "unix:app.sock"
local function connect(first, place)
  local s = pilot.net.connect(place or TCP, { retry = "1m", timeout = "1m" })
  s:write(first .. "\n")
  return s
end
local function descriptors()
  local count = 0
  for _, name in ipairs(pilot.fs.list "/proc/self/fd") do
    local found = pilot.fs.stat("/proc/self/fd/" .. name)
    if found and found.target:find "^socket:" then count = count + 1 end
  end
  return count
end
pilot.job "server" {
  exec = { "python3", "server.py" }, health = { exec = { "test", "-e", "port" }, interval = "1h" },
}
pilot.job "task" { main = true, depends_on = { server = "healthy" }, run = function()
  TCP = "127.0.0.1:" .. pilot.fs.read "port"
]]

local function pilot(task)
  return run.pilot(PRELUDE .. task .. "\nend }", { files = { ["server.py"] = SERVER } })
end

-- The lines that a task tells until it has ended well.
local function told(task)
  local p = pilot(task)
  assert.equal(0, p:wait(), p:output())
  local lines = {}
  for _, line in ipairs(p:lines "> ") do lines[#lines + 1] = line:match "> (.*)$" end
  return lines, p
end

describe("pilot.net with a real server", machine.unless(machine.lacking "python3", function()
  after_each(run.cleanup)
  teardown(run.finish)

  it("talks in lines, by TCP and by a unix socket", function()
    local lines = told [[
      for _, place in ipairs { TCP, UNIX } do
        local s = connect("echo", place)
        s:write "one\ntwo\n"
        tell(s:read_line() .. " >")
        tell(s:read_line() .. " >")
        tell(pilot.timeout("10ms", s.read_line, s))
        s:close()
      end
      local s = connect("echo", "localhost:" .. TCP:match "%d+$")
      s:write "by name\n"
      tell(s:read_line() .. " >")
    ]]
    assert.same({ "> one >", "> two >", "nil timeout", "> one >", "> two >", "nil timeout", "> by name >" }, lines)
  end)

  it("hands over as much as there is, to one who reads it", function()
    local lines = told [[
      for _, place in ipairs { TCP, UNIX } do
        local s = connect("swallow 20000000", place)
        s:write(("x"):rep(2e7), { timeout = "1m" })
        tell(s:read_line { timeout = "1m" })
      end
    ]]
    assert.same({ "20000000", "20000000" }, lines)
  end)

  it("gives up on one who never reads", function()
    local lines = told [[
      local s = connect "deaf"
      fails(s.write, s, ("x"):rep(1e8), { timeout = "100ms" })
    ]]
    assert.same({ "false pilot.net: TCP: write: the other end has not read for 100ms, and there is no room for more" },
      lines)
  end)

  it("takes no more of a flood than was asked for", function()
    local lines, p = told [[
      local s = connect "flood"
      fails(s.read_line, s)
      s = connect "flood"
      tell(#s:read(1000000))
      tell(pilot.exec(pilot.sh "while ! test -s flooded; do sleep 0.1; done; cat flooded").stdout ~= "")
    ]]
    assert.same({ "false pilot.net: TCP: read_line: a line is longer than max_line (64K)", "1000000", "true" }, lines)
    assert.is_true(tonumber(p:read "flooded") < 64 * 2 ^ 20) -- what two kernels hold
  end)

  it("ends in order wherever the other end breaks off, with or without a reset", function()
    local lines = told [[
      local ALL = "+OK\r\n$5\r\n\0\255\n\rx\r\n"
      -- What is read of the text, and how much of that: a line, a line, five bytes, a line.
      local function parts_of(text)
        local list = {}
        for i = 1, 4 do
          local rest = i == 3 and text:sub(6) or text:match "\n(.*)$" or ""
          list[i] = i == 3 and text:sub(1, 5) or (text:match "^(.-)\r?\n" or text)
          text = rest
        end
        return list
      end
      for size = 0, #ALL do
        for _, how in ipairs { "", " reset" } do
          local wanted, parts = parts_of(ALL:sub(1, size)), {}
          local ok, message = pcall(function()
            local s = connect("cut " .. size .. how)
            for i = 1, 4 do parts[i] = (i == 3 and s:read(5) or i ~= 3 and s:read_line()) or "" end
          end)
          local good = ok or how ~= "" and message:find "connection reset by peer"
          for i, part in ipairs(parts) do good = good and part == wanted[i] end
          if not good then tell(size, how, ok, message, #parts, ("%q"):format(table.concat(parts, "|"))) end
        end
      end
      tell(#ALL)
    ]]
    assert.same({ "16" }, lines)
  end)

  it("leaves no descriptor open: closed, forgotten, ended with its task, or cancelled", function()
    local lines = told [[
      connect "echo":close()
      local before = descriptors()
      for i = 1, 500 do connect("echo", i % 2 == 0 and TCP or UNIX):close() end
      for _ = 1, 100 do
        pilot.spawn(function() connect "echo" end):wait()
        pilot.timeout("1ms", function() connect "echo":read_line { timeout = "1h" } end)
        pilot.timeout("0.1ms", connect, "echo")
      end
      tell(descriptors() - before)
      for _ = 1, 100 do connect "echo" end
      collectgarbage()
      collectgarbage()
      pilot.sleep "1ms"
      tell(descriptors() - before)
      local kept = connect "echo"
      collectgarbage()
      collectgarbage()
      pilot.sleep "1ms"
      kept:write "still here\n"
      tell(kept:read_line())
    ]]
    assert.same({ "0", "0", "> still here" }, lines)
  end)

  -- With the last reference goes the wait: an hour in the loop, of which the guardian grants half a minute.
  it("does not wait for a descriptor that a server passes, read or not", function()
    local lines = told [[
      local function handed(times)
        pilot.exec(pilot.sh("while test \"$(cat handed)\" != " .. ("x"):rep(times) .. "; do sleep 0.02; done"))
      end
      local s = connect("pass", UNIX)
      tell(s:read_line())
      handed(1)
      pcall(s.read_line, s)
      s:close()
      s = connect("pass", UNIX)
      handed(2)
      s:close()
      tell(pilot.http.get("http://app/", { socket = pilot.exec("pwd").stdout:match "[^\n]+" .. "/app.sock" }).body)
      tell "alive"
    ]]
    assert.same({ "hello", "ok", "alive" }, lines)
  end)

  it("holds up no end: a stream that is read and one that is written are given up", function()
    local p = pilot [[
      pilot.spawn(function() connect "echo":read_line { timeout = "1h" } end)
      pilot.spawn(function() connect "deaf":write(("x"):rep(1e8), { timeout = "1h" }) end)
      connect "echo":close()
      tell "connected"
      pilot.sleep "1h"
    ]]
    p:wait_for_line "> connected"
    p:signal "SIGTERM"
    assert.equal(0, p:wait(), p:output())
    story.assert_lines(p, 0, "abandoned")
  end)
end))

-- A connection to a port from which connections are made may be given that very port, and come to itself.
describe("pilot.net where nobody listens", machine.unless(network.lacking(), function()
  after_each(run.cleanup)
  teardown(run.finish)

  it("connects to nobody: not to itself", function()
    local p = run.pilot([[
      local pilot = require "luapilot"
      pilot.job "task" { main = true, run = function()
        local refused = 0
        for _ = 1, 300 do
          local _, message = pcall(pilot.net.connect, "127.0.0.1:40000")
          if tostring(message):find("connection refused", 1, true) then refused = refused + 1 end
        end
        print("> " .. refused)
      end }
    ]], { wrap = { "unshare", "--net", "sh", "-c", [[
      busybox ip link set lo up
      echo "40000 40001" >/proc/sys/net/ipv4/ip_local_port_range
      exec "$@"
    ]], "sh" } })
    assert.equal(0, p:wait(), p:output())
    assert.equal("> 300", p:lines("> ")[1]:match "> %d+")
  end)
end))
