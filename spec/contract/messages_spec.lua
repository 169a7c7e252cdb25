-- What luapilot says itself, each message in the three formats: messages.golden has them all. Simulated pilots say
-- them, the real port writes them. LUAPILOT_GOLDEN=1 writes the file anew: read the difference before you commit it.

local boxes = require "support.boxes"
local run = require "support.run"
local sim = require "luapilot.sim"
local sim_port = require "luapilot.sim.port"

local GOLDEN = "spec/contract/messages.golden"

-- Each returns a box, or several, whose messages are looked at.
local stories = {}

-- Starts and ends of jobs, checks, a shutdown that lasts.
function stories.jobs()
  local box = boxes.run([[
    pilot.logging { level = "debug" }
    pilot.job "good" { exec = "good", reload = "SIGHUP" }
    pilot.job "bad" { exec = "bad", restart = { policy = "on_failure", limit = 1, backoff = "1s" } }
    pilot.job "shot" { exec = "shot", log = { file = "/shot.log" } }
    pilot.job "none" { exec = "none" }
    pilot.job "full" { exec = "full" }
    pilot.job "fails" { exec = "fails", stop_timeout = "3s" }
    pilot.job "late" { exec = "late", when = pilot.job "bad":once "exit_success" }
    pilot.job "slow" { exec = "slow", timeout = "5s" }
    pilot.job "often" { exec = "often", when = pilot.every "20s", timeout = "1h" }
    pilot.job "raises" { run = function() error("no", 0) end }
    pilot.job "web" { exec = "web", stop_timeout = "2s", restart = "always", health = {
      tcp = "127.0.0.1:80", interval = "2s", timeout = "1s", fall = 1, restart_after = 2 } }
    pilot.job "web":on("stopping", function() pilot.sleep "1h" end)
    pilot.job "good":on("output", function() error("no such thing", 0) end)
    pilot.job "good":on("stopped", function() pilot.log.warn("mine", { code = 1, event = "x", source = "y" }) end)
    pilot.on("SIGUSR1", function() pilot.job "good":reload() end)
  ]], {
    good = { stdout = "x\n", on = { SIGHUP = function() end } }, bad = { exit = 3 }, late = {}, slow = {}, often = {},
    fails = { on = { SIGTERM = function(proc) proc:crash "SIGSEGV" end } },
    shot = { signal = "SIGSEGV", after = "1s" }, none = { spawn_error = "ENOENT" },
    full = { { spawn_error = "EAGAIN" }, { exit = 0 } }, web = { listens = "127.0.0.1:80", ignores = { "SIGTERM" } },
  })
  box:advance "10s"
  box:tcp("127.0.0.1:80", "down")
  box:advance "15s"
  box:signal "SIGUSR1"
  box:signal "SIGTERM"
  box:advance "10m"
  return box
end

-- The ends of a pilot.
function stories.ends()
  local list = {
    boxes.run([[ pilot.job "app" { exec = "app" } ]], { app = { exit = 0 } }),
    boxes.run([[ pilot.job "app" { exec = "app", main = true } ]], { app = { exit = 4, after = "1s" } }),
    boxes.run([[
      pilot.shutdown_timeout "10s"
      local app = pilot.job "app" { exec = "app", stop_timeout = "1h" }
      pilot.job "db" { exec = "app", stop_timeout = "1h", when = app:once "exit_failed" }
      pilot.on("shutdown", function() pilot.sleep "1h" end)
    ]], { app = { ignores = { "SIGTERM" } } }),
    boxes.run([[ pilot.job "app" { exec = "app", stop_timeout = "1h" } ]], { app = { ignores = { "SIGTERM" } } }),
    boxes.run([[ pilot.on("SIGHUP", function() end) ]], {}),
    boxes.run([[
      pilot.logging { output = "/log" }
      pilot.on("SIGUSR2", function() pilot.sleep "1h" end)
    ]], {}, { files = { ["/log/file"] = "" } }),
  }
  list[3]:signal "SIGTERM"
  list[4]:advance "1s"
  list[4]:signal("SIGINT", { terminal = true, pid = 0 })
  list[4]:advance "200ms"
  list[4]:signal "SIGINT"
  list[5].app:exhausted()
  for _ = 1, 1002 do list[6]:signal "SIGUSR2" end
  for _, box in ipairs(list) do box:advance "1m" end
  list[6]:signal "SIGTERM"
  list[6]:advance "1h"
  return unpack(list)
