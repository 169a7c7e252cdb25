local reconciler = require "luapilot.service.reconciler"

local SPEC = {
  tags = { "a" }, meta = {}, weights = { passing = 1, warning = 1 }, port = 80, enable_tag_override = false,
}

local function registration(changes)
  local spec = {}
  for name, value in pairs(SPEC) do spec[name] = value end
  for name, value in pairs(changes or {}) do spec[name] = value end
  return reconciler.registration(spec, { id = "app-h", name = "app", address = "10.0.0.1", ttl = 15 })
end

local function view(changes)
  local result = { state = "running", health = "unknown", checked = true, checks = {}, warns = false, leaving = false,
    registered = false }
  for name, value in pairs(changes) do result[name] = value end
  return result
end

local function status(changes, initial)
  return (reconciler.status(view(changes), { initial_status = initial }))
end

local function output(changes) return select(2, reconciler.status(view(changes), {})) end

describe("the status of a service", function()
  it("comes with the first pass", function()
    assert.is_nil(status {})
    assert.equal("passing", status { health = "healthy" })
    assert.equal("warning", status { health = "healthy", warns = true })
    assert.equal("critical", status { health = "unhealthy" })
  end)

  it("is there at once with initial_status, or without checks", function()
    assert.equal("warning", status({}, "warning"))
    assert.equal("passing", status { checked = false })
    assert.is_nil(status({ state = "preparing" }, "warning"))
  end)

  it("is critical between two runs, and until a check passes again", function()
    assert.equal("critical", status { state = "backoff", registered = true, exit = { code = 1 } })
    assert.equal("critical", status { state = "preparing", registered = true })
    assert.equal("critical", status({ registered = true, again = true }, "passing"))
    assert.equal("passing", status({ registered = true }, "passing"))
    assert.equal("critical", status { registered = true })
    assert.is_nil(status { state = "backoff", exit = { code = 1 } })
  end)

  it("is gone with the job, and with its stop", function()
    for _, state in ipairs { "waiting", "held", "complete" } do
      assert.is_nil(status { state = state, registered = true, health = "healthy" })
    end
    assert.is_nil(status { state = "stopping", leaving = true, registered = true, health = "healthy" })
    assert.equal("passing", status { state = "stopping", registered = true, health = "healthy" })
  end)

  it("goes with what the checks said, those that fail first", function()
    local checks = { { status = "passing", output = "fine" }, { status = "failing", output = "HTTP 500" } }
    assert.equal("health[2]: HTTP 500", output { health = "unhealthy", checks = checks })
    assert.equal("health[1]: fine\nhealth[2]: HTTP 500", output { health = "healthy", checks = checks })
    assert.equal("fine", output { health = "healthy", checks = { checks[1] } })
    assert.equal("exit code 3; it will be started again",
      output { state = "backoff", registered = true, exit = { code = 3 } })
    assert.equal("exit code 3", output { state = "ending", registered = true, exit = { code = 3 } })
    assert.equal("killed by SIGKILL; it will be started again",
      output { state = "backoff", registered = true, exit = { code = 137, signal = "SIGKILL" } })
  end)
end)

describe("a registration", function()
  it("is what Consul's agent takes", function()
    assert.same({
      ID = "app-h", Name = "app", Port = 80, Address = "10.0.0.1", Tags = { "a" }, Meta = {},
      Weights = { Passing = 1, Warning = 1 }, EnableTagOverride = false,
      Check = { CheckID = "service:app-h", Name = "luapilot", TTL = "15s", DeregisterCriticalServiceAfter = "600s" },
    }, registration { deregister_after = 600 })
    local month = registration { deregister_after = 30 * 24 * 3600 }
    assert.equal("2592000s", month.Check.DeregisterCriticalServiceAfter)
    for seconds, text in pairs { [1e9] = "1000000000s", [0.00001] = "0.00001s", [90061.25] = "90061.25s" } do
      assert.equal(text, registration({ deregister_after = seconds }).Check.DeregisterCriticalServiceAfter)
    end
  end)

  it("has the shortest ttl of the checks", function()
    assert.equal(15, reconciler.ttl { { ttl = 30 }, { ttl = 15 } })
    assert.equal(30, reconciler.ttl {})
  end)
end)

