-- prober: runs the checks of one job while its process lives.
--
--   http     a request and the status of its answer
--   tcp      a connection opened and closed       exec     a program that must end with 0
--   check    a Lua function in a task             notify   what the job itself says (sd_notify)
--
-- It owns the timers, processes and tasks of the checks under way, one at a time for each check. What results
-- mean is health.lua's; what follows from it is job.lua's.

local health = require "luapilot.health"
local lazy = require "luapilot.lazy"
local task = require "luapilot.task"

local exchange = lazy.require "luapilot.exchange"
local http_types = lazy.require "luapilot.http_types"
local program = lazy.require "luapilot.program"

local prober = {}

local MAX_OUTPUT = 64 * 1024  -- of an exec check: it ends up in a log line
local MAX_BODY = 4 * 1024     -- of an HTTP check: more is not read
local NOTE = 200              -- characters of it that are kept …
local LOOKED_AT = 4 * NOTE    -- … of so many: blanks are left out first

---@class luapilot.Prober
---@field runner table
local Prober = {}
Prober.__index = Prober

-- One line, since it ends up in one: a page of HTML in an error's answer would be many.
local function note(text)
  text = text:sub(1, LOOKED_AT):gsub("%s+", " "):gsub("^ ", ""):gsub(" $", "")
  if #text > NOTE then text = text:sub(1, NOTE) .. "…" end
  return text ~= "" and text or nil
end

-- Each starts a check and returns how to take it back; `done(status, output)` is called once. `early()` tells whether a
-- failure would count now.
local start = {}

function start.tcp(self, check, done)
  local loop = self.app.loop
  local id = loop.port.connect(check.tcp, check.timeout)
  loop:route(id, function(event)
    loop:unroute(id)
    if event.error then return done("fail", event.error) end
    done("pass")
  end)
  return function() loop:cancel(id) end
end

-- On a connection of its own, so that it asks whoever accepts them now, and not what an old one still holds.
function start.http(self, check, done)
  local http = check.http
  local request = {
    method = http.method, url = http.url, headers = http.headers, body = http.body, tls = http.tls,
    timeout = check.timeout, max_body = MAX_BODY, cut = true, fresh = true,
  }
  return exchange.start(self.app.loop, request, function(response, message)
    if not response then return done("fail", note(message)) end
    local body = note(response.body)
    done(http_types.is_among(http.status, response.status) and "pass" or "fail",
      ("HTTP %d%s"):format(response.status, body and ": " .. body or ""))
  end)
end

function start.exec(self, check, done)
  local options, why = self.runner:spawn_options(check.exec)
  if not options then return done("fail", why) end
  options.end_signal = "SIGKILL"
  local cancel, message = program.start(self.app.loop, options, { timeout = check.timeout, max_output = MAX_OUTPUT },
    function(result)
      local said = note(result.stdout ~= "" and result.stdout or result.stderr)
      if result.code == 0 then return done("pass", said) end
      done("fail", said or program.describe_exit(result, check.timeout))
    end)
  if cancel then return cancel end
  done("fail", message)
end

-- The second value as text, made in the task: it may be anything, with a __tostring of its own.
local function in_words(fn)
  return function(...)
    local passed, text = fn(...)
    return passed, text ~= nil and task.message(text) or nil
  end
end

-- An error is told once, not at each interval again, and not while failures do not count: what the check asks may not
-- be up yet. (That is no excuse for an endless loop.) Its text is returned.
local function raised(self, check, err, early)
  local message = task.message(err)
  if early and not task.went_too_far(err) then return message end
  if self.raised[check] ~= message then
    self.app:complain(("job %q: %s"):format(self.runner.spec.name, check.path), err)
  end
  self.raised[check] = message
  return message
end

function start.check(self, check, done, early)
  local tasks, timed_out = self.app.tasks, false
  local t = tasks:spawn(in_words(check.check), {
    name = ("%s of job %q"):format(check.path, self.runner.spec.name), detached = true,
    ended = function(t)
      if timed_out then return done("fail", ("timed out after %g s"):format(check.timeout)) end
      if t.reason then return end -- taken back
      if t:failed() then return done("fail", note(raised(self, check, t.error, early()))) end
      self.raised[check] = nil
      local passed, text = t.results[1], t.results[2]
      text = text and note(text) or not passed and ("the check returned " .. tostring(passed)) or nil
      done(passed == "warn" and "warn" or passed and "pass" or "fail", text)
    end,
  }, self.runner.object)
  local timer = self.app.loop:after(check.timeout, function()
    timed_out = true
    t:cancel("timeout")
  end)
  t:when_ended(function() self.app.loop:cancel(timer) end)
  return function()
    self.app.loop:cancel(timer)
    t:cancel("cancel")
  end