end

-- What waits for a dependency, in vain as well, and what is stopped with one.
function stories.order()
  local box = boxes.run([[
    local db = pilot.job "db" { exec = "db", restart = "always", health = { exec = "ok", interval = "1s" } }
    local once = pilot.job "once" { exec = "once" }
    local tool = pilot.job "tool" { exec = "app", when = "manual" }
    pilot.job "app" { exec = "app", depends_on = { db, tool }, bind = true }
    pilot.job "late" { exec = "app", depends_on = { db, once = "exit_success" } }
    pilot.job "tick" { exec = "app", when = pilot.every "6s", depends_on = { tool } }
    pilot.after("12s", function() tool:start() db:restart() end)
  ]], { db = {}, once = { exit = 7, after = "5s" }, ok = { exit = 0 }, app = {} })
  box:advance "1m"
  box:signal "SIGTERM"
  box:advance "1m"
  return box
end

-- A master that is replaced while it serves, as nginx is.
local function master(proc)
  proc:notify { READY = "1", MAINPID = proc.pid }
  proc:handle("SIGUSR2", function(old) old:fork(master) end)
  proc:handle("SIGQUIT", function(old) old:exit(0) end)
  while true do proc:sleep "1h" end
end

-- What goes wrong around jobs: starts that hang, waits, processes that are left behind, main processes that change.
function stories.surroundings()
  local waiters = {}
  for i = 1, 21 do
    waiters[i] = ('pilot.job "waiter-%d" { exec = "app", when = pilot.job "hung":once "healthy" }'):format(i)
  end
  local box = boxes.load([[
    pilot.logging { level = "debug" }
    pilot.job "hung" { exec = "app", cwd = "/dead", health = { exec = "ok", interval = "2s" } }
    pilot.job "master" { exec = "master", health = { notify = true } }
    pilot.job "parent" { exec = "parent" }
    pilot.job "daemon" { exec = "daemon", restart = { policy = "always", backoff = "20s" },
      health = { exec = "ok", interval = "1s" } }
    pilot.job "early" { exec = "app", stop_timeout = "1h" }
    pilot.job "checked" { exec = "app", health = { exec = "leaves", interval = "1h" } }
    pilot.job "leaver" { exec = "leaver", stop_timeout = "2s", restart = 1 }
    pilot.job "early":on("stopping", function() pilot.sleep "2s" end)
    pilot.on("startup", function()
      pilot.exec { "leaves" }
      pcall(pilot.exec, { "tool" }, { cwd = "/dead", timeout = "30s" })
    end)
    pilot.on("SIGUSR2", function() pilot.cron("0 3 * * *", function() end) end)
  ]] .. table.concat(waiters, "\n"), {
    env = { TZ = "Nowhere/City" }, files = { ["/usr/share/zoneinfo/Nowhere/City"] = false },
  })
  for name, behaviour in pairs {
    app = sim.server, ok = { exit = 0 }, tool = { exit = 0 }, master = master, leaves = { exit = 0, grandchild = {} },
    parent = { exit = 0, after = "20s", grandchild = { { setsid = true }, { setsid = true } } },
    daemon = { { exit = 0, grandchild = { setsid = true } }, sim.server },
    leaver = { { exit = 0, grandchild = {} }, { exit = 0, grandchild = { ignores = { "SIGTERM" } } } },
  } do box:program(name, behaviour) end
  box:hang("path", "/dead")
  box:start()
  box:advance "1m"
  box:job "master":process():deliver "SIGUSR2"
  box:advance "1s"
  box:job "master":process():deliver "SIGQUIT"
  box:signal "SIGUSR2"
  box:signal "SIGPWR"
  box:advance "1s"
  box.app:command(function() error("a bug", 0) end)
  box:signal("SIGTERM", { pid = 77 })
  box:advance "1s"
  box:job "early":process():deliver "SIGKILL"
  box:advance "500ms"
  box:signal("SIGTERM", { pid = 77 })
  box:advance "1m"
  return box
end

