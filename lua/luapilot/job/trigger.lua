-- trigger: when a job starts. Pure: leaves fire, the tree says whether the whole fires.
--
--   leaf    once EVENT | each EVENT | every INTERVAL | cron | function | startup | manual
--   node    all { … } | any { … }
--
-- `once` fires a single time; `each`, `every`, `cron` again and again. `all` fires when every part has
-- fired, and again whenever a repeating part does; the `once` parts of an `any` fire it a single time
-- between them.
--
-- It owns which leaves have fired (plain data: fired triggers survive a reload). A node may be a part of several
-- groups: every walk visits it once, and a leaf that fires costs as much as the groups above it, not as the whole. It
-- never subscribes, keeps no time and starts nothing: see job/starter.lua.

local constant = require "luapilot.base.constant"

local trigger = {}

---The trigger of a job that says nothing of one.
---@type luapilot.TriggerNode
trigger.STARTUP = constant.of { kind = "startup" }

local REPEATS = { each = true, every = true, cron = true }

---@class luapilot.TriggerNode
---@field kind "once"|"each"|"every"|"cron"|"function"|"startup"|"manual"|"all"|"any"
---@field topic string?      of once and each: "job:app", "pilot"
---@field event string?
---@field options table?     { timeout, settle, max_wait, when_busy }
---@field parts luapilot.TriggerNode[]?   of all and any
---@field depth integer?     of all and any: how many of them are inside of each other
---@field interval number?
---@field schedule table?    of cron
---@field jitter number?
---@field fn function?

---@class luapilot.TriggerMemory
---@field fired integer               how often the whole fired
---@field gave_up boolean
---@field leaves table<integer, boolean>   which have fired, by number
---@field groups table<integer, boolean>   `any` nodes whose once parts have fired, by number

---@class luapilot.TriggerSum      what a number of leaves adds up to
---@field done table<luapilot.TriggerNode, true>      nodes that have all they need
---@field missing table<luapilot.TriggerNode, integer>   of groups: parts that are still needed, where some have come

