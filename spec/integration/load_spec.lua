-- Much of everything: lines without an end, jobs by the thousand, orphans by the ten thousand, a machine that refuses.
-- Memory is compared with bounds, never times.

local machine = require "support.machine"
local run = require "support.run"

local function is_root()
  local pipe = io.popen "id -u"
  local id = pipe:read "*l"
  pipe:close()
  return id == "0"
end

local function status_field(pid, field)
  for line in io.lines("/proc/" .. pid .. "/status") do
    local value = line:match("^" .. field .. ":%s+(%d+)")
    if value then return tonumber(value) end
  end
end

describe("a line without an end", function()
  after_each(run.cleanup)

  it("passes in parts, a GiB of it, in bounded memory", function()
    local reading, writing = run.pipe()
    local p = run.pilot([[
      local pilot = require "luapilot"
      pilot.job "big" {
        exec = pilot.sh "head -c 1073741824 /dev/zero | tr '\\0' x; echo; echo done >&2; exec sleep 100",
        log  = { prefix = false },
      }
    ]], { stdout = writing })
    run.close(writing)
    -- The shell counts the letters: as many as were written, whatever lines they came in.
    local counter = run.program({ "sh", "-c", "tr -cd x | wc -c" }, { stdin = reading })
    run.close(reading)
    local pilot = p:pilot()
    counter:wait_for("the job's second process to have written all", function()
      for _, process in ipairs(p:processes()) do
        if process.name == "sleep" then return true end
      end
    end)
    local most = status_field(pilot, "VmHWM")
    assert.is_true(most < 32 * 1024, "the pilot grew to " .. most .. " kB")
    p:signal "SIGTERM"
    assert.equal(0, p:wait())
    counter:wait()
    -- the time stamps and words of the pilot's own lines hold no x but in "exited"
    local count = tonumber(counter:stdout():match "%d+")
    assert.is_true(count >= 1073741824 and count < 1073741824 + 100, "came through: " .. tostring(count))
  end)
end)

describe("a reader of our stdout that stops", function()
  after_each(run.cleanup)

  it("does not stop supervision, and no line is lost or torn", function()
    local reading, writing = run.pipe()
    local p = run.pilot([[
      local pilot = require "luapilot"
      local lines = [=[i=0; while [ $i -lt 30000 ]; do echo "line $i of $1 end"; i=$((i+1)); done]=]
      for _, name in ipairs { "a", "b", "c" } do
        pilot.job(name) { exec = { "sh", "-c", lines, "sh", name } }
      end
      pilot.job "beat" {
        exec    = { "sh", "-c", "echo beat >>beats" },
        restart = { policy = "always", backoff = "50ms", max_backoff = "50ms" },
      }
    ]], { stdout = writing })
    run.close(writing)
    p:wait_for("supervision to go on for 30 restarts", function()
      return select(2, p:read("beats"):gsub("beat", "")) >= 30
    end)
    local reader = run.program({ "cat" }, { stdin = reading })
    run.close(reading)
    local function count() return select(2, reader:stdout():gsub("Z [abc]: line %d+ of [abc] end\n", "")) end
    reader:wait_for("every line", function() return count() >= 90000 end)
    p:signal "SIGTERM"
    assert.equal(0, p:wait())
    reader:wait()
    assert.equal(90000, count())
    for _, name in ipairs { "a", "b", "c" } do
      local expected = 0
      for number in reader:stdout():gmatch("Z " .. name .. ": line (%d+) of " .. name .. " end\n") do
        assert.equal(expected, tonumber(number))
        expected = expected + 1
      end
      assert.equal(30000, expected)
    end
    for line in reader:stdout():gmatch "[^\n]+" do
      assert.is_truthy(line:find "^%d%d%d%d%-%d%d%-%d%dT[%d:.]+Z [a-z]+: ", "torn: " .. line)
    end
  end)

  it("or that goes away does not stop the jobs", function()
    local reading, writing = run.pipe()
    local p = run.pilot([[
      local pilot = require "luapilot"
      pilot.job "talk" {
        exec = pilot.sh "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; echo over >done; exit 6",
        main = true,
      }
    ]], { stdout = writing })
    run.close(writing)
    run.close(reading)
    assert.equal(6, p:wait())
    assert.equal("over\n", p:read "done")
    assert.is_truthy(p:stderr():find "stdout", "it is said on stderr")
  end)
end)

describe("a full disk", function()
  after_each(run.cleanup)

  it("under a log file does not stop the application, and is told", function()
    if not is_root() then machine.skip "mounting a small tmpfs needs root" end
    machine.need_mounts()
    local p = run.pilot([[
      local pilot = require "luapilot"
      pilot.job "talk" {
        exec = pilot.sh "i=0; while [ $i -lt 40000 ]; do echo a line of the log $i; i=$((i+1)); done; exit 6",
        log  = { file = "small/talk.log" },
        main = true,
      }
    ]], { wrap = { "unshare", "--mount", "--", "sh", "-c",
      'mkdir small && mount -t tmpfs -o size=64k none small && exec "$@"', "sh" } })
    assert.equal(6, p:wait())
    assert.is_truthy(p:output():find "small/talk.log.*[Nn]o space left")
  end)
end)

