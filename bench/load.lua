-- load: a file with a thousand jobs, read and checked, or with five thousand in a chain; the whole process, beside the
-- same for a file with one job.

local site = require "site"
local supervisors = require "supervisors"
local system = require "system"

local HEAD = 'local pilot = require "luapilot"\n'

local function written_out(count)
  local lines = { HEAD }
  for i = 1, count do
    lines[#lines + 1] = ([[
pilot.job "job-%d" {
  exec    = { "/srv/app/worker", "--number", "%d" },
  env     = { PORT = %d },
  restart = { policy = "always", backoff = "1s" },
  health  = { tcp = "127.0.0.1:%d", interval = "5s" },
}
]]):format(i, i, 8000 + i, 8000 + i)
  end
  return table.concat(lines)
end

local function loop(count)
  return HEAD .. ('for i = 1, %d do pilot.job("job-" .. i) { exec = { "/bin/true" } } end\n'):format(count)
end

-- Each job after the one before: by what it depends on, or by what starts it.
local function chain(count, link)
  return HEAD .. ([[
local last
for i = 1, %d do last = pilot.job("job-" .. i) { exec = { "/bin/true" }, %s } end
]]):format(count, link)
end

local function measure(text)
  return site.use(function(place)
    local file = place:write("pilot.lua", text)
    local begun = system.now()
    local pid = system.spawn { argv = { supervisors.binary, "check", file }, stderr = place:path "stderr" }
    local ended, status = system.wait(pid, site.patience)
    local took = system.now() - begun
    if not ended or status ~= 0 then error "luapilot check fails" end
    return { check = took }
  end)
end

return {
  title = "luapilot check of a file with many jobs",
  figures = { { name = "check", title = "check", unit = "s", against = { "1 job" } } },
  goals = {
    { variant = "1,000 jobs in a loop", figure = "check", at_most = 0.05 },
    { variant = "1,000 jobs written out", figure = "check", at_most = 0.05 },
    { variant = "5,000 jobs, depends_on the one before", figure = "check", at_most = 0.2 },
    { variant = "5,000 jobs, when the one before has ended", figure = "check", at_most = 0.2 },
  },
  rounds = 21,
  variants = function(smoke)
    local many, most = smoke and 10 or 1000, smoke and 20 or 5000
    return {
      { name = "1 job", measure = function() return measure(loop(1)) end },
      { name = "1,000 jobs in a loop", measure = function() return measure(loop(many)) end },
      { name = "1,000 jobs written out", measure = function() return measure(written_out(many)) end },
      {
        name = "5,000 jobs, depends_on the one before",
        measure = function() return measure(chain(most, "depends_on = last and { last } or nil")) end,
      },
      {
        name = "5,000 jobs, when the one before has ended",
        measure = function() return measure(chain(most, 'when = last and last:once "exit_success" or nil')) end,
      },
    }
  end,
}
