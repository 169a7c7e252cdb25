-- Jobs that say much, or in one line, or while they are stopped, and handlers that hear it: the program and real pipes.
-- A stop_timeout of an hour, and no bound of time: a job that hangs in its write() is a spec that does not end.

local run   = require "support.run"
local story = require "support.story"

describe("a pilot that hears what its job says", function()
  after_each(run.cleanup)

  local LUA = [[
    local pilot = require "luapilot"
    local function lua(code) return { "luajit", "-e", code } end
  ]]

  local function ends(text, code)
    local p = run.pilot(LUA .. text)
    assert.message(p:output()).equal(code or 0, (p:wait(60)))
    return p
  end

  it("hears a line without an end in pieces, in the memory of some", function()
    local p = ends [[
      local MB, events, bytes, longest, most = 64, 0, 0, 0, 0
      local app = pilot.job "app" {
        exec = lua("local x = ('x'):rep(65536) for _ = 1, " .. MB * 16 .. " do io.write(x) end"),
        log = { file = "/dev/null" },
      }
      app:on("output", function(event)
        events, bytes, longest = events + 1, bytes + #event.line, math.max(longest, #event.line)
        most = math.max(most, collectgarbage "count")
        assert((event.partial == true) == (bytes < MB * 1024 * 1024))
        if not event.partial then
          print(("%d events of %d bytes, of %d at most; memory %s"):format(events, bytes, longest,
            most < 16 * 1024 and "is flat" or most))
        end
      end)
    ]]
    story.assert_lines(p, 1, "1024 events of 67108864 bytes, of 65536 at most; memory is flat")
  end)

  it("hears 100,000 lines that come at once, each of them", function()
    local p = ends [[
      local count = 0
      local app = pilot.job "app" { exec = lua "for i = 1, 100000 do print(i) end", log = { file = "/dev/null" } }
      app:on("output", function(event)
        count = count + 1
        if event.line ~= tostring(count) then error(("%s instead of %d"):format(event.line, count)) end
        if count == 100000 then print "heard all" end
      end)
    ]]
    story.assert_lines(p, 1, "heard all")
    story.assert_lines(p, 0, "its queue of 1000 is full")
  end)

  it("hears each line of 100,000, or says how many it did not: of one that exits at once, by slow handlers", function()
    local p = ends [[
      local app = pilot.job "app" { exec = lua "for i = 1, 100000 do print(i) end", log = { file = "/dev/null" } }
      local function hears(name, pause)
        local file, heard = io.open(name, "w"), 0
        app:on("output", function()
          pilot.sleep(pause)
          heard = heard + 1
          file:seek "set"
          file:write(heard)
          file:flush()
        end)
      end
      hears("slow", "10ms")
      hears("never", "24h")
      app:on("stopped", function() pilot.shutdown(0) end)
      pilot.shutdown_timeout "2s"
    ]]
    local counted = 0
    for _, line in ipairs(p:lines "events? %l+ [dn]%l+ ") do
      counted = counted + tonumber(line:match "(%d+) events? %l+ dropped in all"
        or line:match "(%d+) events? %l+ not heard" or 0)
    end
    assert.equal(200000, tonumber(p:read "slow") + tonumber("0" .. p:read "never") + counted)
    assert.is_true(#p:lines "its queue of 1000 is full" <= 2 * 5)
  end)

  -- Says more than its pipe and the queue hold: 10,000 lines of 100 digits, and as much again when it is asked to stop.
  local TALKER = [[
    local function talker(more)
      return pilot.job "app" { stop_timeout = "1h", log = { file = "log", prefix = false },
        env = { SAY = "seq -f %0100.0f" },
        exec = pilot.sh("exec 2>/dev/null; trap '$SAY 10001 20000; exit 0' TERM; $SAY 1 10000; "
          .. (more or "while :; do sleep 0.1; done")) }
    end
  ]]

  local function assert_said_all(p)
    local said = {}
    for i = 1, 20000 do said[i] = ("0"):rep(95) .. ("%05d"):format(i) end
    local whole = table.concat(said, "\n") .. "\n"
    p:wait_for("the whole log", function() return #p:read "log" >= #whole end)
    assert.is_true(p:read "log" == whole)
    story.assert_lines(p, 0, "killed")
    story.assert_lines(p, 1, 'job "app": stopped')
  end

  it("lets it clean up, whoever does not hear it", function()
    local p = run.pilot(LUA .. TALKER .. [[
      local begun = false
      talker():on("output", function()
        if not begun then print "begins" end
        begun = true
        pilot.sleep "24h"
      end)
      pilot.shutdown_timeout "1h"
      pilot.on("shutdown", function()
        pilot.sleep "1s"
        print "a second later"
      end)
    ]])
    p:wait_for("the job's lines", function() return #p:read "log" >= 1010000 end)
    p:signal "SIGTERM"
    p:wait_for_line 'job "app": stopped'
    assert_said_all(p)
    p:wait_for_line "a second later"
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    story.assert_lines(p, 1, "begins")
    assert.is_true(#p:lines "its queue of 1000 is full: the oldest was dropped" > 0)
    story.assert_lines(p, 1, "events were dropped in all: it was too slow for them")
    story.assert_lines(p, 1, "the shutdown did not let it end: %d+ events were not heard")
  end)

  it("lets it clean up when its own handler stops it", function()
    local p = ends(TALKER .. [[
      local app = talker()
      app:on("output", function(event)
        if tonumber(event.line) == 1 then
          app:stop()
          print "did stop it"
        end
      end)
    ]])
    story.assert_order(p, { 'job "app": stopped', "did stop it" })
    story.assert_lines(p, 0, "killed")
  end)

  it("lets it go on when its own handler waits for its end", function()
    local p = ends(TALKER .. [[
      local app = talker "exit 0"
      app:on("output", function(event)
        if tonumber(event.line) == 1 then print("is over: " .. tostring(app:wait_for "exited")) end
      end)
    ]])
    story.assert_lines(p, 1, "is over: true")
  end)

  it("lets it go on though one never returns, and another one hears all the same", function()
    local p = ends([[
      local app, count = pilot.job "app" { exec = pilot.sh "seq -f %0100.0f 10000", log = { file = "/dev/null" } }, 0
      app:on("output", function() pilot.sleep "24h" end)
      app:on("output", function()
        count = count + 1
        if count == 10000 then pilot.shutdown(3) end
      end)
    ]], 3)
    assert.is_true(#p:lines "its queue of 1000 is full: the oldest was dropped" > 0)
  end)
end)
