-- burst: a job writes 100,000 lines as fast as it can, and a handler of its `output` counts them: how many of them it
-- hears, and how many in a second. One job rests when it has written, another one ends.
--
-- The writer is faster than any handler, so that the queue fills (1,000 lines) and the job is held up; `bare pipe` of
-- `lines` is what the same writer reaches when nobody holds it up.

local site = require "site"
local supervisors = require "supervisors"
local system = require "system"

local PILOT = [[
local heard, first, last, told = 0, nil, nil, 0
pilot.job "burst" { exec = { %q, "%d", "65536"%s } }:on("output", function()
  heard, last = heard + 1, pilot.now()
  first = first or last
end)
pilot.every("100ms", function()
  if heard == told then return end
  told = heard
  pilot.fs.write(%q, ("%%d %%.6f\n"):format(heard, last - first))
end)
pilot.on("SIGUSR2", function() end) -- it goes on when the job has ended
]]

local QUIET = 2 -- seconds without a line: there are no more

-- What the pilot has told, when that is every line or does not change any more.
local function all_of(place, lines)
  local told, since
  return system.eventually("the lines", site.patience, function()
    system.sleep(0.05)
    local text = place:read "heard" or ""
    if text ~= told then told, since = text, system.now() end
    local heard, took = text:match "(%d+) (%S+)\n"
    if heard and (tonumber(heard) >= lines or system.now() - since > QUIET) then
      return { heard = tonumber(heard), took = tonumber(took) }
    end
  end)
end

local function measure(lines, how)
  return site.use(function(place)
    place:launch(supervisors.pilot(place, PILOT:format(site.built .. "/writer", lines, how, place:path "heard")))
    local all = all_of(place, lines)
    return { heard = all.heard / lines, rate = all.heard / all.took, cpu = place:sum(system.cpu) / all.heard }
  end)
end

return {
  title = "100,000 lines at once to an output handler",
  figures = {
    { name = "heard", title = "heard ÷ written", unit = "" },
    { name = "rate", title = "lines heard", unit = "/s" },
    { name = "cpu", title = "CPU for each", unit = "s" },
  },
  goals = {
    { variant = "a job that rests", figure = "heard", at_least = 1 },
    { variant = "a job that ends", figure = "heard", at_least = 1 },
  },
  variants = function(smoke)
    local lines = smoke and 5000 or 100000
    return {
      { name = "a job that rests", measure = function() return measure(lines, "") end },
      { name = "a job that ends", measure = function() return measure(lines, ', "end"') end },
    }
  end,
}
