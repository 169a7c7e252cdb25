-- The built program, registered with a real Consul that is killed, stopped, emptied, altered and denied; watches and
-- maintenance meanwhile. What the port does by itself is in spec/contract.

local consul = require "support.consul"
local machine = require "support.machine"
local run = require "support.run"

local FILE = [[
local pilot = require "luapilot"
%s
local verdict = true
local app = pilot.job "app" { exec = "sleep 1000", restart = "always", drain = "100ms",
  health = { check = function() return verdict, "it is " .. tostring(verdict) end, interval = "200ms", ttl = "4s",
    fall = 1 },
  service = { port = 80, name = "NAME", tags = { "a" }, meta = { v = "1" }, interfaces = "static:10.0.0.1" } }
local limit, peers = pilot.watch.key "NAME/limit", pilot.watch "NAME"
limit:on("changed", function(event) print("> limit " .. tostring(event.value)) end)
peers:on("changed", function(event)
  for _, each in ipairs(event.added) do print("> here " .. each.address .. ":" .. each.port) end
  for _ in ipairs(event.removed) do print "> gone" end
end)
app:on("stopping", function() print "> stopping" end)
pilot.on("SIGUSR2", function() verdict = not verdict end)
pilot.on("SIGHUP", function()
  pilot.state.reason = pilot.state.reason == "deploy" and "upgrade" or "deploy"
  app:maintenance(true, pilot.state.reason)
end)
pilot.on("SIGWINCH", function() app:set_tags { "b" } app:maintenance(false) end)
]]

