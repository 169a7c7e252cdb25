-- What the simulator's files have beyond the contract of the port (spec/contract/port_spec.lua): directories that
-- nobody described, paths that nobody knows, and faults.
local sim = require "luapilot.sim"

describe("sim.places", function()
  local machine, port, unknown

  local function fresh(options)
    machine = sim.world():machine(options)
    port, unknown = machine.interface, {}
    machine.files.unknown = function(path) unknown[#unknown + 1] = path end
    return port
  end

  local function fails(expected, result, message, code)
    assert.is_nil(result)
    assert.is_string(message)
    assert.equal(expected, code, message)
    return message
  end

  local function node(path) return machine.files:node(path) end

  before_each(function() fresh { files = { ["/etc/a"] = "text", ["/etc/none"] = false } } end)

  describe("have directories that nobody described", function()
    it("as soon as somebody needs them", function()
      local id, name, directory = port.place "/var/lib/app/state"
      assert.same({ "state", "/var/lib/app" }, { name, directory })
      assert.equal("directory", node("/var/lib/app").type)
      local file = assert(port.open("state", "create", id))
      assert(port.put(file, "x"))
      assert.equal("x", machine:file "/var/lib/app/state")
      assert.is_true(port.mkdir("/srv/new", 448))
      assert.same({ 493, 448 }, { node("/srv").mode, node("/srv/new").mode })
      assert(port.rename("/srv/new", "/opt/moved"))
      assert.equal(448, node("/opt/moved").mode)
    end)

    it("but not to look at them", function()
      fails("ENOENT", port.stat "/var/lib")
      fails("ENOENT", port.list("/var/lib", 10))
      assert.is_nil(node "/var")
    end)

    it("but not where it is known that there is nothing", function()
      fails("ENOENT", port.place "/etc/none/x")
      fails("ENOENT", port.mkdir("/etc/none/x", 493))
      fails("ENOENT", port.open("/etc/none/x", "create"))
      assert(port.remove "/etc/a")
      fails("ENOENT", port.open("/etc/a/x", "create"))
    end)

    it("but none at all in a closed tree", function()
      fresh { files = { ["/etc/a"] = "" }, closed = true }
      fails("ENOENT", port.place "/var/x")
      fails("ENOENT", port.open("/var/x", "create"))
      fails("ENOENT", port.rename("/etc/a", "/var/x"))
      assert.is_truthy(port.place "/etc/b")
    end)
  end)

  it("tell of a file that is read, and nobody knows", function()
    fails("ENOENT", port.read "/var/x")
    fails("ENOENT", port.open("/var/y", "read"))
    assert.same({ "/var/x", "/var/y" }, unknown)
    for _, path in ipairs { "/etc/none", "/etc/none/deeper" } do fails("ENOENT", port.read(path)) end
    fails("ENOENT", port.open("/var/z", "append"))
    fails("ENOENT", port.stat "/var/z")
    assert.equal(2, #unknown)
  end)

  describe("fail as told", function()
    local function place() return (assert(port.place "/etc/a")) end

    it("by operation and path, however the path is reached", function()
      machine:write("/etc/d/", true)
      machine:write("/link", { link = "/etc" })
      for operation, call in pairs {
        stat = function(path, at) return port.stat(path, at) end,
        read = function(path, at) return port.open(path, "read", at) end,
        write = function(path, at) return port.open(path, "append", at) end,
        rename = function(path, at) return port.rename(path, at and "b" or "/etc/b", at) end,
        remove = function(path, at) return port.remove(path, at) end,
      } do
        machine:fault(operation, "/etc/a", "EROFS")
        assert.matches(": read%-only file system$", fails("EROFS", call "/etc/a"))
        fails("EROFS", call "/etc/d/../a")
        fails("EROFS", call "/link/a")
        fails("EROFS", call("a", place()))
        machine:fault(operation, "/etc/a")
      end
      machine:fault("list", "/etc", "EACCES")
      fails("EACCES", port.list("/link", 10))
      fails("EACCES", port.list(".", 10, place()))
      machine:fault("mkdir", "/etc/new", "ENOSPC")
      assert.equal('cannot make directory "/etc/new": no space left on device',
        fails("ENOSPC", port.mkdir("/etc/new", 493)))
      machine:fault("rename", "/etc/c", "EXDEV")
      fails("EXDEV", port.rename("/etc/a", "/etc/c"))
      machine:fault("read", "/etc/a", "EIO")
      fails("EIO", port.read "/etc/a")
      assert.equal("text", machine:file "/etc/a")
    end)

    it("where an open file was when it was opened", function()
      local id = port.open("/etc/a", "append")
      assert(port.rename("/etc/a", "/etc/b"))
      machine:fault("chmod", "/etc/a", "EPERM")
      assert.equal("cannot change the mode: operation not permitted", fails("EPERM", port.chmod(id, { mode = 0 })))
      machine:fault("write", "/etc/a", "EIO")
      fails("EIO", port.put(id, "1234"))
      assert.equal("text12", machine:file "/etc/b")
    end)

    it("with half of what is written when the disk is full, and not before", function()
      for _, code in ipairs { "ENOSPC", "EDQUOT", "EIO" } do
        machine:write("/etc/a", "")
        machine:fault("write", "/etc/a", code)
        local id = assert(port.open("/etc/a", "append"))
        fails(code, port.put(id, "123456"))
        assert.equal("123", machine:file "/etc/a")
        machine:fault("write", "/etc/a")
        assert(port.put(id, "7"))
        assert.equal("1237", machine:file "/etc/a")
      end
    end)

    it("without the end of a name that nobody can guess", function()
      machine:fault("write", "/etc/.a.luapilot-new", "EACCES")
      fails("EACCES", port.open("/etc/.a.luapilot-new-0123456789abc", "create"))
      assert.is_truthy(port.open("/etc/.b.luapilot-new-0123456789abc", "create"))
    end)

    it("all over the disk while it is disturbed", function()
      local list = machine.files.disturbances
      list[1] = { operations = { write = true, rename = true }, code = "EROFS" }
      fails("EROFS", port.open("/etc/new", "create"))
      fails("EROFS", port.rename("/etc/a", "/etc/b"))
      assert.equal("text", port.read "/etc/a")
      list[1] = nil
      assert.is_true(port.rename("/etc/a", "/etc/b"))
    end)
  end)

  describe("keep what is open", function()
    it("whatever a spec describes there", function()
      local file, place = port.open("/etc/a", "append"), port.place "/etc/a"
      machine:write("/etc/a", "another")
      assert(port.put(file, "!"))
      assert.equal("another", machine:file "/etc/a")
      assert.equal(7, port.stat("a", place).size)
      machine:write("/etc/a", false)
      assert(port.put(file, "!"))
      fails("ENOENT", port.stat("a", place))
    end)

    it("when directories move with all that is in them", function()
      machine:write("/srv/one/two/file", "text")
      local place = port.place "/srv/one/two/file"
      assert(port.rename("/srv", "/moved"))
      assert.equal("text", port.get(assert(port.open("file", "read", place)), 10))
      assert.equal(port.stat("/moved/one/two").identity, port.stat(".", place).identity)
      assert(port.remove "/moved/one/two/file" and port.remove "/moved/one/two")
      fails("ENOENT", port.open("new", "create", place))
    end)
  end)

  it("make logs for owner and group, which their jobs fill", function()
    assert(port.logging { output = "/var/log/pilot" })
    port.log("info", "own")
    assert.same({ "file", 416, "info: own\n" }, { node("/var/log/pilot").type, node("/var/log/pilot").mode,
      machine:file "/var/log/pilot" })
    machine:program("app", { exit = 0 })
    assert(port.spawn { argv = { "app" }, output = { name = "app", file = "/var/log/app" } })
    assert.equal(416, node("/var/log/app").mode)
    machine:write("/run/fifo", { fifo = true })
    assert.is_true(port.logging { output = "/run/fifo" })
    machine:write("/run/socket", { socket = true })
    assert.equal('cannot log to "/run/socket": it is a socket, not a file',
      fails("EINVAL", port.logging { output = "/run/socket" }))
    machine:fault("write", "/var/log/other", "EROFS")
    fails("EROFS", port.logging { output = "/var/log/other" })
    port.log("info", "to the FIFO")
    assert.equal("info: own\n", machine:file "/var/log/pilot")
  end)

  it("are root's", function()
    assert.equal(0, port.user())
    assert.is_truthy(port.open("/etc/new", "create"))
    assert.same({ 0, 0 }, { node("/etc/new").uid, node("/etc/new").gid })
  end)
end)
