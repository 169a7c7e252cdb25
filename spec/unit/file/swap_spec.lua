-- Files that take the place of others, step by step, with the simulator's files. What renders make of it is
-- render_spec.lua's; here a pilot dies between any two calls of the port.
local sim = require "luapilot.sim"
local swap = require "luapilot.file.swap"

local CONF = "/etc/app.conf"

local CHANGES = { open = true, put = true, truncate = true, chmod = true, rename = true, remove = true }

describe("swap", function()
  local world, machine

  local function fresh(files)
    world = sim.world()
    machine = world:machine { files = files }
    return machine.interface
  end

  local function content(path) return machine.files:content(path or CONF) end

  local function left_over()
    local count = 0
    for path in pairs(machine.files.nodes) do
      if path:find("luapilot-", 1, true) then count = count + 1 end
    end
    return count
  end

  -- The port, which dies at the change of number `last`, before it is done; `half` of what is written is.
  local function mortal(port, last, half)
    local count = 0
    return setmetatable({}, { __index = function(_, name)
      if not CHANGES[name] then return port[name] end
      return function(what, data, ...)
        count = count + 1
        if count > last then
          if count == last + 1 and half and name == "put" then port.put(what, data:sub(1, #data / 2)) end
          error("dead", 0)
        end
        return port[name](what, data, ...)
      end
    end })
  end

  local function whole(port, keep, verdict)
    local place = assert(swap.place(port, CONF))
    local new = swap.new(place, "new text", { mode = 384 })
    assert(new:write())
    assert(new:commit(keep))
    if keep and verdict then new:accept() elseif keep then assert(new:put_back()) end
    place:close()
  end

  -- What another pilot does: what the dead one had open is closed.
  local function recover(port)
    machine.port.handles = {}
    local place = assert(swap.place(port, CONF))
    swap.tidy(place)
    local how, message = swap.recover(place)
    place:close()
    return how, message
  end

  it("resolves paths", function()
    local port = fresh { [CONF] = "x", ["/link"] = { link = CONF }, ["/etc/dir/"] = true }
    local function resolve(path)
      local place, message = swap.place(port, path)
      if not place then return nil, message end
      place:close()
      return place.target
    end
    assert.equal(CONF, resolve(CONF))
    assert.equal(CONF, resolve "/link")
    assert.equal(CONF, resolve "//etc/./dir/../app.conf")
    assert.equal("/etc/new.conf", resolve "/etc/dir/../new.conf")
    assert.equal("/new", resolve "/new")
    assert.is_nil((resolve "/"))
    assert.is_nil((resolve "/etc/dir/.."))
  end)

  it("puts back nothing where nothing is left", function()
    assert.is_nil((recover(fresh { [CONF] = "x" })))
    assert.is_nil((recover(fresh { ["/etc/"] = true })))
  end)

  for _, case in ipairs {
    { what = "is accepted", keep = true, verdict = true }, { what = "is refused", keep = true, verdict = false },
    { what = "needs no verdict", keep = false },
    { what = "is accepted in place", keep = true, verdict = true, bound = true },
    { what = "is refused in place", keep = true, verdict = false, bound = true },
    { what = "needs no verdict in place", keep = false, bound = true },
    { what = "is the first, and accepted", keep = true, verdict = true, first = true },
    { what = "is the first, and refused", keep = true, verdict = false, first = true },
  } do
    it("survives a death at any moment: a file that " .. case.what, function()
      local function machine_of()
        local old = { content = "old text", mode = case.bound and 384 or 420 }
        local port = fresh { ["/etc/"] = true, [CONF] = not case.first and old or nil }
        if case.bound then machine.files:fault("rename", CONF, "EBUSY") end
        return port
      end
      local good = case.keep and not case.verdict and (case.first and "none" or "old text") or "new text"
      local steps, dead = 0, true
      while dead do
        for _, half in ipairs { false, true } do
          local port = machine_of()
          dead = not pcall(whole, mortal(port, steps, half), case.keep, case.verdict)
          local before = left_over()
          recover(port)
          local now = content() or "none"
          assert.equal(0, left_over(), steps .. ": " .. before)
          local may = now == good or dead and now == (case.first and "none" or "old text")
          assert.is_true(may, ("after %d changes: %s"):format(steps, now))
        end
        steps = steps + 1
        assert.is_true(steps < 40)
      end
      assert.is_true(steps > 3)
    end)
  end

  -- --- what is beside it, and who else is there ---------------------------------------------------

  -- The names in /etc.
  local function there()
    local names = machine.files:names "/etc"
    table.sort(names)
    return table.concat(names, " "):gsub("(luapilot%-new%-)%x+", "%1…")
  end

  local function look(path)
    local node = machine.files:node(path or CONF)
    return { node.content, node.mode, node.uid, node.gid }
  end

  local function fails(code, message, ok, found, found_code)
    assert.same({ nil, message, code }, { ok, found, found_code })
  end

  -- A place, a new text for it that is written, and what was closed to the end.
  local function begin(files, look_of, pause)
    local port = fresh(files)
    local place = assert(swap.place(port, CONF))
    return swap.new(place, "new text", look_of or {}, pause), place, port
  end

  -- Somebody else puts another file there, by renaming it.
  local function replace(path, what)
    machine:write("/etc/theirs", what or "theirs")
    assert(machine.interface.rename("/etc/theirs", path or CONF))
  end

  local function new_file()
    for path in pairs(machine.files.nodes) do
      if path:find("luapilot-new-", 1, true) then return path end
    end
  end

  describe("with somebody else in the directory", function()
    after_each(function() assert.same({}, machine.port.handles) end)

    it("does not put a file in place that is not its own", function()
      for _, keep in ipairs { false, true } do
        local new, place = begin { [CONF] = "old" }
        assert(new:write())
        replace(new_file()) -- while a validator looks at it, say
        fails("EAGAIN", 'cannot write "/etc/app.conf": somebody replaced the new file before it was in its place',
          new:commit(keep))
        place:close()
        assert.equal("old", content())
        assert.equal("app.conf", there())
      end
    end)

    it("does not put a link in place, nor what is gone", function()
      local new, place = begin { [CONF] = "old" }
      assert(new:write())
      machine:write(new_file(), { link = "/etc/shadow", uid = 1234 })
      fails("EAGAIN", 'cannot write "/etc/app.conf": somebody replaced the new file before it was in its place',
        new:commit(false))
      place:close()
      new, place = begin { [CONF] = "old" }
      assert(new:write())
      assert(machine.interface.remove(new_file()))
      fails("EAGAIN", 'cannot write "/etc/app.conf": somebody replaced the new file before it was in its place',
        new:commit(false))
      place:close()
      assert.equal("old", content())
      assert.equal("app.conf", there())
    end)

    it("keeps no old file that is another one than it looked at", function()
      local new, place = begin { [CONF] = "old" }
      assert(new:write())
      replace()
      fails("EAGAIN", 'cannot write "/etc/app.conf": somebody replaced it meanwhile', new:commit(true))
      place:close()
      assert.equal("theirs", content())
      assert.equal("app.conf", there())
    end)

    it("writes nothing into a file that is another one than it looked at", function()
      local new, place, port = begin { [CONF] = "old" }
      machine:fault("rename", CONF, "EBUSY")
      assert(new:write())
      local open = port.open
      function port.open(name, mode, at)
        if mode == "write" then
          machine:fault("rename", CONF)
          replace()
        end
        return open(name, mode, at)
      end
      fails("EAGAIN", 'cannot write "/etc/app.conf": somebody replaced the file meanwhile', new:commit(true))
      place:close()
      assert.equal("theirs", content())
      assert.equal("app.conf", there())
    end)

    it("writes into no link that took the place of the file", function()
      local new, place, port = begin { [CONF] = "old", ["/etc/shadow"] = "secret" }
      machine:fault("rename", CONF, "EBUSY")
      assert(new:write())
      local open = port.open
      function port.open(name, mode, at)
        if mode == "write" then machine:write(CONF, { link = "shadow" }) end
        return open(name, mode, at)
      end
      local ok, _, code = new:commit(false)
      assert.same({ nil, "ELOOP" }, { ok, code })
      place:close()
      assert.equal("secret", content "/etc/shadow")
      assert.equal("app.conf shadow", there())
    end)

    it("takes nobody's word for what was there before but root's, its own and the owner's", function()
      for uid, restored in pairs { [0] = true, [7] = true, [1234] = false } do
        local port = fresh {
          [CONF] = { content = "new", uid = 7 }, ["/etc/.app.conf.luapilot-old"] = { content = "old", uid = uid },
        }
        assert.equal(restored and "restored" or nil, (recover(port)))
        assert.equal(restored and "old" or "new", content())
        port = fresh {
          [CONF] = { content = "new", uid = 7 }, ["/etc/.app.conf.luapilot-none"] = { content = "", uid = uid },
        }
        assert.equal(restored and "removed" or nil, (recover(port)))
        assert.equal(not restored and "new" or nil, content())
      end
      local port = fresh { [CONF] = "new", ["/etc/.app.conf.luapilot-old"] = { link = "/etc/shadow" } }
      assert.is_nil((recover(port)))
      assert.equal("new", content())
    end)

    it("puts back nothing where something else than a file stands now", function()
      local port = fresh { [CONF] = { directory = true }, ["/etc/.app.conf.luapilot-old"] = "old" }
      assert.same({ nil, 'cannot put back "/etc/app.conf": it is a directory now' }, { recover(port) })
      assert.equal(".app.conf.luapilot-old app.conf", there())
    end)
  end)

  it("writes nothing in place that who has the file open could read or change, though he should not", function()
    for _, row in ipairs {
      { { content = "old", mode = 420 }, { mode = 384 } },                   -- readers of a file that was everybody's
      { { content = "old", mode = 384, uid = 7 }, { uid = 0, mode = 384 } }, -- a writer who was its owner
    } do
      local port = fresh { [CONF] = row[1] }
      machine:fault("rename", CONF, "EBUSY")
      local place = assert(swap.place(port, CONF))
      local new = swap.new(place, "new text", row[2])
      assert(new:write())
      local ok, message, code = new:commit(false)
      assert.same({ nil, "EPERM" }, { ok, code })
      assert.matches("who has it open now %(user %d, mode %d+%) could read or change the new text", message)
      place:close()
      assert.same({ "old", "app.conf" }, { content(), (there()) })
    end
  end)

  it("replaces at once, or not at all", function()
    local port = fresh { [CONF] = "old" }
    machine:fault("rename", CONF, "EBUSY")
    local place = assert(swap.place(port, CONF))
    local ok, message, code = swap.replace(place, "new", {})
    assert.same({ nil, "EBUSY" }, { ok, code })
    assert.equal('cannot write "/etc/app.conf": it is a mount point of its own, which pilot.render can write in place',
      message)
    place:close()
    assert.same({ "old", "app.conf" }, { content(), (there()) })
  end)

  describe("that puts back in place", function()
    local OLD = "/etc/.app.conf.luapilot-old"

    -- Puts the old file back where it cannot be renamed over, and its look cannot be given.
    local function put_back(old, now)
      local port = fresh { [CONF] = now, [OLD] = old }
      machine:fault("rename", CONF, "EBUSY")
      machine:fault("chmod", CONF, "EPERM")
      return recover(port)
    end

    it("gives the file its old look, where it can", function()
      local port = fresh {
        [CONF] = { content = "new", mode = 420, gid = 8 }, [OLD] = { content = "old", mode = 384 },
      }
      machine:fault("rename", CONF, "EBUSY")
      assert.equal("restored", (recover(port)))
      assert.same({ "old", 384, 0, 0 }, look())
      assert.equal("app.conf", there())
    end)

    it("gives no old look to a stranger's file, which he may hold open", function()
      local port = fresh { [CONF] = { content = "new", uid = 7 }, [OLD] = { content = "secret", mode = 384 } }
      machine:fault("rename", CONF, "EBUSY")
      assert.same({ nil, 'cannot put back "/etc/app.conf": .app.conf.luapilot-old is not for the eyes of user 7' },
        { recover(port) })
      assert.equal("new", content())
    end)

    it("is not needed where root can rename: owner and all come back", function()
      local port = fresh { [CONF] = { content = "new", uid = 7 }, [OLD] = { content = "old", mode = 384 } }
      assert.equal("restored", (recover(port)))
      assert.same({ "old", 384, 0, 0 }, look())
    end)

    it("tells of an old file that somebody took away", function()
      local new, place = begin { [CONF] = "old" }
      assert(new:write())
      assert(new:commit(true))
      machine:write(OLD, false)
      assert.same({ nil, 'cannot put back "/etc/app.conf": somebody took .app.conf.luapilot-old away' },
        { new:put_back() })
      place:close()
    end)

    it("shows the old text to nobody who could not read it before", function()
      local secret, shown = { content = "secret", mode = 384 }, "secret"
      for _, row in ipairs {
        { secret, { content = "new", mode = 384, uid = 7 }, nil },          -- another owner
        { secret, { content = "new", mode = 420 }, nil },                   -- everybody
        { secret, { content = "new", mode = 416 }, nil },                   -- a group
        { { content = "secret", mode = 416, gid = 5 }, { content = "new", mode = 416, gid = 6 }, nil }, -- another group
        { { content = "secret", mode = 416, gid = 5 }, { content = "new", mode = 416, gid = 5 }, shown },
        { { content = "secret", mode = 416, gid = 5 }, { content = "new", mode = 384, gid = 6 }, shown },
        { { content = "secret", mode = 420 }, { content = "new", mode = 384, uid = 7 }, shown }, -- it was everybody's
        { secret, { content = "new", mode = 384 }, shown },
      } do
        local how, message = put_back(row[1], row[2])
        assert.same({ row[3] and "restored", row[3] or "new" }, { how, content() })
        if not row[3] then
          assert.equal(('cannot put back "/etc/app.conf": .app.conf.luapilot-old is not for the eyes of user %d')
            :format(row[2].uid or 0), message)
          assert.equal("secret", content(OLD))
        end
      end
    end)
  end)

  describe("leaves nothing behind:", function()
    it("what killed pilots left of new files is removed, and nothing else", function()
      local port = fresh {
        [CONF] = "x", ["/etc/.app.conf.luapilot-new-0"] = "half",
        ["/etc/.app.conf.luapilot-new-1/"] = true,
        ["/etc/.app.conf.luapilot-newer"] = "x", ["/etc/.other.luapilot-new-0"] = "x",
        ["/etc/app.conf.luapilot-new-0"] = "x",
      }
      local place = assert(swap.place(port, CONF))
      local at_work = assert(port.open("/etc/.app.conf.luapilot-new-2", "create"))
      swap.tidy(place)
      port.cancel(at_work)
      place:close()
      assert.equal(".app.conf.luapilot-new-… .app.conf.luapilot-new-… .app.conf.luapilot-newer app.conf "
        .. "app.conf.luapilot-new-…", there())
    end)

    it("a crowded directory is not searched", function()
      local port = fresh { [CONF] = "x", ["/etc/.app.conf.luapilot-new-0"] = "half" }
      for i = 1, 999 do machine:write("/etc/" .. i, "") end
      local place = assert(swap.place(port, CONF))
      swap.tidy(place)
      assert.is_truthy(machine:file "/etc/.app.conf.luapilot-new-0")
      machine:write("/etc/1", false)
      swap.tidy(place)
      assert.is_nil(machine:file "/etc/.app.conf.luapilot-new-0")
      place:close()
    end)

    it("what was begun is removed when the place is closed in a pause", function()
      local new, place
      new, place = begin({ [CONF] = "old" }, {}, function() error("cancelled", 0) end)
      new.text = ("x"):rep(3 * 1024 ^ 2)
      assert.has_error(function() new:write() end, "cancelled")
      assert.equal(".app.conf.luapilot-new-… app.conf", there())
      place:close()
      place:close()
      assert.equal("app.conf", there())
      assert.same({}, machine.port.handles)
      assert.equal("old", content())
    end)

    it("an old file that was being kept is not half there", function()
      local pauses = 0
      local new, place = begin({ [CONF] = ("o"):rep(3 * 1024 ^ 2) }, {}, function()
        pauses = pauses + 1
        if pauses == 4 then error("cancelled", 0) end -- two to read it, the second one to write it
      end)
      assert(new:write())
      assert.has_error(function() new:commit(true) end, "cancelled")
      place:close()
      assert.equal("app.conf", there())
      assert.equal(3 * 1024 ^ 2, #content())
      assert.same({}, machine.port.handles)
    end)

    it("a name that somebody has is not taken: another is", function()
      local new, place, port = begin { [CONF] = "old" }
      local open, tries = port.open, {}
      function port.open(name, mode, at)
        if mode == "create" then tries[#tries + 1] = name end
        if mode == "create" and #tries < 4 then machine:write("/etc/" .. name, "theirs") end
        return open(name, mode, at)
      end
      assert(new:write() and new:commit(false))
      place:close()
      assert.equal("new text", content())
      assert.equal(4, #tries)
      for i = 1, 3 do assert.equal("theirs", content("/etc/" .. tries[i])) end
    end)
  end)
end)
