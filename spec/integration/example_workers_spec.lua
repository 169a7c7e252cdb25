-- The workers example with a real master: no worker is cut off.

local example = require "support.example"
local machine = require "support.machine"
local run     = require "support.run"
local story   = require "support.story"

describe("the workers example", function()
  local directory
  before_each(function()
    directory = run.directory()
  end)
  after_each(function()
    run.cleanup()
    os.execute("rm -r " .. directory)
  end)

  it("lets each worker finish what it is doing", function()
    machine.need "python3"
    local p = example.run("workers", { PIECE = "0.3", PIDFILE = directory .. "/pid" })
    p:wait_for_line("worker %d begins", 2)
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    story.assert_lines(p, 0, "cut off")
    story.assert_order(p, {
      'job "app": stopping', "master: no new work", "worker %d has finished", "master: all have finished",
      'job "app": stopped', "no work was lost",
    })
    assert.equal(#p:lines "worker %d begins", #p:lines "worker %d has finished")
  end)

  it("lets those of a new master finish, too, when it is stopped while that one takes over", function()
    machine.need "python3"
    local pidfile = directory .. "/pid"
    local function named()
      local file = io.open(pidfile)
      local pid = file and file:read "*n"
      if file then file:close() end
      return pid
    end
    local p = example.run("workers", { PIECE = "1", PIDFILE = pidfile })
    p:wait_for_line("worker %d begins", 2)
    local first = named()
    p:wait_for("the reload, which a young process is spared", function()
      p:signal "SIGHUP"
      return p:lines "reloading"[1]
    end)
    p:wait_for("a new master", function()
      local pid = named()
      return pid and pid ~= first
    end)
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    story.assert_lines(p, 0, "cut off")
    assert.equal(#p:lines "worker %d begins", #p:lines "worker %d has finished")
    assert.equal(#p:lines "master: no new work", #p:lines "master: all have finished")
    story.assert_order(p, { "master: all have finished", "master: all have finished", 'job "app": stopped',
      "no work was lost" })
  end)

  it("goes on in a new master when it is reloaded", function()
    machine.need "python3"
    local p = example.run("workers", { PIECE = "0.3", PIDFILE = directory .. "/pid" })
    p:wait_for_line("worker %d begins", 2)
    p:wait_for("the reload, which a young process is spared", function()
      p:signal "SIGHUP"
      return p:lines "reloading"[1]
    end)
    p:wait_for_line "its main process is now"
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    story.assert_lines(p, 1, "started pid=")
    story.assert_lines(p, 0, "cut off")
    assert.equal(#p:lines "worker %d begins", #p:lines "worker %d has finished")
  end)
end)
