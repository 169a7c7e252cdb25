-- The built program while Consul's answers are late, wrong, cut or garbled on their way, has no leader, a certificate
-- that is not good, or a name that leads nowhere, and while its index races: jobs run on, the log has one line for each
-- change of state, and when it is over all is right again. What is lost with an agent is in consul_spec.

local consul = require "support.consul"
local machine = require "support.machine"
local run = require "support.run"
local story = require "support.story"
local web = require "support.web"

local FILE = [[
local pilot = require "luapilot"
pilot.consul { %s }
local verdict = true
pilot.job "app" { exec = "sleep 1000", restart = "always",
  health = { check = function() return verdict, "it is " .. tostring(verdict) end, interval = "100ms", ttl = "20s",
    fall = 1 },
  service = { port = 80, name = "NAME", interfaces = "static:10.0.0.1" } }
local key, tree, peers = pilot.watch.key "NAME/key", pilot.watch.prefix "NAME/tree/", pilot.watch "NAME"
key:on("changed", function(event) print("> key " .. tostring(event.value)) end)
tree:on("changed", function(event) print("> leaf " .. tostring(event.values.leaf)) end)
peers:on("changed", function(event)
  for _, each in ipairs(event.added) do print("> here " .. each.address .. ":" .. each.port) end
  for _ in ipairs(event.removed) do print "> gone" end
end)
pilot.on("SIGUSR2", function() verdict = not verdict end)
]]

local RIGHT = { status = "passing", output = "it is true", port = 80 }
local SICK = { status = "critical", output = "it is false", port = 80 }

local BUSY = os.getenv "LUAPILOT_BUILD" -- a sanitizer's memory is another one

