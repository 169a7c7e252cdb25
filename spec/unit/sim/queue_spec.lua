local instructions = require "support.instructions"
local queue        = require "luapilot.sim.queue"

describe("sim.queue", function()
  local q

  before_each(function() q = queue.new() end)

  local function all()
    local names = {}
    for event in function() return q:pop() end do names[#names + 1] = event.name end
    return table.concat(names, " ")
  end

  it("lets the sources take turns, each in its order", function()
    q:push("a", { name = "a1" })
    q:push("a", { name = "a2" })
    q:push("a", { name = "a3" })
    q:push("b", { name = "b1" })
    q:push("b", { name = "b2" })
    assert.equal("a1 b1 a2 b2 a3", all())
  end)

  it("lets exits and signals overtake", function()
    q:push("a", { name = "a1" })
    q:push_urgent { name = "exit" }
    q:push_urgent { name = "signal" }
    assert.equal("exit signal a1", all())
  end)

  it("puts a source that comes anew behind the others", function()
    q:push("a", { name = "a1" })
    q:push("b", { name = "b1" })
    assert.equal("a1", q:pop().name)
    q:push("a", { name = "a2" })
    assert.equal("b1 a2", all())
  end)

  it("takes back every event of a handle and keeps the order of the rest", function()
    q:push("a", { name = "a1", id = 1 })
    q:push("a", { name = "a2", id = 2 })
    q:push("b", { name = "b1", id = 3 })
    q:push_urgent { name = "exit", id = 1 }
    q:drop(1)
    assert.equal("a2 b1", all())
    assert.is_true(q:empty())
    assert.same({}, q.taken)
  end)

  it("takes them back at a cost that does not depend on how many wait", function()
    local function spent(count)
      for i = 1, count do q:push("timers", { id = i }) end
      local steps = instructions(function() q:drop(count / 2) end)
      while q:pop() do end
      return steps
    end
    assert.equal(spent(10), spent(10000))
  end)
end)
