-- txn: pilot.consul.txn, several operations on keys as one: all of them, or none.
--
--   pilot.consul.txn {
--     { verb = "check-index", key = "app/x", index = details.modify_index },
--     { verb = "set", key = "app/x", value = "1" },
--     { verb = "delete", key = "app/y" },
--   }
--
-- It owns the verbs, and what each of them needs.

local base64 = require "luapilot.base.base64"
local client = require "luapilot.consul.client"
local describe = require "luapilot.base.describe"
local kv = require "luapilot.consul.kv"
local names = require "luapilot.consul.names"
local requests = require "luapilot.consul.requests"
local schema = require "luapilot.schema.schema"
local shapes = require "luapilot.consul.shapes"

local txn = {}

local CALL = "pilot.consul.txn"
local MOST = 64 -- operations that Consul takes

-- verb → what it needs beside a key
local NEEDS = {
  set = { "value" }, cas = { "value", "index" }, lock = { "value", "session" }, unlock = { "value", "session" },
  get = {}, ["get-tree"] = {}, ["check-index"] = { "index" }, ["check-session"] = { "session" },
  ["check-not-exists"] = {}, delete = {}, ["delete-tree"] = {}, ["delete-cas"] = { "index" },
}

---The verbs, sorted.
txn.VERBS = schema.keys(NEEDS)

-- --- operations ----------------------------------------------------------------------------------

local read_operation = schema.fields({
  verb = { schema.one_of(txn.VERBS) }, key = { kv.key }, value = { kv.value }, flags = { shapes.number },
  index = { shapes.number }, session = { schema.text },
}, 'an operation such as { verb = "set", key = "app/x", value = "1" }', { op = "verb", cas = "index" })

local function needs(value, verb, path, report)
  if schema.field(value, "verb") == nil then report(path, 'has no verb: write verb = "set"') end
  if schema.field(value, "key") == nil then report(path, 'has no key: write key = "app/x"') end
  for _, field in ipairs(NEEDS[verb] or {}) do
    if schema.field(value, field) == nil then
      report(path, ("has no %s, which %s needs"):format(field, describe.quote(verb)))
    end
  end
end

local function operation(value, path, report)
  local read = read_operation(value, path, report)
  if not read then return nil end
  needs(value, read.verb, path, report)
  read.value = read.value and base64.encode(read.value)
  return { kv = read }
end

local operations = schema.list(operation, "a list of operations")

local function read_operations(value, path, report)
  local list = operations(value, path, report)
  if not list then return nil end
  if #list == 0 and schema.length(value) == 0 then return report(path, "is empty: there is nothing to do") end
  if #list > MOST then return report(path, ("has %d operations: Consul takes %d at once"):format(#list, MOST)) end
  return setmetatable(list, names.LIST)
end

local OPTIONS = requests.options "READ"

-- --- answers -------------------------------------------------------------------------------------

-- Which operation Consul refused, and why.
local function conflict(list, answer)
  local parts = {}
  for i, each in ipairs(answer.errors or {}) do
    local at = each.op_index + 1
    local op = list[at] and list[at].kv
    local what = client.one_line(each.what)
    parts[i] = op and ("operation %d (%s %s): %s"):format(at, op.verb, describe.quote(op.key), what) or what
  end
  return ("consul: PUT /v1/txn: nothing was changed: %s"):format(table.concat(parts, "; "))
end

local function pairs_of(answer)
  local list = {}
  for i, result in ipairs(answer.results or {}) do list[i] = kv.decoded(result.kv) end
  return list
end

---pilot.consul.txn of one pilot.
---@param app luapilot.App
---@return fun(operations: table[], options: table?): table[], luapilot.ConsulMeta
function txn.library(app)
  ---Does all operations, or none: then it raises with the one that was refused. The pairs that they read or wrote.
  return function(list, options)
    local self = requests.enter(app, CALL)
    local wanted = requests.argument(app, CALL, read_operations, list, "operations")
    local read = requests.argument(app, CALL, OPTIONS, options == nil and {} or options)
    local body = requests.encode(app, CALL, "operations", wanted)
    local request = requests.add({
      method = "PUT", path = { "txn" }, body = body, accept = { [409] = true }, what = CALL,
    }, read)
    local response = self:call(request)
    local answer = requests.decode(app, request, response)
    if response.status == 409 then client.raise(app, requests.read(app, request, conflict, wanted, answer)) end
    return requests.read(app, request, pairs_of, answer), requests.meta(response)
  end
end

return txn
