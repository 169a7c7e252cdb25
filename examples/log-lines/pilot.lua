-- Log lines as events: one means that the database is ready, others are counted, and somebody is told of them.

local pilot = require "luapilot"

-- LOG_FORMAT=json: each line of the log is one JSON object, for a collector.
pilot.logging { format = pilot.env("LOG_FORMAT", "default") }

local ALARM = pilot.env("ALARM", "http://127.0.0.1:8092/alarm")     -- who is told, by an HTTP POST

-- Your own programs. This "database" needs a second to start, and then complains every three seconds.
local database = pilot.job "database" {
  exec = pilot.sh [[
    sleep 1; echo "database system is ready to accept connections"
    while sleep 3; do echo "ERROR: deadlock detected" >&2; done
  ]],
  log = { merge = true },         -- one pipe for stdout and stderr: its lines are logged, and heard, in its own order
  restart = "always",
}

-- The app writes JSON itself, and it ends when its stdin does: the usual one, /dev/null, is at its end from the start.
-- In the JSON format such a line comes whole, as "data", with the level that it names.
local app = pilot.job "app" {
  exec = pilot.sh [[echo '{"level":"warning","msg":"the cache is cold"}'; exec cat]], stdin = "open",
  log = { parse = "json", level_from = "level" },
  when = "manual", restart = "always",
}

-- What to look for is a Lua pattern: "^" is the beginning of the line; % in front of one of ^$()%.[]*+-? takes it
-- literally. Lines of stdout and stderr come alike; but for merge, event.stream would tell them apart.
database:on("output", function(event)
  if event.line:find "ready to accept connections" then app:start() end      -- no effect while it runs
end)

-- The first error is told at once. Those of the next minute are told together, at its end.
local errors, last, quiet = 0, nil, false

local function alarm()
  if quiet or errors == 0 then return end
  quiet = true
  pilot.after("1m", function() quiet = false; alarm() end)
  local told = errors
  local answer = pilot.http.post(ALARM, { json = { errors = told, last = last }, timeout = "10s" })
  if not answer.ok then error("the alarm was refused: HTTP " .. answer.status) end      -- again in a minute
  errors = errors - told
end

database:on("output", function(event)
  if not event.line:find "^ERROR" then return end
  errors, last = errors + 1, event.line
  pilot.spawn(alarm)                       -- in a task of its own: the next line need not wait for the answer
end)
