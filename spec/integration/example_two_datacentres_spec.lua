-- The two-datacentres example with two real Consuls, each the server of a datacentre, joined over the WAN on loopback.

local consul  = require "support.consul"
local machine = require "support.machine"
local example = require "support.example"
local run     = require "support.run"
local story   = require "support.story"

-- Says its configuration when it starts, and when it is told to read it again.
local APP = [[
  tell() { echo "reads: $(tr '\n' ' ' </etc/app.conf)"; }
  trap tell HUP
  tell
  while :; do sleep 1000 & wait; done
]]

describe("the two-datacentres example", machine.unless(consul.lacking(), function()
  local east, west

  setup(function()
    east = consul.start { datacenter = "east" }
    west = consul.start { datacenter = "west", wan = east }
  end)

  teardown(run.finish)
  after_each(run.cleanup)

  local function register(agent, id, port)
    agent:api("PUT", "/v1/agent/service/register", { Name = "db", ID = id, Address = "127.0.0.1", Port = port })
  end

  local function deregister(agent, id) agent:api("PUT", "/v1/agent/service/deregister/" .. id) end

  local function start()
    run.eventually("the join over the WAN", function()
      return #east:api("GET", "/v1/catalog/datacenters") == 2
    end)
    return example.run_image("two-datacentres", { ["/bin/app"] = APP }, {
      env = { CONSUL_HTTP_ADDR = "127.0.0.1:" .. east.port, OTHER_DC = "west" }, etc = {},
    })
  end

  it("fails over to the other datacentre, and comes back", function()
    local p = start()
    register(west, "w1", 7001)
    p:wait_for_line("app: reads: db = 127.0.0.1:7001 $")
    register(east, "e1", 5001)
    p:wait_for_line "app: reads: db = 127.0.0.1:5001 $"
    register(east, "e2", 5002)
    p:wait_for_line "app: reads: db = 127.0.0.1:5001 db = 127.0.0.1:5002 $"
    deregister(east, "e1")
    deregister(east, "e2")
    p:wait_for_line("app: reads: db = 127.0.0.1:7001 $", 2)
    register(east, "e1", 5001)
    p:wait_for_line("app: reads: db = 127.0.0.1:5001 $", 2)
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    story.assert_lines(p, 1, 'job "app": started')
    deregister(west, "w1")
    deregister(east, "e1")
  end)

  it("keeps what it knows of a datacentre that cannot be reached", function()
    local p = start()
    register(west, "w1", 7001)
    p:wait_for_line("app: reads: db = 127.0.0.1:7001 $")
    west:kill()
    p:wait_for_line('watch "db" { dc = "west" }: .*; asked again')
    register(east, "e1", 5001)
    p:wait_for_line("app: reads: db = 127.0.0.1:5001 $")
    deregister(east, "e1")
    p:wait_for_line("app: reads: db = 127.0.0.1:7001 $", 2)
    story.assert_lines(p, 0, "Consul is away")
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
  end)
end))
