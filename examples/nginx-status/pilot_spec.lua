-- luapilot test examples/nginx-status     What pilot.lua does, on a simulated container.

local sim = require "luapilot.sim"

describe("nginx-status", function()
  local STATUS = "http://127.0.0.1:8093/stub_status"
  local PAGE = "Active connections: 3 \nserver accepts handled requests\n 16 15 31 \n"
    .. "Reading: 0 Writing: 1 Waiting: 2 \n"
  local box, nginx

  -- Until the checks have passed; then the first look is five seconds after the start.
  local function start(answer)
    box = sim.load("pilot.lua", { files = { ["nginx.conf.tmpl"] = sim.read "nginx.conf.tmpl" } })
    box:program("nginx", { start_delay = "200ms", listens = "127.0.0.1:8093", term_delay = "10ms" })
    box:http(STATUS, { body = PAGE })
    nginx = box:job "nginx"
    box:start()
    box:advance "3s"
    if answer then box:http(STATUS, answer) end
  end

  -- The fields of all that was logged about nginx's figures.
  local function logged()
    local list = {}
    for _, entry in ipairs(box:log()) do
      if entry.message == "nginx" then list[#list + 1] = entry.fields end
    end
    return list
  end

  it("gives nginx its configuration", function()
    start()
    assert.equal("healthy", nginx.health)
    assert.is_truthy(box:file "build/nginx.conf":find("listen 127.0.0.1:8093;", 1, true))
    assert.same({}, box:errors())
  end)

  it("logs the figures, as numbers, every five seconds", function()
    start()
    box:advance "3s"
    assert.same({
      { accepted = 16, handled = 15, requests = 31, reading = 0, writing = 1, waiting = 2 },
    }, logged())
    box:advance "1m"
    assert.equal(13, #logged())
    assert.same({}, box:errors())
  end)

  it("asks nobody while nginx is away", function()
    start()
    nginx:process():exit(1)
    box:program("nginx", { exit = 1, after = "10ms" })
    box:advance "1m"
    assert.same({}, logged())
    assert.same({}, box:errors())
  end)

  it("says so when the page is another one, and goes on", function()
    start { { body = "<h1>Welcome</h1>" }, { body = "<h1>Welcome</h1>" }, { body = PAGE } }
    box:advance "10s"
    local errors = box:forget_errors()
    assert.equal(1, #errors)
    assert.matches("stub_status looks different: <h1>Welcome</h1>", errors[1])
    assert.equal(1, #logged())
  end)

  it("ends nginx gently", function()
    start()
    assert.equal(0, box:stop())
    assert.equal(1, nginx:received "SIGQUIT")
  end)
end)
