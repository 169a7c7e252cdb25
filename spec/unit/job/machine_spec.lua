local cjson = require "cjson"
local job = require "luapilot.job.machine"
local restart = require "luapilot.schema.restart"

local function least() return 0 end -- random numbers: no jitter

-- A spec as schema/job.lua makes it, the fields that the machine reads.
local function describe_job(options)
  local spec = {
    name = "app", stop_timeout = 10, stop_signal = "SIGTERM", health = {}, reload = "SIGHUP",
  }
  for key, value in pairs(options or {}) do spec[key] = value end
  spec.restart = assert(restart.parse(options and options.restart or "never"))
  return spec
end

-- Effects in words: "timer kill 10", "publish exit_failed 3 signal SIGTERM".
local WORDS = {
  log = function(e) return "log " .. e[2] end,
  signal = function(e) return "signal " .. e[2] .. (e[3] == "group" and "" or " " .. e[3]) end,
  publish = function(e)
    local f = e[3]
    if not f.code then return "publish " .. e[2] end
    return ("publish %s %d %s%s"):format(e[2], f.code, f.reason, f.signal and " " .. f.signal or "")
  end,
}

local function words_of(effects)
  local list = {}
  for i, e in ipairs(effects) do list[i] = WORDS[e[1]] and WORDS[e[1]](e) or table.concat(e, " ") end
  return table.concat(list, ", ")
end

local FLAGS = { "again", "hold", "closing", "killed_by", "reloading" }

