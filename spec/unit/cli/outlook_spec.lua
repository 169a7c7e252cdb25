-- What `check` says a file will do when a one-shot fails, beside what it does then in a simulated container: up, with a
-- job that never starts, and nobody who cares for it.

local boxes = require "support.boxes"
local outlook = require "luapilot.cli.outlook"

local DB = [[local db = pilot.job "db" { exec = "db", restart = "always" } ]]
local MIGRATE = [[local migrate = pilot.job "migrate" { exec = "fails" } ]]
local CARED = [[function() pilot.log.info "cared for" end]]

local function app(when, fields) return ('pilot.job "app" { exec = "app", when = %s, %s } '):format(when, fields) end
local ONCE, ALWAYS = 'migrate:once "exit_success"', 'restart = "always"'

-- What `check` warns of: the one-shots, in their order.
local function warned(box)
  outlook.look(box.app)
  local names = {}
  for _, warning in ipairs(box.app.mistakes:warnings()) do
    if warning.message:find "never starts" then names[#names + 1] = warning.path:match '^job "(.*)"$' end
  end
  return table.concat(names, " ")
end

-- Is it up an hour later, without the app, and has nobody said a word?
local function serves_nothing(box)
  local programs = { fails = { exit = 1 }, works = { exit = 0 }, app = {}, db = {}, tell = { exit = 0 } }
  for program, behaviour in pairs(programs) do box:program(program, behaviour) end
  box:start()
  box:advance "1h"
  local cared = boxes.logged(box, "cared for") > 0 or box.app.jobs.tell and box:job("tell"):starts() > 0
  return not box.ended and box:job("app"):starts() == 0 and not cared
end

local function judged(text)
  local box = boxes.load(text)
  local names, nothing = warned(box), serves_nothing(box)
  box:forget_errors()
  if not box.ended then box:stop() end
  return names, nothing
end

describe("check warns of a one-shot whose failure leaves a pilot that serves nothing", function()
  after_each(boxes.check)

  local FIRES = {
    ["of a job that is to run always"] = DB .. MIGRATE .. app(ONCE, ALWAYS),
    ["that is one of several things the job waits for"] = DB .. MIGRATE
      .. app('pilot.all { db:once "stopping", pilot.all { migrate:each "exit_success" } }', ALWAYS),
    ["of a job with a check, whatever its restart"] = DB .. MIGRATE .. app(ONCE, "health = { exec = 'works' }"),
    ["of a job with a service"] = DB .. MIGRATE .. app(ONCE, 'restart = "on_failure", service = { port = 80 }'),
    ["that is tried three times"] = DB .. 'local migrate = pilot.job "migrate" { exec = "fails", restart = 3 } '
      .. app(ONCE, ALWAYS),
    ["when the other job is kept up by its check"] = MIGRATE .. app(ONCE, ALWAYS)
      .. 'pilot.job "db" { exec = "db", health = { exec = "works" } }',
    ["when somebody cares for another one-shot"] = DB .. MIGRATE
      .. 'pilot.job "other" { exec = "works" }:on("exit_failed", ' .. CARED .. ") " .. app(ONCE, ALWAYS),
    ["when a handler hears only of its success"] = DB .. MIGRATE .. app(ONCE, ALWAYS)
      .. 'migrate:on("exit_success", ' .. CARED .. ")",
  }
  for what, text in pairs(FIRES) do
    it(what, function()
      local names, nothing = judged(text)
      assert.is_true(nothing)
      assert.equal("migrate", names)
    end)
  end

  it("that stands two steps before, also where somebody cares for the step between", function()
    local SEED = 'local seed = pilot.job "seed" { exec = "works", when = migrate:once "exit_success" } '
    local names, nothing = judged(DB .. MIGRATE .. SEED .. app('seed:once "exit_success"', ALWAYS))
    assert.is_true(nothing)
    assert.equal("migrate seed", names)
    names, nothing = judged(DB .. MIGRATE .. SEED .. app('seed:once "exit_success"', ALWAYS)
      .. 'seed:on("exit_failed", ' .. CARED .. ")")
    assert.is_true(nothing)
    assert.equal("migrate", names)
  end)

  local SILENT = {
    ["where a handler hears of its failure"] = MIGRATE .. 'migrate:on("exit_failed", ' .. CARED .. ") "
      .. app(ONCE, ALWAYS),
    ["where a handler hears of its end"] = MIGRATE .. 'migrate:on("stopped", ' .. CARED .. ") " .. app(ONCE, ALWAYS),
    ["where another job starts when it fails"] = MIGRATE .. app(ONCE, ALWAYS)
      .. 'pilot.job "tell" { exec = "tell", when = migrate:each "exit_failed" }',
    ["where another job starts when it is over, among others"] = MIGRATE .. app(ONCE, ALWAYS)
      .. 'pilot.job "tell" { exec = "tell", when = pilot.any { migrate:each "stopped", pilot.each "SIGUSR2" } }',
    ["where a task waits for its end"] = MIGRATE .. app(ONCE, ALWAYS)
      .. 'pilot.on("startup", function() if not migrate:wait_for "exit_success" then pilot.shutdown(5) end end)',
    ["where a task waits for its failure"] = MIGRATE .. app(ONCE, ALWAYS)
      .. 'pilot.spawn(function() migrate:next("exit_failed") pilot.shutdown(5) end)',
    ["where the job starts when it fails, too"] = MIGRATE
      .. app('pilot.any { migrate:once "exit_success", migrate:once "exit_failed" }', ALWAYS),
    ["where the job starts when it is over"] = MIGRATE .. app('migrate:once "stopped"', ALWAYS),
    ["where the job is main"] = MIGRATE .. app(ONCE, ALWAYS .. ", main = true"),
    ["where the one-shot is main"] = 'local migrate = pilot.job "migrate" { exec = "fails", main = true } '
      .. app(ONCE, ALWAYS),
    ["where it succeeds one day"] = [[local migrate = pilot.job "migrate" { exec = "sooner-or-later",
      restart = { policy = "on_failure", max_backoff = "10s" } } ]] .. app(ONCE, ALWAYS),
  }
  for what, text in pairs(SILENT) do
    it("and is silent " .. what, function()
      local box = boxes.load(DB .. text)
      box:program("sooner-or-later", { { exit = 1 }, { exit = 1 }, { exit = 0 } })
      assert.equal("", warned(box))
      assert.is_false(serves_nothing(box))
      box:forget_errors()
      if not box.ended then box:stop() end
    end)
  end

  it("and is silent where nothing keeps the pilot up", function()
    local names, nothing = judged(MIGRATE .. app(ONCE, ALWAYS))
    assert.is_false(nothing)
    assert.equal("", names)
  end)
end)

describe("check warns of a dependency that nothing starts by itself", function()
  after_each(boxes.check)

  local function warned_of(more)
    local box = boxes.load([[local tool = pilot.job "tool" { exec = "x", when = "manual" }
      pilot.job "app" { exec = "x", depends_on = { tool } } ]] .. more)
    outlook.look(box.app)
    local said = {}
    for i, warning in ipairs(box.app.mistakes:warnings()) do said[i] = warning.path .. ": " .. warning.message end
    return table.concat(said, "\n")
  end

  it("where no line of the file starts it", function()
    local text = 'job "app".depends_on[1]: job "tool" has when = "manual", so nothing starts it by itself: job "app" '
      .. "waits until a handler calls its :start()"
    assert.equal(text, warned_of "")
    assert.equal(text, warned_of [[ pilot.on("startup", function() tool:stop() end) ]])
    assert.equal("", warned_of [[ pilot.on("startup", function() tool:start() end) ]])
    assert.equal("", warned_of [[ pilot.on("startup", function() tool:restart() end) ]])
  end)
end)

describe("check warns of a one-shot that is depended on", function()
  after_each(boxes.check)

  it("as of one that a trigger names", function()
    local names, nothing = judged(DB .. [[ pilot.job "migrate" { exec = "fails" }
      pilot.job "app" { exec = "app", restart = "always", depends_on = { migrate = "exit_success" } } ]])
    assert.is_true(nothing)
    assert.equal("migrate", names)
  end)
end)

describe("check warns of a drain", function()
  after_each(boxes.check)

  -- What it says, and how long the drain of a shutdown lasts.
  local function drained(drain, stop_timeout, all)
    local box = boxes.load(([[
      pilot.consul "localhost:8500"
      pilot.shutdown_timeout %q
      pilot.job "a" { exec = "a", service = { port = 80 }, drain = %q, stop_timeout = %q }
    ]]):format(all, drain, stop_timeout))
    outlook.look(box.app)
    local said = {}
    for _, warning in ipairs(box.app.mistakes:warnings()) do
      if warning.path:find "drain" then said[#said + 1] = warning.path .. ": " .. warning.message end
    end
    local asked
    box:program("a", { on = { SIGTERM = function(process)
      asked = box.world.clock:now()
      process:exit(0)
    end } })
    box:start()
    box:advance "10s"
    local begun = box.world.clock:now()
    box:stop()
    return table.concat(said, "\n"), asked - begun
  end

  it("that a stop cuts short: the signal comes before its end", function()
    local said, lasted = drained("30s", "20s", "1m")
    assert.equal('job "a".drain: 30s is more than a stop leaves it: after 19s it is cut short (stop_timeout is 20s, '
      .. "pilot.shutdown_timeout 1m)", said)
    assert.near(19, lasted, 0.1)
    said, lasted = drained("8s", "20s", "8s")
    assert.equal('job "a".drain: 8s is more than a stop leaves it: after 6s it is cut short (stop_timeout is 20s, '
      .. "pilot.shutdown_timeout 8s)", said)
    assert.near(6, lasted, 0.1)
  end)

  it("and of none that has its time", function()
    local said, lasted = drained("19s", "20s", "21s")
    assert.equal("", said)
    assert.near(19, lasted, 0.1)
  end)
end)

describe("check warns of a stop_signal", function()
  after_each(boxes.check)

  local function warnings(name)
    local box = boxes.load(('pilot.job "a" { exec = "a", stop_signal = %q, stop_timeout = "3s" }'):format(name))
    outlook.look(box.app)
    local said = {}
    for i, warning in ipairs(box.app.mistakes:warnings()) do
      said[i] = ("%s %s: %s"):format(warning.where, warning.path, warning.message)
    end
    box:program("a", {})
    box:start()
    local code = box:stop()
    return table.concat(said, "\n"), code
  end

  it("that ends nothing by itself: the stop is a SIGKILL", function()
    local said, code = warnings "SIGCONT"
    assert.equal('pilot.lua:1 job "a".stop_signal: SIGCONT ends no program that does not catch it: such a stop lasts '
      .. '3s, until SIGKILL; most programs end on "SIGTERM"', said)
    assert.equal(124, code)
    for _, name in ipairs { "SIGCHLD", "SIGURG", "SIGTSTP", "SIGTTIN", "SIGTTOU" } do
      assert.is_truthy(warnings(name):find("^pilot.lua:1 [^\n]*ends no program"), name)
    end
  end)

  it("and of none that ends, or that a program may well wait for", function()
    for name in ("SIGTERM SIGKILL SIGQUIT SIGINT SIGHUP SIGUSR1 SIGWINCH SIGRTMIN+3"):gmatch "%S+" do
      assert.equal("", (warnings(name)))
    end
  end)
end)

describe("check warns of a job that is to be there and fails for good", function()
  after_each(boxes.check)

  local OTHER = 'pilot.job "other" { exec = "db", restart = "always" } '
  local CHECK = 'health = { exec = "fails" }'
  local function source(fields)
    return ('local migrate = pilot.job "migrate" { exec = "fails", %s } '):format(fields)
  end

  local FIRES = {
    ["before it is healthy"] = source(CHECK) .. OTHER .. app("pilot.startup", ALWAYS .. ", depends_on = { migrate }"),
    ["before it is healthy, as a trigger has it"] = source(CHECK) .. OTHER .. app('migrate:once "healthy"', ALWAYS),
    ["and is tried three times"] = source(CHECK .. ", restart = 3") .. OTHER .. app('migrate:once "healthy"', ALWAYS),
    ["when it cannot be started"] = OTHER .. source 'prepare = function() error "no" end'
      .. app("pilot.startup", ALWAYS .. ", depends_on = { migrate }"),
    ["two steps before"] = source(CHECK) .. OTHER
      .. 'pilot.job "seed" { exec = "works", depends_on = { migrate }, restart = "on_failure" } '
      .. app("pilot.startup", ALWAYS .. ', depends_on = { seed = "exit_success" }'),
  }
  for what, text in pairs(FIRES) do
    it(what, function()
      local names, nothing = judged(text:gsub("when = pilot.startup, ", ""))
      assert.is_true(nothing)
      assert.equal("migrate", names)
    end)
  end

  local WITH = source(CHECK)
  local NEEDS = app("pilot.startup", ALWAYS .. ", depends_on = { migrate }"):gsub("when = pilot.startup, ", "")
  local SILENT = {
    ["where nothing else keeps the pilot up"] = WITH .. NEEDS,
    ["where it is started again"] = source('health = { exec = "works" }, restart = "always"')
      :gsub('"fails"', '"sooner-or-later"') .. OTHER .. NEEDS,
    ["where it has no program"] = 'local migrate = pilot.job "migrate" { health = { exec = "works" } } ' .. OTHER
      .. NEEDS,
    ["where the job is main"] = WITH .. OTHER .. NEEDS:gsub("exec", "main = true, exec"),
    ["where a handler hears of its failure"] = WITH .. OTHER .. NEEDS .. 'migrate:on("exit_failed", ' .. CARED .. ")",
    ["where a task waits for it"] = WITH .. OTHER .. NEEDS
      .. 'pilot.spawn(function() if not migrate:wait_for "healthy" then pilot.shutdown(5) end end)',
  }
  for what, text in pairs(SILENT) do
    it("and is silent " .. what, function()
      local box = boxes.load(text)
      box:program("sooner-or-later", { { exit = 1 }, { exit = 1 }, {} })
      assert.equal("", warned(box))
      assert.is_false(serves_nothing(box))
      box:forget_errors()
      if not box.ended then box:stop() end
    end)
  end

  it("and says what helps", function()
    local box = boxes.load(WITH .. OTHER .. NEEDS)
    outlook.look(box.app)
    local warning = box.app.mistakes:warnings()[1]
    assert.equal('when it ends before it is healthy, job "app" never starts, and job "other" keeps the pilot alive: '
      .. 'with restart = "always" it is started again, with main = true in job "app" the pilot ends then',
      warning.message)
  end)
end)
