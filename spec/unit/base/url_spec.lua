local url = require "luapilot.base.url"

describe("url", function()
  local function parts(text)
    local found, message = url.parse(text)
    assert.is_table(found, message)
    return found
  end

  local function refused(value)
    local found, message = url.parse(value)
    assert.is_nil(found)
    return message
  end

  it("takes URLs apart", function()
    assert.same({ scheme = "http", host = "localhost", path = "/" }, parts "http://localhost")
    assert.same({ scheme = "https", host = "a.example", port = 8443, path = "/x/y", query = "a=1&b" },
      parts "HTTPS://A.Example:8443/x/y?a=1&b#part")
    assert.same({ scheme = "http", host = "[::1]", port = 80, path = "/" }, parts "http://[::1]:80/")
    assert.same({ scheme = "http", user = "me:p@ss", host = "x", path = "/" }, parts "http://me:p@ss@x/")
    assert.same({ scheme = "http", host = "x", path = "/", query = "" }, parts "http://x?")
  end)

  it("says what is none, and what was probably meant", function()
    local what = 'expected a URL such as "http://localhost/health", got '
    assert.equal(what .. "a number: 80", refused(80))
    assert.equal(what .. 'a string: "localhost:80/x"; write "http://localhost:80/x"', refused "localhost:80/x")
    assert.equal(what .. 'a string: "ftp://x/"; only http and https are spoken', refused "ftp://x/")
    assert.equal(what .. 'a string: "file:///etc/passwd"; only http and https are spoken', refused "file:///etc/passwd")
    assert.equal(what .. 'a string: "http://x/a b"; a space is written %20', refused "http://x/a b")
    assert.equal(what .. 'a string: "http:///x"; the host is missing', refused "http:///x")
    assert.equal(what .. 'a string: "http://x:99999/"; the port "99999" is not within 1-65535',
      refused "http://x:99999/")
    assert.equal(what .. 'a string: "http://x:/"; the port "" is not within 1-65535', refused "http://x:/")
    assert.equal(what .. 'a string: "/health"', refused "/health")
  end)

  it("puts them together, and hides the password in messages", function()
    for _, text in ipairs { "http://localhost/", "https://a:8443/x?y=1", "http://u:p@[::1]:8080/" } do
      assert.equal(text, url.format(parts(text)))
    end
    assert.equal("http://a/", url.format(parts "http://a:80/"))
    assert.equal("http://***@a/x", url.shown(parts "http://me:secret@a/x"))
  end)

  it("knows who is the same origin", function()
    local function same(a, b) return url.same_origin(parts(a), parts(b)) end
    assert.is_true(same("http://a/x", "http://a:80/y"))
    assert.is_true(same("https://a/", "https://u:p@A:443/"))
    assert.is_false(same("http://a/", "https://a/"))
    assert.is_false(same("http://a/", "http://a:81/"))
    assert.is_false(same("http://a/", "http://a.b/"))
  end)

  it("follows a Location", function()
    local function led(base, location)
      local found, message = url.resolve(parts(base), location)
      return found and url.format(found) or message
    end
    assert.equal("http://b/c", led("http://a/", "http://b/c"))
    assert.equal("https://b/c", led("https://a/x", "//b/c"))
    assert.equal("http://a:81/c?d", led("http://a:81/x/y?z", "/c?d"))
    assert.equal("http://a/x/c", led("http://a/x/y", "c"))
    assert.equal("http://a/c", led("http://a/x/y", "../c"))
    assert.equal("http://a/c/", led("http://a/x/y", "../../../c/."))
    assert.equal("http://a/x/y?q", led("http://a/x/y?z", "?q"))
    assert.equal("http://a/x/y?z", led("http://a/x/y?z", "#part"))
    assert.equal("http://a/b%20c", led("http://a/", "/b c"))
    assert.equal("http://u:p@a/b", led("http://u:p@a/", "/b"))
    assert.equal("http://u:p@a/b", led("http://u:p@a/", "http://a/b"))
    assert.equal("http://b/b", led("http://u:p@a/", "http://b/b"))
    assert.matches("only http and https", led("http://a/", "ftp://a/b"))
    assert.matches("expected a URL", led("http://a/", "javascript:alert(1)"))
  end)

  it("encodes queries and forms, in the order of the names", function()
    assert.equal("", url.encode {})
    assert.equal("a=1&b=x%20y&c=true", url.encode { c = true, b = "x y", a = 1 })
    assert.equal("a%26=%C3%A4%3D&l=1&l=2", url.encode { l = { 1, 2 }, ["a&"] = "ä=" })
  end)
end)
