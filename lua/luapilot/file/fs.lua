-- fs: pilot.fs over the port: files read whole and replaced at once, directories, names.
--
-- How a path is followed, and what is refused in a directory that others may write into, is the port's; that nobody
-- sees half a file is file/swap.lua's. What is larger than one slice (file/slices.lua) is read and written with
-- pauses, in a task: others have their turns meanwhile, and what a task that was cancelled has begun is undone.
--
-- It owns nothing between two calls. Everything raises what it fails at; what is not there is nil or false.

local describe = require "luapilot.base.describe"
local lazy = require "luapilot.base.lazy"
local paths = require "luapilot.schema.paths"
local suggest = require "luapilot.base.suggest"

local glob = lazy.require "luapilot.base.glob"
local slices = lazy.require "luapilot.file.slices"
local swap = lazy.require "luapilot.file.swap"
local task = lazy.require "luapilot.task.task"

local fs = {}

local USUAL_FILE, USUAL_DIRECTORY = 420, 493 -- rw-r--r--, rwxr-xr-x
local MOST_DIRECTORY = 1023 -- rwxrwxrwt
local MOST_NAMES = 100000 -- of a directory, or of a glob
local LONGEST = 4096 -- bytes of a pattern, as of a path

local library = {} -- name → function(app, …)

-- --- arguments -------------------------------------------------------------------------------

local function check_string(value, what, call, level)
  level = level or 3
  if type(value) ~= "string" then
    error(("%s: expected %s, got %s"):format(call, what, describe.value(value)), level)
  end
  if value:find("\0", 1, true) and what ~= "a string" then
    error(("%s: a path with a NUL byte in it: %s"):format(call, describe.value(value)), level)
  end
end

-- Where a path leads that stands in the file.
local function check_path(value, call)
  check_string(value, "a path", call, 4)
  return paths.absolute(value)
end

-- Raises what the port said of a path.
local function fail(app, call, path, message, code, hint)
  error(("%s: %s%s"):format(call, paths.explain(app.port, message, code, path), hint or ""), 3)
end

local function check_running(app, call)
  if app.phase ~= "declaring" then return end
  error(call .. " changes the world, and the top level of a pilot.lua only declares: "
    .. "call it in a handler, in run or in prepare", 3)
end

