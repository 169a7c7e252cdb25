-- The quickstart, as it is in examples/: with the real nginx, and over real HTTP.

local machine = require "support.machine"
local run     = require "support.run"
local story   = require "support.story"

local function root()
  local pwd = io.popen "pwd"
  local path = pwd:read "*l"
  pwd:close()
  return path
end

-- Its paths are relative to the root of the repository. A link stands for that, so that what it writes stays
-- in the spec's own directory.
local EXAMPLES = root() .. "/examples"

local function luapilot(command, port)
  return run.luapilot({ command, "examples/quickstart/pilot.lua" }, {
    env = { PORT = port and tostring(port) or false, EXAMPLES = EXAMPLES },
    wrap = { "sh", "-c", 'ln -s "$EXAMPLES" examples && exec "$0" "$@"' },
  })
end

local GET = [[ exec 3<>/dev/tcp/127.0.0.1/$0 && printf 'GET %s HTTP/1.0\r\n\r\n' "$1" >&3 && cat <&3 ]]

local function get(port, path)
  local p = run.program { "bash", "-c", GET, tostring(port), path }
  p:wait()
  return p:stdout()
end

describe("the quickstart", function()
  after_each(run.cleanup)

  it("is a good file", function()
    local p = luapilot "check"
    story.assert_ends(p, 0)
    assert.equal("", p:stderr())
  end)

  it("runs nginx, brings it back after a crash, and ends it in order", function()
    if not story.can("sh", "-c", "PATH=$PATH:/usr/sbin command -v nginx") then machine.skip "no nginx" end
    local port = story.free_port()
    local p = luapilot("run", port)

    p:wait_for_line 'job "nginx": is healthy'
    p:wait_for_line(("open http://127.0.0.1:%d/"):format(port))
    local answer = get(port, "/first")
    assert.is_not_nil(answer:find "^HTTP/1.1 200 OK")
    assert.is_not_nil(answer:find "Served by nginx, looked after by luapilot.")
    p:wait_for_line 'nginx: .*"GET /first HTTP/1.0" 200'          -- the access log is the pilot's

    local master = tonumber(p:read "build/quickstart/nginx.pid")
    p:signal("SIGKILL", master)
    p:wait_for_line('job "nginx": is healthy', 2)
    assert.is_not_nil(get(port, "/second"):find "^HTTP/1.1 200 OK")
    assert.are_not.equal(master, tonumber(p:read "build/quickstart/nginx.pid"))

    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    assert.equal("", get(port, "/third"))
    story.assert_order(p, {
      'job "setup": exited with code 0', 'job "nginx": started', 'job "nginx": was killed by SIGKILL',
      "nginx is gone, and comes back code=137 signal=SIGKILL", 'job "nginx": started', "GET /second",
      "SIGTERM: shutting down", 'job "nginx": stopping', 'job "nginx": stopped', "ended code=0",
    })
    story.assert_lines(p, 1, "will be started again in")
    story.assert_lines(p, 0, "did not end within")
    story.assert_order(p, { "disk: .*Filesystem" })
    story.assert_lines(p, 0, "left behind")
  end)
end)
