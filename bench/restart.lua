-- restart: a job that crashes at once, restarted without delay. The limit is `bare`, which does the same in C and
-- nothing else. dinit's delay is turned off; s6, runit and supervisord wait a second by design, whatever is asked.

local figures = require "figures"
local supervisors = require "supervisors"
local system = require "system"

local function measure(name, starts, options)
  options.env = { STAMP_CRASHES = starts + 1 } -- the exec of the supervisor is the first
  return supervisors.run(name, 1, options, function(place)
    place:await(starts)
    local begun = place:stamps()
    if #begun < 3 then return {} end
    local pauses = {}
    for i = 3, #begun do pauses[#pauses + 1] = begun[i] - begun[i - 1] end
    return {
      rate = (#begun - 2) / (begun[#begun] - begun[2]),
      pause = (figures.median(pauses)),
      cpu = place:sum(system.cpu) / (#begun - 1),
    }
  end)
end

local ALWAYS = '{ policy = "always", backoff = 0 }'

return {
  title = "crash → restart without delay",
  figures = {
    { name = "rate", title = "restarts", unit = "/s", against = { "bare", "dinit" } },
    { name = "pause", title = "start → next start (median)", unit = "s", against = { "bare", "dinit" } },
    { name = "cpu", title = "the supervisor's CPU for each", unit = "s", against = { "bare", "dinit" } },
  },
  goals = { { variant = "luapilot", figure = "rate", against = "bare", at_least = 0.55 } },
  quoted = { rate = { variant = "dinit", against = "bare", ratio = 1823 / 5309 } },
  variants = function(smoke)
    local many, few = smoke and 100 or 5000, smoke and 1 or 4
    local list = {
      { name = "bare", measure = function() return measure("bare", many, { restart = ALWAYS }) end },
      { name = "luapilot", measure = function() return measure("luapilot", many, { restart = ALWAYS }) end },
      {
        name = "luapilot, warnings only",
        measure = function()
          return measure("luapilot", many, { restart = ALWAYS, top = 'pilot.logging { level = "warn" }' })
        end,
      },
    }
    list[#list + 1] = {
      name = "dinit", skip = supervisors.missing "dinit",
      measure = function() return measure("dinit", many, { restart = ALWAYS }) end,
    }
    for _, name in ipairs { "s6", "runit", "supervisord" } do
      list[#list + 1] = {
        name = name, skip = supervisors.missing(name), rounds = 3,
        measure = function() return measure(name, few, { restart = ALWAYS }) end,
      }
    end
    return list
  end,
}