end

local schedule_probe -- forward

local function report(self, index, status, output, early)
  local now = self.app.loop.port.now()
  local change, restart = health.result(self.memory, self.checks, index, status, output, now, early)
  self.runner:checked(index, status, output)
  if not (change or restart) then return self.app.services:refresh(self.runner) end
  self.app:command(function() -- unless the process has ended meanwhile
    if self.stopped then return end
    self.runner:input("health", { change = change, restart = restart, output = output })
  end)
end

-- An early probe that is still under way at a mark of the interval stands in for the one that was due there.
local function probe(self, index, early)
  local check, under_way, loop = self.checks[index], self.under_way, self.app.loop
  local mark, finished = health.next_mark(self.memory, check, loop.port.now()), false
  local function is_early() return early and loop.port.now() < mark end
  local cancel = start[check.kind](self, check, function(status, output)
    finished = true
    under_way[index] = nil
    if self.stopped then return end
    report(self, index, status, output, is_early())
    if not self.stopped and not self.paused then schedule_probe(self, index) end
  end, is_early)
  if not finished then under_way[index] = cancel end
end

function schedule_probe(self, index)
  local now = self.app.loop.port.now()
  local due, early = health.next_probe(self.memory, self.checks[index], index, now)
  self.timers[index] = self.app.loop:after(due - now, function()
    self.timers[index] = nil
    probe(self, index, early)
  end)
end

-- A job that says WATCHDOG=1 in time passes; each interval without it is a failure.
local function watch_dog(self, index)
  local check = self.checks[index]
  if not check.interval_given or self.paused then return end
  if self.timers[index] then self.app.loop:cancel(self.timers[index]) end
  self.timers[index] = self.app.loop:after(check.interval, function()
    self.timers[index] = nil
    report(self, index, "fail", ("no WATCHDOG=1 for %g s"):format(check.interval), false)
    if not self.stopped then watch_dog(self, index) end
  end)
end

---What a job said by sd_notify.
---@param fields table<string, string>
function Prober:notified(fields)
  for index, check in ipairs(self.checks) do
    if check.kind == "notify" then
      local ready, alive = fields.READY == "1", fields.WATCHDOG == "1"
      if ready then self.ready = true end
      if ready or (alive and self.ready) then
        report(self, index, "pass", fields.STATUS)
        if not self.stopped then watch_dog(self, index) end
      elseif fields.WATCHDOG == "trigger" then
        report(self, index, "fail", fields.STATUS or "WATCHDOG=trigger")
      end
    end
  end
end

local function take_back(self)
  for _, timer in pairs(self.timers) do self.app.loop:cancel(timer) end
  for _, cancel in pairs(self.under_way) do cancel() end
  self.timers, self.under_way = {}, {}
end

---Ends every check under way.
function Prober:stop()
  self.stopped = true
  take_back(self)
end

---Nothing is checked for a while, and what was found stays. Afterwards all goes on at the next mark.
---@param on boolean
function Prober:pause(on)
  if on == self.paused or self.stopped then return end
  self.paused = on
  if on then return take_back(self) end
  for index, check in ipairs(self.checks) do
    if check.kind ~= "notify" then
      schedule_probe(self, index)
    elseif self.ready then
      watch_dog(self, index)
    end
  end
end

---Begins to check a job that has just started.
---@param runner table     of runner.lua
---@param memory luapilot.HealthMemory?   of a former core: goes on with what it knew
---@return luapilot.Prober
function prober.start(runner, memory)
  local checks, now = runner.spec.health, runner.app.loop.port.now()
  local self = setmetatable({
    runner = runner, app = runner.app, checks = checks, timers = {}, under_way = {}, raised = {},
    memory = memory or health.new(checks, now), stopped = false, paused = false, ready = memory ~= nil,
  }, Prober)
  for index, check in ipairs(checks) do
    if check.kind == "notify" then
      if memory then watch_dog(self, index) end
    elseif memory then
      schedule_probe(self, index)
    else
      probe(self, index, true) -- at once: readiness is noticed soon, a failure does not count yet
    end
  end
  return self
end

return prober
