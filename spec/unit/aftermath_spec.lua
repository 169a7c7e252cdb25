-- What is said of ends that are no plain ones: the words that job_spec does not look at.
local aftermath = require "luapilot.aftermath"

describe("aftermath", function()
  local function gone(input) return aftermath.gone({}, { exit = { at = 5 }, started = 0 }, input, false) end

  it("names whom a job has left behind, and how many more there are", function()
    local rest = ": what calls setsid lives until the pilot ends (of a job with cgroup it ends with the job)"
    local strays = { { name = "a", pid = 8 }, { name = "b", pid = 9 } }
    assert.equal("left behind: a (8), b (9)" .. rest, gone { strays = strays, count = 2 })
    assert.equal("left behind: a (8), b (9), 1 more" .. rest, gone { strays = strays, count = 3 })
    assert.is_nil(gone {})
  end)

  it("tells how many were ended with their leader, but nobody who has left the session meanwhile", function()
    local strays = { { name = "a", pid = 8 } }
    assert.same({ nil, "left a process running, which was ended" }, { gone { ended = 1 } })
    assert.same({ nil, "left 2 processes running, which were ended" }, { gone { ended = 2 } })
    assert.equal("left a process running, which was ended", (select(2, gone { ended = 2, strays = strays, count = 1 })))
    assert.is_nil((select(2, gone { ended = 1, strays = strays, count = 1 })))
  end)

  it("does not where the group was told to end: its members die in any order", function()
    local exit = { at = 5, asked = true }
    local function ended(memory, mode)
      memory.started = 0
      return (select(2, aftermath.gone({ stop_mode = mode }, memory, { ended = 1 }, false)))
    end
    assert.is_nil(ended { exit = exit, stop = { exited = "asked" } })
    assert.is_nil(ended { exit = { at = 5 }, killed_by = "health" })
    assert.is_truthy(ended { exit = exit, stop = { exited = "early" } })
    assert.is_truthy(ended({ exit = exit, stop = { exited = "asked" } }, "mixed"))
  end)

  it("doubts a check while somebody of an earlier run lives", function()
    local memory = { background = { lives = true } }
    assert.equal("pid 9 (daemon), which an earlier run left in the background, may be who answers",
      aftermath.doubt(memory, { { name = "daemon", pid = 9 } }))
    assert.is_nil(aftermath.doubt(memory, nil)) -- that cannot be told
    assert.is_true(memory.background.lives)
    assert.is_nil(aftermath.doubt(memory, {}))
    assert.is_nil(memory.background.lives)
  end)
end)
