local arguments = require "luapilot.schema.arguments"
local groups = require "luapilot.api.groups"
local mistakes = require "luapilot.base.mistakes"

describe("arguments", function()
  local app, subscribed

  before_each(function()
    subscribed = nil
    app = {
      phase = "declaring", mistakes = mistakes.new(), where = function() return "pilot.lua:7" end,
      bus = { subscribe = function(_, topic, name, options, fn, label)
        subscribed = { topic = topic, name = name, options = options, fn = fn, label = label }
        return subscribed
      end },
    }
  end)

  -- The mistakes so far, as they are shown.
  local function said()
    local list = {}
    for i, mistake in ipairs(app.mistakes:list()) do list[i] = mistakes.format(mistake) end
    return list
  end

  local function raised(fn, ...)
    local ok, message = pcall(fn, ...)
    assert.is_false(ok)
    return message
  end

  local function leaf() return arguments.event_trigger(app, "once", "job", "job:db", "healthy") end

  it("collects a mistake while the file is loaded, and raises it later", function()
    arguments.fail(app, "path", "wrong")
    assert.same({ "pilot.lua:7: path: wrong" }, said())
    app.phase = "running"
    assert.equal("pilot.lua:7: path: wrong", raised(arguments.fail, app, "path", "wrong"))
  end)

  it("reads with a reader: all mistakes while loading, the first one later", function()
    local function read(where, list)
      list:add(where, "a", "first")
      list:add(where, "b", "second")
      return "result"
    end
    assert.equal("result", arguments.read(app, read))
    assert.equal(2, #said())
    app.phase = "running"
    assert.equal("pilot.lua:7: a: first", raised(arguments.read, app, read))
  end)

  describe("a trigger", function()
    it("knows its own from the user's tables", function()
      assert.is_true(arguments.is_trigger(leaf()))
      assert.is_false(arguments.is_trigger { kind = "once" })
      assert.is_false(arguments.is_trigger(nil))
      assert.equal("trigger once", tostring(leaf()))
    end)

    it("of an event has its options read", function()
      local node = arguments.event_trigger(app, "each", "pilot", "pilot", "SIGHUP", { settle = "1s", timeout = "1m" })
      assert.same({ "each", "pilot", "SIGHUP" }, { node.kind, node.topic, node.event })
      assert.same({ settle = 1, max_wait = 4, timeout = 60 }, node.options)
    end)

    it("of an event that does not exist is a mistake, and loading goes on", function()
      assert.equal("?", arguments.event_trigger(app, "once", "job", "job:db", "helthy").event)
      assert.matches('unknown event "helthy" of a job %(did you mean "healthy"%?%)', said()[1])
      arguments.event_trigger(app, "once", "job", "job:db", "healthy", { settel = "1s" })
      assert.matches("settel: unknown field", said()[2])
    end)

    it("may stand in `when`; anything else may not", function()
      local node, fn = leaf(), function() end
      assert.equal(node, arguments.trigger(app, node, "here", "when"))
      assert.is_nil(arguments.trigger(app, nil, "here", "when"))
      assert.equal("manual", arguments.trigger(app, "manual", "here", "when").kind)
      assert.equal(fn, arguments.trigger(app, fn, "here", "when").fn)
      local job = setmetatable({}, { __tostring = function() return 'job "db"' end })
      assert.is_nil(arguments.trigger(app, job, "here", "when"))
      assert.is_nil(arguments.trigger(app, { "x" }, "here", "when"))
      assert.is_nil(arguments.trigger(app, { source = "db", once = "healthy" }, "here", "when"))
      assert.matches('got the job "db" itself: add :once "healthy"', said()[1])
      assert.matches("got a table$", said()[2])
      assert.matches('got a table; write pilot.job "db":once "…"$', said()[3])
    end)

    it("groups", function()
      local a, b = leaf(), leaf()
      assert.same({ a, b }, groups.all(app, { a, b }).parts)
      for i, wrong in ipairs { {}, "x", leaf(), { leaf(), 5 }, { arguments.node { kind = "manual" } } } do
        groups.any(app, wrong)
        assert.equal(i, #said())
      end
      assert.matches("got one trigger", said()[3])
      assert.matches("pilot.any%[2%]", said()[4])
    end)
  end)

  describe("subscribe", function()
    local function subscribe(...) return arguments.subscribe(app, "job", "job:app", 'job "app"', ...) end

    it("takes options or not", function()
      local fn = function() end
      subscribe("healthy", fn)
      local label = 'job "app":on "healthy" at pilot.lua:7'
      assert.same({ topic = "job:app", name = "healthy", options = {}, fn = fn, label = label, where = "pilot.lua:7" },
        subscribed)
      subscribe("healthy", { settle = "1s", when_busy = "latest", timeout = "30s" }, fn)
      assert.same({ settle = 1, max_wait = 4, when_busy = "latest", timeout = 30 }, subscribed.options)
    end)

    it("says what is wrong", function()
      subscribe("healthy", { settle = "5" }, print)
      subscribe("healthy", { when_busy = "never" }, print)
      subscribe("healthy", { max_wait = "5s" }, print)
      subscribe("healthy")
      subscribe("healthy", {}, "x")
      subscribe(nil, print)
      assert.equal(6, #said())
      assert.matches('job "app": on "healthy".settle: "5" has no unit', said()[1], 1, true)
      assert.matches('job "app": on "healthy": expected a function as the handler, got nothing', said()[4], 1, true)
      app.phase = "running"
      assert.matches("^pilot.lua:7: ", raised(subscribe, "helthy", print))
    end)
  end)
end)
