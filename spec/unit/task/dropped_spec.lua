-- The last words on handlers: lines and fields, of buses that are tables.
local dropped = require "luapilot.task.dropped"

describe("dropped", function()
  local function said_of(...)
    local said, handlers = {}, { ... }
    local bus = {}
    function bus.log(level, message, _, event, _, facts) said[#said + 1] = { level, message, event, facts } end
    function bus:each(fn)
      for _, handler in ipairs(handlers) do
        handler.bus = self
        fn(handler)
      end
    end
    dropped.tell(bus)
    return said
  end

  it("says nothing of a handler that has heard all", function()
    assert.same({}, said_of { label = "h", runs = 0 })
    assert.same({}, said_of { label = "h", runs = 0, unheard = 0 })
  end)

  it("counts what is at work, and what has not begun", function()
    local text = "h: the shutdown did not let it end: %s not heard"
    assert.same({ { "warn", text:format "1 event was", "events_unheard", { handler = "h", unheard = 1 } } },
      said_of { label = "h", runs = 1 })
    assert.same({ { "warn", text:format "5 events were", "events_unheard", { handler = "h", unheard = 5 } } },
      said_of { label = "h", runs = 2, unheard = 3 })
  end)

  it("tells what was dropped and not told yet, once", function()
    local handler = { label = "h", runs = 0, lost = 7 }
    assert.same({ { "warn", "h: 7 events were dropped in all: it was too slow for them", "events_dropped",
      { handler = "h", dropped = 7 } } }, said_of(handler))
    assert.is_nil(handler.lost)
    assert.same({}, said_of(handler))
  end)
end)
