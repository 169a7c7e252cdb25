-- pilot.http on the simulated web: answers, failures, redirects, retries, proxies, streams.

local boxes = require "support.boxes"

local PRELUDE = [[
  local said = pilot.state
  local function say(...) said[#said + 1] = table.concat({ tostring((...)), select(2, ...) }, " ") end
  local http = pilot.http
]]

describe("pilot.http", function()
  after_each(boxes.check)

  -- Runs a task in a box whose web is { url, answer, … }.
  local function run(web, task, options)
    local box = boxes.load(PRELUDE .. "pilot.job 'app' { run = function()\n" .. task .. "\nend }", options)
    for i = 1, #web, 2 do box:http(web[i], web[i + 1]) end
    box:start()
    return box
  end

  local function said(box) return box.app.state end

  -- What a task says until it has ended.
  local function says(web, task, options)
    local box = run(web, task, options)
    box:advance "5m"
    return said(box), box
  end

  -- The message with which it raises.
  local function raises(web, call, options)
    local list, box = says(web, "local ok, message = pcall(function() " .. call .. " end)\nsay(ok, message)", options)
    return (list[1]:gsub("^false pilot.lua:%d+: ", "")), box
  end

  -- The exchanges that the port still has.
  local function open(box)
    local list = {}
    for id, handle in pairs(box.port.handles) do
      if handle.kind == "http" then list[#list + 1] = id end
    end
    return list
  end

  -- --- answers -------------------------------------------------------------------------------------

  it("gets an answer", function()
    assert.same({ "200 true text/plain text/plain hello" }, (says({ "http://api/x", {
      body = "hello", headers = { ["Content-Type"] = "text/plain" },
    } }, [[
      local res = http.get "http://api/x"
      say(res.status, tostring(res.ok), res.headers["content-type"], res.headers["Content-Type"], res.body)
    ]])))
  end)

  it("does not raise for a status", function()
    assert.same({ "404 false", "500 false", "302 false", "204 true" }, (says({
      "http://api/404", 404, "http://api/500", 500, "http://api/302", 302, "http://api/204", 204,
    }, [[
      for _, code in ipairs { 404, 500, 302, 204 } do
        local res = http.get("http://api/" .. code)
        say(res.status, tostring(res.ok))
      end
    ]])))
  end)

  it("decodes JSON when asked, and says whose it was when it is none", function()
    local web = { "http://api/good", { body = '{"a":[1,2]}' }, "http://api/bad", { status = 502, body = "<" } }
    local list = says(web, [[
      say(http.get("http://api/good").json().a[2])
      local res = http.get "http://api/bad"
      say(pcall(res.json))
    ]])
    assert.equal("2", list[1])
    assert.matches("^false .*GET http://api/bad: status 502, and the body is no JSON: ", list[2])
  end)

  it("sends methods, queries, headers and bodies", function()
    local _, box = says({ "http://api/*", 200 }, [[
      http.get("http://api/a?x=1", { query = { q = "a b", l = { 1, 2 } }, headers = { ["X-A"] = "b", N = 5 } })
      http.post("http://api/b", { body = "text" })
      http.put("http://api/c", { json = { a = 1 } })
      http.delete "http://api/d"
      http.request { url = "http://api/e", method = "PATCH", form = { a = "1&2" } }
      http.request { url = "http://api/f" }
      http.post("http://api/g", { json = { 1 }, headers = { ["content-type"] = "application/x" } })
    ]])
    local seen = {}
    for i, request in ipairs(box:requests()) do
      seen[i] = { request.method, request.url, request.headers["content-type"], request.body }
    end
    assert.same({
      { "GET", "http://api/a?x=1&l=1&l=2&q=a%20b" },
      { "POST", "http://api/b", nil, "text" },
      { "PUT", "http://api/c", "application/json", '{"a":1}' },
      { "DELETE", "http://api/d" },
      { "PATCH", "http://api/e", "application/x-www-form-urlencoded", "a=1%262" },
      { "GET", "http://api/f" },
      { "POST", "http://api/g", "application/x", "[1]" },
    }, seen)
    assert.equal("b", box:requests()[1].headers["x-a"])
    assert.equal("5", box:requests()[1].headers.n)
  end)

  -- --- failures ------------------------------------------------------------------------------------

  it("raises what kept an answer from coming, with method, URL and what to do", function()
    local task = 'http.get("http://me:secret@api/x", { timeout = "2s" })'
    assert.equal("pilot.http.get: GET http://***@api/x: cannot connect to api:80: connection refused; nobody listens "
      .. 'there: is it running, is the port right? retry = "30s" waits for it',
      (raises({ "http://api/x", "down" }, task)))
    assert.equal("pilot.http.get: GET http://***@api/x: no answer within 2s; timeout allows more",
      (raises({ "http://api/x", "hangs" }, task)))
    assert.equal("pilot.http.get: GET http://***@api/x: cannot resolve api:80; is the name right?",
      (raises({ "http://api/x", { error = "EAI_NONAME" } }, task)))
  end)

  it("bounds the body", function()
    assert.equal("pilot.http.get: GET http://api/x: the answer is larger than 10 bytes; max_body is 10 bytes: "
      .. "raise it, or read with pilot.http.stream",
      (raises({ "http://api/x", { body = "12345678901" } }, 'http.get("http://api/x", { max_body = 10 })')))
  end)

  it("gives up after its timeout, with redirects in it", function()
    local list, box = says({ "http://api/x", { status = 302, headers = { Location = "/x" }, after = "3s" } }, [[
      local start = pilot.now()
      say(pcall(http.get, "http://api/x", { follow = true, timeout = "10s" }))
      say(pilot.now() - start)
    ]])
    assert.matches("no answer within", list[1])
    assert.is_true(math.abs(list[2] - 10) < 0.01)
    assert.equal(4, #box:requests())
  end)

  it("checks its arguments like any other call", function()
    local function message(call) return (raises({}, call)) end
    assert.matches('^pilot.http.get: expected a URL such as .*, got a string: "api/x"; write "http://api/x"$',
      message 'http.get "api/x"')
    assert.equal('pilot.http.get.timout: unknown field (did you mean "timeout"?)',
      message 'http.get("http://x/", { timout = 1 })')
    assert.matches("pilot.http.get: has body and json: a request has one body",
      message 'http.get("http://x/", { body = "a", json = {} })')
    assert.matches("pilot.http.get.method: unknown field", message 'http.get("http://x/", { method = "PUT" })')
    assert.matches("pilot.http.post: json: ", message 'http.post("http://x/", { json = print })')
    assert.matches("pilot.http.request: expected a table of options, got a string",
      message 'http.request "http://x/"')
    assert.matches("pilot.http.request: method: expected a method",
      message 'http.request { url = "http://x/", method = 1 }')
    assert.matches("pilot.http.request: expected a URL", message "http.request()")
    assert.matches("pilot.http.stream: expected a URL", message "http.stream()")
    assert.matches("a table such as", message 'http.get("http://x/", 5)')
    assert.matches("proxy: a socket needs none", message 'http.get("http://x/", { socket = "/s", proxy = "http://p" })')
  end)

  it("waits, so it is nothing for the top level", function()
    assert.matches("pilot.http.get waits, and the top level of a pilot.lua only declares",
      boxes.mistakes 'pilot.http.get "http://x/"')
  end)

  it("fails the spec that described no such URL, and says how to", function()
    local _, box = raises({ "http://api/x", 200 }, 'http.get "http://api/y?a=1"')
    assert.matches('nobody described the URL "http://api/y%?a=1": box:http%("http://api/y", 200%)',
      box:forget_errors()[1])
  end)

  it("is cancelled with its task", function()
    local box = run({ "http://api/x", "hangs" }, [[
      local task = pilot.spawn(function() http.get("http://api/x") end)
      pilot.sleep "1s"
      task:cancel()
      say(task:wait())
    ]])
    box:advance "10s"
    assert.same({ "nil cancelled" }, said(box))
    assert.same({}, open(box))
  end)

  -- --- redirects -----------------------------------------------------------------------------------

  describe("redirects", function()
    local function to(where, status) return { status = status or 302, headers = { Location = where } } end

    local function trail(web, call, options)
      local _, box = says(web, call, options)
      local list = {}
      for i, request in ipairs(box:requests()) do list[i] = request.method .. " " .. request.url end
      return list, box:requests()
    end

    it("are followed only when asked", function()
      local web = { "http://a/x", to "/y", "http://a/y", 200 }
      assert.same({ "GET http://a/x" }, (trail(web, 'say(http.get("http://a/x").status)')))
      assert.same({ "GET http://a/x", "GET http://a/y" }, (trail(web, 'http.get("http://a/x", { follow = true })')))
    end)

    it("change the method as browsers do", function()
      for status, method in pairs { [301] = "GET", [302] = "GET", [303] = "GET", [307] = "POST", [308] = "POST" } do
        local list, requests = trail({ "http://a/x", to("/y", status), "http://a/y", 200 },
          'http.post("http://a/x", { json = { 1 }, follow = true })')
        assert.same({ "POST http://a/x", method .. " http://a/y" }, list)
        assert.equal(method == "POST" and "[1]" or nil, requests[2].body)
        assert.equal(method == "POST" and "application/json" or nil, requests[2].headers["content-type"])
      end
      assert.same({ "PUT http://a/x", "PUT http://a/y" }, (trail({ "http://a/x", to("/y", 301), "http://a/y", 200 },
        'http.put("http://a/x", { body = "1", follow = true })')))
    end)

    it("tell a stranger no token", function()
      local call = [[http.get("http://me:pass@a/x", { follow = true, headers = {
        Authorization = "Bearer t", Cookie = "c", ["X-Consul-Token"] = "t", Accept = "text/html",
      }, tls = { clientcert = "/cert", servername = "a", cafile = "/ca" } })]]
      local web = { "http://a/x", to "/y", "http://a/y", to "http://b/z", "http://b/z", 200 }
      local _, requests = trail(web, call)
      assert.equal("Bearer t", requests[2].headers.authorization)
      assert.equal("http://me:pass@a/y", requests[2].url)
      assert.same({ accept = "text/html" }, requests[3].headers)
      assert.equal("http://b/z", requests[3].url)
      assert.same({ cafile = "/ca", verify = true }, requests[3].tls)
    end)

    it("count another port and another scheme as strangers", function()
      for _, target in ipairs { "http://a:81/y", "https://a/y" } do
        local _, requests = trail({ "http://a/x", to(target), target, 200 },
          'http.get("http://a/x", { follow = true, headers = { Authorization = "t" } })')
        assert.same({}, requests[2].headers)
      end
    end)

    it("go to http and https only", function()
      local message = raises({ "http://a/x", to "file:///etc/passwd" }, 'http.get("http://a/x", { follow = true })')
      assert.matches('redirects to "file:///etc/passwd": .*only http and https are spoken', message)
    end)

    it("end", function()
      local message, box = raises({ "http://a/*", to "/x" }, 'http.get("http://a/x", { follow = true })')
      assert.matches("redirects more than 10 times; follow = false shows the first answer", message)
      assert.equal(11, #box:requests())
    end)

    it("do not lead away from a socket", function()
      local list = says({ "http://a/x", to "/y", "http://a/y", to "http://b/" }, [[
        local res = http.get("http://a/x", { follow = true, socket = "/run/x.sock" })
        say(res.status, res.headers.location)
      ]])
      assert.same({ "302 http://b/" }, list)
    end)
  end)

  -- --- retries -------------------------------------------------------------------------------------

  describe("retry", function()
    it("tries again after failures and busy answers, with growing pauses", function()
      local list, box = says({ "http://api/x", { "down", 503, 429, "down", { body = "there" } } },
        'say(http.get("http://api/x", { retry = "1m" }).body)')
      assert.same({ "there" }, list)
      local at, low = {}, { 0.18, 0.37, 0.75, 1.5 }
      for i, request in ipairs(box:requests()) do at[i] = request.at end
      for i, least in ipairs(low) do
        local pause = at[i + 1] - at[i]
        assert.is_true(pause > least and pause < least * 1.4, ("pause %d: %g"):format(i, pause))
      end
    end)

    it("gives the last answer, or raises the last failure, when its time is over", function()
      local list = says({ "http://api/x", 503 }, [[
        local start = pilot.now()
        say(http.get("http://api/x", { retry = "20s" }).status)
        say(pilot.now() - start)
      ]])
      assert.equal("503", list[1])
      assert.is_true(tonumber(list[2]) > 14 and tonumber(list[2]) <= 20)
      assert.matches("connection refused",
        (raises({ "http://api/x", "down" }, 'http.get("http://api/x", { retry = "20s" })')))
    end)

    it("does not try again what cannot get better", function()
      for _, call in ipairs {
        'http.get("http://api/cert", { retry = "1m" })', 'http.get("http://api/big", { retry = "1m", max_body = 1 })',
        'http.get("http://api/404", { retry = "1m" })', 'http.get "http://api/down"',
      } do
        local _, box = says({
          "http://api/cert", { error = "ECERT" }, "http://api/big", { body = "12" }, "http://api/404", 404,
          "http://api/down", "down",
        }, "pcall(function() " .. call .. " end)")
        assert.equal(1, #box:requests(), call)
      end
    end)

    it("is cancelled in its pauses", function()
      local list = says({ "http://api/x", "down" }, [[
        say(pilot.timeout("10s", function() http.get("http://api/x", { retry = "5m" }) end))
      ]])
      assert.same({ "nil timeout" }, list)
    end)
  end)

  -- --- proxies -------------------------------------------------------------------------------------

  it("takes the proxy of the environment, of the option, or none", function()
    local _, box = says({ "http*://*", 200 }, [[
      http.get "http://api/1"
      http.get "https://api/2"
      http.get "http://inner.example/3"
      http.get "http://localhost/4"
      http.get("http://api/5", { proxy = false })
      http.get("http://inner.example/6", { proxy = "http://other:1" })
      http.get("http://api/7", { socket = "/run/x" })
    ]], { env = { http_proxy = "proxy:3128", no_proxy = "inner.example" } })
    local proxies = {}
    for i, request in ipairs(box:requests()) do proxies[i] = request.proxy or "-" end
    assert.same({ "http://proxy:3128", "-", "-", "-", "-", "http://other:1", "-" }, proxies)
  end)

  -- --- streams -------------------------------------------------------------------------------------

  describe("stream", function()
    it("gives the body in pieces, each when it comes", function()
      local list = says({ "http://api/s", { body = { "a", "b", "c" }, every = "1s", headers = { X = "y" } } }, [[
        local start = pilot.now()
        local stream = http.stream "http://api/s"
        say(stream.status, tostring(stream.ok), stream.headers.X)
        for chunk in stream:chunks() do say(chunk, math.floor(pilot.now() - start + 0.5)) end
        say "end"
      ]])
      assert.same({ "200 true y", "a 1", "b 2", "c 3", "end" }, list)
    end)

    it("puts lines together, and gives the last one without its end", function()
      assert.same({ "[one]", "[]", "[two]", "[three]" }, (says({
        "http://api/s", { body = { "on", "e\r\n\ntw", "o\n", "thr", "ee" } },
      }, [[
        for line in http.stream("http://api/s"):lines() do say("[" .. line .. "]") end
      ]])))
    end)

    it("reads JSON lines, passing over empty ones, and says which line is none", function()
      local list = says({ "http://api/s", { body = { '{"a":1}\n\n{"a"', ":2}\n", "{oops\n" } } }, [[
        say(pcall(function()
          for value in http.stream("http://api/s"):json_lines() do say(value.a) end
        end))
      ]])
      assert.same({ "1", "2" }, { list[1], list[2] })
      assert.matches('GET http://api/s: a line is no JSON: "{oops"', list[3])
    end)

    it("loses no line of a reader when another one asks meanwhile", function()
      local list = says({ "http://api/s", { body = { "hal", "lo\nworld\n", "bar\n" }, every = "10s" } }, [[
        local stream = http.stream "http://api/s"
        local first = pilot.spawn(function() for line in stream:lines() do say(line) end end)
        pilot.sleep "15s"
        say(pcall(stream:lines()))
        first:wait()
      ]])
      assert.matches("another task reads it at this moment", list[1])
      assert.same({ "hallo", "world", "bar" }, { unpack(list, 2) })
    end)

    it("gives in pieces what has come of the next lines, too", function()
      assert.same({ "one", "two\nth", "ree" }, (says({ "http://api/s", { body = { "one\ntwo\nth", "ree" } } }, [[
        local stream = http.stream "http://api/s"
        say(stream:lines()())
        for chunk in stream:chunks() do say(chunk) end
      ]])))
    end)

    it("ends with a line that is too long, and takes one that is not, whatever its end", function()
      local list = says({ "http://api/s", { body = { "12345\r", "\n123", "456\nnext\n" } } }, [[
        local next_line = http.stream("http://api/s", { max_body = 5 }):lines()
        for _ = 1, 3 do say(pcall(next_line)) end
      ]])
      assert.equal("true 12345", list[1])
      assert.matches("^false .*a line is longer than max_body", list[2])
      assert.matches("^false .*it is closed", list[3])
    end)

    it("bounds a line", function()
      local message = raises({ "http://api/s", { body = { ("x"):rep(60), ("x"):rep(60) } } },
        'for _ in http.stream("http://api/s", { max_body = 100 }):lines() do end')
      assert.matches("a line is longer than max_body; max_body is 100 bytes", message)
    end)

    it("reads a large body", function()
      assert.same({ "100000" }, (says({ "http://api/s", { body = ("0123456789"):rep(10000) } }, [[
        local size = 0
        for chunk in http.stream("http://api/s"):chunks() do size = size + #chunk end
        say(size)
      ]])))
    end)

    it("asks for no more than is read", function()
      local box = run({ "http://api/s", { body = ("x"):rep(200000) } }, [[
        local stream = http.stream "http://api/s"
        stream:chunks()()
        pilot.sleep "1m"
      ]])
      local given = 0
      local pop = box.port.pop
      function box.port.pop(self)
        local event = pop(self)
        if event and event.type == "response" then given = given + 1 end
        return event
      end
      box:advance "30s"
      assert.is_true(given <= 2)
    end)

    it("follows redirects, and takes a method", function()
      local _, box = says({ "http://api/s", { status = 307, headers = { Location = "/t" }, body = "gone" },
        "http://api/t", { body = "x" } }, [[
        local stream = http.stream("http://api/s", { follow = true, method = "POST", body = "b" })
        for chunk in stream:chunks() do say(chunk) end
      ]])
      assert.same({ "x" }, said(box))
      assert.equal("POST", box:requests()[2].method)
    end)

    it("raises when it breaks, or does not begin", function()
      assert.matches("pilot.http.stream: GET http://api/s: no answer within 30s",
        (raises({ "http://api/s", "hangs" }, 'http.stream "http://api/s"')))
    end)

    it("is closed with the task that opened it, and by hand", function()
      local box = run({ "http://api/s", { body = { "a\n" }, endless = true } }, [[
        local stream
        pilot.spawn(function() stream = http.stream "http://api/s" end):wait()
        say(pcall(stream:lines()))
        local own = http.stream "http://api/s"
        say(own:lines()())
        own:close()
        own:close()
        say(pcall(own:lines()))
        pilot.spawn(function() http.stream("http://api/s"):lines()() end):wait()
        say(pilot.timeout("5s", function() for _ in http.stream("http://api/s"):lines() do end end))
      ]])
      box:advance "1m"
      local list = said(box)
      assert.matches("it is closed", list[1])
      assert.equal("a", list[2])
      assert.matches("it is closed", list[3])
      assert.equal("nil timeout", list[4])
      assert.same({}, open(box))
    end)

    -- Calls fn(task) between the head's arrival and the moment when the task that asked goes on.
    local function between(box, fn)
      local t, tasks = box.app.jobs.app.lua_run, box.app.tasks
      local run_tasks = tasks.run
      function tasks.run(...)
        local woken = t.wake_with and t.wake_with[1]
        if type(woken) == "table" and woken.status then
          tasks.run = nil
          fn(t)
        end
        return run_tasks(...)
      end
      box:advance "1m"
      assert.is_nil(rawget(tasks, "run"))
    end

    it("is its task's from its head on: one that is abandoned then leaves nothing open", function()
      local box = run({ "http://api/s", { body = { "a\n" }, endless = true } }, 'http.stream "http://api/s"')
      between(box, function(t) t:abandon() end)
      assert.same({}, open(box))
      box:stop()
    end)

    it("says why it broke, also before its task goes on", function()
      local box = run({ "http://api/s", { body = { "a\n" }, endless = true } }, [[
        local stream = http.stream "http://api/s"
        say(pcall(stream:lines()))
      ]])
      between(box, function()
        local id = open(box)[1]
        box.app.loop.routes[id] { type = "response", id = id, error = "the server has gone", code = "ECONNRESET" }
      end)
      assert.matches("the server has gone", said(box)[1])
      box:forget_errors()
    end)

    it("survives a read that was given up", function()
      assert.same({ "nil timeout", "a" }, (says({ "http://api/s", { body = { "a" }, every = "10s" } }, [[
        local stream = http.stream "http://api/s"
        say(pilot.timeout("1s", function() return stream:chunks()() end))
        say(stream:chunks()())
      ]])))
    end)

    it("has one reader at a time", function()
      local list = says({ "http://api/s", { body = { "a" }, every = "10s" } }, [[
        local stream = http.stream "http://api/s"
        local other = pilot.spawn(function() return stream:chunks()() end)
        pilot.sleep "1s"
        say(pcall(stream:chunks()))
        say(other:wait())
      ]])
      assert.matches("another task reads it", list[1])
      assert.equal("a", list[2])
    end)
  end)
end)
