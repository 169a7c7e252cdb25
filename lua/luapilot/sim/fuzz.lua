-- fuzz: a pilot.lua under seeded schedules of faults, and what must hold all the same.
--
--   sim.fuzz {
--     seeds  = 1000,
--     setup  = function(world) … return box end,
--     always = function(world, box) assert.is_true(…) end,
--   }
--
-- Each seed is a world of its own: setup describes it, faults strike (faults.lua), and whenever all boxes have come to
-- rest, `always` looks. Then every pilot gets SIGTERM and must end within its bound, with nothing left behind. Of the
-- first seed that fails the schedule is made small: faults are left out one by one as long as it still fails in the
-- same way.
--
-- It owns the options, the runs and the message. What can go wrong is faults.lua's; what is true of a world is the
-- spec's.

local blame = require "luapilot.sim.blame"
local faults = require "luapilot.sim.faults"
local random = require "luapilot.sim.random"
local report = require "luapilot.sim.report"
local schema = require "luapilot.schema.schema"
local world = require "luapilot.sim.world"

local fuzz = {}

local STREAM = 3            -- of random numbers: 1 is the world's, 2 Consul's, those from 16 on the boxes'
local SEEDS, TIME, WITHIN = 100, 600, 60
local LATE = 0.05           -- seconds that the end of a shutdown may take to be noticed
local LINES = 50            -- of the history, in the message
local STOPPED = {}          -- raised to leave a world in which something failed

-- --- options -------------------------------------------------------------------------------------

local one_kind = schema.one_of(faults.kinds)
local wanted_table = schema.fields({ kind = { one_kind }, of = { schema.text } }, "a kind of fault")

local function wanted(value, path, report_)
  if type(value) == "string" then
    local kind = one_kind(value, path, report_)
    return kind and { kind = kind }
  end
  local result = wanted_table(value, path, report_)
  if result and not result.kind and type(value) == "table" and value.kind == nil then
    report_(schema.join(path, "kind"), 'is missing: { kind = "http", of = "http://api/*" }')
  end
  return result
end

local whole = schema.integer(0)
local count_of_seeds = schema.integer(1)
local list_of_seeds = schema.list(whole, "a list of seeds")

local function seeds(value, path, report_)
  if type(value) == "table" then return list_of_seeds(value, path, report_) end
  return count_of_seeds(value, path, report_)
end

local list_of_patterns = schema.list(schema.text, "a list of Lua patterns")

local function expected_errors(value, path, report_)
  if value == true then return true end
  return list_of_patterns(value, path, report_)
end

local read = schema.fields({
  seeds    = { seeds, default = SEEDS },
  setup    = { schema.fn },
  time     = { schema.span, default = TIME },
  faults   = { schema.list(wanted, "a list of faults") },
  always   = { schema.fn },
  recovers = { schema.fn },
  within   = { schema.span, default = WITHIN },
  errors   = { expected_errors, default = {} },
  now      = { schema.any },
}, "a table of options", {
  build = "setup", load = "setup", invariant = "always", check = "always", duration = "time", seed = "seeds",
  recovery = "recovers", allow = "errors",
})

local function check(options)
  local first
  local result = read(options, "", function(path, message) first = first or { path = path, message = message } end)
  if not first and not result.setup then
    first = { path = "setup", message = 'is missing: function(world) local box = world:load "pilot.lua" … end' }
  end
  if first then
    blame.raise("sim.fuzz: %s%s", first.path ~= "" and first.path .. ": " or "", first.message)
  end
  return result
end

-- LUAPILOT_SEED: that one alone. "random": as many, from anywhere.
local function seeds_of(options)
  local text = os.getenv "LUAPILOT_SEED" or ""
  local only = tonumber(text)
  if only then return { only } end
  if type(options.seeds) == "table" then return options.seeds end
  local list, before = {}, text == "random" and os.time() % 1000000 * 1000 or 0
  for i = 1, options.seeds do list[i] = before + i end
  return list
end

-- --- one world -----------------------------------------------------------------------------------

