-- What a pilot.lua sees of a job, asks of it and tells it.
local boxes = require "support.boxes"

describe("a job", function()
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

  local SAY = [[
    local function say(...)
      local parts = { ... }
      for i = 1, select("#", ...) do parts[i] = tostring(parts[i]) end
      print("> " .. table.concat(parts, " "))
    end
  ]]

  -- A pilot with a job "app", and a task that does something with it.
  local function run(fields, body, behaviour, time)
    local box = boxes.load(SAY .. ([[
      local app = pilot.job "app" { exec = "app" %s }
      pilot.on("startup", function() %s end)
    ]]):format(fields, body))
    box:program("app", behaviour or {})
    box:tcp("localhost:1", "down")
    box:start()
    box:advance(time or "1m")
    return box, box:job "app"
  end

  it("shows its fields", function()
    local box, app = run(', restart = "always"', [[
      say(app.name, app.state, app.running, app.health, app.exit, app.restarts)
      pilot.sleep "1s"
      say(app.state, app.running, app.pid, math.floor(app.since - pilot.now() + 0.5))
      pilot.sleep "5s"
      say(app.state, app.running, app.pid, app.exit.code, app.exit.reason, app.restarts)
    ]], { { exit = 3, after = "5500ms" }, {} })
    local pid = box:spawns "app"[1].child.group.leader.pid
    local list = printed(box)
    assert.equal(("1 running true %d -1"):format(pid), list[2])
    assert.equal("6 backoff false nil 3 exit 1", list[3])
    assert.equal(1, app.restarts)
  end)

  it("says what it has not, and what cannot be set", function()
    local _ = run("", [[
      say(pcall(function() return app.helth end))
      say(pcall(function() app.state = 1 end))
      say(pcall(function() return pilot.jb end))
      say(tostring(app))
    ]])
    local list = printed(_)
    assert.is_truthy(list[1]:find('did you mean "health"', 1, true))
    assert.is_truthy(list[2]:find("cannot be set", 1, true))
    assert.is_truthy(list[3]:find('did you mean "job"', 1, true))
    assert.equal('0 job "app"', list[4])
  end)

  describe("wait_for", function()
    it("returns at once when it is so now", function()
      local box = run("", [[
        pilot.sleep "1s"
        say(app:wait_for "running")
        say(app:wait_for("running", 0))
      ]])
      assert.same({ "1 true", "1 true" }, printed(box))
    end)

    it("waits for every state", function()
      for state, expected in pairs {
        healthy = "1.5", unhealthy = "42", exited = "50", exit_failed = "50", stopped = "50", running = "0",
      } do
        local box = boxes.load(SAY .. ([[
          local app = pilot.job "app" { exec = "app", health = { tcp = "localhost:1", interval = "10s" } }
          pilot.on("startup", function() say(app:wait_for %q) end)
        ]]):format(state))
        box:program("app", { exit = 3, after = "50s" })
        box:tcp("localhost:1", "down")
        box:start()
        box:advance "1s"
        box:tcp("localhost:1", "up")
        box:advance "12s"
        box:tcp("localhost:1", "down")
        box:advance "1m"
        local at = tonumber(printed(box)[1]:match "^%S+")
        assert.is_truthy(printed(box)[1]:find(" true", 1, true))
        assert.near(tonumber(expected), at, 2, state)
      end
    end)

    it("gives nil and timeout", function()
      local box = run("", [[ say(app:wait_for("exited", "5s")) ]])
      assert.same({ "5 nil timeout" }, printed(box))
    end)

    it("gives nil and why it can no longer come", function()
      local box = run("", [[
        say(app:wait_for "exit_success")
        say(app:wait_for "healthy")
      ]], { exit = 3, after = "2s" })
      assert.same({ "2 nil complete", "2 nil complete" }, printed(box))
    end)

    it("is of the last run", function()
      local box = run(', restart = 1', [[
        say(app:wait_for "exit_failed")
        say(app:wait_for "exit_success")
      ]], { { exit = 1, after = "1s" }, { exit = 0, after = "5s" } })
      local list = printed(box)
      assert.equal(2, #list)
      assert.is_truthy(list[2]:find "true")
    end)

    it("refuses a state that there is not", function()
      local box = run("", [[ say(pcall(app.wait_for, app, "started")) ]])
      assert.is_truthy(printed(box)[1]:find('use "running"', 1, true))
    end)
  end)

  it("next waits for the next time, whatever is so now", function()
    local box = run(', restart = { backoff = 0 }', [[
      say(app:next("exit_failed").code)
      say(app:next("exit_failed").code)
      say(app:next("exit_failed", "2s"))
    ]], { exit = 4, after = "5s" })
    assert.same({ "5 4", "10 4", "12 nil timeout" }, printed(box))
  end)

  it("next gives lines", function()
    local box = run("", [[ say(app:next("output").line) ]], { stdout = "hello\n", start_delay = "2s" })
    assert.same({ "2 hello" }, printed(box))
  end)

  describe("start", function()
    it("returns when the process exists, and raises when it cannot", function()
      local box = boxes.run(SAY .. [[
        local good = pilot.job "good" { exec = "good", when = "manual" }
        local bad = pilot.job "bad" { exec = "bad", when = "manual" }
        local short = pilot.job "short" { exec = "short", when = "manual" }
        pilot.on("startup", function()
          good:start()
          say(good.running)
          say(pcall(bad.start, bad))
          short:start()
          say "short"
          good:start()
          say(good.restarts)
        end)
      ]], { good = {}, bad = { spawn_error = "ENOENT" }, short = { exit = 1 } })
      box:advance "1m"
      local list = printed(box)
      assert.equal("0 true", list[1])
      assert.is_truthy(list[2]:find('^0 false .*job "bad" cannot be started: .*bad'))
      assert.equal("0 short", list[3])
      assert.equal("0 0", list[4])
      assert.equal(1, box:job "good":starts())
      box:stop()
    end)

    it("starts a complete job again", function()
      local box, app = run("", [[ app:wait_for "exited" pilot.sleep "1s" app:start() ]],
        { { exit = 0, after = "1s" }, {} })
      assert.equal(2, app:starts())
      assert.is_false(box.ended)
    end)
  end)

  it("restart stops and starts it, and returns when it runs again", function()
    local box, app = run("", [[
      pilot.sleep "1s"
      local before = app.pid
      app:restart()
      say(app.running, app.pid ~= before, app.restarts)
    ]], { term_delay = "2s" })
    assert.same({ "3 true true 0" }, printed(box))
    assert.equal("stopping stopped", boxes.events(box, "app"))
    assert.equal(2, app:starts())
  end)

  it("restart names the line of pilot.lua when it cannot be started", function()
    local box = run("", [[ pilot.sleep "1s" say(pcall(app.restart, app)) pcall(function() app:restart() end) ]],
      { {}, { spawn_error = "EACCES" } })
    assert.is_truthy(printed(box)[1]:find('job "app" cannot be started', 1, true))
    assert.is_nil(printed(box)[1]:find("object.lua", 1, true))
  end)

  it("restart of a job that does not run starts it", function()
    local box, app = run(', when = "manual"', [[ app:restart() say(app.running) ]])
    assert.same({ "0 true" }, printed(box))
    assert.equal(1, app:starts())
  end)

  describe("reload", function()
    local function count(app) return app:received "SIGHUP" end

    -- What the log says of reloads: "0 SIGHUP", "3 function".
    local function logged(box)
      local list = {}
      for _, entry in ipairs(box:log()) do
        if entry.message == 'job "app": reloading' then
          list[#list + 1] = ("%d %s"):format(entry.at, entry.fields and entry.fields.signal or "function")
        end
      end
      return list
    end

    it("sends its signal to the leader, and says so", function()
      local box, app = run(', reload = "SIGHUP"', [[ pilot.sleep "5s" say(app:reload()) ]],
        { start_delay = "100ms", on = { SIGHUP = function() end }, grandchild = {} })
      assert.same({ "5 true" }, printed(box))
      assert.equal(1, count(app))
      assert.is_true(app.running)
      assert.equal(2, #box.port.kernel:alive())
      assert.same({ "5 SIGHUP" }, logged(box))
    end)

    it("of a job that does not run is false", function()
      local box = run(', reload = "SIGHUP", when = "manual"', [[ say(app:reload()) ]])
      assert.same({ "0 false" }, printed(box))
      assert.same({}, logged(box))
    end)

    it("is deferred while the job is younger than a second, and coalesced", function()
      local box, app = run(', reload = "SIGHUP"', [[
        app:wait_for "running"
        for _ = 1, 5 do say(app:reload()) pilot.sleep "100ms" end
      ]], { start_delay = "800ms", on = { SIGHUP = function() end } })
      assert.equal(5, #printed(box))
      assert.equal(1, count(app))
      assert.same({ "1 SIGHUP" }, logged(box))
      assert.is_true(app.running)
    end)

    it("is deferred while the job is not yet healthy", function()
      local box = boxes.load [[
        local app = pilot.job "app" {
          exec = "app", reload = "SIGHUP", health = { tcp = "localhost:1", interval = "10s", fall = 10 },
        }
        pilot.on("startup", function() pilot.sleep "3s" app:reload() end)
      ]]
      box:program("app", { on = { SIGHUP = function() end } })
      box:tcp("localhost:1", "down")
      box:start()
      box:advance "15s"
      local app = box:job "app"
      assert.equal(0, count(app))
      box:tcp("localhost:1", "up")
      box:advance "11s"
      assert.equal("healthy", app.health)
      assert.equal(1, count(app))
    end)

    it("that was deferred is forgotten when the job ends first", function()
      local box, app = run(', reload = "SIGHUP", restart = { backoff = 0 }', [[
        app:wait_for "running"
        app:reload()
      ]], { { exit = 0, after = "500ms" }, { on = { SIGHUP = function() end } } })
      assert.equal(2, app:starts())
      assert.equal(0, count(app))
      assert.is_false(box.ended)
    end)

    it("may be a function", function()
      local box = run(', reload = function(job) pilot.exec "reloader" say("reloaded", job.name) end', [[
        pilot.sleep "2s"
        app:reload()
      ]])
      assert.same({}, printed(box))
      box:forget_errors()
      box = boxes.run(SAY .. [[
        local app = pilot.job "app" {
          exec = "app", reload = function(job) pilot.exec "reloader" say("reloaded", job.name) end,
        }
        pilot.after("2s", function() app:reload() end)
      ]], { app = {}, reloader = { exit = 0, after = "1s" } })
      box:advance "1m"
      assert.same({ "3 reloaded app" }, printed(box))
      assert.same({ "2 function" }, logged(box))
    end)

    it("without reload is an error", function()
      local box = run("", [[ pilot.sleep "2s" say(pcall(app.reload, app)) ]])
      assert.is_truthy(printed(box)[1]:find("has no reload", 1, true))
    end)
  end)

  it("signal sends any signal to the leader", function()
    local box, app = run("", [[
      pilot.sleep "1s"
      say(app:signal "SIGUSR2")
      say(pcall(app.signal, app, "USR2"))
      app:stop()
      say(app:signal "SIGUSR2")
    ]], { ignores = { "SIGUSR2" } })
    local list = printed(box)
    assert.equal("1 true", list[1])
    assert.is_truthy(list[2]:find('did you mean "SIGUSR2"', 1, true))
    assert.equal("1 false", list[3])
    assert.equal(1, app:received "SIGUSR2")
  end)

  describe("with prepare", function()
    it("starts when that is done, each time", function()
      local box, app = run(', restart = { backoff = 0 }, prepare = function(job) pilot.sleep "2s" end', "",
        { { exit = 1, after = "1s" }, {} })
      assert.equal("running", app.state)
      local list = box:spawns "app"
      assert.near(2, list[1].at, 0.01)
      assert.near(5, list[2].at, 0.02)
    end)

    it("fails when that raises", function()
      local box, app = run(', prepare = function() error("no template", 0) end', "")
      assert.equal(0, app:starts())
      assert.same({ 1, "prepare" }, { app.exit.code, app.exit.reason })
      assert.equal("exit_failed stopped", boxes.events(box, "app"))
      assert.equal(1, box.exit_code)
      assert.equal(1, boxes.logged(box, "no template")) -- with its traceback
      assert.equal(1, boxes.logged(box, 'job "app": prepare failed'))
      assert.is_truthy(box:forget_errors()[1]:find("no template", 1, true))
    end)

    it("that fails is tried again by the restart policy", function()
      local box = boxes.run([[
        local n = 0
        pilot.job "app" {
          exec = "app", restart = "on_failure",
          prepare = function() n = n + 1 if n < 3 then error("not yet", 0) end end,
        }
      ]], { app = {} })
      box:advance "10s"
      assert.is_true(box:job "app".running)
      assert.equal(2, box:job "app".restarts)
      assert.equal(2, #box:forget_errors())
    end)

    it("that is stopped meanwhile never starts", function()
      local box, app = run([[, prepare = function()
        pilot.defer(function(why) print("> " .. why) end)
        pilot.sleep "1h"
      end]], [[
        pilot.sleep "1s"
        say(app.state)
        app:stop()
        say(app.state)
      ]])
      local list = printed(box)
      table.sort(list)
      assert.same({ "1 cancel", "1 preparing", "1 stopped" }, list)
      assert.equal(0, app:starts())
    end)

    it("that hangs does not hold up a shutdown", function()
      local box = boxes.run([[ pilot.job "app" { exec = "app", prepare = function() pilot.sleep "1h" end } ]], {})
      box:advance "1s"
      box:signal "SIGTERM"
      box:advance "100ms"
      assert.is_true(box.ended)
    end)
  end)

  it("with timeout is killed, which is 124", function()
    local box, app = run(', timeout = "5s"', "",
      { ignores = { "SIGTERM" }, grandchild = { ignores = { "SIGTERM" } } })
    assert.same({ 124, "timeout" }, { app.exit.code, app.exit.reason })
    assert.near(5, boxes.times(box, "app", "exit_failed")[1], 0.01)
    assert.equal(1, app:received "SIGKILL")
    assert.equal(124, box.exit_code)
  end)

  describe("written in Lua", function()
    it("succeeds when it returns, fails when it raises", function()
      local box = boxes.run [[
        pilot.job "good" { run = function(job) pilot.sleep "2s" print("> " .. job.name) end }
        pilot.job "bad" { run = function() error("oops", 0) end }
      ]]
      box:advance "5s"
      assert.same({ "2 good" }, printed(box))
      assert.equal("exit_success stopped", boxes.events(box, "good"))
      assert.equal("exit_failed stopped", boxes.events(box, "bad"))
      assert.equal(1, box.exit_code)
      box:forget_errors()
    end)

    it("is restarted, timed out, stopped like any other", function()
      local box = boxes.run [[
        local n = 0
        pilot.job "a" { restart = 2, run = function() n = n + 1 error("oops", 0) end }
        pilot.job "b" { timeout = "3s", run = function() pilot.sleep "1h" end }
        local c = pilot.job "c" {
          run = function()
            pilot.defer(function(why) print("> " .. why) end)
            pilot.sleep "1h"
          end,
        }
        pilot.after("5s", function() c:stop() print("> " .. c.state) end)
      ]]
      box:advance "1m"
      assert.equal(3, box:job "a":starts())
      assert.equal(124, box:job "b".exit.code)
      assert.same({ "5 cancel", "5 stopped" }, printed(box))
      box:forget_errors()
      box:stop()
    end)

    it("that goes on waiting when it is stopped is abandoned", function()
      local box = boxes.run [[
        local a = pilot.job "a" {
          run = function() while true do pcall(pilot.sleep, "1h") end end,
        }
        pilot.after("1s", function() a:stop() print("> " .. a.state) end)
      ]]
      box:advance "1m"
      assert.same({ "1 stopped" }, printed(box))
      assert.is_truthy(box:forget_errors()[1]:find("abandoned", 1, true))
    end)

    it("can be a condition for others", function()
      local box = boxes.run([[
        local setup = pilot.job "setup" { run = function() pilot.sleep "1s" end }
        pilot.job "app" { exec = "app", when = setup:once "exit_success" }
      ]], { app = { exit = 0 } })
      box:advance "5s"
      assert.near(1, box:spawns "app"[1].at, 0.01)
    end)
  end)

  it("starts its program as it is told", function()
    local proc
    local box = boxes.load [[
      pilot.job "app" {
        exec = { "app", "-x" }, env = { A = 1 }, env_file = "/etc/app.env", cwd = "/srv", user = "www", group = 7,
        umask = "027", limits = { nofile = { 10, "unlimited" } }, no_new_privs = true, oom_score_adj = 500,
        cgroup = { memory_max = "1M", cpu_max = 0.5 },
        log = { level = "warn", prefix = false, file = "/var/log/app" },
        stop_signal = "SIGINT", stop_timeout = "3s",
      }
    ]]
    box:write("/etc/app.env", "# comment\nexport B='two words'\nC=3=4\n\nA=0\n")
    box:program("app", function(p)
      proc = p
      p:print "line"
      p:sleep "1h"
    end)
    box:start()
    box:advance "1s"
    local options = box:spawns "app"[1].child.options
    assert.same({ "1", "two words", "3=4", "/home/www" }, { proc.env.A, proc.env.B, proc.env.C, proc.env.HOME })
    assert.same({ "/srv", "www", 7, 23, true, 500 },
      { options.cwd, options.user, options.group, options.umask, options.no_new_privs, options.oom_score_adj })
    assert.same({ nofile = { 10, -1 } }, options.limits)
    assert.same({ name = "app", memory_max = 2 ^ 20, cpu_max = 0.5 }, options.cgroup)
    assert.same({ "SIGINT", "SIGINT", 3 }, { options.end_signal, options.stop_signal, options.stop_timeout })
    assert.equal("line\n", box:file "/var/log/app")
  end)

  it("hears both its streams as one, in their order, when they are merged, before it has stopped", function()
    local box = boxes.load [[
      local app = pilot.job "app" { exec = "app", log = { merge = true } }
      app:on("output", function(event) print("> " .. event.stream .. " " .. event.line) end)
      app:on("stopped", function() print "> stopped" end)
    ]]
    box:program("app", function(p)
      for i = 1, 3 do
        p:print("out " .. i)
        p:print("err " .. i, "stderr")
      end
      p:exit(0)
    end)
    box:start()
    box:advance "1s"
    local expected = {}
    for i = 1, 3 do
      expected[#expected + 1] = "0 stdout out " .. i
      expected[#expected + 1] = "0 stdout err " .. i
    end
    expected[#expected + 1] = "0 stopped"
    assert.same(expected, printed(box))
    assert.equal("out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\n", box:output "app")
  end)

  it("shares the pilot's own environment with its check, with validators and with pilot.exec", function()
    local seen = {}
    local function look(proc)
      seen[proc.argv[1]] = { proc.env.HOME, proc.env.LUAPILOT_PID }
      if proc.argv[1] == "app" then proc:sleep "1h" end
      proc:exit(0)
    end
    local box = boxes.run([[
      pilot.job "app" { exec = "app", health = { exec = "check", interval = "1s" } }
      pilot.on("startup", function()
        pilot.render { text = "x", to = "/etc/app.conf", validate = "validate {file}" }
        pilot.exec "once"
      end)
    ]], { app = look, check = look, validate = look, once = look })
    box:advance "3s"
    local same = { "/root", seen.app[2] }
    assert.same({ app = same, check = same, validate = same, once = same }, seen)
    assert.matches("^%d+$", same[2])
  end)

  it("has an environment of its own with env_clear, and fails when env_file is not there", function()
    local proc
    local box = boxes.run([[
      pilot.job "app" { exec = "app", env = { A = 1 }, env_clear = true }
      pilot.job "bad" { exec = "app", env_file = "/none" }
    ]], { app = function(p) proc = p end }, { files = { ["/none"] = false } })
    box:advance "1s"
    assert.is_nil(proc.env.HOME)
    assert.equal("1", proc.env.A)
    assert.equal(126, box:job "bad".exit.code)
  end)

  it("has the standard input that it asks for, and the container's is one job's only", function()
    local inputs = {}
    boxes.run([[
      pilot.job "a" { exec = "app a" }
      pilot.job "b" { exec = "app b", stdin = "open" }
      pilot.job "c" { exec = "app c", stdin = "inherit" }
    ]], { app = function(proc) inputs[proc.argv[2]] = proc.input or "null" end }):advance "1s"
    assert.same({ a = "null", b = "open", c = "inherit" }, inputs)
    local message = boxes.mistakes [[
      pilot.job "a" { exec = "app", stdin = "inherit" }
      pilot.job "b" { exec = "app", stdin = "inherit" }
      pilot.job "c" { exec = "app", stdin = "null" }
    ]]
    local said = 'pilot.lua:2: job "b": stdin: is "inherit", as that of job "a": only one job can have'
    assert.is_truthy(message:find(said, 1, true), message)
    assert.is_nil(message:find('job "c"', 1, true), message)
  end)

  describe("whose start hangs", function()
    local box, app

    local function load(text, programs)
      box = boxes.load(text)
      for prefix, behaviour in pairs(programs or { app = {} }) do box:program(prefix, behaviour) end
      box:hang("path", "/dead")
      app = box:job "app"
      box:start()
    end

    local function said(pattern)
      local found = {}
      for _, line in ipairs(box:log()) do
        if line.message:find(pattern) then found[#found + 1] = line end
      end
      return found
    end

    it("is preparing, is named after ten seconds and each minute, and starts when there is an answer", function()
      load [[ pilot.job "app" { exec = "app", cwd = "/dead/app", timeout = "5s" } ]]
      box:advance "9s"
      assert.equal("preparing", app.state)
      assert.same({}, said "hangs")
      box:advance "62s"
      local warnings = said "hangs"
      assert.equal(2, #warnings)
      assert.equal('job "app": its start hangs in working directory "/dead/app"', warnings[1].message)
      assert.same({ "warn", 10, 70 }, { warnings[1].level, warnings[1].fields.seconds, warnings[2].fields.seconds })
      box:answer("path", "/dead")
      box:advance "4s"
      assert.equal("running", app.state)
      box:advance "2s" -- its timeout counts from its start
      assert.equal("timeout", app.exit.reason)
    end)

    it("fails as any other start", function()
      load([[ pilot.job "app" { exec = "/dead/app" } ]], { ["/dead/app"] = { spawn_error = "EACCES" } })
      box:advance "1s"
      box:answer("path", "/dead")
      box:advance "1s"
      assert.same({ 126, "spawn" }, { app.exit.code, app.exit.reason })
    end)

    it("is given up by a stop, and by the end of the pilot", function()
      load [[
        local app = pilot.job "app" { exec = "app", cwd = "/dead", stop_timeout = "1h" }
        pilot.after("1s", function() app:stop() print "stopped" pcall(app.start, app) end)
      ]]
      box:advance "2s"
      assert.equal("preparing", app.state)
      assert.equal(1, #said "^stopped$")
      assert.equal(0, box:stop())
      assert.equal(0, app:starts())
    end)

    it("is what a check and pilot.exec wait for, within their timeouts", function()
      load([[
        pilot.job "app" { exec = "app", health = { exec = "/dead/check", interval = "5s", timeout = "2s" } }
        pilot.on("startup", function()
          print(pcall(pilot.exec, { "tool" }, { cwd = "/dead", timeout = "3s" }))
          print(pcall(pilot.exec, { "tool" }, { cwd = "/dead" }))
        end)
      ]], { app = {}, ["/dead/check"] = { exit = 0 }, tool = { exit = 0, stdout = "done" } })
      box:advance "20s"
      assert.equal(1, #said "pilot.exec \"tool\": timed out after 3s: its start hangs")
      assert.equal(1, #said '^program "tool": its start hangs in working directory "/dead"')
      assert.equal("unhealthy", app.health)
      box:answer("path", "/dead")
      box:advance "20s"
      assert.equal("healthy", app.health)
      assert.equal(1, #said "^true%s")
    end)

    it("goes over to a new core", function()
      load [[ pilot.job "app" { exec = "app", cwd = "/dead", env_clear = true } ]]
      box:advance "1s"
      local data = assert(box.app:snapshot())
      assert.equal("preparing", data.jobs.app.memory.state)
      assert.is_number(data.jobs.app.process)
    end)
  end)
end)
