-- luapilot test examples/consul-leave     What pilot.lua does, on a simulated container.

local sim = require "luapilot.sim"

describe("consul-leave", function()
  local box, agent, app

  before_each(function()
    box = sim.load("pilot.lua", { env = { CONSUL = "consul.example" } })
    box:program("consul agent", sim.server)
    box:program("/bin/app", { start_delay = "500ms", listens = "127.0.0.1:8000", term_delay = "1s" })
    box:http("http://localhost:8000/health", 200)
    agent, app = box:job "consul-agent", box:job "app"
    box:start()
    box:advance "20s"
  end)

  after_each(function() assert.same({}, box:errors()) end)

  -- When the agent was asked to leave.
  local function left()
    local list = {}
    for _, request in ipairs(box.consul:requests()) do
      if request.path:find "^/v1/agent/leave" then list[#list + 1] = request.at end
    end
    return list
  end

  it("starts the app after the agent", function()
    assert.equal("healthy", agent.health)
    assert.equal("healthy", app.health)
    assert.equal("passing", box.consul:services()[1].status)
  end)

  it("stops the app, lets the agent leave, and ends it then", function()
    local ended = {}
    assert.equal(0, box:stop())
    for _, event in ipairs(box:events()) do
      if event.name == "stopping" or event.name == "stopped" then
        ended[#ended + 1] = event.source .. " " .. event.name
      end
    end
    assert.same({ "app stopping", "app stopped", "consul-agent stopping", "consul-agent stopped" }, ended)
    assert.equal(1, #left())
  end)

  it("does not leave when the agent crashes: it is started again", function()
    agent:process():crash "SIGKILL"
    box:advance "20s"
    assert.equal(2, agent:starts())
    assert.equal(1, app:starts())
    assert.same({}, left())
  end)

  it("ends in time when the agent does not answer", function()
    box.consul:hang()
    assert.equal(0, box:stop())
    assert.equal(1, agent:received "SIGTERM")
    box:forget_errors()
  end)
end)
