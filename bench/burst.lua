-- burst: a job writes 100,000 lines as fast as it can, and a handler of its `output` counts them: how many of them it
-- hears, and how many in a second. One job rests when it has written, another one ends.
--
-- The writer is faster than any handler, so that the queue fills (1,000 lines) and the job is held up; `bare pipe` of
-- `lines` is what the same writer reaches when nobody holds it up. What a full queue drops is its oldest, so that the
-- last line, which looks otherwise, is heard whatever is lost.

local site = require "site"
local supervisors = require "supervisors"
local system = require "system"

local PILOT = [[
local heard, first = 0, nil
pilot.job "burst" { exec = { %q, "%d", "65536"%s } }:on("output", function(event)
  first, heard = first or pilot.now(), heard + 1
  if event.line:byte() == 46 then pilot.fs.write(%q, ("%%d %%.6f\n"):format(heard, pilot.now() - first)) end
end)
pilot.on("SIGUSR2", function() end) -- it goes on when the job has ended
]]

local function measure(lines, how)
  return site.use(function(place)
    place:launch(supervisors.pilot(place, PILOT:format(site.built .. "/writer", lines, how, place:path "heard")))
    local heard, took = system.eventually("the last line", site.patience, function()
      return (place:read "heard" or ""):match ".*\n"
    end):match "(%d+) (%S+)"
    heard = tonumber(heard)
    return { heard = heard / lines, rate = heard / tonumber(took), cpu = place:sum(system.cpu) / heard }
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
