-- supervisors: how each of them is told to run the same jobs. Every one gets its leanest usual set-up: no shell, no
-- logger, the job's program itself as the service, and the messages of the supervisor thrown away.

local site = require "site"
local system = require "system"

local JOB = site.built .. "/job"

local supervisors = { dinit_program = "dinit" }

---@class bench.Plan
---@field argv string[]
---@field env table?
---@field signal string?    that ends it, TERM if nil
---@alias bench.Supervisor fun(place: bench.Site, count: integer, options: table): bench.Plan

local PILOT = [[
local pilot = require "luapilot"
pilot.shutdown_timeout "60s"
%s
for i = 1, %d do pilot.job("job-" .. i) { exec = { %q }, restart = %s } end
]]

---@param options { restart: string?, top: string?, program: string? }  restart: a Lua expression; top: lines before it
function supervisors.luapilot(place, count, options)
  local text = PILOT:format(options.top or "", count, options.program or JOB, options.restart or '"never"')
  return { argv = { supervisors.binary, "run", place:write("pilot.lua", text) } }
end

---A pilot.lua of one's own.
function supervisors.pilot(place, text)
  local file = place:write("pilot.lua", 'local pilot = require "luapilot"\n' .. text)
  return { argv = { supervisors.binary, "run", file } }
end

function supervisors.bare(_, count, options)
  local argv = { site.built .. "/bare" }
  if options.restart then argv[2] = "-r" end
  argv[#argv + 1] = count
  argv[#argv + 1] = options.program or JOB
  for i, word in ipairs(argv) do argv[i] = tostring(word) end
  return { argv = argv }
end

-- Those that run one program and nothing else.
supervisors["bare exec"] = function() return { argv = { JOB } } end
supervisors.tini = function() return { argv = { "tini", "-s", "--", JOB } } end
supervisors["dumb-init"] = function() return { argv = { "dumb-init", "--", JOB } } end

local function services(place, count)
  local script = ([[
    cd '%s' && mkdir services && cd services &&
    seq 1 %d | sed 's/^/job-/' | xargs mkdir && for d in *; do ln -s '%s' "$d/run"; done
  ]]):format(place.directory, count, JOB)
  assert(os.execute(script) == 0)
  return place:path "services"
end

supervisors["s6-supervise"] = function(place)
  return { argv = { "s6-supervise", services(place, 1) .. "/job-1" } }
end

supervisors.runsv = function(place) return { argv = { "runsv", services(place, 1) .. "/job-1" } } end

function supervisors.s6(place, count)
  return { argv = { "s6-svscan", "-c", tostring(count + 10), services(place, count) } }
end

function supervisors.runit(place, count)
  return { argv = { "runsvdir", services(place, count) }, signal = "HUP" }
end

-- Its delay between restarts (0.2 s) and their limit (3 in 10 s) can be turned off, so they are. The jobs are named on
-- its command line: no service stands around them. It is a user's instance, whose log goes nowhere.
local DINIT = [[
type = process
command = %s
restart = %s
smooth-recovery = %s
restart-delay = 0
restart-limit-count = 0
]]

---@param options { restart: string?, program: string? }
function supervisors.dinit(place, count, options)
  local restart = options.restart and "true" or "false"
  assert(os.execute(("mkdir '%s'"):format(place:path "services")) == 0)
  local argv = {
    supervisors.dinit_program, "--user", "--container", "--quiet", "--log-file", "/dev/null",
    "--services-dir", place:path "services",
    "--socket-path", place:path "socket":match "build/bench/.*", -- its address has room for 107 bytes
  }
  local text = DINIT:format(options.program or JOB, restart, restart)
  for i = 1, count do
    place:write("services/job-" .. i, text)
    argv[#argv + 1] = "job-" .. i
  end
  return { argv = argv }
end

local SUPERVISORD = [[
[supervisord]
nodaemon = true
logfile = /dev/null
logfile_maxbytes = 0
pidfile = %s/pid
minfds = %d
minprocs = 20
[program:job]
command = %s
process_name = job-%%(process_num)d
numprocs = %d
startsecs = 0
autorestart = %s
stdout_logfile = %s
stderr_logfile = NONE
stdout_logfile_maxbytes = 0
]]

---@param options { restart: string?, program: string?, output: string? }
function supervisors.supervisord(place, count, options)
  local text = SUPERVISORD:format(place.directory, 3 * count + 100, options.program or JOB, count,
    options.restart and "true" or "false", options.output or "NONE")
  return { argv = { "supervisord", "-n", "-s", "-c", place:write("supervisord.conf", text) } }
end

-- The program that has to be there.
local NEEDS = {
  tini = "tini", ["dumb-init"] = "dumb-init", ["s6-supervise"] = "s6-supervise", s6 = "s6-svscan",
  ["s6-log"] = "s6-log", runit = "runsvdir", runsv = "runsv", supervisord = "supervisord",
}

---Why it cannot be measured here; nil: it can.
function supervisors.missing(name)
  local program = name == "dinit" and supervisors.dinit_program or NEEDS[name]
  return program and not system.has(program) and program .. " is not installed" or nil
end

---Launches supervisor `name` with `count` jobs, calls fn(place) and cleans up.
---@param name string
---@param count integer
---@param options table
---@param fn fun(place: bench.Site): any
function supervisors.run(name, count, options, fn)
  return site.use(function(place)
    local plan = supervisors[name](place, count, options)
    plan.env = options.env
    place:launch(plan)
    return fn(place)
  end)
end

return supervisors
