-- template: what pilot.template "/etc/app.conf" { … } gives: a file that the pilot keeps as it is described.
--
--   declared ──start──▶ rendering ──▶ rendered ◀──▶ :render()
--                          ▲   │ failed
--                          └───┘ after 1, 2, 4 … 60 s, until it is rendered; the old file stays meanwhile
--
-- With `watch` it is rendered for the first time when all of them have answered, and again when one changes.
-- Each success publishes `rendered`; where it gave another file, `reload = job` is told. The render itself is
-- file/render.lua's. Until a file is rendered, or tried again, its template keeps the pilot alive.

local arguments = require "luapilot.schema.arguments"
local describe = require "luapilot.base.describe"
local duration = require "luapilot.base.duration"
local facade = require "luapilot.api.facade"
local job_api = require "luapilot.api.job"
local option_schema = require "luapilot.schema.options"
local paths = require "luapilot.schema.paths"
local restart = require "luapilot.schema.restart"
local schema = require "luapilot.schema.schema"
local suggest = require "luapilot.base.suggest"
local task = require "luapilot.task.task"
local condition = require "luapilot.task.condition"
local watch_api = require "luapilot.api.watch"

local template_api = {}

local BACKOFF = restart.parse "always"
local HINTS = 20 -- so many paths that nobody described are compared with the others

---@class luapilot.Keeper
---@field app luapilot.App
---@field object luapilot.Template
---@field topic string             "template:/etc/app.conf"
---@field spec luapilot.RenderSpec
---@field rendered boolean         the file has once been what it is to be
local Keeper = {}
Keeper.__index = Keeper

-- --- the work --------------------------------------------------------------------------------

local function hold(self)
  if self.holding or self.cancelled then return end
  self.holding = true
  self.app:hold(self)
end

local function release(self)
  if not self.holding then return end
  self.holding = false
  self.app:release(self)
end

local function untimer(self)
  if self.timer then self.app.loop:cancel(self.timer) end
  self.timer = nil
end

---The pilot shuts down: nothing is tried again.
function Keeper:cancel()
  self.cancelled = true
  untimer(self)
  if self.settling then
    self.app.loop:cancel(self.settling.quiet)
    self.app.loop:cancel(self.settling.latest)
    self.settling = nil
  end
  release(self)
end

-- Of several changes in a short time only the last counts. The whole of it lasts four times as long at most.
local function settle(self)
  local loop, seconds = self.app.loop, self.spec.settle
  if self.settling then loop:cancel(self.settling.quiet) end
  self.settling = self.settling or { latest = loop:after(4 * seconds, function() self:settled() end) }
  self.settling.quiet = loop:after(seconds, function() self:settled() end)
end

---@private
function Keeper:settled()
  local settling = self.settling
  if not settling then return end
  self.settling = nil
  self.app.loop:cancel(settling.quiet)
  self.app.loop:cancel(settling.latest)
  self:attempt()
end

-- All watches have answered: before that nothing is rendered.
local function is_known(self)
  for _, core in ipairs(self.spec.watch or {}) do
    if not core:is "changed" then return false end
  end
  return true
end

-- One of its watches has changed. The first file does not wait for quiet.
local function watched(self)
  if self.cancelled or not is_known(self) then return end
  if self.spec.settle and self.rendered then return settle(self) end
  self:attempt()
end

-- An answer that has just come is an event, too; what a former core knew is none.
local function begin(self)
  local answered = false
  for _, core in ipairs(self.spec.watch or {}) do
    self.app.bus:listen(core.topic, "changed", function() watched(self) end)
    answered = answered or core.known
  end
  if not answered and is_known(self) then self:attempt() end
end

local function succeeded(self, changed)
  self.rendered, self.memory, self.said = true, restart.new(), nil
  untimer(self)
  release(self)
  self.app:publish(self.topic, { name = "rendered", source = self.object, changed = changed })
  if changed and self.spec.reload and self.app.phase == "running" then
    self.app.jobs[self.spec.reload.name]:post "reload"
  end
end

-- Tries again after a while. Returns how long that is, in words.
local function retry_later(self)
  if self.cancelled or self.app.phase ~= "running" then return nil end
  local now = self.app.loop.port.now()
  local run = { success = false, started = now, ended = now }
  local delay = restart.decide(BACKOFF, self.memory, run, self.app.loop.port.random)
  untimer(self)
  hold(self)
  self.timer = self.app.loop:after(delay, function()
    self.timer = nil
    self:attempt()
  end)
  return duration.words(delay)
end

