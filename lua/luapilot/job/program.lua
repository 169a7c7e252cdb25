-- program: runs one program to its end and collects what it says. What pilot.exec and exec checks are made of.
--
-- It owns the process from spawn to the last byte. It never retries, never interprets the output, and leaves
-- nothing behind: a cancelled wait kills the group.

local duration = require "luapilot.base.duration"
local lazy = require "luapilot.base.lazy"

local postmortem = lazy.require "luapilot.job.postmortem"
local paths = lazy.require "luapilot.schema.paths"

local program = {}

---What the machine is short of comes back: these failures of a spawn, a connection or a file say nothing of it.
program.SHORT = { EAGAIN = true, ENOMEM = true, EMFILE = true, ENFILE = true, EINTR = true, ENOBUFS = true }

local function append(result, event, bound)
  local stream = event.stream
  local data = event.data
  if #data == 0 then return true end
  local chunks = result[stream]
  local room = bound - chunks.size
  if #data > room then data = data:sub(1, room) end
  chunks[#chunks + 1] = data
  chunks.size = chunks.size + #data
  return #event.data <= room
end

local function describe_exit(result, timeout)
  if result.hangs then return ("timed out after %s: its start hangs"):format(duration.format(timeout)) end
  if result.timed_out then return ("timed out after %s and was killed"):format(duration.format(timeout)) end
  if result.overflow then return "wrote too much: killed" end
  if result.signal then return "was killed by " .. result.signal end
  return "exit code " .. result.code
end
program.describe_exit = describe_exit

local function settle_exit(state, event)
  local result = state.result
  result.signal = event.signal
  result.code = event.code
  if result.timed_out then result.code = 124 end
end

local handle = {} -- by type of the port's event

function handle.exit(state, event) settle_exit(state, event) end

function handle.group_gone(state, event) state.gone, state.result.left = true, event.ended end

function handle.output(state, event)
  local result = state.result
  if not append(result, event, state.bound) and not result.overflow then
    result.overflow = event.stream
    state.port.kill(state.id, "SIGKILL", "group")
  end
  if event.last then state.open = state.open - 1 end
end

local function explained(port, options, message, code, stage)
  if not stage then return message end
  return paths.why(port, message, code, stage, options.cwd, options.argv, options.output and options.output.file)
end

-- Without a message there is a result.
local function finish(state, message, code, stage)
  message = message and explained(state.port, state.options, message, code, stage)
  if state.timer then state.loop:cancel(state.timer) end
  state.loop:unroute(state.id)
  if message then return state.done(nil, message, code, stage) end
  local result = state.result
  result.stdout = table.concat(result.stdout)
  result.stderr = table.concat(result.stderr)
  state.done(result)
end

-- --- a start that is under way ---------------------------------------------------------------

function handle.spawned(state) state.started = true end

function handle.spawn_failed(state, event)
  finish(state, event.message, event.code, event.stage)
end

function handle.spawning(state, event)
  state.port.log("warn", ("program %q: its start %s"):format(state.name, event.message),
    { seconds = math.floor(event.seconds) }, "start_hangs", nil, { program = state.name })
end

local function timed_out(state)
  local result = state.result
  state.timer, result.timed_out = nil, true
  if state.started then return state.port.kill(state.id, "SIGKILL", "group") end
  state.loop:cancel(state.id)
  result.hangs, result.code = true, 124
  finish(state)
end

-- --- from outside ----------------------------------------------------------------------------

---What is to be said of processes that it left running, once; nil: it left none.
---@param result table
---@return string?
---@return integer? count
function program.left(result)
  local count = result.left
  result.left = nil
  if count then return postmortem.ended(count), count end
end

---Starts a program; done(result) is called when it has ended and its group is gone, or done(nil, message, code, stage)
---where that it cannot be started is known only later.
---result = { code, signal, stdout, stderr, timed_out, overflow, left, hangs }
---@param loop luapilot.Loop
---@param options luapilot.SpawnOptions     without capture
---@param limits { timeout: number?, max_output: integer }
---@param done fun(result: table?, message: string?, code: string?, stage: string?)
---@param deaf boolean?                     what it says goes nowhere
---@return fun(why: string?)? cancel    kills it, and nobody hears of it; with "timeout" done() does. nil: it could
---                                     not be started
---@return string? message
---@return string? code
---@return string? stage
function program.start(loop, options, limits, done, deaf)
  local port = loop.port
  options.capture = not deaf or nil
  local id, pid, code, stage = port.spawn(options)
  if not id then return nil, explained(port, options, pid, code, stage), code, stage end
  local state = {
    port = port, loop = loop, options = options, id = id, done = done, open = deaf and 0 or 2, gone = false,
    bound = limits.max_output, name = options.argv[1], started = pid ~= nil,
    result = { stdout = { size = 0 }, stderr = { size = 0 } },
  }
  loop:route(id, function(event)
    local fn = handle[event.type]
    if fn then fn(state, event) end
    if state.gone and state.open == 0 then finish(state) end
  end)
  if limits.timeout then state.timer = loop:allow(limits.timeout, function() timed_out(state) end) end
  return function(why)
    if why == "timeout" then return timed_out(state) end
    if state.timer then loop:cancel(state.timer) end
    loop:cancel(id)
  end
end

return program
