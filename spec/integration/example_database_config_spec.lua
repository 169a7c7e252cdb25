-- The database-config example with a real Consul: databases come, move and go; the app says what it reads.

local example = require "support.example"
local machine = require "support.machine"
local room    = require "support.consul_room"
local run     = require "support.run"
local story   = require "support.story"

-- Says its configuration when it starts, and when it is told to read it again.
local NODE = [[
  tell() { echo "reads: $(tr '\n' ' ' </etc/app.conf)"; }
  trap tell HUP
  trap 'kill $server; exit' TERM
  tell
  python3 -m http.server 8000 -b 127.0.0.1 -d . 2>/dev/null & server=$!
  while kill -0 $server; do wait $server; done
]]

describe("the database-config example", machine.unless(room.lacking() or machine.lacking "python3", function()
  setup(function() room.enter() end)
  teardown(room.leave)
  after_each(run.cleanup)

  local function register(name, id, port)
    room.agent:api("PUT", "/v1/agent/service/register", { Name = name, ID = id, Address = "127.0.0.1", Port = port })
  end

  local function deregister(id) room.agent:api("PUT", "/v1/agent/service/deregister/" .. id) end

  it("starts with mysql, not without; redis may come, move and go", function()
    local p = example.run_image("database-config", { ["/usr/local/bin/node"] = NODE }, {
      etc = {},
    })
    p:pilot()
    register("redis", "redis-1", 6379)
    p:wait_for_line 'rendered "/etc/app.conf"'
    story.assert_lines(p, 0, 'job "app": started')

    register("mysql", "mysql-1", 3306)
    p:wait_for_line "app: reads: mysql = 127.0.0.1:3306 redis = 127.0.0.1:6379 $"
    p:wait_for_line 'job "app": is healthy'
    p:wait_for_line 'service "app%-.*": registered'

    register("redis", "redis-1", 6380)
    p:wait_for_line "app: reads: mysql = 127.0.0.1:3306 redis = 127.0.0.1:6380 $"
    deregister "redis-1"
    p:wait_for_line "app: reads: mysql = 127.0.0.1:3306 $"

    deregister "mysql-1"
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    story.assert_lines(p, 1, 'job "app": started')
    assert.same({}, room.statuses "app")
  end)
end))
