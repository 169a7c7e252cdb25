-- environment: the variables that a program is started with. The pilot's own stay where they are, in C: what is built
-- here is what a program gets beside them.
--
--   the pilot's own (unless env_clear), then env_file, then env, then LUAPILOT_PID, LUAPILOT_JOB and the pids of the
--   jobs that its trigger names (LUAPILOT_<JOB>_PID), or of all running jobs for pilot.exec; of those that have a
--   service the address, too (LUAPILOT_<JOB>_IP), and so of the job itself.
--
-- It reads the file anew at each start. It never changes the pilot's own environment.

local lazy = require "luapilot.base.lazy"

local env_file = lazy.require "luapilot.job.env_file"

local environment = {}

local function merge(into, from)
  for key, value in pairs(from) do into[key] = value end
end

local function variable(runner, what)
  return "LUAPILOT_" .. runner.spec.name:upper():gsub("-", "_") .. what
end

local function add_address(env, app, runner)
  if not runner.spec.service then return true end
  local found, message, code = app.advertiser:address(runner)
  if code then return nil, message, code end
  env[variable(runner, "_IP")] = found
  return true
end

local function add_jobs(env, app, runners)
  for _, runner in ipairs(runners) do
    local pid = runner.memory.pid
    if pid then env[variable(runner, "_PID")] = tostring(pid) end
    local ok, message, code = add_address(env, app, runner)
    if not ok then return nil, message, code end
  end
  return true
end

local function add_file(env, app, path)
  local values, message, code = env_file.read(app.port, path)
  if not values then return nil, "env_file: " .. message, code end
  merge(env, values)
  return true
end

-- The file, then `env`, then what is told of jobs.
local function fill(env, app, spec, runner)
  if spec.env_file then
    local ok, message, code = add_file(env, app, spec.env_file)
    if not ok then return nil, message, code end
  end
  if spec.env then merge(env, spec.env) end
  app.pid_text = app.pid_text or tostring(app.port.pid())
  env.LUAPILOT_PID = app.pid_text
  local ok, message, code = add_jobs(env, app, runner and app:sources_of(runner) or app.order)
  if not (ok and runner) then return ok, message, code end
  env.LUAPILOT_JOB = runner.spec.name
  return add_address(env, app, runner)
end

---What a program is started with. Nil when env_file cannot be read or is malformed, or our addresses cannot be told.
---@param app luapilot.App
---@param spec { env: table?, env_file: string?, env_clear: boolean? }
---@param runner luapilot.Runner?
---@return table<string, string>? added            env_added of port.spawn
---@return table<string, string>|string|nil whole  env of port.spawn; or the message
---@return string? code
function environment.build(app, spec, runner)
  local added = {}
  local ok, message, code = fill(added, app, spec, runner)
  if not ok then return nil, message, code end
  return added, spec.env_clear and {} or nil
end

return environment
