-- The periodic-tasks example with a real task, and a real HTTP server that hears of its failure.

local example = require "support.example"
local run     = require "support.run"
local story   = require "support.story"
local web     = require "support.web"

describe("the periodic-tasks example", function()
  after_each(run.cleanup)

  it("runs the task at once, and tells of its failure", function()
    local server = web.start()
    local p = example.run("periodic-tasks", { EXIT = "3", SLACK_HOOK = server:url { tell = true } })
    server.process:wait_for_line "^told: "
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    assert.same({ 'told: POST {"text":"oh no! task: exit 3"}' }, server:told())
    story.assert_order(p, { "task: working", 'job "task": exited with code 3', "SIGTERM: shutting down" })
  end)

  it("says nothing when it succeeds, and ends when it is told to", function()
    local server = web.start()
    local p = example.run("periodic-tasks", { SLACK_HOOK = server:url { tell = true } })
    p:wait_for_line 'job "task": exited with code 0'
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    assert.same({}, server:told())
  end)
end)
