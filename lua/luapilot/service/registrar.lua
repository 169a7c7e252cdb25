-- registrar: keeps what the Consul agent holds equal to what is wanted of it.
--
-- One request at a time for each service: what service/reconciler.lua says is next. Of a thousand services a few have
-- their turn at a time: an agent writes each registration to its disk, so they take seconds, and what must not be late
-- goes first. When Consul is away all wait, and one of them asks again, after 0.5, 1, 2 … 5 s. What an agent has
-- forgotten shows at the next renewal; what somebody changed there shows when it is asked what it holds, twice in the
-- shortest TTL, for all services at once.
--
-- It owns the requests under way, the timers and the pauses. It decides nothing about jobs, keeps nobody waiting, and
-- does not keep a pilot alive.

local client = require "luapilot.consul.client"
local copy = require "luapilot.base.copy"
local describe = require "luapilot.base.describe"
local duration = require "luapilot.base.duration"
local json = require "luapilot.base.json"
local outage = require "luapilot.consul.outage"
local queue = require "luapilot.base.queue"
local schema = require "luapilot.schema.schema"
local reconciler = require "luapilot.service.reconciler"
local utf8 = require "luapilot.base.utf8"

local registrar = {}

local TIMEOUT = 5                             -- seconds, to say what it holds
local LOOK_BODY = 8 * 1024 ^ 2                -- bytes of what it holds: ten thousand services
local STEP_BODY = 64 * 1024                   -- … of what it says to a step: nothing, or a line
local AT_ONCE = 32                            -- requests about services
local FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5     -- Consul is away
local FIRST_REFUSAL, LONGEST_REFUSAL = 1, 30  -- one service is refused …
local FINAL_REFUSAL = 600                     -- … for good: but the agent may become another one, unnoticed
local UNHEARD = { ECONNREFUSED = true, ENOENT = true, EAI_NONAME = true } -- there was nobody to hear a request
local PATIENCE = 1                            -- … for an attempt on behalf of those who leave
local LOOKS = 2                               -- at what the agent holds, in the shortest TTL …
local CLOSELY = 4                             -- … which is so long at most while another instance may leave it

---@class luapilot.Registrar
---@field app luapilot.App
---@field outage luapilot.Outage
---@field records table<string, luapilot.ServiceRecord>
---@field flights table<string, fun()>     by id: cancels the request that is under way
---@field paused integer|true|nil          Consul is away: the timer of the next try
---@field stopped true?
local Registrar = {}
Registrar.__index = Registrar

local resume, look_later, empty_line, next_in_line, ask_again, reserve -- forward

