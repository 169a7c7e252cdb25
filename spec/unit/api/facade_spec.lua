local facade = require "luapilot.api.facade"

describe("a facade", function()
  local front, app, object

  before_each(function()
    front = facade.new {
      kind = "thing", set = "describe it", methods = { act = function() return "acted" end },
      fields = { name = function(inner) return inner.name end },
      describe = function(inner) return "thing " .. inner.name end,
      call = function(_, inner, options) return inner.name .. options end,
    }
    app = {}
    object = front.make { app = app, name = "a" }
  end)

  it("has methods and fields to read, and nothing else", function()
    assert.equal("acted", object:act())
    assert.same({ "a", "thing a", "a!" }, { object.name, tostring(object), object "!" })
    assert.error_matches(function() return object.nam end, 'a thing has no "nam" %(did you mean "name"%?%)')
    assert.error_matches(function() object.name = "b" end, 'a thing\'s "name" cannot be set: describe it')
  end)

  it("knows what stands behind its own objects, and no others", function()
    local other = facade.new { kind = "other", methods = {}, fields = {}, describe = tostring }
    assert.equal("a", front.inner(object).name)
    assert.is_true(front.is(object))
    assert.is_false(other.is(object))
    for _, value in pairs { {}, 1, "x", print, setmetatable({}, { __metatable = false }) } do
      assert.is_false(front.is(value))
    end
    assert.is_false(front.is(nil))
    assert.error_matches(function() front.of(nil, "act") end, "thing:act: call it with a colon: thing:act%(…%)")
  end)

  it("is collected with its app", function()
    local seen = setmetatable({ app }, { __mode = "v" })
    app.objects = { object }
    app, object = nil, nil
    collectgarbage()
    collectgarbage()
    assert.is_nil(seen[1])
  end)
end)
