-- What a value of the wrong shape was probably meant to be: the messages, as they stand.
local boxes = require "support.boxes"

-- The mistakes of a job with this field.
local function mistakes_of(field)
  local text = boxes.mistakes(('pilot.job "a" { %s %s }'):format(field:find "^run =" and "" or 'exec = "a",', field))
  return text:match "has mistakes:\n(.*)$":gsub("\n.*seed.*", ""):gsub("^  ", "")
end

local CHECK = 'expected a check such as { tcp = "localhost:80" }, or a list of checks, got '
local TRIGGER = 'expected a trigger such as db:once "healthy", "manual" or a function, got '

local GOLDEN = {
  { 'health = "http://localhost/x"',
    CHECK .. 'a string: "http://localhost/x"; write health = { http = "http://localhost/x" }' },
  { 'health = "localhost:80"', CHECK .. 'a string: "localhost:80"; write health = { tcp = "localhost:80" }' },
  { 'health = "[::1]:80"', CHECK .. 'a string: "[::1]:80"; write health = { tcp = "[::1]:80" }' },
  { 'health = "tcp://db:5432"', CHECK .. 'a string: "tcp://db:5432"; write health = { tcp = "db:5432" }' },
  { 'health = "pg_isready -q"', CHECK .. 'a string: "pg_isready -q"; write health = { exec = "pg_isready -q" }' },
  { "health = 8080", CHECK .. 'a number: 8080; write health = { tcp = "localhost:8080" }' },
  { "health = function() end", CHECK .. "a function; write health = { check = function(job) … end }" },
  { "health = true",
    CHECK .. "a boolean: true; write health = { notify = true }, if the program says READY=1 by sd_notify" },
  { 'health = { "curl", "-f", "x" }',
    'expected a check, or a list of checks, got a string: "curl"; write health = { exec = { "curl", … } }' },
  { 'health = { "true" }',
    'expected a check, or a list of checks, got a string: "true"; write health = { exec = { "true" } }' },
  { 'health = { { notify = true }, "db:1" }', CHECK .. 'a string: "db:1"; write { tcp = "db:1" }' },
  { 'stop_grace_period = "5s"', 'unknown field (did you mean "stop_timeout"?)' },
  { "volumes = {}", "unknown field: it is the container's (docker run, compose.yaml), not a job's" },
  { 'when = "healthy"', TRIGGER .. 'a string: "healthy"; write when = pilot.job("name"):once "healthy"' },
  { 'when = "startup"', TRIGGER .. 'a string: "startup"; leave it out: it starts with the pilot' },
  { "when = true", TRIGGER .. "a boolean: true; leave it out: it starts with the pilot" },
  { "when = false", TRIGGER .. 'a boolean: false; write when = "manual"' },
  { 'when = "db"', TRIGGER .. 'a string: "db"; write when = pilot.job("db"):once "healthy"' },
  { "when = 60", TRIGGER .. "a number: 60; write when = pilot.every(60)" },
  { 'when = "60s"', TRIGGER .. 'a string: "60s"; write when = pilot.every "60s"' },
  { 'when = "0 3 * * *"', TRIGGER .. 'a string: "0 3 * * *"; write when = pilot.cron "0 3 * * *"' },
  { 'when = "Whatever it is"', TRIGGER .. 'a string: "Whatever it is"' },
  { 'service = "web"',
    'expected a table such as { port = 8000 }, or a list of them, got a string: "web"; '
      .. 'write service = { name = "web" }' },
  { "service = 80",
    "expected a table such as { port = 8000 }, or a list of them, got a number: 80; write service = { port = 80 }" },
  { 'env = "A=1"', 'expected a table such as { PORT = "8000" }, got a string: "A=1"; write env = { A = "1" }' },
  { 'env_file = { "a" }', "expected a string, got a table; a job has one: write its path" },
  { "log = false", 'expected "lines", "raw", "none" or a table such as { level = "warn" }, got a boolean: false; '
    .. 'write log = "none"' },
  { 'log = "json"', 'expected "lines", "raw" or "none", got a string: "json"; write log = { parse = "json" }' },
  { 'cgroup = "256M"',
    'expected a table such as { memory_max = "256M" }, got a string: "256M"; write cgroup = { memory_max = "256M" }' },
  { "reload = true",
    'expected a signal such as "SIGHUP", or a function, got a boolean: true; write reload = "SIGHUP"' },
  { 'reload = "nginx -s reload"', 'unknown signal "nginx -s reload"; '
    .. 'write reload = function() pilot.exec("nginx -s reload") end' },
  { 'reload = { "nginx", "-s", "reload" }', 'expected a signal such as "SIGHUP", or a function, got a table; '
    .. 'write reload = function() pilot.exec({ "nginx", … }) end' },
  { 'prepare = "mkdir x"', 'expected a function, got a string: "mkdir x"; '
    .. 'write prepare = function() pilot.exec("mkdir x") end' },
  { 'run = "server"', 'expected a function, got a string: "server"; write exec = "server"' },
  -- what nobody can guess, or is said already
  { "health = pilot", CHECK .. "a luapilot library" },
  { "reload = pilot", 'expected a signal such as "SIGHUP", or a function, got a luapilot library' },
  { 'env = setmetatable({}, { __name = "x", __tostring = error, __index = error })',
    'expected a table such as { PORT = "8000" }, got a x' },
  { "service = true", "expected a table such as { port = 8000 }, or a list of them, got a boolean: true" },
  { "prepare = 5", "expected a function, got a number: 5" },
  { 'stop_signal = "term"', 'unknown signal "term" (did you mean "SIGTERM"?)' },
  { 'reload = "hup"', 'unknown signal "hup" (did you mean "SIGHUP"?)' },
  { 'cgroup = "much"', 'expected a table such as { memory_max = "256M" }, got a string: "much"' },
}

