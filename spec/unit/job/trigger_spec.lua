local cjson = require "cjson"
local trigger = require "luapilot.job.trigger"
local trigger_text = require "luapilot.job.trigger_text"

local function once(name) return { kind = "once", topic = "job:" .. name, event = "healthy" } end
local function each(name) return { kind = "each", topic = "job:" .. name, event = "healthy" } end
local function all(...) return { kind = "all", parts = { ... } } end
local function any(...) return { kind = "any", parts = { ... } } end
local function every() return { kind = "every", interval = 60 } end

-- Hears the named leaves ("a b a"), one after the other; how often the whole fires at each: "001".
local function hear(t, names)
  local result = {}
  for name in names:gmatch "%S+" do
    local fired = 0
    for _, leaf in ipairs(t.leaves) do
      if leaf.topic == "job:" .. name or leaf.kind == name then
        if trigger.hear(t, leaf) then fired = fired + 1 end
      end
    end
    result[#result + 1] = fired
  end
  return table.concat(result)
end

local function restored(t)
  local copy = trigger.new(t.node)
  trigger.restore(copy, cjson.decode(cjson.encode(trigger.snapshot(t))))
  assert.same(t.memory, copy.memory)
  return copy
end

describe("trigger", function()
  describe("fires", function()
    local FIRES = {
      { "once: a single time", once "a", "a a a", "100" },
      { "each: every time", each "a", "a a a", "111" },
      { "cron: every time", { kind = "cron", text = "* * * * *" }, "cron cron cron", "111" },
      { "every, startup", any(every(), { kind = "startup" }), "startup every every", "111" },
      { "all of once: with the last, a single time", all(once "a", once "b"), "a a b a b", "00100" },
      { "all with each: again with each", all(once "a", each "b"), "b a b a b", "01101" },
      { "all of each: with each, once all have fired", all(each "a", each "b"), "a a b a b", "00111" },
      { "any of once: a single time between them", any(once "a", once "b"), "b a b", "100" },
      { "any with each", any(once "a", each "b"), "b a b a", "1110" },
      { "any of all", any(all(once "a", once "b"), once "c"), "a b c", "010" },
      { "any of all, the other first", any(all(once "a", once "b"), once "c"), "c a b", "100" },
      { "all of any: any part of each", all(any(once "a", once "b"), once "c"), "a b c a b c", "001000" },
      { "all of any with each", all(any(each "a", once "b"), once "c"), "b c b a a", "01011" },
      { "any: a repeating part of an all fires again", any(all(once "a", each "c"), once "b"), "b c a c c", "10011" },
      { "deep", all(any(all(once "a", once "b"), once "c"), any(once "d", each "e")), "e a b e d", "00111" },
    }
    for _, row in ipairs(FIRES) do
      it(row[1], function()
        local t = trigger.new(row[2])
        assert.equal(row[4], hear(t, row[3]))
        assert.equal(select(2, row[4]:gsub("1", "")), t.memory.fired)
      end)
    end

    local shared = any(once "a", once "b")
    for _, row in ipairs {
      { "what is written down twice is one", all(shared, shared), "a b", "10" },
      { "in both of its places", any(all(shared, once "c"), shared), "a c", "10" },
      { "with the once parts of an any between them, wherever it stands",
        all(shared, any(all(shared, once "c"), once "d")), "a b c d", "0010" },
    } do
      it("shared parts: " .. row[1], function() assert.equal(row[4], hear(trigger.new(row[2]), row[3])) end)
    end

    it("once for an event, if a trigger is written down twice", function()
      local a = each "a"
      assert.equal("11", hear(trigger.new(any(a, a)), "a a"))
      assert.equal("01", hear(trigger.new(all(a, any(a, once "b"), once "c")), "a c"))
    end)

    it("the same in several jobs, each for itself", function()
      local a = once "a"
      local one, two = trigger.new(a), trigger.new(any(a, once "b"))
      assert.equal("1", hear(one, "a"))
      assert.equal("10", hear(two, "b a"))
    end)

    it("the same after a reload, at any moment", function()
      for _, row in ipairs(FIRES) do
        local t, fired = trigger.new(row[2]), {}
        for name in row[3]:gmatch "%S+" do
          fired[#fired + 1] = hear(t, name)
          t = restored(t)
        end
        assert.equal(row[4], table.concat(fired))
      end
    end)
  end)

  describe("expire", function()
    it("gives up when the leaf has not happened", function()
      local t = trigger.new(all(once "a", once "b"))
      hear(t, "a")
      assert.is_false(trigger.expire(t, t.leaves[1]))
      assert.is_true(trigger.expire(t, t.leaves[2]))
      assert.equal("0", hear(t, "b"))
      assert.is_false(trigger.can_fire(t, function() return true end))
      assert.is_true(restored(t).memory.gave_up)
    end)

    it("not when the whole has fired, and not twice", function()
      local t = trigger.new(any(once "a", once "b"))
      hear(t, "b")
      assert.is_false(trigger.expire(t, t.leaves[1]))
      t = trigger.new(once "a")
      assert.is_true(trigger.expire(t, t.leaves[1]))
      assert.is_false(trigger.expire(t, t.leaves[1]))
    end)
  end)

  describe("can_fire", function()
    -- what happened, who can still speak, and whether it can still fire
    local CAN = {
      { "once, not yet", once "a", "", "a", true },
      { "once, its source is gone", once "a", "", "", false },
      { "once, over", once "a", "a", "a", false },
      { "each", each "a", "a", "a", true },
      { "each, its source is gone", each "a", "a", "", false },
      { "every", every(), "every", "", true },
      { "manual", { kind = "manual" }, "", "", false },
      { "function", { kind = "function" }, "", "", true },
      { "function, over", { kind = "function" }, "function", "", false },
      { "startup, over", { kind = "startup" }, "startup", "", false },
      { "all, one part gone", all(once "a", once "b"), "", "a", false },
      { "all, the gone part has fired", all(once "a", once "b"), "a", "b", true },
      { "all, over", all(once "a", once "b"), "a b", "a b", false },
      { "all with each", all(once "a", each "b"), "a b", "b", true },
      { "all with each, its source gone", all(once "a", each "b"), "a b", "a", false },
      { "any, one part left", any(once "a", once "b"), "", "b", true },
      { "any, fired: the others do not fire it", any(once "a", once "b"), "a", "b", false },
      { "any, fired: a repeating part does", any(once "a", each "b"), "a", "b", true },
      { "any, fired: nor do the once parts of an all", any(once "a", all(once "b", once "c")), "a", "b c", false },
      { "any, fired: nor those deeper", any(once "a", all(once "b", any(once "c", once "d"))), "a", "b c d", false },
      { "any, fired: an all with each does", any(once "a", all(once "b", each "c")), "a", "b c", true },
      { "any, fired: an all whose once cannot come does not", any(once "a", all(once "b", each "c")), "a", "c", false },
      { "all of any, fired by one", all(any(once "a", once "b"), once "c"), "a", "c", true },
      { "all of any, nothing yet", all(any(once "a", once "b"), once "c"), "c", "b", true },
    }
    for _, row in ipairs(CAN) do
      it(row[1], function()
        local t = trigger.new(row[2])
        hear(t, row[3])
        local function alive(topic) return (" " .. row[4] .. " "):find(" " .. topic:sub(5) .. " ", 1, true) ~= nil end
        assert.equal(row[5], trigger.can_fire(t, alive))
        assert.equal(row[5], trigger.can_fire(restored(t), alive))
      end)
    end

    it("never says no to something that then fires", function()
      local names, seed = { "a", "b", "c", "d" }, 7
      local function random(n)
        seed = (seed * 16807) % 2147483647
        return seed % n + 1
      end
      local function tree(depth)
        local kind = random(depth == 0 and 2 or 4)
        local name = names[random(#names)]
        if kind == 1 then return once(name) elseif kind == 2 then return each(name) end
        local parts = {}
        for i = 1, random(3) do parts[i] = tree(depth - 1) end
        return { kind = kind == 3 and "all" or "any", parts = parts }
      end
      local fired, dead = 0, 0
      for _ = 1, 1000 do
        local t = trigger.new(tree(3))
        for _ = 1, 8 do
          local can = trigger.can_fire(t, function() return true end)
          local fires = hear(t, names[random(#names)]) ~= "0"
          if not can then dead = dead + 1 end
          if fires then fired = fired + 1 end
          assert.is_true(can or not fires)
        end
      end
      assert.is_true(fired > 50 and dead > 50)
    end)
  end)

  it("adds up what could ever fire", function()
    local function possible(node, names)
      local t, sum, whole = trigger.new(node), trigger.sum(), false
      for _, leaf in ipairs(t.leaves) do
        local can = not leaf.topic or names:find(leaf.topic:sub(5), 1, true) ~= nil
        whole = can and trigger.add(t, sum, leaf) or whole
      end
      return whole
    end
    assert.is_true(possible(once "a", "a"))
    assert.is_false(possible(each "a", "b"))
    assert.is_true(possible(every(), ""))
    assert.is_true(possible({ kind = "manual" }, ""))
    assert.is_false(possible(all(once "a", once "b"), "a"))
    assert.is_true(possible(any(once "a", once "b"), "b"))
    assert.is_false(possible(any(once "a", all(once "b", once "c")), "b"))
  end)

  it("knows its topics", function()
    assert.same({ "job:a", "job:b" }, trigger.topics(all(once "a", any(every(), each "b"))))
  end)

  it("says what it is, in the words of the file", function()
    local function seconds(n) return n .. "s" end
    assert.equal('all { a:once "healthy", any { b:each "healthy", every 60s, cron "0 3 * * *", startup } }',
      trigger_text.describe(all(once "a", any(each "b", every(), { kind = "cron", text = "0 3 * * *" },
        { kind = "startup" })), seconds))
  end)

  it("says once what stands in several places", function()
    local a = once "a"
    local both = any(a, once "b")
    assert.equal('all { any { a:once "healthy", b:once "healthy" }, part 1 again, part 2 again }',
      trigger_text.describe(all(both, both, a), tostring))
  end)

  it("loses nothing with a source that has said all that counts", function()
    local t = trigger.new(all(once "a", once "b", each "c", any(once "a", once "d")))
    hear(t, "a c")
    assert.same({ false, true, true, true, false }, {
      trigger.loses(t, "job:a"), trigger.loses(t, "job:b"), trigger.loses(t, "job:c"), trigger.loses(t, "job:d"),
      trigger.loses(t, "job:e"),
    })
    assert.is_true(trigger.loses(trigger.new(once "a"), "job:a"))
  end)
end)
