-- reconciler: what Consul should hold for one service of a job, and the next step towards it. Pure.
--
--   want   what is to be: registration, status, output, maintenance; nil: nothing
--   have   what Consul was last told, or was found to hold
--
-- The job's state and its checks say what is wanted; a step is one request. The check is a TTL check: who does not
-- renew it in time is critical, so a pilot that dies is noticed. A status goes out when it changes; the text of a check
-- goes along with it, and else with the next renewal. That keeps the requests few: one for each half of a TTL.
--
-- Two instances that use one id overwrite each other. Who finds another's entry instead of its own registers once more,
-- then leaves it alone for a while, longer each time, and is silent: a renewal would be for the other's entry. Nor is
-- another's entry taken back at the end. But maintenance of ours ends first, in both cases: it would be the other's.
--
-- It owns the rules. It sends nothing (service/registrar.lua does) and keeps no time.

local copy = require "luapilot.base.copy"
local describe = require "luapilot.base.describe"

local reconciler = {}

local RENEWALS = 2      -- in each TTL: one may be lost
local SPREAD = 1 / 8    -- of the time between them, at random: services registered together do not stay together
local DEFAULT_TTL = 30  -- of a job without checks
local TIMEOUT = 1 / 4   -- of a TTL: a renewal that is lost in a hanging agent comes once more in time …
local LEAST_TIMEOUT, LONGEST_TIMEOUT = 1, 5 -- … where an agent that is only slow can answer it
local FIRST_TRUCE, LONGEST_TRUCE = 10, 300  -- seconds in which another's entry is left alone; a quarter more or less
local CALM = 3 * LONGEST_TRUCE              -- then nothing is known of a contest any more

---@class luapilot.Wanted
---@field registration table      as Consul's JSON, without the status
---@field status "passing"|"warning"|"critical"
---@field output string
---@field maintenance string?     the reason

-- --- what is wanted --------------------------------------------------------------------------

---How long Consul waits for a sign of life.
---@param checks luapilot.CheckSpec[]
---@return number seconds
function reconciler.ttl(checks)
  local least
  for _, check in ipairs(checks) do least = math.min(least or check.ttl, check.ttl) end
  return least or DEFAULT_TTL
end

---How long an answer is waited for.
---@param record luapilot.ServiceRecord
---@return number seconds
function reconciler.timeout(record)
  return math.max(LEAST_TIMEOUT, math.min(LONGEST_TIMEOUT, TIMEOUT * record.ttl))
end

-- As Go reads a duration: 2592000s, and not 2.592e+06s; to the nanosecond.
local function in_seconds(value) return (("%.9f"):format(value):gsub("0+$", ""):gsub("%.$", "")) .. "s" end

---The body of /v1/agent/service/register. https://developer.hashicorp.com/consul/api-docs/agent/service
---@param spec luapilot.ServiceSpec
---@param o { id: string, name: string, address: string, ttl: number, tags: string[]? }
---@return table
function reconciler.registration(spec, o)
  return {
    ID = o.id, Name = o.name, Port = spec.port, Address = o.address, Tags = o.tags or spec.tags, Meta = spec.meta,
    Weights = { Passing = spec.weights.passing, Warning = spec.weights.warning },
    EnableTagOverride = spec.enable_tag_override,
    Check = {
      CheckID = "service:" .. o.id, Name = "luapilot", TTL = in_seconds(o.ttl),
      DeregisterCriticalServiceAfter = spec.deregister_after and in_seconds(spec.deregister_after) or nil,
    },
  }
end

