local loops = require "luapilot.task.loop"
local retry = require "luapilot.task.retry"
local stub_port = require "support.stub_port"
local scheduler = require "luapilot.task.scheduler"

describe("retry", function()
  local world, all, attempts, result

  before_each(function()
    world = stub_port.new()
    local loop = loops.new(world.port)
    world.turn = function(event) loop:turn(event) end
    world.rest = function() loop:rest() end
    all = scheduler.new(loop)
    attempts, result = {}, nil
  end)

  -- Fails until `good` attempts are over.
  local function run(seconds, good, is_worth)
    all:spawn(function()
      result = { retry.run(all, "call", seconds, function()
        attempts[#attempts + 1] = world.time - 1000
        if #attempts > good then return "yes" end
        return nil, "no", #attempts
      end, is_worth or function(value) return value == nil end) }
    end, {})
  end

  it("tries once without a time for more", function()
    run(nil, 1)
    world:advance(60)
    assert.same({ nil, "no", 1 }, result)
    assert.same({ 0 }, attempts)
  end)

  it("doubles its pauses, up to 5 s, until it succeeds", function()
    run(60, 7)
    world:advance(60)
    assert.same({ "yes" }, result)
    assert.same({ 0, 0.25, 0.75, 1.75, 3.75, 7.75, 12.75, 17.75 }, attempts)
  end)

  it("makes each pause shorter by up to a quarter, at random", function()
    world.luck = 1
    run(60, 2)
    world:advance(60)
    assert.same({ 0, 0.1875, 0.5625 }, attempts)
  end)

  it("gives up when the next pause would be too long, with the last failure", function()
    run(1, 100)
    world:advance(60)
    assert.same({ nil, "no", 3 }, result)
    assert.same({ 0, 0.25, 0.75 }, attempts)
  end)

  it("does not repeat what is not worth it", function()
    run(60, 100, function(value, message, code) return value == nil and message == "no" and code < 2 end)
    world:advance(60)
    assert.same({ nil, "no", 2 }, result)
    assert.same({}, world:open())
  end)
end)
