-- constant: tables that many hold and nobody changes: what a thousand jobs have in common, they have once.
--
-- A new field raises, so that a write into what others hold as well does not go unseen (table.insert and rawset do not
-- ask). Owns nothing else.

local constant = {}

local Constant = {
  __newindex = function(_, key)
    error(("field %q of a table that others hold as well"):format(tostring(key)), 2)
  end,
}

---Makes a table a constant.
---@generic T: table
---@param map T
---@return T same
function constant.of(map) return setmetatable(map, Constant) end

---The empty one.
constant.NONE = constant.of {}

return constant
