-- Pilots thrown together by a seed, in a world that treats them badly: the laws hold (spec/support/laws.lua).
--
--   LUAPILOT_FUZZ=20000 busted spec/unit/pilot/app_fuzz_spec.lua         so many seeds
--   LUAPILOT_FUZZ_FIRST=7 LUAPILOT_FUZZ=1 busted …                  one of them

local ordeal = require "support.ordeal"

local SEEDS = tonumber(os.getenv "LUAPILOT_FUZZ") or 140
local FIRST = tonumber(os.getenv "LUAPILOT_FUZZ_FIRST") or 1000
local BATCH = 35

describe("whatever happens", function()
  for from = FIRST, FIRST + SEEDS - 1, BATCH do
    local to = math.min(from + BATCH, FIRST + SEEDS) - 1
    it(("the laws hold with the seeds %d to %d"):format(from, to), function()
      for seed = from, to do
        local trouble = ordeal.run(seed)
        if trouble then error(trouble, 0) end
      end
    end)
  end

  it("the same seed has the same history, another one has not", function()
    local seen = {}
    for seed = FIRST, FIRST + 4 do
      local history = ordeal.history(seed)
      assert.equal(history, ordeal.history(seed))
      history = history:gsub("seed %d+", "")
      assert.is_nil(seen[history])
      seen[history] = seed
    end
  end)
end)
