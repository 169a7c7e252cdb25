-- pilot.fs, word by word, on the simulator's files. What is done in one place is swap_spec.lua's, how paths lead there
-- the contract of the port's.
local boxes = require "support.boxes"
local fs = require "luapilot.file.fs"
local trials = require "luapilot.file.trials"
local sim = require "luapilot.sim"

local MIB = 1024 ^ 2

describe("pilot.fs", function()
  local machine, app, lib

  -- A machine with these files, and the library of a pilot on it.
  local function fresh(files)
    machine = sim.world():machine { files = files or {}, closed = true }
    app = { port = machine.interface, phase = "running", tasks = {} }
    app.trials = trials.new(app)
    lib = fs.library(app)
    return lib
  end

  local function node(path)
    machine.files:content(path) -- what was appended is put together
    return machine.files:node(path)
  end

  local function look(path)
    local it = node(path)
    return { it.content, it.mode, it.uid, it.gid }
  end

  -- The names in a directory.
  local function there(path)
    local names = machine.files:names(path)
    table.sort(names)
    return table.concat(names, " ")
  end

  local function raised(name, ...)
    local ok, message = pcall(lib[name], ...)
    assert.is_false(ok)
    return (message:gsub("^[^:]*:%d+: ", ""))
  end

  local function fails(message, name, ...)
    assert.equal(("pilot.fs.%s: %s"):format(name, message), raised(name, ...))
  end

  local function nothing_open() assert.same({}, machine.port.handles) end

  before_each(function()
    fresh {
      ["/etc/"] = true, ["/etc/a"] = "text", ["/etc/empty/"] = true, ["/etc/link"] = { link = "a" },
      ["/etc/dangling"] = { link = "gone" }, ["/etc/fifo"] = { fifo = true },
    }
  end)

  after_each(nothing_open)

  describe("refuses", function()
    it("what is no path", function()
      for _, name in ipairs { "read", "exists", "stat", "list", "remove", "mkdir" } do
        assert.equal(("pilot.fs.%s: expected a path, got nothing"):format(name), raised(name))
        assert.matches("expected a path, got an empty table", raised(name, {}))
        assert.matches("a path with a NUL byte in it", raised(name, "/etc/a\0b"))
      end
      assert.matches("pilot.fs.glob: expected a pattern, got a number", raised("glob", 5))
      for _, name in ipairs { "write", "append" } do
        assert.matches("expected a path, got nothing", raised(name, nil, "x"))
        assert.matches("a path with a NUL byte in it", raised(name, "a\0", "x"))
        assert.matches("expected a string, got nothing", raised(name, "/etc/a"))
        assert.matches("expected a string, got a number", raised(name, "/etc/a", 5))
      end
      assert.matches("expected a path, got nothing", raised("rename", "/etc/a"))
      assert.matches("expected a path, got nothing", raised("rename", nil, "/etc/a"))
      assert.equal("text", machine.files:content "/etc/a")
    end)

    it("options that it does not know", function()
      assert.equal('pilot.fs.write: mod: unknown field (did you mean "mode"?)',
        raised("write", "/etc/a", "x", { mod = "0640" }))
      assert.equal('pilot.fs.append: mdoe: unknown field (did you mean "mode"?)',
        raised("append", "/etc/a", "x", { mdoe = "0640" }))
      assert.equal('pilot.fs.mkdir: parent: unknown field (did you mean "parents"?)',
        raised("mkdir", "/etc/d", { parent = true }))
      assert.equal("pilot.fs.mkdir: parents: expected a boolean, got a string: \"yes\"",
        raised("mkdir", "/etc/d", { parents = "yes" }))
      assert.matches('pilot.fs.write: expected a table such as { mode = "0640" }, got a string: "0640"',
        raised("write", "/etc/a", "x", "0640"))
      assert.matches("pilot.fs.write: mode: expected a string, got a number: 640",
        raised("write", "/etc/a", "x", { mode = 640 }))
      for _, name in ipairs { "write", "append" } do
        for _, mode in ipairs { "0999", "rw", "-1", "", "17777", "0o644", "000644" } do
          assert.matches('mode: expected octal digits such as "0640"', raised(name, "/etc/a", "x", { mode = mode }))
        end
      end
      fails('mode: a directory is made without set-user-ID and set-group-ID bits, got "2775": at most "1777"',
        "mkdir", "/etc/d", { mode = "2775" })
      assert.equal("text", machine.files:content "/etc/a")
    end)

    it("to change anything while the file is being loaded, and lets it look", function()
      app.phase = "declaring"
      for name, arguments in pairs {
        write = { "/etc/a", "x" }, append = { "/etc/a", "x" }, remove = { "/etc/a" }, rename = { "/etc/a", "/etc/b" },
        mkdir = { "/etc/d" },
      } do
        assert.equal(("pilot.fs.%s changes the world, and the top level of a pilot.lua only declares: call it in a "
          .. "handler, in run or in prepare"):format(name), raised(name, unpack(arguments)))
      end
      assert.equal("text", lib.read "/etc/a")
      assert.is_true(lib.exists "/etc/a")
      assert.equal("file", lib.stat("/etc/a").type)
      assert.same({}, lib.list "/etc/empty")
      assert.same({ "/etc/a" }, lib.glob "/etc/[a]")
      assert.equal("a dangling empty fifo link", there "/etc")
    end)
  end)

  describe("read", function()
    it("gives a text; nil where there is no file", function()
      assert.equal("text", lib.read "/etc/a")
      assert.equal("text", lib.read "/etc/link")
      assert.is_nil(lib.read "/etc/b")
      assert.is_nil(lib.read "/gone/b")
      assert.is_nil(lib.read "/etc/a/b")
    end)

    it("raises where there is none that could be read", function()
      fails('cannot read "/etc": it is a directory', "read", "/etc")
      fails('cannot read "/dev/null": it is a device, not a file', "read", "/dev/null")
      fails('cannot read "/etc/fifo": it is a FIFO, not a file', "read", "/etc/fifo")
      machine:fault("read", "/etc/a", "EACCES")
      fails('cannot open "/etc/a": permission denied', "read", "/etc/a")
    end)

    it("takes 64 MiB, and says so of more", function()
      machine:write("/etc/100%", ("x"):rep(64 * MIB))
      assert.equal(64 * MIB, #lib.read "/etc/100%")
      machine:write("/etc/100%", ("x"):rep(64 * MIB + 1))
      fails('cannot read "/etc/100%": 67108865 bytes, 64 MiB is the most', "read", "/etc/100%")
    end)
  end)

  describe("write", function()
    it("makes a file, and replaces one with its mode and owner", function()
      lib.write("/etc/new", "one")
      assert.same({ "one", 420, 0, 0 }, look "/etc/new")
      machine:write("/etc/new", { content = "one", mode = 384, uid = 7, gid = 8 })
      local old = node("/etc/new").identity
      lib.write("/etc/new", "two")
      assert.same({ "two", 384, 7, 8 }, look "/etc/new")
      assert.are_not.equal(old, node("/etc/new").identity)
      assert.equal("a dangling empty fifo link new", there "/etc")
    end)

    it("gives it the mode that is asked for", function()
      for _, row in ipairs { { "0640", 416 }, { "600", 384 }, { "4755", 2541 }, { "0", 0 } } do
        lib.write("/etc/a", "x", { mode = row[1] })
        assert.equal(row[2], node("/etc/a").mode)
      end
    end)

    it("follows a link to the file that is there", function()
      lib.write("/etc/link", "new")
      assert.same({ "new", "link" }, { node("/etc/a").content, node("/etc/link").type })
      assert.equal('pilot.fs.write: "/etc/dangling" is a symbolic link that leads nowhere',
        raised("write", "/etc/dangling", "x"))
    end)

    it("raises where it cannot be done", function()
      fails('cannot write "/gone/a": its directory does not exist', "write", "/gone/a", "x")
      assert.equal('pilot.fs.write: cannot write "/etc/a/b": a part of its path is not a directory',
        raised("write", "/etc/a/b", "x"))
      fails('"/etc/empty" is a directory, not a file', "write", "/etc/empty", "x")
      fails('"/etc/." is a directory, not a file', "write", "/etc/.", "x")
      fails('"/dev/null" is a device, not a file', "write", "/dev/null", "x")
      fails('"/etc/fifo" is a FIFO, not a file', "write", "/etc/fifo", "x")
      assert.equal(('pilot.fs.write: cannot write "/etc/%s": file name too long'):format(("x"):rep(255)),
        raised("write", "/etc/" .. ("x"):rep(255), "x"))
      assert.equal('pilot.fs.write: cannot write "/etc/a": 67108865 bytes, 64 MiB is the most',
        raised("write", "/etc/a", ("x"):rep(64 * MIB + 1)))
      assert.equal("a dangling empty fifo link", there "/etc")
      assert.equal("text", node("/etc/a").content)
    end)

    it("leaves the old file and nothing beside it when a step fails", function()
      for _, row in ipairs {
        { "write", "/etc/.a.luapilot-new", "ENOSPC", "no space left on device; the old file stays" },
        { "write", "/etc/.a.luapilot-new", "EACCES", "permission denied: a new file must be written beside it" },
        { "write", "/etc/.a.luapilot-new", "EROFS", "the file system is read-only" },
        { "chmod", "/etc/.a.luapilot-new", "EIO", "input/output error" },
        { "rename", "/etc/a", "EACCES", "permission denied: a new file must be written beside it" },
        { "rename", "/etc/.a.luapilot-new", "EIO", "input/output error" },
      } do
        machine:fault(row[1], row[2], row[3])
        assert.equal('pilot.fs.write: cannot write "/etc/a": ' .. row[4], raised("write", "/etc/a", "new"))
        machine:fault(row[1], row[2])
        assert.equal("a dangling empty fifo link", there "/etc")
        assert.same({ "text", 420 }, { node("/etc/a").content, node("/etc/a").mode })
        nothing_open()
      end
    end)

    it("removes what killed pilots left of new files, and nothing else", function()
      machine:write("/etc/.a.luapilot-new-0123456789abc", "half")
      machine:write("/etc/.ab.luapilot-new-0123456789abc", "of another file")
      machine:write("/etc/ab.luapilot-new-0123456789abc", "no new file")
      lib.write("/etc/a", "new")
      assert.equal("a ab.luapilot-new-0123456789abc dangling empty fifo link", there "/etc")
    end)
  end)

  describe("append", function()
    it("adds to a file, and makes it", function()
      lib.append("/etc/log", "one\n")
      lib.append("/etc/log", "two\n")
      assert.same({ "one\ntwo\n", 420 }, { node("/etc/log").content, node("/etc/log").mode })
      local identity = node("/etc/log").identity
      lib.append("/etc/log", "", { mode = "0600" }) -- of a new one only
      assert.same({ 420, identity }, { node("/etc/log").mode, node("/etc/log").identity })
      lib.append("/etc/other", "x", { mode = "0600" })
      assert.equal(384, node("/etc/other").mode)
      lib.append("/etc/link", "!")
      assert.equal("text!", node("/etc/a").content)
    end)

    it("takes the file that somebody else has made meanwhile", function()
      local open = app.port.open
      function app.port.open(path, mode, place)
        if mode == "create" then machine:write(path, "theirs ") end
        return open(path, mode, place)
      end
      lib.append("/etc/log", "ours")
      assert.equal("theirs ours", node("/etc/log").content)
    end)

    it("raises where it cannot be done", function()
      fails('cannot append to "/dev/null": it is a device, not a file', "append", "/dev/null", "x")
      fails('cannot append to "/etc": it is a directory', "append", "/etc", "x")
      fails('cannot open "/gone/a": no such file or directory', "append", "/gone/a", "x")
      fails('"/etc/dangling" is a symbolic link that leads nowhere', "append", "/etc/dangling", "x")
      machine:write("/etc/100%", "")
      machine:fault("write", "/etc/100%", "ENOSPC")
      fails('cannot append to "/etc/100%": no space left on device', "append", "/etc/100%", "x")
      machine:fault("write", "/etc/new", "EROFS")
      fails('cannot open "/etc/new": read-only file system', "append", "/etc/new", "x")
      machine:fault("write", "/etc/new")
      machine:fault("chmod", "/etc/new", "EIO")
      assert.equal("pilot.fs.append: cannot change the mode: input/output error", raised("append", "/etc/new", "x"))
    end)
  end)

  it("exists tells whether there is anything", function()
    for _, path in ipairs { "/", "/etc", "/etc/a", "/etc/link", "/etc/dangling", "/etc/fifo", "/dev/null" } do
      assert.is_true(lib.exists(path), path)
    end
    for _, path in ipairs { "/etc/b", "/gone/a", "/etc/a/b", "/etc/a/" } do assert.is_false(lib.exists(path), path) end
  end)

  describe("stat", function()
    it("tells what a path is, a link itself included", function()
      machine:write("/etc/a", { content = "text", mode = 2541, uid = 7, gid = 8 })
      local mtime = app.port.clock()
      assert.same({ type = "file", mode = "4755", uid = 7, gid = 8, size = 4, mtime = mtime }, lib.stat "/etc/a")
      local stat = lib.stat "/etc/link"
      assert.same({ "link", "a", "0777" }, { stat.type, stat.target, stat.mode })
      assert.same({ "directory", "0755" }, { lib.stat("/etc").type, lib.stat("/etc").mode })
      assert.same({ "fifo", "device" }, { lib.stat("/etc/fifo").type, lib.stat("/dev/null").type })
    end)

    it("is nil where there is nothing, and raises otherwise", function()
      for _, path in ipairs { "/etc/b", "/gone/a", "/etc/a/b" } do assert.is_nil(lib.stat(path)) end
      machine:fault("stat", "/etc/a", "EACCES")
      fails('cannot stat "/etc/a": permission denied', "stat", "/etc/a")
    end)
  end)

  describe("list", function()
    it("gives the names in order", function()
      assert.same({ "a", "dangling", "empty", "fifo", "link" }, lib.list "/etc")
      assert.same({}, lib.list "/etc/empty")
    end)

    it("is nil where there is nothing, and raises otherwise", function()
      assert.is_nil(lib.list "/gone")
      fails('cannot list "/etc/a": not a directory', "list", "/etc/a")
      machine:fault("list", "/etc", "EACCES")
      fails('cannot list "/etc": permission denied', "list", "/etc")
    end)

    it("has a bound", function()
      machine.files.children["/etc/empty"] = {}
      local names = machine.files.children["/etc/empty"]
      for i = 1, 100000 do names[("%06d"):format(i)] = true end
      assert.equal(100000, #lib.list "/etc/empty")
      names.more = true
      fails('"/etc/empty" has more than 100000 names', "list", "/etc/empty")
      fails('"/etc/empty/" has more than 100000 names', "glob", "/etc/empty/*")
    end)
  end)

  describe("glob", function()
    before_each(function()
      fresh {
        ["/etc/app/a.conf"] = "", ["/etc/app/b.conf"] = "", ["/etc/app/.hidden.conf"] = "", ["/etc/web/a.conf"] = "",
        ["/etc/web/a.conf.d/"] = true, ["/etc/*"] = "", ["/etc/file"] = "", ["/etc/closed/"] = true,
      }
    end)

    it("gives the paths that fit", function()
      assert.same({ "/etc/app/a.conf", "/etc/app/b.conf" }, lib.glob "/etc/app/*.conf")
      assert.same({ "/etc/app/.hidden.conf" }, lib.glob "/etc/app/.*")
      assert.same({ "/etc/app/a.conf", "/etc/web/a.conf" }, lib.glob "/etc/*/a.conf")
      assert.same({ "/etc/app/b.conf" }, lib.glob "//e?c//[a-c]*/[!a]*")
      assert.same({ "/etc/*" }, lib.glob "/etc/\\*")
      assert.same({ "/etc/file" }, lib.glob "/etc/file")
      assert.same({ "/etc/app/../file" }, lib.glob "/etc/app/../f*")
    end)

    it("gives none where nothing does, or nothing can be seen", function()
      machine:fault("list", "/etc/closed/", "EACCES")
      for _, pattern in ipairs { "/etc/*.txt", "/gone/*", "/etc/file/*", "/etc/closed/*", "/etc/gone", "/etc/*/*/*" } do
        assert.same({}, lib.glob(pattern), pattern)
      end
    end)

    it("is relative where the pattern is", function()
      assert.same({ "etc/app/a.conf" }, (function()
        machine.files.cwd = "/"
        return lib.glob "etc/app/a*"
      end)())
      assert.same({ "etc" }, lib.glob "et?")
    end)

    it("raises for what is no pattern, and for what cannot be read", function()
      fails('there is no "**": a pattern has a "*" for each directory', "glob", "/etc/**/a")
      fails('the pattern has no name in it: "/"', "glob", "/")
      fails('the pattern has no name in it: ""', "glob", "")
      machine:fault("list", "/etc/app", "EIO")
      fails('cannot list "/etc/app/": input/output error', "glob", "/etc/app/*")
    end)
  end)

  describe("remove", function()
    it("removes what is there, the link itself, and says whether there was something", function()
      for _, path in ipairs { "/etc/link", "/etc/dangling", "/etc/a", "/etc/fifo", "/etc/empty" } do
        assert.is_true(lib.remove(path))
        assert.is_false(lib.remove(path))
      end
      assert.is_false(lib.remove "/gone/a")
      assert.equal("", there "/etc")
    end)

    it("raises where it cannot be done", function()
      fails('cannot remove "/etc": directory not empty', "remove", "/etc")
      fails('"/dev/null" is a device', "remove", "/dev/null")
      fails('cannot remove "/": device or resource busy', "remove", "/")
      machine:fault("remove", "/etc/a", "EACCES")
      fails('cannot remove "/etc/a": permission denied', "remove", "/etc/a")
    end)
  end)

  describe("rename", function()
    it("replaces a file, and a link itself", function()
      lib.rename("/etc/a", "/etc/link")
      assert.same({ "file", "text" }, { node("/etc/link").type, node("/etc/link").content })
      assert.is_false(lib.exists "/etc/a")
      lib.rename("/etc/empty", "/etc/directory")
      assert.equal("directory", node("/etc/directory").type)
    end)

    it("replaces nothing else", function()
      fails('"/dev/null" is a device, and is not replaced', "rename", "/etc/a", "/dev/null")
      fails('"/etc/fifo" is a FIFO, and is not replaced', "rename", "/etc/a", "/etc/fifo")
      fails('cannot rename "/etc/a" to "/etc/empty": is a directory', "rename", "/etc/a", "/etc/empty")
      fails('cannot rename "/etc/empty" to "/etc/a": not a directory', "rename", "/etc/empty", "/etc/a")
      fails('cannot rename "/etc" to "/etc/empty/x": invalid argument', "rename", "/etc", "/etc/empty/x")
      fails('cannot rename "/etc/b" to "/etc/c": no such file or directory', "rename", "/etc/b", "/etc/c")
      fails('cannot open "/gone/a": no such file or directory', "rename", "/etc/a", "/gone/a")
      assert.equal("a dangling empty fifo link", there "/etc")
    end)
  end)

  describe("mkdir", function()
    it("makes a directory, and says whether it was there", function()
      assert.is_true(lib.mkdir "/etc/d")
      assert.is_false(lib.mkdir "/etc/d")
      assert.is_false(lib.mkdir "/etc/d/")
      assert.is_false(lib.mkdir "/")
      assert.is_true(lib.mkdir("/etc/e//", { mode = "0700" }))
      assert.same({ 493, 448 }, { node("/etc/d").mode, node("/etc/e").mode })
      assert.is_false(lib.mkdir("/etc/d", { mode = "0700" }))
      assert.equal(493, node("/etc/d").mode)
      machine:write("/etc/to_d", { link = "d" })
      assert.is_false(lib.mkdir "/etc/to_d")
    end)

    it("makes those above it when told so, each with the usual mode", function()
      assert.is_true(lib.mkdir("/a/b/c//dd/e", { parents = true, mode = "0700" }))
      local usual = 493
      for path, mode in pairs { ["/a"] = usual, ["/a/b"] = usual, ["/a/b/c/dd"] = usual, ["/a/b/c/dd/e"] = 448 } do
        assert.same({ path, mode }, { path, (node(path) or {}).mode })
      end
      assert.is_false(lib.mkdir("/a/b/c", { parents = true }))
      machine.files.cwd = "/a"
      assert.is_true(lib.mkdir("x/y", { parents = true }))
      assert.equal("directory", node("/a/x/y").type)
      machine:write("/etc/to_a", { link = "/a" })
      assert.is_true(lib.mkdir("/etc/to_a/z/z", { parents = true }))
      assert.equal("directory", node("/a/z/z").type)
    end)

    it("raises where it cannot be done", function()
      fails('cannot make directory "/etc/a": file exists', "mkdir", "/etc/a")
      fails('cannot make directory "/gone/d": no such file or directory; parents = true makes those above it, too',
        "mkdir", "/gone/d")
      fails('cannot make directory "/etc/a/d": not a directory', "mkdir", "/etc/a/d")
      fails('cannot make directory "/etc/a": file exists', "mkdir", "/etc/a/d", { parents = true })
      fails('"/etc/dangling" is a symbolic link that leads nowhere', "mkdir", "/etc/dangling")
      machine:fault("mkdir", "/etc/d", "EROFS")
      fails('cannot make directory "/etc/d": read-only file system', "mkdir", "/etc/d")
    end)
  end)
end)

describe("pilot.fs in a task", function()
  after_each(boxes.check)

  local BIG = 5 * MIB

  local function printed(box)
    local list = {}
    for _, entry in ipairs(box:log()) do
      if entry.message:find "^> " then list[#list + 1] = entry.message:sub(3) end
    end
    return list
  end

  -- `turns` counts those of another task, which never waits for long, while `body` works.
  local function run(body, files)
    local mine = { ["/etc/"] = true }
    for path, what in pairs(files or {}) do mine[path] = what end
    return boxes.run(([[
      pilot.on("SIGUSR1", function() end)
      local turns, over = 0, false
      pilot.on("startup", function() while not over do turns = turns + 1 pilot.sleep(0) end end)
      pilot.on("startup", function()
        local before = turns
        %s
        over = true
        print("> " .. turns - before)
      end)
    ]]):format(body), {}, { files = mine })
  end

  local function names(box)
    local list = box.files:names "/etc"
    table.sort(list)
    return table.concat(list, " ")
  end

  local function no_files_open(box)
    for _, handle in pairs(box.port.handles) do assert.is_true(handle.kind ~= "file" and handle.kind ~= "place") end
  end

  it("names the line of the caller", function()
    local box = boxes.run([[
      pilot.on("startup", function()
        print("> " .. select(2, pcall(function() pilot.fs.write("/gone/a", "x") end)))
        print("> " .. select(2, pcall(function() pilot.fs.mkdir("/etc/d", { mod = 1 }) end)))
      end)]], {}, { files = { ["/gone"] = false } })
    local list = printed(box)
    assert.equal('pilot.lua:2: pilot.fs.write: cannot write "/gone/a": its directory does not exist', list[1])
    assert.matches("^pilot.lua:3: pilot.fs.mkdir: mod: unknown field", list[2])
  end)

  for name, call in pairs {
    read = 'assert(#pilot.fs.read "/etc/big" == BIG)', write = 'pilot.fs.write("/etc/new", ("x"):rep(BIG))',
    append = 'pilot.fs.append("/etc/big", ("x"):rep(BIG))',
  } do
    it("lets others have their turns while much is to " .. name, function()
      local box = run(call:gsub("BIG", BIG), { ["/etc/big"] = ("x"):rep(BIG) })
      box:advance "1s"
      assert.is_true(tonumber(printed(box)[1]) >= 4)
      no_files_open(box)
    end)

    it("does not wait for a slice that it can do at once: " .. name, function()
      local box = run(call:gsub("BIG", MIB), { ["/etc/big"] = ("x"):rep(MIB) })
      box:advance "1s"
      assert.same({ "0" }, printed(box))
    end)
  end

  it("leaves the old file, and nothing beside it, when it is cancelled in the middle", function()
    local box = boxes.run(([[
      pilot.on("SIGUSR1", function() end)
      pilot.on("startup", function()
        local writing = pilot.spawn(function() pilot.fs.write("/etc/a", ("x"):rep(%d)) end)
        pilot.sleep(0)
        pilot.sleep(0)
        print("> " .. table.concat(pilot.fs.list "/etc", " "))
        writing:cancel()
        pilot.sleep(0)
        print("> " .. tostring(select(2, writing:wait())))
      end)
    ]]):format(BIG), {}, { files = { ["/etc/a"] = "old" } })
    box:advance "1s"
    no_files_open(box)
    local list = printed(box)
    assert.matches("^%.a%.luapilot%-new%-%x+ a$", list[1])
    assert.equal("cancelled", list[2])
    assert.same({ "a", "old" }, { names(box), box:file "/etc/a" })
  end)

  it("closes what it reads when it is cancelled in the middle", function()
    local box = boxes.run([[
      pilot.on("SIGUSR1", function() end)
      pilot.on("startup", function()
        local reading = pilot.spawn(function() pilot.fs.read "/etc/big" end)
        pilot.sleep(0)
        reading:cancel()
        print("> " .. tostring(select(2, reading:wait())))
      end)
    ]], {}, { files = { ["/etc/big"] = ("x"):rep(BIG) } })
    box:advance "1s"
    no_files_open(box)
    assert.same({ "cancelled" }, printed(box))
  end)
end)
