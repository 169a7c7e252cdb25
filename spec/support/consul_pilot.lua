-- A pilot with pilot.consul on the port of a fixture (support.consul_fixture): for specs that make calls as a pilot.lua
-- does, and see what a Consul answers.
--
--   local box = consul_pilot.start(fixture)
--   local value, details = box:run [[return pilot.consul.kv.get "app"]]
--   box:finish()

local app = require "luapilot.pilot.app"

local consul_pilot = {}

local BOUND = 60 -- seconds for all that one call waits for
local SOURCE = 'local pilot = require "luapilot"; pilot.consul "127.0.0.1:8500"; pilot.on("SIGUSR1", function() end)'

local Box = {}
Box.__index = Box

local function nothing() end

-- What is the spec's own process must stay as it is.
local function port_of(fixture)
  local own = {
    contain = function() return true end, signals = nothing, logging = function() return true end, deadline = nothing,
    reached = nothing, log = nothing, environ = function() return {} end,
    agent = function(options) fixture.agent { token = options.token, max_connections = options.max_connections } end,
    read = function(path)
      if path == "pilot.lua" then return SOURCE end
      return nil, "no such file", "ENOENT"
    end,
  }
  return setmetatable(own, { __index = fixture.world.port })
end

---@param fixture table
function consul_pilot.start(fixture)
  local self = setmetatable({ world = fixture.world, app = app.new { port = port_of(fixture) } }, Box)
  local ok, mistakes = self.app:load "pilot.lua"
  assert(ok, table.concat(mistakes, "\n"))
  self.app:start()
  return self
end

-- Runs the text as a task. What it raises comes back as pcall has it.
local function attempt(self, text, ...)
  local chunk = assert(loadstring(text, "@pilot.lua"))
  setfenv(chunk, setmetatable({ pilot = self.app.object, c = self.app.object.consul }, { __index = _G }))
  local results
  local arguments, n = { ... }, select("#", ...)
  self.app.tasks:spawn(function()
    local function pack(...) results = { n = select("#", ...), ... } end
    pack(pcall(chunk, unpack(arguments, 1, n)))
  end, { name = "spec", detached = true })
  self.app.loop:rest()
  local deadline = self.world.port.now() + BOUND
  while not results do
    local left = deadline - self.world.port.now()
    self.app:turn((left > 0 and self.world.next(left)) or error("no end of: " .. text, 3))
  end
  return unpack(results, 1, results.n)
end

local function results_of(text, ok, ...)
  if not ok then error(("%s\n%s"):format(tostring((...)), text), 3) end
  return ...
end

---Runs text as a task; `c` is pilot.consul, `…` are the arguments. Its results.
function Box:run(text, ...) return results_of(text, attempt(self, text, ...)) end

---What it raises.
function Box:raises(text, ...)
  local ok, message = attempt(self, text, ...)
  assert(not ok, "nothing was raised by: " .. text)
  return (tostring(message):gsub("^pilot.lua:%d+: ", ""))
end

---Its handles are given back; nothing of it is left.
function Box:finish() self.app:let_go() end

return consul_pilot