describe("the next step", function()
  local record, now, held

  local function want(o)
    record.want = {
      registration = o.registration or registration(), status = o.status or "passing", output = o.output or "",
      maintenance = o.maintenance,
    }
  end

  local function step()
    local name, due = reconciler.next(record, now)
    if not name then return due end
    if name == "look" then
      reconciler.seen(record, held)
    else
      reconciler.sent(record, name)
      reconciler.done(record, name, record.want, now, function() return 0 end)
    end
    return name
  end

  before_each(function() record, now, held = { id = "app-h", ttl = 15 }, 100, nil end)

  -- All steps that there are to take.
  local function steps()
    local list = {}
    for i = 1, 10 do
      list[i] = step()
      if type(list[i]) ~= "string" then return list end
    end
    error "no end of steps"
  end

  it("registers, says the status (an agent may know the check, and keeps what it knew), and renews twice in a ttl",
    function()
      want {}
      assert.same({ "register", "update", 107.5 }, steps())
      now = 107.5
      assert.same({ "update", 115 }, steps())
    end)

  it("renews up to an eighth earlier, at random", function()
    want {}
    step()
    reconciler.done(record, "update", record.want, now, function() return 0.999999 end)
    local _, due = reconciler.next(record, now)
    assert.is_true(due > 106.5 and due < 106.6)
  end)

  it("sends a status at once, and an output with it", function()
    want {}
    steps()
    want { status = "critical", output = "HTTP 500" }
    assert.equal("update", step())
    want { status = "critical", output = "HTTP 503" } -- goes along with the next renewal
    assert.same({ 107.5 }, steps())
  end)

  it("registers again what is to be other, and keeps the maintenance", function()
    want { maintenance = "deploy" }
    assert.same({ "register", "maintain", "update", 107.5 }, steps())
    want { registration = registration { tags = { "b" } }, maintenance = "deploy" }
    assert.same({ "register", "update", 107.5 }, steps())
    want { registration = registration { tags = { "b" } } }
    assert.same({ "resume", 107.5 }, steps())
  end)

  it("lets nobody find a service that is to be in maintenance before it is", function()
    want {}
    assert.equal("passing", reconciler.first_status(record))
    want { maintenance = "deploy" }
    assert.equal("critical", reconciler.first_status(record))
  end)

  it("is critical while one maintenance takes the place of another: Consul keeps the first reason else", function()
    want { maintenance = "deploy" }
    steps()
    want { maintenance = "upgrade" }
    assert.same({ "cover", "resume", "maintain", "update", 107.5 }, steps())
    want { maintenance = "upgrade", status = "critical" }
    steps()
    want { maintenance = "backup", status = "critical" }
    assert.same({ "resume", "maintain", 107.5 }, steps())
  end)

  it("takes back what is not wanted, once", function()
    want {}
    steps()
    record.want = nil
    assert.same({ "look", "deregister" }, steps())
  end)

  it("takes back what may have been heard, although no answer came", function()
    want { maintenance = "deploy" }
    reconciler.sent(record, "register")
    record.want = nil
    assert.same({ "look", "deregister" }, steps())
    want { maintenance = "deploy" }
    step()
    reconciler.sent(record, "maintain")
    want {}
    assert.same({ "resume", "update", 107.5 }, steps())
  end)

  it("says the status again when another one may have been heard, although no answer came", function()
    want {}
    steps()
    want { status = "critical" }
    reconciler.sent(record, "update")
    want {}
    assert.same({ "update", 107.5 }, steps())
    want { maintenance = "deploy" }
    steps()
    want { maintenance = "upgrade" }
    reconciler.sent(record, "cover")
    want { maintenance = "deploy" }
    assert.same({ "update", 107.5 }, steps())
  end)

  it("does not take a maintenance that Consul may still hold for the one that is to be", function()
    want { maintenance = "deploy" }
    steps()
    reconciler.forget(record)
    want { maintenance = "upgrade" }
    assert.same({ "register", "cover", "resume", "maintain", "update", 107.5 }, steps())
  end)

  it("takes nothing back that was refused", function()
    want {}
    reconciler.sent(record, "register")
    reconciler.refused(record, "register")
    record.want = nil
    assert.same({}, steps())
  end)

  it("takes back what was held, although it was refused when it seemed to be gone", function()
    want {}
    steps()
    reconciler.forget(record)
    reconciler.sent(record, "register")
    reconciler.refused(record, "register")
    record.want = nil
    assert.same({ "look", "deregister" }, steps())
  end)

  it("begins anew when Consul has forgotten it", function()
    want {}
    steps()
    reconciler.forget(record)
    assert.same({ "register", "update", 107.5 }, steps())
    reconciler.forget(record)
    record.want = nil
    assert.same({ "look", "deregister" }, steps()) -- it may hold it all the same
  end)

  it("waits a quarter of a ttl for an answer: a renewal that is lost comes once more in time", function()
    local function timeout(ttl) return reconciler.timeout { id = "x", ttl = ttl } end
    assert.same({ 1, 1, 2.5, 5, 5 }, { timeout(1), timeout(4), timeout(10), timeout(20), timeout(3600) })
  end)
end)

