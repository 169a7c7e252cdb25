local client = require "luapilot.consul.client"
local effort = require "support.effort"
local fake_consul = require "support.fake_consul"

local HERE = 'pilot.consul "localhost:8500" '

describe("consul.client", function()
  local box

  after_each(function()
    if box then box:check() end
    box = nil
  end)

  local function load(source, answers, options)
    box = fake_consul.load(source, answers, options)
    return box
  end

  -- What a call raises, without its place.
  local function raises(text)
    local ok, message = box:run(text)
    assert.is_false(ok)
    return (tostring(message):gsub("^pilot.lua:1: ", ""))
  end

  local function mistakes(source, options)
    local ok, message = pcall(fake_consul.load, source, {}, options)
    assert.is_false(ok)
    return (tostring(message):gsub("^.-pilot.lua has mistakes:\n  ", ""))
  end

  -- --- declaring -------------------------------------------------------------------------------

  it("tells the port which agent it talks to, when the pilot starts", function()
    load([[pilot.consul { address = "https://consul:8501/x", token = "secret", auth = "me:mine", dc = "east",
      max_connections = 20, tls = { cafile = "/ca" } }]])
    assert.same({ { url = "https://consul:8501/x", token = "secret", auth = "me:mine", max_connections = 20,
      tls = { cafile = "/ca", verify = true } } }, box.agents)
    load 'pilot.consul "unix:///run/consul.sock"'
    assert.same({ { url = "http://localhost", socket = "/run/consul.sock", max_connections = 150 } }, box.agents)
  end)

  it("is there only where it was declared, and is not loaded before", function()
    package.loaded["luapilot.consul"] = nil
    load "" : check()
    assert.is_nil(box.app.consul)
    assert.same({}, box.agents)
    assert.is_nil(package.loaded["luapilot.consul"])
    load(HERE)
    assert.is_table(box.app.consul)
  end)

  it("reads the environment only where it was declared", function()
    local environ = { CONSUL_HTTP_ADDR = "consul:1", CONSUL_HTTP_TOKEN = "secret" }
    load("", {}, { environ = environ })
    assert.same({}, box.agents)
    load("pilot.consul {}", {}, { environ = environ })
    assert.same({ url = "http://consul:1", token = "secret", max_connections = 150 }, box.agents[1])
  end)

  it("is declared once, at the top level", function()
    assert.equal("pilot.lua:2: pilot.consul: is declared already, at pilot.lua:1: a pilot talks to one agent",
      mistakes(HERE .. "\npilot.consul {}"))
    load(HERE)
    assert.equal("pilot.consul declares, and the pilot runs already: write it at the top level of the file",
      raises 'pilot.consul "x:1"')
  end)

  it("has mistakes with their lines", function()
    assert.equal('pilot.lua:1: pilot.consul.adress: unknown field (did you mean "address"?)',
      mistakes 'pilot.consul { adress = "x:1" }')
  end)

  it("acts in tasks only, and only where it is declared", function()
    local what = "pilot.consul.kv.get waits, and the top level of a pilot.lua only declares"
    assert.matches(what, mistakes(HERE .. "pilot.consul.kv.get 'x'"))
    assert.matches(what, mistakes "pilot.consul.kv.get 'x'")
    load ""
    for _, call in ipairs { "kv.get", "status.leader", "txn" } do
      assert.equal("pilot.consul." .. call .. ' needs Consul: write pilot.consul "localhost:8500" at the top level of '
        .. "the file", raises("pilot.consul." .. call .. "()"))
    end
  end)

  it("knows its names", function()
    load(HERE)
    assert.equal('pilot.consul has no "kvv" (did you mean "kv"?)', raises "pilot.consul.kvv.get()")
    assert.equal('pilot.consul.agent has no "servces" (did you mean "services"?)',
      raises "pilot.consul.agent.servces()")
  end)

  -- --- tokens ----------------------------------------------------------------------------------

  it("shows no token and no password in the log", function()
    load([[pilot.consul { address = "x:1", token = "token-1", auth = "me:password-1" }
      pilot.on("SIGHUP", function() end)]])
    box.app:log("info", "with token-1 and password-1", { field = "token-1" })
    assert.equal("with *** and ***", box.world.logs[#box.world.logs].message)
    assert.equal("***", box.world.logs[#box.world.logs].fields.field)
  end)

  describe("a token file", function()
    local FILE = 'pilot.consul { address = "x:1", token_file = "/run/token" }'

    it("is read at load, without the spaces around", function()
      load(FILE, {}, { files = { ["/run/token"] = "first-token\n" } })
      assert.equal("first-token", box.agents[1].token)
    end)

    it("that is not there, or holds none, is a mistake", function()
      assert.equal('pilot.lua:1: pilot.consul.token_file: cannot read "/run/token": no such file or directory',
        mistakes(FILE))
      assert.equal('pilot.lua:1: pilot.consul.token_file: "/run/token": is an empty string',
        mistakes(FILE, { files = { ["/run/token"] = "\n" } }))
      assert.equal('pilot.lua:1: CONSUL_HTTP_TOKEN_FILE: cannot read "/x": no such file or directory',
        mistakes("pilot.consul {}", { environ = { CONSUL_HTTP_TOKEN_FILE = "/x" } }))
    end)

    it("is read again after a 403, and the request is sent again", function()
      load(FILE, {}, { files = { ["/run/token"] = "first-token" } })
      box.answers["GET /v1/status/leader"] = function()
        return #box.agents == 1 and { status = 403, body = "ACL not found" } or '"127.0.0.1:8300"'
      end
      box.world.files["/run/token"] = "second-token"
      assert.same({ true, "127.0.0.1:8300" }, { box:run "return (pilot.consul.status.leader())" })
      assert.equal("second-token", box.agents[2].token)
      assert.equal(2, #box.requests)
      box.app:log("info", "first-token second-token")
      assert.equal("*** ***", box.world.logs[#box.world.logs].message)
    end)

    it("stays hidden for a few rotations: what was said of it may come late", function()
      load(FILE, {}, { files = { ["/run/token"] = "token-number-0" } })
      for i = 1, 5 do
        box.world.files["/run/token"] = "token-number-" .. i
        assert.is_true(box.box.app.consul:renew())
      end
      local said = {}
      for i = 0, 5 do said[i + 1] = box.box.app.masks:cover("token-number-" .. i) end
      assert.same({ "token-number-0", "token-number-1", "***", "***", "***", "***" }, said)
    end)

    it("that has not changed is no reason to ask again", function()
      load(FILE, { ["GET /v1/status/leader"] = { status = 403, body = "ACL not found" } },
        { files = { ["/run/token"] = "first-token" } })
      assert.equal("consul: GET /v1/status/leader: 403: ACL not found; Consul does not know this token: is it right, "
        .. "has it expired?", raises "pilot.consul.status.leader()")
      assert.equal(1, #box.requests)
      box.world.files["/run/token"] = nil
      raises "pilot.consul.status.leader()"
      assert.matches("^consul: the token could not be read again: ", box.world:messages "warn"[1])
    end)

    it("is read once for all who were refused", function()
      load(FILE, { ["GET /v1/a"] = "later" }, { files = { ["/run/token"] = "first-token" } })
      box.world.files["/run/token"] = "second-token"
      local done = {}
      for i = 1, 3 do
        box.app.consul:send({ path = "/v1/a" }, function(response) done[i] = response.status end)
      end
      for _ = 1, 3 do box:answer { status = 403 } end
      for _ = 1, 3 do box:answer "" end
      assert.same({ 200, 200, 200 }, done)
      assert.equal(2, #box.agents)
    end)

    it("is read again after an answer that lacks what the token may not read", function()
      load(FILE, {}, { files = { ["/run/token"] = "first-token" } })
      box.answers["GET /v1/health/service/x"] = function()
        return { body = "[]", headers = { ["x-consul-results-filtered-by-acls"] = #box.agents == 1 and "true" or nil } }
      end
      box.world.files["/run/token"] = "second-token"
      assert.same({ true, {} }, { box:run 'return (pilot.consul.health.service "x")' })
      assert.equal(2, #box.requests)
    end)

    it("that cannot be read is told once for each reason", function()
      load(FILE, { ["GET /v1/status/leader"] = 403 }, { files = { ["/run/token"] = "first-token" } })
      for _, text in ipairs { false, false, "", "", "first-token", false } do
        box.world.files["/run/token"] = text or nil
        raises "pilot.consul.status.leader()"
      end
      assert.equal(3, #box.world:messages "warn")
    end)

    it("is worth another attempt to a call that has the time", function()
      load(FILE, {}, { files = { ["/run/token"] = "first-token" } })
      box.answers["GET /v1/status/leader"] = function()
        if #box.requests == 3 then box.world.files["/run/token"] = "second-token" end
        return #box.agents == 1 and 403 or '"127.0.0.1:8300"'
      end
      assert.same({ true, "127.0.0.1:8300" }, { box:run 'return (pilot.consul.status.leader { retry = "30s" })' })
      assert.equal(4, #box.requests)
    end)

    it("has nothing to do with a request's own token", function()
      load(FILE, { ["GET /v1/kv/x"] = 403 }, { files = { ["/run/token"] = "first-token" } })
      box.world.files["/run/token"] = "second-token"
      raises 'pilot.consul.kv.get("x", { token = "own" })'
      assert.equal("own", box:last().token)
      assert.equal(1, #box.agents)
    end)
  end)

  -- --- send ------------------------------------------------------------------------------------

  describe("send", function()
    local got

    local function send(request)
      got = nil
      return box.app.consul:send(request, function(...) got = { n = select("#", ...), ... } end)
    end

    it("gives the answer, outside of any task", function()
      load(HERE, { ["PUT /v1/agent/check/pass/a%2Fb%20c"] = "ok" })
      send { method = "PUT", path = { "agent", "check", "pass", "a/b c" }, query = { note = "x&y" }, body = "data",
        timeout = 3, max_body = 10 }
      assert.is_nil(got)
      box:settle()
      assert.same({ 1, 200, "ok" }, { got.n, got[1].status, got[1].body })
      assert.same({ method = "PUT", path = "/v1/agent/check/pass/a%2Fb%20c?note=x%26y", body = "data", timeout = 3,
        max_body = 10 }, box:last())
    end)

    it("takes 30 s at most, unless it is told", function()
      load(HERE, { ["GET /v1/x"] = "" })
      send { path = "/v1/x" }
      assert.equal(30, box:last().timeout)
      box:settle()
    end)

    it("gives a message and a code of what is no answer", function()
      load(HERE, { ["GET /v1/x"] = 500, ["GET /v1/y"] = { error = "connection reset", code = "ECONNRESET" },
        ["GET /v1/z"] = { refused = "no library", code = "ENOSYS" } })
      send { path = "/v1/x" }
      box:settle()
      assert.same({ n = 4, nil, "consul: GET /v1/x: 500", 500, "the agent answered 500" }, got)
      send { path = "/v1/y" }
      box:settle()
      assert.same({ n = 4, nil, "consul: GET /v1/y: connection reset", "ECONNRESET", "connection reset" }, got)
      send { path = "/v1/z" }
      assert.same({ n = 3, nil, "consul: GET /v1/z: no library", "ENOSYS" }, got)
    end)

    it("accepts other statuses where it is told", function()
      load(HERE, { ["GET /v1/x"] = 404 })
      send { path = "/v1/x", accept = { [404] = true } }
      box:settle()
      assert.equal(404, got[1].status)
    end)

    it("can be taken back", function()
      load(HERE, { ["GET /v1/x"] = "later" })
      local cancel = send { path = "/v1/x" }
      cancel()
      cancel()
      box:settle()
      assert.is_nil(got)
      assert.same({}, box.world:open())
    end)

    it("is without effect to take back when it is done", function()
      load(HERE, { ["GET /v1/x"] = "" })
      local cancel = send { path = "/v1/x" }
      box:settle()
      cancel()
      assert.equal(200, got[1].status)
    end)
  end)

  -- --- paths -----------------------------------------------------------------------------------

  it("puts the datacentre where the endpoint has one", function()
    load 'pilot.consul { address = "x:1", dc = "east" }'
    local function path(request) return (box.app.consul:path(request)) end
    assert.equal("/v1/kv/a?dc=east", path { path = { "kv", "a" } })
    assert.equal("/v1/kv/a?dc=west", path { path = "/v1/kv/a", dc = "west" })
    assert.equal("/v1/kv/a?dc=north", path { path = "/v1/kv/a", query = { dc = "north" } })
    assert.equal("/v1/agent/checks", path { path = { "agent", "checks" } })
    assert.equal("/v1/agent/x?dc=a", path { path = { "agent", "x" }, dc = "a" })
  end)

  it("writes queries: a true is the name alone, a false is nothing, a list is one after the other", function()
    load(HERE)
    assert.equal("/v1/x?passing&stale&filter=a%20%3D%3D%20b&index=5&tag=a&tag=b", (box.app.consul:path {
      path = "/v1/x", query = { passing = true, stale = true, consistent = false, tag = { "a", "b" }, index = "5",
        filter = "a == b" },
    }))
  end)

  it("shows all lines of an answer in one, without secrets", function()
    load('pilot.consul { address = "x:1", token = "first-part" } pilot.secret "two"', {
      ["PUT /v1/agent/reload"] = { status = 500,
        body = "2 errors occurred:\n\t* token first-part of a\r\n\t* line-number-one\nline-number-two: \1\n   \n\n" },
    }, { files = { ["/run/secrets/two"] = "line-number-one\nline-number-two" } })
    assert.equal("consul: PUT /v1/agent/reload: 500: 2 errors occurred: * token *** of a; * ***: ?",
      raises "pilot.consul.agent.reload()")
  end)

  it("takes a time in proportion to the size of an answer", function()
    for _, make in ipairs {
      function(n) return (" "):rep(n) end, function(n) return (" "):rep(n) .. "x" end,
      function(n) return "x" .. (" "):rep(n) .. "x" end, function(n) return (" \n"):rep(n) end,
    } do
      local long, short = make(300000), make(10000)
      local ratio = effort.ratio(function() client.one_line(long) end, function() client.one_line(short) end)
      assert.is_true(ratio < 200, ratio) -- a square would be 900
    end
  end)

  it("shows no part of a token where it cuts an answer", function()
    load('pilot.consul { address = "x:1", token = ("s3cr3t-"):rep(9) }',
      { ["PUT /v1/kv/x"] = { status = 500, body = ("x"):rep(980) .. ("s3cr3t-"):rep(9) .. ("y"):rep(20) } })
    assert.equal("consul: PUT /v1/kv/x: 500: " .. ("x"):rep(980) .. "***" .. ("y"):rep(17) .. "…",
      raises "pilot.consul.kv.put('x', '1')")
  end)

  -- --- failures --------------------------------------------------------------------------------

  describe("says what to do about", function()
    local function said(answer, call)
      load(HERE)
      setmetatable(box.answers, { __index = function() return answer end })
      return raises(call or 'pilot.consul.kv.put("app/x", "1")')
    end

    it("an answer that lacks what the token may not read, but for lists of all that there is", function()
      local answer = { body = "[]", headers = { ["x-consul-results-filtered-by-acls"] = "true" } }
      assert.equal("consul: GET /v1/kv/app/: the answer lacks what the token may not read "
        .. "(X-Consul-Results-Filtered-By-ACLs); does the token allow key:read?",
        said(answer, 'pilot.consul.kv.list "app/"'))
      assert.matches("does the token allow node:read and service:read%?$",
        said(answer, 'pilot.consul.health.service "x"'))
      assert.equal("consul: GET /v1/kv/app/: 500: rpc error",
        said({ status = 500, body = "rpc error", headers = answer.headers }, 'pilot.consul.kv.list "app/"'))
      load('pilot.consul "x:1"', { ["GET /v1/catalog/nodes"] = answer, ["GET /v1/agent/checks"] = { body = "{}",
        headers = answer.headers } })
      assert.same({ true, true }, { box:run "return (select(2, pilot.consul.catalog.nodes())).filtered" })
      assert.same({ true, {} }, { box:run "return (pilot.consul.agent.checks())" })
    end)

    it("an agent that allows no more connections, also where 429 is an answer", function()
      local text = "Your IP is issuing too many concurrent connections, please rate limit your calls\n"
      assert.matches("429: Your IP is .*; limits.http_max_conns_per_client of the agent is used up: raise it$",
        said({ status = 429, body = text }, 'pilot.consul.agent.agent_health_service_by_name "x"'))
      assert.matches("no more; limits.http_max_conns_per_client of Consul's agent is used up, by all programs at this "
        .. "address: raise it$", said({ error = "no more", code = "EUSERS" }, 'pilot.consul.kv.get "x"'))
    end)

    it("a token that may not", function()
      assert.equal("consul: PUT /v1/kv/app/x: 403: Permission denied; does the token allow key:write?",
        said { status = 403, body = "Permission denied" })
      assert.matches("does the token allow key:read%?$", said({ status = 403 }, 'pilot.consul.kv.get "x"'))
      assert.matches("does the token allow service:write%?$",
        said({ status = 403 }, 'pilot.consul.agent.service_deregister "x"'))
      assert.matches("does the token allow session:write%?$", said({ status = 403 }, "pilot.consul.session.create()"))
      assert.matches("does the token allow key:write%?$",
        said({ status = 500, body = "rpc error making call: Permission denied" }))
    end)

    it("clusters without a leader and agents without servers", function()
      assert.matches('500: No cluster leader; the servers have no leader at this moment: retry = "30s" waits for one$',
        said { status = 500, body = "No cluster leader\n" })
      assert.matches('the agent has not joined a cluster yet', said { status = 500, body = "No known Consul servers" })
    end)

    it("unknown datacentres", function()
      assert.matches("is dc right%? pilot.consul.catalog.datacenters%(%) lists them$",
        said { status = 500, body = "No path to datacenter" })
    end)

    it("an agent that is not there, TLS where there is none, certificates, redirects", function()
      assert.matches("connection refused; nobody listens there",
        said { error = "cannot connect: connection refused", code = "ECONNREFUSED" })
      assert.matches('the agent speaks TLS there: write "https://…"$',
        said { status = 400, body = "Client sent an HTTP request to an HTTPS server.\n" })
      assert.matches("trusts a CA of your own$", said { error = "not signed by a known CA", code = "ECERT" })
      assert.matches("302; is the address that of Consul%?", said { status = 302 })
    end)

    it("an answer that is not Consul's", function()
      assert.matches("^consul: GET /v1/kv/x: the answer is no JSON %(is this Consul%?%)",
        said("<html>", 'pilot.consul.kv.get "x"'))
    end)

    it("nothing, where nothing can be said, in one short line", function()
      assert.equal("consul: PUT /v1/kv/app/x: 500: index error; more",
        said { status = 500, body = "index error\nmore" })
      assert.equal(1000 + #"consul: PUT /v1/kv/app/x: 500: …",
        #said { status = 500, body = ("x"):rep(2000) })
    end)
  end)

  it("raises at the user's line, also through pcall", function()
    load(HERE, { ["GET /v1/kv/x"] = 500 })
    local _, message = box:run "\n\nlocal ok, message = pcall(pilot.consul.kv.get, 'x') error(message, 0)"
    assert.equal("pilot.lua:3: consul: GET /v1/kv/x: 500", message)
  end)

  -- --- retry -----------------------------------------------------------------------------------

  describe("retry", function()
    local function attempts(answer, call)
      load(HERE)
      setmetatable(box.answers, { __index = function() return answer end })
      raises(call or 'pilot.consul.kv.get("x", { retry = "10s" })')
      return #box.requests
    end

    it("repeats what may pass", function()
      assert.equal(6, attempts { error = "connection refused", code = "ECONNREFUSED" })
      assert.equal(6, attempts { status = 500, body = "No cluster leader" })
      assert.equal(6, attempts { status = 429 })
      assert.equal(6, attempts { status = 503 })
    end)

    it("does not repeat what will not", function()
      assert.equal(1, attempts { error = "not signed by a known CA", code = "ECERT" })
      assert.equal(1, attempts { status = 500, body = "No path to datacenter" })
      assert.equal(1, attempts { status = 500, body = "invalid session" })
      assert.equal(1, attempts { status = 403 })
      assert.equal(1, attempts({ status = 500, body = "No cluster leader" }, 'pilot.consul.kv.get "x"'))
    end)

    it("ends with an answer", function()
      load(HERE)
      box.answers["GET /v1/kv/x"] = function()
        return #box.requests < 3 and { status = 500, body = "No cluster leader" } or 404
      end
      assert.is_true((box:run 'return pilot.consul.kv.get("x", { retry = "1m" })'))
      assert.equal(3, #box.requests)
    end)
  end)

  it("gives way to a cancellation", function()
    load(HERE, { ["GET /v1/kv/x"] = "later" })
    local t = box.box:task(function() box.pilot.consul.kv.get "x" end)
    assert.equal(1, #box.requests)
    t:cancel()
    box.app.loop:rest()
    assert.same({}, box.world:open())
    assert.is_true(t:is_ended())
  end)

  it("is a call that a program's own requests can use", function()
    load(HERE, { ["POST /v1/acl/x"] = "yes", ["GET /v1/acl/y"] = 404 })
    assert.same({ true, "yes" }, { box:call(function()
      return box.app.consul:call { method = "POST", path = "/v1/acl/x", body = "{}" }.body
    end) })
    assert.same({ true, nil, "consul: GET /v1/acl/y: 404", 404 }, { box:call(function()
      return box.app.consul:ask { path = "/v1/acl/y" }
    end) })
  end)

  it("is a warning only, when a token file is missing and values from outside are not asked for", function()
    local stub = require("support.stub_port").new { read = true, environ = true, signals = true }
    stub.files["pilot.lua"] = [[local pilot = require "luapilot"
      pilot.consul { token_file = "/x" } pilot.on("SIGHUP", print)]]
    local pilot = require("luapilot.pilot.app").new { port = stub.port, lenient = true }
    assert.is_true((pilot:load "pilot.lua"))
    assert.matches("cannot read", pilot.mistakes:warnings()[1].message)
  end)
end)