-- What a message says but for its numbers: validators put the time and their pid into it.
local function gist(message) return (message:gsub("%d+", "0")) end

-- One trouble is an error once; then the log tells that it goes on.
local function failed(self, err)
  local label, said = tostring(self.object), task.message(err)
  local delay = retry_later(self)
  local what = delay and ("the next try is in %s"):format(delay) or "the pilot is ending"
  if self.said == gist(said) then
    return self.app:log("warn", ("%s: still not rendered: %s; %s"):format(label, said, what), nil, "not_rendered", nil,
      { reason = said })
  end
  self.said = gist(said)
  self.app:complain(label, err)
  self.app:log("info", ("%s: the old file stays; %s"):format(label, what), nil, "not_rendered", nil, { reason = said })
end

-- Renders in the running task. Nil and a message, or whether the file is another one; raises what data raises.
local function render(self)
  local changed, message = self.app.trials:render(self.spec)
  if changed == nil then return nil, message end
  succeeded(self, changed)
  return changed
end

---Renders in a task of its own.
function Keeper:attempt()
  if self.task then
    self.again = true -- what it renders may be of before
    return
  end
  self.task = self.app.tasks:spawn(render, {
    name = tostring(self.object), detached = true,
    ended = function(t)
      local again = self.again
      self.task, self.again = nil, nil
      if t.reason then return release(self) end
      if again and not self.cancelled then self.app:command(function() self:attempt() end) end
      if t:failed() then return failed(self, t.error) end
      if t.results[1] == nil then failed(self, t.results[2]) end
    end,
  }, self)
end

-- --- the object ------------------------------------------------------------------------------

---@class luapilot.Template
---@field name string      the path
---@field rendered boolean
local methods = {}

-- What stands behind an object: { app, path, where }.
local function keeper_of(h) return h.app.templates[h.path] end

local fields = {
  name = function(h) return h.path end,
  rendered = function(h)
    local keeper = keeper_of(h)
    return keeper ~= nil and keeper.rendered
  end,
}

local describe_as -- forward

local front = facade.new {
  kind = "template", methods = methods, fields = fields, set = 'describe it with pilot.template "/path" { … }',
  describe = function(h) return "template " .. describe.quote(h.path) end,
  call = function(self, h, options)
    describe_as(self, h, options)
    return self
  end,
}

local function of(self, method)
  local h = front.of(self, method, 2)
  return h, keeper_of(h)
end

local function topic_of(path) return "template:" .. path end

local function check_reload(spec, path, where, mistakes)
  if spec.reload == nil or job_api.is(spec.reload) then return end
  mistakes:add(where, path .. ".reload", ('expected a job, such as reload = app, got %s; for anything else there is '
    .. ':on("rendered", function(event) … end)'):format(describe.value(spec.reload)))
  spec.reload = nil
end

