local loop = require "luapilot.task.loop"
local program = require "luapilot.job.program"
local stub_port = require "support.stub_port"

describe("program", function()
  local world, l, results

  before_each(function()
    world = stub_port.new { spawn = true, kill = true }
    l = loop.new(world.port)
    world.turn = function(event) l:turn(event) end
    results = {}
  end)

  after_each(function()
    assert.same({}, world:open())
    assert.same({}, l.routes)
  end)

  local function start(limits)
    limits = limits or {}
    limits.max_output = limits.max_output or 1000
    return program.start(l, { argv = { "x" } }, limits, function(result) results[#results + 1] = result end)
  end

  local function output(id, stream, data, last)
    l:turn { type = "output", id = id, stream = stream, data = data, last = last or false }
  end

  local function finish(id, how)
    output(id, "stdout", "", true)
    output(id, "stderr", "", true)
    world:exit(id, how or { code = 0 })
  end

  it("collects what it says, and its code", function()
    start()
    local id = world:process()
    output(id, "stdout", "a")
    output(id, "stderr", "err")
    output(id, "stdout", "b")
    finish(id, { code = 3 })
    assert.same({ { code = 3, stdout = "ab", stderr = "err" } }, results)
  end)

  it("waits for the group and for both streams, in any order", function()
    local ends = {
      function(id) output(id, "stdout", "x", true) end,
      function(id) output(id, "stderr", "", true) end,
      function(id) l:turn { type = "exit", id = id, code = 0 } end,
      function(id)
        world.handles[id] = nil
        l:turn { type = "group_gone", id = id }
      end,
    }
    for _, order in ipairs { { 1, 2, 3, 4 }, { 3, 4, 1, 2 }, { 3, 1, 4, 2 }, { 2, 3, 4, 1 } } do
      results = {}
      start()
      local id = world:process()
      for i, which in ipairs(order) do
        assert.equal(0, #results)
        ends[which](id)
        assert.equal(i == 4 and 1 or 0, #results)
      end
      assert.equal("x", results[1].stdout)
    end
  end)

  it("tells a signal", function()
    start()
    finish(world:process(), { signal = "SIGSEGV" })
    assert.same({ signal = "SIGSEGV", stdout = "", stderr = "" }, results[1])
    assert.equal("was killed by SIGSEGV", program.describe_exit(results[1]))
  end)

  it("kills what takes too long", function()
    start { timeout = 5 }
    local id = world:process()
    world:advance(5)
    assert.same({ "kill", id, "SIGKILL", "group" }, world.calls[2])
    finish(id, { signal = "SIGKILL" })
    assert.is_true(results[1].timed_out)
    assert.equal(124, results[1].code)
    assert.equal("timed out after 5s and was killed", program.describe_exit(results[1], 5))
  end)

  it("kills what says too much, once, and keeps what there was room for", function()
    start { max_output = 5 }
    local id = world:process()
    output(id, "stdout", "abc")
    output(id, "stderr", "12345")
    assert.equal(0, world:count "kill")
    output(id, "stdout", "defg")
    output(id, "stdout", "h")
    output(id, "stderr", "6")
    assert.equal(1, world:count "kill")
    finish(id, { signal = "SIGKILL" })
    assert.same({ "abcde", "12345", "stdout" }, { results[1].stdout, results[1].stderr, results[1].overflow })
  end)

  it("is gone without a trace when it is cancelled", function()
    local cancel = start { timeout = 5 }
    cancel()
    assert.same({}, world:open())
    world:advance(10)
    assert.same({}, results)
  end)

  it("may be cancelled when it is over", function()
    local cancel = start { timeout = 5 }
    finish(world:process())
    cancel()
    assert.equal(1, #results)
  end)

  it("says why it could not be started", function()
    world = stub_port.new { spawn = function() return nil, "no such file", "ENOENT", "exec" end }
    l = loop.new(world.port)
    assert.same({ nil, "no such file", "ENOENT", "exec" }, { start { timeout = 5 } })
  end)
end)
