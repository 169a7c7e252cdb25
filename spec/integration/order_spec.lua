-- depends_on and bind with real processes: who starts after whom, is stopped with whom, and ends before whom.

local run   = require "support.run"
local story = require "support.story"

-- server("x") is up when the file x is there, which it makes itself, and takes away when it is told to end.
local JOBS = [[
  local pilot = require "luapilot"
  local function server(name)
    return pilot.sh(("trap 'echo %s told; rm -f %s; exit 0' TERM; echo up >%s; echo %s ready; "
      .. "while :; do sleep 0.02; done"):format(name, name, name, name))
  end
  local function up(name) return { exec = { "test", "-e", name }, interval = "1s" } end
]]

describe("the order of jobs", function()
  after_each(run.cleanup)

  it("is that of depends_on, from the first start to the end", function()
    local p = run.pilot(JOBS .. [[
      pilot.job "app" { exec = server "app", depends_on = { "db", migrate = "exit_success" }, stop_timeout = "1h" }
      pilot.job "migrate" { exec = "cat db", depends_on = { "db" } }
      pilot.job "db" { exec = server "db", health = up "db", stop_timeout = "1h" }
    ]])
    p:wait_for_line "app ready"
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    story.assert_order(p, {
      'job "app": waits for db %(healthy%), migrate %(exit_success%)', 'job "db": is healthy', 'job "migrate": started',
      'job "migrate": exited with code 0', 'job "app": started', "shutting down", "app told", 'job "app": stopped',
      "db told", 'job "db": stopped',
    })
    story.assert_lines(p, 1, 'job "migrate": waits')
  end)

  it("holds when a dependency crashes or is restarted, and the job is bound to it", function()
    local p = run.pilot(JOBS .. [[
      local db = pilot.job "db" { exec = server "db", health = up "db", stop_timeout = "1h",
        restart = { policy = "always", backoff = 0 } }
      pilot.job "app" { exec = server "app", depends_on = { db }, bind = true, stop_timeout = "1h" }
      pilot.on("SIGUSR2", function() db:restart() end)
      pilot.on("SIGHUP", function() db:signal "SIGKILL" end)
    ]])
    p:wait_for_line "app ready"
    p:signal "SIGUSR2"
    p:wait_for_line("app ready", 2)
    p:signal "SIGHUP"
    p:wait_for_line("app ready", 3)
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    story.assert_order(p, {
      "app ready", 'job "app": is stopped with db', 'job "app": stopped', 'job "db": stopping', "db ready", "app ready",
      'job "db": was killed by SIGKILL', "app told", "app ready", "shutting down", 'job "app": stopped', "db told",
    })
  end)

  it("fails what can never have what it depends on, with that code", function()
    local p = run.pilot(JOBS .. [[
      pilot.job "migrate" { exec = pilot.sh "exit 7" }
      pilot.job "app" { exec = server "app", restart = "always", main = true,
        depends_on = { migrate = "exit_success" } }
      pilot.job "other" { exec = server "other", stop_timeout = "1h" }
    ]])
    story.assert_ends(p, 7)
    story.assert_order(p, {
      'job "migrate": exited with code 7',
      'job "app": depends on job "migrate" %(exit_success%), which failed: exited with code 7',
      'the main job "app" can never start',
    })
    story.assert_lines(p, 0, "app ready")
  end)
end)