-- Whose main process ended with others beside it, and whose orphan has only a name.
function stories.successors()
  local box = boxes.run([[
    pilot.job "orphaned" { exec = "orphaned", pidfile = "/run/app.pid" }
    pilot.job "unmarked" { exec = "unmarked" }
  ]], {
    orphaned = { exit = 0, grandchild = {} },
    unmarked = function(proc)
      proc.env = {}
      proc:fork(function(one) one:sleep "1h" end, { setsid = true })
    end,
  }, { files = { ["/run/app.pid"] = "4711\n" } })
  box:advance "1m"
  return box
end

-- Files from templates: accepted, refused, put back where a trial was interrupted.
function stories.files()
  local left = { ["/etc/app.conf"] = "new", ["/etc/.app.conf.luapilot-old"] = "old" }
  local wrong = { exit = 1, stderr = "line 1 is wrong\n" }
  local box = boxes.run([[
    pilot.template "/etc/app.conf" { text = "a", validate = "check {file}" }
    pilot.template "/etc/left.conf" { text = "a", validate = "leaves" }
    pilot.template "/etc/other.conf" { text = "b" }
  ]], { check = { wrong, wrong, { exit = 0 } }, leaves = { exit = 0, grandchild = { {}, {} } } }, { files = left })
  box:advance "1m"
  local stuck = boxes.load([[ pilot.template "/etc/app.conf" { text = "a" } ]], { files = left })
  stuck:fault("rename", "/etc/app.conf", "EBUSY")
  stuck:fault("write", "/etc/app.conf", "ENOSPC")
  stuck:start()
  return box, stuck
end

-- Consul, and services.
function stories.consul()
  local box = boxes.load([[
    pilot.consul { address = "consul:8500", token_file = "/run/token" }
    pilot.job "app" {
      exec = "app", service = { port = 80 }, drain = "2s", health = { exec = "ok", interval = "1s", ttl = "30s" },
    }
    local db = pilot.watch "db" { keep_last = true }
    db:on("changed", function() end)
    pilot.watch.key "colour":on("changed", function() end)
    pilot.on("SIGUSR1", function()
      pilot.maintenance(true, "upgrade")
      pilot.job "app":maintenance(true, "disk")
      pilot.sleep "10s"
      pilot.job "app":maintenance(false)
      pilot.maintenance(false)
    end)
  ]], { files = { ["/run/token"] = "abc" } })
  box:program("app", sim.server)
  box:program("ok", { exit = 0 })
  box.consul:add("db", "10.0.0.1")
  box:start()
  box:advance "30s"
  box.consul:set_status("db", "critical")
  box:advance "10s"
  box:signal "SIGUSR1"
  box:advance "1m"
  box.consul:deny "key"
  box:advance "10m"
  box.consul:grant()
  box:advance "10m"
  box.consul:down()
  box:advance "30s"
  box.consul:up()
  box:advance "10m"
  box.consul:limit(2)
  box.consul:restart { lose_state = true }
  box:advance "10m"
  box.consul:limit()
  box:advance "10m"
  box.consul:deny "service"
  box.consul:restart { lose_state = true }
  box:write("/run/token", false)
  box:advance "10m"
  box:write("/run/token", "def")
  box:advance "10m"
  box.consul:grant()
  box:advance "10m"
  for _, fields in ipairs { '"Port":80,"Tags":["x"]', '"Port":80,"Tags":["x"]', '"Port":81' } do
    box.port.consul.server:accept({
      method = "PUT", path = "/v1/agent/service/register",
      body = ('{"ID":"app-box","Name":"app","Address":"172.17.0.2",%s}'):format(fields),
    }, function() end)
    box:advance "16s"
  end
  box:advance "1h"
  box.port.consul.server:accept({
    method = "PUT", path = "/v1/agent/service/maintenance/app-box?enable=true&reason=disk",
  }, function() end)
  box.port.consul.server:accept({
    method = "PUT", path = "/v1/agent/service/register", body = '{"ID":"app-box","Name":"app","Port":81}',
  }, function() end)
  box:advance "1h"
  box.consul:add("db", "10.0.0.2; x", { id = "odd" })
  box:advance "10s"
  box:stop()
  return box
end

-- Consul goes, and does not come back.
function stories.left()
  local box = boxes.load [[
    pilot.consul "consul:8500"
    pilot.job "app" { exec = "app", service = { port = 80 } }
  ]]
  box:program("app", sim.server)
  box:start()
  box:advance "5s"
  box.consul:fail(200) -- a text that is no JSON: whoever listens there now
  box:advance "1m"
  box.consul:down()
  box:stop()
  return box
