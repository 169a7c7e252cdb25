-- example_worlds: what is around each of the examples when everything works, for many seeded schedules of faults.
--
-- The examples' own specs say what their pilots do; here is only a world in which they can. Each entry is
-- setup(world) → box, and recovers(box): what is true again when the faults are over.

local json = require "cjson"
local sim = require "luapilot.sim"

local worlds = {}

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  return text
end

local function load(world, name, options)
  return world:load("examples/" .. name .. "/pilot.lua", options)
end

local function template(name, more)
  local files = { [name:match "[^/]*$"] = read("examples/" .. name) }
  for key, value in pairs(more or {}) do files[key] = value end
  return files
end

local function healthy(job) return function(box) return box:job(job).health == "healthy" end end
local function running(job) return function(box) return box:job(job).running end end

local IGNORES_HUP = { SIGHUP = function() end }

worlds["consul-agent"] = {
  setup = function(world)
    local box = load(world, "consul-agent", {
      files = template "consul-agent/app.conf.tmpl", env = { CONSUL = "consul.example" },
    })
    box:program("consul agent", sim.server)
    box:program("/usr/local/bin/node", { start_delay = "500ms", listens = "127.0.0.1:8000" })
    box:http("http://localhost:8000/", 200)
    box.consul:put("app/db", "db.example")
    return box
  end,
  recovers = healthy "consul-agent",
}

worlds["consul-leave"] = {
  setup = function(world)
    local box = load(world, "consul-leave", { env = { CONSUL = "consul.example" } })
    box:program("consul agent", sim.server)
    box:program("/bin/app", { start_delay = "500ms", listens = "127.0.0.1:8000", term_delay = "1s" })
    box:http("http://localhost:8000/health", 200)
    return box
  end,
  recovers = healthy "app",
}

worlds["crash-loop"] = {
  setup = function(world)
    local box = load(world, "crash-loop")
    box:program("/bin/sh", sim.server)
    return box
  end,
}

worlds["database-config"] = {
  setup = function(world)
    local box = load(world, "database-config", {
      files = template "database-config/app.conf.tmpl",
    })
    box:program("node server.js", { start_delay = "500ms", listens = "127.0.0.1:8000", on = IGNORES_HUP })
    box:http("http://localhost:8000/", 200)
    box.consul:add("mysql", "10.0.0.1", { port = 3306 })
    box.consul:add("redis", "10.0.0.2", { port = 6379 })
    return box
  end,
  recovers = running "app",
}

worlds["log-lines"] = {
  setup = function(world)
    local box = load(world, "log-lines", { env = { ALARM = "http://alarm.example/database" } })
    box:program("/bin/sh", function(process)
      process:print "database system is ready to accept connections"
      while true do
        process:sleep "3s"
        process:print "ERROR: deadlock detected"
      end
    end)
    box:http("POST http://alarm.example/database", 204)
    return box
  end,
  recovers = running "database",
}

worlds["nginx-upstreams"] = {
  setup = function(world)
    local box = load(world, "nginx-upstreams", {
      files = template("nginx-upstreams/app.conf.tmpl", { ["/etc/nginx/conf.d"] = true }),
    })
    box:program("nginx -g", { start_delay = "100ms", listens = "127.0.0.1:80", on = IGNORES_HUP })
    box:program("nginx -t", { exit = 0, after = "100ms" })
    box:http("http://localhost/health", 200)
    box.consul:add("app", "10.0.0.1", { port = 80 })
    return box
  end,
  recovers = function(box) return not box:job "nginx".running or box:job "nginx".health == "healthy" end,
}

worlds.quickstart = {
  setup = function(world)
    local box = load(world, "quickstart", { hostname = "quickstart" })
    box:program("/bin/sh -c", { exit = 0, after = "100ms" })
    box:program("df", { exit = 0, after = "10ms", stdout = "Filesystem\n" })
    box:program("nginx", { start_delay = "500ms", listens = "127.0.0.1:8088", term_delay = "1s", on = IGNORES_HUP })
    return box
  end,
  recovers = healthy "nginx",
}

worlds["service-reg-only"] = {
  setup = function(world)
    local box = load(world, "service-reg-only", { env = { CONSUL = "consul.example" } })
    box:program("consul agent", sim.server)
    box:program({ "/bin/sh", "-c", "consul info | grep -q leader" }, { exit = 0, after = "10ms" })
    box:program("consul-template", sim.server)
    box:program("/usr/local/bin/node", { start_delay = "500ms", listens = "127.0.0.1:8000" })
    box:http("http://localhost:8000/", 200)
    return box
  end,
  recovers = healthy "app",
}

worlds.stopping = {
  setup = function(world)
    local box = load(world, "stopping")
    box:program("/bin/app", { start_delay = "100ms", listens = "127.0.0.1:80", term_delay = "500ms" })
    box:program("/usr/local/bin/preStop-script.sh", { exit = 0, after = "200ms" })
    box:program("/usr/local/bin/postStop-script.sh", { exit = 0, after = "50ms" })
    box:http("http://localhost/app", 200)
    return box
  end,
}

