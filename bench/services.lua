-- services: one pilot that registers a thousand services with a real agent: until the agent has all of them, beside the
-- same requests one after the other on one connection; and what keeping them alive takes, in requests a second (as the
-- agent counts them) and CPU. Each job is without checks, so its TTL is 30 s, and two renewals in that are 67 requests
-- a second: the fewest with which one may be lost.

local agent = require "agent"
local json = require "cjson"
local site = require "site"
local supervisors = require "supervisors"
local system = require "system"

local TTL = 30

local PILOT = [[
pilot.consul "127.0.0.1:%d"
for i = 1, %d do
  pilot.job("job-" .. i) { service = { port = 80, interfaces = "static:127.0.0.1" } }
end
]]

local function registered(consul)
  local _, count = consul:api("GET", "agent/services"):gsub('"EnableTagOverride"', "")
  return count
end

-- --- what the agent counts -------------------------------------------------------------------

-- In intervals of 10 s, of which it tells the last one that is over, and when that began.
local function interval(consul)
  local metrics = json.decode((consul:api("GET", "agent/metrics")))
  local count = 0
  for _, sample in ipairs(metrics.Samples) do
    if sample.Name:find "^consul%.http%." and not sample.Name:find "metrics" then count = count + sample.Count end
  end
  return metrics.Timestamp, count
end

-- Requests a second over whole intervals, those that began after now.
local function requests(consul, seconds)
  local last, total, seen = interval(consul), 0, -1 -- the next one has begun already
  while seen < math.max(1, seconds / 10) do
    system.sleep(0.5)
    local begun, count = interval(consul)
    if begun ~= last then
      last, seen = begun, seen + 1
      if seen > 0 then total = total + count end
    end
  end
  return total / (10 * seen)
end

-- --- the two sides ---------------------------------------------------------------------------

local function of_pilot(count, seconds)
  return site.use(function(place)
    local consul = agent.start(place)
    local begun = system.now()
    place:launch(supervisors.pilot(place, PILOT:format(consul.port, count)))
    system.eventually(count .. " services", site.patience, function()
      system.sleep(0.05) -- the list is long: it must not be what keeps the agent busy
      return registered(consul) == count
    end)
    local result = { registering = system.now() - begun }
    system.sleep(seconds / 4)
    local cpu, at = place:sum(system.cpu), system.now()
    result.requests = requests(consul, seconds)
    result.cpu = (place:sum(system.cpu) - cpu) / (system.now() - at)
    result.memory = place:sum(system.pss)
    return result
  end)
end

local function one_by_one(count)
  return site.use(function(place)
    local consul = agent.start(place)
    local begun = system.now()
    for i = 1, count do
      local id = "job-" .. i
      consul:api("PUT", "agent/service/register", { ID = id, Name = id, Port = 80, Address = "127.0.0.1",
        Check = { CheckID = "service:" .. id, Name = "luapilot", TTL = TTL .. "s", Status = "passing" } })
    end
    return { registering = system.now() - begun }
  end)
end

return {
  title = "a thousand services of one pilot, in a Consul agent",
  figures = {
    { name = "registering", title = "until all are registered", unit = "s", against = { "one by one" } },
    { name = "requests", title = "requests at rest", unit = "/s" },
    { name = "cpu", title = "CPU in a second of rest", unit = "s" },
    { name = "memory", title = "Pss", unit = "B" },
  },
  goals = {
    { variant = "luapilot", figure = "registering", against = "one by one", at_most = 2 },
    { variant = "luapilot", figure = "requests", at_most = 75 },
  },
  rounds = 3,
  variants = function(smoke)
    local count, seconds = smoke and 20 or 1000, smoke and 1 or 150 -- five TTLs: renewals come in bunches
    return {
      { name = "luapilot", skip = agent.missing(), measure = function() return of_pilot(count, seconds) end },
      { name = "one by one", skip = agent.missing(), measure = function() return one_by_one(count) end },
    }
  end,
}
