-- "Did you mean …?" for every name a user can misspell.
--
-- Owns the idea of nearness: the Damerau-Levenshtein distance (insert, delete, replace, swap neighbours),
-- blind to case and to "_" against "-", with a bound that grows with the name. Never changes a name by
-- itself: it only makes messages helpful.

local describe = require "luapilot.base.describe"

local M = {}

local LONGEST = 64 -- nobody mistypes a longer name by one letter; the work is quadratic
local SHORT_LIST = 8

local function plain(name)
  return (name:lower():gsub("[_-]", ""))
end

local function distance(a, b)
  local before, previous = nil, {}
  for j = 0, #b do previous[j] = j end
  for i = 1, #a do
    local current = { [0] = i }
    for j = 1, #b do
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      local best = math.min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + cost)
      if before and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        best = math.min(best, before[j - 2] + 1)
      end
      current[j] = best
    end
    before, previous = previous, current
  end
  return previous[#b]
end

---The candidate that was probably meant. Ties go to the earlier candidate.
---@param name any
---@param candidates string[]
---@return string|nil
function M.near(name, candidates)
  if type(name) ~= "string" or #name > LONGEST then return nil end
  local wanted, best, best_distance = plain(name), nil, nil
  for _, candidate in ipairs(candidates) do
    local other = plain(candidate)
    local bound = math.floor(math.max(#wanted, #other) / 3)
    if candidate ~= name and math.abs(#other - #wanted) <= bound and #candidate <= LONGEST then
      local d = distance(wanted, other)
      if d <= bound and (not best or d < best_distance) then best, best_distance = candidate, d end
    end
  end
  return best
end

---Text to put behind a message: ` (did you mean "x"?)`, or the valid names when nothing is near and they
---are few, or "".
---@param name any
---@param candidates string[]
---@return string
function M.hint(name, candidates)
  local best = M.near(name, candidates)
  if best then return (" (did you mean %s?)"):format(describe.quote(best)) end
  if #candidates == 0 or #candidates > SHORT_LIST then return "" end
  local quoted = {}
  for i, candidate in ipairs(candidates) do quoted[i] = describe.quote(candidate) end
  return (" (valid: %s)"):format(table.concat(quoted, ", "))
end

---Makes a name that a library does not have an error, with the one that was meant.
---@param library table
---@param path string      "pilot.fs"
---@return table library
function M.guard(library, path)
  return setmetatable(library, {
    __index = function(_, key)
      local names = {}
      for name in pairs(library) do names[#names + 1] = name end
      table.sort(names)
      error(("%s has no %s%s"):format(path, describe.quote(key), M.hint(describe.text(key), names)), 2)
    end,
  })
end

return M
