-- buffer: bytes that have come and that nobody has taken yet, in pieces of any size.
--
-- Pieces are put together only when somebody takes them, and searched for the end of a line only once: a long line in
-- small pieces costs no more than its length. It owns the pieces; how many it may have is the affair of who fills it.

---@class luapilot.Buffer
---@field size integer            bytes
---@field pieces string[]         from `first` on
---@field first integer
---@field at integer              where in the first piece unread bytes begin
---@field searched integer        bytes in which there is no newline
---@field next integer            the piece in which the search goes on; from its beginning, or from `at` in the first
local Buffer = {}
Buffer.__index = Buffer

local buffer = {}

---@return luapilot.Buffer
function buffer.new()
  return setmetatable({ size = 0, pieces = {}, first = 1, last = 0, at = 1, searched = 0, next = 1 }, Buffer)
end

---@param piece string
function Buffer:push(piece)
  if piece == "" then return end
  self.last = self.last + 1
  self.pieces[self.last] = piece
  self.size = self.size + #piece
end

---The length of the first line, its newline included; nil: its end has not come.
---@return integer?
function Buffer:line()
  while self.next <= self.last do
    local piece, from = self.pieces[self.next], self.next == self.first and self.at or 1
    local stop = piece:find("\n", from, true)
    if stop then return self.searched + stop - from + 1 end
    self.searched = self.searched + #piece - from + 1
    self.next = self.next + 1
  end
end

local function drop_first(self)
  self.pieces[self.first] = nil
  self.first, self.at = self.first + 1, 1
end

---The first bytes, which are there no longer.
---@param count integer      `size` at most
---@return string
function Buffer:take(count)
  local parts, left = {}, count
  while left > 0 do
    local piece = self.pieces[self.first]
    local part = piece:sub(self.at, self.at + left - 1)
    parts[#parts + 1] = part
    left, self.at = left - #part, self.at + #part
    if self.at > #piece then drop_first(self) end
  end
  self.size, self.searched, self.next = self.size - count, 0, self.first
  return table.concat(parts)
end

return buffer
