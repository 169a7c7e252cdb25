rockspec_format = "3.0"
package = "luapilot"
version = "0.1.0-1"

source = {
  url = "git+https://github.com/luapilot/luapilot.git",
  tag = "v0.1.0",
}

description = {
  summary  = "A supervisor for the processes of a container, scripted in Lua",
  detailed = [[
    Runs as PID 1, starts programs in the order that they need, watches their health, restarts them with
    backoff and ends them in order. This rock installs the program, luapilot, and the modules for specs of
    a pilot.lua on a simulated world (require "luapilot.sim").
  ]],
  license  = "MIT",
  labels   = { "supervisor", "container", "init" },
}

supported_platforms = { "linux" }

-- The Makefile needs LuaJIT's static library, which the program contains; the modules need LuaJIT to run.
dependencies = {
  "lua == 5.1",
  "lua-cjson",
  "argparse",
}

build = {
  type = "make",
  build_target = "all",
  build_variables = {
    CFLAGS = "$(CFLAGS) -g",
  },
  install_variables = {
    CFLAGS = "$(CFLAGS) -g",          -- as above, or make would build again
    BINDIR = "$(BINDIR)",
    LUADIR = "$(LUADIR)",
  },
}
