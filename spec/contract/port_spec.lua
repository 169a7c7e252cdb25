-- The contract of the port: what lua/luapilot/port.lua promises, on whatever implements it.
--
-- Nothing here sleeps: a spec waits for an event, and a bound turns its absence into a failure.

local BOUND = 60        -- seconds in which anything that is promised must have come
local QUIET = 0.05      -- seconds in which nothing must come

local function contract(name, world)
  describe("the " .. name .. " port", function()
    local port = world.port
    local started, seen

    before_each(function() started, seen = {}, {} end)

    after_each(function()
      for _, id in ipairs(started) do port.cancel(id) end
      while world.next(0) do end
      world.close()
    end)

    -- --- helpers ---------------------------------------------------------------------------------

    local function remember(id)
      started[#started + 1] = id
      return id
    end

    -- Waits until `enough` says so, keeping what comes. The argument is the newest event.
    local function gather(enough, what)
      local stop = port.now() + BOUND -- a flood of other events must not hide that it does not come
      while true do
        local event = port.now() < stop and world.next(BOUND)
        if not event then error(("no %s within %d s"):format(what or "such event", BOUND), 2) end
        seen[#seen + 1] = event
        if enough(event) then return event end
      end
    end

    local function wait_for(kind, id)
      for _, event in ipairs(seen) do
        if event.type == kind and (not id or event.id == id) then return event end
      end
      return gather(function(event) return event.type == kind and (not id or event.id == id) end, kind)
    end

    local function position(kind, id)
      for i, event in ipairs(seen) do
        if event.type == kind and event.id == id then return i end
      end
    end

    local function quiet()
      local event = world.next(QUIET)
      return event and event.type or true
    end

    local function text_of(id, stream)
      local parts = {}
      for _, event in ipairs(seen) do
        if event.type == "output" and event.id == id and event.stream == (stream or "stdout") then
          parts[#parts + 1] = event.data
        end
      end
      return table.concat(parts)
    end

    local function wait_for_text(id, text)
      if text_of(id):find(text, 1, true) then return end
      gather(function() return text_of(id):find(text, 1, true) ~= nil end, "output " .. text)
    end

    local function wait_for_ends(id)
      local function ends()
        local count = 0
        for _, event in ipairs(seen) do
          if event.type == "output" and event.id == id and event.last then count = count + 1 end
        end
        return count == 2
      end
      if not ends() then gather(ends, "end of output") end
    end

    local function spawn(behaviour, options)
      options = options or {}
      options.argv = world.program(behaviour)
      local id, pid = assert(port.spawn(options))
      return remember(id), pid
    end

    local function refuses(message, fn, ...)
      local ok, found = pcall(fn, ...)
      assert.is_false(ok)
      assert.matches(message, tostring(found))
    end

    local function stale(result, message, code)
      assert.is_nil(result)
      assert.is_string(message)
      assert.equal("EBADF", code)
    end

    -- --- time ------------------------------------------------------------------------------------

    describe("in time", function()
      it("fires a timer once, not early, and forgets it", function()
        local before = port.now()
        local id = port.timer(0.02)
        assert.same({ type = "timer", id = id }, world.next(BOUND))
        assert.is_true(port.now() - before >= 0.0199)
        stale(port.cancel(id))
        assert.is_true(quiet())
      end)

      it("fires timers in the order in which they are due, and ties as they were set", function()
        local late, early, first, second, third
        for _ = 1, 100 do                     -- again where setting them took too long
          local before = port.now()
          late, early = port.timer(0.2), port.timer(0.1)
          first, second, third = port.timer(0), port.timer(0), port.timer(-5)
          local late_already = port.now() - before >= 0.1
          if not late_already then break end
          for _, id in ipairs { late, early, first, second, third } do port.cancel(id) end
        end
        local order = {}
        for i = 1, 5 do order[i] = world.next(BOUND).id end
        assert.equal(late, order[5])
        assert.equal(early, order[4])
        table.sort(order, function(a, b) return a < b end)
        assert.same({ late, early, first, second, third }, order)
      end)

      it("does not fire a cancelled timer, not even one that is due", function()
        local first, second = port.timer(0), port.timer(0)
        assert.equal(first, world.next(BOUND).id)
        assert.is_true(port.cancel(second))
        stale(port.cancel(second))
        assert.is_true(quiet())
      end)

      it("returns nil from wait(false) when nothing has happened", function()
        assert.is_nil(port.wait(false))
      end)

      it("never gives a handle twice", function()
        local known = {}
        for _ = 1, 100 do
          local id = port.timer(1000)
          assert.is_nil(known[id])
          known[id] = true
          port.cancel(id)
        end
      end)

      it("has clocks that make sense", function()
        local a, b = port.now(), port.now()
        assert.is_true(b >= a)
        assert.is_true(port.clock() > 1e9)
      end)

      it("draws random numbers from 0 up to 1", function()
        local different = {}
        for _ = 1, 50 do
          local number = port.random()
          assert.is_true(number >= 0 and number < 1)
          different[number] = true
        end
        local count = 0
        for _ in pairs(different) do count = count + 1 end
        assert.is_true(count > 40)
      end)

      it("refuses wrong arguments by name", function()
        refuses("timer: seconds", port.timer, "1")
        refuses("timer: seconds", port.timer, 0 / 0)
        refuses("timer: seconds", port.timer, math.huge)
        refuses("cancel: id", port.cancel, nil)
        refuses("wait: block", port.wait, 1)
      end)
    end)

    -- --- processes -------------------------------------------------------------------------------

    describe("with a process", function()
      it("tells its pid, its exit code, what it used, and then the end of its group", function()
        local id, pid = spawn { exit = 3 }
        assert.is_number(pid)
        local exit = wait_for("exit", id)
        assert.equal(3, exit.code)
        assert.is_nil(exit.signal)
        assert.is_true(exit.usage.user >= 0 and exit.usage.system >= 0 and exit.usage.maxrss >= 0)
        wait_for("group_gone", id)
        assert.is_true(position("exit", id) < position("group_gone", id))
        stale(port.kill(id, "SIGTERM", "group"))
        stale(port.cancel(id))
        assert.is_true(quiet())
      end)

      it("tells the signal that killed it", function()
        local exit = wait_for("exit", (spawn { signal = "SIGSEGV" }))
        assert.equal("SIGSEGV", exit.signal)
        assert.is_nil(exit.code)
      end)

      it("sends a signal to the leader, or to the group", function()
        local one, two = spawn {}, spawn {}
        assert.is_true(port.kill(one, "SIGINT", "leader"))
        assert.is_true(port.kill(two, "SIGUSR1", "group"))
        assert.equal("SIGINT", wait_for("exit", one).signal)
        assert.equal("SIGUSR1", wait_for("exit", two).signal)
      end)

      it("lets it handle a signal", function()
        local id = spawn({ on = { SIGTERM = 7 } }, { capture = true })
        wait_for_text(id, "ready")
        port.kill(id, "SIGTERM", "leader")
        assert.equal(7, wait_for("exit", id).code)
      end)

      it("lets it ignore SIGTERM, but not SIGKILL", function()
        local id = spawn({ ignores = { "SIGTERM" } }, { capture = true })
        wait_for_text(id, "ready")
        assert.is_true(port.kill(id, "SIGTERM", "group"))
        assert.is_true(quiet())
        assert.is_true(port.kill(id, "SIGKILL", "group"))
        assert.equal("SIGKILL", wait_for("exit", id).signal)
        wait_for("group_gone", id)
      end)

      it("ends the rest of its group when the leader has exited", function()
        local id = spawn { exit = 0, grandchild = {} }
        wait_for("group_gone", id)
        assert.equal(0, wait_for("exit", id).code)
      end)

      it("has group_gone only when nobody is left, and reaches those who are", function()
        local id = spawn({ grandchild = { ignores = { "SIGTERM" } } }, { capture = true })
        wait_for_text(id, "ready")
        port.kill(id, "SIGTERM", "group")
        wait_for("exit", id)
        assert.is_true(quiet())
        assert.is_nil(position("group_gone", id))
        local _, _, code = port.kill(id, "SIGTERM", "leader")
        assert.equal("ESRCH", code)
        assert.is_true(port.kill(id, "SIGKILL", "group"))
        wait_for("group_gone", id)
      end)

      it("sends the end signal that it was given", function()
        local id = spawn({ grandchild = { ignores = { "SIGTERM" } } },
          { capture = true, end_signal = "SIGUSR1" })
        wait_for_text(id, "ready")
        port.kill(id, "SIGTERM", "group")
        wait_for("group_gone", id)
      end)

      it("does not send the end signal when the group has had it already", function()
        local id = spawn({ grandchild = { tells = { "SIGTERM" } } },
          { capture = true, end_signal = "SIGTERM" })
        wait_for_text(id, "ready")
        port.kill(id, "SIGTERM", "group")
        wait_for("exit", id)
        wait_for_text(id, "SIGTERM")
        assert.is_true(quiet())
        port.kill(id, "SIGKILL", "group")
        wait_for_ends(id)
        local _, count = text_of(id):gsub("SIGTERM", "")
        assert.equal(1, count)
      end)

      it("is killed with its group, silently, when it is cancelled", function()
        local id, pid = spawn({ grandchild = { ignores = { "SIGTERM" } } }, { capture = true })
        wait_for_text(id, "ready")
        assert.is_true(port.cancel(id))
        stale(port.cancel(id))
        stale(port.kill(id, "SIGTERM", "group"))
        local attempts = 0
        while world.alive(pid) and attempts < 1000 do
          assert.is_nil(world.next(0.01))
          attempts = attempts + 1
        end
        assert.is_false(world.alive(pid))
        assert.is_true(quiet())
      end)

      it("says nothing more of one that is cancelled after its exit", function()
        local id = spawn({ exit = 0, stdout = "x", grandchild = { ignores = { "SIGTERM" } } },
          { capture = true })
        wait_for("exit", id)
        assert.is_true(port.cancel(id))
        assert.is_true(quiet())
      end)

      it("gets exactly the environment that it was given", function()
        local id = spawn({ shows = "WORD", exit = 0 }, { env = { WORD = "a=b c" }, capture = true })
        wait_for_ends(id)
        assert.equal("a=b c", text_of(id))
        id = spawn({ shows = "PATH", exit = 0 }, { capture = true })
        wait_for_ends(id)
        assert.equal(port.environ().PATH, text_of(id))
      end)

      it("gets what is added, beside its own or what it was given, and instead of that", function()
        local function shown(variable, options)
          options.capture = true
          local id = spawn({ shows = variable, exit = 0 }, options)
          wait_for_ends(id)
          return text_of(id)
        end
        local added = { WORD = "a=b c", PATH = "/bin:/usr/bin:/added" }
        assert.equal("a=b c", shown("WORD", { env_added = added }))
        assert.equal("/bin:/usr/bin:/added", shown("PATH", { env_added = added }))
        assert.equal(port.environ().HOME, shown("HOME", { env_added = added }))
        assert.equal("one", shown("OTHER", { env = { OTHER = "one", WORD = "two" }, env_added = added }))
        assert.equal("a=b c", shown("WORD", { env = { OTHER = "one", WORD = "two" }, env_added = added }))
        assert.equal("", shown("HOME", { env = { OTHER = "one" }, env_added = added }))
        assert.equal("", shown("HOME", { env = {}, env_added = added }))
        assert.equal("", shown("WOR", { env_added = added }))
      end)

      it("runs in the directory that it was given", function()
        local path = port.realpath(world.path "")
        local id = spawn({ shows_cwd = true, exit = 0 }, { cwd = path, capture = true })
        wait_for_ends(id)
        assert.equal(path .. "\n", text_of(id))
      end)
    end)

    describe("with the input and output of a process", function()
      it("gives both streams, each with its end", function()
        local id = spawn({ stdout = "a\nb", stderr = "c\n", exit = 0 }, { capture = true })
        wait_for("group_gone", id)
        wait_for_ends(id)
        assert.equal("a\nb", text_of(id))
        assert.equal("c\n", text_of(id, "stderr"))
        stale(port.cancel(id))
      end)

      it("has no output events without capture", function()
        local id = spawn { stdout = "a\n", exit = 0 }
        wait_for("group_gone", id)
        assert.is_true(quiet())
        assert.equal("", text_of(id))
      end)

      it("tells of the exit though somebody else holds the pipes", function()
        local id = spawn({ exit = 0, stdout = "x", grandchild = { setsid = true, stays = true } },
          { capture = true })
        wait_for("exit", id)
        wait_for("group_gone", id)
        wait_for_ends(id) -- though the stranger does not let go
        assert.equal("x", text_of(id))
        stale(port.cancel(id))
      end)

      it("does not take the end of its output for its exit", function()
        local id = spawn({ stdout = "bye", closes_output = true }, { capture = true })
        wait_for_ends(id)
        assert.is_nil(position("exit", id))
        assert.is_true(quiet())
        assert.is_true(port.kill(id, "SIGTERM", "group"))
        wait_for("exit", id)
        wait_for("group_gone", id)
        stale(port.cancel(id))
      end)

      it("feeds it a text", function()
        local id = spawn({ cat = true }, { stdin = "one\ntwo", capture = true })
        wait_for_ends(id)
        assert.equal("one\ntwo", text_of(id))
      end)

      it("feeds it nothing, which is an end of file", function()
        local one = spawn({ cat = true }, { stdin = "", capture = true })
        local two = spawn({ cat = true }, { capture = true })
        assert.equal(0, wait_for("exit", one).code)
        assert.equal(0, wait_for("exit", two).code)
      end)

      it("does not mind a program that leaves the text unread", function()
        local id = spawn({ exit = 4 }, { stdin = ("x"):rep(1000000) })
        assert.equal(4, wait_for("exit", id).code)
      end)

      it("gives whole lines beside the log, while capture is on", function()
        local log = world.path "log"
        local id = spawn({ stdout = "one\ntwo\nthree", exit = 0 },
          { capture = true, output = { name = "job", file = log } })
        wait_for_ends(id)
        assert.equal("one\ntwo\nthree", text_of(id))
        for _, event in ipairs(seen) do
          if event.type == "output" and not event.last then assert.matches("\n$", event.data) end
        end
      end)

      it("ends captured streams beside the log, too, though somebody else holds the pipes", function()
        local id = spawn({ exit = 0, stdout = "x\n", grandchild = { setsid = true, stays = true } },
          { capture = true, output = { name = "job", file = world.path "log" } })
        wait_for("group_gone", id)
        wait_for_ends(id)
      end)

      it("turns capture off and on", function()
        local id = spawn({ stdout = "x\n" }, { output = { name = "job", file = world.path "log" } })
        assert.is_true(port.capture(id, true))
        assert.is_true(port.capture(id, false))
        assert.is_true(quiet())
        port.kill(id, "SIGTERM", "group")
        wait_for("group_gone", id)
        assert.equal("", text_of(id))
      end)

      it("cannot capture what does not pass through it", function()
        local id = spawn {}
        local ok, _, code = port.capture(id, true)
        assert.is_nil(ok)
        assert.equal("EINVAL", code)
        stale(port.capture(999999999, true))
      end)
    end)

    describe("with the readiness protocol", function()
      it("gives each message, in order, as fields", function()
        local id = spawn({ notify = { "READY=1\nSTATUS=up = well\nnonsense", "STOPPING=1" }, exit = 0 },
          { notify = true })
        wait_for("group_gone", id)
        local messages = {}
        for _, event in ipairs(seen) do
          if event.type == "notify" then messages[#messages + 1] = event.fields end
        end
        assert.same({ { READY = "1", STATUS = "up = well" }, { STOPPING = "1" } }, messages)
      end)
    end)

    describe("that cannot start a process", function()
      local function fails(options)
        local id, message, code, stage = port.spawn(options)
        assert.is_nil(id)
        assert.is_string(message)
        assert.is_true(quiet())
        return { code, stage, message }
      end

      local function has(code, stage, word, failure)
        assert.equal(code, failure[1])
        assert.equal(stage, failure[2])
        assert.is_truthy(failure[3]:find(word, 1, true), failure[3])
      end

      it("says so with a code, a stage and the name of the thing", function()
        for _, code in ipairs { "ENOENT", "EACCES", "ENOEXEC" } do
          local argv = world.program { spawn_error = code }
          has(code, "exec", argv[1], fails { argv = argv })
        end
        local argv = world.program { exit = 0 }
        has("ENOENT", "user", "nobody-is-called-so", fails { argv = argv, user = "nobody-is-called-so" })
        has("ENOENT", "group", "nobody-is-called-so", fails { argv = argv, group = "nobody-is-called-so" })
        local missing = world.path "missing"
        has("ENOENT", "cwd", missing, fails { argv = argv, cwd = missing })
      end)

      it("raises for wrong arguments and names the field", function()
        local argv = { "true" }
        local wrong = {
          { "spawn: argv: expected a table, got nil", {} },
          { "spawn: argv: it is empty", { argv = {} } },
          { "spawn: argv%[2%]: expected a string, got number", { argv = { "a", 2 } } },
          { "spawn: argv%[1%]", { argv = { "a\0b" } } },
          { 'spawn: unknown field "args"', { argv = argv, args = {} } },
          { "spawn: env", { argv = argv, env = "PATH=/bin" } },
          { "spawn: env", { argv = argv, env = { ["A=B"] = "c" } } },
          { "spawn: env.A", { argv = argv, env = { A = 1 } } },
          { "spawn: env_added", { argv = argv, env_added = "PATH=/bin" } },
          { 'spawn: env_added: bad name "A=B"', { argv = argv, env_added = { ["A=B"] = "c" } } },
          { "spawn: env_added.A", { argv = argv, env_added = { A = 1 } } },
          { "spawn: cwd", { argv = argv, cwd = 1 } },
          { "spawn: user", { argv = argv, user = {} } },
          { "spawn: user", { argv = argv, user = -1 } },
          { "spawn: umask", { argv = argv, umask = 512 } },
          { "spawn: limits.files", { argv = argv, limits = { files = { 1, 1 } } } },
          { "spawn: limits.nofile", { argv = argv, limits = { nofile = 3 } } },
          { "spawn: limits.nofile", { argv = argv, limits = { nofile = { 3, 2 } } } },
          { "spawn: oom_score_adj", { argv = argv, oom_score_adj = 1001 } },
          { "spawn: cgroup: name", { argv = argv, cgroup = {} } },
          { "spawn: cgroup", { argv = argv, cgroup = { name = "a", memory = 1 } } },
          { "spawn: stdin", { argv = argv, stdin = 5 } },
          { "spawn: output: name", { argv = argv, output = {} } },
          { "spawn: output", { argv = argv, output = { name = "a", colour = true } } },
          { "spawn: capture", { argv = argv, capture = 1 } },
          { "spawn: capture", { argv = argv, capture = true, output = { name = "a", raw = true } } },
          { "spawn: notify", { argv = argv, notify = "yes" } },
          { "spawn: end_signal", { argv = argv, end_signal = "TERM" } },
          { "spawn: stop_signal", { argv = argv, stop_signal = "SIGNOPE" } },
          { "spawn: stop_timeout", { argv = argv, stop_timeout = -1 } },
        }
        for _, case in ipairs(wrong) do refuses(case[1], port.spawn, case[2]) end
        refuses("spawn", port.spawn, nil)
        assert.is_true(quiet())
      end)
    end)

    it("refuses wrong arguments of kill and capture, and stale or strange handles", function()
      local timer = remember(port.timer(1000))
      refuses("kill: signal", port.kill, 1, "TERM", "group")
      refuses("kill: signal", port.kill, 1, 15, "group")
      refuses("kill: target", port.kill, 1, "SIGTERM", "all")
      refuses("kill: id", port.kill, "1", "SIGTERM", "group")
      refuses("capture: on", port.capture, 1, nil)
      stale(port.kill(999999999, "SIGTERM", "group"))
      stale(port.kill(timer, "SIGTERM", "group"))
      stale(port.cancel(999999999))
    end)

    -- --- fairness --------------------------------------------------------------------------------

    describe("in a flood", function()
      it("still tells of exits and timers soon", function()
        local flood = spawn({ floods = true }, { capture = true })
        wait_for("output", flood)
        local id = spawn { exit = 0 }
        local timer = port.timer(0.01)
        wait_for("exit", id)
        wait_for("timer", timer)
        port.cancel(flood)
      end)

      it("lets two sources take turns", function()
        local one = spawn({ floods = true }, { capture = true })
        local two = spawn({ floods = true }, { capture = true })
        wait_for("output", one)
        wait_for("output", two)
        local count = { [one] = 0, [two] = 0 }
        gather(function(event)
          count[event.id] = count[event.id] + 1
          return count[one] > 30 and count[two] > 30
        end, "turn of the other")
      end)
    end)

    -- --- signals ---------------------------------------------------------------------------------

    describe("with signals", function()
      it("gives those that it was asked for as events, also when asked twice", function()
        port.signals { "SIGUSR1" }
        port.signals { "SIGUSR2" }
        for _, signal in ipairs { "SIGUSR1", "SIGUSR2" } do
          world.send_signal(signal)
          local event = wait_for("signal")
          assert.equal(signal, event.name)
          assert.is_number(event.pid)
          assert.is_false(event.terminal)
          seen = {}
        end
      end)

      it("refuses what is none, or cannot be caught", function()
        refuses("signals: %[1%]", port.signals, { "USR1" })
        refuses("signals: %[2%]", port.signals, { "SIGHUP", "SIGKILL" })
        refuses("signals: names", port.signals, "SIGHUP")
      end)
    end)

    -- --- network ---------------------------------------------------------------------------------

    describe("on the network", function()
      it("connects where somebody answers", function()
        local id = port.connect(world.listener(), 5)
        assert.same({ type = "connected", id = id }, world.next(BOUND))
        stale(port.cancel(id))
      end)

      it("says why it cannot", function()
        local address = world.refused()
        local event = (function() port.connect(address, 5) return world.next(BOUND) end)()
        assert.equal("ECONNREFUSED", event.code)
        assert.is_truthy(event.error:find(address, 1, true))
        assert.matches("connection refused", event.error)
      end)

      it("gives up in time", function()
        local before = port.now()
        local id = port.connect(world.silent(), 0.1)
        local event = world.next(BOUND)
        assert.equal(id, event.id)
        assert.equal("ETIMEDOUT", event.code)
        assert.is_true(port.now() - before >= 0.099)
      end)

      it("says nothing more when cancelled", function()
        local id = port.connect(world.silent(), 0.01)
        assert.is_true(port.cancel(id))
        stale(port.cancel(id))
        assert.is_true(quiet())
      end)

      it("refuses what is no address", function()
        local wrong = {
          "", "host", "host:", ":80", "host:http", "host:0", "host:65536", "::1:80", "[::1]",
        }
        for _, address in ipairs(wrong) do refuses("connect: address", port.connect, address, 1) end
        refuses("connect: timeout", port.connect, "127.0.0.1:80", nil)
      end)

      it("is particular about the bounds of user code", function()
        assert.is_false(port.deep())
        refuses("contain", port.contain, nil)
        refuses("contain: meter", port.contain, { seconds = 1 })
        refuses("contain: seconds", port.contain, { meter = { 0, 0 } })
        refuses("contain: seconds", port.contain, { meter = { 0, 0 }, seconds = 0 })
        refuses("contain: bytes", port.contain, { meter = { 0, 0 }, seconds = 1, bytes = 1 })
        refuses("contain", port.contain, { meter = { 0, 0 }, seconds = 1, minutes = 1 })
      end)

      it("knows its addresses and its name", function()
        local addresses = port.addresses()
        assert.is_true(#addresses > 0)
        for _, address in ipairs(addresses) do
          assert.is_string(address.name)
          assert.is_true(address.family == "inet" or address.family == "inet6")
          assert.is_string(address.address)
          assert.is_true(address.prefix >= 0 and address.prefix <= 128)
          assert.is_boolean(address.loopback)
          assert.is_boolean(address.up)
        end
        assert.is_string(port.hostname())
        assert.is_number(port.pid())
        assert.is_string(port.environ().PATH)
      end)
    end)

    -- --- descriptors of others -------------------------------------------------------------------

    describe("with a descriptor of somebody else's", function()
      it("tells that it is readable, again and again, until cancelled", function()
        local pipe = world.pipe()
        local id = assert(port.poll(pipe.fd, "r"))
        assert.is_true(quiet())
        pipe.write "x"
        for _ = 1, 3 do
          assert.same({ type = "poll", id = id, readable = true, writable = false }, world.next(BOUND))
        end
        assert.is_true(port.cancel(id))
        assert.is_true(quiet())
        pipe.close()
      end)

      it("refuses wrong arguments", function()
        refuses("poll: fd", port.poll, -1, "r")
        refuses("poll: mode", port.poll, 0, "x")
        local id, message, code = port.poll(9999, "r")
        assert.is_nil(id)
        assert.is_string(message)
        assert.equal("EBADF", code)
      end)
    end)

    -- --- files -----------------------------------------------------------------------------------

    describe("with files", function()
      local path
      before_each(function() path = world.path "file" end)

      local function code_of(_, message, code)
        assert.is_string(message)
        return code
      end

      it("writes and reads whole files of any bytes", function()
        local data = ("a\0b\255\n"):rep(50000)
        assert.is_true(port.write(path, data))
        assert.equal(data, port.read(path))
        assert.is_true(port.write(path, ""))
        assert.equal("", port.read(path))
      end)

      it("appends, and refuses to replace when told so", function()
        assert.is_true(port.write(path, "a", { exclusive = true }))
        assert.is_true(port.write(path, "b", { append = true, sync = true }))
        assert.equal("EEXIST", code_of(port.write(path, "c", { exclusive = true })))
        assert.equal("ab", port.read(path))
      end)

      it("reads no more than it may", function()
        port.write(path, "12345")
        assert.equal("12345", port.read(path, 5))
        assert.equal("EFBIG", code_of(port.read(path, 4)))
      end)

      it("says what it could not open", function()
        local data, message, code = port.read(path)
        assert.is_nil(data)
        assert.equal("ENOENT", code)
        assert.equal(('cannot open "%s": no such file or directory'):format(path), message)
        assert.equal("EISDIR", code_of(port.read(world.path "")))
        assert.equal("ENOENT", code_of(port.write(path .. "/x/y", "")))
      end)

      it("sets a mode as given", function()
        assert.is_true(port.write(path, "", { mode = 384 + 16 + 2 }))
        assert.equal(384 + 16 + 2, port.stat(path).mode)
        assert.is_true(port.chmod(path, { mode = 256 }))
        assert.equal(256, port.stat(path).mode)
        assert.is_true(port.chmod(path, {}))
        assert.equal("ENOENT", code_of(port.chmod(path .. "x", { mode = 0 })))
      end)

      it("knows what a path is", function()
        port.write(path, "abc")
        local stat = port.stat(path)
        assert.equal("file", stat.type)
        assert.equal(3, stat.size)
        assert.is_number(stat.uid)
        assert.is_number(stat.gid)
        assert.is_true(math.abs(stat.mtime - port.clock()) < 100)
        assert.equal("directory", port.stat(world.path "").type)
        assert.equal("ENOENT", code_of(port.stat(path .. "x")))
      end)

      it("renames over what is there, and removes", function()
        local other = world.path "other"
        port.write(path, "new")
        port.write(other, "old")
        assert.is_true(port.rename(path, other))
        assert.equal("new", port.read(other))
        assert.is_nil(port.stat(path))
        assert.equal("ENOENT", code_of(port.rename(path, other)))
        assert.is_true(port.remove(other))
        assert.equal("ENOENT", code_of(port.remove(other)))
      end)

      it("knows users and groups by name", function()
        assert.equal(0, port.lookup("user", "root"))
        assert.equal(0, port.lookup("group", "root"))
        assert.equal(4321, port.lookup("user", "4321"))
        assert.equal(4321, port.lookup("group", "4321"))
        assert.equal("ENOENT", code_of(port.lookup("user", "nobody-of-this-name")))
        assert.equal("ENOENT", code_of(port.lookup("group", "nobody-of-this-name")))
        refuses("lookup: kind", port.lookup, "host", "root")
        refuses("lookup: name", port.lookup, "user", 5)
      end)

      it("resolves a path", function()
        port.write(path, "")
        local directory = port.realpath(world.path "")
        assert.equal(directory .. "/file", port.realpath(directory .. "/../" .. path:match "[^/]+/file$"))
        assert.equal("ENOENT", code_of(port.realpath(path .. "x")))
      end)

      it("refuses wrong arguments by name", function()
        refuses("read: path", port.read, nil)
        refuses("read: path", port.read, "a\0b")
        refuses("read: limit", port.read, path, -1)
        refuses("write: data", port.write, path, 5)
        refuses('write: unknown field "perm"', port.write, path, "", { perm = 1 })
        refuses("write: mode", port.write, path, "", { mode = 1.5 })
        refuses("write: append", port.write, path, "", { append = 1 })
        refuses("rename: to", port.rename, path, nil)
        refuses("chmod: uid", port.chmod, path, { uid = "root" })
        refuses("stat: path", port.stat, {})
      end)
    end)

    -- --- the log ---------------------------------------------------------------------------------

    describe("with the log", function()
      it("takes messages with fields and flushes them", function()
        assert.is_true(port.logging { output = world.path "log", level = "debug" })
        port.log("info", "hello", { number = 1.5, text = "a b", flag = true })
        port.log("debug", "no fields")
        port.reopen()
        assert.equal(0, port.flush(1))
        assert.is_true(port.logging { output = "stdout", level = "info", format = "default" })
        local log = port.read(world.path "log")
        assert.matches("hello", log)
        assert.matches("no fields", log)
      end)

      it("returns when a file cannot be used, and raises for wrong words", function()
        local ok, message, code = port.logging { output = world.path "missing/log" }
        assert.is_nil(ok)
        assert.matches("missing/log", message)
        assert.equal("ENOENT", code)
        refuses("logging: output", port.logging, { output = "relative" })
        refuses("logging: format", port.logging, { format = "xml" })
        refuses("logging: level", port.logging, { level = "loud" })
        refuses("logging: unknown field", port.logging, { colour = true })
        refuses("log: level", port.log, "loud", "x")
        refuses("log: message", port.log, "info", nil)
        refuses("log: fields", port.log, "info", "x", { a = {} })
        refuses("flush: seconds", port.flush, nil)
      end)

      it("takes a deadline", function()
        port.deadline(100)
        refuses("deadline: seconds", port.deadline, "soon")
      end)
    end)
  end)
end

contract("real", require "support.real_world")

-- The simulated one has its adapter beside this one's.
local simulated, sim_world = pcall(require, "support.sim_world")
if simulated then
  contract("simulated", sim_world)
elseif not tostring(sim_world):find("module 'support.sim_world' not found", 1, true) then
  error(sim_world)
end
