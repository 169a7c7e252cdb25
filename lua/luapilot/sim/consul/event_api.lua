-- event_api: /v1/event/. Events go from agent to agent, and each keeps the last 256 that concern it.

local answer = require "luapilot.sim.consul.answer"
local base64 = require "luapilot.base.base64"
local json = require "luapilot.sim.consul.json"

local KEPT = 256
local LOW, HIGH = 0.01, 0.5 -- seconds until all have heard of it

local function matches(name, wanted) return wanted == "" or name:find(wanted) ~= nil end

-- Does an agent keep it?
local function concerns(agent, event)
  if not matches(agent.name, event.NodeFilter) then return false end
  if event.ServiceFilter == "" then return true end
  for _, service in pairs(agent.services) do
    if matches(service.name, event.ServiceFilter) then
      if event.TagFilter == "" then return true end
      for _, tag in ipairs(service.tags) do
        if matches(tag, event.TagFilter) then return true end
      end
    end
  end
  return false
end

local function fire(request)
  if request.rest == "" then return answer.bad "Missing name" end
  local q, dc = request.query, request.dc
  if dc.denied.event then return answer.denied() end
  local event = {
    ID = dc.store:identity(), Name = request.rest, Version = 1, LTime = 0,
    Payload = request.body ~= "" and base64.encode(request.body) or json.null,
    NodeFilter = q:get "node", ServiceFilter = q:get "service", TagFilter = q:get "tag",
  }
  dc.store:after(dc.dice:between(LOW, HIGH), function()
    dc.event_time = (dc.event_time or 1) + 1
    local heard = {}
    for key, value in pairs(event) do heard[key] = value end
    heard.LTime = dc.event_time
    dc.events[dc.event_time], dc.events[dc.event_time - KEPT] = heard, nil
    dc.store:touch("events", dc.store.index)
  end)
  return answer.json(event)
end

-- An index that is another when the last event is another, and that does not rise: digits of its identity.
local function index_of(event)
  if not event then return 1 end
  local plain = event.ID:gsub("-", "")
  local high, low = 0, 0
  for i = 1, 16 do
    local nibble = tonumber(plain:sub(i, i), 16) ~= tonumber(plain:sub(i + 16, i + 16), 16) and 1 or 0
    high, low = (high * 7 + nibble + tonumber(plain:sub(i, i), 16)) % 1e9, (low * 5 + nibble + i) % 1e9
  end
  return ("%d%09d"):format(high + 1, low)
end

local function list(request)
  local name, rows, dc = request.query:get "name", json.array(), request.dc
  local last = dc.denied.event and 0 or dc.event_time or 0
  for time = last - KEPT + 1, last do
    local event = dc.events[time]
    local mine = event and (name == "" or event.Name == name)
    if mine and concerns(request.agent, event) then rows[#rows + 1] = event end
  end
  return answer.read(answer.json(rows), index_of(rows[#rows]), { "events" })
end

return {
  ["/v1/event/fire/"] = { PUT = fire },
  ["/v1/event/list"] = { GET = list, here = true, events = true },
}
