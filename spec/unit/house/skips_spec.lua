-- How specs are skipped where something is lacking: spec/support/machine.lua.

local machine = require "support.machine"

-- What a describe's body does, in the environment of a spec file: "before_each", "it first", …
local function registered(lacking, body)
  local said, bodies = {}, {}
  local env = setmetatable({}, { __index = _G })
  function env.it(name, fn)
    said[#said + 1] = "it " .. name
    bodies[name] = fn
  end
  function env.describe(name, fn)
    said[#said + 1] = "describe " .. name
    fn()
  end
  for _, name in ipairs { "before_each", "after_each", "setup", "teardown" } do
    env[name] = function() said[#said + 1] = name end
  end
  machine.unless(lacking, setfenv(body, env))()
  return table.concat(said, ", "), bodies
end

local ran

local function body()
  setup(function() end)
  before_each(function() end)
  after_each(function() end)
  it("first", function() ran = true end)
  describe("inner", function()
    before_each(function() end)
    it("second", function() ran = true end)
  end)
end

describe("machine.unless", function()
  before_each(function() ran = false end)

  it("leaves all as it is where nothing is lacking", function()
    local said, bodies = registered(nil, body)
    assert.equal("setup, before_each, after_each, it first, describe inner, before_each, it second", said)
    bodies.second()
    assert.is_true(ran)
    assert.equal(body, machine.unless(false, body))
  end)

  it("sets nothing up where something is lacking, and has each spec say why", function()
    local said, bodies = registered("no luck", body)
    assert.equal("it first, describe inner, it second", said)
    local reasons = {}
    stub(machine, "skip", function(reason) reasons[#reasons + 1] = reason end)
    bodies.first()
    bodies.second()
    machine.skip:revert()
    assert.same({ "no luck", "no luck" }, reasons)
    assert.is_false(ran)
  end)
end)

describe("machine.lacking", function()
  it("names the first program that is not here", function()
    assert.is_nil(machine.lacking())
    assert.is_nil(machine.lacking("sh", "ls"))
    assert.equal("no luapilot-missing", machine.lacking("sh", "luapilot-missing", "luapilot-other"))
  end)
end)
