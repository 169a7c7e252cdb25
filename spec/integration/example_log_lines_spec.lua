-- The log-lines example with real lines of a real shell, and a real HTTP server that hears the alarm.

local cjson   = require "cjson"
local example = require "support.example"
local run     = require "support.run"
local story   = require "support.story"
local web     = require "support.web"

describe("the log-lines example", function()
  after_each(run.cleanup)

  it("starts the app by one line, and tells of another", function()
    local server = web.start()
    local p = example.run("log-lines", { ALARM = server:url { status = 204, tell = true } })
    p:wait_for_line "database: ERROR: deadlock detected"
    server.process:wait_for_line "^told: "
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    assert.equal(1, #server:told())
    assert.matches('^told: POST .*"last":"ERROR: deadlock detected"', server:told()[1])
    assert.matches('"errors":1', server:told()[1])
    story.assert_order(p, {
      'job "database": started', "ready to accept connections", 'job "app": started', "ERROR: deadlock",
      "SIGTERM: shutting down",
    })
    story.assert_lines(p, 0, "luapilot: error")
  end)

  it("writes one JSON object a line where it is told to, with what the app says in it", function()
    local server = web.start()
    local p = example.run("log-lines", { ALARM = server:url { status = 204, tell = true }, LOG_FORMAT = "json" })
    p:wait_for_line('"level":"warn","job":"app","stream":"stdout",'
      .. '"data":{"level":"warning","msg":"the cache is cold"}}$')
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    for line in p:stdout():gmatch "[^\n]+" do assert.is_table(cjson.decode(line)) end
  end)
end)
