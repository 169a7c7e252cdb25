-- URLs of http and https: taken apart, put together, led on by a redirect, shown in messages.
--
-- Owns the grammar that is needed here, and what two URLs must share to be of one origin. Pure; it never
-- connects to anything.

local describe = require "luapilot.base.describe"

local M = {}

local PORTS = { http = 80, https = 443 }

---@class luapilot.Url
---@field scheme "http"|"https"
---@field user string?          "name:password", as written
---@field host string           in small letters; IPv6 in brackets
---@field port integer?         nil: the scheme's
---@field path string           "/" at least
---@field query string?         without "?"

local WHAT = 'a URL such as "http://localhost/health"'

local function not_a_url(value, advice)
  return nil, ("expected %s, got %s%s"):format(WHAT, describe.value(value), advice and "; " .. advice or "")
end

local function port_of(text)
  if text == "" then return nil end
  local number = tonumber(text:match "^:(%d+)$")
  if number and number >= 1 and number <= 65535 then return number end
  return nil, ("the port %s is not within 1-65535"):format(describe.quote(text:sub(2)))
end

local function authority(text)
  local user, rest = text:match "^(.*)@([^@]*)$"
  rest = rest or text
  local host, port = rest:match "^(%[[%x:.]+%])(.*)$"
  if not host then host, port = rest:match "^([^:%[%]]+)(.*)$" end
  if not host then return nil, "the host is missing" end
  local number, message = port_of(port)
  if message then return nil, message end
  return { user = user, host = host:lower(), port = number }
end

local function advice_for(text)
  local scheme = text:match "^(%a[%w+.-]*)://"
  if scheme then return "only http and https are spoken" end
  if text:find "^[%w%[]" then return ("write %s"):format(describe.quote("http://" .. text)) end
end

---Takes a URL apart. A fragment is dropped: it is never sent.
---@param text any
---@return luapilot.Url?
---@return string? message
function M.parse(text)
  if type(text) ~= "string" then return not_a_url(text) end
  if text:find "[%c%s\127]" then return not_a_url(text, "a space is written %20") end
  local scheme, rest = text:match "^(%a+)://(.*)$"
  scheme = scheme and scheme:lower()
  if not PORTS[scheme] then return not_a_url(text, advice_for(text)) end
  rest = rest:gsub("#.*$", "")
  local result, message = authority(rest:match "^[^/?]*")
  if not result then return not_a_url(text, message) end
  result.scheme = scheme
  local path, query = rest:match "^[^/?]*([^?]*)%??(.*)$"
  result.path = path == "" and "/" or path
  result.query = rest:find("?", 1, true) and query or nil
  return result
end

local function put_together(url, user)
  return ("%s://%s%s%s%s%s"):format(url.scheme, user and url.user and user .. "@" or "", url.host,
    url.port and url.port ~= PORTS[url.scheme] and ":" .. url.port or "", url.path,
    url.query and "?" .. url.query or "")
end

---@param url luapilot.Url
---@return string
function M.format(url) return put_together(url, url.user) end

---For messages: without its password.
---@param url luapilot.Url
---@return string
function M.shown(url) return put_together(url, "***") end

---@param url luapilot.Url
---@return integer
function M.port(url) return url.port or PORTS[url.scheme] end

---Would what is said to one be heard by the same server as what is said to the other?
---@param a luapilot.Url
---@param b luapilot.Url
---@return boolean
function M.same_origin(a, b)
  return a.scheme == b.scheme and a.host == b.host and M.port(a) == M.port(b)
end

-- --- redirects ---------------------------------------------------------------------------------

-- "/a/./b/../c" → "/a/c"
local function without_dots(path)
  local parts = {}
  for part in path:gmatch "[^/]+" do
    if part == ".." then
      parts[#parts] = nil
    elseif part ~= "." then
      parts[#parts + 1] = part
    end
  end
  local ends = path:find "/%.?%.?$" and #parts > 0
  return "/" .. table.concat(parts, "/") .. (ends and "/" or "")
end

local function relative(base, reference)
  local path, query = reference:gsub("#.*$", ""):match "^([^?]*)(.*)$"
  local result = { scheme = base.scheme, user = base.user, host = base.host, port = base.port }
  result.query = query ~= "" and query:sub(2) or nil
  if path == "" then
    result.path = base.path
    if query == "" then result.query = base.query end
  elseif path:sub(1, 1) == "/" then
    result.path = without_dots(path)
  else
    result.path = without_dots(base.path:match "^(.*/)" .. path)
  end
  return result
end

---Where a Location leads. A password goes along to the same origin only.
---@param base luapilot.Url
---@param reference string
---@return luapilot.Url?
---@return string? message
function M.resolve(base, reference)
  if reference:find "^//" then reference = base.scheme .. ":" .. reference end
  if not reference:find "^%a[%w+.-]*:" then return relative(base, (reference:gsub("%s", "%%20"))) end
  local url, message = M.parse(reference)
  if not url then return nil, message end
  if not url.user and M.same_origin(base, url) then url.user = base.user end
  return url
end

-- --- queries and forms -------------------------------------------------------------------------

---Percent-encoding of all but letters, digits and "-._~".
---@param text string
---@return string
function M.escape(text)
  return (text:gsub("[^%w%-._~]", function(char) return ("%%%02X"):format(char:byte()) end))
end

local function pair(name, value)
  if type(value) == "number" then value = describe.number(value) end
  return M.escape(name) .. "=" .. M.escape(tostring(value))
end

---"a=1&b=2", in the order of the names; of a list one after the other.
---@param fields table<string, string|number|boolean|table>
---@return string
function M.encode(fields)
  local names, parts = {}, {}
  for name in pairs(fields) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    local value = fields[name]
    for _, one in ipairs(type(value) == "table" and value or { value }) do parts[#parts + 1] = pair(name, one) end
  end
  return table.concat(parts, "&")
end

return M
