-- What the fields of a job do, seen from the programs that it runs.

local machine = require "support.machine"
local run     = require "support.run"
local story   = require "support.story"

local ROOT = run.program({ "sh", "-c", "test $(id -u) = 0" }):wait() == 0
run.cleanup()

-- A pilot with one job, `app`, described by `fields`; it runs to its end.
local function job(fields, options)
  return run.pilot(([[
    local pilot = require "luapilot"
    %s
    tell(pilot.job "app" { log = { prefix = false }, %s })
  ]]):format(story.TELL, fields), options)
end

-- What a shell command says as that job, line by line.
local function says(script, fields, options)
  local p = job(("exec = pilot.sh [==[%s]==], %s"):format(script, fields or ""), options)
  story.assert_ends(p, 0)
  local lines = {}
  for _, line in ipairs(p:lines "") do
    if not line:find "^%S+ luapilot: " then table.insert(lines, line) end
  end
  return table.concat(lines, "\n")
end

-- It never runs, for a reason that the log names.
local function assert_refused(fields, code, pattern, options)
  local p = job(fields, options)
  story.assert_ends(p, code)
  story.assert_lines(p, 1, pattern)
  story.assert_lines(p, 1, ("app exit_failed code=%d reason=spawn signal=nil;"):format(code))
  story.assert_lines(p, 0, "started pid=")
end

