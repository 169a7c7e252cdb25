-- query: the path and the parameters of a request, and the words of Go in them. Pure.

local query = {}

local function decoded(text)
  return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

---@class luapilot.sim.consul.Query
---@field path string                    decoded
---@field params table<string, string[]>
local Query = {}
Query.__index = Query

---@param target string       "/v1/kv/a?recurse&dc=east"
---@return luapilot.sim.consul.Query
function query.parse(target)
  local path, rest = target:match "^([^?]*)%??(.*)$"
  local params = {}
  for part in rest:gmatch "[^&]+" do
    local name, value = part:match "^([^=]*)=?(.*)$"
    name = decoded((name:gsub("%+", " ")))
    params[name] = params[name] or {}
    table.insert(params[name], decoded((value:gsub("%+", " "))))
  end
  return setmetatable({ path = decoded(path), params = params }, Query)
end

---@param name string
---@return boolean
function Query:has(name) return self.params[name] ~= nil end

---The first value; "" when there is none.
---@param name string
---@return string
function Query:get(name) return self.params[name] and self.params[name][1] or "" end

---@param name string
---@return string[]
function Query:all(name) return self.params[name] or {} end

local UNITS = { ns = 1e-9, us = 1e-6, ["µs"] = 1e-6, ms = 1e-3, s = 1, m = 60, h = 3600 }

local MOST = 2 ^ 63 / 1e9 -- seconds, in nanoseconds

---A duration as Go reads it: "1m30s".
---@param text string
---@return number? seconds
---@return string? message
function query.duration(text)
  if text == "0" then return 0 end
  local wrong = ("time: invalid duration %q"):format(text)
  local sign = text:match "^[+-]" or ""
  local seconds, first = 0, #sign + 1
  local position = first
  while position <= #text do
    local _, stop, digits = text:find("^(%d*%.?%d*)", position)
    if digits == "" or digits == "." then return nil, wrong end
    local _, last, unit = text:find("^([^%d.]+)", stop + 1)
    if not unit then return nil, ("time: missing unit in duration %q"):format(text) end
    if not UNITS[unit] then return nil, ("time: unknown unit %q in duration %q"):format(unit, text) end
    seconds, position = seconds + tonumber(digits) * UNITS[unit], last + 1
  end
  if position == first or seconds >= MOST then return nil, wrong end
  return sign == "-" and -seconds or seconds
end

return query
