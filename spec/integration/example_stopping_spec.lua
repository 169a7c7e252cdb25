-- The stopping example with real processes and a real Consul: the scripts see whether the app still answers, and
-- whether others still find it.

local example = require "support.example"
local machine = require "support.machine"
local room    = require "support.consul_room"
local run     = require "support.run"
local story   = require "support.story"

local APP = [[mkdir -p www && echo hello >www/app && exec python3 -um http.server 80 -b 127.0.0.1 -d www]]

-- Says whether somebody listens at port 80, and whether Consul knows of it.
local function look(name)
  return ([[
    bash -c 'exec 3<>/dev/tcp/127.0.0.1/80' 2>/dev/null && is=there || is=gone
    bash -c 'exec 3<>/dev/tcp/127.0.0.1/8500 && printf "GET /v1/agent/services HTTP/1.0\r\n\r\n" >&3 && cat <&3' |
      grep -q '"Service": *"app"' && known=known || known=unknown
    echo "%s: the app is $is and $known" >>story
  ]]):format(name)
end

local function start(before, app)
  local p = example.run_image("stopping", {
    ["/bin/app"] = app or APP,
    ["/usr/local/bin/preStop-script.sh"] = look "before" .. (before or ""),
    ["/usr/local/bin/postStop-script.sh"] = look "after",
  }, { etc = { ["/etc/hosts"] = "127.0.0.1 localhost consul\n" } })
  p:wait_for_line 'job "app": is healthy'
  p:wait_for_line 'service "app%-.*": registered'
  return p
end

describe("the stopping example", machine.unless(room.lacking() or machine.lacking "python3", function()
  setup(function() room.enter() end)
  teardown(room.leave)
  after_each(run.cleanup)

  it("works before the app stops, and after it has ended", function()
    local p = start()
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    assert.equal("before: the app is there and known\nafter: the app is gone and unknown\n", p:read "story")
    story.assert_lines(p, 0, "too long")
  end)

  it("has one budget for it all: work that hangs does not keep the app", function()
    local p = start "exec sleep 1000"
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    assert.equal("before: the app is there and known\nafter: the app is gone and unknown\n", p:read "story")
    story.assert_order(p, {
      'job "app": stopping', 'job "app": its stopping handlers took too long: cancelled', 'job "app": stopped',
    })
  end)

  it("works after a crash", function()
    local p = start()
    p:signal("SIGKILL", p:named "python3")
    story.assert_ends(p, 137)
    assert.matches("^after: the app is gone and %l+\n$", p:read "story") -- Consul hears of it at the same time
    story.assert_lines(p, 1, 'service "app%-.*": deregistered')
  end)
end))
