-- The contract of the port's requests by HTTP, on the real port with a real server, and on the simulated one.

local run = require "support.run"

local BOUND = 60        -- seconds in which anything that is promised must have come
local QUIET = 0.05      -- seconds in which nothing must come

local function contract(name, world)
  describe("requests at the " .. name .. " port", function()
    local port = world.port

    after_each(function()
      while world.next(0) do end
      world.close()
    end)

    teardown(run.cleanup)

    -- --- helpers -----------------------------------------------------------------------------------

    local function request(answer, options)
      local all = { url = type(answer) == "string" and answer or world.web(answer), timeout = BOUND }
      for key, value in pairs(options or {}) do all[key] = value end
      return assert(port.request(all))
    end

    local function next_event(id)
      local event = world.next(BOUND + 5)
      if not event then error("nothing comes", 2) end
      assert.equal("response", event.type)
      assert.equal(id, event.id)
      return event
    end

    local function whole(answer, options) return next_event(request(answer, options)) end

    local function stale(result, message, code)
      assert.is_nil(result)
      assert.is_string(message)
      assert.equal("EBADF", code)
    end

    local function quiet()
      local event = world.next(QUIET)
      return event and event.type or true
    end

    local function fails(code, message, answer, options)
      local event = whole(answer, options)
      assert.equal(code, event.code)
      assert.matches(message, event.error)
      assert.is_nil(event.status)
      stale(port.cancel(event.id))
    end

    local function refuses(message, options)
      local ok, found = pcall(port.request, options)
      assert.is_false(ok)
      assert.matches(message, tostring(found))
    end

    -- --- whole -------------------------------------------------------------------------------------

    it("gives status, headers and body in one event, then the handle is gone", function()
      local id = request { status = 404, headers = { "X-Words: a", "X-words: b", "X-Empty: " }, body = "not\0here" }
      local event = next_event(id)
      assert.equal(404, event.status)
      assert.equal("a, b", event.headers["x-words"])
      assert.equal("", event.headers["x-empty"])
      assert.equal("not\0here", event.body)
      assert.is_nil(event.error)
      stale(port.cancel(id))
      assert.is_true(quiet())
    end)

    it("sends method, headers and any bytes", function()
      local headers = { ["X-Token"] = "secret", ["X-Empty"] = "", ["Content-Type"] = "text/x" }
      local event = whole({ echo = true }, { method = "PATCH", headers = headers, body = "a\0b" })
      assert.matches("^PATCH /", event.body)
      local text = event.body:lower()
      assert.matches("\nx%-token: secret\n", text)
      assert.matches("\nx%-empty: *\n", text)
      assert.matches("\ncontent%-type: text/x\n", text)
      assert.matches("\n\na%zb$", event.body)
    end)

    it("adds no type of its own to a body", function()
      local event = whole({ echo = true }, { method = "POST", body = "x" })
      assert.is_nil(event.body:lower():find "content%-type")
      assert.is_nil(event.body:lower():find "expect")
    end)

    it("gives no body to HEAD", function()
      assert.equal("", whole({ body = "never" }, { method = "HEAD" }).body)
    end)

    it("does not follow redirects", function()
      local event = whole { status = 302, headers = { "Location: http://elsewhere/" } }
      assert.equal(302, event.status)
      assert.equal("http://elsewhere/", event.headers.location)
    end)

    it("takes a body of exactly max_body, and fails with EMSGSIZE on more", function()
      assert.equal(20000, #whole({ size = 20000 }, { max_body = 20000 }).body)
      fails("EMSGSIZE", "larger than 20000 bytes", { size = 20001 }, { max_body = 20000 })
    end)

    it("cuts the body at max_body when told so", function()
      local event = whole({ size = 100000 }, { max_body = 1000, cut = true })
      assert.equal(200, event.status)
      assert.equal(1000, #event.body)
    end)

    it("fails when nobody listens", function()
      fails("ECONNREFUSED", "cannot connect to .*: connection refused", "http://" .. world.refused() .. "/")
    end)

    it("fails when the connection breaks", function()
      fails("ECONNRESET", "closed the connection", { closes = true })
    end)

    it("fails when there is no answer in time, and not earlier", function()
      local before = port.now()
      fails("ETIMEDOUT", "within 100ms", { hangs = true }, { timeout = 0.1 })
      assert.is_true(port.now() - before >= 0.099)
    end)

    it("says nothing more when cancelled", function()
      local one, other = request { after = 0.01 }, request { hangs = true }
      assert.is_true(port.cancel(one))
      assert.is_true(port.cancel(other))
      stale(port.cancel(one))
      assert.is_true(quiet())
    end)

    it("is quiet when cancelled with the answer on its way", function()
      local id, timer = request { body = "x" }, port.timer(0.05)
      assert.equal("timer", (function()
        local event = world.next(BOUND)
        if event.type == "timer" then return event.type end
        assert.equal(timer, world.next(BOUND).id) -- the answer came first: nothing to show
        return "timer"
      end)())
      port.cancel(id)
      assert.is_true(quiet())
    end)

    it("does many at once", function()
      local open = {}
      for _ = 1, 50 do open[request { body = "x" }] = true end
      for _ = 1, 50 do
        local event = world.next(BOUND)
        assert.is_true(open[event.id])
        assert.equal(200, event.status)
        open[event.id] = nil
      end
      assert.same({}, open)
    end)

    -- --- streams -----------------------------------------------------------------------------------

    describe("with stream", function()
      local function open(answer, options)
        local all = { stream = true }
        for key, value in pairs(options or {}) do all[key] = value end
        local id = request(answer, all)
        return id, next_event(id)
      end

      -- The rest of a stream.
      local function rest(id)
        local parts = {}
        repeat
          assert.is_true(port.more(id))
          local event = next_event(id)
          parts[#parts + 1] = event.chunk
        until event.last
        return table.concat(parts)
      end

      it("gives the head first, without waiting for a body", function()
        local id, head = open { status = 201, headers = { "X-A: b" }, chunks = {}, hangs = true }
        assert.equal(201, head.status)
        assert.equal("b", head.headers["x-a"])
        assert.equal("", head.chunk)
        assert.is_false(head.last)
        assert.is_true(port.cancel(id))
      end)

      it("gives one chunk for each more, and nothing without", function()
        local id = open { chunks = { "a", "b", "c" }, every = 0.01 }
        assert.is_true(quiet())
        local parts = {}
        repeat
          assert.is_true(port.more(id))
          local event = next_event(id)
          assert.is_nil(event.status)
          parts[#parts + 1] = event.chunk
          if not event.last then assert.is_true(quiet()) end
        until event.last
        assert.equal("abc", table.concat(parts))
        stale(port.more(id))
        stale(port.cancel(id))
      end)

      it("takes a grant that comes before the head", function()
        local id = request({ chunks = { "a" } }, { stream = true })
        assert.is_true(port.more(id))
        assert.is_true(port.more(id))
        assert.equal("", next_event(id).chunk)
        local event = next_event(id)
        assert.equal("a", event.chunk)
        if not event.last then assert.is_true(quiet()) end
      end)

      it("gives every byte of a large body, in pieces", function()
        local id = open({ size = 1000000 }, { max_body = 10 })
        assert.equal(1000000, #rest(id))
      end)

      it("ends with the head when there is no body", function()
        local id, head = open { status = 200, body = "" }
        if not head.last then assert.equal("", rest(id)) end
        stale(port.more(id))
      end)

      it("holds its timeout only until the head is there", function()
        local id = open({ chunks = { "a", "b" }, every = 0.15 }, { timeout = 0.1 })
        assert.equal("ab", rest(id))
        fails("ETIMEDOUT", "no answer within 100ms", { hangs = true }, { timeout = 0.1, stream = true })
      end)

      it("is quiet when cancelled in the middle", function()
        local id = open { chunks = { "a", "b" }, every = 0.01 }
        port.more(id)
        assert.is_true(port.cancel(id))
        stale(port.more(id))
        assert.is_true(quiet())
      end)

      it("is the only one that knows more", function()
        local id = request { hangs = true }
        local done, message, code = port.more(id)
        assert.is_nil(done)
        assert.is_string(message)
        assert.equal("EINVAL", code)
        port.cancel(id)
        stale(port.more(id))
      end)
    end)

    -- --- arguments ---------------------------------------------------------------------------------

    it("refuses wrong arguments, naming the field", function()
      refuses("request: expected a table", nil)
      refuses("request: url: expected a string", {})
      refuses("request: url: expected http:// or https://, got \"ftp://x/\"", { url = "ftp://x/" })
      refuses("request: url: expected http:// or https://", { url = "localhost/" })
      refuses("request: url: a space", { url = "http://x/a b" })
      refuses("request: url: a NUL byte", { url = "http://x/a\0b" })
      refuses("request: method: no method", { url = "http://x/", method = "GET /" })
      refuses("request: headers: expected a table", { url = "http://x/", headers = "A: b" })
      refuses("request: headers: bad name \"A b\"", { url = "http://x/", headers = { ["A b"] = "c" } })
      refuses("request: headers.A: a line break", { url = "http://x/", headers = { A = "b\r\nC: d" } })
      refuses("request: headers.A: expected a string", { url = "http://x/", headers = { A = 1 } })
      refuses("request: body: expected a string", { url = "http://x/", body = {} })
      refuses("request: timeout: expected a number", { url = "http://x/", timeout = "1s" })
      refuses("request: socket: longer", { url = "http://x/", socket = "/" .. ("x"):rep(107) })
      refuses("request: proxy: it is empty", { url = "http://x/", proxy = "" })
      refuses("request: tls: unknown field \"ca\"", { url = "http://x/", tls = { ca = "/x" } })
      refuses("request: tls: verify: expected a boolean", { url = "http://x/", tls = { verify = 1 } })
      refuses("request: unknown field \"follow\"", { url = "http://x/", follow = true })
    end)
  end)
end

contract("real", require "support.real_world")
contract("simulated", require "support.sim_world")
