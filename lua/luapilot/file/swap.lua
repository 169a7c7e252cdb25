-- swap: a file takes the place of another at once, and gives it back if need be.
--
--   new ──write──▶ the new file stands beside the old one ──commit──▶ it is in its place ──accept──▶ done
--                       │ discard                                         │ put_back
--                       ▼                                                 ▼
--                   as before                                         as before, also after a crash (recover)
--
-- Beside /etc/app.conf these may stand, never longer than a render takes unless the pilot is killed in it:
--
--   .app.conf.luapilot-new-…    a new file, perhaps half of it: worth nothing. Nobody can guess the rest of its name
--   .app.conf.luapilot-old      the old file, whole: what stands in its place was never accepted
--   .app.conf.luapilot-none     there was no file before: what stands there was never accepted
--
-- A file that cannot be renamed over (a bind mount of the file alone, as containers have it) or whose owner a new file
-- cannot get is written in place, unless it must be replaced at once; the old one is kept beside it meanwhile.
--
-- All of it happens in one place: a directory that was reached once (links: port.place) and stays open. The new file is
-- made anew, closed to others, and gets its owner and mode while only we know it; a file that is there is never given
-- another owner or mode, but one that is written in place. What is read or written in place is the very file that was
-- looked at: its identity says so. So nobody who may write into the directory can have another file read or written.
--
-- It owns these files from `write` to `accept`, and what it has opened until the place is closed. It waits only where a
-- `pause` was lent to it (file/slices.lua).

local bit = require "bit"
local slices = require "luapilot.file.slices"

local swap = {}

local USUAL = 420 -- rw-r--r--
local PERMISSIONS = 511 -- setuid and its like are not handed on
local CROWDED = 1000 -- names in a directory that is not searched for what a killed pilot left
local TRIES = 10

local WORDS = {
  ENOENT = "its directory does not exist",
  ENOTDIR = "a part of its path is not a directory",
  EROFS = "the file system is read-only",
  ENOSPC = "no space left on device; the old file stays",
  EACCES = "permission denied: a new file must be written beside it",
}

-- In place some words would not be true: what the port said, then.
local function failure(target, message, code, in_place)
  local reason = not in_place and WORDS[code] or tostring(message):match ": ([^:]*)$" or message
  return nil, ("cannot write %q: %s"):format(target, reason), code
end

local KINDS = { directory = "a directory", link = "a symbolic link", fifo = "a FIFO", socket = "a socket",
  device = "a device" }

-- --- where it is -----------------------------------------------------------------------------

---@class luapilot.Place       a name in a directory that stays open
---@field port luapilot.Port
---@field id integer
---@field name string
---@field directory string     its path, without links
---@field target string        the path, without links
---@field secluded boolean      nobody but root and our user can put something else there
local Place = {}
Place.__index = Place

---The place that a path means, whether there is a file or not. The caller closes it.
---@param port luapilot.Port
---@param path string
---@return luapilot.Place? place
---@return string? message
---@return string? code
function swap.place(port, path)
  local id, name, directory, secluded = port.place(path)
  if not id and name:find "^cannot open " then return failure(path, name, directory) end
  if not id then return nil, name, directory end
  return setmetatable({
    port = port, id = id, name = name, directory = directory, secluded = secluded, opened = {}, made = {},
    target = (directory == "/" and "" or directory) .. "/" .. name,
  }, Place)
end

---Closes it, and all that was opened there; new files that did not come into a place of their own are removed. Closing
---it twice is once.
function Place:close()
  if not self.id then return end
  for name in pairs(self.made) do self:remove(name) end
  for id in pairs(self.opened) do self.port.cancel(id) end
  self.port.cancel(self.id)
  self.opened, self.made, self.id = {}, {}, nil
end

---@private
function Place:beside(what) return (".%s.luapilot-%s"):format(self.name, what) end

---What stands there; a link is not followed.
---@param name string?     default: the file's own
---@return luapilot.Stat?, string? message, string? code
function Place:stat(name) return self.port.stat(name or self.name, self.id) end

---@private
---@return integer? id, luapilot.Stat|string|nil stat_or_message, string? code
function Place:open(name, mode)
  local id, stat, code = self.port.open(name, mode, self.id)
  if id then self.opened[id] = true end
  return id, stat, code
end

---@private
function Place:shut(id)
  if id and self.opened[id] then self.port.cancel(id) end
  if id then self.opened[id] = nil end
end

---@private
function Place:remove(name) return self.port.remove(name, self.id) end

---@private
function Place:rename(from, to) return self.port.rename(from, to, self.id) end

