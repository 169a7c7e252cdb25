-- Tasks: what waits, what cancels, what is left over.
local boxes = require "support.boxes"

describe("a task", function()
  after_each(boxes.check)

  local function printed(box)
    local list = {}
    for _, moment in ipairs(box.moments) do
      if moment.kind == "log" and moment.message:find "^> " then
        list[#list + 1] = ("%g %s"):format(math.floor(moment.at * 10 + 0.5) / 10, moment.message:sub(3))
      end
    end
    return list
  end

  -- Runs the body in a task at start-up.
  local function run(body, programs)
    local box = boxes.run(([[
      local function say(...)
        local parts = { ... }
        for i = 1, select("#", ...) do parts[i] = tostring(parts[i]) end
        print("> " .. table.concat(parts, " "))
      end
      pilot.on("startup", function() %s end)
    ]]):format(body), programs)
    box:advance "1h"
    return box
  end

  it("waits without holding up another", function()
    local box = run [[
      pilot.spawn(function() for i = 1, 3 do pilot.sleep "1s" say("a", i) end end)
      pilot.spawn(function() pilot.sleep "1500ms" say "b" end)
    ]]
    assert.same({ "1 a 1", "1.5 b", "2 a 2", "3 a 3" }, printed(box))
    assert.is_true(box.ended)
  end)

  it("gives its results to who waits for it", function()
    local box = run [[
      local t = pilot.spawn(function(...) pilot.sleep "1s" return select("#", ...), nil, "x" end, 1, nil, 3)
      say(t:wait())
      say(t:wait())
      say(pilot.spawn(function() pilot.sleep "1m" end):wait "2s")
    ]]
    assert.same({ "1 3 nil x", "1 3 nil x", "3 nil timeout" }, printed(box))
  end)

  it("gives its error to who waits for it, else to the log", function()
    local box = run [[
      local t = pilot.spawn(function() pilot.sleep "1s" error("mine", 0) end)
      local ok, err = pcall(t.wait, t)
      say(ok, (tostring(err):match "^[^\n]*"))
      pilot.spawn(function() pilot.sleep "1s" error("nobody's", 0) end)
    ]]
    assert.same({ "1 false mine" }, printed(box))
    local errors = box:forget_errors()
    assert.equal(1, #errors)
    assert.is_truthy(errors[1]:find("nobody's", 1, true))
  end)

  describe("that is cancelled", function()
    it("raises at its wait, and is then over", function()
      local box = run [[
        local t = pilot.spawn(function() pilot.sleep "1h" say "never" end)
        pilot.sleep "1s"
        t:cancel()
        say(t:wait())
      ]]
      assert.same({ "1 nil cancelled" }, printed(box))
    end)

    it("raises again at the next wait: no pcall outlives it", function()
      local box = run [[
        local t = pilot.spawn(function()
          for i = 1, 10 do
            local ok, err = pcall(pilot.sleep, "1h")
            say(i, ok, err)
          end
        end)
        pilot.sleep "1s"
        t:cancel()
      ]]
      assert.same({
        "1 1 false task cancelled: cancel", "1 2 false task cancelled: cancel", "1 3 false task cancelled: cancel",
      }, printed(box))
      assert.is_truthy(box:forget_errors()[1]:find("abandoned", 1, true))
    end)

    it("takes its children with it", function()
      local box = run [[
        local t = pilot.spawn(function()
          pilot.spawn(function()
            pilot.defer(function(why) say("child", why) end)
            pilot.sleep "1h"
          end)
          pilot.sleep "1h"
        end)
        pilot.sleep "1s"
        t:cancel()
      ]]
      assert.same({ "1 child cancel" }, printed(box))
    end)

    it("takes all of them, however deep they are nested", function()
      local box = run [[
        local ended = 0
        local function nest(n)
          pilot.defer(function() ended = ended + 1 end)
          if n > 1 then pilot.spawn(nest, n - 1) end
          pilot.sleep "1h"
        end
        local t = pilot.spawn(nest, 10000)
        pilot.sleep "1s"
        t:cancel()
        pilot.sleep "1s"
        say(ended)
      ]]
      assert.same({ "2 10000" }, printed(box))
    end)

    it("before it began never begins", function()
      local box = run [[ pilot.spawn(function() say "never" end):cancel() ]]
      assert.same({}, printed(box))
    end)

    it("kills the program that it waits for", function()
      local box = run([[
        local t = pilot.spawn(function() pilot.exec "long" end)
        pilot.sleep "1s"
        t:cancel()
        pilot.sleep "1s"
      ]], { long = { ignores = { "SIGTERM" } } })
      assert.same({}, box.port.kernel:alive())
    end)
  end)

  it("that ends leaves its children alone, that fails takes them along", function()
    local box = run [[
      pilot.spawn(function()
        pilot.spawn(function() pilot.sleep "2s" say "lives on" end)
      end)
      pilot.spawn(function()
        pilot.spawn(function() pilot.defer(function(why) say(why) end) pilot.sleep "5s" end)
        pilot.sleep "1s"
        error "oops"
      end)
    ]]
    assert.same({ "1 cancel", "2 lives on" }, printed(box))
    box:forget_errors()
  end)

  -- What ends with a task (a stream that it reads, its turn at a file) waits for that end, too: it hears no error.
  describe("that raises is heard", function()
    local BODIES = {
      ["before anything"] = "",
      ["after a stream that it has read"] = 'for _ in pilot.http.stream("http://web/short"):lines() do end',
      ["after a stream that it has closed"] = 'pilot.http.stream("http://web/long"):close()',
      ["in the middle of a stream"] = 'pilot.http.stream("http://web/long"):lines()()',
      ["in the middle of two streams"] = "for _ = 1, 2 do pilot.http.stream 'http://web/long' end",
      ["after a stream to a server that it has closed"] = "pilot.net.connect 'web:1':close()",
      ["in the middle of a stream to a server"] = "S = pilot.net.connect 'web:1' S:read_line()",
      ["in the middle of a render"] = 'pilot.render { text = "", to = "/f", data = function() error "OOPS" end }',
      ["after a file"] = 'pilot.fs.write("/f", "x") pilot.fs.read "/f"',
      ["beside a task"] = 'T = pilot.spawn(function() pilot.sleep "10s" end)',
    }
    for what, body in pairs(BODIES) do
      it(what, function()
        local box = boxes.load(("T, S = 1, 1\npilot.spawn(function()\n%s\nerror 'OOPS'\nend)"):format(body))
        box:http("http://web/short", { body = { "a\n", "b\n" } })
        box:http("http://web/long", { body = { "a\nb", "c" }, every = "1s", endless = true })
        box:server("web:1", function(conn) conn:write "a\nb" conn:sleep "1h" end)
        box:start():advance "5s"
        local errors = box:forget_errors()
        assert.equal(1, #errors, box:history())
        assert.matches("OOPS", errors[1])
        assert.matches("pilot.lua:%d+: in function", errors[1])
        assert.equal(1, boxes.logged(box, "OOPS"))
      end)
    end
  end)

  describe("with defer", function()
    it("runs it at the end, the last first, with the reason", function()
      local box = run [[
        pilot.spawn(function()
          pilot.defer(function(why) say("first", why) end)
          pilot.defer(function(why) pilot.sleep "1s" say("last", why) end)
        end)
        local t = pilot.spawn(function() pilot.defer(function(why) say("other", why) end) error("x", 0) end)
        pcall(t.wait, t)
      ]]
      assert.same({ "0 other error", "1 last done", "1 first done" }, printed(box))
    end)

    it("runs the others when one raises", function()
      local box = run [[
        pilot.defer(function() say "still" end)
        pilot.defer(function() error "oops" end)
      ]]
      assert.same({ "0 still" }, printed(box))
      assert.equal(1, #box:forget_errors())
    end)

    it("is shielded: a cancelled task may wait there, 30 s in all", function()
      local box = run [[
        local t = pilot.spawn(function()
          pilot.defer(function() say "never" end)
          pilot.defer(function() pilot.sleep "10s" say "10 s" pilot.sleep "1m" say "never" end)
          pilot.sleep "1h"
        end)
        pilot.sleep "1s"
        t:cancel()
        t:wait()
        say "over"
      ]]
      assert.same({ "11 10 s", "31 over" }, printed(box))
      assert.is_truthy(box:forget_errors()[1]:find("30s", 1, true))
    end)

    it("hears of the shutdown", function()
      local box = boxes.run [[
        pilot.spawn(function() pilot.defer(function(why) print("> " .. why) end) pilot.sleep "1h" end)
      ]]
      box:advance "1s"
      box:stop()
      assert.same({ "1 shutdown" }, printed(box))
    end)
  end)

  describe("with timeout", function()
    it("gives the results, or nil and timeout", function()
      local box = run [[
        say(pilot.timeout("2s", function(a) pilot.sleep "1s" return a, 2 end, 1))
        say(pilot.timeout("2s", function() pilot.sleep "5s" return "late" end))
        say(pcall(pilot.timeout, "2s", function() error("mine", 0) end))
      ]]
      local list = printed(box)
      assert.same({ "1 1 2", "3 nil timeout" }, { list[1], list[2] })
      assert.is_truthy(list[3]:find("^3 false mine"))
    end)

    it("runs what was deferred inside, with the reason timeout", function()
      local box = run [[
        pilot.timeout("1s", function() pilot.defer(function(why) say(why) end) pilot.sleep "5s" end)
        say "after"
      ]]
      assert.same({ "1 timeout", "1 after" }, printed(box))
    end)

    it("may be nested", function()
      local box = run [[
        say(pilot.timeout("5s", function() return "inner", pilot.timeout("1s", pilot.sleep, "2s") end))
        say(pilot.timeout("1s", function() return pilot.timeout("5s", pilot.sleep, "1m") end))
      ]]
      assert.same({ "1 inner nil timeout", "2 nil timeout" }, printed(box))
    end)
  end)

  it("may wait inside of the user's own coroutines, iterators and pcalls", function()
    local box = run [[
      local numbers = coroutine.wrap(function()
        for i = 1, 3 do
          pilot.sleep "1s"
          coroutine.yield(i)
        end
      end)
      for i in numbers do say(i) end
      local co = coroutine.create(function(a) local b = coroutine.yield(a + 1) pilot.sleep "1s" return b * 2 end)
      say(coroutine.resume(co, 1))
      say(coroutine.resume(co, 21))
      say(coroutine.status(co))
      say(select(2, pcall(function() pilot.sleep "1s" return "through pcall" end)))
    ]]
    assert.same({ "1 1", "2 2", "3 3", "3 true 2", "4 true 42", "4 dead", "5 through pcall" }, printed(box))
  end)

  it("cannot wait at the top level, and the message says what to do", function()
    for _, call in ipairs { 'pilot.sleep "1s"', 'pilot.exec "true"', 'a:start()', 'a:stop()', 'a:wait_for "healthy"',
      'pilot.timeout("1s", print)', "pilot.shutdown()", 'pilot.defer(print)', 'pilot.fs.write("/x", "")' } do
      local message = boxes.mistakes([[ local a = pilot.job "a" { exec = "a" } ]] .. call)
      assert.is_truthy(message:find("top level", 1, true), message)
    end
  end)

  describe("that a timer runs", function()
    it("every so often, first after the interval, never overlapping", function()
      local box = boxes.run [[
        local n = 0
        pilot.every("2s", function() n = n + 1 print("> " .. n) if n == 2 then pilot.sleep "3s" end end)
      ]]
      box:advance "11s"
      assert.same({ "2 1", "4 2", "8 3", "10 4" }, printed(box))
      box:stop()
    end)

    it("by cron", function()
      local box = boxes.run([[ pilot.cron("*/10 * * * *", function() print "> now" end) ]], {},
        { now = "2026-01-01 00:05:00" })
      box:advance "26m"
      assert.same({ "300 now", "900 now", "1500 now" }, printed(box))
      box:stop()
    end)

    it("once, after a while, until cancelled", function()
      local box = boxes.run [[
        pilot.after("1s", function() print "> once" end)
        local never = pilot.after("2s", function() print "> never" end)
        local every
        every = pilot.every("1s", function() print "> every" every:cancel() end)
        pilot.after("1500ms", function() never:cancel() end)
      ]]
      box:advance "1m"
      assert.same({ "1 every", "1 once" }, (function(list) table.sort(list) return list end)(printed(box)))
      assert.is_true(box.ended)
    end)

    it("whose error is logged, and the timer goes on", function()
      local box = boxes.run [[ pilot.every("10s", function() error "oops" end) ]]
      box:advance "35s"
      assert.equal(3, #box:forget_errors())
      box:stop()
    end)
  end)

  describe("that runs a program", function()
    it("gets its code and its output", function()
      local box = run([[
        local r = pilot.exec { "tool", "-x" }
        say(r.code, r.signal, r.stdout, r.stderr)
        r = pilot.exec("tool -y", { check = false })
        say(r.code, r.signal)
        r = pilot.exec("tool -z", { check = false })
        say(r.code, r.signal)
      ]], { ["tool -x"] = { exit = 0, stdout = "out", stderr = "err" }, ["tool -y"] = { exit = 3 },
        ["tool -z"] = { signal = "SIGSEGV" } })
      assert.same({ "0 0 nil out err", "0 3 nil", "0 139 SIGSEGV" }, printed(box))
    end)

    it("raises when it fails, is missing, or takes too long", function()
      local box = run([[
        say(pcall(pilot.exec, "tool"))
        say(pcall(pilot.exec, "missing"))
        say(pcall(pilot.exec, "slow", { timeout = "2s" }))
        say(pcall(pilot.exec, "big", { max_output = 10 }))
      ]], { tool = { exit = 3, stderr = "went wrong\n" }, missing = { spawn_error = "ENOENT" }, slow = {},
        big = { stdout = ("x"):rep(11) } })
      local list = printed(box)
      assert.is_truthy(list[1]:find('pilot.exec "tool": exit code 3: went wrong', 1, true))
      assert.is_truthy(list[2]:find("missing", 1, true))
      assert.is_truthy(list[3]:find("^2 false .*timed out after 2s"))
      assert.is_truthy(list[4]:find("more than 10 bytes", 1, true))
    end)

    it("gives it input, environment, directory and user", function()
      local proc
      run([[ pilot.exec("tool", { stdin = "typed", env = { A = 1 }, cwd = "/srv", user = "www" }) ]],
        { tool = function(p) proc = p end })
      assert.same({ "typed", "1", "/srv", "www" }, { proc.stdin, proc.env.A, proc.cwd, proc.user })
    end)

    it("waits for its whole group, and a shell is only there when asked for", function()
      local box = run([[
        pilot.exec(pilot.sh "a | b")
        say "done"
      ]], { ["/bin/sh -c"] = { exit = 0, grandchild = { ignores = { "SIGTERM" }, after = "5s" } } })
      assert.same({ "5 done" }, printed(box))
    end)
  end)

  it("that polls a descriptor runs its function once for each time it is ready", function()
    local box = boxes.load [[
      local n = 0
      local poll
      poll = pilot.poll(7, "r", function()
        n = n + 1
        print("> " .. n)
        pilot.sleep "1s"
        if n == 3 then poll:cancel() end
      end)
    ]]
    box:descriptor(7, "")
    box:start()
    box:advance "5s"
    assert.same({}, printed(box))
    box:descriptor(7, "r")
    box:advance "1m"
    assert.same({ "5 1", "6 2", "7 3" }, printed(box))
    assert.is_true(box.ended)
  end)

  it("sees pilot.state, args, log, json, fs", function()
    local box = boxes.run([[
      pilot.state.count = (pilot.state.count or 0) + 1
      pilot.on("startup", function()
        print("> " .. pilot.state.count .. " " .. #pilot.args .. " " .. pilot.json.encode({ 1, 2 }))
        print("> " .. tostring(pilot.fs.exists "/etc/a") .. tostring(pilot.fs.exists "/etc/b"))
        pilot.fs.write("/etc/a", "new")
        pilot.log.warn("careful", { why = "spec" })
      end)
    ]], {}, { args = { "x", "y" }, files = { ["/etc/a"] = { content = "old", mode = 416, uid = 33 } } })
    box:advance "1s"
    assert.same({ "0 1 2 [1,2]", "0 truefalse" }, printed(box))
    assert.equal("new", box:file "/etc/a")
    local node = box.files:node "/etc/a"
    assert.same({ 416, 33 }, { node.mode, node.uid })
    assert.equal(1, boxes.logged(box, "careful"))
  end)

  it("leaves the old file, and nothing else, when a write fails", function()
    for _, fault in ipairs { { "rename", "EACCES" }, { "rename", "EROFS" } } do
      local box = boxes.run([[
        pilot.on("SIGUSR1", function() print("> " .. tostring(pcall(pilot.fs.write, "/etc/a", "new"))) end)
      ]], {}, { files = { ["/etc/a"] = "old" } })
      box:fault(fault[1], "/etc/a", fault[2])
      box:signal "SIGUSR1"
      assert.same({ "0 false" }, printed(box))
      assert.equal("old", box:file "/etc/a")
      for path in pairs(box.files.nodes) do assert.is_nil(path:find "luapilot%-") end
    end
  end)

  describe("that would wait for itself", function()
    local OWN = "task:wait: the task would wait for its own end"
    local EACH_OTHER = "task:wait: that task waits for this one already: both would wait for ever"

    local function raises(source, message, line)
      local box = boxes.run(source)
      box:advance "1m"
      local errors = box:forget_errors()
      assert.equal(1, #errors)
      assert.is_truthy(errors[1]:find(("pilot.lua:%d: %s"):format(line, message), 1, true), errors[1])
      assert.is_true(box.ended)
    end

    it("gets an error: directly, with a timeout, in its own defer", function()
      raises([[ local h
        h = pilot.spawn(function() h:wait() end) ]], OWN, 2)
      raises([[ local h
        h = pilot.spawn(function() h:wait "5s" end) ]], OWN, 2)
      raises([[ local h
        h = pilot.spawn(function() pilot.defer(function() h:wait() end) end) ]], OWN, 2)
    end)

    it("gets an error: a child that waits for who waits for it", function()
      raises([[ local h
        h = pilot.spawn(function()
          pilot.spawn(function()
            h:wait()
          end):wait()
        end) ]], EACH_OTHER, 4)
    end)

    it("gets an error: in a ring of three", function()
      raises([[ local a, b, c
        a = pilot.spawn(function() b:wait() end)
        b = pilot.spawn(function() c:wait() end)
        c = pilot.spawn(function()
          a:wait()
        end) ]], EACH_OTHER, 5)
    end)

    it("but not who waits for one that waited once, or for a while", function()
      local box = boxes.run [[
        local a, b
        a = pilot.spawn(function()
          print("> " .. tostring(select(2, b:wait "1s")))
          local t = pilot.spawn(function() b:wait() end)
          t:cancel()
          pilot.sleep "1s"
          return 7
        end)
        b = pilot.spawn(function() print("> " .. a:wait()) end)
      ]]
      box:advance "1m"
      assert.same({ "1 timeout", "2 7" }, printed(box))
      assert.is_true(box.ended)
    end)
  end)
end)
