-- Services for other containers: those with the label "consul.service" are registered in Consul while they run. Docker
-- is asked over its socket; its events say who comes and goes, and a list, at each start, who came and went meanwhile.
-- Needs Docker and Consul: without them it tries again every ten seconds, and the log says which of them is missing.

local pilot = require "luapilot"

pilot.consul()    -- CONSUL_HTTP_ADDR, or 127.0.0.1:8500

local socket  = pilot.env("DOCKER_SOCKET", "/var/run/docker.sock")
local address = pilot.env("ADDRESS", "127.0.0.1")            -- of this machine, where published ports are
local label   = "consul.service"                             -- its value is the service's name

local function docker(path, filters)
  return "http://docker" .. path, { socket = socket, query = { filters = pilot.json.encode(filters) } }
end

-- Running containers with the label. An id as a filter: that one alone.
local function containers(id)
  local answer = pilot.http.get(docker("/containers/json", { label = { label }, id = id and { id } }))
  if not answer.ok then error(("Docker: %d %s"):format(answer.status, answer.body)) end
  return answer.json()
end

-- Ids of ours are told from others by what they begin with.
local prefix = ("docker-%s-"):format(pilot.hostname())

local function id_of(container_id) return prefix .. container_id:sub(1, 12) end

-- The label "consul.port" names the port, else it is the first one that is published.
local function port_of(container)
  if container.Labels["consul.port"] then return tonumber(container.Labels["consul.port"]) end
  for _, each in ipairs(container.Ports) do
    if each.PublicPort and each.Type == "tcp" then return each.PublicPort end
  end
end

local function register(container)
  local name, port = container.Labels[label], port_of(container)
  if not port then return pilot.log.warn("publishes no port", { container = container.Names[1], service = name }) end
  pilot.consul.agent.service_register({
    id = id_of(container.Id), name = name, address = address, port = port, meta = { container = container.Id },
  }, { retry = "1m" })
  pilot.log.info("registered", { container = container.Names[1], service = name, port = port })
end

local function deregister(id)
  if not pilot.consul.agent.service(id, { retry = "1m" }) then return end
  pilot.consul.agent.service_deregister(id, { retry = "1m" })
  pilot.log.info("deregistered", { id = id })
end

-- Who runs is registered, who does not is not.
local function reconcile()
  local runs = {}
  for _, container in ipairs(containers()) do
    runs[id_of(container.Id)] = true
    register(container)
  end
  for id in pairs(pilot.consul.agent.services { retry = "1m" }) do
    if id:sub(1, #prefix) == prefix and not runs[id] then deregister(id) end
  end
end

-- Listens first, looks then: nobody who starts in between is missed. A failure of any kind begins all of it again.
local function follow()
  local filters = { type = { "container" }, event = { "start", "die" }, label = { label } }
  local events = pilot.http.stream(docker("/events", filters))
  if not events.ok then error("Docker's events: " .. events.status) end
  reconcile()
  for event in events:json_lines() do
    if event.Action == "die" then
      deregister(id_of(event.Actor.ID))
    else
      for _, container in ipairs(containers(event.Actor.ID)) do register(container) end
    end
  end
  error "Docker has closed its events"
end

pilot.job "registrator" {
  run     = follow,
  restart = { policy = "always", max_backoff = "10s" },
  health  = { check = function() return pilot.http.get("http://docker/_ping", { socket = socket }).ok end },
}
