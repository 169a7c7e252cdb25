-- What a script may not do to the pilot: run on and on, eat all memory, or hit the core with its errors.

local machine = require "support.machine"
local run = require "support.run"

local LOOP = "while true do end"
local TOO_LONG = "ran for more than 1 s without waiting: "

-- A pilot whose handler, from line 4 on, is `body`; what comes before it stands on the first line.
local function with_handler(body, before)
  return ([[
    local pilot = require "luapilot" %s
    pilot.job "tick" { exec = { "sh", "-c", "echo tick; sleep 0.1" }, restart = { backoff = 0 } }
    pilot.after(0, function()
      %s
    end)
    pilot.on("SIGUSR2", function() pilot.log.info "heard" end)
  ]]):format(before or "", body)
end

local function goes_on(p)
  local ticks = #p:lines "tick"
  p:signal "SIGUSR2"
  p:wait_for_line "heard"
  p:wait_for_line("tick", ticks + 2)
  p:signal "SIGTERM"
  assert.equal(0, p:wait())
  assert.same({}, p:lines "inside luapilot")
end

describe("what never waits", function()
  after_each(run.cleanup)

  local cases = {
    { "an empty loop", LOOP },
    { "a numeric loop", "for i = 1, 1e15 do end" },
    { "a loop in pcall, in a loop", "while true do pcall(function() while true do end end) end" },
    { "a loop in xpcall whose handler loops",
      "while true do xpcall(function() while true do end end, function() while true do end end) end" },
    { "a handler of xpcall that loops", "xpcall(error, function() while true do end end) while true do end" },
    { "a coroutine", "coroutine.wrap(function() while true do end end)()" },
    { "coroutines, in a loop",
      "while true do coroutine.resume(coroutine.create(function() while true do end end)) end" },
    { "what loadstring made", "loadstring('while true do end')()" },
    { "what load made, with globals of its own", "load('while true do end', 'x', 't', {})()" },
    { "a metamethod", "local _ = setmetatable({}, { __index = function() while true do end end }).x" },
    { "a callback of table.sort", "table.sort({ 1, 2, 3 }, function() while true do end end)" },
    { "a callback of string.gsub", "string.gsub('a', 'a', function() while true do end end)" },
    { "calls of the library, in a loop", "while true do pcall(pilot.json.encode, { pilot.now() }) end" },
    { "tasks that are started in a loop", "while true do pilot.after('1h', function() end):cancel() end" },
    { "recursion that catches its errors", "local function f(n) pcall(f, n + 1) while true do end end f(1)" },
  }

  for _, case in ipairs(cases) do
    it("is ended: " .. case[1], function()
      local p = run.pilot(with_handler(case[2]))
      p:wait_for_line("pilot.after at .*pilot.lua:3: .*" .. TOO_LONG)
      assert.matches("pilot.lua:4: in ", p:output())
      goes_on(p)
    end)
  end

  it("is ended in every function of a pilot.lua", function()
    local p = run.pilot([[
      local pilot = require "luapilot"
      local function forever() while true do end end
      local app = pilot.job "app" { exec = "sleep 1000", health = { check = forever, interval = "1h" } }
      pilot.job "prepared" { exec = "true", prepare = forever }
      pilot.job "lua" { run = forever }
      pilot.job "asks" { exec = "true", when = forever }
      local reloads = pilot.job "reloads" { exec = "sleep 1000", reload = forever }
      pilot.after("1s", function() reloads:reload() end)
      app:on("stopping", forever)
      pilot.on("startup", function() pilot.defer(forever) end)
      pilot.on("SIGUSR2", function() pilot.log.info "heard" end)
    ]])
    for _, where in ipairs {
      'job "app": health', 'job "prepared": prepare', 'job "lua"', 'job "asks"', 'job "reloads": reload', "defer",
    } do
      p:wait_for_line(where .. ".*" .. TOO_LONG)
    end
    p:signal "SIGUSR2"
    p:wait_for_line "heard"
    p:signal "SIGTERM"
    p:wait_for_line('app.*stopping.*' .. TOO_LONG)
    p:wait()
    assert.same({}, p:lines "inside luapilot")
  end)

  it("is ended in a module", function()
    local p = run.pilot(with_handler("require('helper').spin()"), {
      files = { ["helper.lua"] = "return {\n  spin = function() while true do end end }\n" },
    })
    p:wait_for_line("helper.lua:2: " .. TOO_LONG)
    goes_on(p)
  end)

  it("is ended in a template", function()
    local p = run.pilot(with_handler("pilot.render { text = '\\n<% while true do end %>', to = 'x' }"))
    p:wait_for_line(":2: " .. TOO_LONG)
    goes_on(p)
  end)

  it("is ended in what an error says, asked for by the core", function()
    local p = run.pilot(with_handler("error(setmetatable({}, { __tostring = function() while true do end end }))"))
    p:wait_for_line "an error value whose __tostring fails"
    goes_on(p)
  end)

  it("at the top level is a mistake with its line, for check and for run", function()
    for _, command in ipairs { "check", "run" } do
      local p = run.program({ run.binary, command, "pilot.lua" }, {
        files = { ["pilot.lua"] = "local n = 0\nwhile true do\n  n = n + 1\nend\n" },
      })
      assert.equal(2, p:wait())
      assert.matches("^pilot.lua:[23]: " .. TOO_LONG, p:stderr())
    end
  end)

  -- Each of them takes a second of the processor, and the guardian acts after six looks of real time: a busy machine is
  -- given the guardian's usual ones, of five seconds.
  it("does not make the pilot look dead, however many do it at once", function()
    local function loops(number, look)
      local p = run.pilot(([[
        local pilot = require "luapilot"
        for _ = 1, %d do pilot.on("startup", function() while true do end end) end
        pilot.on("SIGUSR2", function() pilot.log.info "heard" end)
      ]]):format(number), { env = { LUAPILOT_HEARTBEAT = look } })
      p:wait_for_line(TOO_LONG)
      p:signal "SIGUSR2"
      p:wait_for_line(TOO_LONG, number, 400)
      p:wait_for_line "heard"
      p:signal "SIGTERM"
      assert.equal(0, p:wait())
    end
    if not pcall(loops, 8, "1000") then loops(40, "5000") end
  end)

  it("is left alone when it waits, however often", function()
    local p = run.pilot(with_handler [[
      local stop = os.clock() + 3
      while os.clock() < stop do
        local turn = os.clock() + 0.3
        while os.clock() < turn do end
        pilot.sleep(0)
      end
      pilot.log.info "done" ]])
    p:wait_for_line "done"
    goes_on(p)
  end)
end)

