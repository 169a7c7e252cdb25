-- lines: what a soak's pilot writes, judged as it comes. A line that is torn, numbers of a sequence that are missing, a
-- message of the pilot's that nobody expects: each is a fault.
--
-- It owns the log files of the soak: `log` has every message of the pilot, `output` the last megabytes of all lines.

local json = require "cjson"

local lines = {}

local OUTPUT = 16 * 1024 ^ 2 -- bytes of `output`, twice

-- --- what luapilot may say ---------------------------------------------------------------------------

-- Messages of the levels "warning" and "error" that a soak provokes. All others are faults.
local EXPECTED = {
  -- what happens to jobs
  '^job "[%w-]+": exited with code %d+$', '^job "[%w-]+": was killed by SIG%u+', '^job "[%w-]+": timed out$',
  '^job "[%w-]+": was killed for lack of memory', '^job "[%w-]+": exited with code %d+; since its start',
  '^job "[%w-]+": exited with code %d+ when it was stopped for failing its checks$',
  '^job "[%w-]+": ran longer than its timeout', '^job "[%w-]+": is unhealthy: ', '^job "[%w-]+": health.* fails',
  '^job "[%w-]+": health.* has not passed for ', '^job "[%w-]+": health.* has no verdict',
  '^job "[%w-]+": health.* has had no verdict for ',
  '^job "[%w-]+": failed .*%(restart_after%): is stopped and started again', '^job "[%w-]+": did not end within',
  '^job "[%w-]+": what it left running did not end within', '^job "[%w-]+": its stopping handlers took too long',
  '^job "[%w-]+": not started again: ',
  '^job "missing": .*no such file', '^job "refused": .*ermission denied', '^job "[%w-]+": prepare failed$',
  '^job "[%w-]+": left behind: ', '^job "[%w-]+": perhaps left behind: ',
  '^job "[%w-]+": has put itself into the background: ',
  '^job "[%w-]+": perhaps it has put itself into the background: ',
  "^pilot%.exec .*: it left .* running, which w%w+ ended$",
  '^job "[%w-]+": cannot be started now: .*next try',
  '^job "configured": .*env_file: ',
  '^job "[%w-]+": cannot open log file .*: No space left on device$',
  -- what acts and handlers do
  "planned", "ran for more than 1 s without waiting: ", "not enough memory: ", "stack overflow", "cannot wait here",
  "whose __tostring fails",
  'on "stopping" at .*: timed out after', "^a finaliser", "cancelled, but went on waiting: abandoned",
  -- a disk that is full, limits that are low
  "^cannot write to /.*: No space left on device; trying again", "^cannot write to /.*: File too large; trying again",
  "^writing to /.* works again; %d+ lines? %l+ lost", "^%d+ lines? to /.* %l+ lost$",
  "^cannot [^:]*: .*; still using the old file$",
  "^template .*: still not rendered", "^template .* refuses it ", "^template .*: .*[Nn]o space left",
  "^template .*: .*file too large", "^template .*: .*too many open", "^template .*: .*cannot start a process",
  "^pilot%.poll at .*: cannot wait for descriptor %d+: too many open files$",
  "^SIG%u+: asked a second time: killing what is left", "^the shutdown was cut short: jobs? ",
  "%d+ messages? of luapilot %l+ dropped while the output was stalled",
}

local function is_expected(message)
  for _, pattern in ipairs(EXPECTED) do
    if message:find(pattern) then return true end
  end
end

-- --- formats -----------------------------------------------------------------------------------------

---@class soak.Line
---@field job string?     nil: luapilot's own
---@field level string?
---@field text string

local LEVELS = { warning = "warn", error = "error" }

local parse = {}

function parse.default(line)
  local name, text = line:match "^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ ([%w-]+): ?(.*)$"
  if not name then return nil end
  if name ~= "luapilot" then return { job = name, text = text } end
  local level, rest = text:match "^(%a+): (.*)$"
  if LEVELS[level] then return { level = LEVELS[level], text = rest } end
  return { level = "info", text = text }
end

local function unquoted(text)
  local inner = text:match '^"(.-)"$' or text:match '^"(.-[^\\])"' or text:match '^"(.-)" ' or text:match "^%S*"
  return (inner:gsub('\\"', '"'))
end

-- A message of luapilot's, as the default format has it.
local function about(job, text) return job and ("job %q: %s"):format(job, text) or text end

function parse.text(line)
  local level, rest = line:match "^time=%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ level=(%a+) (.*)$"
  if not level then return nil end
  local job, message = rest:match "^job=([%w-]+) stream=std%a%a%a msg=(.*)$"
  if job then return { job = job, level = level, text = unquoted(message) } end
  job, message = rest:match "^source=luapilot job=([%w-]+) msg=(.*)$"
  message = message or rest:match "^source=luapilot msg=(.*)$"
  return message and { level = level, text = about(job, unquoted(message)) }
end

function parse.json(line)
  local ok, value = pcall(json.decode, line)
  if not ok or type(value) ~= "table" or type(value.msg) ~= "string" then return nil end
  if value.source == "luapilot" then return { level = value.level, text = about(value.job, value.msg) } end
  return { job = value.job, level = value.level, text = value.msg }
end

-- --- sequences ---------------------------------------------------------------------------------------

---@class soak.Sequence
---@field last table<integer, integer>      the newest number of a run
---@field counted table<integer, integer>   what a run had counted when it died
---@field missing integer                   numbers that never came
local Sequence = {}
Sequence.__index = Sequence

