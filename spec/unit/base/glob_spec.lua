local glob = require "luapilot.base.glob"

local function matches(pattern, name)
  local compiled = glob.compile(pattern)
  if type(compiled) == "string" then return compiled == name end
  return glob.matches(compiled, name)
end

-- Which of the names fit.
local function fitting(pattern, names)
  local list = {}
  for name in names:gmatch "%S+" do
    if matches(pattern, name) then list[#list + 1] = name end
  end
  return table.concat(list, " ")
end

describe("glob", function()
  it("is the name itself where nothing is special", function()
    assert.equal("app.conf", glob.compile "app.conf")
    assert.equal("a*b", glob.compile "a\\*b")
    assert.equal("a[b", glob.compile "a[b")
    assert.equal("a\\", glob.compile "a\\")
    assert.equal("a]b-!^%", glob.compile "a]b-!^%")
    assert.equal("table", type(glob.compile "*"))
  end)

  it("has a star for any characters, and for none", function()
    assert.equal("a ab abc", fitting("*", "a ab abc"))
    assert.equal("a ab abc", fitting("a*", "a ab abc b"))
    assert.equal("a.conf b.a.conf", fitting("*.conf", "a.conf b.a.conf conf a.conf.d"))
    assert.equal("ac abc abbc abcbc", fitting("a*c", "ac abc abbc abcbc acb"))
    assert.equal("abab aabb axbxab", fitting("a**b*b", "abab aabb axbxab ab aba"))
  end)

  it("has a question mark for one character", function()
    assert.equal("ab ac", fitting("a?", "a ab ac abc"))
    assert.equal("ab abc", fitting("a?*", "a ab abc"))
  end)

  it("has sets and ranges of characters", function()
    assert.equal("a1 b1", fitting("[ab]1", "a1 b1 c1 ab1 1"))
    assert.equal("1 5 9 x", fitting("[1-9x]", "0 1 5 9 x y"))
    assert.equal("c d", fitting("[!ab]", "a b c d"))
    assert.equal("c d", fitting("[^ab]", "a b c d"))
    assert.equal("] a", fitting("[]a]", "] a b"))
    assert.equal("b", fitting("[!]a]", "] a b"))
    assert.equal("a -", fitting("[a-]", "a - b"))
    assert.equal("! a", fitting("[a!]", "! a b"))
    assert.equal("* a", fitting("[*a]", "* a b"))
    assert.equal("", fitting("[b-a]", "a b c"))
    assert.equal("a\255", fitting("a[\128-\255]", "a\255 ab"))
  end)

  it("has a bracket that is not closed for itself", function()
    assert.equal("[a [ab", fitting("[a*", "[a [ab a"))
    assert.equal("a[]", fitting("?[]", "a[] a b"))
  end)

  it("has a backslash before what is not special", function()
    assert.equal("*a *b", fitting("\\**", "*a *b a"))
    assert.equal("a?", fitting("[a]\\?", "a? ab"))
    assert.equal("a\\", fitting("?\\", "a\\ a"))
  end)

  it("hides what begins with a dot, unless the pattern begins with one", function()
    assert.equal("a a.b", fitting("*", ".hidden a . .. a.b"))
    assert.equal("", fitting("?hidden", ".hidden"))
    assert.equal("", fitting("[.]hidden", ".hidden"))
    assert.equal(".hidden .h", fitting(".h*", ".hidden .h a"))
    assert.equal("a.b", fitting("a*b", "a.b"))
  end)

  it("costs no more than name times pattern", function()
    local function instructions(pattern, name)
      local compiled, count = glob.compile(pattern), 0
      debug.sethook(function() count = count + 100 end, "", 100)
      local found = glob.matches(compiled, name)
      debug.sethook()
      assert.is_false(found)
      return count
    end
    local name = ("a"):rep(250)
    local one = instructions("a*b", name)
    assert.is_true(one > 250)
    local five = instructions("a*a*a*a*a*b", name)
    assert.is_true(five <= 8 * one, ("%d and %d"):format(one, five))
    assert.is_true(instructions(("a*"):rep(100) .. "b", name) <= 8 * one)
    local worst = "*" .. ("a"):rep(125) .. "b" -- each character of the name begins a match that fails at its end
    assert.is_true(instructions(worst, name) <= 40 * #worst * #name)
  end)
end)
