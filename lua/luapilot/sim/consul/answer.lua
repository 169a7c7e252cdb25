-- answer: what an endpoint says. Owns nothing.

local answer = {}

---@class luapilot.sim.consul.Answer
---@field status integer
---@field value any              written as JSON
---@field text string?           instead
---@field index integer|string|nil   of a read: X-Consul-Index
---@field topics (fun(): string[])?  what a blocking query waits for
---@field headers table<string, string>?

---@param value any
---@param status integer?
---@return luapilot.sim.consul.Answer
function answer.json(value, status) return { status = status or 200, value = value } end

---@param status integer
---@param text string
---@return luapilot.sim.consul.Answer
function answer.text(status, text) return { status = status, text = text } end

---Without a word.
---@param status integer?
---@return luapilot.sim.consul.Answer
function answer.empty(status) return { status = status or 200, text = "" } end

---@param text string
---@return luapilot.sim.consul.Answer
function answer.bad(text) return answer.text(400, text) end

---@param text string
---@return luapilot.sim.consul.Answer
function answer.failed(text) return answer.text(500, text) end

---@return luapilot.sim.consul.Answer
function answer.denied() return answer.text(403, "Permission denied") end

---A read that can be waited for.
---@param one luapilot.sim.consul.Answer
---@param index integer|string
---@param topics string[]|fun(): string[]
---@return luapilot.sim.consul.Answer
function answer.read(one, index, topics)
  one.index = index == 0 and 1 or index
  one.topics = type(topics) == "function" and topics or function() return topics end
  return one
end

return answer
