-- luapilot test examples/service-reg-only     What pilot.lua does, on a simulated container.

local sim = require "luapilot.sim"

describe("service-reg-only", function()
  local box, agent, template, app

  before_each(function()
    box = sim.load("pilot.lua", { env = { CONSUL = "consul.example" } })
    box:program("consul agent", sim.server)
    box:program({ "/bin/sh", "-c", "consul info | grep -q leader" }, {
      { exit = 1, after = "10ms" }, { exit = 0, after = "10ms" },
    })
    box:program("consul-template", sim.server)
    box:program("/usr/local/bin/node", { start_delay = "500ms", listens = "127.0.0.1:8000" })
    box:http("http://localhost:8000/", 200)
    agent, template, app = box:job "consul-agent", box:job "consul-template", box:job "app"
    box:start()
  end)

  after_each(function() assert.same({}, box:errors()) end)

  it("starts consul-template when the agent has a leader; the app waits for nobody", function()
    box:advance "100ms"
    assert.is_true(app.running)
    assert.equal("waiting", template.state)
    box:advance "10s"
    assert.equal("healthy", agent.health)
    assert.is_true(template.running)
  end)

  it("registers the app, tells of its health, and takes it back", function()
    box:advance "10s"
    assert.equal("passing", box.consul:services()[1].status)
    box:http("http://localhost:8000/", 503)
    box:advance "30s"
    assert.equal("critical", box.consul:services()[1].status)
    box:http("http://localhost:8000/", 200)
    box:advance "10s"
    assert.equal("passing", box.consul:services()[1].status)
    assert.equal(0, box:stop())
    assert.same({}, box.consul:services())
  end)

  it("starts a consul-template that ends again, and leaves the app alone", function()
    box:advance "10s"
    template:process():exit(14)
    box:advance "10s"
    assert.equal(2, template:starts())
    assert.equal(1, app:starts())
  end)
end)
