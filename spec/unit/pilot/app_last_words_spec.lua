-- What handlers and other tasks still do when the pilot ends: who is awaited, who is cancelled, and what is said of it.
local boxes = require "support.boxes"
local sim = require "luapilot.sim"

describe("at the end of the pilot", function()
  after_each(boxes.check)

  local function warned(box)
    local list = {}
    for _, entry in ipairs(box:log()) do
      if entry.level == "warn" or entry.level == "error" then list[#list + 1] = entry.message end
    end
    return list
  end

  local function run(source, programs, signal)
    local box = boxes.run(source, programs or { app = sim.server, fails = { exit = 3 } })
    box:advance "1s"
    if signal then box:signal(signal) end
    return box
  end

  describe("is awaited", function()
    for name, source in pairs {
      ["the handler of the failure that ends it"] = [[
        local app = pilot.job "app" { exec = "fails", main = true }
        app:on("exit_failed", function() pilot.sleep "3s" print "> done" end) ]],
      ["the handler of the last stopped"] = [[
        local app = pilot.job "app" { exec = "fails" }
        app:on("stopped", function() pilot.sleep "3s" print "> done" end) ]],
      ["a handler of a main job's stopped"] = [[
        local app = pilot.job "app" { exec = "fails", main = true }
        app:on("stopped", function() pilot.sleep "3s" print "> done" end) ]],
      ["a program that a handler runs"] = [[
        local app = pilot.job "app" { exec = "fails", main = true }
        app:on("exit_failed", function() pilot.exec "tool" print "> done" end) ]],
      ["a handler that began before"] = [[
        pilot.on("startup", function() pilot.sleep "3s" print "> done" end)
        pilot.job "app" { exec = "fails", main = true } ]],
      ["a handler that waits for its turn"] = [[
        local app = pilot.job "app" { exec = "fails", main = true, restart = { count = 1, backoff = 0 } }
        local count = 0
        app:on("exit_failed", function()
          pilot.sleep "1600ms"
          count = count + 1
          if count == 2 then print "> done" end
        end) ]],
      ["a handler that settles"] = [[
        local app = pilot.job "app" { exec = "fails", main = true }
        app:on("exit_failed", { settle = "3s" }, function() print "> done" end) ]],
    } do
      it(name, function()
        local box = boxes.run(source, { fails = { exit = 3 }, tool = { exit = 0, after = "3s" } })
        box:advance "2900ms"
        assert.is_false(box.ended)
        box:advance "1100ms"
        assert.is_true(box.ended)
        assert.equal(1, boxes.logged(box, "> done"))
        assert.equal(3, box.exit_code)
        for _, message in ipairs(warned(box)) do
          assert.is_truthy(message:find "exited with code 3" or message:find "not started again", message)
        end
      end)
    end

    it("whoever works when a signal comes", function()
      local box = run([[
        local app = pilot.job "app" { exec = "app" }
        pilot.on("SIGUSR2", function() pilot.sleep "3s" print "> done" end)
      ]], { app = sim.server }, "SIGUSR2")
      box:signal "SIGTERM"
      box:advance "2900ms"
      assert.is_false(box.ended)
      assert.equal(1, box:job("app"):received "SIGTERM")
      box:advance "200ms"
      assert.is_true(box.ended)
      assert.equal(1, boxes.logged(box, "> done"))
      assert.same({}, warned(box))
    end)

    it("every line of output that is still queued", function()
      local box = boxes.run([[
        local app = pilot.job "app" { exec = "app", main = true }
        app:on("output", function(event) pilot.sleep "50ms" print("> " .. event.line) end)
      ]], { app = function(proc)
        for i = 1, 60 do proc:print(i) end
        proc:exit(0)
      end })
      box:advance "1s"
      assert.is_false(box.ended)
      box:advance "3s"
      assert.is_true(box.ended)
      assert.equal(60, boxes.logged(box, "> "))
      assert.same({}, warned(box))
    end)
  end)

  describe("is told", function()
    it("who was not awaited longer than the bound, and how many events he did not hear", function()
      local box = run([[
        local app = pilot.job "app" { exec = "app" }
        local last = pilot.on("SIGUSR2", function() pilot.sleep "1h" end)
        pilot.on("startup", function() while true do pilot.sleep "1s" end end)
        app:on("stopped", { settle = "1h" }, print)
        pilot.on("SIGHUP", function() end) -- who has heard all is not named
      ]], { app = sim.server }, "SIGUSR2")
      box:signal "SIGUSR2"
      box:signal "SIGUSR2"
      box:signal "SIGTERM"
      box:advance "6900ms"
      assert.is_false(box.ended)
      box:advance "200ms"
      assert.is_true(box.ended)
      assert.same({
        "the shutdown is near its bound of 8s: killing what is left",
        'job "app":on "stopped" at pilot.lua:4: the shutdown did not let it end: 1 event was not heard',
        'pilot.on "SIGUSR2" at pilot.lua:2: the shutdown did not let it end: 3 events were not heard',
        'pilot.on "startup" at pilot.lua:3: the shutdown did not let it end: 1 event was not heard',
      }, warned(box))
      assert.equal(0, box.exit_code) -- no job was killed
    end)

    it("who had its defer functions: they have what is left of the bound, and no time after a second signal", function()
      local function ended_after(signals)
        local box = boxes.run [=[
          pilot.on("startup", function()
            pilot.defer(function(why) pilot.sleep "500ms" print("> late " .. why) end)
            pilot.defer(function(why) print("> soon " .. why) end)
            pilot.sleep "1h"
          end)
        ]=]
        box:advance "1s"
        box:signal "SIGTERM"
        if signals == 2 then
          box:advance "2s"
          box:signal "SIGTERM"
        end
        box:run_until(function() return box.ended end, "1m")
        assert.equal(1, boxes.logged(box, "> soon cancel"))
        return box.world:elapsed() - 1, boxes.logged(box, "> late cancel")
      end
      local took, late = ended_after(1)
      assert.near(7.5, took, 0.01)
      assert.equal(1, late)
      took, late = ended_after(2)
      assert.near(2, took, 0.01)
      assert.equal(0, late)
    end)

    it("whom a second signal ended", function()
      local box = run([[
        pilot.on("SIGUSR2", function() pilot.sleep "1h" end)
        pilot.every("1h", print)
      ]], {}, "SIGUSR2")
      box:signal "SIGTERM"
      box:advance "2s"
      box:signal "SIGTERM"
      box:advance "100ms"
      assert.is_true(box.ended)
      assert.same({
        "SIGTERM: asked a second time: killing what is left",
        'pilot.on "SIGUSR2" at pilot.lua:1: the shutdown did not let it end: 1 event was not heard',
      }, warned(box))
    end)

    it("how many events were dropped, when the queue is short again", function()
      local box = boxes.run([[
        local app, slow = pilot.job "app" { exec = "app" }, true
        app:on("output", function() if slow then pilot.sleep "20ms" end end)
        pilot.after("10s", function() slow = false end)
      ]], { app = function(proc)
        for i = 1, 2500 do proc:print(i) end
        proc:sleep "20s"
        for i = 1, 2500 do proc:print(i) end
        proc:sleep "1h"
      end })
      box:advance "1m"
      local told = {}
      for _, entry in ipairs(box:log()) do
        if entry.message:find "events were dropped in all" then told[#told + 1] = entry.message end
      end
      assert.equal(1, #told)
      local count = tonumber(told[1]:match "pilot.lua:2: (%d+) events were dropped in all: it was too slow for them$")
      assert.equal(box.app.bus:subscribers("job:app", "output")[1].dropped, count)
      assert.is_true(count > 1000)
      box:stop()
    end)

    it("how many were dropped, at the latest then", function()
      local box = boxes.run([[
        local app = pilot.job "app" { exec = "app" }
        app:on("output", function() pilot.sleep "1s" end)
      ]], { app = function(proc)
        for i = 1, 2500 do proc:print(i) end
        proc:sleep "1h"
      end })
      box:advance "5s"
      box:stop()
      local said = {}
      for _, message in ipairs(warned(box)) do
        said[#said + 1] = message:match "pilot.lua:2: (%d+ events were dropped in all)"
          or message:match "the shutdown did not let it end: %d+ events were not heard"
      end
      assert.equal(2, #said)
    end)
  end)

  describe("is cancelled, and nothing is said of it,", function()
    for name, source in pairs {
      ["a tick of pilot.every"] = [[ pilot.every("500ms", function() pilot.exec "app" print "> no" end) ]],
      ["one that would make an error of it"] = [[
        pilot.every("500ms", function()
          local ok, err = pcall(pilot.exec, "app")
          error("it failed: " .. tostring(err))
        end) ]],
      ["one that waits for a job to start anew"] = [[
        pilot.every("60s", function() pilot.job("job"):restart() print "> no" end) ]],
      ["a delayed call"] = [[ pilot.after("500ms", function() pilot.sleep "1h" print "> no" end) ]],
      ["a cron timer"] = [[ pilot.cron("* * * * *", function() pilot.sleep "1h" print "> no" end) ]],
      ["a trigger function"] = [[
        pilot.job "b" { exec = "app", when = function() local ok, err = pcall(pilot.sleep, "1h") error(err) end } ]],
      ["a check"] = [[
        pilot.job "b" { exec = "app", health = { timeout = "1h", interval = "1h", check = function()
          local ok, err = pcall(pilot.sleep, "1h")
          error("it failed: " .. tostring(err))
        end } } ]],
      ["a task of the top level"] = [[ pilot.spawn(function() pilot.sleep "1h" print "> no" end) ]],
    } do
      it(name, function()
        local box = boxes.run(source .. [[ pilot.job "job" { exec = "slow" } ]],
          { app = sim.server, slow = { term_delay = "3s" } })
        box:advance "61s"
        box:signal "SIGTERM"
        box:advance "4s"
        assert.is_true(box.ended)
        assert.equal(0, boxes.logged(box, "> no"))
        assert.same({}, warned(box))
      end)
    end
  end)

  -- Its wait cannot come true any more, whatever it does with that.
  for name, wait in pairs {
    ["wait_for"] = 'app:wait_for("unhealthy")', ["next"] = 'app:next("exit_failed")', ["start"] = "later:start()",
    ["restart"] = "app:restart()",
  } do
    it(("a handler that waits for a job by %s is not waited for when that is over, and nothing is said of it")
      :format(name), function()
      local box = boxes.run(([[
        local app = pilot.job "app" { exec = "app", health = { exec = "fine" } }
        local later = pilot.job "later" { exec = "app", when = "manual", prepare = function() pilot.sleep "1h" end }
        pilot.on("SIGUSR2", function()
          pilot.defer(function(why) print("> " .. why) end)
          local ok, err = %s
          error("it goes on: " .. tostring(err))
        end)
      ]]):format(wait), { app = { term_delay = "2s" }, fine = { exit = 0 } })
      box:advance "1s"
      box:signal "SIGUSR2"
      box:signal "SIGTERM"
      box:advance "2100ms"
      assert.is_true(box.ended)
      assert.equal(1, boxes.logged(box, "> shutdown"))
      assert.same({}, warned(box))
    end)
  end

  it("a wait that begins then is answered", function()
    local box = run([[
      local app = pilot.job "app" { exec = "app", health = { exec = "fine" } }
      pilot.on("shutdown", function()
        print("> " .. tostring(app:wait_for("stopped")))
        print("> " .. select(2, app:wait_for("healthy")))
        print("> " .. select(2, app:next("exit_failed")))
      end)
    ]], { app = sim.server, fine = { exit = 0 } }, "SIGTERM")
    box:advance "2s"
    assert.is_true(box.ended)
    assert.equal(1, boxes.logged(box, "> true"))
    assert.equal(2, boxes.logged(box, "> complete"))
  end)
end)
