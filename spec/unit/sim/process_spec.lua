-- Simulated processes, seen through the port that the core uses.
local sim = require "luapilot.sim"

describe("a simulated process", function()
  local world, box, port, seen

  before_each(function()
    world = sim.world { seed = 3 }
    box = world:machine()
    port, seen = box.interface, {}
  end)

  after_each(function() assert.same({}, box:errors()) end)

  -- Lets time pass and keeps what the port tells.
  local function pass(time)
    local limit = world.clock:moment(time)
    repeat
      for event in function() return port.wait(false) end do
        event.elapsed = world:elapsed()
        seen[#seen + 1] = event
      end
    until not world.clock:step(limit)
    world.clock.time = limit
  end

  local function spawn(behaviour, options)
    box:program("app", behaviour)
    options = options or {}
    options.argv = options.argv or { "app" }
    return assert(port.spawn(options))
  end

  local function find(kind, id)
    for _, event in ipairs(seen) do
      if event.type == kind and (not id or event.id == id) then return event end
    end
  end

  local function text(stream)
    local parts = {}
    for _, event in ipairs(seen) do
      local wanted = event.type == "output" and event.stream == (stream or "stdout")
      if wanted then parts[#parts + 1] = event.data end
    end
    return table.concat(parts)
  end

  describe("that is a table", function()
    it("ends with its code after its time", function()
      local id = spawn { exit = 3, after = "5s" }
      pass(4.9)
      assert.is_nil(find("exit", id))
      pass(0.2)
      local exit = find("exit", id)
      assert.equal(3, exit.code)
      assert.is_nil(exit.signal)
      assert.near(5, exit.elapsed, 0.01)
    end)

    it("dies of a signal", function()
      local id = spawn { signal = "SIGSEGV", after = 1 }
      pass(2)
      assert.equal("SIGSEGV", find("exit", id).signal)
      assert.is_nil(find("exit", id).code)
    end)

    it("says something and ends", function()
      spawn({ exit = 0, stdout = "out\n", stderr = "err\n" }, { capture = true })
      pass(1)
      assert.equal("out\n", text())
      assert.equal("err\n", text "stderr")
    end)

    it("runs for ever when nothing else is said", function()
      local id = spawn {}
      pass(100 * 24 * 3600)
      assert.is_nil(find("exit", id))
      assert.is_true(port.kill(id, "SIGTERM", "group"))
      pass(1)
      assert.equal("SIGTERM", find("exit", id).signal)
    end)

    it("takes its time to end on TERM", function()
      local id = spawn { term_delay = "2s", term_exit = 5 }
      pass(1)
      port.kill(id, "SIGTERM", "group")
      port.kill(id, "SIGTERM", "group")
      pass(1.9)
      assert.is_nil(find("exit", id))
      pass(0.2)
      assert.equal(5, find("exit", id).code)
    end)

    it("ignores what it is told to, but not KILL", function()
      local id = spawn { ignores = { "SIGTERM", "SIGINT" } }
      pass(1)
      port.kill(id, "SIGTERM", "group")
      port.kill(id, "SIGINT", "leader")
      pass(10)
      assert.is_nil(find("exit", id))
      port.kill(id, "SIGKILL", "group")
      pass(1)
      assert.equal("SIGKILL", find("exit", id).signal)
    end)

    it("listens, is ready and has its handlers after its start delay", function()
      local hups = 0
      local id = spawn({
        start_delay = "2s", listens = "127.0.0.1:80", notify = { READY = "1" },
        on = { SIGHUP = function() hups = hups + 1 end },
      }, { notify = true })
      pass(1)
      local early = port.connect("localhost:80", 1)
      pass(2)
      assert.equal("ECONNREFUSED", find("connected", early).code)
      local late = port.connect("localhost:80", 1)
      pass(1)
      assert.is_nil(find("connected", late).error)
      assert.same({ READY = "1" }, find("notify").fields)
      port.kill(id, "SIGHUP", "leader")
      pass(1)
      assert.equal(1, hups)
    end)

    it("dies of a HUP that comes before its start delay is over", function()
      local id = spawn(sim.server)
      port.kill(id, "SIGHUP", "leader")
      pass(1)
      assert.equal("SIGHUP", find("exit", id).signal)
    end)

    it("says it is alive again and again", function()
      spawn({ notify = { { READY = 1 }, { WATCHDOG = 1, after = "1s", every = "2s" } } }, { notify = true })
      pass(6)
      local count = 0
      for _, event in ipairs(seen) do
        if event.type == "notify" and event.fields.WATCHDOG == "1" then count = count + 1 end
      end
      assert.equal(3, count)
    end)

    it("cannot be started", function()
      box:program("app", { spawn_error = "EACCES" })
      local id, message, code, stage = port.spawn { argv = { "app" } }
      assert.is_nil(id)
      assert.is_string(message)
      assert.same({ "EACCES", "exec" }, { code, stage })
      box:program("app", { spawn_error = "EAGAIN" })
      assert.same({ "EAGAIN", "fork" }, { select(3, port.spawn { argv = { "app" } }) })
    end)

    it("is another one each time, when there is a list", function()
      local behaviours = { { exit = 1 }, { exit = 2 }, function() return 3 end }
      box:program("app", behaviours)
      local codes = {}
      for _ = 1, 4 do
        local id = port.spawn { argv = { "app" } }
        pass(1)
        codes[#codes + 1] = find("exit", id).code
      end
      assert.same({ 1, 2, 3, 3 }, codes)
    end)

    it("is checked", function()
      local function mistake(behaviour)
        local ok, message = pcall(function() box:program("app", behaviour) end)
        assert.is_false(ok)
        assert.is_truthy(message:find "^spec/unit/sim/process_spec.lua:%d+: ")
        return message
      end
      assert.is_truthy(mistake({ exits = 1 }):find('did you mean "exit"?', 1, true))
      assert.is_truthy(mistake({ after = "5" }):find("after", 1, true))
      assert.is_truthy(mistake({ signal = "SEGV" }):find("SIGSEGV", 1, true))
      assert.is_truthy(mistake({ ignores = { "TERM" } }):find("SIGTERM", 1, true))
      assert.is_truthy(mistake({ exit = 300 }):find("255", 1, true))
      assert.is_truthy(mistake("nginx"):find("table or a function", 1, true))
    end)
  end)

  describe("that is a function", function()
    it("sleeps, prints, exits", function()
      local id = spawn(function(proc)
        proc:print "one"
        proc:sleep "1s"
        proc:print("two", "stderr")
        proc:exit(4)
        proc:print "never"
      end, { capture = true })
      pass(2)
      assert.equal("one\n", text())
      assert.equal("two\n", text "stderr")
      assert.equal(4, find("exit", id).code)
      assert.near(1, find("exit", id).elapsed, 0.01)
    end)

    it("ends with what it returns, or well", function()
      local id = spawn(function() return 7 end)
      pass(1)
      assert.equal(7, find("exit", id).code)
      id = spawn(function() end)
      pass(1)
      assert.equal(0, find("exit", id).code)
    end)

    it("sees its argv, environment, directory, user and input", function()
      local proc
      spawn(function(p) proc = p end, {
        argv = { "app", "-x" }, env = { A = "1" }, cwd = "/srv", user = "www", stdin = "typed",
      })
      pass(1)
      assert.same({ "app", "-x" }, proc.argv)
      assert.same({ A = "1", HOME = "/home/www", USER = "www", LOGNAME = "www", SHELL = "/bin/sh" }, proc.env)
      assert.same({ "/srv", "www", "typed" }, { proc.cwd, proc.user, proc.stdin })
    end)

    it("waits for signals", function()
      local heard = {}
      local id = spawn(function(proc)
        heard[1] = proc:wait_signal "1s" or "nothing"
        heard[2] = proc:wait_signal()
        proc:exit(0)
      end)
      pass(2)
      port.kill(id, "SIGUSR1", "leader")
      pass(1)
      assert.same({ "nothing", "SIGUSR1" }, heard)
      assert.equal(0, find("exit", id).code)
    end)

    it("handles signals while it does something else", function()
      local order = {}
      local id = spawn(function(proc)
        proc:handle("SIGUSR1", function(me)
          order[#order + 1] = "begin"
          me:sleep "1s"
          order[#order + 1] = "end"
        end)
        proc:handle("SIGTERM", "ignore")
        proc:sleep "5s"
        order[#order + 1] = "main"
        proc:handle("SIGTERM", "default")
        proc:sleep "1h"
      end)
      pass(1)
      port.kill(id, "SIGUSR1", "leader")
      port.kill(id, "SIGTERM", "leader")
      pass(5)
      assert.same({ "begin", "end", "main" }, order)
      port.kill(id, "SIGTERM", "leader")
      pass(1)
      assert.equal("SIGTERM", find("exit", id).signal)
    end)

    it("that fails is an error of the spec", function()
      spawn(function() error "oops" end)
      pass(1)
      assert.equal("SIGABRT", find("exit").signal)
      local errors = box:forget_errors()
      assert.equal(1, #errors)
      assert.is_truthy(errors[1]:find("oops", 1, true))
      assert.is_truthy(errors[1]:find("[seed 3]", 1, true))
    end)

    it("may not wait outside of itself", function()
      local proc
      spawn(function(p) proc = p p:sleep "1h" end)
      pass(1)
      assert.has_error(function() proc:sleep "1s" end)
      proc:exit(9)
      pass(1)
      assert.equal(9, find("exit").code)
    end)
  end)

  describe("and its group", function()
    it("hears of the exit first, of the group's end when the last has ended", function()
      local id = spawn { exit = 0, grandchild = { after = "5s", ignores = { "SIGTERM" } } }
      pass(1)
      assert.is_truthy(find("exit", id))
      assert.is_nil(find("group_gone", id))
      assert.is_true(port.kill(id, "SIGUSR1", "group"))
      local result, _, code = port.kill(id, "SIGUSR1", "leader")
      assert.same({ nil, "ESRCH" }, { result, code })
      pass(5)
      assert.is_truthy(find("group_gone", id))
      assert.equal("EBADF", select(3, port.kill(id, "SIGTERM", "group")))
    end)

    it("gets the end signal when the leader has exited", function()
      local heard
      local id = spawn({ exit = 0, after = "1s", grandchild = function(proc) heard = proc:wait_signal() end },
        { end_signal = "SIGINT" })
      pass(2)
      assert.equal("SIGINT", heard)
      assert.is_truthy(find("group_gone", id))
    end)

    it("does not get the end signal again when the whole group had it", function()
      local count = 0
      local id = spawn {
        term_delay = "1s",
        grandchild = function(proc)
          while proc:wait_signal() do count = count + 1 end
        end,
      }
      pass(1)
      port.kill(id, "SIGTERM", "group")
      pass(2)
      assert.is_truthy(find("exit", id))
      assert.equal(1, count)
      port.kill(id, "SIGKILL", "group")
      pass(1)
      assert.is_truthy(find("group_gone", id))
    end)

    it("does not hold who left it", function()
      local id = spawn({ exit = 0, grandchild = { setsid = true, after = "10s" } }, { capture = true })
      pass(1)
      assert.is_truthy(find("group_gone", id))
      local last = 0
      for _, event in ipairs(seen) do
        if event.last then last = last + 1 end
      end
      assert.equal(2, last)
      assert.equal(0, #box.port.kernel:alive())
    end)

    it("is killed and reaped in silence when the handle is cancelled", function()
      local id = spawn({ ignores = { "SIGTERM" }, stdout = "x\n", grandchild = {} }, { capture = true })
      pass(1)
      seen = {}
      assert.is_true(port.cancel(id))
      pass(5)
      assert.same({}, seen)
      assert.equal("EBADF", select(3, port.cancel(id)))
      assert.equal(0, #box.port.kernel:alive())
    end)
  end)

  describe("that is stopped", function()
    it("does nothing until it is continued, and hears of signals then", function()
      local id = spawn(function(proc)
        proc:sleep "2s"
        proc:print "awake"
        proc:sleep "1h"
      end, { capture = true })
      pass(1)
      port.kill(id, "SIGSTOP", "leader")
      pass(5)
      assert.equal("", text())
      port.kill(id, "SIGCONT", "leader")
      pass(0.1)
      assert.equal("awake\n", text())
      port.kill(id, "SIGSTOP", "leader")
      port.kill(id, "SIGTERM", "leader")
      pass(5)
      assert.is_nil(find("exit", id))
      port.kill(id, "SIGCONT", "leader")
      pass(1)
      assert.equal("SIGTERM", find("exit", id).signal)
    end)

    it("can be killed", function()
      local id = spawn {}
      pass(1)
      port.kill(id, "SIGSTOP", "leader")
      port.kill(id, "SIGKILL", "group")
      pass(1)
      assert.equal("SIGKILL", find("exit", id).signal)
    end)
  end)

  describe("and its output", function()
    it("comes in order, and the last piece says so, for each stream", function()
      spawn(function(proc)
        for i = 1, 5 do proc:write(i .. ",") end
      end, { capture = true })
      pass(1)
      assert.equal("1,2,3,4,5,", text())
      local last = {}
      for i, event in ipairs(seen) do
        if event.type == "output" and event.last then last[event.stream] = i end
      end
      assert.is_truthy(last.stdout and last.stderr)
    end)

    it("goes to the job's log, and as whole lines to who asks for them", function()
      local id = spawn(function(proc)
        proc:write "one\ntw"
        proc:sleep "1s"
        proc:write "o\nthree"
      end, { output = { name = "app" } })
      pass(0.5)
      assert.equal("one\n", box:output "app")
      assert.equal("", text())
      assert.is_true(port.capture(id, true))
      pass(5)
      assert.equal("two\nthree", text())
      assert.equal("one\ntwo\nthree\n", box:output "app")
    end)

    it("goes to a file", function()
      spawn({ exit = 0, stdout = "a\nb\n" }, { output = { name = "app", file = "/var/log/app" } })
      pass(1)
      assert.equal("a\nb\n", box:file "/var/log/app")
    end)

    it("is not read from a raw job", function()
      local id = spawn({ stdout = "raw\n" }, { output = { name = "app", raw = true } })
      assert.equal("EINVAL", select(3, port.capture(id, true)))
      pass(1)
      assert.equal("raw\n", box:output "app")
    end)

    it("does not end before the last who holds it, whatever becomes of the leader", function()
      spawn({ exit = 0, grandchild = { setsid = true, after = "5s", stdout = "late\n" } },
        { output = { name = "app" } })
      pass(10)
      assert.equal("late\n", box:output "app")
    end)
  end)

  describe("is found by its argv:", function()
    local function code_of(...)
      local id = port.spawn { argv = { ... } }
      pass(1)
      return find("exit", id).code
    end

    it("the longest description counts, of equal ones the last", function()
      box:program("nginx", { exit = 1 })
      box:program("nginx -g", { exit = 2 })
      box:program("other", { exit = 9 })
      assert.equal(1, code_of("nginx", "-t"))
      assert.equal(2, code_of("nginx", "-g", "daemon off;"))
      box:program("nginx -g", { exit = 3 })
      assert.equal(3, code_of("nginx", "-g", "daemon off;"))
    end)

    it("with or without a directory, a list of words, or by a function", function()
      box:program("nginx", { exit = 1 })
      assert.equal(1, code_of("/usr/sbin/nginx"))
      box:program({ "/bin/sh", "-c", "a | b" }, { exit = 2 })
      assert.equal(2, code_of("/bin/sh", "-c", "a | b"))
      box:program(function(argv) return argv[#argv] == "last" end, { exit = 3 })
      assert.equal(3, code_of("nginx", "last"))
    end)

    it("a word is not a prefix of a word", function()
      box:program("ng", { exit = 1 })
      local id, _, code = port.spawn { argv = { "nginx" } }
      assert.is_nil(id)
      assert.equal("ENOENT", code)
      local errors = box:forget_errors()
      assert.is_truthy(errors[1]:find('box:program("nginx"', 1, true))
    end)
  end)

  it("is not started as a user, or in a directory, that is not there", function()
    box = world:machine { users = { "www" }, files = { ["/none"] = false } }
    port = box.interface
    box:program("app", {})
    assert.same({ "ENOENT", "cwd" }, { select(3, port.spawn { argv = { "app" }, cwd = "/none" }) })
    local id, pid = assert(port.spawn { argv = { "app" }, user = "nobody" })
    assert.is_nil(pid)
    pass(1)
    local event = find("spawn_failed", id)
    assert.same({ "ENOENT", "user" }, { event.code, event.stage })
    assert.is_number((port.spawn { argv = { "app" }, user = "www", cwd = "/srv" }))
  end)

  it("takes no option that the real port does not know", function()
    box:program("app", {})
    for _, options in ipairs {
      {}, { argv = {} }, { argv = { "app", 1 } }, { argv = { "app" }, shell = true },
      { argv = { "app" }, env = { A = 1 } }, { argv = { "app" }, output = {} },
      { argv = { "app" }, capture = true, output = { name = "a", raw = true } },
      { argv = { "app" }, end_signal = "TERM" }, { argv = { "app" }, limits = { nofile = { 2, 1 } } },
    } do
      assert.is_false((pcall(port.spawn, options)))
    end
  end)
end)
