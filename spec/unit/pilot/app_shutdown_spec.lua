-- What a shutdown forbids, and what it leaves to the jobs; what a job held by hand means for the rest.
local boxes = require "support.boxes"
local shutdown = require "luapilot.pilot.shutdown"
local sim = require "luapilot.sim"

describe("a shutdown", function()
  after_each(boxes.check)

  -- Jobs that are over hand on what was needed through them. A thousand times a thousand need no room on any stack.
  it("goes on behind any number of jobs that are over", function()
    local order, asked = {}, {}
    local app = { order = order, command = function(_, fn) fn() end }
    function app.sources_of(_, runner) return runner.sources end
    for i = 1, 30000 do
      order[i] = {
        dependents = {}, sources = { order[i - 1] }, before = 1, closed = true, spec = {}, memory = { closing = true },
        is_active = function() return false end, input = function() asked[#asked + 1] = i end,
      }
    end
    local last = order[#order]
    order[1].closed, last.closed, last.before = nil, nil, 0
    local closing = shutdown.new(app)
    closing.limit, app.port = { due = 0, left = 0 }, { now = function() return 0 end }
    closing:closed(last)
    assert.same({ 1 }, asked)
    assert.equal(30000 - 2, closing.open)
  end)

  it("leaves a stop its budget that begins after a pause, and before any timer was heard", function()
    local now, budgets = 0, {}
    local app = { order = {}, port = { now = function() return now end } }
    local closing = shutdown.new(app)
    closing.limit = { due = 1, slice = 1, left = 6, seconds = 7 }
    for i, time in ipairs { 0.5, 3600 } do
      now = time
      closing:close {
        memory = { closing = false }, input = function(_, _, values) budgets[i] = values.budget end,
      }
    end
    assert.same({ 6.5, 6 }, budgets)
  end)

  it("starts nothing any more: no backoff that ends, no prepare that is done, no crash of a job that waits its turn",
    function()
      local box = boxes.run([[
        local base = pilot.job "base" { exec = "base", restart = "always" }
        local flaky = pilot.job "flaky" { exec = "flaky", restart = { policy = "always", backoff = "1s" } }
        pilot.job "slow" { exec = "slow", prepare = function() pilot.sleep "3s" end }
        pilot.job "on-base" { exec = "server", when = base:each "exit_failed", stop_timeout = "5s" }
        pilot.job "on-flaky" { exec = "server", when = flaky:once "exit_failed", stop_timeout = "5s" }
      ]], {
        base = { exit = 1, after = "2s" }, flaky = { exit = 1 }, slow = sim.server,
        server = { ignores = { "SIGTERM" } },
      })
      box:advance "2100ms"
      local before = { box:job("base"):starts(), box:job("flaky"):starts(), box:job("slow"):starts() }
      box:signal "SIGTERM"
      box:advance "20s"
      assert.is_true(box.ended)
      assert.same(before, { box:job("base"):starts(), box:job("flaky"):starts(), box:job("slow"):starts() })
    end)

  it("cuts the stop of a job to what is left of it, so that slow handlers do not turn it into a SIGKILL", function()
    local box = boxes.run([[
      local app = pilot.job "app" { exec = "app", stop_timeout = "1m" }
      app:on("stopping", function() pilot.sleep "40s" end)
    ]], { app = sim.server })
    box:advance "1s"
    box:signal "SIGTERM"
    box:advance "20s"
    assert.is_true(box.ended)
    assert.equal(1, box:job("app"):received "SIGTERM")
    assert.equal(0, box:job("app"):received "SIGKILL")
  end)

  it("keeps what an app needs by way of a job that is long complete", function()
    local box = boxes.run([[
      local setup = pilot.job "setup" { exec = "once" }
      local db = pilot.job "db" { exec = "db", when = setup:once "exit_success", health = { exec = "true" } }
      local migrate = pilot.job "migrate" { exec = "once", when = db:once "healthy" }
      pilot.job "app" { exec = "app", when = migrate:once "exit_success" }
      pilot.job "later" { exec = "once", when = pilot.all { migrate:each "exit_failed", db:once "healthy" } }
    ]], { once = { exit = 0 }, db = sim.server, app = { term_delay = "2s" }, ["true"] = { exit = 0 } })
    box:advance "5s"
    assert.is_true(box:job("app").running)
    box:signal "SIGTERM"
    box:advance "1s"
    assert.equal(1, box:job("app"):received "SIGTERM")
    assert.equal(0, box:job("db"):received "SIGTERM")
    box:advance "2s"
    assert.equal(1, box:job("db"):received "SIGTERM")
    assert.is_true(box.ended)
  end)

  it("sends nothing to a job that it has killed", function()
    local box = boxes.run([[
      local app = pilot.job "app" { exec = "app", stop_timeout = "1s" }
      app:on("stopping", function() pilot.sleep "5s" end)
    ]], { app = { ignores = { "SIGTERM" } } })
    box:advance "1s"
    box:signal "SIGTERM"
    box:advance "10s"
    assert.is_true(box.ended)
    assert.equal(1, box:job("app"):received "SIGTERM")
    assert.equal(1, box:job("app"):received "SIGKILL")
  end)

  it("cannot be what starts a job", function()
    for _, event in ipairs { "shutdown", "SIGTERM", "SIGINT" } do
      local message = boxes.mistakes(('pilot.job "a" { exec = "a", when = pilot.once "%s" }'):format(event))
      assert.is_truthy(message:find("the pilot ends with it, and starts nothing any more", 1, true), message)
    end
  end)
end)

describe("a job that is held by hand", function()
  after_each(boxes.check)

  it("comes again with its trigger, so the pilot stays", function()
    local box = boxes.run([[
      local app = pilot.job "app" { exec = "app", when = pilot.each "SIGHUP" }
      pilot.after("3s", function() app:stop() end)
    ]], { app = sim.server })
    box:advance "1s"
    box:signal "SIGHUP"
    box:advance "1m"
    assert.equal("stopped", box:job("app").state)
    assert.is_falsy(box.ended)
    box:signal "SIGHUP"
    box:advance "1s"
    assert.equal(2, box:job("app"):starts())
  end)

  it("may still speak to those that wait for it while somebody can start it", function()
    local box = boxes.run([[
      local app = pilot.job "app" { exec = "app" }
      pilot.job "next" { exec = "next", when = app:once "exit_failed" }
      pilot.spawn(function()
        pilot.sleep "1s"
        app:stop()
        pilot.sleep "1m"
        app:start()
      end)
    ]], { app = { sim.server, { exit = 3, after = "1s" } }, next = { exit = 0 } })
    box:advance "2m"
    assert.equal(1, box:job("next"):starts())
    assert.is_true(box.ended)
  end)

  it("and that nobody can start again does not keep the pilot", function()
    local box = boxes.run([[
      local app = pilot.job "app" { exec = "app" }
      pilot.job "next" { exec = "next", when = app:once "exit_failed" }
      pilot.after("1s", function() app:stop() end)
    ]], { app = sim.server })
    box:advance "10s"
    assert.is_true(box.ended)
    assert.equal(1, boxes.logged(box, 'will not be started: app:once "exit_failed" cannot come any more'))
  end)
end)

describe("a job that waits for an error", function()
  after_each(boxes.check)

  it("is started by one, and is given up when none can come", function()
    local source = [[
      pilot.job "alarm" { exec = "alarm", when = pilot.once "error" }
      pilot.after("5s", function() %s end)
    ]]
    local box = boxes.run(source:format 'error "boom"', { alarm = { exit = 0 } })
    box:advance "10s"
    assert.equal(1, box:job("alarm"):starts())
    assert.equal(1, #box:errors())
    box:forget_errors()
    local quiet = boxes.run(source:format "")
    quiet:advance "10s"
    assert.is_true(quiet.ended)
  end)
end)

describe("small things that a handler trips over", function()
  after_each(boxes.check)

  it("a job that does not exist is named, with a near miss", function()
    local box = boxes.run([[
      pilot.job "worker" { exec = "worker" }
      pilot.on("startup", function() pilot.job "workr":start() end)
    ]], { worker = sim.server })
    box:advance "1s"
    local errors = box:errors()
    assert.equal(1, #errors)
    local said = 'pilot.lua:2: there is no job "workr" (did you mean "worker"?)'
    assert.is_truthy(errors[1]:find(said, 1, true), errors[1])
    box:forget_errors()
  end)

  it("log fields may be anything", function()
    local box = boxes.run([[
      pilot.on("startup", function() pilot.log.info("seen", { list = { 1, 2 }, fn = print, ok = true, 7 }) end)
    ]])
    box:advance "1s"
    for _, entry in ipairs(box:log()) do
      if entry.message == "seen" then
        assert.equal("[1,2]", entry.fields.list)
        assert.is_truthy(entry.fields.fn:find "^function")
        assert.is_true(entry.fields.ok)
        assert.equal(7, entry.fields["1"])
        return
      end
    end
    error "no such line"
  end)

  it("the exit of a job is a copy, in the time of events", function()
    local box = boxes.run([[
      local app = pilot.job "app" { exec = "app" }
      app:on("exit_failed", function(e)
        assert(math.abs(app.exit.at - e.at) < 0.1, "not the same clock")
        app.exit.code = 99
        assert(app.exit.code == 7)
      end)
    ]], { app = { exit = 7 } })
    box:advance "1s"
    assert.equal(7, box.exit_code)
  end)
end)

describe("a defer that waits too long", function()
  after_each(boxes.check)

  it("does not outlive the budget of its job's stop", function()
    local box = boxes.run([[
      local job = pilot.job "lua" {
        run = function() pilot.defer(function() pilot.sleep "25s" end) pilot.sleep "1h" end,
        stop_timeout = "2s", restart = "never",
      }
      job:on("stopped", function() print("> stopped") end)
      pilot.after("1s", function() job:stop() end)
      pilot.after("10s", function() end)
    ]])
    box:advance "4s"
    assert.equal(1, boxes.logged(box, "> stopped"))
    box:advance "1m"
    assert.is_true(box.ended)
  end)
end)

describe("an error of the core itself", function()
  after_each(boxes.check)

  local function broken(when)
    local box = boxes.run([[
      pilot.job "app" { exec = "app" }
      pilot.job "other" { exec = "app" }
      pilot.on("SIGUSR2", function() print "> heard" end)
    ]], { app = sim.server })
    box:advance "1s"
    local app = box.app
    when(app)
    return box
  end

  it("is told, and the rest goes on", function()
    local box = broken(function(app) app:command(function() error "a bug" end) end)
    box:signal "SIGUSR2"
    box:advance "1s"
    assert.equal(1, boxes.logged(box, "an error inside luapilot, please report it"))
    assert.equal(1, boxes.logged(box, "> heard"))
    assert.is_true(box:job("app").running)
    assert.equal(70, box:stop())
    assert.equal(0, box:job("app"):received "SIGKILL")
    assert.equal(1, #box:forget_errors())
  end)

  it("does not count for the code where that was asked for", function()
    local box = broken(function(app) app:command(function() error "a bug" end) end)
    box:signal "SIGUSR2"
    box.app:command(function() box.app:shutdown(3) end)
    box:signal "SIGUSR2"
    box:advance "1s"
    assert.equal(3, box.exit_code)
    box:forget_errors()
  end)

  it("where it is looked whether the pilot is over ends it, in order, with 70", function()
    local box = broken(function(app)
      app.quiescence.bury = function() error "a bug" end
      local turn = app.turn
      app.turn = function(self, event) -- as App:run has it: a box would raise the error
        local ok, err = xpcall(turn, debug.traceback, self, event)
        if not ok then self:own_error(err) end
      end
    end)
    box:job("other"):process():deliver "SIGKILL"
    box:advance "1s"
    assert.is_true(box.ended, box:history())
    assert.equal(70, box.exit_code)
    assert.equal(1, boxes.logged(box, "an error inside luapilot, please report it"))
    assert.same({ 1, 0 }, { box:job("app"):received "SIGTERM", box:job("app"):received "SIGKILL" })
    box:forget_errors()
  end)

  it("while the file is loaded is not told as the user's mistake", function()
    local cron = require "luapilot.base.cron"
    local parse = cron.parse
    finally(function() cron.parse = parse end)
    cron.parse = load("error 'a bug'", "@luapilot/cron.lua")
    local message = boxes.mistakes '\npilot.cron("@daily", print)'
    local told = "pilot.lua:2: an error inside luapilot, please report it: luapilot/cron.lua:1: a bug"
    assert.matches(told, message, 1, true)
  end)

  -- The next calls are the class's again.
  local function breaks(times)
    return function(app)
      local other = app.jobs.other
      other.input = function()
        times = times - 1
        if times == 0 then other.input = nil end
        error "a bug"
      end
    end
  end

  it("in a shutdown asks what is left to stop, and kills nobody for it", function()
    local box = broken(breaks(1))
    box:signal "SIGTERM"
    box:advance "1s"
    assert.is_true(box.ended)
    assert.equal(70, box.exit_code)
    for _, name in ipairs { "app", "other" } do
      assert.same({ 1, 0 }, { box:job(name):received "SIGTERM", box:job(name):received "SIGKILL" })
    end
    box:forget_errors()
  end)

  it("in a shutdown, a second time, kills what is left", function()
    local box = broken(breaks(2))
    box:signal "SIGTERM"
    box:advance "1s"
    assert.is_true(box.ended, box:history())
    assert.same({ 0, 1 }, { box:job("other"):received "SIGTERM", box:job("other"):received "SIGKILL" })
    assert.equal(70, box.exit_code)
    box:forget_errors()
  end)

  it("in a shutdown, again and again, ends it nevertheless", function()
    local box = broken(breaks(3))
    box:signal "SIGTERM"
    box:advance "20s"
    assert.is_true(box.ended)
    box:forget_errors()
  end)

  it("is not what takes too much of Lua's memory; but that ends the pilot in order, with 70, too", function()
    local box = broken(function(app) app:command(function() app:exhausted() end) end)
    box:signal "SIGUSR2" -- a turn
    box:advance "1s"
    assert.equal(70, box.exit_code)
    assert.same({ 1, 0 }, { box:job("app"):received "SIGTERM", box:job("app"):received "SIGKILL" })
  end)

  it("without memory is raised: the guardian ends the jobs", function()
    local box = broken(function() end)
    local app = box.app
    app:command(function() error("not enough memory", 0) end)
    local ok, err = pcall(app.turn, app, { type = "signal", name = "SIGUSR2", pid = 0 })
    assert.is_false(ok)
    assert.matches("^not enough memory\n", err)
    app:shutdown()
    box:advance "1m"
    assert.is_true(box.ended)
  end)

  it("keeps the order among jobs that stayed until Consul had heard of the last service", function()
    local box = boxes.run([[
      pilot.consul "consul:8500"
      pilot.job "web" { exec = "web", service = { port = 80, interfaces = "static:10.0.0.1" } }
      local db = pilot.job "db" { exec = "db", health = { exec = "ok", interval = "1s" } }
      pilot.job "worker" { exec = "worker", when = db:once "healthy" }
    ]], { web = sim.server, db = sim.server, worker = { term_delay = "2s" }, ok = { exit = 0 } }, { hostname = "h" })
    box:advance "5s"
    box:signal "SIGTERM"
    box:advance "1500ms"
    assert.same({ 1, 1, 0 }, { box:job("web"):received "SIGTERM", box:job("worker"):received "SIGTERM",
      box:job("db"):received "SIGTERM" })
    box:advance "2s"
    assert.equal(1, box:job("db"):received "SIGTERM")
    assert.is_true(box.ended)
  end)

  it("waits a second at most for Consul to hear of a job that does not run", function()
    local box = boxes.run([[
      pilot.consul "consul:8500"
      pilot.job "agent" { exec = "agent" }
      pilot.job "crashed" {
        exec = "crash", service = { port = 81, interfaces = "static:10.0.0.1", initial_status = "critical" },
        restart = { policy = "always", backoff = "1m" },
      }
    ]], { agent = sim.server, crash = { exit = 1, after = "2s" } }, { hostname = "h" })
    box:advance "5s"
    box.consul:hang()
    box:signal "SIGTERM"
    box:advance "900ms"
    assert.equal(0, box:job("agent"):received "SIGTERM")
    box:advance "200ms"
    assert.equal(1, box:job("agent"):received "SIGTERM")
    box:advance "2s"
    assert.is_true(box.ended)
  end)

  it("ends jobs with services that wait for each other", function()
    local box = boxes.run([[
      pilot.consul "consul:8500"
      local service = { port = 80, interfaces = "static:10.0.0.1" }
      local a, b = pilot.job "a", pilot.job "b"
      a { exec = "server", when = pilot.any { pilot.once "startup", b:each "exit_failed" } }
      b { exec = "server", when = pilot.any { pilot.once "startup", a:each "exit_failed" }, service = service }
      pilot.job "agent" { exec = "server" }
    ]], { server = sim.server }, { hostname = "h" })
    box:advance "5s"
    assert.is_truthy(box.consul:service "b-h")
    box:signal "SIGTERM"
    box:advance "2s"
    assert.is_true(box.ended)
    assert.equal(0, box.exit_code)
    assert.is_nil(box.consul:service "b-h")
  end)

  it("lets Consul hear of the services before it stops a job that may be its agent", function()
    local box
    box = boxes.run([[
      pilot.consul "consul:8500"
      pilot.job "agent" { exec = "agent" }
      local app = pilot.job "app" {
        exec = "server", service = { port = 80, interfaces = "static:10.0.0.1" }, drain = "1s",
        health = { exec = "true" },
      }
      app:on("stopping", function() pilot.sleep "500ms" end)
      pilot.job "crashed" {
        exec = "crash", service = { port = 81, interfaces = "static:10.0.0.1", initial_status = "critical" },
        restart = { policy = "always", backoff = "1m" },
      }
      pilot.job "helper" { exec = "server", when = app:once "healthy" }
    ]], {
      agent = { term_delay = "10ms", on = { SIGTERM = function(process)
        box.consul:down()
        process:exit(0)
      end } },
      server = sim.server, ["true"] = { exit = 0 }, crash = { exit = 1, after = "2s" },
    }, { hostname = "h" })
    box:advance "5s"
    assert.is_truthy(box.consul:service "crashed-h")
    box:signal "SIGTERM"
    box:advance "400ms"
    assert.is_truthy(box.consul:service "app-h")
    assert.is_nil(box.consul:service "crashed-h")
    assert.equal(1, box:job("helper"):received "SIGTERM") -- nobody needs it, and it needs the app
    assert.equal(0, box:job("agent"):received "SIGTERM")
    box:advance "200ms"
    assert.is_nil(box.consul:service "app-h")
    assert.equal(1, box:job("agent"):received "SIGTERM")
    assert.equal("stopping", box:job("app").state) -- it drains
    box:advance "2s"
    assert.is_true(box.ended)
    assert.equal(0, box.exit_code)
  end)
end)
