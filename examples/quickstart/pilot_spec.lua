-- luapilot test examples/quickstart     What pilot.lua does, on a simulated container.

local sim = require "luapilot.sim"

describe("quickstart", function()
  local box, nginx

  before_each(function()
    box = sim.load("pilot.lua", { hostname = "quickstart" })
    nginx = box:job "nginx"
    box:program("/bin/sh -c", { exit = 0, after = "100ms" })
    box:program("df", { exit = 0, after = "10ms", stdout = "Filesystem\n" })
    box:program("nginx", {
      start_delay = "500ms", listens = "127.0.0.1:8088", term_delay = "1s", on = { SIGHUP = function() end },
    })
    box:start()
  end)

  after_each(function() assert.same({}, box:errors()) end)

  it("sets up first, then serves, and welcomes when it is healthy", function()
    assert.equal(0, nginx:starts())
    box:advance "5s"
    assert.equal(1, box:job "setup":starts())
    assert.equal("healthy", nginx.health)
    assert.equal(0, box:job "welcome".exit.code)
  end)

  it("tells who serves, and when nobody does", function()
    local function logged(text)
      local count = 0
      for _, line in ipairs(box:log()) do count = count + (line.message:find(text, 1, true) and 1 or 0) end
      return count
    end
    assert.equal(1, logged "nobody serves web")
    box:advance "5s"
    assert.equal(1, logged "web is served")
    nginx:process():crash "SIGKILL"
    box:advance "100ms"
    assert.equal(2, logged "nobody serves web")
    box:advance "5s"
    assert.equal(2, logged "web is served")
  end)

  it("looks at the disk every fifteen seconds", function()
    box:advance "1m"
    assert.equal(5, box:job "disk":starts())
    assert.is_truthy(box:output("disk"):find "Filesystem")
  end)

  it("starts a crashed server again, and stops it gently in the end", function()
    box:advance "5s"
    nginx:process():crash "SIGKILL"
    box:advance "5s"
    assert.equal(2, nginx:starts())
    assert.is_true(nginx.running)
    assert.equal(0, box:stop())
    assert.equal(1, nginx:received "SIGQUIT")
    assert.equal(0, nginx:received "SIGTERM")
  end)
end)
