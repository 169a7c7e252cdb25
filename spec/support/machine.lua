-- What this machine cannot do. What needs it is skipped: pending, with a reason in a form that tools/specs looks for. A
-- pending spec without such a reason counts as failed there.
--
-- A spec that finds out while it runs:
--
--   it("gives a job its own limits", function()
--     if not root then machine.skip "needs root" end
--     machine.need("nginx", "ab")
--
-- A group of specs whose before_each or setup would not work here. Busted takes no `pending` from those, so this is
-- found out before the group begins; nothing is set up for its specs then, each of them only says why:
--
--   describe("with Docker", machine.unless(machine.lacking "dockerd", function()
--     before_each(function() … end)
--
-- spec/unit/house/specs_spec.lua sees to it that nobody skips in a before_each or setup.

local busted = require "busted.core"

local machine = {}

---Ends the `it` that is running; never returns.
---@param reason string
function machine.skip(reason)
  io.stdout:write("\nSKIP(machine): ", reason, "\n")
  busted().pending(reason)     -- the global `pending` is seen in spec files only, not in what they require
end

---Does this shell command succeed here?
---@param command string
---@return boolean
function machine.can(command)
  return os.execute(("{ %s; } >/dev/null 2>&1 </dev/null"):format(command)) == 0
end

---The first of these programs that is not here, as a reason.
---@param ... string
---@return string?
function machine.lacking(...)
  for _, program in ipairs { ... } do
    if not machine.can(("PATH=$PATH:/usr/sbin:/sbin; command -v '%s'"):format(program)) then return "no " .. program end
  end
end

---Skips the spec that is running where one of these programs is not here.
---@param ... string
function machine.need(...)
  local lacking = machine.lacking(...)
  if lacking then machine.skip(lacking) end
end

---Skips the spec that is running where there are no mount namespaces.
function machine.need_mounts()
  if not machine.can "unshare --mount true" then machine.skip "no mount namespaces" end
end

---Skips the spec that is running where there are no PID namespaces with a /proc of their own.
function machine.need_pids()
  if not machine.can "unshare --pid --fork --mount-proc true" then machine.skip "no PID namespaces" end
end

local function nothing() end

-- What surrounds specs; it is left out where they do nothing.
local AROUND = { "before_each", "after_each", "setup", "teardown", "lazy_setup", "lazy_teardown", "strict_setup",
  "strict_teardown", "finally" }

---The body of a `describe`; or, where something is lacking, one whose specs only say so.
---@param lacking string|false|nil
---@param body fun()
---@return fun()
function machine.unless(lacking, body)
  if not lacking then return body end
  return function()
    local outer = getfenv(body)
    local inner = { it = function(name) outer.it(name, function() machine.skip(lacking) end) end }
    for _, name in ipairs(AROUND) do inner[name] = nothing end
    setfenv(body, setmetatable(inner, { __index = outer }))() -- closures that it makes get this environment as well
  end
end

return machine
