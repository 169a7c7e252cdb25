local copy = require "luapilot.base.copy"

describe("a copy", function()
  it("that is shallow has the same fields and shares what is in them", function()
    local inner = {}
    local from = { a = 1, b = inner, 7 }
    local to = copy.shallow(from)
    assert.same(from, to)
    assert.not_equal(from, to)
    assert.equal(inner, to.b)
  end)

  it("that is deep shares nothing", function()
    local from = { a = { b = { 1, 2 } }, c = false }
    local to = copy.deep(from)
    assert.same(from, to)
    to.a.b[1] = 9
    assert.equal(1, from.a.b[1])
    assert.equal("x", copy.deep "x")
  end)

  it("compares field by field", function()
    assert.is_true(copy.equal({ a = { 1, 2 }, b = "x" }, { b = "x", a = { 1, 2 } }))
    assert.is_false(copy.equal({ a = { 1, 2 } }, { a = { 1, 2, 3 } }))
    assert.is_false(copy.equal({ a = 1, b = 2 }, { a = 1 }))
    assert.is_false(copy.equal({ 1 }, "1"))
    assert.is_true(copy.equal(nil, nil))
  end)
end)
