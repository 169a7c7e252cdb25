-- spawn: the port's calls about processes: spawn, plan, kill, capture, hold.
--
-- Checks what the core asks for, finds the program that the spec described, and makes a child (child.lua).
-- It owns nothing; handles are the port's.

local copy = require "luapilot.base.copy"
local behaviour = require "luapilot.sim.behaviour"
local check = require "luapilot.sim.check"
local child = require "luapilot.sim.child"
local places = require "luapilot.sim.places"

local spawn = {}

local BIG = 2 ^ 53

local function account(where, value)
  if type(value) == "number" then return check.integer(0, 2 ^ 32 - 2)(where, value) end
  if type(value) ~= "string" then check.wrong(where, "a name or a number", value) end
  if value == "" then error(where .. ": it is empty", 0) end
end

local function limit(where, value)
  check.table(where, value)
  local bound = check.integer(-1, BIG)
  bound(where, value[1])
  bound(where, value[2])
  if value[2] >= 0 and (value[1] < 0 or value[1] > value[2]) then
    error(where .. ": the soft limit is above the hard one", 0)
  end
end

local LIMITS = {}
for _, name in ipairs {
  "as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss",
  "rtprio", "rttime", "sigpending", "stack",
} do LIMITS[name] = true end

local function limits(where, value)
  check.map(limit)(where, value)
  for name in pairs(value) do
    if not LIMITS[name] then error(("%s.%s: there is no such limit"):format(where, name), 0) end
  end
end

local function environment(where, value)
  check.map(check.word)(where, value)
  for name in pairs(value) do
    if name == "" or name:find "=" then error(("%s: bad name %q"):format(where, name), 0) end
  end
end

local check_output = check.fields {
  name = check.word, raw = check.boolean, level = check.word, prefix = check.boolean, file = check.word,
  merge = check.boolean, parse = check.choice { "json" }, level_from = check.word,
}

local check_options = check.fields {
  argv = check.argv, env = environment, env_added = environment, cwd = check.word, user = account, group = account,
  umask = check.integer(0, 511), limits = limits, no_new_privs = check.boolean,
  oom_score_adj = check.integer(-1000, 1000), output = check_output, stdin = check.string,
  input = check.choice { "open", "inherit" },
  capture = check.boolean, notify = check.boolean, end_signal = check.signal, stop_signal = check.signal,
  stop_timeout = check.seconds, leader_alone = check.boolean, mark = check.word,
  pidfile = check.word,
  cgroup = check.fields {
    name = check.word, memory_max = check.number(1, BIG), cpu_max = check.number(1e-6, 1e6),
    pids_max = check.number(1, 1e9),
  },
}

local function check_all(options)
  check_options("spawn", options)
  if options.argv == nil then error("spawn: argv: expected a table, got nil", 0) end
  local output, cgroup = options.output, options.cgroup
  if output and not output.name then error("spawn: output: name: expected a string, got nil", 0) end
  if cgroup and not cgroup.name then error("spawn: cgroup: name: expected a string, got nil", 0) end
  if options.stdin and options.input then error("spawn: input: there is a text for stdin", 0) end
  local name = output and output.raw and (options.capture and "capture" or output.merge and "output: merge"
    or output.parse and "output: parse")
  if name then error(("spawn: %s: raw output does not pass through the pilot"):format(name), 0) end
  if options.mark and not options.mark:find("=", 1, true) then
    error(('spawn: mark: expected "NAME=value", got %q'):format(options.mark), 0)
  end
end

-- --- what keeps a program from being started ---------------------------------------------------------

local function account_error(port, options)
  for _, kind in ipairs { "user", "group" } do
    local known, name = port.users[kind], options[kind]
    if type(name) == "string" and known and not known[name] then
      return ("there is no %s %q"):format(kind, name), "ENOENT", kind
    end
  end
end

local function cwd_error(port, options)
  if not options.cwd then return nil end
  local ok, code, text = port.files:enter(options.cwd)
  if not ok then return ("working directory %q: %s"):format(options.cwd, text), code, "cwd" end
end

local function output_error(port, options)
  local file = options.output and options.output.file
  if not file then return nil end
  local ok, message, code = places.open_log(port, file)
  if not ok then return "log file: " .. message, code, "output" end
end

local function exec_error(port, argv, what)
  if what == nil then
    port.complain(("nobody described the program %q: box:program(%q, { exit = 0 })"):format(
      table.concat(argv, " "), argv[1]), "program", argv)
    return ("cannot run %q: no such file or directory"):format(argv[1]), "ENOENT", "exec"
  end
  local code, stage = behaviour.spawn_error(what)
  if code then return ("cannot run %q: %s"):format(argv[1], code), code, stage end
end

local function find_error(port, options, what)
  local message, code, stage = account_error(port, options)
  if not message then message, code, stage = cwd_error(port, options) end
  if not message then message, code, stage = output_error(port, options) end
  if not message then message, code, stage = exec_error(port, options.argv, what) end
  return message, code, stage
end

-- --- the environment ---------------------------------------------------------------------------------

-- What a user is told of itself. An account of the simulator has the usual ones.
local function add_login(env, user)
  env.HOME, env.USER, env.LOGNAME, env.SHELL = "/", nil, nil, nil
  if type(user) == "number" or user:find "^%d+$" then return end
  env.HOME, env.USER, env.LOGNAME, env.SHELL = user == "root" and "/root" or "/home/" .. user, user, user, "/bin/sh"
