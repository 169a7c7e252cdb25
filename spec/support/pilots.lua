-- Pilots thrown together by a seed: a plan (what was declared, as data that laws.lua judges by), and its pilot.lua.
--
-- The file tells what laws.lua cannot see from outside, as lines of the log that begin with "@": a Lua run begins and
-- ends, a `prepare`, a handler that hears an event (by the number that laws.lua gave it), a call on a job.

local random = require "luapilot.sim.random"

local pilots = {}

local STREAM = 8 -- of random numbers: the ordeal and the world have others
local ORDER = 10 -- … those of what depends on what

---@class spec.JobPlan
---@field name string
---@field kind "exec"|"run"
---@field when table             a tree of leaves, see `leaf` and `tree`
---@field restart table          { policy, count, backoff, max_backoff, reset_after, limit, within }, in seconds
---@field health table           { kind, interval, timeout, rise, fall, restart_after }
---@field prepare boolean
---@field timeout number?
---@field stop_timeout number
---@field stop_signal string
---@field stop_target "group"|"leader"
---@field reload string?         a signal
---@field main boolean
---@field sources table<string, boolean>    the jobs that its trigger names, or that it depends on
---@field depends { name: string, state: string }[]
---@field bind boolean
---@field pidfile boolean

---@class spec.Plan
---@field seed integer
---@field jobs table<string, spec.JobPlan>
---@field order string[]
---@field handlers table<string, { source: string, event: string, when_busy: string, settle: number? }>
---@field meddled boolean        timers of the file call methods of jobs
---@field brief boolean          jobs that end, and wait for each other: the pilot ends by itself
---@field shutdown_timeout number
---@field ender string?          another signal that ends the pilot
---@field source string

local dice, order_dice

local function chance(p) return dice:next() < p end
local function pick(list) return dice:pick(list) end
local function seconds(low, high) return math.ceil(1000 * dice:span(low, high)) / 1000 end
local function span(value) return ("%dms"):format(value * 1000 + 0.5) end

-- --- triggers --------------------------------------------------------------------------------------

local EVENTS = { "exit_success", "exit_failed", "stopped", "healthy", "unhealthy", "stopping" }

