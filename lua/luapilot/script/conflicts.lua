-- conflicts: what two jobs of a file may not both have: the id of a service, the standard input of the container. And
-- what may surprise of a service that Consul takes.
--
-- A part of script/validate.lua, for files with a job that has such a thing: it adds to the mistakes and warnings.

local describe = require "luapilot.base.describe"
local duration = require "luapilot.base.duration"
local reconciler = require "luapilot.service.reconciler"
local service_schema = require "luapilot.schema.service"

local conflicts = {}

-- Two services of one id would take turns in Consul.
local function check_services(app, runner, seen)
  local spec = runner.spec
  for _, one in ipairs(spec.service or {}) do
    local _, id = reconciler.names(spec.name, one, "<hostname>")
    local path = ("job %q.%s"):format(spec.name, one.path)
    if seen[id] then
      app.mistakes:add(spec.where, path,
        ("has the id %q, as %s has: give it another name, or an id of its own"):format(id, seen[id]))
    end
    seen[id] = path
  end
end

local LEAST_REAP = 60 -- seconds: Consul makes it as much

-- Of services that come to Consul.
local function check_surprises(app, runner)
  local spec = runner.spec
  for _, one in ipairs(spec.service or {}) do
    local function warn(field, message)
      app.mistakes:warn(spec.where, ("job %q.%s.%s"):format(spec.name, one.path, field), message)
    end
    local name = one.name
    if name and not service_schema.is_label(name) then
      warn("name", describe.quote(name) .. " is no name of DNS (letters, digits and dashes, 63 at most): Consul takes "
        .. "it, but others cannot look the service up by DNS")
    end
    if one.deregister_after and one.deregister_after < LEAST_REAP then
      warn("deregister_after", ("is %s: Consul waits 1m at least, and looks each 30s")
        :format(duration.format(one.deregister_after)))
    end
  end
end

-- What two read nobody gets whole.
local function check_stdin(app, runner, first)
  local spec = runner.spec
  if spec.stdin ~= "inherit" then return first end
  if first then
    app.mistakes:add(spec.where, ("job %q.stdin"):format(spec.name),
      ('is "inherit", as that of job %q: only one job can have the standard input of the container'):format(first))
  end
  return first or spec.name
end

---@param app luapilot.App
function conflicts.check(app)
  local seen, first = {}, nil
  for _, runner in ipairs(app.order) do
    check_services(app, runner, seen)
    if app.consul then check_surprises(app, runner) end
    first = check_stdin(app, runner, first)
  end
end

return conflicts
