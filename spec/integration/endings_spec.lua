-- What ended, and with which code, with real processes and real signals. All the cases are in
-- spec/unit/pilot/app_endings_spec.lua.

local run   = require "support.run"
local story = require "support.story"

run.signals.SIGPWR, run.signals["SIGRTMIN+3"] = 30, 37

local function pilot(text, options) return run.pilot('local pilot = require "luapilot"\n' .. text, options) end

-- Ends well when it is told to, but takes a moment. Nobody but a second request kills it.
local SLOW = [[
  pilot.shutdown_timeout "1h"
  pilot.job "slow" {
    exec = pilot.sh "trap 'sleep 0.3; echo >clean; exit 0' TERM; echo slow ready; while :; do sleep 0.02; done",
    stop_timeout = "1h",
  }
]]

local DEAF = [[
  pilot.shutdown_timeout "1h"
  pilot.job "deaf" {
    exec = pilot.sh "trap '' TERM; echo deaf ready; while :; do sleep 0.02; done", stop_timeout = "%s",
  }
]]

describe("the end of a real pilot", function()
  after_each(run.cleanup)

  for name, case in pairs {
    ["a dependency of the main job failed"] = { 7, [[
      local migrate = pilot.job "migrate" { exec = pilot.sh "exit 7" }
      pilot.job "app" { exec = "sleep 1000", when = migrate:once "exit_success", main = true }
      pilot.job "other" { exec = "sleep 1000" }
    ]], 'the main job "app" can never start %(job "migrate": exited with code 7%)' },
    ["it could not be found, at the end of a chain"] = { 127, [[
      local a = pilot.job "a" { exec = "/no/such" }
      local b = pilot.job "b" { exec = "true", when = a:once "exit_success" }
      pilot.job "app" { exec = "true", when = b:once "exit_success", main = true }
    ]], 'the main job "app" can never start %(job "a": cannot run "/no/such": no such file or directory%)' },
    ["nothing failed"] = { 1, [[
      local a = pilot.job "a" { exec = "true" }
      pilot.job "app" { exec = "true", when = a:once "exit_failed", main = true }
    ]], 'the main job "app" can never start %(a:once "exit_failed" cannot come any more%)' },
    ["the main job waits for \"stopped\" of one that ends by itself"] = { 3, [[
      local a = pilot.job "a" { exec = "true" }
      local b = pilot.job "b" { exec = "true", when = a:each "stopped" }
      pilot.job "app" { exec = pilot.sh "exit 3", when = b:once "stopped", main = true }
    ]], 'the main job "app" is complete' },
    ["a sidecar had to be killed"] = { 124, DEAF:format "100ms" .. [[
      pilot.job "app" { exec = "true", main = true, prepare = function()
        pilot.job "deaf":next "output"
      end }
    ]], 'the shutdown was cut short: job "deaf" had to be killed' },
  } do
    it(("has a code: %d when %s"):format(case[1], name), function()
      local p = pilot(case[2])
      story.assert_ends(p, case[1])
      story.assert_lines(p, 1, case[3])
      story.assert_lines(p, 1, ("ended code=%d"):format(case[1]))
    end)
  end

  it("is 124 after a stop in which a job was killed", function()
    local p = pilot(DEAF:format "100ms")
    p:wait_for_line "deaf ready"
    p:signal "SIGTERM"
    story.assert_ends(p, 124)
    story.assert_lines(p, 1, 'the shutdown was cut short: job "deaf" had to be killed')
  end)

  for _, name in ipairs { "SIGWINCH", "SIGUSR1", "SIGPWR", "SIGRTMIN+3" } do
    it("is in order by a signal of pilot.shutdown_signals: " .. name, function()
      local p = pilot(SLOW .. ("pilot.shutdown_signals { %q }"):format(name))
      p:wait_for_line "slow ready"
      p:signal(name)
      story.assert_ends(p, 0)
      story.assert_lines(p, 1, name:gsub("%+", "%%+") .. ": shutting down")
      assert.equal("\n", p:read "clean")
    end)
  end
end)