local function event_options(leaf)
  local parts = {}
  local function add(name, value)
    leaf[name] = value
    parts[#parts + 1] = ("%s = %q"):format(name, type(value) == "number" and span(value) or value)
  end
  if chance(0.2) then add("timeout", seconds(0.5, 60)) end
  if chance(0.2) then
    add("settle", seconds(0.01, 5))
    if chance(0.5) then add("max_wait", leaf.settle * (1 + dice:below(5))) end
  end
  if chance(0.3) then add("when_busy", pick { "latest", "queue", "drop", "restart" }) end
  return #parts > 0 and (", { %s }"):format(table.concat(parts, ", ")) or ""
end

-- An event of a job, as a trigger.
local function event_of(source)
  local one = { kind = pick { "once", "each" }, source = source, event = pick(EVENTS) }
  return one, ("%s:%s(%q%s)"):format(one.source, one.kind, one.event, event_options(one))
end

local function leaf(earlier, services)
  if #services > 0 and chance(0.25) then
    local name = pick(services)
    local one = { kind = pick { "once", "each" }, source = name, event = pick { "changed", "healthy", "unhealthy" } }
    return one, ("pilot.watch %q:%s(%q%s)"):format(name, one.kind, one.event, event_options(one))
  end
  local kind = #earlier > 0 and dice:below(9) or dice:below(4)
  if kind == 0 then return { kind = "each", source = "pilot", event = "SIGUSR1" }, 'pilot.each "SIGUSR1"' end
  if kind == 1 then
    local interval = seconds(0.5, 10)
    return { kind = "every", interval = interval }, ("pilot.every %q"):format(span(interval))
  end
  if kind == 2 then return { kind = "once", source = "pilot", event = "startup" }, 'pilot.once "startup"' end
  if kind == 3 then
    local jitter = seconds(1, 30)
    return { kind = "cron", jitter = jitter }, ('pilot.cron("* * * * *", { jitter = %q })'):format(span(jitter))
  end
  return event_of(pick(earlier))
end

-- Of jobs that end, each waits for one before it.
local function brief_tree(earlier)
  if #earlier == 0 then return { kind = "startup" } end
  local one, text = event_of(pick(earlier))
  if chance(0.7) then return one, text end
  local other, more = event_of(pick(earlier))
  local word = pick { "all", "any" }
  return { kind = word, parts = { one, other } }, ("pilot.%s { %s, %s }"):format(word, text, more)
end

-- Two jobs that name each other: one of two that wait for each other at the end.
local function ring(partner)
  local one = { kind = pick { "once", "each" }, source = partner, event = pick(EVENTS) }
  return { kind = "any", parts = { { kind = "once", source = "pilot", event = "startup" }, one } },
    ("pilot.any { pilot.once \"startup\", %s:%s(%q) }"):format(partner, one.kind, one.event)
end

local function tree(earlier, partner, services)
  if partner then return ring(partner) end
  local kind = dice:below(8)
  if kind <= 1 then return { kind = "startup" } end
  if kind == 2 then return { kind = "manual" }, '"manual"' end
  if kind == 3 then
    return { kind = "function" }, ("function() pilot.sleep(%q) return %s end"):format(span(seconds(0.01, 5)),
      pick { "true", "true", "nil", "error 'a mistake of the user'" })
  end
  if kind == 4 then
    local one, text = leaf(earlier, services)
    local other, more = leaf(earlier, services)
    local word = pick { "all", "any" }
    return { kind = word, parts = { one, other } }, ("pilot.%s { %s, %s }"):format(word, text, more)
  end
  return leaf(earlier, services)
end

local function sources_of(node, sources)
  if node.source then sources[node.source] = true end
  for _, part in ipairs(node.parts or {}) do sources_of(part, sources) end
  return sources
end

-- --- jobs ------------------------------------------------------------------------------------------

local function policy(name, more)
  local result = { policy = name, backoff = 1, max_backoff = 60, reset_after = 60 }
  for key, value in pairs(more or {}) do result[key] = value end
  return result
end

local RESTARTS = {
  function() return policy "never" end,
  function() return policy "never" end,
  function() return policy "always", '"always"' end,
  function() return policy "on_failure", '"on_failure"' end,
  function()
    local count = 1 + dice:below(4)
    return policy("always", { count = count }), tostring(count)
  end,
  function()
    local limit, within = 1 + dice:below(4), seconds(1, 20)
    return policy("always", { backoff = 0, limit = limit, within = within }),
      ("{ backoff = 0, limit = %d, within = %q }"):format(limit, span(within))
  end,
  function()
    local backoff, reset = seconds(0.05, 1), seconds(0.5, 20)
    local most = backoff * (1 + dice:below(8))
    return policy("on_failure", { backoff = backoff, max_backoff = most, reset_after = reset }),
      ('{ policy = "on_failure", backoff = %q, max_backoff = %q, reset_after = %q }'):format(span(backoff), span(most),
        span(reset))
  end,
}

-- What it depends on, of those before it: nobody waits in a circle then.
local function add_dependencies(one, earlier, jobs, add)
  one.depends, one.bind = {}, false
  if #earlier == 0 or order_dice:next() > 0.35 then return end
  local texts, runs = {}, false
  for _ = 1, 1 + order_dice:below(2) do
    local name, states = order_dice:pick(earlier), { "running", "healthy", "healthy" }
    local restarts = jobs[name].restart
    local ends = restarts.policy ~= "always" or restarts.count or restarts.limit
    if ends then states[4], states[5] = "exit_success", "exit_success" end
    local state = order_dice:pick(states)
    if not texts[name] then
      local short = state == "healthy" and order_dice:next() < 0.5 -- all have checks
      texts[name], one.sources[name] = true, true
      texts[#texts + 1] = short and name or ("%s = %q"):format(name, state)
      one.depends[#one.depends + 1] = { name = name, state = state }
      runs = runs or state ~= "exit_success"
    end
  end
  add("depends_on = { %s }", table.concat(texts, ", "))
  one.bind = runs and order_dice:next() < 0.5
  if one.bind then add "bind = true" end
end

local function health(name)
  local check = { interval = seconds(0.2, 5), rise = 1 + dice:below(3), fall = 1 + dice:below(4) }
  check.timeout = chance(0.5) and seconds(0.02, check.interval) or check.interval
  local texts = {
    tcp = 'tcp = "localhost:1"',
    exec = ('exec = { "check", %q }, env = { A = "1" }'):format(name),
    check = "check = work",
    notify = "notify = true", http = 'http = "http://web/health"',
  }
  check.kind = pick { "tcp", "exec", "exec", "exec", "check", "notify", "http" }
  if chance(0.3) then check.restart_after = check.fall + dice:below(3) end
  if chance(0.2) then check.start_period = seconds(0.1, 5) end
  local parts = { texts[check.kind] }
  for _, field in ipairs { "interval", "timeout", "start_period" } do
    if check[field] then parts[#parts + 1] = ("%s = %q"):format(field, span(check[field])) end
  end
  for _, field in ipairs { "rise", "fall", "restart_after" } do
    if check[field] then parts[#parts + 1] = ("%s = %d"):format(field, check[field]) end
  end
  return check, ("{ %s }"):format(table.concat(parts, ", "))
end

local LOGS = {
  "log = { merge = true }", 'log = { parse = "json" }', 'log = { parse = "json", level_from = "level", merge = true }',
  'log = "none"',
}

local function job(name, plan, partner, services, main)
  local earlier, brief = plan.order, plan.brief
  local one = { name = name, kind = chance(0.75) and "exec" or "run", stop_timeout = 10, stop_signal = "SIGTERM" }
  local fields = { one.kind == "exec" and ('exec = { "app", %q }'):format(name) or ("run = runs(%q)"):format(name) }
  local function add(text, ...) fields[#fields + 1] = text:format(...) end
  local trigger, policy_text, check
  if brief then
    one.when, trigger = brief_tree(earlier)
  else
    one.when, trigger = tree(earlier, partner, services)
  end
  one.sources = sources_of(one.when, {})
  if trigger then add("when = %s", trigger) end
  add_dependencies(one, earlier, plan.jobs, add)
  one.restart, policy_text = pick(RESTARTS)()
  if policy_text then add("restart = %s", policy_text) end
  one.health, check = health(name)
  add("health = %s", check)
  one.prepare = chance(0.25)
  if one.prepare then add("prepare = prepares(%q)", name) end
  if chance(0.25) then
    one.timeout = seconds(0.2, 30)
    add("timeout = %q", span(one.timeout))
  end
  one.timeout = one.timeout or one.when.interval -- periodic jobs have one
  if chance(0.6) then
    one.stop_timeout = seconds(0.05, 5)
    add("stop_timeout = %q", span(one.stop_timeout))
  end
  if one.kind == "exec" and chance(0.2) then
    one.stop_signal = "SIGINT"
    add 'stop_signal = "SIGINT"'
  end
  one.stop_target = one.kind == "exec" and chance(0.2) and "leader" or "group"
  if one.stop_target == "leader" then add 'stop_mode = "mixed"' end
  if one.kind == "exec" and chance(0.1) then add 'stdin = "open"' end
  if chance(0.1) then add(pick(LOGS)) end
  one.pidfile = one.kind == "exec" and chance(0.1)
  if one.pidfile then add('pidfile = "/run/%s.pid"', name) end
  one.reload = one.kind == "exec" and chance(0.6) and "SIGHUP" or nil
  add("reload = %s", one.reload and '"SIGHUP"' or "work")
  if chance(0.3) then
    local service = "service-of-" .. name
    services[#services + 1] = service
    add("service = { name = %q, port = 80 }", service)
    if chance(0.5) then add("drain = %q", span(seconds(0.01, 2))) end
  end
  one.main = chance(main)
  if one.main then add "main = true" end
  return one, ("%s { %s }"):format(name, table.concat(fields, ", "))
end

-- --- the file --------------------------------------------------------------------------------------

local PRELUDE = [[
local function work(gentle) -- takes a while, in one way or another
  local kind = math.random(15)
  if gentle and (kind == 6 or kind == 10) then kind = 11 end -- nothing that only the bound of a shutdown ends
  if kind == 1 then error("a mistake of the user", 0) end
  if kind == 2 then pilot.defer(function() pilot.sleep "200ms" end) end
  if kind == 3 then pilot.exec("tool", { check = false, timeout = "2s", log = { as = "tool" } }) end
  if kind == 5 and pilot.jobs()[1] and pilot.shutting_down() then
    pilot.exec("tool", { check = false, timeout = "2s", log = "none" })
  end
  if kind == 4 then pilot.spawn(function() pilot.sleep "3s" end) end
  if kind == 5 then return false end
  if kind == 6 then pcall(pilot.sleep, "1h") end
  if kind == 7 then pilot.timeout("500ms", pilot.sleep, "1s") end
  if kind == 8 then pilot.http.get("http://web/work", { timeout = "2s" }) end
  if kind == 13 then
    local stream = pilot.net.connect("db:1", { timeout = "2s" })
    stream:write "work\n"
    stream:read_line()
  end
  if kind == 9 then
    pilot.render { text = "<%= n %>", data = { n = math.random(3) }, to = "/etc/rendered",
      validate = { "tool", "{file}" } }
  end
  if kind == 10 then for _ = 1, 5 do pcall(pilot.sleep, "1h") end end
  if kind <= 13 then pilot.sleep(math.random() * 3) end
  return true
end
local function runs(name)
  local count = 0
  return function()
    count = count + 1
    local number = count
    print("@ begin " .. name .. " " .. number)
    pilot.defer(function() print("@ end " .. name .. " " .. number) end)
    return work()
  end
end
local function prepares(name)
  return function()
    print("@ preparing " .. name)
    work()
    print("@ prepared " .. name)
  end
end
local function hears(id)
  return function(event)
    print("@ heard " .. id .. " " .. event.number)
    pilot.defer(function(why) print("@ done " .. id .. " " .. event.number .. " " .. why) end)
    work(math.random(8) > 1)
  end
end
local function meddle(job)
  local kind = math.random(9)
  local names = { "stop", "start", "restart", "reload", "signal" }
  if names[kind] then
    local name = names[kind]
    print("@ call " .. name .. " " .. job.name)
    local ok, err = pcall(job[name], job, name == "signal" and "SIGUSR2" or nil)
    print("@ returned " .. name .. " " .. job.name)
    if not ok then error(err, 0) end
  end
  if kind == 9 then
    print("@ call maintenance " .. job.name)
    job:maintenance(math.random(2) == 1, "a test")
  end
  if kind == 6 then job:wait_for(({ "healthy", "exited", "stopped" })[math.random(3)], "2s") end
  if kind == 7 then job:next("exit_failed", "2s") end
  if kind == 8 and math.random(40) == 1 then
    print "@ call shutdown"
    pilot.shutdown(7)
  end
end]]

local function add_handlers(plan, name, text)
  for i = 1, dice:below(4) do
    local id = ("%s-%d"):format(name, i)
    local handler = { source = name, event = pick(EVENTS), when_busy = pick { "queue", "latest", "drop", "restart",
      "parallel" } }
    local options = ("when_busy = %q"):format(handler.when_busy)
    if chance(0.2) then
      handler.settle = seconds(0.01, 2)
      options = ("%s, settle = %q"):format(options, span(handler.settle))
    end
    if chance(0.2) then options = ("%s, timeout = %q"):format(options, span(seconds(0.05, 5))) end
    plan.handlers[id] = handler
    text[#text + 1] = ("%s:on(%q, { %s }, hears(%q))"):format(name, handler.event, options, id)
  end
  if plan.meddled then
    text[#text + 1] = ("pilot.every(%q, function() meddle(%s) end)"):format(span(seconds(0.5, 9)), name)
  end
end

local function partners_of(names)
  if #names < 2 or chance(0.75) then return {} end
  local one = names[1 + dice:below(#names - 1)]
  local other = names[#names]
  return { [one] = other, [other] = one }
end

---@param seed integer
---@return spec.Plan
function pilots.plan(seed)
  dice, order_dice = random.new(seed, STREAM), random.new(seed, ORDER)
  local brief = chance(0.2)
  local plan = { seed = seed, jobs = {}, order = {}, handlers = {}, brief = brief, meddled = not brief and chance(0.7),
    shutdown_timeout = pick { 1, 3, 8, 8, 20 } }
  local text = { PRELUDE, ("pilot.shutdown_timeout(%d)"):format(plan.shutdown_timeout) }
  if chance(0.3) then
    plan.ender = pick { "SIGWINCH", "SIGRTMIN+3" }
    text[#text + 1] = ("pilot.shutdown_signals { %q }"):format(plan.ender)
  end
  local has_main, services, names = chance(0.15), {}, {}
  for i = 1, 1 + dice:below(6) do
    names[i] = "job" .. i
    text[#text + 1] = ("local %s = pilot.job %q"):format(names[i], names[i])
  end
  local partners = brief and {} or partners_of(names)
  for i, name in ipairs(names) do
    plan.jobs[name], text[#text + 1] = job(name, plan, partners[name], services,
      brief and (i == #names and 0.7 or 0) or has_main and 0.3 or 0)
    plan.order[i] = name
    add_handlers(plan, name, text)
  end
  if chance(0.3) then
    text[#text + 1] = ('pilot.template "/etc/template" { text = "<%%= 1 %%>", reload = %s }'):format(pick(plan.order))
  end
  plan.source = table.concat(text, "\n")
  return plan
end

return pilots
