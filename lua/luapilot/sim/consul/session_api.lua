-- session_api: /v1/session/.

local answer = require "luapilot.sim.consul.answer"
local body = require "luapilot.sim.consul.body"
local json = require "luapilot.sim.consul.json"
local query = require "luapilot.sim.consul.query"
local sessions = require "luapilot.sim.consul.sessions"
local view = require "luapilot.sim.consul.view"

local DELAY = 15            -- seconds, without a word
local IN_SECONDS = 1000     -- a lock-delay below so many nanoseconds was meant to be seconds
local TOPICS = { "sessions" }

local CREATE = { loose = true, fields = {
  Name = "string", Node = "string", TTL = "string", Behavior = "string", LockDelay = "duration",
  Checks = "strings", NodeChecks = "strings",
  ServiceChecks = { list = { loose = true, fields = { ID = "string", Namespace = "string" } } },
} }

-- Each of two fields names the node's checks; one that is there replaces what goes without saying.
local function node_checks(entry)
  if not entry.Checks and not entry.NodeChecks then return { sessions.SERF } end
  local list, seen = {}, {}
  for _, names in ipairs { entry.Checks or {}, entry.NodeChecks or {} } do
    for _, name in ipairs(names) do
      if not seen[name] then list[#list + 1] = name end
      seen[name] = true
    end
  end
  return list
end

local function delay_of(seconds)
  if not seconds then return DELAY end
  if seconds * 1e9 < IN_SECONDS then return seconds * 1e9 end
  return seconds
end

local function create(request)
  local entry, message = {}, nil
  if request.body ~= "" then entry, message = body.read(request.body, CREATE) end
  if not entry then return answer.bad("Request decode failed: " .. message) end
  local text, ttl = entry.TTL or "", nil
  if text ~= "" then
    ttl, message = query.duration(text)
    if not ttl then return answer.failed(("Session TTL '%s' invalid: %s"):format(text, message)) end
  end
  if request.dc.denied.session then return answer.denied() end
  local id, refusal = request.dc.sessions:create {
    name = entry.Name or "", node = entry.Node or request.agent.name, lock_delay = delay_of(entry.LockDelay),
    behavior = entry.Behavior or "release", ttl_text = text, ttl = ttl and ttl > 0 and ttl or nil,
    node_checks = node_checks(entry), service_checks = entry.ServiceChecks,
  }
  return id and answer.json { ID = id } or answer.failed(refusal)
end

local function destroy(request)
  if request.rest == "" then return answer.bad "Missing session" end
  if request.dc.denied.session then return answer.denied() end
  local _, message = request.dc.sessions:destroy(request.rest)
  return message and answer.failed(message) or answer.json(true)
end

local function renew(request)
  if request.rest == "" then return answer.bad "Missing session" end
  if request.dc.denied.session then return answer.denied() end
  local session, message = request.dc.sessions:renew(request.rest)
  if message then return answer.failed(message) end
  if not session then return answer.text(404, ("Session id '%s' not found"):format(request.rest)) end
  return answer.json(json.array { view.session(session) })
end

local function shown(request, list)
  local rows = json.array()
  for i, session in ipairs(request.dc.denied.session and {} or list) do rows[i] = view.session(session) end
  return answer.read(answer.json(rows), request.dc.store:latest "sessions", TOPICS)
end

local function info(request)
  if request.rest == "" then return answer.bad "Missing session" end
  local session, message = request.dc.sessions:get(request.rest)
  if message then return answer.failed(message) end
  return shown(request, { session })
end

local function of_node(request)
  if request.rest == "" then return answer.bad "Missing node name" end
  return shown(request, request.dc.sessions:list(request.rest))
end

return {
  ["/v1/session/create"] = { PUT = create },
  ["/v1/session/destroy/"] = { PUT = destroy },
  ["/v1/session/renew/"] = { PUT = renew },
  ["/v1/session/info/"] = { GET = info, told = true },
  ["/v1/session/node/"] = { GET = of_node },
  ["/v1/session/list"] = { GET = function(request) return shown(request, request.dc.sessions:list()) end },
}
