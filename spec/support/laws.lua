-- The laws of a pilot: what must hold of every history, whatever was declared and whatever happens.
--
-- An oracle beside the core, not made of it: it judges by the plan (pilots.lua), by what the simulated kernel did
-- (spawns, deaths, signals), by published events, and by the lines that the pilot.lua itself writes. Of the core it
-- knows nothing but the documentation. Where a history can be explained in several ways it believes the kindest.
--
--   local watched = laws.watch(box, plan)      before box:start()
--   watched:check()                            whenever time has passed: raises at the first breach
--   watched:at_end()                           when the pilot has ended
--
-- It owns a book for each job, and the list of breaches.

local laws = {}

local NOW = 0.05      -- seconds within which "at once" is: news of an exit takes some latencies
local NEWS = 0.005    -- what the news of an exit may take
local SAME = 1e-6     -- the same moment
local DEFERS = 0.2    -- seconds that defer functions take (pilots.lua)
local YOUNG = 1       -- seconds in which a process is not reloaded
local AGAIN = 1       -- seconds between a start that failed and the next one by a trigger

---@class spec.Watched
---@field plan spec.Plan
---@field box luapilot.sim.Box
---@field books table<string, table>
---@field breaches string[]
local Watched = {}
Watched.__index = Watched

function Watched:breach(text, ...)
  self.breaches[#self.breaches + 1] = ("%.6f  "):format(self.box.world:elapsed()) .. text:format(...)
end

local function new_book(job)
  return {
    job = job, name = job.name, children = {}, idle_since = 0, credits = {}, count = 0, times = {}, step = 0,
    first = {}, results = {}, generation = 0,
    is_provided = not job.depends[1], provided_from = 0, lacking_from = 0,
  }
end

-- --- what a book says ------------------------------------------------------------------------------

local function alive(book)
  local last = book.children[#book.children]
  return last ~= nil and #last.group.members > 0
end

local function active(book) return book.under_way or book.preparing or book.running or book.stopping or alive(book) end

-- Nothing of it lives since then.
local function idle_from(self, book)
  if not active(book) then book.idle_since = book.idle_since or self.box.world:elapsed() end
end

-- --- what it depends on -----------------------------------------------------------------------------

-- Does it run, as its pilot sees that? "perhaps" within the time that news take, and where a stop is under way that
-- waits for those that are bound to it.
local function is_up(self, book)
  local now = self.box.world:elapsed()
  if book.stopping or book.preparing or book.under_way or not book.last_begin then return false end
  if book.asked then return "perhaps" end
  if book.job.kind == "run" then
    return book.running and true or now <= (book.empty_at or -1) + SAME and "perhaps"
  end
  if not book.started or not alive(book) then return now <= (book.died_at or -1) + NEWS and "perhaps" end
  if book.children[#book.children].group.leader.state ~= "dead" then return true end
  return (book.job.pidfile or now <= (book.died_at or now) + NEWS) and "perhaps"
end

-- Has its last run ended well, and no other one begun?
local function has_succeeded(book)
  return book.over and book.last_end == "exit" and book.exit ~= nil and book.exit.code == 0
end

local function is_so(self, one)
  local book = self.books[one.name]
  if one.state == "exit_success" then return has_succeeded(book) end
  local up = is_up(self, book)
  if one.state == "healthy" and book.healthy ~= "healthy" then return false end
  return up
end

local function is_provided(self, book)
  local all = true
  for _, one in ipairs(book.job.depends) do
    local so = is_so(self, one)
    if not so then return false end
    if so == "perhaps" then all = "perhaps" end
  end
  return all
end

-- What is so from this moment on.
local function note_states(self)
  local now = self.box.world:elapsed()
  if self.pending[1] then self:judge_pending(now) end
  for _, name in ipairs(self.plan.order) do
    local book = self.books[name]
    local provided = is_provided(self, book) == true
    if provided and not book.is_provided then book.provided_from = now end
    local lost = not provided and book.is_provided and now > book.provided_from + NOW -- and not just for a moment
    if lost then book.lacking_from = now end
    book.is_provided = provided
    local down = is_up(self, book) == false
    book.down_since = down and (book.down_since or now) or nil
  end
end

local function check_provided(self, book)
  if book.after_handoff then return end -- what the former core began
  for _, one in ipairs(book.job.depends) do
    local pending = not is_so(self, one) and { book = book, one = one, at = self.box.world:elapsed() }
    if pending then self.pending[#self.pending + 1] = pending end
  end
end

-- A Lua run may have been started, and not have come to its first line: that comes at the same moment.
function Watched:judge_pending(now)
  local kept = {}
  for _, each in ipairs(self.pending) do
    local source = self.books[each.one.name]
    local runs = source.job.kind == "run" and each.one.state == "running" and not source.stopping
    if runs and now <= each.at + SAME and not source.started then
      kept[#kept + 1] = each
    elseif not (runs and source.started and source.started <= each.at + SAME) then
      self:breach("%s: started, and %s is not %s", each.book.name, each.one.name, each.one.state)
    end
  end
  self.pending = kept
end

-- Has it waited for what it depends on until now, and did a tick come meanwhile?
local function has_waited(book, at, interval)
  if not book.job.depends[1] or book.is_provided and at > book.provided_from + NOW then return false end
  return not interval or math.floor((at + NOW) / interval) * interval >= book.lacking_from - NOW
end

-- The jobs that it is bound to.
local function bound_to(self, book)
  local list = {}
  for _, one in ipairs(book.job.bind and book.job.depends or {}) do
    if one.state ~= "exit_success" then list[#list + 1] = self.books[one.name] end
  end
  return list
end

-- Its own stop begins when they are gone.
local function has_bound(self, book)
  for _, other in pairs(self.books) do
    for _, source in ipairs(bound_to(self, other)) do
      if source == book and active(other) then return true end
    end
  end
end

-- Its stop was asked for, and waits: a process of its own may be gone meanwhile.
local function waits_for_bound(self, book) return book.asked and has_bound(self, book) end

-- Whose dependency is gone is stopped at once.
local function tick_bound(self, book, now)
  local last = book.children[#book.children]
  local ends = last and alive(book) and last.group.leader.state == "dead" or book.stop_sent
  if self.closing or not active(book) or book.stopping or ends or has_bound(self, book) then return end
  for _, source in ipairs(bound_to(self, book)) do
    if source.down_since and now > source.down_since + NOW then
      self:breach("%s: goes on, and %s, which it is bound to, is gone since %.6f", book.name, source.name,
        source.down_since)
    end
  end
end

-- It was stopped with a job that it is bound to, and comes back with that: a reason for its next start.
local function note_bound_stop(self, book, at)
  if self.closing or not book.job.bind then return end
  book.credits[#book.credits + 1] = { at = at, till = math.huge, single = true, bound = true }
  if not book.asked then book.expected = at end -- nobody else has told it to stop
end

-- How long those that are bound to a job may take: a second each for SIGKILL.
local function longest_wait(self, book)
  local longest = 0
  for _, other in pairs(self.books) do
    for _, source in ipairs(bound_to(self, other)) do
      if source == book then longest = math.max(longest, other.job.stop_timeout + 1 + longest_wait(self, other)) end
    end
  end
  return longest
end

-- Those that are bound to a job are stopped before it is.
local function check_bound_first(self, book, at)
  if self.closing or not book.asked or at >= book.asked + longest_wait(self, book) - NOW then return end
  for _, other in pairs(self.books) do
    for _, source in ipairs(bound_to(self, other)) do
      if source == book and alive(other) then
        self:breach("%s: told to stop while %s, which is bound to it, lives", book.name, other.name)
      end
    end
  end
end

-- --- the restart policy ------------------------------------------------------------------------------

local function is_success(exit) return exit.code == 0 and exit.reason ~= "health" and exit.reason ~= "timeout" end

-- When it was decided whether to start again: nothing of the run lived any more.
local function decided_at(book) return math.max(book.exit.at, book.empty_at or 0) end

local function recent(book, now)
  local count = 0
  for _, time in ipairs(book.times) do
    if time > now - book.job.restart.within + NOW then count = count + 1 end
  end
  return count
end

-- Does the policy start it again after its last exit? "perhaps" where that hangs on milliseconds, or on counters that
-- cannot be known.
local function policy_allows(book)
  local policy, exit = book.job.restart, book.exit
  if not exit or exit.reason == "trigger" or exit.reason == "dependency" or not book.restartable then return false end
  if policy.policy == "never" then return exit.reason == "health" end
  if policy.policy == "on_failure" and is_success(exit) then return false end
  if policy.count and book.count >= policy.count then return false end
  if policy.limit then
    if recent(book, decided_at(book)) >= policy.limit then return false end
    if #book.times >= policy.limit then return "perhaps" end
  end
  return not (book.vague and (policy.count or policy.limit)) or "perhaps"
end

-- The longest delay before the next start, and the memory of the doubling after it.
local function delay_of(book)
  local policy = book.job.restart
  local base, most, reset = policy.backoff, policy.max_backoff, policy.reset_after
  if policy.policy == "never" then base, most, reset = 1, 60, 60 end -- acts as "always" would
  local lasted = decided_at(book) - (book.started or decided_at(book))
  local step = book.step
  if math.abs(lasted - reset) < NOW then return nil end
  if lasted >= reset then step = 0 end
  local delay = math.min(base * 2 ^ step, most)
  return delay, delay < most and step + 1 or step
end

-- --- credits: what may start a job ------------------------------------------------------------------

local function max_wait(leaf) return leaf.settle and (leaf.max_wait or 4 * leaf.settle) or 0 end

local function each_leaf(node, fn)
  if not node.parts then return fn(node) end
  for _, part in ipairs(node.parts) do each_leaf(part, fn) end
end

local function give_credit(book, at, till, user)
  book.credits[#book.credits + 1] = { at = at, till = till, user = user }
end

local function near_tick(leaf, at)
  local ticks = at / leaf.interval
  return math.abs(ticks - math.floor(ticks + 0.5)) * leaf.interval < NOW
end

-- At the full minute, as long as nobody sets the clock.
local function near_minute(self, leaf, at)
  return self.box.world.clock:wall() % 60 <= leaf.jitter + 2 * NOW or at < self.shifted + 120
end

-- One event, one start: one that has waited for what it depends on serves the event that brought that.
local function is_served(book, credit, at)
  local oldest = book.credits[1]
  return has_waited(book, at) and oldest.at < at - NOW and credit.till <= credit.at
end

-- Is there a reason for a start now, other than the policy? Reasons that are older than the beginning are used up.
-- The second result: it may have been stopped with what it is bound to, for which the policy does not count anew.
local function take_credit(self, book, at)
  local explained, bound, kept = false, false, {}
  for _, credit in ipairs(book.credits) do
    if credit.bound then bound = true else explained = true end
    local lasts = credit.till >= at - SAME and not credit.single and not is_served(book, credit, at)
    if lasts then kept[#kept + 1] = credit end
  end
  book.credits = kept
  each_leaf(book.job.when, function(leaf)
    if leaf.kind == "cron" and (near_minute(self, leaf, at) or has_waited(book, at)) then explained = true end
    if leaf.kind == "every" and (near_tick(leaf, at) or has_waited(book, at, leaf.interval)) then explained = true end
    local clock = leaf.kind == "cron" or leaf.kind == "every" -- a tick came soon after a start that had failed
    if clock and book.failed_at and math.abs(at - book.failed_at - AGAIN) < NOW then explained = true end
    local last = not (explained or bound or book.retry or book.function_used or policy_allows(book))
    if leaf.kind == "function" and last then book.function_used, explained = true, true end -- whenever it returned
  end)
  return explained, bound
end

-- An event that a trigger may have heard.
local function hear_for_triggers(self, source, event, at)
  for _, book in pairs(self.books) do
    each_leaf(book.job.when, function(leaf)
      if leaf.source ~= source or leaf.event ~= event then return end
      if leaf.when_busy == "restart" then book.asked = book.asked or at end
      if leaf.kind == "once" and book.first[leaf] then return end
      book.first[leaf] = book.first[leaf] or at
      give_credit(book, at, at + max_wait(leaf))
      local starts = leaf.when_busy ~= "drop" and leaf.when_busy ~= "restart" -- whatever it does
      local simple = leaf == book.job.when and not leaf.settle and starts
      local in_time = not leaf.timeout or book.first[leaf] < leaf.timeout - NOW
      if simple and in_time and not self.closing then book.expected = book.expected or at end
    end)
  end
end

-- --- what can still come -----------------------------------------------------------------------------

-- Will a job be started again, or end its run, for sure and without anybody's hand? What hangs on functions, watches or
-- counters that cannot be known is not sure, and nothing of jobs is where hands start them after their end. `seen`: a
-- ring is no reason.
local will_act -- forward

local function will_speak(self, leaf, seen)
  if leaf.source == "pilot" then return leaf.event:find "^SIG" ~= nil end
  local source = self.books[leaf.source or ""]
  return source ~= nil and not self.plan.meddled and will_act(self, source, seen)
end

local function has_come(self, leaf)
  return leaf.kind == "startup" or self.published[("%s %s"):format(leaf.source or "", leaf.event or "")] ~= nil
end

-- Can a trigger that has not fired yet still fire?
local function will_fire(self, node, seen)
  if node.kind == "every" or node.kind == "cron" then return true end
  if not node.parts then return not has_come(self, node) and will_speak(self, node, seen) end
  local missing, comes = 0, 0
  for _, part in ipairs(node.parts) do
    if not (part.parts == nil and has_come(self, part)) then
      missing = missing + 1
      if will_fire(self, part, seen) then comes = comes + 1 end
    end
  end
  if node.kind == "any" then return comes > 0 end
  return missing > 0 and comes == missing
end

-- Once more? (One with a timeout may have given up.)
local function fires_again(self, leaf, seen)
  if leaf.timeout then return false end
  if leaf.kind == "every" or leaf.kind == "cron" then return true end
  return leaf.kind == "each" and will_speak(self, leaf, seen)
end

local function is_new(book) return not book.last_begin and not book.exit end

function will_act(self, book, seen)
  if seen[book] then return false end
  seen[book] = true
  if active(book) or book.retry or policy_allows(book) == true and not book.stop_called then return true end
  if is_new(book) then return will_fire(self, book.job.when, seen) end
  return not book.job.when.parts and fires_again(self, book.job.when, seen)
end

-- A simple trigger that has fired without a start.
local function is_owed(self, book)
  local leaf = book.job.when
  if leaf.parts or leaf.timeout or not leaf.source or book.stop_called then return false end
  return book.expected ~= nil or is_new(book) and has_come(self, leaf)
end

-- What failed, of all that a job which never began still waits for, directly or not: { code, at } each.
local function failures_before(self, book, seen, found)
  if seen[book] then return found end
  seen[book] = true
  each_leaf(book.job.when, function(leaf)
    local source = self.books[leaf.source or ""]
    if not source or has_come(self, leaf) then return end
    if is_new(source) then return failures_before(self, source, seen, found) end
    local for_good = source.last_end == "exit" and not active(source) and policy_allows(source) ~= true
    if for_good and source.exit.code ~= 0 then found[#found + 1] = source.exit end
    if for_good and source.exit.code == 0 then found.fine = true end -- and what was waited for never came
  end)
  return found
end

-- The codes with which a main job that never began may end the pilot.
local function codes_of_unmet(self, main)
  local failed, codes, first = failures_before(self, main, {}, {}), {}, math.huge
  for _, exit in ipairs(failed) do first = math.min(first, exit.at) end
  for _, exit in ipairs(failed) do
    if exit.at <= first + SAME then codes[exit.code] = true end
  end
  if failed.fine or not next(codes) then codes[1] = true end
  return codes
end

-- --- starts by the policy ----------------------------------------------------------------------------

local function check_delay(self, book, at)
  local delay, step = delay_of(book)
  if not delay or not book.step_known then
    book.step_known = false
    return
  end
  book.step = step
  local waited = at - decided_at(book)
  if waited < 0.75 * delay - NOW then
    self:breach("%s: started again after %.3f s, its backoff is %.3f s", book.name, waited, delay)
  elseif waited > delay + NOW and not book.job.prepare and book.provided_from < decided_at(book) then
    self:breach("%s: started again only after %.3f s, its backoff is %.3f s", book.name, waited, delay)
  end
end

local function check_policy(self, book, at)
  if not book.restartable or not policy_allows(book) then
    self:breach("%s: started, and neither its trigger, nor a call, nor its restart policy explains it", book.name)
    return
  end
  book.count = book.count + 1
  book.times[#book.times + 1] = decided_at(book)
  check_delay(self, book, at)
end

-- --- a job begins ------------------------------------------------------------------------------------

-- By the policy, or after a refusal.
local function check_next_try(self, book, at)
  if not book.retry then return check_policy(self, book, at) end
  if at < book.retry_from - SAME then
    self:breach("%s: tried again after a refusal %.3f s too early", book.name, book.retry_from - at)
  end
end

-- Is there a reason other than the policy, for which that counts anew? Where the policy may have been the reason, too,
-- the counters are unknown; with what it is bound to the job goes on where it was.
local function counts_anew(self, book, at)
  local explained, bound = take_credit(self, book, at)
  if not explained then return bound end
  book.vague = book.restartable or book.retry or bound
  book.count, book.times, book.step, book.step_known = 0, {}, 0, not book.vague
  return true
end

-- Its `prepare` begins, or its process, or its Lua run.
local function begins(self, book, at)
  -- A function may have been started, and not have come to its first line.
  local is_function = book.job.kind == "run" or book.job.prepare
  local late = self.closing and not (is_function and at <= self.closing + SAME)
  if late then self:breach("%s: started after the shutdown began", book.name) end
  if book.stopping then self:breach("%s: started while it stops", book.name) end
  check_provided(self, book)
  if book.after_handoff then -- what the old core prepared or ran: what came meanwhile counts still
    book.count, book.times, book.step_known, book.vague = 0, {}, false, true
  elseif not counts_anew(self, book, at) then
    check_next_try(self, book, at)
  end
  book.retry, book.after_handoff, book.restartable, book.expected, book.idle_since = nil, nil, nil, nil, nil
  book.last_begin, book.started, book.over = at, nil, nil
  if book.asked and at > book.asked + NOW then book.asked = nil end
end

local TRANSIENT = { EAGAIN = true, ENOMEM = true, EMFILE = true, ENFILE = true }

-- The last program of a job; all before it must be gone, with all that belongs to them.
local function check_alone(self, book, child)
  for _, other in ipairs(book.children) do
    if #other.group.members > 0 then
      self:breach("%s: pid %d was started while pid %d of it lives", book.name, child.group.id,
        other.group.members[1].pid)
    end
  end
  if book.running then self:breach("%s: a program beside its Lua run", book.name) end
end

local function check_prepared(self, book, at)
  if book.under_way then -- it began when it was asked for
    book.under_way = nil
    return
  end
  if not book.job.prepare then return begins(self, book, at) end
  if not book.prepared then self:breach("%s: started without its `prepare`", book.name) end
  book.prepared, book.preparing = nil, nil
end

local see = {} -- by kind of moment

-- The machine could not start it now: the next try is the start that was asked for, and comes ever more slowly.
local function refused(self, book, at)
  book.refused = (book.refused or 0) + 1
  book.over = book.exit ~= nil -- the last run is still the last one
  book.expected, book.retry_by = nil, at + math.min(2 ^ (book.refused - 1), 15)
  book.retry_from = at + 0.75 * (book.retry_by - at)
end

local function see_program(self, moment, book)
  check_prepared(self, book, moment.at)
  if not moment.child then
    book.retry, book.started = TRANSIENT[moment.code], nil
    if book.retry then refused(self, book, moment.at) else book.refused = nil end
    if self.closing then self:breach("%s: started after the shutdown began", book.name) end
    return idle_from(self, book)
  end
  if self.closing then self:breach("%s: started after the shutdown began", book.name) end
  check_alone(self, book, moment.child)
  book.children[#book.children + 1], book.refused = moment.child, nil
  book.started, book.stop_sent, book.empty_at = moment.at, nil, nil
  book.must_end = book.job.timeout and moment.at + book.job.timeout
end

-- The results of a run say nothing of the next one.
local function forget_results(book)
  book.results, book.healthy, book.was_healthy, book.generation = {}, nil, nil, book.generation + 1
end

-- What the machine lacks for a check says nothing of the job.
local function see_check(self, moment, book)
  if moment.child then
    self.checks[moment.child] = { book = book, generation = book.generation, at = moment.at }
  elseif not TRANSIENT[moment.code] then
    book.results[#book.results + 1] = { passed = false, at = moment.at }
  end
end

function see.spawn(self, moment)
  local book = self.books[moment.argv[2] or ""]
  if not book then return end
  if moment.argv[1] == "app" then see_program(self, moment, book) end
  if moment.argv[1] == "check" then see_check(self, moment, book) end
end

-- The start of a program that hangs: it has begun, and its process comes later.
function see.hang(self, moment)
  local book = self.books[moment.argv[2] or ""]
  if not book or moment.argv[1] ~= "app" then return end
  if book.under_way then self:breach("%s: started while it starts", book.name) end
  check_prepared(self, book, moment.at)
  book.under_way = true
end

-- Has an earlier run left somebody who lives? A daemon of it may be who answered.
local function has_elders(self, book)
  local run, found = book.children[#book.children], false
  self.box.port.kernel.all:walk(function(proc)
    local astray = not proc.group and proc.state ~= "dead" and proc.env.LUAPILOT_JOB == book.name
    found = found or run ~= nil and astray and proc.pid < run.group.id
  end)
  return found
end

function see.exit(self, moment)
  local check = self.checks[moment.child]
  if not check then return end
  self.checks[moment.child] = nil
  local book, passed = check.book, moment.code == 0
  if moment.child.cancelled or check.generation ~= book.generation then return end
  if passed and moment.at > check.at + book.job.health.timeout - NEWS then passed = "perhaps" end -- or it timed out
  if passed and has_elders(self, book) then passed = "perhaps" end
  book.results[#book.results + 1] = { passed = passed, at = moment.at }
end

-- --- health --------------------------------------------------------------------------------------------

-- How many of the last results are of a kind, for sure or perhaps.
local function in_a_row(book, passed, perhaps)
  local count = 0
  for i = #book.results, 1, -1 do
    local result = book.results[i].passed
    if result ~= passed and not (perhaps and result == "perhaps") then break end
    count = count + 1
  end
  return count
end

-- Failures in a row that count: not those of the start_period.
local function failures(book)
  local count, from = 0, (book.started or 0) + (book.job.health.start_period or 0) + NOW
  for i = #book.results, 1, -1 do
    local result = book.results[i]
    if result.passed or result.at < from then break end
    count = count + 1
  end
  return count
end

local function see_health(self, book, name)
  local check = book.job.health
  if book.healthy == name then self:breach("%s: %s twice", book.name, name) end
  if book.stopping then self:breach("%s: %s while it stops", book.name, name) end
  book.healthy, book.was_healthy = name, book.was_healthy or name == "healthy"
  if check.kind ~= "exec" then return end
  local wanted = name == "healthy" and check.rise or check.fall
  if in_a_row(book, name == "healthy", true) < wanted then
    self:breach("%s: %s without %d results of that kind in a row", book.name, name, wanted)
  end
end

-- What the results of a check that is a program must have led to.
local function tick_health(self, book, now)
  local check, last = book.job.health, book.results[#book.results]
  if check.kind ~= "exec" or book.maintained or not last or now < last.at + NOW then return end
  if not alive(book) or book.stopping or book.stop_sent then return end
  if book.children[#book.children].group.leader.state == "dead" then return end
  local fails = failures(book)
  if in_a_row(book, true) >= check.rise and book.healthy ~= "healthy" then
    self:breach("%s: %d checks in a row passed, and it is not healthy", book.name, check.rise)
  elseif book.was_healthy and fails >= check.fall and book.healthy ~= "unhealthy" then
    self:breach("%s: %d checks in a row failed, and it is not unhealthy", book.name, check.fall)
  elseif book.was_healthy and check.restart_after and fails >= check.restart_after then
    self:breach("%s: %d checks in a row failed, and it was not told to end", book.name, fails)
  end
end

-- --- ends ----------------------------------------------------------------------------------------------

-- A start that failed because of what it depends on: that can never come, and the code is of what failed.
local function check_unmet(self, book, event)
  local comes = true
  for _, one in ipairs(book.job.depends) do
    local source = self.books[one.name]
    if is_so(self, one) ~= true and will_act(self, source, {}) ~= true then comes = false end
  end
  if comes then self:breach("%s: given up, and all that it depends on can come", book.name) end
  if event.code ~= 1 and not self.failed[event.code] then -- what failed may have happened long ago
    self:breach("%s: ended with code %d, which nothing that it depends on has", book.name, event.code)
  end
end

local CLOCK = { every = true, cron = true }

-- Such a start, too, has a reason.
local function check_asked_for(self, book, at)
  local ticks = book.after_handoff -- what the former core began
  book.after_handoff = nil
  each_leaf(book.job.when, function(leaf) ticks = ticks or CLOCK[leaf.kind] end)
  if ticks or book.retry or policy_allows(book) then return end
  local explained, bound = take_credit(self, book, at)
  if explained or bound then return end
  self:breach("%s: a start failed, and neither its trigger, nor a call, nor its restart policy explains it", book.name)
end

local function see_exit_event(self, book, event, at)
  if book.stopping then self:breach("%s: %s while it stops", book.name, event.name) end
  if (event.code == 0) ~= (event.name == "exit_success") then
    self:breach("%s: %s with code %s", book.name, event.name, tostring(event.code))
  end
  local check = book.job.health
  local enough = check.kind ~= "exec" or in_a_row(book, false, true) >= (check.restart_after or math.huge)
  if event.reason == "health" and not enough then
    self:breach("%s: ended for its health without %s failures in a row", book.name, tostring(check.restart_after))
  end
  if event.reason == "timeout" and not (book.job.timeout and at >= (book.started or at) + book.job.timeout - SAME) then
    self:breach("%s: timed out too early", book.name)
  end
  if event.reason == "dependency" then
    check_unmet(self, book, event)
    check_asked_for(self, book, at)
  end
  book.failed_at = not book.started and at or nil
  self.failed[event.code] = event.code ~= 0 and event.reason ~= "dependency" or self.failed[event.code]
  book.exit, book.over = { code = event.code, reason = event.reason, at = at }, true
  book.last_end, book.preparing, book.prepared, book.running, book.must_end = "exit", nil, nil, nil, nil
  local never_ran = event.reason == "trigger" or event.reason == "dependency"
  book.restartable = not never_ran
  if event.reason == "dependency" then book.expected, book.retry = nil, nil end
  forget_results(book)
  book.stop_called = nil
  idle_from(self, book)
end

-- Does a trigger name the job, or one whose trigger does?
local function needs(self, other, name, seen)
  for source in pairs(other.job.sources) do
    if source == name then return true end
    local book = self.books[source] -- a watch has none
    if book and not seen[source] then
      seen[source] = true
      if needs(self, book, name, seen) then return true end
    end
  end
  return false
end

-- Do those who wait for it wait for each other? Then nobody is the first to be asked, and all are asked at once.
local function waits_for_ring(self, name, path)
  if path[name] then return true end
  path[name] = true
  for other, book in pairs(self.books) do
    if book.job.sources[name] and waits_for_ring(self, other, path) then return true end
  end
  path[name] = nil
  return false
end

-- Does it depend on the job, directly or by way of others?
local function depends_on(self, other, name, seen)
  for _, one in ipairs(other.job.depends) do
    if one.name == name then return true end
    if not seen[one.name] then
      seen[one.name] = true
      if depends_on(self, self.books[one.name], name, seen) then return true end
    end
  end
  return false
end

local function see_stopping(self, book, at)
  if book.stopping then self:breach("%s: stopping twice", book.name) end
  check_bound_first(self, book, at)
  note_bound_stop(self, book, at)
  book.stopping, book.last_end, book.must_end, book.idle_since = at, "stop", nil, nil
  book.stop_by = at + book.job.stop_timeout -- waiting for those that are bound takes nothing of it
  forget_results(book)
  local last = math.min(1, 0.15 * self.plan.shutdown_timeout) -- of a shutdown, belongs to SIGKILL
  local kills = self.killing or self.closing and at > self.closing + self.plan.shutdown_timeout - last - NOW
  if not self.closing or kills then return end
  for name, other in pairs(self.books) do
    local waits = name ~= book.name and alive(other) and not book.stop_called and needs(self, other, book.name, {})
    if waits and (depends_on(self, other, book.name, {}) or not waits_for_ring(self, name, {})) then
      self:breach("%s: asked to stop while %s, which needs it, lives", book.name, name)
    end
  end
end

-- A Lua run that does not end in time is given up: no signal shows it.
local function was_given_up(self, book)
  if book.job.kind ~= "run" or not book.stopping then return false end
  return self.killing or self.box.world:elapsed() >= book.stopping + book.job.stop_timeout - NOW
end

local function see_stopped(self, book)
  self.perhaps_cut_short = self.perhaps_cut_short or self.closing and was_given_up(self, book)
  local due = book.restartable and not book.stopping and not book.stop_called and not self.closing
  if due and not active(book) and policy_allows(book) == true then
    self:breach("%s: stopped, and its restart policy would start it again", book.name)
  end
  if due and not active(book) and not book.job.when.parts and fires_again(self, book.job.when, { [book] = true }) then
    self:breach("%s: stopped for good, and its trigger will start it again", book.name)
  end
  if alive(book) then
    self:breach("%s: stopped, and pid %d of it lives", book.name, book.children[#book.children].group.id)
  end
  local starts = not book.stopping and (book.preparing or book.under_way)
  if starts then note_bound_stop(self, book, self.box.world:elapsed()) end
  if not book.stopping then book.over = book.exit ~= nil end
  book.asked = nil
  book.stopping, book.stop_by, book.restartable, book.preparing, book.running, book.retry = nil, nil, nil, nil, nil, nil
  book.under_way = nil
  idle_from(self, book)
end

-- --- events --------------------------------------------------------------------------------------------

local function owes_start(self, book)
  if is_owed(self, book) then self:breach("it ended by itself, and the trigger of %s had fired", book.name) end
  if is_new(book) and not book.stop_called and will_fire(self, book.job.when, { [book] = true }) then
    self:breach("it ended by itself, and the trigger of %s could still fire", book.name)
  end
end

-- A main job ends the pilot: when it was complete, or could never begin.
local function see_main_end(self)
  local mains = {}
  for _, book in pairs(self.books) do
    if book.job.main then mains[#mains + 1] = book end
  end
  if #mains == 1 and is_new(mains[1]) then
    owes_start(self, mains[1])
    self.unmet = codes_of_unmet(self, mains[1])
  end
  return #mains > 0
end

local function see_shutdown(self, at)
  self.closing = at
  if self.asked or self.called_shutdown or see_main_end(self) then return end
  if self.plan.meddled then self:breach "it ended by itself, and timers were left" end
  for _, book in pairs(self.books) do
    if active(book) then self:breach("it ended by itself, and %s was at work", book.name) end
    owes_start(self, book)
    each_leaf(book.job.when, function(leaf)
      local waits = leaf.kind == "manual" or leaf == book.job.when and (leaf.kind == "every" or leaf.kind == "cron")
      if waits then self:breach("it ended by itself, and %s may still start", book.name) end
    end)
  end
end

function see.event(self, moment)
  local event, source, name = moment.event, moment.source, moment.name
  self.number = self.number + 1
  event.number = self.number
  local of = ("%s %s"):format(source, name)
  self.published[of] = self.published[of] or {}
  table.insert(self.published[of], self.number)
  local book = self.books[source]
  if book and name:find "^exit_" then see_exit_event(self, book, event, moment.at) end
  if book and name == "stopping" then see_stopping(self, book, moment.at) end
  if book and name == "stopped" then see_stopped(self, book) end
  if book and (name == "healthy" or name == "unhealthy") then see_health(self, book, name) end
  if name == "shutdown" then see_shutdown(self, moment.at) end
  hear_for_triggers(self, source, name, moment.at)
  for _, handler in pairs(self.plan.handlers) do
    local settles = handler.settle and handler.source == source and handler.event == name
    if settles then self.handled_at = math.max(self.handled_at, moment.at + handler.settle) end
  end
end

-- --- signals -------------------------------------------------------------------------------------------

local function book_of(self, child)
  for _, book in pairs(self.books) do
    for _, other in ipairs(book.children) do
      if other == child then return book end
    end
  end
end

-- SIGKILL comes only when a budget is used up: of a stop, of a run, of what a leader left behind.
local function check_kill(self, book, at)
  if self.killing then return end
  local job, plan = book.job, self.plan
  if self.closing then
    local last = self.closing + plan.shutdown_timeout - math.min(1, 0.15 * plan.shutdown_timeout)
    local due = math.min(last, (book.stopping or book.stop_sent or book.exit and book.exit.at or at) + job.stop_timeout)
    local timed_out = book.must_end and at >= book.must_end - SAME
    if at < due - SAME and not timed_out then self:breach("%s: killed, and nobody asked twice", book.name) end
    return
  end
  if book.stopping then
    if at < book.stopping + job.stop_timeout - SAME then
      self:breach("%s: killed %.3f s after it was asked to stop, it may take %.3f s", book.name, at - book.stopping,
        job.stop_timeout)
    end
    local share = math.min(1, 0.2 * job.stop_timeout)
    if not book.stop_sent or at - book.stop_sent < share - SAME then
      self:breach("%s: killed without %.3f s for %s", book.name, share, job.stop_signal)
    end
  elseif not (book.must_end and at >= book.must_end - SAME) then
    local asked = book.stop_sent or book.exit and book.exit.at
    if not asked or at < asked + job.stop_timeout - SAME then
      self:breach("%s: killed, and no budget was used up", book.name)
    end
  end
end

function see.signal(self, moment)
  local book = book_of(self, moment.child)
  if not book then return end
  local job = book.job
  local stops = moment.signal == job.stop_signal and moment.target == job.stop_target
  if stops then book.stop_sent = book.stop_sent or moment.at end
  if moment.signal == "SIGKILL" then
    check_kill(self, book, moment.at)
    local timed_out = not book.stopping and book.must_end and moment.at >= book.must_end - SAME
    if self.closing and not timed_out then self.cut_short = true end
  end
  if moment.signal ~= "SIGHUP" then return end
  if job.reload ~= "SIGHUP" or moment.target ~= "leader" then
    self:breach("%s: SIGHUP to its %s", book.name, moment.target)
  end
  if moment.at < book.started + YOUNG - SAME then
    self:breach("%s: SIGHUP when it was %.3f s old", book.name, moment.at - book.started)
  end
end

-- When the shutdown kills what is left.
local function bound_of(self)
  local seconds = self.plan.shutdown_timeout
  return (self.closing or math.huge) + seconds - math.min(1, 0.15 * seconds)
end

-- --- what the file says of itself ------------------------------------------------------------------------

local say = {}

function say.begin(self, at, name, number)
  local book = self.books[name]
  if book.running then self:breach("%s: two Lua runs at once", name) end
  check_prepared(self, book, at)
  book.running, book.started = number, at
end

-- Whose defer functions take too long ends without this line, and says nothing more either.
say["end"] = function(self, at, name, number)
  local book = self.books[name]
  if book.running ~= number then self:breach("%s: Lua run %s goes on after its end was told", name, number) end
  book.running, book.empty_at = nil, at
  idle_from(self, book)
end

function say.preparing(self, at, name)
  local book = self.books[name]
  begins(self, book, at)
  book.preparing = true
end

function say.prepared(self, _, name)
  local book = self.books[name]
  book.prepared = true
end

-- Each handler hears events in the order in which they were published; one with a queue misses none.
function say.heard(self, _, id, number)
  local handler, last = self.plan.handlers[id], self.heard[id] or 0
  self.handlers[id .. " " .. number] = true
  number = tonumber(number)
  self.heard[id] = number
  if number <= last then
    return self:breach("handler %s: event %d after event %d", id, number, last)
  end
  local of = ("%s %s"):format(handler.source, handler.event)
  local known, missed = false, nil
  for _, other in ipairs(self.published[of] or {}) do
    if other == number then known = true end
    if other > last and other < number and other > self.handed_over then missed = other end
  end
  if not known then self:breach("handler %s: event %d was none of %s", id, number, of) end
  local whole = handler.when_busy == "queue" and not handler.settle and handler.event ~= "stopping"
  if whole and missed then self:breach("handler %s: it never heard event %d, but %d", id, missed, number) end
end

-- Those that are at work in a shutdown are awaited.
function say.done(self, at, id, number, why)
  self.handlers[id .. " " .. number] = nil
  self.handled_at = math.max(self.handled_at, at)
  if why == "shutdown" and not self.killing and at < bound_of(self) - NOW then
    self:breach("handler %s: cancelled, and the shutdown had time for it", id)
  end
end

-- One with a queue has heard every event when the pilot ends in order.
local function check_heard(self)
  for id, handler in pairs(self.plan.handlers) do
    local whole = handler.when_busy == "queue" and not handler.settle and handler.event ~= "stopping"
    local list = self.published[("%s %s"):format(handler.source, handler.event)] or {}
    local last = list[#list]
    if whole and last and last > self.handed_over and last > (self.heard[id] or 0) then
      self:breach("handler %s: it never heard event %d, the last", id, last)
    end
  end
end

function say.call(self, at, what, name)
  if what == "shutdown" then
    self.called_shutdown = true
    if not self.closing then self.request = self.request or at end
    return
  end
  local book = self.books[name]
  if what == "start" or what == "restart" then give_credit(book, at, math.huge, what) end -- until it returns
  if what == "stop" then book.expected = nil end
  if what == "maintenance" then book.maintained = true end -- its checks pause
  if what == "stop" or what == "restart" then book.stop_called, book.asked = at, book.asked or at end
end

local function returned(book, what, at)
  for _, credit in ipairs(book.credits) do
    if credit.user and (not what or credit.user == what) then credit.till, credit.user = at + SAME, nil end
  end
end

function say.returned(self, at, what, name) returned(self.books[name], what, at) end

function see.log(self, moment)
  if moment.message:find("an error inside luapilot", 1, true) then self:breach("%s", moment.message) end
  if moment.message == "ended" then self.ended = moment.at end
  local what, rest = moment.message:match "^@ (%l+) ?(.*)$"
  if not what then return end
  local words = {}
  for word in rest:gmatch "%S+" do words[#words + 1] = word end
  say[what](self, moment.at, unpack(words))
end

-- Tasks of the old core are gone: Lua runs begin anew, and so does what prepared.
function see.fault(self)
  self.handed_over, self.handlers = self.number, {}
  for _, book in pairs(self.books) do
    returned(book, nil, self.box.world:elapsed())
    if book.running or book.preparing then book.after_handoff = true end
    if book.running then forget_results(book) end
    local last = book.results[#book.results] -- perhaps still on its way, and lost
    if last and last.at > self.box.world:elapsed() - NEWS then last.passed = "perhaps" end
    book.running, book.preparing, book.prepared = nil, nil, nil
    idle_from(self, book)
  end
end

-- --- whenever time has passed ----------------------------------------------------------------------------

-- A trigger that fired, or a policy, is followed by a start.
local function tick_start(self, book, now)
  if self.closing or active(book) or book.stopping or not book.idle_since or not book.is_provided then return end
  if waits_for_bound(self, book) then return end
  local from = math.max(book.expected or math.huge, book.idle_since, book.provided_from, (book.failed_at or -1) + AGAIN)
  if now > from + NOW then
    self:breach("%s: its trigger fired at %.6f, and it was not started", book.name, book.expected)
  end
  if book.retry and now > math.max(book.retry_by, book.provided_from) + NOW and not book.stop_called then
    self:breach("%s: refused, and not tried again", book.name)
  end
  if not book.restartable or book.stop_called or book.retry or policy_allows(book) ~= true then return end
  local delay = delay_of(book) or book.job.restart.max_backoff
  if not book.step_known then delay = math.max(delay, book.job.restart.max_backoff) end
  if now > math.max(decided_at(book), book.idle_since, book.provided_from) + delay + NOW then
    self:breach("%s: its restart policy starts it again within %.3f s, and it was not", book.name, delay)
  end
end

-- At start-up, and at each interval, when it was at rest.
local function tick_clock(self, book, now)
  local leaf = book.job.when
  if self.closing or active(book) or book.stopping or not book.idle_since or not book.is_provided then return end
  if waits_for_bound(self, book) then return end
  local is_late = now > book.provided_from + NOW
  if leaf.kind == "startup" and not (book.last_begin or book.exit or book.stop_called) and is_late then
    self:breach("%s: not started at start-up", book.name)
  elseif leaf.kind == "every" then
    local from = math.max(book.idle_since, book.provided_from, book.stop_called or 0) -- a stop takes back what waits
    local tick = math.ceil((from + NOW) / leaf.interval) * leaf.interval
    local due = math.max(tick, (book.failed_at or -1) + AGAIN)
    local taken_back = book.stop_called and book.stop_called >= tick -- before it was due
    if now > due + NOW and not taken_back then
      self:breach("%s: not started at %.6f by its interval", book.name, tick)
    end
  end
end

local function tick_ends(self, book, now)
  if self.killing then
    local lives = alive(book) and now > self.killing + NOW
    if lives then self:breach("%s: lives, and the pilot was told twice to end", book.name) end
    return
  end
  if book.stop_by and now > book.stop_by + NOW and not self.closing then
    self:breach("%s: asked to stop at %.6f, and not stopped within %.3f s", book.name, book.stopping,
      book.job.stop_timeout)
  end
  if book.must_end and now > book.must_end + NOW and alive(book) and not (book.stopping or book.stop_sent)
    and not has_bound(self, book) then
    self:breach("%s: runs longer than its timeout of %.3f s", book.name, book.job.timeout)
  end
end

-- While jobs live, one of them has been asked to stop, or is ending by itself: nobody waits for nothing.
local function tick_shutdown(self, now)
  local lives, last = nil, self.closing
  for _, name in ipairs(self.plan.order) do
    local book = self.books[name]
    local child = book.children[#book.children]
    local ending = alive(book) and child.group.leader.state == "dead"
    if book.stopping or ending or book.preparing then return end
    if active(book) then lives = name end
    last = math.max(last, book.idle_since or 0)
  end
  if lives and now > last + NOW then self:breach("%s: the shutdown waits, and did not ask it to stop", lives) end
end

local function tick(self)
  local now = self.box.world:elapsed()
  note_states(self)
  for _, name in ipairs(self.plan.order) do
    local book = self.books[name]
    idle_from(self, book)
    tick_start(self, book, now)
    tick_clock(self, book, now)
    tick_ends(self, book, now)
    tick_health(self, book, now)
    tick_bound(self, book, now)
  end
  if self.closing and not self.killing then tick_shutdown(self, now) end

  if self.closing and not self.box.ended and now > self.closing + self.plan.shutdown_timeout + NOW then
    self:breach("the shutdown takes longer than %g s", self.plan.shutdown_timeout)
  end
end

local function raise_breaches(self)
  if self.breaches[1] then error("a law is broken:\n" .. table.concat(self.breaches, "\n"), 0) end
end

function Watched:check()
  if #self.breaches == 0 and not self.box.ended then tick(self) end
  raise_breaches(self)
end

-- --- at the end --------------------------------------------------------------------------------------------

-- Handles of the port: nothing but the two timers of the shutdown's own bound.
local function check_handles(self)
  local port, timers = self.box.port, 0
  for id = 1, port.last_id do
    local handle = port.handles[id]
    if handle and handle.kind == "timer" then
      timers = timers + 1
    elseif handle then
      self:breach("left behind: a handle of kind %s", handle.kind)
    end
  end
  if timers > 2 then self:breach("left behind: %d timers", timers) end
end

-- A shutdown lasts as long as something is at work, and no longer. Tasks that are cancelled have their defer functions.
local function check_prompt(self, now)
  if next(self.handlers) then return end
  local last = math.max(self.closing or now, self.handled_at)
  for _, book in pairs(self.books) do
    if active(book) then return end
    last = math.max(last, book.idle_since or 0)
  end
  if now > last + DEFERS + NOW then
    self:breach("it ended %.3f s after the last thing that was at work", now - last)
  end
end

local function last_code(self)
  local mains, failed = {}, { [0] = true }
  for _, book in pairs(self.books) do
    if book.job.main then mains[#mains + 1] = book end
    if book.exit then failed[book.exit.code] = true end
  end
  if self.called_shutdown then return { [7] = true } end
  if self.cut_short then return { [124] = true } end
  if #mains ~= 1 then return #mains == 0 and failed or nil end
  local main = mains[1]
  if is_new(main) and not main.stop_called then
    return self.unmet or { [0] = true }
  end
  return { [main.last_end == "exit" and main.exit.code or 0] = true }
end

---The pilot has ended: nothing may be left, and its code must mean something.
function Watched:at_end()
  local box = self.box
  if not self.closing then self:breach "it ended without a shutdown" end
  local took = (self.ended or box.world:elapsed()) - (self.closing or 0)
  local cut_short = took > self.plan.shutdown_timeout - NOW -- in the middle of a defer function, perhaps
  for _, name in ipairs(self.plan.order) do
    local book = self.books[name]
    if book.stopping and not (cut_short and book.job.kind == "run") then self:breach("%s: never stopped", name) end
  end
  check_prompt(self, self.ended or box.world:elapsed())
  local killed = self.killing or took > self.plan.shutdown_timeout - 1 - NOW
  if not killed then
    check_handles(self)
    check_heard(self)
  end
  if not killed and box.app.tasks.count > 0 then self:breach("left behind: %d tasks", box.app.tasks.count) end
  local codes = (self.cut_short or not killed) and last_code(self)
  if box.exit_code == 124 and self.perhaps_cut_short then codes = nil end
  if codes and not codes[box.exit_code] then self:breach("the exit code is %s", tostring(box.exit_code)) end
  raise_breaches(self)
end

---A signal asks the pilot to end, or a second time: then it is to end at once. What comes soon is the same request.
---@param name string
---@return boolean sure      false: too near to the bound, nobody should send it
function Watched:ask_to_end(name)
  local now, same = self.box.world:elapsed(), name == "SIGINT" and 0.1 or 1
  local age = self.request and now - self.request
  if age and math.abs(age - same) < 2 * NEWS then return false end
  if age and age >= same then self.killing = self.killing or now end
  self.request, self.asked = self.request or now, true
  return true
end

-- --- watching ------------------------------------------------------------------------------------------------

-- The moment at which nothing of a program lives any more, from the kernel.
local function watch_kernel(self, kernel)
  local died = kernel.died
  kernel.died = function(of, proc)
    died(of, proc)
    if not proc.group then return end
    local name = proc.argv[1] == "app" and proc.argv[2]
    local book = name and self.books[name]
    if book and proc == proc.group.leader then book.died_at = self.box.world:elapsed() end
    if #proc.group.members > 0 then return end
    local last = book and book.children[#book.children]
    if last and last.group == proc.group then book.empty_at = self.box.world:elapsed() end
    if book then idle_from(self, book) end
  end
end

---@param box luapilot.sim.Box     not yet started
---@param plan spec.Plan
---@return spec.Watched
function laws.watch(box, plan)
  local self = setmetatable({
    plan = plan, box = box, books = {}, breaches = {}, checks = {}, published = {}, heard = {}, number = 0,
    pending = {}, failed = {}, handed_over = 0, shifted = -120, handlers = {}, handled_at = 0,
  }, Watched)
  for name, job in pairs(plan.jobs) do
    self.books[name] = new_book(job)
    if job.when.kind == "startup" then
      self.books[name].credits[1] = { at = 0, till = 0, single = true }
    end
  end
  local record = box.record
  box.record = function(of, kind, moment)
    record(of, kind, moment)
    if see[kind] and (kind ~= "fault" or moment.message == "handoff") then see[kind](self, moment) end
    note_states(self)
  end
  watch_kernel(self, box.port.kernel)
  local clock = box.world.clock
  local shift = clock.shift
  clock.shift = function(...)
    self.shifted = box.world:elapsed()
    return shift(...)
  end
  box.world.on_rest = function() raise_breaches(self) end -- not from inside the core
  return self
end

return laws
