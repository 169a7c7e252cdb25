-- string_metatable: what a script gets for getmetatable(""), in the place of the metatable that all strings share.
--
-- Its own __index answers for what is no method of Lua's (("text")[3]): those stay what they are, for luapilot calls
-- them all the time. Operators ("%d" % 3) are set on all strings, for luapilot uses none on them. In one state the last
-- file that sets something has it: boxes of a spec share their strings, as they share Lua. Loaded with the first look.

local string_metatable = {}

local SHARED = getmetatable ""
local OPERATORS = { __add = true, __sub = true, __mul = true, __div = true, __mod = true, __pow = true, __unm = true,
  __call = true }

-- What stands in for the table of methods, which is much faster.
local function index_with(methods, own)
  return function(text, key)
    local method = methods[key]
    if method ~= nil then return method end
    if type(own) == "function" then return own(text, key) end
    return own[key]
  end
end

---@param own table        the string library of the file
---@param methods table    Lua's own
---@return table view
function string_metatable.of(own, methods)
  local shown = { __index = own }
  return setmetatable({}, {
    __index = shown,
    __newindex = function(_, name, value)
      if name == "__index" then
        local kind = type(value)
        local is_other = value ~= own and (kind == "function" or kind == "table")
        SHARED.__index = is_other and index_with(methods, value) or string
      elseif OPERATORS[name] then
        SHARED[name] = value
      else
        error(('getmetatable("").%s cannot be set: strings of luapilot would have it, too'):format(tostring(name)), 2)
      end
      shown[name] = value
    end,
  })
end

return string_metatable
