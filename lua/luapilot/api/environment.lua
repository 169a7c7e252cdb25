-- environment: what a file asks of where it runs: variables, secrets, addresses.
--
-- It keeps nothing; what a secret says is hidden by the app from then on. init.lua lends these functions to a file when
-- the first is called.

local arguments = require "luapilot.schema.arguments"
local describe = require "luapilot.base.describe"
local lazy = require "luapilot.base.lazy"
local paths = require "luapilot.schema.paths"
local schema = require "luapilot.schema.schema"

local address = lazy.require "luapilot.base.address"

---@class luapilot.Pilot
local api = {} -- name → function(app, …)

local function placeholder(app, path, message, name)
  if app.lenient then
    app.mistakes:warn(app:where(), path, message)
  else
    arguments.fail(app, path, message)
  end
  return "<" .. name .. ">"
end

---A variable of the environment: required, unless there is a default.
---@param name string
---@param default string?
---@return string
function api.env(app, name, ...)
  if type(name) ~= "string" then
    error("pilot.env: expected the name of a variable, got " .. describe.value(name), 2)
  end
  local value = app:environ()[name]
  if value ~= nil then return value end
  if select("#", ...) > 0 then return (...) end
  return placeholder(app, ("pilot.env %q"):format(name),
    "is not set, and has no default: set it, or write pilot.env(\"" .. name .. "\", \"default\")", name)
end

---A secret, from the file that NAME_FILE names, or from /run/secrets. Never logged.
---@param name string      "db-password"
---@return string
function api.secret(app, name)
  if type(name) ~= "string" or name:find "[/%z]" then
    error("pilot.secret: expected a name such as \"db-password\", got " .. describe.value(name), 2)
  end
  local variable = name:upper():gsub("[^%w]", "_") .. "_FILE"
  local path = paths.absolute(app:environ()[variable] or "/run/secrets/" .. name, variable)
  local value, message, code = app.port.read(path, 1024 * 1024)
  if not value then
    message = paths.explain(app.port, message, code, path)
    return placeholder(app, ("pilot.secret %q"):format(name),
      ("%s; put it there, or name another file in %s"):format(message, variable), name)
  end
  value = value:gsub("\r?\n$", "")
  if value ~= "" then app:hide(value, name) end
  return value
end

---An IP address of this machine.
---@param spec string|string[]|nil     default: "eth0:inet", then "inet"
---@return string
function api.address(app, spec)
  local specs = spec == nil and address.DEFAULT or schema.is_table(spec) and spec or { spec }
  for _, each in ipairs(specs) do
    if type(each) ~= "string" then
      error("pilot.address: expected a string such as \"eth0:inet\", got " .. describe.value(each), 2)
    end
  end
  local all, found, message
  all, message = app.port.addresses()
  if all then found, message = address.find(all, specs) end
  if not found then error("pilot.address: " .. message, 2) end
  return found
end

function api.hostname(app) return app.port.hostname() end

---An argv for a shell: pilot.sh "a | b".
---@param text string
---@return string[]
function api.sh(app, text, more)
  if type(text) == "string" and text ~= "" and more == nil then return { "/bin/sh", "-c", text } end
  arguments.fail(app, "pilot.sh", more == nil
    and "expected a shell command such as \"a | b\", got " .. describe.value(text)
    or "expected one text such as \"a | b\", got a second value: for a list of words leave pilot.sh out")
  return { "/bin/sh", "-c", "false" }
end

return api
