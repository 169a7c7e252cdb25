-- trials: the files that are on trial now, between their swap and the verdict of their validator, and who waits for
-- it.
--
-- It owns nothing else. How a file is rendered is file/render.lua's, which lends its methods to Trials with the first
-- render: most pilots render nothing, but all ask before they start a job.

local lazy = require "luapilot.base.lazy"

local swap = lazy.require "luapilot.file.swap"

local trials = {}

---@class luapilot.Trials
---@field app luapilot.App
---@field trials integer      files between swap and verdict
local Trials = {}
Trials.__index = Trials

lazy.methods(Trials, function() return lazy.load("luapilot.file.render").methods end, {
  "tidy", "put_in_order", "put_back_left_over", "store", "mistake", "render", "let_go",
})

---@param app luapilot.App
---@return luapilot.Trials
function trials.new(app)
  return setmetatable({
    app = app, trials = 0, waiting = {},
  }, Trials)
end

---Calls fn() when no file is on trial any more. Nil when none is now; else what takes it back.
---@param fn fun()
---@return fun()?
function Trials:after_trials(fn)
  if self.trials == 0 then return nil end
  local entry = { fn = fn }
  self.waiting[#self.waiting + 1] = entry
  return function() entry.fn = nil end
end

---A file stands in its place, and has not been accepted yet.
function Trials:trial_begins()
  self.trials = self.trials + 1
end

---It is accepted, or put back.
function Trials:trial_ends()
  self.trials = self.trials - 1
  if self.trials > 0 then return end
  local waiting = self.waiting
  self.waiting = {}
  for _, entry in ipairs(waiting) do
    self.app:command(function()
      if entry.fn then entry.fn() end
    end)
  end
end

---Puts back what a pilot that was killed in the middle of a trial left at these paths.
---@param paths string[]
function Trials:recover(paths)
  for _, path in ipairs(paths) do
    local place = swap.place(self.app.port, path)
    if place then
      local message = self:put_in_order(place)
      if message then self.app:log("error", message, nil, "file_not_restored", nil, { file = path }) end
      place:close()
    end
  end
end

return trials
