-- Parts of the simulated Consul by themselves: its JSON, its parameters, its filters. That they are Consul's is shown
-- by spec/contract/consul_answers_spec.lua, where there is a real one.

local filter = require "luapilot.sim.consul.filter"
local json = require "luapilot.sim.consul.json"
local query = require "luapilot.sim.consul.query"

describe("the JSON of the simulated Consul", function()
  it("writes whole numbers whole, and what is empty as what it is", function()
    assert.equal('{"a":[],"b":{},"c":null,"d":1000000000000000,"e":18446744073709551615,"f":0.5}', json.encode {
      a = json.array(), b = {}, c = json.null, d = 1e15, e = json.number "18446744073709551615", f = 0.5,
    })
  end)

  it("writes texts as Go does", function()
    assert.equal([["\u003ca\u0026b\u003e\n\t\"\\\u0001é"]], json.encode "<a&b>\n\t\"\\\1é")
  end)

  it("reads lists and maps as what they are, and digits beyond those of a double", function()
    for _, text in ipairs {
      '{"a":[],"b":{},"c":"[]","d":[[],{}]}', '["\\\\","x"]', '{"n":18446744073709551615,"s":"18446744073709551615"}',
    } do
      assert.equal(text, json.encode(json.decode(text)))
    end
    assert.is_true(json.is_array(json.decode "[ ]"))
    assert.is_false(json.is_array(json.decode "{}"))
    assert.equal("18446744073709551615", json.digits(json.decode "18446744073709551615"))
    assert.same({}, json.decode '{"a":null}')
  end)

  it("says what is wrong as Go does", function()
    assert.equal("invalid character 'x' looking for beginning of value", select(2, json.decode "x"))
    assert.equal("EOF", select(2, json.decode ""))
    assert.equal("unexpected end of JSON input", select(2, json.decode '{"a":'))
    assert.equal("unexpected end of JSON input", select(2, json.decode '"a\\'))
  end)
end)

describe("the parameters of a request", function()
  it("are taken apart and decoded", function()
    local q = query.parse "/v1/kv/a%2Fb%20c?recurse&tag=x+y&tag=%26&dc="
    assert.equal("/v1/kv/a/b c", q.path)
    assert.is_true(q:has "recurse")
    assert.same({ "x y", "&" }, q:all "tag")
    assert.equal("", q:get "dc")
    assert.is_false(q:has "wait")
  end)

  it("have durations of Go", function()
    assert.equal(90, (query.duration "1m30s"))
    assert.equal(0.25, (query.duration "250ms"))
    assert.equal(5400, (query.duration "1.5h"))
    assert.equal(0, (query.duration "0"))
    assert.equal('time: missing unit in duration "5"', select(2, query.duration "5"))
    assert.equal('time: invalid duration "x"', select(2, query.duration "x"))
    assert.equal('time: unknown unit "y" in duration "5y"', select(2, query.duration "5y"))
  end)
end)

describe("a filter of the simulated Consul", function()
  local ROW = {
    Node = { Node = "n1", Meta = {} },
    Service = { ID = "app-1", Service = "app", Tags = { "a", "b" }, Meta = { k = "v" }, Port = 80, Address = "10.0.0.1",
                Weights = { Passing = 5, Warning = 1 }, EnableTagOverride = true },
    Checks = { { Status = "passing", ServiceTags = {} }, { Status = "critical", ServiceTags = { "a" } } },
  }

  local function fits(text)
    local test, message = filter.compile(text, "health_service")
    return assert(test, message)(ROW)
  end

  local function wrong(message, text)
    local test, found = filter.compile(text, "health_service")
    assert.is_nil(test)
    assert.matches(message, found, 1, true)
  end

  it("holds", function()
    for _, text in ipairs {
      "Service.ID == `app-1`", 'Service.Service == "app"', "Service.Port==80", "Service.Port != 81",
      "a in Service.Tags", "z not in Service.Tags", "Service.Tags contains b", "Service.Tags is not empty",
      "Node.Meta is empty", "k in Service.Meta", "Service.Meta.k == v", "Service.Meta.zz != v",
      'Service.Address matches "^10[.]0"', 'Service.Address not matches "11"', "Checks.Status == critical",
      "Checks.Status == passing and Checks.Status == critical", "not Service.Port == 81",
      "Service.Port == 1 or (Service.Port == 80 and not a not in Service.Tags)", "Service.EnableTagOverride == true",
      "Service.Weights.Passing == 5",
    } do
      assert.is_true(fits(text), text)
    end
  end)

  it("does not", function()
    for _, text in ipairs {
      "Service.Port == 81", "Service.Tags is empty", "Service.Meta.zz == v", "Checks.Status == warning",
      "Service.Tags contains z", "not (a in Service.Tags or z in Service.Tags)", 'Service.Address matches "^0"',
    } do
      assert.is_false(fits(text), text)
    end
  end)

  it("is refused where Consul refuses it", function()
    wrong('Selector "Foo" is not valid', "Foo == 1")
    wrong('Selector "Service.Metax" is not valid', "Service.Metax.a == 1")
    wrong('Invalid match operator "Equal" for selector "Service.Tags"', "Service.Tags == a")
    wrong('Invalid match operator "Is Empty" for selector "Service.ID"', "Service.ID is empty")
    wrong('Failed to coerce value "x" for selector "Service.Port"', "Service.Port == x")
    wrong('rule "number": Invalid number literal', "Service.Address == 10.0.0.1")
    wrong('expected: "empty", "not"', "Service.Tags is bad")
    wrong("no match found", "Service.Tags")
    wrong("no match found", "Service.ID == a Service.ID == b")
    wrong("no match found", "(Service.ID == a")
    wrong("no match found", "Service.ID == ;")
    wrong("cannot match", 'Service.ID matches "a|b"')
  end)
end)
