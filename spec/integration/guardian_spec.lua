-- The guardian: what happens when the pilot does not end as it should, and what PID 1 owes its container.

local machine = require "support.machine"
local run     = require "support.run"

local AS_PID_1 = { "unshare", "--pid", "--fork", "--mount-proc", "--kill-child" }

local ONE_JOB = [[
  local pilot = require "luapilot"
  pilot.job "app" { exec = { "sh", "-c", "echo ready; exec sleep 1000" } }
]]

-- Stops obediently, and takes note of how it was told to: in a file, its pipe dies with the pilot.
local POLITE = [[
  local pilot = require "luapilot"
  pilot.job "polite" {
    exec = { "sh", "-c", [=[
      trap 'echo INT >told; exit 0' INT
      trap 'echo TERM >told; exit 0' TERM
      echo ready
      while :; do sleep 0.05; done
    ]=] },
    stop_signal = "SIGINT", restart = "always",
  }
]]

local function started(text, options)
  local p = run.pilot(text, options)
  p:wait_for_line "ready"
  return p
end

describe("the guardian", function()
  after_each(run.cleanup)

  describe("passes on", function()
    it("SIGTERM, and the pilot's exit code comes back", function()
      local p = started [[
        local pilot = require "luapilot"
        pilot.job "app" { exec = { "sh", "-c", "echo ready; exec sleep 1000" } }
        pilot.on("shutdown", function() pilot.log.info "shutting down in order" end)
      ]]
      p:signal "SIGTERM"
      assert.equal(0, p:wait())
      assert.equal(1, #p:lines "shutting down in order")
    end)

    it("a signal that the file handles, once", function()
      local p = started [[
        local pilot = require "luapilot"
        pilot.job "app" { exec = { "sh", "-c", "echo ready; exec sleep 1000" } }
        pilot.on("SIGUSR2", function() pilot.log.info "heard USR2" end)
      ]]
      p:signal "SIGUSR2"
      p:wait_for_line "heard USR2"
      p:signal "SIGTERM"
      assert.equal(0, p:wait())
      assert.equal(1, #p:lines "heard USR2")
    end)

    it("the exit code of a main job", function()
      local p = run.pilot [[
        require "luapilot".job "app" { exec = { "sh", "-c", "exit 23" }, main = true }
      ]]
      assert.equal(23, p:wait())
    end)
  end)

  describe("when the pilot is killed", function()
    it("ends its jobs, says so, and fails", function()
      local p = started(ONE_JOB)
      p:signal("SIGKILL", p:pilot())
      assert.equal(137, p:wait())
      assert.equal(1, #p:lines "luapilot: the pilot was killed by SIGKILL; ended 1 process")
    end)

    it("sends each job its own stop signal", function()
      local p = started(POLITE)
      p:signal("SIGKILL", p:pilot())
      assert.equal(137, p:wait())
      assert.equal("INT\n", p:read "told")
    end)

    -- The witness, who has an hour, sees the deaf one die, and goes.
    it("kills what does not stop, after the job's own time", function()
      local p = run.pilot [[
        local pilot = require "luapilot"
        pilot.job "deaf" {
          exec = { "sh", "-c", "trap '' TERM; echo $$ >pid; echo ready; while :; do sleep 0.05; done" },
          stop_timeout = "700ms",
        }
        pilot.job "witness" {
          exec = { "sh", "-c", [=[
            trap 'while kill -0 $(cat pid); do sleep 0.05; done; echo outlived >told; exit 0' TERM
            echo ready
            while :; do sleep 0.05; done
          ]=] }, stop_timeout = "1h",
        }
      ]]
      p:wait_for_line("ready", 2)
      local before = run.now()
      p:signal("SIGKILL", p:pilot())
      assert.equal(137, p:wait())
      assert.is_true(run.now() - before >= 0.7)
      assert.equal("outlived\n", p:read "told")
    end)

    it("hears what they say while they stop, and passes it on to stderr", function()
      local p = started [[
        require "luapilot".job "talker" {
          exec = { "sh", "-c", [=[
            trap 'echo "said on stdout"; echo "said on stderr" >&2; echo lived >told; exit 0' TERM
            echo ready
            while :; do sleep 0.05; done
          ]=] },
        }
      ]]
      p:signal("SIGKILL", p:pilot())
      assert.equal(137, p:wait())
      assert.equal("lived\n", p:read "told")
      assert.matches("said on stdout\n", p:stderr())
      assert.matches("said on stderr\n", p:stderr())
    end)

    -- The pair's shells hear no TERM, and have an hour for what they say to each other.
    it("is not held up by what they say without end, and takes nothing from who reads it", function()
      local p = started [[
        local pilot = require "luapilot"
        pilot.job "flood" {
          exec = { "sh", "-c", "trap 'trap \"\" TERM; yes; sleep 1000' TERM; while :; do sleep 0.05; done" },
          stop_timeout = "700ms",
        }
        pilot.job "pair" {
          exec = { "sh", "-c", [=[
            trap '' TERM
            setsid sh -c 'for i in 1 2 3 4 5 6 7 8; do sleep 0.1; echo more; done' | { sleep 1; cat >told; } &
            trap 'exit 0' TERM
            echo ready
            while :; do sleep 0.05; done
          ]=] }, stop_timeout = "1h",
        }
      ]]
      p:signal("SIGKILL", p:pilot())
      assert.equal(137, p:wait())
      assert.equal(("more\n"):rep(8), p:read "told")
    end)

    it("finds stopped jobs, and those that left their session", function()
      local p = started [[
        local pilot = require "luapilot"
        pilot.job "stopped" { exec = { "sh", "-c", "kill -STOP $$; sleep 1000" } }
        pilot.job "strays" {
          exec = { "sh", "-c", "setsid sleep 1001 & setsid sleep 1002 & echo ready; exec sleep 1000" },
        }
      ]]
      p:wait_for("five processes", function() return #p:processes() >= 6 end)
      p:signal("SIGKILL", p:pilot())
      assert.equal(137, p:wait())
    end)
  end)

  -- However a pilot goes, it takes nobody with it: what is left is stopped as it wants to be.
  describe("when the pilot fails", function()
    local function stops_in_order(p, code, says)
      assert.equal(code, p:wait())
      assert.equal("INT\n", p:read "told")
      assert.equal(1, #p:lines("luapilot: " .. says))
    end

    -- What only the core can do to itself is done to it from inside.
    local function broken(text, job)
      return (job or POLITE) .. ([[
        pilot.on("SIGUSR2", function()
          local object = pilot.job "polite"
          local app = getmetatable(object).hidden[object].app
          %s
          pilot.log.info "broken"
        end)
      ]]):format(text)
    end

    it("by an error of the core that nothing catches, stops each job with its own signal", function()
      local p = started(broken [[
        app.turn = function() error "lost" end
        app.own_error = function() error "lost for good" end
      ]])
      p:signal "SIGUSR2"
      p:wait_for_line "broken"
      p:signal "SIGUSR1" -- the next turn
      stops_in_order(p, 70, "the pilot ended with code 70, and without a shutdown; ended 1 process")
      assert.equal(1, #p:lines "an error inside luapilot, please report it: .*lost for good")
    end)

    it("by an error of the core in the look whether it is over, has stopped its jobs itself, in order", function()
      local p = started(broken [[
        app.quiescence.bury = function() error "a bug" end
        app.dirty = true
      ]])
      p:signal "SIGUSR2"
      assert.equal(70, p:wait())
      assert.equal("INT\n", p:read "told")
      assert.equal(1, #p:lines "an error inside luapilot, please report it: .*a bug")
      assert.equal(1, #p:lines "luapilot: ended code=70")
      assert.same({}, p:lines "the pilot ended with code")
    end)

    it("by an error of the core that is about something else, goes on, and ends with 70 when it is asked to", function()
      local p = started(broken [[ app:command(function() error "a bug" end) ]])
      p:signal "SIGUSR2"
      p:wait_for_line "a bug"
      p:deliver "SIGUSR2" -- it hears
      p:wait_for("another turn", function() return #p:lines "luapilot: broken" == 2 end)
      p:signal "SIGTERM"
      assert.equal(70, p:wait())
      assert.equal("INT\n", p:read "told")
    end)

    it("by having no memory in the core", function()
      local p = started(broken [[ app:command(function() error("not enough memory", 0) end) ]])
      p:signal "SIGUSR2"
      stops_in_order(p, 70, "the pilot ended with code 70, and without a shutdown; ended 1 process")
      assert.equal(1, #p:lines "luapilot: the pilot is out of memory: it cannot go on")
    end)

    it("because the machine has no memory for it", function()
      if os.getenv "ASAN_OPTIONS" then machine.skip "sanitizers need more addresses than that" end
      local p = started(POLITE .. [[
        local kept = {}
        pilot.on("SIGUSR2", function()
          pilot.every("1ms", function() for i = 1, 2000 do kept[#kept + 1] = { tostring(i) .. #kept } end end)
        end)
      ]], { wrap = { "sh", "-c", 'ulimit -v 100000; exec "$@"', "sh" } })
      p:signal "SIGUSR2"
      stops_in_order(p, 70, "the pilot ended with code 70, and without a shutdown; ended 1 process")
    end)

    it("because something in it has called exit", function()
      local p = started(POLITE .. [[
        local ffi = require "ffi"
        ffi.cdef "void _exit(int code);"
        pilot.on("SIGUSR2", function() ffi.C._exit(0) end)
      ]])
      p:signal "SIGUSR2"
      stops_in_order(p, 70, "the pilot ended with code 0, and without a shutdown; ended 1 process")
    end)

    it("by a fault", function()
      if os.getenv "ASAN_OPTIONS" then machine.skip "a fault is a sanitizer's report" end
      local p = started(POLITE)
      p:signal("SIGSEGV", p:pilot())
      stops_in_order(p, 139, "the pilot was killed by SIGSEGV; ended 1 process")
    end)

    it("and what its jobs had said is not lost", function()
      local p = started(broken([[ app:command(function() error("not enough memory", 0) end) ]], [[
        local pilot = require "luapilot"
        pilot.job "polite" {
          exec = { "sh", "-c", [=[
            trap 'exit 0' INT
            echo ready
            printf second
            echo >written
            while :; do sleep 0.05; done
          ]=] },
          stop_signal = "SIGINT",
        }
      ]]))
      p:wait_for("what it says", function() return p:read "written" ~= "" end)
      p:signal "SIGUSR2"
      assert.equal(70, p:wait())
      assert.equal(1, #p:lines "polite: second")
    end)
  end)

  it("ends what escaped a pilot that ended well, and names it", function()
    local p = started [[
      local pilot = require "luapilot"
      pilot.job "app" { exec = { "sh", "-c", [=[
        setsid sleep 1000 &
        until grep -q sleep /proc/$!/comm; do sleep 0.02; done      # it has left the session by then
        echo ready
      ]=] }, main = true }
    ]]
    assert.equal(0, p:wait())
    assert.equal(1, #p:lines "luapilot: ended 1 process that the pilot had left behind: sleep %(%d+%)")
  end)

  it("leaves the jobs to a pilot whose guardian was killed, which ends them in order", function()
    local p = started(POLITE)
    p:signal("SIGKILL", p:guardian())
    assert.equal(137, p:wait())
    p:wait_for("everybody's end", function() return #p:processes() == 0 end)
    assert.equal("INT\n", p:read "told")
  end)

  -- Nobody waits for the hours that these have.
  describe("when a shutdown takes longer than it may,", function()
    local STUCK = [[
      local pilot = require "luapilot"
      pilot.shutdown_timeout "1s"
      pilot.job "deaf" {
        exec = { "sh", "-c", "trap '' TERM; setsid sleep 1000 & echo ready; while :; do sleep 0.05; done" },
        stop_timeout = "1h",
      }
      local ffi = require "ffi"
      ffi.cdef "unsigned sleep(unsigned seconds);"
      local function stick() while true do ffi.C.sleep(1000) end end
    ]]
    local OVERDUE = "^luapilot: the shutdown takes longer than shutdown_timeout allows, and the pilot has not "
      .. "ended it: killing it and what is left$"
    local options = { env = { LUAPILOT_HEARTBEAT = "off" } }

    local function is_cut_short(text, code)
      local p = started(STUCK .. text, options)
      p:signal "SIGUSR2"
      assert.equal(code, p:wait())
      assert.equal(1, #p:lines(OVERDUE))
    end

    it("kills the pilot and all that is left", function()
      is_cut_short([[
        pilot.on("SIGUSR2", function() pilot.shutdown() end)
        pilot.on("shutdown", stick)
      ]], 124)
    end)

    it("with the code that was asked for", function()
      is_cut_short([[
        pilot.on("SIGUSR2", function() pilot.shutdown(7) end)
        pilot.on("shutdown", stick)
      ]], 7)
    end)

    it("with one that was asked for in the shutdown", function()
      is_cut_short([[
        pilot.on("SIGUSR2", function() pilot.shutdown() end)
        pilot.on("shutdown", function()
          pilot.shutdown(8)
          pilot.sleep(0)
          stick()
        end)
      ]], 8)
    end)

    -- The guardian is the last to stop and the first to go on.
    it("but not because all was stopped meanwhile", function()
      local p = started([[
        local pilot = require "luapilot"
        pilot.shutdown_timeout "3s"
        pilot.job "app" { exec = { "sh", "-c", "trap 'exit 0' TERM; echo ready; while :; do sleep 0.02; done" } }
        pilot.on("SIGUSR2", function() pilot.shutdown() end)
        pilot.on("shutdown", function() print "begun" pilot.sleep "200ms" end)
      ]], options)
      local pilot = p:pilot()
      p:signal "SIGUSR2"
      p:wait_for_line "begun"
      p:signal("SIGSTOP", pilot)
      p:signal "SIGSTOP"
      run.pause(4)
      p:signal "SIGCONT"
      p:signal("SIGCONT", pilot)
      assert.equal(0, p:wait())
      assert.same({}, p:lines(OVERDUE))
    end)

    it("also when it is the pilot alone that is stopped", function()
      is_cut_short([[
        ffi.cdef "int raise(int number);"
        pilot.on("SIGUSR2", function() pilot.shutdown() end)
        pilot.on("shutdown", function() ffi.C.raise(19) end)
      ]], 124)
    end)

    it("also for a finaliser that never ends", function()
      is_cut_short([[
        local proxy = newproxy(true)
        getmetatable(proxy).__gc = function() while true do end end
        pilot.on("SIGUSR2", function() pilot.shutdown(proxy and 9) end)
      ]], 9)
    end)
  end)

  -- Longer than all that the processes have: the guardian is the first to go on, and finds all clocks run out.
  describe("does not count a pause of all processes", function()
    -- Ends when the spec lets it, and shows meanwhile that it is alive: nobody may kill it in the time of six ticks.
    local SAVES = [=[
      trap '
        echo begun >>told
        until test -e go; do echo tick >>ticks; sleep 0.05; done
        echo saved >>told
        exit 0
      ' TERM
      echo ready
      while :; do sleep 0.05; done
    ]=]

    local function pause(p, seconds)
      local all = p:processes()
      for i = 1, #all do p:signal("SIGSTOP", all[i].pid) end
      run.pause(seconds)
      p:signal "SIGCONT"
      for i = 1, #all do p:signal("SIGCONT", all[i].pid) end
    end

    local function ticks(p)
      local _, count = p:read "ticks":gsub("tick", "")
      return count
    end

    local function lets_it_save(p)
      p:wait_for("the stop", function() return p:read "told" ~= "" end)
      pause(p, 4)
      local enough = ticks(p) + 6
      p:wait_for("its work", function() return ticks(p) >= enough or p:ended() end)
      p:write("go", "")
      p:wait()
      assert.equal("begun\nsaved\n", p:read "told")
    end

    local function saving(fields)
      return started(("local pilot = require 'luapilot' pilot.job 'app' { exec = { 'sh', '-c', [=[%s]=] }, %s }")
        :format(SAVES, fields))
    end

    it("in a shutdown", function()
      local p = saving "stop_timeout = '1m' } pilot.shutdown_timeout('2500ms') pilot.job 'idle' { exec = 'true'"
      p:signal "SIGTERM"
      lets_it_save(p)
      assert.equal(0, p.code)
      assert.same({}, p:lines "shutdown_timeout")
    end)

    it("when it ends what a dead pilot has left", function()
      local p = saving "stop_timeout = '2500ms'"
      p:signal("SIGKILL", p:pilot())
      lets_it_save(p)
      assert.equal(137, p.code)
    end)
  end)

  -- The guardian acts after six looks without a turn, in real time. A busy machine, or a sanitizer, may take that long
  -- to start a pilot, so what must hold is tried with a slower heartbeat before it counts as broken.
  describe("looks at the heartbeat:", function()
    local function at_some_heartbeat(name, try)
      it(name, function()
        for _, milliseconds in ipairs { 50, 300 } do
          if pcall(try, milliseconds, { env = { LUAPILOT_HEARTBEAT = tostring(milliseconds) } }) then return end
          run.cleanup()
        end
        try(1500, { env = { LUAPILOT_HEARTBEAT = "1500" } })
      end)
    end

    local function sleep(milliseconds) run.pause(milliseconds / 1000) end

    at_some_heartbeat("an idle pilot is left alone", function(look, options)
      local p = started(ONE_JOB, options)
      sleep(15 * look)
      p:signal "SIGTERM"
      assert.equal(0, p:wait())
    end)

    at_some_heartbeat("a pilot that is stuck is aborted, and its jobs ended", function(look, options)
      local p = started([[
        local pilot = require "luapilot"
        pilot.job "app" { exec = { "sh", "-c", "echo ready; exec sleep 1000" } }
        local ffi = require "ffi"
        ffi.cdef "unsigned sleep(unsigned seconds);"
        pilot.on("SIGUSR2", function() while true do ffi.C.sleep(1000) end end)
      ]], options)
      p:signal "SIGUSR2"
      assert.equal(134, p:wait())
      assert.equal(1, #p:lines(("luapilot: the pilot has not turned its loop for %d ms"):format(6 * look)))
      assert.equal(1, #p:lines "luapilot: the pilot was killed by SIGABRT; ended 1 process")
    end)

    it("one that is stuck while it loads its file is, too", function()
      local p = run.pilot("local n = 0 while true do n = n + 1 end", { env = { LUAPILOT_HEARTBEAT = "50" } })
      assert.equal(134, p:wait())
    end)

    at_some_heartbeat("a pilot that is stopped is killed", function(_, options)
      local p = started(ONE_JOB, options)
      p:signal("SIGSTOP", p:pilot())
      assert.equal(137, p:wait())
      assert.equal(1, #p:lines "luapilot: the pilot is stopped %(SIGSTOP%)")
    end)

    at_some_heartbeat("one that is continued in time is left alone", function(look, options)
      local p = started(ONE_JOB, options)
      local pilot = p:pilot()
      for _ = 1, 4 do                                  -- together longer than six looks
        p:signal("SIGSTOP", pilot)
        sleep(2 * look)
        p:signal("SIGCONT", pilot)
        p:wait_for("it to go on", function()
          for _, process in ipairs(p:processes()) do
            if process.pid == pilot then return process.state ~= "T" end
          end
          error "it was killed"
        end)
      end
      p:signal "SIGTERM"
      assert.equal(0, p:wait())
    end)

    -- The guardian is the first to stop and the last to go on: it never sees the pilot alone.
    at_some_heartbeat("a container that is stopped as a whole is left alone", function(look, options)
      local p = started(ONE_JOB, options)
      local all = p:processes()
      table.sort(all, function(a, b) return a.pid < b.pid end)
      for i = 1, #all do p:signal("SIGSTOP", all[i].pid) end
      sleep(10 * look)
      for i = #all, 1, -1 do p:signal("SIGCONT", all[i].pid) end
      p:signal "SIGTERM"
      assert.equal(0, p:wait())
    end)

    it("'off' switches it off, nonsense is refused", function()
      local p = started(ONE_JOB, { env = { LUAPILOT_HEARTBEAT = "off" } })
      p:signal "SIGTERM"
      assert.equal(0, p:wait())
      local q = run.pilot(ONE_JOB, { env = { LUAPILOT_HEARTBEAT = "5s" } })
      assert.equal(64, q:wait())
      assert.equal(1, #q:lines "luapilot: LUAPILOT_HEARTBEAT is '5s'")
    end)
  end)

  describe("reaps orphans", machine.unless(machine.lacking "ps", function()
    local ORPHANS = [[
      local pilot = require "luapilot"
      pilot.job "parent" {
        exec = { "sh", "-c", [=[
          i=0; while [ $i -lt 500 ]; do (setsid sleep 0.1 &) ; i=$((i+1)); done
          echo ready
          exec sleep 1000
        ]=] },
      }
    ]]

    local function none_left(p)
      p:wait_for("the orphans' end", function()
        for _, process in ipairs(p:processes()) do
          if process.command:find "sleep 0.1" then return false end
        end
        return true
      end)
    end

    -- A zombie has no environment, so the mark does not find it: it is looked for by its parent.
    local function zombies_of(pid)
      local list = io.popen("ps -o pid= --ppid " .. pid)
      local number = 0
      for line in list:lines() do
        if line:find "%d" then number = number + 1 end
      end
      list:close()
      return number - 1                                -- the pilot itself
    end

    it("as a subreaper", function()
      local p = started(ORPHANS)
      none_left(p)
      p:wait_for("the zombies' end", function() return zombies_of(p.pid) == 0 end)
      p:signal "SIGTERM"
      assert.equal(0, p:wait())
    end)

    it("as PID 1", function()
      machine.need_pids()
      local p = started(ORPHANS, { wrap = AS_PID_1 })
      none_left(p)
      local guardian = p:guardian()
      p:wait_for("the zombies' end", function() return zombies_of(guardian) == 0 end)
      p:signal("SIGTERM", guardian)
      assert.equal(0, p:wait())
    end)
  end))

  it("as PID 1, ends everybody when the pilot is killed", function()
    machine.need_pids()
    local p = started(POLITE, { wrap = AS_PID_1 })
    p:signal("SIGKILL", p:pilot())
    assert.equal(137, p:wait())
    assert.equal("INT\n", p:read "told")
  end)

  it("does not take an orphan for the pilot, who got its number when that had ended", function()
    machine.need_pids()
    local p = started([[
      require "luapilot".job "app" { main = true, exec = { "sh", "-c", [=[
        echo ready
        setsid sh -c '
          trap "" TERM
          echo there >there
          while kill -0 $0; do sleep 0.02; done
          until
            sh -c "echo \$((\$0 - 1)) >/proc/sys/kernel/ns_last_pid; sh -c \"sleep 0.2; exit 42\" & echo \$! >got" $0
            test $(cat got) = $0
          do :; done
          while kill -0 $0; do sleep 0.02; done
        ' $PPID 2>errors &
        until test -e there; do sleep 0.02; done
        exit 3
      ]=] } }
    ]], { wrap = AS_PID_1 })
    assert.equal(3, p:wait())
    assert.matches("^%d+\n$", p:read "got", p:read "errors")
  end)

  -- The pilot is stopped, so that it does not hear of the end, and one who ignores everything keeps the job alive.
  it("does not take a stranger for a job's main process, who got its number when that had died", function()
    machine.need_pids()
    local p = started([[
      local pilot = require "luapilot"
      pilot.job "app" {
        exec = { "sh", "-c", [=[: the leader
          trap 'exit 0' WINCH
          sh -c 'trap "" TERM USR1 WINCH; echo deaf one is there; read forever <fifo' &
          sh -c ': the heir; echo $$ >pid; echo heir is there; read forever <fifo' &
          wait
        ]=] },
        pidfile = os.getenv "PWD" .. "/pid", stop_mode = "mixed", stop_signal = "SIGUSR1", stop_timeout = "1h",
      }
      pilot.job "stranger" { stop_timeout = "1s", exec = { "sh", "-c", [=[
        trap '' TERM
        echo ready
        read number <wanted
        until
          echo $((number - 1)) >/proc/sys/kernel/ns_last_pid
          sh -c 'trap "echo hit >hit" USR1; echo $$ >began; read forever <fifo; read forever <fifo' &
          test $! = $number
        do kill -KILL $!; done
        wait
      ]=] } }
    ]], { wrap = {
      "sh", "-c", 'mkfifo fifo wanted; exec 3<>fifo; exec env PWD="$(pwd)" "$@"', "sh", unpack(AS_PID_1),
    } })
    local function signal(name, command)
      for _, process in ipairs(p:processes()) do
        if process.command:find("c : the " .. command, 1, true) then p:signal(name, process.pid) end
      end
    end
    p:wait_for_line("is there", 2)
    signal("SIGWINCH", "leader")
    p:wait_for_line "its main process is now"
    p:signal("SIGSTOP", p:pilot())
    signal("SIGKILL", "heir")
    p:write("wanted", p:read "pid")
    p:wait_for("the stranger", function() return p:read "began" == p:read "pid" end)
    p:signal("SIGKILL", p:pilot())
    assert.equal(137, p:wait())
    assert.equal("", p:read "hit")
  end)

  it("as PID 1 with the /proc of another namespace, still tells each job to stop", function()
    machine.need_pids()
    local p = started(POLITE, { wrap = { "unshare", "--pid", "--fork", "--kill-child" } })
    p:signal("SIGKILL", p:pilot())
    assert.equal(137, p:wait())
    assert.equal("INT\n", p:read "told")
  end)

  it("does not pass on a Ctrl-C that the terminal sent to the pilot itself", function()
    machine.need "script"
    local reading, writing = run.pipe()
    local p = started([[
      local pilot = require "luapilot"
      pilot.job "app" { exec = { "sh", "-c", "echo ready; exec sleep 1000" } }
      pilot.job "slow" { exec = { "sh", "-c", "trap 'sleep 0.5; exit 0' TERM; while :; do sleep 0.05; done" } }
    ]], { wrap = { "sh", "-c", 'exec script -qefc "exec $*" /dev/null', "sh" }, stdin = reading })
    run.close(reading)
    run.write(writing, "\3")
    assert.equal(0, p:wait())                           -- a second one would have killed "slow"
    assert.equal(1, #p:lines "SIGINT")
    run.close(writing)
  end)

  describe("starts with", function()
    for _, name in ipairs { "stdin", "stdout", "stderr" } do
      it(name .. " closed, and no file takes its place", function()
        local p = run.pilot([[
          require "luapilot".job "app" {
            exec = { "sh", "-c", "d=/proc/$PPID/fd; readlink /proc/self/fd/0 $d/0 $d/1 $d/2 >where; exit 7" },
            main = true,
          }
        ]], { [name] = false })
        assert.equal(7, p:wait())
        local _, nulls = p:read "where":gsub("/dev/null", "")
        assert.is_true(nulls >= 2)
      end)
    end
  end)

  describe("started with a soft limit of 64 descriptors", function()
    local options = { wrap = { "sh", "-c", 'ulimit -Sn 64; exec "$@"', "sh" } }

    it("runs a hundred jobs", function()
      if not machine.can "test $(ulimit -Hn) -ge 1024" then machine.skip "the hard limit on descriptors is low" end
      local p = run.pilot([[
        local pilot = require "luapilot"
        for i = 1, 100 do pilot.job("job" .. i) { exec = "sleep 1000" } end
      ]], options)
      p:wait_for_line("started", 100)
      assert.same({}, p:lines "too many open files")
      p:signal "SIGTERM"
      assert.equal(0, p:wait())
    end)

    it("leaves that to its programs, and where it is asked for another one, that", function()
      local p = run.pilot([[
        local pilot = require "luapilot"
        pilot.job "app" { exec = pilot.sh "echo soft $(ulimit -Sn)" }
        pilot.job "other" {
          exec = pilot.sh "echo soft $(ulimit -Sn) hard $(ulimit -Hn)", limits = { nofile = { 77, 88 } },
        }
        pilot.spawn(function() print(pilot.exec(pilot.sh "echo exec $(ulimit -Sn)").stdout) end)
      ]], options)
      p:wait_for_line "app: soft 64$"
      p:wait_for_line "other: soft 77 hard 88$"
      p:wait_for_line "exec 64$"
    end)
  end)

  it("notices the end of a pilot though it was started with SIGCHLD ignored", function()
    local wrap = { "env", "--ignore-signal=CHLD" }
    if not machine.can "env --ignore-signal=CHLD true" then machine.skip "env(1) cannot ignore signals" end
    local p = run.pilot([[ require "luapilot".job "app" { exec = { "sh", "-c", "exit 7" }, main = true } ]],
      { wrap = wrap })
    assert.equal(7, p:wait())
  end)

  it("is not started for the other commands", function()
    local p = run.luapilot { "version" }
    assert.equal(0, p:wait())
    assert.truthy(p:stdout():find "%d+%.%d+%.%d+")
  end)
end)
