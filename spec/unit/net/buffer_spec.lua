local buffer = require "luapilot.net.buffer"

describe("buffer", function()
  local bytes

  before_each(function() bytes = buffer.new() end)

  local function push(...)
    for _, piece in ipairs { ... } do bytes:push(piece) end
  end

  it("gives what came, in pieces of any size", function()
    push("abc", "", "d", "efgh")
    assert.equal(8, bytes.size)
    assert.equal("a", bytes:take(1))
    assert.equal("bcde", bytes:take(4))
    assert.equal(3, bytes.size)
    push "i"
    assert.equal("fghi", bytes:take(4))
    assert.equal(0, bytes.size)
    assert.equal("", bytes:take(0))
  end)

  it("knows how long the first line is, its newline included", function()
    assert.is_nil(bytes:line())
    push("ab", "c")
    assert.is_nil(bytes:line())
    push "d\ne\n\nf"
    assert.equal(5, bytes:line())
    assert.equal("abcd\n", bytes:take(5))
    assert.equal(2, bytes:line())
    assert.equal(2, bytes:line())
    assert.equal("e\n", bytes:take(2))
    assert.equal(1, bytes:line())
    bytes:take(1)
    assert.is_nil(bytes:line())
    push "\n"
    assert.equal(2, bytes:line())
  end)

  it("searches anew behind what was taken, wherever that ends", function()
    push("aa", "bb", "c\nd")
    assert.is_nil((function() push "" return nil end)())
    assert.equal(6, bytes:line())
    for left = 5, 1, -1 do
      bytes:take(1)
      assert.equal(left, bytes:line())
    end
    assert.equal("\n", bytes:take(1))
    assert.is_nil(bytes:line())
  end)

  it("is the same as one string, whatever comes and is taken", function()
    local all, seed = "", 1
    local function below(n)
      seed = (seed * 16807) % 2147483647
      return seed % n
    end
    for _ = 1, 2000 do
      local piece = ("x"):rep(below(4)) .. ("\n"):rep(below(3) == 0 and 1 or 0)
      push(piece)
      all = all .. piece
      assert.equal((all:find("\n", 1, true)), (bytes:line()))
      local count = math.min(below(6), #all)
      assert.equal(all:sub(1, count), bytes:take(count))
      all = all:sub(count + 1)
      assert.equal(#all, bytes.size)
    end
  end)
end)
