-- luapilot test examples/crash-loop     The same rules on a simulated container: minutes pass in milliseconds.

local sim = require "luapilot.sim"

describe("crash-loop", function()
  local box, app

  -- Each start of the app ends with the next of these codes, the last one stays.
  local function start(codes, after)
    local runs = {}
    for i, code in ipairs(codes) do runs[i] = { exit = code, after = after or "500ms" } end
    box = sim.load "pilot.lua"
    box:program("/bin/sh", runs)
    app = box:job "app"
    box:start()
  end

  after_each(function() assert.same({}, box:errors()) end)

  it("ends at once, with that code, when the configuration is wrong", function()
    start { 78 }
    box:advance "1s"
    assert.equal(78, box.exit_code)
    assert.equal(1, app:starts())
  end)

  it("does so after other failures, too", function()
    start { 1, 78 }
    box:advance "3s"
    assert.equal(78, box.exit_code)
    assert.equal(2, app:starts())
  end)

  it("gives a temporary failure half a minute, as often as it takes", function()
    start { 75 }
    box:advance "30s"
    assert.equal("preparing", app.state)
    assert.equal(1, app:starts())
    box:advance "5s"
    assert.equal(2, app:starts())
    box:advance "24h"
    assert.is_false(box.ended)
    assert.is_true(app:starts() > 24 * 30)
  end)

  it("gives up after five restarts, with the app's own code", function()
    start { 3 }
    box:advance "1m"
    assert.equal(6, app:starts())
    assert.equal(3, box.exit_code)
  end)

  it("does not give up on a crash now and then", function()
    start({ 1 }, "5m")
    box:advance "24h"
    assert.is_false(box.ended)
    assert.is_true(app:starts() > 12 * 20)
  end)

  it("ends well when the work is done", function()
    start { 1, 0 }
    box:advance "5s"
    assert.equal(0, box.exit_code)
  end)

  it("ends well when it is told to end", function()
    start({ 0 }, "1h")
    box:advance "1m"
    assert.equal(0, box:stop())
    assert.equal(1, app:received "SIGTERM")
  end)
end)
