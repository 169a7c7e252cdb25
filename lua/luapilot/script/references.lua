-- references: what a file says of a job that this job does not keep: it was never described, it never has the event, it
-- has no reload.
--
-- A part of script/validate.lua, for files in which one job is named for another, or in a handler: it adds to the
-- mistakes.

local lazy = require "luapilot.base.lazy"

local job_calls = lazy.require "luapilot.script.job_calls"
local suggest = lazy.require "luapilot.base.suggest"

local references = {}

local HINTS = 20 -- so many names are compared with all others

local function in_order(map)
  local list = {}
  for _, object in pairs(map) do list[#list + 1] = object end
  table.sort(list, function(a, b) return a.number < b.number end)
  return list
end

---Jobs that were named, and never described.
---@param app luapilot.App
function references.undescribed(app)
  local known, hints = {}, 0
  for i, runner in ipairs(app.order) do known[i] = runner.spec.name end
  for _, object in ipairs(in_order(app.undescribed)) do
    local name = object.name
    hints = hints + 1
    local meant = hints <= HINTS and suggest.near(name, known)
    local hint = meant and (" (did you mean %q?)"):format(meant) or ""
    app.mistakes:add(object.where, ("job %q"):format(name),
      ("was named but never described%s: write pilot.job %q { … }, or use the name of a job that exists")
        :format(hint, name))
  end
end

-- Why this event of a job never comes, and what to do; nil: it may come.
local function never(spec, event)
  local name, mode = spec.name, spec.log.mode
  if event == "output" and mode ~= "lines" then
    return ('"output" of job %q, whose log is %q: use "lines"'):format(name, mode)
  end
  local healthless = #spec.health == 0 and not spec.failed
  if healthless and (event == "healthy" or event == "unhealthy") then
    return ("%q of job %q, which has no health check: give it health = { … }"):format(event, name)
  end
end

---A trigger by an event of another job.
---@param app luapilot.App
---@param runner luapilot.Runner
---@param leaf luapilot.TriggerNode
function references.event(app, runner, leaf)
  local source = app.jobs[leaf.topic:match "^job:(.*)$" or ""]
  if not source then return end
  local where, path, why = runner.spec.where, ("job %q.when"):format(runner.spec.name), never(source.spec, leaf.event)
  if why then app.mistakes:add(where, path, ("waits for %s, or wait for another event"):format(why)) end
  if leaf.options and leaf.options.when_busy == "parallel" then
    app.mistakes:add(where, path,
      'when_busy = "parallel" would run two processes of one job: use "latest", "drop" or "restart"')
  end
end

---Somebody hears lines that never pass through the pilot.
---@param app luapilot.App
---@param runner luapilot.Runner
function references.output(app, runner)
  app.mistakes:add(runner.spec.where, ("job %q.log"):format(runner.spec.name),
    ('is %q, so its "output" event can never come: use "lines", or leave out on("output", …)')
      :format(runner.spec.log.mode))
end

---Calls of :reload() in a source, of jobs that have none.
---@param app luapilot.App
---@param path string
---@param source string
function references.reloads(app, path, source)
  for _, call in ipairs(job_calls.on_jobs(source, "reload")) do
    local runner = app.jobs[call.job]
    if runner and not (runner.spec.reload or runner.spec.failed) then
      app.mistakes:add(("%s:%d"):format(path, call.line), ("job %q.reload"):format(call.job),
        ('%s:reload() is called here, and the job has none: describe it with reload = "SIGHUP", or a function')
          :format(call.name))
    end
  end
end

return references
