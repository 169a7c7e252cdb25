-- slow_start: of a job whose start is under way, because it may hang (port.spawn), what the port tells of that.
--
-- It owns nothing: the runner holds the process, the machine its state, which is `preparing` meanwhile. Loaded when the
-- first such event comes.

local slow_start = {} -- by type of the port's event

function slow_start.spawned(self, event) self:started(event.pid) end

function slow_start.spawn_failed(self, event)
  self.app.loop:unroute(self.process)
  self.process = nil
  self:cannot_start(event.message, event.code, event.stage)
end

function slow_start.spawning(self, event)
  self:log("warn", "its start " .. event.message, { seconds = math.floor(event.seconds) }, "start_hangs")
end

return slow_start
