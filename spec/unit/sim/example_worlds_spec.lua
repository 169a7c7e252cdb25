-- Every example under seeded schedules of all faults that fit: nothing raises but what may, every shutdown keeps its
-- bound, nothing is left behind, and what should run runs again when the faults are over. SEEDS=2000 tries more.

local example = require "support.example"
local sim = require "luapilot.sim"
local worlds = require "support.example_worlds"

local SEEDS = tonumber(os.getenv "SEEDS" or 4)

describe("every example, whatever goes wrong:", function()
  it("none is forgotten", function()
    for _, name in ipairs(example.names()) do assert.is_not_nil(worlds[name], name) end
  end)

  for _, name in ipairs(example.names()) do
    it(name, function()
      local one = assert(worlds[name], name)
      sim.fuzz {
        seeds = SEEDS, setup = one.setup, errors = true, within = "3m",
        recovers = one.recovers and function(_, box) return one.recovers(box) end or nil,
      }
    end)
  end
end)
