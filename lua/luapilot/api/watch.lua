-- watch: what pilot.watch, pilot.watch.key and pilot.watch.prefix give, and the questions behind them.
--
--   declared ──start──▶ asked ──first answer──▶ known: .instances, .value, .values; changed, healthy, unhealthy
--
-- With Consul a watch is a blocking query of the port; without, it looks into this pilot's own catalogue. Watches that
-- ask the same share one question. Who subscribes to `changed` is told what changed since *he* was last told.
--
-- It owns the contents and the questions. What an answer means is service/watch.lua's.

local arguments = require "luapilot.schema.arguments"
local copy = require "luapilot.base.copy"
local describe = require "luapilot.base.describe"
local events = require "luapilot.schema.events"
local facade = require "luapilot.api.facade"
local option_schema = require "luapilot.schema.options"
local outage = require "luapilot.consul.outage"
local schema = require "luapilot.schema.schema"
local reconciler = require "luapilot.service.reconciler"
local suggest = require "luapilot.base.suggest"
local condition = require "luapilot.task.condition"
local watch = require "luapilot.service.watch"

local watch_api = {}

---@class luapilot.WatchSpec
---@field kind "service"|"key"|"prefix"
---@field name string
---@field tag string[]?
---@field dc string?
---@field near string?
---@field filter string?
---@field stale boolean?
---@field cached boolean?
---@field status "passing"|"any"|nil
---@field keep_last boolean?

---@class luapilot.WatchCore
---@field app luapilot.App
---@field spec luapilot.WatchSpec
---@field label string          'watch "db"', and its options
---@field topic string          "watch:db …"
---@field content table?        what is known; nil: nothing yet
---@field health string?        of a service: "healthy" or "unhealthy"
local Core = {}
Core.__index = Core

local KIND = { service = "watch", key = "key", prefix = "prefix" } -- of schema/events.lua

-- --- contents and events ---------------------------------------------------------------------

local pasts = setmetatable({}, { __mode = "k" }) -- event → { before, after }

local function publish(self, name, fields)
  fields.name, fields.source = name, self.object
  self.app:publish(self.topic, fields)
  return fields
end

-- What a subscription hears of: it may have missed some.
local function view_of(self)
  local told
  return function(event)
    local past = pasts[event]
    if not past then return event end
    local before = told
    told = past.after
    if before == past.before then return event end
    local own = watch.difference(self.spec.kind, before, past.after)
    own.name, own.source, own.at = event.name, event.source, event.at
    return own
  end
end

local function tell(self, before, fields)
  local event = publish(self, "changed", fields)
  pasts[event] = { before = before, after = self.content }
  if self.spec.kind ~= "service" then return end
  local health = watch.health(self.content)
  if health == self.health then return end
  self.health = health
  publish(self, health, { instances = self.content })
end

local function is_kept(self, content)
  if not self.spec.keep_last or #content > 0 or not self.content or #self.content == 0 then return false end
  if not self.keeps then
    self.app:log("warn", ("%s: nobody is left; the last answer is kept"):format(self.label), nil, "last_kept", nil,
      { watch = self.label })
  end
  self.keeps = true
  return true
end

---An answer has come. Is it news to anybody?
---@param content table
---@return boolean
function Core:answered(content)
  if is_kept(self, content) then return false end
  self.keeps = nil
  local before, first = self.content, not self.known
  if not first and copy.equal(before, content) then return false end
  local fields = watch.difference(self.spec.kind, before, content)
  self.known, self.content = true, content
  tell(self, before, fields)
  return true
end

-- --- Consul ----------------------------------------------------------------------------------

local function message_of(client, path, event, said)
  if not event.status then return client.failure("GET", path, said, event.code) end
  if event.code == "EACCES" and event.status ~= 401 and event.status ~= 403 then return client.filtered("GET", path) end
  return client.refusal("GET", path, event.status, said)
end

local function failed(self, event)
  local client = require "luapilot.consul.client" -- it is there when there is a pilot.consul
  local said = event.error:gsub("^the agent answered %d+:? ?", "")
  local message = message_of(client, self.path, event, said)
  local away, code = self.app:outage(), event.status or event.code
  if client.is_crowded(event.code, event.error) then
    away:works(self)
    return self.app.consul.crowded:failed(self, self.label)
  end
  self.app.consul.crowded:works(self)
  local elsewhere = self.spec.dc and event.status -- the agent answers: it is the other datacentre that does not
  if not elsewhere and outage.is_one(code, message) then
    return away:failed(self, event.status and client.said_of(code, said) or said, code)
  end
  away:works(self)
  if event.code ~= "EACCES" or event.status == 401 then
    self.app.consul:granted(self)
  elseif self.app.consul:refused(self) then
    return -- with a token that is used no more
  end
  if self.said == message or self.said and elsewhere then return end
  self.said, self.garbled = message, nil
  self.app:log("error", ("%s: %s; asked again"):format(self.label, message), nil, "watch_failed", nil,
    { watch = self.label, reason = message })
