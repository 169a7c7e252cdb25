-- Watches, templates, triggers and reloads with the simulated Consul, and what must hold whatever happens to it.

local boxes = require "support.boxes"
local cjson = require "cjson"
local random = require "luapilot.sim.random"
local sim = require "luapilot.sim"

local SEEDS = tonumber(os.getenv "LUAPILOT_FUZZ") or 100
local FIRST = 1

local CONSUL = 'pilot.consul "consul:8500" '
local SHOW = CONSUL .. [[
  local function show(name, watch)
    watch:on("changed", function(event)
      local function ids(list)
        local parts = {}
        for i, each in ipairs(list) do parts[i] = each.id or each end
        return table.concat(parts, ",")
      end
      local is = event.instances and ids(event.instances) or event.value or tostring(event.values and event.values.a)
      print(("> %s [%s] +%s -%s ~%s"):format(name, is, ids(event.added or {}), ids(event.removed or {}),
        ids(event.updated or {})))
    end)
  end
]]

local function printed(box)
  local list = {}
  for _, entry in ipairs(box:log()) do
    if entry.message:find "^> " then list[#list + 1] = entry.message:sub(3) end
  end
  return list
end

-- --- a watch -----------------------------------------------------------------------------------

describe("a watch of Consul", function()
  after_each(boxes.check)

  local function run(source, options)
    local box = boxes.load(source, options)
    box:program("app", sim.server)
    return box
  end

  it("tells the first answer, also an empty one, and each change", function()
    local box = run(SHOW .. [[
      local db = pilot.watch "db"
      show("db", db)
      db:on("healthy", function() print "> healthy" end)
      db:on("unhealthy", function() print "> unhealthy" end)
    ]]):start()
    box:advance "2s"
    box.consul:add("db", "10.0.0.1")
    box:advance "2s"
    box.consul:add("db", "10.0.0.2")
    box:advance "2s"
    box.consul:add("db", "10.0.0.2", { port = 81 })
    box:advance "2s"
    box.consul:set_status("db-10.0.0.1", "critical")
    box:advance "2s"
    box.consul:remove "db-10.0.0.2"
    box:advance "2s"
    assert.same({ "db [] + - ~", "unhealthy", "db [db-10.0.0.1] +db-10.0.0.1 - ~", "healthy",
      "db [db-10.0.0.1,db-10.0.0.2] +db-10.0.0.2 - ~", "db [db-10.0.0.1,db-10.0.0.2] + - ~db-10.0.0.2",
      "db [db-10.0.0.2] + -db-10.0.0.1 ~", "db [] + -db-10.0.0.2 ~", "unhealthy" }, printed(box))
  end)

  it("with tags, keep_last, any status and another datacentre sees each its own", function()
    local box = run(SHOW .. [[
      show("all", pilot.watch "db")
      show("blue", pilot.watch "db" { tag = "blue" })
      show("both", pilot.watch "db" { tag = { "blue", "new" } })
      show("kept", pilot.watch "db" { keep_last = true })
      show("any", pilot.watch "db" { status = "any" })
      show("west", pilot.watch "db" { dc = "west" })
    ]])
    box.consul:add("db", "1.1.1.1", { tags = { "blue" }, id = "a" })
    box.consul:add("db", "1.1.1.2", { tags = { "blue", "new" }, id = "b" })
    box.consul:datacenter("west"):add("db", "1.1.1.3", { id = "c" })
    box:start()
    box:advance "5s"
    box.consul:set_status("db", "critical")
    box:advance "5s"
    local last = {}
    for _, line in ipairs(printed(box)) do last[line:match "^%w+"] = line:match "%[(.*)%]" end
    assert.same({ all = "", blue = "", both = "", kept = "a,b", any = "a,b", west = "c" }, last)
    assert.equal(1, boxes.logged(box, 'watch "db" { keep_last = true }: nobody is left; the last answer is kept'))
    assert.equal(2, #(box.app.watches['watch "db" { status = "any" }'].content))
  end)

  it("of a key and of a prefix tells values", function()
    local box = run(SHOW .. [[
      show("key", pilot.watch.key "app/a")
      show("tree", pilot.watch.prefix "app/")
    ]]):start()
    box:advance "2s"
    box.consul:put("app/a", "1")
    box:advance "2s"
    box.consul:put("app/b c", "2")
    box:advance "2s"
    box.consul:put("app/a", "1")
    box.consul:put("other", "1")
    box:advance "10m"
    box.consul:delete "app/a"
    box:advance "2s"
    local key, tree = {}, {}
    for _, line in ipairs(printed(box)) do table.insert(line:find "^key" and key or tree, line) end
    assert.same({ "key [nil] + - ~", "key [1] + - ~", "key [nil] + - ~" }, key)
    assert.same({ "tree [nil] + - ~", "tree [1] +a - ~", "tree [1] +b c - ~", "tree [nil] + -a ~" }, tree)
  end)

  it("of the whole store, and of a prefix that is a key itself, tells all keys", function()
    local box = run(SHOW .. [[
      show("all", pilot.watch.prefix "")
      show("self", pilot.watch.prefix "app")
      pilot.watch.prefix "app":on("changed", function(event) print("> value " .. tostring(event.values[""])) end)
    ]])
    for _, key in ipairs { "app", "app/", "app/a", "zoo" } do box.consul:put(key, "1") end
    box:start()
    box:advance "2s"
    box.consul:put("app", "2")
    box:advance "2s"
    box.consul:delete "app"
    box:advance "2s"
    local by_name = { all = {}, self = {}, value = {} }
    for _, line in ipairs(printed(box)) do table.insert(by_name[line:match "^%w+"], line) end
    assert.same({ "all [nil] +app,app/,app/a,zoo - ~", "all [nil] + - ~app", "all [nil] + -app ~" }, by_name.all)
    assert.same({ "self [nil] +,/,/a - ~", "self [nil] + - ~", "self [nil] + - ~" }, by_name.self)
    assert.same({ "value 1", "value 2", "value nil" }, by_name.value)
  end)

  it("by the agent's cache is told the same, and an outage once, whoever asks that cache", function()
    local world = sim.world { seed = 4 }
    local FILE = SHOW .. 'show("db", pilot.watch "db" { cached = true })'
    world.consul:add("db", "10.0.0.1")
    local box = boxes.load(FILE, { hostname = "one" }, world):start()
    world:advance "2s"
    world.consul:add("db", "10.0.0.2")
    world:advance "2s"
    assert.same({ "db [db-10.0.0.1] +db-10.0.0.1 - ~", "db [db-10.0.0.1,db-10.0.0.2] +db-10.0.0.2 - ~" }, printed(box))
    for _, asked in ipairs(box.consul:requests()) do
      assert.is_truthy(asked.path:find("cached", 1, true), asked.path)
    end
    box.consul:partition()
    world:advance "2m"
    assert.equal(1, boxes.logged(box, "Consul is away"))
    assert.equal(0, boxes.logged(box, "Consul is back"))
    local late = boxes.load(FILE, { hostname = "one" }, world):start()
    world:advance "10s"
    assert.same({ "db [db-10.0.0.1,db-10.0.0.2] +db-10.0.0.1,db-10.0.0.2 - ~" }, printed(late))
    world.consul:remove "db-10.0.0.1"
    box.consul:heal()
    world:advance "1m"
    assert.equal(1, boxes.logged(box, "Consul is back"))
    assert.equal("db [db-10.0.0.2] + -db-10.0.0.1 ~", printed(box)[3])
    assert.equal("db [db-10.0.0.2] + -db-10.0.0.1 ~", printed(late)[2])
  end)

  it("of a key has no cache", function()
    local ok, said = pcall(run, CONSUL .. [[
      pilot.watch.key "x" { cached = true }
      pilot.watch.prefix "y" { cached = true }
      pilot.watch.prefix "z" { cached = false }
    ]])
    assert.is_false(ok)
    assert.is_nil(tostring(said):find('"z"', 1, true), said)
    for _, call in ipairs { 'pilot.watch.key "x"', 'pilot.watch.prefix "y"' } do
      local message = call .. ".cached: Consul's agent has no cache for keys, only for services"
      assert.is_truthy(tostring(said):find(message, 1, true), said)
    end
  end)

  it("refuses a key that no request reaches", function()
    for source, message in pairs {
      ['pilot.watch.prefix "/"'] = 'pilot.watch.prefix: begins with "/", which no key does: write ""',
      ['pilot.watch.key "/a"'] = 'pilot.watch.key: begins with "/", which no key does: write "a"',
      ['pilot.watch.key "a//b"'] = 'pilot.watch.key: has "//" in it',
      ['pilot.watch.prefix "a/../b"'] = 'pilot.watch.prefix: has the part ".." in it',
      ['pilot.watch.key ""'] = "pilot.watch.key: is an empty string",
    } do
      local ok, said = pcall(run, source)
      assert.is_false(ok)
      assert.is_truthy(tostring(said):find(message, 1, true), said)
    end
  end)

  it("says once what Consul refuses, keeps what is known, and goes on when it is granted", function()
    local box = run(SHOW .. [[ show("key", pilot.watch.key "app/a") show("bad", pilot.watch "x" { filter = "a==" }) ]])
    box.consul:put("app/a", "1")
    box:start()
    box:advance "2s"
    box.consul:deny "key"
    box:advance "1s"
    box.consul:put("app/a", "2")
    box:advance "20m"
    assert.equal(1, boxes.logged(box, 'watch.key "app/a": consul: GET /v1/kv/app%2Fa: 403: Permission denied; does '
      .. "the token allow key:read?; asked again"))
    assert.equal(0, boxes.logged(box, "Consul is"))
    box.consul:grant "key"
    box:advance "20s"
    assert.same({ "key [1] + - ~", "key [2] + - ~" }, printed(box))
    assert.equal(1, boxes.logged(box, 'watch.key "app/a": answered again'))
  end)

  it("keeps what is known while Consul is away, and says so once for all watches", function()
    for _, how in ipairs { "down", "hang", "vanish", "fail", "restart" } do
      local box = run(SHOW .. [[ show("db", pilot.watch "db") show("x", pilot.watch.key "x") ]])
      box.consul:add("db", "10.0.0.1")
      box:start()
      box:advance "2s"
      box.consul[how](box.consul)
      box:advance "20m"
      box.consul:add("db", "10.0.0.2")
      box.consul:up()
      box:advance "45s" -- a question of an agent that vanished is given up after 30 s
      assert.equal("db [db-10.0.0.1,db-10.0.0.2] +db-10.0.0.2 - ~", printed(box)[3], how)
      assert.equal(3, #printed(box), how)
      local away = boxes.logged(box, "Consul is away")
      assert.equal(away, boxes.logged(box, "Consul is back"), how)
      assert.is_true(away <= 1, how)
    end
  end)

  it("says within a wait that Consul's host has vanished, where nothing but a watch could notice", function()
    local box = run(SHOW .. [[ show("x", pilot.watch.key "x") show("y", pilot.watch.key "y") ]])
    box:start()
    box:advance "2s"
    box.consul:vanish()
    box:advance "75s"
    assert.equal(1, boxes.logged(box, "Consul is away: no answer within 1m8.75s (agent: http://consul:8500); jobs run"))
    box.consul:put("x", "1")
    box.consul:up()
    box:advance "45s"
    assert.equal("x [1] + - ~", printed(box)[3])
    assert.equal(1, boxes.logged(box, "Consul is back"))
  end)

  it("hears by every watch what was missed, with the first request that is answered", function()
    local box = run(SHOW .. [[
      show("x", pilot.watch.key "x") show("y", pilot.watch.key "y") show("db", pilot.watch "db")
      pilot.every("5s", function() pcall(pilot.consul.kv.get, "z", { timeout = "1s" }) end)
    ]])
    box:start()
    box:advance "2s"
    box.consul:vanish()
    box:advance "10s"
    for _, key in ipairs { "x", "y" } do box.consul:put(key, "1") end
    box.consul:add("db", "10.0.0.1")
    box.consul:up()
    box:advance "6s"
    local told = { unpack(printed(box), 4) }
    table.sort(told)
    assert.same({ "db [db-10.0.0.1] +db-10.0.0.1 - ~", "x [1] + - ~", "y [1] + - ~" }, told)
  end)

  it("that is refused in several lines is told in one", function()
    local box = run(SHOW .. [[ show("db", pilot.watch "db" { filter = "Service.Tags is\n\n  nothing" }) ]])
    box:start()
    box:advance "2s"
    for _, entry in ipairs(box:log()) do assert.is_nil(entry.message:find "\n") end
    assert.equal(1, boxes.logged(box, 'consul: GET /v1/health/service/db: 500: '))
  end)

  describe("whose token may read no more", function()
    local function narrowed(version)
      local box = run(SHOW .. [[ show("db", pilot.watch "db") show("tree", pilot.watch.prefix "app/") ]])
      box.consul:version(version)
      box.consul:add("db", "10.0.0.1")
      box.consul:put("app/a", "1")
      box:start()
      box:advance "2s"
      for _, resource in ipairs { "service", "key" } do box.consul:deny(resource) end
      box.consul:put("app/b", "2")
      box.consul:add("db", "10.0.0.2")
      box:advance "2m"
      return box
    end

    it("keeps what it knows and says so, where Consul tells it", function()
      local box = narrowed "1.11"
      assert.equal(2, #printed(box))
      local said = "consul: GET /v1/%s: the answer lacks what the token may not read "
        .. "(X-Consul-Results-Filtered-By-ACLs); does the token allow %s?; asked again"
      local rights = "node:read and service:read"
      assert.equal(1, boxes.logged(box, 'watch "db": ' .. said:format("health/service/db", rights)))
      assert.equal(1, boxes.logged(box, 'watch.prefix "app/": ' .. said:format("kv/app%2F", "key:read")))
      box.consul:grant()
      box:advance "12s"
      assert.equal(4, #printed(box))
      assert.equal(2, boxes.logged(box, "answered again"))
      assert.equal(0, boxes.logged(box, "Consul is"))
    end)

    it("takes an older agent at its word", function()
      local box = narrowed "1.8"
      local told = { unpack(printed(box), 3) }
      table.sort(told)
      assert.same({ "db [] + -db-10.0.0.1 ~", "tree [nil] + -a ~" }, told)
    end)
  end)

  describe("at an agent that allows few connections", function()
    local function crowd(count, limit)
      local box = boxes.load(SHOW .. ([[
        for i = 1, %d do show("x" .. i, pilot.watch.key("x" .. i)) end
        pilot.job "app" { exec = "app", health = { check = function() return true end, interval = "1s" },
          service = { port = 80, interfaces = "static:10.0.0.1" } }
        pilot.job "other" { exec = "app", service = { port = 81, interfaces = "static:10.0.0.1" } }
      ]]):format(count))
      box:program("app", sim.server)
      box.consul:limit(limit)
      box:start()
      box:advance "20s"
      return box
    end

    local function passing(box)
      for _, name in ipairs { "app-box", "other-box" } do
        assert.equal("passing", (box.consul:service(name) or {}).status, name)
      end
    end

    it("leaves services their own, and says once how many have none", function()
      local box = crowd(10, 7)
      assert.equal(6, #printed(box))
      for _ = 1, 60 do
        box:advance "10s"
        passing(box)
      end
      assert.equal(1, boxes.logged(box, "consul: no connection for 4 (watch.key"))
      assert.equal(1, boxes.logged(box, "and 1 more): the agent closes new connections"))
      assert.equal(0, boxes.logged(box, "Consul is"))
      box.consul:limit()
      box:advance "12s"
      assert.equal(10, #printed(box))
      assert.equal(1, boxes.logged(box, "consul: all have their connection again"))
    end)

    it("has one for services again when an agent restarts, since a watch leaves its own", function()
      local box = crowd(10, 7)
      box.consul:restart { lose_state = true }
      box:advance "80s"
      passing(box)
      for _ = 1, 6 do
        box:advance "10s"
        passing(box)
      end
      box:stop()
    end)

    it("is not loud when all is taken by others", function()
      local box = crowd(3, 0)
      box:advance "10m"
      assert.equal(1, boxes.logged(box, "Consul is away"))
      assert.equal(1, boxes.logged(box, "its limits.http_max_conns_per_client may be used up"))
      box.consul:limit()
      box:advance "12s"
      passing(box)
      assert.equal(3, #printed(box))
      assert.equal(1, boxes.logged(box, "Consul is back"))
    end)
  end)

  describe("whose token is in a file that rotates", function()
    local FILE = [[
      pilot.consul { address = "consul:8500", token_file = "/run/token" }
      pilot.watch.key "x":on("changed", function(event) print("> x " .. tostring(event.value)) end)
      pilot.watch "db":on("changed", function(event) print("> db " .. #event.instances) end)
      pilot.job "app" { exec = "app", health = { check = function() return true end, interval = "1s" },
        service = { port = 80, interfaces = "static:10.0.0.1" } }
    ]]
    local box

    before_each(function()
      box = boxes.load(FILE, { files = { ["/run/token"] = "first-token" } })
      box:program("app", sim.server)
      box:start()
      box:advance "2s"
    end)

    local function heals()
      local told = { unpack(printed(box), 3) }
      table.sort(told)
      assert.same({ "db 1", "x two" }, told)
      assert.equal(1, boxes.logged(box, "consul: the token was read again"))
      assert.equal("passing", box.consul:service("app-box").status)
      box:stop()
    end

    local function news()
      box.consul:put("x", "two")
      box.consul:add("db", "10.0.0.1")
    end

    it("goes on, where the file was written first", function()
      box:write("/run/token", "second-token\n")
      box.consul:revoke "first-token"
      news()
      box:advance "20s"
      heals()
      assert.equal(0, boxes.logged(box, "403"))
    end)

    it("goes on, where the file comes after the refusals, is missing or empty for a moment", function()
      box.consul:revoke "first-token"
      news()
      box:advance "40s"
      assert.equal(1, boxes.logged(box, 'watch "db": consul: GET /v1/health/service/db: 403: ACL not found'))
      assert.equal(1, boxes.logged(box, 'service "app-box": consul: PUT /v1/agent/check/update/'))
      box:write("/run/token", false)
      box:advance "40s"
      box:write("/run/token", "")
      box:advance "40s"
      assert.equal(1, boxes.logged(box, 'read again: cannot open "/run/token": no such file'))
      assert.equal(1, boxes.logged(box, 'could not be read again: "/run/token": is an empty string'))
      box:write("/run/token", "second-token")
      box:advance "11s" -- less than a service waits after refusals
      heals()
    end)

    it("reads it no more when nobody is refused", function()
      box.consul:revoke "first-token"
      news()
      box:advance "40s"
      box:write("/run/token", "second-token")
      box:advance "11s"
      box:write("/run/token", "third-token")
      box:advance "10m"
      heals()
    end)
  end)

  it("does not take an index that went back for a reason to sleep", function()
    local box = run(SHOW .. [[ show("x", pilot.watch.key "x") ]])
    for i = 1, 50 do box.consul:put("other", tostring(i)) end
    box.consul:put("x", "1")
    box:start()
    box:advance "10s"
    box.world.consul:restart { lose_state = true }
    box:advance "20s"
    box.consul:put("x", "2")
    box:advance "12s"
    assert.equal("x [2] + - ~", printed(box)[#printed(box)])
  end)

  it("that answers rubbish is told, and keeps what is known", function()
    local box = run(SHOW .. [[ show("db", pilot.watch "db") ]])
    box.consul:add("db", "10.0.0.1")
    box:start()
    box:advance "2s"
    box.consul:down()
    box:advance "1s"
    box.consul:up()
    box.consul:fail(200) -- a text that is no JSON, of whoever listens there now
    box:advance "10s"
    assert.equal(1, boxes.logged(box, [[watch "db": this is no answer of Consul's]]))
    box.consul:up()
    box:advance "20m"
    assert.same({ "db [db-10.0.0.1] +db-10.0.0.1 - ~" }, printed(box))
    assert.equal(1, boxes.logged(box, 'watch "db": answered again'))
  end)

  it("leaves out an instance whose address is no host, and says so once until it is gone", function()
    local box = run(SHOW .. [[ show("db", pilot.watch "db") ]])
    box.consul:add("db", "10.0.0.9; }\nserver { listen 81; }", { id = "evil" })
    box.consul:add("db", "10.0.0.1")
    box:start()
    box:advance "5s"
    box.consul:add("db", "10.0.0.2")
    box:advance "5s"
    assert.same({ "db [db-10.0.0.1] +db-10.0.0.1 - ~", "db [db-10.0.0.1,db-10.0.0.2] +db-10.0.0.2 - ~" }, printed(box))
    assert.equal(1, boxes.logged(box, 'watch "db": an instance is left out: "evil" on node'))
    box.consul:remove "evil"
    box:advance "5s"
    box.consul:add("db", "10.0.0.9\n", { id = "evil" })
    box:advance "5s"
    assert.equal(2, boxes.logged(box, "an instance is left out"))
  end)

  it("starts jobs, once and each time", function()
    local box = run(CONSUL .. [[
      local db = pilot.watch "db"
      pilot.job "app" { exec = "app", when = db:once "healthy" }
      pilot.job "tell" { run = function() print("> told " .. #db.instances) end, when = db:each "changed" }
    ]]):start()
    box:advance "2s"
    assert.equal("waiting", box:job("app").state)
    box.consul:add("db", "10.0.0.1")
    box:advance "2s"
    assert.equal("running", box:job("app").state)
    box.consul:remove "db"
    box:advance "2s"
    box.consul:add("db", "10.0.0.1")
    box:advance "2s"
    assert.equal(1, box:job("app"):starts())
    assert.same({ "told 0", "told 1", "told 0", "told 1" }, printed(box))
  end)

  it("feeds a template, which settles and reloads", function()
    local box = run(CONSUL .. [[
      local db, limit = pilot.watch "db", pilot.watch.key "limit"
      local app = pilot.job "app"
      local file = pilot.template "/etc/app.conf" { watch = { db, limit }, settle = "1s", reload = app,
        text = "<%= limit %>:<% for _, i in ipairs(db) do %> <%= i.address %><% end %>",
        data = function() return { db = db.instances, limit = limit.value or "none" } end }
      app { exec = "app", reload = "SIGHUP", when = file:once "rendered" }
    ]], { files = { ["/etc/"] = true } })
    box.consul:down()
    box:start()
    box:advance "1m"
    assert.is_nil(box:file "/etc/app.conf")
    assert.equal("waiting", box:job("app").state)
    box.consul:up()
    box:advance "15s"
    assert.equal("none:", box:file "/etc/app.conf")
    for i = 1, 5 do
      box.consul:add("db", "10.0.0." .. i)
      box:advance "200ms"
    end
    box.consul:put("limit", "7")
    box:advance "8s"
    assert.equal("7: 10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5", box:file "/etc/app.conf")
    assert.is_true(box:job("app"):received "SIGHUP" <= 2)
  end)

  it("asks few questions while nothing changes, and ends all with the pilot", function()
    local source = { CONSUL }
    for i = 1, 100 do source[#source + 1] = ('pilot.watch "db-%d"'):format(i) end
    local box = run(table.concat(source, "\n")):start()
    box:advance "10s"
    local before = #box.consul:requests()
    box:advance "1h"
    assert.is_true(#box.consul:requests() - before < 100 * 60 * 1.5, #box.consul:requests() - before)
    box:stop()
    assert.is_nil(next(box.app.holders))
  end)
end)

-- --- reload ------------------------------------------------------------------------------------

describe("a new core", function()
  after_each(boxes.check)

  local function reload(box, source)
    local data = cjson.decode(cjson.encode((assert(box.app:snapshot()))))
    box.app:let_go()
    box:write("/pilot/pilot.lua", 'local pilot = require "luapilot"; ' .. source)
    box:load()
    assert.same({}, box.app:restore(data))
    box.world:rest()
  end

  local function run(source)
    local box = boxes.load(source)
    box:program("app", sim.server)
    box:program("check", { exit = 0 })
    return box:start()
  end

  local FILE = CONSUL .. [[
    local app = pilot.job "app" { exec = "app", restart = "always", drain = "2s",
      health = { exec = "check", interval = "2s", ttl = "8s" },
      service = { { port = 80, tags = { "a" } }, { name = "two", port = 81, initial_status = "warning" } } }
    pilot.on("SIGUSR1", function() app:maintenance(true, "deploy") end)
    pilot.on("SIGUSR2", function() app:set_tags { "b" } end)
    pilot.on("SIGHUP", function() app:stop() end)
  ]]

  local function puts(box, from)
    local list = {}
    for _, one in ipairs(box.consul:requests()) do
      local what = one.method == "PUT" and one.at >= from and one.path:match "^/v1/agent/service/(%w+)"
      if what then list[#list + 1] = what end
    end
    return list
  end

  -- LuaJIT's `pairs` has another order in each process, and the same seed is to give the same history.
  it("takes back in the order of the ids what the new file does not have", function()
    local names, list = { "h", "b", "f", "d", "a", "g", "c", "e" }, {}
    for i, name in ipairs(names) do list[i] = ("{ name = %q, port = %d }"):format(name, 80 + i) end
    local box = run(CONSUL .. 'pilot.job "app" { exec = "app", service = { ' .. table.concat(list, ", ") .. " } }")
    box:advance "5s"
    local asked, consul = {}, box.interface.consul
    box.interface.consul = function(request)
      asked[#asked + 1] = request.path:match "deregister/(%w)"
      return consul(request)
    end
    reload(box, CONSUL .. 'pilot.job "app" { exec = "app" }')
    box:advance "1s"
    assert.equal("abcdefgh", table.concat(asked))
  end)

  it("keeps registrations, tags and maintenance without a gap, also when it comes again and again", function()
    local box = run(FILE)
    box:advance "5s"
    box:signal "SIGUSR1"
    box:signal "SIGUSR2"
    box:advance "1s"
    local from = box.world:elapsed()
    for _ = 1, 10 do
      reload(box, FILE)
      for _ = 1, 10 do
        box:advance "333ms"
        local one = box.consul:service "app-box"
        assert.same({ "passing", { "b" }, "deploy" }, { one.status, one.tags, one.maintenance })
        assert.equal("passing", box.consul:service("two-box").status)
      end
    end
    assert.same({}, puts(box, from))
  end)

  it("takes back what the new file does not have, and what the old core was just taking back", function()
    local box = run(FILE)
    box:advance "5s"
    reload(box, (FILE:gsub(', { name = "two".-}', "")))
    box:advance "1s"
    assert.is_nil(box.consul:service "two-box")
    assert.equal("passing", box.consul:service("app-box").status)
    box.consul:slow "600ms"
    box:signal "SIGHUP"
    box:advance "100ms"
    reload(box, FILE) -- the request is cut with the old core
    box.consul:up()
    box:advance "10s"
    assert.same({}, box.consul:services())
    assert.equal("stopped", box:job("app").state)
  end)

  it("knows of a contest: what was left alone is left alone, and told no second time", function()
    local box = run((FILE:gsub('8s', '20s')))
    box:advance "5s"
    local function contest()
      box.port.consul.server:accept({
        method = "PUT", path = "/v1/agent/service/register", body = '{"ID":"app-box","Name":"app","Port":99}',
      }, function() end)
    end
    contest()
    box:run_until(function() return box.consul:service("app-box").port == 80 end, "30s")
    contest()
    box:run_until(function()
      return boxes.logged(box, "another instance registers itself under this id, too") == 1
    end, "30s")
    local from = box.world:elapsed()
    reload(box, (FILE:gsub('8s', '20s')))
    box:advance "2s"
    assert.same({}, puts(box, from))
    box:run_until(function() return box.consul:service("app-box").port == 80 end, "30s")
    assert.same({ "register" }, puts(box, from))
    contest()
    box:run_until(function() return box.consul:service("app-box").port == 80 end, "2m")
    assert.equal(1, boxes.logged(box, "another instance registers itself under this id, too"))
  end)

  it("looks again at what Consul holds", function()
    local box = run(FILE)
    box:advance "5s"
    reload(box, FILE)
    box:advance "1s"
    box.port.consul.server:accept({
      method = "PUT", path = "/v1/agent/service/register", body = '{"ID":"app-box","Name":"app","Port":99}',
    }, function() end)
    box:advance "20s"
    assert.equal(80, box.consul:service("app-box").port)
  end)

  it("does not register again a job that drains", function()
    local box = run(FILE)
    box:advance "5s"
    box:signal "SIGHUP"
    box:advance "500ms"
    assert.same({}, box.consul:services())
    local from = box.world:elapsed()
    reload(box, FILE)
    box:advance "5s"
    assert.same({}, puts(box, from))
    assert.equal("stopped", box:job("app").state)
  end)

  it("knows what watches knew: it tells handlers all of it, starts nothing again, while Consul is away too", function()
    local file = SHOW .. [[
      local db = pilot.watch "db"
      show("db", db)
      pilot.job "app" { exec = "app", restart = "always", when = db:once "healthy" }
      pilot.on("SIGUSR1", function() print("> known " .. #db.instances) end)
    ]]
    local box = boxes.load(file)
    box:program("app", sim.server)
    box.consul:add("db", "10.0.0.1")
    box:start()
    box:advance "2s"
    box.consul:down()
    for _ = 1, 3 do
      reload(box, file)
      box:signal "SIGUSR1"
      box:advance "2s"
    end
    box.consul:up()
    box:advance "12s"
    local line = "db [db-10.0.0.1] +db-10.0.0.1 - ~"
    assert.same({ line, "known 1", "known 1", "known 1", line }, printed(box))
    assert.equal(1, box:job("app"):starts())
  end)
end)

-- --- whatever happens --------------------------------------------------------------------------

describe("whatever happens to Consul", function()
  after_each(boxes.check)

  local dice
  local function below(n) return math.floor(dice:next() * n) end
  local function pick(list) return list[below(#list) + 1] end

  local FILE = CONSUL .. [[
    local jobs, verdict = {}, {}
    for i = 1, 3 do
      verdict[i] = true
      jobs[i] = pilot.job("app-" .. i) { exec = "app", restart = "always", when = i == 3 and "manual" or nil,
        drain = i == 2 and "1s" or nil, stop_timeout = "5s",
        health = { check = function() return verdict[i], tostring(verdict[i]) end, interval = "1s", ttl = "10s",
          fall = 2 },
        service = { { port = i, tags = { "t" .. i }, initial_status = i == 1 and "warning" or nil,
          deregister_after = "2m" }, i == 2 and { name = "more", port = 9 } or nil } }
    end
    local function meddle()
      local i = math.random(3)
      local kind = math.random(10)
      if kind == 1 then verdict[i] = false end
      if kind == 2 then verdict[i] = "warn" end
      if kind == 3 or kind == 4 then verdict[i] = true end
      if kind == 5 then jobs[i]:set_tags { "n" .. math.random(9) } end
      if kind == 6 then jobs[i]:maintenance(true, "r" .. math.random(3)) end
      if kind == 7 then jobs[i]:maintenance(false) end
      if kind == 8 then pilot.maintenance(math.random(2) == 1, "all") end
      if kind == 9 then jobs[i]:stop() end
      if kind == 10 then jobs[i]:start() end
    end
    pilot.on("SIGUSR1", meddle)
    local function attempt(fn, ...) pcall(fn, ...) end
    pilot.on("SIGUSR2", function()
      local agent, id = pilot.consul.agent, "app-" .. math.random(3) .. "-box"
      local kind = math.random(4)
      if kind == 1 then attempt(agent.service_deregister, id, { timeout = "1s" }) end
      if kind == 2 then attempt(agent.check_deregister, "service:" .. id, { timeout = "1s" }) end
      if kind == 3 then attempt(agent.disable_service_maintenance, id, { timeout = "1s" }) end
      if kind == 4 and agent.service(id) then
        attempt(agent.service_register, { id = id, name = "app", port = 77 }, { timeout = "1s" })
      end
    end)
  ]]

  local lasting = {
    function(consul) consul:down() end, function(consul) consul:hang() end, function(consul) consul:vanish() end,
    function(consul) consul:slow(pick { "50ms", "1s", "3s", "20s" }) end,
    function(consul) consul:fail(pick { 500, 503, 429 }) end, function(consul) consul:leader(false) end,
    function(consul) consul:partition() end, function(consul) consul:deny "service" end,
    function(consul) consul:restart { lose_state = true } end, function(consul) consul:restart() end,
  }

  local function shake(box)
    local kind = below(10)
    if kind < 4 then return box:signal "SIGUSR1" end
    if kind < 5 then return box:signal "SIGUSR2" end
    if kind < 6 then
      local process = box:job("app-" .. below(3) + 1):process()
      return process and process:exit(below(2))
    end
    if kind < 8 then return pick(lasting)(box.consul) end
    box.consul:up()
    box.consul:grant()
    box.consul:heal()
    box.consul:leader(true)
  end

  -- What the jobs are, in the words of the agent.
  local function expected(box)
    local list = {}
    for _, runner in ipairs(box.app.order) do
      for _, one in ipairs(runner.services or {}) do
        local want = one.record.want
        if want then
          local is = want.registration
          list[is.ID] = { is.Name, is.Port, want.status, is.Tags, want.maintenance or false }
        end
      end
    end
    return list
  end

  local function held(box)
    local list = {}
    for _, one in ipairs(box.consul:services()) do
      list[one.id] = { one.name, one.port, one.status, one.tags, one.maintenance }
    end
    return list
  end

  -- A job that runs and is healthy is wanted, one that was stopped is not: what is wanted is right, too.
  local function check_wants(box)
    for _, runner in ipairs(box.app.order) do
      local want = runner.services and runner.services[1].record.want
      local memory = runner.memory
      if memory.state == "held" or memory.state == "waiting" then assert.is_nil(want) end
      if memory.state == "running" and memory.health == "healthy" then
        assert.is_true(want ~= nil and want.status ~= "critical")
      end
    end
  end

  local function run(seed)
    dice = random.new(seed)
    local box = boxes.load(FILE, { seed = seed })
    box:program("app", { ignores = { "SIGUSR1", "SIGUSR2" }, term_delay = "300ms" })
    box:start()
    for _ = 1, 25 do
      box:advance(("%dms"):format(10 ^ (1 + 3 * dice:next())))
      shake(box)
    end
    box.consul:up()
    box.consul:grant()
    box.consul:heal()
    box.consul:leader(true)
    box:advance "50s" -- a refusal is asked again after 30 s
    check_wants(box)
    local found, wanted = held(box), expected(box)
    if not pcall(assert.same, wanted, found) then assert.message(box:history()).same(wanted, found) end
    assert.equal(boxes.logged(box, "Consul is away"), boxes.logged(box, "Consul is back"))
    box:forget_errors()
    box:stop()
    assert.same({}, held(box))
  end

  it(("the agent holds what the jobs are, soon after all is well again (%d seeds)"):format(SEEDS), function()
    for seed = FIRST, FIRST + SEEDS - 1 do run(seed) end
  end)
end)

-- --- what watches show -------------------------------------------------------------------------

describe("whatever happens to what Consul knows", function()
  after_each(boxes.check)

  local function ids(list)
    local names = {}
    for i, each in ipairs(list) do names[i] = each.id .. ":" .. each.port end
    table.sort(names)
    return table.concat(names, " ")
  end

  -- What the catalogue and the store have.
  local function truth(box)
    local passing, any = {}, box.consul:instances "db"
    for _, one in ipairs(any) do
      if one.status == "passing" then passing[#passing + 1] = one end
    end
    return { plain = ids(passing), cached = ids(passing), any = ids(any), key = tostring(box.consul:get "a"),
      tree = tostring(box.consul:get "a") .. tostring(box.consul:get "b/c") }
  end

  local LABELS = {
    plain = 'watch "db"', cached = 'watch "db" { cached = true }', any = 'watch "db" { status = "any" }',
    key = 'watch.key "a"', tree = 'watch.prefix ""',
  }

  local function shown(box)
    local found = {}
    for name, label in pairs(LABELS) do
      local content = box.app.watches[label].content
      found[name] = name == "key" and tostring(content.value)
        or name == "tree" and tostring(content.a) .. tostring(content["b/c"]) or ids(content)
    end
    return found
  end

  local function compare(box, seed, but)
    local wanted, found = truth(box), shown(box)
    if but then wanted[but], found[but] = nil, nil end
    if not pcall(assert.same, wanted, found) then assert.message(seed .. box:history()).same(wanted, found) end
  end

  local SOURCE = CONSUL .. [[
    pilot.watch "db" pilot.watch "db" { cached = true } pilot.watch "db" { status = "any" }
    pilot.watch.key "a" pilot.watch.prefix ""
  ]]

  local function run(seed)
    local dice, taken = random.new(seed), nil
    local box = boxes.load(SOURCE, { seed = seed })
    local consul, servers = box.consul, box.world.consul
    local address = function() return "10.0.0." .. 1 + dice:below(3) end
    local acts = {
      function() consul:add("db", address(), { port = 1 + dice:below(3) }) end,
      function() pcall(consul.remove, consul, "db-" .. address()) end,
      function() pcall(consul.set_status, consul, "db", dice:below(2) == 0 and "critical" or "passing") end,
      function() consul:put("a", dice:below(3)) end, function() consul:put("b/c", dice:below(3)) end,
      function() consul:delete "a" end,
      function() taken = taken or servers:snapshot() end,
      function() if taken then servers:restore(taken) end end,
      function() consul:down() end, function() consul:up() end,
      function() consul:partition() end, function() consul:heal() end,
      function() servers:restart() end, function() servers:restart { lose_state = dice:below(2) == 0 } end,
      function() consul:slow "500ms" end,
    }
    box:start()
    for _ = 1, 40 do
      acts[1 + dice:below(#acts)]()
      box:advance(("%dms"):format(10 ^ (1 + 3 * dice:next())))
    end
    consul:up()
    consul:heal()
    -- A question that was sent when its servers had just lost their state, or got another, is held for all its time.
    box:advance "6m"
    compare(box, seed, "cached")
    box:advance "20m" -- an agent's cache may see a restored snapshot after ten
    compare(box, seed)
    assert.equal(boxes.logged(box, "Consul is away"), boxes.logged(box, "Consul is back"))
    box:forget_errors()
    box:stop()
  end

  it(("every watch shows that when all is well again (%d seeds)"):format(SEEDS), function()
    for seed = FIRST, FIRST + SEEDS - 1 do run(seed) end
  end)
end)