-- What its checks said, those that decide first.
local function output_of(view)
  local said = {}
  for i, one in ipairs(view.checks) do
    local decides = view.health ~= "unhealthy" or one.status == "failing"
    if one.output and decides then
      said[#said + 1] = #view.checks > 1 and ("health[%d]: %s"):format(i, one.output) or one.output
    end
  end
  return table.concat(said, "\n")
end

local ALIVE = { running = true, stopping = true }

local function of_running(view, spec)
  if view.health == "unhealthy" then return "critical", output_of(view) end
  if view.health == "healthy" or not view.checked then
    return view.warns and "warning" or "passing", output_of(view)
  end
  if view.again then return "critical", "started again; no check has passed yet" end
  return spec.initial_status or (view.registered and "critical" or nil), "no check has passed yet"
end

-- Between two runs.
local function of_gone(view)
  if not view.registered then return nil end
  local exit = view.exit
  local how = exit and (exit.signal and "killed by " .. exit.signal or "exit code " .. exit.code) or "not running"
  if view.state ~= "ending" then how = how .. "; it will be started again" end
  return "critical", how
end

local BETWEEN = { blocked = true, preparing = true, ending = true, backoff = true }

---@class luapilot.JobView     what the status of a job's services depends on
---@field state string         of job/machine.lua
---@field health string
---@field checked boolean      has it checks at all?
---@field checks { status: string, output: string? }[]     their results
---@field warns boolean
---@field exit table?
---@field leaving boolean      it is being stopped, and no longer to be found
---@field registered boolean   it has been registered, and not taken back
---@field again boolean?       … in a former run of the job

---The status that its services have now; nil: they are not registered.
---@param view luapilot.JobView
---@param spec luapilot.ServiceSpec
---@return "passing"|"warning"|"critical"|nil status
---@return string? output
function reconciler.status(view, spec)
  if view.leaving then return nil end
  if ALIVE[view.state] then return of_running(view, spec) end
  if BETWEEN[view.state] then return of_gone(view) end
end

-- --- the next step ---------------------------------------------------------------------------

-- An agent that knows a check keeps its status when it is registered again, so a status follows each registration.
-- While maintenance is to be, a new check begins critical, so that nobody finds the service before the maintenance. A
-- second reason is not taken while there is a first one: the check is critical (`cover`) until one has replaced the
-- other.

---@class luapilot.ServiceRecord     plain data
---@field id string
---@field of string?           what declares it: 'job "app".service'
---@field ttl number
---@field want luapilot.Wanted?
---@field have { registration: table, status: string?, output: string, maintenance: string?, renew: number }|nil
---@field stray boolean?       Consul may hold it: it was asked to, or it did once
---@field untold boolean?      … only because of what it is being asked now
---@field unheard boolean?     … and so far nobody was there who could have heard that
---@field maintained string?   Consul may hold maintenance of ours, for this reason
---@field told table?          the registration that was sent last
---@field looked boolean?      the agent was asked what it holds, before it is taken back
---@field contest { round: integer, at: number }?   the entry was altered so often, lastly then
---@field vanishes boolean?    it was gone each time
---@field truce number?        until then an entry that is not as wanted is left alone

---@alias luapilot.ServiceStep "register"|"look"|"deregister"|"maintain"|"resume"|"cover"|"update"

-- The way from one maintenance to another, or to none.
local function leave_maintenance(want, have)
  return want.maintenance and have.status ~= "critical" and "cover" or "resume"
end

---What is to be done now; nil and when it is time to renew; nil: nothing ever.
---@param record luapilot.ServiceRecord
---@param now number
---@return luapilot.ServiceStep? step
---@return number? due
function reconciler.next(record, now)
  local want, have, truce = record.want, record.have, record.truce
  local is_anothers = not have and (not want and not record.stray or truce and now < truce)
  if is_anothers and record.maintained then return "resume" end
  if not want then return (have or record.stray) and (record.looked and "deregister" or "look") or nil end
  if truce and not have and now < truce then return nil, truce end
  local is_due = not have or truce and now >= truce
  if is_due or not copy.equal(want.registration, have.registration) then return "register" end
  local maintained = have.maintenance or record.maintained
  if maintained and maintained ~= want.maintenance then return leave_maintenance(want, have) end
  if want.maintenance ~= have.maintenance then return "maintain" end
  if want.status ~= have.status or now >= have.renew then return "update" end
  return nil, have.renew
end

---The status that a new check begins with.
---@param record luapilot.ServiceRecord
---@return "passing"|"warning"|"critical"
function reconciler.first_status(record) return record.want.maintenance and "critical" or record.want.status end

---A step is being taken: it may count, even where no answer comes.
---@param record luapilot.ServiceRecord
---@param step luapilot.ServiceStep
function reconciler.sent(record, step)
  if step == "register" then
    record.stray, record.untold = true, not record.stray or nil
    record.told, record.looked = record.want.registration, nil
  end
  if step == "maintain" then record.maintained = record.want.maintenance end
  if step == "update" or step == "cover" then record.have.status = nil end -- it is the old one or the new one
end

local done = {} -- by step: what is known of the agent from now on

function done.deregister(record)
  record.have, record.stray, record.maintained, record.looked, record.truce = nil, nil, nil, nil, nil
end

function done.register(record, told, now)
  local have = record.have or {}
  have.registration, have.status, have.output, have.renew = told.registration, told.status, "", now
  record.have, record.truce, record.vanishes = have, nil, nil
end

function done.maintain(record, told) record.have.maintenance = told.maintenance end

function done.resume(record)
  record.maintained = nil
  if record.have then record.have.maintenance = nil end
end

function done.cover(record) record.have.status = "critical" end

function done.update(record, told, now, random)
  local have = record.have
  have.status, have.output = told.status, told.output
  have.renew = now + record.ttl / RENEWALS * (1 - SPREAD * random())
end

---A step has been done.
---@param record luapilot.ServiceRecord
---@param step luapilot.ServiceStep
---@param told luapilot.Wanted?    what was wanted when it was sent
---@param now number
---@param random fun(): number
function reconciler.done(record, step, told, now, random) done[step](record, told, now, random) end

---A step was refused. What was never held need not be taken back; who may not write may not see what is there, either.
---@param record luapilot.ServiceRecord
---@param step luapilot.ServiceStep
function reconciler.refused(record, step)
  if step == "register" and record.untold then record.stray = nil end
end

---Consul turned out not to hold it (any more), or something else.
---@param record luapilot.ServiceRecord
function reconciler.forget(record) record.have, record.stray = nil, true end

-- Statuses of a refusal that may pass: of a token, of what is not there yet, of an agent that is slow or busy.
local PASSING = { [401] = true, [403] = true, [404] = true, [408] = true, [409] = true, [425] = true, [429] = true }

---Is this an answer that the same request will always get?
---@param status integer|string|nil
---@return boolean
function reconciler.is_final(status)
  return type(status) == "number" and status >= 400 and status < 500 and not PASSING[status]
end

---Is this an answer that means that the agent does not know the check or service? 1.8 says 500 with a text, newer ones
---404.
---@param status integer
---@param body string
---@return boolean
function reconciler.is_unknown(status, body)
  if status == 404 then return true end
  return status == 500 and (body:find("associated TTL", 1, true) or body:find("nknown check", 1, true)
    or body:find("nknown service", 1, true)) ~= nil
end

-- --- what the agent holds --------------------------------------------------------------------

local function in_words(value) return type(value) == "string" and describe.quote(value) or tostring(value) end

-- Where it is: these make it another instance.
local function place_of(registration, held)
  return {
    { "name", registration.Name, held.Service }, { "port", registration.Port or 0, held.Port or 0 },
    { "address", registration.Address, held.Address },
  }
end

local function fields_of(registration, held)
  local fields, weights = place_of(registration, held), held.Weights or registration.Weights
  fields[#fields + 1] = { "meta", registration.Meta, held.Meta or {} }
  fields[#fields + 1] = { "weights", registration.Weights, weights }
  fields[#fields + 1] = { "enable_tag_override", registration.EnableTagOverride, held.EnableTagOverride or false }
  if not registration.EnableTagOverride then -- else others may change them
    fields[#fields + 1] = { "tags", registration.Tags, held.Tags or {} }
  end
  return fields
end

---How the agent's entry differs from the registration, in words; nil: it does not.
---@param registration table
---@param held table?       of /v1/agent/services, or nil: it is not there
---@return string?
function reconciler.difference(registration, held)
  if not held then return "is gone" end
  for _, field in ipairs(fields_of(registration, held)) do
    if not copy.equal(field[2], field[3]) then
      return type(field[3]) == "table" and ("has other %s"):format(field[1])
        or ("has the %s %s"):format(field[1], in_words(field[3]))
    end
  end
end

---Does the agent's entry lead to another instance than what we have told it last? Then the fields that do, in words.
---@param record luapilot.ServiceRecord
---@param held table?
---@return string?
function reconciler.anothers(record, held)
  local ours = record.told or record.have and record.have.registration
  if not ours or not held or not held.Service then return nil end
  local parts = {}
  for _, field in ipairs(place_of(ours, held)) do
    if field[2] ~= field[3] then
      parts[#parts + 1] = ("%s %s instead of %s"):format(field[1], in_words(field[3]), in_words(field[2]))
    end
  end
  return parts[1] and table.concat(parts, ", ")
end

---The agent was asked what it holds, before a service is taken back. What leads to another instance is not ours to take
---back: then how it differs.
---@param record luapilot.ServiceRecord
---@param held table?
---@return string?
function reconciler.seen(record, held)
  record.looked = true
  local other = not record.want and reconciler.anothers(record, held)
  if not other then return nil end
  local maintained = record.maintained
  done.deregister(record)
  record.maintained = maintained
  return other
end

---The agent's entry is not what we have told it: how often it was found so, and for how long it is left alone now.
---@param record luapilot.ServiceRecord
---@param now number
---@param random fun(): number
---@return integer round
---@return number? seconds      nil: not at all
function reconciler.contested(record, now, random)
  local former = record.contest
  local round = former and now - former.at < CALM and former.round + 1 or 1
  record.contest = { round = round, at = now }
  if round == 1 then return round end
  return round, math.min(FIRST_TRUCE * 2 ^ (round - 2), LONGEST_TRUCE) * (3 / 4 + random() / 2)
end

---It is left alone until then. If it is gone, or leads to another instance, nothing is told of ours meanwhile.
---@param record luapilot.ServiceRecord
---@param held table?
---@param till number
function reconciler.yield(record, held, till)
  record.truce, record.vanishes = till, not held or nil
  if not held or reconciler.anothers(record, held) then reconciler.forget(record) end
end

---The name that a service has in Consul, and the id of this instance.
---@param job string
---@param spec luapilot.ServiceSpec
---@param hostname string
---@return string name
---@return string id
function reconciler.names(job, spec, hostname)
  local name = spec.name or job
  return name, spec.id or name .. "-" .. hostname
end

return reconciler
