-- consul: a real agent (build/consul/consul, from tools/consul) and a pilot with watches of keys: from a change to the
-- handler that hears of it, beside a curl that holds the same blocking query; and what a thousand watches cost.
--
-- 25 keys are changed in turn, so that each watch is at rest (watches.lua has those that are not). Pilot and curl take
-- turns too, change by change, in one run. The clock starts when the write is sent, on a connection that is open, and
-- stops when the text has come out of a pipe: of the pilot's log, of curl's output. So both hold the agent's write. All
-- keys exist: of one that does not, Consul answers whatever is written beside it.

local agent = require "agent"
local figures = require "figures"
local json = require "cjson"
local site = require "site"
local supervisors = require "supervisors"
local system = require "system"

local CHANGING = 25
local PACE = 1.1       -- seconds between two changes of a key
local MEMORY = 25e6    -- bytes: the goal for a thousand watches

local PILOT = [[
pilot.consul { address = "127.0.0.1:%d", max_connections = 4000 }
local watches, handlers = %d, %d
for i = watches, 1, -1 do
  local watch = pilot.watch.key("bench/" .. i)
  if i <= handlers then watch:on("changed", function(event) print("heard " .. i .. " " .. event.value) end) end
end
]]

-- --- the keys --------------------------------------------------------------------------------

-- A transaction has up to 64 operations. "MDs=" is "0;".
local function fill(consul, count)
  local operations = {}
  for i = 1, count do
    operations[#operations + 1] = { KV = { Verb = "set", Key = "bench/" .. i, Value = "MDs=" } }
    if #operations == 64 or i == count then
      consul:api("PUT", "txn", json.encode(operations))
      operations = {}
    end
  end
end

-- --- from a change to who hears of it --------------------------------------------------------

local function timed(consul, key, value, hear)
  local begun = system.now()
  consul:ask("PUT", "kv/" .. key, value)
  local done = hear(value)
  local took = system.now() - begun
  assert(consul:answer() == 200, "a write failed")
  if done then done() end
  return took
end

local function summary(times)
  local median, least, most = figures.median(times)
  return { median = median, p99 = figures.quantile(times, 0.99), least = least, most = most }
end

local function take_turns(consul, count, reading)
  local pilot, curl, changed = {}, {}, {}
  for i = 1, count do
    local key = i % CHANGING + 1
    local hear = consul:curl "kv/bench-curl?raw"
    system.sleep((changed[key] or 0) + PACE - system.now())
    local function of_pilot()
      pilot[i] = timed(consul, "bench/" .. key, i .. ";", function(value)
        system.read_until(reading, ("heard %d %s"):format(key, value))
      end)
    end
    local function of_curl() curl[i] = timed(consul, "bench-curl", i .. ";", hear) end
    if i % 2 == 0 then of_pilot() of_curl() else of_curl() of_pilot() end
    changed[key] = system.now()
  end
  return summary(pilot), summary(curl)
end

-- --- a pilot with watches --------------------------------------------------------------------

---@param o { watches: integer, handlers: integer, seconds: number }
---@param fn (fun(consul: bench.Agent, reading: integer): table, table)?    what is measured after the rest
local function with_watches(o, fn)
  return site.use(function(place)
    local consul = agent.start(place)
    fill(consul, o.watches)
    consul:put("bench-curl", "0;")
    local reading, writing = system.pipe()
    place:launch(supervisors.pilot(place, PILOT:format(consul.port, o.watches, o.handlers)), writing)
    system.close(writing)
    system.read_until(reading, "heard 1 0;") -- that is the last one to be declared
    system.sleep(o.seconds / 2)
    local cpu, wakeups = place:sum(system.cpu), place:sum(system.wakeups)
    system.sleep(o.seconds)
    local rest = {
      cpu = place:sum(system.cpu) - cpu, wakeups = place:sum(system.wakeups) - wakeups, memory = place:sum(system.pss),
    }
    local result = fn and fn(consul, reading, rest) or rest
    system.close(reading)
    return result
  end)
end

-- One run serves both: the first of the two that is asked in a round makes it.
local function side_by_side(pilot, curl, count, o)
  local left = {}
  return function(name)
    if not left[name] then
      left = with_watches(o, function(consul, reading, rest)
        local of_pilot, of_curl = take_turns(consul, count, reading)
        for figure, value in pairs(of_pilot) do rest[figure] = value end
        return { [pilot] = rest, [curl] = of_curl }
      end)
    end
    local measured = left[name]
    left[name] = nil
    return measured
  end
end

local function goals()
  local list = {}
  for pilot, curl in pairs { ["25 watches"] = "curl", ["1,000 watches"] = "curl beside 1,000" } do
    for _, figure in ipairs { "median", "p99" } do
      list[#list + 1] = { variant = pilot, figure = figure, against = curl, at_most = 2 }
    end
    list[#list + 1] = { variant = pilot, figure = "cpu", at_most = 0.001 }
  end
  list[#list + 1] = { variant = "1,000 watches", figure = "memory", at_most = MEMORY }
  table.sort(list, function(a, b) return a.variant .. a.figure < b.variant .. b.figure end)
  return list
end

return {
  title = "watches of a Consul agent",
  figures = {
    { name = "median", title = "from a change to who hears of it: the median of a run", unit = "s",
      against = { "curl", "curl beside 1,000" } },
    { name = "p99", title = "the 99th of a hundred", unit = "s", against = { "curl", "curl beside 1,000" } },
    { name = "least", title = "the fastest", unit = "s" },
    { name = "most", title = "the slowest", unit = "s" },
    { name = "cpu", title = "CPU in 30 s without a change", unit = "s" },
    { name = "wakeups", title = "wake-ups in 30 s without a change", unit = "" },
    { name = "memory", title = "Pss", unit = "B" },
  },
  goals = goals(),
  rounds = 3,
  variants = function(smoke)
    local seconds, count, many = smoke and 1 or 30, smoke and 2 or 500, smoke and 30 or 1000
    local few = side_by_side("25 watches", "curl", count,
      { watches = CHANGING, handlers = CHANGING, seconds = seconds })
    local thousand = side_by_side("1,000 watches", "curl beside 1,000", count,
      { watches = many, handlers = CHANGING, seconds = seconds })
    local list = {}
    for _, one in ipairs {
      { "25 watches", few }, { "curl", few }, { "1,000 watches", thousand }, { "curl beside 1,000", thousand },
      { "1,000 watches, a handler each", function()
        return with_watches { watches = many, handlers = many, seconds = seconds }
      end },
    } do
      list[#list + 1] = { name = one[1], skip = agent.missing(), measure = function() return one[2](one[1]) end }
    end
    return list
  end,
}
