-- What is kept under a text (a watch and its events, what a trigger had heard before a reload, who was there before) is
-- kept under one that tells it from everything else: two different declarations never share, two that are the same do.
-- A text for people does not do: it is cut, and joins what it lists.

local boxes = require "support.boxes"
local cjson = require "cjson"
local random = require "luapilot.sim.random"
local trigger_text = require "luapilot.job.trigger_text"
local watch = require "luapilot.service.watch"

-- Whatever could end a text, or look like the glue between two.
local TEXTS = {
  "a", "b", "a,b", 'a", "b', 'a" "b', '{ "a", "b" }', "a, b", 'a"', 'a" { tag = "b" }', "a }", "a\\", "a\n", "1 a",
  "2 a b", ("a"):rep(100), ("a"):rep(101),
}

local function quoted(text) return ("%q"):format(text) end

local function picker(seed)
  local dice, pick = random.new(seed), {}
  function pick.of(list) return list[1 + dice:below(#list)] end
  function pick.is(share) return dice:next() < share end
  function pick.text() return pick.of(TEXTS) end
  function pick.tags()
    local list = {}
    for i = 1, 1 + dice:below(3) do list[i] = TEXTS[1 + dice:below(6)] end
    return list
  end
  return pick
end

describe("two watches share a question", function()
  after_each(boxes.check)

  local FIELDS = { "dc", "filter", "keep_last", "near", "stale", "status", "tag" }
  local OF_KEYS = { dc = true, stale = true }

  local draw = {
    dc = function(pick) return pick.text() end,
    filter = function(pick) return pick.text() end,
    near = function(pick) return pick.text() end,
    keep_last = function() return true end,
    stale = function() return true end,
    status = function() return "any" end,
    tag = function(pick) return pick.tags() end,
  }

  local function source_of(value)
    if type(value) == "string" then return quoted(value) end
    if type(value) ~= "table" then return tostring(value) end
    local parts = {}
    for i, each in ipairs(value) do parts[i] = quoted(each) end
    return "{" .. table.concat(parts, ",") .. "}"
  end

  -- A line of a pilot.lua, and what it declares.
  local function declaration(pick)
    local kind, name = pick.of { "", "", "", ".key", ".prefix" }, pick.of { "a", 'a" }', 'a" { tag = "b" }' }
    local fields = {}
    local identity = { kind, name }
    for i, field in ipairs(FIELDS) do
      local value = cjson.null
      if pick.is(field == "tag" and 0.7 or 0.05) and (kind == "" or OF_KEYS[field]) then
        value = draw[field](pick)
        fields[#fields + 1] = field .. "=" .. source_of(value)
      end
      identity[i + 2] = value
    end
    return ("pilot.watch%s(%s){%s}"):format(kind, quoted(name), table.concat(fields, ",")), cjson.encode(identity)
  end

  it("exactly if they are declared alike", function()
    local pick, lines, known, count = picker(7), {}, {}, 0
    for i = 1, 1500 do
      local line, identity = declaration(pick)
      lines[i] = line
      if not known[identity] then known[identity], count = true, count + 1 end
    end
    local box = boxes.load('pilot.consul { address = "consul:8500", max_connections = 10000 }\n'
      .. table.concat(lines, "\n"))
    local cores, topics = 0, 0
    for _ in pairs(box.app.watches) do cores = cores + 1 end
    for _ in pairs(box.app.watches_by_topic) do topics = topics + 1 end
    assert.is_true(count > 300 and count < 1200, count)
    assert.same({ count, count }, { cores, topics })
  end)
end)

describe("two triggers go on with what the other has heard", function()
  local LEAVES = {
    function(pick)
      local topic = pick.of { "job:", "template:", "watch:" } .. pick.text()
      return { kind = pick.of { "once", "each" }, topic = topic, event = pick.of { "changed", "healthy" } }
    end,
    function(pick) return { kind = "every", interval = pick.of { 1, 1.0001, 60, 60.0000001 } } end,
    function(pick) return { kind = "cron", text = pick.of { "0 3 * * *", "0  3 * * *", "@daily" } } end,
    function() return { kind = "startup" } end,
  }

  local function draw(pick, depth)
    if depth == 0 or pick.is(0.5) then return pick.of(LEAVES)(pick) end
    local node = { kind = pick.of { "all", "any" }, parts = {} }
    for i = 1, pick.of { 1, 2, 3 } do node.parts[i] = draw(pick, depth - 1) end
    return node
  end

  local function exact(node)
    local null, parts = cjson.null, {}
    for i, part in ipairs(node.parts or {}) do parts[i] = exact(part) end
    local interval = node.interval and ("%.17g"):format(node.interval)
    return { node.kind, node.topic or null, node.event or null, interval or null, node.text or null, parts }
  end

  it("exactly if they wait for the same", function()
    local pick, identities, texts, alike = picker(3), {}, {}, 0
    for _ = 1, 5000 do
      local node = draw(pick, 2)
      local identity, text = cjson.encode(exact(node)), trigger_text.identity(node)
      if identities[identity] then alike = alike + 1 end
      assert.equal(identities[identity] or text, text)
      assert.equal(texts[text] or identity, identity)
      identities[identity], texts[text] = text, identity
    end
    assert.is_true(alike > 500 and alike < 4500, alike)
  end)
end)

describe("two instances are one before and after a change", function()
  it("exactly if node and id are the same", function()
    local instances = {}
    for _, node in ipairs { "", "a", "a\0", "a b", "1 a", "1" } do
      for _, id in ipairs { "", "b", "\0b", "a b", " a b" } do instances[#instances + 1] = { node = node, id = id } end
    end
    for i, one in ipairs(instances) do
      for j, other in ipairs(instances) do
        local event = watch.difference("service", { one }, { other })
        assert.same(i == j and { 0, 0 } or { 1, 1 }, { #event.added, #event.removed })
      end
    end
  end)
end)
