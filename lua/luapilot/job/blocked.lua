-- blocked: what a job does that waits for what it depends on: the cells of that state of the machine (job/machine.lua).
--
--   begin ──▶ blocked ──provided──▶ preparing        all that it depends on is there (job/dependencies.lua says so)
--                │ stop, close                       held, complete: as from a backoff, for there is no process
--                └─ dead ──▶ waiting                 something will never be there: the start has failed
--
-- A start is under way already: what fires meanwhile (`start`) is served by it. Pure. Loaded with the first job
-- that has `depends_on`.

local blocked = {}

local function emit(c, name, a, b) c.effects[#c.effects + 1] = { name, a, b } end

function blocked.provided(c)
  emit(c, c.spec.prepare and "prepare" or "spawn")
  return "preparing"
end

-- It waits no more. It has run, and now nothing starts it by itself.
local function leave(c)
  emit(c, "undepend")
  if c.memory.exit then emit(c, "publish", "stopped", {}) end
end

-- A restart changes nothing: a start waits already.
function blocked.stop(c)
  if c.input.again then return nil end
  leave(c)
  c.memory.hold = true
  return "held"
end

function blocked.close(c)
  leave(c)
  c.memory.closing = true
  return "complete"
end

-- This start has failed, and another one that the restart policy made would fail for the same: only a trigger or a call
-- may try again.
function blocked.dead(c)
  local m, unmet = c.memory, c.input.unmet
  emit(c, "undepend")
  m.exit = { code = unmet.code or 1, reason = "dependency", at = c.now, error = unmet.why, root = unmet.root }
  m.started = nil
  emit(c, "publish", "exit_failed", { code = m.exit.code, reason = "dependency", error = unmet.why })
  emit(c, "rest")
  return "waiting"
end

return blocked
