-- Handlers: who is called, when, and what happens to an event that comes meanwhile.
local boxes = require "support.boxes"

describe("a handler", function()
  after_each(boxes.check)

  -- What the pilot printed: "time text", seconds rounded.
  local function printed(box)
    local list = {}
    for _, moment in ipairs(box.moments) do
      if moment.kind == "log" and moment.message:find "^> " then
        list[#list + 1] = ("%g %s"):format(math.floor(moment.at * 10 + 0.5) / 10, moment.message:sub(3))
      end
    end
    return list
  end

  -- A handler of SIGUSR1 that works for a while, and a number of signals a second apart.
  local function run(options, work, signals, apart)
    local box = boxes.run(([[
      local function say(text) print("> " .. text) end
      local n = 0
      pilot.on("SIGUSR1", %s, function(event)
        n = n + 1
        local mine = n
        say("begin " .. mine)
        pilot.defer(function(why) say(why .. " " .. mine) end)
        %s
      end)
    ]]):format(options, work))
    for _ = 1, signals do
      box:signal "SIGUSR1"
      box:advance(apart or "1s")
    end
    box:advance "1m"
    return box
  end

  describe("with when_busy", function()
    it("queue, the default: one after the other", function()
      local box = run("{}", 'pilot.sleep "3s"', 3)
      assert.same({ "0 begin 1", "3 done 1", "3 begin 2", "6 done 2", "6 begin 3", "9 done 3" }, printed(box))
    end)

    it("queue: at most 1,000, the oldest is dropped, and that is logged", function()
      local box = boxes.load [[
        local n = 0
        local app = pilot.job "app" { exec = "app" }
        app:on("output", function(event)
          n = n + 1
          pilot.sleep "5ms"
          if event.line == "3000" then print("n", n) end
        end)
      ]]
      box:program("app", function(proc)
        for i = 1, 3000 do proc:print(i) end
        proc:sleep "1h"
      end)
      box:start()
      box:advance "1m"
      assert.is_true(boxes.logged(box, "its queue of 1000 is full") > 0)
      assert.equal(1, boxes.logged(box, "n\t1201")) -- one, 200 in the second in which the job waits, the newest 1000
    end)

    it("latest: only the newest is kept", function()
      local box = run('{ when_busy = "latest" }', 'pilot.sleep "5s"', 4)
      assert.same({ "0 begin 1", "5 done 1", "5 begin 2", "10 done 2" }, printed(box))
    end)

    it("drop: it is as if nothing had come", function()
      local box = run('{ when_busy = "drop" }', 'pilot.sleep "2500ms"', 4)
      assert.same({ "0 begin 1", "2.5 done 1", "3 begin 2", "5.5 done 2" }, printed(box))
    end)

    it("restart: the old one is cancelled, then the new one starts", function()
      local box = run('{ when_busy = "restart" }', 'pilot.sleep "5s"', 3)
      assert.same({ "0 begin 1", "1 cancel 1", "1 begin 2", "2 cancel 2", "2 begin 3", "7 done 3" }, printed(box))
    end)

    it("parallel: all at once", function()
      local box = run('{ when_busy = "parallel" }', 'pilot.sleep "3s"', 3)
      assert.same({ "0 begin 1", "1 begin 2", "2 begin 3", "3 done 1", "4 done 2", "5 done 3" }, printed(box))
    end)
  end)

  describe("with settle", function()
    it("waits until it was quiet", function()
      local box = run('{ settle = "2s" }', "", 3)
      assert.same({ "4 begin 1", "4 done 1" }, printed(box))
    end)

    it("at most max_wait", function()
      local box = run('{ settle = "2s", max_wait = "3s" }', "", 6)
      assert.same({ "3 begin 1", "3 done 1", "6 begin 2", "6 done 2" }, printed(box))
    end)

    it("at most four times settle by default", function()
      local box = run('{ settle = "2s" }', "", 9)
      assert.equal("8 begin 1", printed(box)[1])
    end)

    it("gives the newest event", function()
      local box = boxes.run([[
        local app = pilot.job "app" { exec = "app" }
        app:on("output", { settle = "1s" }, function(event) print("> " .. event.line) end)
      ]], { app = function(proc)
        for i = 1, 5 do
          proc:print(i)
          proc:sleep "500ms"
        end
        proc:sleep "1h"
      end })
      box:advance "1m"
      assert.same({ "3 5" }, printed(box))
    end)
  end)

  it("with timeout is cancelled, which is an error, and stays", function()
    local box = run('{ timeout = "2s" }', 'if mine == 1 then pilot.sleep "5s" end', 2, "3s")
    assert.same({ "0 begin 1", "2 timeout 1", "3 begin 2", "3 done 2" }, printed(box))
    local errors = box:forget_errors()
    assert.equal(1, #errors)
    assert.is_truthy(errors[1]:find("timed out after 2s", 1, true))
  end)

  it("is called in the order of registration, each in its own task", function()
    local box = boxes.run [[
      for i = 1, 5 do
        pilot.on("startup", function() print("> " .. i) if i == 2 then error "oops" end pilot.sleep "1s" end)
      end
      pilot.after("1s", function() end)
    ]]
    box:advance "3s"
    assert.same({ "0 1", "0 2", "0 3", "0 4", "0 5" }, printed(box))
    assert.equal(1, #box:forget_errors())
  end)

  it("that raises is logged with its line, counted, published as error, and stays", function()
    local box = boxes.run [[
      pilot.on("SIGUSR1", function() local nothing; nothing.field = 1 end)
      pilot.on("error", function(event)
        print("> error: " .. event.message)
        print("> where: " .. event.where)
      end)
    ]]
    for _ = 1, 2 do
      box:signal "SIGUSR1"
      box:advance "1s"
    end
    assert.equal(2, boxes.logged(box, "> error: pilot.lua:1: attempt to index local 'nothing'"))
    assert.is_true(boxes.logged(box, "SIGUSR1") > 0)
    assert.equal(2, #box:forget_errors())
  end)

  it("of error that raises does not publish error again", function()
    local box = boxes.run [[
      pilot.on("SIGUSR1", function() error "one" end)
      pilot.on("error", function() error "two" end)
    ]]
    box:signal "SIGUSR1"
    box:advance "1m"
    assert.equal(2, #box:forget_errors())
    assert.equal("startup SIGUSR1 error", boxes.events(box, "pilot"))
  end)

  it("can raise any value", function()
    local box = boxes.run [[
      pilot.on("SIGUSR1", function() error { code = 5 } end)
      pilot.on("SIGUSR2", function() error(setmetatable({}, { __tostring = function() error "again" end })) end)
      pilot.on("SIGHUP", function() error() end)
    ]]
    box:signal "SIGUSR1"
    box:signal "SIGUSR2"
    box:signal "SIGHUP"
    box:advance "1s"
    local errors = box:forget_errors()
    assert.equal(3, #errors)
    assert.is_truthy(errors[1]:find("code = 5", 1, true))
  end)

  it("hears nothing any more when its subscription is cancelled", function()
    local box = boxes.run [[
      local subscription
      subscription = pilot.on("SIGUSR1", function()
        print "> heard"
        subscription:cancel()
        pilot.sleep "1s"
        print "> end"
      end)
      pilot.on("SIGUSR2", function() end)
    ]]
    for _ = 1, 3 do
      box:signal "SIGUSR1"
      box:advance "2s"
    end
    assert.same({ "0 heard", "1 end" }, printed(box))
  end)

  it("gets name, source, time and the fields of its event", function()
    local box = boxes.run([[
      local app = pilot.job "app" { exec = "app" }
      app:on("exit_failed", function(e)
        local right = e.source == app and math.abs(e.at - pilot.now()) < 1
        print("> " .. table.concat({ e.name, e.source.name, tostring(right), e.code, e.signal, e.reason }, " "))
      end)
      pilot.on("startup", function(e) print("> " .. e.name .. " " .. tostring(e.source == pilot)) end)
    ]], { app = { signal = "SIGSEGV", after = "2s" } })
    box:advance "3s"
    assert.same({ "0 startup true", "2 exit_failed app true 139 SIGSEGV signal" }, printed(box))
  end)

  it("gets the lines of a job, of both streams, the last one too", function()
    local box = boxes.run([[
      local app = pilot.job "app" { exec = "app" }
      app:on("output", function(e) print("> " .. e.stream .. ":" .. e.line) end)
    ]], { app = { exit = 0, after = "1s", stdout = "one\n\ntwo\nthree", stderr = "err\n" } })
    box:advance "3s"
    local lines = {}
    for _, line in ipairs(printed(box)) do lines[line:match "^%S+ (.*)$"] = true end
    for _, line in ipairs { "stdout:one", "stdout:", "stdout:two", "stdout:three", "stderr:err" } do
      assert.is_true(lines[line], line)
    end
    assert.is_true(box.ended)
  end)

  it("of stopped has heard every line before", function()
    for seed = 1, 20 do
      local box = boxes.run([[
        local app, lines = pilot.job "app" { exec = "app" }, 0
        app:on("output", function() lines = lines + 1 end)
        app:on("stopped", function() print("> " .. lines) end)
      ]], { app = { exit = 0, after = "1s", stdout = "one\ntwo" } }, { seed = seed })
      box:advance "3s"
      assert.same({ "1 2" }, printed(box))
    end
  end)

  it("of the lines of a raw job, which never pass through the pilot, is a mistake", function()
    local message = boxes.mistakes [[
      local app = pilot.job "app" { exec = "app", log = "raw" }
      app:on("output", function() end)
    ]]
    local said = 'pilot.lua:1: job "app": log: is "raw", so its "output" event can never come'
    assert.is_truthy(message:find(said, 1, true), message)
  end)

  it("gets lines from when it subscribed, while the job runs", function()
    local box = boxes.run([[
      local app = pilot.job "app" { exec = "app" }
      pilot.after("3500ms", function() app:on("output", function(e) print("> " .. e.line) end) end)
    ]], { app = function(proc)
      for i = 1, 6 do
        proc:print(i)
        proc:sleep "1s"
      end
    end })
    box:advance "10s"
    assert.same({ "4 5", "5 6" }, printed(box))
  end)

  it("of changed, healthy … of names that do not exist is a mistake with a hint", function()
    local function has(part, source) assert.is_truthy(boxes.mistakes(source):find(part, 1, true)) end
    has('did you mean "healthy"?', [[ pilot.job "a" { exec = "a" }:on("helthy", print) ]])
    has('there is no "started"', [[ pilot.job "a" { exec = "a" }:on("started", print) ]])
    has('this signal ends the pilot', [[ pilot.on("SIGTERM", print) ]])
    has('pilot.on "SIGHUP": expected a function as the handler', [[ pilot.on("SIGHUP", {}) ]])
    has('pilot.on "SIGHUP".setle: unknown field (did you mean "settle"', [[ pilot.on("SIGHUP", { setle = 1 }, print) ]])
    has("needs settle", [[ pilot.on("SIGHUP", { max_wait = 1 }, print) ]])
  end)
end)
