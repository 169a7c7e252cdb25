-- jobs: those of a soak. Each has a name, a part of the actor's to play, and what must become of it when the storm is
-- over:
--
--   up        it runs                    healthy   and its checks pass
--   ends      it goes on ending          any       whatever its triggers make of it
--
-- It owns the counts of what the jobs' events said.

local pilot = require "luapilot"
local place = require "place"

local jobs = {
  list = {}, -- { name, expect, object }, in the order of their slots
  by_name = {},
}

local AGAIN = { policy = "always", backoff = "50ms", max_backoff = "500ms", reset_after = "2s" }
local SERVER, SERVER_PORT, TCP_PORT, SECOND_PORT = "http://127.0.0.1:8001", 8001, 8002, 8003

jobs.server = SERVER

local function listen(job)
  local object = job.object
  local function ended() job.ends = job.ends + 1 end
  object:on("exit_success", ended)
  object:on("exit_failed", ended)
  object:on("stopping", function() job.stopping = true end)
  object:on("stopped", function() job.stopping = false end)
end

-- `part` is what follows the actor's name on its command line; a job of Lua has none.
local function add(name, expect, part, fields)
  fields = fields or {}
  local job = { name = name, expect = expect, ends = 0, stopping = false, by_hand = fields.when == "manual" }
  jobs.list[#jobs.list + 1], jobs.by_name[name] = job, job
  if part then
    fields.exec = { place.actor, place.state .. "/states", tostring(#jobs.list), name }
    for word in part:gmatch "%S+" do table.insert(fields.exec, word) end
  end
  if fields.restart == nil and fields.when == nil then fields.restart = AGAIN end
  fields.stop_timeout = fields.stop_timeout or "2s"
  job.object = pilot.job(name)(fields)
  listen(job)
  return job.object
end

local function disk(name) return place.disk .. "/" .. name end

-- --- those that run --------------------------------------------------------------------------------

add("main", "up", "steady", { main = true })
for i = 1, 3 do add("steady-" .. i, "up", "steady 300") end
add("other-user", "up", "steady", { user = place.root and "nobody" or nil, umask = "077", no_new_privs = true })
add("bare", "up", "steady", { env_clear = true, limits = { nofile = 16, core = 0 }, cwd = "/", oom_score_adj = 100 })
add("slow", "up", "slow 300", { stop_timeout = "1s" })
add("too-slow", "up", "slow 5000", { stop_timeout = "500ms" })
add("deaf", "up", "deaf", { stop_timeout = "400ms" })
add("deaf-child", "up", "deaf-child", { stop_timeout = "400ms" })
add("stdin", "up", "stdin")
add("silent", "up", "silent")
add("strays", "up", "strays 800")
add("orphans", "up", "orphans 40 1500")
add("forker", "up", "forker 100")
add("spin", place.cgroups and "up" or "ends", "spin",
  place.cgroups and { cgroup = { cpu_max = 0.02 } } or { limits = { cpu = 1 } })
for i = 1, 2 do add("manual-" .. i, "up", "slow 50", { when = "manual", restart = AGAIN, reload = "SIGURG" }) end

-- --- those that write ------------------------------------------------------------------------------

add("seq-out", "up", "seq 40 1")
add("seq-err", "up", "seq 40 2")
add("seq-heard", "up", "seq 60 1")
add("seq-file", "up", "seq 25 1", { log = { file = disk "seq.log" } })
add("burst-text", "up", "burst text 400")
add("burst-binary", "up", "burst binary 600")
add("burst-long", "up", "burst long 1500")
add("burst-parts", "up", "burst parts 800")
add("burst-disk", "up", "burst text 2000", { log = { file = disk "burst.log", level = "warn" } })
add("raw", "up", "burst text 3000", { log = { mode = "raw", file = disk "raw.log" } })

-- --- those that are checked ------------------------------------------------------------------------

local function soon(check)
  check.interval, check.timeout = check.interval or "500ms", check.timeout or "400ms"
  return check
end

local web = add("web", "healthy", ("serve %d 100"):format(SERVER_PORT), {
  health = soon { http = SERVER .. "/ok", restart_after = 8 },
  service = { port = SERVER_PORT, interfaces = "static:127.0.0.1" },
})
add("tcp", "healthy", ("serve %d 300"):format(TCP_PORT), {
  health = soon { tcp = "127.0.0.1:" .. TCP_PORT, fall = 2, rise = 2 }, drain = "100ms",
  service = { port = TCP_PORT, interfaces = "static:127.0.0.1", initial_status = "warning" },
})
add("checked", "healthy", "steady", { health = soon { exec = place.extra("check", 15), fall = 4, restart_after = 8 } })
add("notifies", "healthy", "notify 200", { health = { notify = true, interval = "1s", restart_after = 4 } })
add("many-checks", "healthy", ("serve %d"):format(SECOND_PORT), {
  health = {
    soon { tcp = "127.0.0.1:" .. SECOND_PORT },
    -- One that a storm left too few descriptors to accept anybody is no better before it is started again.
    soon { http = ("http://127.0.0.1:%d/slow"):format(SECOND_PORT), interval = "2s", timeout = "1900ms",
      restart_after = 4 },
    soon { check = function(job)
      pilot.sleep(math.random() * 0.05)
      if math.random() < 0.05 then error "planned: a check that raises" end
      return job.running and math.random() < 0.95, "as it were"
    end, fall = 4 },
  },
})
add("elsewhere", "any", nil, { health = soon { http = SERVER .. "/ok" }, service = { port = 1,
  interfaces = "static:127.0.0.1" } })

-- --- those that end --------------------------------------------------------------------------------

for i = 1, 3 do add("crash-" .. i, "ends", "crash 50 800") end
add("flapping", "ends", "crash 20 60", { restart = { policy = "always", backoff = "10ms", max_backoff = "100ms" } })
add("limited", "any", "crash 10 100", { restart = { policy = "always", backoff = "10ms", limit = 5, within = "10s" } })
add("daemon", "ends", "daemon 1500")
add("zombies", "ends", "zombies 300")
add("stopper", "ends", "stopper 300", { timeout = "1s" })
add("too-long", "ends", "hang", { timeout = "700ms" })
add("descriptors", "ends", "descriptors", { limits = { nofile = 40 } })
add("memory", "ends", "memory 64", place.cgroups and { cgroup = { memory_max = "8M" } } or { limits = { as = "64M" } })
add("processes", "ends", "processes", place.cgroups and { cgroup = { pids_max = 12 } } or nil)
add("missing", "ends", nil, { exec = "/nowhere/to/be/found" })
add("refused", "ends", nil, { exec = place.disk })

-- --- those of Lua ----------------------------------------------------------------------------------

add("lua-good", "up", nil, { run = function()
  while true do pilot.sleep(0.05) end
end })
add("lua-bad", "ends", nil, { run = function()
  pilot.sleep(0.2 + math.random())
  if math.random() < 0.5 then error "planned: a run that raises" end
end })
add("lua-deaf", "up", nil, { stop_timeout = "300ms", run = function()
  while true do pcall(pilot.sleep, 1) end
end })
add("prepared", "up", "steady", { prepare = function()
  pcall(pilot.exec, place.extra("check", 10), { timeout = "500ms", check = false })
  if math.random() < 0.2 then error "planned: a prepare that raises" end
end })

-- --- those that wait for something -----------------------------------------------------------------

add("ticker", "ends", "crash 10 100 0", { when = pilot.every "400ms" })
add("minutely", "any", "crash 10 100 0", { when = pilot.cron("* * * * *", { jitter = "2s" }) })
add("on-usr2", "any", "crash 10 300 0", { when = pilot.each("SIGUSR2", { settle = "50ms" }) })
add("on-hup", "any", "crash 500 1500 0", { when = pilot.each("SIGHUP", { when_busy = "restart" }) })
add("after-web", "any", "crash 10 100", { when = web:each("healthy", { settle = "100ms", when_busy = "drop" }) })
local base = add("base", "healthy", "steady", {
  health = soon { exec = place.extra("check", 1) }, when = web:once("healthy", { timeout = "5m" }), restart = AGAIN,
})
add("top", "up", "slow 20", { when = pilot.all { base:once "healthy", web:once "healthy" }, restart = AGAIN })
add("asked", "up", "steady", { restart = AGAIN, when = function()
  pilot.sleep "100ms"
  return true
end })

-- --- files ------------------------------------------------------------------------------------------

local generation = 0

local config = pilot.template(disk "app.env") {
  text = "# <%= filler %>\nGENERATION=<%= generation %>\n# end\n# end\nend=end\n",
  data = function()
    pilot.sleep(0.01)
    return { filler = ("f"):rep(generation % 7 * 1000), generation = generation }
  end,
  validate = place.extra("verdict", 10), reload = jobs.by_name["manual-1"].object,
}
add("configured", "up", "steady", { when = config:once "rendered", env_file = disk "app.env", restart = AGAIN })

jobs.config = config

---Another content from now on.
function jobs.renew()
  generation = generation + 1
  return generation
end

-- --- what they say ----------------------------------------------------------------------------------

-- "seq 3 17 120 …": the numbers of a run come without a gap.
local heard = {}
jobs.by_name["seq-heard"].object:on("output", function(event)
  local run, number = event.line:match "^seq (%d+) (%d+) %d+ "
  if not run then return end
  run, number = tonumber(run), tonumber(number)
  local expected = (heard[run] or 0) + 1
  if number ~= expected then
    pilot.log.error(("soak fault: a handler of output heard line %d of run %d, not %d"):format(number, run, expected))
  end
  heard[run], heard[run - 2] = number, nil
end)

return jobs
