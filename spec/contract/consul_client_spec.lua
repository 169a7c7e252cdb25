-- pilot.consul on a Consul: every function once, with what it returns. The same spec runs on the real one and on the
-- simulated one; where it differs, the simulator lies.

local consul_pilot = require "support.consul_pilot"
local fixtures = require "support.consul_fixture"
local machine  = require "support.machine"

local NOBODY = "11111111-2222-3333-4444-555555555555" -- the id of nothing
local UUID = "^%x+%-%x+%-%x+%-%x+%-%x+$"

local function contract(fixture)
  describe("pilot.consul on the " .. fixture.name .. " Consul", machine.unless(fixture.lacking(), function()
    local box

    before_each(function()
      fixture.agent {}
      box = consul_pilot.start(fixture)
    end)

    after_each(function()
      if box then box:finish() end
      box = nil
      while fixture.world.next(0) do end
      fixture.reset()
    end)

    teardown(fixture.finish)

    local function run(text, ...) return box:run(text, ...) end
    local function raises(text, ...) return box:raises(text, ...) end

    -- Waits until the text returns something true: the catalogue hears of the agent's services a little later.
    local function eventually(text, ...)
      return run(([[for _ = 1, 1000 do
          local found = (function(...) %s end)(...)
          if found then return found end
          pilot.sleep(0.05)
        end
        error "in vain"]]):format(text), ...)
    end

    -- The fields of a table that are not of the moment.
    local function only(value, fields)
      local result = {}
      for name in fields:gmatch "%S+" do result[name] = value[name] end
      return result
    end

    -- --- status ------------------------------------------------------------------------------------

    it("names the leader and its peers", function()
      local leader = run "return pilot.consul.status.leader()"
      assert.matches("^[%d.]+:%d+$", leader)
      assert.same({ leader }, run "return c.status.peers()")
    end)

    -- --- keys --------------------------------------------------------------------------------------

    it("keeps keys", function()
      assert.is_true(run 'return c.kv.put("app/x", "a\\0\\255b", { flags = "18446744073709551615" })')
      local value, details, meta = run 'return c.kv.get "app/x"'
      assert.equal("a\0\255b", value)
      assert.same({ key = "app/x", flags = "18446744073709551615", lock_index = "0" },
        only(details, "key flags lock_index session value"))
      assert.matches("^[1-9]%d*$", details.modify_index)
      assert.equal(details.modify_index, details.create_index)
      assert.equal(details.modify_index, meta.last_index)
      assert.is_true(meta.known_leader)
      assert.equal(0, meta.last_contact)
      assert.same({ nil, nil }, { run 'return (c.kv.get "app/none")' })
    end)

    it("keeps empty values, odd names, and half a megabyte", function()
      run [[c.kv.put("empty", "") c.kv.put("a b/ü?#%&+", "odd") c.kv.put("dir/", "slash")]]
      assert.equal("", run 'return (c.kv.get "empty")')
      assert.equal("odd", run 'return (c.kv.get "a b/ü?#%&+")')
      assert.equal("slash", run 'return (c.kv.get "dir/")')
      local large = ("0123456\0"):rep(65536)
      run('c.kv.put("large", ...)', large)
      assert.is_true(large == run 'return (c.kv.get "large")')
      assert.matches("^consul: PUT /v1/kv/large: 413: .*too large", raises('c.kv.put("large", ...)', large .. "x"))
    end)

    it("lists keys", function()
      run [[for _, key in ipairs { "a/y", "a/x", "a/b/c", "ab" } do c.kv.put(key, key .. "!") end]]
      local pairs_found = {}
      for i, pair in ipairs((run 'return c.kv.list "a/"')) do pairs_found[i] = pair.key .. "=" .. pair.value end
      assert.same({ "a/b/c=a/b/c!", "a/x=a/x!", "a/y=a/y!" }, pairs_found)
      assert.same({ "a/b/c", "a/x", "a/y", "ab" }, (run 'return c.kv.keys "a"'))
      assert.same({ "a/", "ab" }, (run 'return c.kv.keys("a", { separator = "/" })'))
      assert.same({}, (run 'return c.kv.list "none"'))
      assert.same({}, (run 'return c.kv.keys "none"'))
      assert.equal(4, #(run 'return c.kv.list ""'))
    end)

    it("writes and deletes on conditions", function()
      assert.is_true(run 'return c.kv.cas("x", "1", 0)')
      assert.is_false(run 'return c.kv.cas("x", "2", 0)')
      assert.is_true(run 'local _, d = c.kv.get "x" return c.kv.cas("x", "3", d.modify_index)')
      assert.is_false(run 'return c.kv.put("x", "4", { cas = 1 })')
      assert.equal("3", run 'return (c.kv.get "x")')
      assert.is_false(run 'return c.kv.delete("x", { cas = 1 })')
      assert.is_true(run 'local _, d = c.kv.get "x" return c.kv.delete("x", { cas = d.modify_index })')
      assert.is_true(run 'return c.kv.delete "x"')
      run [[c.kv.put("t/a", "") c.kv.put("t/b", "") c.kv.put("u", "")]]
      assert.is_true(run 'return c.kv.delete("t/", { recurse = true })')
      assert.same({ "u" }, (run 'return c.kv.keys ""'))
    end)

    it("waits for a change", function()
      run 'c.kv.put("x", "1")'
      local value, seconds = run [[
        local _, details = c.kv.get "x"
        local from = pilot.now()
        pilot.spawn(function() pilot.sleep "300ms" c.kv.put("x", "2") end)
        local value = c.kv.get("x", { index = details.modify_index, wait = "10m" })
        return value, pilot.now() - from]]
      assert.equal("2", value)
      assert.is_true(seconds >= 0.25)
      assert.equal("2", run 'local _, d = c.kv.get "x" return (c.kv.get("x", { index = d.modify_index, wait = 0.1 }))')
    end)

    it("reads as its options say", function()
      run 'c.kv.put("x", "1")'
      assert.equal("1", run 'return (c.kv.get("x", { stale = true }))')
      assert.equal("1", run 'return (c.kv.get("x", { consistent = true }))')
      assert.equal("1", run 'return (c.kv.get("x", { dc = c.catalog.datacenters()[1] }))')
      assert.matches("^consul: GET /v1/kv/x: 400: Cannot specify %?stale with %?consistent",
        raises 'c.kv.get("x", { stale = true, consistent = true })')
      assert.equal("consul: GET /v1/kv/x: 500: No path to datacenter; is dc right? "
        .. "pilot.consul.catalog.datacenters() lists them", raises 'c.kv.get("x", { dc = "nowhere" })')
    end)

    it("reads from the agent's cache, where that has one", function()
      local function seen()
        local _, meta = run 'return c.health.service("none", { cached = true })'
        return { meta.cache_hit, meta.cache_age }
      end
      assert.same({ false }, seen())
      assert.same({ true, 0 }, seen())
      local _, meta = run 'return c.health.service("none", { stale = true })'
      assert.same({}, { meta.cache_hit, meta.cache_age })
      for _, call in ipairs { 'kv.get("x", { cached = true })', 'kv.list("x", { cached = true })',
        "catalog.nodes { cached = true }", 'catalog.node("x", { cached = true })',
        'health.node("x", { cached = true })', 'health.checks("x", { cached = true })',
        "session.list { cached = true }", "query.list { cached = true }" } do
        assert.equal(("pilot.consul.%s.cached: Consul's agent has no cache for this: leave it out")
          :format(call:match "^[%w.]+"), raises("c." .. call))
      end
      assert.equal("pilot.consul.health.service: has cached and consistent: the leader does not answer from the "
        .. "agent's cache; leave one out", raises 'c.health.service("x", { cached = true, consistent = true })')
    end)

    -- --- sessions ----------------------------------------------------------------------------------

    it("makes sessions and locks keys with them", function()
      local id = run 'return c.session.create { name = "me", ttl = "20s", lock_delay = "1s", behavior = "delete" }'
      assert.matches(UUID, id)
      local info = run("return c.session.info(...)", id)
      assert.same({ id = id, name = "me", ttl = "20s", lock_delay = 1e9, behavior = "delete",
        node = run "return c.agent.node_name()", node_checks = { "serfHealth" }, service_checks = {} },
        only(info, "id name ttl lock_delay behavior node node_checks service_checks"))
      assert.matches("^%d+$", info.create_index)
      assert.equal(id, run("return c.session.renew(...)", id).id)
      assert.is_true(run('return c.kv.put("lock", "me", { acquire = ... })', id))
      local value, details = run 'return c.kv.get "lock"'
      assert.same({ "me", id, "1" }, { value, details.session, details.lock_index })

      local other = run "return c.session.create()"
      assert.is_false(run('return c.kv.put("lock", "you", { acquire = ... })', other))
      assert.equal(0, select("#", run("return c.session.destroy(...)", other)))
      assert.is_true(run('return c.kv.put("lock", "free", { release = ... })', id))
      run("c.session.destroy(...)", id)
      assert.is_nil((run("return c.session.info(...)", id)))
      assert.is_nil((run("return c.session.renew(...)", id)))
      assert.equal("free", run 'return (c.kv.get "lock")')
    end)

    it("makes sessions that no check ends, and lists them", function()
      local id = run "return c.session.create_no_checks { ttl = 20 }"
      local info = run("return c.session.info(...)", id)
      assert.same({ {}, {}, "20s" }, { info.node_checks, info.service_checks, info.ttl })
      local function ids(text)
        local found = {}
        for _, session in ipairs((run(text))) do found[#found + 1] = session.id end
        return found
      end
      assert.same({ id }, ids "return c.session.list()")
      assert.same({ id }, ids "return c.session.node(c.agent.node_name())")
      assert.same({}, ids 'return c.session.node "nobody"')
      run("c.session.destroy(...)", id)
      assert.same({}, ids "return c.session.list()")
    end)

    it("refuses sessions that are none", function()
      assert.matches('^consul: PUT /v1/kv/x: 500: .*invalid session "' .. NOBODY:gsub("%-", "%%-"),
        raises('c.kv.put("x", "1", { acquire = ... })', NOBODY))
      assert.is_nil((run("return c.session.renew(...)", NOBODY)))
      assert.matches("^consul: PUT /v1/session/create: 500: Invalid Session TTL",
        raises 'c.session.create { ttl = "25h" }')
    end)

    -- --- the agent ---------------------------------------------------------------------------------

    local REGISTER = [[c.agent.service_register {
      id = "db-1", name = "db", tags = { "a", "b" }, port = 5432, address = "10.0.0.5", meta = { ["Some-Key"] = "v" },
      weights = { passing = 2, warning = 1 }, check = { check_id = "db-ttl", ttl = "60s", status = "passing" } }]]

    it("takes long durations, and short ones", function()
      run [[
        c.agent.service_register { name = "long", check = { ttl = "336h", deregister_critical_service_after = 1e6 } }
        c.agent.service_register { name = "longer", check = { ttl = 5e6, deregister_critical_service_after = 9e9 } }
        c.agent.service_register { name = "short", check = { ttl = 0.00001 } }
        c.query.create { name = "slow", service = { service = "long" }, dns = { ttl = 1209600 } }]]
      assert.same({ "long", "longer", "short" }, run [[local names = {}
        for id in pairs(c.agent.services()) do names[#names + 1] = id end
        table.sort(names)
        for _, id in ipairs(names) do c.agent.service_deregister(id) end
        return names]])
      assert.equal("336h", run "local query = c.query.list()[1] c.query.delete(query.id) return query.dns.ttl")
      assert.is_nil((run 'return (c.kv.get("none", { wait = "10m" }))'))
      run [[c.session.destroy(c.session.create { ttl = "24h", lock_delay = "1m" })]]
    end)

    it("registers services and takes them back", function()
      assert.equal(0, select("#", run("return " .. REGISTER)))
      local service = run 'return c.agent.service "db-1"'
      local fields = "id service tags port address meta weights enable_tag_override"
      local expected = { id = "db-1", service = "db", tags = { "a", "b" }, port = 5432, address = "10.0.0.5",
        meta = { ["Some-Key"] = "v" }, weights = { passing = 2, warning = 1 }, enable_tag_override = false }
      assert.same(expected, only(service, fields))
      assert.matches("^%x+$", service.content_hash)
      assert.same(expected, only(run("return c.agent.services()")["db-1"], fields))
      assert.is_nil((run 'return c.agent.service "none"'))
      run 'c.agent.service_deregister "db-1"'
      assert.is_nil(run("return c.agent.services()")["db-1"])
    end)

    it("filters", function()
      run(REGISTER .. ' c.agent.service_register { name = "web" }')
      assert.is_nil(run([[return c.agent.services { filter = 'Service == "web"' }]])["db-1"])
      assert.is_table(run([[return c.agent.services { filter = 'Service == "web"' }]]).web)
      run 'c.agent.service_deregister "db-1" c.agent.service_deregister "web"'
    end)

    it("has checks, and hears how they are", function()
      run(REGISTER)
      local function check()
        local found = run("return c.agent.checks()")["db-ttl"]
        return found.status, found.output
      end
      assert.same({ check_id = "db-ttl", name = "Service 'db' check", node = run "return c.agent.node_name()",
        notes = "", service_id = "db-1", service_name = "db", service_tags = { "a", "b" }, status = "passing" },
        only(run("return c.agent.checks()")["db-ttl"],
          "check_id name node notes service_id service_name service_tags status"))
      assert.equal(0, select("#", run 'return c.agent.warn_ttl("db-ttl", "so & so")'))
      assert.same({ "warning", "so & so" }, { check() })
      run 'c.agent.fail_ttl("db-ttl", "bad")'
      assert.same({ "critical", "bad" }, { check() })
      run 'c.agent.pass_ttl "db-ttl"'
      assert.same({ "passing", "" }, { check() })
      run 'c.agent.update_ttl("db-ttl", "long", "warning")'
      assert.same({ "warning", "long" }, { check() })
      assert.matches('^consul: PUT /v1/agent/check/pass/none: 500: CheckID "none" does not have associated TTL$',
        raises 'c.agent.pass_ttl "none"')
      run 'c.agent.service_deregister "db-1"'
      assert.is_nil(run("return c.agent.checks()")["db-ttl"])
    end)

    it("has checks of its own", function()
      run 'c.agent.check_register { id = "own", name = "mine", ttl = 30, notes = "n", status = "warning" }'
      local check = run("return c.agent.checks()").own
      assert.same({ check_id = "own", name = "mine", notes = "n", status = "warning", service_id = "",
        service_tags = {} }, only(check, "check_id name notes status service_id service_tags"))
      run 'c.agent.check_deregister "own"'
      assert.is_nil(run("return c.agent.checks()").own)
    end)

    it("tells the health of its services", function()
      run(REGISTER)
      local status, info = run 'return c.agent.agent_health_service_by_id "db-1"'
      assert.same({ "passing", "passing", "db-1", "db-ttl" },
        { status, info.aggregated_status, info.service.id, info.checks[1].check_id })
      run 'c.agent.warn_ttl "db-ttl"'
      assert.equal("warning", (run 'return c.agent.agent_health_service_by_id "db-1"'))
      run 'c.agent.fail_ttl "db-ttl"'
      status, info = run 'return c.agent.agent_health_service_by_name "db"'
      assert.same({ "critical", 1, "critical" }, { status, #info, info[1].aggregated_status })
      assert.same({ "critical" }, { run 'return c.agent.agent_health_service_by_id "none"' })
      run 'c.agent.service_deregister "db-1"'
    end)

    it("goes into maintenance and comes back", function()
      run(REGISTER)
      run 'c.agent.enable_service_maintenance("db-1", "because it is so")'
      assert.same({ status = "critical", notes = "because it is so", service_id = "db-1" },
        only(run("return c.agent.checks()")["_service_maintenance:db-1"], "status notes service_id"))
      run 'c.agent.disable_service_maintenance "db-1"'
      assert.is_nil(run("return c.agent.checks()")["_service_maintenance:db-1"])
      run "c.agent.enable_node_maintenance()"
      assert.equal("critical", run("return c.agent.checks()")._node_maintenance.status)
      run "c.agent.disable_node_maintenance()"
      assert.is_nil(run("return c.agent.checks()")._node_maintenance)
      run 'c.agent.service_deregister "db-1"'
    end)

    it("says what it is", function()
      local name = run "return c.agent.node_name()"
      local itself = run "return c.agent.self()"
      assert.equal(name, itself.config.node_name)
      assert.is_string(itself.config.datacenter)
      assert.equal("boolean", type(itself.config.server))
      local member = run([[for _, member in ipairs((c.agent.members())) do
        if member.name == ... then return member end
      end]], name)
      assert.equal(1, member.status)
      assert.equal(itself.config.datacenter, member.tags.dc)
    end)

    -- --- health and catalogue ----------------------------------------------------------------------

    local function registered()
      run(REGISTER)
      eventually 'return c.health.service("db")[1]'
    end

    local function unregistered()
      run 'c.agent.service_deregister "db-1"'
      eventually 'return not c.health.service("db")[1]'
    end

    it("finds instances", function()
      registered()
      local name = run "return c.agent.node_name()"
      local list, meta = run 'return c.health.service("db", { passing = true, tag = { "a", "b" }, near = "_agent" })'
      assert.equal(1, #list)
      assert.same({ name, "10.0.0.5:5432" }, { list[1].node.node, list[1].authority })
      assert.equal("10.0.0.5:5432", run 'return c.catalog.service("db")[1].authority')
      assert.same({ id = "db-1", service = "db", tags = { "a", "b" }, address = "10.0.0.5", port = 5432,
        meta = { ["Some-Key"] = "v" }, weights = { passing = 2, warning = 1 } },
        only(list[1].service, "id service tags address port meta weights"))
      local checks = {}
      for _, check in ipairs(list[1].checks) do checks[check.check_id] = check.status end
      assert.same({ serfHealth = "passing", ["db-ttl"] = "passing" }, checks)
      assert.matches("^%d+$", meta.last_index)
      assert.same({}, (run 'return c.health.service("db", { tag = "c" })'))
      assert.same({}, (run 'return c.health.service "none"'))
      assert.equal(1, #(run([[return c.health.service("db", { filter = 'Service.Port == 5432' })]])))
      assert.same({}, (run([[return c.health.service("db", { filter = 'Service.Port == 1' })]])))
      run 'c.agent.fail_ttl "db-ttl"'
      eventually 'return not c.health.service("db", { passing = true })[1]'
      unregistered()
    end)

    it("finds checks", function()
      registered()
      local list = run 'return c.health.checks "db"'
      assert.same({ 1, "db-ttl", "passing" }, { #list, list[1].check_id, list[1].status })
      local function ids(text)
        local found = {}
        for _, check in ipairs((run(text))) do found[check.check_id] = true end
        return found
      end
      assert.same({ ["db-ttl"] = true, serfHealth = true }, ids "return c.health.node(c.agent.node_name())")
      assert.same({ ["db-ttl"] = true, serfHealth = true }, ids 'return c.health.state "passing"')
      assert.same({}, ids 'return c.health.state "critical"')
      assert.same({}, ids 'return c.health.node "nobody"')
      unregistered()
    end)

    it("knows the catalogue", function()
      registered()
      local name = run "return c.agent.node_name()"
      assert.equal(1, #(run "return c.catalog.datacenters()"))
      local nodes = run([[return c.catalog.nodes { filter = ('Node == "%s"'):format(...) }]], name)
      assert.same({ 1, name }, { #nodes, nodes[1].node })
      local tags = run("return c.catalog.services()").db
      table.sort(tags)
      assert.same({ "a", "b" }, tags)
      local list = run 'return c.catalog.service("db", { tag = "a" })'
      assert.same({ node = name, service_id = "db-1", service_name = "db", service_address = "10.0.0.5",
        service_port = 5432, service_tags = { "a", "b" }, service_meta = { ["Some-Key"] = "v" } },
        only(list[1], "node service_id service_name service_address service_port service_tags service_meta"))
      assert.same({}, (run 'return c.catalog.service "none"'))
      local node = run("return c.catalog.node(...)", name)
      assert.same({ name, "db" }, { node.node.node, node.services["db-1"].service })
      assert.is_nil((run 'return c.catalog.node "nobody"'))
      unregistered()
    end)

    it("takes what no agent looks after", function()
      assert.equal(0, select("#", run [[return c.catalog.register {
        node = "far", address = "10.1.1.1", node_meta = { External = "yes" },
        service = { service = "mail", id = "mail-1", port = 25 },
        check = { check_id = "m", name = "mail", status = "passing", service_id = "mail-1" } }]]))
      local list = run 'return c.health.service("mail", { node_meta = { External = "yes" }, passing = true })'
      assert.same({ "far", "10.1.1.1", { External = "yes" }, "mail-1", 25, "m" }, { list[1].node.node,
        list[1].node.address, list[1].node.meta, list[1].service.id, list[1].service.port, list[1].checks[1].check_id })
      assert.equal(0, select("#", run 'return c.catalog.deregister { node = "far" }'))
      assert.is_nil((run 'return c.catalog.node "far"'))
    end)

    -- --- transactions, events, queries ---------------------------------------------------------------

    it("does several operations as one", function()
      local list = run [[c.kv.put("gone", "1") return c.txn {
        { verb = "set", key = "t/a", value = "a\0", flags = 42 },
        { verb = "set", key = "t/b", value = "b" }, { verb = "get-tree", key = "t/" },
        { verb = "delete", key = "gone" }, { verb = "check-not-exists", key = "gone" } }]]
      local found = {}
      for i, pair in ipairs(list) do found[i] = pair.key .. "=" .. pair.value end
      assert.same({ "t/a=", "t/b=", "t/a=a\0", "t/b=b" }, found)
      assert.equal(42, list[3].flags)
      assert.is_nil((run 'return c.kv.get "gone"'))
    end)

    it("says which operation was refused, and does none of them", function()
      assert.equal('consul: PUT /v1/txn: nothing was changed: operation 2 (cas "t/b"): failed to set key "t/b", '
        .. 'index is stale; operation 3 (get "t/c"): key "t/c" doesn\'t exist', raises [[c.kv.put("t/b", "1") c.txn {
          { verb = "set", key = "t/a", value = "1" }, { verb = "cas", key = "t/b", value = "2", index = 1 },
          { verb = "get", key = "t/c" } }]])
      assert.is_nil((run 'return c.kv.get "t/a"'))
    end)

    it("fires events and hears of them", function()
      local name = run "return c.agent.node_name()"
      local id = run('return c.event.fire("deploy", { payload = "v1\\0", node = ... })', name)
      assert.matches(UUID, id)
      eventually 'return c.event.list({ name = "deploy" })[1]'
      local list, meta = run 'return c.event.list { name = "deploy" }'
      assert.same({ id = id, name = "deploy", payload = "v1\0", node_filter = name, service_filter = "",
        tag_filter = "" }, only(list[1], "id name payload node_filter service_filter tag_filter"))
      assert.is_number(list[1].ltime)
      assert.matches("^%d+$", meta.last_index)
    end)

    it("prepares queries and executes them", function()
      local id = run [[return c.query.create { name = "find", dns = { ttl = "10s" },
        service = { service = "consul", only_passing = true, failover = { nearest_n = 2 }, tags = {} } }]]
      assert.matches(UUID, id)
      local query = run("return c.query.get(...)", id)
      assert.same({ "find", "consul", true, 2, "10s" }, { query.name, query.service.service, query.service.only_passing,
        query.service.failover.nearest_n, query.dns.ttl })
      assert.equal(1, #(run "return c.query.list()"))
      local answer = run 'return c.query.execute("find", { limit = 1, near = "_agent" })'
      assert.same({ "consul", 1, "consul", 0 }, { answer.service, #answer.nodes, answer.nodes[1].service.service,
        answer.failovers })
      run('c.query.update(..., { name = "found", service = { service = "none" } })', id)
      assert.same({}, run('return c.query.execute "found"').nodes)
      assert.equal("consul: GET /v1/query/find/execute: 404: Query not found", raises 'c.query.execute "find"')
      assert.equal(0, select("#", run("return c.query.delete(...)", id)))
      assert.is_nil((run("return c.query.get(...)", id)))
    end)

    -- --- what the simulated Consul has not -----------------------------------------------------------

    if fixture.name ~= "real" then return end

    it("lists the services of a node", function()
      local node = run "return c.catalog.node_service_list(c.agent.node_name())"
      assert.same({ run "return c.agent.node_name()", "consul" }, { node.node.node, node.services[1].service })
      assert.is_nil((run 'return c.catalog.node_service_list "nobody"'))
    end)

    it("finds proxies", function()
      run [[c.agent.service_register { id = "web-proxy", name = "web-proxy", kind = "connect-proxy", port = 20000,
        proxy = { destination_service_name = "web", config = { Some_Key = 1 } } }]]
      local list = eventually [[local list = c.health.connect "web" return list[1] and list]]
      assert.same({ "web-proxy", "connect-proxy", "web", { Some_Key = 1 } }, { list[1].service.id, list[1].service.kind,
        list[1].service.proxy.destination_service_name, list[1].service.proxy.config })
      assert.equal("web-proxy", run('return c.catalog.connect "web"')[1].service_id)
      run 'c.agent.service_deregister "web-proxy"'
    end)

    it("tells figures, and what the machine is", function()
      assert.is_string(run("return c.agent.metrics()").timestamp)
      local gauge = eventually "return c.agent.metrics().gauges[1]" -- none for a second, each ten seconds
      assert.is_string(gauge.name)
      assert.is_table(gauge.labels)
      local host = run "return c.agent.host()"
      assert.equal("linux", host.host.os)
      assert.is_number(host.memory.used_percent)
    end)

    it("looks after its cluster", function()
      assert.equal(0, select("#", run "return c.agent.reload()"))
      local member = (run "return c.agent.members()")[1]
      assert.equal(0, select("#", run("return c.agent.join(...)", member.addr .. ":" .. member.port)))
      assert.matches("500: agent: No node found with name 'nobody'$", raises 'c.agent.force_leave "nobody"')
      assert.matches("No node found", raises 'c.agent.force_leave("nobody", { prune = true })')
    end)

    it("leaves, and waits for its return", function()
      assert.equal(0, select("#", run "return c.agent.leave()"))
      fixture.stop()
      assert.matches("^consul: GET /v1/status/leader: .*refused; nobody listens there", raises "c.status.leader()")
      fixture.start { lose = true }
      assert.matches(":%d+$", run 'return c.status.leader { retry = "1m" }')
    end)
  end))
end

contract(fixtures.real())
if fixtures.simulated then contract(fixtures.simulated()) end
