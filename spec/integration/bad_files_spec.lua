-- luacheck: no max line length
-- Bad files, and what luapilot says about them, word for word: file:line or the path of the field, what was found,
-- what was expected, what to do. Each is given to `luapilot check`, the program, and to the core alone: the same words.

local app = require "luapilot.pilot.app"
local machine = require "support.machine"
local run = require "support.run"

---@type { name: string, file: string, beside: table<string, string>?, says: string }[]
local bad_files = {}

-- bad "what is wrong" { file = pilot.lua's text, beside = other files, says = every line of the answer,
--                        ends = what ended the file before its end }
local function bad(name)
  return function(entry)
    entry.name = name
    bad_files[#bad_files + 1] = entry
  end
end

-- --- the text ----------------------------------------------------------------------------------------

bad "a comma forgotten" {
  file = [[
local pilot = require "luapilot"
pilot.job "app" {
  exec    = "server"
  restart = "always",
}
]],
  says = [[
pilot.lua:4: '}' expected (to close '{' at line 2) near 'restart' (a comma is missing at the end of line 3)
]],
}

bad "an end forgotten" {
  file = [[
local pilot = require "luapilot"
local app = pilot.job "app" { exec = "server" }
app:on("exit_failed", function(event)
  pilot.log.warn("gone")
)
]],
  says = [[
pilot.lua:5: unexpected symbol near ')' (the "function" of line 3 has no "end")
]],
}

bad "a field misspelt" {
  file = [[
local pilot = require "luapilot"
pilot.job "app" {
  exec   = "server",
  health = { tcp = "localhost:80", intervall = "5s" },
}
]],
  says = [[
pilot.lua:2: job "app": health.intervall: unknown field (did you mean "interval"?)
]],
}

bad "a duration without its unit" {
  file = [[
local pilot = require "luapilot"
pilot.job "app" { exec = "server", stop_timeout = "5" }
]],
  says = [[
pilot.lua:2: job "app": stop_timeout: "5" has no unit: write "5s" for seconds (or "5ms", "5m", "5h")
]],
}

bad "an event nearly right" {
  file = [[
local pilot = require "luapilot"
local db = pilot.job "db" { exec = "postgres" }
pilot.job "app" { exec = "server", when = db:once "exit_sucess" }
]],
  says = [[
pilot.lua:3: unknown event "exit_sucess" of a job (did you mean "exit_success"?)
]],
}

bad "an event that other tools have" {
  file = [[
local pilot = require "luapilot"
local db = pilot.job "db" { exec = "postgres" }
pilot.job "app" { exec = "server", when = db:once "started" }
]],
  says = [[
pilot.lua:3: there is no "started": a process that exists is not ready yet, and a short one may be gone before anybody hears of it; use "healthy"
]],
}

bad "a variable misspelt" {
  file = [[
local pilot = require "luapilot"
local port = 8000
pilot.job "app" { exec = { "server", "--port", prot } }
]],
  says = [[
pilot.lua:3: undefined global "prot" (did you mean "port"?)
]],
}

bad "the first line forgotten" {
  ends = "line 1",
  file = [[
pilot.job "app" { exec = "server" }
]],
  says = [[
pilot.lua:1: undefined global "pilot": begin the file with local pilot = require "luapilot"
]],
}

bad "a job that names itself in its own description" {
  file = [[
local pilot = require "luapilot"
local app = pilot.job "app" {
  exec   = "server",
  reload = function() pilot.log.info("reloading " .. app.name) end,
}
]],
  says = [[
pilot.lua:4: undefined global "app": a local is not visible inside its own declaration; write local app = pilot.job "app" first, then app { … }
]],
}

bad "nil inside a list of arguments" {
  file = [[
local pilot = require "luapilot"
local config
pilot.job "app" { exec = { "server", "--config", config, "--verbose" } }
]],
  says = [[
pilot.lua:3: job "app": exec: exec[3] is nil, but exec[4] is "--verbose": a variable misspelt or set later, or os.getenv for pilot.env?
]],
}

bad "a list of arguments without a program" {
  file = [[
local pilot = require "luapilot"
pilot.job "app" { exec = { os.getenv "SERVER" } }
]],
  says = [[
pilot.lua:2: job "app": exec: names no program: write { "program", "argument" }
]],
}

bad "shell syntax without a shell" {
  file = [[
local pilot = require "luapilot"
pilot.job "app" { exec = "server | tee /var/log/server.log" }
pilot.job "b" { exec = "server --port $PORT" }
]],
  says = [[
pilot.lua:2: job "app": exec: | at column 8 is a pipe, and there is no shell here: write pilot.sh "…" to use one, or a list of words { "a", "b" } for the literal text
pilot.lua:3: job "b": exec: $ at column 15 is a shell variable, and there is no shell here: write pilot.sh "…" to use one, or a list of words { "a", "b" } for the literal text
]],
}

bad "jobs that wait for each other" {
  file = [[
local pilot = require "luapilot"
local web, db = pilot.job "web", pilot.job "db"
web { exec = "nginx", when = db:once "stopped" }
db { exec = "postgres", when = web:once "stopped" }
]],
  says = [[
pilot.lua:3: job "web": when: a cycle: web waits for db waits for web; none of them can ever start
]],
}

bad "a job that waits only for itself" {
  file = [[
local pilot = require "luapilot"
local app = pilot.job "app"
app { exec = "server", when = app:once "exit_failed" }
]],
  says = [[
pilot.lua:3: job "app": when: waits only for the job itself, which can then never start: add another trigger with pilot.any { … }
]],
}

bad "a job that nobody described" {
  file = [[
local pilot = require "luapilot"
pilot.job "app" { exec = "server", when = pilot.job("databse"):once "stopped" }
pilot.job "database" { exec = "postgres" }
]],
  says = [[
pilot.lua:2: job "databse": was named but never described (did you mean "database"?): write pilot.job "databse" { … }, or use the name of a job that exists
]],
}

bad "a job described twice" {
  file = [[
local pilot = require "luapilot"
pilot.job "app" { exec = "server" }
pilot.job "app" { exec = "server" }
]],
  says = [[
pilot.lua:3: job "app": is described twice: the first time at pilot.lua:2; a name belongs to one job
]],
}

bad "an empty file" {
  file = "",
  says = [[
pilot.lua: declares nothing: no job, no timer, no handler; start with local pilot = require "luapilot" and pilot.job "app" { exec = { "program" } }
]],
}

bad "only comments" {
  file = [[
-- the jobs come here

-- everything
]],
  says = [[
pilot.lua: declares nothing: no job, no timer, no handler; start with local pilot = require "luapilot" and pilot.job "app" { exec = { "program" } }
]],
}

bad "nothing declared" {
  file = [[
local pilot = require "luapilot"
]],
  says = [[
pilot.lua: declares nothing: no job, no timer, no handler; start with local pilot = require "luapilot" and pilot.job "app" { exec = { "program" } }
]],
}

bad "a program instead of a script" {
  file = "\127ELF\2\1\1\0\0\0\0\0",
  says = [[
pilot.lua:1: contains NUL bytes: it is no Lua source
]],
}

bad "a picture" {
  file = "\137PNG\13\n\26\n",
  says = [[
pilot.lua:2: contains binary data: it is no Lua source
]],
}

bad "compiled bytecode" {
  file = string.dump(function() end),
  says = [[
pilot.lua: is compiled bytecode: give the Lua source
]],
}

bad "UTF-16 text" {
  file = "\255\254l\0o\0",
  says = [[
pilot.lua: is UTF-16 text: save it as UTF-8
]],
}

bad "NUL bytes" {
  file = "local pilot = require \"luapilot\"\n-- here: \0\n",
  says = [[
pilot.lua:2: contains NUL bytes: it is no Lua source
]],
}

bad "sleeping at the top level" {
  ends = "line 2",
  file = [[
local pilot = require "luapilot"
pilot.sleep "1s"
]],
  says = [[
pilot.lua:2: pilot.sleep waits, and the top level of a pilot.lua only declares: call it in a handler, in run, in prepare, or in pilot.spawn(function() … end)
]],
}

bad "running a program at the top level" {
  ends = "line 2",
  file = [[
local pilot = require "luapilot"
local version = pilot.exec("server --version").stdout
]],
  says = [[
pilot.lua:2: pilot.exec waits, and the top level of a pilot.lua only declares: call it in a handler, in run, in prepare, or in pilot.spawn(function() … end)
]],
}

bad "waiting for a job at the top level" {
  ends = "line 3",
  file = [[
local pilot = require "luapilot"
local app = pilot.job "app" { exec = "server" }
app:wait_for "healthy"
]],
  says = [[
pilot.lua:3: job:wait_for waits, and the top level of a pilot.lua only declares: call it in a handler, in run, in prepare, or in pilot.spawn(function() … end)
]],
}

bad "acting at the top level" {
  ends = "line 3",
  file = [[
local pilot = require "luapilot"
local app = pilot.job "app" { exec = "server" }
app:start()
]],
  says = [[
pilot.lua:3: job:start acts, and the top level of a pilot.lua only declares: call it in a handler
]],
}

bad "os.execute" {
  ends = "line 2",
  file = [[
local pilot = require "luapilot"
os.execute("mkdir -p /run/app")
pilot.job "app" { exec = "server" }
]],
  says = [[
pilot.lua:2: os.execute is not available in a pilot.lua: use pilot.exec { "program", "argument" }, which waits without stopping everything else
]],
}

bad "a variable that is not set" {
  file = [[
local pilot = require "luapilot"
pilot.job "app" { exec = { "server", "--db", pilot.env "DATABASE_URL" } }
]],
  says = [[
pilot.lua:2: pilot.env "DATABASE_URL": is not set, and has no default: set it, or write pilot.env("DATABASE_URL", "default")
]],
}

bad "exec and run" {
  file = [[
local pilot = require "luapilot"
pilot.job "app" { exec = "server", run = function() end }
]],
  says = [[
pilot.lua:2: job "app": run: a job has exec (a program) or run (a Lua function), not both
]],
}

bad "a job with nothing to do" {
  file = [[
local pilot = require "luapilot"
pilot.job "app" { restart = "always" }
]],
  says = [[
pilot.lua:2: job "app": has nothing to do: give it exec = { "program" } or run = function(job) … end (only a job with service or health may have neither)
]],
}

bad "reload() of a job without reload" {
  file = [[
local pilot = require "luapilot"
local app = pilot.job "app" { exec = "server" }
pilot.on("SIGHUP", function() app:reload() end)
]],
  says = [[
pilot.lua:3: job "app": reload: app:reload() is called here, and the job has none: describe it with reload = "SIGHUP", or a function
]],
}

bad "a job where a trigger belongs" {
  file = [[
local pilot = require "luapilot"
local db = pilot.job "db" { exec = "postgres" }
pilot.job "app" { exec = "server", when = db }
]],
  says = [[
pilot.lua:3: job "app": when: expected a trigger such as db:once "healthy", pilot.every "60s", pilot.all { … }, "manual" or a function, got the job "db" itself: add :once "healthy" (or another event)
]],
}

bad "a name where a trigger belongs" {
  file = [[
local pilot = require "luapilot"
local db = pilot.job "db" { exec = "postgres" }
pilot.job "app" { exec = "server", when = "db" }
]],
  says = [[
pilot.lua:3: job "app": when: expected a trigger such as db:once "healthy", "manual" or a function, got a string: "db"; write when = pilot.job("db"):once "healthy"
]],
}

bad "healthy of a job without checks" {
  file = [[
local pilot = require "luapilot"
local db = pilot.job "db" { exec = "postgres" }
pilot.job "app" { exec = "server", when = db:once "healthy" }
]],
  says = [[
pilot.lua:3: job "app": when: waits for "healthy" of job "db", which has no health check: give it health = { … }, or wait for another event
]],
}

bad "a function of pilot misspelt" {
  ends = "line 2",
  file = [[
local pilot = require "luapilot"
pilot.jop "app" { exec = "server" }
]],
  says = [[
pilot.lua:2: pilot has no "jop" (did you mean "job"?)
]],
}

bad "a name of a later version" {
  ends = "line 3",
  file = [[
local pilot = require "luapilot"
pilot.job "app" { exec = "server" }
pilot.telemetry { port = 9090 }
]],
  says = [[
pilot.lua:3: pilot.telemetry is not part of this version (0.1.0): telemetry comes with a later one
]],
}

bad "a URL that is none" {
  file = [[
local pilot = require "luapilot"
pilot.job "app" { exec = "server", health = { http = "localhost/health" } }
]],
  says = [[
pilot.lua:2: job "app": health.http: expected a URL such as "http://localhost/health", got a string: "localhost/health"; write "http://localhost/health"
]],
}

bad "a dot where a colon belongs" {
  ends = "line 3",
  file = [[
local pilot = require "luapilot"
local app = pilot.job "app" { exec = "server" }
app.on("exit_failed", function() end)
]],
  says = [[
pilot.lua:3: job:on: call it with a colon: job:on(…)
]],
}

bad "a colon where a dot belongs" {
  ends = "line 2",
  file = [[
local pilot = require "luapilot"
pilot:job "app" { exec = "server" }
]],
  says = [[
pilot.lua:2: pilot.job: call it with a dot, not with a colon
]],
}

bad "a method misspelt" {
  ends = "line 3",
  file = [[
local pilot = require "luapilot"
local app = pilot.job "app" { exec = "server" }
app:relaod()
]],
  says = [[
pilot.lua:3: a job has no "relaod" (did you mean "reload"?)
]],
}

bad "a job without a name, and what comes after it" {
  file = [[
local pilot = require "luapilot"
local app = pilot.job { exec = "server" }
pilot.job { exec = "true" }
pilot.job "after" { exec = "true", when = app:once "healthy", restrat = "never" }
]],
  says = [[
pilot.lua:2: job: has no name: write pilot.job "app" { … }, or name = "app"
pilot.lua:3: job: has no name: write pilot.job "app" { … }, or name = "app"
pilot.lua:4: job "after": restrat: unknown field (did you mean "restart"?)
]],
}

bad "a file rendered at the top level, and not even described" {
  ends = "line 2",
  file = [[
local pilot = require "luapilot"
pilot.render ""
]],
  says = [[
pilot.lua:2: pilot.render: expected a table such as { source = "app.tmpl", to = "/etc/app.conf" }, got a string: ""
pilot.lua:2: pilot.render waits, and the top level of a pilot.lua only declares: call it in a handler, in run, in prepare, or in pilot.spawn(function() … end)
]],
}

bad "objects where tables are expected" {
  file = [[
local pilot = require "luapilot"
local db = pilot.job "db" { exec = "postgres" }
pilot.job "app" { exec = { pilot }, health = db, restart = pilot }
pilot.job "b" { exec = pilot, limits = db, health = { http = db } }
pilot.job "c" (db)
]],
  says = [[
pilot.lua:3: job "app": exec[1]: expected a string or a number, got a luapilot library
pilot.lua:3: job "app": health: expected a check such as { tcp = "localhost:80" }, or a list of checks, got a job
pilot.lua:3: job "app": restart: expected "always", "on_failure", "never", a number of restarts, or a table such as { policy = "always", backoff = "1s" }, got a luapilot library
pilot.lua:4: job "b": exec: expected a string or a list of words such as { "nginx", "-t" }, got a luapilot library
pilot.lua:4: job "b": health.http: expected a table, got a job
pilot.lua:4: job "b": limits: expected a table such as { nofile = 65536 }, got a job
pilot.lua:5: job "c": expected a table of fields, got a job
]],
}

bad "a function as exec" {
  file = [[
local pilot = require "luapilot"
pilot.job "app" { exec = function() end }
]],
  says = [[
pilot.lua:2: job "app": exec: expected a string or a list of words such as { "nginx", "-t" }, got a function; Lua code goes into run (of a job) or check (of a health check)
]],
}

bad "a name that is none" {
  file = [[
local pilot = require "luapilot"
pilot.job "My_App" { exec = "server" }
]],
  says = [[
pilot.lua:2: job.name: expected a name of letters, digits and "-" that begins with a small letter, got a string: "My_App"; write "my-app"
]],
}

bad "a call where a handler belongs" {
  ends = "line 3",
  file = [[
local pilot = require "luapilot"
local app = pilot.job "app" { exec = "server" }
app:on("exit_failed", app:restart())
]],
  says = [[
pilot.lua:3: job:restart acts, and the top level of a pilot.lua only declares: call it in a handler
]],
}

bad "several mistakes: all of them in one run" {
  file = [[
local pilot = require "luapilot"
local db = pilot.job "db" { exec = "postgres", stop_timout = "5s" }
pilot.job "app" {
  exec    = "server | tee log",
  when    = db:once "exit_sucess",
  restart = "allways",
}
pilot.job "cron" { exec = "backup", when = pilot.cron "every day" }
]],
  says = [[
pilot.lua:2: job "db": stop_timout: unknown field (did you mean "stop_timeout"?)
pilot.lua:3: job "app": exec: | at column 8 is a pipe, and there is no shell here: write pilot.sh "…" to use one, or a list of words { "a", "b" } for the literal text
pilot.lua:3: job "app": restart: expected "always", "on_failure" or "never", got a string: "allways"; did you mean "always"?
pilot.lua:5: unknown event "exit_sucess" of a job (did you mean "exit_success"?)
pilot.lua:8: pilot.cron: cron "every day": expected five fields (minute, hour, day, month, weekday), got 2
]],
}

bad "signals" {
  file = [[
local pilot = require "luapilot"
local app = pilot.job "app" { exec = "server" }
pilot.on("SIGTERM", function() end)
pilot.on("HUP", function() end)
]],
  says = [[
pilot.lua:3: on("SIGTERM"): this signal ends the pilot: use pilot.on("shutdown", …)
pilot.lua:4: unknown signal "HUP" (did you mean "SIGHUP"?)
]],
}

bad "a field of pilot set" {
  ends = "line 2",
  file = [[
local pilot = require "luapilot"
pilot.myapp = pilot.job "app" { exec = "server" }
]],
  says = [[
pilot.lua:2: pilot.myapp cannot be set: use a local, or pilot.state
]],
}

bad "an assertion of the user's own" {
  ends = "line 2",
  file = [[
local pilot = require "luapilot"
local config = assert(pilot.fs.read "/etc/app.conf", "no config")
]],
  says = [[
pilot.lua:2: no config
]],
}

bad "an error of Lua" {
  ends = "line 3",
  file = [[
local pilot = require "luapilot"
local config = {}
pilot.job "app" { exec = { "server", config.db.host } }
]],
  says = [[
pilot.lua:3: attempt to index field 'db' (a nil value)
]],
}

bad "a name inside of pilot.all" {
  file = [[
local pilot = require "luapilot"
local db = pilot.job "db" { exec = "postgres" }
pilot.job "app" { exec = "server", when = pilot.all { db:once "stopped", "db" } }
]],
  says = [[
pilot.lua:3: pilot.all[2]: expected a trigger such as db:once "healthy", got a string: "db"
]],
}

bad "a module that is not there" {
  ends = "line 2",
  file = [[
local pilot = require "luapilot"
local helper = require "helper"
]],
  says = [[
pilot.lua:2: module "helper" not found: there is neither helper.lua nor helper/init.lua, nor such a rock or library on package.path and package.cpath
]],
}

bad "luapilot misspelt" {
  ends = "line 1",
  file = [[
local pilot = require "luapiolt"
]],
  says = [[
pilot.lua:1: module "luapiolt" not found (did you mean "luapilot"?): there is neither luapiolt.lua nor luapiolt/init.lua, nor such a rock or library on package.path and package.cpath
]],
}

bad "the simulator in a pilot.lua" {
  ends = "line 2",
  file = [[
local pilot = require "luapilot"
local sim = require "luapilot.sim"
]],
  says = [[
pilot.lua:2: "luapilot.sim" cannot be required in a pilot.lua: the simulator is for specs (luapilot test); require "luapilot" has all there is
]],
}

bad "mistakes in a module beside it" {
  file = [[
local pilot = require "luapilot"
local jobs = require "jobs"
pilot.job "app" { exec = "server", restrat = "always" }
]],
  beside = { ["jobs.lua"] = [[
local pilot = require "luapilot"
pilot.job "worker" {
  exec   = "worker",
  health = { tcp = "localhost" },
}
return { cout = coutn }
]] },
  says = [[
jobs.lua:2: job "worker": health.tcp: expected "host:port" such as "localhost:80", got a string: "localhost"; the port is missing: write for example "localhost:80"
jobs.lua:6: undefined global "coutn"
pilot.lua:3: job "app": restrat: unknown field (did you mean "restart"?)
]],
}

bad "a syntax error in a module beside it" {
  ends = "jobs.lua:3",
  file = [[
local pilot = require "luapilot"
local jobs = require "jobs"
pilot.job "app" { exec = "server", restrat = "always" }
]],
  beside = { ["jobs.lua"] = [[
local pilot = require "luapilot"
pilot.job "worker" { exec = "worker"
]] },
  says = [[
jobs.lua:3: '}' expected (to close '{' at line 2) near '<eof>' (the "{" of line 2 has no "}")
]],
}

bad "JSON" {
  file = [[
{
  consul: "localhost:8500",
  jobs: [ { name: "app", exec: "server" } ]
}
]],
  says = [[
pilot.lua:1: unexpected symbol near '{' (a pilot.lua is a program in Lua, not a table or JSON: write pilot.job "app" { … })
]],
}

bad "many fields wrong" {
  file = [[
local pilot = require "luapilot"
pilot.job "a" { exec = "a", timeout = 0 , user = {}, umask="999", limits = { nofiles = 3 }, cgroup = { memory = "1G" }, log = "line", env = { "A=B" }, }
]],
  says = [[
pilot.lua:2: job "a": cgroup.memory: unknown field (did you mean "memory_max"?)
pilot.lua:2: job "a": env[1]: expected NAME = "value", got a string: "A=B"; write A = "…"
pilot.lua:2: job "a": limits.nofiles: unknown field (did you mean "nofile"?)
pilot.lua:2: job "a": log: expected "lines", "raw" or "none", got a string: "line"; did you mean "lines"?
pilot.lua:2: job "a": timeout: must be longer than 0
pilot.lua:2: job "a": umask: expected a string of octal digits such as "027", got a string: "999"
pilot.lua:2: job "a": user: expected a name or a number, got an empty table
]],
}

bad "services and watches" {
  file = [[
local pilot = require "luapilot"
pilot.job "a" { exec = "a", service = { { port = 80 }, { port = "http", tag = "x" } }, drain = "5s" }
pilot.job "b" { exec = "b", drain = "5s" }
pilot.watch "db" { dc = "west" }
pilot.watch.key "a/b"
]],
  says = [[
pilot.lua:2: job "a": service[2].port: expected a whole number from 0 to 65535, got a string: "http"
pilot.lua:2: job "a": service[2].tag: unknown field (did you mean "tags"?)
pilot.lua:2: job "a": service[2]: has the id "a-<hostname>", as job "a".service[1] has: give it another name, or an id of its own
pilot.lua:3: job "b": drain: needs service: it is the time between deregistering and stop_signal
pilot.lua:4: pilot.watch "db".dc: needs Consul, and this file has no pilot.consul: watches see the services of its own jobs only
pilot.lua:5: watch.key "a/b": needs Consul: add pilot.consul "localhost:8500"
]],
}

bad "where Consul is" {
  file = [[
local pilot = require "luapilot"
pilot.consul { address = "localhost", token = "", tls = { cafle = "x" } }
pilot.consul "localhost:8500"
pilot.job "a" { exec = "a" }
]],
  says = [[
pilot.lua:2: pilot.consul.address: expected "host:port", "unix:///run/consul.sock" or a URL such as "https://consul:8501", got a string: "localhost"; the port is missing: write "localhost:8500"
pilot.lua:2: pilot.consul.tls.cafle: unknown field (did you mean "cafile"?)
pilot.lua:2: pilot.consul.token: is an empty string
pilot.lua:3: pilot.consul: is declared already, at pilot.lua:2: a pilot talks to one agent
]],
}

-- --- the specs ---------------------------------------------------------------------------------------

local function count_lines(text)
  local _, count = text:gsub("\n", "")
  return count
end

local function summary(path, says)
  local count = count_lines(says)
  return ("%s: %d mistake%s"):format(path, count, count == 1 and "" or "s")
end

-- All that loading needs of a port; anything else is an error of the spec.
local function port_over(files)
  local function missing(path) return nil, path .. ": no such file or directory", "ENOENT" end
  return {
    read = function(path)
      local text = files[path:gsub("^/", "")]
      if text then return text end
      return missing(path)
    end,
    cwd = function() return "/" end,
    open = missing, -- what the user reads
    environ = function() return {} end,
    contain = function() return true end,
    now = function() return 0 end,
  }
end

---A subcommand in a directory with these files, to its end.
local function luapilot(words, files, options)
  options = options or {}
  options.files = files
  local program = run.luapilot(words, options)
  local code = program:wait()
  return { code = code, out = program:stdout(), err = program:stderr() }
end

describe("luapilot check", function()
  after_each(run.cleanup)

  for _, entry in ipairs(bad_files) do
    local files = { ["pilot.lua"] = entry.file }
    for name, text in pairs(entry.beside or {}) do files[name] = text end

    it("tells of " .. entry.name, function()
      local result = luapilot({ "check" }, files)
      local ends = entry.ends and ("; %s ended the file: what follows was not checked"):format(entry.ends) or ""
      assert.equal(entry.says .. summary("pilot.lua", entry.says) .. ends .. "\n", result.err)
      assert.equal("", result.out)
      assert.equal(2, result.code)
    end)

    it("tells of " .. entry.name .. ", the core alone", function()
      local ok, list = app.new({ port = port_over(files) }):load "pilot.lua"
      assert.is_nil(ok)
      assert.equal(entry.says, table.concat(list, "\n") .. "\n")
    end)
  end
end)

describe("luapilot check: a file", function()
  after_each(run.cleanup)

  local good = 'require "luapilot".job "app" { exec = "server" }\n'

  it("that is missing", function()
    local result = luapilot({ "check", "my.lua" })
    assert.equal("my.lua: there is no such file; luapilot init writes a first one\nmy.lua: 1 mistake\n", result.err)
    assert.equal(2, result.code)
  end)

  it("that nobody named and that is nowhere", function()
    if os.execute "test -e /etc/pilot.lua" == 0 then machine.skip "has an /etc/pilot.lua" end
    local result = luapilot { "check" }
    assert.equal([[
luapilot: there is no pilot.lua. Looked for:
  $LUAPILOT        is not set
  ./pilot.lua      does not exist
  /etc/pilot.lua   does not exist
Name it: luapilot run FILE. luapilot init writes a first one.
]], result.err)
    assert.equal(2, result.code)
  end)

  it("that is a directory", function()
    local result = luapilot { "check", "/tmp" }
    assert.equal("/tmp: is a directory: give the file in it, such as /tmp/pilot.lua\n/tmp: 1 mistake\n", result.err)
    assert.equal(2, result.code)
  end)

  it("that may not be read", function()
    machine.need "setpriv"
    local program = run.program({ "chmod", "000", "pilot.lua" }, { files = { ["pilot.lua"] = good } })
    assert.equal(0, program:wait())
    local root = io.popen("id -u"):read "*l" == "0" -- whom no mode keeps from reading
    program = run.luapilot({ "check", program:path "pilot.lua" }, {
      wrap = root and { "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups" } or nil,
    })
    assert.equal(2, program:wait())
    assert.matches("pilot.lua: may not be read by this user %(permission denied%)\n", program:stderr())
  end)

  it("that is too large", function()
    local result = luapilot({ "check", "pilot.lua" }, { ["pilot.lua"] = ("-- "):rep(10 * 1024 * 1024 / 3) .. "\n" })
    assert.equal("pilot.lua: is larger than 1M, which is the limit for a configuration\npilot.lua: 1 mistake\n",
      result.err)
    assert.equal(2, result.code)
  end)
end)

describe("luapilot check --no-env", function()
  after_each(run.cleanup)

  local needs_env = [[
local pilot = require "luapilot"
pilot.job "app" { exec = { "server", "--db", pilot.env "DATABASE_URL", pilot.secret "db-password" } }
]]

  it("only warns of what is not set", function()
    local result = luapilot({ "check", "--no-env" }, { ["pilot.lua"] = needs_env })
    assert.matches('^warning: pilot.lua:2: pilot.env "DATABASE_URL": is not set, and has no default: ', result.err)
    assert.matches('\nwarning: pilot.lua:2: pilot.secret "db%-password": [^\n]*\n', result.err)
    assert.matches("^pilot.lua: no mistakes, 3 warnings\n1 job %(app%)", result.out)
    assert.equal(0, result.code)
  end)

  it("still tells of mistakes", function()
    local result = luapilot({ "check", "--no-env" }, { ["pilot.lua"] = needs_env .. 'pilot.job "app" {}\n' })
    assert.equal(2, result.code)
    assert.matches('pilot.lua:3: job "app": is described twice', result.err)
    assert.matches("pilot.lua: 2 mistakes\n$", result.err)
  end)

  it("is not what run does", function()
    local result = luapilot({ "run", "pilot.lua" }, { ["pilot.lua"] = needs_env })
    assert.equal(2, result.code)
    assert.matches("pilot.lua: 2 mistakes; nothing was started\n$", result.err)
    assert.equal("", result.out)
  end)
end)
