-- A Consul agent for the specs: a real one, build/consul/consul (tools/consul fetches it).
--
--   local consul = require "support.consul"
--   setup(function() agent = consul.start { max_connections = 50 } end)
--   teardown(run.finish)
--
--   agent.url, agent.port, agent.token                 its address by plain HTTP; with `acl`, a token that may all
--   agent.https, agent.tls, agent.socket               where `tls` or `socket` asked for them
--   agent:put("app", "x"), agent:delete "app"          keys; agent:api(method, path, body) for everything else
--   agent:service "app"                                what it holds of that service, or nil
--   agent:wait_for("app", { status = "passing" }, p)   until it holds that; p's log is in the failure
--   agent:stop()    agent:kill()                       SIGTERM, SIGKILL: it is gone when they return
--   agent:pause()   agent:resume()                     SIGSTOP, SIGCONT
--   agent:launch { lose = true }                       after a stop: with its data, or without
--   agent:certify "expired"                            where `tls` is: it shows this certificate to new connections
--
-- It listens on free ports of 127.0.0.1, has its data below build/tmp, and is killed with the process that runs the
-- specs. `start` and `launch` return when there is a leader that does what it is told. Nothing here uses the code under
-- test. A describe whose specs want one says machine.unless(consul.lacking(), function() … end).

local bit = require "bit"
local cjson = require "cjson"
local ffi = require "ffi"
local machine = require "support.machine"
local run = require "support.run"

ffi.cdef [[
  int socket(int domain, int type, int protocol);
  int bind(int fd, const void *address, unsigned size);
  int connect(int fd, const void *address, unsigned size);
  int setsockopt(int fd, int level, int name, const void *value, unsigned size);
  int access(const char *path, int mode);
  struct luapilot_consul_inet { uint16_t family; uint16_t port; uint32_t address; char rest[8]; };
]]

local C = ffi.C
local INET, STREAM, DATAGRAM, CLOEXEC, SOL_SOCKET, RCVTIMEO = 2, 1, 2, 0x80000, 1, 20
local BINARY = "build/consul/consul"
local LEADER = 60           -- seconds until there is one: a busy machine needs some

local consul = {}

---@class spec.Consul
---@field url string
---@field port integer
---@field https string?
---@field socket string?
---@field tls table?          { cafile, clientcert, clientkey }, as of the port's `tls`
---@field token string?
---@field datacenter string
---@field program spec.Program
local Agent = {}
Agent.__index = Agent

function Agent:path(name) return self.directory .. "/" .. name end

-- --- ports -----------------------------------------------------------------------------------

local function inet(number, address)
  return ffi.new("struct luapilot_consul_inet", {
    family = INET, port = bit.rshift(bit.bswap(number), 16), address = address or 0x0100007f,
  })
end

local function is_free(number)
  for _, kind in ipairs { STREAM, DATAGRAM } do
    local fd = C.socket(INET, kind + CLOEXEC, 0)
    local bound = C.bind(fd, inet(number), 16) == 0
    run.close(fd)
    if not bound then return false end
  end
  return true
end

