-- Starts that hang. What does not answer is real: a file system that nobody serves (spec/support/dead_disk.lua), and a
-- source of users that never returns (spec/support/silent_users.c).

local ffi = require "ffi"
local dead_disk = require "support.dead_disk"
local machine = require "support.machine"
local run = require "support.run"
local story = require "support.story"

dead_disk.be_apart()

describe("a start that hangs", machine.unless(dead_disk.lacking(), function()
  local disk, path

  before_each(function()
    path = os.tmpname()
    os.remove(path)
    os.execute("mkdir " .. path)
    disk = dead_disk.new(path)
  end)

  after_each(function()
    disk:close()
    os.remove(path)
    run.cleanup()
  end)

  local JOBS = [[
    local pilot = require "luapilot"
    local DEAD = pilot.args[1]
    pilot.every("50ms", function() print "tick" end)
    pilot.job "good" { exec = { "sleep", "1000" } }
  ]]

  local function start(text, options)
    options = options or {}
    options.args = { "--", path }
    return run.pilot(JOBS .. text, options)
  end

  local function ticks_on(p) p:wait_for_line("tick", #p:lines "tick" + 3) end

  it("holds up nobody else, is told after ten seconds, and goes on when it gets an answer", function()
    local p = start [[
      pilot.job "app" { exec = pilot.sh "echo runs in $PWD", cwd = DEAD }
    ]]
    ticks_on(p)
    p:wait_for_line 'job "app": its start hangs in working directory'
    ticks_on(p)
    assert.same({}, p:lines "app: runs")
    disk:answer()
    p:wait_for_line("app: runs in " .. path)
    p:wait_for_line 'job "app": exited with code 0'
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
  end)

  it("of a check or of pilot.exec, too", function()
    local p = start [[
      local app = pilot.job "app" { exec = { "sleep", "1000" },
        health = { exec = DEAD .. "/check", interval = "100ms", timeout = "100ms" } }
      pilot.after("1ms", function()
        local ok, err = pcall(pilot.exec, { "true" }, { cwd = DEAD, timeout = "200ms" })
        print(ok, err)
        local done, why = pcall(pilot.exec, { "true" }, { cwd = DEAD })
        print("then", done, why)
      end)
    ]]
    p:wait_for_line "pilot.exec \"true\": timed out after 200ms: its start hangs"
    ticks_on(p)
    disk:fail()
    p:wait_for_line 'then\tfalse\tpilot.exec: working directory ".*": transport endpoint is not connected'
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
  end)

  it("is given up by a stop, and its program never runs", function()
    local p = start [[
      local app = pilot.job "app" { exec = pilot.sh "echo runs; exec sleep 1000", cwd = DEAD }
      app:on("stopped", function() print "stopped it" end)
      pilot.on("SIGUSR1", function() app:stop() end)
      pilot.on("SIGUSR2", function() print "asked" app:start() end)
    ]]
    ticks_on(p)
    p:deliver "SIGUSR1"
    p:wait_for_line "stopped it"
    p:signal "SIGUSR2"
    p:wait_for_line "asked"
    disk:answer()
    p:wait_for_line "app: runs"
    ticks_on(p)
    assert.equal(1, #p:lines "app: runs")
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
  end)

  it("does not hold up the end of the pilot, and leaves nothing behind", function()
    local p = start [[
      pilot.job "app" { exec = { DEAD .. "/program" } }
      pilot.job "other" { exec = { "true" }, cwd = DEAD, stop_timeout = "1h" }
    ]]
    ticks_on(p)
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
  end)

  it("leaves nothing behind when the pilot is killed", function()
    local p = start [[ pilot.job "app" { exec = { "true" }, cwd = DEAD } ]]
    ticks_on(p)
    p:signal("SIGKILL", p:pilot())
    p:wait()
  end)

  -- By what a job has for its stdout it must not hold up the guardian, who looks for last words there.
  it("leaves nothing behind either where a job has made the dead directory its stdout", function()
    local p = start [[
      pilot.job "app" { env = { DEAD = DEAD }, stop_timeout = "1h", exec = { "luajit", "-e", [=[
        local ffi = require "ffi"
        ffi.cdef "int open(const char *, int, ...); int dup2(int, int); int pause(void);"
        local O_PATH = 0x200000
        assert(ffi.C.dup2(ffi.C.open(os.getenv "DEAD", O_PATH), 1) == 1)
        io.stderr:write "has it\n"
        ffi.C.pause()
      ]=] } }
    ]]
    p:wait_for_line "app: has it"
    p:signal("SIGKILL", p:pilot())
    p:wait()
  end)
end))

local function no_root() return not machine.can "test $(id -u) = 0" and "needs root" end

describe("a start that its user stops", machine.unless(no_root(), function()
  after_each(run.cleanup)

  -- Whoever has taken the user's identity, and is not the program yet, can be stopped by any process of that user. How
  -- many starts get through meanwhile is a matter of luck, and of cores. The user's number is made of ours.
  it("holds up nobody else", function()
    local p = run.pilot([[
      local pilot = require "luapilot"
      local WHO = tonumber(pilot.args[1])
      pilot.every("50ms", function() print "tick" end)
      local stopper = pilot.job "stopper" { user = WHO, group = WHO, exec = { "luajit", "-e", [=[
        local ffi = require "ffi"
        ffi.cdef "int kill(int pid, int signal);"
        local EVERYBODY, SIGSTOP = -1, 19
        print "ready" io.flush()
        while true do ffi.C.kill(EVERYBODY, SIGSTOP) end
      ]=] } }
      local app = pilot.job "app" { user = WHO, group = WHO, exec = { "true" }, when = "manual",
        timeout = "100ms", restart = { policy = "always", backoff = 0 } } -- it may as well be stopped as a program
      pilot.job "boss" { run = function() stopper:next "output" app:start() end }
      pilot.on("SIGUSR1", function() stopper:stop() end)
    ]], { args = { "--", tostring(200000 + ffi.C.getpid()) } })
    p:wait_for_line "stopper: ready"
    p:wait_for_line("tick", #p:lines "tick" + 100)
    p:signal "SIGUSR1"
    p:wait_for_line 'job "stopper": stopped'
    p:wait_for_line('job "app": exited with code 0', #p:lines 'job "app": exited with code 0' + 3)
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
  end)
end))

local function no_compiler()
  return machine.lacking "cc" or not machine.can "unshare --mount true" and "no mount namespaces"
end

describe("a lookup of users that hangs", machine.unless(no_compiler(), function()
  after_each(run.cleanup)

  -- A source of users of its own, in a mount namespace with another nsswitch.conf.
  local WRAP = { "unshare", "--mount", "sh", "-c", [[
    cc -shared -fPIC -O1 -o libnss_silent.so.2 "$0/spec/support/silent_users.c" &&
      mount --bind nsswitch.conf /etc/nsswitch.conf && LD_LIBRARY_PATH=. exec "$@"
  ]], io.popen("pwd"):read "*l" }

  local function start(text)
    return run.pilot([[
      local pilot = require "luapilot"
      pilot.every("50ms", function() print "tick" end)
    ]] .. text, {
      wrap = WRAP, files = { ["nsswitch.conf"] = "passwd: files silent\ngroup: files silent\n" },
    })
  end

  it("holds up nobody else", function()
    local p = start [[
      local app = pilot.job "app" { exec = { "true" }, user = "somebody-far-away" }
      pilot.job "near" { exec = pilot.sh "echo I am $(id -un)", user = "nobody" }
      pilot.on("SIGUSR1", function() app:stop() print "stopped it" end)
    ]]
    p:wait_for_line "near: I am nobody"
    p:wait_for_line 'job "app": its start hangs in the lookup of user "somebody%-far%-away"'
    p:wait_for_line("tick", #p:lines "tick" + 3)
    p:signal "SIGUSR1"
    p:wait_for_line "stopped it"
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
  end)
end))
