-- locate: which pilot.lua is meant: FILE, else the one that $LUAPILOT names, ./pilot.lua, /etc/pilot.lua.
--
-- It looks and never reads. A file that is named is taken as it is, there or not: the message about a missing
-- file is the loader's.

local locate = {}

local PLACES = { "pilot.lua", "/etc/pilot.lua" }
local WIDTH = 16

local STDIN = 'luapilot: "-" is no file. To read one from standard input: /dev/stdin <FILE (no pipe); a file of that '
  .. "name is ./-\n"

local function not_found(looked)
  local lines = { "luapilot: there is no pilot.lua. Looked for:" }
  for _, each in ipairs(looked) do
    lines[#lines + 1] = ("  %-" .. WIDTH .. "s %s"):format(each[1], each[2])
  end
  lines[#lines + 1] = "Name it: luapilot run FILE. luapilot init writes a first one."
  return table.concat(lines, "\n") .. "\n"
end

---@param port luapilot.Port
---@param file string?       as on the command line
---@return string? path
---@return string? message   without a path: where it looked, in lines; with one: " (from $LUAPILOT)", if it is
function locate.file(port, file)
  if file == "-" then return nil, STDIN end
  if file then return file end
  local named = port.environ().LUAPILOT
  if named and named ~= "" then return named, " (from $LUAPILOT)" end
  local looked = { { "$LUAPILOT", "is not set" } }
  for _, path in ipairs(PLACES) do
    local found, _, code = port.stat(path)
    if found then return path end
    local why = code == "ENOENT" and "does not exist" or "cannot be looked at (" .. tostring(code) .. ")"
    looked[#looked + 1] = { path:sub(1, 1) == "/" and path or "./" .. path, why }
  end
  return nil, not_found(looked)
end

return locate
