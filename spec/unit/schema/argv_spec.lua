local argv = require "luapilot.schema.argv"

local function refused(value)
  local words, message = argv.parse(value)
  assert.is_nil(words)
  return message
end

describe("argv", function()
  it("reads words and lists", function()
    assert.same({ "nginx", "-g", "daemon off;" }, argv.parse [[nginx -g "daemon off;"]])
    assert.same({ "node", "a b", "8000", "" }, argv.parse { "node", "a b", 8000, "" })
  end)

  it("finds holes and names likely causes", function()
    assert.equal('exec[2] is nil, but exec[3] is "x": a variable misspelt or set later, '
      .. "or os.getenv for pilot.env?",
      refused { "a", nil, "x" })
    assert.equal('exec[1] is nil, but exec[2] is "x": a variable misspelt or set later, '
      .. "or os.getenv for pilot.env?",
      refused { nil, "x" })
  end)

  it("says what is wrong", function()
    assert.equal('names no program: write { "program", "argument" }', refused {})
    assert.equal("exec[1]: is empty: it must name the program", refused { "", "x" })
    assert.equal('exec[2]: expected a string or a number, got a boolean: true; write "true"',
      refused { "a", true })
    assert.equal("exec[2]: expected a string or a number, got a table; "
      .. "pilot.sh makes the whole list: write it without the { } around", refused { "a", { "/bin/sh",
        "-c", "x" } })
    assert.equal("exec[2]: contains a NUL byte, which no argument can", refused { "a", "\0" })
    assert.matches("exec%[2%]: expected a number below 2^53, .*; write it as a string", refused { "a", 2 ^ 60 })
    assert.equal("exec[2]: expected a number below 2^53, up to which Lua's are exact, got a number: inf",
      refused { "a", 1 / 0 })
    assert.equal("exec.user: expected only a list of words, got a named field", refused { "a", user = "x" })
    assert.equal('expected a string or a list of words such as { "nginx", "-t" }, got a function; '
      .. "Lua code goes into run (of a job) or check (of a health check)", refused(print))
    assert.equal('expected a string or a list of words such as { "nginx", "-t" }, got a number: 5',
      refused(5))
    assert.equal([[the command is empty: write for example "nginx -g 'daemon off;'"]], refused "")
  end)
end)
