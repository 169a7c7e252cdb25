-- Checks, and what follows from them.
local boxes = require "support.boxes"

describe("health", function()
  after_each(boxes.check)

  -- An app whose TCP check the spec moves.
  local function run(fields, behaviour, more, job_fields)
    local box = boxes.load(([[
      local app = pilot.job "app" { exec = "app", %s health = { tcp = "localhost:1", interval = "10s" %s } }
    ]]):format(job_fields or "", fields or "") .. (more or ""))
    box:program("app", behaviour or {})
    box:tcp("localhost:1", "down")
    box:start()
    return box, box:job "app"
  end

  local function up(box) box:tcp("localhost:1", "up") end
  local function down(box) box:tcp("localhost:1", "down") end

  it("is unknown at first", function()
    local box, app = run()
    box:advance "1s"
    assert.equal("unknown", app.health)
    assert.equal("", boxes.events(box, "app"))
  end)

  it("is noticed soon after the start, before the first interval is over", function()
    local box, app = run()
    box:advance "1s"
    up(box)
    box:advance "1s"
    assert.equal("healthy", app.health)
    assert.equal("healthy", boxes.events(box, "app"))
  end)

  it("early probes do not count as failures", function()
    local box, app = run ', fall = 1'
    box:advance "9s"
    assert.equal("unknown", app.health)
    box:advance "2s"
    assert.equal("unhealthy", app.health)
  end)

  it("is not taken from the daemon that an earlier run has left", function()
    local box, app = run("", {
      function(proc)
        proc:fork(function(daemon) daemon:sleep "1m" end, { setsid = true })
        proc:exit(0)
      end, {},
    }, nil, 'restart = "always",')
    box:advance "100ms"
    up(box) -- it is the daemon who listens
    box:advance "35s"
    assert.equal(1, boxes.logged(box, "background: pid 102 (app) lives on"))
    assert.equal(2, app:starts())
    assert.equal("unhealthy", app.health)
    assert.is_true(boxes.logged(box, "which an earlier run left in the background, may be who answers") > 0)
    box:advance "1m" -- it has ended, and who answers now is believed
    assert.equal("healthy", app.health)
  end)

  it("is not taken from a daemon that has ended, whoever the present run has put aside", function()
    local function aside(proc, seconds)
      proc:fork(function(between)
        between:fork(function(helper) helper:sleep(seconds) end, { setsid = true })
        between:exit(0)
      end)
    end
    local box, app = run("", {
      function(proc)
        aside(proc, "4s")
        proc:sleep "100ms"
        proc:exit(0)
      end,
      function(proc)
        aside(proc, "1h")
        proc:sleep "30s"
        proc:exit(1)
      end, {},
    }, nil, 'restart = "always",')
    box:advance "2s"
    up(box)
    box:advance "20s"
    assert.equal(2, app:starts())
    assert.equal("healthy", app.health)
    box:advance "20s" -- whom the second one leaves is not the daemon that the first one was
    assert.equal(3, app:starts())
    assert.equal("healthy", app.health)
  end)

  it("says no part of a secret where a check is ended that says too much", function()
    local secret = ("s3cr3t-0123456789"):rep(600)
    local box = boxes.load([[
      pilot.secret "token"
      pilot.job "app" { exec = "app", health = { exec = "ask" } }
    ]], { files = { ["/run/secrets/token"] = secret } })
    box:program("app", {})
    box:program("ask", { stdout = (secret .. " "):rep(10), exit = 1 })
    box:start()
    box:advance "15s"
    local said = ""
    for _, line in ipairs(box:log()) do said = said .. line.message .. "\n" end
    assert.matches("health %(exec ask%) does not pass yet: %*%*%* %*%*%* %*%*%* %*%*%* %*%*%* %*%*%* %*%*%*\n", said)
    assert.no.matches("s3c", said)
  end)

  it("says no part of a secret where what a check has said is cut, nor in what it asks", function()
    local secret = "s3cr3t-token-of-32-bytes-0123456"
    local box = boxes.load([[
      local token = pilot.secret "token"
      local header = "Authorization: a-long-word-before-it Bearer " .. token
      pilot.job "app" { exec = "app", health = { exec = { "ask", header } } }
      pilot.on("startup", function() pilot.exec { "tool" } end)
    ]], { files = { ["/run/secrets/token"] = secret } })
    box:program("app", {})
    box:program("ask", { stdout = ("x"):rep(190) .. secret, exit = 1 })
    box:program("tool", { stderr = secret .. ("x"):rep(490), exit = 1 })
    box:start()
    box:advance "15s"
    local said = {}
    for _, line in ipairs(box:log()) do said[#said + 1] = line.message end
    said = table.concat(said, "\n")
    assert.is_truthy(said:find "Bearer %*" and said:find "x%*" and said:find "%*x")
    for at = 1, #secret - 3 do assert.is_nil(said:find(secret:sub(at, at + 3), 1, true)) end
    box:forget_errors()
  end)

  it("falls after three failures in a row, rises after one pass", function()
    local box, app = run()
    up(box)
    box:advance "1s"
    down(box)
    box:advance "25s"
    assert.equal("healthy", app.health)
    box:advance "5s"
    assert.equal("unhealthy", app.health)
    up(box)
    box:advance "10s"
    assert.equal("healthy", app.health)
    assert.equal("healthy unhealthy healthy", boxes.events(box, "app"))
  end)

  it("a pass in between starts the count anew", function()
    local box, app = run()
    up(box)
    box:advance "1s"
    for _ = 1, 5 do
      down(box)
      box:advance "20s"
      up(box)
      box:advance "10s"
    end
    assert.equal("healthy", app.health)
  end)

  it("rise and fall as told", function()
    local box, app = run ', rise = 3, fall = 2'
    up(box)
    box:advance "1s"
    box:run_until(function() return app.health == "healthy" end, "31s")
    assert.is_true(box.world:elapsed() > 19)              -- three passes are an interval apart
    down(box)
    box:run_until(function() return app.health == "unhealthy" end, "21s")
    up(box)
    local before = box.world:elapsed()
    box:run_until(function() return app.health == "healthy" end, "31s")
    assert.is_true(box.world:elapsed() - before > 20)
  end)

  it("failures do not count during start_period, a pass does and ends it", function()
    local box, app = run ', fall = 1, start_period = "1m"'
    box:advance "59s"
    assert.equal("unknown", app.health)
    up(box)
    box:advance "10s"
    assert.equal("healthy", app.health)
    box, app = run ', fall = 1, start_period = "1m"'
    up(box)
    box:advance "5s"
    down(box)
    box:advance "10s"
    assert.equal("unhealthy", app.health)
    box, app = run ', fall = 1, start_period = "1m"'
    box:advance "71s"
    assert.equal("unhealthy", app.health)
  end)

  it("a check that hangs fails by its timeout", function()
    local box = boxes.load [[
      pilot.job "app" { exec = "app", health = { tcp = "localhost:1", interval = "10s", timeout = "4s", fall = 1 } }
    ]]
    box:program("app", {})
    box:tcp("localhost:1", "hangs")
    box:start()
    box:run_until(function() return box:job "app".health == "unhealthy" end, "16s")
    local output
    for _, event in ipairs(box:events()) do output = output or event.event.output end
    assert.is_truthy(output:find("no answer within 4s", 1, true))
  end)

  it("a check that has hung from the start fails as soon as one that answers", function()
    local box = boxes.load [[
      pilot.job "app" { exec = "app", health = { tcp = "localhost:1", interval = "10s" } }
    ]]
    box:program("app", {})
    box:tcp("localhost:1", "hangs")
    box:start()
    box:run_until(function() return box:job "app".health == "unhealthy" end, "45s")
  end)

  it("ends with the process, and begins anew with the next", function()
    local box, app = run("", { { exit = 1, after = "15s" }, {} }, [[
      pilot.on("SIGUSR1", function() app:start() end)
    ]])
    up(box)
    box:advance "16s"
    assert.equal("complete", app.state)
    box:advance "1m"
    assert.equal("healthy exit_failed stopped", boxes.events(box, "app"))
    box:signal "SIGUSR1"
    assert.equal("unknown", app.health)
    box:advance "1s"
    assert.equal("healthy", app.health)
  end)

  describe("restart_after", function()
    it("restarts the job, whatever its policy", function()
      local box, app = run(', restart_after = 5', { term_delay = "1s" })
      up(box)
      box:advance "1s"
      down(box)
      box:advance "45s"
      assert.equal(1, app:starts())
      box:advance "15s"
      assert.equal(2, app:starts())
      assert.equal(1, app:received "SIGTERM")
      local failed
      for _, event in ipairs(box:events()) do
        if event.name == "exit_failed" or event.name == "exit_success" then failed = event.event end
      end
      assert.equal("health", failed.reason)
    end)

    it("with SIGKILL after stop_timeout", function()
      local box, app = run(', restart_after = 1', { ignores = { "SIGTERM" } })
      up(box)
      box:advance "1s"
      down(box)
      box:advance "18s"
      assert.equal(1, app:starts())
      assert.equal(0, app:received "SIGKILL")
      box:run_until(function() return app:starts() == 2 end, "10s")
      assert.equal(1, app:received "SIGKILL")
    end)

    it("waits longer and longer, as restart = always does", function()
      local box, app = run(', restart_after = 1, fall = 1', {})
      box:advance "10m"
      assert.is_true(app:starts() > 5 and app:starts() < 30)
    end)
  end)

  describe("by a program", function()
    local function run_exec(behaviour)
      local box = boxes.run([[
        local app = pilot.job "app" {
          exec = "app", cwd = "/srv", env = { A = 1 },
          health = { exec = "check -v", interval = "10s", timeout = "2s", fall = 1 },
        }
        app:on("unhealthy", function(event) print("said: " .. tostring(event.output)) end)
      ]], { app = {}, check = behaviour })
      return box, box:job "app"
    end

    it("that ends with 0 passes, with the job's environment and directory", function()
      local proc
      local box, app = run_exec(function(p) proc = p end)
      box:advance "1s"
      assert.equal("healthy", app.health)
      assert.same({ "/srv", "1" }, { proc.cwd, proc.env.A })
    end)

    it("that ends otherwise fails, with what it said", function()
      local box, app = run_exec { exit = 1, stdout = "no good\n" }
      box:advance "11s"
      assert.equal("unhealthy", app.health)
      assert.equal(1, boxes.logged(box, "said: no good"))
      box, app = run_exec { signal = "SIGSEGV" }
      box:advance "11s"
      assert.equal("unhealthy", app.health)
      assert.equal(1, boxes.logged(box, "said: was killed by SIGSEGV"))
    end)

    it("that takes too long is killed, with all that it started", function()
      local box, app = run_exec { grandchild = { ignores = { "SIGTERM" } } }
      box:advance "14s"
      assert.equal("unhealthy", app.health)
      assert.equal(1, #box.port.kernel:alive())
    end)

    it("that leaves somebody running is told so once, and that is ended", function()
      local box, app = run_exec { exit = 0, grandchild = {} }
      box:advance "59s"
      assert.equal("healthy", app.health)
      assert.equal(1, #box.port.kernel:alive())
      assert.equal(1, boxes.logged(box, 'job "app": health left a process running, which was ended'))
    end)

    it("that cannot be started fails", function()
      local box, app = run_exec { spawn_error = "ENOENT" }
      box:advance "11s"
      assert.equal("unhealthy", app.health)
    end)

    it("never runs twice at a time, and is killed when the job ends", function()
      local box, app = run_exec { after = "1900ms", exit = 0 }
      box:advance "1s"
      app:process():exit(0)
      box:advance "10ms"
      assert.equal(0, #box.port.kernel:alive())
    end)
  end)

  describe("by a function", function()
    local function run_check(body)
      local box = boxes.run(([[
        local count = 0
        local app = pilot.job "app" {
          exec = "app",
          health = { interval = "10s", timeout = "2s", fall = 1, check = function(job) count = count + 1 %s end },
        }
        app:on("unhealthy", function(event) print("said: " .. tostring(event.output)) end)
      ]]):format(body), { app = {} })
      box:advance "11s"
      return box, box:job "app"
    end

    it("passes by a true value, fails by nil, false and a raise", function()
      assert.equal("healthy", select(2, run_check "return job.running").health)
      local silent, mute = run_check ""
      assert.equal("unhealthy", mute.health)
      assert.equal(1, boxes.logged(silent, "said: the check returned nil"))
      local box, app = run_check 'return false, "because"'
      assert.equal("unhealthy", app.health)
      assert.equal(1, boxes.logged(box, "said: because"))
      box, app = run_check 'error("oops", 0)'
      assert.equal("unhealthy", app.health)
      assert.equal(1, boxes.logged(box, "said: oops"))
      assert.is_true(#box:forget_errors() > 0)
    end)

    it("that raises the same again is an error once, and again after it has not raised", function()
      local box = boxes.run([[
        local tries = 0
        pilot.job "app" { exec = "app", health = { interval = "1s", check = function()
          tries = tries + 1
          if tries ~= 20 then error(("no answer to request 7f%x-a"):format(tries), 0) end -- another one each time
          return true
        end } }
        pilot.on("error", function(event) print("said: " .. event.message) end)
      ]], { app = {} })
      box:advance "900ms" -- what it asks may not be up yet
      assert.equal(0, boxes.logged(box, "said: no answer"))
      box:advance "9s"
      assert.equal(1, boxes.logged(box, "said: no answer"))
      box:advance "1m"
      assert.equal(2, boxes.logged(box, "said: no answer"))
      assert.equal(2, #box:forget_errors())
    end)

    it("that was ended for going too far is an error at once", function()
      for _, text in ipairs { "ran for more than 1 s without waiting: leave it", "not enough memory: leave it" } do
        local box = boxes.run(([[
          pilot.job "app" { exec = "app", health = { interval = "1h", check = function() error(%q) end } }
        ]]):format(text), { app = {} })
        box:advance "5m"
        assert.equal(1, boxes.logged(box, 'health: pilot.lua:1: ' .. text))
        assert.equal(1, #box:forget_errors())
      end
    end)

    it("warns, which passes, and is logged", function()
      local box, app = run_check 'return "warn", "slow"'
      assert.equal("healthy", app.health)
      assert.is_true(boxes.logged(box, "slow") > 0)
    end)

    it("that waits too long fails, and is cancelled", function()
      local box, app = run_check 'pilot.defer(function(why) print("check ended: " .. why) end) pilot.sleep "1h"'
      assert.equal("unknown", app.health)
      box:advance "2s"
      assert.equal("unhealthy", app.health)
      assert.is_true(boxes.logged(box, "check ended: timeout") > 0)
    end)
  end)

  describe("by notify", function()
    local function run_notify(fields, notify)
      local box = boxes.run(([[
        pilot.job "app" { exec = "app", health = { notify = true %s } }
      ]]):format(fields), { app = notify })
      return box, box:job "app"
    end

    it("READY=1 passes", function()
      local box, app = run_notify("", { start_delay = "3s", notify = { READY = 1 } })
      box:advance "2900ms"
      assert.equal("unknown", app.health)
      box:advance "200ms"
      assert.equal("healthy", app.health)
      box:advance "1h"
      assert.equal("healthy", app.health)
    end)

    it("a missed WATCHDOG fails", function()
      local box, app = run_notify(', interval = "10s", fall = 2', function(proc)
        proc:notify { READY = 1 }
        for _ = 1, 5 do
          proc:sleep "8s"
          proc:notify { WATCHDOG = 1 }
        end
        proc:sleep "1h"
      end)
      box:advance "55s"
      assert.equal("healthy", app.health)
      box:advance "10s"
      assert.equal("unhealthy", app.health)
    end)

    it("a WATCHDOG before READY is nothing", function()
      local box, app = run_notify(', interval = "10s"', { notify = { { WATCHDOG = 1, every = "5s" } } })
      box:advance "1m"
      assert.equal("unknown", app.health)
    end)
  end)

  it("of several checks: all must pass", function()
    local box = boxes.load [[
      pilot.job "app" { exec = "app", health = {
        { tcp = "localhost:1", interval = "10s", fall = 1 },
        { tcp = "localhost:2", interval = "10s", fall = 1 },
      } }
    ]]
    box:program("app", {})
    box:tcp("localhost:1", "up")
    box:tcp("localhost:2", "down")
    local app = box:job "app"
    box:start()
    box:advance "9s"
    assert.equal("unknown", app.health)
    box:tcp("localhost:2", "up")
    box:advance "2s"
    assert.equal("healthy", app.health)
    box:tcp("localhost:1", "down")
    box:advance "10s"
    assert.equal("unhealthy", app.health)
  end)

  it("of a job that runs nothing is checked all the same", function()
    local box = boxes.load [[
      local ext = pilot.job "ext" { health = { tcp = "localhost:1", interval = "10s" } }
      pilot.job "app" { exec = "app", when = ext:once "healthy" }
    ]]
    box:program("app", {})
    box:tcp("localhost:1", "down")
    box:start()
    box:advance "1m"
    assert.equal(0, box:job "app":starts())
    box:tcp("localhost:1", "up")
    box:advance "11s"
    assert.equal(1, box:job "app":starts())
    assert.equal(0, box:stop())
  end)
end)
