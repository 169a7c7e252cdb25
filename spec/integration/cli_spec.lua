-- The commands of the built program, as somebody types them: what they print, what they leave, how they end.

local machine = require "support.machine"
local run = require "support.run"

local SERVICE = [[
local pilot = require "luapilot"
local setup = pilot.job "setup" { exec = "true" }
pilot.job "web-app" { exec = "sleep 100", when = setup:once "exit_success", main = true }
pilot.job "cron" { exec = "true", when = pilot.cron "0 3 * * *" }
]]

local PASSING = [[
local sim = require "luapilot.sim"
describe("pilot.lua", function()
  it("starts", function()
    local box = sim.load "pilot.lua"
    box:program("true", { exit = 0 })
    box:program("sleep", sim.server)
    box:start()
    box:advance "1s"
    assert.is_true(box:job("web-app").running)
  end)
end)
]]

---A command to its end, in a directory of its own with these files.
local function luapilot(words, options)
  local program = run.luapilot(words, options)
  local code = program:wait()
  return { code = code, out = program:stdout(), err = program:stderr(), program = program }
end

---The same in a directory that is there already.
local function luapilot_in(program, words, env)
  local script = 'cd "$1" && shift && exec "$@"'
  local again = run.program({ "sh", "-c", script, "sh", program.directory, run.binary, unpack(words) }, { env = env })
  local code = again:wait()
  return { code = code, out = again:stdout(), err = again:stderr(), program = again }
end

local function listing(directory)
  local pipe = io.popen("cd '" .. directory .. "' && find . -type f ! -name stdout ! -name stderr | LC_ALL=C sort")
  local text = pipe:read "*a"
  pipe:close()
  return text
end

describe("luapilot", function()
  after_each(run.cleanup)

  it("tells its version and that of LuaJIT", function()
    for _, word in ipairs { "version", "--version", "-V" } do
      local result = luapilot { word }
      assert.matches("^luapilot %d+%.%d+%.%d+\nLuaJIT 2%.1[^\n]* %(Linux, %w+%)\n$", result.out)
      assert.equal(0, result.code)
    end
  end)

  it("helps, on stdout", function()
    for _, words in ipairs { { "--help" }, { "help", "run" }, { "run", "--help" }, { "check", "-h" } } do
      local result = luapilot(words)
      assert.matches("^Usage: luapilot ", result.out)
      assert.equal("", result.err)
      assert.equal(0, result.code)
    end
  end)

  it("refuses what it does not know, on stderr, with code 2", function()
    local wrong = { { "rnu" }, { "--nope" }, { "run", "--nope" }, { "check", "a", "b" }, { "graph", "-f", "x" } }
    for _, words in ipairs(wrong) do
      local result = luapilot(words)
      assert.matches("^luapilot", result.err)
      assert.equal("", result.out)
      assert.equal(2, result.code)
    end
  end)

  it("says when stdout takes nothing", function()
    local result = luapilot({ "version" }, { stdout = "/dev/full" })
    assert.equal("luapilot: cannot write to stdout: No space left on device\n", result.err)
    assert.equal(70, result.code)
  end)
end)

