-- What only a real Consul has: tokens, TLS, a unix socket, a bound of connections, another datacenter; and how much a
-- thousand watches cost.

local consul = require "support.consul"
local machine = require "support.machine"
local run = require "support.run"
local world = require "support.real_world"

local BOUND = 60        -- seconds in which anything that is promised must have come

-- KiB: a sanitizer makes everything larger.
local WATCH = os.getenv "LUAPILOT_BUILD" and 250 or 25

describe("a real Consul", machine.unless(consul.lacking(), function()
  local port = world.port
  local agent, open

  before_each(function()
    agent = agent or consul.start { acl = true, tls = true, socket = true, max_connections = 50 }
    open = {}
  end)

  after_each(function()
    for _, id in ipairs(open) do port.cancel(id) end
    while world.next(0) do end
  end)

  teardown(run.finish)

  -- --- helpers -------------------------------------------------------------------------------------

  local function expect(kind, id)
    local event = world.next(BOUND) or error("nothing comes", 2)
    assert.equal(kind, event.type)
    assert.equal(id, event.id)
    return event
  end

  local function watch(options)
    local all = { path = "/v1/kv/app?raw" }
    for key, value in pairs(options or {}) do all[key] = value end
    local id = assert(port.watch(all))
    open[#open + 1] = id
    return id
  end

  local function answer(options)
    return expect("response", assert(port.consul(options or { path = "/v1/kv/app?raw" })))
  end

  local function with(options)
    local all = { url = agent.url, token = agent.token }
    for key, value in pairs(options or {}) do all[key] = value end
    port.agent(all)
  end

  -- --- who may ---------------------------------------------------------------------------------------

  it("answers 403 until a token is granted what it asks for", function()
    with()
    agent:put("app", "x")
    local policy = agent:api("PUT", "/v1/acl/policy", { Name = "spec", Rules = 'key "other" { policy = "read" }' })
    local token = agent:api("PUT", "/v1/acl/token", { Policies = { { ID = policy.ID } } }).SecretID
    assert.equal(403, answer({ path = "/v1/kv/app?raw", token = token }).status)
    local id = watch { token = token }
    local event = expect("watch", id)
    assert.equal("EACCES", event.code)
    assert.equal(403, event.status)
    assert.matches("the agent answered 403: Permission denied", event.error)
    agent:api("PUT", "/v1/acl/policy/" .. policy.ID,
      { ID = policy.ID, Name = "spec", Rules = 'key "app" { policy = "read" }' })
    event = expect("watch", id)
    assert.equal("x", event.body, event.error)
  end)

  it("refuses a token that nobody knows, and takes the agent's next one at once", function()
    agent:put("app", "x")
    with { token = "00000000-0000-0000-0000-000000000001" }
    local id = watch()
    assert.matches("403: ACL not found", expect("watch", id).error)
    with()
    assert.equal("x", expect("watch", id).body)
  end)

  -- --- how -------------------------------------------------------------------------------------------

  it("is reached by TLS with a client's certificate, and by nobody without", function()
    agent:put("app", "x")
    with { url = agent.https, tls = agent.tls }
    assert.equal("x", answer().body)
    local id = watch()
    assert.equal("x", expect("watch", id).body)
    agent:put("app", "y")
    assert.equal("y", expect("watch", id).body)
    port.cancel(id)
    with { url = agent.https, tls = { cafile = agent.tls.cafile } }
    local event = answer()
    local message = "localhost:%d+ does not accept our client certificate, or that there is none: "
    assert.equal("ETLS", event.code)
    assert.matches(message, event.error)
    event = expect("watch", watch())
    assert.equal("ETLS", event.code)
    assert.matches(message, event.error)
  end)

  it("is not trusted under another name, nor without its CA", function()
    local tls = { clientcert = agent.tls.clientcert, clientkey = agent.tls.clientkey }
    with { url = agent.https, tls = tls }
    local id = watch()
    local event = expect("watch", id)
    port.cancel(id)
    assert.equal("ECERT", event.code)
    assert.matches("signed by nobody that is trusted here", event.error)
    tls.cafile, tls.servername = agent.tls.cafile, "server.dc2.consul"
    with { url = agent.https, tls = tls }
    event = answer()
    assert.equal("ECERT", event.code)
    assert.matches("its certificate is for another name", event.error)
    tls.servername = "server.dc1.consul"
    with { url = agent.https, tls = tls }
    assert.is_nil(answer().error)
  end)

  it("is reached by its unix socket", function()
    agent:put("app", "x")
    with { url = "http://localhost", socket = agent.socket }
    assert.equal("x", answer().body)
    assert.equal("x", expect("watch", watch()).body)
  end)

  it("closes no connection of ours while we stay below its bound", function()
    with { max_connections = 45 }
    for i = 1, 40 do
      local event = expect("watch", watch { path = "/v1/kv/none/" .. i .. "?raw" })
      assert.equal(404, event.status, event.error)
    end
    local waiting = {}
    for _ = 1, 200 do waiting[assert(port.consul { path = "/v1/kv/none?raw" })] = true end
    for _ = 1, 200 do
      local event = world.next(BOUND)
      assert.is_true(waiting[event.id], event.error)
      assert.equal(404, event.status, event.error)
    end
  end)

  it("is asked again when it was stopped for longer than a question may take", function()
    agent:put("app", "x")
    with()
    local id = watch { wait = 0.01 }
    assert.equal("x", expect("watch", id).body)
    agent:pause()
    local event = expect("watch", id)
    agent:resume()
    assert.equal("ETIMEDOUT", event.code)
    assert.equal("x", expect("watch", id).body)
  end)

  it("answers for another datacenter", function()
    local other = consul.start { datacenter = "dc2" }
    local first = consul.start { wan = other }
    run.eventually("the other datacenter", function()
      return #first:api("GET", "/v1/catalog/datacenters") == 2 and first:try("GET", "/v1/kv/x?dc=dc2") == 404
    end)
    port.agent { url = first.url }
    local id = watch { path = "/v1/kv/app?raw&dc=dc2" }
    assert.equal(404, expect("watch", id).status)
    other:put("app", "far")
    assert.equal("far", expect("watch", id).body)
    other:kill()
    first:kill()
  end)

  -- --- where -----------------------------------------------------------------------------------------

  -- Prints what a watch tells; the names are those of ./hosts.
  local NAMES = [[
    io.stdout:setvbuf "line"
    local rt = require "luapilot.rt"
    local function hosts(text)
      local file = io.open("hosts", "w")
      file:write(text)
      file:close()
    end
    local function tell(event) print("> " .. (event.code or event.status)) end
    rt.agent { url = "http://agent.test:" .. arg[1] }
    rt.watch { path = "/v1/status/leader" }
    tell(rt.wait())
    hosts "127.0.99.2 agent.test\n"       -- where nobody listens
    tell(rt.wait())
    hosts "127.0.0.1 agent.test\n"
    tell(rt.wait())
  ]]

  it("is found when its name is, and where that leads now", function()
    machine.need_mounts()
    local p = run.runtime(NAMES, {
      args = { tostring(agent.port) },
      files = { hosts = "", ["resolv.conf"] = "nameserver 127.0.99.53\noptions timeout:1 attempts:1\n" },
      wrap = { "unshare", "--mount", "sh", "-c",
        'mount --bind hosts /etc/hosts && mount --bind resolv.conf /etc/resolv.conf && exec "$@"', "sh" },
    })
    assert.equal(0, p:wait(), p:output())
    assert.same({ "> EAI_NONAME", "> ECONNREFUSED", "> 200" }, p:lines "> ", p:output())
    run.cleanup()
  end)

  -- --- what it costs ---------------------------------------------------------------------------------

  local MANY = [[
    local rt, count = require "luapilot.rt", 500
    local function pss()
      local file = io.open "/proc/self/smaps_rollup"
      local text = file:read "*a"
      file:close()
      return tonumber(text:match "\nPss: +(%d+)")
    end
    rt.agent { url = arg[1], token = arg[2] }
    rt.consul { path = "/v1/status/leader" }
    rt.wait()
    local before = pss()
    for i = 1, count do rt.watch { path = "/v1/kv/app/" .. i } end
    for _ = 1, count do assert(rt.wait().status == 404) end
    local memory = (pss() - before) / count
    -- How often the thread slept: it does, once for each time that something wakes it.
    local function sleeps()
      local file = io.open "/proc/thread-self/status"
      local text = file:read "*a"
      file:close()
      return tonumber(text:match "\nvoluntary_ctxt_switches:%s+(%d+)")
    end
    local least = math.huge               -- at first the questions that wait are still on their way
    for _ = 1, 60 do
      local so_far = sleeps()
      rt.timer(1)
      assert(rt.wait().type == "timer")
      least = math.min(least, sleeps() - so_far)
      if least <= 5 then break end
    end
    print(("> %.1f KiB, %d"):format(memory, least))
  ]]

  it("may be watched by hundreds in little memory, and wakes nobody while nothing changes", function()
    local busy = consul.start { max_connections = 1000 }
    local p = run.runtime(MANY, { args = { busy.url } })
    assert.equal(0, p:wait(), p:output())
    local memory, woken = p:output():match "> (%S+) KiB, (%d+)"
    print(("\n(a watch: %s KiB; 500 in a second in which nothing changes wake the loop %s times)"):format(memory,
      woken))
    assert.is_true(tonumber(memory) < WATCH)
    assert.is_true(tonumber(woken) <= 5)
    busy:kill()
    run.cleanup()
  end)
end))
