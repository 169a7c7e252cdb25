-- The names of events and states, for every kind of source.
--
-- Owns the words that `on`, `once`, `each`, `next` and `wait_for` accept. Never publishes anything.

local describe = require "luapilot.base.describe"
local lazy = require "luapilot.base.lazy"
local signals = require "luapilot.base.signals"

local suggest = lazy.require "luapilot.base.suggest"

local M = {}

---Event names by kind of source. `pilot` also has the signals.
---@type table<string, string[]>
M.names = {
  job = { "healthy", "unhealthy", "exit_success", "exit_failed", "stopping", "stopped", "output" },
  watch = { "changed", "healthy", "unhealthy" },
  key = { "changed" },
  prefix = { "changed" },
  template = { "rendered" },
  pilot = { "startup", "shutdown", "enter_maintenance", "exit_maintenance", "error" },
}

---What a job's `wait_for` accepts.
---@type string[]
M.states = { "healthy", "unhealthy", "running", "stopped", "exited", "exit_success", "exit_failed" }

local NO_STARTED = "a process that exists is not ready yet, and a short one may be gone before anybody "
  .. "hears of it"

-- Words that people expect, and what there is instead.
local INSTEAD = {
  job = {
    started = ('there is no "started": %s; use "healthy"'):format(NO_STARTED),
    running = ('there is no event "running": %s; use "healthy" (job:wait_for "running" tells the state)')
      :format(NO_STARTED),
    exited = 'there is no event "exited": use "exit_success" or "exit_failed" (or "stopped")',
    exit = 'there is no event "exit": use "exit_success" or "exit_failed" (or "stopped")',
    changed = 'a job has no "changed": use "healthy" and "unhealthy"',
  },
  pilot = {
    started = 'there is no "started": use "startup"',
    stopping = 'there is no "stopping" of pilot: use "shutdown"',
    reload = 'there is no event "reload": pilot.defer functions get the reason "reload"',
  },
}
INSTEAD.job.start = INSTEAD.job.started
INSTEAD.job.ready = 'there is no "ready": use "healthy"'

local INSTEAD_STATE = {
  started = 'there is no state "started": use "running" (the process exists) or "healthy" (it is ready)',
  stopping = 'there is no state "stopping": use "stopped", or job:on "stopping"',
}

local function has(list, name)
  for _, other in ipairs(list) do
    if other == name then return true end
  end
  return false
end

local function not_a_name(what, name)
  return ("expected the name of %s, got %s"):format(what, describe.value(name))
end

---The names that a kind of source accepts, for hints.
---@param kind "job"|"watch"|"key"|"prefix"|"template"|"pilot"
---@return string[]
function M.list(kind)
  local list = {}
  for _, name in ipairs(M.names[kind]) do list[#list + 1] = name end
  if kind == "pilot" then
    for _, name in ipairs(signals.heard) do list[#list + 1] = name end
  end
  return list
end

---Whether a source of this kind has an event of this name.
---@param kind "job"|"watch"|"key"|"prefix"|"template"|"pilot"
---@param name any
---@return true|nil
---@return string|nil message
function M.check(kind, name)
  if type(name) ~= "string" then return nil, not_a_name("an event", name) end
  if has(M.names[kind], name) then return true end
  if kind == "pilot" and (name:find "^SIG" or has(signals.heard, "SIG" .. name:upper())) then
    return signals.can_hear(name)
  end
  local instead = INSTEAD[kind] and INSTEAD[kind][name]
  if instead then return nil, instead end
  local source = kind == "pilot" and "pilot" or "a " .. kind
  local hint = suggest.hint(name, M.names[kind])
  return nil, ("unknown event %s of %s%s"):format(describe.quote(name), source, hint)
end

---Whether `wait_for` accepts this state.
---@param name any
---@return true|nil
---@return string|nil message
function M.check_state(name)
  if type(name) ~= "string" then return nil, not_a_name("a state", name) end
  if has(M.states, name) then return true end
  if INSTEAD_STATE[name] then return nil, INSTEAD_STATE[name] end
  return nil, ("unknown state %s%s"):format(describe.quote(name), suggest.hint(name, M.states))
end

return M
