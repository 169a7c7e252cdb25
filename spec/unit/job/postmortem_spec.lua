-- What is said of ends that are no plain ones: the words that job_spec does not look at.
local postmortem = require "luapilot.job.postmortem"

describe("postmortem", function()
  local function gone(input) return postmortem.gone({}, { exit = { at = 5 }, started = 0 }, input, false) end

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
      return (select(2, postmortem.gone({ stop_mode = mode }, memory, { ended = 1 }, false)))
    end
    assert.is_nil(ended { exit = exit, stop = { exited = "asked" } })
    assert.is_nil(ended { exit = { at = 5 }, killed_by = "health" })
    assert.is_truthy(ended { exit = exit, stop = { exited = "early" } })
    assert.is_truthy(ended({ exit = exit, stop = { exited = "asked" } }, "mixed"))
  end)

  it("names as a guess whom a job has perhaps left behind: by the name of his program alone", function()
    local marked, other = { name = "a", pid = 8 }, { name = "sh", pid = 9, by_name = true }
    assert.matches("^perhaps left behind: sh %(9%), 1 more: what", gone { strays = { other }, count = 2 })
    assert.matches("^left behind: a %(8%), perhaps sh %(9%): what", (gone { strays = { other, marked }, count = 2 }))
    local memory, input = { exit = { at = 5 }, started = 0 }, { strays = { other }, count = 1, left = other }
    assert.matches("^perhaps it has put itself into the background: pid 9 %(sh%) lives on",
      (postmortem.gone({}, memory, input, true)))
  end)

  it("says why nobody followed a main process", function()
    for why, text in pairs {
      absent = "there is no /run/x.pid 2s after it ended", unreadable = "pidfile /run/x.pid cannot be read",
      no_pid = "pidfile /run/x.pid holds no pid", ended = "pidfile /run/x.pid names 7: there is no such process",
      user = "pidfile /run/x.pid names 7, which runs as another user",
      session = "pidfile /run/x.pid names 7, which has left the job's session",
      parent = "pidfile /run/x.pid names 7, whose parent still lives",
      unfollowed = "pidfile /run/x.pid names 7, which luapilot has no memory or descriptors to follow",
    } do
      local unfollowed = { why = why, pid = 7 }
      assert.equal("nobody follows the main process: " .. text, postmortem.unfollowed("/run/x.pid", unfollowed))
    end
    assert.equal("nobody follows the main process: MAINPID names 7: there is no such process",
      postmortem.unfollowed(nil, { why = "ended", pid = 7, notify = true }))
  end)

  it("doubts a check while somebody of an earlier run lives", function()
    local memory = { background = { lives = true } }
    assert.equal("pid 9 (daemon), which an earlier run left in the background, may be who answers",
      postmortem.doubt(memory, { { name = "daemon", pid = 9 } }))
    assert.is_nil(postmortem.doubt(memory, nil)) -- that cannot be told
    assert.is_true(memory.background.lives)
    assert.is_nil(postmortem.doubt(memory, {}))
    assert.is_nil(memory.background.lives)
  end)
end)
