-- A master with workers, as gunicorn, celery and php-fpm are: the master is asked to stop, lets each worker finish
-- what it is doing, and ends last. A signal to all of them would cut that off.

local pilot = require "luapilot"

local pidfile = pilot.env("PIDFILE", "/run/workers.pid")

local app = pilot.job "app" {
  exec         = { "python3", "master.py", pidfile },     -- your own: { "gunicorn", "app:app" }
  cwd          = ".",              -- the directory of this file, wherever luapilot is started
  restart      = "always",
  stop_mode    = "mixed",          -- SIGTERM to the master alone; whoever outlives the master gets SIGKILL
  stop_timeout = "30s",            -- as long as one piece of work may take
  reload       = "SIGUSR2",        -- the master starts a new one and ends when its workers have finished; the job goes
  pidfile      = pidfile,          -- on in whom this file names
}

pilot.on("SIGHUP", function() app:reload() end)

pilot.shutdown_timeout "40s"       -- or the pilot would not wait so long

app:on("stopped", function()
  if app.exit.code == 0 then
    pilot.log.info "no work was lost"
  else
    pilot.log.warn("work may have been cut off", { code = app.exit.code })
  end
end)
