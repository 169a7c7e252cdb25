-- Two pilots that register a service under one id with one agent: both are told, neither overwrites the other for ever,
-- and the one that lives on is found.

local boxes = require "support.boxes"
local sim = require "luapilot.sim"

local FILE = [[
  pilot.consul "consul:8500"
  pilot.job "app" { exec = "app", %s
    health = { check = function() return not pilot.state.bad end, interval = "5s", ttl = "20s" },
    service = { id = "app", port = pilot.env "PORT", interfaces = "static:10.0.0.1", %s },
  }
  pilot.on("SIGUSR1", function() pilot.state.bad = true end)
  pilot.on("SIGUSR2", function() pilot.job "app":maintenance(true, "deploy") end)
]]

describe("two pilots with one id", function()
  local world

  before_each(function() world = sim.world { seed = 7 } end)
  after_each(boxes.check)

  local function pilot(port, service, job)
    local box = boxes.load(FILE:format(job or "", service or ""),
      { hostname = "h", env = { PORT = tostring(port) } }, world)
    box:program("app", sim.server)
    return box:start()
  end

  local function port_of(box)
    local held = box.consul:service "app"
    return held and held.port
  end

  local function ports(box, seconds)
    local seen = {}
    for i = 1, seconds do
      box:advance "1s"
      seen[i] = port_of(box) or "gone"
    end
    return seen
  end

  local function changes(list)
    local count = 0
    for i = 2, #list do count = count + (list[i] ~= list[i - 1] and 1 or 0) end
    return count
  end

  local CONTESTED = "another instance registers itself under this id, too"

  it("are told of each other, once, with what differs and what to do", function()
    local a, b = pilot(8001), pilot(8002)
    a:advance "5m"
    assert.same({ 1, 1 }, { boxes.logged(a, CONTESTED), boxes.logged(b, CONTESTED) })
    local text = ": Consul's entry has port %d instead of %d; give each an id of its own, by service.id or by its "
      .. "hostname; left alone for "
    assert.equal(1, boxes.logged(a, CONTESTED .. text:format(8002, 8001)))
    assert.equal(1, boxes.logged(b, CONTESTED .. text:format(8001, 8002)))
    assert.is_true(boxes.logged(a, "registered again") <= 1)
  end)

  it("overwrite each other ever more seldom", function()
    local a = pilot(8001)
    pilot(8002)
    local first, later
    first = changes(ports(a, 120))
    ports(a, 1200)
    later = changes(ports(a, 1200))
    assert.is_true(first >= 2, first)
    assert.is_true(later <= 16, later)
    assert.is_true(boxes.logged(a, "registered") < 20)
  end)

  it("send nothing about an entry that is the other's", function()
    local a = pilot(8001)
    pilot(8002)
    a:run_until(function() return boxes.logged(a, CONTESTED) == 1 end, "2m")
    local from = a.world:elapsed()
    a:advance "7s"
    for _, one in ipairs(a.consul:requests()) do assert.is_true(one.at < from or one.method == "GET", one.path) end
    assert.equal(8002, port_of(a))
  end)

  it("leave the other's entry where it is when they stop, and the one that lives on is found soon", function()
    for _, stops in ipairs { 1, 2 } do
      world = sim.world { seed = 7 + stops }
      local a, b = pilot(8001), pilot(8002)
      a:advance "40s"
      local last, first = stops == 1 and b or a, stops == 1 and a or b
      local port = stops == 1 and 8002 or 8001
      first:stop()
      last:advance "3s"
      for _, each in ipairs(ports(last, 120)) do assert.equal(port, each) end
      assert.equal("passing", last.consul:service("app").status)
      last:stop()
      assert.is_nil(port_of(last))
    end
  end)

  it("are found instead of one that is not well", function()
    local a, b = pilot(8001), pilot(8002)
    a:advance "10m"
    a:run_until(function() return port_of(a) == 8001 end, "10m")
    a:run_until(function() return port_of(a) == 8002 end, "10m")
    a:advance "15s" -- its own entry is not put right soon, by now
    assert.equal(8002, port_of(a))
    b:signal "SIGUSR1"
    a:advance "20s"
    local held = a.consul:service "app"
    assert.same({ 8001, "passing" }, { held.port, held.status })
    assert.equal(1, boxes.logged(a, "Consul's entry is another instance's and critical: registered again"))
  end)

  it("say that an entry was left to the other", function()
    local a, b = pilot(8001), pilot(8002)
    b:advance "1s"
    assert.equal(8002, port_of(b))
    a:stop()
    assert.equal(8002, port_of(b))
    assert.equal(1, boxes.logged(a, "not deregistered: another instance holds this id now: Consul's entry has port "
      .. "8002 instead of 8001"))
    assert.equal(0, boxes.logged(a, ": deregistered"))
    b:stop()
    assert.equal(1, boxes.logged(b, ": deregistered"))
  end)

  it("end the maintenance that was their own when the entry is the other's, or when they stop", function()
    for _, stops in ipairs { false, true } do
      world = sim.world { seed = 7 }
      local a = pilot(8001)
      a:advance "2s"
      a:signal "SIGUSR2"
      a:advance "1s"
      local b = pilot(8002)
      a:advance "1s"
      assert.same({ 8002, "deploy" }, { port_of(b), b.consul:service("app").maintenance })
      if stops then
        a:stop()
      else
        a:run_until(function() return boxes.logged(a, CONTESTED) == 1 end, "2m")
        a:run_until(function() return port_of(b) == 8002 end, "1m")
        a:advance "2s"
      end
      assert.same({ 8002, false }, { port_of(b), b.consul:service("app").maintenance })
      a:stop()
      b:stop()
      assert.is_nil(port_of(b))
    end
  end)

  it("say once that an entry is in maintenance which they did not begin", function()
    local a = pilot(8001)
    a:advance "30s"
    a.port.consul.server:accept({ method = "PUT",
      path = "/v1/agent/service/maintenance/app?enable=true&reason=disk%0Afull" }, function() end)
    a:advance "1m"
    a:stop()
    a.port.consul.server:accept({ method = "PUT", path = "/v1/agent/service/register",
      body = '{"ID":"app","Name":"app","Port":8002}' }, function() end)
    a.port.consul.server:accept({ method = "PUT",
      path = "/v1/agent/service/maintenance/app?enable=true&reason=disk%0Afull" }, function() end)
    local b = pilot(8002)
    b:advance "10m"
    local text = 'service "app": it is in maintenance that this pilot did not begin: "disk; full"; nobody finds it '
      .. 'until that ends: consul maint -disable -service="app"'
    assert.same({ 0, 1 }, { boxes.logged(a, "did not begin"), boxes.logged(b, text) })
    b:signal "SIGUSR2"
    b:advance "10m"
    assert.equal(1, boxes.logged(b, "did not begin"))
  end)

  it("take back what is theirs although others have altered it", function()
    local a = pilot(8001)
    a:advance "2s"
    a.port.consul.server:accept({ method = "PUT", path = "/v1/agent/service/register",
      body = '{"ID":"app","Name":"app","Address":"10.0.0.1","Port":8001,"Tags":["x"]}' }, function() end)
    a:stop()
    assert.is_nil(port_of(a))
  end)

  it("are the same when one has taken the other's place: that is no contest", function()
    local a = pilot(8001)
    a:advance "31s" -- between two of its looks
    local b = pilot(8002)
    b:advance "2s"
    a:stop()
    for _, each in ipairs(ports(b, 200)) do assert.equal(8002, each) end
    assert.equal(0, boxes.logged(b, CONTESTED))
  end)
end)

describe("an entry that somebody alters each time", function()
  after_each(boxes.check)

  it("is told, renewed, and put right ever more seldom", function()
    local box = boxes.run((FILE:format("", 'tags = { "ours" }'):gsub('pilot.env "PORT"', "80")), { app = sim.server },
      { hostname = "h" })
    local function registrations()
      local count = 0
      for _, one in ipairs(box.consul:requests()) do
        if one.path == "/v1/agent/service/register" then count = count + 1 end
      end
      return count
    end
    local function alter()
      box.port.consul.server:accept({ method = "PUT", path = "/v1/agent/service/register",
        body = '{"ID":"app","Name":"app","Address":"10.0.0.1","Port":80,"Tags":["theirs"]}' }, function() end)
    end
    box:advance "2s"
    for _ = 1, 3600 do
      if box.consul:service("app").tags[1] == "ours" then alter() end
      box:advance "1s"
      assert.equal("passing", box.consul:service("app").status)
    end
    assert.is_true(registrations() < 25, registrations())
    assert.equal(1, boxes.logged(box, "Consul's entry has other tags again: somebody changes it each time; left alone"))
    assert.equal(1, boxes.logged(box, "Consul's entry has other tags: registered again"))
  end)
end)
