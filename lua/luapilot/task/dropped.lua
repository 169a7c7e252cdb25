-- dropped: what the log says of events that a handler did not hear, or not to the end. It keeps the bus small for
-- pilots whose handlers keep up. It owns nothing.

local describe = require "luapilot.base.describe"

local dropped = {}

local function were(count) return describe.count(count, "event") .. (count == 1 and " was" or " were") end

---A handler dropped events; its queue is short again, or the end has come.
---@param handler luapilot.Subscription
function dropped.lost(handler)
  handler.bus.log("warn", ("%s: %s dropped in all: it was too slow for them"):format(handler.label,
    were(handler.lost)), nil, "events_dropped", nil, { handler = handler.label, dropped = handler.lost })
  handler.lost = nil
end

---The last word on handlers: what each of them did not hear.
---@param bus luapilot.Bus
function dropped.tell(bus)
  bus:each(function(handler)
    if handler.lost then dropped.lost(handler) end
    local count = handler.runs + (handler.unheard or 0)
    if count == 0 then return end
    bus.log("warn", ("%s: the shutdown did not let it end: %s not heard"):format(handler.label, were(count)), nil,
      "events_unheard", nil, { handler = handler.label, unheard = count })
  end)
end

return dropped
