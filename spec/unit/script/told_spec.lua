-- What a file is told of its mistakes with words that came late, each message whole. Others are in config_spec,
-- meant_spec and cli_spec.
local boxes = require "support.boxes"
local outage = require "luapilot.consul.outage"

local EXACT = "expected a number below 2^53, up to which Lua's are exact, got a number: "
local RAW = 'needs mode = "lines": of a raw job nothing is read'
local TWO = ": expected one value, got a second one (a table): write "
local ENDS = 'listens for SIGWINCH, which ends the pilot (pilot.shutdown_signals): use pilot.on("shutdown", …)'

local DB = 'local db = pilot.job "db" { exec = "db", restart = "always" } '
local LIST = 'expected a list such as { "db" }, or a table such as { db = "healthy", migrate = "exit_success" }, '
local STATE = 'expected "running", "healthy" or "exit_success", '

-- A file, and what is said of its line 1.
local GOLDEN = {
  { 'pilot.job "a" { exec = "a", stop_mode = "leader" }',
    'job "a": stop_mode: expected "group" or "mixed", got a string: "leader"' },
  { 'pilot.job "a" { exec = "a", kill_mode = "mixed" }',
    'job "a": kill_mode: unknown field (did you mean "stop_mode"?)' },
  { 'pilot.job "a" { exec = "a", pidfile = "run/a.pid" }',
    'job "a": pidfile: expected an absolute path such as "/run/app.pid", got a string: "run/a.pid"' },
  { 'pilot.job "a" { exec = "a", pid_file = "/run/a.pid" }',
    'job "a": pid_file: unknown field (did you mean "pidfile"?)' },
  { 'pilot.job "a" { exec = "a", stdin = "close" }',
    'job "a": stdin: expected "null", "inherit" or "open", got a string: "close"' },
  { 'pilot.job "a" { exec = "a", stdin = "inherit" } pilot.job "b" { exec = "b", stdin = "inherit" }',
    'job "b": stdin: is "inherit", as that of job "a": only one job can have the standard input of the container' },
  { 'pilot.job "a" { exec = "a", log = 5 }',
    'job "a": log: expected "lines", "raw", "none" or a table such as { level = "warn" }, got a number: 5' },
  { 'pilot.job "a" { exec = "a", log = "/log/a" }',
    'job "a": log: expected "lines", "raw", "none" or a table, got a string: "/log/a"; '
      .. 'write log = { file = "/log/a" }' },
  { 'pilot.job "a" { exec = "a", log = { mode = "raw", merge = true, parse = "json", level_from = "level" } }',
    'job "a": log.merge: ' .. RAW, 'job "a": log.parse: ' .. RAW },
  { 'pilot.job "a" { exec = "a", log = { parse = "logfmt", level_from = 5, merge = 1 } }',
    'job "a": log.level_from: expected a string, got a number: 5',
    'job "a": log.merge: expected true or false, got a number: 1',
    'job "a": log.parse: expected "json", got a string: "logfmt"' },
  { 'pilot.job "a" { exec = "a", log = { level_from = "level" } }',
    'job "a": log.level_from: needs parse = "json": it names a field of what is parsed' },
  { 'pilot.job "a" { exec = "a", env = { K = 2^53, L = -1e300, M = 0/0 } }',
    'job "a": env.K: ' .. EXACT .. "9007199254740992; write it as a string",
    'job "a": env.L: ' .. EXACT .. "-1e+300; write it as a string",
    'job "a": env.M: ' .. EXACT .. "nan" },
  { 'pilot.job "a" { exec = "a", service = { port = 1 } } pilot.job "b" { exec = "b", service = { name = "a" } }',
    'job "b": service: has the id "a-<hostname>", as job "a".service has: give it another name, or an id of its own' },
  { 'pilot.shutdown_signals "SIGWINCH"', 'pilot.shutdown_signals: expected a list of signals such as '
    .. '{ "SIGWINCH", "SIGRTMIN+3" }, got a string: "SIGWINCH"' },
  { 'pilot.shutdown_signals { "SIGKILL", "SIGWINCHH", 5 }',
    "pilot.shutdown_signals[1]: SIGKILL never reaches pilot.lua: something below takes it",
    'pilot.shutdown_signals[2]: unknown signal "SIGWINCHH" (did you mean "SIGWINCH"?)',
    'pilot.shutdown_signals[3]: expected a signal such as "SIGTERM", got a number: 5' },
  { 'pilot.shutdown_signals { "SIGWINCH" } pilot.job "a" { exec = "a", when = pilot.once "SIGWINCH" }',
    'job "a": when: ' .. ENDS },
  { 'pilot.shutdown_signals { "SIGWINCH" } pilot.on("SIGWINCH", print)',
    'pilot.on "SIGWINCH": ' .. ENDS },
  { 'pilot.shutdown_signals { "SIGTERM" } pilot.on("SIGTERM", print) '
    .. 'pilot.job "a" { exec = "a", when = pilot.each "SIGINT" }',
    'on("SIGTERM"): this signal ends the pilot: use pilot.on("shutdown", …)',
    'each("SIGINT"): the pilot ends with it, and starts nothing any more: use pilot.on("shutdown", …)' },
  { 'pilot.job "a" { exec = "a", stop_signal = "SIGSTOP" }',
    'job "a": stop_signal: SIGSTOP ends no program: expected a signal that does, such as "SIGTERM"' },
  { 'pilot.job("a", { exec = "a" })',
    'pilot.job' .. TWO .. 'pilot.job "a" { … }, without a comma' },
  { 'pilot.template("/x", { text = "" })',
    'pilot.template' .. TWO .. 'pilot.template "/x" { … }, without a comma' },
  { 'pilot.watch("db", { keep_last = true })',
    'pilot.watch' .. TWO .. 'pilot.watch "db" { … }, without a comma' },
  { 'pilot.watch.key("k", { dc = "b" })',
    'pilot.watch.key' .. TWO .. 'pilot.watch.key "k" { … }, without a comma' },
  { 'pilot.template "/x" { text = "", watch = "db" }',
    'template "/x": watch: expected a watch, or a list of them, got a string: "db"; write pilot.watch "db"' },
  { 'pilot.template "/x" { text = "", watch = 5 }',
    'template "/x": watch: expected a watch, or a list of them, got a number: 5' },
  { DB .. 'pilot.job "a" { exec = "a", depends_on = { "a", "dbb", db, "db", 5, [true] = "healthy" } }',
    'job "a": depends_on[4]: job "db" is named twice: leave one of them out',
    'job "a": depends_on[5]: expected the name of a job such as "db", or the job, got a number: 5',
    'job "a": depends_on[true]: expected the name of a job such as "db", or the job as the key, got a boolean: true',
    'job "a": depends_on[1]: is the job itself, which can then never start: leave it out',
    'job "a": depends_on[2]: there is no job "dbb" (did you mean "db"?): name one that this file describes' },
  { DB .. 'pilot.job "a" { exec = "a", depends_on = "db" } pilot.job "b" { exec = "b", depends_on = db }',
    'job "a": depends_on: ' .. LIST .. 'got a string: "db"; write depends_on = { "db" }',
    'job "b": depends_on: ' .. LIST .. 'got a job; write depends_on = { "db" }' },
  { DB .. 'pilot.job "a" { exec = "a", depends_on = { db = "helthy" } } '
    .. 'pilot.job "b" { exec = "b", depends_on = { [db] = "service_started" } } '
    .. 'pilot.job "c" { exec = "c", depends_on = { db = 5 } } '
    .. 'pilot.job "s" { exec = "s", depends_on = { db = "stopped" } } '
    .. 'pilot.job "d" { exec = "d", depends_on = { pilot } }',
    'job "a": depends_on.db: ' .. STATE .. 'got a string: "helthy"; did you mean "healthy"?',
    'job "b": depends_on.db: ' .. STATE .. 'got a string: "service_started"; did you mean "running"?',
    'job "c": depends_on.db: ' .. STATE .. "got a number: 5",
    'job "s": depends_on.db: ' .. STATE .. 'got a string: "stopped"',
    'job "d": depends_on[1]: expected the name of a job such as "db", or the job, got a luapilot library' },
  { DB .. 'pilot.job "a" { exec = "a", depends_on = { db = "healthy" } } '
    .. 'pilot.job "b" { exec = "b", depends_on = { db = "exit_success" } } '
    .. 'pilot.job "c" { service = { port = 1 } } pilot.job "d" { exec = "d", depends_on = { c = "exit_success" } }',
    'job "a": depends_on.db: waits for "healthy" of job "db", which has no health check: give it health = { … }, or '
    .. 'wait for "running"',
    'job "b": depends_on.db: waits for "exit_success" of job "db", which is started again whenever it ends (restart = '
    .. '"always"): wait for "running" or "healthy", or give it restart = "on_failure"',
    'job "d": depends_on.c: waits for "exit_success" of job "c", which has no program that ends: wait for "healthy" or '
    .. '"running"' },
  -- what others say of a job may follow from a mistake of its own
  { 'pilot.job "a" { exec = "x | y" } pilot.job "b" { exec = "b", health = { tpc = "x:1" } } local r = pilot.job "r" '
    .. '{ exec = "r", reload = 5 } pilot.job "c" { exec = "c", depends_on = { a = "exit_success", b = "healthy" } } '
    .. 'pilot.job "d" { exec = "d", depends_on = "a", bind = true, when = pilot.job "b":once "healthy" } '
    .. 'pilot.job "e" { exec = "e", drain = "1s", service = 5 } pilot.on("SIGHUP", function() r:reload() end)',
    'job "a": exec: | at column 3 is a pipe, and there is no shell here: write pilot.sh "…" to use one, or a list of '
    .. 'words { "a", "b" } for the literal text',
    'job "b": health.tpc: unknown field (did you mean "tcp"?)',
    'job "b": health: checks nothing: it needs one of http, tcp, exec, check, notify',
    'job "r": reload: expected a signal such as "SIGHUP", or a function, got a number: 5',
    'job "d": depends_on: ' .. LIST .. 'got a string: "a"; write depends_on = { "a" }',
    'job "e": service: expected a table such as { port = 8000 }, or a list of them, got a number: 5; write service = '
    .. '{ port = 5 }' },
  { 'local a = pilot.job "a" { exec = "a", bind = true } pilot.job "b" { exec = "b", depends_on = {}, bind = true } '
    .. 'pilot.job "c" { exec = "c", depends_on = { [a] = "exit_success" }, bind = true }',
    'job "a": bind: needs depends_on: it is stopped and started with those, such as { "db" }',
    'job "b": bind: needs depends_on: it is stopped and started with those, such as { "db" }',
    'job "c": bind: has nobody to be bound to: all of depends_on are to end ("exit_success"); leave it out, or depend '
    .. 'on a job that runs' },
  { 'pilot.job "a" { exec = "a", after = { "b" }, part_of = true } pilot.job "b" { exec = "b" }',
    'job "a": after: unknown field (did you mean "depends_on"?)',
    'job "a": part_of: unknown field (did you mean "bind"?)' },
  { 'pilot.job "a" { exec = "a", depends_on = { "b" } } pilot.job "b" { exec = "b", depends_on = { "a" } } '
    .. 'pilot.job "c" { exec = "c", depends_on = { "a" } }',
    'job "a": depends_on: a cycle: a (depends_on) waits for b (depends_on) waits for a; none of them can ever start' },
  { 'local a = pilot.job "a" pilot.job "b" { exec = "b", when = a:once "exit_success" } '
    .. 'a { exec = "a", depends_on = { "b" } }',
    'job "b": when: a cycle: b (when) waits for a (depends_on) waits for b; none of them can ever start' },
  { 'local a, b = pilot.job "a", pilot.job "b" b { exec = "b", when = a:once "stopped" } '
    .. 'a { exec = "a", when = pilot.any { pilot.once "startup", b:once "stopped" }, depends_on = { "c" } } '
    .. 'pilot.job "c" { exec = "c", depends_on = { "a" } }',
    'job "a": depends_on: a cycle: a (depends_on) waits for c (depends_on) waits for a; none of them can ever start' },
}

