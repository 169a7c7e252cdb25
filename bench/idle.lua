-- idle: what a hundred jobs cost that do nothing, over 30 s. All supervisors rest at the same time: none of them
-- disturbs another.

local site = require "site"
local supervisors = require "supervisors"
local system = require "system"

local NAMES = { "luapilot", "dinit", "s6", "runit", "supervisord" }

local places = {} -- name → its site, while all are up

local function up(count)
  for _, name in ipairs(NAMES) do
    if not supervisors.missing(name) then
      local place = site.new()
      places[name] = place
      place:launch(supervisors[name](place, count, {}))
      place:await(count)
    end
  end
end

-- The site of one of them cannot be closed while others are needed: `close` ends every descendant of ours.
local function down()
  for _, place in pairs(places) do place:stop() end
  for _, place in pairs(places) do place:close() end
  places = {}
end

local function figures_of(place)
  return place:sum(system.cpu), place:sum(system.wakeups)
end

-- All of them at once; the results wait for their turn.
local function measure_all(count, seconds)
  up(count)
  system.sleep(seconds / 10)
  local before, results = {}, {}
  for name, place in pairs(places) do before[name] = { figures_of(place) } end
  system.sleep(seconds)
  for name, place in pairs(places) do
    local cpu, wakeups = figures_of(place)
    results[name] = { cpu = cpu - before[name][1], wakeups = wakeups - before[name][2] }
  end
  down()
  return results
end

return {
  title = "100 idle jobs, 30 s",
  figures = {
    { name = "cpu", title = "CPU", unit = "s" },
    { name = "wakeups", title = "wake-ups of all its processes", unit = "" },
  },
  goals = { { variant = "luapilot", figure = "wakeups", at_most = 20 } }, -- the heartbeat's, not the jobs'
  rounds = 3,
  variants = function(smoke)
    local list, results = {}, {}
    for _, name in ipairs(NAMES) do
      list[#list + 1] = {
        name = name, skip = supervisors.missing(name),
        measure = function()
          if not results[name] then results = measure_all(smoke and 5 or 100, smoke and 1 or 30) end
          local result = results[name]
          results[name] = nil
          return result
        end,
      }
    end
    return list
  end,
}
