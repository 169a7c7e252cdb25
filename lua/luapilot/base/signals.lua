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

-- These lists are written down, because each start needs them; spec/unit/base/signals_spec.lua compares them.

---The names that `pilot.on` and triggers accept.
---@type string[]
M.heard = {
  "SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGTERM", "SIGURG", "SIGXCPU", "SIGXFSZ",
  "SIGVTALRM", "SIGPROF", "SIGWINCH", "SIGIO", "SIGPWR",
}

---What the pilot takes from the kernel: these, and those of real time.
---@type string[]
M.taken = {
  "SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGTERM", "SIGURG", "SIGXCPU", "SIGXFSZ",
  "SIGVTALRM", "SIGPROF", "SIGWINCH", "SIGIO", "SIGPWR",
  "SIGRTMIN+0", "SIGRTMIN+1", "SIGRTMIN+2", "SIGRTMIN+3", "SIGRTMIN+4", "SIGRTMIN+5", "SIGRTMIN+6", "SIGRTMIN+7",
  "SIGRTMIN+8", "SIGRTMIN+9", "SIGRTMIN+10", "SIGRTMIN+11", "SIGRTMIN+12", "SIGRTMIN+13", "SIGRTMIN+14",
  "SIGRTMIN+15", "SIGRTMIN+16", "SIGRTMIN+17", "SIGRTMIN+18", "SIGRTMIN+19", "SIGRTMIN+20", "SIGRTMIN+21",
  "SIGRTMIN+22", "SIGRTMIN+23", "SIGRTMIN+24", "SIGRTMIN+25", "SIGRTMIN+26", "SIGRTMIN+27", "SIGRTMIN+28",
  "SIGRTMIN+29", "SIGRTMIN+30",
}

local function is_known(name)
  for _, other in ipairs(M.names) do
    if other == name then return true end
  end
  return false
end

---Reads a signal's name as a user writes it.
---@param value any
---@return string|nil name
---@return string|nil message
function M.parse(value)
  if type(value) ~= "string" then
    return nil, ('expected a signal such as "SIGTERM", got %s'):format(describe.value(value))
  end
  local above = tonumber(value:match "^SIGRTMIN%+(%d+)$")
  if is_known(value) or above and above <= REALTIME then return value end
  local full = "SIG" .. value:upper()
  local hint = is_known(full) and (' (did you mean "%s"?)'):format(full) or suggest.hint(value, M.names)
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

---Those that end the pilot whatever a file says; pilot.shutdown_signals adds others. SIGQUIT does where nobody listens
---for it, SIGHUP where a terminal has gone (pilot/app.lua). The guardian begins with all three (src/guardian/page.c).
M.ENDS_PILOT = { SIGTERM = true, SIGINT = true }

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

---The number of a signal, for an exit code of 128 + n. 0 when it has none.
---@param name string
---@return integer
function M.number(name)
  local above = name:match "^SIGRTMIN%+?(%d*)$"
  if above then return RTMIN + (tonumber(above) or 0) end
  for number, each in ipairs(IN_ORDER) do
    if each == name then return number end
  end
  return 0
end

return M
