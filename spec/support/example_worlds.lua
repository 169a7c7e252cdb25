-- example_worlds: what is around each of the examples when everything works, for many seeded schedules of faults.
--
-- The examples' own specs say what their pilots do; here is only a world in which they can. Each entry is
-- setup(world) → box, and recovers(box): what is true again when the faults are over.

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

local function template(name, path, more)
  local files = { [path or ("examples/" .. name)] = read("examples/" .. name) }
  for key, value in pairs(more or {}) do files[key] = value end
  return files
end

local function healthy(job) return function(box) return box:job(job).health == "healthy" end end
local function running(job) return function(box) return box:job(job).running end end

local IGNORES_HUP = { SIGHUP = function() end }

worlds["consul-agent"] = {
  setup = function(world)
    local box = load(world, "consul-agent", {
      files = template("consul-agent/app.conf.tmpl", "/etc/app.conf.tmpl"), env = { CONSUL = "consul.example" },
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
      files = template("database-config/app.conf.tmpl", "/etc/app.conf.tmpl"),
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
      files = template("nginx-upstreams/app.conf.tmpl", "/etc/nginx/app.conf.tmpl", { ["/etc/nginx/conf.d"] = true }),
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

return worlds
