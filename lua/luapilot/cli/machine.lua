-- machine: what a loaded file names and this machine does not have: programs, users and groups, files, libcurl.
--
-- Nothing of that is a mistake: the file may be checked in another place than that in which it runs. It looks, and
-- starts, sends and changes nothing. What it cannot see (a directory that is closed to it) it does not warn of.

local bit = require "bit"
local describe = require "luapilot.describe"

local machine = {}

local EXECUTABLE = 73 -- 0111
local GONE = { ENOENT = true, ENOTDIR = true }
local USUAL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

---@class luapilot.MachineLook
---@field app luapilot.App
---@field port luapilot.Port
---@field programs table<string, string>    what is wrong with them, by PATH and name; "": nothing
local Look = {}
Look.__index = Look

local function join(directory, path)
  if path:sub(1, 1) == "/" or not directory then return path end
  return directory .. "/" .. path:gsub("^%./+", "")
end

-- --- files -----------------------------------------------------------------------------------

-- Is there a file of this name? "gone", "directory", "file", "program", or nil: who knows.
function Look:kind_of(path)
  local id, stat, code = self.port.open(path, "read")
  if not id then return GONE[code] and "gone" or code == "EISDIR" and "directory" or nil end
  self.port.cancel(id)
  return bit.band(stat.mode, EXECUTABLE) ~= 0 and "program" or "file"
end

function Look:is_directory(path)
  local stat, _, code = self.port.stat(path .. "/.")
  return stat ~= nil or not GONE[code]
end

function Look:warn(where, path, field, message)
  self.app.mistakes:warn(where, path .. "." .. field, message .. " on this machine")
end

function Look:file(where, path, field, name)
  local kind = name and self:kind_of(name)
  if kind == "gone" then self:warn(where, path, field, ("there is no file %s"):format(describe.quote(name))) end
  if kind == "directory" then self:warn(where, path, field, ("%s is a directory"):format(describe.quote(name))) end
end

function Look:directory(where, path, field, name)
  if name and not self:is_directory(name) then
    self:warn(where, path, field, ("there is no directory %s"):format(describe.quote(name)))
  end
end

-- --- programs --------------------------------------------------------------------------------

-- Why a program of this path cannot be run; "": it can.
local function fault_at(self, path)
  local kind = self:kind_of(path)
  if kind == "gone" then return ("there is no program %s"):format(describe.quote(path)) end
  if kind == "directory" then return ("%s is a directory, not a program"):format(describe.quote(path)) end
  return kind == "file" and ("%s is not executable (chmod +x)"):format(describe.quote(path)) or ""
end

local function fault_on_path(self, name, search)
  local fault = ("there is no program %s on its PATH"):format(describe.quote(name))
  for directory in (search .. ":"):gmatch "([^:]*):" do
    local kind = self:kind_of(join(directory ~= "" and directory or nil, name))
    if kind == "program" or kind == nil then return "" end
    if kind == "file" then
      fault = ("%s is not executable (chmod +x)"):format(describe.quote(join(directory, name)))
    end
  end
  return fault
end

function Look:program(where, path, field, words, spec)
  local name, environ = words and words[1], self.app:environ()
  if not name then return end
  local search = spec.env and spec.env.PATH or not spec.env_clear and environ.PATH or USUAL_PATH
  local at = name:find("/", 1, true) and join(spec.cwd, name)
  local key = at or search .. "\0" .. name
  self.programs[key] = self.programs[key] or at and fault_at(self, at) or fault_on_path(self, name, search)
  if self.programs[key] ~= "" then self:warn(where, path, field, self.programs[key]) end
end

-- --- users -----------------------------------------------------------------------------------

function Look:account(where, path, field, kind, name)
  if type(name) ~= "string" then return end
  local id, _, code = self.port.lookup(kind, name)
  if not id and code == "ENOENT" then
    self:warn(where, path, field, ("there is no %s %s"):format(kind, describe.quote(name)))
  end
end

-- Whom only root can become.
function Look:identity(runner, path)
  local spec = runner.spec
  self:account(spec.where, path, "user", "user", spec.user)
  self:account(spec.where, path, "group", "group", spec.group)
  local field = spec.user and "user" or spec.group and "group"
  if field and self.port.user() ~= 0 then
    self:warn(spec.where, path, field,
      ("takes root, or CAP_SETUID and CAP_SETGID, and this is user %d"):format(self.port.user()))
  end
end

-- --- the whole -------------------------------------------------------------------------------

function Look:job(runner)
  local spec = runner.spec
  local path = ("job %q"):format(spec.name)
  self:program(spec.where, path, "exec", spec.exec, spec)
  for _, check in ipairs(spec.health) do
    self:program(spec.where, path, check.path .. ".exec", check.exec, spec)
  end
  self:identity(runner, path)
  self:file(spec.where, path, "env_file", spec.env_file)
  self:directory(spec.where, path, "cwd", spec.cwd)
  self:directory(spec.where, path, "log.file", spec.log.file and (spec.log.file:match "^(.*)/[^/]*$" or "."))
end

function Look:template(keeper)
  local spec, path = keeper.spec, tostring(keeper.object)
  self:file(keeper.where, path, "source", spec.source)
  self:directory(keeper.where, path, "to", spec.to:match "^(.+)/[^/]*$")
  self:program(keeper.where, path, "validate", spec.validate, {})
  for kind, name in pairs(spec.owner or {}) do self:account(keeper.where, path, "owner", kind, name) end
end

-- The first line that needs it.
local function needs_curl(app)
  for _, runner in ipairs(app.order) do
    for _, check in ipairs(runner.spec.health) do
      if check.kind == "http" then return runner.spec.where, ("job %q.%s.http"):format(runner.spec.name, check.path) end
    end
  end
  if app.consul then return app.consul.where, "pilot.consul" end
  for path, source in pairs(app.loader.sources) do
    local at = source:find "pilot%s*%.%s*http%f[^%w_]"
    if at then return ("%s:%d"):format(path, select(2, source:sub(1, at):gsub("\n", "")) + 1), "pilot.http" end
  end
end

function Look:curl()
  local where, path = needs_curl(self.app)
  if not path then return end
  local id, message, code = self.port.request { url = "http://127.0.0.1:9/", timeout = 1 }
  if id then return self.port.cancel(id) end -- nothing was sent: that is for the loop to do
  if code == "ENOSYS" then self.app.mistakes:warn(where, path, message) end
end

---Adds a warning for each.
---@param app luapilot.App      loaded, without mistakes
function machine.look(app)
  local self = setmetatable({ app = app, port = app.port, programs = {} }, Look)
  for _, runner in ipairs(app.order) do self:job(runner) end
  for _, keeper in pairs(app.templates) do self:template(keeper) end
  self:curl()
end

return machine
