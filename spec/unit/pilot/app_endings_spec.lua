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
      { server = sim.server }, 1,
      can_never 'job "b": gave up after 2s of waiting for job "a" to end with code 0 (it is running)',
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
    ["what cannot come is named, and not what still might: 1"] = {
      [[ local a = pilot.job "a" { exec = "server" }
         local b = pilot.job "b" { exec = "fine" } ]]
        .. app 'pilot.all { a:once "exit_success", b:once "exit_failed" }',
      { fine = { exit = 0 }, server = sim.server }, 1, can_never 'b:once "exit_failed" cannot come any more',
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
      { server = sim.server }, 1,
      can_never 'gave up after 2s of waiting for job "a" to end with code 0 (it is running)',
    },
    ["its own `when` function: 1"] = {
      app "function() end", {}, 1, can_never "its `when` function returned nothing true: it will not be started",
    },
    ["its own program, which is not there"] = {
      'pilot.job "app" { exec = "missing", main = true }', { missing = { spawn_error = "ENOENT" } }, 127,
      can_never 'cannot run "missing": ENOENT',
    },
    ["its own program, which is not there any more"] = {
      'pilot.job "app" { exec = "server", main = true, restart = 1 }',
      { server = { { exit = 3 }, { spawn_error = "ENOENT" } } }, 127,
      'the main job "app" could not be started (cannot run "server": ENOENT): shutting down',
    },
    ["but one that had failed before it was stopped did"] = {
      [[ local a = pilot.job "a" { exec = "three", restart = { policy = "always", backoff = "1h", max_backoff = "1h" } }
         pilot.after("2s", function() a:stop() end) ]] .. app 'a:once "exit_success"',
      { three = { exit = 3 } }, 3, can_never 'job "a": exited with code 3',
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

-- Signals to a pilot whose job takes its time: { name, seconds after the one before } each. Was the job killed?
local function asked(signals, text, options)
  local box = boxes.run((text or "") .. [[ pilot.job "slow" { exec = "slow" } ]], { slow = { term_delay = "6s" } })
  box:advance "1s"
  for _, one in ipairs(signals) do
    box:advance(one[2])
    box:signal(one[1], options)
  end
  box:advance "100ms"
  local killed = box:job("slow"):received "SIGKILL" > 0
  box:advance "1m"
  assert.is_true(box.ended)
  assert.equal(killed and 124 or 0, box.exit_code)
  return killed, box
end

describe("a request to end", function()
  after_each(boxes.check)

  it("is the same within a second: timeout(1) sends two, a hook one and the runtime another", function()
    assert.is_false(asked { { "SIGTERM", 0 }, { "SIGTERM", 0.99 } })
    assert.is_false(asked { { "SIGQUIT", 0 }, { "SIGTERM", 0.2 } })
    assert.is_false(asked { { "SIGTERM", 0 }, { "SIGTERM", 0.1 }, { "SIGQUIT", 0.3 }, { "SIGTERM", 0.5 } })
    assert.is_false(asked { { "SIGINT", 0 }, { "SIGTERM", 0.9 } })
  end)

  it("is another one later, counted from the first", function()
    assert.is_true(asked { { "SIGTERM", 0 }, { "SIGTERM", 1 } })
    assert.is_true(asked { { "SIGTERM", 0 }, { "SIGTERM", 0.6 }, { "SIGTERM", 0.6 } })
    assert.is_true(asked { { "SIGQUIT", 0 }, { "SIGTERM", 3 } })
  end)

  it("by SIGINT is the same within 100 ms: that of a terminal, and the one that is passed on", function()
    assert.is_false(asked { { "SIGINT", 0 }, { "SIGINT", 0.09 } })
    assert.is_true(asked { { "SIGINT", 0 }, { "SIGINT", 0.1 } })
    assert.is_true(asked { { "SIGTERM", 0 }, { "SIGINT", 0.2 } })
  end)

  it("says in the log what it meant, and who sent it", function()
    local _, box = asked({ { "SIGTERM", 0 }, { "SIGQUIT", 0.5 }, { "SIGTERM", 1 } }, nil, { pid = 77 })
    assert.equal(1, boxes.logged(box, "SIGTERM: shutting down"))
    assert.equal(1, boxes.logged(box, "SIGQUIT: the shutdown is under way"))
    assert.equal(1, boxes.logged(box, "SIGTERM: asked a second time: killing what is left"))
    assert.equal(1, boxes.logged(box, 'the shutdown was cut short: job "slow" had to be killed'))
    for _, entry in ipairs(box:log()) do
      if entry.message:find "^SIG" then assert.equal(77, entry.fields.sender) end
    end
  end)

  it("by a terminal that is gone counts as SIGTERM does", function()
    local terminal = { terminal = true }
    assert.is_false(asked({ { "SIGHUP", 0 }, { "SIGHUP", 0.5 } }, nil, terminal))
    assert.is_true(asked({ { "SIGHUP", 0 }, { "SIGHUP", 1.5 } }, nil, terminal))
  end)

  it("by pilot.shutdown() is one, too", function()
    local text = [[ pilot.after("1s", function() pilot.shutdown() end) ]]
    assert.is_false(asked({ { "SIGTERM", 0.5 } }, text))
    assert.is_true(asked({ { "SIGTERM", 1.5 } }, text))
  end)

  it("that comes when the pilot ends by itself is the first", function()
    local text = [[ pilot.job "done" { exec = "true", main = true } ]]
    local function while_ending(signals)
      local box = boxes.run(text .. [[ pilot.job "slow" { exec = "slow" } ]], {
        slow = { term_delay = "6s" }, ["true"] = { exit = 0, after = "1s" },
      })
      box:advance "2s"
      for _, one in ipairs(signals) do
        box:advance(one[2])
        box:signal(one[1])
      end
      box:advance "1m"
      return box.exit_code
    end
    assert.equal(0, while_ending { { "SIGTERM", 1 } })
    assert.equal(0, while_ending { { "SIGTERM", 1 }, { "SIGTERM", 0.5 } })
    assert.equal(124, while_ending { { "SIGTERM", 1 }, { "SIGTERM", 1 } })
  end)
end)

describe("a shutdown that was cut short ends with 124:", function()
  after_each(boxes.check)

  local DEAF = { deaf = { ignores = { "SIGTERM" } }, server = sim.server, fine = { exit = 0, after = "2s" } }
  local function term(box) box:signal "SIGTERM" end
  local KILLED = 'the shutdown was cut short: job "deaf" had to be killed'

  golden {
    ["its own stop_timeout"] = {
      [[ pilot.job "deaf" { exec = "deaf", stop_timeout = "1s" } ]], DEAF, 124, KILLED, meanwhile = term,
    },
    ["the bound of the shutdown"] = {
      [[ pilot.job "deaf" { exec = "deaf", stop_timeout = "1h" } ]], DEAF, 124, KILLED, meanwhile = term,
    },
    ["also after a main job that succeeded"] = {
      [[ pilot.job "deaf" { exec = "deaf", stop_timeout = "1s" }
         pilot.job "app" { exec = "fine", main = true } ]], DEAF, 124, KILLED,
    },
    ["what a leader left behind"] = {
      [[ pilot.job "deaf" { exec = "parent", stop_timeout = "2s" } ]],
      { parent = { grandchild = { ignores = { "SIGTERM" } } } }, 124, KILLED, meanwhile = term,
    },
    ["a job written in Lua that is given up"] = {
      [[ pilot.job "deaf" {
           stop_timeout = "2s",
           run = function()
             pilot.defer(function() pilot.sleep "1h" end)
             pilot.sleep "1h"
           end,
         } ]], {}, 124, KILLED, meanwhile = term,
    },
    ["several are named"] = {
      [[ for i = 1, 12 do pilot.job("deaf" .. i) { exec = "deaf", stop_timeout = "1s" } end ]], DEAF, 124,
      'jobs "deaf1", "deaf2", "deaf3", "deaf4", "deaf5", "deaf6", "deaf7", "deaf8", "deaf9", "deaf10", … had',
      meanwhile = term,
    },
  }

  golden {
    ["unless pilot.shutdown(code) says otherwise"] = {
      [[ pilot.job "deaf" { exec = "deaf", stop_timeout = "1s" }
         pilot.on("shutdown", function() pilot.shutdown(0) end) ]], DEAF, 0, KILLED, meanwhile = term,
    },
    ["but not one in which a run came to its own timeout"] = {
      [[ local db = pilot.job "db" { exec = "db", timeout = "3s", restart = "always" }
         pilot.job "app" {
           exec = "slow", restart = "always", when = pilot.any { pilot.once "startup", db:once "exit_failed" },
         } ]],
      { db = {}, slow = { term_delay = "4s" } }, 0, "ran longer than its timeout of 3s: killed", meanwhile = term,
    },
    ["and not a job that was killed before"] = {
      [[ local deaf = pilot.job "deaf" { exec = "deaf", stop_timeout = "500ms" }
         pilot.on("startup", function() deaf:stop() end)
         pilot.job "app" { exec = "server" } ]], DEAF, 0, "SIGTERM: shutting down", meanwhile = term,
    },
  }
end)

describe("pilot.shutdown_signals", function()
  after_each(boxes.check)

  it("end the pilot as SIGTERM does: the STOPSIGNAL of an image", function()
    for _, name in ipairs { "SIGWINCH", "SIGUSR1", "SIGPWR", "SIGRTMIN+3", "SIGHUP" } do
      local text = ("pilot.shutdown_signals { %q } "):format(name)
      local killed, box = asked({ { name, 0 }, { name, 0.9 } }, text)
      assert.is_false(killed)
      assert.equal(1, boxes.logged(box, name .. ": shutting down"))
      assert.is_true(asked({ { name, 0 }, { "SIGTERM", 1 } }, text))
      assert.is_false(asked({ { "SIGTERM", 0 }, { name, 0.5 } }, text))
      assert.equal(0, box.port.reopened or 0)
    end
  end)

  it("add to SIGTERM, SIGINT and SIGQUIT, and to each other", function()
    local text = [[ pilot.shutdown_signals { "SIGWINCH" } pilot.shutdown_signals { "SIGPWR", "SIGTERM" } ]]
    for _, name in ipairs { "SIGTERM", "SIGINT", "SIGQUIT", "SIGWINCH", "SIGPWR" } do
      local _, box = asked({ { name, 0 } }, text)
      assert.equal(1, boxes.logged(box, name .. ": shutting down"))
    end
  end)

  it("are told to the guardian, and so is a SIGQUIT that somebody listens for", function()
    local function told(text)
      local names = boxes.run(text).port.enders
      return names and table.concat(names, " ")
    end
    assert.is_nil(told [[ pilot.every("1h", print) ]])
    assert.equal("SIGINT SIGTERM SIGPWR SIGWINCH SIGQUIT", told [[ pilot.shutdown_signals { "SIGWINCH", "SIGPWR" }
      pilot.every("1h", print) ]])
    assert.equal("SIGINT SIGTERM", told [[ pilot.on("SIGQUIT", print) ]])
  end)

  for name, case in pairs {
    ["no list"] = { '"SIGWINCH"', 'pilot.shutdown_signals: expected a list of signals such as' },
    ["nothing"] = { "nil", 'pilot.shutdown_signals: expected a list of signals such as' },
    ["a named field"] = { '{ stop = "SIGWINCH" }', "expected a list of signals" },
    ["a number"] = { "{ 28 }", 'pilot.shutdown_signals[1]: expected a signal such as "SIGTERM", got' },
    ["a name without SIG"] = { '{ "SIGPWR", "WINCH" }',
      'pilot.shutdown_signals[2]: unknown signal "WINCH" (did you mean "SIGWINCH"?)' },
    ["a real-time signal that does not exist"] = { '{ "SIGRTMIN+31" }', 'unknown signal "SIGRTMIN+31"' },
    ["one that cannot be caught"] = { '{ "SIGKILL" }', "pilot.shutdown_signals[1]: SIGKILL never reaches pilot.lua" },
    ["one of job control"] = { '{ "SIGSTOP" }', "SIGSTOP never reaches pilot.lua" },
    ["one of children"] = { '{ "SIGCHLD" }', "SIGCHLD never reaches pilot.lua" },
    ["a fault"] = { '{ "SIGSEGV" }', "SIGSEGV never reaches pilot.lua" },
  } do
    it("are a mistake: " .. name, function()
      local message = boxes.mistakes(("pilot.shutdown_signals(%s) pilot.every('1h', print)"):format(case[1]))
      assert.is_truthy(message:find("pilot.lua:1: ", 1, true), message)
      assert.is_truthy(message:find(case[2], 1, true), message)
    end)
  end

  it("are a mistake where somebody listens for them, before or after", function()
    local said = 'listens for SIGWINCH, which ends the pilot (pilot.shutdown_signals): use pilot.on("shutdown", …)'
    for _, text in ipairs {
      [[ pilot.on("SIGWINCH", print) pilot.shutdown_signals { "SIGWINCH" } ]],
      [[ pilot.shutdown_signals { "SIGWINCH" } pilot.on("SIGWINCH", print) ]],
      [[ pilot.job "a" { exec = "a", when = pilot.each "SIGWINCH" } pilot.shutdown_signals { "SIGWINCH" } ]],
      [[ pilot.shutdown_signals { "SIGWINCH" }
         pilot.job "a" { exec = "a", when = pilot.any { pilot.once "startup", pilot.once "SIGWINCH" } } ]],
    } do
      local message = boxes.mistakes(text)
      assert.is_truthy(message:find(said, 1, true), message)
    end
  end)

  it("cannot be listened for later, either", function()
    local box = boxes.run [[
      pilot.shutdown_signals { "SIGWINCH" }
      pilot.on("startup", function() pilot.on("SIGWINCH", print) end)
      pilot.on("startup", function() pilot.each "SIGWINCH" end)
      pilot.on("startup", function() pilot.on("SIGHUP", print) end)
    ]]
    box:advance "1s"
    local errors = box:forget_errors()
    assert.equal(2, #errors)
    for i, call in ipairs { "on", "each" } do
      assert.is_truthy(errors[i]:find(('pilot.lua:%d: %s("SIGWINCH"): '):format(i + 1, call), 1, true), errors[i])
    end
  end)

  it("only declare", function()
    local box = boxes.run [[ pilot.on("startup", function() pilot.shutdown_signals { "SIGWINCH" } end) ]]
    box:advance "1s"
    local errors = box:forget_errors()
    assert.equal(1, #errors)
    assert.is_truthy(errors[1]:find("pilot.lua:1: pilot.shutdown_signals only declares", 1, true), errors[1])
  end)
end)

describe("a signal that nobody hears", function()
  after_each(boxes.check)

  it("is a line for who looks closely, and nothing else", function()
    local box = boxes.run([[
      pilot.on("SIGUSR2", function() end)
      pilot.job "a" { exec = "a", when = pilot.each "SIGHUP" }
    ]], { a = { exit = 0 } })
    for _, name in ipairs { "SIGWINCH", "SIGUSR2", "SIGHUP", "SIGUSR1", "SIGRTMIN+3" } do box:signal(name) end
    box:advance "1s"
    local said = {}
    for _, entry in ipairs(box:log()) do
      if entry.level == "debug" then said[#said + 1] = entry.message end
    end
    assert.same({ "SIGWINCH: nobody listens for it", "SIGRTMIN+3: nobody listens for it" }, said)
    assert.is_false(box.ended)
  end)
end)
