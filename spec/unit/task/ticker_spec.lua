local cjson = require "cjson"
local cron = require "luapilot.base.cron"
local loop = require "luapilot.task.loop"
local ticker = require "luapilot.task.ticker"
local stub_port = require "support.stub_port"

local HOUR, MINUTE = 3600, 60
local MIDNIGHT = 1700006400 -- 2023-11-15 00:00:00 UTC

-- UTC: the specs do not depend on the machine's time zone.
local calendar = { date = function(epoch) return os.date("!*t", epoch) end }

describe("ticker", function()
  local world, l, ticks, timers

  before_each(function()
    world = stub_port.new()
    l = loop.new(world.port)
    world.turn = function(event) l:turn(event) end
    ticks, timers = {}, {}
  end)

  after_each(function()
    for _, each in ipairs(timers) do each:cancel() end
    assert.same({}, world:open())
    assert.same({}, l.routes)
  end)

  local start -- of the spec, on the clock that it counts

  local function tick() ticks[#ticks + 1] = world.port.now() - start end
  local function keep(timer)
    timers[#timers + 1] = timer
    return timer
  end
  local function handed_over(timer) return cjson.decode(cjson.encode(timer:snapshot())) end

  describe("every", function()
    before_each(function() start = world.port.now() end)

    local function every(interval, first, fn) return keep(ticker.every(l, interval, first, fn or tick)) end

    it("ticks at its interval", function()
      every(10, 10)
      world:advance(35)
      assert.same({ 10, 20, 30 }, ticks)
    end)

    it("ticks first when it is told", function()
      every(10, 0)
      world:advance(15)
      assert.same({ 0, 10 }, ticks)
    end)

    it("does not drift", function()
      every(0.1, 0.1)
      world:advance(1000.05)
      assert.equal(10000, #ticks)
      assert.is_true(math.abs(ticks[10000] - 1000) < 1e-6)
    end)

    it("makes up for nothing when a timer is late, and stays on its marks", function()
      every(10, 10)
      world:advance(10)
      local id = next(l.routes)
      world.time = world.time + 37 -- the program was paused
      world:send(id, { type = "timer" }, true)
      world:advance(8)
      assert.same({ 10, 47, 50 }, ticks)
    end)

    it("does not mind a timer that is a little early", function()
      every(10, 10)
      world.time = world.time + 9.9999999
      world:send(next(l.routes), { type = "timer" }, true)
      world:advance(10.1)
      assert.equal(2, #ticks)
    end)

    it("does not look at the wall clock", function()
      every(10, 10)
      world:advance(5)
      world:shift(-HOUR)
      world:advance(10)
      world:shift(10 * HOUR)
      world:advance(10)
      assert.same({ 10, 20 }, ticks)
    end)

    it("may be cancelled by its tick, and twice", function()
      local self
      self = every(10, 10, function()
        tick()
        self:cancel()
        self:cancel()
      end)
      world:advance(50)
      assert.same({ 10 }, ticks)
      assert.same({}, world:open())
    end)

    it("goes on after a reload: what is due stays due", function()
      local old = every(10, 10)
      world:advance(14)
      local data = handed_over(old)
      old:cancel()
      world:advance(2)
      every(10, 10):restore(data)
      world:advance(15)
      assert.same({ 10, 20, 30 }, ticks)
    end)

    it("ticks at once after a reload that lasted longer", function()
      local old = every(10, 10)
      local data = handed_over(old)
      old:cancel()
      world:advance(25)
      every(10, 10):restore(data)
      world:advance(5)
      assert.same({ 25, 30 }, ticks)
    end)
  end)

  describe("cron", function()
    before_each(function()
      start = world.port.now()
      world.epoch = MIDNIGHT - start
    end)

    local function at(text, jitter)
      return keep(ticker.cron(l, assert(cron.parse(text)), jitter, calendar, tick))
    end

    it("ticks when it is time", function()
      at "30 1,3 * * *"
      world:advance(25 * HOUR)
      assert.same({ 1.5 * HOUR, 3.5 * HOUR }, ticks)
    end)

    it("every minute", function()
      at "* * * * *"
      world:advance(10 * MINUTE)
      assert.equal(10, #ticks)
      assert.equal(MINUTE, ticks[1])
    end)

    it("comes late by its jitter", function()
      world.luck = 0.5
      at("0 3 * * *", 600)
      world:advance(24 * HOUR)
      assert.same({ 3 * HOUR + 300 }, ticks)
    end)

    it("runs once when the clock is set forward over it", function()
      at "0 3 * * *"
      world:advance(HOUR)
      world:shift(5 * HOUR)
      world:advance(HOUR)
      assert.equal(1, #ticks)
      assert.is_true(ticks[1] <= HOUR + MINUTE)
      world:advance(24 * HOUR)
      assert.equal(2, #ticks)
    end)

    it("does not run again what has run, when the clock is set back a little", function()
      at "0 3 * * *"
      world:advance(3 * HOUR + MINUTE)
      assert.equal(1, #ticks)
      world:shift(-HOUR)
      world:advance(2 * HOUR)
      assert.equal(1, #ticks)
      world:advance(23 * HOUR)
      assert.equal(2, #ticks)
    end)

    it("counts anew when the clock was plainly wrong before", function()
      world:shift(100 * 24 * HOUR)
      at "0 3 * * *"
      world:advance(HOUR)
      world:shift(-100 * 24 * HOUR)
      world:advance(3 * HOUR)
      assert.equal(1, #ticks)
    end)

    it("the same for a rule that ticks at every look", function()
      at "* * * * *"
      world:advance(10 * HOUR)
      local before = #ticks
      world:shift(-5 * HOUR)
      world:advance(10 * MINUTE)
      assert.is_true(#ticks - before >= 9)
    end)

    it("ticks once at a time that comes twice, when summer ends", function()
      -- at 02:00 wall time the clock goes back an hour
      local change = MIDNIGHT + 2 * HOUR
      local twice = { date = function(epoch) return os.date("!*t", epoch < change and epoch or epoch - HOUR) end }
      keep(ticker.cron(l, assert(cron.parse "30 1 * * *"), nil, twice, tick))
      world:advance(20 * HOUR)
      assert.equal(1, #ticks)
    end)

    it("goes on after a reload, its jitter too", function()
      world.luck = 0.5
      local old = at("0 3 * * *", 600)
      world:advance(3 * HOUR + 1)
      local data = handed_over(old)
      old:cancel()
      world.luck = 0
      at("0 3 * * *", 600):restore(data)
      world:advance(24 * HOUR - 2)
      assert.same({ 3 * HOUR + 300 }, ticks)
      world:advance(2)
      assert.equal(2, #ticks)
    end)

    it("does not run twice because of a reload", function()
      local old = at "0 3 * * *"
      world:advance(3 * HOUR)
      assert.equal(1, #ticks)
      local data = handed_over(old)
      old:cancel()
      at("0 3 * * *"):restore(data)
      world:advance(20 * HOUR)
      assert.equal(1, #ticks)
    end)
  end)
end)