---The leaves in the order in which they are written, every node numbered in `numbers`, and the groups that each node
---is a part of. A node that is written down twice counts once. Nodes are not nested deeper than schema/arguments.lua
---allows.
---@param node luapilot.TriggerNode
---@return luapilot.TriggerNode[] leaves
---@return table<luapilot.TriggerNode, integer> numbers
---@return table<luapilot.TriggerNode, luapilot.TriggerNode[]> groups    once for each place in a group
function trigger.leaves(node)
  local leaves, numbers, groups, count = {}, {}, {}, 0
  local function walk(n)
    if numbers[n] then return end
    count = count + 1
    numbers[n] = count
    if not (n.parts and n.parts[1]) then -- a group without parts is a mistake, told elsewhere
      leaves[#leaves + 1] = n
      return
    end
    for _, part in ipairs(n.parts) do
      local list = groups[part] or {}
      groups[part], list[#list + 1] = list, n
      walk(part)
    end
  end
  walk(node)
  return leaves, numbers, groups
end

-- Most jobs start with the pilot. Their triggers are two: one that has not fired, and one that has.
local STARTUP_LEAVES, STARTUP_NUMBERS = trigger.leaves(trigger.STARTUP)
constant.of(STARTUP_LEAVES)
constant.of(STARTUP_NUMBERS)

local function at_startup(fired, leaves)
  return constant.of {
    node = trigger.STARTUP, leaves = STARTUP_LEAVES, numbers = STARTUP_NUMBERS, groups = constant.NONE,
    memory = constant.of { fired = fired, gave_up = false, leaves = leaves, groups = constant.NONE },
  }
end

local BEFORE, AFTER = at_startup(0, constant.NONE), at_startup(1, constant.of { true })

---@param node luapilot.TriggerNode
---@return table trigger
function trigger.new(node)
  if node == trigger.STARTUP then return BEFORE end
  local leaves, numbers, groups = trigger.leaves(node)
  return {
    node = node, leaves = leaves, numbers = numbers, groups = groups, sum = node.parts and trigger.sum() or nil,
    memory = { fired = 0, gave_up = false, leaves = {}, groups = constant.NONE },
  }
end

-- --- what has come ---------------------------------------------------------------------------

---Nothing yet.
---@return luapilot.TriggerSum
function trigger.sum() return { done = {}, missing = {} } end

---A node is satisfied, and with it perhaps groups that it is a part of: each place of it is counted once, however many
---parts a group has. True when the whole is satisfied.
---@param self table
---@param sum luapilot.TriggerSum
---@param node luapilot.TriggerNode
---@return boolean
function trigger.add(self, sum, node)
  if not sum.done[node] then
    sum.done[node] = true
    for _, group in ipairs(self.groups[node] or constant.NONE) do
      local missing = sum.missing[group] or group.kind == "all" and #group.parts or 1
      sum.missing[group] = missing - 1
      if missing == 1 then trigger.add(self, sum, group) end
    end
  end
  return sum.done[self.node] == true
end

---Has everything that `node` waits for happened?
---@param self table
---@param node luapilot.TriggerNode
---@return boolean
function trigger.satisfied(self, node)
  if node.parts then return self.sum.done[node] == true end
  return self.memory.leaves[self.numbers[node]] == true
end

-- Does a group fire because a part of it does?
local function group_fires(self, group, repeats)
  if group.kind == "all" then return trigger.satisfied(self, group) end
  if repeats then return true end
  local memory, number = self.memory, self.numbers[group]
  if memory.groups[number] then return false end
  if memory.groups == constant.NONE then memory.groups = {} end
  memory.groups[number] = true
  return true
end

-- Does the whole fire because a node does? Each group is asked once, whichever of its parts fire.
local function rises(self, node, repeats, asked)
  if node == self.node then return true end
  local fires = false
  for _, group in ipairs(self.groups[node]) do
    if not asked[group] then
      asked[group] = true
      fires = group_fires(self, group, repeats) and rises(self, group, repeats, asked) or fires
    end
  end
  return fires
end

---A leaf has happened. True when the whole trigger fires with it.
---@param self table
---@param leaf luapilot.TriggerNode
---@return boolean
---@return table? trigger    what takes its place, where it is one that many jobs have in common
function trigger.hear(self, leaf)
  local memory, number, repeats = self.memory, self.numbers[leaf], REPEATS[leaf.kind]
  if self == BEFORE then return true, AFTER end
  if memory.gave_up then return false end
  if memory.leaves[number] and not repeats then return false end
  memory.leaves[number] = true
  if self.sum then
    trigger.add(self, self.sum, leaf)
    if not rises(self, leaf, repeats, {}) then return false end
  end
  memory.fired = memory.fired + 1
  return true
end

---The time of a leaf is over. True when the trigger gives up: the leaf has not happened, and the whole has
---not fired.
---@param self table
---@param leaf luapilot.TriggerNode
---@return boolean
function trigger.expire(self, leaf)
  local memory = self.memory
  if memory.gave_up or memory.leaves[self.numbers[leaf]] or memory.fired > 0 then return false end
  memory.gave_up = true
  return true
end

-- --- what can still come ---------------------------------------------------------------------

-- Can a node fire? With `spent` only by a leaf that repeats: the `once` parts of an `any` above have fired it. One
-- question asks each node once: { trigger, alive, [true] = answers when spent, [false] = answers when not }.
local can = {}

local function node_can(question, node, spent)
  local known = question[spent]
  if known[node] == nil then known[node] = (can[node.kind] or can.leaf)(question, node, spent) end
  return known[node]
end

function can.leaf(question, leaf, spent)
  if not REPEATS[leaf.kind] and (spent or trigger.satisfied(question.trigger, leaf)) then return false end
  if leaf.topic then return question.alive(leaf.topic, leaf.event) end
  return leaf.kind ~= "manual"
end

-- What is missing must still come, and one part must be able to be the last.
function can.all(question, node, spent)
  local last = false
  for _, part in ipairs(node.parts) do
    if not trigger.satisfied(question.trigger, part) and not node_can(question, part, false) then return false end
    last = last or node_can(question, part, spent)
  end
  return last
end

-- One part is enough. The one that was found last is looked at first: of a thousand sources that end one after the
-- other, those that are gone are passed over once and not each time.
function can.any(question, node, spent)
  local self, parts = question.trigger, node.parts
  spent = spent or self.memory.groups[self.numbers[node]] or false
  self.found = self.found or {}
  local from = self.found[node] or 1
  for step = 0, #parts - 1 do
    local i = (from + step - 1) % #parts + 1
    if node_can(question, parts[i], spent) then
      self.found[node] = i
      return true
    end
  end
  return false
end

---Can it still fire, if `alive(topic, event)` tells which sources can still speak?
---@param self table
---@param alive fun(topic: string, event: string): boolean
---@return boolean
function trigger.can_fire(self, alive)
  if self.memory.gave_up then return false end
  return node_can({ trigger = self, alive = alive, [true] = {}, [false] = {} }, self.node, false)
end

local function leaves_by_topic(self)
  local map = {}
  for _, leaf in ipairs(self.leaves) do
    if leaf.topic then
      local list = map[leaf.topic] or {}
      map[leaf.topic], list[#list + 1] = list, leaf
    end
  end
  return map
end

---May it be unable to fire because a source will not speak any more? Not when all that was to be heard of the source
---has been heard, and counts: that was so before.
---@param self table
---@param topic string
---@return boolean
function trigger.loses(self, topic)
  if not self.node.parts then return true end
  self.by_topic = self.by_topic or leaves_by_topic(self)
  for _, leaf in ipairs(self.by_topic[topic] or constant.NONE) do
    if REPEATS[leaf.kind] or not trigger.satisfied(self, leaf) then return true end
  end
  return false
end

-- --- topics, and what survives ---------------------------------------------------------------

---The topics that the trigger listens to.
---@param node luapilot.TriggerNode
---@return string[]
function trigger.topics(node)
  if node == trigger.STARTUP then return constant.NONE end
  local topics = {}
  for _, leaf in ipairs(trigger.leaves(node)) do topics[#topics + 1] = leaf.topic end
  return topics
end

---@param self table
---@return table
function trigger.snapshot(self)
  local memory = self.memory
  local data = { fired = memory.fired, gave_up = memory.gave_up, leaves = {}, groups = {} }
  for number in pairs(memory.leaves) do data.leaves[#data.leaves + 1] = number end
  for number in pairs(memory.groups) do data.groups[#data.groups + 1] = number end
  table.sort(data.leaves)
  table.sort(data.groups)
  return data
end

---@param self table
---@param data table    of snapshot()
---@return table trigger
function trigger.restore(self, data)
  if self == BEFORE then return data.fired > 0 and AFTER or BEFORE end
  local memory = { fired = data.fired, gave_up = data.gave_up, leaves = {}, groups = {} }
  for _, number in ipairs(data.leaves) do memory.leaves[number] = true end
  for _, number in ipairs(data.groups) do memory.groups[number] = true end
  self.memory = memory
  if not self.sum then return self end
  self.sum = trigger.sum()
  for _, leaf in ipairs(self.leaves) do
    if memory.leaves[self.numbers[leaf]] then trigger.add(self, self.sum, leaf) end
  end
  return self
end

return trigger
