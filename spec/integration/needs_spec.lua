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

local SMALL = "api.facade api.job base.constant base.copy base.describe base.duration base.lazy base.mistakes "
  .. "base.queue base.signals cli cli.command cli.load cli.locate cli.run cli.terminal file.trials job.arming "
  .. "job.environment job.machine job.runner job.starter job.trigger luapilot pilot.app pilot.quiescence "
  .. "pilot.shutdown rt schema.argv schema.job schema.restart schema.schema script.libraries "
  .. "script.loader script.strict script.validate service.advertiser task.bus task.coroutines task.loop "
  .. "task.scheduler"

-- Functions are what costs: 200 bytes of bytecode each, and twice that in memory.
local MOST = 189 * 1024

-- Bytes of the bytecode of modules, with all that a debugger wants.
local function size_of(names)
  local sum = 0
  for name in names:gmatch "%S+" do
    local module = name == "luapilot" and name or "luapilot." .. name
    local path = package.searchpath(module, "lua/?.lua;lua/?/init.lua")
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
    local used = { "file.fs", "base.json", "net.http", "net.connection", "net.buffer", "net.exchange", "file.render",
      "file.template", "file.swap", "file.slices" }
    for _, name in ipairs(used) do
      assert.is_truthy(names:find(" " .. name .. " ", 1, true), name)
    end
    for _, name in ipairs { "base.cron", "base.glob" } do
      assert.is_nil(names:find(" " .. name .. " ", 1, true), name)
    end
  end)

  it("of files what is done with them", function()
    local function more(body)
      local names = loaded('local pilot = require "luapilot"; pilot.job "app" { run = function() ' .. body .. " end }")
      local list = {}
      for _, name in ipairs { "file.fs", "file.slices", "file.swap", "base.glob" } do
        if (" " .. names .. " "):find(" " .. name .. " ", 1, true) then list[#list + 1] = name end
      end
      return table.concat(list, " ")
    end
    assert.equal("file.fs", more 'pilot.fs.stat "pilot.lua" pilot.fs.list "." pilot.fs.mkdir "made"')
    assert.equal("file.fs file.slices", more 'pilot.fs.read "pilot.lua" pilot.fs.append("log", "x")')
    assert.equal("file.fs base.glob", more 'pilot.fs.glob "*.lua"')
    assert.equal("file.fs file.slices file.swap", more 'pilot.fs.write("made", "x")')
  end)
end)

describe("the program", function()
  after_each(run.cleanup)

  it("takes the core from itself, whatever is on LUA_PATH, and what a file requires from there", function()
    local p = run.pilot([[
      print(require "rock", pcall(require, "luapilot.pilot.app"))
      require "luapilot".job "app" { exec = { "true" } }
    ]], { env = { LUA_PATH = "./any.lua" }, files = { ["any.lua"] = 'return "a rock"' } })
    assert.equal(0, p:wait(), p:output())
    assert.is_truthy(p:output():find("a rock\tfalse\t.*cannot be required in a pilot.lua"), p:output())
  end)

  -- LuaJIT's own in spec/support/chunks.c: 128 KiB each. More of them would come with pages that nobody needs.
  it("takes the chunks of memory that each start fills with their pages, and no other", function()
    machine.need("cc", "ldd")
    if os.getenv "ASAN_OPTIONS" then machine.skip "the sanitizer must be the first library" end
    if machine.can("ldd '" .. run.binary .. "' | grep -q luajit") then machine.skip "LuaJIT is not in the program" end
    local library = run.program { "sh", "-c", 'exec cc -shared -fPIC -O1 -D_GNU_SOURCE -o chunks.so "$1"', "sh",
      run.absolute "spec/support/chunks.c" }
    assert.equal(0, library:wait(), library:output())
    local p = run.pilot([[ require "luapilot".job "app" { exec = { "true" }, env_clear = true } ]],
      { env = { LD_PRELOAD = library:path "chunks.so" } })
    assert.equal(0, p:wait(), p:output())
    local order = p:stderr():gsub("[^\n]*luapilot: [^\n]*\n", "")
    assert.is_truthy(order:find "^chunk filled\nchunk filled\nchunk filled\nchunk filled\nchunk\n", order)
    assert.is_nil(order:find("chunk\nchunk filled", 1, true), order)
  end)
end)
