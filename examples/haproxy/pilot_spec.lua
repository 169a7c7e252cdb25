-- luapilot test examples/haproxy     What pilot.lua does, on a simulated container.

local sim = require "luapilot.sim"

describe("haproxy", function()
  local CONF = "build/haproxy.cfg"
  local box, haproxy
  local slots          -- of the simulated HAProxy: { { place = "10.0.0.1:80", admin = 0 }, … }
  local talks          -- with its runtime API

  -- What a start reads in its configuration.
  local function read()
    slots = {}
    for place, disabled in box:file(CONF):gmatch "\n  server app%d+ (%S+)([^\n]*)" do
      slots[#slots + 1] = { place = place, admin = disabled == " disabled" and 5 or 0 }
    end
  end

  local function show()
    local lines = { "1", "# be_id be_name srv_id srv_name …" }
    for i, slot in ipairs(slots) do
      local address, port = slot.place:match "^%[?(.-)%]?:(%d+)$"
      lines[#lines + 1] = ("3 app %d app%d %s 2 %d 1 1 9 1 0 2 0 0 0 0 - %s - 0 0 - - 0")
        :format(i, i, address, slot.admin, port)
    end
    return table.concat(lines, "\n") .. "\n\n"
  end

  local function obey(command)
    local slot, what = command:match "^set server app/app(%d+) (.*)$"
    slot = assert(slots[tonumber(slot)], command)
    local address, port = what:match "^addr (%S+) port (%d+)$"
    if address then
      slot.place = (address:find ":" and "[%s]:%s" or "%s:%s"):format(address, port)
    else
      slot.admin = assert(({ ["state ready"] = 0, ["state maint"] = 1 })[what], command)
    end
  end

  -- The runtime API: one line, its answer, the end.
  local function serve(conn)
    local line = conn:read_line()
    talks[#talks + 1] = line
    for command in line:gmatch "[^;]+" do
      if command == "show servers state app" then conn:write(show()) else obey(command) end
    end
    conn:write "\n"
  end

  before_each(function()
    box = sim.load("pilot.lua", { files = { ["haproxy.cfg.tmpl"] = sim.read "haproxy.cfg.tmpl" } })
    slots, talks = {}, {}
    box:program("/usr/sbin/haproxy -c", { exit = 0, after = "50ms" })
    box:program("/usr/sbin/haproxy -db", function(process)
      process:handle("SIGUSR1", function() process:exit(0) end)
      read()
      process:listen "127.0.0.1:8094"
      process:listen("unix:build/admin.sock", serve)
      process:sleep "24h"
    end)
    box:http("http://127.0.0.1:8094/health", 200)
    haproxy = box:job "haproxy"
    box:start()
  end)

  after_each(function()
    assert.same({}, box:errors())
    assert.equal(0, haproxy:received "SIGHUP")
  end)

  -- Who is served, by slot: "1=10.0.0.1:80 3=…".
  local function served()
    local list = {}
    for i, slot in ipairs(slots) do
      if slot.admin % 2 == 0 then list[#list + 1] = i .. "=" .. slot.place end
    end
    return table.concat(list, " ")
  end

  it("starts with nobody, and serves who comes, with one talk for a burst", function()
    box:advance "5s"
    assert.equal("healthy", haproxy.health)
    assert.equal("", served())
    local before = #talks
    for i = 1, 3 do box.consul:add("app", "10.0.0." .. i) end
    box:advance "5s"
    assert.equal("1=10.0.0.1:80 2=10.0.0.2:80 3=10.0.0.3:80", served())
    assert.equal(3, #talks - before)                 -- a look, the commands, a look
    assert.equal(1, haproxy:starts())
  end)

  it("leaves who stays in his slot", function()
    for i = 1, 3 do box.consul:add("app", "10.0.0." .. i) end
    box:advance "5s"
    box.consul:remove "app-10.0.0.1"
    box:advance "5s"
    assert.equal("2=10.0.0.2:80 3=10.0.0.3:80", served())
    box.consul:add("app", "10.0.0.4")
    box:advance "5s"
    assert.equal("1=10.0.0.4:80 2=10.0.0.2:80 3=10.0.0.3:80", served())
    box.consul:set_status("app-10.0.0.2", "critical")
    box:advance "5s"
    assert.equal("1=10.0.0.4:80 3=10.0.0.3:80", served())
  end)

  it("knows addresses of version 6, in the configuration and in a slot", function()
    box.consul:add("app", "fd00::1", { port = 8001 })
    box:advance "5s"
    haproxy:process():crash "SIGSEGV"
    box:advance "10s"
    assert.equal("1=[fd00::1]:8001", served())
    box.consul:add("app", "fd00::2", { port = 8002 })
    box:advance "5s"
    assert.equal("1=[fd00::1]:8001 2=[fd00::2]:8002", served())
    for _, entry in ipairs(box:log()) do assert.not_equal("a backend has no slot", entry.message) end
  end)

  it("gives no slot to what is no address, neither in the configuration nor later", function()
    box.consul:add("app", "10.0.0.2\nprogram x\n command sh", { id = "evil" })
    box:advance "5s"
    box.consul:add("app", "10.0.0.1")
    box.consul:add("app", "10.0.0.3;shutdown sessions server app/app1", { id = "worse" })
    box:advance "5s"
    haproxy:process():crash "SIGSEGV"
    box:advance "10s"
    assert.equal("1=10.0.0.1:80", served())
    assert.is_nil(box:file(CONF):find "program")
    local warned = 0                           -- by luapilot itself, of the first
    for _, entry in ipairs(box:log()) do
      if entry.message:find "an instance is left out" then warned = warned + 1 end
    end
    assert.equal(1, warned)
  end)

  it("says which backend finds no slot, and gives it the next that is free", function()
    for i = 1, 11 do box.consul:add("app", ("10.0.0.%02d"):format(i)) end
    box:advance "5s"
    local warned = {}
    for _, entry in ipairs(box:log()) do
      if entry.message == "a backend has no slot" then warned[#warned + 1] = entry.fields.backend end
    end
    assert.same({ "10.0.0.11:80" }, warned)
    box.consul:remove "app-10.0.0.05"
    box:advance "5s"
    assert.matches("5=10.0.0.11:80", served())
  end)

  it("comes back from a crash with the backends of then", function()
    box.consul:add("app", "10.0.0.1")
    box:advance "5s"
    haproxy:process():crash "SIGSEGV"
    box.consul:add("app", "10.0.0.2")
    box:advance "10s"
    assert.equal(2, haproxy:starts())
    assert.equal("1=10.0.0.1:80 2=10.0.0.2:80", served())
    box.consul:remove "app-10.0.0.1"
    box:advance "5s"
    assert.equal("2=10.0.0.2:80", served())
  end)

  it("serves those of before while Consul is away", function()
    box.consul:add("app", "10.0.0.1")
    box:advance "5s"
    box.consul:down()
    box:advance "10m"
    assert.equal("1=10.0.0.1:80", served())
  end)

  it("ends gently", function()
    box:advance "5s"
    assert.equal(0, box:stop())
    assert.equal(1, haproxy:received "SIGUSR1")
  end)
end)
