local instructions = require "support.instructions"
local queue        = require "luapilot.base.queue"

describe("queue", function()
  local q

  before_each(function() q = queue.new() end)

  local function fill(count)
    for i = 1, count do q:push(i) end
  end

  local function drain()
    local list = {}
    for item in function() return q:pop() end do list[#list + 1] = item end
    return list
  end

  it("gives back what came first", function()
    fill(3)
    assert.equal(1, q:peek())
    assert.equal(3, q.count)
    assert.same({ 1, 2, 3 }, drain())
    assert.is_nil(q:pop())
    assert.is_nil(q:peek())
    assert.equal(0, q.count)
  end)

  it("keeps the order through any mixture of coming and going", function()
    math.randomseed(7)
    local last, expected = 0, 1
    for _ = 1, 20000 do
      local many = math.random() < 0.5 + 0.3 * math.sin(last / 500)
      if many then
        last = last + 1
        q:push(last)
      else
        local item = q:pop()
        if item then
          assert.equal(expected, item)
          expected = expected + 1
        end
      end
      assert.equal(last - expected + 1, q.count)
    end
    for i = expected, last do assert.equal(i, q:pop()) end
    assert.is_nil(q:pop())
  end)

  it("costs the same however many wait", function()
    local function step()
      q:push(0)
      q:pop()
    end
    local function steps(count)
      fill(count)
      step()
      local spent = instructions(function()
        for _ = 1, 1000 do step() end
      end)
      drain()
      return spent
    end
    local few = steps(10)
    for _, count in ipairs { 255, 256, 257, 1000, 1023, 1024, 100000 } do
      assert.is_true(steps(count) <= 1.1 * few, count)
    end
  end)

  it("costs a few instructions an item to fill and to empty, whatever its length", function()
    local function spent(count) return instructions(function() fill(count) drain() end) / count end
    assert.is_true(spent(100000) <= 1.5 * spent(1000))
  end)

  it("gives the room back that it needed", function()
    fill(100000)
    for _ = 1, 99990 do q:pop() end
    assert.is_true(#q.items <= 256)
    for i = 99991, 100000 do assert.equal(i, q:pop()) end
    assert.is_true(#q.items <= 256)
  end)

  describe("with items that are struck out", function()
    local names, items

    before_each(function()
      items = {}
      for i = 1, 10 do
        items[i] = { name = i }
        q:push(items[i])
      end
    end)

    local function left()
      names = {}
      for i, item in ipairs(drain()) do names[i] = item.name end
      return names
    end

    it("is as if they had been taken out", function()
      for _, i in ipairs { 1, 5, 10 } do q:strike(items[i]) end
      assert.equal(2, q:peek().name)
      assert.same({ 2, 3, 4, 6, 7, 8, 9 }, left())
      assert.is_nil(q:peek())
    end)

    it("is empty when all are", function()
      for i = 10, 1, -1 do q:strike(items[i]) end
      assert.is_nil(q:peek())
      assert.same({}, left())
      q:push(items[3])
      assert.same({ 3 }, left())
    end)

    it("does not keep them behind one that stays for ever", function()
      for _ = 1, 10000 do
        local item = {}
        q:push(item)
        q:strike(item)
      end
      assert.is_true(q.count <= 40)
      assert.same({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, left())
    end)
  end)

  it("is what everything is that waits: nothing is taken out of the front of a list", function()
    local found = {}
    local pipe = io.popen "grep -rnE 'table.remove\\([^()]*, *1\\)' lua"
    for line in pipe:lines() do found[#found + 1] = line end
    pipe:close()
    assert.same({}, found)
  end)
end)
