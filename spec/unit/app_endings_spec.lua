-- What ended, and with which code: golden codes, and the lines of the log that say why.
local boxes = require "support.boxes"
local sim = require "luapilot.sim"

-- name → { pilot.lua, programs, code, the line that names the job and the cause [, what happens meanwhile] }
local function golden(cases)
  for name, case in pairs(cases) do
    it(name, function()
      local box = boxes.run(case[1], case[2])
      box:advance "1s"
      if case.meanwhile then case.meanwhile(box) end
      box:advance "1m"
      assert.is_true(box.ended, box:history())
      assert.equal(case[3], box.exit_code, box:history())
      assert.equal(1, boxes.logged(box, case[4]), box:history())
      if case.then_errors then box:forget_errors() end
    end)
  end
end

local MAIN = [[
  pilot.job "app" { exec = "server", main = true, when = %s }
]]
local function app(when) return "\n" .. MAIN:format(when) end

local function can_never(why) return ('the main job "app" can never start (%s): shutting down'):format(why) end

local SERVER = "pilot.job \"other\" { exec = \"server\" }\n"

describe("a main job that can never start ends the pilot with the code of what failed:", function()
  after_each(boxes.check)

  golden {
    ["a dependency that failed"] = {
      SERVER .. [[ local migrate = pilot.job "migrate" { exec = "seven" } ]]
        .. app 'migrate:once "exit_success"',
      { seven = { exit = 7 }, server = sim.server }, 7, can_never 'job "migrate": exited with code 7',
    },
    ["one that a signal ended"] = {
      [[ local migrate = pilot.job "migrate" { exec = "crash" } ]]
        .. app 'migrate:once "exit_success"',
      { crash = { signal = "SIGSEGV" } }, 139, can_never 'job "migrate": was killed by SIGSEGV',
    },
    ["one that could not be spawned"] = {
      [[ local migrate = pilot.job "migrate" { exec = "missing" } ]]
        .. app 'migrate:once "exit_success"',
      { missing = { spawn_error = "ENOENT" } }, 127, can_never 'job "migrate": cannot run "missing": ENOENT',
    },
    ["one that timed out"] = {
      [[ local migrate = pilot.job "migrate" { exec = "server", timeout = "5s" } ]]
        .. app 'migrate:once "exit_success"',
      { server = sim.server }, 124, can_never 'job "migrate": timed out',
    },
    ["one that used up its restarts, by its last code"] = {
      [[ local db = pilot.job "db" { exec = "db", restart = 2, health = { exec = "no" } } ]]
        .. app 'db:once "healthy"',
      { db = { { exit = 3 }, { exit = 4 }, { exit = 5 } }, no = { exit = 1 } }, 5,
      can_never 'job "db": exited with code 5',
    },
    ["the first in time of all"] = {
      [[ local a = pilot.job "a" { exec = "late" }
         local b = pilot.job "b" { exec = "early" } ]]
           .. app 'pilot.any { a:once "exit_success", b:once "exit_success" }',
      { late = { exit = 3, after = "2s" }, early = { exit = 4, after = "500ms" } }, 4,
      can_never 'job "b": exited with code 4',
    },
    ["not a failure that it waited for, and heard"] = {
      [[ local a = pilot.job "a" { exec = "three" }
         local b = pilot.job "b" { exec = "four" } ]]
           .. app 'pilot.all { a:once "exit_failed", b:once "exit_success" }',
      { three = { exit = 3 }, four = { exit = 4, after = "2s" } }, 4, can_never 'job "b": exited with code 4',
    },
    ["at the end of a chain"] = {
      [[ local a = pilot.job "a" { exec = "seven" }
         local b = pilot.job "b" { exec = "server", when = a:once "exit_success" }
         local c = pilot.job "c" { exec = "server", when = b:once "exit_success" } ]]
           .. app 'c:once "exit_success"',
      { seven = { exit = 7 } }, 7, can_never 'job "a": exited with code 7',
    },
    ["a trigger of a dependency that gave up"] = {
      [[ local a = pilot.job "a" { exec = "server" }
         local b = pilot.job "b" { exec = "server", when = a:once("exit_success", { timeout = "2s" }) } ]]
        .. app 'b:once "exit_success"',
      { server = sim.server }, 1, can_never 'job "b": gave up waiting for a:once "exit_success" after 2s',
    },
    ["not a failure that will be made good"] = {
      [[ local a = pilot.job "a" { exec = "three", restart = "always" }
         local b = pilot.job "b" { exec = "four" } ]]
           .. app 'pilot.all { a:once "exit_success", b:once "exit_success" }',
      { three = { exit = 3 }, four = { exit = 4, after = "2s" } }, 4, can_never 'job "b": exited with code 4',
    },
    ["a prepare that failed"] = {
      [[ local a = pilot.job "a" { exec = "server", prepare = function() error "no" end } ]]
        .. app 'a:once "exit_success"',
      {}, 1, can_never 'job "a": prepare failed: pilot.lua:1: no', then_errors = true,
    },
    ["nothing failed, and what it waits for cannot come: 1"] = {
      [[ local migrate = pilot.job "migrate" { exec = "fine" } ]]
        .. app 'migrate:once "exit_failed"',
      { fine = { exit = 0 } }, 1, can_never 'migrate:once "exit_failed" cannot come any more',
    },
    ["a failure elsewhere has nothing to do with it: 1"] = {
      [[ local a = pilot.job "a" { exec = "fine", health = { exec = "no" } }
         pilot.job "x" { exec = "three" } ]]
           .. app 'a:once "healthy"',
      { fine = { exit = 0, after = "2s" }, three = { exit = 3 }, no = { exit = 1 } }, 1,
      can_never 'a:once "healthy" cannot come any more',
    },
    ["jobs that wait for each other: 1"] = {
      [[ local a = pilot.job "a"
         a { exec = "fine", when = pilot.any { pilot.once "startup", pilot.job "app":each "exit_success" } } ]]
        .. app 'a:once "exit_failed"',
      { fine = { exit = 0 } }, 1, can_never 'a:once "exit_failed" cannot come any more',
    },
    ["its own trigger that gave up: 1, as any other run"] = {
      [[ local a = pilot.job "a" { exec = "server" } ]]
        .. app 'a:once("exit_success", { timeout = "2s" })',
      { server = sim.server }, 1, 'job "app": gave up waiting for a:once "exit_success" after 2s',
    },
    ["a source that was stopped by hand did not fail: 1"] = {
      [[ local a = pilot.job "a" { exec = "server" }
         pilot.after("2s", function() a:stop() end) ]]
           .. app 'a:once "exit_failed"',
      { server = sim.server }, 1, can_never 'a:once "exit_failed" cannot come any more',
    },
  }

  golden {
    ["but an end that was asked for before is 0: a signal"] = {
      SERVER .. [[ local a = pilot.job "a" { exec = "server" } ]]
        .. app 'a:once "exit_success"',
      { server = sim.server }, 0, "SIGTERM: shutting down", meanwhile = function(box) box:signal "SIGTERM" end,
    },
    ["but an end that was asked for before is 0: pilot.shutdown()"] = {
      [[ local a = pilot.job "a" { exec = "server" }
         pilot.after("2s", function() pilot.shutdown() end) ]]
           .. app 'a:once "exit_success"',
      { server = sim.server }, 0, "ended",
    },
    ["and pilot.shutdown(code) says another one"] = {
      [[ local a = pilot.job "a" { exec = "seven" }
         pilot.on("shutdown", function() pilot.shutdown(42) end) ]]
           .. app 'a:once "exit_success"',
      { seven = { exit = 7 } }, 42, can_never 'job "a": exited with code 7',
    },
  }

  it("which a call may start all the same", function()
    local box = boxes.run([[
      local a = pilot.job "a" { exec = "fine" }
      local b = pilot.job "b" { exec = "fine", when = a:once "exit_failed" }
      pilot.after("1s", function() b:start() end)
    ]], { fine = { exit = 0 } })
    box:advance "5s"
    assert.equal(1, box:job("b"):starts())
    assert.is_nil(box.app.jobs.b.memory.unmet)
    assert.equal(0, box.exit_code)
  end)
end)

