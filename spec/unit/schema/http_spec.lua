local http_schema = require "luapilot.schema.http"
local schema = require "luapilot.schema.schema"

describe("schema.http", function()
  local function read(kind, value)
    local result, message, path = schema.first(http_schema[kind], value)
    if message then return path ~= "" and path .. ": " .. message or message end
    return result
  end

  it("method", function()
    assert.equal("PATCH", read("method", "PATCH"))
    assert.equal('expected a method such as "POST", got a string: "post"; write "POST"', read("method", "post"))
    assert.equal('expected a method such as "POST", got a number: 1', read("method", 1))
  end)

  it("headers", function()
    assert.same({ A = "b", C = "1" }, read("headers", { A = "b", C = 1 }))
    assert.equal('expected a table such as { Accept = "text/plain" }, got a string: "A: b"', read("headers", "A: b"))
    assert.equal('[1]: expected ["Name"] = "value"', read("headers", { "A: b" }))
    assert.equal('["A b"]: is no name of a header', read("headers", { ["A b"] = "c" }))
    assert.equal('A: contains a line break or a NUL byte', read("headers", { A = "b\r\nC: d" }))
    assert.equal('["Content-Length"]: follows from the body: leave it out', read("headers", { ["Content-Length"] = 1 }))
    assert.equal("A: expected a string or a number, got a boolean: true", read("headers", { A = true }))
  end)

  it("queries and forms", function()
    assert.same({ a = "1", b = { "x", true } }, read("pairs", { a = 1, b = { "x", true } }))
    assert.equal('expected a table such as { q = "text" }, got a string: "a=1"', read("pairs", "a=1"))
    assert.equal('[1]: expected name = "value", got a string: "a"', read("pairs", { "a" }))
    assert.equal("a[1]: expected a string, a number, a boolean or a list of them, got an empty table",
      read("pairs", { a = { {} } }))
  end)

  it("socket", function()
    assert.equal("/run/app.sock", read("socket", "/run/app.sock"))
    local what = 'expected an absolute path such as "/run/app.sock", got a string: '
    assert.equal(what .. '"app.sock"', read("socket", "app.sock"))
    assert.equal(what .. '"unix:///run/x"; write "/run/x"', read("socket", "unix:///run/x"))
    assert.matches("longer than 107 bytes", read("socket", "/" .. ("x"):rep(107)))
  end)

  it("tls", function()
    assert.same({ cafile = "/ca.pem", verify = true }, read("tls", { cafile = "/ca.pem" }))
    assert.equal('insecure: unknown field (did you mean "verify"?)', read("tls", { insecure = true }))
    assert.equal("clientkey: needs clientcert: a key alone proves nothing", read("tls", { clientkey = "/k" }))
  end)

  it("proxy", function()
    assert.is_false(http_schema.proxy(false, "", error))
    assert.equal("http://proxy:3128", read("proxy", "http://proxy:3128"))
    assert.equal("socks5h://proxy", read("proxy", "socks5h://proxy"))
    for _, wrong in ipairs { "proxy:3128", "ftp://x", "http://x/path", true, 1 } do
      assert.matches('expected a URL such as "http://proxy:3128", or false', read("proxy", wrong))
    end
  end)

  it("status", function()
    assert.same({ { 200, 200 } }, read("status", 200))
    assert.same({ { 200, 399 } }, read("status", "200-399"))
    assert.same({ { 200, 204 }, { 301, 301 } }, read("status", "200-204, 301"))
    for _, wrong in ipairs { "2xx", "399-200", "", "200,", 99, 600, "200-", true } do
      assert.matches('expected a status such as 200 or "200%-399"', read("status", wrong))
    end
    assert.is_true(http_schema.is_among({ { 200, 204 }, { 301, 301 } }, 204))
    assert.is_false(http_schema.is_among({ { 200, 204 }, { 301, 301 } }, 205))
  end)
end)
