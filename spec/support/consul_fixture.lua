-- Consul for the specs of the port's `agent`, `consul` and `watch`: a real agent behind the real port, and whatever
-- stands for it behind another one.
--
-- A fixture is an adapter with these fields:
--
--   fixture.name                         "real", "simulated"
--   fixture.world                        the port and its time: spec/support/real_world.lua tells what it must have;
--                                        `port` and `next(seconds)` are used
--   fixture.lacking()                    why there can be no Consul, or nil
--   fixture.agent { max_connections = … }   calls port.agent with the address; the options are those of port.agent
--   fixture.put(key, value)              a key-value pair, written by somebody else
--   fixture.delete(key)
--   fixture.register { name = "app", id = "app-1", port = 80, tags = { … } }   a service at the agent
--   fixture.deregister(id)
--   fixture.stop()                       the agent ends; its address refuses connections
--   fixture.start { lose = true }        it is back, with all that it knew, or with nothing
--   fixture.pause(), fixture.resume()    it says nothing, and takes that up again
--   fixture.snapshot()                   what it knows, as something that restore takes
--   fixture.restore(snapshot)            it knows that again
--   fixture.agent_behind()               calls port.agent with an address behind which the agent can vanish:
--   fixture.vanish(), fixture.appear()   nothing is answered, and what waits never is; it is back, for what is new
--   fixture.agent_of_few(count)          calls port.agent with another agent, which allows so many connections; until
--                                        reset()
--   fixture.reset()                      after each spec: it runs, and knows of no key and no service but its own
--   fixture.finish()                     after all of them
--
-- What the fixture does is done when it returns: a question that is asked afterwards sees it.

local cjson = require "cjson"
local consul = require "support.consul"
local run = require "support.run"
local web = require "support.web"

local fixtures = {}

-- --- a real one ----------------------------------------------------------------------------------

local function real()
  local world = require "support.real_world"
  local agent, front, few, stopped, paused
  local fixture = { name = "real", world = world, lacking = consul.lacking }

  local function running()
    agent = agent or consul.start()
    return agent
  end

  local function name_agent(url, options)
    local all = { url = url }
    for key, value in pairs(options or {}) do all[key] = value end
    world.port.agent(all)
  end

  function fixture.agent(options) name_agent(running().url, options) end

  function fixture.agent_behind()
    front = front or web.front(running().port)
    name_agent(front.url)
  end

  function fixture.agent_of_few(count)
    few = consul.start { max_connections = count }
    name_agent(few.url)
  end

  function fixture.vanish() front:treat { loses = true } end
  function fixture.appear() front:treat {} end

  function fixture.put(key, value) running():put(key, value) end
  function fixture.delete(key) running():delete(key) end

  -- The agent tells the catalogue in the background.
  local function settled(name, count)
    run.eventually("the service in the catalogue", function()
      return #running():api("GET", "/v1/health/service/" .. name) == count
    end)
  end

  local registered = {} -- id → name

  local function instances(name)
    local count = 0
    for _, other in pairs(registered) do
      if other == name then count = count + 1 end
    end
    return count
  end

  function fixture.register(service)
    local id = service.id or service.name
    registered[id] = service.name
    running():api("PUT", "/v1/agent/service/register",
      { Name = service.name, ID = id, Port = service.port, Tags = service.tags })
    settled(service.name, instances(service.name))
  end

  function fixture.deregister(id)
    local name = registered[id]
    registered[id] = nil
    running():api("PUT", "/v1/agent/service/deregister/" .. id)
    settled(name, instances(name))
  end

  function fixture.stop()
    running():stop()
    stopped = true
  end

  function fixture.start(options)
    stopped = false
    if options and options.lose then registered = {} end
    agent:launch(options)
  end

  function fixture.pause()
    running():pause()
    paused = true
  end

  function fixture.resume()
    agent:resume()
    paused = false
  end

  function fixture.snapshot()
    local _, archive = running():try("GET", "/v1/snapshot")
    return archive
  end

  function fixture.restore(archive) running():api("PUT", "/v1/snapshot", archive) end

  function fixture.reset()
    if few then few:kill() end
    few = nil
    if not agent then return end
    if paused then fixture.resume() end
    if stopped then fixture.start() end
    agent:api("DELETE", "/v1/kv/?recurse")
    for id in pairs(registered) do fixture.deregister(id) end
  end

  function fixture.finish() run.finish() end

  return fixture
end

fixtures.real = real

-- --- a simulated one -----------------------------------------------------------------------------

local function simulated()
  local world = require "support.sim_world"
  local machine = world.machine
  local agents, servers = machine.consul, machine.world.consul
  local fixture = { name = "simulated", world = world, lacking = function() end }

  local function pass(seconds)
    local clock = machine.world.clock
    local limit = clock:moment(seconds)
    while clock:step(limit) do end
    clock.time = limit
  end

  -- By the way of a client that is not the port's, as the real fixture does it.
  local function api(method, path, body)
    local found
    machine.port.consul.server:accept({ method = method, path = path, body = body and cjson.encode(body) },
      function(answer) found = answer end)
    assert(found and found.status == 200, found and found.body or "no answer")
    return found.body
  end

  function fixture.agent(options)
    local all = { url = "http://127.0.0.1:8500" }
    for key, value in pairs(options or {}) do all[key] = value end
    world.port.agent(all)
  end

  fixture.agent_behind = fixture.agent

  local fews = 0

  function fixture.agent_of_few(count)
    fews = fews + 1
    fixture.agent { url = "http://few-" .. fews .. ":8500" }
    agents:limit(count)
  end

  function fixture.vanish() agents:vanish() end
  function fixture.appear() agents:up() end

  function fixture.put(key, value) agents:put(key, value) end
  function fixture.delete(key) agents:delete(key) end

  local names = {} -- id → name

  function fixture.register(service)
    names[service.id or service.name] = service.name
    api("PUT", "/v1/agent/service/register",
      { Name = service.name, ID = service.id, Port = service.port, Tags = service.tags })
    pass(1)
  end

  function fixture.deregister(id)
    names[id] = nil
    api("PUT", "/v1/agent/service/deregister/" .. id)
    pass(1)
  end

  function fixture.stop()
    agents:down()
    pass(0.1)
  end

  -- The real one is agent and server at once.
  function fixture.start(options)
    if options and options.lose then
      servers:restart { lose_state = true }
      machine.port.consul.server.agent:halt(true)
      names = {}
    end
    agents:up()
  end

  function fixture.pause() agents:hang() end
  function fixture.resume() agents:up() end

  function fixture.snapshot() return servers:snapshot() end
  function fixture.restore(snapshot) servers:restore(snapshot) end

  function fixture.reset()
    agents:up()
    agents:limit()
    pass(15)
    api("DELETE", "/v1/kv/?recurse")
    for id in pairs(names) do fixture.deregister(id) end
  end

  function fixture.finish() end

  return fixture
end

fixtures.simulated = simulated

return fixtures
