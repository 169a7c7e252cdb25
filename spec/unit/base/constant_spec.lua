local boxes = require "support.boxes"
local job_schema = require "luapilot.schema.job"
local constant = require "luapilot.base.constant"
local copy = require "luapilot.base.copy"
local mistakes = require "luapilot.base.mistakes"

describe("a constant", function()
  after_each(boxes.check)

  it("reads like any table", function()
    local map = constant.of { 1, 2, name = "x" }
    assert.same({ 1, 2, name = "x" }, copy.shallow(map))
    assert.equal(2, #map)
    assert.is_nil(next(constant.NONE))
    assert.is_nil(constant.NONE.anything)
  end)

  it("refuses a new field", function()
    assert.has_error(function() constant.NONE.x = 1 end, 'field "x" of a table that others hold as well')
  end)

  -- What there is already can be changed unseen; so a life of jobs that use all of it is looked at.
  it("is, in the form of a job's defaults, the same after jobs have lived by them", function()
    local function defaults()
      local spec = job_schema.job("app", { exec = "app", restart = "always", log = "lines" }, nil, mistakes.new())
      local bare = job_schema.job("app", { exec = "app", health = { http = "http://localhost/" } }, nil, mistakes.new())
      local fields = { "restart", "log", "env", "limits", "health" }
      local found = { bare_restart = bare.restart, bare_log = bare.log, status = bare.health[1].http.status,
        headers = bare.health[1].http.headers }
      for _, field in ipairs(fields) do found[field] = spec[field] end
      return copy.deep(found)
    end
    local before = defaults()
    local box = boxes.load [[
      pilot.job "crashes" { exec = "crashes", restart = "always" }
      pilot.job "ends"    { exec = "ends", restart = 2, log = "raw" }
      pilot.job "serves"  { exec = "serves", health = { http = "http://localhost:80/", interval = "1s" } }
      pilot.every("1m", function() pilot.exec { "some", "program" } end)
    ]]
    box:http("http://localhost/", 200)
    box:program("crashes", { exit = 1 })
    box:program("ends", { exit = 0, after = "1s" })
    box:program("serves", {})
    box:program("some", { exit = 0 })
    box:start()
    box:advance "290s"
    assert.is_true(box:job "crashes":starts() > 5)
    box:signal "SIGTERM"
    box:advance "10s"
    assert.same(before, defaults())
    assert.is_nil(next(constant.NONE))
  end)
end)
