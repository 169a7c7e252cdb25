-- The nginx-status example with the real nginx and its real stub_status.

local example = require "support.example"
local machine = require "support.machine"
local run     = require "support.run"
local story   = require "support.story"
local web     = require "support.web"

describe("the nginx-status example", function()
  after_each(run.cleanup)

  it("logs what nginx has counted", function()
    machine.need "nginx"
    local port = story.free_port()
    local p = example.run("nginx-status", { PORT = tostring(port) })
    p:wait_for_line 'job "nginx": is healthy'
    local function requests(times)
      return tonumber(p:wait_for_line("luapilot: nginx accepted=", times):match "requests=(%d+)")
    end

    local before = requests(1)
    for _ = 1, 20 do assert.matches("hello\n$", web.get(port)) end
    local more = requests(#p:lines "nginx accepted=" + 1) - before
    assert.is_true(more > 20)                               -- ours, and some of luapilot's own
    assert.matches(" handled=%d+ reading=%d+ requests=%d+ waiting=%d+ writing=%d+", p:lines "nginx accepted="[1])

    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    story.assert_lines(p, 0, "luapilot: error")
  end)
end)
