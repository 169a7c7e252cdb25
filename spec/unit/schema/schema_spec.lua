local constant = require "luapilot.base.constant"
local schema = require "luapilot.schema.schema"

---Runs a type; returns its result and the reports as "path: message" lines.
local function run(check, value)
  local reports = {}
  local result = check(value, "at", function(path, message) reports[#reports + 1] = path .. ": "
    .. message end)
  return result, reports
end

local function reports(check, value) return (select(2, run(check, value))) end

describe("schema", function()
  it("writes paths", function()
    assert.equal("health", schema.join("", "health"))
    assert.equal("health.interval", schema.join("health", "interval"))
    assert.equal("health[2]", schema.join("health", 2))
    assert.equal('env["a-b"]', schema.join("env", "a-b"))
    assert.equal("x[true]", schema.join("x", true))
  end)

  it("orders keys", function()
    assert.same({ 1, 2, "a", "b" }, schema.keys { b = 1, "x", a = 1, "y" })
    assert.same({ 1, true, "a" }, schema.keys { a = 1, [true] = 2, "x" })
  end)

  it("checks simple values", function()
    assert.same({ "at: expected true or false, got a string: \"yes\"" }, reports(schema.boolean, "yes"))
    assert.same({ "at: expected a function, got a number: 5" }, reports(schema.fn, 5))
    assert.same({ "at: expected a string, got a function" }, reports(schema.text, print))
    assert.same({ "at: is an empty string" }, reports(schema.text, ""))
    assert.same({ "at: contains a NUL byte" }, reports(schema.text, "a\0"))
    assert.same({ "at: must be longer than 0" }, reports(schema.span, "0s"))
    assert.same({ "at: expected a number above 0, got a number: 0" }, reports(schema.positive, 0))
    assert.same({ "at: expected a whole number from 1, got a number: 1.5" }, reports(schema.integer(1), 1.5))
    assert.same({ "at: expected a whole number from 1 to 3, got a number: 4" }, reports(schema.integer(1,
      3), 4))
    assert.same({ 'at: expected "a" or "b", got a string: "c"' }, reports(schema.one_of { "a", "b" }, "c"))
    assert.same({ 'at: expected "lines" or "raw", got a string: "line"; did you mean "lines"?' },
      reports(schema.one_of { "lines", "raw" }, "line"))
    assert.equal(false, run(schema.boolean, false))
    assert.equal(5, run(schema.duration, "5s"))
  end)

  describe("record", function()
    local check = schema.record({
      interval = { schema.duration, default = 10 }, on = { schema.boolean, default = true },
    }, "a table")

    it("inherits the defaults, also for what is wrong", function()
      local result, found = run(check, { interval = "x", on = false })
      assert.same({ on = false }, result)
      assert.equal(10, result.interval)
      assert.equal(1, #found)
      assert.is_true((run(check, {})).on)
    end)

    it("keeps what is written into one to itself", function()
      local one, other = run(check, {}), run(check, {})
      one.interval = 5
      assert.equal(10, other.interval)
    end)
  end)

  describe("fields", function()
    local check = schema.fields({
      interval = { schema.duration, default = 10 },
      names    = { schema.list(schema.text, "a list of names"), default = constant.NONE },
      on       = { schema.boolean, default = true },
    }, "a table", { delay = "interval" })

    it("fills defaults in, also for what is wrong", function()
      local result, found = run(check, { interval = "x", on = false })
      assert.same({ interval = 10, names = {}, on = false }, result)
      assert.equal(1, #found)
    end)

    it("has one table of a default for all, which cannot be written into", function()
      assert.equal(check({}, "", print).names, check({}, "", print).names)
      assert.has_error(function() check({}, "", print).names.x = 1 end,
        'field "x" of a table that others hold as well')
    end)

    it("reports everything in one run", function()
      assert.same({
        "at.names[1]: expected a string, got a number: 1",
        "at.names[2]: is an empty string",
        'at.on: expected true or false, got a string: "x"',
        "at[1]: expected only named fields, got a string: \"stray\"",
        'at.intervall: unknown field (did you mean "interval"?)',
      }, reports(check, { "stray", intervall = "5s", names = { 1, "" }, on = "x" }))
    end)

    it("knows the words of other tools, and near misses of those", function()
      assert.same({ 'at.delay: unknown field (did you mean "interval"?)' }, reports(check, { delay = 1 }))
      assert.same({ 'at.dealy: unknown field (did you mean "interval"?)' }, reports(check, { dealy = 1 }))
      assert.same({ 'at.zzz: unknown field (valid: "interval", "names", "on")' }, reports(check, { zzz = 1 }))
    end)

    it("refuses what is no table", function()
      assert.same({ "at: expected a table, got a number: 5" }, reports(check, 5))
    end)
  end)

  it("finds holes", function()
    assert.same({ 0 }, { schema.length {} })
    assert.same({ 2 }, { schema.length { "a", "b" } })
    assert.same({ 3, 2, 3 }, { schema.length { "a", nil, "c" } })
    assert.same({ 1e9, 1, 1e9 }, { schema.length { [1e9] = "x" } })
    assert.same({ "at[2]: is nil, but there is an item 3" },
      reports(schema.list(schema.text, "a list"), { "a", nil, "c" }))
    assert.same({ "at.x: expected a list, got a named field" }, reports(schema.list(schema.text, "a list"),
      { x = 1 }))
  end)

  it("stops at the first mistake where one value is read alone", function()
    local check = schema.fields({ a = { schema.text }, b = { schema.text } }, "a table")
    assert.same({ nil, "is an empty string", "a", n = 3 }, { n = 3, schema.first(check, { a = "", b = "" }) })
    assert.same({ a = "x" }, (schema.first(check, { a = "x" })))
  end)
end)
