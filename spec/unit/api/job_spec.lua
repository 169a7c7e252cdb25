local job_api = require "luapilot.api.job"
local stub_pilot = require "support.stub_pilot"

describe("pilot.job", function()
  local box

  before_each(function() box = nil end)
  after_each(function() if box then box:check() end end)

  -- A file with a manual job "app"; what `fn` says is in `said`.
  local said
  local function run(options, calls)
    said = {}
    box = stub_pilot.load(([[
      local pilot = require "luapilot"
      pilot.state.app = pilot.job "app" { exec = "app", when = "manual", %s }
      pilot.on("SIGUSR1", function() end)
    ]]):format(options or ""), { calls = calls }):start()
    return box.app.state.app
  end

  local function say(...) said[#said + 1] = table.concat({ tostring((...)), select(2, ...) }, " ") end

  local function task(fn)
    return box:task(function()
      local ok, err = pcall(fn)
      if not ok then say("raised", (tostring(err):gsub("^[^ ]*: ", ""))) end
    end)
  end

  local function exit(how) box.world:exit(box:process "app", how or { code = 0 }) end

  it("shows what it is, before and after it is described", function()
    local app = run()
    assert.same({ "app", "waiting", false, "unknown", 0 },
      { app.name, app.state, app.running, app.health, app.restarts })
    assert.is_nil(app.pid)
    assert.is_nil(app.exit)
    task(function() app:start() end)
    assert.same({ "running", true, 101 }, { app.state, app.running, app.pid })
    assert.equal(box.world.port.clock(), app.since)
    box.world:advance(5)
    exit { code = 3 }
    assert.same({ code = 3, reason = "exit", at = box.world.port.clock() }, app.exit)
    app.exit.code = 0
    assert.equal(3, app.exit.code)
    assert.equal('job "app"', tostring(app))
    assert.is_true(job_api.is(app))
    assert.is_false(job_api.is {})
  end)

  it("refuses what it does not know", function()
    local app = run()
    local function raised(fn) return (select(2, pcall(fn)):gsub("^[^ ]*: ", "")) end
    assert.equal('a job has no "helth" (did you mean "health"?)', raised(function() return app.helth end))
    assert.matches("cannot be set", raised(function() app.name = "x" end))
    assert.matches("call it with a colon", raised(function() app.start() end))
    for _, call in ipairs { function() app.start() end, function() app.on() end, function() app.signal() end } do
      local line = debug.getinfo(call).linedefined
      assert.matches("^spec/unit/api/job_spec.lua:" .. line .. ": ", select(2, pcall(call)))
    end
    assert.matches("expected a list of tags, got nothing", raised(function() app:set_tags() end))
    assert.matches('job "app" has no service', raised(function() app:set_tags { "a" } end))
    assert.matches("job:maintenance: reason: is not UTF%-8: its byte 2 is \\255",
      raised(function() app:maintenance(true, "r\255") end))
    assert.matches("job:maintenance: expected true or false, got a string", raised(function() app:maintenance "on" end))
    assert.matches("unknown signal", raised(function() app:signal "SIGFOO" end))
    assert.matches("has no reload", raised(function() app:reload() end))
    assert.matches("unknown state", raised(function() app:wait_for "up" end))
    assert.matches("no \"started\"", raised(function() app:next "started" end))
    assert.matches("timeout", raised(function() app:wait_for("healthy", "5") end))
  end)

  describe("start", function()
    it("waits for the process", function()
      local app = run 'prepare = function() require("luapilot").sleep(1) end'
      task(function() app:start() say(app.pid) end)
      assert.same({}, said)
      box.world:advance(1)
      assert.same({ "101" }, said)
    end)

    it("leaves a job that runs as it is", function()
      local app = run()
      task(function() app:start() app:start() say(app.pid) end)
      assert.same({ "101" }, said)
    end)

    it("raises why it cannot be started", function()
      local app = run("", { spawn = function() return nil, "no such program", "ENOENT", "exec" end })
      task(function() app:start() end)
      assert.same({ 'raised job "app" cannot be started: no such program' }, said)
    end)

    it("raises for everybody who waits for the same prepare", function()
      local app = run 'prepare = function() require("luapilot").sleep(1) error("no", 0) end'
      task(function() app:start() end)
      task(function() app:start() end)
      box.world:advance(1)
      assert.same({ 'raised job "app" cannot be started: prepare failed: no',
        'raised job "app" cannot be started: prepare failed: no' }, said)
      box:take_errors()
    end)

    it("waits while the machine refuses it", function()
      local refuse = true
      local app = run("", { spawn = function(world)
        if refuse then return nil, "too many", "EMFILE", "descriptors" end
        return world:handle { what = "process" }, 5
      end })
      task(function() app:start() say "started" end)
      box.world:advance(0.5)
      assert.same({}, said)
      refuse = false
      box.world:advance(5)
      assert.same({ "started" }, said)
    end)

    it("raises when it is stopped before it ran; at the shutdown it ends the task", function()
      local app = run 'prepare = function() require("luapilot").sleep(10) end'
      task(function() app:start() end)
      task(function() app:stop() say "stopped" end)
      assert.same({ 'raised job "app" cannot be started: it was stopped meanwhile', "stopped" }, said)
      said = {}
      task(function() app:start() end)
      box:stop()
      assert.same({ "raised task cancelled: shutdown" }, said)
    end)

    it("waits for the end of a stop that is under way", function()
      local app = run()
      task(function() app:start() app:stop() say "stopped" end)
      task(function() app:start() say(app.pid) end)
      assert.same({}, said)
      exit()
      table.sort(said)
      assert.same({ "102", "stopped" }, said)
    end)

    it("leaves nothing behind when it is cancelled", function()
      local app = run 'prepare = function() require("luapilot").sleep(1000) end'
      for _ = 1, 5 do
        local t = task(function() app:start() end)
        t:cancel()
      end
      box.app.loop:rest()
      assert.is_true(box:job("app").watchers:is_empty())
    end)
  end)

  describe("stop", function()
    it("waits until the group is gone", function()
      local app = run()
      task(function() app:start() app:stop() say "stopped" end)
      box.world:exit(box:process "app", { signal = "SIGTERM" }, true)
      assert.same({}, said)
      box.world:gone(box:process "app")
      assert.same({ "stopped" }, said)
      assert.equal("stopped", app.state)
    end)

    it("returns at once when nothing runs", function()
      local app = run()
      task(function() app:stop() say(app.state) end)
      assert.same({ "stopped" }, said)
    end)

    it("returns for everybody, also when the job is started again at once", function()
      local app = run()
      task(function() app:start() app:stop() say "one" end)
      task(function() app:stop() say "two" end)
      task(function() app:start() say "started" end)
      exit()
      table.sort(said)
      assert.same({ "one", "started", "two" }, said)
      assert.equal("running", app.state)
    end)
  end)

  it("restarts", function()
    local app = run()
    task(function() app:start() app:restart() say(app.pid) end)
    exit()
    assert.same({ "102" }, said)
    exit()
    task(function() app:restart() say(app.pid) end)
    assert.same({ "102", "103" }, said)
  end)

  it("restarts, also when the task that asked for it ends meanwhile", function()
    local app = run()
    task(function()
      app:start()
      box.app.object.timeout("1s", app.restart, app)
      say "over"
    end)
    box.world:advance(2)
    assert.same({ "over", "stopping" }, { said[1], app.state })
    exit()
    assert.equal("running", app.state)
  end)

  it("says why it cannot be restarted", function()
    local app = run()
    task(function() app:start() app:restart() end)
    task(function() app:stop() end)
    exit()
    assert.equal("stopped", app.state)
    assert.same({ 'raised job "app" cannot be started: it was stopped meanwhile' }, said)
  end)

  describe("wait_for", function()
    it("returns at once what is so, and waits for what is not", function()
      local app = run()
      task(function() say(app:wait_for "stopped") end)
      task(function() say(app:wait_for "exited") end)
      task(function() say(app:wait_for("exit_failed", "5s")) end)
      assert.same({ "true" }, said)
      task(function() app:start() end)
      exit { code = 1 }
      assert.same({ "true", "true", "true" }, said)
    end)

    it("gives up after a while, or when it can no longer come", function()
      local app = run()
      task(function() say(app:wait_for("running", "2s")) end)
      task(function() say(app:wait_for("running", 0)) end)
      task(function() say(app:wait_for "healthy") end)
      box.world:advance(2)
      assert.same({ "nil no health check", "nil timeout", "nil timeout" }, said)
      assert.is_true(box:job("app").watchers:is_empty())
    end)

    it("sees the end of a leader whose group still lives", function()
      local app = run()
      task(function() app:start() say(app:wait_for "exit_failed") end)
      box.world:exit(box:process "app", { code = 1 }, true)
      assert.same({ "true" }, said)
      box.world:gone(box:process "app")
    end)

    it("wakes in the order in which they began to wait", function()
      local app = run()
      for i = 1, 8 do task(function() app:wait_for "running" say(i) end) end
      task(function() app:start() end)
      assert.same({ "1", "2", "3", "4", "5", "6", "7", "8" }, said)
    end)

    it("leaves nothing behind when it is cancelled", function()
      local app = run()
      local t = task(function() app:wait_for("running", "1h") end)
      t:cancel()
      box.app.loop:rest()
      assert.is_true(box:job("app").watchers:is_empty())
    end)
  end)

  describe("next", function()
    it("waits for the next time", function()
      local app = run()
      task(function() app:start() end)
      exit { code = 1 }
      task(function() say(app:next("exit_failed", "5s").code) end)
      task(function() app:start() end)
      exit { code = 7 }
      assert.same({ "7" }, said)
    end)

    it("gives up, and leaves no listener", function()
      local app = run()
      task(function() say(app:next("stopped", "1s")) end)
      task(function() app:next "stopped" end):cancel()
      box.world:advance(1)
      assert.same({ "nil timeout", "raised task cancelled: cancel" }, { said[2], said[1] })
      assert.is_false(box.app.bus:has("job:app", "stopped"))
    end)
  end)

  it("knows only jobs that the file describes", function()
    run()
    task(function() box.app.object.job "ap" end)
    assert.same({ 'raised there is no job "ap" (did you mean "app"?)' }, said)
    said = {}
    task(function() say(box.app.object.job("app").name) end)
    assert.same({ "app" }, said)
  end)
end)