---What stands there, whole: false if there is nothing. Nil and a message: it is no file, or cannot be read.
---@param pause fun()?
---@return string|false|nil text
---@return luapilot.Stat|string|nil stat_or_message
---@return string? code
function Place:read(pause)
  local stat, message, code = self:stat()
  if not stat and code == "ENOENT" then return false end
  if stat and stat.type ~= "file" then
    return nil, ("%q is %s, not a file"):format(self.target, KINDS[stat.type]), "EINVAL"
  end
  local id, text
  if stat then
    id, message, code = self:open(self.name, "read")
    stat = message
  end
  if id and stat.size > slices.limit then
    self:shut(id)
    return nil, ("%q has %d bytes: 64 MiB is the most"):format(self.target, stat.size), "EFBIG"
  end
  if not id then return nil, message, code end
  text, message, code = slices.read(self.port, id, pause)
  self:shut(id)
  if not text then return nil, message, code end
  return text, stat
end

-- --- a new file beside it --------------------------------------------------------------------

local function dress(port, id, is, look)
  local changes, any = {}, false
  for _, field in ipairs { "uid", "gid", "mode" } do
    if look[field] and look[field] ~= is[field] then changes[field], any = look[field], true end
  end
  if not any then return true end
  changes.mode = look.mode or is.mode -- chown takes bits of it away
  return port.chmod(id, changes)
end

-- A name that nobody can have made before us, in a directory where others make names.
local function create(place)
  local id, stat, code, name
  for _ = 1, TRIES do
    name = place:beside(("new-%013x"):format(place.port.random() * 2 ^ 52))
    id, stat, code = place:open(name, "create")
    if id or code ~= "EEXIST" then break end
  end
  if not id then return nil, stat, code end
  place.made[name] = true
  return { id = id, name = name, stat = stat }
end

local function fill(place, new, text, pause)
  return slices.write(place.port, new.id, text, pause)
end

local function finish(place, new, look)
  local ok, message, code = dress(place.port, new.id, new.stat, look)
  if not ok then return nil, message, code end
  return place.port.sync(new.id)
end

local function forget(place, new)
  place:remove(new.name)
  place.made[new.name] = nil
  place:shut(new.id)
end

-- Renames it, unless somebody has put something else there.
local function move(place, new, name)
  local now = place:stat(new.name)
  if not now or now.identity ~= new.stat.identity then
    return nil, "cannot rename: somebody replaced the new file before it was in its place", "EAGAIN"
  end
  local ok, message, code = place:rename(new.name, name)
  if ok then
    place.made[new.name] = nil
    place:shut(new.id)
  end
  return ok, message, code
end

-- --- putting back ----------------------------------------------------------------------------

local IN_PLACE = { EBUSY = true, EXDEV = true }
local R_OTHER, R_GROUP = 4, 32

-- Would the text of one file, written into another, be shown to somebody who could not read it?
local function would_show(was, is)
  if bit.band(was.mode, R_OTHER) ~= 0 then return false end
  local group = bit.band(was.mode, R_GROUP) ~= 0 and was.gid == is.gid
  return was.uid ~= is.uid or bit.band(is.mode, R_OTHER) ~= 0 or bit.band(is.mode, R_GROUP) ~= 0 and not group
end

-- The file takes its old look first: then its old text is seen by those who could see it.
local function restore_text(place, text, was)
  local port = place.port
  local id, is, code = place:open(place.name, "write")
  if not id then return nil, is, code end
  local ok, message
  local stranger = is.uid ~= 0 and is.uid ~= port.user() -- who may hold it open: a new look is no help
  if would_show(was, is) and (stranger or not dress(port, id, is, was)) then
    ok, message = nil, ("%s is not for the eyes of user %d"):format(place:beside "old", is.uid)
  else
    dress(port, id, is, was)
    ok, message = port.truncate(id)
  end
  if ok then ok, message = slices.write(port, id, text) end
  if ok then ok, message = port.sync(id) end
  place:shut(id)
  return ok, message
end

-- The old file takes its place again. Only where it cannot be renamed, or would change its owner by that, its text
-- does: what stands there may be held open by a stranger.
local function restore(place, id, was)
  local old = place:beside "old"
  local is, message, code = place:stat()
  if not is and code ~= "ENOENT" then return nil, message end
  if is and is.type ~= "file" then return nil, "it is " .. KINDS[is.type] .. " now" end
  local ok
  if not is or was.uid == is.uid and was.gid == is.gid or place.port.user() == 0 then
    ok, message, code = place:rename(old, place.name)
    if ok or not IN_PLACE[code] then return ok, message end
  end
  local text
  text, message = slices.read(place.port, id)
  if not text then return nil, message end
  ok, message = restore_text(place, text, was)
  if not ok then return nil, message end
  return place:remove(old)
