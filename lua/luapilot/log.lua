-- log: pilot.log, lines of the file's own in the pilot's log. It owns nothing; masks and formats are the app's and the
-- port's.

local describe = require "luapilot.describe"
local lazy = require "luapilot.lazy"
local suggest = require "luapilot.suggest"

local json = lazy.require "luapilot.json"

local log = {}

-- A log line takes what it is given: tables as JSON, the rest as tostring has it.
local function plain_fields(fields)
  local plain = {}
  for key, value in pairs(fields) do
    local kind = type(value)
    if kind == "table" then
      local ok, text = pcall(json.encode, value)
      value = ok and text or tostring(value)
    elseif kind ~= "string" and kind ~= "number" and kind ~= "boolean" then
      value = tostring(value)
    end
    plain[tostring(key)] = value
  end
  return plain
end

---What a file has as pilot.log.
---@param app luapilot.App
---@return table
function log.library(app)
  local library = {}
  for _, level in ipairs { "debug", "info", "warn", "error" } do
    library[level] = function(message, fields)
      if fields ~= nil and type(fields) ~= "table" then
        error(("pilot.log.%s: expected a table of fields, got %s"):format(level, describe.value(fields)), 2)
      end
      app:log(level, tostring(message), fields and plain_fields(fields))
    end
  end
  return suggest.guard(library, "pilot.log")
end

return log