end

-- The next one may be wrong in another place: that is no news.
local function garbled(self, message)
  if self.garbled then return end
  self.said, self.garbled = message, true
  self.app:log("error", ("%s: %s; what was known stays"):format(self.label, message), nil, "watch_failed", nil,
    { watch = self.label, reason = message })
end

-- Once, until an answer has none such.
local function leaves_out(self, message)
  if message and not self.leaves_out then
    self.app:log("warn", ("%s: %s"):format(self.label, message), nil, "instance_left_out", nil,
      { watch = self.label, reason = message })
  end
  self.leaves_out = message
end

-- Content from Consul. Is it news to anybody?
local function took(self, event)
  local content, message = watch.read(self.spec.kind, self.spec.name, event.status, event.body)
  if not content then
    garbled(self, message)
    return false
  end
  if self.said then
    self.app:log("info", ("%s: answered again"):format(self.label), nil, "watch_recovered", nil, { watch = self.label })
  end
  self.said, self.garbled = nil, nil
  leaves_out(self, message)
  return self:answered(content)
end

-- What is no news must not be asked for as often as news.
local function arrived(self, event)
  if event.error then return failed(self, event) end
  self.app:outage():works(self)
  self.app.consul:granted(self)
  self.app.consul.crowded:works(self)
  if not took(self, event) then self.app.loop.port.unchanged(event.id) end
end

local function ask_consul(self)
  local path, query = watch.question(self.spec)
  local loop = self.app.loop
  local full, bare = self.app.consul:path { path = path, query = query }
  self.path = bare
  local id, message = loop.port.watch { path = full, cached = self.spec.cached or nil }
  if not id then return self.app:complain(self.label, message) end
  loop:route(id, function(event) arrived(self, event) end)
  self.stop = function() loop:cancel(id) end
end

local function look_around(self)
  local catalogue = self.app.advertiser:backend()
  local looker = catalogue:watch(self.spec, function(instances) self:answered(instances) end)
  self.stop = function() catalogue:forget(looker) end
  self.refresh = function() catalogue:tell(self.spec.name) end
  self:answered(catalogue:look(self.spec))
end

---What has changed in this pilot, and is about to be told, counts now: somebody asks.
function Core:refresh() end -- luacheck: ignore

---The pilot starts.
function Core:start()
  if self.cancelled or self.stop then return end
  if self.app.consul then return ask_consul(self) end
  look_around(self)
end

---The pilot shuts down.
function Core:cancel()
  if self.cancelled then return end
  self.cancelled = true
  if self.stop then self.stop() end
  if self.app.away then self.app.away:forget(self) end
  local consul = self.app.consul
  if consul then consul:granted(self) end
  if consul then consul.crowded:forget(self) end
  self.app:release(self)
end

---@return table?    plain data: what is known, for a new core
function Core:snapshot()
  if not self.content then return nil end -- of a former core, until it is answered
  return { content = self.content, health = self.health }
end

---What a former core knew: no trigger that fired fires again; who subscribes is told the whole.
---@param data table
function Core:restore(data)
  self.content, self.health = data.content, data.health
end

---Is an event of it true as a state now?
---@param event string
---@return boolean
function Core:is(event)
  self:refresh()
  if event == "changed" then return self.content ~= nil end
  return self.health == event
end

-- --- the object ------------------------------------------------------------------------------

---@class luapilot.Watch
---@field name string
---@field instances luapilot.Instance[]       of a service: sorted by id, empty before the first answer
---@field value string?                        of a key
---@field values table<string, string>         of a prefix: by what follows the prefix; the key that equals it is ""

local methods = {}

local function trigger_of(kind)
  return function(self, event, options)
    local core = watch_api.core(self, kind)
    return arguments.event_trigger(core.app, kind, KIND[core.spec.kind], core.topic, event, options)
  end
end

---A trigger: the first time that `event` happens (at once if it is so now).
methods.once = trigger_of("once")
---A trigger: every time.
methods.each = trigger_of("each")

---Calls fn(event) for each `event`: changed, healthy, unhealthy.
---@param event string
---@param options table|fun(event: table)     { when_busy, settle, max_wait, timeout }
---@param fn fun(event: table)?
---@return luapilot.Subscription
function methods.on(self, event, options, fn)
  local core = watch_api.core(self, "on")
  local subscription = arguments.subscribe(core.app, KIND[core.spec.kind], core.topic, core.label, event, options, fn)
  subscription.view = view_of(core)
  return subscription
