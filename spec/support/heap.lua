-- heap: how many bytes a box needs, without what the simulator wrote down for specs to look at.
--
--   heap.bytes(box)     after two full collections
--   heap.live()         the same without a box: whatever lives in this program
--
-- What a box writes down (its history, its log, what jobs wrote, which files are not there) is there to be asked for,
-- and grows with what happens. It is thrown away before each look: what is left is the core's, and the simulator's own.

local heap = {}

-- Everything of a box that only remembers.
local function forget(box)
  box.moments, box.children = {}, {}
  box.port.logs, box.port.lines = {}, {}
  box.files.absent = {}
  box:forget_errors()
end

---@return number
function heap.live()
  collectgarbage()
  collectgarbage() -- what finalisers and weak tables held
  return collectgarbage "count" * 1024
end

---@param box luapilot.sim.Box
---@return number
function heap.bytes(box)
  forget(box)
  return heap.live()
end

return heap
