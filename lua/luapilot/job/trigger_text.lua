-- trigger_text: a trigger as a text: in words, for people, and exactly, for a handoff. Pure. Loaded when it is needed.
--
-- Words may be the same for two triggers (a job and a template of one name, 1 s and 1.0001 s); what is the same exactly
-- waits for the same. Functions are all alike: none of a former core can be compared. Options are no part of either.
--
-- It owns nothing.

local trigger_text = {}

-- A node, with leaf(one) for each leaf. What stands in several places is said once.
local function text_of(node, leaf)
  local texts, said, count = {}, {}, 0
  local function add(text) texts[#texts + 1] = text end
  local function walk(one)
    if said[one] then return add(("part %d again"):format(said[one])) end
    said[one], count = count, count + 1
    if not one.parts then return add(leaf(one)) end
    for i, part in ipairs(one.parts) do
      add(i == 1 and one.kind .. " { " or ", ")
      walk(part)
    end
    add " }"
  end
  walk(node)
  return table.concat(texts)
end

---A node in the words of the API.
---@param node luapilot.TriggerNode
---@param duration fun(seconds: number): string
---@return string
function trigger_text.describe(node, duration)
  return text_of(node, function(leaf)
    if leaf.topic then return ("%s:%s %q"):format((leaf.topic:gsub("^%l+:", "")), leaf.kind, leaf.event) end
    if leaf.kind == "every" then return "every " .. duration(leaf.interval) end
    if leaf.kind == "cron" then return ("cron %q"):format(leaf.text) end
    return leaf.kind
  end)
end

---What a node waits for: two triggers have the same exactly if they wait for the same.
---@param node luapilot.TriggerNode
---@return string
function trigger_text.identity(node)
  return text_of(node, function(leaf)
    if leaf.topic then return ("%s %q %q"):format(leaf.kind, leaf.topic, leaf.event) end
    if leaf.kind == "every" then return ("every %.17g"):format(leaf.interval) end
    if leaf.kind == "cron" then return ("cron %q"):format(leaf.text) end
    return leaf.kind
  end)
end

return trigger_text
