-- consul: pilot.consul, which names the agent when it is called, and is the library of all that it can be asked.
--
--   pilot.consul "localhost:8500"                        at the top level of the file
--   pilot.consul.kv.get "app/limit"                      in a task
--
-- It is loaded when a file first says pilot.consul, and by nothing else. It owns the table; the client, which it makes,
-- is the app's.

local arguments = require "luapilot.schema.arguments"
local calls = require "luapilot.consul.calls"
local client = require "luapilot.consul.client"
local kv = require "luapilot.consul.kv"
local options = require "luapilot.consul.options"
local schema = require "luapilot.schema.schema"
local suggest = require "luapilot.base.suggest"
local txn = require "luapilot.consul.txn"

local consul = {}

local CALL = "pilot.consul"

local function declare(app, value)
  if app.phase ~= "declaring" then
    error(CALL .. " declares, and the pilot runs already: write it at the top level of the file", 3)
  end
  if app.consul then
    local there = app.consul.where and ", at " .. app.consul.where or ""
    return arguments.fail(app, CALL, ("is declared already%s: a pilot talks to one agent"):format(there))
  end
  app.consul = arguments.read(app, function(where, list)
    local read = options.read(value, app:environ(), CALL, schema.reporter(list, where))
    return client.new(app, read, function(path, message)
      if app.lenient then list:warn(where, path, message) else list:add(where, path, message) end
    end)
  end)
end

---pilot.consul of one pilot.
---@param app luapilot.App
---@return table
function consul.library(app)
  local library = calls.library(app)
  library.kv = kv.library(app)
  for name, group in pairs(library) do suggest.guard(group, CALL .. "." .. name) end
  library.txn = txn.library(app)
  getmetatable(suggest.guard(library, CALL)).__call = function(_, value) declare(app, value) end
  return library
end

return consul
