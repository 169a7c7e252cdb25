-- handle: a job of a box, as a spec looks at it.
--
-- Reads the state of the running core; owns nothing. Fields: name, state, running, pid, health, exit,
-- restarts.

local blame = require "luapilot.sim.blame"
local machine = require "luapilot.job.machine"
local schema = require "luapilot.schema.schema"
local suggest = require "luapilot.base.suggest"

local handle = {}

---@class luapilot.sim.Job
---@field name string
---@field state string
---@field running boolean
---@field pid integer?
---@field health string
---@field exit table?
---@field restarts integer
local methods = {}

local fields = {}

function fields.state(memory) return machine.VISIBLE[memory.state] end
function fields.running(memory) return memory.state == "running" end
function fields.pid(memory) return memory.pid end
function fields.health(memory) return memory.health end
function fields.exit(memory) return memory.exit end
function fields.restarts(memory) return memory.restarts end

---How often its processes received a signal, all of its runs together.
---@param signal string
---@return integer
function methods:received(signal)
  local count = 0
  for _, spawn in ipairs(self.box:spawns(self.name)) do
    count = count + (spawn.child.group.leader.received[signal] or 0)
  end
  return count
end

---How often it was started.
---@return integer
function methods:starts()
  local runner = self.box.app.jobs[self.name]
  if not runner.spec.exec then return runner.memory.runs end
  return #self.box:spawns(self.name)
end

---The simulated process of its last start, to make it say or do something: job:process():exit(3).
---@return luapilot.sim.Process?
function methods:process()
  local spawns = self.box:spawns(self.name)
  return spawns[1] and spawns[#spawns].child.group.leader
end

local names = schema.keys(methods)
for _, name in ipairs(schema.keys(fields)) do names[#names + 1] = name end

local Handle = {}

function Handle.__index(self, key)
  if methods[key] then return methods[key] end
  if fields[key] then return fields[key](self.box.app.jobs[self.name].memory) end
  blame.raise("a job has no %q%s", tostring(key), suggest.hint(tostring(key), names))
end

---@param box luapilot.sim.Box
---@param name string
---@return luapilot.sim.Job
function handle.new(box, name) return setmetatable({ box = box, name = name }, Handle) end

return handle
