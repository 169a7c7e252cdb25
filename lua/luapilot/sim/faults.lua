-- faults: what may go wrong in a box, one entry a kind.
--
--   draw    a schedule: { { at, kind, box, target, lasts, … }, … }, plain data that a seed fixes before anything runs
--   strike  a fault begins; false when there was nothing to hit (a job without a process)
--   heal    it is over
--   tell    it in words
--
-- A fault names what it hits in the words of the setup (a job, the beginning of an argv, a URL as it was described), so
-- that a schedule fits every world of the same setup, and one with fewer faults as well. A new kind is one more entry
-- of `kinds`; those of Consul stand in consul/faults.lua.
--
-- It owns nothing: what a fault changes belongs to the parts of the box, which keep it in a list of disturbances.

local blame = require "luapilot.sim.blame"
local behaviour = require "luapilot.sim.behaviour"
local consul_faults = require "luapilot.sim.consul.faults"
local copy = require "luapilot.base.copy"
local describe = require "luapilot.base.describe"
local link = require "luapilot.sim.link"
local suggest = require "luapilot.base.suggest"

local faults = {}

local MOST = 12             -- faults of one schedule
local FOLLOWS = 0.3         -- the share of those that come within a second of the one before: trouble comes in groups
local LAST = 0.9            -- of the time: none begins later
local SHORTEST, LONGEST = 0.2, 120 -- seconds that one lasts
local ENDING = { "SIGTERM", "SIGINT", "SIGQUIT" }

---@class luapilot.sim.Fault   plain data
---@field at number              seconds from the beginning
---@field kind string
---@field box integer            its number in the world
---@field target string?         a job, a program, an address …
---@field lasts number?          seconds
---@field how any                what exactly happens: of the kind

---@class luapilot.sim.FaultKind
---@field hits string                            what its targets are, for messages
---@field targets fun(box: luapilot.sim.Box): (string|false)[]    false: the box itself
---@field draw fun(dice: luapilot.sim.Random): any
---@field lasts boolean?
---@field strike fun(box: luapilot.sim.Box, fault: luapilot.sim.Fault): any    what heal gets; nil: nothing was hit
---@field heal fun(box: luapilot.sim.Box, fault: luapilot.sim.Fault, struck: any)?
---@field tell fun(fault: luapilot.sim.Fault): string

---@type table<string, luapilot.sim.FaultKind>
local kinds = {}

-- --- what can be hit -----------------------------------------------------------------------------

