local bus = require "luapilot.task.bus"
local effort = require "support.effort"
local loop = require "luapilot.task.loop"
local stub_port = require "support.stub_port"
local task = require "luapilot.task.task"

describe("bus", function()
  local world, l, tasks, b, said, errors, open_tickets, subscriptions

  before_each(function()
    world = stub_port.new()
    l = loop.new(world.port)
    world.turn = function(event) l:turn(event) end
    world.rest = function() l:rest() end
    tasks = require "luapilot.task.scheduler".new(l)
    tasks.report = function() end
    said, errors, open_tickets, subscriptions = {}, {}, 0, {}
    b = bus.new {
      loop = l, tasks = tasks, log = world.port.log,
      on_error = function(subscription, event, err)
        errors[#errors + 1] = ("%s %s: %s"):format(subscription.label, event.name, task.message(err))
      end,
    }
  end)

  after_each(function()
    world:advance(3600)
    for _, subscription in ipairs(subscriptions) do
      subscription:cancel()
      assert.same({ {}, {}, 0 }, { subscription.running, subscription.timer_of or {}, subscription.load })
    end
    assert.same({}, b.tickets)
    l:rest()
    assert.same({}, world:open())
    assert.same({}, l.routes)
    assert.equal(0, tasks.count)
    assert.equal(0, open_tickets)
    assert.is_false(b:pending())
    assert.equal(0, b.load)
    assert.equal(0, b:count(function() return true end))
    assert.same({}, errors)
  end)

  local function say(text) said[#said + 1] = text end
  local function sleep(seconds) tasks:sleep(seconds) end

  -- Every event has a ticket: none may stay open.
  local function publish(number, name, weight)
    open_tickets = open_tickets + 1
    local event = { name = name or "healthy", number = number }
    b.weights[event] = weight
    b:publish("job:a", event, function()
      open_tickets = open_tickets - 1
      say("done " .. number)
    end)
  end

  local function on(options, fn, name)
    local subscription = b:subscribe("job:a", name or "healthy", options or {}, fn, "handler")
    subscriptions[#subscriptions + 1] = subscription
    return subscription
  end

  local function working(options)
    return on(options, function(event)
      say("begin " .. event.number)
      sleep(1)
      say("end " .. event.number)
    end)
  end

  describe("publishing", function()
    it("enqueues: nobody is called from inside", function()
      local listener = b:listen("job:a", "healthy", say)
      b:publish("job:a", { name = "healthy" })
      assert.same({}, said)
      assert.equal(1, b:queued())
      l:rest()
      assert.equal(1, #said)
      b:forget(listener)
    end)

    it("gives events in order, each to its subscribers in theirs", function()
      for i = 1, 3 do on({}, function(event) say(i .. " " .. event.number) end) end
      publish(1)
      publish(2)
      l:rest()
      assert.same({ "1 1", "2 1", "3 1", "done 1", "1 2", "2 2", "3 2", "done 2" }, said)
    end)

    it("leaves what is published meanwhile to the next round", function()
      on({}, function(event)
        say(event.number)
        if event.number < 3 then publish(event.number + 1) end
      end)
      publish(1)
      l:rest()
      assert.same({ 1, "done 1", 2, "done 2", 3, "done 3" }, said)
    end)

    it("is done at once when nobody listens", function()
      publish(1)
      l:rest()
      assert.same({ "done 1" }, said)
    end)

    it("shows handlers nothing of its own", function()
      local event = { name = "healthy" }
      on({}, function(what)
        for key in pairs(what) do say(key) end
      end)
      b:publish("job:a", event, function() say "done" end)
      l:rest()
      assert.same({ "name", "done" }, said)
    end)

    it("knows other topics and names apart", function()
      on({}, function() say "a" end)
      b:publish("job:b", { name = "healthy" })
      b:publish("job:a", { name = "unhealthy" })
      l:rest()
      assert.same({}, said)
      assert.is_true(b:has("job:a", "healthy"))
      assert.is_false(b:has("job:a", "unhealthy"))
      assert.is_false(b:has("job:b", "healthy"))
    end)

    it("serves more subscribers than a Lua stack holds", function()
      local count, listeners = 0, {}
      for i = 1, 20000 do listeners[i] = b:listen("pilot", "SIGHUP", function() count = count + 1 end) end
      b:publish("pilot", { name = "SIGHUP" })
      l:rest()
      assert.equal(20000, count)
      for _, listener in ipairs(listeners) do b:forget(listener) end
      assert.is_false(b:has("pilot", "SIGHUP"))
    end)
  end)

  describe("subscribers that come and go while they are served", function()
    it("come: hear the next event", function()
      on({}, function()
        if #subscriptions < 3 then on({}, function(event) say("new " .. event.number) end) end
      end)
      publish(1)
      l:rest()
      assert.same({ "done 1" }, said)
      publish(2)
      l:rest()
      assert.same({ "done 1", "new 2", "done 2" }, said)
    end)

    it("go: hear no more, those behind them do", function()
      local listeners = {}
      for i = 1, 4 do
        listeners[i] = b:listen("job:a", "healthy", function()
          say(i)
          b:forget(listeners[i])
          if i == 2 then b:forget(listeners[3]) end
        end)
      end
      publish(1)
      publish(2)
      l:rest()
      assert.same({ 1, 2, 4, "done 1", "done 2" }, said)
    end)

    it("go, and those that stay hear on, in their order", function()
      local function hear(name) return b:listen("job:a", "healthy", function() say(name) end) end
      local first, second, third, fourth = hear "1", hear "2", hear "3", hear "4"
      local function tell()
        b:publish("job:a", { name = "healthy" })
        l:rest()
      end
      b:forget(first)
      b:forget(third)
      tell()
      assert.same({ "2", "4" }, said)
      local fifth = hear "5"
      b:forget(second)
      tell()
      assert.same({ "2", "4", "4", "5" }, said)
      b:forget(fourth)
      b:forget(fifth)
      assert.is_false(b:has("job:a", "healthy"))
    end)

    it("cancel themselves: the run goes on, what waits is dropped", function()
      local subscription
      subscription = on({}, function(event)
        say("begin " .. event.number)
        sleep(1)
        subscription:cancel()
        sleep(1)
        say("end " .. event.number)
      end)
      publish(1)
      publish(2)
      publish(3)
      world:advance(1)
      assert.same({ "begin 1", "done 2", "done 3" }, said)
      publish(4)
      world:advance(1)
      assert.same({ "begin 1", "done 2", "done 3", "done 4", "end 1", "done 1" }, said)
      subscription:cancel()
    end)

    it("are forgotten twice without harm", function()
      local listener = b:listen("job:a", "healthy", say)
      b:forget(listener)
      b:forget(listener)
      on({}, function() say "other" end)
      b:forget(listener)
      publish(1)
      l:rest()
      assert.same({ "other", "done 1" }, said)
      assert.is_true(b:has("job:a", "healthy"))
    end)
  end)

  describe("when_busy", function()
    local function three(options)
      working(options)
      for i = 1, 3 do publish(i) end
      world:advance(10)
      return table.concat(said, ", ")
    end

    it("queue (the default)", function()
      local expected = "begin 1, end 1, done 1, begin 2, end 2, done 2, begin 3, end 3, done 3"
      assert.equal(expected, three())
      said = {}
      subscriptions[1]:cancel()
      assert.equal(expected, three { when_busy = "queue" })
    end)

    it("queue: drops the oldest beyond its bound, and says so", function()
      working()
      for i = 1, 1003 do publish(i) end
      world:advance(0.5)
      assert.same({ "done 2", "done 3", "begin 1" }, { said[1], said[2], said[3] })
      assert.equal(1, #world:messages "warn")
      for i = 1, 99 do publish(2000 + i) end
      world:advance(0.1)
      assert.equal(3, #world:messages "warn") -- of one, of ten, of a hundred
      assert.equal(101, subscriptions[1].dropped)
    end)

    it("queue: tells of a flood when it has dropped ten times as many, and at last how many in all", function()
      working()
      for i = 1, 21001 do publish(i) end
      world:advance(0.5)
      assert.equal(5, #world:messages "warn")
      world:advance(1000)
      assert.equal(6, #world:messages "warn")
      assert.matches("20000 events were dropped in all", world:messages "warn"[6])
    end)

    -- So many as one that comes weighs.
    it("queue: a heavy event takes the room of several", function()
      working()
      for i = 1, 900 do publish(i) end
      publish(901, nil, 64)
      publish(902, nil, 40.5)
      world:advance(0.5)
      assert.same({ "done 2", "done 3", "done 4", "done 5", "begin 1" }, said)
      assert.equal(895 + 64 + 40.5, subscriptions[1].load)
      assert.equal(897, subscriptions[1].waiting.count)
    end)

    it("latest", function()
      assert.equal("done 2, begin 1, end 1, done 1, begin 3, end 3, done 3", three { when_busy = "latest" })
    end)

    it("drop", function()
      assert.equal("done 2, done 3, begin 1, end 1, done 1", three { when_busy = "drop" })
    end)

    it("restart", function()
      working { when_busy = "restart" }
      publish(1)
      world:advance(0.5)
      publish(2)
      publish(3)
      world:advance(5)
      assert.same({ "begin 1", "done 2", "done 1", "begin 3", "end 3", "done 3" }, said)
    end)

    it("restart: waits until what it cancelled has ended, and takes the newest", function()
      on({ when_busy = "restart" }, function(event)
        say("begin " .. event.number)
        tasks:defer(function() sleep(2) say("deferred " .. event.number) end)
        sleep(5)
      end)
      publish(1)
      world:advance(1)
      publish(2)
      world:advance(1)
      publish(3)
      world:advance(0.5)
      assert.same({ "begin 1", "done 2" }, said)
      world:advance(0.5)
      assert.same({ "begin 1", "done 2", "deferred 1", "done 1", "begin 3" }, said)
    end)

    it("restart: a run that has not begun never does", function()
      working { when_busy = "restart" }
      publish(1)
      publish(2)
      world:advance(5)
      assert.same({ "done 1", "begin 2", "end 2", "done 2" }, said)
    end)

    it("parallel", function()
      assert.equal("begin 1, begin 2, begin 3, end 1, done 1, end 2, done 2, end 3, done 3",
        three { when_busy = "parallel" })
    end)
  end)

  describe("settle", function()
    it("waits until it was quiet, and gives the newest", function()
      working { settle = 1, max_wait = 4 }
      publish(1)
      world:advance(0.9)
      publish(2)
      world:advance(0.9)
      assert.same({ "done 1" }, said)
      assert.is_true(b:pending())
      world:advance(0.2)
      assert.same({ "done 1", "begin 2" }, said)
      assert.is_false(b:pending())
    end)

    it("waits max_wait at most", function()
      working { settle = 1, max_wait = 2 }
      for i = 1, 5 do
        publish(i)
        world:advance(0.5)
      end
      assert.equal("begin 4", said[4])
    end)

    it("fires once when both are over at the same time", function()
      working { settle = 1, max_wait = 1 }
      publish(1)
      world:advance(5)
      assert.same({ "begin 1", "end 1", "done 1" }, said)
    end)

    it("goes by when_busy afterwards", function()
      working { settle = 0.1, when_busy = "latest" }
      publish(1)
      world:advance(0.2)
      publish(2)
      world:advance(0.2)
      publish(3)
      world:advance(0.2)
      world:advance(5)
      assert.same({ "begin 1", "done 2", "end 1", "done 1", "begin 3", "end 3", "done 3" }, said)
    end)

    it("restarts what runs only when it has settled", function()
      working { settle = 0.4, when_busy = "restart" }
      publish(1)
      world:advance(0.5)
      publish(2)
      world:advance(0.3)
      assert.same({ "begin 1" }, said)
      world:advance(0.2)
      assert.same({ "begin 1", "done 1", "begin 2" }, said)
    end)

    it("ends with the subscription", function()
      local subscription = working { settle = 1 }
      publish(1)
      l:rest()
      subscription:cancel()
      assert.same({ "done 1" }, said)
      assert.is_false(b:pending())
      assert.same({}, world:open())
    end)

    it("is cancelled by a listener of the same event, before it is reached", function()
      local subscription
      local listener = b:listen("job:a", "healthy", function() subscription:cancel() end)
      subscription = working { settle = 1 }
      publish(1)
      l:rest()
      assert.same({ "done 1" }, said)
      b:forget(listener)
    end)
  end)

  describe("timeout", function()
    it("cancels a run that takes too long, tells, and goes on with the next", function()
      on({ timeout = 2 }, function(event)
        say("begin " .. event.number)
        sleep(event.number == 1 and 5 or 1)
        say("end " .. event.number)
      end)
      publish(1)
      publish(2)
      world:advance(10)
      assert.same({ "begin 1", "done 1", "begin 2", "end 2", "done 2" }, said)
      assert.same({ "handler healthy: timed out after 2s" }, errors)
      assert.equal(1, subscriptions[1].errors)
      errors = {}
    end)

    it("says what the handler raised instead", function()
      on({ timeout = 1 }, function()
        pcall(sleep, 5)
        error("cleaning up failed", 0)
      end)
      publish(1)
      world:advance(2)
      assert.same({ "handler healthy: cleaning up failed" }, errors)
      errors = {}
    end)

    it("ends with a restart", function()
      working { timeout = 3, when_busy = "restart" }
      publish(1)
      world:advance(0.5)
      publish(2)
      world:advance(9)
      assert.same({ "begin 1", "done 1", "begin 2", "end 2", "done 2" }, said)
    end)

    it("is each run's own in parallel", function()
      on({ timeout = 1, when_busy = "parallel" }, function(event)
        sleep(event.number)
        say("end " .. event.number)
      end)
      publish(0.5)
      publish(3)
      world:advance(5)
      assert.same({ "end 0.5", "done 0.5", "done 3" }, said)
      assert.equal(1, #errors)
      errors = {}
    end)
  end)

  describe("errors", function()
    it("are told, and the handler stays", function()
      local broken = setmetatable({}, { __tostring = function() error "no" end })
      local values = { "text", { code = 1 }, broken, false }
      on({}, function(event) error(values[event.number], 0) end)
      on({}, function(event) say("other " .. event.number) end)
      for i = 1, 4 do publish(i) end
      l:rest()
      assert.same({
        "handler healthy: text", "handler healthy: an error that is a table: { code = 1 }",
        "handler healthy: (an error value whose __tostring fails)", "handler healthy: false",
      }, errors)
      assert.equal(8, #said)
      errors = {}
    end)

    it("of a cancelled run are told, its cancellation is not", function()
      local subscription = on({}, function(event)
        local ok, err = pcall(sleep, 5)
        if not ok and event.number == 2 then error("while cleaning up", 0) end
        error(err, 0)
      end)
      for i = 1, 2 do
        publish(i)
        l:rest()
        b:cancel_runs("job:a", "healthy")
        l:rest()
      end
      assert.same({ "handler healthy: while cleaning up" }, errors)
      assert.equal(1, subscription.errors)
      errors = {}
    end)
  end)

  describe("cancel_runs", function()
    it("cancels what runs, waits or settles, and leaves the subscriptions", function()
      working()
      working { when_busy = "parallel" }
      working { settle = 5 }
      publish(1)
      publish(2)
      world:advance(0.5)
      b:cancel_runs("job:a", "healthy")
      l:rest()
      assert.equal(0, open_tickets)
      assert.equal(0, tasks.count)
      assert.is_false(b:pending())
      said = {}
      publish(3)
      l:rest()
      assert.same({ "begin 3", "begin 3" }, said)
    end)

    it("cancels runs side by side in the order in which they began", function()
      local expected = {}
      on({ when_busy = "parallel" }, function(event)
        tasks:defer(function() say(event.number) end)
        sleep(9)
      end)
      for i = 1, 20 do
        b:publish("job:a", { name = "healthy", number = i })
        expected[i] = i
      end
      l:rest()
      b:cancel_runs("job:a", "healthy")
      l:rest()
      assert.same(expected, said)
    end)

    it("does not mind a topic that nobody knows", function()
      b:cancel_runs("job:nobody", "healthy")
    end)
  end)

  it("begins no handler once it is closed: what waits and what still comes is done", function()
    working()
    for i = 1, 2 do publish(i) end
    l:rest()
    b:close()
    publish(3)
    world:advance(5)
    assert.same({ "begin 1", "done 2", "done 3", "end 1", "done 1" }, said)
  end)

  it("counts handlers, not listeners", function()
    local listener = b:listen("pilot", "SIGHUP", function() end)
    local function signals() return b:count(function(entry) return entry.name == "SIGHUP" end) end
    assert.equal(0, signals())
    local subscription = b:subscribe("pilot", "SIGHUP", {}, function() end, "x")
    assert.equal(1, signals())
    subscription:cancel()
    assert.equal(0, signals())
    b:forget(listener)
  end)

  it("forgets a thousand listeners without walking through all of them each time", function()
    local listeners, others = {}, 0
    for i = 1, 20000 do listeners[i] = b:listen("job:a", "healthy", function() others = others + 1 end) end
    local instructions = effort.instructions(function()
      for i = 1, 20000 do b:forget(listeners[i]) end
    end)
    assert.is_true(instructions < 20000 * 200, instructions .. " instructions")
    publish(1)
    l:rest()
    assert.equal(0, others)
    assert.equal(0, #b.topics["job:a"].healthy)
  end)
end)