end

-- Opens what was left by a pilot, or put there by the owner of the file. A stranger has no say, nor has a hard link.
local function open_ours(place, name)
  local seen, is = place:stat(name), place:stat()
  if not seen or seen.type ~= "file" then return nil end
  local id, stat = place:open(name, "read")
  if not id then return nil end
  if stat.uid == 0 or is and stat.uid == is.uid or stat.uid == place.port.user() then return id, stat end
  place:shut(id)
end

---Removes the new files that killed pilots left in a directory, and none of a pilot that is at work. A crowded
---directory is not searched.
---@param place luapilot.Place
function swap.tidy(place)
  local names = place.port.list(".", CROWDED, place.id)
  for _, name in ipairs(names or {}) do
    local id = name:find "^%..+%.luapilot%-new%-%x+$" and place:open(name, "left")
    if id then
      place:remove(name)
      place:shut(id)
    end
  end
end

-- Nil, and no message: there was nothing to put back.
local function put_back(place)
  local id, was = open_ours(place, place:beside "old")
  if not id then return nil end
  local ok, message = restore(place, id, was)
  place:shut(id)
  return ok and "restored", message
end

local function remove_first(place)
  local id = open_ours(place, place:beside "none")
  if not id then return nil end
  local stat = place:stat()
  if stat and stat.type == "file" then place:remove(place.name) end
  local ok, message = place:remove(place:beside "none")
  place:shut(id)
  return ok and "removed", message
end

---Puts back what was never accepted, because whoever swapped it was killed.
---@param place luapilot.Place
---@return "restored"|"removed"|nil how      nil: there was nothing to do, or a message
---@return string? message
function swap.recover(place)
  local how, message = put_back(place)
  if not how and not message then how, message = remove_first(place) end
  if how or not message then return how end
  return nil, ("cannot put back %q: %s"):format(place.target, message)
end

-- --- swapping --------------------------------------------------------------------------------

---@class luapilot.Swap
---@field place luapilot.Place
---@field at_once boolean?      never in place
local Swap = {}
Swap.__index = Swap

---A new text for a place. Nothing is written yet.
---@param place luapilot.Place
---@param text string
---@param look { mode: integer?, uid: integer?, gid: integer? }   what is nil is as of the old file
---@param pause fun()?
---@return luapilot.Swap
function swap.new(place, text, look, pause)
  return setmetatable({ place = place, text = text, look = look, pause = pause }, Swap)
end

---The path of the new file, until it is committed: by it another process reads what we have written, and nothing else.
---@return string? path
---@return string? message      nothing but the name leads there, which somebody else may change
function Swap:candidate()
  local place = self.place
  return place.secluded and place.target:match "^(.*/)" .. self.new.name or place.port.held(self.new.id)
end

-- Mode and owner: what was asked for, else those of the file that is there.
local function whole_look(self)
  local look, there = self.look, self.there or {}
  return {
    uid = look.uid or there.uid, gid = look.gid or there.gid,
    mode = look.mode or there.mode and bit.band(there.mode, PERMISSIONS) or USUAL,
  }
end

local function write(self)
  local place = self.place
  local ok, message, code
  self.new, message, code = create(place)
  if not self.new then return nil, message, code end
  ok, message, code = fill(place, self.new, self.text, self.pause)
  if ok then ok, message, code = finish(place, self.new, whole_look(self)) end
  if not ok and code == "EPERM" and self.there and not (self.at_once or self.look.uid or self.look.gid) then
    ok, self.in_place = true, true -- it keeps its owner
  end
  return ok, message, code
end

---Writes the new file beside the old one, with its mode and owner.
---@return true?
---@return string? message
---@return string? code
function Swap:write()
  local ok, message, code
  self.there, message, code = self.place:stat()
  if not self.there and code ~= "ENOENT" then return failure(self.place.target, message, code) end
  if self.there and self.there.type ~= "file" then
    return nil, ("%q is %s, not a file"):format(self.place.target, KINDS[self.there.type]), "EINVAL"
  end
  ok, message, code = write(self)
  if ok then return true end
  self:discard()
  return failure(self.place.target, message, code)
end

---Forgets the new file.
function Swap:discard()
  if self.new then forget(self.place, self.new) end
  self.new = nil
end

-- The text of the file that was looked at, and its look.
local function read_there(self)
  local text, stat, code = self.place:read(self.pause)
  if not text then return nil, stat or "cannot keep the old file: it is gone", code or "EAGAIN" end
  if stat.identity ~= self.there.identity then
    return nil, "cannot keep the old file: somebody replaced it meanwhile", "EAGAIN"
  end
  return text, stat
