-- pilot.render and pilot.template, through the simulator.
local boxes = require "support.boxes"

local CONF = "/etc/app.conf"

-- What renders leave beside the file; nothing when they are over.
local function left_over(box)
  local list = {}
  for path in pairs(box.files.nodes) do
    if path:find("luapilot-", 1, true) then list[#list + 1] = path:match "luapilot%-%a+" end
  end
  table.sort(list)
  return table.concat(list, " ")
end

local function node(box, path)
  box.files:content(path or CONF) -- what was appended is put together
  return box.files.nodes[path or CONF]
end

-- The path of the new file, while there is one.
local function candidate(box)
  for path in pairs(box.files.nodes) do
    if path:find("luapilot-new-", 1, true) then return path end
  end
end

local function printed(box)
  local list = {}
  for _, entry in ipairs(box:log()) do
    if entry.message:find "^> " then list[#list + 1] = entry.message:sub(3) end
  end
  return list
end

local PREAMBLE = [[
  local function say(...)
    local parts = { ... }
    for i = 1, select("#", ...) do parts[i] = tostring(parts[i]) end
    print("> " .. table.concat(parts, " "))
  end
  local function try(options)
    local ok, result = pcall(function()
      local changed = pilot.render(options)
      return changed
    end)
    if ok then say(result) else say("failed: " .. tostring(result)) end
  end
  local CONF = "/etc/app.conf"
  pilot.on("SIGUSR2", function() end)
]]

-- Runs code in a task at start-up.
local function run(body, options, programs)
  local mine = { files = { ["/etc/"] = true } }
  for key, value in pairs(options or {}) do mine[key] = value end
  local box = boxes.load(PREAMBLE .. "pilot.on('startup', function() " .. body .. " end)", mine)
  for prefix, behaviour in pairs(programs or {}) do box:program(prefix, behaviour) end
  return box
end

local function go(...)
  local box = run(...)
  box:start()
  box:advance "10s"
  return box
end

describe("pilot.render", function()
  after_each(boxes.check)

  it("writes a file, says whether it is another one, and leaves nothing beside it", function()
    local box = go [[
      for _, port in ipairs { 80, 80, 81 } do try { text = "port <%= port %>\n", data = { port = port }, to = CONF } end
    ]]
    assert.same({ "true", "false", "true" }, printed(box))
    assert.equal("port 81\n", box:file(CONF))
    assert.equal("", left_over(box))
    assert.equal(2, boxes.logged(box, 'rendered "/etc/app.conf"'))
  end)

  it("reads its template from a file", function()
    local box = go([[ try { source = "/a.tmpl", data = { a = 1 }, to = CONF } ]],
      { files = { ["/a.tmpl"] = "<%= a %>" } })
    assert.equal("1", box:file(CONF))
  end)

  it("does not write an equal file", function()
    local box = run([[ try { text = "same", to = CONF } ]], { files = { [CONF] = "same" } })
    for _, operation in ipairs { "write", "rename" } do box:fault(operation, CONF, "EIO") end
    box:fault("write", "/etc/.app.conf.luapilot-new", "EIO")
    box:start()
    assert.same({ "false" }, printed(box))
  end)

  it("takes its data from a function that may wait", function()
    local box = go [[ try { text = "<%= n %>", to = CONF, data = function() pilot.sleep "5s" return { n = 5 } end } ]]
    assert.equal("5", box:file(CONF))
  end)

  it("does not wait at the top level", function()
    assert.matches("pilot.render waits, and the top level of a pilot.lua only declares",
      boxes.mistakes [[ pilot.render { text = "", to = "/a" } ]])
  end)

  describe("says what is wrong:", function()
    local function failure(options, more)
      local list = printed(go("try { " .. options .. " }", more))
      assert.equal(1, #list)
      return (list[1]:gsub("^failed: ", ""))
    end

    it("its options", function()
      assert.matches("pilot.render: has no file to write: give it to =", failure [[ text = "" ]])
      assert.matches("pilot.render: has no template: give it source =", failure [[ to = CONF ]])
      assert.matches("pilot.render: has source and text", failure [[ to = CONF, text = "", source = "/x" ]])
      assert.matches('pilot.render.path: unknown field %(did you mean "to"%?%)',
        failure [[ to = CONF, text = "", path = "" ]])
      assert.matches('mode: expected a string of octal digits such as "0640", got a number: 640; write "0640"',
        failure [[ to = CONF, text = "", mode = 640 ]])
      assert.matches("pilot.render.owner: expected a user", failure [[ to = CONF, text = "", owner = "a:b:c" ]])
      assert.matches("pilot.render.to: is a directory", failure [[ to = "/etc/", text = "" ]])
      assert.matches("pilot.render.validate: expected a string or a list",
        failure [[ to = CONF, text = "", validate = 5 ]])
    end)

    it("the template, by its name and line", function()
      assert.matches("^pilot.lua:%d+: pilot.render: text:2: <%%= a.b %%> is nil$",
        failure [[ to = CONF, text = "\n<%= a.b %>", data = { a = {} } ]])
      local files = { ["/a.tmpl"] = "a\n<% for %>", ["/b.tmpl"] = "<%= prot %>" }
      assert.matches("pilot.render: /a.tmpl:2: '<name>' expected",
        failure([[ to = CONF, source = "/a.tmpl" ]], { files = files }))
      assert.matches('/b.tmpl:1: unknown variable "prot" %(did you mean "port"%?%)',
        failure([[ to = CONF, source = "/b.tmpl", data = { port = 1 } ]], { files = files }))
      assert.matches("no such file",
        failure([[ to = CONF, source = "/c.tmpl" ]], { files = { ["/c.tmpl"] = false } }))
    end)

    it("the data", function()
      assert.matches("data: the function must return a table, got nothing",
        failure [[ to = CONF, text = "", data = function() end ]])
      assert.matches("^pilot.lua:%d+: no data$",
        failure [[ to = CONF, text = "", data = function() error "no data" end ]])
    end)

    it("the place", function()
      assert.matches('"/etc" is a directory', failure [[ to = "/etc", text = "" ]])
      assert.matches('cannot write "/gone/a": its directory does not exist',
        failure([[ to = "/gone/a", text = "" ]], { files = { ["/gone"] = false } }))
      assert.matches("not a directory", failure([[ to = "/file/a", text = "" ]], { files = { ["/file"] = "" } }))
      assert.matches('"/link" is a symbolic link that leads nowhere',
        failure([[ to = "/link", text = "" ]], { files = { ["/link"] = { link = "/gone" }, ["/gone"] = false } }))
      assert.matches('owner: user "ghost" does not exist',
        failure([[ to = CONF, text = "", owner = "ghost" ]], { users = {} }))
    end)
  end)

  describe("gives the file", function()
    it("the mode and owner of the old one", function()
      local box = go([[ try { text = "new", to = CONF } ]],
        { files = { [CONF] = { content = "old", mode = 384, uid = 7, gid = 8 } } })
      assert.same({ "new", 384, 7, 8 }, { node(box).content, node(box).mode, node(box).uid, node(box).gid })
      assert.equal(420, node(go [[ try { text = "new", to = CONF } ]]).mode)
    end)

    it("those that are asked for, before it takes its place", function()
      local box = go([[
        try { text = "new", to = CONF, mode = "0640", owner = "app:www", validate = "check {file}" }
      ]], nil, { check = { exit = 0, after = "1s" } })
      assert.same({ 416, 1000, 1001 }, { node(box).mode, node(box).uid, node(box).gid })
      box = run([[ try { text = "new", to = CONF, mode = "0600", owner = 5, validate = "check {file}" } ]], nil,
        { check = { exit = 0, after = "10s" } })
      box:start()
      box:advance "1s"
      local new = node(box, candidate(box))
      assert.same({ "new", 384, 5, 0 }, { new.content, new.mode, new.uid, new.gid })
      assert.is_nil(node(box))
      box:advance "20s"
    end)

    it("another mode or owner also when the text is equal, which counts", function()
      local box = go([[ for _ = 1, 2 do try { text = "same", to = CONF, mode = "0600", owner = ":5" } end ]],
        { files = { [CONF] = "same" } })
      assert.same({ "true", "false" }, printed(box))
      assert.same({ 384, 0, 5 }, { node(box).mode, node(box).uid, node(box).gid })
    end)
  end)

  describe("follows a link", function()
    local function linked(uid, owner)
      return { files = {
        ["/etc/"] = true, ["/data/real.conf"] = { content = "old", uid = owner },
        [CONF] = { link = "/data/real.conf", uid = uid },
      } }
    end

    it("to the file that it leads to", function()
      local box = go([[ try { text = "new", to = CONF } ]], linked(0, 0))
      assert.equal("new", node(box, "/data/real.conf").content)
      assert.equal("link", node(box).type)
      assert.equal("", left_over(box))
    end)

    it("of root, or of the owner of that file, and of nobody else", function()
      assert.same({ "true" }, printed(go([[ try { text = "new", to = CONF } ]], linked(0, 5))))
      assert.same({ "true" }, printed(go([[ try { text = "new", to = CONF } ]], linked(5, 5))))
      local box = go([[ try { text = "new", to = CONF } ]], linked(5, 0))
      assert.matches('"/etc/app.conf" is a symbolic link of user 5, who does not own what it leads to', printed(box)[1])
      assert.equal("old", node(box, "/data/real.conf").content)
    end)

    it("in the middle of the path, by the same rule", function()
      local files = { ["/srv/app/conf"] = { link = "/etc", uid = 5 }, ["/etc/"] = true }
      local box = go([[ try { text = "new", to = "/srv/app/conf/passwd" } ]], { files = files })
      assert.matches("of user 5, who does not own", printed(box)[1])
      files["/srv/app/conf"].uid = 0
      box = go([[ try { text = "new", to = "/srv/app/conf/passwd" } ]], { files = files })
      assert.equal("new", box:file "/etc/passwd")
    end)
  end)

  describe("leaves the old file when", function()
    it("the disk is full or read-only, and says so", function()
      for _, row in ipairs {
        { "write", ".app.conf.luapilot-new", "ENOSPC", "no space left on device; the old file stays" },
        { "write", ".app.conf.luapilot-new", "EROFS", "the file system is read%-only" },
        { "write", ".app.conf.luapilot-new", "EACCES", "permission denied: a new file must be written beside it" },
        { "write", ".app.conf.luapilot-new", "EDQUOT", "disk quota exceeded" },
        { "rename", "app.conf", "EACCES", "permission denied" },
      } do
        local box = run([[ try { text = "new", to = CONF } ]], { files = { [CONF] = "old" } })
        box:fault(row[1], "/etc/" .. row[2], row[3])
        box:start()
        assert.matches('pilot.render: cannot write "/etc/app.conf": ' .. row[4], printed(box)[1])
        assert.equal("old", box:file(CONF))
        assert.equal("", left_over(box))
      end
    end)

    it("the old one cannot be kept for the trial", function()
      for _, fault in ipairs { { "rename", "/etc/.app.conf.luapilot-old" }, { "read", CONF } } do
        local box = run([[ try { text = "new", to = CONF, validate = "check" } ]], { files = { [CONF] = "old" } })
        box:fault(fault[1], fault[2], "ENOSPC")
        box:start()
        assert.matches("no space left", printed(box)[1])
        assert.equal("old", box:file(CONF))
        assert.equal("", left_over(box))
      end
    end)
  end)

  describe("with a validator of {file}", function()
    local BODY = [[ try { text = "new", to = CONF, validate = { "check", "-f", "{file}", "x={file}" } } ]]

    it("swaps what is accepted", function()
      local seen, path
      local box = run(BODY, { files = { [CONF] = "old" } })
      box:program("check", function(proc)
        path = proc.argv[3]
        seen = { proc.argv[4], box:file(path), box:file(CONF) }
        proc:exit(0)
      end)
      box:start()
      box:advance "1s"
      assert.matches("^/etc/%.app%.conf%.luapilot%-new%-%x+$", path)
      assert.same({ "x=" .. path, "new", "old" }, seen)
      assert.equal("new", box:file(CONF))
      assert.same({ "true" }, printed(box))
    end)

    it("does not swap what is refused", function()
      local box = go(BODY, { files = { [CONF] = "old" } }, { check = { exit = 3, stderr = "line 1: nonsense\n" } })
      assert.matches("pilot.render: check %-f {file} x={file} refuses it %(exit code 3%): line 1: nonsense$",
        printed(box)[1])
      assert.equal("old", box:file(CONF))
      assert.equal("", left_over(box))
    end)

    it("tells what it said without the name of the new file, which is another one each time", function()
      local box = run(BODY, { files = { [CONF] = "old" } })
      box:program("check", function(proc)
        proc:write(("%s:1: bad, see %s\n"):format(proc.argv[3], proc.argv[3]), "stderr")
        proc:exit(1)
      end)
      box:start()
      box:advance "1s"
      assert.matches("refuses it %(exit code 1%): {file}:1: bad, see {file}$", printed(box)[1])
    end)

    it("tells no part of a secret where it says too much", function()
      local box = run('pilot.secret "token" ' .. BODY,
        { files = { [CONF] = "old", ["/run/secrets/token"] = ("s3cr3t-"):rep(9) } })
      box:program("check", { stderr = ("x"):rep(65536 - 30) .. ("s3cr3t-"):rep(900), exit = 1 })
      box:start()
      box:advance "1s"
      assert.matches("x%*%*%*$", printed(box)[1])
    end)

    it("waits a minute for it", function()
      local box = run(BODY, { files = { [CONF] = "old" } }, { check = {} })
      box:start()
      box:advance "59s"
      assert.same({}, printed(box))
      box:advance "2s"
      assert.matches("refuses it %(timed out after 1m and was killed%)", printed(box)[1])
      assert.equal("", left_over(box))
    end)

    it("takes no candidate that somebody has replaced while it looked", function()
      local box = run(BODY, { files = { [CONF] = "old" } }, { check = { exit = 0, after = "2s" } })
      box:start()
      box:advance "1s"
      local path = candidate(box)
      box:write("/etc/theirs", { content = "theirs", uid = 1234 })
      assert(box.port.files:rename("/etc/theirs", path))
      box:advance "5s"
      assert.matches('pilot.render: cannot write "/etc/app.conf": somebody replaced the new file before it was in its '
        .. "place$", printed(box)[1])
      assert.equal("old", box:file(CONF))
      assert.equal("", left_over(box))
    end)

    it("cannot run one that does not exist", function()
      local box = go(BODY, nil, { check = { spawn_error = "ENOENT" } })
      assert.matches("^failed: .*check", printed(box)[1])
      assert.is_nil(box:file(CONF))
      assert.equal("", left_over(box))
    end)

    it("forgets the candidate when it is cancelled", function()
      local box = run([[
        say(pilot.timeout("1s", function() try { text = "new", to = CONF, validate = "check {file}" } end))
        try { text = "next", to = CONF }
      ]], nil, { check = {} })
      box:start()
      box:advance "500ms"
      assert.equal("luapilot-new", left_over(box))
      box:advance "1s"
      assert.same({ "failed: task cancelled: timeout", "nil timeout", "true" }, printed(box))
      assert.equal("next", box:file(CONF))
      assert.equal("", left_over(box))
    end)
  end)

  describe("with a validator of the place", function()
    local BODY = [[ try { text = "new", to = CONF, validate = { "check", "-q" } } ]]

    it("swaps first, and keeps what is accepted", function()
      local seen
      local box = run(BODY, { files = { [CONF] = { content = "old", mode = 384, uid = 3 } } })
      box:program("check -q", function(proc)
        local old = node(box, "/etc/.app.conf.luapilot-old")
        seen = { box:file(CONF), old.content, old.mode, old.uid }
        proc:exit(0)
      end)
      box:start()
      box:advance "1s"
      assert.same({ "new", "old", 384, 3 }, seen)
      assert.same({ "true" }, printed(box))
      assert.equal("", left_over(box))
    end)

    it("puts the old one back when it is refused", function()
      local box = go(BODY, { files = { [CONF] = { content = "old", mode = 384, uid = 3 } } },
        { ["check -q"] = { exit = 1, stderr = "[emerg] unknown directive\n" } })
      assert.matches("check %-q refuses it %(exit code 1%): %[emerg%] unknown directive$", printed(box)[1])
      assert.same({ "old", 384, 3 }, { node(box).content, node(box).mode, node(box).uid })
      assert.equal("", left_over(box))
    end)

    it("removes a first one that is refused", function()
      local box = go(BODY, nil, { ["check -q"] = { exit = 1 } })
      assert.is_nil(box:file(CONF))
      assert.equal("", left_over(box))
    end)

    it("puts it back when the task is cancelled, or given up", function()
      local box = run([[ pilot.timeout("1s", function()
        pcall(pilot.render, { text = "new", to = CONF, validate = "check" })
      end) ]], { files = { [CONF] = "old" } }, { check = {} })
      box:start()
      box:advance "500ms"
      assert.equal("new", box:file(CONF))
      box:advance "1s"
      assert.equal("old", box:file(CONF))
      assert.equal("", left_over(box))

      box = run([[ local t = pilot.spawn(function()
          pcall(pilot.sleep, "1h")
          pcall(pilot.render, { text = "new", to = CONF, validate = "check" }) -- cancelled before: it waits for nothing
        end)
        pilot.sleep "1s"
        t:cancel() ]], { files = { [CONF] = "old" } }, { check = {} })
      box:start()
      box:advance "2s"
      assert.equal("old", box:file(CONF))
      assert.equal("", left_over(box))

      box = run([[ pilot.render { text = "new", to = CONF, validate = "check" } ]],
        { files = { [CONF] = "old" } }, { check = {} })
      box:start()
      box:advance "1s"
      box:signal "SIGTERM"
      box:advance "1s"
      box:signal "SIGTERM"
      assert.is_true(box.ended)
      assert.equal("old", box:file(CONF))
      assert.equal("", left_over(box))
    end)

    it("puts it back at the next start after a crash", function()
      local box = run(BODY, { files = { [CONF] = { content = "old", mode = 384, uid = 3 } } }, { check = {} })
      box:start()
      box:advance "1s"
      box:signal "SIGKILL"
      assert.equal("new", box:file(CONF))
      assert.equal("luapilot-old", left_over(box))
      local files = {}
      for path, each in pairs(box.files.nodes) do
        if path:find "^/etc/" then files[path] = { content = each.content, mode = each.mode, uid = each.uid } end
      end
      local again = boxes.run([[
        pilot.on("SIGUSR2", function() pilot.render { text = "x", to = "/etc/app.conf" } end)
      ]], {}, { files = files })
      assert.same({ "old", 384, 3 }, { node(again).content, node(again).mode, node(again).uid })
      assert.equal("", left_over(again))
      assert.equal(1, boxes.logged(again, 'put back the old "/etc/app.conf": the new one had never been accepted'))
    end)

    it("puts it back at the next render, where the path does not show", function()
      local files = { [CONF] = "new", ["/etc/.app.conf.luapilot-old"] = "old" }
      files["/etc/.app.conf.luapilot-new-5a"] = "n"
      local box = go([[ try { text = "new", to = CONF, validate = "check" } ]],
        { files = files }, { check = { exit = 1 } })
      assert.matches("refuses", printed(box)[1])
      assert.equal("old", box:file(CONF))
      assert.equal("", left_over(box))
    end)

    it("removes after a crash what was the first", function()
      local files = { [CONF] = "new", ["/etc/.app.conf.luapilot-none"] = "" }
      local box = go([[ say(pilot.fs.exists(CONF)) ]], { files = files })
      assert.same({ "true" }, printed(box))
      box = boxes.run([[ pilot.template "/etc/app.conf" { text = "x", validate = "check" } ]],
        { check = { exit = 1 } }, { files = files })
      box:advance "500ms"
      assert.is_nil(box:file(CONF))
      assert.equal("", left_over(box))
      assert.equal(1, boxes.logged(box, "removed"))
      box:forget_errors()
    end)

    it("does not believe a stranger's backup", function()
      local files = { [CONF] = "mine", ["/etc/.app.conf.luapilot-old"] = { content = "theirs", uid = 66 } }
      local box = go([[ try { text = "mine", to = CONF } ]], { files = files })
      assert.same({ "false" }, printed(box))
      assert.equal("mine", box:file(CONF))
    end)
  end)

  describe("writes in place", function()
    local function bound(body, code, programs)
      local box = run(body, { files = { [CONF] = { content = "old", mode = 384, uid = 3 } } }, programs)
      box:fault("rename", CONF, code)
      box:start()
      box:advance "10s"
      return box
    end

    it("what is a mount point", function()
      for _, code in ipairs { "EBUSY", "EXDEV" } do
        local box = bound([[ try { text = "new", to = CONF } ]], code)
        assert.same({ "true" }, printed(box))
        assert.same({ "new", 384, 3 }, { node(box).content, node(box).mode, node(box).uid })
        assert.equal("", left_over(box))
      end
    end)

    it("and puts the old content back", function()
      local box = bound([[ try { text = "new", to = CONF, validate = "check" } ]], "EBUSY", { check = { exit = 1 } })
      assert.matches("refuses", printed(box)[1])
      assert.same({ "old", 384, 3 }, { node(box).content, node(box).mode, node(box).uid })
      assert.equal("", left_over(box))

      box = run([[ try { text = "new", to = CONF } ]], { files = { [CONF] = "old" } })
      box:fault("rename", CONF, "EBUSY")
      box:fault("write", CONF, "ENOSPC")
      box:start()
      assert.matches("no space left on device.*cannot put back", printed(box)[1])
      assert.equal("luapilot-old", left_over(box)) -- the next render finds it
      box:fault("write", CONF)
      box:signal "SIGTERM"
    end)

    it("what would lose its owner", function()
      local box = run([[ try { text = "new", to = CONF } ]], { files = { [CONF] = { content = "old", uid = 3 } } })
      box:fault("chmod", "/etc/.app.conf.luapilot-new", "EPERM")
      box:start()
      assert.same({ "true" }, printed(box))
      assert.same({ "new", 3 }, { node(box).content, node(box).uid })
      assert.equal("", left_over(box))
    end)
  end)

  describe("of one path", function()
    local QUEUE = [[
      local function late(name, delay)
        return pilot.spawn(function()
          pilot.render { to = CONF, text = "<%= n %>", data = function()
            say("begin", name) pilot.sleep(delay) say("end", name)
            return { n = name }
          end }
        end)
      end
    ]]

    it("goes one at a time, in order", function()
      local box = go(QUEUE .. [[ late("a", 3) late("b", 1) late("c", 2) ]])
      assert.same({ "begin a", "end a", "begin b", "end b", "begin c", "end c" }, printed(box))
      assert.equal("c", box:file(CONF))
    end)

    it("knows it by whatever link", function()
      local box = go([[
        local function late(to) pilot.spawn(function()
          pilot.render { to = to, text = "x", data = function()
            say("begin " .. to) pilot.sleep(1) say "end"
            return {}
          end }
        end) end
        late "/etc/app.conf" late "/link" late "/etc/../etc/app.conf"
      ]], { files = { ["/link"] = { link = CONF }, [CONF] = "" } })
      assert.same({ "begin /etc/app.conf", "end", "begin /link", "end", "begin /etc/../etc/app.conf", "end" },
        printed(box))
    end)

    it("leaves the queue when its task is cancelled", function()
      local box = go(QUEUE .. [[ late("a", 3) local b = late("b", 1) late("c", 1) pilot.sleep(1) b:cancel() ]])
      assert.same({ "begin a", "end a", "begin c", "end c" }, printed(box))
    end)

    it("is not locked by a task that is cancelled, or does not heed it, or failed", function()
      assert.same({ "begin a", "begin b", "end b" },
        printed(go(QUEUE .. [[ local a = late("a", 3) late("b", 1) pilot.sleep(1) a:cancel() ]])))
      local stubborn = [[ local a = pilot.spawn(function() pilot.render { to = CONF, text = "", data = function()
        while true do pcall(pilot.sleep, 5) end
      end } end) late("b", 1) pilot.sleep(1) a:cancel() ]]
      local box = go(QUEUE .. stubborn)
      assert.same({ "begin b", "end b" }, printed(box))
      assert.matches("abandoned", table.concat(box:forget_errors(), "\n"))
      local failing = [[ pilot.spawn(function() try { to = CONF, text = "", data = function()
        pilot.sleep(1) error("no", 0)
      end } end) late("b", 1) ]]
      assert.same({ "failed: no", "begin b", "end b" }, printed(go(QUEUE .. failing)))
    end)

    it("does not wait for itself", function()
      local box = go [[ try { to = CONF, text = "", data = function() pilot.render { to = CONF, text = "" } end } ]]
      assert.matches("this task is at it already", printed(box)[1])
    end)

    it("does not hold up another path", function()
      local box = go(QUEUE .. [[ late("a", 3) try { to = "/etc/b", text = "" } ]])
      assert.same({ "true", "begin a", "end a" }, printed(box))
    end)
  end)

  describe("while a file is on trial", function()
    local function trial(jobs, exit)
      return boxes.run([[
        pilot.spawn(function() pcall(pilot.render, { text = "new", to = "/etc/app.conf", validate = "check" }) end)
      ]] .. jobs, { check = { exit = exit or 0, after = "5s" }, app = {} }, { files = { ["/etc/app.conf"] = "old" } })
    end

    it("no job starts", function()
      local box = trial [[ pilot.job "app" { exec = "app" } ]]
      box:advance "4s"
      assert.equal("preparing", box:job("app").state)
      assert.equal(0, box:job("app"):starts())
      box:advance "2s"
      assert.is_true(box:job("app").running)
      assert.equal(1, box:job("app"):starts())
      box:stop()
    end)

    it("nor reloads", function()
      local box = boxes.run([[
        local app = pilot.job "app" { exec = "app", reload = "SIGHUP" }
        pilot.after("2s", function() pilot.render { text = "new", to = "/etc/app.conf", validate = "check" } end)
        pilot.after("3s", function() for _ = 1, 3 do app:reload() end end)
      ]], { check = { exit = 0, after = "5s" }, app = { on = { SIGHUP = function() end } } },
        { files = { ["/etc/"] = true } })
      box:advance "6s"
      assert.equal(0, box:job("app"):received "SIGHUP")
      box:advance "2s"
      assert.equal(1, box:job("app"):received "SIGHUP")
      box:stop()
    end)

    it("a job that waits can be stopped", function()
      local box = trial [[
        local app = pilot.job "app" { exec = "app" }
        pilot.after("1s", function() app:stop() end)
        pilot.on("SIGUSR2", function() end)
      ]]
      box:advance "10s"
      assert.equal(0, box:job("app"):starts())
      assert.equal("stopped", box:job("app").state)
      box:stop()
    end)

    it("the pilot can end", function()
      local box = trial [[ pilot.job "app" { exec = "app" } ]]
      box:advance "1s"
      box:stop()
      assert.equal(0, box:job("app"):starts())
      assert.equal("old", box:file "/etc/app.conf")
    end)

    it("a core that hands over to the next one puts it back", function()
      local box = trial ""
      box:advance "1s"
      assert.equal("new", box:file "/etc/app.conf")
      box.app:let_go()
      assert.equal("old", box:file "/etc/app.conf")
      assert.equal("", left_over(box))
    end)

    it("a prepare that renders is followed by its start", function()
      local box = boxes.run([[
        pilot.job "app" { exec = "app", prepare = function()
          return pilot.render { text = "new", to = "/etc/app.conf", validate = "check" }
        end }
      ]], { check = { exit = 0, after = "1s" }, app = {} }, { files = { ["/etc/"] = true } })
      box:advance "2s"
      assert.is_true(box:job("app").running)
      box:stop()
    end)
  end)
end)

describe("pilot.template", function()
  after_each(boxes.check)

  it("renders at the start, before the jobs", function()
    local seen
    local box = boxes.load([[
      pilot.template "/etc/app.conf" { text = "port <%= port %>\n", data = { port = 80 } }
      pilot.job "app" { exec = "app" }
    ]], { files = { ["/etc/"] = true } })
    box:program("app", function(proc)
      seen = box:file "/etc/app.conf"
      proc:exit(0)
    end)
    box:start()
    box:advance "1s"
    assert.equal("port 80\n", seen)
    assert.equal(0, box.exit_code)
  end)

  it("starts what waits for it, as soon as its data is there", function()
    local box = boxes.run([[
      local config = pilot.template "/etc/app.conf" {
        text = "x", data = function() pilot.sleep "30s" return {} end,
      }
      pilot.job "app" { exec = "app", when = config:once("rendered", { timeout = "120s" }) }
    ]], { app = { exit = 0, after = "1s" } }, { files = { ["/etc/"] = true } })
    box:advance "29s"
    assert.equal(0, box:job("app"):starts())
    box:advance "2s"
    assert.equal(1, box:job("app"):starts())
    box:advance "1s"
    assert.is_true(box.ended)
    assert.equal("rendered", boxes.events(box, "/etc/app.conf"))
  end)

  it("is tried again with a growing pause, and complains once of each trouble", function()
    local box = boxes.run([[
      local config = pilot.template "/etc/app.conf" { source = "/a.tmpl" }
      pilot.job "app" { exec = "app", when = config:once "rendered" }
    ]], { app = { exit = 0, after = "1s" } }, { files = { ["/a.tmpl"] = "<%= x %>", ["/etc/app.conf"] = "old" } })
    box:advance "30s"
    local errors = box:forget_errors()
    assert.equal(1, #errors)
    assert.matches('^template "/etc/app.conf": /a.tmpl:1: "x" is not in data, or nil there: ', errors[1])
    local count = boxes.logged(box, "still not rendered")
    assert.is_true(count == 4 or count == 5, count) -- 1 + 2 + 4 + 8 (+ 16) s
    assert.equal("old", box:file "/etc/app.conf")
    box:write("/a.tmpl", "good")
    box:advance "30s"
    assert.equal("good", box:file "/etc/app.conf")
    assert.equal(1, box:job("app"):starts())
    assert.equal(0, box.exit_code)
  end)

  it("knows a trouble again though its numbers are others: validators tell the time and their pid", function()
    local time = 0
    local box = boxes.run([[
      pilot.template "/etc/app.conf" { text = "x", validate = { "nginx", "-t" } }
    ]], { nginx = function(process)
      time = time + 7
      process:write(("12:00:%02d %d#0: unknown directive"):format(time, process.pid or time))
      process:exit(1)
    end }, { files = { ["/etc/"] = true } })
    box:advance "8s"
    assert.equal(1, #box:forget_errors())
    assert.is_true(boxes.logged(box, "still not rendered") >= 2)
    assert.is_true(time > 14)
  end)

  it("gives up with the trigger's timeout", function()
    local box = boxes.run([[
      local config = pilot.template "/etc/app.conf" { text = "<%= x %>" }
      pilot.job "app" { exec = "app", main = true, when = config:once("rendered", { timeout = "20s" }) }
    ]], {}, { files = { ["/etc/"] = true } })
    box:advance "21s"
    assert.is_true(box.ended)
    assert.equal(1, box.exit_code)
    box:forget_errors()
  end)

  it("reloads a job only after a real change", function()
    local box = boxes.run([[
      local n = 1
      local app = pilot.job "app" { exec = "app", reload = "SIGHUP", restart = "always" }
      local config = pilot.template "/etc/app.conf" {
        text = "<%= n %>", data = function() return { n = n } end, reload = app,
      }
      config:on("rendered", function(event) print("> rendered " .. tostring(event.changed)) end)
      pilot.after("10s", function() print("> " .. tostring(config:render())) end)
      pilot.after("20s", function() n = 2 print("> " .. tostring(config:render())) end)
    ]], { app = { on = { SIGHUP = function() end } } }, { files = { ["/etc/app.conf"] = "1" } })
    box:advance "15s"
    assert.equal(0, box:job("app"):received "SIGHUP")
    box:advance "10s"
    assert.equal(1, box:job("app"):received "SIGHUP")
    assert.same({ "rendered false", "false", "rendered false", "true", "rendered true" }, printed(box))
    box:stop()
  end)

  it("renders again by hand, raises what is wrong, and goes on trying", function()
    local box = boxes.run([[
      local config = pilot.template "/etc/app.conf" { source = "/a.tmpl" }
      pilot.on("SIGUSR2", function() print("> " .. tostring(select(2, pcall(config.render, config)))) end)
    ]], {}, { files = { ["/a.tmpl"] = "1", ["/etc/"] = true } })
    box:write("/a.tmpl", "<% end %>")
    box:signal "SIGUSR2"
    assert.matches('template "/etc/app.conf": /a.tmpl:1: ', printed(box)[1])
    box:write("/a.tmpl", "2")
    box:advance "2s"
    assert.equal("2", box:file "/etc/app.conf")
    box:stop()
  end)

  it("can be waited for", function()
    local box = boxes.run([[
      local config = pilot.template "/etc/app.conf" { text = "", data = function() pilot.sleep "5s" return {} end }
      pilot.spawn(function()
        print("> " .. tostring(config.rendered) .. " " .. config.name .. " " .. tostring(config))
        local ok, why = config:wait_for("rendered", "1s")
        print("> " .. tostring(ok) .. " " .. why)
        print("> " .. tostring(config:wait_for "rendered"))
        print("> " .. tostring(config:wait_for "rendered") .. " " .. tostring(config.rendered))
        print("> " .. select(2, pcall(config.wait_for, config, "redered")))
      end)
    ]], {}, { files = { ["/etc/"] = true } })
    box:advance "10s"
    assert.same({ 'false /etc/app.conf template "/etc/app.conf"', "nil timeout", "true", "true true" },
      { unpack(printed(box), 1, 4) })
    assert.matches('can only be "rendered", got a string: "redered"', printed(box)[5])
    assert.is_true(box.ended)
  end)

  it("fires `each` every time, and ends with the pilot's work", function()
    local box = boxes.run([[
      local config = pilot.template "/etc/app.conf" { text = "" }
      pilot.job "app" { exec = "app", when = config:each "rendered" }
      pilot.spawn(function() for _ = 1, 2 do pilot.sleep "10s" config:render() end end)
    ]], { app = { exit = 0, after = "1s" } }, { files = { ["/etc/"] = true } })
    box:advance "1m"
    assert.equal(3, box:job("app"):starts())
    assert.is_true(box.ended)
    assert.equal(0, box.exit_code)
  end)

  it("is quiet when the pilot ends in the middle of it", function()
    local box = boxes.run([[
      pilot.template "/etc/app.conf" { text = "new", validate = "check" }
      pilot.template "/etc/b.conf" { text = "<%= b %>" }
    ]], { check = {} }, { files = { ["/etc/app.conf"] = "old" } })
    box:advance "1s"
    box:forget_errors()
    assert.equal(0, box:stop())
    assert.equal("old", box:file "/etc/app.conf")
    assert.equal("", left_over(box))
  end)

  describe("finds at load", function()
    it("wrong options", function()
      local message = boxes.mistakes [[
        local app = pilot.job "app" { exec = "app" }
        pilot.template "/a" { text = "<% end %>" }
        pilot.template "/b" { text = "", watch = { app } }
        pilot.template "/c" { text = "", reload = "SIGHUP" }
        pilot.template "/d" { text = "", reload = app }
        pilot.template "/e" { txt = "" }
        pilot.template "/f" { text = "", to = "/x" }
        pilot.template "/g" { text = "" }
        pilot.template "/g" { text = "" }
        local g = pilot.template "/h.conf"
        pilot.template "/h.cnf" { text = "" }
        pilot.job "b" { exec = "b", when = g:once "renderd" }
        pilot.job "c" { exec = "c", when = g }
      ]]
      for _, text in ipairs {
        'pilot.lua:2: template "/a": text: line 1: \'<eof>\' expected near \'end\'',
        'pilot.lua:3: template "/b": watch[1]: expected a watch, such as pilot.watch "db", got job "app"',
        'pilot.lua:4: template "/c": reload: expected a job, such as reload = app, got a string: "SIGHUP"',
        'pilot.lua:5: template "/d": reload: job "app" has no reload',
        'pilot.lua:6: template "/e": txt: unknown field (did you mean "text"?)',
        'pilot.lua:7: template "/f": to: unknown field',
        'pilot.lua:9: template "/g": is described twice: the first time at pilot.lua:8',
        'pilot.lua:10: template "/h.conf": was named but never described (did you mean "/h.cnf"?)',
        'unknown event "renderd" of a template (did you mean "rendered"?)',
        'the template "/h.conf" itself: add :once "rendered"',
      } do assert.is_truthy(message:find(text, 1, true), text .. "\n→ " .. message) end
    end)

    it("a path that is none", function()
      assert.matches("pilot.template: expected a string, got a table",
        boxes.mistakes [[ pilot.template { text = "" } ]])
      assert.matches("pilot.template: is a directory", boxes.mistakes [[ pilot.template "/etc/" { text = "" } ]])
    end)
  end)

  it("is not declared later, nor asked for what it has not", function()
    local box = boxes.run([[
      local config = pilot.template "/etc/app.conf" { text = "" }
      pilot.on("startup", function()
        for _, fn in ipairs {
          function() pilot.template "/etc/app.cnf" end, function() pilot.template "/etc/app.conf" { text = "" } end,
          function() config:reload() end, function() config.name = 1 end, function() config.render() end,
        } do print("> " .. select(2, pcall(fn))) end
      end)
    ]], {}, { files = { ["/etc/"] = true } })
    local list = printed(box)
    assert.matches('there is no template "/etc/app.cnf" %(did you mean "/etc/app.conf"%?%)', list[1])
    assert.matches("the pilot runs already", list[2])
    assert.matches('a template has no "reload" %(valid: "each", ', list[3])
    assert.matches("cannot be set", list[4])
    assert.matches("call it with a colon", list[5])
  end)
end)