-- A watch, or a list of them: becomes a list of what asks for them.
local function check_watch(spec, path, where, mistakes)
  if spec.watch == nil then return end
  local list = watch_api.is(spec.watch) and { spec.watch } or spec.watch
  local cores, length = {}, schema.length(list)
  for i = 1, length do
    if watch_api.is(list[i]) then
      cores[#cores + 1] = watch_api.core(list[i], "watch")
    else
      mistakes:add(where, ("%s.watch[%d]"):format(path, i), ('expected a watch, such as pilot.watch "db", got %s')
        :format(job_api.is(list[i]) and tostring(list[i]) or describe.value(list[i])))
    end
  end
  if length == 0 then
    mistakes:add(where, path .. ".watch", 'expected watches, such as { db }; a file that is rendered once needs none')
  end
  spec.watch = cores
end

local function check_text(app, spec, path, where)
  local message = spec.text and app.trials:mistake(spec.text)
  if message then app.mistakes:add(where, path .. ".text", message) end
end

-- `template { … }`: what describes pilot.template "/path".
function describe_as(self, h, options)
  local app, where = h.app, h.app:where()
  if app.phase ~= "declaring" then
    error("pilot.template declares, and the pilot runs already: write it at the top level, or call pilot.render", 2)
  end
  local label = tostring(self)
  if app.templates[h.path] then
    app.mistakes:add(where, label, ("is described twice: the first time at %s"):format(app.templates[h.path].where))
    return
  end
  local spec = option_schema.template_options(options, label, where, app.mistakes)
  spec.to = paths.absolute(h.path, label .. ".to")
  check_reload(spec, label, where, app.mistakes)
  check_watch(spec, label, where, app.mistakes)
  if spec.settle and not spec.watch then
    app.mistakes:add(where, label .. ".settle", "needs watch: it is how long that must have been quiet")
  end
  check_text(app, spec, label, where)
  local keeper = setmetatable({
    app = app, object = self, topic = topic_of(h.path), spec = spec, where = where, rendered = false,
    memory = restart.new(),
  }, Keeper)
  app.templates[h.path] = keeper
  hold(keeper)
  app:when_started(function() begin(keeper) end)
end

local function trigger_of(kind)
  return function(self, event, options)
    local h = of(self, kind)
    return arguments.event_trigger(h.app, kind, "template", topic_of(h.path), event, options)
  end
end

---A trigger: the first time that it is rendered (at once if it is so now).
methods.once = trigger_of("once")
---A trigger: every time.
methods.each = trigger_of("each")

---Calls fn(event) each time that it is rendered; event.changed tells whether the file is another one.
---@param event "rendered"
---@param options table|fun(event: table)
---@param fn fun(event: table)?
---@return luapilot.Subscription
function methods.on(self, event, options, fn)
  local h = of(self, "on")
  return arguments.subscribe(h.app, "template", topic_of(h.path), tostring(self), event, options, fn)
end

---Renders again, now; waits. Raises when that fails; it is then tried again as at the start.
---@return boolean changed
function methods.render(self)
  local h, keeper = of(self, "render")
  if h.app.phase == "declaring" then
    error("template:render acts, and the top level of a pilot.lua only declares: call it in a handler", 2)
  end
  local ok, changed, message = xpcall(render, task.error, keeper)
  if ok and changed ~= nil then return changed end
  if ok or not task.is_cancelled(changed) then retry_later(keeper) end
  if not ok then task.raise_again(changed) end
  error(tostring(self) .. ": " .. message, 2)
end

---Waits until it has been rendered.
---@param state "rendered"
---@param timeout string|number|nil
---@return true?
---@return string? why     "timeout"
function methods.wait_for(self, state, timeout)
  local h, keeper = of(self, "wait_for")
  if state ~= "rendered" then
    error(('template:wait_for: a template can only be "rendered", got %s'):format(describe.value(state)), 2)
  end
  local seconds = condition.seconds(timeout, "template:wait_for", 2)
  if h.app.tasks:inside() and keeper.rendered then return true end
  local event, why = condition.event(h.app, "template:wait_for", seconds, topic_of(h.path), "rendered")
  return event and true, why
end

-- --- all of them -----------------------------------------------------------------------------

---The object of a path.
---@param app luapilot.App
---@param path any
---@return luapilot.Template
function template_api.named(app, path)
  local good, message = schema.first(option_schema.template_path, path)
  if not good then error("pilot.template: " .. message, 3) end
  if app.template_objects[path] then return app.template_objects[path] end
  if app.phase ~= "declaring" then
    error(("there is no template %s%s"):format(describe.quote(path), suggest.hint(path, schema.keys(app.templates))), 3)
  end
  local self = front.make { app = app, path = path, where = app:where() }
  app.template_objects[path] = self
  return self
end

-- A template that was named and never described; one that reloads a job that cannot.
local function check(app, path, self, compares)
  local keeper, h = app.templates[path], front.inner(self)
  if not keeper then
    local hint = compares and suggest.near(path, schema.keys(app.templates))
    return app.mistakes:add(h.where, tostring(self), ("was named but never described%s: write pilot.template %s { … }")
      :format(hint and (" (did you mean %s?)"):format(describe.quote(hint)) or "", describe.quote(path)))
  end
  local name = keeper.spec.reload and keeper.spec.reload.name
  local runner = name and app.jobs[name]
  if runner and not runner.spec.reload then
    app.mistakes:add(keeper.where, tostring(self) .. ".reload",
      ('job %q has no reload: describe it with reload = "SIGHUP", or a function'):format(name))
  end
end

---What only the whole file shows.
---@param app luapilot.App
function template_api.check(app)
  local hints = 0
  for _, path in ipairs(schema.keys(app.template_objects)) do
    if not app.templates[path] then hints = hints + 1 end
    check(app, path, app.template_objects[path], hints <= HINTS)
  end
end

---@param app luapilot.App
---@return string[]
function template_api.paths(app)
  local list = {}
  for i, path in ipairs(schema.keys(app.templates)) do list[i] = app.templates[path].spec.to end
  return list
end

---The names of all methods, sorted.
---@type string[]
template_api.METHODS = schema.keys(methods)
---… and of all fields.
---@type string[]
template_api.FIELDS = schema.keys(fields)

return template_api