---@class luapilot.sim.FuzzOptions
---@field setup fun(world: luapilot.sim.World): ...     loads the boxes and describes what is around them
---@field seeds integer|integer[]|nil     how many, or which; default 100
---@field time string|number|nil          how long each lasts, in virtual time; default "10m"
---@field faults (string|{ kind: string, of: string? })[]|nil      default: every kind that the setup has something for
---@field always nil|fun(world: luapilot.sim.World, ...): ...      raises, or returns false and a message
---@field recovers nil|fun(world: luapilot.sim.World, ...): any    must become true when the faults are over
---@field within string|number|nil        so soon; default "1m"
---@field errors string[]|true|nil        Lua patterns of handlers' errors that may happen; true: any
---@field now string|number|nil           as of sim.load

---@class luapilot.sim.FuzzRun
---@field world luapilot.sim.World
---@field schedule luapilot.sim.Fault[]
---@field failure { law: string, message: string, at: number }?
local Run = {}
Run.__index = Run

-- The first failure counts.
function Run:fail(law, message)
  if not self.failure then
    self.failure = { law = law, message = message, at = self.world:elapsed() }
  end
  error(STOPPED, 0)
end

-- A function of the spec, which may raise, or return false and a message.
function Run:ask(law, fn)
  self.world.only_looked_at = law
  local asked = { pcall(fn, self.world, unpack(self.returned, 1, self.returned.n)) }
  self.world.only_looked_at = nil
  if not asked[1] then self:fail(law, tostring(asked[2])) end
  if asked[2] == false then
    self:fail(law, asked[3] ~= nil and tostring(asked[3]) or "it returned false")
  end
  return asked[2]
end

local function is_expected(patterns, message)
  if patterns == true then return true end
  for _, pattern in ipairs(patterns) do
    if message:find(pattern) then return true end
  end
  return false
end

-- What is new among the errors of a box. Its complaints are never expected: the setup is wrong, or something was left
-- behind.
function Run:check_errors(box)
  if box.complaints[1] then self:fail("errors", box.complaints[1]) end
  local raised, seen = box.raised, self.seen
  for i = (seen[raised] or 0) + 1, #raised do -- another list when a spec has forgotten those before
    seen[raised] = i
    local message = raised[i].where .. ": " .. raised[i].message
    if not is_expected(self.options.errors, message) then self:fail("errors", message) end
  end
end

-- A shutdown has its bound, from the moment at which it begins.
function Run:check_bound(box)
  local bound = box.port.must_end
  if box.ended or not bound or self.world.clock:now() <= bound + LATE then return end
  self:fail("shutdown", ("%s: the shutdown takes longer than its bound of %g s"):format(box.name,
    box.app.shutdown_timeout))
end

function Run:look()
  if self.looking then return end
  self.looking = true
  for _, box in ipairs(self.world.boxes) do
    self:check_errors(box)
    self:check_bound(box)
  end
  if self.options.always then self:ask("always", self.options.always) end
  self.looking = false
end

local function any_ended(boxes)
  for _, box in ipairs(boxes) do
    if box.ended then return true end
  end
  return false
end

function Run:recover()
  local recovers, moved = self.options.recovers, self.world
  if not recovers or any_ended(moved.boxes) then return end
  local limit = moved.clock:moment(self.options.within)
  local function ask(...) return recovers(...) or nil end -- false: not yet
  while not self:ask("recovers", ask) do
    if not moved.clock:step(limit) then
      self:fail("recovers", ("not within %g s after the last fault"):format(self.options.within))
    end
    moved:rest()
  end
end

-- Each pilot ends within its bound: `look` watches that.
function Run:finish()
  for i = #self.world.boxes, 1, -1 do
    local box = self.world.boxes[i]
    if box.app and not box.ended then
      box:signal "SIGTERM"
      while not box.ended and self.world.clock:step() do self.world:rest() end
      if not box.ended then self:fail("shutdown", box.name .. ": nothing is due any more, and it has not ended") end
    end
  end
  self:look()
end

function Run:go()
  local moved = self.world
  moved.on_rest = function() self:look() end
  for _, box in ipairs(moved.boxes) do
    if box.app and not box.started then box:start() end
  end
  moved:advance(self.options.time)
  self:recover()
  self:finish()