describe("a job's", function()
  after_each(run.cleanup)

  describe("user and group:", machine.unless(not ROOT and "only root can become somebody else", function()
    -- A /etc/group of the spec's own, in a mount namespace.
    local GROUPS = {
      wrap = { "unshare", "--mount", "sh", "-c", 'mount --bind group /etc/group && exec "$0" "$@"' },
      files = { group = "root:x:0:\ndaemon:x:1:\nmail:x:8:daemon\nnews:x:9:nobody,daemon\ngames:x:60:nobody\n" },
    }

    it("a user's name gives its group too", function()
      assert.equal("1 1\n1", says("echo $(id -u) $(id -g); id -G", 'user = "daemon"'))
    end)

    it("and its supplementary groups", function()
      machine.need_mounts()
      assert.equal("1 8 9", says("id -G | tr ' ' '\\n' | sort -n | xargs", 'user = "daemon"', GROUPS))
    end)

    it("a number does as well", function()
      assert.equal("1 1", says("echo $(id -u) $(id -g)", "user = 1"))
    end)

    it("a group takes the place of the user's own, by name or number", function()
      assert.equal("1 8", says("echo $(id -u) $(id -g)", 'user = "daemon", group = "mail"'))
      assert.equal("1 8", says("echo $(id -u) $(id -g)", "user = 1, group = 8"))
    end)

    it("a group alone leaves the user", function()
      assert.equal("0 8", says("echo $(id -u) $(id -g)", 'group = "mail"'))
    end)

    it("nobody of the pilot's own groups comes along", function()
      machine.need "setpriv"
      local options = { wrap = { "setpriv", "--groups", "0,4,27" } }
      assert.equal("1", says("id -G", 'user = "daemon"', options))
    end)

    it("an unknown name is an error that names it", function()
      assert_refused('exec = "true", user = "nosuch"', 126, 'job "app": user "nosuch" does not exist')
      assert_refused('exec = "true", group = "nosuch"', 126, 'job "app": group "nosuch" does not exist')
    end)

    it("a number that nobody has is as good as a name, with a group", function()
      assert.equal("12345 54321", says("echo $(id -u) $(id -g)", "user = 12345, group = 54321"))
      assert_refused('exec = "true", user = 12345', 126,
        "user 12345 has no entry in /etc/passwd that would tell its group: give one")
    end)

    it("a pilot without privileges says what it would take", function()
      machine.need "setpriv"
      local without = { wrap = { "setpriv", "--bounding-set=-setuid,-setgid" } }
      local takes = ": operation not permitted %(luapilot must run as root, or have CAP_SETUID and CAP_SETGID%)"
      assert_refused('exec = "true", user = "daemon"', 126, 'the groups of user "daemon" %(uid 1%)' .. takes, without)
      assert_refused('exec = "true", group = "mail"', 126, "cannot take the groups of user .*" .. takes, without)
    end)

    it("its output can be opened by the user: /dev/stdout", function()
      assert.equal("one\ntwo", says("echo one >/dev/stdout; echo two >/dev/stderr", 'user = "daemon"'))
    end)
  end))

  it("umask", function()
    assert.equal("0027\n640", says("umask; rm -f new; : >new; stat -c %a new", 'umask = "027"'))
  end)

  describe("limits:", function()
    it("one value is both; two are the soft and the hard one", function()
      assert.equal("123 123", says("echo $(ulimit -Sn) $(ulimit -Hn)", "limits = { nofile = 123 }"))
      assert.equal("123 456", says("echo $(ulimit -Sn) $(ulimit -Hn)", "limits = { nofile = { 123, 456 } }"))
    end)

    it("unlimited, and sizes", function()
      -- dash counts a stack in kilobytes, a file in blocks of 512 bytes
      assert.equal("unlimited 2048", says("echo $(ulimit -f) $(ulimit -s)", [[
        limits = { fsize = "unlimited", stack = { "2M", "unlimited" } }
      ]]))
    end)

    it("beyond the hard limit of somebody without the privilege: refused, with its name", function()
      machine.need "setpriv"
      local refusal = "nofile.*operation not permitted"
      assert_refused('exec = "true", limits = { nofile = 200 }', 126, refusal, {
        wrap = { "sh", "-c", [[ulimit -n 100 && exec setpriv --bounding-set=-sys_resource "$0" "$@"]] },
      })
    end)

    it("hold for the program: a file stops growing", function()
      local script = "dd if=/dev/zero of=grown bs=1024 count=100 2>/dev/null; stat -c %s grown"
      assert.equal("10240", says(script, 'limits = { fsize = "10K", core = 0 }'))
    end)
  end)

  describe("cwd:", function()
    it("absolute, or from the pilot's own", function()
      assert.equal("/usr", says("pwd", 'cwd = "/usr"'))
      local p = job('prepare = function() pilot.exec "mkdir -p sub" end, exec = pilot.sh "pwd >where", cwd = "sub"')
      story.assert_ends(p, 0)
      assert.equal(p:path "sub\n", p:read "sub/where")
    end)

    it("one that does not exist is an error that names it", function()
      assert_refused('exec = "true", cwd = "/nosuch"', 126,
        'job "app": working directory "/nosuch": no such file or directory')
    end)

    it("one that the user may not enter, too", function()
      if not ROOT then machine.skip "only root can become somebody else" end
      local p = job([[
        prepare = function() pilot.exec "mkdir -m 700 mine" end,
        exec = "true", cwd = "mine", user = "daemon",
      ]])
      story.assert_ends(p, 126)
      story.assert_lines(p, 1, 'job "app": working directory "/%S+/mine" %(written "mine"%): permission denied')
    end)
  end)

  describe("environment:", function()
    it("the pilot's own, and what env adds or changes", function()
      local options = { env = { KEPT = "kept", CHANGED = "old" } }
      assert.equal("kept new 8000 ''", says([[echo "$KEPT $CHANGED $PORT '$EMPTY'"]],
        'env = { CHANGED = "new", PORT = 8000, EMPTY = "" }', options))
    end)

    it("env_file, read at each start; env is stronger", function()
      local p = run.pilot([[
        local pilot = require "luapilot"
        pilot.job "app" {
          exec = pilot.sh [==[echo "$A|$B|$C|$D" >>seen; echo 'A=second' >app.env; test $(wc -l <seen) = 2]==],
          env_file = "app.env", env = { B = "stronger" }, restart = { policy = "on_failure", backoff = "10ms" },
        }
      ]], { files = { ["app.env"] = "# a comment\n\nA=first\nB=weaker\nexport C='c c'\nD=\"d\" e\n" } })
      story.assert_ends(p, 0)
      assert.equal('first|stronger|c c|"d" e\nsecond|stronger||\n', p:read "seen")
    end)

    it("an env_file that cannot be read, or is none, is an error that names it", function()
      assert_refused('exec = "true", env_file = "/nosuch"', 126,
        'job "app": env_file: cannot open "/nosuch": no such file or directory')
      local options = { files = { ["bad.env"] = "A=1\nwhat\n" } }
      assert_refused('exec = "true", env_file = "bad.env"', 126,
        'job "app": env_file: bad.env:2: expected NAME=value, got "what"', options)
    end)

    it("env_clear: only what the file gives", function()
      local names = says("/usr/bin/env | sed 's/=.*//' | sort | xargs",
        'env_clear = true, env = { ONLY = "this" }', { env = { KEPT = "kept" } })
      assert.equal("LUAPILOT_JOB LUAPILOT_PID ONLY PWD", names)     -- PWD is the shell's own
    end)

    it("LUAPILOT_PID is the pilot's pid; LUAPILOT_<JOB>_PID is that of a job that its trigger names", function()
      local p = run.pilot [[
        local pilot = require "luapilot"
        local db = pilot.job "my-db" {
          exec = pilot.sh "echo $$ >db.pid; sleep 1000", health = { exec = "test -s db.pid", interval = "1s" },
        }
        pilot.job "other" { exec = "sleep 1000" }
        pilot.job "app" {
          exec = pilot.sh [==[
            echo $LUAPILOT_PID $LUAPILOT_MY_DB_PID ${LUAPILOT_OTHER_PID-none} >seen
            sed -n 's/^PPid:[^0-9]*//p' /proc/$$/status >>seen
          ]==],
          when = db:once "healthy", main = true,
        }
      ]]
      story.assert_ends(p, 0)
      local pid, db, other, parent = p:read "seen":match "^(%d+) (%d+) (%S+)\n(%d+)\n$"
      assert.equal(parent, pid)
      assert.equal(tonumber(p:read "db.pid"), tonumber(db))
      assert.equal("none", other)
    end)

    it("is not the only thing that is clean: no descriptors, no ignored or blocked signals, stdin is empty", function()
      local open = { wrap = { "sh", "-c", 'exec 7</etc/passwd; exec "$0" "$@"' } }
      assert.equal("0\n1\n2", says("ls /proc/$$/fd", nil, open))
      local masks = says "sed -n '/^Sig[BI]/s/.*	//p' /proc/self/status | xargs"
      masks = masks:gsub("0180000000", "0000000000")   -- 32 and 33, which glibc hides: as posix_spawn left them
      assert.equal(("0"):rep(16) .. " " .. ("0"):rep(16), masks)
      assert.equal("/dev/null", says("readlink /proc/$$/fd/0", nil, { stdin = "/etc/passwd" }))
    end)
  end)

  it("no_new_privs", function()
    local script = "grep NoNewPrivs /proc/self/status | tr -cd 01"
    assert.equal("1", says(script .. "; echo", "no_new_privs = true"))
    assert.equal("0", says(script .. "; echo"))
  end)

  it("oom_score_adj", function()
    assert.equal("321", says("cat /proc/self/oom_score_adj", "oom_score_adj = 321"))
  end)

  describe("cgroup:", function()
    -- Where this process may make a group below its own, in a hierarchy of version 1 each.
    local HERE = [[
      set -e
      for name in memory cpu pids; do
        path=$(sed -n "s/^[0-9]*:$name://p" /proc/self/cgroup)
        mkdir "/sys/fs/cgroup/$name$path/luapilot-spec-$$"
        rmdir "/sys/fs/cgroup/$name$path/luapilot-spec-$$"
      done
    ]]

    local function need_cgroups()
      if not story.can("sh", "-c", HERE) then machine.skip "no writable control groups (version 1) here" end
    end

    local WHERE = [[
      for name in memory cpu pids; do
        echo "/sys/fs/cgroup/$name$(sed -n "s/^[0-9]*:$name://p" /proc/self/cgroup)" >$name.path
      done
    ]]

    it("the limits are in force before the program begins, and the groups go with it", function()
      need_cgroups()
      local p = job('exec = pilot.sh [==[' .. WHERE .. [[
        cat $(cat memory.path)/memory.limit_in_bytes $(cat pids.path)/pids.max >limits
        cat $(cat cpu.path)/cpu.cfs_quota_us $(cat cpu.path)/cpu.cfs_period_us >>limits
      ]==], cgroup = { memory_max = "64M", cpu_max = 0.5, pids_max = 20 }]])
      story.assert_ends(p, 0)
      assert.equal("67108864\n20\n50000\n100000\n", p:read "limits")
      for _, name in ipairs { "memory", "cpu", "pids" } do
        local path = p:read(name .. ".path"):gsub("\n", "")
        assert.is_not_nil(path:find "luapilot%-%d+%-app$")
        assert.is_false(story.can("test", "-e", path))
      end
    end)

    it("pids_max holds", function()
      need_cgroups()
      local p = job [[
        exec = pilot.sh "i=0; while [ $i -lt 10 ]; do sleep 0.2 & i=$((i+1)); done; wait; exit 9",
        cgroup = { pids_max = 5 },
      ]]
      p:wait()
      assert.is_true(p.code ~= 9 and p.code ~= 0, "all ten were forked")
    end)

    it("memory_max holds", function()
      need_cgroups()
      local p = job [[
        exec = { "luajit", "-e", "local t = {} for i = 1, 64 do t[i] = (' '):rep(2^20) .. i end os.exit(9)" },
        cgroup = { memory_max = "16M" },
      ]]
      p:wait()
      assert.is_true(p.code ~= 9 and p.code ~= 0, "64 MB were used")
    end)

    it("where it cannot be had, the job is refused with the reason, not run without", function()
      if not ROOT then machine.skip "only root can mount" end
      machine.need_mounts()
      if not machine.can "grep -q '^cgroup ' /proc/mounts" then machine.skip "no control groups (version 1) here" end
      local function without(change)
        return { wrap = { "unshare", "--mount", "sh", "-c", change .. ' && exec "$0" "$@"' } }
      end
      local fields = 'exec = "true", cgroup = { pids_max = 5 }'
      assert_refused(fields, 126, 'job "app": .*control group', without "umount -l /sys/fs/cgroup/*")
      assert_refused(fields, 126, 'job "app": .*mounted read%-only here, as in most containers',
        without "for each in /sys/fs/cgroup/*; do mount -o remount,ro,bind $each; done")
    end)
  end)

  describe("exec:", function()
    it("a string is split into words, with quotes, and no shell", function()
      local p = job [==[ exec = [[printf '[%s]' one "two  words" 'three'\''s' $HOME '*' "a;b"]], log = "raw" ]==]
      story.assert_ends(p, 2)
      story.assert_lines(p, 1, "shell")
      p = job [==[ exec = [[printf '[%s]\n' one "two  words" 'x"y']] ]==]
      story.assert_ends(p, 0)
      story.assert_order(p, { "^%[one%]$", "^%[two  words%]$", '^%[x"y%]$' })
    end)

    it("a list is passed on as it is", function()
      local p = job [[ exec = { "printf", "[%s]\n", "$HOME", "*", "a b", "", "'" } ]]
      story.assert_ends(p, 0)
      story.assert_order(p, { "^%[%$HOME%]$", "^%[%*%]$", "^%[a b%]$", "^%[%]$", "^%['%]$" })
    end)

    it("a program is looked for on the job's own PATH", function()
      local files = { tool = "#!/bin/sh\necho the tool\n" }
      local here = run.pilot([[
        local pilot = require "luapilot"
        pilot.job "app" {
          prepare = function() pilot.exec "chmod +x tool" end,
          exec = "tool", env = { PATH = pilot.env "PWD" .. ":/usr/bin:/bin" },
        }
      ]], { files = files, wrap = story.PWD })
      story.assert_ends(here, 0)
      story.assert_lines(here, 1, "app: the tool")
      assert_refused('exec = "ls", env = { PATH = "/nosuch" }', 127, 'cannot find program "ls" on PATH %(/nosuch%)')
    end)
  end)

  describe("prepare:", function()
    it("comes before every start, and may wait", function()
      local p = job [[
        prepare = function(job)
          pilot.sleep "10ms"
          pilot.exec(pilot.sh "echo prepare >>seen")
          assert(job.name == "app" and job.state == "preparing" and not job.pid)
        end,
        exec = pilot.sh "echo run >>seen; test $(wc -l <seen) = 6",
        restart = { policy = "on_failure", backoff = "10ms" },
      ]]
      story.assert_ends(p, 0)
      assert.equal(("prepare\nrun\n"):rep(3), p:read "seen")
    end)

    it("a raise is a failed start: restarted as such, with the reason", function()
      local p = job [[
        prepare = function() error "not ready" end,
        exec = pilot.sh "echo run >>seen", restart = { policy = "on_failure", backoff = "10ms", limit = 2 },
      ]]
      story.assert_ends(p, 1)
      story.assert_lines(p, 3, "app exit_failed code=1 reason=prepare signal=nil;")
      story.assert_lines(p, 3, "prepare: %S*pilot.lua:%d+: not ready")
      assert.equal("", p:read "seen")
    end)
  end)

  describe("run:", function()
    it("has the life of a job: success, events, the job as argument", function()
      local p = job [[ run = function(job)
        print("in " .. job.name .. " " .. job.state .. " " .. tostring(job.running))
        pilot.sleep "10ms"
      end ]]
      story.assert_ends(p, 0)
      story.assert_order(p, { "in app running true", "app exit_success code=0 reason=exit", "app stopped" })
    end)

    it("a raise is exit code 1, and is restarted like a program", function()
      local p = run.pilot [[
        local pilot = require "luapilot"
        local runs = 0
        pilot.job "app" {
          run = function() runs = runs + 1 if runs < 3 then error("crash " .. runs) end print "through" end,
          restart = { policy = "on_failure", backoff = "10ms" },
        }
      ]]
      story.assert_ends(p, 0)
      story.assert_order(p, { "crash 1", "exited with code 1", "crash 2", "exited with code 1", "through" })
    end)

    it("is cancelled by a stop, and may clean up", function()
      local p = job [[
        run = function()
          pilot.defer(function(reason) print("cleaning up: " .. reason) end)
          print "at work"
          pilot.sleep "1h"
          print "never"
        end,
      ]]
      p:wait_for_line "at work"
      p:signal "SIGTERM"
      story.assert_ends(p, 0)
      story.assert_order(p, { "app stopping", "cleaning up: shutdown", "app stopped" })
      story.assert_lines(p, 0, "never")
    end)
  end)

  describe("restart:", function()
    local CRASHES = "exec = pilot.sh [==[echo run >>runs; kill -9 $$]==],"

    local function runs(p) return select(2, p:read "runs":gsub("run", "")) end

    it("never, by default", function()
      local p = job(CRASHES)
      story.assert_ends(p, 137)
      assert.equal(1, runs(p))
      story.assert_order(p, { "app exit_failed code=137 reason=signal signal=SIGKILL;", "app stopped" })
    end)

    it("a number counts restarts; between them it is not stopped", function()
      local p = job(CRASHES .. "restart = { policy = 'always', count = 2, backoff = '10ms' }")
      story.assert_ends(p, 137)
      assert.equal(3, runs(p))
      story.assert_lines(p, 3, "app exit_failed")
      story.assert_lines(p, 1, "app stopped")
    end)

    it("on_failure ends with the first success", function()
      local p = job [[
        exec = pilot.sh "echo run >>runs; test $(wc -l <runs) = 3",
        restart = { policy = "on_failure", backoff = "10ms" },
      ]]
      story.assert_ends(p, 0)
      assert.equal(3, runs(p))
    end)

    it("always, also after a success, until it is told to stop", function()
      local p = job [[
        exec = pilot.sh "echo run >>runs", restart = { policy = "always", backoff = "10ms", max_backoff = "20ms" },
      ]]
      p:wait_for("four runs", function() return runs(p) >= 4 end)
      p:signal "SIGTERM"
      story.assert_ends(p, 0)
    end)

    it("without any backoff, it still hears that it must stop", function()
      for _, work in ipairs { "run = function() end", 'exec = "nosuch"', 'exec = "true"' } do
        local p = run.pilot(([[
          local pilot = require "luapilot"
          pilot.job "app" { %s, restart = { policy = "always", backoff = 0 } }
          local times = 0
          pilot.job("app"):on("exit_failed", function() times = times + 1 if times == 3 then print "enough" end end)
          pilot.job("app"):on("exit_success", function() times = times + 1 if times == 3 then print "enough" end end)
        ]]):format(work))
        p:wait_for_line "enough"
        p:signal "SIGTERM"
        story.assert_ends(p, 0)
      end
    end)

    it("waits twice as long each time, up to max_backoff, and a quarter less at most", function()
      local p = job(CRASHES
        .. "restart = { policy = 'always', backoff = '10ms', max_backoff = '40ms', limit = 5, within = '1m' }")
      story.assert_ends(p, 137)
      local delays = {}
      for _, line in ipairs(p:lines "will be started again in") do
        table.insert(delays, tonumber(line:match "again in (%d+)ms") / 1000)
      end
      assert.equal(5, #delays)
      for i, most in ipairs { 0.010, 0.020, 0.040, 0.040, 0.040 } do
        local is_right = delays[i] <= most + 0.0005 and delays[i] >= most * 0.75 - 0.0005
        assert.is_true(is_right, ("delay %d: %g s"):format(i, delays[i]))
      end
      story.assert_lines(p, 1, "not started again: limit: 5 restarts within 1m")
    end)
  end)

  describe("timeout:", function()
    it("kills the whole group, and is a failure of its own", function()
      local p = job [[ exec = pilot.sh "trap '' TERM; sleep 1000 & sleep 1001", timeout = "300ms" ]]
      story.assert_ends(p, 124)
      story.assert_order(p, { "timeout of 300ms: killed", "app exit_failed code=124 reason=timeout signal=SIGKILL;" })
    end)

    it("ends a Lua job, too", function()
      local p = job [[ run = function() pilot.sleep "1h" end, timeout = "100ms" ]]
      story.assert_ends(p, 124)
      story.assert_lines(p, 1, "app exit_failed code=124 reason=timeout")
    end)

    it("is counted anew for every run", function()
      local p = job [[
        exec = pilot.sh "echo run >>runs; test $(wc -l <runs) = 2 || sleep 1000", timeout = "3s",
        restart = { policy = "on_failure", backoff = "10ms" },
      ]]
      story.assert_ends(p, 0)
      story.assert_lines(p, 1, "code=124")
    end)
  end)

  describe("reload:", function()
    -- Deaf, and mortally offended by a HUP, until it has set its trap.
    local SLOW = [[pilot.sh "sleep 0.3; trap 'echo reloaded >>seen' HUP; echo ready; while :; do sleep 0.02; done"]]

    it("comes when the job can take it, and several become one", function()
      local p = run.pilot(([[
        local pilot = require "luapilot"
        local app
        app = pilot.job "app" { exec = %s, reload = "SIGHUP" }
        pilot.job "early" { run = function()
          app:wait_for "running"
          for _ = 1, 5 do assert(app:reload()) end
          print "asked"
        end }
      ]]):format(SLOW))
      p:wait_for("the reload", function() return p:read "seen" ~= "" end)
      p:signal "SIGTERM"
      story.assert_ends(p, 0)
      assert.equal("reloaded\n", p:read "seen")
      story.assert_order(p, { "asked", "app: ready" })
    end)

    it("waits for the health of a job that has checks", function()
      local p = run.pilot [[
        local pilot = require "luapilot"
        local app
        app = pilot.job "app" {
          exec = pilot.sh "trap 'echo reloaded' HUP; echo up; while :; do sleep 0.02; done",
          reload = "SIGHUP", health = { exec = "test -e good", interval = "1s", fall = 1000 },
        }
        pilot.job "early" { run = function()
          app:wait_for "running"
          app:reload()
          pilot.sleep "1300ms"
          print "now"
          pilot.fs.write("good", "")
        end }
      ]]
      p:wait_for_line "app: reloaded"
      story.assert_order(p, { "luapilot: now", 'job "app": is healthy', "app: reloaded" })
      p:signal "SIGTERM"
      story.assert_ends(p, 0)
    end)

    it("may be a function; it is no error when the job does not run", function()
      local p = run.pilot [[
        local pilot = require "luapilot"
        local app
        app = pilot.job "app" {
          exec = "sleep 1000", reload = function(job) print("reloading " .. job.name .. " " .. job.pid) end,
        }
        local off = pilot.job "off" { exec = "sleep 1000", reload = "SIGHUP", when = "manual" }
        pilot.job "early" { run = function()
          app:wait_for "running"
          print(app:reload(), off:reload())
        end }
      ]]
      p:wait_for_line "true\tfalse"
      p:wait_for_line "reloading app %d+"
      p:signal "SIGTERM"
      story.assert_ends(p, 0)
    end)
  end)

  it("main: when it is complete, the pilot ends with its code, and asks the others to stop", function()
    local p = run.pilot(([[
      local pilot = require "luapilot"
      %s
      tell(pilot.job "other" { exec = "sleep 1000", restart = "always" })
      tell(pilot.job "app" { exec = pilot.sh "exit 42", main = true })
    ]]):format(story.TELL))
    story.assert_ends(p, 42)
    story.assert_order(p, { "app exit_failed code=42", "main job", "other stopping", "other stopped" })
  end)

  describe("health:", function()
    it("exec, with the job's own environment and user", function()
      if not ROOT then machine.skip "only root can become somebody else" end
      local p = job [[
        exec = "sleep 1000", user = "daemon", env = { MARK = "mine" },
        health = { exec = pilot.sh "test $(id -un) = daemon && test $MARK = mine", interval = "1s" },
      ]]
      p:wait_for_line "app healthy"
      p:signal "SIGTERM"
      story.assert_ends(p, 0)
    end)

    it("exec: rise and fall, only transitions, and the output of the check", function()
      local p = job [[
        exec = pilot.sh "touch good; sleep 1000",
        health = {
          exec = pilot.sh "echo x >>checks; echo because; test -e good", interval = "1s", rise = 2, fall = 2,
        },
      ]]
      p:wait_for_line "app healthy"
      assert.is_true(#p:read "checks" >= 4)
      run.program { "rm", p:path "good" }
      p:wait_for_line 'job "app": is unhealthy: health %(exec .*%): because'
      local checks = #p:read "checks"
      p:wait_for("more checks", function() return #p:read "checks" >= checks + 4 end)
      p:write("good", "")
      p:wait_for_line("app healthy", 2)
      p:signal "SIGTERM"
      story.assert_ends(p, 0)
      story.assert_order(p, { "app healthy", "app unhealthy", "app healthy" })
      story.assert_lines(p, 1, "app unhealthy")
    end)

    -- All stop and go on, the pilot first: it sees the end of the check's time before the check can do anything.
    it("exec: one that a pause of the whole machine held up has not failed", function()
      local p = job [[
        exec = "sleep 1000", health = {
          exec = pilot.sh "echo x >>checks; while test -e hold; do echo x >>holding; sleep 0.05; done",
          interval = "2s", fall = 1,
        },
      ]]
      p:wait_for_line "app healthy"
      p:write("hold", "")
      p:wait_for("a check that waits", function() return #p:read "holding" > 0 end)
      local all, checks = p:processes(), #p:read "checks"
      table.sort(all, function(a, b) return a.pid < b.pid end)
      for _, each in ipairs(all) do p:signal("SIGSTOP", each.pid) end
      run.program({ "rm", p:path "hold" }):wait()
      run.pause(3)
      for _, each in ipairs(all) do p:signal("SIGCONT", each.pid) end
      p:wait_for("the next check", function() return #p:read "checks" > checks end)
      p:signal "SIGTERM"
      story.assert_ends(p, 0)
      story.assert_lines(p, 0, "unhealthy")
      story.assert_lines(p, 0, "timed out")
    end)

    it("exec: one that hangs is killed at its timeout, and fails", function()
      local p = job [[
        exec = "sleep 1000", health = { exec = pilot.sh "sleep 1001 & sleep 1002", interval = "100ms", fall = 2 },
      ]]
      p:wait_for_line 'job "app": is unhealthy: .*timed out'
      p:signal "SIGTERM"
      story.assert_ends(p, 0)
    end)

    it("tcp", function()
      machine.need "nginx"
      local port = story.free_port()
      local p = job(([[
        exec = { "nginx", "-p", ".", "-c", "n.conf", "-e", "stderr" },
        env = { PATH = pilot.env "PATH" .. ":/usr/sbin" },
        health = { tcp = "127.0.0.1:%d", interval = "1s" }, restart = { policy = "always", backoff = "500ms" },
      ]]):format(port), { files = { ["n.conf"] = ([[
        daemon off; master_process off; pid n.pid; error_log stderr;
        events { worker_connections 16; }
        http { access_log off; server { listen 127.0.0.1:%d; }
          client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s; }
      ]]):format(port) } })
      p:wait_for_line "app healthy"
      p:signal("SIGSTOP", p:named "nginx")             -- the kernel goes on accepting: still healthy
      p:signal("SIGKILL", p:named "nginx")
      p:wait_for_line "app exit_failed code=137"
      p:wait_for_line("app healthy", 2)
      p:signal "SIGTERM"
      story.assert_ends(p, 0)
    end)

    it("check: a Lua function; a raise fails, \"warn\" passes", function()
      local p = run.pilot(([[
        local pilot = require "luapilot"
        %s
        local answers, n = { "warn", false, nil, "raise", true }, 0
        tell(pilot.job "app" {
          exec = "sleep 1000",
          health = { interval = "1s", fall = 3, check = function(job)
            n = n + 1
            pilot.sleep "1ms"
            if n == 4 then error "raised" end
            return answers[math.min(n, 5)], "answer " .. n
          end },
        })
      ]]):format(story.TELL))
      p:wait_for_line("app healthy", 2)
      p:signal "SIGTERM"
      story.assert_ends(p, 0)
      story.assert_order(p, { "app healthy", "is unhealthy: .*raised", "app healthy" })
    end)

    it("restart_after: the job is restarted, whatever its policy", function()
      local p = job [[
        exec = pilot.sh "trap 'echo told; exit 0' TERM; echo run >>runs; while :; do sleep 0.02; done",
        health = { check = function(job) return job.restarts > 0 end, interval = "1s", fall = 1, restart_after = 3 },
      ]]
      p:wait_for_line "app healthy"
      p:wait_for("the second run", function() return p:read "runs" == "run\nrun\n" end)
      p:signal "SIGTERM"
      story.assert_ends(p, 0)
      story.assert_order(p, { "app unhealthy", "failed 3 checks in a row", "^told", "app healthy" })
      assert.equal("run\nrun\n", p:read "runs")
    end)

    it("a list: all must pass", function()
      local p = job [[
        exec = "sleep 1000", health = {
          { exec = "test -e one", interval = "1s", fall = 1 }, { exec = "test -e two", interval = "1s", fall = 1000 },
        },
      ]]
      p:wait_for_line "app unhealthy"
      p:write("one", "")
      p:wait_for_line 'health%[1%] %(exec .*%) passes now'
      story.assert_lines(p, 0, "app healthy")
      p:write("two", "")
      p:wait_for_line "app healthy"
      p:signal "SIGTERM"
      story.assert_ends(p, 0)
    end)

    describe("notify:", function()
      -- sd_notify(3) in a few lines: luajit notify.lua "READY=1" says it; "sleep 300" waits 300 ms.
      local NOTIFY = [[
        local ffi = require "ffi"
        ffi.cdef "int socket(int, int, int); int sendto(int, const char *, size_t, int, const void *, int);"
        ffi.cdef "typedef struct { unsigned short family; char path[108]; } address; int usleep(unsigned);"
        local name = assert(os.getenv "NOTIFY_SOCKET", "no NOTIFY_SOCKET")
        local to = ffi.new("address", 1, (name:gsub("^@", "\0")))
        local fd = ffi.C.socket(1, 2, 0)
        for _, text in ipairs(arg) do
          text = text:gsub("\\n", "\n")
          if text:find "^sleep " then
            ffi.C.usleep(tonumber(text:match "%d+") * 1000)
          else
            assert(ffi.C.sendto(fd, text, #text, 0, to, 2 + #name) == #text, "cannot send")
          end
        end
      ]]

      local function notifying(words, fields)
        return job(([[
          exec = pilot.sh [==[%s; echo sent; exec sleep 1000]==], health = { notify = true, %s },
        ]]):format(words, fields or ""), { files = { ["notify.lua"] = NOTIFY } })
      end

      it("READY=1 makes it healthy, and nothing else does", function()
        local p = notifying [[luajit notify.lua STATUS=loading "sleep 300" "READY=1\nSTATUS=serving"]]
        p:wait_for_line "app healthy"
        p:signal "SIGTERM"
        story.assert_ends(p, 0)
        local q = notifying "luajit notify.lua STATUS=loading WATCHDOG=1"
        q:wait_for_line "^sent"
        q:signal "SIGTERM"
        story.assert_ends(q, 0)
        story.assert_lines(q, 0, "app healthy")
      end)

      it("a missed WATCHDOG=1 makes it unhealthy, the next one healthy again", function()
        local alive = ([[WATCHDOG=1 "sleep 100" ]]):rep(8)
        local p = notifying("luajit notify.lua READY=1 " .. alive .. [["sleep 1200" WATCHDOG=1]],
          'interval = "500ms", fall = 1')
        p:wait_for_line("app healthy", 2)
        story.assert_order(p, { "app healthy", "is unhealthy: .*no WATCHDOG=1 for 500ms", "app healthy" })
        p:signal "SIGTERM"
        story.assert_ends(p, 0)
      end)

      it("systemd-notify works", function()
        machine.need "systemd-notify"
        local p = notifying "systemd-notify --ready"
        p:wait_for_line "app healthy"
        p:signal "SIGTERM"
        story.assert_ends(p, 0)
      end)

      -- A TCP socket for which whoever lets it go last waits for an hour: not the loop, of which the guardian would
      -- think that it hangs.
      it("no descriptor that comes along is waited for", function()
        machine.need "python3"
        local p = job([[exec = { "python3", "pass.py" }, health = { notify = true },]], { files = { ["pass.py"] = [[
import os, signal, socket, struct, time
to = os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1)
sink = socket.create_server(("127.0.0.1", 0))
for text in (b"READY=1", b"STATUS=once more", b"STATUS=the last"):
    tcp = socket.create_connection(sink.getsockname())
    tcp.setblocking(False)
    try:
        while True: tcp.send(b"x" * 65536)
    except BlockingIOError: pass
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
    pilot = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    pilot.connect(to)
    os.kill(os.getppid(), signal.SIGSTOP) # luapilot: it lets go after us
    pilot.sendmsg([text], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", tcp.fileno()))])
    tcp.close()
    os.kill(os.getppid(), signal.SIGCONT)
print("passed", flush=True)
time.sleep(1000)
        ]] } })
        p:wait_for_line "passed"
        p:wait_for_line "app healthy"
        p:signal "SIGTERM"
        story.assert_ends(p, 0)
      end)

      it("a stranger is not believed", function()
        local p = job [[
          exec = pilot.sh [==[
            echo $NOTIFY_SOCKET >socket; until test -e told; do sleep 0.02; done; echo told; exec sleep 1000
          ]==],
          health = { notify = true },
        ]]
        p:wait_for("the socket", function() return p:read "socket":find "\n" end)
        -- it lives until its stdin ends: of a sender that is gone only the user is known, and that is ours
        local reading, writing = run.pipe()
        local stranger = run.program({ "luajit", "notify.lua", "READY=1" }, {
          env = { NOTIFY_SOCKET = (p:read "socket":gsub("\n", "")) }, stdin = reading,
          files = { ["notify.lua"] = NOTIFY .. "\nio.read()" },
        })
        run.close(reading)
        p:wait_for_line "luapilot: .*notify: process %d+ .*is not of the job"
        run.close(writing)
        assert.equal(0, stranger:wait())
        p:write("told", "")
        p:wait_for_line "^told"
        p:signal "SIGTERM"
        story.assert_ends(p, 0)
        story.assert_lines(p, 0, "app healthy")
      end)
    end)
  end)

  describe("log:", function()
    local TALKS = [[exec = pilot.sh "echo out; echo err >&2",]]

    local function talking(log)
      local p = run.pilot(([[
        local pilot = require "luapilot"
        pilot.job "app" { %s log = %s }
      ]]):format(TALKS, log))
      story.assert_ends(p, 0)
      return p
    end

    it("lines: each with a time and the job's name", function()
      local p = talking '"lines"'
      local stamp = "^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ "
      story.assert_lines(p, 1, stamp .. "app: out$")
      story.assert_lines(p, 1, stamp .. "app: err$")
      assert.equal("", p:stderr())
    end)

    it("raw: straight to where the pilot's own stdout and stderr go", function()
      local p = talking '"raw"'
      assert.is_not_nil(("\n" .. p:stdout()):find "\nout\n")
      assert.equal("err\n", p:stderr())
    end)

    it("prefix = false: the bare line", function()
      local p = talking "{ prefix = false }"
      story.assert_lines(p, 1, "^out$")
      story.assert_lines(p, 1, "^err$")
    end)

    it("level: the label of its lines; none of them is hidden", function()
      local p = run.pilot(([[
        local pilot = require "luapilot"
        pilot.logging { level = "error", format = "json" }
        pilot.job "app" { %s log = { level = "warn" } }
        pilot.job "quiet" { %s log = { level = "debug" } }
      ]]):format(TALKS, TALKS))
      story.assert_ends(p, 0)
      story.assert_lines(p, 2, '"level":"warn".*"job":"app"')
      story.assert_lines(p, 2, '"level":"debug".*"job":"quiet"')
    end)

    it("file: instead of the pilot's own output", function()
      local p = talking '{ file = "app.log", prefix = false }'
      assert.is_not_nil(p:read "app.log":find "out\n")
      assert.is_not_nil(p:read "app.log":find "err\n")
      story.assert_lines(p, 0, "out$")
    end)
  end)
end)