describe("the built program and a Consul that is hard to understand", machine.unless(consul.lacking(), function()
  local count, name = 0, nil

  before_each(function()
    count = count + 1
    name = "app" .. count
  end)
  after_each(run.cleanup)
  teardown(run.finish)

  local function pilot(declaration, options) return run.pilot(FILE:format(declaration):gsub("NAME", name), options) end
  local function address(url) return ("address = %q"):format(url) end

  -- It is registered, and each watch has its first answer.
  local function settled(agent, p)
    agent:wait_for(name, RIGHT, p)
    for _, line in ipairs { "> key nil", "> leaf nil", "> here 10.0.0.1:80" } do p:wait_for_line(line) end
  end

  -- Another instance, which no agent looks after.
  local function peer(agent, port)
    agent:api("PUT", "/v1/catalog/register", { Node = "elsewhere", Address = "10.0.0.2",
      Service = { ID = name .. "-" .. port, Service = name, Port = port } })
  end

  -- What is new in Consul is told by each watch.
  local function hears_news(agent, p)
    agent:put(name .. "/key", "new")
    agent:put(name .. "/tree/leaf", "green")
    peer(agent, 99)
    for _, line in ipairs { "> key new", "> leaf green", "> here 10.0.0.2:99" } do p:wait_for_line(line) end
  end

  local function runs_on(p)
    story.assert_lines(p, 0, "asked again until")
    story.assert_lines(p, 0, "stopping")
    story.assert_lines(p, 1, "started pid=")
  end

  local function outages(p, times)
    story.assert_lines(p, times, "Consul is away")
    story.assert_lines(p, times, "Consul is back")
    runs_on(p)
  end

  describe("behind a proxy", function()
    local agent, front

    setup(function() agent = consul.start() end)
    before_each(function() front = web.front(agent.port) end)

    it("takes the time that each answer takes", function()
      front:treat { after = 1 }
      local p = pilot(address(front.url))
      settled(agent, p)
      p:signal "SIGUSR2"
      agent:wait_for(name, SICK, p)
      p:wait_for_line("> gone")
      hears_news(agent, p)
      story.assert_lines(p, 0, "Consul")
      story.assert_lines(p, 0, "error:")
      p:signal "SIGTERM"
      assert.equal(0, p:wait())
      run.eventually("the service to be gone", function() return agent:service(name) == nil end)
    end)

    -- How answers are treated, and what is said of it.
    local function lives_through(treatment, said)
      local p = pilot(address(front.url))
      settled(agent, p)
      front:treat(treatment)
      agent:put(name .. "/key", "1")      -- who waits for a change is answered as well
      agent:api("PUT", "/v1/agent/service/deregister/" .. agent:service(name).id)
      p:signal "SIGUSR2"
      front:wait_for("/v1/kv/" .. name .. "/key", 3)
      front:wait_for("/v1/health/service/" .. name, 3)
      front:wait_for("PUT /v1/agent/check/update/", 3)
      p:wait_for_line("Consul is away: .*" .. said .. ".*; jobs run on, what is known stays, and it is asked again")
      story.assert_lines(p, 0, "> key 1")
      front:treat {}
      p:wait_for_line("Consul is back")
      agent:wait_for(name, SICK, p)
      p:wait_for_line("> key 1")
      p:signal "SIGUSR2"
      agent:wait_for(name, RIGHT, p)
      hears_news(agent, p)
      outages(p, 1)
      story.assert_lines(p, 1, "Consul has forgotten it")
      story.assert_lines(p, 1, "> key nil")
    end

    it("asks again where each answer is 500", function()
      lives_through({ status = 500, body = "the proxy is broken" }, "the agent answered 500: the proxy is broken")
    end)

    it("asks again where each answer is shorter than it should be", function()
      lives_through({ cut = "length" }, "closed the connection before the end of its answer")
    end)

    it("asks again where each answer ends inside a chunk", function()
      lives_through({ cut = "chunk" }, "closed the connection before the end of its answer")
    end)

    it("hears of everything again with the first request that is answered, where the agent's host vanished", function()
      local p = pilot(address(front.url))
      settled(agent, p)
      front:treat { loses = true }
      p:signal "SIGUSR2"                  -- a renewal that is not answered; the watches notice nothing
      p:wait_for_line "Consul is away: no answer within %S+ %(agent: http://127.0.0.1:%d+/.*%); jobs run on"
      agent:put(name .. "/key", "meanwhile")
      front:treat {}
      p:wait_for_line "> key meanwhile"
      agent:wait_for(name, SICK, p)
      p:signal "SIGUSR2"
      agent:wait_for(name, RIGHT, p)
      hears_news(agent, p)
      outages(p, 1)
    end)

    it("keeps what it knows where the answers are no JSON, and says so once", function()
      local p = pilot(address(front.url))
      settled(agent, p)
      agent:put(name .. "/key", "old")    -- any bytes are a key's value: it is not asked about meanwhile
      p:wait_for_line "> key old"
      front:treat { garbage = true }
      for i = 1, 3 do
        agent:put(name .. "/tree/leaf", tostring(i))
        peer(agent, i)
        front:wait_for("/v1/kv/" .. name .. "/tree/", i)
        front:wait_for("/v1/health/service/" .. name, i)
      end
      front:treat {}
      hears_news(agent, p)
      for _, label in ipairs { 'watch.prefix "%s/tree/"', 'watch "%s"' } do
        story.assert_lines(p, 1, label:format(name) .. ": this is no answer of Consul's: it is no list; what was known "
          .. "stays")
        story.assert_lines(p, 1, label:format(name) .. ": answered again")
      end
      agent:wait_for(name, RIGHT, p)
      story.assert_lines(p, 0, "> gone")
      story.assert_lines(p, 0, "Consul is")
      story.assert_lines(p, 1, "> leaf green")
      story.assert_lines(p, 2, "> leaf")
    end)

    -- --- an index that races ---------------------------------------------------------------------

    -- KiB
    local function memory_of(p)
      return tonumber(run.read(("/proc/%d/status"):format(p:pilot())):match "VmRSS:%s+(%d+)")
    end

    -- What is asked costs the processor's time: it is counted, the time is not.
    local function costs_little(p, memory, paths)
      assert.message("KiB more").is_true(memory_of(p) - memory < (BUSY and 16384 or 1024))
      for _, path in ipairs(paths) do assert.message("answers to " .. path).is_true(front:passed(path) < 100) end
    end

    it("asks little when the index rises by 100000 and nothing changes", function()
      local p = pilot(address(front.url))
      settled(agent, p)
      local memory = memory_of(p)
      front:treat { bump = 20000 }
      for _, path in ipairs { "/key", "/tree/other" } do agent:put(name .. path, "1") end
      peer(agent, 98)
      local paths = { "/v1/kv/" .. name .. "/key", "/v1/kv/" .. name .. "/tree/", "/v1/health/service/" }
      for _, path in ipairs(paths) do front:wait_for(path, 6) end
      costs_little(p, memory, paths)
      for _, line in ipairs { "> key", "> leaf", "> here" } do story.assert_lines(p, 2, line) end
      hears_news(agent, p)
    end)

    -- A key that does not exist has the index of the whole store: each write wakes whoever waits for it.
    it("asks little when the store is written ten thousand times, and what it waits for is not", function()
      machine.need "ab"
      local p = pilot(address(front.url))
      settled(agent, p)
      front:treat {}
      local memory = memory_of(p)
      local write = ('{"KV":{"Verb":"set","Key":"%s","Value":"%%s"}}'):format(name)
      local writes = ("[%s,%s]"):format(write:format "YQ==", write:format "Yg==") -- one value twice would be no change
      local writer = run.program({ "ab", "-q", "-k", "-c", "32", "-n", "10000", "-u", "body", agent.url .. "/v1/txn" },
        { files = { body = writes } })
      assert.equal(0, writer:wait(), writer:output())
      local _, _, head = agent:try("GET", "/v1/kv/" .. name .. "/key")
      assert.is_true(tonumber(head:match "X%-Consul%-Index: (%d+)") > 10000)
      front:wait_for("/v1/kv/" .. name .. "/key", 2)
      costs_little(p, memory, { "/v1/kv/" .. name .. "/key" })
      story.assert_lines(p, 1, "> key")
      story.assert_lines(p, 1, "> leaf")
      hears_news(agent, p)
    end)
  end)

  -- --- the agent ---------------------------------------------------------------------------------

  it("says once that the agent is killed, and once that it is frozen", function()
    local agent = consul.start()
    local front = web.front(agent.port)
    local p = pilot(address(front.url))
    settled(agent, p)
    agent:kill()
    p:signal "SIGUSR2"
    p:wait_for_line "Consul is away"
    front:treat {}
    front:wait_for("/v1/kv/" .. name .. "/key", 2)
    front:wait_for("PUT /v1/agent/check/update/", 2)
    agent:launch()
    p:wait_for_line("Consul is back")
    agent:wait_for(name, SICK, p)
    agent:pause()
    p:signal "SIGUSR2"
    p:wait_for_line("Consul is away", 2)
    agent:resume()
    p:wait_for_line("Consul is back", 2)
    agent:wait_for(name, RIGHT, p)
    hears_news(agent, p)
    outages(p, 2)
  end)

  -- Two pilots, of which the second finds less than it needs. An agent ends the connection of a question when it would
  -- have answered that: so each key is written when the first pilot has ended.
  it("leaves services their connection where the agent allows few, and says who has none", function()
    local agent = consul.start { max_connections = 8 }
    local function one(prefix)
      return run.pilot((([[
        local pilot = require "luapilot"
        pilot.consul { address = %q }
        for i = 1, 5 do
          pilot.watch.key("PREFIX" .. i):on("changed", function(event) print("> PREFIX" .. i, event.value) end)
        end
        pilot.job "PREFIX" { exec = "sleep 1000", health = { exec = "true", interval = "100ms", ttl = "4s" },
          service = { port = 80, interfaces = "static:10.0.0.1" } }
      ]]):format(agent.url):gsub("PREFIX", prefix)))
    end
    local first = one "first"
    for i = 1, 5 do first:wait_for_line(("> first%d%%s+nil"):format(i)) end
    agent:wait_for("first", { status = "passing" }, first)
    local second = one "second"
    second:wait_for_line "consul: no connection for %d %(watch.key \"second%d\", .*%): the agent closes new"
    agent:wait_for("second", { status = "passing" }, second)
    first:signal "SIGTERM"
    assert.equal(0, first:wait())
    for i = 1, 5 do agent:put("first" .. i, "x") end
    second:wait_for_line "consul: all have their connection again"
    for i = 1, 5 do
      agent:put("second" .. i, "x")
      second:wait_for_line(("> second%d%%s+x"):format(i))
    end
    agent:wait_for("second", { status = "passing" }, second)
    story.assert_lines(second, 1, ": registered")
  end)

  -- --- the cluster -------------------------------------------------------------------------------

  it("says that there is no leader, and goes on when there is one", function()
    local function server(node, first)
      return consul.start { servers = 3, lan = first, config = {
        node_name = node, performance = { rpc_hold_timeout = "100ms", raft_multiplier = 2 },
      } }
    end
    local agent = server "one"
    local front = web.front(agent.port)
    local p = pilot(address(front.url))
    agent:wait_for(name, RIGHT, p)
    front:wait_for("/v1/kv/" .. name .. "/key", 3)
    front:wait_for("/v1/health/service/" .. name, 3)
    p:wait_for_line "Consul is away: the agent answered 500: No cluster leader; jobs run on"
    story.assert_lines(p, 1, "Consul is away")
    server("two", agent)
    server("three", agent)
    p:wait_for_line("Consul is back")
    settled(agent, p)
    hears_news(agent, p)
    runs_on(p)
  end)

  -- --- certificates ------------------------------------------------------------------------------

  describe("by TLS", function()
    local agent

    setup(function() agent = consul.start { tls = true } end)

    local function refuses(certificate, said)
      agent:certify(certificate)
      local tls = {}
      for field, value in pairs(agent.tls) do tls[#tls + 1] = ("%s = %q"):format(field, value) end
      local p = pilot(("%s, tls = { %s }"):format(address(agent.https), table.concat(tls, ", ")))
      p:wait_for_line("Consul is away: localhost:%d+ is not trusted: " .. said)
      assert.is_nil(agent:service(name))
      agent:certify "server"
      p:wait_for_line("Consul is back")
      settled(agent, p)
      hears_news(agent, p)
      outages(p, 1)
    end

    it("says that the certificate has expired, and goes on with a new one", function()
      refuses("expired", "its certificate has expired; jobs run on")
    end)

    it("says that the certificate is another host's, and goes on with a new one", function()
      refuses("other", 'its certificate is for another name; tls = { servername = "…" } says which name it has; jobs')
    end)
  end)

  -- --- its name ----------------------------------------------------------------------------------

  it("asks for the agent's name again until it leads there", function()
    machine.need_mounts()
    local agent = consul.start()
    local p = pilot(address("http://agent.test:" .. agent.port), {
      files = { hosts = "", ["resolv.conf"] = "nameserver 127.0.99.53\noptions timeout:1 attempts:1\n" },
      wrap = { "unshare", "--mount", "sh", "-c",
        'mount --bind hosts /etc/hosts && mount --bind resolv.conf /etc/resolv.conf && exec "$@"', "sh" },
    })
    p:wait_for_line("Consul is away: cannot resolve agent.test")
    assert.is_number(p:named "sleep")
    p:write("hosts", "127.0.0.1 agent.test\n")
    p:wait_for_line("Consul is back")
    settled(agent, p)
    hears_news(agent, p)
    outages(p, 1)
  end)
end))
