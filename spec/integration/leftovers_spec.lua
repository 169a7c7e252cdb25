-- What jobs, checks and pilot.exec leave running when they have ended: it is ended, too, and told.

local run = require "support.run"
local story = require "support.story"

local LEFT_TWO = "left 2 processes running, which were ended"

describe("what is left running", function()
  after_each(run.cleanup)

  local function sleepers(p)
    local count = 0
    for _, process in ipairs(p:processes()) do
      if process.command:find "sleep 10%d%d" then count = count + 1 end
    end
    return count
  end

  it("by a check is ended, and said once while it goes on", function()
    local p = run.pilot [[
      local pilot = require "luapilot"
      pilot.job "app" {
        exec = "sleep 2000",
        health = { exec = pilot.sh "sleep 1001 & sleep 1002 & echo >>runs", interval = "100ms" },
      }
    ]]
    p:wait_for("four runs", function() return #p:read "runs" >= 4 end)
    assert.same({ 'job "app": health ' .. LEFT_TWO .. ": a check must end what it starts" },
      { p:lines "left"[1]:match 'job "app".*' })
    assert.equal(1, #p:lines "left")
    p:signal "SIGTERM"
    assert.equal(0, p:wait())
    assert.equal(0, sleepers(p))
  end)

  it("in a process group of its own, too", function()
    local p = run.pilot [[
      local pilot = require "luapilot"
      pilot.job "app" {
        exec = "sleep 2000", health = { exec = pilot.sh "set -m; sleep 1001 & exit 0", interval = "1h" },
      }
    ]]
    p:wait_for_line "health left a process running, which was ended"
    p:wait_for("its end", function() return sleepers(p) == 0 end)
  end)

  it("by a check that took too long is no news", function()
    local p = run.pilot [[
      local pilot = require "luapilot"
      pilot.job "app" {
        exec = "sleep 2000",
        health = { exec = pilot.sh "sleep 1001 & sleep 1002", interval = "200ms", timeout = "100ms", fall = 2 },
      }
    ]]
    p:wait_for_line "is unhealthy: .*: timed out after 100ms"
    assert.same({}, p:lines "running, which")
  end)

  it("by a job that ends by itself is ended, and said; a SIGKILL, too", function()
    local p = run.pilot [[
      local pilot = require "luapilot"
      pilot.job "app" {
        exec = pilot.sh "sleep 1001 & (trap '' TERM; exec sleep 1002) & until grep -q sleep /proc/$!/comm; do :; done",
        stop_timeout = "100ms",
      }
    ]]
    assert.equal(0, p:wait())
    story.assert_order(p, {
      "exited with code 0", "what it left running did not end within .*: killed", LEFT_TWO, 'job "app": stopped',
    })
    assert.same({}, p:lines "background")
    assert.equal(0, sleepers(p))
  end)

  it("by a job's leader in a stop is said where the rest had to be ended, not where all were told to end", function()
    for mode, count in pairs { mixed = 1, group = 0 } do
      local p = run.pilot(([[
        local pilot = require "luapilot"
        pilot.job "app" {
          exec = { "bash", "-c", "trap 'exit 0' TERM; sleep 1001 & sleep 1002 & echo ready; while :; do wait; done" },
          stop_mode = %q,
        }
      ]]):format(mode))
      p:wait_for_line "app: ready"
      p:signal "SIGTERM"
      assert.equal(0, p:wait())
      assert.equal(count, #p:lines(LEFT_TWO))
    end
  end)

  it("by a shell that waits for its children is nothing", function()
    local p = run.pilot [[
      local pilot = require "luapilot"
      for i, text in ipairs {
        "echo a | cat", "true & true & wait", "yes | head -1", "(echo a; echo b) | (cat; echo c)",
      } do
        for _, shell in ipairs { "sh", "bash" } do
          pilot.job(shell .. i) {
            exec = { shell, "-c", text }, restart = { policy = "always", backoff = 0, count = 5 },
          }
        end
      end
    ]]
    assert.equal(0, p:wait())
    assert.equal(48, #p:lines "exited with code 0")
    assert.same({}, p:lines "running, which")
  end)

  it("by pilot.exec is ended, and said once of each program", function()
    local p = run.pilot [[
      local pilot = require "luapilot"
      pilot.spawn(function()
        for i = 1, 3 do print(pilot.exec(pilot.sh "sleep 1001 & sleep 1002 & echo said").stdout) end
      end)
    ]]
    assert.equal(0, p:wait())
    assert.equal(3, #p:lines "said")
    assert.equal(1, #p:lines('pilot.exec "/bin/sh": it ' .. LEFT_TWO))
    assert.equal(1, #p:lines(LEFT_TWO))
  end)
end)