end

---Waits until the service is "healthy" or "unhealthy", or until something is known ("changed"); returns at once if it
---is so now.
---@param state string
---@param timeout string|number|nil
---@return true?
---@return string? why     "timeout"
function methods.wait_for(self, state, timeout)
  local core = watch_api.core(self, "wait_for")
  local ok, message = events.check(KIND[core.spec.kind], state)
  if not ok then error("watch:wait_for: " .. message, 2) end
  local seconds = condition.seconds(timeout, "watch:wait_for", 2)
  local app = core.app
  if app.tasks:inside() and core:is(state) then return true end
  local event, why = condition.event(app, "watch:wait_for", seconds, core.topic, state)
  return event and true, why
end

---Waits for the next time that `event` happens.
---@param event string
---@param timeout string|number|nil
---@return table? event
---@return string? why     "timeout"
function methods.next(self, event, timeout)
  local core = watch_api.core(self, "next")
  local ok, message = events.check(KIND[core.spec.kind], event)
  if not ok then error("watch:next: " .. message, 2) end
  local seconds = condition.seconds(timeout, "watch:next", 2)
  return condition.event(core.app, "watch:next", seconds, core.topic, event)
end

local function of_kind(kind, name, read)
  return function(core)
    if core.spec.kind == kind then return read(core.content) end
    local owner = kind == "service" and "watch" or "watch." .. kind
    error(("%s has no %q: that is of pilot.%s"):format(core.label, name, owner), 3)
  end
end

local fields = {
  name = function(core) return core.spec.name end,
  instances = of_kind("service", "instances", function(content) return content or {} end),
  value = of_kind("key", "value", function(content) return content and content.value end),
  values = of_kind("prefix", "values", function(content) return content or {} end),
}

local core_of, describe_as -- forward

local function by_core(read)
  return function(draft)
    local core = core_of(draft)
    core:refresh()
    return read(core)
  end
end

for name, read in pairs(fields) do fields[name] = by_core(read) end

local front = facade.new {
  kind = "watch", methods = methods, fields = fields,
  set = 'it is what Consul says; pilot.watch "name" { … } describes a watch',
  describe = function(draft) return core_of(draft).label end,
  call = function(self, draft, options)
    describe_as(draft, options)
    return self
  end,
}

---What asks for an object. Of a method, which is named in messages.
---@param object any
---@param method string
---@return luapilot.WatchCore
function watch_api.core(object, method) return core_of(front.of(object, method, 2)) end

---Is this what pilot.watch gives?
---@param value any
---@return boolean
watch_api.is = front.is

-- --- declaring -------------------------------------------------------------------------------

-- Options of a service that the own catalogue does not know.
local NEED_CONSUL = { "cached", "filter", "near", "dc", "stale" }

-- A list of one is written as that one: it means the same.
local function value_text(value, quote)
  if type(value) == "string" then return quote(value) end
  if type(value) ~= "table" then return tostring(value) end
  local parts = {}
  for i, each in ipairs(value) do parts[i] = quote(each) end
  return parts[2] and ("{ %s }"):format(table.concat(parts, ", ")) or parts[1]
end

