-- An app that crashes: what happens next depends on the exit code that it leaves.
--
--   78      its configuration is wrong: another try cannot help, the container ends at once, with 78
--   75      what it needs is away for the moment: a longer pause, then again, as often as it takes
--   others  again after 1, 2, 4 ... seconds; after five restarts within two minutes the container gives up
--
-- The numbers are those of sysexits.h (EX_CONFIG, EX_TEMPFAIL); put in what your own program uses.

local pilot = require "luapilot"

local CONFIGURATION, TEMPORARY = 78, 75

local app = pilot.job "app" {
  exec = pilot.sh "echo working; sleep 0.5; exit ${EXIT:-1}",    -- your program; this one ends with $EXIT

  -- Runs before every start, and may wait. job.exit is how the last run ended, nil before the first.
  prepare = function(job)
    if job.exit and job.exit.code == TEMPORARY then
      pilot.log.warn "the app cannot work now, and gets half a minute more"
      pilot.sleep "30s"
    end
  end,

  -- "on_failure": an exit with 0 means that the work is done.
  restart = { policy = "on_failure", backoff = "1s", limit = 5, within = "2m" },

  -- The container is there for this job: when it is over, luapilot ends with its exit code.
  main = true,
}

-- Comes each time that it ends by itself with another code than 0, or by a signal (128 + its number).
app:on("exit_failed", function(event)
  if event.code == CONFIGURATION then
    pilot.log.error("the app's configuration is wrong", { restarts = app.restarts })
    pilot.shutdown(event.code)
  end
end)
