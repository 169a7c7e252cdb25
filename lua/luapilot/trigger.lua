-- trigger: when a job starts. Pure: leaves fire, the tree says whether the whole fires.
--
--   leaf    once EVENT | each EVENT | every INTERVAL | cron | function | startup | manual
--   node    all { … } | any { … }
--
-- `once` fires a single time; `each`, `every`, `cron` again and again. `all` fires when every part has
-- fired, and again whenever a repeating part does; the `once` parts of an `any` fire it a single time
-- between them.
--
-- It owns which leaves have fired (plain data: fired triggers survive a reload). It never subscribes,
-- keeps no time and starts nothing: see starter.lua.

local constant = require "luapilot.constant"

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
---@field parts luapilot.TriggerNode[]?
---@field interval number?
---@field schedule table?    of cron
---@field jitter number?
---@field fn function?

---@class luapilot.TriggerMemory
---@field fired integer               how often the whole fired
---@field gave_up boolean
---@field leaves table<integer, boolean>   which have fired, by number
---@field groups table<integer, boolean>   `any` nodes whose once parts have fired, by number

---The leaves in the order in which they are written, and every node numbered in `numbers`. A node that is written
---down twice counts once.
---@param node luapilot.TriggerNode
---@return luapilot.TriggerNode[] leaves
---@return table<luapilot.TriggerNode, integer> numbers
function trigger.leaves(node)
  local leaves, numbers, count = {}, {}, 0
  local function walk(n)
    if numbers[n] then return end
    count = count + 1
    numbers[n] = count
    if n.parts then
      for _, part in ipairs(n.parts) do walk(part) end
    else
      leaves[#leaves + 1] = n
    end
  end
  walk(node)
  return leaves, numbers
end

local STARTUP_LEAVES, STARTUP_NUMBERS = trigger.leaves(trigger.STARTUP)
constant.of(STARTUP_LEAVES)
constant.of(STARTUP_NUMBERS)

---@param node luapilot.TriggerNode
---@return table trigger
function trigger.new(node)
  local leaves, numbers = STARTUP_LEAVES, STARTUP_NUMBERS
  if node ~= trigger.STARTUP then leaves, numbers = trigger.leaves(node) end
  return {
    node = node, leaves = leaves, numbers = numbers,
    memory = { fired = 0, gave_up = false, leaves = {}, groups = constant.NONE },
  }
end

-- Does `node` fire because `leaf` did?
local function fires(self, node, leaf)
  local memory = self.memory
  if node == leaf then return true end
  for _, part in ipairs(node.parts or {}) do
    if fires(self, part, leaf) then
      if node.kind == "all" then return trigger.satisfied(self, node) end
      local number = self.numbers[node]
      if REPEATS[leaf.kind] then return true end
      if memory.groups[number] then return false end
      if memory.groups == constant.NONE then memory.groups = {} end
      memory.groups[number] = true
      return true
    end
  end
  return false
end

---Has everything that `node` waits for happened?
---@param self table
---@param node luapilot.TriggerNode
---@return boolean
function trigger.satisfied(self, node)
  if not node.parts then return self.memory.leaves[self.numbers[node]] == true end
  for _, part in ipairs(node.parts) do
    local is = trigger.satisfied(self, part)
    if node.kind == "any" and is then return true end
    if node.kind == "all" and not is then return false end
  end
  return node.kind == "all"
end

---A leaf has happened. True when the whole trigger fires with it.
---@param self table
---@param leaf luapilot.TriggerNode
---@return boolean
function trigger.hear(self, leaf)
  local memory, number = self.memory, self.numbers[leaf]
  if memory.gave_up then return false end
  if memory.leaves[number] and not REPEATS[leaf.kind] then return false end
  memory.leaves[number] = true
  if not fires(self, self.node, leaf) then return false end
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

-- Can `node` fire? With `spent` only by a leaf that repeats: the `once` parts of an `any` above have fired it.
local can = {}

local function node_can(self, node, alive, spent)
  return (can[node.kind] or can.leaf)(self, node, alive, spent)
end

function can.leaf(self, leaf, alive, spent)
  if not REPEATS[leaf.kind] and (spent or self.memory.leaves[self.numbers[leaf]]) then return false end
  if leaf.topic then return alive(leaf.topic, leaf.event) end
  return leaf.kind ~= "manual"
end

-- What is missing must still come, and one part must be able to be the last.
function can.all(self, node, alive, spent)
  local last = false
  for _, part in ipairs(node.parts) do
    if not trigger.satisfied(self, part) and not node_can(self, part, alive, false) then return false end
    last = last or node_can(self, part, alive, spent)
  end
  return last
end

function can.any(self, node, alive, spent)
  spent = spent or self.memory.groups[self.numbers[node]] or false
  for _, part in ipairs(node.parts) do
    if node_can(self, part, alive, spent) then return true end
  end
  return false
end

---Can it still fire, if `alive(topic, event)` tells which sources can still speak?
---@param self table
---@param alive fun(topic: string, event: string): boolean
---@return boolean
function trigger.can_fire(self, alive)
  return not self.memory.gave_up and node_can(self, self.node, alive, false)
end

---Could the trigger ever fire if only the jobs in `startable` ever start? For finding cycles at load.
---@param node luapilot.TriggerNode
---@param startable fun(topic: string): boolean
---@return boolean
function trigger.possible(node, startable)
  if node.topic then return startable(node.topic) end
  if not node.parts then return true end
  for _, part in ipairs(node.parts) do
    local is = trigger.possible(part, startable)
    if node.kind == "any" and is then return true end
    if node.kind == "all" and not is then return false end
  end
  return node.kind == "all"
end

---The topics that the trigger listens to.
---@param node luapilot.TriggerNode
---@return string[]
function trigger.topics(node)
  if node == trigger.STARTUP then return constant.NONE end
  local topics = {}
  for _, leaf in ipairs(trigger.leaves(node)) do topics[#topics + 1] = leaf.topic end
  return topics
end

---A node in the words of the API, for messages and `luapilot graph`.
---@param node luapilot.TriggerNode
---@param duration fun(seconds: number): string
---@return string
function trigger.describe(node, duration)
  if node.topic then
    return ("%s:%s %q"):format((node.topic:gsub("^%l+:", "")), node.kind, node.event)
  elseif node.kind == "every" then
    return ("every %s"):format(duration(node.interval))
  elseif node.kind == "cron" then
    return ("cron %q"):format(node.text)
  elseif node.parts then
    local parts = {}
    for i, part in ipairs(node.parts) do parts[i] = trigger.describe(part, duration) end
    return node.kind .. " { " .. table.concat(parts, ", ") .. " }"
  end
  return node.kind
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
function trigger.restore(self, data)
  local memory = { fired = data.fired, gave_up = data.gave_up, leaves = {}, groups = {} }
  for _, number in ipairs(data.leaves) do memory.leaves[number] = true end
  for _, number in ipairs(data.groups) do memory.groups[number] = true end
  self.memory = memory
end

return trigger
