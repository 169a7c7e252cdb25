-- agent: a Consul agent of the bench's own (build/consul/consul, from tools/consul), and one connection to it that is
-- kept open, so that a write costs no program.
--
-- Its data is on the disk, as of any agent, and goes with the site's directory; it is killed with the driver.

local bit = require "bit"
local ffi = require "ffi"
local json = require "cjson"
local site = require "site"
local system = require "system"

ffi.cdef [[
  typedef struct { uint16_t family, port; uint32_t address; char rest[8]; } bench_inet;
  int socket(int domain, int type, int protocol);
  int connect(int fd, const void *address, unsigned size);
  int setsockopt(int fd, int level, int name, const void *value, unsigned size);
  ssize_t write(int fd, const void *data, size_t size);
]]

local C = ffi.C
local INET, STREAM, CLOEXEC, TCP, NODELAY = 2, 1, 524288, 6, 1
local BINARY = "build/consul/consul"
local FIRST_PORT = 21900

local agent = {}

---@class bench.Agent
---@field port integer
---@field fd integer?     of the connection
---@field rest string     what came of the next answer
local Agent = {}
Agent.__index = Agent

---Why there is none; nil: there is one.
function agent.missing()
  if not system.absolute(BINARY) then return "no Consul: tools/consul fetches one" end
  if not system.has "curl" then return "no curl" end
end

-- --- HTTP ------------------------------------------------------------------------------------

local function open(port)
  local fd, one = C.socket(INET, STREAM + CLOEXEC, 0), ffi.new("int[1]", 1)
  local address = ffi.new("bench_inet", { family = INET, port = bit.rshift(bit.bswap(port), 16), address = 0x0100007f })
  C.setsockopt(fd, TCP, NODELAY, one, 4)
  if C.connect(fd, address, 16) == 0 then return fd end
  system.close(fd)
end

local chunk = ffi.new "char[65536]"

-- Until `rest` has `size` bytes, or the pattern, and where that ends.
local function need(self, what)
  while true do
    local stop = type(what) == "number" and (#self.rest >= what and what)
      or type(what) == "string" and select(2, self.rest:find(what))
    if stop then
      local text = self.rest:sub(1, stop)
      self.rest = self.rest:sub(stop + 1)
      return text
    end
    local size = tonumber(C.read(self.fd, chunk, 65536))
    assert(size > 0, "the agent has closed the connection")
    self.rest = self.rest .. ffi.string(chunk, size)
  end
end

local function chunks(self)
  local parts = {}
  while true do
    local size = tonumber(need(self, "^%x+\r\n"):match "%x+", 16)
    parts[#parts + 1] = need(self, size + 2):sub(1, size)
    if size == 0 then return table.concat(parts) end
  end
end

---Sends a request. Only one is under way: `answer` comes next.
---@param method string
---@param path string      below /v1/
---@param body string|table|nil
function Agent:ask(method, path, body)
  self.fd = self.fd or assert(open(self.port), "the agent refuses connections")
  if type(body) == "table" then body = json.encode(body) end
  local text = ("%s /v1/%s HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n%s"):format(method, path,
    body and #body or 0, body or "")
  assert(tonumber(C.write(self.fd, text, #text)) == #text, "the agent does not read")
end

---The answer to what was asked.
---@return integer status
---@return string body
---@return string head
function Agent:answer()
  local head = need(self, "^.-\r\n\r\n"):lower()
  local size = tonumber(head:match "\r\ncontent%-length: (%d+)")
  local body = size and need(self, size) or chunks(self)
  return tonumber(head:match "^%S+ (%d+)"), body, head
end

---A request that must succeed, and its answer.
---@return string body
---@return string head
function Agent:api(method, path, body)
  self:ask(method, path, body)
  local status, said, head = self:answer()
  if status ~= 200 then error(("Consul: %s %s: %s %s"):format(method, path, status, said), 2) end
  return said, head
end

---@param key string
---@param value string
function Agent:put(key, value) self:api("PUT", "kv/" .. key, value) end

---What a blocking query of it begins with.
---@return string index
function Agent:index(path)
  local _, head = self:api("GET", path)
  return head:match "\r\nx%-consul%-index: (%d+)"
end

---A curl that holds a blocking query, as bare as it gets. Returns when the query is under way: curl sleeps.
---@param path string
---@return fun(text: string?): fun() hear    waits for a text in its output, nil: for the whole; gives what ends it
function Agent:curl(path)
  local index = self:index(path)
  local url = ("http://127.0.0.1:%d/v1/%s%sindex=%s&wait=60s"):format(self.port, path,
    path:find("?", 1, true) and "&" or "?", index)
  local reading, writing = system.pipe()
  local pid = system.spawn { argv = { "curl", "-sN", url }, stdout = writing }
  system.close(writing)
  local before
  system.eventually("curl to ask", site.patience, function()
    local cpu = system.cpu(pid)
    if cpu > 0.001 and cpu == before then return true end
    before = cpu
    system.sleep(0.015)
  end)
  return function(text)
    system.read_until(reading, text)
    return function()
      system.close(reading)
      system.wait(pid, site.patience)
    end
  end
end

function Agent:close()
  if self.fd then system.close(self.fd) end
  self.fd, self.rest = nil, ""
end

-- --- its life --------------------------------------------------------------------------------

local function is_free(port)
  local fd = open(port)
  if fd then system.close(fd) end
  return not fd
end

local last = FIRST_PORT

-- Four in a row: those of the agent before may still be closing, and another bench may be at work.
local function ports()
  repeat last = last + 4 until is_free(last) and is_free(last + 1) and is_free(last + 2) and is_free(last + 3)
  return last
end

local function is_ready(self)
  local fd = open(self.port)
  if not fd then return false end
  self.fd = fd
  self:ask("GET", "health/node/bench")
  local status, body = self:answer()
  return status == 200 and body:find("serfHealth", 1, true) ~= nil
end

---One that runs already, at a port.
---@param port integer
---@return bench.Agent
function agent.at(port) return setmetatable({ port = port, rest = "" }, Agent) end

---Starts one for the life of a site; returns when it has a leader. It allows 5,000 connections of one client.
---@param place bench.Site
---@return bench.Agent
function agent.start(place)
  local self = agent.at(ports())
  place:write("consul.json", json.encode {
    ports = { http = self.port, server = self.port + 1, serf_lan = self.port + 2, serf_wan = self.port + 3,
      dns = -1, grpc = -1, https = -1 },
    limits = { http_max_conns_per_client = 5000 }, bind_addr = "127.0.0.1", data_dir = place:path "data",
    server = true, bootstrap_expect = 1, performance = { raft_multiplier = 1 }, node_name = "bench",
    disable_update_check = true, log_level = "warn",
  })
  self.pid = place:beside {
    argv = { site.built .. "/go", system.absolute(BINARY), "agent", "-config-file", place:path "consul.json" },
    env = { GO_SIGNAL = 9 }, stdout = place:path "agent",
  }
  system.eventually("a leader", site.patience, function()
    if is_ready(self) then return true end
    self:close()
  end)
  return self
end

return agent
