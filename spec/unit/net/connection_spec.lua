-- pilot.net on the simulated network: lines and bytes, bounds, timeouts, whose a stream is.

local boxes = require "support.boxes"
local sim = require "luapilot.sim"

local PLACE = "127.0.0.1:6379"

describe("pilot.net", function()
  after_each(boxes.check)

  -- say(…) is heard by said(); fails(fn, …) says what pcall gives, without the line of the file.
  local PRELUDE = [[
    local function say(...)
      local list = {}
      for i = 1, select("#", ...) do list[i] = tostring((select(i, ...))) end
      print("> " .. table.concat(list, "\t"))
    end
    local function fails(fn, ...)
      local ok, message = pcall(fn, ...)
      say(ok, (tostring(message):gsub("^pilot.lua:%d+: ", "")))
    end]]

  local function load(source, options, world)
    return boxes.load(PRELUDE:gsub("\n%s*", " ") .. " " .. source, options, world)
  end

  -- A box whose job does this; `s` is a stream to the server.
  local function talk(server, body, options)
    local box = load(([[
      pilot.job "main" { run = function()
        local s = pilot.net.connect(%q%s)
        %s
      end }]]):format(PLACE, options and ", { " .. options .. " }" or "", body))
    box:server(PLACE, server)
    box:start():advance "1m"
    return box
  end

  local function said(box)
    local list = {}
    for _, entry in ipairs(box:log()) do list[#list + 1] = entry.message:match "^> (.*)$" end
    return table.concat(list, "\n")
  end

  -- A server that says these, one after the other, with pauses between them, and then closes.
  local function says(...)
    local texts = { ... }
    return function(conn)
      for _, text in ipairs(texts) do
        conn:write(text)
        conn:sleep "10ms"
      end
    end
  end

  describe("reads lines", function()
    it("one by one, with either end, and the last without one", function()
      local box = talk(says "a\nb\r\n\n\r\nc\rd\n\0\nlast", "for line in s:lines() do say(('%q'):format(line)) end "
        .. "say(s:read_line())")
      assert.equal('"a"\n"b"\n""\n""\n"c\\13d"\n"\\0"\n"last"\nnil', said(box))
    end)

    it("whatever the pieces are in which they come", function()
      local text = "first line\r\nsecond\n\nend"
      local pieces = {}
      for char in text:gmatch "." do pieces[#pieces + 1] = char end
      local box = talk(says(unpack(pieces)), "for line in s:lines() do say('<' .. line .. '>') end")
      assert.equal("<first line>\n<second>\n<>\n<end>", said(box))
    end)

    it("of any length up to max_line, and no longer one", function()
      local function of(length, ending)
        return said(talk(says(("x"):rep(length) .. ending), "fails(function() return #s:read_line() end)",
          'max_line = "1K"'))
      end
      for _, ending in ipairs { "\n", "\r\n", "" } do
        assert.equal("true\t1024", of(1024, ending))
        assert.equal(("false\tpilot.net: %s: read_line: a line is longer than max_line (1KB)"):format(PLACE),
          (of(1025, ending):gsub("1 KiB", "1KB"):gsub("1K%)", "1KB)")))
      end
    end)

    it("in bounded memory from one who never ends them", function()
      local sent = 0
      local box = talk(function(conn)
        while conn:write(("x"):rep(16384)) do sent = sent + 16384 end
      end, "fails(s.read_line, s)")
      assert.matches("a line is longer than max_line", said(box))
      assert.is_true(sent < 300000, tostring(sent))
    end)
  end)

  describe("reads bytes", function()
    it("so many, fewer at the end, then nothing", function()
      local box = talk(says("ab", "cde", "\nfgh"), "for _, n in ipairs { 1, 3, 4, 5, 1 } do say(s:read(n)) end")
      assert.equal("a\nbcd\ne\nfg\nh\nnil", said(box))
    end)

    it("as they come", function()
      local box = talk(says("ab", "cde"), "for _ = 1, 3 do say(s:read()) end")
      assert.equal("ab\ncde\nnil", said(box))
    end)

    it("behind a line", function()
      local box = talk(says "$5\r\nhe\nlo\r\n+OK\r\n", "say(s:read_line()) say((s:read(5):gsub('\\n', '|'))) "
        .. "say(s:read(2) == '\\r\\n') say(s:read_line())")
      assert.equal("$5\nhe|lo\ntrue\n+OK", said(box))
    end)

    it("no more than a MiB at once", function()
      local box = talk(says "x", "for _, n in ipairs { 0, -1, 1.5, 1048577, '5' } do fails(s.read, s, n) end "
        .. "say(s:read(1))")
      assert.matches("read: expected a whole number of bytes from 1 to 1048576, got a number: 0\n", said(box))
      assert.matches('got a string: "5"\nx$', said(box))
    end)
  end)

  describe("writes", function()
    it("all of it, however slowly it is read", function()
      local got = 0
      local box = talk(function(conn)
        for part in function() return conn:read() end do
          got = got + #part
          conn:sleep "1ms"
        end
      end, "s:write(('x'):rep(2e6)) s:write '' s:write 'y' say 'done'")
      assert.equal("done", said(box))
      box:advance "1m"
      assert.equal(2000001, got)
    end)

    it("until the time is over, to one who never reads", function()
      local box = talk(function(conn) conn:sleep "1h" end,
        "fails(s.write, s, ('x'):rep(1e6), { timeout = '2s' }) fails(s.write, s, 'x')")
      assert.matches(("^false\tpilot.net: %s: write: the other end has not read for 2s, and there is no room for more")
        :format(PLACE), said(box))
      assert.matches("write: it is closed: write failed before %(the other end has not read", said(box))
    end)

    it("nothing to one who is gone", function()
      local box = talk(function() end, "pilot.sleep '1s' fails(s.write, s, 'x')")
      assert.equal(("false\tpilot.net: %s: write: broken pipe"):format(PLACE), said(box))
    end)

    it("only strings", function()
      local box = talk(says(), "fails(s.write, s, 5) fails(s.write, s)")
      assert.matches("write: expected a string, got a number: 5\n.*got nothing$", said(box))
    end)
  end)

  describe("waits", function()
    it("5 s for each call, and no longer", function()
      local box = talk(function(conn) conn:sleep "1h" end,
        "local t = pilot.now() fails(s.read_line, s) say(math.floor(pilot.now() - t + 0.5))")
      assert.equal(("false\tpilot.net: %s: read_line: no answer within 5s\n5"):format(PLACE), said(box))
    end)

    it("as long as connect says, or the call, and says what had come", function()
      local box = talk(function(conn)
        conn:write "half"
        conn:sleep "1h"
      end, "fails(s.read, s, 10, { timeout = '100ms' })", 'timeout = "20s"')
      assert.matches("read: no answer within 100ms, of which 4 bytes had come", said(box))
    end)

    it("for a whole answer, however it drips", function()
      local box = talk(function(conn)
        while conn:write "x" do conn:sleep "1s" end
      end, "local t = pilot.now() fails(s.read_line, s) say(math.floor(pilot.now() - t + 0.5))")
      assert.matches("no answer within 5s.*\n5$", said(box))
    end)

    it("and then is closed: nobody knows what would come next", function()
      local box = talk(function(conn)
        conn:sleep "6s"
        conn:write "late\n"
      end, "fails(s.read_line, s) pilot.sleep '2s' fails(s.read_line, s) fails(s.write, s, 'x')")
      assert.matches("\nfalse\tpilot.net: [%d.:]+: read_line: it is closed: read_line failed before %(no answer within "
        .. "5s%)\nfalse\t.* write: it is closed: read_line failed", said(box))
    end)
  end)

  it("tells of a connection that breaks", function()
    local box = talk(function(conn)
      conn:write "half"
      conn:sleep "1s"
      conn:reset()
    end, "fails(s.read_line, s) fails(s.read_line, s)")
    assert.matches(("^false\tpilot.net: %s: read_line: connection reset by peer\nfalse\t.*: it is closed: ")
      :format(PLACE), said(box))
  end)

  describe("connects", function()
    local function message(body, describe)
      local box = load(("pilot.job 'main' { run = function() say(select(2, pcall(function() %s end))) end }")
        :format(body))
      if describe then describe(box) end
      box:start():advance "2m"
      return (said(box):gsub("^pilot.lua:1: ", ""))
    end

    it("to a unix socket, absolute or not", function()
      for _, name in ipairs { "unix:///pilot/run/app.sock", "unix:/pilot/run/app.sock", "unix:run/app.sock",
        "unix:////pilot//run/app.sock" } do
        assert.equal("hello", message(("return pilot.net.connect(%q):read_line()"):format(name), function(box)
          box:server("unix:/pilot/run/app.sock", says "hello\n")
        end))
      end
    end)

    it("not where nobody listens, and says what may be done", function()
      assert.equal("pilot.net.connect: cannot connect to db:1: connection refused; nobody listens there: is it "
        .. 'running, is the port right? retry = "30s" waits for it', message('pilot.net.connect "db:1"', function(box)
        box:tcp("db:1", "down")
      end))
      assert.equal("pilot.net.connect: cannot connect to db:1: no answer within 2s; timeout allows more",
        message('pilot.net.connect("db:1", { timeout = "2s" })', function(box) box:tcp("db:1", "hangs") end))
    end)

    it("again and again, as long as retry says", function()
      local box = load [[
        pilot.job "db" { exec = "db" }
        pilot.job "main" { run = function() say(pilot.net.connect("localhost:1", { retry = "30s" }):read_line()) end }
      ]]
      box:program("db", { start_delay = "10s", listens = "127.0.0.1:1", serves = says "welcome\n" })
      box:start():advance "20s"
      assert.equal("welcome", said(box))
    end)

    it("to what is an address, with options that there are", function()
      local EXPECTED = 'pilot.net.connect: expected "host:port" such as "localhost:80"'
      for value, words in pairs {
        ["'/run/x.sock'"] = '; write "unix:///run/x.sock"', ["'unix://run/x'"] = '; write "unix:///run/x"',
        ["'unix:'"] = "; the path names no socket", ["'unix:///'"] = "; the path names no socket",
        ["'redis://db:1'"] = '; it is no URL: write only "db:1"', ["'db'"] = '; the port is missing: write for example',
        ["6379"] = 'the host is missing: write "localhost:6379"', ["'::1:80'"] = 'in brackets: "%[::1%]:80"',
        ["nil"] = "got nothing", ["{}"] = "got an empty table",
      } do
        local found = message(("pilot.net.connect(%s)"):format(value))
        assert.equal(EXPECTED, found:sub(1, #EXPECTED), value)
        assert.matches(words, found)
      end
      assert.equal("pilot.net.connect: the port 65536 is not within 1-65535", message 'pilot.net.connect "a:65536"')
      assert.equal("pilot.net.connect: contains a NUL byte", message 'pilot.net.connect "unix:/a\\0b"')
      assert.equal('pilot.net.connect.timout: unknown field (did you mean "timeout"?)',
        message 'pilot.net.connect("a:1", { timout = 1 })')
      assert.equal("pilot.net.connect.tls: there is no TLS: for HTTP there is pilot.http",
        message 'pilot.net.connect("a:1", { tls = true })')
      assert.matches("^pilot.net.connect: expected a table such as", message 'pilot.net.connect("a:1", 5)')
    end)

    it("in tasks only", function()
      assert.matches("pilot.net.connect waits, and the top level of a pilot.lua only declares",
        boxes.mistakes 'pilot.net.connect "a:1"')
    end)

    it("and says at whose line it went wrong", function()
      local box = load "pilot.job 'main' { run = function()\npilot.net.connect 'a:1'\nend }"
      box:tcp("a:1", "down")
      box:start():advance "1s"
      assert.matches("pilot.lua:2: pilot.net.connect: cannot connect", box:forget_errors()[1])
      box = talk(says(), "\ns:read_line { timout = 1 }")
      assert.matches('pilot.lua:4: pilot.net: 127.0.0.1:6379: read_line: options.timout: unknown field %(did you '
        .. 'mean "timeout"', box:forget_errors()[1])
    end)
  end)

  -- --- whose it is ---------------------------------------------------------------------------------

  describe("closes a stream", function()
    -- What the server hears in the end, and when.
    local function heard(body, advance)
      local box, ends = load(body), {}
      box:server(PLACE, function(conn)
        while conn:read() do end
        ends[#ends + 1] = math.floor(box.world:elapsed() + 0.5)
      end)
      box:start():advance(advance or "1m")
      return box, table.concat(ends, " ")
    end

    local OPEN = "local s = pilot.net.connect '127.0.0.1:6379' "

    for what, body in pairs {
      ["when its task has ended"] = "pilot.spawn(function() " .. OPEN .. " pilot.sleep '3s' end)",
      ["when its task has raised"] = "pilot.spawn(function() " .. OPEN .. " pilot.sleep '3s' error 'OOPS' end)",
      ["when its task is cancelled while it reads"] = "pilot.spawn(function() local t = pilot.spawn(function() " .. OPEN
        .. " s:read(1, { timeout = '1h' }) end) pilot.sleep '3s' t:cancel() end)",
      ["when its task is cancelled while it writes"] = "pilot.spawn(function() pilot.timeout('3s', function() " .. OPEN
        .. " while true do s:write(('x'):rep(1000)) pilot.sleep '10ms' end end) end)",
      ["when its task goes on waiting although it was cancelled"] = "pilot.spawn(function() pilot.timeout('3s', "
        .. "function() " .. OPEN .. " while true do pcall(pilot.sleep, '1h') end end) end)",
      ["at once"] = "pilot.spawn(function() " .. OPEN .. " pilot.sleep '3s' s:close() s:close() pilot.sleep '1h' end)",
    } do
      it(what, function()
        local box, ends = heard(body)
        assert.equal("3", ends)
        box:forget_errors()
      end)
    end

    it("when the pilot ends", function()
      local box, ends = heard("pilot.job 'main' { run = function() " .. OPEN .. " s:read(1, { timeout = '1h' }) end }",
        "3s")
      assert.equal("", ends)
      box:stop()
      box.world:advance "1s"
      box, ends = heard("pilot.job 'main' { run = function() " .. OPEN .. " s:read(1, { timeout = '1h' }) end }", "3s")
      box:signal "SIGKILL"
      box.world:advance "1s"
      assert.equal("", ends)
    end)

    it("that a task was still opening when it was cancelled", function()
      local box = load [[
        pilot.spawn(function()
          say(pilot.timeout("1s", function() pilot.net.connect("slow:1", { timeout = "1m" }) end))
        end)
      ]]
      box:tcp("slow:1", "hangs")
      box:start():advance "2m"
      assert.equal("nil\ttimeout", said(box))
    end)

    it("under whoever reads it", function()
      local box = talk(function(conn) conn:sleep "1h" end, [[
        local t = pilot.spawn(function() fails(s.read_line, s, { timeout = "1h" }) end)
        pilot.sleep "1s"
        s:close()
        t:wait()
        local inner
        t = pilot.spawn(function() inner = pilot.net.connect "127.0.0.1:6379" pilot.sleep "1s" end)
        pilot.sleep "500ms"
        fails(inner.read_line, inner, { timeout = "1h" })
      ]])
      assert.equal(("false\tpilot.net: %s: read_line: it is closed: close() was called\n"
        .. "false\tpilot.net: %s: read_line: it is closed: the task that opened it has ended"):format(PLACE, PLACE),
        said(box))
    end)
  end)

  describe("shares a stream", function()
    it("with other tasks, of which one may read and another write", function()
      local box = talk({ ["*"] = function(line) return "you said " .. line .. "\n" end }, [[
        local reader = pilot.spawn(function() for _ = 1, 2 do say(s:read_line()) end end)
        pilot.sleep "1s"
        s:write "one\n"
        s:write "two\n"
        reader:wait()
      ]])
      assert.equal("you said one\nyou said two", said(box))
    end)

    it("not with a second one who reads, or writes", function()
      local box = talk(function(conn) conn:sleep "10s" conn:write "a\n" conn:sleep "10s" end, [[
        local reader = pilot.spawn(function() say("got", s:read_line { timeout = "1m" }) end)
        local writer = pilot.spawn(function() fails(s.write, s, ("x"):rep(1e6), { timeout = "1m" }) end)
        pilot.sleep "1s"
        fails(s.read, s)
        fails(s.write, s, "x")
        reader:wait()
        s:close()
        writer:wait()
      ]])
      local at = "pilot.net: " .. PLACE
      assert.equal(("false\t%s: read: another task reads at this moment\n"
        .. "false\t%s: write: another task writes at this moment\ngot\ta\n"
        .. "false\t%s: write: it is closed: close() was called"):format(at, at, at), said(box))
    end)
  end)

  describe("is closed by a call that is cancelled on its way", function()
    it("to read: the answer would be taken for that of the next question", function()
      local box = talk({ ["get *"] = function(line) return "value of " .. line:sub(5) .. "\n" end }, [[
        local function get(key) s:write("get " .. key .. "\n") pilot.sleep "10ms" return s:read_line() end
        say(pilot.timeout("1ms", s.read_line, s))
        fails(get, "b")
        fails(s.read_line, s)
      ]])
      assert.equal(("nil\ttimeout\nfalse\tpilot.net: %s: write: it is closed: read_line was cancelled\n"
        .. "false\tpilot.net: %s: read_line: it is closed: read_line was cancelled"):format(PLACE, PLACE), said(box))
    end)

    it("to write: what comes next would be a part of it", function()
      local box = talk(function(conn) conn:sleep "1h" end, [[
        say(pilot.timeout("1s", s.write, s, ("A"):rep(1e6)))
        fails(s.write, s, "PING\n")
      ]])
      assert.equal(("nil\ttimeout\nfalse\tpilot.net: %s: write: it is closed: write was cancelled"):format(PLACE),
        said(box))
    end)

    it("before it could wait", function()
      local box = talk(function(conn) conn:sleep "1h" end, [[
        local t = pilot.spawn(function()
          pcall(pilot.sleep, "1h")
          s:write(("A"):rep(1e6))
        end)
        pilot.sleep "1s"
        t:cancel()
        pilot.sleep "1s"
        fails(s.read_line, s)
      ]])
      assert.equal(("false\tpilot.net: %s: read_line: it is closed: write was cancelled"):format(PLACE), said(box))
    end)

    it("and by none that waits no more", function()
      local box = talk(says("one\n", "two\n"), [[
        pilot.sleep "1s"
        local line = pilot.timeout("1s", s.read_line, s)
        pilot.sleep "2s"
        say(line, s:read_line())
      ]])
      assert.equal("one\ttwo", said(box))
    end)
  end)

  it("gives what one who reads no more has said", function()
    local box = talk(says "-ERR max number of clients reached\n", [[
      pilot.sleep "1s"
      fails(s.write, s, "PING\n")
      fails(s.write, s, "PING\n")
      say(s:read_line(), s:read_line())
    ]])
    assert.equal(("false\tpilot.net: %s: write: broken pipe\nfalse\tpilot.net: %s: write: it is closed for writing: "
      .. "write failed before (broken pipe)\n-ERR max number of clients reached\tnil"):format(PLACE, PLACE), said(box))
  end)

  it("gives what came before a reset", function()
    local box = talk(function(conn)
      conn:write "hello\nhalf"
      conn:sleep "200ms"
      conn:reset()
    end, "pilot.sleep '1s' fails(s.read_line, s) fails(s.read_line, s)")
    assert.equal(("true\thello\nfalse\tpilot.net: %s: read_line: connection reset by peer"):format(PLACE), said(box))
  end)

  it("lets others go on while it has all that it is asked for", function()
    local box = talk(function(conn)
      conn:write(("\n"):rep(10000))
      conn:sleep "1h"
    end, [[
      local ticks = 0
      local function tick() for _ = 1, 10 do pilot.sleep(0) ticks = ticks + 1 end end
      pilot.sleep "1s"
      pilot.spawn(tick)
      for _ = 1, 1000 do s:read_line() end
      say(ticks)
      s = pilot.net.connect "127.0.0.1:6379"
      pilot.spawn(tick)
      for _ = 1, 1000 do s:write "x" end
      say(ticks)
    ]])
    assert.equal("10\n20", said(box))
  end)

  it("counts no pause of the machine", function()
    local box = load [[
      pilot.job "main" { run = function()
        local s = pilot.net.connect("127.0.0.1:6379", { timeout = "2s" })
        say(s:read_line())
        say(select(2, pcall(pilot.net.connect, "slow:1", { timeout = "2s" })))
      end }
    ]]
    box:server(PLACE, function(conn)
      conn:sleep "1500ms"
      conn:write "answer\n"
    end)
    box:tcp("slow:1", "hangs")
    box:start():advance "1s"
    box:pause "1h"
    box:advance "1s"
    box:pause "1h"
    box:advance "10s"
    assert.matches("^answer\npilot.net.connect: cannot connect to slow:1: no answer within 2s", said(box))
  end)

  it("has no longest timeout", function()
    local box = talk(says("a\n"), [[
      say(pilot.net.connect("127.0.0.1:6379", { timeout = 1e300 }):read_line())
      say(s:read_line { timeout = 1e300 })
      say((pilot.timeout(1e300, s.read_line, s)))
      pilot.after(1e300, function() end)
      say(pilot.timeout("1s", pilot.sleep, 1e300))
    ]])
    assert.equal("a\na\nnil\nnil\ttimeout", said(box))
  end)

  it("lets others go on while a flood is read", function()
    local box = talk(function(conn)
      while conn:write((("x"):rep(499) .. "\n"):rep(30)) do end
    end, [[
      local ticks = 0
      pilot.every("1ms", function() ticks = ticks + 1 end)
      local stop = pilot.now() + 0.05
      while pilot.now() < stop do s:read_line() end
      say(ticks >= 20)
    ]])
    assert.equal("true", said(box))
  end)

  it("gives what is a stream, and says what it has", function()
    local box = talk(says(), [[
      say(tostring(s))
      fails(function() return s.readline end)
      fails(function() s.x = 1 end)
      fails(s.close)
      fails(s.read_line, {})
      fails(function() return pilot.net.conect end)
      fails(function() pilot.exec(s) end)
    ]])
    assert.equal(table.concat({ "stream to " .. PLACE, 'false\ta stream has no "readline" (did you mean "read_line"?)',
      'false\ta stream\'s "x" cannot be set', "false\tstream:close: call it with a colon: stream:close(…)",
      "false\tstream:read_line: call it with a colon: stream:read_line(…)",
      'false\tpilot.net has no "conect" (did you mean "connect"?)' }, "\n"), said(box):match "^(.*)\n")
    assert.matches("got a stream", said(box))
  end)

  -- --- the simulator -------------------------------------------------------------------------------

  describe("in the simulator", function()
    it("is an error where nobody described the server", function()
      local box = load "pilot.job 'main' { run = function() pcall(pilot.net.connect, 'db:1') end }"
      box:start():advance "1s"
      assert.same({ [[pilot.lua:1: nobody described the server "db:1": box:server("db:1", { ["a line"] = ]]
        .. [["its answer\n" }), or box:tcp("db:1", "down") [seed 1] ]] }, { box:forget_errors()[1] .. " " })
      box = load "pilot.job 'main' { run = function() pilot.net.connect 'db:1' end }"
      box:tcp("db:1", "up")
      box:start():advance "1s"
      assert.matches("nobody described the server", box:forget_errors()[1])
    end)

    it("answers lines from a table, by the longest pattern", function()
      local box = talk({
        ["get *"] = "some\n", ["get a*"] = function(line) return #line .. "\n" end, ["get abc"] = "exactly\n",
        ["say nothing"] = function() end, QUIT = false,
      }, [[
        for _, line in ipairs { "get x", "get ab", "get abc", "say nothing", "get y", "QUIT" } do
          s:write(line .. "\r\n")
        end
        for line in s:lines() do say(line) end
      ]])
      assert.equal("some\n6\nexactly\nsome", said(box))
    end)

    it("is an error where a line has no answer, and where a script fails", function()
      local box = talk({ a = "b\n" }, "s:write 'c\\n' say(s:read_line())")
      assert.equal("nil", said(box))
      assert.matches('nobody described what the server 127.0.0.1:6379 answers to "c"', box:forget_errors()[1])
      box = talk(function() error "OOPS" end, "fails(s.read_line, s)")
      assert.matches("connection reset by peer", said(box))
      assert.matches("the server 127.0.0.1:6379 failed: .*OOPS", box:forget_errors()[1])
    end)

    it("refuses a server that is none", function()
      local box = load "pilot.job 'main' { exec = 'x' }"
      for what, words in pairs {
        [5] = "a table of answers or a function", [{ "PONG" }] = "expected %[\"a line\"%] = ",
      } do
        local ok, message = pcall(box.server, box, PLACE, what)
        assert.is_false(ok)
        assert.matches(words, message)
      end
      local ok, message = pcall(box.server, box, "nowhere", {})
      assert.is_false(ok)
      assert.matches('box:server: expected "host:port" or "unix:/path", got nowhere', message)
    end)

    it("serves by a program, as long as that lives", function()
      local box = load [[
        local app = pilot.job "app" { exec = "app", restart = "never" }
        pilot.job "main" { run = function()
          local s = pilot.net.connect("unix:/run/app.sock", { retry = "10s" })
          s:write "PING\n"
          say(s:read_line())
          app:stop()
          say(s:read_line())
          say(select(2, pcall(pilot.net.connect, "unix:/run/app.sock")))
        end }
      ]]
      box:program("app", { start_delay = "1s", listens = "unix:/run/app.sock", serves = { PING = "PONG\n" },
        term_delay = "1s" })
      box:start():advance "1m"
      assert.matches("^PONG\nnil\npilot.net.connect: cannot connect to unix:/run/app.sock: connection refused;",
        said(box))
    end)

    it("says nothing for a program that is stopped, until it goes on", function()
      local box = load [[
        local app = pilot.job "app" { exec = "app" }
        pilot.job "main" { run = function()
          local s = pilot.net.connect("localhost:1", { retry = "10s" })
          app:signal "SIGSTOP"
          pilot.after("3s", function() app:signal "SIGCONT" end)
          local t = pilot.now()
          s:write "PING\n"
          say(s:read_line(), math.floor(pilot.now() - t + 0.5))
        end }
      ]]
      box:program("app", { listens = "localhost:1", serves = { PING = "PONG\n" } })
      box:start():advance "1m"
      assert.equal("PONG\t3", said(box))
    end)

    it("leads from one box to a program of another", function()
      local world = sim.world()
      local one = load("pilot.job 'db' { exec = 'db' }", { hostname = "db" }, world)
      one:program("db", { listens = "0.0.0.0:5432", serves = { hi = "hello\n" } })
      local other = load([[pilot.job "main" { run = function()
        local s = pilot.net.connect("db:5432", { retry = "5s" })
        s:write "hi\n"
        say(s:read_line())
      end }]], { hostname = "app" }, world)
      one:start()
      other:start():advance "10s"
      assert.equal("hello", said(other))
    end)

    it("breaks connections in a fuzz, and comes to the same with the same seed", function()
      local function setup(world)
        local box = load([[
          pilot.job "main" { restart = { policy = "always", backoff = "100ms", max_backoff = "1s" }, run = function()
            local s = pilot.net.connect("127.0.0.1:6379", { timeout = "2s" })
            while true do
              s:write "PING\n"
              pilot.state.pongs = (pilot.state.pongs or 0) + (s:read_line() == "PONG" and 1 or 0)
              pilot.sleep "1s"
            end
          end }
        ]], {}, world)
        boxes.forget(box)
        box:server(PLACE, { PING = "PONG\n" })
        return box
      end
      local function run()
        return sim.fuzz {
          seeds = 10, time = "1m", setup = setup, faults = { "cut", "tcp" }, errors = { "pilot%.net" },
          recovers = function(_, box)
            local before = box.seen
            box.seen = box.app.state.pongs
            return before and box.seen > before
          end,
        }
      end
      local first = run()
      assert.is_true((first.faults.cut or 0) > 0 and (first.faults.tcp or 0) > 0)
      assert.same(first, run())
    end)
  end)
end)