local function flags_of(memory)
  local list = {}
  for _, flag in ipairs(FLAGS) do
    local value = memory[flag]
    if value then list[#list + 1] = value == true and flag or flag .. "=" .. value end
  end
  return #list > 0 and " (" .. table.concat(list, " ") .. ")" or ""
end

-- One job, fed by hand.
local function machine(options)
  local self = { spec = describe_job(options), memory = job.new(1000), now = 1000 }
  ---Feeds an input; what comes out: "running (again=trigger): effect, effect".
  function self.feed(name, input)
    local effects, changed = job.input(self.spec, self.memory, name, input or {}, self.now, least)
    local said = words_of(effects)
    self.changed, self.logged = changed, ""
    for _, e in ipairs(effects) do
      if e[1] == "log" then self.logged = self.logged .. e[3] end
    end
    return self.memory.state .. flags_of(self.memory) .. (said ~= "" and ": " .. said or "")
  end
  function self.pass(seconds) self.now = self.now + seconds end
  function self.go(...)
    for _, step in ipairs { ... } do
      self.pass(5)
      self.feed(step[1], step[2])
    end
    return self
  end
  return self
end

local START, STOP, PREPARED, GONE, CLOSE = { "start" }, { "stop" }, { "prepared" }, { "group_gone" }, { "close" }
local SPAWNED, FAILED, ENDED = { "spawned", { pid = 7 } }, { "exited", { code = 3 } }, { "exited", { code = 0 } }
local HANDLED = { "handlers_done" }

local function running(options) return machine(options).go(START, PREPARED, SPAWNED) end

describe("the machine of a job", function()
  describe("every input in every state", function()
    -- How a state is reached, for a job with prepare, timeout and restart = "always".
    local REACH = {
      waiting = {}, preparing = { START }, running = { START, PREPARED, SPAWNED },
      stopping = { START, PREPARED, SPAWNED, STOP }, ending = { START, PREPARED, SPAWNED, FAILED },
      backoff = { START, PREPARED, SPAWNED, FAILED, GONE }, held = { STOP },
    }

    local INPUTS = {
      ["start"] = {}, ["start again"] = { again = "trigger" }, ["stop"] = {}, ["stop again"] = { again = "trigger" },
      ["close"] = {}, ["prepared"] = {}, ["prepare_failed"] = { message = "m" }, ["spawned"] = { pid = 9 },
      ["spawn_failed"] = { code = 127, message = "m" },
      ["spawn_failed transient"] = { message = "m", transient = true },
      ["exited 0"] = { code = 0 }, ["exited by signal"] = { code = 143, signal = "SIGTERM" }, ["group_gone"] = {},
      ["handlers_done"] = {}, ["health"] = { change = "healthy" }, ["health restart"] = { restart = 3 },
      ["reload"] = {}, ["dead"] = {}, ["give_up"] = { message = "m" }, ["restart_due"] = {}, ["run_due"] = {},
      ["lost"] = {}, ["kill_due"] = {}, ["handlers_due"] = {}, ["drain_due"] = {}, ["reload_due"] = {},
      ["freeze"] = {},
    }

    local AGAIN = "publish exit_failed %s, timer restart 1, log info"
    local BEGIN_STOP = "untimer run, untimer reload, unprobe, timer handlers 9, timer kill 10, stopping"
    local END = "untimer run, untimer reload, unprobe, timer kill 10, publish "

    -- What is not here changes nothing and has no effect.
    local MATRIX = {
      waiting = {
        ["start"] = "preparing: prepare", ["start again"] = "preparing: prepare",
        ["stop"] = "held (hold)", ["stop again"] = "preparing: prepare", ["close"] = "complete (closing)",
        ["dead"] = "complete", ["give_up"] = "waiting: publish exit_failed 1 trigger, rest",
      },
      preparing = {
        ["start again"] = "preparing (again=trigger)",
        ["stop"] = "held (hold): unprepare, publish stopped",
        ["stop again"] = "preparing: unprepare, publish stopped, prepare",
        ["close"] = "complete (closing): unprepare, publish stopped",
        ["prepared"] = "preparing: spawn",
        ["prepare_failed"] = "backoff: " .. AGAIN:format "1 prepare",
        ["spawned"] = "running: timer run 60, probe",
        ["spawn_failed"] = "backoff: " .. AGAIN:format "127 spawn",
        ["spawn_failed transient"] = "backoff: log error, timer restart 1",
      },
      running = {
        ["start again"] = "running (again=trigger)",
        ["stop"] = "stopping (hold): " .. BEGIN_STOP,
        ["stop again"] = "stopping (again=trigger): " .. BEGIN_STOP,
        ["close"] = "stopping (closing): " .. BEGIN_STOP,
        ["exited 0"] = "ending: " .. END .. "exit_success 0 exit",
        ["exited by signal"] = "ending: " .. END .. "exit_failed 143 signal SIGTERM",
        ["health"] = "running: publish healthy",
        ["health restart"] = "running (killed_by=health): "
          .. "log warn, unprobe, untimer run, signal SIGTERM, timer kill 10",
        ["reload"] = "running: untimer reload, reload",
        ["run_due"] = "running (killed_by=timeout): log warn, untimer run, signal SIGKILL",
        ["kill_due"] = "running: signal SIGKILL",
        ["lost"] = "preparing: untimer run, untimer reload, unprobe, prepare",
        ["freeze"] = "running (closing)",
      },
      stopping = {
        ["start"] = "stopping (again=user)", ["start again"] = "stopping (again=trigger)",
        ["stop again"] = "stopping (again=trigger)", ["close"] = "stopping (hold closing)",
        ["exited 0"] = "stopping (hold): exited early", ["exited by signal"] = "stopping (hold): exited early",
        ["group_gone"] = "stopping (hold)",
        ["handlers_done"] = "stopping (hold): untimer handlers, untimer drain, signal SIGTERM",
        ["handlers_due"] = "stopping (hold): abandon_handlers, untimer handlers, untimer drain, signal SIGTERM",
        ["drain_due"] = "stopping (hold): untimer handlers, untimer drain, signal SIGTERM",
        ["lost"] = "stopping (hold)", ["freeze"] = "stopping (hold closing)",
        ["kill_due"] = "stopping (hold): log warn, signal SIGKILL, abandon_handlers",
      },
      ending = {
        ["start"] = "ending (again=user)", ["start again"] = "ending (again=trigger)",
        ["stop"] = "ending (hold)", ["stop again"] = "ending (again=trigger)", ["close"] = "ending (closing)",
        ["group_gone"] = "backoff: untimer kill, timer restart 1, log info",
        ["kill_due"] = "ending: log warn, signal SIGKILL",
        ["lost"] = "backoff: untimer kill, timer restart 1, log info", ["freeze"] = "ending (closing)",
      },
      backoff = {
        ["start"] = "preparing: untimer restart, prepare", ["start again"] = "preparing: untimer restart, prepare",
        ["stop"] = "held (hold): untimer restart, publish stopped",
        ["stop again"] = "preparing: untimer restart, prepare",
        ["close"] = "complete (closing): untimer restart, publish stopped",
        ["restart_due"] = "preparing: prepare",
      },
      held = {
        ["start"] = "preparing: prepare", ["start again"] = "preparing: prepare",
        ["stop again"] = "preparing: prepare", ["close"] = "complete (hold closing)",
      },
      complete = {
        ["start"] = "preparing: prepare", ["start again"] = "preparing: prepare",
        ["stop again"] = "preparing: prepare", ["close"] = "complete (closing)",
      },
    }

    local function reach(state)
      local m = machine { prepare = true, timeout = 60, restart = "always" }
      if state == "complete" then
        m.go({ "dead" })
      else
        m.go(unpack(REACH[state]))
      end
      assert.equal(state, m.memory.state)
      m.pass(5)
      return m
    end

    for state, cells in pairs(MATRIX) do
      for input, data in pairs(INPUTS) do
        it(state .. " × " .. input, function()
          local m = reach(state)
          local before, since = job.snapshot(m.memory), m.memory.since
          local result = m.feed(input:match "^%S+", data)
          if not cells[input] then
            assert.equal(state .. flags_of(before), result)
            assert.same(before, m.memory)
            assert.is_false(m.changed)
          else
            assert.equal(cells[input], result)
            assert.equal(m.memory.state ~= state, m.changed)
            assert.equal(m.changed and m.now or since, m.memory.since)
          end
        end)
      end
    end

    it("starts nothing once the pilot shuts down", function()
      for state in pairs(MATRIX) do
        local m = reach(state)
        m.memory.closing = true
        for _, input in ipairs { "start", "stop again", "start again" } do
          local before = job.snapshot(m.memory)
          m.feed(input:match "^%S+", INPUTS[input])
          if input ~= "stop again" or state ~= "running" then assert.same(before, m.memory) end
        end
      end
    end)
  end)

  describe("a life", function()
    it("without prepare", function()
      local m = machine()
      assert.equal("preparing: spawn", m.feed "start")
      assert.equal("running: probe", m.feed("spawned", { pid = 7 }))
      assert.equal(7, m.memory.pid)
      m.feed("exited", { code = 0 })
      assert.equal("waiting: untimer kill, rest", m.feed "group_gone")
      assert.is_nil(m.memory.pid)
      assert.equal("complete: publish stopped", m.feed "dead")
      assert.is_true(m.memory.exit.final)
      assert.same({ runs = 1, restarts = 0 }, { runs = m.memory.runs, restarts = m.memory.restarts })
    end)

    it("again after an event that came while it ran, once", function()
      local m = running()
      m.feed("start", { again = "trigger" })
      m.feed("start", { again = "trigger" })
      m.go(ENDED)
      assert.equal("preparing: untimer kill, spawn", m.feed "group_gone")
      m.go(SPAWNED, ENDED)
      assert.equal("waiting: untimer kill, rest", m.feed "group_gone")
    end)

    it("a start by hand does not take an event of the trigger away", function()
      local m = running()
      m.feed("start", { again = "trigger" })
      m.feed "start"
      assert.equal("trigger", m.memory.again)
    end)

    it("between two runs without backoff the world may speak", function()
      local m = running { restart = { backoff = 0 } }.go(FAILED)
      assert.equal("backoff: untimer kill, timer restart 0", m.feed "group_gone")
    end)

    it("restarts with growing delays, and gives up", function()
      local m = machine { restart = 2 }.go(START)
      for _, delay in ipairs { 1, 2 } do
        m.go(SPAWNED, FAILED)
        assert.equal(("backoff: untimer kill, timer restart %d, log info"):format(delay), m.feed "group_gone")
        m.feed "restart_due"
      end
      m.go(SPAWNED, FAILED)
      assert.equal("waiting: untimer kill, log error, rest", m.feed "group_gone")
      assert.equal(2, m.memory.restarts)
      m.go(START, SPAWNED, FAILED)
      assert.equal("backoff: untimer kill, timer restart 1, log info", m.feed "group_gone")
    end)

    it("says that it gives up only where it would have gone on", function()
      local m = machine { restart = "on_failure" }.go(START, SPAWNED, ENDED)
      assert.equal("waiting: untimer kill, rest", m.feed "group_gone")
      m = machine { restart = { limit = 1 } }.go(START, SPAWNED, FAILED, GONE, { "restart_due" }, SPAWNED, FAILED)
      assert.equal("waiting: untimer kill, log error, rest", m.feed "group_gone")
    end)

    it("a start that fails has lasted no time, however long ago the last run began", function()
      local m = machine { restart = { policy = "always", reset_after = "20s" } }.go(START, SPAWNED, FAILED, GONE)
      for _, delay in ipairs { 2, 4, 8 } do
        m.pass(30)
        m.feed "restart_due"
        assert.matches("timer restart " .. delay, m.feed("spawn_failed", { code = 127, message = "no" }))
      end
    end)

    it("a start by the trigger makes the policy count anew", function()
      local m = running { restart = "always" }
      for _ = 1, 4 do m.go(FAILED, GONE, { "restart_due" }, SPAWNED) end
      m.go(FAILED, GONE)
      m.go(START, SPAWNED, FAILED)
      assert.equal("backoff: untimer kill, timer restart 1, log info", m.feed "group_gone")
    end)
  end)

  describe("exits", function()
    local function exit_of(options, input, ...)
      return running(options).go(...).go({ "exited", input }).memory.exit
    end

    local WHOLE = "^has put itself into the background: pid 9 %%(daemon%%) %s%%. Run it in the foreground "
      .. '%%(nginx: %%-g "daemon off;", others: %%-%%-foreground, %%-%%-no%%-daemon or the like%%)$'
    local ON, OVER = WHOLE:format "lives on", WHOLE:format "was ended, since a job ends with its first process"
    local daemon, helper = { pid = 9, name = "daemon" }, { pid = 8, name = "helper" }

    -- What is said of a run that lasted so long, ended with 0 and left somebody.
    local function leaves(j, lasted, input)
      input.name = "daemon"
      j.pass(lasted)
      j.feed("exited", { code = 0 })
      assert.equal("", j.logged)
      j.feed("group_gone", input)
      return (j.logged:gsub("will be started again in .*", ""))
    end

    it("that leave the program in the background are told once, and what is left behind each time", function()
      local j = running { restart = "always" }
      local function again(...)
        j.go({ "restart_due" }, SPAWNED)
        return leaves(j, 1, ...)
      end
      assert.matches(ON, leaves(j, 1, { left = helper, strays = { daemon }, count = 1 })) -- a double fork
      assert.matches("^left behind: daemon %(9%)", again { left = helper, strays = { daemon }, count = 1 })
      assert.matches("^left behind: daemon %(9%)", again { strays = { daemon }, count = 1 })
      assert.matches("^left a process running, which was ended", again { left = daemon, ended = 1 })
      assert.same({ told = true, lives = true }, j.memory.background)
    end)

    it("that leave a program of the same name within their first ten seconds do, whatever the policy", function()
      for _, policy in ipairs { "always", "on_failure", "never" } do
        for lasted, background in pairs { [10] = true, [11] = false } do
          local j = running { restart = policy }
          local said = leaves(j, lasted, { left = daemon, strays = { daemon }, count = 1 })
          assert.equal(background, said:find(ON) ~= nil)
          assert.equal(not background, said:find "^left behind" ~= nil)
          j = running { restart = policy }
          said = leaves(j, lasted, { left = daemon, ended = 1 })
          assert.equal(background, said:find(OVER) ~= nil)
          assert.equal(not background, said:find "^left a process running, which was ended$" ~= nil)
        end
      end
    end)

    it("that leave a helper have not, unless it lives on and the next run would stand beside it", function()
      for policy, background in pairs { always = true, on_failure = false, never = false } do
        local j = running { restart = policy }
        local said = leaves(j, 1, { left = helper, strays = { helper }, count = 1 })
        assert.equal(background, said:find "background: pid 8 %(helper%) lives on" ~= nil)
        assert.equal(not background, j.memory.background == nil)
        j = running { restart = policy }
        assert.equal("left a process running, which was ended", leaves(j, 1, { left = helper, ended = 1 }))
        assert.is_nil(j.memory.background)
      end
    end)

    it("that leave the fork of a shell have not: it becomes a helper", function()
      for name, background in pairs { sh = false, bash = false, ["start.sh"] = false, ["bash-server"] = true } do
        local j = running()
        j.feed("exited", { code = 0 })
        j.feed("group_gone", { left = { pid = 9, name = name }, name = name, ended = 1 })
        assert.equal(background, j.logged:find "background" ~= nil)
      end
    end)

    it("that leave somebody who does not end are told when he is killed", function()
      local j = running()
      j.feed("exited", { code = 0 })
      j.pass(10)
      assert.equal("ending: log warn, signal SIGKILL", j.feed "kill_due")
      assert.equal("what it left running did not end within 10s: killed", j.logged)
      assert.equal("ending: signal SIGKILL", j.feed "kill_due") -- a shutdown hurries
    end)

    it("that failed checks were to bring about are told when it is killed", function()
      local j = running()
      j.feed("health", { restart = 3 })
      j.pass(10)
      assert.equal("running (killed_by=health): log warn, signal SIGKILL", j.feed "kill_due")
      assert.equal("did not end within 10s of being asked to: killed", j.logged)
    end)

  it("are told with code, signal and reason", function()
      assert.same({ code = 3, reason = "exit", at = 1020 }, exit_of(nil, { code = 3 }))
      assert.same({ code = 143, signal = "SIGTERM", reason = "signal", at = 1020 },
        exit_of(nil, { code = 143, signal = "SIGTERM" }))
      assert.same({ code = 124, signal = "SIGKILL", reason = "timeout", at = 1025 },
        exit_of({ timeout = 5 }, { code = 137, signal = "SIGKILL" }, { "run_due" }))
      assert.same({ code = 1, reason = "exit", error = "raised", at = 1020 },
        exit_of(nil, { code = 1, reason = "exit", error = "raised" }))
    end)

    it("for lack of memory say so, surely or probably", function()
    local function ends(options, input)
      local j = running(options)
      j.feed("exited", input)
      return j.memory.exit.reason, j.memory.exit.error
    end
    local limited, killed = { cgroup = { memory_max = 64 * 1024 ^ 2 } }, { code = 137, signal = "SIGKILL", oom = "own" }
    assert.same({ "oom", "was killed for lack of memory (memory_max = 64M)" }, { ends(limited, killed) })
    assert.same({ "oom", "was killed for lack of memory" }, { ends({}, killed) })
    assert.same({ "signal", "was killed by SIGKILL, probably for lack of memory" },
      { ends({}, { code = 137, signal = "SIGKILL", oom = "around" }) })
    assert.same({ "exit", "exited with code 1; since its start a process of it was killed for lack of memory "
      .. "(memory_max = 64M)" }, { ends(limited, { code = 1, oom = "own" }) })
  end)

  it("for failing checks are failures, also with code 0", function()
      local exit = exit_of(nil, { code = 0 }, { "health", { restart = 3 } })
      assert.same({ code = 1, reason = "health", at = 1025 }, exit)
    end)

    it("while the pilot shuts down and it is not the job's turn yet are the end of it", function()
      local m = running { restart = "always" }.go({ "freeze" })
      assert.same({ "running", true }, { m.memory.state, m.memory.closing })
      m.go(FAILED)
      assert.equal("complete (closing): untimer kill, publish stopped", m.feed "group_gone")
    end)

    it("that the pilot asked for are not told, but remembered", function()
      local m = running().go(STOP, HANDLED)
      assert.equal("stopping (hold): exited asked", m.feed("exited", { code = 143, signal = "SIGTERM" }))
      assert.is_true(m.memory.exit.asked)
    end)

    it("leave no health behind", function()
      local m = running { health = { {} } }
      m.feed("health", { change = "healthy" })
      assert.equal("healthy", m.memory.health)
      m.go(ENDED)
      assert.equal("unknown", m.memory.health)
    end)

    it("by themselves, while the pilot is being shut down, count if nothing would have started it again", function()
      local function final(options)
        local m = running(options).go(FAILED, CLOSE)
        assert.equal("complete (closing): untimer kill, publish stopped", m.feed "group_gone")
        return m.memory.exit.final
      end
      assert.is_true(final())
      assert.is_nil(final { restart = "always" })
    end)
  end)

  describe("starts that fail", function()
    it("in prepare and spawn count as runs", function()
      local m = machine { prepare = true }.go(START)
      assert.equal("waiting: publish exit_failed 1 prepare, rest", m.feed("prepare_failed", { message = "no" }))
      assert.equal("no", m.memory.exit.error)
      m.go(START, PREPARED)
      assert.equal("waiting: publish exit_failed 127 spawn, rest",
        m.feed("spawn_failed", { code = 127, message = "no" }))
    end)

    it("for want of something that comes back are tried again, ever more slowly, whatever the policy says", function()
      local m = machine().go(START)
      for _, delay in ipairs { 1, 2, 4, 8, 15, 15 } do
        assert.equal("backoff: log error, timer restart " .. delay,
          m.feed("spawn_failed", { transient = true, message = "EAGAIN" }))
        m.feed "restart_due"
      end
      local effects = job.input(m.spec, m.memory, "spawn_failed", { transient = true, message = "EAGAIN" }, 1000,
        function() return 1 end)
      assert.equal(0.75 * 15, effects[2][3])
      m.feed "restart_due"
      m.go(SPAWNED, FAILED, GONE)
      assert.is_nil(m.memory.refused)
      assert.equal("waiting", m.memory.state)
    end)

    it("for want of something begin anew when a start failed for another reason: there was enough of it", function()
      local m = machine { restart = "always" }.go(START)
      for _ = 1, 5 do
        m.feed("spawn_failed", { transient = true, message = "EAGAIN" })
        m.feed "restart_due"
      end
      m.feed("spawn_failed", { code = 127, message = "no" })
      m.feed "restart_due"
      assert.equal("backoff: log error, timer restart 1",
        m.feed("spawn_failed", { transient = true, message = "EAGAIN" }))
    end)
  end)

  describe("stop", function()
    it("handlers, then the signal, then the group is gone", function()
      local m = running().go(STOP)
      assert.equal("stopping (hold): untimer handlers, untimer drain, signal SIGTERM", m.feed "handlers_done")
      m.feed("exited", { code = 0 })
      assert.equal("held (hold): untimer handlers, untimer drain, untimer kill, publish stopped", m.feed "group_gone")
      assert.same({}, { m.memory.pid, m.memory.stop })
    end)

    it("with stop_mode = \"mixed\" the signal is for the leader alone, SIGKILL for all", function()
    local j = running { stop_mode = "mixed", health = { {} } }
    j.go(STOP)
    assert.equal("stopping (hold): untimer handlers, untimer drain, signal SIGTERM leader", j.feed "handlers_done")
    assert.matches("signal SIGKILL$", j.feed "kill_due")
    j = running { stop_mode = "mixed", health = { {} } }
    assert.matches("signal SIGTERM leader, timer kill 10$", j.feed("health", { restart = 3 }))
    assert.matches("signal SIGKILL$", j.feed "kill_due")
  end)

  it("goes on in whoever follows its main process, also while it is being stopped", function()
    local j = running()
    assert.equal("running: log info", j.feed("succeeded", { pid = 8 }))
    assert.equal("its main process is now 8", j.logged)
    assert.equal(8, j.memory.pid)
    j.go(STOP)
    j.feed("succeeded", { pid = 9 })
    assert.equal(9, j.memory.pid)
  end)

  it("asks whoever follows its main process in a \"mixed\" stop to end, too: he has not heard it", function()
    local j = running { stop_mode = "mixed", health = { {} } }
    j.go(STOP)
    assert.equal("stopping (hold): log info", j.feed("succeeded", { pid = 8 }))
    j.feed "handlers_done"
    assert.equal("stopping (hold): log info, signal SIGTERM leader", j.feed("succeeded", { pid = 9 }))
    j = running { stop_mode = "mixed", health = { {} } }
    j.feed("health", { restart = 3 })
    assert.equal("running (killed_by=health): log info, signal SIGTERM leader", j.feed("succeeded", { pid = 9 }))
    j = running { health = { {} } } -- all have heard it
    j.go(STOP, HANDLED)
    assert.equal("stopping (hold): log info", j.feed("succeeded", { pid = 9 }))
  end)

  it("says why nobody followed its main process", function()
    local j = running { pidfile = "/run/app.pid" }
    assert.matches("^ending: log warn, ", j.feed("exited", { code = 0, unfollowed = { why = "session", pid = 9 } }))
    assert.equal("nobody follows the main process: pidfile /run/app.pid names 9, which has left the job's session",
      j.logged)
  end)

  it("names what is left behind", function()
    local j = running()
    j.go(STOP, HANDLED, ENDED)
    local strays = { { pid = 8, name = "a" }, { pid = 9, name = "b" } }
    assert.matches("log warn, .*publish stopped$", j.feed("group_gone", { strays = strays, count = 5 }))
    assert.matches("^left behind: a %(8%), b %(9%), 3 more: ", j.logged)
  end)

  it("the process may be gone before the handlers are done", function()
      local m = running().go(STOP, ENDED)
      assert.equal("stopping (hold)", m.feed "group_gone")
      assert.equal("held (hold): untimer handlers, untimer drain, untimer kill, publish stopped",
        m.feed "handlers_done")
    end)

    it("drains between, within the same budget", function()
      local m = running { drain = 5, service = { {} } }.go(STOP)
      assert.equal("stopping (hold): timer deregister 1, deregister", m.feed "handlers_done")
      assert.equal("stopping (hold): untimer deregister, log info, timer drain 5",
        m.feed("deregistered", { was = true }))
      assert.equal("stopping (hold)", m.feed "deregister_due")
      assert.equal("stopping (hold): untimer handlers, untimer drain, signal SIGTERM", m.feed "drain_due")
      assert.equal("stopping (hold)", m.feed "drain_due")
      assert.equal("stopping (hold)", m.feed "handlers_due")
      assert.equal("stopping (hold): log warn, signal SIGKILL", m.feed "kill_due")
    end)

    it("a drain that outlasts the budget leaves the signal its share", function()
      local m = running { service = {}, drain = 60, stop_timeout = 10 }
      m.go(STOP, HANDLED, { "deregistered", { was = true } })
      assert.equal("stopping (hold): untimer handlers, untimer drain, signal SIGTERM", m.feed "handlers_due")
      assert.matches("^stopping %(hold%): log warn, signal SIGKILL", m.feed "kill_due")
    end)

    it("waits a second for the deregistration, and does not drain what nobody could find", function()
      local m = running { drain = 5, service = { {} } }.go(STOP)
      m.feed "handlers_done"
      assert.equal("stopping (hold): untimer deregister, untimer handlers, untimer drain, signal SIGTERM",
        m.feed("deregistered", { was = false }))
      m = running { service = { {} } }.go(STOP)
      m.feed "handlers_done"
      assert.equal("stopping (hold): untimer deregister, untimer handlers, untimer drain, signal SIGTERM",
        m.feed "deregister_due")
      assert.equal("stopping (hold)", m.feed("deregistered", { was = true }))
    end)

    it("drains also when nobody answered the deregistration", function()
      local m = running { drain = 5, service = { {} } }.go(STOP)
      m.feed "handlers_done"
      assert.equal("stopping (hold): untimer deregister, log info, timer drain 5", m.feed "deregister_due")
    end)

    it("is deregistered without waiting when its handlers took too long, or when it is gone", function()
      local m = running { service = { {} } }.go(STOP)
      assert.equal("stopping (hold): abandon_handlers, deregister, untimer handlers, untimer drain, signal SIGTERM",
        m.feed "handlers_due")
      m = running { service = { {} } }.go(STOP)
      m.feed "handlers_done"
      m.feed("exited", { code = 0 })
      assert.equal("held (hold): untimer deregister, untimer handlers, untimer drain, untimer kill, publish stopped",
        m.feed "group_gone")
    end)

    it("handlers that take too long are abandoned, and the signal is sent once", function()
      local m = running().go(STOP)
      assert.equal("stopping (hold): abandon_handlers, untimer handlers, untimer drain, signal SIGTERM",
        m.feed "handlers_due")
      assert.equal("stopping (hold)", m.feed "handlers_done")
      assert.equal("stopping (hold): log warn, signal SIGKILL", m.feed "kill_due")
    end)

    it("does not wait longer than its budget for handlers of a process that is gone", function()
      local m = running().go(STOP, ENDED, GONE)
      assert.equal("stopping (hold): abandon_handlers", m.feed "handlers_due")
      assert.equal("held (hold): abandon_handlers, untimer handlers, untimer drain, untimer kill, publish stopped",
        m.feed "kill_due")
      assert.equal("held (hold)", m.feed "handlers_done")
    end)

    it("says how long it had before it was killed", function()
      local m = running().go(STOP)
      m.pass(10)
      local effects = job.input(m.spec, m.memory, "kill_due", {}, m.now, least)
      assert.equal("did not end within 10s of being asked to: killed", effects[1][3])
    end)

    it("of a Lua run that a reload has ended meanwhile waits for its handlers only", function()
      local m = running().go(STOP, { "lost" })
      assert.equal("held (hold): untimer handlers, untimer drain, untimer kill, publish stopped",
        m.feed "handlers_done")
    end)

    it("keeps at most a second of the budget for the signal", function()
      local function handlers(stop_timeout)
        return running { stop_timeout = stop_timeout }.feed("stop"):match "timer handlers ([%d.]+)"
      end
      assert.equal("9", handlers(10))
      assert.equal("0.8", handlers(1))
      assert.equal("0", handlers(0))
    end)

    it("then start, then stop: held", function()
      local m = running().go(STOP, START, STOP, HANDLED, ENDED)
      assert.matches("^held %(hold%): .*publish stopped$", m.feed "group_gone")
    end)

    it("then start: once more", function()
      local m = running().go(STOP, START, HANDLED, ENDED)
      assert.matches("^preparing: .*publish stopped, spawn$", m.feed "group_gone")
    end)

    it("then close: complete, whatever was to come", function()
      local m = running { restart = "always" }.go(STOP, START, CLOSE, HANDLED, ENDED)
      assert.matches("^complete %(again=user closing%): .*publish stopped$", m.feed "group_gone")
    end)

    it("by the trigger (restart): once more, unless the user stops it meanwhile", function()
      local m = running().go({ "stop", { again = "trigger" } }, HANDLED, ENDED)
      assert.matches("^preparing: .*publish stopped, spawn$", m.feed "group_gone")
      m = running().go({ "stop", { again = "trigger" } }, STOP, HANDLED, ENDED)
      assert.matches("^held", m.feed "group_gone")
    end)

    it("while the rest of a group is being ended: held after it, no restart", function()
      local m = running { restart = "always" }.go(FAILED, STOP)
      assert.equal("held (hold): untimer kill, publish stopped", m.feed "group_gone")
    end)

    it("tells of the stop of a job that has run before, even if it rests", function()
      local m = running().go(ENDED, GONE)
      assert.equal("held (hold): publish stopped", m.feed "stop")
      assert.equal("complete (hold closing)", m.feed "close")
      m = running().go(ENDED, GONE)
      assert.equal("complete (closing): publish stopped", m.feed "close")
    end)

    it("a new process is never asked for before the old group is gone", function()
      local m = running { restart = "always" }
      local kill_due, restart_due = { "kill_due" }, { "restart_due" }
      for _, input in ipairs { START, STOP, START, HANDLED, kill_due, ENDED, restart_due, PREPARED, START } do
        assert.is_nil(m.feed(input[1], input[2]):find "spawn")
      end
      assert.matches("spawn", m.feed "group_gone")
    end)
  end)

  describe("reload", function()
    it("is sent to a job that is ready", function()
      local m = running()
      m.pass(1)
      assert.equal("running: untimer reload, reload", m.feed "reload")
    end)

    it("waits until it is a second old; several become one", function()
      local m = machine().go(START, SPAWNED)
      m.pass(0.25)
      assert.equal("running (reloading): timer reload 0.75", m.feed "reload")
      m.pass(0.25)
      assert.equal("running (reloading): timer reload 0.5", m.feed "reload")
      m.pass(0.5)
      assert.equal("running: untimer reload, reload", m.feed "reload_due")
      assert.equal("running", m.feed "reload_due")
    end)

    it("waits until its health is known", function()
      local m = machine { health = { {} } }.go(START, SPAWNED)
      m.pass(5)
      assert.equal("running (reloading)", m.feed "reload")
      assert.equal("running: publish healthy, untimer reload, reload", m.feed("health", { change = "healthy" }))
    end)

    it("is forgotten when the job stops", function()
      local m = machine().go(START, SPAWNED)
      m.feed "reload"
      assert.matches("untimer reload", m.feed "stop")
      assert.is_nil(m.memory.reloading)
      m.go(HANDLED, ENDED, GONE, START, SPAWNED)
      assert.equal("running", m.feed "reload_due")
    end)
  end)

  describe("health", function()
    it("that fails too often ends it, and starts it again even with restart = \"never\"", function()
      local m = running()
      assert.equal("running (killed_by=health): publish unhealthy, log warn, unprobe, untimer run, signal SIGTERM, "
        .. "timer kill 10", m.feed("health", { change = "unhealthy", restart = 3, output = "x" }))
      assert.equal("running (killed_by=health)", m.feed("health", { restart = 3 }))
      assert.equal("running (killed_by=health): log warn, signal SIGKILL", m.feed "kill_due")
      assert.equal("ending (killed_by=health): untimer run, untimer reload, unprobe, "
        .. "publish exit_failed 137 health SIGKILL", m.feed("exited", { code = 137, signal = "SIGKILL" }))
      assert.equal("backoff (killed_by=health): untimer kill, timer restart 1, log info", m.feed "group_gone")
      assert.equal("preparing: spawn", m.feed "restart_due")
    end)

    it("a stop meanwhile goes on as a stop", function()
      local m = running().go({ "health", { restart = 3 } }, STOP, HANDLED, ENDED)
      assert.equal("held (hold killed_by=health): untimer handlers, untimer drain, untimer kill, publish stopped",
        m.feed "group_gone")
    end)
  end)

  describe("that depends on others", function()
    local DEPENDS = { depends_on = {} }

    it("is blocked before each start, until all is there", function()
      local m = machine(DEPENDS)
      assert.equal("blocked: depend", m.feed("start", { again = "trigger" }))
      assert.equal("blocked", m.feed("start", { again = "trigger" }))
      assert.equal("preparing: spawn", m.feed "provided")
      m.go({ "spawned" }, { "exited", { code = 1 } })
      m.spec.prepare = function() end
      m.feed "group_gone"
      assert.equal("blocked: depend", m.feed "start")
      assert.equal("preparing: prepare", m.feed "provided")
    end)

    it("is held or complete when it is stopped or closed meanwhile, and says so if it has run", function()
      local m = machine(DEPENDS)
      m.feed "start"
      assert.equal("blocked", m.feed("stop", { again = "user" }))
      assert.equal("held (hold): undepend", m.feed "stop")
      m.feed "start"
      assert.equal("complete (closing): undepend", m.feed "close")
      m = machine(DEPENDS)
      m.memory.exit = { code = 0, reason = "exit", at = 900 }
      m.feed "start"
      assert.equal("held (hold): undepend, publish stopped", m.feed "stop")
      m.feed "start"
      assert.equal("complete (closing): undepend, publish stopped", m.feed "close")
    end)

    it("fails, and does not try again by itself", function()
      local m = machine { depends_on = {}, restart = "always" }
      m.go(START, { "provided" }, SPAWNED, FAILED, GONE, { "restart_due" })
      m.now = 1000
      assert.equal("waiting: undepend, publish exit_failed 1 dependency, rest",
        m.feed("dead", { unmet = { why = "x" } }))
      assert.same({ "x", 1000 }, { m.memory.exit.error, m.memory.exit.at })
      m.feed "start"
      assert.equal("waiting: undepend, publish exit_failed 7 dependency, rest",
        m.feed("dead", { unmet = { why = "x", code = 7 } }))
      assert.is_nil(m.memory.started)
    end)

    it("is told to stop when those that are bound to it are gone, or take too long", function()
      local function stopping()
        local m = machine()
        m.spec.bound = true
        m.go(START, SPAWNED)
        assert.equal("stopping (again=user): untimer run, untimer reload, unprobe, unbind",
          m.feed("stop", { again = "user" }))
        assert.equal("stopping (again=user): timer unbind 11", m.feed("awaits", { seconds = 11 }))
        m.pass(8)
        return m
      end
      local BEGUN = "stopping (again=user): untimer unbind, timer handlers 9, timer kill 10, stopping"
      local m = stopping()
      assert.equal(BEGUN, m.feed "released")
      assert.equal("stopping (again=user)", m.feed "released")
      m.pass(10)
      m.feed "kill_due"
      assert.equal("did not end within 10s of being asked to: killed", m.logged)
      m = stopping()
      assert.equal(BEGUN, m.feed "unbind_due")
      assert.equal("stopping (again=user)", m.feed "released")
      m = machine()
      m.spec.bound = true
      m.go(START, SPAWNED)
      assert.matches(", stopping$", m.feed "close") -- in a shutdown they are gone
    end)

    it("is told to stop by a shutdown as soon as nobody needs it, and killed when that has no time left", function()
      local function stopping()
        local m = machine()
        m.spec.bound = true
        m.go(START, SPAWNED, { "stop" })
        m.feed("awaits", { seconds = 11 })
        return m
      end
      local m = stopping()
      assert.matches("untimer unbind, timer handlers 4, timer kill 5, stopping$", m.feed("close", { budget = 5 }))
      m = stopping()
      assert.matches("^stopping[^:]*$", m.feed "close")
      assert.equal("stopping (hold closing): log warn, signal SIGKILL, untimer unbind", m.feed("kill_due"))
      assert.equal("killed before it was asked to end", m.logged)
      assert.matches("^stopping[^:]*$", m.feed "released")
      assert.matches("^complete.*publish stopped", m.feed "group_gone")
    end)
  end)

  it("is not started by its trigger within a second after a start that failed", function()
    local m = machine { restart = { policy = "on_failure", backoff = 10 } }
    local failed = { "spawn_failed", { code = 127, message = "no" } }
    m.go(START, failed)
    m.pass(0.25)
    assert.equal("backoff: timer restart 0.75", m.feed("start", { again = "trigger" }))
    m.pass(0.5)
    assert.equal("backoff", m.feed("start", { again = "trigger" })) -- it is due in a quarter of a second
    assert.equal("preparing: untimer restart, spawn", m.feed "start") -- by hand
    m.go(failed)
    m.pass(1)
    assert.equal("preparing: untimer restart, spawn", m.feed("start", { again = "trigger" }))
  end)

  it("is not started later than its policy says, since its trigger fires as well", function()
    local m = machine { restart = { policy = "on_failure", backoff = 0.25 } }
    m.go(START, { "spawn_failed", { code = 127, message = "no" } })
    m.pass(0.125)
    assert.equal("backoff", m.feed("start", { again = "trigger" }))
    assert.equal(1, m.memory.policy.restarts) -- which goes on counting
    m.memory.due = nil                        -- as an older pilot left it
    assert.equal("backoff: timer restart 0.875", m.feed("start", { again = "trigger" }))
  end)

  it("knows when a process exists or is about to", function()
    local active = {}
    for state in pairs(job.CELLS) do active[state] = job.active { state = state } end
    assert.same({
      waiting = false, preparing = true, running = true, stopping = true, ending = true, backoff = false, held = false,
      complete = false, blocked = true,
    }, active)
    for state in pairs(job.CELLS) do assert.is_string(job.VISIBLE[state]) end
  end)

  it("survives a reload, in every state", function()
    local steps = { START, PREPARED, SPAWNED, { "health", { change = "healthy" } }, { "start", { again = "trigger" } },
      STOP, HANDLED, START, { "exited", { code = 3 } }, GONE,
      PREPARED, SPAWNED, FAILED, GONE, { "restart_due" } }
    local options = { prepare = true, restart = { limit = 5 }, timeout = 60 }
    for last = 0, #steps do
      local m, n = machine(options), machine(options)
      for i = 1, last do
        m.feed(steps[i][1], steps[i][2])
        n.feed(steps[i][1], steps[i][2])
      end
      n.memory = job.restore(cjson.decode(cjson.encode(job.snapshot(m.memory))))
      assert.same(m.memory, n.memory)
      for i = last + 1, #steps do
        assert.equal(m.feed(steps[i][1], steps[i][2]), n.feed(steps[i][1], steps[i][2]))
      end
      assert.same(m.memory, n.memory)
    end
  end)

  it("gives a snapshot that does not change any more", function()
    local m = running().go(STOP)
    local data = job.snapshot(m.memory)
    m.go(HANDLED)
    assert.is_false(data.stop.signalled)
    local memory = job.restore(data)
    memory.stop.signalled = true
    assert.is_false(data.stop.signalled)
  end)
end)
