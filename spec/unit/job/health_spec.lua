local cjson = require "cjson"
local health = require "luapilot.job.health"

local function check(options)
  local one = { kind = "tcp", interval = 10, rise = 1, fall = 3, start_period = 0 }
  for key, value in pairs(options or {}) do one[key] = value end
  return one
end

-- Results of one check, one a second: "p" passes, "w" warns, "f" fails, "e" fails early. What changes is
-- "H" (healthy), "U" (unhealthy), with "!" for a restart; else ".".
local function run(options, results)
  local checks = { check(options) }
  local memory, said = health.new(checks, 1000), {}
  local now = 1000
  for what in results:gmatch "." do
    now = now + 1
    local status = what == "p" and "pass" or what == "w" and "warn" or "fail"
    local change, restart = health.result(memory, checks, 1, status, "said", now, what == "e")
    said[#said + 1] = (change == "healthy" and "H" or change == "unhealthy" and "U" or ".") .. (restart and "!" or "")
    memory = health.restore(cjson.decode(cjson.encode(health.snapshot(memory))), checks, now)
  end
  return table.concat(said)
end

describe("health", function()
  local RESULTS = {
    { "one pass, three failures", {}, "ppfffp", "H...UH" },
    { "a pass in between counts the failures anew", {}, "pffpffpff", "H........" },
    { "unknown is neither", {}, "ffp", "..H" },
    { "unhealthy without ever a pass", {}, "ffff", "..U." },
    { "rise", { rise = 3 }, "ppfpppp", ".....H." },
    { "rise again", { rise = 2, fall = 1 }, "ppfpfpp", ".HU...H" },
    { "fall = 1", { fall = 1 }, "pfpf", "HUHU" },
    { "a warning passes", {}, "wfffw", "H..UH" },
    { "failures do not count in the start period", { start_period = 5 }, "ffffffff", "......U." },
    { "passes do, and end it", { start_period = 9, fall = 2 }, "ffpffp", "..H.UH" },
    { "not before they are as many as rise", { start_period = 9, rise = 2, fall = 1 }, "fpffppf", ".....HU" },
    { "early failures do not count", { fall = 2 }, "eeefef", ".....U" },
    { "early passes do, and early failures end a row of them", { rise = 2 }, "pepp", "...H" },
    { "restart_after", { fall = 2, restart_after = 4 }, "pffffp", "H.U..!H" },
    { "restart_after below fall", { fall = 3, restart_after = 1 }, "pf", "H.!" },
    { "restart_after not in the start period", { start_period = 3, restart_after = 1 }, "fff", "...!" },
    { "restart_after where a pass has ended it", { start_period = 9, restart_after = 3, fall = 1 }, "pfff", "HU..!" },
  }
  for _, row in ipairs(RESULTS) do
    it(row[1], function()
      assert.equal(row[4], run(row[2], row[3]))
    end)
  end

  describe("of several checks", function()
    local checks, memory
    before_each(function()
      checks = { check { fall = 1 }, check { fall = 1 }, check { fall = 1 } }
      memory = health.new(checks, 1000)
    end)

    local function result(index, status) return (health.result(memory, checks, index, status, nil, 1001)) end

    it("is healthy when all pass, unhealthy as soon as one fails", function()
      assert.is_nil(result(1, "pass"))
      assert.is_nil(result(2, "pass"))
      assert.equal("healthy", result(3, "pass"))
      assert.equal("unhealthy", result(2, "fail"))
      assert.is_nil(result(1, "fail"))
      assert.is_nil(result(2, "pass"))
      assert.equal("healthy", result(1, "pass"))
    end)

    it("is unhealthy before all are known", function()
      assert.equal("unhealthy", result(2, "fail"))
      assert.is_nil(result(2, "pass"))
      assert.is_nil(result(1, "pass"))
      assert.equal("healthy", result(3, "pass"))
    end)

    it("knows whether one warns", function()
      assert.is_false(health.warns(memory))
      result(1, "warn")
      assert.is_true(health.warns(memory))
      result(1, "pass")
      assert.is_false(health.warns(memory))
    end)
  end)

  describe("next_probe", function()
    local function probes(options, results)
      local checks = { check(options) }
      local memory, now, list = health.new(checks, 1000), 1000, {}
      for what in results:gmatch "." do
        local due, early = health.next_probe(memory, checks[1], 1, now)
        list[#list + 1] = ("%g%s"):format(due - 1000, early and "e" or "")
        now = due
        health.result(memory, checks, 1, what == "p" and "pass" or "fail", nil, now, early)
      end
      return table.concat(list, " ")
    end

    it("comes early, at growing distances, until the first pass", function()
      assert.equal("0.25e 0.75e 1.75e 3.75e 7.75e 10 20 30", probes({}, "ffffffpp"))
      assert.equal("0.25e 0.75e 10 20", probes({}, "fppp"))
    end)

    it("keeps to the marks while a pass waits for the others that rise asks for", function()
      assert.equal("0.25e 0.75e 10 20 30", probes({ rise = 3 }, "fpppp"))
      assert.equal("0.25e 10 10.5e 11.5e 20", probes({ rise = 3 }, "pffpp"))
    end)

    it("comes early again between later marks, while nothing is known", function()
      assert.equal("0.25e 0.75e 1 2 3", probes({ interval = 1 }, "fffff"))
      assert.equal("0.25e 0.75e 1.75e 3.75e 5 10 15 20", probes({ interval = 5 }, "ffffffff"))
    end)

    it("stays on the marks when a probe was late or slow", function()
      local checks = { check { interval = 10 } }
      local memory = health.new(checks, 1000)
      health.result(memory, checks, 1, "pass", nil, 1000)
      assert.equal(1030, (health.next_probe(memory, checks[1], 1, 1023.4)))
      assert.equal(1020, (health.next_probe(memory, checks[1], 1, 1010)))
      assert.equal(1020, (health.next_probe(memory, checks[1], 1, 1009.9999999999)))
    end)

    it("does not drift", function()
      local checks = { check { interval = 0.1 } }
      local memory, now = health.new(checks, 1000), 1000
      health.result(memory, checks, 1, "pass", nil, now)
      for _ = 1, 100000 do now = health.next_probe(memory, checks[1], 1, now) end
      assert.is_true(math.abs(now - 11000) < 1e-6)
    end)
  end)

  describe("survives a reload", function()
    it("as plain data of its own", function()
      local checks = { check(), check() }
      local memory = health.new(checks, 1000)
      health.result(memory, checks, 1, "fail", "text", 1001)
      local data = cjson.decode(cjson.encode(health.snapshot(memory)))
      assert.same(memory, health.restore(data, checks, 2000))
      health.restore(data, checks, 2000).checks[1].fails = 99
      assert.equal(1, data.checks[1].fails)
    end)

    it("not when the checks are others: then it starts anew", function()
      local memory = health.new({ check() }, 1000)
      health.result(memory, { check() }, 1, "pass", nil, 1000)
      local other = { check(), check() }
      assert.same(health.new(other, 2000), health.restore(health.snapshot(memory), other, 2000))
    end)
  end)
end)
