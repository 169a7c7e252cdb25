-- doubling: is twice as much twice the work? The built program with n and with 2n of what can be many, in seconds on a
-- processor; spec/unit/house/doubling_spec.lua counts the instructions of far more cases, in the simulator.
--
-- Growth is the cost of 2n beside that of n, less what a pilot with one of them costs: 2.0 is in proportion, n log n is
-- up to 2.2 at these sizes, what a walk over all for each adds is 4. The three of a round are measured in a row.

local agent = require "agent"
local json = require "cjson"
local site = require "site"
local supervisors = require "supervisors"
local system = require "system"

local NONE = 1
local MOST = 2.6 -- as in the spec

-- --- a file that is checked ------------------------------------------------------------------

-- Mistakes are what some of the files are about.
local function checked(text, code)
  return function(count)
    return site.use(function(place)
      local argv = supervisors.pilot(place, text:format(count)).argv
      local pid = system.spawn { argv = { argv[1], "check", argv[3] }, stderr = place:path "stderr" }
      local ended, status, cpu = system.wait(pid, site.patience)
      assert(ended and status == 256 * (code or 0), "luapilot check ends otherwise than it should")
      return cpu
    end)
  end
end

-- --- a pilot at work -------------------------------------------------------------------------

-- Until it writes the file that is %q of the text.
local function worked(text, prepare)
  return function(count)
    return site.use(function(place)
      local done = place:path "done"
      local port = prepare and prepare(place, count)
      place:launch(supervisors.pilot(place, text:format(count, done, site.built, port)))
      system.eventually("the pilot's work", site.patience, function() return system.read(done) end)
      return place:sum(system.cpu)
    end)
  end
end

local function with_instances(place, count)
  local consul, operations = agent.start(place), {}
  consul:api("PUT", "catalog/register", { Node = "elsewhere", Address = "127.0.0.2" })
  for i = 1, count do
    local instance = { ID = ("big-%05d"):format(i), Service = "big", Port = 8000 }
    operations[#operations + 1] = { Service = { Verb = "set", Node = "elsewhere", Service = instance } }
    if #operations == 64 or i == count then -- as many as a transaction may have
      consul:api("PUT", "txn", json.encode(operations))
      operations = {}
    end
  end
  return consul.port
end

local JOBS = [[
  local left, done, built = %d, %q, %q
  for i = 1, left do
    pilot.job("job-" .. i) { exec = { built .. "/true" } }:on("exit_success", function()
      left = left - 1
      if left == 0 then pilot.fs.write(done, "done") end
    end)
  end
  pilot.job "stays" { exec = { built .. "/job" } }
]]

local LINES = [[
  local left, done, built = %d, %q, %q
  pilot.job "burst" { exec = { built .. "/writer", tostring(left), "65536" } }:on("output", function()
    left = left - 1
    if left == 0 then pilot.fs.write(done, "done") end
  end)
]]

local INSTANCES = [[
  local count, done, _, port = %d, %q, %q, %d
  pilot.consul("127.0.0.1:" .. port)
  local big = pilot.watch "big"
  pilot.template(done .. ".text") {
    text = "<%% for _, one in ipairs(instances) do %%>server <%%= one.address %%>:<%%= one.port %%>;\n<%% end %%>",
    data = function() return { instances = big.instances } end,
    watch = big,
  }
  big:on("changed", function(event)
    if #event.instances == count then pilot.fs.write(done, "done") end
  end)
]]

local THINGS = {
  { name = "jobs in a file", size = 5000, cost = checked [[
    for i = 1, %d do pilot.job("job-" .. i) { exec = { "/bin/true" } } end
  ]] },
  { name = "jobs in a chain", size = 2500, cost = checked [[
    local last
    for i = 1, %d do last = pilot.job("job-" .. i) { exec = { "/bin/true" }, depends_on = last and { last } or nil } end
  ]] },
  { name = "mentions of jobs that nobody described", size = 10000, cost = checked([[
    pilot.job "app" { exec = { "/bin/true" } }
    for i = 1, %d do pilot.job("other-" .. i) end
  ]], 2) },
  { name = "jobs that run and end", size = 1000, cost = worked(JOBS) },
  { name = "lines to a handler", size = 50000, cost = worked(LINES) },
  { name = "instances in a template", size = 5000, cost = worked(INSTANCES, with_instances), skip = agent.missing },
}

local function measure(thing, size)
  local none, single, double = thing.cost(NONE), thing.cost(size), thing.cost(2 * size)
  return { single = single, double = double, growth = (double - none) / (single - none) }
end

local function goals()
  local list = {}
  for i, thing in ipairs(THINGS) do list[i] = { variant = thing.name, figure = "growth", at_most = MOST } end
  return list
end

return {
  title = "twice as much, twice the work?",
  figures = {
    { name = "growth", title = "cost of 2n ÷ cost of n", unit = "" },
    { name = "single", title = "CPU for n", unit = "s" },
    { name = "double", title = "CPU for 2n", unit = "s" },
  },
  goals = goals(),
  rounds = 5,
  variants = function(smoke)
    local list = {}
    for i, thing in ipairs(THINGS) do
      list[i] = {
        name = thing.name, skip = thing.skip and thing.skip(),
        measure = function() return measure(thing, smoke and 20 or thing.size) end,
      }
    end
    return list
  end,
}
