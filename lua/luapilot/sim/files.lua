-- files: the file system of a box, in memory.
--
-- A flat map from absolute paths to files, directories and links. Directories that nobody described exist
-- as soon as somebody puts something into them: a spec describes what matters. A closed tree (option
-- `closed`) has only what was described, as a real one.
--
-- Files of the real disk show through where the box was told so (`overlay`): the directory of the
-- pilot.lua, and only its Lua files.
--
-- Its methods are those of a plain program, which follows any link: what the port gives a pilot of it is places.lua's.
--
-- It owns the tree, the faults that a spec injects, what disturbs the whole disk for a time (faults.lua), and the
-- list of paths that nobody knows. Failures are the port's: nil, message, CODE.

local blame = require "luapilot.sim.blame"

local files = {}

local MAX_LINKS = 40

local TEXT = {
  ENOENT = "no such file or directory", EACCES = "permission denied", ENOSPC = "no space left on device",
  EBUSY = "device or resource busy", EROFS = "read-only file system", EISDIR = "is a directory",
  ENOTDIR = "not a directory", EEXIST = "file exists", ENOTEMPTY = "directory not empty",
  EFBIG = "file too large", ELOOP = "too many levels of symbolic links", EPERM = "operation not permitted",
  EIO = "input/output error", EXDEV = "invalid cross-device link", EDQUOT = "disk quota exceeded",
  EINVAL = "invalid argument", ENAMETOOLONG = "file name too long", ETXTBSY = "text file busy",
  EBADF = "bad file descriptor", EMLINK = "too many links",
}
files.TEXT = TEXT

-- What is no file: messages say so.
local KINDS = { directory = "a directory", link = "a symbolic link", fifo = "a FIFO", socket = "a socket",
  device = "a device" }
files.KINDS = KINDS

local DEVICES = { "/dev/null", "/dev/zero", "/dev/full", "/dev/stdin", "/dev/stdout", "/dev/stderr" }

---@class luapilot.sim.Files
---@field nodes table<string, table>
---@field cwd string
---@field absent table<string, boolean>    paths known not to exist
---@field unknown fun(path: string)        told of a path that nobody described
local Files = {}
Files.__index = Files

---@param options { cwd: string?, clock: fun(): number, closed: boolean?, unknown: fun(path: string)? }
---@return luapilot.sim.Files
function files.new(options)
  local self = setmetatable({
    cwd = options.cwd or "/", clock = options.clock, closed = options.closed, unknown = options.unknown,
    nodes = {}, children = {}, absent = {}, faults = {}, disturbances = {}, overlays = {}, count = 0,
  }, Files)
  self.children["/"] = {}
  self.nodes["/"] = {
    type = "directory", mode = 493, uid = 0, gid = 0, mtime = self.clock(), identity = "sim:0", path = "/",
  }
  for _, path in ipairs(DEVICES) do self:describe(path, { device = true }) end
  return self
end

-- --- paths -----------------------------------------------------------------------------------