describe("luapilot run", function()
  after_each(run.cleanup)

  local ENDS = [[
local pilot = require "luapilot"
pilot.job "app" { exec = { "sh", "-c", "exit " .. (pilot.args[1] or "7") }, main = true }
]]

  it("finds the file and ends with the code of the main job", function()
    local files = { ["pilot.lua"] = ENDS, ["other.lua"] = ENDS:gsub("7", "8") }
    assert.equal(7, luapilot({}, { files = files }).code)
    assert.equal(7, luapilot({ "run" }, { files = files }).code)
    assert.equal(8, luapilot({ "other.lua" }, { files = files }).code)
    assert.equal(8, luapilot({}, { files = files, env = { LUAPILOT = "other.lua" } }).code)
    assert.equal(7, luapilot({ "run", "./pilot.lua" }, { files = files, env = { LUAPILOT = "other.lua" } }).code)
  end)

  it("gives what stands after -- to pilot.args", function()
    assert.equal(9, luapilot({ "--", "9" }, { files = { ["pilot.lua"] = ENDS } }).code)
    assert.equal(9, luapilot({ "run", "pilot.lua", "--", "9" }, { files = { ["pilot.lua"] = ENDS } }).code)
  end)

  it("starts nothing when there are mistakes", function()
    local result = luapilot({ "run" }, { files = { ["pilot.lua"] = [[
local pilot = require "luapilot"
pilot.job "touch" { exec = "touch started" }
pilot.job "app" { exec = "a | b", restrat = "always" }
]] } })
    assert.equal([[
pilot.lua:3: job "app": exec: | at column 3 is a pipe, and there is no shell here: ]]
      .. [[write pilot.sh "…" to use one, or a list of words { "a", "b" } for the literal text
pilot.lua:3: job "app": restrat: unknown field (did you mean "restart"?)
pilot.lua: 2 mistakes; nothing was started
]], result.err)
    assert.equal("", result.out)
    assert.equal(2, result.code)
    assert.equal("./pilot.lua\n", listing(result.program.directory))
  end)

  it("writes in the format of pilot.logging from that line of the file on", function()
    local result = run.luapilot({}, { files = { ["pilot.lua"] = [[
local pilot = require "luapilot"
pilot.logging { format = "json", level = "warn", output = "/dev/stdout" }
print "hidden"
pilot.log.warn "seen"
pilot.job "app" { exec = "true" }
]] } })
    assert.equal(0, result:wait())
    assert.matches('^{"time":"[^"]*","level":"warn","source":"luapilot","msg":"seen"}\n$', result:stdout())
  end)

  it("counts the bytes that a stalled reader did not take", function()
    local reading, writing = run.pipe()
    local program = run.luapilot({}, { stdout = writing, files = { ["pilot.lua"] = [[
local pilot = require "luapilot"
pilot.after("100ms", function()
  for _ = 1, 2000 do pilot.log.info(("x"):rep(100)) end
  pilot.shutdown(3)
end)
]] } })
    assert.equal(3, program:wait())
    assert.matches("luapilot: warning: %d+ bytes could not be written to stdout\n", program:stderr())
    run.close(writing)
    run.close(reading)
  end)
end)

