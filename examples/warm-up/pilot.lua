-- Traffic only after three good checks: nginx in front of a backend that may still be warming up, or be broken.
-- nginx runs in any case, and says 503 while there is nobody to pass a request to.

local pilot = require "luapilot"

local dir  = "build"                               -- all that is written: beside this file
local port = tonumber(pilot.env("PORT", "8090"))   -- nginx's; the backend has the next one

local setup = pilot.job "setup" { exec = { "mkdir", "-p", dir .. "/tmp", dir .. "/www" }, cwd = "." }

-- Your own program. This one serves the files below www/, and is good while one of them is "ready".
local backend = pilot.job "backend" {
  exec    = { "python3", "-um", "http.server", tostring(port + 1), "-b", "127.0.0.1", "-d", dir .. "/www" },
  cwd     = ".",                                   -- the directory of this file, wherever luapilot is started
  when    = setup:once "exit_success",
  restart = "always",
  health  = {
    http = ("http://127.0.0.1:%d/ready"):format(port + 1), interval = "1s",
    rise = 3, fall = 2,                            -- so many passes, or failures, in a row change its health;
    start_period = "30s",                          -- no failure counts until then, or the first change
    restart_after = 60,                            -- after so many failures in a row it is taken to hang
  },
}

-- Makes nginx's configuration for the backend as it is now: true if that is another one than before.
local function configure()
  local backend_port = backend.health == "healthy" and port + 1
  return pilot.render {
    source = "nginx.conf.tmpl", data = { port = port, backend_port = backend_port },
    to     = dir .. "/nginx.conf", validate = "./check.sh",
  }
end

local nginx = pilot.job "nginx" {
  prepare = configure, exec = { "/usr/sbin/nginx", "-p", dir, "-c", "nginx.conf" }, cwd = ".",
  when = setup:once "exit_success", restart = "always", reload = "SIGHUP", stop_signal = "SIGQUIT",
}

for _, event in ipairs { "healthy", "unhealthy", "exit_failed" } do      -- a crash comes without "unhealthy"
  backend:on(event, function() if configure() then nginx:reload() end end)
end
