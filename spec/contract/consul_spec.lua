-- The contract of the port's `agent`, `consul` and `watch`: on the real port with a real Consul, and on the simulated
-- one.

local fixtures = require "support.consul_fixture"
local machine  = require "support.machine"

local BOUND = 60        -- seconds in which anything that is promised must have come
local QUIET = 0.2       -- seconds in which nothing must come

local function contract(fixture)
  local world = fixture.world
  local port = world.port

  describe("Consul at the " .. fixture.name .. " port", machine.unless(fixture.lacking(), function()
    local open

    before_each(function()
      open = {}
    end)

    after_each(function()
      for _, id in ipairs(open) do port.cancel(id) end
      while world.next(0) do end
      fixture.reset()
    end)

    teardown(fixture.finish)

    -- --- helpers -----------------------------------------------------------------------------------

    local function keep(id, ...)
      if id then open[#open + 1] = id end
      return id, ...
    end

    local function call(options)
      if type(options) == "string" then options = { path = options } end
      return keep(assert(port.consul(options)))
    end

    local function watch(options)
      if type(options) == "string" then options = { path = options } end
      return keep(assert(port.watch(options)))
    end

    local function next_event()
      return world.next(BOUND) or error("nothing comes", 3)
    end

    local function expect(kind, id)
      local event = next_event()
      assert.equal(kind, event.type)
      assert.equal(id, event.id)
      return event
    end

    local function answer(options) return expect("response", call(options)) end

    local function content(id, status, body)
      local event = expect("watch", id)
      assert.is_nil(event.error, event.error)
      assert.equal(status, event.status)
      if body then assert.equal(body, event.body) end
      assert.matches("^[1-9]%d*$", event.index)
      return event
    end

    local function failure(id, code)
      local event = expect("watch", id)
      assert.equal(code, event.code)
      assert.is_string(event.error)
      assert.is_nil(event.body)
      assert.is_nil(event.index)
      return event
    end

    local function quiet()
      local event = world.next(QUIET)
      return event and event.type .. " " .. tostring(event.error or event.body) or true
    end

    local function stale(result, message, code)
      assert.is_nil(result)
      assert.is_string(message)
      assert.equal("EBADF", code)
    end

    local function refuses(message, name, options)
      local ok, found = pcall(port[name], options)
      assert.is_false(ok)
      assert.matches(message, tostring(found))
    end

    -- --- before there is one -----------------------------------------------------------------------

    -- The first of the file: an agent that was named is never forgotten.
    it("must be named first", function()
      for _, name in ipairs { "consul", "watch" } do
        local id, message, code = port[name] { path = "/v1/kv/app" }
        assert.is_nil(id)
        assert.matches("no Consul agent was named", message)
        assert.equal("EDESTADDRREQ", code)
      end
    end)

    it("refuses wrong arguments, naming the field", function()
      refuses("agent: url: expected a string, got nil", "agent", {})
      refuses("agent: url: expected http:// or https://, got \"localhost:8500\"", "agent", { url = "localhost:8500" })
      refuses("agent: token: a line break", "agent", { url = "http://x", token = "a\nb" })
      refuses("agent: auth: expected \"user:password\"", "agent", { url = "http://x", auth = "me" })
      refuses("agent: max_connections: expected a number from 1", "agent", { url = "http://x", max_connections = 0 })
      refuses("agent: tls: unknown field \"ca\"", "agent", { url = "http://x", tls = { ca = "/x" } })
      refuses("consul: path: expected a string, got nil", "consul", {})
      refuses("consul: path: expected /v1/", "consul", { path = "v1/kv/x" })
      refuses("consul: path: a space", "consul", { path = "/v1/kv/a b" })
      refuses("consul: method: no method", "consul", { path = "/v1/kv/x", method = "" .. "GET /" })
      refuses("consul: unknown field \"headers\"", "consul", { path = "/v1/kv/x", headers = {} })
      refuses("watch: path: expected a string, got nil", "watch", {})
      refuses("watch: wait: expected a number from", "watch", { path = "/v1/kv/x", wait = 601 })
      refuses("watch: wait: expected a number from", "watch", { path = "/v1/kv/x", wait = 0 })
      refuses("watch: cached: expected a boolean, got ", "watch", { path = "/v1/kv/x", cached = 1 })
      refuses("watch: unknown field \"index\"", "watch", { path = "/v1/kv/x", index = "1" })
    end)

    -- --- calls -------------------------------------------------------------------------------------

    describe("answers calls", function()
      before_each(function() fixture.agent() end)

      it("in one event, then the handle is gone", function()
        fixture.put("app", "one\0two")
        local id = call "/v1/kv/app?raw"
        local event = expect("response", id)
        assert.equal(200, event.status)
        assert.equal("one\0two", event.body)
        assert.matches("^%d+$", event.headers["x-consul-index"])
        assert.is_nil(event.error)
        stale(port.cancel(id))
        assert.is_true(quiet())
      end)

      it("with a status that means what Consul means by it", function()
        assert.equal(404, answer("/v1/kv/none").status)
        assert.equal(400, answer({ method = "PUT", path = "/v1/session/renew/" }).status)
      end)

      it("and takes any bytes", function()
        local bytes = ("\0\255\r\n"):rep(1000)
        assert.equal("true", answer({ method = "PUT", path = "/v1/kv/app", body = bytes }).body:match "%w+")
        assert.equal(bytes, answer("/v1/kv/app?raw").body)
        answer { method = "DELETE", path = "/v1/kv/app" }
        assert.equal(404, answer("/v1/kv/app").status)
      end)

      it("and fails with EMSGSIZE beyond max_body", function()
        fixture.put("app", ("x"):rep(5000))
        assert.equal(5000, #answer({ path = "/v1/kv/app?raw", max_body = 5000 }).body)
        assert.equal("EMSGSIZE", answer({ path = "/v1/kv/app?raw", max_body = 4999 }).code)
      end)

      it("and says nothing more of a cancelled one", function()
        local id = call "/v1/kv/app"
        assert.is_true(port.cancel(id))
        stale(port.cancel(id))
        assert.is_true(quiet())
      end)

      it("not when it is gone, and again when it is back", function()
        fixture.put("app", "x")
        fixture.stop()
        local event = answer "/v1/kv/app?raw"
        assert.equal("ECONNREFUSED", event.code)
        assert.matches("cannot connect to ", event.error)
        assert.is_nil(event.status)
        fixture.start()
        assert.equal("x", answer("/v1/kv/app?raw").body)
      end)

      it("or fails when it hangs", function()
        fixture.pause()
        local event = answer { path = "/v1/kv/app", timeout = 0.2 }
        assert.equal("ETIMEDOUT", event.code)
        assert.matches("within 200ms", event.error)
      end)
    end)

    describe("within max_connections", function()
      it("answers all calls, in order where there is one connection", function()
        fixture.agent { max_connections = 1 }
        local ids = {}
        for i = 1, 20 do ids[i] = call { method = "PUT", path = "/v1/kv/app", body = tostring(i) } end
        for _, id in ipairs(ids) do expect("response", id) end
        assert.equal("20", answer("/v1/kv/app?raw").body)
      end)

      it("answers more calls than connections", function()
        fixture.agent { max_connections = 5 }
        local waiting = {}
        for _ = 1, 100 do waiting[call "/v1/kv/none"] = true end
        for _ = 1, 100 do
          local event = next_event()
          assert.is_true(waiting[event.id])
          assert.equal(404, event.status)
          waiting[event.id] = nil
        end
      end)

      it("lets one call go beside any number of watches", function()
        fixture.agent { max_connections = 2 }
        for _ = 1, 4 do
          local id = watch "/v1/kv/none"
          content(id, 404)
        end
        local one, other = call "/v1/kv/none", call "/v1/kv/none"
        assert.equal(404, expect("response", one).status)
        assert.equal(404, expect("response", other).status)
      end)

      it("counts the wait for a connection against the timeout", function()
        fixture.agent { max_connections = 1 }
        fixture.pause()
        local first = call { path = "/v1/kv/app", timeout = 1 }
        local second = call { path = "/v1/kv/app", timeout = 0.2 }
        local event = expect("response", second)
        assert.equal("ETIMEDOUT", event.code)
        assert.matches("no free connection to the agent within 200ms", event.error)
        assert.equal("ETIMEDOUT", expect("response", first).code)
      end)

      it("goes on when the one before was cancelled, in the queue or on its way", function()
        fixture.agent { max_connections = 1 }
        fixture.put("app", "x")
        local ids = {}
        for i = 1, 4 do ids[i] = call "/v1/kv/app?raw" end
        assert.is_true(port.cancel(ids[1]))
        assert.is_true(port.cancel(ids[3]))
        assert.equal("x", expect("response", ids[2]).body)
        assert.equal("x", expect("response", ids[4]).body)
        assert.is_true(quiet())
      end)
    end)

    describe("at an agent that allows few connections", function()
      local function watches(count, wait)
        local list = {}
        for i = 1, count do list[i] = watch { path = "/v1/kv/none/" .. i, wait = wait } end
        return list
      end

      -- How many of so many events are content; the others must be refusals.
      local function heard(count)
        local good = 0
        for _ = 1, count do
          local event = next_event()
          assert.equal("watch", event.type)
          if event.error then
            assert.equal("EUSERS", event.code)
            assert.equal("the agent closed a new connection at once, and keeps others open", event.error)
          else
            good = good + 1
          end
        end
        return good
      end

      it("tells who gets none, and that he has one", function()
        fixture.agent_of_few(6)
        local list = watches(8, 600)
        assert.equal(6, heard(8))
        for i = 1, 8 do port.cancel(list[i]) end
      end)

      it("calls share the one that was there before the watches", function()
        fixture.agent_of_few(6)
        assert.equal(404, answer("/v1/kv/none").status)
        watches(8, 600)
        assert.equal(5, heard(8))
        for _ = 1, 3 do
          local waiting = {}
          for _ = 1, 5 do waiting[call "/v1/kv/none"] = true end
          for _ = 1, 5 do
            local event = next_event()
            assert.is_true(waiting[event.id])
            assert.equal(404, event.status, event.error)
          end
        end
      end)

      it("a call that opens another is refused, and the one of a call under way is shared all the same", function()
        fixture.agent_of_few(6)
        watches(5, 600)
        assert.equal(5, heard(5))
        local calls, good = { call "/v1/kv/none", call "/v1/kv/none" }, 0
        for _ = 1, #calls do
          if next_event().status == 404 then good = good + 1 end
        end
        assert.equal(1, good)
        for _ = 1, 3 do assert.equal(404, answer("/v1/kv/none").status) end
      end)

      it("calls that have none are left one by the next watch that is answered", function()
        fixture.agent_of_few(6)
        watches(8, 1)
        assert.equal(6, heard(8))
        for _ = 1, 2 do
          local id = call { path = "/v1/kv/none", timeout = 60 }
          local event
          repeat
            event = next_event()
            if event.type == "watch" then assert.equal("EUSERS", event.code) end -- who has left his
          until event.type == "response"
          assert.equal(id, event.id)
          assert.equal(404, event.status, event.error)
        end
      end)

      it("which has it for the next call, too, where the last one has just waited in vain", function()
        fixture.agent_of_few(6)
        watches(8, 3)
        assert.equal(6, heard(8))
        local event
        local id = call { path = "/v1/kv/none", timeout = 0.1 }
        repeat event = next_event() until event.id == id
        assert.equal("EUSERS", event.code)
        repeat event = next_event() until event.code == "EUSERS" -- who has left his
        assert.equal(404, answer("/v1/kv/none").status)
      end)

      it("which has it for the next call, too, where nobody waits for the last one any more", function()
        fixture.agent_of_few(6)
        watches(8, 3)
        assert.equal(6, heard(8))
        port.cancel(call "/v1/kv/none")
        repeat until next_event().code == "EUSERS" -- who has left his
        assert.equal(404, answer("/v1/kv/none").status)
      end)

      it("or hear in time that there is none", function()
        fixture.agent_of_few(6)
        watches(8, 600)
        assert.equal(6, heard(8))
        local event = answer { path = "/v1/kv/none", timeout = 0.2 }
        assert.equal("EUSERS", event.code)
        assert.equal("no free connection to the agent within 200ms: it allows no more, and 8 watches hold one each",
          event.error)
      end)
    end)

    -- --- watches -----------------------------------------------------------------------------------

    describe("lets watches", function()
      before_each(function() fixture.agent() end)

      it("see a key come, change and go", function()
        local id = watch "/v1/kv/app?raw"
        content(id, 404, "")
        fixture.put("app", "one")
        local first = content(id, 200, "one")
        fixture.put("app", "two")
        local second = content(id, 200, "two")
        assert.is_true(tonumber(second.index) > tonumber(first.index))
        fixture.delete "app"
        content(id, 404, "")
      end)

      it("sleep while nothing changes, whatever is written elsewhere", function()
        fixture.put("app", "x")
        local id = watch "/v1/kv/app?raw"
        content(id, 200, "x")
        fixture.put("other", "y")
        fixture.put("app", "x")        -- a new index, the same content
        assert.is_true(quiet())
      end)

      it("ask again when their wait is over", function()
        fixture.put("app", "x")
        local id = watch { path = "/v1/kv/app?raw", wait = 0.02 }
        content(id, 200, "x")
        assert.is_true(quiet())
        fixture.put("app", "y")
        content(id, 200, "y")
      end)

      it("see a folder of keys", function()
        local id = watch "/v1/kv/app/?keys"
        content(id, 404)
        fixture.put("app/a", "1")
        assert.matches("\"app/a\"", content(id, 200).body)
      end)

      it("see the instances of a service", function()
        local id = watch "/v1/health/service/app"
        content(id, 200, "[]")
        fixture.register { name = "app", id = "app-1", port = 80 }
        assert.matches("\"app%-1\"", content(id, 200).body)
        fixture.deregister "app-1"
        -- Consul may show the service's health before the service is gone
        local event
        repeat event = content(id, 200) until event.body == "[]"
      end)

      it("see the instances of a service by the agent's cache", function()
        local id = watch { path = "/v1/health/service/cached?passing", cached = true }
        content(id, 200, "[]")
        fixture.register { name = "cached", id = "cached-1", port = 80 }
        local event
        repeat event = content(id, 200) until event.body:find '"cached%-1"'
        fixture.stop()
        repeat event = expect("watch", id) until event.code == "ECONNREFUSED"
        fixture.start()
        repeat event = expect("watch", id) until not event.error and event.body:find '"cached%-1"'
        fixture.deregister "cached-1"
        repeat event = content(id, 200) until event.body == "[]"
      end)

      it("live side by side", function()
        local one, other = watch "/v1/kv/one?raw", watch "/v1/kv/other?raw"
        for _ = 1, 2 do assert.equal(404, next_event().status) end
        fixture.put("one", "1")
        content(one, 200, "1")
        fixture.put("other", "2")
        content(other, 200, "2")
        assert.is_true(port.cancel(one))
        fixture.put("one", "3")
        fixture.put("other", "4")
        content(other, 200, "4")
        assert.is_true(quiet())
      end)

      it("are told that what they brought was no change", function()
        local id = watch "/v1/kv/app?raw"
        content(id, 404)
        assert.is_true(port.unchanged(id))
        fixture.put("app", "x")
        content(id, 200, "x")
        port.cancel(id)
        stale(port.unchanged(id))
        local _, message, code = port.unchanged(call "/v1/kv/app")
        assert.matches("unchanged: it is no watch", message)
        assert.equal("EINVAL", code)
      end)

      it("end silently when cancelled, at any moment", function()
        local id = watch "/v1/kv/app"
        assert.is_true(port.cancel(id))     -- before its first answer
        stale(port.cancel(id))
        id = watch "/v1/kv/app"
        content(id, 404)
        fixture.put("app", "x")             -- its answer is on its way
        assert.is_true(port.cancel(id))
        assert.is_true(quiet())
      end)

      it("live through an outage, which they tell once", function()
        fixture.put("app", "x")
        local id = watch "/v1/kv/app?raw"
        content(id, 200, "x")
        fixture.stop()
        local event = expect("watch", id)
        assert.is_string(event.error)
        if event.code ~= "ECONNREFUSED" then failure(id, "ECONNREFUSED") end
        assert.is_true(quiet())
        fixture.start()
        -- what it says before it has a leader is an error, too
        repeat event = expect("watch", id) until not event.error
        assert.equal("x", event.body)
        fixture.put("app", "y")
        content(id, 200, "y")
      end)

      it("live through a loss of all that Consul knew", function()
        for i = 1, 20 do fixture.put("app", tostring(i)) end
        local id = watch "/v1/kv/app?raw"
        local before = content(id, 200, "20")
        fixture.stop()
        fixture.start { lose = true }
        local event
        repeat event = expect("watch", id) until not event.error
        assert.equal(404, event.status)
        assert.is_true(tonumber(event.index) < tonumber(before.index))
        fixture.put("app", "new")
        content(id, 200, "new")
      end)

      -- Nothing tells those that wait that they wait in vain: with a wait of minutes they would notice in minutes.
      it("be asked anew when a call is answered after one was not", function()
        fixture.agent_behind()
        fixture.put("app", "x")
        local one = watch { path = "/v1/kv/app?raw", wait = 600 }
        local other = watch { path = "/v1/kv/other?raw", wait = 600 }
        for _ = 1, 2 do assert.is_nil(next_event().error) end
        fixture.vanish()
        assert.equal("ETIMEDOUT", answer({ path = "/v1/kv/none", timeout = 0.3 }).code)
        fixture.appear()
        assert.equal(404, answer("/v1/kv/none").status)
        fixture.put("app", "y")
        content(one, 200, "y")
        fixture.put("other", "z")
        content(other, 200, "z")
        assert.is_true(quiet())
      end)

      it("be asked anew when another watch is answered, also those that pause", function()
        fixture.agent_behind()
        fixture.put("app", "x")
        local one = watch { path = "/v1/kv/app?raw", wait = 600 }
        content(one, 200, "x")
        fixture.vanish()
        local other = watch { path = "/v1/kv/other?raw", wait = 0.01 }
        failure(other, "ETIMEDOUT")
        fixture.put("app", "y")
        fixture.appear()
        local heard = {}
        repeat
          local event = next_event()
          heard[event.id] = event.body or heard[event.id]
        until heard[one] and heard[other]
        assert.equal("y", heard[one])
        assert.equal("", heard[other])
      end)

      it("tell of an error first when there is no agent", function()
        fixture.stop()
        local id = watch "/v1/kv/app?raw"
        failure(id, "ECONNREFUSED")
        fixture.start()
        local event
        repeat event = expect("watch", id) until not event.error
        assert.equal(404, event.status)
      end)

      -- The last one: an agent that is started after this may answer with what was restored, before it has caught up.
      it("tell what was restored of a snapshot, and what changes after that", function()
        fixture.put("app", "old")
        local snapshot = fixture.snapshot()
        for i = 1, 5 do fixture.put("app", tostring(i)) end
        local id = watch "/v1/kv/app?raw"
        local before = content(id, 200, "5")
        assert.is_true(quiet())             -- it waits
        fixture.restore(snapshot)
        assert.is_true(tonumber(content(id, 200, "old").index) < tonumber(before.index))
        fixture.put("app", "new")
        content(id, 200, "new")
        assert.is_true(quiet())
      end)
    end)
  end))
end

contract(fixtures.real())
contract(fixtures.simulated())
