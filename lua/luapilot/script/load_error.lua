-- load_error: where and why the top level of a pilot.lua failed, as a mistake. It owns nothing.

local task = require "luapilot.task.task"

local load_error = {}

-- An undefined global is reported where it is read; the error that follows from it says the same again.
local function is_reported(app, where)
  for _, mistake in ipairs(app.mistakes:list()) do
    if mistake.where == where and mistake.message:find("global", 1, true) then return true end
  end
  return false
end

-- "pilot.lua:7: text" → "pilot.lua:7", "text"
local function split(message)
  local where, text = message:match "^([^\n:]+:%d+): (.*)$"
  return where, text or message
end

-- A field of something that is nil: the name that was called may be misspelt.
local function user_line(app, trace)
  for file, line in trace:gmatch "\n%s*([^\n:]+):(%d+): in " do
    if app:is_user_source("@" .. file) then return file .. ":" .. line end
  end
end

-- What names a line of the core (of its bytecode, or of its source) is the core's mistake, whatever the user wrote.
local function is_own(where)
  if not where then return false end
  local file = where:match "^luapilot/(.*)$" or where:match "lua/luapilot/(.*)$"
  return file ~= nil and file:find "^[%w_/]+%.lua:%d+$" ~= nil
end

---Adds what the top level of a file raised to the mistakes, with the line that it is about.
---@param app luapilot.App
---@param err any           a TaskError
---@return string where      "pilot.lua:7"
function load_error.tell(app, err)
  local where, text = split(task.message(err))
  if not (where and app:is_user_source("@" .. where:match "^(.*):%d+$")) then
    text = (is_own(where) and "an error inside luapilot, please report it: " or "") .. task.message(err)
    where = user_line(app, tostring(err)) or app.loader.path
  end
  if not is_reported(app, where) then app.mistakes:add(where, nil, text) end
  return where
end

---What ended the file, so that there may be more mistakes behind it.
---@param where string      as above
---@param path string       of the file
---@return string
function load_error.ending(where, path)
  local file, line = where:match "^(.*):(%d+)$"
  local what = file == path and "line " .. line or file and where or "an error"
  return ("; %s ended the file: what follows was not checked"):format(what)
end

return load_error
