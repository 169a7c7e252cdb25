-- What a pilot must not keep: the heap after ten thousand of each operation is as large as after half of them.
--
-- Bytes are counted, after full collections, not handles: what hangs on a task, a subscription or a closure has no
-- handle. Something kept in a list or a table is 8 to 40 bytes an operation; less than two may be left.

local boxes = require "support.boxes"
local heap = require "support.heap"
local stub_pilot = require "support.stub_pilot"

local COUNT = 10000
local MOST = 2 -- bytes an operation

-- Operations, each a function(i) in a pilot.lua.
local OPERATIONS = [[
  local operations = {}

  -- tasks
  function operations.spawn() pilot.spawn(function() end) end
  function operations.spawn_and_wait() pilot.spawn(function() return 1 end):wait() end
  function operations.spawn_in_spawn() pilot.spawn(function() pilot.spawn(function() end) end) end
  function operations.timeout() pilot.timeout("10s", function() return 1 end) end
  function operations.timeout_that_is_over() pilot.timeout("1ms", pilot.sleep, "1h") end
  function operations.cancelled_task()
    local t = pilot.spawn(pilot.sleep, "1h")
    pilot.sleep(0)
    t:cancel()
  end
  local long
  function operations.wait_for_another_task()
    long = long or pilot.spawn(pilot.sleep, "10000h")
    long:wait(0)
  end
  function operations.defer() pilot.spawn(function() pilot.defer(function() end) end):wait() end
  function operations.error(i) pilot.spawn(function() error("e" .. i .. ("x"):rep(1000)) end) end
  function operations.error_with_a_long_message(i) pilot.spawn(function() error(("x"):rep(100000) .. i) end) end
  function operations.error_that_is_caught(i)
    local t = pilot.spawn(function() error { i } end)
    pcall(t.wait, t)
  end
  function operations.coroutine_wrap() coroutine.wrap(function() pilot.sleep(0) end)() end
  function operations.coroutine_that_is_left() coroutine.resume(coroutine.create(function() coroutine.yield() end)) end
  function operations.chunk(i) load("local pilot = ... pilot.spawn(function() end)", "=chunk" .. i)(pilot) end

  -- timers and subscriptions
  function operations.after() pilot.after(0, function() end) end
  function operations.after_and_cancel() pilot.after("1h", function() end):cancel() end
  function operations.every_and_cancel() pilot.every("1h", function() end):cancel() end
  function operations.cron_and_cancel() pilot.cron("0 3 * * *", function() end):cancel() end
  function operations.on_and_cancel()
    pilot.on("SIGUSR2", { settle = "1s", timeout = "1s" }, function() end):cancel()
  end

  -- jobs
  local app = pilot.job "app" { exec = "app" }
  function operations.wait_for() app:wait_for("exit_failed", 0) end
  function operations.next() app:next("exit_failed", 0) end
  function operations.next_output() app:next("output", 0) end
  function operations.signal() app:signal "SIGUSR2" end
  function operations.restart() app:restart() end
  function operations.stop_and_start()
    app:stop()
    app:start()
  end

  -- programs, the web, files, secrets, lines
  function operations.exec() pilot.exec "true" end
  function operations.exec_that_fails() pcall(pilot.exec, "false") end
  function operations.get() pilot.http.get "http://web/" end
  function operations.get_in_vain() pcall(pilot.http.get, "http://down/") end
  function operations.stream() for _ in pilot.http.stream "http://web/":lines() do end end
  function operations.stream_that_is_closed() pilot.http.stream "http://web/":close() end
  function operations.stream_of_a_task_that_ends()
    pilot.spawn(function() pilot.http.stream "http://web/" end):wait()
  end
  local function ping(s)
    s:write "PING\n"
    return s:read_line()
  end
  function operations.connection()
    local s = pilot.net.connect "db:1"
    ping(s)
    s:close()
  end
  function operations.connection_of_a_task_that_ends()
    pilot.spawn(function() ping(pilot.net.connect "db:1") end):wait()
  end
  function operations.connection_in_vain() pcall(pilot.net.connect, "unix:/run/down.sock") end
  local open
  function operations.line_of_a_connection()
    open = open or pilot.net.connect "db:1"
    ping(open)
  end
  function operations.render(i) pilot.render { text = "a <%= i %>", to = "/etc/rendered", data = { i = i } } end
  local file = pilot.template "/etc/template" { text = "x" }
  function operations.template_render() file:render() end
  function operations.fs(i)
    pilot.fs.write("/etc/file", tostring(i))
    pilot.fs.read "/etc/file"
  end
  function operations.secret() pilot.secret "constant" end
  function operations.secret_that_changes(i)
    pilot.fs.write("/run/secrets/changes", "token-" .. i)
    pilot.secret "changes"
  end
  function operations.log_line(i) pilot.log.info("line " .. i, { i = i }) end
  function operations.json(i) pilot.json.decode(pilot.json.encode { i }) end

  -- what others find
  local service = pilot.job "service" { run = function() pilot.sleep "10000h" end,
    service = { port = 1, interfaces = "static:10.0.0.1" } }
  local found = pilot.watch "service"
  found:on("changed", function() end)
  function operations.watch_change()
    service:maintenance(true)
    pilot.sleep(0)
    service:maintenance(false)
    pilot.sleep(0)
  end
  function operations.watch_next() found:next("changed", 0) end
  function operations.set_tags(i) service:set_tags { "tag-" .. i } end
  function operations.maintenance()
    pilot.maintenance(true)
    pilot.maintenance(false)
  end

  -- the measure itself
  local kept = {}
  function operations.leak(i) kept[#kept + 1] = i end
  function operations.small_leak(i) if i % 10 == 0 then kept[#kept + 1] = {} end end
]]

-- Each is a job that does as many of its operation as pilot.state says, and lets the world speak now and then. All in
-- one task, which lives on: what hangs on a task is gone with it.
local JOBS = [[
  local function rounds(operation)
    return function()
      while true do
        for i = 1, pilot.state.count do
          operation(i)
          if i % 100 == 0 then pilot.sleep(0) end
        end
        pilot.state.count = 0
        repeat pilot.sleep "1s" until pilot.state.count > 0
      end
    end
  end
  for name, operation in pairs(operations) do
    pilot.job((name:gsub("_", "-"))) { when = "manual", run = rounds(operation) }
  end
]]

local function run_box()
  local box = boxes.load(OPERATIONS .. JOBS, {
    files = { ["/run/secrets/constant"] = "constant-token", ["/run/secrets/changes"] = "token" },
  })
  for name, behaviour in pairs {
    app = {}, ["true"] = { exit = 0, stdout = "fine\n" }, ["false"] = { exit = 1, stderr = "bad\n" },
  } do box:program(name, behaviour) end
  box:http("http://web/", { body = "a\nb\n" })
  box:http("http://down/", "down")
  box:server("db:1", { PING = "PONG\n" })
  box:tcp("unix:/run/down.sock", "down")
  return box:start()
end

describe("the heap", function()
  local box

  setup(function() box = run_box() end)
  teardown(function()
    boxes.forget(box)
    box = nil
  end)

  local function tell(name, input)
    local runner = box.app.jobs[name]
    box.app:command(function() runner:input(input, { again = input == "start" and "user" or nil }) end)
    box.app.loop:rest()
  end

  -- So many times, and what that sets in motion.
  local function go(name, count)
    box.app.state.count = count
    if not box:job(name).running then tell(name, "start") end
    box:run_until(function() return box.app.state.count == 0 end)
    box:advance "500ms"
    assert.is_true(box:job(name).running)
  end

  -- Bytes that are left of each, after as many as were done before. Lists grow by doubling, so one that keeps something
  -- of each operation is larger whenever their number has doubled. Other tables (LuaJIT's own one of all strings, too)
  -- become larger once, for what is there at a time: then the same is asked with twice as many.
  local function growth_of(name)
    local job, done, growth = name:gsub("_", "-"), COUNT / 2
    go(job, done)
    local before = heap.bytes(box)
    repeat
      go(job, done)
      local after = heap.bytes(box)
      growth, before, done = (after - before) / done, after, 2 * done
    until growth < MOST or done > 2 * COUNT
    tell(job, "stop")
    box:advance "1s"
    return growth
  end

  for name in OPERATIONS:gmatch "function operations%.([%w_]+)" do
    if name:find "leak" then
      it("would grow by a " .. name:gsub("_", " "), function() assert.is_true(growth_of(name) > MOST) end)
    else
      it(("does not grow by %d × %s"):format(COUNT, (name:gsub("_", " "))), function()
        local growth = growth_of(name)
        assert.is_true(growth < MOST, ("%.1f bytes are left of each"):format(growth))
      end)
    end
  end
end)

describe("a job that runs", function()
  local MANY = 1000
  -- Bytes of the core, each with what it says in the file. It was 2,500 when each had a trigger, defaults and closures
  -- of its own. A table of nine fields has room for sixteen: one field more may be 192 bytes.
  local MOST_A_JOB = 1250

  local RUNNING = [[
    local pilot = require "luapilot"
    for i = 1, %d do pilot.job("job-" .. i) { exec = { "/srv/app" }, restart = "never" } end
  ]]

  local kept -- it must live while it is weighed

  -- What lives with so many of them. What the stub of the port keeps is not the core's.
  local function live(count)
    kept = stub_pilot.load(RUNNING:format(count)):start()
    assert.equal("running", kept:state("job-" .. count))
    kept.world.calls, kept.world.logs, kept.world.handles, kept.events = {}, {}, {}, {}
    return heap.live()
  end

  it("takes little memory, and so do a thousand", function()
    live(1) -- what is loaded once
    local one = live(1)
    local each = (live(1 + MANY) - one) / MANY
    kept = nil
    assert.is_true(each < MOST_A_JOB, ("%.0f bytes of Lua heap for each job"):format(each))
  end)
end)