---@param app luapilot.App     with its client
---@param away luapilot.Outage
---@return luapilot.Registrar
function registrar.new(app, away)
  local self = setmetatable({
    app = app, outage = away, records = {}, flights = {}, timers = {}, waiting = {}, refusals = {}, looks = 0,
    touched = {}, lost = {}, unsure = {}, strange = {}, troubled = {}, garbled = {},
    answered = 0, tries = 0, under_way = 0,
  }, Registrar)
  self.at_once = math.max(1, math.min(AT_ONCE, app.consul.options.max_connections - #schema.keys(app.watches)))
  empty_line(self)
  away:when_back(function(who)
    if who ~= self and self.paused then resume(self) end
  end)
  app.consul:when_renewed(function() ask_again(self) end)
  reserve(self)
  return self
end

-- Watches are about to take what connections the agent allows: this one is there before, and services go by it.
function reserve(self)
  if not self.app.watch_drafts[1] then return end
  for _, runner in ipairs(self.app.order) do
    if runner.spec.service then
      self.reserving = self.app.consul:send({ path = { "status", "leader" }, timeout = TIMEOUT }, function() end)
      return
    end
  end
end

-- --- requests --------------------------------------------------------------------------------

local requests = {} -- by step: the request that takes it

function requests.register(record)
  local body = {}
  for name, value in pairs(record.want.registration) do body[name] = value end
  if #body.Tags == 0 then body.Tags = nil end -- an empty table is an object in JSON
  body.Check = { Status = reconciler.first_status(record) }
  for name, value in pairs(record.want.registration.Check) do body.Check[name] = value end
  return { path = { "agent", "service", "register" }, body = json.encode(body) }
end

function requests.deregister(record)
  return { path = { "agent", "service", "deregister", record.id } }
end

local function maintenance(record, query)
  return { path = { "agent", "service", "maintenance", record.id }, query = query }
end

function requests.maintain(record)
  return maintenance(record, { enable = "true", reason = record.want.maintenance })
end

function requests.resume(record) return maintenance(record, { enable = "false" }) end

local function status(record, what, output)
  return {
    path = { "agent", "check", "update", "service:" .. record.id },
    body = json.encode { Status = what, Output = utf8.repaired(output) }, -- a program may say anything
  }
end

function requests.cover(record) return status(record, "critical", record.want.maintenance) end

function requests.update(record) return status(record, record.want.status, record.want.output) end

-- --- one service -----------------------------------------------------------------------------

local function log(self, level, record, message, event, reason)
  self.app:log(level, ("service %q: %s"):format(record.id, message), nil, event, nil,
    { service = record.id, reason = reason })
end

local function untimer(self, record)
  if self.timers[record.id] then self.app.loop:cancel(self.timers[record.id]) end
  self.timers[record.id] = nil
end

local function release(self, record)
  local list = self.waiting[record.id]
  self.waiting[record.id] = nil
  for _, fn in ipairs(list or {}) do fn() end
end

local function retire(self, record)
  untimer(self, record)
  self.app.consul:granted(record)
  self.records[record.id], self.refusals[record.id], self.touched[record.id] = nil, nil, nil
  self.lost[record.id], self.unsure[record.id], self.strange[record.id] = nil, nil, nil
  self.troubled[record.id] = nil
  self.app.dirty = true
  release(self, record)
end

local done, failed -- forward

local function send(self, record, step)
  local told, request = record.want, requests[step](record)
  request.method, request.timeout, request.max_body = "PUT", reconciler.timeout(record), STEP_BODY
  self.flights[record.id], self.under_way = function() end, self.under_way + 1
  reconciler.sent(record, step)
  local cancel = self.app.consul:send(request, function(response, message, code, said)
    self.flights[record.id], self.under_way = nil, self.under_way - 1
    if self.trying == record then self.trying = nil end
    if response then done(self, record, step, told) else failed(self, record, step, message, code, said) end
    next_in_line(self)
  end)
  if self.flights[record.id] then self.flights[record.id] = cancel end
end

-- What the agent answers with: id → entry; nil: it is no table. What is no entry is left out.
local function decoded(response)
  local fine, value = pcall(json.decode, response.body)
  if not fine or type(value) ~= "table" then return nil end
  local entries = {}
  for id, entry in pairs(value) do entries[id] = type(entry) == "table" and entry or nil end
  return entries
end

local looked -- forward

-- Nobody answers, or nobody who has a connection for us: it is asked again, by one for all.
local function is_away(code, message) return outage.is_one(code, message) or client.is_crowded(code, message) end

-- Before a service is taken back the agent is asked what it holds: a living instance of the same id is not to vanish
-- with this one. One question for all that are taken back at the same time.
local function ask_first(self, record)
  self.flights[record.id] = function() end
  self.askers = self.askers or {}
  table.insert(self.askers, record)
  if self.askers[2] then return end
  self.under_way = self.under_way + 1
  local request = {
    path = { "agent", "services" }, timeout = reconciler.timeout(record), browses = true, max_body = LOOK_BODY,
  }
  local cancel = self.app.consul:send(request, function(response, message, code, said)
    local askers = self.askers
    self.askers, self.under_way = nil, self.under_way - 1
    for _, each in ipairs(askers) do
      self.flights[each.id] = nil
      if self.trying == each then self.trying = nil end
    end
    looked(self, askers, response and decoded(response), not response and is_away(code, message) and code,
      said or message)
  end)
  if self.flights[record.id] then self.flights[record.id] = cancel end
end

-- Takes a step.
local function take(self, record, step)
  if step == "look" then ask_first(self, record) else send(self, record, step) end
end

local pump

local function timer(self, record, seconds)
  untimer(self, record)
  self.timers[record.id] = self.app.loop:after(math.max(0, seconds), function()
    self.timers[record.id] = nil
    pump(self, record)
  end)
end

-- --- one after the other ---------------------------------------------------------------------

function empty_line(self) self.registrations, self.others, self.in_line = queue.new(), queue.new(), {} end

local function get_in_line(self, record, step)
  if self.in_line[record.id] then return end
  self.in_line[record.id] = true
  local line = step == "register" and self.registrations or self.others
  line:push(record)
end

-- A renewal must not wait for a thousand registrations.
function next_in_line(self)
  while self.under_way < self.at_once do
    local record = self.others:pop() or self.registrations:pop()
    if not record then return end
    self.in_line[record.id] = nil
    if self.records[record.id] == record then pump(self, record) end
  end
end

-- Is it what was refused that would be asked now? A registration that is another one by now is worth a request.
local function is_meant(refusal, record, step)
  if refusal.step ~= step then return false end
  return step ~= "register" or not refusal.final or copy.equal(refusal.told, record.want.registration)
end

-- The next step of a service, as far as it may be taken now.
function pump(self, record)
  if self.paused or self.trying or self.flights[record.id] then return end
  local now = self.app.port.now()
  local step, due = reconciler.next(record, now)
  if not step then
    if due then return timer(self, record, due - now) end
    return retire(self, record)
  end
  local refusal = self.refusals[record.id]
  if refusal and now < refusal.due and is_meant(refusal, record, step) then
    return timer(self, record, refusal.due - now)
  end
  if step == "look" and self.askers then return ask_first(self, record) end
  if self.under_way >= self.at_once then return get_in_line(self, record, step) end
  take(self, record, step)
end

local SAID = { register = "registered", deregister = "deregistered" }

local function taken(self, record, step, told)
  local port = self.app.port
  reconciler.done(record, step, told, port.now(), port.random)
  self.touched[record.id] = self.looks
  local refusal = self.refusals[record.id]
  if refusal and refusal.step == step then
    log(self, "info", record, "Consul takes it now", "service_accepted")
    self.refusals[record.id] = nil
  end
  self.app.consul:granted(record)
  if step == "update" then self.lost[record.id] = nil end
  if step == "register" then self.unsure[record.id] = true end
  if SAID[step] then log(self, "info", record, SAID[step], "service_" .. SAID[step]) end
  if step == "register" and record.want then look_later(self, record.ttl / LOOKS) end
end

-- What is the same of a refusal that comes again: the text may have the id of a request in it, another one each time.
local function kind_of(step, message, code)
  return ("%s %s %s"):format(step, code, (message:gsub("%S+", function(word) return word:find "%d" and "#" end)))
end

local function outlook(record, final)
  if not final then return "asked again until it is granted" end
  return ("Consul never takes it so: change %s (asked again when Consul was away, and each %s)"):format(
    record.of or "it", duration.format(FINAL_REFUSAL))
end

-- It may be granted later, unless the registration is wrong in itself: only that is the user's.
local function refused(self, record, step, message, code)
  local former, kind = self.refusals[record.id], kind_of(step, message, code)
  local final = step == "register" and reconciler.is_final(code)
  reconciler.refused(record, step)
  if not former or former.kind ~= kind then
    log(self, "error", record, message .. "; " .. outlook(record, final), "service_refused", message)
  end
  local delay = math.min(former and 2 * former.delay or FIRST_REFUSAL, LONGEST_REFUSAL)
  self.refusals[record.id] = {
    step = step, kind = kind, delay = delay, due = self.app.port.now() + (final and FINAL_REFUSAL or delay),
    final = final, told = record.told, is_alone = self.troubled[record.id] ~= nil,
  }
  if code == 403 then self.app.consul:refused(record) else self.app.consul:granted(record) end
  release(self, record)
end

-- Once is a loss; again without a renewal in between is a refusal, and not worth a request each millisecond.
local function forgotten(self, record, message, code)
  reconciler.forget(record)
  if self.lost[record.id] then return refused(self, record, "register", message, code) end
  self.lost[record.id] = true
  log(self, "warn", record, "Consul has forgotten it: registered again", "service_lost")
end

-- --- Consul is away --------------------------------------------------------------------------

local function in_order(self)
  local list = {}
  for _, record in pairs(self.records) do list[#list + 1] = record end
  table.sort(list, function(a, b) return a.id < b.id end)
  return list
end

-- There is another token: who was refused with the former one is asked for at once.
function ask_again(self)
  if self.stopped then return end
  for _, record in ipairs(in_order(self)) do
    local refusal = self.refusals[record.id]
    if refusal then
      refusal.due = self.app.port.now()
      pump(self, record)
    end
  end
end

-- What may be asked of a record now.
local function open_step(self, record)
  local now, refusal = self.app.port.now(), self.refusals[record.id]
  local step = not self.flights[record.id] and reconciler.next(record, now)
  if step and not (refusal and now < refusal.due and is_meant(refusal, record, step)) then return step end
end

-- One that leaves, if there is such; and each in its turn, since an agent may fail with one service alone.
local function choose(self)
  local chosen, chosen_step, least
  for _, record in ipairs(in_order(self)) do
    local step = open_step(self, record)
    local rank = (record.want and 2 or 0) + (record.id > (self.turn or "") and 0 or 1)
    if step and (not least or rank < least) then chosen, chosen_step, least = record, step, rank end
  end
  return chosen, chosen_step
end

-- One asks for all. Nobody has a question: nobody waits for an answer either.
local function try(self)
  self.paused = nil
  local record, step = choose(self)
  if not record then return resume(self) end
  self.trying = record
  take(self, record, step)
end

-- Somebody leaves, who cannot wait for the end of a pause: it is cut short, once in each.
local function hurry(self)
  if self.hurried or not self.paused and not self.trying then return end
  self.hurried = self.app.port.now()
  if not self.paused then return end
  self.app.loop:cancel(self.paused)
  try(self)
end

-- Is there no more hope that Consul hears of who leaves? One attempt, of a second, is for all.
local function is_hopeless(self)
  return self.paused or self.trying and self.hurried and self.app.port.now() - self.hurried >= PATIENCE
end

-- The agent is there, and has no connection for us; or it is away.
local function blame(self, message, code)
  if not client.is_crowded(code, message) then
    self.app.consul.crowded:works(self)
    return self.outage:failed(self, message, code)
  end
  self.outage:works(self)
  self.app.consul.crowded:failed(self, "services")
end

local function works(self)
  self.outage:works(self)
  self.app.consul.crowded:works(self)
end

local function pause(self, message, code)
  blame(self, message, code)
  if self.paused then return end
  empty_line(self)
  for _, record in ipairs(in_order(self)) do release(self, record) end
  self.app.dirty = true -- who only waits for what leaves waits no longer
  local delay = math.min(FIRST_PAUSE * 2 ^ self.tries, LONGEST_PAUSE) * (1 - self.app.port.random() / 4)
  self.tries = math.min(self.tries + 1, 10)
  self.paused = self.app.loop:after(delay, function()
    self.hurried = nil
    try(self)
  end)
end

-- It answers. It may be another agent than before: it is asked what it holds.
function resume(self)
  if self.paused then self.app.loop:cancel(self.paused) end
  self.paused, self.trying, self.hurried, self.tries = nil, nil, nil, 0
  self.first_look = self.looks + 1 -- at an agent that may be another one
  look_later(self, 0)
  for _, refusal in pairs(self.refusals) do refusal.due = refusal.final and 0 or refusal.due end
  for _, record in ipairs(in_order(self)) do pump(self, record) end
end

local function go_on(self, records)
  works(self)
  if self.tries > 0 then return resume(self) end
  for _, record in ipairs(records) do pump(self, record) end
end

function done(self, record, step, told)
  self.answered, self.troubled[record.id] = self.answered + 1, nil
  taken(self, record, step, told)
  go_on(self, { record })
end

-- Where it cannot be seen, what there may be is taken back.
function looked(self, records, held, away, message)
  if away then return pause(self, message, away) end
  for _, record in ipairs(records) do
    local other = reconciler.seen(record, held and held[record.id])
    if other then
      log(self, "info", record, "not deregistered: another instance holds this id now: Consul's entry has " .. other,
        "service_contested", other)
    end
  end
  go_on(self, records)
  next_in_line(self)
end

-- It has failed before, and others were answered since then: that is no outage, until it is taken.
local function is_alone(self, record, code)
  if type(code) ~= "number" or code < 500 then return false end
  local former, refusal = self.troubled[record.id], self.refusals[record.id]
  self.troubled[record.id] = self.answered
  return former ~= nil and (former < self.answered or refusal ~= nil and refusal.is_alone)
end

function failed(self, record, step, message, code, said)
  local unknown = step ~= "register" and type(code) == "number" and reconciler.is_unknown(code, message)
  if not unknown and is_away(code, message) and not is_alone(self, record, code) then
    self.turn = record.id
    if step == "register" then record.unheard = UNHEARD[code] and (record.untold or record.unheard) or nil end
    return pause(self, said or message, code)
  end
  local is_over = step == "deregister" or step == "resume" and not record.have
  if unknown and is_over then return done(self, record, step) end
  if unknown then forgotten(self, record, message, code) else refused(self, record, step, message, code) end
  go_on(self, { record })
end

-- --- what the agent holds --------------------------------------------------------------------

local function is_settled(self, record, number)
  local want, have = record.want, record.have
  return want and have and not self.flights[record.id] and (self.touched[record.id] or 0) < number
    and copy.equal(want.registration, have.registration) -- else it may have heard of what is wanted now, or not
end

local function tell_contest(self, record, held, differs, seconds)
  local other = reconciler.anothers(record, held)
  local who = held and "changes" or "removes"
  local what = other and ("another instance registers itself under this id, too: Consul's entry has %s; give each an "
    .. "id of its own, by service.id or by its hostname"):format(other)
    or ("Consul's entry %s again: somebody %s it each time"):format(differs, who)
  log(self, "warn", record, ("%s; left alone for %s, then longer each time"):format(what, duration.words(seconds)),
    "service_contested", other or differs)
end

-- Once is an accident. So is what another agent lacks, or an entry that another instance has taken back.
local function altered(self, record, held, differs, is_accident)
  local port, round, seconds = self.app.port, nil, nil
  if not is_accident then round, seconds = reconciler.contested(record, port.now(), port.random) end
  if seconds then
    if round == 2 then tell_contest(self, record, held, differs, seconds) end
    reconciler.yield(record, held, port.now() + seconds)
    look_later(self)
  else
    log(self, "warn", record, ("Consul's entry %s: registered again"):format(differs), "service_lost")
    record.truce = nil
    reconciler.forget(record)
  end
  pump(self, record)
end

-- What is left alone for a while is only looked at for whether it is still there.
local function found(self, record, held, number)
  if record.truce then
    local is_gone = record.want and not held and not record.vanishes and not self.flights[record.id]
    return is_gone and altered(self, record, nil, "is gone", true)
  end
  local differs = is_settled(self, record, number) and reconciler.difference(record.have.registration, held)
  if differs then altered(self, record, held, differs, not held and number == self.first_look) end
end

local function compare(self, held, number)
  for _, record in ipairs(in_order(self)) do found(self, record, held[record.id], number) end
end

local function is_silent(record) return record.truce ~= nil and record.want ~= nil and not record.have end

-- Who can be found instead of an instance that is not well, or has died, is to be found.
local function compare_rivals(self, checks)
  for _, record in ipairs(in_order(self)) do
    local check = is_silent(record) and record.want.status ~= "critical" and checks["service:" .. record.id]
    if check and check.Status == "critical" and not self.flights[record.id] then
      log(self, "warn", record, "Consul's entry is another instance's and critical: registered again", "service_lost")
      record.truce = nil
      pump(self, record)
    end
  end
end

-- An entry that was there before may be in maintenance: of somebody, or of a pilot that is no more.
local function tell_strange(self, record, check)
  self.unsure[record.id] = nil
  local is_strange = check and not record.maintained and not record.have.maintenance
  if is_strange and not self.strange[record.id] then
    local notes = client.one_line(tostring(check.Notes or ""))
    local text = "it is in maintenance that this pilot did not begin: %s; nobody finds it until that ends: "
      .. "consul maint -disable -service=%s"
    text = text:format(describe.quote(notes), describe.quote(record.id))
    log(self, "warn", record, text, "service_maintained", notes)
  end
  self.strange[record.id] = is_strange or nil
end

-- Maintenance is a check of its own. One that somebody else has begun is left alone.
local function compare_checks(self, checks, number)
  compare_rivals(self, checks)
  for _, record in ipairs(in_order(self)) do
    local is_known, check = is_settled(self, record, number), checks["_service_maintenance:" .. record.id]
    if is_known and self.unsure[record.id] then tell_strange(self, record, check) end
    if is_known and record.have.maintenance and not check then
      log(self, "warn", record, "Consul has forgotten its maintenance: told again", "service_lost")
      record.have.maintenance = nil
      pump(self, record)
    end
  end
end

-- Once, until there is a good answer: whoever answers all with 200 seems to take registrations, too.
local function tell_garbled(self, what, message)
  local was_told = next(self.garbled) ~= nil
  self.garbled[what] = true
  if was_told then return end
  message = message or ("consul: GET /v1/agent/%s: the answer is none of Consul's: is this Consul?"):format(what)
  self.app:log("error", message .. " What becomes of this pilot's services there cannot be seen", nil, "consul_garbled",
    nil, { reason = message })
end

local function ask(self, what, fn)
  local number = self.looks
  local request = { path = { "agent", what }, timeout = TIMEOUT, browses = true, max_body = LOOK_BODY }
  self.app.consul:send(request, function(response, message, code)
    if self.stopped then return end
    if not response then return code == "EMSGSIZE" and tell_garbled(self, what, message .. ".") end
    local held = decoded(response)
    if not held then return tell_garbled(self, what) end
    self.garbled[what] = nil
    fn(self, held, number)
  end)
end

local function look(self)
  self.looks = self.looks + 1
  local matters = false
  for _, record in pairs(self.records) do
    matters = matters or record.have ~= nil and record.have.maintenance ~= nil or is_silent(record)
      or self.unsure[record.id]
  end
  ask(self, "services", compare)
  if matters then ask(self, "checks", compare_checks) end
end

local function pause_between_looks(self)
  local least
  for _, record in pairs(self.records) do
    local ttl = record.truce and math.min(record.ttl, CLOSELY) or record.ttl
    if record.want then least = math.min(least or ttl, ttl) end
  end
  return least and least / LOOKS
end

-- After `seconds`, unless that will be sooner; without, when it is time again.
function look_later(self, seconds)
  seconds = seconds or pause_between_looks(self)
  if not seconds or self.stopped then return end
  local due = self.app.port.now() + seconds
  if self.looker and self.look_due <= due then return end
  if self.looker then self.app.loop:cancel(self.looker) end
  self.look_due = due
  self.looker = self.app.loop:after(seconds, function()
    self.looker = nil
    if not self.paused and pause_between_looks(self) then look(self) end
    look_later(self)
  end)
end

-- --- what service/advertiser.lua wants -----------------------------------------------------------------

---What is wanted of a service is something else now.
---@param record luapilot.ServiceRecord
function Registrar:wanted(record)
  self.records[record.id] = record
  if not self.looker and (record.have or record.truce) then look_later(self) end -- of a former core
  pump(self, record)
end

---May others have found it? Not while nobody was there who could have heard of it.
---@param record luapilot.ServiceRecord
---@return boolean
function Registrar:is_found(record)
  local heard = not record.unheard or self.flights[record.id] ~= nil
  return record.have ~= nil or record.stray == true and heard
end

---Calls fn() when Consul does not hold it any more; at once if that is so, or if Consul is away: it was asked again.
---@param record luapilot.ServiceRecord
---@param fn fun()
function Registrar:when_gone(record, fn)
  hurry(self)
  if not self.records[record.id] or is_hopeless(self) then return fn() end
  local list = self.waiting[record.id] or {}
  self.waiting[record.id] = list
  list[#list + 1] = fn
end

---Is a service being taken back at this moment?
---@return boolean
function Registrar:is_leaving()
  if is_hopeless(self) then return false end
  for id, record in pairs(self.records) do
    if not record.want and (self.flights[id] or self.trying) then return true end
  end
  return false
end

local LEFT = "not deregistered: Consul did not answer in time; it is critical when its ttl is over, and stays until "
  .. "somebody removes it or its deregister_after is over"

local function tell_left(self)
  for _, record in ipairs(in_order(self)) do
    if self:is_found(record) and not record.truce then log(self, "warn", record, LEFT, "service_left") end
  end
end

---Asks nothing any more.
function Registrar:stop()
  self.stopped = true
  tell_left(self)
  for _, cancel in pairs(self.flights) do cancel() end
  for _, id in pairs(self.timers) do self.app.loop:cancel(id) end
  for _, record in pairs(self.records) do self.app.consul:granted(record) end
  if self.reserving then self.reserving() end
  self.app.consul.crowded:forget(self)
  if self.paused then self.app.loop:cancel(self.paused) end
  if self.looker then self.app.loop:cancel(self.looker) end
  self.flights, self.timers, self.paused, self.looker = {}, {}, true, nil
  empty_line(self)
end

return registrar
