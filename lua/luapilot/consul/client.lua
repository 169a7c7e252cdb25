-- client: requests to Consul, and what its answers mean.
--
--   app.consul:send({ path = { "agent", "checks" } }, function(response, message, code) … end) → cancel
--   app.consul:call { method = "PUT", path = { "kv", "app/x" }, body = "1", retry = 30 }       in a task; raises
--
-- It owns the token (a file of one is read at load, again when an answer is 403, and from then on while somebody is
-- refused: tokens rotate) and the words for failures: what Consul said, and what may be done about it. It never decodes
-- an answer, and knows no endpoint.

local hints = require "luapilot.net.hints"
local describe = require "luapilot.base.describe"
local options = require "luapilot.consul.options"
local paths = require "luapilot.schema.paths"
local queue = require "luapilot.base.queue"
local retry = require "luapilot.task.retry"
local schema = require "luapilot.schema.schema"
local crowded = require "luapilot.consul.crowded"
local url = require "luapilot.base.url"

local client = {}

local TIMEOUT = 30
local MAX_BODY = 64 * 1024 ^ 2 -- bytes of an answer, as of a watch: a value of Consul's store has half a megabyte
local TOKEN_LIMIT = 64 * 1024 -- bytes of its file
local FIRST_LOOK, LONGEST_LOOK = 1, 10 -- seconds between two looks into it, while somebody is refused

---@class luapilot.Consul             the client of one pilot: `app.consul`
---@field app luapilot.App
---@field options luapilot.ConsulOptions
---@field token string?               that is used now
---@field where string?               the user's line that declared it
---@field crowded luapilot.Crowded     who has no connection
---@field unreadable string?          why the file of the token cannot be read now
local Client = {}
Client.__index = Client

---@class luapilot.ConsulCall
---@field method string?               default "GET"
---@field path string|string[]         { "agent", "check", "pass", id }: below /v1, each escaped by itself; or a string,
---                                    "/v1/…", encoded already and without a query
---@field query table<string, any>?    name → value or a list of values; false is as nil, true is the name alone
---@field body string?
---@field dc string?                   default: that of pilot.consul, where the endpoint has one
---@field token string?                instead of pilot.consul's
---@field timeout number?              seconds, default 30
---@field max_body number?             bytes, default 64 MiB
---@field accept table<integer, true>? statuses, beside 200 to 299, that are answers and no failures
---@field browses boolean?              an answer without what the token may not read will do
---@field retry number?                seconds; only of `call`
---@field what string?                 the name of the call in messages; only of `call`

-- --- the token -----------------------------------------------------------------------------------

-- A short one would hide half of every line.
local HIDDEN = 4
local TOKENS = 4 -- of a file, that stay hidden

local function hide(self, secret)
  if secret and #secret >= HIDDEN then self.app:hide(secret) end
end

-- The token in its file; nil and a message.
local function read_token(self)
  local text, message, code = self.app.port.read(self.options.token_file, TOKEN_LIMIT)
  if not text then return nil, paths.explain(self.app.port, message, code, self.options.token_file) end
  local token, wrong = schema.first(options.token, text:match "^%s*(.-)%s*$")
  if not token then return nil, ("%q: %s"):format(self.options.token_file, wrong) end
  return token
end

-- What the user hides stays hidden; of tokens from a file the last few do: what was said of one may come late.
local function take_token(self, token)
  hide(self, token)
  self.token = token
  if token then self.tokens:push(token) end
  if self.tokens.count > TOKENS then self.app:unhide(self.tokens:pop()) end
end

---The client of a pilot. Reports a token file that cannot be read.
---@param app luapilot.App
---@param read luapilot.ConsulOptions
---@param report luapilot.Report
---@return luapilot.Consul
function client.new(app, read, report)
  local self = setmetatable({
    app = app, options = read, where = app:where(), denied = {}, listeners = {}, pause = FIRST_LOOK,
    tokens = queue.new(),
    crowded = crowded.new(app),
  }, Client)
  hide(self, read.auth and read.auth:match ":(.*)$")
  if not read.token_file then
    take_token(self, read.token)
    return self
  end
  local token, message = read_token(self)
  if token then take_token(self, token) else report(read.token_path, message) end
  return self
