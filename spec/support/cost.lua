-- cost: what a function does, in numbers that are the same each time, and whether they grow in proportion.
--
--   local measured = cost.of(function() … end)          { instructions, touched, allocated }
--   cost.complaint(cost.of_sizes(100, function(n) return function() … end end))     nil, or what grows how
--
-- Three meters, because none of them sees everything:
--
--   instructions   of Lua, counted by a hook, the JIT compiler off. Also those of table.remove, which is bytecode in
--                  LuaJIT, and of comparisons that table.sort calls.
--   touched        what functions of C walk through, where Lua executes one instruction: bytes of the subjects of
--                  string functions, places that table.insert shifts, items that table.concat and table.sort handle.
--                  Counted by wrappers in the library tables, where the core looks the functions up at each call.
--   allocated      bytes that the collector would see, which stands still meanwhile: `..` in a loop, copies of tables.
--
-- What no meter sees: next() on a table from which many were taken, which steps over the empty places.
--
-- Each size is measured anew. Of three sizes n, 2n and 4n the differences are compared, so what every size costs counts
-- for nothing: twice as much is in proportion, n log n is 2.2 to 2.4 at the sizes used, a square 4.

local cost = {}

---Times as much may the second doubling cost as the first.
cost.MOST = 2.6


local LOOK = 500 -- instructions between two looks of the hook
local METERS = { "instructions", "touched", "allocated" }

-- Below these a difference says nothing: tables grow in powers of two.
local NOISE = { instructions = 2000, touched = 5000, allocated = 20000 }

-- --- functions of C ------------------------------------------------------------------------------

local CARET = ("^"):byte()

local touched = 0

-- A search touches what lies before its find; one in vain, everything from where it begins. An anchored pattern that
-- does not fit has nearly always seen that at once.
local function count_search(text, pattern, from, plain, stop)
  if not stop and not plain and pattern:byte() == CARET then return end
  from = type(from) == "number" and from or 1
  if from < 0 then from = #text + from + 1 end
  touched = touched + math.max(0, (stop or #text) - math.max(from, 1) + 1)
end

local function counted_find(real)
  return function(text, pattern, from, plain)
    text = tostring(text)
    local function count(start, stop, ...)
      count_search(text, pattern, from, plain, stop)
      return start, stop, ...
    end
    return count(real(text, pattern, from, plain))
  end
end

-- Where a match begins and ends is not told: what it gives, or all that it may have looked at.
local function counted_match(real)
  return function(text, pattern, from)
    text = tostring(text)
    local function count(...)
      local anchored = pattern:byte() == CARET
      for i = 1, anchored and select("#", ...) or 0 do touched = touched + #tostring((select(i, ...))) end
      if not anchored then count_search(text, pattern, from) end
      return ...
    end
    return count(real(text, pattern, from))
  end
end

local function counted_subject(real)
  return function(text, ...)
    touched = touched + #tostring(text)
    return real(text, ...)
  end
end

local function counted_result(real)
  return function(...)
    local text = real(...)
    touched = touched + #text
    return text
  end
end

local function counted_insert(real)
  return function(list, ...)
    if select("#", ...) == 2 then touched = touched + #list + 1 - (...) end
    return real(list, ...)
  end
end

local function counted_sort(real)
  return function(list, ...)
    local n = #list
    touched = touched + n * math.ceil(math.log(n + 2) / math.log(2))
    return real(list, ...)
  end
end

local function counted_unpack(real)
  return function(list, from, to)
    touched = touched + (to or #list)
    return real(list, from, to)
  end
end

local WRAPPED = {
  { string, "find", counted_find },
  { string, "match", counted_match }, { string, "gmatch", counted_subject }, { string, "gsub", counted_subject },
  { string, "lower", counted_subject }, { string, "upper", counted_subject }, { string, "reverse", counted_subject },
  { string, "sub", counted_result }, { string, "rep", counted_result }, { string, "format", counted_result },
  { table, "concat", counted_result }, { table, "insert", counted_insert }, { table, "sort", counted_sort },
  { _G, "unpack", counted_unpack },
}

local function wrap()
  local real = {}
  for i, each in ipairs(WRAPPED) do
    local library, name, counted = each[1], each[2], each[3]
    real[i] = library[name]
    library[name] = counted(real[i])
  end
  return function()
    for i, each in ipairs(WRAPPED) do each[1][each[2]] = real[i] end
  end
end

-- --- measuring -----------------------------------------------------------------------------------

-- With the compiler off, whose loops know no hooks, and the collector standing still, which the core would set going
-- again when it ends.
local function in_quiet(fn)
  local compiles, real = jit.status(), collectgarbage
  jit.off()
  if compiles then jit.flush() end
  real "collect"
  real "stop"
  _G.collectgarbage = function(option, ...) -- luacheck: ignore 122
    return option == "count" and real("count", ...) or 0
  end
  local ok, result = pcall(fn)
  _G.collectgarbage = real -- luacheck: ignore 122
  real "restart"
  if compiles then jit.on() end
  if not ok then error(result, 0) end
  return result
end

local function measure(fn, most)
  local looks, bound = 0, (most or math.huge) / LOOK
  local too_many = most and "cost: more than " .. most .. " instructions"
  local unwrap, before = wrap(), collectgarbage "count"
  touched = 0
  debug.sethook(function()
    looks = looks + 1
    if looks > bound then error(too_many, 0) end
  end, "", LOOK)
  local ok, err = pcall(fn)
  debug.sethook()
  unwrap()
  if looks > bound then error(too_many, 0) end
  if not ok then error(err, 0) end
  return { instructions = looks * LOOK, touched = touched, allocated = (collectgarbage "count" - before) * 1024 }
end

---What a call of fn costs.
---@param fn fun()
---@param most integer?     instructions, then an error is raised in fn: it would go on for ever
---@return { instructions: integer, touched: integer, allocated: integer }
function cost.of(fn, most)
  return in_quiet(function() return measure(fn, most) end)
end

---Costs of n, 2n and 4n.
---@param n integer
---@param prepare fun(n: integer): fun()     gives what is measured
---@param most integer?                      instructions of one size
---@return table[] costs                     with `n`
function cost.of_sizes(n, prepare, most)
  return in_quiet(function()
    local list = {}
    prepare(math.ceil(n / 8))() -- what is loaded when it is first used is loaded now
    for i, size in ipairs { n, 2 * n, 4 * n } do
      list[i] = measure(prepare(size), most)
      list[i].n = size
    end
    return list
  end)
end

-- --- judging -------------------------------------------------------------------------------------

---How much more the second doubling costs than the first, by meter; nothing of a meter that hardly moves.
---@param costs table[]      of of_sizes
---@return table<string, number>
function cost.growth(costs)
  local growth = {}
  for _, meter in ipairs(METERS) do
    local first, second = costs[2][meter] - costs[1][meter], costs[3][meter] - costs[2][meter]
    if second > NOISE[meter] then growth[meter] = second / math.max(first, NOISE[meter] / cost.MOST) end
  end
  return growth
end

---What does not grow in proportion, in words; nil when all does.
---@param costs table[]
---@return string?
function cost.complaint(costs)
  local parts = {}
  for meter, times in pairs(cost.growth(costs)) do
    if times > cost.MOST then
      parts[#parts + 1] = ("%s: %d for %d, %d for %d, %d for %d (the second doubling is %.2f times the first)"):format(
        meter, costs[1][meter], costs[1].n, costs[2][meter], costs[2].n, costs[3][meter], costs[3].n, times)
    end
  end
  table.sort(parts)
  return parts[1] and table.concat(parts, "; ") or nil
end

return cost
