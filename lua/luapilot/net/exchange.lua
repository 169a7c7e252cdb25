-- exchange: one request by HTTP, led through its redirects to an answer. What pilot.http and http checks are
-- made of.
--
-- It owns the request from the first byte until the answer, or the head of a stream, is handed over; whoever
-- starts it may take it back at any time. A redirect is followed only where that was asked for, to http and https
-- only, and what was meant for one server is not told to another one: no header but a few harmless ones, no
-- client certificate, no password. It never retries, and a status means nothing to it.

local url = require "luapilot.base.url"

local exchange = {}

local REDIRECTS = 10
local REDIRECT = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }

-- What a stranger may hear.
local HARMLESS = { accept = true, ["accept-language"] = true, ["content-type"] = true, ["user-agent"] = true }

---@class luapilot.Exchange
---@field method string
---@field url luapilot.Url
---@field headers table<string, string>?
---@field body string?
---@field timeout number?         seconds for everything, of a stream until its head is there
---@field socket string?
---@field proxy (fun(url: luapilot.Url): string?)?
---@field tls table?
---@field follow boolean?
---@field stream boolean?
---@field max_body number?
---@field cut boolean?            a longer body is cut at max_body, and no failure
---@field fresh boolean?          on a connection of its own

local function copy(map, keep)
  local result = {}
  for key, value in pairs(map or {}) do
    if not keep or keep(key) then result[key] = value end
  end
  return result
end

-- --- redirects -----------------------------------------------------------------------------------

local function becomes_get(method, status)
  if status == 303 then return method ~= "HEAD" end
  return method == "POST" and (status == 301 or status == 302)
end

local function for_a_stranger(request)
  request.headers = copy(request.headers, function(name) return HARMLESS[name:lower()] end)
  request.tls = request.tls and {
    cafile = request.tls.cafile, capath = request.tls.capath, verify = request.tls.verify,
  }
end

-- The request that a redirect asks for; nil: the answer is an answer; nil and why: it leads nowhere.
local function redirected(request, response, count)
  local location = response.headers.location
  if not request.follow or not REDIRECT[response.status] or not location then return nil end
  local target, message = url.resolve(request.url, location)
  if not target then return nil, ("redirects to %q: %s"):format(location, message), "EPROTONOSUPPORT" end
  local stays = url.same_origin(request.url, target)
  if request.socket and not stays then return nil end -- the socket is one server, and this is another
  if count >= REDIRECTS then return nil, ("redirects more than %d times"):format(REDIRECTS), "ELOOP" end
  local following = copy(request)
  following.url = target
  if not stays then for_a_stranger(following) end
  if becomes_get(request.method, response.status) then
    following.method, following.body = "GET", nil
    following.headers = copy(following.headers, function(name) return name:lower() ~= "content-type" end)
  end
  return following
end

-- --- sending -------------------------------------------------------------------------------------

local function options_of(request, seconds)
  return {
    method = request.method, url = url.format(request.url), headers = request.headers, body = request.body,
    timeout = seconds, socket = request.socket, tls = request.tls, stream = request.stream,
    proxy = request.proxy and not request.socket and request.proxy(request.url) or nil,
    max_body = request.max_body, cut = request.cut, fresh = request.fresh,
  }
end

---Sends a request. done(response) or done(nil, message, code) is called once, perhaps at once. The response is the
---port's event: { status, headers, body }, or the head of a stream, whose handle (`id`) is the caller's from then on
---unless it is the `last` event.
---@param loop luapilot.Loop
---@param request luapilot.Exchange
---@param done fun(response: table?, message: string?, code: string?)
---@return fun() cancel
function exchange.start(loop, request, done)
  local port, current, count = loop.port, nil, 0
  local deadline = request.timeout and port.now() + request.timeout
  local send

  local function arrived(asked, event)
    if not asked.stream or event.error or event.last then loop:unroute(event.id) end
    if event.error then return done(nil, event.error, event.code) end
    local following, message, code = redirected(asked, event, count)
    if not following and not message then return done(event) end
    loop:cancel(event.id)
    if message then return done(nil, message, code) end
    count = count + 1
    send(following)
  end

  function send(asked)
    local left = deadline and math.ceil((deadline - port.now()) * 1000) / 1000 -- it is told in messages
    local id, message, code = port.request(options_of(asked, left and math.max(0.001, left)))
    current = id
    if not id then return done(nil, message, code) end
    loop:route(id, function(event) arrived(asked, event) end)
  end

  send(request)
  return function()
    if current then loop:cancel(current) end
  end
end

return exchange
