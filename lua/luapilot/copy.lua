-- copy: copies of tables. Owns nothing.

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

return copy
