local waitlist = require "luapilot.base.waitlist"

local function names(r)
  local list = {}
  r:walk(function(name) list[#list + 1] = name end)
  return table.concat(list, " ")
end

describe("a waitlist", function()
  it("has everybody in order, until they leave", function()
    local r = waitlist.new()
    assert.is_true(r:is_empty())
    local a, b, c = r:add "a", r:add "b", r:add "c"
    assert.equal("a b c", names(r))
    r:remove(b)
    r:remove(b)
    assert.equal("a c", names(r))
    r:remove(a)
    r:add "d"
    assert.equal("c d", names(r))
    r:remove(c)
    assert.is_false(r:is_empty())
    assert.equal("d", names(r))
  end)

  it("calls nobody who came, or left, while it is walked", function()
    local r, called, entries = waitlist.new(), {}, {}
    for i = 1, 6 do entries[i] = r:add(i) end
    r:walk(function(i, entry)
      called[#called + 1] = i
      r:remove(entry)
      if i == 1 then
        for each = 3, 6 do r:remove(entries[each]) end
        r:add "new"
        assert.equal("2 new", names(r))
      end
    end)
    assert.same({ 1, 2 }, called)
    assert.equal("new", names(r))
  end)

  it("keeps no place for those who left", function()
    local r = waitlist.new()
    for _ = 1, 1000 do r:remove(r:add "x") end
    assert.is_true(#r < 3)
    assert.is_true(r:is_empty())
  end)
end)
