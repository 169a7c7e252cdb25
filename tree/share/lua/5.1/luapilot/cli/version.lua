-- luapilot version: luapilot's, and that of the LuaJIT inside.

---@type luapilot.Command
local version = {
  name = "version",
  summary = "the version, and that of LuaJIT",
  description = "Prints the version of luapilot and that of the LuaJIT inside.",
}

function version.define() end

function version.act(_, screen)
  screen.out(("luapilot %s\n%s (%s, %s)\n"):format(screen.version(), jit.version, jit.os, jit.arch))
  return 0
end

return version
