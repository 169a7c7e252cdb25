-- Loops that the JIT compiled cannot be interrupted, so in the program it is off.

local run = require "support.run"

describe("the JIT", function()
  after_each(run.cleanup)

  it("is off, in the file and in tasks", function()
    local p = run.pilot [[
      local pilot = require "luapilot"
      local at_load = jit.status()
      pilot.job "look" { run = function() pilot.log.info(("jit %s %s"):format(at_load, (jit.status()))) end }
    ]]
    assert.equal(0, p:wait())
    assert.equal(1, #p:lines "jit false false")
  end)
end)
