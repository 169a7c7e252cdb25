-- The judges of tools/soak: do they see what is wrong?

package.path = "bench/support/?.lua;" .. package.path -- for figures.lua

local judges = require "soak.judge"
local lag = require "soak.pilot.lag"
local lines = require "soak.lines"

describe("the sequence of a soak", function()
  local sequence

  before_each(function() sequence = lines.sequence() end)

  local function hear(...)
    for _, text in ipairs { ... } do
      local trouble = sequence:hear(text)
      if trouble then return trouble end
    end
  end

  it("is content with every line, whole and in order", function()
    assert.is_nil(hear("seq 1 begins after 0 0", "seq 1 1 3 bbb", "seq 1 2 0 "))
    assert.is_nil(hear("seq 2 begins after 1 2", "seq 2 1 1 b"))
    assert.equal(0, sequence.missing)
    assert.is_nil(sequence:behind())
  end)

  it("sees a line that is missing in between", function()
    assert.is_nil(hear("seq 1 1 3 bbb", "seq 1 4 1 e"))
    assert.equal(2, sequence.missing)
  end)

  it("sees that the last lines of a run are missing, until they come", function()
    assert.is_nil(hear("seq 1 1 3 bbb", "seq 2 begins after 1 2"))
    assert.equal("of run 1 came 1 lines of 2", sequence:behind())
    assert.is_nil(hear "seq 1 2 1 c")
    assert.is_nil(sequence:behind())
  end)

  it("counts what never came", function()
    hear("seq 1 1 3 bbb", "seq 2 begins after 1 5")
    sequence:give_up()
    assert.equal(4, sequence.missing)
  end)

  it("sees what is torn, mixed, doubled or out of order", function()
    assert.matches("^torn", hear "seq 1 1 3 bb")
    assert.matches("^torn", hear "seq 1 1 3 bbc")
    assert.matches("^torn", hear "seq 1 1 3 bseq 1 2 1 c")
    assert.matches("^torn", hear "q 1 1 3 bbb")
    assert.matches("after line 1", hear("seq 1 1 1 b", "seq 1 1 1 b"))
    assert.matches("after line 3", hear("seq 1 3 1 d", "seq 1 2 1 c"))
  end)
end)

