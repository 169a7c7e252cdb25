-- job_calls: which methods of which jobs a source calls, as far as its text shows.
--
--   local nginx = pilot.job "nginx" { … }     nginx is job "nginx", if nothing else of the file has that name
--   … nginx:reload()                          a call
--
-- It finds what is certain and is silent about the rest: a name that is bound twice, a parameter, a job out
-- of a table, a comment in the middle of it. Pure; it never runs the source.

local lazy = require "luapilot.base.lazy"

local lexer = lazy.require "luapilot.base.lexer"

local job_calls = {}

---@class luapilot.JobCall
---@field job string      the job's name
---@field name string     the local's
---@field line integer

local function is_name(token, text)
  return token ~= nil and token.kind == "name" and (not text or token.text == text)
end

local function is_op(token, text) return token ~= nil and token.text == text and token.kind ~= "string" end

-- local NAME = pilot . job "literal"
local function declared_job(tokens, i)
  local fits = is_name(tokens[i + 1]) and is_op(tokens[i + 2], "=") and is_name(tokens[i + 3])
    and is_op(tokens[i + 4], ".") and is_name(tokens[i + 5], "job") and tokens[i + 6] ~= nil
  return fits and tokens[i + 6].kind == "string" and tokens[i + 6].value or nil
end

-- Every way in which a name may come to mean something: declared, assigned, a parameter, a variable of a
-- loop, a field. After a comma it may be one of these or not: it counts.
local function bindings(tokens)
  local count, heading, listing = {}, false, false -- between `function` and "(", between that and ")"
  for i, token in ipairs(tokens) do
    local before, after = tokens[i - 1], tokens[i + 1]
    if is_op(token, "function") then heading = true end
    if heading and is_op(token, "(") then heading, listing = false, true end
    if is_op(token, ")") then listing = false end
    local begins = is_op(before, "local") or is_op(before, "for") or is_op(before, "function")
    local listed = is_op(before, ",") and not is_op(after, ":") and not is_op(after, ".")
    if is_name(token) and (listing or begins or listed or is_op(after, "=")) then
      count[token.text] = (count[token.text] or 0) + 1
    end
  end
  return count
end

---The calls of a method on jobs that have a local of their own.
---@param source string
---@param method string
---@return luapilot.JobCall[]
function job_calls.on_jobs(source, method)
  -- To read a long file token by token is dear: only where the words are there at all.
  if not (source:find(method, 1, true) and source:find(":%s*" .. method)) then return {} end
  local tokens, jobs, found = lexer.tokens(source), {}, {}
  local count = bindings(tokens)
  for i, token in ipairs(tokens) do
    local job = is_op(token, "local") and declared_job(tokens, i)
    if job and count[tokens[i + 1].text] == 1 then jobs[tokens[i + 1].text] = job end
    local known = is_name(token) and jobs[token.text]
    local called = known and is_op(tokens[i + 1], ":") and is_name(tokens[i + 2], method)
    if called and not is_op(tokens[i - 1], ".") then
      found[#found + 1] = { job = jobs[token.text], name = token.text, line = token.line }
    end
  end
  return found
end

---The strings that a source gives to a field of this name: to = "/etc/app.conf".
---@param source string
---@param field string
---@return string[]
function job_calls.fields(source, field)
  if not (source:find(field, 1, true) and source:find(field .. "%s*=%s*[\"'[]")) then return {} end
  local tokens, found = lexer.tokens(source), {}
  for i, token in ipairs(tokens) do
    local value, after = tokens[i + 2], tokens[i + 3]
    local whole = is_name(token, field) and is_op(tokens[i + 1], "=") and value and value.kind == "string"
      and (is_op(after, ",") or is_op(after, ";") or is_op(after, "}"))
    if whole then found[#found + 1] = value.value end
  end
  return found
end

return job_calls
