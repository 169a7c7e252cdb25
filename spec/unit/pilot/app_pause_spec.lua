-- A container that is paused and goes on (docker pause, a suspended machine): nobody is blamed for the time in which
-- nothing ran. And a check that the pilot itself cannot make says nothing of the job.
local boxes = require "support.boxes"
local random = require "luapilot.sim.random"
local sim = require "luapilot.sim"

describe("a pause of the machine", function()
  after_each(boxes.check)

  local function load(fields, programs)
    local box = boxes.load('pilot.job "app" { exec = "app", ' .. fields .. " }")
    box:program("app", {})
    for prefix, behaviour in pairs(programs or {}) do box:program(prefix, behaviour) end
    return box:start()
  end

  local function logged(box, pattern)
    local found = {}
    for _, line in ipairs(box:log()) do
      if line.message:find(pattern) then found[#found + 1] = line.message end
    end
    return found
  end

  describe("takes the verdict from a check that is under way", function()
    -- An interval of 300 ms: a check that takes 250 ms is always under way.
    local FIELDS = [[ restart = "always", health = {
      %s, interval = "300ms", timeout = "280ms", fall = 1, restart_after = 1,
    } ]]
    local EXEC = 'exec = "check"'
    local PROGRAMS = { check = function(process) -- a sleep ends by the clock; work does not
      for _ = 1, 25 do process:sleep "10ms" end
      return 0
    end }

    for kind, check in pairs { exec = EXEC, check = 'check = function() pilot.sleep "250ms" return true end' } do
      it(kind, function()
        local box = load(FIELDS:format(check), PROGRAMS)
        box:advance "1500ms"
        for _ = 1, 20 do
          box:pause "2s"
          box:advance "1110ms"
        end
        assert.equal("healthy", boxes.events(box, "app"))
        box:stop()
      end)
    end

    for kind, check in pairs { tcp = 'tcp = "app:1"', http = 'http = "http://app:1/"' } do
      it(kind, function()
        local box = boxes.load('pilot.job "app" { exec = "app", ' .. FIELDS:format(check) .. " }")
        local function all(state)
          box:tcp("app:1", state)
          box:http("http://app:1/", state == "up" and 200 or state)
        end
        box:program("app", {})
        all "up"
        box:start():advance "1s"
        for _ = 1, 20 do
          all "hangs"
          box:advance "70ms"
          all "up"
          box:pause "2s"
          box:advance "1110ms"
        end
        assert.equal("healthy", boxes.events(box, "app"))
        box:stop()
      end)
    end

    it("and says so", function()
      local box = load(FIELDS:format(EXEC), {
        check = { { exit = 0 }, { exit = 0 }, { exit = 28, after = "250ms" }, { exit = 0 } },
      })
      box:advance "610ms"
      box:pause "2s"
      box:advance "1s"
      assert.same({
        'job "app": health (exec check) has no verdict: the machine or luapilot was paused meanwhile',
        'job "app": health (exec check) passes now',
      }, logged(box, "health %(exec"))
    end)

    it("but not for ever: on a machine on which all is late each time a check that hangs has failed", function()
      local box = load('health = { exec = "check", interval = "300ms", fall = 1 }', { check = {} })
      for _ = 1, 40 do
        box:advance "100ms"
        box:pause "2s"
      end
      assert.equal("unhealthy", box:job("app").health)
    end)

    it("not from one that passes", function()
      local box = load('health = { exec = "check", interval = "10s", timeout = "5s" }', {
        check = { exit = 0, after = "3s" },
      })
      box:advance "2900ms"
      box:pause "1h"
      box:advance "1s"
      assert.equal("healthy", box:job("app").health)
    end)
  end)

  it("does not end a start period", function()
    local box = load('health = { exec = "check", interval = "1s", fall = 1, start_period = "20s" }', {
      check = { exit = 1 },
    })
    box:advance "5s"
    box:pause "1h"
    box:advance "13s"
    assert.equal("unknown", box:job("app").health)
    box:advance "4s"
    assert.equal("unhealthy", box:job("app").health)
  end)

  it("is no silence of the watchdog", function()
    local box = load('health = { notify = true, interval = "2s", fall = 1 }', {
      app = { notify = { { READY = "1", after = "1s" }, { WATCHDOG = "1", every = "1500ms" } } },
    })
    box:advance "5s"
    for _ = 1, 5 do
      box:pause "10s"
      box:advance "3300ms"
    end
    assert.equal("healthy", boxes.events(box, "app"))
  end)

  it("is no part of a job's timeout", function()
    local box = load('timeout = "10s"', { app = { exit = 0, after = "9s" } })
    box:advance "5s"
    box:pause "3s"
    box:advance "1100ms"
    assert.equal("exit_success stopped", boxes.events(box, "app")) -- a sleep ends by the clock
    box = load('timeout = "10s"')
    box:advance "5s"
    box:pause "1h"
    box:advance "4s"
    assert.is_true(box:job("app").running)
    box:advance "3s"
    assert.equal("timeout", box:job("app").exit.reason)
  end)

  it("is no part of what a stop may take", function()
    local box = load('stop_timeout = "4s"', { app = { on = { SIGTERM = function(process)
      for _ = 1, 25 do process:sleep "100ms" end
      process:exit(0)
    end } } })
    box:advance "1s"
    box:signal "SIGTERM"
    box:advance "1s"
    box:pause "1h"
    box:advance "5s"
    assert.equal(0, box.exit_code)
    assert.same({}, logged(box, "killed"))
  end)

  it("is no part of what a shutdown may take", function()
    local box = load('stop_timeout = "1m"', { app = { on = { SIGTERM = function(process)
      for _ = 1, 60 do process:sleep "100ms" end
      process:exit(0)
    end } } })
    box:advance "1s"
    box:signal "SIGTERM"
    box:advance "3s"
    box:pause "1h"
    box:advance "7s"
    assert.equal(0, box.exit_code)
    assert.same({}, logged(box, "killing"))
  end)

  it("is no part of what a shutdown may take, for its order, its last output and the guardian", function()
    local box = boxes.run([[
      local db = pilot.job "db" { exec = "db", health = { tcp = "localhost:1" } }
      local app = pilot.job "app" { exec = "app", when = db:once "healthy" }
      app:on("stopping", function() pilot.sleep "700ms" end)
    ]], { app = sim.server, db = { listens = "localhost:1", on = { SIGTERM = function(process)
      for _ = 1, 30 do process:sleep "100ms" end
      process:exit(0)
    end } } })
    box:advance "1s"
    box:signal "SIGTERM"
    box:advance "500ms"
    box:pause "1h"
    assert.near(7, box.app.closing:remaining(), 1.01)
    assert.is_true(box.port.must_end - box.port.clock:now() >= box.app.closing:remaining())
    box:advance "3500ms"
    assert.equal(0, box.exit_code)
    assert.equal(0, box:job("db"):received "SIGKILL")
  end)

  it("is no part of the time that a trigger waits, or a program may take", function()
    local box = boxes.run([[
      local db = pilot.job "db" { exec = "db", health = { tcp = "localhost:1" } }
      pilot.job "app" { exec = "app", when = db:once("healthy", { timeout = "5s" }) }
      pilot.spawn(function() print("slow", pilot.exec("slow", { timeout = "6s" }).code) end)
    ]], { db = { listens = "localhost:1", start_delay = "4s" }, app = {}, slow = { exit = 0, after = "4s" } })
    box:advance "2s"
    box:pause "1m"
    box:advance "3s"
    assert.is_true(box:job("app").running)
    assert.equal(1, boxes.logged(box, "slow\t0"))
    box:stop()
  end)

  it("is no part of what a handler may take", function()
    local box = boxes.run([[
      pilot.on("SIGUSR1", { timeout = "5s" }, function() for _ = 1, 4 do pilot.sleep "1s" end print "done" end)
    ]], {})
    box:signal "SIGUSR1"
    box:advance "1500ms"
    box:pause "1m"
    box:advance "5s"
    assert.equal(1, boxes.logged(box, "done"))
    box:stop()
  end)

  it("makes no timer of the clock late by more than itself", function()
    local box = boxes.run [[ pilot.every("10s", function() print "tick" end) ]]
    box:advance "9s"
    box:pause "5s"
    assert.equal(1, boxes.logged(box, "tick"))
    box:stop()
  end)
end)

describe("pauses at any time", function()
  after_each(boxes.check)

  local SOURCE = [[
    local db = pilot.job "db" { exec = "db", restart = "always", health = {
      { tcp = "localhost:1", interval = "1s" },
      { exec = "check", interval = "700ms", timeout = "500ms", start_period = "3s", restart_after = 4 },
    } }
    local once = pilot.job "once" { exec = "once", when = db:once("healthy", { timeout = "5m" }), timeout = "20s" }
    local app = pilot.job "app" { exec = "app", when = once:once "exit_success", restart = "always",
      health = { notify = true, interval = "2s" }, stop_timeout = "3s" }
    app:on("stopping", function() pilot.sleep "500ms" end)
    pilot.on("SIGHUP", { timeout = "8s" }, function()
      pilot.exec("check", { timeout = "3s" })
      app:restart()
    end)
  ]]

  local function run(seed)
    local box = boxes.load(SOURCE, { seed = seed })
    box:program("db", { listens = "localhost:1", start_delay = "500ms" })
    box:program("check", function(process) for _ = 1, 10 do process:sleep "20ms" end return 0 end)
    box:program("once", { exit = 0, after = "5s" })
    box:program("app", { notify = { { READY = "1", after = "1s" }, { WATCHDOG = "1", every = "900ms" } } })
    return box:start()
  end

  it("are nobody's fault", function()
    for seed = 1, 40 do
      local box, luck = run(seed), random.new(seed, 99)
      for _ = 1, 30 do
        if luck:next() < 0.6 then box:pause(10 * luck:next()) end
        if luck:next() < 0.2 then box:signal "SIGHUP" end
        box:advance(4 * luck:next())
      end
      box:advance "2m"
      assert.equal("healthy healthy", box:job("db").health .. " " .. box:job("app").health)
      box:signal "SIGTERM"
      box:advance(luck:next() / 2)
      if not box.ended then box:pause(20 * luck:next()) end
      box:advance "2m"
      assert.equal(0, box.exit_code)
      for _, event in ipairs(box:events()) do
        assert.is_nil(event.name:match "^unhealthy$" or event.name:match "^exit_failed$", box:history(30))
      end
      boxes.check()
    end
  end)
end)

describe("a check that the pilot cannot make", function()
  after_each(boxes.check)

  for _, code in ipairs { "EMFILE", "ENFILE", "ENOMEM", "EAGAIN" } do
    it("has no verdict: " .. code, function()
      local box = boxes.load [[
        pilot.job "app" { exec = "app", restart = "always",
          health = { exec = "check", interval = "200ms", fall = 1, restart_after = 2 } }
      ]]
      box:program("app", {})
      box:program("check", { exit = 0 })
      box:start():advance "1s"
      box:program("check", { spawn_error = code, spawn_stage = "fork" })
      box:advance "5s"
      box:program("check", { exit = 0 })
      box:advance "2s"
      assert.equal("healthy", boxes.events(box, "app"))
      local said = {}
      for _, line in ipairs(box:log()) do
        if line.message:find "check%)" then
          said[#said + 1] = line.level .. " " .. line.message:gsub("verdict: .*", "verdict")
        end
      end
      assert.same({
        'warn job "app": health (exec check) has no verdict', 'info job "app": health (exec check) passes now',
      }, said)
      box:stop()
    end)
  end

  it("has none either where a function asks in its place", function()
    local box = boxes.load [[
      pilot.job "app" { exec = "app", restart = "always", health = {
        { check = function() return pilot.exec("check").code == 0 end, interval = "200ms", fall = 1 },
        { check = function() return (pcall(pilot.exec, "check")) end, interval = "200ms", fall = 1 },
      } }
    ]]
    box:program("app", {})
    box:program("check", { exit = 0 })
    box:start():advance "1s"
    box:program("check", { spawn_error = "EMFILE", spawn_stage = "fork" })
    box:advance "5s"
    box:program("check", { exit = 0 })
    box:advance "2s"
    assert.equal("healthy", boxes.events(box, "app"))
    assert.same({}, box:errors())
    box:program("check", { exit = 1 })
    box:advance "1s"
    assert.equal("healthy unhealthy", boxes.events(box, "app"))
    assert.equal(1, #box:forget_errors())
    box:stop()
  end)

  it("has none where the scripts have all the memory; what raises for itself has failed", function()
    local box = boxes.load [[
      pilot.job "app" { exec = "app", health = { check = function()
        if pilot.state.raise then error(pilot.state.raise, 0) end
        return true
      end, interval = "200ms", fall = 1 } }
    ]]
    box:program("app", {})
    box:start():advance "1s"
    box.app.state.raise = "pilot.lua:1: not enough memory: it is kept in variables"
    box:advance "5s"
    assert.equal("healthy", boxes.events(box, "app"))
    box.app.state.raise = "pilot.lua:1: oops"
    box:advance "2s"
    assert.equal("healthy unhealthy", boxes.events(box, "app"))
    assert.equal(2, #box:forget_errors())
    box:stop()
  end)

  it("fails where the program is missing", function()
    local box = boxes.load [[
      pilot.job "app" { exec = "app", health = { exec = "check", interval = "1s", fall = 1 } }
    ]]
    box:program("app", {})
    box:program("check", { spawn_error = "ENOENT" })
    box:start():advance "3s"
    assert.equal("unhealthy", box:job("app").health)
  end)
end)
