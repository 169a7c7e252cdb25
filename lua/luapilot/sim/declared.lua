-- declared: which line of a pilot.lua uses a program, a URL, an address or a file: for messages about what nobody
-- described. Reads the declarations of the core; owns nothing.

local paths = require "luapilot.schema.paths"
local url = require "luapilot.base.url"

local declared = {}

local function same_words(a, b)
  if type(a) ~= "table" or #a ~= #b then return false end
  for i, word in ipairs(a) do
    if b[i] ~= word then return false end
  end
  return true
end

local uses = {} -- by what is used: does this check, or this job or template, use it?

local function is_program(words, argv, cwd) return words ~= nil and same_words(paths.argv(words, cwd), argv) end

function uses.program(spec, argv) return is_program(spec.exec, argv, spec.cwd) or is_program(spec.validate, argv) end
function uses.url(spec, text) return spec.http ~= nil and url.format(spec.http.url) == text end
function uses.address(spec, address) return spec.tcp == address end
function uses.file(spec, path) return spec.source == path or spec.env_file == path end

local function in_job(spec, kind, value)
  if uses[kind](spec, value) then return spec.where end
  for _, check in ipairs(spec.health or {}) do
    if uses[kind](check, value) then return spec.where end
  end
end

---@param app luapilot.App
---@param kind "program"|"url"|"address"|"file"
---@param value any
---@return string? where      "pilot.lua:12"
function declared.where(app, kind, value)
  local where = app.tasks.current and app:where() -- a call in a task: its own line
  if where then return where end
  for _, runner in ipairs(app.order) do
    where = in_job(runner.spec, kind, value)
    if where then return where end
  end
  for _, keeper in pairs(app.templates) do
    if uses[kind](keeper.spec, value) then return keeper.where end
  end
end

return declared