local function jobs(box)
  local names = {}
  for _, runner in ipairs(box.app.order) do
    if runner.spec.exec then names[#names + 1] = runner.spec.name end
  end
  return names
end

local function named(list)
  local names, seen = {}, {}
  for _, entry in ipairs(list) do
    if not seen[entry.name] then names[#names + 1] = entry.name end
    seen[entry.name] = true
  end
  return names
end

local function programs(box) return named(box.programs.list) end
local function sites(box) return named(box.sites.list) end
local function addresses(box) return box.network:addresses() end
local function itself() return { false } end

local function group_of(box, job)
  local spawns = box:spawns(job)
  local last = spawns[#spawns]
  return last and #last.child.group.members > 0 and last.child.group or nil
end

local function leader_of(box, job)
  local group = group_of(box, job)
  return group and group.leader.state ~= "dead" and group.leader or nil
end

-- --- disturbances: what lasts --------------------------------------------------------------------

local function begin(list, value)
  list[#list + 1] = value
  return { list = list, value = value }
end

local function over(_, _, struck)
  local list = struck.list
  for i = #list, 1, -1 do
    if list[i] == struck.value then table.remove(list, i) end
  end
end

-- Every description of that name: a spec may describe the same program anew.
local function disturb(list, name, change)
  local struck = {}
  for _, entry in ipairs(list) do
    if entry.name == name then struck[#struck + 1] = begin(entry.disturbances, change) end
  end
  return struck
end

local function undisturb(box, fault, struck)
  for _, one in ipairs(struck) do over(box, fault, one) end
end

-- --- processes that live -------------------------------------------------------------------------

kinds.exit = {
  hits = "a job", targets = jobs,
  draw = function(dice) return dice:pick { 0, 1, 1, 2, 255 } end,
  strike = function(box, fault)
    local proc = leader_of(box, fault.target)
    if proc then proc:exit(fault.how) end
    return proc
  end,
  tell = function(fault) return ("job %q exits with code %d"):format(fault.target, fault.how) end,
}

kinds.kill = {
  hits = "a job", targets = jobs,
  draw = function(dice) return dice:pick { "SIGKILL", "SIGKILL", "SIGSEGV", "SIGABRT" } end,
  strike = function(box, fault)
    local proc = leader_of(box, fault.target)
    if proc then proc:crash(fault.how) end
    return proc
  end,
  tell = function(fault) return ("job %q is killed by %s"):format(fault.target, fault.how) end,
}

kinds.freeze = {
  hits = "a job", targets = jobs, lasts = true,
  draw = function() return "SIGSTOP" end,
  strike = function(box, fault)
    local group = group_of(box, fault.target)
    if not group then return nil end
    local frozen = copy.shallow(group.members)
    for _, proc in ipairs(frozen) do proc:deliver "SIGSTOP" end
    return frozen
  end,
  heal = function(_, _, frozen)
    for _, proc in ipairs(frozen) do proc:deliver "SIGCONT" end
  end,
  tell = function(fault) return ("job %q freezes (SIGSTOP)"):format(fault.target) end,
}

-- --- programs that start -------------------------------------------------------------------------

-- A behaviour that is a function begins when `first` is over.
local function after(first, what)
  local script = behaviour.script(what)
  return function(proc)
    first(proc)
    return script(proc)
  end
end

local function deafen(proc) proc:deafen(ENDING) end

local function deaf(what)
  if type(what) == "function" then return after(deafen, what) end
  what = copy.shallow(what)
  what.ignores, what.term_delay = copy.shallow(ENDING), nil
  return what
end

kinds.deaf = {
  hits = "a program", targets = programs, lasts = true,
  draw = function() return ENDING end,
  strike = function(box, fault)
    for _, proc in ipairs(box.port.kernel:alive()) do
      local entry = box.programs:entry(proc.argv)
      if entry and entry.name == fault.target then deafen(proc) end
    end
    return disturb(box.programs.list, fault.target, deaf)
  end,
  heal = undisturb,
  tell = function(fault) return ("%q ignores SIGTERM, SIGINT and SIGQUIT"):format(fault.target) end,
}

kinds.slow = {
  hits = "a program", targets = programs, lasts = true,
  draw = function(dice) return dice:span(0.1, 60) end,
  strike = function(box, fault)
    return disturb(box.programs.list, fault.target, function(what)
      return after(function(proc) proc:sleep(fault.how) end, what)
    end)
  end,
  heal = undisturb,
  tell = function(fault) return ("%q takes %.3g s longer to start"):format(fault.target, fault.how) end,
}

-- What it was going to do it does not do: neither say, nor listen, nor end.
kinds.hang = {
  hits = "a program", targets = programs, lasts = true,
  draw = function() return "hang" end,
  strike = function(box, fault)
    return disturb(box.programs.list, fault.target, function() return {} end)
  end,
  heal = undisturb,
  tell = function(fault) return ("%q hangs when it is started"):format(fault.target) end,
}

kinds.fail = {
  hits = "a program", targets = programs, lasts = true,
  draw = function(dice) return dice:pick { 1, 1, 2, 126, 255 } end,
  strike = function(box, fault)
    return disturb(box.programs.list, fault.target, function() return { exit = fault.how } end)
  end,
  heal = undisturb,
  tell = function(fault) return ("%q exits with code %d when it is started"):format(fault.target, fault.how) end,
}

kinds.spawn = {
  hits = "a program", targets = programs, lasts = true,
  draw = function(dice) return dice:pick { "EAGAIN", "ENOMEM", "EMFILE", "ENFILE", "ENOENT", "EACCES" } end,
  strike = function(box, fault)
    return disturb(box.programs.list, fault.target, function() return { spawn_error = fault.how } end)
  end,
  heal = undisturb,
  tell = function(fault) return ("%q cannot be started (%s)"):format(fault.target, fault.how) end,
}

-- --- the network ---------------------------------------------------------------------------------

local ANSWERS = {
  { status = 500, body = "", headers = {}, after = 0, every = 0 },
  { status = 503, body = "", headers = {}, after = 0, every = 0 },
  { status = 429, body = "", headers = {}, after = 0, every = 0 },
  { error = "ECONNREFUSED" }, { error = "ECONNRESET" }, { hangs = true },
}

local function tell_answer(how)
  if how.slow then return ("answers %.3g s later"):format(how.slow) end
  if how.hangs then return "never answers" end
  return how.error and ("fails (%s)"):format(how.error) or ("answers %d"):format(how.status)
end

kinds.http = {
  hits = "a URL", targets = sites, lasts = true,
  draw = function(dice)
    local answer = ANSWERS[dice:below(#ANSWERS + 1) + 1]
    return answer or { slow = dice:span(0.1, 60) }
  end,
  strike = function(box, fault)
    local how = fault.how
    return disturb(box.sites.list, fault.target, function(answer)
      if not how.slow then return how end
      local late = copy.shallow(answer)
      late.after = (late.after or 0) + how.slow
      return late
    end)
  end,
  heal = undisturb,
  tell = function(fault) return ("%s %s"):format(fault.target, tell_answer(fault.how)) end,
}

kinds.tcp = {
  hits = "an address", targets = addresses, lasts = true,
  draw = function(dice) return dice:pick { "down", "hangs" } end,
  strike = function(box, fault)
    return begin(box.network.disturbances, { address = fault.target, state = fault.how })
  end,
  heal = over,
  tell = function(fault) return ("%s %s"):format(fault.target, fault.how == "down" and "is down" or "hangs") end,
}

kinds.cut = {
  hits = "an address", targets = function(box) return box.network:served() end,
  draw = function() return "ECONNRESET" end,
  strike = function(box, fault)
    local open = link.open_to(box.port, fault.target)
    for _, one in ipairs(open) do one:reset() end
    return open[1]
  end,
  tell = function(fault) return ("the connections to %s break"):format(fault.target) end,
}

-- --- the machine ---------------------------------------------------------------------------------

local FULL = { write = true, mkdir = true }
local READ_ONLY = { write = true, rename = true, remove = true, chmod = true, mkdir = true }
local DISKS = { ENOSPC = FULL, EDQUOT = FULL, EIO = FULL, EROFS = READ_ONLY }

kinds.disk = {
  hits = "a box", targets = itself, lasts = true,
  draw = function(dice) return dice:pick { "ENOSPC", "ENOSPC", "EROFS", "EIO", "EDQUOT" } end,
  strike = function(box, fault)
    return begin(box.files.disturbances, { operations = DISKS[fault.how], code = fault.how })
  end,
  heal = over,
  tell = function(fault) return ("no file can be written (%s)"):format(fault.how) end,
}

kinds.clock = {
  hits = "a box", targets = itself,
  draw = function(dice) return math.floor(dice:between(-3600, 3600)) end,
  strike = function(box, fault)
    box.world:shift_clock(fault.how)
    return true
  end,
  tell = function(fault) return ("the wall clock jumps by %d s"):format(fault.how) end,
}

local function signal(box, fault) return box.started and not box.ended and box.port:signal(fault.how) or nil end

kinds.signal = {
  hits = "a box", targets = itself,
  draw = function(dice) return dice:pick { "SIGHUP", "SIGUSR1", "SIGUSR2" } end,
  strike = signal,
  tell = function(fault) return ("%s to the pilot"):format(fault.how) end,
}

kinds.shutdown = {
  hits = "a box", targets = itself,
  draw = function(dice) return dice:pick { "SIGTERM", "SIGTERM", "SIGINT" } end,
  strike = signal,
  tell = function(fault) return ("%s to the pilot: it shuts down"):format(fault.how) end,
}

for name, kind in pairs(consul_faults.kinds) do kinds[name] = kind end

-- --- which of them -------------------------------------------------------------------------------

---Their names, in alphabetical order.
---@type string[]
faults.kinds = {}
for name in pairs(kinds) do faults.kinds[#faults.kinds + 1] = name end
table.sort(faults.kinds)

-- Where a kind can strike in a world: { box, target }. With `of` only there.
local function places(world, kind, of)
  local list, names = {}, {}
  for number, box in ipairs(world.boxes) do
    for _, target in ipairs(box.app and kinds[kind].targets(box) or {}) do
      names[#names + 1] = target or nil
      if of == nil or of == target then list[#list + 1] = { box = number, target = target or nil } end
    end
  end
  return list, names
end

local function nothing_to_hit(kind, of, names, where)
  local hits = kinds[kind].hits
  if of then
    blame.raise("%s: %q hits %s, and there is no %s%s", where, kind, hits, describe.quote(of), suggest.hint(of, names))
  end
  blame.raise("%s: %q hits %s, and the setup has none", where, kind, hits)
end

---The kinds that a world allows, with what they may hit. Without `wanted` all that fit; what is wanted and cannot
---happen is a mistake of the spec.
---@param world luapilot.sim.World
---@param wanted { kind: string, of: string? }[]?
---@return { kind: string, places: table[] }[]
function faults.choices(world, wanted)
  local list = {}
  for i, one in ipairs(wanted or {}) do
    local found, names = places(world, one.kind, one.of)
    if #found == 0 then nothing_to_hit(one.kind, one.of, names, ("sim.fuzz: faults[%d]"):format(i)) end
    list[i] = { kind = one.kind, places = found }
  end
  if wanted then return list end
  for _, kind in ipairs(faults.kinds) do
    local found = places(world, kind)
    if #found > 0 then list[#list + 1] = { kind = kind, places = found } end
  end
  return list
end

-- --- schedules -----------------------------------------------------------------------------------

local function draw_one(dice, choices, at, time)
  local choice = dice:pick(choices)
  local place, kind = dice:pick(choice.places), kinds[choice.kind]
  local fault = { at = at, kind = choice.kind, box = place.box, target = place.target, how = kind.draw(dice) }
  if kind.lasts then fault.lasts = math.min(dice:span(SHORTEST, LONGEST), time - at) end
  return fault
end

---A schedule for so many seconds.
---@param dice luapilot.sim.Random
---@param choices table[]    of choices()
---@param time number
---@return luapilot.sim.Fault[]
function faults.draw(dice, choices, time)
  local list, at = {}, 0
  if #choices == 0 then return list end
  for i = 1, dice:below(MOST + 1) do
    local soon = i > 1 and dice:next() < FOLLOWS
    at = soon and math.min(at + dice:next(), LAST * time) or LAST * time * dice:next()
    list[i] = draw_one(dice, choices, at, time)
    list[i].number = i
  end
  table.sort(list, function(a, b)
    if a.at ~= b.at then return a.at < b.at end
    return a.number < b.number
  end)
  return list
end

---What a fault does, in words.
---@param fault luapilot.sim.Fault
---@return string
function faults.tell(fault) return kinds[fault.kind].tell(fault) end

---Puts a schedule on the clock of a world that has not started. `struck` counts what hit something, by kind.
---@param world luapilot.sim.World
---@param schedule luapilot.sim.Fault[]
---@param struck table<string, integer>
function faults.plan(world, schedule, struck)
  local clock = world.clock
  local source = clock:source()
  for _, fault in ipairs(schedule) do
    local box, kind = world.boxes[fault.box], kinds[fault.kind]
    clock:after(fault.at, source, function()
      if box.ended then return end
      local hit = kind.strike(box, fault)
      if not hit then return end
      struck[fault.kind] = (struck[fault.kind] or 0) + 1
      box:record("fault", { message = faults.tell(fault) })
      if not kind.heal then return end
      clock:after(fault.lasts, source, function()
        kind.heal(box, fault, hit)
        box:record("fault", { message = "over: " .. faults.tell(fault) })
      end)
    end)
  end
end

return faults
