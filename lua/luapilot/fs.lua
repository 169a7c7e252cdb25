-- fs: pilot.fs over the port: small files, read whole and replaced atomically.
--
-- It owns the temporary file between its creation and the rename. It never follows a symbolic link out of the
-- directory by accident: the target is resolved first, and what is replaced is the file that the link names.

local describe = require "luapilot.describe"
local suggest = require "luapilot.suggest"

local fs = {}

local READ_LIMIT = 64 * 1024 * 1024

-- The temporary file gets the target's mode and owner before it takes its place.
local function like_target(port, target, temporary, mode)
  local stat = port.stat(target)
  if not stat and not mode then return true end
  return port.chmod(temporary, {
    mode = mode or stat and stat.mode, uid = stat and stat.uid or nil, gid = stat and stat.gid or nil,
  })
end

---Writes a file so that nobody ever sees half of it, and a crash leaves the old one or the new one.
---@param port luapilot.Port
---@param path string
---@param data string
---@param mode integer?     default: the mode of the file that is there, else 0644
---@return true?, string? message, string? code
function fs.replace(port, path, data, mode)
  local target = port.realpath(path) or path
  local temporary = ("%s.luapilot-%d-%d"):format(target, port.pid(), math.floor(port.random() * 1e9))
  local ok, message, code = port.write(temporary, data, { exclusive = true, sync = true, mode = mode or 420 })
  if ok then ok, message, code = like_target(port, target, temporary, mode) end
  if ok then ok, message, code = port.rename(temporary, target) end
  if not ok then
    if code ~= "EEXIST" then port.remove(temporary) end -- else it is somebody else's
    return nil, ("cannot write %q: %s"):format(path, message), code
  end
  return true
end

local function check_string(value, what, call)
  if type(value) ~= "string" then
    error(("%s: expected %s, got %s"):format(call, what, describe.value(value)), 3)
  end
end

-- { mode = "0640" } as a number.
local function mode_of(options)
  if options == nil then return nil end
  if type(options) ~= "table" then
    error("pilot.fs.write: expected a table such as { mode = \"0640\" }, got " .. describe.value(options), 3)
  end
  for key in pairs(options) do
    if key ~= "mode" then
      error(("pilot.fs.write: %s: unknown field%s"):format(tostring(key), suggest.hint(tostring(key), { "mode" })), 3)
    end
  end
  local mode = options.mode
  if mode == nil then return nil end
  if type(mode) == "string" and mode:find "^[0-7]+$" then return tonumber(mode, 8) end
  error(("pilot.fs.write: mode: expected octal digits such as \"0640\", got %s"):format(describe.value(mode)), 3)
end

---The library for one pilot.
---@param app luapilot.App
---@return table
function fs.library(app)
  local port, library = app.port, {}

  ---The contents of a file, or nil when there is none. Raises on any other failure.
  ---@param path string
  ---@return string?
  function library.read(path)
    check_string(path, "a path", "pilot.fs.read")
    local data, message, code = port.read(path, READ_LIMIT)
    if data then return data end
    if code == "ENOENT" or code == "ENOTDIR" then return nil end
    error("pilot.fs.read: " .. message, 2)
  end

  ---Replaces a file atomically; its directory must exist. Raises on failure.
  ---@param path string
  ---@param data string
  ---@param options { mode: string }?     octal: "0640"
  function library.write(path, data, options)
    if app.phase == "declaring" then
      error("pilot.fs.write changes the world, and the top level of a pilot.lua only declares: "
        .. "call it in a handler, in run or in prepare", 2)
    end
    check_string(path, "a path", "pilot.fs.write")
    check_string(data, "a string", "pilot.fs.write")
    local ok, message = fs.replace(port, path, data, mode_of(options))
    if not ok then error("pilot.fs.write: " .. message, 2) end
  end

  ---@param path string
  ---@return boolean
  function library.exists(path)
    check_string(path, "a path", "pilot.fs.exists")
    return port.stat(path) ~= nil
  end

  return library
end

return fs