end

---Tells the port which agent it talks to, from the next request on.
function Client:open()
  local read = self.options
  self.app.port.agent {
    url = read.url, socket = read.socket, token = self.token, auth = read.auth, tls = read.tls,
    max_connections = read.max_connections,
  }
end

---Reads the token file again. True: there is another token now, and it may be asked again.
---@return boolean changed
function Client:renew()
  if not self.options.token_file then return false end
  local token, message = read_token(self)
  if message and message ~= self.unreadable then
    self.app:log("warn", "consul: the token could not be read again: " .. message, nil, "consul_token_failed", nil,
      { reason = message })
  end
  self.unreadable = message
  if not token or token == self.token then return false end
  take_token(self, token)
  self:open()
  self.app:log("info", "consul: the token was read again", { file = self.options.token_file }, "consul_token")
  for _, fn in ipairs(self.listeners) do fn() end
  return true
end

-- The file may be written after the refusal: who was told of one is not told again, so nothing else would lead there.
local function look_later(self)
  if self.looking or not next(self.denied) then return end
  self.looking = self.app.loop:after(self.pause, function()
    self.looking = nil
    self:renew()
    look_later(self)
  end)
  self.pause = math.min(2 * self.pause, LONGEST_LOOK)
end

---The token of the file is refused (403), and who asked goes on asking. The file is read at once, for all that are
---refused in the same second, and again and again until all are granted what they ask for.
---@param who any          the same for each refusal
---@return boolean renewed    there is another token by now
function Client:refused(who)
  if not self.options.token_file then return false end
  if not self.looking then
    if self:renew() then return true end
    self.pause = FIRST_LOOK
  end
  self.denied[who] = true
  look_later(self)
  return false
end

---It is refused no more, or asks no more.
---@param who any
function Client:granted(who)
  if not self.denied[who] then return end
  self.denied[who] = nil
  if next(self.denied) or not self.looking then return end
  self.app.loop:cancel(self.looking)
  self.looking = nil
end

