-- finalisers: what a script can give a __gc, so that an error of it is reported: Lua would raise it in whatever runs at
-- that moment, the core included. Loaded with the first newproxy, or with ffi.

local copy = require "luapilot.base.copy"

local finalisers = {}

local function guarded(fn, report)
  if type(fn) ~= "function" then return fn end
  return function(...)
    local ok, err = pcall(fn, ...)
    if not ok then report(err) end
  end
end

---newproxy as a script sees it. What getmetatable gives stands in front of the real one, which Lua itself reads.
---@param model any
---@param report fun(err: any)
---@return userdata
function finalisers.newproxy(model, report)
  local proxy = newproxy(model)
  if model ~= true then return proxy end
  local real = getmetatable(proxy)
  real.__metatable = setmetatable({}, {
    __index = real,
    __newindex = function(_, name, value) real[name] = name == "__gc" and guarded(value, report) or value end,
  })
  return proxy
end

---ffi as a script sees it.
---@param report fun(err: any)
---@return table
function finalisers.ffi(report)
  local ffi = require "ffi"
  local own = copy.shallow(ffi)
  function own.gc(object, finaliser) return ffi.gc(object, guarded(finaliser, report)) end
  function own.metatype(ctype, meta)
    if type(meta) == "table" then meta.__gc = guarded(meta.__gc, report) end
    return ffi.metatype(ctype, meta)
  end
  return own
end

return finalisers
