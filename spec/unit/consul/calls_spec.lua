-- Every endpoint: the request that a call becomes, and what its answer is.

local endpoints = require "luapilot.consul.endpoints"
local fake_consul = require "support.fake_consul"

-- call → the request, the answer, what is returned (nil: nothing)
local CALLS = {
  { "agent.self()", "GET /v1/agent/self",
    [[{"Config":{"NodeName":"n"},"Member":{"Tags":{"A-b":"c"}},"DebugConfig":{"ACLToken":"x"},
      "Stats":{"a":{"b_C":"1"}}}]],
    { config = { node_name = "n" }, member = { tags = { ["A-b"] = "c" } }, debug_config = { ACLToken = "x" },
      stats = { a = { b_C = "1" } } } },
  { "agent.node_name()", "GET /v1/agent/self", '{"Config":{"NodeName":"n"}}', "n" },
  { "agent.metrics()", "GET /v1/agent/metrics", '{"Gauges":[{"Name":"x","Labels":{"A":"b"}}]}',
    { gauges = { { name = "x", labels = { A = "b" } } } } },
  { "agent.host()", "GET /v1/agent/host", '{"Memory":{"usedPercent":5},"CPU":[{"vendorId":"x"}]}',
    { memory = { used_percent = 5 }, cpu = { { vendor_id = "x" } } } },
  { "agent.members { wan = true, segment = 's' }", "GET /v1/agent/members?wan&segment=s",
    '[{"Name":"n","ProtocolMin":1}]', { { name = "n", protocol_min = 1 } } },
  { "agent.services { filter = 'Port == 1' }", "GET /v1/agent/services?filter=Port%20%3D%3D%201",
    '{"Db-1":{"ID":"Db-1","Tags":null}}', { ["Db-1"] = { id = "Db-1", tags = {} } } },
  { "agent.service 'a/b'", "GET /v1/agent/service/a%2Fb", '{"ID":"a/b","Port":1}', { id = "a/b", port = 1 } },
  { "agent.service 'none'", "GET /v1/agent/service/none", 404 },
  { "agent.checks()", "GET /v1/agent/checks", "{}", {} },
  { "agent.service_register({ name = 'db', port = 1, checks = { { check_id = 'c', ttl = 15 } }, tags = {} }, "
    .. "{ replace_existing_checks = true })",
    'PUT /v1/agent/service/register?replace-existing-checks '
    .. '{"Checks":[{"CheckID":"c","TTL":"15s"}],"Name":"db","Port":1,"Tags":[]}', "" },
  { "agent.service_deregister 'db-1'", "PUT /v1/agent/service/deregister/db-1", "" },
  { "agent.check_register { id = 'c', name = 'n', http = 'http://x', interval = '10s', header = { A = 'b' } }",
    'PUT /v1/agent/check/register '
    .. '{"Header":{"A":["b"]},"HTTP":"http:\\/\\/x","ID":"c","Interval":"10s","Name":"n"}', "" },
  { "agent.check_deregister 'c'", "PUT /v1/agent/check/deregister/c", "" },
  { "agent.pass_ttl('service:a', 'fine & well')", "PUT /v1/agent/check/pass/service%3Aa?note=fine%20%26%20well", "" },
  { "agent.warn_ttl 'a'", "PUT /v1/agent/check/warn/a", "" },
  { "agent.fail_ttl('a', nil, { token = 't' })", "PUT /v1/agent/check/fail/a", "" },
  { "agent.update_ttl('a', 'out', 'passing')", 'PUT /v1/agent/check/update/a {"Output":"out","Status":"passing"}', "" },
  { "agent.enable_service_maintenance('a', 'why')", "PUT /v1/agent/service/maintenance/a?enable=true&reason=why", "" },
  { "agent.disable_service_maintenance 'a'", "PUT /v1/agent/service/maintenance/a?enable=false", "" },
  { "agent.enable_node_maintenance()", "PUT /v1/agent/maintenance?enable=true", "" },
  { "agent.disable_node_maintenance()", "PUT /v1/agent/maintenance?enable=false", "" },
  { "agent.join('10.0.0.1', { wan = true })", "PUT /v1/agent/join/10.0.0.1?wan", "" },
  { "agent.leave()", "PUT /v1/agent/leave", "" },
  { "agent.force_leave('n', { prune = true })", "PUT /v1/agent/force-leave/n?prune", "" },
  { "agent.reload()", "PUT /v1/agent/reload", "" },

  { "health.service('db', { passing = true, tag = { 'a', 'b' }, near = '_agent', node_meta = { k = 'v', a = 1 } })",
    "GET /v1/health/service/db?passing&near=_agent&node-meta=a%3A1&node-meta=k%3Av&tag=a&tag=b", "[]", {} },
  { "health.connect('db', { tag = 'a' })", "GET /v1/health/connect/db?tag=a",
    '[{"Node":{"Node":"n"},"Service":{"Port":1},"Checks":[]}]', { { node = { node = "n" }, service = { port = 1 },
      checks = {} } } },
  { "health.service('db', { cached = true, stale = true })", "GET /v1/health/service/db?cached&stale", "[]", {} },
  { "health.connect('db', { cached = true })", "GET /v1/health/connect/db?cached", "[]", {} },
  { "health.checks 'db'", "GET /v1/health/checks/db", "null", {} },
  { "health.node 'n'", "GET /v1/health/node/n", "[]", {} },
  { "health.state('any', { dc = 'east' })", "GET /v1/health/state/any?dc=east", "[]", {} },

  { "catalog.datacenters()", "GET /v1/catalog/datacenters", '["dc1"]', { "dc1" } },
  { "catalog.datacenters { cached = true }", "GET /v1/catalog/datacenters?cached", '["dc1"]', { "dc1" } },
  { "catalog.services { cached = true }", "GET /v1/catalog/services?cached", "{}", {} },
  { "catalog.service('db', { cached = true })", "GET /v1/catalog/service/db?cached", "[]", {} },
  { "catalog.connect('db', { cached = true })", "GET /v1/catalog/connect/db?cached", "[]", {} },
  { "catalog.nodes()", "GET /v1/catalog/nodes", "[]", {} },
  { "catalog.services()", "GET /v1/catalog/services", '{"Db":["TagA"]}', { Db = { "TagA" } } },
  { "catalog.service('db', { filter = 'x' })", "GET /v1/catalog/service/db?filter=x",
    '[{"ServiceID":"a","NodeMeta":{"B-c":"d"}}]', { { service_id = "a", node_meta = { ["B-c"] = "d" } } } },
  { "catalog.connect 'db'", "GET /v1/catalog/connect/db", "[]", {} },
  { "catalog.node 'n'", "GET /v1/catalog/node/n", '{"Node":{"Node":"n"},"Services":{"A":{"ID":"A"}}}',
    { node = { node = "n" }, services = { A = { id = "A" } } } },
  { "catalog.node 'none'", "GET /v1/catalog/node/none", "null" },
  { "catalog.node_service_list 'n'", "GET /v1/catalog/node-services/n",
    '{"Node":{"Node":"n"},"Services":[{"ID":"A"}]}', { node = { node = "n" }, services = { { id = "A" } } } },
  { "catalog.node_service_list 'none'", "GET /v1/catalog/node-services/none", '{"Node":null,"Services":null}' },
  { "catalog.register { node = 'n', address = 'a', node_meta = { X = 'y' }, service = { service = 's', port = 1 } }",
    'PUT /v1/catalog/register {"Address":"a","Node":"n","NodeMeta":{"X":"y"},"Service":{"Port":1,"Service":"s"}}',
    "true" },
  { "catalog.deregister { node = 'n', service_id = 's' }",
    'PUT /v1/catalog/deregister {"Node":"n","ServiceID":"s"}', "true" },

  { "session.create { ttl = '10s', lock_delay = 0.5, behavior = 'delete' }",
    'PUT /v1/session/create {"Behavior":"delete","LockDelay":"500ms","TTL":"10s"}', '{"ID":"x"}', "x" },
  { "session.create()", "PUT /v1/session/create {}", '{"ID":"x"}', "x" },
  { "session.create_no_checks { ttl = '10s' }", 'PUT /v1/session/create {"Checks":[],"TTL":"10s"}', '{"ID":"x"}', "x" },
  { "session.renew 'x'", "PUT /v1/session/renew/x", '[{"ID":"x","LockDelay":15000000000}]',
    { id = "x", lock_delay = 15000000000 } },
  { "session.renew 'gone'", "PUT /v1/session/renew/gone", 404 },
  { "session.destroy 'x'", "PUT /v1/session/destroy/x", "true" },
  { "session.info 'x'", "GET /v1/session/info/x", '[{"ID":"x","NodeChecks":null}]', { id = "x", node_checks = {} } },
  { "session.info 'gone'", "GET /v1/session/info/gone", "[]" },
  { "session.node 'n'", "GET /v1/session/node/n", "[]", {} },
  { "session.list()", "GET /v1/session/list", "null", {} },

  { "event.fire('deploy', { payload = 'a\\0', node = 'n', service = 's', tag = 't' })",
    "PUT /v1/event/fire/deploy?node=n&service=s&tag=t a\0", '{"ID":"x"}', "x" },
  { "event.list { name = 'deploy' }", "GET /v1/event/list?name=deploy",
    '[{"ID":"x","Payload":"YQA=","LTime":5},{"ID":"y","Payload":null}]',
    { { id = "x", payload = "a\0", ltime = 5 }, { id = "y", payload = "" } } },

  { "query.create { name = 'q', service = { service = 'db', failover = { nearest_n = 2 } }, dns = { ttl = 10 } }",
    'POST /v1/query {"DNS":{"TTL":"10s"},"Name":"q","Service":{"Failover":{"NearestN":2},"Service":"db"}}',
    '{"ID":"x"}', "x" },
  { "query.update('x', { service = { service = 'db' } })", 'PUT /v1/query/x {"Service":{"Service":"db"}}', "" },
  { "query.list()", "GET /v1/query", "[]", {} },
  { "query.get 'x'", "GET /v1/query/x", '[{"ID":"x"}]', { id = "x" } },
  { "query.get 'gone'", "GET /v1/query/gone", 404 },
  { "query.delete 'x'", "DELETE /v1/query/x", "" },
  { "query.execute('q', { limit = 2, near = '_agent' })", "GET /v1/query/q/execute?limit=2&near=_agent",
    '{"Service":"db","Nodes":null,"Failovers":0}', { service = "db", nodes = {}, failovers = 0 } },

  { "status.leader()", "GET /v1/status/leader", '"127.0.0.1:8300"', "127.0.0.1:8300" },
  { "status.leader { dc = 'east' }", "GET /v1/status/leader?dc=east", '""' },
  { "status.peers()", "GET /v1/status/peers", '["127.0.0.1:8300"]', { "127.0.0.1:8300" } },
}