end

local function copy_beside(place, text, stat, pause)
  local new, message, code = create(place)
  if not new then return nil, message, code end
  local ok
  ok, message, code = fill(place, new, text, pause)
  if ok then ok, message, code = finish(place, new, stat) end
  if code == "EPERM" then -- it keeps our own user, and 0600 if need be
    dress(place.port, new.id, new.stat, { mode = stat.mode })
    ok, message, code = place.port.sync(new.id)
  end
  if ok then ok, message, code = move(place, new, place:beside "old") end
  if not ok then forget(place, new) end
  return ok, message, code
end

local function mark_none(place)
  place:remove(place:beside "none")
  local id, message, code = place:open(place:beside "none", "create")
  place:shut(id)
  if not id then return nil, message, code end
  return true
end

-- The old file under its other name: whole or not at all.
local function save(self)
  if not self.there then return mark_none(self.place) end
  local text, stat, code = read_there(self)
  if not text then return nil, stat, code end
  return copy_beside(self.place, text, stat, self.pause)
end

-- The file that was looked at. Where it is none, what stands there is somebody else's, and nothing is put back.
local function open_in_place(self)
  local place = self.place
  local id, stat, code = place:open(place.name, "write")
  if id and stat.identity == self.there.identity then return id, stat end
  place:shut(id)
  self:accept()
  if not id then return nil, stat, code end
  return nil, "cannot write: somebody replaced the file meanwhile", "EAGAIN"
end

-- Who has it open keeps that, whatever its owner and mode become: its owner could write what is ours then, and whoever
-- may read it could read what is not for them.
local function may_be_held(self, is)
  local want = whole_look(self)
  local stranger = is.uid ~= 0 and is.uid ~= self.place.port.user()
  return stranger and want.uid ~= is.uid or would_show(want, is) and bit.band(is.mode, R_OTHER + R_GROUP) ~= 0
end

local function write_in_place(self)
  local place, port = self.place, self.place.port
  local id, stat, code = open_in_place(self)
  if not id then return nil, stat, code end
  if may_be_held(self, stat) then
    place:shut(id)
    self:accept()
    return nil, ("cannot write in place: who has it open now (user %d, mode %04o) could read or change the new text; "
      .. "give it its owner and mode first, or mount its directory"):format(stat.uid, stat.mode), "EPERM"
  end
  local ok, message
  ok, message, code = port.truncate(id)
  if ok then ok, message, code = dress(port, id, stat, self.look) end
  if ok then ok, message, code = slices.write(port, id, self.text) end
  if ok then ok, message, code = port.sync(id) end
  place:shut(id)
  if ok then self:discard() end
  return ok or nil, message, code
end

local function put_in_place(self)
  if not self.in_place then
    local ok, message, code = move(self.place, self.new, self.place.name)
    if ok or not (IN_PLACE[code] and self.there) then return ok, message, code end
    if self.at_once then
      return nil, "cannot rename: it is a mount point of its own, which pilot.render can write in place", code
    end
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
---@return string? code
function Swap:commit(keep)
  local ok, message, code = true, nil, nil
  if keep then ok, message, code = save(self) end
  self.saved = keep and ok
  if ok then ok, message, code = put_in_place(self) end
  if not ok then
    self:discard()
    local back, why = self:put_back()
    local _, text = failure(self.place.target, message, code, self.in_place)
    return nil, back and text or ("%s; %s"):format(text, why), code
  end
  self.new = nil
  if not keep then self:accept() end
  return true
end

---What stands there is right: the old file is not needed any more. A power cut does not change that.
function Swap:accept()
  if self.saved then self.place:remove(self.place:beside(self.there and "old" or "none")) end
  self.saved = false
  self.place.port.sync(self.place.id)
end

---The old file takes its place again.
---@return true?
---@return string? message
function Swap:put_back()
  if not self.saved then return true end
  self.saved = false
  local how, message = swap.recover(self.place)
  if how then return true end
  local what = self.place:beside(self.there and "old" or "none")
  return nil, message or ("cannot put back %q: somebody took %s away"):format(self.place.target, what)
end

---Replaces what stands there by a text, at once and whole, and never in place.
---@param place luapilot.Place
---@param text string
---@param look { mode: integer?, uid: integer?, gid: integer? }
---@param pause fun()?
---@return true?
---@return string? message
---@return string? code
function swap.replace(place, text, look, pause)
  local new = swap.new(place, text, look, pause)
  new.at_once = true
  local ok, message, code = new:write()
  if ok then ok, message, code = new:commit(false) end
  return ok, message, code
end

return swap
