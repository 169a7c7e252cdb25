-- luapilot test examples/two-datacentres     What pilot.lua does, on a simulated container.

local sim = require "luapilot.sim"

describe("two-datacentres", function()
  local box, west, app

  before_each(function()
    box = sim.load("pilot.lua", { files = { ["/etc"] = true }, env = { OTHER_DC = "west" } })
    box:program("/bin/app", sim.server)
    west = box.world.consul:datacenter "west"
    app = box:job "app"
    box:start()
  end)

  after_each(function() assert.same({}, box:errors()) end)

  -- What the app was last told.
  local function told() return box:file "/etc/app.conf" end

  it("waits for a db, wherever that is", function()
    box:advance "1h"
    assert.equal("waiting", app.state)
    west:add("db", "10.2.0.1", { port = 5432 })
    box:advance "5s"
    assert.is_true(app.running)
    assert.equal("db = 10.2.0.1:5432\n", told())
  end)

  it("uses those at home, and does not care for the others meanwhile", function()
    west:add("db", "10.2.0.1", { port = 5432 })
    box.consul:add("db", "10.1.0.1", { port = 5432 })
    box:advance "5s"
    assert.equal("db = 10.1.0.1:5432\n", told())
    local reloads = app:received "SIGHUP"
    west:add("db", "10.2.0.2", { port = 5432 })
    box:advance "5s"
    assert.equal(reloads, app:received "SIGHUP")
  end)

  it("fails over when nobody is left at home, and comes back", function()
    west:add("db", "10.2.0.1", { port = 5432 })
    box.consul:add("db", "10.1.0.1", { port = 5432 })
    box:advance "5s"
    box.consul:set_status("db-10.1.0.1", "critical")
    box:advance "5s"
    assert.equal("db = 10.2.0.1:5432\n", told())
    box.consul:set_status("db-10.1.0.1", "passing")
    box:advance "5s"
    assert.equal("db = 10.1.0.1:5432\n", told())
    assert.equal(1, app:starts())
  end)
end)
