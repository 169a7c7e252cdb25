-- What jobs wait for that do not start, as the log tells it.
local boxes = require "support.boxes"

describe("a job that waits", function()
  after_each(boxes.check)

  -- "10 db job …": seconds, job, what it waits for.
  local function said(box)
    local list = {}
    for _, line in ipairs(box:log()) do
      local job, waited, text = line.message:match '^job "([%w-]+)": has waited (%w+) for (.*)$'
      if job then list[#list + 1] = ("%d %s %s %s"):format(line.at, waited, job, text) end
    end
    return list
  end

  local function run(source, programs, options)
    local box = boxes.load(source, options)
    box:program("run", {})
    for prefix, behaviour in pairs(programs or {}) do box:program(prefix, behaviour) end
    box:tcp("db:1", "down")
    return box:start()
  end

  local DB = 'local db = pilot.job "db" { exec = "db", health = { tcp = "db:1" }, restart = "always" } '
  local REFUSED = 'job "db" to be healthy (it is running, health (tcp db:1) does not pass: '
    .. "cannot connect to db:1: connection refused)"

  it("says for what after 10 s, after a minute, then each ten minutes, until it starts", function()
    local box = run(DB .. 'pilot.job "app" { exec = "run", when = db:once "healthy" }', { db = {} })
    box:advance "25m"
    assert.same({
      "10 10s app " .. REFUSED, "60 1m app " .. REFUSED, "660 11m app " .. REFUSED, "1260 21m app " .. REFUSED,
    }, said(box))
    box:tcp("db:1", "up")
    box:advance "1h"
    assert.equal(4, #said(box))
    box:stop()
  end)

  it("counts from when it began to wait itself", function()
    local box = run(DB .. [[
      pilot.job "app" { exec = "run", when = db:once "healthy" }
      local up = pilot.job "up" { exec = "run" }
      pilot.job "late" { exec = "run", depends_on = { up }, bind = true, restart = "always" }
      pilot.job "later" { exec = "run", depends_on = { up }, bind = true, restart = "always" }
      pilot.after("65s", function() up:stop() end)
    ]], { db = {} })
    box:advance "13m"
    local BLOCKED = ' job "up" to run (it was stopped)'
    local list = said(box)
    table.sort(list)
    assert.same({
      "10 10s app " .. REFUSED, "125 1m late" .. BLOCKED, "125 1m later" .. BLOCKED, "60 1m app " .. REFUSED,
      "660 11m app " .. REFUSED, "725 11m late" .. BLOCKED, "725 11m later" .. BLOCKED,
      "75 10s late" .. BLOCKED, "75 10s later" .. BLOCKED,
    }, list)
    box:stop()
  end)

  it("tells of many that began one after the other once a second at most, twenty at a time", function()
    local box = run([[
      local up = pilot.job "up" { exec = "run", when = "manual" }
      for i = 1, 90 do
        local job = pilot.job("j" .. i) { exec = "run", when = "manual", depends_on = { up } }
        pilot.after(i / 30, function() job:start() end)
      end
    ]])
    box:advance "20s"
    local at = {}
    for _, line in ipairs(box:log()) do
      if line.message:find "has waited" then at[line.at] = (at[line.at] or 0) + 1 end
    end
    local looks = 0
    for _, count in pairs(at) do
      looks = looks + 1
      assert.is_true(count <= 20)
    end
    assert.is_true(looks <= 4)
    box:stop()
  end)

  it("says nothing when it has started before", function()
    local box = run(DB .. 'pilot.job "app" { exec = "run", when = db:each "healthy" }', { db = {} })
    box:advance "5s"
    box:tcp("db:1", "up")
    box:advance "4s"
    box:tcp("db:1", "down")
    box:advance "1h"
    assert.same({}, said(box))
    box:stop()
  end)

  local WORDS = {
    { "db:once 'healthy'", REFUSED },
    { "db:each 'healthy'", REFUSED },
    { "db:once 'exit_success'", 'job "db" to end with code 0 (it is running, health (tcp db:1) does not pass: '
      .. "cannot connect to db:1: connection refused)" },
    { "slow:once 'healthy'", 'job "slow" to be healthy (it is running, health[2] (exec hang) has said nothing yet)' },
    { "chain:once 'healthy'", 'job "chain" to be healthy (it waits itself)' },
    { "crash:once 'healthy'", 'job "crash" to be healthy (it ended with code 3, and will be started again)' },
    { "prep:once 'stopped'", 'job "prep" to be over (it is being prepared)' },
    { "lua:once 'exit_success'", 'job "lua" to end with code 0 (it is running)' },
    { "hand:once 'healthy'", 'job "hand" to be healthy (nothing starts it by itself)' },
    { "pilot.all { db:once 'healthy', lua:once 'exit_success' }",
      REFUSED .. ', and job "lua" to end with code 0 (it is running)' },
    { "pilot.all { db:once 'healthy', pilot.once 'SIGUSR2' }", REFUSED },
    { "pilot.any { lua:once 'exit_success', lua:once 'exit_failed' }", 'job "lua" to end with code 0 (it is running)' },
    { "pilot.any { lua:once 'exit_success', pilot.any { hand:once 'healthy', db:once 'unhealthy' } }",
      'job "lua" to end with code 0 (it is running), or job "hand" to be healthy (nothing starts it by itself)' },
    { "pilot.all { fine:once 'exit_success', db:once 'healthy' }", REFUSED }, -- what has come is not told
    { "(function() local group = pilot.any { db:once 'healthy', lua:once 'exit_failed' } "
      .. "return pilot.all { group, group } end)()", REFUSED },
    { "function() pilot.sleep '1h' return true end", "its `when` function to return" },
    { "conf:once 'rendered'", 'template "/c" to be rendered (it failed)' },
    { "waiting:once 'rendered'", 'template "/w": watch "nobody" has had no answer yet' },
    { "pilot.watch('nobody'):once 'healthy'", 'watch "nobody", which has had no answer yet' },
    { "pilot.watch.key('k'):each 'changed'", 'watch.key "k", which has had no answer yet' },
    -- what comes by itself, by hand, or should not come at all
    { "'manual'" }, { "pilot.once 'SIGHUP'" }, { "pilot.cron '@yearly'" }, { "db:each 'unhealthy'" },
    { "lua:once 'exit_failed'" }, { "db:each 'stopping'" }, { "pilot.each 'error'" },
    { "pilot.any { db:once 'healthy', pilot.cron '@yearly' }" },
    { "pilot.any { db:once 'healthy', pilot.every '1h' }" }, { "pilot.any { db:once 'healthy', pilot.once 'SIGHUP' }" },
  }
  local WORLD = DB .. [[
    pilot.consul "localhost:8500"
    local slow = pilot.job "slow" { exec = "run", health = { { exec = "true" }, { exec = "hang", interval = "1m" } } }
    local crash = pilot.job "crash" { exec = "crash", restart = { backoff = "1h", max_backoff = "1h" },
      health = { exec = "true" } }
    local prep = pilot.job "prep" { exec = "run", prepare = function() pilot.sleep "1h" end }
    local fine = pilot.job "fine" { exec = "true" }
    local lua = pilot.job "lua" { run = function() pilot.sleep "1h" end }
    local hand = pilot.job "hand" { exec = "run", when = "manual", health = { exec = "true" } }
    local chain = pilot.job "chain" { exec = "run", when = db:once "unhealthy", health = { exec = "true" } }
    local conf = pilot.template "/c" { text = "<%% error('no', 0) %%>" }
    local waiting = pilot.template "/w" { text = "", watch = pilot.watch "nobody" }
    pilot.job "app" { exec = "run", when = %s }
  ]]
  for _, row in ipairs(WORDS) do
    it("for " .. row[1] .. (row[2] and " says that" or " says nothing"), function()
      local box = boxes.load(WORLD:format(row[1]))
      for prefix, behaviour in pairs { run = {}, db = {}, hang = {}, crash = { exit = 3 }, ["true"] = { exit = 0 } } do
        box:program(prefix, behaviour)
      end
      box:tcp("db:1", "down")
      box.consul:hang()
      box:start():advance "15s"
      box:forget_errors()
      local expected = row[2] and { "10 10s app " .. row[2] } or {}
      assert.same(expected, said(box))
      box:stop()
      box:forget_errors()
    end)
  end

  -- How a source is, in the other states: its trigger, its program, what happens meanwhile.
  local DEAF = { ignores = { "SIGTERM" }, grandchild = { ignores = { "SIGTERM" } } }
  local STATES = {
    ["it is stopping"] = { '"startup"', DEAF, "pilot.after('9s', function() db:stop() end)" },
    ["it was stopped"] = { '"SIGUSR2"', {}, "pilot.after('1s', function() db:stop() end)" },
    ["it is ending"] = { '"startup"', DEAF, "pilot.after('9s', function() db:signal 'SIGKILL' end)" },
    ["it waits to be started again"] = { '"SIGUSR2"', { exit = 3 }, "" },
    ["it cannot be started now"] = { '"startup"', { spawn_error = "EAGAIN" }, "" },
  }
  for words, state in pairs(STATES) do
    it("for a job of which it says: " .. words, function()
      local box = run(([[
        local db = pilot.job "db" { exec = "db", stop_timeout = "1m", when = pilot.each %s }
        pilot.job "app" { exec = "run", when = db:once "exit_success" }
      ]]):format(state[1]) .. state[3], { db = state[2] })
      box:signal "SIGUSR2"
      box:advance "11s"
      assert.same({ ('10 10s app job "db" to end with code 0 (%s)'):format(words) }, said(box))
      box:stop()
    end)
  end

  it("for a template that is under way says that", function()
    local box = run([[
      local conf = pilot.template "/c" { text = "", validate = "slow" }
      pilot.job "app" { exec = "run", when = conf:once "rendered" }
    ]], { slow = { exit = 0, after = "20s" } })
    box:advance "11s"
    assert.same({ '10 10s app template "/c" to be rendered (it is under way)' }, said(box))
    box:stop()
  end)

  it("for a watch that has nobody says that, but not for its next change", function()
    local box = boxes.load [[
      pilot.consul "localhost:8500"
      pilot.job "app" { exec = "run", when = pilot.watch("db"):once "healthy" }
      pilot.job "other" { exec = "run", when = pilot.watch("db"):each "unhealthy" }
    ]]
    box:program("run", {})
    box:start()
    box:advance "11s"
    assert.same({ '10 10s app watch "db" to be healthy (nobody is there)' }, said(box))
    box:stop()
  end)

  it("says nothing when it was started by hand before, whatever its trigger lacks", function()
    local box = run(DB .. [[
      local app = pilot.job "app" { exec = "brief", when = db:once "healthy" }
      pilot.after("1s", function() app:start() end)
    ]], { db = {}, brief = { exit = 0 } })
    box:advance "1h"
    assert.equal(1, box:job("app"):starts())
    assert.same({}, said(box))
    box:stop()
  end)

  it("with nineteen others is told with them, and no more", function()
    local box = run(DB .. [[
      for i = 1, 20 do pilot.job("app-" .. i) { exec = "run", when = db:once "healthy" } end
    ]], { db = {} })
    box:advance "15s"
    assert.equal(20, #said(box))
    assert.equal(0, boxes.logged(box, " more job"))
    box:stop()
  end)

  it("with many others is one of twenty that are told", function()
    local box = run(DB .. [[
      for i = 1, 30 do pilot.job("app-" .. i) { exec = "run", when = db:once "healthy" } end
    ]], { db = {} })
    box:advance "15s"
    assert.equal(20, #said(box))
    assert.equal(1, boxes.logged(box, "and 10 more jobs wait"))
    box:stop()
  end)

  it("for a hundred parts names five", function()
    local box = run([[
      local all = {}
      for i = 1, 100 do
        all[i] = pilot.job("part-" .. i) { run = function() pilot.sleep "1h" end }:once "exit_success"
      end
      pilot.job "app" { exec = "run", when = pilot.all(all) }
    ]])
    box:advance "15s"
    assert.matches('job "part%-5" to end with code 0 %(it is running%), and 95 more$', said(box)[1])
    box:stop()
  end)
end)