describe("an event that was published starts whom it names, though nobody could publish another:", function()
  after_each(boxes.check)

  local function runs(name, source, programs, starts)
    it(name, function()
      local box = boxes.load(source)
      box:program("fine", { exit = 0 })
      for prefix, behaviour in pairs(programs or {}) do box:program(prefix, behaviour) end
      box:start()
      box:advance "1m"
      assert.equal(starts or 1, box:job("last"):starts(), box:history())
      assert.equal(0, boxes.logged(box, "will not be started"))
      assert.is_true(box.ended)
      assert.equal(0, box.exit_code)
    end)
  end

  for _, kind in ipairs { "once", "each" } do
    runs(("%s \"stopped\" of a job that ended by itself"):format(kind), ([[
      local first = pilot.job "first" { exec = "fine" }
      pilot.job "last" { exec = "fine", when = first:%s "stopped" }
    ]]):format(kind))
  end
  runs("a main job", [[
    local first = pilot.job "first" { exec = "fine" }
    pilot.job "last" { exec = "fine", when = first:once "stopped", main = true }
  ]])
  runs("beside a job that lives on", [[
    local first = pilot.job "first" { exec = "fine" }
    pilot.job "server" { exec = "lasts" }
    pilot.job "last" { exec = "fine", when = first:once "stopped" }
  ]], { lasts = { exit = 0, after = "2s" } })
  runs("along a chain", [[
    local a = pilot.job "a" { exec = "fine" }
    local b = pilot.job "b" { exec = "fine", when = a:each "stopped" }
    pilot.job "last" { exec = "fine", when = b:once "stopped" }
  ]])
  runs("all of several", [[
    local a = pilot.job "a" { exec = "fine" }
    local b = pilot.job "b" { exec = "lasts" }
    pilot.job "last" { exec = "fine", when = pilot.all { a:once "stopped", b:once "stopped" }, main = true }
  ]], { lasts = { exit = 0, after = "300ms" } })
  runs("any of several", [[
    local a = pilot.job "a" { exec = "fine" }
    local b = pilot.job "b" { exec = "fine" }
    pilot.job "last" { exec = "fine", when = pilot.any { a:each "stopped", b:each "exit_failed" } }
  ]])
  runs("settled", [[
    local first = pilot.job "first" { exec = "fine" }
    pilot.job "last" { exec = "fine", when = first:once("stopped", { settle = "300ms" }) }
  ]])
  runs("in a ring of two", [[
    local last = pilot.job "last"
    local first = pilot.job "first" {
      exec = "fine", when = pilot.any { pilot.once "startup", last:once "exit_failed" },
    }
    last { exec = "fine", when = first:once "stopped" }
  ]])
  runs("when it was held by hand", [[
    local first = pilot.job "first" { exec = "server" }
    pilot.job "last" { exec = "fine", when = first:once "stopped" }
    pilot.after("1s", function() first:stop() end)
  ]], { server = sim.server })

  it("\"stopped\" of a job that could not be started: its failure is the pilot's code", function()
    local box = boxes.run([[
      local first = pilot.job "first" { exec = "missing" }
      pilot.job "last" { exec = "fine", when = first:once "stopped" }
    ]], { missing = { spawn_error = "ENOENT" }, fine = { exit = 0 } })
    box:advance "5s"
    assert.equal(1, box:job("last"):starts())
    assert.equal(127, box.exit_code)
  end)
end)
