-- The signals that reach a pilot: each once, whoever sends it and to whom.

local machine = require "support.machine"
local run     = require "support.run"
local story   = require "support.story"

local AS_PID_1 = { "unshare", "--pid", "--fork", "--mount-proc", "--kill-child" }

local IN_TERMINAL = { "sh", "-c", 'exec script -qefc "exec $*" /dev/null', "sh" }

-- Numbers as in signal(7); the helper knows the usual ones.
local NUMBERS = {
  SIGXFSZ = 25, SIGVTALRM = 26, SIGPROF = 27, SIGIO = 29, SIGPWR = 30,
  ["SIGRTMIN+0"] = 34, ["SIGRTMIN+3"] = 37, ["SIGRTMIN+15"] = 49, ["SIGRTMIN+30"] = 64,
}
for name, number in pairs(NUMBERS) do run.signals[name] = number end

local HEARD = {
  "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGURG", "SIGXCPU", "SIGXFSZ", "SIGVTALRM", "SIGPROF",
  "SIGWINCH", "SIGIO", "SIGPWR", "SIGRTMIN+0", "SIGRTMIN+3", "SIGRTMIN+15", "SIGRTMIN+30",
}

local LISTENS = [[
  local pilot = require "luapilot"
  for _, name in ipairs { "]] .. table.concat(HEARD, '", "') .. [[" } do
    pilot.on(name, function(event) print(("heard %s from %s;"):format(event.name, tostring(event.source))) end)
  end
  pilot.job "app" { exec = pilot.sh "echo app ready; exec sleep 1000", stop_timeout = "1h" }
]]

-- Answers a stop in its own time: a second order to end would kill it before.
local SLOW = [[
  local pilot = require "luapilot"
  pilot.job "app" {
    exec = pilot.sh "trap 'sleep 0.5; echo app told >>told; exit 0' TERM; echo app ready; while :; do sleep 0.02; done",
    stop_timeout = "1h",
  }
  pilot.on("shutdown", function() pilot.exec(pilot.sh "echo shutdown >>told") end)
]]

local function started(text, options)
  local p = run.pilot(text, options)
  p:wait_for_line "app ready"
  return p
end

local function hears_each_once(p, guardian)
  for _, name in ipairs(HEARD) do
    p:signal(name, guardian)
    p:wait_for_line("heard " .. name:gsub("%+", "%%+") .. " from luapilot;")
  end
  p:signal("SIGTERM", guardian)
  story.assert_ends(p, 0)
  for _, name in ipairs(HEARD) do story.assert_lines(p, 1, "heard " .. name:gsub("%+", "%%+") .. " ") end
end

local function in_order_once(p, signal)
  story.assert_lines(p, 1, signal .. ": shutting down")
  story.assert_lines(p, 0, "again")
  assert.equal("shutdown\napp told\n", p:read "told")
end

