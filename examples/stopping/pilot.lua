-- Work before and after the app stops. The app receives SIGTERM when the "stopping" handlers are done, or when
-- a last second of stop_timeout is left to it; then comes SIGKILL.
local pilot = require "luapilot"

local app = pilot.job "app" {
  exec         = "/bin/app",
  health       = { http = "http://localhost/app", interval = "5s" },
  stop_timeout = "5s",
}

app:on("stopping", function() pilot.exec "/usr/local/bin/preStop-script.sh" end)
app:on("stopped",  function() pilot.exec "/usr/local/bin/postStop-script.sh" end)
