-- kv: keys and values, with the locks that sessions hold on them.
--
-- A write of what is there already changes nothing. What was deleted is remembered for a quarter of an hour, so that
-- the index of a prefix rises with a deletion; after that it may fall.
--
-- It owns the entries and the graveyard. Who may hold a lock is sessions.lua's, through `held_back`.

local copy = require "luapilot.base.copy"

local kv = {}

local GRAVE = 900 -- seconds

---@class luapilot.sim.consul.Entry
---@field key string
---@field value string
---@field flags string       digits: 64 bits
---@field session string?
---@field lock_index integer
---@field create integer
---@field modify integer

---@class luapilot.sim.consul.KV
---@field entries table<string, luapilot.sim.consul.Entry>
---@field held_back fun(key: string): boolean     is there a lock-delay on it?
---@field session_exists fun(id: string): boolean, string?
local KV = {}
KV.__index = KV

---@param store luapilot.sim.consul.Store
---@return luapilot.sim.consul.KV
function kv.new(store) return setmetatable({ store = store, entries = {}, graves = {} }, KV) end

local function begins(text, prefix) return text:sub(1, #prefix) == prefix end

-- --- reading -----------------------------------------------------------------------------------

---@param key string
---@return luapilot.sim.consul.Entry?
---@return integer index
function KV:get(key)
  local entry = self.entries[key]
  if entry then return entry, entry.modify end
  return nil, self.store:latest("kv")
end

local function newest_grave(self, prefix)
  local now, kept, newest = self.store:now(), {}, 0
  for _, grave in ipairs(self.graves) do
    if now - grave.at < GRAVE then
      kept[#kept + 1] = grave
      if begins(grave.key, prefix) then newest = math.max(newest, grave.index) end
    end
  end
  self.graves = kept
  return newest
end

---The entries below a prefix, by key.
---@param prefix string
---@return luapilot.sim.consul.Entry[]
---@return integer index
function KV:list(prefix)
  local list, newest = {}, newest_grave(self, prefix)
  for key, entry in pairs(self.entries) do
    if begins(key, prefix) then
      list[#list + 1] = entry
      newest = math.max(newest, entry.modify)
    end
  end
  table.sort(list, function(a, b) return a.key < b.key end)
  if prefix == "" or newest == 0 then newest = self.store:latest("kv") end
  return list, newest
end

---The keys below a prefix; with a separator no deeper than the next one.
---@param prefix string
---@param separator string    "": all
---@return string[]
---@return integer index
function KV:keys(prefix, separator)
  local entries, index = self:list(prefix)
  local keys = {}
  for _, entry in ipairs(entries) do
    local key = entry.key
    local stop = separator ~= "" and key:find(separator, #prefix + 1, true)
    if stop then key = key:sub(1, stop + #separator - 1) end
    if keys[#keys] ~= key then keys[#keys + 1] = key end
  end
  return keys, index
end

-- --- writing -----------------------------------------------------------------------------------

---A transaction: what follows is kept by commit(), or taken back by undo(), and nobody who waits sees it before.
---@return fun() commit
---@return fun() undo
function KV:begin()
  local entries, graves, touch, touched = copy.shallow(self.entries), copy.shallow(self.graves), self.touch, {}
  self.touch = function(_, index) touched[#touched + 1] = index end
  return function()
    self.touch = touch
    for _, index in ipairs(touched) do self:touch(index) end
  end, function()
    self.touch, self.entries, self.graves = touch, entries, graves
  end
end

function KV:touch(index) self.store:touch("kv", index) end

local function equal(a, b)
  return a.value == b.value and a.flags == b.flags and a.session == b.session and a.lock_index == b.lock_index
end

local function put(self, key, row, index)
  local old = self.entries[key]
  if old and equal(old, row) then return end
  row.key, row.create, row.modify = key, old and old.create or index, index
  self.entries[key] = row
  self:touch(index)
end

---Whoever holds the lock keeps it.
---@param key string
---@param value string
---@param flags string
---@param index integer
function KV:set(key, value, flags, index)
  local old = self.entries[key]
  put(self, key, { value = value, flags = flags, session = old and old.session, lock_index = 0 }, index)
end

---Only if it is as it was at `expected`; 0: if there is none.
---@param expected number
---@return boolean
function KV:cas(key, value, flags, expected, index)
  local old = self.entries[key]
  if (old and old.modify or 0) ~= expected then return false end
  self:set(key, value, flags, index)
  return true
end

---Takes the lock of a key for a session.
---@return boolean? taken
---@return string? message     the request was wrong
function KV:lock(key, value, flags, session, index)
  local known, message = self.session_exists(session)
  if not known then return nil, message end
  local old = self.entries[key]
  if self.held_back(key) or old and old.session and old.session ~= session then return false end
  local count = old and old.lock_index or 0
  if not old or not old.session then count = count + 1 end
  put(self, key, { value = value, flags = flags, session = session, lock_index = count }, index)
  return true
end

---@return boolean? released
---@return string? message     the request was wrong
function KV:unlock(key, value, flags, session, index)
  if session == "" then return nil, "missing session" end
  local old = self.entries[key]
  if not old or old.session ~= session then return false end
  put(self, key, { value = value, flags = flags, lock_index = old.lock_index }, index)
  return true
end

---@param key string
---@param index integer
function KV:delete(key, index)
  if not self.entries[key] then return end
  self.entries[key] = nil
  self.graves[#self.graves + 1] = { key = key, index = index, at = self.store:now() }
  self:touch(index)
end

---@return boolean
function KV:delete_cas(key, expected, index)
  local old = self.entries[key]
  if not old then return true end
  if old.modify ~= expected then return false end
  self:delete(key, index)
  return true
end

---@param prefix string
---@param index integer
function KV:delete_tree(prefix, index)
  for _, entry in ipairs((self:list(prefix))) do self:delete(entry.key, index) end
end

---A session is gone: what it held is released, or deleted.
---@param session string
---@param behavior "release"|"delete"
---@param index integer
---@return string[] keys
function KV:forsake(session, behavior, index)
  local keys = {}
  for _, entry in ipairs((self:list "")) do
    if entry.session == session then
      keys[#keys + 1] = entry.key
      if behavior == "delete" then
        self:delete(entry.key, index)
      else
        put(self, entry.key, { value = entry.value, flags = entry.flags, lock_index = entry.lock_index }, index)
      end
    end
  end
  return keys
end

return kv
