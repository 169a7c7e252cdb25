-- behaviour: what a simulated program does, told as a table.
--
--   { exit = 0, after = "100ms" }                       ends by itself
--   { exit = 3, after = "1s", stdout = "…", stderr = "…" }
--   { signal = "SIGSEGV", after = "10s" }               crashes
--   { ignores = { "SIGTERM" } }                         runs until it is killed
--   { start_delay = "2s", listens = "127.0.0.1:80", notify = { READY = "1" }, term_delay = "5s" }   a server
--   { spawn_error = "ENOENT" }                          cannot be started at all
--   function(proc) … end                                anything else
--   { …, …, … }                                         one after the other; the last repeats
--
-- Without `exit`, `signal` and `after` a program runs until a signal ends it. It owns these words: their
-- check and their meaning. A behaviour becomes a function(proc) that process.lua runs.

local blame = require "luapilot.sim.blame"
local duration = require "luapilot.base.duration"
local signals = require "luapilot.base.signals"
local suggest = require "luapilot.base.suggest"

local behaviour = {}

---@class luapilot.sim.Behaviour
---@field exit integer?             exit code
---@field signal string?            dies of it instead
---@field after string|number|nil   when it ends, counted from its first instruction
---@field start_delay string|number|nil   until it listens, says it is ready and has its handlers
---@field stdout string?            said after start_delay
---@field stderr string?
---@field ignores string[]?         signals, from its first instruction
---@field term_delay string|number|nil    from SIGTERM, SIGINT or SIGQUIT to its end, with code term_exit
---@field term_exit integer?        default 0
---@field on table<string, fun(proc: luapilot.sim.Process)>?   handlers, after start_delay
---@field listens string|string[]|nil
---@field serves table|fun(conn: luapilot.sim.Conn)|nil   what it says there: see server.lua
---@field notify table?             fields, or a list of { after =, every =, FIELD = … }
---@field grandchild table?         a behaviour in the same group, or a list (setsid = true: outside of the
---                                 session; setpgid = true: in a group of its own)
---@field spawn_error string?       an errno name
---@field spawn_stage string?       default: what fits the error

local FIELDS = {
  "exit", "signal", "after", "start_delay", "stdout", "stderr", "ignores", "term_delay", "term_exit", "on",
  "listens", "serves", "notify", "grandchild", "spawn_error", "spawn_stage", "setsid",
  "setpgid",
}
local TIMES = { "after", "start_delay", "term_delay" }
local ENDING = { "SIGTERM", "SIGINT", "SIGQUIT" }

-- --- checking ------------------------------------------------------------------------------------

local known = {}
for _, name in ipairs(FIELDS) do known[name] = true end

local function check_signal(name, where)
  local _, message = signals.parse(name)
  if message then blame.raise("%s: %s", where, message) end
end

local function list_of(value)
  if value == nil then return {} end
  if type(value) ~= "table" or (value[1] == nil and next(value) ~= nil) then return { value } end
  return value
end

local check_table

-- A grandchild, or several: { } is one that runs until a signal ends it.
local function grandchildren(b)
  local value = b.grandchild
  if value == nil then return {} end
  return type(value) == "table" and value[1] and value or { value }
end

function check_table(b)
  for name in pairs(b) do
    if not known[name] then
      name = tostring(name)
      blame.raise("a program's behaviour has no field %q%s", name, suggest.hint(name, FIELDS))
    end
  end
  for _, name in ipairs(TIMES) do
    local _, message
    if b[name] ~= nil then _, message = duration.parse(b[name]) end
    if message then blame.raise("%s: %s", name, message) end
  end
  if b.exit and (type(b.exit) ~= "number" or b.exit < 0 or b.exit > 255) then
    blame.raise("exit: expected a code from 0 to 255, got %s", tostring(b.exit))
  end
  if b.signal then check_signal(b.signal, "signal") end
  for _, name in ipairs(list_of(b.ignores)) do check_signal(name, "ignores") end
  for name in pairs(b.on or {}) do check_signal(name, "on") end
  for _, each in ipairs(grandchildren(b)) do
    if type(each) == "table" then check_table(each) end
  end
