local json = require "luapilot.base.json"

local function refused(fn, value)
  local ok, message = pcall(fn, value)
  assert.is_false(ok)
  return (tostring(message):gsub("^[^:]*:%d+: ", ""))
end

describe("json", function()
  describe("decode", function()
    it("reads values", function()
      assert.same({ a = 1, b = { true, false, "x" }, c = {} }, json.decode '{"a":1,"b":[true,false,"x"],"c":{}}')
      assert.equal("text", json.decode '"text"')
      assert.equal(1.5, json.decode "1.5")
    end)

    it("leaves null out of objects, and keeps its place in arrays", function()
      assert.same({ b = 2 }, json.decode '{"a":null,"b":2,"c":null}')
      assert.same({ json.null, 1, json.null }, json.decode "[null,1,null]")
      assert.same({ a = { { b = { json.null } } } }, json.decode '{"a":[{"x":null,"b":[null]}]}')
      assert.is_nil(json.decode "null")
    end)

    it("raises what is wrong, at the caller's line", function()
      assert.matches("^json.decode: Expected object key", refused(json.decode, "{"))
      assert.matches("^json.decode: ", refused(json.decode, ""))
      assert.matches("^json.decode: ", refused(json.decode, "[NaN]"))
      assert.matches("^json.decode: ", refused(json.decode, ("["):rep(2000)))
      assert.equal("json.decode: expected a string, got nil", refused(json.decode, nil))
      assert.equal("json.decode: expected a string, got table", refused(json.decode, {}))
      local _, message = pcall(function() json.decode "{" end)
      assert.matches("json_spec.lua:%d+: json.decode", message)
    end)
  end)

  describe("encode", function()
    it("writes values", function()
      assert.equal('{"a":[1,2.5,"x",true]}', json.encode { a = { 1, 2.5, "x", true } })
      assert.equal("{}", json.encode {})
      assert.equal('{"a":null}', json.encode { a = json.null })
      assert.equal("null", json.encode(nil))
      assert.equal("null", json.encode(json.null))
      assert.equal('"a\\"b\\n"', json.encode 'a"b\n')
    end)

    it("keeps whole numbers exact, or refuses them", function()
      for _, number in ipairs { 0, -1, 1700000000, 2 ^ 40, 99999999999999, -99999999999999 } do
        assert.equal(number, json.decode(json.encode { number })[1])
      end
      assert.matches("more than 14 digits", refused(json.encode, { a = { 2 ^ 53 } }))
      assert.matches("more than 14 digits", refused(json.encode, -2 ^ 60))
    end)

    it("raises what cannot be written", function()
      local cycle = {}
      cycle.cycle = cycle
      for _, value in ipairs { { print }, { 0 / 0 }, { math.huge }, cycle, { [{}] = 1 }, { [1000000] = 1 } } do
        assert.matches("^json.encode: ", refused(json.encode, value))
      end
    end)

    it("does not mind other users of the library", function()
      local cjson = require "cjson"
      cjson.encode_invalid_numbers(true)
      assert.matches("^json.encode: ", refused(json.encode, { 0 / 0 }))
      cjson.encode_invalid_numbers(false)
    end)
  end)

  it("gives back what it was given", function()
    local value = { list = { 1, 2, { x = "y" } }, text = "ä\0\1", flag = false, number = -0.125, deep = { {}, { {} } } }
    assert.same(value, json.decode(json.encode(value)))
  end)
end)
