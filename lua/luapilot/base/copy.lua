-- copy: copies of tables, and whether two are the same. Owns nothing.

local copy = {}

---A table of the same fields.
---@param map table
---@return table
function copy.shallow(map)
  local result = {}
  for key, value in pairs(map) do result[key] = value end
  return result
end

---The same for plain data (a tree without metatables), all the way down.
---@param value any
---@return any
function copy.deep(value)
  if type(value) ~= "table" then return value end
  local result = {}
  for key, field in pairs(value) do result[key] = copy.deep(field) end
  return result
end

---Are two values the same, field by field?
---@param a any
---@param b any
---@return boolean
function copy.equal(a, b)
  if a == b then return true end
  if type(a) ~= "table" or type(b) ~= "table" then return false end
  for key, value in pairs(a) do
    if not copy.equal(value, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

return copy
