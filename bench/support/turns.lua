-- luajit -joff bench/support/turns.lua N: N turns of the core's loop, each with an event that has one handler, as the
-- program runs them: without the JIT. Prints the seconds of one, on the processor.

package.path = "lua/?.lua;" .. package.path

local bus = require "luapilot.task.bus"
local loop = require "luapilot.task.loop"
local scheduler = require "luapilot.task.scheduler"

local N = tonumber(arg[1])
local handled = 0

local turns = loop.new { timer = function() return 1 end, cancel = function() end, now = function() return 0 end }
turns:otherwise(function() end)
local events = bus.new {
  loop = turns, tasks = scheduler.new(turns), log = function() end,
  on_error = function(_, _, err) error(err) end,
}
events:subscribe("job:app", "healthy", { when_busy = "queue" }, function() handled = handled + 1 end, "bench")
collectgarbage()
local begun = os.clock()
for _ = 1, N do
  events:publish("job:app", { name = "healthy" })
  turns:turn { type = "bench" }
end
local took = os.clock() - begun
assert(handled == N, handled .. " of " .. N .. " events were handled")
print(("%.12f"):format(took / N))
