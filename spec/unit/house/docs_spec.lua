-- The documentation is tried: every example loads, and every public name has its place in the reference.
--
--   ```lua    that requires "luapilot" is a whole pilot.lua: the core loads it, without mistakes
--   ```lua    anything else must compile: as it stands, or as fields of a table
--
-- What is public is read from the core itself, so a new name without a word about it fails here.

local app = require "luapilot.pilot.app"
local boxes = require "luapilot.sim.box"
local behaviour = require "luapilot.sim.behaviour"
local cli = require "luapilot.cli"
local job_schema = require "luapilot.schema.job"
local health_schema = require "luapilot.schema.health"
local option_schema = require "luapilot.schema.options"
local process_schema = require "luapilot.schema.process"
local consul_options = require "luapilot.consul.options"
local events = require "luapilot.schema.events"
local job_api = require "luapilot.api.job"
local requests = require "luapilot.consul.requests"
local restart = require "luapilot.schema.restart"
local sim = require "luapilot.sim"
local service_schema = require "luapilot.schema.service"
local template_api = require "luapilot.api.template"
local txn = require "luapilot.consul.txn"
local watch_api = require "luapilot.api.watch"

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

local function pages()
  local list = { "README.md" }
  for path in io.popen("ls docs/*.md"):lines() do list[#list + 1] = path end
  return list
end

-- { where, text } of each ```lua block.
local function examples(path)
  local list, lines, number = {}, nil, 0
  for line in (read(path) .. "\n"):gmatch "([^\n]*)\n" do
    number = number + 1
    if lines and line:find "^%s*```" then
      list[#list].text = table.concat(lines, "\n") .. "\n"
      lines = nil
    elseif lines then
      lines[#lines + 1] = line
    elseif line:find "^%s*```lua%s*$" then
      lines = {}
      list[#list + 1] = { where = ("%s:%d"):format(path, number) }
    end
  end
  assert(not lines, path .. ": a block is not closed")
  return list
end

local function is_pilot(text) return text:find 'require "luapilot"' ~= nil end

local function mistakes_of(text)
  local machine = sim.world():machine { files = { ["/pilot/pilot.lua"] = text } }
  local pilot = app.new { port = machine.interface, lenient = true }
  local ok, list = pilot:load "/pilot/pilot.lua"
  return ok and {} or list
end

-- --- what is public --------------------------------------------------------------------------

-- A local of a module, through the functions that use it.
local function upvalue(fn, name)
  for i = 1, 60 do
    local found, value = debug.getupvalue(fn, i)
    if not found then break end
    if found == name then return value end
  end
  error("no upvalue " .. name, 2)
end

local function keys(value)
  local list = {}
  for key in pairs(value) do list[#list + 1] = key end
  table.sort(list)
  return list
end

-- The fields that a type of schema.fields reads.
local function fields_of(kind)
  local fields = upvalue(kind, "fields")
  return type(fields) == "function" and fields() or fields
end

local function a_pilot()
  local pilot = app.new { port = sim.world():machine({}).interface }
  return pilot.object
end

local pilot_table = a_pilot()
local job_fields = fields_of(upvalue(job_schema.job, "read_job"))
local check_fields = fields_of(upvalue(upvalue(health_schema.health, "one_check"), "read_check"))

local reference = read "docs/reference.md"

-- As code: `name`, or inside of a longer piece such as `job:name(…)`.
local function is_told(word, before)
  local pattern = "%f[%w_]" .. word:gsub("%p", "%%%0") .. "%f[^%w_]"
  for code in reference:gmatch "`([^`\n]+)`" do
    local at = code:find(pattern)
    if at and (not before or code:sub(1, at - 1):find(before .. "$")) then return true end
  end
  return false
end

local function untold(words, before)
  local list = {}
  for _, word in ipairs(words) do
    if not is_told(word, before) then list[#list + 1] = word end
  end
  return list
end

describe("an example in the documentation", function()
  for _, path in ipairs(pages()) do
    for _, example in ipairs(examples(path)) do
      if is_pilot(example.text) then
        it("loads without mistakes: " .. example.where, function()
          assert.same({}, mistakes_of(example.text))
        end)
      else
        it("compiles: " .. example.where, function()
          local chunk, message = load(example.text, "=" .. example.where)
          assert.is_truthy(chunk or load("return {" .. example.text .. "}"), message)
        end)
      end
    end
  end
end)

describe("the check of examples", function()
  it("finds blocks and their lines", function()
    local list = examples "docs/reference.md"
    assert.is_true(#list > 10)
    assert.is_truthy(list[1].where:find "^docs/reference.md:%d+$")
  end)

  it("sees a mistake", function()
    local list = mistakes_of 'local pilot = require "luapilot"\npilot.job "a" { exce = "x" }\n'
    assert.is_truthy(list[1]:find('did you mean "exec"', 1, true))
  end)
end)

describe("links in the documentation", function()
  for _, path in ipairs(pages()) do
    it("lead somewhere: " .. path, function()
      local text, directory = read(path), path:match "^(.*/)" or ""
      for target in text:gmatch "%]%(([^)%s]+)%)" do
        local file, anchor = target:match "^([^#]*)#?(.*)$"
        if not target:find "^%a+:" then
          local whole = file == "" and path or directory .. file
          local found = io.open(whole)
          assert.is_truthy(found, path .. " names " .. target)
          found:close()
          if anchor ~= "" then
            local anchors = {}
            for heading in ("\n" .. read(whole)):gmatch "\n#+ ([^\n]+)" do
              anchors[heading:lower():gsub("[^%w%s_-]", ""):gsub("%s", "-")] = true
            end
            assert.is_true(anchors[anchor] == true, path .. " names " .. target)
          end
        end
      end
    end)
  end
end)

describe("docs/reference.md tells", function()
  it("every name of pilot", function()
    assert.is_table(pilot_table.watch) -- comes when it is asked for
    assert.is_table(pilot_table.consul)
    assert.same({}, untold(keys(pilot_table), "pilot%."))
    for _, library in ipairs { "fs", "json", "http", "net", "watch" } do
      assert.same({}, untold(keys(pilot_table[library]), "pilot%." .. library .. "%."))
    end
    assert.same({}, untold(keys(pilot_table.log), "%."))
  end)

  it("every function of pilot.consul, and every option", function()
    for name, group in pairs(pilot_table.consul) do
      if type(group) == "table" then assert.same({}, untold(keys(group), "%."), name) end
      assert.is_true(is_told(name, "pilot%.consul%."), name)
    end
    assert.same({}, untold(keys(upvalue(requests.options, "OPTIONS"))))
    assert.same({}, untold(keys(upvalue(upvalue(consul_options.read, "read"), "fields"))))
    for _, each in ipairs { "cafile", "CONSUL_HTTP_ADDR", "CONSUL_HTTP_TOKEN", "CONSUL_HTTP_TOKEN_FILE",
                            "CONSUL_HTTP_AUTH", "CONSUL_HTTP_SSL", "CONSUL_HTTP_SSL_VERIFY" } do
      assert.is_true(is_told(each), each)
    end
    for _, each in ipairs(upvalue(upvalue(consul_options.read, "completed_tls"), "TLS")) do
      assert.is_true(is_told(each[1]) and is_told(each[2]), each[2])
    end
    for _, verb in ipairs(txn.VERBS) do
      assert.is_truthy(reference:find('`"' .. verb .. '"`', 1, true), verb)
    end
  end)

  it("every method and field of a job", function()
    local methods, fields = job_api.names()
    assert.same({}, untold(methods, "job:"))
    assert.same({}, untold(fields))
  end)

  it("every field of a declaration", function()
    assert.same({}, untold(keys(job_fields)))
    assert.same({}, untold(keys(check_fields)))
    assert.same({}, untold(keys(fields_of(upvalue(upvalue(restart.type, "from_table"), "read_fields")))))
    assert.same({}, untold(keys(fields_of(process_schema.limits))))
    assert.same({}, untold(keys(fields_of(job_fields.cgroup[1]))))
    assert.same({}, untold(keys(fields_of(upvalue(upvalue(process_schema.log, "by_type").table, "read_log")))))
  end)

  it("every option of a call", function()
    for _, name in ipairs { "handler_options", "trigger_options", "cron_options", "logging", "exec_options",
                            "http_options", "render_options", "template_options" } do
      assert.same({}, untold(keys(fields_of(upvalue(option_schema[name], "read")))), name)
    end
  end)

  it("every method and field of a template", function()
    assert.same({}, untold(template_api.METHODS, "template:"))
    assert.same({}, untold(template_api.FIELDS))
  end)

  it("every method and field of a watch, and every option", function()
    assert.same({}, untold(watch_api.METHODS, "watch:"))
    assert.same({}, untold(watch_api.FIELDS))
    assert.same({}, untold(keys(service_schema.watch_fields)))
  end)

  it("every field of a service", function()
    local one_service = upvalue(service_schema.services, "one_service")
    assert.same({}, untold(keys(fields_of(upvalue(one_service, "read_service")))))
  end)

  it("every event and every state", function()
    assert.same({}, untold(events.names.job))
    assert.same({}, untold(events.names.template))
    assert.same({}, untold(events.names.watch))
    assert.same({}, untold(events.names.pilot))
    assert.same({}, untold(events.states))
  end)

  it("every signal that a pilot.lua can hear", function()
    for _, signal in ipairs(events.list "pilot") do
      assert.is_truthy(reference:find("%f[%w]" .. signal .. "%f[^%w]"), signal)
    end
  end)

  it("every command", function()
    for _, command in ipairs(cli.commands) do assert.is_true(is_told(command.name, "luapilot %[?"), command.name) end
  end)

  it("the simulator", function()
    local box = sim.world():machine {}
    assert.same({}, untold(keys(sim), "sim%."))
    assert.same({}, untold(upvalue(boxes.new, "OPTIONS")))
    assert.same({}, untold(keys(upvalue(upvalue(behaviour.list, "check_table"), "known"))))
    local inner = {}
    for word in ("load turn record complain observe spawns names"):gmatch "%a+" do inner[word] = true end
    for _, method in ipairs(keys(upvalue(getmetatable(box).__index, "methods"))) do
      assert.is_true(inner[method] or is_told(method, "box:"), method)
    end
    for _, method in ipairs(keys(upvalue(getmetatable(box.consul).__index, "methods"))) do
      assert.is_truthy(reference:find("`[%w.]*:" .. method .. "%f[^%w_]"), method)
    end
  end)
end)

describe("the words of the fuzz (spec/fuzz/load.dict) are", function()
  local known = {}
  for word in read "spec/fuzz/load.dict":gmatch '\n"([%w_.]+)"' do known[word] = true end

  local function unknown(words, before)
    local list = {}
    for _, word in ipairs(words) do
      if not known[(before or "") .. word] then list[#list + 1] = word end
    end
    return list
  end

  it("every field of a job, of its checks and of its log", function()
    assert.same({}, unknown(keys(job_fields)))
    assert.same({}, unknown(keys(check_fields)))
    assert.same({}, unknown(keys(fields_of(upvalue(upvalue(process_schema.log, "by_type").table, "read_log")))))
  end)

  it("every function of pilot", function()
    local functions = {}
    for name, value in pairs(pilot_table) do
      if type(value) == "function" then functions[#functions + 1] = name end
    end
    table.sort(functions)
    assert.same({}, unknown(functions, "pilot."))
  end)
end)

describe("the examples have", function()
  local text = {}
  for path in io.popen("ls examples/*/pilot.lua"):lines() do text[#text + 1] = read(path) end
  text = table.concat(text, "\n")

  local function unseen(words, pattern)
    local list = {}
    for _, word in ipairs(words) do
      if not text:find(pattern:format(word)) then list[#list + 1] = word end
    end
    return list
  end

  it("the words of a job's end, of its descriptors and of its lines", function()
    assert.same({}, unseen({
      "stop_mode", "pidfile", "stdin", "stop_timeout", "stop_signal", "merge", "parse", "level_from", "prefix",
    }, "%%f[%%w_]%s%%s*="))
    assert.same({}, unseen({ "shutdown_signals", "shutdown_timeout" }, "pilot%%.%s"))
  end)
end)
