-- options: which Consul agent, and how it is talked to: what pilot.consul was called with, and where that is silent the
-- environment variables of the official tools.
--
-- It owns the fields, and what an address may look like. It never reads a file and never connects.

local copy = require "luapilot.base.copy"
local describe = require "luapilot.base.describe"
local http_schema = require "luapilot.schema.http"
local paths = require "luapilot.schema.paths"
local schema = require "luapilot.schema.schema"
local url = require "luapilot.base.url"

local options = {}

---@class luapilot.ConsulOptions
---@field url string              of the port's `agent`: "http://localhost:8500"
---@field socket string?
---@field token string?
---@field token_file string?      where it is from: mistakes name this
---@field token_path string?      "pilot.consul.token_file", or the variable: for messages
---@field auth string?
---@field dc string?
---@field max_connections integer
---@field tls table?

local DEFAULT = "127.0.0.1:8500"
local WHAT = '"host:port", "unix:///run/consul.sock" or a URL such as "https://consul:8501"'

-- --- the address ---------------------------------------------------------------------------------

local function from_url(text, path, report)
  local found, message = url.parse(text)
  if not found then return report(path, message) end
  if found.user then return report(path, 'has a name and a password in it: write auth = "name:password"') end
  if found.query then return report(path, "has a query: leave it out") end
  local prefix = found.path:gsub("/+$", "")
  if prefix:find "/v1$" then return report(path, "ends with /v1: leave that out, it is added") end
  found.path = "/"
  return { scheme = found.scheme, url = url.format(found):gsub("/$", "") .. prefix }
end

local function from_socket(text, path, report)
  local socket = http_schema.socket(text:match "^unix://(.*)$", path, report)
  return socket and { scheme = "unix", url = "http://localhost", socket = socket }
end

local function port_advice(text)
  if text:find "^[%w%.%-_]+$" then return ('the port is missing: write "%s:8500"'):format(text) end
  if text:sub(1, 1) == "/" then return ("write %s"):format(describe.quote("unix://" .. text)) end
end

-- "host:port": nothing is said about TLS.
local function from_host(text, path, report)
  local found = url.parse("http://" .. text)
  if not found or not found.port or found.path .. (found.query or "") ~= "/" or found.user then
    return schema.expected(path, report, WHAT, text, port_advice(text))
  end
  return { host = found.host .. ":" .. found.port }
end

---@type luapilot.Type
local function address(value, path, report)
  if type(value) ~= "string" then return schema.expected(path, report, WHAT, value) end
  if value:find "^unix://" then return from_socket(value, path, report) end
  if value:find "://" then return from_url(value, path, report) end
  return from_host(value, path, report)
end

-- --- the other fields ----------------------------------------------------------------------------

---What goes into a header.
---@type luapilot.Type
local function token(value, path, report)
  if type(value) ~= "string" then return schema.expected(path, report, "a string", value) end
  if value == "" then return report(path, "is an empty string") end
  if value:find "[%c%s]" then return report(path, "contains a space or a line break: it is no token") end
  return value
end
options.token = token

local function auth(value, path, report)
  local text = schema.text(value, path, report)
  if text and not text:find(":", 2, true) then return report(path, 'expected "name:password", and there is no ":"') end
  if text and text:find "%c" then return report(path, "contains a line break") end
  return text
end

local read = schema.fields({
  address         = { address },
  token           = { token },
  token_file      = { paths.type },
  auth            = { auth },
  dc              = { schema.text },
  max_connections = { schema.integer(1), default = 150 },
  tls             = { http_schema.tls },
}, 'an address such as "localhost:8500", or a table such as { address = "localhost:8500" }', {
  url = "address", addr = "address", host = "address", server = "address", datacenter = "dc", ssl = "tls",
  acl_token = "token", http_auth = "auth", connections = "max_connections",
})

-- --- the environment -----------------------------------------------------------------------------

local TLS = {
  { "cafile", "CONSUL_CACERT" }, { "capath", "CONSUL_CAPATH" }, { "clientcert", "CONSUL_CLIENT_CERT" },
  { "clientkey", "CONSUL_CLIENT_KEY" }, { "servername", "CONSUL_TLS_SERVER_NAME" },
}

local TRUTH = { ["1"] = true, t = true, ["true"] = true, ["0"] = false, f = false, ["false"] = false }

local function variables(environ, report)
  local env = {}

  ---A variable's text; an empty one is as none.
  function env.text(name)
    local value = environ[name]
    return value ~= "" and value or nil
  end

  ---A variable by a type.
  function env.value(name, kind)
    local value = env.text(name)
    return value and kind(value, name, report)
  end

  function env.truth(name)
    local value = env.text(name)
    if not value then return nil end
    if TRUTH[value:lower()] == nil then schema.expected(name, report, '"true" or "false"', value) end
    return TRUTH[value:lower()]
  end

  return env
end

-- --- put together --------------------------------------------------------------------------------

-- What the file says of TLS, and the environment where that is silent.
local function completed_tls(given, env)
  local tls = copy.shallow(given)
  for _, each in ipairs(TLS) do
    if tls[each[1]] == nil then tls[each[1]] = env.text(each[2]) end
  end
  if tls.verify == nil then tls.verify = env.truth "CONSUL_HTTP_SSL_VERIFY" end
  return tls
end

-- Where it is, as the port's `agent` wants it, and whether TLS is spoken there.
local function place_of(found, has_tls, env, path, report)
  local scheme = found.scheme
  if has_tls and scheme and scheme ~= "https" then
    report(schema.join(path, "tls"), "the address is not https: without that nothing is encrypted")
  end
  if not scheme then
    scheme = (has_tls or env.truth "CONSUL_HTTP_SSL") and "https" or "http"
    found = { url = scheme .. "://" .. found.host }
  end
  return found.url, found.socket, scheme == "https"
end

local function token_of(result, env, path)
  if result.token then return result.token end
  if result.token_file then return nil, result.token_file, schema.join(path, "token_file") end
  local file = env.text "CONSUL_HTTP_TOKEN_FILE"
  if file then return nil, paths.absolute(file, "CONSUL_HTTP_TOKEN_FILE"), "CONSUL_HTTP_TOKEN_FILE" end
  return env.value("CONSUL_HTTP_TOKEN", token)
end

---Reads what pilot.consul was called with. The result is complete in any case.
---@param value any                      "localhost:8500", a table, or nil: all from the environment
---@param environ table<string, string>
---@param path string
---@param report luapilot.Report
---@return luapilot.ConsulOptions
function options.read(value, environ, path, report)
  local env = variables(environ, report)
  local given = type(value) == "table" and copy.shallow(value) or { address = value }
  local has_tls = type(given.tls) == "table"
  if has_tls then given.tls = completed_tls(given.tls, env) end
  local result = read(given, path, report)
  if given.token ~= nil and given.token_file ~= nil then
    report(path, "has token and token_file: the token stands here, or in a file")
  end
  local found = result.address or given.address == nil and env.value("CONSUL_HTTP_ADDR", address)
    or address(DEFAULT, path, report)
  local encrypted
  result.address, result.url, result.socket, encrypted = nil, place_of(found, has_tls, env, path, report)
  if not encrypted then
    result.tls = nil
  elseif not has_tls then
    result.tls = http_schema.tls(completed_tls({}, env), schema.join(path, "tls"), report)
  end
  result.token, result.token_file, result.token_path = token_of(result, env, path)
  result.auth = result.auth or env.value("CONSUL_HTTP_AUTH", auth)
  return result
end

return options
