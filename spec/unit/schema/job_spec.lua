local job_schema = require "luapilot.schema.job"
local option_schema = require "luapilot.schema.options"
local mistakes = require "luapilot.base.mistakes"


local function lines(found)
  local result = {}
  for i, mistake in ipairs(found:list()) do result[i] = mistakes.format(mistake) end
  return result
end

---The normalised job; fails on any mistake.
local function job(options, ctx)
  local found = mistakes.new()
  local spec = job_schema.job("app", options, "pilot.lua:12", found, ctx)
  assert.same({}, lines(found))
  return spec
end

---The mistakes about a job, without the "pilot.lua:12: job "app": " in front.
local function wrong(options, ctx)
  local found = mistakes.new()
  local spec = job_schema.job("app", options, "pilot.lua:12", found, ctx)
  assert.is_table(spec.health)
  assert.is_table(spec.restart)
  local result = lines(found)
  for i, line in ipairs(result) do result[i] = line:gsub('^pilot%.lua:12: job "app": ', "") end
  return result
end

describe("schema.job", function()
  it("fills in the defaults", function()
    assert.same({
      name = "app", where = "pilot.lua:12", exec = { "node", "server.js" },
      restart = { policy = "never", backoff = 1, max_backoff = 60, reset_after = 60 },
      stop_signal = "SIGTERM", stop_timeout = 10, stop_mode = "group", main = false, health = {}, env = {},
      env_clear = false, limits = {}, no_new_privs = false, log = { mode = "lines", level = "info", prefix = true },
    }, job { exec = "node server.js" })
  end)

  it("normalises everything", function()
    local run, prepare, reload = function() end, function() end, function() end
    local trigger = {}
    assert.same({
      name = "app", where = "pilot.lua:12", run = run, prepare = prepare, when = trigger,
      restart = { policy = "always", count = 3, backoff = 1, max_backoff = 60, reset_after = 60 },
      timeout = 50, stop_signal = "SIGINT", stop_timeout = 5, stop_mode = "mixed", drain = 2, reload = reload,
      main = true, pidfile = "/run/app.pid",
      health = { {
        kind = "tcp", tcp = "localhost:80", interval = 5, interval_given = true, timeout = 4, ttl = 15,
          rise = 2,
        fall = 4, start_period = 10, restart_after = 6, path = "health",
      } },
      service = { {
        port = 80, tags = {}, meta = {}, weights = { passing = 1, warning = 1 }, interfaces = { "eth0:inet", "inet" },
        enable_tag_override = false, path = "service",
      } }, env = { PORT = "8000" }, env_file = "/etc/env", env_clear = true, cwd = "/srv",
      user = "app", group = 100, umask = 23, limits = { nofile = { 1, 2 } }, no_new_privs = true,
      oom_score_adj = -5, cgroup = { memory_max = 256 * 1024 ^ 2, cpu_max = 0.5, pids_max = 9 },
      log = { mode = "raw", level = "warn", prefix = false, file = "/log" }, stdin = "open",
    }, job({
      run = run, prepare = prepare, when = trigger, restart = 3, timeout = "50s", stop_signal = "SIGINT",
      stop_mode = "mixed", pidfile = "/run/app.pid",
      stop_timeout = "5s", drain = "2s", reload = reload, main = true,
      health = { tcp = "localhost:80", interval = "5s", timeout = "4s", rise = 2, fall = 4,
        start_period = "10s",
        restart_after = 6 },
      service = { port = 80 }, env = { PORT = 8000 }, env_file = "/etc/env", env_clear = true, cwd = "/srv",
      user = "app", group = 100, umask = "027", limits = { nofile = { 1, 2 } }, no_new_privs = true,
      oom_score_adj = -5, cgroup = { memory_max = "256M", cpu_max = 0.5, pids_max = 9 },
      log = { mode = "raw", level = "warn", prefix = false, file = "/log" }, stdin = "open",
    }))
  end)

  it("takes the short forms", function()
    assert.same({ mode = "raw", level = "info", prefix = true }, job({ exec = "x", log = "raw" }).log)
    assert.same({ mode = "lines", level = "warn", prefix = true }, job({ exec = "x",
      log = { level = "warn" } }).log)
    assert.equal("SIGHUP", job({ exec = "x", reload = "SIGHUP" }).reload)
    assert.equal("manual", job({ exec = "x", when = "manual" }).when)
    local when = function() end
    assert.equal(when, job({ exec = "x", when = when }).when)
  end)

  it("normalises a list of checks", function()
    local check = function() end
    local health = job({ exec = "x", health = { { exec = "true" }, { check = check, interval = 2 },
      { notify = true } } })
      .health
    assert.same({
      { kind = "exec", exec = { "true" }, interval = 10, interval_given = false, timeout = 10, ttl = 30,
        rise = 1,
        fall = 3, start_period = 0, path = "health[1]" },
      { kind = "check", check = check, interval = 2, interval_given = true, timeout = 2, ttl = 6, rise = 1,
        fall = 3, start_period = 0, path = "health[2]" },
      { kind = "notify", notify = true, interval = 10, interval_given = false, timeout = 10, ttl = 30,
        rise = 1,
        fall = 3, start_period = 0, path = "health[3]" },
    }, health)
  end)

  it("names the path of a check also in a job called health", function()
    local found = mistakes.new()
    local spec = job_schema.job("health", { exec = "x", health = { notify = true } }, nil, found)
    assert.equal("health", spec.health[1].path)
  end)

  it("accepts a job that only checks, or only registers", function()
    assert.equal(1, #job({ health = { tcp = "db:5432" } }).health)
    assert.equal(80, job({ service = { port = 80 } }).service[1].port)
  end)

  it("has a ttl that Consul can count", function()
    for field, check in pairs { ttl = { ttl = 1e11 }, interval = { interval = 1e10 } } do
      check.tcp = "db:1"
      assert.same({ ("health.%s: is longer than Consul can count: 292 years"):format(field) },
        wrong { exec = "a", health = check })
    end
    assert.equal(9e9, job({ exec = "a", health = { tcp = "db:1", ttl = 9e9 } }).health[1].ttl)
  end)

  it("reports every mistake in one run", function()
    assert.same({
      'env.B: expected a string or a number, got a boolean: true; write "true"',
      'exec: | at column 3 is a pipe, and there is no shell here: write pilot.sh "…" to use one, '
        .. 'or a list of words { "a", "b" } for the literal text',
      "health[2].timeout: 20s is longer than the interval (10s): checks would overlap",
      'log.level: expected "debug", "info", "warn" or "error", got a string: "inf"; did you mean "info"?',
      'pidfile: expected an absolute path such as "/run/app.pid", got a string: "run/"',
      'restart.limt: unknown field (did you mean "limit"?)',
      'stop_mode: expected "group" or "mixed", got a string: "mixd"; did you mean "mixed"?',
      'stop_signal: unknown signal "TERM" (did you mean "SIGTERM"?)',
      'timeout: "5" has no unit: write "5s" for seconds (or "5ms", "5m", "5h")',
      'intervall: unknown field',
      'restarts: unknown field (did you mean "restart"?)',
    }, wrong {
      exec = "a | b", env = { B = true }, health = { { tcp = "db:1" }, { tcp = "db:2", timeout = "20s" } },
      log = { level = "inf" }, restart = { limt = 5 }, stop_signal = "TERM", timeout = "5", intervall = 5,
        restarts = 3, stop_mode = "mixd", pidfile = "run/",
    })
  end)

  it("finds what a job lacks, and what excludes itself", function()
    assert.same({ 'has nothing to do: give it exec = { "program" } or run = function(job) … end '
      .. "(only a job with service or health may have neither)" }, wrong {})
    assert.same({ "run: a job has exec (a program) or run (a Lua function), not both" },
      wrong { exec = "x", run = print })
    assert.same({ "reload: there is no process to signal: write reload = function(job) … end" },
      wrong { run = print, reload = "SIGHUP" })
    assert.same({ "drain: needs service: it is the time between deregistering and stop_signal" },
      wrong { exec = "x", drain = "5s" })
    assert.same({ 'exec[2] is nil, but exec[3] is "x": a variable misspelt or set later, '
      .. 'or os.getenv for pilot.env?' },
      { (wrong({ exec = { "a", nil, "x" } })[1]:gsub("^exec: ", "")) })
  end)

  it("knows the words of other tools", function()
    local policies = 'expected "always", "on_failure", "never", a number of restarts, or a table such as '
      .. '{ policy = "always", backoff = "1s" }, got a string: '
    assert.same({
      'log: expected "lines", "raw", "none" or a table, got a string: "/var/log/app.log"; '
        .. 'write log = { file = "/var/log/app.log" }',
      "restart: " .. policies .. '"unlimited"; write restart = "always"',
      'tags: unknown field (did you mean "service"?)',
    }, wrong { exec = "x", log = "/var/log/app.log", restart = "unlimited", tags = {} })
    assert.same({ "restart: " .. policies .. '"3"; write restart = 3' }, wrong { exec = "x", restart = "3" })
  end)

  it("says what it expected of a check", function()
    assert.same({ "health: checks nothing: it needs one of http, tcp, exec, check, notify" },
      wrong { exec = "x", health = {} })
    assert.same({ "health: has tcp and exec: write a list of checks, each with one of them" },
      wrong { exec = "x", health = { tcp = "db:1", exec = "y" } })
    assert.same({ 'health: expected a check such as { tcp = "localhost:80" }, or a list of checks, '
      .. 'got a string: "localhost:80"; write health = { tcp = "localhost:80" }' },
      wrong { exec = "x", health = "localhost:80" })
    assert.same({ "health.notify: expected true (or leave it out), got a boolean: false" },
      wrong { exec = "x", health = { notify = false } })
    assert.same({ "health.rise: expected a whole number from 1, got a number: 0" },
      wrong { exec = "x", health = { notify = true, rise = 0 } })
    assert.same({ "health.interval: must be longer than 0" },
      wrong { exec = "x", health = { notify = true, interval = 0 } })
    assert.same({ "health.tcp: expected a list of checks only, got a named field" },
      wrong { exec = "x", health = { { notify = true }, tcp = "db:1" } })
    assert.same({ 'health.intervall: unknown field (did you mean "interval"?)' },
      wrong { exec = "x", health = { notify = true, intervall = "5s" } })
  end)

  it("says what it expected of other fields", function()
    assert.same({ 'when: expected a trigger such as db:once "healthy", "manual" or a function, '
      .. 'got a string: "healthy"; write when = pilot.job("name"):once "healthy"' },
      wrong { exec = "x", when = "healthy" })
    assert.same({ 'reload: expected a signal such as "SIGHUP", or a function, got a boolean: true; '
      .. 'write reload = "SIGHUP"' },
      wrong { exec = "x", reload = true })
    assert.same({ 'main: expected true or false, got a string: "yes"' }, wrong { exec = "x", main = "yes" })
    assert.same({ "prepare: expected a function, got a number: 5" }, wrong { exec = "x", prepare = 5 })
    assert.same({ "oom_score_adj: expected a whole number from -1000 to 1000, got a number: 5000" },
      wrong { exec = "x", oom_score_adj = 5000 })
    assert.same({ "cgroup.cpu_max: expected a number above 0, got a number: 0" },
      wrong { exec = "x", cgroup = { cpu_max = 0 } })
    assert.same({ 'cgroup: expected a table such as { memory_max = "256M" }, got a string: "256M"; '
      .. 'write cgroup = { memory_max = "256M" }' }, wrong { exec = "x", cgroup = "256M" })
    assert.same({ 'log: expected "lines", "raw", "none" or a table such as { level = "warn" }, '
      .. 'got a boolean: false; write log = "none"' },
      wrong { exec = "x", log = false })
    assert.same({ 'log.merge: expected true or false, got a string: "yes"' },
      wrong { exec = "x", log = { merge = "yes" } })
    assert.same({ 'log.merge: needs mode = "lines": of a raw job nothing is read' },
      wrong { exec = "x", log = { mode = "raw", merge = true } })
    assert.same({ 'log.parse: needs mode = "lines": of a raw job nothing is read' },
      wrong { exec = "x", log = { mode = "raw", parse = "json" } })
    assert.same({ 'log.level_from: needs parse = "json": it names a field of what is parsed' },
      wrong { exec = "x", log = { level_from = "level" } })
    assert.same({ 'log.parse: expected "json", got a string: "xml"' }, wrong { exec = "x", log = { parse = "xml" } })
    assert.same({ mode = "lines", level = "info", prefix = true, merge = true, parse = "json", level_from = "at" },
      job({ exec = "x", log = { merge = true, parse = "json", level_from = "at" } }).log)
    assert.same({ 'cmd: unknown field (did you mean "exec"?)' }, wrong { exec = "x", cmd = "y" })
    assert.same({ '[1]: expected only named fields, got a string: "nginx"' }, wrong { "nginx", exec = "x" })
    assert.same({ "expected a table of fields, got a string: \"nginx\"" }, wrong "nginx")
  end)

  it("reads a check by HTTP", function()
    local url = { scheme = "http", host = "localhost", path = "/health" }
    assert.same({ url = url, method = "GET", headers = {}, status = { { 200, 399 } } },
      job({ exec = "x", health = { http = "http://localhost/health" } }).health[1].http)
    local check = job { exec = "x", health = { http = {
      url = "http://localhost/health", method = "POST", headers = { A = 1 }, body = "x", status = "200,301-302",
      tls = { verify = false },
    } } }
    assert.same({
      url = url, method = "POST", headers = { A = "1" }, body = "x", status = { { 200, 200 }, { 301, 302 } },
      tls = { verify = false },
    }, check.health[1].http)
    local message = 'health.http: expected a URL or a table such as { url = "http://localhost/" }, got a number: 80'
    assert.same({ message }, wrong { exec = "x", health = { http = 80 } })
    assert.same({ 'health.http: has no url: write url = "http://localhost/health"' },
      wrong { exec = "x", health = { http = {} } })
    assert.same({ 'health.http.stauts: unknown field (did you mean "status"?)' },
      wrong { exec = "x", health = { http = { url = "http://x/", stauts = 200 } } })
    assert.same({ 'health.http.status: expected a status such as 200 or "200-399", got a string: "2xx"' },
      wrong { exec = "x", health = { http = { url = "http://x/", status = "2xx" } } })
  end)

  describe("names", function()
    local function named(name, options)
      local found = mistakes.new()
      local spec = job_schema.job(name, options, nil, found)
      return spec.name, lines(found)
    end
    local RULE = 'expected a name of letters, digits and "-" that begins with a small letter, got '

    it("come first or as a field", function()
      assert.same({ "app", {} }, { named("app", { exec = "x" }) })
      assert.same({ "app", {} }, { named(nil, { name = "app", exec = "x" }) })
    end)

    it("are checked", function()
      assert.same({ "App", { 'job.name: ' .. RULE .. 'a string: "App"; write "app"' } }, { named("App",
        { exec = "x" }) })
      assert.same({ nil, { "job.name: " .. RULE .. "a number: 5" }, n = 2 }, { n = 2, named(5,
        { exec = "x" }) })
      assert.same({ nil, { 'job: has no name: write pilot.job "app" { … }, or name = "app"' }, n = 2 },
        { n = 2, named(nil, { exec = "x" }) })
      assert.same({ "app", { 'job.name: the job is named "app" already: leave this field out' } },
        { named("app", { name = "app", exec = "x" }) })
    end)
  end)
end)

describe("schema.options", function()
  local function read(reader, options)
    local found = mistakes.new()
    local result = reader(options, 'handler "changed"', "pilot.lua:3", found)
    return result, lines(found)
  end

  local function refused(reader, options) return select(2, read(reader, options))[1] end

  it("of handlers and triggers", function()
    for _, reader in ipairs { option_schema.handler_options, option_schema.trigger_options } do
      assert.same({ {}, {} }, { read(reader, nil) })
      assert.same({ { when_busy = "latest", settle = 1, max_wait = 4, timeout = 30 }, {} },
        { read(reader, { when_busy = "latest", settle = "1s", timeout = "30s" }) })
      assert.same({ { settle = 1, max_wait = 5 }, {} }, { read(reader, { settle = "1s", max_wait = "5s" }) })
    end
    local reader = option_schema.handler_options
    assert.equal('pilot.lua:3: handler "changed": when_busy: expected "queue", "latest", "drop", "restart" '
      .. 'or "parallel", got a string: "lastest"; did you mean "latest"?', refused(reader,
        { when_busy = "lastest" }))
    assert.equal('pilot.lua:3: handler "changed": max_wait: needs settle: it bounds how long settle may wait',
      refused(reader, { max_wait = "1s" }))
    assert.equal('pilot.lua:3: handler "changed": max_wait: 1s is shorter than settle (2s)',
      refused(reader, { settle = "2s", max_wait = "1s" }))
    assert.equal('pilot.lua:3: handler "changed": expected a table such as { settle = "1s" }, got a function',
      refused(reader, print))
    assert.same({}, (read(reader, print)))
  end)

  it("of cron", function()
    assert.same({ { jitter = 300 }, {} }, { read(option_schema.cron_options, { jitter = "5m" }) })
    assert.same({ { jitter = 0 }, {} }, { read(option_schema.cron_options, nil) })
  end)

  it("of logging", function()
    assert.same({ { level = "info", format = "default", output = "stdout" }, {} }, { read(option_schema.logging,
      nil) })
    assert.same({ { level = "warn", format = "json", output = "/log" }, {} },
      { read(option_schema.logging, { level = "warn", format = "json", output = "/log" }) })
    assert.equal('pilot.lua:3: handler "changed": output: expected "stdout", "stderr" or an absolute path, '
      .. 'got a string: "log"', refused(option_schema.logging, { output = "log" }))
  end)

  it("of exec", function()
    assert.same({ { check = true, env = {}, limits = {}, no_new_privs = false, max_output = 1024 ^ 2 }, {} },
      { read(option_schema.exec_options, nil) })
    assert.same({ { check = false, env = { A = "1" }, cwd = "/", user = "app", stdin = "", timeout = 30,
      max_output = 65536, group = "web", umask = 23, limits = { nofile = { 64, 64 } }, no_new_privs = true,
      log = { as = "backup", level = "warn", prefix = true } }, {} },
      { read(option_schema.exec_options, { check = false, env = { A = 1 }, cwd = "/", user = "app", stdin = "",
      timeout = "30s", max_output = "64K", group = "web", umask = "027", limits = { nofile = 64 }, no_new_privs = true,
      log = { as = "backup", level = "warn" } }) })
    local function log_refused(log) return refused(option_schema.exec_options, { log = log }):match ": (log.*)" end
    assert.equal('log: has no name for the log: give it as = "backup", such as the name of a job', log_refused {})
    assert.equal('log.as: expected a name of letters, digits and "-" that begins with a small letter, got a string: '
      .. '"A b"; write "a-b"', log_refused { as = "A b" })
    assert.equal('log: expected "none" or a table such as { as = "backup" }, got a string: "lines"',
      log_refused "lines")
    assert.equal('log.level_from: needs parse = "json": it names a field of what is parsed',
      log_refused { as = "a", level_from = "level" })
    assert.equal('pilot.lua:3: handler "changed": stdin: expected a string, got a number: 5',
      refused(option_schema.exec_options, { stdin = 5 }))
    assert.equal('pilot.lua:3: handler "changed": tiemout: unknown field (did you mean "timeout"?)',
      refused(option_schema.exec_options, { tiemout = 5 }))
  end)
end)
