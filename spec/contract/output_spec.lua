-- What becomes of the lines of jobs, and of the pilot's own: formats, files, long lines, pressure.
-- Each `it` runs a script with the real runtime in a process of its own, whose stdout is looked at.

local cjson = require "cjson"
local run   = require "support.run"

-- Spawns shells one after the other, each to its end; `events` collects what was captured.
local PRELUDE = [[
  local rt = require "luapilot.rt"
  events = {}

  function touch(name) assert(io.open(name, "w")):close() end

  local lasts, gone = 0, 0

  local function take(event)
    if event.type == "output" then
      table.insert(events, event.stream .. ":" .. event.data)
      if event.last then lasts = lasts + 1 end
    elseif event.type == "group_gone" then
      gone = gone + 1
    end
  end

  function start(script, output, options)
    local spawn = { argv = { "/bin/sh", "-c", script }, output = output }
    for name, value in pairs(options or {}) do spawn[name] = value end
    return assert(rt.spawn(spawn))
  end

  function wait_timer()
    repeat local event = rt.wait(); take(event) until event.type == "timer"
  end

  function wait_file(name)
    while not rt.stat(name) do
      rt.timer(0.01)
      wait_timer()
    end
  end

  function wait_gone(count)
    while gone < count do take(rt.wait()) end
  end

  function wait_lasts(count)
    while lasts < count do take(rt.wait()) end
  end

  function sh(script, output, options)
    start(script, output or { name = "app" }, options)
    wait_gone(gone + 1)
    assert(rt.flush(60) == 0)
  end
]]

local function script(text, options)
  return run.runtime(PRELUDE .. text, options)
end

local function finished(text, options)
  local p = script(text, options)
  local code = p:wait()
  assert(code == 0, p:output())
  return p
end

local function exists(program, name)
  local file = io.open(program:path(name))
  if file then file:close() end
  return file ~= nil
end

local STAMP = "%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ"

-- The text without its times.
local function timeless(text) return (text:gsub(STAMP, "T")) end

local function decode_all(text)
  local list = {}
  for line in text:gmatch "[^\n]+" do table.insert(list, cjson.decode(line)) end
  return list
end

local NASTY_TAIL = "caf\195\169 \226\130\172 \255 \237\160\128\n"
local BAD = "\239\191\189"                             -- U+FFFD
local NASTY = [[printf 'plain\nq"b\\t\there\n\000nul\ncaf\303\251 \342\202\254 \377 \355\240\200\n']]

