-- A few seconds of what tools/soak does for an hour: a pilot as PID 1 in storms of chaos, and all is well after each.
-- How late its loop is depends on what else the machine does, so that is printed, and nothing here asks for it.

local machine = require "support.machine"
local run = require "support.run"

local PATIENCE = 500 -- seconds; only a failure uses them up

local function at_root(...)
  return run.program({ "sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", os.getenv "PWD", ... },
    { env = { LUAPILOT_BINARY = run.binary } })
end

local function plan(seed)
  local p = at_root("tools/soak", "--plan", "300", "--seed", tostring(seed))
  assert.equal(0, p:wait(), p:output())
  return p:stdout()
end

describe("a soak", function()
  after_each(run.cleanup)

  it("has one plan for each seed", function()
    local first = plan(7)
    assert.equal(300, select(2, first:gsub("\n", "")))
    assert.equal(first, plan(7))
    assert.are_not.equal(first, plan(8))
  end)

  it("finds nothing wrong in a few storms", function()
    local p = run.program { "unshare", "--pid", "--fork", "--mount-proc", "--net", "--ipc", "true" }
    if p:wait() ~= 0 then machine.skip "no namespaces" end
    p = at_root("tools/soak", "--seconds", "8", "--seed", "3")
    p:wait(PATIENCE)
    assert.matches("\n0 faults %(seed 3, ", p:stdout(), 1, false, p:output())
    assert.equal(0, p.code)
  end)
end)
