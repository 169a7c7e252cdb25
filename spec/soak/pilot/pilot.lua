-- The pilot of a soak: the jobs of jobs.lua, and tasks that do the acts of acts.lua while tools/soak makes a storm.
--
-- tools/soak writes the file `phase` ("storm 3", "quiet 3"); the answer is `status`, four times a second. When it is
-- quiet the acts end, and every job is given its wanted state. How late the loop is stands in `lag`.

local pilot = require "luapilot"
local ffi = require "ffi"
local lag = require "lag"
local place = require "place"

pilot.logging { format = place.format }
pilot.shutdown_timeout "60s"
math.randomseed(place.seed)

local jobs = require "jobs"

jobs.watch = pilot.watch "web"

local acts = require "acts"

local LONGEST = "40s"     -- an act
local AT_ONCE = 40        -- acts
local VERY_LATE = 0.05    -- seconds: it is worth a line

local phase, phase_number = "quiet", 0
local busy, acted, heard = 0, 0, {}
local last_act            -- the name of the one that was begun last
local live, allocated     -- kilobytes of Lua after a collection, bytes of C that are in use, in this quiet phase

-- --- the clock, and when the pilot was stopped -------------------------------------------------------

ffi.cdef [[
  typedef struct { long seconds, nanoseconds; } soak_time;
  int clock_gettime(int clock, soak_time *time);
  int open(const char *path, int flags, ...);
  struct soak_heap {
    size_t arena, free_chunks, fast_chunks, mappings, mapped, unused, fast_bytes, in_use, free_bytes, trimmable;
  } mallinfo2(void);
  void *mmap(void *address, size_t size, int protection, int flags, int fd, long offset);
]]

local time = ffi.new "soak_time"

local function now()
  ffi.C.clock_gettime(1, time)
  return tonumber(time.seconds) + tonumber(time.nanoseconds) / 1e9
end

-- tools/soak writes here from when to when it had stopped us, as seconds of the same clock: { number, from, to }.
local stops_file = ffi.C.open(place.state .. "/stops", 0)
local stops = ffi.cast("const volatile double *", ffi.C.mmap(nil, 4096, 1, 1, stops_file, 0))

-- All moments, and those in which no act has held the loop on purpose.
local moments, undisturbed, held = lag.new(), lag.new(), false
local both = {}
function both:add(seconds)
  moments:add(seconds)
  if not held then undisturbed:add(seconds) end
end
local tick, seen_stops = lag.ticks(both, 0.01), 0

pilot.every("10ms", function()
  local late
  if stops[0] == seen_stops then
    late = tick(now())
  else
    seen_stops = stops[0]
    late = tick(now(), stops[1], stops[2])
  end
  held = false
  if late > VERY_LATE then pilot.log.info("the loop was late", { seconds = late, act = last_act }) end
end)

-- --- acts ------------------------------------------------------------------------------------------

local names, wrong_names = {}, {}
for name in pairs(acts.plain) do names[#names + 1] = name end
for name in pairs(acts.wrong) do wrong_names[#wrong_names + 1] = name end
table.sort(names)
table.sort(wrong_names)

local function act(name, fn)
  busy, acted = busy + 1, acted + 1
  pilot.spawn(function()
    last_act = name
    pilot.defer(function() busy = busy - 1 end)
    pilot.timeout(LONGEST, fn)
  end)
end

local function act_one()
  local name = names[math.random(#names)]
  act(name, acts.plain[name])
end

local function hold_the_loop()
  local name = wrong_names[math.random(#wrong_names)]
  act(name, function()
    held = true
    acts.wrong[name]()
  end)
end

pilot.every("60ms", function()
  if phase == "storm" and busy < AT_ONCE then act_one() end
end)

pilot.every(place.hogs, function()
  if phase == "storm" then hold_the_loop() end
end)

-- --- handlers of what comes from outside -------------------------------------------------------------

for _, name in ipairs { "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGALRM", "SIGURG", "SIGXCPU", "SIGXFSZ",
  "SIGVTALRM", "SIGPROF", "SIGIO", "SIGPWR", "SIGQUIT" } do
  pilot.on(name, { when_busy = "latest" }, function()
    heard[name] = (heard[name] or 0) + 1
    pilot.sleep(math.random() / 20)
    if math.random() < 0.02 then error("planned: a handler of " .. name) end
  end)
end

pilot.on("error", { when_busy = "drop" }, function()
  pilot.sleep(0.01)
  if math.random() < 0.1 then error "planned: a handler of error" end
end)

jobs.by_name["manual-1"].object:on("stopping", function() pilot.sleep(math.random() / 5) end)
jobs.by_name["manual-2"].object:on("stopping", function() error "planned: a handler of stopping" end)
jobs.by_name["too-slow"].object:on("stopping", { timeout = "100ms" }, function() pilot.sleep "10s" end)
jobs.by_name["steady-1"].object:on("stopping", function() pilot.sleep "10s" end) -- takes all of its budget
jobs.by_name.web.object:on("unhealthy", { when_busy = "restart", settle = "50ms" }, function()
  acts.try(pilot.http.get, jobs.server .. "/ok", { retry = "2s" })
end)
jobs.watch:on("changed", { settle = "100ms" }, function() pilot.sleep(0.01) end)

-- --- quiet -----------------------------------------------------------------------------------------

-- Whatever the acts have stopped runs again.
local function calm_down()
  pilot.maintenance(false)
  for _, job in ipairs(jobs.list) do
    local state, wanted = job.object.state, job.expect == "up" or job.expect == "healthy"
    local at_rest = state == "stopped" or state == "complete" or state == "waiting" and job.by_hand
    if wanted and at_rest then acts.try(job.object.start, job.object) end
  end
end

local function read_phase()
  local word, number = (acts.try(pilot.fs.read, place.state .. "/phase") or ""):match "^(%a+) (%d+)"
  if not word then return end
  if word ~= phase then live = nil end
  phase, phase_number = word, tonumber(number)
  if phase == "end" then pilot.shutdown(tonumber(number)) end
  if phase == "quiet" and busy == 0 then calm_down() end
end

pilot.every("100ms", read_phase)

-- --- the report --------------------------------------------------------------------------------------

local function measure()
  if live or phase ~= "quiet" or busy > 0 then return end
  collectgarbage()
  collectgarbage()
  live = collectgarbage "count"
  local heap = ffi.C.mallinfo2()
  allocated = tonumber(heap.mapped + heap.in_use)
end

local function about(job)
  local object = job.object
  return {
    name = job.name, expect = job.expect, state = object.state, pid = object.pid, health = object.health,
    restarts = object.restarts, ends = job.ends, stopping = job.stopping, slot = job.slot,
  }
end

local function report()
  if phase == "end" then return end
  measure()
  local list = {}
  for i, job in ipairs(jobs.list) do list[i] = about(job) end
  acts.try(pilot.fs.write, place.state .. "/status", pilot.json.encode {
    phase = phase, number = phase_number, busy = busy, acted = acted, heard = heard, live = live, allocated = allocated,
    heap = collectgarbage "count", rendered = jobs.config.rendered, jobs = list,
  })
  acts.try(pilot.fs.write, place.state .. "/lag", moments:text())
  acts.try(pilot.fs.write, place.state .. "/lag.undisturbed", undisturbed:text())
end

pilot.every("250ms", report)
