local loop = require "luapilot.task.loop"
local stub_port = require "support.stub_port"
local mutex = require "luapilot.task.mutex"

describe("a mutex", function()
  local world, l, tasks, doors, said

  before_each(function()
    world = stub_port.new()
    l = loop.new(world.port)
    world.turn = function(event) l:turn(event) end
    world.rest = function() l:rest() end
    tasks = require "luapilot.task.scheduler".new(l)
    doors, said = mutex.new(tasks), {}
  end)

  after_each(function()
    assert.same({}, world:open())
    assert.same({}, doors.lines)
    assert.equal(0, tasks.count)
  end)

  local function say(text) said[#said + 1] = text end

  local function spawn(name, seconds, key)
    return tasks:spawn(function()
      local lock = assert(doors:lock(key or "door", "spec"))
      lock.cleanup = function() say(name .. " cleans up") end
      say(name)
      tasks:sleep(seconds)
      lock.cleanup = nil
      lock:unlock()
      lock:unlock()
    end, { name = name, detached = true })
  end

  it("come one after the other, in order, for each thing", function()
    spawn("a", 3)
    spawn("b", 2)
    spawn("c", 1)
    spawn("other", 1, "window")
    world:advance(2.5)
    assert.same({ "a", "other" }, said)
    world:advance(1)
    assert.same({ "a", "other", "b" }, said)
    world:advance(10)
    assert.same({ "a", "other", "b", "c" }, said)
  end)

  it("end with their task, however it ends", function()
    local a = spawn("a", 100)
    spawn("b", 1)
    world:advance(1)
    a:cancel()
    world:advance(10)
    assert.same({ "a", "a cleans up", "b" }, said)

    a = spawn("c", 100)
    spawn("d", 1)
    world:advance(1)
    a:abandon()
    world:advance(10)
    assert.same({ "c", "c cleans up", "d" }, { unpack(said, 4) })
  end)

  it("are not waited for by a task that was cancelled", function()
    local a, b = spawn("a", 5), spawn("b", 1)
    local c = spawn("c", 1)
    world:advance(1)
    b:cancel()
    world:advance(10)
    assert.same({ "a", "c" }, said)
    assert.is_true(a.ok and c.ok)
    assert.is_false(b.ok)
  end)

  it("cost nothing that lasts when they were not waited for to the end", function()
    local a = spawn("a", 100)
    world:advance(1)
    for _ = 1, 1000 do
      local waiter = spawn("b", 1)
      world:advance(0.001)
      waiter:cancel()
    end
    world:advance(0.001)
    assert.is_true(doors.lines.door.count <= 2)
    a:cancel()
    world:advance(1)
  end)

  it("pass on though the next task is given up before it runs", function()
    local a, b = spawn("a", 100), spawn("b", 1)
    spawn("c", 1)
    world:advance(1)
    a:cancel()
    a:abandon()
    b:abandon()
    world:advance(10)
    assert.same({ "a", "a cleans up", "c" }, said)
  end)

  it("do not begin for a task that was cancelled before", function()
    spawn("a", 5)
    world:advance(1)
    local ok
    local b = tasks:spawn(function()
      pcall(tasks.sleep, tasks, 1)
      ok = pcall(doors.enter, doors, "door", "spec")
      pcall(tasks.sleep, tasks, 1)
    end, { name = "b", detached = true })
    world:advance(0.5)
    b:cancel()
    world:advance(0)
    assert.is_false(ok)
    spawn("c", 1)
    world:advance(10)
    assert.same({ "a", "c" }, said)
  end)

  it("are refused to who is at it already", function()
    local message
    tasks:spawn(function()
      local lock = doors:lock("door", "spec")
      message = select(2, doors:lock("door", "spec"))
      lock:unlock()
    end, { name = "a", detached = true })
    world:advance(1)
    assert.matches("would wait for itself", message)
  end)

  it("need a task", function()
    assert.has_error(function() doors:lock("door", "spec") end, "spec waits, and the top level of a pilot.lua only "
      .. "declares: call it in a handler, in run, in prepare, or in pilot.spawn(function() … end)")
  end)

  it("end all at once", function()
    local a = spawn("a", 5)
    local b, c = spawn("b", 5), spawn("w", 5, "window")
    world:advance(1)
    doors:unlock_all()
    assert.same({ "a", "w", "a cleans up", "w cleans up" }, said)
    for _, t in ipairs { a, b, c } do t:abandon() end
  end)
end)
