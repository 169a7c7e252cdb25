local describe_value = require "luapilot.base.describe"
local masks = require "luapilot.base.masks"

describe("describe", function()
  it("says what a value is", function()
    local expected = {
      { nil, "nothing" }, { "x", 'a string: "x"' }, { 5, "a number: 5" }, { 0.5, "a number: 0.5" },
      { 1e12, "a number: 1000000000000" },
      { 2 ^ 53, "a number: 9007199254740992" }, { 1e21, "a number: 1e+21" },
      { true, "a boolean: true" }, { {}, "an empty table" },
      { { 1 }, "a table" }, { print, "a function" }, { coroutine.create(print), "a coroutine" },
      { 1 / 0, "a number: inf" }, { 2 ^ 53, "a number: 9007199254740992" },
      { -1e20, "a number: -100000000000000000000" },
      { 1e300, "a number: 1e+300" }, { 0.1, "a number: 0.1" }, { 0.1 + 0.2, "a number: 0.30000000000000004" },
      { 4294967295.0000005, "a number: 4294967295.0000005" }, { setmetatable({}, { __name = "job" }), "a job" },
    }
    for _, case in ipairs(expected) do assert.equal(case[2], describe_value.value(case[1])) end
  end)

  it("quotes what a __tostring gives, or says what the value is", function()
    local function object(given) return setmetatable({}, { __tostring = function() return given end }) end
    for given, said in pairs { word = "word", [5] = "5", [true] = "an empty table", [{}] = "an empty table" } do
      assert.equal(said, describe_value.text(object(given)))
      assert.equal('"' .. said .. '"', describe_value.quote(object(given)))
    end
    assert.equal("an empty table", describe_value.text(object(nil)))
  end)

  it("counts", function()
    assert.equal("0 jobs, 1 job, 2 jobs, 1 search, 2 searches, 1 process, 2 processes", table.concat({
      describe_value.count(0, "job"), describe_value.count(1, "job"), describe_value.count(2, "job"),
      describe_value.count(1, "search"), describe_value.count(2, "search"), describe_value.count(1, "process"),
      describe_value.count(2, "process"),
    }, ", "))
  end)

  it("quotes no secret, and no part of one where it cuts", function()
    local secret = ("s3cr3t-"):rep(20) .. "\n\1"
    finally(function() describe_value.masks = nil end)
    masks.hide(nil, secret)
    assert.equal('"***"', describe_value.quote(secret))
    local cut = describe_value.value(("x"):rep(54) .. secret .. "the end")
    assert.equal('a string: "' .. ("x"):rep(54) .. '***..."', cut)
    assert.equal("plain", describe_value.covered "plain")
  end)

  it("keeps strings on one line and short", function()
    assert.equal([["a\nb\t\"c\"\\\000"]], describe_value.quote 'a\nb\t"c"\\\0')
    assert.equal('"' .. ("x"):rep(57) .. '..."', describe_value.quote(("x"):rep(100)))
  end)
end)
