-- memory: PSS of all processes of the supervisor, guardian included and jobs not, with idle jobs.

local supervisors = require "supervisors"
local system = require "system"

local NAMES = { "luapilot", "dinit", "s6", "runit", "supervisord" }

local function measure(name, count)
  return supervisors.run(name, count, {}, function(place)
    place:await(count)
    system.sleep(0.5)
    local pss = place:sum(system.pss)
    return { ["pss" .. count] = pss, ["job" .. count] = pss / count }
  end)
end

return {
  title = "PSS of the supervisor, guardian included, with idle jobs",
  figures = {
    { name = "pss1", title = "1 job", unit = "B", against = { "dinit", "s6", "runit" } },
    { name = "pss100", title = "100 jobs", unit = "B", against = { "dinit", "s6", "runit" } },
    { name = "pss1000", title = "1,000 jobs", unit = "B", against = { "dinit", "s6", "runit", "supervisord" } },
  },
  goals = {
    { variant = "luapilot", figure = "pss1", at_most = 2 * 1024 ^ 2 },
    { variant = "luapilot", figure = "pss100", at_most = 3 * 1024 ^ 2 },
    { variant = "luapilot", figure = "pss1000", at_most = 4 * 1024 ^ 2 },
  },
  quoted = {
    pss1 = { variant = "dinit", value = 2.0 * 1024 ^ 2 },
    pss100 = { variant = "dinit", value = 2.2 * 1024 ^ 2 },
    pss1000 = { variant = "dinit", value = 3.9 * 1024 ^ 2 },
  },
  rounds = 3, -- it hardly varies
  variants = function(smoke)
    local list = {}
    for _, name in ipairs(NAMES) do
      list[#list + 1] = {
        name = name, skip = supervisors.missing(name),
        measure = function()
          local measured = {}
          for _, count in ipairs(smoke and { 1 } or { 1, 100, 1000 }) do
            for figure, value in pairs(measure(name, count)) do measured[figure] = value end
          end
          return measured
        end,
      }
    end
    return list
  end,
}
