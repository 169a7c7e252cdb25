-- The order of the house, as docs/architecture.md draws it. A file names what stands before it in these lists: in an
-- earlier room, or earlier in its own. When this spec fails, the arrow is wrong, not the spec: move the code, or draw
-- the order anew on purpose.

-- The rooms of lua/luapilot, and in each its modules, in order: a module may name what stands before it, in its room or
-- in an earlier one, and nothing else.
local lua_rooms = {
  { "base", "base64", "constant", "copy", "describe", "glob", "json", "lazy", "lexer", "mistakes", "queue",
    "shellwords", "timezone", "utf8", "waitlist", "cron", "duration", "masks", "size", "suggest", "url", "address",
    "signals", "syntax" },
  { "schema", "events", "schema", "dependency", "hints", "json_text", "numbers", "paths", "restart", "argv",
    "http", "process", "service", "health", "job", "options", "arguments" },
  { "task", "budget", "condition", "coroutines", "dropped", "mutex", "retry", "ticker", "loop", "subscription",
    "task", "bus", "scheduler" },
  { "net", "buffer", "exchange", "hints", "proxy", "connection", "http" },
  { "consul", "names", "options", "outage", "crowded", "client", "shapes", "endpoints", "requests", "calls", "kv",
    "txn", "init" },
  { "job", "blocked", "env_file", "health", "output", "postmortem", "slow_start", "trigger", "trigger_text",
    "environment", "machine", "program", "prober", "awaited", "reminder", "dependencies", "plans", "arming", "starter",
    "adoption", "runner" },
  { "service", "reconciler", "watch", "catalogue", "desired", "registrar", "advertiser" },
  { "file", "slices", "template", "swap", "fs", "render", "trials" },
  { "api", "actions", "environment", "facade", "groups", "job_actions", "log", "shutdown_signals", "timers",
    "job", "watch", "template" },
  { ".", "init" }, -- what a pilot.lua requires
  { "script", "conflicts", "cycles", "dependency_check", "finalisers", "job_calls", "load_error", "stdio",
    "string_metatable", "undefined", "libraries", "references", "strict", "loader", "validate" },
  { "pilot", "handoff", "verdict", "quiescence", "shutdown", "app" },
}

-- The wings of src/, and in each its files, in order: a file may include what stands before it, in its wing or in an
-- earlier one, and nothing else.
local c_wings = {
  { "base", "buffer", "names", "random", "children", "descriptors", "reclaim" },
  { "loop", "loop", "handle", "thread" },
  { "file", "place", "remote" },
  { "net", "reach", "net", "passed", "connection" },
  { "guardian", "page", "lastwords", "ending", "manager", "guardian" },
  { "output", "style", "message", "utf8", "parse", "format", "sink", "stream", "output" },
  { "process", "account", "cgroup", "program", "launch", "spawn", "feed", "notify", "mark", "session", "succession",
    "errand", "proc" },
  { "http", "options", "curl", "fault", "transfer", "http" },
  { "consul", "consul", "watch" },
  { "port", "shared", "themes", "http", "consul", "connection", "net", "file", "log", "proc", "contain", "stack",
    "wait", "port" },
  { ".", "embedded", "main" }, -- the door
}

-- Behind the core. Inside they keep their own order.
local GUESTS = { "sim", "cli" }

-- Interface files, never loaded: of the port, and for editors.
local STUBS = { ["./port"] = true, ["api/library"] = true, ["consul/library"] = true }

local function lines_of(path)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  return text
end

