local names = require "luapilot.consul.names"

describe("consul.names", function()
  describe("single names", function()
    local PAIRS = {
      ID = "id", ServiceID = "service_id", TTL = "ttl", ModifyIndex = "modify_index", LTime = "ltime",
      DeregisterCriticalServiceAfter = "deregister_critical_service_after", TLSSkipVerify = "tls_skip_verify",
      GRPCUseTLS = "grpc_use_tls", HTTP = "http", DockerContainerID = "docker_container_id",
      IgnoreCheckIDs = "ignore_check_ids", NearestN = "nearest_n", EnableTagOverride = "enable_tag_override",
      SuccessBeforePassing = "success_before_passing", DNS = "dns", KV = "kv", AliasNode = "alias_node",
    }

    it("lead to snake_case and back", function()
      for camel, snake in pairs(PAIRS) do
        assert.equal(snake, names.snake(camel))
        assert.equal(camel, names.camel(snake))
      end
    end)

    it("that are small already stay", function()
      assert.equal("wan_ipv4", names.snake "wan_ipv4")
      assert.equal("used_percent", names.snake "usedPercent")
    end)
  end)

  describe("decode", function()
    it("changes fields, and not what users name", function()
      assert.same({
        service_id = "a", meta = { ["Some-Key"] = "V", CamelCase = "x" }, node_meta = { ["A-b"] = "c" },
        service_tagged_addresses = { Lan = { address = "10.0.0.1", port = 80 } },
        proxy = { config = { MaxConns = { Deep = 1 } }, mesh_gateway = {} },
        definition = { header = { ["X-Token"] = { "A" } } }, tags = { "OneTag" },
      }, names.decode [[{ "ServiceID": "a", "Meta": {"Some-Key": "V", "CamelCase": "x"}, "NodeMeta": {"A-b": "c"},
        "ServiceTaggedAddresses": {"Lan": {"Address": "10.0.0.1", "Port": 80}},
        "Proxy": {"Config": {"MaxConns": {"Deep": 1}}, "MeshGateway": {}},
        "Definition": {"Header": {"X-Token": ["A"]}}, "Tags": ["OneTag"] }]])
    end)

    it("goes into lists, and keeps a map's own keys", function()
      assert.same({ { node = { id = "x" }, checks = { { check_id = "c" } } } },
        (names.decode '[{"Node":{"ID":"x"},"Checks":[{"CheckID":"c"}]}]'))
      assert.same({ ["Web-1"] = { id = "Web-1" } }, (names.decode('{"Web-1":{"ID":"Web-1"}}', true)))
      assert.same({ Consul = {}, Db = { "Tag" } }, (names.decode('{"Consul":[],"Db":["Tag"]}', true)))
      assert.same({ node = {}, services = { ["A-B"] = { service = "a" } } },
        (names.decode '{"Node":{},"Services":{"A-B":{"Service":"a"}}}'))
      assert.same({ tags = { ["Build-Of"] = "x" } }, (names.decode '{"Tags":{"Build-Of":"x"}}'))
    end)

    it("has null as absent, and an empty table where Go has a list or a map", function()
      assert.same({ tags = {}, meta = {}, node_checks = {} },
        (names.decode '{"Tags":null,"Meta":null,"NodeChecks":null,"Session":null}'))
      assert.same({ config = { A = { B = 1 } }, services = { a = {} } },
        (names.decode '{"Config":{"A":{"B":1,"C":null},"D":null},"Services":{"a":{"X":null},"b":null}}'))
      assert.is_nil((names.decode "null"))
      assert.is_nil(select(2, names.decode "null"))
    end)

    it("takes plain values", function()
      assert.equal("127.0.0.1:8300", (names.decode '"127.0.0.1:8300"'))
      assert.is_true((names.decode "true"))
    end)

    it("says when it is no JSON", function()
      local value, message = names.decode "<html>"
      assert.is_nil(value)
      assert.is_string(message)
    end)
  end)

  describe("numbers", function()
    it("of indexes are strings, others are numbers while Lua has them exactly", function()
      assert.same({ create_index = "5", modify_index = "18446744073709551615", lock_index = "0", flags = 42,
        lock_delay = 15000000000 },
        (names.decode [[{"CreateIndex":5,"ModifyIndex":18446744073709551615,"LockIndex":0,"Flags":42,
          "LockDelay":15000000000}]]))
      assert.equal(9007199254740992, names.decode('{"Flags":9007199254740992}').flags)
      assert.equal("9007199254740993", names.decode('{"Flags":9007199254740993}').flags)
      assert.equal("18446744073709551615", names.decode('{"Flags": 18446744073709551615 }').flags)
      assert.same({ "-9223372036854775808", 1, "9223372036854775807" },
        (names.decode "[-9223372036854775808,1,9223372036854775807]"))
    end)

    it("in strings stay, also behind quotes and backslashes", function()
      local text = [[{"Value":"12345678901234567890","Notes":"a\",:12345678901234567890,\\",
        "Flags":12345678901234567890}]]
      assert.same({ value = "12345678901234567890", notes = 'a",:12345678901234567890,\\',
        flags = "12345678901234567890" }, (names.decode(text)))
    end)

    it("with a fraction or an exponent stay numbers", function()
      assert.same({ 0.1234567890123456789, 1234.5678901234567890, 1e20, 12345678901234567890.5, 1.0e-30 },
        (names.decode "[0.1234567890123456789,1234.5678901234567890,1e20,12345678901234567890.5,1.0e-30]"))
    end)

    it("are found wherever they stand", function()
      for length = 0, 40 do
        local space = (" "):rep(length)
        assert.same({ "9007199254740993" }, (names.decode("[" .. space .. "9007199254740993]")))
        local longer = "[" .. space .. "123456789012345678901 " .. space .. "]"
        assert.same({ "123456789012345678901" }, (names.decode(longer)))
      end
    end)
  end)

  describe("encode", function()
    it("writes Consul's names, in order, and keeps what users name", function()
      assert.equal('{"Check":{"DeregisterCriticalServiceAfter":"1m","TTL":"10s"},"ID":"a","Meta":{"some_key":"V"},'
        .. '"Port":80,"Proxy":{"Config":{"max_conns":{"a_b":1}}},"Tags":["x"]}', names.encode {
          id = "a", port = 80, tags = { "x" }, meta = { some_key = "V" },
          check = { ttl = "10s", deregister_critical_service_after = "1m" },
          proxy = { config = { max_conns = { a_b = 1 } } },
        })
      assert.equal('{"TaggedAddresses":{"lan_x":{"Address":"10.0.0.1"}}}',
        names.encode { tagged_addresses = { lan_x = { address = "10.0.0.1" } } })
      assert.equal('{"a_b":{"TTL":1}}', names.encode({ a_b = { ttl = 1 } }, true))
    end)

    it("tells an empty list from an empty object", function()
      assert.equal('{"Checks":[],"Meta":{}}', names.encode { checks = setmetatable({}, names.LIST), meta = {} })
    end)

    it("writes numbers whole", function()
      assert.equal('{"Flags":18446744073709551615,"Index":9007199254740991,"Port":80}', names.encode {
        flags = names.digits "18446744073709551615", index = 2 ^ 53 - 1, port = 80,
      })
    end)

    it("refuses what JSON cannot hold", function()
      local itself = { id = "x" }
      itself.itself = itself
      local function message(value) return select(2, names.encode(value)) end
      assert.matches("Cannot serialise function", message { connect = { native = print } })
      assert.matches("Cannot serialise number: must not be NaN or Inf", message { port = 1 / 0 })
      assert.matches("Cannot serialise number", message { port = 0 / 0 })
      assert.equal("is nested too deeply", message(itself))
      assert.equal("has a key that is a number: 2: neither list nor fields", message { a = { [2] = "x" } })
    end)

    it("escapes", function()
      assert.equal([[{"Notes":"a\"b\u0000\n"}]], names.encode { notes = 'a"b\0\n' })
    end)
  end)

  it("reads what it writes", function()
    local value = { id = "x", tags = { "a" }, check = { ttl = "1s", tls_skip_verify = true } }
    assert.same(value, (names.decode(names.encode(value))))
  end)
end)
