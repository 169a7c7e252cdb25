-- contain: code of the user that runs on and on without waiting fails the spec, instead of hanging it.
--
-- The real port measures processor time; here instructions of Lua count, so that the same spec fails at the same
-- line each time. While the core works a hook looks now and then whether the core's meter has moved; when it has
-- not for too long it raises in the user's function, and goes on raising until the core has control again.
-- It owns the hook while it is set, and the switch of the JIT compiler. Where a hook is set already (a debugger, a
-- coverage tool) it stays, and nothing is contained.

local contain = {}

-- As in the program, nothing is compiled, and what busted compiled before is dropped: compiled loops know no hooks, and
-- the LuaJIT of Debian 12 compiles a `for … in pairs` with a loop in its body so that it may end too early
-- (github.com/LuaJIT/LuaJIT/issues/827). copy.equal then calls two different tables the same.
jit.off()
jit.flush()

local LOOK = 1000000   -- instructions
local PATIENCE = 100   -- looks; about a second
local CORE = getfenv(1)

local MESSAGE = "%s:%d: ran for more than %d million instructions without waiting: put pilot.sleep(0) into a long "
  .. "loop, or leave the work to a program (pilot.exec)"

-- Lua calls no hook inside of a hook, and error handlers run in it: a coroutine that dies makes Lua believe it over.
local function leave_hook() coroutine.resume(coroutine.create(error)) end

-- Called by a tail call of the hook, whose frame it takes: 2 is what runs.
local function interrupt()
  local info = debug.getinfo(2, "Slf")
  if not info or getfenv(info.func) == CORE then return end
  local file = info.source:match "^@(.*)" or info.short_src
  leave_hook()
  error(MESSAGE:format(file, info.currentline, LOOK * PATIENCE / 1000000), 0)
end

local function watcher(meter)
  local core, seen, looks, condemned = coroutine.running(), nil, 0, false
  local function look()
    if condemned then
      if coroutine.running() ~= core then return interrupt() end
      condemned = false
      debug.sethook(look, "", LOOK)
    elseif meter[1] ~= seen then
      seen, looks = meter[1], 0
    else
      looks = looks + 1
      if looks < PATIENCE or coroutine.running() == core then return end
      condemned = true
      debug.sethook(look, "", 1)
    end
  end
  return look
end

local function finish(ok, ...)
  debug.sethook()
  if not ok then error((...), 0) end
  return ...
end

---Calls fn(…), which may run code of the user.
---@param meter integer[]   of the core's loop
---@param fn function
---@return any ...
function contain.call(meter, fn, ...)
  if debug.gethook() then return fn(...) end
  debug.sethook(watcher(meter), "", LOOK)
  return finish(pcall(fn, ...))
end

return contain
