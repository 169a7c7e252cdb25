-- Pilots thrown together by a seed, in a world that treats them badly: what must hold of every pilot holds of these.
local boxes = require "support.boxes"
local random = require "luapilot.sim.random"

local SEEDS = tonumber(os.getenv "LUAPILOT_FUZZ") or 20
local FIRST = 1000

describe("whatever happens", function()
  after_each(boxes.check)

  -- --- dice ----------------------------------------------------------------------------------

  local dice

  local function below(n) return math.floor(dice:next() * n) end
  local function chance(p) return dice:next() < p end
  local function pick(list) return list[below(#list) + 1] end
  local function span() return ("%dms"):format(10 ^ (1 + 3 * dice:next())) end

  -- --- a pilot.lua ---------------------------------------------------------------------------

  local function event() return pick { "exit_success", "exit_failed", "stopped", "healthy", "unhealthy" } end

  local function leaf(earlier)
    local kind = #earlier > 0 and below(8) or below(3)
    if kind == 0 then return 'pilot.each "SIGUSR1"' end
    if kind == 1 then return ("pilot.every %q"):format(below(9) + 1 .. "s") end
    if kind == 2 then return 'pilot.once "startup"' end
    local options = pick { "", ', { timeout = "20s" }', ', { settle = "1s" }', ', { when_busy = "restart" }' }
    return ("%s:%s(%q%s)"):format(pick(earlier), pick { "once", "each" }, event(), options)
  end

  local function trigger(earlier)
    local kind = below(6)
    if kind == 0 then return '"manual"' end
    if kind == 1 then return "function() pilot.sleep(1) return true end" end
    if kind == 2 then
      return ("pilot.%s { %s, %s }"):format(pick { "all", "any" }, leaf(earlier), leaf(earlier))
    end
    return leaf(earlier)
  end

  local function fields(earlier)
    local list = { pick { 'exec = "app"', 'exec = "app"', 'exec = "app"', "run = work" } }
    if chance(0.6) then list[#list + 1] = "when = " .. trigger(earlier) end
    if chance(0.6) then
      list[#list + 1] = "restart = " .. pick { '"always"', '"on_failure"', "3", "{ backoff = 0, limit = 5 }" }
    end
    list[#list + 1] = ("health = { %s, interval = %q, restart_after = %s }"):format(
      pick { 'tcp = "localhost:1"', 'exec = "check"', "check = work", "notify = true" }, span(), pick { "nil", "2" })
    if chance(0.3) then list[#list + 1] = "prepare = work" end
    if chance(0.3) then list[#list + 1] = ("timeout = %q"):format(span()) end
    if chance(0.5) then list[#list + 1] = ("stop_timeout = %q"):format(span()) end
    local reload = pick { 'reload = "SIGHUP"', "reload = work" }
    list[#list + 1] = list[1] == "run = work" and "reload = work" or reload
    return table.concat(list, ", ")
  end

  local PRELUDE = [[
    local function work() -- takes a while, in one way or another
      local kind = math.random(9)
      if kind == 1 then error("a mistake of the user", 0) end
      if kind == 2 then pilot.defer(function() pilot.sleep "200ms" end) end
      if kind == 3 then pilot.exec("app", { check = false, timeout = "2s" }) end
      if kind == 4 then pilot.spawn(function() pilot.sleep "3s" end) end
      if kind == 5 then return false end
      if kind == 6 then pcall(pilot.sleep, "1h") end
      if kind == 7 then pilot.timeout("500ms", pilot.sleep, "1s") end
      pilot.sleep(math.random() * 3)
      return true
    end
    local function meddle(job)
      local kind = math.random(7)
      if kind == 1 then job:stop() end
      if kind == 2 then job:start() end
      if kind == 3 then job:restart() end
      if kind == 4 then job:reload() end
      if kind == 5 then job:signal "SIGUSR2" end
      if kind == 6 then job:wait_for(({ "healthy", "exited", "stopped" })[math.random(3)], "2s") end
      if kind == 7 then job:next("exit_failed", "2s") end
    end
  ]]

  local function handlers(name)
    local list = {}
    for _ = 1, below(3) do
      local when_busy = pick { "queue", "latest", "drop", "restart", "parallel" }
      list[#list + 1] = ("%s:on(%q, { when_busy = %q }, work)"):format(name,
        pick { "stopping", "stopped", "healthy", "unhealthy", "exit_failed", "output" }, when_busy)
    end
    list[#list + 1] = ("pilot.every(%q, function() meddle(%s) end)"):format(below(9) + 1 .. "s", name)
    return table.concat(list, "\n")
  end

  local function source()
    local names, text = {}, { PRELUDE }
    for i = 1, 2 + below(5) do
      local name = "job" .. i
      text[#text + 1] = ("local %s = pilot.job %q { %s }"):format(name, name, fields(names))
      text[#text + 1] = handlers(name)
      names[i] = name
    end
    return table.concat(text, "\n")
  end

  -- --- a world -------------------------------------------------------------------------------

  local function behaviour()
    local b = { stdout = "line\nrest", start_delay = span() }
    if chance(0.5) then b.exit, b.after = below(3), span() end
    if chance(0.1) then b.signal, b.after = "SIGSEGV", span() end
    if chance(0.3) then b.term_delay = span() end
    if chance(0.2) then b.ignores = { "SIGTERM", "SIGHUP" } end
    if chance(0.3) then b.notify = { READY = 1 } end
    if chance(0.2) then b.grandchild = { ignores = chance(0.5) and { "SIGTERM" } or nil, setsid = chance(0.2) } end
    if chance(0.1) then b.spawn_error = pick { "ENOENT", "EACCES", "EAGAIN", "EMFILE" } end
    return b
  end

  local function behaviours()
    local list = {}
    for i = 1, 10 do list[i] = behaviour() end
    return list
  end

  local function shake(box)
    local kind = below(6)
    if kind == 0 then box:tcp("localhost:1", pick { "up", "down", "hangs" }) end
    if kind == 1 then box:signal(pick { "SIGUSR1", "SIGUSR2", "SIGHUP" }) end
    if kind == 2 then box.world:shift_clock(below(7200) - 3600) end
    if kind == 3 then
      local proc = pick(box.port.kernel.all)
      if proc and proc.state ~= "dead" then proc:deliver(pick { "SIGKILL", "SIGSTOP", "SIGSEGV", "SIGCONT" }) end
    end
  end

  -- --- what must hold ------------------------------------------------------------------------

  local function check_one_group_each(box)
    local count = {}
    for _, spawns in pairs(box.children) do
      for _, spawn in ipairs(spawns) do
        if #spawn.child.group.members > 0 then count[spawn.job] = (count[spawn.job] or 0) + 1 end
      end
    end
    for job, n in pairs(count) do
      if n > 1 then error(("job %s has %d groups alive at once\n%s"):format(job, n, box:history())) end
    end
  end

  -- A stop that was asked for is told as such: stopping, then stopped, and no exit_… in between.
  local function check_stops(box)
    local stopping = {}
    for _, each in ipairs(box:events()) do
      local job, name = each.source, each.name
      local told_twice = stopping[job] and (name == "stopping" or name:find "^exit_")
      if told_twice then error(("job %s: %s while it stops\n%s"):format(job, name, box:history())) end
      if name == "stopping" then stopping[job] = true end
      if name == "stopped" then stopping[job] = nil end
    end
    if next(stopping) then error(next(stopping) .. " never stopped\n" .. box:history()) end
  end

  local function check_core_is_sound(box)
    for _, entry in ipairs(box:log()) do
      assert.is_nil(entry.message:find("an error inside luapilot", 1, true))
    end
    for _, err in ipairs(box:forget_errors()) do
      local expected = err:find "a mistake of the user" or err:find "pilot.exec" or err:find "abandoned"
        or err:find "cannot be started" or err:find "timed out after" or err:find "defer functions took longer"
      if not expected then error(err .. "\n" .. box:history()) end
    end
  end

  local function run(seed)
    dice = random.new(seed)
    local box = boxes.load(source(), { seed = seed })
    box:program("app", behaviours())
    box:program("check", behaviours())
    box:tcp("localhost:1", "up")
    box:start()
    for _ = 1, 60 do
      box:advance(span())
      check_one_group_each(box)
      if box.ended then break end
      shake(box)
    end
    if not box.ended then
      box:signal "SIGTERM"
      box:run_until(function() return box.ended end, "8s")
    end
    assert.is_number(box.exit_code)
    check_stops(box)
    check_core_is_sound(box)
  end

  for seed = FIRST, FIRST + SEEDS - 1 do
    it("with seed " .. seed, function() run(seed) end)
  end
end)
