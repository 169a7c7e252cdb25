-- What the web answers in the simulator: descriptions, which of them counts, and what is wrong with them.

local boxes = require "support.boxes"
local sites = require "luapilot.sim.sites"

describe("sites", function()
  local web
  before_each(function() web = sites.new() end)
  after_each(boxes.check)

  local function status(url, method)
    local answer = web:answer { method = method or "GET", url = url, headers = {} }
    return answer and (answer.error or answer.hangs and "hangs" or answer.status)
  end

  local function refused(message, ...)
    local ok, found = pcall(web.describe, web, ...)
    assert.is_false(ok)
    assert.matches(message, found)
  end

  it("finds a URL however it is spelled", function()
    web:describe("http://API:80/x", 201)
    assert.equal(201, status "http://api/x")
    assert.equal(201, status "http://u:p@api:80/x?any=query")
    assert.is_nil(status "http://api/y")
    assert.is_nil(status "http://api:81/x")
  end)

  it("takes the longest description, of equal ones the last", function()
    web:describe("http://api/*", 404)
    web:describe("http://api/users/*", 201)
    web:describe("http://api/users/1", 202)
    web:describe("http://api/users/1", 203)
    assert.equal(404, status "http://api/else")
    assert.equal(201, status "http://api/users/2")
    assert.equal(203, status "http://api/users/1")
  end)

  it("tells methods and queries apart where they are written", function()
    web:describe("http://api/x", 200)
    web:describe("POST http://api/x", 201)
    web:describe("http://api/x?a=1", 202)
    assert.equal(200, status "http://api/x")
    assert.equal(201, status("http://api/x", "POST"))
    assert.equal(202, status "http://api/x?a=1")
    assert.equal(200, status "http://api/x?a=2")
  end)

  it("takes nothing in a URL for a pattern but the asterisk", function()
    web:describe("http://a.b/x-y(1)%20*", 200)
    assert.equal(200, status "http://a.b/x-y(1)%20z")
    assert.is_nil(status "http://aXb/x-y(1)%20z")
  end)

  it("gives the answers of a list one after the other", function()
    web:describe("http://api/x", { "down", 503, "hangs", function() return 204 end })
    assert.equal("ECONNREFUSED", status "http://api/x")
    assert.equal(503, status "http://api/x")
    assert.equal("hangs", status "http://api/x")
    assert.equal(204, status "http://api/x")
    assert.equal(204, status "http://api/x")
  end)

  it("asks a function, whose nothing is a 404", function()
    web:describe("http://api/*", function(request)
      if request.url:find "yes" then return { body = request.method } end
    end)
    assert.equal("GET", web:answer({ method = "GET", url = "http://api/yes" }).body)
    assert.equal(404, status "http://api/no")
  end)

  it("refuses what is no description", function()
    refused("box:http: expected a URL, got a nil", nil, 200)
    refused("box:http: expected a URL such as", "api/x", 200)
    refused('box:http: expected a status, a table, a function, "down" or "hangs", got up', "http://x/", "up")
    refused('an answer has no field "stauts" %(did you mean "status"%?%)', "http://x/", { stauts = 200 })
    refused("body: expected a string, got a number", "http://x/", { body = 5 })
    refused('after: .*"5"', "http://x/", { after = "5" })
  end)
end)

describe("the web of a box", function()
  after_each(boxes.check)

  local function get(box)
    box:advance "1m"
    return table.concat(box.app.state, " ")
  end

  local TASK = [[
    pilot.job "server" { exec = "server", when = "manual" }
    pilot.every("10s", function()
      local ok, res = pcall(pilot.http.get, "http://127.0.0.1:8000/x", { timeout = "1s" })
      table.insert(pilot.state, ok and res.status or res:match "refused" or res:match "within" or res)
    end)
  ]]

  it("answers only where somebody listens, if a program is to listen there", function()
    local box = boxes.load(TASK .. 'pilot.after("25s", function() pilot.job("server"):start() end)')
    box:program("server", { listens = "127.0.0.1:8000" })
    box:http("http://127.0.0.1:8000/x", 200)
    box:start()
    assert.equal("refused refused 200 200 200", get(box))
  end)

  it("hangs where a connection hangs", function()
    local box = boxes.load(TASK)
    box:tcp("127.0.0.1:8000", "hangs")
    box:http("http://127.0.0.1:8000/x", 200)
    box:start()
    assert.matches("^within within", get(box))
  end)

  it("is in the history, and among the requests", function()
    local box = boxes.load(TASK)
    box:http("http://127.0.0.1:8000/x", 200)
    box:start()
    box:advance "15s"
    assert.equal(1, #box:requests())
    assert.is_true(math.abs(box:requests()[1].at - 10) < 0.01)
    assert.matches("http    GET http://127.0.0.1:8000/x", box:history())
  end)
end)
