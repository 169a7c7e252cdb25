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

  it("names as a guess whom a job has perhaps left behind: by the name of his program alone", function()
    local marked, other = { name = "a", pid = 8 }, { name = "sh", pid = 9, by_name = true }
    assert.matches("^perhaps left behind: sh %(9%), 1 more: what", aftermath.gone({}, { other }, 2))
    assert.matches("^left behind: a %(8%), perhaps sh %(9%): what", aftermath.gone({}, { other, marked }, 2))
    local memory = { background = { left = other } }
    assert.matches("^perhaps it has put itself into the background: pid 9 %(sh%)", aftermath.gone(memory, { other }, 1))
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
      assert.equal("nobody follows the main process: " .. text, aftermath.unfollowed("/run/x.pid", unfollowed))
    end
    assert.equal("nobody follows the main process: MAINPID names 7: there is no such process",
      aftermath.unfollowed(nil, { why = "ended", pid = 7, notify = true }))
  end)

  it("doubts a check while somebody of an earlier run lives", function()
    assert.equal("pid 9 (daemon), which an earlier run left in the background, may be who answers",
      aftermath.doubt({ background = {} }, { { name = "daemon", pid = 9 } }))
    assert.is_nil(aftermath.doubt({ background = {} }, {}) or aftermath.doubt({}, nil))
  end)
end)
