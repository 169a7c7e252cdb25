-- The consul-agent example with a real Consul agent that joins a real server, and a real server of HTTP as the app.

local example = require "support.example"
local machine = require "support.machine"
local room    = require "support.consul_room"
local run     = require "support.run"
local story   = require "support.story"

describe("the consul-agent example", machine.unless(room.lacking() or machine.lacking "python3", function()
  setup(function() room.enter {} end)
  teardown(room.leave)
  after_each(run.cleanup)

  local function start()
    local json, address = room.second { leaves = true }
    return example.run_image("consul-agent", {
      ["/usr/local/bin/consul"] = room.CONSUL,
      ["/usr/local/bin/node"] = 'echo "$@"; exec python3 -um http.server 8000 -b 127.0.0.1 -d /etc',
    }, {
      env = { CONSUL = address },
      etc = { ["/etc/consul.json"] = json },
    })
  end

  it("starts the app when the agent has joined and the file is there, and ends it before the agent", function()
    local p = start()
    p:wait_for_line('job "consul%-agent": is healthy')
    story.assert_lines(p, 0, 'job "app": started')
    assert.equal("alive", room.member "second")

    room.agent:put("app/db", "10.0.0.1:5432")
    p:wait_for_line('job "app": is healthy')
    p:wait_for("the app in the catalogue", function() return next(room.statuses "app") end)
    for _, status in pairs(room.statuses "app") do assert.equal("passing", status) end
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    assert.same({}, room.statuses "app")
    assert.equal("left", room.member "second")
    story.assert_order(p, {
      'job "consul%-agent": started', 'job "consul%-agent": is healthy', "rendered",
      "app: .*http%-server /srv %-p 8000",
      'job "app": is healthy', 'service "app%-.*": registered', "shutting down", 'job "app": stopping',
      'service "app%-.*": deregistered', 'job "app": stopped', 'job "consul%-agent": stopping',
      'job "consul%-agent": stopped',
    })
  end)
end))
