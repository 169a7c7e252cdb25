local cjson = require "cjson"
local stub_pilot = require "support.stub_pilot"

describe("starter", function()
  local box

  after_each(function() box:check() end)

  -- A job "app" with this trigger, and a job "db" with a check.
  local function run(trigger)
    box = stub_pilot.load(([[
      local pilot = require "luapilot"
      local given = pilot.state
      local db = pilot.job "db" { exec = "db", health = { tcp = "db:1", fall = 1, interval = "1s" } }
      local other = pilot.job "other" { exec = "other", when = "manual" }
      pilot.job "app" { exec = "app", stop_timeout = "5s", when = %s }
    ]]):format(trigger)):start()
  end

  local function runs() return box:job("app").memory.runs end
  local function exit(name, code) box.world:exit(box:process(name or "app"), { code = code or 0 }) end
  local function signal(name) box.app:turn { type = "signal", name = name or "SIGUSR2" } end
  local function connected(err) box.world:send(box:handle "connection", { type = "connected", error = err }, true) end

  it("starts at start-up without a trigger, when the file has none", function()
    run "nil"
    assert.equal(1, runs())
  end)

  it("starts once, and again and again", function()
    run 'pilot.once "SIGUSR2"'
    signal()
    exit()
    signal()
    assert.equal(1, runs())
    box:check()
    run 'pilot.each "SIGUSR2"'
    for i = 1, 3 do
      signal()
      assert.equal(i, runs())
      exit()
    end
  end)

  it("starts once for two events that come while it runs", function()
    run 'pilot.each "SIGUSR2"'
    signal()
    signal()
    signal()
    assert.equal(1, runs())
    exit()
    assert.equal(2, runs())
    exit()
    assert.equal(2, runs())
  end)

  it("starts once for two intervals that are due together", function()
    run 'pilot.any { pilot.every "2s", pilot.every "3s" }'
    assert.equal(1, runs())
    exit()
    assert.equal(1, runs())
    box.world:advance(2)
    assert.equal(2, runs())
    exit()
    box.world:advance(4)
    assert.equal(3, runs())
    exit()
    assert.equal(3, runs())
  end)

  it("starts it once more for events that queue", function()
    run 'pilot.each("SIGUSR2", { when_busy = "queue" })'
    for _ = 1, 3 do signal() end
    exit()
    assert.equal(2, runs())
    exit()
    assert.equal(2, runs())
  end)

  it("drops them, or restarts, as it is told", function()
    run 'pilot.each("SIGUSR2", { when_busy = "drop" })'
    signal()
    signal()
    exit()
    assert.equal(1, runs())
    box:check()
    run 'pilot.each("SIGUSR2", { when_busy = "restart" })'
    signal()
    signal()
    assert.same({ "SIGTERM group" }, box:signals())
    exit(nil, 0)
    assert.equal(2, runs())
  end)

  it("restarts although the run has ended in the same turn", function()
    run 'pilot.each("SIGUSR2", { when_busy = "restart" })'
    signal()
    local app = box:job "app"
    app.app:command(function() app:input("exited", { code = 0 }) end)
    app.app:command(function() app:input("group_gone", {}) end)
    app:post("stop", { again = "trigger" })
    box.app.loop:rest()
    assert.equal(2, runs())
    box.world.handles[box:process "app" - 1] = nil -- the process that has ended
  end)

  it("settles", function()
    run 'pilot.each("SIGUSR2", { settle = "1s", max_wait = "3s" })'
    for _ = 1, 3 do
      signal()
      box.world:advance(0.9)
      assert.equal(0, runs())
    end
    signal()
    box.world:advance(0.4) -- 3 s after the first
    assert.equal(1, runs())
    box.world:advance(10)
    assert.equal(1, runs())
    exit()
    assert.equal(1, runs())
  end)

  it("settles when it is quiet, and counts once", function()
    run 'pilot.each("SIGUSR2", { settle = "1s", max_wait = "3s" })'
    signal()
    box.world:advance(0.9)
    assert.equal(0, runs())
    box.world:advance(0.2)
    assert.equal(1, runs())
    box.world:advance(10)
    exit()
    assert.equal(1, runs())
  end)

  it("hears what is so already", function()
    run 'db:once "healthy"'
    connected()
    assert.equal(1, runs())
    box:check()
    run 'function() pilot.sleep "5s" db:wait_for "healthy" return true end'
    connected()
    box.world:advance(4)
    assert.equal(0, runs())
    box.world:advance(1)
    assert.equal(1, runs())
  end)

  it("runs at an interval, and skips what overlaps", function()
    run 'pilot.every "10s"'
    assert.equal(1, runs())
    box.world:advance(9) -- its timeout is the interval: it is over before
    exit()
    box.world:advance(1)
    assert.equal(2, runs())
    box:job("app").spec.timeout = nil
    exit()
    box.world:advance(10)
    box.world:advance(10)
    assert.equal(3, runs())
    local last = box.world:messages "info"
    assert.equal('job "app": the last run is not over: this one is skipped', last[#last])
  end)

  it("gives up after its timeout, and only if it has not started", function()
    run 'pilot.once("SIGUSR2", { timeout = "10s" })'
    box.world:advance(10)
    assert.equal("complete", box:state "app")
    assert.equal("trigger", box:job("app").memory.exit.reason)
    signal()
    assert.equal(0, runs())
    assert.same({ 'job "app": gave up after 10s of waiting for pilot:once "SIGUSR2"' },
      { box.world:messages("error")[1] })
    box:check()
    run 'pilot.once("SIGUSR2", { timeout = "10s" })'
    signal()
    box.world:advance(20)
    assert.equal(1, runs())
  end)

  describe("a function", function()
    it("starts it with a true value", function()
      run 'function(job) pilot.sleep "1s" return job.name == "app" end'
      assert.equal(0, runs())
      box.world:advance(1)
      assert.equal(1, runs())
    end)

    it("that returns nothing, or fails, never starts it", function()
      run "function() pilot.sleep(1) end"
      box.world:advance(1)
      assert.equal("complete", box:state "app")
      assert.equal("its `when` function returned nothing true: it will not be started",
        box:job("app").memory.exit.error)
      box:check()
      run 'function() error("no", 0) end'
      assert.equal("complete", box:state "app")
      assert.equal("its `when` function failed: it will not be started", box:job("app").memory.exit.error)
      assert.same({ 'job "app": when: no' }, box:take_errors())
    end)

    it("is cancelled by the end", function()
      run "function() while true do pilot.sleep(1) end end"
      box.world:advance(5)
      box:stop()
      assert.equal(0, runs())
    end)
  end)

  it("a job is complete when its trigger cannot fire any more", function()
    run 'db:once "healthy"'
    connected "refused"
    exit "db"
    assert.equal("complete", box:state "db")
    assert.equal("complete", box:state "app")
    assert.equal(0, runs())
  end)

  it("jobs at rest that wait for each other, and for nothing else, are complete", function()
    box = stub_pilot.load [[
      local pilot = require "luapilot"
      local a, b = pilot.job "app", pilot.job "b"
      a { exec = "a", when = pilot.any { pilot.once "startup", b:each "exit_failed" } }
      b { exec = "b", when = a:each "exit_success" }
    ]]
    box:start()
    exit "app"
    exit "b"
    assert.same({ "complete", "complete" }, { box:state "app", box:state "b" })
    assert.is_true(box.app.ended)
  end)

  it("a job at rest that the clock starts keeps those alive that wait for it", function()
    box = stub_pilot.load [[
      local pilot = require "luapilot"
      local tick = pilot.job "tick" { exec = "tick", when = pilot.every "10s" }
      pilot.job "app" { exec = "app", when = tick:each "exit_success" }
    ]]
    box:start()
    for _ = 1, 3 do
      exit "tick"
      exit "app"
      assert.same({ "waiting", "waiting" }, { box:state "tick", box:state "app" })
      box.world:advance(10)
    end
  end)

  describe("survives a reload", function()
    -- The same trigger in a new core, at the same port.
    local function reload(trigger)
      local data = cjson.decode(cjson.encode(box.app:snapshot()))
      local old = box
      box = stub_pilot.load(([[
        local pilot = require "luapilot"
        local db = pilot.job "db" { exec = "db", health = { tcp = "db:1", fall = 1, interval = "1s" } }
        local other = pilot.job "other" { exec = "other", when = "manual" }
        pilot.job "app" { exec = "app", stop_timeout = "5s", when = %s }
      ]]):format(trigger), { world = old.world })
      old.app:let_go()
      box.app:restore(data)
      box:take_events()
    end

    it("what has fired does not fire again", function()
      local WHEN = 'pilot.all { db:once "healthy", pilot.once "SIGUSR2" }'
      run(WHEN)
      connected()
      reload(WHEN)
      assert.equal(0, runs())
      signal()
      assert.equal(1, runs())
      exit()
      reload(WHEN)
      signal()
      assert.equal(1, runs())
    end)

    it("what is due stays due, and the first run is not repeated", function()
      run 'pilot.every "10s"'
      exit()
      box.world:advance(4)
      reload 'pilot.every "10s"'
      assert.equal(1, runs())
      box.world:advance(5.9)
      assert.equal(1, runs())
      box.world:advance(0.1)
      assert.equal(2, runs())
    end)

    it("its timeout goes on", function()
      run 'pilot.once("SIGUSR2", { timeout = "10s" })'
      box.world:advance(6)
      reload 'pilot.once("SIGUSR2", { timeout = "10s" })'
      box.world:advance(3)
      assert.equal("waiting", box:state "app")
      box.world:advance(1)
      assert.equal("complete", box:state "app")
      reload 'pilot.once("SIGUSR2", { timeout = "10s" })'
      assert.equal("complete", box:state "app")
      assert.equal("trigger", box:job("app").memory.exit.reason)
    end)

    it("a function that was satisfied is not called again, one that was not is", function()
      local WHEN = 'function() pilot.sleep "5s" pilot.state.called = (pilot.state.called or 0) + 1 return true end'
      run(WHEN)
      box.world:advance(4)
      reload(WHEN)
      box.world:advance(4)
      assert.equal(0, runs())
      box.world:advance(1)
      assert.equal(1, runs())
      box.app.state.called = nil
      reload(WHEN)
      box.world:advance(10)
      assert.is_nil(box.app.state.called)
      assert.equal(1, runs())
    end)

    it("a changed trigger starts a running job no second time because of what is so already", function()
      run "nil"
      connected()
      for _, trigger in ipairs { 'db:once "healthy"', 'pilot.every "10s"', "function() return true end", "nil",
        'pilot.any { pilot.once "startup", db:once "healthy" }', 'db:once("healthy", { settle = "1s" })' } do
        reload(trigger)
        assert.equal(1, runs())
        assert.is_nil(box:job("app").memory.again)
      end
      reload 'pilot.each "SIGUSR2"'
      signal()
      exit()
      assert.equal(2, runs())
    end)

    it("a changed trigger does start a job that has never run", function()
      run 'pilot.once "SIGUSR2"'
      connected()
      reload 'db:once "healthy"'
      assert.equal(1, runs())
    end)
  end)
end)
