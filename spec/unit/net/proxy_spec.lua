local proxy = require "luapilot.net.proxy"
local url = require "luapilot.base.url"

describe("proxy", function()
  local function of(environ, text) return proxy.of(environ, assert(url.parse(text))) end

  it("takes the variable of the scheme, then the one for all", function()
    local environ = { http_proxy = "http://a:1", HTTPS_PROXY = "http://b:2", all_proxy = "http://c:3" }
    assert.equal("http://a:1", of(environ, "http://x/"))
    assert.equal("http://b:2", of(environ, "https://x/"))
    environ.http_proxy = nil
    assert.equal("http://c:3", of(environ, "http://x/"))
    assert.is_nil(of({}, "http://x/"))
  end)

  it("does not take HTTP_PROXY, which a client of a CGI server can set", function()
    assert.is_nil(of({ HTTP_PROXY = "http://evil" }, "http://x/"))
  end)

  it("understands a proxy without its scheme, and an empty one as none", function()
    assert.equal("http://a:1", of({ http_proxy = "a:1" }, "http://x/"))
    assert.is_nil(of({ http_proxy = "", all_proxy = "http://c:3" }, "http://x/"))
  end)

  it("leaves out what no_proxy names, and what is below it", function()
    local environ = { http_proxy = "http://a:1", no_proxy = "db, .example.com,host:80" }
    assert.is_nil(of(environ, "http://db/"))
    assert.is_nil(of(environ, "http://example.com/"))
    assert.is_nil(of(environ, "http://www.Example.com:8080/"))
    assert.is_nil(of(environ, "http://host/"))
    assert.equal("http://a:1", of(environ, "http://notexample.com/"))
    assert.is_nil(of({ http_proxy = "http://a:1", NO_PROXY = "*" }, "http://x/"))
  end)

  it("is never asked for loopback", function()
    local environ = { all_proxy = "http://a:1" }
    for _, host in ipairs { "localhost", "127.0.0.1", "127.1.2.3", "[::1]" } do
      assert.is_nil(of(environ, "http://" .. host .. ":80/"))
    end
    assert.equal("http://a:1", of(environ, "http://127.example/"))
  end)
end)
