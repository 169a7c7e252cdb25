-- luapilot test examples/database-config     What pilot.lua does, on a simulated container.

local sim = require "luapilot.sim"

describe("database-config", function()
  local box, app

  before_each(function()
    box = sim.load("pilot.lua", { files = { ["app.conf.tmpl"] = sim.read "app.conf.tmpl" } })
    box:program("node server.js", {
      start_delay = "500ms", listens = "127.0.0.1:8000", on = { SIGHUP = function() end },
    })
    box:http("http://localhost:8000/", 200)
    app = box:job "app"
    box:start()
  end)

  after_each(function() assert.same({}, box:errors()) end)

  it("does not start without mysql, however long that takes", function()
    box.consul:add("redis", "10.0.0.2", { port = 6379 })
    box:advance "1h"
    assert.equal("waiting", app.state)
    assert.equal(0, app:starts())
    box.consul:add("mysql", "10.0.0.1", { port = 3306 })
    box:advance "20s"
    assert.equal("mysql = 10.0.0.1:3306\nredis = 10.0.0.2:6379\n", box:file "/etc/app.conf")
    assert.equal("healthy", app.health)
  end)

  it("starts without redis, and is told when that comes and moves", function()
    box.consul:add("mysql", "10.0.0.1", { port = 3306 })
    box:advance "20s"
    assert.equal("mysql = 10.0.0.1:3306\n", box:file "/etc/app.conf")
    assert.equal(0, app:received "SIGHUP")

    box.consul:add("redis", "10.0.0.2", { port = 6379 })
    box:advance "10s"
    assert.equal("mysql = 10.0.0.1:3306\nredis = 10.0.0.2:6379\n", box:file "/etc/app.conf")
    assert.equal(1, app:received "SIGHUP")

    box.consul:remove "redis"
    box:advance "10s"
    box.consul:add("redis", "10.0.0.3", { port = 6379 })
    box:advance "10s"
    assert.equal("mysql = 10.0.0.1:3306\nredis = 10.0.0.3:6379\n", box:file "/etc/app.conf")
    assert.equal(3, app:received "SIGHUP")
    assert.equal(1, app:starts())
  end)

  it("runs on when mysql goes, and starts again with the mysql of then", function()
    box.consul:add("mysql", "10.0.0.1", { port = 3306 })
    box:advance "20s"
    box.consul:remove "mysql"
    box.consul:add("mysql", "10.0.0.9", { port = 3306 })
    box:advance "10s"
    assert.is_true(app.running)
    assert.equal("mysql = 10.0.0.1:3306\n", box:file "/etc/app.conf")
    app:process():exit(1)
    box:advance "10s"
    assert.equal("mysql = 10.0.0.9:3306\n", box:file "/etc/app.conf")
    assert.equal(2, app:starts())
  end)
end)
