-- A Consul, or whatever listens in its place, that answers what no sound agent does: the pilot lives, and says so once.

local boxes = require "support.boxes"
local fake_consul = require "support.fake_consul"
local json = require "luapilot.base.json"
local sim = require "luapilot.sim"

local JOB = [[
  pilot.consul "consul:8500"
  local app = pilot.job "app" {
    exec = "app", health = { exec = "check", interval = "1s", ttl = "4s" },
    service = { port = 80, interfaces = "static:10.0.0.1" },
  }
]]

describe("where Consul answers oddly", function()
  local box, asked

  -- fn(request) → status, body: what is said instead of what the simulated agent says.
  local function run(source, fn)
    box = boxes.load(source, { hostname = "h" })
    box:program("app", sim.server)
    box:program("check", { exit = 0 })
    asked = {}
    local server = box.port.consul.server
    local accept = server.accept
    function server.accept(self, request, done)
      asked[#asked + 1] = request
      local status, body = fn(request)
      if not status then return accept(self, request, done) end
      done { status = status, headers = {}, body = body or "" }
      return { cancel = function() end }
    end
    box:start()
    return box
  end

  after_each(boxes.check)

  local function count(pattern, from)
    local n = 0
    for i = from or 1, #asked do n = n + (asked[i].path:find(pattern) and 1 or 0) end
    return n
  end

  local function held() return box.consul:service "app-h" end

  -- --- answers of other types ----------------------------------------------------------------------

  for what, body in pairs {
    ["an entry that is no table"] = '{"app-h":5}', ["a list"] = "[5]", ["a list of nothing"] = "[null]",
    ["fields of other types"] = '{"app-h":{"Service":{},"Port":"80","Address":5,"Tags":7,"Meta":7,"Weights":7}}',
    ["a text"] = '"x"', ["a page"] = "<html>", ["a deep nest"] = ("["):rep(900) .. ("]"):rep(900),
  } do
    it("with " .. what .. " for its services the pilot goes on", function()
      run(JOB, function(request)
        if request.path:find "^/v1/agent/services" then return 200, body end
      end)
      box:advance "1m"
      assert.equal("passing", held().status)
      box:stop()
      assert.equal(0, box.exit_code)
    end)
  end

  for _, body in ipairs { '{"_service_maintenance:app-h":5,"service:app-h":5}', "[5]",
                          '{"service:app-h":{"Status":{}},"_service_maintenance:app-h":{"Notes":5}}' } do
    it("with " .. body .. " for its checks the pilot goes on", function()
      run(JOB .. [[pilot.on("SIGUSR1", function() app:maintenance(true, "disk") end)]], function(request)
        if request.path:find "^/v1/agent/checks" then return 200, body end
      end)
      box:advance "5s"
      box:signal "SIGUSR1"
      box:advance "20s"
      box:stop()
      assert.equal(0, box.exit_code)
    end)
  end

  it("an answer without an end is one error for calls, steps and looks", function()
    local one = fake_consul.load('pilot.consul "localhost:8500"', { ["GET /v1/agent/host"] = "{}" })
    one:run "return pilot.consul.agent.host()"
    assert.equal(64 * 1024 ^ 2, one:last().max_body)

    local long = ("x"):rep(9 * 1024 ^ 2)
    run(JOB, function(request)
      if request.path:find "^/v1/agent/service" or request.path:find "check/update" then return 200, long end
    end)
    box:advance "20s"
    assert.equal(1, boxes.logged(box, "/register: the answer is larger than 65536 bytes"))
    box:stop()
    assert.equal(0, box.exit_code)

    run(JOB, function(request)
      if request.path:find "^/v1/agent/services" then return 200, long end
    end)
    box:advance "20s"
    assert.equal(1, boxes.logged(box, "GET /v1/agent/services: the answer is larger than 8388608 bytes. What becomes"))
    assert.equal("passing", held().status)
  end)

  -- --- refusals of one request, or of one service ------------------------------------------------------

  it("with a 400 to one renewal it is asked again soon, and that renewal is what Consul takes now", function()
    local renewals = 0
    run(JOB, function(request)
      renewals = renewals + (request.path:find "check/update" and 1 or 0)
      if renewals == 3 and request.path:find "check/update" then return 400, "Bad Request" end
    end)
    box:advance "20s"
    assert.equal("passing", held().status)
    assert.is_true(renewals >= 8, renewals)
    assert.equal(1, boxes.logged(box, "400: Bad Request; asked again until it is granted"))
    assert.equal(1, boxes.logged(box, "Consul takes it now"))
  end)

  it("with a 400 to a maintenance the renewals go on, and are not what Consul takes now", function()
    run(JOB .. [[pilot.on("SIGUSR1", function() app:maintenance(true, "disk") end)]], function(request)
      if request.path:find "/maintenance/" then return 400, "no" end
    end)
    box:advance "5s"
    box:signal "SIGUSR1"
    box:advance "1m"
    assert.equal(0, boxes.logged(box, "Consul takes it now"))
    assert.is_true(count "/maintenance/" <= 8)
  end)

  it("with a 500 to one service alone the others are renewed in time, and it has a pause of its own", function()
    local broken = false
    run([[
      pilot.consul "consul:8500"
      for _, id in ipairs { "a", "b", "c" } do
        pilot.job(id) { exec = "app", health = { exec = "check", interval = "1s", ttl = "4s" },
          service = { id = id, port = 80, interfaces = "static:10.0.0.1" } }
      end
    ]], function(request)
      local is_a = request.path:find "service%%3Aa$" or (request.body or ""):find '"ID":"a"'
      if broken and is_a then return 500, "some trouble with this one service" end
    end)
    box:advance "5s"
    broken = true
    local from = #asked + 1
    for _ = 1, 120 do
      box:advance "1s"
      for _, id in ipairs { "b", "c" } do assert.equal("passing", box.consul:service(id).status) end
    end
    assert.is_true(count("service%%3Aa$", from) <= 20, count("service%%3Aa$", from))
    assert.equal(1, boxes.logged(box, 'service "a": consul: PUT /v1/agent/check/update/service%3Aa: 500: some trouble'))
    assert.is_true(boxes.logged(box, "Consul is away") <= 1)
    broken = false
    box:advance "40s"
    assert.equal("passing", box.consul:service("a").status)
    assert.equal(1, boxes.logged(box, 'service "a": Consul takes it now'))
  end)

  -- --- no Consul at all --------------------------------------------------------------------------------

  it("with an entry that is gone each time it is registered more and more seldom", function()
    run(JOB, function(request) return 200, request.method == "GET" and "{}" or "" end)
    box:advance "10m"
    assert.equal(1, boxes.logged(box, "Consul's entry is gone: registered again"))
    assert.equal(1, boxes.logged(box, "Consul's entry is gone again: somebody removes it each time; left alone for "))
    assert.is_true(count "/register$" <= 10, count "/register$")
    box:stop()
    assert.equal(0, box.exit_code)
  end)

  it("with a page for everything the log says once that this may be no Consul", function()
    run(JOB, function() return 200, "<html>hello</html>" end)
    box:advance "10m"
    assert.equal(1, boxes.logged(box, "GET /v1/agent/services: the answer is none of Consul's: is this Consul?"))
  end)

  it("a call raises, and says that this is none of Consul's answers", function()
    local calls = {
      ["agent.node_name()"] = "{}", ["agent.self()"] = "5", ["event.list()"] = "[5]", ["kv.get 'a'"] = "[5]",
      ["kv.list 'a'"] = '[{"Key":5},{"Key":"a"}]', ["kv.keys 'a'"] = '[{},5,"a"]', ["session.create {}"] = "5",
      ["txn { { verb = 'get', key = 'a' } }"] = '{"Results":[5]}', ["session.info 'x'"] = "5",
    }
    for call, body in pairs(calls) do
      local one = fake_consul.load('pilot.consul "localhost:8500"', setmetatable({}, {
        __index = function() return body end,
      }))
      local ok, message = one:run("return (pilot.consul." .. call .. ")")
      assert.is_false(ok, call)
      assert.matches("^pilot.lua:1: consul: %u+ /v1/.*: the answer is none of Consul's", message, nil, call)
    end
  end)

  it("a call is told why a transaction was refused, as far as that can be read", function()
    local one = fake_consul.load('pilot.consul "localhost:8500"', {
      ["PUT /v1/txn"] = { status = 409, body = json.encode { Errors = { { What = "x" }, 5 } } },
    })
    local ok, message = one:run "return pilot.consul.txn { { verb = 'get', key = 'a' } }"
    assert.is_false(ok)
    assert.matches("the answer is none of Consul's", message)
  end)
end)
