-- How a job and the pilot stop: in what order, how long at most, and that nothing is left behind.
-- That it is not longer than needed is shown by budgets of an hour: who waited for one would never end.

local machine = require "support.machine"
local run     = require "support.run"
local story   = require "support.story"

local AS_PID_1 = { "unshare", "--pid", "--fork", "--mount-proc", "--kill-child" }

-- For the files: polite("x") answers TERM with "x told", and goes; deaf("x") only says so. `leave` is a
-- shell command that a polite one runs before it goes.
local JOBS = [[
  local pilot = require "luapilot"
  local function polite(name, leave, signal)
    return pilot.sh(("trap 'echo %s told; %s; exit 0' %s; echo %s ready; while :; do sleep 0.02; done"):format(
      name, leave or ":", signal or "TERM", name))
  end
  local function deaf(name)
    return pilot.sh(("trap 'echo %s told' TERM; echo %s ready; while :; do sleep 0.02; done"):format(name, name))
  end
  local up = { check = function() return true end }
]] .. story.TELL

-- Runs until so many lines say "ready".
local function started(ready, text, options)
  local p = run.pilot(JOBS .. text, options)
  if ready > 0 then p:wait_for_line(" ready", ready) end
  return p
end

local function assert_stops(p, code)
  p:signal "SIGTERM"
  story.assert_ends(p, code or 0)
end

describe("a job stops:", function()
  after_each(run.cleanup)

  it("by its stop_signal", function()
    for _, signal in ipairs { "INT", "QUIT", "HUP", "USR1", "WINCH" } do
      local p = started(1, ([[
        tell(pilot.job "app" { exec = polite("app", ":", "%s"), stop_signal = "SIG%s", stop_timeout = "1h" })
      ]]):format(signal, signal))
      assert_stops(p)
      story.assert_order(p, { "app stopping", "app told", "app stopped" })
    end
  end)

  it("the whole group hears it", function()
    local p = started(2, [[
      pilot.job "app" { exec = pilot.sh "sh -c \"$CHILD\" & trap 'wait; exit' TERM; echo app ready; wait",
        env = { CHILD = polite("child")[3] }, stop_timeout = "1h" }
    ]])
    assert_stops(p)
    story.assert_lines(p, 1, "child told")
  end)

  it("by SIGKILL to the group, when stop_timeout is over", function()
    local p = started(2, [[
      tell(pilot.job "app" {
        exec = pilot.sh "sh -c \"$CHILD\" & trap 'echo app told' TERM; echo app ready; while :; do wait; done",
        env = { CHILD = deaf("child")[3] }, stop_timeout = "3s",
      })
    ]])
    assert_stops(p, 124)
    story.assert_order(p, { "app stopping", "app told", "did not end within 3s .*killed", "app stopped" })
    story.assert_order(p, { "app stopping", "child told", "app stopped" })
  end)

  it("at once with a stop_timeout of 0", function()
    local p = started(1, [[ pilot.job "app" { exec = deaf "app", stop_timeout = 0 } ]])
    assert_stops(p, 124)
  end)

  it("though it is stopped (SIGSTOP), it hears its signal", function()
    local p = started(1, [[
      pilot.job "app" {
        exec = pilot.sh [==[
          trap 'echo app told; exit 0' TERM; echo app ready; kill -STOP $$; while :; do sleep 0.02; done
        ]==], stop_timeout = "1h",
      }
    ]])
    p:wait_for("the stop", function()
      for _, process in ipairs(p:processes()) do
        if process.state == "T" then return true end
      end
    end)
    assert_stops(p)
    story.assert_lines(p, 1, "app told")
  end)

  it("by hand, and stays so until it is started by hand", function()
    local p = started(1, [[
      local app = pilot.job "app" { exec = polite "app", restart = "always", stop_timeout = "1h" }
      tell(app)
      app:on("healthy", function() end)
      pilot.job "boss" { run = function()
        app:next "output"
        app:stop()
        print("boss: " .. app.state .. " " .. tostring(app.pid))
        app:start()
        print("boss: " .. app.state)
      end }
    ]])
    p:wait_for_line("app ready", 2)
    assert_stops(p)
    story.assert_order(p, { "app stopping", "app told", 'job "app": stopped', "boss: stopped nil", "boss: running" })
    story.assert_lines(p, 0, "app exit_")
  end)

  it("also when the start and the stop come in the same breath", function()
    local p = started(0, [[
      local app = pilot.job "app" { exec = "sleep 1000", when = "manual" }
      pilot.job "boss" { run = function()
        pilot.spawn(function() app:start() end)
        pilot.spawn(function() app:stop() print("boss: " .. app.state) end)
      end }
    ]])
    p:wait_for_line "boss: stopped"
    assert.same({}, p:children(p:pilot()))
    assert_stops(p)
  end)

  describe("its `stopping` handlers", function()
    it("come first, and are awaited, all of them", function()
      local p = started(1, [[
        local app = pilot.job "app" { exec = polite "app", stop_timeout = "1h" }
        app:on("stopping", function() pilot.sleep "100ms" print "one is done" end)
        app:on("stopping", function()
          pilot.exec(pilot.sh "sleep 0.2")
          print("two is done while it is " .. app.state .. " " .. tostring(app.pid ~= nil))
        end)
      ]])
      assert_stops(p)
      story.assert_order(p, { "one is done", "two is done while it is stopping true", "app told" })
    end)

    it("are given up for the signal, within the one budget", function()
      local p = started(1, [[
        local app = pilot.job "app" { exec = polite "app", stop_timeout = "5s" }
        tell(app)
        app:on("stopping", function()
          pilot.defer(function(reason) print("given up: " .. reason) end)
          pilot.sleep "1h"
          print "never"
        end)
      ]])
      assert_stops(p)
      story.assert_order(p, { "stopping handlers took too long", "app told", "app stopped" })
      story.assert_lines(p, 1, "given up: cancel")
      story.assert_lines(p, 0, "never")
      story.assert_lines(p, 0, "killed")
    end)

    it("and a deaf job share it: killed when it is over", function()
      local p = started(1, [[
        local app = pilot.job "app" { exec = deaf "app", stop_timeout = "5s" }
        tell(app)
        app:on("stopping", function() pilot.sleep "1h" end)
      ]])
      assert_stops(p, 124)
      story.assert_order(p, {
        "stopping handlers took too long", "app told", "did not end within 5s", "app stopped",
      })
    end)

    it("that raise hold up nothing", function()
      local p = started(1, [[
        local app = pilot.job "app" { exec = polite "app", stop_timeout = "1h" }
        app:on("stopping", function() error "bad handler" end)
      ]])
      assert_stops(p)
      story.assert_order(p, { "bad handler", "app told" })
    end)
  end)
end)

