-- Runs an example as somebody does who has copied its directory, alone, and starts it from elsewhere.
--
--   local p = example.run("quickstart", { PORT = "8000" })
--   p:read "copied/build/nginx.pid"
--   example.run_image("stopping", { ["/bin/app"] = "exec sleep 100" })      its programs at fixed paths
--
-- The copy stands in the spec's own directory, and so does what the example writes beside its file.

local machine = require "support.machine"
local run     = require "support.run"

local example = {}

local function lines(command)
  local pipe, list = io.popen(command), {}
  for line in pipe:lines() do list[#list + 1] = line end
  pipe:close()
  return list
end

local ROOT = lines "pwd"[1]
example.root = ROOT

---@return string[]                { "crash-loop", … }
function example.names() return lines "cd examples && ls -d */ | tr -d /" end

local function with_example(name, env)
  local all = { EXAMPLE = ROOT .. "/examples/" .. name }
  for variable, value in pairs(env or {}) do all[variable] = value end
  return all
end

---@param name string
---@param env table<string, string|false>?
---@return spec.Program
function example.run(name, env)
  return run.luapilot({ "run", "../copied/pilot.lua" }, {
    env = with_example(name, env),
    wrap = { "sh", "-c", 'cp -r "$EXAMPLE" copied && mkdir elsewhere && cd elsewhere && exec "$0" "$@"' },
  })
end

-- /bin becomes links to what was there, and /usr/local/bin is empty: both have room for programs of ours.
local ROOM = [[
  cp -r "$EXAMPLE" copied && mkdir bin && mount --bind /bin bin &&
  mount -t tmpfs tmpfs /bin && bin/cp -rs "$PWD/bin/." /bin && mount -t tmpfs tmpfs /usr/local/bin]]

-- The same of /etc.
local ROOM_IN_ETC = [[
  mkdir etc && mount --bind /etc etc && mount -t tmpfs tmpfs /etc && cp -rs "$PWD/etc/." /etc]]

-- Commands that put them where they belong, and what they are in the program's own directory until then.
local function install(programs, etc)
  local command, files = {}, {}
  local function add(path, mode, text)
    local file = path:gsub("/", "_")
    files[file] = text
    command[#command + 1] = ("install -D -m %s %s %s"):format(mode, file, path)
  end
  for path, script in pairs(programs) do add(path, "755", "#!/bin/sh\n" .. script) end
  for path, text in pairs(etc or {}) do add(path, "644", text) end
  return command, files
end

---Runs one whose programs have fixed paths, as in an image: in a mount namespace where they are shell scripts.
---@param name string
---@param programs table<string, string>    below /bin or /usr/local/bin → the script
---@param options { env: table<string, string|false>?, etc: table<string, string>? }?
---   etc: files below /etc → their text
---@return spec.Program
function example.run_image(name, programs, options)
  options = options or {}
  machine.need_mounts()
  local command, files = install(programs, options.etc)
  if options.etc then table.insert(command, 1, ROOM_IN_ETC) end
  table.insert(command, 1, ROOM)
  return run.luapilot({ "run", "copied/pilot.lua" }, {
    env = with_example(name, options.env), files = files,
    wrap = { "unshare", "--mount", "sh", "-c", table.concat(command, " && ") .. ' && exec "$0" "$@"' },
  })
end

---The text of a file.
---@param path string              "examples/quickstart/pilot.lua"
---@return string
function example.read(path)
  local file = assert(io.open(ROOT .. "/" .. path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

return example
