-- core: what the Lua core costs, on the processor: an event until its handler has run; a task that is made and
-- runs, with and without somebody who waits for it; a sleep of nothing; a line of a job until its handler has run
-- (the reading and the log line included).

local site = require "site"
local supervisors = require "supervisors"
local system = require "system"

local TASKS = [[
pilot.job "bench" { main = true, run = function()
  local n, file = %d, %q
  local begun = os.clock()
  for _ = 1, n / 100 do
    for _ = 1, 99 do pilot.spawn(function() end) end
    pilot.spawn(function() end):wait()
  end
  local spawned = os.clock()
  for _ = 1, n do pilot.spawn(function() end):wait() end
  local waited = os.clock()
  for _ = 1, n do pilot.sleep(0) end
  local slept = os.clock()
  pilot.fs.write(file, ("%%.12f %%.12f %%.12f\n"):format(
    (spawned - begun) / n, (waited - spawned) / n, (slept - waited) / n))
end }
]]

local function measure_tasks(count)
  return site.use(function(place)
    place:launch(supervisors.pilot(place, TASKS:format(count, place:path "took")))
    local spawned, waited, slept = system.eventually("the tasks", site.patience, function()
      return place:read "took"
    end):match "(%S+) (%S+) (%S+)"
    return { spawn = tonumber(spawned), wait = tonumber(waited), sleep = tonumber(slept) }
  end)
end

-- The queue of a handler is bounded (1,000 events), and a writer may be faster than the handler: so a portion that fits
-- is written at a time, and the next one when it has been handled.
local PORTION = 500
local LINES = [[
local n, portion, seen, begun, spent = %d, %d, 0, 0, 0
local job = pilot.job "bench" { exec = { %q, "%d", "65536" }, when = "manual" }
local function next_portion()
  job:restart()
  begun = os.clock()
end
job:on("output", { when_busy = "queue" }, function()
  seen = seen + 1
  if seen %% portion > 0 then return end
  spent = spent + os.clock() - begun
  if seen < n then pilot.spawn(next_portion) else pilot.fs.write(%q, ("%%.12f\n"):format(spent / n)) end
end)
pilot.spawn(next_portion)
]]

local function measure_lines(count)
  return site.use(function(place)
    local file = place:path "took"
    place:launch(supervisors.pilot(place, LINES:format(count, PORTION, site.built .. "/writer", PORTION, file)))
    local took = system.eventually("the lines", site.patience, function() return place:read "took" end)
    return { line = tonumber(took) }
  end)
end

local function measure_events(count)
  local took = system.line(("luajit -joff bench/support/turns.lua %d"):format(count))
  return { event = assert(tonumber(took), "bench/support/turns.lua fails") }
end

return {
  title = "the Lua core, on the processor",
  figures = {
    { name = "event", title = "event → handler", unit = "s" },
    { name = "spawn", title = "task: spawn, switch to it, end", unit = "s" },
    { name = "wait", title = "task: spawn and wait for its end", unit = "s" },
    { name = "sleep", title = "pilot.sleep(0)", unit = "s" },
    { name = "line", title = "line of a job → handler", unit = "s" },
  },
  goals = {
    { variant = "events", figure = "event", at_most = 5e-6 },
    { variant = "tasks", figure = "spawn", at_most = 3e-6 },
  },
  variants = function(smoke)
    local count = smoke and 1000 or 200000
    return {
      { name = "events", measure = function() return measure_events(count) end },
      { name = "tasks", measure = function() return measure_tasks(count) end },
      { name = "lines", measure = function() return measure_lines(smoke and 1000 or 100000) end },
    }
  end,
}