end

local function prepare(options, seed)
  local fresh = world.new { seed = seed, now = options.now }
  local returned = { n = 0 }
  local function keep(...) returned = { n = select("#", ...), ... } end
  keep(options.setup(fresh))
  if not fresh.boxes[1] then
    blame.raise 'sim.fuzz: setup has loaded nothing into the world that it was given: world:load "pilot.lua"'
  end
  return setmetatable({ options = options, seed = seed, world = fresh, returned = returned, seen = {} }, Run)
end

---One world from its beginning to its end.
---@param options table
---@param seed integer
---@param schedule luapilot.sim.Fault[]?   nil: what the seed draws
---@param struck table<string, integer>
---@return luapilot.sim.FuzzRun
local function attempt(options, seed, schedule, struck)
  local run = prepare(options, seed)
  run.schedule = schedule
    or faults.draw(random.new(seed, STREAM), faults.choices(run.world, options.faults), options.time)
  faults.plan(run.world, run.schedule, struck)
  local ok, err = pcall(run.go, run)
  run.world.on_rest = nil
  if not ok and err ~= STOPPED and not run.failure then
    run.failure = { law = "world", message = tostring(err), at = run.world:elapsed() }
  end
  return run
end

-- --- small schedules -----------------------------------------------------------------------------

local function without(list, i)
  local rest = {}
  for j, each in ipairs(list) do
    if j ~= i then rest[#rest + 1] = each end
  end
  return rest
end

-- Leaves faults out, the last first, until each that is left is needed.
local function shrink(options, run)
  local best, again = run, true
  while again do
    again = false
    for i = #best.schedule, 1, -1 do
      local fewer = attempt(options, run.seed, without(best.schedule, i), {})
      if fewer.failure and fewer.failure.law == run.failure.law then best, again = fewer, true end
    end
  end
  return best
end

-- --- the message ---------------------------------------------------------------------------------

local HEADS = {
  always = "`always` does not hold", recovers = "it does not recover", errors = "an error that nobody expected",
  shutdown = "the shutdown takes too long", world = "an error",
}

local function indented(text) return "  " .. text:gsub("\n", "\n  ") end

local function fault_line(boxes, fault)
  local line = ("%12.6f  %s: %s"):format(fault.at, boxes[fault.box].name, faults.tell(fault))
  return fault.lasts and ("%s, until %.6f"):format(line, fault.at + fault.lasts) or line
end

local function story(run, small)
  local lines = {}
  for i, fault in ipairs(small.schedule) do lines[i] = fault_line(small.world.boxes, fault) end
  local left_out = #run.schedule - #small.schedule
  local head = ("Faults: %d%s"):format(#lines, left_out > 0 and (" (%d more do not matter)"):format(left_out) or "")
  if #lines == 0 then head = left_out > 0 and head or "Faults: none" end
  table.insert(lines, 1, head)
  return table.concat(lines, "\n")
end

local HINT = '\nIf that may happen: errors = { "a Lua pattern of the message" }'

local function message_of(run, small)
  local failure = small.failure
  return ("sim.fuzz: seed %d: %s, %.6f s after the start\n%s%s\n\n%s\n\nHistory:\n%s\n\nAgain: %s"):format(run.seed,
    HEADS[failure.law], failure.at, indented(failure.message), failure.law == "errors" and HINT or "",
    story(run, small), small.world:history(LINES), report.again(run.seed, blame.file()))
end

-- ---------------------------------------------------------------------------------------------------

---Tries a pilot.lua under many seeded schedules of faults. Raises on the first that fails.
---@param options luapilot.sim.FuzzOptions
---@return { seeds: integer, faults: table<string, integer> }   what was tried: seeds, and faults that struck, by kind
function fuzz.run(options)
  options = check(options)
  local list, struck = seeds_of(options), {}
  for _, seed in ipairs(list) do
    local run = attempt(options, seed, nil, struck)
    if run.failure then
      blame.raise("%s", message_of(run, shrink(options, run)))
    end
  end
  return { seeds = #list, faults = struck }
end

return fuzz