describe("a mistake is told whole:", function()
  after_each(boxes.check)

  for _, row in ipairs(GOLDEN) do
    it(row[1], function()
      local expected = {}
      for i = 2, #row do expected[i - 1] = "pilot.lua:1: " .. row[i] end
      local message = boxes.mistakes(row[1]):match "has mistakes:(\n.*)$":gsub("\n[^\n]*seed.*", "")
      assert.equal(table.concat(expected, "\n"), (message:gsub("\n  ", "\n"):sub(2)))
    end)
  end

  it("a certificate that is wrong, of a Consul that was away before", function()
    local said = {}
    local away = outage.new {
      port = { now = function() return 0 end }, log = function(_, ...) said[#said + 1] = { ... } end,
    }
    away:failed("one", "connection refused", "ECONNREFUSED")
    away:failed("two", "certificate has expired", "ECERT")
    away:failed("two", "certificate has expired", "ECERT")
    assert.equal(2, #said)
    local goes_on = "; jobs run on, what is known stays, and it is asked again"
    assert.equal("Consul is away: connection refused" .. goes_on, said[1][2])
    assert.equal("Consul is still away: certificate has expired" .. goes_on, said[2][2])
    assert.equal("consul_away", said[2][4])
  end)

  it("pilot.shutdown_signals in a handler", function()
    local box = boxes.run [[ pilot.on("startup", function() pilot.shutdown_signals { "SIGWINCH" } end) ]]
    box:advance "1s"
    local said = box:forget_errors()[1]
    assert.matches("pilot.shutdown_signals only declares: call it at the top level of the file", said, 1, true)
  end)
end)