describe("an entry that is another instance's", function()
  local record

  local function other(changes)
    local held = { Service = "app", Port = 80, Address = "10.0.0.1", Tags = { "x" } }
    for name, value in pairs(changes or {}) do held[name] = value end
    return held
  end

  before_each(function()
    record = { id = "app-h", ttl = 15, want = { registration = registration(), status = "passing", output = "" } }
    reconciler.sent(record, "register")
    reconciler.done(record, "register", record.want, 100, function() return 0 end)
  end)

  it("is known by its name, address and port, and told with what ours were", function()
    assert.is_nil(reconciler.anothers(record, other()))
    assert.is_nil(reconciler.anothers(record, nil))
    assert.equal("port 81 instead of 80", reconciler.anothers(record, other { Port = 81 }))
    assert.equal('name "b" instead of "app", address "10.0.0.2" instead of "10.0.0.1"',
      reconciler.anothers(record, other { Service = "b", Address = "10.0.0.2" }))
    assert.is_nil(reconciler.anothers({ id = "app-h" }, other { Port = 81 })) -- nothing is known of ours
  end)

  it("is not taken back, and ours is", function()
    record.want = nil
    assert.equal("look", reconciler.next(record, 100))
    assert.equal("port 81 instead of 80", reconciler.seen(record, other { Port = 81 }))
    assert.is_nil(reconciler.next(record, 100))
  end)

  it("is taken back where it is ours, or nobody can say", function()
    for _, held in ipairs { other(), {}, false } do
      record.want, record.looked = nil, nil
      assert.is_nil(reconciler.seen(record, held or nil))
      assert.equal("deregister", reconciler.next(record, 100))
    end
  end)

  it("is left alone for longer each time, within bounds, and forgotten after a calm", function()
    local function middle() return 0.5 end
    local now, pauses = 100, {}
    for i = 1, 9 do
      local round, seconds = reconciler.contested(record, now, middle)
      assert.equal(i, round)
      pauses[i] = seconds or 0
      now = now + 300
    end
    assert.same({ 0, 10, 20, 40, 80, 160, 300, 300, 300 }, pauses)
    assert.equal(225, select(2, reconciler.contested(record, now, function() return 0 end)))
    assert.same({ 1 }, { reconciler.contested(record, now + 1000, middle) })
  end)

  it("gets nothing of ours while it is left alone, and then the registration", function()
    reconciler.yield(record, other { Port = 81 }, 130)
    assert.same({ nil, 130 }, { reconciler.next(record, 129) })
    assert.equal("register", reconciler.next(record, 130))
  end)

  it("that leads to us is renewed while it is left alone", function()
    reconciler.done(record, "update", record.want, 100, function() return 0 end)
    reconciler.yield(record, other(), 130)
    assert.same({ nil, 107.5 }, { reconciler.next(record, 101) })
    assert.equal("update", reconciler.next(record, 108))
    assert.equal("register", reconciler.next(record, 130))
    reconciler.sent(record, "register")
    reconciler.done(record, "register", record.want, 130, function() return 0 end)
    assert.equal("update", reconciler.next(record, 130))
  end)
end)

describe("what the agent holds", function()
  local function held(changes)
    local entry = { ID = "app-h", Service = "app", Port = 80, Address = "10.0.0.1", Tags = { "a" }, Meta = {},
      Weights = { Passing = 1, Warning = 1 }, EnableTagOverride = false }
    for name, value in pairs(changes or {}) do entry[name] = value end
    return entry
  end

  it("is compared field by field", function()
    local mine = registration()
    assert.is_nil(reconciler.difference(mine, held()))
    assert.equal("is gone", reconciler.difference(mine, nil))
    assert.equal("has the name \"other\"", reconciler.difference(mine, held { Service = "other" }))
    assert.equal("has the port 81", reconciler.difference(mine, held { Port = 81 }))
    for field, value in pairs { Port = 81, Address = "10.0.0.2", Service = "other", EnableTagOverride = true } do
      assert.is_string(reconciler.difference(mine, held { [field] = value }))
    end
    for field, value in pairs { Tags = { "b" }, Meta = { x = "y" }, Weights = { Passing = 2, Warning = 1 } } do
      assert.matches("^has other ", reconciler.difference(mine, held { [field] = value }))
    end
  end)

  it("may have other tags where others may set them", function()
    local mine = registration { enable_tag_override = true }
    assert.is_nil(reconciler.difference(mine, held { EnableTagOverride = true, Tags = { "theirs" } }))
  end)

  it("is unknown in the words of old agents and of new ones", function()
    assert.is_true(reconciler.is_unknown(404, 'Unknown check ID "x"'))
    assert.is_true(reconciler.is_unknown(500, 'CheckID "service:x" does not have associated TTL'))
    assert.is_true(reconciler.is_unknown(500, 'Unknown service "x"'))
    assert.is_false(reconciler.is_unknown(500, "No cluster leader"))
    assert.is_false(reconciler.is_unknown(403, "Permission denied"))
  end)
end)
