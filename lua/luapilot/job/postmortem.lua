-- postmortem: what is to be said of an end that is no plain one: for lack of memory, of a program that has put itself
-- into the background, with processes left behind that called setsid, or others of whom none could follow. Pure: texts,
-- and what a job must remember of it.
--
-- It decides nothing that would end a process: whoever called setsid is known by a mark that anybody can forge, so it
-- is named, and that is all.

local duration = require "luapilot.base.duration"
local size = require "luapilot.base.size"

local postmortem = {}

local SOON = 10 -- seconds: whoever goes on in the background does so at his start

---@class luapilot.Background   plain data, in a job's memory: it has gone there once
---@field told boolean?                 that was said
---@field lives boolean?                whoever went there may be alive

local BACKGROUND = "has put itself into the background: pid %d (%s) %s. "
  .. 'Run it in the foreground (nginx: -g "daemon off;", others: --foreground, --no-daemon or the like)'
local LIVES, ENDED = "lives on", "was ended, since a job ends with its first process"

---What is said of processes that were left running: a job's, a check's, a program's.
---@param count integer
---@return string
function postmortem.ended(count)
  return count == 1 and "left a process running, which was ended" or ("left %d processes running, which were ended")
    :format(count)
end

---What is said of SIGKILL for one that failed its checks, or for what one has left.
---@param memory luapilot.JobMemory
---@param now number
---@return string
function postmortem.killed(memory, now)
  local what = memory.state == "ending" and "what it left running did not end within %s" or
    "did not end within %s of being asked to"
  return (what .. ": killed"):format(duration.words(now - memory.told))
end

---What is said of SIGKILL in a stop: by its own time, or a shutdown's, which may come before that stop has begun.
---@param stop luapilot.JobStop
---@param now number
---@return string
function postmortem.not_ended(stop, now)
  if not stop.asked then return "killed before it was asked to end" end
  return ("did not end within %s of being asked to: killed"):format(duration.words(now - stop.asked))
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

-- What a shell leaves has its name, too, until it is another program.
local SHELLS = { sh = true, ash = true, bash = true, busybox = true, dash = true, ksh = true, mksh = true, zsh = true }

-- Is a program that has ended well, and left somebody, a daemon? One of its own name is; so is whoever lives on, and
-- gets company by the next start.
local function is_daemon(memory, gone, always)
  local daemon, name = gone.strays and gone.strays[1] or gone.left, gone.name
  if not gone.left or memory.exit.at - memory.started > SOON then return false end
  if always and gone.strays then return true end
  return daemon.name == name and not (SHELLS[name] or name:find "%.sh$")
end

-- Who was seen first may have been on the way only: a double fork.
local function in_background(strays, left)
  local daemon = strays and strays[1] or left
  local guess = daemon.by_name and "perhaps it " or ""
  return guess .. BACKGROUND:format(daemon.pid, daemon.name, strays and LIVES or ENDED)
end

-- Who was seen in the session may have called setsid before the signal came: a stray is not counted among the ended.
local function were_ended(gone)
  local count = (gone.ended or 0) - (gone.count or 0)
  return count > 0 and postmortem.ended(count) or nil
end

---Nobody is left of a run but those who called setsid. What is to be said of those who live on, or did not while they
---should, and what of those who were ended; nil: nothing.
---@param spec table
---@param memory luapilot.JobMemory
---@param gone { strays: luapilot.Stray[]?, count: integer?, left: luapilot.Stray?, name: string?, ended: integer? }
---@param always boolean    the job is started again
---@return string? warning
---@return string? note
function postmortem.gone(spec, memory, gone, always)
  local early = memory.stop and memory.stop.exited == "early"
  local by_itself = not (memory.exit.asked or memory.killed_by)
  local strays = gone.strays
  if by_itself and not spec.pidfile and is_daemon(memory, gone, always) then -- with one: see say_unfollowed
    local background = memory.background or {}
    memory.background, background.lives = background, background.lives or strays ~= nil
    if not background.told then
      background.told = true
      return in_background(strays, gone.left)
    end
  end
  -- Whose group was told to stop dies with it in any order.
  local tells = by_itself or early or spec.stop_mode == "mixed"
  return strays and left_behind(strays, gone.count), tells and were_ended(gone) or nil
end

---An end for lack of memory, surely or probably.
---@param spec table
---@param exit { code: integer, signal: string?, oom: "own"|"around" }
---@param reason string     otherwise
---@return string reason
---@return string error
function postmortem.short_of_memory(spec, exit, reason)
  local max = spec.cgroup and spec.cgroup.memory_max
  local bound = max and (" (memory_max = %s)"):format(size.format(max)) or ""
  if exit.oom == "around" then return reason, "was killed by SIGKILL, probably for lack of memory" end
  if exit.signal == "SIGKILL" then return "oom", "was killed for lack of memory" .. bound end
  return reason, ("exited with code %d; since its start a process of it was killed for lack of memory%s")
    :format(exit.code, bound)
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
function postmortem.unfollowed(pidfile, unfollowed)
  local said = unfollowed.notify and "MAINPID" or unfollowed.why == "absent" and pidfile or "pidfile " .. pidfile
  return "nobody follows the main process: " .. WHY[unfollowed.why]:format(said, unfollowed.pid)
end

---The same as an effect of the machine.
---@param c table           { spec, input }
---@param emit fun(c: table, name: string, ...)
function postmortem.say_unfollowed(c, emit)
  local pidfile, unfollowed = c.spec.pidfile, c.input.unfollowed
  emit(c, "log", "warn", postmortem.unfollowed(pidfile, unfollowed), {
    event = "no_successor", pidfile = pidfile, pid = unfollowed.pid,
  })
end

---Why a check that passes says nothing about this run, or nil: the daemon of an earlier one may be who answers. When
---none of those is left there is no doubt any more, whoever is left by later runs.
---@param memory luapilot.JobMemory
---@param strays luapilot.Stray[]?     of earlier runs; nil: that cannot be told
---@return string?
function postmortem.doubt(memory, strays)
  local daemon = strays and strays[1]
  if strays and not daemon then memory.background.lives = nil end
  return daemon and ("pid %d (%s), which an earlier run left in the background, may be who answers")
    :format(daemon.pid, daemon.name)
end

return postmortem
