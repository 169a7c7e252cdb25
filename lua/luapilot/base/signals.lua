-- The names of signals.
--
-- Owns which names exist, which of them can reach pilot.lua, and their numbers for exit codes. Never sends
-- anything.

local describe = require "luapilot.base.describe"
local lazy = require "luapilot.base.lazy"

local suggest = lazy.require "luapilot.base.suggest"

local M = {}

---Every signal that may be sent to a job.
---@type string[]
M.names = {
  "SIGHUP", "SIGINT", "SIGQUIT", "SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE", "SIGKILL", "SIGUSR1",
  "SIGSEGV", "SIGUSR2", "SIGPIPE", "SIGALRM", "SIGTERM", "SIGCHLD", "SIGCONT", "SIGSTOP", "SIGTSTP",
  "SIGTTIN", "SIGTTOU", "SIGURG", "SIGXCPU", "SIGXFSZ", "SIGVTALRM", "SIGPROF", "SIGWINCH", "SIGIO",
  "SIGPWR", "SIGSYS",
}

-- Job control, children and faults end at the guardian or at the kernel. SIGABRT is how the guardian ends a
-- pilot that is stuck, and SIGPIPE comes from our own writing.
local UNHEARD = {
  SIGKILL = true, SIGSTOP = true, SIGCHLD = true, SIGCONT = true, SIGTSTP = true, SIGTTIN = true,
  SIGTTOU = true, SIGILL = true, SIGTRAP = true, SIGBUS = true, SIGFPE = true, SIGSEGV = true, SIGSYS = true,
  SIGABRT = true, SIGPIPE = true,
}

local REALTIME = 30 -- "SIGRTMIN+0" to "SIGRTMIN+30": systemd in a container stops by SIGRTMIN+3

local known = {}
for _, name in ipairs(M.names) do known[name] = true end

---The names that `pilot.on` and triggers accept.
---@type string[]
M.heard = {}
for _, name in ipairs(M.names) do
  if not UNHEARD[name] then M.heard[#M.heard + 1] = name end
end

---What the pilot takes from the kernel: these, and those of real time.
---@type string[]
M.taken = { unpack(M.heard) }
for above = 0, REALTIME do M.taken[#M.taken + 1] = "SIGRTMIN+" .. above end

---Reads a signal's name as a user writes it.
---@param value any
---@return string|nil name
---@return string|nil message
function M.parse(value)
  if type(value) ~= "string" then
    return nil, ('expected a signal such as "SIGTERM", got %s'):format(describe.value(value))
  end
  local above = tonumber(value:match "^SIGRTMIN%+(%d+)$")
  if known[value] or above and above <= REALTIME then return value end
  local full = "SIG" .. value:upper()
  local hint = known[full] and (' (did you mean "%s"?)'):format(full) or suggest.hint(value, M.names)
  return nil, ("unknown signal %s%s"):format(describe.quote(value), hint)
end

---Whether pilot.lua can hear a signal: `true`, or nil and why not.
---@param name string
---@return true|nil
---@return string|nil message
function M.can_hear(name)
  local parsed, message = M.parse(name)
  if not parsed then return nil, message end
  if UNHEARD[name] then return nil, name .. " never reaches pilot.lua: something below takes it" end
  return true
end

-- What comes so soon after the first request for the end is the same request: timeout(1) sends two, a hook of a
-- container and its runtime one each; of SIGINT, that of a terminal and the one that another process passes on. (The
-- guardian has the same rule: src/guardian/guardian.c.)
local SAME, SAME_INTERRUPT = 1, 0.1 -- seconds

---Does a signal that asks for the end ask a second time?
---@param name string
---@param seconds number    since the first request
---@return boolean
function M.asks_again(name, seconds) return seconds >= (name == "SIGINT" and SAME_INTERRUPT or SAME) end

-- Linux' numbers (signal(7), the column of x86 and ARM), in order from 1.
local IN_ORDER = {
  "SIGHUP", "SIGINT", "SIGQUIT", "SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE", "SIGKILL", "SIGUSR1",
  "SIGSEGV", "SIGUSR2", "SIGPIPE", "SIGALRM", "SIGTERM", "SIGSTKFLT", "SIGCHLD", "SIGCONT", "SIGSTOP",
  "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGXCPU", "SIGXFSZ", "SIGVTALRM", "SIGPROF", "SIGWINCH",
  "SIGIO", "SIGPWR", "SIGSYS",
}
local RTMIN = 34

local numbers = {}
for number, name in ipairs(IN_ORDER) do numbers[name] = number end

---The number of a signal, for an exit code of 128 + n. 0 when it has none.
---@param name string
---@return integer
function M.number(name)
  local above = name:match "^SIGRTMIN%+?(%d*)$"
  if above then return RTMIN + (tonumber(above) or 0) end
  return numbers[name] or 0
end

return M