describe("a field of the wrong shape:", function()
  for _, row in ipairs(GOLDEN) do
    it(row[1], function()
      local field = row[1]:match "^[%a_]+"
      local index = row[1]:find "db:1" and "%[2%]" or ""
      local prefix = ('^pilot.lua:1: job "a": %s%s: '):format(field, index)
      local found = mistakes_of(row[1])
      assert.matches(prefix, found)
      assert.equal(row[2], (found:gsub(prefix, "")))
    end)
  end
end)

describe("a field of a check that nobody knows", function()
  after_each(boxes.check)

  it("may be that of another tool", function()
    local UNKNOWN = 'pilot.lua:1: job "a": health%s: unknown field%s'
    assert.equal(UNKNOWN:format(".test", ' (did you mean "exec"?)') .. '\n  pilot.lua:1: job "a": health: checks '
      .. "nothing: it needs one of http, tcp, exec, check, notify", (mistakes_of "health = { test = 'x' }"))
    assert.equal(UNKNOWN:format("[1].period", ' (did you mean "interval"?)'),
      (mistakes_of "health = { { tcp = 'a:1', period = 5 } }"))
    assert.equal(UNKNOWN:format(".volumes", ""), (mistakes_of "health = { notify = true, volumes = 5 }"))
  end)
end)

describe("a name that a library does not have", function()
  local CASES = {
    ["pilot.fs.lsit"] = 'pilot.fs has no "lsit" (did you mean "list"?)',
    ["pilot.http.gett"] = 'pilot.http has no "gett" (did you mean "get"?)',
    ["pilot.http.patch"] = 'pilot.http has no "patch" (valid: "delete", "get", "post", "put", "request", "stream")',
    ["pilot.net.conect"] = 'pilot.net has no "conect" (did you mean "connect"?)',
    ["pilot.net.listen"] = 'pilot.net has no "listen" (valid: "connect")',
    ["pilot.json.encod"] = 'pilot.json has no "encod" (did you mean "encode"?)',
    ["pilot.log.warning"] = 'pilot.log has no "warning" (valid: "debug", "error", "info", "warn")',
    ["pilot.consul.kv.gett"] = 'pilot.consul.kv has no "gett" (did you mean "get"?)',
    ["pilot.consul.kvs"] = 'pilot.consul has no "kvs" (did you mean "kv"?)',
    ["pilot.watch.keys"] = 'pilot.watch has no "keys": there are pilot.watch "name", pilot.watch.key and '
      .. "pilot.watch.prefix",
    ["pilot.tpc"] = 'pilot has no "tpc"',
  }
  for name, message in pairs(CASES) do
    it(name, function()
      assert.is_truthy(boxes.mistakes("local x = " .. name):find("pilot.lua:1: " .. message, 1, true),
        boxes.mistakes("local x = " .. name))
    end)
  end

  it("is its own of each file: what a script puts into one reaches nobody else", function()
    local box = boxes.load [[
      pilot.json.decode = function() return { mine = 1 } end
      pilot.spawn(function() print(pilot.json.decode("{}").mine, pilot.http.get("http://web/").json().theirs) end)
    ]]
    box:http("http://web/", { body = '{"theirs":2}' })
    box:start():advance "1s"
    assert.equal(1, boxes.logged(box, "1\t2"))
    boxes.check()
  end)
end)

describe("a job that is named when the pilot runs", function()
  local CASES = {
    ['pilot.job "extra"'] = 'there is no job "extra" (valid: "db"): a new one is described at the top level of the '
      .. "file, before the pilot runs",
    ['pilot.job "dbb"'] = 'there is no job "dbb" (did you mean "db"?)',
    ['pilot.job { name = "more", exec = "x" }'] = "pilot.job declares, and the pilot runs already: describe jobs "
      .. "at the top level of the file",
  }
  for call, message in pairs(CASES) do
    it("must be there: " .. call, function()
      local box = boxes.run(('pilot.job "db" { exec = "db" } pilot.spawn(function() %s end)'):format(call), { db = {} })
      local errors = box:forget_errors()
      assert.equal(1, #errors)
      assert.is_truthy(errors[1]:find("pilot.lua:1: " .. message, 1, true), errors[1])
      box:stop()
    end)
  end
end)
