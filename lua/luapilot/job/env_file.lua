-- env_file: the lines of a job's env_file → variables. Most jobs have none, and never load it.

local paths = require "luapilot.schema.paths"

local env_file = {}

local LIMIT = 1024 * 1024

-- "a b" and 'a b' lose their quotes; the rest of the line is the value, as docker's --env-file has it.
local function value_of(text)
  return text:find "^([\"']).*%1$" and text:sub(2, -2) or text
end

---Reads KEY=value lines. Comments and blank lines are passed over, and what editors of Windows add: a byte order mark
---and carriage returns. `export ` in front is allowed.
---@param text string
---@param path string
---@return table<string, string>?
---@return string? message
function env_file.parse(text, path)
  local result, number = {}, 0
  for line in (text:gsub("^\239\187\191", "") .. "\n"):gmatch "([^\n]*)\n" do
    number = number + 1
    line = line:gsub("\r$", ""):gsub("^%s+", "")
    if line ~= "" and line:sub(1, 1) ~= "#" then
      local key, value = line:gsub("^export%s+", ""):match "^([%a_][%w_]*)=(.*)$"
      if not key then
        return nil, ("%s:%d: expected NAME=value, got %q"):format(path, number, line)
      end
      if value:find("\0", 1, true) then
        return nil, ("%s:%d: %s contains a NUL byte, which no variable can"):format(path, number, key)
      end
      result[key] = value_of(value)
    end
  end
  return result
end

---Reads the file.
---@param port luapilot.Port
---@param path string
---@return table<string, string>?
---@return string? message
---@return string? code      of the port
function env_file.read(port, path)
  local text, message, code = port.read(path, LIMIT)
  if not text then return nil, paths.explain(port, message, code, path), code end
  return env_file.parse(text, paths.text(path))
end

return env_file
