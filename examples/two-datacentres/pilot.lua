-- An app that uses the "db" of its own datacentre, and that of another one while there is none at home. The agent asks
-- the other datacentre's servers; when these cannot be reached, what was known of them stays.
-- Needs Consul: without it the app does not start, and the log says what it waits for.
local pilot = require "luapilot"

pilot.consul()    -- CONSUL_HTTP_ADDR, or 127.0.0.1:8500

local home = pilot.watch "db"
local away = pilot.watch "db" { dc = pilot.env "OTHER_DC" }

local function configure()
  local at_home = #home.instances > 0
  return pilot.render {
    text = "<% for _, db in ipairs(dbs) do %>db = <%= db.authority %>\n<% end %>",
    data = { dbs = at_home and home.instances or away.instances },
    to   = "/etc/app.conf",
  }
end

local app = pilot.job "app" {
  prepare = configure,
  exec    = "/bin/app",
  when    = pilot.any { home:once "healthy", away:once "healthy" },
  restart = "always",
  reload  = "SIGHUP",
}

for _, watch in ipairs { home, away } do
  watch:on("changed", { settle = "500ms" }, function()
    if configure() then app:reload() end                     -- nothing, while the other one's changes are of no matter
  end)
end

home:on("unhealthy", function() pilot.log.warn("no db at home", { others = #away.instances }) end)
home:on("healthy", function() pilot.log.info("a db at home", { dbs = #home.instances }) end)
