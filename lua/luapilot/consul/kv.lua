-- kv: pilot.consul.kv, Consul's store of keys: bytes in, bytes out.
--
-- It owns the encoding of values. A missing key is nil, a write that Consul refuses for its conditions (cas, a lock
-- that somebody else holds) is false; everything else that goes wrong raises.

local base64 = require "luapilot.base.base64"
local json_text = require "luapilot.schema.json_text"
local client = require "luapilot.consul.client"
local describe = require "luapilot.base.describe"
local numbers = require "luapilot.schema.numbers"
local requests = require "luapilot.consul.requests"
local schema = require "luapilot.schema.schema"
local shapes = require "luapilot.consul.shapes"
local url = require "luapilot.base.url"

local kv = {}

local MISSING = { [404] = true }

-- --- keys and values -----------------------------------------------------------------------------

-- Consul's server cleans paths: "a//b" would be answered with a redirect to "a/b", and "a/../b" means "b".
local function part_message(key)
  if key:sub(1, 1) == "/" then
    return ('begins with "/", which no key does: write %s'):format(describe.quote(key:match "^/*(.*)$"))
  end
  if key:find("//", 1, true) then return 'has "//" in it: no request for such a key reaches Consul' end
  for part in key:gmatch "[^/]+" do
    if part == "." or part == ".." then
      return ("has the part %q in it: no request for such a key reaches Consul"):format(part)
    end
  end
end

---The beginning of keys.
---@type luapilot.Type
function kv.prefix(value, path, report)
  local prefix = json_text.any(value, path, report)
  local message = prefix and part_message(prefix)
  if message then return report(path, message) end
  return prefix
end

---A key.
---@type luapilot.Type
function kv.key(value, path, report)
  local key = schema.text(value, path, report)
  return key and kv.prefix(key, path, report)
end

---A value: bytes.
---@type luapilot.Type
function kv.value(value, path, report)
  if type(value) == "string" then return value end
  if type(value) == "number" then return numbers.text(value, path, report) end
  local advice = type(value) == "table" and "pilot.json.encode makes one" or nil
  return schema.expected(path, report, "a string", value, advice)
end

-- Everything but "/" is escaped.
local function path_of(key) return "/v1/kv/" .. url.escape(key):gsub("%%2F", "/") end

---Takes a pair as Consul has it: its value decoded. An empty one is null there. Raises where it is no such pair.
---@param pair table
---@return table
function kv.decoded(pair)
  if type(pair.key) ~= "string" then error("a pair without a key", 0) end
  pair.value = pair.value and assert(base64.decode(pair.value)) or ""
  return pair
end

local function first(list) return list[1] and kv.decoded(list[1]) end

local function all(list)
  for _, pair in ipairs(list) do kv.decoded(pair) end
  table.sort(list, function(a, b) return a.key < b.key end)
  return list
end

local function sorted(list)
  table.sort(list)
  return list
end

-- --- the library ---------------------------------------------------------------------------------

local GET = requests.options "READ"
local KEYS = requests.options "READ separator"
local PUT = requests.options "WRITE cas flags acquire release"
local CAS = requests.options "WRITE flags"
local DELETE = requests.options "WRITE recurse cas"

---pilot.consul.kv of one pilot.
---@param app luapilot.App
---@return table
function kv.library(app)
  local library = {}

  -- A request for a key; raises when an argument is wrong.
  local function request_of(call, method, key, kind, options, reads)
    key = requests.argument(app, call, kind, key, "key")
    local read = requests.argument(app, call, reads, options == nil and {} or options)
    return requests.add({ method = method, path = path_of(key), what = call }, read), read
  end

  -- What is read of the pairs below a prefix, or the one of a key.
  local function answer_of(self, request, read)
    request.accept = MISSING
    local response = self:call(request)
    local list = response.status ~= 404 and requests.decode(app, request, response) or {}
    return requests.read(app, request, read, list), requests.meta(response)
  end

  ---The value of a key, and what else Consul knows of it; nil when there is none.
  ---@param key string
  ---@param options table?     READ
  ---@return string? value, table? details, luapilot.ConsulMeta meta
  function library.get(key, options)
    local call = "pilot.consul.kv.get"
    local self = requests.enter(app, call)
    local details, meta = answer_of(self, request_of(call, "GET", key, kv.key, options, GET), first)
    if not details then return nil, nil, meta end
    local value = details.value
    details.value = nil
    return value, details, meta
  end

  ---All pairs whose keys begin so, sorted.
  ---@param prefix string
  ---@param options table?     READ
  ---@return table[] pairs     { key, value, flags, create_index, modify_index, lock_index, session }
  ---@return luapilot.ConsulMeta meta
  function library.list(prefix, options)
    local call = "pilot.consul.kv.list"
    local self = requests.enter(app, call)
    local request = request_of(call, "GET", prefix, kv.prefix, options, GET)
    request.query.recurse = true
    return answer_of(self, request, all)
  end

  ---The keys that begin so, sorted; with `separator` only up to its next place.
  ---@param prefix string
  ---@param options table?     READ, { separator = "/" }
  ---@return string[] keys, luapilot.ConsulMeta meta
  function library.keys(prefix, options)
    local call = "pilot.consul.kv.keys"
    local self = requests.enter(app, call)
    local request = request_of(call, "GET", prefix, kv.prefix, options, KEYS)
    request.query.keys = true
    return answer_of(self, request, sorted)
  end

  local function put(call, key, value, options, reads, cas)
    local self = requests.enter(app, call)
    local request = request_of(call, "PUT", key, kv.key, options, reads)
    request.body = requests.argument(app, call, kv.value, value, "value")
    request.query.cas = request.query.cas or cas
    return self:call(request).body:find "true" ~= nil
  end

  ---Writes a value. False: `cas`, `acquire` or `release` was not possible.
  ---@param key string
  ---@param value string|number
  ---@param options table?     WRITE, { flags, cas, acquire, release }
  ---@return boolean
  function library.put(key, value, options)
    return put("pilot.consul.kv.put", key, value, options, PUT)
  end

  ---Writes a value if the key's modify_index is still this one (0: if there is no such key).
  ---@param key string
  ---@param value string|number
  ---@param index string|integer
  ---@param options table?     WRITE, { flags }
  ---@return boolean
  function library.cas(key, value, index, options)
    local call = "pilot.consul.kv.cas"
    requests.enter(app, call)
    index = requests.argument(app, call, shapes.digits, index, "index")
    return put(call, key, value, options, CAS, index)
  end

  ---Deletes a key, or with `recurse` all that begin so. True also when there was none; false: `cas` was not possible.
  ---@param key string
  ---@param options table?     WRITE, { recurse, cas }
  ---@return boolean
  function library.delete(key, options)
    local call = "pilot.consul.kv.delete"
    local self = requests.enter(app, call)
    local recurses = type(options) == "table" and options.recurse == true
    local request, read = request_of(call, "DELETE", key, recurses and kv.prefix or kv.key, options, DELETE)
    if read.recurse and read.cas then client.raise(app, call .. ": has recurse and cas: an index is of one key") end
    return self:call(request).body:find "true" ~= nil
  end

  return library
end

return kv
