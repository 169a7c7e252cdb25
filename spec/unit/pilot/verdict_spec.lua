-- Why a job waits in vain, and who had to be killed: the words. Which code they mean is in app_endings_spec.
local boxes = require "support.boxes"
local verdict = require "luapilot.pilot.verdict"

describe("what a job waits for in vain", function()
  after_each(boxes.check)

  -- Of `app`, after a second.
  local function unmet(when, programs)
    local box = boxes.run([[
      local a, b = pilot.job "a" { exec = "a" }, pilot.job "b" { exec = "b" }
      pilot.job "app" { exec = "app", when = ]] .. when .. [[ }
      pilot.every("1h", function() end)
    ]], programs)
    box:advance "1s"
    local found = verdict.unmet(box.app.jobs.app)
    box:stop()
    return found
  end

  local UP = {}

  it("is the first part that has not come, while nothing is over", function()
    assert.same({ why = 'a:once "exit_success" cannot come any more' },
      unmet('pilot.all { pilot.once "startup", a:once "exit_success", b:once "exit_success" }', { a = UP, b = UP }))
  end)

  it("is that of a source that is over, before another one", function()
    assert.same({ why = 'b:once "exit_failed" cannot come any more' },
      unmet('pilot.all { a:once "exit_success", b:once "exit_failed" }', { a = UP, b = { exit = 0 }, app = UP }))
  end)

  it("is the first failure in time, whatever stands first", function()
    local found = unmet('pilot.all { a:once "exit_success", b:once "exit_success" }',
      { a = { exit = 3, after = "200ms" }, b = { exit = 4, after = "100ms" } })
    assert.same({ 'job "b": exited with code 4', 4 }, { found.why, found.code })
  end)

  it("is a failure, also before what may come yet", function()
    local found = unmet('pilot.all { a:once "exit_success", b:once "exit_success" }', { a = { exit = 3 }, b = UP })
    assert.same({ 'job "a": exited with code 3', 3 }, { found.why, found.code })
  end)

  it("is not the failure of a source that has done what is waited for", function()
    local found = unmet('pilot.all { a:once "exit_failed", b:once "exit_success" }', { a = { exit = 3 }, b = UP })
    assert.equal('b:once "exit_success" cannot come any more', found.why)
  end)
end)

describe("jobs that had to be killed", function()
  local function killed(count)
    local runners = {}
    for i = 1, count do runners[i] = { spec = { name = "j" .. i } } end
    return verdict.killed(runners)
  end

  it("are named, ten at most", function()
    assert.equal('the shutdown was cut short: job "j1" had to be killed', killed(1))
    assert.equal('the shutdown was cut short: jobs "j1", "j2" had to be killed', killed(2))
    assert.matches('"j9", "j10" had to be killed$', killed(10))
    assert.matches('"j10", … had to be killed$', killed(11))
    assert.matches('"j10", … had to be killed$', killed(30))
  end)
end)
