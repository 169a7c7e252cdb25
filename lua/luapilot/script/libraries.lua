-- libraries: Lua's own libraries as a pilot.lua sees them.
--
-- Copies, so that what a script changes in them is its own affair, and without what would reach past the script
-- into luapilot: what ends or blocks the process, what switches off the hook and the collector that keep scripts
-- in bounds, what changes the core's functions or the values of all. A finaliser that fails is reported, for Lua
-- would raise its error in whatever runs at that moment, the core included.

local copy = require "luapilot.base.copy"
local describe = require "luapilot.base.describe"
local lazy = require "luapilot.base.lazy"

local finalisers = lazy.require "luapilot.script.finalisers"
local stdio = lazy.require "luapilot.script.stdio"
local string_metatable = lazy.require "luapilot.script.string_metatable"

local libraries = {}

local PLAIN = { "assert", "error", "gcinfo", "getmetatable", "ipairs", "next", "pairs", "rawequal", "rawget",
  "rawlen", "rawset", "select", "setmetatable", "tonumber", "tostring", "type", "unpack", "_VERSION" }

---Those that a box has a copy of.
libraries.names = { "table", "math", "bit", "debug", "jit", "os", "io", "coroutine" }

local REFUSED = {
  { "os", "execute", 'use pilot.exec { "program", "argument" }, which waits without stopping everything else' },
  { "io", "popen", 'use pilot.exec { "program", "argument" }, whose result has stdout' },
  { "os", "exit", "use pilot.shutdown(code), which stops the jobs in order" },
  { "debug", "sethook", "luapilot needs the hook, to end what never waits" },
  { "debug", "getregistry", "what is in there is luapilot's" },
  { "jit", "attach", "its callbacks would run inside of luapilot" },
}

local CORE = getfenv(1) -- the globals of luapilot itself

local function refuse(env)
  for _, entry in ipairs(REFUSED) do
    local library, name, instead = unpack(entry)
    env[library][name] = function()
      error(("%s.%s is not available in a pilot.lua: %s"):format(library, name, instead), 2)
    end
  end
end

-- --- protected calls ----------------------------------------------------------------------------

-- pcall(pcall, pcall, …) writes behind the end of Lua's stack: LuaJIT looks at it where a function of Lua begins, and
-- this is one.
local function protected(env)
  function env.pcall(...) return pcall(...) end
  function env.xpcall(...) return xpcall(...) end
end

-- --- the compiler and the collector belong to all ---------------------------------------------

local COLLECTS = { collect = true, step = true, count = true }
local PRETENDS = { stop = 0, restart = 0, setpause = 200, setstepmul = 200 } -- and changes nothing

local function collector(option, ...)
  if PRETENDS[option] then return PRETENDS[option] end
  if option == nil or COLLECTS[option] then return collectgarbage(option or "collect", ...) end
  error("collectgarbage: unknown option " .. describe.value(option), 2)
end

local function nothing() end

-- --- environments ------------------------------------------------------------------------------

local NOT_YOURS = "%s: this function is luapilot's, or Lua's own: its environment cannot be changed"

local function environments(env)
  local function shown(table) return table == CORE and env or table end

  function env.getfenv(target)
    if target == nil then target = 1 end
    if type(target) == "number" and target > 0 then target = target + 1 end
    local found = getfenv(target)
    return shown(found)
  end

  function env.setfenv(target, table)
    local level = type(target) == "number" and target > 0 and target + 1 or target
    if level == 0 or getfenv(level) == CORE then error(NOT_YOURS:format "setfenv", 2) end
    local changed = setfenv(level, table)
    return changed
  end

  function env.debug.getfenv(object) return shown(debug.getfenv(object)) end

  function env.debug.setfenv(object, table)
    if debug.getfenv(object) == CORE then error(NOT_YOURS:format "debug.setfenv", 2) end
    return debug.setfenv(object, table)
  end
end

-- --- metatables that all values of a type share -------------------------------------------------

local OWN = { table = true, userdata = true, cdata = true }

local function set_metatable(value, meta)
  if OWN[type(value)] then return debug.setmetatable(value, meta) end
  error(("debug.setmetatable: all values of type %s share a metatable, luapilot's too"):format(type(value)), 2)
end

-- Methods of strings are looked up in the real table: new names go there, too. Those of Lua stay what they are
-- for luapilot, whatever a script puts in their place.
local OF_LUA = copy.shallow(string)

local function strings()
  return setmetatable(copy.shallow(string), {
    __newindex = function(own, name, value)
      rawset(own, name, value)
      if not OF_LUA[name] then rawset(string, name, value) end
    end,
  })
end

-- The metatable of strings is luapilot's, too: a script is shown a view of it.
local function guard_strings(env)
  local view
  local function shown(value, get)
    if type(value) ~= "string" then return get(value) end
    view = view or string_metatable.of(env.string, OF_LUA)
    return view
  end
  function env.getmetatable(value) return (shown(value, getmetatable)) end
  function env.debug.getmetatable(value) return (shown(value, debug.getmetatable)) end
end

-- --- finalisers ----------------------------------------------------------------------------------

local function with_finalisers(env, report)
  function env.newproxy(model) return (finalisers.newproxy(model, report)) end
  function env.package.preload.ffi() return (finalisers.ffi(report)) end
end

-- --- what is written to stdout and stderr ---------------------------------------------------------

-- Written directly it would stop luapilot when its reader stalls: script/stdio.lua has others, which come with the
-- first use.
local function standard_streams(library, streams)
  for name in ("write output close flush type stdout stderr"):gmatch "%a+" do library[name] = nil end
  setmetatable(library, { __index = function(_, name)
    setmetatable(library, nil)
    stdio.lay(library, streams)
    return library[name]
  end })
end

-- --- all of them -----------------------------------------------------------------------------------

---Lays Lua's libraries into an environment, which has a `package` of its own already.
---@param env table
---@param options { libraries: table<string, table>?, coroutine: table?, report: fun(err: any)?, streams: table? }
---       libraries: functions that stand in for those of a library, by its name; streams: of script/stdio.lua
function libraries.lay(env, options)
  for _, name in ipairs(PLAIN) do env[name] = _G[name] end
  for _, name in ipairs(libraries.names) do env[name] = copy.shallow(_G[name]) end
  if options.streams then standard_streams(env.io, options.streams) end
  for name, functions in pairs(options.libraries or {}) do
    for key, fn in pairs(functions) do env[name][key] = fn end
  end
  if options.coroutine then env.coroutine = options.coroutine end
  env.string, env.collectgarbage = strings(), collector
  env.jit.on, env.jit.off, env.jit.flush = nothing, nothing, nothing
  env.debug.setmetatable = set_metatable
  guard_strings(env)
  protected(env)
  environments(env)
  with_finalisers(env, options.report or nothing)
  refuse(env)
end

return libraries
