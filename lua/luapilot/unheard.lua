-- unheard: what the log says of events that a handler did not hear, or not to the end. It keeps the bus small for
-- pilots whose handlers keep up. It owns nothing.

local unheard = {}

---A handler dropped events; its queue is short again, or the end has come.
---@param handler luapilot.Subscription
function unheard.lost(handler)
  handler.bus.log("warn", ("%s: %d events were dropped in all: it was too slow for them"):format(handler.label,
    handler.lost), nil, "events_dropped")
  handler.lost = nil
end

---The last word on handlers: what each of them did not hear.
---@param bus luapilot.Bus
function unheard.tell(bus)
  bus:each(function(handler)
    if handler.lost then unheard.lost(handler) end
    local count = handler.runs + (handler.unheard or 0)
    if count == 0 then return end
    bus.log("warn", ("%s: the shutdown did not let it end: %d event%s not heard"):format(handler.label, count,
      count > 1 and "s were" or " was"), nil, "events_unheard")
  end)
end

return unheard
