-- The built program and a real Consul: certificates, sockets, tokens, the environment, and what is said when it cannot
-- be talked to.

local consul = require "support.consul"
local machine = require "support.machine"
local run = require "support.run"
local story = require "support.story"

local PRELUDE = story.TELL_VALUES .. [[
local pilot = require "luapilot"
local function try(fn, ...)
  local ok, message = pcall(fn, ...)
  tell(message)
end
%s
pilot.job "task" { main = true, run = function()
  local consul = pilot.consul
  %s
end }]]

describe("pilot.consul in the built program", machine.unless(consul.lacking(), function()
  local agent

  setup(function()
    agent = consul.start { acl = true, tls = true, socket = true }
  end)

  after_each(run.cleanup)
  teardown(run.finish)

  -- The lines that a task tells until it has ended well.
  local function told(declaration, task, options)
    local p = run.pilot(PRELUDE:format(declaration, task), options)
    assert.equal(0, p:wait(), p:output())
    local lines = {}
    for _, line in ipairs(p:lines "> ") do lines[#lines + 1] = (line:match "> (.*)$":gsub("^.-pilot.lua:%d+: ", "")) end
    return lines, p
  end

  local function tls_fields(without)
    local parts = {}
    for name, value in pairs(agent.tls) do
      if name ~= without then parts[#parts + 1] = ("%s = %q"):format(name, value) end
    end
    return "tls = { " .. table.concat(parts, ", ") .. " }"
  end

  local WRITE = [[tell(consul.kv.put("app", "1"), (consul.kv.get "app"))]]

  it("talks by TLS, with a certificate of its own", function()
    assert.same({ "true 1" }, (told(('pilot.consul { address = %q, token = %q, %s }'):format(agent.https, agent.token,
      tls_fields()), WRITE)))
  end)

  it("says which certificate is not trusted, and what to do", function()
    local lines = told(('pilot.consul { address = %q, %s }'):format(agent.https, tls_fields "cafile"),
      "try(consul.status.leader)")
    assert.matches("^consul: GET /v1/status/leader: .*; tls = { cafile = \"…\" } trusts a CA of your own$", lines[1])
  end)

  it("says that TLS is spoken there", function()
    local lines = told(("pilot.consul %q"):format((agent.https:gsub("https://", ""))), "try(consul.status.leader)")
    assert.matches('400: Client sent an HTTP request to an HTTPS server.; the agent speaks TLS there: '
      .. 'write "https://…"$', lines[1])
  end)

  it("talks to a socket", function()
    assert.same({ "true 1" }, (told(("pilot.consul { address = %q, token = %q }"):format("unix://" .. agent.socket,
      agent.token), WRITE)))
    local lines = told('pilot.consul "unix:///nowhere/consul.sock"', "try(consul.status.leader)")
    assert.matches("^consul: GET /v1/status/leader: .*/nowhere/consul.sock.*; is it running, is the path right",
      lines[1])
  end)

  it("takes all of it from the environment", function()
    assert.same({ "true 1" }, (told("pilot.consul {}", WRITE, { env = {
      CONSUL_HTTP_ADDR = (agent.https:gsub("https://", "")), CONSUL_HTTP_SSL = "true", CONSUL_HTTP_TOKEN = agent.token,
      CONSUL_CACERT = agent.tls.cafile, CONSUL_CLIENT_CERT = agent.tls.clientcert,
      CONSUL_CLIENT_KEY = agent.tls.clientkey,
    } })))
  end)

  it("says what a token does not allow, and shows none", function()
    local lines, p = told(("pilot.consul { address = %q, token = %q }"):format(agent.url, "no-such-token"), [[
      try(consul.kv.put, "app", "1")
      try(consul.kv.put, "app", "1", { token = "anonymous" })
      pilot.log.info("with no-such-token in it")]])
    assert.equal("consul: PUT /v1/kv/app: 403: ACL not found; Consul does not know this token: is it right, has it "
      .. "expired?", lines[1])
    assert.equal("consul: PUT /v1/kv/app: 403: Permission denied; does the token allow key:write?", lines[2])
    assert.is_nil(p:output():find("no-such-token", 1, true))
  end)

  it("reads a token file again when its token is refused", function()
    local path = run.directory() .. "/token"
    local file = assert(io.open(path, "w"))
    file:write "old-token\n"
    file:close()
    local lines = told(("pilot.consul { address = %q, token_file = %q }"):format(agent.url, path), ([[
      try(consul.kv.put, "app", "1")
      pilot.fs.write(%q, %q)
      tell(consul.kv.put("app", "2"), (consul.kv.get "app"))]]):format(path, agent.token .. "\n"))
    assert.matches("403: ACL not found", lines[1])
    assert.equal("true 2", lines[2])
  end)

  it("goes on watching with a token that was written after the refusal", function()
    local policy = agent:api("PUT", "/v1/acl/policy", { Name = "watch",
      Rules = 'key_prefix "" { policy = "read" } service_prefix "" { policy = "write" } '
        .. 'node_prefix "" { policy = "read" }' })
    local function token() return agent:api("PUT", "/v1/acl/token", { Policies = { { ID = policy.ID } } }) end
    local first = token()
    agent:put("watched", "one")
    local p = run.pilot(([[
      local pilot = require "luapilot"
      pilot.consul { address = %q, token_file = "token" }
      pilot.watch.key "watched":on("changed", function(event) print("> key " .. event.value) end)
      pilot.watch "app":on("changed", function(event) print("> instances " .. #event.instances) end)
      pilot.job "app" { exec = "sleep 1000", health = { exec = "true", interval = "100ms", ttl = "2s" },
        service = { port = 80, interfaces = "static:10.0.0.1" } }
    ]]):format(agent.url), { files = { token = first.SecretID } })
    p:wait_for_line "> key one"
    p:wait_for_line "> instances 1"
    agent:api("DELETE", "/v1/acl/token/" .. first.AccessorID)
    agent:put("watched", "two")
    p:wait_for_line 'watch.key "watched": consul: GET /v1/kv/watched: 403: ACL not found'
    p:write("token", token().SecretID .. "\n")
    p:wait_for_line "> key two"
    p:wait_for_line "the token was read again"
    agent:wait_for("app", { status = "passing" }, p)
  end)

  it("waits for an agent that is not there yet, when it is asked to", function()
    agent:stop()
    local p = run.pilot(PRELUDE:format(("pilot.consul { address = %q, token = %q }"):format(agent.url, agent.token), [[
      try(consul.status.leader)
      tell(consul.kv.put("late", "1", { retry = "50s" }))]]))
    p:wait_for_line "nobody listens there: is it running, is the port right%? retry"
    agent:launch()
    assert.equal(0, p:wait(), p:output())
    assert.is_truthy(p:output():find("> true", 1, true))
  end)
end))
