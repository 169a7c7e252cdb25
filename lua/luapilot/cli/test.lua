-- luapilot test [PATH…] [-- OPTIONS]: busted on the user's specs, in this very process.
--
-- Busted comes from where Lua finds it: Debian's package, or luarocks. The specs see the simulator that is inside
-- of this program (require "luapilot.sim"). Busted ends by os.exit, or by error(nil) as its way to say "failed";
-- both become an exit code here, so that what was written is flushed.

local command = require "luapilot.cli.command"
local describe = require "luapilot.base.describe"

local NO_BUSTED = [[
luapilot test: busted is not installed. One of these installs it:
  apt-get install lua-busted        Debian, Ubuntu
  luarocks --lua-version 5.1 install busted
]]

local NO_SPECS = [[
luapilot test: there are no specs: neither a directory spec nor a *_spec.lua here.
luapilot init writes a first one.
]]

local FAILED = 1

---@type luapilot.Command
local test = {
  name = "test", usage = "test [PATH...]", rest = "OPTIONS",
  summary = "your specs, on a simulated container",
  description = "Runs specs of a pilot.lua with busted. They load it with\n"
    .. "require \"luapilot.sim\": the real rules, simulated programs, virtual time. Needs\n"
    .. "busted (Debian: lua-busted).",
  epilog = [[
OPTIONS are busted's: --filter=PATTERN, --list, --output=TAP, --shuffle …

Exit codes:
   0                     all specs passed
   1                     some failed
   2                     busted is not installed, or there are no such specs

Examples:
   luapilot test
   luapilot test spec/nginx_spec.lua -- --filter=reload
   LUAPILOT_SEED=random luapilot test            other latencies]],
}

function test.define(parser)
  parser:argument("PATH"):target "paths":argname "PATH":args "*"
    :description "Spec files, or directories of them. Default: ./spec, or else the *_spec.lua in this directory."
end

-- --- finding things --------------------------------------------------------------------------

-- What `luarocks install --local` installs is on nobody's path by default.
local function add_home_rocks()
  local home = os.getenv "HOME"
  if not home or home == "" then return end
  local share, lib = home .. "/.luarocks/share/lua/5.1/", home .. "/.luarocks/lib/lua/5.1/"
  package.path = ("%s;%s?.lua;%s?/init.lua"):format(package.path, share, share)
  package.cpath = ("%s;%s?.so"):format(package.cpath, lib)
end

local function has_busted()
  return package.searchpath("busted.runner", package.path) ~= nil
end

-- Nil when there is none. A .busted says itself where they are.
local function default_paths()
  local dir, path = require "pl.dir", require "pl.path"
  if path.isfile ".busted" then return {} end
  if path.isdir "spec" then return { "spec" } end
  local here = dir.getfiles(".", "*_spec.lua")
  table.sort(here)
  return #here > 0 and here or nil
end

-- The first path that is not there.
local function missing(paths)
  for _, path in ipairs(paths) do
    if not require "pl.path".exists(path) then return path end
  end
end

-- --- running ---------------------------------------------------------------------------------

local Exit = { __tostring = function(self) return ("os.exit(%s) was called"):format(tostring(self.code)) end }

local function code_of(value)
  if value == nil or value == true then return 0 end
  return tonumber(value) or FAILED
end

-- Busted names itself in its messages after the source of its caller.
local CALLER = load([[
  local result = require "busted.runner" { standalone = false }
  return result
]], "@luapilot test")

---Calls fn; an os.exit inside of it returns its code.
---@param fn function
---@return integer exit_code
---@return string? message      of an error
function test.contain(fn)
  local real = os.exit
  rawset(os, "exit", function(code) error(setmetatable({ code = code_of(code) }, Exit), 0) end)
  local ok, err = xpcall(fn, function(err)
    if err == nil or getmetatable(err) == Exit then return err end
    return debug.traceback(tostring(err), 2)
  end)
  rawset(os, "exit", real)
  if ok then return 0 end
  if getmetatable(err) == Exit then return err.code end
  return FAILED, err
end

function test.act(arguments, screen)
  add_home_rocks()
  if not has_busted() then
    screen.err(NO_BUSTED)
    return command.MISTAKES
  end
  local paths = #arguments.paths > 0 and arguments.paths or default_paths()
  if not paths then
    screen.err(NO_SPECS)
    return command.MISTAKES
  end
  local gone = missing(arguments.paths)
  if gone then
    gone = describe.quote(gone)
    screen.err(("luapilot test: there is no %s: name spec files, or directories of them\n"):format(gone))
    return command.MISTAKES
  end
  local words = { [0] = "luapilot test", "--ignore-lua" }
  for _, word in ipairs(arguments.rest) do words[#words + 1] = word end
  for _, path in ipairs(paths) do words[#words + 1] = path end
  rawset(_G, "arg", words)
  local code, message = test.contain(CALLER)
  if message then screen.err("luapilot test: " .. message .. "\n") end
  return code
end

return test
