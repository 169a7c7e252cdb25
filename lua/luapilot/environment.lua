-- environment: the variables that a program is started with. The pilot's own stay where they are, in C: what is built
-- here is what a program gets beside them.
--
--   the pilot's own (unless env_clear), then env_file, then env, then LUAPILOT_PID and the pids of the jobs that
--   its trigger names (LUAPILOT_<JOB>_PID), or of all running jobs for pilot.exec; of those that have a service the
--   address, too (LUAPILOT_<JOB>_IP), and so of the job itself.
--
-- It reads the file anew at each start. It never changes the pilot's own environment.

local environment = {}

local FILE_LIMIT = 1024 * 1024

-- "a b" and 'a b' lose their quotes; the rest of the line is the value, as docker's --env-file has it.
local function value_of(text)
  return text:find "^([\"']).*%1$" and text:sub(2, -2) or text
end

---Reads KEY=value lines. Comments and blank lines are passed over, `export ` in front is allowed.
---@param text string
---@param path string
---@return table<string, string>?
---@return string? message
function environment.parse(text, path)
  local result, number = {}, 0
  for line in (text .. "\n"):gmatch "([^\n]*)\n" do
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

local function merge(into, from)
  for key, value in pairs(from) do into[key] = value end
end

local function variable(runner, what)
  return "LUAPILOT_" .. runner.spec.name:upper():gsub("-", "_") .. what
end

local function add_address(env, app, runner)
  if runner.spec.service then env[variable(runner, "_IP")] = app.services:address(runner) end
end

local function add_jobs(env, app, runners)
  for _, runner in ipairs(runners) do
    local pid = runner.memory.pid
    if pid then env[variable(runner, "_PID")] = tostring(pid) end
    add_address(env, app, runner)
  end
end

local function read_file(app, path)
  local text, message = app.port.read(path, FILE_LIMIT)
  local values
  if text then values, message = environment.parse(text, path) end
  if not values then error("env_file: " .. message, 0) end
  return values
end

---Raises when env_file cannot be read or is malformed.
---@param app luapilot.App
---@param spec { env: table?, env_file: string?, env_clear: boolean? }
---@param runner luapilot.Runner?
---@return table<string, string> added    env_added of port.spawn
---@return table<string, string>? whole   env of port.spawn
function environment.build(app, spec, runner)
  local added = {}
  if spec.env_file then merge(added, read_file(app, spec.env_file)) end
  if spec.env then merge(added, spec.env) end
  added.LUAPILOT_PID = tostring(app.port.pid())
  add_jobs(added, app, runner and app:sources_of(runner) or app.order)
  if runner then add_address(added, app, runner) end
  return added, spec.env_clear and {} or nil
end

return environment