describe("the pilot stops:", function()
  after_each(run.cleanup)

  it("jobs in the reverse order of their `when`, each when the one before is gone", function()
    local p = started(3, [[
      local db = pilot.job "db" { exec = polite "db", health = up, stop_timeout = "1h" }
      local app = pilot.job "app" {
        exec = polite("app", "sleep 0.2"), health = up, when = db:once "healthy", stop_timeout = "1h",
      }
      local web = pilot.job "web" {
        exec = polite("web", "sleep 0.2"), when = app:once "healthy", stop_timeout = "1h",
      }
      tell(db, app, web)
    ]])
    assert_stops(p)
    story.assert_order(p, {
      "web stopping", "web told", "web stopped", "app stopping", "app told", "app stopped", "db stopping", "db told",
      "db stopped", "ended code=0",
    })
  end)

  it("jobs that do not wait for each other together", function()
    -- Each one goes only when it has seen that the two others were told, too.
    local p = started(3, [[
      local met = ":>here-%s; until test $(ls here-* | wc -l) = 3; do sleep 0.02; done"
      for _, name in ipairs { "one", "two", "three" } do
        pilot.job(name) { exec = polite(name, met:format(name)), stop_timeout = "1h" }
      end
      pilot.shutdown_timeout "1h"
    ]])
    assert_stops(p)
    story.assert_lines(p, 3, "told")
  end)

  it("a job that others wait for only when all of them are gone", function()
    local p = started(4, [[
      local db = pilot.job "db" { exec = polite "db", health = up }
      for i = 1, 3 do
        pilot.job("app" .. i) { exec = polite("app" .. i, "sleep 0." .. i), when = db:once "healthy" }
      end
    ]])
    assert_stops(p)
    story.assert_order(p, { "app3 told", 'job "app3": stopped', 'job "db": stopping', "db told" })
    story.assert_order(p, { 'job "app1": stopped', 'job "db": stopping' })
    story.assert_order(p, { 'job "app2": stopped', 'job "db": stopping' })
  end)

  it("as soon as the last thing has ended, however long it might have taken", function()
    local p = started(1, [[
      pilot.shutdown_timeout "1h"
      local app = pilot.job "app" { exec = polite "app", stop_timeout = "1h" }
      tell(app)
      pilot.every("1h", function() end)
      pilot.spawn(function() pilot.sleep "1h" end)
      pilot.job "thinker" { run = function() pilot.sleep "1h" end, stop_timeout = "1h" }
    ]])
    assert_stops(p)
    story.assert_order(p, { "SIGTERM: shutting down", "app told", "app stopped", "ended code=0" })
  end)

  it("within shutdown_timeout, whatever its jobs and handlers want", function()
    local p = started(3, [[
      pilot.shutdown_timeout "1s"
      local db = pilot.job "db" { exec = deaf "db", health = up, stop_timeout = "1h" }
      local app = pilot.job "app" { exec = deaf "app", health = up, stop_timeout = "1h", when = db:once "healthy" }
      pilot.job "web" { exec = deaf "web", stop_timeout = "1h", when = app:once "healthy" }
      app:on("stopping", function() pilot.sleep "1h" end)
      db:on("stopped", function() pilot.sleep "1h" end)
      pilot.on("shutdown", function() pilot.sleep "1h" end)
    ]])
    assert_stops(p, 124)
    story.assert_lines(p, 1, "web told")
    story.assert_lines(p, 1, "the shutdown is near its bound of 1s: killing what is left")
  end)

  it("at once when it is told a second time", function()
    for _, signals in ipairs { { "SIGTERM", "SIGTERM" }, { "SIGINT", "SIGINT" }, { "SIGTERM", "SIGINT" } } do
      local p = started(2, [[
        pilot.shutdown_timeout "1h"
        local db = pilot.job "db" { exec = deaf "db", health = up, stop_timeout = "1h" }
        local app = pilot.job "app" { exec = deaf "app", stop_timeout = "1h", when = db:once "healthy" }
        pilot.on("shutdown", function()
          pilot.sleep "1s"
          print "a second later"
        end)
      ]])
      p:signal(signals[1])
      p:wait_for_line "app told"
      p:wait_for_line "a second later"
      p:signal(signals[2])
      story.assert_ends(p, 124)
      story.assert_lines(p, 1, signals[2] .. ": asked a second time: killing what is left")
      story.assert_lines(p, 0, "db told")
    end
  end)

  it("as PID 1 as well: also those who left their session, and the deaf", function()
    machine.need_pids()
    local p = started(3, [[
      pilot.job "polite" { exec = polite "polite", stop_timeout = "1h" }
      pilot.job "deaf" { exec = deaf "deaf", stop_timeout = "200ms" }
      pilot.job "strays" { exec = pilot.sh "setsid sleep 999 & setsid sleep 999 & echo strays ready; sleep 999" }
    ]], { wrap = AS_PID_1 })
    p:signal("SIGTERM", p:guardian())
    story.assert_ends(p, 124)
    story.assert_lines(p, 1, "polite told")
    story.assert_lines(p, 1, 'job "deaf": did not end within')
  end)

  describe("when SIGTERM comes", function()
    it("at any moment of the start-up", function()
      for i = 1, 20 do
        local p = started(0, [[ pilot.job "app" { exec = "sleep 1000", stop_timeout = "1h" } ]])
        local moment = run.now() + i * 0.002
        p:wait_for("the moment", function() return run.now() >= moment end)
        p:signal "SIGTERM"
        p:wait()
        -- before its first instruction it can do nothing about it
        assert.is_true(p.code == 0 or p.signalled == "SIGTERM", "it ended with " .. p.code)
        run.cleanup()
      end
    end)

    it("while the file is being loaded", function()
      local p = started(0, [[
        io.open("loading", "w"):close()
        repeat local go = io.open "go" until go
        tell(pilot.job "app" { exec = "sleep 1000", stop_timeout = "1h" })
      ]])
      p:wait_for("the load", function() return story.can("test", "-e", p:path "loading") end)
      p:signal "SIGTERM"
      p:write("go", "")
      story.assert_ends(p, 0)
      story.assert_lines(p, 1, "SIGTERM: shutting down")
    end)

    it("during prepare: it is cancelled, its program ended, the job never runs", function()
      local p = started(1, [[
        tell(pilot.job "app" {
          prepare = function()
            pilot.defer(function(reason) print("prepare: " .. reason) end)
            print "prepare ready"
            pilot.exec "sleep 1000"
            print "never"
          end,
          exec = pilot.sh "echo never", stop_timeout = "1h",
        })
      ]])
      p:wait_for("the program of prepare", function() return #p:children(p:pilot()) == 1 end)
      assert_stops(p)
      story.assert_order(p, { "SIGTERM: shutting down", "prepare: ", "ended code=0" })
      story.assert_lines(p, 0, "never")
    end)

    it("during a stop that is under way: nobody is told twice", function()
      local p = started(2, [[
        local app = pilot.job "app" {
          exec = polite("app", "until test -e go; do sleep 0.02; done"), stop_timeout = "1h",
        }
        tell(app)
        pilot.job "boss" { run = function() app:next "output" app:stop() end }
        pilot.job "other" { exec = polite "other", stop_timeout = "1h" }
      ]])
      p:wait_for_line "app told"
      p:signal "SIGTERM"
      p:wait_for_line "other told"
      p:write("go", "")
      story.assert_ends(p, 0)
      for _, what in ipairs { "app stopping", "app told", "app stopped" } do story.assert_lines(p, 1, what) end
    end)

    it("during the end of a group whose leader has gone", function()
      local p = started(1, [[
        tell(pilot.job "app" { exec = pilot.sh "sh -c \"$CHILD\" & sleep 0.3; exit 0", restart = "always",
          env = { CHILD = polite("child", "until test -e go; do sleep 0.02; done")[3] }, stop_timeout = "1h" })
      ]])
      p:wait_for_line "child told"
      p:signal "SIGTERM"
      p:wait_for_line "SIGTERM: shutting down"
      p:write("go", "")
      story.assert_ends(p, 0)
      story.assert_lines(p, 1, "started pid=")
      story.assert_lines(p, 1, "app stopped")
    end)

    it("during a backoff: it does not wait for that", function()
      local p = started(0, [[
        tell(pilot.job "app" { exec = "false", restart = { policy = "always", backoff = "1h" } })
      ]])
      p:wait_for_line "will be started again"
      assert_stops(p)
      story.assert_order(p, { "will be started again", "SIGTERM: shutting down", "app stopped" })
    end)

    it("while a trigger waits, and during a check that hangs", function()
      local p = started(1, [[
        local app = pilot.job "app" {
          exec = polite "app", health = { exec = "sleep 1000", interval = "1h" }, stop_timeout = "1h",
        }
        pilot.job "late" { exec = "sleep 1000", when = app:once "healthy" }
        pilot.job "never" { exec = "sleep 1000", when = function() pilot.sleep "1h" return true end }
      ]])
      p:wait_for("the check", function() return #p:children(p:pilot()) == 2 end)
      assert_stops(p)
      story.assert_lines(p, 1, "app told")
    end)
  end)

  it("when a handler says pilot.shutdown, which returns at once", function()
    local p = started(0, [[
      local app = pilot.job "app" { exec = polite "app", stop_timeout = "1h" }
      tell(app)
      app:on("output", function() end)
      pilot.job "boss" { run = function()
        app:next "output"
        pilot.shutdown(9)
        print "and on it goes"
        local ok, message = pcall(app.start, app)
        print(ok, message)
      end }
    ]])
    story.assert_ends(p, 9)
    story.assert_order(p, { "and on it goes", "app told", "app stopped", "ended code=9" })
  end)

  it("when a handler of its own stop says so again, with the first code", function()
    local p = started(1, [[
      local app = pilot.job "app" { exec = polite "app", stop_timeout = "1h" }
      app:on("stopping", function() pilot.shutdown(4) end)
      app:on("stopped", function() pilot.shutdown(5) end)
    ]])
    assert_stops(p, 4)
    story.assert_lines(p, 1, "app told")
  end)

  it("but starts nothing any more", function()
    local p = started(1, [[
      local app = pilot.job "app" { exec = polite "app", restart = "always", stop_timeout = "1h" }
      local other = pilot.job "other" { exec = pilot.sh "echo never", when = "manual" }
      pilot.job "after" { exec = pilot.sh "echo never", when = app:once "stopped" }
      app:on("stopped", function()
        local ok, message = pcall(other.start, other)
        print("start: " .. tostring(ok) .. " " .. tostring(message))
      end)
    ]])
    assert_stops(p)
    story.assert_lines(p, 1, "start: false .*the pilot shuts down")
    story.assert_lines(p, 0, "never")
  end)

  it("after the handlers of `shutdown` and of `stopped` have run to their end", function()
    local p = started(1, [[
      local app = pilot.job "app" { exec = polite "app" }
      pilot.on("shutdown", function() pilot.sleep "200ms" print "shutdown is handled" end)
      app:on("stopped", function()
        pilot.exec(pilot.sh "sleep 0.2; echo swept >swept")
        pilot.sleep "50ms"
        print "stopped is handled"
      end)
    ]])
    assert_stops(p)
    story.assert_order(p, { "app told", "stopped is handled", "ended code=0" })
    story.assert_order(p, { "shutdown is handled", "ended code=0" })
    assert.equal("swept\n", p:read "swept")
  end)

  it("and cancels the tasks that are left, whose defers run", function()
    local p = started(1, [[
      pilot.job "app" { exec = polite "app" }
      pilot.spawn(function()
        pilot.defer(function(reason) pilot.sleep "50ms" print("swept: " .. reason) end)
        pilot.sleep "1h"
        print "never"
      end)
    ]])
    assert_stops(p)
    story.assert_order(p, { "app told", "swept: shutdown", "ended code=0" })
    story.assert_lines(p, 0, "never")
  end)
end)
