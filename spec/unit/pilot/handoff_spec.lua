local cjson = require "cjson"
local stub_pilot = require "support.stub_pilot"

-- A core hands over to another at the same port: app:snapshot() and app:restore().

describe("the handoff to a new core", function()
  local box

  after_each(function() box:check() end)

  local function source(text) return "local pilot = require \"luapilot\"\n" .. text end

  local function run(text) box = stub_pilot.load(source(text)):start() end

  -- The data survives JSON. Returns what the new file no longer has.
  local function reload(text)
    local snapshot = box.app:snapshot()
    local data = cjson.decode(cjson.encode(snapshot))
    local old = box
    old.app:let_go()
    box = stub_pilot.load(source(text), { world = old.world, state = data.state })
    return box.app:restore(data)
  end

  local function exit(name, how) box.world:exit(box:process(name), how or { code = 0 }) end
  local function signal(name) box.app:turn { type = "signal", name = name, pid = 1, terminal = false } end
  local function connected(err) box.world:send(box:handle "connection", { type = "connected", error = err }, true) end

  it("leaves running jobs and their processes as they are", function()
    local FILE = [[
      pilot.job "app" { exec = "app", restart = "always" }
      pilot.job "other" { exec = "other", restart = 3 }
    ]]
    run(FILE)
    exit("other", { code = 1 })
    box.world:advance(1)
    local ids, pid = { box:process "app", box:process "other" }, box:job("app").memory.pid
    assert.same({}, reload(FILE))
    assert.same(ids, { box:process "app", box:process "other" })
    assert.same({ "running", pid, 1 }, { box:state "app", box:job("app").memory.pid, box:job("app").memory.runs })
    assert.same({ 2, 1 }, { box:job("other").memory.runs, box:job("other").memory.restarts })
    assert.equal(3, box.world:count "spawn")
    assert.same({}, box.events)
    exit("other", { code = 1 })
    box.world:advance(1.9)
    assert.equal("backoff", box:state "other")
    box.world:advance(0.2)
    assert.equal("running", box:state "other")
  end)

  it("may happen again and again", function()
    local FILE = [[ pilot.job "app" { exec = "app", restart = "always" } ]]
    run(FILE)
    for _ = 1, 5 do reload(FILE) end
    exit "app"
    assert.equal("backoff", box:state "app")
    reload(FILE)
    box.world:advance(1)
    assert.equal(2, box:job("app").memory.runs)
  end)

  it("tells which jobs the new file no longer has", function()
    run [[
      pilot.job "app" { exec = "app" }
      pilot.job "old" { exec = "old", stop_signal = "SIGINT", stop_timeout = "3s" }
      pilot.job "never" { exec = "never", when = "manual" }
    ]]
    local id, pid = box:process "old", box:job("old").memory.pid
    local left = reload [[ pilot.job "app" { exec = "app" } ]]
    assert.same({
      { name = "never", stop_signal = "SIGTERM", stop_timeout = 10 },
      { name = "old", process = id, pid = pid, stop_signal = "SIGINT", stop_timeout = 3 },
    }, left)
    box.world.handles[id] = nil
  end)

  it("starts new jobs by their triggers, also by what is so already", function()
    run [[ pilot.job "db" { exec = "db", health = { tcp = "db:1" } } ]]
    connected()
    reload [[
      local db = pilot.job "db"
      pilot.job "plain" { exec = "plain" }
      pilot.job "after" { exec = "after", when = db:once "healthy" }
      pilot.job "first" { exec = "first", when = pilot.once "startup" }
      pilot.job "by-hand" { exec = "x", when = "manual" }
      pilot.job "on-signal" { exec = "x", when = pilot.each "SIGUSR2" }
      db { exec = "db", health = { tcp = "db:1" } }
    ]]
    for _, name in ipairs { "db", "plain", "after", "first" } do assert.equal("running", box:state(name)) end
    for _, name in ipairs { "by-hand", "on-signal" } do assert.equal("waiting", box:state(name)) end
    signal "SIGUSR2"
    assert.equal("running", box:state "on-signal")
    assert.equal(1, box:job("db").memory.runs)
  end)

  it("starts nothing by what was so before, and was no event", function()
    local FILE = [[
      local web = pilot.job "web" { exec = "web", when = pilot.each "SIGUSR1" }
      pilot.job "after" { exec = "after", when = web:once "stopped" }
    ]]
    run(FILE)
    signal "SIGUSR1"
    exit "web"
    assert.equal("waiting", box:state "web")
    reload(FILE)
    assert.equal("waiting", box:state "after")
    reload(FILE .. 'pilot.job "new" { exec = "new", when = pilot.job "web":once "stopped" }')
    assert.same({ "waiting", "running" }, { box:state "after", box:state "new" })
  end)

  it("goes on with what a trigger waits for to settle", function()
    local FILE = [[
      local web = pilot.job "web" { exec = "web", restart = "always" }
      pilot.job "once" { exec = "x", when = web:once("exit_success", { settle = "5s" }) }
      pilot.job "each" { exec = "x", when = web:each("exit_success", { settle = "5s" }) }
    ]]
    run(FILE)
    exit "web"
    box.world:advance(2)
    reload(FILE)
    assert.same({ "waiting", "waiting" }, { box:state "once", box:state "each" })
    box.world:advance(5)
    assert.same({ "running", "running" }, { box:state "once", box:state "each" })
    reload(FILE)
    assert.same({ 1, 1 }, { box:job("once").memory.runs, box:job("each").memory.runs })
  end)

  it("stops a job that was changed, and starts it anew", function()
    run [[
      pilot.job "app" { exec = "app", env = { A = "1" }, restart = "always" }
      pilot.job "same" { exec = "same", env = { A = "1" }, limits = { nofile = 100 } }
    ]]
    local id = box:process "app"
    reload [[
      pilot.job "app" { exec = "app", env = { A = "2" }, restart = "always" }:on("stopping", function()
        pilot.state.told = true
      end)
      pilot.job "same" { exec = "same", env = { A = "1" }, limits = { nofile = 100 }, restart = 5,
        health = { tcp = "x:1" } }
    ]]
    assert.same({ "SIGTERM group" }, box:signals())
    assert.is_true(box.app.state.told)
    box.world:exit(id, { signal = "SIGTERM" })
    assert.equal("running", box:state "app")
    assert.equal("2", box.world.handles[box:process "app"].options.env_added.A)
    assert.equal(1, box:job("same").memory.runs)
    assert.is_truthy(box:handle "connection")
  end)

  it("starts a changed job that is over, and no unchanged one", function()
    local function file(word)
      return ([[
        pilot.job "migrate" { exec = %q }
        pilot.job "seed" { exec = "seed" }
        pilot.job "app" { exec = "app" }
      ]]):format(word)
    end
    run(file "migrate")
    exit "migrate"
    exit("seed", { code = 3 })
    reload(file "migrate 2")
    assert.equal("running", box:state "migrate")
    assert.equal("complete", box:state "seed")
    exit "migrate"
    exit "app"
    assert.is_true(box.app.ended)
    assert.equal(3, box.app.exit_code)
  end)

  it("restarts Lua runs", function()
    local FILE = [[
      pilot.job "app" { run = function() pilot.state.runs = (pilot.state.runs or 0) + 1 pilot.sleep "1h" end }
    ]]
    run(FILE)
    reload(FILE)
    assert.equal("running", box:state "app")
    assert.equal(2, box.app.state.runs)
  end)

  it("replaces a process by a Lua run, and the other way round", function()
    local PROCESS, RUN = [[ pilot.job "app" { exec = "app" } ]],
      [[ pilot.job "app" { run = function() pilot.sleep "1h" end } ]]
    run(PROCESS)
    local id = box:process "app"
    reload(RUN)
    assert.same({ "SIGTERM group" }, box:signals())
    box.world:exit(id, { signal = "SIGTERM" })
    assert.equal("running", box:state "app")
    assert.is_nil(box:process "app")
    reload(PROCESS)
    assert.equal("running", box:state "app")
    assert.is_truthy(box:process "app")
  end)

  describe("goes on", function()
    it("with a stop: its handlers are dropped, its budget goes on", function()
      local FILE = [[
        local app = pilot.job "app" { exec = "app" }
        app:on("stopping", function() pilot.sleep "5s" end)
        pilot.on("SIGUSR1", function() app:stop() end)
      ]]
      run(FILE)
      signal "SIGUSR1"
      box.world:advance(2)
      assert.same({}, box:signals())
      reload(FILE)
      assert.same({ "SIGTERM group" }, box:signals())
      box.world:advance(7.9)
      assert.same({ "SIGTERM group" }, box:signals())
      box.world:advance(0.2)
      assert.same({ "SIGTERM group", "SIGKILL group" }, box:signals())
      exit("app", { signal = "SIGKILL" })
      assert.equal("held", box:state "app")
    end)

    it("with a restart that somebody asked for", function()
      local FILE = [[
        local app = pilot.job "app" { exec = "app" }
        pilot.on("SIGUSR1", function() app:restart() end)
      ]]
      run(FILE)
      signal "SIGUSR1"
      assert.equal("stopping", box:state "app")
      reload(FILE)
      exit("app", { signal = "SIGTERM" })
      assert.equal("running", box:state "app")
    end)

    it("with a process that is gone while its stop is not: one is started, not two", function()
      local FILE = [[
        local app = pilot.job "app" { exec = "app" }
        app:on("stopping", function() pilot.sleep "9s" end)
        pilot.on("SIGUSR1", function() app:restart() end)
      ]]
      run(FILE)
      signal "SIGUSR1"
      exit "app"
      assert.equal("stopping", box:state "app")
      reload(FILE)
      assert.same({ "running", 2 }, { box:state "app", box.world:count "spawn" })
    end)

    it("with a Lua run that is over while its stop is not: one run begins, not two", function()
      local FILE = [[
        local app = pilot.job "app" { run = function()
          pilot.state.runs = (pilot.state.runs or 0) + 1
          pilot.sleep "1h"
        end }
        app:on("stopping", function() pilot.sleep "9s" end)
        pilot.on("SIGUSR1", function() app:restart() end)
        pilot.on("SIGUSR2", function() pilot.state.state = app.state end)
      ]]
      run(FILE)
      signal "SIGUSR1"
      box:job("app").lua_run:cancel()
      signal "SIGUSR2"
      assert.same({ "stopping", 1 }, { box.app.state.state, box.app.state.runs })
      reload(FILE)
      assert.same({ "running", 2 }, { box:state "app", box.app.state.runs })
    end)

    it("with a stop of a Lua run: it is over", function()
      local FILE = [[
        local app = pilot.job "app" { run = function()
          pilot.defer(function() pilot.sleep "20s" end)
          pilot.sleep "1h"
        end }
        pilot.on("SIGUSR1", function() app:stop() end)
      ]]
      run(FILE)
      signal "SIGUSR1"
      assert.equal("stopping", box:state "app")
      reload(FILE)
      assert.equal("held", box:state "app")
    end)

    it("with what was held by hand", function()
      local FILE = [[
        local app = pilot.job "app" { exec = "app" }
        pilot.on("SIGUSR1", function() app:stop() end)
        pilot.on("SIGUSR2", function() app:start() end)
      ]]
      run(FILE)
      signal "SIGUSR1"
      exit("app", { signal = "SIGTERM" })
      reload(FILE)
      assert.equal("held", box:state "app")
      signal "SIGUSR2"
      assert.equal("running", box:state "app")
    end)

    it("with prepare, from its beginning", function()
      local FILE = [[
        pilot.job "app" { exec = "app", prepare = function()
          pilot.state.count = (pilot.state.count or 0) + 1
          pilot.sleep "2s"
        end }
      ]]
      run(FILE)
      box.world:advance(1)
      reload(FILE)
      box.world:advance(1.5)
      assert.equal("preparing", box:state "app")
      box.world:advance(1)
      assert.equal("running", box:state "app")
      assert.equal(2, box.app.state.count)
      box:check()
      run(FILE)
      reload [[ pilot.job "app" { exec = "app" } ]]
      assert.equal("running", box:state "app")
    end)

    it("with run timeouts and backoffs where they were", function()
      local FILE = [[
        pilot.job "slow" { exec = "slow", timeout = "10s" }
        pilot.job "app" { exec = "app", restart = { backoff = "10s" } }
      ]]
      run(FILE)
      exit "app"
      box.world:advance(6)
      reload(FILE)
      box.world:advance(3.9)
      assert.same({}, box:signals())
      assert.equal("backoff", box:state "app")
      box.world:advance(0.2)
      assert.same({ "SIGKILL group" }, box:signals())
      assert.equal("running", box:state "app")
    end)

    it("with what checks knew, unless they are others", function()
      run [[ pilot.job "app" { exec = "app", health = { tcp = "x:1", interval = "1s", fall = 3 } } ]]
      connected()
      box.world:advance(1)
      connected "no"
      box.world:advance(1)
      connected "no"
      reload [[ pilot.job "app" { exec = "app", health = { tcp = "y:1", interval = "1s", fall = 3 } } ]]
      assert.equal("healthy", box:job("app").memory.health)
      box.world:advance(1)
      connected "no"
      assert.equal("unhealthy", box:job("app").memory.health)
      assert.same({ "app unhealthy" }, box.events)
      reload [[ pilot.job "app" { exec = "app", health = { { tcp = "y:1", interval = "1s" }, { tcp = "z:1" } } } ]]
      assert.equal("unknown", box:job("app").memory.health)
      reload [[ pilot.job "app" { exec = "app" } ]]
      assert.equal("unknown", box:job("app").memory.health)
    end)

    it("with a check that was under way: it is asked again", function()
      local FILE = [[ pilot.job "app" { exec = "app", health = { tcp = "x:1", interval = "1s" } } ]]
      run(FILE)
      reload(FILE)
      box.world:advance(1)
      connected()
      assert.equal("healthy", box:job("app").memory.health)
    end)

    it("with pilot.state, which the new file sees while it is loaded", function()
      run [[
        pilot.state.count, pilot.state.deep = 5, { list = { 1, 2, { x = "y" } } }
        pilot.job "app" { exec = "app" }
      ]]
      reload [[
        pilot.state.count = (pilot.state.count or 0) + 1
        pilot.job "app" { exec = "app" }
      ]]
      assert.same({ count = 6, deep = { list = { 1, 2, { x = "y" } } } }, box.app.state)
    end)

    it("with lines where the new file wants them", function()
      run [[ pilot.job "app" { exec = "app" } ]]
      local id = box:process "app"
      reload [[ pilot.job "app" { exec = "app" }:on("output", function(event) pilot.state.line = event.line end) ]]
      assert.same({ "capture", id, true }, box.world.calls[#box.world.calls])
      box.app:turn { type = "output", id = id, stream = "stdout", data = "hello\n", last = false }
      assert.equal("hello", box.app.state.line)
      reload [[ pilot.job "app" { exec = "app" } ]]
      assert.same({ "capture", id, false }, box.world.calls[#box.world.calls])
    end)
  end)

  it("drops timers, checks, programs and tasks of the old core, and begins the new one's", function()
    run [[
      pilot.state.ticks = 0
      pilot.every("1s", function() pilot.state.ticks = pilot.state.ticks + 1 end)
      pilot.job "app" { exec = "app", health = { exec = "check", interval = "10s" } }
      pilot.spawn(function() pilot.exec "long" end)
    ]]
    box.world:advance(2.5)
    assert.equal(3, #box.world:open() - 2) -- processes, beside two timers or more
    reload [[
      pilot.every("1s", function() pilot.state.ticks = pilot.state.ticks + 10 end)
      pilot.job "app" { exec = "app" }
    ]]
    box.world:advance(1)
    assert.equal(12, box.app.state.ticks)
    local processes = 0
    for _, what in ipairs(box.world:open()) do
      if what == "process" then processes = processes + 1 end
    end
    assert.equal(1, processes)
  end)

  it("ends when nothing can happen any more, as before", function()
    local FILE = [[
      local setup = pilot.job "setup" { exec = "setup" }
      pilot.job "app" { exec = "app", when = setup:once "exit_success" }
    ]]
    run(FILE)
    exit "setup"
    reload(FILE)
    exit "app"
    assert.is_true(box.app.ended)
  end)

  it("is refused when something would be lost, or when the pilot shuts down", function()
    run [[ pilot.job "app" { exec = "app" } ]]
    for _, row in ipairs {
      { { a = { print } }, 'pilot.state["a"][1] is a function: only plain data survives a reload' },
      { { t = coroutine.create(print) }, 'pilot.state["t"] is a thread: only plain data survives a reload' },
    } do
      for key in pairs(box.app.state) do box.app.state[key] = nil end
      for key, value in pairs(row[1]) do box.app.state[key] = value end
      local data, message = box.app:snapshot()
      assert.is_nil(data)
      assert.equal(row[2], message)
    end
    local cycle = {}
    cycle.cycle = cycle
    for key in pairs(box.app.state) do box.app.state[key] = nil end
    box.app.state.cycle = cycle
    assert.matches("contains itself", (select(2, box.app:snapshot())))
    box.app.state.cycle = nil
    local deep = box.app.state
    for _ = 1, 300 do
      deep.x = {}
      deep = deep.x
    end
    assert.matches('^pilot%.state%["x"%]%["x"%].* is nested more than 200 deep: only plain data survives',
      (select(2, box.app:snapshot())))
    box.app.state.x = nil
    box:stop()
    assert.same({ nil, "the pilot is not running" }, { box.app:snapshot() })
  end)
end)
