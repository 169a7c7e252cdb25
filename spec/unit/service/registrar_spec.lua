-- Registration with the simulated Consul: what the agent holds, and the requests that it takes.

local answer = require "luapilot.sim.consul.answer"
local boxes = require "support.boxes"
local sim = require "luapilot.sim"

local JOB = [[
  pilot.consul "consul:8500"
  local app = pilot.job "app" {
    exec = "app", restart = "always", %s
    health = { exec = "check", interval = "5s", ttl = "16s", fall = 1 },
    service = { port = 80, tags = { "a" }, meta = { v = "1" }, interfaces = "static:10.0.0.1", %s },
  }
]]

local function job(fields, service) return JOB:format(fields or "", service or "") end

describe("the registrar", function()
  local box

  local verdict -- of the check: an exit code
  local function run(source, more)
    verdict = 0
    local programs = {
      app = sim.server,
      check = function(process)
        process:print("verdict " .. verdict)
        process:exit(verdict)
      end,
    }
    for name, behaviour in pairs(more or {}) do programs[name] = behaviour end
    box = boxes.run(source, programs, { hostname = "h" })
    return box
  end

  after_each(boxes.check)

  local function held(id) return box.consul:service(id or "app-h") end
  local function status(id)
    local one = held(id)
    return one and one.status
  end

  -- Requests that change something, since `from`: "register 1", "update 3".
  local function asked(from)
    local count = {}
    for _, one in ipairs(box.consul:requests()) do
      if one.method == "PUT" and one.at >= (from or 0) then
        local what = one.path:match "^/v1/agent/service/(%w+)" or one.path:match "^/v1/agent/check/(%w+)"
        count[what] = (count[what] or 0) + 1
      end
    end
    return count
  end

  local function times(pattern)
    local list = {}
    for _, one in ipairs(box.consul:requests()) do
      if one.path:find(pattern) then list[#list + 1] = one.at end
    end
    return list
  end

  -- --- what jobs do ------------------------------------------------------------------------------

  it("registers with the first pass, and tells what the check said", function()
    run(job(), { check = { { exit = 1, after = "100ms" }, { exit = 0, after = "2s", stdout = "fine" } } })
    box:advance "1s"
    assert.is_nil(held())
    box:advance "3s"
    local one = held()
    assert.same({ "app", "10.0.0.1", 80, "passing", "fine", false }, { one.name, one.address, one.port, one.status,
      one.output, one.maintenance })
    assert.same({ { "a" }, { v = "1" }, 16 }, { one.tags, one.meta, one.checks[1].ttl })
    assert.equal("service:app-h", one.checks[1].id)
  end)

  it("tells what a check said in no character set with a mark for each byte, and registers once", function()
    run(job(), { check = { exit = 0, stdout = "caf\233 \27[31mred" } })
    box:advance "2m"
    assert.equal("caf\239\191\189 \27[31mred", held().output)
    assert.equal(1, asked().register)
  end)

  it("takes no tag that Consul would hold otherwise", function()
    run(job() .. [[pilot.on("SIGUSR1", function() print(pcall(app.set_tags, app, { "fine", "caf\233" })) end)]])
    box:advance "2s"
    box:signal "SIGUSR1"
    box:advance "2s"
    assert.same({ "a" }, held().tags)
    assert.equal(1, boxes.logged(box, "job:set_tags: tags[2]: is not UTF-8: its byte 4 is"))
  end)

  for what, fields in pairs {
    ["the same tag twice"] = [[tags = { "b", "a", "b" }]], ["an empty value"] = [[meta = { empty = "" }]],
    ["what is markup in a page"] = [[tags = { "<a href=\"x\">&amp;\226\128\168" }, meta = { m = "<&>" }]],
    ["the weight 0"] = "weights = { warning = 0 }", ["the port 0"] = "port = 0", ["no port"] = "port = nil",
  } do
    it("registers a service with " .. what .. " once", function()
      run(([[pilot.consul "consul:8500"
        pilot.job "app" { exec = "app", service = { interfaces = "static:10.0.0.1", %s } }]]):format(fields))
      box:advance "3m"
      assert.equal(1, asked().register)
      assert.equal("passing", status())
    end)
  end

  it("registers at once with initial_status", function()
    run(job(nil, 'initial_status = "warning"'), { check = { exit = 0, after = "3s" } })
    box:advance "1s"
    assert.equal("warning", status())
    box:advance "3s"
    assert.equal("passing", status())
    box:job("app"):process():exit(1)
    box:advance "2s"
    assert.is_true(box:job("app").running)
    assert.equal("critical", status())
  end)

  it("takes over what a pilot before it left behind", function()
    run((job(nil, 'initial_status = "critical"'):gsub("pilot.job", [[
      pilot.on("startup", function()
        pilot.consul.agent.service_register { id = "app-h", name = "app", port = 1,
          check = { check_id = "service:app-h", ttl = "1h", status = "passing" } }
        pilot.job "app":start()
      end)
      pilot.job]], 1):gsub("restart = ", 'when = "manual", restart = ')), { check = { exit = 0, after = "4s" } })
    box:advance "2s"
    assert.same({ "critical", 80 }, { status(), held().port })
    box:advance "3s"
    assert.equal("passing", status())
  end)

  it("registers several services of one job", function()
    run [[
      pilot.consul "consul:8500"
      pilot.job "app" { exec = "app", service = {
        { port = 80, interfaces = "static:10.0.0.1" },
        { name = "admin", port = 81, interfaces = "static:10.0.0.1", tags = "x" },
      } }
    ]]
    box:advance "1s"
    assert.same({ "passing", "passing" }, { status "app-h", status "admin-h" })
    box:job("app"):process():exit(0)
    box:advance "1s"
    assert.same({}, box.consul:services())
  end)

  it("sends pass, warn and fail at once, with what the check said", function()
    run [[
      pilot.consul "consul:8500"
      local result = true
      pilot.job "app" { exec = "app", service = { port = 80 },
        health = { check = function() return result, "it is " .. tostring(result) end, interval = "1s", ttl = "1h",
          fall = 1 } }
      pilot.after("5500ms", function() result = "warn" end)
      pilot.after("10500ms", function() result = false end)
      pilot.after("15500ms", function() result = true end)
    ]]
    for _, expected in ipairs { { "passing", "true" }, { "warning", "warn" }, { "critical", "false" },
      { "passing", "true" } } do
      box:advance "5100ms"
      assert.same({ expected[1], "it is " .. expected[2] }, { status(), held().output })
    end
    assert.same({ register = 1, update = 4 }, asked())
  end)

  it("is critical from a crash until a check passes again", function()
    run(job())
    box:advance "2s"
    box:job("app"):process():exit(3)
    box:advance "500ms"
    assert.same({ "critical", "exit code 3" }, { status(), held().output })
    box:advance "5s"
    assert.equal("passing", status())
    assert.same({ 1, nil }, { asked().register, asked().deregister })
  end)

  it("takes back the service of a job that will not be started again", function()
    run(job():gsub('"always"', '"never"') .. 'pilot.every("1h", function() end)')
    box:advance "2s"
    box:job("app"):process():exit(3)
    box:advance "1s"
    assert.is_nil(held())
    for _, one in ipairs(box.consul:requests()) do assert.is_nil((one.body or ""):find "started again") end
  end)

  it("takes it back before the stop signal, then drains", function()
    run(job 'drain = "3s",' .. [[
      pilot.after("2s", function() app:stop() end)
      pilot.every("1h", function() end)
    ]])
    box:advance "4s"
    assert.is_nil(held())
    assert.equal(0, box:job("app"):received "SIGTERM")
    box:advance "2s"
    assert.equal(1, box:job("app"):received "SIGTERM")
    assert.equal("stopped", box:job("app").state)
  end)

  it("does not drain what nobody can have found, and does where somebody may have", function()
    local function duration_of_stop(trouble)
      run(job('drain = "3s", stop_timeout = "9s",'))
      trouble(box.consul)
      box:advance "20s"
      local from = box.world:elapsed()
      box:signal "SIGTERM"
      box:run_until(function() return box.ended end)
      return box.world:elapsed() - from
    end
    assert.is_true(duration_of_stop(function(consul) consul:down() end) < 2)
    assert.is_true(duration_of_stop(function(consul) consul:hang() end) > 3)
    assert.is_true(duration_of_stop(function(consul)
      consul:hang()
      box:advance "10s"
      consul:down()
    end) > 3)
  end)

  it("changes tags, in maintenance too, and a status that changes with them is not lost", function()
    run(job() .. [[
      pilot.after("2s", function() app:set_tags { "b" } end)
      pilot.after("3s", function() app:maintenance(true, "deploy") end)
      pilot.after("4s", function() app:set_tags { "c", "d" } end)
    ]])
    box:advance "2500ms"
    assert.same({ "b" }, held().tags)
    box:advance "2s"
    assert.same({ { "c", "d" }, "deploy", "passing" }, { held().tags, held().maintenance, held().status })
  end)

  -- --- renewals ----------------------------------------------------------------------------------

  it("renews in time with few requests", function()
    run(job())
    box:advance "1m"
    local from, before = box.world:elapsed(), 0
    box:advance "16m"
    local count = asked(from)
    assert.same({ "update" }, { next(count), nil })
    assert.is_true(count.update >= 120 and count.update <= 138, count.update)
    for _, at in ipairs(times "check/update") do
      assert.is_true(at - before < 8.5, ("%g s after the one before"):format(at - before))
      before = at
    end
    assert.is_true(#times "agent/services$" <= 2 * 17 * 60 / 16 + 2)
  end)

  for name, strike in pairs {
    hangs = function() box.consul:hang() end,
    fails = function() box.consul:fail(500) end,
    ["is down"] = function() box.consul:down() end,
  } do
    it("is not late when Consul " .. name .. " for one renewal", function()
      run(job())
      box:advance "10s"
      local last = #times "check/update"
      for _ = 1, 10 do
        strike()
        box:run_until(function() return boxes.logged(box, "Consul is away") > boxes.logged(box, "Consul is back") end)
        box.consul:up()
        box:run_until(function() return boxes.logged(box, "Consul is away") == boxes.logged(box, "Consul is back") end)
        assert.equal("passing", status())
        box:advance "1s"
      end
      assert.is_true(#times "check/update" >= last + 10)
      for _, one in ipairs(box.consul:instances "app") do assert.equal("passing", one.status) end
      assert.equal(0, boxes.logged(box, "forgotten"))
    end)
  end

  it("has a thousand services registered, a few at a time, and renews none late", function()
    run [[
      pilot.consul "consul:8500"
      for i = 1, 1000 do
        pilot.job("app-" .. i) { service = { port = 80, interfaces = "static:10.0.0.1" },
          health = { check = function() return true end, interval = "10s", ttl = "20s" } }
      end
    ]]
    box.consul:slow "50ms"
    box:advance "30s"
    assert.equal(1000, #box.consul:services())
    local from = box.world:elapsed()
    box:advance "60s"
    for _, one in ipairs(box.consul:services()) do assert.equal("passing", one.status) end
    assert.is_true(asked(from).update < 1000 * 8, asked(from).update)
    assert.equal(0, boxes.logged(box, "Consul is"))
    box:stop()
    assert.same({}, box.consul:services())
  end)

  -- --- what becomes of it at the agent -----------------------------------------------------------

  local function is_right()
    local one = held()
    return one ~= nil and one.status == "passing" and one.port == 80 and one.checks[1] ~= nil and one.tags[1] == "a"
      and one.tags[2] == nil
  end

  local troubles = {
    ["that has forgotten everything"] = function() box.consul:restart { lose_state = true } end,
    ["that has forgotten everything twice"] = function()
      box.consul:restart { lose_state = true }
      box:advance "3s"
      box.consul:restart { lose_state = true }
    end,
  }
  for what, call in pairs {
    ["that somebody deregistered"] = 'pilot.consul.agent.service_deregister "app-h"',
    ["whose check somebody removed"] = 'pilot.consul.agent.check_deregister "service:app-h"',
    ["that somebody says is critical"] = 'pilot.consul.agent.fail_ttl("service:app-h", "no")',
    ["that somebody altered"] = [[pilot.consul.agent.service_register {
      id = "app-h", name = "app", port = 81, tags = { "x" } }]],
    ["that somebody registered anew, without a check"] = [[pilot.consul.agent.service_register({
      id = "app-h", name = "app", port = 80, tags = { "a" }, address = "10.0.0.1", meta = { v = "1" } },
      { replace_existing_checks = true })]],
  } do
    troubles["of a service " .. what] = call
  end
  for what, trouble in pairs(troubles) do
    it("is right again within a ttl at an agent " .. what, function()
      run(job() .. ([[ pilot.on("SIGUSR1", function() %s end) ]]):format(type(trouble) == "string" and trouble or ""))
      box:advance "10s"
      if type(trouble) == "string" then box:signal "SIGUSR1" else trouble() end
      box:advance "500ms"
      assert.is_false(is_right())
      box:advance "16s"
      assert.is_true(is_right())
      local from = box.world:elapsed()
      box:advance "2m"
      assert.is_nil(asked(from).register)
    end)
  end

  it("leaves to others what it let them: the tags", function()
    run(job(nil, "enable_tag_override = true") .. [[
      pilot.on("SIGUSR1", function()
        pilot.consul.catalog.register { node = "h", skip_node_update = true, service = { id = "app-h", service = "app",
          port = 80, tags = { "theirs" }, address = "10.0.0.1", meta = { v = "1" }, enable_tag_override = true } }
      end)
    ]])
    box:advance "5s"
    box:signal "SIGUSR1"
    box:advance "3m"
    assert.same({ "theirs" }, held().tags)
  end)

  -- --- Consul is away ----------------------------------------------------------------------------

  for what, strike in pairs {
    ["is down"] = function() box.consul:down() end,
    hangs = function() box.consul:hang() end,
    ["says 500"] = function() box.consul:fail(500) end,
    ["says 503"] = function() box.consul:fail(503) end,
    ["says 429"] = function() box.consul:fail(429) end,
  } do
    it("lets jobs run on while Consul " .. what .. ", says so once, and all is right within seconds after", function()
      run(job())
      box:advance "10s"
      strike()
      local from = box.world:elapsed()
      box:advance "5m"
      assert.is_true(#times "check/update" < 20 + 300 / 4)
      verdict = 1
      box:advance "1m"
      assert.is_true(box:job("app").running)
      assert.equal("unhealthy", box:job("app").health)
      assert.same({ 1, 0 }, { boxes.logged(box, "Consul is away"), boxes.logged(box, "Consul is back") })
      box.consul:up()
      box:advance "8s"
      assert.same({ "critical", "verdict 1" }, { status(), held().output })
      assert.same({ 1, 1 }, { boxes.logged(box, "Consul is away"), boxes.logged(box, "Consul is back") })
      assert.is_true((asked(from).update or 0) < 100)
    end)
  end

  it("bears an agent that takes a second for each answer", function()
    run(job())
    box.consul:slow "1s"
    box:advance "3m"
    assert.equal("passing", status())
    assert.equal(0, boxes.logged(box, "Consul is"))
    verdict = 1
    box:advance "7s"
    assert.equal("critical", status())
  end)

  it("registers with an agent that has no leader", function()
    run(job())
    box.consul:leader(false)
    box:advance "20s"
    assert.equal("passing", status())
    box.consul:leader(true)
    box:advance "40s"
    assert.equal("passing", box.consul:instances("app")[1].status)
  end)

  it("says what Consul refuses once, and goes on when it is granted", function()
    run(job() .. 'pilot.on("startup", function() end)')
    box.consul:deny "service"
    box:advance "5m"
    assert.is_nil(held())
    assert.equal(1, boxes.logged(box, "does the token allow service:write?; asked again until it is granted"))
    assert.equal(0, boxes.logged(box, "Consul is"))
    assert.is_true(asked().register < 20)
    box.consul:grant "service"
    box:advance "31s"
    assert.equal("passing", status())
    assert.equal(1, boxes.logged(box, "Consul takes it now"))
  end)

  it("says once what is refused with another id each time", function()
    local real, number = answer.denied, 0
    finally(function() answer.denied = real end)
    answer.denied = function()
      number = number + 1
      return answer.text(403, ("Permission denied: request 9f%d-4b of token %d"):format(number, 100 - number))
    end
    run(job())
    box.consul:deny "service"
    box:advance "5m"
    assert.is_true(number > 5)
    assert.equal(1, boxes.logged(box, "asked again until it is granted"))
  end)

  describe("what Consul never takes", function()
    local function refused(more)
      run(job(nil, more) .. [[pilot.on("SIGUSR1", function() app:set_tags { "b" } end)]])
      box.consul:fail(400)
      box:advance "9m"
    end

    it("is said once, with what to change, and not asked again and again", function()
      refused()
      assert.equal(1, asked().register)
      assert.equal(1, boxes.logged(box, '400: simulated failure; Consul never takes it so: change job "app".service '
        .. "(asked again when Consul was away, and each 10m)"))
      assert.equal(0, boxes.logged(box, "until it is granted"))
      assert.equal(0, boxes.logged(box, "Consul is away"))
      box:advance "1h"
      assert.equal(7, asked().register)
      assert.equal(1, boxes.logged(box, "simulated failure"))
    end)

    it("is asked at once when it is declared otherwise", function()
      refused()
      box.consul:up()
      box:advance "20s"
      assert.is_nil(held())
      box:signal "SIGUSR1"
      box:advance "1s"
      assert.same({ "b" }, held().tags)
      assert.equal(1, boxes.logged(box, "Consul takes it now"))
    end)

    it("is asked again at once when it was declared otherwise before the answer came", function()
      run(job() .. [[pilot.on("SIGUSR1", function() app:set_tags { "b" } end)]])
      box.consul:slow "2s"
      box.consul:fail(400)
      box:advance "1s"
      box:signal "SIGUSR1"
      box:advance "10s"
      assert.equal(2, asked().register)
    end)

    it("is asked when the agent is another one", function()
      run [[
        pilot.consul "consul:8500"
        pilot.job "good" { exec = "app", service = { port = 80, interfaces = "static:10.0.0.1" } }
        local late = pilot.job "late" {
          exec = "app", when = "manual", service = { port = 80, interfaces = "static:10.0.0.1" },
        }
        pilot.after("10s", function() late:start() end)
      ]]
      box:advance "5s"
      box.consul:fail(400)
      box:advance "6s"
      box.consul:up()
      box:advance "30s"
      assert.is_nil(held "late-h")
      box.consul:down()
      box:advance "40s"
      box.consul:up()
      box:advance "10s"
      assert.same({ "passing", "passing" }, { status "late-h", status "good-h" })
    end)

    it("holds up no stop", function()
      refused()
      local from = box.world:elapsed()
      box:stop()
      assert.is_true(box.world:elapsed() - from < 1)
    end)
  end)

  it("does not hold up the stop of a job that Consul refuses", function()
    run(job 'stop_timeout = "20s",' .. 'pilot.after("1m", function() app:stop() end) pilot.every("1h", print)',
      { app = { term_delay = "1ms" } })
    box.consul:deny "service"
    box:advance "60500ms"
    assert.equal("stopped", box:job("app").state)
  end)

  -- --- maintenance -------------------------------------------------------------------------------

  it("tells maintenance and its reason, of a job and of all", function()
    run(job() .. [[
      pilot.job "other" { exec = "app", service = { port = 81 } }
      pilot.after("2s", function() app:maintenance(true, "deploy") end)
      pilot.after("4s", function() pilot.maintenance(true, "upgrade") end)
      pilot.after("6s", function() app:maintenance(false) end)
      pilot.after("8s", function() pilot.maintenance(false) end)
    ]])
    local seen = {}
    for i = 1, 4 do
      box:advance(i == 1 and "3s" or "2s")
      seen[i] = { held().maintenance, held("other-h").maintenance }
    end
    assert.same({ { "deploy", false }, { "upgrade", "upgrade" }, { "upgrade", "upgrade" }, { false, false } }, seen)
    assert.same({ "passing", "passing" }, { status(), status "other-h" })
  end)

  it("is never found while one maintenance takes the place of another", function()
    run(job() .. [[
      pilot.after("4s", function() app:maintenance(true, "deploy") end)
      pilot.after("6s", function() app:maintenance(true, "upgrade") end)
      pilot.after("8s", function() app:set_tags { "b" } end)
    ]])
    box.consul:slow "50ms"
    box:advance "5s"
    for _ = 1, 1000 do
      box:advance "10ms"
      assert.is_true(held().maintenance ~= false or status() == "critical")
    end
    assert.same({ "upgrade", "passing", { "b" } }, { held().maintenance, status(), held().tags })
  end)

  it("tells maintenance again to an agent that has lost it, before anybody is sent there", function()
    run(job() .. [[pilot.after("2s", function() app:maintenance(true, "deploy") end)]])
    box:advance "5s"
    box.consul:restart { lose_state = true }
    local found = false
    box:run_until(function()
      found = found or held() ~= nil and held().maintenance == false and status() ~= "critical"
      return held() ~= nil and held().maintenance == "deploy"
    end, "20s")
    assert.is_false(found)
  end)

  it("tells maintenance again when somebody ended it, and leaves alone what somebody else began", function()
    run(job() .. [[
      pilot.on("SIGUSR1", function() pilot.consul.agent.disable_service_maintenance "app-h" end)
      pilot.on("SIGUSR2", function() pilot.consul.agent.enable_service_maintenance("app-h", "theirs") end)
      pilot.after("30s", function() app:maintenance(true, "deploy") end)
      pilot.after("1m", function() app:maintenance(false) end)
      pilot.after("70s", function() app:set_tags { "b" } end)
    ]])
    box:advance "40s"
    box:signal "SIGUSR1"
    box:advance "10s"
    assert.equal("deploy", held().maintenance)
    assert.equal(1, boxes.logged(box, "Consul has forgotten its maintenance: told again"))
    box:advance "12s"
    assert.is_false(held().maintenance)
    box:signal "SIGUSR2"
    box:advance "1m"
    assert.same({ "theirs", { "b" } }, { held().maintenance, held().tags })
  end)

  it("ends a maintenance that Consul may have heard of, although it never answered", function()
    run(job() .. [[
      pilot.after("10s", function() app:maintenance(true, "deploy") end)
      pilot.after("12s", function() app:maintenance(false) end)
    ]])
    box:advance "9s"
    box.consul:slow "10s"
    box:advance "10s"
    box.consul:up()
    box:advance "20s"
    assert.is_false(held().maintenance)
  end)

  it("says again what was so all the time but for a moment of which Consul may have heard", function()
    run((job():gsub("16s", "4m")))
    box:advance "10s"
    box.consul:slow "10s" -- the answer comes too late, and what was asked is done
    verdict = 1
    box:advance "6s"
    verdict = 0
    box:advance "5s"
    box.consul:up()
    box:advance "8s"
    assert.equal("passing", status())
  end)

  -- --- the end -----------------------------------------------------------------------------------

  it("deregisters at the pilot's end, by a signal and by the end of the main job", function()
    for _, how in ipairs { "signal", "exit" } do
      run((job "main = true,":gsub('"always"', '"never"')))
      box:advance "5s"
      assert.equal("passing", status())
      if how == "signal" then
        box:stop()
      else
        box:job("app"):process():exit(0)
        box:run_until(function() return box.ended end, "2s")
      end
      assert.same({}, box.consul:services())
    end
  end)

  it("takes back what was stopped while Consul was away, and asks once what it holds", function()
    run [[
      pilot.consul "consul:8500"
      for i = 1, 5 do
        local app = pilot.job("app-" .. i) { exec = "app", service = { port = 80 + i, interfaces = "static:10.0.0.1" } }
        pilot.on("SIGUSR1", function() app:stop() end)
      end
      pilot.every("1h", function() end)
    ]]
    box:advance "5s"
    assert.equal(5, #box.consul:services())
    box.consul:down()
    box:signal "SIGUSR1"
    box:advance "10s"
    local from = box.world:elapsed()
    box.consul:up()
    box:advance "10s"
    assert.same({}, box.consul:services())
    assert.equal(5, asked(from).deregister)
    local looks = 0
    for _, at in ipairs(times "agent/services$") do looks = looks + (at >= from and 1 or 0) end
    assert.is_true(looks <= 2, looks) -- who tries, and then all that are left
  end)

  it("ends a second later at most when Consul hangs", function()
    for _, how in ipairs { "signal", "exit" } do
      run((job "main = true,":gsub('"always"', '"never"')))
      box:advance "5s"
      box.consul:hang()
      local from = box.world:elapsed()
      if how == "signal" then box:stop() else box:job("app"):process():exit(0) end
      box:run_until(function() return box.ended end, "10s")
      assert.is_true(box.world:elapsed() - from < 2.5, box.world:elapsed() - from)
      assert.equal(0, boxes.logged(box, "Consul is back"))
    end
  end)

  it("takes back at once what is stopped while it pauses after a failure that has passed", function()
    for _, how in ipairs { "signal", "exit", "stop" } do
      run((job "main = true,":gsub('"always"', '"never"')) .. [[
        for i = 1, 3 do
          pilot.job("more-" .. i) { exec = "app", service = { port = 80 + i, interfaces = "static:10.0.0.1" } }
        end
        pilot.on("SIGUSR1", function() app:stop() end)
      ]])
      box:advance "5s"
      box.consul:fail(500)
      box:run_until(function() return boxes.logged(box, "Consul is away") == 1 end, "1m")
      box.consul:up()
      local from = box.world:elapsed()
      if how == "signal" then box:stop() end
      if how == "exit" then box:job("app"):process():exit(0) end
      if how == "stop" then box:signal "SIGUSR1" end
      box:run_until(function() return held() == nil end, "1s")
      if how == "stop" then box:stop() end
      box:run_until(function() return box.ended end, "2s")
      assert.same({}, box.consul:services())
      assert.is_true(asked(from).deregister >= 4)
      assert.equal(0, boxes.logged(box, "not deregistered"))
    end
  end)

  it("says at the end which services Consul still has", function()
    run(job() .. [[
      pilot.job "other" { exec = "app", service = { port = 81, interfaces = "static:10.0.0.1" } }
      pilot.job "never" { exec = "app", when = "manual", service = { port = 82, interfaces = "static:10.0.0.1" } }
    ]])
    box:advance "5s"
    box.consul:down()
    box:run_until(function() return boxes.logged(box, "Consul is away") == 1 end, "1m")
    box:stop()
    assert.equal(2, boxes.logged(box, "not deregistered: Consul did not answer in time"))
    for _, id in ipairs { "app-h", "other-h" } do
      assert.equal(1, boxes.logged(box, ('service "%s": not deregistered: Consul did not answer in time'):format(id)))
    end
  end)

  it("asks once more, not once for each, where Consul is away when they are stopped one after the other", function()
    run(job() .. [[
      local last
      for i = 1, 5 do
        last = pilot.job("more-" .. i) { exec = "app", depends_on = last and { last } or {},
          service = { port = 80 + i, interfaces = "static:10.0.0.1" } }
      end
    ]])
    box:advance "20s"
    box.consul:hang()
    box:run_until(function() return boxes.logged(box, "Consul is away") == 1 end, "1m")
    box:signal "SIGTERM"
    box:run_until(function() return box.ended end, "2500ms") -- one of them has waited for an answer, a second
    assert.equal(6, boxes.logged(box, "not deregistered: Consul did not answer in time"))
  end)

  it("does not say that Consul is back when the pilot ends", function()
    run(job() .. 'pilot.watch "db"')
    box:advance "5s"
    box.consul:down()
    box:advance "1m"
    box:stop()
    assert.same({ 1, 0 }, { boxes.logged(box, "Consul is away"), boxes.logged(box, "Consul is back") })
  end)

  it("takes back what Consul heard of while the job was already being stopped", function()
    run(job() .. [[
      pilot.after("2s", function() app:stop() end)
      pilot.every("1h", function() end)
    ]], { check = { exit = 0, after = "1s" } })
    box.consul:slow "10s" -- the registration counts, and nobody waits for its answer that long
    box:advance "15s"
    box.consul:up()
    box:advance "10s"
    assert.same({}, box.consul:services())
  end)
end)
