-- luapilot test examples/warm-up     What pilot.lua does, on a simulated container.

local sim = require "luapilot.sim"

describe("warm-up", function()
  local READY = "http://127.0.0.1:8091/ready"
  local box, backend, nginx

  before_each(function()
    box = sim.load("pilot.lua", { files = { ["nginx.conf.tmpl"] = sim.read "nginx.conf.tmpl", ["build"] = true } })
    box:program("mkdir", { exit = 0, after = "10ms" })
    box:program("python3", { start_delay = "200ms", listens = "127.0.0.1:8091", term_delay = "10ms" })
    box:program("nginx", sim.server)
    box:program("./check.sh", { exit = 0, after = "10ms" })
    box:http(READY, 404)
    backend, nginx = box:job "backend", box:job "nginx"
    box:start()
    box:advance "5s"
  end)

  after_each(function() assert.same({}, box:errors()) end)

  -- Does nginx pass requests on, by the configuration that it has been told to read?
  local function traffic()
    local conf = box:file "build/nginx.conf"
    local passes = conf:find("proxy_pass http://127.0.0.1:8091;", 1, true) ~= nil
    assert.not_equal(passes, conf:find("return 503", 1, true) ~= nil)
    return passes
  end

  -- From now on a check gives this; returns the time until there is traffic, or none any more.
  local function change_to(status, limit)
    local wanted, from = status == 200, box.world:elapsed()
    box:http(READY, status)
    box:run_until(function() return traffic() == wanted end, limit)
    local took = box.world:elapsed() - from
    box:advance "100ms"                    -- nginx is told after that
    return took
  end

  it("runs nginx without a backend", function()
    assert.is_true(nginx.running)
    assert.is_false(traffic())
    assert.equal(0, nginx:received "SIGHUP")
  end)

  it("passes requests on after three good checks, a second apart", function()
    assert.is_true(change_to(200, "5s") > 2)
    assert.equal(1, nginx:received "SIGHUP")
  end)

  it("begins to count anew when one of them fails", function()
    box:http(READY, { 200, 200, 404, 200 })
    box:advance "4s"
    assert.is_false(traffic())
    box:advance "3s"
    assert.is_true(traffic())
  end)

  it("stops at the second bad check, and comes back after three good ones", function()
    change_to(200, "10s")
    assert.is_true(change_to(503, "5s") > 1)
    assert.equal(2, nginx:received "SIGHUP")
    assert.is_true(change_to(200, "5s") > 2)
    assert.equal(3, nginx:received "SIGHUP")
  end)

  it("stops at once when the backend crashes, and warms it up again", function()
    change_to(200, "10s")
    backend:process():crash "SIGKILL"
    box:advance "100ms"
    assert.is_false(traffic())
    box:advance "10s"
    assert.equal(2, backend:starts())
    assert.is_true(traffic())
  end)

  it("is unhealthy when it is not warm within half a minute", function()
    box:advance "20s"
    assert.equal("unknown", backend.health)
    box:advance "10s"
    assert.equal("unhealthy", backend.health)
    assert.is_true(change_to(200, "5s") > 2)
  end)

  it("ends nginx gently", function()
    assert.equal(0, box:stop())
    assert.equal(1, nginx:received "SIGQUIT")
    assert.equal(0, nginx:received "SIGTERM")
  end)
end)
