-- What is said of ends that are no plain ones: the words that job_spec does not look at.
local aftermath = require "luapilot.aftermath"

describe("aftermath", function()
  it("names whom a job has left behind, and how many more there are", function()
    local rest = ": what calls setsid lives until the pilot ends (of a job with cgroup it ends with the job)"
    local strays = { { name = "a", pid = 8 }, { name = "b", pid = 9 } }
    assert.equal("left behind: a (8), b (9)" .. rest, aftermath.gone({}, strays, 2))
    assert.equal("left behind: a (8), b (9), 1 more" .. rest, aftermath.gone({}, strays, 3))
    assert.is_nil(aftermath.gone({}, nil, nil))
  end)

  it("doubts a check while somebody of an earlier run lives, or that cannot be told", function()
    local memory = { background = { lives = true } }
    assert.equal("pid 9 (daemon), which an earlier run left in the background, may be who answers",
      aftermath.doubt(memory, { { name = "daemon", pid = 9 } }))
    assert.is_nil(aftermath.doubt(memory, nil))
    assert.is_true(memory.background.lives)
    assert.is_nil(aftermath.doubt(memory, {}))
    assert.is_nil(memory.background.lives)
  end)
end)
