-- luapilot test examples/log-lines     What pilot.lua does, on a simulated container.

local sim = require "luapilot.sim"

describe("log-lines", function()
  local ALARM = "POST http://alarm.example/database"
  local box, database, app

  before_each(function()
    box = sim.load("pilot.lua", { env = { ALARM = "http://alarm.example/database" } })
    box:program("/bin/sh", sim.server)
    box:http(ALARM, 204)
    database, app = box:job "database", box:job "app"
    box:start()
    box:advance "1s"
  end)

  local function says(line)
    database:process():print(line)
    box:advance "1s"
  end

  -- What was sent so far: { "1 ERROR: disk full", … }
  local function alarms()
    local list = {}
    for i, request in ipairs(box:requests()) do
      local errors = request.body:match '"errors":(%d+)'
      list[i] = errors .. " " .. request.body:match '"last":"(.-)"'
    end
    return list
  end

  describe("when all goes well", function()
    after_each(function() assert.same({}, box:errors()) end)

    it("starts the app when the database is ready, and not before", function()
      says "starting"
      assert.equal(0, app:starts())
      says "2026-01-01 LOG:  database system is ready to accept connections"
      assert.is_true(app.running)
      says "database system is ready to accept connections"
      assert.equal(1, app:starts())
    end)

    it("tells the first error at once, and others a minute later, all together", function()
      says "ERROR: one"
      assert.same({ "1 ERROR: one" }, alarms())
      for i = 2, 50 do says("ERROR: number " .. i) end
      assert.equal(1, #alarms())
      box:advance "15s"
      assert.same({ "1 ERROR: one", "49 ERROR: number 50" }, alarms())
      box:advance "1h"
      assert.equal(2, #alarms())
      says "ERROR: later"
      assert.equal("1 ERROR: later", alarms()[3])
    end)

    it("counts every line of a burst", function()
      for i = 1, 3000 do database:process():print("ERROR: number " .. i) end
      box:advance "2m"
      local sum = 0
      for _, alarm in ipairs(alarms()) do sum = sum + tonumber(alarm:match "^%d+") end
      assert.equal(3000, sum)
      assert.is_true(#alarms() <= 3)
    end)

    it("takes no notice of lines that only mention errors", function()
      says "0 ERRORs so far"
      assert.same({}, alarms())
    end)
  end)

  it("loses no error when nobody takes the alarm", function()
    box:http(ALARM, { "down", 503, 204 })
    says "ERROR: one"
    says "ERROR: two"
    box:advance "3m"
    assert.equal("2 ERROR: two", alarms()[#alarms()])
    local refused = box:forget_errors()
    assert.equal(2, #refused)
    assert.matches("connection refused", refused[1])
    assert.matches("the alarm was refused: HTTP 503", refused[2])
  end)
end)
