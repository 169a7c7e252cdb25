-- What each kind of fault does to a box, and what schedules a seed draws.

local boxes = require "support.boxes"
local faults = require "luapilot.sim.faults"
local random = require "luapilot.sim.random"
local sim = require "luapilot.sim"

describe("a fault", function()
  after_each(boxes.check)

  local struck, box, app

  -- A started box with one fault on its clock, two seconds after the start.
  local function run(fault, source, describe_more)
    box = boxes.load(source or [[
      local app = pilot.job "app" { exec = { "app", "-x" }, restart = { backoff = "5s" }, stop_timeout = "3s" }
      pilot.on("SIGUSR1", function() app:stop() end)
    ]])
    box:program("app -x", sim.server)
    if describe_more then describe_more(box) end
    fault.at, fault.box = 2, 1
    struck = {}
    faults.plan(box.world, { fault }, struck)
    box:start()
    app = box.app.jobs.app and box:job "app"
    box:advance "2500ms"
  end

  it("exit ends the job's process with a code", function()
    run { kind = "exit", target = "app", how = 3 }
    assert.same({ 3, "exit" }, { app.exit.code, app.exit.reason })
    assert.same({ exit = 1 }, struck)
    assert.matches('fault   job "app" exits with code 3', box:history())
  end)

  it("kill kills it", function()
    run { kind = "kill", target = "app", how = "SIGSEGV" }
    assert.equal("SIGSEGV", app.exit.signal)
  end)

  it("that finds nothing to hit does not count", function()
    run({ kind = "kill", target = "app", how = "SIGKILL" }, [[ pilot.job "app" { exec = "app -x", when = "manual" } ]])
    assert.same({}, struck)
    assert.is_nil(box:history():find("fault", 1, true))
  end)

  it("freeze stops it for a time", function()
    run({ kind = "freeze", target = "app", lasts = 10 })
    assert.equal("stopped", app:process().state)
    box:advance "9s"
    assert.equal("stopped", app:process().state)
    box:advance "1s"
    assert.equal("alive", app:process().state)
    assert.matches('12%.0%d+  fault   over: job "app" freezes', box:history())
  end)

  it("deaf makes what runs, and what is started, withstand SIGTERM", function()
    run { kind = "deaf", target = "app -x", lasts = 30 }
    box:signal "SIGUSR1"
    box:advance "2s"
    assert.is_true(app:process().state == "alive")
    box:advance "2s"
    assert.equal("SIGKILL", app:process().ended.signal)
  end)

  it("deaf takes nothing else from a program that is a script", function()
    run({ kind = "deaf", target = "app -x", lasts = 30 }, [[
      local app = pilot.job "app" { exec = "app -x", stop_timeout = "2s", health = { notify = true } }
      pilot.on("SIGUSR1", function() app:restart() end)
    ]], function(b)
      b:program("app -x", function(process)
        process:handle("SIGTERM", function() process:exit(0) end)
        process:notify { READY = "1" }
        process:sleep "24h"
      end)
    end)
    for _ = 1, 2 do -- the one that ran before, and the one that was started meanwhile
      assert.equal("healthy", app.health)
      box:signal "SIGUSR1"
      box:advance "1s"
      assert.equal("alive", app:process().state)
      box:advance "3s"
    end
  end)

  it("slow, hang, fail and spawn change what is started meanwhile, and nothing afterwards", function()
    local FILE = [[
      local app = pilot.job "app" { exec = "app -x", restart = { backoff = "1s", max_backoff = "1s" },
        health = { tcp = "localhost:1", interval = "1s" } }
      pilot.on("SIGUSR1", function() app:restart() end)
    ]]
    local function program(b)
      b:program("app -x", { listens = "localhost:1", start_delay = "100ms", term_delay = "1ms" })
    end
    run({ kind = "slow", target = "app -x", how = 5, lasts = 1 }, FILE, program)
    box:signal "SIGUSR1"
    box:advance "5s"
    assert.equal("unhealthy", app.health)
    box:advance "2s"
    assert.equal("healthy", app.health)
    run({ kind = "hang", target = "app -x", how = "hang", lasts = 1 }, FILE, program)
    box:signal "SIGUSR1"
    box:advance "1m"
    assert.same({ "running", "unhealthy" }, { app.state, app.health })
    box:signal "SIGUSR1"
    box:advance "10s"
    assert.equal("healthy", app.health)
    run({ kind = "fail", target = "app -x", how = 2, lasts = 3 }, FILE, program)
    box:signal "SIGUSR1"
    box:advance "500ms"
    assert.same({ 2, "backoff" }, { app.exit.code, app.state })
    box:advance "10s"
    assert.equal("healthy", app.health)
    run({ kind = "spawn", target = "app -x", how = "EAGAIN", lasts = 3 }, FILE, program)
    box:signal "SIGUSR1"
    box:advance "1s"
    assert.is_true(boxes.logged(box, "cannot be started now") > 0)
    box:advance "10s"
    assert.equal("healthy", app.health)
  end)

  local function get(answer_now)
    return function(b)
      b:http("http://api/*", answer_now or 200)
    end
  end

  local ASK = [[
    pilot.every("4s", function()
      local ok, res = pcall(pilot.http.get, "http://api/x", { timeout = "3s" })
      pilot.state.said = ok and res.status or res
    end)
    pilot.after("2500ms", function() pilot.state.half = pilot.http.get("http://api/y", { timeout = "20s" }).status end)
  ]]

  it("http changes what a URL answers, for a time", function()
    run({ kind = "http", target = "http://api/*", how = { status = 503, headers = {}, body = "", after = 0, every = 0 },
      lasts = 8 }, ASK, get())
    box:advance "2s"
    assert.equal(503, box.app.state.said)
    box:advance "8s"
    assert.equal(200, box.app.state.said)
    run({ kind = "http", target = "http://api/*", how = { slow = 5 }, lasts = 8 }, ASK, get())
    box:advance "4900ms"
    assert.matches("no answer within 3s", box.app.state.said)
    assert.is_nil(box.app.state.half)
    box:advance "500ms"
    assert.equal(200, box.app.state.half)
    run({ kind = "http", target = "http://api/*", how = { error = "ECONNREFUSED" }, lasts = 3 }, ASK, get())
    box:advance "5s"
    box:forget_errors()
    assert.matches("connection refused", box.app.state.said)
  end)

  it("cut breaks the connections to a server, and no others", function()
    run({ kind = "cut", target = "localhost:9", how = "ECONNRESET" }, [[
      pilot.state.said = {}
      for i, address in ipairs { "127.0.0.1:9", "localhost:9", "localhost:10" } do
        pilot.spawn(function()
          local ok, said = pcall(function() return pilot.net.connect(address, { timeout = "1m" }):read_line() end)
          pilot.state.said[i] = tostring(said)
        end)
      end
    ]], function(b)
      b:server("localhost:9", function(conn) conn:sleep "1h" end)
      b:server("localhost:10", function(conn) conn:sleep "1h" end)
    end)
    assert.matches("connection reset by peer", box.app.state.said[1])
    assert.matches("connection reset by peer", box.app.state.said[2])
    assert.is_nil(box.app.state.said[3])
    assert.same({ cut = 1 }, struck)
    assert.matches("fault   the connections to localhost:9 break", box:history())
  end)

  it("tcp closes an address, for a time", function()
    run({ kind = "tcp", target = "localhost:9", how = "down", lasts = 5 },
      [[ pilot.job "app" { exec = "app -x", health = { tcp = "127.0.0.1:9", interval = "1s", fall = 1 } } ]],
      function(b) b:tcp("localhost:9", "up") end)
    box:advance "1s"
    assert.equal("unhealthy", app.health)
    box:advance "5s"
    assert.equal("healthy", app.health)
  end)

  it("disk lets no file be written, for a time", function()
    local FILE = [[ pilot.every("1s", function() pilot.state.ok = pcall(pilot.fs.write, "/x", "text") end) ]]
    for _, code in ipairs { "ENOSPC", "EROFS", "EIO", "EDQUOT" } do
      run({ kind = "disk", how = code, lasts = 5 }, FILE)
      box:advance "1s"
      assert.is_false(box.app.state.ok)
      assert.equal("text", box:file "/x")
      box:advance "5s"
      assert.is_true(box.app.state.ok)
    end
  end)

  it("clock sets the wall clock, signal and shutdown tell the pilot", function()
    run({ kind = "clock", how = -600 }, [[ pilot.every("1s", function() pilot.state.now = pilot.now() end) ]])
    box:advance "1s"
    assert.equal(1767225600 + 3 - 600, math.floor(box.app.state.now))
    run { kind = "signal", how = "SIGUSR1" }
    assert.equal("stopped", app.state)
    run { kind = "shutdown", how = "SIGTERM" }
    assert.is_true(box.ended)
  end)
end)

