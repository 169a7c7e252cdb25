-- The consul-leave example with a real Consul agent and a real server that it leaves.

local example = require "support.example"
local machine = require "support.machine"
local room    = require "support.consul_room"
local run     = require "support.run"
local story   = require "support.story"

describe("the consul-leave example", machine.unless(room.lacking() or machine.lacking "python3", function()
  setup(function() room.enter {} end)
  teardown(room.leave)
  after_each(run.cleanup)

  -- Its agent does not leave on SIGTERM: that the cluster does not take it for a failed one is the example's doing.
  local function start()
    local json, address = room.second {}
    local p = example.run_image("consul-leave", {
      ["/usr/local/bin/consul"] = room.CONSUL,
      ["/bin/app"] = "mkdir www && echo fine >www/health && exec python3 -um http.server 8000 -b 127.0.0.1 -d www",
    }, { env = { CONSUL = address }, etc = { ["/etc/consul.json"] = json, ["/etc/consul/none.json"] = "{}" } })
    p:wait_for_line('job "consul%-agent": is healthy')
    p:wait_for_line('service "app%-.*": registered')
    p:wait_for("the app in the catalogue", function() return next(room.statuses "app") end)
    assert.equal("alive", room.member "second")
    return p
  end

  -- A leave is known to the others within a second; Consul itself goes on for three or four, and may be killed then.
  it("leaves the cluster when it is told to end, after the app has gone", function()
    local p = start()
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    assert.equal("left", room.member "second")
    assert.same({}, room.statuses "app")
    story.assert_order(p, {
      "shutting down", 'service "app%-.*": deregistered', 'job "app": stopped', 'job "consul%-agent": stopping',
      'job "consul%-agent": stopped', "ended code=0",
    })
  end)

  it("does not leave when its agent dies: a new one takes its place, and the app stays in the catalogue", function()
    local p = start()
    p:signal("SIGKILL", p:named "consul")
    p:wait_for_line('job "consul%-agent": started', 2)
    p:wait_for_line('job "consul%-agent": is healthy', 2)
    p:wait_for("the app in the catalogue, passing", function()
      return room.member "second" == "alive" and select(2, next(room.statuses "app")) == "passing"
    end)
    story.assert_lines(p, 1, 'job "app": started')
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    assert.equal("left", room.member "second")
  end)
end))
