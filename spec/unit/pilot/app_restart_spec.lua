-- The restart policies, as a whole pilot lives them.
local boxes = require "support.boxes"

describe("restart", function()
  after_each(boxes.check)

  -- Runs an app that ends as told, under a policy, for a while.
  local function run(policy, behaviour, time, more)
    local box = boxes.run(([[
      app = pilot.job "app" { exec = "app", restart = %s %s }
      pilot.on("SIGUSR2", function() end) -- keeps the pilot alive
    ]]):format(policy, more or ""), { app = behaviour })
    box:advance(time)
    return box, box:job "app"
  end

  -- The pauses between an exit and the next start.
  local function pauses(box)
    local list, ended = {}, nil
    for _, moment in ipairs(box.moments) do
      if moment.kind == "exit" then ended = moment.at end
      if moment.kind == "spawn" and ended then list[#list + 1] = moment.at - ended end
    end
    return list
  end

  it("is never, unless the file says otherwise", function()
    for _, code in ipairs { 0, 1 } do
      local box, app = run("nil", { exit = code }, "1h")
      assert.equal(1, app:starts())
      assert.equal("complete", app.state)
      assert.equal(code, app.exit.code)
      assert.equal((code == 0 and "exit_success" or "exit_failed") .. " stopped", boxes.events(box, "app"))
    end
  end)

  it("always: after success and failure, doubling from 1s to 1m, with jitter that only shortens", function()
    for _, code in ipairs { 0, 3 } do
      local box, app = run('"always"', { exit = code }, "10m")
      local expected = 1
      local list = pauses(box)
      assert.is_true(#list >= 12)
      for _, pause in ipairs(list) do
        assert.is_true(pause <= expected + 0.01 and pause >= expected * 0.75)
        expected = math.min(expected * 2, 60)
      end
      assert.is_true(app:starts() == app.restarts + 1 or app:starts() == app.restarts)
    end
  end)

  it("draws different jitter", function()
    local box = run('"always"', { exit = 1 }, "10m")
    local list = pauses(box)
    assert.not_equal(list[#list], list[#list - 1])
  end)

  it("begins anew after a run of reset_after", function()
    local box = run('{ backoff = "1s", reset_after = "30s" }', {
      { exit = 1 }, { exit = 1 }, { exit = 1 }, { exit = 1, after = "31s" }, { exit = 1, after = "29s" },
      { exit = 1 },
    }, "5m")
    local list = pauses(box)
    assert.is_true(list[3] > 2.9)
    assert.is_true(list[4] <= 1.01)
    assert.is_true(list[5] > 1.4 and list[5] <= 2.01)
  end)

  it("keeps to backoff and max_backoff; 0 is at once", function()
    local box = run('{ backoff = "10s", max_backoff = "20s" }', { exit = 1 }, "5m")
    local list = pauses(box)
    assert.is_true(list[1] > 7.4 and list[1] < 10.01)
    for i = 2, #list do assert.is_true(list[i] > 14.9 and list[i] < 20.01) end
    box = run('{ backoff = 0 }', { exit = 1, after = "1s" }, "10s")
    for _, pause in ipairs(pauses(box)) do assert.is_true(pause < 0.01) end
  end)

  it("on_failure: until it succeeds", function()
    local box, app = run('"on_failure"', { { exit = 1 }, { signal = "SIGSEGV" }, { exit = 0 } }, "1h")
    assert.equal(3, app:starts())
    assert.equal("complete", app.state)
    assert.equal("exit_failed exit_failed exit_success stopped", boxes.events(box, "app"))
  end)

  it("a number: so many restarts", function()
    local box, app = run("2", { exit = 1 }, "1h")
    assert.equal(3, app:starts())
    assert.equal(2, app.restarts)
    assert.equal("exit_failed exit_failed exit_failed stopped", boxes.events(box, "app"))
    assert.equal(1, select(2, run("0", { exit = 1 }, "1h")):starts())
  end)

  it("a number counts from each start by the trigger", function()
    local box = boxes.run([[
      pilot.job "app" { exec = "app", restart = 1, when = pilot.each "SIGUSR1" }
    ]], { app = { exit = 1 } })
    for i = 1, 3 do
      box:signal "SIGUSR1"
      box:advance "1m"
      assert.equal(2 * i, box:job "app":starts())
    end
    box:stop()
  end)

  it("limit within: stops a loop, and says so", function()
    local policy = '{ backoff = "1s", max_backoff = "1s", limit = 3, within = "1m" }'
    local box, app = run(policy, { exit = 1 }, "1h")
    assert.equal(4, app:starts())
    assert.equal("complete", app.state)
    assert.equal(1, boxes.logged(box, "limit: 3 restarts within 1m"))
  end)

  it("limit within: restarts that are far apart are fine", function()
    local policy = '{ backoff = "1s", max_backoff = "1s", limit = 1, within = "10s" }'
    local _, app = run(policy, { exit = 1, after = "20s" }, "10m")
    assert.is_true(app:starts() > 20)
  end)

  it("a program that cannot be found is a failed run like any other", function()
    local box, app = run('"always"', { spawn_error = "ENOENT" }, "10m")
    assert.equal(127, app.exit.code)
    assert.equal("spawn", app.exit.reason)
    local list = boxes.times(box, "app", "exit_failed")
    assert.is_true(#list > 10 and #list < 20)
    assert.is_true(list[#list] - list[#list - 1] > 40)
  end)

  it("a program that may not be executed is 126", function()
    local _, app = run("nil", { spawn_error = "EACCES" }, "1s")
    assert.equal(126, app.exit.code)
  end)

  it("a machine without room is asked again, without counting as a failure", function()
    local box, app = run("nil", {
      { spawn_error = "EAGAIN" }, { spawn_error = "ENOMEM" }, { exit = 0, after = "1s" },
    }, "1m")
    assert.equal(1, app:starts())
    assert.equal("exit_success stopped", boxes.events(box, "app"))
    assert.equal(0, app.restarts)
  end)

  it("does not start anew before the old group is gone", function()
    local box = run('{ backoff = 0 }', {
      { exit = 1, after = "1s", grandchild = { ignores = { "SIGTERM" }, after = "5s" } }, {},
    }, "4s", ', stop_timeout = "30s"')
    assert.equal(1, box:job "app":starts())
    box:advance "2s"
    assert.equal(2, box:job "app":starts())
  end)

  it("kills a grandchild that outlives its leader by stop_timeout", function()
    local box = run('{ backoff = 0 }', {
      { exit = 1, after = "1s", grandchild = { ignores = { "SIGTERM" } } }, {},
    }, "5900ms", ', stop_timeout = "5s"')
    assert.equal(1, box:job "app":starts())
    box:advance "200ms"
    assert.equal(2, box:job "app":starts())
  end)
end)