describe("a signal", function()
  after_each(run.cleanup)

  it("is heard once, each of them", function()
    hears_each_once(started(LISTENS))
  end)

  it("is heard once, each of them, by PID 1", function()
    machine.need_pids()
    local p = started(LISTENS, { wrap = AS_PID_1 })
    hears_each_once(p, p:guardian())
  end)

  it("is queued, if it is a real-time one: none is lost, none is doubled", function()
    local p = started(LISTENS)
    for _ = 1, 50 do p:signal "SIGRTMIN+3" end
    p:wait_for_line("heard SIGRTMIN%+3", 50)
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    story.assert_lines(p, 50, "heard SIGRTMIN%+3")
  end)

  it("that comes before the file is loaded is heard when it is", function()
    local p = run.pilot([[
      io.open("loading", "w"):close()
      repeat local go = io.open "go" until go
    ]] .. LISTENS)
    p:wait_for("the load", function() return story.can("test", "-e", p:path "loading") end)
    p:signal "SIGHUP"
    p:write("go", "")
    p:wait_for_line "heard SIGHUP"
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    story.assert_lines(p, 1, "heard SIGHUP")
  end)

  it("that nobody listens for changes nothing", function()
    local p = started [[
      local pilot = require "luapilot"
      pilot.job "app" { exec = pilot.sh "echo app ready; exec sleep 1000" }
      pilot.on("SIGUSR2", function() print "still here" end)
    ]]
    for _, name in ipairs(HEARD) do
      if name ~= "SIGQUIT" and name ~= "SIGUSR2" then p:signal(name) end
    end
    for _, name in ipairs { "SIGPIPE", "SIGCHLD", "SIGCONT", "SIGTTIN", "SIGTTOU", "SIGTSTP" } do p:signal(name) end
    p:signal "SIGUSR2"
    p:wait_for_line "still here"
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    story.assert_lines(p, 1, "started pid=")
  end)

  it("starts jobs, by once and by each", function()
    local p = run.pilot [[
      local pilot = require "luapilot"
      pilot.job "every" { exec = "echo every time", when = pilot.each "SIGHUP" }
      pilot.job "first" { exec = "echo first time", when = pilot.once "SIGHUP" }
      pilot.on("startup", function() print "up" end)
    ]]
    p:wait_for_line "luapilot: up"
    for i = 1, 3 do
      p:signal "SIGHUP"
      p:wait_for_line('job "every": exited with code 0', i)
    end
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    story.assert_lines(p, 3, "every time")
    story.assert_lines(p, 1, "first time")
  end)

  it("goes to a job that a handler passes it on to", function()
    local p = started [[
      local pilot = require "luapilot"
      local app = pilot.job "app" {
        exec = pilot.sh "trap 'echo app told' USR2; echo app ready; while :; do sleep 0.02; done",
      }
      pilot.on("SIGUSR2", function() print("sent: " .. tostring(app:signal "SIGUSR2")) end)
    ]]
    p:signal "SIGUSR2"
    p:wait_for_line "app told"
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    story.assert_lines(p, 1, "sent: true")
  end)
end)

describe("SIGUSR1", function()
  after_each(run.cleanup)

  it("opens the log files anew: rotation by rename", function()
    local p = run.pilot([[
      local pilot = require "luapilot"
      pilot.logging { output = pilot.env "PWD" .. "/pilot.log" }
      pilot.job "app" {
        exec = pilot.sh "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.01; done", log = { file = "app.log" },
      }
      pilot.on("SIGUSR2", function() print "after" end)
      pilot.on("SIGUSR1", function() print "heard USR1" end)
    ]], { wrap = story.PWD })
    p:wait_for("both logs", function() return p:read "pilot.log" ~= "" and p:read "app.log" ~= "" end)
    os.rename(p:path "pilot.log", p:path "pilot.log.1")
    os.rename(p:path "app.log", p:path "app.log.1")
    p:signal "SIGUSR1"
    p:wait_for("the new logs", function() return p:read "pilot.log" ~= "" and p:read "app.log" ~= "" end)
    p:signal "SIGUSR2"
    p:wait_for("the next line", function() return p:read "pilot.log":find "luapilot: after" end)
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    assert.is_nil(p:read "pilot.log.1":find "after")
    assert.is_not_nil(p:read "pilot.log":find "ended code=0")
    local _, heard = (p:read "pilot.log.1" .. p:read "pilot.log"):gsub("luapilot: heard USR1", "")
    assert.equal(1, heard)
    -- nothing is lost, doubled or torn between the two
    local number = 0
    for i in (p:read "app.log.1" .. p:read "app.log"):gmatch "[^\n]*line (%d+)\n" do
      number = number + 1
      assert.equal(number, tonumber(i))
    end
  end)
end)

describe("SIGQUIT", function()
  after_each(run.cleanup)

  it("ends the pilot in order", function()
    local p = started(SLOW)
    p:signal "SIGQUIT"
    story.assert_ends(p, 0)
    in_order_once(p, "SIGQUIT")
  end)

  it("is an event like others when somebody listens", function()
    local p = started(LISTENS)
    p:signal "SIGQUIT"
    p:wait_for_line "heard SIGQUIT"
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    story.assert_lines(p, 1, "SIGTERM: shutting down")
  end)
end)

