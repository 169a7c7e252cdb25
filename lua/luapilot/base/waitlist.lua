-- waitlist: who waits for something, in the order in which they came. To leave costs the same however many are on it.
--
-- Who has left keeps the place until the list is not being walked and most have gone. It owns nothing else.

local waitlist = {}

---@class luapilot.Waitlist
local Waitlist = {}
Waitlist.__index = Waitlist

---@return luapilot.Waitlist
function waitlist.new() return setmetatable({ gone = 0, walked = false }, Waitlist) end

local function sweep(self)
  if self.walked or 2 * self.gone <= #self then return end
  local kept = 0
  for i = 1, #self do
    local entry = self[i]
    self[i] = nil
    if not entry.gone then
      kept = kept + 1
      self[kept] = entry
    end
  end
  self.gone = 0
end

---@param value any
---@return table entry    for `remove`
function Waitlist:add(value)
  local entry = { value = value, gone = false }
  self[#self + 1] = entry
  return entry
end

---Twice is once.
---@param entry table
function Waitlist:remove(entry)
  if entry.gone then return end
  entry.gone, entry.value = true, nil
  self.gone = self.gone + 1
  sweep(self)
end

---@return boolean
function Waitlist:is_empty() return #self == self.gone end

---Calls fn(value, entry) for each; who comes meanwhile is not called, nor who leaves before his turn.
---@param fn fun(value: any, entry: table)
function Waitlist:walk(fn)
  local outer = self.walked
  self.walked = true
  for i = 1, #self do
    local entry = self[i]
    if not entry.gone then fn(entry.value, entry) end
  end
  self.walked = outer
  sweep(self)
end

return waitlist
