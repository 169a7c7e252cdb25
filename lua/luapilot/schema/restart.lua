-- When a job that ended is started again, and how long that waits.
--
-- Owns the `restart` field, its counters and the rule. Never starts anything and reads no clock: the run's
-- times and the random numbers come in. The memory is plain data, so it survives a reload.
--
-- The delay doubles from `backoff` to `max_backoff` and starts over when a run lasted `reset_after`. Jitter
-- takes away up to a quarter of it: containers that fell together at one dependency do not come back in the
-- same instant, no delay is longer than the file says, and the first restart stays near `backoff`.

local constant = require "luapilot.base.constant"
local describe = require "luapilot.base.describe"
local lazy = require "luapilot.base.lazy"
local schema = require "luapilot.schema.schema"

local duration = lazy.require "luapilot.base.duration"

local M = {}

---@class luapilot.RestartPolicy
---@field policy "always"|"on_failure"|"never"
---@field count integer|nil so many restarts after each start by the trigger
---@field backoff number seconds
---@field max_backoff number seconds
---@field reset_after number seconds
---@field limit integer|nil so many restarts …
---@field within number|nil … in so many seconds

---@class luapilot.RestartMemory
---@field restarts integer since the last start by the trigger or by hand
---@field step integer how often the delay was doubled
---@field times number[] when restarts were decided, for `limit`

---@class luapilot.Run
---@field success boolean
---@field started number
---@field ended number

local JITTER = 0.25

-- ---------------------------------------------------------------------------------------------- reading

local POLICIES = { "always", "on_failure", "never" }

local read_fields = schema.fields({
  policy      = { schema.one_of(POLICIES), default = "always" },
  count       = { schema.integer(0) },
  backoff     = { schema.duration, default = 1 },
  max_backoff = { schema.duration },
  reset_after = { schema.duration, default = 60 },
  limit       = { schema.integer(1) },
  within      = { schema.span },
}, "a table", { max_restarts = "limit", delay = "backoff", window = "within", restarts = "count" })

local function defaults(policy, count)
  return constant.of { policy = policy, count = count, backoff = 1, max_backoff = 60, reset_after = 60 }
end

local PLAIN = { always = defaults "always", on_failure = defaults "on_failure", never = defaults "never" }

---No restarts: what `restart` is when nothing is said.
---@type luapilot.RestartPolicy
M.NEVER = PLAIN.never

local function from_table(value, path, report)
  local policy = read_fields(value, path, report)
  if not policy.max_backoff then
    policy.max_backoff = math.max(60, policy.backoff)
  elseif policy.max_backoff < policy.backoff then
    report(schema.join(path, "max_backoff"), ("%s is shorter than backoff (%s)")
      :format(duration.format(policy.max_backoff), duration.format(policy.backoff)))
  end
  if schema.field(value, "within") ~= nil and schema.field(value, "limit") == nil then
    report(schema.join(path, "within"), "needs limit: so many restarts within that time")
  end
  if policy.limit and not policy.within then policy.within = 60 end
  return policy
end

local WHAT = '"always", "on_failure", "never", a number of restarts, or a table such as '
  .. '{ policy = "always", backoff = "1s" }'
local MEANT = { -- of other tools
  [true] = "always", [false] = "never", unlimited = "always", ["unless-stopped"] = "always", no = "never",
}
local one_policy = schema.one_of(POLICIES)
local one_count = schema.integer(0)

---The type of the `restart` field.
---@type luapilot.Type
function M.type(value, path, report)
  if schema.is_table(value) then return from_table(value, path, report) end
  if type(value) == "number" then
    local count = one_count(value, path, report)
    if count == 0 then return PLAIN.never end
    return count and defaults("always", count)
  end
  if type(value) == "string" and not MEANT[value] and not tonumber(value) then
    return PLAIN[one_policy(value, path, report) or 0]
  end
  local meant = MEANT[value] and ('"%s"'):format(MEANT[value]) or tonumber(value)
  return schema.expected(path, report, WHAT, value, meant and ("write restart = %s"):format(meant))
end

---Reads the `restart` field alone.
---@param value any
---@return luapilot.RestartPolicy|nil
---@return string|nil message
---@return string|nil path the field within the table, or ""
function M.parse(value) return schema.first(M.type, value) end

-- --------------------------------------------------------------------------------------------- deciding

---@return luapilot.RestartMemory
function M.new() return { restarts = 0, step = 0, times = constant.NONE } end

---A start by the trigger or by hand: everything counts anew.
---@param memory luapilot.RestartMemory
function M.triggered(memory) memory.restarts, memory.step, memory.times = 0, 0, constant.NONE end

---Why a job is not restarted at all, or nil.
local function refusal(policy, memory, run)
  if policy.policy == "never" then return 'restart is "never"' end
  if policy.policy == "on_failure" and run.success then return 'restart is "on_failure", and it succeeded' end
  if policy.count and memory.restarts >= policy.count then
    return ("count: %s used up"):format(describe.count(policy.count, "restart"))
  end
end

---Whether one more restart stays within `limit`; forgets what is older than the window.
local function within_limit(policy, memory, now)
  local recent = {}
  for _, time in ipairs(memory.times) do
    if time > now - policy.within then recent[#recent + 1] = time end
  end
  memory.times = recent
  if #recent >= policy.limit then return false end
  recent[#recent + 1] = now
  return true
end

local function next_delay(policy, memory, random)
  local delay = policy.backoff * 2 ^ memory.step
  if delay < policy.max_backoff then memory.step = memory.step + 1 else delay = policy.max_backoff end
  return delay * (1 - JITTER * random())
end

---Decides about a run that ended by itself: the delay before the next start, or nil and why there is none.
---@param policy luapilot.RestartPolicy
---@param memory luapilot.RestartMemory counted in place
---@param run luapilot.Run
---@param random fun(): number in [0, 1)
---@return number|nil delay seconds
---@return string|nil why
function M.decide(policy, memory, run, random)
  local why = refusal(policy, memory, run)
  if why then return nil, why end
  if policy.limit and not within_limit(policy, memory, run.ended) then
    return nil, ("limit: %s within %s"):format(describe.count(policy.limit, "restart"), duration.format(policy.within))
  end
  if run.ended - run.started >= policy.reset_after then memory.step = 0 end
  memory.restarts = memory.restarts + 1
  if policy.backoff == 0 then return 0 end
  return next_delay(policy, memory, random)
end

-- ---------------------------------------------------------------------------------------------- handoff

---The memory as plain data, for a reload.
---@param memory luapilot.RestartMemory
---@return table
function M.snapshot(memory)
  local times = {}
  for i, time in ipairs(memory.times) do times[i] = time end
  return { restarts = memory.restarts, step = memory.step, times = times }
end

---The memory from a snapshot; a new one from nil.
---@param data table|nil
---@return luapilot.RestartMemory
function M.restore(data)
  if data == nil then return M.new() end
  assert(type(data) == "table" and type(data.times) == "table", "not a snapshot of restart.lua")
  return M.snapshot(data)
end

return M
