-- condition: a task waits until something is so, for a while at most. What :wait_for and :next are made of. It owns
-- nothing.

local duration = require "luapilot.base.duration"

local condition = {}

---Seconds of a `timeout` argument; raises when it is none.
---@param timeout string|number|nil
---@param what string       the call, for messages
---@param level integer?    whose line is to blame: 1 is the caller's
---@return number?
function condition.seconds(timeout, what, level)
  if timeout == nil then return nil end
  local seconds, message = duration.parse(timeout)
  if not seconds then error(what .. ": timeout: " .. message, (level or 1) + 1) end
  return seconds
end

---Waits until begin's done(…) is called, and returns what it was given; nil, "timeout" otherwise. The time runs once
---begin has returned: where that raises, no timer is left.
---@param app luapilot.App
---@param what string
---@param seconds number?
---@param begin fun(done: fun(...)): fun()     returns how to stop
---@return ...
function condition.until_done(app, what, seconds, begin)
  return app.tasks:await(what, function(wake)
    local over, timer = false, nil
    local stop = begin(function(...)
      over = true
      if timer then app.loop:cancel(timer) end
      wake(...)
    end)
    if seconds and not over then
      timer = app.loop:after(seconds, function()
        stop()
        wake(nil, "timeout")
      end)
    end
    return function()
      stop()
      if timer then app.loop:cancel(timer) end
    end
  end)
end

---Waits for the next event of a name: the event, or nil, "timeout".
---@param app luapilot.App
---@param what string
---@param seconds number?
---@param topic string
---@param name string
---@return table? event
---@return string? why
function condition.event(app, what, seconds, topic, name)
  return condition.until_done(app, what, seconds, function(done)
    local listener
    local function stop() app.bus:forget(listener) end
    listener = app.bus:listen(topic, name, function(event)
      stop()
      done(event)
    end)
    return stop
  end)
end

return condition
