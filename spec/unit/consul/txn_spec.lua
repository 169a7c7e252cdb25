local fake_consul = require "support.fake_consul"

describe("consul.txn", function()
  local box

  after_each(function() box:check() end)

  local function run(answer, text)
    box = fake_consul.load('pilot.consul "localhost:8500"', { ["PUT /v1/txn"] = answer })
    return box:run(text)
  end

  local function raises(answer, text)
    local ok, message = run(answer, text)
    assert.is_false(ok)
    return (tostring(message):gsub("^pilot.lua:1: ", ""))
  end

  local function refused(text) return raises("{}", "pilot.consul.txn " .. text) end

  it("sends operations and gives the pairs", function()
    local ok, list = run([[{"Results":[
        {"KV":{"LockIndex":0,"Key":"a","Flags":0,"Value":null,"CreateIndex":5,"ModifyIndex":6}},
        {"KV":{"LockIndex":0,"Key":"b","Flags":7,"Value":"AP8=","CreateIndex":5,"ModifyIndex":5}}],"Errors":null}]],
      [[return (pilot.consul.txn({
        { verb = "set", key = "a", value = "x", flags = "18446744073709551615" }, { verb = "get", key = "b" },
        { verb = "delete-cas", key = "c", index = "9" }, { verb = "lock", key = "d", value = 1, session = "s" },
      }, { dc = "east" }))]])
    assert.is_true(ok, list)
    assert.equal("/v1/txn?dc=east", box:last().path)
    assert.equal('[{"KV":{"Flags":18446744073709551615,"Key":"a","Value":"eA==","Verb":"set"}},'
      .. '{"KV":{"Key":"b","Verb":"get"}},{"KV":{"Index":9,"Key":"c","Verb":"delete-cas"}},'
      .. '{"KV":{"Key":"d","Session":"s","Value":"MQ==","Verb":"lock"}}]', box:last().body)
    assert.same({
      { key = "a", value = "", flags = 0, lock_index = "0", create_index = "5", modify_index = "6" },
      { key = "b", value = "\0\255", flags = 7, lock_index = "0", create_index = "5", modify_index = "5" },
    }, list)
  end)

  it("has no pairs when nothing was read or written", function()
    local _, list = run('{"Results":null,"Errors":null}', [[
      return (pilot.consul.txn { { verb = "delete-tree", key = "a/" } })]])
    assert.same({}, list)
  end)

  it("names the operations that Consul refused", function()
    assert.equal('consul: PUT /v1/txn: nothing was changed: operation 2 (cas "b"): index is stale; '
      .. 'operation 3 (check-not-exists "c"): key "c" exists',
      raises({ status = 409, body = [[{"Results":null,"Errors":[{"OpIndex":1,"What":"index is stale"},
        {"OpIndex":2,"What":"key \"c\" exists"}]}]] }, [[pilot.consul.txn {
          { verb = "set", key = "a", value = "" }, { verb = "cas", key = "b", value = "", index = 1 },
          { verb = "check-not-exists", key = "c" } }]]))
  end)

  it("raises what else goes wrong", function()
    assert.equal("consul: PUT /v1/txn: 403: Permission denied; does the token allow key:write?",
      raises({ status = 403, body = "Permission denied" }, 'pilot.consul.txn { { verb = "get", key = "a" } }'))
  end)

  it("checks operations", function()
    local path = "pilot.consul.txn: operations"
    assert.equal(path .. "[1].verb: expected \"cas\", \"check-index\", \"check-not-exists\", \"check-session\", "
      .. "\"delete\", \"delete-cas\", \"delete-tree\", \"get\", \"get-tree\", \"lock\", \"set\" or \"unlock\", "
      .. 'got a string: "delete_tree"; did you mean "delete-tree"?',
      refused '{ { verb = "delete_tree", key = "a" } }')
    assert.equal(path .. '[1]: has no value, which "set" needs', refused '{ { verb = "set", key = "a" } }')
    assert.equal(path .. '[1]: has no key: write key = "app/x"', refused '{ { verb = "get" } }')
    assert.equal(path .. '[1]: has no verb: write verb = "set"', refused '{ { key = "a" } }')
    assert.matches("%[1%].key: begins with", refused '{ { verb = "get", key = "/a" } }')
    assert.matches('%[2%].vale: unknown field %(did you mean "value"%?%)',
      refused '{ { verb = "get", key = "a" }, { verb = "get", key = "a", vale = "" } }')
    assert.equal(path .. ": is empty: there is nothing to do", refused "{}")
    assert.equal(path .. ": expected a list of operations, got a string: \"x\"", refused '"x"')
    assert.equal(path .. ": has 65 operations: Consul takes 64 at once", refused [[((function() local list = {}
      for i = 1, 65 do list[i] = { verb = "get", key = "k" .. i } end return list end)())]])
  end)
end)
