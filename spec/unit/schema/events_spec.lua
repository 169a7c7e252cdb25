local events = require "luapilot.schema.events"

local function refused(kind, name)
  local ok, message = events.check(kind, name)
  assert.is_nil(ok)
  return message
end

local NO_STARTED = "a process that exists is not ready yet, and a short one may be gone before anybody "
  .. "hears of it"

describe("events", function()
  it("knows the events of every kind of source", function()
    for kind, names in pairs(events.names) do
      for _, name in ipairs(names) do assert.is_true(events.check(kind, name)) end
    end
    assert.is_true(events.check("pilot", "SIGHUP"))
  end)

  it("says what was meant", function()
    assert.equal('unknown event "exit_sucess" of a job (did you mean "exit_success"?)', refused("job",
      "exit_sucess"))
    assert.equal('unknown event "exitFailed" of a job (did you mean "exit_failed"?)', refused("job",
      "exitFailed"))
    assert.equal('unknown event "change" of a watch (did you mean "changed"?)', refused("watch", "change"))
    assert.equal('unknown event "boot" of pilot (valid: "startup", "shutdown", "enter_maintenance", '
      .. '"exit_maintenance", "error")', refused("pilot", "boot"))
    assert.equal('unknown signal "HUP" (did you mean "SIGHUP"?)', refused("pilot", "HUP"))
    assert.equal('unknown signal "SIGHUB" (did you mean "SIGHUP"?)', refused("pilot", "SIGHUB"))
    assert.equal("SIGKILL never reaches pilot.lua: something below takes it", refused("pilot", "SIGKILL"))
    assert.equal("expected the name of an event, got a function", refused("job", print))
  end)

  it("explains what there is instead", function()
    assert.equal(('there is no "started": %s; use "healthy"'):format(NO_STARTED), refused("job", "started"))
    assert.equal('there is no event "exited": use "exit_success" or "exit_failed" (or "stopped")',
      refused("job", "exited"))
    assert.equal('there is no "stopping" of pilot: use "shutdown"', refused("pilot", "stopping"))
  end)

  it("lists the names of a source", function()
    assert.same(events.names.job, events.list "job")
    assert.equal("startup", events.list("pilot")[1])
    assert.is_true(#events.list "pilot" > #events.names.pilot)
  end)

  it("knows the states of wait_for", function()
    for _, state in ipairs(events.states) do assert.is_true(events.check_state(state)) end
    assert.equal('there is no state "started": use "running" (the process exists) or "healthy" (it is ready)',
      select(2, events.check_state "started"))
    assert.equal('unknown state "helthy" (did you mean "healthy"?)', select(2, events.check_state "helthy"))
    assert.equal("expected the name of a state, got nothing", select(2, events.check_state(nil)))
  end)
end)
