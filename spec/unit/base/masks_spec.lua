local describe_value = require "luapilot.base.describe"
local json = require "luapilot.base.json"
local masks = require "luapilot.base.masks"

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

  it("tell long texts apart, wherever they differ, and forget one of them", function()
    local long = ("0123456789"):rep(30)
    local texts = {}
    for _, at in ipairs { 1, 31, 32, 33, 64, 65, 128, 129, 299, 300 } do
      texts[#texts + 1] = long:sub(1, at - 1) .. "#" .. long:sub(at + 1)
    end
    local m = of(texts, MANY)
    for _, text in ipairs(texts) do assert.equal("<***>", m:cover("<" .. text .. ">")) end
    for _, text in ipairs { long, texts[3]:sub(1, -2), texts[10]:sub(2) } do assert.equal(text, m:cover(text)) end
    for i, text in ipairs(texts) do
      m:remove(text)
      assert.equal(text, m:cover(text))
      if texts[i + 1] then assert.equal("***", m:cover(texts[i + 1])) end
    end
    assert.equal(MANY, m.number)
  end)

  it("keep nothing of what was removed", function()
    local m = of({}, MANY)
    local texts = { "a", "ab", "abcd", "abcdefgh", ("abcd"):rep(8), ("abcd"):rep(16), ("abcd"):rep(100) .. "x" }
    for _, text in ipairs(texts) do m:add(text) end
    for _, text in ipairs(texts) do m:remove(text) end
    assert.same(of({}, MANY).tree, m.tree)
    for i = 1, MANY do m:remove("other-" .. i) end
    assert.same({}, m.tree)
  end)

  it("find what plain search finds, whatever the texts have in common", function()
    local number = 7
    local function random(most)
      number = number * 16807 % 2147483647
      return number % most + 1
    end
    local function word(most) return (("ab"):sub(random(2), -1)):rep(random(most)) end
    for _ = 1, 100 do
      local texts, line = {}, ""
      for i = 1, 30 do texts[i] = word(3):rep(random(30)) .. word(9) end
      for _ = 1, 6 do line = line .. texts[random(30)]:sub(random(2)) .. (" "):rep(random(2) - 1) end
      local hidden = {}
      for _, text in ipairs(texts) do
        for i = 1, #line - #text + 1 do
          if line:sub(i, i + #text - 1) == text then for at = i, i + #text - 1 do hidden[at] = true end end
        end
      end
      local expected = {}
      for i = 1, #line do expected[i] = hidden[i] and "*" or line:sub(i, i) end
      local covered = of(texts, MANY):cover(line)
      assert.equal((table.concat(expected):gsub("%*+", "*")), (covered:gsub("%*+", "*")))
    end
  end)

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

  it("cover any text as JSON has it", function()
    local bytes = {}
    for byte = 0, 127 do bytes[#bytes + 1] = string.char(byte) end
    local text = table.concat(bytes)
    for _, each in ipairs { text, "base64/+/text==", 'a"b', "a\\b" } do
      assert.equal('{"a":["***"]}', of({ each }):cover(json.encode { a = { each } }))
      assert.equal('{"a":["***"]}', of({ each }, MANY):cover(json.encode { a = { each } }))
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
