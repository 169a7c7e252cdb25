-- The fuzz harnesses (spec/fuzz/) with what they found before: each input once, with their oracles.

local run = require "support.run"

describe("what fuzzing found is found no more:", function()
  after_each(run.cleanup)

  for name, least in pairs { output = 20, notify = 10, parse = 30, load = 20, values = 10 } do
    it(name, function()
      local build = os.getenv "LUAPILOT_BUILD" or "build"
      local p = run.program { "sh", "-c", 'cd "$1" && exec "$2" "$3"', "sh", os.getenv "PWD",
        build .. "/replay/" .. name, "spec/fuzz/corpus/" .. name }
      assert.equal(0, p:wait(), p:stderr())
      local count = tonumber(p:stderr():match "(%d+) inputs replayed\n$")
      assert.is_true(count >= least, "no corpus")
    end)
  end
end)
