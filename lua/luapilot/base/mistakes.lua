-- A collector of mistakes, so that one run reports all of them.
--
-- Owns the list, its order (by file and line) and the way a mistake is printed. Never raises, never prints.

local M = {}

---@class luapilot.Mistake
---@field where string|nil "pilot.lua:12"
---@field path string|nil 'job "app".health[2].interval'
---@field message string

---@class luapilot.Mistakes
local Mistakes = {}
Mistakes.__index = Mistakes

---@return luapilot.Mistakes
function M.new()
  return setmetatable({ found = {}, warned = {} }, Mistakes)
end

---@param where string|nil "pilot.lua:12"
---@param path string|nil 'job "app".health[2].interval'
---@param message string
function Mistakes:add(where, path, message)
  self.found[#self.found + 1] = { where = where, path = path, message = message }
end

---Something worth saying that does not keep the file from running.
---@param where string|nil
---@param path string|nil
---@param message string
function Mistakes:warn(where, path, message)
  self.warned[#self.warned + 1] = { where = where, path = path, message = message }
end

local function place(where)
  if not where then return nil, 0 end
  local file, line = where:match "^(.*):(%d+)$"
  return file or where, tonumber(line) or 0
end

-- Files in the order in which they first showed a mistake; what has no place comes last.
local function file_ranks(list)
  local ranks, count = {}, 0
  for _, mistake in ipairs(list) do
    local file = place(mistake.where)
    if file and not ranks[file] then
      count = count + 1
      ranks[file] = count
    end
  end
  return ranks
end

local function in_order(list)
  local ranks, seen, entries = file_ranks(list), {}, {}
  for position, mistake in ipairs(list) do
    local key = M.format(mistake)
    if not seen[key] then
      seen[key] = true
      local file, line = place(mistake.where)
      local rank = file and ranks[file] or math.huge
      entries[#entries + 1] = { rank = rank, line = line, position = position, mistake = mistake }
    end
  end
  table.sort(entries, function(a, b)
    if a.rank ~= b.rank then return a.rank < b.rank end
    if a.line ~= b.line then return a.line < b.line end
    return a.position < b.position
  end)
  local result = {}
  for i, entry in ipairs(entries) do result[i] = entry.mistake end
  return result
end

---All mistakes in file and line order, without duplicates.
---@return luapilot.Mistake[]
function Mistakes:list() return in_order(self.found) end

---All warnings, likewise.
---@return luapilot.Mistake[]
function Mistakes:warnings() return in_order(self.warned) end

---How many mistakes there are (warnings do not count).
---@return integer
function Mistakes:count() return #in_order(self.found) end

---One line: `pilot.lua:12: job "app": health.intervall: unknown field (did you mean "interval"?)`.
---@param mistake luapilot.Mistake
---@return string
function M.format(mistake)
  local parts = {}
  if mistake.where then parts[#parts + 1] = mistake.where end
  if mistake.path and mistake.path ~= "" then
    local subject, field = mistake.path:match '^([%a ]+ %b"")%.?(.+)$'
    parts[#parts + 1] = subject or mistake.path
    parts[#parts + 1] = field
  end
  parts[#parts + 1] = mistake.message
  return table.concat(parts, ": ")
end

return M
