local shellwords = require "luapilot.base.shellwords"

local function refused(text)
  local argv, message = shellwords.split(text)
  assert.is_nil(argv)
  return message
end

local WAY_OUT = 'there is no shell here: write pilot.sh "…" to use one, or a list of words { "a", "b" } '
  .. "for the literal text"

describe("shellwords", function()
  it("splits at blanks", function()
    assert.same({ "node", "server.js", "-p", "8000" }, shellwords.split "node server.js  -p\t8000")
    assert.same({ "a", "b" }, shellwords.split "  a\n  b \n")
    assert.same({ "a", "b=c", "x#y", "x~y", "50%", "a,b", "!" }, shellwords.split "a b=c x#y x~y 50% a,b !")
  end)

  it("reads quotes and backslashes", function()
    assert.same({ "nginx", "-g", "daemon off;" }, shellwords.split [[nginx -g "daemon off;"]])
    assert.same({ "nginx", "-g", "daemon off;" }, shellwords.split [[nginx -g 'daemon off;']])
    assert.same({ "echo", "a b", "$x|`y`", "" }, shellwords.split [[echo a\ b '$x|`y`' '']])
    assert.same({ "echo", [[a"b\c$d]] .. "`", [[\n]] }, shellwords.split [[echo "a\"b\\c\$d\`" "\n"]])
    assert.same({ "echo", "abc", "|" }, shellwords.split [[echo a"b"'c' \|]])
    assert.same({ "echo", "ab", "cd" }, shellwords.split "echo a\\\nb \"c\\\nd\"")
  end)

  it("refuses what only a shell understands", function()
    local cases = {
      { "a | b", "| at column 3 is a pipe" }, { "a && b", "& at column 3 is a shell operator" },
      { "a; b", "; at column 2 is a shell operator" }, { "a > b", "> at column 3 is a redirection" },
      { "a <b", "< at column 3 is a redirection" }, { "(a)", "( at column 1 is a subshell" },
      { "a )", ") at column 3 is a subshell" }, { "a $HOME", "$ at column 3 is a shell variable" },
      { "a `b`", "` at column 3 is a command substitution" }, { "rm *.log",
        "* at column 4 is a file pattern" },
      { "a b?", "? at column 4 is a file pattern" }, { "a [b]", "[ at column 3 is a file pattern" },
      { "a ~/b", "~ at column 3 is a home directory" }, { "a # b", "# at column 3 is a shell comment" },
      { "a {b,c}", "{ at column 3 is a shell brace" }, { "a }", "} at column 3 is a shell brace" },
      { 'a "$b"', "$ at column 4 is a shell variable" }, { 'a "`b`"',
        "` at column 4 is a command substitution" },
    }
    for _, case in ipairs(cases) do
      assert.equal(("%s, and %s"):format(case[2], WAY_OUT), refused(case[1]))
    end
  end)

  it("refuses an assignment before the command", function()
    assert.equal('PORT= at column 1 sets a variable as a shell would: write env = { PORT = "…" } instead',
      refused "PORT=80 node server.js")
  end)

  it("says what else is wrong", function()
    assert.equal([[the " at column 3 is not closed]], refused [[a "b]])
    assert.equal([[the ' at column 3 is not closed]], refused [[a 'b"]])
    assert.equal([[the \ at column 3 has nothing behind it]], refused [[a \]])
    assert.equal([[the command is empty: write for example "nginx -g 'daemon off;'"]], refused "")
    assert.equal([[the command is empty: write for example "nginx -g 'daemon off;'"]], refused " \n")
    assert.equal("the first word is empty: it must name the program", refused "'' a")
    assert.equal("contains a NUL byte, which no argument of a program can", refused "a\0b")
  end)

  it("shows an argv so that it can be read back", function()
    assert.equal("nginx -g 'daemon off;'", shellwords.show { "nginx", "-g", "daemon off;" })
    for _, argv in ipairs { { "a", "" }, { "it's", "$x" }, { "A=b", "A=b" }, { "a\nb", "\\", '"' } } do
      assert.same(argv, shellwords.split(shellwords.show(argv)))
    end
  end)
end)
