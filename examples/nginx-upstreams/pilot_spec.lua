-- luapilot test examples/nginx-upstreams     What pilot.lua does, on a simulated container.

local sim = require "luapilot.sim"

describe("nginx-upstreams", function()
  local CONF = "/etc/nginx/conf.d/app.conf"
  local box, nginx, verdict

  before_each(function()
    box = sim.load("pilot.lua", { files = {
      ["app.conf.tmpl"] = sim.read "app.conf.tmpl", ["/etc/nginx/conf.d"] = true,
    } })
    verdict = 0
    box:program("nginx -g", { start_delay = "100ms", listens = "127.0.0.1:80", on = { SIGHUP = function() end } })
    box:program("nginx -t", function(process)
      process:sleep "100ms"
      process:exit(verdict)
    end)
    box:http("http://localhost/health", 200)
    nginx = box:job "nginx"
    box:start()
  end)

  after_each(function() assert.same({}, box:errors()) end)

  -- What nginx passes requests to: { "10.0.0.1:80", … }
  local function served()
    local list = {}
    for server in (box:file(CONF) or ""):gmatch "server (%S+);" do list[#list + 1] = server end
    return list
  end

  it("does not start before there is somebody to pass requests to, and gives up after two minutes", function()
    box:advance "1m"
    assert.equal("waiting", nginx.state)
    assert.same({}, served())
    box:run_until(function() return nginx.state == "complete" end, "2m")
    assert.equal("trigger", nginx.exit.reason)
  end)

  it("starts with those that are there, without a reload, and is found by others", function()
    box.consul:add("app", "10.0.0.1", { port = 8001 })
    box.consul:add("app", "10.0.0.2", { port = 8002 })
    box.consul:add("app", "fd00::3", { port = 8003 })
    box:advance "20s"
    assert.same({ "10.0.0.1:8001", "10.0.0.2:8002", "[fd00::3]:8003" }, served())
    assert.equal(0, nginx:received "SIGHUP")
    local service = box.consul:services()[1]
    assert.same({ "nginx", 80, "passing" }, { service.name, service.port, service.status })
  end)

  it("reloads once for a burst of twenty changes", function()
    box.consul:add("app", "10.0.0.1")
    box:advance "20s"
    for i = 2, 21 do
      box.consul:add("app", "10.0.0." .. i)
      box:advance "50ms"
    end
    box:advance "10s"
    assert.equal(21, #served())
    assert.equal(1, nginx:received "SIGHUP")
  end)

  it("does not wait longer than five seconds for changes without an end", function()
    box.consul:add("app", "10.0.0.1")
    box:advance "20s"
    for i = 2, 25 do
      box.consul:add("app", "10.0.0." .. i)
      box:advance "500ms"
    end
    assert.is_true(nginx:received "SIGHUP" >= 2)
  end)

  it("passes requests to nobody who is not healthy, and runs on when nobody is left", function()
    box.consul:add("app", "10.0.0.1")
    box:advance "20s"
    box.consul:set_status("app-10.0.0.1", "critical")
    box:advance "10s"
    assert.same({}, served())
    assert.matches("server 127.0.0.1:1 down;", box:file(CONF))
    assert.is_true(nginx.running)
    assert.equal(1, nginx:received "SIGHUP")
  end)

  it("leaves out what is no address with a port, and says so", function()
    box.consul:add("app", "10.0.0.1", { port = 8001 })
    box.consul:add("app", "10.0.0.2; } server { listen 81; root /", { port = 80, id = "evil" })
    box.consul:add("app", "10.0.0.3", { port = 0 })
    box:advance "20s"
    assert.same({ "10.0.0.1:8001" }, served())
    local warned = {}                          -- what is no host is left out by luapilot itself
    for _, entry in ipairs(box:log()) do
      local id = entry.message:find "^left out" and entry.fields.id or entry.message:match 'is left out: "(.-)"'
      if id then warned[id] = true end
    end
    assert.same({ evil = true, ["app-10.0.0.3"] = true }, warned)
  end)

  it("keeps the old file, and does not reload, when nginx refuses the new one", function()
    box.consul:add("app", "10.0.0.1", { port = 8001 })
    box:advance "20s"
    verdict = 1
    box.consul:add("app", "10.0.0.2", { port = 8002 })
    box:advance "10s"
    assert.same({ "10.0.0.1:8001" }, served())
    assert.equal(0, nginx:received "SIGHUP")
    local errors = box:forget_errors()
    assert.equal(1, #errors)
    assert.matches("nginx %-t", tostring(errors[1]))

    verdict = 0
    box.consul:add("app", "10.0.0.3", { port = 8003 })
    box:advance "10s"
    assert.equal(3, #served())
    assert.equal(1, nginx:received "SIGHUP")
  end)

  it("survives an outage of Consul, and catches up after it", function()
    box.consul:add("app", "10.0.0.1")
    box:advance "20s"
    box.consul:down()
    box:advance "5m"
    assert.is_true(nginx.running)
    assert.equal(1, #served())
    box.consul:up()
    box.consul:add("app", "10.0.0.2")
    box:advance "1m"
    assert.equal(2, #served())
  end)

  it("is taken back from Consul before it ends", function()
    box.consul:add("app", "10.0.0.1")
    box:advance "20s"
    assert.equal(0, box:stop())
    assert.same({}, box.consul:services())
    assert.equal(1, nginx:received "SIGTERM")
  end)
end)
