-- watches: a key or a service that changes again and again, at several rates: how late a pilot's handler hears of each
-- change, beside a poller that holds the same blocking query and is limited by nothing.
--
-- Both run at the same time, in one run, and hear the same changes. A change has been heard by the first answer that
-- shows it or a later one. Its time begins when the write is sent; pilot and poller write down when they had it, before
-- they print. How far the pilot is behind is the difference of the two, change by change: what the agent takes is in
-- both. The agent is a real one: build/consul/consul, from tools/consul.

local agent = require "agent"
local figures = require "figures"
local site = require "site"
local supervisors = require "supervisors"
local system = require "system"

local RATES = { 1, 2, 5, 10, 50 }
local LONG, LEAST = 10, 20 -- seconds of changes, and how many there are at least
local PACED = 10           -- of a watch: changes a second that it tells when they happen
local FIRST = 1000         -- number of the first change; what was there before is 999

local PILOT = [[
pilot.consul "127.0.0.1:%d"
local function heard(number) print(("heard %%d %%.6f"):format(number, pilot.now())) end
]]

local kinds = {
  key = {
    path = "kv/bench?raw", watch = 'pilot.watch.key "bench":on("changed", function(event) heard(event.value) end)',
    change = function(consul, number) consul:put("bench", tostring(number)) end,
  },
  service = {
    path = "health/service/bench?passing",
    watch = 'pilot.watch "bench":on("changed", function(event) heard(event.instances[1].port) end)',
    change = function(consul, number)
      consul:api("PUT", "catalog/register", {
        Node = "elsewhere", Address = "127.0.0.2", SkipNodeUpdate = number >= FIRST,
        Service = { ID = "bench", Service = "bench", Port = number },
      })
    end,
  },
}

-- --- what was heard --------------------------------------------------------------------------

local function read(place, name)
  local list = {}
  for number, at in (place:read(name) or ""):gmatch "heard (%d+) (%S+)\n" do
    list[#list + 1] = { number = tonumber(number), at = tonumber(at) }
  end
  return list
end

local function await(place, name, number)
  system.eventually(name .. " to hear", site.patience, function()
    local list = read(place, name)
    if list[1] and list[#list].number >= number then return list end
    system.sleep(0.01)
  end)
end

-- How late each change was heard; when it was written is in order.
local function lateness(written, list)
  local late, i = {}, 1
  for n, at in ipairs(written) do
    while list[i].number < FIRST + n - 1 do i = i + 1 end
    late[n] = list[i].at - at
  end
  return late
end

local function mean_of(list)
  local sum = 0
  for _, value in ipairs(list) do sum = sum + value end
  return sum / #list
end

-- What is told of both: lists of how late each change was heard.
local function compare(pilot, poller)
  local behind = {}
  for i, late in ipairs(pilot) do behind[i] = late - poller[i] end
  local both = {}
  for name, late in pairs { pilot = pilot, poller = poller } do
    both[name] = { mean = mean_of(late), p99 = figures.quantile(late, 0.99) }
  end
  both.pilot.ratio, both.pilot.ratio99 = both.pilot.mean / both.poller.mean, both.pilot.p99 / both.poller.p99
  both.pilot.behind = figures.quantile(behind, 0.99)
  return both
end

-- --- one run ---------------------------------------------------------------------------------

local function change(consul, kind, rate, count)
  local written, begun = {}, system.now()
  for i = 0, count - 1 do
    system.sleep(begun + i / rate - system.now())
    written[i + 1] = system.epoch()
    kind.change(consul, FIRST + i)
  end
  return written
end

local function side_by_side(kind, rate, count, rest)
  return site.use(function(place)
    local consul = agent.start(place)
    kind.change(consul, FIRST - 1)
    place:launch(supervisors.pilot(place, PILOT:format(consul.port) .. kind.watch), place:path "pilot")
    place:beside {
      argv = { "luajit", "bench/support/poller.lua", tostring(consul.port), kind.path }, stdout = place:path "poller",
    }
    for _, name in ipairs { "pilot", "poller" } do await(place, name, FIRST - 1) end
    system.sleep(rest) -- a pilot that has just begun may ask more often than one at work
    local written, last, late = change(consul, kind, rate, count), FIRST + count - 1, {}
    for _, name in ipairs { "pilot", "poller" } do
      await(place, name, last)
      late[name] = lateness(written, read(place, name))
    end
    return compare(late.pilot, late.poller)
  end)
end

-- One run serves both, and a row is named after what it is of: "key, 5/s" and "key, 5/s: poller".
local function variants_of(name, rate, smoke)
  local title, left = ("%s, %d/s"):format(name, rate), {}
  local function measure(who)
    if not left[who] then
      left = side_by_side(kinds[name], rate, smoke and 2 or math.max(LEAST, rate * LONG), smoke and 0 or 2.5)
    end
    local measured = left[who]
    left[who] = nil
    return measured
  end
  return { name = title, skip = agent.missing(), measure = function() return measure "pilot" end },
    { name = title .. ": poller", skip = agent.missing(), measure = function() return measure "poller" end }
end

local function each(fn)
  for _, name in ipairs { "key", "service" } do
    for _, rate in ipairs(RATES) do fn(name, rate) end
  end
end

local function goals()
  local list = {}
  each(function(name, rate)
    local variant = ("%s, %d/s"):format(name, rate)
    local paced = rate > PACED -- told ten times a second, and as it is then
    list[#list + 1] = paced and { variant = variant, figure = "behind", at_most = 0.1 }
      or { variant = variant, figure = "ratio", at_most = rate < PACED and 1.5 or 2 }
  end)
  return list
end

return {
  title = "watches of what changes fast",
  figures = {
    { name = "mean", title = "from a change to who hears of it: the mean of a run", unit = "s" },
    { name = "p99", title = "the 99th of a hundred", unit = "s" },
    { name = "ratio", title = "mean ÷ the poller's of the same run", unit = "" },
    { name = "behind", title = "behind the poller, change by change: the 99th of a hundred", unit = "s" },
    { name = "ratio99", title = "99th ÷ the poller's of the same run", unit = "" },
  },
  goals = goals(),
  rounds = 3,
  variants = function(smoke)
    local list = {}
    each(function(name, rate)
      local pilot, poller = variants_of(name, rate, smoke)
      list[#list + 1] = pilot
      list[#list + 1] = poller
    end)
    return list
  end,
}
