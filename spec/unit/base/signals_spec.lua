local ffi = require "ffi"
local machine = require "support.machine"
local signals = require "luapilot.base.signals"

ffi.cdef [[
  const char *sigabbrev_np(int number);
  int __libc_current_sigrtmin(void);
  int __libc_current_sigrtmax(void);
]]

local function refused(value)
  local name, message = signals.parse(value)
  assert.is_nil(name)
  return message
end

describe("signals", function()
  it("knows the names", function()
    for _, name in ipairs(signals.names) do assert.equal(name, signals.parse(name)) end
  end)

  it("knows real-time signals", function()
    assert.equal("SIGRTMIN+3", signals.parse "SIGRTMIN+3")
    assert.equal('unknown signal "SIGRTMIN+31"', refused "SIGRTMIN+31")
  end)

  it("knows the numbers", function()
    assert.equal(1, signals.number "SIGHUP")
    assert.equal(15, signals.number "SIGTERM")
    assert.equal(31, signals.number "SIGSYS")
    assert.equal(37, signals.number "SIGRTMIN+3")
    assert.equal(0, signals.number "SIGNOT")
    for _, name in ipairs(signals.names) do assert.is_true(signals.number(name) > 0) end
  end)

  it("are those of the C library, in every name and number", function()
    if not pcall(function() return ffi.C.sigabbrev_np end) then machine.skip "a C library before glibc 2.32" end
    local MORE = { SIGPOLL = "SIGIO" } -- two names of one signal
    local count = 0
    for number = 1, 31 do
      local name = "SIG" .. ffi.string(ffi.C.sigabbrev_np(number))
      assert.equal(number, signals.number(MORE[name] or name), name)
      if signals.parse(MORE[name] or name) then count = count + 1 end
    end
    assert.equal(#signals.names, count)
    assert.equal(ffi.C.__libc_current_sigrtmin(), signals.number "SIGRTMIN")
    assert.equal(ffi.C.__libc_current_sigrtmax(), signals.number "SIGRTMIN+30")
  end)

  it("are taken: those that can be heard, in their order, and those of real time", function()
    local heard = {}
    for _, name in ipairs(signals.names) do
      if signals.can_hear(name) then heard[#heard + 1] = name end
    end
    assert.same(heard, signals.heard)
    for above = 0, 30 do heard[#heard + 1] = "SIGRTMIN+" .. above end
    assert.same(heard, signals.taken)
  end)

  it("says what was meant", function()
    assert.equal('unknown signal "TERM" (did you mean "SIGTERM"?)', refused "TERM")
    assert.equal('unknown signal "usr1" (did you mean "SIGUSR1"?)', refused "usr1")
    assert.equal('unknown signal "SIGTREM" (did you mean "SIGTERM"?)', refused "SIGTREM")
    assert.equal('unknown signal "stop it"', refused "stop it")
    assert.equal('expected a signal such as "SIGTERM", got a number: 15', refused(15))
  end)

  it("tells which signals pilot.lua can hear", function()
    assert.is_true(signals.can_hear "SIGHUP")
    assert.is_true(signals.can_hear "SIGTERM")
    local heard, message = signals.can_hear "SIGKILL"
    assert.is_nil(heard)
    assert.equal("SIGKILL never reaches pilot.lua: something below takes it", message)
    assert.equal('unknown signal "HUP" (did you mean "SIGHUP"?)', select(2, signals.can_hear "HUP"))
    for _, name in ipairs(signals.heard) do assert.is_true(signals.can_hear(name)) end
  end)

  it("ask for the end a second time from a second on, SIGINT from 100 ms on", function()
    for _, case in ipairs {
      { "SIGTERM", 0, false }, { "SIGTERM", 0.999, false }, { "SIGTERM", 1, true }, { "SIGQUIT", 0.5, false },
      { "SIGWINCH", 0.5, false }, { "SIGWINCH", 60, true }, { "SIGINT", 0, false }, { "SIGINT", 0.099, false },
      { "SIGINT", 0.1, true }, { "SIGINT", 0.5, true },
    } do
      assert.equal(case[3], signals.asks_again(case[1], case[2]), case[1] .. " after " .. case[2])
    end
  end)
end)
