local effort = require "support.effort"
local stub_pilot = require "support.stub_pilot"

describe("luapilot", function()
  local box, pilot

  before_each(function() box = nil end)
  after_each(function() if box then box:check() end end)

  -- A pilot that only a signal handler keeps alive.
  local function run(text, options)
    box = stub_pilot.load("local pilot = require \"luapilot\"\nlocal said = pilot.state\n" .. (text or "")
      .. "\npilot.on(\"SIGUSR1\", function() end)", options):start()
    pilot = box.app.object
  end

  local function said() return box.app.state end
  local function say(...) said()[#said() + 1] = table.concat({ tostring((...)), select(2, ...) }, " ") end

  local function raised(fn, ...)
    local ok, message = pcall(fn, ...)
    assert.is_false(ok)
    return (tostring(message):gsub("^[^ ]*: ", ""))
  end

  describe("the table", function()
    it("says what it does not know, what comes later, and that it is not to be set", function()
      run()
      assert.equal('pilot has no "slep" (did you mean "sleep"?)', raised(function() return pilot.slep end))
      assert.matches("comes with a later one", raised(function() return pilot.metrics end))
      assert.equal("pilot.x cannot be set: use a local, or pilot.state", raised(function() pilot.x = 1 end))
      assert.matches("dot, not with a colon", raised(function() pilot:sleep(1) end))
      assert.equal("luapilot", tostring(pilot))
    end)
  end)

  describe("spawn", function()
    it("logs what nobody waits for, and not what somebody does", function()
      run [[
        pilot.spawn(function() error("alone", 0) end)
        pilot.spawn(function()
          local t = pilot.spawn(function() pilot.sleep(1) error("awaited", 0) end)
          said[#said + 1] = select(2, pcall(t.wait, t))
        end)
      ]]
      box.world:advance(1)
      assert.same({ "awaited" }, said())
      local errors = box:take_errors()
      assert.equal(1, #errors)
      assert.matches("alone", errors[1])
    end)

    it("logs the error of a task that somebody waited for in vain", function()
      run [[
        local t = pilot.spawn(function() pilot.sleep(5) error("late", 0) end)
        pilot.spawn(function() said[1] = select(2, t:wait "1s") end)
      ]]
      box.world:advance(5)
      assert.same({ "timeout" }, said())
      assert.matches("late", box:take_errors()[1])
    end)

    it("gives results, and is cancelled", function()
      run [[
        pilot.spawn(function()
          local t = pilot.spawn(function(a, b) pilot.sleep(1) return a + b end, 1, 2)
          said[1] = t:wait()
          t = pilot.spawn(pilot.sleep, "1h")
          t:cancel()
          said[2] = select(2, t:wait())
        end)
      ]]
      box.world:advance(1)
      assert.same({ 3, "cancelled" }, said())
    end)

    it("passes errors on as they were raised", function()
      run [[
        pilot.spawn(function()
          local ok, err = pcall(pilot.timeout, "5s", function() error({ code = 7 }) end)
          said[1] = err.code
          ok, err = pcall(pilot.timeout, "5s", function() error("text", 0) end)
          said[2] = err
        end)
      ]]
      assert.same({ 7, "text" }, said())
    end)
  end)

  describe("timers", function()
    it("tick, never overlap, and are cancelled", function()
      run [[
        local every
        every = pilot.every("1s", function()
          said[#said + 1] = "every"
          pilot.sleep "1500ms"
          if #said == 3 then every:cancel() every:cancel() end
        end)
        pilot.after("500ms", function() said[#said + 1] = "after" end)
      ]]
      box.world:advance(20)
      assert.same({ "after", "every", "every" }, said())
      assert.is_nil(next(box.app.holders))
    end)

    it("keep the pilot alive until they are over, and tell of errors", function()
      box = stub_pilot.load [[
        local pilot = require "luapilot"
        pilot.after("5s", function() error("oops", 0) end)
      ]]
      box:start()
      box.world:advance(4)
      assert.is_false(box.app.ended)
      box.world:advance(1)
      assert.is_true(box.app.ended)
      assert.matches("^pilot.after at pilot.lua:2: oops", box:take_errors()[1])
    end)

    it("may be made and cancelled before the start", function()
      run [[ pilot.every("1s", function() said[1] = "never" end):cancel() ]]
      box.world:advance(5)
      assert.same({}, said())
    end)
  end)

  describe("poll", function()
    it("calls while the descriptor is ready, one at a time", function()
      run [[
        local poll
        poll = pilot.poll(7, "r", function()
          said[#said + 1] = "ready"
          pilot.sleep(1)
          if #said == 2 then poll:cancel() end
        end)
      ]]
      for _ = 1, 2 do
        box.world:send(box:handle "poll", { type = "poll", readable = true })
        assert.is_nil(box:handle "poll")
        box.world:advance(1)
      end
      assert.is_nil(box:handle "poll")
      assert.same({ "ready", "ready" }, said())
    end)

    it("tells when the descriptor is none", function()
      run('pilot.poll(7, "r", print)', { calls = { poll = function() return nil, "bad descriptor", "EBADF" end } })
      assert.matches("bad descriptor", box:take_errors()[1])
      assert.is_nil(next(box.app.holders))
    end)
  end)

  describe("secrets", function()
    it("are read, and masked in log lines, the longest first", function()
      run([[
        local a, b = pilot.secret "a", pilot.secret "b"
        said[1], said[2] = a, b
        pilot.log.info("x " .. b .. " " .. a, { f = b })
      ]], { files = { ["/run/secrets/a"] = "tok\n", ["/run/secrets/b"] = "token-long" } })
      assert.same({ "tok", "token-long" }, said())
      local entry
      for _, each in ipairs(box.world.logs) do
        if each.message:find "^x " then entry = each end
      end
      assert.same({ "x *** ***", { f = "***" } }, { entry.message, entry.fields })
    end)
  end)

  describe("the log", function()
    it("shows no secret in the names of its fields", function()
      run([[ pilot.log.info("x", { [pilot.secret "a"] = 1, list = { "s3cr3t" } }) ]],
        { files = { ["/run/secrets/a"] = "s3cr3t" } })
      local fields
      for _, each in ipairs(box.world.logs) do fields = each.message == "x" and each.fields or fields end
      assert.same({ ["***"] = 1, list = '["***"]' }, fields)
    end)
  end)

  describe("exec", function()
    local function finish(how, stdout, stderr)
      local id = box.world:process()
      box.app:turn { type = "output", id = id, stream = "stdout", data = stdout or "", last = true }
      box.app:turn { type = "output", id = id, stream = "stderr", data = stderr or "", last = true }
      box.world:exit(id, how)
    end

    local function exec(...)
      local arguments = { ... }
      box:task(function()
        local ok, result = pcall(pilot.exec, unpack(arguments))
        if not ok then return say("raised", (tostring(result):gsub("^[^ ]*: ", ""))) end
        say(result.code, result.signal, result.stdout, result.stderr)
      end)
    end

    before_each(function() run() end)

    it("gives code and output", function()
      exec { "x" }
      finish({ code = 0 }, "out", "")
      exec({ "x" }, { check = false })
      finish({ code = 3 }, "", "err")
      assert.equal("0", said()[1]:match "^%d+")
      assert.equal("3", said()[2]:match "^%d+")
    end)

    it("raises what went wrong, with the end of what it said", function()
      exec { "x" }
      finish({ code = 3 }, "", "no such host\n\n")
      exec { "x" }
      finish({ signal = "SIGSEGV" }, ("y"):rep(3000), "")
      exec({ "x" }, { timeout = "1s" })
      box.world:advance(1)
      finish({ signal = "SIGKILL" })
      exec({ "x" }, { max_output = 10 })
      finish({ signal = "SIGKILL" }, ("y"):rep(11))
      assert.equal('raised pilot.exec "x": exit code 3: no such host', said()[1])
      assert.equal('raised pilot.exec "x": was killed by SIGSEGV: …' .. ("y"):rep(500), said()[2])
      assert.equal('raised pilot.exec "x": timed out after 1s and was killed', said()[3])
      assert.equal('raised pilot.exec "x": wrote more than 10 bytes to stdout: raise max_output', said()[4])
    end)

    it("is not held up by a lot of blanks", function()
      local function fails(text)
        return function()
          exec { "x" }
          finish({ code = 1 }, "", text)
        end
      end
      assert.is_true(effort.ratio(fails((" "):rep(500000) .. "x"), fails(("y"):rep(500000) .. "x")) < 1000)
    end)

    it("kills what its task does not wait for any more", function()
      local t = box:task(function() pilot.exec { "x" } end)
      assert.is_truthy(box.world:process())
      t:cancel()
      box.app.loop:rest()
      assert.is_nil(box.world:process())
    end)
  end)

  it("takes a __tostring that gives no text for the caller's mistake, and a number for a text", function()
    run [[
      local function object(given) return setmetatable({}, { __tostring = function() return given end }) end
      local function calls(value)
        return {
          function() pilot.log.info(value) end,
          function() pilot.log.info("x", { [value] = 1 }) end,
          function() print("x", value) end,
          function() pilot.template(value, {}) end,
          function() return pilot.log[value] end,
          function() pilot.secret(value) end,
          function() pilot.secret "\\0" end,
          function() pilot.watch(value, {}) end, function() pilot.watch(value) end, function() pilot.watch.key "a" end,
          function() pilot.on(value, print) end,
        }
      end
      pilot.on("startup", function()
        for name, given in pairs { number = 5, boolean = true, table = {}, none = false } do
          if given == false then given = nil end
          for i, call in ipairs(calls(object(given))) do
            local ok, message = pcall(call)
            said[name .. i] = ok and "fine" or message
          end
        end
      end)
    ]]
    for name, message in pairs(said()) do
      if name:find "^number[123]$" then
        assert.equal("fine", message)
      else
        assert.matches("^pilot%.lua:%d+: ", message)
      end
      assert.no.matches("luapilot/", message)
    end
  end)

  it("raises mistakes of arguments at the caller's line", function()
    run()
    box:task(function()
      for _, call in ipairs {
        function() pilot.sleep "5" end, function() pilot.timeout("1s") end, function() pilot.defer() end,
        function() pilot.exec() end, function() pilot.exec({ "x" }, { timout = "1s" }) end,
        function() pilot.secret "a/b" end,
        function() pilot.env() end, function() pilot.address(5) end, function() pilot.shutdown(256) end,
        function() pilot.poll("x", "r", print) end, function() pilot.every("0s", print) end,
        function() pilot.after("1s") end, function() pilot.cron("99 * * * *", print) end, function() pilot.job(5) end,
        function() pilot.log.info("x", 5) end, function() pilot.spawn() end, function() pilot.sh() end,
        function() pilot.sh("echo", "a") end, function() pilot.job("a", {}) end,
      } do
        local ok, message = pcall(call)
        if ok then say("nothing raised by the call at line " .. debug.getinfo(call).linedefined) end
        if not ok and not tostring(message):find "pilot" then say(message) end
      end
    end)
    assert.same({}, said())
  end)
end)