describe("consul.calls", function()
  local box

  before_each(function() box = fake_consul.load 'pilot.consul "localhost:8500"' end)
  after_each(function() box:check() end)

  local function answers(answer)
    setmetatable(box.answers, { __index = function() return answer end })
  end

  local function raises(call)
    local ok, message = box:run("pilot.consul." .. call)
    assert.is_false(ok)
    return (tostring(message):gsub("^pilot.lua:1: ", ""))
  end

  for _, each in ipairs(CALLS) do
    local call, request, answer, value = unpack(each, 1, 4)
    it("sends " .. call, function()
      answers(answer)
      local ok, got = box:run("return (pilot.consul." .. call .. ")")
      assert.is_true(ok, got)
      local sent = box:last()
      assert.equal(request, sent.method .. " " .. sent.path .. (sent.body and " " .. sent.body or ""))
      assert.same(value, got)
    end)
  end

  it("are all of them in the list above", function()
    local missing = {}
    for group, entries in pairs(endpoints.groups) do
      for name in pairs(entries) do missing[group .. "." .. name] = true end
    end
    for _, each in ipairs(CALLS) do missing[each[1]:match "^[%w_.]+"] = nil end
    missing["agent.agent_health_service_by_id"], missing["agent.agent_health_service_by_name"] = nil, nil -- below
    assert.same({}, missing)
  end)

  it("puts address and port of instances together, those of the node where they have none", function()
    local function authorities(call, answer)
      answers(answer)
      local _, list = box:run("return (pilot.consul." .. call .. ")")
      local result = {}
      for i, each in ipairs(list.nodes or list) do result[i] = each.authority or "none" end
      return result
    end
    local healthy = '[{"Node":{"Address":"10.0.0.9"},"Service":{"Address":"fd00::1","Port":80}},'
      .. '{"Node":{"Address":"10.0.0.9"},"Service":{"Address":"","Port":81}},{"Node":{},"Service":{"Port":1}}]'
    local expected = { "[fd00::1]:80", "10.0.0.9:81", "none" }
    assert.same(expected, authorities("health.service 'a'", healthy))
    assert.same(expected, authorities("health.connect 'a'", healthy))
    assert.same(expected, authorities("query.execute 'a'", '{"Nodes":' .. healthy .. "}"))
    local catalogue = '[{"Address":"10.0.0.9","ServiceAddress":"fd00::1","ServicePort":80},'
      .. '{"Address":"10.0.0.9","ServiceAddress":"","ServicePort":81},{"ServicePort":1}]'
    assert.same(expected, authorities("catalog.service 'a'", catalogue))
    assert.same(expected, authorities("catalog.connect 'a'", catalogue))
  end)

  it("gives what has no host or no port no authority, and leaves the rows as they are", function()
    answers [=[[{"Node":{"Address":"10.0.0.9"},"Service":{"Address":"10.0.0.1; }\nserver {","Port":80}},
      {"Node":{"Address":"10.0.0.9"},"Service":{"Port":"80"}},{"Node":5,"Service":{"Address":7,"Port":-1}}, 5]]=]
    local _, list = box:run "return (pilot.consul.health.service 'a')"
    assert.same({ "10.0.0.1; }\nserver {", 4, 5 }, { list[1].service.address, #list, list[4] })
    for i = 1, 3 do assert.is_nil(list[i].authority) end
    answers [=[[{"Address":"10.0.0.9 x","ServicePort":80},{"Address":"10.0.0.9","ServicePort":65536}, 5]]=]
    _, list = box:run "return (pilot.consul.catalog.service 'a')"
    assert.equal(65536, list[2].service_port)
    for i = 1, 2 do assert.is_nil(list[i].authority) end
  end)

  it("tells the health of a service by the status of the answer", function()
    for status, health in pairs { [200] = "passing", [429] = "warning", [503] = "critical" } do
      answers { status = status, body = '{"AggregatedStatus":"x","Checks":[]}' }
      local _, word, info = box:run "return pilot.consul.agent.agent_health_service_by_id 'a'"
      assert.same({ health, { aggregated_status = "x", checks = {} } }, { word, info })
      assert.equal("/v1/agent/health/service/id/a", box:last().path)
    end
    answers { status = 404, body = "ServiceId a not found" }
    local ok, word, info = box:run "return pilot.consul.agent.agent_health_service_by_name 'a'"
    assert.same({ true, "critical" }, { ok, word, info })
    assert.equal("/v1/agent/health/service/name/a", box:last().path)
  end)

  it("gives what a blocking query goes on with where there are such", function()
    answers { body = "[]", headers = { ["x-consul-index"] = "12" } }
    for _, call in ipairs { "health.service 'a'", "catalog.nodes()", "session.list()", "event.list()", "query.list()",
                            "session.info 'x'" } do
      local results = { box:run("return pilot.consul." .. call) }
      assert.equal("12", results[3] and results[3].last_index, call)
    end
    answers '"127.0.0.1:8300"' -- a second value would be the output of a check
    assert.equal(2, select("#", box:run "return pilot.consul.status.leader()"))
  end)

  it("returns nothing where Consul says nothing", function()
    answers "true"
    assert.equal(1, select("#", box:run "return pilot.consul.session.destroy 'x'"))
  end)

  it("checks arguments", function()
    assert.equal("pilot.consul.health.service: service: expected a string, got nothing", raises "health.service()")
    assert.equal("pilot.consul.agent.pass_ttl: id: is an empty string", raises "agent.pass_ttl ''")
    assert.equal('pilot.consul.catalog.node: node: expected a name, got a string: ".."', raises "catalog.node '..'")
    assert.equal("pilot.consul.agent.pass_ttl: note: expected a string, got an empty table",
      raises "agent.pass_ttl('a', {})")
    assert.matches('^pilot.consul.agent.update_ttl: status: expected "passing", "warning" or "critical", got a string: '
      .. '"passng"; did you mean "passing"%?', raises "agent.update_ttl('a', 'x', 'passng')")
    assert.equal("pilot.consul.agent.self: expected a table of options, got a string: \"x\"", raises "agent.self 'x'")
    assert.equal('pilot.consul.health.service.passing_only: unknown field (did you mean "passing"?)',
      raises "health.service('a', { passing_only = true })")
    assert.equal("pilot.consul.agent.services.dc: unknown field (valid: \"filter\", \"retry\", \"timeout\", \"token\")",
      raises "agent.services { dc = 'x' }")
  end)

  it("takes no timeout that the port cannot count, no token with a line break, and any wait", function()
    assert.equal("pilot.consul.kv.get.timeout: is longer than 277h, the longest timeout",
      raises "kv.get('x', { timeout = '300h' })")
    for _, token in ipairs { "'abcd\\n'", "'ab cd'" } do
      assert.equal("pilot.consul.kv.get.token: contains a space or a line break: it is no token",
        raises("kv.get('x', { token = " .. token .. " })"))
    end
    answers "[]"
    box:run "pilot.consul.kv.get('x', { index = 1, wait = '300h' })"
    assert.equal("/v1/kv/x?index=1&wait=300h", box:last().path)
    assert.equal(600 * 17 / 16 + 30, box:last().timeout) -- Consul holds ten minutes at most
  end)

  it("sends no text that Consul would hold otherwise", function()
    local rest = "is not UTF-8: its byte 4 is \\233, and Consul would hold another text; write it in UTF-8"
    for call, field in pairs {
      ["agent.service_register { name = 'x', tags = { 'a', 'caf\\233' } }"] = "service.tags[2]",
      ["agent.service_register { name = 'x', meta = { k = 'caf\\233' } }"] = "service.meta.k",
      ["agent.service_register { name = 'x', checks = { { notes = 'caf\\233' } } }"] = "service.checks[1].notes",
      ["agent.service_register { name = 'x', proxy = { config = { 'caf\\233' } } }"] = "service.proxy.config[1]",
      ["agent.check_register { name = 'caf\\233' }"] = "check.name",
      ["session.create { name = 'caf\\233' }"] = "session.name",
      ["catalog.deregister { node = 'caf\\233' }"] = "deregistration.node",
      ["query.create { name = 'caf\\233' }"] = "query.name",
      ["txn { { verb = 'set', key = 'caf\\233', value = 'x' } }"] = "operations[1].key",
      ["agent.pass_ttl('x', 'caf\\233')"] = "note", ["agent.enable_node_maintenance 'caf\\233'"] = "reason",
      ["agent.enable_service_maintenance('x', 'caf\\233')"] = "reason", ["event.fire 'caf\\233'"] = "name",
      ["agent.service_deregister 'caf\\233'"] = "id", ["kv.get 'caf\\233'"] = "key",
      ["kv.list 'caf\\233'"] = "key", ["kv.put('caf\\233', 'x')"] = "key",
    } do
      assert.equal(("pilot.consul.%s: %s: %s"):format(call:match "^[%w_.]+", field, rest), raises(call))
    end
    for call, field in pairs {
      ["health.service('x', { tag = 'caf\\233' })"] = "tag[1]", ["health.service('x', { near = 'caf\\233' })"] = "near",
      ["health.service('x', { filter = 'caf\\233' })"] = "filter", ["kv.get('x', { dc = 'caf\\233' })"] = "dc",
      ["health.service('x', { node_meta = { k = 'caf\\233' } })"] = "node_meta.k",
    } do
      assert.equal(("pilot.consul.%s.%s: %s"):format(call:match "^[%w_.]+", field, rest), raises(call))
    end
    for call, field in pairs {
      ["session.create { name = 'caf\\233' }"] = "session.name",
    } do
      assert.equal(("pilot.consul.%s: %s: %s"):format(call:match "^[%w_.]+", field, rest), raises(call))
    end
    assert.matches('^pilot.consul.agent.service_register: service.meta%["caf\233"%]: is not UTF%-8: its byte 4',
      raises "agent.service_register { name = 'x', meta = { ['caf\\233'] = 'x' } }")
  end)

  it("marks bytes of what a check said that are no UTF-8, and sends values as the bytes that they are", function()
    answers ""
    box:run "pilot.consul.agent.update_ttl('a', 'caf\\233', 'passing')"
    assert.equal('{"Output":"caf\239\191\189","Status":"passing"}', box:last().body)
    answers "true"
    box:run "pilot.consul.kv.put('caf', 'caf\\233')"
    assert.same({ "/v1/kv/caf", "caf\233" }, { box:last().path, box:last().body })
  end)

  it("checks what is sent, down to the last field", function()
    assert.equal('pilot.consul.agent.service_register: service.checks[1].tpc: unknown field (did you mean "tcp"?)',
      raises "agent.service_register { name = 'x', checks = { { tpc = 'x' } } }")
    assert.equal("pilot.consul.agent.service_register: service: expected a service such as { name = \"db\", "
      .. "port = 5432 }, got nothing", raises "agent.service_register()")
    assert.matches("service.port: expected a whole number from 0 to 65535",
      raises "agent.service_register { name = 'x', port = '80' }")
    assert.equal('pilot.consul.agent.check_register: check.ttl: "15" has no unit: write "15s" for seconds (or "15ms", '
      .. '"15m", "15h")', raises "agent.check_register { name = 'x', ttl = '15' }")
    assert.equal('pilot.consul.session.create: session.behavior: expected "release" or "delete", got a string: '
      .. '"destroy"', raises "session.create { behavior = 'destroy' }")
    assert.matches("session.checks: unknown field", raises "session.create_no_checks { checks = {} }")
    assert.matches('service.meta.a: expected a string or a number, got an empty table',
      raises "agent.service_register { name = 'x', meta = { a = {} } }")
    assert.matches('service.tags%[2%]: expected a string, got a number: 1',
      raises "agent.service_register { name = 'x', tags = { 'a', 1 } }")
  end)

  it("refuses what cannot be sent", function()
    assert.matches("^pilot.consul.agent.service_register: service: Cannot serialise function",
      raises "agent.service_register { name = 'x', connect = { native = print } }")
  end)

  it("keeps what users name when it is sent", function()
    answers ""
    assert.is_true((box:run [[pilot.consul.agent.service_register { name = "x", meta = { some_key = 1 },
      tagged_addresses = { lan_ipv4 = { address = "10.0.0.1" } }, weights = { passing = 2 },
      connect = { sidecar_service = { proxy = { config = { max_conns = 5 } } } } }]]))
    assert.equal('{"Connect":{"SidecarService":{"Proxy":{"Config":{"max_conns":5}}}},"Meta":{"some_key":"1"},'
      .. '"Name":"x","TaggedAddresses":{"lan_ipv4":{"Address":"10.0.0.1"}},"Weights":{"Passing":2}}', box:last().body)
  end)
end)
