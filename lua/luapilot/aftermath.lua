-- aftermath: what is to be said of an end that is no plain one: for lack of memory, of a program that has put itself
-- into the background, with processes left behind that called setsid. Pure: texts, and what a job must remember of it.
--
-- It decides nothing that would end a process: whoever called setsid is known by a mark that anybody can forge, so it
-- is named, and that is all.

local size = require "luapilot.size"

local aftermath = {}

local SOON = 10 -- seconds: whoever goes on in the background does so at his start

---@class luapilot.Background   plain data, in a job's memory
---@field fresh "told"|"again"|nil      the latest run went into the background, and that was said, or had been before
---@field daemons luapilot.Stray[]?     those that such runs left outside of the session

local BACKGROUND = "has put itself into the background: pid %d (%s) lives on. "
  .. 'Run it in the foreground (nginx: -g "daemon off;", others: --foreground, --no-daemon or the like)'

---A run that has ended well left somebody. What is to be said, nil: nothing.
---@param memory luapilot.JobMemory     .background is set
---@param left luapilot.Stray
---@param lasted number     seconds
---@return string?
function aftermath.exited(memory, left, lasted)
  if lasted > SOON then return nil end
  local first = not memory.background
  memory.background = memory.background or {}
  memory.background.fresh = first and "told" or "again"
  return first and BACKGROUND:format(left.pid, left.name) or nil
end

---What a run left behind when it was over. What is to be said, nil: it has been said.
---@param memory luapilot.JobMemory
---@param strays luapilot.Stray[]
---@param count integer     of all; not all need be among them
---@return string?
function aftermath.gone(memory, strays, count)
  local background = memory.background
  local fresh = background and background.fresh
  if background then background.fresh = nil end
  if fresh then background.daemons = strays end
  if fresh == "told" then return nil end
  local names = {}
  for i, stray in ipairs(strays) do names[i] = ("%s (%d)"):format(stray.name, stray.pid) end
  if count > #strays then names[#names + 1] = ("%d more"):format(count - #strays) end
  return ("left behind: %s: what calls setsid lives until the pilot ends (of a job with cgroup it ends with the job)")
    :format(table.concat(names, ", "))
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

---Why a check that passes says nothing about this run, or nil: the daemon of an earlier one may be who answers.
---@param memory luapilot.JobMemory     daemons that are gone are forgotten
---@param lives fun(pid: integer, start: number): boolean
---@return string?
function aftermath.doubt(memory, lives)
  local background = memory.background
  for _, daemon in ipairs(background and background.daemons or {}) do
    if lives(daemon.pid, daemon.start) then
      return ("pid %d (%s), which an earlier run left in the background, may be who answers")
        :format(daemon.pid, daemon.name)
    end
  end
  if background then background.daemons = nil end
end

return aftermath