describe("a schedule", function()
  after_each(boxes.check)

  local world, choices
  before_each(function()
    world = sim.world { seed = 1 }
    local box = boxes.load([[
      pilot.consul "localhost:8500"
      pilot.job "app" { exec = "app" }
      pilot.job "lua" { run = function() end }
    ]], {}, world)
    box:program("app", {})
    box:program(function() return false end, {})
    box:http("http://a/", 200)
    box:http("POST http://a/", 200)
    box:tcp("127.0.0.1:1", "up")
    box:server("127.0.0.1:2", {})
    choices = faults.choices(world)
  end)

  it("may have every kind, on all that the setup has", function()
    local places = {}
    for _, choice in ipairs(choices) do
      local targets = {}
      for i, place in ipairs(choice.places) do targets[i] = place.target or "box" end
      places[choice.kind] = table.concat(targets, ", ")
    end
    assert.same({
      exit = "app", kill = "app", freeze = "app",
      deaf = "app, function 2", slow = "app, function 2", hang = "app, function 2", fail = "app, function 2",
      spawn = "app, function 2", http = "http://a/, POST http://a/", tcp = "localhost:1, localhost:2",
      cut = "localhost:2",
      disk = "box", clock = "box", signal = "box", shutdown = "box",
      consul_down = "box", consul_hang = "box", consul_vanish = "box", consul_slow = "box", consul_fail = "box",
      consul_restart = "box",
      consul_forget = "box", consul_wipe = "box", consul_partition = "box", consul_leader = "box",
      consul_deny = "box", consul_session = "box", consul_remove = "box",
    }, places)
  end)

  it("is the same for the same seed, and plain data", function()
    local seen = {}
    for seed = 1, 300 do
      local list = faults.draw(random.new(seed, 2), choices, 100)
      assert.same(list, faults.draw(random.new(seed, 2), choices, 100))
      local before = 0
      for _, fault in ipairs(list) do
        seen[fault.kind] = true
        assert.is_true(fault.at >= before and fault.at <= 90)
        assert.is_true(fault.at + (fault.lasts or 0) <= 100)
        assert.is_string(faults.tell(fault))
        before = fault.at
      end
      assert.is_true(#list <= 12)
    end
    for _, kind in ipairs(faults.kinds) do assert.is_true(seen[kind], kind) end
  end)
end)
