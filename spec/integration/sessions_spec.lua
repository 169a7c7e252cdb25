-- What a job leaves when its leader has ended: in process groups of their own, in sessions of their own.

local machine = require "support.machine"
local run     = require "support.run"
local story   = require "support.story"

local FOREIGN_PROC = { "unshare", "--pid", "--fork", "--kill-child" }

-- For the files: apart(trap, words) is a shell that starts another one in a process group of its own, which sets the
-- trap, says "app ready", and does that; then it waits, or does `more`.
local JOBS = [[
  local pilot = require "luapilot"
  local function apart(trap, words, more)
    local inner = ("trap '' HUP; %s; echo app ready; %s"):format(trap, words)
    return { "bash", "-c", ('set -m; bash -c "$INNER" & %s'):format(more or "wait") }, { INNER = inner }
  end
  local SLEEP = "exec sleep 1000"
  local LOOP = "while :; do sleep 0.02; done"
  local DEAF = "trap 'echo child told' TERM"
]] .. story.TELL

local function pilot(text, options) return run.pilot(JOBS .. text, options) end

local function names(p)
  local list = {}
  for _, process in ipairs(p:processes()) do list[#list + 1] = process.name end
  table.sort(list)
  return table.concat(list, " ")
end

describe("of a job's session, in process groups of their own,", function()
  after_each(run.cleanup)

  local function assert_nobody(p) assert.equal("luapilot luapilot-guard", names(p)) end

  it("nobody is left when it has stopped", function()
    local p = pilot [[
      local exec, env = apart(":", SLEEP)
      local app = pilot.job "app" { exec = exec, env = env, stop_timeout = "1h" }
      tell(app)
      pilot.job "boss" { run = function() app:next "output" app:stop() print "boss: done" end }
      pilot.job "other" { exec = "sleep 1000" }
      app:on("output", function() end)
    ]]
    p:wait_for_line "boss: done"
    assert.equal("luapilot luapilot-guard sleep", names(p))
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    story.assert_lines(p, 0, "had left behind")
  end)

  it("nobody is left when it is started again", function()
    local p = pilot [[
      local exec, env = apart(":", SLEEP, "sleep 0.1; exit 3")
      pilot.job "app" { exec = exec, env = env, restart = { policy = "always", backoff = 0, count = 3 },
        stop_timeout = "1h" }
      pilot.job "boss" { when = "manual", exec = "true" }
    ]]
    p:wait_for_line("started pid", 4)
    p:wait_for_line "not started again"
    assert_nobody(p)
    p:signal "SIGTERM"
    story.assert_ends(p, 3)
  end)

  it("the deaf hear the signal once, and are killed when stop_timeout is over", function()
    local p = pilot [[
      local exec, env = apart(DEAF, LOOP)
      local app = pilot.job "app" { exec = exec, env = env, stop_timeout = "2s" }
      tell(app)
    ]]
    p:wait_for_line "app ready"
    p:signal "SIGTERM"
    story.assert_ends(p, 124)
    story.assert_order(p, { "app stopping", "child told", "did not end within 2s", "app stopped" })
    story.assert_lines(p, 1, "child told")
    story.assert_lines(p, 0, "had left behind")
  end)

  it("whoever loses his parent on the way is told, too", function()
    local p = pilot [[
      local exec, env = apart(":", "set -m; bash -c \"$SECOND\" & wait")
      env.SECOND = "trap 'echo second told; exit' TERM; echo second ready; while :; do sleep 0.02; done"
      tell(pilot.job "app" { exec = exec, env = env, stop_timeout = "1h" })
    ]]
    p:wait_for_line "second ready"
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    story.assert_lines(p, 1, "second told")
    story.assert_lines(p, 0, "had left behind")
  end)

  it("those who are stopped (SIGSTOP) hear it, too", function()
    local p = pilot [[
      local exec, env = apart("trap 'echo child told; exit' TERM", "kill -STOP $$; " .. LOOP, LOOP)
      tell(pilot.job "app" { exec = exec, env = env, stop_timeout = "1h" })
    ]]
    p:wait_for("the stop", function()
      for _, process in ipairs(p:processes()) do
        if process.state == "T" then return true end
      end
    end)
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    story.assert_lines(p, 1, "child told")
  end)

  it("nobody outlives a timeout", function()
    local p = pilot [[
      local exec, env = apart(DEAF, LOOP)
      tell(pilot.job "app" { exec = exec, env = env, timeout = "2s" })
      pilot.job "other" { exec = "sleep 1000" }
    ]]
    p:wait_for_line "app stopped"
    assert.equal("luapilot luapilot-guard sleep", names(p))
    p:signal "SIGTERM"
    story.assert_ends(p, 124)
  end)

  it("nobody is left of pilot.exec", function()
    local p = pilot [[
      pilot.job "boss" { run = function()
        local exec, env = apart(":", "exec sleep 1000 >/dev/null 2>&1", "exit 0")
        pilot.exec(exec, { env = env })
        print "boss: done"
        pilot.sleep "1h"
      end }
    ]]
    p:wait_for_line "boss: done"
    p:wait_for("the end of what it left", function() return names(p) == "luapilot luapilot-guard" end)
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
  end)

  it("they end with the pilot where they cannot be seen, which is told once", function()
    machine.need_pids()
    local p = pilot([[
      pilot.logging { level = "debug" }
      local exec, env = apart(":", SLEEP, "sleep 0.1; exit 0")
      tell(pilot.job "app" { exec = exec, env = env, restart = { policy = "always", backoff = 0, count = 2 } })
      pilot.job "other" { exec = "sleep 1000" }
    ]], { wrap = FOREIGN_PROC })
    p:wait_for_line "app stopped"
    story.assert_lines(p, 1, "cannot be seen here")
    p:signal("SIGTERM", p:guardian())
    story.assert_ends(p, 0)
  end)
end)

-- A shell of another name, in a session of its own, which says that it is there.
local STRAY = [[
  cp "$(command -v bash)" './a) (b'
  setsid './a) (b' -c 'trap "" HUP; echo stray ready; while :; do sleep 0.05; done' &
]]

-- The first run leaves a daemon that listens as soon as it is an orphan; a later one listens nowhere.
local DAEMON = [[
import os, socket, sys, time
if os.path.exists("daemon"):
    time.sleep(1000)
reading, writing = os.pipe()
if os.fork():
    os.close(writing)
    os.read(reading, 1)
    os._exit(0)
parent = os.getppid()
os.setsid()
open("daemon", "w").close()
os.close(writing)
while os.getppid() == parent:
    time.sleep(0.01)
listener = socket.socket()
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen()
time.sleep(1000)
]]

-- Who opens its environment waits for a writer, and there is none.
local SILENT = [[
  mkfifo silent
  setsid bash -c 'trap "" HUP; > ready; while :; do sleep 0.05; done' & stray=$!
  until [ -e ready ]; do sleep 0.01; done
  mount --bind silent /proc/$stray/environ; :
]]

describe("who leaves a job's session", function()
  after_each(run.cleanup)

  it("lives on, and is named when the job is over, however strange the name and large the environment", function()
    local p = pilot([[
      local app = pilot.job "app" { exec = { "bash", "-c", 'export LARGE=$(head -c 90000 /dev/zero | tr "\\0" x)\n' ..
        os.getenv "STRAY" .. "exec sleep 1000" } }
      pilot.job "boss" { run = function() app:next "output" app:stop() print "boss: done" end }
      pilot.job "other" { exec = "sleep 1000" }
    ]], { env = { STRAY = STRAY } })
    p:wait_for_line "boss: done"
    story.assert_lines(p, 1, 'job "app": left behind: a%) %(b %(%d+%): what calls setsid')
    assert.is_truthy(names(p):find("a) (b", 1, true))
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    story.assert_lines(p, 1, "job .*: left behind: ")
  end)

  -- So it is with a process whose memory is locked while a file system does not answer: its owner can see to that.
  it("holds up nobody where its environment cannot be read, and is known by its leader's name", function()
    if not machine.can "unshare --mount true" then machine.skip "no mount namespaces" end
    local p = pilot([[
      pilot.every("50ms", function() print "tick" end)
      pilot.job "app" { exec = { "bash", "-c", os.getenv "SILENT" } }
    ]], { wrap = { "unshare", "--mount" }, env = { SILENT = SILENT } })
    p:wait_for_line 'job "app": exited with code 0'
    p:wait_for_line("tick", #p:lines "tick" + 3)
    p:wait_for_line 'job "app": perhaps left behind: bash %(%d+%): what calls setsid'
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
  end)

  it("is ended with the job in a control group", function()
    local p = pilot([[
      pilot.job "app" { cgroup = {}, stop_timeout = "1h", exec = { "bash", "-c", os.getenv "STRAY" .. "wait" } }
    ]], { env = { STRAY = STRAY } })
    local line = p:wait_for("the start", function()
      return p:lines "stray ready"[1] or p:lines "control group"[1]
    end)
    if line:find "control group" then machine.skip(line) end
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    story.assert_lines(p, 0, "left behind")
  end)

  it("is no check that a stop has ended while it was at work", function()
    local p = pilot [[
      for i = 1, 8 do
        pilot.job("app-" .. i) { exec = "sleep 1000",
          health = { interval = "1h",
            exec = pilot.sh("sleep 1000 & sleep 1000 & echo up >checking-" .. i .. "; wait") } }
      end
    ]]
    p:wait_for("the checks", function()
      for i = 1, 8 do
        if p:read("checking-" .. i) == "" then return false end
      end
      return true
    end)
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    story.assert_lines(p, 0, "left behind")
  end)

  it("by putting itself into the background, is told so without a restart, too", function()
    machine.need "python3"
    local p = pilot(([[
      pilot.job "lives" { exec = { "python3", "daemon.py", "%d" } }
      pilot.job "ends" { exec = { "python3", "-c", "import os, time; os.fork() or time.sleep(1000)" } }
      pilot.job "side" { exec = "sleep 1000" }
    ]]):format(story.free_port()), { files = { ["daemon.py"] = DAEMON } })
    p:wait_for_line 'job "lives": stopped'
    p:wait_for_line 'job "ends": stopped'
    local background = ": has put itself into the background: pid %d+ %(python3%) "
    story.assert_lines(p, 1, 'job "lives"' .. background .. "lives on%. Run it in the foreground")
    story.assert_lines(p, 1, 'job "ends"' .. background .. "was ended, .*%. Run it in the foreground")
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
  end)

  it("by putting itself into the background, is told so once, and its port makes no later run healthy", function()
    machine.need "python3"
    local port = story.free_port()
    local p = pilot(([[
      pilot.job "app" { exec = { "python3", "daemon.py", "%d" }, restart = { backoff = 0 },
        health = { tcp = "127.0.0.1:%d", interval = "50ms" } }
    ]]):format(port, port), { files = { ["daemon.py"] = DAEMON } })
    p:wait_for_line 'job "app": is unhealthy: .*: pid %d+ %(python3%), which an earlier run left in the background'
    story.assert_lines(p, 1, "has put itself into the background: pid %d+ %(python3%) lives on")
    story.assert_lines(p, 2, "started pid=")
    story.assert_lines(p, 0, "is healthy")
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
  end)
end)

describe("with stop_mode = \"mixed\"", function()
  after_each(run.cleanup)

  local WORKERS = [[
    local function master(deaf)
      return { "bash", "-c", "trap 'echo app told; touch go' TERM\n" ..
        "bash -c 'until test -e go; do sleep 0.02; done; echo worker finished' & worker=$!\n" ..
        (deaf and "bash -c 'trap \"\" TERM; echo deaf ready; while :; do sleep 0.02; done' &\n" or "") ..
        "echo app ready; while kill -0 $worker 2>/dev/null; do wait $worker; done; exit 0" }
    end
  ]]

  it("workers finish what they do, and the rest is killed when the leader has ended", function()
    local p = pilot(WORKERS .. [[
      tell(pilot.job "app" { exec = master(true), stop_mode = "mixed", stop_timeout = "1h" })
    ]])
    p:wait_for_line("ready", 2)
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    story.assert_order(p, { "app stopping", "app told", "worker finished" })
  end)

  it("the guardian does the same when the pilot is gone", function()
    local p = pilot(WORKERS .. [[
      pilot.job "app" { exec = master(true), stop_mode = "mixed", stop_timeout = "1h" }
    ]])
    p:wait_for_line("ready", 2)
    p:signal("SIGKILL", p:pilot())
    assert.equal(137, (p:wait()))
    story.assert_order(p, { "app told", "worker finished" })
  end)
end)

describe("a program that hands over to another one", function()
  after_each(run.cleanup)

  -- USR2 starts a second one beside it, WINCH ends it well, HUP with 7. $SAY says who it is.
  local MASTER = [[
    trap 'bash -c "$MASTER" &' USR2; trap 'exit 0' WINCH; trap 'exit 7' HUP; trap 'exit 0' TERM
    eval "$SAY"; echo "master $$ ready"
    while :; do sleep 0.02; done
  ]]

  -- The pids of the masters so far.
  local function masters(p, count)
    p:wait_for_line("master %d+ ready", count)
    local pids = {}
    for _, line in ipairs(p:lines "master %d+ ready") do pids[#pids + 1] = tonumber(line:match "master (%d+)") end
    return pids
  end

  local function hands_over(say, fields)
    local p = pilot(([[
      local app = pilot.job "app" { exec = { "bash", "-c", os.getenv "MASTER" }, %s
        env = { MASTER = os.getenv "MASTER", SAY = os.getenv "SAY" }, stop_timeout = "1h", main = true }
      tell(app)
      pilot.on("SIGUSR2", function() print("the pid is " .. app.pid) end)
    ]]):format(fields), { env = { MASTER = MASTER, SAY = say }, wrap = story.PWD })
    local old = masters(p, 1)[1]
    for number = 2, 3 do -- twice
      p:signal("SIGUSR2", old)
      local new = masters(p, number)[number]
      p:signal("SIGWINCH", old)
      p:wait_for_line("its main process is now " .. new)
      old = new
    end
    story.assert_lines(p, 0, "app exit_")
    p:signal "SIGUSR2"
    p:wait_for_line("the pid is " .. old)
    return p, old
  end

  it("goes on in it, by its pidfile, until that one ends: with its exit code, as the guardian has it", function()
    local p, last = hands_over("echo $$ >pid", 'pidfile = os.getenv "PWD" .. "/pid",')
    p:signal("SIGHUP", last)
    story.assert_ends(p, 7)
    story.assert_lines(p, 1, "app exit_failed code=7 reason=exit signal=nil;")
    story.assert_lines(p, 1, "started pid=")
  end)

  it("is told to stop with all of it, and nobody follows then", function()
    local p = hands_over("echo $$ >pid", 'pidfile = os.getenv "PWD" .. "/pid",')
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    story.assert_order(p, { "app stopping", "app stopped" })
    story.assert_lines(p, 2, "its main process is now")
  end)

  -- On TERM a master says so, and ends when the file is there that is called as its pid.
  it("is told to stop after the old one with stop_mode = \"mixed\", and ends when it is done", function()
    local p = pilot([[
      tell(pilot.job "app" { exec = { "bash", "-c", os.getenv "MASTER" }, stop_mode = "mixed", stop_timeout = "1h",
        env = { MASTER = os.getenv "MASTER" }, pidfile = os.getenv "PWD" .. "/pid" })
    ]], { env = { MASTER = [[
      trap 'bash -c "$MASTER" &' USR2; trap 'told=1; echo "master $$ told"' TERM
      echo $$ >pid; echo "master $$ ready"
      until test "$told" -a -e $$; do sleep 0.02; done; echo "master $$ done"
    ]] }, wrap = story.PWD })
    local old = masters(p, 1)[1]
    p:signal("SIGUSR2", old)
    local new = masters(p, 2)[2]
    p:signal "SIGTERM"
    p:wait_for_line(("master %d told"):format(old))
    p:write(old, "")
    p:wait_for_line(("master %d told"):format(new))
    p:write(new, "")
    story.assert_ends(p, 0)
    story.assert_order(p, { "app stopping", ("master %d done"):format(old), "its main process is now " .. new,
      ("master %d done"):format(new), "app stopped" })
  end)

  it("says why nobody follows", function()
    local p = pilot([[
      pilot.job "app" { exec = pilot.sh "sleep 1000 & echo 999999999 >pid", stop_timeout = "1h",
        pidfile = os.getenv "PWD" .. "/pid" }
    ]], { wrap = story.PWD })
    story.assert_ends(p, 0)
    story.assert_lines(p, 1, 'job "app": nobody follows the main process: pidfile /.*/pid names 999999999: there is')
  end)

  it("by a pidfile that is written when the old one is gone", function()
    local p, last = hands_over([[
      if test "$OLD"; then
        rm -f pid; (while grep -q "^PPid:.$OLD$" /proc/$$/status; do sleep 0.02; done; sleep 0.1; echo $$ >pid) &
      else
        echo $$ >pid
      fi
      export OLD=$$
    ]], 'pidfile = os.getenv "PWD" .. "/pid",')
    p:signal("SIGKILL", last)
    story.assert_ends(p, 137)
    story.assert_lines(p, 1, "app exit_failed code=137 reason=signal signal=SIGKILL;")
  end)

  it("by sd_notify's MAINPID", function()
    local p, last = hands_over([[luajit - $$ <<'END'
      local ffi = require "ffi"
      ffi.cdef "int socket(int, int, int); long sendto(int, const void *, size_t, int, const void *, unsigned);"
      local name = "\1\0\0" .. os.getenv("NOTIFY_SOCKET"):sub(2)
      local message = "READY=1\nMAINPID=" .. arg[1]
      assert(ffi.C.sendto(ffi.C.socket(1, 2, 0), message, #message, 0, name, #name) == #message)
END
]], "health = { notify = true },")
    p:signal("SIGHUP", last)
    story.assert_ends(p, 7)
  end)
end)