---Calls fn() when there is another token.
---@param fn fun()
function Client:when_renewed(fn) self.listeners[#self.listeners + 1] = fn end

-- --- failures ------------------------------------------------------------------------------------

-- What a token must allow, by the beginning of the path; `%s` is read or write.
local RIGHTS = {
  { "/v1/kv/", "key:%s" }, { "/v1/txn", "key:write" }, { "/v1/agent/service/", "service:%s" },
  { "/v1/agent/check/", "service:%s, or node:%s for a check of the node" }, { "/v1/agent/", "agent:%s" },
  { "/v1/health/", "node:read and service:read" }, { "/v1/catalog/", "node:%s and service:%s" },
  { "/v1/session/", "session:%s" }, { "/v1/event/", "event:%s" }, { "/v1/query", "query:%s" },
}

local function right_of(method, path)
  local way = method == "GET" and "read" or "write"
  for _, right in ipairs(RIGHTS) do
    if path:find(right[1], 1, true) == 1 then return (right[2]:gsub("%%s", way)) end
  end
end

-- { what Consul says, what may be done }
local SAID = {
  { "ACL not found", "Consul does not know this token: is it right, has it expired?" },
  { "No cluster leader", 'the servers have no leader at this moment: retry = "30s" waits for one' },
  { "No known Consul servers", 'the agent has not joined a cluster yet: retry = "30s" waits for it' },
  { "No path to datacenter", "is dc right? pilot.consul.catalog.datacenters() lists them" },
  { "HTTP request to an HTTPS server", 'the agent speaks TLS there: write "https://…"' },
  { "too many concurrent connections", "limits.http_max_conns_per_client of the agent is used up: raise it" },
  { "byte limit", "a value in Consul's store may have 512 KiB" },
}

local function advice_for(method, path, status, said)
  for _, each in ipairs(SAID) do
    if said:find(each[1], 1, true) then return each[2] end
  end
  local denied = status == 403 or said:find("Permission denied", 1, true)
  local right = denied and right_of(method, path)
  if right then return ("does the token allow %s?"):format(right) end
  if status >= 301 and status <= 308 then return "is the address that of Consul? Redirects are not followed" end
end

local LONGEST = 1000

---A text of Consul's in one line, as far as it can be shown. Secrets are hidden before it is cut.
---@param text string
---@return string
function client.one_line(text)
  local line = ""
  for part in describe.covered(text):gmatch "[^\r\n]+" do
    part = (part:match "^%s*(.*)$":match "^.*%S" or ""):gsub("%c", "?")
    local mark = line == "" and "" or line:find ":$" and " " or "; "
    if part ~= "" then line = line .. mark .. part end
    if #line > LONGEST then return line:sub(1, LONGEST) .. "…" end
  end
  return line
end

local function put_together(method, path, message, help)
  return ("consul: %s %s: %s%s"):format(method, path, message, help and "; " .. help or "")
end

---Words for an answer that is none of those that were hoped for. Also for what watches are told.
---@param method string
---@param path string         without its query
---@param status integer
---@param body string?
---@return string
function client.refusal(method, path, status, body)
  local said = client.one_line(body or "")
  local message = said ~= "" and ("%d: %s"):format(status, said) or tostring(status)
  return put_together(method, path, message, advice_for(method, path, status, said))
end

local FILTERED = "x-consul-results-filtered-by-acls"

---Words for an answer that lacks what the token may not read. Consul says so since 1.11.
---@param method string
---@param path string         without its query
---@return string
function client.filtered(method, path)
  local right = right_of(method, path)
  return put_together(method, path, "the answer lacks what the token may not read (X-Consul-Results-Filtered-By-ACLs)",
    right and ("does the token allow %s?"):format(right))
end

---The same in short, for the outage of all.
---@param status integer
---@param body string?
---@return string
function client.said_of(status, body)
  local line = client.one_line(body or "")
  return ("the agent answered %d%s"):format(status, line ~= "" and ": " .. line or "")
end

---Words for what kept an answer from coming.
---@param method string
---@param path string         without its query
---@param message string      of the port
---@param code string?
---@return string
function client.failure(method, path, message, code)
  return put_together(method, path, message, hints.of(message, code))
end

---Does a failure mean that the agent allows no further connection?
---@param code string|integer|nil
---@param message string
---@return boolean
function client.is_crowded(code, message)
  return code == "EUSERS" or code == 429 and message:find("too many concurrent connections", 1, true) ~= nil
end

-- --- requests ------------------------------------------------------------------------------------

local function path_of(path)
  if type(path) == "string" then return path end
  local parts = { "/v1" }
  for i, segment in ipairs(path) do parts[i + 1] = url.escape(tostring(segment)) end
  return table.concat(parts, "/")
end

-- An agent answers for itself, and is in one datacentre.
local function has_dc(path) return path:find("/v1/agent/", 1, true) ~= 1 end

---"/v1/health/service/db?dc=east&passing", of a request's path, query and dc; and the same without the query.
---@param request luapilot.ConsulCall
---@return string path
---@return string bare
function Client:path(request)
  local bare, query, flags = path_of(request.path), {}, {}
  for name, value in pairs(request.query or {}) do
    if value == true then
      flags[#flags + 1] = url.escape(name)
    elseif value ~= false then
      query[name] = value
    end
  end
  table.sort(flags)
  query.dc = query.dc or request.dc or has_dc(bare) and self.options.dc or nil
  local text = url.encode(query)
  if text ~= "" then flags[#flags + 1] = text end
  return flags[1] and bare .. "?" .. table.concat(flags, "&") or bare, bare
end

local function is_answer(request, status, body)
  if status >= 200 and status <= 299 then return true end
  return request.accept ~= nil and request.accept[status] == true and not client.is_crowded(status, body or "")
end

-- Another token than the one that was refused: read by somebody else meanwhile, or now.
local function has_other_token(self, request, refused)
  if request.token or not self.options.token_file then return false end
  return self.token ~= refused or self:renew()
end

-- Does an answer lack what the token may not read, to somebody who needs all? (An error has no content to lack it.)
local function is_filtered(request, method, event)
  if event.error or method ~= "GET" or request.browses then return false end
  local has_content = event.status == 200 or event.status == 404 and event.headers["x-consul-index"]
  return has_content and event.headers[FILTERED] == "true"
end

-- What came of a request: the response, or nil, message, code, said.
local function read_answer(event, request, method, bare, filtered)
  if event.error then return nil, client.failure(method, bare, event.error, event.code), event.code, event.error end
  if filtered then return nil, client.filtered(method, bare), 403 end
  if is_answer(request, event.status, event.body) then return event end
  return nil, client.refusal(method, bare, event.status, event.body), event.status,
    client.said_of(event.status, event.body)
end

---Sends a request. done(response) or done(nil, message, code, said) is called once, perhaps at once: the response is
---the port's event, { status, headers, body }; the code is the port's, or the status of an answer that is a failure;
---`said` is the bare message, as watches are told it.
---@param request luapilot.ConsulCall
---@param done fun(response: table?, message: string?, code: string|integer|nil, said: string?)
---@return fun() cancel           without effect when it is done
function Client:send(request, done)
  local loop, method = self.app.loop, request.method or "GET"
  local path, bare = self:path(request)
  local current, again
  local attempt

  local function arrived(event, token)
    loop:unroute(event.id)
    current = nil
    local filtered = is_filtered(request, method, event)
    if (event.status == 403 or filtered) and not again and has_other_token(self, request, token) then
      again = true
      return attempt()
    end
    done(read_answer(event, request, method, bare, filtered))
  end

  function attempt()
    local token = self.token
    local id, message, code = self.app.port.consul {
      method = method, path = path, body = request.body, token = request.token,
      timeout = request.timeout or TIMEOUT, max_body = request.max_body or MAX_BODY,
    }
    if not id then return done(nil, client.failure(method, bare, message, code), code) end
    current = id
    loop:route(id, function(event) arrived(event, token) end)
  end

  attempt()
  return function()
    if current then loop:cancel(current) end
    current = nil
  end
end

-- --- in tasks ------------------------------------------------------------------------------------

local AGAIN = { [429] = true, [502] = true, [503] = true, [504] = true } -- an answer that may soon be better

-- Consul answers 500 to nearly everything; these pass.
local PASSING = { "No cluster leader", "No known Consul servers", "leadership lost",
  "not ready to serve consistent reads", "rpc error getting client", "rpc error making call: EOF", "i/o timeout",
  "connection refused", "connection reset", "RPC rate limit" }

local function is_worth_another(response, message, code)
  if response then return false end
  if type(code) == "string" then return not retry.FOR_GOOD[code] end
  if AGAIN[code] then return true end
  if code ~= 500 then return false end
  for _, text in ipairs(PASSING) do
    if message:find(text, 1, true) then return true end
  end
  return false
end

---Sends a request and waits for the answer; with `retry` again and again. Nothing is raised but a cancellation, and at
---the top level that it waits.
---@param request luapilot.ConsulCall
---@return table? response, string? message, string|integer|nil code
function Client:ask(request)
  local tasks, what = self.app.tasks, request.what or "a request to Consul"
  return retry.run(tasks, what, request.retry, function()
    return tasks:await(what, function(wake) return self:send(request, wake) end)
  end, function(response, message, code)
    if code == 403 and not request.token and self.options.token_file then return true end -- it may rotate just now
    return is_worth_another(response, message, code)
  end)
end

---Raises at the user's line.
---@param app luapilot.App
---@param message string
function client.raise(app, message)
  local where = app:where()
  error(where and where .. ": " .. message or message, 0)
end

---The same as `ask`, but raises what failed, at the user's line.
---@param request luapilot.ConsulCall
---@return table response
function Client:call(request)
  local response, message = self:ask(request)
  if not response then client.raise(self.app, message) end
  return response
end

return client
