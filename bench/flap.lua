-- flap: memory over a long time beside a real Consul agent where something changes ten times a second: services come,
-- fail and go, keys are written and removed. The pilot watches all of that with handlers, keeps a file from a template,
-- has a service whose check passes and fails in turn, and one whose job crashes. `--seconds 3600` is the hour.
--
-- What is sampled is the memory that guardian and pilot have written (their share of files, which Pss counts, too,
-- depends on what else runs), and what Lua says that it has, garbage included. What lives is counted after a full
-- collection, when the first tenth is over and at the end. In the end the last change must have reached the handler and
-- the file, or it fails.
--
-- Each value and each registration says when it was written: the handler knows how late it hears of that. What was not
-- there before is counted apart. Consul answers a question about what is not there at each change of its neighbours,
-- and a watch to which that is no news asks once a second.

local agent = require "agent"
local figures = require "figures"
local json = require "cjson"
local site = require "site"
local supervisors = require "supervisors"
local system = require "system"

local RATE = 10        -- changes a second
local SAMPLES = 600    -- over the whole time, at most one a second; but twelve at least
local SERVICES, KEYS = 5, 5

-- %d: port, services, keys; %q: the file, the report.
local PILOT = [[
pilot.consul { address = "127.0.0.1:%d" }
local heard, renders, starts, last = 0, 0, 0, nil
local function meter(bound) return { bound = bound, count = 0, sum = 0, most = 0, over = 0 } end
local there, new = meter(0.5), meter(1.5)
local function came(text, was_there)
  local at, late = tonumber((text or ""):match "at ([%%d.]+)"), was_there and there or new
  if not at then return end
  local by = pilot.now() - at
  late.count, late.sum, late.most = late.count + 1, late.sum + by, math.max(late.most, by)
  if by > late.bound then late.over = late.over + 1 end
end
local function hear() heard = heard + 1 end
local told = {}
local function hear_service(event)
  hear()
  local meta = event.instances[1] and event.instances[1].meta or {}
  if meta.n and meta.n ~= told[event.source] then -- what was written is told once
    told[event.source] = meta.n
    came(meta.at, not event.added[1])
  end
end
local function hear_key(event)
  hear()
  came(event.value, event.previous)
end

local sources, watches = {}, {}
for i = 1, %d do
  local watch = pilot.watch("flap-" .. i)
  for _, event in ipairs { "changed", "healthy", "unhealthy" } do watch:on(event, hear_service) end
  watches[i], sources[i] = watch, watch
end
for i = 1, %d do pilot.watch.key("flap/key-" .. i):on("changed", hear_key) end
local all = pilot.watch.prefix "flap/"
all:on("changed", function(event)
  hear()
  last = event.values.last or last
end)
sources[#sources + 1] = all

pilot.template(%q) {
  text = "<%% for _, s in ipairs(services) do for _, one in ipairs(s) do %%><%%= one.id %%> <%%= one.address %%>\n"
    .. "<%% end end for name, value in pairs(keys) do %%><%%= name %%> = <%%= value %%>\n<%% end %%>",
  data = function()
    local services = {}
    for i, watch in ipairs(watches) do services[i] = watch.instances end
    return { services = services, keys = all.values }
  end,
  watch = sources, settle = "200ms",
}:on("rendered", function() renders = renders + 1 end)

local checks = 0
pilot.job "own" {
  service = { port = 80, interfaces = "static:127.0.0.1" },
  health = { interval = "1s", fall = 1, check = function()
    checks = checks + 1
    return checks %% 4 < 2, "check " .. checks
  end },
}
pilot.job "crash" {
  exec = { "sh", "-c", "sleep 2; exit 1" }, restart = { policy = "always", backoff = 0 },
  service = { port = 81, interfaces = "static:127.0.0.1" },
}:on("exit_failed", function() starts = starts + 1 end)

local live
pilot.on("SIGUSR1", function()
  collectgarbage()
  collectgarbage()
  live = collectgarbage "count"
end)
pilot.job "report" { when = pilot.every "500ms", run = function()
  pilot.fs.write(%q, pilot.json.encode {
    heap = collectgarbage "count", heard = heard, renders = renders, starts = starts, last = last, live = live,
    there = there, new = new,
  })
  live = nil
end }
]]

-- --- changes ---------------------------------------------------------------------------------

local function service(i) return { ID = ("flap-%d"):format(i), Name = "flap-" .. i, Port = 8000 + i } end

local function stamp() return ("at %.6f"):format(system.epoch()) end

local CHANGES = { -- each for the i-th of its kind, with the number of the change
  function(consul, i, n) consul:put("flap/key-" .. i, ("value %d %s"):format(n, stamp())) end,
  function(consul, i, n)
    local one = service(i)
    one.Meta, one.Check = { n = tostring(n), at = stamp() }, { TTL = "1h", Status = "passing" }
    consul:api("PUT", "agent/service/register", one)
  end,
  false, false, -- both once more: of what is there
  function(consul, i) consul:api("PUT", "agent/check/fail/service:flap-" .. i) end,
  function(consul, i) consul:api("PUT", "agent/check/pass/service:flap-" .. i) end,
  function(consul, i) consul:api("DELETE", "kv/flap/key-" .. i) end,
  function(consul, i) consul:api("PUT", "agent/service/deregister/flap-" .. i) end,
}

CHANGES[3], CHANGES[4] = CHANGES[1], CHANGES[2]

-- All five of a kind, then the next kind.
local function change(consul, n)
  local kind = math.floor(n / SERVICES) % #CHANGES + 1
  CHANGES[kind](consul, n % SERVICES + 1, n)
end

-- --- samples ---------------------------------------------------------------------------------

local function report(place)
  local text = place:read "report" or ""
  if text == "" then return nil end
  local told = json.decode(text)
  told.heap, told.live = told.heap * 1024, told.live and told.live * 1024
  return told
end

-- Of the guardian and the pilot.
local function own(place, what) return what(place.pid) + what(system.descendants(place.pid)[1]) end

local function live_heap(place)
  system.kill(place.pid, "USR1")
  return system.eventually("a collection", site.patience, function()
    local told = report(place)
    return told and told.live
  end)
end

-- Least squares; a change in each hour.
local function slope(samples, field)
  local n, x, y, xx, xy = #samples, 0, 0, 0, 0
  for _, sample in ipairs(samples) do
    local at, value = sample.at / 3600, sample[field]
    x, y, xx, xy = x + at, y + value, xx + at * at, xy + at * value
  end
  return (n * xy - x * y) / (n * xx - x * x)
end

local function column(samples, field, from, to)
  local list = {}
  for _, sample in ipairs(samples) do
    if sample.at >= from and sample.at < to then list[#list + 1] = sample[field] end
  end
  return list
end

local function mean(meter) return meter.sum / math.max(1, meter.count) end

local function lateness(meter)
  return ("%s, %s, %d of %d"):format(figures.value(mean(meter), "s"), figures.value(meter.most, "s"), meter.over,
    meter.count)
end

-- Six parts: of an hour, ten minutes each.
local function tell(samples, seconds)
  local rows = { { "seconds", "written: median (least–most)", "Lua heap", "heard", "renders", "crashes",
    "late, of what is there: mean, most, over 0.5 s", "of what is new: mean, most, over 1.5 s" } }
  for part = 1, 6 do
    local from, to = (part - 1) * seconds / 6, part * seconds / 6
    local written = column(samples, "anonymous", from, to)
    local last
    for _, sample in ipairs(samples) do last = sample.at < to and sample or last end
    if written[1] then
      rows[#rows + 1] = { ("%.0f–%.0f"):format(from, to), figures.spread(written, "B"),
        figures.spread(column(samples, "heap", from, to), "B"), last.heard, last.renders, last.starts,
        lateness(last.there), lateness(last.new) }
    end
  end
  print(figures.markdown(rows) .. "\n")
end

-- --- all of it -------------------------------------------------------------------------------

local function settled(samples, seconds)
  local list = {}
  for _, sample in ipairs(samples) do
    if sample.at >= seconds / 10 then list[#list + 1] = sample end
  end
  return list
end

-- Each change at its time: what is late is not made up for.
local function flap(place, consul, seconds)
  local samples, begun, every = {}, system.now(), math.max(math.min(1, seconds / 12), seconds / SAMPLES)
  local n, live, now = 0, nil, 0
  while now < seconds do
    change(consul, n)
    n = n + 1
    now = system.now() - begun
    if now >= #samples * every then
      local told = report(place)
      told.at, told.pss, told.anonymous = now, own(place, system.pss), own(place, system.anonymous)
      samples[#samples + 1] = told
    end
    if not live and now >= seconds / 10 then live = live_heap(place) end
    system.sleep(n / RATE - (system.now() - begun))
  end
  return samples, live, n
end

local function end_of(place, consul)
  consul:put("flap/last", "the-last")
  system.eventually("the last change in the file", site.patience, function()
    return (place:read "file" or ""):find("last = the-last\n", 1, true)
  end)
  system.eventually("the last change in the handler", site.patience, function()
    local told = report(place)
    return told and told.last == "the-last"
  end)
end

local function measure(seconds)
  return site.use(function(place)
    local consul = agent.start(place)
    place:launch(supervisors.pilot(place, PILOT:format(consul.port, SERVICES, KEYS, place:path "file",
      place:path "report")))
    system.eventually("a report", site.patience, function() return report(place) end)
    local cpu = own(place, system.cpu)
    local samples, live, changes = flap(place, consul, seconds)
    cpu = own(place, system.cpu) - cpu
    end_of(place, consul)
    tell(samples, seconds)
    local steady, last = settled(samples, seconds), samples[#samples]
    local _, _, most = figures.median(column(samples, "anonymous", 0, math.huge))
    local early = figures.median(column(samples, "anonymous", seconds / 6, seconds / 3))
    local late = figures.median(column(samples, "anonymous", seconds * 5 / 6, math.huge))
    return {
      start = samples[1].anonymous, most = most, last = last.anonymous, growth = late - early, pss = last.pss,
      slope = slope(steady, "anonymous"),
      heap_slope = slope(steady, "heap"), live = live, live_growth = live_heap(place) - live,
      changes = changes / seconds, heard = last.heard / seconds, renders = last.renders / seconds,
      cpu = cpu / seconds, late = mean(last.there), latest = last.there.most, over = last.there.over,
      late_new = mean(last.new), latest_new = last.new.most, over_new = last.new.over,
    }
  end)
end

return {
  title = "memory while services, keys, checks and jobs flap",
  figures = {
    { name = "pss", title = "Pss at the end", unit = "B" },
    { name = "start", title = "memory that it has written, at the start", unit = "B" },
    { name = "last", title = "at the end", unit = "B" },
    { name = "most", title = "the most", unit = "B" },
    { name = "growth", title = "the median of the last sixth, above that of the second", unit = "B" },
    { name = "slope", title = "its slope after the first tenth, for an hour", unit = "B" },
    { name = "heap_slope", title = "Lua heap: slope after the first tenth, for an hour", unit = "B" },
    { name = "live", title = "what lives in the Lua heap after the first tenth", unit = "B" },
    { name = "live_growth", title = "by how much that has grown in the end", unit = "B" },
    { name = "changes", title = "changes made", unit = "/s" },
    { name = "heard", title = "events heard by handlers", unit = "/s" },
    { name = "renders", title = "renders", unit = "/s" },
    { name = "cpu", title = "CPU in a second", unit = "s" },
    { name = "late", title = "how late a handler hears of a change of what is there: the mean", unit = "s" },
    { name = "latest", title = "the most", unit = "s" },
    { name = "over", title = "of these, by more than half a second", unit = "" },
    { name = "late_new", title = "how late a handler hears of what was not there before: the mean", unit = "s" },
    { name = "latest_new", title = "the most", unit = "s" },
    { name = "over_new", title = "of these, by more than a second and a half", unit = "" },
  },
  goals = {
    { variant = "luapilot", figure = "growth", at_most = 256 * 1024 },
    { variant = "luapilot", figure = "live_growth", at_most = 64 * 1024 },
    { variant = "luapilot", figure = "over", at_most = 0 },
    { variant = "luapilot", figure = "over_new", at_most = 0 },
  },
  rounds = 1,
  variants = function(smoke, seconds)
    return { {
      name = "luapilot", skip = agent.missing(),
      measure = function() return measure(seconds or smoke and 4 or 120) end,
    } }
  end,
}
