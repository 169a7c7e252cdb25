-- templates: a file with a line for each of a thousand instances of a service. From the write that alters one of them
-- to the file that has it, beside a curl that holds the same blocking query until it has the whole answer (half a MB
-- of JSON); and the CPU of such a change: answer, watch, render and file.
--
-- The altered instance has the first line, so that looking for it costs little; it is looked for each millisecond.

local agent = require "agent"
local figures = require "figures"
local site = require "site"
local supervisors = require "supervisors"
local system = require "system"

local PACE = 1.1 -- seconds between two changes: a watch asks once a second for what is larger than a megabyte

local PILOT = [[
pilot.consul "127.0.0.1:%d"
local big = pilot.watch "big"
pilot.template(%q) {
  text = "<%% for _, one in ipairs(instances) do %%>server <%%= one.address %%>:<%%= one.port %%>;\n<%% end %%>",
  data = function() return { instances = big.instances } end,
  watch = big,
}
]]

local function instance(i, port)
  return { Node = ("node-%05d"):format(i), Address = ("127.0.%d.%d"):format(math.floor(i / 250), i % 250 + 1),
    Service = { ID = ("big-%05d"):format(i), Service = "big", Port = port } }
end

local function fill(consul, count)
  for i = 1, count do consul:api("PUT", "catalog/register", instance(i, 8000)) end
end

-- Each change: the time until hear(port) returns. `prepare` is outside of it.
local function changes(consul, count, prepare)
  local times = {}
  for i = 1, count do
    local hear = prepare()
    system.sleep(PACE)
    local begun = system.now()
    consul:api("PUT", "catalog/register", instance(1, 10000 + i))
    local done = hear(10000 + i)
    times[i] = system.now() - begun
    if done then done() end
  end
  local median, least, most = figures.median(times)
  return { median = median, least = least, most = most }
end

local function first_line(path)
  local file = io.open(path)
  local line = file and file:read "*l"
  if file then file:close() end
  return line or ""
end

local function of_pilot(instances, count)
  return site.use(function(place)
    local consul, path = agent.start(place), place:path "file"
    fill(consul, instances)
    place:launch(supervisors.pilot(place, PILOT:format(consul.port, path)))
    local function has(port)
      local ending = (":%d;$"):format(port)
      system.eventually("port " .. port, site.patience, function() return first_line(path):find(ending) end)
    end
    has(8000)
    system.sleep(PACE)
    local cpu = place:sum(system.cpu)
    local result = changes(consul, count, function() return has end)
    system.sleep(0.1)
    result.cpu = (place:sum(system.cpu) - cpu) / count
    result.memory = place:sum(system.pss)
    local _, lines = place:read "file":gsub("\n", "")
    assert(lines == instances, lines .. " lines are in the file")
    return result
  end)
end

local function of_curl(instances, count)
  return site.use(function(place)
    local consul = agent.start(place)
    fill(consul, instances)
    return changes(consul, count, function()
      local hear = consul:curl "health/service/big?passing"
      return function() return hear(nil) end
    end)
  end)
end

return {
  title = "a file of a thousand instances",
  figures = {
    { name = "median", title = "from a change to the file: the median of a run", unit = "s", against = { "curl" } },
    { name = "least", title = "the fastest", unit = "s" },
    { name = "most", title = "the slowest", unit = "s" },
    { name = "cpu", title = "CPU for a change", unit = "s" },
    { name = "memory", title = "Pss", unit = "B" },
  },
  rounds = 3,
  variants = function(smoke)
    local instances, count = smoke and 20 or 1000, smoke and 2 or 30
    return {
      { name = "luapilot", skip = agent.missing(), measure = function() return of_pilot(instances, count) end },
      { name = "curl", skip = agent.missing(), measure = function() return of_curl(instances, count) end },
    }
  end,
}