describe("an end that reaches more than the guardian", function()
  after_each(run.cleanup)

  it("Ctrl-C in a terminal counts once", function()
    machine.need "script"
    local reading, writing = run.pipe()
    local p = started(SLOW, { wrap = IN_TERMINAL, stdin = reading })
    run.close(reading)
    run.write(writing, "\3")
    story.assert_ends(p, 0)
    run.close(writing)
    in_order_once(p, "SIGINT")
  end)

  it("Ctrl-\\ in a terminal counts once", function()
    machine.need "script"
    local reading, writing = run.pipe()
    local p = started(SLOW, { wrap = IN_TERMINAL, stdin = reading })
    run.close(reading)
    run.write(writing, "\28")
    story.assert_ends(p, 0)
    run.close(writing)
    in_order_once(p, "SIGQUIT")
  end)

  it("Ctrl-C in tmux, under a shell with job control, counts once", function()
    machine.need "tmux"
    local p = run.program({ "sh", "-c", [[
      tmux -S "$PWD/s" -f /dev/null new-session -d -x 200 -y 50 'bash --norc --noprofile -i' &&
      tmux -S "$PWD/s" send-keys "$BINARY pilot.lua >log 2>&1; echo \$? >code; tmux -S '$PWD/s' kill-server" Enter
    ]] }, { files = { ["pilot.lua"] = SLOW }, env = { BINARY = run.binary, TMUX = false, HISTFILE = "/dev/null" } })
    assert.equal(0, p:wait())
    p:wait_for("the job", function() return p:read "log":find "app ready" end)
    local press = run.program { "tmux", "-S", p:path "s", "send-keys", "C-c" }
    assert.equal(0, press:wait())
    p:wait_for("the end", function() return p:read "code" ~= "" end)
    p:wait_for("the end of tmux", function() return #p:processes() == 0 end)
    assert.equal("0\n", p:read "code")
    assert.equal("shutdown\napp told\n", p:read "told")
    assert.is_nil(p:read "log":find "again")
  end)

  it("a kill of the whole process group counts once", function()
    for _, signal in ipairs { "SIGINT", "SIGTERM" } do
      local p = started(SLOW)
      p:signal(signal, -p.pid)
      story.assert_ends(p, 0)
      in_order_once(p, signal)
    end
  end)

  it("a hangup of the terminal ends in order", function()
    machine.need "script"
    local reading, writing = run.pipe()
    local p = started(SLOW, { wrap = IN_TERMINAL, stdin = reading })
    run.close(reading)
    p:signal "SIGKILL"                                  -- script, and with it the terminal
    p:wait()
    p:wait_for("everybody's end", function() return #p:processes() == 0 end)
    run.close(writing)
    assert.equal("shutdown\napp told\n", p:read "told")
  end)

  it("the guardian's death (not as PID 1): the pilot ends its jobs in order", function()
    local p = started([[
      local pilot = require "luapilot"
      local function polite(name)
        return pilot.sh(("trap 'sleep 0.1; echo %s >>told; exit 0' TERM; echo %s ready; while :; do sleep 0.02; done")
          :format(name, name))
      end
      local db = pilot.job "db" { exec = polite "db", health = { check = function() return true end } }
      pilot.job "app" { exec = polite "app", when = db:once "healthy" }
    ]])
    p:signal("SIGKILL", p:guardian())
    assert.equal(137, p:wait())
    p:wait_for("everybody's end", function() return #p:processes() == 0 end)
    assert.equal("app\ndb\n", p:read "told")
    story.assert_lines(p, 1, "ended code=0")
  end)
end)

describe("the order to shut down", function()
  after_each(run.cleanup)

  it("is logged with the pid of its sender", function()
    local p = run.pilot [[ require("luapilot").job "app" { exec = { "sleep", "100" } } ]]
    p:wait_for_line "started pid"
    local sender = run.program { "sh", "-c", "echo $$; kill -TERM " .. p.pid }
    sender:wait()
    assert.equal(0, p:wait())
    local pid = sender:stdout():match "%d+"
    assert.equal(1, #p:lines("SIGTERM: shutting down sender=" .. pid .. "$"))
  end)
end)
