-- proxy: which proxy the environment names for a URL.
--
--   http_proxy, https_proxy, all_proxy, and no_proxy for the exceptions; in capitals, too, but not HTTP_PROXY, which
--   a CGI server would let its clients set. Loopback never goes through a proxy.
--
-- Pure. Health checks and unix sockets never ask it.

local proxy = {}

local NAMES = {
  http = { "http_proxy", "all_proxy", "ALL_PROXY" },
  https = { "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY" },
}

local function is_loopback(host)
  return host == "localhost" or host == "[::1]" or host:find "^127%.[%d.]+$" ~= nil
end

-- "example.com" and ".example.com" mean the name and everything below it.
local function is_exempt(host, list)
  for entry in list:gmatch "[^%s,]+" do
    local name = entry:lower():gsub("^%.", ""):gsub(":%d+$", "")
    if entry == "*" or host == name or host:sub(-#name - 1) == "." .. name then return true end
  end
  return false
end

---@param environ table<string, string>
---@param url luapilot.Url
---@return string?
function proxy.of(environ, url)
  local host = url.host
  if is_loopback(host) or is_exempt(host, environ.no_proxy or environ.NO_PROXY or "") then return nil end
  for _, name in ipairs(NAMES[url.scheme]) do
    local value = environ[name]
    if value == "" then return nil end
    if value then return value:find "://" and value or "http://" .. value end
  end
end

return proxy
