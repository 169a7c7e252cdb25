local sim = require "luapilot.sim"
local slices = require "luapilot.file.slices"

local MIB = 1024 ^ 2
local PATH = "/file"

describe("slices", function()
  local machine, port, calls

  -- What the port is asked for on the way, without ids: "get get pause get".
  before_each(function()
    machine = sim.world():machine { files = { [PATH] = "" } }
    calls = {}
    port = setmetatable({}, { __index = function(_, name)
      return function(...)
        calls[#calls + 1] = name
        return machine.interface[name](...)
      end
    end })
  end)

  local function pause() calls[#calls + 1] = "pause" end

  local function read(text, with)
    machine:write(PATH, text)
    local id = machine.interface.open(PATH, "read")
    local data, message, code = slices.read(port, id, with)
    machine.interface.cancel(id)
    return data, message, code
  end

  local function write(text, with)
    local id = machine.interface.open(PATH, "append")
    local ok, message, code = slices.write(port, id, text, with)
    machine.interface.cancel(id)
    return ok, message, code
  end

  -- Bytes that differ from slice to slice.
  local function bytes(count) return ("0123456"):rep(math.ceil(count / 7)):sub(1, count) end

  it("are many when there is more than one", function()
    assert.is_false(slices.are_many(0))
    assert.is_false(slices.are_many(MIB))
    assert.is_true(slices.are_many(MIB + 1))
  end)

  it("read what is small at once", function()
    for _, text in ipairs { "", "x", bytes(MIB - 1) } do
      calls = {}
      assert.equal(text, read(text, pause))
      assert.same({ "get" }, calls)
    end
  end)

  it("read what is large with pauses, as far as it goes", function()
    local text = bytes(3 * MIB + 5)
    assert.equal(text, read(text, pause))
    assert.equal("get pause get pause get pause get", table.concat(calls, " "))
    calls = {}
    assert.equal(text, read(text))
    assert.equal("get get get get", table.concat(calls, " "))
  end)

  it("read 64 MiB and no more", function()
    assert.equal(slices.limit, #read(("x"):rep(slices.limit)))
    local text, message, code = read(("x"):rep(slices.limit + 1))
    assert.same({ nil, "cannot read: it is larger than 64 MiB", "EFBIG" }, { text, message, code })
  end)

  it("write what is small at once, and do not sync it", function()
    for _, text in ipairs { "x", bytes(MIB) } do
      machine:write(PATH, "")
      calls = {}
      assert.is_true(write(text, pause))
      assert.same({ "put" }, calls)
      assert.equal(text, machine:file(PATH))
    end
    calls = {}
    assert.is_true(write("", pause))
    assert.same({}, calls)
  end)

  it("write what is large with pauses, each after a sync", function()
    local text = bytes(2 * MIB + 5)
    assert.is_true(write(text, pause))
    assert.equal(text, machine:file(PATH))
    assert.equal("put sync pause put sync pause put", table.concat(calls, " "))
    calls = {}
    machine:write(PATH, "")
    assert.is_true(write(text))
    assert.equal("put put put", table.concat(calls, " "))
    assert.equal(text, machine:file(PATH))
  end)

  it("tell what fails, and go no further", function()
    machine:fault("write", PATH, "ENOSPC")
    local ok, message, code = write(bytes(3 * MIB), pause)
    assert.same({ nil, "cannot write: no space left on device", "ENOSPC" }, { ok, message, code })
    assert.same({ "put" }, calls)
    local data
    data, message, code = slices.read(port, 99)
    assert.same({ nil, "EBADF" }, { data, code })
    assert.is_string(message)
  end)

  it("leave it to the pause to end it", function()
    local function ends() error("cancelled", 0) end
    assert.has_error(function() read(bytes(2 * MIB), ends) end, "cancelled")
    assert.has_error(function() write(bytes(2 * MIB), ends) end, "cancelled")
    assert.equal(bytes(2 * MIB) .. bytes(MIB), machine:file(PATH))
  end)
end)
