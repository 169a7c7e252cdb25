local boxes = require "support.boxes"
local effort = require "support.effort"
local sim = require "luapilot.sim"

describe("a box", function()
  after_each(boxes.check)

  -- The message of an error that must name this file.
  local function blamed(fn, ...)
    local ok, message = pcall(fn, ...)
    assert.is_false(ok)
    assert.is_truthy(message:find "^spec/[%w_/]+.lua:%d+: ", message)
    return message
  end

  local function has(text, part) assert.is_truthy(text:find(part, 1, true), text) end

  it("knows what was misspelt", function()
    local box = boxes.load [[ pilot.job "web" { exec = "nginx" } ]]
    has(blamed(function() box:advanec "1s" end), 'a box has no "advanec" (did you mean "advance"?)')
    has(blamed(function() return box:job("web").helth end), 'a job has no "helth" (did you mean "health"?)')
    has(blamed(function() box:job("web"):start() end), 'a job has no "start" (did you mean "starts"?)')
    assert.is_nil(box.exit_code)
  end)

  it("quotes no part of its own secret, and knows nothing of another's", function()
    local world, said = sim.world(), {}
    local function load(secret)
      return boxes.load([[
        pilot.secret "token"
        local text = ("mine-"):rep(5) .. ("yours-"):rep(5) .. ("."):rep(9)
        pilot.on("SIGUSR1", function() print(select(2, pcall(pilot.sleep, text))) end)
      ]], { files = { ["/run/secrets/token"] = secret } }, world):start()
    end
    local both = { load(("mine-"):rep(5)), load(("yours-"):rep(5) .. ("."):rep(4)) }
    for i, box in ipairs(both) do
      box:signal "SIGUSR1"
      box:advance "1s"
      for _, entry in ipairs(box:log()) do said[i] = entry.message:match '("[^"]*") is no duration' or said[i] end
    end
    assert.same({ '"***' .. ("yours-"):rep(5) .. ("."):rep(9) .. '"', '"' .. ("mine-"):rep(5) .. '***....."' }, said)
  end)

  it("runs a pilot.lua from its start to its end", function()
    local box = boxes.load [[
      local web = pilot.job "web" { exec = { "nginx", "-g", "daemon off;" }, reload = "SIGHUP" }
      pilot.after("10s", function() web:reload() end)
    ]]
    local web = box:job "web"
    box:program("nginx -g", sim.server)
    assert.equal("waiting", web.state)
    box:start()
    box:advance "9s"
    assert.is_true(web.running)
    assert.equal("running", web.state)
    assert.is_number(web.pid)
    assert.equal(0, web:received "SIGHUP")
    box:advance "2s"
    assert.equal(1, web:received "SIGHUP")
    assert.equal(1, web:starts())
    assert.equal(0, web.restarts)
    assert.is_nil(box.exit_code)
    assert.equal(0, box:stop())
    assert.is_false(web.running)
    assert.equal(0, web.exit.code)
  end)

  it("loads real files, and what they require beside them", function()
    local directory = os.tmpname()
    os.remove(directory)
    assert(os.execute("mkdir " .. directory))
    finally(function() os.execute("rm -r " .. directory) end)
    local function write(name, text)
      local file = assert(io.open(directory .. "/" .. name, "w"))
      file:write(text)
      file:close()
    end
    write("pilot.lua", 'require "luapilot".job "app" { exec = require("names").program }')
    write("names.lua", 'return { program = "thing" }')
    write("data.txt", "text")
    local box = sim.load(directory .. "/pilot.lua")
    box:program("thing", { exit = 0 })
    box:start()
    box:advance "1s"
    assert.equal(1, box:job "app":starts())
    assert.same({}, box:errors())
    assert.equal("text", sim.read(directory .. "/data.txt"))
    has(blamed(sim.load, directory .. "/no.lua"), "no.lua")
    has(blamed(sim.read, "no-such-file"), "no-such-file")
  end)

  it("names the spec's line and every mistake of the file", function()
    local message = blamed(boxes.load, [[pilot.job "a" { exce = "x" }
      pilot.job "b" { exec = "x", restart = "alway" }]])
    has(message, "pilot.lua:1")
    has(message, "pilot.lua:2")
  end)

  it("knows its options, jobs, signals and durations, and says what is wrong with another", function()
    has(blamed(boxes.load, "", { fils = {} }), '"files"')
    local box = boxes.load [[ pilot.job "app" { exec = "app" } ]]
    has(blamed(box.job, box, "apps"), '"app"')
    has(blamed(box.signal, box, "TERM"), "SIGTERM")
    has(blamed(box.tcp, box, "localhost:80", "open"), "hangs")
    has(blamed(box.tcp, box, "localhost", "up"), "host:port")
    has(blamed(box.fault, box, "open", "/x", "EIO"), "mkdir")
    box:program("app", { exit = 0 })
    box:start()
    has(blamed(box.start, box), "runs already")
    has(blamed(box.advance, box, "5"), "5s")
  end)

  it("says that it has not been started, when time is to pass for nothing", function()
    local box = boxes.load [[ pilot.job "app" { exec = "app" } ]]
    local never = function() return false end
    for call, argument in pairs { advance = "1s", run_until = never, stop = false } do
      has(blamed(box[call], box, argument), ("box:%s: the pilot has not been started: box:start()"):format(call))
    end
    box:program("app", { exit = 0 })
    box:start()
    assert.equal(0, box:stop())
  end)

  describe("records as an error", function()
    local function only_error(box)
      local errors = box:forget_errors()
      assert.equal(1, #errors, table.concat(errors, "\n"))
      has(errors[1], "[seed 1]")
      assert.same({}, box:errors())
      return errors[1]
    end

    it("a program that nobody described", function()
      local box = boxes.run [[ pilot.job "app" { exec = { "/bin/app", "-x" } } ]]
      box:advance "1s"
      has(only_error(box), 'box:program("/bin/app", { exit = 0 })')
      assert.equal(127, box:job "app".exit.code)
    end)

    it("a file that nobody described", function()
      local box = boxes.run [[ pilot.after("1s", function() pilot.fs.read "/etc/x" end) ]]
      box:advance "2s"
      has(only_error(box), 'files = { ["/etc/x"] = "content" }')
    end)

    it("an address that nobody described", function()
      local box = boxes.run([[
        pilot.job "app" { exec = "app", health = { tcp = "db:5432" } }
      ]], { app = {} })
      box:advance "100ms"
      has(only_error(box), 'box:tcp("db:5432", "up")')
      box:tcp("db:5432", "up")
    end)

    it("with the line of the pilot.lua that uses it", function()
      local FILE = [[
        pilot.job "app" { exec = "app" }
        pilot.job "web" {
          exec = "web", env_file = "/web.env",
          health = { { exec = "check it", interval = "1h" }, { http = "http://a/b" }, { tcp = "db:1" } },
        }
        pilot.template "/etc/x" { source = "/x.tmpl", validate = { "validate" } }
        pilot.after("1s", function()
          pilot.exec("tool", { check = false })
        end)
      ]]
      local function complaint_of(options, described)
        local box = boxes.load(FILE, { files = options.files })
        for name, behaviour in pairs { app = {}, web = {}, ["check it"] = { exit = 0 }, validate = { exit = 0 },
                                       tool = { exit = 0 } } do
          if name ~= described then box:program(name, behaviour) end
        end
        if described ~= "http" then box:http("http://a/b", 200) end
        if described ~= "tcp" then box:tcp("db:1", "up") end
        box:start()
        box:advance "2s"
        return box:forget_errors()[1]
      end
      local FILES = { ["/web.env"] = "A=1", ["/x.tmpl"] = "x" }
      for described, expected in pairs {
        app = 'pilot.lua:1: nobody described the program "app"',
        web = 'pilot.lua:2: nobody described the program "web"',
        ["check it"] = 'pilot.lua:2: nobody described the program "check it"',
        http = 'pilot.lua:2: nobody described the URL "http://a/b"',
        tcp = 'pilot.lua:2: nobody described the address "db:1"',
        validate = 'pilot.lua:6: nobody described the program "validate"',
        tool = 'pilot.lua:8: nobody described the program "tool"',
      } do has(complaint_of({ files = FILES }, described), expected) end
      has(complaint_of { files = { ["/web.env"] = "A=1" } }, 'pilot.lua:6: nobody described the file "/x.tmpl"')
      has(complaint_of { files = { ["/x.tmpl"] = "x" } }, 'pilot.lua:2: nobody described the file "/web.env"')
    end)

    it("an error in a handler", function()
      local box = boxes.run [[ pilot.after("1s", function() error "oops" end) ]]
      box:advance "2s"
      has(only_error(box), "oops")
    end)

    it("what is left behind", function()
      local box = boxes.run([[
        pilot.shutdown_timeout "1s"
        pilot.job "app" { exec = "app" }
      ]], { app = {} })
      box:advance "1s"
      box.port.kernel.signal_group = function() return true end -- a kernel that sends no signal
      box:stop()
      has(only_error(box), "still alive when the pilot ended: app (pid")
    end)
  end)

  it("takes a file as absent when it is said to be", function()
    local box = boxes.run([[ pilot.after("1s", function() print(pilot.fs.read "/etc/x") end) ]], {},
      { files = { ["/etc/x"] = false } })
    box:advance "2s"
    assert.equal(1, boxes.logged(box, "nil"))
  end)

  it("shows logs, output, events, files, history", function()
    local box = boxes.run([[
      local app = pilot.job "app" { exec = "app" }
      app:on("exit_success", function()
        pilot.log.warn("done", { n = 1 })
        pilot.fs.write("/tmp/x", "written")
        pilot.sleep "1h"
      end)
    ]], { app = { exit = 0, after = "2s", stdout = "one\ntwo\n", stderr = "three" } })
    box:advance "3s"
    assert.equal("one\ntwo\nthree\n", box:output "app")
    assert.equal("written", box:file "/tmp/x")
    local last = box:log()[#box:log()]
    for _, entry in ipairs(box:log()) do if entry.message == "done" then last = entry end end
    assert.same({ "warn", "done", { n = 1 } }, { last.level, last.message, last.fields })
    local success = box:events()[2]
    assert.same({ "exit_success", "app" }, { success.name, success.source })
    assert.near(2, success.at, 0.01)
    local history = box:history()
    for _, part in ipairs { "seed 1", "spawn   app", "output  app: two", "app exit_success", "done n=1" } do
      has(history, part)
    end
  end)

  it("has a world of its own: environment, name, addresses, arguments, clock, random numbers", function()
    local box = boxes.run([[
      print(pilot.env "HOME", pilot.env "X", pilot.hostname(), pilot.address(), pilot.args[1])
      print(os.date("%Y-%m-%d %H:%M:%S"), os.time(), math.floor(pilot.now()), os.getenv "X")
      print(math.random() < 1, math.random(3) <= 3)
      print(pcall(io.open, "/etc/passwd"))
      pilot.after("1s", function() end)
    ]], {}, { env = { X = "1" }, hostname = "web", args = { "-v" }, now = "2026-03-29 00:59:59" })
    local log = box:log()
    assert.equal("/root\t1\tweb\t172.17.0.2\t-v", log[1].message)
    assert.equal("2026-03-29 00:59:59\t1774745999\t1774745999\t1", log[2].message)
    assert.equal("true\ttrue", log[3].message)
    has(log[4].message, "pilot.fs.read")
  end)

  it("dies of a signal that nothing can hear", function()
    local box = boxes.run([[ pilot.job "app" { exec = "app" } ]], { app = {} })
    box:advance "1s"
    box:signal "SIGKILL"
    assert.equal(137, box.exit_code)
    assert.equal(0, #box.port.kernel:alive())
  end)

  it("advances one thing after the other", function()
    local box = boxes.run [[
      for _, d in ipairs { 3, 1, 2 } do pilot.after(d, function() print(d) end) end
      pilot.after(1, function() pilot.sleep(1) print "1+1" end)
    ]]
    box:advance "1h"
    local seen = {}
    for _, entry in ipairs(box:log()) do seen[#seen + 1] = entry.message:match "^%d%S*$" end
    assert.same({ "1", "2", "1+1", "3" }, seen)
  end)

  it("runs until something is so, or says that it is not", function()
    local box = boxes.run([[ pilot.job "app" { exec = "app", restart = "always" } ]],
      { app = { exit = 1, after = "10s" } })
    local app = box:job "app"
    box:run_until(function() return app.restarts == 3 end)
    assert.is_true(box.world:elapsed() > 30)
    local message = blamed(box.run_until, box, function() return app.restarts == 100 end, "1m")
    has(message, "within 1m (seed 1)")
    has(message, "exit_failed")
  end)

  it("is quick: an hour of a busy pilot takes little work", function()
    local box = boxes.run([[
      for i = 1, 5 do
        pilot.job("app-" .. i) {
          exec = "app", restart = "always", health = { tcp = "localhost:80", interval = "1s" },
        }
      end
    ]], { app = { listens = "127.0.0.1:80", after = "5m", exit = 1 } })
    local instructions = effort.instructions(function() box:advance "1h" end)
    assert.is_true(instructions < 2e8, instructions .. " instructions")
    assert.is_true(box:job "app-5":starts() > 10)
  end)
end)

describe("a seed", function()
  local SOURCE = [[
    for _, name in ipairs { "a", "b", "c" } do
      local job = pilot.job(name) {
        exec = { "app", name }, restart = "always", health = { tcp = "localhost:80" },
      }
      job:on("unhealthy", function() pilot.log.warn("down " .. math.random(1000)) end)
    end
    pilot.every("1s", function() print "tick" end)
    pilot.every("1s", function() print "tock" end)
  ]]

  local function history(seed)
    local box = boxes.load(SOURCE, { seed = seed })
    box:program("app", { stdout = "up\n", listens = "127.0.0.1:80", after = "7s", exit = 1 })
    box:start()
    box:advance "1m"
    box:stop()
    assert.same({}, box:errors())
    return box:history()
  end

  it("gives the same history again", function()
    assert.equal(history(5), history(5))
  end)

  -- LuaJIT numbers strings anew in each process, and `pairs` goes by these numbers: of two names each is the first half
  -- of the time.
  it("gives the same history in each process", function()
    local script = [[
      local source = 'require("luapilot").job "app" { exec = "app" }'
      local box = require("luapilot.sim").load("pilot.lua", { source = source })
      box:program("app", { stdout = "no newline", stderr = "none here", exit = 0, after = "1s" })
      box:start()
      box:advance "1m"
      print(box:history())
    ]]
    local seen = {}
    for i = 1, 8 do
      local child = assert(io.popen("LUA_PATH='lua/?.lua;lua/?/init.lua;;' luajit - <<'END'\n" .. script .. "\nEND"))
      seen[i] = child:read "*a"
      child:close()
      assert.is_truthy(seen[i]:find "app: no newline" and seen[i]:find "app: none here", seen[i])
      assert.equal(seen[1], seen[i])
    end
  end)

  it("gives another history than another one", function()
    assert.not_equal(history(5), history(6))
  end)
end)

describe("a world", function()
  after_each(boxes.check)

  it("is one clock for several boxes, whose programs reach each other", function()
    local world = sim.world { seed = 2 }
    local db = boxes.load([[ pilot.job "db" { exec = "db" } ]], { hostname = "db" }, world)
    local app = boxes.load([[
      pilot.job "app" { exec = "app", health = { tcp = "db:5432", interval = "1s" } }
    ]], {}, world)
    db:program("db", { start_delay = "5s", listens = "0.0.0.0:5432", term_delay = "1s" })
    app:program("app", sim.server)
    db:start()
    app:start()
    world:advance "4s"
    assert.equal("unhealthy", app:job "app".health)
    app:advance "3s"
    assert.equal("healthy", app:job "app".health)
    assert.equal(0, db:stop())
    world:advance "10s"
    assert.equal("unhealthy", app:job "app".health)
    assert.equal(0, app:stop())
  end)

  it("has a wall clock that can be set", function()
    local box = boxes.run [[ pilot.every("1s", function() print(math.floor(pilot.now())) end) ]]
    box:advance "1500ms"
    box.world:shift_clock(-3600)
    box:advance "1s"
    assert.equal(1, boxes.logged(box, tostring(1767225601)))
    assert.equal(1, boxes.logged(box, tostring(1767225602 - 3600)))
  end)
end)
