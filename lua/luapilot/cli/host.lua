-- host: what a loaded file names and this machine does not have: programs, users and groups, files, libcurl.
--
-- Nothing of that is a mistake: the file may be checked in another place than that in which it runs. It looks, and
-- starts, sends and changes nothing. What it cannot see (a directory that is closed to it) it does not warn of.

local bit = require "bit"
local describe = require "luapilot.base.describe"
local env_file = require "luapilot.job.env_file"
local paths = require "luapilot.schema.paths"

local host = {}

local EXECUTABLE = 73 -- 0111
local GONE = { ENOENT = true, ENOTDIR = true }
local USUAL_PATH = "/bin:/usr/bin"       -- where PATH is not set: PROGRAM_PATH of src/process/program.h
local SMALL = 1024 * 1024                -- bytes of a file that is read
local CAP_SETGID, CAP_SETUID = 0x40, 0x80 -- of the lowest byte of CapEff

---@class luapilot.MachineLook
---@field app luapilot.App
---@field port luapilot.Port
---@field programs table<string, string>    what is wrong with them, by PATH and name; "": nothing
---@field files table<string, table|false>  variables of an env_file; false: who knows
local Look = {}
Look.__index = Look

local function join(directory, path)
  if path:sub(1, 1) == "/" or not directory then return path end
  return directory:gsub("/%.$", "") .. "/" .. path:gsub("^%./+", "")
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

-- `name` is what is not there.
function Look:warn(where, path, field, message, name)
  message = paths.explain(self.port, message .. " on this machine", "ENOENT", name)
  self.app.mistakes:warn(where, path .. "." .. field, message)
end

function Look:file(where, path, field, name)
  local kind = name and self:kind_of(name)
  if kind == "gone" then self:warn(where, path, field, ("there is no file %s"):format(describe.quote(name)), name) end
  if kind == "directory" then self:warn(where, path, field, ("%s is a directory"):format(describe.quote(name))) end
end

function Look:directory(where, path, field, name)
  if name and not self:is_directory(name) then
    self:warn(where, path, field, ("there is no directory %s"):format(describe.quote(name)), name)
  end
end

-- The line of the job that a field is of; nil: it is another field.
local function where_of(app, field)
  local runner = app.jobs[field and field:match '^job "([^"]*)"' or ""]
  return runner and runner.spec.where
end

-- What had another meaning until a version ago, when relative paths were relative to the working directory, and still
-- could be meant so: both are there. It goes with the next version.
function Look:twins()
  for _, each in ipairs(paths.all()) do
    local old, new = self.port.stat(each.text), self.port.stat(each.path)
    local named = each.text:find "[^./]" -- "." is everywhere
    if named and old and new and old.identity ~= new.identity then
      self.app.mistakes:warn(where_of(self.app, each.field), each.field,
        ("%s is %s, in the directory of the pilot.lua; there is another one in the working directory, which an earlier "
          .. "luapilot took: if that is meant, write its whole path"):format(describe.quote(each.text),
          describe.quote(each.path)))
    end
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

-- What an env_file says; false: it cannot be read, or understood. Of one that is not there that is told by itself.
function Look:variables(path)
  if self.files[path] == nil then
    local text, _, code = self.port.read(path, SMALL)
    if GONE[code] then text = "" end
    self.files[path] = text and env_file.parse(text, path) or false
  end
  return self.files[path]
end

-- Where a program is looked for; nil: who knows.
function Look:search_path(spec)
  if spec.env and spec.env.PATH then return spec.env.PATH end
  local variables = spec.env_file and self:variables(spec.env_file)
  if variables == false then return nil end
  return variables and variables.PATH or not spec.env_clear and self.app:environ().PATH or USUAL_PATH
end

function Look:program(where, path, field, words, spec)
  local name = words and words[1]
  if not name then return end
  local argv = paths.argv({ name }, spec.cwd, path .. "." .. field)
  local at = name:find("/", 1, true) and join(spec.cwd, argv[1])
  local search = not at and self:search_path(spec)
  if not (at or search) then return end
  local key = at or search .. "\0" .. name
  self.programs[key] = self.programs[key] or at and fault_at(self, at) or fault_on_path(self, name, search)
  if self.programs[key] ~= "" then self:warn(where, path, field, self.programs[key], at) end
end

-- --- users -----------------------------------------------------------------------------------

function Look:account(where, path, field, kind, name)
  if type(name) ~= "string" then return end
  local id, _, code = self.port.lookup(kind, name)
  if not id and code == "ENOENT" then
    self:warn(where, path, field, ("there is no %s %s"):format(kind, describe.quote(name)))
  end
end

function Look:number_of(kind, name)
  if name == nil or type(name) == "number" then return name end
  return (self.port.lookup(kind, name))
end

-- Our effective group, and the capabilities that count here; nil: the kernel does not tell.
function Look:credentials()
  local status = self.port.read("/proc/self/status", SMALL) or ""
  return tonumber(status:match "\nGid:%s*%d+%s+(%d+)"), tonumber(status:match "\nCapEff:%s*%x*(%x%x)\n" or "", 16)
end

-- May a program be this user and group? As account_find() of src/process/account.c has it: root always sets them,
-- others only where they change. What cannot be told is allowed.
function Look:may_be(user, group)
  local own, own_group, rights = self.port.user(), self:credentials()
  local changes = user ~= nil and user ~= own
  local needed = changes and CAP_SETUID + CAP_SETGID or CAP_SETGID
  if own ~= 0 and not changes and (group == nil or own_group == nil or group == own_group) then return true end
  return bit.band(rights or own == 0 and needed or 0, needed) == needed
end

-- Whom only root can become.
function Look:identity(runner, path)
  local spec = runner.spec
  self:account(spec.where, path, "user", "user", spec.user)
  self:account(spec.where, path, "group", "group", spec.group)
  local field = spec.user and "user" or spec.group and "group"
  if not field or self:may_be(self:number_of("user", spec.user), self:number_of("group", spec.group)) then return end
  local own = self.port.user()
  self:warn(spec.where, path, field, own == 0 and "takes CAP_SETUID and CAP_SETGID, which root lacks"
    or ("takes root, or CAP_SETUID and CAP_SETGID, and this is user %d"):format(own))
end

-- --- the whole -------------------------------------------------------------------------------

function Look:job(runner)
  local spec = runner.spec
  local path = ("job %q"):format(spec.name)
  self:program(spec.where, path, "exec", spec.exec, spec)
  for _, check in ipairs(spec.health) do
    local own = check.env and check.env.PATH and setmetatable({ env = check.env }, { __index = spec }) or spec
    self:program(spec.where, path, check.path .. ".exec", check.exec, own)
  end
  self:identity(runner, path)
  self:file(spec.where, path, "env_file", spec.env_file)
  self:directory(spec.where, path, "cwd", spec.cwd)
  self:directory(spec.where, path, "pidfile", spec.pidfile and spec.pidfile:match "^(.+)/[^/]*$")
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
function host.look(app)
  local self = setmetatable({ app = app, port = app.port, programs = {}, files = {} }, Look)
  for _, runner in ipairs(app.order) do self:job(runner) end
  for _, keeper in pairs(app.templates) do self:template(keeper) end
  self:twins()
  self:curl()
end

return host
