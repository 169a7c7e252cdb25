-- luapilot test examples/stopping     What pilot.lua does, on a simulated container.

local sim = require "luapilot.sim"

describe("stopping", function()
  local box, app

  -- What happened since the app ran: { { "SIGTERM", 2.01 }, … }, in seconds since the end began.
  local story, began

  local function note(what) story[#story + 1] = { what, box.world:elapsed() - began } end

  local function start(before, behaviour)
    box = sim.load "pilot.lua"
    story, began = {}, 0
    box:program("/bin/app", behaviour or { start_delay = "100ms", listens = "127.0.0.1:80", on = {
      SIGTERM = function(process)
        note "SIGTERM"
        process:sleep "500ms"
        process:exit(0)
      end,
    } })
    box:program("/usr/local/bin/preStop-script.sh", function(process)
      note "before"
      process:sleep(before)
      process:exit(0)
    end)
    box:program("/usr/local/bin/postStop-script.sh", function(process)
      note "after"
      process:exit(0)
    end)
    box:http("http://localhost/app", 200)
    app = box:job "app"
    box:start()
    box:run_until(function() return app.health == "healthy" end, "10s")
    began = box.world:elapsed()
  end

  after_each(function() assert.same({}, box:errors()) end)

  local function assert_story(expected)
    local got = {}
    for i, entry in ipairs(story) do got[i] = ("%s %.1f"):format(entry[1], entry[2]) end
    assert.same(expected, got)
  end

  it("works before the app's SIGTERM, and after its end", function()
    start "2s"
    assert.equal(0, box:stop())
    assert_story { "before 0.0", "SIGTERM 2.0", "after 2.5" }
  end)

  it("is found by others until that work is done", function()
    start "2s"
    box:advance "1s"
    local service = box.consul:service "app"
    assert.same({ 80, "passing" }, { service.port, service.status })
    box:signal "SIGTERM"
    box:advance "1900ms"
    assert.is_not_nil(box.consul:service "app")
    box:advance "300ms"
    assert.is_nil(box.consul:service "app")
    assert.same({ "before", "SIGTERM" }, { story[1][1], story[2][1] })
    box:run_until(function() return box.ended end, "10s")
  end)

  it("leaves the app a second when the work before takes too long", function()
    start "1h"
    assert.equal(0, box:stop())
    assert_story { "before 0.0", "SIGTERM 4.0", "after 4.5" }
  end)

  it("ends in the same way by the image's STOPSIGNAL", function()
    start "2s"
    box:signal "SIGWINCH"
    box:run_until(function() return box.ended end, "10s")
    assert_story { "before 0.0", "SIGTERM 2.0", "after 2.5" }
    assert.equal(0, box.exit_code)
  end)

  it("kills an app that takes no notice, and still works after it", function()
    start("2s", { listens = "127.0.0.1:80", ignores = { "SIGTERM" } })
    assert.equal(124, box:stop()) -- a stop that was cut short
    assert_story { "before 0.0", "after 5.0" }
    assert.equal(1, app:received "SIGTERM")
    assert.equal(1, app:received "SIGKILL")
  end)

  it("works after a crash, too, but not before", function()
    start "2s"
    app:process():exit(3)
    box:run_until(function() return box.ended end, "10s")
    assert_story { "after 0.0" }
    assert.equal(3, box.exit_code)
  end)
end)
