-- What code costs, said so that it is the same on a machine that is busy, slow, or slowed down by a sanitizer.
--
--   effort.instructions(fn)     of the Lua VM: for work in Lua that must not grow with a square
--   effort.ratio(fn, plain)     how often the processor's time of another function: for work in C, as patterns are

local effort = {}

local STEP = 1000

---@param fn fun()
---@return integer             to a thousand
function effort.instructions(fn)
  local count = 0
  jit.off()
  jit.flush()                  -- what is compiled calls no hook
  debug.sethook(function() count = count + STEP end, "", STEP)
  local ok, err = pcall(fn)
  debug.sethook()
  jit.on()
  assert(ok, err)
  return count
end

local function least(fn)
  local best = math.huge
  for _ = 1, 5 do
    local before = os.clock()
    fn()
    best = math.min(best, os.clock() - before)
  end
  return best
end

---The least of five times each: a busy machine disturbs some, hardly all.
---@param fn fun()
---@param plain fun()
---@return number
function effort.ratio(fn, plain)
  return least(fn) / math.max(least(plain), 1e-5)
end

return effort
