-- The contract of the port: what lua/luapilot/port.lua promises, on whatever implements it.
--
-- Nothing here sleeps: a spec waits for an event, and a bound turns its absence into a failure.

local job_output = require "luapilot.job.output"
local machine = require "support.machine"

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

    local function wait_for_ends(id, streams)
      local function ends()
        local count = 0
        for _, event in ipairs(seen) do
          if event.type == "output" and event.id == id and event.last then count = count + 1 end
        end
        return count == (streams or 2)
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
      it("tells its pid, its exit code, and then the end of its group", function()
        local id, pid = spawn { exit = 3 }
        assert.is_number(pid)
        local exit = wait_for("exit", id)
        assert.equal(3, exit.code)
        assert.is_nil(exit.signal)
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

      describe("in a control group whose memory is bounded", function()
        local function spawn_bounded(behaviour)
          local options = { argv = world.program(behaviour), cgroup = { name = "bounded", memory_max = 16 * 1024 ^ 2 } }
          local id, message, _, stage = port.spawn(options)
          if not id and stage == "cgroup" then machine.skip(message) end
          return remember(assert(id, message))
        end

        it("tells that it was killed for lack of memory", function()
          local exit = wait_for("exit", (spawn_bounded { eats = true }))
          assert.equal("SIGKILL", exit.signal)
          assert.equal("own", exit.oom)
        end)

        it("tells so when somebody else of it was, and it has failed", function()
          local exit = wait_for("exit", (spawn_bounded { eats = true, exit = 3 }))
          assert.equal(3, exit.code)
          assert.equal("own", exit.oom)
        end)

        it("tells nothing of the kind of another SIGKILL, nor of one that we sent", function()
          assert.is_nil(wait_for("exit", (spawn_bounded { signal = "SIGKILL" })).oom)
          local id = spawn_bounded {}
          port.kill(id, "SIGKILL", "group")
          assert.is_nil(wait_for("exit", id).oom)
        end)
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

      it("ends those of its session, too, that are in groups of their own", function()
        world.adopt()
        local id = spawn { exit = 0, grandchild = { setpgid = true, grandchild = { setpgid = true } } }
        wait_for("group_gone", id)
        assert.equal(0, wait_for("exit", id).code)
      end)

      it("counts whom it had to end, but not after a SIGKILL of ours", function()
        world.adopt()
        local id = spawn { exit = 0, grandchild = {} }
        assert.equal(1, wait_for("group_gone", id).ended)
        id = spawn { exit = 0, grandchild = { setpgid = true } }
        assert.equal(1, wait_for("group_gone", id).ended)
        id = spawn { exit = 0 }
        assert.is_nil(wait_for("group_gone", id).ended)
        id = spawn({ grandchild = { ignores = { "SIGTERM" } } }, { capture = true })
        wait_for_text(id, "ready")
        port.kill(id, "SIGKILL", "group")
        assert.is_nil(wait_for("group_gone", id).ended)
      end)

      it("is not gone before they are, whom SIGKILL reaches", function()
        world.adopt()
        local id = spawn({ exit = 0, grandchild = { setpgid = true, ignores = { "SIGUSR1" } } },
          { capture = true, end_signal = "SIGUSR1" })
        wait_for_text(id, "ready")
        wait_for("exit", id)
        assert.is_true(quiet())
        assert.is_true(port.kill(id, "SIGKILL", "group"))
        wait_for("group_gone", id)
      end)

      it("kills them at once when its group was killed", function()
        world.adopt()
        local id = spawn({ grandchild = { setpgid = true, ignores = { "SIGTERM" } } }, { capture = true })
        wait_for_text(id, "ready")
        port.kill(id, "SIGKILL", "group")
        wait_for("group_gone", id)
      end)

      it("tells each of them once", function()
        world.adopt()
        local id = spawn({ exit = 0, grandchild = { setpgid = true, tells = { "SIGUSR1" } } },
          { capture = true, end_signal = "SIGUSR1" })
        wait_for_text(id, "SIGUSR1")
        wait_for_text(id, "ready") -- which may come second
        assert.is_true(quiet())
        port.kill(id, "SIGKILL", "group")
        wait_for_ends(id)
        local _, count = text_of(id):gsub("SIGUSR1", "")
        assert.equal(1, count)
      end)

      it("tells who lives on when it has succeeded, and whom it leaves behind", function()
        world.adopt()
        local id, pid = spawn({ exit = 0, grandchild = { setsid = true, stays = true } },
          { env_added = { LUAPILOT_JOB = "app" }, mark = "LUAPILOT_JOB=app" })
        local gone = wait_for("group_gone", id)
        local left = gone.left
        assert.equal(left.name, gone.name) -- a fork of it
        assert.is_true(left.pid ~= pid)
        assert.equal(1, gone.count)
        assert.same(left, gone.strays[1])
        local function marked(job)
          return (spawn({}, { env_added = { LUAPILOT_JOB = job }, mark = "LUAPILOT_JOB=" .. job }))
        end
        local later = marked "app"
        assert.same({ left }, port.strays(later))
        assert.same({}, port.strays(marked "other"))
        port.kill(later, "SIGTERM", "group")
        assert.is_nil(wait_for("group_gone", later).strays) -- it was not this one that left it
        stale(port.strays(later))
        assert.same({}, port.strays((spawn {})))
      end)

      it("names as strays of earlier ones nobody whom it has left itself", function()
        world.adopt()
        local helper = { setsid = true, stdout = "ready", stays = true }
        local id = spawn({ grandchild = { exit = 0, grandchild = helper } },
          { env_added = { LUAPILOT_JOB = "own" }, mark = "LUAPILOT_JOB=own", capture = true })
        wait_for_text(id, "ready")
        assert.same({}, port.strays(id))
        port.kill(id, "SIGKILL", "group")
        assert.equal(1, wait_for("group_gone", id).count)
      end)

      it("names as strays nobody who is of another process's session", function()
        world.adopt()
        local options = { env_added = { LUAPILOT_JOB = "two" }, mark = "LUAPILOT_JOB=two" }
        local job = spawn({}, options)
        local check = spawn({ grandchild = { exit = 0, grandchild = { stdout = "ready", stays = true } } },
          { env_added = options.env_added, mark = options.mark, capture = true })
        wait_for_text(check, "ready")
        port.kill(job, "SIGKILL", "group")
        assert.is_nil(wait_for("group_gone", job).strays)
        port.kill(check, "SIGKILL", "group")
        assert.is_nil(wait_for("group_gone", check).strays)
      end)

      it("says nothing of those who are there when it has failed", function()
        world.adopt()
        local id = spawn({ exit = 1, grandchild = { setpgid = true } },
          { env_added = { LUAPILOT_JOB = "app" }, mark = "LUAPILOT_JOB=app" })
        local gone = wait_for("group_gone", id)
        assert.is_nil(gone.left or gone.name)
        assert.is_nil(gone.strays)
      end)

      it("tells of whom it knows by the name of his program alone", function()
        world.adopt()
        local id = spawn({ exit = 0, grandchild = { setsid = true, unmarked = true, stays = true } },
          { env_added = { LUAPILOT_JOB = "app" }, mark = "LUAPILOT_JOB=app" })
        local gone = wait_for("group_gone", id)
        assert.equal(1, gone.count)
        assert.is_true(gone.strays[1].by_name)
        assert.is_true(gone.left.by_name)
        id = spawn({ exit = 0, grandchild = { setsid = true, stays = true } },
          { env_added = { LUAPILOT_JOB = "two" }, mark = "LUAPILOT_JOB=two" })
        gone = wait_for("group_gone", id)
        assert.is_nil(gone.left.by_name)
      end)

      describe("that hands over", function()
        -- A program whose child is about to follow it, and that ends by SIGUSR1.
        local function spawn_pair(options, leader, heir_to_be)
          options = options or {}
          options.capture, options.end_signal = true, "SIGUSR2"
          world.adopt()
          leader, heir_to_be = leader or { on = { SIGUSR1 = 0 } }, heir_to_be or {}
          heir_to_be.on, heir_to_be.shows_pid = { SIGUSR2 = 3 }, true
          leader.grandchild = heir_to_be
          local id, pid = spawn(leader, options)
          gather(function() return text_of(id):find "pid %d+\n" and text_of(id):find "ready.*ready" end, "two ready")
          local heir = tonumber(text_of(id):match "pid (%d+)\n")
          world.adopt(heir)
          return id, heir, pid
        end

        local function assert_followed(id, heir)
          port.kill(id, "SIGUSR1", "leader")
          assert.equal(heir, wait_for("main", id).pid)
          assert.is_true(quiet())
          port.kill(id, "SIGUSR2", "leader")
          assert.equal(3, wait_for("exit", id).code)
          wait_for("group_gone", id)
        end

        local function assert_ended(id)
          world.adopt() -- and reap all
          port.kill(id, "SIGUSR1", "leader")
          assert.equal(0, wait_for("exit", id).code)
          wait_for("group_gone", id)
          assert.is_nil(position("main", id))
        end

        it("goes on in whom it has named", function()
          local id, heir = spawn_pair()
          assert.is_true(port.successor(id, heir))
          assert_followed(id, heir)
          wait_for_ends(id)
          stale(port.successor(id, heir))
        end)

        it("goes on in whom its pidfile names when it has ended, or soon after", function()
          local path = world.path "pid"
          local id, heir = spawn_pair { pidfile = path }
          world.write(path, (" %d\n"):format(heir))
          assert_followed(id, heir)
          os.remove(path)
          path = world.path "later"
          id, heir = spawn_pair { pidfile = path }
          port.kill(id, "SIGUSR1", "leader")
          assert.is_true(quiet())
          world.write(path, tostring(heir))
          assert.equal(heir, wait_for("main", id).pid)
        end)

        it("ends when its pidfile still names it, or something else than a process of its own", function()
          local path = world.path "pid"
          local id, _, pid = spawn_pair { pidfile = path }
          world.write(path, tostring(pid))
          assert_ended(id)
          local _, stranger = spawn {}
          for _, text in ipairs { tostring(stranger), "1", "0", "-1", "7x", ("1"):rep(40), "" } do
            id = spawn_pair { pidfile = path }
            world.write(path, text)
            assert_ended(id)
          end
        end)

        -- The number comes through Lua: all that was said is heard before the exit counts.
        it("goes on in whom it has named in the moment in which it ended", function()
          local path = world.path "message"
          for _ = 1, 8 do
            local id, heir, pid = spawn_pair({ notify = true }, { says = { SIGUSR1 = path } })
            world.write(path, "MAINPID=" .. heir)
            port.kill(id, "SIGUSR1", "leader")
            world.dies_unseen(pid)
            gather(function(event)
              return event.type == "notify" and event.fields.MAINPID == tostring(heir) and port.successor(id, heir)
            end, "MAINPID")
            assert.is_nil(position("exit", id))
            assert.equal(heir, wait_for("main", id).pid)
            port.kill(id, "SIGUSR2", "leader")
            assert.equal(3, wait_for("exit", id).code)
          end
        end)

        it("tells why nobody followed, when others of its session lived", function()
          local path = world.path "pid"
          local _, stranger = spawn {}
          for _, case in ipairs {
            { false, why = "absent" }, { "", why = "no_pid" }, { "7x", why = "no_pid" },
            { 999999999, why = "ended" }, { stranger, why = "session" },
          } do
            local id = spawn_pair { pidfile = path }
            if case[1] then world.write(path, tostring(case[1])) end
            world.adopt()
            port.kill(id, "SIGUSR1", "leader")
            assert.same({ why = case.why, pid = tonumber(case[1] or nil) }, wait_for("exit", id).unfollowed)
          end
          local id = spawn_pair()
          port.successor(id, stranger)
          port.kill(id, "SIGUSR1", "leader")
          assert.same({ why = "session", pid = stranger, notify = true }, wait_for("exit", id).unfollowed)
        end)

        it("tells nothing of it when nobody was to follow, or nobody was left", function()
          local path = world.path "pid"
          local id, heir, pid = spawn_pair { pidfile = path }
          assert.is_true(heir ~= pid)
          world.write(path, tostring(pid))
          port.kill(id, "SIGUSR1", "leader")
          assert.is_nil(wait_for("exit", id).unfollowed)
          id, heir = spawn_pair { pidfile = path }
          world.write(path, tostring(heir))
          port.successor(id, 0)
          port.kill(id, "SIGUSR1", "leader")
          assert.is_nil(wait_for("exit", id).unfollowed)
          id = spawn({ exit = 0 }, { pidfile = world.path "absent" })
          assert.is_nil(wait_for("exit", id).unfollowed)
          id = spawn({ exit = 0, grandchild = {} })
          assert.is_nil(wait_for("exit", id).unfollowed)
        end)

        it("ends when nobody is to follow", function()
          local path = world.path "pid"
          local id, heir = spawn_pair { pidfile = path }
          world.write(path, tostring(heir))
          port.successor(id, 0)
          assert_ended(id)
          id = spawn_pair { pidfile = world.path "absent" }
          port.kill(id, "SIGUSR1", "leader")
          assert.is_true(quiet())
          world.adopt()
          port.successor(id, 0)
          assert.equal(0, wait_for("exit", id).code)
        end)
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

      it("is started by a plan again and again, with what the plan's options were when it was made", function()
        local options = {
          argv = { unpack(world.program { shows = "WORD", exit = 0 }) }, env_added = { WORD = "one" .. QUIET },
          capture = true,
          output = { name = "app" .. QUIET, level = "info" }, limits = { nofile = { 64, 64 } }, stop_signal = "SIGINT",
        }
        local plan = port.plan(options)
        options.env_added.WORD, options.output.name, options.argv[1] = "two", "other", "/nothing"
        options = nil -- luacheck: ignore
        for _ = 1, 3 do
          collectgarbage()
          local id, pid = assert(port.spawn(plan))
          assert.is_number(pid)
          wait_for_ends(remember(id))
          assert.equal("one" .. QUIET, text_of(id))
          assert.equal(0, wait_for("exit", id).code)
        end
      end)

      it("is started by a plan in the world as it is then", function()
        local file = world.path "log"
        world.link(file, file)
        local plan = port.plan { argv = world.program { exit = 0 }, output = { name = "app", file = file } }
        assert.same({ "ELOOP", "output" }, { select(3, port.spawn(plan)) })
        assert(port.remove(file))
        assert.equal(0, wait_for("exit", remember(assert(port.spawn(plan)))).code)
      end)

      it("is told of the user that it runs as, unless it is told otherwise", function()
        world.need_owners()
        local function shown(variable, added)
          local id = spawn({ shows = variable, exit = 0 },
            { user = 12345, group = 12345, env_added = added, capture = true })
          wait_for_ends(id)
          return text_of(id)
        end
        assert.same({ "/", "", "" }, { shown "HOME", shown "USER", shown "LOGNAME" })
        assert.equal("/srv", shown("HOME", { HOME = "/srv" }))
      end)

      it("runs in the directory that it was given", function()
        local path = world.path ""
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

      it("may give it an input that never ends", function()
        local id = spawn({ cat = true }, { input = "open", capture = true })
        assert.is_true(quiet())
        port.kill(id, "SIGTERM", "group")
        assert.equal("SIGTERM", wait_for("exit", id).signal)
        wait_for("group_gone", id)
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

      -- The log, once so many bytes are in it.
      local function log_of(path, size)
        local stop = port.now() + BOUND
        while #port.read(path) < size and port.now() < stop do world.next(0.01) end
        return port.read(path)
      end

      -- What job/output.lua makes of all that came.
      local function lines_of(text)
        local list, at = {}, 1
        while at <= #text do
          local line, after, goes_on = job_output.next(text, at)
          at = after
          list[#list + 1] = line .. (goes_on and at <= #text and "…" or "")
        end
        return list
      end

      it("gives beside the log every byte, as if there were none", function()
        local text = "a\r\n\n\tb \n\255\1\nhalf a line"
        local id = spawn({ stdout = text, stderr = "\n", exit = 0 },
          { capture = true, output = { name = "job", file = world.path "log" } })
        wait_for("group_gone", id)
        wait_for_ends(id)
        assert.equal(text, text_of(id))
        assert.equal("\n", text_of(id, "stderr"))
      end)

      it("gives a long line beside the log in the parts that the log has, never cut inside a character", function()
        local euro, face = "\226\130\172", "\240\159\152\128"
        for i, text in ipairs { "x", "\195\169", euro, face, "a" .. euro .. face, face .. "\237\160\128\255" } do
          local log = world.path("log" .. i)
          local id = spawn({ stdout = "ab", repeats = { text, 150000 }, exit = 0 },
            { capture = true, output = { name = "job", file = log, prefix = false } })
          wait_for_ends(id)
          wait_for("group_gone", id)
          local whole = "ab" .. text:rep(150000)
          assert.is_true(text_of(id) == whole)
          local expected = lines_of(whole)
          local parts = {}
          for part in log_of(log, #whole + #expected):gmatch "([^\n]*)\n" do parts[#parts + 1] = part end
          assert.equal(#expected, #parts)
          for n, part in ipairs(parts) do assert.is_true(part .. (n < #parts and "…" or "") == expected[n]) end
        end
      end)

      it("gives no more than the part of a line that is there, each time", function()
        local id = spawn({ repeats = { "x", 1000000 }, exit = 0 },
          { capture = true, output = { name = "job", file = world.path "log" } })
        wait_for_ends(id)
        for _, event in ipairs(seen) do
          if event.type == "output" then assert.is_true(#event.data <= 128 * 1024) end
        end
      end)

      describe("that is held", function()
        local MORE = { "0123456789\n", 200000 } -- than any pipe takes

        local function held_up(options)
          local id = spawn({ repeats = MORE, exit = 0 }, options)
          wait_for("output", id)
          assert.is_true(port.hold(id, true))
          assert.is_true(port.hold(id, true))
          while quiet() ~= true do end -- what was on its way
          assert.is_nil(position("exit", id))
          return id
        end

        local function goes_on(id)
          wait_for("group_gone", id)
          wait_for_ends(id)
          assert.is_true(text_of(id) == MORE[1]:rep(MORE[2]))
        end

        it("waits in its write, until it is read again: no byte is lost", function()
          local log = world.path "log"
          for _, output in ipairs { false, { name = "job", file = log, prefix = false } } do
            local id = held_up { capture = true, output = output or nil }
            assert.is_true(port.hold(id, false))
            goes_on(id)
          end
          assert.is_true(log_of(log, #MORE[1] * MORE[2]) == MORE[1]:rep(MORE[2]))
        end)

        it("exits, but its output ends when it was read", function()
          local id = spawn({ stdout = "a\n", exit = 0 }, { capture = true })
          assert.is_true(port.hold(id, true))
          wait_for("exit", id)
          wait_for("group_gone", id)
          assert.is_true(quiet())
          assert.is_true(port.hold(id, false))
          wait_for_ends(id)
          assert.equal("a\n", text_of(id))
          stale(port.hold(id, false))
        end)

        it("is read again when nobody listens any more", function()
          local log = world.path "log"
          local id = held_up { capture = true, output = { name = "job", file = log, prefix = false } }
          assert.is_true(port.capture(id, false))
          wait_for("exit", id)
          wait_for("group_gone", id)
          local written = MORE[1]:rep(MORE[2])
          assert.is_true(log_of(log, #written) == written)
        end)

        it("can be cancelled", function()
          local id, pid = held_up { capture = true }
          assert.is_true(port.cancel(id))
          assert.is_true(quiet())
          stale(port.hold(id, false))
          assert.is_true(pid == nil or not world.alive(pid))
        end)

        it("must be captured", function()
          local id = spawn({}, { output = { name = "job", file = world.path "log" } })
          local ok, _, code = port.hold(id, true)
          assert.is_nil(ok)
          assert.equal("EINVAL", code)
          stale(port.hold(999999999, true))
        end)
      end)

      it("keeps the order of stdout and stderr when they are one, which is stdout then", function()
        local log, said = world.path "log", {}
        for i = 1, 20 do said[i] = i .. "\n" end
        local id = spawn({ alternates = said, exit = 0 },
          { capture = true, output = { name = "job", file = log, prefix = false, merge = true } })
        wait_for("group_gone", id)
        wait_for_ends(id, 1)
        for _, event in ipairs(seen) do
          if event.type == "output" then assert.equal("stdout", event.stream) end
        end
        assert.equal(table.concat(said), text_of(id))
        assert.equal(table.concat(said), log_of(log, #table.concat(said)))
        stale(port.cancel(id))
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

    describe("whose start may hang", function()
      local disk

      local function begin(behaviour, options)
        disk = disk or world.dead_disk()
        options = options or {}
        options.cwd = options.cwd or disk.path
        options.argv = behaviour[1] and behaviour or world.program(behaviour)
        local id, pid = assert(port.spawn(options))
        assert.is_nil(pid)
        return remember(id)
      end

      before_each(function() disk = nil end)

      it("starts others meanwhile, and tells the pid when it has started", function()
        local id = begin({ stdout = "late\n", exit = 3 }, { capture = true })
        local other = spawn { exit = 0 }
        wait_for("group_gone", other)
        assert.is_nil(position("spawned", id))
        assert.same({ nil, "ESRCH" }, { [2] = select(3, port.kill(id, "SIGTERM", "group")) })
        disk.answer()
        local pid = wait_for("spawned", id).pid
        assert.is_true(pid > 0)
        assert.equal(3, wait_for("exit", id).code)
        wait_for("group_gone", id)
        wait_for_ends(id)
        assert.equal("late\n", text_of(id))
        local first
        for i = #seen, 1, -1 do first = seen[i].id == id and seen[i].type or first end
        assert.equal("spawned", first)
        stale(port.kill(id, "SIGTERM", "group"))
      end)

      it("tells why it cannot be started, and is gone", function()
        local id = begin({ exit = 0 }, { capture = true })
        disk.fail()
        local event = wait_for("spawn_failed", id)
        assert.equal("cwd", event.stage)
        assert.is_truthy(event.message:find(disk.path, 1, true), event.message)
        assert.matches("^E", event.code)
        stale(port.cancel(id))
        assert.is_true(quiet())
      end)

      it("tells after ten seconds what it hangs in, and how long the next one waits for it", function()
        local argv = world.program { exit = 0 }
        local id, same = begin(argv), begin(argv)
        local event = wait_for("spawning", id)
        assert.equal("cwd", event.stage)
        assert.equal(('hangs in working directory "%s"'):format(disk.path), event.message)
        assert.is_true(event.seconds >= 10)
        event = wait_for("spawning", same)
        assert.equal("turn", event.stage)
        assert.equal("waits for an earlier one of the same program, which "
          .. ('hangs in working directory "%s"'):format(disk.path), event.message)
      end)

      it("is one at a time of the same program, and in order", function()
        local argv = world.program { exit = 1 }
        local one, two = begin(argv), begin(argv)
        disk.answer()
        wait_for("spawned", one)
        wait_for("spawned", two)
        assert.is_true(position("spawned", one) < position("spawned", two))
        wait_for("group_gone", one)
        wait_for("group_gone", two)
      end)

      it("never starts when it was cancelled, and the next one need not wait for it", function()
        local argv = world.program { stdout = "once\n", exit = 0 }
        local output = { name = "job", file = world.path "log" }
        local id = begin(argv, { output = output })
        assert.is_true(port.cancel(id))
        stale(port.cancel(id))
        local same = begin(argv, { output = output, capture = true })
        disk.answer()
        wait_for("spawned", same)
        wait_for("group_gone", same)
        wait_for_ends(same)
        for _, event in ipairs(seen) do assert.are_not.equal(id, event.id) end
        assert.matches("^[^\n]*once\n$", port.read(world.path "log"))
      end)

      it("may be captured and held before it has started", function()
        local id = begin({ stdout = "line\n", exit = 0 }, { output = { name = "job", file = world.path "log" } })
        assert.is_true(port.capture(id, true))
        assert.is_true(port.hold(id, true))
        assert.is_true(port.hold(id, false))
        disk.answer()
        wait_for("group_gone", id)
        wait_for_ends(id)
        assert.equal("line\n", text_of(id))
      end)

      it("hangs in its program", function()
        disk = world.dead_disk()
        local id, pid = port.spawn { argv = { disk.path .. "/unknown" } }
        remember(id)
        assert.is_nil(pid)
        disk.fail()
        local event = wait_for("spawn_failed", id)
        assert.equal("exec", event.stage)
        assert.is_truthy(event.message:find(disk.path .. "/unknown", 1, true), event.message)
      end)

      it("is done by so many at the same time, and the rest waits for a turn", function()
        disk = world.dead_disk()
        local ids = {}
        for i = 1, 33 do
          ids[i] = remember((assert(port.spawn { argv = { ("%s/unknown-%d"):format(disk.path, i) } })))
        end
        local event = wait_for("spawning", ids[33])
        assert.equal("turn", event.stage)
        assert.equal("waits for its turn: 32 others hang", event.message)
        assert.equal("exec", wait_for("spawning", ids[32]).stage)
        port.cancel(ids[1])
        disk.fail()
        for i = 2, 33 do wait_for("spawn_failed", ids[i]) end
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
        local missing = world.path "missing"
        has("ENOENT", "cwd", missing, fails { argv = argv, cwd = missing })
      end)

      it("says so later where it would be another user, whom others of his can stop on the way", function()
        local function fails_later(options)
          local id, pid = assert(port.spawn(options))
          assert.is_nil(pid)
          local event = wait_for("spawn_failed", remember(id))
          stale(port.cancel(id))
          return { event.code, event.stage, event.message }
        end
        local argv = world.program { exit = 0 }
        has("ENOENT", "user", "nobody-is-called-so", fails_later { argv = argv, user = "nobody-is-called-so" })
        has("ENOENT", "group", "nobody-is-called-so", fails_later { argv = argv, group = "nobody-is-called-so" })
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
          { "spawn: input", { argv = argv, input = "closed" } },
          { "spawn: input", { argv = argv, input = "open", stdin = "x" } },
          { "spawn: output: name", { argv = argv, output = {} } },
          { "spawn: output", { argv = argv, output = { name = "a", colour = true } } },
          { "spawn: capture", { argv = argv, capture = 1 } },
          { "spawn: capture", { argv = argv, capture = true, output = { name = "a", raw = true } } },
          { "spawn: output: merge", { argv = argv, output = { name = "a", merge = 1 } } },
          { "spawn: output: merge", { argv = argv, output = { name = "a", merge = true, raw = true } } },
          { "spawn: output.*parse", { argv = argv, output = { name = "a", parse = "xml" } } },
          { "spawn: output: parse", { argv = argv, output = { name = "a", parse = "json", raw = true } } },
          { "spawn: output.*level_from", { argv = argv, output = { name = "a", parse = "json", level_from = 1 } } },
          { "spawn: notify", { argv = argv, notify = "yes" } },
          { "spawn: end_signal", { argv = argv, end_signal = "TERM" } },
          { "spawn: stop_signal", { argv = argv, stop_signal = "SIGNOPE" } },
          { "spawn: stop_timeout", { argv = argv, stop_timeout = -1 } },
        }
        for _, case in ipairs(wrong) do
          refuses(case[1], port.spawn, case[2])
          refuses(case[1], port.plan, case[2])
        end
        refuses("spawn: expected a table, got nil", port.spawn, nil)
        refuses("spawn: expected a table, got userdata", port.spawn, io.stdout)
        refuses("spawn: expected a table, got nil", port.plan, nil)
        refuses("spawn", port.plan, port.plan { argv = argv })
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
        refuses("shutdown_signals: %[1%]", port.shutdown_signals, { "USR1" })
        refuses("shutdown_signals: %[2%]", port.shutdown_signals, { "SIGHUP", "SIGKILL" })
        refuses("shutdown_signals: names", port.shutdown_signals, "SIGHUP")
      end)
    end)

    -- --- streams to servers ----------------------------------------------------------------------

    for _, kind in ipairs { "tcp", "unix" } do
      describe("by " .. kind, function()
        local server, id

        before_each(function()
          server = world.server(kind)
          local target = server.target
          id = remember(port.dial { address = target.address, path = target.path, timeout = BOUND })
          assert.same({ type = "connected", id = id }, world.next(BOUND))
        end)

        local function nothing_now(data, message, code)
          assert.is_nil(data)
          assert.equal("resource temporarily unavailable", message)
          assert.equal("EAGAIN", code)
        end

        local function wait_until_readable()
          assert.is_true(port.want(id, "r"))
          assert.same({ type = "ready", id = id, readable = true, writable = false }, world.next(BOUND))
        end

        -- As much as the kernel takes: how much that was.
        local function fill()
          local block, sent = ("x"):rep(65536), 0
          repeat
            local size = port.send(id, block, 1)
            sent = sent + (size or 0)
          until not size or sent > 2 ^ 28
          return sent, port.send(id, block, 1)
        end

        it("gives what comes, no more than it was asked for, until the end", function()
          nothing_now(port.receive(id, 100))
          server.send "hello\0world"
          wait_until_readable()
          assert.equal("hel", port.receive(id, 3))
          wait_until_readable()
          assert.equal("lo\0world", port.receive(id, 65536))
          nothing_now(port.receive(id, 65536))
          server.close()
          wait_until_readable()
          assert.equal("", port.receive(id, 1))
          assert.equal("", port.receive(id, 1))
        end)

        it("gives what was sent before the end", function()
          server.send "last words"
          server.close()
          wait_until_readable()
          assert.equal("last words", port.receive(id, 100))
          wait_until_readable()
          assert.equal("", port.receive(id, 100))
        end)

        it("sends, from any byte on", function()
          assert.equal(3, port.send(id, "abc", 1))
          assert.equal(1, port.send(id, "abc", 3))
          assert.equal("abcc", server.receive(4))
        end)

        it("says that it can be written to at once", function()
          assert.is_true(port.want(id, "w"))
          assert.same({ type = "ready", id = id, readable = false, writable = true }, world.next(BOUND))
          assert.is_true(quiet())
        end)

        it("takes no more than the other end reads", function()
          local sent, again, message, code = fill()
          nothing_now(again, message, code)
          assert.is_true(port.want(id, "w"))
          assert.is_true(quiet())
          assert.equal(sent, #server.receive(sent))
          assert.same({ type = "ready", id = id, readable = false, writable = true }, world.next(BOUND))
          assert.is_number(port.send(id, "x", 1))
        end)

        it("tells each thing once, and nothing that nobody asked for", function()
          server.send "hello"
          assert.is_true(quiet())
          wait_until_readable()
          assert.is_true(quiet())
          wait_until_readable()
          assert.equal("hello", port.receive(id, 100))
        end)

        it("tells both when both were asked for, one after the other or together", function()
          port.want(id, "r")
          port.want(id, "w")
          assert.same({ type = "ready", id = id, readable = false, writable = true }, world.next(BOUND))
          server.send "x"
          assert.same({ type = "ready", id = id, readable = true, writable = false }, world.next(BOUND))
        end)

        it("fails to send when nobody reads any more", function()
          server.close()
          local sent, message, code
          repeat
            sent, message, code = port.send(id, "x", 1)
            if sent or code == "EAGAIN" then
              port.want(id, "w")
              world.next(QUIET)
            end
          until not sent and code ~= "EAGAIN"
          assert.is_true(code == "EPIPE" or code == "ECONNRESET", code)
          assert.is_string(message)
        end)

        it("ends for the other one when it is cancelled, after what was sent", function()
          port.send(id, "bye", 1)
          assert.is_true(port.cancel(id))
          assert.equal("bye", server.receive(4))
          stale(port.cancel(id))
          stale(port.receive(id, 1))
          stale(port.send(id, "x", 1))
          stale(port.want(id, "r"))
        end)

        it("tells nothing any more when it is cancelled", function()
          server.send "x"
          port.want(id, "r")
          assert.is_true(port.cancel(id))
          assert.is_true(quiet())
        end)

        it("can be guarded", function()
          assert.is_truthy(port.guard(id))
          stale(port.guard(999999999))
        end)
      end)
    end

    describe("to a server", function()
      it("takes any length of time", function()
        for _, seconds in ipairs { 2e6, 1e300 } do
          assert.is_true(port.cancel(port.timer(seconds)))
          assert.is_true(port.cancel(port.dial { address = world.silent(), timeout = seconds }))
          assert.is_true(port.cancel(port.connect(world.silent(), seconds)))
        end
        for _, seconds in ipairs { math.huge, 0 / 0 } do
          refuses("timer: seconds", port.timer, seconds)
          refuses("dial: timeout", port.dial, { address = "127.0.0.1:1", timeout = seconds })
        end
      end)

      it("tells of a connection that breaks", function()
        local server = world.server "tcp"
        local id = remember(port.dial { address = server.target.address })
        assert.same({ type = "connected", id = id }, world.next(BOUND))
        server.reset()
        port.want(id, "r")
        assert.same({ type = "ready", id = id, readable = true, writable = false }, world.next(BOUND))
        local data, message, code = port.receive(id, 1)
        assert.same({ nil, "connection reset by peer", "ECONNRESET" }, { data, message, code })
      end)

      it("gives what came before it broke", function()
        local server = world.server "tcp"
        local id = remember(port.dial { address = server.target.address })
        assert.same({ type = "connected", id = id }, world.next(BOUND))
        server.send "last words"
        port.want(id, "r")
        assert.same({ type = "ready", id = id, readable = true, writable = false }, world.next(BOUND))
        server.reset()
        assert.equal("last", port.receive(id, 4))
        port.want(id, "r")
        assert.same({ type = "ready", id = id, readable = true, writable = false }, world.next(BOUND))
        assert.equal(" words", port.receive(id, 100))
        assert.equal("ECONNRESET", select(3, port.receive(id, 100)))
      end)

      local function fails(options, wanted, words)
        local id = port.dial(options)
        local event = world.next(BOUND)
        assert.equal(id, event.id)
        assert.equal("connected", event.type)
        assert.equal(wanted, event.code)
        assert.matches(words, event.error)
        stale(port.cancel(id))
      end

      it("says why there is no connection", function()
        fails({ address = world.refused() }, "ECONNREFUSED", "cannot connect to 127.0.0.1:%d+: connection refused")
        fails({ address = world.silent(), timeout = 0.05 }, "ETIMEDOUT", "no answer within 50ms")
        fails({ path = world.path "nobody" }, "ENOENT", "cannot connect to unix:/.*/nobody: no such file or directory")
      end)

      it("neither sends nor receives before it is there, and comes to nothing when it is cancelled", function()
        local id = port.dial { address = world.silent(), timeout = BOUND }
        for _, code in ipairs { select(3, port.receive(id, 1)), select(3, port.send(id, "x", 1)),
          (select(3, port.want(id, "r"))) } do assert.equal("ENOTCONN", code) end
        assert.is_true(port.cancel(id))
        assert.is_true(quiet())
      end)

      it("refuses what is wrong", function()
        for _, address in ipairs { "", "host", "host:", ":80", "host:http", "host:0", "host:65536", "::1:80" } do
          refuses("dial: address", port.dial, { address = address })
        end
        refuses("dial: expected one of address and path", port.dial, {})
        refuses("dial: expected one of address and path", port.dial, { address = "127.0.0.1:1", path = "/x" })
        refuses("dial: path", port.dial, { path = "" })
        refuses("dial: path", port.dial, { path = "/a\0b" })
        refuses("dial: timeout", port.dial, { address = "127.0.0.1:1", timeout = -1 })
        refuses("dial: unknown field", port.dial, { address = "127.0.0.1:1", tls = true })
        refuses("receive: most", port.receive, 1, 0)
        refuses("receive: most", port.receive, 1, 65537)
        refuses("send: data", port.send, 1, nil, 1)
        refuses("send: from", port.send, 1, "abc", 0)
        refuses("send: from", port.send, 1, "abc", 4)
        refuses("want: mode", port.want, 1, "rw")
        local timer = remember(port.timer(1000))
        stale(port.receive(timer, 1))
        stale(port.send(timer, "x", 1))
        stale(port.want(timer, "w"))
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

      it("knows its working directory: where a program runs that is given none", function()
        local id = spawn({ shows_cwd = true, exit = 0 }, { capture = true })
        wait_for_ends(id)
        assert.equal(port.cwd() .. "\n", text_of(id))
        assert.equal("/", port.cwd():sub(1, 1))
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

      local function fails(expected, result, message, code)
        assert.is_nil(result)
        assert.is_string(message)
        assert.equal(expected, code, message)
        return message
      end

      local function place(at)
        local id = assert(port.place(world.path(at or "file")))
        return remember(id)
      end

      local function open(what, mode, at)
        local id, stat = port.open(what, mode, at)
        assert.is_truthy(id, stat)
        return remember(id), stat
      end

      local function make(what, text, at)
        local id = open(what, "create", at)
        assert.is_true(port.put(id, text or ""))
        assert.is_true(port.cancel(id))
      end

      local function names(...)
        local list = assert(port.list(...))
        table.sort(list)
        return table.concat(list, " ")
      end

      describe("read whole,", function()
        it("gives any bytes", function()
          local data = ("a\0b\255\n"):rep(50000)
          world.write(path, data)
          assert.equal(data, port.read(path))
          world.write(path, "")
          assert.equal("", port.read(path))
        end)

        it("gives no more than it may", function()
          world.write(path, "12345")
          assert.equal("12345", port.read(path, 5))
          assert.equal(('cannot read "%s": file too large'):format(path), fails("EFBIG", port.read(path, 4)))
          world.write(path, "")
          assert.equal("", port.read(path, 0))
        end)

        it("says what it could not open", function()
          assert.equal(('cannot open "%s": no such file or directory'):format(path), fails("ENOENT", port.read(path)))
          local directory = world.path ""
          assert.equal(('cannot read "%s": it is a directory'):format(directory), fails("EISDIR", port.read(directory)))
          assert.equal('cannot read "/dev/null": it is a device, not a file', fails("EINVAL", port.read "/dev/null"))
          world.write(path, "")
          assert.equal(('cannot open "%s/x": not a directory'):format(path), fails("ENOTDIR", port.read(path .. "/x")))
          fails("ENOENT", port.read(world.path "gone/x"))
        end)
      end)

      describe("looked at,", function()
        it("are known for what they are", function()
          world.write(path, "abc", 416)
          local stat = port.stat(path)
          assert.same({ "file", 3, 416, nil }, { stat.type, stat.size, stat.mode, stat.target })
          assert.same({ port.user(), "number" }, { stat.uid, type(stat.gid) })
          assert.is_true(math.abs(stat.mtime - port.clock()) < 100)
          assert.equal("directory", port.stat(world.path "").type)
          assert.equal("device", port.stat("/dev/null").type)
          world.link("some/where", world.path "link")
          stat = port.stat(world.path "link")
          assert.same({ "link", "some/where", 10 }, { stat.type, stat.target, stat.size })
          assert.equal(('cannot stat "%sx": no such file or directory'):format(path),
            fails("ENOENT", port.stat(path .. "x")))
          fails("ENOTDIR", port.stat(path .. "/x"))
        end)

        it("keep their identity when they are renamed, rewritten and changed", function()
          world.write(path, "one")
          local identity = port.stat(path).identity
          assert.is_string(identity)
          local id, stat = open(path, "write")
          assert.equal(identity, stat.identity)
          assert(port.truncate(id) and port.put(id, "two") and port.chmod(id, { mode = 384 }))
          assert.equal(identity, port.stat(path).identity)
          assert(port.rename(path, world.path "other"))
          assert.equal(identity, port.stat(world.path "other").identity)
        end)

        it("have another identity than what replaces them", function()
          world.write(path, "same")
          world.write(world.path "new", "same")
          local old, new = port.stat(path).identity, port.stat(world.path "new").identity
          assert.are_not.equal(old, new)
          assert(port.rename(world.path "new", path))
          assert.equal(new, port.stat(path).identity)
          assert.are_not.equal(port.stat(world.path "").identity, new)
        end)

        it("are listed, in any order, up to a limit", function()
          local directory = world.path "directory"
          assert(port.mkdir(directory, 493))
          assert.same({}, port.list(directory, 0))
          for _, entry in ipairs { "b", ".hidden", "a" } do world.write(directory .. "/" .. entry, "") end
          world.link("nowhere", directory .. "/c")
          assert.equal(".hidden a b c", names(directory, 4))
          assert.equal(".hidden a b c", names(directory .. "/", 100))
          assert.equal(('cannot list "%s": file too large'):format(directory), fails("EFBIG", port.list(directory, 3)))
          assert.equal(('cannot list "%s/a": not a directory'):format(directory),
            fails("ENOTDIR", port.list(directory .. "/a", 9)))
          assert.equal(('cannot list "%s/x": no such file or directory'):format(directory),
            fails("ENOENT", port.list(directory .. "/x", 9)))
          assert(port.remove(directory .. "/a") and port.rename(directory .. "/b", directory .. "/d"))
          assert.equal(".hidden c d", names(directory, 9))
        end)
      end)

      describe("by their names,", function()
        it("are renamed over what is there", function()
          local other = world.path "other"
          world.write(path, "new")
          world.write(other, "old")
          assert.is_true(port.rename(path, other))
          assert.equal("new", port.read(other))
          fails("ENOENT", port.stat(path))
          assert.equal(('cannot rename "%s" to "%s": no such file or directory'):format(path, other),
            fails("ENOENT", port.rename(path, other)))
          fails("ENOENT", port.rename(other, world.path "gone/x"))
          assert.is_true(port.rename(other, other))
          assert.equal("new", port.read(other))
        end)

        it("take their directory's contents along, but replace no directory that has some", function()
          local one, two = world.path "one", world.path "two"
          assert(port.mkdir(one, 493) and port.mkdir(two, 493))
          make(one .. "/a", "a")
          make(path, "file")
          fails("EISDIR", port.rename(path, two))
          fails("ENOTDIR", port.rename(two, path))
          fails("ENOTEMPTY", port.rename(two, one))
          fails("EINVAL", port.rename(one, one .. "/below"))
          assert.is_true(port.rename(one, two))
          assert.equal("a", port.read(two .. "/a"))
          fails("ENOENT", port.stat(one))
        end)

        it("are removed, directories when they are empty", function()
          local directory = world.path "directory"
          assert(port.mkdir(directory, 493))
          make(directory .. "/a")
          assert.equal(('cannot remove "%s": directory not empty'):format(directory),
            fails("ENOTEMPTY", port.remove(directory)))
          fails("ENOTDIR", port.remove(directory .. "/a/"))
          assert.is_true(port.remove(directory .. "/a"))
          assert.equal(('cannot remove "%s/a": no such file or directory'):format(directory),
            fails("ENOENT", port.remove(directory .. "/a")))
          fails("EBUSY", port.remove(directory .. "/."))
          assert.is_true(port.remove(directory .. "/"))
          fails("ENOENT", port.stat(directory))
        end)

        it("are not renamed nor removed without one", function()
          local directory = world.path ""
          world.write(path, "")
          for _, nameless in ipairs { "/", directory .. "/.", directory .. "/..", directory .. "/./" } do
            fails("EBUSY", port.remove(nameless))
            fails("EBUSY", port.rename(nameless, world.path "other"))
            fails("EBUSY", port.rename(path, nameless))
            fails("EEXIST", port.mkdir(nameless, 493))
            fails("EEXIST", port.open(nameless, "create"))
            fails("EISDIR", port.open(nameless, "read"))
            assert.equal("directory", port.stat(nameless).type)
          end
          assert.equal("file", names(directory, 9))
        end)

        it("become directories with the mode that was given", function()
          local directory = world.path "directory"
          assert.is_true(port.mkdir(directory, 504)) -- 0770
          assert.same({ "directory", 504 }, { port.stat(directory).type, port.stat(directory).mode })
          assert.equal(('cannot make directory "%s": file exists'):format(directory),
            fails("EEXIST", port.mkdir(directory, 448)))
          assert.equal(504, port.stat(directory).mode)
          make(path)
          fails("EEXIST", port.mkdir(path, 493))
          fails("ENOTDIR", port.mkdir(path .. "/x", 493))
          fails("ENOENT", port.mkdir(world.path "gone/x", 493))
        end)

        it("are not too long", function()
          local longest, longer = ("x"):rep(255), ("x"):rep(256)
          make(world.path(longest), "long")
          assert.equal("long", port.read(world.path(longest)))
          for _, end_of_path in ipairs { longer, longer .. "/x", ("x"):rep(5000), ("y/"):rep(2050) .. "x" } do
            local long = world.path(end_of_path)
            fails("ENAMETOOLONG", port.stat(long))
            fails("ENAMETOOLONG", port.open(long, "create"))
            fails("ENAMETOOLONG", port.place(long))
            fails("ENAMETOOLONG", port.read(long))
            fails("ENAMETOOLONG", port.rename(world.path(longest), long))
          end
          assert.equal("long", port.read(world.path((("./"):rep(1000)) .. longest)))
          local id = place()
          assert.is_truthy(port.stat(longest, id))
          fails("ENAMETOOLONG", port.stat(longer, id))
          fails("ENAMETOOLONG", port.open(longer, "create", id))
          fails("ENAMETOOLONG", port.rename(longest, longer, id))
        end)
      end)

      describe("opened,", function()
        it("are read a piece at a time, less only at the end", function()
          world.write(path, "1234567", 384)
          local id, stat = open(path, "read")
          assert.same({ "file", 7, 384 }, { stat.type, stat.size, stat.mode })
          assert.equal("123", port.get(id, 3))
          assert.equal("456", port.get(id, 3))
          assert.equal("7", port.get(id, 3))
          assert.equal("", port.get(id, 3))
        end)

        it("are made, closed to others, and never where something is", function()
          local id, stat = open(path, "create")
          assert.same({ "file", 384, 0, port.user() }, { stat.type, stat.mode, stat.size, stat.uid })
          assert.is_true(port.put(id, "a\0"))
          assert.is_true(port.put(id, "b"))
          assert.is_true(port.put(id, ""))
          assert.is_true(port.sync(id))
          assert.equal("a\0b", port.read(path))
          assert.equal(('cannot open "%s": file exists'):format(path), fails("EEXIST", port.open(path, "create")))
          fails("EEXIST", port.open(world.path "", "create"))
          fails("ENOENT", port.open(world.path "gone/x", "create"))
          fails("ENOENT", port.open(world.path "slash/", "create"))
        end)

        it("are written in place from the beginning, and emptied when told so", function()
          world.write(path, "123456")
          local id = open(path, "write")
          assert.equal("123456", port.read(path))
          assert.is_true(port.put(id, "ab"))
          assert.equal("ab3456", port.read(path))
          assert.is_true(port.truncate(id))
          assert.equal("", port.read(path))
          assert.is_true(port.put(id, "c")) -- where it was
          assert.equal("\0\0c", port.read(path))
        end)

        it("are appended to, whoever else does", function()
          world.write(path, "1")
          local one, two = open(path, "append"), open(path, "append")
          assert(port.put(one, "2") and port.put(two, "3") and port.put(one, "4"))
          assert.equal("1234", port.read(path))
          assert(port.truncate(one) and port.put(two, "5"))
          assert.equal("5", port.read(path))
        end)

        it("are read or written as they were opened", function()
          world.write(path, "text")
          local reading = open(path, "read")
          assert.equal("cannot write: bad file descriptor", fails("EBADF", port.put(reading, "x")))
          assert.equal("cannot truncate: invalid argument", fails("EINVAL", port.truncate(reading)))
          assert.is_true(port.sync(reading))
          for _, mode in ipairs { "write", "append" } do
            assert.equal("cannot read: bad file descriptor", fails("EBADF", port.get(open(path, mode), 1)))
          end
          assert.equal("text", port.get(reading, 10))
        end)

        it("get another mode", function()
          world.write(path, "", 420)
          local id = open(path, "read")
          assert.is_true(port.chmod(id, { mode = 402 })) -- 0622
          assert.equal(402, port.stat(path).mode)
          assert.is_true(port.chmod(id, {}))
          assert.is_true(port.chmod(id, { uid = port.user() }))
          assert.equal(402, port.stat(path).mode)
        end)

        it("outlive their names", function()
          world.write(path, "text")
          local reading, writing = open(path, "read"), open(path, "write")
          assert(port.rename(path, world.path "other"))
          make(path, "another")
          assert(port.put(writing, "T"))
          assert.equal("Text", port.get(reading, 10))
          assert(port.remove(world.path "other") and port.put(writing, "E") and port.chmod(writing, { mode = 384 }))
          assert.equal("another", port.read(path))
          assert.equal("another", names(world.path "", 9) == "file" and port.read(path))
        end)

        it("must be files, and be there", function()
          for _, mode in ipairs { "read", "write", "append" } do
            assert.equal(('cannot open "%s": no such file or directory'):format(path),
              fails("ENOENT", port.open(path, mode)))
            fails("EISDIR", port.open(world.path "", mode))
            assert.matches("is a device, not a file", fails("EINVAL", port.open("/dev/null", mode)))
          end
          assert.matches("^cannot append to ", fails("EISDIR", port.open(world.path "", "append")))
          fails("EEXIST", port.open("/dev/null", "create"))
        end)

        it("end with their handle", function()
          world.write(path, "")
          local id = port.open(path, "read")
          assert.is_true(port.cancel(id))
          stale(port.cancel(id))
          for _, call in ipairs { "get", "put", "truncate", "sync", "chmod" } do stale(port[call](id, 1)) end
          local other = place()
          stale(port.get(other, 1))
          stale(port.stat("x", open(path, "read")))
        end)
      end)

      describe("in a place", function()
        it("are reached by bare names", function()
          local id, bare, directory = port.place(world.path "./new")
          remember(id)
          assert.same({ "new", world.path "" }, { bare, directory })
          make("new", "text", id)
          assert.equal("text", port.read(world.path "new"))
          assert.equal("file", port.stat("new", id).type)
          assert(port.rename("new", "other", id) and port.mkdir("directory", 448, id))
          assert.equal("directory other", names(".", 9, id))
          fails("ENOENT", port.stat("new", id))
          local file = open("other", "write", id)
          assert(port.put(file, "T"))
          assert.equal("Text", port.get(open("other", "read", id), 9))
          assert(port.remove("other", id) and port.remove("directory", id))
          assert.equal("", names(".", 9, id))
          assert.is_true(port.cancel(id))
          stale(port.cancel(id))
        end)

        it("are reached by no others", function()
          local id = place()
          for _, wrong in ipairs { "a/b", "/", "..", "../x", "" } do
            refuses("stat: path: expected a bare name", port.stat, wrong, id)
            refuses("list: path: expected a bare name", port.list, wrong, 9, id)
            refuses("remove: path: expected a bare name", port.remove, wrong, id)
            refuses("mkdir: path: expected a bare name", port.mkdir, wrong, 493, id)
            refuses("open: path: expected a bare name", port.open, wrong, "read", id)
            refuses("rename: from: expected a bare name", port.rename, wrong, "x", id)
            refuses("rename: to: expected a bare name", port.rename, "x", wrong, id)
          end
        end)

        it("have their directory as a dot", function()
          local id = place()
          assert.equal(port.stat(world.path "").identity, port.stat(".", id).identity)
          assert.same({}, port.list(".", 0, id))
          fails("EISDIR", port.open(".", "read", id))
          fails("EEXIST", port.open(".", "create", id))
          fails("EEXIST", port.mkdir(".", 493, id))
          fails("EINVAL", port.remove(".", id))
          fails("EBUSY", port.rename(".", "x", id))
        end)

        it("are followed by no link", function()
          world.write(path, "text")
          world.link("file", world.path "link")
          local id = place()
          assert.equal("link", port.stat("link", id).type)
          for _, mode in ipairs { "read", "write", "append" } do
            local message = fails("ELOOP", port.open("link", mode, id))
            assert.matches('"link": a symbolic link took its place meanwhile', message)
          end
          fails("EEXIST", port.open("link", "create", id))
          fails("ENOTDIR", port.list("link", 9, id))
          fails("EEXIST", port.mkdir("link", 493, id))
          assert(port.remove("link", id))
          assert.equal("text", port.read(path))
        end)

        it("stay reached when the directory is renamed", function()
          local directory, moved = world.path "directory", world.path "moved"
          assert(port.mkdir(directory, 493))
          local id = place "directory/file"
          assert(port.rename(directory, moved) and port.mkdir(directory, 493))
          make("file", "text", id)
          assert.equal("text", port.read(moved .. "/file"))
          assert.equal("", names(directory, 9))
          assert.equal("file", names(".", 9, id))
          assert.equal(port.stat(moved).identity, port.stat(".", id).identity)
          assert(port.rename("file", "other", id))
          assert.equal("other", names(moved, 9))
        end)

        it("are none when the directory is removed", function()
          local directory = world.path "directory"
          assert(port.mkdir(directory, 493))
          local id = place "directory/file"
          assert(port.remove(directory) and port.mkdir(directory, 493))
          world.write(directory .. "/file", "another")
          fails("ENOENT", port.stat("file", id))
          fails("ENOENT", port.open("file", "read", id))
          fails("ENOENT", port.open("file", "create", id))
          fails("ENOENT", port.mkdir("new", 493, id))
          fails("ENOENT", port.remove("file", id))
          fails("ENOENT", port.rename("file", "other", id))
          assert.same({}, port.list(".", 9, id))
          assert.equal("directory", port.stat(".", id).type)
          assert.equal("another", port.read(directory .. "/file"))
          assert.is_true(port.cancel(id))
        end)

        it("are looked for where the path leads", function()
          local function target(text)
            local id, bare, directory = port.place(text)
            remember(id)
            return (directory == "/" and "" or directory) .. "/" .. bare
          end
          local directory = world.path ""
          assert(port.mkdir(world.path "below", 493))
          world.link("below/real", world.path "link")
          world.link(directory, world.path "below/up")
          world.write(world.path "below/real", "")
          assert.equal(directory .. "/below/real", target(world.path "link"))
          assert.equal(directory .. "/new", target(world.path "below/up/new"))
          assert.equal(directory .. "/new", target(world.path "below/../below//.././new"))
          assert.equal("/new", target "/new")
          assert.equal("/new", target "/../../new")
        end)

        it("are not looked for where there is no name, or no directory", function()
          local directory = world.path ""
          for _, text in ipairs { "/", "/..", directory .. "/.", directory .. "/..", directory .. "/./" } do
            assert.equal(("%q is a directory, not a file"):format(text), fails("EISDIR", port.place(text)))
          end
          fails("ENOENT", port.place "")
          fails("ENOENT", port.place(world.path "gone/x"))
          fails("ENOENT", port.place(world.path "new/"))
          world.write(path, "")
          fails("ENOTDIR", port.place(path .. "/x"))
          fails("ENOTDIR", port.place(path .. "/"))
          remember((assert(port.place(directory .. "/")))) -- the name is the directory's own
        end)
      end)

      describe("behind links", function()
        local function link(to, at, uid)
          world.link(to, world.path(at), uid)
          return world.path(at)
        end

        it("are read, written and listed", function()
          world.write(path, "text")
          local one = link("file", "one")
          local two = link(one, "two")
          assert.equal("text", port.read(two))
          assert.equal("text", port.get(open(two, "read"), 9))
          assert(port.put(open(two, "write"), "T") and port.put(open(two, "append"), "!"))
          assert.equal("Text!", port.read(path))
          assert.equal("file one two up", names(link(".", "up"), 9))
        end)

        it("are left alone where the link itself is meant", function()
          world.write(path, "text")
          local one, two = link("file", "one"), world.path "two"
          assert.equal("link", port.stat(one).type)
          fails("EEXIST", port.open(one, "create"))
          assert(port.rename(one, two))
          assert.same({ "link", "file" }, { port.stat(two).type, port.stat(two).target })
          world.write(world.path "new", "new")
          assert(port.rename(world.path "new", two))
          assert.same({ "new", "text" }, { port.read(two), port.read(path) })
          link("file", "one")
          assert(port.remove(one))
          assert.equal("text", port.read(path))
        end)

        it("are reached in the middle of a path, and upwards from where it leads", function()
          assert(port.mkdir(world.path "a", 493) and port.mkdir(world.path "a/b", 493))
          world.write(world.path "a/file", "in a")
          world.write(path, "outside")
          link("a/b", "link")
          assert.equal("in a", port.read(world.path "link/../file"))
          assert.equal("outside", port.read(world.path "link/../../file"))
          make(world.path "link/new", "new")
          assert.equal("new", port.read(world.path "a/b/new"))
          assert.equal("file", port.stat(world.path "link/new").type)
          fails("ENOTDIR", port.read(link("file", "to_file") .. "/x"))
        end)

        it("are directories where the path ends with a slash", function()
          assert(port.mkdir(world.path "a", 493))
          world.write(path, "")
          local directory, file = link("a", "directory"), link("file", "to_file")
          assert.equal("link", port.stat(directory).type)
          assert.equal("directory", port.stat(directory .. "/").type)
          assert.equal("directory", port.stat(directory .. "/.").type)
          fails("ENOTDIR", port.stat(file .. "/"))
          fails("ENOTDIR", port.read(file .. "/"))
          fails("EEXIST", port.mkdir(directory, 493))
        end)

        it("are not made", function()
          local dangling = link("gone", "dangling")
          local message = ("%q is a symbolic link that leads nowhere"):format(dangling)
          assert.equal(message, fails("ENOENT", port.read(dangling)))
          assert.equal(message, fails("ENOENT", port.place(dangling)))
          assert.equal(message, fails("ENOENT", port.open(dangling, "append")))
          assert.equal(message, fails("ENOENT", port.mkdir(dangling, 493)))
          assert.equal(message, fails("ENOENT", port.list(dangling, 9)))
          assert.equal(message, fails("ENOENT", port.logging { output = dangling }))
          fails("ENOENT", port.stat(dangling .. "/x"))
          fails("EEXIST", port.open(dangling, "create"))
          assert.equal("link", port.stat(dangling).type)
          fails("ENOENT", port.stat(world.path "gone"))
        end)

        it("end where they go round", function()
          local loop = link("loop", "loop")
          link("two", "one")
          link("one", "two")
          assert.equal(('cannot open "%s": too many levels of symbolic links'):format(loop),
            fails("ELOOP", port.read(loop)))
          fails("ELOOP", port.place(world.path "one"))
          fails("ELOOP", port.stat(world.path "two/x"))
          assert.equal("link", port.stat(loop).type)
          world.write(path, "far")
          link("file", "link0")
          for i = 1, 40 do link("link" .. i - 1, "link" .. i) end
          assert.equal("far", port.read(world.path "link39"))
          fails("ELOOP", port.read(world.path "link40"))
        end)

        it("of a stranger are his, or are not reached", function()
          world.need_owners()
          local kept, his = world.path "kept", world.path "his"
          world.write(kept, "kept")
          world.write(his, "his")
          world.own(his, 1234)
          local one, two = link(kept, "one", 1234), link("his", "two", 1234)
          local message = ('"%s" is a symbolic link of user 1234, who does not own what it leads to ("%s"): ' ..
            "it is not followed"):format(one, kept)
          assert.equal(message, fails("ELOOP", port.read(one)))
          assert.equal(message, fails("ELOOP", port.place(one)))
          assert.equal(message, fails("ELOOP", port.open(one, "append")))
          assert.equal(message, fails("ELOOP", port.logging { output = one }))
          assert.equal("his", port.read(two))
          assert.equal("his", port.read(link("two", "ours"))) -- ours to his to his
          assert.equal("link", port.stat(one).type)
          assert.is_true(port.remove(one))
          world.write(two .. "2", "")
          fails("ELOOP", port.read(link("two2", "three", 1234)))
        end)

        it("of a stranger are not reached through his directory, unless that is his", function()
          world.need_owners()
          assert(port.mkdir(world.path "ours", 493) and port.mkdir(world.path "his", 493))
          world.own(world.path "his", 1234)
          world.write(world.path "ours/file", "ours")
          world.write(world.path "his/file", "his")
          link("ours", "to_ours", 1234)
          link("his", "to_his", 1234)
          assert.matches(("who does not own what it leads to (%q)"):format(world.path "ours"):gsub("%p", "%%%0"),
            (fails("ELOOP", port.read(world.path "to_ours/file"))))
          fails("ELOOP", port.list(world.path "to_ours", 9))
          fails("ELOOP", port.open(world.path "to_ours/new", "create"))
          fails("ELOOP", port.stat(world.path "to_ours/file"))
          assert.equal("his", port.read(world.path "to_his/file")) -- whose it is does not matter there
          make(world.path "to_his/new", "new")
          assert.equal("new", port.read(world.path "his/new"))
          link("../ours/file", "his/link", 1234)
          fails("ELOOP", port.read(world.path "his/link"))
          link("../ours/file", "his/rooted")
          assert.equal("ours", port.read(world.path "his/rooted")) -- a link of ours, whoever has the directory
        end)

        it("of two strangers, one behind the other, are not reached", function()
          world.need_owners()
          world.write(path, "")
          world.own(path, 1234)
          local his = link("file", "his", 1234)
          assert.equal("", port.read(his))
          local others = link("his", "others", 4321)
          assert.matches("symbolic link of user %d+, who does not own", fails("ELOOP", port.read(others)))
          assert.equal("", port.read(link("his", "his_own", 1234)))
          assert.matches('symbolic link of user 1234, who does not own what it leads to %("/"%)',
            fails("ELOOP", port.read(link("/", "root", 1234) .. "/x")))
        end)
      end)

      it("know users and groups by name", function()
        assert.equal(0, port.lookup("user", "root"))
        assert.equal(0, port.lookup("group", "root"))
        assert.equal(4321, port.lookup("user", "4321"))
        assert.equal(4321, port.lookup("group", "4321"))
        fails("ENOENT", port.lookup("user", "nobody-of-this-name"))
        fails("ENOENT", port.lookup("group", "nobody-of-this-name"))
        refuses("lookup: kind", port.lookup, "host", "root")
        refuses("lookup: name", port.lookup, "user", 5)
      end)

      it("refuse wrong arguments by name", function()
        world.write(path, "")
        local id, at = open(path, "write"), place()
        refuses("read: path", port.read, nil)
        refuses("read: path", port.read, "a\0b")
        refuses("read: limit", port.read, path, -1)
        refuses("place: path", port.place, nil)
        refuses("place: path", port.place, "a\0b")
        refuses("stat: path", port.stat, {})
        refuses("place", port.stat, "x", "here")
        refuses("list: path", port.list, nil, 5)
        refuses("list: limit", port.list, path, -1)
        refuses("list: limit", port.list, path)
        refuses("rename: from", port.rename, nil, path)
        refuses("rename: to", port.rename, path, nil)
        refuses("rename: to", port.rename, path, "a\0b", at)
        refuses("remove: path", port.remove, false)
        refuses("mkdir: path", port.mkdir, nil, 493)
        refuses("mkdir: mode", port.mkdir, path, 1024) -- 02000
        refuses("mkdir: mode", port.mkdir, path)
        refuses("open: path", port.open, nil, "read")
        refuses("open: mode", port.open, path)
        refuses("open: mode", port.open, path, "r")
        refuses("get: id", port.get, nil, 1)
        refuses("get: bytes", port.get, id, 0)
        refuses("get: bytes", port.get, id, 1.5)
        refuses("put: id", port.put, "x", "")
        refuses("put: data", port.put, id, 5)
        refuses("truncate: id", port.truncate, nil)
        refuses("sync: id", port.sync, {})
        refuses("chmod: id", port.chmod, path, {})
        refuses("chmod", port.chmod, id, nil)
        refuses("chmod: uid", port.chmod, id, { uid = "root" })
        refuses("chmod: mode", port.chmod, id, { mode = 4096 })
        refuses('chmod: unknown field "perm"', port.chmod, id, { perm = 1 })
        stale(port.stat("x", 2 ^ 40))
        stale(port.rename("x", "y", 2 ^ 40))
      end)

      it("say as whom they are reached", function()
        assert.is_true(port.user() >= 0 and port.user() % 1 == 0)
        make(path)
        assert.equal(port.user(), port.stat(path).uid)
      end)
    end)

    -- --- the log ---------------------------------------------------------------------------------

    describe("with the log", function()
      it("takes messages with fields and flushes them", function()
        assert.is_true(port.logging { output = world.path "log", level = "debug" })
        port.log("info", "hello", { number = 1.5, text = "a b", flag = true })
        port.log("debug", "no fields")
        port.log("warn", "is away", nil, "away", "app", { reason = "none", n = 1, yes = false })
        port.reopen()
        assert.equal(0, port.flush(1))
        assert.is_true(port.logging { output = "stdout", level = "info", format = "default" })
        local log = port.read(world.path "log")
        assert.matches("hello", log)
        assert.matches("no fields", log)
        assert.matches('job "app": is away', log)
        assert.is_nil(log:find "reason")
      end)

      it("returns when a file cannot be used, and raises for wrong words", function()
        local ok, message, code = port.logging { output = world.path "missing/log" }
        assert.is_nil(ok)
        assert.matches("missing/log", message)
        assert.equal("ENOENT", code)
        ok, message, code = port.logging { output = world.path "" }
        assert.same({ nil, ('cannot log to "%s": it is a directory'):format(world.path ""), "EISDIR" },
          { ok, message, code })
        assert.is_true(port.logging { output = "/dev/null" })
        assert.is_true(port.logging { output = "stdout" })
        refuses("logging: output", port.logging, { output = "relative" })
        refuses("logging: format", port.logging, { format = "xml" })
        refuses("logging: level", port.logging, { level = "loud" })
        refuses("logging: unknown field", port.logging, { colour = true })
        refuses("log: level", port.log, "loud", "x")
        refuses("log: message", port.log, "info", nil)
        refuses("log: fields", port.log, "info", "x", { a = {} })
        refuses("log: event", port.log, "info", "x", nil, 1)
        refuses("log: job", port.log, "info", "x", nil, nil, {})
        refuses("log: fields", port.log, "info", "x", nil, nil, nil, { a = print })
        refuses("flush: seconds", port.flush, nil)
      end)

      it("starts no process whose log cannot be used", function()
        local argv = world.program { exit = 0 }
        for _, row in ipairs { { "missing/log", "ENOENT" }, { "", "EISDIR" } } do
          local output = { name = "app", file = world.path(row[1]) }
          local id, message, code, stage = port.spawn { argv = argv, output = output }
          assert.same({ nil, row[2], "output" }, { id, code, stage })
          assert.matches("^log file: cannot %a+", message)
        end
      end)

      it("takes the signals that ask for the end", function()
        port.shutdown_signals { "SIGTERM", "SIGRTMIN+3" }
        port.shutdown_signals {}
      end)

      it("takes a deadline", function()
        port.deadline(100)
        port.deadline(100, 99, 3)
        port.deadline(nil, nil, 3)
        refuses("deadline: seconds", port.deadline, "soon")
        refuses("deadline: orderly", port.deadline, 1, "soon")
        refuses("deadline: code", port.deadline, 1, 1, 256)
        refuses("deadline: code", port.deadline, nil, nil, "3")
      end)

      it("hears how far the pilot has come", function()
        port.reached("started", "3 jobs")
        port.reached "over"
        refuses("reached: stage", port.reached, "lost")
        refuses("reached: status", port.reached, "started")
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
