-- Files that take the place of others, step by step, with the simulator's files. What renders make of it is
-- render_spec.lua's; here a pilot dies between any two calls of the port.
local sim = require "luapilot.sim"
local swap = require "luapilot.swap"

local CONF = "/etc/app.conf"

local CHANGES = { write = true, rename = true, remove = true, chmod = true }

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

  -- The port, which dies at the change of number `last`, before it is done; `half` of a write is done.
  local function mortal(port, last, half)
    local count = 0
    return setmetatable({}, { __index = function(_, name)
      if not CHANGES[name] then return port[name] end
      return function(path, data, ...)
        count = count + 1
        if count > last then
          local begun = count == last + 1 and half and name == "write"
          if begun then port.write(path, data:sub(1, #data / 2), ...) end
          error("dead", 0)
        end
        return port[name](path, data, ...)
      end
    end })
  end

  local function whole(port, keep, verdict)
    local new = assert(swap.begin(port, CONF, "new text", { mode = 384 }))
    assert(new:commit(keep))
    if not keep then return end
    if verdict then new:accept() else assert(new:put_back()) end
  end

  it("resolves paths", function()
    local port = fresh { [CONF] = "x", ["/link"] = { link = CONF }, ["/etc/dir/"] = true }
    assert.equal(CONF, swap.resolve(port, CONF))
    assert.equal(CONF, swap.resolve(port, "/link"))
    assert.equal(CONF, swap.resolve(port, "//etc/./dir/../app.conf"))
    assert.equal("/etc/new.conf", swap.resolve(port, "/etc/dir/../new.conf"))
    assert.equal("/new", swap.resolve(port, "/new"))
    assert.is_nil((swap.resolve(port, "/etc/dir/")))
  end)

  it("puts back nothing where nothing is left", function()
    assert.is_nil((swap.recover(fresh { [CONF] = "x" }, CONF)))
    assert.is_nil((swap.recover(fresh { ["/etc/"] = true }, CONF)))
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
          swap.recover(port, CONF)
          local now = content() or "none"
          assert.equal(0, left_over(), steps .. ": " .. before)
          local may = now == good or dead and now == (case.first and "none" or "old text")
          assert.is_true(may, ("after %d changes: %s"):format(steps, now))
        end
        steps = steps + 1
        assert.is_true(steps < 30)
      end
      assert.is_true(steps > 3)
    end)
  end
end)
