local stub_pilot = require "support.stub_pilot"

describe("runner", function()
  local box

  after_each(function() box:check() end)

  local function run(source, options)
    box = stub_pilot.load("local pilot = require \"luapilot\"\n" .. source, options):start()
  end

  local function app() return box:job "app" end
  local function exit(how) box.world:exit(box:process "app", how or { code = 0 }) end
  local function events(name)
    local list = {}
    for _, event in ipairs(box.events) do
      if event:find("^" .. (name or "app") .. " ") then list[#list + 1] = event:match " (.*)" end
    end
    return table.concat(list, ", ")
  end

  describe("a process", function()
    it("is started, and told of", function()
      run [[ pilot.job "app" { exec = { "app", "-x" }, env = { A = "1" }, cwd = "/srv", stop_signal = "SIGINT" } ]]
      local options = box.world.handles[box:process "app"].options
      assert.same({ "app", "-x" }, options.argv)
      assert.equal("1", options.env_added.A)
      assert.equal("/srv", options.cwd)
      assert.equal("SIGINT", options.stop_signal)
      assert.equal("app", options.output.name)
      assert.equal(101, app().memory.pid)
      exit { code = 3 }
      assert.equal("exit_failed 3, stopped", events())
      assert.equal(3, box.app.exit_code)
    end)

    it("whose lines cannot be heard for want of memory is told of", function()
      run [[ app = pilot.job "app" { exec = { "app" } }
        pilot.after("1s", function() app:on("output", function() end) end) ]]
      local capture = box.world.port.capture
      function box.world.port.capture() return nil, "cannot capture: out of memory", "ENOMEM" end
      box.world:advance(1)
      box.world.port.capture = capture
      assert.equal('job "app": no handler hears its output: cannot capture: out of memory',
        box.world.logs[#box.world.logs].message)
      exit { code = 0 }
    end)

    describe("that is started again and again", function()
      local function plan(_, options) return options end
      local function options() return box.world.handles[box:process "app"].options end

      -- So many more starts; returns how many plans were made, and the options of the last start.
      local function again(count)
        local before = box.world:count "plan"
        for _ = 1, count do
          exit { code = 1 }
          box.world:advance(0)
        end
        return box.world:count "plan" - before, options()
      end

      -- When Lua collects, a plan is forgotten and made again: not here.
      before_each(function()
        collectgarbage()
        collectgarbage "stop"
      end)
      after_each(function() collectgarbage "restart" end)

      local ALWAYS = ', restart = { policy = "always", backoff = 0 } } '

      it("has what it is started with checked once", function()
        run('pilot.job "app" { exec = "app"' .. ALWAYS, { calls = { plan = plan } })
        assert.equal(0, box.world:count "plan")
        assert.equal(1, (again(1)))
        assert.equal(0, (again(5)))
      end)

      it("has it checked anew when a variable of its env_file has changed", function()
        run('pilot.job "app" { exec = "app", env_file = "/app.env"' .. ALWAYS,
          { calls = { plan = plan }, files = { ["/app.env"] = "A=1" } })
        assert.equal(1, (again(2)))
        box.world.files["/app.env"] = "A=2"
        local made, now = again(2)
        assert.same({ 1, "2" }, { made, now.env_added.A })
        box.world.files["/app.env"] = "A=2\nB=3"
        made, now = again(2)
        assert.same({ 1, "3" }, { made, now.env_added.B })
        box.world.files["/app.env"] = "B=3"
        made, now = again(2)
        assert.same({ 1, nil }, { made, now.env_added.A })
      end)

      it("has it checked anew when a job that it depends on has another pid", function()
        run([[
          local db = pilot.job "db" { exec = "db" }
          pilot.job "app" { exec = "app", when = db:once "exit_failed"]] .. ALWAYS,
          { calls = { plan = plan } })
        box.world:exit(box:process "db", { code = 1 })
        assert.is_nil(options().env_added.LUAPILOT_DB_PID)
        assert.equal(1, (again(2)))
        box:job("db"):input("start", { again = "user" })
        local made, now = again(2)
        assert.same({ 1, tostring(box:job("db").memory.pid) }, { made, now.env_added.LUAPILOT_DB_PID })
      end)

      it("is captured from the start on which somebody listens, until nobody does", function()
        run('app = pilot.job "app" { exec = "app"' .. ALWAYS .. [[
          pilot.on("SIGUSR1", function() heard = app:on("output", function() end) end)
          pilot.on("SIGUSR2", function() heard:cancel() end)
        ]], { calls = { plan = plan } })
        local function signal(name) box.app:turn { type = "signal", name = name, pid = 1, terminal = false } end
        again(2)
        signal "SIGUSR1"
        local id = box:process "app"
        box.world:send(id, { type = "output", stream = "stdout", data = "", last = true })
        box.world:send(id, { type = "output", stream = "stderr", data = "", last = true })
        exit { code = 1 }
        box.world:advance(0)
        assert.is_true(options().capture)
        assert.equal(2, app().streams)
        signal "SIGUSR2"
        id = box:process "app"
        box.world:send(id, { type = "output", stream = "stdout", data = "", last = true })
        box.world:send(id, { type = "output", stream = "stderr", data = "", last = true })
        exit { code = 1 }
        box.world:advance(0)
        assert.is_nil(options().capture)
        assert.equal(0, app().streams)
        again(1)
      end)
    end)

    it("ends when its group is gone, not when its leader has exited", function()
      run [[ pilot.job "app" { exec = "app" } ]]
      local id = box:process "app"
      box.world:exit(id, { code = 0 }, true)
      assert.equal("ending", box:state "app")
      box.world:advance(10)
      assert.same({ "SIGKILL group" }, box:signals())
      box.world:gone(id)
      assert.equal("complete", box:state "app")
    end)

    it("that cannot be started has an exit code", function()
      local codes = {
        { "ENOENT", "exec", 127 }, { "EACCES", "exec", 126 }, { "ENOENT", "cwd", 126 }, { "ENOENT", "user", 126 },
      }
      for _, row in ipairs(codes) do
        local function spawn() return nil, "no", row[1], row[2] end
        run([[ pilot.job "app" { exec = "app" } ]], { calls = { spawn = spawn } })
        assert.equal(row[3], app().memory.exit.code)
        assert.equal("spawn", app().memory.exit.reason)
        box:check()
      end
    end)

    it("is tried again when the machine refuses it", function()
      local refuse = true
      local usual = 900
      run([[ pilot.job "app" { exec = "app" } ]], { calls = { spawn = function(world)
        if refuse then return nil, "too many", "EAGAIN", "fork" end
        usual = usual + 1
        return world:handle { what = "process" }, usual
      end } })
      assert.equal("backoff", box:state "app")
      refuse = false
      box.world:advance(1)
      assert.equal("running", box:state "app")
    end)

    it("is tried again when what it needs to know cannot be asked for now", function()
      local refuse = true
      run([[
        pilot.job "app" { exec = "app", service = { port = 80, interfaces = "static:127.0.0.1" } }
        pilot.job "file" { exec = "file", env_file = "/app.env" }
      ]], { calls = {
        addresses = function()
          if refuse then return nil, "too many", "EMFILE" end
          return {}
        end,
        read = function(world, path)
          if path ~= "/app.env" then return world.files[path] end
          if refuse then return nil, "too many", "EMFILE" end
          return "A=1"
        end,
      } })
      assert.equal("backoff", box:state "app")
      assert.equal("backoff", box:state "file")
      refuse = false
      box.world:advance(1)
      assert.equal("running", box:state "app")
      assert.equal("running", box:state "file")
      box:check()
    end)

    it("fails to start when its environment cannot be read", function()
      run [[ pilot.job "app" { exec = "app", env_file = "/gone.env", restart = { limit = 2 } } ]]
      assert.matches("^env_file: ", app().memory.exit.error)
      assert.equal("backoff", box:state "app")
      box.world:advance(10)
      assert.equal("complete", box:state "app")
      assert.equal(3, app().memory.runs)
    end)

    it("that nobody waits for leaves no route behind", function()
      run [[
        pilot.job "app" { exec = "app", restart = { backoff = 0 } }
        pilot.job "noisy" { exec = "noisy", restart = { backoff = 0 } }:on("output", function() end)
      ]]
      local function routes()
        local count = 0
        for _ in pairs(box.app.loop.routes) do count = count + 1 end
        return count
      end
      local before = routes()
      for _ = 1, 20 do
        exit()
        local id = box:process "noisy"
        for _, stream in ipairs { "stdout", "stderr" } do
          box.app:turn { type = "output", id = id, stream = stream, data = "", last = true }
        end
        box.world:exit(id, { code = 0 })
        for _ = 1, 2 do box.world:fire() end
      end
      assert.equal(before, routes())
      local id = box:process "noisy"
      for _, stream in ipairs { "stdout", "stderr" } do
        box.app:turn { type = "output", id = id, stream = stream, data = "", last = true }
      end
    end)

    it("with backoff 0 that cannot be started lets the pilot hear its signals", function()
      run([[ pilot.job "app" { exec = "app", restart = { backoff = 0 } } ]],
        { calls = { spawn = function() return nil, "no", "ENOENT", "exec" end } })
      for _ = 1, 5 do box.world:fire() end
      assert.equal(6, app().memory.runs)
    end)
  end)

  describe("lines", function()
    local function say(stream, data, last)
      box.app:turn { type = "output", id = box:process "app", stream = stream, data = data, last = last or false }
    end

    it("reach Lua whole, each stream's for itself, or in the pieces that the port makes of a long one", function()
      run [[
        pilot.state.lines = {}
        pilot.job "app" { exec = "app" }:on("output", { when_busy = "queue" }, function(event)
          local lines = pilot.state.lines
          lines[#lines + 1] = event.stream:sub(4) .. ":" .. event.line .. (event.partial and "…" or "")
        end)
      ]]
      say("stdout", "a\nb")
      say("stderr", "x\n\n")
      say("stdout", "c\nd\n")
      say("stdout", "e", true)
      say("stderr", "", true)
      assert.same({ "out:a", "out:b…", "err:x", "err:", "out:c", "out:d", "out:e" }, box.app.state.lines)
      exit()
    end)

    it("are asked for when somebody subscribes, once", function()
      run [[
        local app = pilot.job "app" { exec = "app", restart = "always" }
        pilot.on("SIGUSR1", function() app:on("output", function() end) end)
        pilot.on("SIGUSR2", function() app:next("output", "1s") end)
      ]]
      box.app:turn { type = "signal", name = "SIGUSR1", pid = 1, terminal = false }
      assert.same({ "capture", box:process "app", true }, box.world.calls[#box.world.calls])
      exit()
      box.world:advance(2)
      assert.is_true(box.world.handles[box:process "app"].options.capture)
      for _, stream in ipairs { "stdout", "stderr" } do say(stream, "", true) end
      exit()
      box.world:advance(2)
      for _, stream in ipairs { "stdout", "stderr" } do say(stream, "", true) end
    end)
  end)

  describe("prepare", function()
    it("runs before each start, and its failure is one of the start", function()
      run [[
        pilot.job "app" { exec = "app", restart = "always", prepare = function(job)
          pilot.state.count = (pilot.state.count or 0) + 1
          pilot.sleep "1s"
          if pilot.state.count == 2 then error("no", 0) end
        end }
      ]]
      assert.equal("preparing", box:state "app")
      box.world:advance(1)
      exit()
      box.world:advance(2)
      assert.equal("prepare", app().memory.exit.reason)
      assert.same({ 'job "app": prepare: no' }, box:take_errors())
      box.world:advance(10)
      assert.equal(3, box.app.state.count)
      assert.equal("running", box:state "app")
    end)

    it("that ends while it is taken back does not start what came after it", function()
      run [[
        pilot.job "app" { exec = "app", when = "manual", prepare = function()
          pilot.sleep(1)
          if pilot.state.hook then pilot.state.hook() end
        end }
        pilot.on("SIGUSR1", function() pilot.job "app":start() end)
      ]]
      box.app:turn { type = "signal", name = "SIGUSR1", pid = 1, terminal = false }
      box.app.state.hook = function()
        box.app.state.hook = nil
        app():post("stop", { again = "user" })
      end
      box.world:advance(1)
      assert.equal("preparing", box:state "app")
      assert.is_nil(box:process "app")
      box.world:advance(1)
      assert.equal("running", box:state "app")
      assert.equal(1, box.world:count "spawn")
    end)

    it("is cancelled by a stop", function()
      run [[
        pilot.job "app" { exec = "app", prepare = function()
          pilot.defer(function(reason) pilot.state.reason = reason end)
          pilot.sleep(100)
        end }
        pilot.on("SIGUSR1", function() pilot.job "app":stop() pilot.state.stopped = true end)
      ]]
      box.app:turn { type = "signal", name = "SIGUSR1", pid = 1, terminal = false }
      assert.same({ reason = "cancel", stopped = true }, box.app.state)
      assert.equal("stopped", events())
    end)
  end)

  describe("a Lua run", function()
    it("lives like a process", function()
      run [[
        pilot.job "app" { run = function() pilot.sleep(5) error("oops", 0) end, restart = 1 }
      ]]
      assert.equal("running", box:state "app")
      box.world:advance(5)
      assert.equal("exit_failed 1", events())
      assert.same({ 'job "app": run: oops' }, box:take_errors())
      box.world:advance(7)
      assert.equal("complete", box:state "app")
      assert.same({ 'job "app": run: oops' }, box:take_errors())
    end)

    it("is cancelled by a stop, and abandoned by the end of its budget", function()
      run [[
        pilot.job "app" { stop_timeout = "2s", run = function()
          pilot.defer(function(reason) pilot.state.reason = reason end)
          local ok = pcall(pilot.sleep, 100)
          pilot.state.first = ok
          while true do coroutine.wrap(function() end)() pcall(pilot.sleep, 1) end
        end }
        pilot.on("SIGUSR1", function() pilot.job "app":stop() end)
      ]]
      box.app:turn { type = "signal", name = "SIGUSR1", pid = 1, terminal = false }
      assert.equal("held", box:state "app")
      assert.same({ first = false, reason = "cancel" }, box.app.state)
      assert.same({ "run of job \"app\": cancelled, but went on waiting: abandoned" }, box:take_errors())
    end)

    it("that returns at once, again and again, lets the pilot hear its signals", function()
      run [[ pilot.job "app" { run = function() end, restart = { backoff = 0 } } ]]
      for _ = 1, 5 do box.world:fire() end
      assert.equal(6, app().memory.runs)
    end)

    it("that starts itself by its own end, too", function()
      run [[
        local app = pilot.job "app"
        app { run = function() end, when = pilot.any { pilot.once "startup", app:each "exit_success" } }
      ]]
      box.app:turn { type = "signal", name = "SIGTERM", pid = 1, terminal = false }
      assert.is_true(app().memory.runs > 10)
      box:stop()
    end)
  end)

  describe("a stop", function()
    it("waits for its handlers, of this stop only", function()
      run [[
        local app = pilot.job "app" { exec = "app", stop_timeout = "2s" }
        app:on("stopping", { when_busy = "parallel" }, function()
          pilot.defer(function() pilot.sleep(10) end)
          pilot.sleep(100)
        end)
        pilot.on("SIGUSR1", function() app:restart() end)
      ]]
      local first = box:process "app"
      box.app:turn { type = "signal", name = "SIGUSR1", pid = 1, terminal = false }
      box.world:advance(2) -- handlers abandoned, signal, kill
      assert.same({ "SIGTERM group", "SIGKILL group" }, box:signals())
      box.world:exit(first, { signal = "SIGKILL" })
      assert.equal("running", box:state "app")
      box.world:advance(9)
      assert.equal("running", box:state "app")
      box.world.calls = {}
      app():post("stop", {})
      box.world:advance(1.2) -- the handlers of the first stop end now
      assert.same({}, box:signals())
      box.world:advance(0.5)
      assert.same({ "SIGTERM group" }, box:signals())
      exit { signal = "SIGTERM" }
      box.world:advance(40)
    end)

    it("continues a stopped process", function()
      run [[ pilot.job "app" { exec = "app" } ]]
      app():post("stop", {})
      box.app.loop:rest()
      local calls = box.world.calls
      assert.same({ "SIGTERM", "SIGCONT" }, { calls[#calls - 1][3], calls[#calls][3] })
    end)
  end)

  describe("a reload function", function()
    it("works alone; what is asked for meanwhile is done once more", function()
      run [[
        pilot.state.count = 0
        local app = pilot.job "app" { exec = "app", reload = function()
          pilot.state.count = pilot.state.count + 1
          pilot.sleep(5)
        end }
        pilot.on("SIGUSR1", { when_busy = "parallel" }, function() app:reload() end)
      ]]
      box.world:advance(2)
      for _ = 1, 4 do box.app:turn { type = "signal", name = "SIGUSR1", pid = 1, terminal = false } end
      box.world:advance(1)
      assert.equal(1, box.app.state.count)
      box.world:advance(5)
      assert.equal(2, box.app.state.count)
      box.world:advance(10)
      assert.equal(2, box.app.state.count)
    end)
  end)

  it("only registered: has no process to end", function()
    run [[
      pilot.job "app" { health = { tcp = "x:1" } }
      pilot.on("SIGUSR1", function() pilot.job "app":stop() pilot.job "app":start() end)
    ]]
    assert.equal("running", box:state "app")
    box.app:turn { type = "signal", name = "SIGUSR1", pid = 1, terminal = false }
    assert.equal("running", box:state "app")
    assert.equal("stopping, stopped", events())
    assert.equal(0, box.world:count "kill")
  end)
end)
