-- One seeded pilot, in a world that treats it badly, under the laws: what the fuzz of the core runs for each seed, and
-- what mutants of the core must not survive (tools/mutate).
--
--   local trouble = ordeal.run(seed)      -- nil, or what went wrong, with the history

local boxes = require "support.boxes"
local handover = require "support.handover"
local laws = require "support.laws"
local pilots = require "support.pilots"
local random = require "luapilot.sim.random"
local world = require "luapilot.sim.world"

local ordeal = {}

local STREAM = 9 -- of random numbers
local STEPS = 50
local LINES = tonumber(os.getenv "LUAPILOT_LINES") or 80

local dice

local function chance(p) return dice:next() < p end
local function pick(list) return dice:pick(list) end
local function span() return ("%dms"):format(10 ^ (1 + 3 * dice:next())) end

-- --- a world ---------------------------------------------------------------------------------------

local function behaviour()
  local b = { stdout = "line\nrest", start_delay = span() }
  if chance(0.5) then b.exit, b.after = dice:below(3), span() end
  if chance(0.1) then b.signal, b.after = "SIGSEGV", span() end
  if chance(0.3) then b.term_delay = span() end
  if chance(0.2) then b.ignores = { "SIGTERM", "SIGINT", "SIGHUP" } end
  if chance(0.3) then b.notify = { READY = 1 } end
  if chance(0.2) then
    b.grandchild = { ignores = chance(0.5) and { "SIGTERM" } or nil, setsid = chance(0.2), setpgid = chance(0.3) }
  end
  if chance(0.1) then b.spawn_error = pick { "ENOENT", "EACCES", "EAGAIN", "EMFILE" } end
  return b
end

-- Checks come in rows of passes and failures, or `rise` and `fall` would never be reached.
local function flaps()
  local list = {}
  for _ = 1, 6 do
    local b = { exit = chance(0.6) and 0 or 1, after = ("%dms"):format(dice:span(1, 60)) }
    if chance(0.05) then b = {} end
    if chance(0.05) then b = { spawn_error = "EAGAIN" } end
    for _ = 1, 1 + dice:below(6) do list[#list + 1] = b end
  end
  return list
end

local function behaviours(brief)
  local list = {}
  for i = 1, 10 do
    list[i] = behaviour()
    if brief then list[i].exit, list[i].after, list[i].start_delay = dice:below(3), span(), nil end
  end
  return list
end

local function describe(box, plan)
  for _, name in ipairs(plan.order) do
    box:program({ "app", name }, behaviours(plan.brief))
    box:program({ "check", name }, flaps())
  end
  box:program("tool", behaviours())
  box:tcp("localhost:1", "up")
  local answers = {}
  for i = 1, 10 do answers[i] = pick { 200, 200, 503, "down", "hangs", { after = span() } } end
  box:server("db:1", { work = function(_, conn)
    local kind = dice:below(6)
    if kind == 0 then conn:sleep "1h" end
    if kind == 1 then conn:reset() end
    if kind == 2 then return false end
    conn:sleep(span())
    return "done\n"
  end })
  box:http("http://web/health", answers)
  box:http("http://web/work", answers)
end

-- --- the handoff: a new core takes over the processes of the old one -------------------------------------

local function hand_over(box)
  handover.run(box, function()
    box.earlier_errors = box:forget_errors()
    box:record("fault", { message = "handoff" })
  end)
end

-- --- trouble -----------------------------------------------------------------------------------------

local DISK = { operations = { write = true }, code = "ENOSPC" }

local trouble = {
  function(box) box:tcp(pick { "localhost:1", "db:1" }, pick { "up", "down", "hangs" }) end,
  function(box) box:signal(pick { "SIGUSR1", "SIGUSR2", "SIGHUP" }) end,
  function(box) box.world:shift_clock(dice:below(7200) - 3600) end,
  function(box)
    local alive = box.port.kernel:alive()
    if alive[1] then pick(alive):deliver(pick { "SIGKILL", "SIGSTOP", "SIGSEGV", "SIGCONT", "SIGTERM" }) end
  end,
  function(box)
    local list = box.files.disturbances
    if not table.remove(list) then list[1] = DISK end
  end,
  function(box)
    if chance(0.4) then hand_over(box) end
  end,
  function(box) -- programs are where nothing answers: their starts hang, until it does
    local starts = box.port.starts
    if starts.silent[1] then return box:answer("program", "app") end
    box:hang("program", "app")
  end,
  function() end,
  function() end,
}

local function known_error(err)
  return err:find "a mistake of the user" or err:find "pilot%.exec" or err:find "abandoned" or err:find "pilot%.http"
    or err:find "pilot%.net"
    or err:find "pilot%.render" or err:find "template" or err:find "cannot be started" or err:find "timed out after"
    or err:find "defer functions took longer" or err:find "rendered"
end

local function check_errors(box)
  for _, err in ipairs(box.earlier_errors or {}) do
    if not known_error(err) then error(err, 0) end
  end
  box.earlier_errors = nil
  for _, err in ipairs(box:forget_errors()) do
    if not known_error(err) then error(err, 0) end
  end
end

-- --- one seed ----------------------------------------------------------------------------------------

local function live(box, watched)
  for _ = 1, STEPS do
    box:advance(span())
    watched:check()
    check_errors(box)
    if box.ended then return end
    pick(trouble)(box)
  end
end

local function finish(box, watched, plan)
  local again = chance(0.2)
  local function ask()
    local name = pick { "SIGTERM", "SIGTERM", "SIGINT", plan.ender }
    if watched:ask_to_end(name) then box:signal(name) end
  end
  if not box.ended then ask() end
  while not box.ended do
    box:advance(("%dms"):format(dice:span(10, 500)))
    watched:check()
    if again and chance(0.2) and not box.ended then ask() end
    if chance(0.3) and not box.ended then pick(trouble)(box) end
  end
  check_errors(box)
  watched:at_end()
end

-- A box with its laws, from its start to its end.
local function play(seed)
  local plan = pilots.plan(seed)
  dice = random.new(seed, STREAM)
  local box = boxes.load(plan.source, {}, world.new { seed = seed })
  describe(box, plan)
  local watched = laws.watch(box, plan)
  local ok, err = pcall(function()
    box:start()
    live(box, watched)
    finish(box, watched, plan)
  end)
  boxes.forget(box)
  if not ok then return box, ("seed %d: %s\n%s\n%s"):format(seed, tostring(err), plan.source, box:history(LINES)) end
  return box
end

---@param seed integer
---@return string? trouble
function ordeal.run(seed)
  local _, message = play(seed)
  return message
end

---What happened, as text: the same for the same seed.
---@param seed integer
---@return string
function ordeal.history(seed)
  return (play(seed)):history()
end

return ordeal
