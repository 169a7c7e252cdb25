-- In the simulator: code that never waits fails the spec, instead of hanging it. And Lua's libraries as a pilot.lua
-- sees them, without what would let a script out of its bounds.

local sim = require "luapilot.sim"

local TOO_LONG = "ran for more than 100 million instructions without waiting: "

local function load_box(body)
  local text = 'local pilot = require "luapilot"\n' .. body
  return sim.load("pilot.lua", { source = text })
end

describe("in the simulator, what never waits", function()
  local cases = {
    ["a loop"] = "while true do end",
    ["a loop in pcall, in a loop"] = "while true do pcall(function() while true do end end) end",
    ["a handler of xpcall"] =
      "while true do xpcall(function() while true do end end, function() while true do end end) end",
    ["a coroutine"] = "coroutine.wrap(function() while true do end end)()",
    ["what loadstring made"] = "loadstring('while true do end')()",
    ["calls of the library"] = "while true do pilot.now() end",
  }

  for name, body in pairs(cases) do
    it("is ended, with its line: " .. name, function()
      local hook = debug.gethook()
      local box = load_box("pilot.after('1s', function()\n" .. body .. "\nend)\npilot.on('SIGUSR2', function() end)")
      box:start()
      box:advance "2s"
      local errors = box:forget_errors()
      assert.equal(1, #errors)
      assert.matches(TOO_LONG, errors[1])
      assert.matches("pilot.lua:3: in ", errors[1])
      assert.equal(hook, debug.gethook())
      assert.equal(0, box:stop())
    end)
  end

  it("is a mistake at the top level", function()
    local ok, message = pcall(load_box, "while true do end")
    assert.is_false(ok)
    assert.matches("pilot.lua:2: " .. TOO_LONG, message)
  end)

  it("is what the work between two waits is, not all of it", function()
    local box = load_box [[
      pilot.spawn(function()
        for _ = 1, 4 do
          for _ = 1, 5e7 do end
          pilot.sleep(0)
        end
      end) ]]
    box:start()
    box:advance "1s"
    assert.same({}, box:errors())
  end)

  it("is not looked for where a hook is set already", function()
    local function own() end
    debug.sethook(own, "", 1000000)
    local box = load_box "pilot.on('SIGUSR2', function() end)"
    box:start()
    assert.equal(own, (debug.gethook()))
    debug.sethook()
    assert.equal(0, box:stop())
  end)
end)

describe("a wait where none is possible", function()
  local cases = {
    ["table.sort"] = "table.sort({ 2, 1 }, function() pilot.sleep '1s' end)",
    ["string.gsub"] = "(''):gsub('', function() pilot.sleep '1s' end)",
  }

  for name, body in pairs(cases) do
    it("says so: " .. name, function()
      local box = load_box("pilot.spawn(function()\n" .. body .. "\npilot.log.info 'reached'\nend)")
      box:start()
      local errors = box:forget_errors()
      assert.equal(1, #errors)
      assert.matches("pilot.sleep cannot wait here: it is called from C", errors[1])
      assert.matches("pilot.lua:3: in ", errors[1])
    end)
  end

  it("leaves nothing behind when it is caught", function()
    local box = load_box [[
      pilot.spawn(function()
        pcall(table.sort, { 2, 1 }, function() pilot.sleep "1h" end)
        pilot.sleep "1s"
        pilot.log.info "slept"
      end) ]]
    box:start()
    box:advance "2s"
    assert.equal("slept", box:log()[1].message)
    assert.same({}, box:errors())
  end)
end)

-- Debian 12's LuaJIT gives the loop over `rows` up as one to compile, and then what it compiled of it together with the
-- loop inside takes the key for a position: it ends too early, some 58,000 times of 100,000 (LuaJIT's issue 827).
local NESTED = [[
  for _ = 1, 1000 do end
  local traceinfo = require("jit.util").traceinfo
  io.write(traceinfo(1) and "compiles" or "", " ")
  require "luapilot.sim"
  io.write(traceinfo(1) and "keeps" or "drops", " ")
  local rows, short = { { 1, 2 }, x = { 3 }, y = { 4 }, z = { 5 } }, 0
  local function elsewhere(...) for _ = 1, 100 do end end
  for _ = 1, 100000 do
    elsewhere()
    local seen = 0
    for _, row in pairs(rows) do
      for _ in pairs(row) do end
      seen = seen + 1
    end
    if seen ~= 4 then short = short + 1 end
  end
  print(short)
]]

describe("the JIT compiler", function()
  it("is off as soon as a spec has loaded the simulator, so what it gets wrong does not matter", function()
    local child = assert(io.popen("LUA_PATH='lua/?.lua;lua/?/init.lua;;' luajit - <<'END'\n" .. NESTED .. "END"))
    local said = child:read "*a"
    child:close()
    assert.equal("compiles drops 0\n", said)
  end)

  it("is off in the specs of luapilot", function() assert.is_false((jit.status())) end)
end)

describe("a stack that overflows", function()
  it("is an error with the user's line", function()
    local box = load_box "pilot.spawn(function()\n local function f() return 1 + f() end\n f()\nend)"
    box:start()
    assert.matches("stack overflow.*pilot.lua:3: in function 'f'", box:forget_errors()[1])
  end)
end)

describe("Lua's libraries in a pilot.lua", function()
  local function said(body)
    local box = load_box("pilot.spawn(function()\n" .. body .. "\nend)")
    box:start()
    local log, errors = {}, box:forget_errors()
    for _, entry in ipairs(box:log()) do log[#log + 1] = entry.message end
    return table.concat(log, "|"), errors[1] or ""
  end

  it("lack what would end or block the process, and what containment needs", function()
    for call, instead in pairs {
      ["os.execute 'true'"] = "use pilot.exec", ["io.popen 'true'"] = "use pilot.exec",
      ["os.exit(0)"] = "use pilot.shutdown", ["debug.sethook()"] = "luapilot needs the hook",
      ["debug.getregistry()"] = "luapilot's", ["jit.attach(print)"] = "inside of luapilot",
    } do
      local _, err = said(call)
      assert.matches("pilot.lua:3: .* is not available in a pilot.lua: .*" .. instead, err)
    end
  end)

  it("pretend to switch the compiler and the collector", function()
    assert.matches("0 200 true|nothing", (said [[
      jit.off() jit.on() jit.flush()
      local stopped, pause = collectgarbage "stop", collectgarbage("setpause", 100000)
      print(stopped .. " " .. pause .. " " .. tostring(collectgarbage "count" > 0)) collectgarbage() ]]))
    assert.is_false((jit.status()))
    assert.matches("unknown option", select(2, said "collectgarbage 'nonsense'"))
  end)

  it("keep the core's functions and their globals to themselves", function()
    assert.matches("true true true|nothing", (said [[
      print(tostring(getfenv(0) == _G) .. " " .. tostring(getfenv(pilot.sleep) == _G) .. " "
        .. tostring(getfenv() == _G)) ]]))
    assert.matches("setfenv: this function is luapilot's", select(2, said "setfenv(pilot.sleep, {})"))
    assert.matches("setfenv: this function is luapilot's", select(2, said "setfenv(0, {})"))
    assert.matches("debug.setfenv: this function", select(2, said "debug.setfenv(pilot.sleep, {})"))
    assert.matches("1|nothing", (said "local function f() return math end setfenv(f, { math = 1 }) print(f())"))
    assert.matches("2|nothing", (said "setfenv(1, { math = 2, print = print }) print(math)"))
  end)

  it("let nobody change the values of all", function()
    assert.matches("all values of type nil share", select(2, said "debug.setmetatable(nil, {})"))
    assert.matches("a/b|nothing", (said [[
      string.format = nil
      function string.spec_join(a, b) return a .. "/" .. b end
      print(("a"):spec_join "b") ]]))
    assert.equal("1", string.format("%d", 1))
    string.spec_join = nil -- luacheck: ignore
  end)

  it("report a finaliser that fails, wherever it runs", function()
    assert.matches("a finaliser %(__gc%) failed: .*final", (said [[
      do getmetatable(newproxy(true)).__gc = function() error "final" end end
      collectgarbage() collectgarbage() ]]))
    assert.matches("a finaliser %(__gc%) failed: .*freed", (said [[
      local ffi = require "ffi"
      do ffi.gc(ffi.new "int[1]", function() error "freed" end) end
      collectgarbage() collectgarbage() ]]))
  end)

  it("give proxies whose metatables work as ever", function()
    assert.matches("3 7 closed|nothing", (said [[
      local closed = ""
      do
        local p = newproxy(true)
        local meta = getmetatable(p)
        meta.__len, meta.__index = function() return 3 end, { x = 7 }
        meta.__gc = function() closed = "closed" end
        local q = newproxy(p)
        closed = #p .. " " .. q.x .. " "
        meta.__gc = function() closed = "3 7 closed" end
      end
      collectgarbage() collectgarbage()
      print(closed) ]]))
  end)
end)
