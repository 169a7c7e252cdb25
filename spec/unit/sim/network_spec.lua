local network = require "luapilot.sim.network"

describe("sim.network", function()
  local net, neighbour

  before_each(function()
    neighbour = network.new(function() return { db = true, ["172.17.0.3"] = true } end, function() end)
    net = network.new(function() return { web = true, ["172.17.0.2"] = true } end, function(host)
      return (host == "db" or host == "172.17.0.3") and neighbour or nil
    end)
  end)

  it("knows nothing of an address that nobody described", function()
    assert.equal("unknown", net:state "localhost:80")
    assert.equal("unknown", net:state "example.com:80")
  end)

  it("does what it is told", function()
    for _, state in ipairs { "up", "down", "hangs" } do
      net:describe("example.com:80", state)
      assert.equal(state, net:state "example.com:80")
    end
  end)

  it("takes every spelling of loopback for the same", function()
    net:describe("127.0.0.1:80", "up")
    for _, host in ipairs { "localhost", "127.0.0.1", "127.1.2.3", "[::1]" } do
      assert.equal("up", net:state(host .. ":80"))
    end
    assert.equal("unknown", net:state "localhost:81")
  end)

  it("is down until somebody listens, and again when the last has gone", function()
    net:expect "localhost:80"
    assert.equal("down", net:state "localhost:80")
    net:listen "localhost:80"
    net:listen "localhost:80"
    assert.equal("up", net:state "localhost:80")
    net:close "localhost:80"
    assert.equal("up", net:state "localhost:80")
    net:close "localhost:80"
    assert.equal("down", net:state "localhost:80")
  end)

  it("is reached at every address of its own when somebody listens on all", function()
    net:listen "0.0.0.0:80"
    for _, host in ipairs { "localhost", "web", "172.17.0.2" } do assert.equal("up", net:state(host .. ":80")) end
  end)

  it("is not reached from outside at loopback", function()
    neighbour:listen "127.0.0.1:5432"
    assert.not_equal("up", net:state "db:5432")
    neighbour:listen "0.0.0.0:5432"
    assert.equal("up", net:state "db:5432")
    assert.equal("up", net:state "172.17.0.3:5432")
  end)

  it("knows who takes connections, at whatever spelling, the latest of them", function()
    local function one() end
    local function other() end
    assert.is_nil(net:acceptor "localhost:80")
    net:listen("0.0.0.0:80", one)
    for _, host in ipairs { "localhost", "web", "172.17.0.2" } do assert.equal(one, net:acceptor(host .. ":80")) end
    net:listen("127.0.0.1:80", other)
    assert.equal(other, net:acceptor "[::1]:80")
    net:close("127.0.0.1:80", other)
    assert.equal(one, net:acceptor "127.0.0.1:80")
    assert.equal("up", net:state "127.0.0.1:80")
    neighbour:listen("0.0.0.0:5432", other)
    assert.equal(other, net:acceptor "db:5432")
    assert.is_nil(net:acceptor "localhost:5432")
    net:serve("example.com:80", one)
    net:serve("example.com:80", other)
    assert.equal("up", net:state "example.com:80")
    assert.equal(other, net:acceptor "example.com:80")
    assert.same({ "example.com:80" }, net:served())
  end)

  it("takes every spelling of a socket's path for the same", function()
    net = network.new(function() return {} end, function() end, "/pilot")
    net:describe("unix:///pilot/run/../app.sock", "down")
    for _, spelling in ipairs { "unix:/pilot/app.sock", "unix:app.sock", "unix:./app.sock" } do
      assert.equal("down", net:state(spelling))
      assert.is_true(net:same(spelling, "unix:/pilot//app.sock"))
    end
    assert.equal("unknown", net:state "unix:other.sock")
    net:listen("unix:other.sock", print)
    assert.equal("up", net:state "unix:/pilot/other.sock")
    assert.equal(print, net:acceptor "unix:/pilot/other.sock")
    net:close("unix:other.sock", print)
    assert.equal("down", net:state "unix:/pilot/other.sock")
  end)

  it("lets a description win over who listens", function()
    net:listen "localhost:80"
    net:describe("localhost:80", "hangs")
    assert.equal("hangs", net:state "localhost:80")
  end)
end)
