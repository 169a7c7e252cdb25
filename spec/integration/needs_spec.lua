-- What `luapilot run` loads for a small file: each module costs every container time at its start, and memory as long
-- as it lives. The core runs in a plain LuaJIT here, with the real port: the program shows its modules to nobody.

local machine = require "support.machine"
local run = require "support.run"

local SCRIPT = [[
  package.path = %q
  local code = require "luapilot.cli".main { "run", "pilot.lua" }
  local names = {}
  for name in pairs(package.loaded) do
    if name:find "^luapilot" or name == "argparse" or name == "cjson" then
      names[#names + 1] = name:gsub("^luapilot%%.", "")
    end
  end
  table.sort(names)
  io.stderr:write("loaded: ", table.concat(names, " "), "\n")
  os.exit(code)
]]

-- The modules that are loaded when the pilot of such a file has ended.
local function loaded(text)
  local asan = os.getenv "ASAN_OPTIONS"
  if asan then machine.skip "a plain LuaJIT cannot load the sanitized runtime" end
  local core = run.absolute "lua"
  local path = ("%s/?.lua;%s/?/init.lua;%s"):format(core, core, package.path)
  local p = run.runtime(SCRIPT:format(path), { files = { ["pilot.lua"] = text } })
  assert.equal(0, p:wait())
  return p:stderr():match "loaded: ([^\n]*)"
end

local SMALL = "app argv ask bus cli cli.command cli.load cli.locate cli.run cli.terminal config constant copy "
  .. "coroutines describe duration environment facade job lazy libraries loader loop luapilot mistakes "
  .. "object prospects queue renders restart rt runner schema services shutdown signals starter strict "
  .. "tasks trigger validate"

-- Functions are what costs: 200 bytes of bytecode each, and twice that in memory.
local MOST = 187 * 1024

-- Bytes of the bytecode of modules, with all that a debugger wants.
local function size_of(names)
  local sum = 0
  for name in names:gmatch "%S+" do
    local path = package.searchpath("luapilot." .. name, "lua/?.lua;lua/?/init.lua")
      or name == "luapilot" and "lua/luapilot/init.lua"
    if path then sum = sum + #string.dump(assert(loadfile(path))) end -- rt is C
  end
  return sum
end

describe("luapilot run loads", function()
  after_each(run.cleanup)

  -- When this fails because of a new module: does a pilot need it that does not use it? base/lazy.lua helps.
  it("what a small file needs", function()
    assert.equal(SMALL, loaded 'require "luapilot".job "app" { exec = { "true" } }')
  end)

  -- When this fails, find what a plain pilot does not need among what was added, and see lazy.methods. If it needs all
  -- of it, the bound may be raised by as much.
  it("no more code than a small file needs", function()
    local size = size_of(SMALL)
    assert.is_true(size <= MOST, ("%d bytes of bytecode, %d were enough"):format(size, MOST))
    assert.is_true(size > 0.9 * MOST, "much has been won: lower MOST to " .. size)
  end)

  it("the rest when a file uses it", function()
    local names = " " .. loaded [[
      local pilot = require "luapilot"
      pilot.job "app" { run = function()
        pilot.fs.write("made", pilot.json.encode { 1 })
        pilot.render { text = "<%= 1 %>", to = "rendered" }
        pcall(pilot.http.get, "http://127.0.0.1:1/")
        pcall(pilot.net.connect, "127.0.0.1:1")
      end }
    ]] .. " "
    local used = { "fs", "json", "http", "net", "unread", "exchange", "render", "template", "swap", "slices" }
    for _, name in ipairs(used) do
      assert.is_truthy(names:find(" " .. name .. " ", 1, true), name)
    end
    for _, name in ipairs { "cron", "glob" } do assert.is_nil(names:find(" " .. name .. " ", 1, true), name) end
  end)

  it("of files what is done with them", function()
    local function more(body)
      local names = loaded('local pilot = require "luapilot"; pilot.job "app" { run = function() ' .. body .. " end }")
      local list = {}
      for _, name in ipairs { "fs", "slices", "swap", "glob" } do
        if (" " .. names .. " "):find(" " .. name .. " ", 1, true) then list[#list + 1] = name end
      end
      return table.concat(list, " ")
    end
    assert.equal("fs", more 'pilot.fs.stat "pilot.lua" pilot.fs.list "." pilot.fs.mkdir "made"')
    assert.equal("fs slices", more 'pilot.fs.read "pilot.lua" pilot.fs.append("log", "x")')
    assert.equal("fs glob", more 'pilot.fs.glob "*.lua"')
    assert.equal("fs slices swap", more 'pilot.fs.write("made", "x")')
  end)
end)
