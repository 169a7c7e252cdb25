-- groups: pilot.all and pilot.any, triggers made of triggers.
--
-- It owns how deep they may be nested. init.lua lends these functions to a file when the first is called.

local arguments = require "luapilot.schema.arguments"
local describe = require "luapilot.base.describe"

---@class luapilot.Pilot
local api = {} -- name → function(app, …)

local DEEPEST = 100 -- groups of triggers inside of each other: walks through them are recursive

-- Puts a part into a group; false: that would be too deep.
local function add_part(node, part)
  local depth = math.max(node.depth, 1 + (part.depth or 0))
  if depth > DEEPEST then return false end
  node.depth, node.parts[#node.parts + 1] = depth, part
  return true
end

local function group(app, kind, parts)
  local node = arguments.node { kind = kind, parts = {}, depth = 1 }
  local what = ("pilot.%s"):format(kind)
  if type(parts) ~= "table" or arguments.is_trigger(parts) or #parts == 0 then
    arguments.fail(app, what, "expected a list of triggers such as { db:once \"healthy\", setup:once \"exit_success\" }"
      .. ", got " .. (arguments.is_trigger(parts) and "one trigger" or describe.value(parts)))
    return node
  end
  for i, part in ipairs(parts) do
    if not arguments.is_trigger(part) or part.kind == "manual" or part.kind == "function" then
      arguments.fail(app, ("%s[%d]"):format(what, i), "expected a trigger such as db:once \"healthy\", got "
        .. describe.value(part))
    elseif not add_part(node, part) then
      arguments.fail(app, ("%s[%d]"):format(what, i),
        ("is nested more than %d deep: expected triggers that were collected in one list, and then %s(list)")
          :format(DEEPEST, what))
    end
  end
  return node
end

function api.all(app, parts) return group(app, "all", parts) end
function api.any(app, parts) return group(app, "any", parts) end

return api
