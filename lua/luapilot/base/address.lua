-- address: which of the machine's addresses a specification means. Pure: the list comes in.
--
--   "eth0"  "eth0:inet"  "eth0:inet6"  "eth0[1]"  "10.0.0.0/8"  "fd00::/8"  "inet"  "inet6"  "static:10.1.2.3"
--
-- Interfaces are looked at in the order of their names, then addresses; loopback only where it is named.

local suggest = require "luapilot.base.suggest"

local address = {}

address.DEFAULT = { "eth0:inet", "inet" }

---Can it be the host of an instance? Consul takes any text for one, of whoever may register a service, and what is made
---of it stands in files and commands.
---@param value any
---@return boolean
function address.is_host(value) return type(value) == "string" and value:find "^[%w%.%-_:%%%[%]]+$" ~= nil end

---… and its port; 0: it has none.
---@param value any
---@return boolean
function address.is_port(value)
  return type(value) == "number" and value >= 0 and value <= 65535 and value % 1 == 0
end

---"10.0.0.1:80", "db.example:80", "[fd00::1]:80"; without a port (nil or 0) the host alone.
---@param host string
---@param port integer?
---@return string
function address.authority(host, port)
  if host:find(":", 1, true) and host:sub(1, 1) ~= "[" then host = "[" .. host .. "]" end
  return port and port ~= 0 and ("%s:%d"):format(host, port) or host
end

-- "10.1.2.3" or "fd00::1" → its bytes, or nil.
local function bytes_v4(text)
  local a, b, c, d = text:match "^(%d+)%.(%d+)%.(%d+)%.(%d+)$"
  local bytes = { tonumber(a), tonumber(b), tonumber(c), tonumber(d) }
  if #bytes ~= 4 then return nil end
  for _, byte in ipairs(bytes) do
    if byte > 255 then return nil end
  end
  return bytes
end

local function groups(text)
  local list = {}
  if text == "" then return list end
  for group in (text .. ":"):gmatch "([^:]*):" do
    local number = group:find "^%x%x?%x?%x?$" and tonumber(group, 16)
    if not number then return nil end
    list[#list + 1] = number
  end
  return list
end

local function bytes_v6(text)
  text = text:gsub("%%.*$", "")
  local head, tail = text:match "^(.-)::(.*)$"
  local first, last = groups(head or text), groups(tail or "")
  if not first or not last or not text:find(":", 1, true) then return nil end
  local missing = 8 - #first - #last
  if (head and missing < 1) or (not head and missing ~= 0) then return nil end
  local bytes = {}
  local function add(group)
    bytes[#bytes + 1] = math.floor(group / 256)
    bytes[#bytes + 1] = group % 256
  end
  for _, group in ipairs(first) do add(group) end
  for _ = 1, missing do add(0) end
  for _, group in ipairs(last) do add(group) end
  return bytes
end

local function bytes_of(text) return bytes_v4(text) or bytes_v6(text) end

local function in_network(text, network, prefix)
  local bytes = bytes_of(text)
  if not bytes or #bytes ~= #network then return false end
  for i, byte in ipairs(bytes) do
    local bits = math.max(0, math.min(8, prefix - 8 * (i - 1)))
    local unit = 2 ^ (8 - bits)
    if math.floor(byte / unit) ~= math.floor(network[i] / unit) then return false end
  end
  return true
end

local function less(a, b)
  if #a ~= #b then return #a < #b end
  for i = 1, #a do
    if a[i] ~= b[i] then return a[i] < b[i] end
  end
  return false
end

-- Sorted by interface, then family (v4 first), then address.
local function sorted(addresses)
  local list = { unpack(addresses) }
  table.sort(list, function(a, b)
    if a.name ~= b.name then return a.name < b.name end
    return less(bytes_of(a.address) or {}, bytes_of(b.address) or {})
  end)
  return list
end

local function pick(list, fits, index)
  local count = 0
  for _, each in ipairs(list) do
    if each.up and fits(each) then
      count = count + 1
      if count == (index or 1) then return each.address end
    end
  end
end

local forms = {}

forms[#forms + 1] = function(spec)
  local static = spec:match "^static:(.+)$"
  if not static then return nil end
  if not bytes_of(static) then return nil, ("%q is no IP address"):format(static) end
  return function() return static end
end

forms[#forms + 1] = function(spec)
  local base, prefix = spec:match "^([%x%.:]+)/(%d+)$"
  if not base then return nil end
  local network = bytes_of(base)
  if not network or tonumber(prefix) > 8 * #network then return nil, ("%q is no network"):format(spec) end
  return function(list)
    return pick(list, function(each) return in_network(each.address, network, tonumber(prefix)) end)
  end
end

forms[#forms + 1] = function(spec)
  if spec ~= "inet" and spec ~= "inet6" then return nil end
  return function(list)
    return pick(list, function(each) return each.family == spec and not each.loopback end)
  end
end

forms[#forms + 1] = function(spec)
  local name, index = spec:match "^([%w%-_%.]+)%[(%d+)%]$"
  local family
  if not name then
    name, family = spec:match "^([%w%-_%.]+):(%w+)$"
    if family and family ~= "inet" and family ~= "inet6" then
      local hint = suggest.hint(family, { "inet", "inet6" })
      return nil, ("%q: expected inet or inet6 after the colon%s"):format(spec, hint)
    end
  end
  name = name or spec:match "^([%w%-_%.]+)$"
  if not name then return nil end
  return function(list)
    return pick(list, function(each)
      return each.name == name and (not family and (index or each.family == "inet") or each.family == family)
    end, index and tonumber(index) + 1)
  end
end

---Reads one specification.
---@param spec string
---@return (fun(addresses: table[]): string?)?
---@return string? message
function address.parse(spec)
  for _, form in ipairs(forms) do
    local find, message = form(spec)
    if find then return find end
    if message then return nil, message end
  end
  return nil, ('%q is no address specification: write "eth0", "eth0:inet6", "eth0[1]", "10.0.0.0/8", "inet" or '
    .. '"static:10.1.2.3"'):format(spec)
end

local function names_of(addresses)
  local names, seen = {}, {}
  for _, each in ipairs(sorted(addresses)) do
    local text = each.name .. " " .. each.address
    if not seen[text] then names[#names + 1] = text end
    seen[text] = true
  end
  return table.concat(names, ", ")
end

---The first address that one of the specifications finds.
---@param addresses table[]      of port.addresses()
---@param specs string[]
---@return string?
---@return string? message
function address.find(addresses, specs)
  local list = sorted(addresses)
  for _, spec in ipairs(specs) do
    local find, message = address.parse(spec)
    if not find then return nil, message end
    local found = find(list)
    if found then return found end
  end
  return nil, ("no address fits %s; this machine has: %s"):format(table.concat(specs, ", "), names_of(addresses))
end

return address
