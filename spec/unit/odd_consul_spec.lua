-- A Consul, or whatever listens in its place, that answers what no sound agent does: the pilot lives, and says so once.

local boxes = require "support.boxes"
local fake_consul = require "support.fake_consul"
local json = require "luapilot.json"
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
