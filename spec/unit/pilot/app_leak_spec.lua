-- What a pilot that runs for months must not keep.
local app = require "luapilot.pilot.app"
local boxes = require "support.boxes"
local stub_port = require "support.stub_port"

describe("a long life", function()
  after_each(boxes.check)

  local function size(map)
    local count = 0
    for _ in pairs(map) do count = count + 1 end
    return count
  end

  local function live_timers(heap)
    local count = 0
    for _, entry in ipairs(heap) do
      if entry.fn then count = count + 1 end
    end
    return count
  end

  -- What the core and the port hold at this moment.
  local function held(box)
    local core = box.app
    return {
      routes = size(core.loop.routes), handles = size(box.port.handles), tasks = core.tasks.count,
      timers = live_timers(box.world.clock.heap), listeners = core.bus:count(function() return true end),
    }
  end

  local function stays_small(source, programs, disturb)
    local box = boxes.run(source, programs)
    box:advance "3m"
    if disturb then disturb(box) end
    local early = held(box)
    for _ = 1, 6 do
      box:advance "3m"
      if disturb then disturb(box) end
    end
    local late = held(box)
    box:forget_errors()
    for name, count in pairs(late) do
      assert.is_true(count <= 2 * early[name] + 20, ("%s: %d, then %d"):format(name, early[name], count))
    end
    return box
  end

  it("of restarts keeps nothing of the old processes", function()
    local box = stays_small([[
      pilot.job "app" {
        exec = "app", restart = { backoff = 0 }, prepare = function() end,
        health = { { tcp = "localhost:1", interval = "1s" }, { exec = "check", interval = "1s" },
          { check = function() return true end, interval = "1s" }, { notify = true, interval = "1s" } },
      }:on("output", function() end)
    ]], { app = { exit = 1, after = "2s", stdout = "line\n", listens = "localhost:1", notify = { READY = 1 } },
      check = { exit = 0, stdout = "fine" } })
    assert.is_true(box:job "app":starts() > 500)
  end)

  it("of lines that are heard only later keeps nothing either", function()
    stays_small([[
      local app = pilot.job "app" { exec = "app", restart = { backoff = 0 } }
      pilot.every("3s", function() app:next("output", "1s") end)
    ]], { app = { exit = 1, after = "2s", stdout = "line\n" } })
  end)

  it("of errors keeps nothing: they are told, and shown to whoever observes", function()
    local world = stub_port.new { read = true, environ = true, signals = true, hostname = true }
    world.files["pilot.lua"] = 'require "luapilot".every("1s", function() error "oh" end)'
    local pilot, seen = app.new { port = world.port }, 0
    pilot.observe = function(event) seen = seen + (event.name == "error" and 1 or 0) end
    world.turn = function(event) pilot:turn(event) end
    assert(pilot:load "pilot.lua")
    pilot:start()
    world:advance(3)
    local said = 0
    for _, message in ipairs(world.logs) do said = said + (message.message:find "oh" and 1 or 0) end
    assert.equal(3, said)
    assert.equal(3, seen)
  end)

  it("of waiting, timing out and cancelling keeps no timers", function()
    stays_small([[
      local app = pilot.job "app" { exec = "app", restart = { backoff = 0 } }
      pilot.every("1s", function()
        app:wait_for("stopped", "100ms")
        app:next("exit_failed", "100ms")
        pilot.timeout("100ms", pilot.sleep, "1h")
        local t = pilot.spawn(pilot.sleep, "1h")
        t:wait "100ms"
        t:cancel()
        pilot.exec("tool", { timeout = "1h" })
      end)
    ]], { app = { exit = 1, after = "2s" }, tool = { exit = 0 } })
  end)

  it("of events keeps none of them", function()
    stays_small([[
      for _, when_busy in ipairs { "queue", "latest", "drop", "restart", "parallel" } do
        pilot.on("SIGUSR1", { when_busy = when_busy, settle = "1s", timeout = "2s" }, function() pilot.sleep "1s" end)
        pilot.job("on-" .. when_busy) {
          exec = "app", when = pilot.each("SIGUSR1", { settle = "1s", timeout = "1h" }), restart = 1,
        }
      end
      pilot.job "sometimes" { run = function() pilot.sleep "1s" error("x", 0) end, when = pilot.every "10s" }
    ]], { app = { exit = 1, after = "1s" } }, function(box)
      for _ = 1, 20 do
        box:signal "SIGUSR1"
        box:advance "700ms"
      end
    end)
  end)

  it("of stops and starts keeps nothing", function()
    stays_small([[
      local app = pilot.job "app" { exec = "app", reload = "SIGHUP", health = { tcp = "localhost:1" } }
      app:on("stopping", function() pilot.sleep "100ms" end)
      pilot.every("5s", function() app:restart() app:reload() app:signal "SIGUSR2" end)
    ]], { app = { listens = "localhost:1", ignores = { "SIGUSR2" }, on = { SIGHUP = function() end } } })
  end)
end)
