-- judge: what must be so when a storm is over, and what may not grow from storm to storm.
--
-- It owns the samples. It never touches the pilot: it reads its report (pilot/pilot.lua) and /proc.

local json = require "cjson"
local figures = require "figures"
local lines = require "soak.lines"
local system = require "soak.system"

local judge = {}

local OLD = 3 -- seconds that a zombie of PID 1 or of the pilot may be seen in a quiet time

---@class soak.Judge
---@field box soak.Box
---@field samples table[]
local Judge = {}
Judge.__index = Judge

---@param options { box: soak.Box, lines: soak.Lines, fault: fun(kind: string, text: string) }
---@return soak.Judge
function judge.new(options)
  return setmetatable({ box = options.box, lines = options.lines, fault = options.fault, samples = {}, zombies = {},
    file = lines.sequence(), files = 0 }, Judge)
end

---What the pilot last reported.
---@return table?
function Judge:status()
  local ok, status = pcall(json.decode, system.read(self.box:path "status") or "")
  return ok and status or nil
end

---Two processes of one job, as the programs themselves have found: at any time.
function Judge:look()
  local faults = system.read(self.box:path "faults") or ""
  for line in faults:sub((self.read_faults or 0) + 1):gmatch "([^\n]+)\n" do self.fault("two", line) end
  self.read_faults = #faults
end

-- --- after a storm -----------------------------------------------------------------------------------

-- By the pilot's own number.
local function leaders_of(processes)
  local list = {}
  for _, process in ipairs(processes) do
    if process.leader and process.state ~= "Z" then list[system.inner_pid(process.pid) or 0] = process end
  end
  return list
end

local function about_job(job, leaders, begun)
  if job.stopping then return "`stopping` was not followed by `stopped`" end
  if job.expect == "ends" then
    return job.ends <= begun[job.name] and ("has not ended again, %s, after %d ends"):format(job.state, job.ends)
  end
  if job.expect == "any" then return nil end
  if job.state ~= "running" then return "is " .. job.state end
  if job.expect == "healthy" and job.health ~= "healthy" then return "runs and is " .. job.health end
  if not job.pid then return nil end -- written in Lua
  local process = leaders[job.pid]
  if not process then return ("has the pid %d, which is no leader of its"):format(job.pid) end
  if process.job ~= job.name then return ("has the pid %d, which is %s"):format(job.pid, process.job) end
  if process.state == "T" then return "is stopped by SIGSTOP" end
end

-- A zombie may be seen for a moment.
local function old_zombie(self, processes)
  local seen, now = {}, system.now()
  for _, process in ipairs(processes) do
    if process.state == "Z" and (process.parent == self.box.guardian or process.parent == self.box.pilot) then
      local key = process.pid .. " " .. process.born
      seen[key] = self.zombies[key] or now
      if now - seen[key] > OLD then
        return ("the zombie %d of %s is there for %.0f s"):format(process.pid,
          process.parent == self.box.pilot and "the pilot" or "PID 1", now - seen[key])
      end
    end
  end
  self.zombies = seen
end

-- Whoever belongs to nothing that is wanted: by name.
local function stray(processes)
  for _, process in ipairs(processes) do
    if process.job == "intruder" then return "the intruder's " .. process.pid end
  end
end

---When a quiet time begins: from now on each job that ends must end once more.
function Judge:begin_quiet()
  self.begun, self.zombies = nil, {}
end

---What is not yet as it must be; nil: all is well.
---@param number integer    of the quiet time
---@return string?
function Judge:trouble(number)
  local status = self:status()
  local noticed = status and status.phase == "quiet" and status.number == number
  if not noticed then return "the pilot has not noticed the quiet" end
  if status.busy > 0 then return ("%d acts are under way"):format(status.busy) end
  if not self.begun then
    self.begun = {}
    for _, job in ipairs(status.jobs) do self.begun[job.name] = job.ends end
  end
  local processes = self.box:processes()
  local leaders = leaders_of(processes)
  for _, job in ipairs(status.jobs) do
    local trouble = about_job(job, leaders, self.begun)
    if trouble then return ("job %q %s"):format(job.name, trouble) end
  end
  if not status.rendered then return "the template is not rendered" end
  if not status.live then return "the heap has not been measured" end
  return old_zombie(self, processes) or stray(processes) or self.lines:behind()
end

-- --- a log file on a disk that was full ----------------------------------------------------------------

