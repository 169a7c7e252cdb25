local loader = require "luapilot.script.loader"
local mistakes = require "luapilot.base.mistakes"

---A box over files in memory. box.run() loads, checks and runs the main file.
local function new_box(files, options)
  options = options or {}
  local box = { found = mistakes.new(), printed = {}, api = { name = "api" } }

  local function read(path, limit)
    local file = files[path]
    if file == nil then return nil, path .. ": no such file", "ENOENT" end
    if type(file) == "table" then return nil, file[2], file[1] end
    if #file > limit then return nil, path .. ": file too large", "EFBIG" end
    return file
  end

  box.loader = loader.new {
    read = read, api = box.api, mistakes = box.found,
    print = function(...) box.printed[#box.printed + 1] = table.concat({ ... }, " ") end,
    searchpath = options.searchpath, coroutine = options.coroutine,
  }

  function box.load(path) return box.loader:load(path or "pilot.lua") end

  function box.lines()
    local lines = {}
    for i, mistake in ipairs(box.found:list()) do lines[i] = mistakes.format(mistake) end
    return lines
  end

  function box.run(path)
    local chunk = box.load(path)
    box.loader:globals_check()
    assert.same({}, box.lines())
    return chunk()
  end

  return box
end

local function run(source, files, options)
  files = files or {}
  files["pilot.lua"] = source
  return new_box(files, options).run()
end

---What running a file raises.
local function raised(source, files, options)
  local ok, message = pcall(run, source, files, options)
  assert.is_false(ok)
  return message
end

---What is wrong with a file before it runs.
local function wrong(source, files)
  files = files or {}
  files["pilot.lua"] = source
  local box = new_box(files)
  local chunk = box.load()
  box.loader:globals_check()
  return box.lines(), chunk
end

local TOO_LARGE = ("-"):rep(loader.LIMIT + 100)

describe("loader: files", function()
  it("loads a file and gives its results", function()
    assert.equal(3, run "return 1 + 2")
    assert.is_nil(run "")
    assert.is_nil(run "-- nothing here")
  end)

  it("accepts a byte order mark, a #! line and CRLF, and keeps the line numbers", function()
    assert.equal(5, run "\239\187\191return 5")
    assert.matches("^pilot%.lua:3: odd$", raised "\239\187\191#!/usr/bin/luapilot\n\nerror 'odd'")
    assert.matches("^pilot%.lua:2: odd$", raised "local a = 1\r\nerror('odd', a)\r\n")
  end)

  it("uses the path as it was given", function()
    local box = new_box { ["/etc/my/pilot.lua"] = "\nerror 'odd'" }
    local ok, message = pcall(box.load "/etc/my/pilot.lua")
    assert.same({ false, "/etc/my/pilot.lua:2: odd" }, { ok, message })
  end)

  it("refuses what is no Lua source", function()
    local cases = {
      { string.dump(function() end), "is compiled bytecode: give the Lua source" },
      { "return 1\n\n\0", "contains NUL bytes: it is no Lua source", ":3" },
      { "return 1\n\1", "contains binary data: it is no Lua source", ":2" },
      { "\255\254r\0", "is UTF-16 text: save it as UTF-8" },
      { TOO_LARGE, "is larger than 1M, which is the limit for a configuration" },
      { { "EISDIR", "Is a directory" }, "is a directory: give the file in it, such as pilot.lua/pilot.lua" },
      { { "EACCES", "Permission denied" }, "may not be read by this user (permission denied)" },
      { { "EIO", "Input/output error" }, "cannot be read: Input/output error" },
      { { "EINVAL", 'cannot read "/dev/tty": it is a device, not a file' },
        "cannot be read: it is a device, not a file" },
      { { "EINVAL", 'cannot read "/dev/stdin": it is a FIFO, not a file' },
        "cannot be read: it is a pipe: write it to a file, and give that FILE, or /dev/stdin <FILE" },
    }
    for _, case in ipairs(cases) do
      local lines, chunk = wrong(case[1])
      assert.same({ "pilot.lua" .. (case[3] or "") .. ": " .. case[2] }, lines)
      assert.is_nil(chunk)
    end
  end)

  it("keeps to the limit also where read does not", function()
    local found = mistakes.new()
    local box = loader.new { read = function() return TOO_LARGE end, api = {}, mistakes = found }
    assert.is_nil(box:load "pilot.lua")
    assert.equal("has 1048676 bytes: it is larger than 1M, which is the limit for a configuration",
      found:list()[1].message)
  end)

  it("reports a missing file", function()
    local box = new_box {}
    assert.is_nil(box.load "no/pilot.lua")
    assert.same({ "no/pilot.lua: there is no such file; luapilot init writes a first one" }, box.lines())
  end)

  it("reports syntax errors, explained", function()
    local lines, chunk = wrong 'x = {\n  a = "b"\n  c = "d",\n}'
    assert.same({ "pilot.lua:3: '}' expected (to close '{' at line 1) near 'c' "
      .. "(a comma is missing at the end of line 2)" }, lines)
    assert.is_nil(chunk)
  end)

  it("knows the user's files", function()
    local box = new_box { ["pilot.lua"] = "require 'a'", ["a.lua"] = "" }
    box.run()
    assert.same({ true, true, false, false }, { box.loader:is_user "@pilot.lua", box.loader:is_user "@a.lua",
      box.loader:is_user "@b.lua", box.loader:is_user "pilot.lua" })
  end)

  it("keeps a long path whole", function()
    local path = ("deep/"):rep(20) .. "pilot.lua"
    local box = new_box { [path] = "x = = 1" }
    box.load(path)
    assert.equal(path .. ":1", box.found:list()[1].where)
  end)
end)

describe("loader: globals", function()
  it("gives Lua's library and nothing else", function()
    local names = {}
    for name in pairs(new_box({}).loader.env) do names[#names + 1] = name end
    table.sort(names)
    for i, name in ipairs(names) do
      if name == "rawlen" then table.remove(names, i) end
    end
    assert.equal("_G _VERSION assert bit collectgarbage coroutine debug dofile error gcinfo getfenv "
      .. "getmetatable io ipairs jit load loadfile loadstring math module newproxy next os package pairs "
      .. "pcall print rawequal rawget rawset require select setfenv setmetatable string table tonumber "
      .. "tostring type unpack xpcall",
      table.concat(names, " "))
  end)

  it("keeps boxes apart, and from its own world", function()
    assert.is_nil(run "x = 1; os.time = nil; table.concat = nil; math.random = nil; return print 'x'")
    assert.is_function(os.time)
    assert.is_function(table.concat)
    assert.is_nil(rawget(_G, "x"))
    assert.equal("function", run "return type(os.time)")
    assert.is_true(run "return _G == getfenv(1) and _G._G == _G")
    assert.is_true(run "return package.loaded.os == os and require 'os' == os")
  end)

  it("prints where it is told", function()
    local box = new_box { ["pilot.lua"] = "print('a', 1)" }
    box.run()
    assert.same({ "a 1" }, box.printed)
  end)

  it("takes a replacement for coroutine", function()
    local mine = { create = coroutine.create }
    assert.equal(mine, run("return coroutine", {}, { coroutine = mine }))
    assert.equal(mine, run("return require 'coroutine'", {}, { coroutine = mine }))
  end)

  it("names what replaces what would stop the pilot", function()
    assert.equal('pilot.lua:1: os.execute is not available in a pilot.lua: use '
      .. 'pilot.exec { "program", "argument" }, '
      .. "which waits without stopping everything else", raised "os.execute 'ls'")
    assert.equal('pilot.lua:1: io.popen is not available in a pilot.lua: use '
      .. 'pilot.exec { "program", "argument" }, '
      .. "whose result has stdout", raised "io.popen 'ls'")
    assert.equal("pilot.lua:1: os.exit is not available in a pilot.lua: use pilot.shutdown(code), "
      .. "which stops the jobs in order", raised "os.exit(1)")
    assert.is_function(os.exit)
  end)

  it("finds undefined globals before anything runs", function()
    local lines, chunk = wrong("local app = 1\nerror(ap)\n", {})
    assert.same({ 'pilot.lua:2: undefined global "ap" (did you mean "app"?)' }, lines)
    assert.is_function(chunk)
    assert.same({ 'pilot.lua:1: undefined global "pritn" (did you mean "print"?)' }, (wrong "pritn(1)"))
  end)

  it("loads strings and files in the same environment", function()
    assert.equal(5, run "x = 5; return loadstring 'return x' ()")
    assert.equal(5, run [[
      x = 5
      local text = "return x"
      return load(function() local piece = text; text = nil; return piece end)()]])
    assert.equal(7, run "return load('return y', 'chunk', 't', { y = 7 })()")
    assert.equal(5, run("return loadfile 'conf/a.lua' ()", { ["conf/a.lua"] = "return 5" }))
    assert.equal(6, run("dofile 'conf/a.lua'; return settings.n",
      { ["conf/a.lua"] = "settings = { n = 6 }" }))
    assert.same({ nil, "no.lua: there is no such file", n = 2 },
      { n = 2, run "return loadfile 'no.lua'" })
    assert.equal("pilot.lua:1: no.lua: there is no such file",
      raised "dofile('no' .. '.lua')")
  end)
end)

describe("loader: require", function()
  it("gives the api", function()
    assert.equal("api", run "return require 'luapilot'.name")
  end)

  it("refuses the inner parts of luapilot", function()
    assert.equal('pilot.lua:1: "luapilot.sim" cannot be required in a pilot.lua: the simulator is for specs '
      .. '(luapilot test); require "luapilot" has all there is', raised "require 'luapilot.sim'")
    assert.equal('pilot.lua:1: "luapilot.task.bus" cannot be required in a pilot.lua: it is an inner part '
      .. 'of luapilot; '
      .. 'require "luapilot" has all there is', raised "local b = require 'luapilot.task.bus'")
    assert.matches('^pilot.lua:1: "luapilot/bus" cannot be required', raised "require 'luapilot/bus'")
    assert.matches('^pilot.lua:1: "luapilot/" cannot be required', raised "require 'luapilot/'")
    assert.equal("pilot.lua:1: require expects a module's name, got nothing", raised "require(nil)")
  end)

  it("finds the user's modules beside the file", function()
    local files = {
      ["etc/pilot.lua"] = "local a, b = require 'lib.a', require 'b'; return a.n + b.n, require 'b' == b",
      ["etc/lib/a.lua"] = "return { n = 1, name = ... }",
      ["etc/b/init.lua"] = "shared = 2; return { n = shared }",
    }
    assert.same({ 3, true, n = 2 }, { n = 2, new_box(files).run "etc/pilot.lua" })
  end)

  it("beside a file in /dev/shm as well, and never in the working directory", function()
    local files = {
      ["/dev/shm/pilot.lua"] = "local name = 'b'; return require 'a', require(name), dofile 'c.lua'",
      ["/dev/shm/a.lua"] = "return 1", ["/dev/shm/b.lua"] = "return 2", ["/dev/shm/c.lua"] = "return 3",
      ["a.lua"] = "return 'wrong'", ["b.lua"] = "return 'wrong'", ["c.lua"] = "return 'wrong'",
    }
    assert.same({ 1, 2, 3 }, { new_box(files).run "/dev/shm/pilot.lua" })
    files["/dev/shm/a.lua"] = nil
    local ok, message = pcall(new_box(files).run, "/dev/shm/pilot.lua")
    assert.is_false(ok)
    assert.is_truthy(message:find("there is neither /dev/shm/a.lua nor /dev/shm/a/init.lua", 1, true), message)
  end)

  it("in the working directory, when the file comes from a stream", function()
    for _, stream in ipairs { "/dev/stdin", "/dev/fd/3" } do
      local files = { [stream] = "return require 'a'", ["a.lua"] = "return 1", ["/dev/a.lua"] = "return 'wrong'" }
      assert.equal(1, new_box(files).run(stream))
    end
  end)

  it("runs a module once, and takes true for no result", function()
    local files = { ["count.lua"] = "n = (n or 0) + 1" }
    assert.same({ true, true, 1 }, { run("local a, b = require 'count', require 'count'; return a, b, n",
      files) })
  end)

  it("checks modules before anything runs", function()
    local files = { ["a.lua"] = "return require 'b'", ["b.lua"] = "\nreturn undefinde", ["c.lua"] = "x = {" }
    local lines, chunk = wrong("require('a')\nrequire 'c'\nprint(set_in_b)", files)
    assert.is_function(chunk)
    assert.same({ "c.lua:1: unexpected symbol near '<eof>'", 'pilot.lua:3: undefined global "set_in_b"',
      'b.lua:2: undefined global "undefinde"' }, lines)
  end)

  it("finds a module that is named literally, however that is written", function()
    for _, source in ipairs { "require [[a]]", "require --[[x]] 'a'", "require ( 'a' )", "dofile 'a.lua'",
                              "local l = require 'luapilot' local a = require\n\n'a'" } do
      assert.same({ 'a.lua:1: undefined global "undefinde"' }, wrong(source, { ["a.lua"] = "return undefinde" }))
    end
    assert.same({}, wrong("-- require 'a'\nlocal s = \"require 'a'\"", { ["a.lua"] = "return undefinde" }))
  end)

  it("checks a module that nobody named literally when it is loaded", function()
    assert.equal('a.lua:1: undefined global "nothing_here"',
      raised("require('a' .. '')", { ["a.lua"] = "return nothing_here" }))
    assert.equal(4, run("base = 3; return require('a' .. '')", { ["a.lua"] = "return base + 1" }))
  end)

  it("raises a module's error with its place", function()
    assert.equal("a.lua:2: odd", raised("require 'a'", { ["a.lua"] = "\nerror 'odd'" }))
    assert.equal("a.lua: is compiled bytecode: give the Lua source",
      raised("require('a' .. '')", { ["a.lua"] = "\27LJ" }))
  end)

  it("names the chain of a circle", function()
    local files = { ["a.lua"] = "return require 'b'", ["b.lua"] = "return require 'a'" }
    assert.equal("modules require each other in a circle: a.lua -> b.lua -> a.lua", raised("require 'a'",
      files))
    assert.equal("modules require each other in a circle: pilot.lua -> c.lua -> pilot.lua",
      raised("require 'c'", { ["c.lua"] = "require 'pilot'" }))
  end)

  it("says where it looked", function()
    assert.equal('pilot.lua:1: module "nothing.here" not found: there is neither nothing/here.lua nor '
      .. "nothing/here/init.lua, nor such a rock or library on package.path and package.cpath",
      raised("require 'nothing.here'"))
    assert.matches('module "luapliot" not found %(did you mean "luapilot"%?%)', raised("require 'luapliot'"))
  end)

  it("takes libraries of LuaJIT and C from Lua itself", function()
    assert.equal(require "ffi".C, run "return require 'ffi'".C)
    assert.equal(require "bit", run "return require 'bit'" and require "bit")
    assert.equal(require "jit.util", run "return require 'jit.util'")
  end)

  it("honours package.preload and package.loaded", function()
    assert.equal(5, run "package.preload.x = function(name) return name == 'x' and 5 end; return require 'x'")
    assert.equal(6, run "package.loaded.x = 6; return require 'x'")
  end)

  describe("of rocks", function()
    local path, name

    before_each(function()
      path = os.tmpname()
      name = path:match "[^/]*$"
      local file = assert(io.open(path, "w"))
      file:write "count = (count or 0) + 1; return { env = getfenv(1), count = count, odd = undefined_here }"
      file:close()
    end)

    after_each(function() os.remove(path) end)

    it("loads a copy for each box, in its globals, unchecked", function()
      local options = { searchpath = path:match "^.*/" .. "?" }
      local source = ("local r = require %q; return r.env == _G, r.count, require %q == r"):format(name, name)
      assert.same({ true, 1, true }, { run(source, {}, options) })
      assert.same({ true, 1, true }, { run(source, {}, options) })
    end)

    it("puts the user's own modules first", function()
      local options = { searchpath = path:match "^.*/" .. "?" }
      assert.equal("mine", run(("return require %q"):format(name), { [name .. ".lua"] = "return 'mine'" },
        options))
    end)

    it("follows package.path as the file sets it", function()
      local source = ("package.path = %q; return require %q"):format(path:match "^.*/" .. "?", name)
      assert.equal(1, run(source, {}, { searchpath = "" }).count)
    end)
  end)

  it("keeps the modules of module() in the box", function()
    assert.same({ 5, 5 },
      { run("require 'old.one'; return _G.old.one.five(), package.loaded['old.one'].five()",
      { ["old/one.lua"] = "module('old.one', package.seeall)\nfunction five() return tonumber '5' end" }) })
    assert.is_nil(rawget(_G, "old"))
    assert.is_nil(package.loaded["old.one"])
  end)
end)
