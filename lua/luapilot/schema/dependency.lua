-- The type of `depends_on`: what a job needs before each of its starts.
--
--   { db, "cache" }              names or jobs: healthy where there are checks, else running
--   { db = "healthy", … }        a name and its state; both may stand in one table
--
-- Owns how that is written. Whether there are such jobs, and whether they can ever be so, is asked when all of the file
-- was read: script/dependency_check.lua.

local describe = require "luapilot.base.describe"
local schema = require "luapilot.schema.schema"

local M = {}

local WHAT = 'a list such as { "db" }, or a table such as { db = "healthy", migrate = "exit_success" }'
local JOB = 'the name of a job such as "db", or the job'

---@class luapilot.DependencySpec
---@field name string
---@field state "running"|"healthy"|"exit_success"|nil    nil: healthy where there are checks, else running
---@field path string       "[1]", ".db"

local one_state = schema.one_of { "running", "healthy", "exit_success" }
local MEANT = { -- of other tools
  service_started = "running", service_healthy = "healthy", service_completed_successfully = "exit_success",
  started = "running", ready = "healthy", completed = "exit_success", exited = "exit_success", success = "exit_success",
}

local function state_of(value, path, report)
  local meant = MEANT[value]
  if not meant then return one_state(value, path, report) end
  return schema.expected(path, report, '"running", "healthy" or "exit_success"', value,
    ("did you mean %s?"):format(describe.quote(meant)))
end

-- The name that a name, or the object of a job, stands for.
local function name_of(value)
  if type(value) == "string" then return value end
  local meta = type(value) == "table" and getmetatable(value)
  local is_job = type(meta) == "table" and rawget(meta, "__name") == "job"
  return is_job and schema.field(value, "name") or nil
end

local function item(key, value, path, report)
  if type(key) ~= "number" then
    local name = name_of(key)
    if name then return { name = name, state = state_of(value, path, report) } end
    return schema.expected(path, report, JOB .. " as the key", key)
  end
  local name = name_of(value)
  if name then return { name = name } end
  return schema.expected(path, report, JOB, value)
end

---@type luapilot.Type
function M.depends_on(value, path, report)
  if not schema.is_table(value) then
    local name = name_of(value)
    local advice = name and ("write depends_on = { %s }"):format(describe.quote(name))
    return schema.expected(path, report, WHAT, value, advice)
  end
  local list, seen = {}, {}
  for _, key in ipairs(schema.keys(value)) do
    local here = schema.join("", type(key) == "number" and key or name_of(key) or key)
    local below = here:sub(1, 1) == "[" and here or "." .. here
    local one = item(key, value[key], path .. below, report)
    if one and seen[one.name] then
      report(path .. below, ("job %s is named twice: leave one of them out"):format(describe.quote(one.name)))
    elseif one then
      one.path, seen[one.name], list[#list + 1] = below, true, one
    end
  end
  return list
end

return M
