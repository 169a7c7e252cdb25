local describe_value = require "luapilot.describe"
local masks = require "luapilot.masks"

local MANY = 40 -- more than are searched for one by one

-- Masks of these texts, among so many others.
local function of(texts, others)
  local m = masks.new()
  for i = 1, others or 0 do m:add("other-" .. i) end
  for _, text in ipairs(texts) do m:add(text) end
  return m
end

describe("masks", function()
  local COVERS = {
    { "a text, wherever it stands", { "tok" }, "tok a tok, atokb tok", "*** a ***, a***b ***" },
    { "nothing else", { "tok" }, "to k, TOK, ot", "to k, TOK, ot" },
    { "the longest where several begin", { "tok", "token", "tokens-of" }, "tok token tokens", "*** *** ***s" },
    { "one that another contains", { "secret", "my secret is" }, "my secret is, secret", "***, ***" },
    { "all of those that overlap", { "abcd", "cdefgh", "ghi" }, "xabcdefghix", "x***x" },
    { "each of two beside each other", { "ab", "cd" }, "abcdab", "*********" },
    { "short ones", { "x", "yz", "abc" }, "x yz y abc ab", "*** *** y *** ab" },
    { "what begins as others do", { "hvs.1111", "hvs.2222", "hvs.33" }, "hvs.2222 hvs.33 hvs.4", "*** *** hvs.4" },
    { "any bytes", { "a\0b", "\255\254\253\252\251" }, "a\0b\255\254\253\252\251\255", "******\255" },
    { "a text that repeats itself", { "aa" }, "aaaaa", "***" },
    { "a part of the line's end", { "token" }, "toke", "toke" },
    { "an empty line", { "token" }, "", "" },
    { "a text as %q writes it", { 'pa"ss\\wo"rd' }, ('key = %q, bare pa"ss\\wo"rd'):format 'pa"ss\\wo"rd',
      'key = "***", bare ***' },
    { "a text as messages quote it", { 'a"b\tc\\d\re\0' }, 'got a string: ' .. describe_value.quote 'a"b\tc\\d\re\0',
      'got a string: "***"' },
    { "each longer line of a text", { "first-line\nno\nthird-line\r\n" }, "bad: first-line; no; third-line",
      "bad: ***; no; ***" },
  }
  for _, row in ipairs(COVERS) do
    it("cover " .. row[1], function()
      assert.equal(row[4], of(row[2]):cover(row[3]))
      assert.equal(row[4], of(row[2], MANY):cover(row[3]))
    end)
  end

  it("forget a text that was removed as often as it was added", function()
    for _, others in ipairs { 0, MANY } do
      local m = of({ "token", "token", "tokens" }, others)
      m:remove "token"
      assert.equal("*** ***", m:cover "token tokens")
      m:remove "token"
      m:remove "token"
      assert.equal("token ***", m:cover "token tokens")
      m:remove "tokens"
      m:remove "never added"
      assert.equal("token tokens", m:cover "token tokens")
    end
  end)

  it("cover the names and the texts of fields", function()
    local m, fields = of { "token" }, { ["by token"] = "a token", count = 5, other = "text" }
    assert.same({ "my ***", { ["by ***"] = "a ***", count = 5, other = "text" } }, { m:cover_all("my token", fields) })
    assert.same({ "***", nil, { a = "***" } }, { m:cover_all("token", nil, { a = "token" }) })
  end)

  it("keep a text once, however often a name gives it", function()
    local m = masks.new()
    for _ = 1, 100 do m:add_of("api", "token") end
    assert.equal(1, m.counts.token)
    m:add_of("other", "token")
    assert.equal(2, m.counts.token)
  end)

  it("keep the last ten texts of a name, and none of another's place", function()
    local m = masks.new()
    m:add_of("password", "constant")
    for i = 1, 1000 do m:add_of("api", ("token-%04d"):format(i)) end
    assert.equal(11, m.number)
    assert.equal("*** token-0990 *** ***", m:cover "constant token-0990 token-0991 token-1000")
  end)
end)
