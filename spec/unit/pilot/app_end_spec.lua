-- How a pilot ends: when, in which order, how fast, with which exit code.
local boxes = require "support.boxes"

describe("the pilot ends", function()
  after_each(boxes.check)

  -- The order of the jobs' "stopped" events.
  local function stopped(box)
    local names = {}
    for _, event in ipairs(box:events()) do
      if event.name == "stopped" then names[#names + 1] = event.source end
    end
    return table.concat(names, " ")
  end

  -- When the first signal of a name went to a job.
  local function signalled(box, job, signal)
    for _, moment in ipairs(box.moments) do
      local child = moment.kind == "signal" and moment.signal == (signal or "SIGTERM") and moment.child
      if child and child.options.output and child.options.output.name == job then return moment.at end
    end
  end

  describe("when nothing can happen any more:", function()
    local function ends(source, programs, time)
      local box = boxes.run(source, programs)
      box:advance(time or "1m")
      return box.ended, box
    end

    it("every job is complete", function()
      local ended, box = ends([[ pilot.job "a" { exec = "a" } pilot.job "b" { exec = "b" } ]],
        { a = { exit = 0, after = "5s" }, b = { exit = 0, after = "10s" } })
      assert.is_true(ended)
      assert.equal(0, box.exit_code)
      assert.equal("startup shutdown", boxes.events(box, "pilot"))
    end)

    it("at once, not later", function()
      local box = boxes.run([[ pilot.job "a" { exec = "a" } ]], { a = { exit = 0, after = "5s" } })
      box:advance "5100ms"
      assert.is_true(box.ended)
    end)

    for name, source in pairs {
      ["a job that runs"] = [[ pilot.job "b" { exec = "server" } ]],
      ["a job that will be started again"] = [[ pilot.job "b" { exec = "a", restart = "always" } ]],
      ["a manual job"] = [[ pilot.job "b" { exec = "a", when = "manual" } ]],
      ["a job that was stopped by hand"] = [[
        local b = pilot.job "b" { exec = "server", when = "manual" }
        pilot.after("1s", function() b:start() b:stop() end) ]],
      ["a periodic job"] = [[ pilot.job "b" { exec = "a", when = pilot.every "10s" } ]],
      ["a cron job"] = [[ pilot.job "b" { exec = "a", when = pilot.cron "0 3 * * *" } ]],
      ["a job that waits for a signal"] = [[ pilot.job "b" { exec = "a", when = pilot.each "SIGUSR1" } ]],
      ["a condition that is not met yet"] = [[
        pilot.job "b" { exec = "a", when = function() pilot.sleep "1h" return true end } ]],
      ["a timer"] = [[ pilot.every("1h", function() end) ]],
      ["a delayed call"] = [[ pilot.after("1h", function() end) ]],
      ["a cron timer"] = [[ pilot.cron("@yearly", function() end) ]],
      ["a signal handler"] = [[ pilot.on("SIGUSR1", function() end) ]],
      ["a task"] = [[ pilot.spawn(function() pilot.sleep "1h" end) ]],
      ["a handler that works"] = [[ pilot.on("startup", function() pilot.sleep "1h" end) ]],
      ["a job that waits for another"] = [[
        local s = pilot.job "s" { exec = "server" }
        pilot.job "b" { exec = "a", when = s:once "exit_success" } ]],
    } do
      it("not while there is " .. name, function()
        local ended, box = ends(source .. [[ pilot.job "a" { exec = "a" } ]],
          { a = { exit = 0, after = "1s" }, server = {} })
        assert.is_false(ended)
        box:stop()
      end)
    end

    for name, source in pairs {
      ["a timer that was cancelled"] = [[
        local timer = pilot.every("1h", function() end)
        pilot.after("1s", function() timer:cancel() end) ]],
      ["a signal handler that was cancelled"] = [[
        local subscription = pilot.on("SIGUSR1", function() end)
        pilot.after("1s", function() subscription:cancel() end) ]],
      ["a handler of a job's events"] = [[ a:on("healthy", function() end) ]],
      ["a job whose trigger can never fire"] = [[
        pilot.job "b" { exec = "b", when = a:once "exit_failed" } ]],
      ["a chain of those"] = [[
        local b = pilot.job "b" { exec = "b", when = a:once "exit_failed" }
        pilot.job "c" { exec = "c", when = b:once "exit_success" } ]],
      ["an error handler"] = [[ pilot.on("error", function() end) ]],
    } do
      it("but not for " .. name, function()
        local a = [[ local a = pilot.job "a" { exec = "a", health = { tcp = "localhost:80" } } ]]
        local ended = ends(a .. source, { a = { exit = 0, after = "2s", listens = "localhost:80" } })
        assert.is_true(ended)
      end)
    end
  end)

  describe("on a signal:", function()
    for _, name in ipairs { "SIGTERM", "SIGINT", "SIGQUIT" } do
      it(name, function()
        local box = boxes.run([[ pilot.job "a" { exec = "a", restart = "always" } ]],
          { a = { term_delay = "1s" } })
        box:advance "5s"
        box:signal(name)
        box:advance "900ms"
        assert.is_false(box.ended)
        box:advance "200ms"
        assert.is_true(box.ended)
        assert.equal(0, box.exit_code)
      end)
    end

    it("not on SIGQUIT when somebody listens", function()
      local box = boxes.run([[ pilot.on("SIGQUIT", function() print "heard" end) ]])
      box:signal "SIGQUIT"
      box:advance "1s"
      assert.equal(1, boxes.logged(box, "heard"))
      assert.is_false(box.ended)
    end)

    it("on a terminal that is gone", function()
      local box = boxes.run([[ pilot.on("SIGHUP", function() end) ]])
      box:signal("SIGHUP", { terminal = true })
      box:advance "1s"
      assert.is_true(box.ended)
    end)

    it("a second one kills", function()
      local box = boxes.run([[ pilot.job "a" { exec = "a" } ]], { a = { ignores = { "SIGTERM" } } })
      box:advance "1s"
      box:signal "SIGTERM"
      box:advance "1s"
      assert.is_false(box.ended)
      box:signal "SIGTERM"
      box:advance "100ms"
      assert.is_true(box.ended)
      assert.equal(1, box:job "a":received "SIGKILL")
      assert.equal(124, box.exit_code)
    end)

    it("a second one does not wait for defer functions either", function()
      local box = boxes.run([=[
        pilot.spawn(function()
          pilot.defer(function() pilot.sleep "1h" end)
          pilot.sleep "1h"
        end)
      ]=])
      box:advance "1s"
      box:signal "SIGTERM"
      box:advance "1s"
      assert.is_false(box.ended)
      box:signal "SIGTERM"
      box:advance "100ms"
      assert.is_true(box.ended)
    end)

    it("others are events, and nothing else", function()
      local box = boxes.run([[
        pilot.on("SIGHUP", function(event) print(event.name, event.source == pilot, event.at) end)
        pilot.on("SIGUSR1", function() print "reopened" end)
      ]])
      box:signal "SIGHUP"
      box:signal "SIGUSR1"
      box:signal "SIGUSR2"
      box:advance "1s"
      assert.equal(1, boxes.logged(box, "SIGHUP\ttrue\t1767225600"))
      assert.equal(1, boxes.logged(box, "reopened"))
      assert.equal(1, box.port.reopened)
      assert.equal(0, boxes.logged(box, "opened anew"))
      assert.is_false(box.ended)
    end)
  end)

  it("tells of log files only where there are any", function()
    for _, text in ipairs {
      [[ pilot.job "app" { exec = "app", log = { file = "/var/log/app.log" } } ]],
      [[ pilot.logging { output = "/var/log/pilot.log" } pilot.on("SIGHUP", function() end) ]],
    } do
      local box = boxes.run(text, { app = {} }, { files = { ["/var/log"] = true } })
      box:signal "SIGUSR1"
      assert.equal(1, boxes.logged(box, "SIGUSR1: log files were opened anew"))
      box:stop()
    end
  end)

  it("not while a trigger settles, though no job is left that could fire it", function()
    local box = boxes.run([=[
      local a = pilot.job "a" { exec = "a" , restart = "never" }
      pilot.job "b" { exec = "b", when = a:once("exit_success", { settle = "2s" }), restart = "never" }
    ]=], { a = { exit = 0, after = "1s" }, b = { exit = 0, after = "1s" } })
    box:advance "2s"
    assert.is_false(box.ended)
    box:advance "10s"
    assert.equal(1, box:job "b":starts())
    assert.is_true(box.ended)
  end)

  describe("in order:", function()
    local CHAIN = [[
      local db = pilot.job "db" { exec = "server db", health = { tcp = "localhost:1" } }
      local app = pilot.job "app" {
        exec = "server app", when = db:once "healthy", health = { tcp = "localhost:2" },
      }
      pilot.job "proxy" { exec = "server proxy", when = app:once "healthy" }
      pilot.job "other" { exec = "server other" }
    ]]
    local SERVERS = {
      ["server db"] = { listens = "localhost:1", term_delay = "1s" },
      ["server app"] = { listens = "localhost:2", term_delay = "1s" },
      ["server proxy"] = { term_delay = "1s" },
      ["server other"] = { term_delay = "2500ms" },
    }

    it("jobs stop in the reverse order of their when, the others first and together", function()
      local box = boxes.run(CHAIN, SERVERS)
      box:advance "10s"
      box:signal "SIGTERM"
      box:advance "2900ms"
      assert.is_false(box.ended)
      box:advance "300ms"
      assert.is_true(box.ended)
      assert.equal("proxy app other db", stopped(box))
      assert.near(10, signalled(box, "proxy"), 0.01)
      assert.near(10, signalled(box, "other"), 0.01)
      assert.near(11, signalled(box, "app"), 0.01)
      assert.near(12, signalled(box, "db"), 0.01)
    end)

    it("a job that never started does not hold it up", function()
      local box = boxes.load(CHAIN)
      for prefix, behaviour in pairs(SERVERS) do box:program(prefix, behaviour) end
      box:program("server other", {})
      box:tcp("localhost:1", "down")
      box:start()
      box:advance "1s"
      box:signal "SIGTERM"
      box:advance "1100ms"
      assert.is_true(box.ended)
      assert.equal("other db", stopped(box))
    end)

    it("no new starts: neither by trigger, policy, timer nor by hand", function()
      local box = boxes.run([[
        local a = pilot.job "a" { exec = "a", restart = "always" }
        local b = pilot.job "b" { exec = "b", when = "manual" }
        pilot.job "c" { exec = "c", when = a:each "stopped" }
        pilot.job "d" { exec = "d", when = pilot.every "1s" }
        pilot.on("shutdown", function() local ok, message = pcall(b.start, b) print(ok, message) end)
      ]], { a = { term_delay = "3s" }, b = {}, c = {}, d = { exit = 0 } })
      box:advance "500ms"
      box:signal "SIGTERM"
      box:advance "5s"
      assert.is_true(box.ended)
      assert.equal(0, box:job "b":starts())
      assert.equal(0, box:job "c":starts())
      assert.equal(1, box:job "d":starts())
      assert.equal(1, boxes.logged(box, "the pilot shuts down"))
    end)

    it("handlers of shutdown, stopping and stopped are waited for", function()
      local box = boxes.run([[
        local a = pilot.job "a" { exec = "a" }
        pilot.on("shutdown", function() pilot.sleep "1s" print "shutdown done" end)
        a:on("stopping", function() pilot.sleep "1s" print "stopping done" end)
        a:on("stopped", function() pilot.exec "post" print "post done" end)
      ]], { a = {}, post = { exit = 0, after = "1s" } })
      box:advance "1s"
      box:signal "SIGTERM"
      box:advance "5s"
      assert.is_true(box.ended)
      for _, name in ipairs { "shutdown", "stopping", "post" } do
        assert.equal(1, boxes.logged(box, name .. " done"))
      end
    end)

    it("what is left of tasks is cancelled, and its defers run", function()
      local box = boxes.run([[
        pilot.spawn(function()
          pilot.defer(function(why) pilot.sleep "100ms" print("deferred", why) end)
          pilot.sleep "1h"
        end)
      ]])
      box:advance "1s"
      box:signal "SIGTERM"
      box:advance "1s"
      assert.is_true(box.ended)
      assert.equal(1, boxes.logged(box, "deferred\tshutdown"))
    end)

    it("a job written in Lua is cancelled", function()
      local box = boxes.run([[
        pilot.job "a" {
          run = function()
            pilot.defer(function(why) print("run", why) end)
            pilot.sleep "1h"
          end,
        }
      ]])
      box:advance "1s"
      box:signal "SIGTERM"
      box:advance "1s"
      assert.is_true(box.ended)
      assert.equal(1, boxes.logged(box, "run\tshutdown"))
      assert.equal("stopping stopped", boxes.events(box, "a"))
    end)

    it("a job whose turn has not come is not started again when it crashes", function()
      local box = boxes.run([=[
        local db = pilot.job "db" { exec = "db", restart = { backoff = 0 } }
        pilot.job "app" { exec = "app", when = pilot.any { pilot.once "startup", db:once "exit_failed" } }
      ]=], { db = { exit = 1, after = "5s" }, app = { term_delay = "3s" } })
      box:advance "4s"
      box:signal "SIGTERM"
      box:advance "5s"
      assert.is_true(box.ended)
      assert.same({ 1, 1 }, { box:job "db":starts(), box:job "app":starts() })
    end)

    it("jobs that wait for each other stop all the same", function()
      local box = boxes.run([[
        local a, b = pilot.job "a", pilot.job "b"
        a { exec = "a", when = pilot.any { pilot.once "startup", b:once "exit_failed" } }
        b { exec = "b", when = pilot.any { pilot.once "startup", a:once "exit_failed" } }
      ]], { a = {}, b = {} })
      box:advance "1s"
      assert.is_true(box:job "a".running and box:job "b".running)
      box:signal "SIGTERM"
      box:advance "1s"
      assert.is_true(box.ended)
    end)
  end)

  describe("in time:", function()
    it("8 s at most, then everything is killed", function()
      local box = boxes.run([[
        pilot.job "a" { exec = "a", stop_timeout = "1h" }
        pilot.spawn(function() while true do pcall(pilot.sleep, "1h") end end)
      ]], { a = { ignores = { "SIGTERM" } } })
      box:advance "1s"
      box:signal "SIGTERM"
      box:advance "6900ms"
      assert.equal(0, box:job "a":received "SIGKILL")
      box:advance "1100ms"
      assert.equal(1, box:job "a":received "SIGKILL")
      assert.is_true(box.ended)
      assert.equal(1, boxes.logged(box, "the shutdown is near its bound of 8s: killing what is left"))
      box:forget_errors()
    end)

    it("and each job is killed once, and said to be, whoever's time is over", function()
      local box = boxes.run([[
        pilot.job "a" { exec = "a", stop_timeout = "1h" }
        pilot.job "b" { exec = "a", stop_timeout = "7s" }
      ]], { a = { ignores = { "SIGTERM" } } })
      box:advance "1s"
      box:signal "SIGTERM"
      box:advance "8s"
      assert.is_true(box.ended)
      for _, name in ipairs { "a", "b" } do
        assert.equal(1, boxes.logged(box, ('job "%s": did not end within 7s of being asked to: killed'):format(name)))
      end
      local kills = 0
      for line in box:history():gmatch "[^\n]+" do kills = kills + (line:find "SIGKILL to the group" and 1 or 0) end
      assert.equal(2, kills)
    end)

    it("or what shutdown_timeout says, for the guardian too", function()
      local box = boxes.run([[
        pilot.shutdown_timeout "20s"
        pilot.job "a" { exec = "a", stop_timeout = "15s" }
      ]], { a = { ignores = { "SIGTERM" } } })
      box:advance "1s"
      box:signal "SIGTERM"
      assert.near(20, box.port.must_end - box.port.clock:now(), 0.01)
      box:advance "14900ms"
      assert.is_false(box.ended)
      box:advance "200ms"
      assert.is_true(box.ended)
    end)

    it("and begins nothing after that: neither a waiting event nor a defer starts a program", function()
      local box = boxes.run([[
        pilot.on("SIGUSR1", function()
          pilot.defer(function() pilot.sleep "20s" pilot.exec "app" end)
          pilot.exec "app"
        end)
      ]], { app = { ignores = { "SIGTERM" } } })
      for _ = 1, 3 do box:signal "SIGUSR1" end
      box:advance "1s"
      box:signal "SIGTERM"
      box:advance "8s"
      assert.is_true(box.ended)
      assert.equal(101, box.port.kernel.last_pid) -- the first of all
    end)

    it("even if a handler of shutdown never ends", function()
      local box = boxes.run([[
        pilot.on("shutdown", function() while true do pcall(pilot.sleep, "1h") end end)
      ]])
      box:signal "SIGTERM"
      box:advance "8s"
      assert.is_true(box.ended)
      box:forget_errors()
    end)
  end)

  describe("with an exit code:", function()
    local function code(source, programs, time)
      local box = boxes.run(source, programs)
      box:advance(time or "1m")
      if not box.ended then box:stop() end
      return box.exit_code
    end

    it("0 when all succeeded", function()
      assert.equal(0, code([[ pilot.job "a" { exec = "a" } ]], { a = { exit = 0 } }))
    end)

    it("that of the first job that failed for good", function()
      assert.equal(4, code([[
        pilot.job "a" { exec = "a" }
        pilot.job "b" { exec = "b" }
        pilot.job "c" { exec = "c", restart = "on_failure" }
      ]], {
        a = { exit = 3, after = "5s" }, b = { exit = 4, after = "2s" }, c = { { exit = 5 }, { exit = 0 } },
      }))
    end)

    it("not that of a failure that a restart made good", function()
      assert.equal(0, code([[ pilot.job "a" { exec = "a", restart = "on_failure" } ]],
        { a = { { exit = 5 }, { exit = 0 } } }))
    end)

    it("128 + n of a signal, 127 of a missing program, 124 of a timeout, 1 of a raise", function()
      assert.equal(139, code([[ pilot.job "a" { exec = "a" } ]], { a = { signal = "SIGSEGV" } }))
      assert.equal(127, code([[ pilot.job "a" { exec = "a" } ]], { a = { spawn_error = "ENOENT" } }))
      assert.equal(124, code([[ pilot.job "a" { exec = "a", timeout = "5s" } ]], { a = {} }))
      local box = boxes.run [[ pilot.job "a" { run = function() error "oops" end } ]]
      box:advance "1s"
      assert.equal(1, box.exit_code)
      box:forget_errors()
    end)

    it("0 when it was asked to end", function()
      assert.equal(0, code([[ pilot.job "a" { exec = "a" } ]], { a = {} }))
    end)

    it("that of the job that failed for good, even if it was asked to end later", function()
      assert.equal(3, code([[ pilot.job "a" { exec = "a" } pilot.job "b" { exec = "b" } ]],
        { a = { exit = 3 }, b = {} }))
    end)

    it("that of pilot.shutdown", function()
      assert.equal(42, code([[
        pilot.job "a" { exec = "a" }
        pilot.job "m" { exec = "m", main = true }
        pilot.after("1s", function() pilot.shutdown(42) print "returned at once" end)
      ]], { a = { exit = 3 }, m = {} }))
      assert.equal(0, code([[ pilot.after("1s", function() pilot.shutdown() end) ]]))
    end)

    it("that of the main job, which ends the pilot when it completes", function()
      local box = boxes.run([[
        pilot.job "m" { exec = "m", main = true }
        pilot.job "a" { exec = "a" }
        pilot.job "b" { exec = "b", restart = "always" }
      ]], { m = { exit = 7, after = "10s" }, a = { exit = 3 }, b = { term_delay = "1s" } })
      box:advance "9s"
      assert.is_false(box.ended)
      box:advance "3s"
      assert.equal(7, box.exit_code)
    end)

    it("not before the main job completes: a restart is no end", function()
      local box = boxes.run([[ pilot.job "m" { exec = "m", main = true, restart = 1 } ]],
        { m = { { exit = 7, after = "1s" }, { exit = 8, after = "5s" } } })
      box:advance "3s"
      assert.is_false(box.ended)
      box:advance "5s"
      assert.equal(8, box.exit_code)
    end)
  end)
end)
