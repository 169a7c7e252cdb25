-- places: files as the port gives them to a pilot: where a path leads, names in a directory that stays open, open
-- files.
--
-- The rules are those of src/file/place.h, and so are the messages; only that a file has one name here, so there are no
-- hard links to refuse. The tree and its faults are files.lua's; a box's pilot is root. It owns nothing but what a
-- handle points at: a place is the node of its directory, an open file its own, and both outlive their names.

local check = require "luapilot.sim.check"
local files = require "luapilot.sim.files"

local places = {}

local LINKS = 40
local NAME_MAX, PATH_MAX = 255, 4096
local OWN_USER = 0
local WRITE_HALF = { ENOSPC = true, EDQUOT = true, EIO = true }
local VERBS = {
  read = "read", write = "write", append = "append to", create = "create", left = "take over", log = "log to",
}

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
  return nil, ("%q is a symbolic link of user %d, who does not own what it leads to (%q): it is not followed")
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
  if last and not walk.last_was_link and not walk.slash then
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
  if node.type == "link" and (walk.follow or walk.slash or not last) then return follow(walk, whole, node) end
  if node.type ~= "directory" and (walk.slash or not last) then return refuse(walk, "ENOTDIR") end
  if last then
    walk.name = name
    return settle(walk, whole, node)
  end
  walk.at = whole
  return true
end

---Where a path leads: { at, name } (no name: it is the directory itself), or nil, message, code.
---@param tree luapilot.sim.Files
---@param path string
---@param follow_last boolean
local function reach(tree, path, follow_last)
  local walk = {
    path = path, follow = follow_last, at = path:sub(1, 1) == "/" and "/" or tree.cwd, rest = {}, links = 0,
    slash = path:find "/$" ~= nil, -- what it leads to must be a directory
  }
  if path == "" then return refuse(walk, "ENOENT") end
  if #path >= PATH_MAX then return refuse(walk, "ENAMETOOLONG") end
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

---@class luapilot.sim.Target
---@field whole string       its absolute path; "": of a directory that was removed
---@field node table?        what stands there
---@field name string?       nil: the path means the directory itself; ".": the directory of a place

local function in_place(port, where, name, place)
  local handle = port.handles[check.any_number("place", place)]
  if not handle or handle.kind ~= "place" then return port.stale("place", place) end
  if name == "" or name == ".." or name:find("/", 1, true) then
    error(("%s: expected a bare name, got %q"):format(where, name), 0)
  end
  local directory = handle.node
  if #name > NAME_MAX then return cannot("open", name, "ENAMETOOLONG") end
  if name == "." then return { whole = directory.path or "", node = directory, name = name } end
  if not directory.path then return cannot("open", name, "ENOENT") end
  local whole = join(directory.path, name)
  return { whole = whole, node = port.files:node(whole), name = name }
end

---@return luapilot.sim.Target? target
---@return string? message
---@return string? code
local function reach_target(port, where, path, place, follow_last)
  check.word(where, path)
  if place ~= nil then return in_place(port, where, path, place) end
  local walk, message, code = reach(port.files, path, follow_last)
  if not walk then return nil, message, code end
  local whole = walk.name and join(walk.at, walk.name) or walk.at
  return { whole = whole, node = port.files:node(whole), name = walk.name }
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
  return port:handle { kind = "place", node = port.files:node(walk.at) }, walk.name, walk.at, true
end

-- --- what is there ---------------------------------------------------------------------------

local function size_of(node)
  local text = node.content and files.content_of(node) or node.target
  return text and #text or node.type == "directory" and 4096 or 0
end

local function stat_of(node)
  return {
    type = node.type, mode = node.mode, uid = node.uid, gid = node.gid, mtime = node.mtime, identity = node.identity,
    size = size_of(node), target = node.target,
  }
end

local WHAT = { mkdir = "make directory" } -- is what messages call it

-- The target of an operation that has no fault there.
local function at(port, operation, path, place, follow_last)
  local target, message, code = reach_target(port, operation .. ": path", path, place, follow_last)
  if not target then return nil, message, code end
  local fault = port.files:fault_of(operation, target.whole)
  if fault then return cannot(WHAT[operation] or operation, path, fault) end
  return target
end

function calls.stat(port, path, place)
  local target, message, code = at(port, "stat", path, place, false)
  if not target then return nil, message, code end
  if not target.node then return cannot("stat", path, "ENOENT") end
  return stat_of(target.node)
