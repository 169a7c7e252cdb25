-- What the log says of checks.
local boxes = require "support.boxes"

describe("the log says of a check", function()
  after_each(boxes.check)

  local function said(box)
    local list = {}
    for _, line in ipairs(box:log()) do
      local text = line.message:match '^job "app": (.*)$'
      if text and text:find "health" and line.level ~= "debug" then
        list[#list + 1] = ("%g %s %s"):format(math.floor(line.at * 10) / 10, line.level, text)
      end
    end
    return list
  end

  local function run(health, programs)
    local box = boxes.load('pilot.job "app" { exec = "app", health = ' .. health .. " }")
    box:program("app", {})
    for prefix, behaviour in pairs(programs or {}) do box:program(prefix, behaviour) end
    box:tcp("db:1", "down")
    return box:start()
  end

  it("that passes at the second time: nothing but the job's health", function()
    for _, checks in ipairs { '{ tcp = "db:1" }', '{ { tcp = "db:1" }, { exec = "check" } }' } do
      local box = run(checks, { check = { exit = 0 } })
      box:advance "100ms"
      box:tcp("db:1", "up")
      box:advance "1m"
      assert.same({ "0.2 info is healthy" }, said(box))
      box:tcp("db:1", "down")
      box:advance "10s"
      assert.matches("^%d+ warn health.* fails: cannot connect", said(box)[2]) -- no start excuses that one
    end
  end)

  it("that fails again after one that had no verdict: at that second failure", function()
    local box = run('{ exec = "check", interval = "10s" }', { check = { exit = 1 } })
    box:advance "100ms"
    box:program("check", { spawn_error = "EAGAIN" })
    box:advance "300ms"
    box:program("check", { exit = 1 })
    box:advance "1s"
    local list = said(box)
    assert.equal(2, #list)
    assert.matches("^0.2 warn health .* has no verdict", list[1])
    assert.matches("^1.2 info health .* does not pass yet: exit code 1", list[2])
  end)

  it("whose first probe fails in a job that is unhealthy: that, before it says that it passes now", function()
    local box = run [[{ { tcp = "db:1", interval = "1s", fall = 1 },
      { check = function()
        if pilot.state.warm then return true end
        pilot.state.warm = true
        pilot.sleep "3s"
        return false, "cold"
      end, interval = "1m" } }]]
    box:advance "10s"
    local list = said(box)
    assert.matches("^3 warn health%[2%] .* fails: cold", list[#list - 1])
    assert.matches("^3.2 info health%[2%] .* passes now", list[#list])
  end)

  it("that cannot pass: at its second failure, and each minute", function()
    local box = run('{ exec = { "sh", "-c", "test -e  /db" } }', {
      sh = { exit = 1, stderr = "database is missing\n" },
    })
    box:advance "125s"
    assert.same({
      "0.2 info health (exec sh -c test -e /db) does not pass yet: database is missing",
      "30 warn is unhealthy: health (exec sh -c test -e /db): database is missing",
      "60 warn health (exec sh -c test -e /db) has not passed for 1m: database is missing",
      "120 warn health (exec sh -c test -e /db) has not passed for 2m: database is missing",
    }, said(box))
  end)

  it("that fails otherwise now: that, numbers apart, and once a second at most", function()
    local box = run [[{ check = function()
      pilot.state.asked = (pilot.state.asked or 0) + 1
      local at = pilot.now() - 1767225600
      return false, at < 1.5 and "a " .. pilot.state.asked or at < 1.75 and "b" or at < 4 and "c" or "d"
    end, interval = "100ms", start_period = "1h" }]]
    box:advance "5s"
    assert.same({
      "0.1 info health (check pilot.lua:1) does not pass yet: a 2",
      "1.5 info health (check pilot.lua:1) does not pass yet: b",
      "2.5 info health (check pilot.lua:1) does not pass yet: c",
      "4 info health (check pilot.lua:1) does not pass yet: d",
    }, said(box))
  end)

  -- Identifiers of requests, addresses: what pages of errors have.
  it("that fails with another number each time: that, once", function()
    for _, format in ipairs {
      "%d", "id %08x1", "7%07x-4b1e-41d4-a716-4466554%05x", "at 0x7ff%x", "fe80::1%x:2", "2026-11-28T22:%02d:01.%dZ",
    } do
      local box = run(([[{ check = function()
        pilot.state.asked = (pilot.state.asked or 0) + 7
        return false, ("%s"):format(pilot.state.asked * 7919, pilot.state.asked)
      end, interval = "1s", start_period = "1h" }]]):format(format))
      box:advance "50s"
      assert.equal(1, #said(box), format)
    end
  end)

  it("that fails with another word each time: five of them, then each minute", function()
    local box = run [[{ check = function()
      local asked = (pilot.state.asked or 0) + 1
      pilot.state.asked = asked
      return false, asked > 424 and "and now this" or asked > 304 and "settled" or ("x"):rep(asked % 50 + 1)
    end, interval = "1s", start_period = "1h" }]]
    box:advance "295s"
    local list = said(box)
    for i = 1, 6 do assert.matches("info health %(check pilot.lua:1%) does not pass yet: x", list[i]) end
    for i = 7, 10 do assert.matches(("has not passed for %dm: x"):format(i - 6), list[i]) end
    assert.equal(10, #list)
    box:advance "125s" -- it stays the same for a minute: the next change is news
    list = said(box)
    assert.equal(13, #list)
    assert.matches("has not passed for 6m: settled", list[12])
    assert.matches("has not passed for 7m: settled", list[13])
    box:advance "5s"
    list = said(box)
    assert.equal(14, #list)
    assert.matches("does not pass yet: and now this", list[14])
  end)

  it("that waits for the job to be ready: after ten seconds, or its start period, and each minute", function()
    for options, first in pairs { [""] = 10, [', interval = "5s"'] = 10, [', start_period = "30s"'] = 30 } do
      local box = run("{ notify = true" .. options .. " }")
      box:advance "125s"
      assert.same({
        first .. " info health (notify READY=1) has said nothing yet",
        "60 info health (notify READY=1) has not passed for 1m",
        "120 info health (notify READY=1) has not passed for 2m",
      }, said(box))
    end
  end)

  it("nothing of one that waits in maintenance, or once the job has said that it is ready", function()
    local box = boxes.load [[
      pilot.job "app" { exec = "app", service = { port = 80 }, health = { notify = true } }
      pilot.on("SIGUSR1", function() pilot.job "app":maintenance(not pilot.state.on); pilot.state.on = true end)
    ]]
    box:program("app", { notify = { READY = "1", after = "125s" } })
    box:start()
    box:signal "SIGUSR1"
    box:advance "70s"
    assert.same({}, said(box))
    box:signal "SIGUSR1"
    box:advance "10m"
    assert.same({ "120 info health (notify READY=1) has said nothing yet", "125 info is healthy" }, said(box))
  end)

  it("which one of several it is", function()
    local box = run([[{ { tcp = "db:1", interval = "1s", fall = 2 }, { exec = "check", interval = "1s" } }]],
      { check = { exit = 0 } })
    box:advance "3500ms"
    box:tcp("db:1", "up")
    box:advance "1s"
    box:program("check", { exit = 3 })
    box:advance "3s"
    assert.same({
      "0.2 info health[1] (tcp db:1) does not pass yet: cannot connect to db:1: connection refused",
      "2 warn is unhealthy: health[1] (tcp db:1): cannot connect to db:1: connection refused",
      "4 info health[1] (tcp db:1) passes now",
      "4 info is healthy",
      "5 warn health[2] (exec check) fails: exit code 3",
      "7 warn is unhealthy: health[2] (exec check): exit code 3",
    }, said(box))
  end)

  it("what it asks, whatever that is", function()
    local long = ("x"):rep(200)
    local box = boxes.load(([[pilot.job "app" { exec = "app", health = {
      { exec = { "check", "%s" } }, { http = "http://me:secret@db:2/health?deep" }, { notify = true, interval = "1s" },
    } }]]):format(long))
    box:program("app", { notify = { WATCHDOG = "trigger" } })
    box:program("check", { exit = 1 })
    box:http("http://*db:2/health*", 500)
    box:start()
    box:advance "500ms"
    assert.same({
      "0 info health[3] (notify READY=1) does not pass yet: WATCHDOG=trigger",
      ("0.2 info health[1] (exec check %s…) does not pass yet: exit code 1"):format(long:sub(1, 54)),
      "0.2 info health[2] (http http://***@db:2/health?deep) does not pass yet: HTTP 500",
    }, (function(list) table.sort(list) return list end)(said(box)))
  end)

  -- The event says that the run failed (code 1), the log what the program said.
  it("for which the job was stopped: how the program then ended", function()
    for how, line in pairs {
      ["term_delay = '10ms'"] = "exited with code 0", ["term_delay = '10ms', term_exit = 7"] = "exited with code 7",
      ["ignores = { 'SIGTERM' }"] = "was killed by SIGKILL", [""] = "was killed by SIGTERM",
    } do
      local box = boxes.load [[
        pilot.job "app" { exec = "app", health = { exec = "check", interval = "1s", fall = 1, restart_after = 1 } }
          :on("exit_failed", function(event) print("code " .. event.code .. " " .. event.reason) end)
      ]]
      box:program("app", loadstring("return { " .. how .. " }")())
      box:program("check", { exit = 1 })
      box:start()
      box:run_until(function() return box:job("app").exit ~= nil end, "13s")
      assert.equal(1, boxes.logged(box, ('job "app": %s when it was stopped for failing its checks'):format(line)), how)
      local code = line:find "code 7" and 7 or line:find "code 0" and 1 or line:find "KILL" and 137 or 143
      assert.equal(1, boxes.logged(box, ("code %d health"):format(code)), how)
      box:stop()
    end
  end)

  it("when it is the reason for a restart", function()
    local box = run([[{ exec = "check", interval = "1s", fall = 1, restart_after = 2 }]], { check = { exit = 1 } })
    local SAID = "failed 2 checks in a row (restart_after): is stopped and started again"
    box:run_until(function() return boxes.logged(box, SAID) == 1 end)
    local line = box:log()[#box:log()]
    for _, each in ipairs(box:log()) do
      if each.message:find "in a row" then line = each end
    end
    assert.same({ check = "health (exec check)", output = "exit code 1" }, line.fields)
  end)
end)
