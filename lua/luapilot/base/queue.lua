-- queue: first in, first out. Taking one out costs the same whether ten wait or a million, and the room that a long
-- queue needed is given back when it is short again.
--
-- A ring: the places of what was taken are used again. (A list whose first index only grows ends in the hash part of
-- its table, where Lua lays everything out anew, again and again.) It owns its items and never looks at them; nil and
-- false are none.

local queue = {}

local LEAST = 4   -- places of a queue that is used at all
local KEPT = 256  -- places that are kept for what comes next

---@class luapilot.Queue
---@field count integer     items in it; of those that were struck out, some may still be among them
---@field struck table<any, true>?
local Queue = {}
Queue.__index = Queue

---@return luapilot.Queue
function queue.new() return setmetatable({ count = 0, first = 1, room = 0, gone = 0 }, Queue) end

local function move(self, room)
  local old, items, at = self.items, {}, self.first
  for i = 1, self.count do
    items[i] = old[at]
    at = at < self.room and at + 1 or 1
  end
  for i = self.count + 1, room do items[i] = false end -- so that it is an array to Lua, whatever is taken out
  self.items, self.first, self.room = items, 1, room
end

---The last of the queue from now on.
---@param item any
function Queue:push(item)
  local count = self.count
  if count == self.room then move(self, count > 0 and 2 * count or LEAST) end
  local at, room = self.first + count, self.room
  self.items[at <= room and at or at - room] = item
  self.count = count + 1
end

-- Passes over those at the front that were struck out.
local function skip(self)
  local struck, gone = self.struck, self.gone
  self.gone = 0
  while gone > 0 and struck[self.items[self.first]] do
    struck[self:pop()], gone = nil, gone - 1
  end
  self.gone = gone
end

---Takes the first one out.
---@return any item     nil: it is empty
function Queue:pop()
  if self.gone > 0 then skip(self) end
  local count, first, items, room = self.count, self.first, self.items, self.room
  if count == 0 then return nil end
  local item = items[first]
  items[first], self.count = false, count - 1
  self.first = first < room and first + 1 or 1
  if room > KEPT and count <= room / 4 then move(self, room / 2) end
  return item
end

---The first one, which stays.
---@return any item     nil: it is empty
function Queue:peek()
  if self.gone > 0 then skip(self) end
  return self.count > 0 and self.items[self.first] or nil
end

-- Those that were struck out give their places back when they are as many as the others.
local function sweep(self)
  local struck, count = self.struck, self.count
  self.struck, self.gone = {}, 0
  for _ = 1, count do
    local item = self:pop()
    if not struck[item] then self:push(item) end
  end
end

---An item is waited for no more: it is as if it had been taken out.
---@param item any     it is in the queue, once
function Queue:strike(item)
  self.struck = self.struck or {}
  self.struck[item], self.gone = true, self.gone + 1
  if 2 * self.gone > self.count then sweep(self) end
end

return queue
