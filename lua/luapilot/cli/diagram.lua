-- diagram: a loaded pilot.lua as nodes and edges, before anybody draws them.
--
--   job      a box: its name, and what it says about main, restart, checks and services
--   source   what starts jobs and is none: start-up, an event of the pilot, a watch, a template, a timer, cron, a
--            function, job:start()
--   group    pilot.all and pilot.any
--
-- An edge goes from what happens to what it starts, and says which event, how often, and the options; a dashed one from
-- what a job depends on to that job. Pure.

local dependencies = require "luapilot.job.dependencies"
local duration = require "luapilot.base.duration"
local shutdown = require "luapilot.cli.shutdown"

local diagram = {}

---@class luapilot.DiagramNode
---@field id string             letters, digits and "_", unique
---@field kind "job"|"source"|"group"
---@field lines string[]
---@field main boolean?

---@class luapilot.DiagramEdge
---@field from string
---@field to string
---@field label string?
---@field dashed boolean?       starts nothing by itself: job:start() of Lua code, or what a start waits for

---@class luapilot.Diagram
---@field nodes luapilot.DiagramNode[]
---@field edges luapilot.DiagramEdge[]
---@field footer string

-- --- jobs ------------------------------------------------------------------------------------

local function restart_text(policy)
  if policy.count then return policy.count > 0 and ("restart %d×"):format(policy.count) or nil end
  if policy.policy == "never" then return nil end
  return "restart " .. policy.policy:gsub("_", " ")
end

local function checks_text(checks)
  local kinds, seen = {}, {}
  for _, check in ipairs(checks) do
    if not seen[check.kind] then kinds[#kinds + 1] = check.kind end
    seen[check.kind] = true
  end
  return #kinds > 0 and "health: " .. table.concat(kinds, ", ") or nil
end

local function services_text(services, job)
  local names, seen = {}, {}
  for _, service in ipairs(services or {}) do
    local name = service.name or job
    if not seen[name] then names[#names + 1] = name end
    seen[name] = true
  end
  return #names > 0 and (#names > 1 and "services: " or "service: ") .. table.concat(names, ", ") or nil
end

local function job_node(runner)
  local spec = runner.spec
  local lines = { spec.name }
  lines[#lines + 1] = spec.main and "main" or nil
  lines[#lines + 1] = restart_text(spec.restart)
  lines[#lines + 1] = checks_text(spec.health)
  lines[#lines + 1] = services_text(spec.service, spec.name)
  return { id = diagram.job_id(spec.name), kind = "job", lines = lines, main = spec.main }
end

---Names have no "_", so no two become one.
---@param name string
---@return string
function diagram.job_id(name) return "job_" .. name:gsub("-", "_") end

-- --- triggers --------------------------------------------------------------------------------

local function options_text(options)
  local parts = {}
  if not options then return parts end
  if options.timeout then parts[#parts + 1] = "within " .. duration.format(options.timeout) end
  if options.settle then parts[#parts + 1] = "settle " .. duration.format(options.settle) end
  if options.when_busy then parts[#parts + 1] = "when busy: " .. options.when_busy end
  return parts
end

-- "once healthy, within 1m"
local function event_label(leaf, event)
  local parts = options_text(leaf.options)
  table.insert(parts, 1, leaf.kind .. (event and " " .. event or ""))
  return table.concat(parts, ", ")
end

local function function_text(fn)
  local info = debug.getinfo(fn, "S")
  return ("function at %s:%d"):format(info.source:gsub("^@", ""), info.linedefined)
end

-- What a leaf without a job comes from: its text, and the label of the edge.
local source_of = {
  startup = function() return "start-up" end,
  manual = function() return "job:start()" end,
  every = function(leaf) return "every " .. duration.format(leaf.interval), "each" end,
  cron = function(leaf)
    local jitter = leaf.jitter or 0
    return "cron " .. leaf.text, jitter > 0 and "each, jitter " .. duration.format(jitter) or "each"
  end,
  ["function"] = function(leaf) return function_text(leaf.fn), "when true" end,
  once = function(leaf, pilot)
    local watch, template = pilot.watches_by_topic[leaf.topic], leaf.topic:match "^template:(.*)$"
    if watch or template then return watch and watch.label or "template " .. template, event_label(leaf, leaf.event) end
    return "pilot: " .. leaf.event, event_label(leaf)
  end,
}
source_of.each = source_of.once

-- --- the whole -------------------------------------------------------------------------------

local Builder = {}
Builder.__index = Builder

function Builder:edge(from, to, label, dashed)
  self.edges[#self.edges + 1] = { from = from, to = to, label = label, dashed = dashed }
end

function Builder:node(kind, text)
  self.counts[kind] = (self.counts[kind] or 0) + 1
  local id = ("%s_%d"):format(kind, self.counts[kind])
  self.nodes[#self.nodes + 1] = { id = id, kind = kind, lines = { text } }
  return id
end

-- One node for each source: a watch, a template or a function by what it is, the clock and the pilot by their text.
function Builder:source(leaf, text)
  local key = leaf.topic ~= "pilot" and leaf.topic or leaf.fn or text
  self.sources[key] = self.sources[key] or self:node("source", text)
  return self.sources[key]
end

-- A group that stands in several places is one node.
function Builder:group(node)
  if self.groups[node] then return self.groups[node] end
  local group = self:node("group", node.kind == "all" and "all of" or "any of")
  self.groups[node] = group
  for _, part in ipairs(node.parts) do self:connect(part, group) end
  return group
end

function Builder:connect(node, to)
  if node.parts then return self:edge(self:group(node), to) end
  local job = node.topic and node.topic:match "^job:(.*)$"
  if job then return self:edge(diagram.job_id(job), to, event_label(node, node.event)) end
  local text, label = source_of[node.kind](node, self.pilot)
  self:edge(self:source(node, text), to, label, node.kind == "manual" or nil)
end

-- What each start of a job waits for.
function Builder:depend(runner)
  local to = diagram.job_id(runner.spec.name)
  for _, one in ipairs(runner.spec.depends_on and dependencies.of(runner) or {}) do
    local bound = runner.spec.bind and one.state ~= "exit_success" and ", bind" or ""
    self:edge(diagram.job_id(one.runner.spec.name), to, ("depends_on: %s%s"):format(one.state, bound), true)
  end
end

---@param pilot luapilot.App     loaded
---@return luapilot.Diagram
function diagram.of(pilot)
  local self = setmetatable({ pilot = pilot, nodes = {}, edges = {}, counts = {}, sources = {}, groups = {} }, Builder)
  for _, runner in ipairs(pilot.order) do self.nodes[#self.nodes + 1] = job_node(runner) end
  for _, runner in ipairs(pilot.order) do
    local node = runner.starter.trigger.node -- at start-up is nothing to see of one that waits for others
    local plain = node.kind == "startup" and dependencies.of(runner)[1]
    if not plain then self:connect(node, diagram.job_id(runner.spec.name)) end
    self:depend(runner)
  end
  return { nodes = self.nodes, edges = self.edges, footer = shutdown.line(shutdown.plan(pilot)) }
end

return diagram
