local size = require "luapilot.base.size"

local function refused(value)
  local bytes, message = size.parse(value)
  assert.is_nil(bytes)
  return message
end

describe("size", function()
  it("reads sizes", function()
    assert.equal(0, size.parse(0))
    assert.equal(1000, size.parse(1000))
    assert.equal(1000, size.parse "1000")
    assert.equal(64 * 1024, size.parse "64K")
    assert.equal(256 * 1024 ^ 2, size.parse "256M")
    assert.equal(1024 ^ 3, size.parse "1G")
  end)

  it("says what is wrong", function()
    assert.equal('"256MB" is no size: write "256M"', refused "256MB")
    assert.equal('"256 mib" is no size: write "256M"', refused "256 mib")
    assert.equal('"big" is no size: write for example "64K", "256M", "1G" or a number of bytes',
      refused "big")
    assert.equal("a size is a whole number of bytes, got a number: 1.5", refused(1.5))
    assert.equal("a size is a whole number of bytes, got a number: -1", refused(-1))
    assert.equal("a size is a whole number of bytes, got a number: inf", refused(math.huge))
    assert.equal('expected a size such as "256M", got a function', refused(print))
  end)

  it("writes sizes", function()
    assert.equal("12 bytes", size.format(12))
    assert.equal("1K", size.format(1024))
    assert.equal("1.5M", size.format(1.5 * 1024 ^ 2))
    assert.equal("2G", size.format(2 * 1024 ^ 3))
  end)
end)
