-- Runs an example as its README says: `luapilot run examples/NAME/pilot.lua`, from a root of its own.
--
--   local p = example.run("quickstart", { PORT = "8000" })
--   p:read "build/quickstart/nginx.pid"
--
-- Their paths are relative to the root of the repository. A link to examples/ stands for that, so that what an
-- example writes below build/ stays in the spec's own directory.

local machine = require "support.machine"
local run     = require "support.run"
local story   = require "support.story"

local example = {}

local ROOT = io.popen("pwd"):read "*l"

---@param path string              "quickstart/pilot.lua"
---@param env table<string, string|false>?
---@param command string?          "run", "check", "graph"
---@return spec.Program
function example.luapilot(path, env, command)
  local all = { EXAMPLES = ROOT .. "/examples" }
  for name, value in pairs(env or {}) do all[name] = value end
  return run.luapilot({ command or "run", "examples/" .. path }, {
    env = all, wrap = { "sh", "-c", 'ln -s "$EXAMPLES" examples && exec "$0" "$@"' },
  })
end

---@param name string
---@param env table<string, string|false>?
---@return spec.Program
function example.run(name, env) return example.luapilot(name .. "/pilot.lua", env) end

---The text of a file.
---@param path string              "quickstart/pilot.lua"
---@return string
function example.read(path)
  local file = assert(io.open(ROOT .. "/examples/" .. path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

---Skips the spec where there is no such program.
---@param program string
function example.need(program)
  local found = story.can("sh", "-c", 'PATH=$PATH:/usr/sbin command -v "$0"', program)
  if not found then machine.skip("no " .. program) end
end

return example
