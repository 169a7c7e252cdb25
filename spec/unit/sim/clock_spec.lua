local clock = require "luapilot.sim.clock"
local random = require "luapilot.sim.random"

describe("sim.random", function()
  it("gives the same numbers for the same seed, and others for another", function()
    local function first(seed, stream) return random.new(seed, stream):next() end
    assert.equal(first(7), first(7))
    assert.not_equal(first(7), first(8))
    assert.not_equal(first(7, 1), first(7, 2))
  end)

  it("stays within its bounds and uses all of them", function()
    local generator, low, high, sum = random.new(1), 1, 0, 0
    for _ = 1, 10000 do
      local number = generator:next()
      low, high, sum = math.min(low, number), math.max(high, number), sum + number
    end
    assert.is_true(low >= 0 and low < 0.01)
    assert.is_true(high < 1 and high > 0.99)
    assert.near(0.5, sum / 10000, 0.02)
  end)

  it("leaves math.random alone", function()
    math.randomseed(42)
    local expected = math.random()
    math.randomseed(42)
    random.new(1):next()
    assert.equal(expected, math.random())
  end)
end)

describe("sim.clock", function()
  local time, source, seen

  before_each(function()
    time = clock.new(1, 1e9)
    source = time:source()
    seen = {}
  end)

  local function note(name)
    return function() seen[#seen + 1] = name end
  end

  it("stands still until the next thing that is due", function()
    local start = time:now()
    time:after(60, source, note "a")
    assert.equal(start, time:now())
    assert.is_true(time:step())
    assert.equal(start + 60, time:now())
    assert.equal(1e9 + 60, time:wall())
    assert.is_false(time:step())
    assert.same({ "a" }, seen)
  end)

  it("takes what is due in the order of time, whatever the order of asking", function()
    for _, delay in ipairs { 5, 1, 4, 2, 3 } do time:after(delay, source, note(delay)) end
    while time:step() do end
    assert.same({ 1, 2, 3, 4, 5 }, seen)
  end)

  it("keeps the order of one source at the same moment", function()
    for i = 1, 20 do time:after(1, source, note(i)) end
    while time:step() do end
    for i = 1, 20 do assert.equal(i, seen[i]) end
  end)

  it("lets the seed decide between sources at the same moment", function()
    local function first(seed)
      local mine = clock.new(seed, 0)
      local a, b, winner = mine:source(), mine:source(), nil
      mine:after(1, a, function() winner = winner or "a" end)
      mine:after(1, b, function() winner = winner or "b" end)
      while mine:step() do end
      return winner
    end
    local wins = { a = 0, b = 0 }
    for seed = 1, 100 do
      assert.equal(first(seed), first(seed))
      wins[first(seed)] = wins[first(seed)] + 1
    end
    assert.is_true(wins.a > 20 and wins.b > 20)
  end)

  it("does not reach beyond a limit", function()
    time:after(2, source, note "late")
    assert.is_false(time:step(time:moment(1.5)))
    assert.is_true(time:step(time:moment(2)))
  end)

  it("forgets what is cancelled, and its moment too", function()
    local entry = time:after(1, source, note "never")
    time:after(2, source, note "b")
    time:cancel(entry)
    time:step()
    assert.same({ "b" }, seen)
    assert.equal(2, time:elapsed())
  end)

  it("is never early, not even by the rounding of a number", function()
    for i = 1, 1000 do
      local before, span = time:now(), i / 997
      time:after(span, source, note "tick")
      time:step()
      assert.is_true(time:now() - before >= span)
      assert.near(span, time:now() - before, 1e-6)
    end
  end)

  it("has a wall clock that may jump while the other goes on", function()
    time:shift(-3600)
    assert.equal(1e9 - 3600, time:wall())
    assert.equal(0, time:elapsed())
  end)

  it("survives thousands of entries in any order", function()
    local generator, last = random.new(3), 0
    for _ = 1, 3000 do
      local due = generator:between(0, 100)
      time:after(due, source, function()
        assert.is_true(time:elapsed() >= last)
        last = time:elapsed()
        seen[#seen + 1] = true
      end)
    end
    while time:step() do end
    assert.equal(3000, #seen)
  end)
end)