describe("luapilot check", function()
  after_each(run.cleanup)

  it("and graph have stdout for themselves: what the file says while it is loaded goes to stderr", function()
    local json = require "cjson"
    local files = { ["pilot.lua"] = [[
local pilot = require "luapilot"
pilot.logging { format = "json", output = "stdout" }
print "said by print"
io.write "said by write\n"
io.stdout:write "said by stdout\n"
io.stderr:write "said by stderr\n"
pilot.log.warn "said by log"
pilot.job "app" { exec = "true" }
io.write "said without an end"
]] }
    for _, words in ipairs { { "check", "-f", "json" }, { "check" }, { "graph" } } do
      local result = luapilot(words, { files = files })
      assert.equal(0, result.code)
      assert.no.matches("said", result.out)
      for _, by in ipairs { "by print", "by write", "by stdout", "by stderr", "by log", "without an end" } do
        assert.matches("said " .. by, result.err, 1, true)
      end
      if words[2] then assert.is_true(json.decode(result.out).ok) end
    end
  end)

  it("warns of what this machine does not have, and sends and starts nothing", function()
    local result = luapilot({ "check" }, { files = { ["text"] = "", ["pilot.lua"] = [[
local pilot = require "luapilot"
pilot.job "a" { exec = "no-such-program", env_file = "no.env", cwd = "/no/directory" }
pilot.job "b" { exec = { "./text" }, health = { http = "http://127.0.0.1:1/" } }
pilot.job "c" { exec = pilot.sh "echo started >started", user = "root" }
pilot.job "d" { exec = "true", user = "no-such-user", group = "no-such-group" }
pilot.job "e" { exec = "/bin" }
]] } })
    local err = result.err:gsub("[^\n]*job \"c\": user: takes root[^\n]*\n", ""):gsub("[^\n]*libcurl[^\n]*\n", "")
    assert.equal([[
warning: pilot.lua:2: job "a": exec: there is no program "no-such-program" on its PATH on this machine
warning: pilot.lua:2: job "a": env_file: there is no file "no.env" on this machine
warning: pilot.lua:2: job "a": cwd: there is no directory "/no/directory" on this machine
warning: pilot.lua:3: job "b": exec: "./text" is not executable (chmod +x) on this machine
warning: pilot.lua:5: job "d": user: there is no user "no-such-user" on this machine
warning: pilot.lua:5: job "d": group: there is no group "no-such-group" on this machine
warning: pilot.lua:6: job "e": exec: "/bin" is a directory, not a program on this machine
]], (err:gsub("[^\n]*job \"d\": user: takes root[^\n]*\n", "")))
    assert.equal(0, result.code)
    assert.matches("^pilot.lua: no mistakes, %d+ warnings\n", result.out)
    assert.equal("", result.program:read "started")
  end)

  it("says it in JSON, for programs", function()
    local json = require "cjson"
    local good = luapilot({ "check", "-f", "json" }, { files = { ["pilot.lua"] = SERVICE } })
    local bad = luapilot({ "check", "-f", "json" }, { files = { ["pilot.lua"] = 'require "luapilot".jobb "x"' } })
    assert.same({ 0, "", 2, "" }, { good.code, good.err, bad.code, bad.err })
    assert.same({ "setup", "web-app", "cron" }, json.decode(good.out).jobs)
    assert.equal("pilot.lua", json.decode(bad.out).mistakes[1].file)
    assert.equal(1, json.decode(bad.out).mistakes[1].line)
  end)

  it("sums up what is there", function()
    local result = luapilot({ "check" }, { files = { ["pilot.lua"] = SERVICE } })
    assert.equal([[
pilot.lua: no mistakes
3 jobs (setup, web-app, cron), 2 triggers, 0 timers, 0 handlers
shutdown in 8s at most: web-app stops before setup
]], result.out)
    assert.equal("", result.err)
    assert.equal(0, result.code)
  end)

  it("starts and touches nothing", function()
    local result = luapilot({ "check" }, { files = { ["pilot.lua"] = [[
local pilot = require "luapilot"
pilot.job "app" { exec = "touch app", log = { file = "log" }, prepare = function() pilot.fs.write("prepare", "") end }
pilot.spawn(function() pilot.fs.write("task", "") end)
pilot.logging { output = "/tmp/luapilot-check-must-not-open-this" }
]] } })
    assert.equal(0, result.code)
    assert.equal("./pilot.lua\n", listing(result.program.directory))
    assert.is_nil(io.open "/tmp/luapilot-check-must-not-open-this")
  end)
end)