end

function calls.list(port, path, limit, place)
  check.integer(0, 2 ^ 31 - 1)("list: limit", limit)
  local target, message, code = at(port, "list", path, place, true)
  if not target then return nil, message, code end
  if not target.node then return cannot("list", path, "ENOENT") end
  if target.node.type ~= "directory" then return cannot("list", path, "ENOTDIR") end
  local names = port.files:names(target.whole)
  table.sort(names)
  if #names > limit then return cannot("list", path, "EFBIG") end
  return names
end

-- --- names -----------------------------------------------------------------------------------

local function rename_fault(tree, from, to)
  local fault = tree:fault_of("rename", from.whole) or tree:fault_of("rename", to.whole)
  if fault then return fault end
  if not from.name or not to.name or from.name == "." or to.name == "." then return "EBUSY" end
  return tree:rename_entry(from.whole, to.whole)
end

function calls.rename(port, from, to, place)
  check.word("rename: to", to)
  local source, message, code = reach_target(port, "rename: from", from, place, false)
  if not source then return nil, message, code end
  local target
  target, message, code = reach_target(port, "rename: to", to, place, false)
  if not target then return nil, message, code end
  local fault = rename_fault(port.files, source, target)
  if not fault then return true end
  return nil, ("cannot rename %q to %q: %s"):format(from, to, text_of(fault)), fault
end

local function remove_obstacle(tree, target)
  if not target.name then return "EBUSY" end
  if target.name == "." then return "EINVAL" end
  if not target.node then return "ENOENT" end
  return target.node.type == "directory" and tree:names(target.whole)[1] and "ENOTEMPTY"
end

function calls.remove(port, path, place)
  local target, message, code = at(port, "remove", path, place, false)
  if not target then return nil, message, code end
  local obstacle = remove_obstacle(port.files, target)
  if obstacle then return cannot("remove", path, obstacle) end
  port.files:take_away(target.whole)
  return true
end

function calls.mkdir(port, path, mode, place)
  check.integer(0, 1023)("mkdir: mode", mode)
  local target, message, code = at(port, "mkdir", path, place, true)
  if not target then return nil, message, code end
  if target.node then return cannot("make directory", path, "EEXIST") end
  local ok, why = port.files:make(target.whole, { type = "directory", mode = mode })
  if not ok then return cannot("make directory", path, why) end
  return true
end

-- --- open files ------------------------------------------------------------------------------

local NEW = { create = 384, log = 416 } -- the mode of a file that is made: rw-------, rw-r-----

local function make(port, path, target, mode)
  if not NEW[mode] then
    if mode == "read" then port.files:complain_of_unknown(path, target.whole) end
    return cannot("open", path, "ENOENT")
  end
  local made, code = port.files:make(target.whole, { type = "file", content = "", mode = NEW[mode] })
  if not made then return cannot("open", path, code) end
  return port.files:node(target.whole)
end

-- The node that a mode may open, or a failure.
local function openable(port, path, target, mode)
  local node = target.node
  if node and mode == "create" then return cannot("open", path, "EEXIST") end
  if not node then return make(port, path, target, mode) end
  local log = mode == "log" and (node.type == "fifo" or node.type == "device")
  if node.type == "file" or log then return node end
  if node.type == "link" then
    return nil, ("cannot %s %q: a symbolic link took its place meanwhile"):format(VERBS[mode], path), "ELOOP"
  end
  return nil, ("cannot %s %q: it is %s%s"):format(VERBS[mode], path, files.KINDS[node.type],
    node.type == "directory" and "" or ", not a file"), node.type == "directory" and "EISDIR" or "EINVAL"
end

local check_mode = check.choice { "read", "write", "append", "create", "left" }
local READS = { read = true, left = true }

-- Has somebody a file open that he makes?
local function is_made(port, node)
  for _, handle in pairs(port.handles) do
    if handle.kind == "file" and handle.mode == "create" and handle.node == node then return true end
  end
  return false
end

function calls.open(port, path, mode, place)
  check_mode("open: mode", mode)
  local target, message, code = reach_target(port, "open: path", path, place, mode ~= "create")
  if not target then return nil, message, code end
  local fault = port.files:fault_of(READS[mode] and "read" or "write", target.whole)
  if fault and (READS[mode] or not WRITE_HALF[fault]) then return cannot("open", path, fault) end
  local node
  node, message, code = openable(port, path, target, mode)
  if not node then return nil, message, code end
  if mode == "left" and is_made(port, node) then
    return nil, ("cannot take over %q: whoever makes it is at work"):format(path), "EAGAIN"
  end
  return port:handle { kind = "file", node = node, whole = target.whole, at = 0, mode = mode }, stat_of(node)
