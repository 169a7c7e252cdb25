-- What the simulated Consul answers is what the real one answers: the same conversations with both, compared word by
-- word.
--
-- Identities and indexes are drawn anew each time, so only whether there is one is compared; everything else is:
-- status, headers, texts of errors, names of fields, what is null, {} or [].

local cjson = require "cjson"
local consul = require "support.consul"
local machine = require "support.machine"
local json = require "luapilot.sim.consul.json"
local run = require "support.run"
local sim = require "luapilot.sim"

local NODE = "node-dc1"   -- the name of the real agent's node
local PATIENCE = 60       -- seconds in which the catalogue must have heard of what an agent knows
local HEADERS = { "content-type", "allow", "x-consul-index", "x-consul-knownleader", "x-consul-lastcontact",
                  "x-consul-effective-consistency", "x-consul-reason", "x-content-type-options", "x-cache", "age" }
local NOBODY = "00000000-0000-0000-0000-000000000000"

-- --- what is compared ----------------------------------------------------------------------------

local UUID = ("%x"):rep(8) .. "%-" .. (("%x"):rep(4) .. "%-"):rep(3) .. ("%x"):rep(12)
local DRAWN = { CreateIndex = true, ModifyIndex = true, ContentHash = true, LTime = true }

local function plain(value, key)
  if DRAWN[key] then return value ~= 0 and "drawn" or 0 end
  if type(value) == "string" then return (value:gsub(UUID, function(id) return id ~= NOBODY and "drawn" or id end)) end
  if type(value) ~= "table" then return value == cjson.null and "null" or value end
  local result = {}
  for name, field in pairs(value) do result[name] = plain(field, name) end
  if value[1] == nil then return result end
  if type(value[1]) == "table" and value[1].CheckID then -- an agent has them in the order of a map of Go, which is none
    table.sort(result, function(a, b) return a.CheckID < b.CheckID end)
  end
  return json.array(result)
end

-- An empty list and an empty map are one table to Lua: here they are words.
local function decode(body)
  local ok, value = pcall(cjson.decode, (body:gsub("%[%s*%]", '"[]"'):gsub("{%s*}", '"{}"')))
  return ok and plain(value) or nil
end

local function comparable(status, headers, body)
  local result = { status = status, headers = {} }
  for _, name in ipairs(HEADERS) do result.headers[name] = headers[name] end
  local index = tonumber(headers["x-consul-index"])
  result.headers["x-consul-index"] = index and (index > 1 and "drawn" or index) or nil
  local is_json = (headers["content-type"] or ""):find "json"
  result.body = is_json and decode(body) or plain(body)
  return result
end

-- --- the two sides -------------------------------------------------------------------------------

local function headers_of(head)
  local headers = {}
  for name, value in head:gmatch "([^\r\n:]+): ([^\r\n]*)" do headers[name:lower()] = value end
  return headers
end

local real = { pause = function() run.pause(0.05) end, now = run.now }

function real.ask(method, path, body)
  local status, answer, head = real.agent:try(method, path, body)
  return status, headers_of(head or ""), answer
end

local simulated = {}

function simulated.ask(method, path, body)
  local found
  simulated.box.port.consul.server:accept({ method = method, path = path, body = body }, function(one) found = one end)
  assert(found, "it blocks")
  return found.status, found.headers, found.body
end

function simulated.pause()
  local clock = simulated.world.clock
  local limit = clock:moment(0.05)
  while clock:step(limit) do end
  clock.time = limit
end

function simulated.now() return simulated.world.clock:now() end

local function identity(text) return text and text:match('"ID":%s*"(' .. UUID .. ')"') end

