-- consul: a real agent (build/consul/consul, from tools/consul) and one pilot. From a write to the handler that hears
-- of it, beside a curl that holds the same blocking query; a thousand watches of which one changes; and a thousand
-- services.
--
-- What is heard is read from a pipe, of the pilot's log or of curl's output. The clock starts before the curl that
-- writes, so each time holds the start of that program and the agent's write.

local ffi = require "ffi"
local figures = require "figures"
local site = require "site"
local supervisors = require "supervisors"
local system = require "system"

ffi.cdef [[ long read(int fd, void *buffer, unsigned long size); ]]

local AGENT = "build/consul/consul"
local PORT = 21900
local CONFIGURATION = [[{
  "ports": { "http": %d, "server": %d, "serf_lan": %d, "serf_wan": %d, "dns": -1, "grpc": -1, "https": -1 },
  "limits": { "http_max_conns_per_client": 5000 }, "disable_update_check": true, "bind_addr": "127.0.0.1",
  "data_dir": "%s", "server": true, "bootstrap_expect": 1, "performance": { "raft_multiplier": 1 }, "node_name": "bench"
}]]

-- --- the agent -------------------------------------------------------------------------------

local function url(path) return ("http://127.0.0.1:%d/v1/%s"):format(PORT, path) end

local function begin(place)
  PORT = PORT + 4 -- that of the round before may still be closing
  place:write("consul.json", CONFIGURATION:format(PORT, PORT + 1, PORT + 2, PORT + 3, place:path "data"))
  place:beside { argv = { system.absolute(AGENT), "agent", "-config-file", place:path "consul.json" },
    stdout = place:path "agent" }
  local ready = ("curl -sf '%s' | grep -q serfHealth"):format(url "health/node/bench")
  system.eventually("a leader", site.patience, function() return os.execute(ready) == 0 end)
end

local function write(value)
  local pid = system.spawn { argv = { "curl", "-sf", "-X", "PUT", "--data", value, url "kv/bench" } }
  return function() system.wait(pid, site.patience) end
end

-- Reads until a text has come.
local function read_until(fd, text)
  local buffer, all = ffi.new "char[65536]", ""
  repeat
    local size = tonumber(ffi.C.read(fd, buffer, 65536))
    assert(size > 0, "nothing more comes")
    all = all:sub(-100) .. ffi.string(buffer, size)
  until all:find(text, 1, true)
end

-- --- from a write to who hears of it ---------------------------------------------------------

-- wait(i): the i-th change has been heard.
local function latencies(count, prepare, wait)
  local times = {}
  for i = 1, count do
    prepare(i)
    system.sleep(1.05) -- below one question a second, which no watch exceeds; a blocking query is under way
    local begun = system.now()
    local written = write("value-" .. i .. ";")
    wait(i)
    times[i] = system.now() - begun
    written()
  end
  table.sort(times)
  return { median = (figures.median(times)), last = times[#times] }
end

local PILOT = [[
  pilot.consul { address = "127.0.0.1:%d", max_connections = 4000 }
  local watch = pilot.watch.key "bench"
  for i = 2, %d do pilot.watch.key("other/" .. i) end
  watch:on("changed", function(event) print("heard " .. tostring(event.value)) end)
]]

local function with_watches(watches, seconds, count)
  return site.use(function(place)
    begin(place)
    local reading, writing = system.pipe()
    place:launch(supervisors.pilot(place, PILOT:format(PORT, watches)), writing)
    system.close(writing)
    read_until(reading, "heard nil")
    system.sleep(seconds / 2)
    local cpu = place:sum(system.cpu)
    system.sleep(seconds)
    local result = { cpu = place:sum(system.cpu) - cpu, memory = place:sum(system.pss) }
    local heard = latencies(count, function() end, function(i) read_until(reading, "heard value-" .. i .. ";") end)
    system.close(reading)
    result.median, result.last = heard.median, heard.last
    return result
  end)
end

local function with_curl(count)
  return site.use(function(place)
    begin(place)
    write "value-0;"()
    local reading, pid
    local function poll()
      local find = [[curl -si '%s' | sed -n 's/^X-Consul-Index: \([0-9]*\).*/\1/p']]
      local index = system.line(find:format(url "kv/bench"))
      local writing
      reading, writing = system.pipe()
      pid = system.spawn { argv = { "curl", "-sN", url("kv/bench?raw&wait=60s&index=" .. index) }, stdout = writing }
      system.close(writing)
    end
    return latencies(count, poll, function(i)
      read_until(reading, "value-" .. i .. ";")
      system.close(reading)
      system.wait(pid, site.patience)
    end)
  end)
end

-- --- services --------------------------------------------------------------------------------

local SERVICES = [[
  pilot.consul "127.0.0.1:%d"
  for i = 1, %d do
    pilot.job("job-" .. i) { service = { port = 80, interfaces = "static:127.0.0.1" } }
  end
]]

local function registered()
  return tonumber(system.line(("curl -s '%s' | grep -o '\"EnableTagOverride\"' | wc -l"):format(url "agent/services")))
end

local function with_services(count, seconds)
  return site.use(function(place)
    begin(place)
    local begun = system.now()
    place:launch(supervisors.pilot(place, SERVICES:format(PORT, count)))
    system.eventually(count .. " services", site.patience, function() return registered() == count end)
    local result = { registering = system.now() - begun }
    system.sleep(seconds / 2)
    local cpu = place:sum(system.cpu)
    system.sleep(seconds)
    result.cpu = place:sum(system.cpu) - cpu
    result.memory = place:sum(system.pss)
    return result
  end)
end

return {
  title = "a Consul agent beside it",
  figures = {
    { name = "median", title = "from a write to who hears of it", unit = "s", against = { "curl" } },
    { name = "last", title = "the slowest of 50", unit = "s", against = { "curl" } },
    { name = "registering", title = "until all are registered", unit = "s" },
    { name = "cpu", title = "CPU in 30 s without a change", unit = "s" },
    { name = "memory", title = "Pss", unit = "B" },
  },
  rounds = 1,
  variants = function(smoke)
    local missing = not system.absolute(AGENT) and "no Consul: tools/consul fetches one"
      or not system.has "curl" and "no curl" or nil
    local seconds, count, many = smoke and 1 or 30, smoke and 2 or 50, smoke and 20 or 1000
    return {
      { name = "one watch", skip = missing, measure = function() return with_watches(1, seconds, count) end },
      { name = "1,000 watches", skip = missing, measure = function() return with_watches(many, seconds, count) end },
      { name = "curl", skip = missing, measure = function() return with_curl(count) end },
      { name = "1,000 services", skip = missing, measure = function() return with_services(many, seconds) end },
    }
  end,
}
