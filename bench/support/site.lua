-- site: one supervisor at work, in a directory of its own. It starts it, knows its jobs by the stamps that they wrote,
-- tells its processes from theirs, and leaves nothing behind.

local ffi = require "ffi"
local system = require "system"

ffi.cdef [[ typedef struct { int64_t begun, pid; } bench_stamp; ]]

local RECORD = ffi.sizeof "bench_stamp"
local PATIENCE = 120 -- seconds that any wait may last; only a failure uses them up

local built = assert(system.absolute "build/bench", "build/bench is not there: use make bench")
local count = 0

---@class bench.Site
---@field directory string
---@field pid integer      of the supervisor's first process
local Site = {}
Site.__index = Site

local site = { built = built, patience = PATIENCE }

---@return bench.Site
function site.new()
  count = count + 1
  local directory = ("%s/tmp/%d-%d"):format(built, ffi.C.getpid(), count)
  assert(os.execute(("mkdir -p '%s'"):format(directory)) == 0)
  local self = setmetatable({ directory = directory, extra = {} }, Site)
  system.write(self:path "stamps", "")
  return self
end

function Site:path(name) return self.directory .. "/" .. name end
function Site:write(name, text) system.write(self:path(name), text) return self:path(name) end
function Site:read(name) return system.read(self:path(name)) end

---Starts the supervisor. Its exec is the first stamp.
---@param plan { argv: string[], signal: string?, env: table? }    of supervisors.lua
---@param stdout integer|nil
function Site:launch(plan, stdout)
  self.signal = plan.signal or "TERM"
  local env = { STAMP = self:path "stamps", GO_SIGNAL = self.signal == "HUP" and 1 or 15 }
  for name, value in pairs(plan.env or {}) do env[name] = value end
  local argv = { built .. "/go" }
  for _, word in ipairs(plan.argv) do argv[#argv + 1] = word end
  self.pid = system.spawn { argv = argv, env = env, stdout = stdout, stderr = self:path "stderr" }
end

---Something beside the supervisor, such as a reader of its output: ended with it.
function Site:beside(options)
  options.stderr = self:path "stderr"
  local pid = system.spawn(options)
  self.extra[#self.extra + 1] = pid
  return pid
end

---Seconds of the exec, then those of each start of a job in order; and the pids beside them.
---@return number[] begun, integer[] pids
function Site:stamps()
  local text = self:read "stamps"
  local records = ffi.cast("const bench_stamp *", text)
  local begun, pids = {}, {}
  for i = 0, math.floor(#text / RECORD) - 1 do
    begun[i + 1], pids[i + 1] = tonumber(records[i].begun) / 1e9, tonumber(records[i].pid)
  end
  return begun, pids
end

---Waits until jobs have been started `starts` times in all.
function Site:await(starts, seconds)
  local file = assert(io.open(self:path "stamps", "rb"))
  local ok, message = pcall(system.eventually, starts .. " starts", seconds or PATIENCE, function()
    return file:seek "end" >= (starts + 1) * RECORD
  end)
  file:close()
  if not ok then error(("%s: %s\n%s"):format(self.directory, message, self:read "stderr" or ""), 2) end
end

---How many starts there were so far.
function Site:starts()
  local file = assert(io.open(self:path "stamps", "rb"))
  local starts = file:seek "end" / RECORD - 1
  file:close()
  return starts
end

---The pids of the supervisor: all that descends from its first process and is no job.
---@return integer[]
function Site:supervisors()
  local _, pids = self:stamps()
  local is_job, list = {}, { self.pid }
  for i = 2, #pids do is_job[pids[i]] = true end
  for _, pid in ipairs(system.descendants(self.pid)) do
    if not is_job[pid] then list[#list + 1] = pid end
  end
  return list
end

---A figure of system.lua, summed over the supervisor's processes.
---@param what fun(pid: integer): number
function Site:sum(what)
  local total = 0
  for _, pid in ipairs(self:supervisors()) do total = total + what(pid) end
  return total
end

local function gone(pids)
  system.reap()
  for _, pid in ipairs(pids) do
    if system.exists(pid) then return false end
  end
  return true
end

---Asks it to end, and waits until nothing of it is left, jobs included.
---@return number seconds
function Site:stop()
  local all = system.descendants(self.pid)
  local begun = system.now()
  system.kill(self.pid, self.signal)
  if not system.wait(self.pid, PATIENCE) then error("it does not end: " .. self.directory) end
  if not gone(all) then
    system.eventually("the last process to go", PATIENCE, function() return gone(all) end)
  end
  local took = system.now() - begun
  self.pid = nil
  return took
end

---Leaves nothing behind, whatever happened.
function Site:close()
  for _, pid in ipairs(self.extra) do system.kill(pid, "KILL") end
  if self.pid then
    system.kill(self.pid, self.signal)
    system.wait(self.pid, 10)
  end
  for _ = 1, 50 do -- supervisors first: what they would restart is ended in the next round
    system.reap()
    local left = system.descendants "self"
    if #left == 0 then break end
    for _, pid in ipairs(left) do system.kill(pid, "KILL") end
    system.sleep(0.01)
  end
  os.execute(("rm -rf '%s'"):format(self.directory))
end

---Calls fn(site) with a new site and closes it, also after an error.
---@return any ...
function site.use(fn)
  local self = site.new()
  local ok, result = xpcall(function() return fn(self) end, debug.traceback)
  if not ok then
    local stderr = self:read "stderr" or ""
    self:close()
    error(("%s\nstderr of the supervisor: %s"):format(result, stderr:sub(-2000)), 0)
  end
  self:close()
  return result
end

return site
