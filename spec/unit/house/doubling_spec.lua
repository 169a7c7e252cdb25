-- What can be many is doubled twice, and the cost may grow no more than in proportion (with a little for n log n): a
-- pilot with four times as many jobs, tasks or secrets may take four times as long, never sixteen.
--
-- Costs are counted, not timed: see support/cost.lua, which is tested here, too. Each case names its first size, chosen
-- so that a mistake would show: for every case the same figures are judged once more with what a walk over all for each
-- would add: for each pair a short look (twenty instructions), eight bytes searched, 48 copied. That must fail.

local boxes = require "support.boxes"
local check = require "luapilot.cli.check"
local cost = require "support.cost"
local diagram = require "luapilot.cli.diagram"
local masks = require "luapilot.base.masks"
local mermaid = require "luapilot.cli.mermaid"
local outlook = require "luapilot.cli.outlook"
local registrar = require "luapilot.service.registrar"
local sim = require "luapilot.sim"

local MOST = 300e6 -- instructions of one size: more is a walk that never ends
local WALK = { instructions = 20, touched = 8, allocated = 48 } -- for each pair

-- --- the measure ---------------------------------------------------------------------------------

describe("the measure of costs", function()
  -- n times something whose cost is known: step(n) does it once.
  local function growth_of(step)
    return cost.growth(cost.of_sizes(500, function(n)
      return function()
        for i = 1, n do step(n, i) end
      end
    end))
  end

  local function loop(n)
    local sum = 0
    for i = 1, n do sum = sum + i end
    return sum
  end

  it("calls what is linear twice as much", function()
    local growth = growth_of(function() loop(20) end)
    assert.near(2, growth.instructions, 0.1)
    assert.is_nil(growth.touched)
    assert.is_nil(growth.allocated)
  end)

  it("lets n log n pass", function()
    local growth = growth_of(function(n) loop(10 * math.log(n) / math.log(2)) end)
    assert.is_true(growth.instructions > 2.05 and growth.instructions < 2.5, tostring(growth.instructions))
  end)

  it("calls a square four times as much, also where Lua executes little", function()
    local text, list, all = ("x"):rep(2000), nil, nil
    for meter, step in pairs {
      instructions = loop,
      touched = function(n) return text:find("y", #text - n, true) end,
      allocated = function(n, i) all = i == 1 and tostring(n) or all .. "0123456789" end, -- none that is there already
    } do
      assert.near(4, growth_of(step)[meter], 0.2, meter)
    end
    assert.near(4, growth_of(function(_, i)
      list = i == 1 and {} or list
      table.insert(list, 1, i)
    end).touched, 0.2)
  end)

  it("finds the square in a sum", function()
    local function judged(most)
      return cost.complaint(cost.of_sizes(500, function(n)
        return function()
          for _ = 1, n do loop(1000 + most * n) end
        end
      end))
    end
    assert.is_nil(judged(0))
    assert.matches("instructions: ", judged(1))
  end)

  it("does not count what each size costs", function()
    local growth = cost.growth(cost.of_sizes(100, function(n)
      return function() loop(1e6 + 1000 * n) end
    end))
    assert.near(2, growth.instructions, 0.1)
  end)

  it("ends what would go on for ever", function()
    assert.has_error(function() cost.of(function() while true do loop(10) end end, 10000) end,
      "cost: more than 10000 instructions")
    assert.is_nil(debug.gethook())
  end)
end)

-- --- pilots --------------------------------------------------------------------------------------

-- What is measured: a file that knows its N is loaded and started, and runs until `time` is over.
--   programs, sites: of the box       options: of sim.load, or fun(n)       prepare: fun(box, n), not measured
local function pilot(source, o)
  o = o or {}
  return function(n)
    local options = type(o.options) == "function" and o.options(n) or o.options or {}
    local given = { files = options.files, env = { N = tostring(n) } }
    return function()
      local box = boxes.load("local N = tonumber(pilot.env 'N') " .. source, given)
      for name, behaviour in pairs(o.programs or {}) do box:program(name, behaviour) end
      for address, answer in pairs(o.sites or {}) do box:http(address, answer) end
      if o.prepare then o.prepare(box, n) end
      box:start()
      box:advance(o.time or "1m")
      local errors = box:errors()
      if errors[1] and not o.errors then error(errors[1], 0) end
      boxes.forget(box)
    end
  end
end

-- The same in the `run` of the main job, with whose end the pilot ends.
local function task(source, o)
  return pilot(('pilot.job "main" { main = true, run = function() %s end }'):format(source), o)
end

-- What is measured: a file that is not in order is read, and its mistakes are put into words.
local function mistakes(source)
  return function(n)
    local text = type(source) == "function" and source(n) or "local N = tonumber(pilot.env 'N') " .. source
    return function() assert.is_string(boxes.mistakes(text, { env = { N = tostring(n) } })) end
  end
end

local ONCE = { programs = { app = { exit = 0 } } }
local SERVERS = { programs = { app = {} } }

local CHAIN = [[
  local last
  for i = 1, N do
    last = pilot.job("j" .. i) { exec = "app", when = last and last:once "exit_success" or nil }
  end
]]
local CHAIN_BACKWARDS = [[
  for i = N, 1, -1 do
    pilot.job("j" .. i) { exec = "app", when = i > 1 and pilot.job("j" .. i - 1):once "exit_success" or nil }
  end
]]

-- Everything that `check` and `graph` do.
local function checked(source)
  return function(n)
    return function()
      local box = boxes.load("local N = tonumber(pilot.env 'N') " .. source, { env = { N = tostring(n) } })
      check.report(box.app, "pilot.lua")
      mermaid.draw(diagram.of(box.app))
    end
  end
end

-- What `check` warns of.
local function foreseen(source)
  return function(n)
    local text = type(source) == "function" and source(n) or "local N = tonumber(pilot.env 'N') " .. source
    return function()
      local box = boxes.load(text, { env = { N = tostring(n) } })
      outlook.look(box.app)
    end
  end
end

-- A core hands over to the next one, which loads the same file.
local function handed_over(source)
  return function(n)
    return function()
      local options = { env = { N = tostring(n) } }
      local world = sim.world()
      local box = boxes.load("local N = tonumber(pilot.env 'N') " .. source, options, world)
      box:start()
      local data = assert(box.app:snapshot())
      box.app:let_go()
      local heir = boxes.load("local N = tonumber(pilot.env 'N') " .. source, options, world)
      heir.app:restore(data)
      boxes.forget(box)
      boxes.forget(heir)
    end
  end
end

local function secrets(n)
  local map = {}
  for i = 1, n do map["/run/secrets/s" .. i] = "token-" .. i end
  return { files = map }
end

local TRIGGERS = {
  { "jobs", 160, pilot([[ for i = 1, N do pilot.job("j" .. i) { exec = "app" } end ]], ONCE) },
  { "a chain of jobs", 240, pilot(CHAIN, ONCE) },
  { "a chain of jobs that was written backwards", 240, pilot(CHAIN_BACKWARDS, ONCE) },
  { "a chain of jobs, checked and drawn", 200, checked(CHAIN) },
  { "a chain of jobs that was written backwards, checked and drawn", 200, checked(CHAIN_BACKWARDS) },
  { "a chain of servers that end one after the other", 220, pilot([[
      local last
      for i = 1, N do
        last = pilot.job("j" .. i) { exec = "app", when = last and last:once "healthy",
          health = { tcp = "localhost:1", interval = "1h" } }
      end
      pilot.after("10m", pilot.shutdown)
      pilot.shutdown_timeout "10m"
    ]], { programs = { app = { listens = "localhost:1" } }, time = "30m" }) },
  { "jobs that are held by hand and wait for each other", 160, pilot([[
      local jobs = {}
      for i = 1, N do
        jobs[i] = pilot.job("j" .. i) { exec = "app",
          when = i > 2 and pilot.any { jobs[i - 1]:once "exit_failed", jobs[i - 2]:once "exit_failed" } or nil }
      end
      pilot.job "last" { exec = "app", when = pilot.any { jobs[N]:once "exit_failed", jobs[N - 1]:once "exit_failed" } }
      pilot.spawn(function() for i = 1, N do jobs[i]:stop() end end)
    ]], ONCE) },
  { "jobs that wait for any error, while another one restarts", 160, pilot([[
      for i = 1, N do pilot.job("j" .. i) { exec = "app", when = pilot.each "error" } end
      pilot.job "restarts" { exec = "fails", restart = { backoff = 0, limit = N } }
    ]], { programs = { app = { exit = 0 }, fails = { exit = 1 } }, time = "48h" }) },
  { "parts of an all", 160, pilot([[
      local parts = {}
      for i = 1, N do parts[i] = pilot.job("j" .. i) { exec = "app" }:once "exit_success" end
      pilot.job "last" { exec = "app", when = pilot.all(parts) }
    ]], ONCE) },
  { "parts of an any of which none comes", 200, pilot([[
      local parts = {}
      for i = 1, N do parts[i] = pilot.job("j" .. i) { exec = "app" }:once "exit_failed" end
      pilot.job "last" { exec = "app", when = pilot.any(parts) }
    ]], ONCE) },
  { "parts that share their parts", 20, pilot([[
      local part = pilot.any { pilot.job "a" { exec = "app" }:once "exit_success", pilot.once "SIGUSR2" }
      for _ = 1, N do part = pilot.all { part, part } end
      for i = 1, 10 do pilot.job("b" .. i) { exec = "app", when = part } end
    ]], ONCE), 10 },
  { "a chain of jobs that depend on each other, checked and drawn", 200, checked [[
      for i = 1, N do
        pilot.job("j" .. i) { exec = "app", depends_on = i > 1 and { ["j" .. i - 1] = "exit_success" } or nil }
      end
    ]] },
  { "layers of jobs that depend on all of the layer before, checked and drawn", 200, checked [[
      for i = 0, N - 1 do
        local before, layer = {}, math.floor(i / 5)
        for k = 1, layer > 0 and 5 or 0 do before[k] = "j" .. 5 * (layer - 1) + k - 1 end
        pilot.job("j" .. i) { exec = "app", depends_on = before }
      end
    ]] },
  { "a job that depends on all others, checked and drawn", 200, checked [[
      local all = {}
      for i = 1, N do
        pilot.job("j" .. i) { exec = "app" }
        all[i] = "j" .. i
      end
      pilot.job "last" { exec = "app", depends_on = all }
    ]] },
  { "jobs that depend on one, checked and drawn", 200, checked [[
      pilot.job "first" { exec = "app" }
      for i = 1, N do pilot.job("j" .. i) { exec = "app", depends_on = { "first" } } end
    ]] },
  { "parts that share their parts, checked and drawn", 20, checked [[
      local part = pilot.any { pilot.job "a" { exec = "app" }:once "exit_success", pilot.once "SIGUSR2" }
      for _ = 1, N do part = pilot.all { part, part } end
      for i = 1, 10 do pilot.job("b" .. i) { exec = "app", when = part } end
    ]], 10 },
  { "parts that share their parts, handed over", 20, handed_over [[
      local a = pilot.job "a" { exec = "app", when = "manual" }
      local part = pilot.any { a:once "exit_success", pilot.once "SIGUSR2" }
      for _ = 1, N do part = pilot.all { part, part } end
      for i = 1, 10 do pilot.job("b" .. i) { exec = "app", when = part } end
    ]], 10 },
  { "groups inside of groups", 20, pilot([[
      local part = pilot.once "startup"
      for i = 1, N do part = pilot[i % 2 == 0 and "all" or "any"] { part, pilot.each "SIGUSR2" } end
      for i = 1, 10 do pilot.job("b" .. i) { exec = "app", when = part } end
      pilot.after("1s", pilot.shutdown)
    ]], ONCE), 10 },
  { "manual jobs that others depend on, foreseen", 320, foreseen(function(n)
    local lines = {}
    for i = 1, n do
      lines[#lines + 1] = ('do local j%d = pilot.job "j%d" { exec = "app", when = "manual" }'):format(i, i)
      lines[#lines + 1] = ('pilot.job "k%d" { exec = "app", depends_on = { j%d } }'):format(i, i)
      lines[#lines + 1] = ('pilot.after("1s", function() j%d:start() end) end'):format(i)
    end
    return table.concat(lines, "\n")
  end) },
  { "one-shots that servers need, foreseen", 160, foreseen [[
      for i = 1, N do
        local once = pilot.job("once" .. i) { exec = "app" }
        pilot.job("server" .. i) { exec = "app", restart = "always", depends_on = { [once] = "exit_success" } }
      end
      pilot.every("1h", function() end)
    ]] },
  { "jobs that one depends on, and that come one after the other", 200, pilot([[
      local names = {}
      for i = 1, N do
        names[i] = "j" .. i
        pilot.job(names[i]) { exec = "app", prepare = function() pilot.sleep(i * 0.001) end }
      end
      pilot.job "last" { exec = "app", depends_on = names }
    ]], SERVERS) },
  { "jobs that one depends on, and that end one after the other", 200, pilot([[
      local ends = {}
      for i = 1, N do
        ends["j" .. i] = "exit_success"
        pilot.job("j" .. i) { run = function() pilot.sleep(i * 0.001) end }
      end
      pilot.job "last" { exec = "app", depends_on = ends }
    ]], SERVERS) },
  { "a chain of jobs of which the first fails", 160, pilot([[
      pilot.job "j0" { exec = "fails" }
      for i = 1, N do pilot.job("j" .. i) { exec = "app", depends_on = { ["j" .. i - 1] = "exit_success" } } end
    ]], { programs = { app = { exit = 0 }, fails = { exit = 1 } } }) },
  { "jobs that are bound to one that is restarted, and end slowly in turn", 160, pilot([[
      local db = pilot.job "db" { exec = "app" }
      for i = 1, N do
        pilot.job("j" .. i) { depends_on = { db }, bind = true, run = function()
          pilot.defer(function() pilot.sleep(i * 0.001) end)
          pilot.sleep "1h"
        end }
      end
      pilot.after("1s", function() db:restart() end)
    ]], SERVERS) },
  { "jobs, handed over", 160, handed_over [[
      for i = 1, N do pilot.job("j" .. i) { exec = "app", when = "manual" } end
    ]] },
  { "a state whose parts are shared, handed over", 20, handed_over [[
      pilot.on("SIGUSR2", function() end)
      local part = { 1 }
      for _ = 1, N do
        part = { part, part }
        for i = 1, 50 do part[#part + 1] = { i } end
      end
      pilot.state.part = part
    ]], 50 },
}

local FILES = {
  { "jobs that nobody described", 200, mistakes [[
      for i = 1001, 1000 + N do pilot.job("j" .. i) { exec = "app" } end
      for i = 1001, 1000 + N do pilot.job("k" .. i) end
    ]] },
  { "templates that nobody described", 220, mistakes [[
      for i = 1001, 1000 + N do pilot.template("/t" .. i) { text = "x" } end
      for i = 1001, 1000 + N do pilot.template("/u" .. i) end
    ]] },
  { "jobs in a circle", 200, mistakes [[
      for i = 1, N do pilot.job("j" .. i) { exec = "app", when = pilot.job("j" .. i % N + 1):once "exit_success" } end
    ]] },
  { "jobs that wait for one that waits for itself", 200, mistakes [[
      for i = 1, N do
        pilot.job("j" .. i) { exec = "app", when = pilot.job("j" .. math.max(1, i - 1)):once "exit_success" }
      end
    ]] },
  { "undefined globals", 200, mistakes(function(n)
    local lines = {}
    for i = 1, n do lines[i] = ("do local l%d = g%d end"):format(1000 + i, 1000 + i) end
    return table.concat(lines, "\n")
  end) },
  { "modules that are named only when they are loaded", 100, pilot([[
      for i = 1, N do require("m" .. i) end
      pilot.job "app" { exec = "app" }
    ]], { programs = ONCE.programs, options = function(n)
      local map = {}
      for i = 1, n do map["/pilot/m" .. i .. ".lua"] = ("g%d = 1 return g%d"):format(i, i) end
      return { files = map }
    end }) },
}

local TASKS = {
  { "tasks side by side, until the shutdown", 200, pilot [[
      pilot.spawn(function()
        for _ = 1, N do pilot.spawn(pilot.sleep, "1h") end
        pilot.sleep "1s"
        pilot.shutdown()
      end)
    ]] },
  { "tasks inside of each other, cancelled", 200, task [[
      local function nest(n)
        if n > 0 then pilot.spawn(nest, n - 1) end
        pilot.sleep "1h"
      end
      local top = pilot.spawn(nest, N)
      pilot.sleep "1s"
      top:cancel()
    ]] },
  { "tasks inside of each other that leave their children, the outermost first", 200, task [[
      local function nest(n)
        pilot.spawn(pilot.sleep, "1h")
        if n > 0 then pilot.spawn(nest, n - 1) end
      end
      nest(N)
      pilot.sleep "1s"
    ]] },
  { "tasks inside of each other that leave their children, the innermost first", 200, task [[
      local function nest(n)
        pilot.spawn(pilot.sleep, "1h")
        if n > 0 then pilot.spawn(nest, n - 1):wait() end
      end
      nest(N)
    ]] },
  { "tasks inside of each other that fail", 400, task [[
      local function nest(n)
        if n > 0 then return pilot.spawn(nest, n - 1):wait() end
        error "x"
      end
      pcall(nest, N)
    ]] },
  { "tasks that wait for one, and give up", 200, task [[
      local one = pilot.spawn(pilot.sleep, "1h")
      for _ = 1, N do pilot.spawn(function() one:wait "1s" end) end
      pilot.sleep "2s"
    ]] },
  { "tasks that wait for one job, and give up", 200, pilot([[
      local app = pilot.job "app" { exec = "app" }
      pilot.spawn(function()
        for _ = 1, N do
          pilot.spawn(function() app:wait_for("exit_failed", "1s") end)
          pilot.spawn(function() app:next("exit_failed", "1s") end)
        end
        pilot.sleep "2s"
        pilot.shutdown()
      end)
    ]], SERVERS) },
  { "streams of one task", 120, task([[
      for _ = 1, N do
        local stream = pilot.http.stream "http://web/"
        for _ in stream:lines() do end
      end
    ]], { sites = { ["http://web/"] = { body = "a\nb\n" } } }) },
  { "pieces of a stream", 200, task([[
      for _ in pilot.http.stream "http://web/":lines() do end
    ]], { prepare = function(box, n)
      local pieces = {}
      for i = 1, n do pieces[i] = "half a line, " end
      box:http("http://web/", { body = pieces })
    end }) },
  { "connections of one task", 240, task([[
      for _ = 1, N do
        local s = pilot.net.connect "db:1"
        s:write "PING\n"
        s:read_line()
      end
    ]], { prepare = function(box) box:server("db:1", { PING = "PONG\n" }) end }) },
  { "lines of a connection", 4000, task([[
      for _ in pilot.net.connect "db:1":lines() do end
    ]], { prepare = function(box, n)
      box:server("db:1", function(conn) conn:write(("a line\n"):rep(n)) end)
    end }) },
  { "pieces of a line of a connection", 200, task([[
      pilot.net.connect("db:1", { max_line = "10M" }):read_line()
    ]], { prepare = function(box, n)
      box:server("db:1", function(conn)
        for _ = 1, n do
          conn:write "part"
          conn:sleep "5ms"
        end
      end)
    end }) },
  { "bytes that are written", 256, task([[
      local parts = {} -- no two are equal, nor those of two sizes: Lua would keep them once. And few: the table of all
      for i = 1, 2 * N do parts[i] = ("%016d%016d"):format(N, i):rep(32) end -- strings grows by leaps.
      pilot.net.connect "db:1":write(table.concat(parts))
    ]], { prepare = function(box)
      box:server("db:1", function(conn)
        repeat conn:sleep "1ms" until not conn:read()
      end)
    end }) },
  { "requests", 200, task([[ for _ = 1, N do pilot.http.get "http://web/" end ]],
    { sites = { ["http://web/"] = 200 } }) },
  { "programs that are run", 100, task([[ for _ = 1, N do pilot.exec "app" end ]], ONCE) },
  { "programs at a time", 150, task([[
      for _ = 1, N do pilot.spawn(pilot.exec, "app") end
      pilot.sleep "1s"
    ]], ONCE) },
}

local THINGS = {
  { "timers", 200, pilot [[ for i = 1, N do pilot.after(i / 100, function() end) end ]] },
  { "timers that are cancelled", 200, task [[
      local timers = {}
      for i = 1, N do timers[i] = pilot.after("1h", function() end) end
      for i = 1, N do
        timers[i]:cancel()
        if i % 10 == 0 then pilot.sleep(0) end
      end
    ]] },
  { "timers that are cancelled when they are due", 200, task [[
      local timers = {}
      for i = 1, N do
        timers[i] = pilot.after("1s", function() for j = i + 1, math.min(i + 5, N) do timers[j]:cancel() end end)
      end
      pilot.sleep "2s"
    ]] },
  { "intervals", 120, pilot([[
      for i = 1, N do pilot.every("1s", function() end) end
      pilot.after("3s", pilot.shutdown)
    ]]) },
  { "subscriptions to one event", 200, task([[
      for _ = 1, N do pilot.on("enter_maintenance", function() end) end
      pilot.maintenance(true)
      pilot.sleep "1s"
    ]]) },
  { "subscriptions that are cancelled", 200, task [[
      local all = {}
      for i = 1, N do all[i] = pilot.on("SIGUSR2", function() end) end
      for i = 1, N do
        all[i]:cancel()
        if i % 10 == 0 then pilot.sleep(0) end
      end
    ]] },
  { "secrets, and lines meanwhile", 200, task([[
      for i = 1, N do
        pilot.secret("s" .. i)
        pilot.log.info("a line of the log", { field = "and a field" })
        if i % 100 == 0 then pilot.sleep(0) end
      end
    ]], { options = secrets }) },
  { "readings of one secret, and lines meanwhile", 200, task([[
      for i = 1, N do
        pilot.secret "s1"
        pilot.log.info("a line of the log", { field = "and a field" })
        if i % 100 == 0 then pilot.sleep(0) end
      end
    ]], { options = function() return secrets(1) end }) },
  { "secrets in one line", 200, function(n)
    local all, line = masks.new(), {}
    for i = 1, n do
      all:add("token-" .. i)
      line[i] = "token-" .. i
    end
    line = table.concat(line, " ")
    return function() assert.is_nil(all:cover(line):find "token") end
  end },
  { "a long secret, and a line that begins as it does everywhere", 2000, function(n)
    local all = masks.new()
    for i = 1, 20 do all:add("other-" .. i) end
    all:add(("-"):rep(24) .. ("s3cr3t "):rep(n))
    local line = ("-"):rep(10 * n)
    return function() assert.equal(line, all:cover(line)) end
  end },
  { "lines of a secret, each longer than the one before, and a line that begins as they do everywhere", 250, function(n)
    local all, lines = masks.new(), {}
    for i = 1, n do lines[i] = ("-"):rep(8) .. ("s3cr3t-"):rep(i) end
    all:add(table.concat(lines, "\n"))
    local line = ("-"):rep(4 * n)
    return function() assert.equal(line, all:cover(line)) end
  end },
  { "fields of a line", 16, task [[
      local fields = {}
      for i = 1, N do fields["field" .. i] = i end
      for _ = 1, 100 do pilot.log.info("a line", fields) end
    ]], 100 },
  { "events that wait for a handler", 100, pilot([[
      pilot.on("enter_maintenance", function() pilot.sleep "1ms" end)
      pilot.spawn(function()
        for _ = 1, N do
          pilot.maintenance(true)
          pilot.maintenance(false)
        end
      end)
      pilot.after("10s", pilot.shutdown)
    ]]) },
  { "lines that a handler hears", 200, pilot([[
      pilot.job "app" { exec = "app" }:on("output", function() end)
    ]], { prepare = function(box, n)
      box:program("app", function(proc)
        for i = 1, n do proc:print("line " .. i) end
      end)
    end }) },
  { "pieces of a line that a handler hears", 100, pilot([[
      pilot.job "app" { exec = "app" }:on("output", function() end)
    ]], { prepare = function(box, n)
      box:program("app", function(proc)
        for _ = 1, n do proc:write(("x"):rep(100)) end
        proc:print ""
      end)
    end }) },
  { "restarts of a job", 160, pilot([[
      pilot.job "app" { exec = "app", restart = { backoff = 0, limit = N } }
    ]], { programs = { app = { exit = 1 } }, time = "48h" }) },
  { "errors of handlers", 200, task([[
      for i = 1, N do pilot.spawn(function() error("e" .. i) end) end
      pilot.sleep "1s"
    ]], { errors = true }) },
}

-- Services are registered, by a registrar alone: the simulated Consul would take most of the time.
local function registered(n)
  local asked, nothing = {}, function() end
  local app = {
    consul = {
      options = { max_connections = 150 }, when_renewed = nothing, granted = nothing,
      crowded = { works = nothing, forget = nothing },
    },
    watches = {}, watch_drafts = {}, order = {}, loop = { after = nothing, cancel = nothing },
    port = { now = function() return 0 end, random = math.random }, log = nothing,
  }
  function app.consul.send(_, _, done)
    asked[#asked + 1] = done
    return nothing
  end
  return function()
    local one = registrar.new(app, { when_back = nothing, works = nothing })
    for i = 1, n do
      one:wanted { id = "s" .. i, ttl = 30, want = {
        status = "passing", output = "", registration = { ID = "s" .. i, Name = "s", Tags = {}, Check = {} },
      } }
    end
    local answered = 0
    while asked[answered + 1] do
      answered = answered + 1
      asked[answered] { status = 200, body = "" }
    end
    assert.is_true(answered >= n)
  end
end

local SERVICES = {
  { "services", 280, pilot([[
      for i = 1, N do
        pilot.job("j" .. i) { exec = "app", service = { name = "s" .. i, port = i, interfaces = "static:10.0.0.1" } }
        pilot.watch("s" .. i):on("changed", function() end)
      end
      pilot.after("2s", pilot.shutdown)
    ]], SERVERS) },
  { "instances of a service", 280, pilot([[
      pilot.watch "web":on("changed", function() end)
      for i = 1, N do
        pilot.job("j" .. i) { exec = "app",
          service = { name = "web", id = "w" .. i, port = i, interfaces = "static:10.0.0.1" } }
      end
      pilot.after("2s", pilot.shutdown)
    ]], SERVERS) },
  { "services in Consul", 200, registered },
  { "instances in Consul", 200, pilot([[
      pilot.consul "consul:8500"
      pilot.watch "web":on("changed", function() end)
      pilot.after("10s", pilot.shutdown)
    ]], { prepare = function(box, n)
      for i = 1, n do box.consul:add("web", ("10.0.%d.%d"):format(math.floor(i / 200), i % 200 + 1)) end
    end }) },
  { "keys in Consul", 200, pilot([[
      pilot.consul "consul:8500"
      pilot.watch.prefix "app/":on("changed", function() end)
      pilot.after("10s", pilot.shutdown)
    ]], { prepare = function(box, n)
      for i = 1, n do box.consul:put("app/key" .. i, "value") end
    end }) },
  { "templates", 150, pilot([[
      for i = 1, N do pilot.template("/etc/t" .. i) { text = "0" } end
      pilot.after("1s", pilot.shutdown)
    ]]) },
  { "templates of one watch", 150, pilot([[
      local web = pilot.watch "web"
      for i = 1, N do
        pilot.template("/etc/t" .. i) { text = "<%= #web %>", data = function() return { web = web.instances } end,
          watch = web }
      end
      pilot.after("1s", pilot.shutdown)
    ]]) },
}

-- --- the cases -----------------------------------------------------------------------------------

-- The figures with a walk over all for each on top, by meter.
local function with_walks(costs, times)
  local list = {}
  for i, each in ipairs(costs) do
    list[i] = { n = each.n }
    for meter, size in pairs(WALK) do list[i][meter] = each[meter] + times * size * each.n ^ 2 end
  end
  return list
end

-- times: how often what is doubled is gone through in one measurement
local function doubles(name, n, prepare, times)
  it(name, function()
    local costs = cost.of_sizes(n, prepare, MOST)
    local complaint = cost.complaint(costs)
    if complaint then error(complaint, 0) end
    for meter, growth in pairs(cost.growth(with_walks(costs, times or 1))) do
      assert.is_true(growth > cost.MOST, ("a walk would not show in %s (%.2f): larger sizes are needed"):format(meter,
        growth))
    end
  end)
end

-- 3,960 instructions while all fields that a job may have were looked for, and its place was asked of each level of the
-- stack by its text; 2,770 since.
describe("a job that is checked", function()
  it("costs what its own fields cost", function()
    local costs = cost.of_sizes(500, checked [[
      for i = 1, N do
        pilot.job("j" .. i) { exec = "app", depends_on = i > 1 and { ["j" .. i - 1] = "exit_success" } or nil }
      end
    ]], MOST)
    local each = (costs[3].instructions - costs[2].instructions) / (costs[3].n - costs[2].n)
    assert.is_true(each < 3200, tostring(each))
  end)

  it("may be the last of 10,000 in a chain, whichever way that is written", function()
    for _, source in ipairs { CHAIN, CHAIN_BACKWARDS } do checked(source)(10000)() end
  end)
end)

for title, cases in pairs {
  ["jobs and triggers"] = TRIGGERS, ["mistakes and files"] = FILES, tasks = TASKS, ["what a task holds"] = THINGS,
  ["what others find"] = SERVICES,
} do
  describe("twice as many are twice the work: " .. title, function()
    for _, case in ipairs(cases) do doubles(unpack(case)) end
  end)
end
