-- acts: what the tasks of a soak's pilot do, well and badly. Each act is a function that may wait, and may raise what
-- begins with "planned"; `try` calls what may fail while the world is bad. Where an answer is wrong and not only
-- missing, the act says "soak fault" in the log, and tools/soak counts that.

local pilot = require "luapilot"
local ffi = require "ffi"
local jobs = require "jobs"
local place = require "place"

ffi.cdef [[
  int pipe2(int ends[2], int flags);
  int close(int fd);
  ssize_t read(int fd, void *data, size_t size);
  ssize_t write(int fd, const void *data, size_t size);
]]

local NONBLOCK_CLOEXEC = 2048 + 524288

local acts = {}  -- name → function
local wrong = {} -- the same: those that hold the loop for longer, and so are rare

local random = math.random

local function fault(text, ...) pilot.log.error("soak fault: " .. text:format(...)) end

-- What it returns; nil when it raised.
local function try(fn, ...)
  local ok, result = pcall(fn, ...)
  return ok and result or nil
end

local function pick(list) return list[random(#list)] end

local VICTIMS = {
  "manual-1", "manual-2", "steady-1", "steady-2", "slow", "too-slow", "lua-good", "lua-deaf", "prepared", "web",
  "seq-out", "forker", "deaf", "limited",
}

local function victim() return jobs.by_name[pick(VICTIMS)].object end

-- --- programs --------------------------------------------------------------------------------------

function acts.filter()
  local text = ("%d "):format(random(1e6)):rep(random(0, 30000))
  local result = try(pilot.exec, place.extra("stdin", "echo"), { stdin = text, timeout = "3s", check = false })
  if result and result.code == 0 and result.stdout ~= text then
    fault("%d bytes were fed to a program, and %d others came back", #text, #result.stdout)
  end
end

function acts.program_too_long()
  local result = try(pilot.exec, place.extra "hang", { timeout = random() / 2, check = false })
  local expected = not result or result.code == 124 or result.signal
  if not expected then fault("a program over its time has code %d", result.code) end
end

function acts.program_missing()
  if pcall(pilot.exec, "/nowhere/to/be/found") then fault "a program that does not exist was run" end
end

function acts.program_too_loud()
  if pcall(pilot.exec, place.extra("burst", "long", 1), { max_output = "1M" }) then fault "endless output has ended" end
end

function acts.program_of_a_group()
  try(pilot.exec, pilot.sh("sleep 0.1 & setsid sleep 0.3 & exit 3"), { check = false, timeout = "2s" })
end

-- --- HTTP ------------------------------------------------------------------------------------------

local function get(path, options) return try(pilot.http.get, jobs.server .. path, options) end

function acts.http_good()
  local answer = get("/ok", { timeout = "1s" })
  if answer and answer.body ~= "ok" then fault("the body is %q", answer.body) end
end

function acts.http_big()
  local answer = get("/big", { timeout = "2s" })
  if answer and #answer.body ~= 2 ^ 20 then fault("a megabyte has %d bytes", #answer.body) end
end

function acts.http_bad()
  local path = pick { "/cut", "/garbage", "/hang" }
  if get(path, { timeout = "300ms" }) then fault("%s has been answered", path) end
  if get("/big", { timeout = "1s", max_body = "64K" }) then fault "a body above its bound came" end
end

function acts.http_retried()
  get("/500", { retry = random() * 2, timeout = "200ms" })
  try(pilot.http.get, "http://127.0.0.1:1/", { retry = random() })
end

function acts.http_stream()
  local stream = try(pilot.http.stream, jobs.server .. "/stream", { timeout = "1s" })
  if not stream then return end
  local lines = 0
  try(function()
    for line in stream:lines() do
      lines = lines + 1
      if line ~= "" and not line:find '^{"a":"line of it all"}\r?$' then fault("a stream says %q", line) end
      if lines > random(40) then break end
      if random() < 0.1 then pilot.sleep(random() / 3) end
    end
  end)
  if random() < 0.5 then try(stream.close, stream) end
end

-- --- jobs ------------------------------------------------------------------------------------------

function acts.restart() local job = victim() try(job.restart, job) end
function acts.stop() local job = victim() try(job.stop, job) end
function acts.start() local job = victim() try(job.start, job) end

function acts.all_at_once()
  local job = victim()
  for _ = 1, random(6) do
    local what = pick { "restart", "stop", "start" }
    pilot.spawn(function() try(job[what], job) end)
    if random() < 0.3 then pilot.sleep(random() / 10) end
  end
end

function acts.signal()
  local job = victim()
  try(job.signal, job, pick { "SIGTERM", "SIGKILL", "SIGHUP", "SIGCONT", "SIGUSR1", "SIGRTMIN+3" })
end

function acts.reload()
  local job = jobs.by_name[pick { "manual-1", "manual-2" }].object
  for _ = 1, random(5) do try(job.reload, job) end
end

function acts.wait()
  local job = victim()
  try(job.wait_for, job, pick { "running", "stopped", "exited", "healthy", "exit_failed" }, random() * 2)
  try(job.next, job, pick { "stopped", "exit_failed", "healthy", "stopping", "output" }, random())
end

function acts.maintenance()
  local job = jobs.by_name[pick { "web", "tcp" }].object
  pilot.defer(function() job:maintenance(false) end)
  job:maintenance(true, "a soak")
  pilot.sleep(random())
end

function acts.tags() jobs.by_name.web.object:set_tags { "tag-" .. random(3) } end

-- --- files -----------------------------------------------------------------------------------------

-- Whole, whatever the disk does: a file is the old one or the new one.
function acts.write()
  local path, length = place.disk .. "/written", random(0, 200000)
  try(pilot.fs.write, path, ("%d "):format(length) .. ("w"):rep(length))
  local text = try(pilot.fs.read, path)
  local told, rest = (text or "0 "):match "^(%d+) (w*)$"
  if tonumber(told) ~= #(rest or "") then fault("half a file: %d bytes, it says %s", #text, tostring(told)) end
end

function acts.render()
  local path, by_copy = place.disk .. "/rendered", random() < 0.5
  try(pilot.render, {
    text = "<% for i = 1, count do %>\nline <%= i %>\n<% end %>\nend\n", data = { count = random(3000) }, to = path,
    validate = by_copy and place.extra("validate", "{file}") or place.extra("verdict", 30),
  })
  local text = try(pilot.fs.read, path)
  if text and text:sub(-4) ~= "end\n" then fault("half a rendered file: %d bytes", #text) end
end

function acts.template()
  jobs.renew()
  try(jobs.config.render, jobs.config)
end

-- --- tasks -----------------------------------------------------------------------------------------

local function any_wait()
  pick {
    function() pilot.sleep "10s" end,
    function() pilot.exec(place.extra "hang") end,
    function() pilot.http.get(jobs.server .. "/hang") end,
    function() victim():wait_for "unhealthy" end,
    function() victim():next "output" end,
    function() for _ in pilot.http.stream(jobs.server .. "/stream"):lines() do pilot.sleep(0.05) end end,
    function() pilot.timeout("5s", pilot.sleep, "10s") end,
    function() victim():restart() end,
  }()
end

function acts.cancel()
  local task = pilot.spawn(function() try(any_wait) end)
  pilot.sleep(random() / 4)
  task:cancel()
  if select(2, task:wait "30s") == "timeout" then fault "a cancelled task has not ended in 30 s" end
end

function acts.timeout()
  pilot.timeout(random() / 3, function() try(any_wait) end)
end

function acts.family()
  local child
  local parent = pilot.spawn(function()
    for _ = 1, random(20) do child = pilot.spawn(pilot.sleep, 10) end
    pilot.sleep(random() / 10)
  end)
  pilot.sleep(random() / 10)
  parent:cancel()
  parent:wait "5s"
  child:cancel()
end

function acts.deaf_to_cancel()
  local task = pilot.spawn(function()
    for _ = 1, 6 do pcall(pilot.sleep, 10) end
  end)
  pilot.sleep(0.01)
  task:cancel()
  task:wait "5s"
end

function acts.deferred()
  pilot.spawn(function()
    pilot.defer(function() error "planned: a deferred function that raises" end)
    pilot.defer(function() pilot.sleep(0.05) end)
  end):wait()
end

function acts.timers()
  local timers = { pilot.every("1ms", function() end), pilot.after("1h", function() end),
    pilot.cron("* * * * *", function() end) }
  for i = 1, 20 do timers[#timers + 1] = pilot.after(i / 1000, function() end) end
  pilot.sleep(random() / 20)
  for _, timer in ipairs(timers) do timer:cancel() end
end

function acts.subscriptions()
  local list = {}
  for i, event in ipairs { "output", "healthy", "exit_failed", "stopped" } do
    list[i] = victim():on(event, { when_busy = pick { "queue", "latest", "drop", "restart", "parallel" } },
      function() pilot.sleep(random() / 20) end)
  end
  pilot.sleep(random() / 2)
  for _, subscription in ipairs(list) do subscription:cancel() end
end

function acts.poll()
  local ends, byte, heard = ffi.new "int[2]", ffi.new "char[1]", 0
  if ffi.C.pipe2(ends, NONBLOCK_CLOEXEC) ~= 0 then return end
  local reading = pilot.poll(ends[0], "r", function()
    heard = heard + tonumber(ffi.C.read(ends[0], byte, 1))
  end)
  for _ = 1, 5 do
    ffi.C.write(ends[1], byte, 1)
    pilot.sleep(0.01)
  end
  reading:cancel()
  ffi.C.close(ends[0])
  ffi.C.close(ends[1])
end

function acts.log()
  pilot.log.info("planned: " .. pick { "", "two\nlines", "\0\1\255", ("x"):rep(100000) }, { a = 1, b = true, c = "\n" })
  print("planned", nil, {}, 1 / 0)
end

function acts.watch()
  try(jobs.watch.wait_for, jobs.watch, "unhealthy", random())
  try(jobs.watch.next, jobs.watch, "changed", random())
end

-- --- what goes wrong -------------------------------------------------------------------------------

function acts.raise()
  error(pick { "planned: a raise", { planned = true } })
end

function acts.raise_what_cannot_be_told()
  error(setmetatable({}, { __tostring = function() error "planned" end }))
end

function acts.wait_where_none_can()
  table.sort({ 3, 2, 1 }, function() pilot.sleep "1s" end)
end

function acts.bad_finaliser()
  getmetatable(newproxy(true)).__gc = function() error "planned: a finaliser that raises" end
end

function wrong.deep()
  local function down(n) return 1 + down(n + 1) end
  down(1)
end

function wrong.deep_in_c()
  local function again() return (("x"):gsub("x", again)) end
  again()
end

function wrong.deep_in_coroutines()
  local function again() return coroutine.wrap(again)() end
  again()
end

function wrong.endless_loop()
  while true do pcall(function() while true do end end) end -- luacheck: ignore 512
end

function wrong.all_memory()
  local t = {}
  while true do t[#t + 1] = ("x"):rep(1000) .. #t end
end

return { plain = acts, wrong = wrong, try = try }
