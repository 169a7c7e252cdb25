-- Blocking queries by the book, one spec a rule: https://developer.hashicorp.com/consul/api-docs/features/blocking
--
-- The agent is a server that answers what the spec says, in order; what it was asked is the proof. Where a rule is
-- about time, only "not earlier" is asserted.

local run = require "support.run"
local web = require "support.web"
local world = require "support.real_world"

local BOUND = 60        -- seconds in which anything that is promised must have come
local QUIET = 0.1       -- seconds in which nothing must come
local BURST = 2.05      -- tokens that are there at first, one for each second; and what clocks are read apart

describe("a watch", function()
  local port = world.port
  local server, name, open
  local count = 0

  setup(function() server = web.start() end)
  teardown(run.cleanup)

  before_each(function() open = {} end)

  after_each(function()
    for _, id in ipairs(open) do port.cancel(id) end
    while world.next(0) do end
  end)

  -- --- the agent -----------------------------------------------------------------------------------

  local HANGS = { hangs = true }

  local function ok(index, body, more)
    local answer = { status = 200, body = body, headers = { index and "X-Consul-Index: " .. index or "X-None: 1" } }
    for key, value in pairs(more or {}) do answer[key] = value end
    return answer
  end

  local function refused(status, body) return { status = status, body = body } end

  -- Names an agent that gives these answers, then hangs.
  local function agent(script, options)
    count = count + 1
    name = "script-" .. count
    local all = { url = server.base .. web.path { name = name, script = script } }
    for key, value in pairs(options or {}) do all[key] = value end
    port.agent(all)
    return all
  end

  local function event(kind, id)
    local found = world.next(BOUND) or error("nothing comes", 3)
    assert.equal(kind, found.type)
    assert.equal(id, found.id)
    return found
  end

  -- What a script was asked, once it has been asked so many times: { { at = seconds, path = "…" }, … }. On a connection
  -- of its own, so that it does not get in the way.
  local function asked(times)
    local list
    repeat
      list = {}
      local id = assert(port.request { url = server.base .. "/asked/" .. name, fresh = true })
      for at, path in event("response", id).body:gmatch "(%S+) (%S+)" do
        list[#list + 1] = { at = tonumber(at), path = path }
      end
    until #list >= times or world.next(0.02)
    assert.equal(times, #list)
    return list
  end

  local function paths(times)
    local list = asked(times)
    for i, question in ipairs(list) do list[i] = question.path end
    return list
  end

  -- --- the watch -----------------------------------------------------------------------------------

  local function watch(options)
    local all = { path = "/v1/kv/app" }
    for key, value in pairs(options or {}) do all[key] = value end
    local id = assert(port.watch(all))
    open[#open + 1] = id
    return id
  end

  local function content(id, body, index)
    local found = event("watch", id)
    assert.is_nil(found.error, found.error)
    assert.equal(body, found.body)
    if index then assert.equal(index, found.index) end
    return found
  end

  local function failure(id, code, message)
    local found = event("watch", id)
    assert.equal(code, found.code)
    assert.matches(message, found.error)
    assert.is_nil(found.body)
    return found
  end

  local function quiet(seconds)
    local found = world.next(seconds or QUIET)
    return found and found.type .. " " .. tostring(found.error or found.body) or true
  end

  -- --- questions -----------------------------------------------------------------------------------

  it("asks without an index first, then with the one it got", function()
    agent { ok(7, "a"), HANGS }
    content(watch(), "a", "7")
    assert.same({ "/v1/kv/app", "/v1/kv/app?index=7&wait=60000ms" }, paths(2))
  end)

  it("adds index and wait to a query", function()
    agent { ok("18446744073709551615", "a"), HANGS }
    content(watch { path = "/v1/kv/app?raw&dc=east", wait = 0.5 }, "a", "18446744073709551615")
    assert.same({ "/v1/kv/app?raw&dc=east", "/v1/kv/app?raw&dc=east&index=18446744073709551615&wait=500ms" }, paths(2))
  end)

  it("asks the agent's cache where it may, but for the first question after an error", function()
    agent { ok(7, "a"), refused(500, "rpc error"), refused(500, "rpc error"), ok(8, "b"), HANGS }
    local id = watch { path = "/v1/health/service/app", cached = true }
    content(id, "a", "7")
    failure(id, "EIO", "500")
    content(id, "b", "8")
    assert.same({
      "/v1/health/service/app?cached", "/v1/health/service/app?index=7&wait=60000ms&cached",
      "/v1/health/service/app", "/v1/health/service/app", "/v1/health/service/app?index=8&wait=60000ms&cached",
    }, paths(5))
    port.cancel(id)
    agent { ok(7, "a"), HANGS }
    content(watch { path = "/v1/health/service/app?passing&dc=east", cached = true }, "a", "7")
    assert.equal("/v1/health/service/app?passing&dc=east&cached", paths(2)[1])
  end)

  it("does not take a return for a change", function()
    agent { ok(7, "a"), ok(8, "a"), ok(9, "b"), HANGS }
    local id = watch()
    content(id, "a", "7")
    content(id, "b", "9")
    assert.equal("/v1/kv/app?index=9&wait=60000ms", paths(4)[4])
    assert.is_true(quiet())
  end)

  it("takes another status for a change", function()
    agent { ok(7, ""), ok(8, "", { status = 404 }), ok(9, ""), HANGS }
    local id = watch()
    for _, status in ipairs { 200, 404, 200 } do assert.equal(status, content(id, "").status) end
  end)

  it("begins anew when the index goes back", function()
    agent { ok(10, "a"), ok(5, "b"), ok(6, "b"), HANGS }
    local id = watch()
    content(id, "a", "10")
    content(id, "b", "5")
    assert.same({
      "/v1/kv/app", "/v1/kv/app?index=10&wait=60000ms", "/v1/kv/app", "/v1/kv/app?index=6&wait=60000ms",
    }, paths(4))
    assert.is_true(quiet())
  end)

  it("asks once without an index when it is let go before its time, with the index that it had", function()
    agent { ok(10, "a"), ok(10, "a"), ok(7, "b"), HANGS }
    local id = watch()
    content(id, "a", "10")
    content(id, "b", "7")
    assert.same({
      "/v1/kv/app", "/v1/kv/app?index=10&wait=60000ms", "/v1/kv/app", "/v1/kv/app?index=7&wait=60000ms",
    }, paths(4))
  end)

  it("keeps an index with which its time was over", function()
    agent { ok(10, "a"), ok(10, "a", { after = 0.1 }), HANGS }
    content(watch { wait = 0.02 }, "a", "10")
    assert.equal("/v1/kv/app?index=10&wait=20ms", paths(3)[3])
  end)

  it("never sends an index below 1", function()
    for _, index in ipairs { "0", "-3", "x", "" } do
      agent { ok(index, "a"), HANGS }
      local id = watch()
      content(id, "a", "1")
      assert.same({ "/v1/kv/app", "/v1/kv/app?index=1&wait=60000ms" }, paths(2))
      port.cancel(id)
    end
  end)

  it("needs no index", function()
    agent { ok(nil, "a"), ok(nil, "b"), HANGS }
    local id = watch()
    content(id, "a", "1")
    content(id, "b", "1")
  end)

  it("asks slowly what returns at once without news, whatever the reason", function()
    for _, last in ipairs { ok(7, "a"), ok(nil, "a") } do
      agent { last }
      local id = watch()
      content(id, "a")
      local list = asked(6) -- for what five answers took: a tenth of a token, then four
      assert.is_true(list[6].at - list[1].at >= 4.1 - BURST)
      assert.is_true(quiet())
      port.cancel(id)
    end
  end)

  it("asks slowly when the index grows and grows without a change", function()
    local script = {}
    for i = 1, 6 do script[i] = ok(i, "a") end
    agent(script)
    content(watch(), "a", "1")
    local list = asked(5)
    assert.equal("/v1/kv/app?index=4&wait=60000ms", list[5].path)
    assert.is_true(list[5].at - list[1].at >= 3.1 - BURST)
    assert.is_true(quiet())
  end)

  -- A watch of its own script, beside that of another one.
  local function scripted(script)
    count = count + 1
    return watch { path = web.path { name = "own-" .. count, script = script } .. "/v1/kv/app" }
  end

  it("asks at once after news, and not after an answer without", function()
    local news, nothing = {}, {}
    for i = 1, 10 do news[i], nothing[i] = ok(i, tostring(i)), ok(i, "a") end
    news[11], nothing[11], nothing[12] = HANGS, ok(11, "b"), HANGS
    port.agent { url = server.base }
    local slow = scripted(nothing)
    content(slow, "a")
    local fast = scripted(news)
    for i = 1, 10 do content(fast, tostring(i)) end
    content(slow, "b") -- the eleventh, after eight seconds: later than all that the other one was told
  end)

  -- An agent that answers at once, each time with news of that size. How long a watch takes for so many answers, and
  -- one more question.
  local function news(answers, size, told)
    local script = {}
    for i = 1, answers do script[i] = ok(i, nil, { size = size + i }) end
    script[answers + 1] = HANGS
    agent(script)
    local id = watch()
    for _ = 1, answers do
      local found = event("watch", id)
      if told then told(found.id) end
    end
    local list = asked(answers + 1)
    port.cancel(id)
    return list[#list].at - list[1].at
  end

  it("asks ten times a second at most, when each answer is news", function()
    assert.is_true(news(26, 1) >= 2.6 - BURST)
  end)

  it("asks less often the larger news are", function()
    assert.is_true(news(9, 400000) >= 3.6 - BURST)
    assert.is_true(news(5, 5000000) >= 5 - BURST)
  end)

  it("asks slowly when news are called unchanged", function()
    assert.is_true(news(6, 1, function(id) assert.is_true(port.unchanged(id)) end) >= 5.1 - BURST)
  end)

  it("asks the next question when the last answer was taken, and not before", function()
    agent { ok(1, "a"), ok(2, "b"), HANGS }
    local id = watch()
    os.execute "sleep 0.2"              -- nobody looks, and the answer waits
    content(id, "a", "1")
    content(id, "b", "2")
  end)

  it("gives up a question that is held back for longer than wait and a sixteenth", function()
    agent { ok(7, "a"), HANGS }
    local before = port.now()
    local id = watch { wait = 0.01 }
    content(id, "a")
    failure(id, "ETIMEDOUT", "no answer within 5%.0%d*s")
    assert.is_true(port.now() - before >= 5)
  end)

  -- --- errors --------------------------------------------------------------------------------------

  it("tells a failure once, asks again without an index, and tells the next content", function()
    agent { ok(5, "a"), refused(500, "No cluster leader"), refused(500, "rpc error"), ok(5, "a"), HANGS }
    local id = watch()
    content(id, "a", "5")
    local found = failure(id, "EIO", "the agent answered 500: No cluster leader")
    assert.equal(500, found.status)
    content(id, "a", "5")
    local list = asked(5)
    assert.equal("/v1/kv/app?index=5&wait=60000ms", list[2].path)
    assert.equal("/v1/kv/app", list[3].path)
    assert.equal("/v1/kv/app", list[4].path)
    assert.equal("/v1/kv/app?index=5&wait=60000ms", list[5].path)
    assert.is_true(list[3].at - list[2].at >= 0.49)         -- half of a second, and chance
    assert.is_true(list[4].at - list[3].at >= 0.99)         -- twice that
    assert.is_true(quiet())
  end)

  it("tells another failure", function()
    agent { refused(500, "x"), refused(403, "Permission denied"), ok(5, "a"), HANGS }
    local id = watch()
    failure(id, "EIO", "500: x")
    assert.equal(403, failure(id, "EACCES", "the agent answered 403: Permission denied").status)
    content(id, "a", "5")
  end)

  it("tells by the code what can be done", function()
    local codes = { [400] = "EIO", [401] = "EACCES", [403] = "EACCES", [429] = "EAGAIN", [503] = "EIO", [302] = "EIO" }
    for status, code in pairs(codes) do
      agent { { status = status, headers = { "Location: " .. server.base .. "/stats" } } }
      local id = watch()
      assert.equal(status, failure(id, code, "the agent answered " .. status .. "$").status)
      port.cancel(id)
    end
  end)

  it("tells a bound of connections from other reasons for a 429", function()
    local said = "Your IP is issuing too many concurrent connections, please rate limit your calls\n"
    agent { refused(429, said), ok(5, "a"), HANGS }
    local id = watch()
    assert.equal(429, failure(id, "EUSERS", "the agent answered 429: too many concurrent connections$").status)
    content(id, "a")
  end)

  it("does not take an answer that lacks what the token may not read for one", function()
    local headers = { "X-Consul-Index: 6", "X-Consul-Results-Filtered-By-ACLs: true" }
    local other = { "X-Consul-Index: 6", "X-Consul-Results-Filtered-By-ACLs: false" }
    agent { ok(5, "[1]"), ok(nil, "[]", { headers = headers }), ok(nil, "", { status = 404, headers = headers }),
      ok(nil, "[2]", { headers = other }), HANGS }
    local id = watch()
    content(id, "[1]")
    assert.equal(200, failure(id, "EACCES", "lacks what the token may not read").status)
    assert.equal(404, failure(id, "EACCES", "lacks what the token may not read").status)
    content(id, "[2]", "6")
  end)

  it("tells an error as one, also where the header says that an answer would lack something", function()
    local headers = { "X-Consul-Results-Filtered-By-ACLs: true" }
    agent { ok(nil, "rpc error", { status = 500, headers = headers }),
      ok(nil, "x", { status = 404, headers = headers }), ok(5, "a"), HANGS }
    local id = watch()
    assert.equal(500, failure(id, "EIO", "the agent answered 500: rpc error$").status)
    assert.equal(404, failure(id, "ENOENT", "the agent answered 404: x$").status)
    content(id, "a")
  end)

  it("tells all lines of an error, without the ends", function()
    agent { refused(400, "2 errors occurred:\n\t* a\n\t* b\n\n"), refused(500, ("x"):rep(20000)) }
    local id = watch()
    failure(id, "EIO", "the agent answered 400: 2 errors occurred:\n\t%* a\n\t%* b$")
    assert.equal(#"the agent answered 500: " + 16384, #failure(id, "EIO", "500: x").error)
  end)

  it("takes a 404 without an index for a wrong path", function()
    agent { refused(404, "404 page not found\n") }
    assert.equal(404, failure(watch { path = "/v1/nonsense" }, "ENOENT", "404: 404 page not found$").status)
  end)

  it("pauses no longer than before after a success", function()
    agent { refused(500), refused(500), ok(1, "a"), refused(500), ok(1, "a"), HANGS }
    local id = watch()
    failure(id, "EIO", "500")
    content(id, "a")
    failure(id, "EIO", "500")
    local before = port.now()
    content(id, "a")
    assert.is_true(port.now() - before >= 0.49)
    assert.equal(6, #paths(6))
  end)

  it("begins anew when the connection breaks while it waits", function()
    agent { ok(5, "a"), { closes = true }, ok(3, "b"), HANGS }
    local id = watch()
    content(id, "a", "5")
    content(id, "b", "3")
    assert.same({
      "/v1/kv/app", "/v1/kv/app?index=5&wait=60000ms", "/v1/kv/app", "/v1/kv/app?index=3&wait=60000ms",
    }, paths(4))
  end)

  it("tells of a connection that breaks again", function()
    agent { ok(5, "a"), { closes = true }, { closes = true }, ok(5, "a"), HANGS }
    local id = watch()
    content(id, "a")
    failure(id, "ECONNRESET", "closed the connection without an answer")
    content(id, "a")
  end)

  it("waits at an agent that ends the connection with each answer, too", function()
    server = web.start()                -- to which no other connection is open
    agent { ok(5, "a", { close = true }), ok(5, "a", { close = true }), HANGS }
    content(watch(), "a")
    assert.same({ "/v1/kv/app", "/v1/kv/app", "/v1/kv/app?index=5&wait=60000ms" }, paths(3))
    assert.is_true(quiet())
  end)

  it("does not take a part of an answer for one", function()
    local chunked = "HTTP/1.1 200 OK\r\nX-Consul-Index: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[1,"
    for _, cut in ipairs { ok(5, "[1,", { promised = 1000 }), { raw = chunked, closes = true } } do
      agent { cut, ok(5, "[1,2]"), HANGS }
      local id = watch()
      failure(id, "ECONNRESET", "connection")
      content(id, "[1,2]", "5")
      port.cancel(id)
    end
  end)

  it("does not take garbage for an answer", function()
    agent { { raw = "220 mail.example ESMTP\r\n\r\n", closes = true }, ok(5, "a"), HANGS }
    local id = watch()
    failure(id, "EPROTO", "does not speak HTTP")
    content(id, "a")
  end)

  it("tells a line of the head that is longer than any as such", function()
    agent { ok(5, "a", { long = 150000 }), ok(5, "a"), HANGS }
    local id = watch()
    failure(id, "EMSGSIZE", "the answer of .* has a line in its head of more than 100 KB, or memory is short")
    content(id, "a")
  end)

  it("takes an answer that comes in pieces", function()
    agent { ok(5, nil, { chunks = { "a", "b", "c" }, every = 0.02 }), HANGS }
    content(watch(), "abc", "5")
  end)

  it("takes ten megabytes, and no more than max_body", function()
    agent { ok(5, nil, { size = 10000000 }), ok(6, nil, { size = 10000000 }), ok(7, "small"), HANGS }
    local id = watch()
    assert.equal(10000000, #event("watch", id).body)
    content(id, "small", "7")
    port.cancel(id)
    agent { ok(5, nil, { size = 1001 }), ok(6, nil, { size = 1000 }), HANGS }
    id = watch { max_body = 1000 }
    failure(id, "EMSGSIZE", "larger than 1000 bytes")
    assert.equal(1000, #event("watch", id).body)
  end)

  -- --- away and back -------------------------------------------------------------------------------

  local function call(options)
    local all = { path = "/v1/call" }
    for key, value in pairs(options or {}) do all[key] = value end
    return event("response", assert(port.consul(all)))
  end

  -- The connection of a question that waits; nobody sends anything there.
  it("is asked anew, without an index, when a call is answered after one was not", function()
    agent { ok(7, "a"), HANGS, HANGS, ok(1, "call"), ok(5, "b"), HANGS }
    local id = watch()
    content(id, "a", "7")
    paths(2)
    assert.equal("ETIMEDOUT", call({ timeout = 0.2 }).code)
    assert.equal("call", call().body)
    content(id, "b", "5")
    assert.same({
      "/v1/kv/app", "/v1/kv/app?index=7&wait=60000ms", "/v1/call", "/v1/call", "/v1/kv/app",
      "/v1/kv/app?index=5&wait=60000ms",
    }, paths(6))
    assert.is_true(quiet())
  end)

  -- Both calls open one, since none is free when they are sent: so the second one's end says nothing of the first one.
  it("keeps no call from the connection that is open, when one that opened another is refused", function()
    server = web.start()                -- to which no other connection is open
    agent { ok(7, "a"), HANGS, ok(1, "call"), { closes = true, after = 0.1 }, ok(1, "call") }
    content(watch(), "a")
    paths(2)
    local ids = { assert(port.consul { path = "/v1/call" }), assert(port.consul { path = "/v1/call" }) }
    assert.equal("call", event("response", ids[1]).body)
    assert.equal("EUSERS", event("response", ids[2]).code)
    assert.equal("call", call({ timeout = 5 }).body)
  end)

  it("is not asked anew after an answer that is too large, or an error", function()
    agent { ok(7, "a"), HANGS, ok(1, "large"), ok(1, "call"), refused(500), ok(1, "call") }
    local id = watch()
    content(id, "a")
    paths(2)
    assert.equal("EMSGSIZE", call({ max_body = 2 }).code)
    assert.equal("call", call().body)
    assert.equal(500, call().status)
    assert.equal("call", call().body)
    assert.is_true(quiet())
    assert.equal(6, #asked(6))
  end)

  -- --- its end -------------------------------------------------------------------------------------

  it("is silent once cancelled: asking, waiting, pausing, with an event on its way", function()
    agent { HANGS }
    port.cancel(watch())
    agent { ok(5, "a"), HANGS }
    local id = watch()
    content(id, "a")
    port.cancel(id)
    agent { refused(500) }
    id = watch()
    failure(id, "EIO", "500")
    port.cancel(id)
    agent { ok(5, "a") }
    id = watch()
    local other = watch { path = "/v1/kv/other" }
    event("watch", id)
    os.execute "sleep 0.05"
    port.cancel(id)
    event("watch", other)
    port.cancel(other)
    assert.is_true(quiet())
  end)

  -- --- the agent -----------------------------------------------------------------------------------

  it("goes over to another agent at once, without an index", function()
    local first = agent { ok(5, "a"), HANGS }
    local id = watch()
    content(id, "a")
    paths(2)
    port.agent(first)                   -- the same one: nothing changes
    assert.is_true(quiet())
    assert.equal(2, #asked(2))
    agent { ok(3, "b"), HANGS }
    content(id, "b", "3")
    assert.same({ "/v1/kv/app", "/v1/kv/app?index=3&wait=60000ms" }, paths(2))
  end)

  it("tells of a refusal again, where another token or agent is refused as well", function()
    local first = agent { refused(403, "no") }
    local id = watch()
    failure(id, "EACCES", "403: no")
    assert.is_true(quiet())
    first.token = "another"
    port.agent(first)
    failure(id, "EACCES", "403: no")
    assert.is_true(quiet())
  end)

  it("uses a new token at once, where it has none of its own", function()
    local url = server.base .. web.path { echo = true }
    port.agent { url = url, token = "one" }
    local id, other = watch(), watch { token = "mine" }
    for _ = 1, 2 do
      local found = world.next(BOUND)
      assert.matches(found.id == id and "\nX%-Consul%-Token: one\n" or "\nX%-Consul%-Token: mine\n", found.body)
    end
    port.cancel(other)
    port.agent { url = url, token = "two" }
    local found
    repeat found = event("watch", id) until found.body:find "Token: two"
  end)
end)

describe("a call", function()
  local port = world.port
  local server

  setup(function() server = web.start() end)
  teardown(run.cleanup)

  local function answer(options)
    local id = assert(port.consul(options))
    local event = world.next(BOUND) or error("nothing comes", 2)
    assert.equal(id, event.id)
    return event
  end

  it("carries the agent's token, or its own, and the agent's password", function()
    port.agent { url = server.base .. web.path { echo = true } .. "/", token = "secret", auth = "me:pass:word" }
    local body = answer({ path = "/v1/kv/app" }).body
    assert.matches("^GET /%x+/v1/kv/app\n", body)
    assert.matches("\nX%-Consul%-Token: secret\n", body)
    assert.matches("\nAuthorization: Basic bWU6cGFzczp3b3Jk\n", body)
    assert.matches("\nX%-Consul%-Token: mine\n", answer({ path = "/v1/kv/app", token = "mine" }).body)
    port.agent { url = server.base .. web.path { echo = true } }
    body = answer({ path = "/v1/kv/app" }).body
    assert.is_nil(body:find "Token" or body:find "Authorization")
  end)

  it("sends a write once, and a read again when a kept connection breaks", function()
    local steps = { { body = "first" }, { closes = true }, { body = "again" } }
    port.agent { url = server.base .. web.path { name = "read", script = steps } }
    assert.equal("first", answer({ path = "/v1/kv/app" }).body)
    assert.equal("again", answer({ path = "/v1/kv/app" }).body)
    port.agent { url = server.base .. web.path { name = "write", script = steps } }
    assert.equal("first", answer({ path = "/v1/kv/app" }).body)
    local event = answer { method = "PUT", path = "/v1/kv/app", body = "x" }
    assert.equal("ECONNRESET", event.code)
    assert.matches("closed the connection without an answer", event.error)
    assert.equal("again", answer({ path = "/v1/kv/app" }).body)
  end)

  it("does not follow a redirect with its token", function()
    port.agent { url = server.base .. web.path { status = 302, headers = { "Location: " .. server.base .. "/stats" } },
      token = "secret" }
    assert.equal(302, answer({ path = "/v1/kv/app" }).status)
  end)

  it("says how many connections there are when none is free in time", function()
    port.agent { url = server.base .. web.path { hangs = true }, max_connections = 3 }
    local open = {}
    for i = 1, 2 do open[i] = assert(port.watch { path = "/v1/kv/app" }) end
    open[3] = assert(port.consul { path = "/v1/kv/app" })
    local event = answer { path = "/v1/kv/app", timeout = 0.1 }
    assert.equal("ETIMEDOUT", event.code)
    assert.matches("no free connection to the agent within 100ms: max_connections is 3, and 2 watches hold one each",
      event.error)
    for _, id in ipairs(open) do port.cancel(id) end
  end)

  it("goes through a unix socket", function()
    local behind = web.start(world.path "http.sock")
    port.agent { url = behind.base .. web.path { echo = true }, socket = behind.socket }
    assert.matches("^GET /%x+/v1/kv/app\n", answer({ path = "/v1/kv/app" }).body)
    port.agent { url = behind.base, socket = world.path "none.sock" }
    assert.equal("ENOENT", answer({ path = "/v1/kv/app" }).code)
    world.close()
  end)
end)