end

-- A machine that has no timer left for what ends endless loops.
local function load_uncontained(source)
  local interface = sim_port.interface
  sim_port.interface = function(port)
    local calls = interface(port)
    calls.contain = function() return nil, "cannot create a timer: Resource temporarily unavailable", "EAGAIN" end
    return calls
  end
  local box = boxes.load(source)
  sim_port.interface = interface
  return box
end

-- Without Consul: watches; addresses and timers that are not there.
function stories.alone()
  local box = load_uncontained [[
    pilot.job "db" { exec = "db", service = { port = 1, interfaces = "static:10.0.0.1" } }
    pilot.job "app" { exec = "db", service = { port = 80, interfaces = "eth9" } }
    pilot.watch "db" { keep_last = true }:on("changed", function() end)
    pilot.on("SIGUSR1", function() pilot.job "db":stop() end)
  ]]
  box:program("db", sim.server)
  box:start()
  box:advance "1s"
  box:signal "SIGUSR1"
  box:advance "1s"
  box:stop()
  return box
end

-- The first of each kind: what a message says but for its numbers, and whether people see a code.
local function messages(...)
  local list, known = {}, {}
  for _, box in ipairs { ... } do
    for _, entry in ipairs(box:log()) do
      local kind = ("%s %s %s %s %s"):format(entry.event, entry.facts.reason, (entry.message:gsub("%d+", "")),
        entry.facts.code ~= nil, entry.fields ~= nil and entry.fields.code ~= nil)
      if not known[kind] then list[#list + 1] = entry end
      known[kind] = true
    end
    box:forget_errors()
  end
  return list
end

local function literal(value)
  if type(value) ~= "table" then return type(value) == "string" and ("%q"):format(value) or tostring(value) end
  local parts = {}
  for name, each in pairs(value) do parts[#parts + 1] = ("[%q]=%s"):format(name, literal(each)) end
  return "{" .. table.concat(parts, ",") .. "}"
end

local function timeless(text) return (text:gsub("%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ", "TIME")) end

-- What the real port says of a stdout that nobody reads any more: on stderr.
local function unread()
  local lines = {}
  for _, format in ipairs { "default", "text", "json" } do
    local reading, writing = run.pipe()
    run.close(reading)
    local p = run.runtime(([[
      local rt = require "luapilot.rt"
      rt.logging { format = %q }
      rt.log("info", "own")
      assert(rt.flush(60) == 0)
    ]]):format(format), { stdout = writing })
    run.close(writing)
    assert.equal(0, p:wait(), p:stderr())
    lines[#lines + 1] = timeless(p:stderr())
  end
  return table.concat(lines) .. "\n"
end

-- What the real port makes of them.
local function written(list)
  local lines = { 'local rt = require "luapilot.rt" rt.logging { level = "debug" }' }
  for _, entry in ipairs(list) do
    local text = entry.job and entry.message:gsub("^job %b\"\": ", "") or entry.message
    if entry.event == "internal_error" then text = text:gsub("\nstack traceback:.*", "") end -- of busted's, too
    for _, format in ipairs { "default", "text", "json" } do
      lines[#lines + 1] = ("rt.logging { format = %q } rt.log(%s, %s, %s, %s, %s, %s)"):format(format,
        literal(entry.level), literal(text), literal(entry.fields), literal(entry.event), literal(entry.job),
        literal(entry.facts))
    end
    lines[#lines + 1] = 'io.write "\\n"'
  end
  lines[#lines + 1] = "assert(rt.flush(60) == 0)"
  local p = run.runtime('io.stdout:setvbuf "no" ' .. table.concat(lines, "\n"))
  assert.equal(0, p:wait(), p:stderr())
  return timeless(p:stdout())
end

describe("what luapilot says", function()
  after_each(run.cleanup)

  it("is the same to people and machines, in each format", function()
    local all = {}
    for _, name in ipairs {
      "jobs", "ends", "surroundings", "files", "alone", "consul", "left", "successors", "order",
    } do
      for _, entry in ipairs(messages(stories[name]())) do all[#all + 1] = entry end
    end
    local text = written(all) .. unread()
    if os.getenv "LUAPILOT_GOLDEN" then
      local file = assert(io.open(GOLDEN, "w"))
      file:write(text)
      file:close()
    end
    assert.equal(run.read(GOLDEN), text)
  end)
end)
