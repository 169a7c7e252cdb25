-- aftermath: what is to be said of an end that is no plain one: for lack of memory, of a program that has put itself
-- into the background, with processes left behind that called setsid, or others of whom none could follow. Pure: texts,
-- and what a job must remember of it.
--
-- It decides nothing that would end a process: whoever called setsid is known by a mark that anybody can forge, so it
-- is named, and that is all.

local size = require "luapilot.size"

local aftermath = {}

local SOON = 10 -- seconds: whoever goes on in the background does so at his start

---@class luapilot.Background   plain data, in a job's memory: it has gone there once
---@field told boolean?                 that was said
---@field lives boolean?                whoever went there may be alive
---@field left luapilot.Stray?          whom the run that is ending has left

local BACKGROUND = "has put itself into the background: pid %d (%s) lives on. "
  .. 'Run it in the foreground (nginx: -g "daemon off;", others: --foreground, --no-daemon or the like)'

---A run that has ended well, and is gone, left somebody: is that a program that went into the background?
---@param memory luapilot.JobMemory
---@param left luapilot.Stray
---@param lasted number     seconds
function aftermath.exited(memory, left, lasted)
  if lasted > SOON then return end
  memory.background = memory.background or {}
  memory.background.left, memory.background.lives = left, true
end

-- Those that are known by their mark first: of the others it is a guess.
local function left_behind(strays, count)
  local names, guesses = {}, {}
  for _, stray in ipairs(strays) do
    local list = stray.by_name and guesses or names
    list[#list + 1] = ("%s (%d)"):format(stray.name, stray.pid)
  end
  local guessed = #names == 0 and "perhaps " or ""
  if guesses[1] and names[1] then guesses[1] = "perhaps " .. guesses[1] end
  for _, name in ipairs(guesses) do names[#names + 1] = name end
  if count > #strays then names[#names + 1] = ("%d more"):format(count - #strays) end
  return ("%sleft behind: %s: what calls setsid lives until the pilot ends (of a job with cgroup it ends with the job)")
    :format(guessed, table.concat(names, ", "))
end

---Nobody is left of a run but those who called setsid. What is to be said, nil: nothing.
---@param memory luapilot.JobMemory
---@param strays luapilot.Stray[]?
---@param count integer?    of all; not all need be among them
---@return string?
function aftermath.gone(memory, strays, count)
  local background = memory.background
  local left = background and background.left
  if left then background.left = nil end
  if not left or background.told then return strays and left_behind(strays, count) end
  background.told = true
  local daemon = strays and strays[1] or left -- who was seen first may have been on the way only: a double fork
  return (daemon.by_name and "perhaps it " or "") .. BACKGROUND:format(daemon.pid, daemon.name)
end

local WHY = {
  absent = "there is no %s 2s after it ended", unreadable = "%s cannot be read", no_pid = "%s holds no pid",
  ended = "%s names %d: there is no such process", session = "%s names %d, which has left the job's session",
  user = "%s names %d, which runs as another user", parent = "%s names %d, whose parent still lives",
  unfollowed = "%s names %d, which luapilot has no memory or descriptors to follow",
}

---Nobody has followed a main process that ended while others of its session lived.
---@param pidfile string?
---@param unfollowed luapilot.Unfollowed
---@return string
function aftermath.unfollowed(pidfile, unfollowed)
  local said = unfollowed.notify and "MAINPID" or unfollowed.why == "absent" and pidfile or "pidfile " .. pidfile
  return "nobody follows the main process: " .. WHY[unfollowed.why]:format(said, unfollowed.pid)
end

---The same as an effect of the machine.
---@param c table           { spec, input }
---@param emit fun(c: table, name: string, ...)
function aftermath.say_unfollowed(c, emit)
  local pidfile, unfollowed = c.spec.pidfile, c.input.unfollowed
  emit(c, "log", "warn", aftermath.unfollowed(pidfile, unfollowed), {
    event = "no_successor", pidfile = pidfile, pid = unfollowed.pid,
  })
end

---An end for lack of memory, surely or probably.
---@param spec table
---@param exit { code: integer, signal: string?, oom: "own"|"around" }
---@param reason string     otherwise
---@return string reason
---@return string error
function aftermath.short_of_memory(spec, exit, reason)
  local max = spec.cgroup and spec.cgroup.memory_max
  local bound = max and (" (memory_max = %s)"):format(size.format(max)) or ""
  if exit.oom == "around" then return reason, "was killed by SIGKILL, probably for lack of memory" end
  if exit.signal == "SIGKILL" then return "oom", "was killed for lack of memory" .. bound end
  return reason, ("exited with code %d; since its start a process of it was killed for lack of memory%s")
    :format(exit.code, bound)
end

---Why a check that passes says nothing about this run, or nil: the daemon of an earlier one may be who answers. When
---none of those is left there is no doubt any more, whoever is left by later runs.
---@param memory luapilot.JobMemory
---@param strays luapilot.Stray[]?     of earlier runs; nil: that cannot be told
---@return string?
function aftermath.doubt(memory, strays)
  local daemon = strays and strays[1]
  if strays and not daemon then memory.background.lives = nil end
  return daemon and ("pid %d (%s), which an earlier run left in the background, may be who answers")
    :format(daemon.pid, daemon.name)
end

return aftermath
