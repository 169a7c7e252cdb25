local files = require "luapilot.sim.files"

describe("sim.files", function()
  local tree, unknown

  before_each(function()
    unknown = {}
    tree = files.new {
      cwd = "/pilot", clock = function() return 1000 end,
      unknown = function(path) unknown[#unknown + 1] = path end,
    }
    tree:describe("/etc/app.conf", "hello")
  end)

  local function fails(code, ...)
    local result, message, got = ...
    assert.is_nil(result)
    assert.is_string(message)
    assert.equal(code, got)
  end

  it("reads what was described, by any spelling of the path", function()
    assert.equal("hello", tree:read "/etc/app.conf")
    assert.equal("hello", tree:read "/etc//./x/../app.conf")
    tree:describe("local.conf", "mine")
    assert.equal("mine", tree:read "/pilot/local.conf")
    assert.same({}, unknown)
  end)

  it("tells of a path that nobody described, but not of one described as absent", function()
    fails("ENOENT", tree:read "/etc/other.conf")
    assert.same({ "/etc/other.conf" }, unknown)
    tree:describe("/etc/none", false)
    fails("ENOENT", tree:read "/etc/none")
    fails("ENOENT", tree:read "/etc/none/deeper")
    assert.equal(1, #unknown)
  end)

  it("knows that what was removed is not there", function()
    assert.is_true(tree:remove "/etc/app.conf")
    fails("ENOENT", tree:read "/etc/app.conf")
    fails("ENOENT", tree:remove "/etc/app.conf")
    assert.same({}, unknown)
  end)

  it("writes, appends, refuses to overwrite when exclusive", function()
    assert.is_true(tree:write("/var/x", "1"))
    assert.is_true(tree:write("/var/x", "2", { append = true }))
    assert.equal("12", tree:content "/var/x")
    fails("EEXIST", tree:write("/var/x", "3", { exclusive = true }))
    assert.is_true(tree:write("/var/x", "3", { mode = 384 }))
    local node = tree:node "/var/x"
    assert.same({ "file", 384, "3", 1000 }, { node.type, node.mode, node.content, node.mtime })
  end)

  it("makes undescribed directories, unless it is closed", function()
    assert.is_true(tree:write("/a/b/c", ""))
    assert.equal("directory", tree:node("/a/b").type)
    local closed = files.new { clock = function() return 0 end, closed = true }
    fails("ENOENT", closed:write("/a/b/c", ""))
  end)

  it("knows files from directories", function()
    fails("EISDIR", tree:read "/etc")
    fails("EISDIR", tree:write("/etc", ""))
    fails("ENOTEMPTY", tree:remove "/etc")
    tree:describe("/empty/", "")
    assert.is_true(tree:remove "/empty")
    fails("ENOTDIR", tree:read "/etc/app.conf/x")
    fails("ENOTDIR", tree:write("/etc/app.conf/x", ""))
    fails("EFBIG", tree:read("/etc/app.conf", 4))
    assert.equal("hello", tree:read("/etc/app.conf", 5))
  end)

  it("renames files over files, and directories with what is in them", function()
    tree:describe("/etc/new", "new")
    assert.is_true(tree:rename("/etc/new", "/etc/app.conf"))
    assert.equal("new", tree:content "/etc/app.conf")
    assert.is_nil(tree:content "/etc/new")
    assert.is_true(tree:rename("/etc", "/conf"))
    assert.equal("new", tree:content "/conf/app.conf")
    fails("ENOENT", tree:rename("/nowhere", "/x"))
    tree:describe("/dir/file", "")
    fails("EISDIR", tree:rename("/conf/app.conf", "/dir"))
    fails("ENOTEMPTY", tree:rename("/conf", "/dir"))
  end)

  it("lists names, also after renames", function()
    tree:describe("/etc/dir/a", "")
    tree:describe("/etc/dir/b", "")
    assert.is_true(tree:rename("/etc/dir", "/moved"))
    assert.is_true(tree:remove "/moved/a")
    assert.same({ "b" }, tree:names "/moved")
    assert.same({ "app.conf" }, tree:names "/etc")
    assert.same({}, tree:names "/nowhere")
  end)

  it("knows what is no file", function()
    tree:describe("/run/app.sock", { socket = true })
    fails("EINVAL", tree:read "/run/app.sock")
    assert.is_true(tree:write("/dev/null", "gone"))
    assert.equal("device", tree:node("/dev/null").type)
  end)

  it("follows links, but renames and removes the link itself", function()
    tree:describe("/etc/link", { link = "app.conf" })
    tree:describe("/etc2", { link = "/etc" })
    assert.equal("hello", tree:read "/etc2/link")
    assert.equal("link", tree:node("/etc/link").type)
    assert.is_true(tree:write("/etc/link", "through"))
    assert.equal("through", tree:content "/etc/app.conf")
    assert.is_true(tree:remove "/etc/link")
    assert.equal("through", tree:content "/etc/app.conf")
    tree:describe("/loop", { link = "/loop" })
    fails("ELOOP", tree:read "/loop")
  end)

  it("fails as told, until told otherwise", function()
    for _, case in ipairs {
      { "EACCES", "read", function() return tree:read "/etc/app.conf" end },
      { "EROFS", "write", function() return tree:write("/etc/app.conf", "x") end },
      { "EBUSY", "rename", function() return tree:rename("/etc/app.conf", "/etc/new") end },
      { "EACCES", "remove", function() return tree:remove "/etc/app.conf" end },
    } do
      tree:fault(case[2], "/etc/app.conf", case[1])
      fails(case[1], case[3]())
      tree:fault(case[2], "/etc/app.conf", nil)
    end
    assert.equal("hello", tree:read "/etc/app.conf")
    tree:fault("rename", "/etc/app.conf", "EBUSY")
    tree:describe("/etc/new", "new")
    fails("EBUSY", tree:rename("/etc/new", "/etc/app.conf"))
  end)

  it("leaves half a file when the disk is full", function()
    tree:fault("write", "/etc/app.conf", "ENOSPC")
    fails("ENOSPC", tree:write("/etc/app.conf", "0123456789"))
    assert.equal("01234", tree:content "/etc/app.conf")
  end)

  it("shows Lua files of a real directory, and no others", function()
    tree:overlay("/pilot", "lua/luapilot/sim/")
    assert.is_truthy(tree:read("/pilot/files.lua"):find("^%-%- files:"))
    fails("ENOENT", tree:read "/pilot/no-such-module.lua")
    assert.same({}, unknown)
  end)

  it("names the spec's line for a wrong description", function()
    local ok, message = pcall(function() tree:describe("/x", { contents = "a" }) end)
    assert.is_false(ok)
    assert.is_truthy(message:find "^spec/unit/sim/files_spec.lua:%d+: .*unknown field \"contents\"")
  end)
end)
