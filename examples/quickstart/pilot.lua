-- A web server that is set up, started, watched, and started again when it crashes.
-- `make run` runs it; then open http://127.0.0.1:8088/ and, when you have seen enough, press Ctrl-C.

local pilot = require "luapilot"

local dir  = "build"                       -- all that nginx reads and writes: beside this file
local port = pilot.env("PORT", "8088")     -- from the environment, or this

-- The set-up step: runs once, before the server.
pilot.job "setup" {
  exec = pilot.sh [[
    mkdir -p "$DIR/tmp"
    sed "s/8088/$PORT/" nginx.conf >"$DIR/nginx.conf"
  ]],
  cwd = ".",                               -- the directory of this file, wherever luapilot is started
  env = { DIR = dir, PORT = port },
}

-- The server. A crash costs a second, then two, then four ... until it has run for a minute again.
local nginx = pilot.job "nginx" {
  exec         = { "nginx", "-p", dir, "-c", "nginx.conf" },
  cwd          = ".",
  env          = { PATH = pilot.env "PATH" .. ":/usr/sbin" },     -- where Debian keeps it
  depends_on   = { setup = "exit_success" },
  restart      = { policy = "always", backoff = "1s", max_backoff = "30s" },
  health       = { tcp = "127.0.0.1:" .. port, interval = "2s", restart_after = 5 },
  reload       = "SIGHUP",
  service      = { name = "web", port = port, interfaces = "static:127.0.0.1" },  -- how others find it
  stop_signal  = "SIGQUIT",                -- for nginx: answer the open requests, then go
  stop_timeout = "5s",
  main         = true,                     -- if the set-up fails, there is nothing to stay up for
}

-- A periodic task: now, and every fifteen seconds; never twice at a time.
pilot.job "disk" {
  exec = "df -h .",
  when = pilot.every "15s",
}

-- A job written in Lua. What waits looks ordinary, and holds up nobody else.
pilot.job "welcome" {
  run = function()
    if nginx:wait_for("healthy", "30s") then
      pilot.log.info("open http://127.0.0.1:" .. port .. "/")
    else
      error "nginx did not come up"
    end
  end,
}

-- Who serves "web"? Without Consul a watch sees the services of this file; with pilot.consul "localhost:8500" in
-- front, nginx is registered there, and the same watch sees all of them, wherever they run.
local web = pilot.watch "web"

web:on("changed", function(event)
  for _, instance in ipairs(event.added) do
    pilot.log.info("web is served", { at = instance.authority })
  end
end)

web:on("unhealthy", function() pilot.log.warn "nobody serves web" end)

-- What happens to one job can be another's business, or yours.
nginx:on("exit_failed", function(event)
  pilot.log.warn("nginx is gone, and comes back", { code = event.code, signal = event.signal })
end)
