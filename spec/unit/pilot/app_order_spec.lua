-- depends_on and bind: what a start waits for, what is stopped with it, and in which order.
local boxes = require "support.boxes"
local handover = require "support.handover"

local DB = [[local db = pilot.job "db" { exec = "db", health = { tcp = "localhost:1", interval = "1s" }, %s } ]]

local function database(fields) return DB:format(fields or 'restart = "always"') end

describe("depends_on", function()
  after_each(boxes.check)

  -- A box with a database that is healthy from the third second of each run on.
  local function load(source, programs)
    local box = boxes.load(source)
    box:program("db", { start_delay = "3s", listens = "localhost:1", term_delay = "100ms" })
    box:program("app", { term_delay = "100ms" })
    for prefix, behaviour in pairs(programs or {}) do box:program(prefix, behaviour) end
    return box
  end

  local function run(source, programs, time)
    local box = load(source, programs):start()
    if time then box:advance(time) end
    return box
  end

  -- What happened to jobs, in its order: "start app", "stopping db".
  local function story(box, from)
    local list = {}
    for _, moment in ipairs(box.moments) do
      local job = moment.kind == "spawn" and moment.child and moment.child.options.output
      local told = moment.kind == "event" and moment.source ~= "pilot"
        and (moment.name:find "^stop" or moment.name:find "^exit")
      if moment.at >= (from or 0) then
        list[#list + 1] = job and "start " .. job.name or told and moment.name .. " " .. moment.source or nil
      end
    end
    return table.concat(list, ", ")
  end

  -- The messages about a job, as they stand in the log.
  local function told(box, job, pattern)
    local list = {}
    for _, entry in ipairs(box:log()) do
      if entry.job == job and entry.message:find(pattern or "") then
        list[#list + 1] = entry.message:gsub('^job "[^"]*": ', "")
      end
    end
    return list
  end

  local function spawned(box, name)
    local list = {}
    for i, spawn in ipairs(box:spawns(name)) do list[i] = math.floor(spawn.at * 10 + 0.5) / 10 end
    return list
  end

  describe("waits before a start", function()
    it("for a healthy job, in a state of its own, and says so once", function()
      local box = run(database() .. [[ pilot.job "app" { exec = "app", depends_on = { db } } ]], nil, "1s")
      assert.equal("blocked", box:job("app").state)
      assert.is_false(box:job("app").running)
      box:advance "5s"
      assert.same({ 4 }, spawned(box, "app"))
      assert.same({ "waits for db (healthy)" }, told(box, "app", "waits"))
      box:stop()
    end)

    it("until the last of all is there", function()
      local box = run(database() .. [[
        pilot.job "migrate" { exec = "migrate", depends_on = { db } }
        pilot.job "cache" { exec = "app" }
        pilot.job "app" { exec = "app", depends_on = { db = "healthy", migrate = "exit_success", cache = "running" } }
      ]], { migrate = { exit = 0, after = "5s" } }, "1m")
      assert.same({ 4 }, spawned(box, "migrate"))
      assert.same({ 9 }, spawned(box, "app"))
      assert.same({ "waits for db (healthy), migrate (exit_success)" }, told(box, "app", "waits"))
      box:stop()
    end)

    it("in silence, and without a pause, where all is there", function()
      local box = run(database() .. [[
        pilot.job "app" { exec = "app", when = db:once "healthy", depends_on = { "db" } }
      ]], nil, "1m")
      assert.same(spawned(box, "app"), { boxes.times(box, "db", "healthy")[1] and 4 })
      assert.same({}, told(box, "app", "waits"))
      box:stop()
    end)

    it("in a list for a job that runs, where it has no checks", function()
      local box = run([[
        local slow = pilot.job "slow" { exec = "app", prepare = function() pilot.sleep "2s" end }
        pilot.job "app" { exec = "app", depends_on = { slow } }
      ]], nil, "1m")
      assert.same({ 2 }, spawned(box, "app"))
      assert.same({ "waits for slow (running)" }, told(box, "app", "waits"))
      box:stop()
    end)

    it("with names, jobs, and both in one table", function()
      local box = run(database() .. [[
        pilot.job "setup" { exec = "setup" }
        pilot.job "app" { exec = "app", depends_on = { "setup", [db] = "running" } }
        pilot.job "other" { exec = "app", depends_on = { db, setup = "exit_success" } }
      ]], { setup = { exit = 0, after = "2s" } }, "1m")
      assert.same({}, told(box, "app", "waits"))
      assert.same({ "waits for db (healthy), setup (exit_success)" }, told(box, "other", "waits"))
      assert.same({ 0 }, spawned(box, "app"))
      assert.same({ 4 }, spawned(box, "other"))
      box:stop()
    end)

    it("before each one, also by the restart policy", function()
      local box = run(database() .. [[ pilot.job "app" { exec = "app", restart = "always", depends_on = { db } } ]],
        { app = { { exit = 1, after = "6s" }, {} } }, "9500ms")
      box:job("db"):process():crash "SIGKILL" -- the app has crashed half a second later
      box:advance "20s"
      local healthy = boxes.times(box, "db", "healthy")[2]
      assert.near(healthy, box:spawns "app"[2].at, 0.01)
      box:stop()
    end)

    it("before `prepare`, and for a job in Lua", function()
      local box = run(database() .. [[
        pilot.job "app" { exec = "app", depends_on = { db }, prepare = function() print "prepared" end }
        pilot.job "lua" { run = function() print "runs" end, depends_on = { db } }
      ]], nil, "3s")
      assert.equal(0, boxes.logged(box, "prepared") + boxes.logged(box, "runs"))
      box:advance "2s"
      assert.equal(1, boxes.logged(box, "prepared"))
      assert.equal(1, boxes.logged(box, "runs"))
      box:stop()
    end)

    it("with `when`, which says what starts it", function()
      local box = run(database() .. [[
        pilot.job "app" { exec = "app", when = pilot.each "SIGUSR2", depends_on = { db } }
      ]], { app = { exit = 0, after = "1s" } }, "1s")
      assert.equal("waiting", box:job("app").state)
      box:signal "SIGUSR2"
      box:signal "SIGUSR2"
      box:advance "10s"
      assert.same({ 4 }, spawned(box, "app")) -- one start serves what came meanwhile
      box:signal "SIGUSR2"
      box:advance "1s"
      assert.equal(2, box:job("app"):starts())
      box:stop()
    end)

    it("and skips the ticks of the clock meanwhile", function()
      local box = run(database() .. [[
        pilot.job "task" { exec = "task", when = pilot.every "2s", depends_on = { db } }
      ]], { task = { exit = 0, after = "100ms" } }, "5s")
      assert.same({ 4 }, spawned(box, "task")) -- the tick of the fourth second came before
      assert.same({ "still waits for db (healthy): this one is skipped" }, told(box, "task", "skipped"))
      box:advance "1500ms"
      assert.same({ 4, 6 }, spawned(box, "task"))
      box:job("db"):process():crash "SIGKILL" -- the next wait tells it again
      box:advance "4s"
      assert.equal(2, #told(box, "task", "still waits"))
      assert.same({}, told(box, "task", "the last run"))
      box:stop()
    end)

    it("once for the event that brings what it depends on", function()
      local box = run(database() .. [[
        local app = pilot.job "app" { exec = "app", when = db:each "healthy", depends_on = { db } }
        pilot.job "other" { exec = "other", when = db:each("healthy", { when_busy = "restart" }), depends_on = { db } }
        local migrate = pilot.job "migrate" { exec = "migrate" }
        local index = pilot.job "index" { exec = "index", when = migrate:each "exit_success",
          depends_on = { migrate = "exit_success" } }
        pilot.after("1s", function() app:start() end)
        pilot.after("1s", function() pilot.job "other":start() end)
        pilot.after("1s", function() index:start() end)
      ]], { app = { exit = 0, after = "1s" }, migrate = { exit = 0, after = "2s" }, index = { exit = 0, after = "1s" },
        other = {} }, "1m")
      assert.same({ 4 }, spawned(box, "app"))
      assert.same({ 4 }, spawned(box, "other"))
      assert.same({ 2 }, spawned(box, "index"))
      box:stop()
    end)

    it("which takes nothing of its timeout", function()
      local box = run(database() .. [[ pilot.job "app" { exec = "app", timeout = "2s", depends_on = { db } } ]], nil,
        "5500ms")
      assert.is_true(box:job("app").running)
      box:advance "1s"
      assert.equal("timeout", box:job("app").exit.reason)
      box:stop()
    end)

    it("and is told again while it lasts", function()
      local box = run(database() .. [[ pilot.job "app" { exec = "app", depends_on = { db } } ]],
        { db = {} }, "2m")
      assert.same({ "has waited 10s for job \"db\" to be healthy", "has waited 1m for job \"db\" to be healthy" },
        (function()
          local list = told(box, "app", "has waited")
          for i, line in ipairs(list) do list[i] = line:match "^(.-) %(it is running" end
          return list
        end)())
      box:stop()
    end)

    it("whatever ends the wait: a stop, or the shutdown", function()
      local source = database() .. [[ local app = pilot.job "app" { exec = "app", depends_on = { db } } ]]
      local box = run(source .. [[ pilot.after("1s", function() app:stop() end) ]], nil, "10s")
      assert.equal("stopped", box:job("app").state)
      assert.equal(0, box:stop())
      assert.equal(0, box:job("app"):starts())
      box = run(source, nil, "1s")
      assert.equal(0, box:stop())
      assert.equal(0, box:job("app"):starts())
      assert.equal("complete", box:job("app").state)
    end)

    it("as start() and restart() of the job do", function()
      local box = run(database() .. [[
        local app = pilot.job "app" { exec = "app", when = "manual", depends_on = { db } }
        pilot.after("1s", function() app:start() print "it runs" end)
        pilot.after("2s", function() app:restart() print "restarted" end)
      ]], nil, "3s")
      assert.equal(0, boxes.logged(box, "it runs"))
      box:advance "2s"
      assert.equal(1, boxes.logged(box, "it runs"))
      assert.equal(1, boxes.logged(box, "restarted"))
      assert.same({ 4 }, spawned(box, "app"))
      box:stop()
    end)

    it("for one that was stopped by hand, or that only start() starts", function()
      local box = run(database() .. [[
        local app = pilot.job "app" { exec = "app", when = "manual", depends_on = { db } }
        local tool = pilot.job "tool" { exec = "app", when = "manual" }
        pilot.job "needs-tool" { exec = "app", depends_on = { tool } }
        pilot.after("5s", function() db:stop() app:start() end)
        pilot.after("20s", function() db:start() tool:start() end)
      ]], nil, "1m")
      assert.same({ "waits for db (healthy; it was stopped)" }, told(box, "app", "waits"))
      assert.same({ "waits for tool (running; nothing starts it by itself)" }, told(box, "needs-tool", "waits for"))
      assert.same({ 24 }, spawned(box, "app"))
      assert.same({ 20 }, spawned(box, "needs-tool"))
      box:stop()
    end)

    it("for one whose own trigger has not fired, without a word about that", function()
      local box = run([[
        local task = pilot.job "task" { exec = "app", when = pilot.each "SIGUSR2" }
        pilot.job "app" { exec = "app", depends_on = { task } }
      ]], nil, "1s")
      assert.same({ "waits for task (running)" }, told(box, "app", "waits"))
      box:signal "SIGUSR2"
      box:advance "1s"
      assert.is_true(box:job("app").running)
      box:stop()
    end)

    it("and leaves nothing behind in what it waited for", function()
      local box = run(database() .. [[
        local app = pilot.job "app" { exec = "app", depends_on = { db } }
        pilot.on("SIGUSR2", function() app:stop() end)
        pilot.on("SIGHUP", function() app:start() end)
      ]], nil, "1s")
      local watchers = box.app.jobs.db.watchers
      assert.is_false(watchers:is_empty())
      box:signal "SIGUSR2"
      box:advance "1s"
      assert.equal("stopped", box:job("app").state)
      assert.is_true(watchers:is_empty())
      box:signal "SIGHUP"
      box:advance "10s"
      assert.is_true(box:job("app").running)
      assert.is_true(watchers:is_empty())
      box:stop()
    end)

    it("for a run that has succeeded by itself, and not for one that was stopped", function()
      local box = run([[
        local task = pilot.job "task" { exec = "task", when = "manual" }
        pilot.job "app" { exec = "app", depends_on = { task = "exit_success" } }
        pilot.after("1s", function() task:start() pilot.sleep "1s" task:stop() end)
        pilot.after("5s", function() task:start() end)
      ]], { task = { { term_delay = "100ms" }, { exit = 0, after = "2s" } } }, "1m")
      assert.equal(0, box:spawns "task"[1].child.group.leader.ended.code)
      assert.same({ 7 }, spawned(box, "app"))
      box:stop()
    end)
  end)

  describe("fails a start", function()
    local MIGRATE = [[
      local migrate = pilot.job "migrate" { exec = "migrate" }
      local app = pilot.job "app" { exec = "app", restart = "always", depends_on = { migrate = "exit_success" }, %s }
    ]]
    local FAILS = { migrate = { exit = 7, after = "1s" } }

    it("when what it waits for has failed for good, with its code, and not again and again", function()
      local box = run(MIGRATE:format "" .. [[ pilot.job "other" { exec = "app" } ]], FAILS, "1h")
      local exit = box:job("app").exit
      assert.same({ 7, "dependency" }, { exit.code, exit.reason })
      assert.equal('depends on job "migrate" (exit_success), which failed: exited with code 7', exit.error)
      assert.equal("exit_failed stopped", boxes.events(box, "app"))
      assert.same({ exit.error .. "; not started again until a trigger or job:start()" },
        told(box, "app", "depends on"))
      assert.equal(0, box:job("app"):starts())
      assert.equal("complete", box:job("app").state)
      box:stop()
    end)

    it("and ends the pilot with a main job", function()
      local box = run(MIGRATE:format "main = true" .. [[ pilot.job "other" { exec = "app" } ]], FAILS, "2s")
      assert.is_true(box.ended)
      assert.equal(7, box.exit_code)
      assert.equal(1, boxes.logged(box, 'the main job "app" can never start (depends on job "migrate"'))
      assert.equal(0, boxes.logged(box, "not started again"))
    end)

    it("along a chain, whose first failure counts", function()
      local box = run(MIGRATE:format "" .. [[
        pilot.job "front" { exec = "app", depends_on = { app } }
      ]], FAILS, "2s")
      assert.is_true(box.ended)
      assert.equal(7, box.exit_code)
      assert.equal(7, box:job("front").exit.code)
      assert.equal('depends on job "app" (running), for which job "migrate" failed: exited with code 7',
        box:job("front").exit.error)
    end)

    it("and names the first cause alone, however long the chain", function()
      local box = run(MIGRATE:format "" .. [[
        local first = pilot.job "first" { exec = "app", depends_on = { app }, restart = 1 }
        local second = pilot.job "second" { exec = "app", when = first:once "exit_success" }
        local third = pilot.job "third" { exec = "app", when = second:once "exit_success" }
        pilot.job "fourth" { exec = "app", depends_on = { third } }
        pilot.every("1h", function() end)
      ]], FAILS, "2s")
      assert.equal('depends on job "third" (running), for which job "migrate" failed: exited with code 7',
        box:job("fourth").exit.error)
      assert.equal(7, box:job("fourth").exit.code)
      box:stop()
    end)

    it("with five names of many that it waits for", function()
      local box = run(database() .. [[
        local needs = { db }
        for i = 1, 6 do needs[i + 1] = pilot.job("need-" .. i) { exec = "app", depends_on = { db } } end
        pilot.job "app" { exec = "app", depends_on = needs }
      ]], nil, "1s")
      assert.same({ "waits for db (healthy), need-1 (running), need-2 (running), need-3 (running), need-4 (running), "
        .. "2 more" }, told(box, "app", "waits"))
      box:stop()
    end)

    it("when it is over although nothing failed, or can never start itself", function()
      local box = run([[
        local done = pilot.job "done" { exec = "done" }
        local never = pilot.job "never" { exec = "app", when = done:once "exit_failed" }
        pilot.job "app" { exec = "app", depends_on = { done } , prepare = function() end }
        pilot.job "late" { exec = "app", when = done:once "stopped", depends_on = { done } }
        pilot.job "last" { exec = "app", depends_on = { never } }
      ]], { done = { exit = 0, after = "1s" } }, "1s")
      box:advance "1s"
      assert.equal('depends on job "done" (running), which is over', box:job("late").exit.error)
      assert.equal(1, box:job("late").exit.code)
      assert.equal('depends on job "never" (running), which can never start: '
        .. 'done:once "exit_failed" cannot come any more', box:job("last").exit.error)
      box:stop()
    end)

    it("which start() raises, and tries again", function()
      local box = run(MIGRATE:format 'when = "manual"' .. [[
        pilot.after("2s", function() print(pcall(app.start, app)) end)
        pilot.after("3s", function() migrate:start() end)
        pilot.after("5s", function() app:start() print "it runs" end)
      ]], { migrate = { { exit = 7 }, { exit = 0 } } }, "10s")
      assert.equal(1, boxes.logged(box, 'job "app" cannot be started: depends on job "migrate" (exit_success), which'))
      assert.same({}, told(box, "app", "waits")) -- for what can never come
      assert.equal(1, boxes.logged(box, "it runs"))
      assert.is_true(box:job("app").running)
      box:stop()
    end)

    it("while a trigger may try again", function()
      local box = run([[
        local migrate = pilot.job "migrate" { exec = "migrate" }
        pilot.job "task" { exec = "task", when = pilot.every "10s", depends_on = { migrate = "exit_success" } }
        pilot.after("15s", function() migrate:start() end)
      ]], { migrate = { { exit = 7, after = "1s" }, { exit = 0 } }, task = { exit = 0 } }, "12s")
      assert.equal("exit_failed exit_failed", boxes.events(box, "task"))
      box:advance "10s"
      assert.same({ 20 }, spawned(box, "task"))
      box:stop()
    end)

    it("once a second at most, where two start each other when they fail", function()
      local box = run([[
        local done, b = pilot.job "done" { exec = "done" }, pilot.job "b"
        local a = pilot.job "a" { exec = "app", depends_on = { done },
          when = pilot.any { done:once "stopped", b:each "exit_failed" } }
        b { exec = "app", depends_on = { done }, when = a:each "exit_failed" }
      ]], { done = { exit = 0 } }, "10s")
      assert.equal(10, #boxes.times(box, "a", "exit_failed"))
      assert.equal(10, #boxes.times(box, "b", "exit_failed"))
      box:stop()
    end)

    it("when nothing is left that could start what was stopped", function()
      local box = run([[
        local tool = pilot.job "tool" { exec = "app" }
        pilot.job "app" { exec = "app", when = tool:once "stopped", depends_on = { tool } }
        pilot.after("1s", function() tool:stop() end)
      ]], nil, "3s")
      assert.is_true(box.ended)
      assert.equal(1, box.exit_code)
      assert.equal('depends on job "tool" (running), which was stopped', box:job("app").exit.error)
    end)
  end)

  describe("and the order of the end:", function()
    it("who depends on a job is gone before that is asked", function()
      local box = run(database() .. [[
        pilot.job "migrate" { exec = "migrate", depends_on = { db } }
        pilot.job "app" { exec = "app", depends_on = { migrate = "exit_success" } }
        pilot.job "task" { exec = "app", when = pilot.every "1h", depends_on = { db } }
      ]], { migrate = { exit = 0 } }, "10s")
      local from = box:spawns "app"[1].at + 0.1
      box:stop()
      assert.equal("stopping app, stopping task, stopped app, stopped task, stopping db, stopped db", story(box, from))
    end)

    it("also where triggers name each other", function()
      local box = run([[
        local b = pilot.job "b"
        local a = pilot.job "a" { exec = "app", when = pilot.any { pilot.once "startup", b:once "exit_failed" } }
        b { exec = "app", depends_on = { a } }
        local d = pilot.job "d"
        local c = pilot.job "c" { exec = "app", when = pilot.any { pilot.once "startup", d:once "stopped" } }
        d { exec = "app", when = pilot.any { pilot.once "startup", c:once "stopped" } }
      ]], nil, "1s")
      box:stop()
      local text = story(box, 1)
      assert.is_true(text:find "stopped b" < text:find "stopping a")
      assert.is_true(text:find "stopping d" < text:find "stopped c") -- and those two together
    end)
  end)

  it("gives the pids and addresses of those jobs to the program", function()
    local box = boxes.load([[
      local db = pilot.job "db" { exec = "db", service = { port = 1 } }
      pilot.job "app" { exec = "app", depends_on = { db } }
    ]], { addresses = { { interface = "eth0", address = "10.0.0.5", family = "inet" } } })
    box:program("db", {})
    box:program("app", {})
    box:start()
    local db, env = box:job("db"), box:job("app"):process().env
    assert.equal(tostring(db.pid), env.LUAPILOT_DB_PID)
    assert.equal("10.0.0.5", env.LUAPILOT_DB_IP)
    box:stop()
  end)

  describe("with bind", function()
    local BOUND = [[
      local app = pilot.job "app" { exec = "app", restart = "always", depends_on = { db }, bind = true, %s }
    ]]

    local function bound(more, fields, programs, db)
      return run(database(db) .. BOUND:format(fields or "") .. (more or ""), programs, "5s")
    end

    it("stops the job at once when its dependency crashes, and starts it when that is back", function()
      local box = bound()
      box:job("db"):process():crash "SIGKILL"
      box:advance "10ms"
      assert.equal("stopping", box:job("app").state)
      box:advance "20s"
      assert.equal("exit_failed db, stopping app, stopped app, start db, start app", story(box, 4.5))
      assert.near(boxes.times(box, "db", "healthy")[2], box:spawns "app"[2].at, 0.01)
      assert.same({ "is stopped with db, which it is bound to" }, told(box, "app", "bound"))
      box:stop()
    end)

    it("stops it first when its dependency is restarted or stopped by hand", function()
      local box = bound [[
        pilot.after("6s", function() db:restart() end)
        pilot.after("20s", function() db:stop() end)
        pilot.after("30s", function() db:start() end)
      ]]
      box:advance "1m"
      assert.equal("stopping app, stopped app, stopping db, stopped db, start db, start app, "
        .. "stopping app, stopped app, stopping db, stopped db, start db, start app", story(box, 5))
      assert.same({ 4, 10.2, 34 }, spawned(box, "app"))
      box:stop()
    end)

    it("along a chain", function()
      local box = bound [[
        pilot.job "front" { exec = "app", depends_on = { app }, bind = true }
        pilot.after("6s", function() db:restart() end)
      ]]
      box:advance "1m"
      assert.equal("stopping front, stopped front, stopping app, stopped app, stopping db, stopped db, start db, "
        .. "start app, start front", story(box, 5))
      box:stop()
    end)

    it("starts it once where its trigger hears the same event", function()
      local box = run(database() .. [[
        pilot.job "app" { exec = "app", when = db:each("healthy", { when_busy = "restart" }), depends_on = { db },
          bind = true }
        pilot.job "task" { exec = "task", when = db:each "healthy", depends_on = { db }, bind = true }
        pilot.after("6s", function() db:restart() end)
      ]], { task = { exit = 0, after = "4s" } }, "1m")
      assert.equal(2, box:job("app"):starts())
      assert.equal(2, box:job("task"):starts())
      box:stop()
    end)

    it("takes nothing of the time that its dependency has to stop", function()
      local box = bound([[ pilot.after("6s", function() db:restart() end) ]], nil,
        { app = { ignores = { "SIGTERM" } }, db = { start_delay = "3s", listens = "localhost:1", term_delay = "8s" } })
      box:advance "10900ms"
      assert.equal("stopping app", story(box, 5))
      box:advance "7s"
      assert.equal("stopping app, stopped app, stopping db", story(box, 5))
      box:advance "1200ms"
      assert.equal("stopping app, stopped app, stopping db, stopped db, start db", story(box, 5))
      assert.same({}, told(box, "db", "killed"))
      box:stop()
    end)

    it("says how long it was asked to end when it is killed", function()
      local box = bound([[ pilot.after("6s", function() db:restart() end) ]], nil,
        { app = { ignores = { "SIGTERM" } },
          db = { start_delay = "3s", listens = "localhost:1", ignores = { "SIGTERM" } } })
      box:advance "1m"
      assert.same({ "did not end within 10s of being asked to: killed" }, told(box, "db", "killed$"))
      assert.near(26, boxes.times(box, "db", "stopped")[1], 0.1)
      box:stop()
    end)

    it("waits along a chain as long as each of it may take", function()
      local box = bound([[
        pilot.job "front" { exec = "front", depends_on = { app }, bind = true, stop_timeout = "4s" }
        pilot.after("6s", function() db:restart() end)
      ]], 'stop_timeout = "3s"', { app = { ignores = { "SIGTERM" } }, front = { ignores = { "SIGTERM" } } })
      box:advance "1m"
      assert.equal("stopping front, stopped front, stopping app, stopped app, stopping db, stopped db, start db, "
        .. "start app, start front", story(box, 5))
      assert.near(13, boxes.times(box, "db", "stopping")[1], 0.1)
      box:stop()
    end)

    it("is cut short by a shutdown that has no time left, which says that it was not asked yet", function()
      local box = bound([[
        pilot.shutdown_timeout "4s"
        db:on("stopping", function() print "db hears of it" end)
        pilot.after("6s", function() db:stop() end)
      ]], 'stop_timeout = "1m"', { app = { ignores = { "SIGTERM" } } })
      box:advance "1500ms"
      assert.equal(124, box:stop())
      assert.same({ "killed before it was asked to end" }, told(box, "db", "killed"))
      assert.same({}, told(box, "db", "handlers"))
      assert.equal(0, boxes.logged(box, "db hears of it"))
    end)

    it("does not stop it for a dependency that is merely unhealthy", function()
      local box = bound()
      box:tcp("localhost:1", "down")
      box:advance "1m"
      assert.equal("unhealthy", box:job("db").health)
      assert.equal(1, box:job("app"):starts())
      assert.is_true(box:job("app").running)
      box:stop()
    end)

    it("leaves one that was stopped by hand, or has ended, as it is", function()
      local box = bound([[
        pilot.job "once" { exec = "once", depends_on = { db }, bind = true }
        pilot.after("6s", function() app:stop() end)
        pilot.after("7s", function() db:restart() end)
        pilot.after("30s", function() db:restart() end)
        pilot.after("30s", function() app:start() end)
      ]], nil, { once = { exit = 0 } })
      box:advance "20s"
      assert.equal("stopped", box:job("app").state)
      assert.near(7, boxes.times(box, "db", "stopping")[1], 0.01) -- there is nobody to wait for
      box:advance "1m"
      assert.equal(2, box:job("app"):starts())
      assert.equal(1, box:job("once"):starts())
      box:stop()
    end)

    it("holds one that is stopped by hand while it is stopped with its dependency", function()
      local box = bound([[ app:on("stopping", function() app:stop() end)
        pilot.after("6s", function() db:restart() end) ]])
      box:advance "1m"
      assert.equal("stopped", box:job("app").state)
      assert.equal(1, box:job("app"):starts())
      box:stop()
    end)

    it("holds one that is stopped by hand at the very moment at which its dependency is restarted", function()
      local box = bound()
      local jobs = box.app.jobs
      box.app:command(function() jobs.db:input("stop", { again = "user" }) end)
      box.app:command(function() jobs.app:input("stop", {}) end)
      box:advance "1m"
      assert.equal("stopped", box:job("app").state)
      assert.equal(2, box:job("db"):starts())
      box:stop()
    end)

    it("holds it until a maintenance ends, in which nothing is checked, and says so", function()
      local box = bound [[
        pilot.after("6s", function()
          pilot.maintenance(true, "upgrade")
          db:restart()
        end)
        pilot.after("26s", function() pilot.maintenance(false) end)
      ]]
      box:advance "20s"
      assert.equal("blocked", box:job("app").state)
      assert.same({ "waits for db (healthy)", "waits for db (healthy; its checks pause for maintenance)" },
        told(box, "app", "waits"))
      assert.same({ 'has waited 10s for job "db" to be healthy (it is running, its checks pause for maintenance)' },
        told(box, "app", "has waited"))
      box:advance "10s"
      assert.is_true(box:job("app").running)
      box:stop()
    end)

    it("leaves the restart policy where it was", function()
      local box = run(database() .. [[
        pilot.job "app" { exec = "app", restart = { count = 3, backoff = "2s" }, depends_on = { db }, bind = true }
        pilot.on("SIGUSR2", function() db:restart() end)
      ]], { app = { { exit = 1, after = "1s" }, { exit = 1, after = "1s" }, {}, { exit = 1, after = "1s" } } }, "15s")
      assert.equal(3, box:job("app"):starts())
      box:signal "SIGUSR2"
      box:advance "30s"
      assert.equal(5, box:job("app"):starts()) -- with the database, and the last of three times by the policy
      assert.is_false(box:job("app").running)
      local exits, starts = boxes.times(box, "app", "exit_failed"), spawned(box, "app")
      assert.is_true(starts[5] - exits[3] > 5, "the third backoff") -- of 8 s at most
      box:stop()
    end)

    it("takes back a start that is in its prepare", function()
      local box = run(database() .. BOUND:format 'prepare = function() pilot.sleep "10s" end' .. [[
        pilot.after("6s", function() db:stop() end)
        pilot.after("30s", function() db:start() end)
      ]], nil, "7s")
      assert.equal("blocked", box:job("app").state)
      box:advance "1m"
      assert.same({ 44 }, spawned(box, "app"))
      box:stop()
    end)

    it("and concerns those that are to run only", function()
      local box = run(database() .. [[
        local task = pilot.job "task" { exec = "task" }
        pilot.job "app" { exec = "app", depends_on = { db, task = "exit_success" }, bind = true }
        pilot.after("6s", function() task:start() end)
      ]], { task = { exit = 0, after = "1s" } }, "1m")
      assert.equal(1, box:job("app"):starts())
      assert.is_true(box:job("app").running)
      box:stop()
    end)

    it("is quick in a shutdown that comes meanwhile", function()
      local box = bound([[ pilot.after("6s", function() db:restart() end) ]], nil, { app = { term_delay = "2s" } })
      box:advance "1500ms"
      assert.equal("stopping app", story(box, 5))
      assert.equal(0, box:stop())
      assert.equal("stopping app, stopped app, stopping db, stopped db", story(box, 5))
    end)
  end)

  describe("goes over to a new core", function()
    local SOURCE = database() .. [[
      pilot.job "app" { exec = "app", depends_on = { db }, bind = true }
      pilot.on("SIGUSR2", function() db:restart() end)
    ]]

    local function hand_over(box, source)
      assert.is_true(handover.run(box, function()
        if source then box:write(box.path, 'local pilot = require "luapilot"; ' .. source) end
      end))
    end

    it("while a start waits", function()
      local box = run(SOURCE, nil, "1s")
      hand_over(box)
      assert.equal("blocked", box:job("app").state)
      box:advance "5s"
      assert.same({ 4 }, spawned(box, "app"))
      box:stop()
    end)

    it("which binds a job to one that does not run", function()
      local unbound = database() .. [[
        pilot.job "app" { exec = "app", depends_on = { db } }
        pilot.on("SIGUSR2", function() db:stop() end)
      ]]
      local box = run(unbound, nil, "5s")
      box:signal "SIGUSR2"
      box:advance "1s"
      hand_over(box, unbound)
      box:advance "1s"
      assert.is_true(box:job("app").running)
      hand_over(box, SOURCE)
      box:advance "1s"
      assert.equal("blocked", box:job("app").state)
      box:signal "SIGUSR2"
      box:advance "10s"
      local starts = box:job("app"):starts()
      hand_over(box, SOURCE) -- where all is there, nobody is stopped
      box:advance "1s"
      assert.is_true(box:job("app").running)
      assert.equal(starts, box:job("app"):starts())
      box:stop()
    end)

    it("whose file binds nobody any more, while a stop waits", function()
      local box = run(SOURCE, { app = { term_delay = "8s" } }, "5s")
      box:signal "SIGUSR2"
      box:advance "100ms"
      hand_over(box, database() .. [[ pilot.job "app" { exec = "app", depends_on = { db } } ]])
      box:advance "1s"
      assert.equal("stopping app, stopping db, stopped db, start db", story(box, 5))
      box:stop()
    end)

    it("while a stop waits for those that are bound to the job", function()
      local box = run(SOURCE, { app = { term_delay = "2s" } }, "5s")
      box:signal "SIGUSR2"
      box:advance "100ms"
      hand_over(box)
      box:advance "20s"
      assert.equal("stopping app, stopped app, stopping db, stopped db, start db, start app", story(box, 5))
      box:stop()
    end)
  end)
end)
