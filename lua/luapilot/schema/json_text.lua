-- json_text: text that goes to Consul as JSON, and comes back as it was.
--
-- JSON is UTF-8. Consul's decoder puts U+FFFD where other bytes stand and says nothing, so Consul would hold another
-- text than the file has. Such bytes are a mistake where they stand. It owns this rule; bytes of the user's that may be
-- anything (values of keys, payloads) go as base64, or outside of JSON.

local schema = require "luapilot.schema.schema"
local utf8 = require "luapilot.base.utf8"

local json_text = {}

---What is wrong with a text, in words that lead out; nil: nothing.
---@param text string
---@return string?
function json_text.fault(text)
  local at = utf8.fault(text)
  if not at then return nil end
  return ("is not UTF-8: its byte %d is \\%d, and Consul would hold another text; write it in UTF-8"):format(at,
    text:byte(at))
end

local function checked(text, path, report)
  local message = json_text.fault(text)
  if message then return report(path, message) end
  return text
end

---A string that is not empty, in UTF-8.
---@type luapilot.Type
function json_text.text(value, path, report)
  local text = schema.text(value, path, report)
  return text and checked(text, path, report)
end

---A string, perhaps an empty one, in UTF-8.
---@type luapilot.Type
function json_text.any(value, path, report)
  if type(value) ~= "string" then return schema.expected(path, report, "a string", value) end
  return checked(value, path, report)
end

---Reports each string below a value, also a key, that is not UTF-8.
---@param value any
---@param path string
---@param report luapilot.Report
function json_text.look(value, path, report)
  if type(value) == "string" then checked(value, path, report) end
  if type(value) ~= "table" then return end
  for _, key in ipairs(schema.keys(value)) do
    local here = schema.join(path, key)
    if type(key) == "string" then checked(key, here, report) end
    json_text.look(value[key], here, report)
  end
end

return json_text
