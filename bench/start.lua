-- start: from the exec of the supervisor to the first instruction of its first job.

local supervisors = require "supervisors"
local system = require "system"

local NAMES = { "bare exec", "bare", "tini", "dumb-init", "s6-supervise", "runsv", "dinit", "luapilot", "supervisord" }

local function measure(name)
  return supervisors.run(name, 1, {}, function(place)
    place:await(1)
    local begun = place:stamps()
    system.sleep(0.02) -- its own start is over, too
    return { first = begun[2] - begun[1] }
  end)
end

return {
  title = "exec of the supervisor → first instruction of the first job",
  figures = { { name = "first", title = "start", unit = "s", against = { "dinit", "tini", "s6-supervise", "bare" } } },
  goals = { { variant = "luapilot", figure = "first", against = "dinit", at_most = 1 } },
  quoted = { first = { variant = "dinit", against = "tini", ratio = 2.43 / 0.89 } },
  rounds = 21,
  variants = function()
    local list = {}
    for _, name in ipairs(NAMES) do
      list[#list + 1] = {
        name = name, skip = supervisors.missing(name), rounds = name == "supervisord" and 7 or nil,
        measure = function() return measure(name) end,
      }
    end
    return list
  end,
}
