-- Words of the language that stand by themselves: pilot.jobs, pilot.shutting_down, what pilot.exec and checks may be
-- told, and output that is discarded.

local boxes = require "support.boxes"

describe("pilot", function()
  after_each(boxes.check)

  local function said(box)
    local list = {}
    for _, entry in ipairs(box:log()) do
      if not entry.event then list[#list + 1] = entry.message end
    end
    return list
  end

  describe("jobs", function()
    it("are all of them, in the order of the file", function()
      local box = boxes.run([[
        pilot.job "z" { exec = "app" }
        local a = pilot.job "a"
        pilot.job "m" { when = "manual", run = function() end }
        a { exec = "app" }
        pilot.after("1s", function()
          local names = {}
          for i, job in ipairs(pilot.jobs()) do names[i] = job.name .. ":" .. job.state end
          print(table.concat(names, " "), pilot.jobs()[3] == a, pilot.jobs() == pilot.jobs())
        end)
      ]], { app = {} })
      box:advance "2s"
      assert.same({ "z:running m:waiting a:running\ttrue\tfalse" }, said(box))
    end)

    it("are no business of the top level: that would be half a list", function()
      local message = boxes.mistakes [[
        pilot.job "a" { exec = "a" }
        for _, job in ipairs(pilot.jobs()) do job:on("exit_failed", print) end
      ]]
      assert.is_truthy(message:find("pilot.lua:2: pilot.jobs tells all jobs, and at the top level the file may still "
        .. "describe more: call it in a handler", 1, true), message)
    end)
  end)

  it("is shutting down from the moment on in which that began", function()
    local box = boxes.run([[
      print(pilot.shutting_down())
      local app = pilot.job "app" { exec = "app" }
      pilot.on("startup", function() print("startup", pilot.shutting_down()) end)
      pilot.on("shutdown", function() print("shutdown", pilot.shutting_down()) end)
      app:on("stopping", function() print("stopping", pilot.shutting_down()) end)
      app:on("stopped", function() print("stopped", pilot.shutting_down()) end)
      pilot.after("1s", function()
        app:stop()
        app:start()
        pilot.shutdown()
      end)
    ]], { app = { term_delay = "10ms" } })
    box:advance "5s"
    assert.is_true(box.ended)
    assert.same({ "false", "startup\tfalse", "stopping\tfalse", "stopped\tfalse", "shutdown\ttrue", "stopping\ttrue",
      "stopped\ttrue" }, said(box))
  end)

  describe("exec", function()
    it("may speak in the log, too, under a name", function()
      local box = boxes.run([[
        pilot.job "tool" { exec = "app" }
        pilot.job "task" { run = function()
          local said = pilot.exec("tool", { log = { as = "tool", level = "warn" } })
          print(("%q %q"):format(said.stdout, said.stderr))
        end }
      ]], { app = { stdout = "of the job\n" }, tool = { stdout = "one\n\nand two", stderr = "bad\n", exit = 0 } })
      box:advance "1s"
      assert.same({ '"one\\\n\\\nand two" "bad\\\n"' }, said(box))
      local lines = {}
      for line in box:output "tool":gmatch "[^\n]+" do lines[#lines + 1] = line end
      table.sort(lines)
      assert.same({ "and two", "bad", "of the job", "one" }, lines)
      assert.equal(1, box:job "tool":starts())
    end)

    it("may speak to nobody", function()
      local box = boxes.run([[
        pilot.job "task" { run = function()
          local said = pilot.exec("tool", { log = "none", max_output = 1, check = false })
          print(("%q %q %d"):format(said.stdout, said.stderr, said.code))
        end }
      ]], { tool = { stdout = ("x"):rep(100), exit = 3 } })
      box:advance "1s"
      assert.same({ '"" "" 3' }, said(box))
    end)

    it("is what the options say", function()
      local box = boxes.load [[
        pilot.job "task" { run = function()
          pilot.exec("tool", { user = "app", group = "web", umask = "027", limits = { nofile = 64 },
            no_new_privs = true })
        end }
      ]]
      local given
      local spawn = box.interface.spawn
      box.interface.spawn = function(options)
        given = options
        return spawn(options)
      end
      box:program("tool", { exit = 0 })
      box:start()
      box:advance "1s"
      assert.same({ "app", "web", 23, { nofile = { 64, 64 } }, true },
        { given.user, given.group, given.umask, given.limits, given.no_new_privs })
    end)
  end)

  describe("a check", function()
    it("has an environment of its own, beside the job's", function()
      local box = boxes.load [[
        pilot.job "app" { exec = "app", env = { A = "job", B = "job" },
          health = { exec = "check", env = { B = "check", C = 3 }, interval = "1s" } }
      ]]
      local seen
      box:program("app", {})
      box:program("check", function(proc)
        seen = { proc.env.A, proc.env.B, proc.env.C, proc.env.LUAPILOT_JOB }
        proc:exit(0)
      end)
      box:start()
      box:advance "1s"
      assert.same({ "job", "check", "3", "app" }, seen)
      assert.equal("healthy", box:job "app".health)
    end)

    it("needs a program for that", function()
      assert.is_truthy(boxes.mistakes [[
        pilot.job "app" { exec = "app", health = { tcp = "a:1", env = { A = "1" } } }
      ]]:find('job "app": health.env: needs exec: it is the environment of that program', 1, true))
    end)
  end)

  describe('log = "none"', function()
    it("discards what a job says", function()
      local box = boxes.run([[
        pilot.job "app" { exec = "app", log = "none" }
        pilot.job "other" { exec = "app", log = { mode = "none" } }
      ]], { app = { stdout = "hello\n", stderr = "hello\n", exit = 0, after = "10ms" } })
      box:advance "1s"
      assert.equal("", box:output "app" .. box:output "other")
      assert.equal(1, box:job "app":starts())
      assert.equal(0, box:job "other".exit.code)
    end)

    it("and nobody can hear it", function()
      assert.is_truthy(boxes.mistakes [[ pilot.job "app" { exec = "app", log = "none" }:on("output", print) ]]
        :find('job "app": log: is "none", so its "output" event can never come: use "lines"', 1, true))
      for _, mode in ipairs { "none", "raw" } do
        local box = boxes.run(([[
          local app = pilot.job "app" { exec = "app", log = %q }
          pilot.after("1s", function()
            print(pcall(app.on, app, "output", print))
            print(pcall(app.next, app, "output"))
          end)
        ]]):format(mode), { app = {} })
        box:advance "2s"
        assert.equal(2, #said(box))
        for _, line in ipairs(said(box)) do
          assert.is_truthy(line:find(('job "app": its log is %q, so its "output" event can never come'):format(mode), 1,
            true), line)
        end
      end
    end)

    it("which is said at the line that asks, and nothing stays behind", function()
      local box = boxes.run([[
        local app = pilot.job "app" { exec = "app", log = "raw" }
        pilot.after("1s", function()
          print(pcall(function() app:next("output", "1s") end))
          print(pcall(function() app:on("output", print) end))
          pilot.sleep "5s"
          print "still here"
        end)
      ]], { app = {} })
      box:advance "10s"
      local lines = said(box)
      local why = 'job "app": its log is "raw", so its "output" event can never come: use "lines"'
      assert.equal("false\tpilot.lua:3: " .. why, lines[1])
      assert.equal("false\tpilot.lua:4: " .. why, lines[2])
      assert.equal("still here", lines[3])
      assert.same({}, box:errors())
      assert.is_false(box.app.bus:has("job:app", "output"))
    end)

    it("and nothing waits for what it says", function()
      local message = boxes.mistakes [[
        local app = pilot.job "app" { exec = "app", log = "raw" }
        pilot.job "other" { exec = "other", when = app:each "output" }
      ]]
      assert.is_truthy(message:find(
        'pilot.lua:2: job "other": when: waits for "output" of job "app", whose log is "raw"', 1, true), message)
    end)

    it("takes nothing else", function()
      local message = boxes.mistakes [[ pilot.job "app" { exec = "app", log = { mode = "none", level = "warn" } } ]]
      assert.is_truthy(message:find('log.level: needs mode = "lines": with "none" all output is discarded', 1, true))
    end)
  end)
end)
