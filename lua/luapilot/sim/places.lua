-- places: files as the port gives them to a pilot: where a path leads, names in a directory that stays open, open files.
--
-- The rules are those of src/place.h, and so are the messages: strangers' links, files with a second name, what is no
-- file. The tree and its faults are files.lua's; a box's pilot is root. It owns nothing but what a handle points at: an
-- open file is its node, which outlives its name.

local check = require "luapilot.sim.check"
local files = require "luapilot.sim.files"

local places = {}

local LINKS = 40
local NAME_MAX = 255
local OWN_USER = 0
local WRITE_HALF = { ENOSPC = true, EDQUOT = true, EIO = true }
local VERBS = { read = "read", write = "write", append = "append to", create = "create" }

local calls = {} -- name → function(port, …)
places.calls = calls

local function text_of(code) return files.TEXT[code] or code end

local function cannot(what, path, code)
  return nil, ("cannot %s %q: %s"):format(what, path, text_of(code)), code
end

local function join(directory, name) return (directory == "/" and "" or directory) .. "/" .. name end

-- --- the walk --------------------------------------------------------------------------------

-- The names of a path, the first one last.
local function push_names(list, path)
  local names = {}
  for name in path:gmatch "[^/]+" do names[#names + 1] = name end
  for i = #names, 1, -1 do list[#list + 1] = names[i] end
end

local function refuse(walk, code)
  if code == "ENOENT" and walk.last_was_link then
    return nil, ("%q is a symbolic link that leads nowhere"):format(walk.path), code
  end
  return cannot("open", walk.path, code)
end

local function astray(walk, reached)
  return nil, ("%q is a symbolic link of user %d, who owns not what it leads to (%q): it is not followed")
    :format(walk.link, walk.stranger, reached), "ELOOP"
end

-- Has a stranger's link led where it leads, and is that his?
local function settle(walk, reached, node)
  if not walk.stranger or #walk.rest > walk.left then return true end
  local owner = node and node.uid or OWN_USER
  if owner ~= walk.stranger then return astray(walk, reached) end
  walk.stranger = nil
  return true
end

local function follow(walk, whole, node)
  walk.links = walk.links + 1
  if walk.links > LINKS then return refuse(walk, "ELOOP") end
  if node.uid ~= OWN_USER and node.uid ~= walk.stranger then
    local second = walk.stranger
    walk.stranger, walk.left, walk.link = node.uid, #walk.rest, whole
    if second then return astray(walk, whole) end
  end
  walk.last_was_link = walk.last_was_link or #walk.rest == 0
  if node.target:sub(1, 1) == "/" then walk.at = "/" end
  push_names(walk.rest, node.target)
  return true
end

-- There is nothing of this name. A directory that nobody described is there as soon as it is needed.
local function missing(walk, tree, whole, name, last)
  if last and not walk.last_was_link then
    walk.name = name
    return true
  end
  if last or tree:is_absent(whole) then return refuse(walk, "ENOENT") end
  walk.at = whole
  return true
end

local function step(walk, tree, name)
  local whole, last = join(walk.at, name), #walk.rest == 0
  local node = tree:node(whole)
  if #name > NAME_MAX then return refuse(walk, "ENAMETOOLONG") end
  if not node then return missing(walk, tree, whole, name, last) end
  if node.type == "link" and (walk.follow or not last) then return follow(walk, whole, node) end
  if last then
    walk.name = name
    return settle(walk, whole, node)
  end
  if node.type ~= "directory" then return refuse(walk, "ENOTDIR") end
  walk.at = whole
  return true
end

---Where a path leads: { at, name } (no name: it is the directory itself), or nil, message, code.
---@param tree luapilot.sim.Files
---@param path string
---@param follow_last boolean
local function reach(tree, path, follow_last)
  local walk = { path = path, follow = follow_last, at = path:sub(1, 1) == "/" and "/" or tree.cwd, rest = {}, links = 0 }
  if path == "" then return refuse(walk, "ENOENT") end
  push_names(walk.rest, path)
  while #walk.rest > 0 and not walk.name do
    local name = table.remove(walk.rest)
    local ok, message, code = true, nil, nil
    if name == ".." then walk.at = files.parent_of(walk.at) or "/" end
    if name ~= "." and name ~= ".." then ok, message, code = step(walk, tree, name) end
    if ok and not walk.name then ok, message, code = settle(walk, walk.at, tree:node(walk.at)) end
    if not ok then return nil, message, code end
  end
  return walk
end

-- --- a path, or a name in a place ------------------------------------------------------------

-- The absolute path of an entry, or nil, message, code.
local function entry(port, where, path, place, follow_last)
  check.word(where, path)
  if place == nil then
    local walk, message, code = reach(port.files, path, follow_last)
    if not walk then return nil, message, code end
    return walk.name and join(walk.at, walk.name) or walk.at
  end
  local handle = port.handles[check.any_number("place", place)]
  if not handle or handle.kind ~= "place" then return port.stale("place", place) end
  if path == "" or path:find("/", 1, true) or path == ".." then
    error(("%s: expected a bare name, got %q"):format(where, path), 0)
  end
  return path == "." and handle.directory or join(handle.directory, path)
end

---@param path string
---@return integer? id, string name_or_message, string directory_or_code
function calls.place(port, path)
  local walk, message, code = reach(port.files, check.word("place: path", path), true)
  if not walk then return nil, message, code end
  local missing_directory = not port.files:node(walk.at)
  if missing_directory and port.files:is_absent(walk.at) then return refuse(walk, "ENOENT") end
  if not walk.name then return nil, ("%q is a directory, not a file"):format(path), "EISDIR" end
  if missing_directory then port.files:ensure(walk.at) end
  return port:handle { kind = "place", directory = walk.at }, walk.name, walk.at
end

-- --- what is there ---------------------------------------------------------------------------

local function stat_of(node)
  return {
    type = node.type, mode = node.mode, uid = node.uid, gid = node.gid, mtime = node.mtime, identity = node.identity,
    size = node.content and #node.content or 4096, target = node.target,
  }
end

-- The entry, its node, and the fault of an operation on it.
local function at(port, operation, path, place, follow_last)
  local whole, message, code = entry(port, operation .. ": path", path, place, follow_last)
  if not whole then return nil, nil, message, code end
  local fault = port.files:fault_of(operation, whole)
  if fault then return nil, nil, select(2, cannot(operation, path, fault)) end
  return whole, port.files:node(whole)
end

function calls.stat(port, path, place)
  local whole, node, message, code = at(port, "stat", path, place, false)
  if not whole then return nil, message, code end
  if not node then return cannot("stat", path, "ENOENT") end
  return stat_of(node)
end

function calls.list(port, path, limit, place)
  check.integer(0, 2 ^ 31 - 1)("list: limit", limit)
  local whole, node, message, code = at(port, "list", path, place, true)
  if not whole then return nil, message, code end
  if not node then return cannot("list", path, "ENOENT") end
  if node.type ~= "directory" then return cannot("list", path, "ENOTDIR") end
  local names = port.files:names(whole)
  table.sort(names)
  if #names > limit then return cannot("list", path, "EFBIG") end
  return names
end

-- --- names -----------------------------------------------------------------------------------

function calls.rename(port, from, to, place)
  check.word("rename: to", to)
  local source, message, code = entry(port, "rename: from", from, place, false)
  if not source then return nil, message, code end
  local target
  target, message, code = entry(port, "rename: to", to, place, false)
  if not target then return nil, message, code end
  local fault = port.files:fault_of("rename", source) or port.files:fault_of("rename", target)
  if not fault then fault = port.files:rename_entry(source, target) end
  if not fault then return true end
  return nil, ("cannot rename %q to %q: %s"):format(from, to, text_of(fault)), fault
end

function calls.remove(port, path, place)
  local whole, node, message, code = at(port, "remove", path, place, false)
  if not whole then return nil, message, code end
  if not node then return cannot("remove", path, "ENOENT") end
  if node.type == "directory" and port.files:names(whole)[1] then return cannot("remove", path, "ENOTEMPTY") end
  port.files:take_away(whole)
  return true
end

function calls.mkdir(port, path, mode, place)
  check.integer(0, 4095)("mkdir: mode", mode)
  local whole, node, message, code = at(port, "mkdir", path, place, true)
  if not whole then return nil, message and message:gsub("mkdir", "make directory", 1), code end
  if node then return cannot("make directory", path, "EEXIST") end
  local ok, why = port.files:make(whole, { type = "directory", mode = mode })
  if not ok then return cannot("make directory", path, why) end
  return true
end

-- --- open files ------------------------------------------------------------------------------

-- The node that a mode may open, or a failure.
local function openable(port, path, whole, node, mode)
  if node and mode == "create" then return cannot("open", path, "EEXIST") end
  if not node and mode == "create" then
    local made, code = port.files:make(whole, { type = "file", content = "", mode = 384 }) -- rw-------
    if not made then return cannot("open", path, code) end
    return port.files:node(whole)
  end
  if not node then
    if mode == "read" then port.files:complain_of_unknown(path, whole) end
    return cannot("open", path, "ENOENT")
  end
  if node.type == "file" then return node end
  return nil, ("cannot %s %q: it is %s%s"):format(VERBS[mode], path, files.KINDS[node.type],
    node.type == "directory" and "" or ", not a file"), node.type == "directory" and "EISDIR" or "EINVAL"
end

local check_mode = check.choice { "read", "write", "append", "create" }

function calls.open(port, path, mode, place)
  check_mode("open: mode", mode)
  local whole, message, code = entry(port, "open: path", path, place, mode ~= "create")
  if not whole then return nil, message, code end
  local fault = port.files:fault_of(mode == "read" and "read" or "write", whole)
  if fault and not (mode ~= "read" and WRITE_HALF[fault]) then return cannot("open", path, fault) end
  local node
  node, message, code = openable(port, path, whole, port.files:node(whole), mode)
  if not node then return nil, message, code end
  local handle = { kind = "file", node = node, whole = whole, at = 0, append = mode == "append" }
  return port:handle(handle), stat_of(node)
end

local function file_of(port, where, id)
  local handle = port.handles[check.any_number(where, id)]
  if handle and handle.kind == "file" then return handle end
  return port.stale(where, id)
end

function calls.get(port, id, bytes)
  check.integer(1, 2 ^ 31 - 1)("get: bytes", bytes)
  local file, message, code = file_of(port, "get: id", id)
  if not file then return nil, message, code end
  local data = file.node.content:sub(file.at + 1, file.at + bytes)
  file.at = file.at + #data
  return data
end

local function write(port, file, data)
  local node = file.node
  if file.append then file.at = #node.content end
  local size = #node.content
  if file.at == size then
    node.content = node.content .. data
  else
    node.content = node.content:sub(1, file.at) .. data .. node.content:sub(file.at + #data + 1)
  end
  file.at, node.mtime = file.at + #data, port.clock:wall()
end

-- A full disk takes what fits.
function calls.put(port, id, data)
  check.string("put: data", data)
  local file, message, code = file_of(port, "put: id", id)
  if not file then return nil, message, code end
  local fault = port.files:fault_of("write", file.whole)
  write(port, file, fault and data:sub(1, math.floor(#data / 2)) or data)
  if fault then return nil, "cannot write: " .. text_of(fault), fault end
  return true
end

function calls.truncate(port, id)
  local file, message, code = file_of(port, "truncate: id", id)
  if not file then return nil, message, code end
  file.node.content, file.at = "", 0
  return true
end

function calls.sync(port, id)
  local file, message, code = file_of(port, "sync: id", id)
  if not file then return nil, message, code end
  return true
end

local check_change = check.fields {
  mode = check.integer(0, 4095), uid = check.integer(0, 2 ^ 32 - 2), gid = check.integer(0, 2 ^ 32 - 2),
}

function calls.chmod(port, id, options)
  local file, message, code = file_of(port, "chmod: id", id)
  if not file then return nil, message, code end
  check_change("chmod", options)
  local fault = port.files:fault_of("chmod", file.whole)
  if fault then return nil, "cannot change the mode: " .. text_of(fault), fault end
  local node = file.node
  node.mode, node.uid, node.gid = options.mode or node.mode, options.uid or node.uid, options.gid or node.gid
  return true
end

-- --- small files, whole ----------------------------------------------------------------------

function calls.read(port, path, limit)
  if limit ~= nil then check.integer(0, 2 ^ 53)("read: limit", limit) end
  local whole, message, code = entry(port, "read: path", path, nil, true)
  if not whole then
    if code == "ENOENT" then port.files:complain_of_unknown(path, files.normalize(path, port.files.cwd)) end
    return nil, message, code
  end
  local fault = port.files:fault_of("read", whole)
  if fault then return cannot("open", path, fault) end
  local node
  node, message, code = openable(port, path, whole, port.files:node(whole), "read")
  if not node then return nil, message, code end
  if limit and #node.content > limit then return cannot("read", path, "EFBIG") end
  return node.content
end

function calls.user() return OWN_USER end

return places
