-- Memory of the built program: what a job costs that only runs.
--
-- Counted is what was written (Anonymous of pilot and guardian), not what is mapped: that is shared with other
-- programs, more or less of it. LuaJIT gives nothing back, so what was needed for a moment counts, too.

local machine = require "support.machine"
local run = require "support.run"

local MANY = 400
local MOST = 3.2 -- KiB a job; it was 7.3

local JOBS = [[
  local pilot = require "luapilot"
  for i = 1, %d do pilot.job("job-" .. i) { exec = { "sleep", "1000" }, stop_timeout = "60s" } end
  pilot.shutdown_timeout "2m"
]]

-- KiB.
local function written(pid)
  local file = assert(io.open(("/proc/%d/smaps_rollup"):format(pid)))
  local text = file:read "*a"
  file:close()
  return tonumber(text:match "\nAnonymous: +(%d+)")
end

-- KiB of a pilot with so many jobs.
local function measure(count)
  local p = run.pilot(JOBS:format(count))
  p:wait_for_line(('job "job%%-%d": started'):format(count))
  local sum = written(p.pid) + written(p:pilot())
  p:signal "SIGTERM"
  assert.equal(0, p:wait(), p:output())
  return sum
end

describe("a job that runs", function()
  after_each(run.cleanup)

  it("takes little memory", function()
    if os.getenv "LUAPILOT_BUILD" then machine.skip "a sanitizer has memory of its own" end
    local each = (measure(MANY + 1) - measure(1)) / MANY
    assert.is_true(each < MOST, ("%.2f KiB for each job"):format(each))
  end)
end)

describe("a file that builds much of its own", function()
  after_each(run.cleanup)

  -- While a file is read the heap grows by a tenth between two collections: eight of them for what follows.
  it("is not held up by the collector", function()
    local p = run.pilot [[
      local count, early = 0, nil
      local function look() getmetatable(newproxy(true)).__gc = function() count = count + 1 look() end end
      look()
      local keep = {}
      for i = 1, 1000000 do
        keep[i] = { i }
        if i == 200000 then early = count end
      end
      print("collections: " .. count - early)
      require "luapilot".job "app" { exec = { "true" } }
    ]]
    assert.equal(0, p:wait())
    local count = tonumber(p:output():match "collections: (%d+)")
    assert.is_true(count <= 4, count .. " collections")
  end)
end)
