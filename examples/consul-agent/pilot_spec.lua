-- luapilot test examples/consul-agent     What pilot.lua does, on a simulated container.

local sim = require "luapilot.sim"

describe("consul-agent", function()
  local box, agent, app

  before_each(function()
    box = sim.load("pilot.lua", {
      files = { ["app.conf.tmpl"] = sim.read "app.conf.tmpl" }, env = { CONSUL = "consul.example" },
    })
    box:program("consul agent", sim.server)
    box:program("/usr/local/bin/node", { start_delay = "500ms", listens = "127.0.0.1:8000" })
    box:http("http://localhost:8000/", 200)
    box.consul:leader(false)                   -- the agent has not joined yet
    agent, app = box:job "consul-agent", box:job "app"
    box:start()
    box:advance "3s"
  end)

  after_each(function() assert.same({}, box:errors()) end)

  local function join()
    box.consul:leader(true)
    box:run_until(function() return app.health == "healthy" end, "1m")
  end

  it("starts the app when the agent has a leader and the file is there", function()
    box.consul:put("app/db", "10.0.0.1:5432")
    box:advance "1m"
    assert.equal("waiting", app.state)
    assert.not_equal("healthy", agent.health)
    join()
    assert.equal("healthy", agent.health)
    assert.equal("db = 10.0.0.1:5432\n", box:file "/etc/app.conf")
    box:advance "5s"
    local service = box.consul:service "app"
    assert.same({ 8000, "passing" }, { service.port, service.status })
  end)

  it("does not start the app while there is no such key", function()
    box.consul:leader(true)
    box:advance "1m"
    assert.equal("waiting", app.state)
    local errors = box:forget_errors()
    assert.equal(1, #errors)
    assert.matches('app.conf.tmpl:1: "db" is not in data', tostring(errors[1]))
    box.consul:put("app/db", "10.0.0.1:5432")
    box:advance "5s"
    assert.is_true(app.running)
  end)

  it("renders the file again when the key changes", function()
    box.consul:put("app/db", "10.0.0.1:5432")
    join()
    box.consul:put("app/db", "10.0.0.2:5432")
    box:advance "5s"
    assert.equal("db = 10.0.0.2:5432\n", box:file "/etc/app.conf")
    assert.equal(1, app:starts())
  end)

  it("starts a crashed agent again, and leaves the app alone", function()
    box.consul:put("app/db", "10.0.0.1:5432")
    join()
    agent:process():crash "SIGSEGV"
    box:advance "10s"
    assert.equal(2, agent:starts())
    assert.equal(1, app:starts())
  end)

  it("stops the app first, and takes it back while the agent is there", function()
    box.consul:put("app/db", "10.0.0.1:5432")
    join()
    box:advance "5s"
    assert.equal(0, box:stop())
    assert.is_nil(box.consul:service "app")
    assert.equal(1, app:received "SIGTERM")
    assert.equal(1, agent:received "SIGTERM")
  end)
end)
