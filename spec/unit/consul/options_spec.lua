local mistakes = require "luapilot.base.mistakes"
local options = require "luapilot.consul.options"
local schema = require "luapilot.schema.schema"

describe("consul.options", function()
  local function read(value, environ)
    local list = mistakes.new()
    local result = options.read(value, environ or {}, "pilot.consul", schema.reporter(list))
    local said = {}
    for i, each in ipairs(list:list()) do said[i] = mistakes.format(each) end
    return result, said
  end

  local function fine(value, environ)
    local result, said = read(value, environ)
    assert.same({}, said)
    return result
  end

  local function mistake(value, environ)
    local result, said = read(value, environ)
    assert.is_string(result.url)
    assert.equal(150, result.max_connections)
    assert.equal(1, #said, table.concat(said, "\n"))
    return said[1]
  end

  describe("an address", function()
    local function place(value, environ)
      local result = fine(value, environ)
      return result.url, result.socket
    end

    it("is host and port, a socket or a URL", function()
      assert.equal("http://localhost:8500", (place "localhost:8500"))
      assert.equal("http://[::1]:8500", (place "[::1]:8500"))
      assert.same({ "http://localhost", "/run/consul.sock" }, { place "unix:///run/consul.sock" })
      assert.equal("https://consul:8501", (place "https://consul:8501"))
      assert.equal("http://consul", (place "http://Consul/"))
      assert.equal("https://proxy:1/team/consul", (place "https://proxy:1/team/consul/"))
      assert.equal("http://127.0.0.1:8500", (place {}))
      assert.equal("http://127.0.0.1:8500", (place(nil)))
      assert.equal("http://x:1", (place { address = "x:1" }))
    end)

    it("that is none is a mistake with a way out", function()
      local what = 'expected "host:port", "unix:///run/consul.sock" or a URL such as "https://consul:8501", got '
      assert.equal("pilot.consul.address: " .. what .. 'a string: "consul"; the port is missing: write "consul:8500"',
        mistake "consul")
      assert.equal("pilot.consul.address: " .. what .. 'a string: "/run/c.sock"; write "unix:///run/c.sock"',
        mistake "/run/c.sock")
      assert.equal("pilot.consul.address: " .. what .. "a number: 8500", mistake { address = 8500 })
      assert.equal("pilot.consul.address: " .. what .. 'a string: "x:1/pre"', mistake "x:1/pre")
      assert.matches('expected an absolute path .* got a string: "run/x"', mistake "unix://run/x")
      assert.matches("only http and https are spoken", mistake "tcp://x:1")
      assert.matches('has a name and a password in it: write auth = "name:password"', mistake "http://a:b@x:1")
      assert.matches("ends with /v1: leave that out", mistake "http://x:1/v1/")
      assert.matches("has a query", mistake "http://x:1/?dc=a")
      assert.matches("the port \"99999\" is not within", mistake "http://x:99999")
    end)

    it("comes from the environment only where the file is silent", function()
      local environ = { CONSUL_HTTP_ADDR = "unix:///run/c.sock" }
      assert.same({ "http://localhost", "/run/c.sock" }, { place({}, environ) })
      assert.equal("http://x:1", (place("x:1", environ)))
      assert.equal("http://127.0.0.1:8500", (place({}, { CONSUL_HTTP_ADDR = "" })))
      assert.matches("^CONSUL_HTTP_ADDR: expected", mistake({}, { CONSUL_HTTP_ADDR = "consul" }))
    end)
  end)

  describe("TLS", function()
    it("is spoken with https, where tls is given, and where the environment says so", function()
      assert.equal("https://x:1", fine({ address = "x:1", tls = {} }).url)
      assert.equal("https://x:1", fine("x:1", { CONSUL_HTTP_SSL = "1" }).url)
      assert.equal("http://x:1", fine("x:1", { CONSUL_HTTP_SSL = "false" }).url)
      assert.equal("http://x:1", fine("http://x:1", { CONSUL_HTTP_SSL = "true" }).url)
    end)

    it("is verified unless somebody says otherwise", function()
      assert.is_true(fine("https://x:1").tls.verify)
      assert.is_false(fine({ address = "https://x:1", tls = { verify = false } }).tls.verify)
      assert.is_false(fine("https://x:1", { CONSUL_HTTP_SSL_VERIFY = "FALSE" }).tls.verify)
      assert.is_true(fine({ address = "https://x:1", tls = { verify = true } }, { CONSUL_HTTP_SSL_VERIFY = "0" })
        .tls.verify)
      assert.equal('CONSUL_HTTP_SSL_VERIFY: expected "true" or "false", got a string: "no"',
        mistake("https://x:1", { CONSUL_HTTP_SSL_VERIFY = "no" }))
    end)

    it("takes each file from the environment that the pilot does not name", function()
      local environ = { CONSUL_CACERT = "/ca", CONSUL_CAPATH = "/cas", CONSUL_CLIENT_CERT = "/cert",
        CONSUL_CLIENT_KEY = "/key", CONSUL_TLS_SERVER_NAME = "name" }
      assert.same({ cafile = "/mine", capath = "/cas", clientcert = "/cert", clientkey = "/key", servername = "name",
        verify = true }, fine({ address = "https://x:1", tls = { cafile = "/mine" } }, environ).tls)
      assert.equal("/ca", fine("https://x:1", environ).tls.cafile)
      assert.is_nil(fine("x:1", environ).tls)
    end)

    it("without https is a mistake", function()
      assert.matches("^pilot.consul.tls: the address is not https", mistake { address = "http://x:1", tls = {} })
      assert.matches("^pilot.consul.tls: the address is not https", mistake { address = "unix:///x", tls = {} })
    end)

    it("is checked field by field", function()
      assert.equal('pilot.consul.tls.ca: unknown field (did you mean "cafile"?)',
        mistake { address = "https://x:1", tls = { ca = "/x" } })
      assert.matches("^pilot.consul.tls.clientkey: needs clientcert",
        mistake { address = "https://x:1", tls = { clientkey = "/x" } })
      assert.matches("^pilot.consul.tls: expected a table", mistake { address = "https://x:1", tls = true })
    end)
  end)

  describe("a token", function()
    it("is the pilot's, else that of the environment, where a file goes first", function()
      assert.equal("a", fine({ token = "a" }, { CONSUL_HTTP_TOKEN = "b", CONSUL_HTTP_TOKEN_FILE = "/c" }).token)
      assert.equal("b", fine({}, { CONSUL_HTTP_TOKEN = "b" }).token)
      local result = fine({}, { CONSUL_HTTP_TOKEN = "b", CONSUL_HTTP_TOKEN_FILE = "/c" })
      assert.same({ nil, "/c", "CONSUL_HTTP_TOKEN_FILE" }, { result.token, result.token_file, result.token_path })
      result = fine({ token_file = "/d" }, { CONSUL_HTTP_TOKEN = "b" })
      assert.same({ nil, "/d", "pilot.consul.token_file" }, { result.token, result.token_file, result.token_path })
    end)

    it("stands in one place, and can be sent", function()
      assert.matches("^pilot.consul: has token and token_file", mistake { token = "a", token_file = "/b" })
      assert.matches("^pilot.consul.token: contains a space", mistake { token = "a\nb" })
      assert.matches("^CONSUL_HTTP_TOKEN: contains a space", mistake({}, { CONSUL_HTTP_TOKEN = "a b" }))
      assert.matches("^pilot.consul.token: is an empty string", mistake { token = "" })
    end)
  end)

  it("takes a name and a password", function()
    assert.equal("a:b", fine({ auth = "a:b" }, { CONSUL_HTTP_AUTH = "c:d" }).auth)
    assert.equal("c:d", fine({}, { CONSUL_HTTP_AUTH = "c:d" }).auth)
    assert.matches('^pilot.consul.auth: expected "name:password"', mistake { auth = "a" })
  end)

  it("takes a datacentre and a number of connections", function()
    local result = fine { dc = "east", max_connections = 20 }
    assert.same({ "east", 20 }, { result.dc, result.max_connections })
    local _, said = read { max_connections = 0 }
    assert.matches("^pilot.consul.max_connections: expected a whole number from 1", said[1])
  end)

  it("refuses other fields and other values", function()
    assert.equal('pilot.consul.adress: unknown field (did you mean "address"?)', mistake { adress = "x:1" })
    assert.equal('pilot.consul.datacenter: unknown field (did you mean "dc"?)', mistake { datacenter = "x" })
    assert.matches("^pilot.consul.address: expected \"host:port\"", mistake(true))
  end)
end)