end

local function environment_of(port, options)
  local env = copy.shallow(options.env or port.environ)
  if options.user then add_login(env, options.user) end
  for name, value in pairs(options.env_added or {}) do env[name] = value end
  return env
end

-- --- the calls ---------------------------------------------------------------------------------------

spawn.calls = {}

-- What carries no mark is none of a job's, though it may speak in the name of one.
local function job_of(options)
  local marked = options.mark and options.mark:match "^LUAPILOT_JOB=(.*)$"
  return marked or not options.capture and options.output and options.output.name or nil
end

local function start(port, id, options, what)
  if options.notify then options.env.NOTIFY_SOCKET = "@luapilot-" .. id end
  local one = child.start(port, id, options, behaviour.script(what))
  port.handles[id] = one
  port.record("spawn", { argv = options.argv, job = job_of(options), child = one })
  return one.group.leader.pid
end

-- What was in its way is not any more.
local function start_late(port, id, options)
  local what = port.programs:find(options.argv)
  local message, code, stage = find_error(port, options, what)
  if message then
    port.record("spawn", { argv = options.argv, code = code, stage = stage })
    port:push_urgent({ type = "spawn_failed", id = id, message = message, code = code, stage = stage },
      function() port:forget(id) end)
    return
  end
  local event = { type = "spawned", id = id }
  port:push_urgent(event)
  event.pid = start(port, id, options, what)
end

local Plan = {} -- [1]: the options
Plan.__index = Plan

function spawn.calls.plan(_, options)
  check_all(options)
  return setmetatable({ copy.deep(options) }, Plan)
end

function spawn.calls.spawn(port, options)
  if getmetatable(options) == Plan then options = options[1] else check_all(options) end
  options = copy.shallow(options)
  options.argv, options.env = copy.shallow(options.argv), environment_of(port, options)
  if port.starts:is_due(options) then
    if port.starts:waits(options) then port.record("hang", { argv = options.argv }) end
    return port.starts:begin(options, function(id) start_late(port, id, options) end)
  end
  local what = port.programs:find(options.argv)
  local message, code, stage = find_error(port, options, what)
  if message then
    port.record("spawn", { argv = options.argv, code = code, stage = stage })
    return nil, message, code, stage
  end
  local id = port:handle(false)
  return id, start(port, id, options, what)
end

local function process_of(port, id)
  local handle = port.handles[id]
  return handle and (handle.kind == "process" or handle.kind == "start") and handle or nil
end

local WHY = { EBADF = "bad file descriptor", ESRCH = "no such process" }

-- Names get numbers as they come; root is 0.
function spawn.calls.lookup(port, kind, name)
  check.choice { "user", "group" }("lookup: kind", kind)
  check.word("lookup: name", name)
  local known, numbers = port.users[kind], port.ids[kind]
  if name:find "^%d+$" then return tonumber(name) end
  if not numbers[name] then
    if known and not known[name] then return nil, ("%s %q does not exist"):format(kind, name), "ENOENT" end
    numbers[name], port.ids.next = port.ids.next, port.ids.next + 1
  end
  return numbers[name]
end

function spawn.calls.kill(port, id, signal, target)
  check.signal("kill: signal", signal)
  if target ~= "group" and target ~= "leader" then
    error(('kill: target: expected "group" or "leader", got %q'):format(tostring(target)), 0)
  end
  check.any_number("kill: id", id)
  local one = process_of(port, id)
  if not one then return port.stale("kill", id) end
  local code = one.kind == "start" and "ESRCH" or one.kind == "process" and one:kill(signal, target)
  if code then return nil, ("cannot send %s: %s"):format(signal, WHY[code]), code end
  port.record("signal", { child = one, signal = signal, target = target })
  return true
end

function spawn.calls.successor(port, id, pid)
  check.integer(0, 2 ^ 31 - 1)("successor: pid", pid)
  check.any_number("successor: id", id)
  local one = process_of(port, id)
  if not one then return port.stale("successor", id) end
  one:succeed(pid)
  return true
end

function spawn.calls.strays(port, id)
  check.any_number("strays: id", id)
  local one = process_of(port, id)
  if not one then return port.stale("strays", id) end
  return one:strays()
end

-- A start that is under way has said nothing yet.
local function capture(one, on)
  if one.kind == "process" then return one:capture(on) end
  local output = one.options.output
  if not output or output.raw then return "EINVAL" end
  one.options.capture = on
end

local function hold(one, on)
  if one.kind == "process" then return one:hold(on) end
  if not one.options.capture then return "EINVAL" end
end

function spawn.calls.capture(port, id, on)
  check.boolean("capture: on", on)
  check.any_number("capture: id", id)
  local one = process_of(port, id)
  if not one then return port.stale("capture", id) end
  local code = capture(one, on)
  if code then return nil, "cannot capture: its output is not read as lines: invalid argument", code end
  return true
end

function spawn.calls.hold(port, id, on)
  check.boolean("hold: on", on)
  check.any_number("hold: id", id)
  local one = process_of(port, id)
  if not one then return port.stale("hold", id) end
  local code = hold(one, on)
  if code then return nil, "cannot hold: its output is not captured: invalid argument", code end
  return true
end

return spawn