-- A step is "METHOD path body". {id} is the last identity that was given; `~ pattern` at the end asks again until the
-- answer matches.
local function say(side, step, state)
  local text, pattern = step:match "^(.*) ~ (.*)$"
  local method, path, body = (text or step):gsub("{id}", state.id or ""):match "^(%u+) (%S+) ?(.*)$"
  local last = side.now() + PATIENCE
  local status, headers, answer
  repeat
    if status then side.pause() end
    status, headers, answer = side.ask(method, path, body ~= "" and body or nil)
  until not pattern or answer:find(pattern) or side.now() > last
  if method ~= "GET" then state.id = identity(answer) or state.id end
  return comparable(status, headers, answer)
end

local function same(steps)
  local here, there = {}, {}
  for _, step in ipairs(steps) do
    local expected, found = say(real, step, here), say(simulated, step, there)
    assert.equal(step .. " → " .. json.encode(expected), step .. " → " .. json.encode(found))
  end
end

describe("the simulated Consul answers as the real one", machine.unless(consul.lacking(), function()
  before_each(function()
    real.agent = real.agent or consul.start { config = { session_ttl_min = "10s" } }
    real.agent:api("DELETE", "/v1/kv/?recurse")
    simulated.world = sim.world { seed = 3 }
    simulated.box = simulated.world:machine {
      hostname = NODE, addresses = { { name = "lo", address = "127.0.0.1", prefix = 8 } },
    }
  end)

  after_each(function()
    for id in pairs(real.agent:api("GET", "/v1/agent/services")) do
      real.agent:api("PUT", "/v1/agent/service/deregister/" .. id)
    end
    for id in pairs(real.agent:api("GET", "/v1/agent/checks")) do
      real.agent:api("PUT", "/v1/agent/check/deregister/" .. id)
    end
    run.eventually("the catalogue of nothing", function()
      return #real.agent:api("GET", "/v1/health/node/" .. NODE) == 1
        and not next(real.agent:api("GET", "/v1/agent/services"))
    end)
  end)

  teardown(run.finish)

  it("of paths, methods and parameters", function()
    same {
      "GET /v1/nope", "GET /nope", "GET /v1/status/leader/", "PUT /v1/status/leader", "GET /v1/agent/service/register",
      "POST /v1/kv/x", "GET /v1/kv/", "GET /v1/kv/a?index=x", "GET /v1/kv/a?wait=x&index=1",
      "GET /v1/health/service/x?stale&consistent", "GET /v1/health/service/x?dc=west", "PUT /v1/session/create?dc=west",
      "PUT /v1/event/fire/x?dc=west", "GET /v1/health/service/", "GET /v1/catalog/service/", "GET /v1/health/state/",
      "GET /v1/health/node/", "GET /v1/session/info/", "PUT /v1/session/renew/", "PUT /v1/event/fire/",
      "PUT /v1/agent/service/deregister/", "GET /v1/catalog/datacenters",
      "GET /v1/health/service/x?stale", "GET /v1/health/service/x?consistent", "GET /v1/catalog/node/nope",
      "GET /v1/health/node/nope", "GET /v1/health/checks/nope", "GET /v1/health/state/bad",
    }
  end)

  it("of an agent's cache", function()
    same {
      "GET /v1/health/service/x?cached", "GET /v1/health/service/x?cached", "GET /v1/health/service/x?cached&stale",
      "GET /v1/health/service/y?cached", "GET /v1/health/service/x",
      "GET /v1/health/service/x?cached&consistent", "GET /v1/health/service/x?cached&stale&consistent",
      "GET /v1/catalog/service/x?cached", "GET /v1/catalog/service/x?cached", "GET /v1/catalog/services?cached",
      "GET /v1/catalog/services?cached", "GET /v1/catalog/datacenters?cached", "GET /v1/catalog/datacenters?cached",
      "GET /v1/kv/nope?cached", "GET /v1/kv/nope?cached&consistent",
      "GET /v1/health/checks/x?cached",
    }
  end)

  it("of keys", function()
    same {
      "GET /v1/kv/nope", "GET /v1/kv/?keys", "GET /v1/kv/?recurse", "GET /v1/kv/a?keys",
      "PUT /v1/kv/a/b val<&>", "GET /v1/kv/a/b", "GET /v1/kv/a/b?raw", "PUT /v1/kv/empty", "GET /v1/kv/empty",
      "GET /v1/kv/empty?raw", "PUT /v1/kv/a/c?flags=18446744073709551615 x", "PUT /v1/kv/a/c?flags=x x",
      "PUT /v1/kv/a/c?flags=18446744073709551616 x",
      "PUT /v1/kv/a/c?cas=1 x", "PUT /v1/kv/a/c?cas=x x", "PUT /v1/kv/a/c?cas=0&acquire=x x",
      "PUT /v1/kv/a/d/e?cas=0 x",
      "GET /v1/kv/a/?recurse", "GET /v1/kv/a/?keys", "GET /v1/kv/?keys&separator=/", "GET /v1/kv/a/?keys&separator=/",
      "PUT /v1/kv/a/b val<&>", "GET /v1/kv/a/b", "DELETE /v1/kv/nope", "DELETE /v1/kv/a/c?cas=1", "DELETE /v1/kv/",
      "DELETE /v1/kv/a/c?cas=1&recurse", "DELETE /v1/kv/a/d/?recurse", "GET /v1/kv/a/d?recurse",
      "GET /v1/kv/zz?recurse",
      "PUT /v1/kv/%C3%A4%20b%2Fc 1", "GET /v1/kv/%C3%A4%20b/c", "GET /v1/kv/?keys",
    }
  end)

  it("of sessions", function()
    same {
      "PUT /v1/session/create {\"TTL\":\"5s\"}", "PUT /v1/session/create {\"TTL\":\"x\"}",
      "PUT /v1/session/create {\"Foo\":\"x\"}", "PUT /v1/session/destroy/{id}",
      "PUT /v1/session/create {\"Behavior\":\"x\"}", "PUT /v1/session/create {\"Node\":\"nope\"}",
      "PUT /v1/session/create {\"LockDelay\":\"zz\"}", "PUT /v1/session/create {\"NodeChecks\":[\"foo\"]}",
      "PUT /v1/session/create {\"ServiceChecks\":[{\"ID\":\"nope\"}]}",
      "PUT /v1/session/create {\"Name\":1}",
      "PUT /v1/session/create", "GET /v1/session/info/{id}", "PUT /v1/session/destroy/{id}",
      "PUT /v1/session/create {\"Checks\":[],\"Name\":\"one\"}", "GET /v1/session/info/{id}",
      "PUT /v1/session/destroy/{id}",
      "PUT /v1/session/create {\"NodeChecks\":[],\"TTL\":\"10s\",\"LockDelay\":15,\"Behavior\":\"delete\"}",
      "GET /v1/session/list", "GET /v1/session/node/" .. NODE, "PUT /v1/session/renew/{id}",
      "PUT /v1/session/destroy/{id}", "PUT /v1/session/destroy/{id}", "PUT /v1/session/renew/" .. NOBODY,
      "PUT /v1/session/renew/x", "PUT /v1/session/destroy/x", "GET /v1/session/info/x",
      "GET /v1/session/info/" .. NOBODY, "GET /v1/session/list",
    }
  end)

  it("of locks", function()
    same {
      "PUT /v1/kv/l?acquire=nope x", "PUT /v1/kv/l?acquire=" .. NOBODY .. " x", "PUT /v1/kv/l?acquire= x",
      "PUT /v1/kv/l?release=" .. NOBODY .. " x", "PUT /v1/kv/l?release= x",
      "PUT /v1/session/create {\"LockDelay\":\"1m\"}", "PUT /v1/kv/l?acquire={id} me", "GET /v1/kv/l",
      "PUT /v1/kv/l?acquire={id} again", "GET /v1/kv/l", "PUT /v1/kv/l?release={id} free", "GET /v1/kv/l",
      "PUT /v1/kv/l?acquire={id} me", "GET /v1/kv/l", "PUT /v1/kv/l plain", "GET /v1/kv/l",
      "PUT /v1/session/destroy/{id}", "GET /v1/kv/l",
      "PUT /v1/session/create {\"Behavior\":\"delete\",\"LockDelay\":0}", "PUT /v1/kv/l?acquire={id} late",
      "PUT /v1/kv/m?acquire={id} mine", "PUT /v1/session/destroy/{id}", "GET /v1/kv/m",
    }
  end)

  local APP = [[{"ID":"app-1","Name":"app","Tags":["a","b"],"Meta":{"k":"v"},"Port":8000,"Address":"10.0.0.1",]]
    .. [["Weights":{"Passing":5,"Warning":2},"EnableTagOverride":true,"TaggedAddresses":{"wan":{"Address":"1.2.3.4",]]
    .. [["Port":99}},"Checks":[{"CheckID":"c1","TTL":"20s","Status":"passing","Notes":"n",]]
    .. [["DeregisterCriticalServiceAfter":"2m"},{"TTL":"10s"}]}]]

  it("of services that are registered wrongly", function()
    local function register(body) return "PUT /v1/agent/service/register " .. body end
    same {
      register [[{"Name":""}]], register [[{"Name":"a","Foo":1}]], register [[{"Name":"a","Check":{"TTL":"5"}}]],
      register [[{"Name":"a","Check":{"Foo":"0s"}}]],
      register [[{"Name":"a","Check":{"TTL":"1s","Interval":"1s","HTTP":"http://x"}}]],
      register [[{"Name":"a","Check":{"TTL":"1s","Status":"foo"}}]], register [[{"Name":"a","Address":"0.0.0.0"}]],
      register [[{"Name":"a","Tags":{}}]], register [[{"Name":"a","Meta":[]}]], register [[{"Name":"a","Port":"1"}]],
      register "xx", register [[{"Name":"a","Weights":{"Passing":0,"Warning":0}}]],
      register [[{"Name":"a","Check":{"TTL":"0s"}}]], "GET /v1/agent/checks",
      "PUT /v1/agent/service/maintenance/nope?enable=true", "PUT /v1/agent/service/maintenance/a",
      "PUT /v1/agent/service/maintenance/a?enable=x", "PUT /v1/agent/maintenance", "PUT /v1/agent/maintenance?enable=x",
      "PUT /v1/agent/check/register {\"TTL\":\"30s\"}", "PUT /v1/agent/check/register {\"Name\":\"x\"}",
      "PUT /v1/agent/check/register {\"Name\":\"x\",\"TTL\":\"1s\",\"Status\":\"bla\"}",
      "PUT /v1/agent/check/register {\"ID\":\"m3\",\"Name\":\"m\",\"TTL\":\"30s\",\"ServiceID\":\"nope\"}",
      "PUT /v1/agent/check/pass/nope", "PUT /v1/agent/check/update/nope {\"Status\":\"passing\"}",
      "PUT /v1/agent/check/deregister/nope", "PUT /v1/agent/service/deregister/nope", "GET /v1/agent/service/nope",
      "PUT /v1/agent/force-leave/nope",
    }
  end)

  it("of metadata and weights that Consul does not take, and of bytes that are no UTF-8", function()
    local function register(fields) return ([[PUT /v1/agent/service/register {"Name":"a",%s}]]):format(fields) end
    local function meta(key, value) return register(([["Meta":{"%s":"%s"}]]):format(key, value)) end
    local pairs_of_meta = {}
    for i = 1, 65 do pairs_of_meta[i] = ('"k%d":"x"'):format(i) end
    local function many(count) return register('"Meta":{' .. table.concat(pairs_of_meta, ",", 1, count) .. "}") end
    same {
      meta("a.b", "x"), meta("", "x"), meta("consul-x", "x"), meta("Consul-x", ""), meta(("k"):rep(128), "x"),
      meta(("k"):rep(129), "x"), meta("k", ("x"):rep(512)), meta("k", ("x"):rep(513)), meta("k", ("é"):rep(257)),
      many(64), many(65),
      register [["Weights":{"Passing":1,"Warning":0}]], "GET /v1/agent/service/a",
      register [["Weights":{"Passing":65535,"Warning":65535}]], register [["Weights":{"Passing":65536,"Warning":1}]],
      register [["Weights":{"Passing":1,"Warning":65536}]], register [["Weights":{"Passing":1,"Warning":-1}]],
      register '"Tags":["caf\233","\226\130x","<&>","b","b"],"Meta":{"k":"K\246ln","empty":""},"Check":{"TTL":"1m"}',
      "GET /v1/agent/service/a",
      'PUT /v1/agent/check/update/service:a {"Status":"passing","Output":"caf\233\\u0000"}', "GET /v1/agent/checks",
    }
  end)

  it("of durations", function()
    local steps = {}
    for _, text in ipairs { "1209600s", "1000000000s", "0.00001s", "336h", "1388h53m20s", "0.00001ms", "1.5s", "-1s",
      "1.2096e+06s", "1e-05s", "9999999999s", "1d" } do
      for _, fields in ipairs { '"TTL":"%s"', '"TTL":"1m","DeregisterCriticalServiceAfter":"%s"' } do
        steps[#steps + 1] = ([[PUT /v1/agent/service/register {"Name":"a","Check":{%s}}]]):format(fields:format(text))
      end
    end
    same(steps)
  end)

  it("of an agent's services and checks", function()
    same {
      "PUT /v1/agent/service/register {\"Name\":\"web\"}", "PUT /v1/agent/service/register " .. APP,
      "GET /v1/agent/services", "GET /v1/agent/checks", "GET /v1/agent/service/app-1",
      "GET /v1/agent/services?filter=Service==app", "GET /v1/agent/health/service/id/app-1",
      "GET /v1/agent/health/service/id/web", "GET /v1/agent/health/service/name/app",
      "GET /v1/agent/health/service/name/nope", "GET /v1/agent/health/service/id/nope",
      "GET /v1/agent/health/service/id/app-1?format=text",
      "PUT /v1/agent/check/pass/c1?note=hello", "PUT /v1/agent/check/warn/service:app-1:2?note=hm",
      "GET /v1/agent/health/service/id/app-1", "GET /v1/agent/checks",
      "PUT /v1/agent/check/update/c1 {\"Status\":\"foo\"}",
      "PUT /v1/agent/check/update/c1 {\"Status\":\"passing\",\"Outpu\":\"out\"}",
      "PUT /v1/agent/check/update/c1 {\"Status\":\"passing\",\"Output\":\"" .. ("o"):rep(5000) .. "\"}",
      "GET /v1/agent/checks", "PUT /v1/agent/service/register " .. APP, "GET /v1/agent/checks",
      "PUT /v1/agent/service/maintenance/app-1?enable=true&reason=why", "GET /v1/agent/checks",
      "GET /v1/agent/health/service/id/app-1", "PUT /v1/agent/service/maintenance/app-1?enable=false",
      "PUT /v1/agent/maintenance?enable=true", "GET /v1/agent/health/service/id/web", "GET /v1/agent/checks",
      "PUT /v1/agent/maintenance?enable=false",
      "PUT /v1/agent/service/register?replace-existing-checks=true "
        .. [[{"ID":"app-1","Name":"app","Check":{"CheckID":"third","TTL":"20s"}}]],
      "GET /v1/agent/checks",
      "PUT /v1/agent/check/register {\"Name\":\"mem\",\"TTL\":\"30s\",\"Notes\":\"x\"}",
      "PUT /v1/agent/check/register {\"ID\":\"m2\",\"Name\":\"mem\",\"TTL\":\"30s\",\"ServiceID\":\"web\"}",
      "GET /v1/agent/checks", "PUT /v1/agent/check/deregister/mem", "GET /v1/agent/checks",
    }
  end)

  it("of the catalogue", function()
    same {
      "PUT /v1/agent/service/register " .. APP, "GET /v1/health/service/app ~ app%-1:2",
      "GET /v1/catalog/service/app", "GET /v1/health/service/app?passing", "GET /v1/health/service/app?passing=false",
      "GET /v1/health/service/app?passing=x",
      "GET /v1/health/service/app?tag=a&tag=b", "GET /v1/health/service/app?tag=a&tag=z", "GET /v1/health/checks/app",
      "GET /v1/catalog/service/app?tag=z", "GET /v1/health/service/app?near=_agent",
      "GET /v1/health/service/app?node-meta=x:y", "GET /v1/catalog/nodes?node-meta=x:y",
      "PUT /v1/agent/check/pass/service:app-1:2", "GET /v1/health/service/app?passing ~ app%-1:2",
      "PUT /v1/agent/service/deregister/app-1", "GET /v1/health/service/app ~ ^%[%s*%]",
      "GET /v1/catalog/service/app",
    }
  end)

  it("of what is external", function()
    same {
      "PUT /v1/catalog/register {\"Node\":\"ext\"}", "PUT /v1/catalog/deregister {}",
      "PUT /v1/catalog/register {\"Node\":\"ext\",\"Address\":\"10.9.9.9\"}",
      "PUT /v1/catalog/register {\"Node\":\"ext\",\"Address\":\"10.9.9.9\",\"Service\":{\"Port\":1}}",
      [[PUT /v1/catalog/register {"Node":"ext","Address":"10.9.9.9","Service":{"Service":"db","Port":5432},]]
        .. [["Check":{"CheckID":"dbc","Name":"d","Status":"passing","ServiceID":"db"}}]],
      "GET /v1/health/service/db", "GET /v1/catalog/service/db", "GET /v1/catalog/node/ext", "GET /v1/health/node/ext",
      "PUT /v1/catalog/deregister {\"Node\":\"ext\",\"ServiceID\":\"db\"}", "GET /v1/catalog/node/ext",
      "PUT /v1/catalog/deregister {\"Node\":\"ext\"}", "GET /v1/catalog/node/ext",
    }
  end)

  it("of filters", function()
    local steps = {
      "PUT /v1/agent/service/register " .. APP, "GET /v1/health/service/app ~ app%-1:2",
    }
    for _, text in ipairs {
      "Service.Tags+is+empty", "Service.Tags+is+not+empty", "Service.Tags+is+bad", "Service.Metax==1",
      "Service.Port==abc", "Service.Port==8000", "Service.Port!=8000", "Service.Tags==a", "a+in+Service.Tags",
      "z+in+Service.Tags", "z+not+in+Service.Tags", "Service.Tags+contains+a", "Service.Tags+not+contains+a",
      "\"abc\"+in+Service.Port", "Checks.Status==passing", "Checks.Status==warning", "Checks.Status!=passing",
      "Checks.Status+is+empty", "Checks+is+empty", "Service.Meta.k==v", "Service.Meta.k!=v", "Service.Meta.zz==v",
      "Service.Meta.zz!=v", "k+in+Service.Meta", "Service.Meta+is+empty", "not+Service.Meta.k==v",
      "Service.Meta.k==v+and+Node.Node==x", "Service.Meta.k==v+or+Node.Node==x",
      "(Service.Meta.k==v+or+Node.Node==x)+and+not+Service.ID==x", "Service.Address+matches+\"^10[.]\"",
      "Service.Address+not+matches+\"^11\"", "Service.Weights.Passing==5", "Service.EnableTagOverride==true", "Foo==1",
      "Service.Address==10.0.0.1", "app+in+Service.Service",
    } do
      steps[#steps + 1] = "GET /v1/health/service/app?filter=" .. text
    end
    same(steps)
  end)

  it("of other shapes that are filtered", function()
    same {
      "PUT /v1/agent/service/register " .. APP, "GET /v1/health/service/app ~ app%-1:2",
      "GET /v1/catalog/service/app?filter=ServiceMeta.k==v", "GET /v1/catalog/service/app?filter=ServiceTags+is+empty",
      "GET /v1/catalog/service/app?filter=Service.Tags+is+empty", "GET /v1/health/checks/app?filter=Status==passing",
      "GET /v1/health/state/any?filter=CheckID==c1", "GET /v1/agent/checks?filter=Status==critical",
      "GET /v1/agent/checks?filter=Foo==critical", "GET /v1/catalog/nodes?filter=Node==zz",
    }
  end)

  it("of transactions", function()
    same {
      [=[PUT /v1/txn [{"KV":{"Verb":"set","Key":"t/a","Value":"aGVsbG8="}},{"KV":{"Verb":"get","Key":"t/a"}}]]=],
      [=[PUT /v1/txn [{"KV":{"Verb":"get","Key":"t/nope"}}]]=],
      [=[PUT /v1/txn [{"KV":{"Verb":"set","Key":"t/b","Value":"aGVsbG8="}},]=]
        .. [=[{"KV":{"Verb":"check-index","Key":"t/z","Index":1}}]]=],
      "GET /v1/kv/t/b",
      [=[PUT /v1/txn [{"KV":{"Verb":"foo","Key":"t/a"}}]]=],
      [=[PUT /v1/txn [{"KV":{"Verb":"get-tree","Key":"t"}},{"KV":{"Verb":"delete","Key":"t/a"}}]]=],
      [=[PUT /v1/txn [{"KV":{"Verb":"check-not-exists","Key":"t/z"}},{"KV":{"Verb":"cas","Key":"t/z","Index":5}}]]=],
      [=[PUT /v1/txn [{"KV":{"Verb":"check-session","Key":"t/z","Session":"x"}},{"KV":{"Verb":"unlock","Key":"t/z"}},]=]
        .. [=[{"KV":{"Verb":"delete-cas","Key":"t/z","Index":1}},{"KV":{"Verb":"delete-tree","Key":"t/z"}}]]=],
      [=[PUT /v1/txn [{"KV":{"Verb":"lock","Key":"t/z","Session":"y"}}]]=],
      [=[PUT /v1/txn [{"KV":{"Verb":"set","Key":"t/f","Flags":18446744073709551615}}]]=], "GET /v1/kv/t/f",
      "PUT /v1/txn x", "PUT /v1/txn []", "GET /v1/kv/t/?keys",
    }
  end)

  it("of prepared queries", function()
    same {
      "GET /v1/query", "GET /v1/query/x", "GET /v1/query/x/execute", "POST /v1/query {\"Name\":\"q2\"}",
      "GET /v1/query/" .. NOBODY, "DELETE /v1/query/" .. NOBODY,
      "PUT /v1/agent/service/register " .. APP, "PUT /v1/agent/check/pass/service:app-1:2",
      "GET /v1/health/service/app?passing ~ app%-1:2",
      [[POST /v1/query {"Name":"q1","Service":{"Service":"app","Tags":["a"]}}]],
      "GET /v1/query", "GET /v1/query/{id}", "GET /v1/query/q1/execute", "GET /v1/query/{id}/execute?limit=1",
      [[PUT /v1/query/{id} {"Name":"q1","Service":{"Service":"app","OnlyPassing":true}}]], "GET /v1/query/{id}",
      "GET /v1/query/q1/execute", "GET /v1/query/q1/execute?cached", "GET /v1/query/q1/execute?cached",
      "GET /v1/query/{id}?cached", "GET /v1/query/q1/execute?cached&consistent",
      "DELETE /v1/query/{id}", "GET /v1/query",
    }
  end)

  it("of events", function()
    same {
      "GET /v1/event/list", "PUT /v1/event/fire/deploy payload", "GET /v1/event/list ~ deploy",
      "GET /v1/event/list?name=nope",
      "PUT /v1/event/fire/deploy?node=x&service=y&tag=z",
    }
  end)
end))
