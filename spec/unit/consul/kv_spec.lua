local base64 = require "luapilot.base.base64"
local fake_consul = require "support.fake_consul"

describe("consul.kv", function()
  local box

  after_each(function() box:check() end)

  local function load(answers) box = fake_consul.load('pilot.consul "localhost:8500"', answers) end

  -- What a call returns.
  local function returns(text)
    local results = { box:run("local kv = pilot.consul.kv; return " .. text) }
    assert.is_true(results[1], results[2])
    return unpack(results, 2, table.maxn(results))
  end

  local function raises(text)
    local ok, message = box:run("local kv = pilot.consul.kv; " .. text)
    assert.is_false(ok)
    return (tostring(message):gsub("^pilot.lua:1: ", ""))
  end

  local function sent() return box:last().method .. " " .. box:last().path end

  local function pair(key, value, more)
    return ('{"LockIndex":0,"Key":"%s","Flags":0,"Value":%s,"CreateIndex":5,"ModifyIndex":9%s}'):format(key,
      value and '"' .. base64.encode(value) .. '"' or "null", more or "")
  end

  describe("get", function()
    it("gives the bytes, what is known of them, and what the answer says", function()
      load { ["GET /v1/kv/app/x"] = {
        body = "[" .. pair("app/x", "a\0\255", ',"Session":"s"') .. "]",
        headers = { ["x-consul-index"] = "9", ["x-consul-knownleader"] = "true", ["x-consul-lastcontact"] = "250" },
      } }
      local value, details, meta = returns 'kv.get "app/x"'
      assert.equal("a\0\255", value)
      assert.same({ key = "app/x", flags = 0, lock_index = "0", create_index = "5", modify_index = "9", session = "s" },
        details)
      assert.same({ last_index = "9", known_leader = true, last_contact = 0.25 }, meta)
    end)

    it("tells a missing key from an empty one", function()
      load { ["GET /v1/kv/none"] = 404, ["GET /v1/kv/empty"] = "[" .. pair("empty") .. "]" }
      local value, details = returns 'kv.get "none"'
      assert.is_nil(value)
      assert.is_nil(details)
      assert.equal("", (returns 'kv.get "empty"'))
    end)

    it("escapes all but the slash", function()
      load { ["GET /v1/kv/a%20b/%C3%BC%3F%23/"] = 404 }
      returns 'kv.get "a b/ü?#/"'
    end)

    it("asks as its options say", function()
      load { ["GET /v1/kv/x"] = 404 }
      returns 'kv.get("x", { stale = true, dc = "east", index = 5, wait = "90s", token = "t" })'
      assert.equal("GET /v1/kv/x?stale&dc=east&index=5&wait=90s", sent())
      assert.equal("t", box:last().token)
      assert.equal(90 * 17 / 16 + 30, box:last().timeout)
      returns 'kv.get("x", { consistent = true, cached = false, timeout = 2 })'
      assert.equal("GET /v1/kv/x?consistent", sent())
      assert.equal(2, box:last().timeout)
      assert.equal("pilot.consul.kv.get.cached: expected true or false, got a number: 1",
        raises 'kv.get("x", { cached = 1 })')
      returns 'kv.get("x", { index = "18446744073709551615" })'
      assert.equal(300 * 17 / 16 + 30, box:last().timeout)
      returns 'kv.get("x", { index = 1, wait = 90 })'
      assert.equal("GET /v1/kv/x?index=1&wait=1m30s", sent())
    end)

    it("refuses keys that no request can name", function()
      load {}
      assert.equal("pilot.consul.kv.get: key: expected a string, got nothing", raises "kv.get()")
      assert.equal("pilot.consul.kv.get: key: is an empty string", raises 'kv.get ""')
      assert.equal('pilot.consul.kv.get: key: begins with "/", which no key does: write "a/b"', raises 'kv.get "/a/b"')
      assert.matches('key: has "//" in it', raises 'kv.get "a//b"')
      assert.matches('key: has the part ".." in it', raises 'kv.get "a/../b"')
      assert.matches('key: has the part "." in it', raises 'kv.get "./b"')
      assert.same({}, box.requests)
    end)

    it("refuses other options", function()
      load {}
      assert.equal('pilot.consul.kv.get.stal: unknown field (did you mean "stale"?)',
        raises 'kv.get("x", { stal = true })')
      assert.equal("pilot.consul.kv.get: expected a table of options, got a string: \"x\"", raises 'kv.get("x", "x")')
      assert.matches("^pilot.consul.kv.get.index: expected a whole number, or a string of digits",
        raises 'kv.get("x", { index = -1 })')
      assert.matches('^pilot.consul.kv.get.wait: "5" has no unit', raises 'kv.get("x", { wait = "5" })')
    end)
  end)

  describe("list", function()
    it("gives all pairs, sorted, and none when there is none", function()
      load { ["GET /v1/kv/a/?recurse"] = "[" .. pair("a/c", "2") .. "," .. pair("a/b", "1") .. "]",
        ["GET /v1/kv/?recurse"] = 404 }
      local list = returns 'kv.list "a/"'
      assert.same({ "a/b", "1", "a/c", "2" }, { list[1].key, list[1].value, list[2].key, list[2].value })
      assert.equal("9", list[1].modify_index)
      assert.same({}, (returns 'kv.list ""'))
    end)

    it("wants a prefix", function()
      load {}
      assert.equal("pilot.consul.kv.list: key: expected a string, got nothing", raises "kv.list()")
    end)
  end)

  it("keys gives names", function()
    load { ["GET /v1/kv/a/?keys&separator=%2F"] = '["a/c/","a/b"]', ["GET /v1/kv/b?keys"] = 404 }
    assert.same({ "a/b", "a/c/" }, (returns 'kv.keys("a/", { separator = "/" })'))
    assert.same({}, (returns 'kv.keys "b"'))
  end)

  describe("put", function()
    it("sends the bytes", function()
      load { ["PUT /v1/kv/x"] = "true\n" }
      assert.is_true(returns 'kv.put("x", "a\\0b")')
      assert.equal("a\0b", box:last().body)
      assert.is_true(returns 'kv.put("x", 8000)')
      assert.equal("8000", box:last().body)
      assert.is_true(returns 'kv.put("x", "")')
      assert.equal("", box:last().body)
    end)

    it("is false when Consul's answer is", function()
      load { ["PUT /v1/kv/x"] = "false" }
      assert.is_false(returns 'kv.put("x", "1", { acquire = "s", flags = "18446744073709551615" })')
      assert.equal("PUT /v1/kv/x?acquire=s&flags=18446744073709551615", sent())
      assert.is_false(returns 'kv.put("x", "1", { release = "s" })')
      assert.equal("PUT /v1/kv/x?release=s", sent())
      assert.is_false(returns 'kv.put("x", "1", { cas = 7 })')
      assert.equal("PUT /v1/kv/x?cas=7", sent())
    end)

    it("refuses what is no value", function()
      load {}
      assert.equal("pilot.consul.kv.put: value: expected a string, got a table; pilot.json.encode makes one",
        raises 'kv.put("x", { 1 })')
      assert.equal("pilot.consul.kv.put: value: expected a string, got nothing", raises 'kv.put "x"')
      assert.matches("pilot.consul.kv.put.flags: expected a whole number", raises 'kv.put("x", "", { flags = 1.5 })')
    end)
  end)

  it("cas writes if nobody else did", function()
    load { ["PUT /v1/kv/x"] = "true" }
    assert.is_true(returns 'kv.cas("x", "1", "42", { flags = 3 })')
    assert.equal("PUT /v1/kv/x?cas=42&flags=3", sent())
    assert.is_true(returns 'kv.cas("x", "1", 0)')
    assert.equal("PUT /v1/kv/x?cas=0", sent())
    assert.matches("pilot.consul.kv.cas: index: expected a whole number", raises 'kv.cas("x", "1")')
    assert.matches("pilot.consul.kv.cas.cas: unknown field", raises 'kv.cas("x", "1", 1, { cas = 1 })')
  end)

  describe("delete", function()
    it("takes one key, or all that begin so", function()
      load { ["DELETE /v1/kv/x"] = "true", ["DELETE /v1/kv/a/"] = "true", ["DELETE /v1/kv/"] = "true" }
      assert.is_true(returns 'kv.delete "x"')
      assert.equal("DELETE /v1/kv/x", sent())
      assert.is_true(returns 'kv.delete("a/", { recurse = true })')
      assert.equal("DELETE /v1/kv/a/?recurse", sent())
      assert.is_true(returns 'kv.delete("", { recurse = true })')
    end)

    it("may have a condition", function()
      load { ["DELETE /v1/kv/x"] = "false" }
      assert.is_false(returns 'kv.delete("x", { cas = "7" })')
      assert.equal("DELETE /v1/kv/x?cas=7", sent())
      assert.equal("pilot.consul.kv.delete: has recurse and cas: an index is of one key",
        raises 'kv.delete("x", { cas = "7", recurse = true })')
    end)

    it("does not take all by accident", function()
      load {}
      assert.equal("pilot.consul.kv.delete: key: is an empty string", raises 'kv.delete ""')
      assert.equal("pilot.consul.kv.delete: key: is an empty string", raises 'kv.delete("", { recurse = false })')
    end)
  end)
end)
