-- lazy: modules that are loaded when something of them is used for the first time.
--
--   local template = lazy.require "luapilot.file.template"
--
-- The stand-in has the module's fields; a pilot without templates never loads it. For modules that others only call:
-- nobody walks through a stand-in or writes into it. A class whose objects always exist, but are seldom asked for more
-- than that they do, has its other methods from a module of theirs:
--
--   lazy.methods(Scheduler, function() return lazy.load("luapilot.task.task").methods end, { "spawn", "await" })
--
-- It owns nothing: Lua's own require keeps what is loaded.

local lazy = {}

-- A require that failed leaves a mark, by which the next one would fail, too: an address, or its bits as a number.
local MARK = { userdata = true, number = true }

local function forget_marks()
  for name, value in pairs(package.loaded) do
    if MARK[type(value)] then package.loaded[name] = nil end
  end
end

---Loads a module now. On a stack of its own: the task that happens to be the first may have nothing left of its.
---@param name string
---@return table
function lazy.load(name)
  local module = package.loaded[name]
  if type(module) == "table" then return module end
  local ok, result = coroutine.resume(coroutine.create(require), name)
  if ok then return result end
  forget_marks()
  error(result, 0)
end

-- There are fifty of them at each start: they have one metatable, and their name as [1].
local StandIn = {
  __index = function(self, key)
    local module = lazy.load(rawget(self, 1))
    setmetatable(self, { __index = module })
    return module[key]
  end,
}

---What stands for a module until it is needed.
---@param name string
---@return table
function lazy.require(name) return setmetatable({ name }, StandIn) end

---Methods of a class that are loaded when the first of them is called. They are functions of their own, from below: the
---class is theirs to use by `self` only.
---@param class table
---@param source fun(): table     loads them, by name
---@param names string[]
function lazy.methods(class, source, names)
  for _, name in ipairs(names) do
    class[name] = function(...)
      local loaded = source()
      for _, each in ipairs(names) do class[each] = loaded[each] end
      return loaded[name](...)
    end
  end
end

return lazy
