-- log: pilot.log and print, lines of the file's own in the pilot's log. It owns nothing; masks and formats are the
-- app's and the port's.

local describe = require "luapilot.base.describe"
local lazy = require "luapilot.base.lazy"
local suggest = require "luapilot.base.suggest"

local json = lazy.require "luapilot.base.json"

local log = {}

-- As print does: a number is a text, and a __tostring that gives neither is the caller's mistake.
local function text_of(call, value, level)
  local text = tostring(value)
  if type(text) == "string" then return text end
  if type(text) == "number" then return tostring(text) end
  error(("%s: expected a text, got %s whose __tostring gives %s"):format(call, describe.value(value),
    describe.value(text)), level + 1)
end

-- A log line takes what it is given: tables as JSON, the rest as tostring has it.
local function plain_fields(call, fields)
  local plain = {}
  for key, value in pairs(fields) do
    local kind = type(value)
    if kind == "table" then
      local ok, text = pcall(json.encode, value)
      value = ok and text or text_of(call, value, 3)
    elseif kind ~= "string" and kind ~= "number" and kind ~= "boolean" then
      value = text_of(call, value, 3)
    end
    plain[text_of(call, key, 3)] = value
  end
  return plain
end

---The `print` of a file, which calls this one: a line of the log.
---@param app luapilot.App
function log.print(app, ...)
  local parts = {}
  for i = 1, select("#", ...) do parts[i] = text_of("print", (select(i, ...)), 3) end
  app:log("info", table.concat(parts, "\t"))
end

---What a file has as pilot.log.
---@param app luapilot.App
---@return table
function log.library(app)
  local library = {}
  for _, level in ipairs { "debug", "info", "warn", "error" } do
    local call = "pilot.log." .. level
    library[level] = function(message, fields)
      if fields ~= nil and type(fields) ~= "table" then
        error(("%s: expected a table of fields, got %s"):format(call, describe.value(fields)), 2)
      end
      app:log(level, text_of(call, message, 2), fields and plain_fields(call, fields))
    end
  end
  return suggest.guard(library, "pilot.log")
end

return log
