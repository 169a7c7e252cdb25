-- Services and watches of a pilot without Consul: what its own jobs provide.

local boxes = require "support.boxes"
local sim = require "luapilot.sim"
local stub_pilot = require "support.stub_pilot"

local function printed(box)
  local list = {}
  for _, entry in ipairs(box:log()) do
    if entry.message:find "^> " then list[#list + 1] = entry.message:sub(3) end
  end
  return list
end

local SHOW = [[
  local function show(name, event)
    local function ids(list)
      local parts = {}
      for i, each in ipairs(list) do parts[i] = each.id .. "@" .. each.authority end
      return table.concat(parts, ",")
    end
    print("> " .. name .. " [" .. ids(event.instances) .. "] +" .. ids(event.added) .. " -" .. ids(event.removed)
      .. " ~" .. ids(event.updated))
  end
]]

describe("a watch without Consul", function()
  after_each(boxes.check)

  it("sees the services of this pilot's own jobs", function()
    local box = boxes.run(SHOW .. [[
      local db = pilot.watch "db"
      pilot.job "db" { exec = "db", service = { port = 5432, interfaces = "static:10.1.2.3" },
        health = { exec = "check" } }
      db:on("changed", function(event) show("db", event) end)
      db:on("healthy", function() print("> healthy " .. #db.instances) end)
      db:on("unhealthy", function() print("> unhealthy") end)
      pilot.job "app" { exec = "app", when = db:once "healthy" }
    ]], { db = sim.server, check = { exit = 0, after = "1s" }, app = sim.server }, { hostname = "box" })
    box:advance "10s"
    assert.same({ "db [] + - ~", "unhealthy", "db [db-box@10.1.2.3:5432] +db-box@10.1.2.3:5432 - ~", "healthy 1" },
      printed(box))
    assert.is_true(box:job("app").running)
    box:job("db"):process():exit(1)
    box:advance "1s"
    assert.equal("unhealthy", printed(box)[6])
  end)

  it("is another one when it differs only in what its label does not show", function()
    local box = boxes.run([[
      local long, token = ("long"):rep(20), pilot.secret "token"
      local service = { port = 1, interfaces = "static:10.1.2.3", tags = { long .. "a", token } }
      pilot.job "db" { exec = "db", service = service }
      for name, tag in pairs { a = long .. "a", b = long .. "b", token = token, mask = "***" } do
        pilot.watch "db" { tag = tag }:on("healthy", function() print("> " .. name) end)
      end
    ]], { db = sim.server }, { files = { ["/run/secrets/token"] = "s3cr3t-token" } })
    box:advance "1s"
    local said = printed(box)
    table.sort(said)
    assert.same({ "a", "token" }, said)
  end)

  it("starts nothing that waits for who never comes", function()
    local box = boxes.run [[
      pilot.job "app" { exec = "app", when = pilot.watch "db":once("healthy", { timeout = "5s" }) }
    ]]
    box:advance "4s"
    assert.equal("waiting", box:job("app").state)
    box:advance "2s"
    assert.equal(1, boxes.logged(box, 'gave up after 5s of waiting for watch "db"'))
  end)

  it("tells each handler what changed since it was last told", function()
    local box = boxes.run(SHOW .. [[
      local web = pilot.watch "web"
      for i = 1, 3 do
        pilot.job("web-" .. i) { exec = "web", when = "manual",
          service = { name = "web", id = "w" .. i, port = 8000 + i, interfaces = "static:10.0.0.1" } }
      end
      web:on("changed", function(event) show("each", event) end)
      web:on("changed", { settle = "1s" }, function(event) show("settled", event) end)
      pilot.after("2s", function()
        for i = 1, 3 do
          pilot.job("web-" .. i):start()
          pilot.sleep "100ms"
        end
        pilot.job "web-2":stop()
      end)
    ]], { web = sim.server })
    box:advance "10s"
    local a, b, c = "w1@10.0.0.1:8001", "w2@10.0.0.1:8002", "w3@10.0.0.1:8003"
    assert.same({
      "each [] + - ~", "settled [] + - ~",
      ("each [%s] +%s - ~"):format(a, a),
      ("each [%s,%s] +%s - ~"):format(a, b, b),
      ("each [%s,%s,%s] +%s - ~"):format(a, b, c, c),
      ("each [%s,%s] + -%s ~"):format(a, c, b),
      ("settled [%s,%s] +%s,%s - ~"):format(a, c, a, c),
    }, printed(box))
  end)

  it("with a tag sees only those; two watches of one service do not disturb each other", function()
    local box = boxes.run([[
      local all, primary = pilot.watch "db", pilot.watch "db" { tag = "primary" }
      local app = pilot.job "db" { exec = "db", service = { port = 1, interfaces = "static:10.0.0.1" } }
      all:on("changed", function(e) print("> all " .. #e.instances .. " " .. #e.updated) end)
      primary:on("changed", function(e) print("> primary " .. #e.instances) end)
      pilot.after("1s", function() app:set_tags { "primary" } end)
      pilot.after("2s", function() app:set_tags { "other" } end)
    ]], { db = sim.server })
    box:advance "5s"
    assert.same({ "all 0 0", "primary 0", "all 1 0", "all 1 1", "primary 1", "all 1 1", "primary 0" }, printed(box))
  end)

  it("with keep_last holds on to the last good answer", function()
    local box = boxes.run([[
      local db = pilot.watch "db" { keep_last = true }
      local job = pilot.job "db" { exec = "db", service = { port = 1, interfaces = "static:10.0.0.1" } }
      db:on("unhealthy", function() print "> unhealthy" end)
      pilot.after("1s", function()
        job:stop()
        print("> kept " .. #db.instances)
      end)
    ]], { db = sim.server })
    box:advance "5s"
    assert.same({ "unhealthy", "kept 1" }, printed(box))
    assert.equal(1, boxes.logged(box, 'watch "db" { keep_last = true }: nobody is left; the last answer is kept'))
  end)

  it("shows who warns only where status is any", function()
    local box = boxes.run([[
      local passing, any = pilot.watch "db", pilot.watch "db" { status = "any" }
      local result = true
      pilot.job "db" { exec = "db", service = { port = 1, interfaces = "static:10.0.0.1" },
        health = { check = function() return result, "as I said" end, interval = "1s", fall = 1 } }
      pilot.after("5s", function() result = "warn" end)
      pilot.after("10s", function() result = false end)
      for _, at in ipairs { 4, 8, 12 } do
        pilot.after(at, function() print("> " .. #passing.instances .. " " .. any.instances[1].status) end)
      end
    ]], { db = sim.server })
    box:advance "15s"
    assert.same({ "1 passing", "0 warning", "0 critical" }, printed(box))
  end)

  it("waits for a state, and for the next event", function()
    local box = boxes.run([[
      local db = pilot.watch "db"
      local job = pilot.job "db" { exec = "db", when = "manual",
        service = { port = 1, interfaces = "static:10.0.0.1" } }
      pilot.on("startup", function()
        print("> " .. tostring(db:wait_for("unhealthy", "1s")))
        print("> " .. tostring(select(2, db:wait_for("healthy", "1s"))))
        pilot.spawn(function() job:start() end)
        print("> " .. #db:next("changed", "1s").added)
        print("> " .. tostring(db:wait_for "healthy"))
        print("> " .. tostring(select(2, db:next("changed", "1s"))))
      end)
    ]], { db = sim.server })
    box:advance "10s"
    assert.same({ "true", "timeout", "1", "true", "timeout" }, printed(box))
  end)

  it("without Consul warns of a watch that nobody in the file answers", function()
    local function warnings(source)
      local list = {}
      for i, warning in ipairs(boxes.load(source).app.mistakes:warnings()) do
        list[i] = ("%s: %s: %s"):format(warning.where, warning.path, warning.message)
      end
      return list
    end
    local jobs = [[
      pilot.job "nginx" { exec = "x", service = { port = 1 } }
      pilot.job "db" { exec = "x", service = { name = "postgres", port = 2 } }
    ]]
    assert.same({ 'pilot.lua:3: watch "ngnix": no job of this file has a service of that name (did you mean "nginx"?), '
      .. "and there is no pilot.consul: nobody will ever be there" },
      warnings(jobs .. 'pilot.watch "ngnix" pilot.watch "postgres" pilot.watch "nginx" { tag = "a" }'))
    assert.same({}, warnings(jobs .. 'pilot.consul "c:8500" pilot.watch "ngnix"'))
  end)

  it("refuses at load what needs a real Consul, and what makes no sense", function()
    local message = boxes.mistakes [[
      pilot.watch "db" { dc = "west", filter = "x", stale = true, cached = true }
      pilot.watch.key "a/b"
      local limit = pilot.watch.prefix "a/"
      pilot.watch "db" { tags = "x" }
      pilot.job "app" { exec = "app", when = pilot.watch "db":once "changd" }
      pilot.job "app2" { exec = "app", when = pilot.watch.key "k":once "healthy" }
      pilot.job "app3" { exec = "app", when = pilot.watch "db" }
      pilot.job "a" { exec = "x", service = { { port = 1 }, { port = 2 } } }
      pilot.job "b" { exec = "x", service = { port = 65536, meta = { [""] = 1 }, initial_status = "pasing",
        interfaces = "a b" } }
      pilot.job "c" { exec = "x", service = { name = "a//b", tag = "x" } }
    ]]
    for _, text in ipairs {
      'pilot.lua:1: pilot.watch "db".dc: needs Consul',
      'pilot.lua:2: watch.key "a/b": needs Consul: add pilot.consul "localhost:8500"',
      'pilot.lua:3: watch.prefix "a/": needs Consul',
      'pilot.lua:4: pilot.watch "db".tags: unknown field (did you mean "tag"?)',
      'pilot.lua:5: unknown event "changd" of a watch (did you mean "changed"?)',
      'pilot.lua:6: unknown event "healthy" of a key',
      'pilot.lua:7: job "app3": when: expected a trigger such as db:once "healthy"',
      'job "a": service[2]: has the id "a-<hostname>", as job "a".service[1] has: give it another name, or an id',
      'job "b": service.port: expected a whole number from 0 to 65535, got a number: 65536',
      'job "b": service.meta[""]: expected a name of letters',
      'job "b": service.initial_status: expected "passing", "warning" or "critical", got a string: "pasing"',
      'job "b": service.interfaces: "a b" is no address specification',
      'job "c": service.name: has an empty part',
      'job "c": service.tag: unknown field (did you mean "tags"?)',
    } do assert.is_truthy(message:find(text, 1, true), text .. "\n→ " .. message) end
  end)

  it("retries when the address is not there yet", function()
    local box = boxes.run([[
      local db = pilot.watch "db"
      pilot.job "db" { exec = "db", service = { port = 1, interfaces = "eth9" } }
    ]], { db = sim.server })
    box:advance "10s"
    assert.equal(1, boxes.logged(box, "not registered: no address fits eth9"))
  end)
end)

describe("maintenance", function()
  after_each(boxes.check)

  it("takes a job out, pauses its checks, and is said once", function()
    local box = boxes.run([[
      local db, probes = pilot.watch "db", 0
      local job = pilot.job "db" { exec = "db", service = { port = 1, interfaces = "static:10.0.0.1" },
        health = { check = function() probes = probes + 1 return true end, interval = "1s" } }
      pilot.on("enter_maintenance", function(e) print("> enter " .. e.reason .. " " .. tostring(e.job)) end)
      pilot.on("exit_maintenance", function(e) print("> exit " .. e.reason .. " " .. tostring(e.job)) end)
      pilot.after("2500ms", function() job:maintenance(true, "deploy") end)
      pilot.after("2600ms", function() job:maintenance(true, "deploy") end)
      pilot.after("5s", function() print("> " .. probes .. " " .. #db.instances .. " " .. job.health) end)
      pilot.after("6500ms", function() job:maintenance(false) end)
      pilot.after("9200ms", function() print("> " .. probes .. " " .. #db.instances) end)
      pilot.after("10s", function() pilot.maintenance(true) end)
      pilot.after("11s", function() print("> " .. #db.instances) pilot.maintenance(false) end)
    ]], { db = sim.server })
    box:advance "12s"
    assert.same({ 'enter deploy job "db"', "3 0 healthy", 'exit deploy job "db"', "6 1", "enter maintenance nil", "0",
      "exit maintenance nil" }, printed(box))
  end)

  it("holds over a restart of the job", function()
    local box = boxes.run([[
      local db = pilot.watch "db"
      local job = pilot.job "db" { exec = "db", restart = "always",
        service = { port = 1, interfaces = "static:10.0.0.1" } }
      pilot.after("1s", function() job:maintenance(true, "x") end)
      pilot.after("2s", function() job:restart() end)
      pilot.after("5s", function() print("> " .. #db.instances) job:maintenance(false) print("> " .. #db.instances) end)
    ]], { db = sim.server })
    box:advance "6s"
    assert.same({ "0", "1" }, printed(box))
  end)
end)

describe("a template with watches", function()
  after_each(boxes.check)

  it("is rendered when all have answered, and again when one changes", function()
    local box = boxes.run([[
      local db = pilot.watch "db"
      local job = pilot.job "db" { exec = "db", when = "manual",
        service = { port = 1, interfaces = "static:10.0.0.1" } }
      local app = pilot.job "app"
      local file = pilot.template "/etc/app.conf" { text = "<% for _, i in ipairs(db) do %><%= i.address %> <% end %>",
        data = function() return { db = db.instances } end, watch = db, settle = "1s", reload = app }
      app { exec = "app", reload = "SIGHUP", when = file:once "rendered" }
      file:on("rendered", function(event) print("> " .. tostring(event.changed)) end)
      pilot.after("2s", function()
        for i = 1, 5 do
          job:start()
          job:set_tags { tostring(i) }
          pilot.sleep "100ms"
        end
      end)
    ]], { db = sim.server, app = sim.server }, { files = { ["/etc/"] = true } })
    box:advance "1s"
    assert.equal("", box:file "/etc/app.conf")
    box:advance "10s"
    assert.equal("10.0.0.1 ", box:file "/etc/app.conf")
    assert.same({ "true", "true" }, printed(box))
    assert.equal(1, box:job("app"):received "SIGHUP")
  end)
end)

describe("a watch of another datacentre", function()
  after_each(boxes.check)

  it("that cannot be reached says so once, and takes nothing for an outage of the agent", function()
    local box = boxes.run [[
      pilot.consul "localhost:8500"
      local west = pilot.watch "db" { dc = "west" }
      pilot.after("4m", function() print("> known " .. #west.instances) end)
    ]]
    local datacentre = box.world.consul:datacenter "west"
    datacentre:add("db", "10.2.0.1")
    box:advance "1m"
    datacentre:down()
    box:advance "5m"
    datacentre:up()
    box:advance "1m"
    assert.same({ "known 1" }, printed(box))
    assert.equal(0, boxes.logged(box, "Consul is"))
    assert.equal(1, boxes.logged(box, 'watch "db" { dc = "west" }: consul: GET /v1/health/service/db'))
    assert.equal(1, boxes.logged(box, 'watch "db" { dc = "west" }: answered again'))
    box:forget_errors()
  end)
end)

describe("a watch of what changes fast", function()
  after_each(boxes.check)

  -- How many questions it has asked in ten seconds in which something is done twenty times a second.
  local function asked(box, path, act)
    box.consul:add("db", "10.0.0.1")
    box:start()
    box:advance "2s"
    local before = #box.consul:requests()
    for i = 1, 200 do
      act(box.consul, i)
      box:advance "50ms"
    end
    local count, list = 0, box.consul:requests()
    for i = before + 1, #list do
      if list[i].path:find(path, 1, true) then count = count + 1 end
    end
    return count
  end

  it("hears of a change before the next tenth of a second is over", function()
    local box = boxes.load [[
      pilot.consul "c:8500"
      pilot.watch.key "k":on("changed", function(event) print("> " .. tostring(event.value)) end)
    ]]
    box:start()
    box:advance "2s"
    for i = 1, 100 do
      box.consul:put("k", tostring(i))
      box:advance "100ms"
      assert.equal(tostring(i), table.remove(printed(box)))
    end
  end)

  it("asks ten times a second at most", function()
    local box = boxes.load 'pilot.consul "c:8500" pilot.watch.key "k"'
    local count = asked(box, "/v1/kv/k", function(consul, i) consul:put("k", tostring(i)) end)
    assert.is_true(count > 90 and count <= 121, count)
  end)

  it("asks once a second when nobody can see what changes: the text of a check, a list that keep_last keeps", function()
    local box = boxes.load 'pilot.consul "c:8500" pilot.watch "db"'
    local count = asked(box, "/v1/health", function(consul, i) consul:set_status("db", "passing", "try " .. i) end)
    assert.is_true(count >= 9 and count <= 13, count)
    box = boxes.load 'pilot.consul "c:8500" pilot.watch "db" { keep_last = true }'
    count = asked(box, "/v1/health", function(consul, i)
      consul:set_status("db", i % 2 == 0 and "passing" or "critical")
    end)
    assert.is_true(count >= 9 and count <= 13, count)
  end)
end)

describe("a watch that gets no JSON", function()
  it("says so once, however it differs, and once more after a good answer", function()
    local watching
    local box = stub_pilot.load('local pilot = require "luapilot" pilot.consul "c:8500" pilot.watch "db"', {
      calls = {
        agent = function() end,
        unchanged = true,
        watch = function(world)
          watching = world:handle { what = "watch" }
          return watching
        end,
      },
    })
    box:start()
    local function answer(body) box.world:send(watching, { type = "watch", status = 200, index = 1, body = body }) end
    for _, body in ipairs { "<p>1</p>", '[{"No', '[{"Node":', "[]", "<p>2</p>" } do answer(body) end
    local lines = {}
    for _, line in ipairs(box.world:messages()) do lines[#lines + 1] = line:match 'watch "db": (%w+ %w+)' end
    assert.same({ "this is", "answered again", "this is" }, lines)
    box:check()
  end)
end)
