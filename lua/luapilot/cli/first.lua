-- first: what `luapilot init` writes. Texts only; they are meant to be read, and they work as they are.

local first = {}

local PILOT = [==[
-- What runs in this container, in which order, and what happens when something happens.
--
--   luapilot check      every mistake, before anything starts
--   luapilot test       spec/pilot_spec.lua, on a simulated container
--   luapilot            runs it; Ctrl-C ends it in order

local pilot = require "luapilot"

-- A step that runs once, before the rest.
local setup = pilot.job "setup" {
  exec    = { "mkdir", "-p", "/tmp/app" },
  timeout = "10s",
}

-- The service: put your own program here. A crash costs a second, then two, then four ... up to a minute.
local app = pilot.job "app" {
  exec         = { "sleep", "infinity" },
  depends_on   = { [setup] = "exit_success" },
  restart      = "always",
  stop_timeout = "5s",                          -- from SIGTERM to SIGKILL
  health       = { exec = { "test", "-d", "/tmp/app" }, interval = "5s" },      -- or tcp = "localhost:8000"
  main         = true,                          -- if the set-up fails, there is nothing to stay up for
}

-- Something periodic: now, and every hour. A run that would overlap is skipped.
pilot.job "usage" {
  exec = { "df", "-h", "/tmp" },
  when = pilot.every "1h",
}

-- A handler is ordinary Lua. It may wait (pilot.sleep, pilot.exec ...) and holds up nobody else.
app:on("exit_failed", function(event)
  pilot.log.warn("the app ended by itself, and comes back", { code = event.code })
end)
]==]

local SPEC = [==[
-- The rules of pilot.lua, tried on a simulated container: nothing here starts a process, and an hour takes
-- milliseconds. `luapilot test` runs it.

local sim = require "luapilot.sim"

describe("pilot.lua", function()
  local box, app

  before_each(function()
    box = sim.load "pilot.lua"
    box:program("mkdir", { exit = 0, after = "10ms" })
    box:program("sleep", sim.server)            -- runs until a signal ends it
    box:program("test", { exit = 0 })
    box:program("df", { exit = 0, after = "10ms" })
    app = box:job "app"
    box:start()
    box:advance "10s"
  end)

  after_each(function() assert.same({}, box:errors()) end)

  it("starts the app when the set-up has succeeded", function()
    assert.equal(0, box:job("setup").exit.code)
    assert.is_true(app.running)
    assert.equal("healthy", app.health)
  end)

  it("starts the app again after a crash", function()
    app:process():exit(1)
    box:advance "5s"
    assert.is_true(app.running)
    assert.equal(2, app:starts())
  end)

  it("looks at the disk every hour", function()
    box:advance "3h"
    assert.equal(4, box:job("usage"):starts())
  end)

  it("ends in order", function()
    assert.equal(0, box:stop())
    assert.equal(1, app:received "SIGTERM")
  end)
end)
]==]

local LUARC = [==[
{
  "$schema": "https://raw.githubusercontent.com/LuaLS/vscode-lua/master/setting/schema.json",
  "runtime.version": "LuaJIT",
  "workspace.library": ["/usr/local/share/lua/5.1/luapilot", "/usr/share/lua/5.1/luapilot"],
  "workspace.checkThirdParty": false,
  "diagnostics.globals": [
    "describe", "it", "pending", "before_each", "after_each", "setup", "teardown", "insulate", "finally"
  ]
}
]==]

---@type { name: string, text: string }[]
first.files = {
  { name = "pilot.lua", text = PILOT },
  { name = "spec/pilot_spec.lua", text = SPEC },
  { name = ".luarc.json", text = LUARC },
}

return first
