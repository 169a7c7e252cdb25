-- facade: what users hold instead of the core's tables: an object with methods and fields to read, and nothing else.
--
-- A misspelt name is an error with a hint, a field cannot be set, and a method called with a dot says so. It owns
-- which object stands for what: each app has a metatable of its own for each kind, and the objects and what they
-- stand for hang on nothing else. (A weak table here would keep both, and the app, for ever: its values lead back to
-- its keys.)

local lazy = require "luapilot.base.lazy"
local schema = require "luapilot.schema.schema"

local suggest = lazy.require "luapilot.base.suggest"

local facade = {}

---@class luapilot.Facade
---@field make fun(inner: table): table          the object of something, which has an `app`
---@field change fun(object: table, inner: table)  from now on it stands for that
---@field of fun(object: any, method: string, level: integer?): table   what it stands for; raises when it is none
---@field is fun(value: any): boolean
---@field inner fun(object: any): table?         the same, or nil

---@param o { kind: string, methods: table<string, function>, fields: table<string, fun(inner: table): any>,
---  describe: fun(inner: table): string, call: (fun(object: table, inner: table, options: any): any)?, set: string }
---       kind: "watch"; set: what to do instead of setting a field
---@return luapilot.Facade
function facade.new(o)
  local what = "a " .. o.kind

  local function names() -- methods may come later
    local list = schema.keys(o.methods)
    for _, name in ipairs(schema.keys(o.fields)) do list[#list + 1] = name end
    table.sort(list)
    return list
  end

  -- The metatable of an app's objects.
  local function new_class()
    local hidden = {}
    local Object = { kind = o, hidden = hidden, __name = o.kind }

    function Object.__index(self, key)
      if o.methods[key] then return o.methods[key] end
      if o.fields[key] then return o.fields[key](hidden[self]) end
      error(("%s has no %q%s"):format(what, tostring(key), suggest.hint(tostring(key), names())), 2)
    end

    function Object.__newindex(_, key)
      error(("%s's %q cannot be set: %s"):format(what, tostring(key), o.set), 2)
    end

    function Object.__tostring(self) return o.describe(hidden[self]) end

    if o.call then
      function Object.__call(self, options) return o.call(self, hidden[self], options) end
    end

    return Object
  end

  local function inner_of(object)
    local class = type(object) == "table" and getmetatable(object)
    return type(class) == "table" and rawget(class, "kind") == o and class.hidden[object] or nil
  end

  return {
    make = function(inner)
      local app = inner.app
      app.facades = app.facades or {}
      local class = app.facades[o] or new_class()
      app.facades[o] = class
      local self = setmetatable({}, class)
      class.hidden[self] = inner
      return self
    end,
    change = function(self, inner) getmetatable(self).hidden[self] = inner end,
    of = function(self, method, level)
      local inner = inner_of(self)
      if inner then return inner end
      error(("%s:%s: call it with a colon: %s:%s(…)"):format(o.kind, method, o.kind, method), (level or 1) + 2)
    end,
    is = function(value) return inner_of(value) ~= nil end,
    inner = inner_of,
  }
end

return facade
