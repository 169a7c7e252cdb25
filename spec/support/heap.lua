-- heap: how many bytes a box needs, without what the simulator wrote down for specs to look at.
--
--   heap.measured(function() … end)     runs with the JIT compiler off: its traces would count as memory
--   heap.bytes(box)                     after two full collections
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

---@param box luapilot.sim.Box
---@return number
function heap.bytes(box)
  forget(box)
  collectgarbage()
  collectgarbage() -- what finalisers and weak tables held
  return collectgarbage "count" * 1024
end

---Calls fn with the JIT compiler off.
---@param fn fun()
function heap.measured(fn)
  local compiles = jit.status()
  jit.off()
  if compiles then jit.flush() end
  local ok, err = pcall(fn)
  if compiles then jit.on() end
  if not ok then error(err, 0) end
end

return heap