describe("a machine that refuses", function()
  after_each(run.cleanup)

  it("descriptors: the spawn is retried with backoff, running jobs are still watched, nothing exits", function()
    local p = run.pilot([[
      local pilot = require "luapilot"
      for i = 1, 30 do pilot.job("w" .. i) { exec = { "sleep", "100" }, restart = "always" } end
      local first = pilot.job "w1"
      pilot.on("SIGUSR2", function()
        for i = 1, 8 do pilot.job("w" .. i):stop() end
        pilot.log.info "made room"
      end)
    ]], { wrap = { "sh", "-c", 'ulimit -n 48; exec "$@"', "sh" } })
    p:wait_for_line "cannot be started now.*too many open files"
    local before = #p:lines "started pid"
    assert.is_true(before > 5 and before < 30)
    p:signal("SIGUSR2")
    p:wait_for_line "made room"
    p:wait_for("others to be started in the room made", function() return #p:lines "started pid" > before end)
    p:signal "SIGTERM"
    assert.equal(0, p:wait())
  end)

  it("processes: the same", function()
    local pids = "/sys/fs/cgroup/pids"
    if not is_root() or not io.open(pids .. "/cgroup.procs") then machine.skip "needs root and a pids cgroup (v1)" end
    local group = ("%s/luapilot-spec-%d"):format(pids, math.floor(run.now() * 1000))
    local enter = 'mkdir GROUP && echo 6 >GROUP/pids.max && echo $$ >GROUP/cgroup.procs && exec "$@"'
    local p = run.pilot([[
      local pilot = require "luapilot"
      for i = 1, 6 do pilot.job("w" .. i) { exec = { "sleep", "100" }, restart = "always" } end
      pilot.on("SIGUSR2", function() pilot.job "w1":stop() pilot.log.info "made room" end)
    ]], { wrap = { "sh", "-c", (enter:gsub("GROUP", group)), "sh" } })
    p:wait_for_line "cannot be started now.*limit on processes"
    local before = #p:lines "started pid"
    p:signal "SIGUSR2"
    p:wait_for_line "made room"
    p:wait_for("another to be started in its room", function() return #p:lines "started pid" > before end)
    p:signal "SIGTERM"
    assert.equal(0, p:wait())
    os.execute("rmdir " .. group)
  end)
end)

describe("a thousand jobs", function()
  after_each(run.cleanup)

  it("that start and crash at once are all started, all restarted and all ended", function()
    local p = run.pilot [[
      local pilot = require "luapilot"
      for i = 1, 1000 do
        pilot.job("w" .. i) { exec = "false", restart = { policy = "always", backoff = 0, limit = 1, within = "10m" } }
      end
    ]]
    assert.equal(1, p:wait())
    assert.equal(2000, #p:lines "started pid")
    assert.equal(1000, #p:lines "not started again")
  end)

  it("that run are ended in order by one SIGTERM", function()
    local p = run.pilot [[
      local pilot = require "luapilot"
      for i = 1, 1000 do pilot.job("w" .. i) { exec = { "sleep", "1000" } } end
    ]]
    p:wait_for("all of them", function() return #p:lines "started pid" >= 1000 end)
    p:signal "SIGTERM"
    assert.equal(0, p:wait())
    assert.equal(1000, #p:lines ": stopped$")
  end)
end)

describe("ten thousand orphans", function()
  after_each(run.cleanup)

  it("under PID 1 leave no zombie, while the jobs go on", function()
    machine.need_pids()
    local p = run.pilot([[
      local pilot = require "luapilot"
      -- each inner shell leaves its child behind and ends first: the child is an orphan
      pilot.job "orphans" {
        exec = { "sh", "-c", "i=0; while [ $i -lt 10000 ]; do (sleep 0 &) ; i=$((i+1)); done; echo made them" },
      }
      pilot.job "count" {
        exec = pilot.sh "while grep -q '^State:.Z' /proc/[0-9]*/status 2>/dev/null; do :; done; echo no zombie is left",
        when = pilot.job "orphans":once "exit_success",
        main = true,
      }
    ]], { wrap = { "unshare", "--pid", "--fork", "--mount-proc", "--" } })
    p:wait_for_line "made them"
    p:wait_for_line("no zombie is left")
    assert.equal(0, p:wait())
  end)
end)

describe("a wall clock that is set back an hour", function()
  after_each(run.cleanup)

  it("stretches no interval, timeout or backoff", function()
    -- the sanitizers must come first in the program, and they do not: there this is shown by the plain build
    if os.getenv "ASAN_OPTIONS" then machine.skip "a preloaded library does not go together with the sanitizers" end
    machine.need "cc"
    local library = run.program({ "sh", "-c", 'exec cc -shared -fPIC -O1 -o wallclock.so "$1"', "sh",
      io.popen("pwd"):read "*l" .. "/spec/support/wallclock.c" })
    assert.equal(0, library:wait(), library:output())
    local p = run.pilot([[
      local pilot = require "luapilot"
      pilot.job "tick" { exec = { "sh", "-c", "echo tick" }, when = pilot.every "100ms" }
      pilot.job "crash" { exec = "false", restart = { policy = "always", backoff = "100ms", max_backoff = "100ms" } }
      pilot.every("50ms", function() pilot.log.info("clock", { hour = math.floor(pilot.now() / 3600) }) end)
    ]], {
      files = { offset = "0" },
      env = { LD_PRELOAD = library:path "wallclock.so", WALLCLOCK = "offset" },
    })
    p:wait_for_line("tick: tick", 3)
    local hour = p:lines("hour=")[1]:match "hour=(%d+)"
    p:write("offset", "-3600")
    p:wait_for("the clock to be an hour back", function()
      local lines = p:lines "hour="
      return lines[#lines]:match "hour=(%d+)" ~= hour
    end)
    local ticks, crashes = #p:lines "tick: tick", #p:lines 'job "crash": started'
    p:wait_for_line("tick: tick", ticks + 5)
    p:wait_for_line('job "crash": started', crashes + 5)
    p:signal "SIGTERM"
    assert.equal(0, p:wait())
  end)
end)
