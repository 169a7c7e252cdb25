local syntax = require "luapilot.base.syntax"

---The whole message about a source that does not compile.
local function explained(source)
  local chunk, message = load(source, "@pilot.lua")
  assert.is_nil(chunk)
  local result = syntax.explain(message, source)
  assert.equal(message, result:sub(1, #message)) -- Lua's own text stays
  return result
end

local function hint(source)
  local message = select(2, load(source, "@pilot.lua"))
  return explained(source):sub(#message + 1):match "^ %((.*)%)$"
end

describe("syntax", function()
  it("points to the line where a comma is missing", function()
    assert.equal("pilot.lua:3: '}' expected (to close '{' at line 1) near 'reload' "
      .. "(a comma is missing at the end of line 2)",
      explained 'pilot.job "nginx" {\n  exec = { "nginx" }\n  reload = "SIGHUP",\n}')
    assert.equal("a comma is missing at the end of line 3",
      hint 'x = {\n  run = function()\n  end\n\n  -- why\n  reload = "SIGHUP",\n}')
    assert.equal('a comma is missing before "b"', hint 'x = { "a" "b" }')
    assert.equal("a comma is missing before b", hint "f(a b)")
  end)

  it("points to the block without end", function()
    assert.equal('the "function" of line 1 has no "end"', hint "function f()\n  g()\n")
    assert.equal('the "function" of line 2 has no "end"', hint "x = {\n  run = function()\n    g()\n}")
    assert.equal('the "function" of line 2 has no "end"', hint "x = {\n  run = function()\n    g()\n  ,\n}")
    assert.equal('the "if" of line 2 has no "end"',
      hint "local function a()\n  if x then\n    b()\n\n  c()\nend\n\nlocal function d()\nend")
    assert.equal('the "if" of line 1 has no "end"; is "else if" meant as "elseif"?',
      hint "if a then\n  b()\nelse if c then\n  d()\nend")
    assert.equal('there is one "end" too many', hint "f() end")
    assert.equal('there is one "end" too many', hint "end")
  end)

  it("points to brackets and strings that are not closed", function()
    assert.equal('the "{" of line 2 has no "}"', hint "f()\nx = { 1, 2\n\nlocal y = 3")
    assert.equal('the "(" of line 1 has no ")"', hint "f(1, 2\nend")
    assert.equal('there is one "}" too many', hint "x = {} }")
    assert.equal("the string begins on line 2 and is not closed", hint 'f()\nx = "abc\ny = 2')
    assert.equal("the long string begins on line 1 and is not closed", hint "x = [[abc\ny = 2")
    assert.equal("the long comment begins on line 1 and is not closed", hint "--[[ abc\ny = 2")
  end)

  it("knows the habits of other languages", function()
    local cases = {
      { "if x = 1 then end", "a comparison is written with ==" },
      { "while x = 1 do end", "a comparison is written with ==" },
      { "local x == 1", "an assignment is written with one =" },
      { "if x != 1 then end", 'Lua writes ~= for "not equal" and not for "!"' },
      { "x = !y", 'Lua writes ~= for "not equal" and not for "!"' },
      { "if a && b then end", 'Lua writes "and" for &&' },
      { "if a || b then end", 'Lua writes "or" for ||' },
      { "x += 1", "Lua has no += and no ++: write x = x + 1" },
      { "x++", "Lua has no += and no ++: write x = x + 1" },
      { "// why", "a comment begins with --" },
      { "while true { }", 'Lua has no { } around statements: write "then … end" or "do … end"' },
      { "function f() {\n}", 'Lua has no { } around statements: write "then … end" or "do … end"' },
      { "x = { exec: { } }", 'a field is written with "=": exec = …' },
      { 'x = { "exec": 1 }', 'a field is written with "=": exec = …' },
      { 'x = { "exec" = 1 }', "the name of a field stands without quotes: exec = …" },
      { 'x = { "a-b" = 1 }', 'such a name of a field stands in brackets: ["a-b"] = …' },
      { "x = { interval = 5s }", 'a duration or size stands in quotes: write "5s"' },
      { "Local x = 1", "did you mean local?" },
      { "x = y ? 1 : 2", 'Lua writes x and "yes" or "no" for a conditional value' },
    }
    for _, case in ipairs(cases) do assert.equal(case[2], hint(case[1])) end
  end)

  it("looks at a line of a hundred thousand brackets only so often", function()
    assert.equal("pilot.lua:1: ')' expected near '('", explained("f(nil" .. ("("):rep(100000)))
    assert.equal("pilot.lua:1: ')' expected near '{' (a comma is missing before {)",
      explained("f(nil" .. ("{"):rep(100000)))
  end)

  it("leaves alone what it does not know", function()
    for _, source in ipairs { "x = 1 = 2", "break", "goto nowhere", "local function = 1",
      "x = { a.b = 1 }", "return\n1 2" } do
      local _, message = load(source, "@pilot.lua")
      assert.equal(message, explained(source))
    end
    assert.equal("no place in this", syntax.explain("no place in this", ""))
  end)
end)
