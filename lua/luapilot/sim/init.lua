-- sim: specs of a pilot.lua, without processes, without waiting.
--
--   local sim = require "luapilot.sim"
--   local box = sim.load("pilot.lua", { files = { ["/etc/app.conf"] = sim.read "app.conf" } })
--   box:program("nginx", sim.server)
--   box:start()
--   box:advance "1m"
--   assert.same({}, box:errors())
--
-- The core is the real one; time, processes, files, network and signals are simulated, and the same seed
-- gives the same history (LUAPILOT_SEED=7, or LUAPILOT_SEED=random). It owns nothing: a world owns its
-- boxes.

local blame = require "luapilot.sim.blame"
local files = require "luapilot.sim.files"
local fuzz = require "luapilot.sim.fuzz"
local report = require "luapilot.sim.report"
local world = require "luapilot.sim.world"

local sim = {}

---A program that serves: it has its handlers after a tenth of a second, ends well on SIGTERM, SIGINT and
---SIGQUIT, and reads its configuration anew on SIGHUP. A HUP that comes earlier kills it, as it does in
---reality.
---@type luapilot.sim.Behaviour
sim.server = { start_delay = "100ms", term_delay = "10ms", on = { SIGHUP = function() end } }

---Several boxes that share one clock.
---@param options { seed: integer?, now: string|number|nil }?
---@return luapilot.sim.World
function sim.world(options)
  local one = world.new(options)
  report.watch(one)
  return one
end

---Tries a pilot.lua under many seeded schedules of faults: see fuzz.lua.
---@param options luapilot.sim.FuzzOptions
---@return { seeds: integer, faults: table<string, integer> }
function sim.fuzz(options) return fuzz.run(options) end

---A box with its pilot.lua, loaded and not yet started. The path is relative to the spec or to the current
---directory.
---@param path string
---@param options luapilot.sim.BoxOptions?
---@return luapilot.sim.Box
function sim.load(path, options)
  local mine = {}
  for name, value in pairs(options or {}) do mine[name] = value end
  local one = sim.world { seed = mine.seed, now = mine.now }
  mine.seed, mine.now = nil, nil
  return (one:load(path, mine))
end

---A real file, relative to the spec or to the current directory.
---@param path string
---@return string
function sim.read(path)
  local beside = path:sub(1, 1) ~= "/" and files.from_disk(blame.directory() .. path) or nil
  return beside or files.from_disk(path) or blame.raise("sim.read: there is no file %q", path)
end

return sim