worlds["two-datacentres"] = {
  setup = function(world)
    local box = load(world, "two-datacentres", { files = { ["/etc"] = true }, env = { OTHER_DC = "west" } })
    box:program("/bin/app", { term_delay = "100ms", on = IGNORES_HUP })
    world.consul:datacenter "west":add("db", "10.2.0.1", { port = 5432 })
    box.consul:add("db", "10.1.0.1", { port = 5432 })
    return box
  end,
  recovers = running "app",
}

-- HAProxy's runtime API: what was set is shown.
local function runtime_api(slots)
  local function show()
    local lines = { "1", "# be_id be_name srv_id srv_name …" }
    for i, slot in ipairs(slots) do
      lines[#lines + 1] = ("3 app %d app%d %s 2 %d 1 1 9 1 0 2 0 0 0 0 - %s - 0 0 - - 0")
        :format(i, i, slot.address, slot.admin, slot.port)
    end
    return table.concat(lines, "\n") .. "\n\n"
  end
  local function obey(command)
    local number, what = command:match "^set server app/app(%d+) (.*)$"
    local slot = slots[tonumber(number)]
    local address, port = what:match "^addr (%S+) port (%d+)$"
    if address then slot.address, slot.port = address, port end
    slot.admin = what == "state ready" and 0 or what == "state maint" and 5 or slot.admin
  end
  return function(conn)
    for command in (conn:read_line() or ""):gmatch "[^;]+" do
      if command == "show servers state app" then conn:write(show()) else obey(command) end
    end
    conn:write "\n"
  end
end

worlds.haproxy = {
  setup = function(world)
    local box = load(world, "haproxy", { files = template "haproxy/haproxy.cfg.tmpl" })
    box:program("/usr/sbin/haproxy -c", { exit = 0, after = "50ms" })
    box:program("/usr/sbin/haproxy -db", function(process)
      process:handle("SIGUSR1", function() process:exit(0) end)
      local slots = {}
      for i = 1, 10 do slots[i] = { address = "127.0.0.1", port = "1", admin = 5 } end
      process:listen "127.0.0.1:8094"
      process:listen("unix:build/admin.sock", runtime_api(slots))
      process:sleep "24h"
    end)
    box:http("http://127.0.0.1:8094/health", 200)
    box.consul:add("app", "10.0.0.1", { port = 80 })
    return box
  end,
  recovers = healthy "haproxy",
}

worlds["nginx-status"] = {
  setup = function(world)
    local box = load(world, "nginx-status", { files = template "nginx-status/nginx.conf.tmpl" })
    box:program("nginx", { start_delay = "200ms", listens = "127.0.0.1:8093", term_delay = "10ms" })
    box:http("http://127.0.0.1:8093/stub_status", { body = "Active connections: 3 \nserver accepts handled requests\n"
      .. " 16 15 31 \nReading: 0 Writing: 1 Waiting: 2 \n" })
    return box
  end,
  recovers = running "nginx",
}

worlds["periodic-tasks"] = {
  setup = function(world)
    local box = load(world, "periodic-tasks", { env = { SLACK_HOOK = "https://hooks.example/T1" } })
    box:program("./task.sh", { exit = 0, after = "1s" })
    box:http("POST https://hooks.example/T1", 200)
    return box
  end,
  recovers = function(box) return box:job "task".exit ~= nil and box:job "task".exit.code == 0 end,
}

worlds.registrator = {
  setup = function(world)
    local web = {
      Id = ("a"):rep(64), Names = { "/web" }, Labels = { ["consul.service"] = "web" },
      Ports = { { IP = "0.0.0.0", PrivatePort = 80, PublicPort = 8080, Type = "tcp" } },
    }
    local box = load(world, "registrator", { hostname = "here" })
    box:http("http://docker/_ping", 200)
    box:http("http://docker/containers/json", { body = json.encode { web } })
    local start = json.encode { Type = "container", Action = "start", Actor = { ID = web.Id } } .. "\n"
    box:http("http://docker/events", { body = { start }, every = "1s", endless = true })
    return box
  end,
  recovers = running "registrator",
}

worlds["warm-up"] = {
  setup = function(world)
    local box = load(world, "warm-up", { files = template "warm-up/nginx.conf.tmpl" })
    box:program("mkdir", { exit = 0, after = "10ms" })
    box:program("python3", { start_delay = "200ms", listens = "127.0.0.1:8091", term_delay = "10ms" })
    box:program("nginx", { term_delay = "10ms", on = IGNORES_HUP })
    box:program("./check.sh", { exit = 0, after = "10ms" })
    box:http("http://127.0.0.1:8091/ready", 200)
    return box
  end,
  recovers = healthy "backend",
}

worlds.workers = {
  setup = function(world)
    local box = load(world, "workers")
    box:program("python3", function(master)
      box:write("/run/workers.pid", master.pid .. "\n")
      master:fork(function(worker) worker:sleep "24h" end)
      master:wait_signal(nil, { "SIGTERM" })
      master:sleep "1s"
      master:print "done"
    end)
    return box
  end,
  recovers = running "app",
}

return worlds
