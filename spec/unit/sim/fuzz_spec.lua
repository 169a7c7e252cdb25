-- sim.fuzz: what it tries, what it says of a failure, and that a seed means one history.

local boxes = require "support.boxes"
local sim = require "luapilot.sim"

describe("sim.fuzz", function()
  after_each(boxes.check)

  local FILE = [[
    local pilot = require "luapilot"
    local db = pilot.job "db" { exec = "db", restart = "always", health = { tcp = "localhost:5432" } }
    pilot.job "app" { exec = "app", when = db:once "healthy", restart = "always" }
  ]]

  local function setup(world)
    local box = world:load("pilot.lua", { source = FILE })
    box:program("db", { listens = "localhost:5432", start_delay = "1s", term_delay = "10ms" })
    box:program("app", sim.server)
    return box
  end

  local function fuzz(options)
    options.setup = options.setup or setup
    return sim.fuzz(options)
  end

  -- The message of a run that fails.
  local function failure(options)
    local ok, message = pcall(fuzz, options)
    assert.is_false(ok)
    assert.matches("^spec/unit/sim/fuzz_spec.lua:%d+: sim%.fuzz: ", message)
    return message
  end

  it("tries each seed, and tells what has struck", function()
    local seen = {}
    local tried = fuzz {
      seeds = 40, faults = { "kill", "freeze" }, time = "2m",
      always = function(world, box) seen[world.seed] = box.path end,
    }
    assert.equal(40, tried.seeds)
    assert.equal(40, #seen)
    assert.is_true(tried.faults.kill > 10 and tried.faults.freeze > 10)
    assert.is_nil(tried.faults.shutdown)
  end)

  it("takes a list of seeds, and the clock of the world", function()
    local seen = {}
    fuzz { seeds = { 7, 99 }, now = "2030-01-01 00:00:00", time = "1s",
      always = function(world) seen[world.seed] = os.date("!%Y", world.clock:wall()) end }
    assert.same({ [7] = "2030", [99] = "2030" }, seen)
  end)

  it("gives each seed a history of its own, and always the same one", function()
    local function histories()
      local list = {}
      fuzz { seeds = 20, errors = true, always = function(world) list[world.seed] = world:history() end }
      return list
    end
    local first, second = histories(), histories()
    local different = {}
    for seed = 1, 20 do
      assert.equal(first[seed], second[seed])
      different[first[seed]:gsub("seed %d+", "")] = true
    end
    local count = 0
    for _ in pairs(different) do count = count + 1 end
    assert.equal(20, count)
  end)

  it("names the seed, the faults that matter, the history, and how to run it again", function()
    local function try(seeds)
      return failure {
        seeds = seeds, faults = { "kill", "exit", "clock" },
        always = function(_, box) assert.is_true(box:job("db").restarts < 2, "too many restarts") end,
      }
    end
    local message = try(100)
    local seed = message:match "sim%.fuzz: seed (%d+): `always` does not hold, [%d.]+ s after the start\n"
    assert.matches("too many restarts", message, 1, true)
    local listed = message:match "\nFaults: (2) %(%d+ more do not matter%)\n"
    assert.equal("2", listed)
    for line in message:match("matter%)\n(.-)\n\n"):gmatch "[^\n]+" do
      assert.matches('^ +%d+%.%d+  box: job "db" [ei]', line)
    end
    assert.matches("\n%-%-%- box %(seed " .. seed .. "%)\n", message)
    assert.matches("\nAgain: LUAPILOT_SEED=" .. seed .. " busted spec/unit/sim/fuzz_spec.lua", message)
    assert.equal(message, try { tonumber(seed) })
  end)

  it("needs no fault to find what is always wrong", function()
    local message = failure { always = function(world) return world:elapsed() < 5, "too late" end }
    assert.matches("seed 1: `always` does not hold, 10%.0+ s", message)
    assert.matches("too late", message)
    assert.matches("\nFaults: 0 %(%d+ more do not matter%)\n\n", message)
  end)

  it("asks whether it recovers, for so long", function()
    fuzz { seeds = 20, recovers = function(_, box) return box:job("db").health == "healthy" end, within = "2m" }
    local message = failure {
      seeds = 60, faults = { { kind = "hang", of = "db" }, { kind = "kill", of = "db" } }, within = "5m",
      recovers = function(_, box) return box:job("db").health == "healthy" end,
    }
    assert.matches("it does not recover, [%d.]+ s after the start\n  not within 300 s after the last fault", message)
    assert.matches('"db" hangs when it is started, until', message)
  end)

  it("finds errors in handlers, unless they are expected", function()
    local function with_handler(world)
      local box = world:load("pilot.lua", { source = [[
        local pilot = require "luapilot"
        pilot.every("5s", function() pilot.fs.write("/data", "x") end)
      ]] })
      return box
    end
    local message = failure { setup = with_handler, faults = { "disk" } }
    assert.matches("an error that nobody expected.-\n  pilot%.every at pilot%.lua:2: .-pilot%.fs%.write: cannot write",
      message)
    assert.matches("errors = {", message, 1, true)
    assert.matches("\nFaults: 1 ", message)
    fuzz { setup = with_handler, faults = { "disk" }, seeds = 20, errors = { "cannot write" } }
    fuzz { setup = with_handler, faults = { "disk" }, seeds = 20, errors = true }
  end)

  it("finds what nobody described, whatever errors are expected", function()
    local message = failure {
      errors = true, setup = function(world)
        local box = setup(world)
        box:program("db", function(proc) proc:sleep "1m" error "broken" end)
      end,
    }
    assert.matches("the behaviour of db %(pid %d+%) failed", message)
  end)

  it("finds a shutdown that outlasts its bound", function()
    local message = failure {
      setup = function(world)
        local box = setup(world)
        local finish = box.app.finish
        box.app.finish = function(core)
          if world.clock:now() < box.port.must_end + 5 then return core.loop:after(1, function() core:finish() end) end
          return finish(core)
        end
        return box
      end,
    }
    assert.matches("the shutdown takes too long, .-\n  box: the shutdown takes longer than its bound of 8 s", message)
  end)

  it("tries several boxes of one world", function()
    local count = 0
    fuzz {
      seeds = 10, time = "1m", setup = function(world) return setup(world), setup(world) end,
      always = function(world, one, two)
        count = count + 1
        assert.equal(one, world.boxes[1])
        assert.equal(two, world.boxes[2])
      end,
    }
    assert.is_true(count > 100)
  end)

  it("is strict about its options", function()
    local function of(options)
      return (failure(options):gsub("^.-: sim%.fuzz: ", ""))
    end
    assert.equal('sed: unknown field (did you mean "seeds"?)', of { sed = 5 })
    assert.equal("seeds: expected a whole number from 1, got a number: 0", of { seeds = 0 })
    assert.matches("^seeds%[1%]: expected a whole number", of { seeds = { "x" } })
    assert.matches("^time: ", of { time = "5" })
    assert.matches('^faults%[1%]: expected .*did you mean "http"%?$', of { faults = { "htp" } })
    assert.matches('^faults%[1%]: "http" hits a URL, and the setup has none$', of { faults = { "http" } })
    assert.equal('faults[2]: "kill" hits a job, and there is no "ap" (did you mean "app"?)',
      of { faults = { "kill", { kind = "kill", of = "ap" } } })
    assert.matches('^faults%[1%]%.kind: is missing', of { faults = { { of = "app" } } })
    assert.matches('^faults%[1%]%.off: unknown field', of { faults = { { kind = "kill", off = "app" } } })
    assert.matches("^errors: expected a list of Lua patterns", of { errors = "x" })
    assert.matches("^always: expected a function", of { always = true })
    assert.matches("^setup has loaded nothing", of { setup = function() end })
    local ok, message = pcall(sim.fuzz, {})
    assert.is_false(ok)
    assert.matches("sim%.fuzz: setup: is missing: function%(world%)", message)
  end)

  it("lets no time pass while it looks", function()
    assert.matches("`always` only looks: time must not pass in it",
      failure { always = function(world) world:advance "1s" end })
  end)
end)
