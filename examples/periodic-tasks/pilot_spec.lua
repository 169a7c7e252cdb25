-- luapilot test examples/periodic-tasks     What pilot.lua does, on a simulated container.

local sim = require "luapilot.sim"

describe("periodic-tasks", function()
  local HOOK = "https://hooks.example/T1"
  local box, task

  local function start(behaviour, options)
    options = options or { env = { SLACK_HOOK = HOOK } }
    options.now = "2026-01-01 02:00:00"
    box = sim.load("pilot.lua", options)
    box:program("./task.sh", behaviour)
    box:program("./task.sh report", { exit = 0, after = "10s", stdout = "all is well\n" })
    box:program("./task.sh clean-up", { exit = 0, after = "10s" })
    box:http("POST " .. HOOK, 200)
    task = box:job "task"
    box:start()
  end

  after_each(function() assert.same({}, box:errors()) end)

  it("runs the task now, and every minute", function()
    start { exit = 0, after = "5s" }
    box:advance "59s"
    assert.equal(1, task:starts())
    box:advance "10m"
    assert.equal(11, task:starts())
    assert.same({}, box:requests())
  end)

  it("writes the report once a night, at half past two", function()
    start { exit = 0, after = "5s" }
    box:advance "29m"
    assert.equal("", box:output "report")
    box:advance "7m"
    assert.equal("all is well\n", box:output "report")
    assert.equal(0, box:job "report".exit.code)
    box:advance "24h"
    assert.equal("all is well\nall is well\n", box:output "report")
  end)

  it("tells of a failure, and tries again at the next minute", function()
    start { { exit = 3, after = "5s" }, { exit = 0, after = "5s" } }
    box:advance "10s"
    assert.equal(1, #box:requests())
    local request = box:requests()[1]
    assert.equal('{"text":"oh no! task: exit 3"}', request.body)
    assert.equal("application/json", request.headers["content-type"])
    box:advance "10m"
    assert.equal(11, task:starts())
    assert.equal(1, #box:requests())
  end)

  it("writes it into the log where nobody is to be told", function()
    start({ { exit = 3, after = "5s" }, { exit = 0, after = "5s" } }, {})
    box:advance "10s"
    local said
    for _, entry in ipairs(box:log()) do said = said or entry.message:match "^oh no! task: exit 3 .*" end
    assert.equal("oh no! task: exit 3 (SLACK_HOOK is not set: nobody else is told)", said)
  end)

  it("ends a task that hangs after 50 seconds, so that the next one is not held up", function()
    start { ignores = { "SIGTERM" } }
    box:advance "55s"
    assert.equal(1, task:received "SIGKILL")
    assert.equal('{"text":"oh no! task: exit 124"}', box:requests()[1].body)
    box:advance "10s"
    assert.equal(2, task:starts())
  end)

  it("ends a task that is under way when it is told to end", function()
    start { start_delay = "10ms", term_delay = "100ms" }
    box:advance "5s"
    assert.equal(0, box:stop())
    assert.equal(1, task:received "SIGTERM")
    assert.same({}, box:requests())
  end)
end)
