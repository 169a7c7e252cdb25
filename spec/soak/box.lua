-- box: the container of a soak: a pilot as PID 1 of namespaces of its own, with two small file systems, a control group
-- of its own where that is possible, and its stdout and stderr in our hands.
--
-- It owns the namespaces (they end with `close`, or with us), the pipes, and the directory of control groups.

local system = require "soak.system"

local PATIENCE = 120 -- seconds until a pilot has started
local CONTROLLERS = { "memory", "cpu", "pids" }

local box = {}

---@class soak.Box
---@field launcher integer   unshare, our child
---@field guardian integer   PID 1, as we number it
---@field pilot integer
---@field out integer?       what it writes to stdout; nil: nobody reads it
---@field err integer
---@field groups string[]    directories of control groups
---@field pids string?       the one that bounds processes
---@field code integer?      once it has ended
local Box = {}
Box.__index = Box

-- In the namespaces: $1 the box, $2 the actor, then the pilot's command.
local INSIDE = [[
  box=$1 actor=$2
  shift 2
  mount -t tmpfs -o size=16m,mode=1777 soak "$box/state" && mount -t tmpfs -o size=4m,mode=1777 soak "$box/disk" &&
    "$actor" loopback && cd "$box/state" && head -c 524288 /dev/zero >states && head -c 4096 /dev/zero >stops &&
    : >faults && chmod 666 states faults && echo "quiet 0" >phase && exec "$@"
  echo "soak: the box could not be made" >&2
  exit 125
]]

-- Outside of them: $1 the control groups, one a line, then the command.
local OUTSIDE = [[
  groups=$1
  shift
  for group in $groups; do echo $$ >"$group/cgroup.procs" || exit 125; done
  exec "$@"
]]

-- --- control groups ----------------------------------------------------------------------------------

local function controller_directory(name)
  for _, place in ipairs { "/sys/fs/cgroup/" .. name, "/sys/fs/cgroup" } do
    if os.execute(("test -w %s/cgroup.procs"):format(place)) == 0 then return place end
  end
end

-- None at all where one cannot be made: the pilot then uses no limits of that kind.
local function make_groups(name)
  local groups, seen, pids = {}, {}, nil
  for _, controller in ipairs(CONTROLLERS) do
    local parent = controller_directory(controller)
    local path = parent and ("%s/%s"):format(parent, name)
    if not path or os.execute(("mkdir -p '%s' 2>/dev/null"):format(path)) ~= 0 then return groups, nil end
    if not seen[path] then groups[#groups + 1], seen[path] = path, true end
    if controller == "pids" and system.read(path .. "/pids.max") then pids = path end
  end
  return groups, pids
end

-- --- the start ---------------------------------------------------------------------------------------

local function command(options, directory)
  local argv = { options.actor, "tied", "sh", "-c", OUTSIDE, "soak", table.concat(options.groups, "\n"), "unshare" }
  local flags = (system.is_root() and "" or "--user --map-root-user ")
    .. "--pid --fork --kill-child --mount --mount-proc --net --ipc"
  for word in flags:gmatch "%S+" do argv[#argv + 1] = word end
  for _, word in ipairs {
    "sh", "-c", INSIDE, "soak", directory, options.actor, options.luapilot, "run", options.pilot, "--",
    "actor=" .. options.actor, "box=" .. directory, "seed=" .. options.seed, "format=" .. options.format,
    "hogs=" .. options.hogs, "root=" .. (system.is_root() and "yes" or "no"),
    "cgroups=" .. (options.pids and "yes" or "no"),
  } do argv[#argv + 1] = word end
  return argv
end

local function first_child(pid)
  local text = system.read(("/proc/%d/task/%d/children"):format(pid, pid)) or ""
  return tonumber(text:match "%d+")
end

---@param options { luapilot: string, actor: string, pilot: string, directory: string, seed: integer, format: string,
---                 hogs: number }
---@return soak.Box
function box.start(options)
  local directory = options.directory .. "/box"
  assert(os.execute(("mkdir -p '%s/state' '%s/disk'"):format(directory, directory)) == 0)
  options.groups, options.pids = make_groups(("soak-%d-%d"):format(options.seed, system.pid()))
  local out, out_end = system.pipe()
  local err, err_end = system.pipe()
  system.never_block(out)
  system.never_block(err)
  local self = setmetatable({ directory = directory, out = out, err = err, groups = options.groups, pids = options.pids,
    actor = options.actor }, Box)
  self.launcher = system.spawn {
    argv = command(options, directory), stdout = out_end, stderr = err_end,
    env = { LUAPILOT_MEMORY = "96M", LUAPILOT_HEARTBEAT = "" },
  }
  system.close(out_end)
  system.close(err_end)
  return self
end

---Finds PID 1 and the pilot. Calls `step` while it waits; false when it has ended instead.
---@param step fun()
---@return boolean
function Box:await(step)
  local deadline = system.now() + PATIENCE
  while system.now() < deadline and not self:ended() do
    step()
    self.guardian = first_child(self.launcher)
    self.pilot = self.guardian and first_child(self.guardian)
    if self.pilot and system.read(self:path "status") then return true end
  end
  return false
end

---Whether it has ended: `code` tells how.
---@return boolean
function Box:ended()
  self.code = self.code or system.ended(self.launcher)
  return self.code ~= nil
end

-- --- its files ---------------------------------------------------------------------------------------

---@param name string
---@return string
function Box:path(name) return ("/proc/%d/root%s/state/%s"):format(self.guardian, self.directory, name) end

---A file on the small disk.
function Box:disk(name) return ("/proc/%d/root%s/disk/%s"):format(self.guardian, self.directory, name) end

---What the pilot reads is the old one or the new one.
function Box:tell(name, text)
  system.write(self:path(name .. ".new"), text)
  assert(os.rename(self:path(name .. ".new"), self:path(name)))
end

-- --- its processes -----------------------------------------------------------------------------------

---@class soak.Actor : soak.Process
---@field job string?    the job that it plays for
---@field slot integer?
---@field leader boolean

---All that descends from PID 1, itself and the pilot apart.
---@return soak.Actor[]
function Box:processes()
  local list = {}
  for _, pid in ipairs(system.descendants(self.guardian)) do
    local process = pid ~= self.pilot and system.process(pid)
    if process then
      if process.words[1] == self.actor and process.words[5] then
        process.slot, process.job, process.part = tonumber(process.words[3]), process.words[4], process.words[5]
      end
      process.leader = (process.slot or 0) > 0 and process.parent == self.pilot and process.session == pid
      list[#list + 1] = process
    end
  end
  return list
end

-- --- the end -----------------------------------------------------------------------------------------

---Control groups that the pilot has left behind.
---@return string[]
function Box:left_groups()
  local left = {}
  for _, group in ipairs(self.groups) do
    local list = io.popen(("find '%s' -mindepth 1 -type d"):format(group))
    for line in list:lines() do left[#left + 1] = line end
    list:close()
  end
  return left
end

---Ends whatever is left, and gives everything back.
function Box:close()
  if not self:ended() then
    system.signal(self.launcher, "KILL")
    pcall(system.eventually, "the end of the box", 30, function() return self:ended() end)
  end
  if self.out then system.close(self.out) end
  system.close(self.err)
  for _, group in ipairs(self.groups) do
    os.execute(("find '%s' -depth -type d -exec rmdir {} + 2>/dev/null"):format(group))
  end
end

return box
