-- The laws themselves: a core that breaks one is found out. (tools/mutate tries it with every line.)

local cells = require "luapilot.job.machine".CELLS
local ordeal = require "support.ordeal"
local pilots = require "support.pilots"

local function first(count)
  local seeds = {}
  for seed = 1, count do seeds[seed] = seed end
  return seeds
end

local ALL, MANY = first(100), first(600) -- for what happens seldom

describe("the laws", function()
  -- One cell of the machine, or one function of a module, is another one meanwhile.
  local function with(where, key, make, fn)
    local real = where[key]
    where[key] = make(real)
    local ok, err = pcall(fn)
    where[key] = real
    if not ok then error(err, 0) end
  end

  -- The breaches that a broken core leads to include this one.
  local function finds(expected, where, key, make, seeds)
    with(where, key, make, function()
      local found = {}
      for _, seed in ipairs(seeds or ALL) do
        local trouble = ordeal.run(seed)
        local breach = trouble and trouble:match "^[^\n]*\n([^\n]*)"
        if breach and breach:find(expected) then return end
        found[#found + 1] = breach
      end
      error("not found, but:\n" .. table.concat(found, "\n"), 0)
    end)
  end

  -- … in pilots that end by themselves.
  local function finds_in_brief(expected, where, key, make)
    local brief = {}
    for seed = 1, 1000 do
      if pilots.plan(seed).brief then brief[#brief + 1] = seed end
    end
    finds(expected, where, key, make, brief)
  end

  -- The cell does what it did, but for effects of one kind.
  local function without(effect, ...)
    local words = { effect, ... }
    return function(real)
      return function(c)
        local state = real(c)
        for i = #c.effects, 1, -1 do
          local same = true
          for j, word in ipairs(words) do same = same and c.effects[i][j] == word end
          if same then table.remove(c.effects, i) end
        end
        return state
      end
    end
  end

  local function nothing() return function() end end

  it("hold of the real core", function()
    for seed = 1, 3 do assert.is_nil(ordeal.run(seed)) end
  end)

  it("want one process of a job at a time", function()
    finds("was started while pid %d+ of it lives", cells.running, "exited", function(real)
      return function(c)
        real(c)
        c.effects[#c.effects + 1] = { "spawn" }
        return "preparing"
      end
    end)
  end)

  it("want each stop to be told to its end", function()
    finds("never stopped", cells.stopping, "group_gone", without("publish", "stopped"))
  end)

  it("want no exit to be told while a job stops", function()
    finds("exit_%l+ while it stops", cells.stopping, "exited", function(real)
      return function(c)
        local state = real(c)
        c.effects[#c.effects + 1] = { "publish", "exit_success", { code = 0 } }
        return state
      end
    end)
  end)

  it("want no start after the shutdown began", function()
    finds("started after the shutdown began", cells.backoff, "close", function(real)
      return function(c)
        real(c)
        c.memory.closing = nil
        c.effects = { { "spawn" } }
        return "preparing"
      end
    end)
  end)

  it("want starts to have a reason", function()
    finds("neither its trigger, nor a call, nor its restart policy explains it",
      require "luapilot.schema.restart", "decide",
      function(real)
        return function(policy, ...)
          local delay, why = real(policy, ...)
          return delay or policy.policy ~= "never" and 0 or nil, why
        end
      end)
  end)

  it("want delays to double", function()
    finds("its backoff is", require "luapilot.schema.restart", "decide", function(real)
      return function(...)
        local delay, why = real(...)
        return delay and delay / 2, why
      end
    end)
  end)

  it("want what the policy starts again to be started", function()
    finds("restart policy", cells.backoff, "restart_due", nothing)
  end)

  it("want what the trigger starts to be started", function()
    finds("its trigger fired at", cells.waiting, "start", function(real)
      return function(c)
        if c.memory.runs > 0 and c.input.again == "trigger" then return nil end
        return real(c)
      end
    end)
  end)

  it("want a published event to start whom it names, whatever the books say", function()
    local quiescence = require "luapilot.pilot.quiescence"
    finds_in_brief("it ended by itself, and the trigger of %w+ had fired", quiescence, "new", function(real)
      return function(app)
        local one = real(app)
        local bury = one.bury
        function one.bury(self) -- nobody hears "stopped" before he is lost
          local bus = self.app.bus
          bus.queued = function() return 0 end
          bury(self)
          bus.queued = nil
        end
        return one
      end
    end)
  end)

  it("want nobody to be given up whose trigger can still fire", function()
    finds_in_brief("could still fire", require "luapilot.pilot.quiescence", "new", function(real)
      return function(app)
        local one = real(app)
        function one.can_speak() return false end
        return one
      end
    end)
  end)

  it("want a main job that never began to end the pilot with the code of what failed", function()
    finds_in_brief("the exit code is 0", require "luapilot.pilot.shutdown", "exit_code", function(real)
      return function(app)
        for _, runner in ipairs(app.order) do runner.memory.unmet = nil end
        return real(app)
      end
    end)
  end)

  it("want a stop to take no longer than it may", function()
    finds("not stopped within", cells.stopping, "kill_due", nothing)
  end)

  it("want a stop signal before SIGKILL", function()
    finds("killed without", cells.stopping, "handlers_due", function(real)
      return function(c)
        c.memory.stop.signalled = true
        return real(c)
      end
    end)
  end)

  it("want timeouts to be kept", function()
    finds("runs longer than its timeout", cells.running, "run_due", nothing)
  end)

  it("want results of checks to count", function()
    finds("in a row", require "luapilot.job.health", "result", function(real)
      return function(memory, checks, index, status, ...)
        return real(memory, checks, index, status == "fail" and "pass" or status, ...)
      end
    end)
  end)

  it("want handlers to hear events in order", function()
    finds("after event", require "luapilot.task.bus", "new", function(real)
      return function(env)
        local one = real(env)
        local subscribe = one.subscribe
        function one.subscribe(self, topic, name, options, fn, label) -- each is told what came before
          local before
          return subscribe(self, topic, name, options, function(event)
            local late = before or event
            before = event
            return fn(late)
          end, label)
        end
        return one
      end
    end)
  end)

  it("want SIGHUP only for those who can take it", function()
    finds("SIGHUP when it was", cells.running, "reload", function()
      return function(c) c.effects[#c.effects + 1] = { "reload" } end
    end)
  end)

  it("want a shutdown to end with the last thing that is at work", function()
    finds("after the last thing that was at work", require "luapilot.pilot.shutdown", "new", function(real)
      return function(...)
        local one = real(...)
        one.step = function() end
        return one
      end
    end)
  end)

  it("want jobs that wait for each other to be asked to stop", function()
    finds("the shutdown waits, and did not ask it to stop", require "luapilot.pilot.shutdown", "new", function(real)
      return function(...)
        local one = real(...)
        local step = one.step
        function one.step(self)
          self.asked = self.asked + 1
          step(self)
        end
        return one
      end
    end)
  end)

  it("want a second signal to kill", function()
    finds("was told twice to end", require "luapilot.pilot.shutdown", "new", function(real)
      return function(...)
        local one = real(...)
        one.kill = function() end
        return one
      end
    end, MANY)
  end)

  local function impatient(real)
    return function(...)
      local one = real(...)
      local step = one.step
      function one.step(self)
        local bus = self.app.bus
        local open = bus.open
        bus.open = 0
        step(self)
        bus.open = bus.open + open
      end
      return one
    end
  end

  it("want handlers at work to be awaited, and the queued to be heard", function()
    finds("cancelled, and the shutdown had time for it", require "luapilot.pilot.shutdown", "new", impatient)
    finds("it never heard event %d+, the last", require "luapilot.pilot.shutdown", "new", impatient, MANY)
  end)

  it("want requests for the end that come soon to be one", function()
    finds("killed, and nobody asked twice", require "luapilot.base.signals", "asks_again", function()
      return function() return true end
    end)
  end)

  it("want a shutdown that was cut short to end with 124", function()
    finds("the exit code is %d", cells.stopping, "kill_due", function(real)
      return function(c)
        local state = real(c)
        c.memory.cut_short = nil
        return state
      end
    end)
  end)

  it("want nothing to be left behind", function()
    finds("left behind", require "luapilot.task.ticker", "every", function(real)
      return function(...)
        local one = real(...)
        one.cancel = function() end
        return one
      end
    end)
  end)

  -- A core that is wrong about what jobs depend on.
  local dependencies = require "luapilot.job.dependencies"
  local ORDER = first(300)

  it("want a start to wait for what the job depends on", function()
    finds("started, and %w+ is not %w+", dependencies, "lacking", function() return function() return {} end end, ORDER)
  end)

  it("want a restart to wait for it as well", function()
    finds("started, and %w+ is not %w+", dependencies, "depend", function(real)
      return function(runner)
        if runner.memory.restarts > 0 then return runner:input("provided", {}) end
        return real(runner)
      end
    end, MANY)
  end)

  it("want one start for the event that brings what a job has waited for", function()
    local seeds = {}
    for seed = 500, 1100 do seeds[#seeds + 1] = seed end
    finds("neither its trigger, nor a call, nor its restart policy explains it", dependencies, "depend", function(real)
      return function(runner) -- the events that are queued do not count
        local bus = runner.app.bus
        runner.app = setmetatable({ bus = setmetatable({ queued = function() return 0 end }, { __index = bus }) },
          { __index = runner.app, __newindex = runner.app })
        return real(runner)
      end
    end, seeds)
  end)

  it("want a start that has all it needs", function()
    finds("fired at %d+.%d+, and it was not started", dependencies, "depend", function(real)
      return function(runner)
        local watch = runner.watch
        getmetatable(runner).watch = function() return function() end end
        real(runner)
        getmetatable(runner).watch = watch
      end
    end, ORDER)
  end)

  it("want nobody to be given up whose dependencies can come", function()
    finds("given up, and all that it depends on can come", dependencies, "can_come", function()
      return function() return false end
    end, ORDER)
  end)

  it("want the code of what failed", function()
    finds("which nothing that it depends on has", require "luapilot.job.blocked", "dead", function(real)
      return function(c)
        c.input.unmet.code = 99
        return real(c)
      end
    end, ORDER)
  end)

  it("want the policy not to start again what failed for its dependencies", function()
    finds("neither its trigger, nor a call, nor its restart policy explains it", require "luapilot.job.blocked", "dead",
      function(real)
        return function(c)
          real(c)
          c.effects[#c.effects] = { "timer", "restart", 1 }
          return "backoff"
        end
      end, MANY)
  end)

  it("want a bound job to stop when its dependency is gone", function()
    finds("which it is bound to, is gone", dependencies, "connect", nothing, ORDER)
  end)

  it("want bound jobs to be gone before a job is told to stop", function()
    finds("told to stop while %w+, which is bound to it, lives", dependencies, "unbind", function()
      return function(source) source:input("released", {}) end
    end, MANY)
  end)

  it("want what was stopped with its dependency to come back with it", function()
    finds("fired at %d+.%d+, and it was not started", cells.running, "stop", function(real)
      return function(c)
        if c.input.again == "bind" then c.input.again = nil end
        return real(c)
      end
    end, MANY)
  end)

  it("want those who depend on a job to stop before it", function()
    finds("asked to stop while %w+, which needs it, lives", dependencies, "each_source", nothing, MANY)
  end)
end)
