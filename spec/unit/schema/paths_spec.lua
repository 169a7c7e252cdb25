-- Relative paths of a pilot.lua, word by word, on the simulator: all of them mean the directory of that file.
-- With the real kernel, and from other working directories: spec/integration/paths_spec.lua.

local sim = require "luapilot.sim"

describe("relative paths", function()
  local box

  -- The file is conf/pilot.lua below the working directory, /pilot.
  local function load(source, options)
    options = options or {}
    options.source = 'local pilot = require "luapilot"\n' .. source
    box = sim.load("conf/pilot.lua", options)
    return box
  end

  local function run(body, options)
    load('pilot.job "task" { run = function() ' .. body .. " end }", options):start()
    box:advance "1s"
  end

  local function logged(pattern)
    for _, entry in ipairs(box:log()) do
      if entry.message:find(pattern) then return entry.message end
    end
  end

  it("of a job are below the directory of the file", function()
    load([[
      pilot.job "app" { exec = "app", env_file = "app.env", cwd = "sub", log = { file = "logs/app.log" } }
    ]], { files = { ["/pilot/conf/app.env"] = "A=1", ["/pilot/conf/sub"] = true, ["/pilot/conf/logs"] = true } })
    box:program("app", { stdout = "hello\n", exit = 0 })
    box:start()
    box:advance "1s"
    assert.same({}, box:errors())
    assert.equal(0, box:job "app".exit.code)
    assert.matches("hello", box:file "/pilot/conf/logs/app.log")
  end)

  it("of a program are, too, where the job has no directory of its own", function()
    load [[
      pilot.job "here" { exec = "./bin/app -x", health = { exec = "bin/check", interval = "1s" } }
      pilot.job "there" { exec = "./app", cwd = "/srv" }
      pilot.job "anywhere" { exec = "app" }
    ]]
    for _, word in ipairs { "/pilot/conf/bin/app", "./app", "app" } do box:program({ word }, sim.server) end
    box:program({ "/pilot/conf/bin/check" }, { exit = 0 })
    box:start()
    box:advance "1s"
    assert.same({ "/pilot/conf/bin/app", "-x" }, box:job "here":process().argv)
    assert.equal("healthy", box:job "here".health)
    assert.same({ "./app" }, box:job "there":process().argv)
    assert.same({ "app" }, box:job "anywhere":process().argv)
    box:stop()
    assert.same({}, box:errors())
  end)

  it("in a spec are those of the file that it loads", function()
    load([[ pilot.job "app" { exec = "./app", env_file = "app.env" } ]], { files = { ["app.env"] = "A=1" } })
    box:program("./app", { exit = 0 })
    box:start()
    box:advance "1s"
    assert.same({}, box:errors())
    assert.equal("A=1", box:file "/pilot/conf/app.env")
    box:write("more", "text")
    assert.equal("text", box:file "/pilot/conf/more")
  end)

  it("of pilot.fs are read and written there, also at the top level", function()
    load([[
      local text = pilot.fs.read "in.txt"
      pilot.job "task" { run = function()
        pilot.fs.mkdir("out/deep", { parents = true })
        pilot.fs.write("./out/a.txt", text)
        pilot.fs.append("out/a.txt", "more")
        pilot.fs.rename("out/a.txt", "out/deep/b.txt")
        print(pilot.fs.exists "out/a.txt", pilot.fs.stat("out/deep/b.txt").type, pilot.fs.list("out")[1])
        print(table.concat(pilot.fs.glob "out/*/*.txt", " "), #pilot.fs.glob "out/deep")
        print(pilot.fs.remove "out/none")
      end }
    ]], { files = { ["in.txt"] = "text" } })
    box:start()
    box:advance "1s"
    assert.same({}, box:errors())
    assert.equal("textmore", box:file "/pilot/conf/out/deep/b.txt")
    assert.is_truthy(logged "^false\tfile\tdeep$")
    assert.is_truthy(logged "^out/deep/b.txt\t1$")
  end)

  it("of a render and its validator, and of a template", function()
    load([[
      pilot.template "kept.conf" { source = "a.tmpl", data = { n = 1 } }
      pilot.job "task" { run = function()
        pilot.render { source = "a.tmpl", to = "made.conf", data = { n = 2 }, validate = "./check {file}" }
      end }
    ]], { files = { ["/pilot/conf/a.tmpl"] = "n = <%= n %>\n" } })
    box:program("/pilot/conf/check", { exit = 0 })
    box:start()
    box:advance "1s"
    assert.same({}, box:errors())
    assert.equal("n = 1\n", box:file "/pilot/conf/kept.conf")
    assert.equal("n = 2\n", box:file "/pilot/conf/made.conf")
  end)

  it("of what a killed pilot left behind in a render, which is put back at the start", function()
    load([[
      pilot.template "kept" { text = "new", data = function() pilot.sleep "1h" end }
      pilot.job "task" { when = "manual", run = function() pilot.render { text = "new", to = "made" } end }
    ]], { files = { made = "bad", [".made.luapilot-old"] = "old", kept = "bad", [".kept.luapilot-old"] = "good" } })
    box:start()
    assert.same({ "old", "good" }, { box:file "made", box:file "kept" })
    assert.is_nil(box:file "/pilot/conf/.made.luapilot-old")
    box:stop()
    assert.same({}, box:errors())
  end)

  it("of a program that a task runs", function()
    load [[
      pilot.job "task" { run = function()
        pilot.exec { "bin/tool", "a/b" }
        pilot.exec({ "./tool" }, { cwd = "work" })
      end }
    ]]
    box:write("work", true)
    box:program({ "/pilot/conf/bin/tool", "a/b" }, { exit = 0 })
    box:program({ "./tool" }, { exit = 0 })
    box:start()
    box:advance "1s"
    assert.same({}, box:errors())
  end)

  it("of secrets and of Consul's token", function()
    load([[
      pilot.consul { token_file = "token" }
      local secret = pilot.secret "db"
      pilot.job "task" { run = function() pilot.fs.write("/out", secret) end }
    ]], { env = { DB_FILE = "secrets/db" }, files = { token = "tok-tok", ["secrets/db"] = "hidden" } })
    assert.equal("tok-tok", box.app.consul.token)
    box:start()
    box:advance "1s"
    assert.equal("hidden", box:file "/out")
  end)

  it("of certificates become whole", function()
    load [[
      pilot.job "app" { exec = "app", health = { http = { url = "https://a/", tls = { cafile = "ca.pem", capath = "/ca",
        clientcert = "./me.pem", clientkey = "me.key" } } } }
    ]]
    local tls = box.app.jobs.app.spec.health[1].http.tls
    assert.same({ "/pilot/conf/ca.pem", "/ca", "/pilot/conf/me.pem", "/pilot/conf/me.key" },
      { tls.cafile, tls.capath, tls.clientcert, tls.clientkey })
  end)

  it("of a file that is no file are those of the working directory", function()
    box = sim.load("/dev/stdin", { source = [[
      local pilot = require "luapilot"
      pilot.job "app" { exec = "app", env_file = "app.env" }
    ]] })
    assert.equal("/pilot/app.env", box.app.jobs.app.spec.env_file)
    box = sim.load("/dev/shm/pilot.lua", { source = [[
      local pilot = require "luapilot"
      pilot.job "app" { exec = "app", env_file = "app.env" }
    ]] })
    assert.equal("/dev/shm/app.env", box.app.jobs.app.spec.env_file)
  end)

  describe("that lead nowhere", function()
    it("are told as written, and as looked for", function()
      run('print(pcall(pilot.fs.write, "gone/a", "x"))', { closed = true })
      assert.equal('false\tpilot.fs.write: cannot write "/pilot/conf/gone/a" (written "gone/a"): its directory '
        .. "does not exist", logged "^false")
      run('print(pcall(pilot.fs.write, "/gone/a", "x"))', { closed = true })
      assert.equal('false\tpilot.fs.write: cannot write "/gone/a": its directory does not exist', logged "^false")
    end)

    it("are told to be there in the working directory, where they once were looked for", function()
      load([[ pilot.job "app" { exec = "app", env_file = "app.env" } ]],
        { files = { ["/pilot/app.env"] = "A=1", ["/pilot/conf/app.env"] = false } })
      box:start()
      box:advance "1s"
      assert.equal('job "app": env_file: cannot open "/pilot/conf/app.env" (written "app.env"): no such file or '
        .. 'directory; "app.env" is there in the working directory, but relative paths are relative to the directory '
        .. "of the pilot.lua", logged "env_file")
    end)
  end)

  it("of two pilots in one process are each told as its own file has them", function()
    local function pilot(source)
      return load(('pilot.template "out" { source = %q }'):format(source), { files = { ["a.tmpl"] = "<%= x %>" } })
    end
    local first, second = pilot "./a.tmpl", pilot "a.tmpl"
    for _, one in ipairs { { first, "./a.tmpl:1:" }, { second, '"out": a.tmpl:1:' } } do
      box = one[1]
      box:start()
      assert.is_truthy(logged(one[2]:gsub("[.]", "%%.")), box:history())
      box:forget_errors()
    end
  end)

  it("in the lines of an env_file and a template are told as written", function()
    load([[
      pilot.job "app" { exec = "app", env_file = "app.env" }
      pilot.template "out" { source = "a.tmpl" }
    ]], { files = { ["app.env"] = "A", ["a.tmpl"] = "<%= x %>" } })
    box:start()
    box:advance "1s"
    assert.is_truthy(logged 'env_file: app.env:1: expected NAME=value')
    assert.is_truthy(logged '"out": a.tmpl:1: "x" is not in data')
    box:forget_errors()
  end)
end)
