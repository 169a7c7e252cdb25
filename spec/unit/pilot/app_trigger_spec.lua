-- When jobs start.
local boxes = require "support.boxes"

describe("a job starts", function()
  after_each(boxes.check)

  -- The moments at which a job's program was started.
  local function starts(box, name)
    local list = {}
    for i, spawn in ipairs(box:spawns(name)) do list[i] = spawn.at end
    return list
  end

  local function at(expected, list, near)
    assert.equal(#expected, #list, "starts at " .. table.concat(list, ", "))
    for i, time in ipairs(expected) do assert.near(time, list[i], near or 0.02) end
  end

  it("at start-up by default", function()
    local box = boxes.run([[ pilot.job "a" { exec = "a" } ]], { a = {} })
    box:advance "1s"
    at({ 0 }, starts(box, "a"))
  end)

  describe("once", function()
    it("after another succeeded, but not after it failed", function()
      local box = boxes.run([[
        local setup = pilot.job "setup" { exec = "setup" }
        pilot.job "yes" { exec = "app", when = setup:once "exit_success" }
        pilot.job "no" { exec = "app", when = setup:once "exit_failed" }
      ]], { setup = { exit = 0, after = "3s" }, app = {} })
      box:advance "1m"
      at({ 3 }, starts(box, "yes"))
      at({}, starts(box, "no"))
      assert.equal("complete", box:job "no".state)
      assert.equal(1, boxes.logged(box, 'will not be started: setup:once "exit_failed" cannot come any more'))
    end)

    it("when another is healthy, and only the first time", function()
      local box = boxes.load([[
        local db = pilot.job "db" { exec = "db", health = { tcp = "localhost:1", interval = "1s", fall = 1 } }
        pilot.job "app" { exec = "app", when = db:once "healthy" }
      ]])
      box:program("db", {})
      box:program("app", { exit = 0 })
      box:tcp("localhost:1", "down")
      box:start()
      box:advance "5s"
      at({}, starts(box, "app"))
      for _ = 1, 3 do
        box:tcp("localhost:1", "up")
        box:advance "5s"
        box:tcp("localhost:1", "down")
        box:advance "5s"
      end
      assert.equal(3, #boxes.times(box, "db", "healthy"))
      assert.equal(1, #starts(box, "app"))
      box:stop()
    end)

    it("for every event of a job", function()
      for event, behaviour in pairs {
        exit_success = { exit = 0, after = "2s" }, exit_failed = { exit = 1, after = "2s" },
        stopped = { exit = 1, after = "2s" },
      } do
        local box = boxes.run(([[
          local a = pilot.job "a" { exec = "a" }
          pilot.job "b" { exec = "b", when = a:once %q }
        ]]):format(event), { a = behaviour, b = { exit = 0 } })
        box:advance "1m"
        at({ 2 }, starts(box, "b"))
      end
    end)

    it("for startup and signals of the pilot", function()
      local box = boxes.run([[
        pilot.job "a" { exec = "a", when = pilot.once "startup" }
        pilot.job "b" { exec = "b", when = pilot.once "SIGUSR1" }
      ]], { a = { exit = 0 }, b = { exit = 0 } })
      box:advance "5s"
      at({ 0 }, starts(box, "a"))
      box:signal "SIGUSR1"
      box:advance "5s"
      box:signal "SIGUSR1"
      box:advance "5s"
      at({ 5 }, starts(box, "b"))
    end)
  end)

  describe("each time", function()
    it("an event comes", function()
      local box = boxes.run([[ pilot.job "a" { exec = "a", when = pilot.each "SIGHUP" } ]], { a = { exit = 0 } })
      box:advance "1s"
      for _ = 1, 3 do
        box:signal "SIGHUP"
        box:advance "1s"
      end
      at({ 1, 2, 3 }, starts(box, "a"))
      box:stop()
    end)

    it("another job fails", function()
      local box = boxes.run([[
        local a = pilot.job "a" { exec = "a", restart = "always" }
        pilot.job "b" { exec = "b", when = a:each "exit_failed" }
      ]], { a = { { exit = 1, after = "10s" }, { exit = 0, after = "10s" }, { exit = 1, after = "10s" }, {} },
        b = { exit = 0 } })
      box:advance "5m"
      assert.equal(2, #starts(box, "b"))
    end)

    it("once more afterwards, when it comes while the job runs", function()
      local box = boxes.run([[ pilot.job "a" { exec = "a", when = pilot.each "SIGHUP" } ]],
        { a = { exit = 0, after = "10s" } })
      box:signal "SIGHUP"
      for _ = 1, 3 do
        box:advance "2s"
        box:signal "SIGHUP"
      end
      box:advance "1m"
      at({ 0, 10 }, starts(box, "a"))
    end)

    it("or not, with when_busy = drop", function()
      local box = boxes.run([[
        pilot.job "a" { exec = "a", when = pilot.each("SIGHUP", { when_busy = "drop" }) }
      ]], { a = { exit = 0, after = "10s" } })
      box:signal "SIGHUP"
      box:advance "2s"
      box:signal "SIGHUP"
      box:advance "1m"
      box:signal "SIGHUP"
      box:advance "1m"
      at({ 0, 62 }, starts(box, "a"))
    end)

    it("at once, with when_busy = restart", function()
      local box = boxes.run([[
        pilot.job "a" { exec = "a", when = pilot.each("SIGHUP", { when_busy = "restart" }) }
      ]], { a = { exit = 0, after = "10s", term_delay = "1s" } })
      box:signal "SIGHUP"
      box:advance "2s"
      box:signal "SIGHUP"
      box:advance "1m"
      at({ 0, 3 }, starts(box, "a"))
      assert.equal(1, box:job "a":received "SIGTERM")
    end)

    it("after it was quiet: settle, at most max_wait", function()
      local box = boxes.run([[
        pilot.job "a" { exec = "a", when = pilot.each("SIGHUP", { settle = "1s", max_wait = "3s" }) }
      ]], { a = { exit = 0 } })
      box:signal "SIGHUP"
      box:advance "500ms"
      box:signal "SIGHUP"
      box:advance "10s"
      at({ 1.5 }, starts(box, "a"))
      for _ = 1, 10 do
        box:signal "SIGHUP"
        box:advance "500ms"
      end
      box:advance "10s"
      at({ 1.5, 13.5, 16 }, starts(box, "a"), 0.6)
    end)
  end)

  describe("on a combination:", function()
    local SOURCE = [[
      local a = pilot.job "a" { exec = "a" }
      local b = pilot.job "b" { exec = "b" }
      pilot.job "c" { exec = "c", when = %s }
    ]]

    local function run(trigger, a, b)
      local box = boxes.run(SOURCE:format(trigger), { a = a, b = b, c = { exit = 0 } })
      box:advance "1m"
      return box
    end

    it("all", function()
      local box = run([[ pilot.all { a:once "exit_success", b:once "exit_success" } ]],
        { exit = 0, after = "5s" }, { exit = 0, after = "2s" })
      at({ 5 }, starts(box, "c"))
    end)

    it("all: never, when one cannot come", function()
      local box = run([[ pilot.all { a:once "exit_success", b:once "exit_success" } ]],
        { exit = 0, after = "5s" }, { exit = 1, after = "2s" })
      at({}, starts(box, "c"))
      assert.is_true(box.ended)
    end)

    it("any, a single time", function()
      local box = run([[ pilot.any { a:once "exit_success", b:once "exit_success" } ]],
        { exit = 0, after = "5s" }, { exit = 0, after = "2s" })
      at({ 2 }, starts(box, "c"))
    end)

    it("any: with the one that can still come", function()
      local box = run([[ pilot.any { a:once "exit_success", b:once "exit_success" } ]],
        { exit = 0, after = "5s" }, { exit = 1, after = "2s" })
      at({ 5 }, starts(box, "c"))
    end)

    it("all with a repeating part: again and again, once the others were there", function()
      local box = boxes.run(SOURCE:format [[ pilot.all { a:once "exit_success", pilot.each "SIGHUP" } ]],
        { a = { exit = 0, after = "5s" }, b = {}, c = { exit = 0 } })
      box:signal "SIGHUP"
      box:advance "10s"
      at({ 5 }, starts(box, "c"))
      box:signal "SIGHUP"
      box:advance "10s"
      box:signal "SIGHUP"
      box:advance "10s"
      at({ 5, 10, 20 }, starts(box, "c"))
    end)

    it("any with repeating parts: each of them", function()
      local box = boxes.run(SOURCE:format [[ pilot.any { pilot.each "SIGHUP", pilot.every "10s" } ]],
        { a = {}, b = {}, c = { exit = 0 } })
      box:advance "5s"
      box:signal "SIGHUP"
      box:advance "6s"
      at({ 0, 5, 10 }, starts(box, "c"))
    end)

    it("nested", function()
      local box = run([[ pilot.all { a:once "exit_success",
        pilot.any { b:once "exit_failed", b:once "exit_success" } } ]],
        { exit = 0, after = "5s" }, { exit = 7, after = "8s" })
      at({ 8 }, starts(box, "c"))
    end)
  end)

  describe("every so often,", function()
    it("the first time at start-up, without drift", function()
      local box = boxes.run([[ pilot.job "a" { exec = "a", when = pilot.every "60s" } ]],
        { a = { exit = 0, after = "7s" } })
      box:advance "1h"
      local list = starts(box, "a")
      assert.is_true(#list == 60 or #list == 61)
      assert.near(59 * 60, list[60], 0.001)
    end)

    it("skipping a run that would overlap, and saying so", function()
      local box = boxes.run([[ pilot.job "a" { exec = "a", when = pilot.every "10s", timeout = "1h" } ]],
        { a = { exit = 0, after = "25s" } })
      box:advance "1m"
      at({ 0, 30, 60 }, starts(box, "a"))
      assert.equal(4, boxes.logged(box, "skipped"))
      box:stop()
    end)

    it("killing a run that takes longer than the interval", function()
      local box = boxes.run([[ pilot.job "a" { exec = "a", when = pilot.every "10s" } ]], { a = { { exit = 0 }, {} } })
      box:advance "25s"
      local exit = boxes.times(box, "a", "exit_failed")
      assert.equal(1, #exit)
      assert.near(20, exit[1], 0.01)
      assert.equal(124, box:job "a".exit.code)
      box:stop()
    end)

    it("keeping the pilot alive, whatever the runs' results", function()
      local box = boxes.run([[ pilot.job "a" { exec = "a", when = pilot.every "10s" } ]], { a = { exit = 1 } })
      box:advance "1h"
      assert.is_false(box.ended)
      box:stop()
    end)
  end)

  describe("by cron,", function()
    it("at its minutes, in the container's time zone", function()
      local box = boxes.run([[ pilot.job "a" { exec = "a", when = pilot.cron "30 3 * * *" } ]], { a = { exit = 0 } },
        { now = "2026-05-01 03:00:00" })
      box:advance "60h"
      at({ 1800, 1800 + 86400, 1800 + 2 * 86400 }, starts(box, "a"), 0.1)
    end)

    it("not at start-up", function()
      local box = boxes.run([[ pilot.job "a" { exec = "a", when = pilot.cron "* * * * *" } ]], { a = { exit = 0 } },
        { now = "2026-05-01 03:00:30" })
      box:advance "100s"
      at({ 30, 90 }, starts(box, "a"), 0.1)
    end)

    it("up to jitter later", function()
      local seen = {}
      for seed = 1, 5 do
        local box = boxes.run([[
          pilot.job "a" { exec = "a", when = pilot.cron("0 4 * * *", { jitter = "10m" }) }
        ]], { a = { exit = 0 } }, { now = "2026-05-01 03:00:00", seed = seed })
        box:advance "2h"
        local list = starts(box, "a")
        assert.equal(1, #list)
        assert.is_true(list[1] >= 3600 and list[1] <= 4200.1)
        seen[math.floor(list[1])] = true
      end
      local different = 0
      for _ in pairs(seen) do different = different + 1 end
      assert.is_true(different > 2)
    end)

    it("once, when the clock is set forward over it; not twice, when it is set back a little", function()
      local box = boxes.run([[ pilot.job "a" { exec = "a", when = pilot.cron "30 3 * * *" } ]], { a = { exit = 0 } },
        { now = "2026-05-01 03:00:00" })
      box:advance "10m"
      box.world:shift_clock(3600)
      box:advance "2m"
      assert.equal(1, #starts(box, "a"))
      box.world:shift_clock(-3600)
      box:advance "5h"
      assert.equal(1, #starts(box, "a"))
    end)
  end)

  describe("by a function", function()
    it("that returns something true", function()
      local box = boxes.run([[
        pilot.job "a" { exec = "a", when = function(job) pilot.sleep "3s" return job.name == "a" end }
      ]], { a = { exit = 0 } })
      box:advance "5s"
      at({ 3 }, starts(box, "a"))
      assert.is_true(box.ended)
    end)

    it("not when it returns nothing true, which is a failure by the trigger", function()
      local box = boxes.run([[ pilot.job "a" { exec = "a", when = function() pilot.sleep "3s" end } ]], { a = {} })
      box:advance "5s"
      at({}, starts(box, "a"))
      assert.equal("trigger", box:job "a".exit.reason)
      assert.equal(1, box.exit_code)
    end)

    it("not when it raises", function()
      local box = boxes.run([[ pilot.job "a" { exec = "a", when = function() error "oops" end } ]], { a = {} })
      box:advance "5s"
      at({}, starts(box, "a"))
      assert.equal(1, box.exit_code)
      assert.equal(1, #box:forget_errors())
    end)
  end)

  describe("by hand", function()
    it("when it is manual", function()
      local box = boxes.run([[
        local a = pilot.job "a" { exec = "a", when = "manual" }
        pilot.on("SIGUSR1", function() a:start() print(a.running) end)
      ]], { a = { exit = 0, after = "1s" } })
      box:advance "10s"
      at({}, starts(box, "a"))
      box:signal "SIGUSR1"
      box:advance "10s"
      box:signal "SIGUSR1"
      box:advance "10s"
      at({ 10, 20 }, starts(box, "a"))
      assert.equal(2, boxes.logged(box, "true"))
      box:stop()
    end)
  end)

  describe("not, when it gave up:", function()
    it("a trigger has a timeout", function()
      local box = boxes.run([[
        local db = pilot.job "db" { exec = "db", health = { tcp = "localhost:1" } }
        local app = pilot.job "app" { exec = "app", when = db:once("healthy", { timeout = "30s" }) }
        pilot.job "after" { exec = "after", when = app:once "exit_failed" }
      ]], { db = { listens = "localhost:1", start_delay = "1m" }, app = {}, after = { exit = 0 } })
      box:advance "2m"
      at({}, starts(box, "app"))
      local app = box:job "app"
      assert.same({ "complete", "trigger", 1 }, { app.state, app.exit.reason, app.exit.code })
      at({ 30 }, boxes.times(box, "app", "exit_failed"))
      at({ 30 }, starts(box, "after"))
      assert.equal(1, boxes.logged(box,
        'gave up after 30s of waiting for job "db" to be healthy (it is running, health (tcp localhost:1) '))
      box:stop()
    end)

    it("but not when the event came in time", function()
      local box = boxes.run([[
        local db = pilot.job "db" { exec = "db", health = { tcp = "localhost:1" } }
        pilot.job "app" { exec = "app", when = db:once("healthy", { timeout = "30s" }) }
      ]], { db = { listens = "localhost:1", start_delay = "10s" }, app = {} })
      box:advance "2m"
      assert.is_true(box:job "app".running)
      assert.is_nil(box:job "app".exit)
    end)

    it("and main gives its code to the pilot", function()
      local box = boxes.run([[
        pilot.job "app" { exec = "app", main = true, when = pilot.once("SIGUSR1", { timeout = "5s" }) }
      ]], { app = {} })
      box:advance "10s"
      assert.equal(1, box.exit_code)
    end)
  end)

  it("once a second at most, after starts that failed: two that start each other then hold up nobody", function()
    local box = boxes.run([[
      local b = pilot.job "b"
      local a = pilot.job "a" { exec = "none", when = pilot.any { pilot.once "startup", b:each "exit_failed" } }
      b { exec = "none", when = a:each "exit_failed" }
      pilot.job "c" { exec = "none", when = pilot.each "SIGUSR2" }
    ]], { none = { spawn_error = "ENOENT" } })
    box:advance "9500ms"
    for _, name in ipairs { "a", "b" } do
      at({ 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 }, boxes.times(box, name, "exit_failed"))
    end
    box:signal "SIGUSR2"
    box:advance "1100ms"
    box:signal "SIGUSR2" -- more than a second later: at once
    box:advance "500ms"
    box:signal "SIGUSR2" -- half a second later: when the second is over
    box:advance "1s"
    at({ 9.5, 10.6, 11.6 }, boxes.times(box, "c", "exit_failed"))
    box:stop()
  end)

  it("not, when nobody can start it: cycles and unknown names are mistakes of the file", function()
    local function has(part, source) assert.is_truthy(boxes.mistakes(source):find(part, 1, true)) end
    has("a cycle", [[
      local a, b = pilot.job "a", pilot.job "b"
      a { exec = "a", when = b:once "exit_success" }
      b { exec = "b", when = a:once "exit_success" }
    ]])
    has("waits only for the job itself", [[
      local a = pilot.job "a"
      a { exec = "a", when = a:each "stopped" }
    ]])
    has("no health check", [[
      local a = pilot.job "a" { exec = "a" }
      pilot.job "b" { exec = "b", when = a:once "healthy" }
    ]])
    has('unknown event "exit_sucess"', [[
      local a = pilot.job "a" { exec = "a" }
      pilot.job "b" { exec = "b", when = a:once "exit_sucess" }
    ]])
    has("never described", [[
      pilot.job "b" { exec = "b", when = pilot.job "nobody":once "exit_success" }
    ]])
  end)

  -- The only mistake of a text.
  local function mistake(source) return boxes.mistakes(source):match "has mistakes:\n  ([^\n]*)$" end

  it("not in a circle, which is told once, however many hang on it", function()
    assert.equal(('pilot.lua:2: job "j1": when: a cycle: j1 waits for j2 waits for j1; '
      .. "none of them can ever start"), mistake [[
      for i = 1, 9 do
        pilot.job("j" .. i) { exec = "app", when = pilot.job("j" .. (i == 1 and 2 or i - 1)):once "exit_success" }
      end
    ]])
    local long = boxes.mistakes [[
      for i = 1, 100 do
        pilot.job("j" .. i) { exec = "app", when = pilot.job("j" .. i % 100 + 1):once "exit_success" }
      end
    ]]
    assert.is_truthy(long:find("j19 waits for j20 waits for 80 more waits for j1; none", 1, true), long)
  end)

  it("not when it waits for one that waits for itself, which is told there alone", function()
    assert.equal('pilot.lua:2: job "b": when: waits only for the job itself, which can then never start: add another '
      .. "trigger with pilot.any { … }", mistake [[
      local a, b = pilot.job "a", pilot.job "b"
      b { exec = "app", when = b:once "exit_success" } a { exec = "app", when = b:once "exit_success" }
    ]])
  end)

  it("not by groups that are nested without end: a list is meant", function()
    assert.equal("pilot.lua:2: pilot.any[1]: is nested more than 100 deep: expected triggers that were collected in "
      .. "one list, and then pilot.any(list)", mistake [[
      local any = pilot.once "SIGUSR1"
      for _ = 1, 101 do any = pilot.any { any, pilot.once "SIGUSR2" } end
      pilot.job "app" { exec = "app", when = any }
    ]])
  end)

  it("by groups whose parts are shared a hundred times over", function()
    local box = boxes.run([[
      local part = pilot.any { pilot.job "a" { exec = "app" }:once "exit_success", pilot.once "SIGUSR2" }
      for _ = 1, 99 do part = pilot.all { part, part } end
      pilot.job "b" { exec = "app", when = part }
    ]], { app = { exit = 0 } })
    box:advance "1s"
    assert.equal(1, box:job("b"):starts())
    assert.is_true(box.ended)
  end)

  it("sees the pids of the jobs that it waits for", function()
    local env
    local box = boxes.run([[
      local db = pilot.job "my-db" { exec = "db", health = { tcp = "localhost:1" } }
      pilot.job "app" { exec = "app", when = db:once "healthy", env = { PORT = 80 } }
    ]], { db = { listens = "localhost:1" }, app = function(proc) env = proc.env proc:sleep "1h" end })
    box:advance "5s"
    assert.equal(tostring(box:job "my-db".pid), env.LUAPILOT_MY_DB_PID)
    assert.equal("2", env.LUAPILOT_PID)
    assert.equal("80", env.PORT)
  end)
end)