describe("what eats memory", function()
  after_each(run.cleanup)

  local HUNGRY = "local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end"
  local SMALL = { env = { LUAPILOT_MEMORY = "64M" } }

  it("is ended, and all goes on", function()
    local p = run.pilot(with_handler("while true do pcall(function() " .. HUNGRY .. " end) end"), SMALL)
    p:wait_for_line "pilot.lua:4: not enough memory: "
    goes_on(p)
  end)

  it("is left alone when it is only garbage", function()
    local p = run.pilot(with_handler [[
      for _ = 1, 30 do
        for i = 1, 3000 do local _ = ("x"):rep(20000) .. i end
        pilot.sleep(0)
      end
      pilot.log.info "done" ]], SMALL)
    p:wait_for_line "done"
    assert.same({}, p:lines "not enough memory")
    goes_on(p)
  end)

  it("ends the pilot in order, with code 70, when it stays", function()
    local p = run.pilot([[
      local pilot = require "luapilot"
      kept = {}
      pilot.job "app" { exec = "sleep 1000" }
      pilot.every("10ms", function() for _ = 1, 1000 do kept[#kept + 1] = ("x"):rep(1000) .. #kept end end)
      pilot.on("shutdown", function() pilot.log.info "in order" end)
    ]], SMALL)
    assert.equal(70, p:wait())
    assert.equal(1, #p:lines "more than 64M of memory in use")
    assert.equal(1, #p:lines "in order")
  end)

  it("at the top level is a mistake", function()
    local p = run.program({ run.binary, "check", "pilot.lua" }, {
      files = { ["pilot.lua"] = HUNGRY }, env = SMALL.env,
    })
    assert.equal(2, p:wait())
    assert.matches("^pilot.lua:1: not enough memory: ", p:stderr())
  end)

  it("has no bound with LUAPILOT_MEMORY=off, and nonsense there is a mistake", function()
    local function checked(value)
      local p = run.program({ run.binary, "check", "pilot.lua" }, {
        files = { ["pilot.lua"] = 'require "luapilot".job "app" { exec = "true" }' }, env = { LUAPILOT_MEMORY = value },
      })
      return p:wait(), p:stderr()
    end
    assert.equal(0, (checked "off"))
    assert.equal(0, (checked "1G"))
    assert.matches("LUAPILOT_MEMORY: .*is no size", select(2, checked "much"))
    assert.matches("LUAPILOT_MEMORY: expected 16M or more", select(2, checked "1M"))
    assert.matches("LUAPILOT_MEMORY: expected 16M or more", select(2, checked "1"))
  end)
end)

describe("errors", function()
  after_each(run.cleanup)

  local cases = {
    { "a raise", 'error "oops"', "pilot.lua:4: oops" },
    { "a table", "error { why = 1 }", "an error that is a table: { why = 1 }" },
    { "nil", "error(nil)", "nil" },
    { "an object whose __tostring raises",
      "error(setmetatable({}, { __tostring = function() error 'inner' end }))", "whose __tostring fails" },
    { "a wait inside of table.sort", "table.sort({ 2, 1 }, function() pilot.sleep '1s' end)",
      "pilot.sleep cannot wait here" },
    { "a wait inside of gsub", "(''):gsub('', function() pilot.sleep '1s' end)", "pilot.sleep cannot wait here" },
    { "a stack that overflows", "local function f() return 1 + f() end f()", "stack overflow" },
    { "a metamethod that calls itself",
      "local t = setmetatable({}, { __index = function(t, k) return t[k .. 1] end }) local _ = t.a", "stack overflow" },
    { "a finaliser", "getmetatable(newproxy(true)).__gc = function() error 'final' end collectgarbage()",
      "a finaliser %(__gc%) failed: .*final", true },
  }

  for _, case in ipairs(cases) do
    it("name the user's line, and all goes on: " .. case[1], function()
      local p = run.pilot(with_handler(case[2]))
      p:wait_for_line(case[3])
      if not case[4] then p:wait_for_line "pilot.lua:4: in " end
      goes_on(p)
    end)
  end
end)

-- Each of them overflows: a stack of Lua, or the one of C, which is everybody's.
describe("a recursion without end", function()
  after_each(run.cleanup)

  local OVERFLOW, LONG = "stack overflow", "ran for more than 1 s"

  local cases = {
    { "string.gsub, called by its callback", "local function f(s) return (s:gsub('.', f)) end f('a')" },
    { "string.gsub, called by a table's __index",
      "local t t = setmetatable({}, { __index = function() return (('a'):gsub('.', t)) end }) t = t.x" },
    { "string.gsub of one's own copy",
      "local gsub = string.gsub local function f() return (gsub('a', '.', f)) end f()" },
    { "coroutine.wrap", "local function f() return (coroutine.wrap(f)()) end f()" },
    { "coroutine.resume", "local function f() return assert(coroutine.resume(coroutine.create(f))) end f()" },
    { "coroutine.wrap as the callback of string.gsub",
      "local function f() return (('a'):gsub('.', coroutine.wrap(f))) end f()" },
    { "a coroutine in a sort in a coroutine",
      "local function f() table.sort({ 1, 2 }, coroutine.wrap(function() f() return false end)) end f()" },
    { "a deep stack in a coroutine, again and again",
      "local function f(n) if n > 0 then return 1 + f(n - 1) end return (coroutine.wrap(f)(200)) end f(200)" },
    { "a comparator of table.sort",
      "local function f() table.sort({ 1, 2, 3 }, function() f() return false end) end f()" },
    { "__lt, by table.sort", "local m = {} local function new() return setmetatable({}, m) end "
      .. "m.__lt = function() table.sort { new(), new() } return false end table.sort { new(), new() }" },
    { "__tostring, by string.format",
      "local o = setmetatable({}, { __tostring = function(o) return ('%s'):format(o) end }) _ = ('%s'):format(o)" },
    { "__tostring, by tostring",
      "local o = setmetatable({}, { __tostring = function(o) return 'x' .. tostring(o) end }) _ = tostring(o)" },
    { "__tostring, by print",
      "local o = setmetatable({}, { __tostring = function(o) print(o) return '' end }) print(o)" },
    { "__index that is rawget or more",
      "local t = setmetatable({}, { __index = function(t, k) return rawget(t, k) or t[k .. 1] end }) _ = t.a" },
    { "__call", "local o = setmetatable({}, { __call = function(o) return (o()) end }) o()" },
    { "__concat", "local o = setmetatable({}, { __concat = function(a, b) return (a .. b) end }) _ = o .. o" },
    { "pcall in pcall, whose error goes on",
      "local function f() local ok, e = pcall(f) if not ok then error(e, 0) end end f()" },
    { "load in its reader", "local function f() return assert(load(f)) end f()" },
    { "table.foreach", "local function f() table.foreach({ 1 }, f) end f()" },
    { "a module that requires itself",
      "package.preload.x = function() package.loaded.x = nil return (require 'x') end require 'x'" },
    { "a file that runs itself", "dofile 'again.lua'" },
    { "pcall in a sort",
      "local function f() pcall(table.sort, { 1, 2, 3 }, function() f() return false end) end f()", LONG },
    { "handlers of xpcall",
      "local function h(e) xpcall(error, h) error(e) end while true do xpcall(error, h) end", LONG },
  }

  for _, case in ipairs(cases) do
    it("is an error with its line, and all goes on: " .. case[1], function()
      local p = run.pilot(with_handler(case[2]), { files = { ["again.lua"] = "return (dofile 'again.lua')\n" } })
      p:wait_for_line("pilot.after at .*pilot.lua:3: .*" .. (case[3] or OVERFLOW))
      p:wait_for_line(case[1] == "a file that runs itself" and "again.lua:1: in " or "pilot.lua:4: in ")
      goes_on(p)
    end)
  end

  for name, body in pairs {
    ["pcall in pcall"] = "local function f() return (pcall(f)) end f()",
    ["xpcall in xpcall"] = "local function f() return (xpcall(f, debug.traceback)) end f()",
    ["a handler of xpcall that fails"] = "local function h(e) error(e) end xpcall(error, h)",
    ["pcall of pcall of pcall …"] = "local a = {} for i = 1, 7000 do a[i] = pcall end pcall(unpack(a))",
    ["xpcall of xpcall of xpcall …"] =
      "local a = {} for i = 1, 2000 do a[2 * i - 1], a[2 * i] = xpcall, print end xpcall(unpack(a))",
  } do
    it("is nothing when who recurses catches it: " .. name, function()
      local p = run.pilot(with_handler(body .. " pilot.log.info 'done'"))
      p:wait_for_line "done"
      goes_on(p)
    end)
  end

  it("ends in time where the stack is small, and jobs have the limit that was given", function()
    local p = run.pilot(with_handler("local function f() return assert(load(f)) end f()",
      'pilot.job "limit" { exec = pilot.sh "ulimit -s" }'), {
      wrap = { "sh", "-c", 'ulimit -S -s 512; exec "$@"', "sh" },
    })
    p:wait_for_line "limit: 512"
    p:wait_for_line("pilot.after at .*pilot.lua:3: .*" .. OVERFLOW)
    goes_on(p)
  end)

  it("leaves room for what is deep and has an end", function()
    local p = run.pilot(with_handler [[
      local function nest(n) return n == 0 and "x" or (("a"):gsub(".", function() return nest(n - 1) end)) end
      local function wrapped(n) return n == 0 and "x" or coroutine.wrap(function() return wrapped(n - 1) end)() end
      local function waits(n)
        if n == 0 then pilot.sleep "10ms" return "x" end
        return coroutine.wrap(waits)(n - 1)
      end
      pilot.log.info(("deep %s %s %s"):format(nest(100), wrapped(1000), waits(100))) ]])
    p:wait_for_line "deep x x x"
    goes_on(p)
  end)
end)

describe("what would let a script out", function()
  after_each(run.cleanup)

  it("names its replacement", function()
    for call, instead in pairs {
      ['os.execute "true"'] = "pilot.exec", ['io.popen "true"'] = "pilot.exec", ["os.exit()"] = "pilot.shutdown",
    } do
      local p = run.pilot(with_handler(call))
      p:wait_for_line("pilot.lua:4: .*is not available in a pilot.lua: use " .. instead)
      goes_on(p)
    end
  end)

  local cases = {
    { "debug.sethook", "pcall(debug.sethook)" },
    { "jit.on", "jit.on() jit.on(true, true) for i = 1, 1e5 do end" },
    { "a stopped collector", 'collectgarbage "stop"' },
    { "another environment", "setfenv(1, { })" },
    { "globals of the core", "getfenv(0).ipairs = nil setfenv(1, getfenv(0))" },
    { "string.format of its own", "string.format = nil function string.find() while true do end end" },
  }

  for _, case in ipairs(cases) do
    it("does not: " .. case[1], function()
      local p = run.pilot(with_handler(case[2] .. " while true do end"))
      p:wait_for_line("pilot.lua:4: " .. TOO_LONG)
      goes_on(p)
    end)
  end
end)

describe("what a script makes of strings", function()
  after_each(run.cleanup)

  -- What luapilot says of a job, in words that it puts together with methods of strings.
  local function goes_on_talking(p)
    p:wait_for_line 'luapilot: job "crash": started pid=%d+$'
    p:wait_for_line 'luapilot: error: job "crash": exited with code 1$'
    p:wait_for_line('luapilot: job "crash": will be started again in %d+ms restarts=%d$', 2)
  end

  local CASES = {
    { 'getmetatable("").__index = function(s, key) return type(key) == "number" and s:sub(key, key) or string[key] end',
      'return ("hello")[1] .. ("x"):upper()', "hX" },
    { 'getmetatable("").__index = { format = function() return "replaced" end, mine = function() return "mine" end }',
      'return ("hello"):mine() .. ("x"):upper()', "mineX" },
    { 'getmetatable("").__mod = function(text, value) return text:format(value) end', 'return "<%d>" % 3', "<3>" },
    { 'string.format = function() return "replaced" end', 'return string.format "x"', "replaced" },
    { 'getmetatable("").__index.format = function() return "replaced" end string.mine = function() return "mine" end',
      'return string.format "x" .. ("x"):mine()', "replacedmine" },
    { 'debug.getmetatable("").__index = function() error "no" end', 'return ("x"):rep(2)', "xx" },
    { 'getmetatable("").__index = nil require "string".gsub = nil', 'return ("x"):rep(2)', "xx" },
    { 'rawset(getmetatable "", "__index", error)', 'return ("x"):rep(2)', "xx" },
  }
  for _, case in ipairs(CASES) do
    it("reaches nobody else: " .. case[1], function()
      local p = run.pilot(([[
        local pilot = require "luapilot"
        %s
        pilot.job "crash" { exec = "false", restart = { backoff = "50ms", max_backoff = "50ms" } }
        pilot.spawn(function() print("it is " .. (function() %s end)()) end)
      ]]):format(case[1], case[2]))
      goes_on_talking(p)
      p:wait_for_line("it is " .. case[3] .. "$")
      p:signal "SIGTERM"
      assert.equal(0, p:wait())
      assert.same({}, p:lines "inside luapilot")
    end)
  end

  it("is refused where it would", function()
    local p = run.pilot [[
      local pilot = require "luapilot"
      pilot.spawn(function() getmetatable("").__concat = function() return "" end end)
      pilot.spawn(function() getmetatable("").__metatable = "x" end)
      pilot.after("100ms", pilot.shutdown)
    ]]
    assert.equal(0, p:wait())
    for _, name in ipairs { "__concat", "__metatable" } do
      local said = " cannot be set: strings of luapilot would have it, too"
      assert.equal(1, #p:lines('getmetatable%(""%).' .. name .. said))
    end
  end)
end)

describe("what cannot be interrupted is for the guardian:", function()
  after_each(run.cleanup)

  for name, body in pairs {
    ["a long call of C"] = "(('a'):rep(100)):find(('a?'):rep(100) .. ('a'):rep(100) .. 'b')",
    ["a finaliser that loops"] =
      "getmetatable(newproxy(true)).__gc = function() while true do end end collectgarbage()",
  } do
    it(name, function()
      local p = run.pilot(with_handler(body), { env = { LUAPILOT_HEARTBEAT = "300" } })
      assert.equal(134, p:wait())
      assert.equal(1, #p:lines "has not turned its loop")
    end)
  end
end)

-- Those of what lives until then: there is no pilot any more, but its output.
describe("a finaliser at the end", function()
  after_each(run.cleanup)

  it("runs, may write, and changes no exit code", function()
    local p = run.pilot [[
      local pilot = require "luapilot"
      for _, fn in pairs { function() print "finalised" end, function() error "final" end } do
        local proxy = newproxy(true)
        getmetatable(proxy).__gc = fn
        pilot.on("shutdown", function() return proxy end)
      end
      pilot.job "app" { exec = pilot.sh "exit 7" }
    ]]
    assert.equal(7, p:wait())
    assert.equal(1, #p:lines "luapilot: finalised")
    assert.equal(1, #p:lines "a finaliser %(__gc%) failed: .*final")
  end)
end)

describe("a stretch of user code", function()
  after_each(run.cleanup)

  it("may last long, and no longer when the orderly part of a shutdown is over", function()
    if os.getenv "ASAN_OPTIONS" then machine.skip "a plain LuaJIT cannot load the sanitized runtime" end
    local p = run.runtime [[
      jit.off()
      local rt = require "luapilot.rt"
      local meter = { 1, 0 }
      local function stretch()
        meter[1] = meter[1] + 1
        local loop = setfenv(loadstring "while true do end", {})
        return select(2, coroutine.resume(coroutine.create(loop)))
      end
      rt.contain { meter = meter, seconds = 0.5 }
      rt.deadline(1000, 500)
      print(stretch())
      rt.deadline(1000, 0)
      for _ = 1, 10 do print(stretch()) end
    ]]
    assert.equal(0, p:wait())
    assert.equal(1, #p:lines "ran for more than 0.5 s without waiting: ")
    assert.equal(10, #p:lines "ran for more than 0.05 s without waiting: ")
  end)
end)

-- The whole core on the real port, with a bound of some milliseconds: a thousand interrupts in half a minute.
describe("a thousand interrupts", function()
  after_each(run.cleanup)

  it("hit no line of the core, and nothing is lost", function()
    if os.getenv "ASAN_OPTIONS" then machine.skip "a plain LuaJIT cannot load the sanitized runtime" end
    local p = run.runtime([[
      jit.off()
      local rt = require "luapilot.rt"
      local app = require "luapilot.pilot.app"
      local port = setmetatable({ contain = function(options)
        options.seconds = 0.01
        return rt.contain(options)
      end }, { __index = rt })
      local pilot = app.new { port = port }
      local ok, list = pilot:load "file.lua"
      if not ok then error(table.concat(list, "\n")) end
      local code = pilot:run()
      rt.flush(2)
      os.exit(code)
    ]], { files = { ["file.lua"] = [[
      local pilot = require "luapilot"
      local WANTED = 1000
      local runs, starts, ticks = 0, 0, 0
      local loops = {
        function() while true do end end,
        function() while true do pcall(pilot.json.encode, { a = { 1, 2, { b = 3 } } }) end end,
        function() while true do pilot.after("1h", function() end):cancel() end end,
        function() while true do pilot.spawn(function() end) end end,
        function() while true do pcall(pilot.defer, 1) pcall(error, {}) end end,
        function() while true do pilot.on("SIGUSR2", function() end):cancel() end end,
        function() while true do pcall(pilot.sleep, "nonsense") pcall(require, "nothing") end end,
        function() local t = {} while true do t[#t % 100 + 1] = tostring(pilot.now()) end end,
      }
      local job = pilot.job "restarts" { exec = "true", restart = { backoff = "20ms", max_backoff = "20ms" } }
      job:on("exit_success", function() starts = starts + 1 end)
      pilot.every("50ms", function() ticks = ticks + 1 end)
      pilot.spawn(function()
        while runs < WANTED do
          runs = runs + 1
          local ok, err = pcall(function()
            local t = pilot.spawn(loops[runs % #loops + 1])
            return t:wait()
          end)
          if ok or not tostring(err):find("file.lua:%d+: ran for more than") then
            pilot.log.error("not as expected", { run = runs, said = tostring(err) })
          end
        end
        pilot.log.info(("runs %d starts %s ticks %s"):format(runs, starts > 50, ticks > 50))
        pilot.shutdown(0)
      end)
    ]] }, env = {
      LUA_PATH = (os.getenv "PWD") .. "/lua/?.lua;" .. os.getenv "PWD" .. "/lua/?/init.lua;;",
    } })
    assert.equal(0, p:wait(180))
    assert.same({}, p:lines "not as expected")
    assert.same({}, p:lines "inside luapilot")
    assert.same({}, p:lines "lua/luapilot/[%w_/]+.lua:%d+: ran for")
    assert.equal(1, #p:lines "runs 1000 starts true ticks true")
  end)
end)
