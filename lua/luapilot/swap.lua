-- swap: a file takes the place of another at once, and gives it back if need be.
--
--   begin ──▶ the new file stands beside the old one ──commit──▶ it is in its place ──accept──▶ done
--                 │ discard                                          │ put_back
--                 ▼                                                  ▼
--              as before                                          as before, also after a crash (recover)
--
-- Beside /etc/app.conf these may stand, never longer than a render takes unless the pilot is killed in it:
--
--   .app.conf.luapilot-new      the new file, perhaps half of it: worth nothing
--   .app.conf.luapilot-old      the old file, whole: what stands in its place was never accepted
--   .app.conf.luapilot-none     there was no file before: what stands there was never accepted
--
-- A file that cannot be renamed over (a bind mount of the file alone, as containers have it) or whose owner a new file
-- cannot get is written in place; the old one is kept beside it meanwhile.
--
-- Links: those in a path are resolved once, at the beginning; the file that they lead to is replaced, they stay. One
-- that belongs neither to root, nor to this process's user, nor to the owner of what it leads to is refused: who may
-- write into a directory must not lead a privileged pilot out of it. The names above never follow a link.
--
-- It owns these files from `begin` to `accept`. It never waits and never looks into a file.

local swap = {}

local PRIVATE, USUAL = 384, 420 -- rw-------, rw-r--r--

local WORDS = {
  ENOENT = "its directory does not exist",
  ENOTDIR = "a part of its path is not a directory",
  EROFS = "the file system is read-only",
  ENOSPC = "no space left on device; the old file stays",
  EACCES = "permission denied: a new file must be written beside it",
}

local function failure(target, message, code)
  local reason = WORDS[code] or tostring(message):match ": ([^:]*)$" or message
  return nil, ("cannot write %q: %s"):format(target, reason), code
end

local function beside(target, what)
  local directory, name = target:match "^(.*/)([^/]*)$"
  return ("%s.%s.luapilot-%s"):format(directory or "", name or target, what)
end

-- --- where it is -----------------------------------------------------------------------------

local function own_uid(port)
  local process = port.stat("/proc/" .. port.pid())
  return process and process.uid or 0
end

local function is_trusted(port, uid, other)
  return uid == 0 or other ~= nil and uid == other.uid or uid == own_uid(port)
end

local function check_link(port, path, link)
  local meant = port.realpath(path)
  if not meant then return nil, ("%q is a symbolic link that leads nowhere"):format(path) end
  if is_trusted(port, link.uid, port.stat(meant)) then return true end
  return nil, ("%q is a symbolic link of user %d, who owns not what it leads to (%q): it is not followed")
    :format(path, link.uid, meant)
end

local function check_links(port, path)
  for stop in (path .. "/"):gmatch "[^/]()/" do
    local part = path:sub(1, stop - 1)
    local stat = port.stat(part)
    if stat and stat.type == "link" then
      local ok, message = check_link(port, part, stat)
      if not ok then return nil, message end
    end
  end
  return true
end

---The file that a path means, whether it exists or not.
---@param port luapilot.Port
---@param path string
---@return string? target
---@return string? message
function swap.resolve(port, path)
  local directory, name = path:match "^(.-)([^/]+)$"
  if not name then return nil, ("%q is a directory"):format(path) end
  local ok, message = check_links(port, path)
  if not ok then return nil, message end
  local found, why, code = port.realpath(path)
  if found then return found end
  if code ~= "ENOENT" then return nil, why end
  local real = port.realpath(directory == "" and "." or directory)
  return real and (real == "/" and "" or real) .. "/" .. name or path
end

-- --- putting back ----------------------------------------------------------------------------

local IN_PLACE = { EBUSY = true, EXDEV = true }

-- The old file takes its place again; where it could not be kept with its owner, only its text does.
local function restore(port, target, old)
  local was, is = port.stat(old), port.stat(target)
  if not is or was.uid == is.uid and was.gid == is.gid then
    local ok, message, code = port.rename(old, target)
    if ok then return true end
    if not IN_PLACE[code] then return nil, message end
  end
  local text, ok, message
  text, message = port.read(old)
  if not text then return nil, message end
  ok, message = port.write(target, text, { sync = true })
  if not ok then return nil, message end
  return port.remove(old)
end

local function is_ours(port, path, target)
  local stat = port.stat(path)
  return stat ~= nil and stat.type == "file" and is_trusted(port, stat.uid, port.stat(target))
end

---Puts back what was never accepted, because whoever swapped it was killed.
---@param port luapilot.Port
---@param target string       as of resolve()
---@return "restored"|"removed"|nil how      nil: there was nothing to do, or a message
---@return string? message
function swap.recover(port, target)
  for _, what in ipairs { "new", "saving" } do
    local path = beside(target, what)
    if port.stat(path) then port.remove(path) end
  end
  local old, none = beside(target, "old"), beside(target, "none")
  local how, ok, message
  if is_ours(port, old, target) then
    how, ok, message = "restored", restore(port, target, old)
  elseif is_ours(port, none, target) then
    if port.stat(target) then port.remove(target) end
    how, ok, message = "removed", port.remove(none)
  else
    return nil
  end
  if ok then return how end
  return nil, ("cannot put back %q: %s"):format(target, message)
