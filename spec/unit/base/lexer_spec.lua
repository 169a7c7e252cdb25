local lexer = require "luapilot.base.lexer"

local function texts(source)
  local result = {}
  for i, token in ipairs(lexer.tokens(source)) do result[i] = token.kind .. " " .. token.text end
  return result
end

describe("lexer", function()
  it("knows names, keywords, literals and operators", function()
    assert.same({ "keyword local", "name app", "op =", "name pilot", "op .", "name job", 'string "app"',
      "op {",
      "number 1.5e3", "op ,", "keyword nil", "op ..", "op ...", "op ==", "op ~=", "op }", "eof " },
      texts 'local app = pilot.job "app" { 1.5e3, nil .. ... == ~= }')
  end)

  it("gives lines, columns and contents", function()
    local tokens = lexer.tokens('a\n\n  "b\\"c" [==[\nlong]]\n]==] d')
    assert.same({ kind = "string", text = '"b\\"c"', value = 'b\\"c', line = 3, column = 3 }, tokens[2])
    assert.same({ "string", "\nlong]]\n", 3 }, { tokens[3].kind, tokens[3].value, tokens[3].line })
    assert.same({ "d", 5 }, { tokens[4].text, tokens[4].line })
    assert.same({ "eof", 5 }, { tokens[5].kind, tokens[5].line })
  end)

  it("skips comments", function()
    assert.same({ "name a", "name b", "name c", "eof " }, texts "a -- x = 'y\nb --[[ \n\n ]] c --")
    assert.equal(3, lexer.tokens("a --[[ \n\n ]] c")[2].line)
  end)

  it("goes on behind what is not finished", function()
    assert.same({ "name a", "op =", 'unfinished "b', "name c", "eof " }, texts 'a = "b\nc')
    assert.same({ "name a", "unfinished [[b\nc", "eof " }, texts "a [[b\nc")
    assert.same({ "name a", "unfinished --[[b\nc", "eof " }, texts "a --[[b\nc")
    assert.same({ "eof " }, texts "")
  end)

  it("tells dots apart", function()
    assert.same({ "number .5", "op .", "op ..", "op ...", "op .", "number 3.", "eof " }, texts ".5 . .. .... 3.")
  end)

  it("reads strings with escaped quotes and ends of lines", function()
    assert.same({ [[string "a\"b"]], "string 'c\\\nd'", "eof " }, texts([["a\"b"]] .. " 'c\\\nd'"))
    assert.same({ [[unfinished "a\"]], "eof " }, texts [["a\"]])
  end)

  it("gives the same tokens to all who ask for one source", function()
    assert.equal(lexer.tokens "a = b", lexer.tokens "a = b")
  end)

  it("takes foreign characters as operators", function()
    assert.same({ "op !", "op &", "op &", "name a", "op ?", "eof " }, texts "!&&a?")
  end)
end)
