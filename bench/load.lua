-- load: a file with a thousand jobs, read and checked; the whole process, less the same for a file with one job.

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
  title = "luapilot check of a file with 1,000 jobs",
  figures = { { name = "check", title = "check", unit = "s", against = { "1 job" } } },
  goals = {
    { variant = "1,000 jobs in a loop", figure = "check", at_most = 0.05 },
    { variant = "1,000 jobs written out", figure = "check", at_most = 0.05 },
  },
  rounds = 21,
  variants = function(smoke)
    local many = smoke and 10 or 1000
    return {
      { name = "1 job", measure = function() return measure(loop(1)) end },
      { name = "1,000 jobs in a loop", measure = function() return measure(loop(many)) end },
      { name = "1,000 jobs written out", measure = function() return measure(written_out(many)) end },
    }
  end,
}
