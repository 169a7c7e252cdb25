-- The service-reg-only example with a real Consul agent, which is a server, as its check wants one. Debian has no
-- consul-template: a script stands for it.

local example = require "support.example"
local machine = require "support.machine"
local room    = require "support.consul_room"
local run     = require "support.run"
local story   = require "support.story"

describe("the service-reg-only example", machine.unless(room.lacking() or machine.lacking "python3", function()
  setup(function() room.enter {} end)
  teardown(room.leave)
  after_each(run.cleanup)

  it("registers the app, with an agent of its own, and takes it back", function()
    local json, address = room.second { server = true }
    local p = example.run_image("service-reg-only", {
      ["/usr/local/bin/consul"] = room.CONSUL,
      ["/usr/local/bin/consul-template"] = 'echo "$@"; exec sleep 1000',
      ["/usr/local/bin/node"] = "exec python3 -um http.server 8000 -b 127.0.0.1 -d .",
    }, { env = { CONSUL = address }, etc = { ["/etc/consul.json"] = json } })
    p:wait_for_line('job "consul%-agent": is healthy')
    p:wait_for_line "consul%-template: .*/etc/template.ctmpl:/etc/app.conf"
    p:wait_for_line('service "app%-.*": registered')
    p:wait_for("the app in the catalogue", function() return select(2, next(room.statuses "app")) == "passing" end)
    assert.equal("alive", room.member "second")

    p:signal("SIGKILL", p:named "python3")
    p:wait_for("a critical app", function() return select(2, next(room.statuses "app")) == "critical" end)
    p:wait_for("an app that passes", function() return select(2, next(room.statuses "app")) == "passing" end)

    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    story.assert_order(p, {
      "shutting down", 'service "app%-.*": deregistered', 'job "app": stopped', 'job "consul%-agent": stopped',
    })
  end)
end))