end

---Checks a behaviour; a list is returned as it is, anything else as a list of one.
---@param value any
---@return table[]|function[]
function behaviour.list(value)
  if type(value) == "function" then return { value } end
  if type(value) ~= "table" then
    blame.raise("a program's behaviour is a table or a function, got a %s", type(value))
  end
  if value[1] == nil then
    check_table(value)
    return { value }
  end
  local list = {}
  for _, each in ipairs(value) do list[#list + 1] = behaviour.list(each)[1] end
  return list
end

---The addresses on which it will listen.
---@param b any     of list()
---@return string[]
function behaviour.listens(b)
  return type(b) == "table" and list_of(b.listens) or {}
end

local STAGES = { EAGAIN = "fork", ENOMEM = "fork", EMFILE = "descriptors", ENFILE = "descriptors" }

---Why it cannot be started, or nil.
---@param b any     of list()
---@return string? code, string? stage
function behaviour.spawn_error(b)
  if type(b) ~= "table" or not b.spawn_error then return nil end
  return b.spawn_error, b.spawn_stage or STAGES[b.spawn_error] or "exec"
end

-- --- meaning -------------------------------------------------------------------------------------

local function seconds(value) return value and duration.parse(value) or nil end

local function say_ready(proc, entry)
  local fields = {}
  for key, value in pairs(entry) do
    if key ~= "after" and key ~= "every" then fields[key] = value end
  end
  proc:thread(function()
    if entry.after then proc:sleep(entry.after) end
    repeat
      proc:notify(fields)
      if entry.every then proc:sleep(entry.every) end
    until not entry.every
  end, false)
end

local function install_handlers(proc, b)
  if b.term_delay then
    for _, signal in ipairs(ENDING) do
      proc:handle(signal, function()
        for _, again in ipairs(ENDING) do proc:handle(again, "ignore") end
        proc:sleep(b.term_delay)
        proc:exit(b.term_exit or 0)
      end)
    end
  end
  for signal, fn in pairs(b.on or {}) do proc:handle(signal, fn) end
  for _, signal in ipairs(list_of(b.ignores)) do proc:handle(signal, "ignore") end
end

local function come_up(proc, b)
  install_handlers(proc, b)
  if b.stdout then proc:write(b.stdout, "stdout") end
  if b.stderr then proc:write(b.stderr, "stderr") end
  for _, address in ipairs(list_of(b.listens)) do proc:listen(address, b.serves) end
  for _, entry in ipairs(list_of(b.notify)) do say_ready(proc, entry) end
end

local function live_for(proc, time, b)
  if b.after or b.exit or b.signal then
    proc:sleep(math.max(0, (seconds(b.after) or 0) - time))
    if b.signal then proc:crash(b.signal) end
    proc:exit(b.exit or 0)
  end
  while true do proc:sleep "24h" end
end

-- What a grandchild ignores it ignores from its birth, as if its parent had set that before the fork.
local function fork_grandchildren(proc, b)
  for _, each in ipairs(grandchildren(b)) do
    local is_table = type(each) == "table"
    local options = is_table and { setsid = each.setsid, setpgid = each.setpgid } or nil
    local child = proc:fork(behaviour.script(each), options)
    for _, signal in ipairs(is_table and list_of(each.ignores) or {}) do child:handle(signal, "ignore") end
  end
end

---The function that process.lua runs.
---@param b any     of list()
---@return fun(proc: luapilot.sim.Process): integer?
function behaviour.script(b)
  if type(b) == "function" then return b end
  return function(proc)
    for _, signal in ipairs(list_of(b.ignores)) do proc:handle(signal, "ignore") end
    fork_grandchildren(proc, b)
    local delay = seconds(b.start_delay) or 0
    local life = seconds(b.after)
    if life and life < delay then live_for(proc, 0, b) end
    if delay > 0 then proc:sleep(delay) end
    come_up(proc, b)
    live_for(proc, delay, b)
  end
end

return behaviour