describe("the lines of a soak", function()
  local directory, faults

  before_each(function()
    directory, faults = os.tmpname(), {}
    os.remove(directory)
    assert(os.execute("mkdir " .. directory) == 0)
  end)

  after_each(function() os.execute("rm -r " .. directory) end)

  local function judged(format, ...)
    local judge = lines.new {
      directory = directory, format = format,
      fault = function(kind, text) faults[#faults + 1] = kind .. ": " .. text end,
    }
    for _, line in ipairs { ... } do judge:feed(line .. "\n") end
    return judge
  end

  local USUAL = {
    default = {
      "2026-11-22T12:47:31.123Z luapilot: job \"web\": stopped", "2026-11-22T12:47:31.123Z seq-out: seq 1 1 2 bb",
      "2026-11-22T12:47:31.123Z luapilot: error: job \"web\": exited with code 3", "2026-11-22T12:47:31.123Z a: \1\255",
    },
    text = {
      'time=2026-11-22T12:47:31.123Z level=info source=luapilot job=web msg="stopped" event=stopped',
      'time=2026-11-22T12:47:31.123Z level=info job=seq-out stream=stdout msg="seq 1 1 2 bb"',
      'time=2026-11-22T12:47:31.123Z level=error source=luapilot job=web msg="exited with code 3" a=1',
    },
    json = {
      '{"time":"2026-11-22T12:47:31.123Z","level":"info","source":"luapilot","job":"web","msg":"stopped"}',
      '{"time":"2026-11-22T12:47:31.123Z","level":"info","job":"seq-out","stream":"stdout","msg":"seq 1 1 2 bb"}',
      '{"time":"2026-11-22T12:47:31.123Z","level":"error","source":"luapilot","job":"web","msg":"exited with code 3"}',
    },
  }

  for format, usual in pairs(USUAL) do
    it("are content with what is usual, in " .. format, function()
      local judge = judged(format, unpack(usual))
      assert.same({}, faults)
      assert.same({ "web" }, judge.stopped)
      assert.equal(1, judge.sequences["seq-out"].seen)
    end)

    it("see a line that is torn, in " .. format, function()
      judged(format, usual[1]:sub(1, 15), usual[2]:sub(9))
      assert.equal(2, #faults)
      assert.matches("^line: torn", faults[1])
    end)
  end

  it("see a message that nobody expects, and one of the core", function()
    judged("default", "2026-11-22T12:47:31.123Z luapilot: warning: oh", "2026-11-22T12:47:31.123Z luapilot: error: oh",
      "2026-11-22T12:47:31.123Z luapilot: error: planned: luapilot/job.lua:12: oh")
    assert.same({ "message: oh", "message: oh", "core: planned: luapilot/job.lua:12: oh" }, faults)
  end)

  it("see a gap, and add up what was told to be lost", function()
    local judge = judged("default", "2026-11-22T12:47:31.123Z seq-err: seq 1 1 0 ", "2026-11-22T12:47:31.123Z seq-err: "
      .. "seq 1 3 0 ", "2026-11-22T12:47:31.123Z luapilot: warning: writing to /x works again; 3 lines were lost")
    assert.equal(1, #faults)
    assert.matches("^line: seq%-err: 1 lines are missing", faults[1])
    assert.same({ ["/x"] = 3 }, judge.lost)
  end)
end)

describe("the lateness of a loop", function()
  local TICK = 1 / 64 -- which adds up without rounding
  local moments, tick

  before_each(function()
    moments = lag.new()
    tick = lag.ticks(moments, TICK)
  end)

  it("counts every moment that was due, those that a late tick passed over, too", function()
    tick(1)
    for i = 1, 10 do tick(1 + i * TICK) end
    assert.near(0, moments:quantile(1), 2e-6)
    assert.equal(5 * TICK, tick(1 + 16 * TICK))
    assert.equal(17, moments.total)
    assert.near(5 * TICK, moments:quantile(1), TICK / 4)
    assert.near(2 * TICK, moments:quantile(14 / 17), TICK / 8)
  end)

  it("learns from an early tick that all before were late", function()
    tick(1 + TICK / 2)
    assert.equal(0, tick(1 + TICK))
    assert.equal(TICK / 2, tick(1 + 2.5 * TICK))
  end)

  it("leaves out the time in which the process was stopped, and nothing else", function()
    tick(1)
    assert.equal(2 * TICK, tick(1 + 50 * TICK, 1 + 1.5 * TICK, 1 + 48.5 * TICK))
    assert.near(2 * TICK, moments:quantile(1), TICK / 8)
    assert.equal(0, tick(1 + 51 * TICK))
  end)

  it("is the same after it was written and read, and has a difference", function()
    for i = 1, 100 do moments:add(i / 1000) end
    local read = lag.parse(moments:text())
    assert.same(moments.counts, read.counts)
    assert.equal(100, read.total)
    moments:add(1)
    assert.equal(1, moments:since(read).total)
    assert.near(1, moments:since(read):quantile(0.5), 0.05)
    assert.near(0.05, read:quantile(0.5), 0.003)
    assert.near(0.099, read:quantile(0.99), 0.005)
  end)
end)

describe("what may not grow in a soak", function()
  local MIB = 1024 ^ 2

  -- The faults that the judge finds in samples, of which one field is as given.
  local function faults(field, values, memory)
    local found = {}
    local one = judges.new { box = {}, lines = {}, fault = function(_, text) found[#found + 1] = text end }
    for i, value in ipairs(values) do
      one.samples[i] = { at = i, live = 2 * MIB, allocated = 2 * MIB, acted = i, descriptors = 100, processes = 60,
        guardian_descriptors = 3, pss = 20 * MIB, anonymous = 20 * MIB, guardian = MIB / 8 }
      one.samples[i][field] = value
    end
    one:trends(memory ~= false)
    return found
  end

  local function growing(from, step)
    local list = {}
    for i = 1, 10 do list[i] = from + i * step end
    return list
  end

  it("is told by its name when it does", function()
    for field, name in pairs {
      live = "Lua heap after a collection", allocated = "heap of C in use", guardian = "memory written by PID 1",
    } do
      local found = faults(field, growing(MIB, 50 * 1024))
      assert.equal(1, #found)
      assert.truthy(found[1]:find(name, 1, true))
    end
    assert.equal(1, #faults("descriptors", growing(100, 2)))
  end)

  it("may go up and down", function()
    assert.same({}, faults("allocated", { 2e6, 3e6, 2e6, 3e6, 2e6, 3e6, 2e6, 3e6, 2e6, 3e6 }))
  end)

  it("is not the memory that is written, which has a bound, also in a short soak", function()
    assert.same({}, faults("anonymous", growing(20 * MIB, 5 * MIB)))
    assert.same({ "memory written by the pilot: 130 MiB, and 128 MiB are to be enough" },
      faults("anonymous", { 130 * MIB }))
    assert.same({}, faults("anonymous", { 130 * MIB }, false))
  end)
end)
