-- luapilot test examples/registrator     What pilot.lua does, on a simulated container.

local json = require "cjson"
local sim = require "luapilot.sim"

describe("registrator", function()
  local box, running, events

  local WEB = {
    Id = ("a"):rep(64), Names = { "/web" }, Labels = { ["consul.service"] = "web" },
    Ports = {
      { PrivatePort = 53, Type = "udp" }, { IP = "0.0.0.0", PrivatePort = 80, PublicPort = 8080, Type = "tcp" },
    },
  }
  local API = {
    Id = ("b"):rep(64), Names = { "/api" }, Ports = {},
    Labels = { ["consul.service"] = "api", ["consul.port"] = "9000" },
  }
  local DARK = { Id = ("c"):rep(64), Names = { "/dark" }, Labels = { ["consul.service"] = "dark" }, Ports = {} }

  local function event(action, container)
    return json.encode { Type = "container", Action = action, Actor = { ID = container.Id } } .. "\n"
  end

  -- What Docker answers: the running containers, and events, one each second.
  before_each(function()
    running, events = {}, {}
    box = sim.load("pilot.lua", { hostname = "here" })
    box:http("http://docker/_ping", 200)
    box:http("http://docker/containers/json", function(request)
      local list = {}
      for _, each in ipairs(running) do
        if not request.url:find "%%22id%%22" or request.url:find(each.Id, 1, true) then list[#list + 1] = each end
      end
      return { body = #list > 0 and json.encode(list) or "[]" }
    end)
    box:http("http://docker/events", function() return { body = events, every = "1s", endless = true } end)
  end)

  after_each(function() assert.same({}, box:errors()) end)

  local function registered()
    local list = {}
    for i, each in ipairs(box.consul:services()) do
      list[i] = ("%s %s:%d"):format(each.name, each.address, each.port)
    end
    return list
  end

  it("registers who runs already, at the port that is published or named", function()
    running = { WEB, API }
    box:start()
    box:advance "5s"
    assert.same({ "web 127.0.0.1:8080", "api 127.0.0.1:9000" }, registered())
    assert.equal("docker-here-aaaaaaaaaaaa", box.consul:service "web".id)
    assert.equal("healthy", box:job "registrator".health)
  end)

  it("registers who starts, and takes back who ends", function()
    events = { event("start", WEB), event("start", API), event("die", WEB), event("die", DARK) }
    running = { WEB, API }
    box:start()
    box:advance "10s"
    assert.same({ "api 127.0.0.1:9000" }, registered())
  end)

  it("says who has no port, and leaves it alone", function()
    running = { DARK }
    box:start()
    box:advance "5s"
    assert.same({}, registered())
    local warned = {}
    for _, entry in ipairs(box:log()) do
      if entry.message == "publishes no port" then warned[#warned + 1] = entry.fields.container end
    end
    assert.same({ "/dark" }, warned)
  end)

  it("takes back at its start who ended meanwhile, and nothing that others registered", function()
    running = { WEB }
    box:start()
    box:advance "5s"
    running = { API }
    assert.equal(0, box:stop())
    assert.same({ "web 127.0.0.1:8080" }, registered())      -- containers outlive it

    local again = box.world:load("pilot.lua", { hostname = "here", agent = "here" })
    again:http("http://docker/_ping", 200)
    again:http("http://docker/containers/json", { body = json.encode(running) })
    again:http("http://docker/events", { body = {}, endless = true })
    again:start()
    again:advance "5s"
    assert.is_nil(again.consul:service "web")
    assert.is_not_nil(again.consul:service "api")
    assert.same({}, again:errors())
  end)
end)
