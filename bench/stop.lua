-- stop: SIGTERM to the supervisor → nothing of it is left, with jobs that end at once.

local supervisors = require "supervisors"
local system = require "system"

local function measure(name, count)
  return supervisors.run(name, count, {}, function(place)
    place:await(count)
    system.sleep(0.3)
    return { gone = place:stop() }
  end)
end

return {
  title = "SIGTERM → all gone, 100 jobs",
  figures = { { name = "gone", title = "stop", unit = "s", against = { "dinit", "bare", "s6" } } },
  goals = { { variant = "luapilot", figure = "gone", against = "dinit", at_most = 1 } },
  quoted = { gone = { variant = "dinit", against = "bare", ratio = 10.1 / 4.0 } },
  variants = function(smoke)
    local list = {}
    for _, name in ipairs { "bare", "luapilot", "dinit", "s6", "runit", "supervisord" } do
      list[#list + 1] = {
        name = name, skip = supervisors.missing(name), rounds = name == "supervisord" and 3 or nil,
        measure = function() return measure(name, smoke and 5 or 100) end,
      }
    end
    return list
  end,
}
