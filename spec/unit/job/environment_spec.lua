local env_file = require "luapilot.job.env_file"
local environment = require "luapilot.job.environment"
local stub_port = require "support.stub_port"

describe("environment", function()
  describe("reads an env_file:", function()
    local function parse(text) return env_file.parse(text, "app.env") end

    it("reads lines", function()
      assert.same({ A = "1", B = "", C = "a=b", D = " spaced ", E = "#x", _F1 = "y" },
        parse "A=1\nB=\nC=a=b\nD= spaced \nE=#x\n_F1=y")
    end)

    it("passes over blank lines and comments, and allows export, CRLF and quotes", function()
      assert.same({ A = "1", B = "a b", C = "it's", D = "'", E = '"x', F = "" },
        parse "\n  # comment\r\n  export A=1\r\nB=\"a b\"\nC=\"it's\"\nD='\nE=\"x\nF=\"\"\n\n")
    end)

    it("passes over the mark that editors of Windows put in front", function()
      assert.same({ A = "1", B = "2" }, parse "\239\187\191A=1\r\nB=2\r\n")
      local _, message = parse "A=1\n\239\187\191B=2"
      assert.matches("^app.env:2: expected NAME=value", message)
    end)

    it("lets the last of two win", function()
      assert.same({ A = "2" }, parse "A=1\nA=2")
    end)

    it("says which line is wrong", function()
      for _, line in ipairs { "A", "1A=x", "A B=x", "=x", "A-B=x" } do
        local values, message = parse("OK=1\n\n" .. line)
        assert.is_nil(values)
        assert.equal(('app.env:3: expected NAME=value, got "%s"'):format(line), message)
      end
      assert.equal("app.env:2: B contains a NUL byte, which no variable can", select(2, parse "A=1\nB=x\0y\n"))
    end)
  end)

  describe("build", function()
    local app

    local function job(name, pid) return { spec = { name = name }, memory = { pid = pid } } end

    before_each(function()
      local world = stub_port.new { read = true, pid = true }
      world.files["app.env"] = "A=file\nB=file"
      app = {
        port = world.port,
        order = { job("app", 10), job("other-one", 11), job("third") },
        sources_of = function(_, runner) return runner.sources end,
      }
    end)

    it("adds the file, then env, to the pilot's own", function()
      local added, whole = environment.build(app, { env_file = "app.env", env = { B = "env", C = "env" } },
        { spec = {}, sources = {} })
      assert.same({ A = "file", B = "env", C = "env", LUAPILOT_PID = "2" }, added)
      assert.is_nil(whole)
    end)

    it("begins with nothing when asked to", function()
      local added, whole = environment.build(app, { env_clear = true, env = { X = "1" } }, { spec = {}, sources = {} })
      assert.same({ X = "1", LUAPILOT_PID = "2" }, added)
      assert.same({}, whole)
    end)

    it("changes nothing of what was declared", function()
      local spec = { env = { X = "1" } }
      environment.build(app, spec, { spec = {}, sources = { app.order[1] } })
      assert.same({ env = { X = "1" } }, spec)
    end)

    it("names the processes of the jobs that a job waits for, or of all", function()
      local own = environment.build(app, {}, { spec = {}, sources = { app.order[2], app.order[3] } })
      assert.same({ LUAPILOT_PID = "2", LUAPILOT_OTHER_ONE_PID = "11" }, own)
      assert.same({ LUAPILOT_PID = "2", LUAPILOT_APP_PID = "10", LUAPILOT_OTHER_ONE_PID = "11" },
        (environment.build(app, {})))
    end)

    it("names the addresses of services: the job's own, and of those that it waits for", function()
      local function service(name)
        local runner = job(name)
        runner.spec.service, runner.sources = { {} }, {}
        return runner
      end
      app.advertiser = { address = function(_, runner) return runner.spec.name == "db" and "10.0.0.2" or nil end }
      local own, none = service "db", service "web"
      assert.same({ LUAPILOT_PID = "2", LUAPILOT_JOB = "db", LUAPILOT_DB_IP = "10.0.0.2" },
        (environment.build(app, {}, own)))
      assert.same({ LUAPILOT_PID = "2", LUAPILOT_DB_IP = "10.0.0.2" },
        (environment.build(app, {}, { spec = {}, sources = { own, none } })))
    end)

    it("reads the file anew each time, and says when it cannot", function()
      local spec = { env_file = "gone.env" }
      assert.same({ 'env_file: cannot read "gone.env": no such file or directory', "ENOENT" },
        { select(2, environment.build(app, spec)) })
      app.port = stub_port.new({ read = function() return "A" end, pid = true }).port
      assert.same({ 'env_file: gone.env:1: expected NAME=value, got "A"' }, { select(2, environment.build(app, spec)) })
    end)

    it("says that addresses cannot be asked for, instead of leaving them out", function()
      local runner = job "db"
      runner.spec.service, runner.sources = { {} }, {}
      app.advertiser = { address = function() return nil, "too many open files", "EMFILE" end }
      assert.same({ "too many open files", "EMFILE" }, { select(2, environment.build(app, {}, runner)) })
      assert.same({ "too many open files", "EMFILE" },
        { select(2, environment.build(app, {}, { spec = {}, sources = { runner } })) })
    end)
  end)
end)
