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

local LOOK = 100 -- instructions between two looks of the hook
local MOST = 2.6 -- times as much, for twice as many
local METERS = { "instructions", "touched", "allocated" }

-- Below these a difference says nothing: tables grow in powers of two.
local NOISE = { instructions = 2000, touched = 5000, allocated = 20000 }

-- --- functions of C ------------------------------------------------------------------------------

local touched = 0

-- A search touches what lies before its find; one in vain, everything from where it begins.
local function count_search(text, from, _, stop)
  from = type(from) == "number" and from or 1
  if from < 0 then from = #text + from + 1 end
  touched = touched + math.max(0, (stop or #text) - math.max(from, 1) + 1)
end

local function counted_find(real)
  local function count(text, init, ...)
    count_search(text, init, ...)
    return ...
  end
  return function(text, pattern, init, plain) return count(tostring(text), init, real(text, pattern, init, plain)) end
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
  { string, "match", counted_subject }, { string, "gmatch", counted_subject }, { string, "gsub", counted_subject },
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

-- The core sets the collector going again when it ends.
local function hold_collector()
  local real = collectgarbage
  real "collect"
  real "stop"
  _G.collectgarbage = function(option, ...) -- luacheck: ignore 122
    return option == "count" and real("count", ...) or 0
  end
  return function()
    _G.collectgarbage = real -- luacheck: ignore 122
    real "restart"
  end
end

---What a call of fn costs.
---@param fn fun()
---@param most integer?     instructions, then an error is raised in fn: it would go on for ever
---@return { instructions: integer, touched: integer, allocated: integer }
function cost.of(fn, most)
  local looks, bound = 0, (most or math.huge) / LOOK
  local compiles = jit.status()
  jit.off()
  jit.flush() -- compiled loops know no hooks
  local release, unwrap = hold_collector(), wrap()
  touched = 0
  local before = collectgarbage "count"
  debug.sethook(function()
    looks = looks + 1
    if looks > bound then error("cost: more than " .. most .. " instructions", 0) end
  end, "", LOOK)
  local ok, err = pcall(fn)
  debug.sethook()
  local allocated = (collectgarbage "count" - before) * 1024
  unwrap()
  release()
  if compiles then jit.on() end
  if not ok or looks > bound then error(ok and "cost: more than " .. most .. " instructions" or err, 0) end
  return { instructions = looks * LOOK, touched = touched, allocated = allocated }
end

---Costs of n, 2n and 4n.
---@param n integer
---@param prepare fun(n: integer): fun()     gives what is measured
---@param most integer?                      instructions of one size
---@return table[] costs                     with `n`
function cost.of_sizes(n, prepare, most)
  local list = {}
  prepare(n)() -- what is loaded when it is first used is loaded now
  for i, size in ipairs { n, 2 * n, 4 * n } do
    list[i] = cost.of(prepare(size), most)
    list[i].n = size
  end
  return list
end

-- --- judging -------------------------------------------------------------------------------------

---How much more the second doubling costs than the first, by meter; nothing of a meter that hardly moves.
---@param costs table[]      of of_sizes
---@param extra (fun(n: integer): number)?   added to each cost: what a mistake would add
---@return table<string, number>
function cost.growth(costs, extra)
  local growth = {}
  for _, meter in ipairs(METERS) do
    local at = {}
    for i, each in ipairs(costs) do at[i] = each[meter] + (extra and extra(each.n) or 0) end
    local first, second = at[2] - at[1], at[3] - at[2]
    if second > NOISE[meter] then growth[meter] = second / math.max(first, NOISE[meter] / MOST) end
  end
  return growth
end

---What does not grow in proportion, in words; nil when all does.
---@param costs table[]
---@param extra (fun(n: integer): number)?
---@return string?
function cost.complaint(costs, extra)
  local parts = {}
  for meter, times in pairs(cost.growth(costs, extra)) do
    if times > MOST then
      parts[#parts + 1] = ("%s: %d for %d, %d for %d, %d for %d (the second doubling is %.2f times the first)"):format(
        meter, costs[1][meter], costs[1].n, costs[2][meter], costs[2].n, costs[3][meter], costs[3].n, times)
    end
  end
  table.sort(parts)
  return parts[1] and table.concat(parts, "; ") or nil
end

return cost
