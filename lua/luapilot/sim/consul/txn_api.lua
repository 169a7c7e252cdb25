-- txn_api: /v1/txn: several operations on keys, all or none.
--
-- They are tried on a copy of the keys; if one fails, nothing has happened. Operations on nodes, services and checks
-- are refused clearly.

local answer = require "luapilot.sim.consul.answer"
local base64 = require "luapilot.base.base64"
local body = require "luapilot.sim.consul.body"
local json = require "luapilot.sim.consul.json"
local view = require "luapilot.sim.consul.view"

local MOST = 64

local OPERATION = { loose = true, fields = {
  KV = { loose = true, fields = {
    Verb = "string", Key = "string", Value = "string", Flags = "flags", Index = "number", Session = "string",
  } },
  Node = "table", Service = "table", Check = "table",
} }

-- verb → function(kv, op, index): what to show (a list of entries), or nil and what is wrong
local verbs = {}

local function get(kv, op) return (kv:get(op.Key)) end

local function done(kv, op, ok, what)
  if not ok then return nil, what end
  local entry = get(kv, op)
  return { entry and view.entry(entry, true) }
end

function verbs.set(kv, op, index)
  kv:set(op.Key, op.value, op.flags, index)
  return done(kv, op, true)
end

function verbs.cas(kv, op, index)
  local ok = kv:cas(op.Key, op.value, op.flags, op.Index or 0, index)
  return done(kv, op, ok, ('failed to set key "%s", index is stale'):format(op.Key))
end

function verbs.lock(kv, op, index)
  local ok, message = kv:lock(op.Key, op.value, op.flags, op.Session or "", index)
  return done(kv, op, ok, message or ('failed to lock key "%s", lock is already held'):format(op.Key))
end

function verbs.unlock(kv, op, index)
  local ok, message = kv:unlock(op.Key, op.value, op.flags, op.Session or "", index)
  return done(kv, op, ok,
    message or ('failed to unlock key "%s", lock isn\'t held, or is held by another session'):format(op.Key))
end

function verbs.delete(kv, op, index)
  kv:delete(op.Key, index)
  return {}
end

verbs["delete-tree"] = function(kv, op, index)
  kv:delete_tree(op.Key, index)
  return {}
end

verbs["delete-cas"] = function(kv, op, index)
  if kv:delete_cas(op.Key, op.Index or 0, index) then return {} end
  return nil, ('failed to delete key "%s", index is stale'):format(op.Key)
end

function verbs.get(kv, op)
  local entry = get(kv, op)
  if not entry then return nil, ('key "%s" doesn\'t exist'):format(op.Key) end
  return { view.entry(entry) }
end

verbs["get-tree"] = function(kv, op)
  local rows = {}
  for i, entry in ipairs((kv:list(op.Key))) do rows[i] = view.entry(entry) end
  return rows
end

verbs["check-index"] = function(kv, op)
  local entry, wanted = get(kv, op), op.Index or 0
  if not entry then return nil, ('failed to check index, key "%s" doesn\'t exist'):format(op.Key) end
  if entry.modify == wanted then return { view.entry(entry, true) } end
  return nil, ('failed index check for key "%s", current modify index %d != %d'):format(op.Key, entry.modify, wanted)
end

verbs["check-session"] = function(kv, op)
  local entry = get(kv, op)
  if not entry then return nil, ('failed to check session, key "%s" doesn\'t exist'):format(op.Key) end
  if (entry.session or "") == (op.Session or "") then return { view.entry(entry, true) } end
  return nil, ('failed session check for key "%s", current session "%s" != "%s"'):format(
    op.Key, entry.session or "", op.Session or "")
end

verbs["check-not-exists"] = function(kv, op)
  if not get(kv, op) then return {} end
  return nil, ('key "%s" exists'):format(op.Key)
end

local READS = { ["get"] = true, ["get-tree"] = true, ["check-index"] = true, ["check-session"] = true,
                ["check-not-exists"] = true }

-- --- all or none -------------------------------------------------------------------------------

local function decode(list)
  for i, one in ipairs(list) do
    local op = one.KV
    if not op then return "the simulated Consul knows only operations on KV in a transaction" end
    op.value, op.flags, op.Key = "", op.Flags or "0", op.Key or ""
    if op.Value then op.value = base64.decode(op.Value) end
    if not op.value then return ("Failed to parse body: illegal base64 data in operation %d"):format(i - 1) end
  end
end

local function is_read(list)
  for _, one in ipairs(list) do
    if not READS[one.KV.Verb or ""] and verbs[one.KV.Verb or ""] then return false end
  end
  return true
end

local function run(kv, list, index)
  local results, errors = json.array(), json.array()
  for i, one in ipairs(list) do
    local verb = verbs[one.KV.Verb or ""]
    local rows, what
    if verb then
      rows, what = verb(kv, one.KV, index)
    else
      what = ('unknown KV verb "%s"'):format(one.KV.Verb or "")
    end
    if not rows then errors[#errors + 1] = { OpIndex = i - 1, What = what } end
    for _, row in ipairs(rows or {}) do results[#results + 1] = { KV = row } end
  end
  return results, errors
end

local function txn(request)
  local value, message = json.decode(request.body)
  if message then return answer.bad("Failed to parse body: " .. message) end
  local list
  list, message = body.list(value or json.array(), OPERATION)
  message = message or decode(list)
  if message then return answer.bad("Failed to parse body: " .. message) end
  if #list > MOST then
    return answer.text(413, ("Transaction contains too many operations (%d > %d)"):format(#list, MOST))
  end
  if request.dc.denied.key then return answer.denied() end
  local kv, reads = request.dc.kv, is_read(list)
  local index = reads and request.dc.store.index or request.dc.store:write()
  local commit, undo = kv:begin()
  local results, errors = run(kv, list, index)
  local failed = #errors > 0
  if failed then undo() else commit() end
  local shown = { Results = failed and json.null or results, Errors = failed and errors or json.null }
  if reads then
    shown.Index, shown.LastContact, shown.KnownLeader, shown.ConsistencyLevel = 0, 0, true, ""
  end
  local result = answer.json(shown, failed and 409 or 200)
  if reads then result.headers = { ["x-consul-knownleader"] = "true", ["x-consul-lastcontact"] = "0" } end
  return result
end

return { ["/v1/txn"] = { PUT = txn, bounded = true } }
