-- The command line without processes: which command is meant, what it says, the drawings. The port is a stub
-- that answers from tables; anything else that a command asks of it is an error.

local app = require "luapilot.pilot.app"
local boxes = require "support.boxes"
local cli = require "luapilot.cli"
local diagram = require "luapilot.cli.diagram"
local dot = require "luapilot.cli.dot"
local mermaid = require "luapilot.cli.mermaid"
local shutdown = require "luapilot.cli.shutdown"
local test = require "luapilot.cli.test"

local GOOD = 'require "luapilot".job "app" { exec = "server" }\n'

-- `has` is what the machine has beside the files of luapilot: path → mode, or true for a directory. nil: everything.
local function port_over(files, environ, has)
  local port = {
    environ = function() return environ or {} end,
    contain = function() return true end,
    cwd = function() return "/" end,
    logging = function() return true end,
    now = function() return 0 end,
    cancel = function() return true end,
    request = function()
      if has and has.curl == false then return nil, "libcurl is not installed", "ENOSYS" end
      return 1
    end,
    user = function() return has and has.user or 0 end,
  }
  function port.open(path)
    if not has or type(has[path]) == "number" then return 1, { type = "file", mode = has and has[path] or 493 } end
    if has[path] == true then return nil, path .. ": is a directory", "EISDIR" end
    return nil, path .. ": no such file or directory", has[path] == "closed" and "EACCES" or "ENOENT"
  end
  function port.lookup(kind, name)
    local id = not has or has[kind .. " " .. name]
    if id then return tonumber(id) or 1 end
    return nil, ("%s %q does not exist"):format(kind, name), "ENOENT"
  end
  function port.read(path)
    if files[path] then return files[path] end
    return nil, path .. ": no such file or directory", "ENOENT"
  end
  function port.stat(path)
    if files[path] then return { type = "file" } end
    if path:sub(-2) == "/." and (not has or has[path:sub(1, -3)] == true) then return { type = "directory" } end
    return nil, path .. ": no such file or directory", "ENOENT"
  end
  return port
end

