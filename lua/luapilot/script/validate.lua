-- validate: runs the top level of a pilot.lua and looks at what it declared as a whole.
--
-- Single fields are schema/job.lua's; here is what only the whole shows: a job that nobody completed, a trigger that
-- can never fire, a cycle, a file that declares nothing. It adds to the mistakes and never starts anything.

local constant = require "luapilot.base.constant"
local lazy = require "luapilot.base.lazy"
local trigger = require "luapilot.job.trigger"

local job_calls = lazy.require "luapilot.script.job_calls"
local cycles = lazy.require "luapilot.script.cycles"
local references = lazy.require "luapilot.script.references"
local dependency_check = lazy.require "luapilot.script.dependency_check"
local paths = lazy.require "luapilot.schema.paths"
local load_error = lazy.require "luapilot.script.load_error"
local conflicts = lazy.require "luapilot.script.conflicts"
local shutdown_signals = lazy.require "luapilot.api.shutdown_signals"
local template_api = lazy.require "luapilot.api.template"
local watch_api = lazy.require "luapilot.api.watch"

local validate = {}

---Runs the main chunk. What it raises is the last mistake of this run.
---@param app luapilot.App
---@param chunk function
function validate.run(app, chunk)
  local ok, err = app.tasks:run_alone(chunk)
  if not ok then
    app.raised = load_error.tell(app, err)
  end
end

-- --- jobs ------------------------------------------------------------------------------------

-- Only who waits for something can wait in a circle.
local function check_cycles(app)
  for _, runner in ipairs(app.order) do
    if runner.starter.trigger.node ~= trigger.STARTUP or runner.spec.depends_on then return cycles.check(app) end
  end
end

-- What reads a file token by token is loaded where the words are there at all.
local function may_have(source, word, pattern)
  return source:find(word, 1, true) ~= nil and source:find(pattern) ~= nil
end

-- `app:reload()` in a handler would raise when it is called, perhaps at night.
local function reloads(app)
  for path, source in pairs(app.loader.sources) do
    if may_have(source, "reload", ":%s*reload") then references.reloads(app, path, source) end
  end
end

local function share(app)
  for _, runner in ipairs(app.order) do
    if runner.spec.service or runner.spec.stdin == "inherit" then return conflicts.check(app) end
  end
end

-- --- files from templates --------------------------------------------------------------------

---The paths that this file renders, as far as it shows: templates, and what stands as to = "…". A pilot that was killed
---may have left something there to be put back.
---@param app luapilot.App
---@return string[]
function validate.rendered_files(app)
  local found, seen = {}, {}
  local function add(path)
    if not seen[path] then found[#found + 1] = path end
    seen[path] = true
  end
  if next(app.templates) then
    for _, path in ipairs(template_api.paths(app)) do add(path) end
  end
  for _, source in pairs(app.loader.sources) do
    local list = may_have(source, "to", "to%s*=%s*[\"'[]") and job_calls.fields(source, "to")
    for _, path in ipairs(list or constant.NONE) do add(paths.absolute(path)) end
  end
  table.sort(found)
  return found
end

-- --- the file --------------------------------------------------------------------------------

local function declares_something(app)
  return app.named > 0 or next(app.holders) ~= nil or app.tasks.count > 0
    or app.bus:count(function() return true end) > 0
end

---@param app luapilot.App
---@param path string
function validate.declarations(app, path)
  if next(app.undescribed) and not app.raised then references.undescribed(app) end
  for _, runner in ipairs(app.order) do
    for _, leaf in ipairs(runner.starter.trigger.leaves) do
      if leaf.topic then references.event(app, runner, leaf) end
    end
    if runner.spec.log.mode ~= "lines" and app.bus:has(runner.topic, "output") then references.output(app, runner) end
    if runner.spec.depends_on or runner.spec.bind then dependency_check.check(app, runner) end
  end
  if not app.raised then
    if app.enders then shutdown_signals.check(app) end
    if next(app.template_objects) then template_api.check(app) end
    if next(app.watch_drafts) or next(app.watches) then watch_api.check(app) end
    share(app)
    if next(app.watches) and not app.consul and app.mistakes:count() == 0 then watch_api.check_names(app) end
  end
  if not app.raised then
    check_cycles(app)
    reloads(app)
  end
  if not app.raised and app.mistakes:count() == 0 and not declares_something(app) then
    app.mistakes:add(path, nil, 'declares nothing: no job, no timer, no handler; start with '
      .. 'local pilot = require "luapilot" and pilot.job "app" { exec = { "program" } }')
  end
end

return validate
