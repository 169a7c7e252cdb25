local base64 = require "luapilot.base.base64"
local json = require "luapilot.base.json"
local watch = require "luapilot.service.watch"

local function entry(id, o)
  o = o or {}
  return {
    Node = { Node = o.node or "n1", Address = "10.0.0.1" },
    Service = { ID = id, Service = "db", Tags = o.tags, Address = o.address or "", Port = o.port or 5432, Meta = o.meta,
      Weights = o.weights, ModifyIndex = o.index or 7 },
    Checks = o.checks or { { Status = "passing", Output = o.output } },
  }
end

local function instances(...)
  return assert(watch.read("service", "db", 200, json.encode { ... }))
end

local function ids(list)
  local result = {}
  for i, each in ipairs(list) do result[i] = each.id end
  return table.concat(result, " ")
end

describe("watch", function()
  describe("reads a service", function()
    it("as a list sorted by id, and by node where ids are the same", function()
      local list = instances(entry "b", entry("a", { node = "n2" }), entry("a", { node = "n1" }))
      assert.equal("a a b", ids(list))
      assert.equal("n1", list[1].node)
    end)

    it("with everything that users get", function()
      assert.same({ {
        id = "a", address = "10.1.1.1", port = 1, authority = "10.1.1.1:1", tags = { "x" }, meta = { v = "2" },
        node = "n1", status = "passing", weights = { passing = 10, warning = 2 },
      } }, instances(entry("a", {
        address = "10.1.1.1", port = 1, tags = { "x" }, meta = { v = "2" }, weights = { Passing = 10, Warning = 2 },
      })))
    end)

    it("with an authority in brackets where the address is of version 6", function()
      assert.equal("[fd00::1]:80", instances(entry("a", { address = "fd00::1", port = 80 }))[1].authority)
    end)

    it("with the node's address where it has none, and empty tables for what is null", function()
      local body = '[{"Node":{"Node":"n","Address":"10.9.9.9"},"Service":{"ID":"a","Tags":null,"Meta":null,'
        .. '"Address":""},"Checks":null}]'
      assert.same({ {
        id = "a", address = "10.9.9.9", port = 0, authority = "10.9.9.9", tags = {}, meta = {}, node = "n",
        status = "passing", weights = { passing = 1, warning = 1 },
      } }, watch.read("service", "db", 200, body))
    end)

    it("with the worst of its checks as status", function()
      local function status(...)
        local checks = {}
        for i, each in ipairs { ... } do checks[i] = { Status = each } end
        return instances(entry("a", { checks = checks }))[1].status
      end
      assert.equal("passing", status("passing", "passing"))
      assert.equal("warning", status("passing", "warning"))
      assert.equal("critical", status("critical", "warning"))
      assert.equal("critical", status("passing", "maintenance"))
    end)

    -- Whoever may register a service writes these texts: what is no host or port must not reach a template.
    for what, o in pairs {
      ["an address with more in it than an address"] = { address = "10.0.0.9; }\nserver { listen 81; }" },
      ["an address with a line break behind it"] = { address = "10.0.0.9\n" },
      ["an address that is no text"] = { address = 7 }, ["a port that is a text"] = { port = "80" },
      ["a port that is no integer"] = { port = 80.5 }, ["a port below 0"] = { port = -1 },
      ["a port above 65535"] = { port = 65536 }, ["tags that are no list"] = { tags = "x" },
      ["tags by names"] = { tags = { x = "y" } }, ["a tag that is no text"] = { tags = { "x", 5 } },
      ["meta that is no table"] = { meta = 5 }, ["meta with a table in it"] = { meta = { v = { "x" } } },
      ["weights that are no numbers"] = { weights = { Passing = "x" } },
      ["weights that are no table"] = { weights = 5 },
      ["a node that is no text"] = { node = 5 }, ["checks that are no list"] = { checks = 5 },
    } do
      it("without an instance that has " .. what, function()
        local body = json.encode { entry("bad", o), entry "good" }
        local list, left_out = watch.read("service", "db", 200, body)
        assert.equal("good", ids(list))
        assert.matches('^an instance is left out: "bad" on node .+: %l+: expected .+, got ', left_out)
        assert.is_nil(left_out:find "\n")
      end)
    end

    it("without what has no id, no node, no address, or is no instance at all", function()
      local body = [=[[null, 5, [], {"Service":{"ID":"a","Port":80},"Node":{"Address":"10.0.0.1"}},
        {"Service":{"ID":{},"Port":80},"Node":{"Node":"n","Address":"10.0.0.1"}},
        {"Service":{"ID":"b","Port":80},"Node":{"Node":"n"}},
        {"Service":{"ID":"c","Port":80},"Node":{"Node":"n","Address":"10.0.0.1"},"Checks":[5]}]]=]
      local list, left_out = watch.read("service", "db", 200, body)
      assert.equal("c", ids(list))
      assert.equal("critical", list[1].status)
      assert.matches("^6 instances are left out, the first of them: ", left_out)
    end)

    it("and says when it is none", function()
      for _, body in ipairs { "", "[{", '{"a":1', "{}", '{"message":"no"}', "[1]", '[{"Service":{}}]' } do
        local content, message = watch.read("service", "db", 200, body)
        assert.is_nil(content)
        assert.matches("no answer of Consul's", message)
      end
      assert.is_nil(watch.read("service", "db", 404, "[]"))
    end)
  end)

  it("reads a key as the bytes that it has", function()
    assert.same({ value = "a\0b" }, watch.read("key", "x", 200, "a\0b"))
    assert.same({}, watch.read("key", "x", 404, ""))
  end)

  it("reads a prefix by what follows it", function()
    local body = json.encode {
      { Key = "a/b", Value = base64.encode "1" }, { Key = "a/c/d", Value = base64.encode "\0" }, { Key = "a/" },
    }
    assert.same({ b = "1", ["c/d"] = "\0" }, watch.read("prefix", "a/", 200, body)) -- "a/" is an empty folder
    assert.same({ [""] = "x" }, watch.read("prefix", "a/", 200, '[{"Key":"a/","Value":"eA=="}]'))
    assert.same({ [""] = "" }, watch.read("prefix", "a", 200, '[{"Key":"a","Value":null}]'))
    body = json.encode { { Key = "a", Value = base64.encode "self" }, { Key = "ab", Value = base64.encode "2" } }
    assert.same({ [""] = "self", b = "2" }, watch.read("prefix", "a", 200, body))
    assert.same({ a = "self", ab = "2" }, watch.read("prefix", "", 200, body))
    assert.same({ empty = "" }, watch.read("prefix", "a/", 200, '[{"Key":"a/empty","Value":null}]'))
    assert.same({}, watch.read("prefix", "a/", 404, ""))
  end)

  it("reads a prefix without keys that are not below it, and says when it is none", function()
    local body = '[{"Key":"zz","Value":"eA=="},{"Key":"p/x","Value":"eA=="}]'
    assert.same({ x = "x" }, watch.read("prefix", "p/", 200, body))
    for said, wrong in pairs {
      ["a value in it is no base64"] = '[{"Key":"p/a","Value":"!!!"}]',
      ["its list has what is no key"] = '[{"Value":"eA=="}]', ["it is no list"] = "{}",
    } do
      local content, message = watch.read("prefix", "p/", 200, wrong)
      assert.same({ nil, "this is no answer of Consul's: " .. said }, { content, message })
    end
    for _, wrong in ipairs { "[5]", '[{"Key":5}]', '[{"Key":"p/a","Value":5}]', '[{"Key":"p/a","Value":{}}]' } do
      assert.is_nil(watch.read("prefix", "p/", 200, wrong))
    end
  end)

  describe("tells what changed", function()
    it("in a service", function()
      local before = instances(entry "a", entry("b", { port = 1 }), entry "c")
      local after = instances(entry "a", entry("b", { port = 2 }), entry "d")
      local event = watch.difference("service", before, after)
      assert.equal(after, event.instances)
      assert.equal("d", ids(event.added))
      assert.equal("c", ids(event.removed))
      assert.equal("b", ids(event.updated))
      assert.equal(2, event.updated[1].port)
    end)

    it("in a service of which nothing was known", function()
      local event = watch.difference("service", nil, instances(entry "a"))
      assert.equal("a", ids(event.added))
      assert.same({}, event.removed)
    end)

    it("and takes one id on two nodes for two instances", function()
      local before, after = instances(entry("a", { node = "n1" })), instances(entry("a", { node = "n2" }))
      local event = watch.difference("service", before, after)
      assert.same({ "a", "a" }, { ids(event.added), ids(event.removed) })
    end)

    it("in a key, and in a prefix", function()
      assert.same({ value = "2", previous = "1" }, watch.difference("key", { value = "1" }, { value = "2" }))
      assert.same({ value = "1" }, watch.difference("key", nil, { value = "1" }))
      local after = { a = "1", b = "3", d = "4" }
      assert.same({ values = after, added = { "d" }, removed = { "c" }, updated = { "b" } },
        watch.difference("prefix", { a = "1", b = "2", c = "3" }, after))
    end)
  end)

  it("asks what its options say", function()
    local path, query = watch.question { kind = "service", name = "db", tag = { "a", "b" }, status = "passing",
      dc = "west", near = "_agent", filter = "x", stale = true, cached = true }
    assert.same({ "health", "service", "db" }, path)
    assert.same({ tag = { "a", "b" }, passing = true, dc = "west", near = "_agent", filter = "x", stale = true }, query)
    path, query = watch.question { kind = "key", name = "a/b", stale = false }
    assert.same({ { "kv", "a/b" }, { raw = true } }, { path, query })
    path, query = watch.question { kind = "prefix", name = "a/" }
    assert.same({ { "kv", "a/" }, { recurse = true } }, { path, query })
    path = watch.question { kind = "prefix", name = "" }
    assert.same({ "kv", "" }, path)
  end)
end)
