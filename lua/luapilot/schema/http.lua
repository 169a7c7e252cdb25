-- The types of requests by HTTP: URLs, headers, queries, TLS, proxies, ranges of a status.
--
-- Owns how these are written in pilot.lua and what they become. Never asks whether a host or a file exists.

local describe = require "luapilot.base.describe"
local numbers = require "luapilot.schema.numbers"
local paths = require "luapilot.schema.paths"
local schema = require "luapilot.schema.schema"
local url = require "luapilot.base.url"

local M = {}

---A URL of http or https: becomes a luapilot.Url.
---@type luapilot.Type
M.url = schema.by(url.parse)

---A method: "GET".
---@type luapilot.Type
function M.method(value, path, report)
  if type(value) == "string" and value:find "^%u[%u-]*$" then return value end
  local better = type(value) == "string" and value:find "^%a+$" and ('write "%s"'):format(value:upper()) or nil
  return schema.expected(path, report, 'a method such as "POST"', value, better)
end

-- --- headers -----------------------------------------------------------------------------------

local OURS = { ["content-length"] = true, ["transfer-encoding"] = true }

local function header_message(name)
  if type(name) ~= "string" then return 'expected ["Name"] = "value"' end
  if not name:find "^[%w!#$%%&'*+%-.^_`|~]+$" then return "is no name of a header" end
  if OURS[name:lower()] then return "follows from the body: leave it out" end
end

local function header_value(value, path, report)
  if type(value) == "number" then return numbers.text(value, path, report) end
  if type(value) ~= "string" then return schema.expected(path, report, "a string or a number", value) end
  if value:find "[%z\r\n]" then return report(path, "contains a line break or a NUL byte") end
  return value
end

---{ Accept = "text/plain", ["X-Token"] = "…" }
---@type luapilot.Type
function M.headers(value, path, report)
  if not schema.is_table(value) then
    return schema.expected(path, report, 'a table such as { Accept = "text/plain" }', value)
  end
  local result = {}
  for _, name in ipairs(schema.keys(value)) do
    local message = header_message(name)
    if message then
      report(schema.join(path, name), message)
    else
      result[name] = header_value(value[name], schema.join(path, name), report)
    end
  end
  return result
end

-- --- queries and forms -------------------------------------------------------------------------

local PLAIN = { string = true, boolean = true }

local function plain(value, path, report)
  if type(value) == "number" then return numbers.text(value, path, report) end
  if PLAIN[type(value)] then return value end
  return schema.expected(path, report, "a string, a number, a boolean or a list of them", value)
end

---{ name = "value", tag = { "a", "b" } }
---@type luapilot.Type
function M.pairs(value, path, report)
  if not schema.is_table(value) then return schema.expected(path, report, 'a table such as { q = "text" }', value) end
  local result = {}
  for _, name in ipairs(schema.keys(value)) do
    local where, one = schema.join(path, name), value[name]
    if type(name) ~= "string" then
      report(where, 'expected name = "value", got ' .. describe.value(one))
    elseif type(one) == "table" then
      result[name] = schema.list(plain, "a list of values")(one, where, report)
    else
      result[name] = plain(one, where, report)
    end
  end
  return result
end

-- --- the other end -----------------------------------------------------------------------------

local SOCKET = 107 -- bytes of its path

---The path of a unix socket.
---@type luapilot.Type
function M.socket(value, path, report)
  local what = 'an absolute path such as "/run/app.sock"'
  if type(value) ~= "string" then return schema.expected(path, report, what, value) end
  local bare = value:match "^unix:/*(/.*)$"
  if bare then return schema.expected(path, report, what, value, "write " .. describe.quote(bare)) end
  if value:sub(1, 1) ~= "/" or value:find "%z" then return schema.expected(path, report, what, value) end
  if #value > SOCKET then return report(path, ("is longer than %d bytes: the kernel takes no more"):format(SOCKET)) end
  return value
end

local read_tls = schema.fields({
  cafile     = { paths.type },                  -- PEM; instead of the system's CAs
  capath     = { paths.type },                  -- a directory of them
  clientcert = { paths.type },
  clientkey  = { paths.type },
  servername = { schema.text },                 -- verified instead of the URL's host
  verify     = { schema.boolean, default = true },
}, 'a table such as { cafile = "/etc/ca.pem" }', {
  ca = "cafile", cacert = "cafile", cert = "clientcert", key = "clientkey", insecure = "verify",
  skip_verify = "verify", sni = "servername",
})

---@type luapilot.Type
function M.tls(value, path, report)
  local result = read_tls(value, path, report)
  if result and result.clientkey and not result.clientcert then
    report(schema.join(path, "clientkey"), "needs clientcert: a key alone proves nothing")
  end
  return result
end

local PROXIES = { http = true, https = true, socks5 = true, socks5h = true }

---A proxy's URL, or false: none, whatever the environment says.
---@type luapilot.Type
function M.proxy(value, path, report)
  if value == false then return false end
  local scheme = type(value) == "string" and value:match "^(%a[%w]*)://[^%s/]+/?$"
  if scheme and PROXIES[scheme:lower()] then return value end
  return schema.expected(path, report, 'a URL such as "http://proxy:3128", or false', value)
end

-- --- the status --------------------------------------------------------------------------------

local function one_range(text)
  local low, high = text:match "^%s*([1-5]%d%d)%s*%-%s*([1-5]%d%d)%s*$"
  low = low or text:match "^%s*([1-5]%d%d)%s*$"
  low, high = tonumber(low), tonumber(high or low)
  return low and low <= high and { low, high } or nil
end

---200, "200-399", "200,204": becomes a list of { low, high }.
---@type luapilot.Type
function M.status(value, path, report)
  local list = {}
  for text in (tostring(value) .. ","):gmatch "([^,]*)," do
    list[#list + 1] = one_range(text) or schema.expected(path, report, 'a status such as 200 or "200-399"', value)
    if not list[1] then return nil end
  end
  return list
end

---@param ranges { [1]: integer, [2]: integer }[]
---@param status integer
---@return boolean
function M.is_among(ranges, status)
  for _, range in ipairs(ranges) do
    if status >= range[1] and status <= range[2] then return true end
  end
  return false
end

return M
