-- luapilot init [DIR]: a first pilot.lua, a spec for it, and what an editor wants to know.
--
-- It never overwrites: if one of the files is there, none is written. Their texts are first.lua's.

local command = require "luapilot.cli.command"
local ffi = require "ffi"
local first = require "luapilot.cli.first"

ffi.cdef "int mkdir(const char *path, unsigned int mode);"

local MODE = tonumber("755", 8)

---@type luapilot.Command
local new = {
  name = "init", usage = "init [DIR]",
  summary = "a first pilot.lua, a spec for it, and settings for the editor",
  description = "Writes pilot.lua, spec/pilot_spec.lua and .luarc.json (for editors with the Lua\n"
    .. "language server). Existing files stay as they are: if one of them is there,\n"
    .. "nothing is written.",
  epilog = [[
Exit codes:
   0                     written
   2                     a file is there already, or cannot be written

Example:
   luapilot init && luapilot check && luapilot test]],
}

function new.define(parser)
  parser:argument("DIR"):target "dir":argname "DIR":args "?"
    :description "Where; it is made if it is missing. Default: here."
end

local function below(dir, name)
  return dir == "." and name or dir:gsub("/+$", "") .. "/" .. name
end

-- Every directory above a path. That one exists already, or cannot be made, shows when the file is written.
local function make_directories(path)
  for stop in path:gmatch "()/" do
    if stop > 1 then ffi.C.mkdir(path:sub(1, stop - 1), MODE) end
  end
end

local function existing(port, dir)
  local list = {}
  for _, file in ipairs(first.files) do
    local path = below(dir, file.name)
    if port.stat(path) then list[#list + 1] = path end
  end
  return list
end

local FILE = tonumber("644", 8)

local function write(port, path, text)
  make_directories(path)
  local ok
  local id, message = port.open(path, "create")
  if id then ok, message = port.chmod(id, { mode = FILE }) end
  if ok then ok, message = port.put(id, text) end
  if id then port.cancel(id) end
  if ok then return true end
  return nil, ("luapilot init: cannot write %s: %s\n"):format(path, message)
end

function new.act(arguments, screen)
  local port, dir = screen.port(), arguments.dir or "."
  if dir == "" then dir = "." end
  local there = existing(port, dir)
  if #there > 0 then
    screen.err(("luapilot init: %s: there already; nothing was written\n"):format(table.concat(there, ", ")))
    return command.MISTAKES
  end
  for _, file in ipairs(first.files) do
    local path = below(dir, file.name)
    local ok, message = write(port, path, file.text)
    if not ok then
      screen.err(message)
      return command.MISTAKES
    end
    screen.out("wrote " .. path .. "\n")
  end
  screen.out(dir == "." and "Next: luapilot check, luapilot test, luapilot\n"
    or ("Next: cd %s, luapilot check, luapilot test, luapilot\n"):format(dir))
  return 0
end

return new
