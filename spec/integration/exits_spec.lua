-- What a job's exit means: for the pilot's own exit code, for the rest of its group, and for its restart.

local machine = require "support.machine"
local run     = require "support.run"
local story   = require "support.story"

-- A pilot from the declarations of its jobs; `tell` prints their events.
local function pilot(text, options)
  return run.pilot('local pilot = require "luapilot"\n' .. story.TELL .. text, options)
end

local function assert_code(code, text, options)
  local p = pilot(text, options)
  story.assert_ends(p, code)
  return p
end

describe("the exit code", function()
  after_each(run.cleanup)

  it("is 0 when every job succeeded", function()
    local p = assert_code(0, [[
      tell(pilot.job "one" { exec = "true" }, pilot.job "two" { run = function() end })
    ]])
    story.assert_lines(p, 1, "one exit_success code=0 reason=exit signal=nil;")
    story.assert_lines(p, 1, "two exit_success code=0 reason=exit signal=nil;")
  end)

  it("is that of the job that failed", function()
    local p = assert_code(7, [[ tell(pilot.job "app" { exec = pilot.sh "exit 7" }, pilot.job "ok" { exec = "true" }) ]])
    story.assert_lines(p, 1, "app exit_failed code=7 reason=exit signal=nil;")
  end)

  it("is 128 + n after a signal", function()
    for name, code in pairs { SIGHUP = 129, SIGABRT = 134, SIGKILL = 137, SIGSEGV = 139, SIGTERM = 143 } do
      local p = assert_code(code, ('tell(pilot.job "app" { exec = pilot.sh "kill -%s $$; sleep 1000" })')
        :format(name:gsub("SIG", "")))
      story.assert_lines(p, 1, ("app exit_failed code=%d reason=signal signal=%s;"):format(code, name))
    end
  end)

  it("is 127 for a program that is not there, 126 for one that cannot be run", function()
    local files = { interpreter = "#!/nosuch/interpreter\n", plain = "true\n", empty = "" }
    local function assert_spawn(code, program, message, more)
      local p = assert_code(code, ([[
        tell(pilot.job "app" {
          prepare = function() pilot.exec "chmod 755 interpreter empty" end, exec = { %q }, %s
        })
      ]]):format(program, more or ""), { files = files })
      story.assert_lines(p, 1, ("app exit_failed code=%d reason=spawn signal=nil;"):format(code))
      story.assert_lines(p, 1, 'job "app": ' .. message)
      story.assert_lines(p, 0, "started pid=")
    end
    assert_spawn(127, "nosuch", 'cannot find program "nosuch" on PATH')
    assert_spawn(127, "/nosuch", 'cannot run "/nosuch": no such file or directory')
    assert_spawn(127, "./interpreter", 'cannot run "/%S+/interpreter" %(written "./interpreter"%): .*interpreter.*')
    assert_spawn(127, "./x", 'cannot run "./x" %(in "/usr/lib"%): no such file or directory', 'cwd = "/usr/lib"')
    assert_spawn(127, "./x", 'cannot run "./x" %(in "/[^"]*[^."/]"%): no such file or directory', 'cwd = "."')
    assert_spawn(126, "./plain", 'cannot run "/%S+/plain" %(written "./plain"%): permission denied')
    assert_spawn(126, "/etc", 'cannot run "/etc"')
    assert_spawn(126, "./empty", 'cannot run "/%S+/empty" %(written "./empty"%)')
  end)

  it("is 124 after a timeout, 1 after a raise", function()
    assert_code(124, 'pilot.job "app" { exec = "sleep 1000", timeout = "100ms" }')
    assert_code(1, 'pilot.job "app" { run = function() error "no" end }')
  end)

  it("is that of `main`, whatever the others did", function()
    assert_code(0, [[
      local bad = pilot.job "bad" { exec = "false" }
      pilot.job "app" { exec = "true", main = true, when = bad:once "exit_failed" }
    ]])
    assert_code(139, [[
      pilot.job "app" { exec = pilot.sh "kill -SEGV $$", main = true }
      pilot.job "other" { exec = "sleep 1000" }
    ]])
  end)

  it("is that of pilot.shutdown(code), whatever the jobs did", function()
    assert_code(77, [[
      local app = pilot.job "app" { exec = pilot.sh "exit 3", main = true }
      app:on("exit_failed", function() pilot.shutdown(77) end)
    ]])
    assert_code(0, [[
      local app = pilot.job "app" { exec = pilot.sh "exit 3" }
      pilot.job "other" { exec = "sleep 1000" }
      app:on("exit_failed", function() pilot.shutdown(0) end)
    ]])
  end)

  it("is that of the first failure, in time", function()
    assert_code(4, [[
      local last -- declared first, fails last
      local first = pilot.job "first"
      last = pilot.job "last" { exec = pilot.sh "exit 3", when = first:once "exit_failed" }
      first { exec = pilot.sh "exit 4" }
    ]])
  end)

  it("forgives what a restart repaired, and remembers what it did not", function()
    assert_code(0, [[
      pilot.job "app" {
        exec = pilot.sh "echo >>runs; test $(wc -l <runs) = 2", restart = { policy = "on_failure", backoff = "1ms" },
      }
    ]])
    assert_code(2, [[
      pilot.job "app" {
        exec = pilot.sh "echo >>runs; exit $(wc -l <runs)", restart = { policy = "always", backoff = "1ms", limit = 1 },
      }
    ]])
  end)

  it("is 0 for a stop that was asked for, however the job took it", function()
    local p = pilot [[
      pilot.job "polite" { exec = pilot.sh "trap 'exit 0' TERM; echo ready; while :; do sleep 0.02; done" }
      pilot.job "cross" { exec = pilot.sh "trap 'exit 3' TERM; echo ready; while :; do sleep 0.02; done", main = true }
      pilot.job "plain" { exec = pilot.sh "echo ready; exec sleep 1000" }
    ]]
    p:wait_for_line("ready", 3)
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
  end)

  it("of a pilot that was told to stop is still that of a job that had failed for good", function()
    local p = pilot [[
      tell(pilot.job "bad" { exec = pilot.sh "exit 5" })
      pilot.job "app" { exec = "sleep 1000" }
    ]]
    p:wait_for_line "bad stopped"
    p:signal "SIGTERM"
    story.assert_ends(p, 5)
  end)
end)

