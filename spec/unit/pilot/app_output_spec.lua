-- What a job writes and the handlers of its `output`: long lines in pieces, bursts, and who is held up for whom.
local boxes        = require "support.boxes"
local instructions = require "support.instructions"

local BLOCK = 64 * 1024

describe("the output of a job", function()
  after_each(boxes.check)

  -- Writes so many numbered lines, short ones as many at once as a pipe takes, notes when it could, and does the rest.
  ---@param o { lines: integer, from: integer?, short: boolean?, done: table?, rest: function? }
  local function burst(o)
    local tail, step = ("."):rep(o.short and 0 or 89), o.short and 5000 or 20
    return function(proc)
      for from = o.from or 1, o.lines, step do
        local list = {}
        for i = from, math.min(from + step - 1, o.lines) do list[#list + 1] = ("line %06d"):format(i) .. tail end
        proc:print(table.concat(list, "\n"))
      end
      if o.done then o.done.at = proc.kernel.clock:elapsed() end
      if o.rest then o.rest(proc) end
    end
  end

  local function forever(proc)
    while true do proc:sleep "1h" end
  end

  -- A handler that checks that it hears each line in its turn, and says at the end how many it heard.
  local COUNTS = [[
    local app = pilot.job "app" { exec = "app", restart = "never" }
    local function counts(options, work, name)
      local heard, last = 0, 0
      app:on("output", options, function(event)
        local number = tonumber(event.line:match "%d+")
        if number <= last then error("out of order: " .. event.line) end
        heard, last = heard + 1, number
        if work then work(event) end
        pilot.state[name or "heard"] = heard
      end)
    end
  ]]

  local function state(box) return box.app.state end
  local function drops(box) return boxes.logged(box, "its queue of 1000 is full: the oldest was dropped") end

  describe("in lines that are long", function()
    local function pieces(text, write)
      local box = boxes.run([[
        local app = pilot.job "app" { exec = "app" }
        pilot.state.events = {}
        app:on("output", function(event) table.insert(pilot.state.events, { event.line, event.partial }) end)
      ]], { app = function(proc) (write or proc.write)(proc, text) end })
      box:advance "1s"
      return state(box).events, box
    end

    local function joined(events)
      local parts = {}
      for i, event in ipairs(events) do parts[i] = event[1] .. (event[2] and "" or "\n") end
      return table.concat(parts)
    end

    it("comes in pieces of 64 KiB at most, all but the last marked", function()
      local text = ("x"):rep(3 * BLOCK) .. "yz\nshort\n"
      local events, box = pieces(text)
      local x = ("x"):rep(BLOCK)
      assert.same({ { x, true }, { x, true }, { x, true }, { "yz" }, { "short" } }, events)
      assert.equal(text, box:output "app")
    end)

    it("is whole at exactly 64 KiB, in two pieces with one byte more", function()
      local x = ("x"):rep(BLOCK)
      assert.same({ { x }, { "" }, { x, true }, { "x" } }, (pieces(x .. "\n\n" .. x .. "x\n")))
    end)

    it("ends with what there is, when the job does so", function()
      local x = ("x"):rep(BLOCK)
      assert.same({ { x, true }, { x } }, (pieces(x .. x)))
    end)

    it("is never cut inside a character", function()
      local text = "a" .. ("\195\169"):rep(BLOCK) .. "\n" .. ("\226\130\172"):rep(BLOCK) .. "\n"
        .. "ab" .. ("\240\159\152\128"):rep(BLOCK) .. "\n"
      local events = pieces(text)
      for _, event in ipairs(events) do
        assert.is_true(#event[1] <= BLOCK)
        assert.is_nil(event[1]:find "^[\128-\191]")
      end
      assert.equal(text, joined(events))
    end)

    it("is the same however it was written", function()
      local text = ("x"):rep(BLOCK + 1000) .. "\n" .. ("y"):rep(700) .. "\n"
      local at_once = pieces(text)
      local bit_by_bit = pieces(text, function(proc)
        for from = 1, #text, 333 do proc:write(text:sub(from, from + 332)) end
      end)
      assert.same(at_once, bit_by_bit)
    end)

    -- Bytes of strings and tables that were made, all in all.
    local function bytes_made(fn)
      collectgarbage "collect"
      collectgarbage "stop"
      local before = collectgarbage "count"
      fn()
      local after = collectgarbage "count"
      collectgarbage "restart"
      return (after - before) * 1024
    end

    it("costs memory in proportion to its bytes", function()
      local function spent(blocks)
        local text = ("x"):rep(1024)
        return bytes_made(function()
          pieces("", function(proc)
            for _ = 1, blocks * 64 do proc:write(text) end
          end)
        end) / blocks
      end
      spent(1)
      assert.is_true(spent(32) < 1.5 * spent(4))
    end)

    it("costs instructions in proportion to its bytes", function()
      local function spent(blocks)
        local text = ("x"):rep(blocks * BLOCK)
        return instructions(function() pieces(text) end) / blocks
      end
      assert.is_true(spent(32) < 1.5 * spent(4))
    end)
  end)

  describe("in a burst", function()
    it("is heard whole, each line once, in order", function()
      local written = {}
      local box = boxes.run(COUNTS .. "counts {}", { app = burst { lines = 100000, short = true, done = written } })
      box:advance "10s"
      assert.same({ heard = 100000 }, state(box))
      assert.equal(0, drops(box))
      assert.is_true(written.at < 5)
    end)

    it("is heard whole by each handler", function()
      local box = boxes.run(COUNTS .. [[
        counts({}, nil, "one")
        counts({ when_busy = "queue" }, function() pilot.sleep "1ms" end, "two")
      ]], { app = burst { lines = 5000, rest = forever } })
      box:advance "10s"
      assert.same({ one = 5000, two = 5000 }, state(box))
    end)

    it("is heard whole by a handler that needs a millisecond a line, and the job waits for it", function()
      local written = {}
      local box = boxes.run(COUNTS .. [[ counts({}, function() pilot.sleep "1ms" end) ]],
        { app = burst { lines = 5000, done = written, rest = forever } })
      box:advance "1m"
      assert.same({ heard = 5000 }, state(box))
      assert.equal(0, drops(box))
      assert.is_true(written.at > 2)
    end)

    it("does not wait for longer than a second for one that is too slow: the oldest is dropped, and told", function()
      local written = {}
      local box = boxes.run(COUNTS .. [[ counts({}, function() pilot.sleep "100ms" end) ]],
        { app = burst { lines = 5000, done = written, rest = forever } })
      box:advance "3m"
      assert.is_true(written.at > 0.9 and written.at < 1.5)
      assert.is_true(state(box).heard > 1000 and state(box).heard < 2500)
      assert.equal(4, drops(box)) -- told of 1, 10, 100 and 1000
      assert.equal(5000 * 101, #box:output "app")
    end)

    local function long_lines(count, size)
      return function(proc)
        for i = 1, count do proc:print(("line %06d"):format(i) .. ("."):rep(size - 11)) end
        forever(proc)
      end
    end

    local function bytes_that_wait(box)
      local bytes, waiting = 0, box.app.bus:subscribers("job:app", "output")[1].waiting
      for _ = 1, waiting.count do bytes = bytes + #waiting:pop().line end
      return bytes
    end

    it("never lets more than 8 MiB wait for a handler", function()
      for _, size in ipairs { BLOCK, BLOCK / 2 + 1, 9000 } do
        local box = boxes.run(COUNTS .. [[ counts({}, function() pilot.sleep "1h" end) ]],
          { app = long_lines(1200, size) })
        box:advance "30s"
        local bytes = bytes_that_wait(box)
        assert.is_true(bytes > 7.7 * 1024 ^ 2 and bytes <= 8 * 1000 * 1024, size .. ": " .. bytes)
      end
    end)

    it("is heard whole where its lines are long", function()
      local box = boxes.run(COUNTS .. [[ counts({}, function() pilot.sleep "4ms" end) ]],
        { app = long_lines(1000, 20000) })
      box:advance "1m"
      assert.same({ heard = 1000 }, state(box))
      assert.equal(0, drops(box))
    end)

    it("waits again for one that has caught up", function()
      local box = boxes.run(COUNTS .. [[
        local slow = true
        counts({}, function() pilot.sleep(slow and "100ms" or "1ms") end)
        pilot.after("5s", function() slow = false end)
      ]], { app = function(proc)
        burst { lines = 4000 }(proc)
        proc:sleep "10s"
        burst { lines = 24000, from = 4001, short = true, rest = forever }(proc)
      end })
      box:advance "9s"
      local before, told = state(box).heard, drops(box)
      box:advance "1m"
      assert.equal(20000, state(box).heard - before)
      assert.equal(told, drops(box))
    end)

    it("does not wait for one that never returns, nor does another handler miss anything for it", function()
      local written = {}
      local box = boxes.run(COUNTS .. [[
        app:on("output", function() pilot.sleep "24h" end)
        counts {}
      ]], { app = burst { lines = 5000, done = written, rest = forever } })
      box:advance "10s"
      assert.same({ heard = 5000 }, state(box))
      assert.is_true(written.at > 0.9 and written.at < 1.5)
    end)

    it("waits for nobody who wants no queue", function()
      local written = {}
      local box = boxes.run(COUNTS .. [[
        for _, way in ipairs { "latest", "drop", "restart" } do
          app:on("output", { when_busy = way }, function() pilot.sleep "24h" end)
        end
        app:on("output", { settle = "1s" }, function() pilot.sleep "24h" end)
      ]], { app = burst { lines = 5000, done = written, rest = forever } })
      box:advance "10s"
      assert.is_true(written.at < 0.5)
    end)

    it("is not held up by a subscription that was cancelled", function()
      local written = {}
      local box = boxes.run(COUNTS .. [[
        local subscription = app:on("output", function() pilot.sleep "24h" end)
        pilot.after("500ms", function() subscription:cancel() end)
      ]], { app = burst { lines = 5000, done = written, rest = forever } })
      box:advance "10s"
      assert.is_true(written.at > 0.4 and written.at < 0.6)
    end)
  end)

  -- All that it says while it cleans up is more than a pipe holds.
  local function talks_at_the_end(written)
    return function(proc)
      proc:handle("SIGTERM", function(me)
        burst { lines = 5000, done = written }(me)
        me:exit(0)
      end)
      burst { lines = 5000, rest = forever }(proc)
    end
  end

  describe("while the job is stopped", function()
    local function stops(source, how)
      local written = {}
      source = source:gsub("APP", '{ exec = "app", stop_timeout = "5s" }')
      local box = boxes.run(source, { app = talks_at_the_end(written) })
      box:advance "500ms"
      if how then how(box) end
      box:advance "30s"
      local at = boxes.times(box, "app", "stopping")[1]
      assert.is_true(written.at ~= nil and written.at - at < 0.2)
      assert.is_true(boxes.times(box, "app", "stopped")[1] - at < 0.3)
      assert.equal(0, box:job("app"):received "SIGKILL")
      return box
    end

    it("is read, whoever does not hear it: the job can clean up", function()
      local box = stops([[
        local app = pilot.job "app" APP
        app:on("output", function() pilot.sleep "24h" end)
        pilot.on("SIGUSR1", function() app:stop() end)
      ]], function(box) box:signal "SIGUSR1" end)
      assert.is_true(drops(box) > 0)
    end)

    it("is read, in the shutdown, too", function()
      stops([[
        local app = pilot.job "app" APP
        app:on("output", function() pilot.sleep "24h" end)
      ]], function(box) box:signal "SIGTERM" end)
    end)

    it("is read when one of its handlers does it", function()
      stops [[
        local app = pilot.job "app" APP
        app:on("output", function() app:stop() end)
      ]]
    end)

    it("is read when one of its handlers starts it anew", function()
      stops [[
        local app = pilot.job "app" APP
        local done = false
        app:on("output", function()
          if done then return end
          done = true
          app:restart()
        end)
      ]]
    end)
  end)

  describe("is read while a handler of its own", function()
    for what, work in pairs {
      ["waits for its exit"] = [[ app:wait_for "exited" ]],
      ["waits for its exit in a task of its own"] = [[ pilot.timeout("1h", function() app:wait_for "exited" end) ]],
      ["waits for another event of it"] = [[ app:next "exit_success" ]],
    } do
      it(what, function()
        local written = {}
        local source = COUNTS .. ("counts({}, function() %s end)"):format(work)
        local box = boxes.run(source, { app = burst { lines = 5000, done = written } })
        box:advance "30s"
        assert.is_true(written.at < 0.5)
        assert.is_true(state(box).heard > 500)
      end)
    end

    it("waits for its exit in a task far below its own", function()
      local written = {}
      local box = boxes.run([[
        local app = pilot.job "app" { exec = "app" }
        local function nest(depth)
          if depth == 0 then return app:wait_for "exited" end
          pilot.spawn(nest, depth - 1)
          pilot.sleep "1h"
        end
        app:on("output", function() nest(12000) end)
      ]], { app = burst { lines = 5000, done = written } })
      box:advance "30s"
      assert.is_true(written.at < 0.5)
    end)

    it("waits for its next lines", function()
      local written = {}
      local box = boxes.run(COUNTS .. [[ counts({}, function() app:next("output", "1s") end) ]],
        { app = burst { lines = 5000, done = written, rest = forever } })
      box:advance "10s"
      assert.is_true(written.at < 0.5)
    end)
  end)

  -- What the log says at last of events that a handler missed.
  local function told(box)
    local sum = 0
    for _, entry in ipairs(box:log()) do
      sum = sum + tonumber(entry.message:match "(%d+) events? %l+ dropped in all" or 0)
        + tonumber(entry.message:match ": (%d+) events? %l+ not heard" or 0)
    end
    return sum
  end

  describe("is heard, or counted in what is said:", function()
    local LINES = 8000
    local HEARS = [[
      local app = pilot.job "app" { exec = "app", restart = "never", stop_timeout = "5s" }
      pilot.state.heard = 0
      app:on("output", function(event)
        WORK
        pilot.state.heard = pilot.state.heard + 1
      end)
    ]]

    local function assert_sum(work, program)
      local box = boxes.run((HEARS:gsub("WORK", work)), { app = program })
      box:advance "20s"
      box:stop()
      assert.equal(LINES, state(box).heard + told(box))
      assert.is_true(drops(box) <= 5) -- of 1, 10, 100, 1000 and 10,000
      return box
    end

    for what, work in pairs {
      ["by a handler that is fast"] = "", ["by one that takes a millisecond a line"] = [[ pilot.sleep "1ms" ]],
      ["by one that takes ten"] = [[ pilot.sleep "10ms" ]], ["by one that never returns"] = [[ pilot.sleep "24h" ]],
      ["by one that waits for the job"] = [[ app:wait_for "exited" ]],
      ["by one that is slow at times"] = [[ if event.line:find "7" then pilot.sleep "3ms" end ]],
    } do
      it(what .. ", of a job that goes on", function()
        assert_sum(work, burst { lines = LINES, short = true, rest = forever })
      end)

      it(what .. ", of a job that exits at once", function()
        assert_sum(work, burst { lines = LINES, short = true })
      end)
    end

    it("by one that stops the job in the middle of it, while it says as much again", function()
      local box = assert_sum([[ if event.line:find "line 003000" then app:stop() end ]], function(proc)
        proc:handle("SIGTERM", function(me)
          burst { lines = LINES, from = LINES / 2 + 1, short = true }(me)
          me:exit(0)
        end)
        burst { lines = LINES / 2, short = true, rest = forever }(proc)
      end)
      assert.equal(0, box:job("app"):received "SIGKILL")
    end)
  end)

  describe("when the job has exited", function()
    it("is heard before its stopped", function()
      local box = boxes.run(COUNTS .. [[
        counts {}
        app:on("stopped", function() pilot.state.at_the_end = pilot.state.heard end)
        pilot.every("1h", function() end)
      ]], { app = burst { lines = 10000, short = true } })
      box:advance "10s"
      assert.same({ heard = 10000, at_the_end = 10000 }, state(box))
    end)

    it("holds up what comes next for a second at most", function()
      local box = boxes.run([[
        local app = pilot.job "app" { exec = "app", restart = { policy = "always", backoff = 0 } }
        app:on("output", function() pilot.sleep "1ms" end)
      ]], { app = { function(proc)
        proc:write(("x\n"):rep(BLOCK / 2))
        proc:write(("x\n"):rep(BLOCK / 2))
      end, forever } })
      box:advance "2m"
      assert.equal(2, box:job("app"):starts())
      local exit = boxes.times(box, "app", "exit_success")[1]
      local starts = {}
      for _, moment in ipairs(box:spawns "app") do starts[#starts + 1] = moment.at end
      assert.is_true(starts[2] - exit < 1.5)
    end)
  end)
end)
