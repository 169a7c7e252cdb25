-- The layers of the house. A file may use what stands in a lower line than its own, never a sibling, never something
-- above. When this spec fails, the arrow is wrong, not the spec: move the code, or draw the layers anew on purpose.

local lua_layers = {
  -- words and values
  { "base64", "constant", "copy", "describe", "lazy", "lexer", "queue", "roll", "strings_view",
    "unread", "utf8", "words", "zone" },
  { "blocked", "coroutines", "finalisers", "glob", "slices", "suggest", "size", "duration", "cron", "calls", "url",
    "proxy",
    "advice", "masks", "standard" },
  { "signals", "schema", "syntax", "undefined", "libraries", "mistakes", "aftermath" },
  { "paths" },
  { "exact", "unheard", "env_file", "characters" },
  { "strict", "types", "http_types", "argv", "events", "restart", "address", "template" },
  { "dependency_types", "service_types", "health_types", "meant" },
  { "config" },
  { "option_types" },
  -- mechanisms, each by itself
  { "subscription" },
  { "patience", "task", "bus", "health", "trigger", "trigger_text", "job", "json", "program", "schedule", "environment",
    "exchange", "swap", "turns", "retry", "outage", "starved", "waiting", "facade" },
  { "loop", "fs", "tasks", "lines", "late" },
  { "watch" },
  -- the client of Consul
  { "consul.names", "consul.options" },
  { "consul.client", "consul.shapes" },
  { "consul.requests", "consul.endpoints" },
  { "consul.kv", "consul.calls" },
  { "consul.txn" },
  -- jobs at work
  { "service", "catalogue" },
  { "prober" },
  { "awaited" }, { "reminder" },
  { "starter", "render", "records", "registrar" },
  { "dependencies" },
  { "renders", "services", "adoption" },
  { "runner" },
  -- the user's language
  { "http", "net" },
  { "ask" },
  { "job_actions", "log", "groups", "timers", "actions", "surroundings", "shutdown_signals" },
  { "object", "consul" },
  { "watches" },
  { "templates" },
  { "init" },
  -- the whole
  { "circles", "mentions", "order", "raised", "rivals", "verdict" },
  { "loader", "validate", "prospects", "shutdown", "handoff", "mishap" },
  { "app" },
}

-- The wings of src/, and in each its files, in order: a file may include what stands before it, in its wing or in an
-- earlier one, and nothing else.
local c_wings = {
  { "base", "buffer", "names", "random", "children", "descriptors", "pages" },
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

-- Interface files, never loaded: of the port, and for editors.
local stubs = { port = true, library = true, ["consul.library"] = true }

-- Whole folders above the core: inside they keep their own order.
local folders = { sim = true, cli = true }

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

local function ranks(layers)
  local rank = {}
  for i, layer in ipairs(layers) do
    for _, name in ipairs(layer) do rank[name] = i end
  end
  return rank
end

-- "luapilot.job" → "job"; "luapilot" → "init"; nil for what is not ours.
local function module_name(required)
  if required == "luapilot" then return "init" end
  return required:match "^luapilot%.([%w_.]+)$"
end

-- "lua/luapilot/job.lua" → "job"; "…/consul/kv.lua" → "consul.kv"; "…/consul/init.lua" → "consul".
local function module_of(path)
  return (path:match "^lua/luapilot/(.*)%.lua$":gsub("/init$", ""):gsub("/", "."))
end

local function core_files() return files "lua/luapilot/*.lua lua/luapilot/consul/*.lua" end

-- "src/http/transfer.c" → "http/transfer"; of the door "src/main.c" → "./main".
local function c_name(path)
  local name = path:match "^src/(.*)%.[ch]$"
  return name:find "/" and name or "./" .. name
end

local function c_files() return files "src/*.[ch] src/*/*.[ch]" end

local function c_ranks()
  local rank, count = {}, 0
  for _, wing in ipairs(c_wings) do
    for i = 2, #wing do
      count = count + 1
      rank[wing[1] .. "/" .. wing[i]] = count
    end
  end
  return rank
end

local function included_by(path)
  local list = {}
  for header in lines_of(path):gmatch '#include "([^"]+)"' do list[#list + 1] = c_name("src/" .. header) end
  return list
end

local function wing_of(name) return name:match "^(.-)/" end

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
  for _, path in ipairs(files "lua/luapilot/*.lua") do
    local name = module_of(path)
    if not (stubs[name] or text:find("`" .. name .. "`", 1, true)) then missing[#missing + 1] = path end
  end
  return missing
end

local function required_by(path)
  local list = {}
  for way, name in ("\n" .. lines_of(path)):gmatch '\n%s*local [%w_]+ = ([%w.]+) *%(?"([%w_.]+)"' do
    local module = (way == "require" or way == "lazy.require") and module_name(name)
    if module then list[#list + 1] = module end
  end
  return list
end

describe("the layers", function()
  it("list every file of the core", function()
    local rank, unknown = ranks(lua_layers), {}
    for _, path in ipairs(core_files()) do
      local name = module_of(path)
      if not rank[name] and not stubs[name] then unknown[#unknown + 1] = name end
    end
    assert.same({}, unknown)
  end)

  it("are never climbed by a require of the core", function()
    local rank, wrong = ranks(lua_layers), {}
    for _, path in ipairs(core_files()) do
      local name = module_of(path)
      for _, other in ipairs(stubs[name] and {} or required_by(path)) do
        if not rank[other] or rank[other] >= rank[name] then wrong[#wrong + 1] = name .. " → " .. other end
      end
    end
    assert.same({}, wrong)
  end)

  it("are drawn in the architecture, file by file", function() assert.same({}, undrawn()) end)

  it("keep the core ignorant of the simulator and the command line", function()
    local wrong = {}
    for _, path in ipairs(core_files()) do
      for _, other in ipairs(required_by(path)) do
        if folders[other:match "^[%w_]+"] then wrong[#wrong + 1] = path .. " → " .. other end
      end
    end
    assert.same({}, wrong)
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
    local rank, unknown = c_ranks(), {}
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
    local rank, wrong = c_ranks(), {}
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
    local may = { ["loop/loop"] = true, ["base/children"] = true, ["base/descriptors"] = true, ["base/pages"] = true }
    local wrong = {}
    for _, path in ipairs(files "src/guardian/*") do
      for _, other in ipairs(included_by(path)) do
        if wing_of(other) ~= "guardian" and not may[other] then wrong[#wrong + 1] = path .. " → " .. other end
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