local function read_rotated(self, rotations)
  local parts = {}
  for i = self.files + 1, rotations do
    parts[#parts + 1] = system.read(self.box:disk("seq.log." .. i)) or ""
    os.remove(self.box:disk("seq.log." .. i))
  end
  self.files = rotations
  return table.concat(parts)
end

---Reads the log files that were rotated away, in order. What is in the one that is still open is read after its
---rotation.
---@param rotations integer
function Judge:read_files(rotations)
  local text = (self.file_rest or "") .. read_rotated(self, rotations)
  self.file_rest = text:sub(text:match "^.*\n()" or 1)
  for line in text:gmatch "([^\n]+)\n" do
    local said = self.lines.parse(line)
    local trouble = not said and "torn: " .. line:sub(1, 200) or self.file:hear(said.text)
    if trouble then self.fault("file", "seq.log: " .. trouble) end
  end
end

---At the end: were lines lost that nobody has told of?
---@return string
function Judge:sum_files()
  self.file:give_up()
  local told = self.lines.lost[self.box.directory .. "/disk/seq.log"] or 0
  if self.file.missing > told then
    self.fault("file", ("seq.log: %d lines are missing, and %d were told to be lost"):format(self.file.missing, told))
  end
  return ("%d lines of seq.log, %d more were lost, %d told of"):format(self.file.seen, self.file.missing, told)
end

-- --- what may not grow ---------------------------------------------------------------------------------

local LOOKS = 5 -- at what goes up and down by itself: the least counts

local function least(looks, field, value) looks[field] = math.min(looks[field] or value, value) end

---Takes a sample, when all is well. `pause` lets time pass between two looks.
---@param at number
---@param pause fun()
function Judge:sample(at, pause)
  local box, status = self.box, self:status()
  local sample = { at = at, live = status.live * 1024, allocated = status.allocated, acted = status.acted }
  for _ = 1, LOOKS do
    least(sample, "descriptors", system.descriptors(box.pilot))
    least(sample, "guardian_descriptors", system.descriptors(box.guardian))
    least(sample, "processes", #box:processes() + 2)
    pause()
  end
  sample.pss, sample.anonymous = system.pss(box.pilot), system.anonymous(box.pilot)
  sample.guardian = system.anonymous(box.guardian)
  self.samples[#self.samples + 1] = sample
end

-- field, title, unit; what the last third's median may be above the first's, and from how many samples on that is
-- judged. The memory that is written says nothing of that kind: some acts fill all that Lua may have in use, or recurse
-- as deep as they can, and LuaJIT gives back only what is wholly free. For that there is WRITTEN.
local COLUMNS = {
  { "descriptors", "descriptors of the pilot", "", 8, 3 },
  { "guardian_descriptors", "of PID 1", "", 0, 3 },
  { "live", "Lua heap after a collection", "B", 128 * 1024, 6 },
  { "allocated", "heap of C in use", "B", 128 * 1024, 6 },
  { "anonymous", "memory written by the pilot", "B", math.huge, 0 },
  { "pss", "Pss of the pilot", "B", math.huge, 0 },
  { "guardian", "memory written by PID 1", "B", 64 * 1024, 6 },
  { "processes", "processes", "", 25, 6 },
}

local WRITTEN = 128 * 1024 ^ 2 -- bytes: LUAPILOT_MEMORY of box.lua, and a third for what lies between

local function third(samples, field, which)
  local list, n = {}, #samples
  for i = math.floor((which - 1) * n / 3) + 1, math.floor(which * n / 3) do list[#list + 1] = samples[i][field] end
  return list
end

local function judge_written(self)
  local most = 0
  for _, sample in ipairs(self.samples) do most = math.max(most, sample.anonymous) end
  if most > WRITTEN then
    self.fault("growth", ("memory written by the pilot: %s, and %s are to be enough"):format(figures.value(most, "B"),
      figures.value(WRITTEN, "B")))
  end
end

---The medians by thirds, as rows of a table. The first sample is warm-up.
---@param memory boolean    is memory judged, too? (a sanitizer has its own)
---@return string[][] rows
function Judge:trends(memory)
  if memory then judge_written(self) end
  local samples, rows = { unpack(self.samples, 2) }, { { "quiet times, by thirds", "first", "second", "last" } }
  if #samples < 3 then return {} end
  for _, column in ipairs(COLUMNS) do
    local field, title, unit, most, enough = unpack(column)
    local row, medians = { title }, {}
    for which = 1, 3 do
      medians[which] = figures.median(third(samples, field, which))
      row[which + 1] = figures.value(medians[which], unit)
    end
    rows[#rows + 1] = row
    local is_memory = unit == "B" and field ~= "live"
    local judged = #samples >= enough and (memory or not is_memory)
    if judged and medians[3] > medians[1] + most then
      self.fault("growth", ("%s: %s, %s, %s"):format(title, row[2], row[3], row[4]))
    end
  end
  return rows
end

return judge
