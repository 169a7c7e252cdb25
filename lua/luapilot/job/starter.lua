-- starter: makes the triggers of one job hear the world, and starts the job when they fire.
--
-- It owns the subscriptions, timers and the task of a job's `when`. What the leaves add up to is job/trigger.lua's;
-- what a start does to a running job is said here (`when_busy`) and done by job/machine.lua. What only triggers need
-- that hear more than the start of the pilot is in job/arming.lua.

local constant = require "luapilot.base.constant"
local lazy = require "luapilot.base.lazy"
local trigger = require "luapilot.job.trigger"

local starter = {}

---@class luapilot.Starter
---@field runner luapilot.Runner
---@field trigger table    of job/trigger.lua
---@field topics string[]  that it listens to
---@field quiet boolean?   what is heard counts, but starts nothing
---@field resumed boolean?  it goes on where a former core stopped: what is so was heard by that one, or never said
local Starter = {
  listeners = constant.NONE, tickers = constant.NONE, timers = constant.NONE, timeouts = constant.NONE,
  settling = constant.NONE, topics = constant.NONE, stopped = false,
}
Starter.__index = Starter

lazy.methods(Starter, function() return lazy.load "luapilot.job.arming" end, {
  "arm_leaf", "resume", "can_fire", "wakes_by_itself", "stop", "snapshot",
})

-- What a firing trigger does to a job that is not at rest.
local busy = {
  latest = function(runner) runner:post("start", { again = "trigger" }) end,
  drop = function() end,
  restart = function(runner) runner:post("stop", { again = "trigger" }) end,
}
busy.queue = busy.latest

local CLOCK = { every = true, cron = true }

local function start(runner, leaf)
  if not runner:is_active() then return runner:input("start", { again = "trigger" }) end
  if CLOCK[leaf.kind] then return runner:skip() end
  busy[leaf.options and leaf.options.when_busy or "latest"](runner)
end

-- The command of one whose trigger is a single leaf: at the start of the pilot there is one for each job.
Starter.__call = function(self) start(self.runner, self.trigger.node) end

-- Decided when what was fired before has been done: of two intervals that are due together one starts the job, and the
-- other finds it running.
local function fire(self, leaf)
  local runner = self.runner
  if runner.memory.state == "blocked" and not CLOCK[leaf.kind] then return end -- the start that waits serves it
  runner.app:command(leaf == self.trigger.node and self or function() start(runner, leaf) end)
end

---@private
-- A part of the trigger has happened.
function Starter:hear(leaf)
  if self.stopped then return end
  local fires, after = trigger.hear(self.trigger, leaf)
  if after then self.trigger = after end
  if fires and not self.quiet then fire(self, leaf) end
end

---@private
function Starter:arm_leaves(timeouts)
  for number, leaf in ipairs(self.trigger.leaves) do
    if leaf.kind == "startup" then
      self:hear(leaf)
    elseif leaf.kind ~= "manual" then
      self:arm_leaf(leaf, number, timeouts and timeouts[number] or nil)
    end
  end
end

---Starts to listen.
---@param data table?    the snapshot of a former core
function Starter:arm(data)
  if data then return self:resume(data) end
  self:arm_leaves()
end

---Is it a job that only job:start() starts? (`manual` is no part of anything.)
---@return boolean
function Starter:is_manual() return self.trigger.node.kind == "manual" end

---May it be unable to fire because a source will not speak any more?
---@param topic string
---@return boolean
function Starter:loses(topic) return trigger.loses(self.trigger, topic) end

---@param runner table
---@param node luapilot.TriggerNode?    nil: at start-up
---@return luapilot.Starter
function starter.new(runner, node)
  node = node or trigger.STARTUP
  local self = setmetatable({ runner = runner, trigger = trigger.new(node) }, Starter)
  if node ~= trigger.STARTUP then self.topics = trigger.topics(node) end
  return self
end

return starter
