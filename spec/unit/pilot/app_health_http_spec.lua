-- Checks by HTTP.

local boxes = require "support.boxes"

describe("a health check by HTTP", function()
  after_each(boxes.check)

  local function run(http, answer, options)
    local source = 'pilot.job "app" { exec = "app", health = { http = %s, interval = "10s", timeout = "4s" } }'
    local box = boxes.load(source:format(http), options)
    box:program("app", {})
    if answer then box:http("http://localhost:8000/health", answer) end
    box:start()
    return box, box:job "app"
  end

  local URL = '"http://localhost:8000/health"'

  local function output(box)
    local last
    for _, event in ipairs(box:events()) do
      if event.source == "app" then last = event.event.output end
    end
    return last
  end

  it("passes with the status of a good answer, which its output tells", function()
    local box, app = run(URL, { body = "all fine\n" })
    box:advance "1s"
    assert.equal("healthy", app.health)
    assert.equal("HTTP 200: all fine", output(box))
    local request = box:requests()[1]
    assert.same({ "GET", "http://localhost:8000/health" }, { request.method, request.url })
  end)

  it("counts a redirect by its status, and does not follow it", function()
    local box, app = run(URL, { status = 302, headers = { Location = "http://elsewhere/" } })
    box:advance "1s"
    assert.equal("healthy", app.health)
    assert.equal("HTTP 302", output(box))
    for _, request in ipairs(box:requests()) do assert.equal("http://localhost:8000/health", request.url) end
  end)

  it("fails with another status, after `fall` of them", function()
    local box, app = run(URL, { 200, { status = 503, body = "<html>\n  <h1>starting</h1>\n</html>\n" } })
    box:advance "35s"
    assert.equal("unhealthy", app.health)
    assert.equal("HTTP 503: <html> <h1>starting</h1> </html>", output(box))      -- one line, for the log
  end)

  it("takes the statuses that it was told", function()
    local box, app = run('{ url = "http://localhost:8000/health", status = "404,418" }', 418)
    box:advance "1s"
    assert.equal("healthy", app.health)
    box = run('{ url = "http://localhost:8000/health", status = 204 }', 200)
    box:advance "1m"
    assert.equal("unhealthy", box:job("app").health)
  end)

  it("sends what it was told", function()
    local box = run([[{
      url = "http://localhost:8000/health", method = "POST", headers = { Host = "x" }, body = "ping",
    }]], 200)
    box:advance "1s"
    local request = box:requests()[1]
    assert.same({ "POST", "ping", "x" }, { request.method, request.body, request.headers.host })
  end)

  it("fails when nobody answers, and says why", function()
    local box, app = run(URL, { 200, "down" })
    box:advance "35s"
    assert.equal("unhealthy", app.health)
    assert.equal("cannot connect to localhost:8000: connection refused", output(box))
  end)

  it("fails when the answer takes longer than its timeout", function()
    local box, app = run(URL, { 200, "hangs" })
    box:advance "1m"
    assert.equal("unhealthy", app.health)
    assert.equal("no answer within 4s", output(box))
  end)

  it("reads no more than the beginning of a large answer", function()
    local box, app = run(URL, { body = ("x"):rep(1000000) })
    box:advance "1s"
    assert.equal("healthy", app.health)
    assert.equal("HTTP 200: " .. ("x"):rep(200) .. "…", output(box))
  end)

  it("says no part of a secret where the answer is cut", function()
    local secret = ("s3cr3t-0123456789"):rep(50)
    local box = boxes.load([[
      pilot.secret "token"
      pilot.job "app" { exec = "app", health = { http = "http://localhost:8000/health", interval = "10s" } }
    ]], { files = { ["/run/secrets/token"] = secret } })
    box:program("app", {})
    box:http("http://localhost:8000/health", { status = 500, body = (secret .. " "):rep(6) })
    box:start()
    box:advance "35s"
    assert.equal("HTTP 500: *** *** *** *** ***", output(box))
  end)

  it("uses no proxy, and a connection of its own", function()
    local box = boxes.load('pilot.job "app" { exec = "app", health = { http = "http://example/health" } }',
      { env = { http_proxy = "http://proxy:1" } })
    box:program("app", {})
    box:http("http://example/health", 200)
    local request, asked = box.interface.request, nil
    function box.interface.request(options)
      asked = options
      return request(options)
    end
    box:start()
    box:advance "1s"
    assert.is_nil(asked.proxy)
    assert.is_true(asked.fresh)
  end)

  it("ends with the job", function()
    local box = run(URL, "hangs")
    box:advance "1s"
    box:stop()
    for _, handle in pairs(box.port.handles) do assert.not_equal("http", handle.kind) end
  end)
end)