-- Nobody bets on how fast this machine is: a signal is sent again and again until the end, which must not come earlier
-- than the first that may count.
describe("a second request to end", function()
  after_each(run.cleanup)

  local function asked_until_the_end(p, name, least)
    local begun = run.now()
    p:signal(name)
    run.eventually("the end", function()
      p:signal(name)
      return p:ended()
    end)
    assert.is_true(run.now() - begun >= least, "killed after " .. run.now() - begun)
  end

  it("kills from a second on, by SIGINT from 100 ms on", function()
    for name, least in pairs { SIGTERM = 1, SIGQUIT = 1, SIGINT = 0.1 } do
      local p = pilot(DEAF:format "1h")
      p:wait_for_line "deaf ready"
      asked_until_the_end(p, name, least)
      assert.equal(124, p:wait())
      assert.is_true(#p:lines(name .. ": asked a second time: killing what is left") > 0)
    end
  end)

  it("kills when it comes a second after the first", function()
    local p = pilot(DEAF:format "1h" .. [[
      pilot.on("shutdown", function()
        pilot.sleep "1s"
        print "a second later"
      end)
    ]])
    p:wait_for_line "deaf ready"
    p:signal "SIGQUIT"
    p:wait_for_line "a second later"
    p:signal "SIGTERM"
    story.assert_ends(p, 124)
  end)

  it("is none when it comes at once: what a hook sends, and then the runtime", function()
    local p = pilot(SLOW)
    p:wait_for_line "slow ready"
    p:deliver "SIGQUIT"
    p:deliver "SIGTERM"
    local code = p:wait()
    if #p:lines "again" == 0 then
      assert.equal(0, code)
      return assert.equal("\n", p:read "clean")
    end
    -- this machine took a second for it
    local first, second = p:lines "shutting down"[1], p:lines "again"[1]
    assert.is_true(second:sub(1, 24) >= first:sub(1, 24))
    assert.are_not.equal(first:sub(1, 19), second:sub(1, 19))
  end)

  for name, least in pairs { SIGTERM = 1, SIGWINCH = 1, SIGINT = 0.1 } do
    it("counts in the same way when the pilot is gone: " .. name, function()
      local p = pilot(DEAF:format "1h" .. 'pilot.shutdown_signals { "SIGWINCH" }')
      p:wait_for_line "deaf ready"
      p:signal("SIGKILL", p:pilot())
      p:wait_for("the end of the pilot", function()
        for _, process in ipairs(p:processes()) do
          if process.name == "luapilot" then return false end
        end
        return true
      end)
      asked_until_the_end(p, name, least)
      assert.equal(137, p:wait())
    end)
  end
end)

describe("io.write in a pilot.lua", function()
  after_each(run.cleanup)

  it("does not stop the pilot when nobody reads", function()
    local reading, writing = run.pipe()
    local p = pilot([[
      local count = 0
      pilot.every("5ms", function()
        for _ = 1, 20 do io.write(("x"):rep(20000), "\n") end
        io.stdout:write "more"
        io.stderr:write "and more"
        io.flush()
        count = count + 1
        pilot.fs.write("count", tostring(count))
      end)
    ]], { stdout = writing })
    run.close(writing)
    p:wait_for("ten megabytes", function() return (tonumber(p:read "count") or 0) > 25 end)
    p:signal "SIGTERM"
    assert.equal(0, p:wait())
    run.close(reading)
  end)

  it("comes in whole lines between those of jobs", function()
    local p = pilot [[
      local app = pilot.job "app" { exec = pilot.sh "for i in 1 2 3 4 5; do echo from the job; sleep 0.01; done" }
      pilot.spawn(function()
        for i = 1, 20 do
          io.write("from the ")
          pilot.sleep "2ms"
          io.write("file ", i, "\n")
        end
      end)
    ]]
    story.assert_ends(p, 0)
    story.assert_lines(p, 5, "app: from the job$")
    for i = 1, 20 do story.assert_lines(p, 1, ("luapilot: from the file %d$"):format(i)) end
  end)
end)

-- 400 kB: more than the widest pipe, less than makes the job wait.
describe("the last output, for a reader that is slow,", function()
  after_each(run.cleanup)

  local reading

  local function stalled()
    local writing
    reading, writing = run.pipe()
    local p = pilot([[
      pilot.shutdown_timeout "2500ms"
      pilot.logging { level = "error" }
      pilot.job "app" { stop_timeout = "1m", log = { prefix = false }, exec = pilot.sh [=[
        exec 2>/dev/null # where sh names what is terminated
        trap 'echo >stopping; until test -e go; do sleep 0.02; done; exit 0' TERM
        yes ]] .. ("x"):rep(99) .. [[ | head -n 4000
        echo >written
        while :; do sleep 0.02; done
      ]=] }
    ]], { stdout = writing })
    run.close(writing)
    p:wait_for("its output", function() return p:read "written" ~= "" end)
    p:signal "SIGTERM"
    p:wait_for("the stop", function() return p:read "stopping" ~= "" end)
    return p
  end

  local function pause(p, pids)
    for _, pid in ipairs(pids) do p:signal("SIGSTOP", pid) end
    run.pause(3.5)
    p:write("go", "")
    for _, pid in ipairs(pids) do p:signal("SIGCONT", pid) end
  end

  local function job_has_ended(p)
    p:wait_for("the end of the job", function() return #p:processes() <= 2 end)
  end

  local function comes(p)
    run.pause(0.5) -- he is slow
    local _, lines = run.drain(reading):gsub("x+\n", "")
    run.close(reading)
    assert.equal(0, p:wait())
    assert.equal(4000, lines)
    assert.same({}, p:lines "could not be written")
  end

  it("waits for him also after a pause in the shutdown", function()
    local p = stalled()
    pause(p, { p:guardian(), p:pilot() })
    job_has_ended(p)
    comes(p)
  end)

  it("waits for him also after a pause in that time", function()
    local p = stalled()
    local pids = { p:guardian(), p:pilot() }
    p:write("go", "")
    job_has_ended(p)
    pause(p, pids)
    comes(p)
  end)

  it("is counted once when he does not come", function()
    local p = stalled()
    p:write("go", "")
    assert.equal(0, p:wait())
    local written = #run.drain(reading)
    run.close(reading)
    assert.equal(1, #p:lines "could not be written")
    assert.equal(400000, written + p:stderr():match "(%d+) bytes could not be written to stdout")
  end)
end)