-- 'watch "db" { status = "any", tag = "primary" }'.
local function text_of(spec, quote)
  local parts = {}
  for _, name in ipairs(schema.keys(spec)) do
    local value = spec[name]
    local said = name ~= "kind" and name ~= "name" and value ~= false and not (name == "status" and value == "passing")
    if said then parts[#parts + 1] = ("%s = %s"):format(name, value_text(value, quote)) end
  end
  local call = spec.kind == "service" and "watch" or "watch." .. spec.kind
  local text = ("%s %s"):format(call, quote(spec.name))
  return parts[1] and ("%s { %s }"):format(text, table.concat(parts, ", ")) or text
end

local function call_of(kind) return kind == "service" and "pilot.watch" or "pilot.watch." .. kind end

local function in_full(text) return ("%q"):format(text) end

-- Those that ask the same share a core. A label, whose texts are cut and without secrets, does not tell; with each text
-- in full, and quoted, no two watches have the same.
local function share(app, spec, where, object)
  local key = text_of(spec, in_full)
  local core = app.watches[key]
  if core then return core end
  core = setmetatable({
    app = app, spec = spec, label = text_of(spec, describe.quote), topic = "watch:" .. key,
    where = where, object = object,
  }, Core)
  app.watches[key], app.watches_by_topic[core.topic] = core, core
  app:hold(core)
  return core
end

-- What pilot.watch "db" gives has no options until it is used; { … } comes before that.
function describe_as(draft, options)
  local app, path = draft.app, ("%s %s"):format(call_of(draft.kind), describe.quote(draft.name))
  if app.phase ~= "declaring" then
    error(call_of(draft.kind) .. " declares, and the pilot runs already: write it at the top level", 3)
  end
  if draft.core then
    return app.mistakes:add(app:where(), path, ("is described already, at %s"):format(draft.where))
  end
  draft.where = app:where() or draft.where
  local spec = option_schema.watch_options(draft.kind, options, path, draft.where, app.mistakes)
  spec.kind, spec.name = draft.kind, draft.name
  draft.core = share(app, spec, draft.where, draft.object)
end

function core_of(draft)
  if not draft.core then describe_as(draft) end
  return draft.core
end

-- A key or a prefix must be one that a request for it reaches: consul/kv.lua knows.
local function name_type(kind)
  return kind == "service" and option_schema.watched_name or require "luapilot.consul.kv"[kind]
end

local function named(app, kind, value, more)
  arguments.alone(call_of(kind), value, more, 3)
  local name, message = schema.first(name_type(kind), value)
  if not name then error(call_of(kind) .. ": " .. message, 2) end
  if app.phase ~= "declaring" then
    error(call_of(kind) .. " declares, and the pilot runs already: write it at the top level", 2)
  end
  local draft = { app = app, kind = kind, name = name, where = app:where() }
  draft.object = front.make(draft)
  app.watch_drafts[#app.watch_drafts + 1] = draft
  app:when_started(function() core_of(draft):start() end)
  return draft.object
end

---pilot.watch "name" [{ … }], pilot.watch.key "name", pilot.watch.prefix "name".
---@param app luapilot.App
---@return table
function watch_api.library(app)
  local function of(kind)
    return function(name, more) return named(app, kind, name, more) end
  end
  return setmetatable({ key = of "key", prefix = of "prefix" }, {
    __call = function(_, name, more) return named(app, "service", name, more) end,
    __index = function(_, key)
      error(('pilot.watch has no %q: there are pilot.watch "name", pilot.watch.key and pilot.watch.prefix')
        :format(tostring(key)), 2)
    end,
  })
end

-- --- the whole file --------------------------------------------------------------------------

local function check_alone(app, core)
  if core.spec.kind ~= "service" then
    return app.mistakes:add(core.where, core.label, 'needs Consul: add pilot.consul "localhost:8500"')
  end
  for _, name in ipairs(NEED_CONSUL) do
    if core.spec[name] then
      app.mistakes:add(core.where, ("pilot.watch %s.%s"):format(describe.quote(core.spec.name), name),
        "needs Consul, and this file has no pilot.consul: watches see the services of its own jobs only")
    end
  end
end

local function check_connections(app, cores)
  local most = app.consul.options.max_connections
  if #cores < most then return end
  app.mistakes:add(app.consul.where, "pilot.consul.max_connections", ("%d watches need a connection each, and one is "
    .. "left for calls: raise it above %d, and the agent's limits.http_max_conns_per_client (200 by default) with it")
    :format(#cores, #cores))
end

---What only the whole file shows.
---@param app luapilot.App
function watch_api.check(app)
  for _, draft in ipairs(app.watch_drafts) do core_of(draft) end
  local labels = schema.keys(app.watches)
  if app.consul then return check_connections(app, labels) end
  for _, label in ipairs(labels) do check_alone(app, app.watches[label]) end
end

-- The names under which jobs of this file are found.
local function service_names(app)
  local names = {}
  for _, runner in ipairs(app.order) do
    for _, spec in ipairs(runner.spec.service or {}) do
      names[reconciler.names(runner.spec.name, spec, "")] = true
    end
  end
  return names
end

---Without Consul a watch sees the services of this file. One of another name waits for ever, which may be meant: the
---file runs in other places, too.
---@param app luapilot.App
function watch_api.check_names(app)
  local names = service_names(app)
  for _, core in pairs(app.watches) do
    local name = core.spec.name
    if core.spec.kind == "service" and not names[name] then
      app.mistakes:warn(core.where, ("watch %q"):format(name),
        ("no job of this file has a service of that name%s, and there is no pilot.consul: nobody will ever be there")
          :format(suggest.hint(name, schema.keys(names))))
    end
  end
end

---The names of all methods, sorted.
---@type string[]
watch_api.METHODS = schema.keys(methods)
---… and of all fields.
---@type string[]
watch_api.FIELDS = schema.keys(fields)

return watch_api