-- Options that are among `valid`: name → its type. The result is a table of our own, without a metatable.
local function check_options(options, valid, call)
  if options == nil then return {} end
  if type(options) ~= "table" then
    error(("%s: expected a table such as { mode = \"0640\" }, got %s"):format(call, describe.value(options)), 3)
  end
  local names, read = {}, {}
  for name in pairs(valid) do names[#names + 1] = name end
  for key, value in pairs(options) do
    local kind = valid[key]
    if not kind then
      local name = type(key) == "string" and key or describe.value(key)
      error(("%s: %s: unknown field%s"):format(call, name, suggest.hint(name, names)), 3)
    elseif type(value) ~= kind then
      error(("%s: %s: expected a %s, got %s"):format(call, key, kind, describe.value(value)), 3)
    end
    read[key] = value
  end
  return read
end

-- "0640" as a number.
local function mode_of(options, call)
  local mode = options.mode
  if mode == nil then return nil end
  if mode:find "^[0-7]+$" and #mode <= 5 and tonumber(mode, 8) <= 4095 then return tonumber(mode, 8) end
  error(("%s: mode: expected octal digits such as \"0640\", got %s"):format(call, describe.value(mode)), 3)
end

local WITH_MODE = { mode = "string" }

-- --- slices ----------------------------------------------------------------------------------

-- Runs fn(pause), and release() after it, however it ends: also when the task is given up in a pause.
local function guarded(app, call, many, release, fn)
  local current = many and app.tasks.current
  local forget = current and current:when_ended(release)
  local function pause() app.tasks:sleep(0, call) end
  local ok, result, message, code = xpcall(fn, task.error, current and pause)
  if forget then forget() end
  release()
  if not ok then task.raise_again(result) end
  return result, message, code
end

-- What the port says of an open file, with its path.
local function name_it(message, what, path)
  return ("cannot %s %q%s"):format(what, path, message:match "^cannot %a+(.*)$" or ": " .. message)
end

local function read(app, path)
  local port = app.port
  local id, stat, code = port.open(path, "read")
  if not id then return nil, stat, code end
  local function release() port.cancel(id) end
  if stat.size > slices.limit then
    release()
    return nil, ("cannot read %q: %d bytes, 64 MiB is the most"):format(path, stat.size), "EFBIG"
  end
  local data, message
  data, message, code = guarded(app, "pilot.fs.read", slices.are_many(stat.size), release, function(pause)
    return slices.read(port, id, pause)
  end)
  if data then return data end
  return nil, name_it(message, "read", path), code
end

local function replace(app, path, data, mode)
  if #data > slices.limit then return nil, ("cannot write %q: %d bytes, 64 MiB is the most"):format(path, #data) end
  local place, message, code = swap.place(app.port, path)
  if not place then return nil, message, code end
  local function release() place:close() end
  return guarded(app, "pilot.fs.write", slices.are_many(#data), release, function(pause)
    local left = app.trials:put_in_order(place)
    if left then return nil, left end
    return swap.replace(place, data, { mode = mode }, pause)
  end)
end

-- --- the contents of files -------------------------------------------------------------------

---The contents of a file, or nil when there is none. Raises on any other failure.
---@param path string
---@return string?
function library.read(app, path)
  path = check_path(path, "pilot.fs.read")
  local data, message, code = read(app, path)
  if data then return data end
  if code == "ENOENT" or code == "ENOTDIR" then return nil end
  fail(app, "pilot.fs.read", path, message, code)
end

---Replaces a file atomically; its directory must exist. Raises on failure.
---@param path string
---@param data string
---@param options { mode: string }?     octal: "0640"
function library.write(app, path, data, options)
  check_running(app, "pilot.fs.write")
  path = check_path(path, "pilot.fs.write")
  check_string(data, "a string", "pilot.fs.write")
  local mode = mode_of(check_options(options, WITH_MODE, "pilot.fs.write"), "pilot.fs.write")
  local ok, message, code = replace(app, path, data, mode)
  if not ok then fail(app, "pilot.fs.write", path, message, code) end
end

-- Makes an empty file, unless somebody is faster.
local function make(app, path, mode)
  local port = app.port
  local id, stat, code = port.open(path, "create")
  if not id then
    if code == "EEXIST" then return true end
    return nil, stat, code
  end
  local ok, message
  ok, message, code = port.chmod(id, { mode = mode })
  port.cancel(id)
  return ok, message, code
end

local function open_to_append(app, path, mode)
  local id, stat, code = app.port.open(path, "append")
  if id or code ~= "ENOENT" then return id, stat, code end
  local ok, message
  ok, message, code = make(app, path, mode)
  if not ok then return nil, message, code end
  return app.port.open(path, "append")
end

---Adds to the end of a file; up to 1 MiB by one write, so that lines of several writers do not mix. Makes the file.
---Raises on failure.
---@param path string
---@param data string
---@param options { mode: string }?     of a new file; default "0644"
function library.append(app, path, data, options)
  check_running(app, "pilot.fs.append")
  path = check_path(path, "pilot.fs.append")
  check_string(data, "a string", "pilot.fs.append")
  local mode = mode_of(check_options(options, WITH_MODE, "pilot.fs.append"), "pilot.fs.append") or USUAL_FILE
  local id, message, code = open_to_append(app, path, mode)
  if not id then fail(app, "pilot.fs.append", path, message, code) end
  local ok, why = guarded(app, "pilot.fs.append", slices.are_many(#data), function() app.port.cancel(id) end,
    function(pause) return slices.write(app.port, id, data, pause) end)
  if not ok then fail(app, "pilot.fs.append", path, name_it(why, "append to", path)) end
end

-- --- what is there ---------------------------------------------------------------------------

---@param path string
---@return boolean
function library.exists(app, path)
  path = check_path(path, "pilot.fs.exists")
  return app.port.stat(path) ~= nil
end

---What a path is, or nil when there is nothing. A link is not followed. Raises on any other failure.
---@param path string
---@return { type: string, mode: string, uid: integer, gid: integer, size: integer, mtime: number, target: string? }?
function library.stat(app, path)
  path = check_path(path, "pilot.fs.stat")
  local stat, message, code = app.port.stat(path)
  if not stat and (code == "ENOENT" or code == "ENOTDIR") then return nil end
  if not stat then fail(app, "pilot.fs.stat", path, message, code) end
  return {
    type = stat.type, mode = ("%04o"):format(stat.mode), uid = stat.uid, gid = stat.gid, size = stat.size,
    mtime = stat.mtime, target = stat.target,
  }
end

local function names_of(app, path)
  local names, message, code = app.port.list(path, MOST_NAMES)
  if not names and code == "EFBIG" then message = ("%q has more than %d names"):format(path, MOST_NAMES) end
  if names then table.sort(names) end
  return names, message, code
end

---The names in a directory, in order, without "." and ".."; nil when there is none. Raises on any other failure.
---@param path string
---@return string[]?
function library.list(app, path)
  path = check_path(path, "pilot.fs.list")
  local names, message, code = names_of(app, path)
  if not names and code == "ENOENT" then return nil end
  if not names then fail(app, "pilot.fs.list", path, message, code) end
  return names
end

local ABSENT = { ENOENT = true, ENOTDIR = true, EACCES = true, ELOOP = true, EMLINK = true }

-- The paths below `base` that fit the rest of a pattern. A part without magic is only looked up.
local function expand(app, base, parts, number, found)
  local part = parts[number]
  local function go_on(name)
    if number < #parts then return expand(app, base .. name .. "/", parts, number + 1, found) end
    found[#found + 1] = base .. name
  end
  if type(part) == "string" then
    if number < #parts or app.port.stat(paths.absolute(base .. part)) then go_on(part) end
    return
  end
  local names, message, code = names_of(app, paths.absolute(base == "" and "." or base))
  if not names and not ABSENT[code] then error("pilot.fs.glob: " .. message, 0) end
  found.seen = found.seen + 1 + #(names or {})
  if found.seen > MOST_NAMES then
    error(("pilot.fs.glob: more than %d names to look at"):format(MOST_NAMES), 0)
  end
  for _, name in ipairs(names or {}) do
    if glob.matches(part, name) then go_on(name) end
  end
end

---The paths that fit a pattern, in order: `*`, `?` and `[a-z]` within a name. Of a relative pattern they are relative.
---@param pattern string      "/etc/app/*.conf"
---@return string[]
function library.glob(app, pattern)
  check_string(pattern, "a pattern", "pilot.fs.glob")
  if #pattern > LONGEST then
    error(("pilot.fs.glob: a pattern of %d bytes: %d is the most"):format(#pattern, LONGEST), 2)
  end
  if pattern:find("**", 1, true) then
    error('pilot.fs.glob: there is no "**": a pattern has a "*" for each directory', 2)
  end
  local parts, found = {}, { seen = 0 }
  for part in pattern:gmatch "[^/]+" do parts[#parts + 1] = glob.compile(part) end
  if not parts[1] then error("pilot.fs.glob: the pattern has no name in it: " .. describe.quote(pattern), 2) end
  local ok, message = pcall(expand, app, pattern:match "^/*" ~= "" and "/" or "", parts, 1, found)
  if not ok then error(message, 2) end
  found.seen = nil
  return found
end

-- --- names and directories -------------------------------------------------------------------

---Removes a file, a link, a socket, or a directory that is empty. False: there was nothing. Raises on failure.
---@param path string
---@return boolean removed
function library.remove(app, path)
  check_running(app, "pilot.fs.remove")
  path = check_path(path, "pilot.fs.remove")
  local stat = app.port.stat(path)
  if stat and stat.type == "device" then error(("pilot.fs.remove: %q is a device"):format(path), 2) end
  local ok, message, code = app.port.remove(path)
  if ok then return true end
  if code == "ENOENT" or code == "ENOTDIR" then return false end
  fail(app, "pilot.fs.remove", path, message, code)
end

---Renames a file or a directory; a file that has the new name is replaced, and nothing else is. Raises on failure.
---@param from string
---@param to string
function library.rename(app, from, to)
  check_running(app, "pilot.fs.rename")
  from = check_path(from, "pilot.fs.rename")
  to = check_path(to, "pilot.fs.rename")
  local there = app.port.stat(to)
  if there and there.type ~= "file" and there.type ~= "link" and there.type ~= "directory" then
    local kind = there.type == "fifo" and "FIFO" or there.type
    error(("pilot.fs.rename: %q is a %s, and is not replaced"):format(to, kind), 2)
  end
  local ok, message, code = app.port.rename(from, to)
  local hint = code == "EXDEV" and ": it is on another file system; read it, write it there, and remove it" or ""
  if not ok then fail(app, "pilot.fs.rename", message:find(from, 1, true) and from or to, message, code, hint) end
end

local function make_directory(app, path, mode)
  local ok, message, code = app.port.mkdir(path, mode)
  if ok then return true end
  local stat = code == "EEXIST" and app.port.stat(path .. "/.")
  if stat and stat.type == "directory" then return false end
  return nil, message:gsub("^cannot open", "cannot make directory"), code
end

local function make_parents(app, path)
  for stop in path:gmatch "[^/]()/" do
    local made, message, code = make_directory(app, path:sub(1, stop - 1), USUAL_DIRECTORY)
    if made == nil then return nil, message, code end
  end
  return true
end

---Makes a directory. False: it was there. Raises on failure.
---@param path string
---@param options { mode: string?, parents: boolean? }?   mode: default "0755"; parents: those above it, too
---@return boolean made
function library.mkdir(app, path, options)
  check_running(app, "pilot.fs.mkdir")
  path = check_path(path, "pilot.fs.mkdir")
  options = check_options(options, { mode = "string", parents = "boolean" }, "pilot.fs.mkdir")
  local mode = mode_of(options, "pilot.fs.mkdir") or USUAL_DIRECTORY
  if mode > MOST_DIRECTORY then
    local why = "a directory is made without set-user-ID and set-group-ID bits"
    error(('pilot.fs.mkdir: mode: %s, got %q: at most "1777"'):format(why, options.mode), 2)
  end
  path = path:match "^(.-[^/])/*$" or path
  local made, message, code = true, nil, nil
  if options.parents then made, message, code = make_parents(app, path) end
  if made then made, message, code = make_directory(app, path, mode) end
  local alone = code == "ENOENT" and not options.parents and message:find "^cannot make directory"
  local hint = alone and "; parents = true makes those above it, too" or ""
  if made == nil then fail(app, "pilot.fs.mkdir", path, message, code, hint) end
  return made
end

---The library for one pilot.
---@param app luapilot.App
---@return table
function fs.library(app)
  local bound = {}
  for name, fn in pairs(library) do
    bound[name] = function(...) return fn(app, ...) end
  end
  return suggest.guard(bound, "pilot.fs")
end

return fs
