local fs = require "luapilot.fs"
local stub_port = require "support.stub_port"

-- Files of a stub: path → { data, mode, uid, gid }, or { link = path }; `faults[call]` fails it.
local function machine(files, faults)
  faults = faults or {}
  local function failing(name, fn)
    return function(self, path, ...)
      if faults[name] then return nil, name .. " failed", faults[name] end
      return fn(self, path, ...)
    end
  end
  local function missing() return nil, "no such file or directory", "ENOENT" end
  return stub_port.new {
    pid = true,
    read = failing("read", function(_, path)
      if files[path] then return files[path].data end
      return missing()
    end),
    realpath = failing("realpath", function(_, path)
      local file = files[path]
      if not file then return missing() end
      return file.link or path
    end),
    stat = failing("stat", function(_, path)
      local file = files[path]
      if not file then return missing() end
      return { type = "file", mode = file.mode, uid = file.uid, gid = file.gid }
    end),
    write = function(_, path, data, options)
      assert(options.exclusive and options.sync)
      if files[path] then return nil, "exists", "EEXIST" end
      if faults.write ~= "EACCES" then files[path] = { data = data, mode = options.mode, uid = 0, gid = 0 } end
      if faults.write then return nil, "write failed", faults.write end
      return true
    end,
    chmod = failing("chmod", function(_, path, options)
      for key, value in pairs(options) do files[path][key] = value end
      return true
    end),
    rename = failing("rename", function(_, from, to)
      files[to], files[from] = files[from], nil
      return true
    end),
    remove = function(_, path)
      if not files[path] then return missing() end
      files[path] = nil
      return true
    end,
  }
end

local function paths(files)
  local list = {}
  for path in pairs(files) do list[#list + 1] = path end
  table.sort(list)
  return list
end

describe("fs", function()
  describe("replace", function()
    it("writes a new file", function()
      local files = {}
      assert.is_true(fs.replace(machine(files).port, "/etc/a", "data"))
      assert.same({ ["/etc/a"] = { data = "data", mode = 420, uid = 0, gid = 0 } }, files)
    end)

    it("keeps the mode and owner of the old one, unless a mode is given", function()
      local files = { ["/etc/a"] = { data = "old", mode = 384, uid = 7, gid = 8 } }
      assert.is_true(fs.replace(machine(files).port, "/etc/a", "new"))
      assert.same({ data = "new", mode = 384, uid = 7, gid = 8 }, files["/etc/a"])
      assert.is_true(fs.replace(machine(files).port, "/etc/a", "newer", 416))
      assert.same({ data = "newer", mode = 416, uid = 7, gid = 8 }, files["/etc/a"])
    end)

    it("replaces the file that a link names", function()
      local files = { ["/etc/a"] = { link = "/data/a" }, ["/data/a"] = { data = "old", mode = 420, uid = 0, gid = 0 } }
      assert.is_true(fs.replace(machine(files).port, "/etc/a", "new"))
      assert.equal("new", files["/data/a"].data)
      assert.equal("/data/a", files["/etc/a"].link)
    end)

    it("leaves the old file and nothing else when a step fails", function()
      local faults = { { "write", "ENOSPC" }, { "write", "EACCES" }, { "chmod", "EPERM" }, { "rename", "EBUSY" } }
      for _, fault in ipairs(faults) do
        local files = { ["/etc/a"] = { data = "old", mode = 384, uid = 7, gid = 8 } }
        local ok, message, code = fs.replace(machine(files, { [fault[1]] = fault[2] }).port, "/etc/a", "new")
        assert.is_nil(ok)
        assert.equal(fault[2], code)
        assert.equal(('cannot write "/etc/a": %s failed'):format(fault[1]), message)
        assert.same({ "/etc/a" }, paths(files))
        assert.equal("old", files["/etc/a"].data)
      end
    end)

    it("does not touch what somebody else put at the place of its temporary file", function()
      local files = { ["/etc/a.luapilot-2-0"] = { data = "theirs" } }
      local ok, _, code = fs.replace(machine(files).port, "/etc/a", "new")
      assert.is_nil(ok)
      assert.equal("EEXIST", code)
      assert.equal("theirs", files["/etc/a.luapilot-2-0"].data)
    end)
  end)

  describe("library", function()
    local function library(files, faults)
      local app = { port = machine(files, faults).port, phase = "running" }
      return fs.library(app), app
    end

    local function raised(fn, ...)
      local ok, message = pcall(fn, ...)
      assert.is_false(ok)
      return (message:gsub("^[^:]*:%d+: ", ""))
    end

    it("reads; nil when there is no file, an error otherwise", function()
      assert.equal("x", library({ ["/a"] = { data = "x" } }).read "/a")
      assert.is_nil(library({}).read "/a")
      assert.is_nil(library({}, { read = "ENOTDIR" }).read "/a")
      assert.equal("pilot.fs.read: read failed", raised(library({}, { read = "EACCES" }).read, "/a"))
    end)

    it("writes with an octal mode", function()
      local files = {}
      library(files).write("/a", "x", { mode = "0640" })
      assert.equal(416, files["/a"].mode)
      for _, mode in ipairs { "0999", "rw", "-1", "" } do
        assert.matches("expected octal digits", raised(library(files).write, "/a", "x", { mode = mode }))
      end
    end)

    it("refuses what it does not know", function()
      assert.matches('mod: unknown field %(did you mean "mode"%?%)',
        raised(library({}).write, "/a", "x", { mod = "0640" }))
      assert.matches("expected a string, got", raised(library({}).write, "/a", 5))
      assert.matches("expected a string, got", raised(library({}).write, "/a"))
      assert.matches("expected a path, got", raised(library({}).write, nil, "x"))
      assert.matches("expected a path, got", raised(library({}).read))
      assert.matches("expected a path, got", raised(library({}).exists, {}))
    end)

    it("raises failures", function()
      assert.equal('pilot.fs.write: cannot write "/a": rename failed',
        raised(library({}, { rename = "EROFS" }).write, "/a", "x"))
    end)

    it("tells what exists", function()
      assert.is_true(library({ ["/a"] = {} }).exists "/a")
      assert.is_false(library({}).exists "/a")
    end)

    it("does not write while the file is being loaded", function()
      local lib, app = library {}
      app.phase = "declaring"
      assert.matches("only declares", raised(lib.write, "/a", "x"))
    end)
  end)
end)