end

---May a log be written to this path? What is there is not changed, and a file is made where there is none.
---@param port luapilot.sim.Port
---@param path string
---@return true?
---@return string? message
---@return string? code
function places.open_log(port, path)
  local target, message, code = reach_target(port, "log", path, nil, true)
  if not target then return nil, message, code end
  local fault = port.files:fault_of("write", target.whole)
  if fault then return cannot("open", path, fault) end
  local node
  node, message, code = openable(port, path, target, "log")
  return node and true, message, code
end

local function file_of(port, where, id)
  local handle = port.handles[check.any_number(where, id)]
  if handle and handle.kind == "file" then return handle end
  return port.stale(where, id)
end

local function failed(what, code) return nil, ("cannot %s: %s"):format(what, text_of(code)), code end

function calls.get(port, id, bytes)
  local file, message, code = file_of(port, "get: id", id)
  if not file then return nil, message, code end
  check.integer(1, 2 ^ 31 - 1)("get: bytes", bytes)
  if not READS[file.mode] then return failed("read", "EBADF") end
  local data = files.content_of(file.node):sub(file.at + 1, file.at + bytes)
  file.at = file.at + #data
  return data
end

-- Behind the end there are zeros up to it. A new file grows at its end, as a log does.
local function write(port, file, data)
  local node = file.node
  if file.mode == "append" or file.mode == "create" then
    files.append(node, data)
  else
    local content = files.content_of(node)
    local before = content:sub(1, file.at)
    node.content = before .. ("\0"):rep(file.at - #before) .. data .. content:sub(file.at + #data + 1)
  end
  file.at, node.mtime = file.at + #data, port.clock:wall()
end

-- A full disk takes what fits.
function calls.put(port, id, data)
  local file, message, code = file_of(port, "put: id", id)
  if not file then return nil, message, code end
  check.string("put: data", data)
  if READS[file.mode] then return failed("write", "EBADF") end
  local fault = port.files:fault_of("write", file.whole)
  write(port, file, fault and data:sub(1, math.floor(#data / 2)) or data)
  if fault then return failed("write", fault) end
  return true
end

function calls.truncate(port, id)
  local file, message, code = file_of(port, "truncate: id", id)
  if not file then return nil, message, code end
  if READS[file.mode] then return failed("truncate", "EINVAL") end
  file.node.content, file.node.added, file.node.mtime = "", nil, port.clock:wall()
  return true
end

function calls.sync(port, id)
  if not port.handles[check.any_number("sync: id", id)] then return port.stale("sync: id", id) end
  return true
end

-- No other pilot and no stranger is in a box: the file is found by its name.
function calls.held(port, id)
  local file, message, code = file_of(port, "held: id", id)
  if not file then return nil, message, code end
  return file.node.path or file.whole
end

local check_change = check.fields {
  mode = check.integer(0, 4095), uid = check.integer(0, 2 ^ 32 - 2), gid = check.integer(0, 2 ^ 32 - 2),
}

function calls.chmod(port, id, options)
  local file, message, code = file_of(port, "chmod: id", id)
  if not file then return nil, message, code end
  check_change("chmod", options)
  local fault = port.files:fault_of("chmod", file.whole)
  if fault then return failed("change the mode", fault) end
  local node = file.node
  node.mode, node.uid, node.gid = options.mode or node.mode, options.uid or node.uid, options.gid or node.gid
  return true
end

-- --- small files, whole ----------------------------------------------------------------------

function calls.read(port, path, limit)
  if limit ~= nil then check.integer(0, 2 ^ 53)("read: limit", limit) end
  local target, message, code = reach_target(port, "read: path", path, nil, true)
  if not target then
    if code == "ENOENT" then port.files:complain_of_unknown(path, files.normalize(path, port.files.cwd)) end
    return nil, message, code
  end
  local fault = port.files:fault_of("read", target.whole)
  if fault then return cannot("open", path, fault) end
  local node
  node, message, code = openable(port, path, target, "read")
  if not node then return nil, message, code end
  local content = files.content_of(node)
  if limit and #content > limit then return cannot("read", path, "EFBIG") end
  return content
end

function calls.user() return OWN_USER end

return places