---An absolute path without "." and ".." and double slashes.
---@param path string
---@param cwd string?
---@return string
function files.normalize(path, cwd)
  if path:sub(1, 1) ~= "/" then path = (cwd or "/") .. "/" .. path end
  local parts = {}
  for part in path:gmatch "[^/]+" do
    if part == ".." then
      parts[#parts] = nil
    elseif part ~= "." then
      parts[#parts + 1] = part
    end
  end
  return "/" .. table.concat(parts, "/")
end

---@param path string     absolute
---@return string
function files.parent_of(path)
  local parent = path:match "^(.*)/[^/]*$"
  return parent == "" and "/" or parent
end
local parent_of = files.parent_of

local function failure(operation, path, code)
  return nil, ("cannot %s %q: %s"):format(operation, path, TEXT[code] or code), code
end

-- --- the real disk -----------------------------------------------------------------------------

---@param path string     of the real disk
---@return string? content
function files.from_disk(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local content = file:read "*a" -- nil for a directory
  file:close()
  return content
end

---Lets Lua files below a directory of the real disk show through.
---@param directory string   of the box
---@param real string        of the disk, empty or with "/" at its end
function Files:overlay(directory, real)
  if directory ~= "/" then directory = directory .. "/" end
  self.overlays[#self.overlays + 1] = { directory = directory, real = real }
end

-- The node of a Lua file beside the pilot.lua; the second result says that the path is of that kind.
local function from_overlay(self, path)
  if not path:find "%.lua$" then return nil, false end
  for _, overlay in ipairs(self.overlays) do
    if path:sub(1, #overlay.directory) == overlay.directory then
      local content = files.from_disk(overlay.real .. path:sub(#overlay.directory + 1))
      if content then return self:put(path, { type = "file", content = content, mode = 420 }), true end
      return nil, true
    end
  end
  return nil, false
end

-- --- the tree ----------------------------------------------------------------------------------

-- A node knows its path, as long as it has one.
local function set_node(self, path, node)
  local old = self.nodes[path]
  if old then old.path = nil end
  if node then node.path = path end
  self.nodes[path] = node
end

local function attach(self, path, node)
  local parent = parent_of(path)
  local siblings = self.children[parent] or {}
  self.children[parent] = siblings
  siblings[path:match "[^/]*$"] = true
  set_node(self, path, node)
  self.absent[path] = nil
end

local function detach(self, path)
  local siblings = self.children[parent_of(path)]
  if siblings then siblings[path:match "[^/]*$"] = nil end
  set_node(self, path, nil)
  self.absent[path] = true
end

local USUAL_MODES = { directory = 493, link = 511 } -- rwxr-xr-x, rwxrwxrwx

---@private
function Files:put(path, node)
  node.uid, node.gid, node.mtime = node.uid or 0, node.gid or 0, self.clock()
  node.mode = node.mode or USUAL_MODES[node.type] or 420 -- rw-r--r--
  self.count = self.count + 1
  node.identity = "sim:" .. self.count
  attach(self, path, node)
  return node
end

-- The directories on the way to a path.
local function ensure_parents(self, path)
  local parent = parent_of(path)
  while not self.nodes[parent] do
    self:put(parent, { type = "directory" })
    parent = parent_of(parent)
  end
end

local function node_at(self, path)
  return self.nodes[path] or (from_overlay(self, path))
end

---What stands at an absolute path; links are not followed.
---@param whole string
---@return table? node
function Files:node(whole) return node_at(self, whole) end

-- Follows links in a path. Returns the path that is meant, and the code when there is none.
local function follow(self, path, keep_last, depth)
  local resolved, rest = "", path
  while rest ~= "" do
    local part
    part, rest = rest:match "^(/[^/]*)(.*)$"
    resolved = resolved .. (part == "/" and "" or part)
    local node = self.nodes[resolved]
    if node and node.type == "link" and not (keep_last and rest == "") then
      if (depth or 0) >= MAX_LINKS then return nil, "ELOOP" end
      local target = files.normalize(node.target .. rest, parent_of(resolved))
      return follow(self, target, keep_last, (depth or 0) + 1)
    end
    if node and node.type ~= "directory" and rest ~= "" then return nil, "ENOTDIR" end
  end
  return resolved == "" and "/" or resolved
end

local function is_absent(self, path)
  while path ~= "/" do
    if self.absent[path] then return true end
    path = parent_of(path)
  end
  return false
end

---Is it known that there is nothing at an absolute path, or is a directory there as soon as it is needed?
---@param whole string
---@return boolean
function Files:is_absent(whole) return self.closed or is_absent(self, whole) end

---Makes directories of undescribed paths up to this one.
---@param whole string
function Files:ensure(whole) ensure_parents(self, whole .. "/x") end

-- May something be made in this directory?
local function check_parent(self, path)
  local parent = parent_of(path)
  local node = self.nodes[parent]
  if node then return node.type == "directory" or nil, "ENOTDIR" end
  if self.closed or is_absent(self, parent) then return nil, "ENOENT" end
  ensure_parents(self, path)
  return true
end

---Puts a node where nothing is.
---@param whole string
---@param node table
---@return true?, string? code
function Files:make(whole, node)
  local ok, code = check_parent(self, whole)
  if ok then self:put(whole, node) end
  return ok, code
end

---Takes away what stands at an absolute path.
---@param whole string
function Files:take_away(whole) detach(self, whole) end

local OPERATIONS = {
  read = true, write = true, rename = true, remove = true, stat = true, chmod = true, list = true, mkdir = true,
}

---From now on an operation on a path fails; without a code it works again.
---@param operation "read"|"write"|"rename"|"remove"|"stat"|"chmod"|"list"|"mkdir"
---@param path string
---@param code string?     "ENOSPC"
function Files:fault(operation, path, code)
  if not OPERATIONS[operation] then
    blame.raise("box:fault: no operation %q: read, write, rename, remove, stat, chmod, list, mkdir",
      tostring(operation))
  end
  self.faults[operation .. " " .. files.normalize(path, self.cwd)] = code
end

---The code of the fault that a spec has for an operation, if any. A new file beside another has an unguessable end of
---its name: faults have it without.
---@param operation string
---@param whole string      an absolute path
---@return string?
function Files:fault_of(operation, whole)
  local disturbance = self.disturbances[#self.disturbances]
  if disturbance and disturbance.operations[operation] then return disturbance.code end
  return self.faults[operation .. " " .. whole:gsub("(%.luapilot%-new)%-%x+$", "%1")]
end

-- What every operation begins with: the absolute path after links, or an injected fault.
local function begin(self, operation, path, keep_last)
  local whole = files.normalize(path, self.cwd)
  local fault = self:fault_of(operation, whole)
  if fault then return nil, fault end
  return follow(self, whole, keep_last)
end

-- --- for the spec ------------------------------------------------------------------------------

local DESCRIPTION = {
  content = true, mode = true, uid = true, gid = true, link = true, directory = true, fifo = true, socket = true,
  device = true,
}
local TYPES = { "link", "directory", "fifo", "socket", "device" }

local function type_of(what)
  for _, name in ipairs(TYPES) do
    if what[name] then return name end
  end
  return "file"
end

local function describe_table(self, path, what)
  for key in pairs(what) do
    if not DESCRIPTION[key] then blame.raise("file %q: unknown field %q", path, tostring(key)) end
  end
  local kind = type_of(what)
  self:put(path, {
    type = kind, content = kind == "file" and (what.content or "") or nil, target = what.link,
    mode = what.mode, uid = what.uid, gid = what.gid,
  })
end

---Puts a file into the tree: a string is its content, true a directory, false says that there is none, a
---table has { content | link | directory | fifo | socket | device, mode, uid, gid }. A path that ends with "/" is a
---directory.
---@param path string
---@param what string|boolean|table
function Files:describe(path, what)
  local whole = files.normalize(path, self.cwd)
  if what == false then
    detach(self, whole)
    return
  end
  ensure_parents(self, whole)
  if what == true or (path:find "/$" and what == "") then
    self:put(whole, { type = "directory" })
  elseif type(what) == "string" then
    local old = self.nodes[whole]
    self:put(whole, { type = "file", content = what, mode = old and old.mode, uid = old and old.uid })
  elseif type(what) == "table" then
    describe_table(self, whole, what)
  else
    blame.raise("file %q: expected its content, got a %s", path, type(what))
  end
end

-- What was appended is put together when somebody looks: a log costs no more than its length.
---@param node table
---@return string
function files.content_of(node)
  local added = node.added
  if not added then return node.content end
  node.content, node.added = node.content .. table.concat(added), nil
  return node.content
end

---@param node table
---@param data string
function files.append(node, data)
  if data == "" then return end
  node.added = node.added or {}
  node.added[#node.added + 1] = data
end

---The content of a file, or nil.
---@param path string
---@return string?
function Files:content(path)
  local whole = follow(self, files.normalize(path, self.cwd))
  local node = whole and node_at(self, whole)
  return node and files.content_of(node)
end

-- --- the port's operations ---------------------------------------------------------------------

---Told of a file that is asked for and not there: what was removed, or described as absent, is known not to be there.
---@param path string
---@param whole string      the same, absolute
function Files:complain_of_unknown(path, whole)
  local _, beside = from_overlay(self, whole)
  if not beside and not is_absent(self, whole) and self.unknown then self.unknown(path) end
end

---@param path string
---@param limit integer?
---@return string? data, string? message, string? code
function Files:read(path, limit)
  local whole, code = begin(self, "read", path)
  if not whole then return failure("open", path, code) end
  local node = node_at(self, whole)
  if not node then
    self:complain_of_unknown(path, whole)
    return failure("open", path, "ENOENT")
  end
  if node.type == "directory" then return failure("read", path, "EISDIR") end
  if not node.content then return failure("read", path, "EINVAL") end
  local content = files.content_of(node)
  if limit and #content > limit then return failure("read", path, "EFBIG") end
  return content
end

local WRITE_HALF = { ENOSPC = true, EDQUOT = true, EIO = true }

---@param path string
---@param data string
---@param options { mode: integer?, append: boolean?, exclusive: boolean?, sync: boolean? }?
---@return true?, string? message, string? code
function Files:write(path, data, options)
  options = options or {}
  local whole, code = begin(self, "write", path)
  if not whole and WRITE_HALF[code] then -- a full disk leaves what fitted
    self:describe(path, data:sub(1, math.floor(#data / 2)))
    return failure("write", path, code)
  elseif not whole then
    return failure("open", path, code)
  end
  local node = node_at(self, whole)
  if node and options.exclusive then return failure("open", path, "EEXIST") end
  if node and node.type == "directory" then return failure("open", path, "EISDIR") end
  if node and not node.content then return true end -- a device takes it
  if not node then
    local ok, why = check_parent(self, whole)
    if not ok then return failure("open", path, why) end
    node = self:put(whole, { type = "file", content = "", mode = options.mode })
  end
  if options.mode then node.mode = options.mode end
  if options.append then files.append(node, data) else node.content, node.added = data, nil end
  node.mtime = self.clock()
  return true
end

---The names in a directory, in any order.
---@param whole string
---@return string[]
function Files:names(whole)
  local names = {}
  for name in pairs(self.children[whole] or {}) do names[#names + 1] = name end
  return names
end

local function has_children(self, path) return self:names(path)[1] ~= nil end

-- A directory moves with all that is in it.
local function move(self, from, to)
  local node, names = self.nodes[from], self:names(from)
  detach(self, from)
  attach(self, to, node)
  for _, name in ipairs(names) do move(self, from .. "/" .. name, to .. "/" .. name) end
end

-- What stands in the way of renaming `node` to where `there` is.
local function rename_obstacle(self, node, there, to)
  if not there then return nil end
  if there.type == "directory" and node.type ~= "directory" then return "EISDIR" end
  if there.type ~= "directory" and node.type == "directory" then return "ENOTDIR" end
  if there.type == "directory" and has_children(self, to) then return "ENOTEMPTY" end
end

---Renames an entry, of whatever kind.
---@param source string     absolute paths
---@param target string
---@return string? code     nil: done
function Files:rename_entry(source, target)
  local node = node_at(self, source)
  if not node then return "ENOENT" end
  if target:sub(1, #source + 1) == source .. "/" then return "EINVAL" end -- a directory into itself
  local obstacle = rename_obstacle(self, node, node_at(self, target), target)
  if obstacle then return obstacle end
  local ok, parent = check_parent(self, target)
  if not ok then return parent end
  if source ~= target then move(self, source, target) end
end

---@param from string
---@param to string
---@return true?, string? message, string? code
function Files:rename(from, to)
  local source, code = begin(self, "rename", from, true)
  local target
  if source then target, code = begin(self, "rename", to, true) end
  if target then code = self:rename_entry(source, target) end
  if not code then return true end
  return nil, ("cannot rename %q to %q: %s"):format(from, to, TEXT[code] or code), code
end

---@param path string
---@return true?, string? message, string? code
function Files:remove(path)
  local whole, code = begin(self, "remove", path, true)
  if not whole then return failure("remove", path, code) end
  local node = node_at(self, whole)
  if not node then return failure("remove", path, "ENOENT") end
  if node.type == "directory" and has_children(self, whole) then return failure("remove", path, "ENOTEMPTY") end
  detach(self, whole)
  return true
end

---Can a program be started in this directory?
---@param path string
---@return true?, string? code, string? text
function Files:enter(path)
  local whole, code = follow(self, files.normalize(path, self.cwd))
  local node = whole and self.nodes[whole]
  if node and node.type ~= "directory" then code = "ENOTDIR" end
  if not node and whole and (self.closed or is_absent(self, whole)) then code = "ENOENT" end
  if code then return nil, code, TEXT[code] end
  return true
end

return files