-- Below the kernel's own choice for clients, so that no connection of somebody takes it meanwhile. Two spec files that
-- run at the same time begin at different places.
local function free_ports(count)
  local list, number = {}, 12000 + (ffi.C.getpid() * 997 + math.floor(run.now() * 1000)) % 19000
  while #list < count do
    if is_free(number) then list[#list + 1] = number end
    number = number + 1
  end
  return list
end

-- --- HTTP ------------------------------------------------------------------------------------

local function read_all(fd)
  local parts, chunk = {}, ffi.new "char[16384]"
  while true do
    local size = tonumber(C.read(fd, chunk, 16384))
    if size < 0 then return nil end
    if size == 0 then return table.concat(parts) end
    parts[#parts + 1] = ffi.string(chunk, size)
  end
end

-- By HTTP 1.0: the answer ends with the connection. From 127.0.0.2: an agent counts the connections of an address.
local function exchange(number, request)
  local fd = C.socket(INET, STREAM + CLOEXEC, 0)
  C.bind(fd, inet(0, 0x0200007f), 16)
  C.setsockopt(fd, SOL_SOCKET, RCVTIMEO, ffi.new("long[2]", { 30, 0 }), 16)
  local text = C.connect(fd, inet(number), 16) == 0
    and tonumber(C.write(fd, request, #request)) == #request and read_all(fd)
  run.close(fd)
  local status, head, body = (text or ""):match "^HTTP/%S+ (%d+)[^\r]*\r\n(.-)\r\n\r\n(.*)$"
  return tonumber(status), body, head
end

---A request to it; never fails.
---@return integer? status    nil: no answer
---@return string? body
---@return string? head       its lines
function Agent:try(method, path, body)
  local lines = { ("%s %s HTTP/1.0"):format(method, path), "Host: localhost" }
  if self.token then lines[#lines + 1] = "X-Consul-Token: " .. self.token end
  if body then lines[#lines + 1] = "Content-Length: " .. #body end
  return exchange(self.port, table.concat(lines, "\r\n") .. "\r\n\r\n" .. (body or ""))
end

---A request that must succeed. A table becomes JSON, JSON becomes a table.
---@return any
function Agent:api(method, path, body)
  if type(body) == "table" then body = cjson.encode(body) end
  local status, answer = self:try(method, path, body)
  if status ~= 200 then
    error(("Consul: %s %s: %s %s\n%s"):format(method, path, status, answer, self.program:output()), 2)
  end
  if answer == "" then return nil end
  local ok, value = pcall(cjson.decode, answer)
  return ok and value or answer
end

function Agent:put(key, value) self:api("PUT", "/v1/kv/" .. key, value) end
function Agent:delete(key) self:api("DELETE", "/v1/kv/" .. key) end

---@class spec.Held
---@field id string
---@field status "passing"|"warning"|"critical"|nil    of its own check
---@field output string?
---@field port integer
---@field tag string?          the first
---@field maintenance string?  the reason

---What it holds of the first service with that name.
---@param name string
---@return spec.Held?
function Agent:service(name)
  local services, checks = self:api("GET", "/v1/agent/services"), self:api("GET", "/v1/agent/checks")
  for id, service in pairs(services) do
    if service.Service == name then
      local check, maintenance = checks["service:" .. id] or {}, checks["_service_maintenance:" .. id]
      return {
        id = id, status = check.Status, output = check.Output, port = service.Port, tag = service.Tags[1],
        maintenance = maintenance and maintenance.Notes,
      }
    end
  end
end

---Waits until it holds that of the service; false: not.
---@param name string
---@param expected table<string, any>      fields of spec.Held
---@param program spec.Program             that should see to it
function Agent:wait_for(name, expected, program)
  local last
  run.eventually("Consul to be right", function()
    last = self:service(name)
    for field, value in pairs(expected) do
      if not last or (last[field] or false) ~= value then return false end
    end
    return true
  end, 60, function() return cjson.encode(last or {}) .. "\n" .. program:output() end)
end

-- --- its configuration -----------------------------------------------------------------------

-- A CA, a certificate for localhost and server.DATACENTER.consul, the same one outdated, one for another name, and one
-- for clients.
local CERTIFICATES = [[
  set -e
  openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj "/CN=spec-ca"
  certificate() {
    openssl req -newkey rsa:2048 -nodes -keyout $1.key -out $1.csr -subj "/CN=$1"
    printf '%s\n' "subjectAltName=$2" "extendedKeyUsage=serverAuth,clientAuth" >$1.ext
    openssl x509 -req -in $1.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out $1.pem -days $3 -extfile $1.ext
  }
  names="DNS:localhost,DNS:server.$1.consul,IP:127.0.0.1"
  certificate server "$names" 2
  certificate expired "$names" -1
  certificate other "DNS:other.example" 2
  certificate client "DNS:client" 2
]]

local function make_certificates(agent)
  local script = run.program({ "sh", "-c", CERTIFICATES, "sh", agent.datacenter }, {
    directory = agent.directory, lasting = true,
  })
  assert(script:wait() == 0, "openssl: " .. script:output())
  agent.tls = {
    cafile = agent:path "ca.pem", clientcert = agent:path "client.pem", clientkey = agent:path "client.key",
  }
  return {
    ca_file = agent:path "ca.pem", cert_file = agent:path "server.pem", key_file = agent:path "server.key",
    verify_incoming_https = true, verify_incoming_rpc = false,
  }
end

local function merge(into, more)
  for key, value in pairs(more or {}) do
    if type(value) == "table" and type(into[key]) == "table" then merge(into[key], value) else into[key] = value end
  end
  return into
end

local function configuration(agent, options)
  local all = {
    server = true, bootstrap_expect = options.servers or 1, performance = { raft_multiplier = 1 },
    node_name = "node-" .. agent.datacenter, datacenter = agent.datacenter,
    data_dir = agent.directory .. "/data", bind_addr = "127.0.0.1", client_addr = "127.0.0.1",
    log_level = "warn", disable_update_check = true, leave_on_terminate = false, skip_leave_on_interrupt = true,
    ports = { dns = -1, grpc = -1, https = -1 },
    limits = { http_max_conns_per_client = options.max_connections },
    session_ttl_min = "1s",
  }
  if options.acl then
    agent.token = "11111111-2222-3333-4444-555555555555"
    all.acl = { enabled = true, default_policy = "deny", tokens = { master = agent.token, agent = agent.token } }
    all.primary_datacenter = agent.datacenter
  end
  if options.lan then all.retry_join = { "127.0.0.1:" .. options.lan.ports.serf_lan } end
  if options.wan then all.retry_join_wan = { "127.0.0.1:" .. options.wan.ports.serf_wan } end
  if options.socket then
    agent.socket = agent.directory .. "/http.sock"
    all.addresses = { http = "127.0.0.1 unix://" .. agent.socket }
  end
  if options.tls then merge(all, make_certificates(agent)) end
  return merge(all, options.config)
end

-- --- its life --------------------------------------------------------------------------------

---Why there is no Consul to start, or nil.
---@return string?
function consul.lacking()
  if C.access(BINARY, 1) ~= 0 then return "no Consul: tools/consul could not fetch it" end
  return machine.lacking("setpriv", "openssl")
end

-- Ports are chosen anew each time but that of HTTP, which clients know.
local function choose_ports(agent)
  local free = free_ports(5)
  agent.port = agent.port or free[1]
  agent.ports = {
    http = agent.port, server = free[2], serf_lan = free[3], serf_wan = free[4],
    https = agent.tls and (agent.ports and agent.ports.https or free[5]) or -1,
  }
  agent.url = "http://127.0.0.1:" .. agent.port
  agent.https = agent.tls and "https://localhost:" .. agent.ports.https or nil
end

local function write_config(agent)
  local file = assert(io.open(agent.directory .. "/config.json", "w"))
  file:write(cjson.encode(agent.config))
  file:close()
end

local function begin(agent)
  choose_ports(agent)
  merge(agent.config.ports, agent.ports)
  write_config(agent)
  local binary = run.absolute(BINARY)
  agent.program = run.program({ binary, "agent", "-config-file", "config.json" }, {
    directory = agent.directory, wrap = { "setpriv", "--pdeathsig", "KILL" }, lasting = true,
  })
end

-- A leader, and the node itself in its catalogue: from then on nothing changes that nobody asked for. One of several
-- servers has its leader when the others are there.
local function is_ready(agent)
  if agent.config.bootstrap_expect > 1 then return (agent:try("GET", "/v1/agent/self")) == 200 end
  local status, body = agent:try("GET", "/v1/health/node/" .. agent.config.node_name)
  return status == 200 and body:find("serfHealth", 1, true) ~= nil
end

---Starts it, after a stop too. `lose`: without the data that it had.
---@param options { lose: boolean? }?
function Agent:launch(options)
  if options and options.lose then os.execute(("rm -rf '%s/data'"):format(self.directory)) end
  local deadline = run.now() + LEADER
  begin(self)
  repeat
    if self.program:ended() and self.program:output():find("address already in use", 1, true) then
      self.program:write("stdout", "")
      begin(self) -- somebody was faster
    end
    assert(not self.program:ended() and run.now() < deadline, "Consul does not start:\n" .. self.program:output())
    run.pause(0.02)
  until is_ready(self)
end

local function ended(agent)
  agent.program:wait()
end

function Agent:stop()
  self.program:signal "SIGTERM"
  ended(self)
end

function Agent:kill()
  self.program:signal "SIGKILL"
  ended(self)
end

-- The signal comes to one thread after the other.
function Agent:pause()
  self.program:signal "SIGSTOP"
  run.eventually("all threads of Consul to stop", function()
    local list = io.popen(("cat /proc/%d/task/*/stat 2>/dev/null"):format(self.program.pid))
    local text = list:read "*a"
    list:close()
    return not ("\n" .. text):find "\n%d+ %(.-%) [^T]"
  end)
end

---Shows another certificate from the next handshake on.
---@param name "server"|"expired"|"other"
function Agent:certify(name)
  merge(self.config, { cert_file = self:path(name .. ".pem"), key_file = self:path(name .. ".key") })
  write_config(self)
  self:api("PUT", "/v1/agent/reload")
end

function Agent:resume() self.program:signal "SIGCONT" end

---@class spec.ConsulOptions
---@field max_connections integer?   http_max_conns_per_client; default 200, as Consul's
---@field acl boolean?               with a token that may everything; what has none may nothing
---@field tls boolean?               HTTPS beside HTTP, for clients with a certificate
---@field socket boolean?            a unix socket beside HTTP
---@field port integer?              that of HTTP, where it must be a certain one: see support.network
---@field datacenter string?         default "dc1"
---@field wan spec.Consul?           an agent of another datacenter to join
---@field servers integer?           of its cluster: with more than one there is no leader before all of them are there
---@field lan spec.Consul?           a server of the same cluster to join
---@field config table?              anything of Consul's own configuration

---@param options spec.ConsulOptions?
---@return spec.Consul
function consul.start(options)
  options = options or {}
  local agent = setmetatable({
    directory = run.directory(), datacenter = options.datacenter or "dc1", port = options.port,
  }, Agent)
  agent.config = configuration(agent, options)
  agent:launch()
  return agent
end

return consul
