-- The simulated Consul as a spec uses it: box.consul and world.consul; time, troubles and what comes of them.

local boxes = require "support.boxes"
local cjson = require "cjson"
local sim = require "luapilot.sim"

local NONE = {} -- [] of the JSON that is sent

describe("the simulated Consul", function()
  local world, box, port

  local function machine(options)
    local one = world:machine(options or {})
    one.interface.agent { url = "http://consul:8500" }
    return one
  end

  before_each(function()
    world = sim.world { seed = 5 }
    box = machine { hostname = "here" }
    port = box.interface
  end)
  after_each(boxes.check)

  -- The next event of a port, within so many seconds.
  local function next_event(seconds, at)
    at = at or port
    local clock = world.clock
    local limit = clock:moment(seconds or 30)
    local event = at.wait(false)
    while not event and clock:step(limit) do event = at.wait(false) end
    if not event then clock.time = limit end
    return event
  end

  local function call(path, options, at)
    local all = { path = path }
    for key, value in pairs(options or {}) do all[key] = value end
    assert((at or port).consul(all))
    return assert(next_event(60, at), "no answer")
  end

  local function put(path, body)
    return call(path, { method = "PUT", body = body and cjson.encode(body):gsub("{}", "[]") })
  end
  local function get(path) return cjson.decode(call(path).body) end

  local function register(more)
    local service = { Name = "app", ID = "app-1", Port = 80, Check = { TTL = "10s", Status = "passing" } }
    for key, value in pairs(more or {}) do service[key] = value end
    assert.equal(200, put("/v1/agent/service/register", service).status)
  end

  local function status(name)
    local one = world.consul:instances(name)[1]
    return one and one.status
  end

  local function advance(seconds)
    local limit = world.clock:moment(seconds)
    while world.clock:step(limit) do end
    world.clock.time = limit
  end

  local function fails(event, code, message)
    assert.equal(code, event.status or event.code)
    assert.matches(message, event.body or event.error)
  end

  local function refused(message, fn, ...)
    local ok, found = pcall(fn, ...)
    assert.is_false(ok)
    assert.matches(message, found)
  end

  -- --- what a spec puts there --------------------------------------------------------------------

  describe("catalogue", function()
    it("shows what a spec adds, changes and removes", function()
      local id = box.consul:add("app", "10.0.0.1", { port = 8000, tags = { "a" }, meta = { k = "v" } })
      box.consul:add("app", "10.0.0.2", { status = "critical", output = "why", weights = { passing = 3 } })
      assert.equal("app-10.0.0.1", id)
      local rows = get "/v1/health/service/app"
      assert.equal(2, #rows)
      assert.equal("10.0.0.1", rows[1].Service.Address)
      assert.equal(8000, rows[1].Service.Port)
      assert.equal("why", rows[2].Checks[2].Output)
      assert.same({ Passing = 3, Warning = 1 }, rows[2].Service.Weights)
      assert.equal(1, #get "/v1/health/service/app?passing")
      box.consul:set_status(id, "warning")
      assert.equal("warning", box.consul:instances("app")[1].status)
      box.consul:add("app", "10.0.0.1", { port = 9000 })
      assert.equal(9000, box.consul:instances("app")[1].port)
      box.consul:remove("app", "10.0.0.2")
      assert.equal(1, #get "/v1/health/service/app")
      box.consul:remove(id)
      assert.same({}, get "/v1/health/service/app")
      assert.same({}, box.consul:instances "app")
    end)

    it("says what is wrong with a spec", function()
      box.consul:add("app", "10.0.0.1")
      refused('unknown option "tag" %(did you mean "tags"%?%)', box.consul.add, box.consul, "app", "x", { tag = "a" })
      refused('no service "appp" %(did you mean "app"', box.consul.remove, box.consul, "appp")
      refused('expected "passing"', box.consul.set_status, box.consul, "app", "bad")
      refused('there is no resource "keys" %(did you mean "key"', box.consul.deny, box.consul, "keys")
      refused('no method "ad" %(did you mean "add"', function() return box.consul.ad end)
      refused("box.consul:services", world.consul.services, world.consul)
      refused("has an agent of its own", box.consul.add, box.consul, "app", "10.0.0.9", { node = "here" })
      refused('unknown option "lose"', box.consul.restart, box.consul, { lose = true })
    end)

    it("has other datacentres", function()
      local west = world.consul:datacenter "west"
      west:add("app", "10.1.0.1")
      assert.same({}, get "/v1/health/service/app")
      assert.equal("10.1.0.1", get("/v1/health/service/app?dc=west")[1].Service.Address)
      assert.same({ "dc1", "west" }, get "/v1/catalog/datacenters")
      west:leader(false)
      fails(call "/v1/health/service/app?dc=west", 500, "No cluster leader")
      assert.same({}, get "/v1/health/service/app")
    end)

    it("loses another datacentre, and nothing else", function()
      local west = world.consul:datacenter "west"
      west:add("app", "10.1.0.1")
      local index = call("/v1/health/service/app").headers["x-consul-index"]
      assert(port.consul { path = "/v1/health/service/app?wait=5m&index=" .. index }) -- stays, and says nothing
      index = call("/v1/health/service/app?dc=west").headers["x-consul-index"]
      assert(port.consul { path = "/v1/health/service/app?dc=west&wait=5m&index=" .. index })
      assert.is_nil(next_event(1))
      west:down()
      fails(next_event(1), 500, "EOF")
      assert.is_nil(next_event(1))
      fails(call "/v1/health/service/app?dc=west", 500, "No path to datacenter")
      assert.same({}, get "/v1/health/service/app")
      west:up()
      assert.equal("10.1.0.1", get("/v1/health/service/app?dc=west")[1].Service.Address)
      refused("another datacentre has no agents of boxes", west.hang, west)
    end)
  end)

  -- --- agents ------------------------------------------------------------------------------------

  describe("agent", function()
    it("brings its services to the catalogue a moment later", function()
      register { Tags = { "a" }, Meta = { k = "v" } }
      assert.same({}, world.consul:instances "app")
      advance(1)
      assert.equal("passing", status "app")
      local one = box.consul:service "app"
      assert.equal("app-1", one.id)
      assert.same({ "a" }, one.tags)
      assert.same({ k = "v" }, one.meta)
      assert.equal("passing", one.status)
      assert.is_false(one.maintenance)
      assert.equal(10, one.checks[1].ttl)
      put "/v1/agent/service/deregister/app-1"
      advance(1)
      assert.same({}, world.consul:instances "app")
      assert.same({}, box.consul:services())
    end)

    it("turns a check critical that nobody updates, and forgets its service when told so", function()
      register { Check = { TTL = "10s", Status = "passing", DeregisterCriticalServiceAfter = "90s" } }
      advance(9)
      put "/v1/agent/check/pass/service:app-1"
      advance(9.5)
      assert.equal("passing", box.consul:service("app-1").status)
      advance(1)
      assert.equal("critical", box.consul:service("app-1").status)
      assert.equal("TTL expired", box.consul:service("app-1").output)
      advance(1)
      assert.equal("critical", status "app")
      advance(85)
      assert.is_table(box.consul:service "app-1")
      advance(40)
      assert.is_nil(box.consul:service "app-1")
      assert.is_nil(status "app")
    end)

    it("tells maintenance with its reason", function()
      register()
      put "/v1/agent/service/maintenance/app-1?enable=true&reason=upgrade"
      advance(1)
      assert.equal("upgrade", box.consul:service("app").maintenance)
      assert.equal("passing", box.consul:service("app").status)
      assert.equal("critical", status "app")
    end)

    it("brings nothing but output in minutes", function()
      register { Check = { TTL = "1h", Status = "passing" } }
      advance(1)
      put "/v1/agent/check/pass/service:app-1?note=new"
      advance(60)
      assert.equal("", get("/v1/health/checks/app")[1].Output)
      advance(600)
      assert.equal("new", get("/v1/health/checks/app")[1].Output)
    end)

    it("puts back what was removed from the catalogue, and removes what it does not hold", function()
      register { Check = { TTL = "1h", Status = "passing" } }
      advance(1)
      world.consul:remove "app"
      put("/v1/catalog/register", { Node = "here", Address = "10.0.0.1", Service = { Service = "stranger" } })
      assert.equal(1, #world.consul:instances "stranger")
      advance(121)
      assert.equal("passing", status "app")
      assert.same({}, world.consul:instances "stranger")
    end)

    it("keeps the catalogue's tags where it may, and its own elsewhere", function()
      for id, override in pairs { a = true, b = false } do
        register { ID = id, Name = id, Tags = { "old" }, EnableTagOverride = override, Check = { TTL = "1h" } }
      end
      advance(1)
      for _, id in ipairs { "a", "b" } do
        put("/v1/catalog/register", {
          Node = "here", SkipNodeUpdate = true,
          Service = { ID = id, Service = id, Tags = { "new" }, EnableTagOverride = id == "a", Port = 80 },
        })
      end
      advance(121)
      assert.same({ "new" }, world.consul:instances("a")[1].tags)
      assert.same({ "old" }, world.consul:instances("b")[1].tags)
    end)

    it("is critical for all when it is lost, and well again when it is back", function()
      register { Check = { TTL = "1h", Status = "passing" } }
      advance(1)
      box.consul:down()
      fails(call "/v1/agent/self", "ECONNREFUSED", "cannot connect to consul:8500")
      advance(11)
      assert.equal("critical", status "app")
      box.consul:up()
      advance(2)
      assert.equal("passing", status "app")
    end)

    it("forgets or keeps what it holds over a restart", function()
      register { Check = { TTL = "1h", Status = "passing" } }
      advance(1)
      box.consul:restart()
      fails(call "/v1/agent/self", "ECONNREFUSED", "")
      advance(5)
      assert.is_table(box.consul:service "app")
      box.consul:restart { lose_state = true }
      advance(5)
      assert.same({}, box.consul:services())
      assert.same({}, world.consul:instances "app")
      assert.equal(200, call("/v1/agent/self").status)
    end)

    it("leaves with all that it had", function()
      register()
      advance(1)
      assert.equal(200, put("/v1/agent/leave").status)
      assert.same({}, world.consul:instances "app")
      advance(10)
      fails(call "/v1/agent/self", "ECONNREFUSED", "")
    end)

    it("is each box's own, or shared", function()
      local other, third = machine { hostname = "there" }, machine { agent = "here" }
      register()
      assert.is_table(box.consul:service "app")
      assert.is_nil(other.consul:service "app")
      assert.is_table(third.consul:service "app")
      third.consul:down()
      fails(call "/v1/agent/self", "ECONNREFUSED", "")
      assert.equal(200, call("/v1/agent/self", nil, other.interface).status)
    end)

    it("runs a partition alone", function()
      register { Check = { TTL = "1h", Status = "passing" } }
      advance(1)
      box.consul:partition()
      fails(call "/v1/kv/x", 500, "rpc error getting client")
      advance(10)
      fails(call "/v1/kv/x", 500, "No known Consul servers")
      assert.equal("app", get("/v1/agent/services")["app-1"].Service)
      assert.equal("critical", status "app")
      put "/v1/agent/service/deregister/app-1"
      box.consul:heal()
      advance(2)
      assert.same({}, world.consul:instances "app")
      assert.equal(404, call("/v1/kv/x").status)
    end)
  end)

  -- --- troubles ----------------------------------------------------------------------------------

  describe("in trouble", function()
    it("has no leader", function()
      box.consul:put("x", "1")
      box.consul:leader(false)
      assert.equal('""', call("/v1/status/leader").body)
      fails(call "/v1/kv/x", 500, "No cluster leader")
      fails(put "/v1/kv/x", 500, "No cluster leader")
      assert.equal("1", call("/v1/kv/x?raw&stale").body)
      assert.equal("false", call("/v1/kv/x?stale").headers["x-consul-knownleader"])
      box.consul:leader(true)
      assert.equal("1", call("/v1/kv/x?raw").body)
      assert.matches(":8300", call("/v1/status/leader").body)
    end)

    it("answers a request that waited for the election", function()
      box.consul:leader(false)
      assert(port.consul { path = "/v1/kv/x" })
      advance(2)
      box.consul:leader(true)
      assert.equal(404, next_event().status)
    end)

    it("is slow, fails, hangs", function()
      box.consul:slow "2s"
      local before = world:elapsed()
      call "/v1/kv/x"
      assert.is_true(world:elapsed() - before >= 2)
      box.consul:fail(503)
      assert.equal(503, call("/v1/kv/x").status)
      box.consul:up()
      assert.equal(404, call("/v1/kv/x").status)
      box.consul:hang()
      assert.equal("ETIMEDOUT", call("/v1/kv/x", { timeout = 1 }).code)
      box.consul:up()
      assert.equal(404, call("/v1/kv/x").status)
    end)

    it("vanishes, with all that it was asked", function()
      box.consul:vanish()
      assert.equal("ETIMEDOUT", call("/v1/kv/x", { method = "PUT", body = "late", timeout = 1 }).code)
      local id = assert(port.consul { path = "/v1/kv/x", timeout = 60 })
      box.consul:up()
      assert.equal(404, call("/v1/kv/x").status)
      assert.is_nil(box.consul:get "x")
      assert.is_true(port.cancel(id))
    end)

    it("says from 1.11 on what is left out for lack of a right", function()
      local name = "x-consul-results-filtered-by-acls"
      box.consul:put("dir/x", "1")
      box.consul:deny "key"
      box.consul:deny "service"
      local function says()
        local list = {}
        for i, path in ipairs { "/v1/kv/dir/?recurse", "/v1/kv/none/?recurse", "/v1/health/service/db" } do
          list[i] = call(path).headers[name] or "-"
        end
        return table.concat(list, " ")
      end
      assert.equal("- - -", says())
      box.consul:version "1.11"
      assert.equal("true - true", says())
      box.consul:grant()
      assert.equal("- - -", says())
      box.consul:version "1.8.7"
      assert.has_error(function() box.consul:version "new" end)
    end)

    it("allows so many connections, and closes a further one", function()
      box.consul:limit(0)
      assert.equal("ECONNRESET", call("/v1/kv/x").code)
      box.consul:limit(1)
      assert.equal(404, call("/v1/kv/x").status)
      assert.equal(404, call("/v1/kv/x").status)
      assert.has_error(function() box.consul:limit(-1) end)
      box.consul:limit()
    end)

    it("knows a token no more, also of those who wait with it", function()
      box.consul:put("x", "1")
      local index = call("/v1/kv/x", { token = "old" }).headers["x-consul-index"]
      local id = assert(port.consul { path = "/v1/kv/x?wait=60s&index=" .. index, token = "old" })
      advance(0.1)
      box.consul:revoke "old"
      box.consul:put("x", "2")
      advance(1)
      local event = port.wait()
      assert.same({ id, 403 }, { event.id, event.status })
      local answer = call("/v1/kv/y", { token = "old" })
      assert.same({ 403, "ACL not found" }, { answer.status, answer.body })
      assert.equal(404, call("/v1/kv/y", { token = "new" }).status)
    end)

    it("does what it was asked while it hung, when it goes on", function()
      box.consul:hang()
      assert.equal("ETIMEDOUT", call("/v1/kv/x", { method = "PUT", body = "late", timeout = 1 }).code)
      assert.is_nil(box.consul:get "x")
      box.consul:up()
      assert.equal("late", box.consul:get "x")
    end)

    it("cuts those who wait", function()
      assert(port.consul { path = "/v1/kv/x?index=100&wait=60s" })
      advance(1)
      box.consul:down()
      assert.equal("ECONNRESET", next_event().code)
    end)

    it("denies: writes with 403, reads as Consul does it", function()
      box.consul:add("app", "10.0.0.1")
      box.consul:put("x", "1")
      for _, one in ipairs { "key", "service", "node", "session", "event", "agent", "query" } do
        box.consul:deny(one)
      end
      fails(call "/v1/kv/x", 403, "Permission denied")
      assert.equal(404, call("/v1/kv/?recurse").status)
      fails(put "/v1/kv/x", 403, "Permission denied")
      assert.same({}, get "/v1/health/service/app")
      fails(put("/v1/agent/service/register", { Name = "a" }), 403, "Permission denied")
      fails(put "/v1/session/create", 403, "Permission denied")
      fails(put "/v1/event/fire/x", 403, "Permission denied")
      fails(call "/v1/agent/self", 403, "Permission denied")
      box.consul:grant "key"
      assert.equal("1", call("/v1/kv/x?raw").body)
      box.consul:grant()
      assert.equal(1, #get "/v1/health/service/app")
    end)

    it("loses all that the servers knew, and hears from the agents again", function()
      register { Check = { TTL = "1h", Status = "passing" } }
      box.consul:put("x", "1")
      for _ = 1, 30 do put("/v1/kv/y", {}) end
      advance(1)
      local before = tonumber(call("/v1/kv/x").headers["x-consul-index"])
      world.consul:restart { lose_state = true }
      advance(40)
      assert.is_nil(box.consul:get "x")
      assert.is_true(tonumber(call("/v1/kv/x").headers["x-consul-index"]) < before)
      assert.equal("passing", status "app")
    end)

    it("stays behind a program that listens, or an address that is down", function()
      box:tcp("consul:8500", "down")
      fails(call "/v1/kv/x", "ECONNREFUSED", "consul:8500: connection refused")
      port.agent { url = "http://other:8500" }
      assert.equal(404, call("/v1/kv/x").status)
    end)
  end)

  it("lives and dies with the program that is its agent", function()
    local lived = sim.load("pilot.lua", {
      source = [[
        local pilot = require "luapilot"
        pilot.consul "localhost:8500"
        pilot.job "agent" { exec = "consul agent", restart = { policy = "always", backoff = "5s" } }
        pilot.every("1s", function() pilot.log.info(pcall(pilot.consul.status.leader) and "there" or "not there") end)
      ]],
      hostname = "inside",
    })
    lived:program("consul agent", { start_delay = "2s", listens = "127.0.0.1:8500", term_delay = "10ms" })
    lived:start()
    lived:advance "1500ms"
    assert.equal(1, boxes.logged(lived, "not there"))
    lived:advance "2s"
    local before = boxes.logged(lived, "not there")
    lived:advance "10s"
    assert.equal(before, boxes.logged(lived, "not there"))
    assert.is_true(boxes.logged(lived, "there") >= before + 10)
    lived:job("agent"):process():crash "SIGKILL"
    lived:advance "3s"
    assert.is_true(boxes.logged(lived, "not there") > before)
    lived:advance "10s"
    before = boxes.logged(lived, "not there")
    lived:advance "5s"
    assert.equal(before, boxes.logged(lived, "not there"))
    assert.same({}, lived:errors())
  end)

  -- --- sessions ----------------------------------------------------------------------------------

  describe("session", function()
    local function create(options)
      return cjson.decode(put("/v1/session/create", options).body).ID
    end

    local function lock(id) return call("/v1/kv/l?acquire=" .. id, { method = "PUT", body = "me" }).body end

    it("lives for one to two times its TTL, and as long as it is renewed", function()
      local id = create { TTL = "10s", NodeChecks = NONE, LockDelay = "0s" }
      assert.equal("true", lock(id))
      for _ = 1, 10 do
        advance(9.5)
        assert.equal(200, put("/v1/session/renew/" .. id).status)
      end
      assert.same({ "l" }, box.consul:sessions()[1].keys)
      local before = world:elapsed()
      while #box.consul:sessions() > 0 do assert.is_true(world.clock:step()) end
      local lived = world:elapsed() - before
      assert.is_true(lived >= 9.9 and lived <= 20)
      assert.equal(404, put("/v1/session/renew/" .. id).status)
      assert.is_nil(get("/v1/kv/l")[1].Session)
    end)

    it("expires at another moment with another seed", function()
      local lived = {}
      for seed = 1, 20 do
        world = sim.world { seed = seed }
        box = machine()
        port = box.interface
        create { TTL = "10s" }
        while #box.consul:sessions() > 0 do world.clock:step() end
        lived[math.floor(world:elapsed())] = true
      end
      local count = 0
      for seconds in pairs(lived) do
        count = count + 1
        assert.is_true(seconds >= 10 and seconds <= 20)
      end
      assert.is_true(count > 4)
    end)

    it("leaves its locks to nobody for the lock-delay, unless it released them", function()
      local one, other = create { LockDelay = "5s" }, create { LockDelay = "5s" }
      assert.equal("true", lock(one))
      assert.equal("false", lock(other))
      box.consul:destroy_session(one)
      assert.equal("false", lock(other))
      advance(5)
      assert.equal("true", lock(other))
      call("/v1/kv/l?release=" .. other, { method = "PUT" })
      one = create()
      assert.equal("true", lock(one))
    end)

    it("ends with its node, its node's health, or a check", function()
      register { Check = { TTL = "10s", Status = "passing" } }
      advance(1)
      create { NodeChecks = { "serfHealth" } }
      create { Checks = { "service:app-1" } }
      advance(12)
      assert.equal(1, #box.consul:sessions())
      box.consul:down()
      advance(11)
      assert.same({}, box.consul:sessions())
      fails(put "/v1/session/create", "ECONNREFUSED", "")
      local other = machine()
      port = other.interface
      create { NodeChecks = NONE }
      assert.equal(200, put("/v1/agent/leave").status)
      assert.same({}, world.consul:sessions())
    end)

    it("does not expire without a leader, and begins anew with the next", function()
      create { TTL = "10s", NodeChecks = { "serfHealth" } }
      advance(9)
      box.consul:leader(false)
      advance(100)
      assert.equal(1, #box.consul:sessions())
      box.consul:leader(true)
      advance(9.9)
      assert.equal(1, #box.consul:sessions())
      advance(11)
      assert.same({}, box.consul:sessions())
    end)
  end)

  -- --- waiting -----------------------------------------------------------------------------------

  describe("blocking query", function()
    it("returns with a change, and after its wait", function()
      box.consul:put("x", "1")
      local index = call("/v1/kv/x").headers["x-consul-index"]
      assert(port.consul { path = ("/v1/kv/x?raw&index=%s&wait=10s"):format(index) })
      box.consul:put("x", "2")
      local event = next_event(1)
      assert.equal("2", event.body)
      local before = world:elapsed()
      call(("/v1/kv/x?index=%s&wait=10s"):format(event.headers["x-consul-index"]))
      assert.is_true(world:elapsed() - before <= 11)
    end)

    it("returns now and then for nothing", function()
      box.consul:put("x", "1")
      local index = call("/v1/kv/x").headers["x-consul-index"]
      local early = 0
      for _ = 1, 100 do
        local before = world:elapsed()
        local event = call(("/v1/kv/x?index=%s&wait=10s"):format(index))
        assert.equal(index, event.headers["x-consul-index"])
        if world:elapsed() - before < 9 then early = early + 1 end
      end
      assert.is_true(early > 2 and early < 40)
    end)

    it("is renewed where the connection broke, with an index that is too large, too", function()
      box.consul:put("x", "1")
      assert(port.watch { path = "/v1/kv/x?raw" })
      assert.equal("1", next_event().body)
      advance(2)
      box.consul:down()
      world.consul:restart { lose_state = true }
      box.consul:leader(true)
      box.consul:up()
      assert.equal(404, next_event(3).status)
      local list = box.consul:requests()
      assert.same({ "/v1/kv/x?raw", "/v1/kv/x?raw" }, { list[1].path, list[3].path })
    end)

    it("of events has an index of 64 bits", function()
      assert(port.watch { path = "/v1/event/list?name=deploy", wait = 60 })
      assert.equal("[]", next_event().body)
      for i = 1, 3 do
        world.cluster:datacenter "dc1".store:after(i * 5, function()
          box.port.consul.server:accept({ method = "PUT", path = "/v1/event/fire/deploy" }, function() end)
        end)
      end
      for i = 1, 3 do
        local event = next_event()
        assert.equal(i, #cjson.decode(event.body))
        assert.matches("^%d+$", event.index)
      end
      assert.is_nil(next_event(50))
      assert.is_true(#box.consul:requests() < 10) -- and not one each second
    end)

    it("is not woken by another service", function()
      box.consul:add("app", "10.0.0.1")
      box.consul:add("db", "10.0.0.2")
      local index = call("/v1/health/service/app").headers["x-consul-index"]
      assert(port.consul { path = ("/v1/health/service/app?index=%s&wait=10s"):format(index) })
      box.consul:set_status("db", "critical")
      assert.is_nil(next_event(1))
      box.consul:set_status("app", "critical")
      assert.matches("critical", next_event(1).body)
    end)
  end)

  -- --- what the servers knew, and what the agent knows --------------------------------------------

  it("is restored to what a snapshot has, as often as one likes", function()
    box.consul:put("x", "1")
    world.consul:add("db", "10.0.0.1")
    put("/v1/session/create", { TTL = "1000s" })
    advance(1)
    local snapshot, session = world.consul:snapshot(), world.consul:sessions()[1].id
    for _ = 1, 2 do
      box.consul:put("x", "2")
      box.consul:put("y", "2")
      world.consul:remove "db"
      for _, one in ipairs(world.consul:sessions()) do world.consul:destroy_session(one.id) end
      world.consul:restore(snapshot)
      assert.same({ "1" }, { box.consul:get "x", box.consul:get "y" })
      assert.equal("10.0.0.1", world.consul:instances("db")[1].address)
      assert.equal(session, world.consul:sessions()[1].id)
    end
    advance(3000)
    assert.same({}, world.consul:sessions()) -- its time runs again
    for _, wrong in ipairs { "x", {} } do
      local ok, said = pcall(world.consul.restore, world.consul, wrong)
      assert.is_false(ok)
      assert.matches("consul:restore: expected what consul:snapshot%(%) gave", tostring(said))
    end
  end)

  describe("an agent's cache", function()
    local function cached(path)
      local answer = call(path)
      return answer.headers["x-cache"], answer.headers.age, answer.body
    end

    it("is kept up to date, and told of while the servers are away, with its age", function()
      local path = "/v1/health/service/db?cached"
      assert.equal("MISS", (cached(path)))
      world.consul:add("db", "10.0.0.1")
      advance(1)
      local hit, age, body = cached(path)
      assert.same({ "HIT", "0" }, { hit, age })
      assert.matches("10%.0%.0%.1", body)
      box.consul:partition()
      advance(60)
      world.consul:remove "db"
      hit, age, body = cached(path)
      assert.equal("HIT", hit)
      assert.is_true(tonumber(age) > 30)
      assert.matches("10%.0%.0%.1", body)
      assert.equal(500, call(path .. "&index=1000&wait=10s").status)
      box.consul:heal()
      advance(10)
      hit, age, body = cached(path)
      assert.same({ "HIT", "0", "[]" }, { hit, age, body })
    end)

    it("of a simple kind is as it was for three days", function()
      call("/v1/query", { method = "POST", body = '{"Name":"q","Service":{"Service":"db"}}' })
      local path = "/v1/query/q/execute?cached"
      assert.equal("MISS", (cached(path)))
      world.consul:add("db", "10.0.0.1")
      advance(100)
      local hit, age, body = cached(path)
      assert.equal("HIT", hit)
      assert.is_true(tonumber(age) >= 100)
      assert.is_nil(body:find("10.0.0.1", 1, true))
      advance(3 * 86400)
      local answer = call(path)
      assert.equal("MISS", answer.headers["x-cache"])
      assert.matches("10%.0%.0%.1", answer.body)
    end)

    it("ends with the agent, and knows nothing that a token may not", function()
      local path = "/v1/health/service/db?cached"
      world.consul:add("db", "10.0.0.1")
      assert.equal("MISS", (cached(path)))
      assert.equal("MISS", call(path, { token = "other" }).headers["x-cache"])
      box.consul:down()
      box.consul:up()
      assert.equal("MISS", (cached(path)))
    end)
  end)

  it("gives a call that waits what a watch leaves that has ended", function()
    world.consul:limit(4)
    local ids = {}
    for i = 1, 6 do ids[i] = assert(port.watch { path = "/v1/kv/x" .. i }) end
    advance(1) -- four are answered, and ask again when that is taken; two are refused
    local id = assert(port.consul { path = "/v1/kv/call", timeout = 60 })
    assert.is_true(port.cancel(ids[1]))
    local event
    repeat event = assert(next_event(1), "no answer") until event.id == id
    assert.equal(404, event.status)
  end)

  -- --- how often a watch asks ---------------------------------------------------------------------

  -- An agent that answers at once: the n-th question with body(n), and status_of(n) if that is not 200. Returns how
  -- many questions it gets in a minute, and when.
  local function in_a_minute(body, told, status_of)
    local count, asked = 0, {}
    function box.port.consul.server:accept(_, done) -- luacheck: ignore self
      count = count + 1
      asked[count] = world:elapsed()
      done {
        status = status_of and status_of(count) or 200, headers = { ["x-consul-index"] = tostring(count) },
        body = body(count),
      }
      return { cancel = function() end }
    end
    local id = assert(port.watch { path = "/v1/kv/x?raw" })
    local stop = world:elapsed() + 60
    repeat
      local event = next_event(stop - world:elapsed())
      if event and told then told(event) end
    until not event
    port.cancel(id)
    return count, asked
  end

  describe("a watch of an endpoint that always answers at once asks", function()
    it("once a second when nothing is new", function()
      local count = in_a_minute(function() return "same" end)
      assert.is_true(count >= 60 and count <= 63, count)
    end)

    it("ten times a second when each answer is news", function()
      local count = in_a_minute(tostring)
      assert.is_true(count > 560 and count <= 621, count) -- and two tokens
    end)

    it("less often the larger news are, and once a second from a megabyte on", function()
      local count = in_a_minute(function(n) return n .. ("x"):rep(500000) end)
      assert.is_true(count >= 115 and count <= 125, count)
      count = in_a_minute(function(n) return n .. ("x"):rep(2000000) end)
      assert.is_true(count >= 58 and count <= 63, count)
    end)

    it("once a second when news are called unchanged", function()
      local count = in_a_minute(tostring, function(event) assert.is_true(port.unchanged(event.id)) end)
      assert.is_true(count >= 60 and count <= 64, count)
    end)

    it("no more often when every other answer is an error", function()
      local count = in_a_minute(function() return "same" end, nil, function(n) return n % 2 == 0 and 500 or 200 end)
      assert.is_true(count <= 116, count) -- an answer after an error is news
    end)

    it("within a second, whatever the answers before have brought", function()
      local _, asked = in_a_minute(function(n) return tostring(n % 4 == 0 and n - 1 or n) end, -- the fourth is no news
        function(event) port.unchanged(event.id) end)
      for i = 2, #asked do assert.is_true(asked[i] - asked[i - 1] < 1.05, asked[i] - asked[i - 1]) end
    end)
  end)

  -- --- faults ------------------------------------------------------------------------------------

  describe("faults", function()
    local faults = require "luapilot.sim.consul.faults"

    local function load()
      return boxes.load([[
        pilot.consul "localhost:8500"
        pilot.job "app" {
          run = function() while true do pilot.sleep "1s"; pcall(pilot.consul.kv.put, "x", "1") end end,
        }
      ]])
    end

    it("hit only a pilot that uses Consul", function()
      local without = boxes.load [[ pilot.job "app" { run = function() end } ]]
      for _, kind in pairs(faults.kinds) do
        assert.same({}, kind.targets(without))
        assert.same({ false }, kind.targets(load()))
      end
    end)

    it("strike, tell themselves, and heal", function()
      local dice = require "luapilot.sim.random".new(1)
      local names = {}
      for name in pairs(faults.kinds) do names[#names + 1] = name end
      table.sort(names)
      for _, name in ipairs(names) do
        local kind, one = faults.kinds[name], load():start()
        local fault = { how = kind.draw(dice) }
        one:advance "2s"
        local struck = kind.strike(one, fault)
        assert.is_true(#kind.tell(fault) > 10)
        assert.equal(name ~= "consul_session" and name ~= "consul_remove", struck ~= nil)
        one:advance "20s"
        if kind.lasts then kind.heal(one, fault, struck) end
        one:advance "20s"
        one.consul:delete "x"
        one:advance "20s"
        assert.equal("1", one.consul:get "x")
      end
    end)
  end)

  -- --- watching the watcher ----------------------------------------------------------------------

  it("writes requests down", function()
    port.agent { url = "http://x", token = "t" }
    call "/v1/kv/a"
    call("/v1/kv/b", { method = "PUT", body = "1", token = "other" })
    local list = box.consul:requests()
    assert.equal("GET", list[1].method)
    assert.equal("/v1/kv/a", list[1].path)
    assert.equal("t", list[1].token)
    assert.equal("other", list[2].token)
    assert.equal("1", list[2].body)
    assert.is_true(list[2].at > list[1].at)
    assert.equal("t", box.consul:options().token)
    assert.matches("consul  PUT /v1/kv/b", box:history())
  end)

  it("is the same with the same seed, and another with another", function()
    local function story(seed)
      world = sim.world { seed = seed }
      box = machine()
      port = box.interface
      local lines = {}
      assert(port.watch { path = "/v1/health/service/app", wait = 5 })
      register { Check = { TTL = "10s", Status = "passing" } }
      for _ = 1, 20 do
        local event = next_event(7)
        lines[#lines + 1] = ("%.6f %s"):format(world:elapsed(), event and event.body or "-")
      end
      return table.concat(lines, "\n") .. box:history()
    end
    assert.equal(story(1), story(1))
    assert.are_not.equal(story(1), story(2))
  end)
end)
