local loop = require "luapilot.task.loop"
local stub_port = require "support.stub_port"

describe("loop", function()
  local world, l, heard

  before_each(function()
    world = stub_port.new()
    l = loop.new(world.port)
    world.turn = function(event) l:turn(event) end
    heard = {}
  end)

  after_each(function()
    assert.same({}, world:open())
    assert.same({}, l.routes)
  end)

  local function hear(what) return function() heard[#heard + 1] = what end end

  it("gives events to the owner of their handle", function()
    l:route(7, function(event) heard[#heard + 1] = event.type end)
    l:turn { type = "exit", id = 7 }
    l:turn { type = "exit", id = 8 }
    l:unroute(7)
    l:turn { type = "exit", id = 7 }
    assert.same({ "exit" }, heard)
  end)

  it("gives events without a handle to the others", function()
    l:turn { type = "signal", name = "SIGHUP", pid = 1, terminal = false }
    l:otherwise(function(event) heard[#heard + 1] = event.name end)
    l:turn { type = "signal", name = "SIGHUP", pid = 1, terminal = false }
    l:turn { type = "timer", id = 99 }
    assert.same({ "SIGHUP" }, heard)
  end)

  it("calls once after a while, in order", function()
    l:after(2, hear "b")
    l:after(1, hear "a")
    l:after(2, hear "c")
    world:advance(1.5)
    assert.same({ "a" }, heard)
    world:advance(10)
    assert.same({ "a", "b", "c" }, heard)
  end)

  it("cancels, also twice and too late", function()
    local id = l:after(1, hear "a")
    l:cancel(id)
    l:cancel(id)
    local fired = l:after(1, hear "b")
    world:advance(2)
    l:cancel(fired)
    assert.same({ "b" }, heard)
  end)

  it("may arm and cancel from inside a timer", function()
    local other
    l:after(1, function()
      l:cancel(other)
      l:after(0, hear "next")
    end)
    other = l:after(1, hear "other")
    world:advance(1)
    assert.same({ "next" }, heard)
  end)

  it("runs the phases in order until none does anything", function()
    local work = { 3, 1 }
    for i = 1, 2 do
      l:phase(function()
        if work[i] == 0 then return false end
        work[i] = work[i] - 1
        heard[#heard + 1] = i
        return true
      end)
    end
    l:turn { type = "timer", id = 1 }
    assert.same({ 1, 2, 1, 1 }, heard)
  end)

  it("lets the world speak when the phases never come to rest", function()
    local busy = true
    l:phase(function() return busy end)
    l:after(0, function() busy = false end)
    l:rest()
    world:advance(0)
    assert.is_false(busy)
    world:advance(1)
  end)

  it("turns until it is done", function()
    local queue = { { id = 1 }, { id = 1 } }
    world = stub_port.new { wait = function() return table.remove(queue) end }
    l = loop.new(world.port)
    l:route(1, hear "event")
    l:run(function() return #queue == 0 end)
    l:unroute(1)
    assert.same({ "event", "event" }, heard)
  end)
end)
