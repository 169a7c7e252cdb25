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

local c_layers = {
  { "buffer", "names", "handle", "loop", "launch", "random", "embedded", "pages", "descriptors", "children", "remote",
    "thread" },
  { "guardian", "ending", "lastwords", "manager" }, -- PID 1: these, some of the first line, the clock of loop.h
  { "place", "mark", "passed", "reach" },
  { "output", "format", "parse", "sink", "stream" }, -- what output.h promises, and the four that keep it
  { "account", "cgroup", "program", "feed", "notify", "net", "connection", "session", "succession" },
  { "http", "http_transfer", "http_curl", "http_fault" }, -- what http.h promises, and the three that keep it
  { "consul", "spawn" },
  { "consul_watch", "errand" },
  { "proc" },
  { "port", "port_lua", "port_connection", "port_consul", "port_contain", "port_file", "port_http", "port_log",
    "port_net", "port_proc", "port_stack", "port_wait" },
  { "main" },
}

-- Inside these lines the files share one header and may see each other.
local c_families = { [2] = true, [4] = true, [6] = true, [10] = true }

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

-- "luapilot.job.machine" → "job"; "luapilot" → "init"; nil for what is not ours.
local function module_name(required)
  if required == "luapilot" then return "init" end
  return required:match "^luapilot%.([%w_.]+)$"
end

-- "lua/luapilot/job/machine.lua" → "job"; "…/consul/kv.lua" → "consul.kv"; "…/consul/init.lua" → "consul".
local function module_of(path)
  return (path:match "^lua/luapilot/(.*)%.lua$":gsub("/init$", ""):gsub("/", "."))
end

local function core_files() return files "lua/luapilot/*.lua lua/luapilot/consul/*.lua" end

-- Each file has its place in the tables of docs/architecture.md; those of C by their name there, or by a pattern.
local function undrawn()
  local text, missing = lines_of "docs/architecture.md", {}
  for _, path in ipairs(files "src/*.c") do
    local name = path:match "([%w_]+%.c)$"
    if not (name:find "^port" or text:find("`" .. name .. "`", 1, true)) then missing[#missing + 1] = path end
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
    for _, path in ipairs(files "src/*") do
      local may = path:find "src/port" or path:find "src/main%.c$"
      if not may and lines_of(path):find '#include [<"]lu?a[uxlibjt]*%.h[>"]' then wrong[#wrong + 1] = path end
    end
    assert.same({}, wrong)
  end)

  it("list every file of the runtime", function()
    local rank, unknown = ranks(c_layers), {}
    for _, path in ipairs(files "src/*") do
      if not rank[path:match "([%w_]+)%.[ch]$"] then unknown[#unknown + 1] = path end
    end
    assert.same({}, unknown)
  end)

  it("are never climbed by an include", function()
    local rank, wrong = ranks(c_layers), {}
    for _, path in ipairs(files "src/*") do
      local name = path:match "([%w_]+)%.[ch]$"
      for header in lines_of(path):gmatch '#include "([%w_]+)%.h"' do
        local family = rank[header] == rank[name] and c_families[rank[name]]
        if header ~= name and not family and not (rank[header] and rank[header] < rank[name]) then
          wrong[#wrong + 1] = name .. " → " .. header
        end
      end
    end
    assert.same({}, wrong)
  end)

  it("keep the guardian small: nothing of the runtime but the clock, the page, and what makes it smaller", function()
    local wrong = {}
    for _, path in ipairs { "src/guardian.c", "src/guardian.h", "src/ending.c", "src/ending.h", "src/lastwords.c",
                           "src/lastwords.h", "src/manager.c", "src/manager.h" } do
      for header in lines_of(path):gmatch '#include "([%w_]+)%.h"' do
        local may = header == "guardian" or header == "ending" or header == "lastwords" or header == "loop"
          or header == "manager" or header == "pages" or header == "descriptors" or header == "children"
        if not may then wrong[#wrong + 1] = path .. " → " .. header end
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
