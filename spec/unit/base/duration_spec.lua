local duration = require "luapilot.base.duration"

local function refused(value)
  local seconds, message = duration.parse(value)
  assert.is_nil(seconds)
  return message
end

describe("duration", function()
  it("reads durations", function()
    local expected = {
      ["500ms"] = 0.5, ["300ms"] = 0.3, ["5s"] = 5, ["1m30s"] = 90, ["2h"] = 7200, ["1h5m"] = 3900,
        ["0s"] = 0,
      ["1.5s"] = 1.5, ["1h2m3s4ms"] = 3723.004,
    }
    for text, seconds in pairs(expected) do assert.equal(seconds, duration.parse(text)) end
    assert.equal(5, duration.parse(5))
    assert.equal(0, duration.parse(0))
    assert.equal(0.25, duration.parse(0.25))
  end)

  it("refuses a number in a string", function()
    assert.equal('"5" has no unit: write "5s" for seconds (or "5ms", "5m", "5h")', refused "5")
    assert.equal('"1.5" has no unit: write "1.5s" for seconds (or "1.5ms", "1.5m", "1.5h")', refused "1.5")
  end)

  it("says what else is wrong", function()
    local examples = 'write for example "500ms", "5s", "1m30s" or "2h"'
    assert.equal("an empty string is no duration: " .. examples, refused "")
    assert.equal('"5 s" has a space in it: write "5s"', refused "5 s")
    assert.equal('"5sec" is no duration: ' .. examples, refused "5sec")
    assert.equal('"30s1m" is no duration: ' .. examples, refused "30s1m")
    assert.equal('"1s1s" is no duration: ' .. examples, refused "1s1s")
    assert.equal('"1m30" is no duration: ' .. examples, refused "1m30")
    assert.equal('"5S" is no duration: ' .. examples, refused "5S")
    assert.equal('"soon" is no duration: ' .. examples, refused "soon")
    assert.equal('a duration cannot be negative, got "-5s"', refused "-5s")
    assert.equal("a duration cannot be negative, got a number: -5", refused(-5))
    assert.equal("a duration must be finite, got a number: inf", refused(math.huge))
    assert.equal("a duration must be finite, got a number: inf", refused(("9"):rep(400) .. "s"))
    assert.matches("^a duration must be finite, got a number: %-?nan$", refused(0 / 0))
    assert.equal('expected a duration such as "5s", got a boolean: true', refused(true))
    assert.equal('expected a duration such as "5s", got nothing', refused(nil))
  end)

  it("writes durations", function()
    local expected = {
      { 0, "0s" }, { 0.5, "500ms" }, { 5, "5s" }, { 90, "1m30s" }, { 7200, "2h" }, { 3605, "1h5s" },
      { 1.5, "1.5s" }, { 59.9999, "1m" }, { 0.0001, "0.1ms" },
      { 0.00000001, "0.00001ms" }, { 5e6, "1388h53m20s" }, { math.huge, "forever" }, { -5, "-5s" },
      { 360000, "100h" }, { 59.999, "59.999s" },
    }
    for _, case in ipairs(expected) do assert.equal(case[2], duration.format(case[1])) end
  end)

  it("says what was measured, with two digits", function()
    local expected = {
      { 0, "1ms" }, { 2.4e-05, "1ms" }, { 0.0011, "1ms" }, { 0.0478, "48ms" }, { 0.7534, "750ms" },
      { 1.2345, "1.2s" }, { 9.96, "10s" }, { 12.7, "13s" }, { 59.7, "1m" }, { 75.3, "1m15s" }, { 7201.4, "2h1s" },
    }
    for _, case in ipairs(expected) do assert.equal(case[2], duration.words(case[1])) end
  end)

  it("reads what it writes", function()
    for ms = 1, 10000000, 12347 do
      local text = duration.format(ms / 1000)
      assert.is_true(math.abs(duration.parse(text) - ms / 1000) < 1e-9, text)
    end
  end)
end)
