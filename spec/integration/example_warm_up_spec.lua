-- The warm-up example with the real nginx in front of a real server.

local example = require "support.example"
local machine = require "support.machine"
local run     = require "support.run"
local story   = require "support.story"
local web     = require "support.web"

describe("the warm-up example", function()
  after_each(run.cleanup)

  it("gives the backend traffic after three good checks, and takes it back after a crash or bad ones", function()
    machine.need("nginx", "python3")
    local port = story.free_port()
    local p = example.run("warm-up", { PORT = tostring(port) })
    -- Just after a reload a worker of the old configuration may still answer.
    local function wait_for_answer(pattern)
      p:wait_for("an answer like " .. pattern, function() return web.get(port, "/page"):find(pattern) end)
    end
    local PAGE, WARMING_UP = "^HTTP/1.1 200 .*the backend's page\n$", "^HTTP/1.1 503 .*warming up\n$"

    wait_for_answer(WARMING_UP)
    p:wait_for_line 'GET /ready HTTP/1.1" 404'

    p:write("copied/build/www/page", "the backend's page\n")
    p:write("copied/build/www/ready", "")
    wait_for_answer(PAGE)
    assert.is_true(#p:lines 'GET /ready HTTP/1.1" 200' >= 3)

    p:signal("SIGKILL", p:named "python3")
    wait_for_answer(WARMING_UP)
    wait_for_answer(PAGE)                                    -- started again, three good checks later

    assert.is_true(os.remove(p:path "copied/build/www/ready"))
    p:wait_for_line 'job "backend": is unhealthy: .*HTTP 404'
    p:wait_for_line("rendered", 5)
    wait_for_answer(WARMING_UP)

    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    story.assert_order(p, {
      'job "backend": is healthy', "rendered", 'job "nginx": reloading signal=SIGHUP', 'GET /page HTTP/1.0" 200',
      'job "backend": was killed by SIGKILL',
      "rendered", 'job "backend": started', 'GET /ready HTTP/1.1" 200', 'GET /ready HTTP/1.1" 200',
      'GET /ready HTTP/1.1" 200', 'job "backend": is healthy', "rendered", "is unhealthy", "rendered", "ended code=0",
    })
  end)
end)