describe("the built program and its Consul", machine.unless(consul.lacking(), function()
  local count, name = 0, nil

  before_each(function()
    count = count + 1
    name = "app" .. count
  end)
  after_each(run.cleanup)
  teardown(run.finish)

  local function pilot(declaration) return run.pilot((FILE:format(declaration):gsub("NAME", name))) end
  local function declare(agent) return ("pilot.consul { address = %q, token = %s }"):format(agent.url,
    agent.token and ("%q"):format(agent.token) or "nil") end

  local function held(agent) return agent:service(name) end
  local function eventually(agent, program, expected) agent:wait_for(name, expected, program) end

  -- All of its registration, the status after it included.
  local RIGHT = { status = "passing", output = "it is true", port = 80, tag = "a", maintenance = false }

  describe("on an agent that is there", function()
    local agent
    setup(function() agent = consul.start() end)

    it("registers, tells each state, renews, and is gone with the pilot", function()
      local p = pilot(declare(agent))
      eventually(agent, p, { status = "passing", output = "it is true", port = 80, tag = "a" })
      p:wait_for_line "> here 10.0.0.1:80"
      p:signal "SIGUSR2"
      eventually(agent, p, { status = "critical", output = "it is false" })
      p:wait_for_line "> gone"
      p:signal "SIGUSR2"
      p:wait_for_line("> here", 2)
      p:signal "SIGTERM"
      assert.equal(0, p:wait())
      assert.is_nil(held(agent))
      assert.equal(0, #p:lines "Consul is")
    end)

    it("is maintained for the newest reason, and not found in between", function()
      local p = pilot(declare(agent))
      eventually(agent, p, RIGHT)
      p:signal "SIGHUP"
      eventually(agent, p, { maintenance = "deploy", status = "passing" })
      p:signal "SIGHUP"
      eventually(agent, p, { maintenance = "upgrade", status = "passing" })
      agent:api("PUT", "/v1/agent/service/maintenance/" .. held(agent).id .. "?enable=false")
      eventually(agent, p, { maintenance = "upgrade" })
      p:signal "SIGWINCH"
      eventually(agent, p, { maintenance = false, tag = "b", status = "passing" })
      assert.equal(0, #p:lines "has other")
    end)

    it("is right again when somebody altered or removed it, and settles down then", function()
      local p = pilot(declare(agent))
      eventually(agent, p, RIGHT)
      local id = held(agent).id
      agent:api("PUT", "/v1/agent/service/deregister/" .. id)
      eventually(agent, p, RIGHT)
      agent:api("PUT", "/v1/agent/check/deregister/service:" .. id)
      eventually(agent, p, RIGHT)
      agent:api("PUT", "/v1/agent/service/register", { ID = id, Name = name, Port = 81, Tags = { "x" } })
      eventually(agent, p, RIGHT)
      p:wait_for_line("registered again", 3)
      agent:put(name .. "/limit", "7")
      p:wait_for_line "> limit 7"
    end)

    it("tells two pilots of one id of each other, and the one that lives on is found", function()
      local function twin(port)
        return run.pilot(([[
          local pilot = require "luapilot"
          %s
          pilot.job "app" { exec = "sleep 1000",
            health = { check = function() return true end, interval = "200ms", ttl = "4s" },
            service = { port = %d, name = %q, id = %q, interfaces = "static:10.0.0.1" } }
        ]]):format(declare(agent), port, name, name))
      end
      local a, b = twin(8001), twin(8002)
      local contested = "another instance registers itself under this id, too"
      local fields = contested .. ": Consul's entry has port %d instead of %d; give each an id of its own"
      a:wait_for_line(fields:format(8002, 8001))
      b:wait_for_line(fields:format(8001, 8002))
      a:signal "SIGTERM"
      assert.equal(0, a:wait())
      eventually(agent, b, { port = 8002, status = "passing" })
      assert.same({ 1, 1 }, { #a:lines(contested), #b:lines(contested) })
      b:signal "SIGTERM"
      assert.equal(0, b:wait())
      assert.is_nil(held(agent))
    end)

    it("leaves an entry that leads to another instance where it is", function()
      local p = pilot(declare(agent))
      eventually(agent, p, RIGHT)
      local id = held(agent).id
      agent:api("PUT", "/v1/agent/service/register", { ID = id, Name = name, Port = 81, Address = "10.0.0.1" })
      p:signal "SIGTERM"
      assert.equal(0, p:wait())
      local left = #p:lines "another instance holds this id now: Consul's entry has port 81 instead of 80"
      assert.equal(left == 1 and 81 or nil, (held(agent) or {}).port) -- or it was put right before that
      agent:api("PUT", "/v1/agent/service/deregister/" .. id)
    end)

    it("tells what it is refused when the datacentre or the filter is wrong, and goes on", function()
      local p = pilot(declare(agent) .. [[ pilot.watch "x" { dc = "nowhere" } pilot.watch "x" { filter = "a == b" } ]])
      p:wait_for_line 'watch "x" { dc = "nowhere" }: consul: GET .*: 500: No path to datacenter; is dc right'
      p:wait_for_line 'watch "x" { filter = "a == b" }: consul: GET .*: 500: .*Selector "a" is not valid'
      eventually(agent, p, RIGHT)
      assert.equal(0, #p:lines "Consul is")
    end)

    it("ends in time when Consul hangs, with the job's end", function()
      local p = pilot(declare(agent))
      eventually(agent, p, RIGHT)
      agent:pause()
      p:signal "SIGTERM"
      local code = p:wait()
      agent:resume()
      assert.equal(0, code)
      assert.equal(0, #p:lines "takes longer than")
    end)
  end)

  it("lets jobs run while the agent is killed, stopped, and comes back empty", function()
    local agent = consul.start()
    local p = pilot(declare(agent))
    eventually(agent, p, RIGHT)
    local pid = p:named "sleep"
    agent:put(name .. "/limit", "1")
    p:wait_for_line "> limit 1"
    agent:kill()
    p:wait_for_line "Consul is away"
    agent:launch()
    p:wait_for_line "Consul is back"
    eventually(agent, p, RIGHT)
    agent:pause()
    p:wait_for_line("Consul is away", 2)
    agent:resume()
    p:wait_for_line("Consul is back", 2)
    eventually(agent, p, RIGHT)
    agent:stop()
    p:wait_for_line("Consul is away", 3)
    p:signal "SIGHUP"
    agent:launch { lose = true }
    eventually(agent, p, { status = "passing", port = 80, tag = "a", maintenance = "deploy" })
    agent:put(name .. "/limit", "2")
    p:wait_for_line "> limit 2"
    assert.equal(pid, p:named "sleep")
    assert.equal(0, #p:lines "stopping")
  end)

  it("waits for the rights that its token lacks, and for those that it loses", function()
    local agent = consul.start { acl = true }
    local token = "22222222-3333-4444-5555-666666666666"
    local id = agent:api("PUT", "/v1/acl/token", { SecretID = token }).AccessorID
    agent:api("PUT", "/v1/acl/policy", { Name = "app", Rules = ([[service_prefix "%s" { policy = "write" }
      node_prefix "" { policy = "read" } key_prefix "" { policy = "read" } ]]):format(name) })
    local function grant(list) -- nil: nothing
      agent:api("PUT", "/v1/acl/token/" .. id, { AccessorID = id, SecretID = token, Policies = list })
    end
    local p = pilot(("pilot.consul { address = %q, token = %q }"):format(agent.url, token))
    p:wait_for_line "register: 403: Permission denied.*; does the token allow service:write%?; asked again until"
    assert.is_nil(held(agent))
    local pid = p:named "sleep"
    p:wait_for_line '/limit": consul: GET .*: 403: Permission denied; does the token allow key:read%?; asked again'
    grant { { Name = "app" } }
    p:wait_for_line "Consul takes it now"
    eventually(agent, p, RIGHT)
    agent:put(name .. "/limit", "1")
    p:wait_for_line "> limit 1"
    p:wait_for_line "> here 10.0.0.1:80"
    assert.equal(1, #p:lines "asked again until")
    grant()
    p:wait_for_line("403: Permission denied.*; asked again until it is granted", 2)
    eventually(agent, p, { status = "critical" }) -- nobody may renew it
    grant { { Name = "app" } }
    p:wait_for_line("Consul takes it now", 2)
    eventually(agent, p, RIGHT)
    agent:put(name .. "/limit", "2")
    p:wait_for_line "> limit 2"
    assert.is_true(#p:lines "asked again until" <= 3) -- of the renewal, and of a registration: it does not see its own
    assert.equal(pid, p:named "sleep")
    assert.equal(0, #p:lines "Consul is")
    assert.is_nil(p:output():find(token, 1, true))
  end)

  it("says which certificate it does not take, with what to do, and does not register there", function()
    local agent = consul.start { tls = true }
    local function speaks(name_of_server, cafile)
      local fields = { ("clientcert = %q, clientkey = %q"):format(agent.tls.clientcert, agent.tls.clientkey) }
      if cafile then fields[#fields + 1] = ("cafile = %q"):format(cafile) end
      if name_of_server then fields[#fields + 1] = ("servername = %q"):format(name_of_server) end
      return pilot(("pilot.consul { address = %q, tls = { %s } }"):format(agent.https, table.concat(fields, ", ")))
    end
    local p = speaks("other.example", agent.tls.cafile)
    p:wait_for_line "Consul is away: .*another name.*; tls = { servername = \"…\" } says which name it has; jobs run on"
    p = speaks(nil, nil)
    p:wait_for_line "Consul is away: .*signed by.*; tls = { cafile = \"…\" } trusts a CA of your own; jobs run on"
    assert.is_nil(held(agent))
    p = speaks(nil, agent.tls.cafile)
    eventually(agent, p, RIGHT)
  end)
end))
