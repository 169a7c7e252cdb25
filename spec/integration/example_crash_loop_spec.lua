-- The crash-loop example with a real process that fails: EXIT is its exit code.

local example = require "support.example"
local run     = require "support.run"
local story   = require "support.story"

describe("the crash-loop example", function()
  after_each(run.cleanup)

  it("ends with 78 at once", function()
    local p = example.run("crash-loop", { EXIT = "78" })
    story.assert_ends(p, 78)
    story.assert_lines(p, 1, "app: working")
    story.assert_lines(p, 1, "error: the app's configuration is wrong restarts=0")
  end)

  it("pauses after 75", function()
    local p = example.run("crash-loop", { EXIT = "75" })
    p:wait_for_line "warning: the app cannot work now, and gets half a minute more"
    p:signal "SIGTERM"
    story.assert_ends(p, 75)
    story.assert_lines(p, 1, "app: working")
  end)

  it("ends with 0 when the work is done", function()
    local p = example.run("crash-loop", { EXIT = "0" })
    story.assert_ends(p, 0)
    story.assert_lines(p, 1, "app: working")
  end)

  it("gives up after five restarts", function()
    local text = example.read "examples/crash-loop/pilot.lua"
    text = text:gsub('"1s"', '"10ms"'):gsub("sleep 0.5", "sleep 0.01")      -- the half minute of waiting left out
    local p = run.pilot(text, { env = { EXIT = "9" } })
    story.assert_ends(p, 9)
    story.assert_lines(p, 6, "app: working")
    story.assert_lines(p, 1, 'job "app": not started again: limit: 5 restarts within 2m')
  end)
end)
