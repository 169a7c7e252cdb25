-- A task every minute, and an alarm when it fails.
local pilot = require "luapilot"

local task = pilot.job "task1" {
  exec    = "/bin/run/some/task.sh",
  when    = pilot.every "60s",
  timeout = "50s",
}

task:on("exit_failed", function(ev)
  pilot.http.post(pilot.env "SLACK_HOOK", { json = { text = "oh no! task1: exit " .. ev.code } })
end)
