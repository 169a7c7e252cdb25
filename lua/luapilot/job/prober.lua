-- prober: runs the checks of one job while its process lives, and says in the log what they find.
--
--   http     a request and the status of its answer
--   tcp      a connection opened and closed       exec     a program that must end with 0
--   check    a Lua function in a task             notify   what the job itself says (sd_notify)
--
-- A failure that is the pilot's own is no verdict: it had no descriptor, no memory or no process left for the check,
-- or the machine was paused while the check was under way. Such a check is tried again soon.
--
-- It owns the timers, processes and tasks of the checks under way, one at a time for each check. What results
-- mean is job/health.lua's; what follows from it is job/machine.lua's.

local duration = require "luapilot.base.duration"
local health = require "luapilot.job.health"
local lazy = require "luapilot.base.lazy"
local budgets = require "luapilot.task.budget"
local program = require "luapilot.job.program"
local task = require "luapilot.task.task"

local postmortem = lazy.require "luapilot.job.postmortem"
local exchange = lazy.require "luapilot.net.exchange"
local http_schema = lazy.require "luapilot.schema.http"
local url = lazy.require "luapilot.base.url"
local utf8 = lazy.require "luapilot.base.utf8"

local prober = {}

local MAX_OUTPUT = 64 * 1024  -- of an exec check: it ends up in a log line
local MAX_BODY = 4 * 1024     -- of an HTTP check: more is not read
local NOTE = 200              -- characters of it that are kept …
local TARGET = 60             -- … and of what a check asks
local SOON = 0.25             -- seconds to the next try of a check that had no verdict for a pause …
local LATER = 1               -- … and for lack of descriptors, memory or processes
local MOST_PAUSES = 3         -- verdicts in a row that pauses can take away
local APART = 1               -- seconds between two lines of a check that fails otherwise now
local CHANGES = 5             -- lines in a row that say so
local MINUTE, EARLY = 60, 0.5 -- between two lines of one that stays so, by the clock of its trouble
local SILENCE = 10            -- seconds in which a job need not say that it is ready

---@class luapilot.Prober
---@field runner table
local Prober = {}
Prober.__index = Prober

-- Of what is read up to a bound: with what begins before it and ends beyond, should that be a secret.
local function with_secrets(app, bound) return bound + (app.masks and app.masks.longest or 0) end