-- luapilot WORDS: { code, out, err }
local function luapilot(words, files, environ, has)
  local result, out, err = {}, {}, {}
  result.code = cli.main(words, {
    out = function(text) out[#out + 1] = text end,
    err = function(text) err[#err + 1] = text end,
    flush = function() return true end,
    port = function() return port_over(files or {}, environ, has) end,
    version = function() return "1.2.3" end,
  })
  result.out, result.err = table.concat(out), table.concat(err)
  return result
end

local function loaded(text)
  local pilot = app.new { port = port_over { ["pilot.lua"] = 'local pilot = require "luapilot"\n' .. text } }
  local ok, list = pilot:load "pilot.lua"
  assert(ok, table.concat(list or {}, "\n"))
  return pilot
end

describe("luapilot", function()
  it("has help, of the whole and of each command", function()
    local whole = luapilot({ "--help" }).out
    assert.equal(whole, luapilot({ "-h" }).out)
    assert.equal(whole, luapilot({ "help" }).out)
    for _, command in ipairs(cli.commands) do
      assert.matches("\n   [^\n]*" .. command.name .. "[^\n]*" .. command.summary:sub(1, 10), whole)
      local own = luapilot { command.name, "--help" }
      assert.equal(0, own.code)
      assert.matches("^Usage: luapilot " .. command.name, own.out)
      assert.equal(own.out, luapilot({ "help", command.name }).out)
    end
  end)

  it("names the exit codes in the help", function()
    for _, words in ipairs { { "--help" }, { "run", "--help" }, { "check", "--help" } } do
      local out = luapilot(words).out
      assert.matches("Exit codes:\n", out)
      assert.matches("\n   2 +mistakes", out)
      assert.matches("\n   70 +an error inside luapilot\n", out)
    end
  end)

  it("keeps the help within 110 columns", function()
    for _, command in ipairs(cli.commands) do
      for line in (luapilot({ command.name, "-h" }).out .. cli.help()):gmatch "[^\n]+" do
        assert.is_true(#line <= 110, line)
      end
    end
  end)

  it("keeps the lines of a help as they are written, and the names of an option on one", function()
    for _, command in ipairs(cli.commands) do
      local help = luapilot({ command.name, "-h" }).out
      for _, text in ipairs { command.description or "", command.epilog or "" } do
        assert.is_truthy(help:find(text, 1, true), command.name .. ":\n" .. help)
      end
    end
    assert.matches("\n   %-f FORMAT, %-%-format FORMAT\n {25}text or json", (luapilot({ "check", "-h" }).out
      :gsub((" "):rep(25), " {25}")))
  end)

  it("tells its version", function()
    local expected = ("luapilot 1.2.3\n%s (%s, %s)\n"):format(jit.version, jit.os, jit.arch)
    for _, word in ipairs { "version", "--version", "-V" } do assert.equal(expected, luapilot({ word }).out) end
  end)

  describe("refuses, with code 2 and nothing on stdout,", function()
    local wrong = {
      { { "chekc" }, 'luapilot: unknown command "chekc" (did you mean "check"?)\n'
        .. "To run a file of that name: luapilot run chekc\n" },
      { { "service" }, 'luapilot: unknown command "service" '
        .. '(valid: "run", "check", "graph", "test", "init", "version")\n'
        .. "To run a file of that name: luapilot run service\n" },
      { { "status" }, 'luapilot: the command "status" is not part of this version: the control socket comes with a '
        .. "later one\nTo run a file of that name: luapilot run status\n" },
      { { "--versoin" }, 'luapilot: unknown option "--versoin" (did you mean "--version"?)\nTry: luapilot --help\n' },
      { { "--file=./x" }, 'luapilot: unknown option "--file=./x" (valid: "--help", "--version")\n'
        .. "Try: luapilot --help\n" },
      { { "check", "--no-evn" }, "luapilot check: unknown option '--no-evn' (did you mean '--no-env'?)\n"
        .. "Usage: luapilot check [-f FORMAT] [--no-env] [-h] [FILE]\nTry: luapilot check --help\n" },
      { { "check", "a.lua", "b.lua" }, "luapilot check: too many arguments\n"
        .. "Usage: luapilot check [-f FORMAT] [--no-env] [-h] [FILE]\nTry: luapilot check --help\n" },
      { { "check", "--", "x" }, 'luapilot check: there is nothing to give after "--"\n'
        .. "Usage: luapilot check [-f FORMAT] [--no-env] [-h] [FILE]\nTry: luapilot check --help\n" },
      { { "graph", "--format", "svg" }, "luapilot graph: argument for option '--format' must be one of 'mermaid', "
        .. "'dot'\nUsage: luapilot graph [-f FORMAT] [-h] [FILE]\nTry: luapilot graph --help\n" },
      { { "run", "a.lua", "b" }, "luapilot run: too many arguments\n"
        .. "Usage: luapilot run [-h] [FILE] [-- ARGS]\nTry: luapilot run --help\n" },
    }
    for _, case in ipairs(wrong) do
      it(table.concat(case[1], " "), function()
        assert.same({ code = 2, out = "", err = case[2] }, luapilot(case[1]))
      end)
    end
  end)

  it("says of an error of its own that it is one", function()
    local result = luapilot({ "check", "pilot.lua" }, setmetatable({}, { __index = function() error "a bug" end }))
    assert.equal(70, result.code)
    assert.matches("^luapilot: an error inside luapilot, please report it: .*a bug\nstack traceback:", result.err)
  end)

  it("fails when its output cannot be written", function()
    local err = {}
    local code = cli.main({ "version" }, {
      out = function() end, err = function(text) err[#err + 1] = text end,
      flush = function() return nil, "No space left on device" end, version = function() return "1" end,
    })
    assert.equal(70, code)
    assert.equal("luapilot: cannot write to stdout: No space left on device\n", table.concat(err))
  end)
end)

describe("which pilot.lua is meant:", function()
  local function checked(words, files, environ)
    local all = {}
    for _, path in ipairs(files) do all[path] = GOOD end
    return luapilot({ "check", unpack(words) }, all, environ)
  end

  local everywhere = { "named.lua", "env.lua", "pilot.lua", "/etc/pilot.lua" }

  it("the one on the command line", function()
    assert.matches("^named.lua: no mistakes\n", checked({ "named.lua" }, everywhere, { LUAPILOT = "env.lua" }).out)
  end)

  it("else that of $LUAPILOT", function()
    assert.matches("^env.lua: no mistakes\n", checked({}, everywhere, { LUAPILOT = "env.lua" }).out)
    assert.matches("^pilot.lua: no mistakes\n", checked({}, everywhere, { LUAPILOT = "" }).out)
  end)

  it("else ./pilot.lua, else /etc/pilot.lua", function()
    assert.matches("^pilot.lua: no mistakes\n", checked({}, everywhere).out)
    assert.matches("^/etc/pilot.lua: no mistakes\n", checked({}, { "/etc/pilot.lua" }).out)
  end)

  it("or none, and where it looked", function()
    assert.same({ code = 2, out = "", err = [[
luapilot: there is no pilot.lua. Looked for:
  $LUAPILOT        is not set
  ./pilot.lua      does not exist
  /etc/pilot.lua   does not exist
Name it: luapilot run FILE. luapilot init writes a first one.
]] }, checked({}, {}))
  end)

  it("up to the line that ends it, and says which", function()
    local function ends(text, files)
      files = files or {}
      files["pilot.lua"] = 'local pilot = require "luapilot"\npilot.job "a" { exec = "x | y" }\n' .. text
      return luapilot({ "check" }, files).err
    end
    assert.matches("pilot.lua: 2 mistakes; line 4 ended the file: what follows was not checked\n$",
      ends 'local x = nil\nx.y = 1\npilot.job "b" { exec = "x | y" }')
    assert.matches("pilot.lua: 2 mistakes; line 3 ended the file: what follows was not checked\n$",
      ends "pilot.sleep(1)")
    assert.matches("pilot.lua: 2 mistakes; more.lua:1 ended the file: what follows was not checked\n$",
      ends('dofile "more.lua"', { ["more.lua"] = "error 'no'" }))
    assert.matches("pilot.lua: 2 mistakes\n$", ends 'pilot.job "b" { exec = "x | y" }')
  end)

  it("not that of standard input by its name", function()
    local result = checked({ "-" }, everywhere)
    assert.equal('luapilot: "-" is no file. To read one from standard input: /dev/stdin <FILE (no pipe); a file of '
      .. "that name is ./-\n", result.err)
    assert.equal(2, result.code)
  end)

  it("a wrong one of $LUAPILOT is not silently another", function()
    local result = checked({}, { "pilot.lua" }, { LUAPILOT = "gone.lua" })
    assert.equal("gone.lua: there is no such file; luapilot init writes a first one\n"
      .. "gone.lua (from $LUAPILOT): 1 mistake\n", result.err)
    assert.equal(2, result.code)
  end)
end)

describe("run", function()
  it("tells every mistake, and starts nothing", function()
    local text = 'local pilot = require "luapilot"\npilot.job "a" { exce = "x" }\npilot.job "b" { exec = "x | y" }\n'
    for _, words in ipairs { {}, { "run" }, { "./pilot.lua" }, { "run", "./pilot.lua" }, { "--", "x" } } do
      local result = luapilot(words, { ["pilot.lua"] = text, ["./pilot.lua"] = text })
      assert.equal(2, result.code)
      assert.equal("", result.out)
      assert.matches('pilot.lua:2: job "a": has nothing to do', result.err)
      assert.matches("pilot.lua: 3 mistakes; nothing was started\n$", result.err)
    end
  end)

  it("gives what stands after -- to pilot.args", function()
    local text = 'local pilot = require "luapilot"\nerror(table.concat(pilot.args, "|"))\n'
    for _, words in ipairs { { "--", "a", "--b", "--" }, { "run", "pilot.lua", "--", "a", "--b", "--" } } do
      assert.matches("^pilot.lua:2: a|%-%-b|%-%-\n", luapilot(words, { ["pilot.lua"] = text }).err)
    end
  end)
end)

describe("check", function()
  it("sums up", function()
    local result = luapilot({ "check" }, { ["pilot.lua"] = [[
local pilot = require "luapilot"
local db = pilot.job "db" { exec = "postgres", stop_timeout = "3s" }
local app = pilot.job "app" { exec = "server", when = pilot.all { db:once "stopped", pilot.once "SIGUSR2" } }
app:on("exit_failed", function() end)
pilot.on("SIGHUP", function() end)
pilot.every("5s", function() end)
pilot.shutdown_timeout "20s"
]] })
    assert.same({ code = 0, err = "", out = [[
pilot.lua: no mistakes
2 jobs (db, app), 2 triggers, 1 timer, 2 handlers
shutdown in 20s at most: app stops before db
]] }, result)
  end)

  it("names twenty jobs, and counts the others", function()
    local lines = luapilot({ "check" }, { ["pilot.lua"] = [[
local pilot = require "luapilot"
for i = 1, 1000 do pilot.job("job-" .. i) { exec = "server" } end
]] }).out
    local names = "job%-1, job%-2, .*job%-19, job%-20, … and 980 more"
    assert.matches("\n1000 jobs %(" .. names .. "%), 0 triggers", lines)
    assert.matches("\nshutdown in 8s at most: all jobs at once\n$", lines)
    assert.matches("\n20 jobs %(job%-1, .*job%-20%), 0", luapilot({ "check" }, { ["pilot.lua"] = [[
local pilot = require "luapilot"
for i = 1, 20 do pilot.job("job-" .. i) { exec = "server" } end
]] }).out)
  end)

  it("counts watches, those that ask the same once, and services", function()
    local result = luapilot({ "check" }, { ["pilot.lua"] = [[
local pilot = require "luapilot"
pilot.consul "localhost:8500"
local db = pilot.watch "db"
pilot.watch "db"
pilot.watch.key "config/limit"
pilot.job "app" { exec = "app", when = db:once "healthy", service = { { port = 80 }, { name = "admin", port = 81 } } }
pilot.job "other" { exec = "app", service = { port = 82 } }
]] })
    assert.matches("\n2 jobs %(app, other%), 1 trigger, 0 timers, 0 handlers, 2 watches, 3 services\n", result.out)
  end)

  it("counts files from templates, where there are some", function()
    local result = luapilot({ "check" }, { ["pilot.lua"] = [[
local pilot = require "luapilot"
local config = pilot.template "/etc/app.conf" { text = "" }
pilot.job "app" { exec = "app", when = config:once "rendered" }
]] })
    assert.matches("\n1 job %(app%), 1 trigger, 0 timers, 0 handlers, 1 template\n", result.out)
  end)

  it("counts watches, each that asks something else, and takes none for a timer", function()
    local result = luapilot({ "check" }, { ["pilot.lua"] = [[
local pilot = require "luapilot"
local db, again, cache = pilot.watch "db", pilot.watch "db", pilot.watch "cache"
pilot.job "app" { exec = "app", when = pilot.all { db:once "healthy", again:once "healthy", cache:once "healthy" } }
]] })
    assert.matches("\n1 job %(app%), 3 triggers, 0 timers, 0 handlers, 2 watches\n", result.out)
  end)
end)

describe("check", function()
  it("shows no secret where a message quotes what stands in the file", function()
    local files = { ["/run/secrets/token"] = "s3cr3t-token", ["pilot.lua"] = [[
local pilot = require "luapilot"
pilot.job "a" { exec = "x", user = pilot.secret "token" .. ":x" }
]] }
    for _, words in ipairs { { "check" }, { "check", "-f", "json" }, { "run" } } do
      local result = luapilot(words, files)
      assert.equal(2, result.code)
      assert.matches("%*%*%*:x", result.err .. result.out)
      assert.no.matches("s3cr3t", result.err .. result.out)
    end
  end)
end)

describe("check and run", function()
  local HEAD = 'local pilot = require "luapilot" local token = pilot.secret "token" '

  -- Whatever stands there, in the file's order: a field that takes no such text, a key, a name.
  local PLACES = {
    'pilot.job "a" { exec = "x", stop_timeout = token }', 'pilot.job "a" { exec = "x", env = { [token] = {} } }',
    'pilot.job "a" { exec = "x", health = { http = token } }', 'pilot.job "a" { exec = "x", [token] = 1 }',
    'pilot.job "a" { exec = "x", restart = { policy = token } }', 'pilot.after(token, print)',
    'pilot.job "a" { exec = "x", when = pilot.once(token) }', 'pilot.logging { level = ("x"):rep(40) .. token }',
  }

  for said, secret in pairs {
    ["a long secret"] = ("s3cr3t-0123456789"):rep(8),
    ["a secret with control characters"] = 's3cr3t"-\t0123\1456\\789\r\127',
    ["a secret of many lines"] = ("s3cr3t-0123456789\n"):rep(8),
  } do
    it("quote no part of " .. said, function()
      for _, place in ipairs(PLACES) do
        local files = { ["/run/secrets/token"] = secret, ["pilot.lua"] = HEAD .. place }
        for _, words in ipairs { { "check" }, { "check", "-f", "json" }, { "run" } } do
          local result = luapilot(words, files)
          assert.equal(2, result.code)
          assert.no.matches("s3c", result.err .. result.out)
          assert.no.matches("123", result.err .. result.out)
          assert.matches("%*%*%*", result.err .. result.out)
        end
      end
    end)
  end
end)

describe("check warns", function()
  local HEAD = 'local pilot = require "luapilot"\n'

  -- The warnings of a file, one a line, and what is said on stdout, on a machine that has this.
  local function warned(text, has, environ, files)
    files = files or {}
    files["pilot.lua"] = HEAD .. text
    local result = luapilot({ "check" }, files, environ or { PATH = "/bin:/usr/bin" }, has)
    assert.equal(0, result.code)
    return result.err, result.out
  end

  local PROGRAMS = { ["/bin/sh"] = 493, ["/bin/text"] = 420, ["/usr/bin"] = true, ["/bin"] = true, ["."] = true,
    ["/usr/local/bin/server"] = 493 }

  local GOLDEN = {
    { 'pilot.job "a" { exec = "server --x" }',
      'job "a": exec: there is no program "server" on its PATH on this machine' },
    { 'pilot.job "a" { exec = "text" }', 'job "a": exec: "/bin/text" is not executable (chmod +x) on this machine' },
    { 'pilot.job "a" { exec = "/opt/x" }', 'job "a": exec: there is no program "/opt/x" on this machine' },
    { 'pilot.job "a" { exec = "/bin" }', 'job "a": exec: "/bin" is a directory, not a program on this machine' },
    { 'pilot.job "a" { exec = "./run", cwd = "/bin" }',
      'job "a": exec: there is no program "/bin/run" on this machine' },
    { 'pilot.job "a" { exec = "text", env = { PATH = "/x" } }',
      'job "a": exec: there is no program "text" on its PATH on this machine' },
    { 'pilot.job "a" { exec = "server", env_clear = true }', -- which is searched for where execvp(3) would
      'job "a": exec: there is no program "server" on its PATH on this machine' },
    { 'pilot.job "a" { exec = "sh", health = { { tcp = "a:1" }, { exec = "curl -f x" } } }',
      'job "a": health[2].exec: there is no program "curl" on its PATH on this machine' },
    { 'pilot.job "a" { exec = "sh", user = "app", group = "www" }',
      'job "a": user: there is no user "app" on this machine',
      'job "a": group: there is no group "www" on this machine' },
    { 'pilot.job "a" { exec = "sh", env_file = "/etc/app.env", cwd = "/srv" }',
      'job "a": env_file: there is no file "/etc/app.env" on this machine',
      'job "a": cwd: there is no directory "/srv" on this machine' },
    { 'pilot.job "a" { exec = "sh", log = { file = "/log/x" } }',
      'job "a": log.file: there is no directory "/log" on this machine' },
    { 'pilot.job "a" { exec = "sh", pidfile = "/run/a/a.pid" }',
      'job "a": pidfile: there is no directory "/run/a" on this machine' },
    { 'pilot.template "/bin/x" { source = "/x.tmpl", validate = "nginx -t", owner = "app" }',
      'template "/bin/x": source: there is no file "/x.tmpl" on this machine',
      'template "/bin/x": validate: there is no program "nginx" on its PATH on this machine',
      'template "/bin/x": owner: there is no user "app" on this machine' },
    { 'pilot.template "/x/y" { text = "" }', 'template "/x/y": to: there is no directory "/x" on this machine' },
    { 'pilot.job "a" { health = { http = "http://x/" } }', 'job "a": health.http: libcurl is not installed' },
    { 'pilot.consul "localhost:8500" pilot.on("SIGHUP", function() end)', "pilot.consul: libcurl is not installed" },
    { 'pilot.on("SIGHUP", function() pilot.http.get "http://x/" end)', "pilot.http: libcurl is not installed" },
    { 'pilot.job "a" { exec = "sh", stop_timeout = "1m" }',
      'job "a": stop_timeout: 1m is more than a shutdown leaves it: after 7s it is killed '
        .. "(pilot.shutdown_timeout is 8s)" },
    -- nothing to say
    { 'pilot.job "a" { exec = pilot.sh "true" }' },
    { 'pilot.job "a" { exec = "text", env = { PATH = "/closed:/bin" } }' },
    { 'pilot.job "a" { exec = "sh", user = 1000, stop_timeout = "7s" }' },
    { 'pilot.job "a" { exec = "sh", health = { tcp = "a:1" } }' },
    { 'pilot.shutdown_timeout "2m" pilot.job "a" { exec = "sh", stop_timeout = "1m" }' },
  }
  for _, row in ipairs(GOLDEN) do
    it("of " .. row[1], function()
      local has = { curl = false, ["/closed/text"] = "closed" }
      for path, mode in pairs(PROGRAMS) do has[path] = mode end
      local err, out = warned(row[1], has)
      local expected = {}
      for i = 2, #row do expected[i - 1] = "warning: pilot.lua:2: " .. row[i] .. "\n" end
      assert.equal(table.concat(expected), err)
      local count = #expected == 0 and "" or #expected == 1 and ", 1 warning" or (", %d warnings"):format(#expected)
      assert.equal("pilot.lua: no mistakes" .. count, out:match "^[^\n]*")
    end)
  end

  it("of a program where the PATH of its env_file does not lead", function()
    local has = { ["/opt/bin/own"] = 493, ["/bin/sh"] = 493, ["/etc/app.env"] = 420, ["/bin/usual"] = 493 }
    local function of(program, text, more)
      local job = ('pilot.job "a" { exec = %q, env_file = "/etc/app.env" %s }'):format(program, more or "")
      return (warned(job, has, nil, { ["/etc/app.env"] = text }))
    end
    local NONE = 'warning: pilot.lua:2: job "a": exec: there is no program "%s" on its PATH on this machine\n'
    assert.equal("", of("own", "# ours\nexport PATH='/opt/bin'\n"))
    assert.equal(NONE:format "usual", of("usual", "PATH=/opt/bin\n"))
    assert.equal("", of("usual", "PATH=/opt/bin\n", ', env = { PATH = "/bin" }'))
    assert.equal(NONE:format "own", of("own", "OTHER=1\n"))
    assert.equal("", of("own", "no variable\n")) -- nobody knows what is meant
    assert.equal(NONE:format "own", of("own", nil)) -- it is not there
  end)

  describe("of another user", function()
    local TAKES = 'warning: pilot.lua:2: job "a": %s: takes %s on this machine\n'
    local ROOT = "root, or CAP_SETUID and CAP_SETGID, and this is user 1000"

    -- `rights`: two digits of CapEff, of which 40 is CAP_SETGID and 80 CAP_SETUID; nil: no /proc.
    local function of(fields, user, rights)
      local has = { user = user, ["/bin/sh"] = 493, ["user app"] = 1001, ["user own"] = 1000, ["group own"] = 100,
        ["group app"] = 101 }
      local status = "Name:\tluapilot\nUid:\t1000\t1000\t1000\t1000\nGid:\t99\t100\t99\t99\nCapPrm:\t00000000000000ff\n"
        .. "CapEff:\t00000000000000%s\nCapBnd:\t00000000000000ff\n"
      local files = { ["/proc/self/status"] = rights and status:format(rights) }
      return (warned(('pilot.job "a" { exec = "/bin/sh", %s }'):format(fields), has, nil, files))
    end

    it("where it is not root and has not the capabilities", function()
      for _, rights in ipairs { "00", "40", "80", "none" } do
        rights = rights ~= "none" and rights or nil
        assert.equal(TAKES:format("user", ROOT), of('user = "app"', 1000, rights))
        assert.equal(TAKES:format("user", ROOT), of("user = 1001", 1000, rights))
      end
      assert.equal("", of('user = "app"', 1000, "c0"))
      assert.equal("", of('user = "app"', 0, "c0"))
      assert.equal("", of('user = "app"', 0, nil))
    end)

    it("where root has been deprived of them", function()
      local NOT_ALL = "CAP_SETUID and CAP_SETGID, which root lacks"
      assert.equal(TAKES:format("user", NOT_ALL), of('user = "app"', 0, "40"))
      assert.equal(TAKES:format("group", NOT_ALL), of('group = "own"', 0, "00"))
    end)

    it("not where it is its own, in the group that it has", function()
      assert.equal("", of('user = "own"', 1000, "00"))
      assert.equal("", of("user = 1000", 1000, nil))
      assert.equal("", of('user = "own", group = "own"', 1000, "00"))
      assert.equal("", of('group = "own"', 1000, "00"))
      assert.equal(TAKES:format("user", ROOT), of('user = "own", group = "app"', 1000, "80"))
      assert.equal("", of('user = "own", group = "app"', 1000, "40"))
    end)
  end)

  local DEAD_END = 'warning: pilot.lua:3: job "migrate": when it fails, job "app" never starts, and job "db" keeps the '
    .. 'pilot alive: with main = true in job "app" the pilot ends then\n'
  local ROWS = {
    { [[, when = db:once "healthy"]], "", [[migrate:once "exit_success"]], "", DEAD_END },
    { "", "", [[pilot.all { db:once "healthy", pilot.all { migrate:once "exit_success" } }]], "", DEAD_END },
    { ", restart = 3", "", [[migrate:once "exit_success"]], "", DEAD_END },
    { ", restart = 'on_failure'", "", [[migrate:once "exit_success"]], "", "" },          -- it is tried for ever
    { "", ", main = true", [[migrate:once "exit_success"]], "", "" },
    { "", "", [[pilot.any { migrate:once "exit_success", pilot.each "SIGUSR2" }]], "", "" },
    { "", "", [[migrate:once "exit_success"]], [[migrate:on("exit_failed", function() end)]], "" },
    { "", "", [[migrate:once "exit_success"]],
      [[pilot.job "tell" { exec = "x", when = migrate:each "exit_failed" }]], "" },
    { "", "", [[db:once "healthy"]], "", "" },
  }
  for i, row in ipairs(ROWS) do
    it("of a one-shot whose failure leaves a pilot that serves nothing: " .. i, function()
      assert.equal(row[5], (warned(([[
local db = pilot.job "db" { exec = "db", restart = "always", health = { exec = "true" } }
local migrate = pilot.job "migrate" { exec = "migrate" %s }
pilot.job "app" { exec = "app", restart = "always" %s, when = %s }
%s]]):format(unpack(row)))))
    end)
  end

  for keeper, what in pairs {
    ['pilot.job "nightly" { exec = "x", when = pilot.cron "@daily" }'] = 'job "nightly"',
    ['pilot.job "by-hand" { exec = "x", when = "manual" }'] = 'job "by-hand"',
    ['pilot.job "hook" { exec = "x", when = pilot.each "SIGHUP" }'] = 'job "hook"',
    ['pilot.every("5s", function() end)'] = "pilot.every at pilot.lua:4",
    ['pilot.watch("db"):on("changed", function() end)'] = 'watch "db"',
    ['pilot.on("SIGHUP", function() end)'] = "a handler of a signal",
  } do
    it("of the same where what keeps the pilot alive is " .. what, function()
      local err = warned([[
local migrate = pilot.job "migrate" { exec = "migrate" }
pilot.job "app" { exec = "app", restart = "always", when = migrate:once "exit_success" }
]] .. keeper)
      assert.is_truthy(err:find(', and ' .. what .. " keeps the pilot alive: with main", 1, true), err)
    end)
  end

  it("of none where nothing else keeps the pilot alive", function()
    assert.equal("", (warned [[
local migrate = pilot.job "migrate" { exec = "migrate" }
pilot.job "app" { exec = "app", restart = "always", when = migrate:once "exit_success" }
pilot.template "/x" { text = "" }
]]))
  end)
end)

describe("check --format json", function()
  local function checked(text, has)
    local result = luapilot({ "check", "--format", "json" }, { ["pilot.lua"] = text }, { PATH = "/bin" }, has)
    assert.equal("", result.err)
    return result
  end

  it("says of a good file what it declares, and its warnings", function()
    assert.same({ code = 0, err = "", out = '{"ok":true,"file":"pilot.lua","mistakes":[],"warnings":['
      .. '{"file":"pilot.lua","line":2,"field":"job \\"db\\".exec",'
      .. '"message":"there is no program \\"db\\" on its PATH on this machine"}],'
      .. '"jobs":["db","app"],"triggers":1,"dependencies":0,"timers":1,"handlers":0,"templates":0,"watches":0,'
      .. '"services":1,'
      .. '"shutdown":{"seconds":8,"order":[{"job":"db","after":["app"]}]}}\n' }, checked([[
local pilot = require "luapilot"
local db = pilot.job "db" { exec = "db" }
pilot.job "app" { exec = "app", when = db:once "stopped", service = { port = 80 } }
pilot.every("5s", function() end)
]], { ["/bin/app"] = 493 }))
  end)

  it("says of another one all its mistakes", function()
    assert.same({ code = 2, err = "", out = '{"ok":false,"file":"pilot.lua","mistakes":['
      .. '{"file":"pilot.lua","line":2,"field":"job \\"a\\".exce",'
      .. '"message":"unknown field (did you mean \\"exec\\"?)"},'
      .. '{"file":"pilot.lua","line":2,"field":"job \\"a\\"",'
      .. '"message":"has nothing to do: give it exec = { \\"program\\" } or run = function(job) … end '
      .. '(only a job with service or health may have neither)"}],"warnings":[]}\n' },
      checked 'local pilot = require "luapilot"\npilot.job "a" { exce = "/a/b" }\n')
    assert.same({ code = 2, err = "", out = '{"ok":false,"file":"pilot.lua","mistakes":['
      .. '{"file":"pilot.lua","line":null,"field":null,"message":"declares nothing: no job, no timer, no '
      .. 'handler; start with local pilot = require '
      .. '\\"luapilot\\" and pilot.job \\"app\\" { exec = { \\"program\\" } }"}],"warnings":[]}\n' },
      checked 'local pilot = require "luapilot"\n')
  end)

  it("is UTF-8, whatever is in the file", function()
    local text = 'local pilot = require "luapilot"\npilot.job "a" { exec = "x", cwd = "/\255ä\228/€" }\n'
    local message = '"there is no directory \\"/\239\191\189ä\239\191\189/€\\" on this machine"'
    assert.is_truthy(checked(text, {}).out:find(message, 1, true))
    text = text:gsub("ä", "\237\160\128") -- a surrogate
    message = message:gsub("ä", ("\239\191\189"):rep(3))
    assert.is_truthy(checked(text, {}).out:find(message, 1, true))
  end)

  it("says of no file that there is none", function()
    local result = luapilot { "check", "--format", "json" }
    assert.equal(2, result.code)
    assert.matches('^{"ok":false,"file":null,"mistakes":%[{"file":null,"line":null,"field":null,"message":"there is no '
      .. 'pilot.lua. Looked for:\\n', result.out)
    assert.equal("", result.err)
  end)
end)

describe("check", function()
  it("keeps to 80 columns", function()
    local all = luapilot({ "check", "--help" }).out .. luapilot({ "check" }, { ["pilot.lua"] = [[
local pilot = require "luapilot"
local last = {}
for i = 1, 12 do
  for j = 1, 3 do
    last[j] = pilot.job("job-" .. i .. "-" .. j) { exec = "x", when = last[j] and last[j]:once "stopped" }
  end
end
]] }).out:gsub("\n36 jobs[^\n]*", "")
    for line in all:gmatch "[^\n]+" do assert.is_true(#line <= 80, line) end
  end)
end)

describe("the plan of the shutdown", function()
  local function plan(text) return shutdown.plan(loaded(text)) end

  it("goes against the triggers, in groups", function()
    local result = plan [[
      local db = pilot.job "db" { exec = "db", stop_timeout = "3s" }
      local cache = pilot.job "cache" { exec = "cache", stop_timeout = "1s" }
      local app = pilot.job "app" { exec = "app", stop_timeout = "2s",
        when = pilot.all { db:once "stopped", cache:once "stopped" } }
      pilot.job "web" { exec = "web", when = app:each "stopped", stop_timeout = "500ms" }
      pilot.job "cron" { exec = "cron", when = pilot.every "1h", stop_timeout = "4s" }
    ]]
    assert.same({ { "web", "cron" }, { "app" }, { "db", "cache" } }, result.groups)
    assert.same({ "web stops before app", "app before db", "app before cache" }, shutdown.order(result))
  end)

  it("names the first of many", function()
    local result = plan [[
      local last
      for i = 1, 30 do last = pilot.job("j" .. i) { exec = "a", when = last and last:once "exit_success" or nil } end
    ]]
    assert.equal(30, #result.groups)
    local order = shutdown.order(result)
    assert.equal("j30 stops before j29", order[1])
    assert.equal("j11 before j10", order[20])
    assert.equal("and 9 more", order[21])
  end)

  it("is bounded by shutdown_timeout, whatever the sum of the stop_timeouts: handlers are awaited, too", function()
    assert.equal(8, plan('pilot.job "a" { exec = "a", stop_timeout = "1m" }').bound)
    assert.equal(2, plan('pilot.shutdown_timeout "2s" pilot.job "a" { exec = "a" }').bound)
    local box = boxes.load [[
      pilot.job "a" { exec = "a", stop_timeout = "1s" }
      pilot.on("shutdown", function() pilot.sleep "4s" end)
    ]]
    local bound = shutdown.plan(box.app).bound
    box:program("a", {})
    box:start()
    box:advance "1s"
    box:signal "SIGTERM"
    local asked = box.world:elapsed()
    box:run_until(function() return box.ended end)
    assert.is_true(box.world:elapsed() - asked > 3)
    assert.is_true(box.world:elapsed() - asked <= bound)
  end)

  it("ends jobs that wait for each other together", function()
    local result = plan [[
      local a, b = pilot.job "a", pilot.job "b"
      a { exec = "a", when = pilot.any { b:each "stopped", pilot.each "startup" }, stop_timeout = "1s" }
      b { exec = "b", when = a:each "stopped", stop_timeout = "2s" }
      pilot.job "c" { exec = "c", when = b:once "stopped", stop_timeout = "3s" }
    ]]
    assert.same({ { "c" }, { "a", "b" } }, result.groups)
    assert.same({ "c stops before b", "a, b together" }, shutdown.order(result))
  end)

  it("of no jobs has no order", function()
    assert.equal("shutdown: 8s at most", shutdown.line(plan 'pilot.on("SIGHUP", function() end)'))
  end)
end)

describe("graph", function()
  local EVERYTHING = [[
local db = pilot.job "db" { exec = "postgres", health = { tcp = "localhost:5432" }, restart = "on_failure" }
local migrate = pilot.job "migrate-all" { exec = "migrate", when = db:once("healthy", { timeout = "1m" }) }
pilot.job "app" {
  exec = "server", main = true, restart = 3, stop_timeout = "2s",
  when = pilot.all { migrate:once "exit_success", pilot.any { pilot.once "SIGUSR2", pilot.every "30s" } },
  health = { { exec = "true" }, { check = function() return true end }, { exec = "false" } },
}
pilot.job "end" { exec = "backup", when = pilot.cron("0 3 * * *", { jitter = "5m" }) }
pilot.job "hook" { exec = "hook", when = pilot.each("SIGHUP", { settle = "1s", when_busy = "drop" }) }
pilot.job "by-hand" { exec = "x", when = "manual", restart = "always" }
pilot.job "maybe" { exec = "x", when = function() return true end }
]]

  it("is Mermaid", function()
    assert.equal([[
flowchart LR
  job_db["db<br/>restart on failure<br/>health: tcp"]
  job_migrate_all["migrate-all"]
  job_app[["app<br/>main<br/>restart 3×<br/>health: exec, check"]].."]]"..[[

  job_end["end"]
  job_hook["hook"]
  job_by_hand["by-hand<br/>restart always"]
  job_maybe["maybe"]
  source_1(["start-up"])
  group_1{{"all of"}}
  group_2{{"any of"}}
  source_2(["pilot: SIGUSR2"])
  source_3(["every 30s"])
  source_4(["cron 0 3 * * *"])
  source_5(["pilot: SIGHUP"])
  source_6(["job:start()"])
  source_7(["function at pilot.lua:12"])
  source_1 --> job_db
  job_db -->|"once healthy, within 1m"| job_migrate_all
  job_migrate_all -->|"once exit_success"| group_1
  source_2 -->|"once"| group_2
  source_3 -->|"each"| group_2
  group_2 --> group_1
  group_1 --> job_app
  source_4 -->|"each, jitter 5m"| job_end
  source_5 -->|"each, settle 1s, when busy: drop"| job_hook
  source_6 -.-> job_by_hand
  source_7 -->|"when true"| job_maybe
%% shutdown: 8s at most; app stops before migrate-all; migrate-all before db
]], mermaid.draw(diagram.of(loaded(EVERYTHING))))
  end)

  local DEPENDS = [[
local db = pilot.job "db" { exec = "db", health = { tcp = "localhost:1" } }
pilot.job "migrate" { exec = "migrate", depends_on = { db } }
pilot.job "app" { exec = "app", when = "manual", bind = true,
  depends_on = { [db] = "healthy", migrate = "exit_success" } }
]]

  it("shows what a job depends on, dashed", function()
    local drawn = diagram.of(loaded(DEPENDS))
    assert.equal([[
flowchart LR
  job_db["db<br/>health: tcp"]
  job_migrate["migrate"]
  job_app["app"]
  source_1(["start-up"])
  source_2(["job:start()"])
  source_1 --> job_db
  job_db -.->|"depends_on: healthy"| job_migrate
  source_2 -.-> job_app
  job_migrate -.->|"depends_on: exit_success"| job_app
  job_db -.->|"depends_on: healthy, bind"| job_app
%% shutdown: 8s at most; app stops before migrate; migrate, app before db
]], mermaid.draw(drawn))
    local edge = 'job_db -> job_migrate [label="depends_on: healthy", style=dashed];'
    assert.is_truthy(dot.draw(drawn):find(edge, 1, true))
  end)

  it("shows watches and templates as sources, and the services of a job", function()
    assert.equal([[
flowchart LR
  job_app["app<br/>services: app, admin"]
  job_db["db<br/>service: db"]
  source_1(["watch #quot;db#quot; { tag = #quot;a#quot; }"])
  source_2(["template /etc/app.conf"])
  source_1 -->|"once healthy"| job_app
  source_2 -->|"each rendered"| job_db
%% shutdown: 8s at most; all jobs at once
]], mermaid.draw(diagram.of(loaded [[
local file = pilot.template "/etc/app.conf" { text = "" }
pilot.job "app" { exec = "app", when = pilot.watch "db" { tag = "a" }:once "healthy",
  service = { { port = 80 }, { name = "admin", port = 81 }, { id = "x", port = 82 } } }
pilot.job "db" { exec = "db", when = file:each "rendered", service = { port = 1 } }
]])))
  end)

  it("is DOT", function()
    local pilot = loaded [[
local db = pilot.job "db" { exec = "x", when = "manual" }
pilot.job "end" {
  exec = "x", main = true, restart = "always",
  when = pilot.all { db:each("exit_failed", { settle = "500ms" }) },
}
]]
    assert.equal([[
digraph pilot {
  rankdir=LR;
  job_db [label="db", shape=box, style=rounded];
  job_end [label="end\nmain\nrestart always", shape=box, style=rounded, peripheries=2];
  source_1 [label="job:start()", shape=plaintext];
  group_1 [label="all of", shape=diamond];
  source_1 -> job_db [style=dashed];
  job_db -> group_1 [label="each exit_failed, settle 500ms"];
  group_1 -> job_end;
}
// shutdown: 8s at most; end stops before db
]], dot.draw(diagram.of(pilot)))
  end)

  it("names the watch that starts a job", function()
    assert.matches([[
  source_1%(%["watch #quot;db#quot;"%]%)
  source_1 %-%->|"once healthy, within 1m"| job_app
]], mermaid.draw(diagram.of(loaded [[
pilot.job "app" { exec = "x", when = pilot.watch "db":once("healthy", { timeout = "1m" }) }
]])), 1)
  end)

  it("draws a group once that starts several jobs, or is a part of several groups", function()
    local drawn = diagram.of(loaded [[
local both = pilot.any { pilot.once "SIGUSR1", pilot.once "SIGUSR2" }
pilot.job "a" { exec = "x", when = both }
pilot.job "b" { exec = "x", when = pilot.all { both, pilot.once "SIGHUP" } }
]])
    local edges = {}
    for i, edge in ipairs(drawn.edges) do edges[i] = edge.from .. " " .. edge.to end
    assert.same({ "source_1 group_1", "source_2 group_1", "group_1 job_a", "group_1 group_2", "source_3 group_2",
      "group_2 job_b" }, edges)
  end)

  it("escapes what the languages give a meaning", function()
    local drawn = {
      nodes = { { id = "a", kind = "source", lines = { 'a "b" <c> #d \\e `f` & g' } } }, edges = {}, footer = "f",
    }
    assert.matches('a%(%["a #quot;b#quot; #lt;c#gt; #35;d \\e #96;f#96; #amp; g"%]%)', mermaid.draw(drawn))
    assert.matches('a %[label="a \\"b\\" <c> #d \\\\e `f` & g", ', dot.draw(drawn))
  end)

  it("does not need the variables that the file needs", function()
    local result = luapilot({ "graph" }, { ["pilot.lua"] = [[
local pilot = require "luapilot"
pilot.job "app" { exec = { "server", pilot.env "DB" } }
]] })
    assert.equal(0, result.code)
    assert.matches('^warning: pilot.lua:2: pilot.env "DB": is not set', result.err)
  end)

  it("tells mistakes", function()
    local result = luapilot({ "graph" }, { ["pilot.lua"] = "" })
    assert.equal(2, result.code)
    assert.equal("", result.out)
    assert.matches("^pilot.lua: declares nothing", result.err)
  end)
end)

describe("test", function()
  it("makes an exit code of os.exit", function()
    local codes = { { nil, 0 }, { true, 0 }, { false, 1 }, { 0, 0 }, { 3, 3 } }
    for _, case in ipairs(codes) do
      assert.equal(case[2], (test.contain(function() os.exit(case[1], true) end)))
    end
  end)

  it("makes an exit code of an error, and leaves os.exit as it was", function()
    local before = os.exit
    assert.equal(0, (test.contain(function() end)))
    assert.same({ 1 }, { test.contain(function() error() end) }) -- busted's way to fail
    local code, message = test.contain(function() error "oops" end)
    assert.equal(1, code)
    assert.matches("oops\nstack traceback", message)
    assert.equal(before, os.exit)
  end)
end)
