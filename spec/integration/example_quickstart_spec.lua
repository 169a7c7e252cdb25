-- The quickstart with the real nginx, and over real HTTP.

local example = require "support.example"
local machine = require "support.machine"
local run     = require "support.run"
local story   = require "support.story"
local web     = require "support.web"

describe("the quickstart", function()
  after_each(run.cleanup)

  it("runs nginx, brings it back after a crash, and ends it in order", function()
    machine.need "nginx"
    local port = story.free_port()
    local p = example.run("quickstart", { PORT = tostring(port) })

    p:wait_for_line 'job "nginx": is healthy'
    p:wait_for_line(("open http://127.0.0.1:%d/"):format(port))
    local answer = web.get(port, "/first")
    assert.is_not_nil(answer:find "^HTTP/1.1 200 OK")
    assert.is_not_nil(answer:find "Served by nginx, looked after by luapilot.")
    p:wait_for_line 'nginx: .*"GET /first HTTP/1.0" 200'          -- the access log is the pilot's

    local master = tonumber(p:read "copied/build/nginx.pid")
    p:signal("SIGKILL", master)
    p:wait_for_line('job "nginx": is healthy', 2)
    assert.is_not_nil(web.get(port, "/second"):find "^HTTP/1.1 200 OK")
    assert.are_not.equal(master, tonumber(p:read "copied/build/nginx.pid"))

    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    assert.equal("", web.get(port, "/third"))
    story.assert_order(p, {
      'job "setup": exited with code 0', 'job "nginx": started', 'job "nginx": was killed by SIGKILL',
      "nginx is gone, and comes back code=137 signal=SIGKILL", 'job "nginx": started', "GET /second",
      "SIGTERM: shutting down", 'job "nginx": stopping', 'job "nginx": stopped', "ended code=0",
    })
    local served = ("web is served at=127.0.0.1:%d$"):format(port)
    story.assert_order(p, { served, "nobody serves web", served }) -- a watch, and no Consul
    story.assert_lines(p, 1, "will be started again in")
    story.assert_lines(p, 0, "did not end within")
    story.assert_order(p, { "disk: .*Filesystem" })
    story.assert_lines(p, 0, "left behind")
  end)
end)
