-- kv_api: /v1/kv/.

local answer = require "luapilot.sim.consul.answer"
local json = require "luapilot.sim.consul.json"
local view = require "luapilot.sim.consul.view"

local TOPICS = { "kv" }

-- --- reading -----------------------------------------------------------------------------------

local function keys(request)
  local q = request.query
  local separator = q:has "separator" and q:get "separator" or q:get "seperator"
  local list, index = request.dc.kv:keys(request.rest, separator)
  if request.dc.denied.key then request.filtered, list = #list > 0, {} end
  local found = #list > 0 or request.rest == ""
  return answer.read(found and answer.json(view.list(list)) or answer.empty(404), index, TOPICS)
end

local function tree(request)
  local entries, index = request.dc.kv:list(request.rest)
  if request.dc.denied.key then request.filtered, entries = #entries > 0, {} end
  local list = json.array()
  for i, entry in ipairs(entries) do list[i] = view.entry(entry) end
  return answer.read(#list > 0 and answer.json(list) or answer.empty(404), index, TOPICS)
end

local function raw(entry)
  return {
    status = 200, text = entry.value, headers = {
      ["content-type"] = "text/plain", ["x-content-type-options"] = "nosniff", ["content-security-policy"] = "sandbox",
    },
  }
end

local function get(request)
  if request.query:has "keys" then return keys(request) end
  if request.query:has "recurse" then return tree(request) end
  if request.rest == "" then return answer.bad "Missing key name" end
  if request.dc.denied.key then return answer.denied() end
  local entry, index = request.dc.kv:get(request.rest)
  if not entry then return answer.read(answer.empty(404), index, TOPICS) end
  local shown = request.query:has "raw" and raw(entry) or answer.json(json.array { view.entry(entry) })
  return answer.read(shown, index, TOPICS)
end

-- --- writing -----------------------------------------------------------------------------------

local function encoded(query)
  local names, parts = {}, {}
  for name in pairs(query.params) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do parts[i] = name .. "=" .. query:get(name) end
  return table.concat(parts, "&")
end

local function conflict(request, ...)
  local count = 0
  for i = 1, select("#", ...) do
    if request.query:has((select(i, ...))) then count = count + 1 end
  end
  if count > 1 then return answer.bad(("Conflicting flags: %s"):format(encoded(request.query))) end
end

local MOST = "18446744073709551615"

local function digits(text)
  if not text:find "^%d+$" then return nil, ('strconv.ParseUint: parsing "%s": invalid syntax'):format(text) end
  text = text:gsub("^0+(%d)", "%1")
  if #text > #MOST or #text == #MOST and text > MOST then
    return nil, ('strconv.ParseUint: parsing "%s": value out of range'):format(text)
  end
  return text
end

local function parameter(request, name)
  if not request.query:has(name) then return nil end
  return digits(request.query:get(name))
end

local function put(request)
  local q, kv = request.query, request.dc.kv
  if request.rest == "" then return answer.bad "Missing key name" end
  local wrong = conflict(request, "cas", "acquire", "release")
  if wrong then return wrong end
  local flags, message = parameter(request, "flags")
  local expected, other = parameter(request, "cas")
  if message or other then return answer.failed(message or other) end
  if request.dc.denied.key then return answer.denied() end
  local key, value, index = request.rest, request.body, request.dc.store:write()
  flags = flags or "0"
  if expected then return answer.json(kv:cas(key, value, flags, tonumber(expected), index)) end
  if q:has "acquire" then
    local taken, refusal = kv:lock(key, value, flags, q:get "acquire", index)
    return refusal and answer.failed(refusal) or answer.json(taken)
  end
  if q:has "release" then
    local released, refusal = kv:unlock(key, value, flags, q:get "release", index)
    return refusal and answer.failed(refusal) or answer.json(released)
  end
  kv:set(key, value, flags, index)
  return answer.json(true)
end

local function delete(request)
  local kv = request.dc.kv
  local wrong = conflict(request, "recurse", "cas")
  if wrong then return wrong end
  if request.rest == "" and not request.query:has "recurse" then return answer.bad "Missing key name" end
  local expected, message = parameter(request, "cas")
  if message then return answer.failed(message) end
  if request.dc.denied.key then return answer.denied() end
  local index = request.dc.store:write()
  if expected then return answer.json(kv:delete_cas(request.rest, tonumber(expected), index)) end
  if request.query:has "recurse" then kv:delete_tree(request.rest, index) else kv:delete(request.rest, index) end
  return answer.json(true)
end

return { ["/v1/kv/"] = { GET = get, PUT = put, DELETE = delete, bounded = true } }
