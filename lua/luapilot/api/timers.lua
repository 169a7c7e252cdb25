-- timers: what calls a function when the time has come, or a descriptor is ready: pilot.every, after, cron and poll.
--
-- It owns the subscriptions that these give. init.lua lends these functions to a file when the first is called.

local arguments = require "luapilot.schema.arguments"
local describe = require "luapilot.base.describe"
local lazy = require "luapilot.base.lazy"
local option_schema = require "luapilot.schema.options"

local cron = lazy.require "luapilot.base.cron"
local ticker = lazy.require "luapilot.task.ticker"
local timezone = lazy.require "luapilot.base.timezone"

---@class luapilot.Pilot
local api = {} -- name → function(app, …)

local Timer = {} -- what every, after, cron and poll give: a subscription with :cancel()
Timer.__index = Timer

---No further run; one under way goes on.
function Timer:cancel()
  if self.cancelled then return end
  self.cancelled = true
  if self.stop then self.stop() end
  self.app:release(self)
end

---The pilot ends: a run under way is cancelled, and nothing is said of it.
function Timer:halt()
  if self.task then self.task:cancel "shutdown" end
end

-- Runs never overlap: a tick during a run is skipped.
local function run_once(self)
  if self.task and not self.task:is_ended() then return false end
  self.task = self.app.tasks:spawn(self.fn, {
    name = self.label, detached = true,
    ended = function(t)
      if t:failed() and t.reason ~= "shutdown" then self.app:complain(self.label, t.error) end
      if self.after_run then self.after_run() end
    end,
  })
  return true
end

local function new_timer(app, label, fn, begin)
  local where = app:where()
  local self = setmetatable({ app = app, fn = fn, label = where and label .. " at " .. where or label }, Timer)
  app:hold(self)
  app:when_started(function()
    if not self.cancelled then begin(self) end
  end)
  return self
end

local function every_timer(app, interval, fn)
  return new_timer(app, "pilot.every", fn, function(self)
    local ticks = ticker.every(app.loop, interval, interval, function() run_once(self) end)
    self.stop = function() ticks:cancel() end
  end)
end

---pilot.every("60s") is a trigger (first run at start-up); pilot.every("5s", fn) calls fn every 5 s, the first time
---after 5 s.
function api.every(app, value, second)
  local interval = arguments.span(app, value, "pilot.every")
  if type(second) == "function" then return every_timer(app, interval, second) end
  if second ~= nil then arguments.fail(app, "pilot.every", "expected a function, got " .. describe.value(second)) end
  return arguments.node { kind = "every", interval = interval }
end

---Calls fn once, after `value`.
function api.after(app, value, fn)
  local seconds = arguments.seconds(app, value, "pilot.after")
  return new_timer(app, "pilot.after", arguments.callable(app, fn, "pilot.after"), function(self)
    local id = app.loop:after(seconds, function()
      run_once(self)
      self:cancel()
    end)
    self.stop = function() app.loop:cancel(id) end
  end)
end

local function cron_timer(app, rule, options, fn)
  return new_timer(app, "pilot.cron", fn, function(self)
    local ticks = ticker.cron(app.loop, rule, options.jitter, app.calendar, function() run_once(self) end)
    self.stop = function() ticks:cancel() end
  end)
end

-- Said once: it is the same for all of them.
local function warn_of_zone(app)
  if app.zone_known then return end
  app.zone_known = true
  local message = timezone.complaint(app.port)
  if not message then return end
  if app.phase == "declaring" then return app.mistakes:warn(app:where(), "pilot.cron", message) end
  app:log("warn", "pilot.cron: " .. message, nil, "zone_unknown")
end

---pilot.cron("0 3 * * *", [{ jitter = "5m" }]) is a trigger; with a function at the end it calls that.
function api.cron(app, text, options, fn)
  if type(options) == "function" then options, fn = nil, options end
  local rule, message = cron.parse(text)
  if not rule then
    arguments.fail(app, "pilot.cron", message)
    rule = cron.parse("@yearly")
  end
  local read = arguments.read(app, function(where, list)
    return option_schema.cron_options(options, "pilot.cron", where, list)
  end)
  warn_of_zone(app)
  if fn then return cron_timer(app, rule, read, arguments.callable(app, fn, "pilot.cron")) end
  return arguments.node { kind = "cron", schedule = rule, text = text, jitter = read.jitter, options = read }
end

---Calls fn() whenever the descriptor is ready. It belongs to the caller, who must read (or write) it.
---@param fd integer
---@param mode "r"|"w"|"rw"
function api.poll(app, fd, mode, fn)
  if type(fd) ~= "number" then
    error("pilot.poll: expected a descriptor (a number), got " .. describe.value(fd), 2)
  end
  if mode ~= "r" and mode ~= "w" and mode ~= "rw" then
    error('pilot.poll: expected "r", "w" or "rw", got ' .. describe.value(mode), 2)
  end
  return new_timer(app, "pilot.poll", arguments.callable(app, fn, "pilot.poll"), function(self)
    local function ask_again()
      if self.cancelled then return end
      local id, message = app.port.poll(fd, mode)
      if not id then
        app:complain(self.label, message)
        return self:cancel()
      end
      self.stop = function() app.loop:cancel(id) end
      app.loop:route(id, function() -- quiet until the handler has read it
        app.loop:cancel(id)
        self.stop = nil
        run_once(self)
      end)
    end
    self.after_run = ask_again
    ask_again()
  end)
end

return api
