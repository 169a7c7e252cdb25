-- rivals: what two jobs of a file may not both have: the id of a service, the standard input of the container.
--
-- A part of validate.lua, for files with a job that has such a thing: it adds to the mistakes.

local service = require "luapilot.service"

local rivals = {}

-- Two services of one id would take turns in Consul.
local function check_services(app, runner, seen)
  local spec = runner.spec
  for _, one in ipairs(spec.service or {}) do
    local _, id = service.names(spec.name, one, "<hostname>")
    local path = ("job %q.%s"):format(spec.name, one.path)
    if seen[id] then
      app.mistakes:add(spec.where, path,
        ("has the id %q, as %s has: give it another name, or an id of its own"):format(id, seen[id]))
    end
    seen[id] = path
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
function rivals.check(app)
  local seen, first = {}, nil
  for _, runner in ipairs(app.order) do
    check_services(app, runner, seen)
    first = check_stdin(app, runner, first)
  end
end

return rivals
