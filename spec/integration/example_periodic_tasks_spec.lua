-- The periodic-tasks example with a real task, and a real HTTP server that hears of its failure.

local example = require "support.example"
local run     = require "support.run"
local story   = require "support.story"
local web     = require "support.web"

describe("the periodic-tasks example", function()
  after_each(run.cleanup)

  it("runs the task at once, and tells of its failure", function()
    local server = web.start()
    local p = example.run_image("periodic-tasks", {
      ["/bin/run/some/task.sh"] = "echo working; exit 3",
    }, { env = { SLACK_HOOK = server:url { tell = true } } })
    server.process:wait_for_line "^told: "
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    assert.same({ 'told: POST {"text":"oh no! task1: exit 3"}' }, server:told())
    story.assert_order(p, { "task1: working", 'job "task1": exited with code 3', "SIGTERM: shutting down" })
  end)

  it("says nothing when it succeeds, and ends when it is told to", function()
    local server = web.start()
    local p = example.run_image("periodic-tasks", {
      ["/bin/run/some/task.sh"] = "echo working; sleep 0.2; echo done",
    }, { env = { SLACK_HOOK = server:url { tell = true } } })
    p:wait_for_line 'job "task1": exited with code 0'
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    assert.same({}, server:told())
  end)
end)
