local loop = require "luapilot.task.loop"
local budgets = require "luapilot.task.budget"
local stub_port = require "support.stub_port"

describe("budget", function()
  local world, l, ended

  before_each(function()
    world = stub_port.new()
    l = loop.new(world.port)
    world.turn = function(event) l:turn(event) end
    ended = nil
  end)

  after_each(function()
    assert.same({}, world:open())
    assert.same({}, l.routes)
  end)

  local function now() return world.port.now() end
  local function allow(seconds)
    local began = now()
    return l:allow(seconds, function() ended = now() - began end)
  end

  -- The clock goes on, and nobody hears of it; then the first that is due is heard.
  local function pause(seconds)
    world.time = world.time + seconds
    world:advance(0)
  end

  it("ends a budget after its seconds, where all goes on as it should", function()
    for _, seconds in ipairs { 0, 0.001, 0.3, 1, 1.5, 10, 100 } do
      ended = nil
      allow(seconds)
      world:advance(seconds)
      assert.near(seconds, ended, 1e-6)
    end
  end)

  it("looks each second, of a long one 32 times", function()
    for seconds, looks in pairs { [0.5] = 1, [1] = 1, [10] = 10, [32] = 32, [3200] = 33 } do
      local before = world.armed
      allow(seconds)
      world:advance(seconds)
      assert.equal(looks, world.armed - before)
    end
  end)

  it("counts a pause at most as the slice in which it began", function()
    for _, row in ipairs { { 10, 3.5, 3600 }, { 10, 9.9, 2 }, { 0.3, 0.1, 0.5 }, { 3200, 1000, 5000 } } do
      local seconds, before, away = unpack(row)
      ended = nil
      allow(seconds)
      world:advance(before)
      pause(away)
      world:advance(seconds + away)
      assert.is_true(ended >= seconds + away - math.min(seconds, math.max(1, seconds / 32)) - 1e-6, ended)
      assert.is_true(ended <= seconds + away + math.max(1, seconds / 32) + 1e-6, ended)
    end
  end)

  it("takes what is late by less than half of a slice, or a tenth of a second, for no pause", function()
    local budget = allow(10)
    world:advance(0.9)
    pause(0.19)
    assert.is_false(budgets.was_away(budget, now()))
    world:advance(9)
    assert.near(10.09, ended, 1e-6)
    ended = nil
    allow(0.12)
    pause(0.175)
    assert.near(0.175, ended, 1e-6)
  end)

  it("takes more for no pause where it was told so", function()
    local began = now()
    l:allow(3, function() ended = now() - began end, 1)
    pause(1.9)
    world:advance(3)
    assert.near(3.9, ended, 1e-6)
  end)

  it("knows a pause before any timer was heard of", function()
    local budget = allow(10)
    world:advance(0.5)
    assert.is_false(budgets.was_away(budget, now()))
    world.time = world.time + 2
    assert.is_true(budgets.was_away(budget, now()))
    world:advance(0)
    assert.is_true(budgets.was_away(budget, now()))
    l:cancel(budget)
  end)

  it("knows what was used up, and what is left", function()
    local budget = allow(10)
    world:advance(2.5)
    assert.near(2.5, budgets.used(budget, now()), 1e-6)
    pause(100)
    assert.near(2, budgets.used(budget, now()), 1e-6)
    world:advance(0.5)
    assert.near(7.5, budgets.left(budget, now()), 1e-6)
    l:cancel(budget)
  end)

  it("tells at the start of each slice what is left", function()
    local budget, told = allow(3), {}
    function budget.counted(left) told[#told + 1] = left end
    world:advance(1.5)
    pause(100)
    world:advance(5)
    assert.same({ 2, 2, 1 }, told)
  end)

  it("ends a budget in spite of all, where every slice is late", function()
    allow(5)
    local pauses = 0
    while not ended do
      pauses = pauses + 1
      pause(10)
    end
    assert.equal(4 * 5, pauses)
  end)

  it("ends with its cancellation, in whatever slice", function()
    for _, at in ipairs { 0.5, 1.5, 5 } do
      local budget = allow(10)
      world:advance(at)
      l:cancel(budget)
      world:advance(100)
      assert.is_nil(ended)
    end
  end)
end)
