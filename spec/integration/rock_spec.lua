-- `luarocks make` without a network, with Debian's luarocks, into a tree of its own; then the installed program runs.

local machine = require "support.machine"
local run = require "support.run"

local CONFIG = [[
rocks_servers = {}
rocks_provided = { ["lua-cjson"] = "2.1.0-1", argparse = "0.7.1-1" }   -- Debian's packages
variables = { LUA_INCDIR = "/usr/include/luajit-2.1", LUA = "/usr/bin/luajit" }
lua_interpreter = "luajit"
]]

describe("the rockspec", function()
  after_each(run.cleanup)

  it("builds and installs a program that runs", function()
    machine.need("git", "luarocks")
    local root = io.popen("pwd"):read "*l"
    local made = run.program({ "sh", "-c", [[
      here=$PWD
      mkdir source
      (cd "$1" && git ls-files -co --exclude-standard -z | tar -c --null -T - -f -) | tar -x -C source &&
      cd source && luarocks --lua-version 5.1 make --tree "$here/tree" luapilot-*.rockspec
    ]], "sh", root }, {
      files = { ["luarocks.lua"] = CONFIG },
      env = { LUAROCKS_CONFIG = "../luarocks.lua", HOME = "." },
    })
    assert.equal(0, made:wait(240), made:output())

    local version = run.program({ made:path "tree/bin/luapilot", "version" })
    assert.equal(0, version:wait(), version:output())
    assert.is_truthy(version:stdout():find "^luapilot %d+%.%d+%.%d+")

    version:write("pilot.lua",
      'require("luapilot").job "a" { exec = { "sh", "-c", "echo hello; exit 3" }, main = true }')
    local pilot = run.program({ made:path "tree/bin/luapilot", version:path "pilot.lua" })
    assert.equal(3, pilot:wait(), pilot:output())
    assert.is_truthy(pilot:output():find "a: hello")

    local modules = made:path "tree/share/lua/5.1"
    local sim = run.program({ "luajit", "-e", 'print(type(require("luapilot.sim").load))' },
      { env = { LUA_PATH = ("%s/?.lua;%s/?/init.lua;;"):format(modules, modules) } })
    assert.equal(0, sim:wait(), sim:output())
    assert.equal("function\n", sim:stdout())
  end)
end)
