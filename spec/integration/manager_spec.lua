-- A service manager outside (systemd, or an engine that passes its socket on): what it hears, and that no job speaks in
-- our place.

local listener = require "support.listener"
local run = require "support.run"

describe("a service manager outside", function()
  local manager, directory

  before_each(function()
    directory = run.directory()
    manager = listener.open("@" .. directory)
  end)

  after_each(function()
    manager:close()
    run.cleanup()
    os.execute("rm -r " .. directory)
  end)

  local function pilot(text, env)
    local all = { NOTIFY_SOCKET = manager.name }
    for name, value in pairs(env or {}) do all[name] = value end
    return run.pilot('local pilot = require "luapilot"\n' .. text, { env = all })
  end

  -- What was said once, in order: "READY STOPPING".
  local function story()
    local words = {}
    for _, message in ipairs(manager:all()) do
      local word = message.text:match "^(%u+)=1\n"
      if word ~= "WATCHDOG" then words[#words + 1] = word end
    end
    return table.concat(words, " ")
  end

  local ONE_JOB = [[ pilot.job "app" { exec = { "sh", "-c", "echo ready; exec sleep 1000" } } ]]

  it("hears of the start and of the shutdown, from the main process", function()
    local p = pilot(ONE_JOB)
    manager:await "READY=1"
    assert.equal("READY=1\nSTATUS=1 job\n", manager:all()[1].text)
    p:signal "SIGTERM"
    assert.equal(0, p:wait())
    assert.equal("READY STOPPING", story())
    for _, message in ipairs(manager:all()) do assert.equal(p.pid, message.pid) end
  end)

  it("hears of the start when the first jobs were started, and waits for nothing that they do", function()
    local p = pilot [[
      local app = pilot.job "app" { exec = "sleep 1000", health = { { exec = "false" } } }
      pilot.job "late" { exec = "sleep 1000", prepare = function() pilot.sleep "1h" end }
      pilot.job "later" { exec = "sleep 1000", when = app:once "healthy" }
    ]]
    manager:await "READY=1"
    assert.equal(1, #p:lines 'job "app": started')
    assert.equal(1, manager:count "STATUS=3 jobs")
  end)

  it("is found by the path of its socket, too", function()
    local other = listener.open(directory .. "/notify")
    finally(function() other:close() end)
    local p = pilot(ONE_JOB, { NOTIFY_SOCKET = other.name })
    other:await "READY=1"
    p:signal "SIGTERM"
    assert.equal(0, p:wait())
    assert.equal(1, other:count "STOPPING=1")
  end)

  it("hears of a pilot that was killed", function()
    local p = pilot(ONE_JOB)
    p:wait_for_line "ready"
    manager:await "READY=1"
    p:signal("SIGKILL", p:pilot())
    assert.equal(137, p:wait())
    assert.equal("READY STOPPING", story())
    assert.equal(1, manager:count "STATUS=the pilot has failed, its jobs are stopped")
  end)

  it("hears nothing of a start that comes to nothing", function()
    local p = pilot [[ pilot.job "app" { exce = "app" } ]]
    assert.equal(2, p:wait())
    assert.equal("STOPPING", story())
  end)

  it("hears it again, when it had no room", function()
    manager:fill()
    local p = pilot(ONE_JOB)
    p:wait_for_line "ready"
    manager:await "READY=1"
    p:signal "SIGTERM"
    assert.equal(0, p:wait())
    assert.equal(1, manager:count "READY=1")
  end)

  it("that is not there is complained of once, and all goes on", function()
    for name, why in pairs {
      ["/nowhere/notify"] = "No such file or directory",
      ["vsock:2:1234"] = "expected a path, or a name that begins with '@'",
      ["/" .. ("x"):rep(200)] = "it is too long for the address of a socket",
    } do
      local p = pilot(ONE_JOB, { NOTIFY_SOCKET = name, WATCHDOG_USEC = "20000" })
      p:wait_for_line "the service manager cannot be told"
      p:wait_for_line "ready"
      p:signal "SIGTERM"
      assert.equal(0, p:wait())
      local told = "luapilot: the service manager cannot be told how we are (NOTIFY_SOCKET is '%s'): %s"
      assert.same({ told:format(name, why) }, p:lines "the service manager")
    end
  end)

  describe("that waits for signs of life", function()
    it("gets them while the pilot sleeps, and while it works", function()
      local p = pilot(ONE_JOB .. [[
        pilot.on("SIGUSR2", function()
          pilot.every("5ms", function() end)
          print "works"
        end)
      ]], { WATCHDOG_USEC = "40000" })
      manager:await("WATCHDOG=1", 5)
      p:signal "SIGUSR2"
      p:wait_for_line "works"
      manager:await("WATCHDOG=1", manager:count "WATCHDOG=1" + 5)
    end)

    -- The guardian's looks take 36 times as long; the one that may still come was earned before.
    it("gets none of a pilot that does not turn its loop", function()
      local p = pilot([[
        local ffi = require "ffi"
        ffi.cdef "unsigned sleep(unsigned seconds);"
        pilot.on("SIGUSR2", function()
          pilot.log.info "stuck"
          while true do ffi.C.sleep(1000) end
        end)
      ]], { WATCHDOG_USEC = "100000", LUAPILOT_HEARTBEAT = "300" })
      manager:await("WATCHDOG=1", 2)
      p:signal "SIGUSR2"
      p:wait_for_line "stuck"
      local before = manager:count "WATCHDOG=1"
      p:wait_for_line "has not turned its loop"
      assert.is_true(manager:count "WATCHDOG=1" <= before + 1)
      assert.equal(134, p:wait())
    end)

    it("of another process gets none", function()
      local p = pilot([[
        pilot.job "app" { exec = "sleep 0.5", main = true }
      ]], { WATCHDOG_USEC = "20000", WATCHDOG_PID = "1" })
      assert.equal(0, p:wait())
      assert.equal(0, manager:count "WATCHDOG=1")
      assert.equal("READY STOPPING", story())
    end)
  end)

  describe("is not spoken to by", function()
    local OUTER = { WATCHDOG_USEC = "600000000", LISTEN_FDS = "1", LISTEN_PID = "1", LISTEN_FDNAMES = "web" }
    local SHOW = [[{ "sh", "-c", "env | grep -E '^(NOTIFY|WATCHDOG|LISTEN)_'; echo end of %s" }]]

    local function found(p, name)
      p:wait_for_line("end of " .. name)
      return #p:lines "NOTIFY_SOCKET=" + #p:lines "WATCHDOG_" + #p:lines "LISTEN_"
    end

    it("a job", function()
      local p = pilot(([[ pilot.job "app" { exec = %s } ]]):format(SHOW:format "it"), OUTER)
      assert.equal(0, found(p, "it"))
    end)

    it("a check", function()
      local p = pilot(([[
        pilot.job "app" {
          exec = "sleep 1000",
          health = { { exec = { "sh", "-c", "(env | grep -E '^(NOTIFY|WATCHDOG|LISTEN)_'; echo end of it) >&2" } } },
        }:on("healthy", function(event) print(event.output) end)
      ]]), OUTER)
      assert.equal(0, found(p, "it"))
    end)

    it("pilot.exec, prepare, and the file itself", function()
      local p = pilot(([[
        pilot.job "app" {
          prepare = function() print(pilot.exec(%s).stdout) end,
          exec = "sleep 1000",
        }
        for _, name in ipairs { "NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS" } do
          if os.getenv(name) then print(name .. "=") end
        end
      ]]):format(SHOW:format "it"), OUTER)
      assert.equal(0, found(p, "it"))
    end)

    it("a job with a check of its own by sd_notify, which has another socket", function()
      local p = pilot(([[
        pilot.job "app" { exec = %s, health = { { notify = true } } }
      ]]):format(SHOW:format "it"), OUTER)
      assert.equal(1, found(p, "it"))
      assert.is_nil(p:output():find(directory, 1, true))
    end)

    it("nobody, but for a job that is given the socket by name", function()
      local p = pilot(([[
        pilot.job "app" { exec = %s, env = { NOTIFY_SOCKET = "/of/my/own" } }
      ]]):format(SHOW:format "it"), OUTER)
      assert.equal(1, found(p, "it"))
      assert.equal(1, #p:lines "NOTIFY_SOCKET=/of/my/own$")
    end)
  end)
end)