---@return soak.Sequence
function lines.sequence() return setmetatable({ last = {}, counted = {}, missing = 0, seen = 0 }, Sequence) end

---@param text string
---@return string? trouble
function Sequence:hear(text)
  local former, count = text:match "^seq %d+ begins after (%d+) (%d+)$"
  if former then
    self.counted[tonumber(former)] = tonumber(count)
    return
  end
  local run, number, length, filler = text:match "^seq (%d+) (%d+) (%d+) (%a*)$"
  if not run then return "torn: " .. text:sub(1, 200) end
  run, number, length = tonumber(run), tonumber(number), tonumber(length)
  local letter = string.char(97 + number % 26)
  if filler ~= letter:rep(length) then
    return ("torn: line %d of run %d is not as it was written"):format(number, run)
  end
  self.seen = self.seen + 1
  local last = self.last[run] or 0
  if number <= last then return ("line %d of run %d came after line %d"):format(number, run, last) end
  self.missing = self.missing + number - last - 1
  self.last[run] = number
end

---The runs of which less has come than they had counted: forgotten when they are complete.
---@return string? trouble
function Sequence:behind()
  for run, count in pairs(self.counted) do
    local last = self.last[run] or 0
    if last < count then return ("of run %d came %d lines of %d"):format(run, last, count) end
    self.counted[run], self.last[run] = nil, nil
  end
end

---What is not there now will never come.
function Sequence:give_up()
  for run, count in pairs(self.counted) do
    self.missing = self.missing + math.max(0, count - (self.last[run] or 0))
    self.counted[run], self.last[run] = nil, nil
  end
end

-- --- the reader --------------------------------------------------------------------------------------

---@class soak.Lines
---@field sequences table<string, soak.Sequence>   by job
---@field kinds table<string, integer>             messages of luapilot, without their numbers
local Lines = {}
Lines.__index = Lines

---@param options { directory: string, format: string, fault: fun(kind: string, text: string) }
---@return soak.Lines
function lines.new(options)
  local self = setmetatable({
    directory = options.directory, parse = assert(parse[options.format]), fault = options.fault, rest = "", count = 0,
    sequences = { ["seq-out"] = lines.sequence(), ["seq-err"] = lines.sequence(), ["seq-heard"] = lines.sequence() },
    kinds = {}, lost = {}, tail = {}, written = 0, stopped = {},
  }, Lines)
  self.log = assert(io.open(self.directory .. "/log", "w"))
  self.output = assert(io.open(self.directory .. "/output", "w"))
  return self
end

local function kind_of(message)
  return (message:gsub("%(%d+%)", "(N)"):gsub("%d[%d.]*", "N"):gsub('"[^"]*"', '"…"'):sub(1, 160))
end

local function own(self, line, said)
  self.log:write(line, "\n")
  local message = said.text
  if said.level ~= "info" and not self.continued then
    local kind = said.level .. ": " .. kind_of(message)
    self.kinds[kind] = (self.kinds[kind] or 0) + 1
  end
  if message:find "luapilot/[%w_/]+%.lua:%d+" or message:find "inside luapilot" then
    self.fault("core", message)
  elseif (said.level == "warn" or said.level == "error") and not is_expected(message) then
    if not message:find "^%s" and not message:find "^stack traceback" then self.fault("message", message) end
  end
  local path, lost = message:match "^writing to (/%S+) works again; (%d+) lines? %l+ lost"
  if not path then
    lost, path = message:match "^(%d+) lines? to (/%S+) %l+ lost$"
  end
  if path then self.lost[path] = (self.lost[path] or 0) + tonumber(lost) end
  local stopped = message:match '^job "([%w-]+)": stopped%f[^%a]'
  if stopped then self.stopped[#self.stopped + 1] = stopped end
end

local function keep(self, line)
  self.output:write(line, "\n")
  self.written = self.written + #line + 1
  if self.written < OUTPUT then return end
  self.output:close()
  os.rename(self.directory .. "/output", self.directory .. "/output.before")
  self.output = assert(io.open(self.directory .. "/output", "w"))
  self.written = 0
end

local function hear(self, line)
  self.count = self.count + 1
  keep(self, line)
  local said = self.parse(line)
  if not said then return self.fault("line", "torn: " .. line:sub(1, 300)) end
  if not said.job then return own(self, line, said) end
  local sequence = self.sequences[said.job]
  if not sequence then return end
  local trouble = sequence:hear(said.text)
  if trouble then self.fault("line", said.job .. ": " .. trouble) end
  if sequence.missing > 0 then
    self.fault("line", ("%s: %d lines are missing before: %s"):format(said.job, sequence.missing, said.text:sub(1, 60)))
    sequence.missing = 0
  end
end

---What came from stdout.
---@param data string
function Lines:feed(data)
  local all, from = self.rest .. data, 1
  local newline = all:find("\n", #self.rest + 1, true)
  while newline do
    hear(self, all:sub(from, newline - 1))
    from = newline + 1
    newline = all:find("\n", from, true)
  end
  self.rest = all:sub(from)
end

---No more will come.
function Lines:finish()
  if self.rest ~= "" then self.fault("line", "the last one has no end: " .. self.rest:sub(1, 300)) end
end

---The first sequence of which something is still to come.
---@return string?
function Lines:behind()
  for job, sequence in pairs(self.sequences) do
    local trouble = sequence:behind()
    if trouble then return job .. ": " .. trouble end
  end
end

function Lines:flush()
  self.log:flush()
  self.output:flush()
end

return lines
