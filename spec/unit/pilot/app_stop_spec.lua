-- How one job stops: handlers, signal, kill, under one budget.
local boxes = require "support.boxes"

describe("a job stops", function()
  after_each(boxes.check)

  local SOURCE = [[
    local app = pilot.job "app" { exec = "app", restart = "always" %s }
    pilot.on("SIGUSR1", function() app:stop() print "returned" end)
    pilot.on("SIGUSR2", function() app:start() print "started again" end)
  ]]

  local function run(behaviour, fields, more)
    local box = boxes.run(SOURCE:format(fields or "") .. (more or ""), { app = behaviour })
    box:advance "10s"
    return box, box:job "app"
  end

  local function when(box, text)
    for _, moment in ipairs(box.moments) do
      if moment.kind == "log" and moment.message:find(text, 1, true) then return moment.at end
    end
  end

  it("by SIGTERM to its group, and :stop() returns when it is gone", function()
    local box, app = run { term_delay = "2s", grandchild = { term_delay = "3s" } }
    box:signal "SIGUSR1"
    assert.equal("stopping", app.state)
    box:advance "2900ms"
    assert.equal(0, boxes.logged(box, "returned"))
    box:advance "200ms"
    assert.equal("stopped", app.state)
    assert.equal(1, app:received "SIGTERM")
    assert.equal(1, boxes.logged(box, "returned"))
    assert.equal("stopping stopped", boxes.events(box, "app"))
    assert.is_nil(app.pid)
  end)

  it("and the log tells how its program ended, people only what they would not expect", function()
    local function stopped(behaviour, fields)
      local box = run(behaviour, fields)
      box:signal "SIGUSR1"
      box:advance "1m"
      local line
      for _, each in ipairs(box:log()) do line = each.event == "stopped" and each or line end
      local facts = line.facts
      return { line.fields and line.fields.code, line.fields and line.fields.signal, facts.code, facts.signal }
    end
    assert.same({ 5, nil, 5 }, stopped { term_delay = "1s", term_exit = 5 })
    assert.same({ nil, nil, 0 }, stopped { term_delay = "1s" })
    assert.same({ nil, nil, 143, "SIGTERM" }, stopped {})
    assert.same({ nil, nil, 143 }, stopped { term_delay = "1s", term_exit = 143 }) -- as shells and Java say it
    assert.same({ nil, nil, 131, "SIGQUIT" }, stopped({}, ', stop_signal = "SIGQUIT"'))
    assert.same({ 143, nil, 143 }, stopped({ term_delay = "1s", term_exit = 143 }, ', stop_signal = "SIGINT"'))
    local function crash(proc) proc:crash "SIGSEGV" end
    assert.same({ 139, "SIGSEGV", 139, "SIGSEGV" }, stopped { on = { SIGTERM = crash } })
    assert.same({ nil, nil, 137, "SIGKILL" }, stopped { ignores = { "SIGTERM" } }) -- "… asked to: killed" was said
    assert.same({ 5, nil, 5 }, stopped { term_delay = "1s", term_exit = 5, grandchild = { ignores = { "SIGTERM" } } })
  end)

  it("and all of its session: those in groups of their own hear the signal when their parents have ended", function()
    local box, app = run { term_delay = "1s", grandchild = {
      { setpgid = true, term_delay = "2s", grandchild = { setpgid = true, term_delay = "3s" } },
    } }
    box:signal "SIGUSR1"
    box:advance "5900ms"
    assert.equal("stopping", app.state)
    box:advance "200ms"
    assert.equal("stopped", app.state)
    assert.equal(0, boxes.logged(box, "killed"))
  end)

  it("and kills those of its session who are deaf, wherever they are", function()
    local box, app = run({ grandchild = { setpgid = true, ignores = { "SIGTERM" } } }, ', stop_timeout = "3s"')
    box:signal "SIGUSR1"
    box:advance "2900ms"
    assert.equal("stopping", app.state)
    box:advance "200ms"
    assert.equal("stopped", app.state)
    assert.equal(1, boxes.logged(box, "did not end within 3s"))
  end)

  it("with stop_mode = \"mixed\" by a signal to its leader alone; the rest is killed when that has ended", function()
    local box, app = run({ grandchild = { ignores = { "SIGTERM" } }, term_delay = "2s" }, ', stop_mode = "mixed"')
    box:signal "SIGUSR1"
    box:advance "1900ms"
    assert.equal("stopping", app.state)
    box:advance "200ms"
    assert.equal("stopped", app.state)
    assert.equal(0, boxes.logged(box, "killed"))
  end)

  it("with stop_mode = \"mixed\" in a shutdown ends with 0: that SIGKILL is no job that had to be killed", function()
    local box = run({ grandchild = { ignores = { "SIGTERM" } } }, ', stop_mode = "mixed"')
    assert.equal(0, box:stop())
    assert.equal(0, boxes.logged(box, "had to be killed"))
    box = run({ grandchild = { ignores = { "SIGTERM" } } }, ', stop_timeout = "2s"') -- the same without it
    assert.equal(124, box:stop())
  end)

  it("and names whoever has called setsid, who goes on; in a control group he is ended, too", function()
    local behaviour = { grandchild = { setsid = true } }
    local box, app = run(behaviour)
    box:signal "SIGUSR1"
    box:advance "1s"
    assert.equal("stopped", app.state)
    assert.equal(1, boxes.logged(box, "left behind: app (102)"))
    box, app = run(behaviour, ", cgroup = {}")
    box:signal "SIGUSR1"
    box:advance "1s"
    assert.equal("stopped", app.state)
    assert.equal(0, boxes.logged(box, "left behind"))
  end)

  it("not when it hands over to another process of its session, by its pidfile or MAINPID", function()
    for how, fields in pairs { file = ', pidfile = "/run/app.pid"', notify = ", health = { notify = true }" } do
      local box
      local function master(proc)
        if how == "file" then box:write("/run/app.pid", proc.pid .. "\n") end
        proc:notify { READY = "1", MAINPID = proc.pid }
        proc:handle("SIGUSR2", function(old) old:fork(master) end)
        proc:handle("SIGQUIT", function(old) old:exit(0) end)
        while true do proc:sleep "1h" end
      end
      box = boxes.load(SOURCE:format(fields))
      box:program("app", master)
      box:start()
      box:advance "1s"
      local app = box:job "app"
      local first = app.pid
      app:process():deliver "SIGUSR2"
      box:advance "1s"
      app:process():deliver "SIGQUIT"
      box:advance "1s"
      assert.is_true(app.running)
      assert.is_true(app.pid > first)
      assert.equal(1, boxes.logged(box, "its main process is now " .. app.pid))
      assert.equal(1, app:starts())
      box:signal "SIGUSR1"
      box:advance "1s"
      assert.equal("stopped", app.state)
      assert.equal(1, boxes.logged(box, "its main process"))
    end
  end)

  describe("with stop_mode = \"mixed\" while a new master takes over", function()
    local box, app, heard

    -- Each master needs 3 s from SIGTERM to its end.
    local function start(fields)
      heard = {}
      local function master(proc)
        box:write("/run/app.pid", proc.pid .. "\n")
        proc:handle("SIGUSR2", function(old) old:fork(master) end)
        proc:handle("SIGTERM", function(me)
          heard[#heard + 1] = me.pid
          me:sleep "3s"
          me:exit(0)
        end)
        while true do proc:sleep "1h" end
      end
      box = boxes.load(SOURCE:format(', stop_mode = "mixed", pidfile = "/run/app.pid"' .. (fields or "")))
      box:program("app", master)
      box:start()
      box:advance "10s"
      app = box:job "app"
      app:process():deliver "SIGUSR2"
      box:advance "1s"
      return app.pid
    end

    it("asks that one, too, when the old one has ended", function()
      local old = start()
      box:signal "SIGUSR1"
      box:advance "5s"
      assert.equal("stopping", app.state)
      assert.equal(2, #heard)
      assert.is_true(heard[1] == old and heard[2] > old)
      assert.equal(heard[2], app.pid)
      box:advance "2s"
      assert.equal("stopped", app.state)
      assert.equal(0, boxes.logged(box, "killed"))
    end)

    it("within one stop_timeout", function()
      start ', stop_timeout = "5s"'
      box:signal "SIGUSR1"
      box:advance "4900ms"
      assert.equal("stopping", app.state)
      box:advance "200ms"
      assert.equal("stopped", app.state)
      assert.equal(2, #heard)
      assert.equal(1, boxes.logged(box, "did not end within 5s of being asked to: killed"))
    end)

    it("and waits for nobody when the file still names the old one", function()
      local old = start()
      box:write("/run/app.pid", tostring(old))
      box:signal "SIGUSR1"
      box:advance "3100ms"
      assert.equal("stopped", app.state)
      assert.same({ old }, heard)
      assert.equal(0, boxes.logged(box, "nobody follows"))
    end)

    it("and says why the new one could not follow", function()
      start()
      box:write("/run/app.pid", "4711")
      box:signal "SIGUSR1"
      box:advance "5200ms"
      assert.equal("stopped", app.state)
      assert.equal(1, boxes.logged(box, "nobody follows the main process: pidfile /run/app.pid names 4711: there"))
    end)
  end)

  it("for lack of memory, which its events tell", function()
    local box, app = run({}, ', cgroup = { memory_max = "64M" }')
    app:process():oom()
    box:advance "100ms"
    assert.equal("oom", app.exit.reason)
    assert.equal(1, boxes.logged(box, "was killed for lack of memory (memory_max = 64M)"))
    box, app = run {}
    app:process():oom()
    box:advance "100ms"
    assert.equal("signal", app.exit.reason)
    assert.equal(1, boxes.logged(box, "was killed by SIGKILL, probably for lack of memory"))
  end)

  it("and stays so, whatever its policy, until it is started", function()
    local box, app = run {}
    box:signal "SIGUSR1"
    box:advance "1h"
    assert.equal(1, app:starts())
    assert.equal("stopped", app.state)
    assert.is_nil(box.exit_code)
    box:signal "SIGUSR2"
    box:advance "1s"
    assert.equal(2, app:starts())
    assert.is_true(app.running)
  end)

  it("by its stop_signal", function()
    local box, app = run({ term_delay = "1s" }, ', stop_signal = "SIGQUIT"')
    box:signal "SIGUSR1"
    box:advance "2s"
    assert.equal(1, app:received "SIGQUIT")
    assert.equal(0, app:received "SIGTERM")
    assert.equal("stopped", app.state)
  end)

  it("by SIGKILL when stop_timeout is over", function()
    local box, app = run({ ignores = { "SIGTERM" } }, ', stop_timeout = "5s"')
    box:signal "SIGUSR1"
    box:advance "4900ms"
    assert.equal(0, app:received "SIGKILL")
    box:advance "200ms"
    assert.equal(1, app:received "SIGKILL")
    assert.equal("stopped", app.state)
    assert.equal("SIGKILL", app.exit.signal)
  end)

  it("within 10 s by default", function()
    local box, app = run { ignores = { "SIGTERM" } }
    box:signal "SIGUSR1"
    box:advance "9900ms"
    assert.equal("stopping", app.state)
    box:advance "200ms"
    assert.equal("stopped", app.state)
  end)

  it("with its whole group: a grandchild that outlives the leader is killed too", function()
    local box, app = run({ grandchild = { ignores = { "SIGTERM" } } }, ', stop_timeout = "3s"')
    box:signal "SIGUSR1"
    box:advance "2s"
    assert.equal("stopping", app.state)
    assert.equal(0, boxes.logged(box, "returned"))
    box:advance "1100ms"
    assert.equal("stopped", app.state)
  end)

  it("after its stopping handlers", function()
    local box, app = run({}, "", [[
      app:on("stopping", function() pilot.sleep "2s" print "handled" end)
      app:on("stopping", function() pilot.sleep "1s" end)
    ]])
    box:signal "SIGUSR1"
    box:advance "1900ms"
    assert.equal(0, app:received "SIGTERM")
    box:advance "200ms"
    assert.equal(1, app:received "SIGTERM")
    assert.equal("stopped", app.state)
    assert.is_true(when(box, "handled") < when(box, "returned"))
  end)

  it("in one budget: the handlers' time is taken from the signal's", function()
    local box, app = run({ ignores = { "SIGTERM" } }, ', stop_timeout = "5s"', [[
      app:on("stopping", function() pilot.sleep "3s" end)
    ]])
    box:signal "SIGUSR1"
    box:advance "3100ms"
    assert.equal(1, app:received "SIGTERM")
    box:advance "1800ms"
    assert.equal("stopping", app.state)
    box:advance "200ms"
    assert.equal("stopped", app.state)
  end)

  it("even if a handler never ends: it is cancelled, and the signal gets the rest", function()
    local box, app = run({ ignores = { "SIGTERM" } }, ', stop_timeout = "5s"', [[
      app:on("stopping", function()
        pilot.defer(function(why) print("given up: " .. why) end)
        pilot.sleep "1h"
      end)
    ]])
    box:signal "SIGUSR1"
    box:advance "3900ms"
    assert.equal(0, app:received "SIGTERM")
    box:advance "200ms"
    assert.equal(1, app:received "SIGTERM")
    assert.equal(1, boxes.logged(box, "given up: cancel"))
    box:advance "1s"
    assert.equal("stopped", app.state)
  end)

  it("even if a handler raises", function()
    local box, app = run({}, "", [[ app:on("stopping", function() error "oops" end) ]])
    box:signal "SIGUSR1"
    box:advance "1s"
    assert.equal("stopped", app.state)
    assert.equal(1, #box:forget_errors())
  end)

  it("when a handler ends at the very end of the budget", function()
    local box, app = run({ ignores = { "SIGTERM" } }, ', stop_timeout = "5s"', [[
      app:on("stopping", function()
        while true do pcall(pilot.sleep, "1h") end
      end)
    ]])
    box:signal "SIGUSR1"
    box:advance "5100ms"
    assert.equal("stopped", app.state)
    box:forget_errors()
  end)

  it("and a crash during the handlers is not started again", function()
    local box, app = run({}, "", [[ app:on("stopping", function() pilot.sleep "3s" end) ]])
    box:signal "SIGUSR1"
    app:process():crash "SIGSEGV"
    box:advance "1m"
    assert.equal("stopped", app.state)
    assert.equal(1, app:starts())
    assert.equal("stopping stopped", boxes.events(box, "app"))
  end)

  it("counts as success: an exit that was asked for is no failure", function()
    local box = boxes.run([[
      local app = pilot.job "app" { exec = "app" }
      pilot.after("1s", function() app:stop() end)
    ]], { app = {} })
    box:advance "5s"
    assert.equal("stopping stopped", boxes.events(box, "app"))
    assert.equal(143, box:job "app".exit.code)
    assert.equal(0, box.exit_code)
  end)

  it("during its backoff: it is not started again", function()
    local box, app = run { exit = 1 }
    box:run_until(function() return app.state == "backoff" end)
    local starts = app:starts()
    box:signal "SIGUSR1"
    box:advance "1h"
    assert.equal(starts, app:starts())
    assert.equal("stopped", app.state)
    assert.equal(1, boxes.logged(box, "returned"))
  end)

  it("while it is stopped by SIGSTOP", function()
    local box, app = run {}
    app:process():deliver "SIGSTOP"
    box:signal "SIGUSR1"
    box:advance "1s"
    assert.equal("stopped", app.state)
    assert.equal("SIGTERM", app.exit.signal)
  end)

  it("and starts again when :start() comes meanwhile", function()
    local box, app = run { term_delay = "2s" }
    box:signal "SIGUSR1"
    box:advance "1s"
    box:signal "SIGUSR2"
    box:advance "2s"
    assert.equal(2, app:starts())
    assert.is_true(app.running)
    assert.equal(1, boxes.logged(box, "started again"))
  end)

  it("tells its post-stop handlers", function()
    local box = run({}, "", [[ app:on("stopped", function() pilot.exec "post-stop" end) ]])
    box:program("post-stop", { exit = 0, after = "1s" })
    box:signal "SIGUSR1"
    box:advance "3s"
    assert.equal(1, boxes.logged(box, "returned"))
  end)

  -- What happens when the process ends in the midst of its stop, before its signal.
  describe("in which it ends by itself:", function()
    local HANDLER = [[
      app:on("stopping", function()
        %s
        local ok, why = app:wait_for(%q, "1h")
        print("> " .. tostring(ok) .. " " .. tostring(app.pid) .. " " .. tostring(app.exit and app.exit.code))
        pilot.sleep "1s"
      end)
    ]]

    it("a stopping handler waits for that, and has not long to wait", function()
      for state, code in pairs { exited = 3, exit_failed = 3, exit_success = 0 } do
        local box, app = run({ on = { SIGUSR2 = function(process)
          process:sleep "2s"
          process:exit(code)
        end } }, ", stop_timeout = '1m'", HANDLER:format('app:signal "SIGUSR2"', state))
        box:signal "SIGUSR1"
        box:advance "1900ms"
        assert.equal(0, boxes.logged(box, "> "))
        box:advance "200ms"
        assert.equal(1, boxes.logged(box, ("> true nil %d"):format(code)))
        assert.equal("stopping", app.state)
        box:advance "1s"
        assert.equal("stopped", app.state)
        assert.equal(0, app:received "SIGTERM")
      end
    end)

    it("its pid is gone at once, its exit is told by the log, and published it is not", function()
      local box, app = run({}, "", [[ app:on("stopping", function() pilot.sleep "3s" end) ]])
      box:signal "SIGUSR1"
      box:advance "1s"
      app:process():exit(3)
      box:advance "10ms"
      assert.same({ "stopping", 3 }, { app.state, app.exit.code })
      assert.is_nil(box.app.jobs.app.memory.pid)
      assert.equal(1, boxes.logged(box, 'job "app": exited with code 3 while it was being stopped'))
      box:advance "5s"
      assert.equal("stopping stopped", boxes.events(box, "app"))
    end)

    it("also by a signal of others, and while it drains", function()
      local box, app = run({}, ", service = { port = 80 }, drain = '5s'")
      box:signal "SIGUSR1"
      box:advance "1s"
      app:process():crash "SIGSEGV"
      box:advance "10ms"
      assert.equal(1, boxes.logged(box, 'job "app": was killed by SIGSEGV while it was being stopped'))
    end)

    it("nothing is said of an exit that its signal led to", function()
      local box = run({})
      box:signal "SIGUSR1"
      box:advance "1s"
      assert.equal(0, boxes.logged(box, "while it was being stopped"))
    end)
  end)
end)