end

-- --- swapping --------------------------------------------------------------------------------

---@class luapilot.Swap
---@field target string
---@field new string        the path of the candidate, until it is committed
---@field committed boolean?
local Swap = {}
Swap.__index = Swap

-- Mode and owner: what was asked for, else those of the file that is there.
local function dress(self, path)
  local look, there, now = self.look, self.there or {}, self.port.stat(path)
  if not now then return nil, "it is gone", "ENOENT" end
  local uid, gid, mode = look.uid or there.uid, look.gid or there.gid, look.mode or there.mode or USUAL
  local changes, any = {}, false
  if uid and uid ~= now.uid then changes.uid, any = uid, true end
  if gid and gid ~= now.gid then changes.gid, any = gid, true end
  if any or mode ~= now.mode then
    changes.mode = mode
    return self.port.chmod(path, changes)
  end
  return true
end

local function write_new(port, path, text)
  port.remove(path) -- of a pilot that was killed
  return port.write(path, text, { exclusive = true, sync = true, mode = PRIVATE })
end

---Gives a file that has the right text already the mode and owner that are asked for.
---@param port luapilot.Port
---@param target string
---@param look { mode: integer?, uid: integer?, gid: integer? }
---@return boolean? changed
---@return string? message
function swap.dress(port, target, look)
  local there = port.stat(target)
  local ok, message, code = dress({ port = port, look = look, there = there }, target)
  if not ok then
    local _, why = failure(target, message, code)
    return nil, why
  end
  local now = port.stat(target)
  return now ~= nil and (now.mode ~= there.mode or now.uid ~= there.uid or now.gid ~= there.gid)
end

---Writes the new file beside the old one, with its mode and owner.
---@param port luapilot.Port
---@param target string       as of resolve()
---@param text string
---@param look { mode: integer?, uid: integer?, gid: integer? }
---@return luapilot.Swap?
---@return string? message
function swap.begin(port, target, text, look)
  local there = port.stat(target)
  local self = setmetatable({
    port = port, target = target, text = text, look = look, there = there, new = beside(target, "new"),
  }, Swap)
  local ok, message, code = write_new(port, self.new, text)
  if ok then
    ok, message, code = dress(self, self.new)
    if not ok and code == "EPERM" and there and not look.uid and not look.gid then
      ok, self.in_place = true, true -- it keeps its owner
    end
  end
  if ok then return self end
  if code ~= "EROFS" then self:discard() end
  return failure(target, message, code)
end

---Forgets the new file.
function Swap:discard()
  self.port.remove(self.new)
end

-- The old file under its other name: whole or not at all. A new file of this name is in the way of nothing.
local function save(self)
  local port, there = self.port, self.there
  local saving = beside(self.target, there and "saving" or "none")
  local text, message, code = "", nil, nil
  if there then text, message, code = port.read(self.target) end
  local ok = text ~= nil
  if ok then ok, message, code = write_new(port, saving, text) end
  if ok and there then
    local changes = { mode = there.mode, uid = there.uid, gid = there.gid }
    if not port.chmod(saving, changes) then port.chmod(saving, { mode = there.mode }) end
    ok, message, code = port.rename(saving, beside(self.target, "old"))
  end
  if not ok then port.remove(saving) end
  return ok, message, code
end

local function write_in_place(self)
  local port = self.port
  local ok, message, code = port.write(self.target, self.text, { sync = true })
  if ok and (self.look.mode or self.look.uid or self.look.gid) then ok, message, code = dress(self, self.target) end
  if ok then self:discard() end
  return ok, message, code
end

local function put_in_place(self)
  if not self.in_place then
    local ok, message, code = self.port.rename(self.new, self.target)
    if ok or not (IN_PLACE[code] and self.there) then return ok, message, code end
    self.in_place = true
  end
  if not self.saved then
    local ok, message, code = save(self)
    if not ok then return nil, message, code end
    self.saved = true
  end
  return write_in_place(self)
end

---The new file takes the place of the old one. With `keep` it is on trial until accept() or put_back().
---@param keep boolean
---@return true?
---@return string? message
function Swap:commit(keep)
  local ok, message, code = true, nil, nil
  if keep then ok, message, code = save(self) end
  self.saved = keep and ok
  if ok then ok, message, code = put_in_place(self) end
  if not ok then
    self:discard()
    local back, why = self:put_back()
    local _, text = failure(self.target, message, code)
    return nil, back and text or ("%s; %s"):format(text, why)
  end
  self.committed = true
  if not keep then self:accept() end
  return true
end

---What stands there is right: the old file is not needed any more.
function Swap:accept()
  if not self.saved then return end
  self.saved = false
  self.port.remove(beside(self.target, self.there and "old" or "none"))
end

---The old file takes its place again.
---@return true?
---@return string? message
function Swap:put_back()
  if not self.saved then return true end
  self.saved = false
  local _, message = swap.recover(self.port, self.target)
  if message then return nil, message end
  return true
end

return swap
