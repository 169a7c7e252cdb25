-- HAProxy in front of every healthy "app", and never reloaded: its servers are slots. A start finds them filled in its
-- configuration; after that its runtime API, a unix socket, fills and empties them.
-- Needs Consul: without it HAProxy is not started, and the log says that Consul does not answer.

local pilot = require "luapilot"

local dir   = "build"                                -- all that is written: beside this file
local port  = tonumber(pilot.env("PORT", "8094"))
local slots = 10                                     -- as many backends can be served

pilot.consul()    -- CONSUL_HTTP_ADDR, or 127.0.0.1:8500

local app = pilot.watch "app" { cached = true } -- the agent asks the servers once, for all that watch this through it

-- Who may register a service in Consul writes into HAProxy's configuration and to its runtime API: an IP address with a
-- port, and nothing else.
local function backends()
  local list = {}
  for _, each in ipairs(app.instances) do
    if each.authority:find "^[%x.:%[%]]+:%d+$" then list[#list + 1] = each end
  end
  return list
end

-- The configuration of a start: the first slots have the backends of now, the others wait.
local function configure()
  pilot.fs.mkdir(dir)
  local servers, list = {}, backends()
  for i = 1, slots do
    local each = list[i]
    servers[i] = { place = each and each.authority or "127.0.0.1:1", disabled = not each }
  end
  pilot.render {
    source = "haproxy.cfg.tmpl", data = { port = port, dir = dir, servers = servers },
    to     = dir .. "/haproxy.cfg", validate = { "/usr/sbin/haproxy", "-c", "-f", "{file}" },
  }
end

local haproxy = pilot.job "haproxy" {
  prepare     = configure,
  exec        = { "/usr/sbin/haproxy", "-db", "-f", dir .. "/haproxy.cfg" },
  cwd         = ".",                                 -- the directory of this file
  when        = app:once "changed",                  -- as soon as Consul has said who is there, be it nobody
  restart     = "always",
  stop_signal = "SIGUSR1",                           -- it ends when its last request is answered
  health      = { http = ("http://127.0.0.1:%d/health"):format(port), interval = "5s", restart_after = 6 },
}

-- Commands to the runtime API: a line, which it answers before it closes; returns the lines that it says.
local function tell(commands)
  local api, said = pilot.net.connect("unix:" .. dir .. "/admin.sock"), {}
  api:write(table.concat(commands, ";") .. "\n")
  for line in api:lines() do
    if line ~= "" then said[#said + 1] = line end
  end
  api:close()
  return said
end

-- An address as HAProxy tells it, and a port, as the authority of an instance.
local function place(address, at) return (address:find ":" and "[%s]:%s" or "%s:%s"):format(address, at) end

-- The slots as HAProxy has them: { { name, place, ready }, … }.
local function look()
  local found = {}
  for _, line in ipairs(tell { "show servers state app" }) do
    local words = {}
    for word in line:gmatch "%S+" do words[#words + 1] = word end
    if words[2] == "app" then                        -- the words are told in HAProxy's management guide
      found[#found + 1] = { name = words[4], place = place(words[5], words[19]), ready = words[7] % 2 == 0 }
    end
  end
  return found
end

-- Who is served by nobody: there are more than slots, or HAProxy did not like the address.
local function complain(said)
  local served = {}
  for _, slot in ipairs(look()) do served[slot.place] = served[slot.place] or slot.ready end
  for _, each in ipairs(app.instances) do
    if not served[each.authority] then
      pilot.log.warn("a backend has no slot", { backend = each.authority, slots = slots, haproxy = said })
    end
  end
end

-- Who stays keeps his slot; who is gone gives his to one that is new.
local function fill()
  local new, free, commands = {}, {}, {}
  for _, each in ipairs(backends()) do new[each.authority] = true end
  for _, slot in ipairs(look()) do
    if slot.ready and new[slot.place] then
      new[slot.place] = nil
    else
      free[#free + 1] = slot
    end
  end
  for _, each in ipairs(backends()) do
    local slot = new[each.authority] and table.remove(free, 1)
    if slot then
      commands[#commands + 1] = ("set server app/%s addr %s port %d"):format(slot.name, each.address, each.port)
      commands[#commands + 1] = ("set server app/%s state ready"):format(slot.name)
    end
  end
  for _, slot in ipairs(free) do
    if slot.ready then commands[#commands + 1] = ("set server app/%s state maint"):format(slot.name) end
  end
  complain(#commands > 0 and table.concat(tell(commands), " ") or "")
end

-- A change during a start waits until there is somebody to tell. Changes during the work become one more.
app:on("changed", { settle = "200ms" }, function()
  if haproxy:wait_for("healthy", "1m") then fill() end
end)
