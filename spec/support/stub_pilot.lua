-- A pilot on the stub port: for specs of modules that need the whole core around them, but not a simulated
-- world. The spec plays the kernel.
--
--   local box = stub_pilot.load [[ local pilot = require "luapilot" … ]]
--   box:start()
--   box.world:exit(box:process "app", { code = 1 })
--   box:check()            -- at the end: ended in order, nothing left open

local app = require "luapilot.pilot.app"
local describe = require "luapilot.base.describe"
local stub_port = require "support.stub_port"

local stub_pilot = {}

local EXPECTED = {
  "spawn", "kill", "capture", "hold", "connect", "signals", "logging", "deadline", "reached", "reopen", "addresses",
  "environ", "hostname", "pid", "read", "poll",
}

---@class spec.Pilot
---@field world spec.World
---@field app luapilot.App
---@field events string[]     "app exit_failed 3"
---@field errors string[]     'job "app": prepare: …', the first line of each
local Pilot = {}
Pilot.__index = Pilot

-- The stub's descriptors are always ready to be asked for.
local function port_calls(own)
  local calls = {}
  for _, name in ipairs(EXPECTED) do calls[name] = true end
  for name, fn in pairs(own or {}) do calls[name] = fn end
  return calls
end

local function observe(self, event, unheard)
  if event.name == "error" then
    self.errors[#self.errors + 1] = (event.where .. ": " .. tostring(event.error)):match "^[^\n]*"
  end
  if unheard then return end
  local source = event.source == self.app.object and "pilot" or event.source.name
  self.events[#self.events + 1] = ("%s %s%s"):format(source, event.name, event.code and " " .. event.code or "")
end

---Loads a pilot.lua; its mistakes are an error of the spec.
---@param source string
---@param options { world: spec.World?, calls: table?, state: table?, files: table? }?
---@return spec.Pilot
function stub_pilot.load(source, options)
  options = options or {}
  local world = options.world or stub_port.new(port_calls(options.calls))
  for path, data in pairs(options.files or {}) do world.files[path] = data end
  world.files["pilot.lua"] = source
  local self = setmetatable({ world = world, events = {}, errors = {} }, Pilot)
  self.app = app.new { port = world.port, state = options.state }
  self.app.observe = function(event, unheard) observe(self, event, unheard) end
  local ok, mistakes = self.app:load "pilot.lua"
  if not ok then error("pilot.lua has mistakes:\n  " .. table.concat(mistakes, "\n  "), 2) end
  self:take_events()
  return self
end

---From now on the port's events are this core's.
function Pilot:take_events()
  self.world.turn = function(event) self.app:turn(event) end
  self.world.rest = function() self.app.loop:rest() end
end

---@return spec.Pilot
function Pilot:start()
  self.app:start()
  return self
end

---Runs code as a task of the pilot: what a handler would do.
---@param fn function
function Pilot:task(fn)
  local t = self.app.tasks:spawn(fn, { name = "spec", detached = true })
  self.app.loop:rest()
  return t
end

---@param name string
---@return luapilot.Runner
function Pilot:job(name)
  return self.app.jobs[name] or error("there is no job " .. describe.quote(name), 2)
end

---The handle of a job's process.
---@param name string
---@return integer?
function Pilot:process(name) return self:job(name).process end

function Pilot:state(name) return self:job(name).memory.state end

---The handle of the only thing of that kind that is open: "connection", "poll", "process".
---@param what string
---@return integer?
function Pilot:handle(what)
  local found
  for id, each in pairs(self.world.handles) do
    if each.what:find(what, 1, true) and (not found or id < found) then found = id end
  end
  return found
end

---Errors of the user's code so far; they are forgotten.
---@return string[]
function Pilot:take_errors()
  local list = self.errors
  self.errors = {}
  return list
end

---Signals that were sent: "app SIGTERM", and no SIGCONT.
---@return string[]
function Pilot:signals()
  local list = {}
  for _, call in ipairs(self.world.calls) do
    if call[1] == "kill" and call[3] ~= "SIGCONT" then list[#list + 1] = call[3] .. " " .. call[4] end
  end
  return list
end

---Ends the pilot; every process obeys.
function Pilot:stop()
  if not self.app.ended then self.app:turn { type = "signal", name = "SIGTERM", pid = 1, terminal = false } end
  for _ = 1, 100 do
    if self.app.ended then return end
    local id = self.world:process()
    if id then self.world:exit(id, { signal = "SIGTERM" }) else self.world:advance(0.1) end
  end
end

---Ends the pilot, if it has not ended; then nothing may be left: no handle, task, listener, error.
function Pilot:check()
  self:stop()
  assert(self.app.ended, "the pilot does not end")
  local left = {}
  for _, what in ipairs(self.world:open()) do
    if what ~= "timer" then left[#left + 1] = what end -- those of the shutdown itself
  end
  for _, t in ipairs(self.app.tasks:list()) do left[#left + 1] = "task " .. t.name end
  for _, runner in ipairs(self.app.order) do
    for key in pairs(runner.timers) do left[#left + 1] = ("timer %s of %s"):format(key, runner.spec.name) end
    if runner.watchers and not runner.watchers:is_empty() then left[#left + 1] = "watchers of " .. runner.spec.name end
    if #runner.starter.listeners > 0 then left[#left + 1] = "listeners of " .. runner.spec.name end
    if runner.prober then left[#left + 1] = "prober of " .. runner.spec.name end
  end
  for _, err in ipairs(self:take_errors()) do left[#left + 1] = err end
  for _, line in ipairs(self.world:messages "error") do
    if line:find "inside luapilot" then left[#left + 1] = line end
  end
  if #left > 0 then error("left behind:\n  " .. table.concat(left, "\n  "), 2) end
end

return stub_pilot
