-- lazy: modules that are loaded when something of them is used for the first time.
--
--   local template = lazy.require "luapilot.template"
--
-- The stand-in has the module's fields; a pilot without templates never loads it. For modules that others only call:
-- nobody walks through a stand-in or writes into it. It owns nothing: Lua's own require keeps what is loaded.

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

---What stands for a module until it is needed.
---@param name string
---@return table
function lazy.require(name)
  return setmetatable({}, {
    __index = function(self, key)
      local module = lazy.load(name)
      setmetatable(self, { __index = module })
      return module[key]
    end,
  })
end

return lazy
