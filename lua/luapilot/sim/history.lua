-- history: what happened in a box, as text for the eyes of whoever has to find out why a spec failed.
--
-- Two runs with the same seed have the same history. Pure: moments in, text out.

local schema = require "luapilot.schema.schema"

local history = {}

local function show(value)
  if type(value) == "string" then return value:find "%s" and ("%q"):format(value) or value end
  return tostring(value)
end

local function show_fields(fields)
  local parts = {}
  for _, key in ipairs(schema.keys(fields)) do
    local value = fields[key]
    if type(value) ~= "table" and type(value) ~= "function" then
      parts[#parts + 1] = (" %s=%s"):format(tostring(key), show(value))
    end
  end
  return table.concat(parts)
end

local HIDDEN = { name = true, source = true, topic = true, at = true, ticket = true }

local function visible(event)
  local fields = {}
  for key, value in pairs(event) do
    if not HIDDEN[key] then fields[key] = value end
  end
  return fields
end

local tell = {}

function tell.log(m) return ("log     %s: %s%s"):format(m.level, m.message, show_fields(m.fields)) end
function tell.line(m) return ("output  %s: %s"):format(m.job, m.line) end
function tell.event(m) return ("event   %s %s%s"):format(m.source, m.name, show_fields(visible(m.event))) end

function tell.spawn(m)
  local what = table.concat(m.argv, " ")
  if m.code then return ("spawn   %s: %s (%s)"):format(what, m.code, m.stage) end
  return ("spawn   %s (pid %d)"):format(what, m.child.group.id)
end

function tell.hang(m) return ("spawn   %s: hangs"):format(table.concat(m.argv, " ")) end

function tell.exit(m)
  return ("exit    pid %d: %s"):format(m.child.group.leader.pid, m.signal or "code " .. m.code)
end

function tell.main(m) return ("main    pid %d follows"):format(m.pid) end

function tell.signal(m)
  return ("signal  %s to the %s of pid %d"):format(m.signal, m.target, m.child.group.leader.pid)
end

function tell.request(m) return ("http    %s %s"):format(m.request.method, m.request.url) end

function tell.consul(m) return ("consul  %s %s"):format(m.request.method, m.request.path) end

function tell.complaint(m) return "error   " .. m.message end
function tell.pause(m) return m.text and "paused  for " .. m.text or "paused  no longer" end
function tell.fault(m) return "fault   " .. m.message end

---@param name string           of the box
---@param moments table[]       { kind, at, … }, in order
---@param seed integer
---@param most integer?         lines: the last ones
---@return string
function history.format(name, moments, seed, most)
  local lines = { ("--- %s (seed %d)"):format(name, seed) }
  local first = math.max(1, #moments + 1 - (most or math.huge))
  if first > 1 then lines[2] = ("              (%d earlier lines)"):format(first - 1) end
  for i = first, #moments do
    lines[#lines + 1] = ("%12.6f  %s"):format(moments[i].at, tell[moments[i].kind](moments[i]))
  end
  return table.concat(lines, "\n")
end

return history
