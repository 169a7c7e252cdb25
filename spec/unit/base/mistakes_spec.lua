local mistakes = require "luapilot.base.mistakes"

local function lines(list)
  local result = {}
  for i, mistake in ipairs(list) do result[i] = mistakes.format(mistake) end
  return result
end

describe("mistakes", function()
  it("prints place, subject, field and message", function()
    local format = mistakes.format
    assert.equal('pilot.lua:12: job "app": health.intervall: unknown field',
      format { where = "pilot.lua:12", path = 'job "app".health.intervall', message = "unknown field" })
    assert.equal('job "app": [1]: odd', format { path = 'job "app"[1]', message = "odd" })
    assert.equal('job "app": odd', format { path = 'job "app"', message = "odd" })
    assert.equal("pilot.lua:1: job.name: odd", format { where = "pilot.lua:1", path = "job.name",
      message = "odd" })
    assert.equal("pilot.lua: odd", format { where = "pilot.lua", message = "odd" })
  end)

  it("lists by file and line, in the order of addition within a line", function()
    local found = mistakes.new()
    found:add(nil, nil, "nowhere")
    found:add("pilot.lua:100", nil, "late")
    found:add("lib/a.lua:1", nil, "other file")
    found:add("pilot.lua:9", nil, "early")
    found:add("pilot.lua:9", nil, "also early")
    assert.same({ "pilot.lua:9: early", "pilot.lua:9: also early", "pilot.lua:100: late",
      "lib/a.lua:1: other file", "nowhere" }, lines(found:list()))
  end)

  it("drops duplicates", function()
    local found = mistakes.new()
    found:add("pilot.lua:9", "a", "same")
    found:add("pilot.lua:9", "a", "same")
    found:add("pilot.lua:9", "b", "same")
    assert.equal(2, found:count())
    assert.equal(2, #found:list())
  end)

  it("keeps warnings apart", function()
    local found = mistakes.new()
    found:warn("pilot.lua:3", nil, "odd")
    assert.equal(0, found:count())
    assert.same({}, found:list())
    assert.same({ "pilot.lua:3: odd" }, lines(found:warnings()))
  end)
end)