describe("luapilot graph", function()
  after_each(run.cleanup)

  it("draws Mermaid", function()
    local result = luapilot({ "graph" }, { files = { ["pilot.lua"] = SERVICE } })
    assert.equal([[
flowchart LR
  job_setup["setup"]
  job_web_app[["web-app<br/>main"]].."]]"..[[

  job_cron["cron"]
  source_1(["start-up"])
  source_2(["cron 0 3 * * *"])
  source_1 --> job_setup
  job_setup -->|"once exit_success"| job_web_app
  source_2 -->|"each"| job_cron
%% shutdown: 8s at most; web-app stops before setup
]], result.out)
    assert.equal(0, result.code)
  end)

  it("draws DOT that Graphviz understands", function()
    machine.need "dot" -- Graphviz
    local result = luapilot({ "graph", "--format", "dot" }, { files = { ["pilot.lua"] = SERVICE } })
    assert.equal(0, result.code)
    local svg = run.program({ "dot", "-Tsvg", result.program:path "stdout" })
    assert.equal(0, svg:wait())
    assert.equal("", svg:stderr())
    local drawn = svg:stdout():gsub("&#45;", "-")
    for _, text in ipairs { ">web-app<", ">main<", ">once exit_success<", ">cron 0 3 * * *<" } do
      assert.is_truthy(drawn:find(text, 1, true), text)
    end
  end)
end)

describe("luapilot init", function()
  after_each(run.cleanup)

  local WRITTEN = "./.luarc.json\n./pilot.lua\n./spec/pilot_spec.lua\n"

  it("writes files that pass check and test at once", function()
    local result = luapilot { "init" }
    assert.equal("", result.err)
    assert.equal(0, result.code)
    assert.equal(WRITTEN, listing(result.program.directory))
    local checked = luapilot_in(result.program, { "check" })
    assert.equal("", checked.err)
    assert.equal(0, checked.code)
    local tested = luapilot_in(result.program, { "test" })
    assert.matches("4 successes / 0 failures / 0 errors / 0 pending", tested.out)
    assert.equal(0, tested.code)
    local json = require "cjson"
    assert.equal("LuaJIT", json.decode(result.program:read ".luarc.json")["runtime.version"])
  end)

  it("writes a spec for plain busted as well", function()
    local result = luapilot { "init" }
    local root = run.binary:match "^(/.*)/build/"
    if not root then machine.skip "has the program without its source tree" end
    local busted = run.program({ "sh", "-c", 'cd "$1" && busted --lua=luajit', "sh", result.program.directory }, {
      env = { LUA_PATH = root .. "/lua/?.lua;" .. root .. "/lua/?/init.lua;;" },
    })
    assert.equal(0, busted:wait())
    assert.matches("4 successes / 0 failures / 0 errors", busted:stdout())
  end)

  it("writes a pilot.lua that runs and ends in order", function()
    local result = luapilot { "init" }
    local program = run.luapilot({ result.program:path "pilot.lua" })
    program:wait_for_line 'job "app": is healthy'
    program:wait_for_line "usage: Filesystem"
    program:signal "SIGTERM"
    assert.equal(0, program:wait())
  end)

  it("makes the directory", function()
    local result = luapilot { "init", "deep/er" }
    assert.equal(0, result.code)
    assert.equal("./deep/er/.luarc.json\n./deep/er/pilot.lua\n./deep/er/spec/pilot_spec.lua\n",
      listing(result.program.directory))
  end)

  it("overwrites nothing", function()
    local result = luapilot({ "init" }, { files = { ["pilot.lua"] = "mine" } })
    assert.equal("luapilot init: pilot.lua: there already; nothing was written\n", result.err)
    assert.equal(2, result.code)
    assert.equal("mine", result.program:read "pilot.lua")
    assert.equal("./pilot.lua\n", listing(result.program.directory))
  end)

  it("says when it cannot write", function()
    local result = luapilot { "init", "/proc/luapilot" }
    assert.matches("^luapilot init: cannot write /proc/luapilot/pilot.lua: ", result.err)
    assert.equal(2, result.code)
  end)
end)

describe("luapilot test", function()
  after_each(run.cleanup)

  -- A directory with a pilot.lua and specs beside it.
  local function test(specs, words, env)
    specs["pilot.lua"] = SERVICE
    return luapilot({ "test", unpack(words or {}) }, { files = specs, env = env })
  end

  it("runs the specs beside pilot.lua, with the simulator", function()
    local result = test { ["pilot_spec.lua"] = PASSING, ["not_one.lua"] = "error()" }
    assert.matches("1 success / 0 failures / 0 errors", result.out)
    assert.equal("", result.err)
    assert.equal(0, result.code)
  end)

  it("runs ./spec, and finds helpers there", function()
    local made = luapilot { "init" }
    made.program:write("spec/helper.lua", "return { answer = 42 }")
    made.program:write("spec/helped_spec.lua",
      'it("is helped", function() assert.equal(42, require("spec.helper").answer) end)')
    local result = luapilot_in(made.program, { "test" })
    assert.matches("5 successes / 0 failures / 0 errors", result.out)
    assert.equal(0, result.code)
  end)

  it("fails with the specs, with everything printed", function()
    local result = test {
      ["pilot_spec.lua"] = PASSING, ["bad_spec.lua"] = 'it("is bad", function() assert.equal(1, 2) end)',
    }
    assert.matches("1 success / 1 failure / 0 errors", result.out)
    assert.matches("bad_spec.lua:1: Expected objects to be equal", result.out)
    assert.equal(1, result.code)
  end)

  -- A spec file with a box, and `it`s with these bodies.
  local function with_box(...)
    local parts = { [[
      local sim = require "luapilot.sim"
      describe("pilot.lua", function()
        local box
        before_each(function()
          box = sim.load "pilot.lua"
          box:program("true", { exit = 0 })
          box:start()
        end)
        after_each(function() assert.same({}, box:errors()) end)
    ]] }
    for i, body in ipairs { ... } do parts[#parts + 1] = ('it("number %d", function() %s end)'):format(i, body) end
    return table.concat(parts, "\n") .. "\nend)"
  end

  local function count(text, part)
    local number, at = 0, 1
    while true do
      local from, to = text:find(part, at, true)
      if not from then return number end
      number, at = number + 1, to + 1
    end
  end

  local UNDESCRIBED = 'pilot.lua:3: nobody described the program "sleep 100": box:program("sleep", { exit = 0 })'

  it("tells what the boxes of a spec that fails did, and how to run it again", function()
    local result = test({ ["pilot_spec.lua"] = with_box('box:program("sleep", sim.server)', [[
      box:program("sleep", sim.server) box:advance "30s" assert.equal("x", "y")]]) })
    assert.matches("1 success / 1 failure / 0 errors", result.out)
    assert.equal(1, count(result.out, "--- box (seed 1)\n    0.000000  event   pilot startup\n"))
    assert.matches('job "web%-app": started pid=102', result.out)
    assert.equal(1, count(result.out, "\nAgain: LUAPILOT_SEED=1 luapilot test ./pilot_spec.lua\n"))
    assert.equal("", result.err)
  end)

  it("tells it once, in the words of every output, of plain busted as well", function()
    local specs = { ["pilot_spec.lua"] = with_box('box:advance "1s"') }
    local result = test(specs)
    assert.matches("1 success / 0 failures / 1 error", result.out)
    assert.equal(1, count(result.out, "--- box (seed 1)"))
    assert.is_true(count(result.out, UNDESCRIBED) >= 1)
    local json = test(specs, { "--", "--output=json" })
    assert.is_true(count(json.out, "Again: LUAPILOT_SEED=1 luapilot test ./pilot_spec.lua") >= 1)
    local root = run.binary:match "^(/.*)/build/"
    if not root then machine.skip "has the program without its source tree" end
    local busted = run.program({ "sh", "-c", 'cd "$1" && busted --lua=luajit pilot_spec.lua', "sh",
      result.program.directory }, { env = { LUA_PATH = root .. "/lua/?.lua;" .. root .. "/lua/?/init.lua;;" } })
    assert.equal(1, busted:wait())
    assert.equal(1, count(busted:stdout(), "--- box (seed 1)"))
    assert.equal(1, count(busted:stdout(), "Again: LUAPILOT_SEED=1 busted pilot_spec.lua"))
  end)

  it("bounds the history, and tells nothing of boxes of other specs", function()
    local result = test({ ["a_spec.lua"] = with_box('box:program("sleep", sim.server) box:advance "1s"'),
      ["b_spec.lua"] = 'it("has no box", function() assert.equal(1, 2) end)',
      ["c_spec.lua"] = with_box('box:program("sleep", sim.server) box:advance "2400h"'
        .. ' for _ = 1, 90 do box:signal "SIGUSR2" end error "oops"', 'box:program("sleep", {}) error "again"') })
    assert.equal(2, count(result.out, "--- box (seed 1)"))
    local story = result.out:match "oops\n\n(%-%-%- box.-)\nAgain"
    assert.equal(52, select(2, (story .. "\n"):gsub("\n", "")))
    assert.matches("%(%d+ earlier lines%)", story)
  end)

  it("tells it of a box that several specs share", function()
    local result = test({ ["pilot_spec.lua"] = [[
      local sim = require "luapilot.sim"
      describe("a box of all", function()
        local box
        setup(function()
          box = sim.load "pilot.lua"
          box:program("true", { exit = 0 })
          box:program("sleep", sim.server)
          box:start()
        end)
        it("one", function() box:advance "1s" end)
        it("two", function() error "without it" end)
        it("three", function() box:advance "1s" error "with it" end)
      end)
    ]] })
    assert.equal(1, count(result.out, "--- box (seed 1)"))
    assert.matches("with it\n\n%-%-%- box", result.out)
  end)

  it("runs one seed again", function()
    local specs = { ["pilot_spec.lua"] = [[
      local sim = require "luapilot.sim"
      it("fuzzes", function()
        sim.fuzz { seeds = 20, time = "1m", setup = function(world)
          local box = world:load "pilot.lua"
          box:program("true", { exit = 0 })
          box:program("sleep", sim.server)
        end, always = function(world) assert.is_true(world.seed < 9) end }
      end)
    ]] }
    local first = test(specs).out
    assert.matches("sim.fuzz: seed 9: `always` does not hold", first)
    assert.matches("Again: LUAPILOT_SEED=12 luapilot test ./pilot_spec.lua",
      test(specs, {}, { LUAPILOT_SEED = "12" }).out)
    assert.matches("1 success", test(specs, {}, { LUAPILOT_SEED = "7" }).out)
  end)

  it("fails with more failures than an exit code can hold", function()
    local result = test { ["bad_spec.lua"] = 'for i = 1, 256 do it("is bad " .. i, function() error "x" end) end' }
    assert.matches("0 successes / 0 failures / 256 errors", result.out)
    assert.equal(1, result.code)
  end)

  it("says so where a path is not there", function()
    local result = test({ ["pilot_spec.lua"] = PASSING }, { "pilot_spec.lua", "nope_spec.lua" })
    assert.equal('luapilot test: there is no "nope_spec.lua": name spec files, or directories of them\n', result.err)
    assert.equal("", result.out)
    assert.equal(2, result.code)
  end)

  it("fails when a spec ends the process", function()
    local result = test { ["exit_spec.lua"] = 'it("exits", function() os.exit(0) end) it("goes on", function() end)' }
    assert.matches("1 success / 0 failures / 1 error", result.out)
    assert.matches("os.exit%(0%) was called", result.out)
    assert.equal(1, result.code)
  end)

  it("shows the mistakes of the pilot.lua", function()
    local result = luapilot({ "test" }, { files = { ["pilot_spec.lua"] = PASSING,
      ["pilot.lua"] = 'require "luapilot".job "app" { exce = "x" }' } })
    assert.matches("pilot.lua has mistakes:", result.out)
    assert.matches('job "app": exce: unknown field %(did you mean "exec"%?%)', result.out)
    assert.equal(1, result.code)
  end)

  it("takes paths, and options of busted after --", function()
    local specs = {
      ["a_spec.lua"] = 'it("a", function() end)',
      ["b_spec.lua"] = 'it("b", function() end) it("c", function() end)',
    }
    assert.matches("3 successes", test(specs).out)
    assert.matches("2 successes", test(specs, { "b_spec.lua" }).out)
    assert.matches("1 success /", test(specs, { "b_spec.lua", "--", "--filter=c" }).out)
    assert.matches("^ok 1 %- a\n", test(specs, { "a_spec.lua", "--", "--output=TAP" }).out)
    local result = test(specs, { "--", "--nope" })
    assert.matches("luapilot test: error: .*nope", result.err)
    assert.equal(1, result.code)
  end)

  it("obeys .busted, but for the interpreter", function()
    local result = test({ [".busted"] = 'return { default = { lua = "false", ROOT = { "mine.lua" }, pattern = "" } }',
      ["mine.lua"] = 'it("is mine", function() assert.equal("Linux", jit.os) end)' })
    assert.matches("1 success / 0 failures / 0 errors", result.out)
    assert.equal(0, result.code)
  end)

  it("says that there are no specs", function()
    local result = test {}
    assert.matches("^luapilot test: there are no specs: ", result.err)
    assert.equal(2, result.code)
  end)

  it("says what to install when busted is not there", function()
    local result = test({ ["pilot_spec.lua"] = PASSING }, {}, { LUA_PATH = "/nowhere/?.lua" })
    assert.matches("^luapilot test: busted is not installed.*\n  apt%-get install lua%-busted", result.err)
    assert.equal(2, result.code)
  end)
end)

describe("a machine that refuses what luapilot needs", function()
  after_each(run.cleanup)

  it("is named, with code 71, and is no error inside luapilot", function()
    local p = run.program({ "sh", "-c", 'ulimit -n 5; exec "$@"', "sh", run.binary, "run", "/dev/null/pilot.lua" })
    assert.equal(71, p:wait())
    assert.equal("luapilot: the runtime cannot start: too many open files\n", p:stderr())
  end)

  it("names the file that is missing", function()
    if not machine.can "unshare --mount true" then machine.skip "no mount namespaces" end
    local script = 'mount -t tmpfs none /dev && exec "$@"'
    local p = run.program({ "unshare", "--mount", "sh", "-c", script, "sh", run.binary, "run", "pilot.lua" })
    assert.equal(71, p:wait())
    assert.matches("luapilot: the runtime cannot start: /dev/null: no such file or directory (", p:stderr(), 1, true)
  end)
end)