describe("output", function()
  after_each(run.cleanup)

  describe("in the default format", function()
    it("has time and name in front, and changes no byte", function()
      local p = finished("sh [[" .. NASTY .. "]]")
      assert.equal('T app: plain\nT app: q"b\\t\there\nT app: \0nul\nT app: ' .. NASTY_TAIL, timeless(p:stdout()))
    end)

    it("ends a last line that has no newline", function()
      local p = finished [[ sh "printf 'one\ntwo'" ]]
      assert.equal("T app: one\nT app: two\n", timeless(p:stdout()))
    end)

    it("keeps empty lines", function()
      local p = finished [[ sh "printf '\n\na\n'" ]]
      assert.equal("T app: \nT app: \nT app: a\n", timeless(p:stdout()))
    end)

    it("is the bare line without prefix", function()
      local p = finished([[ sh([=[]] .. NASTY .. [[]=], { name = "app", prefix = false }) ]])
      assert.equal('plain\nq"b\\t\there\n\0nul\ncaf\195\169 \226\130\172 \255 \237\160\128\n', p:stdout())
    end)

    it("shows own messages, each of their lines with the level and the first with the fields", function()
      local p = finished [[
        local rt = require "luapilot.rt"
        rt.log("info", "hello", { job = "app", n = 12, text = "two words", empty = "" })
        rt.log("error", "it broke\n  here\n")
        rt.log("debug", "hidden")
        rt.logging { level = "debug" }
        rt.log("debug", "shown")
        rt.logging { level = "error" }
        rt.log("warn", "hidden")
        sh "echo a job is not filtered"
      ]]
      assert.equal('T luapilot: hello empty="" job=app n=12 text="two words"\n' ..
                   "T luapilot: error: it broke\nT luapilot: error:   here\nT luapilot: debug: shown\n" ..
                   "T app: a job is not filtered\n", timeless(p:stdout()))
    end)
  end)

  it("as text is logfmt, with escapes in quotes", function()
    local p = finished([[
      local rt = require "luapilot.rt"
      rt.logging { format = "text" }
      sh([=[]] .. NASTY .. [[; echo err >&2]=], { name = "app", level = "warn" })
      rt.log("warn", "say \"hi\"", { n = 1, s = "a b" })
    ]])
    assert.equal(table.concat({
      'time=T level=warn job=app stream=stdout msg="plain"',
      [[time=T level=warn job=app stream=stdout msg="q\"b\\t\there"]],
      [[time=T level=warn job=app stream=stdout msg="\u0000nul"]],
      'time=T level=warn job=app stream=stdout msg="caf\195\169 \226\130\172 ' .. BAD .. " " .. BAD:rep(3) .. '"',
      'time=T level=warn job=app stream=stderr msg="err"',
      [[time=T level=warn source=luapilot msg="say \"hi\"" n=1 s="a b"]],
    }, "\n") .. "\n", timeless(p:stdout()))
  end)

  it("as text has keys that are words, and none twice", function()
    local p = finished([[
      local rt = require "luapilot.rt"
      rt.logging { format = "text" }
      rt.log("info", "odd", { [""] = 1, ["a b=\"c\\d\n"] = 2, time = 3, time_ = 4, timer = 5 })
    ]])
    assert.equal('time=T level=info source=luapilot msg="odd" _=1 a_b___c__d_n=2 time_=3 time__=4 timer=5\n',
      timeless(p:stdout()))
  end)

  it("says in text and JSON what the message is about, and what it says, besides; of one name what is shown", function()
    local p = finished [[
      local rt = require "luapilot.rt"
      for _, format in ipairs { "default", "text", "json" } do
        rt.logging { format = format }
        rt.log("error", "exited\nso", { code = 3 }, "exit_failed", "app", { code = 4, pid = 7, job = "x" })
      end
    ]]
    assert.equal(table.concat({
      'T luapilot: error: job "app": exited code=3', "T luapilot: error: so",
      'time=T level=error source=luapilot job=app msg="exited\\nso" code=3 event=exit_failed pid=7',
      '{"time":"T","level":"error","source":"luapilot","job":"app","msg":"exited\\nso","code":3,"event":"exit_failed",'
        .. '"pid":7}',
    }, "\n") .. "\n", timeless(p:stdout()))
  end)

  it("as JSON is valid, whatever a job writes", function()
    local p = finished([[
      local rt = require "luapilot.rt"
      rt.logging { format = "json" }
      sh([=[]] .. NASTY .. [[]=])
      sh "head -c 300000 /dev/urandom"
      rt.log("info", "own", { n = 1.5, yes = true, nan = 0/0, level = "mine" })
    ]])
    local lines = decode_all(p:stdout())
    assert.equal("plain", lines[1].msg)
    assert.same({ "info", "app", "stdout" }, { lines[1].level, lines[1].job, lines[1].stream })
    assert.truthy(lines[1].time:find("^" .. STAMP .. "$"))
    assert.equal('q"b\\t\there', lines[2].msg)
    assert.equal("\0nul", lines[3].msg)
    assert.equal("caf\195\169 \226\130\172 \239\191\189 \239\191\189\239\191\189\239\191\189", lines[4].msg)
    assert.is_true(#lines > 500)
    local own = lines[#lines]
    assert.same({ "own", 1.5, true, "nan", "mine", "info" },
                { own.msg, own.n, own.yes, own.nan, own.level_, own.level })
  end)

  -- The length of the UTF-8 character at `i`; nil: there is none.
  local function character(text, i)
    local a, b = text:byte(i, i + 1)
    if a < 0x80 then return 1 end
    local length = a >= 0xc2 and a < 0xe0 and 2 or a >= 0xe0 and a < 0xf0 and 3 or a >= 0xf0 and a < 0xf5 and 4
    if not length or not text:find("^" .. ("[\128-\191]"):rep(length - 1), i + 1) then return nil end
    local least, most = ({ [0xe0] = 0xa0, [0xf0] = 0x90 })[a], ({ [0xed] = 0x9f, [0xf4] = 0x8f })[a]
    return b >= (least or 0x80) and b <= (most or 0xbf) and length or nil
  end

  -- Every byte that belongs to no character becomes U+FFFD.
  local function replaced(text)
    local parts, i = {}, 1
    while i <= #text do
      local length = character(text, i)
      parts[#parts + 1] = length and text:sub(i, i + length - 1) or BAD
      i = i + (length or 1)
    end
    return table.concat(parts)
  end

  it("as JSON is what a job wrote, were it noise, when the parts are joined", function()
    local pieces = { "\n", "\r\n", "\226\130\172", "\240\159\152\128", "\240\159", "\195", "\237\160\128", "\255",
                     '"\\\0\7\27\127', ("x"):rep(31), ("\226\130\172"):rep(500), ("y"):rep(65536 - 3) }
    for seed = 1, 5 do
      math.randomseed(seed)
      local noise = {}
      for i = 1, 3000 do noise[i] = pieces[math.random(#pieces - (i % 200 == 0 and 0 or 1))]:rep(math.random(3)) end
      local text = table.concat(noise)
      local size = ({ 4096, 65535, 65536, 1000, 100000 })[seed]
      local p = finished([[
        local rt = require "luapilot.rt"
        rt.logging { format = "json" }
        sh("exec env -u LD_PRELOAD dd bs=]] .. size .. [[ 2>/dev/null", nil, { stdin = rt.read "noise" })
      ]], { files = { noise = text } })
      local joined = {}
      for _, line in ipairs(decode_all(p:stdout())) do
        joined[#joined + 1] = line.msg .. (line.partial and "" or "\n")
      end
      assert.is_true(table.concat(joined):gsub("\n$", "") == replaced(text):gsub("\n$", ""), "seed " .. seed)
    end
  end)

  describe("that is parsed", function()
    local DEEP = ('{"a":'):rep(31) .. "[]" .. ("}"):rep(31)
    -- The line, and the level when it is an object for everybody; else it is an ordinary line.
    local LINES = {
      { '{"level":"error","msg":"inner","n":1}', "error" },
      { "{}", "warn" }, { ' \t{"a" : [ 1 , {"b":null} , "x" ] , "level":"INFO"}\t \r', "info" },
      { '{"level":"Warning"}', "warn" }, { '{"level":"warn"}', "warn" }, { '{"level":"err"}', "error" },
      { '{"level":"fatal"}', "error" }, { '{"level":"CRITICAL"}', "error" }, { '{"level":"trace"}', "debug" },
      { '{"level":"debug"}', "debug" }, { '{"level":"notice"}', "info" }, { '{"level":10}', "debug" },
      { '{"level":20}', "debug" }, { '{"level":30}', "info" }, { '{"level":40}', "warn" }, { '{"level":50}', "error" },
      { '{"level":60}', "error" }, { '{"level":61}', "warn" }, { '{"level":9}', "warn" }, { '{"level":-40}', "warn" },
      { '{"level":30.0}', "warn" }, { '{"level":""}', "warn" }, { '{"level":"errors"}', "warn" },
      { '{"level":null}', "warn" }, { '{"level":["error"]}', "warn" }, { '{"level":{"level":"error"}}', "warn" },
      { '{"x":{"level":"error"}}', "warn" }, { '{"x":"level","y":"error"}', "warn" },
      { '{"lev\\u0065l":"error"}', "warn" },
      { '{"a":"\\u0000\\ud83d\\ude00\\"\\\\\\/\\b\\f\\n\\r\\t caf\195\169 \127","b":-0.5E+10,"c":1e307}', "warn" },
      { '{"a":1,"a":2}', "warn" }, { DEEP, "warn" }, { '{"n":' .. ("9"):rep(308) .. "}", "warn" },
      { '{"n":1e-999999999999999999999}', "warn" },

      { "" }, { "{" }, { "}" }, { "[1]" }, { '"x"' }, { "null" }, { "1" }, { '{"a":1' }, { '{"a"}' }, { '{"a":}' },
      { "{a:1}" }, { "{'a':1}" }, { '{"a":1,}' }, { '{,"a":1}' }, { '{"a":1 "b":2}' }, { '{"a":[1,]}' },
      { '{"a":[,1]}' },
      { '{"a":[1}' }, { '{"a":[1}]' }, { '{"a":1}}' }, { '{"a":1} x' }, { '{"a":1}{"b":2}' }, { 'x {"a":1}' },
      { '\239\187\191{"a":1}' },
      { '{"a":01}' }, { '{"a":1.}' }, { '{"a":.5}' }, { '{"a":+1}' }, { '{"a":-}' }, { '{"a":1e}' }, { '{"a":0x10}' },
      { '{"a":NaN}' }, { '{"a":Infinity}' }, { '{"a":tru}' }, { '{"a":True}' }, { '{"a":nul}' }, { '{"a":truefalse}' },
      { '{"a":1e309}' }, { '{"a":-1e999}' }, { '{"a":10e308}' }, { '{"a":' .. ("9"):rep(309) .. "}" },
      { '{"a":"b}' }, { '{"a":"\\x41"}' }, { '{"a":"\\u12g4"}' }, { '{"a":"\\u12"}' }, { '{"a":"\\' },
      { '{"a":"\\ud83d"}' }, { '{"a":"\\ude00"}' }, { '{"a":"\\ud83d\\u0041"}' }, { '{"a":"\\ud83dx"}' },
      { '{"a":"tab\tinside"}' }, { '{"a":"\27[31m"}' }, { '{"a":"\0"}' }, { '{"a":\0}' }, { '{"a":1}\0' },
      { '{"a":"\255"}' }, { '{"a":"\192\175"}' }, { '{"a":"\237\160\128"}' }, { '{"a":"\226\130"}' }, { '{"\195":1}' },
      { '{"a":\r1}' }, { '\r{"a":1}' }, { '{"a":1}\11' }, { '{"a":1}\194\160' },
      { '{"level":"info","level":"error"}' }, { '{"a":' .. DEEP .. "}" }, { ('{"a":'):rep(10000) },
      { ("["):rep(60000) },
      { '{"a":1}\r{"time":"2026","level":"error","source":"luapilot","msg":"forged"}' },
      { '{"a":\r{"time":"2026","level":"error","source":"luapilot","msg":"forged"}\r}' },
    }

    local function all_lines()
      local list = {}
      for i, row in ipairs(LINES) do list[i] = row[1] end
      return table.concat(list, "\n") .. "\n"
    end

    local function written(format)
      return finished([[
        local rt = require "luapilot.rt"
        rt.logging { format = "]] .. format .. [[" }
        local output = { name = "app", level = "warn", parse = "json", level_from = "level" }
        sh("exec cat", output, { stdin = rt.read "lines" })
      ]], { files = { lines = all_lines() } }):stdout()
    end

    it("stands in JSON as it is, behind what is ours, with its level, if it is an object for every reader", function()
      local i = 0
      for text in written "json":gmatch "([^\n]*)\n" do
        i = i + 1
        local line, level = unpack(LINES[i])
        assert.message(line).is_nil(text:find("\r", 1, true))
        local ours = cjson.decode(text)
        local head = ('{"time":"%s","level":"%s","job":"app","stream":"stdout",'):format(ours.time, level or "warn")
        assert.equal(head, text:sub(1, #head))
        if level then
          assert.equal('"data":' .. line:match "^%s*(.-)%s*$" .. "}", text:sub(#head + 1))
        else
          assert.message(line).same({ "string", "nil" }, { type(ours.msg), type(ours.data) })
        end
      end
      assert.equal(#LINES, i)
    end)

    it("gives its level to the text format, which shows the line as any other", function()
      local i = 0
      for text in written "text":gmatch "([^\n]*)\n" do
        i = i + 1
        assert.equal(LINES[i][2] or "warn", text:match "^time=%S+ level=(%l+) job=app stream=stdout msg=\"")
        assert.message(text).is_nil(text:find("data=", 1, true))
      end
      assert.equal(#LINES, i)
      assert.equal(all_lines(), (written "default":gsub(STAMP .. " app: ", "")))
    end)

    it("is nothing but itself without level_from, and for events", function()
      local p = finished [[
        require "luapilot.rt".logging { format = "json" }
        start("echo '{\"level\":\"error\"}'", { name = "app", parse = "json" }, { capture = true })
        wait_gone(1)
        wait_lasts(2)
        io.stderr:write(table.concat(events, "|"))
        assert(require "luapilot.rt".flush(60) == 0)
      ]]
      assert.equal('{"time":"T","level":"info","job":"app","stream":"stdout","data":{"level":"error"}}\n',
        timeless(p:stdout()))
      assert.matches('stdout:{"level":"error"}\n', p:stderr(), 1, true)
    end)

    it("is as long as a part of a line; a part of a longer one is no object, whatever is in it", function()
      local whole = '{"a":"' .. ("x"):rep(65536 - 8) .. '"}'
      local p = finished([[
        require "luapilot.rt".logging { format = "json" }
        sh("exec cat", { name = "app", parse = "json" }, { stdin = require "luapilot.rt".read "lines" })
      ]], { files = {
        lines = whole .. "\n" .. ("x"):rep(65536) .. '{"b":1}\n{"c":1}\n' .. (" "):rep(65530) .. whole .. "\n",
      } })
      local kinds = {}
      for i, line in ipairs(decode_all(p:stdout())) do
        kinds[i] = (line.data and "data" or "msg") .. (line.partial and " partial" or "")
      end
      assert.same({ "data", "msg partial", "msg", "data", "msg partial", "msg" }, kinds)
    end)
  end)

  describe("of a line of 1 MiB", function()
    -- "a", then characters of two bytes: every boundary would cut one.
    local LONG = [[luajit -e 'io.write("a", string.rep("\195\169", 524288), "\nshort\n")']]

    it("comes in parts that are whole characters, marked but for the last", function()
      local p = finished([[
        require "luapilot.rt".logging { format = "json" }
        sh([=[]] .. LONG .. [[]=])
      ]])
      local lines, text = decode_all(p:stdout()), {}
      assert.equal(18, #lines)
      for i, line in ipairs(lines) do
        assert.equal(i <= 16 or nil, line.partial)
        assert.is_true(#line.msg <= 65536)
        assert.is_nil(line.msg:find("\239\191\189", 1, true))
        table.insert(text, line.msg)
      end
      assert.equal("a" .. ("\195\169"):rep(524288) .. "short", table.concat(text))
    end)

    it("loses no byte in the default format", function()
      local p = finished([[ sh([=[]] .. LONG .. [[]=], { name = "app", prefix = false }) ]])
      assert.equal("a" .. ("\195\169"):rep(524288) .. "short", (p:stdout():gsub("\n", "")))
    end)

    it("that is exactly as long as a part is one line", function()
      local p = finished [[
        sh("head -c 65536 /dev/zero | tr '\\0' x; echo; echo end", { name = "app", prefix = false })
      ]]
      assert.equal(("x"):rep(65536) .. "\nend\n", p:stdout())
    end)
  end)

  it("raw is written by the job itself", function()
    local p = finished [[ sh("printf 'no newline'; printf err >&2", { name = "app", raw = true }) ]]
    assert.equal("no newline", p:stdout())
    assert.equal("err", p:stderr())
  end)

  describe("to a file", function()
    it("appends, and creates it for owner and group", function()
      local p = finished [[
        sh("echo one", { name = "app", file = "log" })
        sh("echo two; echo three >&2", { name = "app", file = "log", prefix = false })
      ]]
      assert.equal("", p:stdout())
      assert.equal("T app: one\ntwo\nthree\n", timeless(p:read "log"))
      local stat = io.popen("stat -c %a " .. p:path "log")
      assert.equal("640", stat:read "*l")
      stat:close()
    end)

    it("goes to a new one after a rotation", function()
      local p = finished [[
        local rt = require "luapilot.rt"
        start("while [ ! -e go ]; do echo line; sleep 0.02; done; echo last",
              { name = "app", file = "log", prefix = false })
        repeat
          rt.timer(0.02)
          rt.wait()
        until (rt.read "log" or "") ~= ""
        os.rename("log", "log.1")
        rt.reopen()
        touch "go"
        wait_gone(1)
        rt.flush(60)
      ]]
      assert.truthy(p:read "log.1":find "line")
      assert.truthy(p:read "log":find "last\n$")
    end)

    it("that cannot be opened is an error of the spawn", function()
      finished [[
        local rt = require "luapilot.rt"
        local id, message, code = rt.spawn { argv = { "/bin/true" }, output = { name = "app", file = "/nowhere/log" } }
        assert(id == nil and code == "ENOENT", message)
      ]]
    end)

    it("takes the pilot's own output, and that of running jobs, too", function()
      local p = finished [[
        local rt = require "luapilot.rt"
        start("echo before; read x; echo after", { name = "app", prefix = false }, { stdin = "go\n" })
        assert(rt.logging { output = select(3, rt.place "log") .. "/log" })
        wait_gone(1)
        rt.log("info", "own")
        rt.flush(60)
      ]]
      assert.equal("before\nafter\n" .. "T luapilot: own\n", timeless(p:stdout() .. p:read "log"))
    end)
  end)

  describe("that is captured", function()
    it("beside the log comes as whole lines", function()
      local p = finished [[
        start("printf one; sleep 0.1; printf ' two\nthree\nfo'; sleep 0.1; printf ur",
              { name = "app", prefix = false }, { capture = true })
        wait_gone(1)
        wait_lasts(2)
        for _, event in ipairs(events) do
          assert(event == "stderr:" or event:find "\n$" or event == "stdout:four", event)
        end
        table.sort(events)
        io.stderr:write(table.concat(events, "|"))
        assert(require "luapilot.rt".flush(60) == 0)
      ]]
      assert.equal("one two\nthree\nfour\n", p:stdout())
      assert.equal("stderr:|stdout:four|stdout:one two\nthree\n", p:stderr())
    end)

    it("without a log comes as it is, every byte", function()
      local p = finished [[
        start("head -c 1000000 /dev/zero; printf end", nil, { capture = true })
        wait_gone(1)
        wait_lasts(2)
        local size = 0
        for _, event in ipairs(events) do size = size + #event - 7 end
        io.stdout:write(size, events[#events]:sub(-3) == "end" and " end" or "")
      ]]
      assert.truthy(p:stdout():find "^1000003")
    end)

    it("ends soon after its group, whoever else holds the pipe", function()
      local p = finished [[
        local id = start("setsid sleep 1000 & sleep 0.1; echo parent", nil, { capture = true })
        wait_gone(1)
        wait_lasts(2)
        io.stdout:write(table.concat(events, "|"))
      ]]
      assert.truthy(p:stdout():find "stdout:parent\n")
      for _, process in ipairs(p:processes()) do p:signal("SIGKILL", process.pid) end
    end)

    it("can be switched on and off while it runs", function()
      local p = finished [[
        local rt = require "luapilot.rt"
        local id = start("while [ ! -e go ]; do echo line; sleep 0.02; done", { name = "app", file = "/dev/null" })
        rt.timer(0.1)
        assert(rt.wait().type == "timer")
        assert(rt.capture(id, true))
        local event = rt.wait()
        assert(event.type == "output" and event.data:find "^line\n", event.type)
        assert(rt.capture(id, false))
        rt.timer(0.1)
        assert(rt.wait().type == "timer")
        touch "go"
        wait_gone(1)
        assert(#events == 0)
      ]]
      assert.equal("", p:stdout())
    end)
  end)

  describe("whose reader is slow", function()
    it("holds the jobs back, never the loop, and loses no line", function()
      local reading, writing = run.pipe()
      local p = script([[
        local rt = require "luapilot.rt"
        for i = 1, 4 do
          local line = i .. " $i " .. ("."):rep(60)
          start("i=0; while [ $i -lt 20000 ]; do echo " .. line .. "; i=$((i+1)); done; echo >done" .. i,
                { name = "app", prefix = false })
        end
        rt.timer(1)
        while rt.wait().type ~= "timer" do end          -- the loop turns while nobody reads
        for i = 1, 4 do assert(not rt.stat("done" .. i), "it was not held back") end
        touch "turned"
        wait_gone(4)
        rt.flush(60)
      ]], { stdout = writing })
      run.close(writing)
      p:wait_for("the loop to turn", function() return exists(p, "turned") end)
      local text = run.drain(reading)
      run.close(reading)
      assert.equal(0, p:wait())
      local expected = { 0, 0, 0, 0 }
      for job, number in text:gmatch "(%d+) (%d+) %.+\n" do
        job = tonumber(job)
        assert.equal(expected[job], tonumber(number))
        expected[job] = expected[job] + 1
      end
      assert.same({ 20000, 20000, 20000, 20000 }, expected)
    end)

    -- All that was written in a format, with own messages of three megabytes while nobody read.
    local function of_three_megabytes(format)
      local reading, writing = run.pipe()
      local p = script([[
        local rt = require "luapilot.rt"
        rt.logging { format = "]] .. format .. [[" }
        for i = 1, 3000 do rt.log("info", ("x"):rep(1000)) end
        touch "logged"
        rt.flush(60)
        rt.timer(0)
        rt.wait()
        rt.flush(60)
      ]], { stdout = writing })
      run.close(writing)
      p:wait_for("the messages", function() return exists(p, "logged") end)
      local text = run.drain(reading)
      run.close(reading)
      assert.equal(0, p:wait())
      return text
    end

    it("drops own messages over their megabyte, and tells how many", function()
      local text = of_three_megabytes "default"
      local _, whole = text:gsub("T%S+ luapilot: x+\n", "")
      local dropped = tonumber(text:match "(%d+) messages of luapilot were dropped while the output was stalled\n")
      assert.equal(3000, whole + dropped)
      assert.is_true(whole > 900 and dropped > 900)
    end)

    it("tells machines so, too", function()
      for format, said in pairs { text = " event=messages_dropped log=stdout lost=(%d+)\n",
                                  json = ',"event":"messages_dropped","log":"stdout","lost":(%d+)}\n' } do
        local text = of_three_megabytes(format)
        local _, whole = text:gsub("xxx+", "")
        assert.equal(3000, whole + tonumber(text:match(said)))
      end
    end)

    it("gives up at the end, and says how many bytes were lost", function()
      local reading, writing = run.pipe()
      local p = script([[
        local rt = require "luapilot.rt"
        for i = 1, 500 do rt.log("info", ("x"):rep(1000)) end
        io.stderr:write("lost ", rt.flush(0.2))
      ]], { stdout = writing })
      run.close(writing)
      assert.equal(0, p:wait())
      assert.is_true(tonumber(p:stderr():match "lost (%d+)") > 100000)
      run.close(reading)
    end)
  end)

  it("whose reader is gone is swallowed, and counted: jobs neither block nor die", function()
    local SAID = {
      default = { "T luapilot: error: cannot write to stdout: Broken pipe; ",
        "T luapilot: warning: 20001 lines to stdout were lost$" },
      text = { 'event=log_gone log=stdout reason="Broken pipe"$', "event=lines_lost log=stdout lost=20001$" },
      json = { '"event":"log_gone","log":"stdout","reason":"Broken pipe"}$',
        '"event":"lines_lost","log":"stdout","lost":20001}$' },
    }
    for format, said in pairs(SAID) do
      local reading, writing = run.pipe()
      run.close(reading)
      local p = script([[
        local rt = require "luapilot.rt"
        rt.logging { format = "]] .. format .. [[" }
        start("i=0; while [ $i -lt 20000 ]; do echo a line of some length; i=$((i+1)); done; echo >done",
          { name = "app" })
        wait_gone(1)
        rt.log("info", "own")
        assert(rt.flush(60) == 0)
      ]], { stdout = writing })
      run.close(writing)
      assert.equal(0, p:wait())
      assert.equal("\n", p:read "done")
      local lines = {}
      for line in timeless(p:stderr()):gmatch "[^\n]+" do lines[#lines + 1] = line end
      assert.equal(2, #lines)
      for i, pattern in ipairs(said) do assert.matches(pattern, lines[i]) end
    end
  end)

  it("whose reader comes back, after a rotation, is told what it missed", function()
    local p = finished [[
      local rt = require "luapilot.rt"
      os.execute "mkfifo log"
      local READER = "exec 3<>log; echo >ready%d; exec cat <&3 >read%d"   -- a FIFO has a reader, and cat no end
      local one = start((READER:gsub("%%d", 1)))
      wait_file "ready1"
      start("while [ ! -e go ]; do sleep 0.02; done; seq 1000; echo >done; while [ ! -e end ]; do sleep 0.02; done",
        { name = "app", file = "log" })
      rt.kill(one, "SIGKILL", "group")
      wait_gone(1)
      touch "go"
      wait_file "done"
      local two = start((READER:gsub("%%d", 2)))
      wait_file "ready2"
      rt.timer(0)                                         -- all that is in the job's pipe is read, and swallowed
      wait_timer()
      rt.reopen()
      touch "end"
      wait_gone(2)
      assert(rt.flush(60) == 0)
      rt.kill(two, "SIGKILL", "group")
      wait_gone(3)
    ]]
    assert.equal(1000, tonumber(p:stdout():match "T%S+ luapilot: warning: (%d+) lines to log were lost\n"))
  end)

  it("to a full disk drops what it cannot keep, says so once, and the job goes on", function()
    local p = script [[
      local rt = require "luapilot.rt"
      start("i=0; while [ $i -lt 20000 ]; do echo a line of some length; i=$((i+1)); done; echo >done",
            { name = "app", file = "/dev/full" })
      wait_gone(1)
      io.stderr:write("lost ", rt.flush(0.2))
    ]]
    assert.equal(0, p:wait())
    assert.equal("\n", p:read "done")
    assert.equal(1, #p:lines("luapilot: error: cannot write to /dev/full: No space left on device; "
      .. "trying again each second, what cannot be kept is dropped$"))
    assert.is_true(tonumber(p:stderr():match "lost (%d+)") > 200000)
  end)

  it("goes on, with the count, when a disk has room again", function()
    local p = finished [[
      local rt = require "luapilot.rt"
      os.execute "ln -s /dev/full log"
      start("i=0; while [ $i -lt 20000 ]; do echo a line of some length; i=$((i+1)); done; echo >done",
            { name = "app", file = "log", prefix = false })
      wait_gone(1)
      rt.flush(0.1)
      os.remove "log"
      rt.reopen()
      rt.flush(60)
    ]]
    local _, kept = p:read "log":gsub("a line of some length\n", "")
    local before = tonumber(p:stderr():match "warning: (%d+) lines to log were lost") -- at the first flush
    local lost = before + tonumber(p:stdout():match "writing to log works again; (%d+) lines were lost")
    assert.equal(20000, kept + lost)
    assert.is_true(kept > 1000 and lost > 1000)
  end)

  -- The pipe takes more than the pilot holds, and is empty again when the flush begins.
  it("is complete at the end, too, when the reader has made room for all that was held", function()
    local reading, writing = run.pipe(2 ^ 20)
    local p = script([==[
      start([=[exec luajit -e '
        local ffi = require "ffi"
        ffi.cdef "int fcntl(int, int, ...); long write(int, const void *, size_t); int usleep(unsigned);"
        local SETFL, NONBLOCK = 4, 2048
        local line, written, refused = ("x"):rep(99) .. "\n", 0, 0
        ffi.C.fcntl(1, SETFL, ffi.new("int", NONBLOCK))
        while refused < 30 do
          if ffi.C.write(1, line, #line) == #line then
            written, refused = written + 1, 0
          else
            refused = refused + 1
            ffi.C.usleep(10000)
          end
        end
        io.open("full", "w"):write(written)
      ']=], { name = "app", prefix = false })
      wait_file "full"
      os.execute "until test -e go; do sleep 0.02; done"
      local rt = require "luapilot.rt"
      assert(rt.flush(60) == 0)
      rt.log("info", "the end")
    ]==], { stdout = writing })
    run.close(writing)
    p:wait_for("a full pipe", function() return exists(p, "full") end)
    local before = run.take(reading)
    p:write("go", "")
    local text = before .. run.drain(reading)
    run.close(reading)
    assert.equal(0, p:wait(), p:stderr())
    local _, lines = text:gsub("x\n", "")
    assert.equal(tonumber(p:read "full"), lines)
    assert.matches("luapilot: the end\n$", text:sub(-100))
  end)

  describe("into a pipe that others write into, too,", function()
    -- What was written until the pipe was full, by a script that then ends: nobody reads before.
    local function until_full(text)
      local reading, writing = run.pipe()
      local p = script("local rt = require 'luapilot.rt'\n" .. text .. [[
        for i = 1, 4000 do rt.log("info", "<" .. ("x"):rep(i % 300) .. ">") end
        assert(rt.flush(0) > 0)
      ]], { stdout = writing })
      run.close(writing)
      assert.equal(0, p:wait(), p:stderr())
      for _, process in ipairs(p:processes()) do p:signal("SIGKILL", process.pid) end
      local written = run.drain(reading)
      run.close(reading)
      return written
    end

    local function assert_whole_lines(text)
      assert.is_true(#text > 50000)
      assert.equal("\n", text:sub(-1))
      for line in text:gmatch "[^\n]+" do assert.message(line).truthy(line:find "^T luapilot: <x*>$") end
    end

    it("ends with a whole line when there is a raw job", function()
      assert_whole_lines(timeless(until_full [[ start("exec sleep 1000", { name = "raw", raw = true }) ]]))
    end)

    it("ends with a whole line when it was opened twice", function()
      assert_whole_lines(timeless(until_full [[ start("exec sleep 1000", { name = "app", file = "/dev/stdout" }) ]]))
    end)

    it("is not torn by what a raw job writes", function()
      local reading, writing = run.pipe()
      local p = script([[
        local raw = "io.stdout:setvbuf 'no'; for i = 1, 20000 do io.write(('r'):rep(i % 50) .. '.\\n') end"
        local lines = "for i = 1, 20000 do io.write(('l'):rep(i % 500), '.\\n') end"
        start("exec luajit -e \"" .. raw .. "\"", { name = "raw", raw = true })
        for _ = 1, 2 do start("exec luajit -e \"" .. lines .. "\"", { name = "app" }) end
        wait_gone(3)
        require "luapilot.rt".flush(60)
      ]], { stdout = writing })
      run.close(writing)
      local count = { r = 0, l = 0 }
      for line in run.drain(reading):gmatch "[^\n]+" do
        local kind = line:match "^r*%.$" and "r" or line:match("^" .. STAMP .. " app: l*%.$") and "l"
        assert.message(line).truthy(kind)
        count[kind] = count[kind] + 1
      end
      run.close(reading)
      assert.equal(0, p:wait())
      assert.same({ r = 20000, l = 40000 }, count)
    end)
  end)

  it("is complete in what two sharers of a pipe write, however short the writes", function()
    local reading, writing = run.pipe()
    local p = script([[
      for i = 1, 2 do
        start("luajit -e 'for n = 1, 300 do print((" .. i .. " .. \":\"):rep(3000)) end'",
              { name = "app", prefix = false })
      end
      wait_gone(2)
      require "luapilot.rt".flush(60)
    ]], { stdout = writing })
    run.close(writing)
    local text = run.drain(reading)
    run.close(reading)
    assert.equal(0, p:wait())
    local lines = 0
    for line in text:gmatch "[^\n]+" do
      assert.equal(6000, #line)
      assert.equal(line:sub(1, 2):rep(3000), line)
      lines = lines + 1
    end
    assert.equal(600, lines)
  end)
end)
