local restart = require "luapilot.schema.restart"

local function policy(value) return assert(restart.parse(value)) end

local function refused(value)
  local result, message, path = restart.parse(value)
  assert.is_nil(result)
  return path == "" and message or path .. ": " .. message
end

local function most() return 0 end       -- random numbers: no jitter,
local function least() return 0.999999 end -- and all of it
local function run(ended, lasted, success) return { success = success or false, started = ended - lasted,
  ended = ended } end

describe("restart", function()
  describe("parse", function()
    it("reads words and numbers", function()
      assert.same({ policy = "always", backoff = 1, max_backoff = 60, reset_after = 60 }, policy "always")
      assert.equal("on_failure", policy("on_failure").policy)
      assert.same({ policy = "never", backoff = 1, max_backoff = 60, reset_after = 60 }, policy "never")
      assert.same({ policy = "always", count = 3, backoff = 1, max_backoff = 60, reset_after = 60 },
        policy(3))
      assert.equal("never", policy(0).policy)
    end)

    it("reads tables", function()
      assert.same({ policy = "on_failure", backoff = 0.5, max_backoff = 10, reset_after = 120, limit = 5,
        within = 300,
        count = 7 }, policy { policy = "on_failure", backoff = "500ms", max_backoff = "10s",
          reset_after = "2m",
        limit = 5, within = "5m", count = 7 })
      assert.same({ policy = "always", backoff = 1, max_backoff = 60, reset_after = 60, limit = 5,
        within = 60 },
        policy { limit = 5 })
      assert.equal(300, policy({ backoff = "5m" }).max_backoff)
    end)

    it("says what is wrong", function()
      assert.equal('expected "always", "on_failure" or "never", got a string: "on-failure"; '
        .. 'did you mean "on_failure"?',
        refused "on-failure")
      local what = 'expected "always", "on_failure", "never", a number of restarts, or a table such as '
        .. '{ policy = "always", backoff = "1s" }, got '
      assert.equal(what .. 'a boolean: true; write restart = "always"', refused(true))
      assert.equal(what .. 'a boolean: false; write restart = "never"', refused(false))
      assert.equal(what .. "a function", refused(print))
      assert.equal("expected a whole number from 0, got a number: 1.5", refused(1.5))
      assert.equal("expected a whole number from 0, got a number: -1", refused(-1))
      assert.equal("within: needs limit: so many restarts within that time", refused { within = "1m" })
      assert.equal("max_backoff: 1s is shorter than backoff (2s)", refused { backoff = "2s",
        max_backoff = "1s" })
      assert.equal('backof: unknown field (did you mean "backoff"?)', refused { backof = "2s" })
      assert.equal("limit: expected a whole number from 1, got a number: 0", refused { limit = 0 })
    end)
  end)

  describe("decide", function()
    it("follows the policy", function()
      local memory = restart.new()
      assert.same({ nil, 'restart is "never"' }, { restart.decide(policy "never", memory, run(10, 1), most) })
      assert.same({ nil, 'restart is "on_failure", and it succeeded' },
        { restart.decide(policy "on_failure", memory, run(10, 1, true), most) })
      assert.equal(1, restart.decide(policy "on_failure", memory, run(10, 1, false), most))
      assert.equal(1, restart.decide(policy "always", restart.new(), run(10, 1, true), most))
    end)

    it("doubles the delay up to max_backoff", function()
      local memory, always = restart.new(), policy "always"
      for _, delay in ipairs { 1, 2, 4, 8, 16, 32, 60, 60, 60 } do
        assert.equal(delay, restart.decide(always, memory, run(10, 1), most))
      end
    end)

    it("takes away up to a quarter of it by jitter, also of the longest", function()
      local memory, always = restart.new(), policy "always"
      for _, delay in ipairs { 0.75, 1.5, 3, 6, 12, 24, 45, 45 } do
        local found = restart.decide(always, memory, run(10, 1), least)
        assert.is_true(math.abs(found - delay) < 0.001)
      end
    end)

    it("starts over when a run lasted reset_after", function()
      local memory, always = restart.new(), policy "always"
      for _ = 1, 5 do restart.decide(always, memory, run(10, 1), most) end
      assert.equal(32, restart.decide(always, memory, run(100, 59.9), most))
      assert.equal(1, restart.decide(always, memory, run(200, 60), most))
    end)

    it("restarts at once without backoff", function()
      local memory, at_once = restart.new(), policy { backoff = 0 }
      for _ = 1, 2000 do assert.equal(0, restart.decide(at_once, memory, run(10, 0), error)) end
    end)

    it("counts restarts since the trigger", function()
      local memory, twice = restart.new(), policy(2)
      assert.equal(1, restart.decide(twice, memory, run(10, 1, true), most))
      assert.equal(2, restart.decide(twice, memory, run(20, 1, false), most))
      assert.same({ nil, "count: 2 restarts used up" }, { restart.decide(twice, memory, run(30, 1), most) })
      restart.triggered(memory)
      assert.equal(1, restart.decide(twice, memory, run(40, 1), most))
      assert.same({ nil, "count: 1 restart used up" }, { restart.decide(policy(1), memory, run(50, 1),
        most) })
    end)

    it("keeps to the limit within its window", function()
      local memory, limited = restart.new(), policy { backoff = 0, limit = 5, within = "1m" }
      for second = 1, 5 do assert.equal(0, restart.decide(limited, memory, run(second, 0), most)) end
      assert.same({ nil, "limit: 5 restarts within 1m" }, { restart.decide(limited, memory, run(60.9, 0),
        most) })
      assert.equal(0, restart.decide(limited, memory, run(61, 0), most))
      assert.same({ nil, "limit: 5 restarts within 1m" }, { restart.decide(limited, memory, run(61, 0),
        most) })
      restart.triggered(memory)
      assert.equal(0, restart.decide(limited, memory, run(61, 0), most))
    end)
  end)

  it("survives a reload", function()
    local memory, limited = restart.new(), policy { limit = 3, within = "1m" }
    for second = 1, 2 do restart.decide(limited, memory, run(second, 0), most) end
    local data = restart.snapshot(memory)
    assert.same({ restarts = 2, step = 2, times = { 1, 2 } }, data)
    local restored = restart.restore(data)
    assert.same(memory, restored)
    assert.equal(4, restart.decide(limited, restored, run(3, 0), most))
    assert.same({ 1, 2 }, data.times)
    assert.is_nil((restart.decide(limited, restored, run(4, 0), most)))
    assert.same(restart.new(), restart.restore(nil))
  end)
end)
