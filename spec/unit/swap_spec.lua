-- Files that take the place of others, step by step, with the simulator's files. What renders make of it is
-- render_spec.lua's; here a pilot dies between any two calls of the port.
local sim = require "luapilot.sim"
local swap = require "luapilot.swap"

local CONF = "/etc/app.conf"

local CHANGES = { open = true, put = true, truncate = true, chmod = true, rename = true, remove = true }

describe("swap", function()
  local machine

  local function fresh(files)
    machine = sim.world():machine { files = files }
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

  local function recover(port)
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
        local port = fresh { ["/etc/"] = true, [CONF] = not case.first and { content = "old text", mode = 420 } or nil }
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
end)