local function files(pattern)
  local list = {}
  local pipe = assert(io.popen("ls " .. pattern .. " 2>/dev/null"))
  for path in pipe:lines() do list[#list + 1] = path end
  pipe:close()
  return list
end

-- "room/file" → its place in the order.
local function ranks(rooms)
  local rank, count = {}, 0
  for _, room in ipairs(rooms) do
    for i = 2, #room do
      count = count + 1
      rank[room[1] .. "/" .. room[i]] = count
    end
  end
  return rank, count
end

-- "lua/luapilot/job/machine.lua" → "job/machine"; of the hallway "lua/luapilot/init.lua" → "./init".
local function lua_name(path)
  local name = path:match "^lua/luapilot/(.*)%.lua$"
  return name:find "/" and name or "./" .. name
end

local function lua_files() return files "lua/luapilot/*.lua lua/luapilot/*/*.lua lua/luapilot/*/*/*.lua" end

local function room_of(name) return name:match "^(.-)/" end

local function is_guest(name)
  for i, room in ipairs(GUESTS) do
    if room_of(name) == room then return i end
  end
end

-- Those of the core that run.
local function core_files()
  local list = {}
  for _, path in ipairs(lua_files()) do
    if not (is_guest(lua_name(path)) or STUBS[lua_name(path)]) then list[#list + 1] = path end
  end
  return list
end

-- What is made by the Makefile or written in C.
local MADE = { rt = true, embedded = true, version = true }

-- "luapilot.job.machine" → "job/machine"; "luapilot" → "./init"; a room is its init.lua. nil: it is made.
local function named(module)
  if module == "" then return "./init" end
  local name = module:sub(2):gsub("%.", "/")
  if MADE[name] then return nil end
  if not name:find "/" then return name .. "/init" end
  return name
end

-- Lua without its comments; "--" in a string is none.
local function without_comments(text)
  return (text:gsub('%f["]"[^"\n]*"', function(string) return string:gsub("%-%-", "==") end):gsub("%-%-[^\n]*", ""))
end

-- Every module that a text of Lua names. A module's name in quotes is an arrow, whatever is done with it; so is the
-- beginning of one. "luapilot" alone is a word, too: there `require` says that the module is meant.
local function modules_in(text)
  local list, code = {}, without_comments(text)
  for module in code:gmatch '["\'%[]luapilot(%.[%w_.]*)["\'%]]' do list[#list + 1] = named(module) end
  if code:find 'require[%s(]*["\'%[]+luapilot["\'%]]' then list[#list + 1] = named "" end
  return list
end

local function required_by(path) return modules_in(lines_of(path)) end

-- "src/http/transfer.c" → "http/transfer"; of the door "src/main.c" → "./main".
local function c_name(path)
  local name = path:match "^src/(.*)%.[ch]$"
  return name:find "/" and name or "./" .. name
end

local function c_files() return files "src/*.[ch] src/*/*.[ch]" end

-- Of ours, in whatever brackets: `-Isrc` finds <consul/watch.h>, too.
local function included_by(path)
  local list = {}
  for bracket, header in lines_of(path):gmatch '#%s*include%s*([<"])([^">]+)[">]' do
    if bracket == '"' or #files("src/" .. header) > 0 then list[#list + 1] = c_name("src/" .. header) end
  end
  return list
end

-- Is there a row of docs/architecture.md for this file of C: "| `http/` | `http.c`, `transfer.c` | …"?
local function is_drawn(text, path)
  local wing, file = path:match "^src/(.-/?)([%w_]+%.c)$"
  for row in text:gmatch("\n| `?" .. wing .. "`? | ([^\n]*)") do
    if row:find("`" .. file .. "`", 1, true) then return true end
  end
end

-- Each file has its place in the tables of docs/architecture.md.
local function undrawn()
  local text, missing = lines_of "docs/architecture.md", {}
  for _, path in ipairs(files "src/*.c src/*/*.c") do
    if not is_drawn(text, path) then missing[#missing + 1] = path end
  end
  local core = text:sub(text:find("\n## lua/luapilot/", 1, true) or 1) -- a wing of src/ may have the name of a room
  for _, path in ipairs(core_files()) do
    local room, file = lua_name(path):match "^(.*)/(.*)$"
    local row = core:match("\n| `" .. room:gsub("^%.$", "init.lua"):gsub("%p", "%%%0") .. "/?` | ([^\n]*)")
    if not (row and (room == "." or row:find("`" .. file .. "`", 1, true))) then missing[#missing + 1] = path end
  end
  return missing
end

-- " job/        one job: …": "job/".
local function drawn_rows(plan)
  local list = {}
  for row in plan:gmatch "\n ([%w_/.]+) " do list[#list + 1] = row end
  return list
end

local function rows_of(rooms)
  local list = {}
  for _, room in ipairs(rooms) do
    if room[1] ~= "." then list[#list + 1] = room[1] .. "/" end
    if room[1] == "." and room[2] == "init" then list[#list + 1] = "init.lua" end
  end
  return list
end

describe("the layers", function()
  it("list every file of the core", function()
    local rank, unknown = ranks(lua_rooms), {}
    for _, path in ipairs(core_files()) do
      if not rank[lua_name(path)] then unknown[#unknown + 1] = path end
    end
    assert.same({}, unknown)
  end)

  it("list no file that is not there", function()
    local there, gone = {}, {}
    for _, path in ipairs(core_files()) do there[lua_name(path)] = true end
    for name in pairs(ranks(lua_rooms)) do
      if not there[name] then gone[#gone + 1] = name end
    end
    assert.same({}, gone)
  end)

  it("leave nothing in the hallway but what a pilot.lua requires, and the port", function()
    assert.same({ "lua/luapilot/init.lua", "lua/luapilot/port.lua" }, files "lua/luapilot/*.lua")
  end)

  it("see an arrow however it is drawn", function()
    for _, code in ipairs {
      'require "luapilot.pilot.app"', 'require("luapilot.pilot.app")', "require 'luapilot.pilot.app'",
      "require [[luapilot.pilot.app]]", 'pcall(require, "luapilot.pilot.app")', 'need "luapilot.pilot.app"',
      'package.loaded["luapilot.pilot.app"]', 'local dash = "--" require "luapilot.pilot.app"',
      'require\n  "luapilot.pilot.app"', 'for _, name in ipairs { "luapilot.pilot.app" } do require(name) end',
    } do
      assert.same({ "pilot/app" }, modules_in(code), code)
    end
    assert.same({ "pilot/" }, modules_in 'require("luapilot.pilot." .. name)') -- and that is no file: it fails
    assert.same({ "./init" }, modules_in 'require "luapilot"')
    assert.same({}, modules_in '-- require "luapilot.pilot.app"\n__name = "luapilot"')
  end)

  it("are never climbed by a module of the core", function()
    local rank, wrong, arrows = ranks(lua_rooms), {}, 0
    for _, path in ipairs(core_files()) do
      local name = lua_name(path)
      for _, other in ipairs(required_by(path)) do
        arrows = arrows + 1
        if not rank[other] or rank[other] >= rank[name] then wrong[#wrong + 1] = name .. " → " .. other end
      end
    end
    assert.same({}, wrong)
    assert.is_true(arrows > 500, "the arrows are not found any more")
  end)

  it("keep rules apart: none of them knows another", function()
    local rules, wrong = { "schema/restart", "job/trigger", "job/health", "base/cron" }, {}
    for _, rule in ipairs(rules) do
      for _, other in ipairs(required_by("lua/luapilot/" .. rule .. ".lua")) do
        for _, friend in ipairs(rules) do
          if other == friend then wrong[#wrong + 1] = rule .. " → " .. other end
        end
      end
    end
    assert.same({}, wrong)
  end)

  it("have the simulator behind the core, and the command line behind both", function()
    local rank, wrong = ranks(lua_rooms), {}
    for _, path in ipairs(lua_files()) do
      local name = lua_name(path)
      for _, other in ipairs(is_guest(name) and required_by(path) or {}) do
        local known = rank[other] or is_guest(other) and is_guest(other) <= is_guest(name)
        if not known then wrong[#wrong + 1] = name .. " → " .. other end
      end
    end
    assert.same({}, wrong)
  end)

  it("are drawn in the architecture, file by file", function() assert.same({}, undrawn()) end)

  it("stand in the plan of the architecture in this order", function()
    local c, lua = lines_of "docs/architecture.md":match "\n```\n(.-)═══(.-)─── lua/luapilot/"
    assert.same(rows_of(c_wings), drawn_rows(c))
    assert.same(rows_of(lua_rooms), drawn_rows(lua))
  end)

  it("keep Lua out of the runtime, but for the port and main", function()
    local wrong = {}
    for _, path in ipairs(c_files()) do
      local may = path:find "^src/port/" or path == "src/main.c"
      if not may and lines_of(path):find '#include [<"]lu?a[uxlibjt]*%.h[>"]' then wrong[#wrong + 1] = path end
    end
    assert.same({}, wrong)
  end)

  it("list every file of the runtime", function()
    local rank, unknown = ranks(c_wings), {}
    for _, path in ipairs(c_files()) do
      if not rank[c_name(path)] then unknown[#unknown + 1] = path end
    end
    assert.same({}, unknown)
  end)

  -- Two wings may have headers of one name: both can be included.
  it("give each header a guard of its own, named as the header is", function()
    local wrong = {}
    for _, path in ipairs(files "src/*.h src/*/*.h") do
      local guard = "LUAPILOT_" .. path:match "^src/(.*)$":gsub("[/.]", "_"):upper()
      local opening = ("#ifndef %s\n#define %s\n"):format(guard, guard)
      if not lines_of(path):find(opening, 1, true) then wrong[#wrong + 1] = path end
    end
    assert.same({}, wrong)
  end)

  it("are never climbed by an include", function()
    local rank, wrong = ranks(c_wings), {}
    for _, path in ipairs(c_files()) do
      local name = c_name(path)
      for _, other in ipairs(included_by(path)) do
        if other ~= name and not (rank[other] and rank[other] < rank[name]) then
          wrong[#wrong + 1] = name .. " → " .. other
        end
      end
    end
    assert.same({}, wrong)
  end)

  it("keep the guardian small: nothing of the runtime but the clock, and what the kernel tells of processes", function()
    local may = { ["loop/loop"] = true, ["base/children"] = true, ["base/descriptors"] = true, ["base/reclaim"] = true }
    local wrong = {}
    for _, path in ipairs(files "src/guardian/*") do
      for _, other in ipairs(included_by(path)) do
        if room_of(other) ~= "guardian" and not may[other] then wrong[#wrong + 1] = path .. " → " .. other end
      end
      if lines_of(path):find "malloc%(" then wrong[#wrong + 1] = path .. " allocates" end
    end
    assert.same({}, wrong)
  end)
end)

describe("the version", function()
  it("is the same in the Makefile, the rockspec and the changelog", function()
    local version = lines_of("Makefile"):match "\nVERSION *:?= *([%d.]+)"
    assert.is_string(version)
    assert.equal(1, #files("luapilot-" .. version .. "-*.rockspec"))
    assert.is_truthy(lines_of("CHANGELOG.md"):find(version, 1, true))
  end)
end)
