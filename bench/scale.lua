-- scale: ten times the jobs, ten times the cost? Start, rest, a crash of all at once, and stop, each for one job.
-- `bare` shows what the kernel itself takes for so many processes.

local supervisors = require "supervisors"
local system = require "system"

local RESTART = '{ policy = "always", backoff = 0 }'

local function crash_all(place, count)
  local _, pids = place:stamps()
  local begun = system.now()
  for i = 2, count + 1 do system.kill(pids[i], "KILL") end
  place:await(2 * count)
  local starts = place:stamps()
  return starts[#starts] - begun
end

local function measure(name, count, seconds)
  return supervisors.run(name, count, { restart = RESTART }, function(place)
    place:await(count)
    local starts = place:stamps()
    system.sleep(math.min(1, seconds))
    local cpu, pss = place:sum(system.cpu), place:sum(system.pss)
    system.sleep(seconds)
    local rest = place:sum(system.cpu) - cpu
    return {
      start = (starts[#starts] - starts[1]) / count, pss = pss / count, rest = rest / count,
      restart = crash_all(place, count) / count, stop = place:stop() / count,
    }
  end)
end

local goals = {}
for _, figure in ipairs { "start", "pss", "restart", "stop" } do
  goals[#goals + 1] = {
    variant = "luapilot, 5000", figure = figure, against = "luapilot, 1000", at_most = 1.25,
  }
end

return {
  title = "ten times the jobs: the cost of each",
  figures = {
    { name = "start", title = "start, a job", unit = "s", against = { "luapilot, 1000", "bare, 1000", "dinit, 1000" } },
    { name = "pss", title = "PSS, a job", unit = "B", against = { "luapilot, 1000", "bare, 1000", "dinit, 1000" } },
    { name = "rest", title = "CPU of 10 s at rest, a job", unit = "s" },
    { name = "restart", title = "all crash at once → restarted, a job", unit = "s",
      against = { "luapilot, 1000", "bare, 1000", "dinit, 1000" } },
    { name = "stop", title = "stop, a job", unit = "s", against = { "luapilot, 1000", "bare, 1000", "dinit, 1000" } },
  },
  goals = goals,
  rounds = 7,
  variants = function(smoke)
    local list = {}
    for _, name in ipairs { "bare", "luapilot", "dinit" } do
      for _, count in ipairs(smoke and { 5, 20 } or { 100, 1000, 5000 }) do
        list[#list + 1] = {
          name = ("%s, %d"):format(name, count), skip = supervisors.missing(name),
          rounds = name == "dinit" and 3 or nil,
          measure = function() return measure(name, count, smoke and 0.2 or 10) end,
        }
      end
    end
    return list
  end,
}
