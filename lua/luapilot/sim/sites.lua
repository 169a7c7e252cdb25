-- sites: what the web answers to a box.
--
--   box:http("http://api/health", 200)                         a status
--   box:http("http://api/users", { status = 404, body = "…", headers = { … }, after = "2s" })
--   box:http("POST http://api/*", function(request) return { body = request.body } end)
--   box:http("http://api/x", "down")                           nobody listens; "hangs": no answer ever comes
--   box:http("http://api/x", { error = "ECONNRESET" })         the exchange breaks
--   box:http("http://api/x", { 503, 503, 200 })                one after the other; the last repeats
--   box:http("http://api/log", { body = { "a\n", "b\n" }, every = "1s", endless = true })    piece by piece
--
-- In an address "*" stands for any text; one without "?" fits whatever the query is. The longest that fits counts,
-- of equal ones the last. It owns the descriptions, their check, which answer of a list is next, and what disturbs
-- them while a fault lasts (faults.lua).

local blame = require "luapilot.sim.blame"
local duration = require "luapilot.base.duration"
local suggest = require "luapilot.base.suggest"
local url = require "luapilot.base.url"

local sites = {}

local FIELDS = { "status", "body", "headers", "after", "error", "every", "endless", "hangs" }
local KNOWN = {}
for _, name in ipairs(FIELDS) do KNOWN[name] = true end

---@class luapilot.sim.Answer
---@field status integer
---@field body string|string[]          a list: pieces, `every` so long
---@field headers table<string, string>
---@field after number                  seconds
---@field every number
---@field endless boolean?              after the last piece nothing comes, no end either
---@field hangs boolean?                nothing ever comes
---@field error string?                 a code

---@class luapilot.sim.Sites
local Sites = {}
Sites.__index = Sites

---@return luapilot.sim.Sites
function sites.new() return setmetatable({ list = {} }, Sites) end

-- --- answers -----------------------------------------------------------------------------------

local function seconds(value, name)
  if value == nil then return 0 end
  local number, message = duration.parse(value)
  return number or blame.raise("box:http: %s: %s", name, message)
end

local function check_body(body)
  for _, piece in ipairs(type(body) == "table" and body or { body }) do
    if type(piece) ~= "string" then blame.raise("box:http: body: expected a string, got a %s", type(piece)) end
  end
  return body
end

local function from_table(value)
  for name in pairs(value) do
    if not KNOWN[name] then
      blame.raise("box:http: an answer has no field %q%s", tostring(name), suggest.hint(tostring(name), FIELDS))
    end
  end
  local headers = {}
  for name, text in pairs(value.headers or {}) do headers[name:lower()] = tostring(text) end
  return {
    status = value.status or 200, body = check_body(value.body or ""), headers = headers,
    after = seconds(value.after, "after"), every = seconds(value.every, "every"),
    endless = value.endless, hangs = value.hangs, error = value.error,
  }
end

-- Whatever a spec may write, as an Answer or a function.
local function normalize(value)
  if type(value) == "function" then return value end
  if type(value) == "number" then return from_table { status = value } end
  if value == "down" then return from_table { error = "ECONNREFUSED" } end
  if value == "hangs" then return from_table { hangs = true } end
  if type(value) == "table" then return from_table(value) end
  blame.raise('box:http: expected a status, a table, a function, "down" or "hangs", got %s', tostring(value))
end

local function list_of(value)
  if type(value) ~= "table" or value[1] == nil then return { normalize(value) } end
  local list = {}
  for i, each in ipairs(value) do list[i] = normalize(each) end
  return list
end

-- --- addresses ---------------------------------------------------------------------------------

local function as_pattern(text)
  return "^" .. text:gsub("[%^%$%(%)%%%.%[%]%+%-%?]", "%%%0"):gsub("%*", ".*") .. "$"
end

-- The way in which all URLs are written here: without a user, a fragment, a port that goes without saying.
local function canonical(text)
  local parts, message = url.parse(text)
  if not parts then return nil, message end
  parts.user = nil
  return url.format(parts)
end

---@param address string      "http://api/health", "POST http://api/*"
---@param value any           an answer
function Sites:describe(address, value)
  if type(address) ~= "string" then blame.raise("box:http: expected a URL, got a %s", type(address)) end
  local method, text = address:match "^(%u+) +(.*)$"
  text = text or address
  if not text:find("*", 1, true) then
    local message
    text, message = canonical(text)
    if not text then blame.raise("box:http: %s", message) end
  end
  self.list[#self.list + 1] = {
    name = address, disturbances = {}, method = method,
    pattern = as_pattern(text), length = #text, asks = text:find("?", 1, true) ~= nil,
    answers = list_of(value), next = 1,
  }
end

local function fits(entry, method, text, bare)
  if entry.method and entry.method ~= method then return false end
  return text:find(entry.pattern) ~= nil or not entry.asks and bare:find(entry.pattern) ~= nil
end

local function find(self, request)
  local text, found = canonical(request.url), nil
  local bare = text:gsub("%?.*$", "")
  for _, entry in ipairs(self.list) do
    if (not found or entry.length >= found.length) and fits(entry, request.method, text, bare) then found = entry end
  end
  return found
end

---The answer to a request, or nil when nobody described it.
---@param request table     { method, url, headers, body, socket }
---@return luapilot.sim.Answer?
function Sites:answer(request)
  local entry = find(self, request)
  if not entry then return nil end
  local answer = entry.answers[entry.next]
  entry.next = math.min(entry.next + 1, #entry.answers)
  if type(answer) == "function" then answer = normalize(answer(request) or 404) end
  local disturb = entry.disturbances[#entry.disturbances]
  return disturb and disturb(answer) or answer
end

return sites
