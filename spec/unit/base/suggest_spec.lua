local suggest = require "luapilot.base.suggest"

local FIELDS = { "exec", "interval", "restart", "stop_timeout", "timeout" }

describe("suggest", function()
  it("finds what was probably meant", function()
    assert.equal("interval", suggest.near("intervall", FIELDS))
    assert.equal("interval", suggest.near("inetrval", FIELDS))
    assert.equal("restart", suggest.near("restarts", FIELDS))
    assert.equal("stop_timeout", suggest.near("stopTimeout", FIELDS))
    assert.equal("stop_timeout", suggest.near("stop-timeout", FIELDS))
    assert.equal("exec", suggest.near("exce", FIELDS))
    assert.equal("exec", suggest.near("EXEC", FIELDS))
  end)

  it("does not guess wildly", function()
    assert.is_nil(suggest.near("xyz", FIELDS))
    assert.is_nil(suggest.near("ab", { "cd" }))
    assert.is_nil(suggest.near("port", FIELDS))
    assert.is_nil(suggest.near(5, FIELDS))
    assert.is_nil(suggest.near(nil, FIELDS))
    assert.is_nil(suggest.near(("interval"):rep(100), FIELDS))
    assert.is_nil(suggest.near("", FIELDS))
  end)

  it("takes the nearest, and the first among equals", function()
    assert.equal("abcd", suggest.near("abce", { "abxx", "abcd", "abcf" }))
  end)

  it("writes the hint", function()
    assert.equal(' (did you mean "interval"?)', suggest.hint("intervall", FIELDS))
    assert.equal(' (valid: "a", "b")', suggest.hint("nothing", { "a", "b" }))
    assert.equal("", suggest.hint("nothing", { "a", "b", "c", "d", "e", "f", "g", "h", "i" }))
    assert.equal("", suggest.hint("nothing", {}))
  end)
end)