-- One line, since it ends up in one: a page of HTML in an error's answer would be many. Blanks are left out first, and
-- secrets before all: of one that is cut the log would not know the rest.
--   bound: of a text that was read up to with_secrets(app, bound)
local function note(app, text, most, bound)
  most = most or NOTE
  if app.masks then text = app.masks:cover_first(text, bound or #text) end
  text = text:sub(1, 4 * most):gsub("%s+", " "):gsub("^ ", ""):gsub(" $", "")
  if #text > most then text = text:sub(1, utf8.whole(text, 1, most)) .. "…" end
  return text ~= "" and text or nil
end

-- Of a text, whatever numbers are in it, in base 16 and with dashes, too: times, addresses, identifiers of requests.
local function outline(text)
  return (text:gsub("[%x-]+", function(run) return run:find "%d" and "0" end))
end

-- --- what a check asks -----------------------------------------------------------------------

local target = {
  tcp = function(check) return check.tcp end,
  http = function(check) return url.shown(check.http.url) end,
  exec = function(check) return table.concat(check.exec, " ") end,
  check = function(check)
    local info = debug.getinfo(check.check, "S")
    return info.source:gsub("^@", "") .. ":" .. info.linedefined
  end,
  notify = function() return "READY=1" end,
}

---Which check of its job this is, in a few words: "health[2] (tcp localhost:80)".
---@param app luapilot.App
---@param check luapilot.CheckSpec
---@return string
function prober.label(app, check)
  return ("%s (%s %s)"):format(check.path, check.kind, note(app, target[check.kind](check), TARGET))
end

-- --- the checks ------------------------------------------------------------------------------

-- Each starts a check and returns how to take it back, which with "timeout" says that its time is over.
-- done(status, output, code) is called once, perhaps at once. `early()` tells whether a failure would count now.
local start = {}

function start.tcp(self, check, done)
  local loop = self.app.loop
  local id = loop.port.connect(check.tcp, check.timeout)
  loop:route(id, function(event)
    loop:unroute(id)
    if event.error then return done("fail", event.error, event.code) end
    done("pass")
  end)
  return function(why)
    if why ~= "timeout" then loop:cancel(id) end -- the port tells that by itself, and in more words
  end
end

-- EAGAIN of the web is a resolver that does not answer, and no lack of ours.
local function lacks(code) return code ~= "EAGAIN" and code or nil end

-- On a connection of its own, so that it asks whoever accepts them now, and not what an old one still holds.
function start.http(self, check, done)
  local http = check.http
  local request = {
    method = http.method, url = http.url, headers = http.headers, body = http.body, tls = http.tls,
    timeout = check.timeout, max_body = with_secrets(self.app, MAX_BODY), cut = true, fresh = true,
  }
  local cancel = exchange.start(self.app.loop, request, function(response, message, code)
    if not response then return done("fail", note(self.app, message), lacks(code)) end
    local body = note(self.app, response.body, NOTE, MAX_BODY)
    done(http_schema.is_among(http.status, response.status) and "pass" or "fail",
      ("HTTP %d%s"):format(response.status, body and ": " .. body or ""))
  end)
  return function(why)
    if why ~= "timeout" then cancel() end
  end
end

-- Said when it begins to be so, not at each interval again.
local function tell_left(self, check, said, count)
  if said and not self.leaves[check] then
    self.runner:log("warn", ("%s %s: a check must end what it starts"):format(check.path, said), nil, "left_behind",
      { check = check.path, ended = count })
  end
  self.leaves[check] = said
end

function start.exec(self, check, done)
  local options, why, short_of = self.runner:spawn_options(check.exec)
  if not options then return done("fail", why, short_of) end
  for name, text in pairs(check.env or {}) do options.env_added[name] = text end
  options.end_signal = "SIGKILL"
  local limits = { max_output = with_secrets(self.app, MAX_OUTPUT) }
  local cancel, message, code = program.start(self.app.loop, options, limits,
    function(result, unstarted, lack)
      if not result then return done("fail", unstarted, lack) end
      tell_left(self, check, program.left(result))
      local said = note(self.app, result.stdout ~= "" and result.stdout or result.stderr, NOTE, MAX_OUTPUT)
      if result.code == 0 then return done("pass", said) end
      done("fail", said or program.describe_exit(result, check.timeout))
    end)
  if cancel then return cancel end
  done("fail", message, code)
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
  local text = outline(message)
  if self.raised[check] ~= text then
    self.app:complain(("job %q: %s"):format(self.runner.spec.name, check.path), err)
  end
  self.raised[check] = text
  return message
end

function start.check(self, check, done, early)
  local timed_out = false
  local t = self.app.tasks:spawn(in_words(check.check), {
    name = ("%s of job %q"):format(check.path, self.runner.spec.name), detached = true,
    ended = function(t)
      if timed_out then return done("fail", "timed out after " .. duration.format(check.timeout)) end
      if t.reason then return end -- taken back
      local short_of = lacks(t.short_of)
      if t:failed() and program.SHORT[short_of] then
        return done("fail", note(self.app, task.message(t.error)), short_of)
      end
      if t:failed() then
        local message = raised(self, check, t.error, early())
        local exhausted = message:find ": not enough memory: " -- the scripts have it
        return done("fail", note(self.app, message), exhausted and "ENOMEM")
      end
      self.raised[check] = nil
      local passed, text = t.results[1], t.results[2]
      text = text and note(self.app, text) or not passed and ("the check returned " .. tostring(passed)) or nil
      done(passed == "warn" and "warn" or passed and "pass" or "fail", text, short_of)
    end,
  }, self.runner.object)
  return function(why)
    timed_out = why ~= nil
    t:cancel(why or "cancel")
  end
end

-- --- what the log says -----------------------------------------------------------------------

local DOES = { warn = "warns", pass = "passes now", void = "has no verdict" }

local function does(self, status)
  if status ~= "fail" then return DOES[status] end
  return self.memory.state == "unknown" and "does not pass yet" or "fails"
end

local function say(self, index, status, what, output, level)
  local loud = status == "void" or status == "fail" and self.memory.state ~= "unknown"
  self.runner:log(level or loud and "warn" or "info",
    ("%s %s%s"):format(prober.label(self.app, self.checks[index]), what, output and ": " .. output or ""),
    nil, "check", { check = self.checks[index].path, status = status })
end

local function minutes(told, at) return math.floor((at - told.since + EARLY) / MINUTE) end

-- Is it time for a line? What was another text each time gets no more for that until it has been the same for a minute.
local function is_due(told, now, text)
  local another, again = text ~= told.text, minutes(told, now) > minutes(told, told.at)
  told.restless = told.restless or another
  if not again and (not another or told.changes == CHANGES or now - told.at < APART) then return false end
  told.changes = (told.restless and told.changes or 0) + (again and 0 or 1)
  told.restless, told.text, told.at = false, text, now
  return true, again
end

-- What is said of a trouble: at first, when it is another one, and each minute. Of one that is early, at the second
-- failure in a row: most programs that come up well are asked once before they listen.
local function tell_trouble(self, index, status, output, early)
  local now, told, text = self.app.loop.port.now(), self.told[index], outline(output or "")
  if not told or told.status ~= status then
    local row = told and told.fails -- what had no verdict since then does not end it
    early = early and not row
    self.told[index] = {
      status = status, text = text, at = now, since = now, changes = 0, unsaid = early, fails = row or status == "fail",
    }
    return say(self, index, status, does(self, status), output, early and "debug")
  end
  if told.unsaid then
    told.unsaid, told.text, told.at = nil, text, now
    return say(self, index, status, does(self, status), output)
  end
  local due, again = is_due(told, now, text)
  if not due then return end
  local what = does(self, status)
  if again then
    what = (status == "fail" and "has not passed for " or "has had no verdict for ") .. duration.words(now - told.since)
  end
  say(self, index, status, what, output)
end

-- While it starts, "is healthy" will say the rest.
local function tell(self, index, status, output, early)
  if status == "fail" or status == "void" then
    return tell_trouble(self, index, status, output, early and status == "fail" and self.memory.state == "unknown")
  end
  local told = self.told[index]
  local before, unsaid = told and told.status, told and told.unsaid
  self.told[index] = status == "warn" and (before == "warn" and told or { status = "warn" }) or nil
  if before == status or not before and status == "pass" then return end
  if not unsaid and (self.memory.state ~= "unknown" or self.checks[2] and before) then
    return say(self, index, status, does(self, status), output)
  end
  self.runner:log("debug", ("%s: %s%s"):format(prober.label(self.app, self.checks[index]), status,
    output and ": " .. output or ""), nil, "check", { check = self.checks[index].path, status = status })
end

-- --- one after the other ---------------------------------------------------------------------

local schedule_probe -- forward

-- Who answers, and who only says so by the socket that this run was given?
local function doubted(self, index, status, output)
  local memory = self.runner.memory
  local lives = memory.background and memory.background.lives
  if status == "fail" or not lives or self.checks[index].kind == "notify" then return status, output end
  local why = postmortem.doubt(memory, self.app.loop.port.strays(self.runner.process))
  if why then return "fail", why end
  return status, output
end

-- The time of the job, without pauses while it might be in its start period.
local function time_of(self, now)
  if not self.starting then return now end
  return self.began + budgets.used(self.starting, now)
end

local function report(self, index, status, output, early)
  local now = self.app.loop.port.now()
  status, output = doubted(self, index, status, output)
  tell(self, index, status, output, early)
  local change, restart =
    health.result(self.memory, self.checks, index, status, output, time_of(self, now), early)
  if not (change or restart) then return self.app.advertiser:refresh(self.runner) end
  local check = prober.label(self.app, self.checks[index])
  restart = restart and self.memory.checks[index].fails
  self.app:command(function() -- unless the process has ended meanwhile
    if self.stopped then return end
    self.runner:input("health", { change = change, restart = restart, output = output, check = check })
  end)
end

-- Why a failure says nothing of the job, and when to try again; nil: it does.
local function excuse(self, index, output, code, budget)
  if program.SHORT[code] then return output, LATER end
  local pauses = self.pauses[index] or 0
  if pauses == MOST_PAUSES or not budgets.was_away(budget, self.app.loop.port.now()) then return nil end
  self.pauses[index] = pauses + 1
  return "the machine or luapilot was paused meanwhile", SOON
end

-- An early probe that is still under way at a mark of the interval stands in for the one that was due there.
local function probe(self, index, early)
  local check, under_way, loop = self.checks[index], self.under_way, self.app.loop
  local mark, budget, cancel = health.next_mark(self.memory, check, loop.port.now()), nil, nil
  local function is_early() return early and loop.port.now() < mark end
  local function done(status, output, code)
    loop:cancel(budget)
    under_way[index], budget.over = nil, true
    if self.stopped then return end
    local why, soon
    if status == "fail" then why, soon = excuse(self, index, output, code, budget) end
    if why then
      tell(self, index, "void", why)
    else
      self.pauses[index] = nil
      report(self, index, status, output, is_early())
    end
    if not self.stopped and not self.paused then schedule_probe(self, index, soon) end
  end
  budget = loop:allow(check.timeout, function() cancel "timeout" end)
  cancel = start[check.kind](self, check, done, is_early)
  if budget.over then return end
  under_way[index] = function()
    loop:cancel(budget)
    cancel()
  end
end

function schedule_probe(self, index, soon)
  local now = self.app.loop.port.now()
  local due, early
  if soon then
    due, early = now + soon, self.memory.checks[index].status == "unknown"
  else
    due, early = health.next_probe(self.memory, self.checks[index], index, now)
  end
  self.timers[index] = self.app.loop:after(due - now, function()
    self.timers[index] = nil
    probe(self, index, early)
  end)
end

local function tell_silence(self, index)
  local since = self.memory.started
  if self.told[index] then return tell_trouble(self, index, "fail", self.memory.checks[index].output) end
  self.told[index] = { status = "fail", text = "", at = since, since = since, changes = 0 }
  say(self, index, "fail", "has said nothing yet")
end

-- Nothing is asked of a job that has not said READY=1, so the log says by the clock that it has not.
local function remind(self, index)
  local loop, since = self.app.loop, self.memory.started
  local now = loop.port.now()
  local due = since + math.max(SILENCE, self.checks[index].start_period)
  if due <= now then due = since + (math.floor((now - since + EARLY) / MINUTE) + 1) * MINUTE end
  self.timers[index] = loop:after(due - now, function()
    self.timers[index] = nil
    tell_silence(self, index)
    remind(self, index)
  end)
end

-- A job that says WATCHDOG=1 in time passes; each interval without it is a failure.
local function watch_dog(self, index)
  local check = self.checks[index]
  if self.timers[index] then self.app.loop:cancel(self.timers[index]) end
  self.timers[index] = nil
  if not check.interval_given or self.paused then return end
  self.timers[index] = self.app.loop:allow(check.interval, function()
    self.timers[index] = nil
    report(self, index, "fail", "no WATCHDOG=1 for " .. duration.format(check.interval), false)
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
  if self.starting then self.app.loop:cancel(self.starting) end
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
    else
      remind(self, index)
    end
  end
end

-- The longest start period: a budget, which is counted without pauses.
local function begin_start_period(self, now)
  local longest = 0
  for _, check in ipairs(self.checks) do longest = math.max(longest, check.start_period) end
  local left = self.memory.started + longest - now
  if left <= 0 then return end
  self.began = now
  self.starting = self.app.loop:allow(left, function() self.starting = nil end)
end

---Begins to check a job that has just started.
---@param runner table     of job/runner.lua
---@param memory luapilot.HealthMemory?   of a former core: goes on with what it knew
---@return luapilot.Prober
function prober.start(runner, memory)
  local checks, now = runner.spec.health, runner.app.loop.port.now()
  local self = setmetatable({
    runner = runner, app = runner.app, checks = checks, timers = {}, under_way = {}, raised = {}, leaves = {},
    told = {}, pauses = {}, memory = memory or health.new(checks, now),
    stopped = false, paused = false, ready = memory ~= nil,
  }, Prober)
  begin_start_period(self, now)
  for index, check in ipairs(checks) do
    if check.kind == "notify" then
      local go_on = memory and watch_dog or remind
      go_on(self, index)
    elseif memory then
      schedule_probe(self, index)
    else
      probe(self, index, true) -- at once: readiness is noticed soon, a failure does not count yet
    end
  end
  return self
end

return prober
