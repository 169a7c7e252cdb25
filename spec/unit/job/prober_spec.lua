local effort = require "support.effort"
local stub_pilot = require "support.stub_pilot"

describe("prober", function()
  local box

  after_each(function() if box then box:check() end end)

  -- A job "app" with these checks; `ask` is what a check function calls.
  local function run(checks, options)
    box = stub_pilot.load(([[
      local pilot = require "luapilot"
      local results = { asked = 0 }
      local function ask()
        results.asked = results.asked + 1
        if results.wait then pilot.sleep(results.wait) end
        if results.raise then error(results.raise, 0) end
        return results[1], results[2]
      end
      pilot.state.results = results
      pilot.job "app" { exec = "app", health = %s, %s }
    ]]):format(checks, options or "")):start()
    return box.app.state.results
  end

  local function health() return box:job("app").memory.health end
  local function answer(err)
    local id = assert(box:handle "connection", "nothing is being connected to")
    box.world:send(id, { type = "connected", error = err }, true)
  end

  describe("tcp", function()
    it("asks at once, soon again until the first pass, then at its interval", function()
      run '{ tcp = "x:1", interval = "10s" }'
      answer "refused"
      box.world:advance(0.25)
      answer "refused"
      box.world:advance(0.5)
      answer()
      assert.equal("healthy", health())
      box.world:advance(9)
      assert.is_nil(box:handle "connection")
      box.world:advance(0.25)
      assert.is_truthy(box:handle "connection")
    end)

    it("asks one at a time", function()
      run '{ tcp = "x:1", interval = "1s" }'
      box.world:advance(30)
      assert.equal(1, box.world:count "connect")
    end)

    it("is taken back when the process ends", function()
      run '{ tcp = "x:1", interval = "1s" }'
      box.world:exit(box:process "app", { code = 0 })
      assert.is_nil(box:handle "connection")
      box.world:advance(10)
      assert.equal(1, box.world:count "connect")
    end)
  end)

  describe("exec", function()
    local function programs()
      local list = {}
      for id, each in pairs(box.world.handles) do
        if each.what == "process" and id ~= box:process "app" then list[#list + 1] = id end
      end
      return list
    end

    local function finish(code, text)
      local id = programs()[1]
      box.app:turn { type = "output", id = id, stream = "stdout", data = text or "", last = true }
      box.app:turn { type = "output", id = id, stream = "stderr", data = "", last = true }
      box.world:exit(id, { code = code })
    end

    it("passes with code 0, and keeps a note of what it said", function()
      run '{ exec = "check", interval = "1s", fall = 1 }'
      finish(0, "fine\n\n")
      assert.equal("healthy", health())
      box.world:advance(1)
      finish(1, ("x"):rep(500) .. (" "):rep(1000))
      assert.equal("unhealthy", health())
      local note = box:job("app").prober.memory.checks[1].output
      assert.equal(("x"):rep(200) .. "…", note)
    end)

    it("cuts no character of it in two", function()
      run '{ exec = "check", interval = "1s", fall = 1 }'
      finish(1, "x" .. ("é"):rep(150))
      assert.equal("x" .. ("é"):rep(99) .. "…", box:job("app").prober.memory.checks[1].output)
    end)

    it("is not held up by a lot of blanks", function()
      run '{ exec = "check", interval = "1s", fall = 1 }'
      local function says(text)
        return function()
          finish(0, text)
          box.world:advance(1)
        end
      end
      assert.is_true(effort.ratio(says((" "):rep(60000) .. "x"), says(("y"):rep(60000) .. "x")) < 1000)
    end)

    it("is killed with the process", function()
      run '{ exec = "check", interval = "1s" }'
      assert.equal(1, #programs())
      box.world:exit(box:process "app", { code = 0 })
      assert.equal(0, #programs())
    end)

    it("fails, and goes on, when its environment cannot be read", function()
      box = stub_pilot.load([[
        local pilot = require "luapilot"
        pilot.job "app" { exec = "app", env_file = "/app.env", health = { exec = "check", interval = "1s", fall = 1 } }
      ]], { files = { ["/app.env"] = "A=1" } })
      box:start()
      finish(0)
      box.world.files["/app.env"] = nil
      box.world:advance(1)
      assert.equal("unhealthy", health())
      box.world.files["/app.env"] = "A=2"
      box.world:advance(1)
      finish(0)
      assert.equal("healthy", health())
    end)
  end)

  describe("check", function()
    it("passes with a truthy value, warns with \"warn\", fails with nil, false and a raise", function()
      local results = run '{ check = ask, interval = "1s", fall = 1 }'
      box.world:advance(0.1)
      for _, row in ipairs { { true, "healthy" }, { false, "unhealthy" }, { "warn", "healthy" }, { nil, "unhealthy" },
        { 0, "healthy" } } do
        results[1] = row[1]
        box.world:advance(1)
        assert.equal(row[2], health())
      end
      results.raise = "oops"
      box.world:advance(1)
      assert.equal("unhealthy", health())
      assert.same({ 'job "app": health: oops' }, box:take_errors())
    end)

    it("may say anything", function()
      local results = run '{ check = ask, interval = "1s", fall = 1 }'
      local texts = { "text", 5, false, {}, setmetatable({}, { __tostring = function() error "no" end }) }
      for i = 1, 5 do
        results[1], results[2] = false, texts[i]
        box.world:advance(1)
        assert.equal("unhealthy", health())
      end
    end)

    it("that takes too long fails, and is asked again", function()
      local results = run '{ check = ask, interval = "2s", timeout = "1s", fall = 1 }'
      results[1] = true
      box.world:advance(0.5)
      assert.equal("healthy", health())
      results.wait = 5
      box.world:advance(3.5)
      assert.equal("unhealthy", health())
      results.wait = nil
      box.world:advance(2)
      assert.equal("healthy", health())
    end)

    it("is cancelled with the process, and says nothing afterwards", function()
      local results = run '{ check = ask, interval = "2s", fall = 1 }'
      results[1], results.wait = true, 1
      box.world:advance(0.5)
      box.world:exit(box:process "app", { code = 0 })
      box.world:advance(5)
      assert.equal("unknown", health())
      assert.equal(0, box.app.tasks.count)
    end)

    it("that comes with the end of a Lua run does not count for the next", function()
      box = stub_pilot.load [[
        local pilot = require "luapilot"
        local woken = 0
        local app
        app = pilot.job "app" {
          run = function() pilot.sleep "1s" end,
          when = pilot.every "10s",
          health = { check = function() pilot.sleep "1s" end, interval = "5s", fall = 1, restart_after = 1 },
        }
        pilot.on("SIGUSR1", function() app:start() end)
      ]]
      box:start()
      box.world:advance(1)
      assert.equal("unknown", health())
      box.world:advance(60)
      assert.same({}, box:take_errors())
    end)
  end)

  describe("notify", function()
    local function say(fields) box.world:send(box:process "app", { type = "notify", fields = fields }) end

    it("passes with READY=1, and needs WATCHDOG=1 in time", function()
      run '{ notify = true, interval = "5s", fall = 1 }'
      box.world:advance(60)
      assert.equal("unknown", health())
      say { WATCHDOG = "1" }
      assert.equal("unknown", health())
      say { READY = "1", STATUS = "up" }
      assert.equal("healthy", health())
      for _ = 1, 3 do
        box.world:advance(4)
        say { WATCHDOG = "1" }
      end
      assert.equal("healthy", health())
      box.world:advance(5)
      assert.equal("unhealthy", health())
      say { WATCHDOG = "1" }
      assert.equal("healthy", health())
      say { WATCHDOG = "trigger" }
      assert.equal("unhealthy", health())
    end)

    it("needs no watchdog without an interval", function()
      run '{ notify = true }'
      say { READY = "1" }
      box.world:advance(1000)
      assert.equal("healthy", health())
    end)
  end)

  it("adds several checks up", function()
    local results = run '{ { tcp = "x:1", interval = "1s" }, { check = ask, interval = "1s", fall = 1 } }'
    results[1] = true
    box.world:advance(0.5)
    assert.equal("unknown", health())
    answer()
    assert.equal("healthy", health())
    results[1] = false
    box.world:advance(1)
    assert.equal("unhealthy", health())
  end)

  it("restarts the job after too many failures", function()
    local results = run('{ check = ask, interval = "1s", restart_after = 3 }', 'restart = "never"')
    results[1] = true
    box.world:advance(0.5)
    results[1] = false
    box.world:advance(3.5)
    assert.same({ "SIGTERM group" }, box:signals())
    local asked = results.asked
    box.world:advance(3)
    assert.equal(asked, results.asked)
    box.world:exit(box:process "app", { code = 0 })
    box.world:advance(1)
    assert.equal(2, box:job("app").memory.runs)
  end)
end)
