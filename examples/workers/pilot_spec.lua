-- luapilot test examples/workers     What pilot.lua does, on a simulated container.

local sim = require "luapilot.sim"

describe("workers", function()
  local box, app, heard

  -- The master ends when its worker has, `piece` after it was told; `deaf` is somebody who never ends.
  local function start(piece, deaf)
    heard = 0
    box = sim.load("pilot.lua")
    box:program("python3", function(master)
      local busy = true
      box:write("/run/workers.pid", master.pid .. "\n")
      master:fork(function(worker)
        worker:handle("SIGTERM", function() heard = heard + 1 end)
        worker:wait_signal(nil, { "SIGUSR1" })
        busy = false
      end)
      if deaf then master:fork(function(one) one:sleep "24h" end):handle("SIGTERM", "ignore") end
      master:wait_signal(nil, { "SIGTERM" })
      master:sleep(piece)
      master:print(busy and "the worker is still busy" or "done")
    end)
    box:start()
    box:advance "5s"
    app = box:job "app"
  end

  after_each(function() assert.same({}, box:errors()) end)

  -- What the pilot itself said at the end.
  local function verdict()
    for _, entry in ipairs(box:log()) do
      if entry.message:find "^work " or entry.message:find "^no work" then return entry.message end
    end
  end

  it("asks the master alone, and waits for it", function()
    start "20s"
    local asked = box.world:elapsed()
    assert.equal(0, box:stop())
    assert.equal(1, app:received "SIGTERM")
    assert.equal(0, heard)
    assert.equal("no work was lost", verdict())
    assert.is_true(box.world:elapsed() - asked >= 20)
  end)

  it("kills whoever outlives the master, at once", function()
    start("1s", true)
    local asked = box.world:elapsed()
    assert.equal(0, box:stop())
    assert.is_true(box.world:elapsed() - asked < 2)
  end)

  it("goes on in a new master when it is reloaded", function()
    box = sim.load("pilot.lua")
    local function master(proc)
      box:write("/run/workers.pid", proc.pid .. "\n")
      if proc:wait_signal(nil, { "SIGUSR2", "SIGTERM" }) == "SIGTERM" then return end
      box:write("/run/workers.pid", false)
      proc:fork(master)
      proc:sleep "2s"
    end
    box:program("python3", master)
    box:start()
    box:advance "5s"
    app = box:job "app"
    local first = app.pid
    box:signal "SIGHUP"
    box:advance "3s"
    assert.is_true(app.running)
    assert.is_true(app.pid > first)
    assert.equal(1, app:starts())
    assert.equal(0, box:stop())
  end)

  it("kills all when the master takes longer than it may", function()
    start "1m"
    box:signal "SIGTERM"
    box:advance "29s"
    assert.equal("stopping", app.state)
    box:advance "2s"
    assert.is_true(box.ended)
    assert.equal("work may have been cut off", verdict())
  end)
end)
