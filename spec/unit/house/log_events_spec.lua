-- What luapilot logs of its own accord has an event, and the reference's table has that event with its fields: what the
-- source says is compared with the table, in both directions, and the fields with the golden messages.

local json = require "cjson"

local run = require "support.run"

local GOLDEN = "spec/contract/messages.golden"
local ALWAYS = {
  time = true, level = true, source = true, msg = true, event = true, job = true, pid = true, restarts = true,
}

-- --- the source: Lua -------------------------------------------------------------------------------

-- Calls whose event is no word in quotes: `module: argument` → its events. None: the call hands on what it is given,
-- or the message is the user's own.
local INDIRECT = {
  ["app.lua: event"] = {}, ["runner.lua: event"] = {}, ["registrar.lua: event"] = {}, -- they hand on
  ["app.lua: ..."] = {}, ["stdio.lua: nil"] = {}, ["log.lua: nil"] = {}, ["app.lua: nil"] = {}, -- pilot.log, print
  ["runner.lua: name"] = { "exit_success", "exit_failed", "healthy", "unhealthy", "stopped" },
  ["desired.lua: event"] = { "enter_maintenance", "exit_maintenance" },
  ['registrar.lua: "service_" .. SAID[step]'] = { "service_registered", "service_deregistered" },
}

local function modules()
  local list = {}
  for path in io.popen "find lua/luapilot -name '*.lua' | sort":lines() do
    if not path:find "/sim/" and not path:find "library%.lua$" then list[#list + 1] = path end
  end
  return list
end

-- The arguments of a call whose parenthesis opens at `at`: texts, without strings and brackets being taken apart.
local function arguments(text, at)
  local list, depth, from, i = {}, 0, at + 1, at
  while true do
    local c = text:sub(i, i)
    if c == '"' or c == "'" then
      i = text:gsub("\\.", "xx"):find(c, i + 1, true)
    elseif c:find "[({[]" then
      depth = depth + 1
    elseif c:find "[)}%]]" then
      depth = depth - 1
    end
    if depth == 0 or depth == 1 and c == "," then
      list[#list + 1] = text:sub(from, i - 1):match "^%s*(.-)%s*$"
      from = i + 1
    end
    if depth == 0 then return list end
    i = i + 1
  end
end

-- The argument that is the event, of the three ways to log: :log(level, message, fields, event, …), the machine's
-- effect, and a function of the module's own.
local function event_of(args)
  if args[1] == "c" then return args[2] == '"log"' and (args[5] or "nil"):match 'event = ("[^"]+")' or nil end
  return (args[1] == "self" and args[5] or args[1] ~= "self" and args[4]) or args[1] == "..." and "..." or "nil"
end

local function add_lua(path, events, bare)
  local text, name = run.read(path):gsub("%-%-[^\n]*", ""), path:match "[^/]+$"
  for before, called, at in text:gmatch "([^\n]-)%f[%w_]([%w_]+)()%(" do
    local log = called == "log" or called == "emit"
    if log and not before:find "function [%w_.:]*$" then
      local args = arguments(text, at)
      local event = event_of(args)
      local word = event and event:match '^"([%w_]+)"$'
      local known = INDIRECT[("%s: %s"):format(name, event)]
      if word then events[word] = true end
      for _, each in ipairs(known or {}) do events[each] = true end
      if event and not (word or known) or called == "emit" and args[2] == '"log"' and not event then
        bare[#bare + 1] = ("%s: %s(%s)"):format(path, called, table.concat(args, ", "))
      end
    end
  end
end

-- --- the source: C ---------------------------------------------------------------------------------

-- Functions that log, with the fields that they give: text_field("log", …), {"lost", …}.
local function fields_of(output, called)
  local body, fields = output:match("\nstatic void " .. called .. "%(.-\n}\n"), {}
  for field in body:gmatch 'text_field%("(%l+)"' do fields[field] = field ~= "event" or nil end
  for field in body:gmatch '{"(%l+)", ' do fields[field] = true end
  return fields
end

local function add_c(events)
  local output = run.read "src/output/output.c"
  local said = { output_say = {}, in_trouble = fields_of(output, "in_trouble"), own_up = fields_of(output, "own_up") }
  for path in io.popen "find src -name '*.c'":lines() do
    for called, args in run.read(path):gmatch "([%w_]+)(%b())" do
      local event = said[called] and args:match '"([%l_]+)"'
      if event then events[event] = said[called] end
    end
  end
end

-- --- the reference ---------------------------------------------------------------------------------

local function documented()
  local rows = run.read "docs/reference.md":match "\n| `event` | fields | |\n|[-|]+\n(.-)\n\n"
  local events = {}
  for names, fields in rows:gmatch "| (`[^|]*) | ([^|]*)| [^\n]*" do
    for event in names:gmatch "`([%w_]+)`" do
      assert.is_nil(events[event], event)
      events[event] = {}
      for field in fields:gmatch "`([%w_]+)`" do events[event][field] = true end
    end
  end
  return events
end

local function sorted(set)
  local list = {}
  for key in pairs(set) do list[#list + 1] = key end
  table.sort(list)
  return list
end

-- By event: the fields of its golden messages.
local function golden()
  local events = {}
  for line in run.read(GOLDEN):gmatch "[^\n]+" do
    local message = line:sub(1, 1) == "{" and json.decode(line) or {}
    local event = message.event
    if message.source and event and not message.source_ then
      events[event] = events[event] or {}
      for field in pairs(message) do
        if not ALWAYS[field] then events[event][field] = true end
      end
    end
  end
  return events
end

describe("the log of luapilot's own", function()
  local events, bare = {}, {}
  for _, path in ipairs(modules()) do add_lua(path, events, bare) end
  local by_c = {}
  add_c(by_c)
  for event in pairs(by_c) do events[event] = true end

  it("has an event in each message", function()
    assert.same({}, bare)
    assert.is_true(#sorted(events) > 50) -- they are found at all
  end)

  it("has the events of the reference's table, and no others", function()
    assert.same(sorted(documented()), sorted(events))
  end)

  it("has the fields of that table, and no others", function()
    local said, told = golden(), documented()
    for event, fields in pairs(by_c) do said[event] = fields end
    for _, event in ipairs(sorted(told)) do
      assert(said[event], event .. ": no golden message of it")
      assert.same(sorted(told[event]), sorted(said[event]), event)
    end
  end)
end)
