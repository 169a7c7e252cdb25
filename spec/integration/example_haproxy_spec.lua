-- The haproxy example with the real HAProxy and a real Consul: backends come and go while requests are made.

local consul  = require "support.consul"
local machine = require "support.machine"
local example = require "support.example"
local run     = require "support.run"
local story   = require "support.story"
local web     = require "support.web"

local SECONDS = os.getenv "LOAD_SECONDS" or "10" -- of requests

local LACKING = consul.lacking() or machine.lacking("haproxy", "socat", "ab", "busybox")

describe("the haproxy example", machine.unless(LACKING, function()
  local agent, p, port, backends

  before_each(function()
    agent = agent or consul.start()
    port, backends = story.free_port(), {}
    p = example.run("haproxy", { PORT = tostring(port), CONSUL_HTTP_ADDR = "127.0.0.1:" .. agent.port })
    p:wait_for_line 'job "haproxy": is healthy'
  end)

  -- The agent is there for the next spec, too: whoever is registered would be served then.
  after_each(function()
    for left in pairs(backends or {}) do
      agent:api("PUT", "/v1/agent/service/deregister/app-" .. left)
    end
    backends = {}
    run.cleanup()
  end)
  teardown(run.finish)

  local function come(number)
    local at = story.free_port()
    local server = run.program({ "busybox", "httpd", "-f", "-p", "127.0.0.1:" .. at }, {
      files = { ["index.html"] = "backend " .. number .. "\n" },
    })
    server:wait_for("a backend that answers", function() return web.get(at):find "200 OK" end)
    backends[number] = { server = server, place = "127.0.0.1:" .. at }
    agent:api("PUT", "/v1/agent/service/register", {
      Name = "app", ID = "app-" .. number, Address = "127.0.0.1", Port = at,
    })
  end

  local function forget(number)
    agent:api("PUT", "/v1/agent/service/deregister/app-" .. number)
    local gone = backends[number].server
    backends[number] = nil
    return gone
  end

  local function ask(command)
    local talk = run.program({ "sh", "-c", 'echo "$1" | socat -t5 - UNIX-CONNECT:"$0"',
      p:path "copied/build/admin.sock", command })
    assert.equal(0, talk:wait())
    return talk:stdout():gmatch "[^\n]+"
  end

  -- What HAProxy itself says: place → slot, of those that are ready.
  local function served()
    local list = {}
    for line in ask "show servers state app" do
      local slot, address, admin, at = line:match(
        "^%d+ app %d+ (%S+) (%S+) %d+ (%d+)" .. (" %S+"):rep(11) .. " (%d+)")
      if slot and admin % 2 == 0 then list[address .. ":" .. at] = slot end
    end
    return list
  end

  -- No new request comes to a slot that is not served, but one that is under way is answered.
  local function wait_until_idle(slot)
    p:wait_for("no session of " .. slot, function()
      for line in ask "show stat" do
        if line:match("^app," .. slot .. ",%d*,%d*,(%d+),") == "0" then return true end
      end
    end)
  end

  local function wait_for_all()
    return p:wait_for("exactly those that are there", function()
      local slots, wanted = served(), 0
      for _, each in pairs(backends) do
        if not slots[each.place] then return nil end
        wanted = wanted + 1
      end
      for _ in pairs(slots) do wanted = wanted - 1 end
      return wanted == 0 and slots
    end)
  end

  it("follows backends that come and go under load, in one process, and loses no request", function()
    assert.matches("^HTTP/1.1 503 ", web.get(port))
    for number = 1, 3 do come(number) end
    wait_for_all()
    assert.matches("\r\n\r\nbackend %d\n$", web.get(port))
    local pid, stays = p:named "haproxy", wait_for_all()[backends[3].place]

    local load = run.program {
      "ab", "-q", "-r", "-l", "-c", "4", "-t", SECONDS, "-n", "10000000", ("http://127.0.0.1:%d/"):format(port),
    }
    local number = 4
    repeat                                           -- two come, two go; the third one stays all the time
      for new = number, number + 1 do come(new) end
      local slots, gone = wait_for_all(), {}
      for old, each in pairs(backends) do
        if old ~= 3 and old < number then gone[slots[each.place]] = forget(old) end
      end
      assert.equal(stays, wait_for_all()[backends[3].place])
      for slot, server in pairs(gone) do
        wait_until_idle(slot)
        server:signal "SIGTERM"
      end
      number = number + 2
    until load:ended()

    local report = load:stdout()
    assert.message(report).equal("0", report:match "Failed requests: +(%d+)")
    assert.message(report).is_nil(report:match "Non%-2xx")
    assert.is_true(tonumber(report:match "Complete requests: +(%d+)") > 0)
    assert.equal(pid, p:named "haproxy")
    story.assert_lines(p, 1, 'job "haproxy": started')
    story.assert_lines(p, 0, "reloading")
    story.assert_lines(p, 1, "rendered")

    for left in pairs(backends) do forget(left) end
    wait_for_all()
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
  end)

  it("comes back from a crash with the backends of then", function()
    come(1)
    wait_for_all()
    p:signal("SIGKILL", p:named "haproxy")
    come(2)
    p:wait_for_line('job "haproxy": is healthy', 2)
    wait_for_all()
  end)
end))
