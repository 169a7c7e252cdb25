-- budget: time that somebody is given, counted while the pilot is there to see what becomes of it.
--
-- A container that was paused, a virtual machine that was suspended, a pilot that did not come to run: the clock went
-- on meanwhile, and whoever had a second may have had none of it. So a budget of Loop:allow is counted in slices of a
-- second, or of a 32nd of a long one. A slice that ends too late is counted again: nobody knows how much of it was
-- before the pause. (On a busy machine that may be no pause, and somebody has a second more.) Not more than three times
-- in a row, for a machine on which every slice is late must still end what hangs.
--
-- It owns the rest of a budget, from its second slice on. What is due at a time of the clock (an interval, cron, what
-- Consul counts) is no budget, and never comes here.

local budgets = {}

local SLICE, PARTS = 1, 32        -- seconds; of a long budget
local SOONEST, LATEST = 0.05, 0.1 -- seconds that a slice may be late: half of it, within these
local AGAIN = 3                   -- times in a row that one is counted again

---@class luapilot.Budget
---@field id integer         the timer of this slice
---@field seconds number     all of it
---@field slice number       seconds of this slice
---@field due number         when that is over
---@field left number        seconds after it
---@field fn fun()
---@field tolerance number?  seconds that a slice may be late, instead of the usual ones
---@field again integer?     times in a row that this slice was late
---@field away boolean?      a slice was late
---@field counted fun(left: number)?   hears at the start of each slice but the first what is left

local function is_late(budget, now)
  return now - budget.due > (budget.tolerance or math.max(SOONEST, math.min(LATEST, budget.slice / 2)))
end

local function next_slice(loop, budget, seconds)
  budget.slice, budget.due = seconds, loop.port.now() + seconds
  budget.id = loop:after(seconds, function() budgets.over(loop, budget) end)
  if budget.counted then budget.counted(budget.left + seconds) end
end

---A slice is over.
---@param loop luapilot.Loop
---@param budget luapilot.Budget
function budgets.over(loop, budget)
  if is_late(budget, loop.port.now()) then
    budget.away, budget.again = true, (budget.again or 0) + 1
    if budget.again <= AGAIN then return next_slice(loop, budget, budget.slice) end
  end
  budget.again = nil
  if budget.left <= 0 then return budget.fn() end
  local seconds = math.min(budget.left, math.max(SLICE, budget.seconds / PARTS))
  budget.left = budget.left - seconds
  next_slice(loop, budget, seconds)
end

---Was there a pause since the budget began? Also one that is just over, and of which no timer has been heard yet.
---@param budget luapilot.Budget
---@param now number
---@return boolean
function budgets.was_away(budget, now)
  return budget.away or is_late(budget, now)
end

---How much of a budget has been used up, pauses not counted.
---@param budget luapilot.Budget
---@param now number
---@return number seconds
function budgets.used(budget, now)
  local open = math.max(0, budget.due - now)
  return budget.seconds - budget.left - math.min(open, budget.slice)
end

---How much of a budget is left, pauses not counted.
---@param budget luapilot.Budget
---@param now number
---@return number seconds
function budgets.left(budget, now) return budget.seconds - budgets.used(budget, now) end

return budgets
