-- nginx's own figures, every five seconds, as numbers in the log.

local pilot = require "luapilot"

local dir    = "build"                     -- all that nginx reads and writes: beside this file
local port   = pilot.env("PORT", "8093")
local STATUS = ("http://127.0.0.1:%s/stub_status"):format(port)

local nginx = pilot.job "nginx" {
  prepare = function()
    pilot.fs.mkdir(dir .. "/tmp", { parents = true })
    pilot.render { source = "nginx.conf.tmpl", to = dir .. "/nginx.conf", data = { port = port } }
  end,
  exec        = { "/usr/sbin/nginx", "-p", dir, "-c", "nginx.conf" },
  cwd         = ".",                       -- the directory of this file, wherever luapilot is started
  restart     = "always",
  stop_signal = "SIGQUIT",                 -- for nginx: answer the open requests, then go
  health      = { http = STATUS, interval = "5s", timeout = "2s" },
}

-- The page:   Active connections: 1
--             server accepts handled requests
--              16 16 31
--             Reading: 0 Writing: 1 Waiting: 0
-- (%d+) takes a number out of it, %s+ stands for the blanks and line breaks between two of them.
local FIGURES = "(%d+) (%d+) (%d+)%s+Reading: (%d+) Writing: (%d+) Waiting: (%d+)"
local NAMES   = { "accepted", "handled", "requests", "reading", "writing", "waiting" }

pilot.every("5s", function()
  if nginx.health ~= "healthy" then return end
  local page, figures = pilot.http.get(STATUS, { timeout = "2s" }).body, {}
  for i, text in ipairs { page:match(FIGURES) } do figures[NAMES[i]] = tonumber(text) end
  if not figures.requests then error("stub_status looks different: " .. page) end
  pilot.log.info("nginx", figures)         -- its requests count this one, and the health check's
end)