describe("the exit of a job", function()
  after_each(run.cleanup)

  it("is noticed at once, though somebody else holds its pipes, whose words still arrive", function()
    local p = pilot [[
      local app = pilot.job "app" {
        exec = pilot.sh [==[
          setsid sh -c ': >away; until test -e noticed; do sleep 0.02; done; echo late' &
          until test -e away; do sleep 0.02; done; exit 3
        ]==],
      }
      app:on("exit_failed", function() print "noticed" pilot.fs.write("noticed", "") end)
      pilot.job "other" { exec = "sleep 1000" }
    ]]
    p:wait_for_line "app: late"
    p:signal "SIGTERM"
    story.assert_ends(p, 3)
    story.assert_order(p, { "luapilot: noticed", "app: late" })
  end)

  it("tells everything by `exit`, and by the event", function()
    local p = assert_code(0, [[
      local app = pilot.job "app" { exec = pilot.sh "kill -9 $$" }
      app:on("exit_failed", function(event)
        print(("event %s %d %s %s"):format(event.source.name, event.code, event.signal, event.reason))
        app:wait_for "stopped"
        print(("field %d %s %s %s"):format(app.exit.code, app.exit.signal, app.exit.reason, tostring(app.pid)))
        pilot.shutdown(0)
      end)
      pilot.job "other" { exec = "sleep 1000" }
    ]])
    story.assert_lines(p, 1, "event app 137 SIGKILL signal")
    story.assert_lines(p, 1, "field 137 SIGKILL signal nil")
  end)

  -- A shell that starts a child in its own group and leaves as soon as that is ready.
  local function leaves(child, code)
    return ([[pilot.sh [==[
      sh -c '%s; echo ready >ready; while :; do sleep 0.02; done' &
      until test -s ready; do sleep 0.02; done
      exit %d
    ]==] ]]):format(child, code)
  end

  it("ends the rest of its group: TERM, and it is over when they are", function()
    local p = assert_code(6, ([[
      tell(pilot.job "app" { exec = %s })
    ]]):format(leaves([[trap "echo told >told; sleep 0.1; echo gone; exit" TERM]], 6)))
    assert.equal("told\n", p:read "told")
    story.assert_order(p, { "app exit_failed code=6", "app: gone", "app stopped" })
  end)

  it("kills those of its group that do not hear TERM, after stop_timeout", function()
    local p = assert_code(6, ([[
      tell(pilot.job "app" { exec = %s, stop_timeout = "3s" })
    ]]):format(leaves([[trap "echo told >>told" TERM]], 6)))
    story.assert_order(p, { "app exit_failed code=6", "app stopped" })
    assert.is_not_nil(p:read "told":find "told")
  end)

  it("uses the job's own stop signal for that", function()
    local p = assert_code(0, ([[
      pilot.job "app" { exec = %s, stop_signal = "SIGUSR1" }
    ]]):format(leaves([[trap "echo USR1 >told; exit" USR1; trap "echo TERM >told; exit" TERM]], 0)))
    assert.equal("USR1\n", p:read "told")
  end)

  describe("is followed by a restart only when the group is gone:", function()
    -- Everybody in the group holds the lock by an inherited descriptor; a second one of the job would see it.
    local LOCKED = [[pilot.sh [==[
      exec 9>lock
      flock -n 9 || { echo two at a time >>doubles; exit 1; }
      echo run >>runs
      rm -f deaf
      sh -c 'trap "" TERM; :>deaf; sleep 1000 & while :; do sleep 0.02; done' &
      until test -e deaf; do sleep 0.02; done
      %s
    ]==] ]]

    local function runs(p) return select(2, p:read "runs":gsub("run", "")) end

    local function ends(p)
      p:signal "SIGTERM"
      local code = p:wait()
      assert.is_true(code == 124 or code == 0, "it ended with " .. code) -- killed, unless it was between two runs
    end

    it("after a crash", function()
      local p = pilot(([[
        tell(pilot.job "app" {
          exec = %s, restart = { policy = "always", backoff = "1ms", max_backoff = "1ms" }, stop_timeout = "150ms",
        })
      ]]):format(LOCKED:format "kill -9 $$"))
      p:wait_for("four runs", function() return runs(p) >= 4 end)
      ends(p)
      assert.equal("", p:read "doubles")
    end)

    it("by hand, by the trigger, after a timeout", function()
      local p = pilot(([[
        local starter = pilot.each("SIGUSR2")
        local app = pilot.job "app" {
          exec = %s, stop_timeout = "150ms", timeout = "1s", when = pilot.any { starter, pilot.once "SIGHUP" },
          restart = { policy = "always", backoff = "1ms" },
        }
        pilot.on("startup", function() print "up" end)
        pilot.on("SIGWINCH", function()
          app:restart()
          print "restarted"
        end)
      ]]):format(LOCKED:format "wait"))
      p:wait_for_line "luapilot: up"
      p:signal "SIGUSR2"
      p:wait_for("the first run", function() return runs(p) >= 1 end)
      p:signal "SIGWINCH"
      p:wait_for_line "restarted"
      for _ = 1, 5 do p:signal "SIGUSR2" p:signal "SIGWINCH" end
      p:wait_for("the timeout", function() return #p:lines "ran longer than its timeout" > 0 end)
      local before = runs(p)
      p:wait_for("another run", function() return runs(p) > before end)
      ends(p)
      assert.equal("", p:read "doubles")
    end)
  end)
end)

describe("the kernel's kill for lack of memory", function()
  local group
  after_each(function()
    run.cleanup()
    if group then os.execute("rmdir " .. group) end
    group = nil
  end)

  it("is a reason of its own in the job's own control group", function()
    local p = pilot [[
      tell(pilot.job "app" { exec = "tail /dev/zero", cgroup = { memory_max = "16M" } })
    ]]
    p:wait()
    local refused = p:lines "control group"[1]
    if refused then machine.skip(refused) end
    assert.equal(137, p.code)
    story.assert_lines(p, 1, "app exit_failed code=137 reason=oom signal=SIGKILL;")
    story.assert_lines(p, 1, 'job "app": was killed for lack of memory %(memory_max = 16M%)$')
  end)

  -- A group around the pilot, of cgroup v1 or v2.
  local AROUND = [[
    base=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup) max=memory.max
    if ! grep -qw memory "$base/cgroup.subtree_control" 2>/dev/null; then
      base=/sys/fs/cgroup/memory$(sed -n 's/^[0-9]*:memory://p' /proc/self/cgroup) max=memory.limit_in_bytes
    fi
    mkdir "$base/luapilot-spec-$$" && echo 100000000 >"$base/luapilot-spec-$$/$max" &&
      echo 0 >"$base/luapilot-spec-$$/cgroup.procs" && echo "$base/luapilot-spec-$$" >group
    exec "$0" "$@"
  ]]

  it("is a guess in the container's", function()
    local p = pilot([[
      tell(pilot.job "app" { exec = "tail /dev/zero", when = "manual" })
      tell(pilot.job "other" { exec = pilot.sh "kill -KILL $$" })
      pilot.job "boss" { run = function()
        if not io.open "group" then return pilot.shutdown() end
        pilot.job "other":wait_for "stopped"
        pilot.job "app":start()
        pilot.job "app":wait_for "stopped"
        pilot.shutdown()
      end }
    ]], { wrap = { "sh", "-c", AROUND } })
    p:wait()
    group = p:read "group":match "%S+"
    if not group then machine.skip("no control group around the pilot: " .. p:stderr()) end
    story.assert_lines(p, 1, 'job "other": was killed by SIGKILL$')
    story.assert_lines(p, 1, 'job "app": was killed by SIGKILL, probably for lack of memory$')
    story.assert_lines(p, 1, "app exit_failed code=137 reason=signal signal=SIGKILL;")
  end)
end)
